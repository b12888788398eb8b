"""Test how conversations are adapted to other providers, by rule and by strict validators."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipy_ai import (
    AssistantMessage,
    Context,
    ErrorInfo,
    ImageContent,
    Message,
    StopReason,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserMessage,
    assistant,
    complete,
    ctx,
    tool_result,
    user,
)
from pipy_ai.provider.conversation import (
    EMPTY_RESULT_TEXT,
    MISSING_RESULT_TEXT,
    OMITTED_IMAGE_TEXT,
    Target,
    adapt_messages,
)
from pipy_ai.provider.profiles import profile_for
from pipy_ai.provider.wires._openai_messages import chat_messages

from ..support.scripted_server import Lab
from ..support.vendor_rules import violations
from ..support.wire_formats import (
    ANTHROPIC,
    CHAT,
    COHERE,
    CONVERSE,
    GEMINI,
    OLLAMA,
    RESPONSES,
    Wire,
    redacted,
    say,
    think,
    tool,
)

TARGET = Target("openai", "gpt", "openai-completions")
PNG = ImageContent(data="iVBORw0KGgo=", mime_type="image/png")
LONG = "call_x|" + "aB+/=" * 90


def said(
    *parts: Any, provider: str = "openai", model: str = "gpt", **more: Any
) -> AssistantMessage:
    api = {"openai": "openai-completions", "anthropic": "anthropic-messages"}.get(provider, "")
    message = assistant(*parts)
    return message.model_copy(update={"provider": provider, "model": model, "api": api, **more})


def hand(*messages: Message, target: Target = TARGET) -> list[Message]:
    return adapt_messages(messages, target, lambda code, text: None)


def roles(messages: list[Message]) -> list[str]:
    return [message.role for message in messages]


def test_own_thinking_is_sent_back_and_other_thinking_is_not() -> None:
    signed = ThinkingContent(thinking="t", thinking_signature="s")
    plain = ThinkingContent(thinking="p")
    hidden = ThinkingContent(redacted=True, thinking_signature="r")
    call = ToolCall(id="c", name="f", thought_signature="x")
    turn = [signed, plain, hidden, TextContent(text="a", text_signature="ts"), call]
    [_, own, _] = hand(user("q"), said(*turn), tool_result(call, "ok"))
    assert isinstance(own, AssistantMessage)
    assert [part for part in own.content if part.type == "thinking"] == [signed, hidden]
    assert own.tool_calls[0].thought_signature == "x"
    for other in (said(*turn, model="gpt-2"), said(*turn, provider="anthropic")):
        [_, handed, _] = hand(user("q"), other, tool_result(call, "ok"))
        assert isinstance(handed, AssistantMessage)
        assert [part.type for part in handed.content] == ["text", "toolCall"]
        assert handed.content[0] == TextContent(text="a")
        assert handed.tool_calls[0].thought_signature is None
    as_text = Target("openai", "gpt-2", handoff_thinking="text")
    [_, kept, _] = hand(user("q"), said(*turn), tool_result(call, "ok"), target=as_text)
    assert isinstance(kept, AssistantMessage)
    assert kept.text == "tpa"


def test_plain_thinking_is_sent_back_where_supported() -> None:
    turn = said(ThinkingContent(thinking="p"), "a", provider="deepseek", model="r")
    for wants, there in ((True, "p"), (False, "")):
        [handed] = hand(turn, target=Target("deepseek", "r", unsigned_thinking=wants))
        assert isinstance(handed, AssistantMessage)
        assert handed.thinking_text == there


def test_failed_turns_are_dropped_and_aborted_turns_keep_their_text() -> None:
    call = ToolCall(id="c", name="f")
    failed = said("half", call, stop_reason=StopReason.ERROR, error=ErrorInfo())
    aborted = said(
        ThinkingContent(thinking="t", thinking_signature="s"), "so far", call,
        stop_reason=StopReason.ABORTED, error=ErrorInfo(),
    )  # fmt: skip
    silent = said(call, stop_reason=StopReason.ABORTED, error=ErrorInfo())
    out = hand(user("q"), failed, tool_result(call, "lost"), aborted, silent, user("go on"))
    assert roles(out) == ["user", "assistant", "user"]
    assert isinstance(out[1], AssistantMessage)
    assert out[1].content == [TextContent(text="so far")]


def test_every_call_is_followed_by_one_result() -> None:
    a, b, c = (ToolCall(id=name, name="f") for name in "abc")
    out = hand(
        user("q"), said(a, b), user("meanwhile"), tool_result(b, "B"), tool_result(a, "A"),
        tool_result(a, "again"), tool_result("ghost", "boo"), said(c),
    )  # fmt: skip
    assert roles(out) == ["user", "assistant", "toolResult", "toolResult", "user", "assistant",
                          "toolResult"]  # fmt: skip
    results = [m for m in out if isinstance(m, ToolResultMessage)]
    assert [(r.tool_call_id, r.content[0]) for r in results] == [
        ("a", TextContent(text="A")), ("b", TextContent(text="B")),
        ("c", TextContent(text=MISSING_RESULT_TEXT)),
    ]  # fmt: skip
    assert [r.is_error for r in results] == [False, False, True]


def test_repeated_id_in_two_turns_is_made_unique() -> None:
    call = ToolCall(id="same", name="f")
    out = hand(said(call), tool_result(call, "1"), said(call), tool_result(call, "2"))
    ids = [m.tool_call_id for m in out if isinstance(m, ToolResultMessage)]
    assert ids[0] == "same"
    assert len(set(ids)) == 2
    texts = [m.content[0].text for m in out if isinstance(m, ToolResultMessage)]  # type: ignore[union-attr]
    assert texts == ["1", "2"]


@pytest.mark.parametrize("provider", ["openai", "mistral", "anthropic"])
def test_ids_become_valid_and_stay_distinct(provider: str) -> None:
    ids = [LONG, LONG + "x", "a/b", "a|b", "ok_id", ""]
    calls = [ToolCall(id=identity, name="f") for identity in ids]
    messages = [said(*calls, provider="other"), *[tool_result(c, c.id or "none") for c in calls]]
    target = Target(provider, "m", tool_call_ids=profile_for(provider, provider).tool_call_ids)
    out = hand(*messages, target=target)
    turn = out[0]
    assert isinstance(turn, AssistantMessage)
    new = [call.id for call in turn.tool_calls]
    assert len(set(new)) == len(ids)
    assert [m.tool_call_id for m in out[1:] if isinstance(m, ToolResultMessage)] == new
    for identity in new:
        assert identity.replace("_", "").isalnum()
        assert len(identity) == 9 if provider == "mistral" else len(identity) <= 40
    assert [c.id for c in calls] == ids
    assert hand(*messages, target=target) == out


def test_empty_content_is_dropped() -> None:
    call = ToolCall(id="c", name="f")
    out = hand(
        user(" \n\t "), UserMessage(content=[]), user("q"), said(), said("  "), said(call),
        ToolResultMessage(tool_call_id="c", content=[]),
        UserMessage(content=[TextContent(text=""), TextContent(text="x")]),
    )  # fmt: skip
    assert roles(out) == ["user", "assistant", "toolResult", "user"]
    assert out[2].content == [TextContent(text=EMPTY_RESULT_TEXT)]
    assert out[3].content == [TextContent(text="x")]


def test_images_become_text_for_models_without_vision() -> None:
    call = ToolCall(id="c", name="f")
    warnings: list[str] = []
    messages = [user("look", PNG, PNG), said(call), tool_result(call, PNG)]
    blind = Target("openai", "gpt", accepts_images=False)
    out = adapt_messages(messages, blind, lambda code, text: warnings.append(code))
    assert out[0].content == [TextContent(text="look"), TextContent(text=OMITTED_IMAGE_TEXT)]
    assert out[2].content == [TextContent(text=OMITTED_IMAGE_TEXT)]
    assert set(warnings) == {"image_omitted"}


def test_images_of_results_follow_all_results() -> None:
    a, b = ToolCall(id="a", name="f"), ToolCall(id="b", name="f")
    out = chat_messages(None, hand(
        user("q"), said(a, b), tool_result(a, "one", PNG), tool_result(b, PNG), user("and?")
    ))  # fmt: skip
    assert [m["role"] for m in out] == ["user", "assistant", "tool", "tool", "user", "user"]
    assert [m["content"] for m in out[2:4]] == ["one", "(see attached image)"]
    assert [part["type"] for part in out[4]["content"]] == ["image_url", "image_url"]


def test_surrogates_are_cleaned_everywhere() -> None:
    call = ToolCall(id="c", name="f", arguments={"k\ud83d": ["\ude00", "\ud83d\ude00"]})
    out = hand(user("a\ud83d"), said("b\ude00", call), tool_result(call, "c\ud83d"))
    json.dumps(chat_messages("s\ud83d", out), ensure_ascii=False).encode("utf-8")


def test_callers_messages_are_not_modified() -> None:
    call = ToolCall(id=LONG, name="f", arguments={"x": [1]})
    messages: list[Message] = [user("q", PNG), said(call), tool_result(call, "r")]
    before = [message.model_copy(deep=True) for message in messages]
    out = hand(*messages, target=Target("other", "m", accepts_images=False))
    for message in out:
        message.content = []
    assert messages == before


PARTS = st.one_of(
    st.builds(TextContent, text=st.sampled_from(["", " ", "hi"])),
    st.builds(
        ThinkingContent, thinking=st.sampled_from(["", "t"]),
        thinking_signature=st.none() | st.just("s"), redacted=st.booleans(),
    ),
    st.builds(ToolCall, id=st.sampled_from(["a", "b", LONG, ""]), name=st.just("f")),
)  # fmt: skip
MESSAGES = st.lists(
    st.one_of(
        st.builds(user, st.sampled_from(["", "q"])),
        st.builds(
            lambda parts, provider, stop: said(*parts, provider=provider, stop_reason=stop),
            st.lists(PARTS, max_size=4), st.sampled_from(["openai", "anthropic"]),
            st.sampled_from([None, StopReason.STOP, StopReason.ERROR, StopReason.ABORTED]),
        ),
        st.builds(
            tool_result, st.sampled_from(["a", "b", LONG, "ghost", ""]),
            st.sampled_from(["", "r"]),
        ),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(MESSAGES)
def test_adapted_conversation_is_valid_for_any_history(messages: list[Message]) -> None:
    before = [message.model_copy(deep=True) for message in messages]
    out = hand(*messages)
    assert messages == before
    body = {"messages": chat_messages(None, out)}
    assert violations("/chat/completions", body) == []
    # As the conversation grows, what was said before stays as it was, byte for byte.
    if out and out[-1].role != "toolResult":
        longer = chat_messages(None, hand(*messages, user("more")))
        assert longer[: len(body["messages"])] == body["messages"]


# --- On every wire -------------------------------------------------------------------------

TOOLS = [Tool(name="look", description="d", parameters={"type": "object", "properties": {}})]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_fifty_turns_across_providers_are_valid_for_all(lab: Lab) -> None:
    wires: list[Wire] = [ANTHROPIC, RESPONSES, GEMINI, CHAT, COHERE, OLLAMA, CONVERSE]
    count = len(wires)
    context: Context = ctx("Begin.", system="Be brief.", tools=TOOLS)
    own: dict[str, set[str]] = {wire.name: set() for wire in wires}
    for turn in range(50):
        wire = wires[turn % count if turn % 8 < 6 else turn // 8 % count]  # at times twice running
        signature = f"sig{turn}=="
        call_id = ["", LONG + str(turn), "same", f"functions.look:{turn}"][turn % 4]
        steps: list[Any] = [think(f"thought {turn}", signature=signature)]
        if wire.redacts:
            steps.append(redacted(f"redacted{turn}"))
            own[wire.name].add(f"redacted{turn}")
        steps += [say(f"answer {turn}"), tool(call_id, "look", "{}", signature=signature)]
        if turn % 3 == 0:
            steps.append(tool(call_id, "look", '{"x": 1}'))
        lab.play(wire.scene(*steps, stop="tool"))
        before = context.model_copy(deep=True)
        message = complete(wire.model, context, api_base=wire.base(lab), api_key="k")
        assert message.error is None, message.error
        assert context == before
        assert violations(lab.seen[-1].path, lab.seen[-1].json, own[wire.name]) == [], turn
        own[wire.name].add(signature)
        own[wire.name] |= {call.id for call in message.tool_calls if len(call.id) <= 64}
        context.messages.append(message)
        for number, call in enumerate(message.tool_calls):
            if turn % 5 or number:  # some are never answered
                context.messages.append(tool_result(call, f"seen {turn}", PNG))
        context.messages.append(user(f"Turn {turn}?", PNG) if turn % 2 else user("And?"))
    text = json.dumps(lab.seen[-1].json, ensure_ascii=False)
    assert all(f"answer {turn}" in text for turn in range(49))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "wire", [ANTHROPIC, RESPONSES, GEMINI, CONVERSE], ids=lambda wire: wire.name
)
def test_signatures_return_to_their_own_wire(lab: Lab, wire: Wire) -> None:
    lab.play(wire.scene(think("t", signature="c2ln"), tool("c1", "look", "{}", signature="c2ln"),
                        stop="tool"))  # fmt: skip
    options: dict[str, Any] = {"api_base": wire.base(lab), "api_key": "k"}
    context = ctx("q", tools=TOOLS)
    first = complete(wire.model, context, **options)
    context.messages += [first, tool_result(first.tool_calls[0], "ok")]
    lab.play(wire.scene(say("done")))
    assert complete(wire.model, context, **options).text == "done"
    assert "c2ln" in json.dumps(lab.seen[-1].json)
    assert violations(lab.seen[-1].path, lab.seen[-1].json, {"c2ln"}) == []
    lab.play(CHAT.scene(say("done")))
    complete(CHAT.model, context, api_base=lab.url)
    assert "c2ln" not in json.dumps(lab.seen[-1].json)
