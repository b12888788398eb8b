"""The embedded model `local/smollm2`, or any GGUF file as `local/path/to/model.gguf`.

llama.cpp runs in this process (the extra `local`). Its C++ threads produce chunks of
Chat Completions, and one Python thread per request passes them to the event loop.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ErrorKind, ProviderError, error_info
from ..failures import classify_status
from ..options import SAMPLING_OPTIONS, ThinkingLevel
from ..types import function_tools
from ..utils.channel import Channel
from ..utils.extras import has_extra, install_command
from ..utils.json_schema import (
    check_nesting,
)
from ..utils.weights import find_weights
from .conversation import Target, adapt_messages
from .deltas import Delta, UsageReport
from .request import Preview, Request
from .wires._openai_messages import chat_messages, chat_tools, response_format
from .wires.openai_chat import OpenAIChatDecoder

SMOLLM2 = "smollm2"
DEMO_MODEL_NOTICE = (
    "local/smollm2 is a small demo model and often wrong: set an API key, or pass -m / model="
)

_CONTEXT_TOKENS = 4096
_PROMPT_CACHE_MIB = 256  # for earlier conversations, which then need not be read again
_PROMPT_BATCH_TOKENS = 128  # a request can be cancelled after each batch of its prompt
_DEFAULT_MAX_TOKENS = 256  # for smollm2, which repeats itself in longer answers
# Thinking tokens by level: for models that reason, and for smollm2, which only imitates it.
_THINKING_TOKENS = {
    ThinkingLevel.MINIMAL: (1024, 3),
    ThinkingLevel.LOW: (2048, 4),
    ThinkingLevel.MEDIUM: (8192, 6),
    ThinkingLevel.HIGH: (16384, 12),
    ThinkingLevel.XHIGH: (24576, 24),
    ThinkingLevel.MAX: (32768, 48),
}
_IGNORED_OPTIONS = (
    "api_key",
    "api_base",
    "headers",
    "cache_retention",
    "session_id",
    "metadata",
    "service_tier",
    "modalities",
)

FORKED_MESSAGE = (
    "llama.cpp cannot be used in a forked process after its parent has used it:"
    ' start the process with multiprocessing\'s "spawn" method.'
)

_all_providers: weakref.WeakSet[LocalProvider] = weakref.WeakSet()


def _after_fork() -> None:
    for provider in list(_all_providers):
        provider.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class LocalProvider:
    """Answers `local/…` with llama.cpp in this process. Models are loaded once and stay loaded."""

    api = "local"

    def __init__(self) -> None:
        self._engines: dict[Path, LlamaEngine] = {}
        self._lock = threading.Lock()
        self._forked = False
        _all_providers.add(self)

    def reset_after_fork(self) -> None:
        """Discard the engines in a forked child: their threads exist only in the parent."""
        for engine in self._engines.values():
            engine.leak_server()
        self._forked = bool(self._engines)
        self._engines, self._lock = {}, threading.Lock()

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """See `Provider`."""
        if self._forked:
            raise _local_error(ErrorKind.BAD_REQUEST, FORKED_MESSAGE)
        path, embedded = _find_model_file(request)
        body = build_body(request, embedded)
        if embedded:
            request.warn("demo_model", DEMO_MODEL_NOTICE)
        engine = self._get_engine(path, embedded)
        channel: Channel[Delta] = Channel()
        cancelled = threading.Event()
        worker = threading.Thread(
            target=engine.run_request,
            args=(body, channel, cancelled),
            name="pipy-ai-local",
            daemon=True,
        )
        worker.start()
        try:
            while deltas := await channel.aget():
                yield deltas
        finally:
            cancelled.set()  # the engine stops at its next token

    async def preview(self, request: Request) -> Preview:
        """Return the body for llama.cpp; see `pipy_ai.preview`."""
        return Preview("", "", {}, build_body(request, request.model_id == SMOLLM2))

    def _get_engine(self, path: Path, embedded: bool) -> LlamaEngine:
        with self._lock:
            if path not in self._engines:
                self._engines[path] = LlamaEngine(path, embedded)
            return self._engines[path]


def _find_model_file(request: Request) -> tuple[Path, bool]:
    """Return the GGUF file of a model, and whether it is the embedded model."""
    name = request.model_id
    if not has_extra("local"):
        text = f"llama.cpp is not installed: {install_command('local')}"
        raise _local_error(ErrorKind.MISSING_KEY, text)
    if name == SMOLLM2:
        weights = find_weights()
        if weights is None:
            text = (
                "The weights of local/smollm2 are not installed. Run `pipy local pull` to download"
                " them (93 MB), or use another model."
            )
            raise _local_error(ErrorKind.NOT_FOUND, text)
        return weights, True
    path = Path(name).expanduser()
    if not path.is_file():
        hint = "" if path.suffix == ".gguf" else "; a local model is smollm2 or a .gguf file"
        raise _local_error(ErrorKind.NOT_FOUND, f"No such file: {path}{hint}.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise _local_error(ErrorKind.BAD_REQUEST, f"{path} is not a GGUF model file.")
    return path.resolve(), False


def build_body(request: Request, embedded: bool) -> dict[str, Any]:
    """Return the request body for llama.cpp's chat endpoint."""
    options = request.options
    for name in _IGNORED_OPTIONS:
        if getattr(options, name) is not None:
            request.warn("option_ignored", f"{name} has no effect on a local model")
    target = Target(
        "local",
        request.model_id,
        "local",
        accepts_images=False,
        accepts_documents=False,
        media_problem=lambda media: f"{request.model_id} does not take {media.type}",
        unsigned_thinking=True,
    )
    messages = adapt_messages(request.context.messages, target, request.warn)
    body: dict[str, Any] = {
        "messages": chat_messages(request.context.system_prompt, messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # so that a long prompt can be cancelled as well
        "temperature": 0.0 if options.temperature is None else options.temperature,
    }
    for name in (*SAMPLING_OPTIONS, "max_tokens", "stop"):  # llama.cpp has all of them
        if getattr(options, name) is not None:
            body[name] = getattr(options, name)
    if (output_format := response_format(request)) is not None:
        body["response_format"] = output_format  # llama.cpp converts it to a grammar
    if embedded:
        body.setdefault("max_tokens", _DEFAULT_MAX_TOKENS)
    template_kwargs: dict[str, Any] = {}
    _set_thinking(request, embedded, body, template_kwargs)
    _add_tools(request, body, template_kwargs)
    if template_kwargs:
        body["chat_template_kwargs"] = template_kwargs
    body.update(options.extra or {})
    if options.on_payload is not None:
        body = options.on_payload(body) or body
    return body


def _set_thinking(
    request: Request, embedded: bool, body: dict[str, Any], template_kwargs: dict[str, Any]
) -> None:
    level = request.reasoning
    if level is None or level is ThinkingLevel.OFF:
        template_kwargs["enable_thinking"] = False
        return
    template_kwargs["enable_thinking"] = True
    budgets = request.options.thinking_budgets
    caller_budget = getattr(budgets, level.value, None) if budgets is not None else None
    body["thinking_budget_tokens"] = caller_budget or _THINKING_TOKENS[level][embedded]
    if "max_tokens" in body:
        body["max_tokens"] += body["thinking_budget_tokens"]


def _add_tools(request: Request, body: dict[str, Any], template_kwargs: dict[str, Any]) -> None:
    tools, choice = function_tools(request.context.tools), request.options.tool_choice
    if isinstance(choice, dict):
        choice = choice.get("function", {}).get("name", "required")
    if not tools or choice == "none":
        return
    if choice not in (None, "auto", "required"):  # a tool's name: only this tool is offered
        tools = [tool for tool in tools if tool.name == choice]
        if not tools:
            raise _local_error(
                ErrorKind.BAD_REQUEST, f"tool_choice names an unknown tool: {choice!r}"
            )
        choice = "required"
    for tool in tools:
        try:
            check_nesting(tool.parameters)
        except ValueError as error:
            text = f"the schema of the tool {tool.name!r} cannot be sent: {error}"
            raise _local_error(ErrorKind.BAD_REQUEST, text) from None
    body["tools"] = chat_tools(tools)
    body["tool_choice"] = choice or "auto"
    if choice == "required":
        template_kwargs["force_tool"] = True
        template_kwargs["enable_thinking"] = False  # the template opens the call itself


class LlamaEngine:
    """One loaded model."""

    def __init__(self, path: Path, embedded: bool) -> None:
        self._path = path
        self._embedded = embedded
        self._load_lock = threading.Lock()
        # A request that waits here can be cancelled; llama.cpp would first start its prompt.
        self._request_lock = threading.Lock()
        self._server: Any = None
        self._active_requests: set[tuple[threading.Thread, threading.Event]] = set()

    def run_request(
        self, body: dict[str, Any], channel: Channel[Delta], cancelled: threading.Event
    ) -> None:
        """Run one request to its end, in the current thread, unless `cancelled` is set."""
        entry = (threading.current_thread(), cancelled)
        self._active_requests.add(entry)
        try:
            server = self._get_server()
            with self._request_lock:
                if not cancelled.is_set():
                    self.run(server, body, channel, cancelled)
            channel.close()
        except ProviderError as error:
            channel.close(error)
        except Exception as exc:  # llama.cpp raises ValueError and RuntimeError
            channel.close(
                _local_error(ErrorKind.BAD_REQUEST, f"llama.cpp rejected the request: {exc}")
            )
        finally:
            self._active_requests.discard(entry)

    def run(
        self, server: Any, body: dict[str, Any], channel: Channel[Delta], cancelled: threading.Event
    ) -> None:
        failures: list[BaseException] = []
        decoder = OpenAIChatDecoder()

        def on_chunk(chunk: Any) -> bool:  # called from C++, which swallows exceptions
            try:
                for part in chunk if isinstance(chunk, list) else [chunk]:
                    channel.put(_decode_chunk(decoder, part))
            except BaseException as exc:
                failures.append(exc)
            return bool(failures) or cancelled.is_set()

        server.handle_chat_completions(body, on_chunk)
        if failures:
            raise failures[0]

    def _get_server(self) -> Any:
        with self._load_lock:
            if self._server is None:
                self._server = self._start_server()
                atexit.register(self._shut_down)
            return self._server

    def _start_server(self) -> Any:
        try:
            llama: Any = importlib.import_module("xllamacpp")
        except ImportError as error:  # a system library is missing, as in slim images
            hint = "; on Debian and Ubuntu: apt install libgomp1" if "gomp" in str(error) else ""
            text = f"llama.cpp cannot be loaded: {error}{hint}"
            raise _local_error(ErrorKind.NOT_FOUND, text) from None
        params = llama.CommonParams()
        params.model.path = str(self._path)
        params.model_alias = {SMOLLM2 if self._embedded else self._path.stem}
        params.n_parallel = 1
        params.n_ctx = _CONTEXT_TOKENS if self._embedded else 0  # 0: the model's own size
        threads = max(1, (os.cpu_count() or 1) - 1)  # all of them would slow a busy machine down
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_batch = params.n_ubatch = _PROMPT_BATCH_TOKENS
        params.cache_ram_mib = _PROMPT_CACHE_MIB  # llama.cpp's own limit is 8 GiB
        params.use_jinja = True
        params.verbosity = 0
        params.ui = False
        # The small model fits into any memory: do not load it twice to find out, nor warm it up.
        params.fit_params = params.warmup = not self._embedded
        if self._embedded:
            params.chat_template = (
                Path(__file__).with_name("smollm2.jinja").read_text(encoding="utf-8")
            )
        # llama.cpp always listens for HTTP requests, so it gets a random key and a hidden socket.
        params.api_keys = [secrets.token_urlsafe(32)]
        socket_dir = None
        if hasattr(__import__("socket"), "AF_UNIX"):
            socket_dir = tempfile.mkdtemp(prefix="pipy-ai-")
            params.hostnames = [os.path.join(socket_dir, "engine.sock")]
        else:
            params.hostnames, params.port = ["127.0.0.1"], 0
        try:
            return llama.Server(params)
        except Exception as error:
            raise _local_error(
                ErrorKind.BAD_REQUEST, f"llama.cpp cannot load {self._path}: {error}"
            ) from None
        finally:
            if socket_dir is not None:
                shutil.rmtree(socket_dir, ignore_errors=True)

    def leak_server(self) -> None:
        """Never free the server, which would wait for threads that do not exist in this process."""
        if self._server is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))
            atexit.unregister(self._shut_down)

    def _shut_down(self) -> None:
        active_requests = list(self._active_requests)
        for _, cancelled in active_requests:
            cancelled.set()
        for thread, _ in active_requests:
            thread.join(timeout=2.0)
        self._server = None


def _decode_chunk(decoder: OpenAIChatDecoder, chunk: dict[str, Any]) -> list[Delta]:
    if "error" in chunk:
        raise _error_from_chunk(chunk["error"])
    deltas: list[Delta] = []
    decoder.decode_chunk(chunk, deltas)
    for delta in deltas:
        if isinstance(delta, UsageReport):
            delta.cost = 0.0
    return deltas


def _error_from_chunk(error: Any) -> ProviderError:
    from ..error_body import error_message_from_body

    status = error.get("code") if isinstance(error, dict) else None
    text = error_message_from_body({"error": error}) or str(error)
    kind = classify_status(status if isinstance(status, int) else None, text)
    if kind is ErrorKind.CONTEXT_OVERFLOW:
        text += ". Shorten the conversation."
    return ProviderError(error_info(kind, text, status_code=status, provider="local"))


def _local_error(kind: ErrorKind, text: str) -> ProviderError:
    return ProviderError(error_info(kind, text, provider="local"))
