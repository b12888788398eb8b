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
    """Where conversations are kept. It need not exist."""
    return os.path.join(data_path(), "history")


def path_of(conversation_id: str, suffix: str = FILE_SUFFIXES[0]) -> str:
    """Return the path of a conversation's file, or with `.partial` of its partial answer."""
    return os.path.join(history_dir(), conversation_id + suffix)


def list_conversation_ids() -> list[str]:
    """All conversations, the one used last first."""
    files = []
    try:
        with os.scandir(history_dir()) as entries:
            for entry in entries:
                if entry.name.endswith(FILE_SUFFIXES[0]):
                    with contextlib.suppress(FileNotFoundError):  # removed just now
                        if entry.is_file():
                            files.append((entry.stat().st_mtime_ns, entry.name))
    except FileNotFoundError:
        return []
    return [name.removesuffix(FILE_SUFFIXES[0]) for _, name in sorted(files, reverse=True)]


def resolve_id(name: str | None = None) -> str:
    """The conversation of this id or beginning of one; without a name, the one used last.

    Raises:
        ValueError: there is none, or more than one.
    """
    known_ids = list_conversation_ids()
    if not known_ids:
        raise ValueError("no conversation is kept yet")
    if name is None:
        return known_ids[0]
    matches = [conversation_id for conversation_id in known_ids if conversation_id.startswith(name)]
    if name in matches or len(matches) == 1:
        return name if name in matches else matches[0]
    if matches:
        listed = ", ".join(matches[:5]) + (", …" if len(matches) > 5 else "")
        raise ValueError(f"more than one conversation begins with {name!r}: {listed}")
    raise ValueError(f"no conversation begins with {name!r}; pipy history list shows them")


def new_id(created_ms: int) -> str:
    """Sortable, short enough to type the beginning of, and nobody else's."""
    timestamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(created_ms / 1000))
    return f"{timestamp}-{created_ms % 1000:03x}{os.urandom(3).hex()[:5]}"


def lock_file(fd: int, conversation_id: str) -> None:
    """Nobody else may go on with it. The system unlocks it when the process ends, however."""
    if fcntl is None:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = f"another pipy goes on with the conversation {conversation_id}; end it there first"
        raise ValueError(text) from None
    except OSError:  # a file system without locks
        pass
