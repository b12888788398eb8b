"""Check the data directory and the catalogue."""

from __future__ import annotations

import os
import shlex
import stat
import time
from collections.abc import Callable, Iterator

from ...utils.text import format_count
from ..display.catalogue import MAX_PRICE_AGE_DAYS, price_age_days
from ..display.terminal import format_error
from .finding import FAIL, OK, WARN, Finding

_TEMPORARY_S = 3600.0  # no file takes longer to write


def check_data_dir() -> Iterator[Finding]:
    from ...utils.paths import data_path

    data_dir = data_path()
    existing_dir = os.path.abspath(data_dir)
    while not os.path.isdir(existing_dir) and existing_dir != os.path.dirname(existing_dir):
        existing_dir = os.path.dirname(existing_dir)
    if not os.access(existing_dir, os.W_OK):
        fix = "set PIPY_DATA_DIR to a directory that you own"
        yield Finding("data", FAIL, f"{data_dir} cannot be written", fix)
    elif (
        os.name == "posix"
        and os.stat(existing_dir).st_mode & stat.S_IWOTH
        and existing_dir == data_dir
    ):
        yield Finding("data", WARN, f"anyone can write to {data_dir}", f"chmod o-w {data_dir}")
    else:
        yield Finding(
            "data", OK, data_dir if existing_dir == data_dir else f"{data_dir}, not created yet"
        )
    yield from _check_files(data_dir)


def _check_files(data_dir: str) -> Iterator[Finding]:
    """Check the files that can be damaged or readable by others."""
    from ...errors import ProviderError
    from ...provider.router import load_router_config
    from ...registry import keystore
    from ...registry.settings import read_settings

    readers: tuple[Callable[[], object], ...] = (
        keystore.entries,
        read_settings,
        load_router_config,
    )
    for reader in readers:
        try:
            reader()
        except (ValueError, OSError) as error:
            yield Finding("data", FAIL, format_error(error))
        except ProviderError as error:
            yield Finding("data", FAIL, error.error.message)
    keys_path = keystore.path()
    if os.name == "posix" and os.path.isfile(keys_path) and os.stat(keys_path).st_mode & 0o077:
        yield Finding("data", WARN, f"others can read {keys_path}", f"chmod 600 {keys_path}")
    leftovers = list(_temporary_files(data_dir))
    if leftovers:
        size_mb = sum(map(_total_size, leftovers)) / 1e6
        files = format_count(len(leftovers), "temporary file")
        text = f"{files} of killed processes, {size_mb:.1f} MB"
        yield Finding("data", WARN, text, f"rm -r {shlex.join(leftovers)}")


def _temporary_files(data_dir: str) -> Iterator[str]:
    """Return temporary files and directories that no running process can still be writing."""
    for directory, child_names, names in os.walk(data_dir):
        for name in (*child_names, *names):
            path = os.path.join(directory, name)
            if name.endswith(".tmp") and os.path.getmtime(path) < time.time() - _TEMPORARY_S:
                yield path
        child_names[:] = [name for name in child_names if not name.endswith(".tmp")]


def _total_size(path: str) -> int:
    """Return the size of a file, or of all files in a directory."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    files = (os.path.join(parent, name) for parent, _, names in os.walk(path) for name in names)
    return sum(map(os.path.getsize, files))


def check_catalogue() -> Iterator[Finding]:
    from ...registry import get_registry
    from ...registry.auto_sync import is_offline
    from ...registry.sync_state import read_sync_state
    from ...utils.paths import data_path

    registry = get_registry()
    detail = f"dated {registry.date or 'unknown'}, source: {registry.metadata.get('source')}"
    age_days = price_age_days(registry.date)
    state = read_sync_state(data_path())
    error, untrusted = state.get("error"), state.get("untrusted")
    for change in untrusted if isinstance(untrusted, list) else ():
        provider = str(change).partition(":")[0]
        fix = f"if the provider announced this: pipy sync --trust {provider}"
        yield Finding("catalogue", WARN, f"a change was not applied: {change}", fix)
    if error:
        yield Finding("catalogue", WARN, f"{detail}; the last sync failed: {error}", "pipy sync")
    elif age_days > MAX_PRICE_AGE_DAYS:
        yield Finding(
            "catalogue", WARN, f"{detail}; the prices are {age_days} days old", "pipy sync"
        )
    else:
        yield Finding("catalogue", OK, f"{detail}{', PIPY_OFFLINE is set' if is_offline() else ''}")
