"""The provider's own tools in the Responses API: definitions, calls, results and citations.

A call and its result are one item. It is kept as it is in the `raw` of the result, because the API
expects it back like that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any

from ...types import (
    AssistantContent,
    AssistantMessage,
    Message,
    ServerTool,
    ServerToolCall,
    ServerToolResult,
    TextContent,
    ThinkingContent,
    ToolCall,
)
from ..conversation import server_tool_text
from ..deltas import (
    CitationReport,
    Delta,
    ImageData,
    Omitted,
    ServerToolFragment,
    ServerToolOutput,
)
from ..request import Request
from ..wire import EncodedServerTool
from ._fields import as_mapping, as_mappings, dump_part, load_part, optional_id, optional_text
from ._images import image_delta

# === Definitions ============================================================================

_LOCATION = ("city", "region", "country", "timezone")
_TOOLS = {
    "openai": frozenset(
        {"web_search", "code_execution", "file_search", "image_generation", "mcp_server"}
    ),
    "xai": frozenset({"web_search", "code_execution", "file_search", "mcp_server"}),
}


def encode_server_tool(tool: ServerTool, request: Request) -> EncodedServerTool | None:
    """Return a tool in the format of OpenAI or xAI; None: the host does not have it."""
    host = "openai" if request.provider.startswith("azure") else request.provider
    if tool.kind not in _TOOLS.get(host, ()):
        return None
    options, is_xai = tool.options, host == "xai"
    match tool.kind:
        case "web_search":
            return _web_search(tool, request, is_xai)
        case "code_execution":
            if is_xai:
                _warn_about_options(tool, request, "file_ids")
                return EncodedServerTool({"type": "code_interpreter"})
            container = {"type": "auto", **_renamed(options, file_ids="file_ids")}
            definition = {"type": "code_interpreter", "container": container}
            return EncodedServerTool(definition, {"include": ["code_interpreter_call.outputs"]})
        case "file_search":
            fields = _renamed(options, store_ids="vector_store_ids", max_results="max_num_results")
            return EncodedServerTool(
                {"type": "file_search", **fields}, {"include": ["file_search_call.results"]}
            )
        case "image_generation":
            return EncodedServerTool(
                {
                    "type": "image_generation",
                    **_renamed(
                        options,
                        model="model",
                        size="size",
                        quality="quality",
                        background="background",
                        format="output_format",
                        partial_images="partial_images",
                    ),
                }
            )
        case _:
            return EncodedServerTool(_mcp_server(tool, is_xai))


def _web_search(tool: ServerTool, request: Request, is_xai: bool) -> EncodedServerTool:
    options = tool.options
    blocked_name = "excluded_domains" if is_xai else "blocked_domains"
    filters = _renamed(options, allowed_domains="allowed_domains", blocked_domains=blocked_name)
    definition: dict[str, Any] = {"type": "web_search"}
    if filters:
        definition["filters"] = filters
    if is_xai:
        _warn_about_options(tool, request, "max_uses", "context_size", *_LOCATION)
        return EncodedServerTool(definition)
    if "context_size" in options:
        definition["search_context_size"] = options["context_size"]
    if location := _renamed(options, **{name: name for name in _LOCATION}):
        definition["user_location"] = {"type": "approximate", **location}
    fields: dict[str, Any] = {"include": ["web_search_call.action.sources"]}
    if "max_uses" in options:
        if sum(isinstance(other, ServerTool) for other in request.context.tools or ()) > 1:
            # The limit of the API is for all tools together.
            _warn_about_options(tool, request, "max_uses")
        else:
            fields["max_tool_calls"] = options["max_uses"]
    return EncodedServerTool(definition, fields)


def _mcp_server(tool: ServerTool, is_xai: bool) -> dict[str, Any]:
    definition = {
        "type": "mcp",
        **_renamed(tool.options, name="server_label", url="server_url"),
        **_renamed(tool.options, allowed_tools="allowed_tools"),
    }
    if not is_xai:  # which asks for no approval
        definition["require_approval"] = "never"
    if tool.token is not None:
        definition["authorization"] = tool.token.get_secret_value()
    return definition


def server_tool_choice(choice: Any, request: Request) -> dict[str, Any] | None:
    """Return the choice that forces a tool of the provider; None: `choice` names none."""
    name = "code_interpreter" if choice == "code_execution" else choice
    tools = as_mappings((request.options.extra or {}).get("tools"))
    is_server_tool = isinstance(name, str) and any(tool.get("type") == name for tool in tools)
    return {"type": name} if is_server_tool else None


def _renamed(options: Mapping[str, Any], /, **names: str) -> dict[str, Any]:
    """Return the options that are set under their names in the API."""
    return {names[name]: options[name] for name in names if name in options}


def _warn_about_options(tool: ServerTool, request: Request, *names: str) -> None:
    if given := ", ".join(name for name in names if name in tool.options):
        text = f"{request.model} does not support {given} of {tool.name}; left out"
        request.warn("option_ignored", text)


# === Expired containers =====================================================================

# After this time without use. A call that ran in an expired container is rejected, and with it
# every later request of the conversation (pydantic/pydantic-ai#7461).
_CONTAINER_LIFE_MS = 20 * 60 * 1000


def replace_expired_code(
    messages: Sequence[Message], warn: Callable[[str, str], None]
) -> list[Message]:
    """Return a conversation in which code whose container has expired is text."""
    last_uses: dict[str, int] = {}
    for message in messages:
        for container in _containers(message):
            last_uses[container] = max(message.timestamp, last_uses.get(container, 0))
    newest = max((message.timestamp for message in messages), default=0)
    expired = {name for name, used in last_uses.items() if newest - used > _CONTAINER_LIFE_MS}
    if not expired:
        return list(messages)
    warn("server_tool_as_text", "code_execution was sent as text, because its container expired")
    return [
        _as_text(message)
        if isinstance(message, AssistantMessage) and not expired.isdisjoint(_containers(message))
        else message
        for message in messages
    ]


def _containers(message: Message) -> list[str]:
    if not isinstance(message, AssistantMessage):
        return []
    results = [part.raw for part in message.content if isinstance(part, ServerToolResult)]
    return [name for raw in results if (name := optional_text(raw.get("container_id")))]


def _as_text(message: AssistantMessage) -> AssistantMessage:
    """Return a turn as if another model had written it, because its items belong together."""
    content: list[AssistantContent] = []
    for part in message.content:
        match part:
            case ServerToolResult():
                content.append(TextContent(text=server_tool_text(part)))
            case TextContent():
                content.append(TextContent(text=part.text))
            case ThinkingContent() | ServerToolCall():
                pass
            case _:
                content.append(part)
    return message.model_copy(update={"content": content})


# === Calls and results ======================================================================

_NAMES = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_execution",
    "mcp_list_tools": "mcp_list_tools",
    "x_search_call": "x_search",
}
# xAI sends searches in X and looks at media as calls of custom tools, although it runs them itself.
_XAI_NAMES = {
    "x_user_search": "x_search",
    "x_keyword_search": "x_search",
    "x_semantic_search": "x_search",
    "x_thread_fetch": "x_search",
    "web_search": "web_search",
    "web_search_with_snippets": "web_search",
    "browse_page": "web_fetch",
    "open_page": "web_fetch",
    "open_page_with_find": "web_fetch",
    "view_image": "view_image",
    "view_x_video": "view_x_video",
}
APPROVAL = "mcp_approval_request"


def server_tool_name(item: Mapping[str, Any]) -> str:
    """Return the tool of the provider that an item calls; "": it calls none."""
    item_type, name = item.get("type"), optional_text(item.get("name"))
    if item_type in ("mcp_call", APPROVAL):
        return name or str(item_type)
    if item_type == "custom_tool_call":
        return _XAI_NAMES.get(name or "", "")
    return _NAMES.get(item_type, "") if isinstance(item_type, str) else ""


def call_arguments(item: Mapping[str, Any]) -> str:
    """Return the arguments of a call of the provider's tool as JSON text."""
    match item.get("type"):
        case "mcp_call" | "mcp_approval_request" | "custom_tool_call" | "x_search_call":
            return optional_text(item.get("arguments")) or optional_text(item.get("input")) or ""
        case "web_search_call":
            action = as_mapping(item.get("action"))
            hidden = ("sources", "type") if action.get("type") == "search" else ("sources",)
            arguments = {name: action[name] for name in action if name not in hidden}
        case "code_interpreter_call":
            arguments = {"code": item.get("code")}
        case "mcp_list_tools":
            arguments = {"server_label": item.get("server_label")}
        case _:
            arguments = {"queries": item.get("queries")}
    given = {name: value for name, value in arguments.items() if value is not None}
    return dump_part(given) or "" if given else ""


def namespace_signature(item: Mapping[str, Any]) -> str | None:
    """Return the namespace of a function, to be sent back with its call; None: it has none."""
    namespace = optional_text(item.get("namespace"))
    return dump_part({"namespace": namespace}) if namespace else None


def encode_namespace(call: ToolCall) -> dict[str, Any]:
    """Return the `namespace` of a call: without it, the API does not find the function."""
    signature = call.thought_signature or ""
    fields = load_part(signature) if signature.startswith("{") else None
    namespace = optional_text((fields or {}).get("namespace"))
    return {"namespace": namespace} if namespace else {}


def code_piece(text: str) -> str:
    """Return a piece of code as a part of the text in JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


CODE_START, CODE_END = '{"code": "', '"}'


def append_result(index: int, item: dict[str, Any], deltas: list[Delta]) -> None:
    """Append the result that a complete item of the provider's tool holds."""
    problem = _problem(item)
    raw, pictures = _without_pictures(item)
    deltas.append(
        ServerToolOutput(
            call_id=optional_id(item.get("id")) or "",
            name=server_tool_name(item),
            text=problem or _result_text(item),
            is_error=bool(problem),
            sources=_sources(item),
            raw=raw if _is_repeatable(raw) else {},
        )
    )
    deltas.extend(_picture(address, index, item) for address in pictures)


def _as_data(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as a message can hold it; an empty one if it holds NaN or infinity."""
    data = dict(fields)
    return {} if dump_part(data) is None else data


# The fields that the API requires of an item that is sent back.
_REQUIRED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "web_search_call": {"id": str, "status": str, "action": dict},
    "file_search_call": {"id": str, "status": str, "queries": list, "results": (list, NoneType)},
    "code_interpreter_call": {
        "id": str,
        "status": str,
        "container_id": str,
        "code": (str, NoneType),
        "outputs": (list, NoneType),
    },
    "mcp_list_tools": {"id": str, "server_label": str, "tools": list},
    "mcp_call": {"id": str, "server_label": str, "name": str, "arguments": str},
    "custom_tool_call": {"call_id": str, "name": str, "input": str},
    "x_search_call": {"id": str},
}


def _is_repeatable(item: dict[str, Any]) -> bool:
    """Return whether the API accepts an item again: each later request would fail with it."""
    fields = _REQUIRED[item["type"]]
    has_fields = all(isinstance(item.get(name), kind) for name, kind in fields.items())
    return has_fields and dump_part(item) is not None


def _problem(item: Mapping[str, Any]) -> str:
    """Return why a call failed; "": it did not."""
    error = item.get("error")
    if isinstance(error, dict):  # MCP's own errors have a list of content
        content = [optional_text(part.get("text")) for part in as_mappings(error.get("content"))]
        error = "\n".join(filter(None, content)) or error.get("message") or json.dumps(error)
    return str(error) if error else "failed" if item.get("status") == "failed" else ""


def _result_text(item: Mapping[str, Any]) -> str:
    match item.get("type"):
        case "code_interpreter_call":
            parts = [output.get("logs") for output in as_mappings(item.get("outputs"))]
        case "mcp_list_tools":
            parts = [tool.get("name") for tool in as_mappings(item.get("tools"))]
        case _:
            parts = [item.get("output")]
    return "\n".join(filter(None, map(optional_text, parts)))


def _sources(item: Mapping[str, Any]) -> list[CitationReport]:
    if item.get("type") == "file_search_call":
        return [
            CitationReport(
                source=optional_text(result.get("file_id")) or "",
                title=optional_text(result.get("filename")),
                quote=optional_text(result.get("text")),
                data=_as_data(result),
            )
            for result in as_mappings(item.get("results"))
        ]
    action = as_mapping(item.get("action"))
    found = [*as_mappings(action.get("sources")), *as_mappings(item.get("results"))]
    if optional_text(action.get("url")):
        found.append(action)
    return [
        CitationReport(
            # OpenAI's own feeds, such as `oai-weather`, have only a name.
            source=optional_text(source.get("url")) or optional_text(source.get("name")) or "",
            title=optional_text(source.get("title")),
        )
        for source in found
    ]


def _without_pictures(item: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a code interpreter's item without its pictures, and the pictures' addresses."""
    outputs = item.get("outputs")
    if item.get("type") != "code_interpreter_call" or not isinstance(outputs, list):
        return item, []
    pictures = [
        address
        for output in as_mappings(outputs)
        if output.get("type") == "image" and (address := optional_text(output.get("url")))
    ]
    if not pictures:
        return item, []
    kept = [o for o in outputs if not (isinstance(o, dict) and o.get("type") == "image")]
    return {**item, "outputs": kept}, pictures


def _picture(address: str, index: int, item: Mapping[str, Any]) -> ImageData | Omitted:
    raw = {"type": item["type"], "id": optional_id(item.get("id"))}
    head, comma, data = address.partition(",")
    if not (comma and head.startswith("data:")):
        return ImageData(url=address, block=index, raw=raw)
    mime_type = head.removeprefix("data:").partition(";")[0]
    return image_delta(data, mime_type or "image/png", index, raw)


def append_generated_image(index: int, item: dict[str, Any], deltas: list[Delta]) -> None:
    """Append the picture of an `image_generation_call`, or the reason why there is none."""
    data = optional_text(item.get("result"))
    if data:
        raw = _as_data({name: value for name, value in item.items() if name != "result"})
        raw = raw or {"type": item["type"]}
        deltas.append(image_delta(data, image_type(item), index, raw))
        return
    call_id, name = optional_id(item.get("id")) or "", "image_generation"
    deltas.append(ServerToolFragment(index, call_id, name, raw={}))
    deltas.append(ServerToolOutput(call_id, name, _problem(item) or "no image", is_error=True))


def image_type(fields: Mapping[str, Any]) -> str:
    """Return the media type of a generated image."""
    name = optional_text(fields.get("output_format")) or "png"
    return {"jpg": "image/jpeg", "svg": "image/svg+xml"}.get(name, f"image/{name}")


# === Citations ==============================================================================


def citation_report(
    annotation: Mapping[str, Any], index: int, offset: int
) -> CitationReport | None:
    """Return the citation of an annotation; None: its type is unknown.

    `offset` is the number of characters of the message before the annotated part.
    """
    match annotation.get("type"):
        case "url_citation":
            source, title = annotation.get("url"), annotation.get("title")
        case "file_citation" | "container_file_citation" | "file_path":
            source, title = annotation.get("file_id"), annotation.get("filename")
        case _:
            return None
    start, end = annotation.get("start_index"), annotation.get("end_index")
    if not (type(start) is int and type(end) is int):
        start = end = None
    return CitationReport(
        start=None if start is None else start + offset,
        end=None if end is None else end + offset,
        source=optional_text(source) or "",
        title=optional_text(title),
        data=_as_data(annotation),
        block=index,
    )
