"""Markdown on a terminal: what a user sees while it comes, and what stays."""

from __future__ import annotations

import random
import re
import textwrap

import pytest

from .terminal import Terminal

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


def feeding(text: str, step: int = 5, pause: float = 0.0, more: str = "") -> list[str]:
    pieces = [text[i : i + step] for i in range(0, len(text), step)]
    code = f"""
        import sys, time
        from pipy_ai.cli.markdown import Markdown
        markdown = Markdown()
        for piece in {pieces!r}:
            markdown.feed(piece)
            time.sleep({pause})
        {more}
        markdown.end()
    """
    return ["-c", textwrap.dedent(code)]


def shown(text: str, columns: int = 60, rows: int = 30, **how: float) -> str:
    step = int(how.pop("step", 5))
    with Terminal(*feeding(text, step, **how), columns=columns, rows=rows) as terminal:
        assert terminal.wait() == 0, terminal.text
        return terminal.text


def test_it_looks_as_it_should() -> None:
    with Terminal(*feeding(SAMPLE, 5, 0.001), columns=60, rows=40) as terminal:
        assert terminal.wait() == 0
        assert terminal.text == textwrap.dedent("""\
            A title with emphasis

            Some bold text, code, a link (https://evil.example/x) and
            !picture (http://a.example/b.png).
            A second line of it that is somewhat longer than the others
            so that it has to be wrapped.

             1 first
             2 second
                • nested
                • more
               a paragraph in an item
             3 third

            ▌ quoted text
            ▌ goes on

              Name   Count   What
             ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
              a          1   first one
              bbbb      22   second bold 日本

            def f(x):

                return x + 1  # comment

            The end.""")
        assert terminal.style("A title").bold
        assert terminal.style("bold text").bold
        assert not terminal.style("text, code").bold
        assert terminal.style("def").fg != "default"


def test_nothing_is_lost_or_doubled_however_it_comes_and_however_small_the_screen() -> None:
    chance = random.Random(7)
    words = [f"w{i}" for i in range(4000)]
    at = iter(words)

    def some(count: int) -> str:
        return " ".join(next(at) for _ in range(count))

    parts = []
    for _ in range(14):
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
        seen = shown(text, columns, rows, step=step, pause=pause)
        assert re.findall(r"w\d+", seen) == used
        assert [n for n in re.findall(r"^ +(\d+) w", seen, re.MULTILINE)] == 14 * [
            str(n) for n in range(1, 13)
        ]
        assert "```" not in seen


def test_what_is_incomplete_is_shown_as_it_comes() -> None:
    # Nothing follows the half sentence until the terminal has been looked at.
    arguments = feeding("First **words** of a", more="sys.stdin.read(1)")
    with Terminal(*arguments) as terminal:
        terminal.wait_for("First words of a")
        assert terminal.style("words").bold
        terminal.send("\n")
        assert terminal.wait() == 0
        assert terminal.text.count("First") == 1


@pytest.mark.parametrize("columns", [30, 90])
def test_a_window_that_is_resized(columns: int) -> None:
    half = SAMPLE.index("quoted")
    code = feeding(SAMPLE[:half], more=f"sys.stdin.read(1); markdown.feed({SAMPLE[half:]!r})")
    with Terminal(*code, columns=60, rows=40) as terminal:
        terminal.wait_for("▌")
        terminal.resize(columns, 40)
        terminal.send("\n")
        assert terminal.wait() == 0
        for word in ("A title", "bold", "nested", "in an item", "quoted", "bbbb", "return", "end."):
            assert terminal.text.count(word) == 1, terminal.text


def test_model_text_commands_nothing() -> None:
    evil = (
        "\x1b[31mred\x1b]0;title\x07 &#x202e;txt &#27;[2J \u202egnp.exe\n\n"
        "```\x1b[32m\ncode\x1b[2J\n```\n\n| a\x1b[1m |\n|---|\n| \u2066b |\n\n"
        "[good.example](https://evil.example/\u202e) <!-- seen --> [x]: http://y.example"
    )
    with Terminal(*feeding(evil), columns=100) as terminal:
        assert terminal.wait() == 0
        raw = terminal.raw.decode()
        assert not set(raw) & set("\u202e\u2066\x07")
        assert not re.search(r"\x1b(?!\[[\d;]*[mKJA]|\[\?7[hl])", raw)
        for text in ("<U+202E>gnp.exe", "\\x1b[31mred", "https://evil.example/", "<!-- seen -->"):
            assert text in terminal.text


def test_a_long_answer_takes_no_more_than_its_share() -> None:
    # One paragraph and one piece of code of 100 kB each, in small pieces, at once.
    text = "word " * 20_000 + "\n\n```python\n" + "x = f(1, 'two')  # three\n" * 4_000 + "```\n"
    pieces = f"[{text!r}[i:i+20] for i in range(0, {len(text)}, 20)]"
    code = feeding("")
    code[1] = code[1].replace("[]", pieces, 1) + "\nprint('CPU', time.process_time())"
    with Terminal(*code) as terminal:
        assert terminal.wait() == 0
        assert terminal.text.count("three") == 4_000
        assert terminal.text.count("word") == 20_000
        assert float(terminal.text.rpartition("CPU")[2]) < 20
