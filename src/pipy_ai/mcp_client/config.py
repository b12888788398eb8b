"""Which MCP servers to start: a command, a URL, or `mcp.json` in the format that editors use."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MAX_NAME_CHARS = 60
_SERVER_KEYS = ("mcpServers", "servers", "context_servers")  # most editors, VS Code, Zed
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
# Programs that run others: the name of a server is what they run.
_LAUNCHERS = re.compile(
    r"(uvx?|npx|bunx?|pnpm|pipx|node|deno|docker|podman|py|python[\d.]*)(\.exe|\.cmd)?"
)
_PROGRAM = re.compile(r"[\w@./:\\][\w@./:\\-]*")  # not an option, a setting or code
_SUBCOMMANDS = {"run", "exec", "dlx", "tool", "x"}


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How to reach one server: a command, a URL, or an object of the SDK."""

    name: str
    command: tuple[str, ...] = field(default=(), repr=False)  # may contain secrets
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sdk_object: Any = field(default=None, repr=False)


def read_servers(
    server: Any,
    *,
    name: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> list[ServerConfig]:
    """Return the servers that an argument of `mcp` describes.

    Raises:
        OSError: The file cannot be read.
        TypeError: It is not a command, a URL, a file or a mapping.
        ValueError: It is empty or malformed, or an option does not apply to it.
    """
    if isinstance(server, os.PathLike) or (isinstance(server, str) and _is_config_file(server)):
        configs = _read_file(Path(os.path.expanduser(server)))
    elif isinstance(server, Mapping):
        configs = _read_mapping(server, "the mapping", name)
    elif isinstance(server, str) and re.match("https?://", server, re.IGNORECASE):
        configs = [_remote(name or "", server, {})]
    elif isinstance(server, str):
        configs = [_local(name or "", _split_command(server), {}, None)]
    elif isinstance(server, Sequence) and all(isinstance(word, str) for word in server):
        configs = [_local(name or "", list(server), {}, None)]
    elif callable(getattr(server, "__aenter__", None)) or hasattr(server, "list_tools"):
        configs = [ServerConfig(name or type(server).__name__, sdk_object=server)]
    else:
        raise TypeError(
            "an MCP server is a command, a URL, the path of an mcp.json or a mapping,"
            f" not {server!r:.80}"
        )
    return [_with_options(config, env, cwd, headers) for config in configs]


def _is_config_file(text: str) -> bool:
    return text.endswith(".json") and (not re.search(r"\s", text) or os.path.isfile(text))


def _split_command(command: str) -> list[str]:
    try:
        words = shlex.split(command, posix=os.name != "nt")
    except ValueError as error:
        raise ValueError(f"the command {command!r:.80} cannot be split: {error}") from None
    return [word.strip('"') for word in words] if os.name == "nt" else words


def _with_options(
    config: ServerConfig,
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
    headers: Mapping[str, str] | None,
) -> ServerConfig:
    if headers and not config.url:
        raise ValueError(f"headers= is for servers with a URL; {config.name!r} has none")
    if (env or cwd) and not config.command:
        raise ValueError(f"env= and cwd= are for servers with a command; {config.name!r} has none")
    return ServerConfig(
        config.name,
        config.command,
        {**config.env, **(env or {})},
        os.path.expanduser(cwd) if cwd else config.cwd,
        config.url,
        {**config.headers, **(headers or {})},
        config.sdk_object,
    )


def _read_file(path: Path) -> list[ServerConfig]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also invalid UTF-8
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, Mapping) or not any(key in content for key in _SERVER_KEYS):
        raise ValueError(f'{path} has no "mcpServers": {{"name": {{"command": "…"}}}}')
    return _read_mapping(content, str(path))


def _read_mapping(
    content: Mapping[str, Any], source: str, name: str | None = None
) -> list[ServerConfig]:
    """Read the content of an `mcp.json`, or the entry of one server."""
    for key in _SERVER_KEYS:
        servers = content.get(key)
        if servers is None:
            continue
        if not isinstance(servers, Mapping):
            raise ValueError(f'"{key}" in {source} must be an object')
        enabled = {
            str(name): entry
            for name, entry in servers.items()
            if not (isinstance(entry, Mapping) and entry.get("disabled") is True)
        }
        if not enabled:
            raise ValueError(f"{source} has no MCP servers")
        return [_read_entry(entry, name, source) for name, entry in enabled.items()]
    return [_read_entry(content, name or "", source)]


def _read_entry(entry: Any, name: str, source: str) -> ServerConfig:
    where = f"the server {name!r} in {source}" if name else source
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} must be an object")
    url, command = entry.get("url"), entry.get("command")
    if entry.get("type") == "sse":
        raise ValueError(
            f"{where} uses the SSE transport, which is not supported: use the server's"
            " streamable HTTP URL"
        )
    if isinstance(url, str):
        headers = _strings(entry.get("headers"), "headers", where)
        return _remote(name, _expand(url, where), headers)
    if not isinstance(command, str) or not command:
        raise ValueError(f'{where} needs a "command" or a "url"')
    words = entry.get("args", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f'"args" of {where} must be a list of strings')
    cwd = entry.get("cwd")
    if cwd is not None and not isinstance(cwd, str):
        raise ValueError(f'"cwd" of {where} must be a string')
    expanded = [_expand(word, where) for word in [command, *words]]
    env = _strings(entry.get("env"), "env", where)
    return _local(name, expanded, env, None if cwd is None else _expand(cwd, where))


def _strings(value: Any, key: str, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError(f'"{key}" of {where} must be an object of strings')
    return {str(name): _expand(item, where) for name, item in value.items()}


def _expand(text: str, where: str) -> str:
    """Replace `${NAME}`, `${env:NAME}`, `${NAME:-default}` and the variables of editors."""

    def value_of(match: re.Match[str]) -> str:
        name, has_default, default = match[1].removeprefix("env:").partition(":-")
        editor = {"workspaceFolder": os.getcwd(), "userHome": os.path.expanduser("~")}
        if name.startswith("input:"):
            raise ValueError(f"{where} asks for {name[6:]!r}: use an environment variable instead")
        value = os.environ.get(name, editor.get(name))
        if value is None and not has_default:
            raise ValueError(f"{where} needs the environment variable {name}, which is not set")
        return default if value is None else value

    return _VARIABLE.sub(value_of, text)


def _remote(name: str, url: str, headers: Mapping[str, str]) -> ServerConfig:
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise ValueError("the URL of an MCP server must begin with https:// or http://")
    return ServerConfig(_short(name or parts.hostname), url=url, headers=dict(headers))


def _local(name: str, words: list[str], env: Mapping[str, str], cwd: str | None) -> ServerConfig:
    if not words or not words[0].strip():
        raise ValueError("the command of the MCP server is empty")
    if any("\0" in word for word in words):
        raise ValueError("the command of the MCP server contains a NUL character")
    directory = os.path.expanduser(cwd) if cwd else None
    return ServerConfig(_short(name or _command_name(words)), tuple(words), dict(env), directory)


def _command_name(words: list[str]) -> str:
    """Return what a command runs. Only that word: other arguments may be secret."""
    program = os.path.basename(words[0])
    if not _LAUNCHERS.fullmatch(program):
        return program
    for word in words[1:]:
        if _PROGRAM.fullmatch(word) and word not in _SUBCOMMANDS:
            return os.path.basename(word) if os.path.isfile(word) else word
    return program


def _short(name: str) -> str:
    cleaned = "".join(char for char in name if char.isprintable()).strip() or "server"
    return cleaned[:MAX_NAME_CHARS]
