"""Adapt tools to the names and schemas that an API accepts: one bad tool fails a request."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

from ..types import AssistantMessage, Message, Tool, ToolCall, ToolResultMessage, function_tools
from .deltas import Delta, ToolFragment
from .request import Request, bad_request_error
from .wire import Wire

# Unions at the root whose flattening loses information; the others are only rewritten.
_ROOT_UNIONS = ("anyOf", "oneOf", "not", "enum", "const")


def adapt_tools(request: Request, wire: Wire) -> list[Tool] | None:
    """Return the tools as the API accepts them.

    Fills `request.tool_names` and `request.restore_arguments`.
    """
    tools = function_tools(request.context.tools)
    if not tools:
        return None
    request.tool_names = _sent_names(request, wire, tools)
    former_names = {name: sent for sent, name in request.tool_names.items()}
    adapted: list[Tool] = []
    for tool in tools:
        try:
            parameters = _convert_schema(wire, tool.parameters)
        except (ValueError, RecursionError) as error:
            reason = error if isinstance(error, ValueError) else "nested too deeply"
            text = f"the schema of the tool {tool.name!r} cannot be sent: {reason}"
            raise bad_request_error(request, text) from None
        _warn_about_schema(request, wire, tool, parameters)
        update = {"name": former_names.get(tool.name, tool.name), "parameters": parameters}
        adapted.append(tool.model_copy(update=update))
    request.restore_arguments = _arguments_restorer(wire, tools)
    return adapted


def _arguments_restorer(
    wire: Wire, tools: Sequence[Tool]
) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    schemas = {tool.name: tool.parameters for tool in tools}

    @cache  # the arguments so far may be read at each event of a stream
    def restorer_of(name: str) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
        return wire.arguments_restorer(schemas.get(name, {}))

    def restore(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        restorer = restorer_of(name)
        return arguments if restorer is None else restorer(arguments)

    return restore


def _convert_schema(wire: Wire, schema: dict[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError):  # a default that JSON cannot represent
        return wire.tool_schema(schema)
    converted: dict[str, Any] = json.loads(_convert_text(wire.tool_schema, text))
    return converted


@lru_cache(maxsize=1024)
def _convert_text(tool_schema: Callable[[dict[str, Any]], dict[str, Any]], text: str) -> str:
    """Convert a schema given as JSON, cached: each turn may send the same hundreds of tools."""
    return json.dumps(tool_schema(json.loads(text)))


def _sent_names(request: Request, wire: Wire, tools: Sequence[Tool]) -> dict[str, str]:
    """Return new names for the tools whose names the API rejects, with the former names."""
    taken = {tool.name for tool in tools}
    names: dict[str, str] = {}
    for tool in tools:
        if wire.tool_name.fullmatch(tool.name):
            continue
        sent = _portable_name(tool.name, taken)
        taken.add(sent)
        names[sent] = tool.name
        text = f"{wire.title} does not accept a tool called {tool.name!r}; sent as {sent!r}"
        request.warn("tool_name_changed", text)
    return names


def _portable_name(name: str, taken: Iterable[str] = ()) -> str:
    """Return a name that every API accepts."""
    new_name = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if not re.match("[A-Za-z_]", new_name):
        new_name = f"_{new_name}"
    if len(new_name) > 64 or new_name in taken:
        digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
        new_name = f"{new_name[:55]}_{digest}"
    return new_name


def _warn_about_schema(
    request: Request, wire: Wire, tool: Tool, parameters: dict[str, Any]
) -> None:
    if unions := [keyword for keyword in _ROOT_UNIONS if keyword in tool.parameters]:
        text = f"{wire.title} does not accept {unions[0]} at the root of a tool's schema"
        text += f"; {tool.name!r} was sent with all properties of the alternatives"
        request.warn("tool_schema_changed", text)
    names = tool.parameters.get("properties") or {}
    sent = parameters.get("properties") or {}
    if renamed := [name for name in names if name not in sent]:
        text = (
            f"{wire.title} does not accept the property name {renamed[0]!r}; {tool.name!r} "
            "was sent with"
        )
        request.warn("tool_schema_changed", f"{text} other names")


def rename_tools(messages: list[Message], request: Request, wire: Wire) -> list[Message]:
    """Return a conversation whose calls have the names under which the tools are sent."""
    sent_names = {name: sent for sent, name in request.tool_names.items()}

    def sent_name(name: str) -> str:
        if name in sent_names or wire.tool_name.fullmatch(name):
            return sent_names.get(name, name)
        return _portable_name(name)

    return [_rename(message, sent_name) for message in messages]


def _rename(message: Message, sent_name: Any) -> Message:
    if isinstance(message, ToolResultMessage):
        name = sent_name(message.tool_name)
        if name == message.tool_name:
            return message
        return message.model_copy(update={"tool_name": name})
    if not isinstance(message, AssistantMessage):
        return message
    if all(sent_name(call.name) == call.name for call in message.tool_calls):
        return message
    content = [
        part.model_copy(update={"name": sent_name(part.name)})
        if isinstance(part, ToolCall)
        else part
        for part in message.content
    ]
    return message.model_copy(update={"content": content})


def rename_choice(choice: Any, request: Request) -> Any:
    """Return a tool choice with the name under which its tool is sent."""
    sent_names = {name: sent for sent, name in request.tool_names.items()}
    if isinstance(choice, dict) and isinstance(function := choice.get("function"), dict):
        name = str(function.get("name"))
        return {**choice, "function": {**function, "name": sent_names.get(name, name)}}
    if isinstance(choice, dict) and choice.get("name") in sent_names:  # Anthropic's form
        return {**choice, "name": sent_names[choice["name"]]}
    return sent_names.get(choice, choice) if isinstance(choice, str) else choice


def restore_tool_names(deltas: Sequence[Delta], request: Request) -> None:
    """Restore the caller's tool names in the calls of a response. Changes the deltas."""
    for delta in deltas:
        if isinstance(delta, ToolFragment) and delta.name in request.tool_names:
            delta.name = request.tool_names[delta.name]
