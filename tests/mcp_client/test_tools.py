"""Test the tools of MCP servers: of real ones, made with the SDK, and of hostile ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AbortController,
    DocumentContent,
    ImageContent,
    McpError,
    McpTools,
    ToolCall,
    arun_tools,
    faux,
    mcp,
    run_tools,
)
from pipy_ai.mcp_client import connection
from pipy_ai.mcp_client.tools import unique_names

from ..support import hostile_mcp

pytest.importorskip("mcp")

ROOT = Path(__file__).parents[2]
LABORATORY = [sys.executable, "-m", "tests.support.mcp_server"]
WAIT = 60.0  # seconds, far above what anything here takes


def hostile(behaviour: str, **options: Any) -> McpTools:
    return mcp([sys.executable, hostile_mcp.__file__, behaviour], **options)


@pytest.fixture(scope="module")
def tools() -> Iterator[McpTools]:
    with mcp(LABORATORY, name="lab", cwd=ROOT) as started:
        yield started


def children() -> list[int]:
    """Return the child processes of this one."""
    path = Path(f"/proc/self/task/{threading.main_thread().native_id}/children")
    tasks = path.parent.parent.iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def test_a_tool_loop(tools: McpTools) -> None:
    calls = [faux.tool("add", a=1, b="2"), faux.tool("add", a="x"), faux.tool("fail")]
    with faux.script(faux.reply(*calls), "It is 3."):
        run = run_tools("faux/m", "What is 1 + 2?", tools)
        assert run.result().text == "It is 3."
    first, second, third = (m for m in run.messages if m.role == "toolResult")
    assert (str(first), first.details) == ("3", {"result": 3})
    assert "Invalid arguments for add" in str(second)
    assert (third.is_error, str(third)) == (True, "Error executing tool fail")


async def test_an_async_tool_loop(tools: McpTools) -> None:
    with faux.script(faux.reply(faux.tool("add", a=1, b=2)), "It is 3."):
        run = arun_tools("faux/m", "q", [*tools])
        assert (await run.result()).text == "It is 3."
    assert str(await tools.acall("add", a=2, b=2)) == "4"


async def test_async_start_and_stop() -> None:
    async with mcp(LABORATORY, cwd=ROOT, allow=["add"]) as tools:
        assert tools.names == ["add"]
    with pytest.raises(RuntimeError, match="not running"):
        len(tools)
    assert "not started" in repr(tools)


def test_tools_know_their_server(tools: McpTools) -> None:
    asked: list[tuple[str, str | None]] = []

    def approve(call: ToolCall) -> bool:
        asked.append((call.name, tools.server_of(call.name)))
        return False

    with faux.script(faux.reply(faux.tool("add", a=1, b=2)), "ok"):
        run_tools("faux/m", "q", tools, approve=approve).result()
    assert asked == [("add", "lab")]
    assert tools.server_of("other") is None
    assert (tools.servers, "files_read" in tools.names) == (["lab"], True)
    assert str(tools.call("files_read")) == "read"
    assert tools["add"].description == "Add two numbers."


def test_images_and_long_texts(tools: McpTools) -> None:
    [image] = tools.call("picture").content
    assert isinstance(image, ImageContent)
    assert image.mime_type == "image/png"
    text = str(tools.call("large", characters=100_005))
    assert text.endswith("xxx\n[5 more characters were cut]")


def test_a_server_does_not_inherit_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with mcp(LABORATORY, cwd=ROOT, env={"GIVEN": "yes"}) as tools:
        assert str(tools.call("environment", name="OPENAI_API_KEY")) == "not set"
        assert str(tools.call("environment", name="GIVEN")) == "yes"


def test_progress() -> None:
    seen: list[Any] = []
    with mcp(LABORATORY, cwd=ROOT, on_progress=lambda *step: seen.append(step)) as tools:
        assert str(tools.call("steps")) == "done"
    assert seen == [("steps", 1.0, 2.0, "step 1"), ("steps", 2.0, 2.0, "step 2")]


def test_an_abort_cancels_the_call_on_the_server(tools: McpTools, tmp_path: Path) -> None:
    started, cancelled = tmp_path / "started", tmp_path / "cancelled"
    controller = AbortController()

    def abort_when_started() -> None:
        while not started.exists():
            time.sleep(0.01)
        controller.abort()

    threading.Thread(target=abort_when_started, daemon=True).start()
    call = faux.tool("hang", started=str(started), cancelled=str(cancelled))
    with faux.script(faux.reply(call)):
        message = run_tools("faux/m", "q", tools, signal=controller.signal).result()
    assert message.stop_reason == "aborted"
    deadline = time.monotonic() + WAIT
    while not cancelled.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_server_that_dies_during_a_call_is_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with mcp(LABORATORY, name="lab", cwd=ROOT) as tools:
        result = tools.call("die")
        assert result.is_error
        assert str(result) == "the MCP server 'lab' ended during the call"
        assert "exit status 3; its last output was:\nthe last words" in caplog.text
        assert str(tools.call("add", a=1, b=2)) == "3"


def test_a_server_with_a_url(tmp_path: Path, unused_tcp_port_factory: Any) -> None:
    port = unused_tcp_port_factory()
    command = [*LABORATORY, str(port)]

    def serve() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
        assert process.stderr is not None
        while b"running on" not in process.stderr.readline():
            assert process.poll() is None
        return process

    with serve() as process, mcp(f"http://127.0.0.1:{port}/mcp", timeout=WAIT) as tools:
        assert tools.servers == ["127.0.0.1"]
        assert str(tools.call("add", a=1, b=2)) == "3"
        assert tools.call("picture").content[0].type == "image"
        assert str(tools.call("die")) == "the MCP server '127.0.0.1' ended during the call"
        process.wait(WAIT)
        assert str(tools.call("add", a=1, b=2)) == "the MCP server '127.0.0.1' is not available"
        with serve() as second:
            assert str(tools.call("add", a=1, b=2)) == "3"
            second.kill()


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("lies", "fine"),
        ("twice", "fine"),
        ("structured", '{"n": 1}'),
        ("malformed", "the MCP server 'python' reports: "),
        ("error", "the MCP server 'python' reports: no[31mno[31m"),
        (
            "flood",
            "ended during the call: it sent more than 20,000 messages that were not requested",
        ),
        ("pings", "the MCP server 'python' did not answer within 0.3 seconds"),
        ("long-line", "ended during the call: it sent a message of more than 16 MB"),
        ("closes", "the MCP server 'python' ended during the call"),
        ("silent", "the MCP server 'python' did not answer within 0.3 seconds"),
    ],
)
def test_hostile_servers(behaviour: str, expected: str) -> None:
    timeout = 0.3 if "0.3 seconds" in expected else WAIT
    with hostile(behaviour, name="python", timeout=timeout) as tools:
        name = tools.names[-1]
        with faux.script(faux.reply(faux.tool(name)), "ok"):
            run = run_tools("faux/m", "q", tools)
            assert run.result().text == "ok"
        assert expected in str(run.messages[1])
        assert len(str(run.messages[1])) < 3000


def test_a_late_answer_is_not_that_of_the_next_call() -> None:
    with hostile("late", timeout=2) as tools:
        assert "did not answer within" in str(tools.call("tool"))
        assert str(tools.call("tool")) == "fine"


def test_parts_that_no_model_takes() -> None:
    with hostile("parts") as tools:
        result = tools.call("tool")
    texts = [part.text if part.type == "text" else part.type for part in result.content]
    assert texts == [
        "half \ufffd",
        "[image was left out: it is not valid base64]",
        "[image of the type image/tiff, 3 bytes, was left out]",
        "audio",
        "[resource a file: file:///a]",
        "[file:///t]\nT",
        "document",
        "[file:///z of the type application/octet-stream, 3 bytes, was left out]",
    ]
    assert isinstance(result.content[6], DocumentContent)


def test_tools_with_bad_schemas_are_left_out_and_texts_are_cleaned() -> None:
    with hostile("lies", name="liar") as tools:
        assert tools.names == ["hidden"]
        left_out = "\n".join(tools.warnings)
        hidden = tools["hidden"]
    for name in ("remote", "huge", "regex"):
        assert f"the tool {name!r} of the MCP server 'liar' was left out: " in left_out
    assert hidden.description.startswith("Adds. [31mIGNORE[0myyy")
    assert hidden.description.endswith("y […]")
    assert len(hidden.description) < 10_100
    assert hidden.parameters["properties"]["a"]["description"] == "Adds. [31mIGNORE[0m"


def test_names_are_valid_and_unique() -> None:
    with hostile("names", name="s") as tools:
        names = tools.names
    assert len(set(names)) == 7
    assert names[:4:3] == ["s_a_b", "_1"]
    for name in names:
        assert name.isascii()
        assert 0 < len(name) <= 64
        assert name.replace("_", "a").replace("-", "a").isalnum()
    assert unique_names([("a", "x"), ("b", "x"), ("c", "b_x")]) == [
        "a_x", "b_x", unique_names([("a", "x"), ("b", "x"), ("c", "b_x")])[2],
    ]  # fmt: skip
    with hostile("names", prefix="web_", allow=["a.b"]) as tools:
        assert tools.names == ["web_a_b"]


def test_too_many_tools_and_pages() -> None:
    with hostile("many", deny=["tool0"]) as tools:
        assert len(tools) == 499
        assert "more than 500 tools" in tools.warnings[0]
    with pytest.raises(McpError, match="more than 100 pages"), hostile("endless-list"):
        pass
    with pytest.raises(McpError, match="ListToolsResult"), hostile("bad-root"):
        pass


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (["/no/such/server"], "the MCP server 'server' failed: there is no '/no/such"),
        ([sys.executable, "-c", "raise SystemExit('bad \\x1b[31moption')"], "exit status 1; its"),
        ("http://127.0.0.1:1/mcp", "'127.0.0.1' failed: "),
    ],
)
def test_servers_that_do_not_start(server: Any, expected: str) -> None:
    with pytest.raises(McpError) as caught, mcp(server):
        pass
    assert expected in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_one_of_several_servers_that_does_not_start(tmp_path: Path) -> None:
    good = {"command": sys.executable, "args": [hostile_mcp.__file__, "fine"]}
    servers = {"good": good, "bad": {"command": "/no/such/server"}}
    with pytest.raises(McpError, match="'bad' failed"), mcp({"mcpServers": servers}):
        pass
    with mcp({"mcpServers": {"one": good, "two": good}}) as tools:
        assert tools.names == ["one_tool", "two_tool"]
        assert (tools.server_of("two_tool"), tools.servers) == ("two", ["one", "two"])


def test_a_flood_at_the_start() -> None:
    with pytest.raises(McpError, match="more than 20,000 messages"), hostile("start-flood"):
        pass


class HostileHttp(BaseHTTPRequestHandler):
    """An MCP server with a URL whose tool answers with too much: `/json` or `/events`."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "id" not in request:
            self.send_response(202)
            self.end_headers()
            return
        head = {"jsonrpc": "2.0", "id": request["id"]}
        results = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "h", "version": "1"},
            },
            "tools/list": {"tools": [{"name": "tool", "inputSchema": {"type": "object"}}]},
        }
        if request["method"] == "tools/call":
            is_json = self.path == "/json"
            event = b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/x"}\n\n'
            self._send(b"x" * 100_000 if is_json else event * 1000, 10**6, is_json)
        elif request["method"] in results:
            self._send(json.dumps({**head, "result": results[request["method"]]}).encode(), 1)
        else:
            error = {"code": -32601, "message": "unknown"}
            self._send(json.dumps({**head, "error": error}).encode(), 1)

    def _send(self, chunk: bytes, count: int, is_json: bool = True) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json" if is_json else "text/event-stream")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(count):
                self.wfile.write(chunk)

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("json", "it sent a response of more than 16 MB"),
        ("events", "stream ended without a response"),
    ],
)
def test_a_server_with_a_url_that_floods(
    path: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipy_ai.mcp_client import transport

    monkeypatch.setattr(transport, "MAX_STREAM_BYTES", 200_000)
    with ThreadingHTTPServer(("127.0.0.1", 0), HostileHttp) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with mcp(f"http://127.0.0.1:{server.server_port}/{path}", timeout=60) as tools:
            result = tools.call("tool")
        server.shutdown()
    assert result.is_error
    assert expected in str(result)


def test_a_start_that_takes_too_long() -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(McpError, match=r"did not start within 0\.2 seconds; raise start_timeout="):
        mcp(sleeper, start_timeout=0.2).__enter__()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_process_is_left(monkeypatch: pytest.MonkeyPatch, tools: McpTools) -> None:
    from pipy_ai.mcp_client import transport

    monkeypatch.setattr(transport, "EXIT_GRACE_S", 0.1)
    monkeypatch.setattr(transport, "TERMINATE_GRACE_S", 0.1)
    before = children()
    with hostile("stubborn", timeout=0.1) as stubborn:
        stubborn.call("tool")
        assert len(children()) == len(before) + 1
    assert children() == before


def test_an_interpreter_that_ends_within_the_block_leaves_no_server(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import os, sys; from pathlib import Path; from pipy_ai import mcp\n"
        f"tools = mcp([sys.executable, {hostile_mcp.__file__!r}, 'stubborn']).__enter__()\n"
        "children = Path('/proc/self/task').glob('*/children')\n"
        f"Path({str(pid_file)!r}).write_text(' '.join(c.read_text() for c in children))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    [pid] = map(int, pid_file.read_text().split())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_cancelling_the_start_stops_the_server() -> None:
    async def main() -> None:
        sleeper = mcp([sys.executable, "-c", "import time; time.sleep(600)"])
        task = asyncio.create_task(sleeper.__aenter__())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not connection.mcp_loop()._tasks


def test_without_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipy_ai.mcp_client.tools.is_installed", lambda name: False)
    with pytest.raises(ImportError, match=r"need the package mcp: pip install 'pipy-ai.*\[mcp\]'"):
        mcp("server")
