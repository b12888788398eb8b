"""Test `pipy batch`: `--limit`, `--estimate`, the closing report, and CSV output."""

from __future__ import annotations

import csv
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pipy_ai.cli.main import main

from ..support.command import pipy
from ..support.scripted_server import Lab, Seen, Status, chat, finish, text, usage
from ..support.terminal import Terminal
from .test_batch import answers, batch, prompt, questions

HOST = "hosted_vllm/m"


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def echo(seen: Seen) -> Any:
    return chat(text(f"={prompt(seen)}\r\n\x00"), finish("stop"), usage(5, 3))


def run_csv(lab: Lab, *arguments: str, output: str = "out.csv") -> int:
    return main(
        ["batch", "in.csv", "-o", output, "-m", HOST, "--api-base", lab.url, "--prompt-template",
         "{name}", *arguments]
    )  # fmt: skip


def rows(name: str = "out.csv", delimiter: str = ",") -> list[dict[str, str]]:
    with open(name, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_limit_takes_the_first_rows() -> None:
    questions(*[{"prompt": f"q{n}"} for n in range(5)])
    assert batch("--limit", "2") == 0
    assert [one["text"] for one in answers()] == ["q0", "q1"]
    assert batch() == 0
    assert [one["text"] for one in answers()] == [f"q{n}" for n in range(5)]
    assert batch("--limit", "1") == 0  # the other answers are kept
    assert len(answers()) == 5


def test_estimate_sends_nothing(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    questions(*[{"prompt": "x" * 3500} for _ in range(10)])
    arguments = ["batch", "in.jsonl", "-m", "openai/gpt-5", "--estimate", "--api-base", lab.url]
    assert main([*arguments, "--max-tokens", "500", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["rows"], data["input_tokens"], data["output_tokens"]) == (10, 10_000, 5000)
    assert 0 < data["input_cost"] < data["cost"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].split() == [
        "model",
        "rows",
        "in",
        "out",
        "input",
        "cost",
        "cost",
    ]
    assert shown.out.splitlines()[1].split()[:4] == ["openai/gpt-5", "10", "10,000", "unknown"]
    assert "nothing was sent" in shown.err
    assert "--max-tokens" in shown.err
    assert lab.seen == []
    assert sorted(os.listdir()) == ["in.jsonl", "pipy-data"]


def test_estimate_of_the_rest_uses_the_answers_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    questions(*[{"prompt": "word " * 7} for _ in range(4)])
    assert batch("--limit", "1") == 0
    before = Path("out.jsonl").read_bytes()
    capsys.readouterr()
    assert batch("--estimate", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["rows"], data["before"], data["output_tokens"]) == (3, 1, 3 * 10)
    assert data["cost"] is None
    assert Path("out.jsonl").read_bytes() == before


def test_report_groups_failures_and_says_what_to_run(lab: Lab) -> None:
    lab.always = lambda seen: {
        "long": Status(400, {"error": {"message": "x", "code": "context_length_exceeded"}}),
        "bad": Status(400, {"error": {"message": "no such option"}}),
    }.get(prompt(seen), echo(seen))
    questions(*[{"prompt": name} for name in ("ok", "long", "bad", "long")])
    command = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", HOST, "--api-base", lab.url]
    done = pipy(*command)
    assert done.returncode == 1
    assert "context_overflow, 2 rows, first: line 2 (id 2, hosted_vllm/m): " in done.stderr
    assert "bad_request, 1 row: line 3" in done.stderr
    assert "context_overflow: shorten these rows" in done.stderr
    assert f"pipy: 3 rows failed; next: pipy {' '.join(command)} --retry-errors\n" in done.stderr
    assert done.stderr.count("--retry-errors") == 1
    again = pipy(*command)
    assert "nothing to send: 1 row was answered and 3 failed earlier → out.jsonl" in again.stderr
    assert "context_overflow, 2 rows (2 of an earlier run)" in again.stderr
    secret = pipy(*command, "--option", "headers.x=s3cret", "--redo-changed")
    assert "s3cret" not in secret.stderr
    assert "next:" not in secret.stderr


def test_command_to_run_next_can_be_copied_from_a_narrow_terminal(lab: Lab) -> None:
    lab.always = Status(400, {"error": {"message": "no such option"}})
    questions({"prompt": "bad"})
    command = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", HOST, "--api-base", lab.url]
    with Terminal("-m", "pipy_ai", *command, columns=40) as terminal:
        assert terminal.wait() == 1
        assert f"next: pipy {' '.join(command)} --retry-errors\r\n" in terminal.raw.decode()
        assert terminal.screen[1] == "(bad_request 1), 0 in / 0 out, $0.00,"


def test_retry_is_logged_with_the_pause_of_all_rows(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    refused = Status(429, {"error": {"message": "slow down"}}, {"retry-after": "0.5"})
    replies: list[Any] = [refused, chat(text("ok"), finish("stop"))]
    lab.always = lambda seen: replies.pop(0) if len(replies) > 1 else replies[0]
    questions({"prompt": "a"})
    with caplog.at_level("INFO", logger="pipy_ai"):
        assert (
            main(["batch", "in.jsonl", "-o", "out.jsonl", "-m", HOST, "--api-base", lab.url]) == 0
        )
    (retry,) = [r.getMessage() for r in caplog.records if r.getMessage().startswith("retry ")]
    assert not retry.startswith("retry hosted_vllm/m in 0s")


def test_csv_in_gives_csv_out(lab: Lab) -> None:
    lab.always = lambda seen: Status(400, {}) if prompt(seen) == "bad" else echo(seen)
    Path("in.csv").write_text('id,name,note\n1,Ada,"a, ""b""\nc"\n2,bad,\n3,東京,x\n', "utf-8")
    assert run_csv(lab) == 1
    first, second, third = rows()
    assert list(first) == [
        "id", "name", "note", "answer", "error", "model", "input_tokens", "output_tokens", "cost",
    ]  # fmt: skip
    assert (first["note"], first["answer"]) == ('a, "b"\nc', "=Ada\r\n\x00")
    assert (first["model"], first["input_tokens"], first["error"]) == (HOST, "5", "")
    assert (second["answer"], second["error"].partition(":")[0]) == ("", "bad_request")
    assert third["answer"] == "=東京\r\n\x00"
    assert stat.S_IMODE(Path("out.csv").stat().st_mode) == 0o600
    lab.always = echo
    sent = len(lab.seen)
    assert run_csv(lab, "--retry-errors") == 0  # the journal remembers what was answered
    assert len(lab.seen) == sent + 1
    assert rows()[1]["answer"] == "=bad\r\n\x00"
    assert {one["id"] for one in answers("out.csv.jsonl")} == {"1", "2", "3"}


def test_csv_of_a_part_and_in_the_form_of_the_input(lab: Lab) -> None:
    lab.always = echo
    Path("in.csv").write_bytes("name;answer;model\nä;1;2\nö;3;4\n".encode("utf-8-sig"))
    assert run_csv(lab, "--limit", "1") == 0
    assert Path("out.csv").read_bytes().startswith(b"\xef\xbb\xbfname;answer;model;answer_answer;")
    assert [row["answer_answer"] for row in rows(delimiter=";")] == ["=ä\r\n\x00"]
    assert run_csv(lab, output="out.tsv") == 0
    assert [row["answer"] for row in rows("out.tsv", "\t")] == ["1", "3"]


def test_csv_has_the_fields_of_structured_answers(lab: Lab) -> None:
    lab.always = chat(text('{"topic": "x", "urgent": true}'), finish("stop"), usage(1, 1))
    Path("in.csv").write_text("name\nAda\n")
    assert run_csv(lab, "--output-schema", "topic, urgent bool") == 0
    assert (rows()[0]["topic"], rows()[0]["urgent"]) == ("x", "true")


def test_csv_does_not_replace_other_files(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.csv").write_text("name\nAda\n")
    Path("out.csv").write_text("mine")
    assert run_csv(lab) == 2
    assert "not from pipy batch" in capsys.readouterr().err
    assert Path("out.csv").read_text() == "mine"
    assert batch("--limit", "1") == 2  # there is no in.jsonl
    assert main(["batch", "in.csv", "-m", HOST]) == 2
    assert "-o FILE" in capsys.readouterr().err
    questions({"prompt": "x"})
    assert main(["batch", "in.jsonl", "-o", "new.csv", "-m", HOST]) == 2
