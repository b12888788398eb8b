"""Test `pipy history export` to HTML and SQLite."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipy_ai import AssistantMessage, assistant, image, tool_result, user
from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.cli.conversations.html_page import MAX_RENDERED_CHARS, markdown_html
from pipy_ai.cli.main import main
from pipy_ai.types import Cost, TextContent, ThinkingContent, ToolCall, Usage

from ..support.command import pipy

HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(2)> </article></body>\n"
    "![x](http://evil.example/pixel.png) [a](javascript:alert(3)) [b](data:text/html,x)\n"
    '[c](http://ok.example/?q="onclick=alert(4)) `</code><b>` \x1b[2J \u202e \x00 \ud800\n\n'
    "```html\n</pre><script>alert(5)</script>\n```\n\n"
    '| <i> | b |\n| --- | ---: |\n| "><svg/onload=alert(6)> | 2 |\n\n'
    "<style>*{display:none}</style>\n\n> 1. # <iframe src=//x>\n\n$$</pre><x>$$\n"
)
TAGS = {
    "html", "head", "meta", "title", "style", "body", "article", "header", "h1", "h2", "h3", "p",
    "section", "span", "br", "a", "code", "pre", "table", "tr", "th", "td", "blockquote", "ol",
    "ul", "li", "em", "strong", "div", "img", "hr",
}  # fmt: skip


class Page(HTMLParser):
    """The tags, attributes, addresses and text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "br", "img", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def keep(question: str, *messages: object) -> str:
    with Conversation.new(model="openai/gpt-5", system=f"Be <b>kind</b>. {HOSTILE}") as talk:
        talk.add(user(question))
        for message in messages:
            talk.add(message)  # type: ignore[arg-type]
    return talk.id


@pytest.fixture
def hostile() -> str:
    call = ToolCall(id="c", name="<b>look", arguments={"at": "<script>"})
    usage = Usage(input=1000, output=45, total_tokens=1045, cost=Cost(total=0.01))
    content = [ThinkingContent(thinking=HOSTILE), TextContent(text=HOSTILE), call]
    return keep(
        HOSTILE,
        AssistantMessage(content=content, provider="<p>", model="<m>", usage=usage),
        tool_result(call, HOSTILE),
        assistant("End & <end>"),
    )


def test_html_is_inert_and_complete(hostile: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.html"
    assert main(["history", "export", "-o", str(path)]) == 0
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    assert page.open == []
    assert page.tags <= TAGS
    assert page.attributes <= {
        "charset", "http-equiv", "content", "name", "class", "id", "href", "rel", "style", "value",
    }  # fmt: skip
    assert "img" not in page.tags  # a page that is opened requests nothing
    links = {'http://ok.example/?q="onclick=alert(4)', "http://evil.example/pixel.png"}
    assert set(page.addresses) == links
    for text in ("alert(1)", "onerror=alert(2)", "alert(5)", "alert(6)", "display:none", "//x",
                 "pixel.png", "javascript:alert(3)", "$10", "Be <b>kind", "<m>", "End & <end>",
                 r"\x1b[2J", "<U+202E>", r"\x00"):  # fmt: skip
        assert text.replace("$10", "1,000 in / 45 out · $0.01") in page.text, text
    assert "default-src 'none'" in source
    assert not any(char in source for char in "\x00\x1b\u202e")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*tmp_path.glob("talk*"), *tmp_path.glob(".talk*")] == [path]


def test_html_renders_markdown_and_images() -> None:
    assert markdown_html("# A\n\n3. *b*\n4. `c`\n\n| x |\n| ---: |\n| y |") == (
        "<h3>A</h3>\n<ol>\n"
        '<li value="3"><em>b</em>\n</li>\n<li value="4"><code>c</code>\n</li>\n</ol>\n'
        '<table>\n<tr><th style="text-align:right">x</th></tr>\n'
        '<tr><td style="text-align:right">y</td></tr>\n</table>\n'
    )
    assert "> " * 200 not in markdown_html("> " * 200 + "deep")
    assert "deep" in markdown_html("> " * 200 + "deep")
    pixel = b"\x89PNG\r\n\x1a\n"
    with Conversation.new(model="m/m") as talk:
        talk.add(user("see", image(pixel)))
    done = pipy("history", "export", "--format", "html")
    assert '<img alt="attached image" src="data:image/png;base64,' in done.stdout


def test_html_of_a_huge_answer_loses_nothing() -> None:
    text = "**word** <b> " * (MAX_RENDERED_CHARS // 10)
    shown = markdown_html(text)
    assert shown.startswith("<pre>")
    assert shown.count("**word** &lt;b&gt;") == MAX_RENDERED_CHARS // 10


def test_several_conversations(hostile: str, tmp_path: Path) -> None:
    keep("Second question?", assistant("Yes."))
    page = Page(pipy("history", "export", "--all", "--format", "html").stdout)
    assert "2 conversations" in page.text
    assert {"#c1", "#c2"} < set(page.addresses)
    assert re.search(r"Second question\? \d{4}-\d\d-\d\d\n", page.text)
    markdown = pipy("history", "export", "--all").stdout
    assert markdown.count("\n# ") == 1
    assert markdown.startswith("# Second question?\n\n## System")
    documents = json.loads(pipy("history", "export", "--all", "--format", "json").stdout)
    assert {document["id"] for document in documents} >= {hostile}
    assert len(documents) == 2
    both = pipy("history", "export", "--all", "--format", "jsonl")
    assert (both.returncode, both.stdout) == (2, "")
    assert pipy("history", "export", "--all", hostile).returncode == 2


def test_database_with_search(hostile: str, tmp_path: Path) -> None:
    keep("Wie heißt Zürich?", assistant("Zürich."), AssistantMessage(usage=Usage(input=2**70)))
    path = tmp_path / "history.db"
    for _ in range(2):  # an earlier export is replaced
        done = pipy("history", "export", "-o", str(path))
        assert (done.returncode, done.stderr) == (0, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["history.db", "pipy-data"]
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    rows = database.execute(
        "SELECT role, text FROM messages WHERE rowid IN"
        " (SELECT rowid FROM messages_fts WHERE messages_fts MATCH 'zurich') ORDER BY id"
    )
    assert rows.fetchall() == [("user", "Wie heißt Zürich?"), ("assistant", "Zürich.")]
    [(title, model, answers, read, cost)] = database.execute(
        "SELECT title, model, answers, input_tokens, cost_usd FROM conversations WHERE id = ?",
        [hostile],
    )
    assert title.startswith("<script>alert(1)</script>")
    assert (model, answers, read, cost) == ("openai/gpt-5", 2, 1000, 0.01)
    [(text, calls, thinking)] = database.execute(
        "SELECT text, tool_calls, thinking FROM messages WHERE tool_calls IS NOT NULL"
    )
    assert text == HOSTILE.replace("\ud800", "\ufffd") == thinking
    assert json.loads(calls) == [{"id": "c", "name": "<b>look", "arguments": {"at": "<script>"}}]
    database.close()


def test_database_does_not_replace_other_files(hostile: str, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    before = other.read_bytes()
    done = pipy("history", "export", "-o", str(other))
    assert done.returncode == 2
    assert "not a database from pipy history export" in done.stderr
    assert other.read_bytes() == before
    assert pipy("history", "export", "--format", "sqlite").returncode == 2
    missing = pipy("history", "export", "-o", str(tmp_path / "no" / "x.db"))
    assert (missing.returncode, "no/x.db: No such file" in missing.stderr) == (1, True)


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    keep("What is it?", assistant("It."))
    for name in ("talk.docx", "talk.pdf", "talk.csv", "talk.md.gz"):
        done = pipy("history", "export", "-o", str(tmp_path / name))
        assert done.returncode == 2
        assert f"{name}: unknown suffix '.{name.rpartition('.')[2]}'; use .md" in done.stderr
        assert not (tmp_path / name).exists()
    for name in ("talk", "talk.TXT", "talk.markdown"):
        assert main(["history", "export", "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text().startswith("## System")
    named = tmp_path / "talk.docx"
    assert main(["history", "export", "-o", str(named), "--format", "json"]) == 0
    assert json.loads(named.read_text())["model"] == "openai/gpt-5"


def test_nothing_to_export(tmp_path: Path) -> None:
    for arguments in (["--all"], ["-o", str(tmp_path / "x.db")], ["--format", "html"]):
        done = pipy("history", "export", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "no saved conversation" in done.stderr
    assert not (tmp_path / "x.db").exists()
