"""Catalogues for the tests: models.dev's feeds of three days, and the checked routes."""

from __future__ import annotations

import functools
import json
import lzma
from pathlib import Path
from typing import Any

from pipy_ai.registry.index import (
    models_in_feed,
    providers_in_feed,
)
from pipy_ai.registry.index_writer import encode_catalogue, write_catalogue

DATA = Path(__file__).parents[1] / "data"
DAYS = ("2025-10-01", "2026-05-22", "2026-07-01")
JULY = DAYS[-1]


@functools.cache
def raw(day: str = JULY) -> bytes:
    """Return a day's `api.json`."""
    return lzma.decompress((DATA / f"models-dev-{day}.json.xz").read_bytes())


def feed(day: str = JULY) -> Any:
    """Return a day's feed, parsed; a new copy each time."""
    return json.loads(raw(day))


@functools.cache
def routes() -> Any:
    """Return the route of each provider that was checked on the wire."""
    return json.loads(lzma.decompress((DATA / "provider_map.json.xz").read_bytes()))["providers"]


@functools.cache
def compiled(day: str) -> tuple[bytes, bytes]:
    found = feed(day)
    return encode_catalogue(
        models_in_feed(found)[0], providers_in_feed(found), {"date": day, "source": "test"}
    )


def install(directory: str | Path, day: str = JULY) -> None:
    """Write a day's feed as the catalogue of a data directory."""
    write_catalogue(str(directory), *compiled(day))
