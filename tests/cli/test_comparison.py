"""Test `pipy compare -p` and its votes."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from pipy_ai.cli.comparison.votes import read_standings

from ..support.command import pipy
from ..support.scripted_server import (
    STALL,
    Lab,
    Scene,
    Seen,
    Status,
    chat,
    finish,
    text,
    usage,
)
from ..support.terminal import Terminal

LONG = "# Moons\n\n" + "".join(f"{n}. moon number {n}\n" for n in range(1, 61))


def models(lab: Lab, *names: str) -> list[str]:
    flags = [flag for name in names for flag in ("-m", f"hosted_vllm/{name}")]
    return ["compare", "-p", "Which?", *flags, "--api-base", lab.url, "-o", "max_retries=0"]


def answers(lab: Lab, *texts: str) -> None:
    for words in texts:
        lab.play(chat(*text(words), finish("stop"), usage(1203, 345)))


def votes_file() -> Path:
    return Path(os.environ["PIPY_DATA_DIR"]) / "votes.jsonl"


def test_answers_follow_each_other_in_a_pipe(lab: Lab) -> None:
    answers(lab, "Same **answer**.", "Same **answer**.")
    done = pipy(*models(lab, "a", "b"))
    assert done.returncode == 0, done.stderr
    head, _, table = done.stdout.rpartition("\n\n")
    assert head == ("## hosted_vllm/a\n\nSame **answer**.\n\n## hosted_vllm/b\n\nSame **answer**.")
    header, *rows = [line.split() for line in table.splitlines() if line]
    assert header == ["model", "first", "total", "in", "out", "cost", "result"]
    assert [row[0] for row in rows] == ["hosted_vllm/a", "hosted_vllm/b"]
    assert all(row[-4:] == ["1,203", "345", "unknown", "stop"] for row in rows)
    assert {seen.json["model"] for seen in lab.seen} == {"a", "b"}
    assert not votes_file().exists()


def test_json_and_exit_code_of_a_failure(lab: Lab) -> None:
    lab.always = Status(401, {"error": {"message": "no"}})
    done = pipy(*models(lab, "a"), "-m", "faux/echo", "--json")
    assert done.returncode == 1
    first, second = json.loads(done.stdout)
    assert (first["model"], first["message"]["error"]["kind"]) == ("hosted_vllm/a", "auth")
    assert (second["model"], second["text"]) == ("faux/echo", "Which?")
    assert "hosted_vllm/a: " in done.stderr


def test_side_by_side_with_vote(lab: Lab) -> None:
    answers(lab, LONG, LONG)
    with Terminal("-m", "pipy_ai", *models(lab, "a", "b"), columns=100) as terminal:
        terminal.wait_for("Which is best?")
        lines = terminal.text.splitlines()
        assert lines[0].split() == ["hosted_vllm/a", "│", "hosted_vllm/b"]
        for number in range(1, 61):  # nothing is lost above the screen
            row = f"{number}. moon number {number}"
            assert any(line.split(" │ ")[0].strip() == row for line in lines), row
            assert any(line.split(" │ ")[-1].strip() == row for line in lines), row
        assert "answering" not in terminal.text
        assert "1,203" in terminal.text
        terminal.send("2\n")
        assert terminal.wait() == 0
        assert "vote saved; pipy compare --votes lists the standings" in terminal.text
    assert stat.S_IMODE(votes_file().stat().st_mode) == 0o600
    assert "Which?" not in votes_file().read_text()
    listed = [line.split() for line in pipy("compare", "--votes").stdout.splitlines()]
    assert listed == [
        ["model", "score", "wins", "losses", "ties"],
        ["hosted_vllm/b", "100%", "1", "0", "0"],
        ["hosted_vllm/a", "0%", "0", "1", "0"],
    ]
    best, _ = json.loads(pipy("compare", "--votes", "--json").stdout)
    assert best == {
        "model": "hosted_vllm/b", "comparisons": 1, "wins": 1, "losses": 0, "ties": 0, "score": 1,
    }  # fmt: skip


def test_ctrl_c_keeps_what_arrived(lab: Lab) -> None:
    lab.play([*chat(*text("half an answer")), STALL], [*chat(*text("half an answer")), STALL])
    with Terminal("-m", "pipy_ai", *models(lab, "a", "b"), columns=100) as terminal:
        terminal.wait_for("half an answer")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert terminal.text.count("half an answer") == 2
        assert "Which is best?" not in terminal.text
        assert "answering" not in terminal.text
    assert all(seen.left.wait(5) for seen in lab.seen)


def test_ctrl_c_prints_partial_answers_as_json(lab: Lab) -> None:
    scene = [*chat(*text("half an answer")), STALL]
    lab.play(scene, scene)
    with Terminal("-m", "pipy_ai", *models(lab, "a", "b"), "--json") as terminal:
        until = time.monotonic() + 30
        while len(lab.seen) < 2 or not all(seen.sent for seen in lab.seen):
            assert time.monotonic() < until
            terminal.read(0.1)
        terminal.interrupt()
        assert terminal.wait() == 130
        assert '"model": "hosted_vllm/b"' in terminal.text.replace("\n", "")


def test_narrow_terminal_shows_one_after_another(lab: Lab) -> None:
    answers(lab, "First **bold**.", "First **bold**.")
    with Terminal("-m", "pipy_ai", *models(lab, "a", "b"), columns=20) as terminal:
        terminal.wait_for("Enter")
        shown = terminal.text
        assert shown.count("First bold.") == 2
        assert "cost unknown" in shown
        terminal.send("\n")
        assert terminal.wait() == 0
    assert not votes_file().exists()


def test_errors_and_warnings_are_in_the_place_of_their_answer(lab: Lab) -> None:
    def answer(seen: Seen) -> Scene | Status:
        if seen.json["model"] == "b":
            return Status(404, {"error": {"message": "no such model b"}})
        return chat(*text("An answer."), finish("length" if seen.json["model"] == "a" else "stop"))

    lab.always = answer
    with Terminal("-m", "pipy_ai", *models(lab, "a", "b", "c"), columns=80) as terminal:
        terminal.wait_for("Which is best?")
        terminal.send("\n")
        assert terminal.wait() == 1
        shown = terminal.text
    parts = ["hosted_vllm/a\n", "An answer.", "hosted_vllm/a: the answer was truncated",
             "hosted_vllm/b\n", "no such model b", "hosted_vllm/c\n", "An answer."]  # fmt: skip
    places = [shown.index("An answer.", shown.index(parts[-2])) if n == 6 else shown.index(part)
              for n, part in enumerate(parts)]  # fmt: skip
    assert places == sorted(places), shown
    assert shown.count("no such model b") == 1


def test_escapes_and_a_console_without_unicode(lab: Lab) -> None:
    answers(lab, "a\x1b[2J\x1b]0;x\x07 東京", "b\x9b2J")
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    with Terminal("-m", "pipy_ai", *models(lab, "a", "b"), columns=100, env=ascii_only) as terminal:
        terminal.wait_for("Which is best?")
        assert r"a\x1b[2J\x1b]0;x\x07 ??" in terminal.text
        assert r"b\x9b2J" in terminal.text
        assert "-+-" in terminal.text
        assert "Traceback" not in terminal.text


def test_resize_while_answers_arrive(lab: Lab) -> None:
    lab.play([*chat(*text(LONG)), STALL], chat(*text("short answer"), finish("stop"), usage(1, 1)))
    with Terminal("-m", "pipy_ai", *models(lab, "a", "b"), columns=120) as terminal:
        terminal.wait_for("moon number 60")
        terminal.resize(70, 20)
        terminal.wait_for("done after")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert "moon number 1\n" in terminal.text.replace(" │", "\n") or "moon number 1 " in (
            terminal.text
        )
        assert "Traceback" not in terminal.text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-p", "x", "-m", "faux/echo"], "at least two models"),
        (["-p", "x", "-m", "faux/echo", "-m", "faux/echo"], "named twice"),
        (["-p", "x", "-m", "faux/a", "-m", "faux/b", "--input", "5"], "--input"),
        (["-m", "faux/a", "-m", "faux/b"], "-p"),
        ([], "--input N"),
    ],
)
def test_wrong_use(arguments: list[str], problem: str) -> None:
    done = pipy("compare", *arguments)
    assert done.returncode == 2
    assert problem in done.stderr


def test_standings_count_ties_and_skip_damaged_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_standings() == {}
    lines = [
        json.dumps({"time": "t", "models": ["a", "b", "c"], "best": "a"}),
        json.dumps({"models": ["a", "b"], "best": None}),
        json.dumps({"models": ["a", "b"], "best": "x"}),
        "{",
        json.dumps(["a"]),
        "",
    ]
    votes_file().write_text("\n".join(lines))
    standings = read_standings()
    assert list(standings) == ["a", "b", "c"]
    assert (standings["a"].score, standings["b"].losses, standings["b"].ties) == (0.75, 1, 1)
    assert "skipped 3 damaged lines" in capsys.readouterr().err
