"""The user's settings: `settings.json` in the data directory, written by `pipy default`."""

from __future__ import annotations

import json
import os
from typing import Any

from ..utils.paths import data_path
from ..utils.warn import warn_once

SETTINGS_FILE = "settings.json"
DEFAULT_MODEL_KEY = "default_model"


class DamagedSettingsError(ValueError):
    """The file is not a JSON object."""


def settings_path() -> str:
    """Return the path of the file, which may not exist."""
    return os.path.join(data_path(), SETTINGS_FILE)


def read_settings() -> dict[str, Any]:
    """Return all settings.

    Raises:
        DamagedSettingsError: The file is not a JSON object.
        OSError: The file cannot be read.
    """
    file_path = settings_path()
    try:
        with open(file_path, "rb") as file:
            data = json.loads(file.read())  # of bytes, it detects the encoding
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise DamagedSettingsError(
            f"{file_path} is damaged ({error}); repair or delete it"
        ) from None
    if not isinstance(data, dict):
        raise DamagedSettingsError(f"{file_path} is not a JSON object; repair or delete it")
    return data


def get_setting(name: str) -> str:
    """Return a text setting, or an empty string. Warns once if the file cannot be used."""
    try:
        value = read_settings().get(name)
    except (OSError, DamagedSettingsError) as error:
        warn_once(f"{error}; it is ignored")
        return ""
    return value.strip() if isinstance(value, str) else ""


def update_setting(name: str, value: str | None) -> None:
    """Set a setting, or remove it if `value` is None.

    Raises:
        DamagedSettingsError: The file is not a JSON object.
        OSError: The file cannot be written.
    """
    from ..utils.atomic import update_json_file

    def updated_settings() -> dict[str, Any]:
        settings = {other: existing for other, existing in read_settings().items() if other != name}
        return settings if value is None else {**settings, name: value}

    update_json_file(settings_path(), updated_settings)
