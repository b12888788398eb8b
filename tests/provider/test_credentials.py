"""Test that API keys are only sent to their own provider and never shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AssistantMessage, Model, complete, preview, stream
from pipy_ai._requests import build_request
from pipy_ai.errors import PipyError
from pipy_ai.provider.credentials import resolve_api_key
from pipy_ai.registry.keystore import set_key
from pipy_ai.registry.trust import is_cloud_address

from ..support.event_grammar import check_events
from ..support.scripted_server import RESET, Lab, Scene, Status
from ..support.wire_formats import ANTHROPIC, CHAT, COHERE, GEMINI, RESPONSES, WIRES, Wire, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # damage is reported
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # LiteLLM's own clients
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


OPENAIS = "sk-openai-secret-0123456789"


@pytest.fixture
def openai_key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAIS)
    return OPENAIS


def override(directory: Path, changes: Any) -> None:
    (directory / "overrides.json").write_text(json.dumps(changes))


def sent(lab: Lab) -> str:
    """Return everything that reached the server."""
    return repr([(seen.path, seen.headers, seen.body) for seen in lab.seen])


@pytest.mark.parametrize(
    "model", ["aiohttp_openai/foo", "custom_openai/foo", "lambda_ai/foo", "openai/foo"]
)
@pytest.mark.litellm
def test_openai_key_is_sent_to_no_other_host(lab: Lab, openai_key: str, model: str) -> None:
    complete(model, "hi", api_base=lab.url, max_retries=0)
    assert lab.seen
    assert openai_key not in sent(lab)


@pytest.mark.parametrize(
    "parameters",
    [
        {"model": "openai/foo"},
        {"model": "aiohttp_openai/foo"},
        {"model": "groq/foo"},
        pytest.param(
            {"model": "foo", "custom_llm_provider": "openai"},
            id="custom_llm_provider",
        ),
        pytest.param({"model": "lambda_ai/foo"}, id="lambda_ai"),
        pytest.param({"model": "zai/foo"}, id="zai"),
    ],
)
@pytest.mark.litellm
def test_router_entry_without_a_key_gets_none(
    lab: Lab, july: Path, openai_key: str, parameters: dict[str, str]
) -> None:
    entry = {"model_name": "fast", "litellm_params": {**parameters, "api_base": lab.url}}
    (july / "router.yaml").write_text(json.dumps({"model_list": [entry]}))
    complete("fast", "hi", max_retries=0)
    assert lab.seen
    assert openai_key not in sent(lab)


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("meta_llama/foo", "LLAMA_API_KEY"),
        ("lambda_ai/foo", "LAMBDA_API_KEY"),
        ("huggingface/foo", "HF_TOKEN"),
        pytest.param("snowflake/foo", "SNOWFLAKE_JWT"),
        ("friendliai/foo", "FRIENDLI_TOKEN"),
    ],
)
@pytest.mark.litellm
def test_key_known_only_to_litellm_is_not_sent_elsewhere(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, model: str, variable: str
) -> None:
    key = "only-litellm-knows-0123456789"
    monkeypatch.setenv(variable, key)
    complete(model, "hi", api_base=lab.url, max_retries=0)
    assert lab.seen
    assert key not in sent(lab)


def test_key_found_by_the_router_is_not_shown(
    lab: Lab, july: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "gsk-0123456789abcdef"
    monkeypatch.setenv("GROQ_API_KEY", key)
    entry = {"model_name": "fast", "litellm_params": {"model": "groq/foo", "api_base": lab.url}}
    (july / "router.yaml").write_text(json.dumps({"model_list": [entry]}))
    lab.play(Status(401, {"error": {"message": f"bad key {key}"}}))
    message = complete("fast", "hi", max_retries=0)
    assert message.error is not None
    assert key not in message.model_dump_json()


def test_host_without_variables_asks_for_api_key(july: Path) -> None:
    override(july, {"acme/large": {"provider": {"api": "https://acme.example/v1"}}})
    message = complete("acme/large", "hi")
    assert message.error is not None
    assert message.error.kind == "missing_key"
    assert message.error.message == "No API key for acme: pass api_key=."


@pytest.mark.parametrize("transport", [None, "litellm"])
def test_copilot_starts_no_login(july: Path, transport: Any) -> None:
    for name in ("github_copilot/x", "github-copilot/gpt-5"):
        message = complete(name, "hi", transport=transport, max_retries=0)
        assert message.error is not None
        assert message.error.kind == "missing_key"
        assert "set GITHUB_COPILOT_API_KEY" in message.error.message


@pytest.fixture(params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with both transports."""
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


KEY = "sk-very-secret-0123456789"


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


def ask(lab: Lab, wire: Wire, **options: Any) -> AssistantMessage:
    options = {"api_key": KEY, "max_retries": 0, "api_base": wire.base(lab), **options}
    return check_events(list(stream(wire.model, "q", **options)))


@pytest.mark.usefixtures("transport")
def test_key_is_sent_to_its_own_provider_only(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant")
    monkeypatch.setenv("GEMINI_API_KEY", "sk-gem")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    complete("hosted_vllm/m", "q", api_base=lab.url)
    complete("cerebras/m", "q", api_base=lab.url, api_key="csk")
    for seen in lab.seen:
        assert not {"sk-openai", "sk-ant", "sk-gem", "org-mine"} & set(
            " ".join(seen.headers.values()).split()
        )
    for wire in (ANTHROPIC, GEMINI):
        lab.play(wire.scene(say("ok")))
        complete(wire.model, "q", api_base=wire.base(lab))
        assert not {"sk-ant", "sk-gem"} & set(" ".join(lab.seen[-1].headers.values()).split())
    # `openai/` with another host's address is the usual way to a host that is not OpenAI.
    for model in ("openai/gpt-x", RESPONSES.model, "text-completion-openai/x"):
        complete(model, "q", api_base=lab.url, max_retries=0)
        assert "sk-openai" not in " ".join(lab.seen[-1].headers.values())


@pytest.mark.usefixtures("transport")
def test_listed_host_never_gets_another_hosts_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-0123456789")
    message = complete("novita/some-model", "q")
    assert message.error is not None
    assert message.error.kind == "missing_key"
    assert "NOVITA_API_KEY" in message.error.message
    monkeypatch.setenv("NOVITA_API_KEY", "nk")
    assert complete("openai/gpt-5", "q", api_key="", api_base="http://127.0.0.1:9").error


@pytest.mark.usefixtures("transport")
def test_hosts_own_environment_variable_is_used(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_API_KEY", "nk-0123456789")
    own = Model(provider="acme", id="m", api=lab.url, env=["ACME_API_KEY"])
    complete(own, "q")
    assert lab.seen[-1].headers["authorization"] == "Bearer nk-0123456789"
    complete("novita/some-model", "q", api_base=lab.url)
    assert "nk-0123456789" not in sent(lab).partition("Bearer nk-0123456789")[2]


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("groq/x", "GROQ_API_KEY"),
        ("anthropic/x", "ANTHROPIC_API_KEY"),
        ("google/x", "GEMINI_API_KEY"),
        ("novita-ai/x", "NOVITA_API_KEY"),
        ("minimax/x", "MINIMAX_API_KEY"),
        ("openrouter/x", "OPENROUTER_API_KEY"),
        pytest.param("volcengine/x", "VOLCENGINE_API_KEY", marks=pytest.mark.litellm),
    ],
)
@pytest.mark.usefixtures("transport", "july")
def test_key_of_the_environment_is_not_sent_to_another_address(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, model: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "env-key-0123456789")
    complete(model, "q", api_base=lab.url, max_retries=0)
    assert "env-key" not in sent(lab)
    complete(model, "q", api_base=lab.url, api_key="given-0123456789", max_retries=0)
    assert "given-0123456789" in sent(lab)


@pytest.mark.usefixtures("july")
def test_key_that_is_not_sent_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "env-key-0123456789")
    message = complete("groq/x", "q", api_base="http://other.invalid/v1", max_retries=1)
    texts = [warning.message for warning in message.warnings if warning.code == "key_not_sent"]
    assert texts == [
        "GROQ_API_KEY is not sent to other.invalid, which is not groq's: pass api_key="
    ]


@pytest.mark.parametrize(
    ("model", "base", "is_own"),
    [
        ("groq/x", "https://api.groq.com/other", True),
        ("groq/x", "https://api.groq.com.evil.example", False),
        ("groq/x", "https://evil.example/api.groq.com", False),
        ("groq/x", "https://api.groq.com@evil.example", False),
        ("alibaba/x", "https://dashscope.aliyuncs.com/compatible-mode/v1", True),  # alibaba-cn's
        ("moonshotai/x", "https://api.moonshot.cn/v1", True),
        ("anthropic/x", "https://api.anthropic.com", True),
        ("azure/x", "https://mine.openai.azure.com", True),
        ("azure/x", "https://mine.openai.azure.com.evil.example", False),
        ("azure/x", "https://anybody.cloudapp.azure.com", False),  # a virtual machine
        ("azure/x", "http://mine.openai.azure.com", False),  # in plain text
        ("groq/x", "http://api.groq.com/openai/v1", False),
        ("openai/x", "http://api.openai.com/v1", False),
        ("groq/x", "https://api.groq.com\\@evil.example", False),
        ("openai/x", "https://eu.api.openai.com/v1", True),
        ("hosted_vllm/x", "https://anywhere.example/v1", True),
    ],
)
@pytest.mark.usefixtures("july")
def test_addresses_that_belong_to_a_provider(
    monkeypatch: pytest.MonkeyPatch, model: str, base: str, is_own: bool
) -> None:
    request = build_request(model, "q", None, {"api_base": base})
    for name in request.route.key_env:
        monkeypatch.setenv(name, "env-key-0123456789")
    assert (resolve_api_key(request) == "env-key-0123456789") is is_own


@pytest.mark.usefixtures("transport")
def test_keys_in_unusual_places_are_not_shown(lab: Lab) -> None:
    lab.play(Status(401, {"error": {"message": f"bad {KEY}"}}))
    message = ask(lab, CHAT, api_key=KEY + "\n")
    assert KEY not in message.model_dump_json()
    assert message.error is not None
    assert message.error.kind == "auth"
    lab.play(Status(401, {"error": {"message": f"bad {KEY}"}}))
    message = ask(lab, CHAT, api_key="k", headers={"X-Api-Key": KEY})
    assert KEY not in message.model_dump_json()
    lab.play(Status(401, {"error": {"message": "x" * 4090 + KEY}}))
    assert KEY[:6] not in ask(lab, CHAT).model_dump_json()
    lab.play(RESET_AT_ONCE)
    message = ask(lab, CHAT, api_key="k")
    assert message.error is not None
    assert "***" not in message.error.message


RESET_AT_ONCE: Scene = [RESET]


def test_keys_in_the_callers_headers_are_masked(lab: Lab) -> None:
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


@pytest.mark.parametrize("field", ["api_base", "base_url"])
@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai/gpt-5", "OPENAI_API_KEY"),
        ("groq/x", "GROQ_API_KEY"),
        ("anthropic/x", "ANTHROPIC_API_KEY"),
        ("text-completion-openai/x", "OPENAI_API_KEY"),
    ],
)
@pytest.mark.usefixtures("july")
@pytest.mark.litellm
def test_address_in_extra_gets_no_key_of_the_environment(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, model: str, variable: str, field: str
) -> None:
    """LiteLLM's own names of the address follow the rules of `api_base`."""
    monkeypatch.setenv(variable, "env-key-0123456789")
    complete(model, "q", extra={field: lab.url}, max_retries=0)
    assert lab.seen
    assert "env-key" not in sent(lab)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("amazon-bedrock/anthropic.claude-3-haiku-20240307-v1:0", {"api_base": "{url}"}),
        ("bedrock/x", {"extra": {"aws_bedrock_runtime_endpoint": "{url}"}}),
        ("amazon-bedrock/x", {"extra": {"api_base": "{url}"}}),
        ("google-vertex/gemini-2.5-flash", {"api_base": "{url}"}),
        ("vertex_ai/gemini-2.5-flash", {"api_base": "https://storage.googleapis.com"}),
        ("bedrock/x", {"api_base": "https://anybody.s3.amazonaws.com"}),
        pytest.param("gigachat/x", {"api_base": "{url}"}, marks=pytest.mark.litellm),
        ("bedrock/x", {"api_base": "https://bedrock-x.s3.us-east-1.amazonaws.com"}),
    ],
)
@pytest.mark.usefixtures("july")
def test_login_of_a_cloud_is_not_used_elsewhere(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, model: str, options: Any
) -> None:
    for variable in ("AWS_BEARER_TOKEN_BEDROCK", "GIGACHAT_ACCESS_TOKEN"):
        monkeypatch.setenv(variable, "env-key-0123456789")
    options = json.loads(json.dumps(options).replace("{url}", lab.url))
    message = complete(model, "q", max_retries=0, **options)
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert "are not sent to" in message.error.message
    assert not lab.seen


@pytest.mark.parametrize(
    ("backend", "url", "is_own"),
    [
        ("bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com", True),
        ("bedrock", "https://bedrock-mantle.eu-west-1.api.aws/v1", True),
        ("bedrock", "https://vpce-0a-1b.bedrock-runtime.us-east-1.vpce.amazonaws.com", True),
        ("bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com.evil.example", False),
        ("vertex_ai", "https://us-central1-aiplatform.googleapis.com", True),
        ("vertex_ai", "https://aiplatform.googleapis.com/v1", True),
        ("vertex_ai", "https://evil-aiplatform.googleapis.com.evil.example", False),
        ("azure", "https://mine.services.ai.azure.com/models", True),
        ("azure", "https://mine.inference.ml.azure.com", False),  # anybody's container
    ],
)
def test_addresses_of_a_cloud(backend: str, url: str, is_own: bool) -> None:
    assert is_cloud_address(url, backend) is is_own


@pytest.mark.parametrize("model", ["openai/x", "groq/x", "bedrock/x", "azure/x", "hosted_vllm/x"])
@pytest.mark.usefixtures("july")
def test_malformed_address_is_reported(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
    error = complete(model, "q", api_base="http://[::1", api_key="k", max_retries=0).error
    assert error is not None
    error = complete(model, "q", api_base="http://[::1", max_retries=0).error
    assert error is not None
    assert (error.kind == "bad_request") or model == "azure/x", error


TOKEN = "sk-ant-oat01-Zq8LmNoPqRsTuVwXyZ0123456789"


@pytest.mark.parametrize("source", ["option", "environment", "stored", "function", "header"])
def test_subscription_token_is_rejected_before_any_traffic(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, transport: str, source: str
) -> None:
    options: dict[str, Any] = {"max_retries": 2}
    match source:
        case "option":
            options |= {"api_key": f" {TOKEN} ", "api_base": ANTHROPIC.base(lab)}
        case "environment":
            monkeypatch.setenv("ANTHROPIC_API_KEY", TOKEN)
        case "stored":
            set_key("ANTHROPIC_API_KEY", TOKEN, in_keyring=False)
        case "function":
            options |= {"api_key": lambda: (TOKEN, None), "api_base": ANTHROPIC.base(lab)}
        case _:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            options |= {"api_key": "k", "headers": headers, "api_base": ANTHROPIC.base(lab)}
    message = complete(ANTHROPIC.model, "hi", **options)
    assert lab.seen == []
    assert message.error is not None
    assert (message.error.kind, message.error.retryable) == ("auth", False)
    assert "token of a Claude subscription" in message.error.message
    assert "create an API key" in message.error.message
    assert TOKEN not in message.model_dump_json()
    if source != "function":
        with pytest.raises(PipyError, match="Claude subscription"):
            preview(ANTHROPIC.model, "hi", **options)


@pytest.mark.parametrize("model", ["openai/gpt-4o", "google/gemini-2.5-flash", COHERE.model])
def test_subscription_token_is_rejected_for_every_host(model: str) -> None:
    message = complete(model, "hi", api_key=TOKEN)
    assert message.error is not None
    assert message.error.kind == "auth"


# --- GitHub ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "wire", "path"),
    [
        ("github-copilot/gpt-4.1", CHAT, "/chat/completions"),
        ("github-copilot/claude-sonnet-4.5", CHAT, "/chat/completions"),
        ("github-copilot/gpt-5.1-codex", RESPONSES, "/responses"),
        ("github_copilot/gpt-5.4", RESPONSES, "/responses"),
    ],
)
def test_copilot_with_a_token(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, model: str, wire: Wire, path: str
) -> None:
    assert preview(model, "hi").url == f"https://api.githubcopilot.com{path}"
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_not-for-copilot")
    monkeypatch.setenv("GITHUB_COPILOT_API_KEY", "ghu_token")
    monkeypatch.setenv("GITHUB_COPILOT_INTEGRATION_ID", "my-app")
    shown = preview(model, "hi")
    assert shown.headers["copilot-integration-id"] == "my-app"
    lab.play(wire.scene(say("ok")))
    base = lab.url.removesuffix("/v1")
    message = complete(model, "hi", api_key="ghu_given", api_base=base, transport="direct")
    assert (message.text, message.api) == ("ok", wire.api)
    assert lab.seen[0].path == path
    assert lab.seen[0].headers["authorization"] == "Bearer ghu_given"
    assert lab.seen[0].headers["copilot-integration-id"] == "my-app"


@pytest.mark.parametrize("plan", ["", "individual.", "business.", "enterprise."])
def test_copilots_addresses_get_its_token(monkeypatch: pytest.MonkeyPatch, plan: str) -> None:
    monkeypatch.setenv("GITHUB_COPILOT_API_KEY", "ghu_token")
    base = f"https://api.{plan}githubcopilot.com"
    assert preview("github-copilot/gpt-4.1", "hi", api_base=base).warnings == ()
    other = preview("github-copilot/gpt-4.1", "hi", api_base="https://copilot.example")
    assert [warning.code for warning in other.warnings] == ["key_not_sent"]


@pytest.mark.parametrize("name", ["github-models/openai/gpt-4o", "github/openai/gpt-4o"])
@pytest.mark.parametrize("api_key", [None, "k"])
def test_github_models_is_retired(
    monkeypatch: pytest.MonkeyPatch, transport: str, name: str, api_key: str | None
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_x")
    message = complete(name, "hi", api_key=api_key)
    assert message.error is not None
    assert (message.error.kind, message.error.retryable) == ("bad_request", False)
    assert "GitHub Models was retired on 30 July 2026" in message.error.message
    assert "was retired" in preview(name, "hi").warnings[-1].message
