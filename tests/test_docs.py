"""Test the documentation: every example in README and docs runs."""

from __future__ import annotations

import contextlib
import doctest
import functools
import importlib
import io
import json
import os
import pkgutil
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

import pipy_ai
from pipy_ai import AssistantMessage, faux, register_provider
from pipy_ai.cli.checks.weights import WHEEL_BYTES
from pipy_ai.provider.registered import unregister_provider
from pipy_ai.registry import get_registry
from pipy_ai.registry.routing import build_route

from .support.batch_api_lab import BatchLab
from .support.doc_blocks import blocks
from .support.doc_pages import PAGES, ROOT, ExampleError, Page
from .support.feed_server import Mirror
from .support.llama_process import llama_server

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(pipy_ai.__path__, "pipy_ai.")
    if not module.name.endswith("__main__")
)


@pytest.fixture
def page(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[[Path], Page]]:
    """Prepare a page: an empty home directory, the installed catalogue, no API keys."""
    above = tempfile.TemporaryDirectory()  # of a short name: long lines break where they would
    home = Path(above.name) / "you"
    (home / ".pipy").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    models = Path(os.environ["PIPY_DATA_DIR"]) / "models"
    if models.is_dir():
        (home / ".pipy" / "models").symlink_to(models)
    monkeypatch.delenv("PIPY_DATA_DIR")
    monkeypatch.chdir(home)
    rewrite = bool(os.environ.get("DOCS_REWRITE"))
    mirror = Mirror()
    monkeypatch.setenv("PIPY_MODELS_URL", mirror.url)
    with contextlib.ExitStack() as servers:

        def start_llama() -> str:
            # One server per page: the cached tokens that a page shows depend on earlier requests.
            return servers.enter_context(llama_server(request.getfixturevalue("weights")))

        def prepare(path: Path) -> Page:
            if "<!-- batch lab -->" in path.read_text(encoding="utf-8"):
                lab = servers.enter_context(BatchLab())
                lab.polls = 1
                monkeypatch.setenv("OPENAI_BASE_URL", lab.openai)
                monkeypatch.setenv("OPENAI_API_KEY", "sk-" + "k" * 40)
            return Page(path, functools.cache(start_llama), rewrite=rewrite)

        yield prepare
    mirror.close()
    above.cleanup()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_runs(path: Path, page: Callable[[Path], Page]) -> None:
    page(path).run()


# Pages that are wrong, each in its own way, and what is said of them.
WRONG = {
    "```python\nprint(1)\n```\n```text\n2\n```\n": "shows",
    "```python\nprint(1)\n```\n": "not shown",
    "```python\nprint(1)\n```\n```python\n```\n": "not shown",
    "<!-- faux: 'Hi.' -->\n```python\n```\n": "1 answers of the script were not asked for",
    "<!-- faux: 'Hi.' -->\n```console\n$ true\n```\n": "1 answers of the script were not asked for",
    "```console\n$ echo 1\n2\n```\n": "shows",
    "```sh\nfalse\n```\n": "exit codes",
    "```\necho\n```\n": "nobody knows how to run",
    "```rust\n```\n": "nobody knows how to run",
    "<!-- not run: needs a key -->\n```sh\npipy ask --no-such-thing\n```\n": "does not accept",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_pages_are_rejected(text: str, page: Callable[[Path], Page], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.md"
    wrong.write_text(text)
    with pytest.raises(ExampleError, match=WRONG[text]):
        page(wrong).run()


def test_counts_and_dates_are_those_of_the_installed_catalogue() -> None:
    registry = get_registry()
    routes = [build_route(host, "") for host in registry.providers().values()]
    with_only_a_key = sum(not (route.problem or route.required_env) for route in routes)
    listed = sum(not route.problem for route in routes)
    day = date.fromisoformat(registry.date)
    allowed = (with_only_a_key, with_only_a_key // 10 * 10, round(listed, -1))
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for count in re.findall(r"(\d+)(?:\+| or so)? providers\b", text):
            assert int(count) in allowed, f"{path.name}: {count} providers"
        for shown in re.findall(r"list prices of (\d+ \w+ \d{4})", text):
            assert shown == f"{day.day} {day:%B %Y}", path.name
        assert not re.search(r"9\d MB", text) or f"{WHEEL_BYTES / 1e6:.0f} MB" in text, path.name


@pytest.mark.parametrize("start", ["README.md", "docs/index.md"])
def test_every_page_is_linked(start: str) -> None:
    text = (ROOT / start).read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"{page})" not in text} == set()


def test_the_readmes_comparison_is_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    per_chunk, first_token = (chart["values"] for chart in results["charts"].values())
    reported = results["broken_streams"]["reported"]
    clients = ("pipy-ai", "litellm", "llm", "openai")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for label, cells in {
        "CPU time per streamed chunk": [
            f"{per_chunk[name]:.{1 if per_chunk[name] < 10 else 0}f} µs" for name in clients
        ],
        "CPU time of a new process that prints the first token": [
            f"{first_token[name] / 1000:.2g} s" for name in clients
        ],
        "broken streams reported as an error, of 8": [str(reported[name]) for name in clients],
    }.items():
        assert f"| {' | '.join([label, *cells])} |" in readme
    for package in ("pipy-ai", "LiteLLM", "llm", "openai"):
        assert f"{package} {results['versions'][package.lower()]}" in " ".join(readme.split())


def test_ci_runs_the_readmes_test_command() -> None:
    command = next(block for block in blocks("sh") if "pytest" in block).strip()
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
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


TOOLS = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")


@pytest.fixture
def weatherman(monkeypatch: pytest.MonkeyPatch) -> Iterator[faux.FauxProvider]:
    """A provider that calls a tool twice in one turn, then answers."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    calls = [faux.tool("get_weather", location=city) for city in ("Tokyo", "Kyoto")]
    provider = faux.FauxProvider(faux.reply(*calls), "It is sunny.")
    register_provider("anthropic", provider)
    yield provider
    unregister_provider("anthropic")


def test_documented_tool_loop_sends_all_results_in_one_request(
    weatherman: faux.FauxProvider,
) -> None:
    [code] = [block for block in blocks("python", TOOLS) if "weather_tool" in block]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "tools.md, the tool loop", "exec"), {"__name__": "readme"})
    assert printed.getvalue().endswith("It is sunny.\n")
    first, second = weatherman.requests
    assert [message.role for message in first.context.messages] == ["user"]
    _, turn, *results = second.context.messages
    assert isinstance(turn, AssistantMessage)
    assert turn.stop_reason == "toolUse"
    answered = [result.tool_call_id for result in results if result.role == "toolResult"]
    assert answered == [one.id for one in turn.tool_calls]
    assert len(answered) == len(results) == 2
