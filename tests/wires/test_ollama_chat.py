"""Test Ollama's own API: requests, and what its server sends."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
    AssistantMessage,
    Model,
    ModelLimits,
    complete,
    ctx,
    preview,
    stream,
    tool,
    tool_result,
    user,
)
from pipy_ai.types import (
    AssistantContent,
    ImageContent,
    TextContent,
    ThinkingContent,
    ToolCall,
    UserMessage,
)

from ..support.event_grammar import check_events
from ..support.scripted_server import FIN, Lab, Status
from ..support.wire_formats import OLLAMA, json_line, say, think
from ..support.wire_formats import tool as call

MODEL = "ollama/qwen3"
PNG = "iVBORw0KGgo="


def ask(lab: Lab, *lines: Any, **options: Any) -> AssistantMessage:
    lab.play([line if isinstance(line, bytes | str) else json_line(line) for line in lines])
    options = {"api_base": OLLAMA.base(lab), "max_retries": 0, **options}
    return check_events(list(stream(MODEL, "q", **options)))


def body(prompt: Any = "q", model: Any = MODEL, **options: Any) -> dict[str, Any]:
    shown = preview(model, prompt, **options)
    assert shown.url.endswith("/api/chat")
    return shown.body


def line(content: str = "", **fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **fields.pop("message", {})}
    return {"model": "qwen3", "created_at": "now", "message": message, "done": False, **fields}


DONE = {"done": True, "done_reason": "stop"}
COUNTS = {"prompt_eval_count": 12, "eval_count": 3}

# --- Requests -------------------------------------------------------------------------------


def test_plain_request() -> None:
    assert body(ctx("q", system="Be brief.")) == {
        "model": "qwen3",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "q"},
        ],
        "stream": True,
        "truncate": False,
        "shift": False,
    }


def test_options_and_extra_fields_are_merged() -> None:
    extra = {
        "keep_alive": "1h",
        "num_gpu": 1,
        "options": {"repeat_penalty": 1.1, "temperature": 0.1},
    }
    sent = body(temperature=0.5, top_k=3, seed=7, stop="X", max_tokens=9, extra=extra)
    assert sent["keep_alive"] == "1h"
    assert sent["options"] == {
        "temperature": 0.1, "top_k": 3, "seed": 7, "stop": ["X"], "num_predict": 9, "num_gpu": 1,
        "repeat_penalty": 1.1,
    }  # fmt: skip
    assert "num_gpu" not in sent
    assert body(extra={"think": "high", "options": None})["think"] == "high"


def test_fields_of_openai_are_translated_by_litellm(lab: Lab) -> None:
    lab.play(OLLAMA.scene(say("{}")))
    extra = {"response_format": {"type": "json_object"}}
    complete(MODEL, "q", api_base=OLLAMA.base(lab), extra=extra)
    assert lab.seen[0].json["format"] == "json"


@tool
def look(city: str) -> str:
    """Look out of the window."""
    return "sunny"


def test_conversation_with_tools_and_images() -> None:
    calls = [ToolCall(id="call_1", name="look", arguments={"city": "Zürich"})]
    said: list[AssistantContent] = [
        ThinkingContent(thinking="hm"), TextContent(text="Let me see."), *calls,
    ]  # fmt: skip
    image = ImageContent(data=PNG, mime_type="image/png")
    messages = [
        UserMessage(content=[TextContent(text="What is it?"), image, TextContent(text="Well?")]),
        AssistantMessage(content=said, provider="ollama", model="qwen3", api="ollama-chat"),
        tool_result(calls[0], "sunny", image),
        user("Thanks."),
    ]
    sent = body(ctx(*messages, tools=[look]))
    function = {"name": "look", "arguments": {"city": "Zürich"}}
    assert sent["messages"] == [
        {"role": "user", "content": "What is it?\nWell?", "images": [PNG]},
        {
            "role": "assistant",
            "content": "Let me see.",
            "thinking": "hm",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny", "tool_name": "look"},
        {"role": "user", "content": "", "images": [PNG]},
        {"role": "user", "content": "Thanks."},
    ]
    assert [one["function"]["name"] for one in sent["tools"]] == ["look"]
    assert "tool_choice" not in sent
    assert "tools" not in body(ctx(*messages, tools=[look]), tool_choice="none")
    forced = preview(MODEL, ctx("q", tools=[look]), tool_choice="required")
    assert [warning.code for warning in forced.warnings] == ["tool_choice_changed"]


def test_thinking_of_another_model_is_not_sent() -> None:
    said = [ThinkingContent(thinking="hm", thinking_signature="sig"), TextContent(text="a")]
    other = AssistantMessage(content=said, provider="anthropic", model="c", api="x")
    assert body(ctx("q", other, "go on"))["messages"][1] == {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("model", "level", "sent", "warning"),
    [
        (MODEL, None, None, ""),
        (MODEL, "off", False, ""),
        (MODEL, "low", "low", ""),
        (MODEL, "medium", "medium", ""),
        (MODEL, "high", "high", ""),
        (MODEL, "max", "max", ""),
        (MODEL, "minimal", "low", "reasoning_changed"),
        (MODEL, "xhigh", "high", "reasoning_changed"),
        ("ollama/gpt-oss:20b", "off", "low", "reasoning_changed"),
        ("ollama/gpt-oss:20b", "max", "high", "reasoning_changed"),
    ],
)
def test_thinking_levels(model: str, level: Any, sent: Any, warning: str) -> None:
    shown = preview(model, "q", reasoning=level)
    assert shown.body.get("think") == sent
    assert [one.code for one in shown.warnings] == ([warning] if warning else [])


def test_model_with_a_switch_for_thinking() -> None:
    model = Model(provider="ollama", id="qwen3", reasoning_options=[{"type": "toggle"}])
    assert body(model=model, reasoning="high")["think"] is True
    assert body(model=model, reasoning="off")["think"] is False


class Weather(BaseModel):
    """Weather."""

    sky: str


def test_schema_is_the_format() -> None:
    assert body(output=Weather)["format"]["properties"] == {"sky": {"type": "string"}}
    with_tools = body(ctx("q", tools=[look]), output=Weather)
    assert "format" not in with_tools  # no tool could be called
    assert "JSON Schema" in with_tools["messages"][0]["content"]


@pytest.mark.parametrize(
    ("words", "options", "expected"),
    [
        (10, {}, None),
        (10, {"max_tokens": 3000}, None),
        (10, {"max_tokens": 5000}, 8192),
        (10, {"reasoning": "off"}, None),
        (10, {"reasoning": "high"}, 8192),
        (3_000, {}, 8192),
        (10_000, {}, 32_768),
        (300_000, {}, 1 << 20),
        (300_000, {"extra": {"num_ctx": 5000}}, 5000),
        (10, {"extra": {"options": {"num_ctx": 2048}}}, 2048),
    ],
)
def test_context_is_large_enough_for_the_prompt(
    words: int, options: dict[str, Any], expected: int | None
) -> None:
    assert body("word " * words, **options).get("options", {}).get("num_ctx") == expected


def test_context_is_bounded_by_that_of_the_model_and_needless_in_the_cloud(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompt = "word " * 10_000
    small = Model(provider="ollama", id="m", limits=ModelLimits(context=20_000))
    assert body(prompt, small)["options"] == {"num_ctx": 20_000}
    for model in ("ollama/gpt-oss:120b-cloud", "ollama/kimi-k2.5:cloud"):
        assert "options" not in body(prompt, model)
    assert "options" not in body(prompt, api_base="https://ollama.com")
    monkeypatch.setenv("OLLAMA_CONTEXT_LENGTH", "65536")  # of the server
    assert "options" not in body(prompt)
    monkeypatch.setenv("OLLAMA_CONTEXT_LENGTH", "0")  # automatic
    assert body(prompt)["options"] == {"num_ctx": 32_768}


# --- Responses ------------------------------------------------------------------------------


def test_thinking_text_and_usage(lab: Lab) -> None:
    message = ask(
        lab,
        line(message={"thinking": "h"}),
        line(message={"thinking": "m"}),
        line("Hel"),
        line("lo"),
        line(**DONE, **COUNTS, total_duration=5_000_000_000, load_duration=1_500_000),
    )
    assert message.server_timings_ms == {"load": 1.5, "total": 5000.0}
    assert (message.thinking_text, message.text) == ("hm", "Hello")
    assert (message.stop_reason, message.raw_stop_reason) == ("stop", "stop")
    assert (message.usage.input, message.usage.output) == (12, 3)
    assert not message.usage.estimated
    assert (message.api, message.response_model) == ("ollama-chat", "qwen3")


@pytest.mark.parametrize("identity", ["call_ab12cd34", None])
def test_calls_come_whole_and_may_have_no_id(lab: Lab, identity: str | None) -> None:
    """The server gives every call the index 0 in some versions."""
    one = {"function": {"index": 0, "name": "look", "arguments": {"city": "A"}}}
    two = {"function": {"index": 0, "name": "look", "arguments": {"city": "B"}}}
    calls = [one | {"id": identity}, two] if identity else [one, two]
    message = ask(lab, line(message={"tool_calls": calls}), line(**DONE, **COUNTS))
    assert [one.arguments for one in message.tool_calls] == [{"city": "A"}, {"city": "B"}]
    assert message.stop_reason == "toolUse"  # although the server says "stop"
    ids = [one.id for one in message.tool_calls]
    assert len(set(ids)) == 2
    assert identity is None or ids[0] == identity


def test_last_line_may_carry_everything(lab: Lab) -> None:
    calls = [{"id": "c1", "function": {"name": "look", "arguments": {}}}]
    fields = {"thinking": "hm", "tool_calls": calls}
    message = ask(lab, line("a"), line("b", message=fields, **DONE, **COUNTS))
    assert (message.text, message.thinking_text) == ("ab", "hm")
    assert [one.name for one in message.tool_calls] == ["look"]
    assert message.error is None


@pytest.mark.parametrize(
    ("counts", "usage", "estimated"),
    [
        ({"prompt_eval_count": 7, "eval_count": 2}, (7, 2), False),
        ({"prompt_eval_count": 7}, (7, 0), False),  # counts of 0 are left out
        ({"eval_count": 2}, (1, 2), True),  # the whole prompt was cached
    ],
)
def test_missing_counts(
    lab: Lab, counts: dict[str, int], usage: tuple[int, int], estimated: bool
) -> None:
    message = ask(lab, line("Hi"), line(**DONE, **counts))
    assert (message.usage.input, message.usage.output) == usage
    assert message.usage.estimated is estimated


@pytest.mark.parametrize(
    ("reason", "stop", "kind"),
    [
        ("stop", "stop", None),
        ("length", "length", None),
        (None, "stop", None),  # of old servers
        ("load", "error", "incomplete"),
        ("unload", "error", "incomplete"),
    ],
)
def test_done_reasons(lab: Lab, reason: str | None, stop: str, kind: str | None) -> None:
    ending = {"done": True} | ({"done_reason": reason} if reason else {})
    message = ask(lab, line("a"), line(**ending))
    assert message.stop_reason == stop
    assert (message.error and message.error.kind) == kind


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"error": "an error was encountered while running the model: broken"}, "server"),
        ({"error": "model runner has unexpectedly stopped"}, "server"),
        ({"error": "too many requests", "status": 429}, "rate_limit"),
        ({"error": "rejected", "status": 400}, "bad_request"),
    ],
)
@pytest.mark.parametrize("newline", [b"\n", b""])
def test_error_line_after_content(
    lab: Lab, fields: dict[str, Any], kind: str, newline: bytes
) -> None:
    message = ask(lab, line("half"), json_line(fields).rstrip() + newline)
    assert message.error is not None
    assert message.error.kind == kind
    assert fields["error"] in message.error.message
    assert message.text == "half"


@pytest.mark.parametrize("end", [[], [FIN], ['{"mess']])
def test_stream_without_its_last_line_is_incomplete(lab: Lab, end: list[Any]) -> None:
    message = ask(lab, line("half"), *(part if part == FIN else str(part).encode() for part in end))
    assert message.error is not None
    assert message.error.kind == "incomplete"
    assert message.text == "half"


INNER = (
    '{"error":{"code":400,"message":"request (8889 tokens) exceeds the available context size '
    '(4096 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":8889,'
    '"n_ctx":4096}}'
)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (INNER, "request (8889 tokens) exceeds the available context size (4096 tokens)"),
        (
            "the prompt is longer than the context length currently available to the model; "
            "shorten it",
            "longer than the context length",
        ),
    ],
)
def test_prompt_that_does_not_fit(lab: Lab, error: str, shown: str) -> None:
    lab.play(Status(400, {"error": error}))
    message = complete(MODEL, "q", api_base=OLLAMA.base(lab), max_retries=0)
    assert message.error is not None
    assert message.error.kind == "context_overflow"
    assert shown in message.error.message
    assert not message.error.message.startswith("{")


def test_a_body_in_one_piece(lab: Lab) -> None:
    lab.play(Status(200, line("plain", **DONE, **COUNTS)))
    message = complete(MODEL, "q", api_base=OLLAMA.base(lab))
    assert (message.text, message.error) == ("plain", None)


def test_go_escapes_and_raw_controls(lab: Lab) -> None:
    text = "<b> & </b>\u2028\u2029\u0085 end"
    lab.play(OLLAMA.scene(think(text), say(text), call("c1", "f", f'{{"x": "{text}"}}')))
    message = complete(MODEL, "q", api_base=OLLAMA.base(lab))
    assert (message.thinking_text, message.text) == (text, text)
    assert message.tool_calls[0].arguments == {"x": text}
