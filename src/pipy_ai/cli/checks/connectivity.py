"""Check that providers answer: request the list of models from each one that has a key."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial

from .finding import FAIL, OK, WARN, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...provider.clouds import Cloud
    from ...provider.request import Request
    from ...provider.wire import Wire

TIMEOUT_S = 10.0
MAX_CHECKS_IN_FLIGHT = 8
# The part of a request's URL after the base URL.
_ENDPOINT_PATH = re.compile(r"/(chat/completions|responses|messages|models/[^/]+)(\?.*)?$")


def check_connectivity() -> Iterator[Finding]:
    """Check models.dev and each provider whose key is set, eight at a time."""
    from ...registry import get_registry
    from ...registry.catalogue import has_key
    from ...utils.download import run_in_daemon_thread

    providers = sorted(name for name, host in get_registry().providers().items() if has_key(host))
    slots = threading.Semaphore(MAX_CHECKS_IN_FLIGHT)

    def check(provider: str) -> Finding:
        with slots:
            return _check_provider(provider)

    catalogue = run_in_daemon_thread(_check_catalogue)
    findings = [run_in_daemon_thread(partial(check, provider)) for provider in providers]
    yield catalogue.result()
    for finding in findings:
        yield finding.result()


def _check_catalogue() -> Finding:
    from ...registry.sync import resolve_feed_url
    from ...utils.secrets import mask_url

    url = resolve_feed_url(None)
    return _classify(
        "models.dev",
        mask_url(url),
        *_request_status("HEAD", url, {}),
        "set PIPY_MODELS_URL",
    )


def _check_provider(provider: str) -> Finding:
    from ..._requests import build_request
    from ...errors import ProviderError
    from ...provider.clouds import cloud_for
    from ...provider.credentials import resolve_api_key
    from ...provider.prepare import prepare_request
    from ...provider.transport import direct_wire
    from ...registry import get_registry
    from ...utils.secrets import mask_url

    names = get_registry().query(provider=provider, chat=True)
    try:
        request = build_request(names[0], "hi", None, {})
        wire = direct_wire(request)
        if wire is None or request.route.key_header:
            raise LookupError
        if (cloud := cloud_for(request.backend)) is not None:
            return _check_cloud(provider, cloud, names)
        encoded = wire.encode(request, prepare_request(request, wire, preview=True))
        key = resolve_api_key(request) or ""
    except (LookupError, ValueError):
        return Finding(provider, OK, "not checked: only LiteLLM can reach it")
    except ProviderError as error:  # its key or address is not usable
        return Finding(provider, FAIL, f"not checked: {error.error.message}")
    base = _ENDPOINT_PATH.sub("", encoded.url)
    base = re.sub(r"/v2/chat(\?.*)?$", "/v1", base)  # Cohere lists its models in version 1
    headers = {**encoded.headers, "accept": "application/json", **wire.auth_headers(key)}
    status, elapsed_ms = _request_status("GET", f"{base}/models", headers)
    return _classify(provider, mask_url(base), status, elapsed_ms, f"pipy keys set {provider}")


def _check_cloud(provider: str, cloud: Cloud, names: Sequence[str]) -> Finding:
    """Check that the cloud accepts the credentials that requests to it would carry.

    Not all of its APIs have an address that is free, so a model of each is looked at.
    """
    import asyncio

    from ..._requests import build_request
    from ...errors import ProviderError
    from ...provider.http.client import HTTPRequest
    from ...provider.redaction import redacted_error
    from ...utils.secrets import mask_url

    requests: dict[str, tuple[Request, Wire]] = {}
    for name in names:
        request = build_request(name, "hi", None, {})
        if (wire := cloud.wire(request)) is not None:
            requests.setdefault(wire.api, (request, wire))
    endpoint, problem = None, ""
    for request, wire in requests.values():
        try:
            endpoint = asyncio.run(cloud.endpoint(request, wire))
        except ProviderError as error:
            problem = problem or redacted_error(error, request, ()).error.message
            continue
        if endpoint.check_url:
            break
    if endpoint is None:
        return Finding(provider, FAIL, problem)
    if not endpoint.check_url:
        return Finding(provider, OK, "not checked: every request to this address costs something")
    headers = dict(endpoint.headers)
    if endpoint.sign is not None:
        headers |= endpoint.sign(HTTPRequest("GET", endpoint.check_url, [*headers.items()]))
    status, elapsed_ms = _request_status("GET", endpoint.check_url, headers)
    advice = "check the account's permissions"
    return _classify(provider, mask_url(endpoint.check_url), status, elapsed_ms, advice)


def _request_status(method: str, url: str, headers: dict[str, str]) -> tuple[int | str, float]:
    """Return the status of the response, or the name of the error, and the milliseconds it took."""
    import httpx

    started = time.perf_counter()
    status: int | str
    try:
        with (
            httpx.Client(timeout=TIMEOUT_S) as client,
            client.stream(method, url, headers=headers) as response,
        ):
            status = response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        status = type(error).__name__  # the message may quote a header with the key
    return status, (time.perf_counter() - started) * 1000


def _classify(about: str, url: str, status: int | str, elapsed_ms: float, fix: str) -> Finding:
    if isinstance(status, str):
        fix = "check the network, HTTPS_PROXY and SSL_CERT_FILE"
        return Finding(about, FAIL, f"{url} cannot be reached ({status})", fix)
    detail = f"{url} responds in {elapsed_ms:.0f} ms with HTTP {status}"
    if status in (401, 403):
        return Finding(about, FAIL, f"{detail}: the key was rejected", fix)
    if status == 429 or status >= 500:
        return Finding(about, WARN, detail, "try again later")
    return Finding(about, OK, detail)
