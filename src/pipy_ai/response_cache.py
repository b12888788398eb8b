"""`ResponseCache`: where responses are stored, for how long, and which keys share them."""

from __future__ import annotations

import os
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from .utils.dataclass import dataclass

DEFAULT_TTL_S = 30 * 86_400.0
DEFAULT_MAX_BYTES = 1 << 30
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
VARIABLE = "PIPY_CACHE"
TTL_VARIABLE = "PIPY_CACHE_TTL"
MAX_BYTES_VARIABLE = "PIPY_CACHE_MAX_BYTES"


@dataclass(frozen=True, slots=True)
class ResponseCache:
    """A cache of responses, for the option `cache=`.

    A request that was answered before, with the same model, address, content, tools and parameters,
    gets the same response, at no cost: see `message.cached`. Only complete answers are kept.

    Example:
        >>> from pipy_ai import ResponseCache, complete
        >>> cache = ResponseCache("answers.sqlite", ttl=3600)
        >>> complete("openai/gpt-5-mini", "Hi", cache=cache)    # doctest: +SKIP
    """

    location: str | os.PathLike[str] = ""
    """A file, or the address of a Redis server. "": `cache/responses.sqlite` in the data directory.
    """
    ttl: float | None = DEFAULT_TTL_S
    """Seconds for which a response is kept. None: no limit."""
    max_bytes: int = DEFAULT_MAX_BYTES
    """The size of all responses in a file. The oldest ones are deleted. Redis has its own limit."""
    share_keys: bool = False
    """Whether a response is also used for requests with another API key, or without one."""

    def __post_init__(self) -> None:
        if self.ttl is not None and not (self.ttl > 0 and isfinite(self.ttl)):
            raise ValueError(f"ttl must be greater than 0 seconds, got {self.ttl!r}")
        if self.max_bytes <= 0:
            raise ValueError(f"max_bytes must be greater than 0, got {self.max_bytes!r}")

    @property
    def is_redis(self) -> bool:
        """Whether the responses are on a Redis server."""
        return os.fspath(self.location).startswith(REDIS_SCHEMES)

    @property
    def path(self) -> str:
        """The absolute path of the file."""
        from .utils.paths import data_path

        default = os.path.join(data_path(), "cache", "responses.sqlite")
        return os.path.abspath(os.path.expanduser(os.fspath(self.location) or default))

    @property
    def shown(self) -> str:
        """The location without passwords."""
        from .utils.secrets import mask_url

        return mask_url(os.fspath(self.location)) if self.is_redis else self.path

    def __repr__(self) -> str:
        return f"ResponseCache({self.shown!r}, ttl={self.ttl!r})"


def chosen_cache(
    option: bool | str | os.PathLike[str] | ResponseCache | None,
) -> ResponseCache | None:
    """Return the cache of the option `cache`, or else of the environment; None: there is none.

    Raises:
        ValueError: A variable of the environment has an invalid value.
    """
    if isinstance(option, ResponseCache):
        return option
    if option is None:
        text = os.environ.get(VARIABLE, "").strip()
        option = {"": False, "0": False, "1": True, "false": False, "true": True}.get(
            text.lower(), text
        )
    if option is False:
        return None
    location = "" if option is True else option
    ttl = _number(TTL_VARIABLE)
    max_bytes = _number(MAX_BYTES_VARIABLE)
    return ResponseCache(
        location,
        ttl=DEFAULT_TTL_S if ttl is None else ttl,
        max_bytes=DEFAULT_MAX_BYTES if max_bytes is None else int(max_bytes),
    )


def _number(variable: str) -> float | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (number > 0 and isfinite(number)):
        raise ValueError(f"{variable} must be a number greater than 0, not {text!r}")
    return number
