"""Fixtures for the catalogue tests: a models.dev server on loopback."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.catalogues import feed
from ..support.feed_server import Mirror

SMALL = {name: host for name, host in feed().items() if name in ("anthropic", "google", "openai")}


@pytest.fixture
def small_mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A small models.dev on loopback."""
    server = Mirror()
    server.body = json.dumps(SMALL).encode()
    monkeypatch.setenv("PIPY_MODELS_URL", server.url)
    yield server
    server.close()


@pytest.fixture
def data() -> Path:
    return Path(os.environ["PIPY_DATA_DIR"])


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    server = Mirror()
    monkeypatch.setenv("PIPY_MODELS_URL", server.url)
    yield server
    server.close()
