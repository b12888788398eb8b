"""Test the input formats of `pipy batch`."""

from __future__ import annotations

import csv
import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

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


def test_openai_images_are_passed_through(lab: Lab) -> None:
    lab.always = chat(text("A cat."), finish("stop"))
    image = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    content = [{"type": "text", "text": "What is this?"}, image]
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
