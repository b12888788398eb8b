"""One MCP server: a task that owns its connection, and calls from any thread or event loop."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ..types import ToolResultMessage
from ..utils.channel import WAIT_SLICE_S
from ..utils.event_loop import LoopThread
from ..utils.log import logger
from .config import ServerConfig
from .errors import McpError, describe_reason
from .results import convert_result, error_result

if TYPE_CHECKING:
    from mcp.client.client import Client

    from .transport import HttpTransport, StdioTransport

T = TypeVar("T")
ProgressCallback = Callable[[float, "float | None", "str | None"], None]

MAX_PAGES = 100  # of a list of tools
_CLOSED = ("Connection closed", "Session terminated")  # the SDK's own words; the codes are not
FAILURE_GRACE_S = 0.2  # for a server that ended to be noticed
CLOSE_TIMEOUT_S = 8.0  # more than a server has to end

_lock = threading.Lock()
_loop: LoopThread | None = None


def mcp_loop() -> LoopThread:
    """Return the thread of all MCP connections, and start it if necessary.

    It is not the one of requests: a server that floods must not delay their streams.
    """
    global _loop
    with _lock:
        if _loop is None or not _loop.is_alive:  # also in a forked child
            _loop = LoopThread("pipy-ai MCP")
            atexit.register(_loop.stop)
        return _loop


def submit(coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
    """Run a coroutine in the thread of the connections."""
    return asyncio.run_coroutine_threadsafe(coroutine, mcp_loop().loop)


def wait(future: concurrent.futures.Future[T]) -> T:
    """Wait for a result; Ctrl-C cancels it."""
    try:
        while not future.done():
            concurrent.futures.wait([future], WAIT_SLICE_S)
        return future.result()
    except BaseException:
        future.cancel()
        raise


class _Connection:
    """A connection, which is entered and left in the task that `run` is."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.client: Client | None = None
        self.tools: list[Any] = []
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.dead = False
        self._stopping = asyncio.Event()
        self._transport: StdioTransport | HttpTransport | None = None
        self._error: BaseException | None = None
        self.task: asyncio.Task[None] = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            from mcp.client.client import Client

            from .._version import __version__

            async with contextlib.AsyncExitStack() as stack:
                implementation = _client_info(__version__)
                target = self._target()
                client = await stack.enter_async_context(
                    Client(target, client_info=implementation, cache=None)
                )
                # A result that does not match the server's own schema is still worth reading, and
                # a pattern of that schema could take forever.
                setattr(client.session, "validate_tool_result", _accept)  # noqa: B010
                self.tools = await _list_tools(client)
                self.client = client
                self.ready.set_result(None)
                await self._stopping.wait()
        except BaseException as error:
            self._error = error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self.client = None
            if not self.ready.done():
                self.ready.set_exception(McpError(self.failure()))
                self.ready.exception()  # the caller may have stopped waiting

    def _target(self) -> Any:
        from .transport import HttpTransport, StdioTransport

        if self.config.sdk_object is not None:
            return self.config.sdk_object
        transport_class = HttpTransport if self.config.url else StdioTransport
        self._transport = transport_class(self.config)
        return self._transport.open()

    def failure(self) -> str:
        """Return why the server cannot be used, for the user."""
        transport = self._transport
        reason = transport.failure if transport is not None else ""
        if not reason and self._error is not None:
            reason = describe_reason(self._error)
        details = transport.details if transport is not None else ""
        text = "; ".join(part for part in (reason, details) if part)
        return f"the MCP server {self.config.name!r} failed: {text or 'it ended'}"

    @property
    def is_usable(self) -> bool:
        """Whether a call can be tried."""
        ended = self._transport is not None and self._transport.ended
        return self.client is not None and not self.dead and not ended

    @property
    def broken_rule(self) -> str:
        """The rule that the server broke, if any."""
        return self._transport.failure if self._transport is not None else ""

    async def close(self) -> None:
        """End the connection and its server."""
        self._stopping.set()
        if not self.ready.done():
            self.task.cancel()
        _, pending = await asyncio.wait({self.task}, timeout=CLOSE_TIMEOUT_S)
        if pending:
            self.task.cancel()
            await asyncio.wait({self.task}, timeout=CLOSE_TIMEOUT_S)


def _client_info(version: str) -> Any:
    from mcp_types import Implementation

    return Implementation(name="pipy-ai", version=version)


async def _accept(*_: object) -> None:
    """Accept any result of a tool."""


async def _list_tools(client: Client) -> list[Any]:
    tools: list[Any] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return tools
    raise McpError(f"its list of tools has more than {MAX_PAGES} pages")


class Server:
    """A server that is started, called and stopped; after it ended, a call starts it once more.

    Except for `config` and `tools`, use it in the thread of the connections.
    """

    def __init__(
        self, config: ServerConfig, *, timeout: float, start_timeout: float, max_chars: int
    ) -> None:
        self.config = config
        self.tools: list[Any] = []
        self._timeout = timeout
        self._start_timeout = start_timeout
        self._max_chars = max_chars
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._closed = False

    async def start(self) -> None:
        """Start the server and read its tools.

        Raises:
            McpError: The server cannot be started or reached.
        """
        self._closed = False
        self.tools = (await self._connect()).tools

    async def _connect(self) -> _Connection:
        """Return the connection, and make it if there is none."""
        async with self._connecting:
            if self._connection is not None and self._connection.is_usable:
                return self._connection
            if self._closed:
                raise McpError(f"the MCP server {self.config.name!r} was stopped")
            if self._connection is not None:
                await self._connection.close()
            connection = self._connection = _Connection(self.config)
            try:
                async with asyncio.timeout(self._start_timeout):
                    await asyncio.shield(connection.ready)
            except TimeoutError:
                await connection.close()
                raise McpError(
                    f"the MCP server {self.config.name!r} did not start within"
                    f" {self._start_timeout:g} seconds; raise start_timeout= to wait longer"
                ) from None
            except BaseException:
                await connection.close()
                raise
            return connection

    async def close(self) -> None:
        """Stop the server."""
        self._closed = True
        if self._connection is not None:
            await self._connection.close()

    async def call(
        self, tool: str, arguments: dict[str, Any], on_progress: ProgressCallback | None
    ) -> ToolResultMessage:
        """Call a tool. A failure is a result that says so."""
        name = self.config.name
        connection: _Connection | None = None

        async def report(progress: float, total: float | None, message: str | None) -> None:
            if on_progress is not None:
                on_progress(progress, total, message)

        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._connect()
                assert connection.client is not None
                result = await connection.client.call_tool(
                    tool, arguments, progress_callback=report if on_progress else None
                )
            return convert_result(result, self._max_chars)
        except TimeoutError:
            text = f"the MCP server {name!r} did not answer within {self._timeout:g} seconds"
        except McpError as error:
            logger.warning("%s", error)
            # What the server printed is for the user only: it may be secret.
            text = f"the MCP server {name!r} is not available"
        except Exception as error:
            text = f"the MCP server {name!r} reports: {describe_reason(error)}"
            if connection is not None and _is_fatal(error):
                connection.dead = True
                await asyncio.wait({connection.task}, timeout=FAILURE_GRACE_S)
                logger.warning("%s", connection.failure())
                rule = connection.broken_rule
                text = f"the MCP server {name!r} ended during the call{rule and f': {rule}'}"
        return error_result(text)


def _is_fatal(error: Exception) -> bool:
    """Return whether an error of a call is the end of its connection."""
    return isinstance(error, OSError) or str(error) in _CLOSED
