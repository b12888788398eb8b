"""Fixtures for the command-line tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipy_ai.cli.checks import servers as module

from ..support.model_servers import Answers, Fake, Start


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start servers; only they are probed, because the machine may run others."""
    monkeypatch.setattr(module, "PORTS", {})
    monkeypatch.setattr(module, "PROBE_TIMEOUT_S", 5.0)  # a busy machine is no dead server
    running: list[Fake] = []

    def begin(answers: Answers, **how: Any) -> Fake:
        running.append(Fake(answers, **how))
        return running[-1]

    yield begin
    for fake in running:
        fake.http.shutdown()
        fake.http.server_close()
