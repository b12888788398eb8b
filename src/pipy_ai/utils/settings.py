"""What the user has chosen once: `settings.json` in the data directory, written by `pipy`."""

from __future__ import annotations

import json
import os
from typing import Any

from .paths import data_path

FILE = "settings.json"
DEFAULT_MODEL = "default_model"

_said: set[str] = set()


class Damaged(ValueError):
    """The file is no JSON object."""


def path() -> str:
    """The file, whether or not it is there."""
    return os.path.join(data_path(), FILE)


def settings() -> dict[str, Any]:
    """What is set.

    Raises:
        Damaged: the file is no JSON object.
        OSError: it cannot be read.
    """
    where = path()
    try:
        with open(where, encoding="utf-8-sig") as file:
            said = json.load(file)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{where} is damaged ({error}); mend it or delete it") from None
    if not isinstance(said, dict):
        raise Damaged(f"{where} is no JSON object; mend it or delete it")
    return said


def setting(name: str) -> str:
    """One text, or nothing. A file that cannot be used is told of once, as a warning."""
    try:
        value = settings().get(name)
    except (OSError, Damaged) as error:
        text = f"{error}; it is left out"
        if text not in _said:
            _said.add(text)
            import warnings

            warnings.warn(text, stacklevel=2)
        return ""
    return value.strip() if isinstance(value, str) else ""


def change(name: str, value: str | None) -> None:
    """Set one, or unset it with None.

    Raises:
        Damaged: the file is no JSON object.
        OSError: it cannot be written.
    """
    import filelock

    from ..registry.store import write_atomically

    where = os.path.realpath(path())
    os.makedirs(os.path.dirname(where), exist_ok=True)
    with filelock.FileLock(f"{where}.lock", timeout=10):
        kept = {other: said for other, said in settings().items() if other != name}
        if value is not None:
            kept[name] = value
        write_atomically(where, json.dumps(kept, indent=1).encode() + b"\n", mode=0o600)
