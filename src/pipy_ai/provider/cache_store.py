"""Where cached responses are kept: a file of SQLite, or a Redis server. Every method blocks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..response_cache import ResponseCache
from ..utils.atomic import make_private_dir, open_private
from ..utils.extras import has_extra, install_command
from ..utils.file_errors import describe_os_error

READ_TIMEOUT_S = 0.25  # in the event loop
WRITE_TIMEOUT_S = 5.0
REDIS_TIMEOUT_S = 2.0
REDIS_PAUSE_S = 10.0  # without requests to a server that failed
LEASE_S = 15.0  # of the right to send a request, renewed while it runs
REDIS_PREFIX = "pipy:cache:"


class CacheError(Exception):
    """The cache cannot be read or written. The text names no secret."""


@dataclass(slots=True)
class CacheStats:
    """What a cache holds, and what it has saved."""

    entries: int = 0
    bytes: int = 0
    hits: int = 0
    saved: float = 0.0


class CacheStore(Protocol):
    """Keeps responses by key. Every method raises `CacheError`."""

    is_local: bool
    """Whether reading takes less time than starting a thread."""

    def get(self, key: str) -> bytes | None:
        """Return a response that has not expired."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Store a response; delete the oldest ones if the cache is full."""
        ...

    def delete(self, key: str) -> None:
        """Delete a response."""
        ...

    def count_hits(self, count: int, saved: float) -> None:
        """Add uses and what they saved, in US dollars, to the statistics."""
        ...

    def stats(self) -> CacheStats:
        """Return the statistics."""
        ...

    def clear(self) -> int:
        """Delete all responses; return how many there were."""
        ...

    def try_lock(self, key: str) -> bool:
        """Take the right to send the request of a key, unless another process has it."""
        ...

    def renew_lock(self, key: str) -> None:
        """Keep that right for another `LEASE_S` seconds."""
        ...

    def unlock(self, key: str) -> None:
        """Give that right back."""
        ...


_stores: dict[tuple[ResponseCache, str], CacheStore] = {}
_inherited_stores: list[dict[tuple[ResponseCache, str], CacheStore]] = []


def open_store(config: ResponseCache) -> CacheStore:
    """Return the store of a cache. It connects with its first use."""
    key = (config, "" if config.is_redis else config.path)  # which depends on the directory
    store = _stores.get(key)
    if store is None:
        new_store = RedisStore(config) if config.is_redis else SQLiteStore(config)
        store = _stores.setdefault(key, new_store)  # another thread may have been faster
    return store


def _after_fork() -> None:
    """Drop the parent's stores: a forked child must neither use nor close its connections."""
    global _stores
    _inherited_stores.append(_stores)
    _stores = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS responses (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, stored_at REAL NOT NULL, size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS responses_by_age ON responses (stored_at, size);
CREATE TABLE IF NOT EXISTS totals (
    id INTEGER PRIMARY KEY CHECK (id = 1), bytes INTEGER, entries INTEGER, hits INTEGER, saved REAL
);
INSERT OR IGNORE INTO totals VALUES (1, 0, 0, 0, 0.0);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON responses BEGIN
    UPDATE totals SET bytes = bytes + new.size, entries = entries + 1;
END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON responses BEGIN
    UPDATE totals SET bytes = bytes - old.size, entries = entries - 1;
END;
"""
_SCHEMA_VERSION = 1


class _Connection:
    """A connection that one thread at a time may use, as a context manager."""

    def __init__(self, create: Callable[[str], int], path: str, timeout_s: float) -> None:
        self._create, self._path, self._timeout_s = create, path, timeout_s
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> sqlite3.Connection:
        self._lock.acquire()
        try:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *exc: object) -> None:
        self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        os.close(self._create(self._path))
        connection = sqlite3.connect(
            self._path, self._timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] != _SCHEMA_VERSION:
                connection.executescript(f"{_SCHEMA}PRAGMA user_version = {_SCHEMA_VERSION};")
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class SQLiteStore:
    """Responses in a file, for the processes of one machine."""

    is_local = True

    def __init__(self, config: ResponseCache) -> None:
        self._path, self._shown, self._is_own = config.path, config.shown, not config.location
        self._ttl, self._max_bytes = config.ttl, config.max_bytes
        # Reading must not wait for a thread that writes.
        self._reader = _Connection(self._open, self._path, READ_TIMEOUT_S)
        self._writer = _Connection(self._open, self._path, WRITE_TIMEOUT_S)
        self._lock = threading.Lock()
        self._lock_fd = -1

    def _run(
        self, action: Callable[[sqlite3.Connection], Any], connection: _Connection | None = None
    ) -> Any:
        try:
            with connection or self._writer as opened:
                return action(opened)
        except (sqlite3.Error, OSError) as error:
            reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
            if isinstance(error, sqlite3.DatabaseError) and "not a database" in reason:
                reason += "; delete it with pipy cache clear"
            raise CacheError(f"{self._shown}: {reason}") from None

    def _open(self, path: str) -> int:
        """Open a file, or create it accessible only by the user; return its descriptor."""
        flags, directory = os.O_RDWR | os.O_CREAT, os.path.dirname(path)
        if self._is_own:  # in the data directory
            make_private_dir(directory)
            return open_private(path, flags)
        os.makedirs(directory, exist_ok=True)
        return os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)

    def get(self, key: str) -> bytes | None:
        oldest = 0.0 if self._ttl is None else time.time() - self._ttl
        sql = "SELECT value FROM responses WHERE key = ? AND stored_at > ?"
        row = self._run(
            lambda connection: connection.execute(sql, (key, oldest)).fetchone(), self._reader
        )
        return None if row is None else bytes(row[0])

    def put(self, key: str, value: bytes) -> None:
        if len(value) > self._max_bytes:
            return

        def put(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute("DELETE FROM responses WHERE key = ?", (key,))
                row = (key, value, time.time(), len(value))
                connection.execute("INSERT INTO responses VALUES (?, ?, ?, ?)", row)
                self._delete_old(connection)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

        self._run(put)

    def _delete_old(self, connection: sqlite3.Connection) -> None:
        if self._ttl is not None:
            oldest = time.time() - self._ttl
            connection.execute("DELETE FROM responses WHERE stored_at <= ?", (oldest,))
        excess = connection.execute("SELECT bytes FROM totals").fetchone()[0] - self._max_bytes
        if excess <= 0:
            return
        keys: list[tuple[str]] = []
        for key, size in connection.execute("SELECT key, size FROM responses ORDER BY stored_at"):
            keys.append((key,))
            excess -= size
            if excess <= 0:
                break
        connection.executemany("DELETE FROM responses WHERE key = ?", keys)

    def delete(self, key: str) -> None:
        self._run(lambda connection: connection.execute(_DELETE, (key,)))

    def count_hits(self, count: int, saved: float) -> None:
        sql = "UPDATE totals SET hits = hits + ?, saved = saved + ?"
        self._run(lambda connection: connection.execute(sql, (count, saved)))

    def stats(self) -> CacheStats:
        if not os.path.exists(self._path):
            return CacheStats()
        sql = "SELECT entries, bytes, hits, saved FROM totals"
        return CacheStats(*self._run(lambda connection: connection.execute(sql).fetchone()))

    def clear(self) -> int:
        if not os.path.exists(self._path):
            return 0
        try:
            entries = self.stats().entries
            self._run(_clear)
            return entries
        except CacheError:  # damaged: the whole file goes
            self._reader.close()
            self._writer.close()
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path + suffix)
            return 0

    def try_lock(self, key: str) -> bool:
        try:
            import fcntl
        except ImportError:  # Windows: two processes may both send a request
            return True
        try:
            with self._lock:
                if self._lock_fd < 0:
                    self._lock_fd = self._open(f"{self._path}.lock")
                # One byte stands for each key. The system unlocks those of a process that dies.
                fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _lock_byte(key))
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:  # a file system without locks
            raise CacheError(f"{self._shown}.lock: {describe_os_error(error)}") from None
        return True

    def renew_lock(self, key: str) -> None:
        pass

    def unlock(self, key: str) -> None:
        with contextlib.suppress(ImportError, OSError), self._lock:
            import fcntl

            if self._lock_fd >= 0:
                fcntl.lockf(self._lock_fd, fcntl.LOCK_UN, 1, _lock_byte(key))


_DELETE = "DELETE FROM responses WHERE key = ?"


def _clear(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM responses")
    connection.execute("UPDATE totals SET bytes = 0, entries = 0, hits = 0, saved = 0.0")
    connection.execute("VACUUM")


def _lock_byte(key: str) -> int:
    return int(key[:15], 16)  # 60 bits


class RedisStore:
    """Responses on a Redis server, for several machines."""

    is_local = False

    def __init__(self, config: ResponseCache) -> None:
        self._url, self._shown = os.fspath(config.location), config.shown
        self._ttl = config.ttl
        self._client: Any = None
        self._owner = uuid.uuid4().hex
        self._failed_at = float("-inf")
        self._failure = ""

    def _run(self, action: Callable[[Any], Any]) -> Any:
        if time.monotonic() < self._failed_at + REDIS_PAUSE_S:
            raise CacheError(self._failure)
        if not has_extra("redis"):
            raise CacheError(f"{self._shown} needs the package redis: {install_command('redis')}")
        import redis

        try:
            if self._client is None:
                self._client = redis.Redis.from_url(
                    self._url,
                    socket_timeout=REDIS_TIMEOUT_S,
                    socket_connect_timeout=REDIS_TIMEOUT_S,
                )
            return action(self._client)
        except (redis.RedisError, OSError, ValueError) as error:
            self._failure = f"{self._shown}: {str(error).replace(self._url, self._shown)}"
            self._failed_at = time.monotonic()
            raise CacheError(self._failure) from None

    def get(self, key: str) -> bytes | None:
        value = self._run(lambda client: client.get(REDIS_PREFIX + key))
        return None if value is None else bytes(value)

    def put(self, key: str, value: bytes) -> None:
        ttl_ms = None if self._ttl is None else max(1, round(self._ttl * 1000))
        self._run(lambda client: client.set(REDIS_PREFIX + key, value, px=ttl_ms))

    def delete(self, key: str) -> None:
        self._run(lambda client: client.delete(REDIS_PREFIX + key))

    def count_hits(self, count: int, saved: float) -> None:
        def add(client: Any) -> None:
            client.hincrby(f"{REDIS_PREFIX}totals", "hits", count)
            client.hincrbyfloat(f"{REDIS_PREFIX}totals", "saved", saved)

        self._run(add)

    def stats(self) -> CacheStats:
        def read(client: Any) -> CacheStats:
            stats = CacheStats()
            for name in _response_names(client):
                stats.entries += 1
                stats.bytes += client.strlen(name)
            totals = client.hgetall(f"{REDIS_PREFIX}totals")
            stats.hits = int(totals.get(b"hits", 0))
            stats.saved = float(totals.get(b"saved", 0.0))
            return stats

        result: CacheStats = self._run(read)
        return result

    def clear(self) -> int:
        def clear(client: Any) -> int:
            count = sum(int(client.unlink(name)) for name in _response_names(client))
            client.delete(f"{REDIS_PREFIX}totals")
            return count

        return int(self._run(clear))

    def try_lock(self, key: str) -> bool:
        name, lease_ms = f"{REDIS_PREFIX}lock:{key}", round(LEASE_S * 1000)
        owner = self._owner
        return bool(self._run(lambda client: client.set(name, owner, nx=True, px=lease_ms)))

    def renew_lock(self, key: str) -> None:
        self._run(lambda client: client.pexpire(f"{REDIS_PREFIX}lock:{key}", round(LEASE_S * 1000)))

    def unlock(self, key: str) -> None:
        script = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end"
        name, owner = f"{REDIS_PREFIX}lock:{key}", self._owner
        self._run(lambda client: client.eval(script, 1, name, owner))


def _response_names(client: Any) -> list[bytes]:
    prefix = REDIS_PREFIX.encode()
    names = client.scan_iter(match=f"{REDIS_PREFIX}*", count=1000)
    return [name for name in names if len(name) == len(prefix) + 64]
