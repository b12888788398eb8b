"""`pipy chat`: an interactive conversation.

`session` holds the conversation and sends requests, `commands` runs `/…` commands, `line_editor`
reads input. Without a terminal, each line of stdin is a message, and only answers are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING, Any

from ...utils.text import format_count
from ..args.common import add_quiet_option
from ..args.prompt import (
    add_model_options,
    add_tool_option,
    default_model,
    report_invalid_option,
)
from ..display.printer import supports_markdown
from ..display.status import hide_status
from ..display.terminal import escape_controls, format_error, hint, is_dumb, warn, write_raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ... import Message
    from ..conversations.conversation import Conversation
    from .dumb_line_editor import DumbLineEditor
    from .line_editor import LineEditor
    from .session import Chat

DESCRIPTION = (
    "Start an interactive conversation with a model. It is saved (see pipy history). Type /help for"
    " commands. Without a terminal, each line of stdin is a message."
)
EXAMPLES = """\
pipy chat
pipy chat -m sonnet -s "Answer in one sentence"
pipy chat -c
pipy chat --tool tools.py:search
"""
GUIDE = "chat.md"
WAITS = "starting"
# How much of a message is shown when a conversation is continued: as text, or rendered.
MAX_RECALL_CHARS, MAX_RECALL_LINES = 2000, 40
MAX_RENDERED_RECALL_CHARS = 100_000  # a longer message is not rendered


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model_options(parser.add_argument_group("model"))
    conversation_group = parser.add_argument_group("conversation")
    conversation_group.add_argument(
        "-c",
        "--continue",
        dest="id",
        nargs="?",
        const="",
        metavar="ID",
        help="continue a saved conversation (default: the last one)",
    )
    conversation_group.add_argument(
        "--no-save", action="store_true", help="do not save the conversation (also: PIPY_NO_SAVE=1)"
    )
    tools_group = parser.add_argument_group("tools")
    add_tool_option(tools_group)
    tools_group.add_argument(
        "-y", "--yes", action="store_true", help="run tool calls without confirmation"
    )
    output_group = parser.add_argument_group("output")
    output_group.add_argument("--plain", action="store_true", help="do not render Markdown")
    add_quiet_option(output_group)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from pydantic import ValidationError

    from ..args.conversation import saving_enabled
    from ..conversations.conversation import Conversation
    from .session import Chat

    keep = saving_enabled(arguments)
    with contextlib.ExitStack() as stack:
        if arguments.id is None:
            conversation = Conversation.new(keep=keep)
        else:
            open_conversation = Conversation.open if keep else Conversation.read
            conversation = open_conversation(arguments.id or None)
        chat = Chat(conversation, arguments)
        stack.callback(lambda: chat.conversation.close())
        stack.callback(chat.stop_servers)
        try:
            chat.switch_model(arguments.model or conversation.model or default_model())
        except ValidationError as error:
            return report_invalid_option(error)
        except LookupError as error:
            raise ValueError(str(error)) from None
        if chat.server_tools:
            from ..args.provider_tools import check_provider_tools

            model, base = conversation.model or "", {"api_base": arguments.api_base}
            has_functions = bool(arguments.tool or arguments.mcp)
            check_provider_tools(chat.server_tools, [model], base, has_functions)
        for name in ("system", "thinking"):
            if getattr(arguments, name) is not None:
                conversation.set(**{name: getattr(arguments, name)})
        if arguments.tool != conversation.tools:
            if conversation.tools:  # run code only if this command line names it
                tool_flags = " ".join(f"--tool {tool}" for tool in conversation.tools)
                warn(f"this conversation used tools; to use them again: {tool_flags}")
            conversation.set(tools=arguments.tool)
        if arguments.mcp:
            chat.start_servers(arguments.mcp)
        hide_status()
        if chat.interactive:
            _run_interactive(chat, keep)
        else:
            for line in _piped_messages():
                if not handle_input(chat, line):
                    break
        chat.conversation.close()
        save_failed = chat.save_failed or chat.conversation.save_failed
        if chat.interactive and chat.is_saved and not save_failed:
            hint(f"continue with: pipy chat -c {chat.conversation.id}")
        return 1 if save_failed or (chat.failed and not chat.interactive) else 0


def handle_input(chat: Chat, text: str) -> bool:
    """Run a command or answer a message. Return False when the user quits."""
    from .commands import is_command, run_command

    if not text.strip():
        return True
    try:
        if is_command(text):
            return run_command(chat, text)
        chat.send(text)
    except (ValueError, LookupError) as error:
        chat.report_failure(str(error))
    except OSError as error:
        if error.filename is None:  # not a file that the user named: stdout may be closed
            raise
        chat.report_failure(format_error(error))
    return True


def _run_interactive(chat: Chat, keep_history: bool) -> None:
    from .interrupt import sigint_handled_by

    conversation = chat.conversation
    if conversation.messages:
        _show_last_exchange(conversation, chat.plain)
    hint(f"Chatting with {conversation.model}. /help for commands, Ctrl-D to quit.")
    editor = _line_editor(keep_history)
    was_busy = True  # the user may have typed before the first prompt
    # At the prompt Ctrl-C is a key; a signal could only arrive while the editor starts or ends.
    with sigint_handled_by(lambda *_: None) as previous_handler:
        while True:
            try:
                edit_typed_ahead, was_busy = was_busy, False
                text = editor.read(edit_typed_ahead=edit_typed_ahead)
                was_busy = bool(text.strip())
                with sigint_handled_by(previous_handler):
                    if not handle_input(chat, text):
                        return
            except KeyboardInterrupt:  # the line is cleared
                continue
            except EOFError:
                return


def _line_editor(keep_history: bool) -> LineEditor | DumbLineEditor:
    if is_dumb():
        from .dumb_line_editor import DumbLineEditor

        return DumbLineEditor()
    from .line_editor import LineEditor

    return LineEditor(keep_history)


def _show_last_exchange(conversation: Conversation, plain: bool) -> None:
    """Print the last messages of a conversation that is continued."""
    messages = conversation.messages
    hint(f"{conversation.id}: {format_count(len(messages), 'message')}")
    user_indexes = [index for index, message in enumerate(messages) if message.role == "user"]
    for message in messages[user_indexes[-1] if user_indexes else -1 :]:
        prefix = "> " if message.role == "user" else ""
        write_raw(f"{prefix}{_recalled(message, plain)}\n")
    if messages[-1].role == "user":
        hint("the last message has no answer yet; /retry requests one")


def _recalled(message: Message, plain: bool) -> str:
    """Return the end of a message: rendered, or as text if it is long or must not be rendered."""
    from ..conversations.transcript import markdown_parts

    text = "\n\n".join(markdown_parts(message))
    if plain or not supports_markdown() or len(text) > MAX_RENDERED_RECALL_CHARS:
        text = text if len(text) <= MAX_RECALL_CHARS else f"… {text[-MAX_RECALL_CHARS:]}"
        return escape_controls(text)
    from ..conversations.screen import format_message

    lines = "\n\n".join(format_message(message)).split("\n")
    if len(lines) > MAX_RECALL_LINES:
        lines = ["…", *lines[-MAX_RECALL_LINES:]]
    return "\n".join(lines)


def _piped_messages() -> Iterator[str]:
    """Yield the lines of stdin; a backslash at the end of a line continues it in the next one."""
    if sys.stdin is None:
        return
    import io

    from ...utils.encoding import MARK_BYTES, detect_encoding

    stdin: Any = sys.stdin.buffer
    encoding = detect_encoding(stdin.peek(MARK_BYTES)[:MARK_BYTES])
    continued: list[str] = []
    for raw_line in io.TextIOWrapper(stdin, encoding, "replace"):
        line = raw_line.rstrip("\n")
        if line.endswith("\\"):
            continued.append(line[:-1])
        else:
            yield "\n".join([*continued, line])
            continued = []
    if continued:
        yield "\n".join(continued)
