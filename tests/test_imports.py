"""Test what imports load: nothing that is not needed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .support.command import unmeasured_environment
from .support.scripted_server import Lab

HEAVY = {"litellm", "openai", "httpx", "yaml", "rich", "jsonschema", "aiohttp", "requests"}


def modules_after(code: str, *flags: str) -> set[str]:
    """Return the top-level modules that a new interpreter has imported after `code`."""
    script = (
        f"{code}\nimport sys\nprint('MODULES', *sorted({{m.split('.')[0] for m in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, *flags, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=unmeasured_environment(),
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_package_alone_imports_next_to_nothing() -> None:
    new = modules_after("import pipy_ai") - modules_after("pass")
    assert new - sys.stdlib_module_names == {"pipy_ai"}
    assert not new & {"asyncio", "dataclasses", "typing", "threading"}


def test_importtime_lists_no_heavy_module() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import pipy_ai"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    listed = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "pipy_ai" in listed
    assert not listed & (HEAVY | {"pydantic"})


@pytest.mark.parametrize(
    "arguments", [["models"], ["completion", "--names", "MODEL", "--prefix", "gpt-"]]
)
def test_listing_models_does_not_import_typing(arguments: list[str]) -> None:
    code = f"from pipy_ai.cli.main import main; assert main({arguments}) == 0"
    assert not modules_after(code) & (HEAVY | {"pydantic", "typing", "asyncio", "dataclasses"})


def test_answer_loads_no_module_that_shows_objects() -> None:
    code = """
import sys
from pipy_ai import complete_many, get_models, stream
assert [m.text for m in complete_many("faux/echo", ["Hi", "there"])] == ["Hi", "there"]
assert stream("faux/echo", "Hi").result().error is None and get_models(provider="openai")
assert not {"pipy_ai.reprs", "pipy_ai.notebook"} & sys.modules.keys()
"""
    assert not modules_after(code) & {"rich", "markdown_it", "IPython", "pandas", "jedi"}


def test_answer_compiles_no_dataclass_of_ours() -> None:
    """Python's decorator compiles five methods of each class: see `utils/dataclass.py`."""
    code = """
import dataclasses
compiled = []
process = dataclasses._process_class
def record(cls, *options):
    compiled.append(f"{cls.__module__}.{cls.__qualname__}")
    return process(cls, *options)
dataclasses._process_class = record
from pipy_ai import complete
assert complete("faux/echo", "Hi").text == "Hi"
ours = [name for name in compiled if name.startswith("pipy_ai")]
assert compiled and not ours, ours
"""
    modules_after(code)


def test_first_request_builds_no_validator(lab: Lab) -> None:
    """Building one takes long, and searches the installed packages for plugins of Pydantic."""
    code = f"""
import sys
from pipy_ai import stream
options = {{"api_key": "k", "max_tokens": 9, "timeout": 50, "headers": {{"x": "y"}}}}
events = list(stream("hosted_vllm/m", "q", api_base={lab.url!r}, reasoning="low", **options))
assert events[-1].type == "done", events[-1]
assert "pydantic.plugin._loader" not in sys.modules
"""
    modules_after(code)


def test_every_public_name_loads_without_litellm() -> None:
    code = "import pipy_ai\nfor name in pipy_ai.__all__: getattr(pipy_ai, name)"
    assert not modules_after(code) & (HEAVY - {"httpx", "rich"})  # httpx loads rich if it is there


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["ask", "--help"], ["batch", "--help"]]
)
def test_help_needs_no_pydantic(arguments: list[str]) -> None:
    code = f"""
from pipy_ai.cli.main import main
try:
    main({arguments!r})
except SystemExit as end:
    assert not end.code
"""
    assert not modules_after(code) & (HEAVY | {"pydantic", "asyncio"})


def test_welcome_needs_no_pydantic() -> None:
    code = "from pipy_ai.cli.welcome import show_welcome\nshow_welcome()"
    assert not modules_after(code) & {"pydantic", "litellm"}


def test_spend_needs_no_pydantic() -> None:
    code = """
import os
from pipy_ai.cli.main import main
os.environ["PIPY_LEDGER"] = os.devnull
assert main(["spend"]) == 0
"""
    assert not modules_after(code) & (HEAVY | {"pydantic"})


def test_embedded_model_needs_no_litellm(weights: object) -> None:
    code = """
from pipy_ai.cli.main import main
assert main(["ask", "-m", "local/smollm2", "--max-tokens", "3", "Hi"]) == 0
"""
    modules = modules_after(code)
    assert "xllamacpp" in modules
    assert not modules & HEAVY


def test_importing_creates_no_thread_file_or_output() -> None:
    code = "import pipy_ai, threading, pipy_ai.api\nassert threading.active_count() == 1"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert set(os.listdir(os.environ["PIPY_DATA_DIR"])) <= {"models", "packaged"}
