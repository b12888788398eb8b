"""The keys that `pipy keys` keeps, by the variables that would else hold them.

They are in the system's keyring where there is one, else in `keys.json` of the data directory, a
file that only its user may read. The file names those in the keyring, too (with null for the key),
so that nothing is imported or asked before a key is needed that is there. Only `pipy keys` writes.
"""

from __future__ import annotations

import json
import os

from ..utils.paths import data_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FILE = "keys.json"
KEYRING = "keyring"
_SERVICE = "pipy-ai"  # under which the keyring has them

_Stamp = tuple[str, int, int, int]
_read: tuple[_Stamp, dict[str, str | None]] | None = None
_fetched: dict[tuple[_Stamp, str], str] = {}  # of the keyring, which may ask its user each time
_said: set[str] = set()


class Damaged(ValueError):
    """The file is not what `pipy keys` has written."""


def place(name: str) -> str:
    """Where the key of a variable is kept: `keyring`, the file's path, or nothing."""
    kept = _kept()
    if name not in kept:
        return ""
    return KEYRING if kept[name] is None else path()


def value(name: str) -> str:
    """The key kept for a variable, or nothing."""
    kept = _kept()
    if name not in kept:
        return ""
    said = kept[name]
    return _from_keyring(name) if said is None else said.strip()


def path() -> str:
    """The file, whether or not it is there."""
    return os.path.join(data_path(), FILE)


def _kept() -> dict[str, str | None]:
    try:
        return entries()
    except (OSError, Damaged) as error:
        _say(f"{error}; the keys in it are left out")
        return {}


def entries() -> dict[str, str | None]:
    """What the file holds: by variable the key, or None for one in the keyring.

    Raises:
        Damaged: it is no such file.
        OSError: it cannot be read.
    """
    global _read
    where = path()
    try:
        status = os.stat(where)
    except FileNotFoundError:
        return {}
    stamp = (where, status.st_mtime_ns, status.st_ino, status.st_size)
    if _read is None or _read[0] != stamp:
        if os.name == "posix" and status.st_mode & 0o077:
            _say(f"others can read your keys: chmod 600 {where}")
        _read = (stamp, _load(where))
    return _read[1]


def _load(where: str) -> dict[str, str | None]:
    try:
        with open(where, encoding="utf-8") as file:
            said = json.load(file)
    except (ValueError, RecursionError):  # whose text might quote a key
        said = None
    if not isinstance(said, dict) or not all(v is None or type(v) is str for v in said.values()):
        raise Damaged(
            f"{where} is damaged: mend it, or delete it and set your keys again"
        ) from None
    return said


# --- Changing it ----------------------------------------------------------------------------


def put(name: str, key: str, in_keyring: bool) -> str:
    """Keep a key; tells where, as `place` does.

    Raises:
        Damaged: the file is not what it should be.
        OSError: it cannot be kept.
    """
    if in_keyring:
        keyring = system_keyring()
        assert keyring is not None
        _in_keyring(lambda: keyring.set_password(_SERVICE, name, key))
    _change(lambda kept: kept | {name: None if in_keyring else key})
    return place(name)


def remove(name: str) -> None:
    """Forget a key; errors as for `put`."""
    if entries().get(name, "") is None and (keyring := system_keyring()) is not None:
        _in_keyring(lambda: keyring.delete_password(_SERVICE, name))
    _change(lambda kept: {other: key for other, key in kept.items() if other != name})


def _in_keyring(act: Callable[[], None]) -> None:
    try:
        act()
    except Exception as error:  # of any backend
        raise OSError(f"the system's keyring failed ({type(error).__name__})") from None


def _change(how: Callable[[dict[str, str | None]], dict[str, str | None]]) -> None:
    import filelock

    from .store import write_atomically

    where = os.path.realpath(path())
    os.makedirs(os.path.dirname(where), exist_ok=True)
    with filelock.FileLock(f"{where}.lock", timeout=10):
        content = json.dumps(how(entries()), indent=1).encode() + b"\n"
        write_atomically(where, content, mode=0o600)


# --- The system's keyring -------------------------------------------------------------------


def system_keyring() -> Any:
    """The package `keyring`, if it is installed and has somewhere safe to put things, or None."""
    try:
        import keyring
    except ImportError:
        return None
    try:
        safe = keyring.get_keyring().priority >= 1  # less is what keyring itself advises against
    except Exception:  # of any backend
        return None
    return keyring if safe else None


def _from_keyring(name: str) -> str:
    assert _read is not None
    at = (_read[0], name)
    if at not in _fetched:
        keyring, why = system_keyring(), "there is no keyring here"
        key = None
        if keyring is not None:
            try:
                key, why = keyring.get_password(_SERVICE, name), "it is gone"
            except Exception as error:  # of any backend
                why = type(error).__name__
        if not key:
            _say(f"the system's keyring did not give {name} ({why}); pipy keys set {name} mends it")
            return ""
        _fetched[at] = str(key).strip()
    return _fetched[at]


def _say(text: str) -> None:
    """Tell the user once, as a warning."""
    if text not in _said:
        _said.add(text)
        import warnings

        warnings.warn(text, stacklevel=2)
