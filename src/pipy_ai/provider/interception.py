"""Where an open cassette takes the place of the network."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol


class Interceptor(Protocol):
    """Answers requests in place of their host, or records the answers."""

    records: bool
    """Whether requests may be sent; otherwise they need no credentials."""
    skips_waits: bool
    """Whether retries follow at once."""

    def make_call_id(self) -> str:
        """Return an id for a tool call that has none: the same in every replay."""
        ...

    async def send(self, http_request: Any) -> Any:
        """Answer an `HTTPRequest` with an `HTTPResponse`. Raises what `http.client.send` raises."""
        ...

    async def send_httpx(self, send: Any, http_request: Any, options: dict[str, Any]) -> Any:
        """Answer a request of httpx; `send(http_request, **options)` sends it."""
        ...


opened: list[Interceptor] = []  # of the process, the last one opened at the end
own_interceptor: ContextVar[Interceptor | None] = ContextVar("own_interceptor", default=None)


def current_interceptor() -> Interceptor | None:
    """Return the one opened in the caller's context, else the last one opened in the process."""
    if not opened:
        return None
    own = own_interceptor.get()
    return own if own in opened else opened[-1]


def is_replaying() -> bool:
    """Return whether requests are answered from a recording, and never sent."""
    interceptor = current_interceptor()
    return interceptor is not None and not interceptor.records


def skips_waits() -> bool:
    """Return whether retries follow at once, as those of a replay do."""
    interceptor = current_interceptor()
    return interceptor is not None and interceptor.skips_waits
