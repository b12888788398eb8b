"""Test that no character of a response is lost on the terminal, whatever its Markdown."""

from __future__ import annotations

import contextlib
import cProfile
import fcntl
import io
import os
import pty
import random
import re
import struct
import termios
from collections import Counter
from collections.abc import Callable, Iterator

import pyte
import pytest
from markdown_it import MarkdownIt

from pipy_ai import stream
from pipy_ai.cli.display.markdown import Page
from pipy_ai.cli.display.printer import Printer
from pipy_ai.cli.display.rendering import MAX_PENDING_CHARS, Renderer
from pipy_ai.cli.display.terminal import StreamEscaper, escape_controls

TEXTS = int(os.environ.get("MARKDOWN_TEXTS", "1000"))
ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
MARKUP = frozenset("*~`>#|-:[]()\\")  # each is shown where it is no markup: see UNCHANGED
SCOTLAND = "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbsct") + "\U000e007f"


class Screen(io.StringIO):
    """Standard output on a terminal of a given size; what is printed is kept."""

    def __init__(self) -> None:
        super().__init__()
        self._leader, self._follower = pty.openpty()

    def fileno(self) -> int:
        return self._follower

    def draw(self, pieces: list[str], columns: int, rows: int = 24) -> str:
        """Display a text that arrives in pieces; return what was printed."""
        fcntl.ioctl(self._follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.seek(0)
        self.truncate()
        page, escaper = Page(), StreamEscaper()
        with contextlib.redirect_stdout(self):
            for piece in pieces[:-1]:
                page.pending_text += escaper.feed(piece)
                page.paint(final=False)
            page.pending_text += escaper.feed(pieces[-1], final=True)
            page.paint(final=True)
        return self.getvalue()

    def shut(self) -> None:
        os.close(self._leader)
        os.close(self._follower)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    made.shut()


def plain(printed: str) -> str:
    """Return what stays on the screen of a text that came at once, without its style."""
    return ESCAPE_SEQUENCE.sub("", printed.rpartition("\r")[2])  # first its first words are drawn


def seen(printed: str, columns: int, rows: int) -> str:
    """Return the rows of a terminal emulator, with those that scrolled off."""
    emulator = pyte.HistoryScreen(columns, rows, history=100_000, ratio=0.5)
    known = re.sub("[\u200c-\u200f\u061c\ufe0f\U000e0000-\U000e0fff]", "", printed)
    pyte.Stream(emulator).feed(known.replace("\n", "\r\n"))
    above = ["".join(row[x].data for x in range(columns)) for row in emulator.history.top]
    return "\n".join(row.rstrip() for row in [*above, *emulator.display]).rstrip()


UNCHANGED = [
    "1986. A great year",
    "1. one\n3. three\n2. two\n007. Bond\n2) other",
    "It was in\n2019.\nThen 2020. came.",
    "+ 5\n- 7\n* 3",
    "Result\n======\n42",
    "2 + 2\n=\n4",
    "$a_1 * b_2 * c_3$ and $$x*y*z$$",
    "\\(a_1*b*c\\) and \\[ \\frac{a}{b} \\]",
    "$$\na\n+ b * c\n> 0\n= d_1\n- e\n# f\n$$",
    "\\[\n1. x \\\\\n2. y\n\\]",
    "2*3*4 = 24, x**2 + y**2 = z**2, f(x)*g(x)*h(x), (a)*(b)*(c), α*β*γ",
    '"*.py" or "*.txt", "*" and "*", (*), [*], \'*\'',
    "src/*.py and lib/*.py, src/**/*.c and test/**/*.c, *.py or foo.*",
    "/* a */ and /* b */",
    "__init__ and __name__, _id and id_, $_GET and _x_",
    "C:\\_build\\*.log and \\\\server\\share and \\d+\\.\\d and a \\\\ b",
    "curl \\\n-X",
    "<b>bold</b> <br/> <!-- note --> <div>\n&amp; &lt; &nbsp; &#65; &unknown;",
    "<https://example.com> and [^1] and [x][y]\n\n[^1]: the note\n\n[x]: /u 'title'",
    "handlers[i](event) and a[0](b)",
    "a~~b and c~~d, ~~$10~~ $5",
    "a   b    c",
    f"{SCOTLAND} 🇩🇪 👩‍👧 ❤️‍🔥 ☀️ می‌خواهم \u200fשלום\u200f e\u0301",
    "[ ] open\n[x] done",
    "- [ ] open\n- [x] done\n  - deeper\n    1. deepest",
    "`a",
    "| not | a table",
    "~~ ~ ~~~~",
]  # fmt: skip


@pytest.mark.parametrize("text", UNCHANGED)
def test_text_that_looks_like_markup_is_shown_as_it_is(text: str, screen: Screen) -> None:
    assert re.split(r"\n+", plain(screen.draw([text], 100)).rstrip("\n")) == re.split(r"\n+", text)


RENDERED = [
    ("**bold**, *em*, ***both*** and `co*de`", "bold, em, both and co*de"),
    ("**S**tar, **word**s, 这是**强调**的, *(a)*, **-5**", "Star, words, 这是强调的, (a), -5"),
    ("5 \\* 3, \\$5, a\\_b\\_c, \\`x\\`, \\#1, \\~", "5 * 3, $5, a_b_c, `x`, #1, ~"),
    ('[a](https://例え.jp/a_b*c?x&amp;y=ü "Name")', 'a (https://例え.jp/a_b*c?x&amp;y=ü "Name")'),
    ("[https://x.y](https://x.y) ![alt](a.png)", "https://x.y !alt (a.png)"),
    ("# C #\n## C # ##\n### F# #", "C\n\nC #\n\nF# #"),
    ("# Title\n\n---\n", f"Title\n\n{'─' * 59}"),
    ("> a\n>> b\n", "▌ a\n▌ ▌ b"),
    ("```src/app.py\nx\n```", "src/app.py\nx"),
    ("```python title=\"a.py\"\nx\n```", 'python title="a.py"\nx'),
    ("```python\nx\n```", "x"),
    ("1. a\n\n   ```sh\n   ls\n   ```\n2. b", "1. a\n\n   ls\n2. b"),
    ("a\r\n\r\n- b\r\n- c\r\n", "a\n\n- b\n- c"),
    ("| a | b |\n|---|--:|\n| `x || y` | 1 |\n| 2 | 3 | 4 | 5 |\n| 6 |\nAfter",
     "a               b\n──────  ─────────\nx || y          1\n2       3 | 4 | 5\n6"
     "                \n\nAfter"),
    ("|" * 3 + "\n|---|", "|||\n|---|"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), RENDERED)
def test_rendered_markup(text: str, shown: str, screen: Screen) -> None:
    assert plain(screen.draw([text], 60)).rstrip("\n") == shown


LINE = (
    "curl -fsSL https://example.com/install/a/long/path/here.sh | sh -s -- --flag value --another"
)


ADDRESS = f"https://example.com/{'a/' * 50}end"
HASH = "a" * 60 + "Z"


@pytest.mark.parametrize(
    ("text", "unbroken"),
    [
        (f"```sh\n{LINE}\n```", LINE),
        (f"```\n{LINE}\n```\nAfter", LINE),
        (f"1. Run\n\n   ```sh\n   {LINE}\n   ```\n", LINE),
        (f"> ```\n> {LINE}\n> ```\n", LINE),
        (f"So:\n\n    {LINE}\n", LINE),
        (f"Run `{LINE}` now", LINE),
        (f"- `{LINE}`", LINE),
        (f"See {ADDRESS} now", ADDRESS),
        (f"[here]({ADDRESS})", ADDRESS),
        (f"| id | sum |\n|---|---|\n| 1 | {HASH} |\n| 2 | b |\n", HASH),
        (f"| id | path |\n|---|---|\n| 1 | `{LINE.replace('|', ':')}` |\n", LINE.replace("|", ":")),
        (f"$${'x + ' * 30}y$$", "x + " * 30 + "y"),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_what_is_copied_has_no_line_breaks_in_it(
    text: str, unbroken: str, step: int, screen: Screen
) -> None:
    printed = screen.draw([text[at : at + step] for at in range(0, len(text), step)], 40)
    assert unbroken in ESCAPE_SEQUENCE.sub("", printed)
    rows = seen(printed, 40, 24).split("\n")
    first = next(index for index, row in enumerate(rows) if unbroken[:8] in row)
    assert unbroken.replace(" ", "") in "".join(rows[first:]).replace(" ", "")


def test_code_keeps_tabs_indentation_and_empty_lines(screen: Screen) -> None:
    code = "\nall:\n\tcc  -o x\n\n\n    y  \n"
    assert code in plain(screen.draw([f"```make\n{code}```\n"], 60))


def test_tab_at_the_edge_of_the_screen_hides_nothing(screen: Screen) -> None:
    for size in range(1, 45):
        code = f"{'x' * size}\tA\tB\n{'東' * (size // 2)}\tC"
        printed = screen.draw([f"```\n{code}\n```"], 20)
        shown = seen(printed, 20, 24)
        assert shown.count("x") == size
        assert shown.count("東") == size // 2
        assert {"A", "B", "C"} <= set(shown)


def test_deeply_nested_text_is_shown(screen: Screen) -> None:
    for marks in ("> " * 300, "- " * 300, "1. " * 200, "> - " * 150, "[" * 2000, "*a " * 500):
        assert "deep" in plain(screen.draw([f"{marks}deep"], 40)).replace("\n", "")


PIECES = [
    "# ", "## ", "> ", ">", "- ", "* ", "+ ", "1. ", "1986. ", "7) ", "007. ", "```", "```py\n",
    "```sh -x\n", "~~~", "~~~\n", "    ", "\t", "  ", " ", " ", "| a | b |\n|---|:-:|\n",
    "| x | `p|q` | z |\n", "|", "***", "**", "*", "_", "__", "~~", "~", "`", "``", "$", "$$",
    "\\", "\\(", "\\)", "\\[", "\\]", "[", "](", ")", "![", "<", ">", "<b>", "&amp;", "&nbsp;",
    "&#8203;", '[l](http://x.y/a_b "t")', "[^1]", "[^1]: note", "http://例え.jp/a*b*c", "---",
    "===", "=", "|---|---|", "a", "b1", "word", "é", "東京", "日本語の文", SCOTLAND, "👩‍👧",
    "🇩🇪", "שלום\u200f", "\u202e", "\u200b", "\x1b[2J", "e\u0301", "x" * 50,
    "/usr/" + "y" * 45, "2*3*4", "x**2", "a_1*b_2", "C:\\_x\\*.y", "\\\\srv\\s", "def f(x):\n",
    "\n", "\n", "\n", "\n", "\n\n", "\r\n", "<!-- c -->", "<div>\n", "!", ".", ",", ":", "(",
    "{", "}", "'", '"', "@", "%", "^", "/",
]  # fmt: skip


def count_calls(draw: Callable[[], object]) -> int:
    """Return how many functions are called, which is the same on every machine."""
    profile = cProfile.Profile()
    profile.runcall(draw)
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize("text", ["[", "![", "[[](", "[a](", "[[a](b) ", f"{'[' * 900}](", "x"])
def test_rendering_takes_time_in_proportion_to_the_text(text: str) -> None:
    blocks = Renderer().split_blocks((text * 10_000)[:10_000], final=True)

    assert count_calls(lambda: [Renderer().render_rows(block, 79) for block in blocks]) < 1_500_000


@pytest.mark.parametrize("text", ["[" * 1_000_000, "**a [b](c `d` " * 20_000, "> [" * 100_000])
def test_huge_paragraph_is_shown_as_it_is(text: str, screen: Screen) -> None:
    calls = count_calls(lambda: screen.draw([text], 80))

    assert calls < 2_000_000
    assert visible(plain(screen.getvalue())) == visible(text)


@pytest.mark.parametrize("before", ["", "1. **first**\n", "```py\n" + "x = 1\n" * 60])
def test_text_that_is_too_long_to_parse_is_shown_as_it_is(before: str, screen: Screen) -> None:
    items = "".join(f"- item **{number}**\n" for number in range(MAX_PENDING_CHARS // 10))
    pieces = [before, items, "- more `text`\n", "- the *last* item\n\n"]

    calls = count_calls(lambda: screen.draw(pieces, 80))

    assert calls < 8_000_000
    shown = ESCAPE_SEQUENCE.sub("", screen.getvalue()).replace("\r", "")
    assert shown.count(f"{items}- more `text`\n- the *last* item\n") == 1
    for line in ("first", "x = 1\n"):  # the last of it may have been drawn twice
        assert shown.count(line) >= before.count(line)
    assert "```" not in shown


def arbitrary_text(chance: random.Random) -> str:
    """Return fragments of Markdown, or arbitrary characters."""
    if chance.random() < 0.85:
        return "".join(chance.choices(PIECES, k=chance.randrange(1, chance.choice([6, 20, 45]))))
    blocks = [
        (0x00, 0x20), (0x20, 0x7F), (0x20, 0x7F), (0x80, 0x3000), (0x3000, 0xD800),
        (0xE000, 0x1F300), (0x1F300, 0x1F700), (0x1F700, 0x110000),
    ]  # fmt: skip
    size = chance.randrange(1, 60)
    return "".join(chr(chance.randrange(*chance.choice(blocks))) for _ in range(size))


def visible(text: str) -> Counter[str]:
    """Count the characters that are never markup, which are most of them."""
    return Counter(char for char in text if not char.isspace() and char not in MARKUP)


def fence_infos(text: str) -> str:
    """Return the languages of code, which are shown by its colors."""
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 100}).disable("lheading")
    return "".join(token.info for token in parser.parse(text) if token.type == "fence")


def test_no_character_of_an_arbitrary_text_is_lost(screen: Screen) -> None:
    chance = random.Random(1986)
    for _ in range(TEXTS):
        text, columns = arbitrary_text(chance), chance.choice([5, 12, 20, 21, 33, 80, 120])
        source = escape_controls(text)
        shown = plain(screen.draw([text], columns))
        assert not visible(source) - visible(shown) - visible(fence_infos(source)), repr(text)


def test_streamed_text_looks_like_the_whole_text(screen: Screen) -> None:
    chance = random.Random(2019)
    for _ in range(TEXTS // 4):  # the emulator is slow
        text, columns = arbitrary_text(chance), chance.choice([8, 20, 33, 80])
        if re.search(
            r"[\u0300-\u036f\u0483-\u1cff\u20d0-\u20ff\ua66f-\uabff\U00010000-\U0001efff]", text
        ):
            continue  # the emulator draws combining characters in the cell before
        step, rows = chance.choice([1, 2, 5, 9]), chance.choice([5, 24])
        whole = seen(screen.draw([text], columns), columns, 24)
        pieces = [text[at : at + step] for at in range(0, len(text), step)]
        assert seen(screen.draw(pieces, columns, rows), columns, rows) == whole, repr(text)


@pytest.mark.parametrize("mark", ["- ", "* ", "+ ", "2. ", "7) "])
def test_list_item_before_the_rule_of_a_table_is_an_item_however_it_arrives(
    mark: str, screen: Screen
) -> None:
    items = [f"{mark}one\n", f"{mark}a | b |\n|---|---|\n| x | y |\n", f"{mark}last\n"]
    for text in ("".join(items), items[1]):
        whole = seen(screen.draw([text], 40), 40, 24)
        assert f"{mark}a | b |" in whole
        assert whole.count("|---|---|") == 1
        for at in range(len(text)):
            assert seen(screen.draw([text[:at], text[at:]], 40), 40, 24) == whole


def test_arbitrary_text_in_a_pipe_is_exact() -> None:
    chance = random.Random(8)
    for _ in range(TEXTS // 5):
        text = arbitrary_text(chance)
        if not text.strip():  # no prompt
            continue
        pipe = io.StringIO()
        with contextlib.redirect_stdout(pipe), stream("faux/echo", text) as events, Printer() as it:
            for event in events:
                it.show(event)
        assert pipe.getvalue().removesuffix("\n") == text.removesuffix("\n"), repr(text)
