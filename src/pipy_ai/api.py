"""The verbs: `stream`, `complete`, `quick` and their twins.

All of them are one path: `complete(x)` is `stream(x).result()`, and the asynchronous twins run
the same engine in the caller's own event loop.

A request that fails raises nothing: the message has `error`. Wrong use (an unknown option, an
empty prompt) raises before any I/O.
"""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack, overload

from .abort import AbortSignal
from .context import Prompt, as_context, ctx, user
from .errors import ProviderError, exception_for
from .provider import Provider, Request, provider_for, registered
from .provider import loop as loops
from .provider.engine import Run
from .provider.request import Preview
from .provider.resolve import Resolved, by_router, resolve
from .registry import Model, get_registry
from .registry.routing import Route
from .stream import AssistantMessageEventStream, AsyncAssistantMessageEventStream, EventQueue
from .types import (
    AssistantMessage,
    CacheRetention,
    Context,
    SimpleStreamOptions,
    StreamOptions,
    ThinkingBudgets,
    ThinkingLevel,
    Tool,
    Warning,
)
from .utils import settings
from .utils.made import made
from .utils.signature import expand_keywords

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from .output import Mode, Output, ParsedMessage, Turns

T = TypeVar("T")
Models: TypeAlias = str | Model | Sequence[str | Model]  # one, or one after the other

__all__ = [
    "acomplete",
    "acomplete_simple",
    "apreview",
    "aquick",
    "astream",
    "astream_simple",
    "complete",
    "complete_simple",
    "ctx",
    "default_model",
    "preview",
    "quick",
    "stream",
    "stream_simple",
    "user",
]

DEFAULT_MODEL = "anthropic/claude-sonnet-4-5"
LOCAL_MODEL = "local/smollm2"


class Options(TypedDict, total=False):
    """The keywords of every verb: the fields of `SimpleStreamOptions`, where they are explained."""

    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    stop: str | list[str] | None
    seed: int | None
    tool_choice: str | dict[str, Any] | None
    cache_retention: CacheRetention | Literal["none", "short", "long"] | None
    session_id: str | None
    api_key: str | None
    api_base: str | None
    headers: dict[str, str] | None
    metadata: dict[str, Any] | None
    timeout: float | None
    idle_timeout: float | None
    max_retries: int
    max_retry_delay_ms: int
    signal: AbortSignal | None
    on_payload: Callable[[dict[str, Any]], dict[str, Any] | None] | None
    transport: Literal["auto", "litellm", "direct"] | None
    handoff_thinking: Literal["drop", "text"]
    extra: dict[str, Any] | None
    reasoning: (
        ThinkingLevel | Literal["off", "minimal", "low", "medium", "high", "xhigh", "max"] | None
    )
    thinking_budgets: ThinkingBudgets | dict[str, int] | None


# Lists the options in the signature of a function that takes `**keywords: Unpack[Options]`.
takes_options = expand_keywords(
    Options.__annotations__,
    {name: field.default for name, field in SimpleStreamOptions.model_fields.items()},
)


# === Streaming ===


@overload
def stream(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream: ...
@overload
def stream(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: dict[str, Any] | Output,
    output_mode: Mode | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream[ParsedMessage[Any]]: ...
@overload
def stream(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: type[T],
    output_mode: Mode | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream[ParsedMessage[T]]: ...
@overload
def stream(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: TypeForm[T],
    output_mode: Mode | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream[ParsedMessage[T]]: ...
@takes_options
def stream(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: Mode | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream[Any]:
    """Ask, and get the answer's events as they come. Returns at once.

    Args:
        model: A name that `get_model` takes, e.g. `"anthropic/claude-sonnet-4-5"`, any name of
            LiteLLM's, or a `Model`. Of a list, the next one is asked when one fails before its
            first content in a way that another model may not (docs/budgets.md).
        context: A `Context`, or a string, a message, a list of messages.
        options: How to ask; keywords win over its fields.
        output: The type that the answer shall have: a Pydantic model, a dataclass, a TypedDict,
            `list[X]`, `Literal[…]`, an Enum, a JSON Schema. `event.parsed_partial` is what has
            come of it, `result().parsed` the value; there is no second try in a stream.
        output_mode: How it is asked for: `"native"` (the provider's own way), `"tool"` or
            `"prompt"`; by default the best that the catalogue knows of.
        **keywords: Any field of `SimpleStreamOptions`: `temperature=0`, `reasoning="high"`.

    Raises:
        TypeError: an unknown keyword, a prompt that is none, an `output` that is no type.
        ValueError: an option with a wrong value, an empty context, no model, a bare name that no
            model has or (`AmbiguousModelError`) several have.

    Example:
        >>> from pipy_ai import stream
        >>> for event in stream("faux/echo", "Write a poem."):
        ...     if event.type == "text_delta":
        ...         print(event.delta, end="")
        Write a poem.
    """
    run, queue = _prepare(model, context, options, keywords, output, output_mode)
    run.begin_in_background()
    return AssistantMessageEventStream(run, queue)


@overload
def astream(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream: ...
@overload
def astream(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: dict[str, Any] | Output,
    output_mode: Mode | None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream[ParsedMessage[Any]]: ...
@overload
def astream(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: type[T],
    output_mode: Mode | None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream[ParsedMessage[T]]: ...
@overload
def astream(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: TypeForm[T],
    output_mode: Mode | None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream[ParsedMessage[T]]: ...
@takes_options
def astream(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: Mode | None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream[Any]:
    """The asynchronous twin of `stream`: an object to `async for` over, not a coroutine.

    The request starts at once when an event loop runs, otherwise with the first use.

    Example:
        >>> import asyncio
        >>> from pipy_ai import astream
        >>> async def main():
        ...     async for event in astream("faux/echo", "Hello"):
        ...         if event.type == "text_delta":
        ...             print(event.delta, end="")
        >>> asyncio.run(main())
        Hello
    """
    run, queue = _prepare(model, context, options, keywords, output, output_mode)
    events = AsyncAssistantMessageEventStream(run, queue)
    run.begin_if_running()
    return events


# === Completion ===


@overload
def complete(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: None = None,
    **keywords: Unpack[Options],
) -> AssistantMessage: ...
@overload
def complete(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: dict[str, Any] | Output,
    output_mode: Mode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[Any]: ...
@overload
def complete(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: type[T],
    output_mode: Mode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[T]: ...
@overload
def complete(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: TypeForm[T],
    output_mode: Mode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[T]: ...
@takes_options
def complete(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: Mode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> Any:
    """Ask, and wait for the whole answer. Arguments and errors as for `stream`.

    With `output=`, an answer that is not of the type goes back to the model with what is wrong,
    `output_retries` times; its usage counts. Then `message.error.kind` is `"invalid_output"`.
    `timeout` and the other options hold for each turn.

    Example:
        >>> from pipy_ai import complete, ctx, user
        >>> result = complete("faux/echo", ctx(user("Hello!"), system="You are helpful."))
        >>> result.text
        'Hello!'
    """
    if output is None:
        return stream(model, context, options, **keywords).result()
    turns = _turns(context, output, output_retries)
    asked: dict[str, Any] = {"output": turns.output, "output_mode": output_mode, **keywords}
    while turns.take(stream(model, turns.context, options, **asked).result()):
        pass
    return turns.result()


@overload
async def acomplete(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: None = None,
    **keywords: Unpack[Options],
) -> AssistantMessage: ...
@overload
async def acomplete(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: dict[str, Any] | Output,
    output_mode: Mode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[Any]: ...
@overload
async def acomplete(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: type[T],
    output_mode: Mode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[T]: ...
@overload
async def acomplete(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: TypeForm[T],
    output_mode: Mode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[T]: ...
@takes_options
async def acomplete(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: Mode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> Any:
    """The asynchronous twin of `complete`.

    Example:
        >>> import asyncio
        >>> from pipy_ai import acomplete
        >>> asyncio.run(acomplete("faux/echo", "Hello!")).text
        'Hello!'
    """
    if output is None:
        return await astream(model, context, options, **keywords).result()
    turns = _turns(context, output, output_retries)
    asked: dict[str, Any] = {"output": turns.output, "output_mode": output_mode, **keywords}
    while turns.take(await astream(model, turns.context, options, **asked).result()):
        pass
    return turns.result()


# === With reasoning: the same verbs under the names of pi-ai ===


@takes_options
def stream_simple(
    model: Models,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream:
    """`stream` by its name in pi-ai; `reasoning=` works in both."""
    return stream(model, context, options, **keywords)


@takes_options
def astream_simple(
    model: Models,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream:
    """`astream` by its name in pi-ai; `reasoning=` works in both."""
    return astream(model, context, options, **keywords)


@takes_options
def complete_simple(
    model: Models,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessage:
    """`complete` by its name in pi-ai; `reasoning=` works in both."""
    return complete(model, context, options, **keywords)


@takes_options
async def acomplete_simple(
    model: Models,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessage:
    """`acomplete` by its name in pi-ai; `reasoning=` works in both."""
    return await acomplete(model, context, options, **keywords)


# === Without sending ===


@takes_options
def preview(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: Mode | None = None,
    **keywords: Unpack[Options],
) -> Preview:
    """The request that `stream` would send for the same arguments, without sending it; of several
    models, that to the first.

    Keys are masked; none is needed. `warnings` tells what was clamped, ignored or replaced.

    Raises:
        TypeError, ValueError: as `stream`.
        PipyError: no request can be made of it.

    Example:
        >>> from pipy_ai import preview
        >>> shown = preview("local/smollm2", "Hi", max_tokens=5)
        >>> shown.body["messages"], shown.body["max_tokens"]
        ([{'role': 'user', 'content': 'Hi'}], 5)
    """
    request = build_request(model, context, options, keywords, output, output_mode)
    thread = loops.ensure()
    if thread.is_current:
        raise RuntimeError("use apreview inside pipy-ai's own event loop")
    return asyncio.run_coroutine_threadsafe(_preview(request), thread.loop).result()


@takes_options
async def apreview(
    model: Models,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: Mode | None = None,
    **keywords: Unpack[Options],
) -> Preview:
    """The asynchronous twin of `preview`."""
    request = build_request(model, context, options, keywords, output, output_mode)
    return await _preview(request)


async def _preview(request: Request) -> Preview:
    look = getattr(provider_for(request), "preview", None)
    if look is None:
        raise ValueError(f"the provider {request.provider!r} has no preview")
    try:
        shown: Preview = await look(request)
    except ProviderError as failure:
        raise exception_for(failure.error) from None
    return replace(shown, warnings=tuple(request.warnings))


# === One line ===


def quick(
    prompt: str,
    model: Models | None = None,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    reasoning: ThinkingLevel | None = None,
) -> AssistantMessage:
    """One question, one answer. Without `model`, `default_model()` chooses.

    `max_tokens` is 4,096 when it is not given; the embedded model has a limit of its own.

    Example:
        >>> from pipy_ai import quick
        >>> quick("What is 2+2?", "faux/echo").text
        'What is 2+2?'
    """
    model = model or default_model()
    return complete(
        model,
        ctx(prompt, system=system),
        temperature=temperature,
        max_tokens=_quick_limit(model, max_tokens),
        reasoning=reasoning,
    )


async def aquick(
    prompt: str,
    model: Models | None = None,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    reasoning: ThinkingLevel | None = None,
) -> AssistantMessage:
    """The asynchronous twin of `quick`."""
    model = model or default_model()
    return await acomplete(
        model,
        ctx(prompt, system=system),
        temperature=temperature,
        max_tokens=_quick_limit(model, max_tokens),
        reasoning=reasoning,
    )


def _quick_limit(model: Models, given: int | None) -> int | None:
    return 4096 if given is None and model != LOCAL_MODEL else given


def default_model() -> str:
    """The model when none is named: `PIPY_MODEL`, else what `pipy default` has chosen, else
    `anthropic/claude-sonnet-4-5` when its key is set, else the embedded `local/smollm2` when the
    `local` extra is installed.

    Raises:
        LookupError: none of these; the text says what would help.
    """
    if chosen := os.environ.get("PIPY_MODEL", "").strip() or settings.setting(
        settings.DEFAULT_MODEL
    ):
        return chosen
    way = resolve(DEFAULT_MODEL).route
    if way.found()[0]:
        return DEFAULT_MODEL
    if importlib.util.find_spec("xllamacpp") is not None:
        return LOCAL_MODEL
    raise LookupError(
        f"No model: set {way.keys[0]} (then {DEFAULT_MODEL} answers), choose one with  pipy "
        'default MODEL,  or install the embedded model with  pip install "pipy-ai[local]" && '
        "pipy local pull"
    )


# === How ===


def _turns(context: Prompt, output: Any, retries: int) -> Turns:
    from .output import Output, Turns

    return Turns(as_context(context), Output.of(output), retries)


def _prepare(
    model: Models,
    context: Prompt,
    options: StreamOptions | None,
    keywords: Options,
    output: Any,
    output_mode: Mode | None,
) -> tuple[Run, EventQueue]:
    requests = build_requests(model, context, options, keywords, output, output_mode)
    first, *others = [partial(_provided, request) for request in requests]
    queue = EventQueue()
    return Run(*first(), queue, others), queue


def _provided(request: Callable[[], Request]) -> tuple[Provider, Request]:
    made = request()
    return provider_for(made), made


def build_request(
    model: Models,
    context: Prompt,
    options: StreamOptions | None,
    keywords: Options,
    output: Any = None,
    output_mode: Mode | None = None,
) -> Request:
    """The first request that a verb's arguments mean; raises as `stream` does."""
    return build_requests(model, context, options, keywords, output, output_mode)[0]()


def build_requests(
    model: Models,
    context: Prompt,
    options: StreamOptions | None,
    keywords: Options,
    output: Any = None,
    output_mode: Mode | None = None,
) -> list[Callable[[], Request]]:
    """What makes the request for each model; raises as `stream` does, before any is made."""
    merged = _options(options, keywords)
    if merged.extra is not None:
        merged.extra = copy.deepcopy(merged.extra)
    given = as_context(context)
    own = given.model_copy(  # what the caller does to theirs afterwards is not in this request
        update={"messages": list(given.messages), "tools": _tools(given)}
    )
    if output is not None:
        from .output import Output

        output = Output.of(output)
    found = _find_all(model, merged)
    return [partial(_request, one, own, how, output, output_mode) for one, how in found]


def _request(
    found: Resolved,
    context: Context,
    options: SimpleStreamOptions,
    output: Output | None,
    mode: Mode | None,
) -> Request:
    options = options.model_copy()
    if options.api_base is None:
        options.api_base = found.api_base
    request = Request(
        found.provider,
        found.model_id,
        context.model_copy(),
        options,
        found.record,
        found.route,
        found.warnings,
    )
    if output is not None:
        from .output import ask_for

        ask_for(request, output, mode)
    return request


def _tools(context: Context) -> list[Tool] | None:
    given = context.tools
    if given is None or all(type(one) is Tool for one in given):
        return None if given is None else list(given)
    from .tools import as_tools  # a function was added to the list afterwards

    return as_tools(given)


_ONE_PROVIDERS = ("api_key", "api_base", "headers", "extra")


def _find_all(
    models: Models, options: SimpleStreamOptions
) -> list[tuple[Resolved, SimpleStreamOptions]]:
    """Each model and how it is asked. What is one provider's own, its key above all, goes to the
    first model's provider only."""
    if isinstance(models, str | Model) or not isinstance(models, Sequence):
        return [(_find(models, options), options)]
    if not models:
        raise ValueError(f"there is no model to ask: give at least one, like {DEFAULT_MODEL!r}")
    own = [name for name in _ONE_PROVIDERS if getattr(options, name) is not None]
    common = options.model_copy(update=dict.fromkeys(own)) if own else options
    first = _find(models[0], options)
    found = [(first, options)]
    for model in models[1:]:
        one = _find(model, common)
        if one.provider == first.provider:
            found.append((_find(model, options), options))
            continue
        if own:
            text = f"{' and '.join(own)} went to {first.provider} only, not to {one.provider}"
            one.warnings.append(Warning(code="option_not_passed", message=text))
        found.append((one, common))
    return found


def _find(model: str | Model, options: SimpleStreamOptions) -> Resolved:
    if isinstance(model, str):
        model = model.strip()
        provider, slash, model_id = model.partition("/")
        if not model or (slash and not (provider and model_id)):
            raise ValueError(
                f"a model's name is provider/model, like {DEFAULT_MODEL!r}, not {model!r}"
            )
        if slash and provider in ("local", "faux"):
            return Resolved(provider, model_id, Route())
        if slash and registered(provider):  # it may stand in for one of the catalogue
            return Resolved(provider, model_id, Route(), get_registry().record(model))
    elif not isinstance(model, Model):
        raise TypeError(
            f"a model is a name like {DEFAULT_MODEL!r}, a Model, or a list of them, not"
            f" {type(model).__name__}"
        )
    name = model if isinstance(model, str) else model.qualified_name
    config_path = getattr(registered("litellm"), "config_path", None)
    direct = options.api_key is not None or options.api_base is not None  # the caller knows the way
    if not direct and (routed := by_router(name, config_path)):
        return routed
    found = resolve(model, quiet=options.api_base is not None)
    full = f"{found.provider}/{found.model_id}"
    return found if direct else by_router(full, config_path) or found


_TEXTS = frozenset({"api_base", "session_id", "stop", "tool_choice"})


def _is_plain(name: str, value: Any) -> bool:
    """Whether an option is what its field takes, beyond doubt."""
    if value is None:
        return name not in ("max_retries", "max_retry_delay_ms", "handoff_thinking")
    if name in _TEXTS:
        return type(value) is str
    if name in ("temperature", "top_p"):
        return type(value) in (int, float) and isfinite(value)
    return name in ("max_retries", "seed") and type(value) is int and value >= 0


def _options(options: StreamOptions | None, keywords: Options) -> SimpleStreamOptions:
    fields = SimpleStreamOptions.model_fields
    for name in keywords:
        if name not in fields:
            import difflib

            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            if name in ("tools", "system", "messages"):
                hint = "; it belongs to the context: ctx(*messages, system=…, tools=[…])"
            elif name.startswith("output"):
                hint = "; stream and complete take it, for one answer of a type"
            raise TypeError(f"unknown option {name!r}{hint}")
    if options is None:
        if all(_is_plain(name, value) for name, value in keywords.items()):
            # Nothing to convert: building Pydantic's validator would be half of a first request.
            return made(SimpleStreamOptions, **keywords)
        return SimpleStreamOptions.model_validate(keywords)
    if not isinstance(options, StreamOptions):
        raise TypeError(f"options are StreamOptions, not {type(options).__name__}")
    given = {name: getattr(options, name) for name in options.model_fields_set}
    return SimpleStreamOptions.model_validate({**given, **keywords})
