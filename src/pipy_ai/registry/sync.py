"""Fetches the catalogue from models.dev, and replaces the files only by something better.

A feed is taken when it came whole, is what it should be, and does not lack half of what was known.
Models that a feed no longer lists stay, as `removed`. What fails leaves the old files as they are.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._version import __version__
from ..utils.paths import data_path
from ..utils.secrets import strip_userinfo
from ..utils.text import error_text
from .catalogue import ModelRegistry
from .index import (
    MODELS_FILE,
    STATUS,
    Catalogue,
    CorruptedCatalogueError,
    FileCatalogue,
    encode_catalogue,
    models_in_feed,
    providers_in_feed,
    write_catalogue,
)
from .schema import Model, ModelCost
from .sync_state import read_sync_state, write_sync_state

MODELS_DEV_URL = "https://models.dev/api.json"
MAX_FEED_BYTES = 64 << 20
MIN_PROVIDERS, MIN_MODELS = 20, 500  # of models.dev itself; a mirror may be small
LOCK_FILE = "sync.lock"
READ_TIMEOUT_S = 30.0  # seconds that one read may take; the whole has its own clock


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
        lock = filelock.FileLock(os.path.join(directory, LOCK_FILE))
        with lock.acquire(timeout=timeout if wait else 0):
            return _sync_locked(directory, resolve_feed_url(url), force, deadline)
    except filelock.Timeout:
        raise SyncError("another process is syncing") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise SyncError(f"{directory} cannot be written: {reason}") from None


def resolve_feed_url(url: str | None) -> str:
    """Where the catalogue comes from: `url`, else `PIPY_MODELS_URL`, else models.dev."""
    return url or os.environ.get("PIPY_MODELS_URL", "").strip() or MODELS_DEV_URL


def _sync_locked(directory: str, url: str, force: bool, deadline: float) -> SyncResult:
    safe_url = strip_userinfo(url)
    state: dict[str, Any] = {
        **read_sync_state(directory),
        "attempted": time.time(),
        "url": safe_url,
    }
    state.pop("error", None)
    write_sync_state(directory, state)
    old = _load_current(directory)
    same_source = old is not None and old.metadata.get("source") == safe_url
    try:
        etag = old.metadata.get("etag") if old is not None and same_source and not force else None
        if etag and not (etag.isascii() and etag.isprintable()):
            etag = None
        body, etag = _fetch_before(url, etag, deadline)
        state["checked"] = time.time()
        if body is None:
            if old is None:
                raise SyncError(f"{safe_url} says that nothing is new, and was not asked that")
            write_sync_state(directory, state)
            path = os.path.join(directory, MODELS_FILE)
            return SyncResult(False, _count_active(old), len(old.providers), path)
        result, models, index = _validate_and_compile(body, etag, safe_url, old, force, directory)
        write_catalogue(directory, models, index)
    except SyncError as error:
        write_sync_state(directory, {**state, "error": str(error)})
        raise
    write_sync_state(directory, state)
    return result


def _load_current(directory: str) -> Catalogue | None:
    try:
        catalogue = FileCatalogue(directory)
        catalogue.rows()
        for _ in catalogue.records():  # a damaged line would be lost for ever
            pass
    except (OSError, CorruptedCatalogueError, ValueError, KeyError):
        return None
    return catalogue


# --- Over the network -----------------------------------------------------------------------


def _fetch_before(url: str, etag: str | None, deadline: float) -> tuple[bytes | None, str | None]:
    """`_fetch`, ended by the clock: a server may keep each single read waiting."""
    outcome: list[tuple[bytes | None, str | None] | Exception] = []

    def run_fetch() -> None:
        try:
            outcome.append(_fetch(url, etag))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run_fetch, name="pipy-ai-fetch", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if not outcome:
        raise SyncError(f"{strip_userinfo(url)} took too long")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _fetch(url: str, etag: str | None) -> tuple[bytes | None, str | None]:
    """The body and its ETag; no body: nothing has changed."""
    import httpx

    headers = {"accept": "application/json", "user-agent": f"pipy-ai/{__version__}"}
    if etag:
        headers["if-none-match"] = etag
    safe_url = strip_userinfo(url)
    try:
        with httpx.stream("GET", url, headers=headers, timeout=READ_TIMEOUT_S) as response:
            if response.status_code == 304:
                return None, etag
            if response.is_redirect:
                location = response.headers.get("location", "elsewhere")
                raise SyncError(
                    f"{safe_url} has moved to {strip_userinfo(location)}; set PIPY_MODELS_URL"
                )
            if response.status_code != 200:
                raise SyncError(f"{safe_url} answered HTTP {response.status_code}")
            content_type = response.headers.get("content-type", "")
            if "html" in content_type:
                raise SyncError(f"{safe_url} answered with a web page, not with JSON")
            chunks, size = [], 0
            for chunk in response.iter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_FEED_BYTES:
                    raise SyncError(f"{safe_url} sends more than {MAX_FEED_BYTES >> 20} MB")
            new_etag = response.headers.get("etag", "")
            return b"".join(
                chunks
            ), new_etag if new_etag.isascii() and new_etag.isprintable() else None
    except httpx.TimeoutException:
        raise SyncError(f"{safe_url} did not answer in time") from None
    except httpx.InvalidURL:
        raise SyncError(f"{safe_url!r} is no address") from None
    except httpx.HTTPError as error:
        raise SyncError(f"{safe_url} was not reached: {error_text(error)}") from None
    except ValueError as error:
        raise SyncError(f"{safe_url} was not asked: {error}") from None


# --- Whether it is better -------------------------------------------------------------------


def _validate_and_compile(
    body: bytes,
    etag: str | None,
    url: str,
    old: Catalogue | None,
    force: bool,
    directory: str,
) -> tuple[SyncResult, bytes, bytes]:
    try:
        feed = json.loads(body, parse_constant=lambda _: None, parse_float=_parse_finite)
    except (ValueError, RecursionError) as error:
        raise SyncError(f"{url} did not send JSON: {error}") from None
    if not isinstance(feed, dict):
        raise SyncError(f"{url} did not send a catalogue but a {type(feed).__name__}")
    providers = providers_in_feed(feed)
    records, skipped = models_in_feed(feed)
    previous_count = _count_active(old) if old is not None else 0
    if not records:
        raise SyncError(f"{url} did not send a catalogue: it lists no model")
    if not force and len(records) * 2 < previous_count:
        raise SyncError(
            f"{url} lists {len(records)} models where {previous_count} were known; if that is right, use "
            "--force"
        )
    if (
        not force
        and url == MODELS_DEV_URL
        and (
            len(providers) < MIN_PROVIDERS
            or len(records) < MIN_MODELS
            or not {"anthropic", "openai"} <= providers.keys()
        )
    ):
        raise SyncError(f"{url} did not send a whole catalogue ({len(records)} models)")
    previous_records = dict(old.records()) if old is not None else {}
    active_names = {
        name for name, record in previous_records.items() if record.get("status") != "removed"
    }
    removed_records = {
        name: {**record, "status": "removed"}
        for name, record in previous_records.items()
        if name not in records
    }
    if old is not None:  # the providers of what is gone
        removed_providers = {name.partition("/")[0] for name in removed_records}
        providers = {
            **{
                name: provider_record
                for name, provider_record in old.providers.items()
                if name in removed_providers
            },
            **providers,
        }
    problems: list[str] = []
    for record in records.values():
        _collect_problems(record, problems)
    metadata = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "source": url,
        "etag": etag,
        "skipped": skipped,
        "problems": len(problems),
    }
    models, index = encode_catalogue({**removed_records, **records}, providers, metadata)
    result = SyncResult(
        updated=True,
        models=len(records),
        providers=len({name.partition("/")[0] for name in records}),
        path=os.path.join(directory, MODELS_FILE),
        added=sorted(records.keys() - active_names) if old is not None else [],
        removed=sorted(active_names - records.keys()),
        repriced=sorted(
            name
            for name in active_names & records.keys()
            if _read_cost(previous_records[name]) != _read_cost(records[name])
        ),
        skipped=skipped,
        problems=len(problems),
    )
    return result, models, index


def _parse_finite(text: str) -> float | None:
    """A number that JSON can write again: NaN and 1e400 it cannot."""
    number = float(text)
    return number if math.isfinite(number) else None


def _count_active(catalogue: Catalogue) -> int:
    return sum(row[STATUS] != "removed" for row in catalogue.rows().values())


def _read_cost(record: Mapping[str, Any]) -> ModelCost:
    return ModelCost.from_dict(record.get("cost"))


def _collect_problems(record: Mapping[str, Any], problems: list[str]) -> None:
    Model.from_dict(record, "", problems)


def load_models_cache() -> dict[str, Any]:
    """Return the same as `pipy_ai.registry.load_models_cache`, but never start a sync."""
    return ModelRegistry().to_feed()
