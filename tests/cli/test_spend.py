"""Test `pipy spend`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipy_ai import LedgerEntry
from pipy_ai.accounting.ledger import append_entry
from pipy_ai.cli.main import main


def test_spend_totals_the_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l"
    monkeypatch.setenv("PIPY_LEDGER", str(path))
    for day, provider, model, cost in (
        ("01", "a", "x", 0.1), ("02", "a", "y", 0.2), ("02", "b", "z", None), ("03", "a", "x", 0.7),
    ):  # fmt: skip
        append_entry(
            str(path),
            LedgerEntry(
                time=f"2026-11-{day}T10:00:00.000Z", provider=provider, model=model,
                input=1000, cache_read=500, output=20, cost=cost,
            ),
        )  # fmt: skip
    assert main(["spend"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "model  requests  input  output               cost",
        "a/x           2  3,000      40              $0.80",
        "a/y           1  1,500      20              $0.20",
        "b/z           1  1,500      20            unknown",
        "total         4  6,000      80  $1.00 + 1 unknown",
    ]
    assert main(["spend", "--by", "day", "--since", "2026-11-02", "--json"]) == 0
    second, third = json.loads(capsys.readouterr().out)
    assert second == {
        "day": "2026-11-02", "requests": 2, "input": 3000, "output": 40, "usd": 0.2, "unpriced": 1,
    }  # fmt: skip
    assert (third["day"], third["usd"]) == ("2026-11-03", 0.7)
    with path.open("ab") as file:
        file.write(b"what?\n")
    assert main(["spend", "--by", "provider"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1].split() == ["a", "3", "4,500", "60", "$1.00"]
    assert "lines that could not be read: 1" in shown.err
    refused = LedgerEntry(time="2026-11-04", provider="c", model="x", error="missing_key")
    append_entry(str(path), refused)
    assert main(["spend", "--since", "2026-11-04"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["c/x", "1", "0", "0", "$0.00"]
    assert main(["spend", "--ledger", str(tmp_path / "none")]) == 1
    assert "there is no ledger at" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["spend", "--since", "yesterday"])
    assert end.value.code == 2
