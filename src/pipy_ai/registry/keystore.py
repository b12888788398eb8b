"""The API keys that `pipy keys` stores, by the name of their environment variable.

Keys are stored in the system's keyring if there is one, otherwise in `keys.json` in the data
directory, which only the user can read. The file also lists the keys in the keyring (as null), so
that the keyring is only imported and accessed when one of them is needed.
"""

from __future__ import annotations

import json
import os

from ..utils.paths import data_path
from ..utils.warn import warn_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

KEYS_FILE = "keys.json"
KEYRING = "keyring"
_KEYRING_SERVICE = "pipy-ai"

_FileStamp = tuple[str, int, int, int]
_cached_file: tuple[_FileStamp, dict[str, str | None]] | None = None
# Some keyrings prompt the user on each access.
_keyring_cache: dict[tuple[_FileStamp, str], str] = {}


class DamagedKeystoreError(ValueError):
    """The file is not valid."""


def key_location(name: str) -> str:
    """Return where the key of a variable is stored: `keyring`, the file's path, or ""."""
    stored = _entries_or_warn()
    if name not in stored:
        return ""
    return KEYRING if stored[name] is None else path()


def get_key(name: str) -> str:
    """Return the stored key of a variable, or ""."""
    stored = _entries_or_warn()
    if name not in stored:
        return ""
    stored_key = stored[name]
    return _read_from_keyring(name) if stored_key is None else stored_key.strip()


def path() -> str:
    """Return the path of the file, which may not exist."""
    return os.path.join(data_path(), KEYS_FILE)


def _entries_or_warn() -> dict[str, str | None]:
    try:
        return entries()
    except (OSError, DamagedKeystoreError) as error:
        warn_once(f"{error}; its keys are ignored")
        return {}


def entries() -> dict[str, str | None]:
    """Return the stored keys by variable; None stands for a key in the keyring.

    Raises:
        DamagedKeystoreError: The file is not valid.
        OSError: The file cannot be read.
    """
    global _cached_file
    keys_path = path()
    try:
        stat_result = os.stat(keys_path)
    except FileNotFoundError:
        return {}
    stamp = (keys_path, stat_result.st_mtime_ns, stat_result.st_ino, stat_result.st_size)
    if _cached_file is None or _cached_file[0] != stamp:
        if os.name == "posix" and stat_result.st_mode & 0o077:
            warn_once(f"other users can read your keys; run chmod 600 {keys_path}")
        _cached_file = (stamp, _load_file(keys_path))
    return _cached_file[1]


def _load_file(keys_path: str) -> dict[str, str | None]:
    try:
        with open(keys_path, "rb") as file:
            data = json.loads(file.read())  # of bytes, it detects the encoding
    except (ValueError, RecursionError):  # the error message might quote a key
        data = None
    if not isinstance(data, dict) or not all(v is None or type(v) is str for v in data.values()):
        raise DamagedKeystoreError(
            f"{keys_path} is damaged: repair it, or delete it and set your keys again"
        ) from None
    return data


# --- Changes --------------------------------------------------------------------------------


def set_key(name: str, key: str, in_keyring: bool) -> str:
    """Store a key and return its location, as `key_location` does.

    Raises:
        DamagedKeystoreError: The file is not valid.
        OSError: The key cannot be stored.
    """
    if in_keyring:
        keyring = system_keyring()
        assert keyring is not None
        _run_keyring_action(lambda: keyring.set_password(_KEYRING_SERVICE, name, key))
    _update_file(lambda stored: stored | {name: None if in_keyring else key})
    return key_location(name)


def delete_key(name: str) -> None:
    """Delete a key; raises the same errors as `set_key`."""
    if entries().get(name, "") is None and (keyring := system_keyring()) is not None:
        _run_keyring_action(lambda: keyring.delete_password(_KEYRING_SERVICE, name))
    _update_file(lambda stored: {other: key for other, key in stored.items() if other != name})


def _run_keyring_action(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception as error:  # backends raise anything
        raise OSError(f"the system's keyring failed ({type(error).__name__})") from None


def _update_file(update: Callable[[dict[str, str | None]], dict[str, str | None]]) -> None:
    from ..utils.atomic import update_json_file

    update_json_file(path(), lambda: update(entries()))


# --- The system's keyring -------------------------------------------------------------------


def system_keyring() -> Any:
    """Return the package `keyring` if it is installed and has a secure backend, else None."""
    try:
        import keyring
    except ImportError:
        return None
    try:
        # `keyring` recommends no backend with a lower priority.
        is_secure = keyring.get_keyring().priority >= 1
    except Exception:  # backends raise anything
        return None
    return keyring if is_secure else None


def _read_from_keyring(name: str) -> str:
    assert _cached_file is not None
    cache_key = (_cached_file[0], name)
    if cache_key not in _keyring_cache:
        keyring, reason = system_keyring(), "no keyring is available"
        key = None
        if keyring is not None:
            try:
                key, reason = (
                    keyring.get_password(_KEYRING_SERVICE, name),
                    "the entry no longer exists",
                )
            except Exception as error:  # backends raise anything
                reason = type(error).__name__
        if not key:
            warn_once(
                f"the system's keyring did not return {name} ({reason});"
                f" run pipy keys set {name} to store it again"
            )
            return ""
        _keyring_cache[cache_key] = str(key).strip()
    return _keyring_cache[cache_key]
