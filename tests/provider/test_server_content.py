"""Test calls of the provider's tools, citations, images and audio: deltas, events, messages."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    AudioContent,
    Context,
    ImageContent,
    ServerTool,
    ServerToolCall,
    ServerToolResult,
    TextContent,
    ToolCall,
    UserMessage,
    code_execution,
    event_from_dict,
    file_search,
    mcp_server,
    preview,
    web_search,
)
from pipy_ai.events import AssistantMessageEvent
from pipy_ai.provider.assembler import Assembler
from pipy_ai.provider.conversation import Target, adapt_messages
from pipy_ai.provider.deltas import (
    AudioData,
    CitationReport,
    Delta,
    Finish,
    ImageData,
    ServerToolFragment,
    ServerToolOutput,
    Text,
)

from ..support.event_grammar import check_events

CALL = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "a"}}
RESULT = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
SEARCH: list[Delta] = [
    Text("Wait.", 0),
    ServerToolFragment(1, "s1", "web_search", '{"que'),
    ServerToolFragment(1, arguments='ry": "a"}'),
    ServerToolFragment(1, raw=CALL),
    ServerToolOutput("s1", "web_search", sources=[CitationReport(source="https://a")], raw=RESULT),
    Text("Yes", 3),
    CitationReport(source="https://a", whole_block=True, block=3),
    Text(", it is.", 3),
]


def play(deltas: Sequence[Delta]) -> tuple[list[AssistantMessageEvent], AssistantMessage]:
    assembler = Assembler(api="anthropic-messages", provider="anthropic", model="m")
    events: list[AssistantMessageEvent] = [assembler.start()]
    for delta in [*deltas, Finish("stop")]:
        assembler.feed([delta], events)
    events += assembler.finish()
    return events, check_events(events)


def test_search_with_a_citation() -> None:
    events, message = play(SEARCH)
    kinds = [event.type for event in events if "start" not in event.type]
    assert kinds == [
        "text_delta", "text_end", "servertool_delta", "servertool_delta", "servertool_end",
        "servertool_result", "text_delta", "citation", "text_delta", "text_end", "done",
    ]  # fmt: skip
    _, call, result, answer = message.content
    assert isinstance(call, ServerToolCall)
    assert (call.arguments, call.raw) == ({"query": "a"}, CALL)
    assert isinstance(result, ServerToolResult)
    assert [source.source for source in result.sources] == ["https://a"]
    assert isinstance(answer, TextContent)
    assert [(c.start, c.end) for c in answer.citations] == [(0, len("Yes, it is."))]
    assert message.text == "Wait.Yes, it is."
    for event in events:
        assert event_from_dict(event.to_dict(partial=True)) is not None
    assert AssistantMessage.model_validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize("odd", [math.nan, math.inf, "\ud83d"], ids=str)
def test_parts_that_are_sent_back_can_be_written_as_json(odd: Any) -> None:
    raw = {"odd": [odd], "x": {"y": odd}}
    _, message = play(
        [
            ServerToolFragment(0, "s1", "web_search", "{}", raw=raw),
            ServerToolOutput("s1", "web_search", raw=raw),
            Text("Yes", 2),
            CitationReport(source="s", data=raw, whole_block=True, block=2),
            ImageData("d2hvbGU=", "image/png", block=3, raw=raw),
            AudioData(b"a", "audio/wav", block=4, raw=raw),
            ServerToolFragment(5, "s2", "code_execution", '{"n": 1e999, "m": [1'),
        ]
    )
    text = json.dumps(message.model_dump(), allow_nan=False, ensure_ascii=False)
    assert text.encode().count(b'"odd"') == 5
    assert AssistantMessage.model_validate_json(message.model_dump_json()) == message


def test_call_that_never_ends() -> None:
    _, message = play([ServerToolFragment(0, "s1", "code_execution", '{"code": "1')])
    [call] = message.server_tool_calls
    assert (call.name, call.arguments, call.raw) == ("code_execution", {"code": "1"}, {})


@pytest.mark.parametrize(("start", "end"), [(2, 99), (-1, 3), (5, 2), (None, 3)])
def test_citation_beyond_the_text_has_no_place(start: int | None, end: int) -> None:
    _, message = play([Text("abc"), CitationReport(source="s", start=start, end=end)])
    assert [(c.start, c.end) for c in message.citations] == [(None, None)]


def test_image_with_a_preview() -> None:
    events, message = play(
        [
            ImageData("aGFsZg==", "image/png", partial=True, block=0),
            ImageData("d2hvbGU=", "image/png", block=0, raw={"thoughtSignature": "x"}),
        ]
    )
    kinds = [event.type for event in events]
    assert kinds == ["start", "image_start", "image_partial", "image_end", "done"]
    assert [image.bytes for image in message.images] == [b"whole"]
    assert message.images[0].raw == {"thoughtSignature": "x"}


def test_audio_in_pieces_that_are_encoded_on_their_own() -> None:
    pieces = [AudioData("YQ==", mime_type="audio/wav"), AudioData("", "He"), AudioData("Yg==", "y")]
    _, message = play([*pieces, AudioData(raw={"id": "audio_1"})])
    [audio] = message.audio
    assert (audio.bytes, audio.transcript, audio.raw) == (b"ab", "Hey", {"id": "audio_1"})


def test_audio_that_is_no_base64_is_named() -> None:
    assembler = Assembler()
    assembler.feed([AudioData("a", "He"), AudioData("Yg=="), Finish("stop")])
    assembler.finish()
    [warning] = assembler.warnings
    assert "audio that is not valid base64" in warning.message


def test_broken_image_beside_an_intact_one_is_named() -> None:
    for deltas in ([ImageData("iVBO"), ImageData("iVB")], [AudioData("Yg=="), ImageData("iVB")]):
        assembler = Assembler()
        assembler.feed([*deltas, Finish("stop")])
        [done] = [event for event in assembler.finish() if event.type in ("done", "error")]
        assert done.type == "done"
        assert len(done.message.content) == 1
        assert "not valid base64" in assembler.warnings[0].message


def test_only_broken_audio_is_an_error_without_events() -> None:
    assembler = Assembler()
    assert assembler.feed([AudioData("a", mime_type="audio/wav"), Finish("stop")]) == []
    [event] = assembler.finish()
    assert event.type == "error"
    assert "audio that is not valid base64" in str(event.error.error)


def test_media_type_of_audio_is_known_from_its_piece_on() -> None:
    assembler = Assembler()
    first, second = assembler.feed([AudioData("Yg=="), AudioData("Yg==", "", "audio/wav")])[1:]
    types = [event.partial.audio[0].mime_type for event in (first, second)]
    assert types == ["", "audio/wav"]


def test_server_blocks_are_replayed_to_the_same_api_only() -> None:
    _, message = play(SEARCH)
    conversation = [UserMessage(content="q"), message, UserMessage(content="again")]

    def adapt(provider: str, raw_api: str) -> tuple[list[str], list[str]]:
        target, codes = Target(provider, "m", raw_api=raw_api), []
        adapted = adapt_messages(conversation, target, lambda code, _: codes.append(code))
        answer = adapted[1]
        assert isinstance(answer, AssistantMessage)
        return [part.type for part in answer.content], codes

    same = ["text", "serverToolCall", "serverToolResult", "text"]
    assert adapt("anthropic", "anthropic-messages") == (same, [])
    moved = (["text", "text", "text"], ["server_tool_as_text"])
    assert adapt("openai", "openai-responses") == moved
    assert adapt("anthropic", "") == moved


def test_tools_of_the_provider_beside_functions() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    context = Context.model_validate({"messages": [], "tools": [add, web_search(max_uses=2)]})
    assert [tool.name for tool in context.tools or ()] == ["add", "web_search"]
    assert Context.model_validate_json(context.model_dump_json()).tools == context.tools


def test_token_of_an_mcp_server_is_not_serialized() -> None:
    tool = mcp_server("https://mcp.example", name="docs", token="secret-4711")
    context = Context(messages=[], tools=[tool])
    assert "secret-4711" not in context.model_dump_json() + repr(context) + repr(tool)
    assert tool.token is not None
    assert tool.token.get_secret_value() == "secret-4711"


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "web_search"},
        {"google_search": {}},
        {"googleSearch": {}},
    ],
)
def test_tool_in_the_providers_own_format_is_no_function(tool: dict[str, object]) -> None:
    context = Context.model_validate({"messages": [], "tools": [tool]})
    assert context.tools == [ServerTool(kind="native", options=tool)]


def test_tool_that_the_provider_lacks() -> None:
    request = Context(messages=[UserMessage(content="q")], tools=[web_search(), code_execution()])
    with pytest.raises(Exception, match="has none of the tools: web_search, code_execution"):
        preview("ollama/qwen3", request)


def test_wrong_arguments_of_tools() -> None:
    with pytest.raises(ValueError, match="not both"):
        web_search(allowed_domains=["a.example"], blocked_domains=["b.example"])
    with pytest.raises(ValueError, match="at least 1"):
        web_search(max_uses=0)
    with pytest.raises(ValueError, match="store_ids"):
        file_search([])
    with pytest.raises(ValueError, match="not https"):
        mcp_server("http://mcp.example", name="docs")


def test_message_with_all_content_prints() -> None:
    content = [
        ServerToolCall(name="web_search", arguments={"query": "a"}),
        ServerToolResult(name="web_search", text="found"),
        ImageContent(data="AAAA", mime_type="image/png"),
        AudioContent(transcript="Hello"),
        ToolCall(name="f"),
    ]
    lines = [str(part) for part in content]
    assert lines[:2] == [
        "[web_search(query='a'), run by the provider]", "[result of web_search]\nfound",
    ]  # fmt: skip
    assert "Hello" in lines[3]
