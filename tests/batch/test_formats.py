"""Test how rows are read from files: line numbers, delimiters, encodings, empty rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipy_ai.batch.formats import InputError, read_rows


def rows(path: Path, content: str | bytes) -> list[tuple[int, dict[str, str]]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(number, dict(row)) for number, row in read_rows(path)]


PLAIN = [(2, {"id": "1", "prompt": "a"}), (3, {"id": "2", "prompt": "b"})]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_spreadsheets(
    delimiter: str, newline: str, encoding: str, tmp_path: Path
) -> None:
    lines = [
        ["id", "Größe, Preis; netto", "prompt", "", ""],
        ["1", "a\nb", "Grüße", "", ""],
        ["", "", "", "", ""],
        ["2", 'say "x"', "b", "", ""],
        ["", "", "", "", ""],
    ]
    text = newline.join(
        delimiter.join('"' + cell.replace('"', '""') + '"' if cell else "" for cell in line)
        for line in lines
    ).replace("a\nb", f"a{newline}b")
    column = "Größe, Preis; netto"
    assert rows(tmp_path / "in.csv", text.encode(encoding)) == [
        (2, {"id": "1", column: "a\nb", "prompt": "Grüße"}),
        (5, {"id": "2", column: 'say "x"', "prompt": "b"}),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "id,prompt\n1,a\n2,b",
        "id,prompt,,\n1,a\n2,b,,,,\n,,,\n\n   \n",
        "id , prompt\n1,a\n2,b\n",
    ],
)
def test_empty_columns_and_rows(content: str, tmp_path: Path) -> None:
    assert rows(tmp_path / "in.csv", content) == PLAIN


def test_header_after_empty_lines_and_a_separator_line(tmp_path: Path) -> None:
    assert rows(tmp_path / "in.csv", "sep=;\nid;prompt\n1;a, b\n") == [
        (3, {"id": "1", "prompt": "a, b"})
    ]
    assert rows(tmp_path / "in.csv", '\n\n"id\n(number)";prompt\n1;a\n') == [
        (5, {"id\n(number)": "1", "prompt": "a"})
    ]
    assert rows(tmp_path / "in.csv", "") == rows(tmp_path / "in.csv", "\n\n") == []


def test_header_decides_the_delimiter(tmp_path: Path) -> None:
    assert rows(tmp_path / "in.csv", "id;name, first\n1;Ada\n") == [
        (2, {"id": "1", "name, first": "Ada"})
    ]
    assert rows(tmp_path / "in.csv", "id,name; first\n1,Ada\n") == [
        (2, {"id": "1", "name; first": "Ada"})
    ]
    assert rows(tmp_path / "in.csv", "id,prompt\n1,a;b;c;d\n") == [
        (2, {"id": "1", "prompt": "a;b;c;d"})
    ]
    assert rows(tmp_path / "in.tsv", "id\tprompt, please\n1\ta\n") == [
        (2, {"id": "1", "prompt, please": "a"})
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('id,prompt\n1,a\n2,"b" c\n3,d\n', "line 3: ',' expected after '\"'"),
        ('id,prompt\n1,"a\n\nb"\n2,"b" c\n3,d\n', "line 5: ',' expected after '\"'"),
        ('id,prompt\n1,a\n2,"b\nc" d\n', "line 4, in the row that starts at line 3: ',' expected"),
        ('id,prompt\n1,a\n2,"b\n3,c\n4,d\n', "line 3: a quote in this row is never closed"),
        ('id,prompt\n1,"a\r\nb"\r\n2\r\n', "line 4: it has 1 fields, and the header has 2"),
        ('id,prompt\n1,"a\nb",c\n', "line 2: it has 3 fields, and the header has 2"),
        ("sep=,\nid,prompt\n\n1,a,b\n", "line 4: it has 3 fields"),
        ("id,prompt,id\n", "two columns are named 'id'"),
        ("id; prompt ;prompt\n", "two columns are named 'prompt'"),
        ("id,prompt\n1,\xe9\n".encode("latin-1"), "not UTF-8 text"),
        (b"\xff\xfei\0d\0\n", "not UTF-8 text"),
    ],
)
def test_errors_of_tables_name_the_line(content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as failure:
        rows(tmp_path / "in.csv", content)
    assert message in str(failure.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_of_json(encoding: str, tmp_path: Path) -> None:
    text = '{"prompt": "Grüße\u2028"}\r\n\r\n"b\\r\\n"\r\n'
    assert rows(tmp_path / "in.jsonl", text.encode(encoding)) == [
        (1, {"prompt": "Grüße\u2028"}), (3, {"prompt": "b\r\n"})
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"line 3: not valid JSON \(Expecting value at column 7\)"):
        rows(tmp_path / "in.jsonl", '{"a": 1}\n\n{"b": x}\n'.encode(encoding))


def test_json_that_is_not_utf_8(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2: not valid JSON \('utf-8' codec"):
        rows(tmp_path / "in.jsonl", b'"a"\n"\xe9"\n')


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            "\ufeff".encode("utf-16-le") + b'{"prompt": "a"}\n\xd8',
            "from line 1 on: the file begins as UTF-16",
        ),
        ('"a"\n"b"\n'.encode("utf-16") + b"x", "on: the file begins as UTF-16"),
        ('"a"\n'.encode("utf-32") + b"\xff\xff\xff\xff", "the file begins as UTF-32"),
        (b'"a"\n' + b"[" * 100_000, "line 2: the row is nested too deeply"),
    ],
)
def test_rows_that_cannot_be_decoded(content: bytes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        rows(tmp_path / "in.jsonl", content)
    assert problem in str(error.value)
    assert str(tmp_path / "in.jsonl") in str(error.value)
