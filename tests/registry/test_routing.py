"""Test the route to every model against the table that was checked on the wire."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import complete, get_models, preview
from pipy_ai.registry.index import models_in_feed, providers_in_feed
from pipy_ai.registry.routing import build_route, expand_url

from ..support.catalogues import feed, routes

HOSTS = providers_in_feed(feed())
RECORDS, _ = models_in_feed(feed())


# Where ours differs from the table, and why.
BETTER = {
    "github-copilot": "it takes a token that the user brings; its codex models need Responses",
    "github-models": "it was retired",
    "sakana": "its models say `shape: responses` themselves; a new one that does not is generic",
    "vivgrid": "its models say so themselves; the provider speaks Responses",
    "google-vertex": "its open models want Google's login, too, which a generic route has not",
    "bailing": "the table's address is already a whole one; ours leaves the end to LiteLLM",
    "azure": "the table has the address among the parameters",
    "azure-cognitive-services": "the table has the address among the parameters",
    "cloudflare-ai-gateway": "the table has it in a note",
    "amazon-bedrock": "a secret that belongs to another is no key of its own",
}


@pytest.mark.parametrize("provider", sorted(HOSTS))
def test_routes_match_the_checked_table(provider: str) -> None:
    table = routes()[provider]
    way = build_route(HOSTS[provider], "X")
    rules: Counter[str] = Counter()
    for name, record in RECORDS.items():
        if name.partition("/")[0] == provider:
            text = "text" in record["modalities"]["output"]
            one = build_route(HOSTS[provider], record["id"], record)
            rules[one.kind if text else "non_text"] += 1
    prefix = table.get("litellm_prefix")
    ours = {
        "rule": way.kind,
        "rules": dict(rules),
        "base": way.api_base,
        "model": way.model if prefix else None,
    }
    theirs = {
        "rule": table["rule"],
        "rules": table["rules"],
        "base": table.get("api_base") or "",
        "model": f"{prefix}/X" if prefix else None,
    }
    if provider in BETTER:
        assert ours != theirs or set(table["key_env"]) - set(way.key_env), "no longer an exception"
    else:
        assert ours == theirs
        assert set(table["key_env"]) <= set(way.key_env)
        wanted = set(way.required_env) | {
            v for text in way.parameters.values() for v in _variables(text)
        }
        assert way.kind == "local" or set(table["other_env"]) <= wanted


def _variables(text: str) -> list[str]:
    return [part.partition("}")[0] for part in text.split("${")[1:]]


@pytest.mark.parametrize(
    ("template", "value", "expected"),
    [
        ("https://${V}/v1", "acme.example", "https://acme.example/v1"),
        ("https://${V}/v1", "https://acme.example/", "https://acme.example/v1"),
        ("${V}/v1", "https://acme.example", "https://acme.example/v1"),
        ("${V}/v1", "acme.example/", "https://acme.example/v1"),
        ("https://x/${V}/ai/v1", "0a1b", "https://x/0a1b/ai/v1"),
        ("https://x/v1/", "", "https://x/v1"),
        ("", "", ""),
    ],
)
def test_url_templates(template: str, value: str, expected: str) -> None:
    assert expand_url(template, {"V": value}) == expected


def test_missing_variables_are_named() -> None:
    way = build_route(HOSTS["cloudflare-workers-ai"], "m")
    assert way.missing_variables({}) == ["CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_KEY"]
    message = complete("cloudflare-workers-ai/@cf/openai/gpt-oss-120b", "q")
    assert message.error is not None
    assert message.error.kind == "missing_key"
    assert "CLOUDFLARE_ACCOUNT_ID" in message.error.message
    message = complete("togetherai/openai/gpt-oss-120b", "q")
    assert message.error is not None
    assert "TOGETHER_API_KEY or" in message.error.message


@pytest.mark.parametrize("model", ["gitlab/duo-chat-opus-4-5", "sap-ai-core/gpt-5"])
def test_missing_route_is_explained(july: Any, model: str) -> None:
    message = complete(model, "q", api_key="k")
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert len(message.error.message) > 30


@pytest.mark.parametrize(
    "host",
    [
        "https://x/",
        "x",
        pytest.param("HTTPS://x"),
        pytest.param("Https://x"),
    ],
)
def test_host_variable_may_hold_a_url(
    july: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", host)
    monkeypatch.setenv("DATABRICKS_TOKEN", "token-0123456789")
    name = get_models(provider="databricks")[0].qualified_name
    assert preview(name, "hi").url.startswith("https://x/")
