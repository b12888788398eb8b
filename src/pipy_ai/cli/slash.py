"""What can be done in a chat beside talking: `/model`, `/undo`, …

A command is a function of the chat and of what follows the command's name; `COMMANDS` lists them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from .question import THINKING
from .terminal import folded, safe, write

if TYPE_CHECKING:
    from .chat import Chat

Command: TypeAlias = "Callable[[Chat, str], None]"

_NAME = re.compile(r"/[a-z]*", re.IGNORECASE)


def is_command(text: str) -> bool:
    """Whether a command is meant. A path, or a line that begins with a blank, is text."""
    return not text[0].isspace() and _NAME.fullmatch(text.split(None, 1)[0]) is not None


def run(chat: Chat, text: str) -> bool:
    """Carry out a command; False: the user leaves.

    Raises:
        ValueError: there is no such command, or it cannot do this.
    """
    name, rest = [*text.split(None, 1), ""][:2]
    name = name.lower()
    if name == "/exit":
        return False
    if name not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(name, COMMANDS, 1)
        help = f"did you mean {near[0]}?" if near else "/help lists them"
        raise ValueError(f"there is no command {name}; {help}")
    COMMANDS[name][2](chat, rest.strip())
    return True


# --- The commands ---------------------------------------------------------------------------


def _say(text: str) -> None:
    write(folded(safe(f"{text}\n"), sys.stdout))


def _model(chat: Chat, name: str) -> None:
    if name:
        chat.use(name)
    _say(chat.conversation.model or "")


def _system(chat: Chat, text: str) -> None:
    if text:
        chat.conversation.set(system=None if text == "-" else text)
    _say(chat.conversation.system or "no system prompt")


def _thinking(chat: Chat, level: str) -> None:
    if level:
        if level not in THINKING:
            raise ValueError(f"{level!r} is no level; one of {', '.join(THINKING)}")
        chat.conversation.set(thinking=level)
    _say(chat.conversation.thinking or "as the model does it by itself")


def _attach(chat: Chat, source: str) -> None:
    import os

    from . import attached

    if source:
        quoted = len(source) > 1 and source[0] == source[-1] and source[0] in "'\""
        source = os.path.expanduser(source[1:-1] if quoted else source)
        if source == attached.STDIN:
            raise ValueError("which file? /attach photo.jpg")
        parts = attached.parts([source])
        attached.check(parts, [chat.conversation.model or ""], {})
        chat.attached += [(source, part) for part in parts]
    for name, part in chat.attached:
        kind = "text" if part.type == "text" else part.mime_type or part.type
        _say(f"{name} ({kind}) goes with your next message")
    if not chat.attached:
        _say("nothing is attached")


def _tools(chat: Chat, _: str) -> None:
    from ..tools import as_tools

    for tool in as_tools(chat.tools):
        _say(f"{tool.name}  {' '.join(tool.description.split())}".rstrip())
    if not chat.tools:
        _say("none; pipy chat --tool module:function gives the model one")


def _cost(chat: Chat, _: str) -> None:
    from .conversations import plain
    from .sums import Sum

    total = Sum()
    for answer in chat.conversation.answers:
        total.add(plain(answer))
    cached = f" ({total.cached:,} cached)" if total.cached else ""
    tokens = f"{total.input:,} in{cached} / {total.output:,} out"
    answers = f"{total.answers} answer{'' if total.answers == 1 else 's'}"
    _say(f"{answers}  {tokens}  cost {total.told_cost()}")


def _save(chat: Chat, path: str) -> None:
    from .transcript import format_of, save, transcript

    if not path:
        raise ValueError("where to? /save talk.md, or .json, .jsonl")
    save(path, transcript(chat.conversation, format_of(path)))
    _say(f"saved to {path}")


def _undo(chat: Chat, _: str) -> None:
    from .transcript import said

    undone = chat.conversation.undo()
    if undone is None:
        raise ValueError("there is nothing to take back")
    line = " ".join("\n".join(said(undone)).split())
    _say(f"taken back: {line if len(line) <= 60 else line[:59] + '…'}")


def _retry(chat: Chat, _: str) -> None:
    if chat.conversation.undo(answer_only=True) is None:
        raise ValueError("there is nothing to answer yet")
    chat.answer()


def _new(chat: Chat, _: str) -> None:
    chat.begin()
    _say("a new conversation")


def _help(chat: Chat, _: str) -> None:
    width = max(len(f"{name} {takes}") for name, (takes, _, _) in COMMANDS.items())
    for name, (takes, what, _run) in COMMANDS.items():
        _say(f"{f'{name} {takes}'.ljust(width)}  {what}")
    _say(
        "Alt-Enter, or a \\ at the end of a line: another line. Ctrl-C: stop the answer, clear the"
        " line. Ctrl-D: leave. A blank before a / makes it text."
    )


def _exit(chat: Chat, _: str) -> None:
    raise AssertionError("run() leaves")


# Each with what it takes and what it does.
COMMANDS: dict[str, tuple[str, str, Command]] = {
    "/model": ("[NAME]", "show the model, or go on with another one", _model),
    "/system": ("[TEXT]", "show or change the system prompt; - for none", _system),
    "/thinking": ("[LEVEL]", f"how much to think, from {THINKING[0]} to {THINKING[-1]}", _thinking),
    "/attach": (
        "[FILE]",
        "show a file or URL with the next message",
        _attach,
    ),
    "/tools": ("", "the functions that the model may call", _tools),
    "/cost": ("", "tokens and cost of the conversation", _cost),
    "/save": ("FILE", "write the conversation to FILE: .md, .json or .jsonl", _save),
    "/undo": ("", "take back your last message and its answer", _undo),
    "/retry": ("", "ask again for the last answer", _retry),
    "/new": ("", "begin a new conversation; the old one is kept", _new),
    "/help": ("", "this list", _help),
    "/exit": ("", "leave", _exit),
}
