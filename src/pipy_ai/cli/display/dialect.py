"""The Markdown that is rendered on a terminal: CommonMark with tables and math.

Markup is not shown. So characters that models rarely mean as markup are text here, although
CommonMark would treat them as markup:

- `_`, `~`, entities, HTML, images, reference definitions, `=` under a heading, a backslash at the
  end of a line and before most characters;
- `*` in a word, a product, a power or a path, and in the math of `$…$`, `\\(…\\)`, `\\[…\\]`;
- `[1](x)` after a word, which is a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote, heading, list_block, table
from markdown_it.rules_inline import StateInline, link
from markdown_it.rules_inline.state_inline import Delimiter

BlockRule: TypeAlias = Callable[[StateBlock, int, int, bool], bool]

MAX_NESTING = 40  # marks of quotes and lists that are nested deeper are text
MAX_PREFIX_CHARS = 64  # how much before a character decides what it means
MAX_LABEL_CHARS = 1000  # a link whose label is longer is text
MAX_OPEN_BRACKETS = 20  # after so many in a block that are not closed soon, brackets are text
HIDDEN_ESCAPES = "*`#~$_"  # a backslash before these is not shown, but in a path
OPENING = "\"'([{<`*~$#@+"  # besides letters and digits, what emphasized text begins with
CLOSING = "\"')]}>`*~$.,:;!?%"  # and what it ends with

_MATH = re.compile(
    r"\$\$.{1,2000}?\$\$|\$(?![\s$])[^$\n`]{0,2000}?[^$\s\\`]\$(?!\d)"
    r"|\\\(.{1,2000}?\\\)|\\\[.{1,2000}?\\\]",  # the limit bounds the search for an end
    re.DOTALL,
)
_HEADING = re.compile(r"(#+)[ \t]*(.*?)(?:[ \t]+\1)?[ \t]*")
_LIST_MARK = re.compile(r"(?:[-+*]|\d{1,9}[.)])(?:\s|$)")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)")
_ESCAPE = re.compile(r"\\([!-/:-@[-`{-~])")
_IN_PATH = re.compile(r"(?:(?<!\w)[A-Za-z]:|\\[^\W_]|\\\\)\S*\Z")  # as in C:\_build\*.log
_BOLD_PREFIX = re.compile(r"(?<![\w*])\*\*[^\W\d_]+\Z")  # as in **S**tar


class _Parser(MarkdownIt):
    """A parser that shows the targets of links as they are."""

    def normalizeLink(self, url: str) -> str:
        return url

    def validateLink(self, url: str) -> bool:
        return True


def markdown_parser() -> MarkdownIt:
    """Return a parser of this dialect."""
    parser = _Parser("commonmark", {"html": False, "maxNesting": 100})
    parser.enable("table")
    parser.disable(["image", "reference", "autolink", "entity", "html_inline", "html_block"])
    parser.disable("lheading")
    block, inline = parser.block.ruler, parser.inline.ruler
    containers = ["paragraph", "reference", "blockquote"]
    block.at("table", _table, {"alt": ["paragraph", "reference"]})
    block.at("blockquote", _limited(blockquote), {"alt": [*containers, "list"]})
    block.at("heading", _heading, {"alt": containers})
    block.at("list", _limited(list_block), {"alt": containers})
    block.before("fence", "math_block", _math_block, {"alt": [*containers, "list"]})
    block.before("paragraph", "table_end", _table_end, {"alt": ["blockquote"]})
    inline.before("escape", "math", _math)
    inline.at("escape", _escape)
    inline.at("emphasis", _emphasis)
    inline.at("link", _link)
    return parser


def _limited(rule: BlockRule) -> BlockRule:
    """Let a rule nest no deeper than `MAX_NESTING`; the parser would leave out what is inside."""

    def limited(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        return state.level < MAX_NESTING and rule(state, start, end, silent)

    return limited


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def _heading(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parse a heading. `#` at its end is text unless it is as often there as at the beginning."""
    if not heading(state, start, end, silent):
        return False
    match = _HEADING.fullmatch(_line(state, start))
    if not silent and match is not None:
        state.tokens[-2].content = match[2]
    return True


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parse a formula on lines of its own: between `$$` or `\\[` and `\\]`, or to an empty line."""
    first = _line(state, start).rstrip()
    if state.is_code_block(start) or not first.startswith(("$$", "\\[")):
        return False
    closing = "$$" if first[0] == "$" else "\\]"
    if closing in first[2:] and not first.endswith(closing):  # text follows: a paragraph
        return False
    if silent:
        return True
    line, last = start, first[2:]
    while not last.endswith(closing) and line + 1 < end:
        if state.isEmpty(line + 1) or state.sCount[line + 1] < state.blkIndent:
            break
        line += 1
        last = _line(state, line).rstrip()
    state.line = line + 1
    token = state.push("math_block", "", 0)
    token.content = state.getLines(start, state.line, state.blkIndent, False)
    token.map = [start, state.line]
    return True


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parse a table, and keep the cells for which it has no column.

    A line with the mark of a list is no header, as in the second item of a list.
    """
    first = len(state.tokens)
    if _LIST_MARK.match(_line(state, start)) or not table(state, start, end, silent):
        return False
    tokens = state.tokens[first:]
    columns = sum(token.type == "th_open" for token in tokens)
    cells: list[str] = []
    for index, token in enumerate(tokens):
        if token.type == "tr_open" and token.map:
            cells = _cells(_line(state, token.map[0]), columns)
        elif token.type == "td_open":
            tokens[index + 1].content = cells.pop(0) if cells else ""
    return True


def _cells(line: str, columns: int) -> list[str]:
    """Split a row of a table. Pipes of code separate no cells if there were too many."""
    cells = _split_at_pipes(line)
    if len(cells) > columns:
        protected = _CODE_SPAN.sub(lambda code: code[0].replace("|", "\0"), line)
        cells = [cell.replace("\0", "|") for cell in _split_at_pipes(protected)]
    return [*cells[: columns - 1], " | ".join(cells[columns - 1 :])]


def _split_at_pipes(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line.strip())
    inner = cells[not cells[0] : len(cells) - (not cells[-1])]
    return [cell.replace("\\|", "|").strip() for cell in inner]


def _table_end(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """End a table at a line without a pipe: it is the text that follows."""
    return silent and state.parentType == "table" and "|" not in _line(state, start)


def _math(state: StateInline, silent: bool) -> bool:
    match = _MATH.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        state.push("math_inline", "", 0).content = match[0]
    state.pos = match.end()
    return True


def _escape(state: StateInline, silent: bool) -> bool:
    """Parse a backslash, which is shown unless the character would be markup without it."""
    escape = state.src[state.pos : state.pos + 2]
    if escape[0] != "\\" or len(escape) == 1 or escape[1].isalnum() or escape[1].isspace():
        return False
    if not silent:
        before = state.src[max(state.pos - MAX_PREFIX_CHARS, 0) : state.pos]
        is_hidden = escape[1] in HIDDEN_ESCAPES and _IN_PATH.search(before) is None
        state.pending += escape[1] if is_hidden else escape
    state.pos += 2
    return True


def _emphasis(state: StateInline, silent: bool) -> bool:
    """Parse asterisks. Those that cannot begin or end emphasized text are text."""
    if silent or state.src[state.pos] != "*":
        return False
    scanned = state.scanDelims(state.pos, True)
    before = state.src[max(state.pos - MAX_PREFIX_CHARS, 0) : state.pos]
    after = state.src[state.pos + scanned.length : state.posMax][:1] or " "
    opens, closes = _may_open_and_close(before, after, scanned.length)
    for _ in range(scanned.length):
        token = state.push("text", "", 0)
        token.content = "*"
        state.delimiters.append(
            Delimiter(
                marker=ord("*"),
                length=scanned.length,
                token=len(state.tokens) - 1,
                end=-1,
                open=scanned.can_open and opens,
                close=scanned.can_close and closes,
            )
        )
    state.pos += scanned.length
    return True


def _may_open_and_close(text_before: str, after: str, length: int) -> tuple[bool, bool]:
    """Return whether asterisks can begin and end emphasized text."""
    before = text_before[-1:] or " "
    is_path = "/" in (before, after) or "\\" in (before, after)
    is_quoted = before + after in ('""', "''", "()", "[]", "{}", "``")
    if is_path or is_quoted:
        return False, False
    opens = not (_is_word(before) or before in ")]")  # 2*3*4, x**2, f(x)*g(x)
    closes = not _is_word(after)
    if length > 1:
        return opens, closes or (after.isalpha() and _BOLD_PREFIX.search(text_before) is not None)
    opens = opens and (after.isalnum() or after > "\x7f" or after in OPENING)
    closes = (
        closes and after not in "([" and (before.isalnum() or before > "\x7f" or before in CLOSING)
    )
    return opens, closes


def _is_word(char: str) -> bool:
    """Return whether the char is a digit or a letter of a script that has spaces between words."""
    return char.isalnum() and (
        char < "\u0590" or "\u1e00" <= char < "\u2000" or "\U0001d400" <= char < "\U0001d800"
    )


def _link(state: StateInline, silent: bool) -> bool:
    """Parse a link, whose target is kept as it is written, with the title."""
    start, first = state.pos, len(state.tokens)
    if state.src[start] == "[" and start and _is_word(state.src[start - 1]):
        return False  # handlers[i](event)
    following = state.src[start : start + MAX_LABEL_CHARS]
    open_brackets = state.env.get("open_brackets", 0)
    if open_brackets > MAX_OPEN_BRACKETS or "](" not in following:
        return False
    if following.count("[") > following.count("]"):  # the parser may search to the end of the text
        state.env["open_brackets"] = open_brackets + 1
    if not link(state, silent):
        return False
    state.env["open_brackets"] = open_brackets
    if not silent:
        label_end = state.md.helpers.parseLinkLabel(state, start, True)
        target = state.src[label_end + 2 : state.pos - 1].strip()
        opening = next(token for token in state.tokens[first:] if token.type == "link_open")
        opening.meta["target"] = _ESCAPE.sub(r"\1", target)
    return True
