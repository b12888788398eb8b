"""Cohere's chat API, version 2."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...errors import ErrorKind, ProviderError
from ...types import AssistantContent, AssistantMessage, Message, TextContent, ThinkingContent
from ..apis import COHERE_CHAT
from ..deltas import (
    CitationReport,
    Delta,
    Finish,
    Omitted,
    ResponseInfo,
    Text,
    Thinking,
    ThinkingSignature,
    ToolFragment,
)
from ..http.client import add_query, endpoint_url, replace_path_end
from ..http.sse import SSEReader
from ..profiles import REASONING_COMMAND
from ..reasoning import thinks
from ..request import EncodedRequest, PreparedRequest, ReasoningPlan, Request
from ..wire import OutputFallback, ReasoningOptions, ThinkingRules, Wire
from ._fields import content_text, optional_id, optional_index, optional_text
from ._openai_messages import ChatDialect, chat_messages, chat_tools
from ._parsing import (
    DONE_SENTINEL,
    MalformedResponseError,
    error_from_payload,
    parse_object,
    reported_error,
)
from ._usage import usage_from_cohere

DEFAULT_BASE_URL = "https://api.cohere.com"
# Paths of its APIs. Only version 2 is used, whichever is typed.
_API_PATH = re.compile(r"/v2(/chat)?$")
_OWN_PATH = re.compile(
    r"(https?://api\.cohere\.(com|ai))(/compatibility)?/v1(/chat(/completions)?)?"
)

# Thinking with this signature is a plan for tool calls, which goes back in a field of its own.
_PLAN = "tool_plan"
_PLAN_BLOCK = -1  # the API numbers other content from 0
_DIALECT = ChatDialect(thinking="none", call_signature="")

# === Requests ===============================================================================


def schema_fallback(request: Request, schema: Mapping[str, Any]) -> OutputFallback | None:
    """Return the fallback if Cohere does not accept the schema, or None."""
    from ...utils.vendor_schemas import to_cohere_schema

    # "not supported when used in combinations with the documents or tools parameters"
    if request.has_tools:
        return OutputFallback("tool", "Cohere does not accept a schema together with tools")
    if "documents" in (request.options.extra or {}):
        return OutputFallback("prompt", "Cohere does not accept a schema together with documents")
    if to_cohere_schema(schema) is None:
        return OutputFallback("tool", "Cohere does not accept a schema with arbitrary keys")
    return None


def encode(request: Request, prepared: PreparedRequest) -> EncodedRequest:
    """Return URL, headers and body, without the key."""
    options, plan = request.options, prepared.reasoning
    messages = chat_messages(prepared.system_prompt, prepared.messages, _DIALECT)
    _restore_thinking(prepared.messages, messages, thinks(request, plan))
    stop = prepared.stop
    body: dict[str, Any] = {
        "model": request.model_id,
        "messages": messages,
        "stream": True,
        **WIRE.sampling_fields(prepared),
        "max_tokens": plan.max_tokens or options.max_tokens,
        "stop_sequences": [stop] if isinstance(stop, str) else stop,
        **_tool_fields(request, prepared),
        "response_format": _response_format(request),
        "thinking": _thinking(plan),
    }
    return EncodedRequest(chat_url(prepared), {"accept": "text/event-stream"}, body)


def chat_url(prepared: PreparedRequest) -> str:
    """Return the URL of requests; `CO_API_URL` is the variable of Cohere's own package."""
    base_url = prepared.base_url or os.environ.get("CO_API_URL", "").strip() or DEFAULT_BASE_URL
    url, separator, query = base_url.partition("#")[0].partition("?")
    url = _API_PATH.sub("", url.rstrip("/"))
    if match := _OWN_PATH.fullmatch(url):
        url = match[1]
    return endpoint_url(f"{url}{separator}{query}", "/v2/chat")


def model_lists(url: str) -> tuple[str, ...]:
    """Return the URL of the list of models, for that of a request."""
    return (add_query(replace_path_end(url, "/v2/chat", "/v1/models"), "page_size=1000"),)


def _tool_fields(request: Request, prepared: PreparedRequest) -> dict[str, Any]:
    """Return tools and tool choice. To force one tool, only that tool is sent."""
    tools, choice = chat_tools(prepared.tools), prepared.tool_choice
    if isinstance(choice, dict):  # OpenAI's form
        function = choice.get("function")
        choice = str((function if isinstance(function, dict) else choice).get("name"))
    match choice:
        case None | "auto":
            return {"tools": tools}
        case "required":
            return {"tools": tools, "tool_choice": "REQUIRED"}
        case "none":
            unforced = request.profile.unforced_models
            if unforced and unforced.search(request.model_id):  # these do not know the field
                return {}
            return {"tools": tools, "tool_choice": "NONE"}
        case name:
            named = [tool for tool in tools or () if tool["function"]["name"] == name]
            return {"tools": named or tools, "tool_choice": "REQUIRED"}


def _response_format(request: Request) -> dict[str, Any] | None:
    from ...utils.vendor_schemas import to_cohere_schema

    output = request.output
    if output is None or request.has_tools or "documents" in (request.options.extra or {}):
        return None
    match output.mode:
        case "native":
            return {"type": "json_object", "json_schema": to_cohere_schema(output.schema)}
        case "prompt":
            return {"type": "json_object"}
        case _:
            return None


def _thinking(plan: ReasoningPlan) -> dict[str, Any] | None:
    if plan.enabled is False:
        return {"type": "disabled"}
    if plan.budget_tokens:
        return {"type": "enabled", "token_budget": plan.budget_tokens}
    return None


def _default_reasoning(record: Mapping[str, Any] | None, model_id: str) -> ReasoningOptions:
    if REASONING_COMMAND.search(model_id) or (record or {}).get("reasoning") is True:
        return ReasoningOptions(budget={"min": 1}, toggle=True)
    return ReasoningOptions()


def _restore_thinking(
    messages: Sequence[Message], encoded: list[dict[str, Any]], thinks: bool
) -> None:
    """Put the thinking of earlier turns into their messages."""
    assistant_messages = [message for message in messages if isinstance(message, AssistantMessage)]
    turns = [message for message in encoded if message["role"] == "assistant"]
    for message, turn in zip(assistant_messages, turns, strict=True):
        if "tool_calls" in turn:
            _encode_plan(message.content, turn, thinks)
        elif thinks and (thoughts := _thoughts(message.content)):
            text = {"type": "text", "text": turn["content"]}
            turn["content"] = [*map(_thinking_part, thoughts), text]


def _encode_plan(content: Sequence[AssistantContent], turn: dict[str, Any], thinks: bool) -> None:
    """Encode what precedes tool calls.

    "text content is not allowed when tool_calls are provided. If you wish to pass a tool plan,
    either pass thinking content (with thinking enabled) or use 'tool_plan'" (vercel/ai#5794)
    """
    del turn["content"]
    thoughts = _thoughts(content, with_text=True)
    if not thoughts:
        return
    if thinks:
        turn["content"] = [_thinking_part(thought) for thought in thoughts]
    else:
        turn["tool_plan"] = "\n".join(thoughts)


def _thoughts(content: Sequence[AssistantContent], with_text: bool = False) -> list[str]:
    thoughts = []
    for part in content:
        if isinstance(part, ThinkingContent) and part.thinking.strip():
            thoughts.append(part.thinking)
        elif with_text and isinstance(part, TextContent):
            thoughts.append(part.text)
    return thoughts


def _thinking_part(thought: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": thought}


# === Responses ==============================================================================

_CONTENT_EVENTS = frozenset({"content-start", "content-delta"})
_CALL_EVENTS = frozenset({"tool-call-start", "tool-call-delta"})
_OTHER_EVENTS = frozenset({"citation-end", "content-end", "debug", "tool-call-end"})


class CohereDecoder:
    """Decodes one response. It is complete with `message-end`; `[DONE]` alone is not enough."""

    api = COHERE_CHAT
    varying_fields: frozenset[str] = frozenset()
    count_field = ""

    def __init__(self) -> None:
        self.done: bool = False
        self._has_plan = False

    def decode(
        self, event: str, data: str, deltas: list[Delta], parsed: dict[str, Any] | None = None
    ) -> None:
        """See `Decoder`."""
        if parsed is None and data.startswith(DONE_SENTINEL):
            self.done = True
        else:
            self._decode_event(parsed or parse_object(data), event, deltas)

    def decode_body(self, body: str, deltas: list[Delta]) -> None:
        """See `Decoder`: one message, or the events of a stream as lines of JSON."""
        try:
            document = parse_object(body)
        except MalformedResponseError:
            lines = body.split("\n")
            if len(lines) < 2:
                raise
            for line in lines[:-1]:
                if line.strip() and not self.done:
                    self.decode("", line.strip(), deltas)
            if lines[-1].strip() and not self.done:
                self._decode_last_line(lines[-1].strip(), deltas)
            return
        if isinstance(document.get("message"), dict):
            self._decode_message(document, deltas)
        else:
            self._decode_event(document, "", deltas)

    def _decode_last_line(self, line: str, deltas: list[Delta]) -> None:
        try:
            self.decode("", line, deltas)
        except MalformedResponseError:
            return  # cut: the response is incomplete

    def _decode_event(self, chunk: dict[str, Any], event: str, deltas: list[Delta]) -> None:
        kind = chunk.get("type") or event
        if kind in _CONTENT_EVENTS:
            content = chunk["delta"]["message"]["content"]
            self._decode_content(content, optional_index(chunk.get("index")), deltas)
        elif kind in _CALL_EVENTS:
            call = chunk["delta"]["message"]["tool_calls"]  # one, in spite of the name
            deltas.append(_tool_fragment(call, optional_index(chunk.get("index"))))
        elif kind == "tool-plan-delta":
            self._decode_plan(chunk["delta"]["message"].get("tool_plan"), deltas)
        elif kind == "citation-start":
            deltas.extend(_citations(chunk["delta"]["message"].get("citations")))
        elif kind == "message-start":
            deltas.append(ResponseInfo(optional_text(chunk.get("id"))))
        elif kind == "message-end":
            self._decode_end(chunk.get("delta") or {}, deltas)
        elif kind not in _OTHER_EVENTS:
            _raise_reported_error(chunk, event)

    def _decode_content(
        self, content: dict[str, Any], block: int | None, deltas: list[Delta]
    ) -> None:
        if text := content_text(content.get("text")):
            deltas.append(Text(text, block))
        if thinking := content_text(content.get("thinking")):
            deltas.append(Thinking(thinking, block))
        if (kind := content.get("type")) and kind not in ("text", "thinking"):
            deltas.append(Omitted(str(kind)))

    def _decode_plan(self, plan: Any, deltas: list[Delta]) -> None:
        if text := content_text(plan):
            deltas.append(Thinking(text, _PLAN_BLOCK))
            if not self._has_plan:
                self._has_plan = True
                deltas.append(ThinkingSignature(_PLAN, _PLAN_BLOCK))

    def _decode_end(self, end: dict[str, Any], deltas: list[Delta]) -> None:
        """Decode the end of a response, which may report a failure."""
        if isinstance(usage := end.get("usage"), dict):
            deltas.append(usage_from_cohere(usage))
        reason = content_text(end.get("finish_reason"))
        if error := end.get("error"):
            raise _reported_failure(error, reason)
        self.done = True
        deltas.append(Finish(reason or None))

    def _decode_message(self, document: dict[str, Any], deltas: list[Delta]) -> None:
        """Decode a response that is not streamed."""
        message = document["message"]
        deltas.append(ResponseInfo(optional_text(document.get("id"))))
        content = message.get("content") or ()
        if isinstance(content, str):
            content = ({"text": content},)
        for block, part in enumerate(content):
            self._decode_content(part, block, deltas)
        self._decode_plan(message.get("tool_plan"), deltas)
        for index, call in enumerate(message.get("tool_calls") or ()):
            deltas.append(_tool_fragment(call, index))
        for citation in _list(message.get("citations")):
            deltas.extend(_citations(citation))
        self._decode_end(document, deltas)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _tool_fragment(call: dict[str, Any], index: int | None) -> ToolFragment:
    function = call.get("function") or {}
    arguments = content_text(function.get("arguments"))
    name = content_text(function.get("name")) or None
    if name is not None and arguments == "null":  # a call without arguments
        arguments = ""
    return ToolFragment(index, optional_id(call.get("id")), name, arguments)


def _citations(citation: Any) -> Iterator[CitationReport]:
    """Yield a citation for each of its sources. A broken one is ignored to keep the answer."""
    if not isinstance(citation, dict):
        return
    block = optional_index(citation.get("content_index"))
    if citation.get("type") == "PLAN":
        block = _PLAN_BLOCK
    sources = [source for source in _list(citation.get("sources")) if isinstance(source, dict)]
    for source in sources or [{}]:
        facts = source.get("document")
        facts = facts if isinstance(facts, dict) else {}
        yield CitationReport(
            text=optional_text(citation.get("text")) or "",
            start=optional_index(citation.get("start")),
            source=optional_id(facts.get("url")) or optional_id(source.get("id")) or "",
            title=optional_text(facts.get("title")),
            data={**citation, "sources": [source]} if source else dict(citation),
            block=block,
        )


def _reported_failure(error: Any, reason: str) -> ProviderError:
    """Return the exception of a response that ends with an error."""
    failure = error_from_payload(error)
    if reason.upper() == "TIMEOUT":
        failure.error.kind, failure.error.retryable = ErrorKind.TIMEOUT, True
    return failure


def _raise_reported_error(chunk: dict[str, Any], event: str) -> None:
    """Raise the error that an event reports, if it does. Events of unknown types are ignored."""
    error = reported_error(chunk)
    if error is None and (event == "error" or isinstance(chunk.get("message"), str)):
        error = chunk
    if error is not None:
        raise error_from_payload(error)


WIRE = Wire(
    api=COHERE_CHAT,
    title="Cohere",
    encode=encode,
    decoder=CohereDecoder,
    framing=SSEReader,
    url_suffix="/v2/chat",
    model_lists=model_lists,
    schema_fallback=schema_fallback,
    sampling={
        "temperature": "temperature", "top_p": "p", "top_k": "k", "seed": "seed",
        "stop": "stop_sequences",
    },
    max_stops=5,
    signed_thinking=True,
    unsigned_thinking=True,
    thinking=ThinkingRules(
        budget=True, off_by_default=True, switch=True, defaults=_default_reasoning
    ),
)  # fmt: skip
