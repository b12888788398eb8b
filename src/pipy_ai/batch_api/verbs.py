"""Batches at half price: `submit_many`, `collect` and their async versions.

handle = submit_many("openai/gpt-5-mini", prompts, path="job.json")
answers = collect(handle)  # within a day; or in another process, after BatchHandle.load
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import os
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Generator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from .._requests import ModelSpec, takes_options
from ..context import Prompt
from ..errors import ErrorInfo, ProviderError, exception_for
from ..options import Options
from ..types import AssistantMessage, Context
from ..utils.channel import WAIT_SLICE_S
from ..utils.event_loop import background_loop
from ..utils.secrets import mask_url
from .handle import BatchHandle, BatchJob
from .jobs import DEFAULT_POLL_S
from .session import ModelSession, Submission
from .vendor import JobStatus

if TYPE_CHECKING:
    from ..output.schema import OutputMode, ParsedMessage

T = TypeVar("T")

ROWS_PER_TURN = 32  # then the event loop handles other tasks

__all__ = ["BatchHandle", "BatchJob", "acollect", "asubmit_many", "collect", "submit_many"]


@takes_options
def submit_many(
    model: ModelSpec,
    contexts: Iterable[Prompt],
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    path: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> BatchHandle:
    """Submit many requests to the provider's batch API: half price, answers within a day.

    The answers are those of `complete_many`, and `collect` returns them. The requests are written
    to files first, so memory does not grow with their number, and split into as many jobs as the
    provider's limits require.

    Args:
        model: A model, as for `complete`; without fallbacks.
        contexts: Any iterable of prompts, each as for `complete`.
        output: The type of each answer, as for `complete`; without corrections.
        output_mode: As for `complete`.
        path: A new file for the handle, which is written before anything is sent and kept up to
            date. `BatchHandle.load(path)` continues after a crash. By default there is none.
        **options: As for `complete`. Timeouts and retries do not apply.

    Returns:
        The handle of the jobs. A prompt that cannot be sent is in `handle.failures`; the others
        are submitted.

    Raises:
        PipyError: The provider has no batch API, rejects the first job, or cannot be reached; the
            key is missing; a budget does not cover the estimate at half price.
        TypeError: As `complete`; `contexts` is a single prompt.
        ValueError: As `complete`; `path` exists.
        OSError: A file cannot be written.
    """
    session = _checked_session(model, contexts, output, output_mode, options)
    with _files(path) as handle:
        submission = _run(_begin(session, handle))
        with _discarded_on_error(submission):
            for prompt in contexts:
                _add(submission, handle, prompt)
            submission.close()
        _run(_submit(session, submission, handle))
    return _with_settings(handle, session, submission, output, output_mode, options)


@takes_options
async def asubmit_many(
    model: ModelSpec,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    path: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> BatchHandle:
    """Submit many requests to the provider's batch API. The async version of `submit_many`.

    `contexts` may also be an async iterable.
    """
    session = _checked_session(model, contexts, output, output_mode, options)
    with _files(path) as handle:
        submission = await _begin(session, handle)
        with _discarded_on_error(submission):
            async for prompt in _iterate(contexts):
                _add(submission, handle, prompt)
            submission.close()
        await _submit(session, submission, handle)
    return _with_settings(handle, session, submission, output, output_mode, options)


@overload
def collect(
    handle: BatchHandle,
    *,
    output: None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> list[AssistantMessage]: ...
@overload
def collect(
    handle: BatchHandle,
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> list[ParsedMessage[T]]: ...
@overload
def collect(
    handle: BatchHandle,
    *,
    output: Any,
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> list[ParsedMessage[Any]]: ...
@takes_options
def collect(
    handle: BatchHandle,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> list[AssistantMessage] | list[ParsedMessage[Any]]:
    """Wait for the jobs of a batch and return the answers in the order of the prompts.

    A row that failed, expired or was rejected is a message with `error`. If the connection is
    lost, `collect` keeps waiting. Ctrl-C leaves the jobs running, and `collect` continues later.
    Costs are at batch rates, and `usage.service_tier` is `"batch"`.

    Args:
        handle: What `submit_many` returned, or `BatchHandle.load(path)`.
        output: As for `submit_many`. Needed only in another process.
        output_mode: As for `submit_many`. Needed only in another process.
        poll: The longest interval between status requests, in seconds. The first ones
            follow each other faster.
        **options: As for `submit_many`, and needed only in another process. `timeout` is the number
            of seconds after which to stop waiting; by default there is no limit.

    Raises:
        PipyError: The key is rejected, or the provider has no such jobs.
        TimeoutError: The jobs are still running after `timeout`.
        TypeError: As `complete`.
        ValueError: As `complete`.
        OSError: A file cannot be written.
    """
    answers: list[Any] = _run(
        acollect(handle, output=output, output_mode=output_mode, poll=poll, **options)
    )
    return answers


@overload
async def acollect(
    handle: BatchHandle,
    *,
    output: None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> list[AssistantMessage]: ...
@overload
async def acollect(
    handle: BatchHandle,
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> list[ParsedMessage[T]]: ...
@overload
async def acollect(
    handle: BatchHandle,
    *,
    output: Any,
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> list[ParsedMessage[Any]]: ...
@takes_options
async def acollect(
    handle: BatchHandle,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> list[AssistantMessage] | list[ParsedMessage[Any]]:
    """Wait for the jobs of a batch and return the answers. The async version of `collect`."""
    settings, timeout = handle.settings, options.pop("timeout", None)
    output = settings.get("output") if output is None else output
    output_mode = settings.get("output_mode") if output_mode is None else output_mode
    all_options: Any = {"api_base": handle.api_base, **settings.get("options", {}), **options}
    sessions = {
        model: ModelSession(model, output, output_mode, all_options)
        for model in {job.model for job in handle.jobs} or {settings.get("model", "faux/any")}
    }
    with _provider_errors_raised(), tempfile.TemporaryDirectory(prefix="pipy-") as directory:
        try:
            async with asyncio.timeout(timeout):
                waits = (_wait(sessions[job.model], handle, job, poll) for job in handle.jobs)
                statuses = await _gather(waits)
        except TimeoutError:
            raise TimeoutError(
                f"the batch is still running after {timeout:g} s; collect it later"
            ) from None
        if (reservation := settings.pop("reservation", None)) is not None:
            reservation.release()
        messages: list[AssistantMessage] = []
        for job, status in zip(handle.jobs, statuses, strict=True):
            path = (
                Path(directory) / "results.jsonl"
                if handle.path is None
                else handle.results_path(job)
            )
            await _collect_job(sessions[job.model], handle, job, status, path, poll, messages)
    any_session = next(iter(sessions.values()))
    answers = iter(messages)
    return [
        (
            any_session.failed_message(ErrorInfo.model_validate(handle.failures[index]))
            if index in handle.failures
            else next(answers)
        )._hand_over()
        for index in range(handle.rows)
    ]


async def _wait(
    session: ModelSession, handle: BatchHandle, job: BatchJob, poll_s: float
) -> JobStatus:
    """Wait until a job has ended; create it first if an earlier process could not."""
    runner = await session.runner(job, handle.update, poll_s)
    if job.state in ("prepared", "creating"):
        if job.error is None and handle.path is not None:
            await _create(session, handle, job)
        if job.error is not None or job.id is None:
            return JobStatus("failed", "not created")
    return await runner.wait()


async def _gather(waits: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all at once; if one fails, cancel the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait) for wait in waits]
    return [task.result() for task in tasks]


async def _collect_job(
    session: ModelSession,
    handle: BatchHandle,
    job: BatchJob,
    status: JobStatus,
    path: Path,
    poll_s: float,
    messages: list[AssistantMessage],
) -> None:
    """Append the messages of a job's rows."""
    if job.id is None:
        error = ErrorInfo.model_validate(job.error or {"message": "The job was not created."})
        messages += [session.failed_message(error) for _ in range(job.rows)]
        return
    runner = await session.runner(job, handle.update, poll_s)
    try:
        lost = await runner.download(status, path)
        charge = job.state != "collected"
        with await session.results(job, status, path, lost, charge) as results:
            for position in range(len(results)):
                if position % ROWS_PER_TURN == 0:
                    await asyncio.sleep(0)
                messages.append(await results.message(position))
    finally:
        path.unlink(missing_ok=True)
    job.state = "collected"
    handle.update()


def _checked_session(
    model: ModelSpec,
    contexts: object,
    output: Any,
    output_mode: OutputMode | None,
    options: Options,
) -> ModelSession:
    if isinstance(contexts, str | Context | Mapping) or not isinstance(
        contexts, Iterable | AsyncIterable
    ):
        raise TypeError(
            "contexts must be several prompts, such as a list of strings, not "
            f"{type(contexts).__name__}; for one prompt use complete"
        )
    return ModelSession(model, output, output_mode, options)


@contextlib.contextmanager
def _files(path: str | os.PathLike[str] | None) -> Generator[BatchHandle]:
    """Yield a new handle, whose requests are next to `path` or in a temporary directory."""
    with _provider_errors_raised():
        if path is None:
            with tempfile.TemporaryDirectory(prefix="pipy-") as directory:
                yield BatchHandle(path=os.path.join(directory, "batch.json"))
            return
        if os.path.exists(path):
            raise ValueError(
                f"{os.fspath(path)} exists: collect(BatchHandle.load(path)) continues its batch;"
                " for another batch choose another file"
            )
        yield BatchHandle(path=os.path.abspath(path))


async def _begin(session: ModelSession, handle: BatchHandle) -> Submission:
    client, vendor = await session.connect()
    api_base = session.template.options.api_base
    if api_base and mask_url(api_base) == api_base:
        handle.api_base = api_base
    return Submission(session, client, vendor, handle.requests_path)


def _add(submission: Submission, handle: BatchHandle, prompt: Prompt) -> None:
    result = submission.add(prompt)
    if isinstance(result, ErrorInfo):
        handle.failures[handle.rows] = {"kind": result.kind.value, "message": result.message}
    handle.rows += 1


@contextlib.contextmanager
def _discarded_on_error(submission: Submission) -> Generator[None]:
    try:
        yield
    except BaseException:
        submission.discard()
        raise


async def _submit(session: ModelSession, submission: Submission, handle: BatchHandle) -> None:
    """Create the jobs. If one is rejected, it and the following ones get its error."""
    handle.jobs = submission.jobs
    handle.save()
    for number, job in enumerate(handle.jobs):
        try:
            await _create(session, handle, job)
        except ProviderError as failure:
            if number == 0:
                submission.reservation.release()
                if job.state == "prepared":  # it does not exist
                    submission.discard()
                    assert handle.path is not None
                    Path(handle.path).unlink(missing_ok=True)
                raise
            error = failure.error
            for other in handle.jobs[number:]:
                other.error = {"kind": error.kind.value, "message": error.message}
            handle.save()
            return


async def _create(session: ModelSession, handle: BatchHandle, job: BatchJob) -> None:
    runner = await session.runner(job, handle.update, DEFAULT_POLL_S)
    requests = handle.requests_path(job)
    await runner.submit(requests)
    requests.unlink(missing_ok=True)


def _with_settings(
    handle: BatchHandle,
    session: ModelSession,
    submission: Submission,
    output: Any,
    output_mode: OutputMode | None,
    options: Any,
) -> BatchHandle:
    """Return the handle with what `collect` needs in this process, but not in its file."""
    handle.settings = {
        "model": session.model,
        "output": output,
        "output_mode": output_mode,
        "options": dict(options),
        "reservation": submission.reservation,
    }
    if handle.path is not None and not os.path.exists(handle.path):
        handle.path = None  # it was in a temporary directory
    return handle


@contextlib.contextmanager
def _provider_errors_raised() -> Generator[None]:
    """Raise errors of the provider as the exceptions that callers know."""
    try:
        yield
    except ProviderError as failure:
        raise exception_for(failure.error) from None
    except BaseExceptionGroup as group:  # of the waits
        failures = [error for error in group.exceptions if isinstance(error, ProviderError)]
        if not failures:
            raise
        raise exception_for(failures[0].error) from None


async def _iterate(contexts: Iterable[Prompt] | AsyncIterable[Prompt]) -> AsyncIterator[Prompt]:
    if isinstance(contexts, AsyncIterable):
        async for prompt in contexts:
            yield prompt
    else:
        for number, prompt in enumerate(contexts):
            yield prompt
            if number % ROWS_PER_TURN == 0:
                await asyncio.sleep(0)


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the background thread's loop, and wait for it."""
    background = background_loop()
    if background.is_current:
        coroutine.close()
        raise RuntimeError(
            "a blocking call inside pipy-ai's own event loop would never return: "
            "use the async version (asubmit_many, acollect) here"
        )
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    async def run() -> None:
        try:
            future.set_result(await coroutine)
        except BaseException as error:
            future.set_exception(error)

    task = background.spawn(run(), contextvars.copy_context())
    try:
        while not future.done():
            concurrent.futures.wait([future], WAIT_SLICE_S)
    except BaseException:
        task.cancel()  # Ctrl-C
        raise
    return future.result()
