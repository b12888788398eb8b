"""Test the discovery of local model servers, over real sockets."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipy_ai.cli.checks import servers as module
from pipy_ai.cli.checks.servers import Server, discover
from pipy_ai.registry.routing import DEFAULT_API_BASES

from ..support.command import pipy
from ..support.model_servers import VLLM, Answers, Fake, Start
from ..support.raw_server import Raw, response


def ollama_show(asked: Any) -> Any:
    contexts = {"gemma3:4b": {"general.architecture": "gemma3", "gemma3.context_length": 131072}}
    return {"capabilities": ["completion"], "model_info": contexts.get(asked["model"], {})}


OLLAMA = {
    "/": "Ollama is running",
    "/api/tags": {"models": [{"name": "gemma3:4b", "size": 1}, {"name": "odd"}]},
    "/api/show": ollama_show,
    "/v1/models": {"object": "list", "data": [{"id": "gemma3:4b", "owned_by": "library"}]},
}
LM_STUDIO = {
    "/": (200, {"error": "Unexpected endpoint or method. (GET /)"}),
    "/v1/models": {
        "data": [{"id": "qwen3-4b", "object": "model", "owned_by": "organization_owner"}]
    },
    "/api/v0/models": {
        "data": [
            {"id": "qwen3-4b", "type": "llm", "state": "loaded", "max_context_length": 40960},
            {"id": "nomic-embed", "type": "embeddings", "max_context_length": 2048},
        ]
    },
}


PROXY = {
    "/": "<html>LiteLLM</html>",
    "/health/liveliness": '"I\'m alive!"',
    "/v1/models": (401, {"error": {"message": "Authentication Error, No api key passed in."}}),
}
OTHER = {"/v1/models": {"data": [{"id": "x", "owned_by": "me"}]}}


def one(fake: Fake) -> Server:
    [server] = discover([fake.port])
    return server


@pytest.mark.parametrize(
    ("answers", "kind", "models"),
    [
        (OLLAMA, "Ollama", [("ollama/gemma3:4b", 131072), ("ollama/odd", None)]),
        (LM_STUDIO, "LM Studio", [("lm_studio/qwen3-4b", 40960)]),
        (VLLM, "vLLM", [("hosted_vllm/Qwen/Qwen3-8B", 32768)]),
        (OTHER, "OpenAI-compatible", [("hosted_vllm/x", None)]),
    ],
)
def test_servers_are_identified_by_their_own_endpoints(
    start: Start, answers: Answers, kind: str, models: list[Any]
) -> None:
    fake = start(answers)
    server = one(fake)
    assert server.kind == kind
    assert [(model.name, model.context) for model in server.models] == models
    tail = "" if kind == "Ollama" else "/v1"
    assert server.api_base == f"http://127.0.0.1:{fake.port}{tail}"
    assert not any("authorization" in headers for headers in fake.headers)


def test_server_that_requires_a_key(start: Start) -> None:
    proxy = one(start(PROXY))
    assert (proxy.kind, proxy.models, proxy.problem) == ("LiteLLM proxy", [], "needs a key")
    some = one(start({"/v1/models": (403, "no")}))
    assert (some.kind, some.problem) == ("OpenAI-compatible", "needs a key")


def test_llama_cpp_that_is_loading(start: Start) -> None:
    loading = (503, {"error": {"message": "Loading model", "code": 503}})
    server = one(start({"/v1/models": loading, "/health": loading}, server="llama.cpp"))
    assert (server.kind, server.problem) == ("llama.cpp", "is still loading its model")


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"/": "<html>a web application</html>"},
        {"/v1/models": "[1, 2"},
        {"/v1/models": {"data": "no list"}},
        {"/v1/models": [1]},
        {"/": (302, "")},
    ],
)
def test_other_servers_are_ignored(start: Start, answers: Answers) -> None:
    assert discover([start(answers).port]) == []


def test_invalid_entries_are_skipped_and_long_ones_truncated(start: Start) -> None:
    data = [5, {"id": None, "owned_by": "vllm"}, {"id": "ok", "max_model_len": "many"}]
    server = one(start({"/v1/models": {"data": data}}))
    assert [(model.name, model.context) for model in server.models] == [("hosted_vllm/ok", None)]
    huge = {"data": [{"id": "x" * (5 << 20)}]}
    assert discover([start({"/v1/models": huge}).port]) == []


def test_ports_are_probed_concurrently_with_a_timeout(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [start(VLLM, wait=3).port for _ in range(5)]
    monkeypatch.setattr(module, "PROBE_TIMEOUT_S", 0.4)
    begun = time.perf_counter()
    assert discover(silent) == []
    assert time.perf_counter() - begun < 2.9


def test_port_from_an_environment_variable_is_probed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = start(VLLM)
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", f"http://localhost:{fake.port}/v1")
    monkeypatch.setenv("LM_STUDIO_API_BASE", "http://gpu.lan:1234/v1")  # not of this machine
    assert [server.kind for server in discover()] == ["vLLM"]


def test_port_of_ollama_is_probed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = start(OLLAMA)
    monkeypatch.setenv("OLLAMA_HOST", f"0.0.0.0:{fake.port}")
    [server] = discover()
    assert (server.kind, server.api_base) == ("Ollama", None)
    assert server.model_flags(server.models[0]) == "-m ollama/gemma3:4b"


def test_proxy_is_not_used(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, fake = start({}), start(VLLM)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert one(fake).kind == "vLLM"
    assert proxy.headers == []


def test_default_address_needs_no_option(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = start(VLLM)
    monkeypatch.setitem(DEFAULT_API_BASES, "hosted_vllm", f"http://127.0.0.1:{fake.port}/v1")
    server = one(fake)
    assert server.api_base is None
    assert server.model_flags(server.models[0]) == "-m hosted_vllm/Qwen/Qwen3-8B"


def test_real_llama_cpp_is_found_and_answers_under_its_listed_name(llama: str) -> None:
    port = str(urlsplit(llama).port)
    done = pipy("local", "discover", "--port", port, "--json")
    [server] = [one for one in json.loads(done.stdout) if one["address"].endswith(f":{port}")]
    assert server["kind"] == "llama.cpp"
    assert server["models"] == [{"name": "llamafile/smollm2", "context": 4096}]
    shown = pipy("local", "discover", "--port", port).stdout
    [line] = [line for line in shown.splitlines() if f":{port}/v1" in line]
    words = line.split()
    assert words[:3] == ["-m", "llamafile/smollm2", "--api-base"]
    assert words[4:] == ["4,096", "tokens"]
    answer = pipy("ask", *words[:4], "--max-tokens", "20", "What is 2+2?")
    assert answer.returncode == 0
    assert (answer.stdout + answer.stderr).strip()  # this model thinks aloud at times


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br"])
def test_answers_in_a_compression_that_was_not_requested_are_ignored(encoding: str) -> None:
    body = b'{"data": [{"id": "m"}]}'
    with Raw(response(body, f"content-encoding: {encoding}")) as server:
        assert discover([int(server.address.rpartition(":")[2])]) == []
    assert any("accept-encoding: gzip" in head.lower().split("\n") for head in server.seen)
