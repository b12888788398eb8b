"""A conversation that is saved as it happens.

The user's message is written before the request is sent, each delta of an answer before it is
shown: a killed process loses nothing that was shown. `records` documents the files.

Nothing heavy is imported, and no Pydantic validator is built for plain messages: the first token
waits for neither (see `utils/construct.py`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from typing import TYPE_CHECKING, Any, assert_never

from ...utils.atomic import make_private_dir, open_private, remove_if_exists, sync_directory
from ..display.terminal import format_error, warn
from .files import FILE_SUFFIXES, O_BINARY, history_dir, lock_file, new_id, path_of, resolve_id
from .messages import dump_message, has_media
from .records import (
    SETTINGS,
    encode_record,
    interrupted_message,
    parse_partial,
    read_records,
    remaining_messages,
)

if TYPE_CHECKING:
    from typing import Self

    from ... import AssistantMessage, Context, Message, ToolEvent, UserMessage
    from ...types import AudioContent, ImageContent


def remove_conversation(name: str) -> None:
    """Remove a conversation.

    Raises:
        ValueError: It does not exist, or another process has it open.
    """
    conversation_id = resolve_id(name)
    path = path_of(conversation_id)
    fd = open_private(path, os.O_RDWR | O_BINARY)
    try:
        lock_file(fd, conversation_id)
        remove_if_exists(path_of(conversation_id, FILE_SUFFIXES[1]))
        os.unlink(path)
    finally:
        os.close(fd)


class Conversation:
    """A conversation: its settings and messages, and the file where they are saved.

    Example:
        >>> from pipy_ai import user
        >>> from pipy_ai.cli.conversations.conversation import Conversation
        >>> conversation = Conversation.new(model="faux/echo", keep=False)
        >>> conversation.add(user("Hello"))
        >>> conversation.context.messages[0].content
        'Hello'
    """

    def __init__(self, conversation_id: str, keep: bool = True) -> None:
        self.id = conversation_id
        self.model: str | None = None
        self.system: str | None = None
        self.thinking: str | None = None
        self.api_base: str | None = None
        self.tools: list[str] = []  # the values of `--tool`
        self.keep: bool = keep
        self.save_failed: bool = False  # whether something could not be written
        self.answers: list[AssistantMessage] = []  # undone ones included: they cost money
        self._numbered_messages: list[tuple[int, Message]] = []
        self._next_number = 1  # the number of the next message
        self._file_fd: int | None = None
        self._partial_fd: int | None = None
        self._pending_records: list[dict[str, Any]] = []  # written with the first message
        self._created = self._unsynced = False  # since the last `sync`

    # --- Open and close ---------------------------------------------------------------------

    @classmethod
    def new(cls, *, keep: bool = True, **settings: Any) -> Conversation:
        """Create a conversation. Its file is created with the first message if `keep` is true."""
        created_ms = time.time_ns() // 1_000_000
        conversation = cls(new_id(created_ms), keep)
        conversation._pending_records = [
            {"kind": "head", "version": 1, "id": conversation.id, "time": created_ms}
        ]
        conversation.set(**settings)
        return conversation

    @classmethod
    def open(cls, name: str | None = None) -> Conversation:
        """Open the conversation whose id begins with `name`, or the last used one, to continue it.

        No other process can open it before `close`. The partial answer of a killed process becomes
        an aborted message.

        Raises:
            ValueError: No conversation or more than one matches, or another process has it open.
        """
        conversation = cls(resolve_id(name))
        conversation._file_fd = open_private(conversation.path, os.O_RDWR | os.O_APPEND | O_BINARY)
        try:
            lock_file(conversation._file_fd, conversation.id)
            with open(conversation._file_fd, "rb", closefd=False) as file:
                data = file.read()
            conversation._load(data)
            conversation._repair_last_line(data)
            if conversation._recover_partial():
                conversation._append_message(*conversation._numbered_messages[-1])
            conversation._discard_partial()
        except BaseException:
            conversation.close()
            raise
        return conversation

    @classmethod
    def read(cls, name: str | None = None) -> Conversation:
        """Read a conversation, even if another process has it open. Nothing that is added is saved.

        Raises:
            ValueError: No conversation or more than one matches.
        """
        conversation = cls(resolve_id(name), keep=False)
        with open(conversation.path, "rb") as file:
            conversation._load(file.read())
        conversation._recover_partial()
        return conversation

    def close(self) -> None:
        """Close the files, so that other processes can continue the conversation."""
        self.sync()
        fds, self._file_fd, self._partial_fd = (self._file_fd, self._partial_fd), None, None
        for fd in fds:
            if fd is not None:
                try:
                    os.close(fd)
                except OSError as error:
                    self._stop_saving(error)

    def sync(self) -> None:
        """Flush what was added to the disk. Some network drives report a full disk only now."""
        fd, changed, created = self._file_fd, self._unsynced, self._created
        if fd is None or not changed:
            return
        self._unsynced = self._created = False
        try:
            os.fsync(fd)
            if created:
                sync_directory(history_dir())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # this file system has no fsync
                self._stop_saving(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- Content ----------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The file of the conversation, which exists once it has a message."""
        return path_of(self.id)

    @property
    def messages(self) -> list[Message]:
        """The messages, without those that were undone."""
        return [message for _, message in self._numbered_messages]

    @property
    def context(self) -> Context:
        """The context of the next request."""
        from ... import ctx

        return ctx(*self.messages, system=self.system)

    @property
    def complete_api_base(self) -> str | None:
        """The address to continue with; None: the provider's own.

        Raises:
            ValueError: The address had parts that are not stored.
        """
        if self.api_base and self.api_base.endswith(_NOT_STORED):
            raise ValueError(
                f"conversation {self.id} used {self.api_base}: the password or query of the address"
                " is not stored. Pass the full address again with --api-base"
            )
        return self.api_base

    # --- Changes ----------------------------------------------------------------------------

    def set(self, **settings: Any) -> None:
        """Change `model`, `system`, `thinking`, `api_base` or `tools` from here on."""
        changed = {}
        for name, value in settings.items():
            if name not in SETTINGS:
                raise TypeError(f"{name} is not a setting of a conversation")
            if name == "api_base":
                value = _address_to_store(value, self.model)
            if getattr(self, name) != value:
                changed[name] = value
                setattr(self, name, value)
        if changed:
            self._append_record({"kind": "set", **changed})

    def add(self, message: Message) -> None:
        """Save a message. Add the user's message before it is sent."""
        number, self._next_number = self._next_number, self._next_number + 1
        self._numbered_messages.append((number, message))
        if message.role == "assistant":
            self.answers.append(message)
        self._append_message(number, message)

    def journal(self, event: ToolEvent) -> None:
        """Save an event of the answer; call it before the event is shown.

        Deltas of text are saved as they arrive, images and audio when they are complete. The
        message is saved at its end, and tool results as `add` does.
        """
        match event.type:
            case "text_delta":
                self._append_partial([event.content_index, "text", event.delta])
            case "thinking_delta":
                self._append_partial([event.content_index, "thinking", event.delta])
            case "image_end":
                self._append_partial_media(event.content_index, event.image)
            case "audio_end":
                self._append_partial_media(event.content_index, event.audio)
            case "start":
                message = event.partial
                origin = {name: getattr(message, name) for name in ("api", "provider", "model")}
                header = {"n": self._next_number, "timestamp": message.timestamp, **origin}
                self._begin_partial(header)
            case "done" | "error":
                self.add(event.partial)
                self._discard_partial()
            case "tool_result":
                self.add(event.message)
            case (
                "text_start" | "text_end" | "thinking_start" | "thinking_end"
                | "toolcall_start" | "toolcall_delta" | "toolcall_end" | "servertool_start"
                | "servertool_delta" | "servertool_end" | "servertool_result" | "citation"
                | "image_start" | "image_partial" | "audio_start" | "audio_delta"
            ):  # fmt: skip
                pass
            case _:
                assert_never(event)

    def finish_partial(self) -> None:
        """Save the partial answer, if there is one, as an interrupted message."""
        if self._partial_fd is not None:
            os.close(self._partial_fd)
            self._partial_fd = None
            if self._recover_partial():
                self._append_message(*self._numbered_messages[-1])
            self._discard_partial()

    def undo(self, *, answer_only: bool = False) -> UserMessage | None:
        """Remove the user's last message and everything after it.

        With `answer_only` the message itself stays. Returns the message, or None if there is none.
        """
        for index in range(len(self._numbered_messages) - 1, -1, -1):
            message = self._numbered_messages[index][1]
            if message.role == "user":
                removed = self._numbered_messages[index + answer_only :]
                if removed:
                    del self._numbered_messages[index + answer_only :]
                    self._append_record({"kind": "undo", "from": removed[0][0]})
                return message
        return None

    # --- Write the files --------------------------------------------------------------------

    def _append_message(self, number: int, message: Message) -> None:
        data = dump_message(message)
        record = {"kind": "message", "n": number, "message": data}
        if not (self.keep and has_media(data)):
            self._append_record(record)
            return
        from .media_store import media_lock, store_media

        try:
            with media_lock():
                data["content"] = store_media(data["content"])
                self._append_record(record)
        except OSError as error:
            self._stop_saving(error)

    def _append_partial_media(self, index: int, part: ImageContent | AudioContent) -> None:
        if self._partial_fd is None:
            return
        from .media_store import media_lock, store_media

        try:
            with media_lock():
                self._append_partial([index, part.type, *store_media([dump_message(part)])])
        except OSError as error:
            self._stop_saving(error)

    def _append_record(self, record: dict[str, Any]) -> None:
        if not self.keep:
            return
        if self._file_fd is None:
            self._pending_records.append(record)
            if record["kind"] == "message":
                self._create_file()
            return
        self._write_bytes(self._file_fd, encode_record(record))

    def _create_file(self) -> None:
        lines = b"".join(map(encode_record, self._pending_records))
        try:
            make_private_dir(history_dir())
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | O_BINARY
            self._file_fd = open_private(self.path, flags)
        except OSError as error:
            self._stop_saving(error)
            return
        self._created = True
        lock_file(self._file_fd, self.id)
        self._write_bytes(self._file_fd, lines)
        if not self.keep:  # `-c` must not continue an empty conversation
            remove_if_exists(self.path)
        self._pending_records = []

    def _write_bytes(self, fd: int, data: bytes) -> None:
        """Write data in one call, unless the system accepts less at once."""
        self._unsynced = True
        written = 0
        try:
            while written < len(data):
                written += os.write(fd, data[written:])
        except OSError as error:
            if written:
                with contextlib.suppress(OSError):  # else a reader skips the incomplete line
                    os.ftruncate(fd, os.fstat(fd).st_size - written)
            self._stop_saving(error)

    def _stop_saving(self, error: OSError) -> None:
        if self.save_failed:
            return
        self.keep, self.save_failed = False, True
        self.close()
        error.filename = self.path
        warn(f"the rest of the conversation will not be saved: {format_error(error)}")

    def _begin_partial(self, header: dict[str, Any]) -> None:
        self._discard_partial()
        if self._file_fd is None:
            return
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | O_BINARY
            self._partial_fd = open_private(self._partial_path, flags)
        except OSError as error:
            self._stop_saving(error)
            return
        self._append_partial(header)

    def _append_partial(self, record: Any) -> None:
        if self._partial_fd is not None:
            self._write_bytes(self._partial_fd, encode_record(record))

    def _discard_partial(self) -> None:
        if self._partial_fd is not None:
            os.close(self._partial_fd)
            self._partial_fd = None
        if self._file_fd is not None:
            with contextlib.suppress(OSError):  # there is none
                os.unlink(self._partial_path)

    @property
    def _partial_path(self) -> str:
        return path_of(self.id, FILE_SUFFIXES[1])

    # --- Read the files ---------------------------------------------------------------------

    def _load(self, data: bytes) -> None:
        loaded = read_records(data, self.id)
        self._numbered_messages = remaining_messages(loaded)
        for record in loaded:
            if record["kind"] == "message":
                self._next_number = max(self._next_number, record["n"] + 1)
                if record["message"].role == "assistant":
                    self.answers.append(record["message"])
            elif record["kind"] == "set":
                for name in SETTINGS:
                    if name in record:
                        setattr(self, name, record[name])

    def _repair_last_line(self, data: bytes) -> None:
        """End the last line, or remove it if a killed process wrote only a part of it."""
        last_line = data.rpartition(b"\n")[2]
        if not last_line or self._file_fd is None:
            return
        try:
            json.loads(last_line)
        except ValueError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file_fd, len(data) - len(last_line))
                return
        self._write_bytes(self._file_fd, b"\n")

    def _recover_partial(self) -> bool:
        """Add the partial answer that a killed process left. Return whether there was one."""
        try:
            with open(self._partial_path, "rb") as file:
                header, *pieces = [*parse_partial(file.read())] or [None]
        except OSError:
            return False
        if not isinstance(header, dict) or header.get("n", 0) < self._next_number:
            return False  # the complete message was saved as well
        message = interrupted_message(header, pieces)
        if not message.content:
            return False
        self._numbered_messages.append((self._next_number, message))
        self.answers.append(message)
        self._next_number += 1
        return True


_NOT_STORED = "…"  # ends an address of which a part is not stored


def _address_to_store(api_base: str | None, model: str | None) -> str | None:
    """Return the address without password and query, which may hold a key.

    An address of the environment is stored too: it may be missing when the conversation continues.
    """
    if not api_base and (model or "").startswith("openai/"):
        from ...provider.credentials import DEFAULT_OPENAI_URL, openai_base_url

        api_base = openai_base_url()
        if api_base == DEFAULT_OPENAI_URL:
            return None
    if not api_base:
        return None
    from ...utils.secrets import strip_userinfo

    stored = strip_userinfo(api_base.partition("?")[0])
    return stored if stored == api_base else stored.removesuffix(_NOT_STORED) + _NOT_STORED
