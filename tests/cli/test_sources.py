"""Test the tools that providers run on the command line: flags, their calls, and sources."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AssistantMessage, assistant
from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.cli.conversations.html_page import format_html
from pipy_ai.cli.conversations.transcript import format_transcript
from pipy_ai.cli.display.sources import cited_sources, format_server_tool, print_sources
from pipy_ai.types import Citation, ServerToolCall, ServerToolResult, TextContent

from ..support.command import pipy
from ..support.scripted_command import scripted_command
from ..support.terminal import Terminal

RELEASE = """reply(
    server_tool("web_search", query="Python 3.14 release", sources=[
        ("https://python.org/downloads", "Download Python"), ("https://other.example", "Other")]),
    "Python 3.14 came on 7 October 2025. It is fast.",
    citation("7 October 2025", "https://python.org/downloads", "Download Python"),
    citation("fast", "https://speed.example/a-very-long-address/of/a/page", "Speed of Python"),
    citation("Python 3.14", "https://python.org/downloads", "Download Python"),
)"""
SOURCES = (
    "Sources:\n"
    "1. Download Python https://python.org/downloads\n"
    "2. Speed of Python https://speed.example/a-very-long-address/of/a/page\n"
)


def run(
    reply: str, *arguments: str, stdin: bytes = b"", command: str = "ask"
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process whose model gives one reply."""
    done = subprocess.run(
        [sys.executable, "-c", scripted_command(reply), command, "-m", "faux/any", *arguments],
        capture_output=True, input=stdin, timeout=60, check=False,
    )  # fmt: skip
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def answer(*citations: Citation, text: str = "Yes.") -> AssistantMessage:
    message = assistant("x")
    message.content = [TextContent(text=text, citations=list(citations))]
    return message


def test_piped_output_is_the_answer_and_stderr_has_the_sources_once() -> None:
    done = run(RELEASE, "--search", "when?")
    assert (done.returncode, done.stdout) == (
        0,
        "Python 3.14 came on 7 October 2025. It is fast.\n",
    )
    assert done.stderr == SOURCES
    shown = pipy("history", "show")
    assert SOURCES.splitlines()[1] in shown.stdout.replace("<", "").replace(">", "")
    data = run(RELEASE, "--search", "--json", "when?")
    assert data.stderr == ""
    assert len(json.loads(data.stdout)["content"][2]["citations"]) == 3


def test_calls_are_dim_while_the_answer_streams_on_a_terminal() -> None:
    code = scripted_command(RELEASE)
    with Terminal("-c", code, "ask", "-m", "faux/any", "--search", "when?") as terminal:
        assert terminal.wait() == 0
        assert terminal.text.splitlines()[:5] == [
            "searching: Python 3.14 release",
            "Python 3.14 came on 7 October 2025. It is fast.",
            *SOURCES.splitlines(),
        ]
        assert b"\x1b[2msearching: Python 3.14 release" in terminal.raw
    with Terminal("-m", "pipy_ai", "history", "show") as terminal:
        assert terminal.wait() == 0
        assert "2. Speed of Python https://speed.example/" in terminal.text


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_flags_add_the_tools_of_the_provider(command: str) -> None:
    reply = "lambda request: ', '.join(tool.name for tool in request.context.tools or [])"
    words, stdin = (["?"], b"") if command == "ask" else ([], b"which?\n")
    flags = ["--search", "--fetch", "--code"]
    done = run(reply, *flags, *words, stdin=stdin, command=command)
    assert done.stdout == "web_search, web_fetch, code_execution\n"
    with_function = [*flags, "--tool", "os.path:basename", "--yes"]
    done = run(reply, *with_function, *words, stdin=stdin, command=command)
    assert done.stdout == "web_search, web_fetch, code_execution, basename\n"
    assert run(reply, *words, stdin=stdin, command=command).stdout.strip() == ""


def test_template_adds_the_tools_of_the_provider() -> None:
    directory = Path(os.environ["PIPY_DATA_DIR"], "templates")
    directory.mkdir(parents=True)
    reply = "lambda request: ', '.join(tool.name for tool in request.context.tools or [])"
    (directory / "all.yaml").write_text("prompt: Go.\nsearch: true\nfetch: true\ncode: true\n")
    (directory / "none.yaml").write_text("prompt: Go.\nsearch: false\n")
    assert run(reply, "-t", "all").stdout == "web_search, web_fetch, code_execution\n"
    assert run(reply, "-t", "none", "--fetch").stdout == "web_fetch\n"
    (directory / "bad.yaml").write_text("search: please\n")
    done = run(reply, "-t", "bad")
    assert (done.returncode, "'search' must be true or false" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("flag", "model", "verb", "able"),
    [
        ("--search", "mistral/mistral-small-latest", "search the web", "anthropic/"),
        ("--fetch", "xai/grok-4.3", "read web pages", "anthropic/"),
        ("--code", "bedrock/amazon.nova-pro-v1:0", "run code", "anthropic/"),
        ("--search", "local/smollm2-135m-instruct", "search the web", "anthropic/"),
    ],
)
def test_model_without_the_tool_names_one_that_has_it(
    flag: str, model: str, verb: str, able: str
) -> None:
    done = pipy("ask", "-m", model, flag, "q")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{model} cannot {verb}; use a model that can: -m {able}" in done.stderr
    done = pipy("ask", "-m", model, flag, "q", GEMINI_API_KEY="x", OPENAI_API_KEY="")
    assert "use a model that can: -m google/gemini-2.5-flash" in done.stderr


def test_chat_with_a_model_that_cannot_search() -> None:
    chat = ("chat", "-m", "mistral/mistral-small-latest", "--search")
    done = pipy(*chat, stdin="q\n")
    assert done.returncode == 2
    assert "cannot search the web; use a model that can: -m anthropic/" in done.stderr
    both = pipy(*chat, "--tool", "os.path:basename", stdin="/tools\n")
    assert both.returncode == 0


def test_preview_and_chat_list_them() -> None:
    done = pipy("preview", "-m", "anthropic/claude-sonnet-4-5", "--search", "--json", "q")
    tools = json.loads(done.stdout)["body"]["tools"]
    assert [tool["name"] for tool in tools] == ["web_search"]
    listed = run("'x'", "--code", stdin=b"/tools\n", command="chat")
    assert listed.stdout == "code_execution  run by the provider\n"


def test_chat_prints_sources() -> None:
    done = run(RELEASE, "--search", stdin=b"when?\n", command="chat")
    assert done.stdout == "Python 3.14 came on 7 October 2025. It is fast.\n"
    assert done.stderr == SOURCES


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("web_search", {"query": "two\nlines"}, "searching: two lines"),
        ("web_search", {"queries": ["a", "b"]}, "searching: a, b"),
        ("web_search", {"type": "open_page", "url": "https://a.example"}, "reading: https://a.example"),
        ("web_fetch", {"url": "https://a.example"}, "reading: https://a.example"),
        ("code_execution", {"code": "print(1)\nprint(2)"}, "running: print(1) print(2)"),
        ("web_search", {}, "searching"),
        ("x_search", {"query": None}, "running x_search"),
    ],
)  # fmt: skip
def test_call_on_one_line(name: str, arguments: dict[str, Any], line: str) -> None:
    assert format_server_tool(ServerToolCall(name=name, arguments=arguments)) == line


def test_result_on_one_line() -> None:
    assert format_server_tool(ServerToolResult(text="4\n2")) == "→ 4 2"
    found = [Citation(source="https://a.example")]
    assert format_server_tool(ServerToolResult(text="page", sources=found)) == ""
    assert format_server_tool(ServerToolResult(text="busy", is_error=True)) == "→ failed: busy"
    assert len(format_server_tool(ServerToolResult(text="x" * 10_000))) < 250


def test_sources_without_citations_are_those_that_were_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = Citation(source="https://a.example", title="A\x1b[2J")
    message = answer()
    message.content.append(ServerToolResult(sources=[found, found, Citation(title="no address")]))
    print_sources([message])
    assert capsys.readouterr().err == "Sources:\n1. A\\x1b[2J https://a.example\n"
    print_sources([answer()])
    assert capsys.readouterr().err == ""


def test_documents_without_an_address_are_named_by_their_title() -> None:
    first, second = Citation(title="Penguins", start=0), Citation(title="Penguins", start=5)
    assert cited_sources([answer(first, second, Citation())]) == [first]


def test_exports_have_the_sources() -> None:
    conversation = Conversation.new(keep=False)
    conversation.add(
        answer(
            Citation(source="https://a.example/?a=1&b=2", title="<b>A\nB</b>"),
            Citation(source="javascript:alert(1)", title="J"),
            Citation(source='https://b.example/"><script>', title="S"),
        )
    )
    markdown = format_transcript(conversation, "md")
    assert markdown.endswith(
        "Sources:\n\n1. <b>A B</b> <https://a.example/?a=1&b=2>\n2. J javascript:alert(1)\n"
        '3. S https://b.example/"><script>\n'
    )
    page = format_html([conversation])
    assert (
        '<li><a href="https://a.example/?a=1&amp;b=2" rel="noopener noreferrer">'
        "&lt;b&gt;A\nB&lt;/b&gt;</a></li>" in page
    )
    assert "<li>J javascript:alert(1)</li>" in page
    assert "<script>" not in page
    assert page.count("href=") == 1


def test_search_works_with_a_schema() -> None:
    reply = 'lambda request: \'{"tool": "%s"}\' % request.context.tools[0].name'
    done = run(reply, "--search", "--schema", "tool", "which?")
    assert (done.returncode, done.stdout) == (0, '{"tool": "web_search"}\n')
