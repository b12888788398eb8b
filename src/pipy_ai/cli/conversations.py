"""Kept conversations: what was said, line by line, in a file of its own under the data directory.

    history/20261122-215201-4f2a1c7d.jsonl      what was said; only ever appended to
    history/20261122-215201-4f2a1c7d.partial    the answer under way, as it comes

What the user says is on disk before the request is sent, each piece of an answer before it is
shown: a killed process loses nothing that was said. A line is one write; a damaged line is left out
and told, a line of a kind that only a newer version knows is left alone.

    {"kind": "head", "version": 1, "id": "…", "time": 1795384321000}
    {"kind": "set", "model": "…", "system": "…"}       from here on; what is not named stays
    {"kind": "message", "n": 1, "message": {…}}
    {"kind": "undo", "from": 1}                        the messages from number 1 on are taken back

Nothing heavy loads here, and no validator of Pydantic's is built for what is usual: a first token
does not wait for either (`utils/made.py` says why).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from ..utils.paths import data_path
from .terminal import complain, worded

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import argparse
    from typing import Self

    from pydantic import BaseModel

    from .. import AssistantMessage, Context, Message, UserMessage

BINARY = getattr(os, "O_BINARY", 0)  # Windows
SETTINGS = ("model", "system", "thinking", "api_base", "tools")
ENDS = (".jsonl", ".partial")
STOPPED = "The answer has no end: pipy was stopped in the middle of it, or is still at it."


def wanted(arguments: argparse.Namespace) -> bool:
    """Whether what is said shall be kept."""
    unset = ("", "0", "false", "no")
    return not arguments.no_save and os.environ.get("PIPY_NO_SAVE", "").lower() in unset


def folder() -> str:
    """Where conversations are kept. It need not exist."""
    return os.path.join(data_path(), "history")


def ids() -> list[str]:
    """All conversations, the one used last first."""
    found = []
    try:
        with os.scandir(folder()) as entries:
            for entry in entries:
                if entry.name.endswith(ENDS[0]):
                    with contextlib.suppress(FileNotFoundError):  # removed just now
                        if entry.is_file():
                            found.append((entry.stat().st_mtime_ns, entry.name))
    except FileNotFoundError:
        return []
    return [name.removesuffix(ENDS[0]) for _, name in sorted(found, reverse=True)]


def find(name: str | None = None) -> str:
    """The conversation of this id or beginning of one; without a name, the one used last.

    Raises:
        ValueError: there is none, or more than one.
    """
    known = ids()
    if not known:
        raise ValueError("no conversation is kept yet")
    if name is None:
        return known[0]
    fits = [identity for identity in known if identity.startswith(name)]
    if name in fits or len(fits) == 1:
        return name if name in fits else fits[0]
    if fits:
        some = ", ".join(fits[:5]) + (", …" if len(fits) > 5 else "")
        raise ValueError(f"more than one conversation begins with {name!r}: {some}")
    raise ValueError(f"no conversation begins with {name!r}; pipy history list shows them")


def remove(name: str) -> None:
    """Remove a conversation, unless another process goes on with it.

    Raises:
        ValueError: it does, or there is none of this name.
    """
    with Conversation.open(name) as gone:
        os.unlink(gone.path)


class Conversation:
    """A conversation: its settings, its messages, and the file that both are kept in.

    Example:
        >>> from pipy_ai import user
        >>> from pipy_ai.cli.conversations import Conversation
        >>> conversation = Conversation.new(model="faux/echo", keep=False)
        >>> conversation.add(user("Hello"))
        >>> conversation.context.messages[0].content
        'Hello'
    """

    def __init__(self, identity: str, keep: bool = True) -> None:
        self.id = identity
        self.model: str | None = None
        self.system: str | None = None
        self.thinking: str | None = None
        self.api_base: str | None = None  # where the model is
        self.tools: list[str] = []  # as they were named
        self.keep: bool = keep
        self.answers: list[AssistantMessage] = []  # also those taken back, which cost, too
        self._said: list[tuple[int, Message]] = []
        self._next = 1  # the number of the next message
        self._file: int | None = None
        self._partial: int | None = None
        self._unwritten: list[dict[str, Any]] = []  # no file before something is said

    # --- Getting one ------------------------------------------------------------------------

    @classmethod
    def new(cls, *, keep: bool = True, **settings: Any) -> Conversation:
        """A new one. Its file is made when the first message is added, unless `keep` is false."""
        milliseconds = time.time_ns() // 1_000_000
        new = cls(_new_id(milliseconds), keep)
        new._unwritten = [{"kind": "head", "version": 1, "id": new.id, "time": milliseconds}]
        new.set(**settings)
        return new

    @classmethod
    def open(cls, name: str | None = None) -> Conversation:
        """One to go on with, by its id or the beginning of it; without a name, the one used last.

        Nobody else can go on with it before `close`. An answer that a killed process had begun
        becomes an aborted message.

        Raises:
            ValueError: there is none, more than one, or another process goes on with it.
        """
        found = cls(find(name))
        found._file = os.open(found.path, os.O_RDWR | os.O_APPEND | BINARY)
        try:
            _lock(found._file, found.id)
            with open(found._file, "rb", closefd=False) as file:
                data = file.read()
            if data and not data.endswith(b"\n"):  # torn by a full disk: the next line is whole
                os.write(found._file, b"\n")
            found._load(data)
            if found._recover():
                found._write(*found._said[-1])
            found._forget_partial()
        except BaseException:
            found.close()
            raise
        return found

    @classmethod
    def read(cls, name: str | None = None) -> Conversation:
        """One to look at, also while another process goes on with it. What is added is not kept.

        Raises:
            ValueError: there is none, or more than one.
        """
        found = cls(find(name), keep=False)
        with open(found.path, "rb") as file:
            found._load(file.read())
        found._recover()
        return found

    def close(self) -> None:
        """Let go of the file; others may go on with it."""
        for number in (self._file, self._partial):
            if number is not None:
                os.close(number)
        self._file = self._partial = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- What it holds ----------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Its file, which is there once something was said."""
        return os.path.join(folder(), self.id + ENDS[0])

    @property
    def messages(self) -> list[Message]:
        """What was said and not taken back."""
        return [message for _, message in self._said]

    @property
    def context(self) -> Context:
        """What to ask with."""
        from .. import ctx

        return ctx(*self.messages, system=self.system)

    # --- What happens -----------------------------------------------------------------------

    def set(self, **settings: Any) -> None:
        """Change `model`, `system`, `thinking`, `api_base` or `tools` from here on."""
        changed = {}
        for name, value in settings.items():
            if name not in SETTINGS:
                raise TypeError(f"{name} is no setting of a conversation")
            if name == "api_base" and value and ("@" in value or "?" in value):
                value = None  # a key in an address is not for a file
            if getattr(self, name) != value:
                changed[name] = value
                setattr(self, name, value)
        if changed:
            self._append({"kind": "set", **changed})

    def add(self, message: Message) -> None:
        """Keep a message. The user's is to be added before it is sent."""
        number, self._next = self._next, self._next + 1
        self._said.append((number, message))
        if message.role == "assistant":
            self.answers.append(message)
        self._write(number, message)

    def journal(self, event: Any) -> None:
        """Keep what an event of the answer brings: pieces as they come; the message at its end,
        and results of tools, as `add` does. To be called before the event is shown."""
        kind = event.type
        if kind in ("text_delta", "thinking_delta"):
            self._piece([event.content_index, kind.partition("_")[0], event.delta])
        elif kind == "start":
            begun = event.partial
            told = {name: getattr(begun, name) for name in ("api", "provider", "model")}
            self._begin_partial({"n": self._next, "timestamp": begun.timestamp, **told})
        elif kind in ("done", "error"):
            self.add(event.partial)
            self._forget_partial()
        elif kind == "tool_result":
            self.add(event.message)

    def cut(self) -> None:
        """Nothing more comes of the answer under way, if there is one: keep what came."""
        if self._partial is not None:
            os.close(self._partial)
            self._partial = None
            if self._recover():
                self._write(*self._said[-1])
            self._forget_partial()

    def undo(self, *, answer_only: bool = False) -> UserMessage | None:
        """Take back the user's last message and what came after it, or only the latter.

        Returns the user's message; None: there is none.
        """
        for place in range(len(self._said) - 1, -1, -1):
            message = self._said[place][1]
            if message.role == "user":
                gone = self._said[place + answer_only :]
                if gone:
                    del self._said[place + answer_only :]
                    self._append({"kind": "undo", "from": gone[0][0]})
                return message
        return None

    # --- Writing ----------------------------------------------------------------------------

    def _write(self, number: int, message: Message) -> None:
        self._append({"kind": "message", "n": number, "message": plain(message)})

    def _append(self, record: dict[str, Any]) -> None:
        if not self.keep:
            return
        if self._file is None:
            self._unwritten.append(record)
            if record["kind"] == "message":
                self._create()
            return
        self._put(self._file, _line(record))

    def _create(self) -> None:
        lines = b"".join(map(_line, self._unwritten))
        try:
            os.makedirs(folder(), mode=0o700, exist_ok=True)
            how = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | BINARY
            self._file = os.open(self.path, how, 0o600)
        except OSError as error:
            self._give_up(error)
            return
        _lock(self._file, self.id)
        self._put(self._file, lines)
        self._unwritten = []

    def _put(self, file: int, line: bytes) -> None:
        """One write, unless the system takes less at once."""
        try:
            while line:
                line = line[os.write(file, line) :]
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.keep = False
        self.close()
        complain(f"the conversation is not kept from here on: {worded(error)}")

    def _begin_partial(self, head: dict[str, Any]) -> None:
        self._forget_partial()
        if self._file is None:
            return
        try:
            how = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | BINARY
            self._partial = os.open(self._partial_path, how, 0o600)
        except OSError as error:
            self._give_up(error)
            return
        self._piece(head)

    def _piece(self, record: Any) -> None:
        if self._partial is not None:
            self._put(self._partial, _line(record))

    def _forget_partial(self) -> None:
        if self._partial is not None:
            os.close(self._partial)
            self._partial = None
        if self._file is not None:
            with contextlib.suppress(OSError):  # none was begun
                os.unlink(self._partial_path)

    @property
    def _partial_path(self) -> str:
        return os.path.join(folder(), self.id + ENDS[1])

    # --- Reading ----------------------------------------------------------------------------

    def _load(self, data: bytes) -> None:
        found = records(data, self.id)
        self._said = remaining(found)
        for record in found:
            if record["kind"] == "message":
                self._next = max(self._next, record["n"] + 1)
                if record["message"].role == "assistant":
                    self.answers.append(record["message"])
            elif record["kind"] == "set":
                for name in SETTINGS:
                    if name in record:
                        setattr(self, name, record[name])

    def _recover(self) -> bool:
        """Take in what a killed process had got of an answer. True: there was something."""
        try:
            with open(self._partial_path, "rb") as file:
                head, *pieces = [*_parsed(file.read())] or [None]
        except OSError:
            return False
        if not isinstance(head, dict) or head.get("n", 0) < self._next:
            return False  # the message itself was written
        message = _stopped(head, pieces)
        if not message.content:
            return False
        self._said.append((self._next, message))
        self.answers.append(message)
        self._next += 1
        return True


def _new_id(milliseconds: int) -> str:
    """Sortable, short enough to type the beginning of, and nobody else's."""
    clock = time.strftime("%Y%m%d-%H%M%S", time.gmtime(milliseconds / 1000))
    return f"{clock}-{milliseconds % 1000:03x}{os.urandom(3).hex()[:5]}"


def _lock(file: int, identity: str) -> None:
    """Nobody else may go on with it. The system unlocks it when the process ends, however."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = f"another pipy goes on with the conversation {identity}; end it there first"
        raise ValueError(text) from None
    except OSError:  # a file system without locks
        pass


# --- Lines ----------------------------------------------------------------------------------


def _line(record: Any) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def records(data: bytes, identity: str, raw: bool = False) -> list[dict[str, Any]]:
    """The lines of a conversation; those that are damaged are told and left out.

    Messages are objects, or JSON data if `raw` is true.
    """
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not _is_right(record):
                raise ValueError
            if record["kind"] == "message" and not raw:
                record["message"] = message_of(record["message"])
        except (ValueError, RecursionError):  # Pydantic's and JSON's errors are ValueErrors, too
            complain(f"history/{identity}{ENDS[0]}: line {number} is damaged and left out")
            continue
        found.append(record)
    return found


def remaining(found: list[dict[str, Any]]) -> list[tuple[int, Any]]:
    """The messages that were not taken back, with their numbers."""
    said: list[tuple[int, Any]] = []
    for record in found:
        if record["kind"] == "message":
            said.append((record["n"], record["message"]))
        elif record["kind"] == "undo":
            said = [one for one in said if one[0] < record["from"]]
    return said


def _is_right(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    kind = record.get("kind")
    if kind == "message":
        message = record.get("message")
        return isinstance(message, dict) and isinstance(record.get("n"), int)
    if kind == "undo":
        return isinstance(record.get("from"), int)
    if kind == "set":
        tools = record.get("tools", [])
        texts = [record.get(name) for name in SETTINGS if name != "tools"]
        return isinstance(tools, list) and all(isinstance(text, str | None) for text in texts)
    return isinstance(kind, str)


def _parsed(data: bytes) -> Any:
    """The whole lines of a journal."""
    for line in data.split(b"\n"):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            return


def _stopped(head: dict[str, Any], pieces: list[Any]) -> AssistantMessage:
    """The message that the pieces of an answer make, which nobody ended."""
    from ..errors import ErrorKind, error_info
    from ..types import AssistantMessage, StopReason, TextContent, ThinkingContent
    from ..utils.tokens import estimate_output

    blocks: dict[tuple[int, str], list[str]] = {}
    for piece in pieces:
        match piece:
            case [int(index), "text" | "thinking" as kind, str(text)]:
                blocks.setdefault((index, kind), []).append(text)
    content: list[Any] = []
    for (_, kind), texts in sorted(blocks.items()):
        text = "".join(texts)
        thought = kind == "thinking"
        content.append(ThinkingContent(thinking=text) if thought else TextContent(text=text))
    known = {name: head[name] for name in ("api", "provider", "model", "timestamp") if name in head}
    message = AssistantMessage(content=content, stop_reason=StopReason.ABORTED, **known)
    message.error = error_info(ErrorKind.ABORTED, STOPPED)
    message.error_message = STOPPED
    usage = message.usage
    usage.output = usage.total_tokens = estimate_output(message)
    usage.estimated = True
    return message


# --- Messages as JSON -----------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A message as JSON data: what `model_dump(mode="json")` gives, without its serialiser."""
    fields = getattr(value, "model_fields_set", None)
    if fields is not None:
        inner = {**value.__dict__, **(value.__pydantic_extra__ or {})}
        return {name: plain(one) for name, one in inner.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, str | int | float | None):
        return value
    from pydantic_core import to_jsonable_python  # what a tool gave for the application

    return to_jsonable_python(value, serialize_unknown=True)


def message_of(data: dict[str, Any]) -> Message:
    """A message out of JSON data.

    Raises:
        ValueError: it is none.
    """
    from .. import AssistantMessage, ToolResultMessage, UserMessage

    kinds: dict[Any, Any] = {
        "user": UserMessage, "assistant": AssistantMessage, "toolResult": ToolResultMessage,
    }  # fmt: skip
    kind = kinds.get(data.get("role"))
    if kind is None:
        raise ValueError("nobody says it")
    message: Message = _usual(data) or kind.model_validate(data)
    return message


def _usual(data: dict[str, Any]) -> Message | None:
    """A message of text, made without a validator; None: it is something else."""
    from ..types import AssistantMessage, Cost, StopReason, TextContent, Usage, UserMessage
    from ..utils.made import made

    content, usage = data.get("content"), data.get("usage")
    if not isinstance(data.get("timestamp"), int):
        return None
    if data["role"] == "user":
        usual = isinstance(content, str) and data.keys() <= UserMessage.model_fields.keys()
        return made(UserMessage, **data) if usual else None
    if (
        data["role"] != "assistant"
        or not data.keys() <= AssistantMessage.model_fields.keys()
        or not isinstance(content, list)
        or not all(_is_text(part) for part in content)
        or not isinstance(usage, dict)
        or not _are_numbers(usage, Usage, "cost")
        or not isinstance(usage.get("cost"), dict)
        or not _are_numbers(usage["cost"], Cost, "source")
        or data.get("stop_reason") not in ("stop", "length")
        or data.get("error") is not None
        or data.get("warnings")
    ):
        return None
    texts = ("api", "provider", "model", "raw_stop_reason", "response_id", "response_model")
    if not all(isinstance(data.get(name), str | None) for name in texts):
        return None
    return made(
        AssistantMessage,
        **data
        | {
            "content": [made(TextContent, **part) for part in content],
            "usage": made(Usage, **usage | {"cost": made(Cost, **usage["cost"])}),
            "stop_reason": StopReason(data["stop_reason"]),
        },
    )


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and part.keys() <= {"type", "text", "text_signature"}
        and part.get("type") == "text"
        and isinstance(part.get("text"), str)
    )


def _are_numbers(data: dict[str, Any], kind: type[BaseModel], but: str) -> bool:
    values = [value for name, value in data.items() if name != but]
    known = data.keys() <= kind.model_fields.keys()
    return known and all(isinstance(value, int | float | None) for value in values)
