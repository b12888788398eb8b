"""Test messages, options and their serialization."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

import pipy_ai
from pipy_ai import (
    AbortController,
    AssistantMessage,
    Context,
    Message,
    SimpleStreamOptions,
    StopReason,
    StreamOptions,
    ThinkingContent,
    ToolResultMessage,
    UserMessage,
    assistant,
    complete,
    faux,
    stream,
    tool_result,
)
from pipy_ai.options import Options
from pipy_ai.types import now_ms

KEY = "sk-very-secret-0123456789"


PI_SESSION: dict[str, Any] = {
    "systemPrompt": "Be brief.",
    "messages": [
        {"role": "user", "content": "Hi", "timestamp": 1},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "thinkingSignature": "sig"},
                {"type": "text", "text": "Hello"},
                {"type": "toolCall", "id": "c1", "name": "f", "arguments": {"deep": [{"x": 1}]}},
            ],
            "api": "anthropic-messages",
            "provider": "anthropic",
            "model": "claude",
            "usage": {
                "input": 1, "output": 2, "cacheRead": 3, "cacheWrite": 4, "totalTokens": 10,
                "cacheWrite1h": 2,
                "cost": {"input": 0.1, "output": 0.2, "cacheRead": 0, "total": 0.3},
            },
            "stopReason": "toolUse",
            "timestamp": 2,
            "somethingNew": {"kept": True},
        },
        {
            "role": "toolResult", "toolCallId": "c1", "toolName": "f", "isError": False,
            "content": [{"type": "image", "data": "aGk=", "mimeType": "image/png"}], "timestamp": 3,
        },
    ],
    "tools": [{"name": "f", "description": "d", "parameters": {"type": "object"}}],
}  # fmt: skip


def within(small: Any, large: Any) -> bool:
    """Whether every value of `small` stands in `large`, at the same place."""
    if isinstance(small, dict):
        return all(key in large and within(value, large[key]) for key, value in small.items())
    if isinstance(small, list):
        return len(small) == len(large) and all(map(within, small, large))
    return bool(small == large)


def test_camel_case_of_pi_is_read_losslessly() -> None:
    context = Context.model_validate(PI_SESSION)
    answer = context.messages[1]
    assert isinstance(answer, AssistantMessage)
    assert answer.stop_reason is StopReason.TOOL_USE
    assert answer.usage.cache_read == 3
    assert answer.usage.cache_write_1h == 2
    assert isinstance(answer.content[0], ThinkingContent)
    assert answer.content[0].thinking_signature == "sig"
    again = json.loads(context.model_dump_json(by_alias=True, exclude_none=True))
    for was, now in zip(PI_SESSION["messages"], again["messages"], strict=True):
        assert within(was, now)
    assert again["messages"][1]["somethingNew"] == {"kept": True}


@pytest.mark.parametrize("by_alias", [False, True])
def test_round_trips_are_lossless(by_alias: bool) -> None:
    context = Context.model_validate(PI_SESSION)
    assert Context.model_validate_json(context.model_dump_json(by_alias=by_alias)) == context
    assert Context.model_validate(context.model_dump(by_alias=by_alias)) == context


def test_messages_are_discriminated_by_role_and_content_by_type() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Message)
    assert isinstance(adapter.validate_python({"role": "toolResult"}), ToolResultMessage)
    for wrong in ({"content": "no role"}, {"role": "narrator", "content": "x"}):
        with pytest.raises(ValidationError) as caught:
            adapter.validate_python(wrong)
        assert caught.value.error_count() == 1
    with pytest.raises(ValidationError):
        UserMessage(content=[{"type": "toolCall"}])  # type: ignore[list-item]


def test_unfinished_message_does_not_claim_success() -> None:
    assert AssistantMessage().stop_reason is None
    assert AssistantMessage.model_validate({"stopReason": "pending"}).stop_reason is None
    with faux.script(faux.reply("abc")):
        partials = [e.partial for e in stream("faux/m", "q") if e.type == "text_delta"]
    assert [p.stop_reason for p in partials] == [None]


def test_text_blocks_are_joined_without_a_separator() -> None:
    message = assistant("Hel", ThinkingContent(thinking="a"), "lo", ThinkingContent(thinking="b"))
    assert message.text == "Hello"
    assert message.thinking_text == "ab"


def test_error_details_are_json_serializable() -> None:
    result = tool_result("c1", "ok", details={"path": Path("/x"), "thing": object()})
    assert json.loads(result.model_dump_json())["details"]["path"] == "/x"


def test_key_is_never_shown() -> None:
    for options in (StreamOptions(api_key=KEY), SimpleStreamOptions(api_key=KEY)):  # type: ignore[arg-type]
        shown = [repr(options), str(options), repr(options.model_dump()), options.model_dump_json()]
        assert not any(KEY in text for text in shown)
        assert options.api_key is not None
        assert options.api_key.get_secret_value() == KEY
    headers = {"Authorization": f"Bearer {KEY}"}
    assert KEY not in repr(StreamOptions(headers=headers)) + repr(
        StreamOptions(headers=headers).model_dump()
    )
    with pytest.raises(ValidationError) as caught:
        StreamOptions(api_key=[KEY])  # type: ignore[arg-type]
    assert KEY not in str(caught.value)


def test_options_reject_unknown_fields() -> None:
    with pytest.raises(ValidationError, match="max_token"):
        StreamOptions(max_token=5)  # type: ignore[call-arg]


def test_keyword_options_are_the_fields_of_the_options() -> None:
    assert set(get_type_hints(Options)) == set(SimpleStreamOptions.model_fields)


def test_public_names_exist() -> None:
    for name in pipy_ai.__all__:
        assert getattr(pipy_ai, name) is not None
    assert callable(pipy_ai.stream)
    import pipy_ai.stream as _  # the module of that name does not take its place
    from pipy_ai import stream as verb
    from pipy_ai.stream import StartEvent

    assert callable(verb)
    assert StartEvent is pipy_ai.StartEvent
    with pytest.raises(AttributeError):
        _ = pipy_ai.nonsense


def test_new_messages_have_the_current_time() -> None:
    before = now_ms()
    made: list[Any] = [
        UserMessage(content="q"),
        AssistantMessage(),
        ToolResultMessage(tool_call_id="c"),
    ]
    stamps = [*(message.timestamp for message in made), complete("faux/echo", "q").timestamp]
    assert before > 1_700_000_000_000
    assert all(before <= stamp <= now_ms() for stamp in stamps)


def test_options_with_a_signal_can_be_copied() -> None:
    controller = AbortController()
    options = copy.deepcopy(StreamOptions(signal=controller.signal))
    controller.abort()
    assert complete("faux/echo", "q", options).stop_reason == "aborted"


@pytest.mark.parametrize(
    "name",
    ["CacheRetention", "SimpleStreamOptions", "StreamOptions", "ThinkingBudgets", "ThinkingLevel"],
)
def test_types_reexports_options(name: str) -> None:
    from pipy_ai import options, types

    assert getattr(types, name) is getattr(options, name)
    assert name in types.__all__


def test_parsed_without_output_says_what_to_do() -> None:
    message: Any = complete("faux/echo", "q")
    assert not hasattr(message, "parsed")
    with pytest.raises(AttributeError, match=r"pass `output=` with the request"):
        _ = message.parsed
    with pytest.raises(AttributeError, match=r"no attribute 'parse'"):
        _ = message.parse
    assert copy.deepcopy(message) == message
