"""Test that every command that shows answers tells of truncated and empty ones on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..support.command import pipy
from ..support.scripted_server import Lab, Scene, chat, finish, text
from ..support.terminal import Terminal

CUT = "pipy: the answer was truncated at its token limit; --max-tokens N allows more\n"
ALL_THOUGHT = (
    "pipy: the token limit was reached before the answer started; --max-tokens N allows more\n"
)
EMPTY = "pipy: the answer is empty\n"
THOUGHT = {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}
SCENES: list[tuple[Scene, str, str]] = [
    (chat(text("Half a"), finish("length")), "Half a\n", CUT),
    (chat(THOUGHT, finish("length")), "", ALL_THOUGHT),
    (chat(finish("length")), "", ALL_THOUGHT),
    (chat(text(" \n"), finish("stop")), " \n", EMPTY),
    (chat(THOUGHT, finish("stop")), "", EMPTY),
    (chat(finish("stop")), "", EMPTY),
    (chat(text("All."), finish("stop")), "All.\n", ""),
]
TO = ("-m", "hosted_vllm/m", "--no-save", "--api-base")


@pytest.mark.parametrize(("scene", "output", "notice"), SCENES)
def test_ask_and_chat_tell_how_an_answer_ended(
    scene: Scene, output: str, notice: str, lab: Lab
) -> None:
    lab.always = scene
    asked = pipy("ask", *TO, lab.url, "hi")
    assert (asked.returncode, asked.stdout.strip()) == (0, output.strip())
    assert asked.stderr.replace("hm\n", "") == notice  # thinking
    chatted = pipy("chat", *TO, lab.url, stdin="hi\nagain\n")
    assert (chatted.returncode, chatted.stderr.replace("hm\n", "")) == (0, notice * 2)
    as_json = pipy("ask", *TO, lab.url, "--json", "hi")
    assert as_json.stderr == notice
    assert json.loads(as_json.stdout)["error"] is None


def test_terminal_shows_the_notice_after_the_answer(lab: Lab) -> None:
    lab.always = SCENES[0][0]
    with Terminal("-m", "pipy_ai", "ask", *TO, lab.url, "hi") as terminal:
        assert terminal.wait() == 0
        assert terminal.text.startswith(f"Half a\n{CUT}".rstrip())


def test_code_of_a_truncated_answer(lab: Lab) -> None:
    lab.always = chat(text("```sh\nls -"), finish("length"))
    done = pipy("ask", *TO, lab.url, "-x", "hi")
    assert done.stderr.endswith(CUT)


def test_answer_after_tools(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text('def now() -> str:\n    "The time."\n    return "9"\n')
    call = {
        "index": 0,
        "id": "c",
        "type": "function",
        "function": {"name": "now", "arguments": "{}"},
    }
    calls = chat({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}, finish("tool_calls"))
    lab.play(calls, chat(finish("stop")))
    done = pipy("ask", *TO, lab.url, "--tool", f"{tmp_path}/t.py:now", "-y", "hi")
    assert (done.returncode, len(lab.seen)) == (0, 2)
    assert done.stderr.endswith(EMPTY)


def test_replay_tells_how_an_answer_ended(lab: Lab) -> None:
    lab.always = SCENES[0][0]
    events = pipy("ask", *TO, lab.url, "--events", "hi").stdout
    assert pipy("replay", "-", "--at-once", stdin=events).stderr == CUT


def test_batch_counts_truncated_and_empty_answers(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.play(*[scene for scene, _, _ in SCENES])
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text('"a"\n' * len(SCENES))
    done = pipy("batch", "in.jsonl", "-o", "out.jsonl", *TO[:2], "--api-base", lab.url, "--json")
    assert done.returncode == 0
    assert "pipy: 3 answers were truncated at their token limit; --max-tokens N" in done.stderr
    assert "pipy: 3 answers are empty" in done.stderr
    summary = json.loads(done.stdout)
    assert (summary["answered"], summary["truncated"], summary["empty"]) == (7, 3, 3)
    reasons = [
        json.loads(line)["stop_reason"] for line in Path("out.jsonl").read_text().splitlines()
    ]
    assert reasons.count("length") == 3


@pytest.mark.usefixtures("july")
def test_batch_shows_warnings(lab: Lab, tmp_path: Path) -> None:
    lab.always = chat(text("ok"), finish("stop"))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    row = {"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, image]}]}
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(row)}\n" * 2)
    files = (f"{tmp_path}/in.jsonl", "-o", f"{tmp_path}/out.jsonl")
    done = pipy("batch", *files, "-m", "deepseek/deepseek-chat", "--api-base", lab.url,
                DEEPSEEK_API_KEY="k")  # fmt: skip
    assert "deepseek-chat does not take images; one was left out (2 rows)" in done.stderr
