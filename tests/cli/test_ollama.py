"""Test the commands with an Ollama server, and without one."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from ..support.command import pipy
from ..support.scripted_server import Lab, Status
from ..support.wire_formats import OLLAMA, say

NAMES = ["qwen3:8b", "gemma3:latest", "embed"]


def server(seen: Any) -> Any:
    if seen.path == "/api/tags":
        return Status(200, {"models": [{"name": name} for name in NAMES]})
    if seen.path == "/api/chat":
        return OLLAMA.scene(say("Hello."))
    name = seen.json["model"]
    if name == "embed":
        return Status(200, {"capabilities": ["embedding"]})
    capabilities = ["completion", "tools"] if "qwen" in name else ["completion", "vision"]
    info = {"x.context_length": 40_960 if "qwen" in name else 8192}
    return Status(200, {"capabilities": capabilities, "model_info": info})


@pytest.fixture
def host(lab: Lab) -> str:
    lab.always = server
    return f"127.0.0.1:{lab.port}"


@pytest.fixture
def nobody() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


def test_models_of_the_server(host: str) -> None:
    shown = pipy("models", "--provider", "ollama", OLLAMA_HOST=host)
    assert sorted(shown.stdout.split()) == ["ollama/gemma3:latest", "ollama/qwen3:8b"]
    filters = ("--capability", "tool_call", "--min-context", "10k", "--json")
    [model] = json.loads(pipy("models", "--provider", "ollama", *filters, OLLAMA_HOST=host).stdout)
    assert (model["model"], model["context"]) == ("ollama/qwen3:8b", 40_960)
    pictured = pipy("models", "--provider", "ollama_chat", "--modality", "image", OLLAMA_HOST=host)
    assert pictured.stdout == "ollama_chat/gemma3:latest\n"


def test_info_of_a_model(host: str) -> None:
    for name in ("ollama/gemma3", "ollama/gemma3:latest"):
        shown = pipy("info", name, OLLAMA_HOST=host)
        assert "Context: 8,192 tokens\n" in shown.stdout
        assert f"ollama_chat/gemma3:latest at http://{host}\n" in shown.stdout
        assert "api_base" not in shown.stderr
    assert "no model 'ollama/nope'" in pipy("info", "ollama/nope", OLLAMA_HOST=host).stderr


def test_options_of_ollama(host: str, lab: Lab) -> None:
    options = ("-o", "extra.keep_alive=1h", "-o", "extra.num_ctx=9000", "--temperature", "0")
    done = pipy("ask", "--no-save", "-m", "ollama/qwen3", *options, "hi", OLLAMA_HOST=host)
    assert done.stdout == "Hello.\n"
    sent = lab.seen[-1].json
    assert (sent["keep_alive"], sent["options"]) == ("1h", {"temperature": 0, "num_ctx": 9000})


def test_no_server(nobody: str) -> None:
    expected = (
        f"pipy: Ollama is not running at http://{nobody}: start it with `ollama serve`, or set "
        "OLLAMA_HOST to its address.\n"
    )
    for words in (["ask", "--no-save", "-m", "ollama/m", "hi"], ["models", "--provider", "ollama"]):
        done = pipy(*words, OLLAMA_HOST=nobody)
        assert (done.returncode != 0, done.stdout, done.stderr) == (True, "", expected)
    assert pipy("info", "ollama/m", OLLAMA_HOST=nobody).stderr == expected


def test_server_without_models(lab: Lab, host: str) -> None:
    lab.always = lambda seen: Status(200, {"models": []})  # type: ignore[assignment]
    done = pipy("models", "--provider", "ollama", OLLAMA_HOST=host)
    assert done.returncode == 1
    assert "ollama pull" in done.stderr


def test_doctor(host: str, nobody: str) -> None:
    def lines(**env: str) -> list[dict[str, str]]:
        found = json.loads(pipy("doctor", "--json", **env).stdout)
        return [one for one in found if one["about"] == "cloud" and "Ollama" in one["said"]]

    assert lines(OLLAMA_HOST="") == []
    [ok] = lines(OLLAMA_HOST=host, OLLAMA_API_KEY="ollama-secret-0123456789")
    assert (ok["state"], ok["said"]) == (
        "ok",
        f"Ollama: http://{host} (OLLAMA_HOST): 3 models; OLLAMA_API_KEY (environment) for "
        "https://ollama.com",
    )
    [missing] = lines(OLLAMA_HOST=nobody)
    assert (missing["state"], missing["todo"]) == ("warn", "ollama serve")
