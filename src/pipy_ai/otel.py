"""Traces and metrics for OpenTelemetry, in the semantic conventions for generative AI.

    from pipy_ai import otel

    otel.instrument()

Nothing imports this module but the application: without it, OpenTelemetry is not loaded. It needs
the extra `otel`, which is only the API. The application brings the SDK and its exporter.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ._version import __version__
from .errors import ErrorKind
from .options import SimpleStreamOptions
from .provider.observer import Observer, observer_factories
from .provider.request import Request
from .provider.retry import outcome
from .provider.tool_observer import ToolCallObserver, ToolLoopObserver, tool_loop_factories
from .types import AssistantMessage, StopReason, Tool, ToolCall, ToolResultMessage
from .utils.background_calls import BackgroundCalls
from .utils.extras import install_command
from .utils.log import logger
from .utils.secrets import mask_url
from .utils.surrogates import clean_surrogates

try:
    from opentelemetry import _logs, context, metrics, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError:
    raise ImportError(f"OpenTelemetry is not installed: {install_command('otel')}") from None

__all__ = ["instrument", "uninstrument"]

CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
MAX_TEXT_CHARS = 128 << 10  # of one text in the content of a span
DETAILS_EVENT = "gen_ai.client.inference.operation.details"

TOKEN_BOUNDS = [4**exponent for exponent in range(14)]
SECOND_BOUNDS = [0.01 * 2**exponent for exponent in range(14)]

# Names of the conventions that differ from those of the catalogue.
_PROVIDER_NAMES = {
    "amazon-bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "azure-cognitive-services": "azure.ai.openai",
    "google": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "google-vertex-anthropic": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "moonshotai": "moonshot_ai",
    "xai": "x_ai",
}
_OPENAI_API_TYPES = {"openai-completions": "chat_completions", "openai-responses": "responses"}
_FINISH_REASONS = {
    StopReason.STOP: "stop",
    StopReason.LENGTH: "length",
    StopReason.TOOL_USE: "tool_call",
    StopReason.ERROR: "error",
    StopReason.ABORTED: "error",
}


def instrument(
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    logger_provider: _logs.LoggerProvider | None = None,
    capture_content: bool | None = None,
) -> None:
    """Send spans and metrics of all requests that begin from now on.

    Calling it again replaces the arguments.

    Args:
        tracer_provider: Receives the spans. Default: the global one.
        meter_provider: Receives the metrics. Default: the global one.
        logger_provider: Receives the events with content. Default: the global one.
        capture_content: Whether spans hold prompts, answers, and arguments and results of tools.
            Default: the environment variable `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`,
            which is `true`, `span_only`, `event_only` or `span_and_event`; without it, no.

    Raises:
        ImportError: OpenTelemetry is not installed; raised when this module is imported.

    Example:
        >>> from pipy_ai import complete, otel
        >>> otel.instrument()
        >>> complete("faux/echo", "Hi").text
        'Hi'
        >>> otel.uninstrument()
    """
    uninstrument()
    telemetry = _Telemetry.create(tracer_provider, meter_provider, logger_provider, capture_content)
    _installed.append(telemetry)
    observer_factories.append(telemetry.observe_request)
    tool_loop_factories.append(telemetry.observe_tool_loop)


def uninstrument() -> None:
    """Undo `instrument`. Requests in flight still send their spans."""
    for telemetry in _installed:
        observer_factories.remove(telemetry.observe_request)
        tool_loop_factories.remove(telemetry.observe_tool_loop)
    _installed.clear()


@dataclass(frozen=True, slots=True)
class _Telemetry:
    """The tracer, the instruments, and where content goes."""

    tracer: trace.Tracer
    logger: _logs.Logger
    tokens: metrics.Histogram
    duration: metrics.Histogram
    first_chunk: metrics.Histogram
    cost: metrics.Histogram
    tool_duration: metrics.Histogram
    content_in_spans: bool
    content_in_events: bool

    @classmethod
    def create(
        cls,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
        logger_provider: _logs.LoggerProvider | None,
        capture_content: bool | None,
    ) -> _Telemetry:
        meter = metrics.get_meter("pipy_ai", __version__, meter_provider)

        def seconds(name: str, description: str) -> metrics.Histogram:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=SECOND_BOUNDS
            )

        mode = os.environ.get(CONTENT_VARIABLE, "").strip().lower()
        if capture_content is not None:
            mode = "span_only" if capture_content else ""
        return cls(
            tracer=trace.get_tracer("pipy_ai", __version__, tracer_provider),
            logger=_logs.get_logger("pipy_ai", __version__, logger_provider),
            tokens=meter.create_histogram(
                "gen_ai.client.token.usage",
                "{token}",
                "Tokens of a request",
                explicit_bucket_boundaries_advisory=TOKEN_BOUNDS,
            ),
            duration=seconds("gen_ai.client.operation.duration", "Duration of a request"),
            first_chunk=seconds(
                "gen_ai.client.operation.time_to_first_chunk", "Time to the first content"
            ),
            cost=meter.create_histogram("operation.cost", "{USD}", "Cost of a request"),
            tool_duration=seconds("gen_ai.execute_tool.duration", "Duration of a tool call"),
            content_in_spans=mode in ("true", "1", "span_only", "span_and_event"),
            content_in_events=mode in ("event_only", "span_and_event"),
        )

    def observe_request(self, request: Request) -> Observer:
        """Return the observer of a new request."""
        return _RequestObserver(self)

    def observe_tool_loop(self) -> ToolLoopObserver:
        """Return the observer of a new run of `run_tools`."""
        return _ToolLoopSpan(self)


_installed: list[_Telemetry] = []  # at most one


class _RequestObserver(Observer):
    """The span of one request, from its beginning to its last event."""

    def __init__(self, telemetry: _Telemetry) -> None:
        self._telemetry = telemetry
        self._parent = context.get_current()  # of the caller
        # Exporters may block, and several requests share the event loop.
        self._calls = BackgroundCalls("OpenTelemetry call")
        self._span: trace.Span | None = None

    def begun(self, request: Request) -> None:
        self._span = self._telemetry.tracer.start_span(
            f"chat {_clean(request.model_id)}",
            self._parent,
            SpanKind.CLIENT,
            {**_request_attributes(request), **_option_attributes(request)},
        )
        # The request has a task of its own, so that nothing else sees this.
        context.attach(trace.set_span_in_context(self._span, self._parent))

    def attempt_failed(
        self, request: Request, message: AssistantMessage, delay: float, fallback: str | None
    ) -> None:
        if self._span is None:
            return
        attributes: dict[str, Any] = {
            "gen_ai.provider.name": _provider_name(request.provider),
            "gen_ai.request.model": request.model_id,
            **_error_attributes(message),
        }
        if fallback is None:
            self._span.add_event("retry", {**attributes, "pipy_ai.retry.delay": delay})
        else:
            self._span.add_event("fallback", {**attributes, "pipy_ai.fallback.model": fallback})

    def ended(self, request: Request, message: AssistantMessage) -> None:
        if self._span is not None:
            args = (self._span, request, message, time.time_ns())
            self._calls.submit([(self._end, args)])

    async def settle(self) -> None:
        await self._calls.settle()

    def _end(
        self, span: trace.Span, request: Request, message: AssistantMessage, end_time: int
    ) -> None:
        try:
            own_context = trace.set_span_in_context(span, self._parent)
            if span.is_recording():
                span.update_name(f"chat {_clean(request.model_id)}")  # of a fallback
                span.set_attributes(_request_attributes(request))
                span.set_attributes(_response_attributes(request, message))
                if self._telemetry.content_in_spans:
                    span.set_attributes(_content_attributes(request, message))
                _set_outcome(span, message, self._telemetry.content_in_spans)
            if self._telemetry.content_in_events:
                attributes = _request_attributes(request) | _content_attributes(request, message)
                self._telemetry.logger.emit(
                    _logs.LogRecord(
                        timestamp=end_time,
                        context=own_context,
                        event_name=DETAILS_EVENT,
                        attributes=attributes,
                    )
                )
            self._record_metrics(request, message, own_context)
        finally:
            span.end(end_time)

    def _record_metrics(
        self, request: Request, message: AssistantMessage, own_context: context.Context
    ) -> None:
        attributes = _request_attributes(request)
        if message.response_model:
            attributes["gen_ai.response.model"] = message.response_model
        usage = message.usage
        telemetry = self._telemetry
        for kind, count in (("input", _input_tokens(message)), ("output", usage.output)):
            if count and message.cached is None:
                kinds = {**attributes, "gen_ai.token.type": kind}
                telemetry.tokens.record(count, kinds, own_context)
        if usage.cost.total is not None:
            telemetry.cost.record(usage.cost.total, attributes, own_context)
        if message.ttft_ms is not None:
            telemetry.first_chunk.record(message.ttft_ms / 1000, attributes, own_context)
        attributes |= _error_attributes(message)
        if message.duration_ms is not None:
            telemetry.duration.record(message.duration_ms / 1000, attributes, own_context)


class _ToolLoopSpan:
    """The span of one run of `run_tools`. Those of its requests and tool calls are its children."""

    def __init__(self, telemetry: _Telemetry) -> None:
        self.telemetry = telemetry
        self.context = context.get_current()  # of the caller; then with the span
        self.calls = BackgroundCalls("OpenTelemetry call")
        self._span: trace.Span = trace.INVALID_SPAN
        self._tool_spans: list[_ToolSpan] = []

    def begun(self) -> None:
        attributes = {"gen_ai.operation.name": "invoke_agent"}
        self._span = _start_span(self.telemetry, "invoke_agent", self.context, attributes)
        self.context = trace.set_span_in_context(self._span, self.context)

    def requesting(self) -> AbstractContextManager[None]:
        return _attached(self.context)

    def tool_call(self, call: ToolCall, tool: Tool | None) -> ToolCallObserver:
        span = _ToolSpan(self, call, tool)
        self._tool_spans.append(span)
        return span

    def ended(self, message: AssistantMessage | None) -> None:
        for span in self._tool_spans:
            span.ended(None)  # no effect if it has ended
        self.calls.submit([(self._end, (message, time.time_ns()))])

    def wait(self) -> None:
        self.calls.wait()

    async def settle(self) -> None:
        await self.calls.settle()

    def _end(self, message: AssistantMessage | None, end_time: int) -> None:
        if message is not None:
            self._span.set_attribute("gen_ai.provider.name", _provider_name(message.provider))
            self._span.set_attribute("gen_ai.request.model", message.model)
        _set_outcome(self._span, message, self.telemetry.content_in_spans)
        self._span.end(end_time)


class _ToolSpan:
    """The span of one tool call."""

    def __init__(self, loop: _ToolLoopSpan, call: ToolCall, tool: Tool | None) -> None:
        self._loop, self._call = loop, call
        self._attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": _clean(call.name),
            "gen_ai.tool.type": "function",
        }
        self._started_at = time.perf_counter()
        details = {"gen_ai.tool.call.id": _clean(call.id)}
        if tool is not None and tool.description:
            details["gen_ai.tool.description"] = _clean(tool.description)
        self._span = _start_span(
            loop.telemetry, f"execute_tool {call.name}", loop.context, self._attributes | details
        )
        self._ended = False

    def running(self) -> AbstractContextManager[None]:
        return _attached(trace.set_span_in_context(self._span, context.get_current()))

    def ended(self, result: ToolResultMessage | None) -> None:
        if not self._ended:
            self._ended = True
            duration = time.perf_counter() - self._started_at
            self._loop.calls.submit([(self._end, (result, duration, time.time_ns()))])

    def _end(self, result: ToolResultMessage | None, duration: float, end_time: int) -> None:
        error_type = "cancelled" if result is None else "tool_error" if result.is_error else ""
        attributes = self._attributes | ({"error.type": error_type} if error_type else {})
        try:
            with_content = self._loop.telemetry.content_in_spans and self._span.is_recording()
            if with_content:
                self._span.set_attribute("gen_ai.tool.call.arguments", _json(self._call.arguments))
            text = ""
            if result is not None and with_content:
                text = _json(_result_value(result.content))
                self._span.set_attribute("gen_ai.tool.call.result", text)
            if error_type:
                self._span.set_attribute("error.type", error_type)
            if error_type == "tool_error":
                self._span.set_status(Status(StatusCode.ERROR, text or None))
            own_context = trace.set_span_in_context(self._span, self._loop.context)
            self._loop.telemetry.tool_duration.record(duration, attributes, own_context)
        finally:
            self._span.end(end_time)


def _start_span(
    telemetry: _Telemetry, name: str, parent: context.Context, attributes: Mapping[str, str]
) -> trace.Span:
    """Start a span; one that does nothing if the SDK fails."""
    try:
        return telemetry.tracer.start_span(_clean(name), parent, attributes=attributes)
    except Exception:
        logger.warning("OpenTelemetry failed", exc_info=True)
        return trace.INVALID_SPAN


@contextlib.contextmanager
def _attached(own_context: context.Context) -> Generator[None, None, None]:
    token = context.attach(own_context)
    try:
        yield
    finally:
        context.detach(token)


def _set_outcome(span: trace.Span, message: AssistantMessage | None, with_text: bool) -> None:
    """Set the status of a request or a run. The text of an error may quote the prompt."""
    if message is None:
        span.set_attribute("error.type", "cancelled")
    elif message.error is not None:
        span.set_attributes(_error_attributes(message))
        if message.error.kind is not ErrorKind.ABORTED:
            text = _clean(message.error_message or "") if with_text else outcome(message)
            span.set_status(Status(StatusCode.ERROR, text))


# --- Attributes -------------------------------------------------------------------------------


def _provider_name(provider: str) -> str:
    return _PROVIDER_NAMES.get(provider, provider)


def _request_attributes(request: Request) -> dict[str, Any]:
    """Return what identifies the operation, for spans and metrics."""
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _provider_name(request.provider),
        "gen_ai.request.model": request.model_id,
    }
    address = request.options.api_base or request.route.api_base
    if request.response is not None:  # it was sent
        address = request.response.url or address
    try:
        url = urlsplit(address)
        host, port = url.hostname, url.port
    except ValueError:
        return attributes
    if host and "$" not in host:  # a variable that is resolved later
        attributes["server.address"] = host
        attributes["server.port"] = port or (80 if url.scheme == "http" else 443)
    return attributes


def _option_attributes(request: Request) -> dict[str, Any]:
    options: SimpleStreamOptions = request.options
    extra = options.extra or {}
    stop = options.stop
    attributes = {
        "gen_ai.request.max_tokens": options.max_tokens,
        "gen_ai.request.temperature": options.temperature,
        "gen_ai.request.top_p": options.top_p,
        "gen_ai.request.top_k": options.top_k,
        "gen_ai.request.seed": options.seed,
        "gen_ai.request.stop_sequences": [stop] if isinstance(stop, str) else stop,
        "gen_ai.request.frequency_penalty": _number(extra.get("frequency_penalty")),
        "gen_ai.request.presence_penalty": _number(extra.get("presence_penalty")),
        "gen_ai.request.stream": True,
        "gen_ai.output.type": "json" if request.output is not None else "text",
        "gen_ai.conversation.id": options.session_id,
    }
    service_tier = extra.get("service_tier")
    if request.provider == "openai" and isinstance(service_tier, str):
        attributes["openai.request.service_tier"] = service_tier
    return _present(attributes)


def _response_attributes(request: Request, message: AssistantMessage) -> dict[str, Any]:
    usage, cost = message.usage, message.usage.cost.total
    finish_reason = message.raw_stop_reason
    if finish_reason is None and message.error is None and message.stop_reason is not None:
        finish_reason = _FINISH_REASONS[message.stop_reason]
    has_usage = usage.total_tokens > 0 or message.error is None
    attributes: dict[str, Any] = {
        "gen_ai.response.id": message.response_id,
        "gen_ai.response.model": message.response_model,
        "gen_ai.response.finish_reasons": [finish_reason] if finish_reason else None,
        "gen_ai.response.time_to_first_chunk": _seconds(message.ttft_ms),
        "gen_ai.usage.input_tokens": _input_tokens(message) if has_usage else None,
        "gen_ai.usage.output_tokens": usage.output if has_usage else None,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read or None,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
        "gen_ai.usage.audio.input_tokens": usage.input_audio,
        "operation.cost": cost,
        "pipy_ai.usage.estimated": usage.estimated or None,
        "pipy_ai.request_id": message.request_id,
        "pipy_ai.cached": True if message.cached is not None else None,
    }
    if cost is not None:
        attributes["langfuse.observation.cost_details"] = json.dumps({"total": cost})
    if request.provider == "openai":
        attributes["openai.api.type"] = _OPENAI_API_TYPES.get(message.api)
        attributes["openai.response.service_tier"] = usage.service_tier
    return _present(attributes)


def _error_attributes(message: AssistantMessage) -> dict[str, Any]:
    if message.error is None:
        return {}
    kind = message.error.kind
    return {"error.type": "cancelled" if kind is ErrorKind.ABORTED else str(kind)}


def _input_tokens(message: AssistantMessage) -> int:
    """Return the tokens of the prompt, which in the conventions include cached ones."""
    usage = message.usage
    return usage.input + usage.cache_read + usage.cache_write


def _present(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _clean(value) if isinstance(value, str) else value
        for name, value in attributes.items()
        if value is not None
    }


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _clean(text: str) -> str:
    """Return text that exporters can encode, shortened."""
    return clean_surrogates(text if len(text) <= MAX_TEXT_CHARS else text[:MAX_TEXT_CHARS] + "…")


# --- Content ----------------------------------------------------------------------------------


def _content_attributes(request: Request, message: AssistantMessage) -> dict[str, str]:
    conversation = request.context
    attributes: dict[str, str] = {
        "gen_ai.input.messages": _json([_message(item) for item in conversation.messages])
    }
    if conversation.system_prompt:
        parts = [{"type": "text", "content": conversation.system_prompt}]
        attributes["gen_ai.system_instructions"] = _json(parts)
    if conversation.tools:
        tools = [_tool_definition(tool) for tool in conversation.tools]
        attributes["gen_ai.tool.definitions"] = _json(tools)
    answer = _message(message)
    answer["finish_reason"] = _FINISH_REASONS.get(message.stop_reason or StopReason.ERROR, "error")
    attributes["gen_ai.output.messages"] = _json([answer])
    return attributes


def _tool_definition(tool: Any) -> dict[str, Any]:
    if not isinstance(tool, Tool):  # a tool of the provider
        return {"type": "extension", "name": str(getattr(tool, "name", ""))}
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }


def _message(message: Any) -> dict[str, Any]:
    if message.role == "toolResult":
        response = {
            "type": "tool_call_response",
            "id": message.tool_call_id,
            "result": _result_value(message.content),
        }
        return {"role": "tool", "parts": [response]}
    return {"role": message.role, "parts": _parts(message.content)}


def _result_value(content: Sequence[Any]) -> Any:
    """Return the content of a tool result: its text, or its parts."""
    if all(part.type == "text" for part in content):
        return "".join(part.text for part in content)
    return _parts(content)


def _parts(content: str | Iterable[Any]) -> list[dict[str, Any]]:
    """Return the parts of a message. Data of images and documents is left out."""
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    return [_part(part) for part in content]


def _part(part: Any) -> dict[str, Any]:
    match part.type:
        case "text":
            return {"type": "text", "content": part.text}
        case "thinking":
            return {"type": "reasoning", "content": part.thinking}
        case "toolCall":
            return {
                "type": "tool_call",
                "id": part.id,
                "name": part.name,
                "arguments": part.arguments,
            }
        case "serverToolCall":
            call = {"name": part.name, "arguments": part.arguments}
            return {"type": "server_tool_call", "id": part.id, **call}
        case "serverToolResult":
            return {"type": "server_tool_call_response", "id": part.tool_call_id, "name": part.name}
    mime_type = str(getattr(part, "mime_type", None) or "")
    described = {"mime_type": mime_type, "modality": mime_type.partition("/")[0] or part.type}
    if part.type == "file":
        return {"type": "file", **described, "file_id": part.id}
    url = str(getattr(part, "url", None) or "data:")
    if not url.startswith("data:"):
        return {"type": "uri", **described, "uri": mask_url(url)}
    return {"type": "blob" if mime_type else str(part.type), **described}


def _json(value: Any) -> str:
    return clean_surrogates(json.dumps(_shorten(value), ensure_ascii=False, default=str))


def _shorten(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT_CHARS else value[:MAX_TEXT_CHARS] + "…"
    if isinstance(value, Mapping):
        return {str(name): _shorten(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shorten(item) for item in value]
    return value
