"""Add the tools that a provider runs to a request, in the provider's own format."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..types import (
    FileContent,
    Message,
    ServerTool,
    TextContent,
    UserContent,
    UserMessage,
    function_tools,
)
from .profiles import OPENAI_MODELS
from .request import Request, bad_request_error
from .wire import EncodedServerTool, Wire

_BETA_HEADER = "anthropic-beta"


def choose_api(request: Request) -> None:
    """Send a request with the provider's tools, their results or stored files to their API.

    Those of OpenAI, Azure and xAI are only in the Responses API.
    """
    model_id = request.base_model_id.lower()
    is_azure = request.provider.startswith("azure")
    has_responses = request.provider in ("openai", "xai") or (
        is_azure and (request.record is None or OPENAI_MODELS.search(model_id) is not None)
    )
    if has_responses and "-search-" not in model_id:  # which search without a tool
        request.route = replace(request.route, responses_api="always")


def add_server_tools(request: Request, wire: Wire) -> None:
    """Move the provider's tools from the context to `extra`, with the headers that they need.

    A tool that the provider does not have is left out with a warning.

    Raises:
        ProviderError: The provider has none of them, and there are no other tools.
    """
    tools = [tool for tool in request.context.tools or () if isinstance(tool, ServerTool)]
    if not tools:
        return
    functions = function_tools(request.context.tools)
    extra = dict(request.options.extra or {})
    native: list[dict[str, Any]] = []
    betas: list[str] = []
    file_ids: list[str] = []
    accepted = 0
    for tool in tools:
        encoded = _encode(tool, request, wire)
        if not isinstance(encoded, EncodedServerTool):
            text = encoded or f"{request.model} has no {tool.name} of its own"
            if len(tools) == 1 and not functions:
                raise bad_request_error(request, f"{text}, the only tool of the request")
            request.warn("tool_unsupported", f"{text}; the tool was left out")
            continue
        accepted += 1
        if encoded.tool is not None:
            native.append(encoded.tool)
        if encoded.beta:
            betas.append(encoded.beta)
        file_ids += encoded.file_ids
        for name, value in encoded.fields.items():
            extra[name] = _joined(extra.get(name), value)
    if not accepted and not functions:
        names = ", ".join(tool.name for tool in tools)
        raise bad_request_error(request, f"{request.model} has none of the tools: {names}")
    if betas:
        headers = dict(extra.get("extra_headers") or {})
        name = next((name for name in headers if name.lower() == _BETA_HEADER), _BETA_HEADER)
        headers[name] = ",".join(filter(None, [headers.get(name), *betas]))
        extra["extra_headers"] = headers
    if native:
        extra["tools"] = [*native, *(extra.get("tools") or ())]
    messages = _with_files(request.context.messages, file_ids, request.provider)
    changes = {"tools": functions or None, "messages": messages}
    request.context = request.context.model_copy(update=changes)
    request.options = request.options.model_copy(update={"extra": extra or None})


def _with_files(messages: list[Message], ids: list[str], provider: str) -> list[Message]:
    """Return messages whose first one of the user has the files, so that later turns repeat it."""
    files: list[UserContent] = [FileContent(id=file_id, provider=provider) for file_id in ids]
    for index, message in enumerate(messages if files else ()):
        if isinstance(message, UserMessage):
            content = message.content
            parts = [TextContent(text=content)] if isinstance(content, str) else content
            changed = message.model_copy(update={"content": [*files, *parts]})
            return [*messages[:index], changed, *messages[index + 1 :]]
    return messages


def _encode(tool: ServerTool, request: Request, wire: Wire) -> EncodedServerTool | str | None:
    encoded = wire.server_tool(tool, request)
    if encoded is None and tool.kind == "native" and wire.accepts_tool(tool.options):
        return EncodedServerTool(dict(tool.options))
    return encoded


def _joined(given: Any, value: Any) -> Any:
    """Return the value of a field together with what the caller or another tool put there."""
    if isinstance(given, list) and isinstance(value, list):
        return [*given, *(item for item in value if item not in given)]
    if isinstance(given, dict) and isinstance(value, dict):
        merged = {**value, **given}
        return merged | {name: _joined(given[name], value[name]) for name in given if name in value}
    return value if given is None else given
