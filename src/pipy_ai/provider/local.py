"""The embedded model: `local/smollm2`, or any GGUF file as `local/path/to/model.gguf`.

llama.cpp runs in this process (`pip install "pipy-ai[local]"`). It speaks the chunks of OpenAI
Chat Completions from C++ threads; one Python thread per request hands them to the event loop.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import importlib.util
import os
import secrets
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ErrorKind, ProviderError, error_info
from ..failures import classify_status
from ..options import ThinkingLevel
from ..utils.channel import Channel
from .conversation import Target, adapt_messages
from .deltas import Delta, Finish, ResponseInfo, Text, Thinking, ToolFragment, UsageReport
from .request import Preview, Request
from .weights import find_weights
from .wires._openai_messages import chat_messages, chat_tools, response_format

SMOLLM2 = "smollm2"
DEMO_MODEL_NOTICE = (
    "local/smollm2 is a 0.1 B demo model, often wrong: set a key or pass -m / model="
)

_CONTEXT_TOKENS = 4096
_PROMPT_BATCH_TOKENS = 128  # of a prompt between two chances to stop
_DEFAULT_MAX_TOKENS = 256  # smollm2 repeats itself sooner or later; a caller's max_tokens wins
# Thinking tokens by level: for models that reason, and for smollm2, which only plays at it.
_THINKING_TOKENS = {
    ThinkingLevel.MINIMAL: (1024, 3),
    ThinkingLevel.LOW: (2048, 4),
    ThinkingLevel.MEDIUM: (8192, 6),
    ThinkingLevel.HIGH: (16384, 12),
    ThinkingLevel.XHIGH: (24576, 24),
    ThinkingLevel.MAX: (32768, 48),
}
_IGNORED_OPTIONS = ("api_key", "api_base", "headers", "cache_retention", "session_id", "metadata")

FORKED_MESSAGE = (
    "llama.cpp cannot go on in a forked process once the parent has used it:"
    ' start the process with multiprocessing\'s "spawn" method.'
)
MISSING_EXTRA_MESSAGE = 'The embedded model needs the extra "local": pip install "pipy-ai[local]"'


_all_providers: weakref.WeakSet[LocalProvider] = weakref.WeakSet()


def _after_fork() -> None:
    for provider in list(_all_providers):
        provider.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class LocalProvider:
    """Answers `local/…` with llama.cpp in this process; engines load once and stay."""

    api = "local"

    def __init__(self) -> None:
        self._engines: dict[Path, _Engine] = {}
        self._lock = threading.Lock()
        self._forked = False
        _all_providers.add(self)

    def reset_after_fork(self) -> None:
        """In a forked child: the engines' threads stayed with the parent."""
        for engine in self._engines.values():
            engine.leak_server()
        self._forked = bool(self._engines)
        self._engines, self._lock = {}, threading.Lock()

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """Answer a request; see `Provider`."""
        if self._forked:
            raise _local_error(ErrorKind.BAD_REQUEST, FORKED_MESSAGE)
        path, embedded = _find_model_file(request)
        body = build_body(request, embedded)
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
        """What llama.cpp would be given; see `pipy_ai.preview`."""
        return Preview("", "", {}, build_body(request, request.model_id == SMOLLM2))

    def _get_engine(self, path: Path, embedded: bool) -> _Engine:
        with self._lock:
            if path not in self._engines:
                self._engines[path] = _Engine(path, embedded)
            return self._engines[path]


def _find_model_file(request: Request) -> tuple[Path, bool]:
    """The GGUF file that a model's name means, and whether it is the embedded one."""
    name = request.model_id
    if importlib.util.find_spec("xllamacpp") is None:
        raise _local_error(ErrorKind.NOT_FOUND, MISSING_EXTRA_MESSAGE)
    if name == SMOLLM2:
        weights = find_weights()
        if weights is None:
            raise _local_error(
                ErrorKind.NOT_FOUND, "The weights of local/smollm2 are missing: pipy local pull"
            )
        return weights, True
    path = Path(name).expanduser()
    if not path.is_file():
        hint = "" if path.suffix == ".gguf" else "; a local model is smollm2 or a .gguf file"
        raise _local_error(ErrorKind.NOT_FOUND, f"There is no file {path}{hint}.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise _local_error(ErrorKind.BAD_REQUEST, f"{path} is not a GGUF model file.")
    return path.resolve(), False


def build_body(request: Request, embedded: bool) -> dict[str, Any]:
    """The body that llama.cpp's chat endpoint takes."""
    options = request.options
    for name in _IGNORED_OPTIONS:
        if getattr(options, name) is not None:
            request.warn("option_ignored", f"{name} means nothing to a local model")
    target = Target(
        "local",
        request.model_id,
        "local",
        accepts_images=False,
        accepts_documents=False,
        unsigned_thinking=True,
    )
    messages = adapt_messages(request.context.messages, target, request.warn)
    body: dict[str, Any] = {
        "messages": chat_messages(request.context.system_prompt, messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # so that a long prompt can be left, not only an answer
        "temperature": 0.0 if options.temperature is None else options.temperature,
    }
    for name in ("max_tokens", "top_p", "stop", "seed"):
        if getattr(options, name) is not None:
            body[name] = getattr(options, name)
    if (output_format := response_format(request)) is not None:
        body["response_format"] = output_format  # it becomes a grammar
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
    tools, choice = request.context.tools, request.options.tool_choice
    if isinstance(choice, dict):
        choice = choice.get("function", {}).get("name", "required")
    if not tools or choice == "none":
        return
    if choice not in (None, "auto", "required"):  # one tool by name: it is the only one offered
        tools = [tool for tool in tools if tool.name == choice]
        if not tools:
            raise _local_error(ErrorKind.BAD_REQUEST, f"tool_choice names no tool: {choice!r}")
        choice = "required"
    body["tools"] = chat_tools(tools)
    body["tool_choice"] = choice or "auto"
    if choice == "required":
        template_kwargs["force_tool"] = True
        template_kwargs["enable_thinking"] = False  # the template opens the call itself


class _Engine:
    """One loaded model."""

    def __init__(self, path: Path, embedded: bool) -> None:
        self._path = path
        self._embedded = embedded
        self._load_lock = threading.Lock()
        self._request_lock = (
            threading.Lock()
        )  # who waits here can leave; llama.cpp would begin its prompt
        self._server: Any = None
        self._active_requests: set[tuple[threading.Thread, threading.Event]] = set()

    def run_request(
        self, body: dict[str, Any], channel: Channel[Delta], cancelled: threading.Event
    ) -> None:
        """Run one request to its end, in a thread of its own; `left` stops it."""
        entry = (threading.current_thread(), cancelled)
        self._active_requests.add(entry)
        try:
            server = self._get_server()
            with self._request_lock:
                if not cancelled.is_set():
                    self._run(server, body, channel, cancelled)
            channel.close()
        except ProviderError as error:
            channel.close(error)
        except Exception as exc:  # llama.cpp's own: ValueError, RuntimeError
            channel.close(
                _local_error(ErrorKind.BAD_REQUEST, f"llama.cpp refused the request: {exc}")
            )
        finally:
            self._active_requests.discard(entry)

    def _run(
        self, server: Any, body: dict[str, Any], channel: Channel[Delta], cancelled: threading.Event
    ) -> None:
        failures: list[BaseException] = []

        def on_chunk(chunk: Any) -> bool:  # called from C++, which swallows exceptions
            try:
                for part in chunk if isinstance(chunk, list) else [chunk]:
                    channel.put(decode_chunk(part))
            except BaseException as exc:
                failures.append(exc)
            return bool(failures) or cancelled.is_set()

        server.handle_chat_completions(body, on_chunk)
        if failures:
            raise failures[0]

    def _get_server(self) -> Any:
        with self._load_lock:
            if self._server is None:
                if self._embedded:
                    print(DEMO_MODEL_NOTICE, file=sys.stderr)  # noqa: T201
                self._server = self._start_server()
                atexit.register(self._shut_down)
            return self._server

    def _start_server(self) -> Any:
        try:
            llama: Any = importlib.import_module("xllamacpp")
        except ImportError as error:  # of a library of the system, as a slim image lacks them
            hint = "; on Debian and Ubuntu: apt install libgomp1" if "gomp" in str(error) else ""
            text = f"llama.cpp cannot be loaded: {error}{hint}"
            raise _local_error(ErrorKind.NOT_FOUND, text) from None
        params = llama.CommonParams()
        params.model.path = str(self._path)
        params.model_alias = {SMOLLM2 if self._embedded else self._path.stem}
        params.n_parallel = 1
        params.n_ctx = _CONTEXT_TOKENS if self._embedded else 0  # 0: what the model was made for
        threads = max(1, (os.cpu_count() or 1) - 1)  # with all of them a busy machine crawls
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_batch = params.n_ubatch = _PROMPT_BATCH_TOKENS
        params.use_jinja = True
        params.verbosity = 0
        params.ui = False
        if self._embedded:
            params.chat_template = (
                Path(__file__).with_name("smollm2.jinja").read_text(encoding="utf-8")
            )
        # The engine insists on a listener; nobody is to find it.
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
        """Never free the server: freeing waits for threads that are not in this process."""
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


# --- Chunks ---------------------------------------------------------------------------------


def decode_chunk(chunk: dict[str, Any]) -> list[Delta]:
    """A chunk of OpenAI Chat Completions, as llama.cpp makes it, as deltas."""
    if "error" in chunk:
        error = chunk["error"]
        text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        status = error.get("code") if isinstance(error, dict) else None
        kind = classify_status(status if isinstance(status, int) else None, text)
        if kind is ErrorKind.CONTEXT_OVERFLOW:
            text += ". Shorten the conversation."
        raise ProviderError(error_info(kind, text, status_code=status, provider="local"))
    deltas: list[Delta] = [ResponseInfo(chunk.get("id"), chunk.get("model"))]
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        if delta.get("reasoning_content"):
            deltas.append(Thinking(delta["reasoning_content"]))
        if delta.get("content"):
            deltas.append(Text(delta["content"]))
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            deltas.append(
                ToolFragment(
                    call.get("index"),
                    call.get("id"),
                    function.get("name"),
                    function.get("arguments") or "",
                )
            )
        if choice.get("finish_reason"):
            deltas.append(Finish(choice["finish_reason"]))
    usage = chunk.get("usage")
    if usage:
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        deltas.append(
            UsageReport(
                input=usage["prompt_tokens"] - cached,
                output=usage["completion_tokens"],
                cache_read=cached,
                cache_write=0,
                cost=0.0,
            )
        )
    return deltas


def _local_error(kind: ErrorKind, text: str) -> ProviderError:
    return ProviderError(error_info(kind, text, provider="local"))
