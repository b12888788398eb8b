"""Test fields of wrong types on every wire: an error of kind `server`, or as if not sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import AssistantMessage, ThinkingContent, preview, stream, user

from ..support.event_grammar import check_events
from ..support.raw_server import Raw, response
from ..support.scripted_server import chunk
from ..support.wire_formats import (
    ANTHROPIC,
    CHAT,
    COHERE,
    GEMINI,
    JSON_WIRES,
    OLLAMA,
    RESPONSES,
    WIRES,
    Counts,
    Wire,
    say,
    think,
    tool,
)

HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
HALF = "\ud83d"


def ask(wire: Wire, *pieces: bytes) -> AssistantMessage:
    """Return the answer to a request that a server answers with these bytes."""
    with Raw(iter([HEAD, *pieces])) as server:
        base = server.url.removesuffix("/v1") if wire.root else server.url
        options: dict[str, Any] = {"api_key": "sk-0123456789", "max_retries": 0, "timeout": 60}
        return check_events(list(stream(wire.model, "q", api_base=base, **options)))


def stream_of(wire: Wire, *events: Any) -> bytes:
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    form = "{}\n" if wire.lines else "data: {}\n\n"
    return "".join(map(form.format, texts)).encode()


def failure(message: AssistantMessage) -> tuple[str, str]:
    assert message.error is not None
    message.model_dump_json()
    return message.error.kind, message.text


# Each wire's event of content with a value in place of the text.
CONTENT = {
    CHAT.name: lambda value: chunk({"content": value}),
    ANTHROPIC.name: lambda value: {
        "type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": value},
    },
    GEMINI.name: lambda value: {"candidates": [{"content": {"parts": [{"text": value}]}}]},
    RESPONSES.name: lambda value: {
        "type": "response.output_text.delta", "output_index": 0, "delta": value,
    },
    OLLAMA.name: lambda value: {"message": {"content": value}},
    COHERE.name: lambda value: {
        "type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": value}}},
    },
}  # fmt: skip


@pytest.mark.parametrize("wire", JSON_WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("value", [5, 1e999, True, {"a": 1}, [["x"]], 10**400], ids=str)
def test_content_that_is_no_text_is_an_error_and_the_text_before_it_stays(
    wire: Wire, value: Any
) -> None:
    content = CONTENT[wire.name]
    assert failure(ask(wire, stream_of(wire, content("kept"), content(value)))) == (
        "server",
        "kept",
    )


TOOLS: list[tuple[Wire, Any]] = [
    (CHAT, chunk({"content": "kept", "tool_calls": [{"function": {"name": {"x": 1}}}]})),
    (CHAT, chunk({"content": "kept", "tool_calls": 5})),
    (CHAT, chunk({"content": "kept", "tool_calls": [{"function": "f"}]})),
    (CHAT, chunk({"content": "kept"}, finish_reason={"x": 1})),
    (CHAT, chunk({"content": "kept", "refusal": 5})),
    (GEMINI, {"candidates": [{"content": {"parts": [
        {"text": "kept"}, {"functionCall": {"name": ["f"]}}]}}]}),
    (GEMINI, {"candidates": [{"content": {"parts": [{"text": "kept"}, 5]}}]}),
    (GEMINI, {"candidates": [{"content": {"parts": [{"text": "kept"}]}, "finishReason": 5}]}),
    (RESPONSES, {"type": "response.output_item.done", "item": {
        "type": "message", "content": [{"type": "output_text", "text": "kept"}, 5]}}),
    (RESPONSES, {"type": "response.incomplete", "response": {
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "kept"}]}],
        "incomplete_details": {"reason": [1]}}}),
    (OLLAMA, {"message": {"content": "kept", "tool_calls": [{"function": {"name": 5}}]}}),
    (OLLAMA, {"message": {"content": "kept", "tool_calls": [{"function": "f"}]}}),
    (OLLAMA, {"message": {"content": "kept", "tool_calls": 5}}),
    (OLLAMA, {"message": {"content": "kept"}, "done": True, "done_reason": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "event"), TOOLS)
def test_text_of_the_same_event_is_kept(wire: Wire, event: Any) -> None:
    assert failure(ask(wire, stream_of(wire, event))) == ("server", "kept")


def _events(wire: Wire) -> list[Any]:
    return list(wire.events([say("Hi"), tool("c1", "f", "{}")], "tool", Counts()))


IDS: dict[str, tuple[str, ...]] = {
    CHAT.name: ("id", "model", "system_fingerprint"),
    ANTHROPIC.name: ("id", "model", "signature"),
    GEMINI.name: ("responseId", "modelVersion", "thoughtSignature", "id"),
    RESPONSES.name: ("id", "model", "call_id", "phase"),
    OLLAMA.name: ("id", "model", "created_at"),
    COHERE.name: ("id",),
}


def _with(value: Any, names: tuple[str, ...], odd: Any) -> Any:
    """Return an event whose objects have an odd value in each of these fields."""
    if isinstance(value, list):
        return [_with(item, names, odd) for item in value]
    if not isinstance(value, dict):
        return value
    return {**{n: _with(v, names, odd) for n, v in value.items()}, **dict.fromkeys(names, odd)}


@pytest.mark.parametrize("wire", JSON_WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("odd", [{"x": 1}, ["x"], 1.5, False, 10**400], ids=str)
def test_ids_and_names_of_models_that_are_no_text_count_as_not_sent(wire: Wire, odd: Any) -> None:
    message = ask(
        wire, stream_of(wire, *[_with(event, IDS[wire.name], odd) for event in _events(wire)])
    )
    assert message.error is None
    assert message.text == "Hi"
    assert [call.name for call in message.tool_calls] == ["f"]
    assert (message.response_id, message.response_model) == (None, None)
    for other in WIRES:  # the conversation can go on
        preview(other.model, [message, user("go on")], api_key="sk-0123456789")


@pytest.mark.parametrize("wire", JSON_WIRES, ids=lambda wire: wire.name)
def test_half_a_surrogate_pair_outside_of_content_can_be_stored(wire: Wire) -> None:
    names = (*IDS[wire.name], "service_tier", "serviceTier", "inference_geo")
    message = ask(wire, stream_of(wire, *[_with(event, names, HALF) for event in _events(wire)]))
    assert message.error is None
    assert AssistantMessage.model_validate_json(message.model_dump_json()).text == "Hi"
    error = wire.error(f"No. {HALF}", HALF)
    kind = "overloaded" if wire is GEMINI else "server"  # its example has status 503
    assert failure(ask(wire, stream_of(wire, CONTENT[wire.name]("kept"), error))) == (kind, "kept")


# No value of JSON, or one that Python cannot write as UTF-8.
ODD_JSON = ["NaN", "-Infinity", "1e999", '"\\ud83d"', "9" * 400]


def _with_everywhere(value: Any, fields: dict[str, Any]) -> Any:
    """Return an event whose objects all have more fields."""
    if isinstance(value, list):
        return [_with_everywhere(item, fields) for item in value]
    if not isinstance(value, dict):
        return value
    return {**{n: _with_everywhere(v, fields) for n, v in value.items()}, **fields}


def _continues(wire: Wire, message: AssistantMessage) -> list[dict[str, Any]]:
    """Check that a message can be stored and sent back; return the bodies that repeat it."""
    json.dumps(message.model_dump(), allow_nan=False, ensure_ascii=False).encode()
    assert AssistantMessage.model_validate_json(message.model_dump_json()) == message
    bodies = []
    for transport in ("direct", "litellm"):
        history = [message, user("go on")]
        options: dict[str, Any] = {"api_key": "sk-0123456789", "transport": transport}
        bodies.append(preview(wire.model, history, **options).body)
        json.dumps(bodies[-1], allow_nan=False, ensure_ascii=False).encode()
    return bodies


@pytest.mark.parametrize("wire", JSON_WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("odd", ODD_JSON, ids=lambda odd: odd[:9])
def test_later_requests_can_repeat_what_is_kept_of_a_response(wire: Wire, odd: str) -> None:
    steps = [think("hm", signature="sig="), say("Hi"), tool("c1", "f", '{"x": 1}')]
    events = [
        event if event == "[DONE]" else json.dumps(_with_everywhere(event, {"odd": "@"}))
        for event in wire.events(steps, "tool", Counts())
    ]
    events = [event.replace('"@"', odd) for event in events]
    message = ask(wire, stream_of(wire, *events))
    assert (message.error, message.text) == (None, "Hi")
    assert [call.name for call in message.tool_calls] == ["f"]
    _continues(wire, message)


@pytest.mark.parametrize("odd", [*ODD_JSON, "5", "null", "[1]"], ids=lambda odd: odd[:9])
@pytest.mark.parametrize("field", ["text", "summary", "encrypted_content"])
def test_reasoning_that_the_responses_api_would_reject_is_not_sent_back(
    field: str, odd: str
) -> None:
    part = {"type": "summary_text", "text": "hm"}
    item = {"type": "reasoning", "id": "r", "summary": [part], "encrypted_content": "sig="}
    (part if field == "text" else item)[field] = "@"
    done = json.dumps({"type": "response.output_item.done", "output_index": 0, "item": item})
    events = list(RESPONSES.events([think("hm"), say("Hi")], "stop", Counts()))
    place = next(i for i, e in enumerate(events) if e["type"] == "response.output_item.done")
    events[place] = done.replace('"@"', odd)
    message = ask(RESPONSES, stream_of(RESPONSES, *events))
    assert (message.error, message.thinking_text, message.text) == (None, "hm", "Hi")
    is_text_or_missing = odd.startswith('"') and field != "summary"
    is_text_or_missing |= odd == "null" and field == "summary"
    for body in _continues(RESPONSES, message):
        kinds = [item.get("type") for item in body["input"]]
        assert ("reasoning" in kinds) is is_text_or_missing


def test_a_stored_signature_that_no_request_can_hold_is_not_sent_back() -> None:
    events = stream_of(RESPONSES, *RESPONSES.events([think("hm"), say("Hi")], "stop", Counts()))
    message = ask(RESPONSES, events)
    thinking = message.content[0]
    assert isinstance(thinking, ThinkingContent)
    for signature in ('{"x": Infinity}', '{"x": 1e999}', "{", "[]", '{"x": ' + "[" * 100_000):
        thinking.thinking_signature = signature
        for body in _continues(RESPONSES, message):
            assert "reasoning" not in [item.get("type") for item in body["input"]]


@pytest.mark.parametrize("wire", JSON_WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("depth", [150, 300, 450, 900, 5000])
def test_deep_nesting_is_an_error_of_the_provider(wire: Wire, depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"error":[', "]}")):
        nested = opening * depth + '"\\ud83d"' + closing * depth
        events = stream_of(wire, CONTENT[wire.name]("kept"), f'{{"error": {nested}}}')
        assert failure(ask(wire, events)) == ("server", "kept")
        assert failure(ask(wire, f'{{"error": {nested}}}\n'.encode())) == ("server", "")


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_byte_order_mark_in_pieces_before_a_document(wire: Wire) -> None:
    document = json.dumps({"error": {"message": "No."}}).encode()
    pieces = [b" ", b"\n", b"\xef", b"\xbb", b"\xbf", document]
    messages = [ask(wire, *pieces), ask(wire, b"".join(pieces))]
    for message in messages:
        assert message.error is not None
        assert message.error.message == "No."


def test_an_html_page_is_quoted_the_same_however_it_arrives() -> None:
    page = b"<html>" + b"x" * 100
    texts = [
        ask(CHAT, *pieces).error_message for pieces in ([page], [page[:3], page[3:50], page[50:]])
    ]
    assert texts[0] == texts[1]


def test_status_in_digits_of_another_script_is_no_status() -> None:
    message = ask(CHAT, stream_of(CHAT, {"error": {"message": "No.", "code": "²"}}))
    assert message.error is not None
    assert (message.error.kind, message.error.message) == ("server", "No.")


def test_whole_document_with_a_broken_part_keeps_the_rest() -> None:
    body = {"content": [{"type": "text", "text": "kept"}, {"type": "text", "text": 5}]}
    with Raw(response(json.dumps(body).encode())) as server:
        options: dict[str, Any] = {"api_key": "sk-0123456789", "max_retries": 0}
        base = server.url.removesuffix("/v1")
        events = list(stream(ANTHROPIC.model, "q", api_base=base, **options))
    assert failure(check_events(events)) == ("server", "kept")


@pytest.mark.parametrize("wire", JSON_WIRES, ids=lambda wire: wire.name)
def test_huge_error_events_are_read_in_part(wire: Wire) -> None:
    """Searching all of it would keep the process busy for seconds."""
    filler = "x y" * 1_000_000
    for fields in ({"message": f"Slow down. {filler}"}, {"message": "Slow down.", "x": filler}):
        error = {"error": {**fields, "code": 429, "errors": [fields] * 2}, "type": "error"}
        message = ask(wire, stream_of(wire, CONTENT[wire.name]("kept"), error))
        assert message.text == "kept"
        assert message.error is not None
        assert message.error.kind == "rate_limit"
        assert message.error.message.startswith("Slow down.")
        assert len(message.error.message) <= 2000


def test_an_exception_of_litellm_without_a_text_is_the_message() -> None:
    message = ask(CHAT, stream_of(CHAT, {"error": {"message": "litellm.RateLimitError: "}}))
    assert message.error_message == "litellm.RateLimitError: "
