"""Test `pipy replay`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipy_ai.cli.commands.replay import MAX_PAUSE_S
from pipy_ai.cli.main import main

from ..support.command import pipy
from ..support.scripted_command import scripted_command
from ..support.terminal import Terminal


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A file of recorded events."""
    path = tmp_path / "x.jsonl"
    path.write_text(pipy("ask", "-m", "faux/echo", "--events", "Hello there").stdout)
    return path


def test_file_is_printed_like_ask(recorded: Path) -> None:
    asked = pipy("ask", "-m", "faux/echo", "--usage", "Hello there")
    again = pipy("replay", str(recorded), "--at-once", "--usage")
    assert (again.returncode, again.stdout) == (0, asked.stdout)
    assert "4 in / 4 out" in again.stderr
    piped = pipy("replay", "-", "--at-once", stdin=recorded.read_text())
    assert (piped.stdout, piped.stderr) == ("Hello there\n", "")


def test_damaged_lines_are_reported_and_the_rest_is_played(recorded: Path) -> None:
    lines = recorded.read_text().splitlines()
    broken = [lines[0], "{", *lines[1:3], '{"type": "?"}', "", *lines[3:]]
    recorded.write_text("\n".join(broken))
    done = pipy("replay", str(recorded), "--at-once")
    assert (done.returncode, done.stdout) == (1, "Hello there\n")
    assert "line 2: not valid JSON" in done.stderr
    assert "2 of 9 lines skipped: not an event" in done.stderr


def test_truncated_file(recorded: Path) -> None:
    recorded.write_text("".join(recorded.read_text().splitlines(keepends=True)[:3]))
    done = pipy("replay", str(recorded), "--at-once")
    assert (done.returncode, done.stdout) == (1, "Hell\n")
    assert "no complete response" in done.stderr


def test_failed_response_is_reported() -> None:
    events = pipy("ask", "-m", "anthropic/claude-sonnet-4-5", "--events", "hi").stdout
    done = pipy("replay", "-", stdin=events)
    assert done.returncode == 1
    assert "ANTHROPIC_API_KEY" in done.stderr


def test_pace_is_kept(recorded: Path) -> None:
    events = [json.loads(line) for line in recorded.read_text().splitlines()]
    assert [event["ms"] for event in events] == sorted(event["ms"] for event in events)
    for number, event in enumerate(events):
        event["ms"] = number * 400
    recorded.write_text("\n".join(map(json.dumps, events)))
    took = []
    for words in (["--at-once"], ["--speed", "2"], []):
        begun = time.perf_counter()
        assert pipy("replay", str(recorded), *words).stdout == "Hello there\n"
        took.append(time.perf_counter() - begun)
    assert took[1] > 1.0
    assert took[2] > 2.0


def test_images_and_audio_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code = scripted_command("reply('A cat:', image(b'\\x89PNG\\r\\n'), audio(b'sound', 'Meow.'))")
    command = [sys.executable, "-c", code, "ask", "-m", "faux/any", "--events", "draw"]
    events = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done = pipy("replay", "--at-once", "-", stdin=events)
    assert done.returncode == 0
    assert done.stderr == "pipy: saved image.png\npipy: saved audio.wav\n"
    assert Path("image.png").read_bytes() == b"\x89PNG\r\n"
    named = pipy("replay", "--at-once", "-o", "cat.png", "-", stdin=events)
    assert named.stderr == "pipy: saved cat.png\npipy: saved cat.wav\n"
    assert pipy("replay", "--timeline", "-", stdin=events).stderr.count("saved") == 0
    assert pipy("replay", "--timeline", "-o", "x.png", "-", stdin=events).returncode == 2
    assert pipy("replay", "-o", "none/x.png", "-", stdin=events).returncode == 2


def test_model_output_cannot_send_escape_sequences(tmp_path: Path) -> None:
    events = pipy("ask", "-m", "faux/echo", "--events", "\x1b]52;c;aGk=\x07").stdout
    (tmp_path / "events").write_text(events)
    asked = ["-m", "pipy_ai", "replay", "--plain", "--at-once", str(tmp_path / "events")]
    with Terminal(*asked) as terminal:
        assert terminal.wait() == 0
        assert terminal.screen[0] == r"\x1b]52;c;aGk=\x07"


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["/no/such"], "/no/such"), (["-", "--speed", "0"], "greater than 0, got 0"), ([], "FILE")],
)
def test_wrong_use(words: list[str], expected: str) -> None:
    done = pipy("replay", *words)
    assert done.returncode in (1, 2)
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_pauses_are_shortened_and_times_may_go_back(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    events = [json.loads(line) for line in recorded.read_text().splitlines()]
    for number, event in enumerate(events):
        event["ms"] = 0 if number == 2 else number * 3_600_000
    recorded.write_text("\n".join(map(json.dumps, events)))
    assert main(["replay", str(recorded)]) == 0
    assert capsys.readouterr().out == "Hello there\n"
    assert pauses
    assert max(pauses) == MAX_PAUSE_S


def test_interrupted_replay(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    events = [json.loads(line) for line in recorded.read_text().splitlines()]
    events[-1]["ms"] = 3_600_000
    recorded.write_text("\n".join(map(json.dumps, events)))
    assert main(["replay", str(recorded)]) == 130


def test_timeline(recorded: Path, tmp_path: Path) -> None:
    events = [json.loads(line) for line in recorded.read_text().splitlines()]
    deltas = [number for number, event in enumerate(events) if event["type"] == "text_delta"]
    for number, event in enumerate(events):
        event["ms"] = 800 + 20 * number + (1500 if number > deltas[1] else 0)
    recorded.write_text("\n".join(map(json.dumps, events)))
    done = pipy("replay", str(recorded), "--timeline")
    assert (done.returncode, done.stderr) == (0, "")
    header, *lines = [line.split() for line in done.stdout.splitlines()]
    assert header == ["ms", "pause", "event", "detail"]
    assert lines[0] == ["800", "+800", "start"]
    assert [line[2] for line in lines] == [
        "start", "text_start", "text_delta", "text_delta", "text_end", "done",
    ]  # fmt: skip
    assert lines[2][3:5] == ["x", "2"]
    assert lines[3][1] == "+1,520"
    assert lines[-1][3:] == ["faux/echo:", "stop,", "4", "in", "/", "4", "out"]
    rows = json.loads(pipy("replay", str(recorded), "--timeline", "--json").stdout)
    assert [row["count"] for row in rows if row["event"] == "text_delta"] == [2, len(deltas) - 2]
    assert sum(row["characters"] for row in rows) == len("Hello there")
    assert pipy("replay", str(recorded), "--json").returncode == 2
    with Terminal("-m", "pipy_ai", "replay", str(recorded), "--timeline", columns=60) as terminal:
        assert terminal.wait() == 0
        assert "longest pause 1,520 ms, before" in terminal.text
        assert max(map(len, terminal.screen)) <= 60


def test_timeline_of_bad_input(recorded: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in recorded.read_text().splitlines()]
    for line in lines:
        del line["ms"]
    recorded.write_text("{\n" + "\n".join(map(json.dumps, lines)))
    done = pipy("replay", str(recorded), "--timeline")
    assert (done.returncode, done.stdout.splitlines()[1].split()[:3]) == (1, ["?", "?", "start"])
    assert "1 of" in done.stderr
    (tmp_path / "empty").touch()
    assert pipy("replay", str(tmp_path / "empty"), "--timeline").returncode == 1
    hostile = pipy("ask", "-m", "faux/echo", "--events", "a\x1b[2J\n\u202eb").stdout
    shown = pipy("replay", "-", "--timeline", stdin=hostile)
    assert "\x1b" not in shown.stdout
    assert shown.returncode == 0
