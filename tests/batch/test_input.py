"""Test the input formats of `pipy batch`."""

from __future__ import annotations

import csv
import datetime
import json
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipy_ai.batch.input import fill_template
from pipy_ai.cli.main import main

from ..support.scripted_server import Lab, Scene, Seen, chat, finish, text, usage


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


def test_csv_with_a_template() -> None:
    with open("in.csv", "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(
            [["id", "First name", "text"], ["x", "Ada", "a, b\nand c"], ["y", "Zoë", "ü"]]
        )
    template = 'Say {"to": "{First name}"}: {text} {}'
    assert main(["batch", "in.csv", "-o", "o.jsonl", "-m", "faux/echo",
                 "--prompt-template", template]) == 0  # fmt: skip
    assert texts("o.jsonl") == {
        "x": 'Say {"to": "Ada"}: a, b\nand c {}', "y": 'Say {"to": "Zoë"}: ü {}'
    }  # fmt: skip
    Path("in.tsv").write_text("id\tprompt\n1\thello there\n")
    assert main(["batch", "in.tsv", "-o", "t.jsonl", "-m", "faux/echo"]) == 0
    assert texts("t.jsonl") == {"1": "hello there"}
    Path("t.txt").write_text("Read: {text}")
    assert main(["batch", "in.csv", "-o", "f.jsonl", "-m", "faux/echo",
                 "--prompt-template", "@t.txt"]) == 0  # fmt: skip
    assert texts("f.jsonl")["y"] == "Read: ü"


def test_parquet() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = {"id": list(range(3000)), "prompt": [f"q{n}" for n in range(3000)]}
    parquet.write_table(pyarrow.table(rows), "in.parquet", row_group_size=700)
    assert main(["batch", "in.parquet", "-o", "o.jsonl", "-m", "faux/echo"]) == 0
    assert texts("o.jsonl") == {n: f"q{n}" for n in range(3000)}
    dates = {"day": [datetime.date(2026, 1, 2)], "price": [Decimal("1.50")], "in": [[True]]}
    parquet.write_table(pyarrow.table(dates), "in.parquet")
    asked = ["--prompt-template", "{day} {price} {in}"]
    assert main(["batch", "in.parquet", "-o", "p.jsonl", "-m", "faux/echo", *asked]) == 0
    assert texts("p.jsonl") == {1: "2026-01-02 1.50 [true]"}
    Path("no.parquet").write_bytes(b"nonsense")
    assert main(["batch", "no.parquet", "-o", "n.jsonl", "-m", "faux/echo"]) == 2


def test_parquet_with_binary_text_and_unsupported_times(capsys: pytest.CaptureFixture[str]) -> None:
    """Text columns may be binary; the error about an unsupported time type names the file."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    old = ["batch", "old.parquet", "-o", "out.jsonl", "-m", "faux/echo"]
    table = {
        "id": pa.array([b"r1", "zwölf".encode()]),
        "prompt": pa.array([b"Hi", "Grüße".encode()]),
    }
    parquet.write_table(pa.table(table), "old.parquet")
    assert main(old) == 0
    assert texts() == {"r1": "Hi", "zwölf": "Grüße"}
    parquet.write_table(pa.table({"prompt": pa.array([b"\xff"])}), "old.parquet")
    assert main(old) == 2
    moment = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    parquet.write_table(pa.table({"prompt": moment}), "odd.parquet")
    assert main(["batch", "odd.parquet", *old[2:]]) == 2
    output = capsys.readouterr().err
    assert "old.parquet, row 1: 'utf-8' codec" in output
    assert "odd.parquet: Nanosecond" in output


def test_conversations(lab: Lab) -> None:
    lab.always = upper
    openai = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    pi = {"systemPrompt": "Be kind.", "messages": [{"role": "user", "content": "d"}]}
    questions({"id": "o", "messages": openai}, {"id": "p", "context": pi})
    assert batch(*at(lab), "-j", "1", model=HOST) == 0
    assert texts() == {"o": "C", "p": "D"}
    assert [one["content"] for one in lab.seen[0].json["messages"]] == ["Be brief.", "a", "b", "c"]
    assert [one["content"] for one in lab.seen[1].json["messages"]] == ["Be kind.", "d"]


def test_system_message_in_parts(lab: Lab) -> None:
    lab.always = upper
    parts = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    questions(
        {"messages": [{"role": "system", "content": parts}, {"role": "user", "content": "a"}]}
    )
    assert batch(*at(lab), model=HOST) == 0
    assert lab.seen[0].json["messages"][0]["content"] == "Be brief.\n\nBe kind."


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "input_audio", "input_audio": {"data": "SUQzBAAAAAAAAP/7kAA=", "format": "mp3"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/cat.mp4"}},
    ],
)
def test_openai_files_are_passed_through(lab: Lab, part: dict[str, Any]) -> None:
    lab.always = chat(text("A cat."), finish("stop"))
    content = [{"type": "text", "text": "What is this?"}, part]
    questions({"messages": [{"role": "user", "content": content}]})
    assert batch(*at(lab), model=HOST) == 0
    assert lab.seen[0].json["messages"] == [{"role": "user", "content": content}]


@pytest.mark.parametrize("given", ["fields", "text", "file"])
def test_typed_rows(lab: Lab, given: str) -> None:
    lab.always = chat(text('{"name": "Ada", "age": 36}'), finish("stop"))
    questions({"prompt": "a"})
    fields = {"name": {"type": "string"}, "age": {"type": "integer"}}
    schema = {"type": "object", "properties": fields, "required": ["name", "age"]}
    Path("schema.json").write_text(json.dumps(schema))
    said = {"fields": "name, age int", "text": json.dumps(schema), "file": "schema.json"}[given]
    assert batch(*at(lab), "--output-schema", said, model=HOST) == 0
    assert answers()[0]["parsed"] == {"name": "Ada", "age": 36}
    asked = lab.seen[0].json["response_format"]["json_schema"]["schema"]
    assert asked["properties"].keys() == {"name", "age"}
    lab.always = chat(text('{"name": 7}'), finish("stop"))
    assert batch(*at(lab), "--output-schema", said, "--redo-changed", model=HOST) == 0  # it is done
    questions({"prompt": "b"})
    assert batch(*at(lab), "--output-schema", said, "--redo-changed", model=HOST) == 1
    assert answers()[0]["error"]["kind"] == "invalid_output"


@pytest.mark.parametrize(
    "column", ["title", "first name", "Prénom", "zip.no", "e-mail", 'the "best"', "Price (USD)",
               "Größe, netto", "Q1: sum", "a=b?c", "it's"]
)  # fmt: skip
@pytest.mark.parametrize("braces", ["{%s}", "{{%s}}", "{{ %s }}", "{ %s }"])
def test_placeholders(column: str, braces: str) -> None:
    row = {"id": 1, column: "x"}
    json_text = '{"a": {"b": 1}, "c": []} {} {…} {2,3} {color: red;}'
    template = f"{json_text} {braces % column} {json_text}"
    assert fill_template(template, row) == f"{json_text} x {json_text}"
    for misspelt in (column[:2] + column[3:], column.upper() + "s", column[:-1]):
        with pytest.raises(ValueError, match=r"a column .*; did you mean") as failure:
            fill_template(f"Say {braces % misspelt}.", row)
        assert repr(column) in str(failure.value)


@pytest.mark.parametrize(
    "name", ["name", "full name", "zip.code", "e-mail", "Straße", "a/b", "#1a"]
)
def test_unknown_columns(name: str) -> None:
    for template in (f"{{{name}}}", f"{{{{ {name} }}}}"):
        with pytest.raises(ValueError, match="that the row does not have; it has: id, prompt"):
            fill_template(template, {"id": 1, "prompt": "a"})


def test_ids_are_compared_as_text(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.always = upper
    questions({"id": 1, "prompt": "a"}, {"id": "x", "prompt": "b"}, {"prompt": "c"})
    assert batch(*at(lab), model=HOST) == 0
    Path("in.csv").write_text("id;prompt\n3;c\n1;a\nx;b\n")
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"id": [1, 3], "prompt": ["a", "c"]}), "in.parquet")
    for name in ("in.csv", "in.parquet", "in.jsonl"):
        assert main(["batch", name, "-o", "out.jsonl", "-m", HOST, *at(lab)]) == 0
    assert len(lab.seen) == 3
    assert [one["id"] for one in answers()] == [1, "x", 3]
    capsys.readouterr()
    for first, second in ((1, "1"), ("2", None), (True, "true"), ("a", "a")):
        questions({"id": first, "prompt": "a"}, {"id": second, "prompt": "b"})
        assert batch() == 2
        assert "is used in lines 1 and 2; each row needs its own id" in capsys.readouterr().err


def test_killed_batch_of_a_spreadsheet_loses_no_row(lab: Lab) -> None:
    rows = "".join(f'{n};"q{n}\r\n{"x" * n}";;\r\n' for n in range(60))
    Path("in.csv").write_bytes(f"id;prompt;;\r\n{rows};;;\r\n".encode("utf-8-sig"))
    command = [sys.executable, "-m", "pipy_ai", "batch", "in.csv", "-o", "out.jsonl", "-m", HOST,
               *at(lab), "-j", "4"]  # fmt: skip

    def answer(seen: Seen) -> Scene:
        if len(lab.seen) == 30:
            process.kill()
        return upper(seen)

    lab.always = answer
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert [one["id"] for one in answers()] == [str(n) for n in range(60)]
    assert all(one["text"] == f"Q{n}\n{'X' * n}" for n, one in enumerate(answers()))
    assert len(lab.seen) < 60 + 30
