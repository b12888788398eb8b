"""Many questions at once: `complete_many`, `stream_many` and their twins.

    for index, message in stream_many("openai/gpt-5-mini", prompts, concurrency=64):
        print(index, message.text)

All of them are one `Batch`, which lives in an event loop: it is fed with rows, starts as many
requests as its `Pace` allows, asks again what failed, and hands over answers as they land. The
engine's own retries are off here, so that every refusal is seen by the pace that all rows share.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
)
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from ._requests import ModelSpec, Options, takes_options
from .batch.scheduler import DEFAULT_STOP_ON, astream_rows, create_scheduler, stream_rows
from .context import Prompt
from .errors import ErrorKind
from .types import AssistantMessage

if TYPE_CHECKING:
    from .output.schema import OutputMode, ParsedMessage

T = TypeVar("T")

__all__ = ["acomplete_many", "astream_many", "complete_many", "stream_many"]


# === The verbs ===


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
    **options: Unpack[Options],
) -> list[Any]:
    """Ask many questions side by side, and wait for all answers, in the order of the questions.

    A row that fails is a message with `error`; the others go on. Ctrl-C stops all at once.

    Args:
        model: As for `complete`, or a list of them, tried one after the other.
        contexts: Prompts as `complete` takes them, from any iterable; read a little ahead.
        output: As for `complete`: the type that each answer shall have.
        output_mode: As for `complete`.
        concurrency: The most requests under way, as far as the system lets so many files be open
            (`ulimit -n`, less 64). It starts with a quarter, grows while all is well, and shrinks
            when the provider is busy: a round of refusals halves it.
        on_result: Called with the index and the message of each answer as it lands, in the
            caller's thread.
        stop_on: Kinds of error that would befall all other rows, too: after one, or after a rate
            limit that is longer than `max_retry_delay_ms`, nothing new is asked, and the rest have
            an error of kind `aborted` that says why.
        executor: A Dask `Client`: its workers ask, each with the keys of its own environment.
        **options: As for `complete`. `max_retries` counts tries of a row, also after its first
            words. While a provider refuses all rows they wait together, for two minutes at most.

    Raises:
        TypeError: as `complete`; `contexts` is one prompt instead of many.
        ValueError: as `complete`; a `concurrency` below 1, an unknown kind in `stop_on`; with an
            executor, an option that must not travel, like `api_key`.

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
    with contextlib.closing(stream_rows(scheduler, rows)) as results:
        for index, message in results:
            messages[index] = message
            if on_result is not None:
                on_result(index, message)
    row_count = scheduler.rows_fed + sum(1 for _ in rows)
    return [messages.get(index) or scheduler.skipped_message() for index in range(row_count)]


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
    **options: Unpack[Options],
) -> list[Any]:
    """The asynchronous twin of `complete_many`; `contexts` may be an asynchronous iterable.

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
    async with contextlib.aclosing(
        astream_rows(scheduler, _enumerate_contexts(contexts), read_all=True)
    ) as results:
        async for index, message in results:
            messages[index] = message
            if on_result is not None:
                on_result(index, message)
    return [
        messages.get(index) or scheduler.skipped_message() for index in range(scheduler.rows_fed)
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
) -> Generator[tuple[int, Any], None, None]:
    """Ask many questions side by side; yields `(index, message)` as the answers land.

    Arguments and errors as for `complete_many`. `contexts` may be endless: it is read in the
    caller's thread, a few rows ahead, and memory stays bounded. Leaving the loop stops what is
    under way. After an error of `stop_on` it ends early, without the rows that were not asked.

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
    return stream_rows(scheduler, enumerate(contexts))


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
) -> AsyncGenerator[tuple[int, Any], None]:
    """The asynchronous twin of `stream_many`; `contexts` may be an asynchronous iterable.

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
    return astream_rows(scheduler, _enumerate_contexts(contexts))


# === Feeding and taking ===


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


# === The engine ===


# === Setting up ===


def _check_callback(on_result: object) -> None:
    if inspect.iscoroutinefunction(on_result):
        raise TypeError("on_result is a plain function; to await something, use astream_many")


def _require_blocking_client(executor: Any) -> Any:
    if getattr(executor, "asynchronous", False):
        raise ValueError(
            "an asynchronous Client waits for the thread that would wait for it:"
            " use acomplete_many or astream_many with it"
        )
    return executor
