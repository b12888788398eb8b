"""Answer requests from a cache of responses: keys, entries, and one request at a time per key."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hashlib
import json
import os
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import MISSING, asdict, fields
from types import TracebackType
from typing import Any, TypeVar, cast, get_args

from ..errors import ProviderError
from ..response_cache import ResponseCache, chosen_cache
from ..types import AssistantMessage, CacheHit, Cost
from ..utils import event_loop as loops
from ..utils.construct import construct_unchecked
from .base import Provider
from .cache_store import LEASE_S, CacheError, CacheStore, open_store
from .deltas import CitationReport, Delta, ServerToolOutput, SingleDelta, expand_runs
from .request import Request

T = TypeVar("T")

FORMAT = 1
MAX_WAIT_S = 60.0  # for the same request of another process or thread
FIRST_POLL_S, LAST_POLL_S = 0.01, 0.2
MAX_REPLAYED_BATCH = 64  # deltas
WRITE_COUNTS_EVERY_S = 1.0

_DELTA_TYPES = {delta_type.__name__: delta_type for delta_type in get_args(SingleDelta)}
# Options that do not change what is requested.
_OTHER_OPTIONS = {
    "api_key", "cache", "headers", "idle_timeout", "max_retries", "max_retry_delay_ms",
    "on_event", "on_payload", "on_request", "on_response", "raise_on_error", "raw", "signal",
    "timeout", "transport", "extra",
}  # fmt: skip

_flights: dict[tuple[int, str], Future[None]] = {}  # requests of this process
_flights_lock = threading.Lock()


async def open_cached_request(provider: Provider, request: Request) -> CachedRequest | None:
    """Return the request in the cache that the caller or the environment chose; None: in none."""
    try:
        config = chosen_cache(request.options.cache)
        if config is None:
            return None
        if request.options.on_payload is not None:
            raise ValueError("on_payload= may change the request")
        key = await _cache_key(provider, request, config.share_keys)
    except ProviderError:
        return None  # sending it fails with the same error
    except (TypeError, ValueError) as error:
        request.warn("cache_failed", f"The request was sent without the cache: {error}.")
        return None
    return CachedRequest(config, open_store(config), key, request)


class CachedRequest:
    """A request with a cache. As a context manager it waits until no equal request runs."""

    def __init__(
        self, config: ResponseCache, store: CacheStore, key: str, request: Request
    ) -> None:
        self._config, self._store, self._key, self._request = config, store, key, request
        self._usable = True
        self._flight: Future[None] | None = None
        self._locked = False
        self._renewal: asyncio.Task[None] | None = None
        self._call_ids = 0
        self._recorded: list[Delta] = []
        self.hit: list[Delta] | None = None
        self.stored_at = 0

    async def __aenter__(self) -> CachedRequest:
        try:
            if not await self._find():
                await self._take_turn()
        except BaseException:
            self._release()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._release()

    def make_call_id(self) -> str:
        """Return an id for a tool call that has none: the same whenever the response is used."""
        self._call_ids += 1
        return f"call_{hashlib.sha256(f'{self._key} {self._call_ids}'.encode()).hexdigest()[:24]}"

    # --- The response -----------------------------------------------------------------------

    async def replay(self) -> AsyncIterator[Sequence[Delta]]:
        """Yield the cached response."""
        deltas = self.hit or []
        for start in range(0, max(1, len(deltas)), MAX_REPLAYED_BATCH):
            yield deltas[start : start + MAX_REPLAYED_BATCH]

    async def record(
        self, stream: AsyncIterator[Sequence[Delta]]
    ) -> AsyncIterator[Sequence[Delta]]:
        """Yield the deltas of a stream and keep them for `save`."""
        try:
            async for deltas in stream:
                self._recorded += expand_runs(deltas)
                yield deltas
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def save(self) -> None:
        """Keep the recorded response."""
        if not self._usable:
            return
        try:
            value = _encode(self._recorded)
        except (TypeError, ValueError, AttributeError) as error:
            self._fail(f"the response cannot be stored: {error}")
            return
        await self._call(lambda: self._store.put(self._key, value), in_thread=True)

    def mark(self, message: AssistantMessage) -> None:
        """Mark a message that comes from the cache: it costs nothing."""
        saved = message.usage.cost.total
        message.cached = construct_unchecked(CacheHit, saved=saved, stored_at=self.stored_at)
        message.usage.cost = construct_unchecked(
            Cost, input=0.0, output=0.0, cache_read=0.0, cache_write=0.0, total=0.0, source="cache"
        )
        _count_hit(self._store, saved or 0.0)

    async def _find(self) -> bool:
        """Look for the response in the cache."""
        value = await self._call(lambda: self._store.get(self._key))
        if value is None:
            return False
        try:
            self.stored_at, self.hit = _decode(value)
        except (ValueError, TypeError, LookupError, zlib.error, RecursionError) as error:
            self._request.warn(
                "cache_failed",
                f"A damaged response in {self._config.shown} was not used: {error}.",
            )
            await self._call(lambda: self._store.delete(self._key), in_thread=True)
        return self.hit is not None

    # --- One request at a time --------------------------------------------------------------

    async def _take_turn(self) -> None:
        """Wait until no equal request runs here or in another process, or its response is there."""
        deadline = time.monotonic() + MAX_WAIT_S
        while self._usable and time.monotonic() < deadline:
            with _flights_lock:
                running = _flights.get((id(self._store), self._key))
                if running is None:
                    self._flight = _flights[id(self._store), self._key] = Future()
                    break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline - time.monotonic()):
                    await asyncio.shield(asyncio.wrap_future(running))
            if await self._find():
                return
        poll_s = FIRST_POLL_S
        while self._usable and self._flight is not None and time.monotonic() < deadline:
            self._locked = bool(await self._call(lambda: self._store.try_lock(self._key)))
            if await self._find() or self._locked or not self._usable:
                break
            await asyncio.sleep(poll_s)
            poll_s = min(LAST_POLL_S, poll_s * 1.5)
        if self._locked and not self._store.is_local:
            self._renewal = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        while self._usable:
            await asyncio.sleep(LEASE_S / 3)
            await self._call(lambda: self._store.renew_lock(self._key))

    def _release(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        if self._locked:
            self._locked = False

            def unlock() -> None:
                with contextlib.suppress(CacheError):
                    self._store.unlock(self._key)

            if self._store.is_local:
                unlock()
            else:
                threading.Thread(target=unlock, name="pipy-ai-cache", daemon=True).start()
        if self._flight is not None:
            with _flights_lock:
                _flights.pop((id(self._store), self._key), None)
            self._flight.set_result(None)
            self._flight = None

    # --- Failures ---------------------------------------------------------------------------

    async def _call(self, action: Callable[[], T], in_thread: bool = False) -> T | None:
        """Call the store; if it fails, go on without it."""
        if not self._usable:
            return None
        try:
            if self._store.is_local and not in_thread:
                return action()
            return await loops.run_in_thread("pipy-ai-cache", action)
        except CacheError as error:
            self._fail(str(error))
            return None

    def _fail(self, reason: str) -> None:
        self._usable = False
        self._request.warn("cache_failed", f"The response cache was not used: {reason}.")


# === Statistics =============================================================================

_counts: dict[CacheStore, tuple[int, float]] = {}  # hits and savings that are not written yet
_counts_lock = threading.Lock()
_counts_written_at = time.monotonic()


def _count_hit(store: CacheStore, saved: float) -> None:
    """Add a hit to the statistics of a store. They are written now and then, and at the end."""
    global _counts_written_at
    with _counts_lock:
        hits, sum_saved = _counts.get(store, (0, 0.0))
        _counts[store] = (hits + 1, sum_saved + saved)
        if time.monotonic() < _counts_written_at + WRITE_COUNTS_EVERY_S:
            return
        _counts_written_at = time.monotonic()
    threading.Thread(target=_write_counts, name="pipy-ai-cache").start()


def _write_counts() -> None:
    with _counts_lock:
        counts = [*_counts.items()]
        _counts.clear()
    for store, (hits, saved) in counts:
        with contextlib.suppress(CacheError):
            store.count_hits(hits, saved)


atexit.register(_write_counts)


def _after_fork() -> None:
    """Forget the requests of the parent, whose threads do not exist in a forked child."""
    global _flights, _flights_lock, _counts, _counts_lock
    _flights, _flights_lock = {}, threading.Lock()
    _counts, _counts_lock = {}, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# === Keys ===================================================================================


async def _cache_key(provider: Provider, request: Request, share_keys: bool) -> str:
    """Return the hash of everything that a response depends on, and of the API key.

    Raises:
        ProviderError: The request cannot be sent.
        TypeError: It holds a value that JSON cannot represent.
    """
    identify = getattr(provider, "cache_identity", None)
    if identify is not None:
        identity = await identify(request, share_keys)
    else:
        identity = _request_identity(request)
    parts = [FORMAT, provider.api, request.provider, request.model_id, identity]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_refuse)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _refuse(value: Any) -> Any:
    raise TypeError(f"it holds a {type(value).__name__}, which cannot be compared")


def _request_identity(request: Request) -> Any:
    """Return what a provider without an HTTP request gets."""
    context = request.context
    return {
        "system": context.system_prompt,
        "messages": [
            message.model_dump(
                mode="json",
                include={
                    "role", "content", "api", "provider", "model", "stop_reason", "tool_call_id",
                    "tool_name", "is_error",
                },
            )
            for message in context.messages
        ],
        "tools": [
            tool.model_dump(mode="json", include={"name", "description", "parameters"})
            for tool in context.tools or ()
        ],
        "options": request.options.model_dump(mode="json", exclude=_OTHER_OPTIONS),
        "extra": request.options.extra,
    }  # fmt: skip


# === Entries ================================================================================


def _encode(deltas: Sequence[Delta]) -> bytes:
    """Return a response as it is stored."""
    rows = [[type(delta).__name__, dict(_changed_fields(delta))] for delta in deltas]
    document = [FORMAT, round(time.time() * 1000), rows]
    return zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 3)


def _changed_fields(delta: Delta) -> Iterator[tuple[str, Any]]:
    if type(delta) is not _DELTA_TYPES.get(type(delta).__name__):
        raise TypeError(f"not a delta: {type(delta).__name__}")
    for item in fields(delta):
        value = getattr(delta, item.name)
        if item.name == "sources":
            value = [asdict(source) for source in value]
        default = item.default if item.default_factory is MISSING else item.default_factory()
        if item.default is MISSING or value != default:
            yield item.name, value


def _decode(value: bytes) -> tuple[int, list[Delta]]:
    """Return when a response was stored, and its deltas.

    Raises:
        ValueError: It is damaged; or another exception of the decoders.
    """
    version, stored_at, rows = json.loads(zlib.decompress(value))
    if version != FORMAT or type(stored_at) is not int:
        raise ValueError("it has another format")
    deltas = [_DELTA_TYPES[name](**values) for name, values in rows]
    for delta in deltas:
        if isinstance(delta, ServerToolOutput):
            delta.sources = [CitationReport(**source) for source in cast("Any", delta.sources)]
    return stored_at, deltas
