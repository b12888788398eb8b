"""Tools that Anthropic runs: how they are sent, and how calls, results and citations are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...types import (
    AssistantMessage,
    Citation,
    Message,
    ServerTool,
    ServerToolCall,
    ServerToolResult,
    StopReason,
    ToolCall,
    UserMessage,
)
from ..deltas import CitationReport, ServerToolOutput
from ..finish import PAUSED
from ..request import Request
from ..wire import EncodedServerTool
from ._fields import dump_part, load_part, optional_text

_MCP_BETA = "mcp-client-2025-11-20"
# The versions that every host with the tool accepts.
_TYPES = {
    "web_search": "web_search_20250305",
    "web_fetch": "web_fetch_20250910",
    "code_execution": "code_execution_20250825",
}
_OPTIONS = {
    "web_search": {"max_uses", "allowed_domains", "blocked_domains"},
    "web_fetch": {"max_uses", "allowed_domains", "blocked_domains", "max_content_tokens"},
}
_LOCATION = ("city", "region", "country", "timezone")
# Hosts of Claude that run tools, by LiteLLM's name. Bedrock runs none.
_HOSTS = {
    "anthropic": frozenset({*_TYPES, "mcp_server"}),
    "azure_ai": frozenset(_TYPES),
    "vertex_ai": frozenset({"web_search"}),
}
_NAMES = {"bash_code_execution": "code_execution", "text_editor_code_execution": "code_execution"}
CALL_TYPES = frozenset({"server_tool_use", "mcp_tool_use"})


# === Requests ===============================================================================


def encode_server_tool(tool: ServerTool, request: Request) -> EncodedServerTool | None:
    """Return a tool in Anthropic's format; None: the host does not run it."""
    host = request.backend
    if host == "anthropic" and request.provider != "anthropic":
        return None  # another host of the same API
    if tool.kind not in _HOSTS.get(host, ()):
        return None
    if tool.kind == "mcp_server":
        return _encode_mcp_server(tool)
    encoded: dict[str, Any] = {"type": _TYPES[tool.kind], "name": tool.kind}
    options = dict(tool.options)
    encoded |= {name: options.pop(name) for name in _OPTIONS.get(tool.kind, ()) if name in options}
    if tool.kind == "web_search":
        location = {name: options.pop(name) for name in _LOCATION if name in options}
        if location:
            encoded["user_location"] = {"type": "approximate", **location}
    is_typed = request.output is not None and request.output.mode == "native"
    if tool.kind == "web_fetch" and not is_typed:  # a schema excludes citations
        encoded["citations"] = {"enabled": True}
    file_ids = options.pop("file_ids", ())
    if options:
        names = ", ".join(sorted(options))
        request.warn("option_ignored", f"Anthropic's {tool.kind} has no {names}")
    return EncodedServerTool(encoded, file_ids=file_ids)


def _encode_mcp_server(tool: ServerTool) -> EncodedServerTool:
    name = tool.options["name"]
    server = {"type": "url", "url": tool.options["url"], "name": name}
    if tool.token is not None:
        server["authorization_token"] = tool.token.get_secret_value()
    toolset: dict[str, Any] = {"type": "mcp_toolset", "mcp_server_name": name}
    if (allowed := tool.options.get("allowed_tools")) is not None:
        toolset["default_config"] = {"enabled": False}
        toolset["configs"] = {tool_name: {"enabled": True} for tool_name in allowed}
    return EncodedServerTool(toolset, {"mcp_servers": [server]}, beta=_MCP_BETA)


def answered_calls(messages: Sequence[Message]) -> set[str]:
    """Return the ids of calls that the API accepts: with a result, or still at work.

    While the caller runs tools of its own, a call of Anthropic's is at work. Its result is then in
    a later message of the same turn.
    """
    answered: set[str] = set()
    waiting: set[str] = set()
    for message in messages:
        if isinstance(message, UserMessage):
            waiting = set()
        elif isinstance(message, AssistantMessage):
            for part in message.content:
                if isinstance(part, ServerToolCall):
                    waiting.add(part.id)
                elif isinstance(part, ServerToolResult) and part.tool_call_id in waiting:
                    answered.add(part.tool_call_id)
            if not _continues(message):
                waiting = set()
    return answered | waiting


def _continues(message: AssistantMessage) -> bool:
    return message.stop_reason is StopReason.TOOL_USE or message.raw_stop_reason == PAUSED


def caller_signature(block: Mapping[str, Any]) -> str | None:
    """Return the code that calls a tool, to be sent back with the call; None: Claude itself."""
    caller = block.get("caller")
    is_code = isinstance(caller, dict) and isinstance(caller.get("tool_id"), str)
    return dump_part({"caller": caller}) if is_code else None


def encode_caller(call: ToolCall, server_calls: set[str]) -> dict[str, Any]:
    """Return the `caller` of a call; the API rejects one whose code is not in the conversation."""
    signature = call.thought_signature or ""
    fields = load_part(signature) if signature.startswith("{") else None
    caller = (fields or {}).get("caller")
    is_known = isinstance(caller, dict) and caller.get("tool_id") in server_calls
    return {"caller": caller} if is_known else {}


def encode_citations(citations: list[Citation]) -> dict[str, Any]:
    """Return the citations of a text block of Anthropic's own, as a field of the block."""
    encoded = [
        {name: value for name, value in citation.data.items() if name != "file_id"}
        for citation in citations
        if citation.data
    ]
    return {"citations": encoded} if encoded else {}


# === Responses ==============================================================================


def _text(value: Any) -> str:
    """Return text. Other values stay in the block that is kept."""
    return optional_text(value) or ""


def tool_name(block: Mapping[str, Any]) -> str:
    """Return the name of the tool that a call uses."""
    name = _text(block.get("name"))
    if server := _text(block.get("server_name")):
        return f"{server}.{name}"
    return _NAMES.get(name, name)


def is_result(block_type: Any) -> bool:
    """Return whether a block is the result of a tool that Anthropic ran."""
    return isinstance(block_type, str) and (
        block_type.endswith("_tool_result") and block_type != "tool_result"
    )


def decode_result(block: dict[str, Any], name: str) -> ServerToolOutput:
    """Return the result in a block; `name` is the tool of its call, or an empty string."""
    block_type = str(block["type"])
    content = block.get("content")
    output = ServerToolOutput(
        _text(block.get("tool_use_id")),
        name or _NAMES.get(fallback := block_type.removesuffix("_tool_result"), fallback),
        is_error=block.get("is_error") is True,
        raw=block,
    )
    if isinstance(content, str):
        output.text = content
    elif isinstance(content, list):
        _read_items(content, output)
    elif isinstance(content, dict):
        _read_object(content, output)
    return output


def _read_items(items: list[Any], output: ServerToolOutput) -> None:
    texts: list[str] = []
    for item in items:
        if not isinstance(item, dict):
            continue
        if item.get("type") == "web_search_result":
            url, title = _text(item.get("url")), _text(item.get("title"))
            output.sources.append(CitationReport(source=url, title=title or None))
        elif text := _text(item.get("text")):
            texts.append(text)
    output.text = "\n".join(texts)


def _read_object(content: dict[str, Any], output: ServerToolOutput) -> None:
    if error := _text(content.get("error_code")):
        output.is_error, output.text = True, error
        return
    if url := _text(content.get("url")):
        document = content.get("content")
        document = document if isinstance(document, dict) else {}
        title = _text(document.get("title")) or None
        output.sources.append(CitationReport(source=url, title=title))
        source = document.get("source")
        if isinstance(source, dict) and source.get("type") == "text":
            output.text = _text(source.get("data"))
        return
    parts = [_text(content.get(name)) for name in ("stdout", "stderr", "text")]
    if not any(parts) and isinstance(view := content.get("content"), str):
        parts.append(view)  # of a file
    output.text = "\n".join(part.rstrip("\n") for part in parts if part)
    output.is_error = output.is_error or content.get("return_code") not in (None, 0)
    files = content.get("content")
    for file in files if isinstance(files, list) else ():
        if isinstance(file, dict) and (file_id := _text(file.get("file_id"))):
            output.sources.append(CitationReport(source=file_id))
    references = content.get("tool_references")
    names = [
        _text(item.get("tool_name"))
        for item in (references if isinstance(references, list) else ())
        if isinstance(item, dict)
    ]
    output.text = output.text or ", ".join(filter(None, names))


def decode_citation(citation: dict[str, Any], block: int | None) -> CitationReport:
    """Return a citation, which belongs to its whole block."""
    source = (
        _text(citation.get("url"))
        or _text(citation.get("source"))
        or _text(citation.get("file_id"))
    )
    document = citation.get("document_index")
    if not source and type(document) is int:
        source = f"document {document}"
    title = citation.get("title") or citation.get("document_title")
    return CitationReport(
        source=source,
        title=_text(title) or None,
        quote=_text(citation.get("cited_text")) or None,
        data=citation,
        block=block,
        whole_block=True,
    )
