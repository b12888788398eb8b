"""Use the tools of MCP servers.

    with mcp("uvx mcp-server-time") as tools:
        print(run_tools("openai/gpt-5", "What time is it in Rome?", tools).result().text)

The servers run in child processes, or anywhere with a URL. What they say is untrusted: the texts
of their tools are cleaned and bounded, and so is everything that they send.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..function_schema import ToolImplementation
from ..types import Tool, ToolResultMessage, ToolSet
from ..utils.extras import install_command, is_installed
from ..utils.log import logger
from .config import ServerConfig, read_servers
from .connection import ProgressCallback, Server, submit, wait
from .errors import clean_text

if TYPE_CHECKING:
    from typing import Self

MAX_TOOLS = 500  # of a server
MAX_DESCRIPTION_CHARS = 10_000
MAX_SCHEMA_CHARS = 100_000  # as JSON
MAX_NAME_CHARS = 64  # what providers accept
MAX_RESULT_CHARS = 100_000


def mcp(
    *servers: str | os.PathLike[str] | Sequence[str] | Mapping[str, Any] | Any,
    name: str | None = None,
    prefix: str = "",
    reserved: Collection[str] = (),
    allow: Collection[str] | None = None,
    deny: Collection[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    start_timeout: float = 120.0,
    max_result_chars: int = MAX_RESULT_CHARS,
    on_progress: Callable[[str, float, float | None, str | None], None] | None = None,
) -> McpTools:
    """Use the tools of MCP servers: a context manager, also an asynchronous one, of `McpTools`.

    The servers start when the block is entered, and stop when it is left. Needs the extra `mcp`.

    Args:
        *servers: For each, a command, as a string or a list of words; a URL; the path of an
            `mcp.json`; its content, or the entry of one server, as a mapping; or an object of the
            SDK.
        name: What to call the server in messages. By default, its name in the `mcp.json`, or what
            the command runs.
        prefix: A prefix for the name of each tool.
        reserved: Names of your other tools. A tool with such a name, or that of a tool of another
            server, gets the name of its server as a prefix.
        allow: The names of the only tools to use, as the server calls them.
        deny: The names of tools not to use.
        env: Environment variables of the server. It inherits only harmless ones, such as `PATH`,
            so that it does not see your API keys.
        cwd: The directory in which the server runs.
        headers: HTTP headers for a server with a URL: `{"Authorization": "Bearer …"}`.
        timeout: How many seconds a call may take. After that it is cancelled, and the model gets
            an error.
        start_timeout: How many seconds a server may take to start.
        max_result_chars: How many characters of a result the model gets. The rest is omitted,
            with a note.
        on_progress: Called with the name of the tool, the progress, the total if it is known, and
            a text or None, in another thread.

    Raises:
        ImportError: The extra `mcp` is not installed.
        McpError: When the block is entered: a server cannot be started or reached.
        OSError: The `mcp.json` cannot be read.
        TypeError: A server is none of these, or there is none.
        ValueError: It is malformed, or an option does not apply to it.

    Example:
        >>> from pipy_ai import mcp
        >>> mcp("uvx mcp-server-time").servers
        ['mcp-server-time']
    """
    if not servers:
        raise TypeError("mcp() needs a server: a command, a URL or the path of an mcp.json")
    configs: list[ServerConfig] = []
    for server in servers:
        configs += read_servers(server, name=name, env=env, cwd=cwd, headers=headers)
    if name is not None and len(configs) > 1:
        raise ValueError("name= is for one server; those of an mcp.json have names")
    for option, value in (("timeout", timeout), ("start_timeout", start_timeout)):
        if not value > 0:
            raise ValueError(f"{option} must be more than 0 seconds, not {value!r}")
    if not is_installed("mcp"):
        raise ImportError(f"MCP servers need the package mcp: {install_command('mcp')}")
    made = [
        Server(config, timeout=timeout, start_timeout=start_timeout, max_chars=max_result_chars)
        for config in configs
    ]
    choice = _ToolChoice(prefix, frozenset(reserved), allow, frozenset(deny))
    return McpTools(made, choice, on_progress)


@dataclass(frozen=True, slots=True)
class _ToolChoice:
    """Which tools of the servers to use, and what their names must not be."""

    prefix: str
    reserved: Collection[str]
    allow: Collection[str] | None
    deny: Collection[str]


class McpTools(ToolSet):
    """The tools of MCP servers, between entering and leaving the block of `mcp`.

    Pass it as `tools=`, or as an item of a list of tools.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        choice: _ToolChoice,
        on_progress: Callable[[str, float, float | None, str | None], None] | None,
    ) -> None:
        super().__init__(lambda: self._started_tools().values())
        self._servers = servers
        self._choice = choice
        self._on_progress = on_progress
        self._tools: dict[str, Tool] | None = None
        self.warnings: list[str] = []
        """What is wrong with tools that were left out."""

    @property
    def servers(self) -> list[str]:
        """The names of the servers."""
        return [server.config.name for server in self._servers]

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return list(self._started_tools())

    def server_of(self, tool: str) -> str | None:
        """Return the name of the server that has a tool, for example to ask the user; or None."""
        return tool_source(self._started_tools().get(tool))

    def call(self, tool: str, /, **arguments: Any) -> ToolResultMessage:
        """Call a tool and wait for its result. A failed call has `is_error`.

        Raises:
            KeyError: There is no such tool.
        """
        coroutine: Coroutine[Any, Any, ToolResultMessage] = self[tool](**arguments)
        return wait(submit(coroutine))

    async def acall(self, tool: str, /, **arguments: Any) -> ToolResultMessage:
        """Call a tool. The async version of `call`."""
        result: ToolResultMessage = await self[tool](**arguments)
        return result

    def __getitem__(self, name: str) -> Tool:
        return self._started_tools()[name]

    def __iter__(self) -> Iterator[Tool]:
        return iter(list(self._started_tools().values()))

    def __len__(self) -> int:
        return len(self._started_tools())

    def __repr__(self) -> str:
        tools = "not started" if self._tools is None else ", ".join(self._tools)
        return f"McpTools({', '.join(self.servers)}: {tools})"

    def __enter__(self) -> Self:
        wait(submit(self._start()))
        self._make_tools()
        return self

    def __exit__(self, *_: object) -> None:
        self._tools = None
        wait(submit(self._stop()))

    async def __aenter__(self) -> Self:
        await asyncio.wrap_future(submit(self._start()))
        self._make_tools()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._tools = None
        await asyncio.wrap_future(submit(self._stop()))

    async def _start(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for server in self._servers:
                    group.create_task(server.start())
        except BaseExceptionGroup as errors:
            await self._stop()
            raise errors.exceptions[0] from None
        except BaseException:
            await self._stop()
            raise

    async def _stop(self) -> None:
        await asyncio.gather(*(server.close() for server in self._servers))

    def _started_tools(self) -> dict[str, Tool]:
        if self._tools is None:
            raise RuntimeError("the MCP servers are not running: use `with mcp(…) as tools:`")
        return self._tools

    def _make_tools(self) -> None:
        self.warnings = []
        found = [(server, tool) for server in self._servers for tool in self._usable_tools(server)]
        names = unique_names(
            [(server.config.name, f"{self._choice.prefix}{tool.name}") for server, tool in found],
            self._choice.reserved,
        )
        self._tools = {
            name: _make_tool(name, server, tool, self._on_progress)
            for name, (server, tool) in zip(names, found, strict=True)
        }
        for text in self.warnings:
            logger.warning("%s", text)

    def _usable_tools(self, server: Server) -> Iterator[Any]:
        for index, tool in enumerate(server.tools):
            if self._choice.allow is not None and tool.name not in self._choice.allow:
                continue
            if tool.name in self._choice.deny:
                continue
            problem = _schema_problem(tool.input_schema)
            if index >= MAX_TOOLS:
                problem = f"the server has more than {MAX_TOOLS} tools"
            if problem:
                name = clean_text(tool.name, MAX_NAME_CHARS)
                text = f"the tool {name!r} of the MCP server {server.config.name!r} was left out"
                self.warnings.append(f"{text}: {problem}")
                if index >= MAX_TOOLS:
                    return
                continue
            yield tool


def tool_source(tool: Tool | None) -> str | None:
    """Return the MCP server that a tool is from, or None."""
    implementation = tool._implementation if tool is not None else None
    return implementation.source if implementation is not None else None


def unique_names(tools: Sequence[tuple[str, str]], reserved: Collection[str] = ()) -> list[str]:
    """Return a valid, unique name for each tool, given as its server and its name.

    Tools with the same name, or a reserved one, get that of their server as a prefix.

    Example:
        >>> unique_names([("git", "files.read"), ("docs", "search"), ("web", "search")])
        ['files_read', 'docs_search', 'web_search']
    """
    names = [_valid_name(name) for _, name in tools]
    prefixed = [
        _valid_name(f"{server}_{name}") if names.count(name) > 1 or name in reserved else name
        for name, (server, _) in zip(names, tools, strict=True)
    ]
    taken: set[str] = set(reserved)
    for index, name in enumerate(prefixed):
        if name in taken:
            digest = hashlib.sha256(f"{index} {tools[index]}".encode()).hexdigest()[:8]
            name = prefixed[index] = f"{name[: MAX_NAME_CHARS - 9]}_{digest}"
        taken.add(name)
    return prefixed


def _valid_name(name: str) -> str:
    valid = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if not re.match("[A-Za-z_]", valid):
        valid = f"_{valid}"
    if len(valid) > MAX_NAME_CHARS:
        digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
        valid = f"{valid[: MAX_NAME_CHARS - 9]}_{digest}"
    return valid


def _make_tool(
    name: str,
    server: Server,
    tool: Any,
    on_progress: Callable[[str, float, float | None, str | None], None] | None,
) -> Tool:
    report: ProgressCallback | None = None
    if on_progress is not None:
        report = _reporter(name, on_progress)

    async def run(**arguments: Any) -> ToolResultMessage:
        return await asyncio.wrap_future(submit(server.call(tool.name, arguments, report)))

    parameters = _clean_schema(tool.input_schema)
    parameters.setdefault("type", "object")
    made = Tool(name, clean_text(tool.description or "", MAX_DESCRIPTION_CHARS), parameters)
    made._implementation = ToolImplementation(run, source=server.config.name)
    return made


def _reporter(
    name: str, on_progress: Callable[[str, float, float | None, str | None], None]
) -> ProgressCallback:
    def report(progress: float, total: float | None, message: str | None) -> None:
        on_progress(name, progress, total, None if message is None else clean_text(message, 500))

    return report


def _schema_problem(schema: dict[str, Any]) -> str:
    """Return why the schema of a tool cannot be used, or an empty string."""
    from ..utils.validation import schema_errors

    try:
        if len(json.dumps(schema)) > MAX_SCHEMA_CHARS:
            return "its schema is too large"
        if schema.get("type", "object") != "object":
            return "its arguments are not an object"
        list(schema_errors({}, schema))
    except (ValueError, RecursionError) as error:
        return clean_text(error, 500)
    return ""


def _clean_schema(value: Any) -> Any:
    """Return a schema whose texts have no invisible characters and are bounded."""
    if isinstance(value, dict):
        return {
            key: clean_text(item, MAX_DESCRIPTION_CHARS)
            if key in ("description", "title") and isinstance(item, str)
            else _clean_schema(item)
            for key, item in value.items()
        }
    return [_clean_schema(item) for item in value] if isinstance(value, list) else value
