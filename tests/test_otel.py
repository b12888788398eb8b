"""Test traces and metrics, with a real OTLP exporter and a collector on loopback."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from pipy_ai import (
    AssistantMessage,
    Context,
    FileContent,
    ImageContent,
    TextContent,
    UserMessage,
    acomplete,
    arun_tools,
    astream,
    complete,
    complete_many,
    ctx,
    faux,
    mcp,
    otel,
    run_tools,
    stream,
    user,
)
from pipy_ai._requests import create_run
from pipy_ai.provider import tool_observer
from pipy_ai.utils import background_calls

from .support.otlp_receiver import Receiver, Span
from .support.scripted_server import DONE, Lab, Status, call, chat, finish, sse, text, usage
from .support.watched_provider import Watched

INTERNAL, CLIENT = 1, 3
UNSET, ERROR = 0, 2
WAIT = 10.0  # seconds, far above what anything here takes


class Telemetry:
    """The SDK with exporters to a collector."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.traces = TracerProvider()
        exporter = OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces")
        self.traces.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
        metrics = OTLPMetricExporter(endpoint=f"{receiver.url}/v1/metrics")
        self.metrics = MeterProvider(
            [PeriodicExportingMetricReader(metrics, export_interval_millis=3_600_000)]
        )
        self.logs = LoggerProvider()
        records = OTLPLogExporter(endpoint=f"{receiver.url}/v1/logs")
        self.logs.add_log_record_processor(
            BatchLogRecordProcessor(records, schedule_delay_millis=60_000)
        )
        self.tracer = self.traces.get_tracer("pipy_ai")  # of the test

    def instrument(self, **options: Any) -> None:
        otel.instrument(
            tracer_provider=self.traces,
            meter_provider=self.metrics,
            logger_provider=self.logs,
            **options,
        )

    def collect(self) -> Receiver:
        assert self.traces.force_flush()
        assert self.metrics.force_flush()
        assert self.logs.force_flush()
        return self.receiver

    @property
    def spans(self) -> list[Span]:
        return self.collect().spans


@pytest.fixture
def telemetry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    monkeypatch.delenv(otel.CONTENT_VARIABLE, raising=False)
    with Receiver() as receiver:
        sdk = Telemetry(receiver)
        sdk.instrument()
        yield sdk
        otel.uninstrument()
        sdk.traces.shutdown()
        sdk.metrics.shutdown()
        sdk.logs.shutdown()


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


async def aget_weather(city: str) -> str:
    """The weather of a city."""
    await asyncio.sleep(0)
    return f"sunny in {city}"


def play_tool_loop(lab: Lab) -> None:
    """A rate limit that is retried, a server that fails, and the answers of its fallback."""
    headers = {"retry-after": "0"}
    lab.play(
        Status(429, {"error": {"message": "secret prompt: slow down"}}, headers),
        Status(503, {"error": {"message": "down"}}, headers),
        sse(call(0, "c1", "get_weather", '{"city": "Rome"}'), finish("tool_calls"), DONE),
        chat(text("It is sunny."), finish("stop"), usage(20, 5, cached=8)),
    )


MODELS = ["hosted_vllm/first", "hosted_vllm/second"]


def run_sync(lab: Lab) -> AssistantMessage:
    options: Any = {"api_base": lab.url, "max_retries": 1}
    return run_tools(MODELS, "The weather in Rome?", [get_weather], **options).result()


def run_async(lab: Lab) -> AssistantMessage:
    aget_weather.__name__ = "get_weather"
    options: Any = {"api_base": lab.url, "max_retries": 1}

    async def main() -> AssistantMessage:
        return await arun_tools(MODELS, "q", [aget_weather], **options).result()

    return asyncio.run(main())


def run_in_thread(lab: Lab) -> AssistantMessage:
    """As web frameworks do: the context of the caller is copied into the thread."""
    messages: list[AssistantMessage] = []
    import contextvars

    own = contextvars.copy_context()
    thread = threading.Thread(target=lambda: messages.append(own.run(run_sync, lab)))
    thread.start()
    thread.join(60)
    return messages[0]


@pytest.mark.parametrize("run", [run_sync, run_async, run_in_thread])
def test_tool_loop_with_a_retry_and_a_fallback(lab: Lab, telemetry: Telemetry, run: Any) -> None:
    play_tool_loop(lab)
    with telemetry.tracer.start_as_current_span("caller") as caller:
        message = run(lab)
        assert trace.get_current_span() is caller
    assert message.text == "It is sunny."
    receiver = telemetry.collect()
    agent, tool = receiver.span("invoke_agent"), receiver.span("execute_tool get_weather")
    first, second = receiver.span("chat second"), receiver.span("chat first")  # after a fallback
    assert len(receiver.spans) == 5
    assert agent.parent == receiver.span("caller").id
    assert {first.parent, second.parent, tool.parent} == {agent.id}
    assert {span.trace for span in receiver.spans} == {agent.trace}
    assert (agent.kind, first.kind, tool.kind) == (INTERNAL, CLIENT, INTERNAL)
    assert {span.status for span in receiver.spans} == {UNSET}
    assert agent.start <= first.start <= first.end <= tool.start <= tool.end <= second.start
    assert second.end <= agent.end
    assert agent.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "hosted_vllm",
        "gen_ai.request.model": "first",
    }
    assert tool.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "c1",
        "gen_ai.tool.description": "The weather of a city.",
    }
    delay = first.events[0][1].pop("pipy_ai.retry.delay")
    assert delay == 0
    failed = {"gen_ai.provider.name": "hosted_vllm", "gen_ai.request.model": "first"}
    assert first.events == [
        ("retry", {**failed, "error.type": "rate_limit"}),
        (
            "fallback",
            {
                **failed,
                "error.type": "overloaded",
                "pipy_ai.fallback.model": "hosted_vllm/second",
            },
        ),
    ]
    assert second.events == []
    assert b"secret prompt" not in b"".join(receiver.bodies)
    assert b"Rome" not in b"".join(receiver.bodies)
    operations = {
        a["gen_ai.operation.name"] for a, _ in receiver.points["gen_ai.execute_tool.duration"]
    }
    assert operations == {"execute_tool"}


def test_attributes_of_a_request(lab: Lab, telemetry: Telemetry) -> None:
    lab.play(chat(text("Hi", " there"), finish("length"), usage(100, 7, cached=60)))
    options: Any = {
        "temperature": 0.5,
        "max_tokens": 7,
        "top_p": 0.9,
        "seed": 3,
        "stop": "END",
        "session_id": "session-1",
        "extra": {"presence_penalty": 0.1},
    }
    message = complete("openai/gpt-4o-mini", "q", api_base=lab.url, api_key="k" * 20, **options)
    assert message.text == "Hi there"
    [span] = telemetry.spans
    assert (span.name, span.kind, span.status) == ("chat gpt-4o-mini", CLIENT, UNSET)
    assert message.ttft_ms is not None
    cost = span.attributes.pop("operation.cost")
    assert cost == message.usage.cost.total
    assert json.loads(span.attributes.pop("langfuse.observation.cost_details")) == {"total": cost}
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.seed": 3,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.request.presence_penalty": 0.1,
        "gen_ai.request.stream": True,
        "gen_ai.output.type": "text",
        "gen_ai.conversation.id": "session-1",
        "server.address": "127.0.0.1",
        "server.port": lab.port,
        "openai.api.type": "chat_completions",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "m",
        "gen_ai.response.finish_reasons": ["length"],
        "gen_ai.response.time_to_first_chunk": message.ttft_ms / 1000,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 60,
    }
    assert span.end - span.start >= message.ttft_ms * 0.5e6


def test_metrics(lab: Lab, telemetry: Telemetry) -> None:
    lab.play(chat(text("Hi"), finish("stop"), usage(100, 7)), Status(400, "{}"))
    options: Any = {"api_base": lab.url, "api_key": "k" * 20}
    message = complete("openai/gpt-4o-mini", "q", **options)
    failed = complete("openai/gpt-4o-mini", "q", **options)
    assert failed.error is not None
    points = telemetry.collect().points
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "server.address": "127.0.0.1",
        "server.port": lab.port,
    }
    answered = {**common, "gen_ai.response.model": "m"}
    tokens = {a["gen_ai.token.type"]: (a, p) for a, p in points["gen_ai.client.token.usage"]}
    assert tokens["input"][0] == {**answered, "gen_ai.token.type": "input"}
    assert (tokens["input"][1].sum, tokens["output"][1].sum) == (100, 7)
    assert list(tokens["input"][1].explicit_bounds) == [4**n for n in range(14)]
    durations = points["gen_ai.client.operation.duration"]
    assert sorted((a for a, _ in durations), key=len) == [
        {**common, "error.type": "bad_request"},
        answered,
    ] or [a for a, _ in durations] == [answered, {**common, "error.type": "bad_request"}]
    assert list(durations[0][1].explicit_bounds)[:3] == [0.01, 0.02, 0.04]
    [(attributes, point)] = points["gen_ai.client.operation.time_to_first_chunk"]
    assert (attributes, point.count) == (answered, 1)
    assert message.ttft_ms is not None
    assert point.sum == pytest.approx(message.ttft_ms / 1000)
    [(attributes, point)] = points["operation.cost"]
    assert point.sum == pytest.approx(message.usage.cost.total)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_failed_request(lab: Lab, telemetry: Telemetry, asynchronous: bool) -> None:
    body = {"error": {"message": "secret prompt is invalid"}}
    lab.play(Status(400, body, {"x-request-id": "req_7"}))
    if asynchronous:
        asyncio.run(acomplete("hosted_vllm/m", "q", api_base=lab.url))
    else:
        complete("hosted_vllm/m", "q", api_base=lab.url)
    [span] = telemetry.spans
    assert (span.status, span.description) == (ERROR, "bad_request (400)")
    assert span.attributes["error.type"] == "bad_request"
    assert not [name for name in span.attributes if "usage" in name or "finish" in name]
    assert span.attributes["pipy_ai.request_id"] == "req_7"
    assert b"secret prompt" not in b"".join(telemetry.receiver.bodies)


def test_incomplete_stream_is_an_error(lab: Lab, telemetry: Telemetry) -> None:
    lab.play(sse(*text("half")))
    complete("hosted_vllm/m", "q", api_base=lab.url)
    [span] = telemetry.spans
    assert (span.status, span.attributes["error.type"]) == (ERROR, "incomplete")


def test_cached_response(lab: Lab, telemetry: Telemetry, tmp_path: Path) -> None:
    """It took no tokens, and costs nothing."""
    lab.play(chat(text("Hi"), finish("stop"), usage(100, 7)))
    options: Any = {"api_base": lab.url, "cache": str(tmp_path / "cache.db"), "api_key": "k" * 20}
    for _ in range(2):
        assert complete("openai/gpt-4o-mini", "q", **options).text == "Hi"
    first, second = sorted(telemetry.spans, key=lambda span: span.start)
    assert "pipy_ai.cached" not in first.attributes
    assert second.attributes["pipy_ai.cached"] is True
    assert second.attributes["operation.cost"] == 0
    points = telemetry.receiver.points["gen_ai.client.token.usage"]
    assert sorted(point.sum for _, point in points) == [7, 100]


def wait_for_span(telemetry: Telemetry) -> Span:
    """Return the span of an abandoned request, for which nobody waits."""
    deadline = time.monotonic() + WAIT
    while not telemetry.spans and time.monotonic() < deadline:
        time.sleep(0.01)
    [span] = telemetry.receiver.spans
    return span


@pytest.mark.parametrize("how", ["closed", "collected", "async", "loop"])
def test_abandoned_stream(watched: Watched, telemetry: Telemetry, how: str) -> None:
    async def leave(aborted: bool) -> None:
        async with astream("watched/m", "q") as stream_:
            async for _ in stream_:
                break
            if not aborted:
                asyncio.get_running_loop().stop()
                await asyncio.sleep(0)

    def leave_uncollected() -> None:
        iterator = iter(stream("watched/m", "q"))
        next(iterator)

    if how == "closed":
        with stream("watched/m", "q") as s:
            for _ in s:
                break
    elif how == "collected":
        leave_uncollected()
        gc.collect()
    elif how == "async":
        asyncio.run(leave(True))
    else:
        with pytest.raises(RuntimeError):
            asyncio.run(leave(False))
    span = wait_for_span(telemetry)
    assert (span.name, span.status) == ("chat m", UNSET)
    assert span.attributes["error.type"] == "cancelled"


def test_request_that_never_began_has_no_span(telemetry: Telemetry) -> None:
    astream("faux/echo", "q").abort()
    assert telemetry.spans == []


def test_parallel_requests_have_the_parent_of_their_caller(telemetry: Telemetry) -> None:
    tracer = telemetry.tracer

    async def one(name: str) -> None:
        with tracer.start_as_current_span(name):
            async with astream("faux/echo", name) as stream_:
                async for _ in stream_:
                    await asyncio.sleep(0)
            assert isinstance(trace.get_current_span(), type(tracer.start_span("x")))

    async def main() -> None:
        await asyncio.gather(one("a"), one("b"))
        assert not trace.get_current_span().is_recording()

    def in_thread(name: str) -> None:
        with tracer.start_as_current_span(name):
            complete("faux/echo", name)

    asyncio.run(main())
    threads = [threading.Thread(target=in_thread, args=(name,)) for name in "cd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with tracer.start_as_current_span("e"):
        complete_many("faux/echo", ["1", "2"], progress=False)
    spans = telemetry.spans
    children: dict[str, int] = {}
    for span in spans:
        if span.name == "chat echo":
            [parent] = [other.name for other in spans if other.id == span.parent]
            children[parent] = children.get(parent, 0) + 1
    assert children == {"a": 1, "b": 1, "c": 1, "d": 1, "e": 2}
    assert context.get_current() == {}


def test_spans_of_tools_are_current_inside_of_them(telemetry: Telemetry) -> None:
    """Whatever a tool does, in a thread, a coroutine or inline, belongs to its span."""

    def sync_tool() -> str:
        telemetry.tracer.start_span("in sync").end()
        return complete("faux/echo", "x").text

    async def async_tool() -> str:
        telemetry.tracer.start_span("in async").end()
        return (await acomplete("faux/echo", "x")).text

    replies = [
        faux.tool("sync_tool"),
        faux.reply(faux.tool("sync_tool"), faux.tool("async_tool")),
        "done",
    ]
    with faux.script(*replies):
        run_tools("faux/m", "q", [sync_tool, async_tool]).result()
    spans = telemetry.spans
    by_id = {span.id: span.name for span in spans}
    parents = sorted((span.name, by_id.get(span.parent, "")) for span in spans)
    assert parents == sorted(
        [
            ("invoke_agent", ""),
            *[("chat m", "invoke_agent")] * 3,
            *[("execute_tool sync_tool", "invoke_agent")] * 2,
            ("execute_tool async_tool", "invoke_agent"),
            *[("in sync", "execute_tool sync_tool"), ("chat echo", "execute_tool sync_tool")] * 2,
            ("in async", "execute_tool async_tool"),
            ("chat echo", "execute_tool async_tool"),
        ]
    )
    assert context.get_current() == {}


def test_traces_continue_in_mcp_servers(telemetry: Telemetry) -> None:
    pytest.importorskip("mcp")
    command = [sys.executable, "-m", "tests.support.mcp_server"]
    with (
        mcp(command, name="lab", cwd=Path(__file__).parents[1]) as tools,
        faux.script(faux.tool("trace_id"), "done"),
    ):
        run = run_tools("faux/m", "q", tools)
        assert run.result().text == "done"
    [result] = [message for message in run.messages if message.role == "toolResult"]
    tool = telemetry.collect().span("execute_tool trace_id")
    assert str(result) == tool.trace.hex()


def test_failed_and_cancelled_tools(telemetry: Telemetry) -> None:
    entered = threading.Event()

    def fail() -> None:
        raise ValueError("secret detail")

    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    with faux.script(faux.reply(faux.tool("fail"), faux.tool("hang"))):
        run = run_tools("faux/m", "q", [fail, hang])
        watcher = threading.Thread(target=lambda: entered.wait(WAIT) and run.abort())
        watcher.start()
        run.result()
        watcher.join(WAIT)
    receiver = telemetry.collect()
    failed, hung = receiver.span("execute_tool fail"), receiver.span("execute_tool hang")
    assert (failed.status, failed.description) == (ERROR, "")
    assert failed.attributes["error.type"] == "tool_error"
    assert (hung.status, hung.attributes["error.type"]) == (UNSET, "cancelled")
    agent = receiver.span("invoke_agent")
    assert (agent.status, agent.attributes["error.type"]) == (UNSET, "cancelled")
    assert b"secret detail" not in b"".join(receiver.bodies)


def test_run_that_is_left(telemetry: Telemetry) -> None:
    with faux.script(faux.tool("get_weather", city="Rome"), "done"):
        for event in run_tools("faux/m", "q", [get_weather]):
            if event.type == "tool_result":
                break
    agent = telemetry.collect().span("invoke_agent")
    assert (agent.status, agent.attributes["error.type"]) == (UNSET, "cancelled")


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQAB"


def conversation() -> Context:
    image = ImageContent(data=PIXEL, mime_type="image/png")
    link = ImageContent(url="https://example.com/a.png?sig=hidden", mime_type="image/png")
    file = FileContent(id="file-1", provider="faux", mime_type="application/pdf")
    question = UserMessage(content=[TextContent(text="What is it? \ud83d"), image, link, file])
    return ctx(question, system="Be brief.", tools=[get_weather])


@pytest.mark.parametrize("variable", ["true", "span_only", "SPAN_AND_EVENT", None])
def test_content_in_spans(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    if variable is None:
        telemetry.instrument(capture_content=True)
    else:
        monkeypatch.setenv(otel.CONTENT_VARIABLE, variable)
        telemetry.instrument()
    replies = [
        faux.reply(faux.thinking("hm"), faux.tool("get_weather", city="Rome")),
        faux.reply("Sunny."),
    ]
    with faux.script(*replies):
        run_tools("faux/m", conversation(), [get_weather]).result()
    receiver = telemetry.collect()
    first, last = sorted(
        (span for span in receiver.spans if span.name == "chat m"), key=lambda span: span.start
    )
    content = {
        name.removeprefix("gen_ai."): json.loads(value)
        for name, value in last.attributes.items()
        if name in ("gen_ai.system_instructions", "gen_ai.tool.definitions") or "messages" in name
    }
    assert content["system_instructions"] == [{"type": "text", "content": "Be brief."}]
    assert content["tool.definitions"][0]["name"] == "get_weather"
    call_part = content["input.messages"][1]["parts"][1]
    assert content["input.messages"] == [
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "What is it? \ufffd"},
                {"type": "blob", "mime_type": "image/png", "modality": "image"},
                {
                    "type": "uri",
                    "mime_type": "image/png",
                    "modality": "image",
                    "uri": "https://example.com/a.png?sig=***",
                },
                {
                    "type": "file",
                    "mime_type": "application/pdf",
                    "modality": "application",
                    "file_id": "file-1",
                },
            ],
        },
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {
                    "type": "tool_call",
                    "id": call_part["id"],
                    "name": "get_weather",
                    "arguments": {"city": "Rome"},
                },
            ],
        },
        {
            "role": "tool",
            "parts": [
                {
                    "type": "tool_call_response",
                    "id": call_part["id"],
                    "result": "sunny in Rome",
                }
            ],
        },
    ]
    answer = {"type": "text", "content": "Sunny."}
    assert content["output.messages"] == [
        {"role": "assistant", "parts": [answer], "finish_reason": "stop"}
    ]
    reasons = json.loads(first.attributes["gen_ai.output.messages"])[0]["finish_reason"]
    assert reasons == "tool_call"
    tool = receiver.span("execute_tool get_weather")
    assert json.loads(tool.attributes["gen_ai.tool.call.arguments"]) == {"city": "Rome"}
    assert json.loads(tool.attributes["gen_ai.tool.call.result"]) == "sunny in Rome"
    assert PIXEL.encode() not in b"".join(receiver.bodies)
    assert bool(receiver.logs) is (variable == "SPAN_AND_EVENT")


def test_content_in_events(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(otel.CONTENT_VARIABLE, "event_only")
    telemetry.instrument()
    complete("faux/echo", "the prompt")
    receiver = telemetry.collect()
    [span] = receiver.spans
    assert "the prompt" not in str(span.attributes)
    [(name, attributes, span_id)] = receiver.logs
    assert name == "gen_ai.client.inference.operation.details"
    assert span_id == span.id
    assert attributes["gen_ai.request.model"] == "echo"
    assert json.loads(attributes["gen_ai.input.messages"])[0]["parts"] == [
        {"type": "text", "content": "the prompt"}
    ]


def test_long_content_is_shortened(telemetry: Telemetry) -> None:
    telemetry.instrument(capture_content=True)
    complete("faux/echo", "x" * 1_000_000)
    [span] = telemetry.spans
    content = span.attributes["gen_ai.input.messages"]
    assert otel.MAX_TEXT_CHARS <= len(content) <= otel.MAX_TEXT_CHARS + 200
    json.loads(content)


def test_uninstrument(telemetry: Telemetry) -> None:
    telemetry.instrument()  # replaces the first one
    complete("faux/echo", "q")
    assert len(telemetry.spans) == 1
    otel.uninstrument()
    otel.uninstrument()
    complete("faux/echo", "q")
    run_tools("faux/echo", "q", [get_weather]).result()
    assert len(telemetry.spans) == 1
    assert tool_observer.tool_loop_factories == []


def test_no_provider_is_configured() -> None:
    otel.instrument()
    try:
        assert complete("faux/echo", "q").text == "q"
        assert run_tools("faux/echo", "q", [get_weather]).result().text == "q"
    finally:
        otel.uninstrument()


def test_other_names_of_providers(telemetry: Telemetry) -> None:
    for model in ("google/gemini-2.5-flash", "mistral/mistral-large-latest", "groq/x"):
        complete(model, "q", api_base="http://127.0.0.1:9", api_key="k" * 20, max_retries=0)
    names = [span.attributes["gen_ai.provider.name"] for span in telemetry.spans]
    assert names == ["gcp.gemini", "mistral_ai", "groq"]


def test_address_of_a_host_that_only_its_wire_knows(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    complete("anthropic/claude-sonnet-4-5", "q", api_key="k" * 20, max_retries=0)
    [span] = telemetry.spans
    assert span.attributes["server.address"] == "api.anthropic.com"
    assert span.attributes["server.port"] == 443


# --- When OpenTelemetry fails -----------------------------------------------------------------


@pytest.mark.parametrize("processor", [BatchSpanProcessor, SimpleSpanProcessor])
def test_collector_that_is_down(
    processor: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background_calls, "CALL_TIMEOUT_S", 0.2)
    caplog.set_level(logging.CRITICAL, "opentelemetry")
    traces = TracerProvider()
    traces.add_span_processor(
        processor(OTLPSpanExporter("http://127.0.0.1:9/v1/traces", timeout=3))
    )
    otel.instrument(tracer_provider=traces)
    try:
        for _ in range(3):
            assert complete("faux/echo", "Hi").text == "Hi"
    finally:
        otel.uninstrument()
        traces.shutdown()


class Exporter(SpanProcessor):
    """A processor that blocks or fails."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.entered = threading.Event()
        self.fails = False

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self.fails:
            raise OSError("no")

    def on_end(self, span: Any) -> None:
        self.entered.set()
        if self.fails:
            raise OSError("no")
        assert self.release.wait(WAIT)


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    processor = Exporter()
    traces = TracerProvider()
    traces.add_span_processor(processor)
    otel.instrument(tracer_provider=traces)
    yield processor
    processor.release.set()
    otel.uninstrument()


def test_exporter_that_blocks(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_calls, "CALL_TIMEOUT_S", 0.05)
    assert complete("faux/echo", "Hi").text == "Hi"
    assert exporter.entered.is_set()
    assert asyncio.run(acomplete("faux/echo", "Hi")).text == "Hi"
    with faux.script(faux.tool("get_weather", city="Rome"), "done"):
        assert run_tools("faux/m", "q", [get_weather]).result().text == "done"


def test_sdk_that_fails(exporter: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    exporter.fails = True
    assert complete("faux/echo", "Hi").text == "Hi"
    with faux.script(faux.tool("get_weather", city="Rome"), "done"):
        assert run_tools("faux/m", "q", [get_weather]).result().text == "done"
    assert "failed" in caplog.text


# --- When it is off ---------------------------------------------------------------------------


def test_off_costs_nothing() -> None:
    """Deltas go directly to the queue, also of an instrumented request; no package is loaded."""
    run, queue = create_run("faux/echo", user("q"), None, {}, None, None)
    assert not run._observers
    assert run._push == queue.push
    otel.instrument()
    try:
        run, queue = create_run("faux/echo", user("q"), None, {}, None, None)
        assert run._push == queue.push
    finally:
        otel.uninstrument()
    code = (
        "import sys; from pipy_ai import complete, run_tools;"
        "assert complete('faux/echo', 'q').text == 'q';"
        "run_tools('faux/echo', 'q', [callable]).result();"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')];"
        "assert 'pipy_ai.otel' not in sys.modules"
        " and 'pipy_ai.utils.background_calls' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_missing_package() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "try:\n    from pipy_ai import otel\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout.startswith("OpenTelemetry is not installed: pip install 'pipy-ai")
    assert "[otel]" in done.stdout
