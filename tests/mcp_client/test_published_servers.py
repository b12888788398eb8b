"""Test three MCP servers from PyPI: of the time, of Git and of the web."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import faux, mcp, run_tools
from pipy_ai.utils.extras import is_installed

from ..support.scripted_server import Lab
from ..support.terminal import Terminal
from ..support.wire_formats import CHAT, say, tool

MODULES = ("mcp_server_time", "mcp_server_git", "mcp_server_fetch")

pytestmark = pytest.mark.skipif(
    not all(map(is_installed, MODULES)), reason="the servers are not installed"
)


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path == "/page"
        body = b"<html><body><h1>Towers</h1><p>There are two.</p></body></html>" if found else b""
        self.send_response(200 if found else 404)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    commit = ["commit", "-q", "--allow-empty", "-m", "Build the tower"]
    subprocess.run(["git", *author, *commit], cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture
def config(tmp_path: Path, repository: Path) -> Path:
    servers = {
        "time": ["-m", "mcp_server_time"],
        "git": ["-m", "mcp_server_git", "--repository", "${REPOSITORY:-" + str(repository) + "}"],
        "fetch": ["-m", "mcp_server_fetch", "--allow-private-ips"],
    }
    config = {name: {"command": sys.executable, "args": args} for name, args in servers.items()}
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": config}))
    return path


def calls(repository: Path, address: str) -> dict[str, dict[str, str]]:
    """Return the arguments of a call of each server, by the name of its tool."""
    return {
        "convert_time": {
            "source_timezone": "Europe/Rome", "time": "12:00", "target_timezone": "UTC"
        },
        "git_log": {"repo_path": str(repository), "max_count": "1"},
        "fetch": {"url": f"{address}/page"},
    }  # fmt: skip


def check_results(time: str, log: str, page: str) -> None:
    assert '"timezone": "UTC"' in time
    assert "Build the tower" in log
    assert "There are two." in page


def test_in_a_tool_loop(config: Path, repository: Path, address: str) -> None:
    arguments = calls(repository, address)
    with mcp(config) as tools:
        assert [tools.server_of(name) for name in arguments] == ["time", "git", "fetch"]
        steps = [faux.tool(name, **values) for name, values in arguments.items()]
        with faux.script(faux.reply(*steps), "Done."):
            run = run_tools("faux/m", "q", tools)
            assert run.result().text == "Done."
    check_results(*(str(m) for m in run.messages if m.role == "toolResult"))


def test_in_the_terminal(config: Path, repository: Path, address: str, lab: Lab) -> None:
    arguments = calls(repository, address)
    steps = [tool(name, name, json.dumps(values)) for name, values in arguments.items()]
    lab.play(CHAT.scene(*steps, stop="tool"), CHAT.scene(say("All done.")))
    command = ("ask", "-m", "hosted_vllm/m", "--api-base", lab.url, "--mcp", str(config), "Go on.")
    with Terminal("-m", "pipy_ai", *command) as terminal:
        for name, server in zip(arguments, ("time", "git", "fetch"), strict=True):
            terminal.wait_for(f"Run {name} of the MCP server {server}?")
            terminal.send("y\n")
        assert terminal.wait() == 0
        assert "All done." in terminal.text
    messages = lab.seen[-1].json["messages"]
    check_results(*(str(m["content"]) for m in messages if m["role"] == "tool"))
