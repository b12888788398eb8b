"""Faults of the direct lanes that a second review found."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    ImageContent,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserMessage,
    complete,
    ctx,
    preview,
    user,
)
from pipy_ai._requests import build_request
from pipy_ai.provider.http import client as http
from pipy_ai.provider.http.client import HTTPRequest
from pipy_ai.provider.http.connect import proxy_for
from pipy_ai.provider.select import provider_for
from pipy_ai.utils import event_loop as loops
from pipy_ai.utils.json_schema import to_gemini_schema

from .wire.lab import Lab, Pause, Status, call, chat, chunk, finish, sse, text
from .wire.wires import WIRES, Wire, say


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"type": ["array", "string"], "items": {"type": "integer"}},
         {"type": "array", "items": {"type": "integer"}, "description": "array or string"}),
        ({"type": ["array", "null", "string"], "description": "d"},
         {"description": "d (array or string)", "nullable": True, "type": "array",
          "items": {"type": "string"}}),
        ({"type": "string", "enum": ["", "a"]}, {"type": "string", "enum": ["a"]}),
        ({"type": "string", "enum": [""]}, {"type": "string"}),
        ({"type": "object", "required": ["a"]}, {"type": "object"}),
        ({"type": "object", "properties": {"a": {"type": "string"}},
          "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
         {"type": "object", "properties": {"a": {"type": "string"}}}),
    ],
)  # fmt: skip
def test_schemas_that_gemini_refuses(given: dict[str, Any], taken: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"x": given}}
    assert to_gemini_schema(schema)["properties"]["x"] == taken


def test_a_model_of_openai_that_nobody_knows_yet(july: Any) -> None:
    """Those that reason refuse `max_tokens`; elsewhere only that is known."""
    body = preview("openai/o9-new", "q", max_tokens=10).body
    assert (body.get("max_completion_tokens"), body.get("max_tokens")) == (10, None)
    body = preview("openai/o9-new", "q", max_tokens=10, api_base="http://127.0.0.1/v1").body
    assert (body.get("max_completion_tokens"), body.get("max_tokens")) == (None, 10)


@pytest.mark.parametrize("model", ["openai/gpt-4o", "openai/gpt-5.4"])
def test_nothing_is_chosen_where_nothing_can_be_called(july: Any, model: str) -> None:
    """OpenAI refuses `tool_choice` without tools."""
    assert "tool_choice" not in preview(model, "q", tool_choice="auto").body
    given = {"tools": [{"type": "web_search"}]}  # of the provider's own
    assert preview(model, "q", tool_choice="auto", extra=given).body["tool_choice"] == "auto"


def _turn(*content: Any, **fields: Any) -> AssistantMessage:
    return AssistantMessage(content=list(content), **{"stop_reason": "stop", **fields})


def test_anthropic_is_told_of_the_tools_that_were_called(july: Any) -> None:
    """It refuses calls and results in a conversation without tools; none shall be called now."""
    turn = _turn(*(ToolCall(id=i, name=n) for i, n in (("1", "f"), ("2", "g"), ("3", "f"))))
    results = [ToolResultMessage(tool_call_id=i) for i in ("1", "2", "3")]
    body = preview("anthropic/claude-sonnet-4-5", ctx("q", turn, *results)).body
    assert [tool["name"] for tool in body["tools"]] == ["f", "g"]
    assert body["tool_choice"] == {"type": "none"}
    assert "tools" not in preview("anthropic/claude-sonnet-4-5", "q").body


def test_anthropic_goes_on_from_words_without_a_space_behind_them(july: Any) -> None:
    context = ctx("q", _turn(TextContent(text="Sure: \n")))
    [_, said] = preview("anthropic/claude-sonnet-4-5", context).body["messages"]
    assert said["content"] == [{"type": "text", "text": "Sure:"}]


def test_a_jpg_is_a_jpeg(july: Any) -> None:
    image = UserMessage(content=[ImageContent(data="/9j/4AAQ", mime_type="image/jpg")])
    for model in ("anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash", "openai/gpt-4o"):
        shown = json.dumps(preview(model, ctx(image)).body)
        assert "image/jpeg" in shown
        assert "image/jpg" not in shown


@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [
        ("openai/gpt-5", {}, None),
        ("openai/gpt-5.4", {}, None),
        ("anthropic/claude-opus-4-7", {}, None),
        ("anthropic/claude-sonnet-4-5", {"reasoning": "low"}, None),
        ("anthropic/claude-sonnet-4-5", {}, 0.5),
        ("openai/gpt-4o", {}, 0.5),
    ],
)
def test_top_p_is_left_out_where_it_is_refused(
    july: Any, model: str, asked: Any, sent: float | None
) -> None:
    shown = preview(model, "q", top_p=0.5, **asked)
    assert shown.body.get("top_p") == sent
    assert ("top_p_ignored" in [warning.code for warning in shown.warnings]) is (sent is None)


@pytest.mark.parametrize(
    ("model", "long"),
    [
        ("gpt-5.1", True), ("gpt-5.4", True), ("gpt-5.1-codex-mini", True),
        ("gpt-5.1-chat-latest", True), ("gpt-5.5-pro", True), ("gpt-5", True),
        ("gpt-4o", False), ("gpt-4.1", False), ("gpt-5-mini", False), ("o3", False),
        ("gpt-5.6", False),
    ],
)  # fmt: skip
def test_a_day_in_the_cache_is_asked_of_those_that_give_it(
    july: Any, model: str, long: bool
) -> None:
    """OpenAI: "prompt_cache_retention is not supported on this model"."""
    shown = preview(f"openai/{model}", "q", cache_retention="long", session_id="s" * 65)
    assert shown.body.get("prompt_cache_retention") == ("24h" if long else None)
    assert ("option_ignored" in [warning.code for warning in shown.warnings]) is not long
    assert len(shown.body["prompt_cache_key"]) == 64  # the longest that OpenAI takes


def test_reasoning_is_not_asked_of_a_model_that_has_none(july: Any) -> None:
    """OpenAI: "Encrypted content is not supported with this model"."""
    assert "include" not in preview("openai/responses/gpt-4o", "q").body
    for model in ("openai/gpt-5.4", "openai/responses/o3", "openai/responses/new"):
        assert preview(model, "q").body["include"] == ["reasoning.encrypted_content"]


def test_mistral_takes_turns(july: Any) -> None:
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


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("hosted_vllm/m", "/v1/chat/completions"),
        ("openai/gpt-5-codex", "/v1/responses"),
        ("anthropic/claude-sonnet-4-5", "/v1/messages"),
    ],
)
def test_an_address_may_be_whole(july: Any, model: str, path: str) -> None:
    for tail in ("", "/"):
        url = preview(model, "q", api_base=f"http://127.0.0.1{path}{tail}?v=1").url
        assert url == f"http://127.0.0.1{path}?v=1"


def test_a_host_that_says_all_again_at_the_end(lab: Lab) -> None:
    whole = {"role": "assistant", "content": "Hello"}
    last = {"choices": [{"index": 0, "delta": {}, "message": whole, "finish_reason": "stop"}]}
    lab.play(chat(text("Hel", "lo"), [last]))
    assert complete("hosted_vllm/m", "q", api_base=lab.url).text == "Hello"


def test_a_signature_goes_back_the_way_it_came(lab: Lab) -> None:
    """Gemini 3 behind an OpenAI-compatible host refuses its calls without them."""
    signed = call(0, "c1", "f", "{}")
    extra = {"google": {"thought_signature": "SIG"}}
    signed["choices"][0]["delta"]["tool_calls"][0]["extra_content"] = extra
    lab.play(chat(signed, finish("tool_calls")), chat(text("ok"), finish("stop")))
    message = complete("hosted_vllm/m", "q", api_base=lab.url)
    result = ToolResultMessage(tool_call_id="c1", tool_name="f")
    complete("hosted_vllm/m", ctx("q", message, result), api_base=lab.url)
    assert lab.seen[1].json["messages"][1]["tool_calls"][0]["extra_content"] == extra


def test_settings_of_the_caller_are_joined_with_ours(july: Any) -> None:
    asked = {"generationConfig": {"topK": 40}}
    body = preview("google/gemini-2.5-flash", "q", max_tokens=9, extra=asked).body
    assert body["generationConfig"] == {"maxOutputTokens": 9, "topK": 40}
    asked = {"stream_options": {"include_obfuscation": False}}
    for extra in (asked, {"extra_body": asked}):
        body = preview("openai/gpt-4o", "q", extra=extra).body
        assert body["stream_options"] == {"include_usage": True, "include_obfuscation": False}
        assert "extra_body" not in body
    asked = {"reasoning": {"summary": "detailed"}}
    body = preview("openai/gpt-5.4", "q", reasoning="high", extra=asked).body
    assert body["reasoning"] == {"effort": "high", "summary": "detailed"}


def test_a_word_that_gemini_does_not_know_is_translated(july: Any) -> None:
    """Google refuses it where the caller wrote it, at the top."""
    body = preview("google/gemini-2.5-flash", "q", extra={"top_k": 40}).body
    assert "top_k" not in body
    assert body["generationConfig"] == {"top_k": 40}  # Google reads both spellings
    safe = {"safetySettings": [{"category": "C", "threshold": "BLOCK_NONE"}]}
    assert preview("google/gemini-2.5-flash", "q", extra=safe).body["safetySettings"]


def test_a_proxys_password_and_exceptions(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", f"http://me:p%40ss%3A@127.0.0.1:{lab.port}")
    lab.play(chat(text("ok"), finish("stop")))
    assert complete("hosted_vllm/m", "q", api_base="http://far.example/v1").text == "ok"
    known = base64.b64decode(lab.seen[0].headers["proxy-authorization"].split()[1])
    assert known == b"me:p@ss:"
    monkeypatch.setenv("no_proxy", "near.example:8000, 10.0.0.0/8,::1")
    asked = {
        ("near.example", 8000): False, ("near.example", 80): True, ("10.1.2.3", None): False,
        ("11.1.2.3", None): True, ("::1", 8000): False, ("ten.example", None): True,
    }  # fmt: skip
    assert {place: bool(proxy_for("http", *place)) for place in asked} == asked
    monkeypatch.setenv("http_proxy", "ftp://me:secret@127.0.0.1:1")
    error = complete("hosted_vllm/m", "q", api_base="http://far.example/v1").error
    assert error is not None
    assert "proxy" in error.message
    assert "secret" not in error.message


def test_a_last_word_on_an_idle_connection(lab: Lab) -> None:
    """A server that says HTTP 408 before it closes is not asked on that connection again."""
    answer = b"".join(chat(text("ok"), finish("stop")))
    said, peers = threading.Event(), []

    def serve() -> None:
        for _ in range(2):
            peer, _ = server.accept()
            peers.append(peer)
            while not peer.recv(65536).endswith(b"}"):
                pass
            peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)
            assert said.wait(10)
            peer.sendall(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        port = server.getsockname()[1]
        base = f"http://127.0.0.1:{port}/v1"
        assert complete("hosted_vllm/m", "q", api_base=base).text == "ok"
        (kept,) = http._pools[loops.background_loop().loop]._idle["127.0.0.1", port, False, ""]
        said.set()
        deadline = time.monotonic() + 10
        while not kept.lost and time.monotonic() < deadline:
            time.sleep(0.001)
        again = complete("hosted_vllm/m", "q", api_base=base, max_retries=0)
        assert again.text == "ok", again.error
        assert len(peers) == 2
        for peer in peers:
            peer.close()


def test_the_callers_host_counts(lab: Lab) -> None:
    lab.play(chat(text("ok"), finish("stop")))
    message = complete("hosted_vllm/m", "q", api_base=lab.url, headers={"Host": "other.example"})
    assert message.text == "ok", message.error
    assert lab.seen[0].headers["host"] == "other.example"


def test_no_key_in_the_repr_of_a_request() -> None:
    assert "sk-" not in repr(
        HTTPRequest("POST", "http://h", [("authorization", "Bearer sk-1")], b"{}")
    )


def test_a_failure_is_not_a_full_window(lab: Lab) -> None:
    """Hosts that tell of the next window with every answer: HTTP 500 is tried again at once."""
    reset = {"x-ratelimit-reset": "3600"}
    lab.play(Status(500, "x", reset), chat(text("ok"), finish("stop")))
    message = complete("hosted_vllm/m", "q", api_base=lab.url)
    assert message.text == "ok", message.error
    lab.play(Status(429, "x", reset))
    error = complete("hosted_vllm/m", "q", api_base=lab.url).error
    assert error is not None
    assert error.retry_after == 3600


def test_a_whole_answer_of_no_known_shape(lab: Lab) -> None:
    lab.play([b'{"choices": ["x"]}'])
    error = complete("hosted_vllm/m", "q", api_base=lab.url, max_retries=0).error
    assert error is not None
    assert error.kind == "server"
    assert "cannot be read" in error.message


def test_keys_among_the_callers_headers_are_hidden(lab: Lab) -> None:
    key = "sk-of-the-caller-12345"
    for asked in (
        {"headers": {"X-Api-Key": key}},
        {"extra": {"extra_headers": {"Authorization": f"Bearer {key}", "X-Number": 1}}},
    ):
        assert key not in repr(preview("hosted_vllm/m", "q", api_base=lab.url, **asked))
        lab.play(Status(401, json.dumps({"error": {"message": f"no such key {key}"}})))
        error = complete("hosted_vllm/m", "q", api_base=lab.url, **asked).error
        assert error is not None
        assert error.kind == "auth"
        assert key not in error.message
    assert lab.seen[-1].headers["x-number"] == "1"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("LANGUAGE", "content_filter"),
        ("IMAGE_PROHIBITED_CONTENT", "content_filter"),
        ("MALFORMED_RESPONSE", "server"),
        ("TOO_MANY_TOOL_CALLS", "server"),
        ("MISSING_THOUGHT_SIGNATURE", "server"),
        ("OTHER", "server"),
    ],
)
def test_gemini_breaks_off_without_a_word(lab: Lab, reason: str, kind: str) -> None:
    lab.play(sse({"candidates": [{"finishReason": reason}]}))
    base = lab.url.replace("/v1", "/v1beta")
    message = complete("google/gemini-2.5-flash", "q", api_base=base, api_key="k", max_retries=0)
    assert message.error is not None
    assert message.error.kind == kind
    assert message.raw_stop_reason == reason


def test_no_thought_comes_last_in_a_turn(july: Any) -> None:
    """Anthropic: "The final block in an assistant message cannot be `thinking`"."""
    thought = ThinkingContent(thinking="hm", thinking_signature="s")
    who = {"provider": "anthropic", "model": "claude-sonnet-4-5", "api": "anthropic-messages"}
    turn = _turn(thought, TextContent(text="Well"), thought, **who)
    body = preview("anthropic/claude-sonnet-4-5", ctx("q", turn, user("go on"))).body
    assert [b["type"] for b in body["messages"][1]["content"]] == ["thinking", "text"]


def test_an_answer_in_one_piece_may_take_its_time(lab: Lab, july: Any) -> None:
    """GPT-5 Pro does not stream, and thinks for longer than a stream may be silent."""
    said = {"type": "message", "content": [{"type": "output_text", "text": "late"}]}
    lab.play([json.dumps({"status": "completed", "output": [said]}).encode()])
    request = build_request("openai/gpt-5-pro", "q", None, {"api_base": lab.url, "api_key": "k"})

    async def answer() -> None:
        async for _ in provider_for(request).stream(request):
            pass

    asyncio.run(answer())
    assert request.options.idle_timeout == 1800
    lab.play([Pause()])
    message = complete(
        "openai/gpt-5-pro", "q", api_base=lab.url, api_key="k", idle_timeout=0.2, max_retries=0
    )
    assert message.error is not None
    assert message.error.kind == "timeout"
    lab.go()


def test_responses_take_what_chat_takes(july: Any) -> None:
    shown = preview("openai/gpt-5.4", "q", max_tokens=5, metadata={"user_id": 7, "a": "b"})
    assert shown.body["max_output_tokens"] == 16  # the least that OpenAI takes
    assert [warning.code for warning in shown.warnings] == ["max_tokens_changed"]
    assert shown.body["metadata"] == {"user_id": "7", "a": "b"}  # it takes strings


@pytest.mark.parametrize(
    ("model", "adaptive"),
    [
        ("claude-opus-4-9", True), ("claude-sonnet-6-20280101", True), ("claude-opus-4-10", True),
        ("claude-haiku-4-5-20990101", False), ("claude-3-7-sonnet-20990101", False),
        ("claude-sonnet-4-20990101", False),
    ],
)  # fmt: skip
def test_a_claude_that_nobody_knows_yet_thinks_as_its_like(
    july: Any, model: str, adaptive: bool
) -> None:
    """From Opus 4.7 on a budget is refused."""
    thinking = preview(f"anthropic/{model}", "q", reasoning="low").body["thinking"]
    assert (thinking["type"] == "adaptive") is adaptive


@pytest.mark.parametrize(
    ("model", "path"),
    [("gpt-6", "responses"), ("gpt-5.7-mini", "responses"), ("gpt-5.7-chat-latest", "completions"),
     ("gpt-4.9", "completions")],
)  # fmt: skip
def test_a_gpt_that_nobody_knows_yet_goes_where_it_can_call(
    july: Any, model: str, path: str
) -> None:
    """From GPT-5.4 on Chat Completions takes no tools from a model that reasons."""
    assert preview(f"openai/{model}", "q").url.endswith(path)


@pytest.mark.parametrize("word", ["api_key", "timeout", "extra_query"])
def test_more_words_of_litellms(word: str) -> None:
    request = build_request("openai/gpt-4o", "q", None, {"extra": {word: {}}})
    assert provider_for(request).api == "litellm"


def test_openrouters_signatures_go_back(lab: Lab, july: Any) -> None:
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
def test_a_host_that_breaks_off(lab: Lab, reason: str) -> None:
    lab.play(chat(text("half"), finish(reason)))
    message = complete("hosted_vllm/m", "q", api_base=lab.url, max_retries=0)
    assert message.error is not None
    assert message.error.kind == "server"
    assert message.text == "half"


def test_zeros_at_the_end_of_an_anthropic_answer_take_nothing_back(lab: Lab) -> None:
    first = {"id": "m", "model": "c", "usage": {"input_tokens": 9, "cache_read_input_tokens": 4}}
    last = {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 2}
    lab.play(
        sse(
            {"type": "message_start", "message": first},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
            {"type": "content_block_delta", "index": 0,
             "delta": {"type": "text_delta", "text": "Hi"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last},
            {"type": "message_stop"},
        )
    )  # fmt: skip
    base = lab.url.removesuffix("/v1")
    message = complete("anthropic/claude-sonnet-4-5", "q", api_base=base, api_key="k")
    assert message.text == "Hi", message.error
    assert (message.usage.input, message.usage.cache_read, message.usage.output) == (9, 4, 2)


@pytest.mark.usefixtures("july")
def test_openrouter_is_told_how_long_to_think() -> None:
    sent = {}
    for level in ("low", "high"):
        found = preview("openrouter/anthropic/claude-sonnet-4.5", "q", reasoning=level, api_key="k")
        sent[level] = found.body["reasoning"]
    assert sent == {"low": {"max_tokens": 2048}, "high": {"max_tokens": 16384}}


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_what_json_has_not(lab: Lab, wire: Wire) -> None:
    """It comes out of `extra=`, `on_payload=`, or a tool call of the caller's making."""

    def asked(what: Any) -> AssistantMessage:
        return complete(
            wire.model, "q", api_base=wire.base(lab), api_key="sk-of-the-test",
            transport="direct", max_retries=0, on_payload=lambda body: {**body, "x": what},
        )  # fmt: skip

    for what in (float("nan"), object(), b"", {("a", "b"): 1}):
        error = asked(what).error
        assert error is not None
        assert error.kind == "bad_request"
        assert "on_payload=" in error.message
    assert not lab.seen
    lab.play(wire.scene(say("ok")))
    assert asked({"\ud800": ["half \udc00"]}).text == "ok"
    assert lab.seen[0].json["x"] == {"\ufffd": ["half \ufffd"]}
