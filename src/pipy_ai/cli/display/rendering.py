"""Split Markdown into blocks and lay them out as lines. Imports the parser and `pygments`.

No character is lost, whatever the text. A line that cannot be broken between words, such as a line
of code or an address, stays one line: the terminal wraps it, and copies it as one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from pygments.lexers import get_lexer_by_name
from pygments.token import Token as Kind
from pygments.token import _TokenType as TokenType
from pygments.util import ClassNotFound

from ...utils.text import display_width
from .dialect import markdown_parser
from .row import Row

if TYPE_CHECKING:
    from pygments.lexer import Lexer

LONG_CODE_LINES = 40  # the beginning of a longer code block counts as complete
PENDING_CODE_LINES = 10  # the lines at its end that do not
HIGHLIGHT_CONTEXT_LINES = 100  # preceding lines that the highlighter needs to color the next
MAX_BLOCK_CHARS = 200_000  # a longer block is shown as it is: parsing it takes seconds
MAX_PENDING_CHARS = 500_000  # a longer text, and all that follows it, is shown as it is
MIN_WIDTH = 10  # deeply nested text is not made narrower
TAB_COLUMNS = 8
COLUMN_GAP = "  "  # between the columns of a table

# Styles are parameters of the escape sequence SGR: 1 bold, 2 dim, 3 italic, 4 underlined, …
BOLD, DIM, ITALIC, UNDERLINE, CYAN = "1", "2", "3", "4", "36"
_CODE_STYLES = {
    Kind.Comment: "2", Kind.Comment.Preproc: "96", Kind.Keyword: "94", Kind.Keyword.Type: "96",
    Kind.Operator.Word: "94", Kind.Name.Builtin: "96", Kind.Name.Function: "92",
    Kind.Name.Class: "92", Kind.Name.Namespace: "96", Kind.Name.Exception: "96",
    Kind.Name.Decorator: "95", Kind.Name.Variable: "91", Kind.Name.Constant: "91",
    Kind.Name.Attribute: "96", Kind.Name.Tag: "94", Kind.String: "33", Kind.Number: "94",
    Kind.Generic.Deleted: "91", Kind.Generic.Inserted: "32", Kind.Generic.Heading: "1",
    Kind.Generic.Subheading: "95", Kind.Generic.Prompt: "1", Kind.Generic.Error: "91",
}  # fmt: skip

# The words of a line: a line may be broken between them, and beside a character of Chinese or
# Japanese with the punctuation that belongs to it.
_WORDS = re.compile(
    r"\n|[ \t]+"
    r"|[（「『【〈《]*[\u2e80-\u303f\u3041-\ua4cf\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
    r"[\u3001\u3002\u3099\u309a\u30fc！），．：；？」』】〉》、。]*|[^\s\u2e80-\ua4cf\uac00-\ud7af]+|."
)


class Span(NamedTuple):
    """Text in one style. Lines do not break at the spaces of an atomic span."""

    text: str
    style: str = ""
    atomic: bool = False


Line = list[Span]


@dataclass
class Block:
    """A part of the text that is printed by itself: a paragraph, a list item, a code block."""

    source: str
    complete: bool = True
    continues: bool = False  # part of the same list or code block: no empty line before it
    is_table: bool = False
    is_plain: bool = False  # shown as it is
    code: str | None = None
    preceding_code: str = ""  # the part of the same code block before `code`
    info: str = ""  # the language of a code block, and what else is written there


class Renderer:
    """Split a growing text into blocks and render them."""

    def __init__(self) -> None:
        self.unfinished_text: str = ""  # the next call's text must begin with it
        self._open_block = Block("")  # the block at the beginning of `unfinished_text`
        self._repeats_fence = False  # whether `unfinished_text` begins with a line shown before
        self._is_plain = False  # whether the text is too long to be parsed
        self._parser, self._splitter = markdown_parser(), markdown_parser().disable("inline")

    def split_blocks(self, text: str, final: bool) -> list[Block]:
        """Split text, its control characters escaped, into blocks.

        Unless `final`, blocks are incomplete from the last one that begins on a complete line, and
        `unfinished_text` is set to their text. A line that is still growing completes nothing: it
        may become a part of the block before it.
        """
        if self._is_plain or len(text) > MAX_PENDING_CHARS:
            return self._plain_blocks(text, final)
        lines = text.split("\n")
        located_blocks: list[tuple[int, Block]] = []  # each with the line where it begins
        fence_line = 0  # where the last code block begins
        for token, items in _top_level_blocks(self._splitter.parse(text)):
            start, end = token.map or (0, 0)
            last = Block("") if located_blocks else self._open_block
            if items:
                located_blocks += _item_blocks(items, token, lines, last)
            elif token.type == "fence":
                fence_line = start
                located_blocks += _code_blocks(token, "\n".join(lines[start:end]), last)
            else:
                source, is_table = "\n".join(lines[start:end]), token.type == "table_open"
                located_blocks.append((start, Block(source, is_table=is_table)))
        self.unfinished_text, self._open_block = "", Block("")
        if not final and not located_blocks:
            self.unfinished_text = lines[-1]  # perhaps the indentation of code
        elif not final:
            first_open = 0
            for index, (start, block) in enumerate(located_blocks):
                if start + block.is_table < len(lines) - 1:  # its second line makes it a table
                    first_open = index
            start, self._open_block = located_blocks[first_open]
            self._repeats_fence = self._open_block.code is not None and start > fence_line
            fence_lines = lines[fence_line : fence_line + 1] if self._repeats_fence else []
            self.unfinished_text = "\n".join([*fence_lines, *lines[start:]])
            for _, block in located_blocks[first_open:]:
                block.complete = False
        return [block for _, block in located_blocks]

    def _plain_blocks(self, text: str, final: bool) -> list[Block]:
        """Return the complete lines and the last one as blocks that are shown as they are."""
        if self._repeats_fence:
            text = text.partition("\n")[2]
        continues = self._is_plain or self._open_block.continues or self._repeats_fence
        self._is_plain, self._repeats_fence, self._open_block = True, False, Block("")
        if final:
            self.unfinished_text = ""
            return [Block(text.rstrip("\n"), is_plain=True, continues=continues)]
        complete_lines, newline, last_line = text.rpartition("\n")
        self.unfinished_text = last_line
        blocks = [Block(complete_lines, is_plain=True, continues=continues)] if newline else []
        if last_line:
            continues = continues or bool(newline)
            last_block = Block(last_line, complete=False, is_plain=True, continues=continues)
            blocks.append(last_block)
        return blocks

    def render_rows(self, block: Block, width: int) -> list[Row]:
        """Render a block as rows, of at most `width` columns if the block is incomplete."""
        if block.is_plain or (block.code is None and len(block.source) > MAX_BLOCK_CHARS):
            lines = [[Span(line)] for line in block.source.split("\n")]
        elif block.code is None:
            tree = SyntaxTreeNode(self._parser.parse(block.source))
            lines = list(_layout(tree.children, width))
        elif not block.code and (block.preceding_code or not block.complete):
            return []
        else:
            lines = _code_lines(block.code, block.info, block.preceding_code)
        if not block.complete:
            lines = [part for line in lines for part in _folded(line, width)]
        return [_to_row(_with_safe_tabs(line, width)) for line in lines]


def render_text(text: str, columns: int) -> str:
    """Return a whole text, its control characters escaped, as it is shown on a terminal."""
    return "\n".join(row.text for row in _render_all(text, columns - 1, folded=False))


def render_folded_rows(text: str, width: int) -> list[str]:
    """Return a whole text, its control characters escaped, as rows of at most `width` columns."""
    return [row.text for row in _render_all(text, width, folded=True)]


def _render_all(text: str, width: int, folded: bool) -> list[Row]:
    renderer = Renderer()
    rows: list[Row] = []
    for block in renderer.split_blocks(text, final=True):
        block.complete = not folded
        block_rows = renderer.render_rows(block, width)
        if block_rows and rows and not block.continues:
            rows.append(Row("", 0))
        rows += block_rows
    return rows


def _layout(nodes: Iterable[SyntaxTreeNode], width: int) -> Iterator[Line]:
    previous = None
    for node in nodes:
        if previous is not None and _is_apart(node, previous):
            yield []
        yield from _block_lines(node, max(width, MIN_WIDTH))
        previous = node


def _is_apart(node: SyntaxTreeNode, previous: SyntaxTreeNode) -> bool:
    """Return whether the text has an empty line between two nodes."""
    return node.map is not None and node.map[0] > _last_line(previous)


def _last_line(node: SyntaxTreeNode) -> int:
    if node.children and node.type in ("list_item", "bullet_list", "ordered_list", "blockquote"):
        return _last_line(node.children[-1])  # its own map includes empty lines
    return node.map[1] if node.map else 0


def _block_lines(node: SyntaxTreeNode, width: int) -> Iterable[Line]:
    match node.type:
        case "paragraph":
            return _wrapped(_spans(node), width)
        case "heading":
            style = f"{BOLD};{UNDERLINE}" if node.tag == "h1" else BOLD
            return _wrapped(_spans(node, style), width)
        case "blockquote":
            lines = _layout(node.children, width - 2)
            return ([Span("▌ ", ITALIC), *line] for line in lines)
        case "bullet_list" | "ordered_list":
            return _list_lines(node, width)
        case "fence" | "code_block":
            return _code_lines(node.content.removesuffix("\n"), node.info.strip())
        case "math_block":
            return [[Span(line)] for line in node.content.split("\n")]
        case "hr":
            return [[Span("─" * width, DIM)]]
        case "table":
            return _table_lines(node, width)
        case _:
            raise AssertionError(f"unknown block: {node.type}")


def _list_lines(node: SyntaxTreeNode, width: int) -> Iterator[Line]:
    """Lay out a list. The marks and numbers are those of the text."""
    previous = None
    for item in node.children:
        if previous is not None and _is_apart(item, previous):
            yield []
        mark = f"{item.info}{item.markup} "
        lines = _layout(item.children, width - len(mark))
        yield [Span(mark, BOLD), *next(lines, [])]
        for line in lines:
            yield [Span(" " * len(mark)), *line] if line else []
        previous = item


def _spans(node: SyntaxTreeNode, style: str = "") -> Line:
    """Return the inline content of a node."""
    spans: Line = []
    for child in node.children:
        match child.type:
            case "inline":
                spans += _spans(child, style)
            case "text":
                spans.append(Span(child.content, style))
            case "softbreak" | "hardbreak":  # keep the model's line breaks
                spans.append(Span("\n"))
            case "code_inline":
                spans.append(Span(child.content, _joined(style, CYAN), atomic=True))
            case "math_inline":
                spans.append(Span(child.content, style, atomic=True))
            case "em" | "strong":
                added = ITALIC if child.type == "em" else BOLD
                spans += _spans(child, _joined(style, added))
            case "link":
                label, target = _spans(child, _joined(style, UNDERLINE)), child.meta["target"]
                spans += label
                if "".join(span.text for span in label) != target:
                    target_span = Span(target, _joined(style, CYAN), atomic=True)
                    spans += [Span(" (", style), target_span, Span(")", style)]
            case _:
                raise AssertionError(f"unknown inline content: {child.type}")
    return spans


def _joined(style: str, added: str) -> str:
    return f"{style};{added}" if style else added


def _wrapped(spans: Line, width: int) -> Iterator[Line]:
    """Break a paragraph between words. A word that is wider than the line is not broken."""
    line: Line = []
    gap: Line = []
    used = gap_width = 0
    for word in _words(spans):
        text = "".join(span.text for span in word)
        if text == "\n":
            yield line
            line, gap, used, gap_width = [], [], 0, 0
            continue
        word_width = display_width(text)
        if not text.strip(" \t"):
            gap, gap_width = word, word_width
            continue
        if line and used + gap_width + word_width > width:
            yield line
            line, used = [], 0
        elif line:
            line += gap
            used += gap_width
        line += word
        used += word_width
        gap, gap_width = [], 0
    yield line


def _words(spans: Line) -> Iterator[Line]:
    """Yield words, the spaces between them, and line breaks. A word may have several styles."""
    word: Line = []
    for span in spans:
        if span.atomic and "\n" not in span.text:
            word.append(span)
            continue
        for match in _WORDS.finditer(span.text):
            part = Span(match[0], span.style)
            if not match[0][0].isspace() and match[0] < "\u2e80":
                word.append(part)
                continue
            if word:
                yield word
                word = []
            yield [part]
    if word:
        yield word


def _code_lines(code: str, info: str, preceding_code: str = "") -> list[Line]:
    """Highlight code. What is written at its fence is shown unless it is only a known language."""
    lexer = _lexer(info)
    lines = _highlighted(preceding_code + code, lexer)[preceding_code.count("\n") :]
    has_label = info and not preceding_code and (lexer is None or len(info.split()) > 1)
    return [[Span(info, DIM)], *lines] if has_label else lines


@lru_cache
def _lexer(info: str) -> Lexer | None:
    try:
        return get_lexer_by_name((info.split() or [""])[0], stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


def _highlighted(code: str, lexer: Lexer | None) -> list[Line]:
    plain = [[Span(line)] for line in code.split("\n")]
    if lexer is None:
        return plain
    tokens = list(lexer.get_tokens(code))
    if "".join(text for _, text in tokens) != code:  # a lexer that changes the code
        return plain
    lines: list[Line] = [[]]
    for kind, text in tokens:
        first, *rest = text.split("\n")
        style = _code_style(kind)
        lines[-1].append(Span(first, style))
        lines += [[Span(part, style)] for part in rest]
    return lines


@lru_cache
def _code_style(kind: TokenType) -> str:
    while kind not in _CODE_STYLES and kind.parent is not None:
        kind = kind.parent
    return _CODE_STYLES.get(kind, "")


def _table_lines(node: SyntaxTreeNode, width: int) -> Iterator[Line]:
    """Lay out a table; as one line for each cell where its longest words do not fit."""
    rows = [
        [_spans(cell) for cell in row.children] for part in node.children for row in part.children
    ]
    aligns = [str(cell.attrs.get("style", "")) for cell in node.children[0].children[0].children]
    header = [[span._replace(style=_joined(span.style, BOLD)) for span in cell] for cell in rows[0]]
    columns = list(zip(header, *rows[1:], strict=True))
    least = [max(_longest_word(cell) for cell in column) for column in columns]
    widths = [max(_width(cell) for cell in column) for column in columns]
    room = width - len(COLUMN_GAP) * (len(columns) - 1)
    if sum(least) > room:
        yield from _record_lines(header, rows[1:], width)
        return
    limit = max(widths)
    while sum(widths) > room:
        limit -= 1
        widths = [
            max(min(size, limit), smallest) for size, smallest in zip(widths, least, strict=True)
        ]
    rule = [Span(COLUMN_GAP.join("─" * size for size in widths))]
    for row in (header, *rows[1:]):
        cells = [_wrapped(cell, size) for cell, size in zip(row, widths, strict=True)]
        empty: Line = []
        for parts in zip_longest(*cells, fillvalue=empty):
            yield _joined_cells(parts, widths, aligns)
        if row is header:
            yield rule


def _joined_cells(cells: Iterable[Line], widths: list[int], aligns: list[str]) -> Line:
    line: Line = []
    for index, cell in enumerate(cells):
        padding = widths[index] - _width(cell)
        before = (
            padding
            if "right" in aligns[index]
            else padding // 2
            if "center" in aligns[index]
            else 0
        )
        line += [Span(" " * before), *cell]
        if index < len(widths) - 1:
            line.append(Span(" " * (padding - before) + COLUMN_GAP))
    return line


def _record_lines(header: list[Line], rows: list[list[Line]], width: int) -> Iterator[Line]:
    """Yield `name: value` for the cells of each row."""
    empty_row: list[Line] = [[] for _ in header]
    for index, row in enumerate(rows or [empty_row]):
        if index:
            yield []
        for name, cell in zip(header, row, strict=True):
            if name or cell:
                yield from _wrapped([*name, *([Span(": ", BOLD)] if name else []), *cell], width)


def _longest_word(cell: Line) -> int:
    return max((sum(display_width(span.text) for span in word) for word in _words(cell)), default=0)


def _width(line: Line) -> int:
    return sum(display_width(span.text) for span in line)


def _folded(line: Line, width: int) -> Iterator[Line]:
    """Break a line at the edge of the screen, as the terminal does, and expand tabs."""
    line = _expanded(line)
    if _width(line) <= width:
        yield line
        return
    parts: Line = []
    used = 0
    for span in line:
        for char in span.text:
            char_width = display_width(char)
            if used + char_width > width:
                yield parts
                parts, used = [], 0
            parts.append(Span(char, span.style))
            used += char_width
    yield parts


def _with_safe_tabs(line: Line, width: int) -> Line:
    """Keep the tabs of a line, to be copied, if all of it is surely left of the screen's edge.

    There, the character after a tab would be drawn over the one before it.
    """
    is_ascii = all(span.text.isascii() for span in line)
    expanded = _expanded(line)
    return line if is_ascii and _width(expanded) <= width else expanded


def _expanded(line: Line) -> Line:
    """Replace tabs by spaces."""
    if not any("\t" in span.text for span in line):
        return line
    expanded: Line = []
    used = 0
    for span in line:
        first, *rest = span.text.split("\t")
        text = first
        used += display_width(first)
        for part in rest:
            text += " " * (TAB_COLUMNS - used % TAB_COLUMNS) + part
            used += TAB_COLUMNS - used % TAB_COLUMNS + display_width(part)
        expanded.append(span._replace(text=text))
    return expanded


def _to_row(line: Line) -> Row:
    text = "".join(f"\x1b[{style}m{text}\x1b[0m" if style else text for text, style, _ in line)
    plain = "".join(span.text for span in line)
    return Row(text, display_width(plain.expandtabs(TAB_COLUMNS)))


def _top_level_blocks(tokens: Iterable[Token]) -> Iterator[tuple[Token, list[Token]]]:
    """Yield the outermost blocks, with the items of lists."""
    current: Token | None = None
    items: list[Token] = []
    for token in tokens:
        if token.level == 0 and token.nesting >= 0:
            if current is not None:
                yield current, items
            current, items = token, []
        elif token.level == 1 and token.type == "list_item_open":
            items.append(token)
    if current is not None:
        yield current, items


def _item_blocks(
    items: list[Token], list_token: Token, lines: list[str], previous: Block
) -> Iterator[tuple[int, Block]]:
    starts = [(item.map or [0, 0])[0] for item in items]
    ends = [*starts[1:], (list_token.map or [0, 0])[1]]
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        continues = bool(lines[start - 1].strip()) if index else previous.continues
        yield start, Block("\n".join(lines[start:end]), continues=continues)


def _code_blocks(token: Token, source: str, previous: Block) -> Iterator[tuple[int, Block]]:
    """Yield a code block; of a long one, first the part that is surely complete."""
    start, info = (token.map or [0, 0])[0], token.info.strip()
    code = token.content.removesuffix("\n").split("\n")
    preceding_code, continues = previous.preceding_code, previous.continues
    if len(code) >= LONG_CODE_LINES:
        count = len(code) - PENDING_CODE_LINES
        first = "\n".join(code[:count])
        yield (
            start,
            Block("", continues=continues, code=first, preceding_code=preceding_code, info=info),
        )
        seen_lines = preceding_code.split("\n")[:-1] + code[:count]
        preceding_code = "".join(f"{line}\n" for line in seen_lines[-HIGHLIGHT_CONTEXT_LINES:])
        continues = True
        start, code = start + 1 + count, code[count:]
    rest = "\n".join(code)
    yield (
        start,
        Block(source, continues=continues, code=rest, preceding_code=preceding_code, info=info),
    )
