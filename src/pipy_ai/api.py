"""The verbs: `stream`, `complete`, `quick` and their twins.

All of them are one path: `complete(x)` is `stream(x).result()`, and the asynchronous twins run
the same engine in the caller's own event loop.

A request that fails raises nothing: the message has `error`. Wrong use (an unknown option, an
empty prompt) raises before any I/O.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from ._requests import DEFAULT_MODEL, ModelSpec, Options, build_request, create_retries, create_run
from .context import Prompt, ctx, user
from .errors import ProviderError, exception_for
from .options import SimpleStreamOptions, StreamOptions, ThinkingLevel
from .provider import Request
from .provider.request import Preview
from .provider.resolve import resolve
from .provider.select import provider_for
from .registry import settings
from .stream import AssistantMessageEventStream, AsyncAssistantMessageEventStream
from .types import AssistantMessage
from .utils import event_loop as loops
from .utils.signature import expand_keywords

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from .output.schema import Output, OutputMode, ParsedMessage

T = TypeVar("T")

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

LOCAL_MODEL = "local/smollm2"


# Lists the options in the signature of a function that takes `**keywords: Unpack[Options]`.
takes_options = expand_keywords(
    Options.__annotations__,
    {name: field.default for name, field in SimpleStreamOptions.model_fields.items()},
)


# === Streaming ===


@overload
def stream(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream: ...
@overload
def stream(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: dict[str, Any] | Output,
    output_mode: OutputMode | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream[ParsedMessage[Any]]: ...
@overload
def stream(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream[ParsedMessage[T]]: ...
@overload
def stream(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: TypeForm[T],
    output_mode: OutputMode | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream[ParsedMessage[T]]: ...
@takes_options
def stream(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
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
    run, queue = create_run(model, context, options, keywords, output, output_mode)
    run.begin_in_background()
    return AssistantMessageEventStream(run, queue)


@overload
def astream(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream: ...
@overload
def astream(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: dict[str, Any] | Output,
    output_mode: OutputMode | None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream[ParsedMessage[Any]]: ...
@overload
def astream(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream[ParsedMessage[T]]: ...
@overload
def astream(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: TypeForm[T],
    output_mode: OutputMode | None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream[ParsedMessage[T]]: ...
@takes_options
def astream(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
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
    run, queue = create_run(model, context, options, keywords, output, output_mode)
    events = AsyncAssistantMessageEventStream(run, queue)
    run.begin_if_running()
    return events


# === Completion ===


@overload
def complete(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: None = None,
    **keywords: Unpack[Options],
) -> AssistantMessage: ...
@overload
def complete(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: dict[str, Any] | Output,
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[Any]: ...
@overload
def complete(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[T]: ...
@overload
def complete(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: TypeForm[T],
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[T]: ...
@takes_options
def complete(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
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
    retries = create_retries(context, output, output_retries)
    stream_kwargs: dict[str, Any] = {
        "output": retries.output,
        "output_mode": output_mode,
        **keywords,
    }
    while retries.should_retry(stream(model, retries.context, options, **stream_kwargs).result()):
        pass
    return retries.result()


@overload
async def acomplete(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: None = None,
    **keywords: Unpack[Options],
) -> AssistantMessage: ...
@overload
async def acomplete(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: dict[str, Any] | Output,
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[Any]: ...
@overload
async def acomplete(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[T]: ...
@overload
async def acomplete(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: TypeForm[T],
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    **keywords: Unpack[Options],
) -> ParsedMessage[T]: ...
@takes_options
async def acomplete(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
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
    retries = create_retries(context, output, output_retries)
    stream_kwargs: dict[str, Any] = {
        "output": retries.output,
        "output_mode": output_mode,
        **keywords,
    }
    while retries.should_retry(
        await astream(model, retries.context, options, **stream_kwargs).result()
    ):
        pass
    return retries.result()


# === With reasoning: the same verbs under the names of pi-ai ===


@takes_options
def stream_simple(
    model: ModelSpec,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream:
    """`stream` by its name in pi-ai; `reasoning=` works in both."""
    return stream(model, context, options, **keywords)


@takes_options
def astream_simple(
    model: ModelSpec,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream:
    """`astream` by its name in pi-ai; `reasoning=` works in both."""
    return astream(model, context, options, **keywords)


@takes_options
def complete_simple(
    model: ModelSpec,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessage:
    """`complete` by its name in pi-ai; `reasoning=` works in both."""
    return complete(model, context, options, **keywords)


@takes_options
async def acomplete_simple(
    model: ModelSpec,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessage:
    """`acomplete` by its name in pi-ai; `reasoning=` works in both."""
    return await acomplete(model, context, options, **keywords)


# === Without sending ===


@takes_options
def preview(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
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
    background = loops.background_loop()
    if background.is_current:
        raise RuntimeError("use apreview inside pipy-ai's own event loop")
    return asyncio.run_coroutine_threadsafe(_preview(request), background.loop).result()


@takes_options
async def apreview(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    **keywords: Unpack[Options],
) -> Preview:
    """The asynchronous twin of `preview`."""
    request = build_request(model, context, options, keywords, output, output_mode)
    return await _preview(request)


async def _preview(request: Request) -> Preview:
    preview_method = getattr(provider_for(request), "preview", None)
    if preview_method is None:
        raise ValueError(f"the provider {request.provider!r} has no preview")
    try:
        result: Preview = await preview_method(request)
    except ProviderError as failure:
        raise exception_for(failure.error) from None
    return replace(result, warnings=tuple(request.warnings))


# === One line ===


def quick(
    prompt: str,
    model: ModelSpec | None = None,
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
        max_tokens=_quick_max_tokens(model, max_tokens),
        reasoning=reasoning,
    )


async def aquick(
    prompt: str,
    model: ModelSpec | None = None,
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
        max_tokens=_quick_max_tokens(model, max_tokens),
        reasoning=reasoning,
    )


def _quick_max_tokens(model: ModelSpec, max_tokens: int | None) -> int | None:
    return 4096 if max_tokens is None and model != LOCAL_MODEL else max_tokens


def default_model() -> str:
    """The model when none is named: `PIPY_MODEL`, else what `pipy default` has chosen, else
    `anthropic/claude-sonnet-4-5` when its key is set, else the embedded `local/smollm2` when the
    `local` extra is installed.

    Raises:
        LookupError: none of these; the text says what would help.
    """
    if configured := os.environ.get("PIPY_MODEL", "").strip() or settings.get_setting(
        settings.DEFAULT_MODEL_KEY
    ):
        return configured
    route = resolve(DEFAULT_MODEL).route
    if route.credential()[0]:
        return DEFAULT_MODEL
    if importlib.util.find_spec("xllamacpp") is not None:
        return LOCAL_MODEL
    raise LookupError(
        f"No model: set {route.key_env[0]} (then {DEFAULT_MODEL} answers), choose one with  pipy "
        'default MODEL,  or install the embedded model with  pip install "pipy-ai[local]" && '
        "pipy local pull"
    )


# === How ===
