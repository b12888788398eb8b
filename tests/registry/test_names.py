"""Test how model names are resolved."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AmbiguousModelError,
    ModelCost,
    Usage,
    calculate_cost,
    complete,
    get_model,
    get_registry,
    preview,
)
from pipy_ai._requests import build_request
from pipy_ai.cli.main import main
from pipy_ai.provider.request import Request
from pipy_ai.registry import reload_registry
from pipy_ai.registry.names import FIRST_PARTY_PROVIDERS, NameIndex, normalize_name

from ..support.catalogues import feed


def test_every_full_name_resolves_to_itself(july: Path) -> None:
    registry = get_registry()
    names = list(registry.rows())
    assert len(names) == 5276
    for name in names:
        assert registry.resolve_name(name) == (name, False)
        assert registry.name_index.resolve(name, registry.providers(), lambda _: True) == (
            name,
            False,
        )


def test_bare_names(july: Path) -> None:
    """Of 1,213 ids without a slash, 277 belong to the model's maker (54 more after removing
    punctuation, 12 after removing a suffix, 22 as a variant), 720 have a single host, and 128 are
    ambiguous."""
    registry = get_registry()
    ids = {name.partition("/")[2] for name in registry.rows()}
    bare = sorted(identity for identity in ids if "/" not in identity)
    assert len(bare) == 1213
    counts: Counter[str] = Counter()
    candidates: list[list[str]] = []
    for identity in bare:
        try:
            full, guessed = registry.name_index.resolve(
                identity, registry.providers(), lambda _: False
            )
        except AmbiguousModelError as error:
            counts["ambiguous"] += 1
            candidates.append(error.candidates)
            continue
        assert full is not None
        provider, _, found = full.partition("/")
        if guessed:
            counts["unique"] += 1
        elif full not in registry.name_index:
            counts["variant"] += 1
        elif found == identity:
            counts["maker"] += 1
        else:
            counts["folded" if normalize_name(found) == normalize_name(identity) else "suffix"] += 1
        assert guessed or provider in FIRST_PARTY_PROVIDERS
    assert all(len(names) > 1 for names in candidates)
    assert all(name in registry.name_index for names in candidates for name in names)
    assert counts == {
        "maker": 277, "folded": 54, "suffix": 12, "variant": 22, "unique": 720, "ambiguous": 128
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("claude-sonnet-4.5", "anthropic/claude-sonnet-4-5"),
        ("Claude-Sonnet-4.5", "anthropic/claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4-5"),
        ("anthropic/claude-opus-4", "anthropic/claude-opus-4-0"),
        ("claude-3-opus", "anthropic/claude-3-opus-20240229"),
        ("gpt-5-chat", "openai/gpt-5-chat-latest"),
        ("gpt-4o", "openai/gpt-4o"),
        ("openrouter/openai/gpt-4o", "openrouter/openai/gpt-4o"),
        ("groq/compound", "groq/groq/compound"),
        ("gemini/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("together_ai/openai/gpt-oss-120b", "togetherai/openai/gpt-oss-120b"),
        ("moonshot/kimi-k2.5", "moonshotai/kimi-k2.5"),
        ("kimi-k2.5", "moonshotai/kimi-k2.5"),
        ("  gpt-5 ", "openai/gpt-5"),
        ("anthropic/claude-sonnet-4-5-20251101", "anthropic/claude-sonnet-4-5-20251101"),
        ("anthropic/gpt-5-2025-08-07", None),  # never another provider's
        ("models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("gemini/models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("openai/claude-sonnet-4-5", None),
        ("nobody/gpt-5", None),
        ("no-such-model", None),
    ],
)
def test_names(july: Path, name: str, full: str | None) -> None:
    model = get_model(name)
    assert (model.qualified_name if model else None) == full


@pytest.mark.parametrize(
    ("name", "full", "base", "same_price"),
    [
        ("openai/gpt-5-2025-08-07", "openai/gpt-5-2025-08-07", "openai/gpt-5", True),
        ("gpt-5-2025-08-07", "openai/gpt-5-2025-08-07", "openai/gpt-5", True),
        ("o3-2025-04-16", "openai/o3-2025-04-16", "openai/o3", True),
        ("gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini", True),
        ("azure/gpt-5-2025-08-07", "azure/gpt-5-2025-08-07", "azure/gpt-5", True),
        (
            "claude-sonnet-4-6-20260301", "anthropic/claude-sonnet-4-6-20260301",
            "anthropic/claude-sonnet-4-6", True,
        ),
        # With another date than the listed one: the newest of that name.
        (
            "anthropic/claude-3-opus-20240301", "anthropic/claude-3-opus-20240301",
            "anthropic/claude-3-opus-20240229", True,
        ),
        ("openai/gpt-5-latest", "openai/gpt-5-latest", "openai/gpt-5", True),
        ("gemini/gemini-2.0-flash-001", "google/gemini-2.0-flash-001", "google/gemini-2.0-flash",
         True),
        ("gemini-2.5-flash-preview-09-2025", "google/gemini-2.5-flash-preview-09-2025",
         "google/gemini-2.5-flash", True),
        ("gemini/gemini-2.5-pro-preview-05-06", "google/gemini-2.5-pro-preview-05-06",
         "google/gemini-2.5-pro", False),
        ("google-vertex/gemini-2.5-flash-preview-04-17",
         "google-vertex/gemini-2.5-flash-preview-04-17", "google-vertex/gemini-2.5-flash", False),
        # OpenAI lists it at another price than gpt-4o.
        ("azure/gpt-4o-2024-05-13", "azure/gpt-4o-2024-05-13", "azure/gpt-4o", False),
        ("vercel/openai/gpt-4o-2024-05-13", "vercel/openai/gpt-4o-2024-05-13",
         "vercel/openai/gpt-4o", False),
        ("azure/gpt-4o-2024-11-20", "azure/gpt-4o-2024-11-20", "azure/gpt-4o", True),
        ("xai/grok-4.3-0709", "xai/grok-4.3-0709", "xai/grok-4.3", True),
        ("openai/gpt-4-0613", "openai/gpt-4-0613", "openai/gpt-4", True),
        ("openai/gpt-3.5-turbo-0125", "openai/gpt-3.5-turbo-0125", "openai/gpt-3.5-turbo", True),
        ("openai/gpt-3.5-turbo-1106", "openai/gpt-3.5-turbo-1106", "openai/gpt-3.5-turbo", False),
        (
            "vertex_ai/claude-sonnet-4-5@latest", "google-vertex/claude-sonnet-4-5@latest",
            "google-vertex/claude-sonnet-4-5@20250929", True,
        ),
        (
            "google-vertex/claude-opus-4-6@20260205", "google-vertex/claude-opus-4-6@20260205",
            "google-vertex/claude-opus-4-6@default", True,
        ),
        ("ft:gpt-4o-mini:acme::id1", "openai/ft:gpt-4o-mini:acme::id1", "openai/gpt-4o-mini",
         False),
        (
            "openai/ft:gpt-4.1-2025-04-14:acme:name:id1",
            "openai/ft:gpt-4.1-2025-04-14:acme:name:id1", "openai/gpt-4.1", False,
        ),
        ("openrouter/openai/gpt-5:nitro", "openrouter/openai/gpt-5:nitro",
         "openrouter/openai/gpt-5", True),
        ("openrouter/openai/gpt-5:floor", "openrouter/openai/gpt-5:floor",
         "openrouter/openai/gpt-5", True),
        ("openrouter/openai/gpt-5-2025-08-07:thinking",
         "openrouter/openai/gpt-5-2025-08-07:thinking", "openrouter/openai/gpt-5", True),
        ("openrouter/openai/gpt-5:online", "openrouter/openai/gpt-5:online",
         "openrouter/openai/gpt-5", False),
        ("openrouter/openai/gpt-5:free", "openrouter/openai/gpt-5:free",
         "openrouter/openai/gpt-5", False),
        ("ollama-cloud/glm-5:cloud", "ollama-cloud/glm-5:cloud", "ollama-cloud/glm-5", False),
        (
            "ollama-cloud/gpt-oss:20b-instruct-q4",
            "ollama-cloud/gpt-oss:20b-instruct-q4",
            "ollama-cloud/gpt-oss:20b",
            False,
        ),
        (
            "bedrock/in.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "amazon-bedrock/in.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "amazon-bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", True,
        ),
        (
            "bedrock/us-east-1/amazon.nova-pro-v1:0",
            "amazon-bedrock/us-east-1/amazon.nova-pro-v1:0", "amazon-bedrock/amazon.nova-pro-v1:0",
            True,
        ),
        (
            "bedrock/converse/apac.amazon.nova-lite-v1:0",
            "amazon-bedrock/converse/apac.amazon.nova-lite-v1:0",
            "amazon-bedrock/amazon.nova-lite-v1:0", True,
        ),
        (
            "bedrock/eu.anthropic.claude-opus-4-6-v1:0",
            "amazon-bedrock/eu.anthropic.claude-opus-4-6-v1:0",
            "amazon-bedrock/eu.anthropic.claude-opus-4-6-v1", True,
        ),
        (
            "bedrock/in.anthropic.claude-opus-4-6-v1:0:200k",
            "amazon-bedrock/in.anthropic.claude-opus-4-6-v1:0:200k",
            "amazon-bedrock/anthropic.claude-opus-4-6-v1", True,
        ),
        (
            "bedrock/us.anthropic.claude-opus-4-8-v1:0",
            "amazon-bedrock/us.anthropic.claude-opus-4-8-v1:0",
            "amazon-bedrock/us.anthropic.claude-opus-4-8", True,
        ),
        (
            "arn:aws:bedrock:us-east-1:123:inference-profile/us.anthropic.claude-opus-4-8",
            "amazon-bedrock/arn:aws:bedrock:us-east-1:123:inference-profile/"
            "us.anthropic.claude-opus-4-8",
            "amazon-bedrock/us.anthropic.claude-opus-4-8", True,
        ),
        (
            "bedrock/arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-pro-v1:0",
            "amazon-bedrock/arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-pro-v1:0",
            "amazon-bedrock/amazon.nova-pro-v1:0", True,
        ),
    ],
)  # fmt: skip
def test_variants_have_the_record_of_their_base(
    july: Path, name: str, full: str, base: str, same_price: bool
) -> None:
    model, listed = get_model(name), get_model(base)
    assert model is not None
    assert listed is not None
    assert (model.qualified_name, model.base_model) == (full, base)
    assert (model.limits, model.capabilities) == (listed.limits, listed.capabilities)
    assert model.cost == (listed.cost if same_price else ModelCost())
    request = request_of(name)
    assert request.model == full
    [warning] = request.warnings
    assert warning.code == "base_model"
    assert f"it is treated as {base}, " in warning.message
    assert ("price is unknown" in warning.message) is not same_price


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("openai/gpt-4o-2024-05-13", "openai/gpt-4o-2024-05-13"),  # it has its own price
        ("openrouter/openai/gpt-oss-20b:free", "openrouter/openai/gpt-oss-20b:free"),
        ("claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5-20250929"),
        ("us.anthropic.claude-opus-4-8", "amazon-bedrock/us.anthropic.claude-opus-4-8"),
        ("gpt-oss:20b", "ollama-cloud/gpt-oss:20b"),
    ],
)
def test_exact_name_takes_precedence(july: Path, name: str, full: str) -> None:
    model = get_model(name)
    assert model is not None
    assert (model.qualified_name, model.base_model) == (full, "")


@pytest.mark.parametrize(
    "name",
    [
        "openai/gpt-55-2025-08-07",
        "gpt-5:nitro",  # a tag has no effect on the maker
        "openai/kimi-k2-0905",  # four digits may be another model
        "bedrock/arn:aws:bedrock:us-east-1:123:application-inference-profile/abc123",
        "openai/ft:davinci:acme::id1",
    ],
)
def test_names_without_a_base(july: Path, name: str) -> None:
    assert get_model(name) is None


def test_bare_name_never_goes_silently_to_a_reseller(
    july: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    sent = preview("gpt-4o-mini-2024-07-18", "hi")  # openrouter lists it, OpenAI does not
    assert sent.url == "https://api.openai.com/v1/chat/completions"
    assert sent.body["model"] == "gpt-4o-mini-2024-07-18"
    monkeypatch.setenv("GROQ_API_KEY", "k")
    request = request_of("llama-3.3-70b-versatile")  # its maker has no API of that name
    assert request.provider == "groq"
    assert [warning.code for warning in request.warnings] == ["model_guessed"]
    assert "write groq/llama-3.3-70b-versatile" in request.warnings[0].message


@pytest.mark.parametrize(
    ("name", "dollars"),
    [
        ("in.anthropic.claude-sonnet-4-5-20250929-v1:0", 3.3),  # 3 * 1.1
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 3.3),  # listed at the worldwide price
        ("jp.anthropic.claude-sonnet-4-5-20250929-v1:0", 3.3),
        ("au.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", 3.3),  # listed at its own price
        ("us.anthropic.claude-sonnet-4-5-20250929-v1", 3.3),
        (
            "arn:aws:bedrock:us-east-1:123:inference-profile/"
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 3.3,
        ),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", 3.0),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", 3.0),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", 15.0),  # older models cost the same
        ("apac.amazon.nova-lite-v1:0", 0.06),
    ],
)  # fmt: skip
def test_regional_variant_of_new_claude_costs_more(july: Path, name: str, dollars: float) -> None:
    cost = calculate_cost(f"amazon-bedrock/{name}", Usage(input=1_000_000))
    assert cost.total == dollars


def test_fine_tuned_model_has_no_price(july: Path) -> None:
    assert calculate_cost("openai/ft:gpt-4o-mini:acme::id1", Usage(input=9)).total is None


def test_variant_with_an_override_keeps_its_own_price(july: Path) -> None:
    name = "openai/ft:gpt-4o-mini:acme::id1"
    override = {name: {"cost": {"input": 0.3, "output": 1.2}}}
    (july / "overrides.json").write_text(json.dumps(override))
    reload_registry()
    assert calculate_cost(name, Usage(input=1_000_000)).total == 0.3


def test_tag_of_a_local_model_has_the_record_of_the_model(july: Path) -> None:
    override = {"ollama/qwen3": {"limit": {"context": 32_768}, "cost": {"input": 0, "output": 0}}}
    (july / "overrides.json").write_text(json.dumps(override))
    reload_registry()
    record = request_of("ollama/qwen3:7b-instruct-q4").record
    assert record is not None
    assert record["limit"] == {"context": 32_768}


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("opnai/gpt-5", "openai/gpt-5"),
        ("antropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("gogle/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("Mistrall/mistral-large-latest", "mistral/mistral-large-latest"),
        ("olama/qwen3:8b", "ollama/qwen3:8b"),
        ("togeter_ai/openai/gpt-oss-120b", "together_ai/openai/gpt-oss-120b"),
        ("azur_ai/mistral-large", "azure_ai/mistral-large"),
        ("openia/gpt-5-2025-08-07", "openai/gpt-5-2025-08-07"),
        ("google-vertx/gemini-2.5-flash", "google-vertex/gemini-2.5-flash"),
        ("deepsek/deepseek-chat", "deepseek/deepseek-chat"),
    ],
)
def test_misspelt_provider_is_reported(july: Path, name: str, suggestion: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"did you mean {suggestion}?")):
        complete(name, "hi")


@pytest.mark.parametrize(
    "name",
    [
        "my-custom-llm/m",
        "custom_llm/foo",
        "anthropic-proxy/claude-sonnet-4-5",
        "my-openai/gpt-5",
        "azure-eu/gpt-4o",
        "veniceai/foo",  # of LiteLLM's providers.json
        "llamagate/foo",
        "deepseek-ai/some-model",
        "mistralai/Mistral-7B-Instruct-v0.3",  # Mistral has no such model
    ],
)
def test_unknown_provider_that_resembles_none_goes_to_litellm(july: Path, name: str) -> None:
    request = request_of(name)
    assert request.route.kind == "litellm"
    assert request.warnings[0].code == "unknown_model"


def test_name_with_an_address_is_not_checked(july: Path) -> None:
    request = request_of("mistralai/mistral-large-latest", api_base="http://localhost:9/v1")
    assert (request.route.model, request.warnings) == ("mistralai/mistral-large-latest", [])


@pytest.mark.parametrize(
    "code",
    [
        "from pipy_ai import complete\ntry: complete('opnai/gpt-5', 'hi')\n"
        "except ValueError as error: print(error)\nelse: raise SystemExit('no error')",
        "from pipy_ai.cli.main import main\nassert main(['ask', '-m', 'opnai/gpt-5', 'hi']) == 2",
    ],
)
def test_misspelt_provider_is_reported_before_anything_heavy_is_imported(
    july: Path, code: str
) -> None:
    check = f"import sys\n{code}\nassert not {{'litellm', 'httpx', 'openai'}} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert "did you mean openai/gpt-5?" in done.stdout + done.stderr


def test_ambiguous_name_lists_candidates(july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "meta-llama/llama-3.3-70b-instruct"
    with pytest.raises(AmbiguousModelError, match="openrouter/meta-llama") as caught:
        get_model(name)
    assert caught.value.candidates == [
        f"{host}/{name}" for host in ("kilo", "nano-gpt", "novita-ai", "openrouter")
    ]
    assert pickle.loads(pickle.dumps(caught.value)).candidates == caught.value.candidates
    monkeypatch.setenv("NOVITA_API_KEY", "k")  # one host with a key: that one
    model = get_model(name)
    assert model is not None
    assert model.provider == "novita-ai"
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    with pytest.raises(AmbiguousModelError) as caught:
        get_model(name)
    assert [full.partition("/")[0] for full in caught.value.candidates] == [
        "novita-ai", "openrouter"
    ]  # fmt: skip


def test_empty_catalogue_has_no_model() -> None:
    assert NameIndex([]).resolve("gpt-5", [], lambda _: False) == (None, False)


def test_names_do_not_depend_on_order() -> None:
    names = [f"{p}/{m}" for p, host in feed().items() for m in host["models"]]
    one, two = NameIndex(names), NameIndex(reversed(names))
    for name in ("claude-sonnet-4.5", "gpt-5-chat", "glm-5", "mistral-small"):
        assert one.resolve(name, (), lambda _: False) == two.resolve(name, (), lambda _: False)
    assert one.suggest("claude-sonet-4-5") == two.suggest("claude-sonet-4-5")


def test_suggestions(july: Path) -> None:
    registry = get_registry()
    assert "anthropic/claude-sonnet-4-5" in registry.name_index.suggest(
        "anthropic/claude-sonet-4-5"
    )
    assert "openai/gpt-5-mini" in registry.name_index.suggest("gpt-5-mni")
    with pytest.raises(ValueError, match=re.escape("did you mean anthropic/claude-")):
        registry.require("anthropic/claude-opus-44")


def request_of(model: Any, prompt: Any = "hi", **options: Any) -> Request:
    return build_request(model, prompt, None, options)  # type: ignore[arg-type]


def test_provider_case_is_ignored(july: Path) -> None:
    model = get_model("OpenAI/gpt-4o")
    assert model is not None
    assert model.qualified_name == "openai/gpt-4o"
    request = request_of("OpenAI/gpt-4o")
    assert (request.model, request.warnings) == ("openai/gpt-4o", [])
    assert request.route.model == "openai/gpt-4o"


def test_litellm_provider_name_is_an_alias(july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    name = "meta_llama/Llama-3.3-70B-Instruct"
    model = get_model(name)
    assert model is None or model.provider == "llama"
    request = request_of(name)
    assert request.provider == "llama"
    assert "openrouter" not in request.route.model


def test_other_host_than_named_is_reported(july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    request = request_of("meta-llama/llama-3.3-70b-instruct")
    assert request.model == "openrouter/meta-llama/llama-3.3-70b-instruct"
    [warning] = request.warnings
    assert warning.code == "model_guessed"
    assert "openrouter/meta-llama/llama-3.3-70b-instruct" in warning.message


@pytest.mark.parametrize(
    "name",
    [
        "models/x",
        "providers/x",
        "models",
        "providers",
        "models/",
        "/x",
        "",
        "hash/x",
    ],
)
def test_file_keywords_are_not_names(
    july: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert get_model(name) is None
        reload_registry()
    assert main(["info", name]) == 1
    assert main(["cost", name, "--input", "1"]) == 1
    assert get_registry().provider_record(name.partition("/")[0]) is None
    if name == "models/x":  # Google's spelling of a bare name
        with pytest.raises(ValueError, match="no model 'x'"):
            preview(name, "hi")
    elif name.strip("/").count("/"):
        assert preview(name, "hi").body  # left to LiteLLM
    assert "Traceback" not in capsys.readouterr().err
