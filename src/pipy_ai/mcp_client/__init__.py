"""Use the tools of MCP servers: see `mcp`. The SDK is imported when a server is started."""

from __future__ import annotations

from .errors import McpError
from .tools import McpTools, mcp

__all__ = ["McpError", "McpTools", "mcp"]
