"""Send many requests concurrently: `complete_many`, `stream_many` and their async versions.

    for index, message in stream_many("openai/gpt-5-mini", prompts, concurrency=64):
        print(index, message.text)

Each call runs one `BatchScheduler` (`batch/scheduler.py`), which limits concurrency and retries.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
)
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from ._requests import ModelSpec, takes_options
from .batch.row import IndexedMessage
from .batch.scheduler import DEFAULT_STOP_ON, astream_rows, create_scheduler, stream_rows
from .context import Prompt
from .errors import ErrorKind
from .options import Options
from .progress import create_progress
from .types import AssistantMessage
from .utils.construct import shrink

if TYPE_CHECKING:
    from .output.schema import OutputMode, ParsedMessage

T = TypeVar("T")

__all__ = ["acomplete_many", "astream_many", "complete_many", "stream_many"]


@overload
def complete_many(
    model: ModelSpec,
    contexts: Iterable[Prompt],
    *,
    output: None = None,
    concurrency: int = 16,
    on_result: Callable[[int, AssistantMessage], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> list[AssistantMessage]: ...
@overload
def complete_many(
    model: ModelSpec,
    contexts: Iterable[Prompt],
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, ParsedMessage[T]], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> list[ParsedMessage[T]]: ...
@overload
def complete_many(
    model: ModelSpec,
    contexts: Iterable[Prompt],
    *,
    output: Any,
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, ParsedMessage[Any]], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> list[ParsedMessage[Any]]: ...
@takes_options
def complete_many(
    model: ModelSpec,
    contexts: Iterable[Prompt],
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, Any], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> list[AssistantMessage] | list[ParsedMessage[Any]]:
    """Send many requests concurrently and return the answers in the order of the prompts.

    A request that fails is a message with `error`; the others continue. Ctrl-C cancels all of them.

    Args:
        model: A model, or a list of a model and its fallbacks, as for `complete`.
        contexts: Any iterable of prompts, each as for `complete`. It is read slightly ahead of
            the requests, from the caller's thread.
        output: The type of each answer, as for `complete`.
        output_mode: As for `complete`.
        concurrency: The maximum number of requests in flight. It is limited to the number of files
            that the process may open (`ulimit -n`) minus 64. A batch starts with a quarter of it,
            speeds up while requests succeed, and slows down when the provider refuses them: a
            round in which all are refused halves the number.
        on_result: Called with the index and the message of each answer as it arrives, in the
            caller's thread.
        stop_on: Kinds of error that would affect all other requests as well. After one of them, or
            after a rate limit longer than `max_retry_delay_ms`, no more requests are sent, and the
            remaining messages have an error of kind `aborted` with the reason.
        executor: A Dask `Client`, whose workers send the requests. Each worker uses the API keys
            of its own environment.
        progress: Whether to show the progress: answers, speed, tokens and cost, on stderr or below
            the cell of a notebook. By default only if it takes longer than half a second, stderr is
            a terminal or this is a notebook, and this is the main thread: never in a service or
            pipe.
        **options: As for `complete`. `max_retries` is the number of retries per prompt, also after
            a truncated answer. While a provider refuses all requests, the batch waits, for
            two minutes at most. With `raise_on_error=True` the first failed request cancels the
            others and raises; `on_result` has received the answers so far.

    Raises:
        PipyError: A request failed, and `raise_on_error=True` was given.
        TypeError: As `complete`; `contexts` is a single prompt.
        ValueError: As `complete`; `concurrency` is less than 1; an unknown kind in `stop_on`; with
            `executor`, an option that must not be sent to other machines, such as `api_key`.

    Example:
        >>> from pipy_ai import complete_many
        >>> [message.text for message in complete_many("faux/echo", ["One", "Two"])]
        ['One', 'Two']
    """
    scheduler = create_scheduler(
        model,
        contexts,
        concurrency,
        stop_on,
        _require_blocking_client(executor),
        output,
        output_mode,
        options,
    )
    _check_callback(on_result)
    rows = enumerate(contexts)
    messages: dict[int, AssistantMessage] = {}
    raise_on_error = options.get("raise_on_error", False)
    with (
        create_progress(progress, contexts) as shown,
        contextlib.closing(stream_rows(scheduler, rows)) as results,
    ):
        for index, message in results:
            messages[index] = _shrunk(message)._hand_over()
            shown.add(message)
            if on_result is not None:
                on_result(index, message)
            if raise_on_error:
                message.raise_for_error()
    row_count = scheduler.rows_fed + sum(1 for _ in rows)
    return [
        messages.get(index) or scheduler.skipped_message()._hand_over()
        for index in range(row_count)
    ]


@overload
async def acomplete_many(
    model: ModelSpec,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: None = None,
    concurrency: int = 16,
    on_result: Callable[[int, AssistantMessage], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> list[AssistantMessage]: ...
@overload
async def acomplete_many(
    model: ModelSpec,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, ParsedMessage[T]], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> list[ParsedMessage[T]]: ...
@overload
async def acomplete_many(
    model: ModelSpec,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: Any,
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, ParsedMessage[Any]], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> list[ParsedMessage[Any]]: ...
@takes_options
async def acomplete_many(
    model: ModelSpec,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, Any], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> list[AssistantMessage] | list[ParsedMessage[Any]]:
    """Send many requests concurrently. The async version of `complete_many`.

    `contexts` may also be an async iterable. It is read in a task of the running event loop.

    Example:
        >>> import asyncio
        >>> from pipy_ai import acomplete_many
        >>> [m.text for m in asyncio.run(acomplete_many("faux/echo", ["One", "Two"]))]
        ['One', 'Two']
    """
    scheduler = create_scheduler(
        model, contexts, concurrency, stop_on, executor, output, output_mode, options
    )
    _check_callback(on_result)
    messages: dict[int, AssistantMessage] = {}
    raise_on_error = options.get("raise_on_error", False)
    rows = astream_rows(scheduler, _enumerate_contexts(contexts), read_all=True)
    with create_progress(progress, contexts) as shown:
        async with contextlib.aclosing(rows) as results:
            async for index, message in results:
                messages[index] = _shrunk(message)._hand_over()
                shown.add(message)
                if on_result is not None:
                    on_result(index, message)
                if raise_on_error:
                    message.raise_for_error()
    return [
        messages.get(index) or scheduler.skipped_message()._hand_over()
        for index in range(scheduler.rows_fed)
    ]


@overload
def stream_many(
    model: ModelSpec,
    contexts: Iterable[Prompt],
    *,
    output: None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> Generator[tuple[int, AssistantMessage], None, None]: ...
@overload
def stream_many(
    model: ModelSpec,
    contexts: Iterable[Prompt],
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> Generator[tuple[int, ParsedMessage[T]], None, None]: ...
@overload
def stream_many(
    model: ModelSpec,
    contexts: Iterable[Prompt],
    *,
    output: Any,
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> Generator[tuple[int, ParsedMessage[Any]], None, None]: ...
@takes_options
def stream_many(
    model: ModelSpec,
    contexts: Iterable[Prompt],
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> Generator[tuple[int, AssistantMessage], None, None]:
    """Send many requests concurrently and yield `(index, message)` as answers arrive.

    `contexts` may be infinite: it is read a few prompts ahead, and memory use is bounded. Leaving
    the loop cancels the requests in flight. After an error of a kind in `stop_on` the iteration
    ends early, without the prompts that were not sent.

    Args:
        model: As for `complete_many`.
        contexts: As for `complete_many`.
        output: As for `complete_many`.
        output_mode: As for `complete_many`.
        concurrency: As for `complete_many`.
        stop_on: As for `complete_many`.
        executor: As for `complete_many`.
        **options: As for `complete_many`.

    Raises:
        TypeError: As `complete_many`.
        ValueError: As `complete_many`.

    Example:
        >>> from pipy_ai import stream_many
        >>> for index, message in stream_many("faux/echo", ["One"]):
        ...     print(index, message.text)
        0 One
    """
    scheduler = create_scheduler(
        model,
        contexts,
        concurrency,
        stop_on,
        _require_blocking_client(executor),
        output,
        output_mode,
        options,
    )
    return _hand_over(stream_rows(scheduler, enumerate(contexts)), options)


@overload
def astream_many(
    model: ModelSpec,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> AsyncGenerator[tuple[int, AssistantMessage], None]: ...
@overload
def astream_many(
    model: ModelSpec,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> AsyncGenerator[tuple[int, ParsedMessage[T]], None]: ...
@overload
def astream_many(
    model: ModelSpec,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: Any,
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> AsyncGenerator[tuple[int, ParsedMessage[Any]], None]: ...
@takes_options
def astream_many(
    model: ModelSpec,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = DEFAULT_STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> AsyncGenerator[tuple[int, AssistantMessage], None]:
    """Send many requests concurrently and yield answers. The async version of `stream_many`.

    `contexts` may also be an async iterable. It is read in a task of the running event loop.

    Example:
        >>> import asyncio
        >>> from pipy_ai import astream_many
        >>> async def main():
        ...     async for index, message in astream_many("faux/echo", ["One"]):
        ...         print(index, message.text)
        >>> asyncio.run(main())
        0 One
    """
    scheduler = create_scheduler(
        model, contexts, concurrency, stop_on, executor, output, output_mode, options
    )
    return _ahand_over(astream_rows(scheduler, _enumerate_contexts(contexts)), options)


def _shrunk(message: AssistantMessage) -> AssistantMessage:
    """Return a message that takes less memory: there may be millions."""
    for model in (message, *message.content, message.usage, message.usage.cost):
        shrink(model)
    fields = vars(message)
    for name in ("provider", "model", "response_model"):
        if type(fields.get(name)) is str:
            fields[name] = sys.intern(fields[name])
    return message


def _hand_over(
    rows: Generator[IndexedMessage, None, None], options: Options
) -> Generator[IndexedMessage, None, None]:
    raise_on_error = options.get("raise_on_error", False)
    with contextlib.closing(rows):
        for index, message in rows:
            yield index, message._hand_over(raise_on_error)


async def _ahand_over(
    rows: AsyncGenerator[IndexedMessage, None], options: Options
) -> AsyncGenerator[IndexedMessage, None]:
    raise_on_error = options.get("raise_on_error", False)
    async with contextlib.aclosing(rows):
        async for index, message in rows:
            yield index, message._hand_over(raise_on_error)


async def _enumerate_contexts(
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
) -> AsyncIterator[tuple[int, Prompt]]:
    if isinstance(contexts, AsyncIterable):
        index = 0
        async for context in contexts:
            yield index, context
            index += 1
    else:
        for row in enumerate(contexts):
            yield row


def _check_callback(on_result: object) -> None:
    if inspect.iscoroutinefunction(on_result):
        raise TypeError(
            "on_result must be a plain function, not async; to await something, use astream_many"
        )


def _require_blocking_client(executor: Any) -> Any:
    if getattr(executor, "asynchronous", False):
        raise ValueError(
            "an asynchronous Client would deadlock here: use acomplete_many or astream_many"
        )
    return executor
