"""What the user has chosen once: `settings.json` in the data directory, written by `pipy`."""

from __future__ import annotations

import json
import os
from typing import Any

from ..utils.paths import data_path

SETTINGS_FILE = "settings.json"
DEFAULT_MODEL_KEY = "default_model"

_warned: set[str] = set()


class DamagedSettingsError(ValueError):
    """The file is no JSON object."""


def settings_path() -> str:
    """The file, whether or not it is there."""
    return os.path.join(data_path(), SETTINGS_FILE)


def read_settings() -> dict[str, Any]:
    """What is set.

    Raises:
        Damaged: the file is no JSON object.
        OSError: it cannot be read.
    """
    file_path = settings_path()
    try:
        with open(file_path, encoding="utf-8-sig") as file:
            data = json.load(file)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise DamagedSettingsError(
            f"{file_path} is damaged ({error}); mend it or delete it"
        ) from None
    if not isinstance(data, dict):
        raise DamagedSettingsError(f"{file_path} is no JSON object; mend it or delete it")
    return data


def get_setting(name: str) -> str:
    """One text, or nothing. A file that cannot be used is told of once, as a warning."""
    try:
        value = read_settings().get(name)
    except (OSError, DamagedSettingsError) as error:
        message = f"{error}; it is left out"
        if message not in _warned:
            _warned.add(message)
            import warnings

            warnings.warn(message, stacklevel=2)
        return ""
    return value.strip() if isinstance(value, str) else ""


def update_setting(name: str, value: str | None) -> None:
    """Set one, or unset it with None.

    Raises:
        Damaged: the file is no JSON object.
        OSError: it cannot be written.
    """
    import filelock

    from ..utils.atomic import write_atomically

    file_path = os.path.realpath(settings_path())
    os.makedirs(os.path.dirname(file_path), exist_ok=True)
    with filelock.FileLock(f"{file_path}.lock", timeout=10):
        updated = {other: existing for other, existing in read_settings().items() if other != name}
        if value is not None:
            updated[name] = value
        write_atomically(file_path, json.dumps(updated, indent=1).encode() + b"\n", mode=0o600)
