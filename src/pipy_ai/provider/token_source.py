"""`TokenSource`: access tokens that expire, from a function of the user or of a cloud."""

from __future__ import annotations

import asyncio
import inspect
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias

from ..errors import ErrorKind, ProviderError, error_info
from ..utils import event_loop as loops
from ..utils.secrets import mask_tokens

EXPIRY_MARGIN_S = 300.0  # a token is replaced this long before it expires


class Token(NamedTuple):
    """An access token and when it expires, in seconds since 1970; None: unknown."""

    value: str
    expires_at: float | None = None

    def __repr__(self) -> str:
        """Return the time alone."""
        return f"Token(expires_at={self.expires_at})"


TokenFunction: TypeAlias = Callable[[], Any]


class TokenSource:
    """Tokens from a function, which is called again when a token expires or is rejected.

    The function returns a token, or a token and the time when it expires: a `datetime`, or seconds
    since 1970. It may be asynchronous; otherwise it runs in a thread, as it may wait for a server.
    A token without a time is not kept: the function is called for every attempt.
    """

    def __init__(self, fetch: TokenFunction) -> None:
        self._fetch = fetch
        self._token: Token | None = None
        self._can_share = True  # False: the last token served one attempt only
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]
        self._locks = weakref.WeakKeyDictionary()

    async def token(self) -> str:
        """Return a token that is valid for some minutes.

        Raises:
            ProviderError: The function failed, or returned something else than a token.
        """
        if (current := self._valid_token()) is not None:
            return current.value
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:  # requests that start at once share one token
            if (current := self._valid_token()) is None and self._can_share:
                current = await self._new_token()
        return current.value if current is not None else (await self._new_token()).value

    async def _new_token(self) -> Token:
        token = self._token = _read_token(await self._call())
        self._can_share = self._valid_token() is not None
        return token

    async def _call(self) -> Any:
        try:
            if inspect.iscoroutinefunction(self._fetch):
                return await self._fetch()
            value = await loops.run_in_thread("pipy-ai-token", self._fetch)
            return await value if isinstance(value, Awaitable) else value
        except ProviderError:
            raise
        except Exception as error:
            reason = mask_tokens(f"{type(error).__name__}: {error}")
            text = f"The function that returns a token failed: {reason}"
            raise ProviderError(error_info(ErrorKind.AUTH, text)) from None

    def _valid_token(self) -> Token | None:
        token = self._token
        if token is None or token.expires_at is None:
            return None
        return token if time.time() < token.expires_at - EXPIRY_MARGIN_S else None

    @property
    def expires_at(self) -> float | None:
        """When the current token expires, in seconds since 1970; None: unknown, or no token."""
        token = self._valid_token()
        return None if token is None else token.expires_at

    def renew(self, rejected: str | None = None) -> None:
        """Discard the current token, unless it has replaced the one that was rejected."""
        if rejected is None or (self._token is not None and self._token.value == rejected):
            self._token = None


def _read_token(value: Any) -> Token:
    expires_at = None
    if isinstance(value, tuple) and len(value) == 2:
        value, expires_at = value
        timestamp = getattr(expires_at, "timestamp", None)
        expires_at = timestamp() if timestamp is not None else expires_at
    secret = getattr(value, "get_secret_value", None)
    value = secret() if secret is not None else value
    is_time = expires_at is None or isinstance(expires_at, int | float)
    if not isinstance(value, str) or not value.strip() or not is_time:
        text = (
            "The function that returns a token must return a str, or a tuple of a str and the time "
            f"when it expires; it returned {type(value).__name__}."
        )
        raise ProviderError(error_info(ErrorKind.AUTH, text))
    return Token(value.strip(), expires_at)


_sources: dict[object, TokenSource] = {}
_MAX_SOURCES = 64


def token_source(fetch: TokenFunction) -> TokenSource:
    """Return the source of a function, the same one each time, so that its token is kept."""
    key: object = fetch
    try:
        source = _sources.get(key)
    except TypeError:  # a dataclass, for example. The source keeps it alive, so its id is its own.
        source = _sources.get(key := id(fetch))
    if source is None:
        while len(_sources) >= _MAX_SOURCES:
            del _sources[next(iter(_sources))]
        source = _sources[key] = TokenSource(fetch)
    return source
