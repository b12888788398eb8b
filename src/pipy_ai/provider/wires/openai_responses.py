"""OpenAI Responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

from ...types import (
    AssistantMessage,
    AudioContent,
    DocumentContent,
    FileContent,
    ImageContent,
    Message,
    ServerToolCall,
    ServerToolResult,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserContent,
    UserMessage,
    VideoContent,
)
from ..apis import OPENAI_RESPONSES
from ..content import COMMON_IMAGE_TYPES, file_name, file_url, is_remote_file
from ..conversation import OMITTED_OWN_IMAGE_TEXT
from ..credentials import openai_base_url
from ..deltas import (
    Delta,
    Finish,
    ImageData,
    Omitted,
    RedactedThinking,
    ResponseInfo,
    ServerToolFragment,
    Text,
    TextSignature,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from ..http.client import endpoint_url, replace_path_end
from ..http.sse import SSEReader
from ..profiles import UNSTREAMED_OPENAI
from ..request import EncodedRequest, PreparedRequest, Request
from ..wire import TokenCounter, Wire
from ._fields import (
    as_mapping,
    as_mappings,
    content_text,
    dump_part,
    load_part,
    optional_id,
    optional_text,
)
from ._openai_messages import (
    account_headers,
    add_cache_fields,
    chat_tool_choice,
    chat_tools,
    encode_text_result,
    output_json_schema,
    schema_fallback,
    thinking_fields,
)
from ._parsing import (
    DONE_SENTINEL,
    MalformedResponseError,
    error_from_payload,
    parse_object,
    reported_error,
    with_filters,
)
from ._responses_tools import (
    APPROVAL,
    CODE_END,
    CODE_START,
    append_generated_image,
    append_result,
    call_arguments,
    citation_report,
    code_piece,
    encode_namespace,
    encode_server_tool,
    image_type,
    namespace_signature,
    replace_expired_code,
    server_tool_choice,
    server_tool_name,
)
from ._usage import responses_tool_calls, usage_from_responses

UNSTREAMED_IDLE_TIMEOUT_S = 1800.0
# Fields of a request that also belong to one for its number of tokens.
_COUNTED_FIELDS = (
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning",
    "text", "conversation", "previous_response_id", "truncation",
)  # fmt: skip

# === Requests ===============================================================================


def encode(request: Request, prepared: PreparedRequest) -> EncodedRequest:
    """Return URL, headers and body, without the key."""
    fields = responses_fields(request, prepared)
    extra_body = fields.pop("extra_body", None) or {}
    body = {"model": request.model_id, **fields, **extra_body}
    idle_timeout = None
    if UNSTREAMED_OPENAI.match(request.base_model_id):
        del body["stream"]
        idle_timeout = UNSTREAMED_IDLE_TIMEOUT_S
    url = endpoint_url(prepared.base_url or openai_base_url(), "/responses")
    return EncodedRequest(url, account_headers(request), body, idle_timeout)


def count_request(
    request: Request, url: str, body: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return URL and body of the request that counts the tokens of another one."""
    counted = {name: body[name] for name in _COUNTED_FIELDS if name in body}
    return replace_path_end(url, "/responses", "/responses/input_tokens"), counted


def model_lists(url: str) -> tuple[str, ...]:
    """Return the URL of the list of models, for that of a request."""
    return (replace_path_end(url, "/responses", "/models"),)


def responses_fields(request: Request, prepared: PreparedRequest) -> dict[str, Any]:
    """Return the fields of a request without model and address. None: leave the field out.

    Fields that LiteLLM does not support are in `extra_body`.
    """
    effort = prepared.reasoning.effort
    output_schema = output_json_schema(request)
    fields: dict[str, Any] = {
        "input": responses_input(replace_expired_code(prepared.messages, request.warn)),
        "instructions": prepared.system_prompt,
        "stream": True,
        **prepared.sampling,
        "tools": responses_tools(prepared.tools),
        "tool_choice": server_tool_choice(prepared.tool_choice, request)
        or responses_tool_choice(prepared.tool_choice),
        "max_output_tokens": _max_output_tokens(request),
        "include": ["reasoning.encrypted_content"] if _may_reason(request) else None,
        "store": False,
        "metadata": _metadata(request),
        "text": {"format": {"type": "json_schema", **output_schema}} if output_schema else None,
        "reasoning": {"effort": effort, "summary": "auto"} if effort else None,
        "service_tier": request.service_tier,
    }
    if thinking := thinking_fields(request, prepared.reasoning):
        fields["extra_body"] = thinking
    add_cache_fields(request, prepared, fields)
    return fields


def _metadata(request: Request) -> dict[str, str] | None:
    metadata = request.options.metadata or {}
    if metadata and request.provider == "xai":
        request.warn("option_ignored", "the Responses API of xAI does not support metadata")
        return None
    return {
        name: value if isinstance(value, str) else json.dumps(value, default=str)
        for name, value in metadata.items()
    } or None


def _max_output_tokens(request: Request) -> int | None:
    max_tokens, minimum = request.options.max_tokens, request.profile.min_output_tokens
    if max_tokens is None or max_tokens >= minimum:
        return max_tokens
    request.warn(
        "max_tokens_changed", f"the Responses API does not accept max_tokens below {minimum}"
    )
    return minimum


def _may_reason(request: Request) -> bool:
    """Return whether the model may reason; others reject `reasoning.encrypted_content`."""
    return (request.record or {}).get("reasoning") is not False


def responses_input(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return an adapted conversation as input items.

    Reasoning and calls of OpenAI's tools go back as the original items. The API looks images up by
    id, and they are not stored, so they go back as the user's, once the turn's calls have results.
    """
    items: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    for message in messages:
        if images and not isinstance(message, ToolResultMessage):
            items.append({"role": "user", "content": images})
            images = []
        match message:
            case UserMessage():
                items.append({"role": "user", "content": _encode_user_content(message)})
            case AssistantMessage():
                items += _encode_assistant(message)
                images = _encode_own_images(message)
            case ToolResultMessage():
                items.append(_encode_result(message))
            case _:
                assert_never(message)
    return [*items, {"role": "user", "content": images}] if images else items


def _encode_user_content(message: UserMessage) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"type": "input_text", "text": message.content}]
    return [_encode_part(part) for part in message.content]


def _encode_part(part: UserContent) -> dict[str, Any]:
    match part:
        case TextContent():
            return {"type": "input_text", "text": part.text}
        case ImageContent():
            return {"type": "input_image", "image_url": file_url(part), "detail": "auto"}
        case DocumentContent() if is_remote_file(part):
            return {"type": "input_file", "file_url": part.url}
        case DocumentContent():
            name, data = file_name(part), file_url(part)
            return {"type": "input_file", "filename": name, "file_data": data}
        case FileContent() if part.mime_type in COMMON_IMAGE_TYPES:
            return {"type": "input_image", "file_id": part.id, "detail": "auto"}
        case FileContent():
            return {"type": "input_file", "file_id": part.id}
        case AudioContent() | VideoContent():
            raise AssertionError("`adapt_messages` replaced it")
        case _:
            assert_never(part)


def _stored_file_problem(file: FileContent, request: Request) -> str:
    kind = file.mime_type.partition("/")[0]
    if kind in ("audio", "video"):
        return f"{request.model} does not take {kind} over the Responses API"
    return ""


def _encode_assistant(message: AssistantMessage) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for part in message.content:
        match part:
            case TextContent():
                text = {"type": "output_text", "text": part.text, "annotations": _annotations(part)}
                item = {"type": "message", "role": "assistant", "status": "completed"}
                items.append({**item, "content": [text], **_parse_identity(part.text_signature)})
            case ThinkingContent():
                if reasoning := load_part(part.thinking_signature or ""):
                    items.append(reasoning)
            case ToolCall():
                arguments = json.dumps(part.arguments, ensure_ascii=False)
                call = {"type": "function_call", "call_id": part.id, "name": part.name}
                items.append({**call, **encode_namespace(part), "arguments": arguments})
            case ServerToolCall() | ServerToolResult():
                if part.raw:
                    items.append(part.raw)
            case ImageContent():
                pass  # see `_encode_own_images`
            case AudioContent():
                pass  # `adapt_messages` replaced it
            case _:
                assert_never(part)
    while items and items[-1].get("type") == "reasoning":  # it led to an image
        items.pop()
    return items


def _annotations(part: TextContent) -> list[dict[str, Any]]:
    """Return the annotations of a message that goes back with its id, as they came."""
    return [
        citation.data
        for citation in part.citations
        # The places in the second part of a message have changed.
        if part.text_signature and citation.data.get("start_index") == citation.start
    ]


def _encode_own_images(message: AssistantMessage) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, ImageContent):
            parts += [{"type": "input_text", "text": OMITTED_OWN_IMAGE_TEXT}, _encode_part(part)]
    return parts


def _message_identity(item: dict[str, Any]) -> str:
    """Return the identity that a message needs in later requests: its id, as JSON with a phase.

    The phase tells models from gpt-5.3-codex on which messages are final (vercel/ai#12860).
    """
    item_id, phase = item["id"], optional_text(item.get("phase"))
    if phase is None and not item_id.startswith("{"):
        return str(item_id)
    return json.dumps({"v": 1, "id": item_id, "phase": phase})  # the format of pi


def _parse_identity(signature: str | None) -> dict[str, Any]:
    """Return the fields of a message's identity."""
    if not signature:
        return {}
    if not signature.startswith("{"):
        return {"id": signature}
    identity = load_part(signature) or {}
    return {name: identity[name] for name in ("id", "phase") if identity.get(name)}


def _encode_result(message: ToolResultMessage) -> dict[str, Any]:
    if all(isinstance(part, TextContent) for part in message.content):
        output: Any = encode_text_result(message)["content"]
    else:
        output = [_encode_part(part) for part in message.content]
        if message.is_error:
            output.insert(0, {"type": "input_text", "text": "[tool error]"})
    return {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}


def responses_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Return tool definitions; None: no tools."""
    functions = [tool["function"] for tool in chat_tools(tools) or ()]
    return [{"type": "function", **function, "strict": False} for function in functions] or None


def responses_tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """Return `auto`, `none` and `required` unchanged; any other name forces that tool."""
    choice = chat_tool_choice(choice)
    if isinstance(choice, dict) and "function" in choice:
        return {"type": "function", "name": choice["function"]["name"]}
    return choice


# === Responses ==============================================================================


class OpenAIResponsesDecoder:
    """Decodes one response. It is complete with `response.completed` or `response.incomplete`."""

    api = OPENAI_RESPONSES
    varying_fields: frozenset[str] = frozenset({"obfuscation", "sequence_number"})
    count_field = ""

    def __init__(self) -> None:
        self.done: bool = False
        self._refused = False
        self._streamed_items: set[int] = set()  # items whose content arrived in deltas
        self._items: list[dict[str, Any]] = []  # complete ones
        self._announced_calls: set[int] = set()  # calls whose name has arrived
        self._unsent_arguments: dict[int, str] = {}  # given whole, in case no deltas follow
        self._server_calls: set[int] = set()  # open calls of the provider's tools
        self._decoded: set[str | int] = set()  # complete calls and images, by id or number
        self._approval = ""  # the call for which the provider asks
        self._part_sizes: dict[tuple[int, int], int] = {}  # characters, by item and part
        self._cited: dict[tuple[int, int], int] = {}  # citations so far, by item and part

    def decode(
        self, event: str, data: str, deltas: list[Delta], parsed: dict[str, Any] | None = None
    ) -> None:
        """See `Decoder`."""
        if parsed is None and data.strip() == DONE_SENTINEL:
            return
        body = parsed or parse_object(data)
        event_type = body.get("type") or event
        handler = _HANDLERS.get(event_type)
        if handler is not None:
            index = body.get("output_index")
            handler(self, index if isinstance(index, int) else 0, body, deltas)
        elif event_type == "error" or (body.get("error") and "response" not in body):
            raise error_from_payload(body.get("error") or body)
        elif not event_type and (error := reported_error(body)):
            raise error_from_payload(error)

    def on_text(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.output_text.delta`."""
        self._streamed_items.add(index)
        deltas.append(Text(_delta_text(body), index))

    def on_text_done(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.output_text.done`, which repeats the text of the deltas."""
        text = content_text(body.get("text"))
        self._part_sizes[index, _part_index(body)] = len(text)
        if index not in self._streamed_items:
            self._streamed_items.add(index)
            deltas.append(Text(text, index))

    def on_annotation(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.output_text.annotation.added`."""
        if index in self._streamed_items:  # otherwise it follows with the complete item
            part = _part_index(body)
            self._cited[index, part] = self._cited.get((index, part), 0) + 1
            self._cite(index, part, as_mapping(body.get("annotation")), deltas)

    def on_refusal(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.refusal.delta`."""
        self._refused = True
        self.on_text(index, body, deltas)

    def on_reasoning(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle the deltas of reasoning and of its summary."""
        self._streamed_items.add(index)
        deltas.append(Thinking(_delta_text(body), index))

    def on_summary_part(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.reasoning_summary_part.added`: parts are paragraphs."""
        if body.get("summary_index"):
            deltas.append(Thinking("\n\n", index))

    def on_arguments(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.function_call_arguments.delta`."""
        self._streamed_items.add(index)
        deltas.append(ToolFragment(index, arguments=_delta_text(body)))

    def on_item_added(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.output_item.added`, which names a call."""
        item = body.get("item") or {}
        if item.get("type") == "function_call":
            self._announce_call(index, item, deltas)
        elif name := server_tool_name(item):
            self._announce_server_call(index, item, name, deltas)

    def on_code(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.code_interpreter_call_code.delta`."""
        if index in self._server_calls:  # otherwise it follows with the complete item
            start = "" if index in self._streamed_items else CODE_START
            self._streamed_items.add(index)
            deltas.append(
                ServerToolFragment(index, arguments=start + code_piece(_delta_text(body)))
            )

    def on_server_arguments(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle the deltas of the arguments of calls that the provider runs."""
        if index in self._server_calls:
            self._streamed_items.add(index)
            deltas.append(ServerToolFragment(index, arguments=_delta_text(body)))

    def on_partial_image(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.image_generation_call.partial_image`."""
        if data := content_text(body.get("partial_image_b64")):
            deltas.append(ImageData(data, image_type(body), partial=True, block=index))

    def on_arguments_done(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.function_call_arguments.done`."""
        self._unsent_arguments[index] = content_text(body.get("arguments"))

    def on_audio(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.audio.delta`."""
        deltas.append(Omitted("audio"))

    def on_item_done(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.output_item.done`."""
        item = body.get("item") or {}
        self._items.append(item)
        if calls := responses_tool_calls({}, self._items):
            deltas.append(UsageReport(server_tool_calls=calls))
        self._decode_item(index, item, deltas)

    def on_created(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle `response.created`."""
        deltas.append(_response_info(body.get("response") or {}))

    def on_end(self, index: int, body: dict[str, Any], deltas: list[Delta]) -> None:
        """Handle the API's last event, successful or not."""
        self._decode_end(body.get("response") or {}, deltas)

    def decode_body(self, body: str, deltas: list[Delta]) -> None:
        """See `Decoder`."""
        response = parse_object(body)
        if not response.keys() & {"error", "output", "status"}:
            raise MalformedResponseError(body)
        deltas.append(_response_info(response))
        self._decode_end(response, deltas)

    def _announce_call(self, index: int, item: dict[str, Any], deltas: list[Delta]) -> None:
        if index not in self._announced_calls:
            self._announced_calls.add(index)
            call_id = optional_id(item.get("call_id")) or optional_id(item.get("id"))
            name, signature = content_text(item.get("name")), namespace_signature(item)
            deltas.append(ToolFragment(index, call_id, name, thought_signature=signature))
        if arguments := content_text(item.get("arguments")):
            self._unsent_arguments[index] = arguments

    def _announce_server_call(
        self, index: int, item: dict[str, Any], name: str, deltas: list[Delta]
    ) -> None:
        if index not in self._server_calls:
            self._server_calls.add(index)
            deltas.append(ServerToolFragment(index, optional_id(item.get("id")) or "", name))

    def _decode_server_item(self, index: int, item: dict[str, Any], deltas: list[Delta]) -> None:
        key = optional_id(item.get("id")) or index
        if key in self._decoded:
            return
        self._decoded.add(key)
        if item.get("type") == "image_generation_call":
            append_generated_image(index, item, deltas)
            return
        name = server_tool_name(item)
        self._announce_server_call(index, item, name, deltas)
        self._server_calls.discard(index)
        arguments = call_arguments(item)
        if index in self._streamed_items:
            arguments = CODE_END if item.get("type") == "code_interpreter_call" else ""
            self._streamed_items.discard(index)
        deltas.append(ServerToolFragment(index, arguments=arguments, raw={}))
        if item.get("type") == APPROVAL:
            self._approval = f"{item.get('server_label')}: {name}"
        else:
            append_result(index, item, deltas)

    def _cite(
        self, index: int, part: int, annotation: Mapping[str, Any], deltas: list[Delta]
    ) -> None:
        sizes = self._part_sizes.items()
        offset = sum(size for (item, number), size in sizes if item == index and number < part)
        report = citation_report(annotation, index, offset)
        deltas.append(report or Omitted(f"annotation {annotation.get('type')}"))

    def _decode_message(self, index: int, item: dict[str, Any], deltas: list[Delta]) -> None:
        is_new, has_text = index not in self._streamed_items, index in self._streamed_items
        for number, part in enumerate(item.get("content") or ()):
            if part.get("type") == "refusal":
                self._refused = True
            if "text" not in part and "refusal" not in part:
                deltas.append(Omitted(str(part.get("type"))))
                continue
            text = content_text(part.get("text")) or content_text(part.get("refusal"))
            if is_new and text:
                has_text = True
                deltas.append(Text(text, index))
            self._part_sizes[index, number] = len(text)
            done = self._cited.get((index, number), 0)
            for annotation in as_mappings(part.get("annotations"))[done:]:
                self._cite(index, number, annotation, deltas)
        if has_text and optional_text(item.get("id")):  # an empty one follows an image
            deltas.append(TextSignature(_message_identity(item)))

    def _decode_item(self, index: int, item: dict[str, Any], deltas: list[Delta]) -> None:
        """Add the content of a complete item that was not in its deltas."""
        was_streamed, item_type = index in self._streamed_items, item.get("type")
        if item_type == "reasoning":
            if not was_streamed:
                parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
                text = "\n\n".join(content_text(part.get("text")) for part in parts)
                deltas.append(Thinking(text, index))
            if signature := _reasoning_signature(item):
                deltas.append(ThinkingSignature(signature, index))
        elif item_type == "compaction":
            if compaction := _compaction_part(item):
                deltas.append(RedactedThinking(compaction))
        elif item_type == "message":
            self._decode_message(index, item, deltas)
        elif item_type == "function_call":
            self._announce_call(index, item, deltas)
            self._end_arguments(index, deltas)
        elif _is_of_server(item):
            self._decode_server_item(index, item, deltas)
        elif item_type:  # such as a call of a tool that the client would have to run
            deltas.append(Omitted(str(item_type)))

    def _end_arguments(self, index: int, deltas: list[Delta]) -> None:
        arguments = self._unsent_arguments.pop(index, "")
        if arguments and index not in self._streamed_items:
            deltas.append(ToolFragment(index, arguments=arguments))

    def _decode_end(self, response: dict[str, Any], deltas: list[Delta]) -> None:
        is_new = not (self._items or self._streamed_items)  # not streamed
        for index, item in enumerate(response.get("output") or ()):
            if is_new or _is_of_server(item):
                self._decode_item(index, item, deltas)
        for index in list(self._unsent_arguments):
            self._end_arguments(index, deltas)
        deltas.append(_response_info(response))
        usage = usage_from_responses(response, response.get("output") or self._items)
        if usage is not None:
            deltas.append(usage)
        status = response.get("status") or "completed"
        if response.get("error") or status == "failed":
            error = response.get("error") or {"message": "The response failed."}
            raise error_from_payload(error)
        self.done = True
        reason = content_text((response.get("incomplete_details") or {}).get("reason"))
        if not reason and status != "completed":
            reason = "length" if status == "incomplete" else str(status)
        if reason == "content_filter":
            reason = with_filters(reason, response.get("content_filters"))
        if not reason and self._approval:
            reason = f"{APPROVAL}: {self._approval}"
        deltas.append(Finish(reason or ("refusal" if self._refused else "stop")))


_HANDLERS: dict[str, Callable[[OpenAIResponsesDecoder, int, dict[str, Any], list[Delta]], None]] = {
    "response.output_text.delta": OpenAIResponsesDecoder.on_text,
    "response.output_text.done": OpenAIResponsesDecoder.on_text_done,
    "response.refusal.delta": OpenAIResponsesDecoder.on_refusal,
    "response.reasoning_summary_text.delta": OpenAIResponsesDecoder.on_reasoning,
    "response.reasoning_text.delta": OpenAIResponsesDecoder.on_reasoning,
    "response.reasoning_summary_part.added": OpenAIResponsesDecoder.on_summary_part,
    "response.function_call_arguments.delta": OpenAIResponsesDecoder.on_arguments,
    "response.function_call_arguments.done": OpenAIResponsesDecoder.on_arguments_done,
    "response.output_text.annotation.added": OpenAIResponsesDecoder.on_annotation,
    "response.code_interpreter_call_code.delta": OpenAIResponsesDecoder.on_code,
    "response.mcp_call_arguments.delta": OpenAIResponsesDecoder.on_server_arguments,
    "response.custom_tool_call_input.delta": OpenAIResponsesDecoder.on_server_arguments,
    "response.image_generation_call.partial_image": OpenAIResponsesDecoder.on_partial_image,
    "response.audio.delta": OpenAIResponsesDecoder.on_audio,
    "response.output_item.added": OpenAIResponsesDecoder.on_item_added,
    "response.output_item.done": OpenAIResponsesDecoder.on_item_done,
    "response.created": OpenAIResponsesDecoder.on_created,
    "response.completed": OpenAIResponsesDecoder.on_end,
    "response.incomplete": OpenAIResponsesDecoder.on_end,
    "response.failed": OpenAIResponsesDecoder.on_end,
    "response.cancelled": OpenAIResponsesDecoder.on_end,
}


def _compaction_part(item: dict[str, Any]) -> str | None:
    """Return the encrypted summary of the conversation so far as JSON, to be sent back."""
    if not optional_text(item.get("encrypted_content")):
        return None
    names = ("type", "id", "encrypted_content")
    return dump_part({name: item[name] for name in names if optional_text(item.get(name))})


def _reasoning_signature(item: dict[str, Any]) -> str | None:
    """Return reasoning as JSON, because the API accepts only the original item again.

    None: it is not encrypted, or the API would reject it because of a field of a wrong type.
    """
    if not optional_text(item.get("encrypted_content")):
        return None
    for name in ("summary", "content"):
        parts = item.get(name) or []
        if not isinstance(parts, list):
            return None
        if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
            return None
    return dump_part(item)


def _delta_text(body: dict[str, Any]) -> str:
    return content_text(body.get("delta"))


def _is_of_server(item: dict[str, Any]) -> bool:
    """Return whether an item is a call that the provider ran, or an image."""
    return item.get("type") == "image_generation_call" or bool(server_tool_name(item))


def _part_index(body: dict[str, Any]) -> int:
    index = body.get("content_index")
    return index if isinstance(index, int) else 0


def _response_info(response: dict[str, Any]) -> ResponseInfo:
    return ResponseInfo(optional_text(response.get("id")), optional_text(response.get("model")))


WIRE = Wire(
    api=OPENAI_RESPONSES,
    title="the Responses API",
    encode=encode,
    decoder=OpenAIResponsesDecoder,
    framing=SSEReader,
    url_suffix="/responses",
    schema_fallback=schema_fallback,
    sampling={name: name for name in ("temperature", "top_p")},
    document_urls=True,
    signed_thinking=True,
    strict_history=True,
    token_counter=TokenCounter(count_request, "input_tokens"),
    model_lists=model_lists,
    server_tool=encode_server_tool,
    file_problem=_stored_file_problem,
    replays_raw=True,
    raw_with_thinking=True,
)
