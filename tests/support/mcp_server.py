"""A real MCP server, made with the SDK, for the tests: `python -m tests.support.mcp_server`."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from opentelemetry import trace

server = MCPServer("laboratory")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def environment(name: str) -> str:
    """Return an environment variable of the server."""
    return os.environ.get(name, "not set")


@server.tool()
def fail() -> str:
    """Always fails."""
    raise ValueError("it broke")


@server.tool()
def picture() -> Image:
    """Return an image."""
    return Image(data=PNG, format="png")


@server.tool()
def large(characters: int) -> str:
    """Return a long text."""
    return "x" * characters


@server.tool()
async def steps(context: Context) -> str:
    """Report progress."""
    for step in (1, 2):
        await context.report_progress(step, 2, f"step {step}")
    return "done"


@server.tool()
async def hang(started: str, cancelled: str) -> str:
    """Never answer. Touches a file when it starts, and one when it is cancelled."""
    Path(started).touch()
    try:
        await asyncio.sleep(600)
    finally:
        Path(cancelled).touch()
    return ""


@server.tool()
def die() -> str:
    """End the server during the call."""
    os.write(2, b"the last words\n")
    os._exit(3)


@server.tool()
def trace_id() -> str:
    """Return the id of the trace that the call belongs to."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


@server.tool(name="files.read")
def files_read() -> str:
    """Has a name that providers do not accept."""
    return "read"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
