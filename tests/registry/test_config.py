"""Test the configuration generated for LiteLLM's Router and proxy."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipy_ai import complete, stream
from pipy_ai.registry import generate_router_config

from ..support.scripted_server import Lab
from ..support.wire_formats import CHAT, Counts, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # LiteLLM's own clients
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def entries(path: Path) -> dict[str, Any]:
    said = yaml.safe_load(path.read_text())
    return {entry["model_name"]: entry["litellm_params"] for entry in said["model_list"]}


def test_file_contains_providers_with_keys(july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    monkeypatch.setenv("TOGETHERAI_API_KEY", "tog-secret")  # LiteLLM's name of it
    path = generate_router_config()
    assert path == july / "router.yaml"
    text = path.read_text()
    assert "secret" not in text
    found = entries(path)
    assert {name.partition("/")[0] for name in found} == {"anthropic", "togetherai"}
    assert found["anthropic/claude-sonnet-4-5"] == {
        "model": "anthropic/claude-sonnet-4-5", "api_key": "os.environ/ANTHROPIC_API_KEY"
    }  # fmt: skip
    assert found["togetherai/openai/gpt-oss-120b"] == {
        "model": "together_ai/openai/gpt-oss-120b",
        "api_base": "https://api.together.ai/v1",
        "api_key": "os.environ/TOGETHERAI_API_KEY",
    }
    assert not any("embed" in name or "whisper" in name for name in found)
    assert "# router_settings:" in text
    assert "redis_host: os.environ/REDIS_HOST" in text


def test_chosen_providers(july: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    target = tmp_path / "deep" / "mine.yaml"
    chosen = ["minimax", "lmstudio", "amazon-bedrock", "cloudflare-workers-ai", "opencode"]
    assert generate_router_config(target, chosen) == target
    found = entries(target)
    assert found["minimax/MiniMax-M2.1"] == {
        "model": "anthropic/MiniMax-M2.1", "api_base": "https://api.minimax.io/anthropic",
        "api_key": "os.environ/MINIMAX_API_KEY",
    }  # fmt: skip
    assert found["lmstudio/openai/gpt-oss-20b"]["api_key"] == "none"
    assert found["opencode/gpt-5"]["model"] == "openai/responses/gpt-5"
    bedrock = next(p for name, p in found.items() if name.startswith("amazon-bedrock/anthropic"))
    assert bedrock["aws_region_name"] == "os.environ/AWS_REGION"
    assert "api_key" not in bedrock
    assert not any(name.startswith("cloudflare") for name in found)
    assert "# Left out: cloudflare-workers-ai: CLOUDFLARE_ACCOUNT_ID not set" in target.read_text()


def test_all_providers(july: Path, tmp_path: Path) -> None:
    found = entries(generate_router_config(tmp_path / "all.yaml", all=True))
    assert len(found) > 4000
    assert all(":" in name or "/" in name for name in found)


def test_gateway_file(july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    path = generate_router_config(gateway=True, rpm=60, tpm=9000)
    assert path == july / "gateway.yaml"
    assert "secret" not in path.read_text()
    said = yaml.safe_load(path.read_text())
    parameters = entries(path)["openai/gpt-5"]
    assert parameters["api_key"] == "os.environ/OPENAI_API_KEY"
    assert (parameters["rpm"], parameters["tpm"]) == (60, 9000)
    assert parameters["max_parallel_requests"] > 60
    settings = said["router_settings"]
    assert settings["optional_pre_call_checks"] == ["enforce_model_rate_limits"]
    assert settings["redis_password"] == "os.environ/REDIS_PASSWORD"
    assert said["litellm_settings"]["cache_params"]["mode"] == "default_off"
    assert said["general_settings"] == {"master_key": "os.environ/LITELLM_MASTER_KEY"}
    plain = entries(generate_router_config(gateway=True))["openai/gpt-5"]
    assert set(plain) == {"model", "api_key"}
    with pytest.raises(ValueError, match="rpm and tpm require a gateway"):
        generate_router_config(rpm=60)
    with pytest.raises(ValueError, match="at least 1"):
        generate_router_config(gateway=True, rpm=0)
    assert (july / "router.yaml").exists() is False  # it does not take this machine's requests


@pytest.fixture
def backend() -> Iterator[Lab]:
    with Lab() as server:
        yield server


@pytest.mark.litellm
def test_real_proxy_loads_the_file(
    backend: Lab, july: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pipy config`, `litellm --config`, then a response through `litellm_proxy/…` and a
    fallback."""
    monkeypatch.setenv("LMSTUDIO_API_KEY", "lab-key-0123456789")
    path = generate_router_config(tmp_path / "router.yaml", ["lmstudio"])
    text = path.read_text().replace("http://127.0.0.1:1234/v1", backend.url)
    dead = '  - model_name: "dead"\n    litellm_params:\n      model: "hosted_vllm/x"\n'
    dead += '      api_base: "http://127.0.0.1:9/v1"\n      api_key: "none"\n'
    text = text.replace("model_list:\n", "model_list:\n" + dead)
    text += 'router_settings:\n  fallbacks: [{"dead": ["lmstudio/openai/gpt-oss-20b"]}]\n'
    text += "  num_retries: 0\n"
    path.write_text(text)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    log = open(tmp_path / "proxy.log", "wb")  # noqa: SIM115
    command = [Path(sys.executable).with_name("litellm"), "--config", path, "--port", str(port),
               "--host", "127.0.0.1"]  # fmt: skip
    environment = {
        **os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False",
        "LITELLM_LOCAL_POLICY_TEMPLATES": "True", "LITELLM_MASTER_KEY": "sk-master-0123456789",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    }  # fmt: skip
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health/readiness", process, tmp_path / "proxy.log")
        base = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("LITELLM_PROXY_API_KEY", "sk-master-0123456789")
        backend.play(CHAT.scene(say("Hel", "lo"), counts=Counts(30, 4)))
        model = "litellm_proxy/lmstudio/openai/gpt-oss-20b"
        events = list(stream(model, "q", api_base=base))
        message = events[-1].partial
        assert message.error is None, message.error
        assert message.text == "Hello"
        assert (message.usage.input, message.usage.output) == (30, 4)
        assert [e.delta for e in events if e.type == "text_delta"] == ["Hel", "lo"]
        assert backend.seen[-1].json["model"] == "openai/gpt-oss-20b"
        assert backend.seen[-1].headers["authorization"] == "Bearer lab-key-0123456789"
        backend.play(CHAT.scene(say("saved")))
        message = complete("litellm_proxy/dead", "q", api_base=base)
        assert message.error is None, message.error
        assert message.text == "saved"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
