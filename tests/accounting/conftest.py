"""Fixtures for the accounting tests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipy_ai import reload_registry


@pytest.fixture
def overridden(_alone: None) -> Iterator[str]:
    """A catalogue with a price for models of a local server."""
    folder = Path(os.environ["PIPY_DATA_DIR"])
    folder.mkdir(exist_ok=True)
    price, free = {"input": 1.0, "output": 10.0}, {"input": 0, "output": 0}
    prices = {
        "hosted_vllm/any": {"cost": price},
        "acme/any": {"cost": price},
        "acme/free": {"cost": free},
    }
    (folder / "overrides.json").write_text(json.dumps(prices))
    reload_registry()
    yield "hosted_vllm/any"
    (folder / "overrides.json").unlink()
    reload_registry()
