"""Test plugins: what is found, and what is skipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import complete
from pipy_ai.provider.registered import unregister_provider
from pipy_ai.utils import warn
from pipy_ai.utils.plugins import find_plugin, plugins

from ..support.command import pipy
from ..support.plugin_package import install

GOOD = """
async def answer(request):
    yield f"{request.model_id} says hi"

class Answer:
    api = "mine"
    async def stream(self, request):
        from pipy_ai.provider import Finish, Text
        yield (Text("a class"), Finish())

def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

text = "Translate $input into $language"
number = 5
"""
BROKEN = """
import missing_module_of_the_plugin
"""
LEAVING = """
raise SystemExit("must not end the program")
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on Python's path, in this process and in others."""
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(path)
    monkeypatch.setenv("PYTHONPATH", str(path))
    monkeypatch.setattr(warn, "shown_warnings", set())
    return path


def everywhere(value: str) -> dict[str, dict[str, str]]:
    return {kind: {"mine": value} for kind in ("providers", "tools", "templates", "commands")}


def test_a_provider(site: Path) -> None:
    entries = {"mine": "good_a:answer", "class": "good_a:Answer", "openai": "good_a:answer"}
    install(site, "mine", {"providers": entries}, good_a=GOOD)
    try:
        assert complete("mine/m", "q").text == "m says hi"
        assert complete("class/m", "q").text == "a class"
        refused = complete("openai/gpt-5", "q", max_retries=0)  # a plugin replaces no provider
        assert refused.error is not None
    finally:
        unregister_provider("mine")
        unregister_provider("class")
    done = pipy("ask", "-m", "mine/m", "q")
    assert (done.returncode, done.stdout) == (0, "m says hi\n")


def test_a_tool(site: Path) -> None:
    install(site, "mine", {"tools": {"add": "good_b:add", "five": "good_b:number"}}, good_b=GOOD)
    done = pipy("preview", "-m", "openai/gpt-5", "--json", "--tool", "add", "q")
    assert '"Add two numbers."' in done.stdout
    done = pipy("ask", "-m", "faux/echo", "--tool", "five", "q")
    assert done.returncode == 2
    assert "the plugin 'five' of mine was skipped: TypeError: a tool must be" in done.stderr
    assert "'five' must be module:name or path/to/file.py:name" in done.stderr


def test_a_template(site: Path) -> None:
    install(
        site, "mine", {"templates": {"tr": "good_c:text", "five": "good_c:number"}}, good_c=GOOD
    )
    done = pipy("ask", "-m", "faux/echo", "-t", "tr", "-p", "language=French", "tower")
    assert done.stdout == "Translate tower into French\n"
    assert pipy("templates", "show", "tr").stdout == "Translate $input into $language\n"
    done = pipy("ask", "-m", "faux/echo", "-t", "five", "q")
    assert done.returncode == 2
    assert "the plugin 'five' of mine was skipped: AttributeError" in done.stderr
    assert "no template 'five'" in done.stderr


def test_a_command(site: Path) -> None:
    code = (
        "EXAMPLES = 'pipy shout hi\\n'\n"
        "def add_arguments(parser): parser.add_argument('words', nargs='*')\n"
        "def run(arguments):\n    print(' '.join(arguments.words).upper())\n    return 3\n"
    )
    bad = "def add_arguments(parser): raise OSError('no arguments')\ndef run(arguments): return 0\n"
    commands = {"shout": "good_d", "models": "good_d", "half": "json", "bad": "bad_d"}
    install(site, "mine", {"commands": commands}, good_d=code, bad_d=bad)
    done = pipy("shout", "a", "b")
    assert (done.returncode, done.stdout) == (3, "A B\n")
    assert "pipy shout hi" in pipy("shout", "--help").stdout
    assert pipy("models", "--help").stdout.startswith("usage: pipy models")  # the built-in one
    done = pipy("half", "q")
    assert "the plugin 'half' of mine was skipped: TypeError: a command needs" in done.stderr
    done = pipy("bad")
    assert (done.returncode, "'bad' cannot be used: OSError: no arguments" in done.stderr) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("module", "code", "reason"),
    [
        ("broken", BROKEN, "ModuleNotFoundError: No module named 'missing_module_of_the_plugin'"),
        ("leaving", LEAVING, "SystemExit: must not end the program"),
        ("absent", "", "AttributeError: module 'absent' has no attribute 'thing'"),
    ],
)
def test_a_broken_plugin_is_named_and_skipped(
    site: Path, module: str, code: str, reason: str
) -> None:
    install(site, "mine", everywhere(f"{module}:thing"), **{module: code})
    skipped = f"pipy: the plugin 'mine' of mine was skipped: {reason}"
    for arguments in (
        ["ask", "-m", "mine/m", "q"],
        ["ask", "-m", "faux/echo", "--tool", "mine", "q"],
        ["ask", "-m", "faux/echo", "-t", "mine", "q"],
        ["mine", "q"],
    ):
        done = pipy(*arguments)
        assert skipped in done.stderr, arguments
        assert "Traceback" not in done.stderr
        assert done.stderr.count(skipped) == 1


def test_the_next_plugin_of_that_name_is_used(site: Path) -> None:
    install(site, "a", {"tools": {"add": "broken_e:add"}}, broken_e=BROKEN)
    install(site, "b", {"tools": {"add": "good_e:add"}}, good_e=GOOD)
    skipped: list[str] = []
    add = find_plugin("tools", "add", lambda value: value, skipped.append)
    assert add is not None
    assert (add(1, 2), len(skipped)) == (3, 1)
    assert [plugin.distribution for plugin in plugins("tools")][:2] == ["a", "b"]


def test_damaged_metadata(site: Path) -> None:
    info = site / "odd-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_bytes(b"[pipy_ai.tools]\nadd = \xff\n")
    with pytest.warns(UserWarning, match=r"odd-1\.0\.dist-info were skipped"):
        assert plugins("tools") == []


def test_plugins_can_be_switched_off(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "mine", {"tools": {"add": "good_f:add"}}, good_f=GOOD)
    monkeypatch.setenv("PIPY_NO_PLUGINS", "1")
    assert plugins("tools") == []
    assert pipy("ask", "-m", "faux/echo", "--tool", "add", "q").returncode == 2


def test_nothing_is_read_before_a_lookup_fails(site: Path) -> None:
    install(site, "mine", everywhere("broken_g:thing"), broken_g=BROKEN)
    code = (
        "import sys\nfrom pipy_ai.cli.main import main\n"
        "main(['ask', '-m', 'faux/echo', 'What is it?'])\n"
        "main(['What is 2+2?', '-m', 'faux/echo'])\n"
        "from pipy_ai import preview\npreview('openai/gpt-5', 'q')\n"
        "assert 'pipy_ai.utils.plugins' not in sys.modules\n"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_pipy_doctor_names_a_broken_plugin(site: Path) -> None:
    install(site, "mine", {"tools": {"bad": "broken_h:add"}}, broken_h=BROKEN)
    done = pipy("doctor")
    assert "warn  plugins" in done.stdout
    assert "the plugin 'bad' of mine was skipped: ModuleNotFoundError" in done.stdout
