"""Test `pipy cache`, and the cache in other commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipy_ai import AssistantMessage, CacheHit, Cost, Usage, complete, faux
from pipy_ai.cli.display.usage import format_usage
from pipy_ai.cli.main import main


def test_stats_and_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPY_CACHE", "1")
    assert main(["cache"]) == 0
    assert "responses  0" in capsys.readouterr().out
    with faux.script("a", "b"):
        for prompt in ("q", "q2"):
            complete("faux/m", prompt)
    location = str(tmp_path / "pipy-data" / "cache" / "responses.sqlite")
    assert main(["cache", "stats", "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert stats.pop("bytes") > 0
    assert stats == {"location": location, "entries": 2, "hits": 0, "saved": 0.0}
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == f"Deleted 2 responses from {location}\n"
    monkeypatch.delenv("PIPY_CACHE")
    assert main(["cache", "stats", location]) == 0
    assert "responses  0" in capsys.readouterr().out


def test_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"no database" * 1000)
    assert main(["cache", "stats", str(path)]) != 0
    assert "not a database; delete it with pipy cache clear" in capsys.readouterr().err
    assert main(["cache", "clear", str(path)]) == 0
    assert not path.exists()


def test_options_of_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "x.sqlite")
    with faux.script("a", "b") as provider:
        for _ in range(2):
            assert main(["ask", "-m", "faux/m", "-o", f"cache={path}", "q"]) == 0
        assert provider.calls == 1
        rows = tmp_path / "rows.jsonl"
        rows.write_text('{"prompt": "q3"}\n{"prompt": "q3"}\n')
        for name in ("one", "two"):
            output = str(tmp_path / f"{name}.jsonl")
            command = ["batch", str(rows), "-m", "faux/m", "-o", output, "-q"]
            assert main([*command, "--option", f"cache={path}"]) == 0
        assert provider.calls == 2


def test_usage_line_shows_what_was_saved() -> None:
    usage = Usage(input=10, output=5, cost=Cost(total=0.0, source="cache"))
    message = AssistantMessage(usage=usage, cached=CacheHit(saved=0.0105), duration_ms=1.0)
    assert format_usage(message) == "10 in / 5 out  $0.0000  cached, saved $0.0105"
    assert format_usage(message, message).endswith("cached, saved $0.0210")
    message.cached = CacheHit()
    assert format_usage(message).endswith("cached")


def test_hits_are_counted_at_the_end_of_a_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "x.sqlite")
    ask = f"complete('faux/echo', 'q', cache={path!r})"
    code = f"from pipy_ai import complete\nfor _ in range(3): {ask}"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert main(["cache", "stats", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hits"] == 2
