"""Test how an Ollama server and its cloud are reached, and what is said if they are not."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from pipy_ai import AssistantMessage, complete, ctx, preview, tool
from pipy_ai.errors import ProviderError
from pipy_ai.provider.clouds.ollama import CLOUD, list_models

from ...support.raw_server import Raw, response
from ...support.scripted_server import Lab, Status
from ...support.wire_formats import OLLAMA, say

KEY = "ollama-secret-0123456789"


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def failure(lab: Lab, status: int, error: Any, model: str = "ollama/qwen3", **options: Any) -> str:
    lab.play(Status(status, error))
    message = complete(model, "q", api_base=OLLAMA.base(lab), max_retries=0, **options)
    assert message.error is not None
    return f"{message.error.kind}: {message.error.message}"


# --- The address ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ollama/qwen3", "ollama_chat/qwen3"])
@pytest.mark.parametrize("path", ["", "/", "/api", "/v1", "/api/chat"])
def test_address_with_and_without_a_path(lab: Lab, name: str, path: str) -> None:
    lab.play(OLLAMA.scene(say("ok")))
    message = complete(name, "q", api_base=f"http://127.0.0.1:{lab.port}{path}")
    assert (message.text, message.api) == ("ok", "ollama-chat")
    assert lab.seen[0].path == "/api/chat"
    assert "authorization" not in lab.seen[0].headers


@pytest.mark.parametrize("variable", ["OLLAMA_HOST", "OLLAMA_API_BASE"])
@pytest.mark.parametrize("host", ["127.0.0.1:{}", "0.0.0.0:{}", "http://localhost:{}", ":{}"])
def test_address_of_the_environment(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, variable: str, host: str
) -> None:
    monkeypatch.setenv(variable, host.format(lab.port))
    lab.play(OLLAMA.scene(say("ok")))
    assert complete("ollama/qwen3", "q").text == "ok"


def test_extra_fields_reach_the_server(lab: Lab) -> None:
    lab.play(OLLAMA.scene(say("ok")))
    extra = {"keep_alive": "1h", "options": {"num_gpu": 1}, "num_ctx": 9000}
    complete("ollama/qwen3", "q", api_base=OLLAMA.base(lab), extra=extra, max_tokens=5)
    sent = lab.seen[0].json
    assert sent["keep_alive"] == "1h"
    assert sent["options"] == {"num_predict": 5, "num_ctx": 9000, "num_gpu": 1}


# --- The key --------------------------------------------------------------------------------


def sent_key(**options: Any) -> str | None:
    return preview("ollama/m", "q", **options).headers.get("authorization")


def test_key_of_the_environment_goes_to_the_cloud_only(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    lab.play(OLLAMA.scene(say("ok")))
    complete("ollama/m", "q", api_base=OLLAMA.base(lab))
    assert KEY not in str(lab.seen[0].headers)
    assert sent_key(api_base="https://ollama.com") is not None
    assert sent_key(api_base="ollama.com/v1") is not None
    for other in ("http://ollama.com", "https://ollama.com.evil.example", "https://gpu.lan"):
        assert sent_key(api_base=other) is None
    assert sent_key(api_base="https://gpu.lan", api_key=KEY) is not None
    monkeypatch.setenv("OLLAMA_HOST", "https://gpu.lan")  # it belongs to this key
    assert sent_key() is not None
    monkeypatch.setenv("OLLAMA_HOST", "http://gpu.lan")
    assert sent_key() is None


@pytest.mark.litellm
def test_litellm_gets_no_key_for_another_server(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{lab.port}")
    for options in ({}, {"api_base": OLLAMA.base(lab)}):
        lab.play(OLLAMA.scene(say("ok")))
        assert complete("ollama/m", "q", transport="litellm", **options).text == "ok"
        assert "truncate" not in lab.seen[-1].json  # LiteLLM wrote it
    assert KEY not in str([seen.headers for seen in lab.seen])


def test_key_that_the_caller_passes(lab: Lab) -> None:
    for api_key in (KEY, lambda: KEY):
        lab.play(OLLAMA.scene(say("ok")))
        complete("ollama/m", "q", api_base=OLLAMA.base(lab), api_key=api_key)
        assert lab.seen[-1].headers["authorization"] == f"Bearer {KEY}"


def test_cloud_without_a_key() -> None:
    message = complete("ollama/m", "q", api_base="https://ollama.com")
    assert message.error is not None
    assert (message.error.kind, message.error.retryable) == ("missing_key", False)
    assert "OLLAMA_API_KEY" in message.error.message


# --- Errors ---------------------------------------------------------------------------------


def test_no_server_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    port = closed_port()
    monkeypatch.setenv("OLLAMA_HOST", f"0.0.0.0:{port}")
    message = complete("ollama/qwen3", "q")
    assert message.error is not None
    assert (message.error.kind, message.error.retryable) == ("connection", False)
    assert message.error.message == (
        f"Ollama is not running at http://127.0.0.1:{port}: start it with `ollama serve`, or set "
        "OLLAMA_HOST to its address."
    )
    assert message.attempts == []  # no retry


@pytest.mark.parametrize(
    "address", ["::::", "a\nb\n:80", "http://[::1", "unix:///x", "ht!tp://x", "http://x:0"]
)
def test_invalid_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    message = complete("ollama/m", "q", api_base=address)
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert "set OLLAMA_HOST, or api_base=, to one like" in message.error.message
    monkeypatch.setenv("OLLAMA_HOST", address)
    report = asyncio.run(CLOUD.report())
    assert report is not None
    assert (report.status, report.advice) == ("failed", "unset OLLAMA_HOST, or correct it")
    with pytest.raises(ProviderError, match="is not the address"):
        asyncio.run(list_models())


def test_password_in_the_address_is_not_shown() -> None:
    message = complete("ollama/m", "q", api_base=f"http://me:{KEY}@127.0.0.1:{closed_port()}")
    assert message.error is not None
    assert "not running at http://127.0.0.1" in message.error.message
    assert KEY not in message.model_dump_json()


@tool
def look() -> str:
    """Look."""
    return ""


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (
            404,
            'model "qwen3" not found, try pulling it first',
            'not_found: model "qwen3" not found, try pulling it first: run `ollama pull qwen3`.',
        ),
        (404, "model 'qwen3' not found", "not_found: model 'qwen3' not found: run `ollama pull"),
        (400, '"qwen3" does not support thinking', "thinking: leave out reasoning=."),
        (400, 'think value "low" is not supported for this model', 'set extra={"think": true}'),
        (400, "qwen3 does not support tools", "does not support tools: choose a model with tools"),
        (401, "unauthorized", "auth: unauthorized: run `ollama signin`, or pass api_key=."),
        (
            400,
            "the prompt is longer than the context length currently available to the model",
            'extra={"num_ctx": …} (-o extra.num_ctx=…).',
        ),
    ],
)
def test_errors_say_what_to_do(lab: Lab, status: int, error: str, expected: str) -> None:
    assert expected in failure(lab, status, {"error": error})


def test_error_line_in_the_stream_says_what_to_do(lab: Lab) -> None:
    error = b'{"error":"\\"qwen3\\" does not support thinking","status":400}\n'
    lab.play([*OLLAMA.scene(say("a"), stop=None), error])
    message = complete("ollama/qwen3", ctx("q", tools=[look]), api_base=OLLAMA.base(lab))
    assert message.text == "a"
    assert message.error is not None
    assert message.error.message.endswith("leave out reasoning=.")


def test_redirect_to_another_host_is_not_followed() -> None:
    with Raw(response(b"", "location: http://127.0.0.2:9/api/chat", status="307 Go")) as server:
        base = server.url.removesuffix("/v1")
        message: AssistantMessage = complete("ollama/m", "q", api_base=base, api_key=KEY)
    assert message.error is not None
    assert "not followed" in message.error.message


# --- The list of models ---------------------------------------------------------------------


def details(seen: Any) -> Status:
    if seen.path == "/api/tags":
        return Status(200, {"models": [{"name": "qwen3:8b"}, {"name": "embed"}, {"x": 1}, 5]})
    assert seen.path == "/api/show"
    if seen.json["model"] == "embed":
        return Status(200, {"capabilities": ["embedding"]})
    info = {"general.architecture": "qwen3", "qwen3.context_length": 40_960}
    capabilities = ["completion", "tools", "thinking", "vision"]
    return Status(200, {"capabilities": capabilities, "model_info": info})


def test_list_of_models(lab: Lab) -> None:
    lab.always = details  # type: ignore[assignment]
    records = asyncio.run(list_models(f"127.0.0.1:{lab.port}/api"))
    assert records == {
        "qwen3:8b": {
            "id": "qwen3:8b",
            "name": "qwen3:8b",
            "open_weights": True,
            "modalities": {"input": ["text", "image"], "output": ["text"]},
            "tool_call": True,
            "reasoning": True,
            "limit": {"context": 40_960},
        },
        "embed": {
            "id": "embed",
            "name": "embed",
            "open_weights": True,
            "modalities": {"input": ["text"], "output": ["embedding"]},
            "tool_call": False,
            "reasoning": False,
        },
    }


@pytest.mark.parametrize("broken", [Status(500, "x"), Status(200, "[1]"), Status(200, "{")])
def test_list_of_a_broken_server(lab: Lab, broken: Status) -> None:
    lab.play(broken)
    with pytest.raises(ProviderError, match="returned no list of models"):
        asyncio.run(list_models(lab.url))
    lab.play(Status(200, {"models": [{"name": "a"}]}), broken)
    record = {"id": "a", "name": "a", "open_weights": True}
    assert asyncio.run(list_models(lab.url)) == {"a": record}


def test_silent_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipy_ai.provider.clouds.ollama.LIST_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.perf_counter()
        with pytest.raises(ProviderError, match="did not list its models in 0"):
            asyncio.run(list_models(f"127.0.0.1:{silent.getsockname()[1]}"))
        assert time.perf_counter() - started < 5
    with pytest.raises(ProviderError, match="ollama serve"):
        asyncio.run(list_models(f"127.0.0.1:{closed_port()}"))


# --- pipy doctor ----------------------------------------------------------------------------


def test_report(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(CLOUD.report()) is None
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    report = asyncio.run(CLOUD.report())
    assert report == ("ok", "OLLAMA_API_KEY (environment) for https://ollama.com", "")
    monkeypatch.setenv("OLLAMA_HOST", f"0.0.0.0:{lab.port}")
    lab.always = details  # type: ignore[assignment]
    report = asyncio.run(CLOUD.report())
    assert report is not None
    assert report.text.startswith(f"http://127.0.0.1:{lab.port} (OLLAMA_HOST): 2 models; OLLAMA_")
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{closed_port()}")
    report = asyncio.run(CLOUD.report())
    assert report is not None
    assert (report.status, report.advice) == ("missing", "ollama serve")
    monkeypatch.setenv("OLLAMA_HOST", "gpu.lan")  # of another machine: not asked
    report = asyncio.run(CLOUD.report())
    assert report is not None
    assert (report.status, report.text.partition(";")[0]) == (
        "ok", "http://gpu.lan:11434 (OLLAMA_HOST)"
    )  # fmt: skip
