"""Create and delete Gemini's cached contents: a stored beginning of prompts, paid by the hour."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from ._requests import build_request
from .batch_api.client import BatchClient
from .batch_api.vendor import text_field
from .context import Prompt, user
from .errors import ErrorKind, ProviderError, error_info, exception_for
from .options import Options
from .provider.apis import GEMINI
from .provider.transport import direct_wire
from .registry import Model, calculate_cost
from .registry.price_rules import tool_fee
from .types import Context, Usage
from .utils.event_loop import run_blocking

DEFAULT_TTL_S = 3600
_NAME = re.compile(r"cachedContents/[A-Za-z0-9_-]+")
_CACHED_FIELDS = ("contents", "systemInstruction", "tools", "toolConfig")


@dataclass(frozen=True, slots=True)
class CachedContent:
    """The beginning of a prompt that Gemini stores."""

    name: str
    """The name at Google, such as `cachedContents/abc`."""
    model: str
    """The model that can use it, `google/model_id`."""
    tokens: int | None
    """The number of its tokens."""
    expires_at: str | None
    """When Google deletes it: UTC, ISO 8601."""
    creation_cost: float | None
    """What its tokens cost once, in US dollars: as much as other input. None: unknown."""
    storage_cost: float | None
    """The fee for storing it until it expires, in US dollars, by the listed price per hour. None:
    unknown. Budgets and the ledger do not count it, as no response reports it."""

    @property
    def extra(self) -> dict[str, Any]:
        """The option `extra` of requests that use it."""
        return {"cachedContent": self.name}


def create_cached_content(
    model: str | Model,
    context: Prompt,
    *,
    ttl: int = DEFAULT_TTL_S,
    name: str | None = None,
    api_key: str | Callable[[], Any] | None = None,
    api_base: str | None = None,
) -> CachedContent:
    """Have Gemini store the beginning of a prompt, for requests with `extra=cached.extra`.

    These pay a tenth of the price or less for its tokens, and storing them costs by the hour.
    Without it, Gemini caches repeated beginnings by itself, for free and with no promise.

    Args:
        model: A model of the provider `google`.
        context: What to store: messages, or a system prompt alone, and tools. Depending on the
            model, Gemini requires at least 1,024 to 4,096 tokens.
        ttl: The number of seconds after which Google deletes it.
        name: A name to show.
        api_key: The API key. None: as for requests.
        api_base: The base URL of the server. None: as for requests.

    Raises:
        PipyError: The key is missing, or Google rejected it, for example because it is too short.
        TypeError: As `complete`.
        ValueError: As `complete`; the model is not Google's; `ttl` is not positive.

    Example:
        >>> from pipy_ai import complete, create_cached_content, ctx, delete_cached_content
        >>> context = ctx(system="Call me Ishmael. …")
        >>> book = create_cached_content("google/gemini-2.5-pro", context)  # doctest: +SKIP
        >>> complete(book.model, "Who is the captain?", extra=book.extra)  # doctest: +SKIP
        >>> delete_cached_content(book)  # doctest: +SKIP
    """
    creating = acreate_cached_content(
        model, context, ttl=ttl, name=name, api_key=api_key, api_base=api_base
    )
    return run_blocking(creating, "acreate_cached_content")


async def acreate_cached_content(
    model: str | Model,
    context: Prompt,
    *,
    ttl: int = DEFAULT_TTL_S,
    name: str | None = None,
    api_key: str | Callable[[], Any] | None = None,
    api_base: str | None = None,
) -> CachedContent:
    """Have Gemini store the beginning of a prompt. The async version of `create_cached_content`."""
    if not ttl > 0:
        raise ValueError(f"ttl must be greater than 0 seconds, got {ttl!r}")
    has_messages = not isinstance(context, Context) or bool(context.messages)
    if isinstance(context, Context) and not has_messages:  # a request needs one
        context = context.model_copy(update={"messages": [user("-")]})
    with _public_errors():
        client = await _connect(model, context, api_key, api_base)
        encoded = client.encode(client.request).body
        body = {field: encoded[field] for field in _CACHED_FIELDS if field in encoded}
        if not has_messages:
            del body["contents"]
        body |= {"model": f"models/{client.request.model_id}", "ttl": f"{ttl}s"}
        if name is not None:
            body["displayName"] = name
        created = await client.call("POST", _url(client, "cachedContents"), body, once=True)
        content_name = text_field(created, "name", "name of the cached content")
    tokens = (created.get("usageMetadata") or {}).get("totalTokenCount")
    return CachedContent(
        name=content_name,
        model=client.request.model,
        tokens=tokens,
        expires_at=created.get("expireTime"),
        creation_cost=_creation_cost(client, tokens),
        storage_cost=_storage_cost(client, tokens, ttl),
    )


def delete_cached_content(
    cached: CachedContent | str,
    *,
    api_key: str | Callable[[], Any] | None = None,
    api_base: str | None = None,
) -> None:
    """Delete what `create_cached_content` has stored, which ends the fee.

    Args:
        cached: What it returned, or the name.
        api_key: The API key. None: as for requests.
        api_base: The base URL of the server. None: as for requests.

    Raises:
        PipyError: The content does not exist, or the request failed.
        ValueError: The name is not like `cachedContents/abc`.
    """
    deleting = adelete_cached_content(cached, api_key=api_key, api_base=api_base)
    run_blocking(deleting, "adelete_cached_content")


async def adelete_cached_content(
    cached: CachedContent | str,
    *,
    api_key: str | Callable[[], Any] | None = None,
    api_base: str | None = None,
) -> None:
    """Delete cached content. The async version of `delete_cached_content`."""
    name = cached if isinstance(cached, str) else cached.name
    model = "google/gemini" if isinstance(cached, str) else cached.model
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"invalid name {name!r}: use one like 'cachedContents/abc'")
    with _public_errors():
        client = await _connect(model, "-", api_key, api_base)
        await client.call("DELETE", _url(client, name))


async def _connect(
    model: str | Model,
    context: Prompt,
    api_key: str | Callable[[], Any] | None,
    api_base: str | None,
) -> BatchClient:
    options: Options = {"api_key": api_key, "api_base": api_base}
    request = build_request(model, context, None, options)
    wire = direct_wire(request) if request.provider == "google" else None
    if wire is None or wire.api != GEMINI:
        text = f"{request.model}: only models of google have cached contents, over the direct"
        text += " transport. Other providers cache by themselves: see cache_retention=."
        raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider=request.provider))
    client = BatchClient(request, wire)
    await client.connect()
    return client


def _url(client: BatchClient, path: str) -> str:
    return f"{client.url.rpartition('/models/')[0]}/{path}"


def _creation_cost(client: BatchClient, tokens: Any) -> float | None:
    if not isinstance(tokens, int):
        return None
    with contextlib.suppress(ValueError):  # the model is not in the catalogue
        return calculate_cost(client.request.model, Usage(input=tokens)).total
    return None


def _storage_cost(client: BatchClient, tokens: Any, ttl_s: float) -> float | None:
    if not isinstance(tokens, int):
        return None
    request, token_hours = client.request, round(tokens * ttl_s / 3600)
    return tool_fee(request.provider, request.base_model_id, "cached_token_hour", token_hours)


@contextlib.contextmanager
def _public_errors() -> Generator[None, None, None]:
    try:
        yield
    except ProviderError as failure:
        raise exception_for(failure.error) from None
