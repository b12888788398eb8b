"""Ollama: a server on this machine or another one, and its cloud at ollama.com."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ...errors import ErrorInfo, ErrorKind, ProviderError, error_info
from ...failures import classify_exception, classify_status
from ...registry.ollama_address import (
    CLOUD_URL,
    environment_address,
    is_cloud,
    may_have_key,
    server_url,
)
from ...registry.routing import litellm_route
from ..apis import OLLAMA_CHAT
from ..credentials import aresolve_api_key, key_renewal, missing_key_error
from ..endpoint import Endpoint
from ..http.client import (
    CONNECTION_ERRORS,
    USER_AGENT,
    HTTPRequest,
    endpoint_url,
    redacted_url,
    send,
)
from ..request import Request
from ..wire import Wire
from ..wires import load_wire
from . import CloudReport

LIST_TIMEOUT_S = 2.0  # for the list of models and all their details
PROBE_TIMEOUT_S = 0.4  # for a server on this machine
MAX_LIST_BYTES = 8 << 20

_KEY = "OLLAMA_API_KEY"


class Ollama:
    """See `Cloud`."""

    title = "Ollama"

    def wire(self, request: Request) -> Wire:
        """See `Cloud`."""
        return load_wire(OLLAMA_CHAT)

    async def endpoint(self, request: Request, wire: Wire, preview: bool = False) -> Endpoint:
        """See `Cloud`."""
        base_url = _valid_url(request.options.api_base or request.route.api_base)
        api_key: str | None = None
        if request.options.api_key is not None or may_have_key(base_url):
            api_key = _real_key(await aresolve_api_key(request))
        if api_key is None and is_cloud(base_url) and not preview:
            raise missing_key_error(request.provider, [_KEY], can_be_stored=True)
        return Endpoint(
            headers={} if api_key is None else wire.auth_headers(api_key),
            base_url=base_url,
            secrets=() if api_key is None else (api_key,),
            renew=key_renewal(request, api_key),
            check_url=endpoint_url(base_url, "/api/tags"),
            explain=lambda error: _explain(error, base_url, request.model_id),
        )

    async def report(self) -> CloudReport | None:
        """See `Cloud`. Only a server on this machine is asked."""
        variable, base_url = environment_address()
        try:
            _valid_url(base_url)
        except ProviderError as error:
            return CloudReport("failed", error.error.message, f"unset {variable}, or correct it")
        key_variable, location = litellm_route("ollama_chat/m").credential()
        key_text = f"{key_variable} ({location}) for {CLOUD_URL}" if key_variable else ""
        if not variable:
            return CloudReport("ok", key_text) if key_text else None
        text = f"{redacted_url(base_url)} ({variable})"
        if _is_loopback(urlsplit(base_url).hostname or ""):
            try:
                count = len(await _fetch_names(base_url, None, PROBE_TIMEOUT_S))
            except ProviderError:
                return CloudReport("missing", f"no server responds at {text}", "ollama serve")
            text += f": {count} model{'' if count == 1 else 's'}"
        return CloudReport("ok", "; ".join(filter(None, (text, key_text))))


CLOUD = Ollama()


def _valid_url(address: str) -> str:
    """Return the base URL of a server.

    Raises:
        ProviderError: It has no valid host and port.
    """
    url = server_url(address)
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_valid = is_valid and url.isprintable() and " " not in url
    except ValueError:
        is_valid = False
    if not is_valid:
        text = (
            f"{redacted_url(url)!r} is not the address of a server: set OLLAMA_HOST, or api_base=, "
            "to one like http://127.0.0.1:11434."
        )
        raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider="ollama"))
    return url


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _real_key(api_key: str | None) -> str | None:
    return None if api_key in (None, "", "none") else api_key


# === Errors =================================================================================


def _explain(error: ErrorInfo, base_url: str, model_id: str) -> None:
    """Add to an error what to do about it."""
    host, url = urlsplit(base_url).hostname or "", redacted_url(base_url)
    in_cloud, is_here = is_cloud(base_url), _is_loopback(host)
    text = error.message.rstrip(".")
    advice = ""
    match error.kind:
        case ErrorKind.CONNECTION if not in_cloud and " cannot be reached: " in text:
            if is_here or os.strerror(errno.ECONNREFUSED) in text:
                text = f"Ollama is not running at {url}"
                where = "" if is_here else f" on {host} with OLLAMA_HOST=0.0.0.0"
                advice = f"start it with `ollama serve`{where}, or set OLLAMA_HOST to its address"
                error.retryable = False
        case ErrorKind.NOT_FOUND if "not found" in text and not in_cloud:
            advice = f"run `ollama pull {model_id}`"
        case ErrorKind.CONTEXT_OVERFLOW if "context" in text:
            advice = 'shorten it, or set extra={"num_ctx": …} (-o extra.num_ctx=…)'
        case ErrorKind.AUTH if not in_cloud and "unauthorized" in text.lower():
            advice = "run `ollama signin`, or pass api_key="
        case ErrorKind.BAD_REQUEST if text.endswith("does not support thinking"):
            advice = "leave out reasoning="
        case ErrorKind.BAD_REQUEST if text.startswith("think value"):  # of older servers
            advice = 'update Ollama, or set extra={"think": true} in place of reasoning='
        case ErrorKind.BAD_REQUEST if text.endswith("does not support tools"):
            advice = "choose a model with tools (pipy models --provider ollama)"
        case _:
            pass
    if advice:
        error.message = f"{text}: {advice}."


# === Models =================================================================================


async def list_models(address: str = "", api_key: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the models of a server by name, as records in the format of models.dev.

    Details that the server does not give in time are left out.

    Raises:
        ProviderError: The server cannot be reached, or gives no list within `LIST_TIMEOUT_S`.
    """
    base_url = _valid_url(address or environment_address()[1])
    if api_key is None and may_have_key(base_url):
        api_key = litellm_route("ollama_chat/m").api_key() or None
    names = await _fetch_names(base_url, api_key, LIST_TIMEOUT_S)
    tasks = {name: asyncio.ensure_future(_fetch_details(base_url, api_key, name)) for name in names}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=LIST_TIMEOUT_S)
    records = {}
    for name, task in tasks.items():
        known = task.done() and task.exception() is None
        records[name] = model_record(name, task.result() if known else {})
        task.cancel()
    return records


def model_record(name: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a model from the response of `/api/show`."""
    record: dict[str, Any] = {"id": name, "name": name, "open_weights": True}
    capabilities = details.get("capabilities")
    if isinstance(capabilities, list):
        inputs = ["text", *(["image"] if "vision" in capabilities else [])]
        is_chat = "completion" in capabilities
        record["modalities"] = {"input": inputs, "output": ["text"] if is_chat else ["embedding"]}
        record["tool_call"] = "tools" in capabilities
        record["reasoning"] = "thinking" in capabilities
    info = details.get("model_info")
    for key, value in info.items() if isinstance(info, dict) else ():
        if key.endswith(".context_length") and type(value) is int and value > 0:
            record["limit"] = {"context": value}
    return record


async def _fetch_names(base_url: str, api_key: str | None, timeout_s: float) -> list[str]:
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _fetch("GET", endpoint_url(base_url, "/api/tags"), api_key)
    except TimeoutError:
        text = f"Ollama at {redacted_url(base_url)} did not list its models in {timeout_s:g} s."
        raise ProviderError(error_info(ErrorKind.TIMEOUT, text, provider="ollama")) from None
    except CONNECTION_ERRORS as error:
        info = classify_exception(error)
        _explain(info, base_url, "")
        raise ProviderError(info) from None
    models = answer.get("models")
    names = [model.get("name") for model in models or () if isinstance(model, dict)]
    return [name for name in names if isinstance(name, str)]


async def _fetch_details(base_url: str, api_key: str | None, name: str) -> dict[str, Any]:
    return await _fetch("POST", endpoint_url(base_url, "/api/show"), api_key, {"model": name})


async def _fetch(method: str, url: str, api_key: str | None, body: Any = None) -> dict[str, Any]:
    headers = [("content-type", "application/json"), ("user-agent", USER_AGENT)]
    headers += [] if api_key is None else [("authorization", f"Bearer {api_key}")]
    content = b"" if body is None else json.dumps(body).encode()
    response = await send(HTTPRequest(method, url, headers, content))
    try:
        data = b""
        while len(data) < MAX_LIST_BYTES and (chunk := await response.read()):
            data += chunk
    finally:
        response.close()
    answer = None
    if response.status == 200:
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(data)
    if not isinstance(answer, dict):
        text = f"{redacted_url(url)} returned no list of models (HTTP {response.status})."
        kind = classify_status(response.status, "") if response.status != 200 else ErrorKind.SERVER
        raise ProviderError(error_info(kind, text, provider="ollama"))
    return answer
