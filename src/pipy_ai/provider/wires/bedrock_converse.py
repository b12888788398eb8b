"""Amazon Bedrock's Converse API."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, assert_never

from ...types import (
    AssistantContent,
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
from ...utils.surrogates import clean_json_surrogates, clean_surrogates
from ..apis import BEDROCK
from ..content import (
    inline_data,
    inline_media,
    is_remote_file,
    remote_media_type,
    result_text,
)
from ..converse_families import ConverseFamily, converse_family
from ..deltas import (
    Delta,
    Finish,
    Omitted,
    RedactedThinking,
    Text,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from ..http.aws_event_stream import EXCEPTION_PREFIX, EventStreamReader, exception_error
from ..profiles import ADAPTIVE_CLAUDE, CLAUDE, SWITCHED_CLAUDE
from ..request import EncodedRequest, PreparedRequest, Request
from ..wire import OutputFallback, ReasoningOptions, ThinkingRules, TokenCounter, Wire
from ._bedrock import count_url, model_lists, model_url
from ._fields import as_mappings, content_text, optional_id, optional_index, token_count
from ._nova_tools import (
    NovaTools,
    declared_tools,
    decode_citation,
    encode_server_tool,
    is_server_call,
    with_declared_tools,
)
from ._parsing import error_from_payload, parse_object, reported_error
from ._usage import usage_from_converse

SEPARATOR_TEXT = "."  # the API rejects blank text
ATTACHED_TEXT = "See the attached document."  # a document needs a text beside it
DEFAULT_DOCUMENT_NAME = "document"

# How much Claude thought is only reported on request.
_THINKING_TOKENS_PATH = "/usage/output_tokens_details"
_DOCUMENT_FORMATS = {
    "application/msword": "doc",
    "application/pdf": "pdf",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
}
_METADATA_NAME = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")
_METADATA_VALUE = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_MAX_METADATA = 16

# Fields of Chat Completions that LiteLLM translates, and those that it cannot.
_TRANSLATED_FIELDS = frozenset(
    {
        "max_completion_tokens", "parallel_tool_calls", "reasoning_effort", "response_format",
        "thinking", "tools", "web_search_options",
    }
)  # fmt: skip
_REJECTED_FIELDS = frozenset(
    {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "modalities", "n", "prediction", "presence_penalty", "seed", "top_logprobs", "verbosity",
    }
)  # fmt: skip

# Fields of a request that also belong to one for its number of tokens.
_COUNTED_FIELDS = ("messages", "system", "toolConfig", "additionalModelRequestFields")

Block = dict[str, Any]

# === Requests ===============================================================================


def accepts_extra(names: Collection[str]) -> bool:
    """Return whether no field is one that LiteLLM translates from OpenAI's API."""
    return _TRANSLATED_FIELDS.isdisjoint(names)


def default_reasoning(record: Mapping[str, Any] | None, model_id: str) -> ReasoningOptions:
    """Return how a model without `reasoning_options` accepts options for thinking."""
    if not CLAUDE.search(model_id):
        return ReasoningOptions(converse_family(model_id).efforts)
    name = model_id[model_id.index("claude") :]
    if ADAPTIVE_CLAUDE.match(name):
        return ReasoningOptions(
            ("low", "medium", "high", "max"), toggle=SWITCHED_CLAUDE.match(name)
        )
    return ReasoningOptions(budget={"min": 1024})


def schema_fallback(request: Request, schema: Mapping[str, Any]) -> OutputFallback | None:
    """Return the fallback if Bedrock does not accept the schema, or None.

    It has the limits of Anthropic's structured outputs for every model.
    """
    from ...utils.vendor_schemas import anthropic_limit, to_anthropic_schema

    closed = to_anthropic_schema(schema)
    if closed is None:
        text = "Bedrock does not accept a schema with arbitrary keys or a recursive one"
        return OutputFallback("tool", text)
    if CLAUDE.search(request.base_model_id) and (limit := anthropic_limit(closed)):
        return OutputFallback("tool", f"{limit}, more than Bedrock accepts", over_limit=True)
    return None


def encode(request: Request, prepared: PreparedRequest) -> EncodedRequest:
    """Return URL, headers and body, without the key."""
    family = converse_family(request.base_model_id)
    declared = declared_tools(request.options.extra)
    conversation = with_declared_tools(prepared.messages, declared, request.warn)
    messages = encode_messages(conversation, family)
    tools = _encode_tools(prepared.tools)
    choice = prepared.tool_choice
    has_calls = any(
        isinstance(message, ToolResultMessage)
        or (isinstance(message, AssistantMessage) and message.tool_calls)
        for message in conversation
    )
    if not tools and has_calls:  # calls and results are only accepted together with tools
        tools, choice = _called_tools(prepared.messages), "none"
    elif choice == "none" and not has_calls and not family.own_tool_choice:
        tools = []
    model_fields = _model_fields(request, prepared, family)
    if choice == "none" and tools and family.own_tool_choice:
        model_fields["tool_choice"] = {"type": "none"}
    system = [{"text": prepared.system_prompt}] if prepared.system_prompt else []
    if prepared.cache_control:
        _add_cache_points(request, prepared, family, system, tools, messages)
    thinks = prepared.reasoning.thinks is not False and CLAUDE.search(request.base_model_id)
    body: dict[str, Any] = {
        "messages": messages,
        "system": system or None,
        "inferenceConfig": _inference_config(request, prepared) or None,
        "toolConfig": _tool_config(tools, choice),
        "outputConfig": _output_config(request, prepared, family) or None,
        "additionalModelRequestFields": model_fields or None,
        "additionalModelResponseFieldPaths": [_THINKING_TOKENS_PATH] if thinks else None,
        "requestMetadata": _request_metadata(request) or None,
        "serviceTier": {"type": request.service_tier} if request.service_tier else None,
    }
    url = model_url(prepared.base_url or "", request.model_id, "converse-stream")
    return EncodedRequest(url, {}, body)


def count_request(
    request: Request, url: str, body: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return URL and body of the request that counts the tokens of another one."""
    counted = {name: body[name] for name in _COUNTED_FIELDS if name in body}
    return count_url(url), {"input": {"converse": counted}}


def _inference_config(request: Request, prepared: PreparedRequest) -> dict[str, Any]:
    fields = WIRE.sampling_fields(prepared)
    fields.pop(WIRE.sampling["top_k"], None)
    fields["maxTokens"] = prepared.reasoning.max_tokens or request.options.max_tokens
    stop = prepared.stop
    fields["stopSequences"] = [stop] if isinstance(stop, str) else stop
    return {name: value for name, value in fields.items() if value is not None}


def _model_fields(
    request: Request, prepared: PreparedRequest, family: ConverseFamily
) -> dict[str, Any]:
    """Return the fields that belong to the API of the model's vendor."""
    fields: dict[str, Any] = {}
    plan = prepared.reasoning
    if CLAUDE.search(request.base_model_id):
        betas = [
            feature.strip()
            for name, value in prepared.headers.items()
            if name.lower() == "anthropic-beta"
            for feature in value.split(",")
        ]
        if plan.budget_tokens:
            fields["thinking"] = {"type": "enabled", "budget_tokens": plan.budget_tokens}
        elif plan.enabled is False or plan.effort == "none":
            fields["thinking"] = {"type": "disabled"}
        if betas:
            fields["anthropic_beta"] = list(dict.fromkeys(betas))
    elif plan.enabled is False:
        request.warn("reasoning_ignored", "this model's thinking cannot be turned off on Bedrock")
    if plan.effort and "thinking" not in fields and family.effort:
        fields |= family.effort(plan.effort)
    if (top_k := prepared.sampling.get("top_k")) is not None:
        if family.top_k:
            fields |= family.top_k(top_k)
        else:
            request.warn("top_k_ignored", f"{request.model} does not accept top_k on Bedrock")
    return fields


def _output_config(
    request: Request, prepared: PreparedRequest, family: ConverseFamily
) -> dict[str, Any]:
    config: dict[str, Any] = {}
    output, effort = request.output, prepared.reasoning.effort
    if output is not None and output.mode == "native":
        from ...utils.vendor_schemas import to_anthropic_schema

        schema = json.dumps(to_anthropic_schema(output.schema), ensure_ascii=False)
        definition = {"name": output.name, "schema": schema}
        config["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": definition}}
    if effort and effort != "none" and family.effort is None:
        config["effort"] = effort
    return config


def _request_metadata(request: Request) -> dict[str, str]:
    """Return the metadata that AWS accepts, for its logs of invocations."""
    metadata = {str(n): str(v) for n, v in (request.options.metadata or {}).items()}
    accepted = {
        name: value
        for name, value in metadata.items()
        if _METADATA_NAME.fullmatch(name) and _METADATA_VALUE.fullmatch(value)
    }
    return dict(list(accepted.items())[:_MAX_METADATA])


# --- Tools ----------------------------------------------------------------------------------


def _encode_tools(tools: Sequence[Tool] | None) -> list[Block]:
    return [
        _tool_spec(tool.name, clean_surrogates(tool.description), tool.parameters)
        for tool in tools or ()
    ]


def _tool_spec(name: str, description: str, parameters: Mapping[str, Any]) -> Block:
    schema = {"type": "object", **clean_json_surrogates(dict(parameters))}
    spec: Block = {"name": name, "inputSchema": {"json": schema}}
    if description.strip():
        spec["description"] = description
    return {"toolSpec": spec}


def _called_tools(messages: Sequence[Message]) -> list[Block]:
    """Return definitions of the tools that a conversation has called."""
    calls = [m.tool_calls for m in messages if isinstance(m, AssistantMessage)]
    names = dict.fromkeys(call.name for turn in calls for call in turn)
    return [_tool_spec(name, "", {"properties": {}}) for name in names]


def _tool_config(tools: list[Block], choice: str | dict[str, Any] | None) -> Block | None:
    if not tools:
        return None
    config: Block = {"tools": tools}
    if (encoded := _tool_choice(choice)) is not None:
        config["toolChoice"] = encoded
    return config


def _tool_choice(choice: str | dict[str, Any] | None) -> Block | None:
    if isinstance(choice, dict):  # OpenAI's form, Anthropic's, or already Converse's
        function, kind = choice.get("function"), choice.get("type")
        if isinstance(function, dict):
            return {"tool": {"name": function["name"]}}
        if kind == "tool":
            return {"tool": {"name": choice.get("name")}}
        if kind is None:
            return choice
        choice = "required" if kind == "any" else str(kind)
    if choice is None or choice == "none":  # the API has no `none`
        return None
    if choice in ("auto", "required"):
        return {"any" if choice == "required" else "auto": {}}
    return {"tool": {"name": choice}}


# --- Messages -------------------------------------------------------------------------------


def encode_messages(messages: Sequence[Message], family: ConverseFamily) -> list[Block]:
    """Return the conversation; consecutive messages of users and tools become one.

    A model may not accept other content beside tool results. It is then sent in a message of its
    own, after one of the assistant, because Bedrock itself joins messages of one role.
    """
    conversation = _Conversation(family)
    for message in messages:
        if not isinstance(message, ToolResultMessage):
            conversation.add_files_of_results()
        match message:
            case UserMessage():
                conversation.add("user", conversation.encode_user_content(message.content))
            case AssistantMessage():
                blocks = [block for part in message.content for block in _encode_block(part)]
                conversation.add("assistant", blocks)
            case ToolResultMessage():
                conversation.add_result(message)
            case _:
                assert_never(message)
    conversation.add_files_of_results()
    encoded = conversation.messages
    if encoded and encoded[-1]["role"] == "assistant":
        last_block = encoded[-1]["content"][-1]
        if "text" in last_block:  # a prefix must not end in white space
            last_block["text"] = last_block["text"].rstrip()
    return encoded


class _Conversation:
    """Builds the messages of a request."""

    def __init__(self, family: ConverseFamily) -> None:
        self.messages: list[Block] = []
        self._family = family
        self._document_names: set[str] = set()
        self._files_of_results: list[Block] = []  # they follow the last of the turn's results

    def add(self, role: str, blocks: list[Block]) -> None:
        """Add blocks to the last message if it has the same role, else as a new one."""
        last = self.messages[-1] if self.messages else None
        if last is None or last["role"] != role:
            if blocks:
                self.messages.append({"role": role, "content": blocks})
        elif _accepts_together(last["content"] + blocks, self._family):
            last["content"] += blocks
        else:
            separator = {"role": "assistant", "content": [{"text": SEPARATOR_TEXT}]}
            self.messages += [separator, {"role": role, "content": blocks}]

    def add_result(self, message: ToolResultMessage) -> None:
        """Add a tool result. Files that it may not hold follow later."""
        content: list[Block] = []
        for part in message.content:
            block = self._encode_part(part)
            if "text" in block or block.keys() & self._family.files_in_results:
                content.append(block)
            else:
                self._files_of_results.append(block)
        content = content or [{"text": result_text(message)}]
        result: Block = {"toolUseId": message.tool_call_id, "content": content}
        if message.is_error and self._family.result_status:
            result["status"] = "error"
        self.add("user", [{"toolResult": result}])

    def add_files_of_results(self) -> None:
        """Add the files that the results before could not hold."""
        if self._files_of_results:
            self.add("user", _with_text(self._files_of_results))
            self._files_of_results = []

    def encode_user_content(self, content: str | Sequence[UserContent]) -> list[Block]:
        """Return the blocks of a user message."""
        if isinstance(content, str):
            return [{"text": content}]
        return _with_text([self._encode_part(part) for part in content])

    def _encode_part(self, part: UserContent) -> Block:
        match part:
            case TextContent():
                return {"text": part.text}
            case ImageContent():
                mime_type, data = inline_data(part)
                image_format = mime_type.removeprefix("image/")
                return {"image": {"format": image_format, "source": {"bytes": data}}}
            case DocumentContent():
                mime_type, data = inline_data(part)
                document_format = _DOCUMENT_FORMATS.get(mime_type.partition(";")[0], "pdf")
                name = self._document_name(part.name)
                source = {"bytes": data}
                return {"document": {"format": document_format, "name": name, "source": source}}
            case AudioContent() | VideoContent():
                return {part.type: _encode_media(part)}
            case FileContent():
                raise AssertionError("`adapt_messages` replaced it")
            case _:
                assert_never(part)

    def _document_name(self, name: str | None) -> str:
        """Return an unused name of the characters that the API accepts."""
        stem = re.sub(r"\.\w{1,5}$", "", name or "")
        stem = re.sub(r"[^A-Za-z0-9()\[\]-]+", " ", stem).strip()[:180] or DEFAULT_DOCUMENT_NAME
        unused, number = stem, 1
        while unused in self._document_names:
            number += 1
            unused = f"{stem} {number}"
        self._document_names.add(unused)
        return unused


def _encode_media(part: AudioContent | VideoContent) -> Block:
    from ...media import media_format

    source: Block
    if is_remote_file(part):
        mime_type, source = remote_media_type(part), {"s3Location": {"uri": part.url}}
    else:
        mime_type, data = inline_media(part)
        source = {"bytes": data}
    name = "three_gp" if mime_type == "video/3gpp" else media_format(mime_type)
    return {"format": name, "source": source}


def _with_text(blocks: list[Block]) -> list[Block]:
    """Return the blocks of a message, with a text if there is a document but no text."""
    if any("document" in block for block in blocks) and not any(
        "text" in block for block in blocks
    ):
        return [{"text": ATTACHED_TEXT}, *blocks]
    return blocks


def _accepts_together(blocks: list[Block], family: ConverseFamily) -> bool:
    """Return whether the model accepts these blocks in one message."""
    if not any("toolResult" in block for block in blocks):
        return True
    return all("toolResult" in block or block.keys() & family.beside_results for block in blocks)


def _encode_block(part: AssistantContent) -> list[Block]:
    match part:
        case TextContent():
            return [{"text": part.text}]
        case ThinkingContent(redacted=True):
            return [{"reasoningContent": {"redactedContent": part.thinking_signature}}]
        case ThinkingContent():
            signature = part.thinking_signature
            if not signature:  # only Claude's thinking is accepted again, with its signature
                return []
            text = {"text": part.thinking, "signature": signature}
            return [{"reasoningContent": {"reasoningText": text}}]
        case ToolCall():
            call = {"toolUseId": part.id, "name": part.name, "input": part.arguments}
            return [{"toolUse": call}]
        case ServerToolCall() | ServerToolResult():
            return [dict(part.raw)]
        case ImageContent() | AudioContent():
            return []  # `adapt_messages` replaced them
        case _:
            assert_never(part)


def _add_cache_points(
    request: Request,
    prepared: PreparedRequest,
    family: ConverseFamily,
    system: list[Block],
    tools: list[Block],
    messages: list[Block],
) -> None:
    """Mark the parts to cache: tools, system prompt, everything up to the last user message."""
    marker: Block = {"cachePoint": {"type": "default"}}
    hour = family.hour_cache_point
    if prepared.cache_retention == "long" and hour and hour.search(request.base_model_id):
        marker["cachePoint"]["ttl"] = "1h"
    if tools and family.tool_cache_point:
        tools.append(marker)
    if system:
        system.append(marker)
    if last_user := next((m["content"] for m in reversed(messages) if m["role"] == "user"), None):
        end = len(last_user)
        # The API rejects a cache point directly after a document or a video.
        while end and last_user[end - 1].keys() & {"document", "video", "audio"}:
            document = last_user[end - 1].get("document") or {}
            if family.pdf_cache_point and document.get("format") == "pdf":
                break
            end -= 1
        if end:
            last_user.insert(end, marker)


# === Responses ==============================================================================


class ConverseDecoder:
    """Decodes one response. It is complete with `messageStop`; the usage follows in `metadata`."""

    api = BEDROCK
    varying_fields: frozenset[str] = frozenset()
    count_field = ""

    def __init__(self) -> None:
        self.done: bool = False
        self._nova_tools = NovaTools()

    def decode(
        self, event: str, data: str, deltas: list[Delta], parsed: dict[str, Any] | None = None
    ) -> None:
        """See `Decoder`."""
        if event == "contentBlockDelta":
            body = parsed or parse_object(data)
            index = optional_index(body.get("contentBlockIndex"))
            delta = body.get("delta") or {}
            if "text" in delta:
                if text := content_text(delta["text"]):  # gpt-oss begins with an empty one
                    deltas.append(Text(text, index))
            else:
                self._decode_delta(index, delta, deltas)
        elif event == "contentBlockStart":
            body = parsed or parse_object(data)
            start = body.get("start") or {}
            self._decode_start(optional_index(body.get("contentBlockIndex")), start, deltas)
        elif event == "contentBlockStop":
            body = parsed or parse_object(data)
            index = optional_index(body.get("contentBlockIndex"))
            self._nova_tools.end(index, deltas)
        elif event == "messageStop":
            body = parsed or parse_object(data)
            self._nova_tools.end_all(deltas)
            _append_thinking_tokens(body, deltas)
            deltas.append(Finish(content_text(body.get("stopReason")) or None))
        elif event == "metadata":
            self.done = True
            deltas.append(usage_from_converse(parsed or parse_object(data)))
        elif event.startswith(EXCEPTION_PREFIX):
            raise error_from_payload(exception_error(event, data))
        elif not event:  # not an event of this API
            body = parsed or parse_object(data)
            raise error_from_payload(reported_error(body) or body)

    def decode_body(self, body: str, deltas: list[Delta]) -> None:
        """See `Decoder`."""
        document = parse_object(body)
        message = (document.get("output") or {}).get("message")
        if message is None:
            raise error_from_payload(reported_error(document) or document)
        for index, block in enumerate(message.get("content") or ()):
            self._decode_block(index, block, deltas)
        deltas.append(usage_from_converse(document))
        _append_thinking_tokens(document, deltas)
        if reason := content_text(document.get("stopReason")):
            deltas.append(Finish(reason))

    def _decode_start(self, index: int | None, start: Block, deltas: list[Delta]) -> None:
        call = start.get("toolUse")
        if call and not is_server_call(call):
            name = content_text(call.get("name"))
            deltas.append(ToolFragment(index, optional_id(call.get("toolUseId")), name))
        elif not self._nova_tools.start(index, start, deltas):
            deltas.extend(Omitted(kind) for kind in start)  # such as an `image`

    def _decode_delta(self, index: int | None, delta: Block, deltas: list[Delta]) -> None:
        if self._nova_tools.extend(index, delta, deltas):
            return
        if call := delta.get("toolUse"):
            deltas.append(ToolFragment(index, arguments=content_text(call.get("input"))))
        elif reasoning := delta.get("reasoningContent"):
            _append_reasoning(index, reasoning, reasoning, deltas)

    def _decode_block(self, index: int, block: Block, deltas: list[Delta]) -> None:
        if "text" in block:
            deltas.append(Text(content_text(block["text"]), index))
        elif reasoning := block.get("reasoningContent"):
            _append_reasoning(index, reasoning, reasoning.get("reasoningText") or {}, deltas)
        elif cited := block.get("citationsContent"):
            parts = cited.get("content") or ()
            deltas.extend(Text(content_text(part.get("text")), index) for part in parts)
            deltas.extend(map(decode_citation, as_mappings(cited.get("citations"))))
        else:
            self._decode_start(index, block, deltas)
            self._nova_tools.end(index, deltas)
            call = block.get("toolUse")
            if call and not is_server_call(call) and call.get("input"):
                arguments = json.dumps(call["input"], ensure_ascii=False)
                deltas.append(ToolFragment(index, arguments=arguments))


def _append_reasoning(
    index: int | None, reasoning: Block, text: Block, deltas: list[Delta]
) -> None:
    if thinking := content_text(text.get("text")):
        deltas.append(Thinking(thinking, index))
    if signature := content_text(text.get("signature")):
        deltas.append(ThinkingSignature(signature, index))
    if redacted := content_text(reasoning.get("redactedContent")):
        deltas.append(RedactedThinking(redacted, index))


def _append_thinking_tokens(body: Block, deltas: list[Delta]) -> None:
    """Add how much Claude thought, which its own fields report."""
    value: Any = body.get("additionalModelResponseFields")
    for name in ("usage", "output_tokens_details", "thinking_tokens"):
        value = value.get(name) if isinstance(value, dict) else None
    if (count := token_count(value)) is not None:
        deltas.append(UsageReport(reasoning=count))


WIRE = Wire(
    api=BEDROCK,
    title="Bedrock Converse",
    encode=encode,
    decoder=ConverseDecoder,
    framing=EventStreamReader,
    url_suffix="/converse-stream",
    model_lists=model_lists,
    sampling={
        "temperature": "temperature",
        "top_p": "topP",
        "top_k": "top_k",
        "stop": "stopSequences",
    },
    blank_stops=False,
    accepts_extra=accepts_extra,
    rejected_extra=_REJECTED_FIELDS,
    image_urls=False,
    # docs.aws.amazon.com/bedrock/latest/APIReference: AudioBlock, VideoBlock
    audio_types=frozenset(
        {
            "audio/aac",
            "audio/flac",
            "audio/mp4",
            "audio/mpeg",
            "audio/ogg",
            "audio/wav",
            "audio/webm",
        }
    ),
    video_types=frozenset(
        {
            "video/3gpp",
            "video/mp4",
            "video/mpeg",
            "video/quicktime",
            "video/webm",
            "video/x-flv",
            "video/x-matroska",
            "video/x-ms-wmv",
        }
    ),
    audio_urls=re.compile("s3://"),
    video_urls=re.compile("s3://"),
    schema_fallback=schema_fallback,
    server_tool=encode_server_tool,
    replays_raw=True,
    signed_thinking=True,
    starts_with_user=True,
    strict_history=True,
    thinking=ThinkingRules(
        budget=True,
        switch=True,
        adaptive_effort="max",
        tools_beta="interleaved-thinking-2025-05-14",
        defaults=default_reasoning,
        defaults_if_empty=True,  # the catalogue lists no settings for Qwen, GLM and DeepSeek
    ),
    token_counter=TokenCounter(count_request, "inputTokens"),
)
