"""Test the LiteLLM transport over real sockets with scripted responses."""

from __future__ import annotations

import asyncio
import sys
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    ImageContent,
    Tool,
    ToolCall,
    acomplete,
    assistant,
    complete,
    ctx,
    stream,
    tool_result,
    user,
)

from ..support.chat_scenarios import CASES, shape
from ..support.event_grammar import check_events
from ..support.raw_server import Raw, response
from ..support.scripted_server import (
    DONE,
    Lab,
    Pause,
    Status,
    chat,
    chunk,
    finish,
    sse,
    text,
    usage,
)

pytestmark = [
    pytest.mark.litellm,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


MODEL = "hosted_vllm/m"


@pytest.fixture(autouse=True)
def _through_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPY_TRANSPORT", "litellm")


PNG_URL = "data:image/png;base64,iVBORw0KGgo="
PNG = ImageContent(data="iVBORw0KGgo=", mime_type="image/png")


@pytest.mark.parametrize("name", CASES)
def test_scenarios(lab: Lab, name: str) -> None:
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


def test_request_body(lab: Lab) -> None:
    tool = Tool(name="f", description="d", parameters={"type": "object", "properties": {}})
    call = ToolCall(id="c1", name="f", arguments={"x": 1})
    context = ctx(
        user("look", PNG), assistant("I call.", call),
        tool_result(call, "7 \ud83d", is_error=True), system="Be brief.", tools=[tool],
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


def test_usage_excludes_cached_tokens_and_is_never_invented(lab: Lab) -> None:
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


def test_key_is_not_in_errors(lab: Lab) -> None:
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
def test_missing_key_names_its_environment_variable(model: str, variable: str) -> None:
    message = complete(model, "q")
    assert message.error is not None
    assert message.error.kind == "missing_key"
    assert variable in message.error.message
    assert [e.type for e in stream(model, "q")] == ["error"]


def test_ignored_options_are_warnings(lab: Lab) -> None:
    message = complete(MODEL, "q", api_base=lab.url, session_id="s", reasoning="max")
    assert {w.code for w in message.warnings} == {"option_ignored", "reasoning_changed"}
    assert lab.seen[0].json["reasoning_effort"] == "high"


def test_on_payload_sees_and_replaces_the_request(lab: Lab) -> None:
    seen: list[dict[str, Any]] = []

    def look(payload: dict[str, Any]) -> dict[str, Any]:
        seen.append(payload)
        return {**payload, "temperature": 0.7}

    complete(MODEL, "q", api_base=lab.url, api_key="k-1", on_payload=look)
    assert lab.seen[0].json["temperature"] == 0.7
    assert "k-1" not in repr(seen)


def test_refused_connection_is_retried_then_reported() -> None:
    message = complete(MODEL, "q", api_base="http://127.0.0.1:9/v1", max_retries=1)
    assert message.error is not None
    assert message.error.kind == "connection"
    assert message.error.retryable


def test_events_arrive_as_they_are_sent(lab: Lab) -> None:
    lab.play(sse(*text("first"), Pause(), *text("second"), finish("stop"), DONE))
    s = stream(MODEL, "q", api_base=lab.url)
    for event in s:
        if event.type == "text_delta" and event.delta == "first":
            assert not s._queue.result_future.done()
            lab.go()
    assert s.result().text == "firstsecond"


def test_content_of_the_wrong_type_is_an_error_of_the_provider() -> None:
    from litellm.types.utils import ModelResponseStream, StreamingChoices

    from pipy_ai.errors import ProviderError
    from pipy_ai.provider.litellm.chunks import ChunkDecoder

    chunk = ModelResponseStream(choices=[StreamingChoices()])
    for content in (5, {"a": 1}, [5]):
        chunk.choices[0].delta.content = content
        with pytest.raises(ProviderError) as caught:
            ChunkDecoder("xai").decode(chunk)
        assert caught.value.error.kind == "server"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (chunk({"tool_calls": 5}), "server"),
        (chunk({}, finish_reason=5), "server"),
        (chunk({}, finish_reason={"a": 1}), "server"),
        ({**chunk({}), "choices": 5}, "server"),
        ({**chunk({}), "choices": ["x"]}, "server"),
        ({**chunk({}), "choices": [{"delta": 1.5}]}, "server"),
        (chunk(choices=[], usage={"prompt_tokens": "x", "completion_tokens": 1e999}), "server"),
        ("{bad", "server"),
        ("[1]", "server"),
        ({"error": 5}, "server"),
        ({"error": {"a": 1}}, "server"),
        ({"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}, "rate_limit"),
    ],
    ids=str,
)
@pytest.mark.parametrize("received", [[], text("kept")], ids=["first", "later"])
def test_malformed_response_that_litellm_reads(
    lab: Lab, event: Any, kind: str, received: list[Any]
) -> None:
    """LiteLLM reports it as a broken connection, with the text of a Python exception."""
    lab.play(sse(*received, event, DONE))
    base = lab.url.removesuffix("/v1")
    message = check_events(
        list(stream("azure/gpt-4o", "q", api_base=base, api_key="k", max_retries=0))
    )
    assert message.api == "litellm"
    assert message.error is not None
    assert message.error.kind == kind
    assert "object" not in message.error.message
    assert message.text == ("kept" if received else "")


@pytest.mark.parametrize("model", ["azure/gpt-4o", "cohere/command-r"])
def test_error_without_end_that_litellm_reads(model: str) -> None:
    with Raw(chain([b"HTTP/1.1 400 Bad\r\n\r\n"], repeat(b"y" * 65536))) as server:
        base = server.url.removesuffix("/v1")
        message = complete(model, "q", api_base=base, api_key="k", max_retries=0, timeout=60)
        assert server.sent < 64 << 20
    assert message.error is not None
    assert message.error.kind == "bad_request"


def test_corrupt_compression_that_litellm_reads() -> None:
    head = "content-type: text/event-stream", "content-encoding: gzip"
    with Raw(response(b"not gzip", *head)) as server:
        base = server.url.removesuffix("/v1")
        message = complete("azure/gpt-4o", "q", api_base=base, api_key="k", max_retries=0)
    assert message.error is not None
    assert message.error.kind == "server"
    assert "Traceback" not in message.error.message


def test_repeated_thinking_with_signature_is_emitted_once() -> None:
    from litellm.types.utils import Delta, ModelResponseStream, StreamingChoices

    from pipy_ai.provider import Thinking, ThinkingSignature
    from pipy_ai.provider.litellm.chunks import ChunkDecoder

    def chunk_of(reasoning: str, **block: str) -> Any:  # as LiteLLM 1.105 hands them over
        blocks: Any = [{"type": "thinking", **block}]
        delta = Delta(reasoning_content=reasoning, thinking_blocks=blocks)
        return ModelResponseStream(choices=[StreamingChoices(delta=delta)])

    decoder = ChunkDecoder("anthropic")
    deltas = decoder.decode(chunk_of("hm", thinking="hm"))
    deltas += decoder.decode(chunk_of("", thinking="hm", signature="s"))
    deltas = [delta for delta in deltas if isinstance(delta, Thinking | ThinkingSignature)]
    assert deltas == [Thinking("hm"), ThinkingSignature("s")]


@pytest.mark.parametrize(
    ("reason", "stop", "kind"),
    [
        ("stop", "stop", None),
        ("brand_new", "error", "incomplete"),
        ("abort", "error", "incomplete or server"),  # LiteLLM 1.110 turns it into `error`
        ("content_filter", "error", "content_filter"),
        (None, "error", "incomplete"),  # nothing but `[DONE]`
    ],
)
def test_end_of_a_response_that_litellm_reads(
    lab: Lab, reason: str | None, stop: str, kind: str | None
) -> None:
    """Azure documents its finish reasons; LiteLLM turns unknown ones into `stop`."""
    lab.play(sse(*([*text("so far"), finish(reason)] if reason else []), DONE))
    base = lab.url.removesuffix("/v1")
    message = check_events(
        list(stream("azure/gpt-4o", "q", api_base=base, api_key="k", max_retries=0))
    )
    assert message.api == "litellm"
    assert message.stop_reason == stop
    assert (message.error.kind.value in kind.split(" or ")) if message.error and kind else not kind
    assert message.text == ("so far" if reason else "")


def test_think_tags_that_litellm_reads(lab: Lab) -> None:
    lab.play(chat(text("<thi", "nk>hm</think>\n", "Hi"), finish("stop")))
    base = lab.url.removesuffix("/v1")
    options: dict[str, Any] = {"api_base": base, "api_key": "k", "think_tags": "parse"}
    message = check_events(list(stream("azure/my-own", "q", **options)))
    assert message.api == "litellm"
    assert (message.thinking_text, message.text) == ("hm", "Hi")


def test_unknown_provider_is_reported_without_litellm_output() -> None:
    message = complete("nope/nope", "hi")
    assert message.error is not None
    assert message.error.kind == "not_found"
    assert message.error.message.startswith("Unknown provider. pipy providers lists")


def test_billing_of_vertex_chunks() -> None:
    """LiteLLM keeps Vertex AI's traffic type beside the chunk, and counts its searches."""
    from litellm.types.utils import ModelResponseStream

    from pipy_ai.provider import UsageReport
    from pipy_ai.provider.litellm.chunks import ChunkDecoder

    text = ModelResponseStream(choices=[{"index": 0, "delta": {"content": "Hi."}}])
    text._hidden_params = {"provider_specific_fields": {"traffic_type": "ON_DEMAND_PRIORITY"}}
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
    details = {"web_search_requests": 2}
    last = ModelResponseStream(choices=[], usage={**usage, "prompt_tokens_details": details})
    decoder = ChunkDecoder("vertex_ai")
    decoder.decode(text)
    decoder.decode(last)
    reports = [delta for delta in decoder.usage if isinstance(delta, UsageReport)]
    assert {report.service_tier for report in reports} >= {"ON_DEMAND_PRIORITY"}
    assert reports[0].server_tool_calls == {"google_search": 2}


def test_own_provider_of_litellm(lab: Lab, july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complete(MODEL, "hi", api_base=lab.url)  # imports LiteLLM
    litellm: Any = sys.modules["litellm"]

    class Handler(litellm.CustomLLM):  # type: ignore[misc]
        async def astreaming(self, *args: Any, **options: Any) -> Any:
            yield {"text": "own", "is_finished": True, "finish_reason": "stop", "index": 0,
                   "tool_use": None, "usage": None}  # fmt: skip

    entry = {"provider": "opnai", "custom_handler": Handler()}
    monkeypatch.setattr(litellm, "custom_provider_map", [entry])
    message = complete("opnai/gpt-5", "hi")
    assert message.error is None, message.error
    assert message.text == "own"


@pytest.mark.parametrize("model", ["azure/gpt-4o", "cohere/command-r", "volcengine/x"])
@pytest.mark.parametrize("status", [302, 307])
def test_redirects_are_not_followed(lab: Lab, model: str, status: int) -> None:
    """Azure's key is in a header that httpx would send along to another host."""
    with Lab() as other:
        target = {"location": f"{other.url}/chat/completions"}
        lab.play(Status(status, "", target))
        base = lab.url.removesuffix("/v1")
        message = complete(model, "q", api_base=base, api_key="k-0123456789", max_retries=0)
        assert message.error is not None
        assert lab.seen
        assert other.seen == []


def test_package_that_litellm_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("boto3", "botocore"):
        monkeypatch.setitem(sys.modules, name, None)
    message = complete("sagemaker/x", "q", max_retries=3)
    assert message.error is not None
    assert (message.error.kind, message.error.retryable) == ("missing_key", False)
    assert "sagemaker" in message.error.message
    assert "pip install boto3" in message.error.message
    assert not message.attempts
