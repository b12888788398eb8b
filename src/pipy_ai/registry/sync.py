"""Fetch the catalogue from models.dev and replace the local files.

A feed is accepted if it is complete and valid, and still lists at least half of the known models.
Models that it no longer lists are kept as `removed`. If a sync fails, the old files stay.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

from .._version import __version__
from ..utils.atomic import write_atomically, write_special_file
from ..utils.file_errors import describe_os_error
from ..utils.log import logger
from ..utils.paths import data_path
from ..utils.secrets import mask_url
from ..utils.text import format_count, suggest
from .catalogue import ModelRegistry, packaged_catalogue
from .index import (
    MODELS_FILE,
    STATUS,
    Catalogue,
    CorruptedCatalogueError,
    FileCatalogue,
    models_in_feed,
    providers_in_feed,
)
from .index_writer import encode_catalogue, write_catalogue
from .schema import Model, ModelCost
from .sync_state import UNCONFIRMED, read_sync_state, write_sync_state
from .trust import TrustedProviders

MODELS_DEV_URL = "https://models.dev/api.json"
MAX_FEED_BYTES = 64 << 20
MIN_PROVIDERS, MIN_MODELS = 20, 500  # for the feed of models.dev; a mirror may be smaller
LOCK_FILE = "sync.lock"
READ_TIMEOUT_S = 30.0  # for a single read; the `timeout` of `sync_models` limits the whole


class SyncError(Exception):
    """The sync failed; the old catalogue stays.

    Its cause is the `OSError` if a file could not be written. The new catalogue may then already be
    complete.
    """


@dataclass(frozen=True)
class SyncResult(Mapping[str, Any]):
    """The result of a sync. `added`, `removed` and `repriced` hold full names of models.

    It is also a mapping, of the providers and their models in the shape of models.dev's `api.json`.
    `skipped` is the number of records that are not models, `problems` that of fields with a wrong
    type. `untrusted` lists new addresses and key variables of known providers, which are not used
    until a sync with `trust` confirms them.
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
    untrusted: list[str] = field(default_factory=list)

    @cached_property
    def _feed(self) -> dict[str, Any]:
        feed = ModelRegistry(os.path.dirname(self.path)).to_feed()
        for provider in feed.values():
            provider["models"] = {
                name: record
                for name, record in provider["models"].items()
                if record.get("status") != "removed"
            }
        return {name: provider for name, provider in feed.items() if provider["models"]}

    def __getitem__(self, provider: str) -> Any:
        return self._feed[provider]

    def __iter__(self) -> Iterator[str]:
        return iter(self._feed)

    def __len__(self) -> int:
        return len(self._feed)


def sync_models(
    force: bool = False,
    *,
    output_path: str | os.PathLike[str] | None = None,
    url: str | None = None,
    timeout: float = 60.0,
    wait: bool = True,
    trust: Collection[str] = (),
) -> SyncResult:
    """Update the catalogue from models.dev.

    Args:
        force: Fetch even if nothing has changed, and accept a feed that lacks half of the models.
        output_path: A file to which the catalogue is also written, in the shape of models.dev's
            `api.json`. The catalogue's own file, `models.json` in the data directory, is unchanged.
        url: The address of the feed; default: `PIPY_MODELS_URL`, else models.dev.
        timeout: Seconds for the whole sync.
        wait: Wait (within `timeout`) while another process syncs, instead of failing.
        trust: Providers whose new addresses and key variables are accepted.

    Raises:
        ValueError: The feed has no provider that `trust` names. The old files stay.
        SyncError: The sync failed. The old files stay.
        OSError: `output_path` cannot be written.

    Example:
        >>> from pipy_ai import sync_models
        >>> result = sync_models()                                  # doctest: +SKIP
        >>> result.models, len(result.added)                        # doctest: +SKIP
        (5276, 12)
        >>> result["anthropic"]["name"]                             # doctest: +SKIP
        'Anthropic'
    """
    started = time.monotonic()
    try:
        result = _sync(data_path(), resolve_feed_url(url), force, started + timeout, wait, trust)
    except SyncError as error:
        logger.info("catalogue sync failed after %.1f s: %s", time.monotonic() - started, error)
        raise
    seconds = time.monotonic() - started
    if result.updated:
        logger.info(
            "catalogue synced in %.1f s: %d models of %d providers, %d added, %d removed,"
            " %d repriced%s",
            seconds, result.models, result.providers,
            len(result.added), len(result.removed), len(result.repriced),
            f"; not trusted: {'; '.join(result.untrusted)}" if result.untrusted else "",
        )  # fmt: skip
    else:
        logger.info("catalogue is unchanged, checked in %.1f s", seconds)
    if output_path is not None and os.path.realpath(output_path) != os.path.realpath(result.path):
        content = json.dumps(dict(result), ensure_ascii=False).encode("utf-8", "replace")
        if not write_special_file(output_path, content):
            write_atomically(os.path.realpath(output_path), content)
    return result


def load_models_cache() -> dict[str, Any]:
    """Do the same as `pipy_ai.registry.load_models_cache`, but never start a sync."""
    return ModelRegistry().to_feed()


def _sync(
    directory: str, url: str, force: bool, deadline: float, wait: bool, trust: Collection[str]
) -> SyncResult:
    import filelock

    from ..utils.atomic import hold_lock, make_private_dir

    try:
        make_private_dir(directory)
        timeout_s = max(0.0, deadline - time.monotonic()) if wait else 0
        with hold_lock(os.path.join(directory, LOCK_FILE), timeout_s):
            return _sync_locked(directory, url, force, deadline, trust)
    except filelock.Timeout:
        raise SyncError("another process is syncing") from None
    except OSError as error:
        raise SyncError(f"the catalogue cannot be written: {describe_os_error(error)}") from error


def resolve_feed_url(url: str | None) -> str:
    """Return the address of the feed: `url`, else `PIPY_MODELS_URL`, else models.dev."""
    return url or os.environ.get("PIPY_MODELS_URL", "").strip() or MODELS_DEV_URL


def _sync_locked(
    directory: str, url: str, force: bool, deadline: float, trust: Collection[str]
) -> SyncResult:
    safe_url = mask_url(url)
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
        is_conditional = same_source and not force and not trust
        etag = old.metadata.get("etag") if old is not None and is_conditional else None
        if etag and not (etag.isascii() and etag.isprintable()):
            etag = None
        body, etag = _fetch_before(url, etag, deadline)
        state["checked"] = time.time()
        if body is None:
            if old is None:
                raise SyncError(f"{safe_url} sent an unexpected HTTP 304")
            write_sync_state(directory, state)
            path = os.path.join(directory, MODELS_FILE)
            return SyncResult(False, _count_active(old), len(old.providers), path)
        feed, records, skipped = _parse_feed(body, safe_url)
        if not force:
            _check_completeness(records, providers_in_feed(feed), old, safe_url)
        _check_names(trust, feed)
        untrusted = _trusted_providers(old, directory).apply(feed, trust)
        state["untrusted"] = untrusted
        state[UNCONFIRMED] = _unconfirmed(feed, state, old, directory, trust)
        metadata = {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "source": safe_url,
            "etag": etag,
            "skipped": skipped,
        }
        result, models, index = _merge_and_compile(feed, records, metadata, old, directory)
        result = replace(result, untrusted=untrusted)
        write_catalogue(directory, models, index)
    except SyncError as error:
        write_sync_state(directory, {**state, "error": str(error)})
        raise
    write_sync_state(directory, state)
    return result


def _check_names(trust: Collection[str], feed: Mapping[str, Any]) -> None:
    for name in trust:
        if name not in feed:
            advice = suggest(name, feed) or "pipy providers lists them"
            raise ValueError(f"trust: the feed has no provider {name!r}; {advice}")


def _trusted_providers(old: Catalogue | None, directory: str) -> TrustedProviders:
    trusted = TrustedProviders()
    for catalogue in (old, packaged_catalogue(directory)):
        if catalogue is not None:
            trusted.add(catalogue.providers, dict(catalogue.records()))
    return trusted


def _unconfirmed(
    feed: Mapping[str, Any],
    state: Mapping[str, Any],
    old: Catalogue | None,
    directory: str,
    trust: Collection[str],
) -> list[str]:
    """Return the providers that a feed added and the user has not confirmed.

    They are used only by their full names. The first feed has nothing to be compared with.
    """
    known = set() if old is None else set(old.providers) - set(state[UNCONFIRMED])
    known |= set(packaged_catalogue(directory).providers)
    return sorted(set(feed) - known - set(trust)) if known else []


def _load_current(directory: str) -> Catalogue | None:
    try:
        catalogue = FileCatalogue(directory)
        catalogue.rows()
        for _ in catalogue.records():  # read all: a damaged line would be lost
            pass
    except (OSError, CorruptedCatalogueError, ValueError, KeyError):
        return None
    return catalogue


# --- Download -------------------------------------------------------------------------------


def _fetch_before(url: str, etag: str | None, deadline: float) -> tuple[bytes | None, str | None]:
    """`fetch_feed` with a deadline, since a server may delay every single read."""
    from ..utils.download import run_in_daemon_thread

    fetch = run_in_daemon_thread(lambda: fetch_feed(url, etag))
    try:
        return fetch.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise SyncError(f"{mask_url(url)} took too long") from None


def fetch_feed(url: str, etag: str | None) -> tuple[bytes | None, str | None]:
    """Return the body of the feed and its ETag; the body is None if it has not changed."""
    import httpx

    from ..utils.download import ACCEPT_ENCODING, fetch_error_text, mask_logged_urls, read_body

    headers = {
        "accept": "application/json",
        "user-agent": f"pipy-ai/{__version__}",
        **ACCEPT_ENCODING,
    }
    if etag:
        headers["if-none-match"] = etag
    safe_url = mask_url(url)
    mask_logged_urls()
    try:
        with httpx.stream("GET", url, headers=headers, timeout=READ_TIMEOUT_S) as response:
            if response.status_code == 304:
                return None, etag
            if response.is_redirect:
                location = response.headers.get("location", "elsewhere")
                raise SyncError(
                    f"{safe_url} has moved to {mask_url(location)}; set PIPY_MODELS_URL"
                )
            if response.status_code != 200:
                raise SyncError(f"{safe_url} returned HTTP {response.status_code}")
            content_type = response.headers.get("content-type", "")
            if "html" in content_type:
                raise SyncError(f"{safe_url} returned a web page instead of JSON")
            try:
                body = read_body(response, MAX_FEED_BYTES)
            except ValueError as error:
                raise SyncError(f"{safe_url} cannot be read: {error}") from None
            new_etag = response.headers.get("etag", "")
            is_valid = new_etag.isascii() and new_etag.isprintable()
            return body, new_etag if is_valid else None
    except httpx.TimeoutException:
        raise SyncError(f"{safe_url} did not respond in time") from None
    except httpx.InvalidURL:
        raise SyncError(f"{safe_url!r} is not a valid URL") from None
    except httpx.HTTPError as error:
        raise SyncError(f"{safe_url} cannot be reached: {fetch_error_text(error)}") from None
    except ValueError as error:
        raise SyncError(f"{safe_url} could not be requested: {error}") from None


# --- Validation and merge -------------------------------------------------------------------

Records: TypeAlias = dict[str, dict[str, Any]]


def _parse_feed(body: bytes, url: str) -> tuple[dict[str, Any], Records, int]:
    """Return the feed, its models by full name, and the number of records that are not models."""
    try:
        feed = json.loads(body, parse_constant=lambda _: None, parse_float=_parse_finite)
    except (ValueError, RecursionError) as error:
        raise SyncError(f"{url} returned invalid JSON: {error}") from None
    if not isinstance(feed, dict):
        raise SyncError(f"{url} returned a {type(feed).__name__} instead of a catalogue")
    records, skipped = models_in_feed(feed)
    if not records:
        raise SyncError(f"{url} returned a catalogue without models")
    return feed, records, skipped


def _check_completeness(
    records: Records, providers: Records, old: Catalogue | None, url: str
) -> None:
    known_count = _count_active(old) if old is not None else 0
    if len(records) * 2 < known_count:
        raise SyncError(
            f"{url} lists {format_count(len(records), 'model')} where {known_count:,} were known;"
            " if this is correct, use --force"
        )
    if url == MODELS_DEV_URL and not is_complete_feed(providers, records):
        raise SyncError(
            f"{url} returned an incomplete catalogue ({format_count(len(records), 'model')})"
        )


def is_complete_feed(providers: Collection[str], models: Collection[str]) -> bool:
    """Whether a feed of models.dev is plausible: large enough, with the major providers."""
    return (
        len(providers) >= MIN_PROVIDERS
        and len(models) >= MIN_MODELS
        and {"anthropic", "openai"} <= set(providers)
    )


def _merge_and_compile(
    feed: dict[str, Any],
    records: Records,
    metadata: dict[str, Any],
    old: Catalogue | None,
    directory: str,
) -> tuple[SyncResult, bytes, bytes]:
    """Add the removed models of the old catalogue, and encode the new one."""
    old_records = dict(old.records()) if old is not None else {}
    active_names = {
        name for name, record in old_records.items() if record.get("status") != "removed"
    }
    removed_records = {
        name: {**record, "status": "removed"}
        for name, record in old_records.items()
        if name not in records
    }
    removed_providers = {name.partition("/")[0] for name in removed_records}
    old_providers = old.providers if old is not None else {}
    providers = {
        **{name: record for name, record in old_providers.items() if name in removed_providers},
        **providers_in_feed(feed),
    }
    problems: list[str] = []
    for record in records.values():
        Model.from_dict(record, "", problems)
    models, index = encode_catalogue(
        {**removed_records, **records}, providers, {**metadata, "problems": len(problems)}
    )
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
            if _read_cost(old_records[name]) != _read_cost(records[name])
        ),
        skipped=metadata["skipped"],
        problems=len(problems),
    )
    return result, models, index


def _parse_finite(text: str) -> float | None:
    # JSON cannot express NaN and infinity, which 1e400 becomes.
    number = float(text)
    return number if math.isfinite(number) else None


def _count_active(catalogue: Catalogue) -> int:
    return sum(row[STATUS] != "removed" for row in catalogue.rows().values())


def _read_cost(record: Mapping[str, Any]) -> ModelCost:
    return ModelCost.from_dict(record.get("cost"))
