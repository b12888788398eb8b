"""Test `pipy spend`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipy_ai import AssistantMessage, LedgerEntry, user
from pipy_ai.accounting.ledger import append_entry
from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.cli.main import main
from pipy_ai.types import Cost, Usage

from ..support.command import pipy
from ..support.terminal import Terminal


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
        "source": "ledger",
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


NOON = 1_790_000_000_000  # 21 September 2026


def keep(day: int, model: str, cost: float | None) -> None:
    usage = Usage(input=1000, cache_read=200, output=45, total_tokens=1245, cost=Cost(total=cost))
    with Conversation.new(model=f"a/{model}") as conversation:
        conversation.add(user("Hi"))
        conversation.add(
            AssistantMessage(
                provider="a", model=model, usage=usage, timestamp=NOON + day * 86_400_000
            )
        )


def test_history_is_used_without_a_ledger() -> None:
    nothing = pipy("spend")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "no ledger" in nothing.stderr
    keep(0, "x", 0.1)
    keep(1, "x", 0.2)
    keep(1, "y", None)
    with Conversation.open() as conversation:
        conversation.undo()  # it cost money all the same
    done = pipy("spend")
    assert "from the saved conversations" in done.stderr
    assert done.stdout.splitlines()[1:] == [
        "a/x           2  2,400      90              $0.30",
        "a/y           1  1,200      45            unknown",
        "total         3  3,600     135  $0.30 + 1 unknown",
    ]
    days = json.loads(pipy("spend", "--by", "day", "--json").stdout)
    assert [(row["day"], row["requests"], row["source"]) for row in days] == [
        ("2026-09-21", 1, "history"), ("2026-09-22", 2, "history"),
    ]  # fmt: skip
    assert len(json.loads(pipy("spend", "--since", "2026-09-22", "--json").stdout)) == 2
    assert pipy("spend", "--source", "ledger").returncode == 1


def test_nothing_counts_twice(tmp_path: Path) -> None:
    path = str(tmp_path / "l")
    keep(0, "x", 0.1)
    entry = LedgerEntry(time="2026-09-21T10:00:00Z", provider="a", model="x", input=7, cost=0.1)
    append_entry(path, entry)
    ledger = pipy("spend", PIPY_LEDGER=path)
    assert f"from the ledger {path}" in ledger.stderr
    assert ledger.stdout.splitlines()[-1].split() == ["total", "1", "7", "0", "$0.10"]
    history = pipy("spend", "--source", "history", PIPY_LEDGER=path)
    assert history.stdout.splitlines()[-1].split() == ["total", "1", "1,200", "45", "$0.10"]
    assert pipy("spend", "--source", "history", "--ledger", path).returncode == 2


def test_damaged_history_does_not_stop_the_sum() -> None:
    keep(0, "x", 0.1)
    folder = Path(Conversation("x").path).parent
    (folder / "20250101-000000-0.jsonl").write_bytes(
        b'{"kind":"message","n":1,"message":{"role":"assistant","usage":[],"timestamp":1e300}}\n'
        b'{"kind":"message","n":2,"message":{"role":"assistant","model":5,"timestamp":"x"}}\n\xff\n'
    )
    done = pipy("spend", "--by", "day")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split()[-1] == "$0.10"


def test_bars_fit_the_terminal() -> None:
    keep(0, "x", 0.1)
    keep(1, "y", 0.4)
    with Terminal("-m", "pipy_ai", "spend", "--by", "day", columns=80) as wide:
        assert wide.wait() == 0
        [low] = [line for line in wide.screen if line.startswith("2026-09-21")]
        [high] = [line for line in wide.screen if line.startswith("2026-09-22")]
        assert high.count("█") // 4 == low.count("█") > 5
        assert max(map(len, wide.screen)) < 80
    keep(2, "a-model-with-a-name-of-more-than-thirty-two-characters", 0.2)
    with Terminal("-m", "pipy_ai", "spend", columns=80) as wide:
        assert wide.wait() == 0
        [shortened] = [line for line in wide.screen if "a-model-with" in line]
        assert "…" in shortened
        assert shortened.count("█") >= 4
    keep(3, "another-model-with-a-name-of-more-than-thirty-two-characters", 100.0)
    keep(3, "z", None)
    with Terminal("-m", "pipy_ai", "spend", columns=80) as wide:  # no room for all columns
        assert wide.wait() == 0
        [highest] = [line for line in wide.screen if "another-model" in line]
        assert highest.count("█") >= 8
        assert "columns hidden to fit the terminal: requests" in wide.text
    with Terminal("-m", "pipy_ai", "spend", columns=20) as narrow:
        assert narrow.wait() == 0
        assert "█" not in narrow.text
        assert "$0.40" in narrow.text
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    with Terminal("-m", "pipy_ai", "spend", env=ascii_only) as plain:
        assert plain.wait() == 0
        assert "####" in plain.text
    assert "█" not in pipy("spend").stdout


def test_colors_of_a_terminal_mark_large_shares_and_unknown_costs() -> None:
    for number, (model, cost) in enumerate([("x", 0.1), ("y", 0.3), ("z", 0.6), ("w", None)]):
        keep(number, model, cost)
    with Terminal("-m", "pipy_ai", "spend", columns=80) as terminal:
        assert terminal.wait() == 0
        lines = terminal.raw.decode().split("\r\n")

    def color(model: str) -> str:
        [line] = [line for line in lines if f"/{model} " in line]
        return line[line.index("\x1b[") + 2 : line.index("m", line.index("\x1b["))]

    assert {model: color(model) for model in "xyzw"} == {"x": "32", "y": "33", "z": "31", "w": "33"}
    assert "\x1b" not in pipy("spend").stdout
