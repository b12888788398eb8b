"""The server of the file APIs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipy_ai.file_storage import vendors

from ..support.file_lab import FileLab


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileLab]:
    monkeypatch.setattr(vendors, "POLL_S", 0.01)
    monkeypatch.setattr(vendors, "RETRY_DELAYS_S", (0.01, 0.01))
    with FileLab() as lab:
        yield lab
