"""Test saved conversations: nothing is lost when a process is killed or a file is damaged."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    ToolResultMessage,
    assistant,
    complete,
    faux,
    image,
    run_tools,
    stream,
    user,
)
from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.cli.conversations.files import list_conversation_ids, resolve_id
from pipy_ai.cli.conversations.messages import dump_message, load_message
from pipy_ai.types import ToolCall


def talk(conversation: Conversation, text: str, model: str = "faux/echo") -> AssistantMessage:
    """Complete one turn and save it as a command would."""
    conversation.add(user(text))
    events = stream(model, conversation.context)
    for event in events:
        conversation.journal(event)
    return events.result()


def texts(conversation: Conversation) -> list[str]:
    return [
        message.content if isinstance(message.content, str) else "".join(
            getattr(part, "text", "") for part in message.content
        )
        for message in conversation.messages
    ]  # fmt: skip


def test_conversation_round_trip() -> None:
    with Conversation.new(model="faux/echo", system="Be brief.") as conversation:
        talk(conversation, "one")
        conversation.set(model="faux/other", thinking="high", tools=["m:f"])
        talk(conversation, "two \u202e\ud83d \x1b[2J\nlines\u2028")
    with Conversation.open() as again:
        assert (again.id, again.messages) == (conversation.id, conversation.messages)
        assert (again.model, again.system) == ("faux/other", "Be brief.")
        assert (again.thinking, again.tools) == ("high", ["m:f"])
        assert again.context.system_prompt == "Be brief."
        assert complete("faux/echo", [*again.messages, user("three")]).text == "three"


def test_conversation_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with Conversation.new() as conversation:
            conversation.add(user("hi"))
            for event in stream("faux/echo", conversation.context):
                conversation.journal(event)
                if event.type == "text_delta":
                    partial = Path(conversation.path).with_suffix(".partial")
                    assert stat.S_IMODE(partial.stat().st_mode) == 0o600
    finally:
        os.umask(old)
    path = Path(conversation.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_no_file_before_the_first_message_or_when_not_saved() -> None:
    new = Conversation.new(model="faux/echo")
    new.set(system="x")
    assert list_conversation_ids() == []
    quiet = Conversation.new(model="faux/echo", keep=False)
    assert talk(quiet, "hi").text == "hi"
    assert texts(quiet) == ["hi", "hi"]
    assert list_conversation_ids() == []
    assert not Path(new.path).parent.exists()


def test_message_of_every_content_type_round_trips() -> None:
    reply = faux.reply(
        faux.thinking("hm", "signed"), faux.redacted(), "text", faux.tool("add", a=1, b="2")
    )

    def add(a: int, b: int) -> object:
        "Add."
        return {"sum": a + b, "of": (a, b)}

    with Conversation.new() as conversation, faux.script(reply, faux.reply("x", stop="length")):
        conversation.add(user("look", image(b"GIF89a" + bytes(20))))
        run = run_tools("faux/any", conversation.context, [add])
        for event in run:
            conversation.journal(event)
        conversation.add(complete("anthropic/claude-sonnet-4-5", "no key"))
        conversation.add(ToolResultMessage(details={"when": Path("x"), "own": object()}))
        conversation.add(assistant("ünï"))
    with Conversation.open() as again:
        assert [dump_message(one) for one in again.messages] == [
            dump_message(one) for one in conversation.messages
        ]
        assert again.messages[:4] == conversation.messages[:4]
        assert again.messages[1:4] == run.messages
    for message in run.messages:
        dumped = message.model_dump(mode="json")
        assert dump_message(message) == dumped
        assert load_message(json.loads(json.dumps(dumped))) == message


@pytest.mark.parametrize(
    "odd",
    [
        {"content": [{"type": "text", "text": 5}]},
        {"usage": {"input": "many"}},
        {"content": "text"},
        {"timestamp": "now"},
        {"role": "nobody"},
        {"stop_reason": "whim"},
        {"model": 5},
    ],
)
def test_invalid_message_loads_as_none(odd: dict[str, Any]) -> None:
    right = assistant("x").model_dump(mode="json")
    assert load_message(right).role == "assistant"
    with pytest.raises(ValueError):  # noqa: PT011
        load_message(right | odd)


def test_fields_of_newer_versions_are_kept() -> None:
    data = assistant("x").model_dump(mode="json") | {"new": {"a": 1}}
    assert dump_message(load_message(data)) == data


def test_undo_and_retry_are_saved() -> None:
    with Conversation.new() as conversation:
        talk(conversation, "one")
        talk(conversation, "two")
        undone = conversation.undo()
        assert undone is not None
        assert undone.content == "two"
        assert texts(conversation) == ["one", "one"]
        conversation.undo(answer_only=True)
        assert texts(conversation) == ["one"]
        conversation.undo(answer_only=True)  # nothing more to take back
        talk(conversation, "three")
    with Conversation.open() as again:
        assert texts(again) == ["one", "three", "three"]
        assert again.undo() is not None
        assert again.undo() is not None
        assert again.undo() is None
    assert Path(conversation.path).read_text().count('"message"') > 6  # it is still in the file


def test_damaged_lines_are_reported_and_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    with Conversation.new(model="faux/echo") as conversation:
        for text in ("one", "two", "three"):
            talk(conversation, text)
    path = Path(conversation.path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    lines[3] = lines[3][:40] + b"\x00\xff" + lines[3][60:]
    lines[4] = b"[1, 2]\n"
    lines[5] = b"[" * 100_000 + b"\n"
    lines.insert(2, b'{"kind":"from tomorrow","x":1}\n')
    lines.append(b'{"kind":"undo","from":"x"}\n{"kind":"message","n":9,"message":{"role":"us')
    path.write_bytes(b"".join(lines))
    name = f"pipy: history/{conversation.id}.jsonl: line"
    told = [f"{name} {n} is damaged and was skipped" for n in (5, 6, 7, 10, 11)]
    with Conversation.open() as again:
        assert capsys.readouterr().err.splitlines() == told
        assert texts(again) == ["one", "three", "three"]
        talk(again, "four")
    with Conversation.open() as once_more:
        assert texts(once_more)[-2:] == ["four", "four"]
        assert once_more.messages == again.messages
    assert b"from tomorrow" in path.read_bytes()


def test_undo_is_exact_next_to_damaged_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Conversation.new() as conversation:
        talk(conversation, "one")
        talk(conversation, "two")
        conversation.undo()
    path = Path(conversation.path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = b"broken\n"  # the question that was taken back
    path.write_bytes(b"".join(lines))
    assert texts(Conversation.read()) == ["one", "one"]
    assert "line 4 is damaged" in capsys.readouterr().err


KILLED = """
import os, signal, sys
from pipy_ai import faux, stream, user
from pipy_ai.cli.conversations.conversation import Conversation
said = Conversation.new(model="faux/m")
answer = faux.reply(faux.thinking("thinking of it"), "it is \\u202e so ", faux.stall())
with faux.script("first", answer):
    for text in ("one", "two"):
        said.add(user(text))
        for event in stream("faux/m", said.context):
            said.journal(event)
            enough = "so" in getattr(event, "delta", "so")
            if text == "two" and event.type == sys.argv[1] and enough:
                os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("at", "left"),
    [("start", None), ("thinking_end", ("thinking of it", "")),
     ("text_delta", ("thinking of it", "it is \u202e so "))],
)  # fmt: skip
def test_killed_process_loses_nothing(at: str, left: tuple[str, str] | None) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, at], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    looked_at = Conversation.read()
    with Conversation.open() as again:
        assert texts(looked_at) == texts(again)
        assert texts(again)[:3] == ["one", "first", "two"]
        if left is None:
            assert len(again.messages) == 3
        else:
            last = again.messages[-1]
            assert isinstance(last, AssistantMessage)
            assert (last.thinking_text, last.text) == left
            assert last.stop_reason == "aborted"
            assert last.error is not None
            assert (last.provider, last.model) == ("faux", "m")
            assert last.usage.estimated
            assert last.usage.cost.total is None
        talk(again, "three")
    with Conversation.open() as once_more:
        assert once_more.messages == again.messages
    folder = Path(again.path).parent
    assert [path.name for path in folder.iterdir()] == [f"{again.id}.jsonl"]


def test_journal_of_a_saved_response_is_not_saved_twice() -> None:
    """The process was killed after it wrote the response and before it removed the journal."""
    with Conversation.new() as conversation:
        conversation.add(user("hi"))
        for event in stream("faux/echo", conversation.context):
            if event.type == "done":
                journal = Path(conversation.path).with_suffix(".partial")
                left = journal.read_bytes()
            conversation.journal(event)
    journal.write_bytes(left)
    with Conversation.open() as again:
        assert texts(again) == ["hi", "hi"]
    journal.write_bytes(left[:-3] + b"\n[0")  # torn, and of an answer that is there
    assert texts(Conversation.read()) == ["hi", "hi"]
    for nonsense in (b"", b"\n", b"{}\n", b'{"n":99}\n[1]\n', b'{"n":99}\n{"x":1}\n', b"[]"):
        journal.write_bytes(nonsense)
        assert texts(Conversation.read()) == ["hi", "hi"]


def test_failed_response_is_saved_with_its_error() -> None:
    with Conversation.new() as conversation, faux.script(faux.error("auth", "out of order")):
        talk(conversation, "hi", "faux/m")
    last = Conversation.read().messages[-1]
    assert isinstance(last, AssistantMessage)
    assert last.error is not None
    assert last.error.message == "out of order"


def test_conversation_is_locked_by_one_process() -> None:
    with Conversation.new() as conversation:
        talk(conversation, "hi")
        with pytest.raises(ValueError, match=f"another pipy process has.*{conversation.id}"):
            Conversation.open(conversation.id)
        assert texts(Conversation.read()) == ["hi", "hi"]
    Conversation.open(conversation.id).close()


def test_names() -> None:
    with pytest.raises(ValueError, match="no saved conversations yet"):
        resolve_id()
    for name in ("20260101-000000-000aaa", "20260101-000000-000aab", "20260102-000000-000aaa"):
        with Conversation(name) as conversation:
            conversation.add(user(name))
    assert resolve_id("20260102") == "20260102-000000-000aaa"
    assert resolve_id("20260101-000000-000aab") == "20260101-000000-000aab"
    with pytest.raises(ValueError, match=r"more than one.*000aa[ab], 2026"):
        resolve_id("20260101")
    for nobody in ("2027", "../x", "*"):
        with pytest.raises(ValueError, match="pipy history list"):
            resolve_id(nobody)
    os.utime(Conversation("20260101-000000-000aaa").path, (4e9, 4e9))
    assert resolve_id() == "20260101-000000-000aaa"
    assert list_conversation_ids() == [
        resolve_id(),
        "20260102-000000-000aaa",
        "20260101-000000-000aab",
    ]


def test_ids_are_unique_and_sorted_by_time() -> None:
    made = [Conversation.new().id for _ in range(20)]
    assert [one[:19] for one in made] == sorted(one[:19] for one in made)
    assert len(set(made)) == 20


def test_write_error_is_reported_once_and_the_conversation_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("PIPY_DATA_DIR", str(tmp_path / "file"))
    said = Conversation.new()
    assert talk(said, "one").text == "one"
    assert talk(said, "two").text == "two"
    output = capsys.readouterr().err
    assert output.count("the rest of the conversation will not be saved") == output.count("\n") == 1
    assert texts(said) == ["one", "one", "two", "two"]


@pytest.mark.skipif(os.name != "posix", reason="no limit on the size of files")
def test_conversation_that_no_disk_space_is_left_for_is_not_continued() -> None:
    with Conversation.new() as conversation:
        talk(conversation, "the first")
    code = """
import resource, signal, sys
from pipy_ai.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # writing to any file fails
sys.exit(main(["ask", "-m", "faux/echo", "the second"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "the second\n")
    assert "the rest of the conversation will not be saved" in done.stderr
    with Conversation.open() as continued:
        assert continued.id == conversation.id


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_disk_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Conversation.new() as conversation:
        talk(conversation, "one")
        assert conversation._file_fd is not None
        os.dup2(os.open("/dev/full", os.O_WRONLY), conversation._file_fd)
        assert talk(conversation, "two").text == "two"
    output = capsys.readouterr().err
    assert "No space left" in output
    assert output.count("\n") == 1


def test_unanswered_tool_call_does_not_block_the_conversation() -> None:
    with Conversation.new() as conversation:
        conversation.add(user("add"))
        conversation.add(assistant(ToolCall(id="c1", name="add", arguments={})))
    with Conversation.open() as again, faux.script("well") as provider:
        assert talk(again, "go on", "faux/m").text == "well"
    assert provider.calls == 1


def test_saving_needs_no_validator_before_the_first_token() -> None:
    """Pydantic builds validators on first use, which takes longer than the request."""
    code = """
from pipy_ai import user
from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.types import AssistantMessage, Context, UserMessage
import pipy_ai
with Conversation.open() as said:
    said.add(user("more"))
    said.context
for kind in (AssistantMessage, Context, UserMessage):
    assert not kind.__pydantic_complete__, kind
"""
    with Conversation.new() as conversation:
        talk(conversation, "hi")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
