"""Test which servers a command, a URL, a mapping and an `mcp.json` describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import mcp
from pipy_ai.mcp_client.config import ServerConfig, read_servers


def one(server: Any, **options: Any) -> ServerConfig:
    [config] = read_servers(server, **options)
    return config


@pytest.mark.parametrize(
    ("command", "name", "words"),
    [
        ("uvx mcp-server-time", "mcp-server-time", ("uvx", "mcp-server-time")),
        ("npx -y @scope/server /a", "@scope/server", ("npx", "-y", "@scope/server", "/a")),
        ("server --token secret", "server", ("server", "--token", "secret")),
        ("python3.12 -m server --x y.json", "server", None),
        ("uv tool run --with=secret server", "server", None),
        (["python", "-c", "print('a b')"], "python", ("python", "-c", "print('a b')")),
        (["/a b/server"], "server", ("/a b/server",)),
        ("'/a b/server' x", "server", ("/a b/server", "x")),
    ],
)
def test_commands(command: Any, name: str, words: tuple[str, ...] | None) -> None:
    config = one(command)
    assert config.name == name
    assert words is None or config.command == words
    assert "secret" not in repr(config)


def test_urls() -> None:
    config = one("https://user:pw@mcp.example.com/mcp?key=secret", headers={"X-Key": "secret"})
    assert (config.name, config.headers) == ("mcp.example.com", {"X-Key": "secret"})
    assert "secret" not in repr(config)
    assert one("http://localhost:8000/mcp", name="mine").name == "mine"


MCP_JSON = {
    "mcpServers": {
        "git": {
            "command": "${PROGRAM}",
            "args": ["--repository", "${workspaceFolder}", "${MISSING:-default}"],
            "env": {"TOKEN": "${env:TOKEN}"},
        },
        "web": {
            "type": "http",
            "url": "https://example.com/${PROGRAM}",
            "headers": {"Authorization": "Bearer ${TOKEN}"},
        },
        "off": {"command": "off", "disabled": True},
    }
}


@pytest.mark.parametrize("key", ["mcpServers", "servers", "context_servers"])
def test_mcp_json(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRAM", "uvx")
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({key: MCP_JSON["mcpServers"]}), encoding="utf-8-sig")
    for server in (path, str(path), {key: MCP_JSON["mcpServers"]}):
        git, web = read_servers(server)
        assert git.name == "git"
        assert git.command == ("uvx", "--repository", str(tmp_path), "default")
        assert git.env == {"TOKEN": "secret"}
        assert (web.name, web.url) == ("web", "https://example.com/uvx")
        assert web.headers == {"Authorization": "Bearer secret"}
    assert one(MCP_JSON["mcpServers"]["web"]).name == "example.com"


@pytest.mark.parametrize(
    ("server", "options", "error", "expected"),
    [
        ("", {}, ValueError, "is empty"),
        ([], {}, ValueError, "is empty"),
        (["a\0b"], {}, ValueError, "NUL"),
        ("a 'b", {}, ValueError, "cannot be split"),
        ("http://", {}, ValueError, "must begin with https://"),
        (5, {}, TypeError, "an MCP server is a command, a URL"),
        ([5], {}, TypeError, "an MCP server is a command, a URL"),
        ("missing.json", {}, OSError, "missing.json"),
        ({}, {}, ValueError, 'needs a "command" or a "url"'),
        ({"mcpServers": {}}, {}, ValueError, "no MCP servers"),
        ({"mcpServers": {"a": {"command": "a", "disabled": True}}}, {}, ValueError, "no MCP"),
        ({"mcpServers": []}, {}, ValueError, "must be an object"),
        ({"mcpServers": {"a": 5}}, {}, ValueError, "'a' in the mapping must be an object"),
        ({"command": "a", "args": "b"}, {}, ValueError, "must be a list of strings"),
        ({"command": "a", "env": {"A": 1}}, {}, ValueError, "must be an object of strings"),
        ({"command": "a", "cwd": 1}, {}, ValueError, "must be a string"),
        ({"command": "${NOT_SET}"}, {}, ValueError, "environment variable NOT_SET"),
        ({"command": "${input:key}"}, {}, ValueError, "asks for 'key'"),
        ({"type": "sse", "url": "https://a"}, {}, ValueError, "uses the SSE transport"),
        ("a", {"headers": {"A": "b"}}, ValueError, "headers= is for"),
        ("https://a", {"env": {"A": "b"}}, ValueError, "env= and cwd= are for"),
        ("a", {"timeout": 0}, ValueError, "more than 0 seconds"),
        (MCP_JSON | {"mcpServers": {"a": {"command": "a"}, "b": {"command": "b"}}}, {"name": "c"},
         ValueError, "name= is for one server"),
    ],
)  # fmt: skip
def test_wrong_use_raises(
    server: Any, options: dict[str, Any], error: type[Exception], expected: str
) -> None:
    with pytest.raises(error, match=expected):
        mcp(server, **options)


@pytest.mark.parametrize("text", ["{", "[]", '{"other": 1}', "[" * 100_000, "\udcff"])
def test_files_that_are_no_mcp_json(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"mcp\.json (is not valid JSON|has no .mcpServers.)"):
        mcp(path)
