"""Find what installed packages add: entry points of the groups `pipy_ai.providers` and so on.

They are read only when a name is neither built in nor the user's own. A plugin that cannot be
loaded is named in a warning and skipped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .warn import warn_once

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

KINDS = ("providers", "tools", "templates", "commands")
_MARK = b"[pipy_ai."  # how each group begins
_MAX_REASON_CHARS = 300


class Plugin(NamedTuple):
    """An entry point, and the distribution that has it."""

    entry_point: EntryPoint
    distribution: str

    def load(self) -> Any:
        """Import the object.

        Raises:
            ValueError: It cannot be imported; the message names the plugin.
        """
        try:
            return self.entry_point.load()
        except (Exception, SystemExit) as error:
            raise ValueError(self.problem(error)) from None

    def problem(self, error: BaseException) -> str:
        """Return that the plugin cannot be used, and why."""
        lines = str(error).splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0][:_MAX_REASON_CHARS]}"
        return f"the plugin {self.entry_point.name!r} of {self.distribution} was skipped: {reason}"


def find_plugin(
    kind: str, name: str, use: Callable[[Any], T], warn: Callable[[str], None] = warn_once
) -> T | None:
    """Return what `use` makes of a plugin's object, or None if no plugin has the name.

    Args:
        kind: One of `KINDS`.
        name: The name of the entry point.
        use: Checks or converts the object. If it raises, the plugin is skipped.
        warn: Reports a plugin that was skipped.
    """
    for plugin in plugins(kind):
        if plugin.entry_point.name != name:
            continue
        try:
            value = plugin.load()
        except ValueError as error:
            warn(str(error))
            continue
        try:
            return use(value)
        except Exception as error:
            warn(plugin.problem(error))
    return None


def plugins(kind: str) -> list[Plugin]:
    """Return the plugins of a kind, sorted by name and distribution; none with PIPY_NO_PLUGINS."""
    if os.environ.get("PIPY_NO_PLUGINS", "").strip() not in ("", "0"):
        return []
    return [plugin for group, plugin in _all_plugins(tuple(sys.path)) if group == f"pipy_ai.{kind}"]


@cache
def _all_plugins(search_path: tuple[str, ...]) -> list[tuple[str, Plugin]]:
    folders = [folder for path in search_path for folder in _folders_with_plugins(path)]
    if not folders:
        return []
    from importlib.metadata import Distribution

    found: dict[tuple[str, str, str], Plugin] = {}
    for folder in folders:
        try:
            distribution = Distribution.at(folder)
            name = distribution.name or os.path.basename(folder)
            entry_points = list(distribution.entry_points)
        except Exception as error:  # damaged metadata
            warn_once(f"the plugins of {folder} were skipped: {error}")
            continue
        for entry_point in entry_points:
            key = (entry_point.group, entry_point.name, name)
            found.setdefault(key, Plugin(entry_point, name))  # the first on the path
    return [(key[0], plugin) for key, plugin in sorted(found.items(), key=lambda item: item[0])]


def _folders_with_plugins(path: str) -> Iterator[str]:
    """Yield the metadata folders in a directory that have plugins.

    This is a tenth of the time that `importlib.metadata` takes to be imported.
    """
    try:
        entries = sorted(os.scandir(path or "."), key=lambda entry: entry.name)
    except OSError:  # a zip file, or no directory
        return
    for entry in entries:
        if entry.name.endswith((".dist-info", ".egg-info")):
            try:
                with open(os.path.join(entry.path, "entry_points.txt"), "rb") as file:
                    if _MARK in file.read():
                        yield entry.path
            except OSError:  # there are none
                continue
