"""Test `pipy ask --upload`, and the files that code created."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support.command import pipy
from ..support.file_lab import FileLab, StoredFile

KEY = "k" * 40
PDF = b"%PDF-1.4\n%%EOF\n"
MODEL = "anthropic/claude-sonnet-4-5"


@pytest.fixture
def lab() -> Iterator[FileLab]:
    with FileLab() as lab:
        lab.answer = {
            "id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": "Two pages."}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 9, "output_tokens": 3},
        }  # fmt: skip
        yield lab


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.pdf"
    path.write_bytes(PDF)
    return path


def test_file_is_uploaded_once_for_a_conversation(lab: FileLab, path: Path) -> None:
    asked = ("ask", "-m", MODEL, "--api-base", lab.url)
    done = pipy(*asked, "-a", str(path), "--upload", "How long?", ANTHROPIC_API_KEY=KEY)
    assert (done.returncode, done.stdout) == (0, "Two pages.\n"), done.stderr
    again = pipy(*asked, "-a", str(path), "--upload", "Sure?", ANTHROPIC_API_KEY=KEY)
    assert again.stdout == "Two pages.\n"
    next_turn = pipy(*asked, "-c", "And now?", ANTHROPIC_API_KEY=KEY)
    assert next_turn.stdout == "Two pages.\n"
    [file] = lab.files.values()
    assert file.content == PDF
    for body in lab.messages:
        block = body["messages"][0]["content"][1]
        assert block["source"] == {"type": "file", "file_id": file.id}
    shown = pipy("history", "show").stdout
    assert "[file 'a.pdf' at anthropic]" in shown
    exported = json.loads(pipy("history", "export", "--format", "json").stdout)
    assert exported["messages"][0]["content"][1]["id"] == file.id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--upload", "q"], "--upload needs a file: -a FILE"),
        (["-a", "https://example.com/a.pdf", "--upload", "q"], "--upload needs files, not -a http"),
        (["-a", "{path}", "--upload", "--fallback", "openai/gpt-5", "q"], "models of one provider"),
        (["-a", "{path}", "--upload", "-m", "mistral/mistral-small-latest", "q"],
         "only to anthropic, google, openai"),
        (["-a", "none.pdf", "--upload", "q"], "none.pdf: No such file"),
    ],
)  # fmt: skip
def test_wrong_use_sends_nothing(
    lab: FileLab, path: Path, arguments: list[str], message: str
) -> None:
    words = [argument.replace("{path}", str(path)) for argument in arguments]
    done = pipy("ask", "-m", MODEL, "--api-base", lab.url, *words, ANTHROPIC_API_KEY=KEY)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not lab.calls


def test_rejected_upload_is_named(lab: FileLab, path: Path) -> None:
    lab.errors = [(400, "quota exceeded")]
    done = pipy(
        "ask", "-m", MODEL, "--api-base", lab.url, "-a", str(path), "--upload", "q",
        ANTHROPIC_API_KEY=KEY,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{path} was not uploaded: quota exceeded" in done.stderr
    assert lab.messages == []


def test_table_needs_code_execution(lab: FileLab, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,2\n")
    asked = ("ask", "-m", MODEL, "--api-base", lab.url, "-a", str(table), "--upload")
    done = pipy(*asked, "q", ANTHROPIC_API_KEY=KEY)
    assert (done.returncode, "only with code_execution()" in done.stderr) == (2, True)
    done = pipy(*asked, "--code", "q", ANTHROPIC_API_KEY=KEY)
    assert done.stdout == "Two pages.\n", done.stderr
    assert lab.messages[0]["messages"][0]["content"][1]["type"] == "container_upload"


# --- Files that code created ----------------------------------------------------------------


@pytest.fixture
def created(lab: FileLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileLab:
    """An answer whose code has created two files."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    names = {"file_1": "../conftest.py", "file_2": "orders.csv", "file_3": "more.csv"}
    for file_id, name in names.items():
        lab.files[file_id] = StoredFile(file_id, name, "text/csv", 3, "", file_id.encode())
    outputs = [{"type": "bash_code_execution_output", "file_id": file_id} for file_id in names]
    assert lab.answer is not None
    lab.answer["content"][:0] = [
        {"type": "server_tool_use", "id": "s", "name": "bash_code_execution", "input": {}},
        {"type": "bash_code_execution_tool_result", "tool_use_id": "s", "content": {
            "type": "bash_code_execution_result", "stdout": "", "stderr": "", "return_code": 0,
            "content": outputs}},
    ]  # fmt: skip
    return lab


def ask_for_code(lab: FileLab, *words: str, command: str = "ask", stdin: str = "") -> Any:
    address = ("-m", MODEL, "--api-base", lab.url, "--code")
    return pipy(command, *address, *words, stdin=stdin, ANTHROPIC_API_KEY=KEY)


def test_created_files_are_saved_under_names_of_ours(created: FileLab) -> None:
    Path("file.csv").write_text("mine")
    done = ask_for_code(created, "q")
    assert (done.returncode, done.stdout) == (0, "Two pages.\n"), done.stderr
    assert [line for line in done.stderr.splitlines() if "saved" in line] == [
        "pipy: saved file.py", "pipy: saved file-2.csv", "pipy: saved file-3.csv"
    ]  # fmt: skip
    assert {name: Path(name).read_text() for name in os.listdir()} == {
        "file.csv": "mine", "file.py": "file_1", "file-2.csv": "file_2", "file-3.csv": "file_3"
    }  # fmt: skip
    chat = ask_for_code(created, command="chat", stdin="q\n")
    assert chat.stderr.count("pipy: saved ") == 3


def test_first_created_file_is_named(created: FileLab) -> None:
    assert ask_for_code(created, "--output", "orders.txt", "q").returncode == 0
    assert Path("orders.txt").read_text() == "file_1"
    assert ask_for_code(created, "--json", "q").stderr.count("saved") == 0


def test_file_that_is_gone_is_named(created: FileLab) -> None:
    del created.files["file_2"]
    done = ask_for_code(created, "q")
    assert (done.returncode, done.stdout) == (1, "Two pages.\n")
    assert "pipy: file_2 was not saved: No such File object: file_2" in done.stderr
    assert Path("file.csv").read_text() == "file_3"
