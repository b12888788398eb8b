"""Direct transport: requests that pipy-ai builds and sends itself, without LiteLLM."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from ..errors import ErrorInfo, ErrorKind, ProviderError, error_info
from ..types import FileContent
from ..utils.secrets import is_secret_header
from ..utils.surrogates import clean_json_surrogates
from .apis import OPENAI_CHAT, OPENAI_RESPONSES
from .clouds import cloud_for
from .credentials import (
    PLACEHOLDER_KEY,
    aresolve_api_key,
    key_renewal,
    resolve_api_key,
    use_placeholder_key,
)
from .deltas import Delta
from .endpoint import Endpoint, secrets_identity
from .exchange import fetch_json, fetch_list, stream_deltas
from .finish import is_first_party_chat
from .http.client import USER_AGENT, HTTPRequest
from .interception import is_replaying
from .prepare import accepted_extra, merge_headers, merge_tools, prepare_request
from .redaction import redacted_error, redacted_preview, response_redactor
from .request import EncodedRequest, Preview, Request, bad_request_error
from .response import ResponseCapture
from .tool_definitions import restore_tool_names
from .wire import TokenCounter, Wire
from .wires import load_wire
from .wires._fields import token_count

FLEX_IDLE_TIMEOUT_S = 900.0  # "increase the default timeout to 15 minutes" (OpenAI)
# Fields that hold settings: the caller's are merged with ours.
_MERGED_FIELDS = frozenset(
    {
        "additionalModelRequestFields", "audio", "chat_template_kwargs", "generationConfig",
        "inferenceConfig", "metadata", "options", "outputConfig", "output_config", "reasoning",
        "requestMetadata", "stream_options", "text", "toolConfig",
    }
)  # fmt: skip
_DEFAULT_HEADERS = {
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": USER_AGENT,
}


class DirectProvider:
    """Sends requests over one wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.api: str = wire.api

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """See `Provider`."""
        endpoint = await resolve_endpoint(request, self._wire)
        renewed = False
        while True:
            request.redact = response_redactor(request, endpoint.secrets)
            try:
                http_request = self._build_http_request(request, endpoint)
                request.response = ResponseCapture(http_request.url, keep_body=request.options.raw)
                batches = stream_deltas(
                    http_request,
                    self._wire,
                    request.profile,
                    request.response,
                    _delivery(request),
                )
                try:
                    async for deltas in batches:
                        if request.tool_names:
                            restore_tool_names(deltas, request)
                        yield deltas
                finally:
                    await batches.aclose()
                return
            except Exception as exc:
                error = _explained_error(exc, request, endpoint)
                if renewed or endpoint.renew is None or not _is_rejected(error.error, endpoint):
                    raise error from None
            renewed = True  # the token may have expired earlier than it says
            endpoint.renew()
            endpoint = await resolve_endpoint(request, self._wire)

    async def preview(self, request: Request) -> Preview:
        """Return the request that would be sent; see `pipy_ai.preview`."""
        endpoint = await resolve_endpoint(request, self._wire, preview=True)
        http_request = self._build_http_request(request, endpoint, preview=True)
        return redacted_preview(http_request, request, endpoint.secrets)

    async def cache_identity(self, request: Request, share_keys: bool) -> Any:
        """Return what decides the response to a request, for the cache of responses."""
        endpoint = await resolve_endpoint(request, self._wire, preview=share_keys)
        encoded = self.encode(request, endpoint, preview=share_keys)
        headers, secrets = encoded.headers, endpoint.secrets
        if share_keys:
            secrets = ()
            headers = {n: value for n, value in headers.items() if not is_secret_header(n)}
        return encoded.url, headers, encoded.body, secrets_identity(secrets)

    async def count_tokens(self, request: Request) -> int | None:
        """Return the tokens of a prompt as the host counts them; None: its API cannot count.

        Raises:
            ProviderError: The host rejected the request, or did not answer.
        """
        counter = self._wire.token_counter
        if counter is None:
            is_openai = request.provider == "openai" and is_first_party_chat(request)
            if self._wire.api != OPENAI_CHAT or not is_openai:
                return None
            # OpenAI counts only requests of the Responses API, for the same models.
            return await DirectProvider(load_wire(OPENAI_RESPONSES)).count_tokens(request)
        renewed = False
        while True:
            endpoint = await resolve_endpoint(request, self._wire)
            try:
                http_request = self._build_http_request(request, endpoint, counter=counter)
                return _read_count(await fetch_json(http_request), counter.field)
            except Exception as exc:
                error = _explained_error(exc, request, endpoint)
                if renewed or endpoint.renew is None or not _is_rejected(error.error, endpoint):
                    raise error from None
            renewed = True
            endpoint.renew()

    async def list_models(self, request: Request) -> list[dict[str, Any]]:
        """Return the models that the credentials of a request can use, as the host lists them.

        Raises:
            ProviderError: The host has no list of models, or the request failed.
        """
        if self._wire.model_lists is None:
            raise bad_request_error(request, f"{request.provider} has no list of models")
        renewed = False
        while True:
            endpoint = await resolve_endpoint(request, self._wire)
            try:
                encoded = self.encode(request, endpoint)
                headers = merge_headers(_DEFAULT_HEADERS, endpoint.headers, encoded.headers)
                entries: list[dict[str, Any]] = []
                for url in self._wire.model_lists(encoded.url):
                    entries += await fetch_list(url, headers, endpoint.sign)
            except Exception as exc:
                error = _explained_error(exc, request, endpoint)
                if renewed or endpoint.renew is None or not _is_rejected(error.error, endpoint):
                    raise error from None
            else:
                return entries
            renewed = True
            endpoint.renew()

    def _build_http_request(
        self,
        request: Request,
        endpoint: Endpoint,
        preview: bool = False,
        counter: TokenCounter | None = None,
    ) -> HTTPRequest:
        encoded = self.encode(request, endpoint, preview)
        headers = merge_headers(_DEFAULT_HEADERS, endpoint.headers, encoded.headers)
        url, body = encoded.url, encoded.body
        if counter is not None:
            url, body = counter.convert(request, url, body)
        content = encode_json(body)
        http_request = HTTPRequest("POST", url, list(headers.items()), content)
        if endpoint.sign is not None and "authorization" not in map(str.lower, headers):
            http_request.headers += endpoint.sign(http_request).items()
        return http_request

    def encode(self, request: Request, endpoint: Endpoint, preview: bool = False) -> EncodedRequest:
        """Return the URL, the caller's and the API's headers, and the body of a request."""
        prepared = prepare_request(request, self._wire, preview)
        if endpoint.base_url is not None:
            prepared.base_url = endpoint.base_url
        encoded = self._wire.encode(request, prepared)
        idle_timeout = encoded.idle_timeout
        if request.service_tier == "flex":  # which queues requests
            idle_timeout = max(idle_timeout or 0.0, FLEX_IDLE_TIMEOUT_S)
        if idle_timeout and "idle_timeout" not in request.options.model_fields_set:
            update = {"idle_timeout": idle_timeout}
            request.options = request.options.model_copy(update=update)
        extra = accepted_extra(request, self._wire)
        extra_headers = extra.pop("extra_headers", None) or {}
        body = {name: value for name, value in encoded.body.items() if value is not None}
        extra |= extra.pop("extra_body", None) or {}
        for name, value in _nest_extra(extra, self._wire).items():
            current = body.get(name)
            if name == "tools":
                body[name] = merge_tools(request, current, value)
            elif name in _MERGED_FIELDS and isinstance(value, dict) and isinstance(current, dict):
                body[name] = {**current, **value}
                if isinstance(tools := value.get("tools"), list):  # of Bedrock's `toolConfig`
                    body[name]["tools"] = [*(current.get("tools") or ()), *tools]
            elif name == "include" and isinstance(value, list) and isinstance(current, list):
                body[name] = list(dict.fromkeys([*current, *value]))
            else:
                body[name] = value
        if request.options.on_payload is not None:
            body = request.options.on_payload(body) or body
        headers = merge_headers(encoded.headers, extra_headers, prepared.headers)
        return EncodedRequest(encoded.url, headers, body)


def _delivery(request: Request) -> Callable[[list[Delta]], None] | None:
    """Return the function that takes the deltas of a response as they arrive, if there is one."""
    deliver = request.deliver
    if deliver is None or not request.tool_names:
        return deliver

    def restore_and_deliver(deltas: list[Delta]) -> None:
        restore_tool_names(deltas, request)
        deliver(deltas)

    return restore_and_deliver


def _read_count(answer: dict[str, Any], field: str) -> int:
    count = token_count(answer.get(field))
    if count is None:
        text = f"The provider's response has no token count ({field}). Check api_base."
        raise ProviderError(error_info(ErrorKind.SERVER, text, retryable=False))
    return count


def _explained_error(exc: Exception, request: Request, endpoint: Endpoint) -> ProviderError:
    """Classify an exception, remove the secrets from its text, and add the host's advice."""
    error = redacted_error(exc, request, endpoint.secrets)
    if endpoint.explain is not None:
        endpoint.explain(error.error)
    if error.error.status_code in (400, 403, 404):
        _explain_missing_file(error.error, request)
    return error


def _mentions(text: str, file: FileContent) -> bool:
    name = file.id.removeprefix("files/")  # Gemini's prefix
    return bool(name) and name in text


def _explain_missing_file(error: ErrorInfo, request: Request) -> None:
    """Add to an error about a stored file of the request what to do."""
    for message in request.context.messages:
        for part in message.content if isinstance(message.content, list) else ():
            if isinstance(part, FileContent) and _mentions(error.message, part):
                name = f" {part.name}" if part.name else ""
                error.message = (
                    f"{error.message.rstrip('.')}. The file{name} was deleted, has expired, or was"
                    " uploaded with the API key of another account: upload it again."
                )
                return


def _is_rejected(error: ErrorInfo, endpoint: Endpoint) -> bool:
    """Return whether the host rejected the token or, at AWS, an access key that has expired."""
    is_expired_key = endpoint.sign is not None and "expired" in error.message
    return error.status_code == 401 or (error.status_code == 403 and is_expired_key)


async def resolve_endpoint(request: Request, wire: Wire, preview: bool = False) -> Endpoint:
    """Return the address and the credentials for one attempt. A replay needs no credentials."""
    if is_replaying():
        use_placeholder_key(request)
        preview = True
    if (cloud := cloud_for(request.backend)) is not None:
        try:
            return await cloud.endpoint(request, wire, preview)
        except Exception as exc:
            raise redacted_error(exc, request, ()) from None
    if preview:
        api_key = resolve_api_key(request, placeholder=PLACEHOLDER_KEY)
    else:
        api_key = await aresolve_api_key(request)
    headers = wire.auth_headers(api_key or PLACEHOLDER_KEY)
    if request.route.key_header:
        headers = {request.route.key_header: f"Bearer {api_key or PLACEHOLDER_KEY}"}
    secrets = (api_key,) if api_key else ()
    return Endpoint(headers, secrets=secrets, renew=key_renewal(request, api_key))


def _nest_extra(extra: dict[str, Any], wire: Wire) -> dict[str, Any]:
    """Return `extra` with the fields that belong into an object of the body inside of that."""
    for name, fields in wire.nested_extra.items():
        inner = extra.get(name) or {}
        if isinstance(inner, dict) and (names := fields.intersection(extra)):
            extra[name] = {field: extra.pop(field) for field in sorted(names)} | inner
    return extra


def encode_json(body: Any) -> bytes:
    """Return the body as JSON.

    Raises:
        ProviderError: It holds a value that JSON cannot represent.
    """
    try:
        try:
            return _dump_json(body)
        except UnicodeEncodeError:
            return _dump_json(clean_json_surrogates(body))
    except (TypeError, ValueError, RecursionError) as error:
        text = (
            f"The request cannot be written as JSON: {error}. Check the tool calls and "
            "tools of the conversation, extra=, metadata= and on_payload=."
        )
        raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text)) from None


def _dump_json(body: Any) -> bytes:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()
