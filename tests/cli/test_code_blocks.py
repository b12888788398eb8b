"""Test the code blocks that `pipy ask -x` finds, against a Markdown parser's HTML."""

from __future__ import annotations

import os
import random
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from pipy_ai.cli.display.code_blocks import extract_code_blocks

from ..support.command import pipy

TEXTS = int(os.environ.get("MARKDOWN_TEXTS", "1000"))


class CodeInHTML(HTMLParser):
    """Collect the contents of `<pre>`."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "pre":
            self._inside = True
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[-1] += data


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```py\nprint(1)\n```", ["print(1)\n"]),
        ("1. a\n\n   ```\n   x\n     y\n   ```\n", ["x\n  y\n"]),
        ("10. a\n    ~~~\n    x\n    ~~~", ["x\n"]),
        ("- a\n  - b\n\n    ```\n    x\n    ```", ["x\n"]),
        ("> a\n> ```\n> x\n>\n> y\n> ```\n", ["x\n\ny\n"]),
        ("> - a\n>   ```\n>   x\n>   ```", ["x\n"]),
        ("````md\n```py\nx\n```\n````\n", ["```py\nx\n```\n"]),
        ("~~~\n```\n~~~\n\n```\n~~~\n```", ["```\n", "~~~\n"]),
        ("```\nx\n``` not the end\n```", ["x\n``` not the end\n"]),
        ("Run\n\n    ls -l\n\n    cd\n\nnow", ["ls -l\n\ncd\n"]),
        ("not\n    code", []),
        ("`` `not` ``\n\n```not``` either", []),
        ("```\ntruncated", ["truncated\n"]),
        ("> ```\n> truncated by the quote\n\nb", ["truncated by the quote\n"]),
        ("```\r\na\r\n\r\nb\r\n```\r\n", ["a\n\nb\n"]),
        ("   ```\n   a\n  b\n c\n   ```", ["a\nb\nc\n"]),
        ("```\n\tx\n```\n", ["\tx\n"]),
        ("- ```\n  a\n- ```\n  b\n", ["a\n", "b\n"]),
        ("```\n```\n", [""]),
        ("1) ~~~~ sh -x\n   a\n   ~~~\n   ~~~~~\n", ["a\n~~~\n"]),
        ("> " * 40 + "```\n" + "> " * 40 + "deep\n", ["deep\n"]),
    ],
)
def test_code_blocks(text: str, code: list[str]) -> None:
    assert extract_code_blocks(text) == code


def test_arbitrary_texts_against_html() -> None:
    chance = random.Random(15)
    pieces = [
        "```", "````", "~~~", "~~~~~", "```py", "~~~ a `b`", "    x", "\ty", "> ", ">", "- ", "* ",
        "+ ", "1. ", "10) ", "   ", "  ", " ", "code", "if x:", "<a>", "&amp;", "é 東", "`z`",
        "# h", "---", "===", "|a|b|", "\n", "\n", "\n", "\n", "\n\n", "\r\n", "\\", "<div>",
        "[x]: /u", "\x0b", "\u2028",
    ]  # fmt: skip
    parser = MarkdownIt("commonmark")
    for _ in range(TEXTS):
        text = "".join(chance.choices(pieces, k=chance.randrange(1, 40)))
        html = CodeInHTML()
        html.feed(parser.render(text).replace("<pre>\n", "<pre>"))
        html.close()
        expected = [
            block if block.endswith("\n") or not block else f"{block}\n" for block in html.blocks
        ]
        assert extract_code_blocks(text) == expected, repr(text)


def test_extracted_code_is_exact_in_a_pipe() -> None:
    answer = "1. So:\n\n   ```\n   printf '\x1b[1m\u200b'\t# ü\n   ```\n"
    assert pipy("ask", "-m", "faux/echo", "-x", answer).stdout == "printf '\x1b[1m\u200b'\t# ü\n"
