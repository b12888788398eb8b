"""`pipy chat`: a conversation on the terminal.

`Chat` holds the conversation and asks; `slash.py` has its commands, `prompt.py` the line that is
typed into. Without a terminal each line that is read is said, and nothing but answers is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from . import question, slash
from .conversations import SETTINGS, Conversation, wanted
from .show import Printer, show_usage
from .terminal import complain, note, worded, write
from .tools import Approval, function

if TYPE_CHECKING:
    from typing import Self

    from .. import AssistantMessage
    from ..types import UserContent

DESCRIPTION = (
    "Talk with a model. What is said is kept, see pipy history. Type /help for what can be done in"
    " between. Without a terminal, each line of stdin is a message."
)
LAST = 2000  # characters of the last answer that are shown when a conversation goes on


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    question.how(command)
    command.add_argument(
        "-c",
        "--continue",
        dest="id",
        nargs="?",
        const="",
        metavar="ID",
        help="go on with a kept conversation (default: the one used last)",
    )
    command.add_argument(
        "--no-save", action="store_true", help="keep nothing of what is said (also: PIPY_NO_SAVE=1)"
    )
    command.add_argument(
        "--tool",
        action="append",
        default=[],
        metavar="FUNCTION",
        help="let the model call module:function or file.py:function (repeatable)",
    )
    command.add_argument("-y", "--yes", action="store_true", help="run tools without asking")
    command.add_argument("--plain", action="store_true", help="print Markdown as it is")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from pydantic import ValidationError

    keep = wanted(arguments)
    with contextlib.ExitStack() as stack:
        if arguments.id is None:
            conversation = Conversation.new(keep=keep)
        else:
            get = Conversation.open if keep else Conversation.read
            conversation = get(arguments.id or None)
        chat = Chat(conversation, arguments)
        stack.callback(lambda: chat.conversation.close())
        try:
            chat.use(arguments.model or conversation.model or question.usual())
        except ValidationError as error:
            return question.wrong(error)
        except LookupError as error:
            raise ValueError(str(error)) from None
        for name in ("system", "thinking"):
            if getattr(arguments, name) is not None:
                conversation.set(**{name: getattr(arguments, name)})
        if arguments.tool != conversation.tools:
            if conversation.tools:  # code runs only when it is named
                again = " ".join(f"--tool {tool}" for tool in conversation.tools)
                complain(f"it had tools; to have them again: {again}")
            conversation.set(tools=arguments.tool)
        if chat.typed:
            _on_terminal(chat, keep)
            return 0
        for line in _lines():
            if not chat.hear(line):
                break
        return 1 if chat.failed else 0


# --- The conversation -----------------------------------------------------------------------


class Chat:
    """A conversation under way: what is typed goes to `hear`."""

    def __init__(self, conversation: Conversation, arguments: argparse.Namespace) -> None:
        self.conversation: Conversation = conversation
        self.attached: list[tuple[str, UserContent]] = []  # to go with the next message
        self.typed: bool = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
        self.tools: list[Any] = [function(spec) for spec in arguments.tool]
        self.failed: bool = False  # whether a request or a command did
        self._given = arguments
        self._how = question.options(arguments)
        self._approval = Approval(arguments.yes)
        self._home: str | None = None  # the provider that `api_base` belongs to
        if self._how["api_base"] is None and conversation.api_base:
            self._how["api_base"] = conversation.api_base
            self._home = (conversation.model or "").partition("/")[0]
        self._told: set[str] = set()  # warnings

    def hear(self, text: str) -> bool:
        """What was typed: a command, or a message to answer. False: the user leaves."""
        if not text.strip():
            return True
        try:
            if slash.is_command(text):
                return slash.run(self, text)
            self.say(text)
        except (ValueError, LookupError) as error:
            self.fail(str(error))
        except OSError as error:
            if error.filename is None:  # not a file that was named: nobody reads any more, say
                raise
            self.fail(worded(error))
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
        from .named import named

        model = named(model)
        home = model.partition("/")[0]
        if self._home is None:
            self._home = home
        request = build_request(model, "?", None, self._options(model))
        if self._how["api_base"] and home != self._home:
            note(f"--api-base is {self._home}'s; {home} is asked where it usually is")
        for warning in request.warnings:
            self._warn(warning.message)
        self.conversation.set(model=model, api_base=self._options(model)["api_base"])

    def begin(self) -> None:
        """A new conversation, with the same settings."""
        old = self.conversation
        old.close()
        settings = {name: getattr(old, name) for name in SETTINGS}
        self.conversation = Conversation.new(keep=old.keep, **settings)

    def say(self, text: str) -> None:
        """Say something, and show the answer."""
        from .. import user

        parts = [part for _, part in self.attached]
        self.conversation.add(user(text, *parts))
        self.attached = []
        self.answer()

    def answer(self) -> None:
        """Ask for an answer to what was said, and show it as it comes. Ctrl-C stops it."""
        from .. import run_tools, stream

        conversation = self.conversation
        model = conversation.model or ""
        context, how = conversation.context, self._options(model)
        events: Any
        if self.tools:
            events = run_tools(model, context, self.tools, approve=self._approval, **how)
        else:
            events = stream(model, context, **how)
        printer = Printer(plain=self._given.plain, calls=not (self.tools and self._approval.asks))
        ctrl_c = _CtrlC(events.abort, self.typed)
        answers: list[AssistantMessage] = []
        try:
            with events, ctrl_c, printer:
                for event in events:
                    conversation.journal(event)  # before it is seen
                    printer.show(event)
                    if event.type == "done" or event.type == "error":
                        answers.append(event.partial)
                    ctrl_c.hear(event)
        finally:
            conversation.cut()
        self._account(answers, ctrl_c.pressed)

    def _account(self, answers: list[AssistantMessage], stopped: bool) -> None:
        """What is to be told of answers beside their text."""
        for message in answers:
            for warning in message.warnings:
                self._warn(warning.message)
        error = answers[-1].error if answers else None
        if stopped:
            note("stopped")
        elif error is not None:
            self.fail(error.message)
            note("/retry asks again")
        if sys.stdout.isatty() and any(message.usage.total_tokens for message in answers):
            show_usage(*answers)

    def _warn(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            complain(text)

    def _options(self, model: str) -> Any:
        how = {**self._how, "reasoning": self.conversation.thinking}
        if model.partition("/")[0] != self._home:
            how["api_base"] = None
        return how


class _CtrlC:
    """Ctrl-C stops an answer in good order; tools, and the question about one, at once.

    Where it is not `wanted` for that, it ends the command, as ever.
    """

    def __init__(self, abort: Callable[[], None], wanted: bool) -> None:
        self._abort = abort
        self._wanted = wanted
        self.pressed = False

    def hear(self, event: Any) -> None:
        """What the answer is at."""
        if self._wanted and event.type == "start":
            signal.signal(signal.SIGINT, self._stop)
        elif self._wanted and event.type == "done":  # tools run next, if anything does
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _stop(self, *_: object) -> None:
        self.pressed = True
        self._abort()

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        if self._wanted:
            signal.signal(signal.SIGINT, self._stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if not self._wanted:
            return False
        signal.signal(signal.SIGINT, self._before)
        self.pressed = self.pressed or kind is KeyboardInterrupt
        return kind is KeyboardInterrupt


# --- What is typed --------------------------------------------------------------------------


def _on_terminal(chat: Chat, keep: bool) -> None:
    from .prompt import Prompt

    conversation = chat.conversation
    if conversation.messages:
        _recall(conversation)
    note(f"{conversation.model}  /help: what can be done, Ctrl-D: leave")
    prompt = Prompt(keep)
    # At the prompt Ctrl-C is a key; a signal could only strike what is not ready yet, or no more.
    with _sigint(lambda *_: None) as usual:
        while True:
            try:
                text = prompt.read()
                with _sigint(usual):
                    if not chat.hear(text):
                        return
            except KeyboardInterrupt:  # the line is cleared
                continue
            except EOFError:
                return


@contextlib.contextmanager
def _sigint(handler: Any) -> Generator[Any, None, None]:
    """Let `handler` have the signal of Ctrl-C; gives who had it before."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield before
    finally:
        signal.signal(signal.SIGINT, before)


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
