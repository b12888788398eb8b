"""`pipy batch`: files in, files out, nothing asked twice, nothing lost."""

from __future__ import annotations

import csv
import datetime
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipy_ai.batch.input import InputError
from pipy_ai.batch.results import ResultsFile
from pipy_ai.cli.main import main

from .wire import batch_chaos
from .wire.lab import Lab, Pause, Scene, Seen, Status, chat, finish, sse, text, usage


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


# === In and out ===


def test_a_line_for_each_row_in_the_order_of_the_rows(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
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
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(
        r"40 rows: 40 answered, 200 in / 120 out, cost unknown, [\d.]+ s → out.jsonl\n", said.err
    )


def test_a_summary_as_json_with_the_cost(july: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Lab() as lab:
        lab.always = chat(text("ok"), finish("stop"), usage(1_000_000, 0))
        questions({"prompt": "a"}, {"prompt": "b"})
        os.environ["OPENAI_API_KEY"] = "sk-1234567890"
        try:
            assert batch("--json", *at(lab), model="openai/gpt-4o") == 0
        finally:
            del os.environ["OPENAI_API_KEY"]
    said = json.loads(capsys.readouterr().out)
    assert (said["rows"], said["answered"], said["failed"], said["open"]) == (2, 2, 0, 0)
    assert said["cost"] == sum(one["cost"] for one in answers()) > 1
    assert "1234567890" not in Path("out.jsonl").read_text()


def test_rows_without_an_id_are_numbered() -> None:
    questions({"prompt": "a"}, "b", {"id": None, "prompt": "c"})
    assert batch() == 0
    assert texts() == {1: "a", 2: "b", 3: "c"}


def test_a_table_and_a_template() -> None:
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


def test_parquet_of_older_writers_and_odd_times(capsys: pytest.CaptureFixture[str]) -> None:
    """Texts as bytes; a time that Python has no kind for is told with the file's name."""
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
    said = capsys.readouterr().err
    assert "old.parquet, row 1: 'utf-8' codec" in said
    assert "odd.parquet: Nanosecond" in said


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


def test_a_system_message_in_parts(lab: Lab) -> None:
    lab.always = upper
    parts = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    questions(
        {"messages": [{"role": "system", "content": parts}, {"role": "user", "content": "a"}]}
    )
    assert batch(*at(lab), model=HOST) == 0
    assert lab.seen[0].json["messages"][0]["content"] == "Be brief.\n\nBe kind."


def test_images_in_the_words_of_openai_arrive_as_they_are(lab: Lab) -> None:
    lab.always = chat(text("A cat."), finish("stop"))
    image = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    content = [{"type": "text", "text": "What is this?"}, image]
    questions({"messages": [{"role": "user", "content": content}]})
    assert batch(*at(lab), model=HOST) == 0
    assert lab.seen[0].json["messages"] == [{"role": "user", "content": content}]


@pytest.mark.parametrize("given", ["fields", "text", "file"])
def test_answers_of_a_schema(lab: Lab, given: str) -> None:
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


# === Going on ===


def test_nothing_is_asked_twice(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(10)])
    assert batch(*at(lab), model=HOST) == 0
    whole = Path("out.jsonl").read_bytes()
    assert batch(*at(lab), model=HOST) == 0
    assert len(lab.seen) == 10
    assert Path("out.jsonl").read_bytes() == whole
    assert "0 answered, 10 were before" in capsys.readouterr().err
    # More rows, in another order: the old ones are known by their ids.
    questions(*[{"id": n, "prompt": f"q{n}"} for n in reversed(range(15))])
    assert batch(*at(lab), model=HOST) == 0
    assert len(lab.seen) == 15
    assert [one["id"] for one in answers()] == list(reversed(range(15)))
    # Fewer rows: what is not among them stays, behind the others.
    questions({"id": 3, "prompt": "q3"}, {"id": 20, "prompt": "q20"})
    assert batch(*at(lab), model=HOST) == 0
    assert len(lab.seen) == 16
    assert [one["id"] for one in answers()][:2] == [3, 20]
    assert len(texts()) == len(answers()) == 16


@pytest.mark.parametrize("cut", [1, 2, 30, 100])
def test_a_line_that_a_kill_tore_is_asked_again(lab: Lab, cut: int) -> None:
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(5)])
    assert batch(*at(lab), model=HOST) == 0
    whole = Path("out.jsonl").read_bytes()
    Path("out.jsonl").write_bytes(whole[:-cut])
    assert batch(*at(lab), model=HOST) == 0
    assert Path("out.jsonl").read_bytes() == whole
    assert len(lab.seen) == (5 if cut == 1 else 6)  # only its line break was missing


@pytest.mark.parametrize("left", [b"", b'{"id": 4, "te'])
def test_what_a_power_cut_left_as_zeros_is_asked_again(left: bytes) -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(6)])
    assert batch() == 0
    whole = Path("out.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    zeros = left + bytes(4096)
    for damaged in (lines[0] + zeros + lines[2] + lines[3], lines[0] + zeros, zeros):
        Path("out.jsonl").write_bytes(damaged)
        assert batch() == 0
        assert Path("out.jsonl").read_bytes() == whole


@pytest.mark.parametrize("long", [60_000, 100_000, 200_000])
def test_a_long_line_that_was_torn_takes_no_other_with_it(long: int, lab: Lab) -> None:
    lab.always = upper
    questions(
        *[{"id": n, "prompt": f"{n}".ljust(2000, "a")} for n in range(9)], {"prompt": "z" * long}
    )
    assert batch(*at(lab), model=HOST) == 0
    whole, asked = Path("out.jsonl").read_bytes(), len(lab.seen)
    Path("out.jsonl").write_bytes(whole[:-200])
    assert batch(*at(lab), model=HOST) == 0
    assert len(lab.seen) == asked + 1
    assert Path("out.jsonl").read_bytes() == whole


def test_torn_as_the_very_first_line(lab: Lab) -> None:
    questions({"prompt": "a"})
    Path("out.jsonl").write_text('{"id": 1, "te')
    assert batch() == 0
    assert texts() == {1: "a"}


def test_failed_rows_are_kept_and_asked_again_on_demand(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = Status(400, {"error": {"message": "no such thing"}})

    def scene(seen: Seen) -> Scene | Status:
        return bad if prompt(seen) in ("q1", "q3") else upper(seen)

    lab.always = scene
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(5)])
    assert batch(*at(lab), model=HOST) == 1
    assert answers()[1]["error"] == {"kind": "bad_request", "message": "no such thing"}
    assert len(lab.seen) == 5
    said = capsys.readouterr().err
    assert "2 failed (bad_request 2)" in said
    assert "--retry-errors" in said
    assert batch(*at(lab), model=HOST) == 1  # they are done, after all
    assert len(lab.seen) == 5
    lab.always = upper
    assert batch(*at(lab), "--retry-errors", model=HOST) == 0
    assert len(lab.seen) == 7
    assert [(one["id"], one["text"]) for one in answers()] == [(n, f"Q{n}") for n in range(5)]


def test_an_empty_prompt_fails_alone() -> None:
    questions({"prompt": "a"}, {"prompt": " "}, {"prompt": "c"})
    assert batch() == 1
    assert [one["error"] and one["error"]["kind"] for one in answers()] == [
        None, "bad_request", None
    ]  # fmt: skip


def test_what_was_asked_otherwise_is_not_mixed_in(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(3)])
    assert batch(*at(lab), model=HOST) == 0
    whole = Path("out.jsonl").read_bytes()
    assert batch(*at(lab), model="hosted_vllm/other") == 2
    assert "row 1 (id 0) and 2 more was answered before with another model" in (
        capsys.readouterr().err
    )
    assert batch(*at(lab), "--temperature", "1", model=HOST) == 2
    assert batch(*at(lab), "-s", "Be brief.", model=HOST) == 2
    questions({"id": 0, "prompt": "q0"}, {"id": 1, "prompt": "changed"}, {"id": 2, "prompt": "q2"})
    capsys.readouterr()
    assert batch(*at(lab), model=HOST) == 2
    assert "row 2 (id 1) was answered before to another question" in capsys.readouterr().err
    assert len(lab.seen) == 3
    assert Path("out.jsonl").read_bytes() == whole
    assert batch(*at(lab), "--redo-changed", model=HOST) == 0
    assert len(lab.seen) == 4
    assert list(texts().values()) == ["Q0", "CHANGED", "Q2"]


def test_what_befalls_all_rows_leaves_them_open(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(100)])
    lab.always = lambda seen: (
        Status(401, {"error": {"message": "wrong key"}}) if len(lab.seen) > 10 else upper(seen)
    )
    assert batch(*at(lab), "-j", "4", model=HOST) == 1
    said = capsys.readouterr().err
    assert "stopped: wrong key" in said
    assert "run the same command again to go on" in said
    assert len(lab.seen) < 20
    assert all(one["error"] is None for one in answers())
    lab.always = upper
    assert batch(*at(lab), model=HOST) == 0
    assert texts() == {n: f"Q{n}" for n in range(100)}


@pytest.mark.usefixtures("july")
def test_a_budget_stops_a_run_and_the_next_goes_on(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890")
    lab.always = chat(text("ok"), finish("stop"), usage(1000, 1000))
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(30)])
    asked = ("-j", "1", "--budget", "0.05", *at(lab))
    assert batch(*asked, model="openai/gpt-5-mini") == 1
    said = capsys.readouterr().err
    assert "budget of $0.05" in said
    assert "run the same command again" in said
    first = answers()
    cost = sum(one["cost"] for one in first)
    assert 0.05 <= cost < 0.05 + 2 * first[0]["cost"]
    assert batch(*asked, model="openai/gpt-5-mini") in (0, 1)
    assert len(answers()) > len(first)
    assert batch("--budget", "-1", *at(lab)) == 2


def test_a_server_that_is_gone_leaves_them_open(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipy_ai.batch.scheduler.OUTAGE_TIMEOUT_S", 1.0)
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(300)])
    with Lab() as leaving:

        def answer(seen: Seen) -> Scene:
            if len(leaving.seen) == 30:
                leaving.leave()
            return upper(seen)

        leaving.always = answer
        assert batch(*at(leaving), "-j", "4", model=HOST) == 1
    said = capsys.readouterr().err
    assert re.search(r"stopped: .*was not reached: Connection refused.* answered for \d+ s\.", said)
    assert "run the same command again to go on" in said
    assert len(answers()) >= 26
    assert all(one["error"] is None for one in answers())
    lab.always = upper
    assert batch(*at(lab), model=HOST) == 0
    assert texts() == {n: f"Q{n}" for n in range(300)}


def test_a_full_disk_stops_it_and_costs_nothing_but_a_line(lab: Lab) -> None:
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(30)])
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
    run = "import sys; from pipy_ai.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", limited + run, "batch", "in.jsonl", "-o", "out.jsonl", "-m", HOST,
         *at(lab)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "out.jsonl: File too large; once that is solved, run the same" in done.stderr
    there = Path("out.jsonl").read_bytes()
    assert len(there) == 2000
    kept = there.count(b"\n")
    asked = len(lab.seen)
    assert batch(*at(lab), model=HOST) == 0
    assert texts() == {n: f"Q{n}" for n in range(30)}
    assert len(answers()) == 30
    assert len(lab.seen) == asked + 30 - kept


def test_a_full_disk_in_the_middle_of_the_ordering_loses_nothing() -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(30)])
    assert batch() == 0
    there = Path("out.jsonl").read_bytes()
    questions(*[{"id": n, "prompt": f"q{n}"} for n in reversed(range(30))])
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
    run = "import sys; from pipy_ai.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", limited + run, "batch", "in.jsonl", "-o", "out.jsonl",
         "-m", "faux/echo"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "out.jsonl: File too large; all answers are there, but not in order" in done.stderr
    assert Path("out.jsonl").read_bytes() == there
    assert not Path(".out.jsonl.new").exists()
    assert batch() == 0
    assert [one["id"] for one in answers()] == [*reversed(range(30))]


def test_an_input_that_grows_meanwhile_is_for_another_run(lab: Lab) -> None:
    def grow(seen: Seen) -> Scene:
        if len(lab.seen) == 1:
            with Path("in.jsonl").open("a") as file:
                file.write('{"id": "late", "prompt": "late"}\n' * 2)  # and not yet right
        return upper(seen)

    lab.always = grow
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(90)])
    assert batch("-j", "1", *at(lab), model=HOST) == 0
    assert [*texts()] == [*range(90)]


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
from pipy_ai.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def test_more_at_once_than_files_may_be_open(lab: Lab) -> None:
    """What could not be opened used to leave its row waiting for ever."""
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(300)])
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "128", "batch", "in.jsonl", "-o", "out.jsonl", "-m", HOST,
         "-j", "2000", *at(lab)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert texts() == {n: f"Q{n}" for n in range(300)}


NO_MORE = """
import os, resource, sys
from pipy_ai import complete
print(complete("hosted_vllm/m", "a", api_base=sys.argv[1]).text)
kind = resource.RLIMIT_NOFILE
resource.setrlimit(kind, (max(map(int, os.listdir("/dev/fd"))), resource.getrlimit(kind)[1]))
print(complete("hosted_vllm/m", "a", api_base="http://127.0.0.2:9", max_retries=0).error.message)
"""


@pytest.mark.skipif(not os.path.exists("/proc"), reason="of Linux")
def test_a_request_ends_even_where_no_file_can_be_opened(lab: Lab) -> None:
    lab.always = upper
    done = subprocess.run(
        [sys.executable, "-c", NO_MORE, lab.url],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("A\n127.0.0.2:9 was not reached: Too many open files"), done
    assert not done.stderr


# === Wrong use, told before anything is asked ===


@pytest.mark.parametrize(
    ("rows", "arguments", "said"),
    [
        ([{"id": 1, "prompt": "a"}, {"id": 1, "prompt": "b"}], [], "the id 1 stands in rows 1 and"),
        ([{"prompt": "a"}, {"id": 1, "prompt": "b"}], [], "the id 1 stands in rows 1 and 2"),
        ([{"text": "a"}], [], "its columns are: text"),
        ([{"a": "b"}], ["--prompt-template", "{c}"], "no column 'c'"),
        ([7], [], "line 1: it is no object"),
        ([{"messages": "[]x"}], [], "row 1: "),
        ([{"messages": [{"role": "system", "content": [7]}]}], [], "row 1: a system message is a"),
        ([{"messages": [{"role": "king", "content": "a"}]}], [], "row 1: messages.0"),
        ([{"messages": [{"role": "tool", "content": "a"}]}], [], "row 1: calls of tools are read"),
        ([{"prompt": "a"}], ["--output-schema", "name, age x"], "'age' has no type 'x'"),
        ([{"prompt": "a"}], ["--output-schema", "{]"], "is no JSON"),
        ([{"prompt": "a"}], ["-j", "0"], "concurrency is 1 or more"),
        ([{"prompt": "a"}], ["--max-tokens", "-1"], "--max-tokens"),
        ([{"prompt": "a"}], ["-m", "nonsense"], "nonsense"),
        ([{"prompt": "a"}], ["-o", "in.jsonl"], "a file of their own"),
        ([{"prompt": "a"}], ["-o", "-"], "the answers need a file"),
        ([{"prompt": "a"}], ["-o", "no/out.jsonl"], "there is no such directory"),
        ([{"prompt": "a"}], ["--dask", "nonsense"], "--dask"),
    ],
)
def test_wrong_use(
    rows: list[Any], arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    questions(*rows)
    assert batch(*arguments) == 2
    assert said in capsys.readouterr().err
    assert {*os.listdir()} <= {"in.jsonl", "pipy-data"}  # nothing is left behind


def test_files_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert batch() == 2
    Path("in.txt").write_text("a")
    assert main(["batch", "in.txt", "-o", "out.jsonl", "-m", "faux/echo"]) == 2
    Path("in.csv").write_text("a,b\n1,2\n1,2,3\n")
    assert main(["batch", "in.csv", "-o", "out.jsonl", "-m", "faux/echo",
                 "--prompt-template", "{a}"]) == 2  # fmt: skip
    said = capsys.readouterr().err
    for part in ("there is no such file", ".parquet", "line 3: it has not as many fields"):
        assert part in said
    for name, content, part in (
        ("in.csv", "id,prompt\n1,été\n".encode("cp1252"), "in.csv: it is not UTF-8 text"),
        ("in.csv", b"id,prompt,prompt\n1,a,b\n", "two columns have the name 'prompt'"),
        ("in.jsonl", b"[" * 200_000, "in.jsonl, line 1: it is no JSON"),
    ):
        Path(name).write_bytes(content)
        assert main(["batch", name, "-o", "out.jsonl", "-m", "faux/echo"]) == 2
        assert part in capsys.readouterr().err


def test_lines_that_an_editor_left_empty_do_no_harm() -> None:
    questions("a", "b")
    assert batch() == 0
    there = Path("out.jsonl").read_bytes()
    first, second = there.splitlines(keepends=True)
    Path("out.jsonl").write_bytes(b"\n" + second + b"\r\n" + first + b"\n")
    assert batch() == 0
    assert Path("out.jsonl").read_bytes() == there


@pytest.mark.parametrize("there", ["notes\n", '{"a": 1}\n', "notes", '{"id": 1}\nnotes'])
def test_a_file_that_holds_something_else_is_left_alone(
    there: str, capsys: pytest.CaptureFixture[str]
) -> None:
    questions({"prompt": "a"})
    Path("out.jsonl").write_text(there)
    assert batch() == 2
    assert "no answer of pipy batch" in capsys.readouterr().err
    if there.endswith("\n") or "\n" not in there:
        assert Path("out.jsonl").read_text() == there


def test_two_runs_do_not_share_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    questions({"prompt": "a"})
    with ResultsFile(Path("out.jsonl")):
        assert batch() == 2
        assert "another run is writing to it" in capsys.readouterr().err
        with pytest.raises(InputError), ResultsFile(Path("./out.jsonl")):
            pass
    assert batch() == 0


# === Ctrl-C, a terminal, a kill ===


def start(lab: Lab, *more: str, **how: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipy_ai", "batch", "in.jsonl", "-o", "out.jsonl", "-m", HOST,
         *at(lab), *more],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how},
    )  # fmt: skip


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_ctrl_c_finishes_what_is_under_way(lab: Lab) -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(50)])
    halves = [*sse(*text("half ")), Pause(), *chat(text("whole"), finish("stop"))]
    lab.always = halves
    process = start(lab, "-j", "16")
    wait_for(lambda: len(lab.seen) == 4)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    first = process.stderr.readline().decode()
    assert first == "pipy: finishing 4 under way; Ctrl-C once more drops them\n"
    lab.go()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "46 rows are not asked yet: run the same command again to go on" in said.decode()
    assert set(texts().values()) == {"half whole"}
    assert len(texts()) == len(lab.seen) == 4
    lab.always = chat(text("half whole"), finish("stop"))
    assert batch(*at(lab), model=HOST) == 0
    assert len(lab.seen) == 50


def test_ctrl_c_while_the_input_is_read_ends_it_at_once(lab: Lab) -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(200_000)])
    process = start(lab)
    wait_for(Path("out.jsonl").exists)  # made before the input is read
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, b"")
    assert not lab.seen


def test_the_disk_is_asked_to_keep_what_landed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a second at most, and what was written before the last time survives a power cut."""
    synced: list[tuple[float, int]] = []

    def slow(seen: Seen) -> Scene:
        time.sleep(0.02)
        return upper(seen)

    def sync(answers: ResultsFile) -> None:
        synced.append((time.monotonic(), Path("out.jsonl").read_bytes().count(b"\n")))

    monkeypatch.setattr(ResultsFile, "sync", sync)
    monkeypatch.setattr("pipy_ai.batch.job.SYNC_INTERVAL_S", 0.1)
    lab.always = slow
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(40)])
    assert batch("-j", "1", *at(lab), model=HOST) == 0
    assert len(synced) >= 3
    assert all(b[0] - a[0] >= 0.1 and b[1] > a[1] for a, b in pairwise(synced))


def test_ctrl_c_twice_drops_it(lab: Lab) -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(50)])
    lab.always = [*sse(*text("half ")), Pause()]
    process = start(lab, "-j", "16")
    wait_for(lambda: len(lab.seen) == 4)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "50 rows are not asked yet" in said.decode()
    assert "Traceback" not in said.decode()
    assert answers() == []


def test_progress_on_a_terminal(lab: Lab) -> None:
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(30)])
    leader, follower = pty.openpty()
    process = start(lab, stderr=follower, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"})
    os.close(follower)
    shown = b""
    reader = threading.Thread(target=process.wait)
    reader.start()
    while True:
        try:
            piece = os.read(leader, 1 << 16)
        except OSError:  # its other end is closed
            break
        if not piece:
            break
        shown += piece
    reader.join()
    os.close(leader)
    assert process.stdout is not None
    process.stdout.close()
    assert process.returncode == 0
    assert b"30/30" in shown
    assert b"tokens" in shown
    assert b"30 rows: 30 answered" in shown


def test_killed_and_run_again_against_a_server_that_fails(tmp_path: Path) -> None:
    """The small version of `python -m tests.wire.batch_chaos 100000`."""
    found = batch_chaos.run(
        rows=2000, kills=2, concurrency=32, rate=400, faults=0.03, directory=tmp_path, timeout=1.5
    )
    assert batch_chaos.wrong(found, speed=0.2) == [], found  # on a machine that is busy with tests
    assert found["server"]["beyond the limit"] > 0
