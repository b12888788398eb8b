"""`pipy batch`: a file of questions, a file of answers."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import question
from .terminal import complain, safe, write, write_json

if TYPE_CHECKING:
    from ..batch.job import Job, Tally

DESCRIPTION = (
    "Ask each row of a file (.jsonl, .csv, .tsv, .parquet) and append the answers to another, a"
    " line of JSON each. Run the same command again to go on where it stopped: nothing is asked"
    " twice. Ctrl-C finishes what is under way; once more, and it is dropped."
)


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument("input", type=Path, metavar="INPUT", help="the file of questions")
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the file of answers"
    )
    question.how(command, short=())  # -o is where the answers go
    command.add_argument(
        "-j", "--concurrency", type=int, default=16, metavar="N",
        help="the most requests at once (default: 16)",
    )  # fmt: skip
    command.add_argument(
        "--prompt-template", metavar="TEXT",
        help='what to ask, with columns in braces: "Translate: {text}"; @FILE reads it',
    )  # fmt: skip
    command.add_argument(
        "--output-schema", metavar="SCHEMA",
        help="ask for JSON: 'name, age int', a JSON Schema or its file, module:Class",
    )  # fmt: skip
    command.add_argument("--retry-errors", action="store_true", help="ask what failed again")
    command.add_argument(
        "--redo-changed", action="store_true",
        help="ask again what was answered with other settings or to another question",
    )  # fmt: skip
    command.add_argument(
        "--budget", type=float, metavar="USD",
        help="what this run may cost, in US dollars; it stops when that is spent",
    )  # fmt: skip
    command.add_argument("--dask", metavar="ADDRESS", help="let a Dask cluster's workers ask")
    command.add_argument("--json", action="store_true", help="end with a summary as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    import asyncio

    from pydantic import ValidationError

    from ..batch.answers import Answers
    from ..batch.job import Job, compare
    from ..batch.rows import Questions
    from .named import named
    from .schema import read

    source, target = arguments.input, arguments.output
    if not source.is_file():
        wrong = "it is no file" if source.exists() else "there is no such file"
        raise ValueError(f"{source}: {wrong}")
    if target.exists() and (not target.is_file() or target.samefile(source)):
        raise ValueError(f"{target}: the answers need a file of their own")
    if str(target) == "-":
        raise ValueError("-o: the answers need a file, which is also the memory of what was asked")
    if not target.absolute().parent.is_dir():
        raise ValueError(f"{target.parent}: there is no such directory")
    questions = Questions(source, _text(arguments.prompt_template), arguments.system)
    schema = None if arguments.output_schema is None else read(arguments.output_schema)
    began = time.monotonic()
    _more_connections()
    try:
        with (
            _budget(arguments.budget),
            Answers(target) as answers,
            _cluster(arguments.dask) as executor,
        ):
            job = Job(
                questions, answers, named(arguments.model) if arguments.model else question.usual(),
                question.options(arguments), schema, arguments.concurrency,
                arguments.retry_errors, arguments.redo_changed, executor,
            )  # fmt: skip
            with _watch(job) as watch:
                compare(job)
                try:
                    asyncio.run(_carry(job, watch))
                except asyncio.CancelledError:  # by the second Ctrl-C
                    job.stop()
    except ValidationError as error:
        return question.wrong(error)
    except (TypeError, LookupError) as error:
        raise ValueError(str(error)) from None
    return _end(job, time.monotonic() - began, arguments)


def _more_connections() -> None:
    """Let this process have as many files open as it may, a connection being one."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return
    kind = resource.RLIMIT_NOFILE
    most = resource.getrlimit(kind)[1]
    for limit in (most, 10_240):  # macOS says that there is none, and refuses more than that
        try:
            resource.setrlimit(kind, (limit, most))
        except (ValueError, OSError):
            continue
        return


async def _carry(job: Job, watch: Callable[[], object]) -> None:
    """Run it with Ctrl-C and SIGTERM in hand."""
    import asyncio
    from contextlib import suppress

    task = asyncio.current_task()
    assert task is not None
    asked = 0

    def stop() -> None:
        nonlocal asked
        asked += 1
        if asked > 1 or job.batch is None:
            task.cancel()
            return
        job.stop()
        count = job.batch.under_way
        complain(f"finishing {count} under way; Ctrl-C once more drops {_them(count)}")

    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError, RuntimeError, ValueError):  # on Windows, in a thread
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop)
    await job.run(watch)


def _them(count: int) -> str:
    return "it" if count == 1 else "them"


# === What it is told ===


def _text(given: str | None) -> str | None:
    if given is None or not given.startswith("@"):
        return given
    return Path(given[1:]).read_text(encoding="utf-8-sig")


def _cluster(address: str | None) -> Any:
    """A client of a Dask cluster, or nothing, as a context manager."""
    from contextlib import nullcontext

    if address is None:
        return nullcontext()
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise ValueError("--dask needs Dask: pip install 'pipy-ai[dask]'") from None
    try:
        return Client(address, timeout=10, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ValueError(f"--dask: no scheduler answers at {address} ({error})") from None


def _budget(usd: float | None) -> Any:
    """A budget, or nothing, as a context manager."""
    from contextlib import nullcontext

    from .. import budget

    return nullcontext() if usd is None else budget(usd=usd)


# === What it tells ===


def _watch(job: Job) -> Any:
    """Something to call after each answer, as a context manager: progress, on a terminal."""
    from contextlib import nullcontext

    if not sys.stderr.isatty():
        return nullcontext(lambda: None)
    return _progress(job)


class _progress:
    """A line that grows on stderr, a few times a second."""

    def __init__(self, job: Job) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._job = job
        self._began = self._shown = time.monotonic()
        self._bar = Progress(
            BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(compact=True), console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None, said="reading the input")

    def __enter__(self) -> Callable[[], None]:
        self._bar.start()
        return self._show

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def _show(self) -> None:
        now, tally = time.monotonic(), self._job.tally
        if now < self._shown + 0.2 and tally.open and tally.answered + tally.failed:
            return
        if not tally.answered + tally.failed:
            self._began = now
        self._shown = now
        done = tally.rows - tally.open
        rate = (tally.answered + tally.failed) / max(now - self._began, 0.001)
        said = [f"{rate:,.1f}/s", f"{tally.input_tokens + tally.output_tokens:,} tokens"]
        said += [_cost(tally)] if tally.cost or tally.unpriced else []
        said += [f"{tally.failed:,} failed"] if tally.failed else []
        self._bar.update(self._task, completed=done, total=tally.rows, said="  ".join(said))


def _cost(tally: Tally) -> str:
    if not tally.unpriced:
        return f"${tally.cost:.4f}"
    return f"at least ${tally.cost:.4f}" if tally.cost else "cost unknown"


def _end(job: Job, seconds: float, arguments: argparse.Namespace) -> int:
    """Say what was done, and what to do next."""
    tally = job.tally
    stopped = job.batch.stopped if job.batch is not None else None
    by_user = tally.open > 0 and (stopped is None or stopped.kind == "aborted")
    failed = tally.failed + tally.kept_errors
    if arguments.json:
        write_json(
            {
                "rows": tally.rows, "before": tally.before, "answered": tally.answered,
                "failed": failed, "open": tally.open, "errors": dict(tally.kinds),
                "input_tokens": tally.input_tokens, "output_tokens": tally.output_tokens,
                "cost": None if tally.unpriced else tally.cost, "seconds": round(seconds, 3),
                "stopped": None if stopped is None or not tally.open else stopped.message,
            }
        )  # fmt: skip
    write(f"{_summary(job, seconds)} → {arguments.output}\n", sys.stderr)
    if tally.open and stopped is not None and not by_user:
        complain(f"stopped: {safe(stopped.message)}")
    if tally.open:
        complain(f"{tally.open:,} rows are not asked yet: run the same command again to go on")
    if failed:
        complain(f"{failed:,} rows failed: add --retry-errors to ask them again")
    if by_user:
        return 130
    return 1 if failed or tally.open else 0


def _summary(job: Job, seconds: float) -> str:
    tally = job.tally
    parts = [f"{tally.rows:,} rows: {tally.answered:,} answered"]
    if tally.before:
        parts.append(f"{tally.before:,} were before")
    if tally.failed:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in tally.kinds.most_common())
        parts.append(f"{tally.failed:,} failed ({kinds})")
    parts.append(f"{tally.input_tokens:,} in / {tally.output_tokens:,} out")
    parts.append(_cost(tally))
    parts.append(f"{seconds:,.1f} s")
    return ", ".join(parts)
