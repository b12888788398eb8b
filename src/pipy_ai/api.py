"""The functions that send one request: `stream`, `complete`, `quick` and their variants.

`complete(…)` is `stream(…).result()`. The async versions run the same engine in the caller's event
loop; the others run it in pipy-ai's background thread.

A failed request is a message with `error`; with `raise_on_error=True` it raises. Wrong use (an
unknown option, an empty prompt) raises before anything is sent.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from ._requests import (
    DEFAULT_MODEL,
    LOCAL_MODEL,
    ModelSpec,
    build_request,
    create_retries,
    create_run,
    preview_request,
    quick_max_tokens,
    raises_on_error,
    takes_options,
)
from .context import Prompt, ctx, user
from .errors import ErrorKind, error_info
from .options import Options, SimpleStreamOptions, StreamOptions, ThinkingLevel
from .provider.request import Preview
from .provider.resolve import resolve
from .registry import settings
from .stream import AssistantMessageEventStream, AsyncAssistantMessageEventStream
from .types import AssistantMessage, StopReason
from .utils.event_loop import background_loop

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
    """Send a request and return a stream of its events.

    Returns immediately; the request runs in the background. Iterate the stream for the events, or
    call `result()` for the final message.

    Args:
        model: A model name such as `"anthropic/claude-sonnet-4-5"` or `"openai/gpt-5"`, any model
            name of LiteLLM, or a `Model`. In a list, the models after the first are fallbacks:
            the next one is tried if a request fails before its first content for a reason that
            may not affect another model (see docs/budgets.md).
        context: A `Context`, or a string, a message or a list of messages.
        options: Options as an object. Keyword options take precedence over its fields.
        output: The type of the answer: a Pydantic model, a dataclass, a TypedDict, `list[X]`,
            `Literal[…]`, an Enum or a JSON Schema. `event.parsed_partial` holds the value
            received so far, `result().parsed` the final value. A stream does not retry an answer
            of the wrong type; `complete` does.
        output_mode: How the type is requested: `"native"` (the provider's structured output),
            `"tool"` or `"prompt"`. By default, the best mode that the model supports according to
            the catalogue.
        **keywords: Any field of `SimpleStreamOptions`, e.g. `temperature=0`, `reasoning="high"`.
            With `raise_on_error=True` a failed request raises a `PipyError` after its last event,
            and in `result()`.

    Raises:
        TypeError: An unknown option; a `context` or `output` of the wrong type.
        ValueError: An option with an invalid value; an empty context; no model; an unknown bare
            model name, or one that several providers have (`AmbiguousModelError`).

    Example:
        >>> from pipy_ai import stream
        >>> for event in stream("faux/echo", "Write a poem."):
        ...     if event.type == "text_delta":
        ...         print(event.delta, end="")
        Write a poem.
    """
    run, queue = create_run(model, context, options, keywords, output, output_mode)
    run.begin_in_background()
    return AssistantMessageEventStream(
        run, queue, raise_on_error=raises_on_error(options, keywords)
    )


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
    """Send a request and return an async stream of its events. The async version of `stream`.

    Not a coroutine: use `async for event in astream(…)`. The request starts immediately if an
    event loop is running, otherwise when the stream is first used.

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
    events: AsyncAssistantMessageEventStream[Any] = AsyncAssistantMessageEventStream(
        run, queue, raise_on_error=raises_on_error(options, keywords)
    )
    run.begin_if_running()
    return events


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
) -> AssistantMessage | ParsedMessage[Any]:
    """Send a request and return the final message.

    Args:
        model: As for `stream`.
        context: As for `stream`.
        options: As for `stream`.
        output: As for `stream`. The value is in `message.parsed`.
        output_mode: As for `stream`.
        output_retries: How often an answer that does not match `output` is sent back to the model
            with the validation errors. The usage of all attempts is added up. If the last one
            does not match either, `message.error.kind` is `"invalid_output"`.
        **keywords: As for `stream`. `timeout` (seconds) and the other options apply to each
            attempt.

    Raises:
        PipyError: The request failed, and `raise_on_error=True` was given.
        TypeError: As `stream`.
        ValueError: As `stream`.

    Example:
        >>> from pipy_ai import complete, ctx, user
        >>> result = complete("faux/echo", ctx(user("Hello!"), system="You are helpful."))
        >>> result.text
        'Hello!'
    """
    if output is None:
        return stream(model, context, options, **keywords)._without_events().result()
    retries = create_retries(context, output, output_retries)
    stream_kwargs: dict[str, Any] = {
        "output": retries.output,
        "output_mode": output_mode,
        **keywords,
        "raise_on_error": False,  # only after the last retry
    }
    while retries.should_retry(
        stream(model, retries.context, options, **stream_kwargs)._without_events().result()
    ):
        pass
    return retries.result()._hand_over(raises_on_error(options, keywords))


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
) -> AssistantMessage | ParsedMessage[Any]:
    """Send a request and return the final message. The async version of `complete`.

    Example:
        >>> import asyncio
        >>> from pipy_ai import acomplete
        >>> asyncio.run(acomplete("faux/echo", "Hello!")).text
        'Hello!'
    """
    if output is None:
        return await astream(model, context, options, **keywords)._without_events().result()
    retries = create_retries(context, output, output_retries)
    stream_kwargs: dict[str, Any] = {
        "output": retries.output,
        "output_mode": output_mode,
        **keywords,
        "raise_on_error": False,  # only after the last retry
    }
    while retries.should_retry(
        await astream(model, retries.context, options, **stream_kwargs)._without_events().result()
    ):
        pass
    return retries.result()._hand_over(raises_on_error(options, keywords))


@takes_options
def stream_simple(
    model: ModelSpec,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessageEventStream:
    """`stream` under the name it has in pi-ai. Both accept `reasoning=`."""
    return stream(model, context, options, **keywords)


@takes_options
def astream_simple(
    model: ModelSpec,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AsyncAssistantMessageEventStream:
    """`astream` under the name it has in pi-ai. Both accept `reasoning=`."""
    return astream(model, context, options, **keywords)


@takes_options
def complete_simple(
    model: ModelSpec,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessage:
    """`complete` under the name it has in pi-ai. Both accept `reasoning=`."""
    return complete(model, context, options, **keywords)


@takes_options
async def acomplete_simple(
    model: ModelSpec,
    context: Prompt,
    options: SimpleStreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AssistantMessage:
    """`acomplete` under the name it has in pi-ai. Both accept `reasoning=`."""
    return await acomplete(model, context, options, **keywords)


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
    """Return the request that `stream` would send for the same arguments, without sending it.

    API keys are masked, and none is needed. `warnings` lists the options that were clamped,
    ignored or replaced. For a list of models, the request is the one to the first.

    Args:
        model: As for `stream`.
        context: As for `stream`.
        options: As for `stream`.
        output: As for `stream`.
        output_mode: As for `stream`.
        **keywords: As for `stream`.

    Raises:
        TypeError: As `stream`.
        ValueError: As `stream`; the provider does not support previews.
        PipyError: The context cannot be expressed in the provider's API.

    Example:
        >>> from pipy_ai import preview
        >>> shown = preview("local/smollm2", "Hi", max_tokens=5)
        >>> shown.body["messages"], shown.body["max_tokens"]
        ([{'role': 'user', 'content': 'Hi'}], 5)
    """
    request = build_request(model, context, options, keywords, output, output_mode)
    background = background_loop()
    if background.is_current:
        raise RuntimeError("use apreview inside pipy-ai's own event loop")
    return asyncio.run_coroutine_threadsafe(preview_request(request), background.loop).result()


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
    """Return the request that `astream` would send. The async version of `preview`."""
    request = build_request(model, context, options, keywords, output, output_mode)
    return await preview_request(request)


def quick(
    prompt: str,
    model: ModelSpec | None = None,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    reasoning: ThinkingLevel | None = None,
    raise_on_error: bool = False,
) -> AssistantMessage:
    """Send one prompt and return the answer.

    Args:
        prompt: The text of the user's message.
        model: As for `stream`; by default the one that `default_model()` returns.
        system: The system prompt.
        temperature: The sampling temperature.
        max_tokens: The maximum number of tokens of the answer. By default 4,096; for the embedded
            model its own limit.
        reasoning: How much the model should think, e.g. `"low"` or `"high"`.
        raise_on_error: Whether a failed request raises instead of returning a message with `error`.

    Raises:
        PipyError: The request failed, and `raise_on_error` is true. Without `model` and without a
            default model, this is a `MissingKeyError`.
        TypeError: As `stream`.
        ValueError: As `stream`.

    Example:
        >>> from pipy_ai import quick
        >>> quick("What is 2+2?", "faux/echo").text
        'What is 2+2?'
    """
    try:
        model = model or default_model()
    except LookupError as error:
        return _no_model_message(error)._hand_over(raise_on_error)
    return complete(
        model,
        ctx(prompt, system=system),
        temperature=temperature,
        max_tokens=quick_max_tokens(model, max_tokens),
        reasoning=reasoning,
        raise_on_error=raise_on_error,
    )


async def aquick(
    prompt: str,
    model: ModelSpec | None = None,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    reasoning: ThinkingLevel | None = None,
    raise_on_error: bool = False,
) -> AssistantMessage:
    """Send one prompt and return the answer. The async version of `quick`."""
    try:
        model = model or default_model()
    except LookupError as error:
        return _no_model_message(error)._hand_over(raise_on_error)
    return await acomplete(
        model,
        ctx(prompt, system=system),
        temperature=temperature,
        max_tokens=quick_max_tokens(model, max_tokens),
        reasoning=reasoning,
        raise_on_error=raise_on_error,
    )


def _no_model_message(error: LookupError) -> AssistantMessage:
    info = error_info(ErrorKind.MISSING_KEY, str(error))
    return AssistantMessage(stop_reason=StopReason.ERROR, error=info, error_message=info.message)


def default_model() -> str:
    """Return the model that `quick` and the command line use if none is given.

    The first of: the environment variable `PIPY_MODEL`, the model chosen with `pipy default`, a
    model of a provider whose API key is set (`anthropic/claude-sonnet-4-5`, else one of OpenAI,
    Google, Mistral, DeepSeek, xAI, Groq, Cerebras, OpenRouter, else of any other), and the embedded
    `local/smollm2` if the `local` extra is installed.

    Raises:
        LookupError: None of these is available. The message lists what to do.
    """
    if configured := os.environ.get("PIPY_MODEL", "").strip() or settings.get_setting(
        settings.DEFAULT_MODEL_KEY
    ):
        return configured
    if resolve(DEFAULT_MODEL).route.credential()[0]:  # the usual case, without a search
        return DEFAULT_MODEL
    from .registry.default import model_with_key

    if name := model_with_key()[0]:
        return name
    from .utils.extras import has_extra, install_command

    if has_extra("local"):
        return LOCAL_MODEL
    raise LookupError(
        "No model: set the API key of a provider, such as ANTHROPIC_API_KEY or OPENAI_API_KEY"
        " (`pipy providers` lists them), store one with `pipy keys set PROVIDER`, choose a model"
        " with `pipy default MODEL`, or install the embedded one:"
        f" `{install_command('local')} && pipy local pull`"
    )
