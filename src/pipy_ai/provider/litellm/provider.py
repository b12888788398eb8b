"""`LiteLLMProvider`: reach every provider that pipy-ai does not call directly.

This is the only module that imports litellm, and only when a request needs it. LiteLLM runs in the
background event loop, since its HTTP clients belong to one loop. Its async streams are used; its
retries are off.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import importlib
import logging
import os
import re
import threading
import weakref
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ...errors import ErrorKind, ProviderError, error_info
from ...failures import UNKNOWN_PROVIDER_MESSAGE, exception_headers
from ...options import SimpleStreamOptions
from ...registry.litellm_providers import known_to_litellm
from ...registry.routing import guess_key_env
from ...utils import event_loop as loops
from ...utils.channel import Channel
from ...utils.extras import has_extra, install_command
from ...utils.secrets import is_secret_parameter
from ..apis import OPENAI_RESPONSES
from ..credentials import (
    PLACEHOLDER_KEY,
    aresolve_api_key,
    is_openai_url,
    missing_key_error,
    missing_package_error,
    resolve_api_key,
    use_placeholder_key,
)
from ..deltas import Delta, Finish, ResponseInfo
from ..endpoint import secrets_identity
from ..exchange import MAX_ERROR_BODY_BYTES, stream_deltas
from ..http.client import USER_AGENT, HTTPRequest
from ..interception import current_interceptor, is_replaying
from ..profiles import CLAUDE, backend_for
from ..redaction import redacted_error, redacted_preview, response_redactor
from ..request import Preview, Request, bad_request_error
from ..response import ResponseCapture
from ..router import expand_env_references, load_router_config, with_stored_keys
from ..tool_definitions import restore_tool_names
from ..transport import advice_without_litellm
from ..wires import backend_wire
from .arguments import build_arguments, is_native_claude
from .capture import CapturedRequest, capturing_client
from .chunks import ChunkDecoder, finish_text, read_error

# Set before LiteLLM is imported, unless the user has set them.
_IMPORT_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no download of a price list
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",  # no download of a list of headers
    "LITELLM_MODE": "PRODUCTION",  # no .env of a parent directory
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000",  # tables and indentation legitimately repeat
}

# Variables with keys and addresses that LiteLLM may read.
_LITELLM_VARIABLE = (
    "(^|_)(BASE|CREDENTIALS|ENDPOINT|JWT|KEY|LOCATION|PASSWORD|PROFILE|PROJECT|REGION|SECRET|TOKEN"
    "|URL)(_|$)"
)
CLOSE_TIMEOUT_S = 0.05  # for the connection to close when a stream is left

_import_lock = threading.Lock()
_litellm_module: Any = None
_threads_with_cleanup: weakref.WeakSet[loops.LoopThread] = weakref.WeakSet()


def _import_litellm() -> Any:
    global _litellm_module
    with _import_lock:
        if _litellm_module is not None:
            return _litellm_module
        for name, value in _IMPORT_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        gc_was_enabled = gc.isenabled()
        gc.disable()  # creates thousands of classes and no garbage: saves an eighth of the time
        try:
            litellm: Any = importlib.import_module("litellm")
        finally:
            if gc_was_enabled:
                gc.enable()
        litellm.suppress_debug_info = True
        litellm.disable_aiohttp_transport = True  # it hangs on a bad chunk header, timeout or not
        litellm.disable_hf_tokenizer_download = True
        for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        _forbid_redirects(
            "litellm.llms.openai.common_utils", "BaseOpenAILLM", "_get_async_http_client"
        )
        _forbid_redirects(
            "litellm.llms.custom_httpx.http_handler", "AsyncHTTPHandler", "create_client"
        )
        _litellm_module = litellm
        return litellm


def _forbid_redirects(module: str, class_name: str, method: str) -> None:
    """Let a method return HTTP clients that follow no redirects.

    httpx removes only `Authorization` for another host: Azure's `api-key` would be sent there.
    """
    owner = getattr(importlib.import_module(module), class_name)
    static = isinstance(owner.__dict__[method], staticmethod)
    create = getattr(owner, method)

    def create_without_redirects(*args: Any, **options: Any) -> Any:
        client = create(*args, **options)
        if client is not None:
            client.follow_redirects = False
            client.event_hooks["response"].append(_truncate_error_body)
            client.send = _send_or_replay(client.send)
        return client

    setattr(
        owner,
        method,
        staticmethod(create_without_redirects) if static else create_without_redirects,
    )


def _send_or_replay(send: Any) -> Any:
    """Return the method of an HTTP client that sends a request, or asks an open cassette."""

    async def send_or_replay(http_request: Any, **options: Any) -> Any:
        cassette = current_interceptor()
        if cassette is None:
            return await send(http_request, **options)
        return await cassette.send_httpx(send, http_request, options)

    return send_or_replay


async def _truncate_error_body(response: Any) -> None:
    """Let the body of an error end early: LiteLLM reads all of it, however long it is."""
    if response.status_code < 400:
        return
    import httpx

    stream = response.stream

    class BeginningOfStream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in stream:
                yield chunk
                size += len(chunk)
                if size >= MAX_ERROR_BODY_BYTES:
                    return

        async def aclose(self) -> None:
            await stream.aclose()

    response.stream = BeginningOfStream()


def _check_installed(request: Request) -> None:
    """Raise a `ProviderError` if LiteLLM is not installed."""
    if has_extra("litellm"):
        return
    route = request.route
    if request.options.transport == "direct" or (route.problem and not request.options.api_base):
        return  # LiteLLM would not help; another error follows
    if route.kind == "litellm" and request.backend not in known_to_litellm():
        info = error_info(ErrorKind.NOT_FOUND, UNKNOWN_PROVIDER_MESSAGE, provider=request.provider)
        raise ProviderError(info)
    advice = advice_without_litellm(request)
    raise missing_package_error(request.provider, "LiteLLM", "litellm", advice)


# How to install what LiteLLM needs for some providers, by the module that it imports.
_INSTALL_COMMANDS = {"boto3": "pip install boto3", "botocore": "pip install boto3"}


def _missing_module_error(error: Exception, request: Request) -> Exception:
    """Return the error of a package that LiteLLM needs for a provider, or else the error itself.

    LiteLLM reports a module that is not installed as a broken connection.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ImportError | ProviderError):
        cause = getattr(cause, "original_exception", None) or cause.__cause__ or cause.__context__
    if not isinstance(cause, ImportError):
        return error
    package = (cause.name or "").partition(".")[0]
    command = install_command("vertex") if package == "google" else _INSTALL_COMMANDS.get(package)
    text = f"LiteLLM needs a package that is not installed for {request.provider}: {cause}"
    if command is not None:
        text += f". Run {command}"
    return ProviderError(error_info(ErrorKind.MISSING_KEY, text, provider=request.provider))


async def _load_litellm() -> Any:
    """Import LiteLLM once, in a thread, so that an abort does not wait for it."""
    module = _litellm_module or await loops.run_in_thread("pipy-ai-import", _import_litellm)
    loop_thread = loops.background_loop()
    if loop_thread not in _threads_with_cleanup:
        _threads_with_cleanup.add(loop_thread)
        cleanup = importlib.import_module("litellm.llms.custom_httpx.async_client_cleanup")
        loop_thread.add_cleanup(cleanup.close_litellm_async_clients)
    return module


class LiteLLMProvider:
    """Sends requests through LiteLLM, or through its Router for models of a Router file.

    `config_path` is a file of `pipy config`, or any other of LiteLLM's Router; default:
    `router.yaml` in the data directory, if it exists. Its models go through LiteLLM's Router,
    all others go direct.

    Example:
        >>> from pipy_ai import LiteLLMProvider, register_provider
        >>> register_provider("litellm", LiteLLMProvider("router.yaml"))    # doctest: +SKIP
    """

    api = "litellm"

    def __init__(self, config_path: str | os.PathLike[str] | None = None) -> None:
        self.config_path = config_path

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """See `Provider`."""
        _check_installed(request)
        if is_replaying():
            use_placeholder_key(request)
        api_key = await aresolve_api_key(request)
        request.redact = response_redactor(request, _secrets(api_key))
        arguments = _build_arguments(request)
        channel: Channel[Delta] = Channel()
        background_task = loops.background_loop().spawn(
            _stream_to_channel(request, arguments, api_key, channel)
        )
        complete = False
        try:
            while deltas := await channel.aget():
                if request.tool_names:
                    restore_tool_names(deltas, request)
                yield deltas
            complete = True  # the task may still read the connection to its end for reuse
        finally:
            if not complete:
                background_task.cancel()
                await background_task.wait(CLOSE_TIMEOUT_S)

    async def cache_identity(self, request: Request, share_keys: bool) -> Any:
        """Return what decides the response to a request, for the cache of responses."""
        arguments = build_arguments(request, preview=True)
        is_routed = request.route.kind == "router"
        config = load_router_config(request.route.api_base or None) if is_routed else None
        stamp = None if config is None else (config.path, config.file_stamp)
        if share_keys:
            arguments = {n: v for n, v in arguments.items() if not is_secret_parameter(n)}
            return arguments, stamp, request.options.headers
        environment = [
            f"{name}={value}"
            for name, value in os.environ.items()
            if re.search(_LITELLM_VARIABLE, name)
        ]
        secrets = (*environment, *_secrets(await aresolve_api_key(request)))
        return arguments, stamp, request.options.headers, secrets_identity(secrets)

    async def preview(self, request: Request) -> Preview:
        """Return the request that would be sent; see `pipy_ai.preview`."""
        arguments = _build_arguments(request, preview=True)
        if request.route.problem and request.options.api_base is None:
            return Preview("", "", {}, arguments)
        api_key = resolve_api_key(request, placeholder=PLACEHOLDER_KEY)
        if not backend_for(request.backend).captured or request.route.kind == "router":
            return Preview("", "", {}, arguments)  # LiteLLM might send it
        _check_installed(request)
        channel: Channel[Preview] = Channel()
        background_task = loops.background_loop().spawn(
            _capture_preview(request, arguments, api_key, channel)
        )
        try:
            [captured_preview] = await channel.aget()
            return captured_preview
        finally:
            background_task.cancel()


def _build_arguments(request: Request, preview: bool = False) -> dict[str, Any]:
    arguments = build_arguments(request, preview)
    if request.options.on_payload is not None:
        arguments = request.options.on_payload(arguments) or arguments
    return arguments


def _secrets(api_key: str | None) -> Sequence[str]:
    return (api_key,) if api_key else ()


async def _capture_preview(
    request: Request, arguments: dict[str, Any], api_key: str | None, channel: Channel[Preview]
) -> None:
    try:
        litellm = await _load_litellm()
        api_key = api_key or _litellm_api_key(litellm, request, arguments)
        captured = await _call_litellm(litellm, request, arguments, api_key, capture_only=True)
        assert isinstance(captured, CapturedRequest), "a captured backend was not captured"
        channel.put(
            [redacted_preview(_build_http_request(captured, request), request, _secrets(api_key))]
        )
        channel.close()
    except asyncio.CancelledError:
        channel.close()
        raise
    except Exception as exc:
        error = _missing_module_error(exc, request)
        channel.close(redacted_error(error, request, _secrets(api_key)))


async def _stream_to_channel(
    request: Request, arguments: dict[str, Any], api_key: str | None, channel: Channel[Delta]
) -> None:
    """Put the deltas of a response into `channel`. Runs in the background loop."""
    try:
        litellm = await _load_litellm()
        if request.route.kind == "router":
            await _relay_stream(*await _call_router(litellm, request, arguments), request, channel)
            channel.close()
            return
        api_key = api_key or _litellm_api_key(litellm, request, arguments)
        response = await _call_litellm(litellm, request, arguments, api_key)
        if isinstance(response, CapturedRequest):
            await _send_captured(response, request, channel)
        else:
            await _relay_stream(*response, request, channel)
        channel.close()
    except asyncio.CancelledError:
        channel.close()
        raise
    except Exception as exc:
        if headers := exception_headers(exc):  # else our own client sent it, or nobody did
            request.response = _capture(getattr(exc, "status_code", None) or 500, headers)
        error = _missing_module_error(exc, request)
        channel.close(redacted_error(error, request, _secrets(api_key)))


# Backends whose requests are not captured: APIs without a wire, and Azure, which needs its SDK's
# clients. Keyed by backend and model family, since one backend may speak several APIs.
uncaptured: set[tuple[str, bool]] = {
    (name, claude) for name in ("azure", "azure_text") for claude in (False, True)
}


async def _call_litellm(
    litellm: Any,
    request: Request,
    arguments: dict[str, Any],
    api_key: str | None,
    capture_only: bool = False,
) -> CapturedRequest | tuple[Any, Any]:
    """Return the HTTP request that LiteLLM builds, captured.

    For APIs without a wire, and if LiteLLM does not use the captured client, return its stream and
    its first chunk. With `capture_only` nothing is sent.
    """
    arguments = {
        **arguments,
        "api_key": api_key,
        "timeout": _read_timeout(request.options),
        "max_retries": 0,
    }
    body_patch: dict[str, Any] = {}
    wire = backend_wire(request)
    if wire.api == OPENAI_RESPONSES:
        method = litellm.aresponses
        model_info = litellm.model_cost.get(request.model_id, {})
        if model_info.get("litellm_provider") != request.backend:  # LiteLLM would not stream it
            body_patch["stream"] = True
    else:
        method = litellm.acompletion
        arguments |= {"num_retries": 0, "_skip_mcp_handler": True}
        if is_native_claude(request, wire):  # LiteLLM rejects or rewrites them by the model's name
            body_patch = {
                n: arguments.pop(n)
                for n in ("thinking", "output_config", "service_tier")
                if n in arguments
            }
        elif request.profile.thinking_chunks:  # LiteLLM makes them text
            body_patch["messages"] = copy.deepcopy(arguments["messages"])
        if backend_for(request.backend).captured and not is_native_claude(request, wire):
            arguments |= _allow_gated_parameters(litellm, arguments)
    backend_and_family = (request.backend, bool(CLAUDE.search(request.model_id)))
    if backend_and_family not in uncaptured:
        handler = importlib.import_module("litellm.llms.custom_httpx.http_handler")
        client = capturing_client(litellm, handler.AsyncHTTPHandler, arguments, api_key)
        try:
            return await _read_first_chunk(await method(**arguments, client=client))
        except CapturedRequest as captured:
            if captured.wire is not None or capture_only:
                captured.patch_body(body_patch)
                return captured
            if backend_for(request.backend).captured:  # the address is wrong, not the backend
                url = captured.request.url.copy_with(query=None)
                raise bad_request_error(request, f"{url} does not belong to a known API") from None
            if not backend_for(request.backend).direct:  # else only this request is sent otherwise
                uncaptured.add(backend_and_family)
    return await _read_first_chunk(await method(**arguments))


# LiteLLM backends that fall back to OpenAI's key.
_OPENAI_KEY_BORROWERS = frozenset({"aiohttp_openai", "text-completion-inception"})
_GATED_PARAMETERS = (
    "tools",
    "tool_choice",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "user",
    # of `extra`
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n",
    "parallel_tool_calls",
    "service_tier",
)


def _allow_gated_parameters(litellm: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the argument that allows parameters for models that LiteLLM does not list."""
    backend, _, model = arguments["model"].partition("/")
    supported = litellm.get_supported_openai_params(model=model, custom_llm_provider=backend) or ()
    rejected = [name for name in _GATED_PARAMETERS if name in arguments and name not in supported]
    return {"allowed_openai_params": rejected} if rejected else {}


def _litellm_api_key(litellm: Any, request: Request, arguments: dict[str, Any]) -> str | None:
    """Return the key that LiteLLM knows for a provider that is not in the catalogue.

    LiteLLM must not look for a key while it sends: for an OpenAI-compatible host it would use
    OpenAI's.
    """
    backend = request.backend
    if backend in _OPENAI_KEY_BORROWERS:
        return PLACEHOLDER_KEY
    if request.route.kind != "litellm" or backend not in litellm.openai_compatible_providers:
        return None
    model, base_url = arguments["model"], arguments.get("api_base")
    if request.options.api_base:  # LiteLLM's key is for the provider's own address
        return PLACEHOLDER_KEY
    _, _, api_key, _ = litellm.get_llm_provider(model=model, api_base=base_url, api_key=None)
    if api_key:
        return str(api_key)
    if base_url is not None:
        return PLACEHOLDER_KEY
    raise missing_key_error(backend, guess_key_env(backend))


async def _read_first_chunk(response: Any) -> tuple[Any, Any]:
    """Return a stream and its first chunk: some providers get the request with the first read."""
    try:
        async for chunk in response:
            return response, chunk
    except BaseException as error:
        await _close_stream(response)
        if isinstance(error, Exception):
            raise read_error(error) from error
        raise
    return response, None


def _prevent_key_borrowing(litellm: Any, parameters: dict[str, Any]) -> None:
    """Set a placeholder key in a Router entry that has none.

    Otherwise LiteLLM would send OpenAI's key to any OpenAI-compatible host.
    """
    model = str(parameters.get("model", ""))
    backend = parameters.get("custom_llm_provider") or model.partition("/")[0]
    base_url = parameters.get("api_base") or parameters.get("base_url")
    is_compatible = (
        backend in _OPENAI_KEY_BORROWERS or backend in litellm.openai_compatible_providers
    )
    is_openai_backend = backend in ("openai", "text-completion-openai", "custom_openai")
    if parameters.get("api_key") or not (is_compatible or is_openai_backend):
        return
    if is_openai_backend:
        api_key = None if base_url is None or is_openai_url(str(base_url)) else PLACEHOLDER_KEY
    else:
        api_key = PLACEHOLDER_KEY
        with contextlib.suppress(Exception):
            api_key = litellm.get_llm_provider(model=model, api_base=base_url)[2] or PLACEHOLDER_KEY
    if api_key:
        parameters["api_key"] = api_key


_routers: dict[str, tuple[tuple[int, int], Any]] = {}


async def _call_router(
    litellm: Any, request: Request, arguments: dict[str, Any]
) -> tuple[Any, Any]:
    """Return the stream of LiteLLM's Router and its first chunk.

    The Router has to see the responses for its cooldowns and fallbacks. It retries as its file
    says; our retries apply after all of those have failed.
    """
    config = load_router_config(request.route.api_base or None)
    if config is None:
        raise ValueError("the router configuration no longer exists")
    cached = _routers.get(config.path)
    if cached is None or cached[0] != config.file_stamp:
        settings = {"num_retries": 0, **expand_env_references(config.settings)}
        entries = copy.deepcopy(config.model_list)
        for entry in entries:
            entry["litellm_params"] = with_stored_keys(entry["litellm_params"])
            _prevent_key_borrowing(litellm, entry["litellm_params"])
        router = litellm.Router(model_list=entries, **settings)
        if cached is not None:
            cached[1].discard()
        cached = _routers[config.path] = (config.file_stamp, router)
    return await _read_first_chunk(
        await cached[1].acompletion(**arguments, timeout=_read_timeout(request.options))
    )


# --- Requests that LiteLLM builds and our client sends --------------------------------------


def _build_http_request(captured: CapturedRequest, request: Request) -> HTTPRequest:
    to_openai = request.provider == "openai"
    return captured.to_http_request(USER_AGENT, to_openai, request.route.key_header)


async def _send_captured(
    captured: CapturedRequest, request: Request, channel: Channel[Delta]
) -> None:
    """Send a captured request and decode its response."""
    assert captured.wire is not None
    http_request = _build_http_request(captured, request)
    request.response = ResponseCapture(http_request.url, keep_body=request.options.raw)
    batches = stream_deltas(http_request, captured.wire, request.profile, request.response)
    try:
        async for deltas in batches:
            channel.put(deltas)
    finally:
        await batches.aclose()


# --- Requests that LiteLLM sends ------------------------------------------------------------


async def _relay_stream(
    response: Any, first_chunk: Any, request: Request, channel: Channel[Delta]
) -> None:
    decoder = ChunkDecoder(request.backend, request.profile.reports_cost)
    chunk_count = 0
    innermost = _innermost_stream(response)
    try:
        request.response = _capture(200, _headers_of(innermost))
        channel.put([ResponseInfo()])  # accepted
        if first_chunk is not None:
            channel.put(decoder.decode(first_chunk))
            async for chunk in response:
                channel.put(decoder.decode(chunk))
                innermost = _innermost_stream(response)
                chunk_count += 1
                if chunk_count % 16 == 0:
                    await asyncio.sleep(0)  # let other tasks run during a burst
        # LiteLLM invents a "stop" for a truncated stream; only this field is reliable.
        reason = decoder.finish_reason
        if backend_for(request.backend).reports_finish:
            reason = getattr(innermost, "received_finish_reason", reason)
        # It also invents token counts when the provider sent none.
        chunks = getattr(response, "chunks", None)
        if not chunks or any(getattr(chunk, "usage", None) is not None for chunk in chunks):
            channel.put(decoder.usage)
        if reason is not None:
            channel.put([Finish(finish_text(reason))])
    except Exception as error:
        raise read_error(error) from error
    finally:
        await _close_stream(response)


def _innermost_stream(response: Any) -> Any:
    """Return the stream inside the Router's generators, which records how it ended."""
    while True:
        frame = getattr(getattr(response, "_async_generator", None), "ag_frame", None)
        frame_locals = {} if frame is None else frame.f_locals
        inner = frame_locals.get("fallback_response") or frame_locals.get("model_response")
        if inner is None:
            return response
        response = inner


def _capture(status: int, headers: dict[str, str]) -> ResponseCapture:
    """Return what is known of a response that LiteLLM reads."""
    capture = ResponseCapture()
    capture.status, capture.headers = status, headers
    return capture


def _headers_of(response: Any) -> dict[str, str]:
    """Return the headers of the response that a stream of LiteLLM reads, if it has them."""
    headers = getattr(response, "_response_headers", None)
    with contextlib.suppress(TypeError, ValueError):
        return {str(name).lower(): str(value) for name, value in dict(headers or {}).items()}
    return {}


def _read_timeout(options: SimpleStreamOptions) -> float:
    # The engine enforces our timeouts; this one ends requests that the engine no longer tracks.
    return max(600.0, (options.idle_timeout or 0.0) * 2)


async def _close_stream(response: Any) -> None:
    """Close the connection of a stream, under the name that this version has for it."""
    for stream in (response, getattr(response, "completion_stream", None)):
        close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):
                closing = close()
                if asyncio.iscoroutine(closing):
                    await asyncio.wait_for(closing, 1.0)
