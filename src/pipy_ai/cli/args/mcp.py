"""Start the MCP servers of `--mcp` and `/mcp`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..display.status import set_status, show_status
from ..display.terminal import format_error, warn

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ... import McpTools


def start_servers(servers: Sequence[str], reserved: Collection[str]) -> McpTools:
    """Start MCP servers, and print which of their tools cannot be used. Exit it to stop them.

    Args:
        servers: Commands, URLs and paths of `mcp.json` files.
        reserved: The names of the other tools.

    Raises:
        ValueError: One cannot be started; the message is for the user.
    """
    from ... import mcp

    try:
        tools = mcp(*servers, reserved=reserved, on_progress=_show_progress)
        show_status(f"starting {', '.join(tools.servers)}")
        tools.__enter__()
    except (ImportError, OSError) as error:
        raise ValueError(format_error(error)) from None
    for text in tools.warnings:
        warn(text)
    return tools


def _show_progress(tool: str, progress: float, total: float | None, message: str | None) -> None:
    """Show the progress of a call in the status line. Called from another thread."""
    numbers = f"{progress:g}" if total is None else f"{progress:g} of {total:g}"
    set_status(f"{tool}: {message or numbers}")
