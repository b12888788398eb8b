"""LiteLLM: the reach to 100+ providers. The one file that imports it, and only for a request.

LiteLLM runs in the background loop, whoever calls: its HTTP clients belong to a loop, and one
loop that stays keeps its connections. Only its asynchronous streams are used, never its retries.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import importlib
import logging
import os
import threading
import weakref
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ..registry.routing import guessed_keys
from ..types import SimpleStreamOptions
from ..utils.channel import Channel
from . import loop as loops
from .deltas import (
    Delta,
    Finish,
    ResponseInfo,
    Text,
    Thinking,
    ToolFragment,
    UsageReport,
)
from .keys import NO_KEY, find_key, is_openai, key_for, missing_key
from .litellm_build import build
from .litellm_capture import Captured, recording_client
from .prepare import refuse, style_of
from .remote import AGENT, failure, masked
from .request import Preview, Request
from .router import resolved, router_config, with_kept_keys
from .wire.http import Call
from .wire.openai_chat import thinking_blocks
from .wire.sender import exchange

# What LiteLLM must be told before it is imported, unless the user told it otherwise.
_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no download of a price list
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",  # no download of a list of headers
    "LITELLM_MODE": "PRODUCTION",  # no .env of some directory above
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000",  # tables and indents repeat, rightly
}

# Providers whose requests LiteLLM hands to our client, proven by the tests.
CAPTURED = frozenset(
    {
        "anthropic",
        "cerebras",
        "dashscope",
        "deepinfra",
        "deepseek",
        "fireworks_ai",
        "gemini",
        "groq",
        "hosted_vllm",
        "litellm_proxy",
        "mistral",
        "moonshot",
        "openai",
        "openrouter",
        "perplexity",
        "together_ai",
        "vercel_ai_gateway",
        "xai",
        "zai",
    }
)
CLOSING = 0.05  # seconds that leaving waits for the connection to be closed
_REPORTS_NO_FINISH = frozenset({"gemini", "vertex_ai", "vertex_ai_beta"})

_import_lock = threading.Lock()
_module: Any = None
_cleaned: weakref.WeakSet[loops.LoopThread] = weakref.WeakSet()


def _import_litellm() -> Any:
    global _module
    with _import_lock:
        if _module is not None:
            return _module
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        collecting = gc.isenabled()
        gc.disable()  # thousands of classes, none of them garbage: an eighth of the time
        try:
            litellm: Any = importlib.import_module("litellm")
        finally:
            if collecting:
                gc.enable()
        litellm.suppress_debug_info = True
        litellm.disable_aiohttp_transport = True  # it hangs on a bad chunk header, timeout or not
        litellm.disable_hf_tokenizer_download = True
        for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        _module = litellm
        return litellm


async def _litellm() -> Any:
    """LiteLLM, imported once, in a thread: it takes seconds that an abort need not wait for."""
    module = _module or await loops.in_thread("pipy-ai-import", _import_litellm)
    thread = loops.ensure()
    if thread not in _cleaned:
        _cleaned.add(thread)
        cleanup = importlib.import_module("litellm.llms.custom_httpx.async_client_cleanup")
        thread.at_end(cleanup.close_litellm_async_clients)
    return module


class LiteLLMProvider:
    """Every provider that LiteLLM reaches, and the models of a Router configuration.

    `config_path` is a file of `pipy config`, or any other of LiteLLM's Router; default:
    `router.yaml` in the data directory, when there is one. Its models go through LiteLLM's Router,
    all others go direct.

    Example:
        >>> from pipy_ai import LiteLLMProvider, register_provider
        >>> register_provider("litellm", LiteLLMProvider("router.yaml"))    # doctest: +SKIP
    """

    api = "litellm"

    def __init__(self, config_path: str | os.PathLike[str] | None = None) -> None:
        self.config_path = config_path

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """Answer a request; see `Provider`."""
        secret = await find_key(request)
        arguments = _arguments(request)
        channel: Channel[Delta] = Channel()
        pump = loops.ensure().spawn(_pump(request, arguments, secret, channel))
        complete = False
        try:
            while deltas := await channel.aget():
                yield deltas
            complete = True  # the connection may still be read to its end, to be used again
        finally:
            if not complete:
                pump.cancel()
                await pump.wait(CLOSING)

    async def preview(self, request: Request) -> Preview:
        """What would be sent; see `pipy_ai.preview`."""
        arguments = _arguments(request, preview=True)
        if request.route.problem and request.options.api_base is None:
            return Preview("", "", {}, arguments)
        secret = key_for(request, missing=NO_KEY)
        if request.backend not in CAPTURED or request.route.rule == "router":
            return Preview("", "", {}, arguments)  # LiteLLM might send it to show it
        channel: Channel[Preview] = Channel()
        look = loops.ensure().spawn(_look(request, arguments, secret, channel))
        try:
            [shown] = await channel.aget()
            return shown
        finally:
            look.cancel()


def _arguments(request: Request, preview: bool = False) -> dict[str, Any]:
    arguments = build(request, preview)
    if request.options.on_payload is not None:
        arguments = request.options.on_payload(arguments) or arguments
    return arguments


async def _look(
    request: Request, arguments: dict[str, Any], secret: str | None, channel: Channel[Preview]
) -> None:
    try:
        litellm = await _litellm()
        secret = secret or _key_of_litellm(litellm, request, arguments)
        opened = await _open(litellm, request, arguments, secret, look=True)
        assert isinstance(opened, Captured), "a provider of CAPTURED was not captured"
        channel.put([masked(_call(opened, request), secret)])
        channel.close()
    except asyncio.CancelledError:
        channel.close()
        raise
    except Exception as exc:
        channel.close(failure(exc, request, secret))


async def _pump(
    request: Request, arguments: dict[str, Any], secret: str | None, channel: Channel[Delta]
) -> None:
    """Answer one request into `channel`, in the background loop."""
    try:
        litellm = await _litellm()
        if request.route.rule == "router":
            await _through_litellm(
                *await _ask_router(litellm, request, arguments), request, channel
            )
            channel.close()
            return
        secret = secret or _key_of_litellm(litellm, request, arguments)
        opened = await _open(litellm, request, arguments, secret)
        if isinstance(opened, Captured):
            await _exchange(opened, request, channel)
        else:
            await _through_litellm(*opened, request, channel)
        channel.close()
    except asyncio.CancelledError:
        channel.close()
        raise
    except Exception as exc:
        channel.close(failure(exc, request, secret))


# Who is left to LiteLLM: wires that are not spoken here, and Azure, which wants its own SDK's
# clients. By provider and family of model, since one provider may speak several wires.
_foreign: set[tuple[str, bool]] = {
    (name, claude) for name in ("azure", "azure_text") for claude in (False, True)
}


async def _open(
    litellm: Any,
    request: Request,
    arguments: dict[str, Any],
    secret: str | None,
    look: bool = False,
) -> Captured | tuple[Any, Any]:
    """The HTTP request that LiteLLM makes of a request; where its wire is not spoken here, or
    LiteLLM sends it by other means, LiteLLM's own stream and its first chunk. `look`: nothing is
    sent."""
    arguments = {
        **arguments,
        "api_key": secret,
        "timeout": _read_timeout(request.options),
        "max_retries": 0,
    }
    patch: dict[str, Any] = {}
    if style_of(request) == "responses":
        call = litellm.aresponses
        known = litellm.model_cost.get(request.model_id, {})
        if known.get("litellm_provider") != request.backend:  # LiteLLM would not let it stream
            patch["stream"] = True
    else:
        call = litellm.acompletion
        arguments |= {"num_retries": 0, "_skip_mcp_handler": True}
        if request.backend == "anthropic":  # LiteLLM refuses or rewrites them by the model's name
            patch = {n: arguments.pop(n) for n in ("thinking", "output_config") if n in arguments}
        elif request.backend in CAPTURED:
            arguments |= _unlock(litellm, arguments)
    kind = (request.backend, "claude" in request.model_id)
    if kind not in _foreign:
        handler = importlib.import_module("litellm.llms.custom_httpx.http_handler")
        client = recording_client(litellm, handler.AsyncHTTPHandler, arguments, secret)
        try:
            return await _prime(await call(**arguments, client=client))
        except Captured as captured:
            if captured.decoder is not None or look:
                captured.patch(patch)
                return captured
            if request.backend in CAPTURED:  # it is the address that is odd, not the backend
                where = captured.request.url.copy_with(query=None)
                raise refuse(request, f"{where} is no address of a wire that is known") from None
            _foreign.add(kind)
    return await _prime(await call(**arguments))


_BORROWERS = frozenset({"aiohttp_openai", "text-completion-inception"})  # of OpenAI's key
_GATED = ("tools", "tool_choice", "reasoning_effort", "response_format", "seed", "stop", "user")


def _unlock(litellm: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """LiteLLM refuses what its own list of models does not have; the catalogue knows better."""
    backend, _, model = arguments["model"].partition("/")
    known = litellm.get_supported_openai_params(model=model, custom_llm_provider=backend) or ()
    refused = [name for name in _GATED if name in arguments and name not in known]
    return {"allowed_openai_params": refused} if refused else {}


def _key_of_litellm(litellm: Any, request: Request, arguments: dict[str, Any]) -> str | None:
    """The key that LiteLLM itself knows for a provider that we do not list. It must not be left
    to look for one while it sends: for an OpenAI-compatible host it would take OpenAI's."""
    name = request.backend
    if name in _BORROWERS:
        return NO_KEY
    if request.route.rule != "litellm" or name not in litellm.openai_compatible_providers:
        return None
    model, base = arguments["model"], arguments.get("api_base")
    _, _, key, _ = litellm.get_llm_provider(model=model, api_base=base, api_key=None)
    if key:
        return str(key)
    if base is not None:
        return NO_KEY
    raise missing_key(name, guessed_keys(name))


async def _prime(response: Any) -> tuple[Any, Any]:
    """A stream of LiteLLM's and its first chunk: some providers are asked with the first read."""
    try:
        async for chunk in response:
            return response, chunk
    except BaseException:
        await _release(response)
        raise
    return response, None


def _no_borrowed_key(litellm: Any, parameters: dict[str, Any]) -> None:
    """LiteLLM would send OpenAI's key to whatever OpenAI-compatible host an entry names without a
    key of its own."""
    model = str(parameters.get("model", ""))
    backend = parameters.get("custom_llm_provider") or model.partition("/")[0]
    base = parameters.get("api_base") or parameters.get("base_url")
    compatible = backend in _BORROWERS or backend in litellm.openai_compatible_providers
    openais = backend in ("openai", "text-completion-openai", "custom_openai")
    if parameters.get("api_key") or not (compatible or openais):
        return
    if openais:
        key = None if base is None or is_openai(str(base)) else NO_KEY
    else:
        key = NO_KEY
        with contextlib.suppress(Exception):
            key = litellm.get_llm_provider(model=model, api_base=base)[2] or NO_KEY
    if key:
        parameters["api_key"] = key


_routers: dict[str, tuple[tuple[int, int], Any]] = {}


async def _ask_router(litellm: Any, request: Request, arguments: dict[str, Any]) -> tuple[Any, Any]:
    """The stream of LiteLLM's Router, which must see the answers: it rests what fails, and falls
    back. Its retries are as its file says; ours come on top only when all of that has failed."""
    config = router_config(request.route.api_base or None)
    if config is None:
        raise ValueError("the router configuration is gone")
    known = _routers.get(config.path)
    if known is None or known[0] != config.stamp:
        settings = {"num_retries": 0, **resolved(config.settings)}
        entries = copy.deepcopy(config.model_list)
        for entry in entries:
            entry["litellm_params"] = with_kept_keys(entry["litellm_params"])
            _no_borrowed_key(litellm, entry["litellm_params"])
        router = litellm.Router(model_list=entries, **settings)
        if known is not None:
            known[1].discard()
        known = _routers[config.path] = (config.stamp, router)
    return await _prime(
        await known[1].acompletion(**arguments, timeout=_read_timeout(request.options))
    )


# --- LiteLLM builds, we send and read -------------------------------------------------------


def _call(captured: Captured, request: Request) -> Call:
    own = request.provider == "openai"
    return captured.call(AGENT, own, request.route.key_header)


async def _exchange(captured: Captured, request: Request, channel: Channel[Delta]) -> None:
    """Send a captured request and decode its answer."""
    assert captured.decoder is not None
    batches = exchange(_call(captured, request), captured.decoder())
    try:
        async for deltas in batches:
            channel.put(deltas)
    finally:
        await batches.aclose()


# --- LiteLLM sends and reads: the wires that are not spoken here ----------------------------


async def _through_litellm(
    response: Any, first: Any, request: Request, channel: Channel[Delta]
) -> None:
    reason: str | None = None
    usage: list[Delta] = []
    count = 0
    told = _innermost(response)

    def take(chunk: Any) -> None:
        nonlocal reason
        deltas, stop = decode(chunk)
        channel.put(deltas)
        reason = reason or stop
        if getattr(chunk, "usage", None) is not None:
            usage.append(decode_usage(chunk.usage, request.backend))

    try:
        channel.put([ResponseInfo()])  # accepted
        if first is not None:
            take(first)
            async for chunk in response:
                take(chunk)
                told = _innermost(response)
                count += 1
                if count % 16 == 0:
                    await asyncio.sleep(0)  # a burst never lets others run by itself
        # LiteLLM makes up a "stop" for a stream that was cut; only this field knows better.
        if request.backend not in _REPORTS_NO_FINISH:
            reason = getattr(told, "received_finish_reason", reason)
        # It makes up token counts, too, when the provider sent none.
        chunks = getattr(response, "chunks", None)
        if not chunks or any(getattr(chunk, "usage", None) is not None for chunk in chunks):
            channel.put(usage)
        if reason is not None:
            channel.put([Finish(reason)])
    finally:
        await _release(response)


def _innermost(response: Any) -> Any:
    """The stream that knows how it ended: the Router wraps it in generators that do not."""
    while True:
        frame = getattr(getattr(response, "_async_generator", None), "ag_frame", None)
        inside = {} if frame is None else frame.f_locals
        inner = inside.get("fallback_response") or inside.get("model_response")
        if inner is None:
            return response
        response = inner


def _read_timeout(options: SimpleStreamOptions) -> float:
    # Ours are enforced by the engine; this only ends what the engine can no longer see.
    return max(600.0, (options.idle_timeout or 0.0) * 2)


async def _release(response: Any) -> None:
    """Close the connection under a stream, by whatever name this version has for it."""
    for stream in (response, getattr(response, "completion_stream", None)):
        close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):
                pending = close()
                if asyncio.iscoroutine(pending):
                    await asyncio.wait_for(pending, 1.0)


# --- Chunks ---------------------------------------------------------------------------------


def decode(chunk: Any) -> tuple[list[Delta], str | None]:
    """A LiteLLM chunk as deltas, and its finish reason. Attributes may be absent anywhere."""
    deltas: list[Delta] = []
    reason: str | None = None
    identity = getattr(chunk, "id", None)
    if identity:
        deltas.append(ResponseInfo(identity, getattr(chunk, "model", None)))
    for choice in getattr(chunk, "choices", None) or ():
        delta = getattr(choice, "delta", None)
        if delta is not None:
            _thinking(delta, deltas)
            for name in ("content", "refusal"):
                value = getattr(delta, name, None)
                if isinstance(value, str) and value:
                    deltas.append(Text(value))
            deltas.extend(_tool(call) for call in getattr(delta, "tool_calls", None) or ())
        reason = reason or getattr(choice, "finish_reason", None)
        break  # one answer is asked for
    return deltas, reason


def _thinking(delta: Any, deltas: list[Delta]) -> None:
    blocks = getattr(delta, "thinking_blocks", None)
    if blocks:
        deltas.extend(thinking_blocks(blocks, getattr(delta, "reasoning_content", None)))
        return
    for name in ("reasoning_content", "reasoning", "reasoning_text"):
        value = getattr(delta, name, None)
        if isinstance(value, str) and value:
            deltas.append(Thinking(value))
            return


def _tool(call: Any) -> ToolFragment:
    function = getattr(call, "function", None)
    identity = getattr(call, "id", None) or None
    signature = None
    if identity and "__thought__" in identity:  # LiteLLM hides Gemini's signature in the id
        identity, _, signature = identity.partition("__thought__")
    return ToolFragment(
        index=getattr(call, "index", None),
        id=identity,
        name=getattr(function, "name", None) or None,
        arguments=getattr(function, "arguments", None) or "",
        thought_signature=signature,
    )


def decode_usage(usage: Any, provider: str) -> UsageReport:
    """LiteLLM's usage, whose prompt counts what was cached, as ours, which does not."""
    prompt = getattr(usage, "prompt_tokens", None)
    details = getattr(usage, "prompt_tokens_details", None)
    read = getattr(details, "cached_tokens", None) or getattr(usage, "prompt_cache_hit_tokens", 0)
    write = getattr(details, "cache_creation_tokens", None) or getattr(
        usage, "cache_creation_input_tokens", 0
    )
    hour = getattr(
        getattr(details, "cache_creation_token_details", None), "ephemeral_1h_input_tokens", None
    )
    out = getattr(usage, "completion_tokens_details", None)
    return UsageReport(
        input=None if prompt is None else max(0, prompt - (read or 0) - (write or 0)),
        output=getattr(usage, "completion_tokens", None),
        cache_read=read or 0,
        cache_write=write or 0,
        cache_write_1h=hour,
        reasoning=getattr(out, "reasoning_tokens", None),
        # Others' figure is LiteLLM's own guess; OpenRouter bills what it says.
        cost=getattr(usage, "cost", None) if provider == "openrouter" else None,
    )
