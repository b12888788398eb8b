"""The line editor of `pipy chat`: editing, history, completion. Imports prompt_toolkit."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.input.typeahead import get_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import ColorDepth

from ...utils.atomic import make_private_dir, open_private
from ...utils.paths import data_path
from ...utils.surrogates import clean_surrogates
from ...utils.text import format_count
from ..args.prompt import THINKING_LEVELS
from ..display.terminal import uses_styles
from .commands import COMMANDS

LARGE_PASTE_CHARS = 5000  # a longer paste is shown as a placeholder with its size
PASTE_START, PASTE_END = "\x1b[200~", "\x1b[201~"  # terminals send these around a paste
PASTE_TIMEOUT_S = 1.0  # how long to wait for the rest of a paste
PASTE_PAUSE_S = 0.05  # a longer pause ends what was typed before the prompt
READ_CHUNK_BYTES = 65536
# Lines that arrive at once are pasted. The terminal's report of the cursor may precede them.
UNMARKED_PASTE = re.compile(
    r"((?:\x1b\[\d+;\d+R)*)[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*[^\\\x00-\x1f\x7f][\r\n]+[^\x00-\x1f\x7f]"
)
ESCAPE_SEQUENCE = re.compile("\x1b(?:\\[[0-9;?]*[ -/]*[@-~]|O.|.)?")
MAX_MODEL_COMPLETIONS = 50


class LineEditor:
    """An editor for messages. Enter sends; Alt-Enter, or a backslash and Enter, begins a new line.

    Args:
        keep_history: Save what is typed for the up arrow in later chats.
    """

    def __init__(self, keep_history: bool) -> None:
        self._pastes: dict[str, str] = {}
        self._input = _terminal_input()
        has_styles = uses_styles(sys.stdout)
        self._session: PromptSession[str] = PromptSession(
            [("bold" if has_styles else "", "> ")],
            color_depth=None if has_styles else ColorDepth.DEPTH_1_BIT,
            multiline=True,
            prompt_continuation=_continuation,
            history=_input_history(keep_history, self._pastes),
            completer=_ChatCompleter(),
            complete_while_typing=Condition(self._is_command),
            key_bindings=self._key_bindings(),
            enable_open_in_editor=True,
            input=self._input,
        )

    def read(self, *, edit_typed_ahead: bool) -> str:
        """Read a message.

        Args:
            edit_typed_ahead: Put what was typed before the prompt into it. Otherwise it acts as if
                it were typed now.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
            EOFError: Ctrl-D was pressed on an empty line.
        """
        default = self._typed_ahead() if edit_typed_ahead else ""
        text = self._session.prompt(default=default, handle_sigint=False)  # Ctrl-C is a key
        for placeholder, pasted_text in self._pastes.items():
            text = text.replace(placeholder, pasted_text)
        self._pastes.clear()
        return clean_surrogates(text)

    def _typed_ahead(self) -> str:
        """Return what was typed before the prompt. Its line ends do not send it."""
        keys = get_typeahead(self._input)
        text = "".join(key.data for key in keys) + _read_pending(self._input)
        return self._shortened(_plain_text(text))

    def _shortened(self, pasted_text: str) -> str:
        """Return a placeholder for a large text: drawing it would take minutes."""
        if len(pasted_text) <= LARGE_PASTE_CHARS:
            return pasted_text
        number, lines = len(self._pastes) + 1, format_count(pasted_text.count("\n") + 1, "line")
        placeholder = f"[pasted {number}: {len(pasted_text):,} characters, {lines}]"
        self._pastes[placeholder] = pasted_text
        return placeholder

    def _is_command(self) -> bool:
        return self._session.default_buffer.text.startswith("/")

    def _key_bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        @bindings.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @bindings.add("enter")
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.document.text_before_cursor.endswith("\\"):
                buffer.delete_before_cursor()
                buffer.insert_text("\n")
            else:
                buffer.validate_and_handle()

        @bindings.add(Keys.BracketedPaste)
        def _(event: KeyPressEvent) -> None:
            text = event.data.replace("\r\n", "\n").replace("\r", "\n")
            event.current_buffer.insert_text(self._shortened(text))

        return bindings


def _terminal_input() -> Input:
    """Return the terminal's input. A paste is read as a whole, so it is drawn once."""
    terminal = create_input()
    reader = getattr(terminal, "stdin_reader", None)  # not on Windows
    if reader is None:
        return terminal
    read_chunk = reader.read

    def read_whole_paste(count: int = READ_CHUNK_BYTES) -> str:
        chunks: list[str] = [read_chunk(READ_CHUNK_BYTES)]
        if chunks[0].rfind(PASTE_START) > chunks[0].rfind(PASTE_END):
            while PASTE_END not in "".join(chunks[-2:]) and not reader.closed:
                if not select.select([terminal.fileno()], [], [], PASTE_TIMEOUT_S)[0]:
                    break
                chunks.append(read_chunk(READ_CHUNK_BYTES))
        elif (paste := UNMARKED_PASTE.match(chunks[0])) is not None:
            text = chunks[0][paste.end(1) :] + _read_pending(terminal, PASTE_PAUSE_S)
            return f"{paste[1]}{PASTE_START}{text.replace(PASTE_END, '')}{PASTE_END}"
        return "".join(chunks)

    reader.read = read_whole_paste
    return terminal


def _read_pending(terminal: Input, pause_s: float = 0) -> str:
    """Read the characters that wait in the terminal, and those that follow without a pause."""
    reader = getattr(terminal, "stdin_reader", None)
    if reader is None:  # on Windows, where a paste comes as one event
        return ""
    chunks: list[str] = []
    with terminal.raw_mode():  # so that incomplete lines can be read
        while not reader.closed and select.select([terminal.fileno()], [], [], pause_s)[0]:
            chunks.append(type(reader).read(reader, READ_CHUNK_BYTES))
            pause_s = PASTE_PAUSE_S
    return "".join(chunks)


def _plain_text(typed: str) -> str:
    """Return the text of typed characters, without the keys that are no text."""
    text = ESCAPE_SEQUENCE.sub("", typed).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(char for char in text if char in "\n\t" or char.isprintable()).strip("\n")


def _continuation(width: int, line: int, wrapped: int) -> StyleAndTextTuples:
    return [("", " " * width)]


def _input_history(keep_history: bool, pastes: dict[str, str]) -> History:
    if not keep_history:
        return InMemoryHistory()
    return _PromptHistory(os.path.join(data_path(), "chat_history"), pastes)


class _PromptHistory(FileHistory):
    """The history of input, in a file that only the user can read."""

    def __init__(self, path: str, pastes: dict[str, str]) -> None:
        super().__init__(path)
        self._pastes = pastes

    def load_history_strings(self) -> Iterable[str]:
        try:
            return super().load_history_strings()
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        if any(placeholder in string for placeholder in self._pastes):
            return  # the placeholder would be meaningless later
        try:
            make_private_dir(data_path())
            os.close(open_private(str(self.filename), os.O_CREAT | os.O_APPEND | os.O_WRONLY))
            super().store_string(clean_surrogates(string))
        except OSError:  # for example a full disk, which saving the conversation reports
            pass


class _ChatCompleter(Completer):
    """Complete commands and their arguments."""

    def __init__(self) -> None:
        self._path_completer = PathCompleter(expanduser=True)
        self._cached_model_names: list[str] | None = None

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        name, separator, rest = document.text_before_cursor.partition(" ")
        if not name.startswith("/"):
            return
        if not separator:
            for command, (usage, summary, _) in COMMANDS.items():
                if command.startswith(name.lower()):
                    yield Completion(
                        command, -len(name), display=f"{command} {usage}", display_meta=summary
                    )
        elif name in ("/attach", "/save"):
            yield from self._path_completer.get_completions(Document(rest), complete_event)
        elif name in ("/model", "/thinking"):
            candidates = self._model_names() if name == "/model" else THINKING_LEVELS
            matches = [
                candidate
                for candidate in candidates
                if all(word in candidate for word in rest.lower().split())
            ]
            for candidate in matches[:MAX_MODEL_COMPLETIONS]:
                yield Completion(candidate, -len(rest))

    def _model_names(self) -> list[str]:
        if self._cached_model_names is None:
            from ...registry import get_registry

            self._cached_model_names = get_registry().query(chat=True)
        return self._cached_model_names
