"""What the documentation says is true: every example runs."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipy_ai
from pipy_ai import AssistantMessage, faux, register_provider
from pipy_ai.cli.main import parser
from pipy_ai.provider import Request, unregister_provider

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BATCHES = (ROOT / "docs" / "batches.md").read_text(encoding="utf-8")
TOOLS = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")
FILES = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
BUDGETS = (ROOT / "docs" / "budgets.md").read_text(encoding="utf-8")
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(pipy_ai.__path__, "pipy_ai.")
    if not module.name.endswith("__main__")
)


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def answer(request: Request) -> faux.Reply:
    """What a sensible model would say to the README."""
    last = request.context.messages[-1]
    if last.role == "toolResult":
        return faux.reply("It is sunny.")
    if request.output is not None:
        return faux.reply('{"number": "2026-7", "total": 12.5}')
    if request.context.tools and "place" in request.context.tools[0].parameters["properties"]:
        return faux.reply(faux.tool("get_weather", place={"city": "Tokyo"}))
    if request.context.tools:
        return faux.reply(
            faux.tool("get_weather", location="Tokyo"), faux.tool("get_weather", location="Tōkyō")
        )
    if "million" in str(last.content):
        return faux.reply(" ".join(str(n) for n in range(1000)), faux.stall())
    return faux.reply(faux.thinking("hm"), "An answer.")


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    register_provider("anthropic", faux.FauxProvider(*[answer] * 9))
    register_provider("openai", faux.FauxProvider(faux.error("auth", "Incorrect API key")))
    yield
    unregister_provider("anthropic")
    unregister_provider("openai")


PRINTS = ["An answer.", "An answer.", "An answer.", "An answer.", "It is sunny.", "It is sunny.",
          "12.5", "aborted", "auth", "claude-sonnet-4-5 ['gpt-5']",
          "anthropic/claude-sonnet-4-5 200000 3"]  # fmt: skip
          "12.5", "An answer.", "aborted", "auth", "anthropic/claude-sonnet-4-5 200000 3"]  # fmt: skip


@pytest.mark.usefixtures("providers")
@pytest.mark.parametrize("number", range(len(PRINTS)))
def test_the_readmes_python_runs(number: int) -> None:
    code = blocks("python")
    assert len(code) == len(PRINTS)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code[number], f"README, block {number}", "exec"), {"__name__": "readme"})
    assert PRINTS[number] in printed.getvalue()


@pytest.mark.usefixtures("providers")
def test_the_guide_to_tools_runs() -> None:
    code = "".join(blocks("python", TOOLS))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/tools.md", "exec"), {"__name__": "guide"})
    for text in (
        "{'place': {'city': 'Tokyo'}}",
        "get_weather [TextContent(type='text', text='Sunny in Tokyo, 22 °C'",
        "It is sunny.",
        "days: Input should be less than or equal to 14",
    ):
        assert text in printed.getvalue()


@pytest.mark.usefixtures("providers")
def test_the_guide_to_files_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("invoice.pdf").write_bytes(b"%PDF-1.7")
    Path("notes.txt").write_text("Buy milk.\n", encoding="utf-8")
    Path("photo.jpg").write_bytes(b"\xff\xd8\xff")
    Path("film.mkv").write_bytes(bytes(9))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("".join(blocks("python", FILES)), "docs/files.md", "exec"), {})
    assert printed.getvalue() == "\n".join(re.findall("  # → (.*)", FILES)) + "\n"


@pytest.mark.usefixtures("providers", "july")
def test_the_guide_to_budgets_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("".join(blocks("python", BUDGETS)), "docs/budgets.md", "exec"), {})
    lines = printed.getvalue().splitlines()
    assert lines[:3] == ["anthropic An answer.", "gpt-5 auth None", lines[2]]
    cost = float(lines[2].removeprefix("claude-sonnet-4-5 None "))
    assert cost > 0
    spent, left, requests = lines[3].split()
    assert (float(spent) + float(left), requests) == (pytest.approx(0.5), "1")
    assert lines[4].split() == ["model", "requests", "input", "output", "cost"]
    assert lines[-2] == "2"
    assert lines[-1].endswith(" 0")
    assert float(lines[-1].split()[0]) > 0


def test_the_readmes_commands_exist() -> None:
    lines = [line for block in blocks("sh", README + BUDGETS) for line in block.splitlines()]
@pytest.mark.usefixtures("providers")
def test_the_guide_to_batches_runs() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("".join(blocks("python", BATCHES)), "docs/batches.md", "exec"), {})
    said = printed.getvalue().splitlines()
    assert list(dict.fromkeys(said)) == re.findall("  # → (.*)", BATCHES)
    assert len(said) == 7


@pytest.mark.parametrize("text", [README, BATCHES])
def test_the_commands_exist(text: str) -> None:
    lines = [line for block in blocks("sh", text) for line in block.splitlines()]
    asked = [part for line in lines for part in re.split(r"&&|\|", line) if " pipy " in f" {part}"]
    commands = [shlex.split(part, comments=True) for part in asked]
    commands = [words for words in commands if words[0].endswith("pipy")]
    assert len(commands) > 4
    for words in commands:
        parser().parse_args(words[1:])


def test_ci_runs_the_readmes_test_command() -> None:
    command = next(block for block in blocks("sh") if "pytest" in block).strip()
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_right(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_public_functions_and_classes_are_documented() -> None:
    for name in pipy_ai.__all__:
        value = getattr(pipy_ai, name)
        if callable(value) and isinstance(getattr(value, "__module__", None), str):
            if not value.__module__.startswith("pipy_ai"):
                continue
            assert value.__doc__, name
            assert not value.__doc__.startswith(f"{name}("), f"{name} has a generated docstring"
    assert AssistantMessage.raise_for_error.__doc__
