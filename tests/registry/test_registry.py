"""Test catalogue queries and their start-up cost."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import estimate_cost, get_model, get_models, get_registry, select_model
from pipy_ai.registry import ModelRegistry
from pipy_ai.registry import catalogue as catalogue_module
from pipy_ai.registry import registry as registry_module
from pipy_ai.registry.index import (
    Catalogue,
    models_in_feed,
    providers_in_feed,
)
from pipy_ai.registry.index_writer import encode_catalogue, write_catalogue

from ..support.catalogues import JULY, feed, raw
from ..support.command import unmeasured_environment


def test_filters_agree_with_the_feed(july: Path) -> None:
    """Compare each filter with a plain reading of the feed."""
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
        ({"capability": "reasonning"}, "choose from reasoning, tool_call"),
        ({"modality": "smell"}, "choose from text, image"),
        ({"output_modality": "smell"}, "choose from text, image"),
        ({"status": "preview"}, "choose from active, alpha"),
        ({"provider": "antropic"}, "did you mean anthropic"),
    ],
)
def test_unknown_filter_values_are_rejected(july: Path, filters: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        get_models(**filters)  # type: ignore[arg-type]


def test_available_means_a_key_is_set(july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_models(available=True) == []
    monkeypatch.setenv("GROQ_API_KEY", "k")
    monkeypatch.setenv("CLOUDFLARE_API_KEY", "k")  # its account is missing
    assert {model.provider for model in get_models(available=True)} == {"groq"}
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a")
    hosts = {model.provider for model in get_models(available=True)}
    assert hosts == {"groq", "cloudflare-workers-ai"}
    assert len(get_models(available=False)) + len(get_models(available=True)) == 5276


def test_select_model(july: Path) -> None:
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
    with pytest.raises(ValueError, match="by must be"):
        select_model("size")  # type: ignore[arg-type]


def test_queries_load_nothing_heavy(july: Path) -> None:
    code = (
        "import sys; from pipy_ai import get_model, get_models;"
        "assert get_model('anthropic/claude-sonnet-4-5').cost.input == 3;"
        "get_models(capability='reasoning');"
        "print(*sorted(m.partition('.')[0] for m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=unmeasured_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"pydantic", "httpx", "yaml", "rich", "litellm", "dataclasses", "typing", "asyncio"}
    assert not heavy & set(done.stdout.split())


def test_large_catalogue(tmp_path: Path) -> None:
    records, _ = models_in_feed(feed())
    twice = records | {f"copy-{name}": record for name, record in records.items()}
    hosts = providers_in_feed(feed())
    copies = {f"copy-{name}": host for name, host in hosts.items()}
    about = {"date": JULY, "source": "test"}
    write_catalogue(str(tmp_path), *encode_catalogue(twice, hosts | copies, about))
    registry = ModelRegistry(tmp_path)
    assert len(registry.list_all()) == 10_552
    assert registry.get("copy-openai/gpt-5") is not None
    assert raw()[:1] == b"{"


def test_threads_open_the_catalogue_once(monkeypatch: pytest.MonkeyPatch) -> None:
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

    monkeypatch.setattr(catalogue_module, "open_catalogue", slowly)
    monkeypatch.setattr(registry_module, "current_registry", None)
    with ThreadPoolExecutor(8) as threads:
        registries = list(threads.map(ask, range(8)))
    assert len(opened) == len({id(registry) for registry in registries}) == 1


SMALL = {name: host for name, host in feed().items() if name in ("anthropic", "google", "openai")}
M = 1_000_000


def settle(directory: Path, records: Any, about: dict[str, Any] | None = None) -> None:
    """Write a feed as the catalogue of a data directory."""
    metadata = {"date": JULY, "source": "test", **(about or {})}
    write_catalogue(
        str(directory),
        *encode_catalogue(models_in_feed(records)[0], providers_in_feed(records), metadata),
    )


def override(directory: Path, changes: Any) -> None:
    (directory / "overrides.json").write_text(json.dumps(changes))


@pytest.mark.parametrize(
    "source",
    [
        "files",
        pytest.param("package"),
        pytest.param("override"),
    ],
)
def test_changes_to_a_model_stay_with_it(
    data: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if source != "package":
        settle(data, SMALL)
    if source == "override":
        override(
            data, {"openai/gpt-5": {"cost": {"input": 1.25}, "modalities": {"input": ["text"]}}}
        )
    before = copy.deepcopy(get_model("openai/gpt-5"))
    for model in (get_model("openai/gpt-5"), *get_models(provider="openai")):
        assert model is not None
        model.raw.setdefault("cost", {})["input"] = 999
        model.raw["modalities"]["input"].append("smell")
        model.modalities.input.append("smell")
        model.reasoning_options.append({"type": "toggle"})
        for option in model.reasoning_options:
            option["type"] = "spoilt"
    assert get_model("openai/gpt-5") == before
    assert estimate_cost("openai/gpt-5", M) == 1.25
    record = get_registry().record("openai/gpt-5")
    assert record is not None
    assert record["cost"]["input"] == 1.25
