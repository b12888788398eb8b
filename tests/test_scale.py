"""Test the simulation behind docs/scale.md."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

from .support.doc_pages import ROOT


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("fleet")
    sys.modules.pop("fleet", None)


def test_same_seed_gives_the_same_result(fleet: Any) -> None:
    small = fleet.Fleet("small", workers=20, rpm=300, tpm=200_000)
    first, again = fleet.Simulation(small).run(), fleet.Simulation(small).run()
    assert first == again
    assert first != fleet.Simulation(small, seed=2).run()


def test_limits_and_totals_hold(fleet: Any) -> None:
    tight = fleet.Fleet("tight", route="direct", workers=100, rpm=50)
    simulation = fleet.Simulation(tight)
    outcome = simulation.run()
    assert max(simulation.requests.values()) == 50
    assert outcome.refusals_by_limit["rpm"] == outcome.refused > 0
    # Three deployments, two minutes; a few answers of the minute before end in the window.
    assert 270 <= outcome.done <= 320
    streams = tight.workers * tight.streams
    assert sum(outcome.seconds_by_activity.values()) == pytest.approx(streams * fleet.WINDOW_S)
    assert outcome.share("limits") > 0.9


def test_proxies_are_the_first_bottleneck(fleet: Any) -> None:
    def per_second(proxies: int) -> float:
        return fleet.Simulation(fleet.Fleet("", proxies=proxies, workers=100)).run().done / 120

    work = fleet.PROXY_REQUEST + fleet.ANSWER_TOKENS * fleet.PROXY_DELTA
    assert per_second(2) == pytest.approx(2 / work, rel=0.15)
    assert per_second(4) == pytest.approx(4 / work, rel=0.15)


@pytest.mark.timeout(300)
def test_documented_results_match_the_simulation(
    fleet: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The fleets with higher limits do most of the work; they differ in nothing else.
    monkeypatch.setattr(fleet, "FLEETS", [one for one in fleet.FLEETS if one.rpm == 10_000])
    fleet.main()
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    rows, prices = capsys.readouterr().out.strip().split("\n\n")
    assert len(rows.splitlines()) == 8
    assert rows in page
    assert prices in page
