"""Read conversations in OpenAI's format, and requests as lines of its Batch API.

Such a line is `{"custom_id": …, "method": "POST", "url": "/v1/chat/completions", "body": {…}}`; the
body is a request for Chat Completions or Responses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..context import Prompt
from ..media import EXTENSIONS
from ..options import SimpleStreamOptions
from ..types import Context
from ..utils.text import truncate
from .row import RowRequest

SYSTEM_ROLES = ("system", "developer")
ENDPOINTS = ("/v1/chat/completions", "/v1/responses")
_RENAMED_OPTIONS = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "reasoning_effort": "reasoning",
}
_OPTIONS = (
    "temperature", "top_p", "seed", "stop", "max_tokens", "tool_choice", "metadata", "reasoning",
)  # fmt: skip
# A file may come from a stranger. These would be taken for LiteLLM's addresses and credentials.
_SETTINGS = ("aws_", "azure_", "extra_", "litellm_", "vertex_")
# With these values, which are the defaults, the fields can be ignored.
_DEFAULTS = {
    "n": 1, "stream": False, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False,
    "top_logprobs": 0, "logit_bias": {}, "service_tier": "auto", "background": False,
}  # fmt: skip
_CONTEXT_FIELDS = (
    "model", "messages", "input", "instructions", "tools", "response_format", "text",
    "stream_options",
)  # fmt: skip
_TEXT_PARTS = ("text", "input_text", "output_text")


def is_request_line(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a line of OpenAI's Batch API."""
    return isinstance(row.get("body"), Mapping) and ("custom_id" in row or "url" in row)


def parse_request_line(row: Mapping[str, Any], system: str | None) -> RowRequest:
    """Return the request of a line of OpenAI's Batch API. `system` is used if it has no prompt.

    Raises:
        ValueError: The line is malformed, or for another API.
    """
    from pydantic import ValidationError

    url, body = row.get("url"), row["body"]
    if url is not None and url not in ENDPOINTS:
        raise ValueError(f"url must be {' or '.join(ENDPOINTS)}, not {url!r}")
    model = body.get("model")
    if not isinstance(model, str | None):
        raise ValueError("body.model is a text")
    conversation = {
        "messages": _typed(body["messages"], list, "body.messages")
        if "messages" in body
        else _input_messages(body),
        "system_prompt": body.get("instructions"),
    }
    if tools := _typed(body.get("tools") or [], list, "body.tools"):
        conversation["tools"] = tools
        if any(
            _typed(tool, dict, "an item of body.tools").get("type", "function") != "function"
            for tool in tools
        ):
            raise ValueError("body.tools may contain only functions")
    options = _parse_options(body)
    try:
        SimpleStreamOptions.model_validate(
            {name: value for name, value in options.items() if name != "output"}
        )
    except ValidationError as error:
        raise ValueError(f"body.{_first_problem(error)}") from None
    return RowRequest(parse_conversation(conversation, system), model, options)


def _parse_options(body: Mapping[str, Any]) -> dict[str, Any]:
    from ..provider.transport import LITELLM_ONLY_OPTIONS  # only lines of this format need it

    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for field, value in body.items():
        name = _RENAMED_OPTIONS.get(field, field)
        if value is None or field in _CONTEXT_FIELDS or _DEFAULTS.get(field) == value:
            continue
        if field in ("n", "stream", "background"):
            raise ValueError(f"body.{field} {value!r} is not supported here; remove it")
        if field == "reasoning":  # of Responses
            value = _typed(value, dict, "body.reasoning").get("effort")
        if name == "reasoning" and value == "none":
            value = "off"
        if name == "tool_choice" and isinstance(value, Mapping):
            function = _typed(value.get("function") or value, dict, "body.tool_choice.function")
            value = function.get("name") or value
        if name in LITELLM_ONLY_OPTIONS or name.startswith(_SETTINGS):
            raise ValueError(f"body.{field} is a setting of the client, not a field of a request")
        if name in _OPTIONS:
            options[name] = value
        else:
            extra[field] = value
    if extra:
        options["extra"] = extra
    if (schema := _output_schema(body)) is not None:
        options["output"] = schema
    return options


def _output_schema(body: Mapping[str, Any]) -> Any:
    """Return the JSON Schema of the answer; None if it is text."""
    name, response_format = "body.response_format", body.get("response_format")
    if not response_format:  # of Responses
        text = _typed(body.get("text") or {}, dict, "body.text")
        name, response_format = "body.text.format", text.get("format") or {}
    match _typed(response_format, dict, name).get("type", "text"):
        case "json_schema":
            if "json_schema" in response_format:
                name = f"{name}.json_schema"
                response_format = _typed(response_format["json_schema"], dict, name)
            return _typed(response_format.get("schema"), dict, f"{name}.schema")
        case "json_object":
            return {"type": "object"}
        case "text":
            return None
        case kind:
            raise ValueError(
                f"response_format must be text, json_object or json_schema, not {kind!r}"
            )


def _input_messages(body: Mapping[str, Any]) -> list[Any]:
    """Return the messages of a body for Responses, with calls and results as Chat has them."""
    items = body.get("input")
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    if not isinstance(items, list):
        if items is not None:
            shown = truncate(repr(items), 60)
            raise ValueError(f"body.input must be a string or a list, not {shown}")
        raise ValueError("the body has neither messages nor input")
    messages = []
    for item in items:
        match _typed(item, dict, "an item of body.input").get("type", "message"):
            case "message":
                messages.append(item)
            case "function_call":
                call_id, name, arguments = _fields(item, "call_id", "name", "arguments")
                call = {"id": call_id, "function": {"name": name, "arguments": arguments}}
                messages.append({"role": "assistant", "tool_calls": [call]})
            case "function_call_output":
                call_id, output = _fields(item, "call_id", "output")
                messages.append({"role": "tool", "tool_call_id": call_id, "content": output})
            case "reasoning":  # belongs to the model that wrote it
                pass
            case kind:
                raise ValueError(f"input of type {kind!r} is not supported")
    return messages


def _typed(value: Any, expected: type[dict[str, Any] | list[Any]], name: str) -> Any:
    """Return a value, or raise `ValueError` if it is not of the expected type."""
    if not isinstance(value, expected):
        what = "an object" if expected is dict else "a list"
        shown = truncate(json.dumps(value, default=str), 60)
        raise ValueError(f"{name} must be {what}, not {shown}")
    return value


def _fields(item: dict[str, Any], *names: str) -> list[Any]:
    """Return the values of fields that an item of `input` must have."""
    for name in names:
        if name not in item:
            raise ValueError(f"an item of body.input with type {item['type']!r} needs {name}")
    return [item[name] for name in names]


def parse_conversation(data: Any, system: str | None) -> Prompt:
    """Return the context of a conversation in the form of pi-ai or OpenAI.

    Raises:
        ValueError: The conversation is malformed.
    """
    from pydantic import ValidationError

    if isinstance(data, list):
        data = {"messages": data}
    if not isinstance(data, dict) or not isinstance(data.get("messages"), list):
        raise ValueError("a context must be an object with messages, which must be a list")
    tool_names: dict[str, str] = {}
    system_texts, messages = [], []
    for item in data["messages"]:
        if not isinstance(item, dict):
            raise ValueError("a message must be an object with role and content")
        if item.get("role") in SYSTEM_ROLES:
            system_texts.append(_system_text(item))
        else:
            messages.append(_normalize_message(item, tool_names))
    try:
        context = Context.model_validate({**data, "messages": messages})
    except ValidationError as error:
        raise ValueError(_first_problem(error)) from None
    system_prompt = "\n\n".join([text for text in (context.system_prompt, *system_texts) if text])
    context.system_prompt = system_prompt or system
    return context


def _first_problem(error: Any) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _normalize_message(message: dict[str, Any], tool_names: dict[str, str]) -> dict[str, Any]:
    """Return a message in pi-ai's form. `tool_names` are the names of earlier calls by id."""
    content = message.get("content")
    if isinstance(content, list):
        content = [*map(_normalize_part, content)]
    elif isinstance(content, str) and message.get("role") != "user":
        content = [{"type": "text", "text": content}]
    if message.get("role") == "tool":
        call_id = message.get("tool_call_id", "")
        return {
            "role": "toolResult", "tool_call_id": call_id,
            "tool_name": tool_names.get(call_id, ""), "content": content or [],
        }  # fmt: skip
    given_calls = _typed(message.get("tool_calls") or [], list, "tool_calls")
    calls = [_normalize_call(call, tool_names) for call in given_calls]
    if calls:
        return {"role": "assistant", "content": [*(content or []), *calls]}
    return message if content is None else {**message, "content": content}


def _normalize_call(call: Any, tool_names: dict[str, str]) -> dict[str, Any]:
    try:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        parsed = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
        tool_names[call["id"]] = name
    except (KeyError, TypeError, ValueError):
        raise ValueError("a tool call must be an object with id and function") from None
    return {"type": "toolCall", "id": call["id"], "name": name, "arguments": parsed}


def _system_text(message: dict[str, Any]) -> str:
    """Return the text of a system message, which may be a list of parts."""
    content = message.get("content") or ""
    parts = [{"text": content}] if isinstance(content, str) else content
    try:
        return "\n\n".join(part["text"] for part in parts)
    except (TypeError, KeyError):
        raise ValueError("a system message must be a string or a list of text parts") from None


def _normalize_part(part: Any) -> Any:
    """Convert OpenAI's text, image, audio, video and file parts; return any other unchanged."""
    if not isinstance(part, dict):
        return part
    match part.get("type"):
        case kind if kind in _TEXT_PARTS:
            return {"type": "text", "text": part.get("text")}
        case "image_url" | "input_image":
            image = part.get("image_url")
            return {"type": "image", "url": image.get("url") if isinstance(image, dict) else image}
        case "input_audio":
            audio = _typed(part.get("input_audio"), dict, "the audio of a part")
            mime_type = EXTENSIONS.get(str(audio.get("format")), "audio/wav")
            return {"type": "audio", "data": audio.get("data"), "mime_type": mime_type}
        case "video_url":
            video = part.get("video_url")
            return {"type": "video", "url": video.get("url") if isinstance(video, dict) else video}
        case "file" | "input_file":
            file = _typed(part.get("file") or part, dict, "the file of a part")
            url = file.get("file_data") or file.get("file_url")
            if not url:
                raise ValueError("file_id is not supported; pass the file as file_data or file_url")
            return {"type": "document", "url": url, "name": file.get("filename")}
        case _:
            return part
