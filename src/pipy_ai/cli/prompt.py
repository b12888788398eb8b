"""The line that `pipy chat` is typed into: editing, history, completion. Loads prompt_toolkit."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

from ..utils.paths import data_path
from ..utils.unicode import clean_surrogates
from .question import THINKING
from .slash import COMMANDS

LARGE = 5000  # characters of a paste that stand in the line; of a larger one, only its size
PASTE, PASTE_END = "\x1b[200~", "\x1b[201~"  # what terminals put around it
PASTE_WAIT = 1.0  # seconds for more of it
PIECE = 65536  # bytes that are read at once
SHOWN = 50  # names of models that are offered at once


class Prompt:
    """Reads what the user says. Enter ends it; Alt-Enter, or a backslash before Enter, does not.

    Args:
        keep: Whether what was typed can be had again in later chats, with the up arrow.
    """

    def __init__(self, keep: bool) -> None:
        self._pasted: dict[str, str] = {}
        self._session: PromptSession[str] = PromptSession(
            [("bold", "> ")],
            multiline=True,
            prompt_continuation=_continuation,
            history=_history(keep, self._pasted),
            completer=_Completer(),
            complete_while_typing=Condition(self._is_command),
            key_bindings=self._keys(),
            enable_open_in_editor=True,
            input=_input(),
        )

    def read(self) -> str:
        """What was typed.

        Raises:
            KeyboardInterrupt: Ctrl-C. EOFError: Ctrl-D on an empty line.
        """
        text = self._session.prompt(handle_sigint=False)  # Ctrl-C is a key
        for stands, pasted in self._pasted.items():
            text = text.replace(stands, pasted)
        self._pasted.clear()
        return clean_surrogates(text)

    def _is_command(self) -> bool:
        return self._session.default_buffer.text.startswith("/")

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("enter")
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.document.text_before_cursor.endswith("\\"):
                buffer.delete_before_cursor()
                buffer.insert_text("\n")
            else:
                buffer.validate_and_handle()

        @keys.add(Keys.BracketedPaste)
        def _(event: KeyPressEvent) -> None:
            text = event.data.replace("\r\n", "\n").replace("\r", "\n")
            if len(text) > LARGE:  # to draw it would take minutes
                lines = text.count("\n") + 1
                stands = (
                    f"[pasted {len(self._pasted) + 1}: {len(text):,} characters, {lines:,} lines]"
                )
                self._pasted[stands] = text
                text = stands
            event.current_buffer.insert_text(text)

        return keys


def _input() -> Input:
    """The terminal; what is pasted is taken in at once, not drawn anew with each of its pieces."""
    terminal = create_input()
    reader = getattr(terminal, "stdin_reader", None)  # not on Windows
    if reader is None:
        return terminal
    read = reader.read

    def whole(count: int = PIECE) -> str:
        pieces: list[str] = [read(PIECE)]
        if pieces[0].rfind(PASTE) > pieces[0].rfind(PASTE_END):
            while PASTE_END not in "".join(pieces[-2:]) and not reader.closed:
                if not select.select([terminal.fileno()], [], [], PASTE_WAIT)[0]:
                    break
                pieces.append(read(PIECE))
        return "".join(pieces)

    reader.read = whole
    return terminal


def _continuation(width: int, line: int, wrapped: int) -> StyleAndTextTuples:
    return [("", " " * width)]


def _history(keep: bool, pasted: dict[str, str]) -> History:
    if not keep:
        return InMemoryHistory()
    return _Typed(os.path.join(data_path(), "chat_history"), pasted)


class _Typed(FileHistory):
    """What was typed, in a file that nobody else reads."""

    def __init__(self, path: str, pasted: dict[str, str]) -> None:
        super().__init__(path)
        self._pasted = pasted

    def load_history_strings(self) -> Iterable[str]:
        try:
            return super().load_history_strings()
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        if any(stands in string for stands in self._pasted):
            return  # the words would stand for nothing the next time
        try:
            os.makedirs(data_path(), exist_ok=True)
            os.close(os.open(self.filename, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
            super().store_string(clean_surrogates(string))
        except OSError:  # a disk that is full, say: `conversations` tells it
            pass


class _Completer(Completer):
    """Commands, and what may follow them."""

    def __init__(self) -> None:
        self._paths = PathCompleter(expanduser=True)
        self._models: list[str] | None = None

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        name, blank, rest = document.text_before_cursor.partition(" ")
        if not name.startswith("/"):
            return
        if not blank:
            for command, (takes, what, _) in COMMANDS.items():
                if command.startswith(name.lower()):
                    yield Completion(
                        command, -len(name), display=f"{command} {takes}", display_meta=what
                    )
        elif name in ("/attach", "/save"):
            yield from self._paths.get_completions(Document(rest), complete_event)
        elif name in ("/model", "/thinking"):
            known = self._names() if name == "/model" else THINKING
            fits = [one for one in known if all(word in one for word in rest.lower().split())]
            for one in fits[:SHOWN]:
                yield Completion(one, -len(rest))

    def _names(self) -> list[str]:
        if self._models is None:
            from ..registry import get_registry

            self._models = get_registry().query(chat=True)
        return self._models
