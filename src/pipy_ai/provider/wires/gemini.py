"""Gemini `streamGenerateContent`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, assert_never
from urllib.parse import quote

from ...errors import ProviderError
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
from ...utils.surrogates import clean_surrogates
from ..apis import GEMINI
from ..content import (
    inline_data,
    inline_media,
    is_remote_file,
    remote_file_type,
    remote_media_type,
    result_text,
)
from ..deltas import (
    Delta,
    Finish,
    ResponseInfo,
    Text,
    TextSignature,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from ..http.client import endpoint_url
from ..http.sse import SSEReader
from ..profiles import GEMINI_1_AND_2, GEMINI_3_AND_LATER
from ..request import EncodedRequest, PreparedRequest, ReasoningPlan, Request
from ..wire import OutputFallback, ThinkingRules, TokenCounter, Wire, no_stored_file_problem
from ._fields import content_text, optional_id, optional_text
from ._gemini_tools import (
    decode_metadata,
    decode_own_part,
    encode_own_part,
    encode_server_tool,
)
from ._parsing import (
    MALFORMED,
    error_from_payload,
    parse_object,
)
from ._usage import tool_calls_from_gemini, usage_from_gemini

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com/v1beta"

# Replaces the missing signature of a call by another model.
_SKIP_SIGNATURE_CHECK = base64.b64encode(b"skip_thought_signature_validator").decode()
# The top-level fields of a request; LiteLLM places all others.
_TOP_LEVEL_FIELDS = frozenset(
    {
        "cachedContent", "cached_content", "contents", "extra_body", "extra_headers",
        "generationConfig", "labels", "safetySettings", "safety_settings", "serviceTier", "store",
        "systemInstruction", "toolConfig", "tools",
    }
)  # fmt: skip

# Fields of a part of text; one with another field holds other content.
_TEXT_FIELDS = frozenset({"mediaResolution", "text", "thought", "thoughtSignature"})

_METADATA = ("groundingMetadata", "urlContextMetadata", "citationMetadata")

_FILES_OF_RESPONSES = (ImageContent, DocumentContent)
_FILES_URL = r"https://generativelanguage\.googleapis\.com/"  # files that were uploaded
# Google's own names of media types.
_MEDIA_TYPES = {"video/x-ms-wmv": "video/wmv", "video/x-msvideo": "video/avi"}

# A place in the arguments of a call, such as `$.cities[0].name` or `$['a name']`.
_PATH_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d{1,6})\]|\['(?P<quoted>[^']*)'\]")
_PATH = re.compile(rf"\$(?:{re.sub(r'P<[a-z]+>', ':', _PATH_STEP.pattern)})+")
_PIECE_VALUES = ("stringValue", "numberValue", "boolValue")  # else it is null

# === Requests ===============================================================================


def auth_headers(api_key: str) -> dict[str, str]:
    """Return the header that carries the key."""
    return {"x-goog-api-key": api_key}


def accepts_extra(names: Collection[str]) -> bool:
    """Return whether all fields are top-level fields of a request."""
    return _TOP_LEVEL_FIELDS.issuperset(names)


def schema_fallback(request: Request, schema: Mapping[str, Any]) -> OutputFallback | None:
    """Return the fallback if Gemini does not accept the schema, or None."""
    from ...utils.gemini_schemas import gemini_limit
    from ...utils.vendor_schemas import to_openai_strict_schema

    if to_openai_strict_schema(schema) is None:
        return OutputFallback("prompt", "Gemini does not accept a schema with arbitrary keys")
    if limit := gemini_limit(schema):
        return OutputFallback("prompt", f"{limit}, more than Gemini accepts", over_limit=True)
    tools, messages = request.context.tools, request.context.messages
    if GEMINI_1_AND_2.search(request.model_id):
        if tools and not request.has_functions:  # which it does not combine with its own tools
            return OutputFallback("prompt", "Gemini 2 does not accept a schema with its own tools")
        if tools:
            return OutputFallback("tool", "Gemini 2 does not accept a schema together with tools")
        if any(isinstance(message, ToolResultMessage) for message in messages):
            # googleapis/python-genai#706
            return OutputFallback("prompt", "Gemini 2 does not accept a schema after tool calls")
    if tools and request.options.tool_choice not in (None, "auto", "none"):
        # vercel/ai#16540
        return OutputFallback("tool", "Gemini does not accept a schema with a forced call")
    return None


def tool_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a function's parameters as Gemini accepts it."""
    from ...utils.gemini_schemas import to_gemini_tool_schema

    return to_gemini_tool_schema(schema)


def encode(request: Request, prepared: PreparedRequest) -> EncodedRequest:
    """Return URL, headers and body, without the key."""
    options, plan = request.options, prepared.reasoning
    generation_config: dict[str, Any] = {
        **WIRE.sampling_fields(prepared),
        "maxOutputTokens": plan.max_tokens or options.max_tokens,
        "stopSequences": [prepared.stop] if isinstance(prepared.stop, str) else prepared.stop,
        "thinkingConfig": _thinking_config(plan),
        "responseModalities": [name.upper() for name in request.modalities] or None,
        **_output_format(request),
    }
    generation_config = {n: value for n, value in generation_config.items() if value is not None}
    system_prompt = prepared.system_prompt
    is_gemini_3 = GEMINI_3_AND_LATER.search(request.model_id)
    body: dict[str, Any] = {
        "contents": encode_contents(prepared.messages, is_gemini_3),
        "systemInstruction": {"parts": [{"text": system_prompt}]} if system_prompt else None,
        "tools": encode_tools(prepared.tools),
        "toolConfig": _tool_config(prepared.tool_choice, mixes_tools(request)),
        "generationConfig": generation_config or None,
        "serviceTier": request.service_tier,
    }
    path = f"/models/{quote(request.model_id, safe='/@:-._~')}:streamGenerateContent"
    url = endpoint_url(prepared.base_url or DEFAULT_BASE_URL, path, "alt=sse")
    return EncodedRequest(url, {}, body)


def count_request(
    request: Request, url: str, body: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return URL and body of the request that counts the tokens of another one."""
    path, _, query = url.partition("?")
    fields = "&".join(field for field in query.split("&") if field != "alt=sse")
    url = path.removesuffix(":streamGenerateContent") + ":countTokens"
    counted = {"model": f"models/{request.model_id}", **body}
    return url + (f"?{fields}" if fields else ""), {"generateContentRequest": counted}


def model_lists(url: str) -> tuple[str, ...]:
    """Return the URL of the list of models, for that of a request."""
    return (re.sub(r"/models/[^/?]*(:\w+)?\?alt=sse", "/models?pageSize=1000", url),)


def _output_format(request: Request) -> dict[str, Any]:
    output = request.output
    if output is None or output.mode != "native":
        return {}
    from ...utils.gemini_schemas import to_gemini_schema

    schema = to_gemini_schema(output.schema)
    return {"responseMimeType": "application/json", "responseSchema": schema}


def _thinking_config(plan: ReasoningPlan) -> dict[str, Any] | None:
    if plan.effort:
        return {"includeThoughts": plan.effort != "none", "thinkingLevel": plan.effort}
    if plan.budget_tokens == 0:
        return {"thinkingBudget": 0}
    if plan.budget_tokens:
        return {"thinkingBudget": plan.budget_tokens, "includeThoughts": True}
    return None


def mixes_tools(request: Request) -> bool:
    """Return whether a request offers functions and tools that Gemini runs itself."""
    extra_tools = (request.options.extra or {}).get("tools")
    if not request.context.tools or GEMINI_1_AND_2.search(request.model_id):
        return False
    return any(not _declares_functions(tool) for tool in extra_tools or ())


def _declares_functions(tool: Any) -> bool:
    return isinstance(tool, Mapping) and "functionDeclarations" in tool


def _tool_config(
    choice: str | dict[str, Any] | None, mixes_tools: bool = False
) -> dict[str, Any] | None:
    if mixes_tools:  # "Please enable tool_config.include_server_side_tool_invocations"
        functions = _tool_config("validated" if choice == "auto" else choice) or {}
        return {**functions, "includeServerSideToolInvocations": True}
    if choice is None:
        return None
    if isinstance(choice, dict):  # OpenAI's form, or already Gemini's
        function = choice.get("function")
        if not isinstance(function, dict):
            return choice
        choice = str(function["name"])
    modes = {"auto": "AUTO", "none": "NONE", "required": "ANY", "validated": "VALIDATED"}
    config: dict[str, Any] = {"mode": modes.get(choice, "ANY")}
    if choice not in modes:
        config["allowedFunctionNames"] = [choice]
    return {"functionCallingConfig": config}


def encode_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Return tool definitions; None: no tools."""
    if not tools:
        return None
    return [{"functionDeclarations": [_function_declaration(tool) for tool in tools]}]


def _function_declaration(tool: Tool) -> dict[str, Any]:
    parameters = {"parameters": tool.parameters} if tool.parameters.get("properties") else {}
    return {"name": tool.name, "description": clean_surrogates(tool.description), **parameters}


def encode_contents(messages: Sequence[Message], is_gemini_3: bool = False) -> list[dict[str, Any]]:
    """Return the conversation; consecutive messages of one kind become one turn.

    From Gemini 3 on, calls have ids and require signatures; those of other models get a
    placeholder.
    """
    encoded: list[dict[str, Any]] = []
    function_names: dict[str, str] = {}  # by the ids of the calls
    message_type: type | None = None
    for message in messages:
        match message:
            case AssistantMessage():
                function_names |= {call.id: call.name for call in message.tool_calls}
                role, parts = (
                    "model",
                    _encode_answer(message, is_gemini_3),
                )
                first_call = next((part for part in parts if "functionCall" in part), None)
                if is_gemini_3 and first_call is not None:
                    first_call.setdefault("thoughtSignature", _SKIP_SIGNATURE_CHECK)
            case ToolResultMessage():
                role, parts = "user", _encode_result(message, function_names, is_gemini_3)
            case UserMessage():
                role, parts = "user", _encode_user_content(message)
            case _:
                assert_never(message)
        message_type, previous_type = type(message), message_type
        if encoded and message_type is previous_type:
            encoded[-1]["parts"] += parts
        else:
            encoded.append({"role": role, "parts": parts})
    return encoded


def _encode_user_content(message: UserMessage) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"text": message.content}]
    return [_encode_part(part) for part in message.content]


def _encode_part(part: UserContent) -> dict[str, Any]:
    match part:
        case TextContent():
            return {"text": part.text}
        case AudioContent() | VideoContent() if is_remote_file(part):
            return {"fileData": {"mimeType": remote_media_type(part), "fileUri": part.url}}
        case AudioContent() | VideoContent():
            media_type, data = inline_media(part)
            media_type = _MEDIA_TYPES.get(media_type, media_type)
            return {"inlineData": {"mimeType": media_type, "data": data}}
        case ImageContent() | DocumentContent() if is_remote_file(part):
            return {"fileData": {"mimeType": remote_file_type(part), "fileUri": part.url}}
        case ImageContent() | DocumentContent():
            media_type, data = inline_data(part)
            return {"inlineData": {"mimeType": media_type, "data": data}}
        case FileContent():
            return {"fileData": {"mimeType": part.mime_type, "fileUri": part.url or part.id}}
        case _:
            assert_never(part)


def _encode_answer(message: AssistantMessage, is_gemini_3: bool) -> list[dict[str, Any]]:
    parts = (_encode_block(part, is_gemini_3) for part in message.content)
    return [part for part in parts if part is not None]


def _encode_block(part: AssistantContent, is_gemini_3: bool) -> dict[str, Any] | None:
    encoded: dict[str, Any]
    match part:
        case TextContent():
            encoded, signature = {"text": part.text}, part.text_signature
        case ThinkingContent():
            encoded, signature = {"text": part.thinking, "thought": True}, part.thinking_signature
        case ToolCall():
            call = {"name": part.name, "args": part.arguments}
            encoded = {"functionCall": {**call, "id": part.id} if is_gemini_3 else call}
            signature = part.thought_signature
        case ServerToolCall() | ServerToolResult() | ImageContent() | AudioContent():
            return encode_own_part(part)
        case _:
            assert_never(part)
    return {**encoded, "thoughtSignature": signature} if signature else encoded


def _encode_result(
    message: ToolResultMessage, function_names: dict[str, str], is_gemini_3: bool
) -> list[dict[str, Any]]:
    files = [part for part in message.content if not isinstance(part, TextContent)]
    # Only from Gemini 3 on, and only images and documents may be inside the response.
    inside = [part for part in files if is_gemini_3 and isinstance(part, _FILES_OF_RESPONSES)]
    beside = [part for part in files if part not in inside]
    result = {"error" if message.is_error else "output": result_text(message)}
    name = function_names.get(message.tool_call_id) or message.tool_name
    response: dict[str, Any] = {"name": name, "response": result}
    if is_gemini_3:
        response["id"] = message.tool_call_id
    if inside:
        response["parts"] = [_encode_part(part) for part in inside]
    return [{"functionResponse": response}, *map(_encode_part, beside)]


# === Responses ==============================================================================


def _content_fields(part: dict[str, Any]) -> set[str]:
    return {
        name for name in part if name not in _TEXT_FIELDS and not name.lower().endswith("metadata")
    }


class GeminiDecoder:
    """Decodes one response. It is complete with the finish reason of a candidate."""

    api = GEMINI
    varying_fields: frozenset[str] = frozenset({"totalTokenCount"})
    count_field = "candidatesTokenCount"

    def __init__(self) -> None:
        self.done: bool = False  # usage may follow the finish reason
        self._finished = False
        self._last_info: tuple[Any, Any] = (None, None)
        self._last_usage: dict[str, Any] = {}  # Vertex AI repeats it in every chunk
        self._call_count = 0
        self._streamed_arguments: StreamedArguments | None = None
        self._metadata: dict[str, Any] = {}  # of the tools that Gemini ran

    def decode(
        self, event: str, data: str, deltas: list[Delta], parsed: dict[str, Any] | None = None
    ) -> None:
        """See `Decoder`."""
        try:
            self._decode_chunk(parsed or parse_object(data), deltas)
        except (ProviderError, *MALFORMED):
            if not self._finished:  # otherwise the response is complete, even if more follows
                raise

    def decode_body(self, body: str, deltas: list[Delta]) -> None:
        """See `Decoder`: one object, or the list of objects that would be streamed."""
        if body.lstrip().startswith("["):
            for chunk in parse_object(f'{{"all": {body}}}')["all"]:
                self._decode_chunk(chunk, deltas)
        else:
            self._decode_chunk(parse_object(body), deltas)

    def _decode_chunk(self, chunk: dict[str, Any], deltas: list[Delta]) -> None:
        info = (chunk.get("responseId"), chunk.get("modelVersion"))
        if info != self._last_info:
            self._last_info = info
            deltas.append(ResponseInfo(*map(optional_text, info)))
        reason = None
        if "promptFeedback" in chunk and (feedback := chunk["promptFeedback"]):
            block_reason = feedback.get("blockReason")
            reason = f"PROMPT_BLOCKED: {block_reason}" if block_reason else None
        for candidate in chunk.get("candidates") or ():
            if content := candidate.get("content"):
                for part in content.get("parts") or ():
                    self._decode_part(part, deltas)
            if "finishReason" in candidate:
                reason = content_text(candidate["finishReason"]) or reason
            if "groundingMetadata" in candidate and (grounding := candidate["groundingMetadata"]):
                calls = tool_calls_from_gemini(grounding)
                deltas.append(UsageReport(server_tool_calls=calls or None))
            self._metadata |= {name: candidate[name] for name in _METADATA if name in candidate}
            break  # only one candidate was requested
        if "usageMetadata" in chunk:
            usage = chunk["usageMetadata"]
            if isinstance(usage, dict):
                report = usage_from_gemini(usage, self._last_usage)
                self._last_usage = usage
                if report is not None:
                    deltas.append(report)
        if chunk.get("error"):
            raise error_from_payload(chunk["error"])
        if self._metadata and (reason or self._finished):
            deltas.extend(decode_metadata(self._metadata))
            self._metadata = {}
        if reason:
            self._end_arguments(deltas)
            self._finished = True
            deltas.append(Finish(reason))

    def _decode_part(self, part: dict[str, Any], deltas: list[Delta]) -> None:
        if len(part) == 1 and "text" in part:  # most parts
            text = part["text"]
            deltas.append(Text(text if type(text) is str else content_text(text)))
            return
        signature = optional_text(part.get("thoughtSignature"))
        call = part.get("functionCall")
        if call and ("partialArgs" in call or call.get("willContinue")):
            self._decode_call_piece(call, signature, deltas)
        elif call:
            self._end_arguments(deltas)
            name = content_text(call.get("name"))
            arguments = json.dumps(call.get("args") or {}, ensure_ascii=False)
            # A call without a name continues the last (smallmain/vscode-unify-chat-provider#49).
            self._call_count += bool(name) or not self._call_count
            call_id, index = optional_id(call.get("id")), self._call_count - 1
            deltas.append(ToolFragment(index, call_id, name, arguments, signature))
        elif call is not None:
            self._end_arguments(deltas)
        elif part.get("thought") and "inlineData" in part:
            pass  # a draft of an image
        elif part.get("thought") and ("text" in part or not _content_fields(part)):
            deltas.append(Thinking(content_text(part.get("text"))))
            if signature:
                deltas.append(ThinkingSignature(signature))
        elif "text" in part or not _content_fields(part):
            deltas.append(Text(content_text(part.get("text"))))
            if signature:
                deltas.append(TextSignature(signature, starts_block=True))
        else:
            deltas.append(decode_own_part(part))

    def _decode_call_piece(
        self, call: dict[str, Any], signature: str | None, deltas: list[Delta]
    ) -> None:
        """Decode a piece of a call whose arguments Vertex AI streams, if the caller wants that."""
        if name := content_text(call.get("name")):
            self._end_arguments(deltas)
            self._call_count += 1
            call_id, index = optional_id(call.get("id")), self._call_count - 1
            deltas.append(ToolFragment(index, call_id, name, thought_signature=signature))
        if self._streamed_arguments is None:
            self._streamed_arguments = StreamedArguments()
        for piece in call.get("partialArgs") or ():
            self._streamed_arguments.add(piece)
        if not call.get("willContinue"):
            self._end_arguments(deltas)

    def _end_arguments(self, deltas: list[Delta]) -> None:
        if self._streamed_arguments is not None:
            arguments = json.dumps(self._streamed_arguments.value, ensure_ascii=False)
            self._streamed_arguments = None
            deltas.append(ToolFragment(max(0, self._call_count - 1), arguments=arguments))


class StreamedArguments:
    """The arguments of a call, made of pieces that each name a place in them.

    Example:
        >>> arguments = StreamedArguments()
        >>> arguments.add({"jsonPath": "$.cities[0].name", "stringValue": "Be"})
        >>> arguments.add({"jsonPath": "$.cities[0].name", "stringValue": "rn"})
        >>> arguments.value
        {'cities': [{'name': 'Bern'}]}
    """

    def __init__(self) -> None:
        self.value: Any = {}

    def add(self, piece: Mapping[str, Any]) -> None:
        """Set the value at the place of a piece; text is appended to the text there.

        Raises:
            ValueError: The place is not a path of names and indices.
        """
        path = content_text(piece.get("jsonPath"))
        if not _PATH.fullmatch(path):
            raise ValueError(f"not a path: {path}")
        steps: list[str | int] = [
            int(match["index"]) if match["index"] else match["name"] or match["quoted"] or ""
            for match in _PATH_STEP.finditer(path)
        ]
        target = self.value
        for step, following in pairwise(steps):
            target = _get_or_add(target, step, [] if isinstance(following, int) else {})
        value = next((piece[name] for name in _PIECE_VALUES if name in piece), None)
        earlier = _get_or_add(target, steps[-1], "")
        if isinstance(value, str) and isinstance(earlier, str):
            value = earlier + value
        target[steps[-1]] = value


def _get_or_add(target: Any, step: str | int, default: Any) -> Any:
    """Return the member of an object or array; a missing one is added at the end."""
    if isinstance(target, dict):
        return target.setdefault(step, default)
    if step == len(target):
        target.append(default)
    return target[step]


WIRE = Wire(
    api=GEMINI,
    title="Gemini",
    encode=encode,
    decoder=GeminiDecoder,
    framing=SSEReader,
    url_suffix=":streamGenerateContent",
    sampling={
        "temperature": "temperature",
        "top_p": "topP",
        "top_k": "topK",
        "seed": "seed",
        "stop": "stopSequences",
    },
    auth_headers=auth_headers,
    accepts_extra=accepts_extra,
    server_tool=encode_server_tool,
    file_problem=no_stored_file_problem,
    replays_raw=True,
    produces=frozenset({"text", "image", "audio"}),
    image_urls=False,
    # ai.google.dev/gemini-api/docs/image-understanding; 400 for GIF (microsoft/vscode#286628)
    image_types=frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"}),
    # firebase.google.com/docs/ai-logic/input-file-requirements; AIFF: ai.google.dev, audio
    audio_types=frozenset(
        {
            "audio/aac",
            "audio/aiff",
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
            "video/x-ms-wmv",
            "video/x-msvideo",
        }
    ),
    audio_urls=re.compile(_FILES_URL),
    video_urls=re.compile(rf"{_FILES_URL}|https?://((www|m)\.)?(youtube\.com|youtu\.be)/"),
    schema_fallback=schema_fallback,
    tool_name=re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}"),
    tool_schema=tool_schema,
    max_stops=5,
    signed_empty_text=True,
    starts_with_user=True,
    strict_history=True,
    thinking=ThinkingRules(budget=True, zero_is_off=True),
    token_counter=TokenCounter(count_request, "totalTokens"),
    model_lists=model_lists,
)
