"""Targets: each API's decoder, with fields of wrong types and bytes cut anywhere."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from pipy_ai import AssistantMessage, Message, user
from pipy_ai.provider.wires._openai_messages import chat_messages
from pipy_ai.provider.wires.anthropic_messages import encode_messages
from pipy_ai.provider.wires.gemini import encode_contents
from pipy_ai.provider.wires.openai_responses import responses_input
from tests.support import responses_items
from tests.support.wire_formats import (
    ANTHROPIC,
    CHAT,
    COHERE,
    GEMINI,
    OLLAMA,
    RESPONSES,
    Counts,
    Wire,
    redacted,
    say,
    think,
    tool,
)

from .harness import target
from .replies import ask, decode, head
from .values import changed, dump_json, pieces, some_json, some_text

_COUNTS = Counts(input=10, output=9, cached=3, written=2, reasoning=4)

# Fields that are in no example above, by the object that has them.
_RARE_FIELDS: dict[str, tuple[str, ...]] = {
    "openai-completions": (
        "error", "usage", "choices", "delta", "message", "finish_reason", "index", "content",
        "refusal", "reasoning", "reasoning_details", "thinking_blocks", "tool_calls",
        "function_call", "images", "audio", "x_groq", "service_tier", "cost", "web_search",
        "executed_tools", "provider_metadata", "x_nanogpt_pricing", "meta", "code", "base_resp",
        "object", "type", "prompt_tokens", "completion_tokens", "total_tokens",
        "prompt_tokens_details", "custom", "completion_tokens_details", "cost_details",
        "server_tool_use", "num_search_queries", "id", "model", "extra_content", "function",
        "name", "arguments", "errors", "status", "detail",
    ),
    "anthropic-messages": (
        "error", "type", "usage", "index", "delta", "content_block", "message", "stop_reason",
        "id", "model", "text", "thinking", "signature", "data", "name", "input", "partial_json",
        "speed", "server_tool_use", "iterations", "cache_creation", "service_tier",
        "inference_geo", "content", "input_tokens", "output_tokens", "output_tokens_details",
    ),
    "google-generative-ai": (
        "error", "candidates", "content", "parts", "text", "thought", "thoughtSignature", "code",
        "functionCall", "args", "name", "id", "inlineData", "fileData", "executableCode",
        "mimeType", "finishReason", "groundingMetadata", "groundingChunks", "webSearchQueries",
        "promptFeedback", "blockReason", "usageMetadata", "promptTokensDetails", "modality",
        "tokenCount", "responseId", "modelVersion", "serviceTier", "partialArgs", "jsonPath",
        "stringValue", "numberValue", "willContinue",
    ),
    "cohere-chat": (
        "error", "type", "delta", "message", "content", "text", "thinking", "index", "id",
        "tool_calls", "function", "name", "arguments", "tool_plan", "citations", "start", "end",
        "sources", "document", "title", "url", "content_index", "finish_reason", "usage", "tokens",
        "billed_units", "cached_tokens", "input_tokens", "output_tokens", "search_units", "code",
    ),
    "openai-responses": (
        "error", "type", "response", "item", "delta", "text", "arguments", "output_index",
        "output", "status", "usage", "incomplete_details", "reason", "content", "summary",
        "summary_index", "encrypted_content", "call_id", "id", "name", "phase", "model", "tools",
        "tool_usage", "service_tier", "input_tokens_details", "output_tokens_details", "action",
        "container_id", "code", "message", "refusal", "annotation", "annotations", "outputs",
        "sources", "results", "result", "queries", "input", "logs", "url", "server_label",
        "partial_image_b64", "image_gen", "start_index", "end_index", "content_index", "item_id",
    ),
    "ollama-chat": (
        "error", "status", "message", "content", "thinking", "tool_calls", "function", "name",
        "arguments", "id", "index", "done", "done_reason", "model", "created_at", "eval_count",
        "prompt_eval_count", "images", "logprobs", "remote_model",
    ),
}  # fmt: skip


# Cohere's citation of "So", and the plan of a call.
_SOURCE = {
    "type": "document",
    "id": "doc:1",
    "document": {"title": "A", "url": "https://a.example"},
}
_CITED: dict[str, Any] = {
    "start": 0,
    "end": 2,
    "text": "So",
    "sources": [_SOURCE],
    "type": "TEXT_CONTENT",
}
_CITATION = {"type": "citation-start", "index": 0, "delta": {"message": {"citations": _CITED}}}
_PLAN = {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I look."}}}


# A call whose arguments Vertex AI streams.
_PIECES: list[Any] = [
    {"name": "look", "willContinue": True},
    {"partialArgs": [{"jsonPath": "$.x[0].y", "stringValue": "o"}], "willContinue": True},
    {"partialArgs": [{"jsonPath": "$.x[0].y", "stringValue": "k"}], "willContinue": True},
    {"partialArgs": [{"jsonPath": "$['z']", "numberValue": 1}], "willContinue": True},
    {},
]
_STREAMED_CALL = [
    {"candidates": [{"content": {"parts": [{"functionCall": piece}]}}]} for piece in _PIECES
]


# Searches that Anthropic and Google run.
_FOUND = {"type": "web_search_result", "url": "https://a.example", "encrypted_content": "E=="}
_CITATION_OF_SEARCH = {
    "type": "web_search_result_location",
    "url": "https://a.example",
    "title": "A",
    "cited_text": "So it is.",
    "encrypted_index": "I==",
}
_SEARCH_BLOCKS: list[dict[str, Any]] = [
    {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "é"}},
    {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [_FOUND]},
    {"type": "text", "text": "", "citations": [_CITATION_OF_SEARCH]},
]
_SEARCH_DELTAS: dict[int, list[dict[str, Any]]] = {
    0: [{"type": "input_json_delta", "partial_json": '{"query": "é"}'}],
    2: [
        {"type": "citations_delta", "citation": _CITATION_OF_SEARCH},
        {"type": "text_delta", "text": "So"},
    ],
}
_ANTHROPIC_SEARCH = [
    event
    for index, block in enumerate(_SEARCH_BLOCKS)
    for event in (
        {"type": "content_block_start", "index": index, "content_block": block},
        *(
            {"type": "content_block_delta", "index": index, "delta": delta}
            for delta in _SEARCH_DELTAS.get(index, ())
        ),
        {"type": "content_block_stop", "index": index},
    )
]
_GROUNDING = {
    "webSearchQueries": ["so"],
    "groundingChunks": [{"web": {"uri": "https://g.example", "title": "g.example"}}],
    "groundingSupports": [
        {"segment": {"startIndex": 0, "endIndex": 2, "text": "So"}, "groundingChunkIndices": [0]}
    ],
}
_GEMINI_PARTS: list[dict[str, Any]] = [
    {"executableCode": {"language": "PYTHON", "code": "1 + 1"}, "thoughtSignature": "s"},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
    {"inlineData": {"mimeType": "image/png", "data": "aGFsZg=="}, "thoughtSignature": "s"},
    {"text": "So"},
]
_GEMINI_SEARCH = [
    {"candidates": [{"content": {"parts": [part]}, "groundingMetadata": _GROUNDING}]}
    for part in _GEMINI_PARTS
]


def _examples(wire: Wire) -> list[list[Any]]:
    """Return the events of complete answers."""
    steps = [
        [say("Hel", "lö 😀", " there")],
        [think("hm", "…", signature="sig="), say("So.", " Yes")],
        [say("I look"), tool("c1", "look", '{"x": 1', ', "y": [2]}'), tool("c2", "f", "{}")],
        [tool("c1", "look", '{"q": "é"}', signature="s2")],
    ]
    if wire.redacts:
        steps.append([redacted("ZGF0YQ=="), think("a"), say("b")])
    return [
        list(wire.events(example, stop, _COUNTS))
        for example in steps
        for stop in ("stop", "length", "tool")
    ]


_EXAMPLES = {
    wire.api: _examples(wire) for wire in (CHAT, ANTHROPIC, GEMINI, RESPONSES, OLLAMA, COHERE)
}
_EXAMPLES[COHERE.api] += [
    [*example[:1], _PLAN, *example[1:-2], _CITATION, *example[-2:]]
    for example in _EXAMPLES[COHERE.api]
]
_EXAMPLES[ANTHROPIC.api] += [
    [*example[:1], *_ANTHROPIC_SEARCH, *example[-2:]] for example in _EXAMPLES[ANTHROPIC.api][:3]
]
_EXAMPLES[GEMINI.api] += [[*_GEMINI_SEARCH, *example[-1:]] for example in _EXAMPLES[GEMINI.api][:3]]
_EXAMPLES[GEMINI.api] += [[*_STREAMED_CALL, *example[-1:]] for example in _EXAMPLES[GEMINI.api][:3]]
_EXAMPLES[RESPONSES.api] += [
    responses_items.events(*items)
    for items in (
        (responses_items.SEARCH, responses_items.CITED),
        (responses_items.CODE, responses_items.IMAGE, responses_items.CITED),
        (responses_items.FILES, responses_items.MCP_LIST, responses_items.MCP_CALL),
        (responses_items.X_SEARCH, responses_items.CITED, responses_items.APPROVAL),
    )
]


def _add_field(rng: random.Random, api: str, value: Any) -> None:
    """Add a field of the API with a random value to an object of a document."""
    holders = [value]
    for holder in holders:
        children = holder.values() if isinstance(holder, dict) else holder
        holders += [child for child in children if isinstance(child, dict | list)]
    objects = [holder for holder in holders if isinstance(holder, dict)]
    if objects:
        make = rng.choice((some_json, _plausible))
        rng.choice(objects)[rng.choice(_RARE_FIELDS[api])] = make(rng)


def _plausible(rng: random.Random) -> Any:
    """Return a value that some field of an answer has."""
    return rng.choice(
        (
            "text", "thinking", "tool_use", "server_tool_use", "error", "function_call", "message",
            "reasoning", "stop", "tool_calls", "refusal", "null", "failed", "incomplete", 0, 1, 429,
            1.5, "rate_limit_error", [], {}, [{}], [None], {"type": "text", "text": "x"}, "USD",
            {"message": "Slow down.", "code": 429}, {"code": "429", "status": "RESOURCE_EXHAUSTED"},
            {"cost": 1, "total_cost": 2}, [{"type": "text", "text": "y"}], ["x", 5, {"text": 7}],
        )
    )  # fmt: skip


def _deep(rng: random.Random) -> str:
    """Return nested JSON, perhaps too deep or not closed, with half a surrogate pair in it."""
    depth = rng.choice((50, 190, 210, 400, 900, 980, 1100, 5000))
    opening, closing = rng.choice((("[", "]"), ('{"error":', "}"), ('{"a":[', "]}")))
    middle = rng.choice(("1", '"\\ud83d"', '"x"', "null"))
    text = opening * depth + middle + closing * depth
    return rng.choice(
        (text, f'{{"error": {text}}}', f'{{"choices": {text}, "candidates": {text}}}')
    )


def _odd_event(rng: random.Random) -> str:
    kind = rng.randrange(5)
    if kind == 0:
        return _deep(rng)
    if kind == 1:
        return dump_json(rng, some_json(rng))
    if kind == 2:
        return " ".join(dump_json(rng, some_json(rng)) for _ in range(rng.randint(2, 4)))
    if kind == 3:
        return some_text(rng).replace("\n", " ").replace("\r", " ")
    return rng.choice(
        ("[DONE]", "{", "<html>", '{"error": "x"}', '{"type": "error"}', "1e999", "null")
    )


def _mutated(rng: random.Random, api: str) -> list[str]:
    """Return the events of an answer as JSON, some of them broken."""
    events = list(rng.choice(_EXAMPLES[api]))
    position = rng.randrange(len(events))
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.6:
            position = rng.randrange(len(events))
        event = events[position]
        if isinstance(event, dict):
            event = changed(rng, event, rng.choice((0, 1, 1, 1, 2)))
            if isinstance(event, dict) and rng.random() < 0.5:
                _add_field(rng, api, event)
        events[position] = event
    if rng.random() < 0.2:
        events.insert(rng.randint(0, len(events)), rng.choice(events))
    if rng.random() < 0.1:
        del events[rng.randrange(len(events))]
    texts = [event if isinstance(event, str) else dump_json(rng, event) for event in events]
    if rng.random() < 0.2:
        texts.insert(rng.randint(0, len(texts)), _odd_event(rng))
    return texts


def _name(text: str) -> str:
    """Return the name that an API with named events gives an event."""
    try:
        kind = json.loads(text)["type"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return ""
    return kind if isinstance(kind, str) and kind.isprintable() else ""


def _sse(rng: random.Random, texts: list[str]) -> bytes:
    newline = rng.choice(("\n", "\r\n"))
    named = rng.random() < 0.5
    lines = []
    for text in texts:
        if named and (name := _name(text)):
            lines.append(f"event: {name}")
        lines += [f"data: {text}", ""]
    ending = rng.choice(("", newline, newline, newline))
    return (newline.join(lines) + ending).encode("utf-8", "surrogatepass")


def _json_lines(rng: random.Random, texts: list[str]) -> bytes:
    newline = rng.choice(("\n", "\r\n", "\n\n"))
    ending = rng.choice(("", newline, newline, newline))
    return (newline.join(texts) + ending).encode("utf-8", "surrogatepass")


def _document(rng: random.Random, api: str) -> bytes:
    """Return an answer that is one JSON document instead of a stream."""
    events = rng.choice(_EXAMPLES[api])
    if api == GEMINI.api:
        value: Any = events if rng.random() < 0.5 else events[0]
    elif api == RESPONSES.api:
        value = events[-1]["response"]
    elif api == OLLAMA.api:
        value = events[-1] | {"message": {"role": "assistant", "content": "Hello"}}
    elif api == COHERE.api:
        function = {"name": "look", "arguments": rng.choice(("null", "{}"))}
        parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "So it is"}]
        answer = {
            "content": parts,
            "tool_plan": "I look.",
            "tool_calls": [{"id": "c1", "function": function}],
            "citations": [_CITED],
        }
        value = {**events[-2]["delta"], "id": "c", "message": answer}
    elif api == ANTHROPIC.api:
        blocks = [event["content_block"] for event in events if "content_block" in event]
        text = {"type": "text", "text": "Hello"}
        tool_use = {"type": "tool_use", "id": "c1", "name": "look", "input": {"x": 1}}
        value = {
            **events[0]["message"],
            "content": [*blocks, text, tool_use],
            "stop_reason": "end_turn",
        }
    else:
        call = {"id": "c1", "index": 0, "function": {"name": "look", "arguments": '{"x": 1}'}}
        message = {"content": "Hello", "reasoning_content": "hm", "tool_calls": [call]}
        usage = {"prompt_tokens": 5, "completion_tokens": 3}
        choice = {"message": message, "finish_reason": "stop", "index": 0}
        value = {"id": "x", "model": "m", "choices": [choice], "usage": usage}
    value = changed(rng, value, rng.randint(0, 2))
    if isinstance(value, dict | list) and rng.random() < 0.5:
        _add_field(rng, api, value)
    return dump_json(rng, value).encode("utf-8", "surrogatepass")


_MADE_UP_ID = re.compile(r'"call_\w+"')
_TIMES = {"timestamp", "duration_ms", "ttft_ms"}


def _comparable(message: AssistantMessage) -> str:
    """Return what must not depend on where the bytes were cut."""
    return _MADE_UP_ID.sub('"made up"', message.model_dump_json(exclude=_TIMES))


def _check_repeatable(message: AssistantMessage) -> None:
    """A message can be written as JSON, and so can the requests that repeat parts of it."""
    json.dumps(message.model_dump(), allow_nan=False, ensure_ascii=False).encode()
    if message.error is None:
        messages: list[Message] = [user("q"), message, user("go on")]
        requests = [
            responses_input(messages),
            chat_messages(None, messages),
            encode_messages(messages),
            encode_contents(messages),
        ]
        json.dumps(requests, allow_nan=False, ensure_ascii=False).encode()


def _check(rng: random.Random, api: str) -> None:
    in_lines = api == OLLAMA.api or (api == COHERE.api and rng.random() < 0.2)
    join = _json_lines if in_lines else _sse
    body = _document(rng, api) if rng.random() < 0.2 else join(rng, _mutated(rng, api))
    if rng.random() < 0.1:
        body = body[: rng.randint(0, len(body))]
    if rng.random() < 0.05:
        body = b"\xef\xbb\xbf" + body
    kind = rng.random()
    cuts = [body[i : i + 1] for i in range(len(body))] if kind < 0.005 else pieces(rng, body)
    if kind < 0.99:
        whole, cut = decode(api, [body]), decode(api, cuts, check_grammar=kind < 0.1)
    else:
        whole, cut = ask(api, [head() + body]), ask(api, [head(), *cuts])
    one_read, many_reads = _comparable(whole), _comparable(cut)
    assert one_read == many_reads
    if kind > 0.7:
        _check_repeatable(whole)


@target
def chat_completions(rng: random.Random) -> None:
    """Answers of Chat Completions with wrong fields, cut anywhere."""
    _check(rng, CHAT.api)


@target
def anthropic_messages(rng: random.Random) -> None:
    """Answers of Anthropic Messages with wrong fields, cut anywhere."""
    _check(rng, ANTHROPIC.api)


@target
def gemini(rng: random.Random) -> None:
    """Answers of Gemini with wrong fields, cut anywhere."""
    _check(rng, GEMINI.api)


@target
def responses(rng: random.Random) -> None:
    """Answers of the Responses API with wrong fields, cut anywhere."""
    _check(rng, RESPONSES.api)


@target
def ollama_chat(rng: random.Random) -> None:
    """Answers of Ollama with wrong fields, cut anywhere."""
    _check(rng, OLLAMA.api)


@target
def cohere_chat(rng: random.Random) -> None:
    """Answers of Cohere with wrong fields, cut anywhere."""
    _check(rng, COHERE.api)
