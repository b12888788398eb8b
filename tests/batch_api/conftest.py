"""A laboratory of batch APIs for every test of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipy_ai.batch_api import jobs, verbs

from ..support.batch_api_lab import BatchLab


@pytest.fixture
def batch_lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchLab]:
    monkeypatch.setattr(jobs, "FIRST_POLL_S", 0.01)
    monkeypatch.setattr(verbs, "DEFAULT_POLL_S", 0.01)
    monkeypatch.setattr(jobs, "FIND_DELAYS_S", (0.0, 0.01, 0.01, 0.01))
    with BatchLab() as lab:
        yield lab
