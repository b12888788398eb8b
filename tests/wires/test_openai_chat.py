"""Test the Chat Completions wire."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    ImageContent,
    TextContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    complete,
    ctx,
    preview,
    stream,
    user,
)

from ..support.event_grammar import check_events
from ..support.scenarios import shape
from ..support.scripted_server import DONE, Lab, Status, call, chat, chunk, finish, sse, text
from ..support.wire_formats import CHAT, JSON_WIRES, WIRES, Wire

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with both transports."""
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


KEY = "sk-very-secret-0123456789"


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


def ask(lab: Lab, wire: Wire, **options: Any) -> AssistantMessage:
    options = {"api_key": KEY, "max_retries": 0, "api_base": wire.base(lab), **options}
    return check_events(list(stream(wire.model, "q", **options)))


def test_unstreamed_response(lab: Lab, transport: str) -> None:
    lab.play(
        Status(200, {"id": "r", "model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 1},
                     "choices": [{"message": {"role": "assistant", "content": "plain"},
                                  "finish_reason": "stop"}]}),
        Status(200, {"id": "r", "model": "m", "content": [{"type": "text", "text": "plain"}],
                     "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 1}}),
        Status(200, [{"candidates": [{"content": {"parts": [{"text": "plain"}]},
                                      "finishReason": "STOP"}], "responseId": "r"}]),
        Status(200, {"id": "r", "model": "m", "status": "completed", "output": [
            {"type": "message", "id": "i",
             "content": [{"type": "output_text", "text": "plain"}]}]}),
        Status(200, {"model": "m", "message": {"role": "assistant", "content": "plain"},
                     "done": True, "done_reason": "stop", "eval_count": 1}),
        Status(200, {"id": "r", "finish_reason": "COMPLETE", "message": {
            "role": "assistant", "content": [{"type": "text", "text": "plain"}]}}),
    )  # fmt: skip
    for wire in JSON_WIRES:
        if transport == "litellm" and not wire.litellm:
            continue
        message = ask(lab, wire)
        assert message.text == "plain"
        assert message.stop_reason == "stop"


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize(
    "odd", ['{"choices": [null]}', '{"choices": [{"delta": {"tool_calls": [null]}}]}', "[]", "7"]
)
def test_unexpected_json_shape_is_unreadable(lab: Lab, odd: str) -> None:
    lab.play(sse(chunk({"content": "half"}), odd))
    message = ask(lab, CHAT)
    assert message.text == "half"
    assert message.error is not None
    assert message.error.kind == "server"


@pytest.mark.usefixtures("transport")
def test_only_the_first_choice_is_read(lab: Lab) -> None:
    from ..support.scripted_server import chat, finish

    second = chunk({"content": "B"})
    second["choices"][0]["index"] = 1
    lab.play(chat(chunk({"content": "A"}), second, finish("stop")))
    assert ask(lab, CHAT).text == "A"


@pytest.mark.usefixtures("transport")
def test_usage_in_any_position(lab: Lab) -> None:
    counts = {"prompt_tokens": 9, "completion_tokens": 3}
    finish = chunk({}, finish_reason="stop")
    text = chunk({"content": "a"})
    inside = chunk({}, finish_reason="stop")
    inside["choices"][0]["usage"] = counts
    for events in (
        [text, chunk(choices=[], usage=counts), finish],  # before the finish
        [text, {**finish, "usage": counts}],  # with it
        [text, finish, chunk(choices=[], usage=counts)],  # after it
        [{**text, "usage": {"prompt_tokens": 9, "completion_tokens": 1}}, finish,
         chunk(choices=[], usage=counts)],  # twice
        [text, inside],  # in the choice
        [text, {**finish, "x_groq": {"usage": counts}}],  # Groq's own place
        [finish, text, chunk(choices=[], usage=counts)],  # content after the finish
    ):  # fmt: skip
        lab.play(sse(*events, DONE))
        message = ask(lab, CHAT)
        assert message.text == "a"
        assert (message.usage.input, message.usage.output) == (9, 3)
        assert not message.usage.estimated
    lab.play(sse(text, finish, DONE))
    assert ask(lab, CHAT).usage.estimated


@pytest.mark.usefixtures("transport")
def test_openrouter_reasoning_details_are_kept(lab: Lab) -> None:
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0},
        {"type": "reasoning.encrypted", "data": "opaque", "index": 1},
    ]
    lab.play(
        sse(
            chunk({"reasoning": "hm", "reasoning_details": details}), chunk({"content": "ok"}),
            chunk({}, finish_reason="stop"), DONE,
        )
    )  # fmt: skip
    first, second, last = ask(lab, CHAT).content
    assert first.type == second.type == "thinking"
    assert (first.thinking, first.thinking_signature) == ("hm", "s")
    assert second.redacted
    assert "opaque" in (second.thinking_signature or "")
    assert last.type == "text"


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize(
    "fields", [{"index": math.nan}, {"index": math.inf}, {"data": 5}, {"data": ["opaque"]}], ids=str
)
def test_openrouter_details_that_no_request_can_repeat_are_ignored(
    lab: Lab, fields: dict[str, Any]
) -> None:
    detail = {"type": "reasoning.encrypted", "data": "opaque", **fields}
    lab.play(
        sse(
            chunk({"reasoning": "hm", "reasoning_details": [detail]}), chunk({"content": "ok"}),
            chunk({}, finish_reason="stop"), DONE,
        )
    )  # fmt: skip
    assert shape(ask(lab, CHAT)) == [{"think": "hm"}, "ok"]


@pytest.mark.usefixtures("transport")
def test_mistral_content_parts_are_read(lab: Lab) -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    content = [thinking, {"type": "text", "text": "ok"}]
    lab.play(sse(chunk({"content": content}), chunk({}, finish_reason="stop"), DONE))
    assert shape(ask(lab, CHAT)) == [{"think": "hm"}, "ok"]


@pytest.mark.usefixtures("transport")
def test_arguments_as_an_object_are_read(lab: Lab) -> None:
    calls = [{"function": {"name": "f", "arguments": {"x": 1}}, "index": 0, "id": "a"}]
    lab.play(sse(chunk({"tool_calls": calls}), chunk({}, finish_reason="tool_calls"), DONE))
    assert shape(ask(lab, CHAT)) == [("f", {"x": 1})]
    old = chunk({"function_call": {"name": "f", "arguments": '{"x": 1}'}})
    lab.play(sse(old, chunk({}, finish_reason="function_call"), DONE))
    message = ask(lab, CHAT)
    assert (shape(message), message.stop_reason) == ([("f", {"x": 1})], "toolUse")


def test_max_tokens_parameter_of_an_unknown_openai_model(july: Any) -> None:
    """Those that reason refuse `max_tokens`; elsewhere only that is known."""
    body = preview("openai/o9-new", "q", max_tokens=10).body
    assert (body.get("max_completion_tokens"), body.get("max_tokens")) == (10, None)
    body = preview("openai/o9-new", "q", max_tokens=10, api_base="http://127.0.0.1/v1").body
    assert (body.get("max_completion_tokens"), body.get("max_tokens")) == (None, 10)


@pytest.mark.parametrize("model", ["openai/gpt-4o", "openai/gpt-5.4"])
def test_tool_choice_needs_tools(july: Any, model: str) -> None:
    """OpenAI refuses `tool_choice` without tools."""
    assert "tool_choice" not in preview(model, "q", tool_choice="auto").body
    given = {"tools": [{"type": "web_search"}]}  # of the provider's own
    assert preview(model, "q", tool_choice="auto", extra=given).body["tool_choice"] == "auto"


def _turn(*content: Any, **fields: Any) -> AssistantMessage:
    return AssistantMessage(content=list(content), **{"stop_reason": "stop", **fields})


def test_mistral_turn_order(july: Any) -> None:
    """It refuses a user after results ("Unexpected role 'user' after role 'tool'"), and to go on
    from an answer that is not marked as one to go on from."""
    call = _turn(ToolCall(id="a23456789", name="f"), stop_reason="toolUse")
    image = ImageContent(data="iVBORw0KGgo=", mime_type="image/png")
    result = ToolResultMessage(tool_call_id="a23456789", content=[image])
    shown = preview("mistral/mistral-medium-2604", ctx("q", call, result)).body["messages"]
    assert [m["role"] for m in shown] == ["user", "assistant", "tool", "assistant", "user"]
    assert shown[3]["content"]
    context = ctx("q", call, result.model_copy(update={"content": []}), user("No, stop."))
    shown = preview("mistral/mistral-medium-2604", context).body["messages"]
    assert [m["role"] for m in shown] == ["user", "assistant", "tool", "assistant", "user"]
    shown = preview("mistral/mistral-medium-2604", ctx("q", _turn(TextContent(text="Sure:"))))
    assert shown.body["messages"][-1]["prefix"] is True


def test_host_that_repeats_the_message_at_the_end(lab: Lab) -> None:
    whole = {"role": "assistant", "content": "Hello"}
    last = {"choices": [{"index": 0, "delta": {}, "message": whole, "finish_reason": "stop"}]}
    lab.play(chat(text("Hel", "lo"), [last]))
    assert complete("hosted_vllm/m", "q", api_base=lab.url).text == "Hello"


def test_thought_signature_is_sent_back_in_its_field(lab: Lab) -> None:
    """Gemini 3 behind an OpenAI-compatible host refuses its calls without them."""
    signed = call(0, "c1", "f", "{}")
    extra = {"google": {"thought_signature": "SIG"}}
    signed["choices"][0]["delta"]["tool_calls"][0]["extra_content"] = extra
    lab.play(chat(signed, finish("tool_calls")), chat(text("ok"), finish("stop")))
    message = complete("hosted_vllm/m", "q", api_base=lab.url)
    result = ToolResultMessage(tool_call_id="c1", tool_name="f")
    complete("hosted_vllm/m", ctx("q", message, result), api_base=lab.url)
    assert lab.seen[1].json["messages"][1]["tool_calls"][0]["extra_content"] == extra


def test_whole_response_of_unknown_shape(lab: Lab) -> None:
    lab.play([b'{"choices": ["x"]}'])
    error = complete("hosted_vllm/m", "q", api_base=lab.url, max_retries=0).error
    assert error is not None
    assert error.kind == "server"
    assert "cannot be read" in error.message


def test_openrouter_signatures_are_sent_back(lab: Lab, july: Any) -> None:
    """It refuses Gemini's calls without them, and Claude's thinking."""
    hidden = {"type": "reasoning.encrypted", "data": "E", "id": "c1", "format": "google-gemini-v1"}
    signed = {"type": "reasoning.text", "text": "hm", "signature": "S"}
    lab.play(
        chat(
            chunk({"reasoning": "hm", "reasoning_details": [signed]}), call(0, "c1", "f", "{}"),
            chunk({"reasoning_details": [hidden]}), finish("tool_calls"),
        ),
        chat(text("ok"), finish("stop")), chat(text("ok"), finish("stop")),
    )  # fmt: skip
    models = ["openrouter/google/gemini-3-flash-preview", "openrouter/anthropic/claude-sonnet-4.5"]
    context = ctx("q", tools=[Tool(name="f")])
    for model in models[:1] * 2 + models[1:]:
        message = complete(model, context, api_base=lab.url, api_key="k")
        assert message.error is None
        if message.tool_calls:
            context = ctx("q", message, ToolResultMessage(tool_call_id="c1", tool_name="f"))
    own, other = (seen.json["messages"][1] for seen in lab.seen[1:])
    assert own["reasoning_details"] == [signed, hidden]
    assert "reasoning_details" not in other
    assert "reasoning_content" not in {**own, **other}


@pytest.mark.parametrize("reason", ["insufficient_system_resource", "network_error"])
def test_finish_reasons_of_failures(lab: Lab, reason: str) -> None:
    lab.play(chat(text("half"), finish(reason)))
    message = complete("hosted_vllm/m", "q", api_base=lab.url, max_retries=0)
    assert message.error is not None
    assert message.error.kind == "server"
    assert message.text == "half"


@pytest.mark.usefixtures("july")
def test_openrouter_thinking_budget() -> None:
    sent = {}
    for level in ("low", "high"):
        found = preview("openrouter/anthropic/claude-sonnet-4.5", "q", reasoning=level, api_key="k")
        sent[level] = found.body["reasoning"]
    assert sent == {"low": {"max_tokens": 2048}, "high": {"max_tokens": 16384}}
