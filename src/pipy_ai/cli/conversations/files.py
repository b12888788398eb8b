"""Find, name and lock the files of conversations."""

from __future__ import annotations

import contextlib
import os
import time

from ...utils.paths import data_path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

O_BINARY = getattr(os, "O_BINARY", 0)  # Windows
FILE_SUFFIXES = (".jsonl", ".partial")


def history_dir() -> str:
    """Return the directory of conversations, which need not exist."""
    return os.path.join(data_path(), "history")


def path_of(conversation_id: str, suffix: str = FILE_SUFFIXES[0]) -> str:
    """Return the path of a conversation's file."""
    return os.path.join(history_dir(), conversation_id + suffix)


def list_conversation_ids() -> list[str]:
    """Return the ids of all conversations, the last used first."""
    files = []
    try:
        with os.scandir(history_dir()) as entries:
            for entry in entries:
                if entry.name.endswith(FILE_SUFFIXES[0]):
                    with contextlib.suppress(FileNotFoundError):  # removed in the meantime
                        if entry.is_file():
                            files.append((entry.stat().st_mtime_ns, entry.name))
    except FileNotFoundError:
        return []
    return [name.removesuffix(FILE_SUFFIXES[0]) for _, name in sorted(files, reverse=True)]


def resolve_id(name: str | None = None) -> str:
    """Return the id that begins with `name`, or without a name that of the last used conversation.

    Raises:
        ValueError: No conversation or more than one matches.
    """
    known_ids = list_conversation_ids()
    if not known_ids:
        raise ValueError("no saved conversations yet")
    if name is None:
        return known_ids[0]
    matches = [conversation_id for conversation_id in known_ids if conversation_id.startswith(name)]
    if name in matches or len(matches) == 1:
        return name if name in matches else matches[0]
    if matches:
        listed = ", ".join(matches[:5]) + (", …" if len(matches) > 5 else "")
        raise ValueError(f"more than one conversation starts with {name!r}: {listed}")
    raise ValueError(f"no conversation starts with {name!r}; pipy history list shows them")


def new_id(created_ms: int) -> str:
    """Return an id that sorts by time, has a beginning short enough to type, and is unique."""
    timestamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(created_ms / 1000))
    return f"{timestamp}-{created_ms % 1000:03x}{os.urandom(3).hex()[:5]}"


def lock_file(fd: int, conversation_id: str) -> None:
    """Lock an open conversation file. The system unlocks it when the process ends, however it ends.

    Raises:
        ValueError: Another process holds the lock.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = f"another pipy process has conversation {conversation_id} open; close it there first"
        raise ValueError(text) from None
    except OSError:  # the file system has no locks
        pass
