"""The keys that `pipy keys` keeps, by the variables that would else hold them.

They are in the system's keyring where there is one, else in `keys.json` of the data directory, a
file that only its user may read. The file names those in the keyring, too (with null for the key),
so that nothing is imported or asked before a key is needed that is there. Only `pipy keys` writes.
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
_KEYRING_SERVICE = "pipy-ai"  # under which the keyring has them

_FileStamp = tuple[str, int, int, int]
_cached_file: tuple[_FileStamp, dict[str, str | None]] | None = None
_keyring_cache: dict[
    tuple[_FileStamp, str], str
] = {}  # of the keyring, which may ask its user each time


class DamagedKeystoreError(ValueError):
    """The file is not what `pipy keys` has written."""


def key_location(name: str) -> str:
    """Where the key of a variable is kept: `keyring`, the file's path, or nothing."""
    stored = _entries_or_warn()
    if name not in stored:
        return ""
    return KEYRING if stored[name] is None else path()


def get_key(name: str) -> str:
    """The key kept for a variable, or nothing."""
    stored = _entries_or_warn()
    if name not in stored:
        return ""
    stored_key = stored[name]
    return _read_from_keyring(name) if stored_key is None else stored_key.strip()


def path() -> str:
    """The file, whether or not it is there."""
    return os.path.join(data_path(), KEYS_FILE)


def _entries_or_warn() -> dict[str, str | None]:
    try:
        return entries()
    except (OSError, DamagedKeystoreError) as error:
        warn_once(f"{error}; the keys in it are left out")
        return {}


def entries() -> dict[str, str | None]:
    """What the file holds: by variable the key, or None for one in the keyring.

    Raises:
        Damaged: it is no such file.
        OSError: it cannot be read.
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
            warn_once(f"others can read your keys: chmod 600 {keys_path}")
        _cached_file = (stamp, _load_file(keys_path))
    return _cached_file[1]


def _load_file(keys_path: str) -> dict[str, str | None]:
    try:
        with open(keys_path, encoding="utf-8") as file:
            data = json.load(file)
    except (ValueError, RecursionError):  # whose text might quote a key
        data = None
    if not isinstance(data, dict) or not all(v is None or type(v) is str for v in data.values()):
        raise DamagedKeystoreError(
            f"{keys_path} is damaged: mend it, or delete it and set your keys again"
        ) from None
    return data


# --- Changing it ----------------------------------------------------------------------------


def set_key(name: str, key: str, in_keyring: bool) -> str:
    """Keep a key; tells where, as `place` does.

    Raises:
        Damaged: the file is not what it should be.
        OSError: it cannot be kept.
    """
    if in_keyring:
        keyring = system_keyring()
        assert keyring is not None
        _run_keyring_action(lambda: keyring.set_password(_KEYRING_SERVICE, name, key))
    _update_file(lambda stored: stored | {name: None if in_keyring else key})
    return key_location(name)


def delete_key(name: str) -> None:
    """Forget a key; errors as for `put`."""
    if entries().get(name, "") is None and (keyring := system_keyring()) is not None:
        _run_keyring_action(lambda: keyring.delete_password(_KEYRING_SERVICE, name))
    _update_file(lambda stored: {other: key for other, key in stored.items() if other != name})


def _run_keyring_action(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception as error:  # of any backend
        raise OSError(f"the system's keyring failed ({type(error).__name__})") from None


def _update_file(update: Callable[[dict[str, str | None]], dict[str, str | None]]) -> None:
    from ..utils.atomic import update_json_file

    update_json_file(path(), lambda: update(entries()))


# --- The system's keyring -------------------------------------------------------------------


def system_keyring() -> Any:
    """The package `keyring`, if it is installed and has somewhere safe to put things, or None."""
    try:
        import keyring
    except ImportError:
        return None
    try:
        is_secure = (
            keyring.get_keyring().priority >= 1
        )  # less is what keyring itself advises against
    except Exception:  # of any backend
        return None
    return keyring if is_secure else None


def _read_from_keyring(name: str) -> str:
    assert _cached_file is not None
    cache_key = (_cached_file[0], name)
    if cache_key not in _keyring_cache:
        keyring, reason = system_keyring(), "there is no keyring here"
        key = None
        if keyring is not None:
            try:
                key, reason = keyring.get_password(_KEYRING_SERVICE, name), "it is gone"
            except Exception as error:  # of any backend
                reason = type(error).__name__
        if not key:
            warn_once(
                f"the system's keyring did not give {name} ({reason}); pipy keys set {name} mends it"
            )
            return ""
        _keyring_cache[cache_key] = str(key).strip()
    return _keyring_cache[cache_key]
