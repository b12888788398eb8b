"""Connect to an MCP server with bounds: on the size of a message, and on unrequested messages.

The transports of the SDK buffer a line or a body of any length, and give a server's stderr to the
terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import anyio
import httpx2
import mcp_types
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from ..utils.log import logger
from ..utils.surrogates import clean_json_surrogates
from ..utils.text import format_count
from .config import ServerConfig
from .errors import clean_text

MAX_MESSAGE_BYTES = 16_000_000
MAX_STREAM_BYTES = 256_000_000  # of all events that answer one HTTP request
MAX_UNSOLICITED = 20_000  # messages since the last request; a flood of them ends the server
STDERR_TAIL_BYTES = 4096
CONNECT_TIMEOUT_S = 30.0
EXIT_GRACE_S = 2.0  # after its stdin closed
TERMINATE_GRACE_S = 1.0  # after SIGTERM


class StdioTransport:
    """A server as a child process: messages are lines of its stdin and stdout."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._stderr_tail = b""
        self._unsolicited = 0
        self._process: asyncio.subprocess.Process | None = None
        self.ended: bool = False
        """Whether no message can come any more."""
        self.failure: str = ""
        """Why the connection ended, if the server broke a rule."""

    @property
    def details(self) -> str:
        """How the server ended and its last lines on stderr, for the user."""
        parts = []
        if self._process is not None and self._process.returncode is not None:
            parts.append(f"it ended with exit status {self._process.returncode}")
        if tail := clean_text(self._stderr_tail.decode("utf-8", "replace"), STDERR_TAIL_BYTES):
            parts.append("its last output was:\n" + "\n".join(tail.splitlines()[-10:]))
        return "; ".join(parts)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[Any, None]:
        """Start the server, and stop it at the end. Yields the streams of the SDK."""
        config = self._config
        command = list(config.command)
        if os.name == "nt":  # npx is a batch file there
            command[0] = shutil.which(command[0]) or command[0]
        process = self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**get_default_environment(), **config.env},
            cwd=config.cwd,
            limit=MAX_MESSAGE_BYTES,
            start_new_session=os.name != "nt",  # Ctrl-C is for us
        )
        received, read_stream = anyio.create_memory_object_stream[Any](0)
        write_stream, to_send = anyio.create_memory_object_stream[SessionMessage](0)
        tasks = [
            asyncio.create_task(self._read_stdout(process, received)),
            asyncio.create_task(self._read_stderr(process)),
            asyncio.create_task(self._write_stdin(process, to_send, received)),
        ]
        try:
            yield read_stream, write_stream
        except BaseException:  # also at the exit of the interpreter: there is no time to wait
            _kill(process)
            raise
        finally:
            try:
                write_stream.close()
                read_stream.close()
                await _stop_process(process)
            finally:
                _kill(process)
                for task in tasks:
                    task.cancel()
                for stream in (received, to_send):
                    stream.close()
                # A descendant that holds a pipe would keep it open.
                transport: Any = getattr(process, "_transport", None)
                if transport is not None:
                    transport.close()

    async def _read_stdout(self, process: asyncio.subprocess.Process, received: Any) -> None:
        assert process.stdout is not None
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            async for line in self._lines(process.stdout):
                try:
                    message = _parse(line)
                except (ValueError, RecursionError):
                    logger.debug("MCP server %s: ignored %.200r", self._config.name, line)
                    continue
                await received.send(SessionMessage(message))
        self.ended = True
        received.close()  # the calls in flight fail
        if self.failure:  # it does not get to write any further
            logger.warning("MCP server %s: %s", self._config.name, self.failure)
            _kill(process)

    async def _lines(self, stdout: asyncio.StreamReader) -> AsyncIterator[bytes]:
        while True:
            try:
                line = await stdout.readline()
            except ValueError:
                megabytes = MAX_MESSAGE_BYTES // 1_000_000
                self.failure = f"it sent a message of more than {megabytes} MB"
                return
            if not line:
                return
            self._unsolicited += 1
            if self._unsolicited > MAX_UNSOLICITED:
                count = format_count(MAX_UNSOLICITED, "message")
                self.failure = f"it sent more than {count} that were not requested"
                return
            yield line

    async def _read_stderr(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while chunk := await process.stderr.read(65536):
            self._stderr_tail = (self._stderr_tail + chunk)[-STDERR_TAIL_BYTES:]

    async def _write_stdin(
        self, process: asyncio.subprocess.Process, to_send: Any, received: Any
    ) -> None:
        assert process.stdin is not None
        try:
            async for session_message in to_send:
                message = session_message.message
                if isinstance(message, mcp_types.JSONRPCRequest):  # not an answer to the server
                    self._unsolicited = 0
                text = message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(f"{text}\n".encode())
                await process.stdin.drain()
        except OSError:  # the server ended, or closed its stdin: no answer can come
            received.close()


def _parse(line: bytes) -> Any:
    """Return a message.

    Raises:
        ValueError, RecursionError: It is none.
    """
    adapter = mcp_types.jsonrpc_message_adapter
    try:
        return adapter.validate_json(line, by_name=False)
    except ValueError:
        if b"\\u" not in line:
            raise
        # Pydantic rejects half of a surrogate pair, which some servers send where they cut a text.
        return adapter.validate_python(clean_json_surrogates(json.loads(line)), by_name=False)


async def _stop_process(process: asyncio.subprocess.Process) -> None:
    """Close stdin, and end the process if it does not end by itself."""
    assert process.stdin is not None
    process.stdin.close()
    if await _ended(process, EXIT_GRACE_S):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "nt":
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGTERM)
    if not await _ended(process, TERMINATE_GRACE_S):
        _kill(process)
        await _ended(process, TERMINATE_GRACE_S)


async def _ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    # `process.wait()` also waits for pipes, which a descendant may hold.
    deadline = asyncio.get_running_loop().time() + seconds
    while process.returncode is None:
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the process and those that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


class HttpTransport:
    """A server with a URL: the SDK's transport over a client with bounds."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._status = 0
        self.ended: bool = False
        """Whether no message can come any more."""
        self.failure: str = ""
        """Why the connection ended, if the server broke a rule."""

    @property
    def details(self) -> str:
        """The last HTTP status, for the user."""
        if self._status in (401, 403):
            return f'HTTP {self._status}: pass headers={{"Authorization": "Bearer …"}}'
        return f"HTTP {self._status}" if self._status >= 400 else ""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[Any, None]:
        """Connect. Yields the streams of the SDK."""

        async def check(response: Any) -> None:
            self._status = response.status_code
            if response.headers.get("content-encoding", "identity") != "identity":
                raise httpx2.StreamError("it sent a compressed body, which was not requested")
            is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
            limit = MAX_STREAM_BYTES if is_stream else MAX_MESSAGE_BYTES
            response.stream = _BoundedStream(response.stream, limit)

        client = httpx2.AsyncClient(
            headers={**self._config.headers, "accept-encoding": "identity"},
            timeout=httpx2.Timeout(CONNECT_TIMEOUT_S, read=None),  # calls have their own
            event_hooks={"response": [check]},
        )
        connected = streamable_http_client(
            self._config.url, http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES
        )
        async with client, connected as streams:
            yield streams


class _BoundedStream(httpx2.AsyncByteStream):
    """The body of a response; one that is too long is an error."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream, self._limit = stream, limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = 0
        async for chunk in self._stream:
            total += len(chunk)
            if total > self._limit:
                megabytes = self._limit // 1_000_000
                raise httpx2.StreamError(f"it sent a response of more than {megabytes} MB")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
