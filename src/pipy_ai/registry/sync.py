"""Fetches the catalogue from models.dev, and replaces the files only by something better.

A feed is taken when it came whole, is what it should be, and does not lack half of what was known.
Models that a feed no longer lists stay, as `removed`. What fails leaves the old files as they are.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipy_ai import __version__

from ..utils.paths import data_path
from ..utils.plain import why
from .auto import STATE, state_of
from .registry import reload_registry
from .schema import Model, ModelCost
from .store import (
    MODELS,
    STATUS,
    Catalogue,
    Corrupted,
    FileCatalogue,
    compile_feed,
    hosts_of,
    records_of,
    write,
    write_atomically,
)

URL = "https://models.dev/api.json"
MAX_BYTES = 64 << 20
LEAST_PROVIDERS, LEAST_MODELS = 20, 500  # of models.dev itself; a mirror may be small
LOCK = "sync.lock"
READ = 30.0  # seconds that one read may take; the whole has its own clock


class SyncError(Exception):
    """The catalogue could not be renewed; the old one stays."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync did: `added`, `removed` and `repriced` are full names.

    `skipped` counts records that were no models, `problems` fields that had a wrong type.
    """

    updated: bool
    models: int
    providers: int
    path: str
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    repriced: list[str] = field(default_factory=list)
    skipped: int = 0
    problems: int = 0


def sync_models(
    force: bool = False,
    *,
    url: str | None = None,
    timeout: float = 60.0,
    wait: bool = True,
) -> SyncResult:
    """Bring the catalogue up to date.

    Args:
        force: Fetch even if nothing has changed, and take a feed that lacks half of the models.
        url: Where from; default `PIPY_MODELS_URL`, else models.dev.
        timeout: Seconds for everything.
        wait: Wait (within `timeout`) for another process that is at it, instead of failing.

    Raises:
        SyncError: it did not work; the text says why. The old files stay.

    Example:
        >>> from pipy_ai import sync_models
        >>> result = sync_models()                                  # doctest: +SKIP
        >>> result.models, len(result.added)                        # doctest: +SKIP
        (5276, 12)
    """
    import filelock

    directory = data_path()
    deadline = time.monotonic() + timeout
    try:
        os.makedirs(directory, exist_ok=True)
        lock = filelock.FileLock(os.path.join(directory, LOCK))
        with lock.acquire(timeout=timeout if wait else 0):
            return _sync(directory, address_of_feed(url), force, deadline)
    except filelock.Timeout:
        raise SyncError("another process is syncing") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise SyncError(f"{directory} cannot be written: {reason}") from None


def address_of_feed(url: str | None) -> str:
    """Where the catalogue comes from: `url`, else `PIPY_MODELS_URL`, else models.dev."""
    return url or os.environ.get("PIPY_MODELS_URL", "").strip() or URL


def _sync(directory: str, url: str, force: bool, deadline: float) -> SyncResult:
    shown = public(url)
    state: dict[str, Any] = {**state_of(directory), "attempted": time.time(), "url": shown}
    state.pop("error", None)
    _remember(directory, state)
    old = _present(directory)
    same_source = old is not None and old.about.get("source") == shown
    try:
        etag = old.about.get("etag") if old is not None and same_source and not force else None
        if etag and not (etag.isascii() and etag.isprintable()):
            etag = None
        body, etag = _in_time(url, etag, deadline)
        state["checked"] = time.time()
        if body is None:
            if old is None:
                raise SyncError(f"{shown} says that nothing is new, and was not asked that")
            _remember(directory, state)
            path = os.path.join(directory, MODELS)
            return SyncResult(False, _live(old), len(old.hosts), path)
        result, models, index = _judge(body, etag, shown, old, force, directory)
        write(directory, models, index)
    except SyncError as error:
        _remember(directory, {**state, "error": str(error)})
        raise
    _remember(directory, state)
    reload_registry()
    return result


def _remember(directory: str, state: Mapping[str, Any]) -> None:
    write_atomically(os.path.join(directory, STATE), json.dumps(state, indent=1).encode())


def _present(directory: str) -> Catalogue | None:
    try:
        catalogue = FileCatalogue(directory)
        catalogue.rows()
        for _ in catalogue.records():  # a damaged line would be lost for ever
            pass
    except (OSError, Corrupted, ValueError, KeyError):
        return None
    return catalogue


# --- Over the network -----------------------------------------------------------------------


def public(url: str) -> str:
    """An address without the name and password that it may hold."""
    return re.sub(r"^(\w+://|//)?.*@", r"\1", url, flags=re.DOTALL)


def _in_time(url: str, etag: str | None, deadline: float) -> tuple[bytes | None, str | None]:
    """`_fetch`, ended by the clock: a server may keep each single read waiting."""
    done: list[tuple[bytes | None, str | None] | Exception] = []

    def work() -> None:
        try:
            done.append(_fetch(url, etag))
        except Exception as error:
            done.append(error)

    thread = threading.Thread(target=work, name="pipy-ai-fetch", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if not done:
        raise SyncError(f"{public(url)} took too long")
    if isinstance(done[0], Exception):
        raise done[0]
    return done[0]


def _fetch(url: str, etag: str | None) -> tuple[bytes | None, str | None]:
    """The body and its ETag; no body: nothing has changed."""
    import httpx

    headers = {"accept": "application/json", "user-agent": f"pipy-ai/{__version__}"}
    if etag:
        headers["if-none-match"] = etag
    shown = public(url)
    try:
        with httpx.stream("GET", url, headers=headers, timeout=READ) as response:
            if response.status_code == 304:
                return None, etag
            if response.is_redirect:
                where = response.headers.get("location", "elsewhere")
                raise SyncError(f"{shown} has moved to {public(where)}; set PIPY_MODELS_URL")
            if response.status_code != 200:
                raise SyncError(f"{shown} answered HTTP {response.status_code}")
            kind = response.headers.get("content-type", "")
            if "html" in kind:
                raise SyncError(f"{shown} answered with a web page, not with JSON")
            pieces, size = [], 0
            for piece in response.iter_bytes():
                pieces.append(piece)
                size += len(piece)
                if size > MAX_BYTES:
                    raise SyncError(f"{shown} sends more than {MAX_BYTES >> 20} MB")
            fresh = response.headers.get("etag", "")
            return b"".join(pieces), fresh if fresh.isascii() and fresh.isprintable() else None
    except httpx.TimeoutException:
        raise SyncError(f"{shown} did not answer in time") from None
    except httpx.InvalidURL:
        raise SyncError(f"{shown!r} is no address") from None
    except httpx.HTTPError as error:
        raise SyncError(f"{shown} was not reached: {why(error)}") from None
    except ValueError as error:
        raise SyncError(f"{shown} was not asked: {error}") from None


# --- Whether it is better -------------------------------------------------------------------


def _judge(
    body: bytes,
    etag: str | None,
    url: str,
    old: Catalogue | None,
    force: bool,
    directory: str,
) -> tuple[SyncResult, bytes, bytes]:
    try:
        feed = json.loads(body, parse_constant=lambda _: None, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise SyncError(f"{url} did not send JSON: {error}") from None
    if not isinstance(feed, dict):
        raise SyncError(f"{url} did not send a catalogue but a {type(feed).__name__}")
    hosts = hosts_of(feed)
    records, skipped = records_of(feed)
    before = _live(old) if old is not None else 0
    if not records:
        raise SyncError(f"{url} did not send a catalogue: it lists no model")
    if not force and len(records) * 2 < before:
        raise SyncError(
            f"{url} lists {len(records)} models where {before} were known; if that is right, use "
            "--force"
        )
    if (
        not force
        and url == URL
        and (
            len(hosts) < LEAST_PROVIDERS
            or len(records) < LEAST_MODELS
            or not {"anthropic", "openai"} <= hosts.keys()
        )
    ):
        raise SyncError(f"{url} did not send a whole catalogue ({len(records)} models)")
    known = dict(old.records()) if old is not None else {}
    there = {name for name, record in known.items() if record.get("status") != "removed"}
    gone = {
        name: {**record, "status": "removed"}
        for name, record in known.items()
        if name not in records
    }
    if old is not None:  # the providers of what is gone
        kept = {name.partition("/")[0] for name in gone}
        hosts = {**{name: host for name, host in old.hosts.items() if name in kept}, **hosts}
    problems: list[str] = []
    for record in records.values():
        _check(record, problems)
    about = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "source": url,
        "etag": etag,
        "skipped": skipped,
        "problems": len(problems),
    }
    models, index = compile_feed({**gone, **records}, hosts, about)
    result = SyncResult(
        updated=True,
        models=len(records),
        providers=len({name.partition("/")[0] for name in records}),
        path=os.path.join(directory, MODELS),
        added=sorted(records.keys() - there) if old is not None else [],
        removed=sorted(there - records.keys()),
        repriced=sorted(
            name
            for name in there & records.keys()
            if _prices(known[name]) != _prices(records[name])
        ),
        skipped=skipped,
        problems=len(problems),
    )
    return result, models, index


def _finite(text: str) -> float | None:
    """A number that JSON can write again: NaN and 1e400 it cannot."""
    number = float(text)
    return number if math.isfinite(number) else None


def _live(catalogue: Catalogue) -> int:
    return sum(row[STATUS] != "removed" for row in catalogue.rows().values())


def _prices(record: Mapping[str, Any]) -> ModelCost:
    return ModelCost.from_dict(record.get("cost"))


def _check(record: Mapping[str, Any], problems: list[str]) -> None:
    Model.from_dict(record, "", problems)


def load_models_cache() -> dict[str, Any]:
    """The whole catalogue in the shape of models.dev's `api.json`: providers, and their models.

    Example:
        >>> from pipy_ai.registry import load_models_cache
        >>> load_models_cache()["anthropic"]["name"]
        'Anthropic'
    """
    from .registry import get_registry

    registry = get_registry()
    feed: dict[str, Any] = {name: {**host, "models": {}} for name, host in registry.hosts().items()}
    for model in registry.list_all():
        host = feed.setdefault(model.provider, {"id": model.provider, "models": {}})
        host["models"][model.id] = model.raw
    return feed


__all__ = ["SyncError", "SyncResult", "load_models_cache", "sync_models"]
