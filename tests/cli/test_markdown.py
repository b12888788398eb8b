"""Test Markdown on a terminal, while it streams and at the end."""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ..support.terminal import Terminal

Feed = Callable[..., str]


SAMPLE = """\
# A title with *emphasis*

Some **bold** text, `code`, a [link](https://evil.example/x) and ![picture](http://a.example/b.png).
A second line of it that is somewhat longer than the others so that it has to be wrapped.

1. first
2. second
   - nested
   - more

   a paragraph in an item
3. third

> quoted text
> goes on

| Name | Count | What |
|------|------:|------|
| a | 1 | first one |
| bbbb | 22 | second **bold** 日本 |

```python
def f(x):

    return x + 1  # comment
```

The end.
"""


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    """Return the path of a script that prints a text in pieces and runs `more` at the end."""

    def made(text: str, step: int = 5, pause: float = 0.0, more: str = "") -> str:
        script = tmp_path / "feed.py"
        script.write_text(
            "import sys, termios, time\n"
            "quiet = termios.tcgetattr(0)\n"
            "quiet[3] &= ~termios.ECHO\n"
            "termios.tcsetattr(0, 0, quiet)\n"
            "from pipy_ai.cli.display.markdown import LiveMarkdown\n"
            f"markdown, text = LiveMarkdown(), {text!r}\n"
            f"for at in range(0, len(text), {step}):\n"
            f"    markdown.feed(text[at : at + {step}])\n"
            f"    time.sleep({pause})\n"
            f"{more}\n"
            "markdown.end()\n",
            encoding="utf-8",
        )
        return str(script)

    return made


def test_rendering(feed: Feed) -> None:
    with Terminal(feed(SAMPLE, 5, 0.001), columns=60, rows=40) as terminal:
        assert terminal.wait() == 0
        assert terminal.text == textwrap.dedent("""\
            A title with emphasis

            Some bold text, code, a link (https://evil.example/x) and
            !picture (http://a.example/b.png).
            A second line of it that is somewhat longer than the others
            so that it has to be wrapped.

            1. first
            2. second
               - nested
               - more

               a paragraph in an item
            3. third

            ▌ quoted text
            ▌ goes on

            Name  Count  What
            ────  ─────  ────────────────
            a         1  first one
            bbbb     22  second bold 日本

            def f(x):

                return x + 1  # comment

            The end.""")
        assert terminal.style("A title").bold
        assert terminal.style("bold text").bold
        assert not terminal.style("text, code").bold
        assert terminal.style("def").fg != "default"


def test_text_is_complete_for_every_chunking_and_screen_size(
    feed: Feed,
) -> None:
    chance = random.Random(7)
    words = [f"w{i}" for i in range(20_000)]
    at = iter(words)

    def some(count: int) -> str:
        return " ".join(next(at) for _ in range(count))

    parts = []
    for _ in range(3):
        parts += [
            f"## {some(3)}",
            some(chance.randrange(2, 90)),
            "\n".join(f"{i}. {some(chance.randrange(1, 30))}" for i in range(1, 13)),
            "\n".join(f"- {some(4)}\n  - {some(3)}" for _ in range(3)),
            "| a | b |\n|---|---|\n" + "\n".join(f"| {some(1)} | {some(2)} |" for _ in range(15)),
            "```python\n" + "\n".join(f"{some(3)}" for _ in range(70)) + "\n```",
            f"> {some(8)}\n> {some(8)}",
        ]
    text = "\n\n".join(parts)
    used = re.findall(r"w\d+", text)
    for columns, rows, step, pause in ((40, 10, 7, 0.0), (100, 24, 30, 0.004), (33, 5, 300, 0.02)):
        with Terminal(feed(text, step, pause), columns=columns, rows=rows) as terminal:
            assert terminal.wait() == 0
            seen = terminal.text
        assert re.findall(r"w\d+", seen) == used
        assert re.findall(r"^(\d+)\. w", seen, re.MULTILINE) == 3 * [str(n) for n in range(1, 13)]
        assert "```" not in seen


def test_incomplete_markdown_is_shown_as_it_arrives(feed: Feed) -> None:
    # Nothing follows the half sentence until the terminal has been looked at.
    with Terminal(feed("First **words** of a", more="sys.stdin.read(1)")) as terminal:
        terminal.wait_for("First words of a")
        assert terminal.style("words").bold
        terminal.send("\n")
        assert terminal.wait() == 0
        assert terminal.text.count("First") == 1


def test_block_and_the_line_that_may_continue_it_are_both_shown(feed: Feed) -> None:
    text = "- one\n- two\n-"  # `-three` would be text of the second item
    with Terminal(feed(text, more="sys.stdin.read(1)")) as terminal:
        terminal.wait_for("- one\n- two\n-")
        terminal.send("\n")
        assert terminal.wait() == 0
        assert terminal.text == "- one\n- two\n-"


def test_first_words_are_shown_before_rich_is_loaded(feed: Feed) -> None:
    script = Path(feed("First **words**"))
    gate = (
        "import sys\n"
        "class Gate:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('rich', 'markdown_it'):\n"
        "            sys.stdin.readline()\n"
        "sys.meta_path.insert(0, Gate())\n"
    )
    script.write_text(gate + script.read_text())
    with Terminal(str(script)) as terminal:
        terminal.wait_for("First")
        assert terminal.raw.count(b"\x1b") == 0
        terminal.send("\n\n\n\n")
        assert terminal.wait() == 0
        assert terminal.text == "First words"


@pytest.mark.parametrize("columns", [30, 90])
def test_resized_window(columns: int, feed: Feed) -> None:
    half = SAMPLE.index("> goes on")
    code = feed(SAMPLE[:half], more=f"sys.stdin.read(1); markdown.feed({SAMPLE[half:]!r})")
    with Terminal(code, columns=60, rows=40) as terminal:
        terminal.wait_for("▌ quoted text")
        terminal.resize(columns, 40)
        terminal.send("\n")
        assert terminal.wait() == 0
        for word in (
            "A title",
            "Some bold",
            "nested",
            "in an item",
            "quoted",
            "goes on",
            "bbbb",
            "return",
            "end.",
        ):
            assert terminal.text.count(word) == 1, terminal.text


def test_model_text_cannot_send_escape_sequences(feed: Feed) -> None:
    evil = (
        "\x1b[31mred\x1b]0;title\x07 &#x202e;txt &#27;[2J \u202egnp.exe\n\n"
        "```\x1b[32m\ncode\x1b[2J\n```\n\n| a\x1b[1m |\n|---|\n| \u2066b |\n\n"
        "[good.example](https://evil.example/\u202e) <!-- seen --> [x]: http://y.example"
    )
    with Terminal(feed(evil), columns=100) as terminal:
        assert terminal.wait() == 0
        raw = terminal.raw.decode()
        assert not set(raw) & set("\u202e\u2066\x07")
        assert not re.search(r"\x1b(?!\[[\d;]*[mKJA]|\[\?7[hl])", raw)
        for text in ("<U+202E>gnp.exe", "\\x1b[31mred", "https://evil.example/", "<!-- seen -->"):
            assert text in terminal.text


def test_cpu_time_of_a_long_response(feed: Feed) -> None:
    # One paragraph and one piece of code of 40 kB each, in small pieces, at once.
    text = "word " * 8_000 + "\n\n```python\n" + "x = f(1, 'two')  # three\n" * 2_000 + "```\n"
    more = "markdown.end(); print('CPU', time.process_time()); sys.exit()"
    with Terminal(feed(text, 20, more=more)) as terminal:
        assert terminal.wait() == 0
        assert terminal.text.count("three") == 2_000
        assert terminal.text.count("word") == 8_000
        assert float(terminal.text.rpartition("CPU")[2]) < 20
