"""`pipy chat`: a conversation on the terminal.

`Chat` holds the conversation and asks; `slash.py` has its commands, `prompt.py` the line that is
typed into. Without a terminal each line that is read is said, and nothing but answers is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from . import slash
from .catalogue import note
from .conversations import Conversation
from .question import THINKING, wrong
from .show import Printer, show_usage
from .terminal import complain, safe, write

if TYPE_CHECKING:
    from .. import AssistantMessage
    from ..types import UserContent

DESCRIPTION = (
    "Talk with a model. What is said is kept, see pipy history. Type /help for what can be done in"
    " between. Without a terminal, each line of stdin is a message."
)
LAST = 2000  # characters of the last answer that are shown when a conversation goes on


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument(
        "-m", "--model", help="provider/model (default: PIPY_MODEL, else what is set up)"
    )
    command.add_argument("-s", "--system", help="system prompt")
    command.add_argument(
        "--thinking", metavar="LEVEL", choices=THINKING, help=f"one of {', '.join(THINKING)}"
    )
    command.add_argument(
        "-c",
        "--continue",
        dest="id",
        nargs="?",
        const="",
        metavar="ID",
        help="go on with a kept conversation (default: the one used last)",
    )
    command.add_argument("--no-save", action="store_true", help="keep nothing of what is said")
    command.add_argument("--api-base", metavar="URL", help="where the model is")
    command.add_argument("--temperature", type=float, metavar="T")
    command.add_argument("--max-tokens", type=int, metavar="N", help="longest answer, in tokens")
    command.add_argument("--plain", action="store_true", help="print Markdown as it is")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from pydantic import ValidationError

    from .. import default_model

    if arguments.id is not None and arguments.no_save:
        raise ValueError("--continue adds to a kept conversation; leave --no-save out")
    with contextlib.ExitStack() as stack:
        if arguments.id is None:
            conversation = Conversation.new(keep=not arguments.no_save)
        else:
            conversation = Conversation.open(arguments.id or None)
        chat = Chat(conversation, arguments)
        stack.callback(lambda: chat.conversation.close())
        try:
            chat.use(arguments.model or conversation.model or default_model())
        except ValidationError as error:
            return wrong(error)
        except LookupError as error:
            raise ValueError(str(error)) from None
        for name in ("system", "thinking"):
            if getattr(arguments, name) is not None:
                conversation.set(**{name: getattr(arguments, name)})
        if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
            _on_terminal(chat, keep=not arguments.no_save)
            return 0
        for line in _lines():
            if not chat.hear(line):
                break
        return 1 if chat.failed else 0


# --- The conversation -----------------------------------------------------------------------


class Chat:
    """A conversation under way: what is typed goes to `hear`."""

    def __init__(self, conversation: Conversation, arguments: argparse.Namespace) -> None:
        self.conversation = conversation
        self.attached: list[tuple[str, UserContent]] = []  # to go with the next message
        self.failed = False  # whether a request or a command did
        self._given = arguments
        self._home: str | None = None  # the provider that `api_base` belongs to
        self._told: set[str] = set()  # warnings

    def hear(self, text: str) -> bool:
        """What was typed: a command, or a message to answer. False: the user leaves."""
        if not text.strip():
            return True
        try:
            if slash.is_command(text):
                return slash.run(self, text)
            self.say(text)
        except (ValueError, LookupError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            self.fail(str(error))
        return True

    def fail(self, text: str) -> None:
        """Tell what went wrong; the chat goes on."""
        self.failed = True
        complain(text)

    def use(self, model: str) -> None:
        """Go on with this model.

        Raises:
            ValueError: there is none of this name.
        """
        from ..api import build_request

        home = model.partition("/")[0]
        if self._home is None:
            self._home = home
        request = build_request(model, "?", None, self._options(model))
        if self._given.api_base and home != self._home:
            note(f"--api-base is {self._home}'s; {safe(home)} is asked where it usually is")
        for warning in request.warnings:
            self._warn(warning.message)
        if model != self.conversation.model:
            self.conversation.set(model=model)

    def begin(self) -> None:
        """A new conversation, with the same settings."""
        old = self.conversation
        old.close()
        self.conversation = Conversation.new(model=old.model, system=old.system, keep=old.keep)
        if old.thinking:
            self.conversation.set(thinking=old.thinking)

    def say(self, text: str) -> None:
        """Say something, and show the answer."""
        from .. import user

        parts = [part for _, part in self.attached]
        self.conversation.add(user(text, *parts))
        self.attached = []
        self.answer()

    def answer(self) -> None:
        """Ask for an answer to what was said, and show it as it comes. Ctrl-C stops it."""
        from .. import stream

        conversation = self.conversation
        model = conversation.model or ""
        answers: list[AssistantMessage] = []
        try:
            events = stream(model, conversation.context, **self._options(model))
            with _until_ctrl_c(events.abort), Printer(plain=self._given.plain) as printer:
                for event in events:
                    conversation.journal(event)  # before it is seen
                    printer.show(event)
                    if event.type in ("done", "error"):
                        answers.append(event.partial)
        finally:
            conversation.cut()
        self._account(answers)

    def _account(self, answers: list[AssistantMessage]) -> None:
        """What is to be told of answers beside their text."""
        for message in answers:
            for warning in message.warnings:
                self._warn(warning.message)
        last = answers[-1]
        if last.error is not None and last.stop_reason == "aborted":
            note("stopped")
        elif last.error is not None:
            self.fail(last.error.message)
            note("/retry asks again")
        if sys.stdout.isatty() and any(message.usage.total_tokens for message in answers):
            show_usage(*answers)

    def _warn(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            complain(text)

    def _options(self, model: str) -> Any:
        given = self._given
        return {
            "temperature": given.temperature,
            "max_tokens": given.max_tokens,
            "reasoning": self.conversation.thinking,
            "api_base": given.api_base if model.partition("/")[0] == self._home else None,
        }


@contextlib.contextmanager
def _until_ctrl_c(abort: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C stops the answer; pressed again, what the answer waits for, too."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        abort()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    except KeyboardInterrupt:
        abort()
    finally:
        signal.signal(signal.SIGINT, before)


# --- What is typed --------------------------------------------------------------------------


def _on_terminal(chat: Chat, keep: bool) -> None:
    from .prompt import Prompt

    conversation = chat.conversation
    if conversation.messages:
        _recall(conversation)
    note(f"{conversation.model}  /help: what can be done, Ctrl-D: leave")
    prompt = Prompt(keep)
    while True:
        try:
            text = prompt.read()
        except KeyboardInterrupt:  # the line is cleared
            continue
        except EOFError:
            return
        if not chat.hear(text):
            return


def _recall(conversation: Conversation) -> None:
    """Show where a conversation was left."""
    from .transcript import said

    messages = conversation.messages
    note(f"{conversation.id}: {len(messages)} messages")
    asked = [place for place, message in enumerate(messages) if message.role == "user"]
    for message in messages[asked[-1] if asked else -1 :]:
        text = "\n\n".join(said(message))
        sign = "> " if message.role == "user" else ""
        write(sign + (text if len(text) <= LAST else f"… {text[-LAST:]}") + "\n")
    if messages[-1].role == "user":
        note("there is no answer yet; /retry asks for one")


def _lines() -> Iterator[str]:
    """What is piped in, line by line; one that ends in a backslash goes on in the next."""
    begun: list[str] = []
    for raw in sys.stdin.buffer if sys.stdin is not None else ():
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line.endswith("\\"):
            begun.append(line[:-1])
        else:
            yield "\n".join([*begun, line])
            begun = []
    if begun:
        yield "\n".join(begun)
