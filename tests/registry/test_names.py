"""Test how model names are resolved."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AmbiguousModelError, get_model, get_registry, preview
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
    punctuation, 12 after removing a suffix), 731 have a single host, and 139 are ambiguous."""
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
        elif found == identity:
            counts["maker"] += 1
        else:
            counts["folded" if normalize_name(found) == normalize_name(identity) else "suffix"] += 1
        assert guessed or provider in FIRST_PARTY_PROVIDERS
    assert all(len(names) > 1 for names in candidates)
    assert all(name in registry.name_index for names in candidates for name in names)
    assert counts == {"maker": 277, "folded": 54, "suffix": 12, "unique": 731, "ambiguous": 139}


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
        ("anthropic/claude-sonnet-4-5-20251101", None),  # never another provider's
        ("openai/claude-sonnet-4-5", None),
        ("nobody/gpt-5", None),
        ("no-such-model", None),
    ],
)
def test_names(july: Path, name: str, full: str | None) -> None:
    model = get_model(name)
    assert (model.qualified_name if model else None) == full


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
        "models/gemini-2.5-flash",
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
    if name.strip("/").count("/"):
        assert preview(name, "hi").body  # left to LiteLLM
    assert "Traceback" not in capsys.readouterr().err
