"""The `/…` commands of a chat: `/model`, `/undo`, …

Each is a function of the chat and the text after the command's name; `COMMANDS` lists them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from ...utils.text import format_count, suggest
from ..args.prompt import THINKING_LEVELS
from ..display.terminal import escape_controls, is_dumb, wrap, write, write_raw
from ..display.usage import format_tokens

if TYPE_CHECKING:
    from .session import Chat

CommandHandler: TypeAlias = "Callable[[Chat, str], None]"

_COMMAND_NAME = re.compile(r"/[a-z]*", re.IGNORECASE)
ALIASES = {"/quit": "/exit", "/?": "/help"}
# Words that quit or show help in other programs. They are not sent to the model.
BARE_WORDS = {"exit": "/exit", "quit": "/exit", "?": "/help", "/?": "/help"}


def is_command(text: str) -> bool:
    """Return whether the text is a command, or `exit`, `quit` or `?` alone.

    A path, or a line that begins with a space, is text.
    """
    if text.rstrip().lower() in BARE_WORDS:
        return True
    return not text[0].isspace() and _COMMAND_NAME.fullmatch(text.split(None, 1)[0]) is not None


def run_command(chat: Chat, text: str) -> bool:
    """Run a command. Return False if the user quits.

    Raises:
        ValueError: The command is unknown or its argument is invalid.
    """
    name, rest = [*text.split(None, 1), ""][:2]
    name = name.lower()
    name = BARE_WORDS.get(name, ALIASES.get(name, name))
    if name == "/exit":
        return False
    if name not in COMMANDS:
        advice = suggest(name, COMMANDS) or "/help lists them"
        raise ValueError(f"unknown command {name}; {advice}")
    COMMANDS[name][2](chat, rest.strip())
    return True


def _print(text: str) -> None:
    write(wrap(escape_controls(f"{text}\n"), sys.stdout))


def _model(chat: Chat, name: str) -> None:
    if name:
        chat.switch_model(name)
    _print(chat.conversation.model or "")


def _system(chat: Chat, text: str) -> None:
    if text:
        chat.conversation.set(system=None if text == "-" else text)
    _print(chat.conversation.system or "no system prompt")


def _thinking(chat: Chat, level: str) -> None:
    if level:
        if level not in THINKING_LEVELS:
            raise ValueError(
                f"{level!r} is not a thinking level; choose {', '.join(THINKING_LEVELS)}"
            )
        chat.conversation.set(thinking=level)
    _print(chat.conversation.thinking or "the model's default")


def _attach(chat: Chat, source: str) -> None:
    import os

    from ..args.attachments import STDIN, check_supported, read_attachments

    if source:
        is_quoted = len(source) > 1 and source[0] == source[-1] and source[0] in "'\""
        source = os.path.expanduser(source[1:-1] if is_quoted else source)
        if source == STDIN:
            raise ValueError("name a file: /attach photo.jpg")
        parts = read_attachments([source])
        check_supported(parts, [chat.conversation.model or ""], {})
        chat.attachments += [(source, part) for part in parts]
    for name, part in chat.attachments:
        kind = "text" if part.type == "text" else part.mime_type or part.type
        _print(f"{name} ({kind}) will be sent with your next message")
    if not chat.attachments:
        _print("nothing is attached")


def _tools(chat: Chat, _: str) -> None:
    from ...tools import as_tools

    tools = [*chat.server_tools, *as_tools(chat.tools)]
    for tool in tools:
        description = getattr(tool, "description", "run by the provider")
        _print(f"{tool.name}  {' '.join(description.split())}".rstrip())
    if not tools:
        _print("no tools; pipy chat --tool module:function adds one")


def _mcp(chat: Chat, server: str) -> None:
    if server == "-":
        chat.stop_servers()
    elif server:
        chat.start_servers([server])
    for tools in chat.mcp_tools:
        for name in tools.servers:
            names = [tool for tool in tools.names if tools.server_of(tool) == name]
            _print(f"{name}: {', '.join(names) or 'no tools'}")
    if not chat.mcp_tools:
        _print("no MCP servers; to start one: /mcp uvx mcp-server-time")


def _cost(chat: Chat, _: str) -> None:
    from ...usage import UsageTotals
    from ..conversations.messages import dump_message

    total = UsageTotals()
    for answer in chat.conversation.answers:
        total.add_json(dump_message(answer))
    failed = sum(answer.stop_reason == "error" for answer in chat.conversation.answers)
    requests = format_count(total.requests, "request") + (f" ({failed:,} failed)" if failed else "")
    tokens = format_tokens(total.input, total.output, total.cached)
    _print(f"{requests}  {tokens}  cost {total.cost}")


def _copy(chat: Chat, what: str) -> None:
    from ..display.clipboard import copy_to_clipboard

    answers = chat.conversation.answers
    text = answers[-1].text if answers else ""
    if what not in ("", "code"):
        raise ValueError("/copy copies the last answer, /copy code its last code block")
    if what:
        from ..display.code_blocks import extract_code_blocks

        text = "".join(extract_code_blocks(text)[-1:])
    if not text:
        raise ValueError(f"there is no {'code' if what else 'answer'} to copy")
    copy_to_clipboard(text)
    _print(
        f"sent {format_count(len(text), 'character')} to the terminal's clipboard;"
        " if it does not accept them, use /save FILE"
    )


def _save(chat: Chat, path: str) -> None:
    from ..conversations.transcript import export_conversations, format_for_path

    if not path:
        raise ValueError("name a file: /save talk.md (or .html, .json, .jsonl, .db)")
    export_conversations(path, [chat.conversation], format_for_path(path))
    _print(f"saved to {path}")


def _undo(chat: Chat, _: str) -> None:
    from ..conversations.transcript import markdown_parts

    removed = chat.conversation.undo()
    if removed is None:
        raise ValueError("there is nothing to undo")
    line = " ".join("\n".join(markdown_parts(removed)).split())
    _print(f"removed: {line if len(line) <= 60 else line[:59] + '…'}")


def _retry(chat: Chat, _: str) -> None:
    if chat.conversation.undo(answer_only=True) is None:
        raise ValueError("there is nothing to retry yet")
    chat.request_answer(cache=False)  # another answer is wanted


def _new(chat: Chat, _: str) -> None:
    chat.start_new()
    _print("a new conversation")


def _clear(chat: Chat, _: str) -> None:
    previous_id = chat.conversation.id if chat.is_saved else ""
    if sys.stdout.isatty() and not is_dumb():
        write_raw("\x1b[H\x1b[2J")
    _new(chat, "")
    if previous_id:
        _print(f"pipy chat -c {previous_id} continues the previous one")


def _help(chat: Chat, _: str) -> None:
    rows = [(f"{name} {usage}", summary) for name, (usage, summary, _) in COMMANDS.items()]
    rows += KEYS
    width = max(len(name) for name, _ in rows)
    for name, summary in rows:
        line = f"{name.ljust(width)}  {summary}\n"
        write(wrap(escape_controls(line), sys.stdout, indent=width + 2))


def _exit(chat: Chat, _: str) -> None:
    raise AssertionError("run() leaves")


KEYS = [
    ("Alt-Enter", "start a new line (also: \\ at the end of a line)"),
    ("Ctrl-C", "stop the answer, or clear the line"),
    ("Ctrl-D", "quit"),
    ("Space", "at the start of a line: send a / as text"),
]
# Each command with its usage and summary, as /help shows them.
COMMANDS: dict[str, tuple[str, str, CommandHandler]] = {
    "/model": ("[NAME]", "show the model, or switch to another one", _model),
    "/system": ("[TEXT]", "show or set the system prompt; - removes it", _system),
    "/thinking": (
        "[LEVEL]",
        f"show or set the thinking level, from {THINKING_LEVELS[0]} to {THINKING_LEVELS[-1]}",
        _thinking,
    ),
    "/attach": (
        "[FILE]",
        "attach a file or URL to the next message",
        _attach,
    ),
    "/tools": ("", "list the tools that the model can use", _tools),
    "/mcp": (
        "[SERVER]",
        "list the MCP servers, or start one: a command, URL or mcp.json; - stops all",
        _mcp,
    ),
    "/cost": ("", "tokens and cost of the conversation", _cost),
    "/copy": ("[code]", "copy the last answer, or its last code block", _copy),
    "/save": ("FILE", "save the conversation to FILE: .md, .html, .json, .jsonl or .db", _save),
    "/undo": ("", "remove your last message and its answer", _undo),
    "/retry": ("", "request the last answer again", _retry),
    "/new": ("", "start a new conversation; the old one stays saved", _new),
    "/clear": ("", "clear the screen and start a new conversation", _clear),
    "/help": ("", "list the commands and keys (also: ?)", _help),
    "/exit": ("", "quit (also: exit, quit)", _exit),
}
