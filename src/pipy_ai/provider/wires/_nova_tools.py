"""Tools that Amazon's Nova models run on Bedrock: how they are sent and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...types import (
    AssistantContent,
    AssistantMessage,
    Message,
    ServerTool,
    ServerToolCall,
    ServerToolResult,
    TextContent,
)
from ..conversation import server_tool_text
from ..deltas import CitationReport, Delta, ServerToolFragment, ServerToolOutput, UsageReport
from ..request import Request
from ..wire import EncodedServerTool
from ._fields import as_mapping, as_mappings, optional_id, optional_text

Block = dict[str, Any]

# docs.aws.amazon.com/nova/latest/nova2-userguide; Nova Premier has only the first.
_TOOLS = {"web_search": "nova_grounding", "code_execution": "nova_code_interpreter"}
_NAMES = {name: kind for kind, name in _TOOLS.items()}
_SERVER_CALL = "server_tool_use"
_HIDDEN = "[HIDDEN]"  # what Bedrock sends instead of the results of a search

# === Requests ===============================================================================


def encode_server_tool(tool: ServerTool, request: Request) -> EncodedServerTool | None:
    """Return a tool in Bedrock's format; None: the model does not have it."""
    if tool.kind == "native":
        return EncodedServerTool(None, {"toolConfig": {"tools": [dict(tool.options)]}})
    model_id = request.base_model_id.lower()
    has_search = "nova-2" in model_id or "nova-premier" in model_id
    if not (has_search if tool.kind == "web_search" else "nova-2" in model_id):
        return None
    name = _TOOLS.get(tool.kind)
    if name is None:
        return None
    if tool.options:
        names = ", ".join(sorted(tool.options))
        request.warn("option_ignored", f"{tool.name} of {request.model} has no {names}")
    system_tool = {"systemTool": {"name": name}}
    return EncodedServerTool(None, {"toolConfig": {"tools": [system_tool]}})


def declared_tools(extra: Mapping[str, Any] | None) -> set[str]:
    """Return the names of Bedrock's own tools in a request."""
    tools = as_mappings(as_mapping((extra or {}).get("toolConfig")).get("tools"))
    names = (as_mapping(tool.get("systemTool")).get("name") for tool in tools)
    return {name for name in names if isinstance(name, str)}


def with_declared_tools(
    messages: Sequence[Message], declared: set[str], warn: Callable[[str, str], None]
) -> list[Message]:
    """Return a conversation in which calls of tools that the request lacks are text.

    Bedrock rejects calls without their tool or their result.
    """
    adapted: list[Message] = []
    for message in messages:
        if isinstance(message, AssistantMessage) and any(map(_is_of_tool, message.content)):
            content = _adapt_content(message.content, declared, warn)
            message = message.model_copy(update={"content": content})
        adapted.append(message)
    return adapted


def _is_of_tool(part: AssistantContent) -> bool:
    return isinstance(part, ServerToolCall | ServerToolResult)


def _adapt_content(
    content: Sequence[AssistantContent], declared: set[str], warn: Callable[[str, str], None]
) -> list[AssistantContent]:
    calls = {
        part.id
        for part in content
        if isinstance(part, ServerToolCall) and _TOOLS.get(part.name, part.name) in declared
    }
    pairs = {
        part.tool_call_id
        for part in content
        if isinstance(part, ServerToolResult) and part.tool_call_id in calls
    }
    adapted: list[AssistantContent] = []
    for part in content:
        match part:
            case ServerToolCall():
                adapted += [part] if part.id in pairs else []
            case ServerToolResult() if part.tool_call_id not in pairs:
                warn("server_tool_as_text", f"{part.name} was sent as text with its sources")
                adapted.append(TextContent(text=server_tool_text(part)))
            case _:
                adapted.append(part)
    return adapted


# === Responses ==============================================================================


def is_server_call(call: Mapping[str, Any]) -> bool:
    """Return whether Bedrock itself runs a call."""
    name = optional_text(call.get("name")) or ""
    return call.get("type") not in (None, "tool_use") or name in _NAMES


class NovaTools:
    """Decodes the calls and results of a response; a stream has them in pieces."""

    def __init__(self) -> None:
        self._calls: dict[int | None, Block] = {}
        self._results: dict[int | None, Block] = {}
        self._counts: dict[str, int] = {}

    def start(self, index: int | None, start: Mapping[str, Any], deltas: list[Delta]) -> bool:
        """Decode the start of a block, or a whole one; return False if it is of another kind."""
        if call := as_mapping(start.get("toolUse")):
            name = optional_text(call.get("name")) or ""
            self._calls[index] = {**call, "input": call.get("input"), "type": _SERVER_CALL}
            self._counts[name] = self._counts.get(name, 0) + 1
            call_id = optional_id(call.get("toolUseId")) or ""
            deltas.append(ServerToolFragment(index, call_id, _NAMES.get(name, name)))
            deltas.append(UsageReport(server_tool_calls=dict(self._counts)))
            return True
        if isinstance(result := start.get("toolResult"), dict):
            self._results[index] = {**result, "content": [*as_mappings(result.get("content"))]}
            return True
        return False

    def extend(self, index: int | None, delta: Mapping[str, Any], deltas: list[Delta]) -> bool:
        """Decode a piece of a block; return False if it is of another kind."""
        if index in self._calls and (call := as_mapping(delta.get("toolUse"))):
            piece = optional_text(call.get("input")) or ""
            block = self._calls[index]
            block["input"] = (block["input"] or "") + piece
            deltas.append(ServerToolFragment(index, arguments=piece))
            return True
        if index in self._results and isinstance(pieces := delta.get("toolResult"), list):
            self._results[index]["content"] += pieces
            return True
        if isinstance(citation := delta.get("citation"), dict):
            deltas.append(decode_citation(citation))
            return True
        return False

    def end_all(self, deltas: list[Delta]) -> None:
        """Decode the end of blocks whose end was not sent."""
        for index in [*self._calls, *self._results]:
            self.end(index, deltas)

    def end(self, index: int | None, deltas: list[Delta]) -> None:
        """Decode the end of a block."""
        if (call := self._calls.pop(index, None)) is not None:
            arguments = ""
            if not isinstance(given := call["input"], str):  # a whole one
                arguments = json.dumps(given or {}, ensure_ascii=False)
            else:
                try:
                    given = json.loads(given or "{}")
                except ValueError:
                    given = {}
            raw = {"toolUse": {**call, "input": given or {}}}
            deltas.append(ServerToolFragment(index, arguments=arguments, raw=raw))
        if (result := self._results.pop(index, None)) is not None:
            deltas.append(_decode_result(result))


def _decode_result(result: Block) -> ServerToolOutput:
    kind = (optional_text(result.get("type")) or "").removesuffix("_result")
    texts: list[str] = []
    is_error = result.get("status") == "error"
    for item in as_mappings(result["content"]):
        output = as_mapping(item.get("json"))
        if not output and (text := optional_text(item.get("text"))):
            output = _json_object(text)
            texts += [] if output or text == _HIDDEN else [text]
        texts += filter(None, (optional_text(output.get(name)) for name in ("stdOut", "stdErr")))
        is_error = is_error or output.get("isError") is True
    result["content"] = result["content"] or [{"text": "."}]  # the API rejects an empty list
    return ServerToolOutput(
        optional_id(result.get("toolUseId")) or "",
        _NAMES.get(kind, kind),
        "\n".join(text.rstrip("\n") for text in texts),
        is_error,
        raw={"toolResult": result},
    )


def _json_object(text: str) -> Mapping[str, Any]:
    try:
        return as_mapping(json.loads(text))
    except ValueError:
        return {}


def decode_citation(citation: Mapping[str, Any]) -> CitationReport:
    """Return a citation, which belongs to the text before it."""
    location = as_mapping(citation.get("location"))
    web = as_mapping(location.get("web"))
    quotes = [
        optional_text(part.get("text")) for part in as_mappings(citation.get("sourceContent"))
    ]
    document = next((value for name, value in location.items() if name != "web"), None)
    number = as_mapping(document).get("documentIndex")
    source = optional_text(web.get("url")) or optional_text(citation.get("source")) or ""
    if not source and type(number) is int:
        source = f"document {number}"
    return CitationReport(
        source=source,
        title=optional_text(citation.get("title")) or optional_text(web.get("domain")),
        quote="".join(filter(None, quotes)) or None,
        data=dict(citation),
        whole_block=True,
    )
