"""Convert the arguments of `stream`, `complete`, … into requests.

Everything here runs before any I/O: wrong use raises `TypeError` or `ValueError`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import SecretStr

from .context import Prompt, as_context
from .errors import ProviderError, exception_for
from .options import Options, SimpleStreamOptions, StreamOptions, ThinkingLevel
from .provider import Provider, Request
from .provider.engine import Run
from .provider.observer import Observer, create_observers, observer_factories
from .provider.registered import plugin_provider, registered_provider
from .provider.resolve import ResolvedModel, resolve, resolve_router_model
from .provider.select import provider_for
from .registry import Model, get_registry
from .registry.routing import SELF_HOSTED_BACKENDS, Route
from .stream import EventQueue
from .types import Context, FileContent, Message, ServerTool, ServerToolResult, Tool, Warning
from .utils.construct import construct_unchecked
from .utils.signature import expand_keywords
from .utils.text import suggest

if TYPE_CHECKING:
    from .output.request import OutputRetries
    from .output.schema import Output, OutputMode
    from .provider.request import Preview

ModelSpec: TypeAlias = str | Model | Sequence[str | Model]
"""A model's name, a `Model`, or a list of them: a model and its fallbacks."""

DEFAULT_MODEL = "anthropic/claude-sonnet-4-5"
LOCAL_MODEL = "local/smollm2"


# Lists the options in the signature of a function that takes `**keywords: Unpack[Options]`.
takes_options = expand_keywords(
    Options.__annotations__,
    {name: field.default for name, field in SimpleStreamOptions.model_fields.items()},
)


def create_run(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None,
    keywords: Options,
    output: Any,
    output_mode: OutputMode | None,
) -> tuple[Run, EventQueue]:
    """Return a run that is not started yet, and the queue that receives its events."""
    factories = request_factories(model, context, options, keywords, output, output_mode)
    primary, *fallbacks = [partial(_provider_and_request, factory) for factory in factories]
    provider, request = primary()
    queue = EventQueue()
    return Run(provider, request, queue, fallbacks, observers=_observers(request)), queue


def _observers(request: Request) -> Sequence[Observer]:
    options = request.options
    if options.on_request or options.on_response or options.on_event:
        from .provider.hooks import enable_hooks

        enable_hooks()
    return create_observers(request) if observer_factories else ()


def _provider_and_request(factory: Callable[[], Request]) -> tuple[Provider, Request]:
    request = factory()
    return provider_for(request), request


def raises_on_error(options: StreamOptions | None, keywords: Options) -> bool:
    """Return the option `raise_on_error`; a keyword takes precedence."""
    default = options is not None and options.raise_on_error
    return bool(keywords.get("raise_on_error", default))


def create_retries(context: Prompt, output: Any, retries: int) -> OutputRetries:
    """Return the state of a completion with `output=`, which may take several requests."""
    from .output.request import OutputRetries
    from .output.schema import Output

    return OutputRetries(as_context(context), Output.of(output), retries)


def quick_max_tokens(model: ModelSpec, max_tokens: int | None) -> int | None:
    """Return the `max_tokens` of `quick`: the embedded model has a limit of its own."""
    return 4096 if max_tokens is None and model != LOCAL_MODEL else max_tokens


async def preview_request(request: Request) -> Preview:
    """Return what the provider of a request would send.

    Raises:
        ValueError: The provider has no `preview` method.
        PipyError: The request cannot be expressed in the provider's API.
    """
    preview_method = getattr(provider_for(request), "preview", None)
    if preview_method is None:
        raise ValueError(f"the provider {request.provider!r} does not support preview()")
    try:
        result: Preview = await preview_method(request)
    except ProviderError as failure:
        raise exception_for(failure.error) from None
    return replace(result, warnings=tuple(request.warnings))


def build_request(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None,
    keywords: Options,
    output: Any = None,
    output_mode: OutputMode | None = None,
) -> Request:
    """Return the request for the first model of `model`. Raises as `stream` does."""
    return request_factories(model, context, options, keywords, output, output_mode)[0]()


def request_factories(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None,
    keywords: Options,
    output: Any = None,
    output_mode: OutputMode | None = None,
) -> list[Callable[[], Request]]:
    """Return a function for each model that builds its request.

    The arguments are checked and copied here, so that later changes by the caller have no effect;
    a fallback's request is only built when it is needed. Raises as `stream` does.
    """
    merged_options = _merge_options(options, keywords)
    snapshot = _copy_context(context)
    output = _as_output(output)
    resolved_models = _resolve_all(model, merged_options)
    return [
        partial(_create_request, resolved, snapshot, model_options, output, output_mode)
        for resolved, model_options in resolved_models
    ]


def request_builder(
    model: str | Model,
    keywords: Options,
    output: Any = None,
    output_mode: OutputMode | None = None,
) -> Callable[[Prompt], Request]:
    """Return a function that builds requests to one model with the same options.

    The model is resolved once. Raises as `stream` does; the function raises for its prompt.
    """
    options = _merge_options(None, keywords)
    output = _as_output(output)
    resolved = _resolve_model(model, options)

    def build(prompt: Prompt) -> Request:
        own = replace(resolved, warnings=list(resolved.warnings))
        return _create_request(own, _copy_context(prompt), options, output, output_mode)

    return build


def _merge_options(options: StreamOptions | None, keywords: Options) -> SimpleStreamOptions:
    merged_options = merge_options(options, keywords)
    if merged_options.extra is not None:
        merged_options.extra = copy.deepcopy(merged_options.extra)
        _reject_lost_fields(merged_options)
        _use_address_of_extra(merged_options)
    return merged_options


def _copy_context(prompt: Prompt) -> Context:
    """Return the conversation, in lists of its own."""
    context = as_context(prompt)
    return context.model_copy(
        update={"messages": list(context.messages), "tools": _copy_tools(context)}
    )


def _as_output(output: Any) -> Output | None:
    if output is None:
        return None
    from .output.schema import Output

    return Output.of(output)


# Parameters for several answers, by API. A message holds one.
_CHOICE_COUNTS = frozenset(
    {"n", "best_of", "candidateCount", "candidate_count", "num_generations", "numResults"}
)
_PARAMETER_GROUPS = frozenset(
    {
        "additionalModelRequestFields", "extra_body", "generationConfig", "generation_config",
        "inferenceConfig", "options",
    }
)  # fmt: skip
_LOGPROBS = frozenset({"logprobs", "top_logprobs", "responseLogprobs", "response_logprobs"})


def _reject_lost_fields(options: SimpleStreamOptions) -> None:
    """Raise `ValueError` if `extra` requests what the message would not hold."""
    pending = [options.extra or {}]
    for fields in pending:
        for name, value in fields.items():
            if name in _PARAMETER_GROUPS and isinstance(value, dict):
                pending.append(value)
            if name in _CHOICE_COUNTS and isinstance(value, int | float) and value > 1:
                raise ValueError(
                    f"extra {name}={value!r} requests several answers, but a message has only one:"
                    " send the request several times, for example with complete_many"
                )
            has_logprobs = (name in _LOGPROBS and value not in (None, False)) or (
                name == "include" and "logprobs" in str(value)
            )
            if has_logprobs and not options.raw:
                raise ValueError(
                    f"extra {name}={value!r}: a message has no log probabilities; also pass"
                    " raw=True, and read them from message.raw.body"
                )


def _use_address_of_extra(options: SimpleStreamOptions) -> None:
    """Rename LiteLLM's address arguments to `api_base`, so that its rules for API keys apply."""
    for name in ("api_base", "base_url"):
        address = (options.extra or {}).pop(name, None)
        options.api_base = options.api_base or address


def _create_request(
    resolved: ResolvedModel,
    context: Context,
    options: SimpleStreamOptions,
    output: Output | None,
    output_mode: OutputMode | None,
) -> Request:
    options = options.model_copy()
    if options.api_base is None:
        options.api_base = resolved.api_base
    request = Request(
        resolved.provider,
        resolved.model_id,
        context.model_copy(),
        options,
        resolved.record,
        resolved.route,
        resolved.warnings,
    )
    if any(type(tool) is ServerTool for tool in context.tools or ()) or any(
        _has_provider_content(message, resolved.provider) for message in context.messages
    ):
        from .provider.server_tools import choose_api

        choose_api(request)
    if output is not None:
        from .output.request import apply_output

        apply_output(request, output, output_mode)
    return request


def _has_provider_content(message: Message, provider: str) -> bool:
    """Return whether a message has files stored at the provider, or results of its own tools."""
    if type(message.content) is not list:
        return False
    is_answer = message.role == "assistant" and message.provider == provider
    return any(
        (is_answer and type(part) is ServerToolResult)
        or (type(part) is FileContent and part.provider == provider)
        for part in message.content
    )


def _copy_tools(context: Context) -> list[Tool | ServerTool] | None:
    tools = context.tools
    if tools is None or all(type(tool) in (Tool, ServerTool) for tool in tools):
        return None if tools is None else list(tools)
    # A function was appended to `context.tools`, which Pydantic does not validate.
    from .tools import as_tools

    return as_tools(tools)


# Options for the first model's provider only: its key must not leak to another provider.
_PROVIDER_SPECIFIC_OPTIONS = ("api_key", "api_base", "headers", "extra")


def _resolve_all(
    models: ModelSpec, options: SimpleStreamOptions
) -> list[tuple[ResolvedModel, SimpleStreamOptions]]:
    """Return each model with its options."""
    if isinstance(models, BatchModel):
        return models.resolve(options)
    if isinstance(models, str | Model) or not isinstance(models, Sequence):
        return [(_resolve_model(models, options), options)]
    if not models:
        raise ValueError(f"no model given: pass at least one, such as {DEFAULT_MODEL!r}")
    provider_options = [
        name for name in _PROVIDER_SPECIFIC_OPTIONS if getattr(options, name) is not None
    ]
    shared_options = (
        options.model_copy(update=dict.fromkeys(provider_options)) if provider_options else options
    )
    first = _resolve_model(models[0], options)
    resolved_models = [(first, options)]
    for model in models[1:]:
        resolved = _resolve_model(model, shared_options)
        if resolved.provider == first.provider:
            resolved_models.append((_resolve_model(model, options), options))
            continue
        if provider_options:
            names = " and ".join(provider_options)
            text = f"{names} was only passed to {first.provider}, not to {resolved.provider}"
            resolved.warnings.append(Warning(code="option_not_passed", message=text))
        resolved_models.append((resolved, shared_options))
    return resolved_models


RESOLVE_INTERVAL_S = 1.0


class BatchModel:
    """The model and the fallbacks of many requests with equal options, for `request_factories`.

    They are resolved once a second: the catalogue may change during a batch.
    """

    def __init__(self, models: ModelSpec) -> None:
        self._models = models
        self._resolved: list[tuple[ResolvedModel, SimpleStreamOptions]] = []
        self._expires_at = 0.0

    def resolve(
        self, options: SimpleStreamOptions
    ) -> list[tuple[ResolvedModel, SimpleStreamOptions]]:
        """Return each model with its options."""
        now = time.monotonic()
        if now >= self._expires_at:
            self._resolved = _resolve_all(self._models, options)
            self._expires_at = now + RESOLVE_INTERVAL_S
        return [
            (replace(resolved, warnings=list(resolved.warnings)), model_options)
            for resolved, model_options in self._resolved
        ]


def _resolve_model(model: str | Model, options: SimpleStreamOptions) -> ResolvedModel:
    """Return the provider, record and route of one model.

    In this order: the built-in providers, registered providers, the router's configuration, the
    catalogue.
    """
    if isinstance(model, str):
        model = model.strip()
        provider, separator, model_id = model.partition("/")
        if not model or (separator and not (provider and model_id)):
            raise ValueError(
                f"invalid model name {model!r}: use provider/model, such as {DEFAULT_MODEL!r}"
            )
        if separator and provider in ("local", "faux"):
            return ResolvedModel(provider, model_id, Route())
        # A registered provider may replace one of the catalogue.
        if separator and registered_provider(provider):
            return ResolvedModel(provider, model_id, Route(), get_registry().record(model))
    elif not isinstance(model, Model):
        raise TypeError(
            f"model must be a name like {DEFAULT_MODEL!r}, a Model, or a list of them, not"
            f" {type(model).__name__}"
        )
    name = model if isinstance(model, str) else model.qualified_name
    config_path = getattr(registered_provider("litellm"), "config_path", None)
    # An explicit key or address takes precedence over the router's configuration.
    bypass_router = options.api_key is not None or options.api_base is not None
    if not bypass_router and (routed := resolve_router_model(name, config_path)):
        return routed
    try:
        resolved = resolve(model, quiet=options.api_base is not None)
    except ValueError:
        if (from_plugin := _resolve_plugin_model(model)) is None:
            raise
        return from_plugin
    if resolved.record is None and (from_plugin := _resolve_plugin_model(model)) is not None:
        return from_plugin
    full_name = f"{resolved.provider}/{resolved.model_id}"
    return resolved if bypass_router else resolve_router_model(full_name, config_path) or resolved


def _resolve_plugin_model(model: str | Model) -> ResolvedModel | None:
    """Resolve a model whose provider only an installed plugin has."""
    if not isinstance(model, str):
        return None
    provider, separator, model_id = model.partition("/")
    if not separator or provider in SELF_HOSTED_BACKENDS:
        return None
    if get_registry().provider_record(provider) is not None or plugin_provider(provider) is None:
        return None
    return ResolvedModel(provider, model_id, Route())


_NEVER_NONE = frozenset(
    {"max_retries", "max_retry_delay_ms", "handoff_thinking", "think_tags", "raw", "raise_on_error"}
)
_NEEDS_PYDANTIC: Any = object()


def _text(value: Any) -> Any:
    return value if type(value) is str else _NEEDS_PYDANTIC


def _flag(value: Any) -> Any:
    return value if type(value) is bool else _NEEDS_PYDANTIC


def _positive(value: Any) -> Any:
    return value if type(value) is int and value > 0 else _NEEDS_PYDANTIC


def _count(value: Any) -> Any:
    return value if type(value) is int and value >= 0 else _NEEDS_PYDANTIC


def _number(value: Any) -> Any:
    return value if type(value) in (int, float) and -1e9 < value < 1e9 else _NEEDS_PYDANTIC


def _seconds(value: Any) -> Any:
    return float(value) if type(value) in (int, float) and 0 < value < 1e9 else _NEEDS_PYDANTIC


def _api_key(value: Any) -> Any:
    if type(value) is str and value.isascii():
        return SecretStr(value)
    return value if type(value) is SecretStr else _NEEDS_PYDANTIC


def _headers(value: Any) -> Any:
    if type(value) is dict and all(
        type(text) is str and text.isascii() for item in value.items() for text in item
    ):
        return value.copy()
    return _NEEDS_PYDANTIC


def _parameters(value: Any) -> Any:
    if type(value) is dict and all(type(name) is str and name.isascii() for name in value):
        return value.copy()
    return _NEEDS_PYDANTIC


def _level(value: Any) -> Any:
    return _LEVELS.get(value, _NEEDS_PYDANTIC) if isinstance(value, str) else _NEEDS_PYDANTIC


_LEVELS = {level.value: level for level in ThinkingLevel}
# Building Pydantic's validator would take half the time of a process's first request. These convert
# the usual values of options as it does.
_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "api_base": _text,
    "api_key": _api_key,
    "cache": lambda value: value if isinstance(value, bool | str) else _NEEDS_PYDANTIC,
    "extra": _parameters,
    "headers": _headers,
    "idle_timeout": _seconds,
    "max_retries": _count,
    "max_tokens": _positive,
    "metadata": _parameters,
    "raise_on_error": _flag,
    "raw": _flag,
    "reasoning": _level,
    "seed": _count,
    "session_id": _text,
    "stop": _text,
    "temperature": _number,
    "timeout": _seconds,
    "tool_choice": _text,
    "top_k": _positive,
    "top_p": _number,
}


def _convert_option(name: str, value: Any) -> Any:
    """Return an option as it is in `SimpleStreamOptions`, or `_NEEDS_PYDANTIC`."""
    if value is None:
        return _NEEDS_PYDANTIC if name in _NEVER_NONE else None
    converter = _CONVERTERS.get(name)
    return _NEEDS_PYDANTIC if converter is None else converter(value)


def merge_options(options: StreamOptions | None, keywords: Options) -> SimpleStreamOptions:
    """Combine `options` with keyword options, which take precedence.

    Raises:
        TypeError: An unknown keyword; `options` is not a `StreamOptions`.
        ValueError: An option has an invalid value.
    """
    fields = SimpleStreamOptions.model_fields
    for name in keywords:
        if name not in fields:
            suggestion = suggest(name, fields)
            hint = suggestion and f"; {suggestion}"
            if name in ("tools", "system", "messages"):
                hint = "; it belongs to the context: ctx(*messages, system=…, tools=[…])"
            elif name.startswith("output"):
                hint = "; stream and complete take it, for structured output"
            raise TypeError(f"unknown option {name!r}{hint}")
    if options is None:
        converted = {name: _convert_option(name, value) for name, value in keywords.items()}
        if not any(value is _NEEDS_PYDANTIC for value in converted.values()):
            return construct_unchecked(SimpleStreamOptions, **converted)
        return SimpleStreamOptions.model_validate(keywords)
    if not isinstance(options, StreamOptions):
        raise TypeError(f"options must be a StreamOptions, not {type(options).__name__}")
    set_fields = {name: getattr(options, name) for name in options.model_fields_set}
    return SimpleStreamOptions.model_validate({**set_fields, **keywords})
