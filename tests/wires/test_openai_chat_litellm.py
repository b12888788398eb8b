"""Test Chat Completions streams that are decoded here and by LiteLLM."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai import AssistantMessage, assistant, ctx, stream

from ..support.chat_scenarios import CASES, shape
from ..support.event_grammar import check_events
from ..support.scripted_server import Lab, Status, call, chat, chunk, finish, text, usage

pytestmark = [
    pytest.mark.litellm,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(params=["hosted_vllm/m", "azure/m"])
def model(request: pytest.FixtureRequest) -> str:
    """A model that is decoded here, and one that LiteLLM decodes."""
    return str(request.param)


def asked(lab: Lab, model: str, prompt: Any = "q") -> tuple[list[str], AssistantMessage]:
    options: dict[str, Any] = {"api_base": lab.url}
    if model.startswith("azure/"):
        options = {"api_base": lab.url.removesuffix("/v1"), "transport": "litellm"}
    events = list(stream(model, prompt, api_key="k", max_retries=0, **options))
    return [event.type for event in events], check_events(events)


LEFT_TO_LITELLM = [
    "one call in fragments", "interleaved calls", "think text think text",
    "thinking and text in one chunk", "calls without arguments", "a cut stream",
    "calls with the reason stop", "a call without an id", "content filter", "zero chunks",
    "truncated arguments", "null for arguments", "text, two calls, text", "an empty first chunk",
]  # fmt: skip


@pytest.mark.parametrize("name", LEFT_TO_LITELLM)
def test_hard_streams(lab: Lab, name: str) -> None:
    case = CASES[name]
    lab.play(case.scene)
    _, message = asked(lab, "azure/m")
    assert message.api == "litellm"
    assert shape(message) == case.content
    assert message.stop_reason == case.stop
    assert (message.error.kind if message.error else None) == case.kind


def test_call_with_a_null_function(lab: Lab, model: str) -> None:
    null = chunk({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": None}]})
    lab.play(chat(null, call(0, None, "f", '{"x": 1}'), finish("tool_calls")))
    _, message = asked(lab, model)
    assert shape(message) == [("f", {"x": 1})]
    assert message.stop_reason == "toolUse"


def test_usage_after_the_finish_keeps_the_stop_reason(lab: Lab, model: str) -> None:
    lab.play(chat(text("a"), finish("length"), usage(3, 2)))
    _, message = asked(lab, model)
    assert message.stop_reason == "length"
    assert (message.usage.input, message.usage.output) == (3, 2)


@pytest.mark.parametrize(
    ("reason", "stop"),
    [("content_filter", "error"), ("error", "error"), ("model_length", "length")],
)
def test_failure_stop_reason_is_no_success(lab: Lab, model: str, reason: str, stop: str) -> None:
    lab.play(chat(text("half"), finish(reason)))
    _, message = asked(lab, model)
    assert (message.text, message.stop_reason) == ("half", stop)


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_rejected_request_never_starts(lab: Lab, model: str, status: int) -> None:
    lab.play(Status(status, {"error": {"message": "no"}}))
    kinds, message = asked(lab, model)
    assert kinds == ["error"]
    assert message.content == []


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "reasoning_text"])
def test_thinking_field_names(lab: Lab, name: str) -> None:
    lab.play(chat(chunk({name: "h"}), chunk({name: "m"}), text("ok"), finish("stop")))
    _, message = asked(lab, "hosted_vllm/m")
    assert shape(message) == [{"think": "hm"}, "ok"]


def test_text_blocks_are_sent_back_joined(lab: Lab, model: str) -> None:
    asked(lab, model, ctx("q", assistant("Hel", "lo"), "and?"))
    assert lab.seen[0].json["messages"][1] == {"role": "assistant", "content": "Hello"}
