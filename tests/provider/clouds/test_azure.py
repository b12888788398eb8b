"""Test Azure over loopback sockets: addresses, versions, credentials, errors of the setup."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AssistantMessage, complete, ctx, get_model, preview, stream, user
from pipy_ai.provider.clouds import cloud_for
from pipy_ai.registry.routing import build_route
from pipy_ai.utils.extras import install_command

from ...support.event_grammar import check_events
from ...support.scripted_server import DONE, Lab, Status, chunk, sse

KEY = "0123456789abcdef0123456789abcdef"
BARE = "https://mine.openai.azure.com"
LEGACY = {"OPENAI_API_VERSION": "2024-10-21"}


def jwt(expires_at: float | None = None) -> str:
    """Return an access token like those of Entra ID."""
    claims = {"aud": "https://ai.azure.com"} | ({"exp": expires_at} if expires_at else {})
    parts = [{"alg": "RS256", "typ": "JWT"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def root(lab: Lab) -> str:
    return lab.url.removesuffix("/v1")


def set_all(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def failure(message: AssistantMessage) -> tuple[str, str]:
    """Return kind and text of an error that must not be retried."""
    assert message.error is not None
    assert not message.error.retryable
    assert not message.attempts
    return message.error.kind.value, message.error.message


# --- Addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "address", "url"),
    [
        ("gpt-4o", BARE, "/openai/v1/chat/completions"),
        ("gpt-4o", f"{BARE}/", "/openai/v1/chat/completions"),
        ("gpt-4o", "mine.openai.azure.com", "/openai/v1/chat/completions"),
        ("gpt-4o", "HTTPS://Mine.OpenAI.Azure.com", "/openai/v1/chat/completions"),
        ("gpt-4o", f"{BARE}/openai", "/openai/v1/chat/completions"),
        ("gpt-4o", f"{BARE}/openai/v1", "/openai/v1/chat/completions"),
        ("gpt-4o", f"{BARE}/openai/v1/", "/openai/v1/chat/completions"),
        ("gpt-4o", f"{BARE}/openai/v1/chat/completions", "/openai/v1/chat/completions"),
        ("gpt-4o", f"{BARE}/openai/v1/responses", "/openai/v1/responses"),
        ("gpt-4o", f"{BARE}?api-version=preview", "/openai/v1/chat/completions"),
        ("gpt-5.4", BARE, "/openai/v1/responses"),
        ("gpt-5-codex", f"{BARE}/openai/v1/", "/openai/v1/responses"),
        ("responses/my-gpt", BARE, "/openai/v1/responses"),
        (
            "gpt-4o",
            f"{BARE}/openai/deployments/my-4o/chat/completions?api-version=2024-06-01",
            "/openai/deployments/my-4o/chat/completions?api-version=2024-06-01",
        ),
        (
            "my 4o",
            f"{BARE}/openai/deployments?api-version=2024-06-01",
            "/openai/deployments/my%204o/chat/completions?api-version=2024-06-01",
        ),
        (
            "gpt-4o",
            f"{BARE}/openai/deployments/my-4o",
            "/openai/deployments/my-4o/chat/completions?api-version=2024-10-21",
        ),
        (
            "gpt-5-codex",
            f"{BARE}/openai/responses?api-version=2025-04-01-preview",
            "/openai/responses?api-version=2025-04-01-preview",
        ),
        (
            "gpt-5-codex",
            f"{BARE}/openai/deployments/c",
            "/openai/responses?api-version=2025-04-01-preview",
        ),
    ],
)
def test_endpoint_with_or_without_path(july: Any, model: str, address: str, url: str) -> None:
    assert preview(f"azure/{model}", "q", api_base=address).url == BARE + url


@pytest.mark.parametrize(
    ("model", "address", "url"),
    [
        ("azure/DeepSeek-V3.1", "https://f.services.ai.azure.com", "{}/openai/v1/chat/completions"),
        (
            "azure/DeepSeek-V3.1",
            "https://f.services.ai.azure.com/api/projects/p1",
            "https://f.services.ai.azure.com/openai/v1/chat/completions",
        ),
        (
            "azure_ai/DeepSeek-V3.1",
            "https://f.services.ai.azure.com/models",
            "{}/chat/completions?api-version=2024-05-01-preview",
        ),
        (
            "azure-cognitive-services/gpt-4o",
            "https://c.cognitiveservices.azure.com",
            "{}/openai/v1/chat/completions",
        ),
        ("azure_ai/gpt-5-codex", "https://l.eastus2.models.ai.azure.com", "{}/v1/chat/completions"),
        ("azure_ai/llama", "https://l.eastus2.models.ai.azure.com", "{}/v1/chat/completions"),
        (
            "azure_ai/llama",
            "https://l.eastus2.models.ai.azure.com/v1/",
            "https://l.eastus2.models.ai.azure.com/v1/chat/completions",
        ),
        ("azure_ai/llama", "https://l.eastus2.models.ai.azure.com/v1/chat/completions", "{}"),
        (
            "azure/gpt-4o",
            "https://gw.example/azure?subscription=7",
            "https://gw.example/azure/openai/v1/chat/completions?subscription=7",
        ),
        ("azure/claude-sonnet-4-5", "https://f.services.ai.azure.com", "{}/anthropic/v1/messages"),
        ("azure/claude-sonnet-4-5", "https://f.services.ai.azure.com/anthropic", "{}/v1/messages"),
        ("azure/claude-sonnet-4-5", "https://f.services.ai.azure.com/anthropic/v1/messages", "{}"),
        (
            "azure/claude-sonnet-4-5",
            "https://f.openai.azure.com/openai/v1",
            "https://f.services.ai.azure.com/anthropic/v1/messages",
        ),
        ("azure_ai/my-own", "https://f.services.ai.azure.com/anthropic", "{}/v1/messages"),
    ],
)
def test_address_of_other_hosts(july: Any, model: str, address: str, url: str) -> None:
    assert preview(model, "q", api_base=address).url == url.format(address)


@pytest.mark.parametrize(
    ("model", "environment", "url"),
    [
        (
            "azure/gpt-4o",
            {"AZURE_OPENAI_ENDPOINT": f"{BARE}/"},
            f"{BARE}/openai/v1/chat/completions",
        ),
        ("azure/gpt-4o", {"AZURE_API_BASE": BARE}, f"{BARE}/openai/v1/chat/completions"),
        ("azure/gpt-4o", {"AZURE_RESOURCE_NAME": "mine"}, f"{BARE}/openai/v1/chat/completions"),
        (
            "azure/gpt-4o",
            {
                "AZURE_RESOURCE_NAME": "mine",
                "AZURE_OPENAI_ENDPOINT": "https://mine.services.ai.azure.com",
            },
            "https://mine.services.ai.azure.com/openai/v1/chat/completions",
        ),
        (
            "azure/gpt-4o",
            {"AZURE_API_BASE": BARE, **LEGACY},
            f"{BARE}/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        ),
        (
            "azure/gpt-4o",
            {"AZURE_API_BASE": BARE, "AZURE_API_VERSION": "v1"},
            f"{BARE}/openai/v1/chat/completions",
        ),
        (
            "azure/gpt-4o",
            {"AZURE_API_BASE": f"{BARE}/openai/v1", **LEGACY},
            f"{BARE}/openai/v1/chat/completions",
        ),
        (
            "azure/gpt-5.4",
            {"AZURE_API_BASE": BARE, **LEGACY},
            f"{BARE}/openai/deployments/gpt-5.4/chat/completions?api-version=2024-10-21",
        ),
        (
            "azure/gpt-5.4",
            {"AZURE_API_BASE": BARE, "AZURE_API_VERSION": "2025-04-01-preview"},
            f"{BARE}/openai/responses?api-version=2025-04-01-preview",
        ),
        (
            "azure/gpt-5-codex",
            {"AZURE_API_BASE": BARE, **LEGACY},
            f"{BARE}/openai/v1/responses",
        ),  # it has no other API
        (
            "azure-cognitive-services/gpt-4o",
            {"AZURE_COGNITIVE_SERVICES_RESOURCE_NAME": "c", "AZURE_RESOURCE_NAME": "mine"},
            "https://c.cognitiveservices.azure.com/openai/v1/chat/completions",
        ),
        (
            "azure_ai/phi-4",
            {"AZURE_AI_API_BASE": "https://f.services.ai.azure.com", "AZURE_API_BASE": BARE},
            "https://f.services.ai.azure.com/openai/v1/chat/completions",
        ),
        (
            "azure/claude-sonnet-4-5",
            {"ANTHROPIC_FOUNDRY_RESOURCE": "f", "AZURE_API_BASE": BARE},
            "https://f.services.ai.azure.com/anthropic/v1/messages",
        ),
        (
            "azure/claude-sonnet-4-5",
            {"ANTHROPIC_FOUNDRY_BASE_URL": "https://proxy.example/claude"},
            "https://proxy.example/claude/v1/messages",
        ),
        (
            "azure/claude-sonnet-4-5",
            {"AZURE_RESOURCE_NAME": "mine"},
            "https://mine.services.ai.azure.com/anthropic/v1/messages",
        ),
        (
            "azure/gpt-4o",
            {},
            "https://AZURE_OPENAI_ENDPOINT.openai.azure.com/openai/v1/chat/completions",
        ),
    ],
)
def test_address_of_the_environment(
    july: Any, monkeypatch: pytest.MonkeyPatch, model: str, environment: dict[str, str], url: str
) -> None:
    set_all(monkeypatch, environment)
    assert preview(model, "q").url == url


def test_version_in_extra_is_not_sent(july: Any) -> None:
    request = preview("azure/gpt-4o", "q", api_base=BARE, extra={"api_version": "2024-10-21"})
    assert request.url.endswith("/deployments/gpt-4o/chat/completions?api-version=2024-10-21")
    assert "api_version" not in request.body


@pytest.mark.parametrize("name", ["tenant_id", "azure_username", "azure_ad_token_provider"])
def test_other_logins_of_litellm_go_through_litellm(july: Any, name: str) -> None:
    assert preview("azure/gpt-4o", "q", api_base=BARE, extra={name: "x"}).url == ""


@pytest.mark.filterwarnings("ignore::UserWarning")  # of LiteLLM
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # its own clients
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_login_of_litellm_needs_no_key(
    lab: Lab, july: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", root(lab))
    lab.play(sse(chunk({"content": "ok"}), chunk(finish_reason="stop"), DONE))
    extra = {"azure_ad_token_provider": lambda: jwt()}
    message = complete("azure/gpt-4o", "q", extra=extra, max_retries=0)
    assert message.error is None
    assert message.text == "ok"
    assert lab.seen[0].headers["authorization"] == f"Bearer {jwt()}"


@pytest.mark.parametrize("model", ["azure/gpt-5-codex", "azure/responses/m"])
def test_litellm_makes_responses_of_chat_completions(july: Any, model: str) -> None:
    body = preview(model, "q", api_base=BARE, transport="litellm").body
    assert (body["model"], "messages" in body) == (model, True)


# --- Errors of the setup --------------------------------------------------------------------

ENDPOINT = {"AZURE_OPENAI_ENDPOINT": BARE}
ERRORS: list[tuple[str, dict[str, str], dict[str, Any], str, str]] = [
    ("azure/gpt-4o", {"AZURE_API_KEY": KEY}, {}, "missing_key",
     "No address for azure: set AZURE_OPENAI_ENDPOINT (like https://my-resource.openai.azure.com)"
     " or pass api_base=."),
    ("azure/claude-sonnet-4-5", {"AZURE_API_KEY": KEY}, {}, "missing_key",
     "No address for azure: set ANTHROPIC_FOUNDRY_BASE_URL (like"
     " https://my-resource.services.ai.azure.com/anthropic) or pass api_base=."),
    ("azure_ai/phi-4", {"AZURE_AI_API_KEY": KEY}, {}, "missing_key",
     "No address for azure_ai: set AZURE_AI_API_BASE (like"
     " https://my-resource.services.ai.azure.com) or pass api_base=."),
    ("azure/gpt-4o", ENDPOINT, {}, "missing_key",
     "No key for azure: set AZURE_OPENAI_API_KEY or run pipy keys set azure, or pass api_key=. For"
     f" az login and managed identities: {install_command('azure')}."),
    ("azure/gpt-4o", {**ENDPOINT, "AZURE_API_BASE": "https://other.openai.azure.com"}, {}, "auth",
     "AZURE_OPENAI_ENDPOINT is https://mine.openai.azure.com, but AZURE_API_BASE is"
     " https://other.openai.azure.com: unset one of them."),
    ("azure/gpt-4o", {**ENDPOINT, "AZURE_RESOURCE_NAME": "other"}, {}, "auth",
     "AZURE_OPENAI_ENDPOINT is https://mine.openai.azure.com, but AZURE_RESOURCE_NAME is"
     " https://other.openai.azure.com: unset one of them."),
    ("azure/claude-sonnet-4-5",
     {"ANTHROPIC_FOUNDRY_RESOURCE": "f",
      "ANTHROPIC_FOUNDRY_BASE_URL": "https://g.services.ai.azure.com/anthropic"}, {}, "auth",
     "ANTHROPIC_FOUNDRY_BASE_URL is https://g.services.ai.azure.com/anthropic, but"
     " ANTHROPIC_FOUNDRY_RESOURCE is https://f.services.ai.azure.com: unset one of them."),
    ("azure/gpt-4o", {"AZURE_RESOURCE_NAME": "evil.example/x"}, {}, "auth",
     "AZURE_RESOURCE_NAME must be the name of a resource, like my-resource, not 'evil.example/x'."
     " Set AZURE_OPENAI_ENDPOINT to use an address."),
    ("azure/gpt-4o", {"AZURE_OPENAI_ENDPOINT": "http://mine.openai.azure.com"}, {}, "auth",
     "AZURE_OPENAI_ENDPOINT is not encrypted: write https:// instead of http://."),
    ("azure/gpt-4o", {"AZURE_OPENAI_ENDPOINT": "http://mine.openai.azure.com."}, {}, "auth",
     "AZURE_OPENAI_ENDPOINT is not encrypted: write https:// instead of http://."),
    ("azure/gpt-4o", {"AZURE_OPENAI_ENDPOINT": "ftp://mine"}, {}, "bad_request",
     "AZURE_OPENAI_ENDPOINT is not an address like https://my-resource.openai.azure.com:"
     " 'ftp://mine'."),
    ("azure/gpt-4o", {**ENDPOINT, **LEGACY, "AZURE_API_VERSION": "2024-06-01"}, {}, "auth",
     "OPENAI_API_VERSION is 2024-10-21, but AZURE_API_VERSION is 2024-06-01: unset one of them."),
    ("azure/gpt-4o", {**ENDPOINT, "OPENAI_API_VERSION": "2024"}, {}, "bad_request",
     "OPENAI_API_VERSION is not an API version like 2024-10-21: '2024'."),
    ("azure/gpt-4o", {},
     {"api_base": f"{BARE}?api-version=2024-10-21", "extra": {"api_version": "2024-06-01"}}, "auth",
     "the query of api_base is 2024-10-21, but extra.api_version is 2024-06-01: unset one of"
     " them."),
    ("azure/gpt-5-codex", {},
     {"api_base": f"{BARE}/openai/deployments/c?api-version=2024-10-21"}, "bad_request",
     "azure/gpt-5-codex needs the Responses API, which version 2024-10-21 does not have. Use"
     " https://mine.openai.azure.com/openai/v1 without a version, or version"
     " 2025-04-01-preview."),
    ("azure/gpt-4o", ENDPOINT, {"api_key": KEY, "extra": {"azure_ad_token": jwt()}}, "auth",
     "Both api_key= and extra.azure_ad_token are given: pass one of them."),
    ("azure/gpt-4o", {**ENDPOINT, "AZURE_CLIENT_SECRET": "s3cret-0123456789"}, {}, "missing_key",
     "AZURE_CLIENT_SECRET is set, but AZURE_TENANT_ID and AZURE_CLIENT_ID are not."),
    ("azure/gpt-4o", {**ENDPOINT, "AZURE_FEDERATED_TOKEN_FILE": "/x"}, {}, "missing_key",
     "The login of AZURE_FEDERATED_TOKEN_FILE needs azure-identity:"
     f" {install_command('azure')}."),
    ("azure/gpt-4o",
     {**ENDPOINT, "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s" * 20,
      "AZURE_AUTHORITY_HOST": "http://login.example"}, {}, "auth",
     "AZURE_AUTHORITY_HOST must start with https://, not 'http://login.example': the secret would"
     " be sent in plain text."),
    ("azure/gpt-4o",
     {**ENDPOINT, "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s" * 20,
      "AZURE_AUTHORITY_HOST": "http://localhost:x@login.example"}, {}, "auth",
     "AZURE_AUTHORITY_HOST must start with https://"),
    ("azure/claude-sonnet-4-5", {"ANTHROPIC_FOUNDRY_RESOURCE": "f"},
     {"api_key": "sk-ant-oat01-0123456789"}, "auth", "The key is not accepted:"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "environment", "options", "kind", "text"), ERRORS, ids=lambda v: str(v)[:40]
)
def test_error_of_the_setup(
    july: Any,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    environment: dict[str, str],
    options: dict[str, Any],
    kind: str,
    text: str,
) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)  # not installed
    set_all(monkeypatch, environment)
    found_kind, found_text = failure(complete(model, "q", max_retries=3, **options))
    assert (found_kind, found_text[: len(text)]) == (kind, text)
    assert KEY not in found_text


def test_expired_token_is_reported_before_sending(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", root(lab))
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", jwt(1_700_000_000))
    kind, message = failure(complete("azure/m", "q"))
    assert kind == "auth"
    assert message.startswith(
        "The Entra token in AZURE_OPENAI_AD_TOKEN expired at 2023-11-14 22:13 UTC; it is now "
    )
    assert lab.seen == []


# --- Keys and tokens ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "options", "header", "value"),
    [
        ({"AZURE_OPENAI_API_KEY": KEY}, {}, "api-key", KEY),
        ({"AZURE_API_KEY": KEY}, {}, "api-key", KEY),
        (
            {"AZURE_OPENAI_API_KEY": "sdk-0123456", "AZURE_API_KEY": KEY},
            {},
            "api-key",
            "sdk-0123456",
        ),
        ({"AZURE_AD_TOKEN": "opaque"}, {}, "authorization", "Bearer opaque"),
        (
            {"AZURE_OPENAI_AD_TOKEN": "first", "AZURE_AD_TOKEN": "second"},
            {},
            "authorization",
            "Bearer first",
        ),
        (
            {"AZURE_OPENAI_AD_TOKEN": "first", "AZURE_OPENAI_API_KEY": KEY},
            {},
            "authorization",
            "Bearer first",
        ),
        ({"AZURE_OPENAI_AD_TOKEN": "first"}, {"api_key": KEY}, "api-key", KEY),
        ({"AZURE_API_KEY": KEY}, {"api_key": jwt()}, "authorization", f"Bearer {jwt()}"),
        ({"AZURE_API_KEY": jwt()}, {}, "authorization", f"Bearer {jwt()}"),
        (
            {"AZURE_API_KEY": KEY},
            {"api_key": lambda: "from-a-function"},
            "authorization",
            "Bearer from-a-function",
        ),
        ({}, {"extra": {"azure_ad_token": "given"}}, "authorization", "Bearer given"),
    ],
)
def test_credentials(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    options: dict[str, Any],
    header: str,
    value: str,
) -> None:
    set_all(monkeypatch, {"AZURE_OPENAI_ENDPOINT": root(lab), **environment})
    message = complete("azure/m", "q", max_retries=0, **options)
    assert message.error is None, message.error
    headers = lab.seen[0].headers
    assert headers[header] == value
    assert {"api-key", "x-api-key", "authorization"} & headers.keys() == {header}
    assert lab.seen[0].target == "/openai/v1/chat/completions"


def test_credentials_of_claude(lab: Lab, july: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_FOUNDRY_BASE_URL", f"{root(lab)}/anthropic")
    monkeypatch.setenv("ANTHROPIC_FOUNDRY_API_KEY", KEY)
    complete("azure/claude-sonnet-4-5", "q", max_retries=0)
    complete("azure/claude-sonnet-4-5", "q", max_retries=0, api_key=lambda: "token")
    first, second = (seen.headers for seen in lab.seen)
    assert (first["x-api-key"], first["anthropic-version"]) == (KEY, "2023-06-01")
    assert second["authorization"] == "Bearer token"
    assert "authorization" not in first
    assert "x-api-key" not in second
    assert {seen.target for seen in lab.seen} == {"/anthropic/v1/messages"}


def test_serverless_endpoints_get_the_key_as_a_bearer_token(july: Any) -> None:
    base = "https://l.eastus2.models.ai.azure.com"
    headers = preview("azure_ai/llama", "q", api_base=base, api_key=KEY).headers
    assert "authorization" in headers
    assert "api-key" not in headers


def test_key_of_the_environment_is_not_sent_elsewhere(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, {**ENDPOINT, "AZURE_API_KEY": KEY, "AZURE_AD_TOKEN": jwt()})
    complete("azure/m", "q", api_base=root(lab), max_retries=0)
    assert lab.seen[0].headers["api-key"] == "none"
    assert "authorization" not in lab.seen[0].headers
    message = complete("azure/m", "q", api_base="https://gw.invalid", max_retries=0)
    assert [w.code for w in message.warnings] == ["key_not_sent"]
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", root(lab))
    monkeypatch.delenv("AZURE_AD_TOKEN")
    complete("azure/m", "q", api_base=f"{root(lab)}/openai/v1", max_retries=0)
    assert lab.seen[1].headers["api-key"] == KEY  # the same host


@pytest.mark.parametrize("model", ["azure/m", "azure/claude-x", "azure/responses/m"])
def test_redirects_are_not_followed(lab: Lab, model: str) -> None:
    with Lab() as other:
        lab.play(Status(307, "", {"location": f"{other.url}/chat/completions"}))
        message = complete(model, "q", api_base=root(lab), api_key=KEY, max_retries=3)
        assert failure(message)[0] == "bad_request"
        assert (len(lab.seen), other.seen) == (1, [])


# --- Responses ------------------------------------------------------------------------------


def azure_chunk(delta: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a chunk as Azure sends it."""
    part = chunk(delta, **fields)
    part |= {"model": "gpt-4o-2024-11-20", "obfuscation": "aB3", "usage": None}
    safe = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "violence")}
    part["choices"][0]["content_filter_results"] = safe if (delta or {}).get("content") else {}
    return part


FIRST_CHUNK = {
    "id": "", "object": "", "created": 0, "model": "", "choices": [],
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
}  # fmt: skip


def ask(lab: Lab, *events: Any, model: str = "azure/gpt-4o") -> AssistantMessage:
    lab.play(sse(*events, DONE))
    return check_events(list(stream(model, "q", api_base=root(lab), api_key=KEY, max_retries=0)))


def test_stream_of_azure(lab: Lab, july: Any) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    end = {**FIRST_CHUNK, "id": "c-1", "model": "gpt-4o-2024-11-20", "usage": usage}
    message = ask(
        lab,
        FIRST_CHUNK,
        azure_chunk({"role": "assistant", "content": ""}),
        azure_chunk({"content": "Hel"}),
        azure_chunk({"content": "lo"}),
        azure_chunk({}, finish_reason="stop"),
        end,
    )
    assert (message.text, message.stop_reason, message.usage.input) == ("Hello", "stop", 10)
    assert message.response_model == "gpt-4o-2024-11-20"
    assert message.usage.cost.total == pytest.approx((10 * 2.5 + 2 * 10) / 1e6)


def test_answer_that_the_content_filter_stopped(lab: Lab, july: Any) -> None:
    end = azure_chunk({}, finish_reason="content_filter")
    hate = {"filtered": True, "severity": "high"}
    end["choices"][0]["content_filter_results"] = {"hate": hate, "violence": {"filtered": False}}
    message = ask(lab, azure_chunk({"content": "half"}), end)
    assert message.error is not None
    assert (message.error.kind, message.text) == ("content_filter", "half")
    assert message.raw_stop_reason == "content_filter: hate"
    assert "content_filter: hate" in message.error.message


def test_prompt_that_the_content_filter_blocked(lab: Lab, july: Any) -> None:
    result = {"jailbreak": {"filtered": True, "detected": True}, "hate": {"filtered": False}}
    error = {
        "message": "The response was filtered due to the prompt.", "code": "content_filter",
        "status": 400, "param": "prompt", "type": None,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result},
    }  # fmt: skip
    lab.play(Status(400, {"error": error}))
    message = complete("azure/gpt-4o", "q", api_base=root(lab), api_key=KEY)
    assert failure(message) == (
        "content_filter",
        "The response was filtered due to the prompt. (filtered: jailbreak)",
    )


def test_usage_of_partner_models(lab: Lab, july: Any) -> None:
    """DeepSeek's chunks have null members, and the reasoning at the top of the usage."""
    nulls = {"function_call": None, "refusal": None, "tool_calls": None}
    counts = {
        "prompt_tokens": 10, "completion_tokens": 30, "total_tokens": 40, "reasoning_tokens": 20,
        "prompt_tokens_details": None,
    }  # fmt: skip
    end = chunk({"content": "", **nulls}, finish_reason="stop", matched_stop=None)
    message = ask(
        lab,
        chunk({"role": "assistant", "content": None, "reasoning_content": "hm", **nulls}),
        chunk({"content": "Hi", "reasoning_content": None, **nulls}),
        end,
        {**FIRST_CHUNK, "usage": counts},
        model="azure/deepseek-r1",
    )
    assert (message.thinking_text, message.text) == ("hm", "Hi")
    usage = message.usage
    assert (usage.input, usage.output, usage.reasoning) == (10, 30, 20)


def test_reasoning_goes_back_over_responses(lab: Lab, july: Any) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "secret=="}
    said = {
        "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
    }  # fmt: skip
    response = {"id": "r", "model": "gpt-5.4", "status": "completed", "output": [item, said]}
    filters = [{"blocked": False, "source_type": "prompt", "content_filter_results": {}}]
    lab.play(
        sse(
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 1, "item": said},
            {"type": "response.completed", "response": {**response, "content_filters": filters}},
        )
    )
    options: dict[str, Any] = {"api_base": root(lab), "api_key": KEY, "max_retries": 0}
    message = complete("azure/gpt-5.4", "q", **options)
    assert message.error is None, message.error
    complete("azure/gpt-5.4", ctx(user("q"), message, user("and?")), **options)
    first, second = lab.seen
    assert first.target == "/openai/v1/responses"
    assert (first.json["include"], first.json["store"]) == (["reasoning.encrypted_content"], False)
    assert item in second.json["input"]


def test_filter_of_the_responses_api(lab: Lab, july: Any) -> None:
    response = {
        "id": "r", "status": "incomplete", "output": [],
        "incomplete_details": {"reason": "content_filter"},
        "content_filters": [
            {"blocked": True, "content_filter_results": {"violence": {"filtered": True}}}
        ],
    }  # fmt: skip
    lab.play(sse({"type": "response.incomplete", "response": response}))
    message = complete("azure/gpt-5.4", "q", api_base=root(lab), api_key=KEY, max_retries=0)
    assert message.raw_stop_reason == "content_filter: violence"
    assert failure(message)[0] == "content_filter"


# --- Deployments ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deployment", "answers", "dollars"),
    [
        ("my-deployment", "gpt-4o-2024-11-20", 2.5),
        ("my-deployment", "gpt-4o-2024-05-13", 5.0),  # OpenAI lists it at another price
        ("gpt-4", "gpt-4o-mini-2024-07-18", 0.15),  # the name says little
        ("my-deployment", "nobody-knows", None),
        ("gpt-4o", "nobody-knows", 2.5),
        ("my-deployment", "DeepSeek-V3.1", 0.56),
        ("my-deployment", "gpt-5-2025-08-07", 1.25),
    ],
)
def test_price_of_a_deployment(
    lab: Lab, july: Any, deployment: str, answers: str, dollars: float | None
) -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    end = {**FIRST_CHUNK, "model": answers, "usage": usage}
    parts = [chunk({"content": "Hi"}, model=answers), chunk({}, finish_reason="stop")]
    message = ask(lab, *parts, end, model=f"azure/{deployment}")
    assert message.usage.cost.total == dollars
    assert message.model == deployment


def test_base_model_of_a_deployment(lab: Lab, july: Path) -> None:
    overrides = {
        "azure/mine": {"base_model": "gpt-5.4"},
        "azure/cheap": {"base_model": "gpt-5-mini", "cost": {"input": 1.0}},
        "azure/opus": {"base_model": "claude-sonnet-4-5"},
        "azure/small": {"base_model": "mistral-small-2503"},
    }
    (july / "overrides.json").write_text(json.dumps(overrides))
    model = get_model("azure/mine")
    assert model is not None
    assert (model.base_model, model.capabilities.reasoning) == ("azure/gpt-5.4", True)
    request = preview("azure/mine", "q", api_base=BARE, max_tokens=20, temperature=0.5)
    assert request.url.endswith("/openai/v1/responses")
    assert request.body["model"] == "mine"
    assert [w.code for w in request.warnings] == ["temperature_ignored"]
    assert preview("azure/opus", "q", api_base=BARE).url.endswith("/anthropic/v1/messages")
    body = preview("azure/cheap", "q", api_base=BARE, max_tokens=20).body
    assert body["max_completion_tokens"] == 20
    assert preview("azure/small", "q", api_base=BARE, max_tokens=20).body["max_tokens"] == 20
    cheap = get_model("azure/cheap")
    assert cheap is not None
    assert (cheap.cost.input, cheap.limits.context) == (1.0, 272_000)


def test_unlisted_deployment_gets_the_new_name_of_max_tokens(july: Any) -> None:
    body = preview("azure/mine", "q", api_base=BARE, max_tokens=20).body
    assert body["max_completion_tokens"] == 20
    assert preview("azure/my-mistral", "q", api_base=BARE, max_tokens=20).body["max_tokens"] == 20


# --- Routes and doctor ----------------------------------------------------------------------


def test_missing_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    route = build_route({"id": "azure"}, "")
    assert route.missing_variables() == [
        "AZURE_OPENAI_ENDPOINT or AZURE_API_BASE or AZURE_RESOURCE_NAME",
        "AZURE_OPENAI_API_KEY or AZURE_API_KEY",
    ]
    monkeypatch.setenv("AZURE_RESOURCE_NAME", "mine")
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "s3cret")
    assert route.missing_variables() == []
    assert route.credential() == ("AZURE_CLIENT_SECRET", "environment")
    assert route.api_key() == ""
    monkeypatch.setenv("AZURE_API_KEY", KEY)
    assert (route.credential()[0], route.api_key()) == ("AZURE_API_KEY", KEY)
    monkeypatch.setenv("AZURE_AD_TOKEN", "token")
    assert (route.credential()[0], route.api_key()) == ("AZURE_AD_TOKEN", "")


@pytest.mark.parametrize(
    ("environment", "status", "expected"),
    [
        ({}, None, ""),
        ({"AZURE_CLIENT_ID": "a"}, None, ""),  # not only for models
        ({"AZURE_API_KEY": KEY}, "missing", "No address for azure: set AZURE_OPENAI_ENDPOINT"),
        ({**ENDPOINT, "AZURE_API_KEY": KEY}, "ok",
         f"{BARE}/openai/v1 (AZURE_OPENAI_ENDPOINT), key from AZURE_API_KEY"),
        ({**ENDPOINT, **LEGACY, "AZURE_AD_TOKEN": jwt(4_000_000_000)}, "ok",
         "token from AZURE_AD_TOKEN, valid until 2096-10-02 07:06 UTC"),
        ({**ENDPOINT, "AZURE_AD_TOKEN": jwt(1_700_000_000)}, "failed", f"{BARE}/openai/v1"),
        (ENDPOINT, "missing", "no login"),
        ({**ENDPOINT, "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s"},
         "ok", "login with AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"),
        ({"AZURE_OPENAI_ENDPOINT": f"https://me:{KEY}@my-resource.openai.azure.com",
          "AZURE_API_BASE": f"https://me:{KEY}@other.openai.azure.com"}, "missing",
         "is https://my-resource.openai.azure.com, but AZURE_API_BASE is https://other.openai."),
        ({"ANTHROPIC_FOUNDRY_RESOURCE": "f", "ANTHROPIC_FOUNDRY_API_KEY": KEY}, "ok",
         "https://f.services.ai.azure.com/anthropic (ANTHROPIC_FOUNDRY_RESOURCE), key from"
         " ANTHROPIC_FOUNDRY_API_KEY"),
        (
            {"AZURE_AI_API_BASE": "https://f.services.ai.azure.com", "AZURE_AI_API_KEY": KEY},
            "ok",
            "/openai/v1 (AZURE_AI_API_BASE), key from AZURE_AI_API_KEY",
        ),
    ],
)  # fmt: skip
def test_report(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], status: str | None, expected: str
) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)  # not installed
    set_all(monkeypatch, environment)
    cloud = cloud_for("azure")
    assert cloud is not None
    report = asyncio.run(cloud.report())
    assert (report.status if report else None) == status
    assert report is None or expected in report.text
    assert KEY not in repr(report)
