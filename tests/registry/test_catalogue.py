"""Test reading models.dev's feed: every model loads, and bad records are skipped."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipy_ai import (
    Model,
    ModelCost,
    Usage,
    calculate_cost,
    complete,
    estimate_cost,
    get_model,
    get_models,
    preview,
)
from pipy_ai._requests import build_request
from pipy_ai.cli.main import main
from pipy_ai.provider.request import Request
from pipy_ai.registry import ModelRegistry
from pipy_ai.registry.index import (
    Catalogue,
    build_row,
    models_in_feed,
    providers_in_feed,
)
from pipy_ai.registry.index_writer import encode_catalogue, write_catalogue

from ..support.catalogues import DAYS, JULY, feed, install
from ..support.scripted_server import Lab
from ..support.wire_formats import ANTHROPIC, say

COUNTS = {"2025-10-01": (50, 747), "2026-05-22": (134, 4838), "2026-07-01": (147, 5276)}


@pytest.mark.parametrize("day", DAYS)
def test_each_feed_loads_every_model(day: str, tmp_path: Path) -> None:
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


def test_figures_match_the_feed(july: Path) -> None:
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


def test_older_tier_field_is_read() -> None:
    over = {"input": 2, "output": 4}
    cost = ModelCost.from_dict({"input": 1, "output": 2, "context_over_200k": over})
    assert [(t.size, t.input, t.output) for t in cost.tiers] == [(200_000, 2, 4)]


def test_model_is_a_dataclass() -> None:
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


@pytest.mark.parametrize("name", ["", " m", "m\n", "\tm", "m\u2003"])
def test_names_that_cannot_be_typed_are_skipped(name: str) -> None:
    """White space around a name is ignored where it is read."""
    feed = {"acme": {"models": {"m": {}, name: {}}}, name: {"models": {"m": {}}}}
    records, skipped = models_in_feed(feed)
    assert (list(records), skipped) == (["acme/m"], 2)
    assert list(providers_in_feed(feed)) == ["acme"]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), PATHS, JUNK),
        min_size=1,
        max_size=6,
    )
)
def test_bad_field_or_model_does_not_hide_others(changes: list[Any]) -> None:
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


FEW_PROVIDERS = {
    name: host for name, host in feed().items() if name in ("anthropic", "google", "openai")
}


def request_of(model: Any, prompt: Any = "hi", **options: Any) -> Request:
    return build_request(model, prompt, None, options)  # type: ignore[arg-type]


def settle(directory: Path, records: Any, about: dict[str, Any] | None = None) -> None:
    """Write a feed as the catalogue of a data directory."""
    metadata = {"date": JULY, "source": "test", **(about or {})}
    write_catalogue(
        str(directory),
        *encode_catalogue(models_in_feed(records)[0], providers_in_feed(records), metadata),
    )


def override(directory: Path, changes: Any) -> None:
    (directory / "overrides.json").write_text(json.dumps(changes))


ODD: list[dict[str, Any]] = [
    {"modalities": ["text"]}, {"modalities": {"input": "text", "output": 3}},
    {"modalities": {"input": [1, {}], "output": [None]}},
    {"reasoning_options": 7}, {"reasoning_options": [7, None, "x"]},
    {"reasoning_options": [{"type": "effort", "values": 7}]},
    {"reasoning_options": [{"type": "effort", "values": [7, {}, None]}]},
    {"reasoning_options": [{"type": "effort", "values": "high"}]},
    {"reasoning_options": [{"type": "budget_tokens", "min": "lots", "max": []}]},
    {"reasoning_options": [{"type": "budget_tokens", "min": 1e400}]},
    {"reasoning_options": [{"type": ["toggle"]}]},
    {"provider": {"env": 5}}, {"provider": {"env": "ACME_KEY"}}, {"provider": "acme"},
    {"provider": {"npm": 5, "shape": []}}, {"provider": {"api": 7}}, {"provider": {"api": ["x"]}},
    {"id": None}, {"id": "other"}, {"id": 3}, {"name": 5, "family": [], "status": {}},
    {"limit": {"context": "big", "output": []}}, {"limit": 9}, {"limit": {"output": 1e400}},
    {"cost": {"input": "x", "output": True, "tiers": [7, {"tier": {"size": "x"}}]}},
    {"cost": {"tiers": {"a": 1}, "context_over_200k": 4}}, {"cost": "cheap"},
    {"experimental": {"modes": 5}}, {"experimental": {"modes": {"fast": {"provider": 5}}}},
    {"experimental": {"modes": {"fast": {"cost": 5, "provider": {"body": 7}}}}},
    {"release_date": 5, "last_updated": [], "knowledge": {}}, {"interleaved": {"field": 3}},
    {"temperature": "no", "reasoning": "much", "tool_call": 1, "open_weights": "x"},
]  # fmt: skip
ODD_HOSTS: list[dict[str, Any]] = [
    {"env": 5}, {"env": "ANTHROPIC_API_KEY"}, {"env": [5, None]}, {"env": {"a": 1}}, {"id": None},
    {"id": "other"}, {"npm": 5}, {"api": 5}, {"name": 5, "doc": []},
]  # fmt: skip
CLAUDE = "anthropic/claude-sonnet-4-5"


def use(lab: Lab, capsys: pytest.CaptureFixture[str], key_set: bool = True) -> None:
    """Run everything that reads a record."""
    model = get_model(CLAUDE)
    assert model is not None
    assert model.qualified_name == CLAUDE
    assert bool(get_models(available=True)) == key_set
    assert len(get_models()) > 90
    for level in ("high", "off"):
        preview(CLAUDE, "hi", reasoning=level, api_base="http://127.0.0.1:9")
    preview(CLAUDE, "hi")
    complete(CLAUDE, "hi", api_base=ANTHROPIC.base(lab), reasoning="high")
    assert lab.seen[-1].json["model"] == "claude-sonnet-4-5"
    calculate_cost(CLAUDE, Usage(input=300_000, output=10))
    estimate_cost(CLAUDE, 10, 10)
    for line in (
        f"info {CLAUDE}", f"info {CLAUDE} --json", "providers", "providers --json --all",
        "compare --input 10 --free", "models --all --json", "models --sort released",
        "models --search x --columns name,family,reads,released,status,in",
    ):  # fmt: skip
        assert main(line.split()) == 0, line
    assert main(f"compare --input 10 {CLAUDE} openai/gpt-5".split()) == 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [pytest.param(c, id=json.dumps(c)) for c in ODD],
)
@pytest.mark.parametrize("where", ["record", "override"])
def test_wrong_types_in_a_record_are_tolerated(
    lab: Lab, data: Path, where: str, change: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    lab.always = ANTHROPIC.scene(say("ok"))
    damaged = copy.deepcopy(FEW_PROVIDERS)
    if where == "record":
        damaged["anthropic"]["models"]["claude-sonnet-4-5"] |= copy.deepcopy(change)
    settle(data, damaged)
    if where == "override":
        override(data, {CLAUDE: change})
    use(lab, capsys)


@pytest.mark.parametrize("change", ODD_HOSTS, ids=json.dumps)
def test_wrong_types_in_a_provider_are_tolerated(
    lab: Lab, data: Path, change: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    lab.always = ANTHROPIC.scene(say("ok"))
    damaged = copy.deepcopy(FEW_PROVIDERS)
    damaged["anthropic"] |= change
    settle(data, damaged)
    use(lab, capsys, "env" not in change or change["env"] == "ANTHROPIC_API_KEY")


def test_env_as_a_string_is_one_variable(lab: Lab, july: Path) -> None:
    override(july, {"acme/large": {"provider": {"api": lab.url, "env": "ACME_KEY"}}})
    assert request_of("acme/large").route.key_env == ("ACME_KEY",)


def test_float_limit_is_read(data: Path) -> None:
    changed = copy.deepcopy(FEW_PROVIDERS)
    tier = {"input": 9, "tier": {"size": 200_000.0, "type": "context"}}
    changed["openai"]["models"]["gpt-5"]["cost"] |= {"input": 1, "tiers": [tier]}
    settle(data, changed)
    model = get_model("openai/gpt-5")
    assert model is not None
    assert [tier.size for tier in model.cost.tiers] == [200_000]
    assert estimate_cost("openai/gpt-5", 200_001) == pytest.approx(1.800009)
    assert main(["info", "openai/gpt-5"]) == 0
