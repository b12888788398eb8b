"""Remember uploads in `uploads.json` in the data directory, so that a file is uploaded once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

from ..types import FileContent, now_ms
from ..utils.atomic import update_json_file
from ..utils.paths import data_path

MIN_REMAINING_MS = 600_000  # a file that expires sooner is uploaded again


def uploads_path() -> str:
    """Return the path of the file."""
    return os.path.join(data_path(), "uploads.json")


def upload_key(*parts: str) -> str:
    """Return the key of an upload: what is the same for the same file, account and provider."""
    text = "\0".join(parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_file(path: str) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_upload(key: str) -> FileContent | None:
    """Return a file that was uploaded before and does not expire within ten minutes."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        file = FileContent.model_validate(_read()[key]) if key in _read() else None
        if file is not None and not _expires_by(file.expires_at, now_ms() + MIN_REMAINING_MS):
            return file
    return None


def save_upload(key: str, file: FileContent) -> None:
    """Remember an upload. Failing to do so only costs another upload."""
    _update({key: file.model_dump(mode="json", exclude_none=True)}, ())


def forget_upload(file: FileContent) -> None:
    """Forget a file that was deleted."""
    if os.path.exists(uploads_path()):
        _update({}, [file.id])


def _update(added: dict[str, Any], removed_ids: Sequence[str]) -> None:
    def updated() -> dict[str, Any]:
        now = now_ms()
        kept = {
            key: entry
            for key, entry in _read().items()
            if isinstance(entry, dict)
            and entry.get("id") not in removed_ids
            and not _expires_by(entry.get("expires_at"), now)
        }
        return kept | added

    with contextlib.suppress(OSError):
        update_json_file(uploads_path(), updated)


def _read() -> dict[str, Any]:
    try:
        with open(uploads_path(), "rb") as file:
            entries = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _expires_by(expires_at: Any, time_ms: int) -> bool:
    return isinstance(expires_at, int) and expires_at <= time_ms
