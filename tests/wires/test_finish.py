"""Test that only a complete response is `done`, whatever ends it, on every API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import AssistantMessage, stream

from ..support.event_grammar import check_events
from ..support.scenarios import shape
from ..support.scripted_server import DONE, Lab, Status, chunk, finish, sse, text
from ..support.wire_formats import ANTHROPIC, CHAT, GEMINI, RESPONSES, WIRES, Wire, say, tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True, params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with both transports."""
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    param: Wire = request.param
    return param


def ask(lab: Lab, wire: Wire, model: str = "", **options: Any) -> AssistantMessage:
    options = {"api_key": "k", "max_retries": 0, "api_base": wire.base(lab), **options}
    return check_events(list(stream(model or wire.model, "q", **options)))


def outcome(message: AssistantMessage) -> tuple[str, str | None, bool]:
    """Return the stop reason, and the kind of the error and whether it can be retried."""
    error = message.error
    assert message.stop_reason is not None
    if error is None:
        return message.stop_reason.value, None, False
    return message.stop_reason.value, error.kind.value, error.retryable


def codes(message: AssistantMessage) -> list[str]:
    """Return the codes of the warnings about the response's content."""
    return [warning.code for warning in message.warnings if warning.code != "cost_unknown"]


# --- Finish reasons -------------------------------------------------------------------------


def ending(wire: Wire, reason: str) -> list[bytes]:
    """Return a response with the text `so far` that ends with a reason in the API's own field."""
    if wire is RESPONSES:
        event = {"response": {"status": "incomplete", "incomplete_details": {"reason": reason}}}
        scene: list[bytes] = wire.scene(say("so far"), stop=None)
        return [*scene, *sse({"type": "response.incomplete", **event})]
    return [
        part.replace(json.dumps(wire.stops["stop"]).encode(), json.dumps(reason).encode())
        for part in wire.scene(say("so far"))
    ]


REASONS = [
    (ANTHROPIC, "compaction", "error", "incomplete", False),
    (ANTHROPIC, "refusal", "error", "content_filter", False),
    (ANTHROPIC, "model_context_window_exceeded", "length", None, False),
    (ANTHROPIC, "stop_sequence", "stop", None, False),
    (ANTHROPIC, "brand_new", "error", "incomplete", False),
    (GEMINI, "STOP", "stop", None, False),
    (GEMINI, "MAX_TOKENS", "length", None, False),
    *[
        (GEMINI, reason, "error", "content_filter", False)
        for reason in (
            "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
            "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION",
            "MODEL_ARMOR",
        )
    ],
    *[
        (GEMINI, reason, "error", "server", False)
        for reason in (
            "OTHER", "IMAGE_OTHER", "NO_IMAGE", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL",
            "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE",
        )
    ],
    (GEMINI, "PUP_LIMITED_DISABLED", "error", "auth", False),
    (GEMINI, "CONTINUATION", "error", "incomplete", False),
    (GEMINI, "FINISH_REASON_UNSPECIFIED", "error", "incomplete", False),
    (GEMINI, "BRAND_NEW", "error", "incomplete", False),
    (RESPONSES, "max_output_tokens", "length", None, False),
    (RESPONSES, "content_filter", "error", "content_filter", False),
    (RESPONSES, "max_messages", "error", "incomplete", False),
    (RESPONSES, "steered", "error", "incomplete", False),
    (CHAT, "length", "length", None, False),
    (CHAT, "model_length", "length", None, False),  # Mistral
    (CHAT, "MAX_TOKENS", "length", None, False),  # Cohere
    (CHAT, "COMPLETE", "stop", None, False),
    (CHAT, "eos_token", "stop", None, False),  # TGI
    (CHAT, "eos", "stop", None, False),  # Together
    (CHAT, "end", "stop", None, False),  # Ollama
    (CHAT, "abort", "error", "incomplete", True),  # vLLM, SGLang
    (CHAT, "error", "error", "server", True),  # Mistral, vLLM, OpenRouter
    (CHAT, "network_error", "error", "server", True),  # Z.ai
    (CHAT, "insufficient_system_resource", "error", "server", True),  # DeepSeek
    (CHAT, "time_limit", "error", "timeout", True),  # xAI
    (CHAT, "content-filter", "error", "content_filter", False),  # Vercel
    (CHAT, "sensitive", "error", "content_filter", False),  # Z.ai
    (CHAT, "USER_CANCEL", "error", "incomplete", False),  # Cohere
    (CHAT, "ERROR_LIMIT", "error", "incomplete", False),  # Cohere
    (CHAT, "ERROR_TOXIC", "error", "content_filter", False),  # Cohere
]  # fmt: skip


@pytest.mark.parametrize(
    ("wire", "reason", "stop", "kind", "retryable"),
    [pytest.param(*row, id=f"{row[0].name}: {row[1]}") for row in REASONS],
)
def test_finish_reasons(
    lab: Lab, wire: Wire, reason: str, stop: str, kind: str | None, retryable: bool
) -> None:
    lab.play(ending(wire, reason))
    message = ask(lab, wire)
    assert outcome(message) == (stop, kind, retryable)
    assert message.text == "so far"
    assert message.raw_stop_reason == reason
    assert "unknown_finish_reason" not in codes(message)
    if kind is not None and reason != "refusal":
        assert message.error is not None
        assert reason in message.error.message


def document(wire: Wire, reason: str) -> Status:
    """Return the same response in one piece."""
    text = {"type": "text", "text": "so far"}
    body: dict[str, Any] = {"id": "r", "model": "m"}
    if wire is CHAT:
        choice = {"index": 0, "message": {"role": "assistant", "content": "so far"}}
        body["choices"] = [{**choice, "finish_reason": reason}]
    elif wire is ANTHROPIC:
        body |= {"type": "message", "content": [text], "stop_reason": reason}
    elif wire is GEMINI:
        content = {"role": "model", "parts": [{"text": "so far"}]}
        body["candidates"] = [{"content": content, "finishReason": reason}]
    else:
        message = {"type": "message", "content": [{**text, "type": "output_text"}]}
        details = {"status": "incomplete", "incomplete_details": {"reason": reason}}
        body |= {"output": [message], **details}
    return Status(200, body)


@pytest.mark.parametrize(
    ("wire", "reason", "stop", "kind", "retryable"),
    [pytest.param(*row, id=f"{row[0].name}: {row[1]}") for row in REASONS],
)
def test_finish_reasons_in_one_piece(
    lab: Lab, wire: Wire, reason: str, stop: str, kind: str | None, retryable: bool
) -> None:
    lab.play(document(wire, reason))
    message = ask(lab, wire)
    assert outcome(message) == (stop, kind, retryable)
    assert (message.text, message.raw_stop_reason) == ("so far", reason)


def test_unknown_reason_of_a_compatible_host_is_the_end_with_a_warning(lab: Lab) -> None:
    for reason in ("normal", "repetition", "other"):
        lab.play(ending(CHAT, reason))
        message = ask(lab, CHAT)
        assert outcome(message) == ("stop", None, False)
        assert codes(message) == ["unknown_finish_reason"]
        assert repr(reason) in message.warnings[0].message
        assert message.raw_stop_reason == reason


def test_unknown_reason_of_openai_is_an_error(lab: Lab, july: Any) -> None:
    lab.play(ending(CHAT, "brand_new"))
    message = ask(lab, CHAT, "openai/gpt-4o-mini")
    assert outcome(message) == ("error", "incomplete", False)
    assert message.text == "so far"
    assert message.error is not None
    assert "brand_new" in message.error.message
    # Another server behind OpenAI's name.
    assert outcome(ask(lab, CHAT, "openai/my-own-model"))[0] == "stop"


def test_blocked_prompts(lab: Lab) -> None:
    for reason in ("SAFETY", "OTHER", "JAILBREAK", "MODEL_ARMOR", "BLOCKED_REASON_UNSPECIFIED"):
        lab.play(sse({"promptFeedback": {"blockReason": reason}}))
        message = ask(lab, GEMINI)
        assert outcome(message) == ("error", "content_filter", False)
        assert message.error is not None
        assert reason in message.error.message


def test_unfinished_responses_in_one_piece(lab: Lab) -> None:
    output = [
        {"type": "message", "id": "i", "content": [{"type": "output_text", "text": "half"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]
    for status in ("queued", "in_progress", "cancelled"):
        lab.play(Status(200, {"id": "r", "model": "m", "status": status, "output": output}))
        message = ask(lab, RESPONSES)
        assert outcome(message) == ("error", "incomplete", False)
        assert shape(message) == ["half", ("f", {})]
        assert message.raw_stop_reason == status
    failed = {"status": "failed", "error": {"code": "server_error", "message": "oh no"}}
    lab.play(Status(200, {"id": "r", "output": output, **failed}))
    message = ask(lab, RESPONSES)
    assert outcome(message) == ("error", "server", True)
    assert shape(message) == ["half", ("f", {})]
    assert message.error is not None
    assert message.error.message == "oh no"


def test_unfinished_response_in_the_last_event(lab: Lab) -> None:
    for status in ("queued", "cancelled"):
        event = {"type": "response.completed", "response": {"status": status}}
        lab.play([*RESPONSES.scene(say("half"), stop=None), *sse(event)])
        assert outcome(ask(lab, RESPONSES)) == ("error", "incomplete", False)


# --- Errors in the response -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        ({"code": 429, "message": "slow down"}, "rate_limit", True),
        ({"code": 504, "message": "too slow"}, "timeout", True),
        ({"code": 503, "message": "no capacity"}, "overloaded", True),
        ({"code": "402", "message": "no credit"}, "quota", False),
        ({"code": 400, "message": "bad field"}, "bad_request", False),
        ({"code": "rate_limit_exceeded", "message": "slow down"}, "rate_limit", True),
        ("it broke", "server", True),
    ],
)
def test_error_inside_a_choice(lab: Lab, error: Any, kind: str, retryable: bool) -> None:
    """As OpenRouter sends the failure of a provider (genkit-ai/genkit#6259)."""
    failed = chunk({"content": " far"}, finish_reason="error")
    failed["choices"][0]["error"] = error
    whole = {
        "id": "r", "model": "m",
        "choices": [{"message": {"role": "assistant", "content": "so far"},
                     "finish_reason": "error", "error": error}],
    }  # fmt: skip
    lab.play(sse(*text("so"), failed, DONE), Status(200, whole))
    words = error if isinstance(error, str) else error["message"]
    for _ in range(2):
        message = ask(lab, CHAT)
        assert outcome(message) == ("error", kind, retryable)
        assert message.error is not None
        assert message.error.message == words
        assert message.text == "so far"


def test_error_inside_a_choice_is_retried_before_any_content(lab: Lab) -> None:
    failed = chunk({"role": "assistant", "content": ""}, finish_reason="error")
    failed["choices"][0]["error"] = {"code": 503, "message": "no capacity"}
    lab.play(sse(failed), sse(*text("ok"), finish("stop"), DONE))
    message = ask(lab, CHAT, max_retries=1)
    assert (message.text, message.error) == ("ok", None)
    assert len(lab.seen) == 2


def test_content_beside_an_error_is_kept(lab: Lab) -> None:
    """The failure is in the same event as the last content."""
    lab.play(sse(chunk({"content": "half"}, error={"code": 500, "message": "oh no"})))
    message = ask(lab, CHAT)
    assert (message.text, outcome(message)) == ("half", ("error", "server", True))


# --- The last event -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "junk",
    ["{not json", '{"error": {"message": "late", "code": 500}}', "<html>gone</html>", '{"a": 1}'],
)
def test_bytes_after_the_last_event_are_ignored(lab: Lab, wire: Wire, junk: str) -> None:
    for split in (False, True):
        scene = [*wire.scene(say("whole"), tool("c", "f", "{}"), stop="tool"), *sse(junk, junk)]
        lab.play(scene if split else [b"".join(scene)])
        message = ask(lab, wire)
        assert outcome(message) == ("toolUse", None, False)
        assert shape(message) == ["whole", ("f", {})]


def test_nothing_but_the_last_event_is_an_error(lab: Lab) -> None:
    stop = {"type": "message_stop"}
    for wire, scene in (
        (CHAT, sse(DONE)),
        (CHAT, sse(chunk({"role": "assistant", "content": ""}), DONE)),
        (CHAT, sse(chunk(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 0}), DONE)),
        (ANTHROPIC, sse(stop)),
        (ANTHROPIC, sse({"type": "message_start", "message": {"id": "m"}}, stop)),
    ):
        lab.play(scene)
        message = ask(lab, wire)
        assert outcome(message) == ("error", "incomplete", True)
        assert message.content == []


def test_nothing_but_the_last_event_is_retried(lab: Lab) -> None:
    lab.play(sse(DONE), sse(*text("ok"), finish("stop"), DONE))
    message = ask(lab, CHAT, max_retries=1)
    assert (message.text, message.error) == ("ok", None)


def test_tool_calls_that_are_missing(lab: Lab) -> None:
    """A server that cannot parse a call drops it."""
    for wire, reason in ((CHAT, "tool_calls"), (ANTHROPIC, "tool_use")):
        lab.play(wire.scene(stop="tool"), wire.scene(say("Let me look."), stop="tool"))
        assert outcome(ask(lab, wire)) == ("error", "incomplete", True)
        message = ask(lab, wire)
        assert outcome(message) == ("stop", None, False)
        assert codes(message) == ["missing_tool_calls"]
        assert reason in message.warnings[0].message


def test_body_that_is_no_response(lab: Lab, wire: Wire) -> None:
    for body in ({}, {"detail": "not here"}, {"object": "list", "data": []}):
        lab.play(Status(200, body))
        message = ask(lab, wire)
        assert message.stop_reason == "error"


def test_error_after_content_in_one_document(lab: Lab) -> None:
    chunks = [{"candidates": [{"content": {"parts": [{"text": "half"}]}}]}]
    error = {"error": {"code": 503, "message": "no capacity", "status": "UNAVAILABLE"}}
    lab.play(Status(200, [*chunks, error]))
    message = ask(lab, GEMINI)
    assert (message.text, outcome(message)) == ("half", ("error", "overloaded", True))


def test_reason_that_is_the_word_null(lab: Lab) -> None:
    lab.play(sse(chunk({"content": "a"}, finish_reason="null"), *text("b"), finish("stop"), DONE))
    message = ask(lab, CHAT)
    assert (message.text, message.raw_stop_reason, message.warnings) == ("ab", "stop", [])


def test_content_with_done_and_no_reason_is_complete(lab: Lab) -> None:
    lab.play(sse(*text("whole"), DONE))  # Novita, Snowflake
    assert outcome(ask(lab, CHAT)) == ("stop", None, False)


def test_empty_answer_with_a_reason_is_complete(lab: Lab, wire: Wire) -> None:
    lab.play(wire.scene())
    message = ask(lab, wire)
    assert outcome(message) == ("stop", None, False)
    assert message.content == []


@pytest.mark.parametrize("empty", [b"data:\n\n", b"data: \n\n", b"data:  \n\n", b"data\n\n"])
@pytest.mark.parametrize("name", [b"", b"event: ping\n", b"event: response.output_text.delta\n"])
def test_events_without_data_are_ignored(lab: Lab, wire: Wire, empty: bytes, name: bytes) -> None:
    if not wire.sse:
        pytest.skip("it sends frames")
    scene = [part for piece in wire.scene(say("a", "b")) for part in (name + empty, piece)]
    lab.play([*scene, name + empty])
    message = ask(lab, wire)
    assert (message.text, message.error) == ("ab", None)


# --- Content that a message cannot hold -----------------------------------------------------

PNG = "iVBORw0KGgo="


def responses_item(**item: Any) -> list[bytes]:
    events = [
        {"type": "response.created", "response": {"id": "r", "model": "m"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed",
         "response": {"id": "r", "status": "completed", "output": [item]}},
    ]  # fmt: skip
    return sse(*events)


def anthropic_block(**block: Any) -> list[bytes]:
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    delta = {"type": "input_json_delta", "partial_json": "{}"}
    return sse(
        {"type": "message_start", "message": {"id": "m", "model": "m"}},
        start,
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    )


def gemini_part(**part: Any) -> list[bytes]:
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
    return sse({"candidates": [candidate]})


def chat_delta(**delta: Any) -> list[bytes]:
    return sse(chunk({"role": "assistant", **delta}), finish("stop"), DONE)


OMITTED = {
    "gemini file": (GEMINI, gemini_part(fileData={"mimeType": "video/mp4", "fileUri": "x"})),
    "chat images": (CHAT, chat_delta(content="", images=[{"type": "image_url"}])),
    "chat images alone": (CHAT, sse(chunk({"images": [{"type": "image_url"}]}), finish("stop"))),
    "chat custom tool": (
        CHAT,
        chat_delta(
            tool_calls=[{"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql"}}]
        ),
    ),
    "mistral file": (CHAT, chat_delta(content=[{"type": "tool_file", "file_id": "f"}])),
    "mistral image": (CHAT, chat_delta(content=[{"type": "image_url", "image_url": "u"}])),
    "anthropic upload": (ANTHROPIC, anthropic_block(type="container_upload", file_id="f")),
    "responses custom": (RESPONSES, responses_item(type="custom_tool_call", name="f", input="x")),
    "responses computer": (RESPONSES, responses_item(type="computer_call", call_id="c")),
    "responses part": (
        RESPONSES,
        responses_item(type="message", content=[{"type": "output_audio", "data": PNG}]),
    ),
}


@pytest.mark.parametrize("name", OMITTED)
def test_response_of_other_content_only_is_an_error(lab: Lab, name: str) -> None:
    wire, scene = OMITTED[name]
    lab.play(scene)
    message = ask(lab, wire, max_retries=1)
    assert outcome(message) == ("error", "incomplete", False)
    assert len(lab.seen) == 1, "what was billed must not be repeated"
    assert message.content == []
    assert codes(message) == ["content_omitted"]
    assert message.error is not None
    assert "cannot represent" in message.error.message


def test_custom_tool_call_beside_text_is_one_warning(lab: Lab) -> None:
    custom = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": "x"}}
    deltas = [chunk({"content": "Let me look."}), chunk({"tool_calls": [custom]})]
    lab.play(sse(*deltas, finish("tool_calls"), DONE))
    message = ask(lab, CHAT)
    assert outcome(message) == ("stop", None, False)
    assert codes(message) == ["content_omitted"]


def test_refusal_in_a_part_of_the_content(lab: Lab) -> None:
    lab.play(chat_delta(content=[{"type": "refusal", "refusal": "No."}]))
    message = ask(lab, CHAT)
    assert (message.text, outcome(message)) == ("No.", ("error", "content_filter", False))


def test_content_left_out_beside_text_is_a_warning(lab: Lab) -> None:
    video = {"mimeType": "video/mp4", "data": PNG}
    parts = [{"text": "Here:"}, {"inlineData": video}, {"inlineData": video}]
    scene = sse({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})
    lab.play(scene)
    message = ask(lab, GEMINI)
    assert outcome(message) == ("stop", None, False)
    assert message.text == "Here:"
    assert codes(message) == ["content_omitted"]
    assert message.warnings[0].message.endswith("omitted: video/mp4")
