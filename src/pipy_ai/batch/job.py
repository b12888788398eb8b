"""A batch of a file: reads, compares with what is there, asks what is missing, writes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_jsonable_python

from ..context import Prompt
from ..errors import ErrorInfo, ErrorKind, error_info
from ..many import STOP_ON, Batch, astream_rows, make_batch
from ..output import Output
from ..types import AssistantMessage
from .answers import FAILED, OPEN, Answers, Line
from .rows import InputError, Question, Questions, digest

STOPPED = "Stopped by the user."
SYNC = 1.0  # seconds after which the disk is asked to keep what landed
_SETTINGS = ("temperature", "max_tokens", "reasoning", "top_p", "seed", "stop", "extra")


@dataclass(slots=True)
class Tally:
    """What a run has done so far. `cost` is in dollars, of the answers whose price is known."""

    rows: int = 0  # of the input
    before: int = 0  # of them answered by earlier runs
    kept_errors: int = 0  # and failed in them, and not tried again
    answered: int = 0
    failed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0
    stopped: ErrorInfo | None = None

    @property
    def open(self) -> int:
        """Rows without an answer."""
        return self.rows - self.before - self.kept_errors - self.answered - self.failed

    def take(self, message: AssistantMessage) -> None:
        """Count an answer."""
        if message.error is None:
            self.answered += 1
        else:
            self.failed += 1
            self.kinds[message.error.kind] += 1

    def pay(self, message: AssistantMessage) -> None:
        """Count what an answer cost, also that of a row which is left open."""
        usage = message.usage
        self.input_tokens += usage.input + usage.cache_read + usage.cache_write
        self.output_tokens += usage.output
        if usage.cost.total is None:
            self.unpriced += bool(usage.total_tokens)
        else:
            self.cost += usage.cost.total


@dataclass(slots=True)
class Job:
    """What to ask of whom, and how. `output` is the type of each answer."""

    questions: Questions
    answers: Answers
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    output: Any = None
    concurrency: int = 16
    retry_errors: bool = False
    redo_changed: bool = False
    executor: Any = None
    tally: Tally = field(default_factory=Tally)
    batch: Batch | None = None

    def stop(self) -> None:
        """Ask nothing new; what is under way is finished and written."""
        if self.batch is not None:
            self.batch.stop(error_info(ErrorKind.ABORTED, STOPPED))

    async def run(self, watch: Callable[[], object] = lambda: None) -> Tally:
        """Ask what `compare` has found open. `watch` is called after each answer.

        Raises:
            TypeError, ValueError: wrong use, told before anything is asked.
            OSError: the answers cannot be written.
        """
        tally = self.tally
        settings = _settings(self)
        options: Any = self.options
        self.batch = batch = make_batch(
            self.model, (), self.concurrency, STOP_ON, self.executor, self.output, None, options
        )
        pending: dict[int, Question] = {}
        loop = asyncio.get_running_loop()
        synced = loop.time()
        watch()
        async with aclosing(astream_rows(batch, _open_rows(self, pending))) as landed:
            async for place, message in landed:
                question = pending.pop(place)
                tally.pay(message)
                if _says_nothing_of_the_row(message.error, batch):
                    continue
                tally.take(message)
                self.answers.append(place, _record(question, message, settings))
                watch()
                if loop.time() > synced + SYNC:
                    await asyncio.to_thread(self.answers.sync)
                    synced = loop.time()
        tally.stopped = batch.stopped
        if self.answers.complete:
            self.answers.put_in_order()
        return tally


def _says_nothing_of_the_row(error: ErrorInfo | None, batch: Batch) -> bool:
    """Whether a row is left open: what failed would have failed for any, or may yet succeed."""
    if error is None or batch.stopped is None:
        return False
    return error.retryable or error.kind in STOP_ON or error.kind is ErrorKind.ABORTED


async def _open_rows(job: Job, pending: dict[int, Question]) -> AsyncIterator[tuple[int, Prompt]]:
    state = job.answers.state
    for question in job.questions:
        if question.place == len(state):  # the input has grown meanwhile; that is for another run
            return
        if state[question.place] == OPEN:
            pending[question.place] = question
            yield question.place, question.prompt


# === What is there already ===


def compare(job: Job) -> None:
    """Read the whole input once: tell what is wrong with it, and find what is to be asked.

    Raises:
        InputError: an id stands twice, or was answered to another question or with other settings.
    """
    known = job.answers.lines()
    settings = _settings(job)
    seen: dict[int, int] = {}
    changed: list[tuple[Question, Line]] = []
    count = 0
    for question in job.questions:
        first = seen.setdefault(question.id_digest, question.place)
        if first != question.place:
            raise InputError(
                f"{job.questions.path}: the id {question.id!r} stands in rows"
                f" {first + 1} and {question.place + 1}; each row needs its own"
            )
        line = known.pop(question.id_digest, None)
        again = line is not None and line.failed and job.retry_errors
        if line is not None and line.mark != _mark(settings, question):
            again = True
            count += 1
            if len(changed) < 1:
                changed.append((question, line))
        job.answers.add_row(line, again)
    if changed and not job.redo_changed:
        raise InputError(_say_changed(count, *changed[0], settings, job))
    job.answers.add_strangers(iter(known.values()))
    tally, state = job.tally, job.answers.state
    tally.rows = len(state)
    tally.kept_errors = state.count(FAILED)
    tally.before = tally.rows - tally.kept_errors - state.count(OPEN)


def _say_changed(count: int, question: Question, line: Line, settings: str, job: Job) -> str:
    other = "with another model or other settings"
    if line.mark.partition("-")[0] == settings:
        other = "to another question"
    which = f"row {question.place + 1} (id {question.id!r})"
    more = f" and {count - 1:,} more" if count > 1 else ""
    return (
        f"{job.answers.path}: {which}{more} was answered before {other}; choose another file"
        " for the answers, or ask anew what has changed with --redo-changed"
    )


def _settings(job: Job) -> str:
    """What tells the settings of a run from others."""
    chosen = {name: value for name, value in job.options.items() if value is not None}
    parts = {name: str(chosen[name]) for name in _SETTINGS if name in chosen}
    schema = None if job.output is None else Output.of(job.output).schema
    said = [job.model, job.questions.system, schema, parts]
    return f"{digest(said):016x}"


def _mark(settings: str, question: Question) -> str:
    return f"{settings}-{question.digest:016x}"


# === What is written ===


def _record(question: Question, message: AssistantMessage, settings: str) -> dict[str, Any]:
    """The line of an answer."""
    usage, error = message.usage, message.error
    counts = {"input": usage.input, "output": usage.output}
    for name in ("cache_read", "cache_write", "reasoning"):
        if count := getattr(usage, name):
            counts[name] = count
    record: dict[str, Any] = {"id": question.id, "text": message.text}
    parsed = getattr(message, "_value", None)
    if parsed is not None:
        record["parsed"] = to_jsonable_python(parsed[0])
    if message.tool_calls:
        record["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": call.arguments}
            for call in message.tool_calls
        ]
    record |= {
        "error": None if error is None else {"kind": error.kind.value, "message": error.message},
        "stop_reason": None if message.stop_reason is None else message.stop_reason.value,
        "model": f"{message.provider}/{message.model}" if message.provider else message.model,
        "usage": {**counts, "estimated": True} if usage.estimated else counts,
        "cost": usage.cost.total,
        "fingerprint": _mark(settings, question),
    }
    return record
