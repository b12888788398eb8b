"""Test `pipy chat` on a terminal."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import assistant, user
from pipy_ai.cli.chat.dumb_line_editor import DumbLineEditor
from pipy_ai.cli.chat.interrupt import sigint_handled_by
from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.cli.conversations.files import list_conversation_ids

from ..support.scripted_server import (
    STALL,
    Lab,
    Pause,
    Status,
    call,
    chat,
    finish,
    sse,
    text,
    usage,
)
from ..support.terminal import Terminal


class Chat(Terminal):
    """A `pipy chat` process on a terminal, with a server on loopback."""

    def __init__(self, lab: Lab, *arguments: str, **how: Any) -> None:
        asked = ["-m", "pipy_ai", "chat"]
        asked += [] if "-c" in arguments else ["-m", "hosted_vllm/m", "--api-base", lab.url]
        super().__init__(*asked, *arguments, **how)

    def ready(self) -> None:
        """Wait for the prompt."""
        until = time.monotonic() + 30
        while ([row for row in self.screen if row] or [""])[-1] not in (">", "^C>"):
            assert time.monotonic() < until, self.text
            assert self.read(0.2), self.text

    def asked(self, question: str) -> None:
        """Wait for an approval prompt."""
        until = time.monotonic() + 30
        while not ([row for row in self.screen if row] or [""])[-1].startswith(question):
            assert time.monotonic() < until, self.text
            assert self.read(0.2), self.text

    def say(self, line: str, then: str = "") -> None:
        """Type a line and wait for some output."""
        self.ready()
        self.send(f"{line}\r")
        if then:
            self.wait_for(then)


def answer(*pieces: str) -> list[Any]:
    return chat(*text(*pieces), finish("stop"), usage(1203, 345, 200))


def asked(lab: Lab, which: int = -1) -> list[tuple[str, Any]]:
    """Return the messages of a request."""
    messages = lab.seen[which].json["messages"]
    return [(message["role"], message["content"]) for message in messages]


def test_conversation(lab: Lab) -> None:
    lab.play(answer("Hello ", "**there**"), answer("Bye"))
    with Chat(lab, "-s", "Be kind.") as seen:
        seen.say("Hi", "out  ")
        assert "\n> Hi\nHello there\n" in seen.text
        assert seen.style("there").bold
        line = next(row for row in seen.screen if " in (" in row)
        assert re.match(r"1,203 in \(200 cached\) / 345 out  cost unknown  \d+\.\d s", line)
        seen.say("And now?", "Bye")
        seen.ready()
        seen.send("\x04")
        assert seen.wait() == 0
        assert "Traceback" not in seen.text
    assert asked(lab) == [
        ("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello **there**"),
        ("user", "And now?"),
    ]  # fmt: skip
    kept = Conversation.read()
    assert [message.role for message in kept.messages] == ["user", "assistant"] * 2


def test_ctrl_c_at_the_prompt(lab: Lab) -> None:
    lab.play(answer("Hello"))
    with Chat(lab) as seen:
        seen.ready()
        for _ in range(40):
            seen.interrupt()
            seen.read(0.01)
        seen.send("\r")  # a prompt on a row of its own
        seen.say("Hi", "out  ")
        seen.ready()
        seen.send("\x04")
        assert seen.wait() == 0
        assert "Traceback" not in seen.text
        assert "never awaited" not in seen.text


def test_ctrl_c_stops_the_response_but_not_the_chat(lab: Lab) -> None:
    lab.play(sse(*text("one ", "two "), STALL), answer("three"))
    with Chat(lab) as seen:
        seen.say("Count", "one two")
        seen.interrupt()
        assert lab.seen[0].left.wait(5), "the connection is still open"
        seen.wait_for("stopped")
        seen.ready()
        seen.send("half a li")
        seen.wait_for("half a li")
        seen.interrupt()  # clears the line
        seen.say("Go on", "three")
    assert asked(lab) == [("user", "Count"), ("assistant", "one two "), ("user", "Go on")]


def test_model_changes_in_mid_conversation(lab: Lab) -> None:
    lab.play(answer("from m"), answer("from other"))
    with Chat(lab) as seen:
        seen.say("Hi", "from m")
        seen.say("/model hosted_vllm/other", "\nhosted_vllm/other\n")
        seen.say("Hi again", "from other")
        seen.say("/model claude-sonet-4-5", "did you mean")
        seen.say("/model", "\nhosted_vllm/other\n")
    assert [one.json["model"] for one in lab.seen] == ["m", "other"]
    assert asked(lab)[:2] == [("user", "Hi"), ("assistant", "from m")]
    assert Conversation.read().model == "hosted_vllm/other"


def test_key_is_not_sent_to_another_providers_address(lab: Lab) -> None:
    with Chat(lab, env={"GROQ_API_KEY": "gsk-secret-0123456789"}) as seen:
        seen.say("/model groq/llama-3.3-70b-versatile", "--api-base is only for hosted_vllm")
        seen.say("/model hosted_vllm/m", "\nhosted_vllm/m\n")
        seen.say("Hi", "ok")
    assert len(lab.seen) == 1
    assert "gsk-" not in str(lab.seen[0].headers)


def test_undo_and_retry(lab: Lab) -> None:
    lab.play(answer("one"), answer("two"), answer("two again"), answer("three"))
    with Chat(lab) as seen:
        seen.say("/undo", "there is nothing to undo")
        seen.say("/retry", "there is nothing to retry yet")
        seen.say("first", "\none\n")
        seen.say("second", "two")
        seen.say("/retry", "two again")
        seen.say("/undo", "removed: second")
        seen.say("third", "three")
        seen.say("/cost", "4 requests  4,812 in (800 cached) / 1,380 out  cost unknown")
    assert asked(lab, 2) == asked(lab, 1)
    assert asked(lab) == [("user", "first"), ("assistant", "one"), ("user", "third")]


def test_retry_is_not_answered_from_the_cache(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPY_CACHE", "1")
    lab.play(answer("one"), answer("another"))
    with Chat(lab) as seen:
        seen.say("first", "one")
        seen.say("/retry", "another")
    assert len(lab.seen) == 2


def test_failed_request_is_shown_and_the_chat_continues(lab: Lab) -> None:
    lab.play(Status(401, {"error": {"message": "no such key"}}), answer("well"))
    with Chat(lab) as seen:
        seen.say("Hi", "no such key")
        seen.say("/retry", "well")
        seen.say("/cost", "2 requests (1 failed)  1,203 in")
        seen.ready()
    assert asked(lab, 0) == asked(lab, 1) == [("user", "Hi")]


def test_multiline_input(lab: Lab) -> None:
    with Chat(lab) as seen:
        seen.ready()
        seen.send("one\\\rtwo\x1b\rthree")
        seen.wait_for("\n  three")
        seen.send("\r")
        seen.wait_for("ok")
        seen.ready()
        seen.paste("first\r\nsecond\rthird\n")
        seen.wait_for("third")
        assert len(lab.seen) == 1  # a pasted newline sends nothing
        seen.send("\r")
        seen.ready()
        seen.send("\x1b[A")  # the up arrow
        seen.wait_for("first\n  second", 5)
    assert asked(lab, 0) == [("user", "one\ntwo\nthree")]
    assert asked(lab)[-1] == ("user", "first\nsecond\nthird\n")


PASTED = "alpha\rbeta\rgam"


def test_lines_pasted_during_a_response_are_one_unsent_message(lab: Lab) -> None:
    lab.play(sse(*text("wait "), Pause(), *text("for it"), finish("stop"), "[DONE]"), answer("Yes"))
    with Chat(lab) as seen:
        seen.say("Hi", "\nwait")
        seen.send(f"\x1b[A{PASTED}")  # not marked as a paste, because there is no prompt
        seen.wait_for("gam")  # the terminal shows it
        lab.go()
        seen.wait_for("for it")
        seen.wait_for("> alpha\n  beta\n  gam")
        seen.send("ma\r")
        seen.wait_for("Yes")
        seen.ready()
    assert [len(seen.json["messages"]) for seen in lab.seen] == [1, 3]
    assert asked(lab)[-1] == ("user", "alpha\nbeta\ngamma")


def test_line_typed_during_a_response_is_sent_by_the_next_enter(lab: Lab) -> None:
    lab.play(sse(*text("wait "), Pause(), *text("for it"), finish("stop"), "[DONE]"), answer("Yes"))
    with Chat(lab) as seen:
        seen.say("Hi", "\nwait")
        seen.send("and then?\r")
        seen.wait_for("then?")
        lab.go()
        seen.wait_for("> and then?")
        assert len(lab.seen) == 1
        seen.send("\r")
        seen.wait_for("Yes")
    assert asked(lab)[-1] == ("user", "and then?")


def test_large_text_pasted_during_a_response_is_kept_whole(lab: Lab) -> None:
    large = "ten bytes\r" * 20_000
    lab.play(sse(*text("wait "), Pause(), *text("for it"), finish("stop"), "[DONE]"), answer("Yes"))
    with Chat(lab) as seen:
        seen.say("Hi", "\nwait")
        seen.send(large[:2_000])
        lab.go()
        seen.send(large[2_000:])  # its end comes when there is a prompt
        seen.wait_for("> [pasted 1: ")
        seen.wait_for(" lines]")
        assert len(lab.seen) == 1


def test_lines_pasted_without_marks_are_one_message(lab: Lab) -> None:
    with Chat(lab) as seen:
        seen.ready()
        seen.send(PASTED)
        seen.wait_for("> alpha\n  beta\n  gam")
        seen.send("\r")
        seen.wait_for("ok")
    assert [asked(lab, n) for n in range(len(lab.seen))] == [[("user", "alpha\nbeta\ngam")]]


def test_typed_ahead_is_not_sent_on_a_dumb_terminal(lab: Lab) -> None:
    lab.play(sse(*text("wait "), Pause(), *text("for it"), finish("stop"), "[DONE]"), answer("Yes"))
    with Chat(lab, env={"TERM": "dumb"}) as seen:
        seen.say("Hi", "\nwait")
        seen.send("yes\r")
        seen.wait_for("yes")
        lab.go()
        seen.wait_for("not sent: yes")
        seen.ready()
        assert b"\x1b" not in seen.raw
    assert len(lab.seen) == 1


def test_ctrl_c_clears_a_continued_line_on_a_dumb_terminal(lab: Lab) -> None:
    lab.play(answer("Fine"), answer("Yes"))
    with Chat(lab, env={"TERM": "dumb"}) as seen:
        for said, reply in (("Hi", "Fine"), ("Really?", "Yes")):
            seen.say(f"not {said}\\", f"> not {said}\\")  # on the screen: the line was read
            seen.interrupt()
            seen.say(said, f"\n{reply}")
    assert [asked(lab, n)[-1] for n in (0, 1)] == [("user", "Hi"), ("user", "Really?")]


def test_ctrl_c_counts_as_soon_as_the_prompt_of_a_dumb_terminal_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Screen(io.StringIO):
        """A terminal on which Ctrl-C is pressed at once."""

        def write(self, text: str) -> int:
            if text == "> ":
                signal.raise_signal(signal.SIGINT)
            return super().write(text)

    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stdin", io.StringIO("not sent\n"))
    with sigint_handled_by(lambda *_: None), pytest.raises(KeyboardInterrupt):
        DumbLineEditor().read(edit_typed_ahead=False)


def test_lines_sent_at_once_on_a_dumb_terminal_are_one_message(lab: Lab) -> None:
    lab.play(answer("Fine"), answer("Yes"))
    with Chat(lab, env={"TERM": "dumb"}) as seen:
        seen.say("alpha\r\rbeta\\\rgam", "Fine")
        seen.say("one\rtwo\r\x04", "Yes")
        assert seen.wait() == 0  # Ctrl-D counts, too
    assert [asked(lab, n)[-1] for n in (0, 1)] == [
        ("user", "alpha\n\nbeta\ngam"), ("user", "one\ntwo"),
    ]  # fmt: skip


def test_large_paste_is_accepted_but_not_displayed(lab: Lab) -> None:
    large = "ten bytes\n" * 1_000_000
    lab.play(answer("much"), answer("enough"))
    with Chat(lab) as seen:
        seen.ready()
        began = time.monotonic()
        seen.send("Look: ")
        seen.paste(large)
        seen.wait_for("Look: [pasted 1: 10,000,000 characters, 1,000,001 lines]")
        assert time.monotonic() - began < 20
        seen.send(" that's it\r")
        seen.wait_for("much")
        seen.say("and", "enough")
    assert asked(lab, 0) == [("user", f"Look: {large} that's it")]
    history = Path(os.environ["PIPY_DATA_DIR"]) / "chat_history"
    assert "pasted" not in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_conversation_survives_a_killed_chat(lab: Lab) -> None:
    lab.play(answer("Fine."), sse(*text("Once upon ", "a time"), STALL), answer("there was."))
    with Chat(lab, "-s", "Tell tales.") as seen:
        seen.say("How are you?", "Fine.")
        seen.say("Tell me a tale", "a time")
        seen.process.kill()
        seen.process.wait(10)
    with Chat(lab, "-c") as seen:
        seen.ready()
        assert "> Tell me a tale\nOnce upon a time\n" in seen.text
        seen.say("Go on", "there was.")
    assert asked(lab) == [
        ("system", "Tell tales."), ("user", "How are you?"), ("assistant", "Fine."),
        ("user", "Tell me a tale"), ("assistant", "Once upon a time"), ("user", "Go on"),
    ]  # fmt: skip
    assert len(list_conversation_ids()) == 1


def test_continued_chat_shows_the_last_answer_rendered(lab: Lab) -> None:
    items = "".join(f"- item {number}\n" for number in range(100))
    with Conversation.new(model="hosted_vllm/m") as saved:
        saved.add(user("Why **this**?"))
        saved.add(assistant(f"first\n\n{items}- the **last** one"))
    with Chat(lab, "-c") as seen:
        seen.ready()
        assert seen.style("last").bold
        shown = seen.text
        assert "> Why **this**?\n…\n- item 61\n" in shown
        assert "- item 99\n- the last one\n" in shown
    with Chat(lab, "-c", "--plain") as seen:
        seen.ready()
        assert "- the **last** one\n" in seen.text


def test_killed_before_the_first_token(lab: Lab) -> None:
    lab.play(sse(STALL), answer("late"))
    with Chat(lab) as seen:
        seen.say("Hello?")
        until = time.monotonic() + 20
        while not lab.seen:
            assert time.monotonic() < until
            seen.read(0.05)
        seen.process.kill()
        seen.process.wait(10)
    with Chat(lab, "-c", list_conversation_ids()[0][:12]) as seen:
        seen.wait_for("the last message has no answer yet")
        seen.say("/retry", "late")
    assert asked(lab) == [("user", "Hello?")]


def test_conversation_is_locked_by_one_process(lab: Lab) -> None:
    with Chat(lab) as seen:
        seen.say("Hi", "ok")
        seen.ready()
        with Chat(lab, "-c") as second:
            assert second.wait() == 2
            assert "another pipy process has" in second.text


def test_resized_window(lab: Lab) -> None:
    words = " ".join(f"word{number}" for number in range(60))
    lab.play(sse(*text(words), Pause(), *text(" and the end"), finish("stop"), "[DONE]"))
    with Chat(lab) as seen:
        seen.ready()
        seen.send("a rather long line that is typed before the window becomes narrow")
        seen.resize(30, 12)
        seen.wait_for("narrow")
        seen.send("\r")
        seen.wait_for("word3")
        seen.resize(100, 30)
        lab.go()
        seen.wait_for("the end")
        seen.say("more", "ok")
        seen.ready()
        assert "Traceback" not in seen.text
    assert asked(lab, 0)[0][1].endswith("becomes narrow")


def test_model_output_cannot_send_escape_sequences(lab: Lab) -> None:
    evil = "a\x1b[2Jb\x1b]0;title\x07c \u202edlrow"
    lab.play(answer(evil), answer("ok"))
    with Chat(lab) as seen:
        seen.say("Hi", "dlrow")
        seen.say("x", "ok")
        for row in ("a\\x1b[2Jb\\x1b]0;title\\x07c <U+202E>dlrow", "> Hi"):
            assert row in seen.text
    with Chat(lab, "-c") as seen:
        seen.say("/undo", "removed: x")
        seen.say("/undo", "removed: Hi")
        assert "\u202e" not in seen.text


def test_slash_commands(lab: Lab, tmp_path: Path) -> None:
    picture = tmp_path / "a picture.gif"
    picture.write_bytes(b"GIF89a" + bytes(20))
    lab.play(answer("A dot."), answer("Hmm."))
    with Chat(lab) as seen:
        seen.say(f"/attach {picture}", "will be sent with your next message")
        seen.say("/attach /no/such.gif", "No such file")
        seen.say("/thinking deep", "choose off, minimal")
        seen.say("/thinking low", "\nlow\n")
        seen.say("/system Be brief.", "\nBe brief.\n")
        seen.say("What is it?", "A dot.")
        seen.say("/attach", "nothing is attached")
        seen.say("/system -", "no system prompt")
        seen.say("/fnord", "unknown command /fnord; /help lists them")
        seen.say("/svae x", "did you mean /save?")
        seen.say(f"/save {tmp_path}/talk.md", "saved to")
        seen.say(f"/save {tmp_path}/talk.json", "talk.json\n")
        seen.say("/save /no/where/x", "/no/where/x: No such file")
        seen.say(f"/save {tmp_path}/talk.docx", "'.docx'; use .md")
        seen.say(f"/save {tmp_path}/talk.db", "talk.db\n")
        seen.say("/new", "a new conversation")
        seen.say("/etc/hosts is what?", "Hmm.")
        seen.say("/exit")
        assert seen.wait() == 0
    (system, (_, content)) = asked(lab, 0)
    assert system == ("system", "Be brief.")
    assert [part["type"] for part in content] == ["text", "image_url"]
    assert asked(lab) == [("user", "/etc/hosts is what?")]
    markdown = (tmp_path / "talk.md").read_text()
    assert markdown.startswith("## You\n\nWhat is it?\n\n![image](talk_files/image-")
    assert json.loads((tmp_path / "talk.json").read_text())["messages"][1]["role"] == "assistant"
    assert len(list_conversation_ids()) == 2


TOOLS = """
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

def wait() -> str:
    "Wait."
    import pathlib, time
    pathlib.Path(__file__).with_name("waiting").touch()
    time.sleep(60)
    return "late"
"""


def calling(name: str, arguments: str) -> list[Any]:
    return chat(call(0, f"call_{name}", name, arguments), finish("tool_calls"), usage(10, 5))


def test_approved_tools_are_called(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TOOLS)
    add = calling("add", '{"a": 2, "b": 3}')
    lab.play(add, answer("It is 5."), add, answer("Well then."), add, answer("Again 5."), add)
    with Chat(lab, "--tool", f"{tmp_path}/mine.py:add") as seen:
        seen.say("/tools", "add  Add two numbers.")
        seen.say("2 + 3?", "Run add?")
        assert 'add({"a": 2, "b": 3})' in seen.text
        seen.send("y\r")
        seen.wait_for("It is 5.")
        seen.say("Once more")
        seen.asked("Run add?")
        seen.send("n\r")
        seen.wait_for("Well then.")
        seen.say("And?")
        seen.asked("Run add?")
        seen.send("a\r")
        seen.wait_for("Again 5.")
        seen.say("Last")
        seen.wait_for("ok")
    tool = [body["content"] for body in lab.seen[-1].json["messages"] if body["role"] == "tool"]
    assert tool[0] == "5"
    assert "not allow" in tool[1]
    assert tool[2:] == ["5", "5"]
    kept = Conversation.read()
    assert [m.role for m in kept.messages[:4]] == ["user", "assistant", "toolResult", "assistant"]
    with Chat(lab, "-c") as seen:
        seen.wait_for("this conversation used tools; to use them again: --tool")


def test_what_was_typed_before_the_question_approves_no_tool(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TOOLS)
    add = call(0, "call_add", "add", '{"a": 2, "b": 3}')
    lab.play(sse(*text("wait "), Pause(), add, finish("tool_calls"), "[DONE]"), answer("No."))
    with Chat(lab, "--plain", "--tool", f"{tmp_path}/mine.py:add") as seen:
        seen.say("2 + 3?", "\nwait")
        seen.send("y\ra\r")
        seen.wait_for("wait y\na")
        lab.go()
        seen.asked("Run add?")
        seen.send("\r")
        seen.wait_for("No.")
    [result] = [body["content"] for body in lab.seen[-1].json["messages"] if body["role"] == "tool"]
    assert "not allow" in result


def test_ctrl_c_stops_a_tool_and_its_approval_prompt(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TOOLS)
    lab.play(calling("wait", "{}"), calling("wait", "{}"), answer("Fine."))
    with Chat(lab, "--tool", f"{tmp_path}/mine.py:wait") as seen:
        seen.say("Wait", "Run wait?")
        seen.interrupt()
        seen.wait_for("stopped")
        seen.say("Wait again")
        seen.asked("Run wait?")
        seen.send("y\r")
        while not (tmp_path / "waiting").exists():
            seen.read(0.1)
        seen.interrupt()
        seen.say("Enough", "Fine.")
    results = [body for body in lab.seen[-1].json["messages"] if body["role"] == "tool"]
    assert len(results) == 2  # each call has one, as providers want it


def test_commands_and_models_are_completed(lab: Lab) -> None:
    with Chat(lab) as seen:
        seen.ready()
        seen.send("/mod")
        seen.wait_for("switch to another one")
        seen.send("\t")
        seen.wait_for("> /model")
        seen.send(" sonnet anthropic/ 4-6")
        seen.wait_for(" anthropic/claude-sonnet-4-6")
        seen.send("\t")
        seen.wait_for("> /model anthropic/claude-sonnet-4-6")
        seen.interrupt()
        seen.send("/u")
        seen.wait_for("remove your last message")


def test_nothing_is_saved_with_no_save(lab: Lab) -> None:
    lab.play(answer("Once."), answer("Twice."))
    with Chat(lab, "--no-save") as seen:
        seen.say("Hi", "Once.")
        seen.say("/new", "a new conversation")
        seen.say("Hi", "Twice.")
        seen.say("/exit")
        seen.wait()
    assert not any(Path(os.environ["PIPY_DATA_DIR"]).glob("[hc]*"))


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"LC_ALL": "C", "PYTHONIOENCODING": "cp1252"}])
def test_limited_terminals(lab: Lab, env: dict[str, str]) -> None:
    lab.play(answer("Zürich → 東京"))
    with Chat(lab, env=env) as seen:
        seen.say("Grüezi", "rich")
        seen.say("/exit")
        assert seen.wait() == 0
        assert "Traceback" not in seen.text


def test_bare_words_are_not_sent(lab: Lab) -> None:
    lab.play(answer("Two."))
    with Chat(lab) as seen:
        seen.say("?", "/undo")
        seen.wait_for("at the start of a line: send a / as text")
        seen.say(" exit", "Two.")  # a blank before it makes it text
        seen.say("QUIT")
        assert seen.wait() == 0
    assert asked(lab) == [("user", " exit")]


@pytest.mark.parametrize("word", ["exit", "quit", "/exit", "/quit"])
def test_leaving_says_how_to_continue(lab: Lab, word: str) -> None:
    lab.play(answer("One."))
    with Chat(lab) as seen:
        seen.say("Hi", "One.")
        seen.say(word)
        assert seen.wait() == 0
        [conversation_id] = list_conversation_ids()
        assert f"continue with: pipy chat -c {conversation_id}" in " ".join(seen.text.split())
    for options in (["--no-save"], ["--quiet"]):
        lab.play(answer("One."))
        with Chat(lab, *options) as seen:
            seen.say("Hi", "One.")
            seen.say(word)
            assert seen.wait() == 0
            assert "continue with" not in seen.text


def test_leaving_an_empty_chat_says_nothing(lab: Lab) -> None:
    with Chat(lab) as seen:
        seen.say("exit")
        assert seen.wait() == 0
        assert "continue" not in seen.text


def test_copy_sends_the_answer_to_the_clipboard(lab: Lab) -> None:
    lab.play(answer("Use this:\n\n```py\nprint('ü')\n```\n"), answer("x" * 80_000))
    with Chat(lab, "--plain") as seen:
        seen.say("/copy", "there is no answer to copy")
        seen.say("How?", "print")
        seen.say("/copy", "characters to the terminal's clipboard")
        seen.say("/copy code", "sent 11 characters")
        seen.say("/copy x", "/copy code its last code block")
        seen.say("More", "xxx")
        seen.say("/copy", "too many for the clipboard")
        seen.say("/copy code", "there is no code to copy")
        seen.say("exit")
        assert seen.wait() == 0
    copied = [
        base64.b64decode(text).decode() for text in re.findall(rb"\x1b\]52;c;(.*?)\x07", seen.raw)
    ]
    assert copied == ["Use this:\n\n```py\nprint('ü')\n```\n", "print('ü')\n"]


def test_copy_on_a_dumb_terminal(lab: Lab) -> None:
    lab.play(answer("One."))
    with Chat(lab, env={"TERM": "dumb"}) as seen:
        seen.say("Hi", "One.")
        seen.say("/copy", "this terminal has no clipboard; /save FILE")
        seen.say("exit")
        assert seen.wait() == 0
        assert b"\x1b" not in seen.raw


def test_clear_begins_a_new_conversation_on_a_clear_screen(lab: Lab) -> None:
    lab.play(answer("One."), answer("Two."))
    with Chat(lab) as seen:
        seen.say("Hi", "One.")
        seen.ready()
        [first_id] = list_conversation_ids()
        seen.say("/clear", f"pipy chat -c {first_id} continues the previous one")
        assert "One." not in "\n".join(seen.screen)
        seen.say("Ho", "Two.")
        seen.say("exit")
        assert seen.wait() == 0
    assert asked(lab) == [("user", "Ho")]


def test_context_fill(lab: Lab) -> None:
    small, large = usage(30, 5), usage(899_999, 1)  # of 1,000,000 tokens
    lab.play(*(chat(text("Yes."), finish("stop"), tokens) for tokens in (small, large)))
    arguments = ["-m", "deepseek/deepseek-chat", "--api-base", lab.url]
    with Terminal("-m", "pipy_ai", "chat", *arguments, env={"DEEPSEEK_API_KEY": "k"}) as seen:
        seen.wait_for("quit.\n>")
        seen.send("Hi\r")
        seen.wait_for("context under 1 % full\n")
        seen.send("Hi\r")
        seen.wait_for("context 90 % full\n")
        assert seen.style("context 90 %").fg == "brown"  # pyte's name of yellow
        seen.send("exit\r")
        assert seen.wait() == 0
