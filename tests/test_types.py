"""The vocabulary: what goes in comes out again, and no key ever does."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

import pipy_ai
from pipy_ai import (
    AssistantMessage,
    AssistantMessageEvent,
    Context,
    Cost,
    ErrorInfo,
    ErrorKind,
    ImageContent,
    Message,
    SimpleStreamOptions,
    StopReason,
    StreamOptions,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
    Usage,
    UserMessage,
    assistant,
    ctx,
    faux,
    image,
    stream,
    tool_result,
    user,
)
from pipy_ai._requests import Options
from pipy_ai.utils.construct import construct_unchecked

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
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


def test_pis_camel_case_is_read_and_nothing_is_lost() -> None:
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


def test_messages_are_told_apart_by_role_and_content_by_type() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Message)
    assert isinstance(adapter.validate_python({"role": "toolResult"}), ToolResultMessage)
    for wrong in ({"content": "no role"}, {"role": "narrator", "content": "x"}):
        with pytest.raises(ValidationError) as caught:
            adapter.validate_python(wrong)
        assert caught.value.error_count() == 1
    with pytest.raises(ValidationError):
        UserMessage(content=[{"type": "toolCall"}])  # type: ignore[list-item]


def test_an_answer_under_way_claims_no_success() -> None:
    assert AssistantMessage().stop_reason is None
    assert AssistantMessage.model_validate({"stopReason": "pending"}).stop_reason is None
    with faux.script(faux.reply("abc")):
        partials = [e.partial for e in stream("faux/m", "q") if e.type == "text_delta"]
    assert [p.stop_reason for p in partials] == [None]


def test_text_joins_without_a_seam() -> None:
    message = assistant("Hel", ThinkingContent(thinking="a"), "lo", ThinkingContent(thinking="b"))
    assert message.text == "Hello"
    assert message.thinking_text == "ab"


def test_details_of_any_kind_can_be_written_as_json() -> None:
    result = tool_result("c1", "ok", details={"path": Path("/x"), "thing": object()})
    assert json.loads(result.model_dump_json())["details"]["path"] == "/x"


def test_the_key_is_nowhere_to_be_seen() -> None:
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


def test_options_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValidationError, match="max_token"):
        StreamOptions(max_token=5)  # type: ignore[call-arg]


def test_the_keywords_of_the_verbs_are_the_fields_of_the_options() -> None:
    assert set(get_type_hints(Options)) == set(SimpleStreamOptions.model_fields)


def test_public_names_are_all_there() -> None:
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


def test_events_are_a_discriminated_union_and_read_back_from_json() -> None:
    with faux.script(faux.reply(faux.thinking("t"), "x", faux.tool("f", a=1))):
        events = list(stream("faux/m", "q"))
    adapter: TypeAdapter[Any] = TypeAdapter(AssistantMessageEvent)
    for event in events:
        line = json.dumps(event.to_dict(partial=True))
        assert adapter.validate_python(json.loads(line)) == event
        assert "partial" not in event.to_dict()


# --- Builders -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "image/jpeg"),
        (b"GIF89a" + bytes(20), "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x1cftypavif" + bytes(8), "image/avif"),
        (b"\0\0\0\x1cftypheic" + bytes(8), "image/heic"),
    ],
)
def test_images_are_known_by_their_bytes(data: bytes, mime_type: str, tmp_path: Path) -> None:
    misnamed = tmp_path / "picture.txt"
    misnamed.write_bytes(data)
    for found in (image(data), image(misnamed), image(str(misnamed))):
        assert found.mime_type == mime_type
        assert found.data


def test_what_is_no_image_is_refused_with_its_path(tmp_path: Path) -> None:
    fake = tmp_path / "cat.png"
    fake.write_text("not an image")
    with pytest.raises(ValueError, match=r"cat\.png is not an image"):
        image(fake)
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        user("look", tmp_path / "gone.png")
    with pytest.raises(IsADirectoryError, match="directory"):
        image(tmp_path)
    with pytest.raises(ValueError, match="data: URL"):
        image("data:image/png;base64,###")


def test_user_takes_text_and_images_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    message = user(image(PNG), "What is this?", str(path), "https://example.com/cat.png")
    assert [part.type for part in message.content] == ["image", "text", "image", "image"]  # type: ignore[union-attr]
    last = message.content[-1]
    assert isinstance(last, ImageContent)
    assert last.url == "https://example.com/cat.png"
    with pytest.raises(ValueError, match="needs a text"):
        user()


def test_contexts_and_results() -> None:
    call = ToolCall(id="c1", name="f")
    context = ctx("Hi", assistant(call), tool_result(call, "a", 7, {"b": 1}), system="s")
    assert [m.role for m in context.messages] == ["user", "assistant", "toolResult"]
    result = context.messages[2]
    assert isinstance(result, ToolResultMessage)
    assert (result.tool_call_id, result.tool_name) == ("c1", "f")
    assert [p.text for p in result.content if isinstance(p, TextContent)] == ["a", "7", '{"b": 1}']
    assert assistant(call).stop_reason == "toolUse"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (AssistantMessage, {"content": [TextContent(text="a")], "model": "m", "timestamp": 1}),
        (Usage, {"input": 1}), (Cost, {}), (TextContent, {"text": "a"}),
        (ThinkingContent, {"thinking": "a"}), (ErrorInfo, {"kind": ErrorKind.AUTH}),
        (ToolCall, {"id": "1", "name": "f", "arguments": {"a": 1}}),
        (UserMessage, {"content": "a", "timestamp": 1}), (Context, {"system_prompt": "a"}),
    ],
)  # fmt: skip
def test_a_model_that_is_made_is_the_model_that_is_checked(kind: Any, fields: Any) -> None:
    fast, slow = construct_unchecked(kind, **fields), kind(**fields)
    assert fast == slow
    assert repr(fast) == repr(slow)
    assert fast.model_dump_json() == slow.model_dump_json()
    assert fast.model_fields_set == slow.model_fields_set
    assert pickle.loads(pickle.dumps(fast)) == slow
    assert fast.model_copy(deep=True) == slow
    fast.more = 1  # fields of other versions are kept
    assert fast.model_dump()["more"] == 1
    other = construct_unchecked(kind, **fields)
    for name in set(kind.model_fields) - set(fields):  # no default is shared
        mine = getattr(other, name)
        assert not isinstance(mine, list | dict | Usage | Cost) or mine is not getattr(fast, name)


@pytest.mark.parametrize(
    "name",
    ["CacheRetention", "SimpleStreamOptions", "StreamOptions", "ThinkingBudgets", "ThinkingLevel"],
)
def test_types_reexports_options(name: str) -> None:
    from pipy_ai import options, types

    assert getattr(types, name) is getattr(options, name)
    assert name in types.__all__
