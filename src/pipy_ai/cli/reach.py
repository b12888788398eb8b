"""Whether providers answer: one cheap request to each that has a key, for its list of models."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Told = tuple[str, str, str, str]  # about, state, what is so, what to do

TIMEOUT = 10.0  # seconds
# What comes after a wire's base address.
_END = re.compile(r"/(chat/completions|responses|messages|models/[^/]+)(\?.*)?$")


def reach() -> Iterator[Told]:
    """What came of asking models.dev and each provider whose key is set, all at once."""
    from ..registry import get_registry
    from ..registry.registry import has_key

    hosts = sorted(name for name, host in get_registry().hosts().items() if has_key(host))
    with ThreadPoolExecutor(8) as pool:
        yield from pool.map(lambda look: look(), [_catalogue, *(_asking(name) for name in hosts)])


def _catalogue() -> Told:
    from ..registry.sync import address_of_feed, public

    url = address_of_feed(None)
    return _judged("models.dev", public(url), *_status("HEAD", url, {}), "set PIPY_MODELS_URL")


def _asking(provider: str) -> Any:
    return lambda: _provider(provider)


def _provider(provider: str) -> Told:
    from ..api import build_request
    from ..errors import ProviderError
    from ..provider.direct import lane_for
    from ..provider.keys import key_for
    from ..provider.prepare import prepare
    from ..registry import get_registry

    names = get_registry().query(provider=provider, chat=True)
    try:
        request = build_request(names[0], "hi", None, {})
        lane = lane_for(request)
        if lane is None or request.route.key_header:
            raise LookupError
        url, headers, _ = lane.encode(request, prepare(request, True))
        key = key_for(request) or ""
    except (LookupError, ValueError, ProviderError):
        return provider, "ok", "not asked: LiteLLM alone knows the way to it", ""
    base = _END.sub("", url)
    status, took = _status("GET", f"{base}/models", {**headers, **lane.sign(key)})
    return _judged(provider, base, status, took, f"pipy keys set {provider}")


def _status(method: str, url: str, headers: dict[str, str]) -> tuple[int | str, float]:
    """The status of the answer, or why there is none; and the milliseconds that it took."""
    import httpx

    begun = time.perf_counter()
    status: int | str
    try:
        with (
            httpx.Client(timeout=TIMEOUT) as client,
            client.stream(method, url, headers=headers) as answer,
        ):
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        status = type(error).__name__  # its text may quote a header
    return status, (time.perf_counter() - begun) * 1000


def _judged(about: str, where: str, status: int | str, took: float, todo: str) -> Told:
    if isinstance(status, str):
        todo = "look at the network, HTTPS_PROXY and SSL_CERT_FILE"
        return about, "fail", f"{where} was not reached ({status})", todo
    said = f"{where} answers in {took:.0f} ms with HTTP {status}"
    if status in (401, 403):
        return about, "fail", f"{said}: the key is refused", todo
    if status == 429 or status >= 500:
        return about, "warn", said, "try again later"
    return about, "ok", said, ""
