"""Test `--mcp` and `/mcp`: MCP servers on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..support import hostile_mcp
from ..support.command import pipy
from ..support.scripted_server import Lab
from ..support.terminal import Terminal
from ..support.wire_formats import CHAT, say, tool

pytest.importorskip("mcp")

ROOT = Path(__file__).parents[2]
LABORATORY = f"{sys.executable} -m tests.support.mcp_server"  # from the directory of the project


def hostile(behaviour: str) -> str:
    return f"{sys.executable} {hostile_mcp.__file__} {behaviour}"


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def asking(lab: Lab, name: str, **arguments: Any) -> tuple[str, ...]:
    """Return the arguments of a request whose answer calls a tool."""
    call = tool("c1", name, json.dumps(arguments))
    lab.play(CHAT.scene(call, stop="tool"), CHAT.scene(say("It is 5.")))
    return ("ask", "-m", "hosted_vllm/m", "--api-base", lab.url, "--mcp", LABORATORY)


def results(lab: Lab) -> list[str]:
    messages = lab.seen[-1].json["messages"]
    return [str(m["content"]) for m in messages if m["role"] == "tool"]


def test_the_question_names_the_server(lab: Lab) -> None:
    with Terminal("-m", "pipy_ai", *asking(lab, "add", a=2, b=3), "2 + 3?") as terminal:
        terminal.wait_for("Run add of the MCP server tests.support.mcp_server? [y]es")
        terminal.send("y\n")
        assert terminal.wait() == 0
        assert "It is 5." in terminal.text
    assert results(lab) == ["5"]


def test_calls_in_a_pipe(lab: Lab) -> None:
    done = pipy(*asking(lab, "add", a=2, b=3), "--yes", "2 + 3?")
    assert (done.returncode, done.stdout) == (0, "It is 5.\n")
    assert results(lab) == ["5"]
    names = [t["function"]["name"] for t in lab.seen[0].json["tools"]]
    assert "files_read" in names


def test_several_servers_and_a_function_with_the_same_name(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def tool() -> str:\n    return 'mine'\n")
    entry = {"command": sys.executable, "args": [hostile_mcp.__file__, "fine"]}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"one": entry}}))
    flags = ["--mcp", str(tmp_path / "mcp.json"), "--mcp", hostile("fine")]
    done = pipy("preview", "-m", "openai/gpt-5", "--json", "--tool", f"{tmp_path}/mine.py:tool",
                *flags, "hi")  # fmt: skip
    names = [t["function"]["name"] for t in json.loads(done.stdout)["body"]["tools"]]
    assert names == ["tool", "one_tool", "hostile_mcp_py_tool"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--mcp", "/no/such/server --token secret"], "the MCP server 'server' failed"),
        (["--mcp", "missing.json"], "missing.json: No such file"),
        (["--mcp", ""], "the command of the MCP server is empty"),
        (["--mcp", "server", "--schema", "a"], "--schema and --mcp cannot be combined"),
    ],
)
def test_wrong_use(arguments: list[str], expected: str) -> None:
    for command in ("ask", "preview"):
        done = pipy(command, "-m", "faux/echo", *arguments, "hi")
        assert done.returncode == 2
        assert done.stderr.startswith(f"pipy: {expected}")
        assert "secret" not in done.stderr
    if "--schema" not in arguments:
        assert pipy("chat", "-m", "faux/echo", *arguments, stdin="hi").returncode == 2


def test_tools_that_are_left_out_are_named(lab: Lab) -> None:
    done = pipy("ask", "-m", "faux/echo", "--mcp", hostile("lies"), "hi")
    assert (done.returncode, done.stdout) == (0, "hi\n")
    assert "pipy: the tool 'huge' of the MCP server 'hostile_mcp.py' was left out" in done.stderr


def test_a_chat(lab: Lab, tmp_path: Path) -> None:
    lab.play(
        CHAT.scene(tool("c1", "tool", "{}"), stop="tool"),
        CHAT.scene(say("Done.")),
    )
    lines = [
        "/mcp",
        f"/mcp {hostile('fine')}",
        f"/mcp {hostile('fine')}",
        "/mcp /no/such/server",
        "/tools",
        "Use it",
        "/mcp -",
        "/tools",
    ]
    arguments = ["chat", "-m", "hosted_vllm/m", "--api-base", lab.url, "--yes"]
    done = pipy(*arguments, stdin="\n".join(lines))
    output = done.stdout.splitlines()
    assert output[:4] == [
        "no MCP servers; to start one: /mcp uvx mcp-server-time",
        "hostile_mcp.py: tool",
        "hostile_mcp.py: tool",
        "hostile_mcp.py: hostile_mcp_py_tool",
    ]
    assert output[4:6] == ["tool", "hostile_mcp_py_tool"]
    assert "Done." in output
    assert output[-2:] == [
        "no MCP servers; to start one: /mcp uvx mcp-server-time",
        "no tools; pipy chat --tool module:function adds one",
    ]
    assert results(lab) == ["fine"]
    assert "the MCP server 'server' failed: there is no '/no/such/server'" in done.stderr
    assert done.returncode == 1  # because of the failed command


def test_interrupting_a_call_ends_the_command_and_the_call(lab: Lab, tmp_path: Path) -> None:
    started, cancelled = tmp_path / "started", tmp_path / "cancelled"
    asked = asking(lab, "hang", started=str(started), cancelled=str(cancelled))
    with Terminal("-m", "pipy_ai", *asked, "--yes", "Wait") as terminal:
        while not started.exists():
            terminal.read(0.05)
        terminal.interrupt()
        assert terminal.wait() == 130
    assert cancelled.exists()


def test_nothing_is_imported_without_servers() -> None:
    code = (
        "import sys; from pipy_ai import complete; complete('faux/echo', 'hi')\n"
        "from pipy_ai.cli.main import main; main(['ask', '-m', 'faux/echo', 'hi'])\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('mcp', 'mcp_types', 'anyio')"
        " or 'mcp' in m])"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.stdout.splitlines()[-1] == b"[]", done.stderr
