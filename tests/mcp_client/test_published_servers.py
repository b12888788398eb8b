"""Test three MCP servers from PyPI in a tool loop: of the time, of Git and of the web."""

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


def test_three_servers_of_an_mcp_json(tmp_path: Path, repository: Path, address: str) -> None:
    servers = {
        "time": ["-m", "mcp_server_time"],
        "git": ["-m", "mcp_server_git", "--repository", "${REPOSITORY:-" + str(repository) + "}"],
        "fetch": ["-m", "mcp_server_fetch", "--allow-private-ips"],
    }
    config = {name: {"command": sys.executable, "args": args} for name, args in servers.items()}
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": config}))
    calls = [
        faux.tool(
            "convert_time", source_timezone="Europe/Rome", time="12:00", target_timezone="UTC"
        ),
        faux.tool("git_log", repo_path=str(repository), max_count="1"),
        faux.tool("fetch", url=f"{address}/page"),
    ]
    with mcp(path) as tools:
        assert [tools.server_of(name) for name in ("convert_time", "git_log", "fetch")] == [
            *servers
        ]
        with faux.script(faux.reply(*calls), "Done."):
            run = run_tools("faux/m", "q", tools)
            assert run.result().text == "Done."
    time, log, page = (str(m) for m in run.messages if m.role == "toolResult")
    assert '"timezone": "UTC"' in time
    assert "Build the tower" in log
    assert "There are two." in page
