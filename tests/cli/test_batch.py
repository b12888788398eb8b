"""Test `pipy batch`: its summary and its error messages."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from pipy_ai.batch.input import InputError
from pipy_ai.batch.results import ResultsFile
from pipy_ai.cli.main import main

from ..support.scripted_server import Lab, Scene, Seen, Status, chat, finish, text, usage


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def questions(*rows: Any, name: str = "in.jsonl") -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def answers(name: str = "out.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def texts(name: str = "out.jsonl") -> dict[Any, str]:
    return {one["id"]: one["text"] for one in answers(name)}


def batch(*arguments: str, model: str = "faux/echo") -> int:
    return main(["batch", "in.jsonl", "-o", "out.jsonl", "-m", model, *arguments])


def prompt(seen: Seen) -> str:
    return str(seen.json["messages"][-1]["content"])


def at(lab: Lab) -> list[str]:
    return ["--api-base", lab.url]


def upper(seen: Seen) -> Scene:
    return chat(text(prompt(seen).upper()), finish("stop"), usage(5, 3))


HOST = "hosted_vllm/m"


def test_results_are_in_the_order_of_the_rows(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.always = upper
    questions(*[{"id": f"r{n}", "prompt": f"q{n}"} for n in range(40)])
    assert batch(*at(lab), "-s", "Be brief.", "--temperature", "0", model=HOST) == 0
    found = answers()
    assert [(one["id"], one["text"]) for one in found] == [(f"r{n}", f"Q{n}") for n in range(40)]
    first = found[0]
    assert first.pop("fingerprint")
    assert first == {
        "id": "r0", "text": "Q0", "error": None, "stop_reason": "stop",
        "model": "hosted_vllm/m", "usage": {"input": 5, "output": 3}, "cost": None,
    }  # fmt: skip
    assert lab.seen[0].json["messages"][0] == {"role": "system", "content": "Be brief."}
    assert lab.seen[0].json["temperature"] == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(
        r"40 rows: 40 answered, 200 in / 120 out, cost unknown, [\d.]+ s → out.jsonl\n", output.err
    )


def test_counts_of_one(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    questions({"prompt": "cut"}, {"prompt": "empty"}, {"prompt": "bad"})
    lab.always = lambda seen: {
        "cut": chat(text("c"), finish("length"), usage(5, 3)),
        "empty": chat(text(""), finish("stop"), usage(5, 0)),
        "bad": Status(400, {"error": {"message": "bad"}}),
    }[prompt(seen)]
    assert batch(*at(lab), model=HOST) == 1
    output = capsys.readouterr().err
    assert "pipy: 1 answer was truncated at its token limit; --max-tokens N allows" in output
    assert "pipy: 1 answer is empty\n" in output
    assert "pipy: 1 row failed; run the same command again with --retry-errors\n" in output
    assert "pipy: bad_request, 1 row: line 3 (id 3, hosted_vllm/m): bad\n" in output
    questions({"prompt": "cut"})
    assert main(["batch", "in.jsonl", "-o", "1.jsonl", "-m", HOST, *at(lab)]) == 0
    assert main(["batch", "in.jsonl", "-o", "1.jsonl", "-m", HOST, *at(lab)]) == 0
    output = capsys.readouterr().err
    assert "1 row: 1 answered" in output
    assert "nothing to send: 1 row was answered earlier → 1.jsonl" in output


def test_json_summary_includes_the_cost(july: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Lab() as lab:
        lab.always = chat(text("ok"), finish("stop"), usage(1_000_000, 0))
        questions({"prompt": "a"}, {"prompt": "b"})
        os.environ["OPENAI_API_KEY"] = "sk-1234567890"
        try:
            assert batch("--json", *at(lab), model="openai/gpt-4o") == 0
        finally:
            del os.environ["OPENAI_API_KEY"]
    output = json.loads(capsys.readouterr().out)
    assert (output["rows"], output["answered"], output["failed"], output["open"]) == (2, 2, 0, 0)
    assert output["cost"] == sum(one["cost"] for one in answers()) > 1
    assert "1234567890" not in Path("out.jsonl").read_text()


def test_rows_without_an_id_are_numbered() -> None:
    questions({"prompt": "a"}, "b", {"id": None, "prompt": "c"})
    assert batch() == 0
    assert texts() == {1: "a", 2: "b", 3: "c"}


@pytest.mark.parametrize(
    ("rows", "arguments", "expected"),
    [
        ([{"id": 1, "prompt": "a"}, {"id": 1, "prompt": "b"}], [], "the id 1 is used in lines 1"),
        ([{"prompt": "a"}, {"id": 1, "prompt": "b"}], [], "the id 1 is used in lines 1 and 2"),
        ([{"text": "a"}], [], "its columns are: text"),
        ([{"a": "b"}], ["--prompt-template", "{c}"], "a column 'c' that the row"),
        ([7], [], "line 1: a row must be an object or a string"),
        (
            [{"messages": "[{"}],
            [],
            "line 1: messages must be a list of messages, or its JSON, not '[{'",
        ),
        (
            [{"context": "hi"}],
            [],
            "line 1: context must be a list of messages, or its JSON, not 'hi'",
        ),
        ([{"prompt": None, "id": 1}], [], "line 1: its prompt is null"),
        ([{"prompt": "a"}], ["--prompt-template", "@no"], "--prompt-template no: No such file"),
        ([{"messages": [7]}], [], "line 1: a message must be an object"),
        ([{"messages": 7}], [], "line 1: a context must be an object with messages"),
        (
            [{"messages": [{"role": "system", "content": [7]}]}],
            [],
            "line 1: a system message must be a",
        ),
        ([{"messages": [{"role": "king", "content": "a"}]}], [], "line 1: messages.0"),
        (
            [{"messages": [{"role": "assistant", "tool_calls": [{}]}]}],
            [],
            "line 1: a tool call must be",
        ),
        ([{"prompt": "a"}], ["-o", "out.csv"], "-o out.csv: the output is JSON Lines; name"),
        ([{"prompt": "a"}], ["-o", "out.json"], "name the file out.jsonl"),
        ([{"prompt": "a"}], ["-o", "answers.Parquet"], "name the file answers.jsonl"),
        ([{"prompt": "a"}], ["--output-schema", "name, age x"], "'age' has unknown type 'x'"),
        ([{"prompt": "a"}], ["--output-schema", "{]"], "is not valid JSON"),
        ([{"prompt": "a"}], ["-j", "0"], "concurrency must be 1 or more"),
        ([{"prompt": "a"}], ["--max-tokens", "0"], "--max-tokens"),
        ([{"prompt": "a"}], ["-m", "nonsense"], "nonsense"),
        ([{"prompt": "a"}], ["-o", "in.jsonl"], "this is the input; choose another file"),
        ([{"prompt": "a"}], ["-o", "-"], "the output must be a file"),
        ([{"prompt": "a"}], ["-o", "no/out.jsonl"], "no such directory"),
        ([{"prompt": "a"}], ["--dask", "nonsense"], "--dask"),
    ],
)
def test_wrong_use(
    rows: list[Any], arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    questions(*rows)
    assert batch(*arguments) == 2
    assert expected in capsys.readouterr().err
    assert {*os.listdir()} <= {"in.jsonl", "pipy-data"}  # nothing is left behind


def test_input_with_only_a_byte_order_mark(capsys: pytest.CaptureFixture[str]) -> None:
    for data in (b"\xef\xbb\xbf", b"\xef\xbb\xbf\n", b"\xff\xfe"):
        Path("in.jsonl").write_bytes(data)
        assert batch() == 0
        assert "nothing to send: the input has no rows" in capsys.readouterr().err


def test_unreadable_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", "-", "-o", "out.jsonl", "-m", "faux/echo"]) == 2
    assert "more than once, so stdin cannot be used" in capsys.readouterr().err
    assert batch() == 2
    Path("in.txt").write_text("a")
    assert main(["batch", "in.txt", "-o", "out.jsonl", "-m", "faux/echo"]) == 2
    Path("in.csv").write_text("a,b\n1,2\n1,2,3\n")
    assert main(["batch", "in.csv", "-o", "out.jsonl", "-m", "faux/echo",
                 "--prompt-template", "{a}"]) == 2  # fmt: skip
    output = capsys.readouterr().err
    for part in ("no such file", ".parquet", "line 3: it has 3 fields, and the header"):
        assert part in output
    for name, content, part in (
        ("in.csv", "id,prompt\n1,été\n".encode("cp1252"), "in.csv: not UTF-8 text"),
        ("in.csv", b"id,prompt,prompt\n1,a,b\n", "two columns are named 'prompt'"),
        ("in.jsonl", b"[" * 200_000, "in.jsonl, line 1: the row is nested too deeply"),
    ):
        Path(name).write_bytes(content)
        assert main(["batch", name, "-o", "out.jsonl", "-m", "faux/echo"]) == 2
        assert part in capsys.readouterr().err


def test_blank_lines_are_ignored() -> None:
    questions("a", "b")
    assert batch() == 0
    there = Path("out.jsonl").read_bytes()
    first, second = there.splitlines(keepends=True)
    Path("out.jsonl").write_bytes(b"\n" + second + b"\r\n" + first + b"\n")
    assert batch() == 0
    assert Path("out.jsonl").read_bytes() == there


@pytest.mark.parametrize("there", ["notes\n", '{"a": 1}\n', "notes", '{"id": 1}\nnotes'])
def test_output_file_with_other_content_is_not_overwritten(
    there: str, capsys: pytest.CaptureFixture[str]
) -> None:
    questions({"prompt": "a"})
    Path("out.jsonl").write_text(there)
    assert batch() == 2
    assert "not written by pipy batch" in capsys.readouterr().err
    if there.endswith("\n") or "\n" not in there:
        assert Path("out.jsonl").read_text() == there


def test_two_runs_cannot_share_a_results_file(capsys: pytest.CaptureFixture[str]) -> None:
    questions({"prompt": "a"})
    with ResultsFile(Path("out.jsonl")):
        assert batch() == 2
        assert "another run is writing to it" in capsys.readouterr().err
        with pytest.raises(InputError), ResultsFile(Path("./out.jsonl")):
            pass
    assert batch() == 0
