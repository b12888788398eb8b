"""Which parts of a new feed are believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import get_model, sync_models
from pipy_ai.registry import get_registry, reload_registry
from pipy_ai.registry.default import model_with_key
from pipy_ai.registry.index import models_in_feed, providers_in_feed
from pipy_ai.registry.routing import build_route
from pipy_ai.registry.trust import TrustedProviders

from ..support.catalogues import DAYS, JULY, feed
from ..support.command import pipy
from ..support.feed_server import Mirror

EVIL = "https://evil.example/v1"


def provider(env: list[str], api: str = "", override: dict[str, Any] | None = None) -> Any:
    model: dict[str, Any] = {"id": "m", "name": "M", "limit": {"context": 9, "output": 9}}
    if override is not None:
        model["provider"] = override
    record = {"name": "", "npm": "@ai-sdk/openai-compatible", "env": env, "models": {"m": model}}
    return {**record, "api": api} if api else record


def trusted(known: dict[str, Any]) -> TrustedProviders:
    providers = TrustedProviders()
    providers.add(providers_in_feed(known), models_in_feed(known)[0])
    return providers


KNOWN = {
    "acme": provider(["ACME_API_KEY"], "https://api.acme.ai/v1"),
    "other": provider(
        ["OTHER_API_KEY"], "https://api.other.ai", {"api": "https://special.other.ai/v2"}
    ),
    "anthropic": provider(["ANTHROPIC_API_KEY"]),
    "azure": provider(["AZURE_API_KEY"]),
    "shared": provider(["SHARED_ACCOUNT_ID", "SHARED_KEY"], "https://shared.ai"),
}


ACME = "https://api.acme.ai/v1"


@pytest.mark.parametrize(
    ("name", "api", "refused"),
    [
        ("acme", EVIL, "https://evil.example"),
        ("acme", "http://api.acme.ai/v1", "http://api.acme.ai"),
        ("acme", "https://api.acme.ai@evil.example/v1", "https://api.acme.ai@evil.example"),
        ("acme", "https://api.acme.ai:444/v1", "https://api.acme.ai:444"),
        ("acme", "https://api.acme.ai/v2", ""),
        ("anthropic", EVIL, "https://evil.example"),
        ("anthropic", "https://api.anthropic.com/v1", ""),
        ("azure", "https://${AZURE_NAME}.openai.azure.com", ""),
        ("azure", "https://azure.com.evil.example", "https://azure.com.evil.example"),
        ("new", EVIL, ""),
    ],
)
def test_known_provider_keeps_its_address(name: str, api: str, refused: str) -> None:
    key = f"{name.upper()}_API_KEY"
    changed = {name: provider([key], api)}
    expected = [f"{name}: new address {refused}"] if refused else []
    assert trusted(KNOWN).apply(changed, ()) == expected
    known_api = ACME if name == "acme" else None
    assert changed[name].get("api") == (known_api if refused else api)
    accepted = {name: provider([key], api)}
    assert trusted(KNOWN).apply(accepted, [name]) == []
    assert accepted == {name: provider([key], api)}


@pytest.mark.parametrize(
    ("name", "known_api"), [("other", "https://special.other.ai/v2"), ("acme", None)]
)
def test_model_of_a_known_provider_keeps_its_address(name: str, known_api: str | None) -> None:
    changed = {name: provider([f"{name.upper()}_API_KEY"], KNOWN[name]["api"], {"api": EVIL})}
    assert trusted(KNOWN).apply(changed, ()) == [f"{name}: new address https://evil.example"]
    assert changed[name]["models"]["m"]["provider"].get("api") == known_api


@pytest.mark.parametrize(
    ("name", "api", "env", "kept"),
    [
        ("evil", EVIL, ["ACME_API_KEY"], []),
        ("evil", EVIL, ["EVIL_API_KEY", "ACME_API_KEY"], ["EVIL_API_KEY"]),
        ("azure-x", EVIL, ["AZURE_OPENAI_API_KEY", "AZURE_AD_TOKEN"], []),  # not listed
        ("acme", "https://api.acme.ai/v1", ["OTHER_API_KEY"], []),
        ("acme", "https://api.acme.ai/v1", ["ACME_TOKEN"], ["ACME_TOKEN"]),  # renamed
        ("acme-coding", "https://api.acme.ai/coding", ["ACME_API_KEY"], ["ACME_API_KEY"]),
        ("acme-coding", EVIL, ["ACME_API_KEY"], []),
        ("evil", EVIL, ["STRIPE_SECRET_KEY", "HOME"], []),
        ("zz", "https://zz.ai", ["ZZ_API_KEY"], ["ZZ_API_KEY"]),
        ("x-ai", "https://x.ai", ["XAI_API_KEY", "X_AI_KEY"], ["XAI_API_KEY", "X_AI_KEY"]),
        ("01", "https://01.ai", ["01_API_KEY"], ["01_API_KEY"]),
        ("s", EVIL, ["STRIPE_SECRET_KEY", "AWS_S"], []),
        ("st", EVIL, ["STRIPE_SECRET_KEY"], []),
        ("shared-two", "https://two.ai", ["SHARED_ACCOUNT_ID"], ["SHARED_ACCOUNT_ID"]),
        ("shared-two", "https://two.ai", ["SHARED_KEY"], []),
    ],
)
def test_variables_belong_to_their_provider(
    name: str, api: str, env: list[str], kept: list[str]
) -> None:
    changed = {name: provider(list(env), api)}
    changes = trusted(KNOWN).apply(changed, ())
    assert changed[name]["env"] == kept
    assert len(changes) == (kept != env)


def test_variables_that_only_a_route_reads_belong_to_their_provider() -> None:
    """models.dev does not list GOOGLE_VERTEX_API_KEY, so no other provider may."""
    vertex = provider(["GOOGLE_VERTEX_PROJECT"]) | {"npm": "@ai-sdk/google-vertex"}
    new = {"google-helper": provider(["GOOGLE_VERTEX_API_KEY"], EVIL)}
    changes = trusted({**KNOWN, "google-vertex": vertex}).apply(new, ())
    assert changes == ["google-helper: variable GOOGLE_VERTEX_API_KEY of google-vertex"]
    assert new["google-helper"]["env"] == []


def test_variables_of_a_model_belong_to_their_provider() -> None:
    changed = {"evil": provider(["EVIL_API_KEY"], EVIL, {"env": ["ACME_API_KEY"]})}
    assert trusted(KNOWN).apply(changed, ()) == ["evil: variable ACME_API_KEY of acme"]
    assert changed["evil"]["models"]["m"]["provider"]["env"] == []


@pytest.mark.parametrize(
    "damaged", [None, [], {"models": []}, {"env": "X", "api": 7, "models": {"m": 1}}]
)
def test_damaged_records_are_left_to_others(damaged: Any) -> None:
    assert trusted(KNOWN).apply({"acme": damaged}, ()) == []


def test_real_feeds_change_few_addresses() -> None:
    assert trusted(feed(DAYS[1])).apply(feed(JULY), ()) == [
        "routing-run: new address https://ai.routing.sh",
        "lucidquery: new address https://api.lucidquery.com",
    ]


def test_sync_keeps_the_address_until_it_is_confirmed(mirror: Mirror) -> None:
    changed = feed(JULY)
    changed["groq"]["models"]["moved"] = changed["groq"]["models"]["openai/gpt-oss-120b"] | {
        "id": "moved", "provider": {"api": EVIL},
    }  # fmt: skip
    changed["deepseek"]["api"] = EVIL
    changed["evil"] = provider(["ANTHROPIC_API_KEY"], EVIL)
    mirror.body = json.dumps(changed).encode()
    result = sync_models()
    assert [change for change in result.untrusted if "evil" in change] == [
        "deepseek: new address https://evil.example",
        "groq: new address https://evil.example",
        "evil: variable ANTHROPIC_API_KEY of anthropic",
    ]
    route = get_registry().route(get_model("groq/moved"))
    assert route.api_base == "https://api.groq.com/openai/v1"
    assert get_registry().route(get_model("evil/m")).key_env == ()

    shown = pipy("sync", "--force", PIPY_MODELS_URL=mirror.url)
    assert (
        "groq has a new address https://evil.example, which is not used;"
        " pipy sync --trust groq accepts it\n"
    ) in shown.stderr
    assert (
        "evil has the variable ANTHROPIC_API_KEY of anthropic, which is not used;"
        " pipy sync --trust evil accepts it\n"
    ) in shown.stderr
    misspelt = pipy("sync", "--trust", "gorq", PIPY_MODELS_URL=mirror.url)
    assert misspelt.returncode == 2
    assert "the feed has no provider 'gorq'; did you mean groq?" in misspelt.stderr
    assert pipy("sync", "--trust", "xyzzy", PIPY_MODELS_URL=mirror.url).returncode == 2
    assert get_registry().route(get_model("groq/moved")).api_base != EVIL
    assert pipy("sync", "--trust", "groq", PIPY_MODELS_URL=mirror.url).returncode == 0
    reload_registry()
    assert get_registry().route(get_model("groq/moved")).api_base == EVIL


@pytest.mark.parametrize(
    ("api", "env", "problem"),
    [
        ("https://acme.ai/${AWS_SECRET}", ["ACME_API_KEY", "AWS_SECRET"], "AWS_SECRET"),
        ("https://acme.ai/${HOME}", ["ACME_API_KEY"], "HOME"),
        ("http://acme.ai/v1", ["ACME_API_KEY"], "not https: http://acme.ai/v1"),
        ("https://${ACME_HOST}/v1", ["ACME_API_KEY", "ACME_HOST"], ""),
        ("http://localhost:8080/v1", ["ACME_API_KEY"], ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("sdk", ["openai-compatible", "anthropic", "google"])
def test_addresses_with_secrets_or_without_encryption(
    sdk: str, api: str, env: list[str], problem: str
) -> None:
    record = {"id": "acme", "npm": f"@ai-sdk/{sdk}", "api": api, "env": env}
    route = build_route(record, "m")
    assert (problem in route.problem, bool(route.problem)) == (True, bool(problem))
    assert not problem or not route.api_base


def test_new_provider_gets_no_request_by_chance(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key variable may be that of something else: it is used with its full name only."""
    mirror.body = json.dumps(feed(JULY)).encode()
    sync_models()
    sync_models(trust=get_registry().unconfirmed_providers())
    changed = feed(JULY)
    changed["stripe"] = provider(["STRIPE_API_KEY"], EVIL)
    changed["stripe"]["models"]["only-here-9b"] = {
        **changed["stripe"]["models"]["m"], "id": "only-here-9b", "tool_call": True,
    }  # fmt: skip
    mirror.body = json.dumps(changed).encode()
    sync_models(force=True)
    reload_registry()
    assert get_registry().resolve_name("only-here-9b") == ("stripe/only-here-9b", True)  # no key
    monkeypatch.setenv("STRIPE_API_KEY", "sk-stripe-0123456789")
    assert get_registry().unconfirmed_providers() == {"stripe"}
    assert not model_with_key()[0].startswith("stripe/")
    assert get_registry().resolve_name("only-here-9b") == (None, False)
    assert get_registry().resolve_name("stripe/only-here-9b")[0] == "stripe/only-here-9b"
    sync_models(force=True)  # the next feed does not confirm it
    reload_registry()
    assert get_registry().unconfirmed_providers() == {"stripe"}
    sync_models(force=True, trust=["stripe"])
    reload_registry()
    assert get_registry().resolve_name("only-here-9b")[0] == "stripe/only-here-9b"
    sync_models(force=True)
    reload_registry()
    assert get_registry().unconfirmed_providers() == frozenset()
