"""Test the resolution of models: custom records, unknown models and bare names."""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import ImageContent, Model, complete, get_model, preview, user
from pipy_ai._requests import build_request
from pipy_ai.provider.request import Request

from ..support.scripted_server import DONE, Lab, chunk, sse
from ..support.wire_formats import RESPONSES, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # damage is reported
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # LiteLLM's own clients
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


OPENAIS = "sk-openai-secret-0123456789"
PNG = ImageContent(data="iVBORw0KGgo=", mime_type="image/png")
TRANSPORTS = ["direct", "litellm"]


@pytest.fixture
def openai_key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAIS)
    return OPENAIS


def request_of(model: Any, prompt: Any = "hi", **options: Any) -> Request:
    return build_request(model, prompt, None, options)  # type: ignore[arg-type]


def sent(lab: Lab) -> str:
    """Return everything that reached the server."""
    return repr([(seen.path, seen.headers, seen.body) for seen in lab.seen])


def by_hand(lab: Lab, kind: str) -> Model:
    if kind == "new":
        return Model(id="my", provider="openai", api=lab.url)
    known = get_model("openai/gpt-5")
    assert known is not None
    return dataclasses.replace(known, api=lab.url)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", ["new", "replaced"])
def test_models_own_address_is_used(
    lab: Lab, july: Path, openai_key: str, kind: str, transport: Any
) -> None:
    model = by_hand(lab, kind)
    message = complete(model, "hi", transport=transport)
    assert message.error is None, message.error
    assert lab.seen[0].path == "/v1/chat/completions"
    assert lab.seen[0].json["model"] == model.id
    assert openai_key not in sent(lab)
    complete(model, "hi", transport=transport, api_key="own-0123456789")
    assert lab.seen[1].headers["authorization"] == "Bearer own-0123456789"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "provider",
    [
        "acme",
        pytest.param("openai"),
        pytest.param("groq"),
    ],
)
def test_models_own_api_shape_is_used(lab: Lab, july: Path, provider: str, transport: Any) -> None:
    model = Model(id="my", provider=provider, api=lab.url, shape="responses")
    lab.play(RESPONSES.scene(say("ok")))
    message = complete(model, "hi", api_key="k", transport=transport, max_retries=0)
    assert lab.seen[0].path == "/v1/responses"
    assert message.error is None, message.error
    assert message.text == "ok"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_custom_model_may_think_and_see(lab: Lab, july: Path, transport: Any) -> None:
    model = Model(id="my", provider="acme", api=lab.url)
    prompt = [user("what is it?", PNG)]
    message = complete(model, prompt, reasoning="high", transport=transport)
    assert message.error is None, message.error
    assert message.warnings == []
    assert lab.seen[0].json["reasoning_effort"] == "high"
    assert "iVBORw0KGgo=" in sent(lab)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_known_route_computes_no_suggestions(
    lab: Lab, july: Path, monkeypatch: pytest.MonkeyPatch, transport: Any
) -> None:
    def slow(*_: Any, **__: Any) -> Any:
        raise AssertionError("looked for names alike")

    monkeypatch.setattr(difflib, "get_close_matches", slow)
    monkeypatch.setattr(difflib, "SequenceMatcher", slow)
    request = request_of("azure/my-own-deployment")
    assert [warning.code for warning in request.warnings] == ["unknown_model"]
    request_of("vertex_ai/my-endpoint")
    request_of("hosted_vllm/mine")
    for name in ("openai/mine", "groq/mine", "hosted_vllm/mine"):
        message = complete(name, "hi", api_base=lab.url, api_key="k", transport=transport)
        assert message.error is None, message.error


def test_unknown_model_is_requested_with_a_warning(lab: Lab, july: Any) -> None:
    request = build_request("openai/gpt-99", "q", None, {})
    assert [w.code for w in request.warnings] == ["unknown_model"]
    assert "are unknown" in request.warnings[0].message
    lab.play(sse(chunk({"content": "ok"}), chunk({}, finish_reason="stop"), DONE))
    message = complete("openai/gpt-99", "q", api_base=lab.url, api_key="k")
    assert (message.text, message.warnings) == ("ok", [])
    assert lab.seen[0].json["model"] == "gpt-99"
    for own in ("hosted_vllm/m", "ollama_chat/m", "lmstudio/m"):
        assert build_request(own, "q", None, {}).warnings == []


def test_bare_name(lab: Lab, july: Any) -> None:
    lab.play(sse(chunk({"content": "ok"}), chunk({}, finish_reason="stop"), DONE))
    message = complete("gpt-4o", "q", api_base=lab.url, api_key="k")
    assert (message.provider, message.model) == ("openai", "gpt-4o")
    with pytest.raises(ValueError, match="may mean"):
        complete("meta-llama/llama-3.3-70b-instruct", "q")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        request = build_request("mixlayer/qwen/qwen3.5-9b", "q", None, {})
    assert request.record is not None


def test_newer_openai_models_use_responses(july: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipy_ai.provider.transport import wire_for

    def api(name: str, **options: Any) -> str:
        return wire_for(build_request(name, "q", None, options)).api

    chat, responses = "openai-completions", "openai-responses"
    assert api("openai/gpt-4o") == api("openai/gpt-5") == chat
    assert api("openai/gpt-5.4") == api("openai/gpt-5-codex") == api("openai/o3-pro") == responses
    assert api("openai/responses/gpt-4o") == responses
    assert api("openai/gpt-5.4", api_base="http://gateway/v1") == chat
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gateway/v1")
    assert api("openai/gpt-5.4") == chat


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("hosted_vllm", "http://127.0.0.1:8000/v1"), ("lm_studio", "http://127.0.0.1:1234/v1"),
        ("llamafile", "http://127.0.0.1:8080/v1"), ("litellm_proxy", "http://127.0.0.1:4000"),
    ],
)  # fmt: skip
def test_local_server_address_is_the_default_or_the_given_one(
    name: str, usual: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"{name.upper()}_API_BASE"
    monkeypatch.delenv(variable, raising=False)
    assert preview(f"{name}/m", "q").url == f"{usual}/chat/completions"
    monkeypatch.setenv(variable, "http://gpu.lan:9/v1")
    assert preview(f"{name}/m", "q").url == "http://gpu.lan:9/v1/chat/completions"
    base = "http://other.lan/v1"
    assert preview(f"{name}/m", "q", api_base=base).url == f"{base}/chat/completions"
