"""Store the images, audio, video and documents of conversations as files named by their SHA-256.

    history/media/<sha256>        the bytes; equal files are stored once

In a conversation file, `data` of such content is `sha256:<hex>`, which is not base64. So is `data`
in the blocks of providers, such as a PDF that Anthropic has fetched. Conversations of earlier
versions have the base64 itself, and are read as well.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
from typing import TYPE_CHECKING, Any

from ...utils.atomic import hold_lock, make_private_dir, remove_if_exists, write_atomically
from ..display.terminal import format_error, warn
from .files import FILE_SUFFIXES, history_dir
from .messages import MEDIA_TYPES, MIN_NESTED_CHARS

if TYPE_CHECKING:
    from collections.abc import Generator

LOCK_TIMEOUT_S = 60.0
_REFERENCE = re.compile(r"sha256:([0-9a-f]{64})")
_REFERENCE_BYTES = re.compile(rb"sha256:([0-9a-f]{64})")
_FILE_NAME = re.compile(r"[0-9a-f]{64}")


def media_dir() -> str:
    """Return the directory of the files, which need not exist."""
    return os.path.join(history_dir(), "media")


@contextlib.contextmanager
def media_lock() -> Generator[None, None, None]:
    """Keep other processes from removing files that no conversation refers to yet.

    Raises:
        OSError: The directory cannot be created, or another process holds the lock for a minute.
    """
    make_private_dir(history_dir())
    make_private_dir(media_dir())
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(NotImplementedError):  # the file system has no locks
            stack.enter_context(hold_lock(os.path.join(media_dir(), "media.lock"), LOCK_TIMEOUT_S))
        yield


def store_media(content: list[Any]) -> list[Any]:
    """Write the media of a message's content to files; return the content with references to them.

    Hold `media_lock` until the references are written. Data that is not valid base64 stays.

    Raises:
        OSError: A file cannot be written.
    """
    return [_store_part(part) for part in content]


def _store_part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    if part.get("type") == "serverToolResult" and "raw" in part:  # `raw` is the provider's block
        return {**part, "raw": _store_nested(part.get("raw"))}
    if part.get("type") not in MEDIA_TYPES or not part.get("data"):
        return part
    return {**part, "data": _store_data(part["data"])}


def _store_nested(value: Any) -> Any:
    if isinstance(value, list):
        return [_store_nested(item) for item in value]
    if not isinstance(value, dict):
        return value
    stored = {name: _store_nested(item) for name, item in value.items()}
    data = value.get("data")
    if isinstance(data, str) and len(data) >= MIN_NESTED_CHARS:
        stored["data"] = _store_data(data)
    return stored


def _store_data(encoded: Any) -> Any:
    """Write base64 data to a file and return the reference to it."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except (ValueError, TypeError):
        return encoded
    if base64.b64encode(data).decode() != encoded:  # it would be read back differently
        return encoded
    digest = hashlib.sha256(data).hexdigest()
    path = os.path.join(media_dir(), digest)
    try:
        is_stored = os.path.getsize(path) == len(data)
    except OSError:
        is_stored = False
    if not is_stored:
        write_atomically(path, data)
    return f"sha256:{digest}"


def restore_media(content: Any, loaded: dict[str, str]) -> Any:
    """Return the content of a message with the data of its media.

    Media whose file is missing or damaged becomes a note, with a warning. `loaded` has the base64
    of files that were read before.
    """
    if not isinstance(content, list):
        return content
    return [_restore_part(part, loaded) for part in content]


def _restore_part(part: Any, loaded: dict[str, str]) -> Any:
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    try:
        if kind == "serverToolResult" and "raw" in part:
            kind = "result"
            return {**part, "raw": _restore_nested(part.get("raw"), loaded)}
        if kind in MEDIA_TYPES and "data" in part:
            return {**part, "data": _restore_data(part.get("data"), loaded)}
        return part
    except _UnreadableFileError as error:
        warn(f"history/media/{error}; the {kind} is left out")
        return {"type": "text", "text": f"({kind} omitted: its file is missing)"}


class _UnreadableFileError(Exception):
    pass


def _restore_nested(value: Any, loaded: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_restore_nested(item, loaded) for item in value]
    if not isinstance(value, dict):
        return value
    restored = {name: _restore_nested(item, loaded) for name, item in value.items()}
    if "data" in value:
        restored["data"] = _restore_data(restored["data"], loaded)
    return restored


def _restore_data(data: Any, loaded: dict[str, str]) -> Any:
    match = _REFERENCE.fullmatch(data) if isinstance(data, str) else None
    if match is None:
        return data
    digest = match[1]
    if digest not in loaded:
        try:
            loaded[digest] = _read_file(digest)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise _UnreadableFileError(f"{digest}: {reason}") from None
    return loaded[digest]


def _read_file(digest: str) -> str:
    with open(os.path.join(media_dir(), digest), "rb") as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError("the file is damaged")
    return base64.b64encode(data).decode()


def remove_unused_media() -> None:
    """Remove the files that no conversation refers to any more. If that fails, print a warning."""
    if not os.path.isdir(media_dir()):
        return
    try:
        with media_lock():
            used = _used_digests()
            for name in os.listdir(media_dir()):
                if _FILE_NAME.fullmatch(name) and name not in used:
                    remove_if_exists(os.path.join(media_dir(), name))
    except OSError as error:
        warn(f"unused images and audio were not removed: {format_error(error)}")


def _used_digests() -> set[str]:
    used = set()
    for name in os.listdir(history_dir()):
        if name.endswith(FILE_SUFFIXES):
            # A conversation that cannot be read may refer to any file: then nothing is removed.
            with (
                contextlib.suppress(FileNotFoundError),
                open(os.path.join(history_dir(), name), "rb") as file,
            ):
                used |= {match[1].decode() for match in _REFERENCE_BYTES.finditer(file.read())}
    return used
