"""Through the real LiteLLM, over real sockets, to a server that says what is scripted."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    ImageContent,
    Tool,
    ToolCall,
    acomplete,
    assistant,
    astream,
    complete,
    ctx,
    stream,
    tool_result,
    user,
)
from pipy_ai.utils import event_loop as loops

from .grammar import check_events
from .wire.lab import (
    DONE,
    FIN,
    RESET,
    STALL,
    Lab,
    Pause,
    Scene,
    Status,
    call,
    chat,
    chunk,
    finish,
    sse,
    text,
    usage,
)

# LiteLLM's own debts, some only on one of its versions.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

MODEL = "hosted_vllm/m"


@pytest.fixture(autouse=True)
def _through_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPY_TRANSPORT", "litellm")


WAIT = 10.0
PNG_URL = "data:image/png;base64,iVBORw0KGgo="
PNG = ImageContent(data="iVBORw0KGgo=", mime_type="image/png")


def shape(message: AssistantMessage) -> list[Any]:
    """The content, short."""
    out: list[Any] = []
    for part in message.content:
        if part.type == "text":
            out.append(part.text)
        elif part.type == "thinking":
            out.append({"think": part.thinking})
        else:
            out.append((part.name, part.arguments))
    return out


@dataclass
class Case:
    """What the server sends, and what must come of it."""

    scene: Scene | Status
    content: list[Any] = field(default_factory=list)
    stop: str = "stop"
    kind: str | None = None
    says: str = ""


CASES: dict[str, Case] = {
    # The seventeen streams on which the rivals stumble.
    "plain text": Case(chat(text("Hel", "lo"), finish("stop")), ["Hello"]),
    "one call in fragments": Case(
        chat(call(0, "a", "f", ""), *[call(0, args=c) for c in '{"x": 1}'], finish("tool_calls")),
        [("f", {"x": 1})],
        "toolUse",
    ),
    "interleaved calls": Case(
        chat(
            call(0, "a", "f", '{"x"'), call(1, "b", "g", '{"y"'),
            call(0, args=":1}"), call(1, args=":2}"), finish("tool_calls"),
        ),
        [("f", {"x": 1}), ("g", {"y": 2})],
        "toolUse",
    ),
    "think text think text": Case(
        chat(
            chunk({"reasoning_content": "t1"}), text("a"),
            chunk({"reasoning_content": "t2"}), text("b"), finish("stop"),
        ),
        [{"think": "t1"}, "a", {"think": "t2"}, "b"],
    ),
    "thinking and text in one chunk": Case(
        chat(chunk({"reasoning_content": "t", "content": "a"}), finish("stop")),
        [{"think": "t"}, "a"],
    ),
    "calls without arguments": Case(
        chat(call(0, "a", "ping", ""), call(1, "b", "pong", ""), finish("tool_calls")),
        [("ping", {}), ("pong", {})],
        "toolUse",
    ),
    "a cut stream": Case(sse(*text("half")), ["half"], "error", "incomplete"),
    "calls with the reason stop": Case(
        chat(call(0, "a", "f", "{}"), finish("stop")), [("f", {})], "toolUse"
    ),
    "a call without an id": Case(
        chat(call(0, None, "f", "{}"), finish("tool_calls")), [("f", {})], "toolUse"
    ),
    "content filter": Case(
        chat(text("so"), finish("content_filter")), ["so"], "error", "content_filter"
    ),
    "no finish reason, but [DONE]": Case(chat(text("all")), ["all"]),
    "zero chunks": Case(sse(), [], "error", "incomplete"),
    "truncated arguments": Case(
        chat(call(0, "a", "f", '{"x": "lo'), finish("length")), [("f", {})], "length"
    ),
    "text, two calls, text": Case(
        chat(text("a"), call(0, "a", "f", "{}"), call(1, "b", "g", '{"z":1}'), text("b"),
             finish("tool_calls")),
        ["a", ("f", {}), ("g", {"z": 1}), "b"],
        "toolUse",
    ),
    "an HTTP error": Case(
        Status(500, {"error": {"message": "oops", "type": "server_error"}}),
        [], "error", "server", "oops",
    ),
    "an error in mid-stream": Case(
        chat(text("half"), {"error": {"message": "it broke", "code": 500}}),
        ["half"], "error", "server", "it broke",
    ),
    "an empty first chunk": Case(
        chat(chunk(choices=[]), text("ok"), finish("stop")), ["ok"]
    ),
    # What else bit users.
    "arguments before the name": Case(
        chat(call(0, "a", None, '{"x"'), call(0, None, "f", ":1}"), finish("tool_calls")),
        [("f", {"x": 1})],
        "toolUse",
    ),
    "one id for two calls": Case(
        chat(call(0, "a", "f", "{}"), call(1, "a", "g", "{}"), finish("tool_calls")),
        [("f", {}), ("g", {})],
        "toolUse",
    ),
    "calls without an index": Case(
        chat(call(None, "a", "f", '{"x":1}'), call(None, "b", "f", '{"x":2}'),
             finish("tool_calls")),
        [("f", {"x": 1}), ("f", {"x": 2})],
        "toolUse",
    ),
    "truncated arguments called tool_calls": Case(
        chat(call(0, "a", "f", '{"x": "lo'), finish("tool_calls")), [("f", {})], "toolUse"
    ),
    "a raw newline in arguments": Case(
        chat(call(0, "a", "f", '{"x": "a\nb"}'), finish("tool_calls")),
        [("f", {"x": "a\nb"})],
        "toolUse",
    ),
    "null for arguments": Case(
        chat(call(0, "a", "f", "null"), finish("tool_calls")), [("f", {})], "toolUse"
    ),
    "a list for arguments": Case(
        chat(call(0, "a", "f", "[1]"), finish("tool_calls")), [("f", {})], "toolUse"
    ),
    "usage before the finish, twice": Case(
        chat(text("a"), usage(1, 1), finish("stop"), usage(9, 1)), ["a"]
    ),
    "a reset": Case(sse(*text("half"), RESET), ["half"], "error", "incomplete"),
    "a closed socket": Case(sse(*text("half"), FIN), ["half"], "error", "incomplete"),
    "CRLF": Case(sse(*text("a", "b"), finish("stop"), DONE, newline="\r\n"), ["ab"]),
    "code points split between writes": Case(
        [bytes([b]) for step in chat(text("Zür", "ich 😀"), finish("stop")) for b in step],
        ["Zürich 😀"],
    ),
    "a repeated piece": Case(chat(text(*["----"] * 300), finish("stop")), ["----" * 300]),
    "reasoning by another name": Case(
        chat(chunk({"reasoning": "t"}), text("a"), finish("stop")), [{"think": "t"}, "a"]
    ),
    "a wrong key": Case(
        Status(401, {"error": {"message": "Incorrect API key provided"}}),
        [], "error", "auth", "Incorrect API key",
    ),
    "an unknown model": Case(
        Status(404, {"error": {"message": "no model m"}}), [], "error", "not_found", "no model m"
    ),
    "too long a prompt": Case(
        Status(400, {"error": {"message": "maximum context length is 10 tokens, 12 were given"}}),
        [], "error", "context_overflow",
    ),
    "too many requests": Case(
        Status(429, {"error": {"message": "slow down"}}, {"retry-after": "7"}),
        [], "error", "rate_limit", "slow down",
    ),
    "no credit": Case(
        Status(429, {"error": {"message": "quota", "code": "insufficient_quota"}}),
        [], "error", "quota",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_hard_streams_come_out_right(lab: Lab, name: str) -> None:
    case = CASES[name]
    lab.play(case.scene, case.scene)
    message = check_events(list(stream(MODEL, "q", api_base=lab.url, max_retries=0)))
    assert shape(message) == case.content
    assert message.stop_reason == case.stop
    assert (message.error.kind if message.error else None) == case.kind
    if message.error is not None:
        assert case.says in message.error.message
        assert "litellm" not in message.error.message.lower()
    twin = asyncio.run(acomplete(MODEL, "q", api_base=lab.url, max_retries=0))
    assert shape(twin) == case.content
    assert (twin.stop_reason, twin.error and twin.error.kind) == (case.stop, case.kind)
    assert len(lab.seen) == 2, "LiteLLM tried again by itself"


def test_what_is_sent(lab: Lab) -> None:
    tool = Tool(name="f", description="d", parameters={"type": "object", "properties": {}})
    asked = ToolCall(id="c1", name="f", arguments={"x": 1})
    context = ctx(
        user("look", PNG), assistant("I call.", asked),
        tool_result(asked, "7 \ud83d", is_error=True), system="Be brief.", tools=[tool],
    )  # fmt: skip
    before = context.model_copy(deep=True)
    message = complete(
        MODEL, context, api_base=lab.url, api_key="k-1", temperature=0, max_tokens=5, top_p=0.5,
        stop=["x"], seed=7, tool_choice="f", headers={"X-Mine": "yes"},
        extra={"extra_body": {"top_k": 3}},
    )  # fmt: skip
    assert message.text == "ok"
    assert context == before
    seen = lab.seen[0]
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == "Bearer k-1"
    assert seen.headers["x-mine"] == "yes"
    assert seen.json == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": PNG_URL}},
                ],
            },
            {
                "role": "assistant",
                "content": "I call.",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"x": 1}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "[tool error] 7 \ufffd"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "d",
                    "parameters": {"type": "object", "properties": {}},
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "temperature": 0,
        "max_tokens": 5,
        "top_p": 0.5,
        "stop": ["x"],
        "seed": 7,
        "top_k": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip


def test_usage_is_net_of_the_cache_and_never_made_up(lab: Lab) -> None:
    lab.play(
        chat(text("a"), finish("stop"), usage(100, 5, cached=80)), chat(text("b"), finish("stop"))
    )
    told = complete(MODEL, "q", api_base=lab.url).usage
    assert (told.input, told.cache_read, told.output, told.total_tokens) == (20, 80, 5, 105)
    assert not told.estimated
    untold = complete(MODEL, "q", api_base=lab.url).usage
    assert untold.estimated
    assert untold.cost.total is None
    assert untold.cost.source == "unknown"


def test_the_key_stays_out_of_errors(lab: Lab) -> None:
    key = "sk-very-secret-0123456789"
    lab.play(Status(401, {"error": {"message": f"Incorrect API key provided: {key}"}}))
    message = complete(MODEL, "q", api_base=lab.url, api_key=key)
    assert message.error is not None
    assert message.error.kind == "auth"
    assert key not in message.model_dump_json() + repr(message)


@pytest.mark.parametrize(("model", "variable"), [
    ("anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
    ("openai/gpt-5", "OPENAI_API_KEY"),
    ("gemini/gemini-2.5-flash", "GEMINI_API_KEY"),
])  # fmt: skip
def test_a_missing_key_is_told_with_its_variable(model: str, variable: str) -> None:
    message = complete(model, "q")
    assert message.error is not None
    assert message.error.kind == "missing_key"
    assert variable in message.error.message
    assert [e.type for e in stream(model, "q")] == ["error"]


def test_ignored_options_are_told(lab: Lab) -> None:
    message = complete(MODEL, "q", api_base=lab.url, session_id="s", reasoning="max")
    assert {w.code for w in message.warnings} == {"option_ignored", "reasoning_changed"}
    assert lab.seen[0].json["reasoning_effort"] == "high"


def test_on_payload_sees_and_replaces_what_is_sent(lab: Lab) -> None:
    seen: list[dict[str, Any]] = []

    def look(payload: dict[str, Any]) -> dict[str, Any]:
        seen.append(payload)
        return {**payload, "temperature": 0.7}

    complete(MODEL, "q", api_base=lab.url, api_key="k-1", on_payload=look)
    assert lab.seen[0].json["temperature"] == 0.7
    assert "k-1" not in repr(seen)


def test_a_refused_connection_is_tried_again_and_then_told() -> None:
    message = complete(MODEL, "q", api_base="http://127.0.0.1:9/v1", max_retries=1)
    assert message.error is not None
    assert message.error.kind == "connection"
    assert message.error.retryable


def test_events_come_as_they_are_sent(lab: Lab) -> None:
    lab.play(sse(*text("first"), Pause(), *text("second"), finish("stop"), DONE))
    s = stream(MODEL, "q", api_base=lab.url)
    for event in s:
        if event.type == "text_delta" and event.delta == "first":
            assert not s._queue.result_future.done()
            lab.go()
    assert s.result().text == "firstsecond"


# --- Leaving --------------------------------------------------------------------------------


def stalled(lab: Lab) -> Scene:
    return sse(*text("one "), STALL)


def test_abort_from_another_thread_is_quick_and_closes_the_connection(lab: Lab) -> None:
    complete(MODEL, "warm up", api_base=lab.url)
    lab.play(sse(STALL), stalled(lab))
    for expected in ("", "one "):
        count = len(lab.seen)
        heard = threading.Event()
        s = stream(MODEL, "q", api_base=lab.url)
        aborted_at = 0.0

        def abort(s: Any = s, count: int = count, heard: Any = heard, text: str = expected) -> None:
            nonlocal aborted_at
            while len(lab.seen) == count:  # until the request is there
                time.sleep(0.001)
            if text:
                assert heard.wait(WAIT)
            aborted_at = time.perf_counter()
            s.abort()

        threading.Thread(target=abort).start()
        events = []
        for event in s:
            events.append(event)
            if event.type == "text_delta":
                heard.set()
        assert time.perf_counter() - aborted_at < 0.1
        message = check_events(events)
        assert message.stop_reason == "aborted"
        assert message.text == expected
        assert lab.seen[-1].left.wait(WAIT)
        assert lab.seen[-1].left_at - aborted_at < 0.25


def test_leaving_the_loop_closes_the_connection(lab: Lab) -> None:
    lab.play(stalled(lab), stalled(lab), stalled(lab))
    s = stream(MODEL, "q", api_base=lab.url)
    for event in s:
        if event.type == "text_delta":
            break
    assert lab.seen[-1].left.wait(WAIT)

    def raise_in_the_body() -> None:
        for event in stream(MODEL, "q", api_base=lab.url):
            if event.type == "text_delta":
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        raise_in_the_body()
    assert lab.seen[-1].left.wait(WAIT)

    def raise_under_with() -> None:
        with stream(MODEL, "q", api_base=lab.url) as kept:
            streams.append(kept)
            for event in kept:
                if event.type == "text_delta":
                    raise ZeroDivisionError

    streams: list[Any] = []
    with pytest.raises(ZeroDivisionError) as caught:
        raise_under_with()
    assert caught.value.__traceback__ is not None  # still held, with all its frames
    assert lab.seen[-1].left.wait(WAIT)


async def test_cancelling_the_task_closes_the_connection(lab: Lab) -> None:
    lab.play(stalled(lab))
    heard = asyncio.Event()

    async def consume() -> None:
        async for event in astream(MODEL, "q", api_base=lab.url):
            if event.type == "text_delta":
                heard.set()

    task = asyncio.create_task(consume())
    await asyncio.wait_for(heard.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(lab.seen[-1].left.wait, WAIT)


def test_200_left_streams_leave_no_thread_socket_or_task(lab: Lab) -> None:
    complete(MODEL, "warm up", api_base=lab.url)
    lab.play(stalled(lab))
    for _ in stream(MODEL, "q", api_base=lab.url):
        break
    assert lab.seen[-1].left.wait(WAIT)
    before = census()
    lab.play(*[stalled(lab) for _ in range(200)])
    for number in range(200):
        s = stream(MODEL, "q", api_base=lab.url)
        for event in s:
            if event.type == "text_delta":
                if number % 2:
                    s.abort()
                else:
                    break
    assert all(seen.left.wait(WAIT) for seen in lab.seen[1:])
    deadline = time.monotonic() + WAIT
    while census() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert census() <= before


def census() -> tuple[int, int, int]:
    """Threads, open files, and tasks of the background loop.

    Not those of asyncio's own pool, which LiteLLM has files read in: it keeps a few, and for good.
    """
    gc.collect()
    thread = loops.background_loop()
    tasks = asyncio.run_coroutine_threadsafe(_count_tasks(), thread.loop).result(5)
    threads = [one for one in threading.enumerate() if not one.name.startswith("asyncio_")]
    return len(threads), len(os.listdir("/proc/self/fd")), tasks


async def _count_tasks() -> int:
    return len(asyncio.all_tasks())


def test_many_threads_and_repeated_loops_share_the_connection_pool(lab: Lab) -> None:
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(4):
            message = complete(MODEL, "q", api_base=lab.url)
            if message.text != "ok":
                wrong.append(message)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for _ in range(5):
        assert asyncio.run(acomplete(MODEL, "q", api_base=lab.url)).text == "ok"
    assert not wrong


def test_thinking_that_comes_again_with_its_signature_is_heard_once() -> None:
    from types import SimpleNamespace as Data

    from pipy_ai.provider import Thinking, ThinkingSignature
    from pipy_ai.provider.litellm.chunks import decode_chunk

    def chunk_of(reasoning: str, **block: str) -> Any:  # as LiteLLM 1.105 hands them over
        delta = Data(reasoning_content=reasoning, thinking_blocks=[{"type": "thinking", **block}])
        return Data(id=None, choices=[Data(delta=delta, finish_reason=None)])

    deltas = decode_chunk(chunk_of("hm", thinking="hm"))[0]
    deltas += decode_chunk(chunk_of("", thinking="hm", signature="s"))[0]
    assert deltas == [Thinking("hm"), ThinkingSignature("s")]


def test_a_provider_that_nobody_knows_is_told_without_shouting() -> None:
    message = complete("nope/nope", "hi")
    assert message.error is not None
    assert message.error.kind == "not_found"
    assert message.error.message.startswith("No provider goes by this name: pipy providers lists")
