"""`pipy batch`: send each row of a file and append the answers to another file."""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...utils.text import format_count
from ..args.common import add_quiet_option, parse_count, parse_number
from ..args.prompt import add_model_options, default_model, model_options, report_invalid_option
from ..display.notices import show_demo_notice
from ..display.status import hide_status
from ..display.terminal import (
    escape_controls,
    format_error,
    is_dumb,
    is_quiet,
    warn,
    wrap,
    write_json,
    write_stderr,
)
from ..signals import STOP_SIGNALS

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from ...batch.api_job import ApiJob
    from ...batch.estimate import ModelEstimate
    from ...batch.input import InputFile
    from ...batch.job import BatchProgress, Job
    from ...batch.results import ResultsFile

DESCRIPTION = (
    "Send a prompt for each row of a file (.jsonl, .csv, .tsv, .parquet, or requests of OpenAI's"
    " Batch API) and append the results to another file. Run the same command again to resume:"
    " answered rows are not sent again. Ctrl-C finishes the requests in progress;"
    " a second Ctrl-C cancels them."
)
EXAMPLES = """\
pipy batch in.jsonl -o out.jsonl -m openai/gpt-5-mini --estimate
pipy batch in.jsonl -o out.jsonl -m openai/gpt-5-mini --batch-api
pipy batch mails.csv -o topics.csv --prompt-template "Topic of: {body}"
pipy batch in.jsonl -o out.jsonl -m openai/gpt-5-mini --budget 5 -j 64
pipy batch in.jsonl -o out.jsonl -m openai/gpt-5-mini --retry-errors
"""
GUIDE = "batches.md"
WAITS = "starting"
MAX_WARNINGS = 10  # shown at the end
# Suffixes that other programs would read as another format than the one of the answers.
OTHER_FORMATS = (
    ".csv", ".tsv", ".tab", ".json", ".parquet", ".arrow", ".feather", ".xls", ".xlsx", ".ods",
    ".xml", ".html", ".yaml", ".yml", ".md", ".pdf", ".gz", ".zip", ".zst", ".db", ".sqlite",
)  # fmt: skip


ADVICE = {  # what usually helps, by kind of error
    "auth": "check the API key with pipy doctor",
    "missing_key": "store the API key with pipy keys set PROVIDER, or install what is missing",
    "not_found": "check the name of the model with pipy models --search WORD",
    "bad_request": "correct these rows, or leave out the option that was rejected",
    "context_overflow": "shorten these rows, or use a model with a larger context window",
    "rate_limit": "use a lower -j, or try again later",
    "quota": "add credit at the provider, then try again",
    "overloaded": "try again later",
    "server": "try again later",
    "timeout": "allow more time with --option timeout=SECONDS, or use a lower -j",
    "connection": "check the network and --api-base, then try again",
    "incomplete": "try again",
    "content_filter": "rephrase these rows, or use another model",
    "invalid_output": "simplify --output-schema, or use a larger model",
    "budget": "raise --budget",
}
_AGAIN = "send them again with --retry-errors, or at once and at full price with --finish-now"
BATCH_ADVICE = {"timeout": _AGAIN, "aborted": _AGAIN, "incomplete": _AGAIN}
_MAY_BE_SECRET = re.compile(r"headers?\.|api.?key|secret|password|://[^/\s]*@", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="the input file")
    model_group = parser.add_argument_group("model")
    add_model_options(model_group, option_flags=())  # here -o is the output file
    rows_group = parser.add_argument_group("prompts and answers")
    rows_group.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="the output file: .jsonl, or .csv if the input is .csv",
    )  # fmt: skip
    rows_group.add_argument(
        "--prompt-template", metavar="TEXT",
        help='prompt with columns in braces, "Translate: {text}", or @FILE to read it from a file',
    )  # fmt: skip
    rows_group.add_argument(
        "--output-schema", metavar="SCHEMA",
        help="return JSON of this schema: 'name, age int', JSON Schema or its file, module:Class",
    )  # fmt: skip
    which_group = parser.add_argument_group("which rows to send")
    which_group.add_argument(
        "--limit", type=parse_count, metavar="N", help="process only the first N rows"
    )
    which_group.add_argument("--retry-errors", action="store_true", help="resend failed rows")
    which_group.add_argument(
        "--redo-changed", action="store_true",
        help="resend rows whose prompt, model or settings have changed",
    )  # fmt: skip
    run_group = parser.add_argument_group("speed and cost")
    run_group.add_argument(
        "--estimate", action="store_true", help="estimate tokens and cost; send nothing"
    )
    run_group.add_argument(
        "--count-tokens", action="store_true",
        help="for --estimate, have the provider count the tokens of up to 400 rows",
    )  # fmt: skip
    run_group.add_argument(
        "--budget", type=parse_number, metavar="USD",
        help="stop when this run has cost this many US dollars",
    )  # fmt: skip
    run_group.add_argument(
        "-j", "--concurrency", type=parse_count, default=16, metavar="N",
        help="maximum number of concurrent requests (default: 16)",
    )  # fmt: skip
    run_group.add_argument(
        "--dask", metavar="ADDRESS", help="send the requests from the workers of a Dask cluster"
    )
    api_group = parser.add_argument_group("half price")
    api_group.add_argument(
        "--batch-api", action="store_true",
        help="use the provider's batch API: half price, answers within a day",
    )  # fmt: skip
    api_group.add_argument(
        "--status", action="store_true", help="show the provider's batches for -o FILE"
    )
    api_group.add_argument(
        "--cancel", action="store_true", help="cancel the provider's batches for -o FILE"
    )
    api_group.add_argument(
        "--finish-now", action="store_true",
        help="stop the batches, then send the rows without an answer at full price",
    )  # fmt: skip
    api_group.add_argument(
        "--poll", type=parse_number, default=300.0, metavar="SECONDS",
        help="longest interval between status requests (default: 300)",
    )  # fmt: skip
    report_group = parser.add_argument_group("report")
    report_group.add_argument(
        "--json", action="store_true", help="print a summary as JSON at the end"
    )
    add_quiet_option(report_group)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    import asyncio
    from functools import cache

    from pydantic import ValidationError

    from ...batch.input import InputFile
    from ...batch.job import Job, find_open_rows
    from ..args.model import resolve_model
    from ..args.schema import parse_schema

    _check_batch_options(arguments)
    _check_paths(arguments.input, arguments.output, arguments.estimate)
    template = _read_template(arguments.prompt_template)
    questions = InputFile(arguments.input, template, arguments.system, arguments.limit)
    schema = None if arguments.output_schema is None else parse_schema(arguments.output_schema)
    if arguments.status or arguments.cancel:
        return _control_jobs(arguments, questions, schema)
    started = time.monotonic()
    signals: list[int] = []  # that were received
    _raise_file_limit()
    try:
        with (
            _budget_or_null(arguments.budget),
            _results_file(arguments) as answers,
            _dask_client(None if arguments.estimate else arguments.dask) as executor,
        ):
            row_model = "" if arguments.model else _first_row_model(questions)
            if arguments.model or row_model:
                model = resolve_model(arguments.model or row_model)
            else:
                model = default_model()
            job = Job(
                questions, answers, model, model_options(arguments), schema, arguments.concurrency,
                arguments.retry_errors, arguments.redo_changed, executor,
                None if arguments.model else cache(resolve_model),
            )  # fmt: skip
            if arguments.estimate:
                find_open_rows(job)
                return _print_estimate(job, arguments.json, arguments.count_tokens)
            if arguments.batch_api or arguments.finish_now:
                exit_code = _run_through_api(job, arguments, signals)
                if exit_code is not None:
                    return exit_code
            else:
                _check_no_running_jobs(job)
            with _progress_reporter(job) as on_progress:

                def on_answer() -> None:
                    show_demo_notice(model)
                    on_progress()

                if not arguments.batch_api:
                    if not arguments.finish_now:
                        find_open_rows(job)
                    on_progress()
                    try:
                        asyncio.run(_run_job(job, on_answer, signals))
                    except asyncio.CancelledError:  # the second Ctrl-C
                        job.stop()
            if _is_csv(arguments.output):
                from ...batch.csv_output import write_csv

                write_csv(arguments.output, questions, answers)
    except ValidationError as error:
        return report_invalid_option(error)
    except (TypeError, LookupError) as error:
        raise ValueError(str(error)) from None
    exit_code = _report(job, time.monotonic() - started, arguments)
    return 128 + signals[0] if signals and exit_code == 130 else exit_code


def _check_batch_options(arguments: argparse.Namespace) -> None:
    """Raise `ValueError` for options that do not go together."""
    if arguments.finish_now:
        arguments.batch_api = False
    if arguments.dask and (arguments.batch_api or arguments.finish_now):
        raise ValueError("--dask sends requests at once; leave it out with --batch-api")
    if arguments.count_tokens and not arguments.estimate:
        raise ValueError("--count-tokens makes --estimate more accurate; add --estimate")
    if not arguments.poll > 0:
        raise ValueError(f"--poll must be greater than 0, not {arguments.poll:g}")


def _check_no_running_jobs(job: Job) -> None:
    """Raise `ValueError` if a provider is answering rows already: they would be paid for twice."""
    from ...batch.api_job import ApiJob

    if running := ApiJob(job).running:
        names = ", ".join(one.id or one.key for one in running)
        raise ValueError(
            f"{job.results.path}: a batch at the provider has rows of this file ({names}); add"
            " --batch-api to wait for it, or --finish-now to stop it and send the rest at once"
        )


def _control_jobs(arguments: argparse.Namespace, questions: InputFile, schema: Any) -> int:
    """Show or stop the jobs of an output file, perhaps while another run waits for them."""
    import asyncio

    from ...batch.api_job import ApiJob
    from ...batch.csv_output import results_path
    from ...batch.job import Job
    from ...batch.results import ResultsFile
    from ...errors import ProviderError

    path: Path = arguments.output
    results = ResultsFile(results_path(path) if _is_csv(path) else path)
    job = Job(questions, results, "", model_options(arguments), schema)
    api_job = ApiJob(job, arguments.poll, read_only=True)
    running = api_job.running
    try:
        if arguments.cancel:
            asyncio.run(api_job.cancel())
        else:
            asyncio.run(_print_status(api_job, arguments.json))
    except ProviderError as failure:
        warn(escape_controls(failure.error.message))
        return 1
    if not running:
        warn(f"{arguments.output}: no batch was sent to a provider")
    elif arguments.cancel:
        warn(f"cancelling {format_count(len(running), 'batch', 'batches')}")
        _print_resume_command("rows that were answered are kept; to fetch them")
    return 0


async def _print_status(api_job: ApiJob, json_output: bool) -> None:
    from ..display.batch_jobs import job_fields
    from ..display.table import print_table

    jobs = [job_fields(job, status) async for job, status in api_job.poll()]
    if json_output:
        write_json({"jobs": jobs})
    elif jobs:
        header = ["id", "model", "status", "done", "rows"]
        rows = [
            [
                job["id"] or "-", job["model"], job["status"], f"{job['completed']:,}",
                f"{job['rows']:,}",
            ]
            for job in jobs
        ]  # fmt: skip
        print_table(header, rows, {"done", "rows"})


def _run_through_api(job: Job, arguments: argparse.Namespace, signals: list[int]) -> int | None:
    """Send the open rows through batch APIs, and wait; with --finish-now, only end their jobs.

    Return the exit code if the report must not follow.
    """
    import asyncio

    from ...batch.api_job import ApiJob
    from ...errors import ProviderError
    from ..display.batch_jobs import JobReporter

    reporter = JobReporter()
    api_job = ApiJob(job, arguments.poll, reporter.status)

    async def drive() -> None:
        task = asyncio.current_task()
        assert task is not None

        def on_signal(number: int) -> None:
            signals.append(number)
            task.cancel()

        with _signals_handled_by(on_signal, asyncio.get_running_loop()):
            if arguments.finish_now:
                await _end_jobs(api_job)
            else:
                await api_job.run(lambda: _announce(job), reporter.submitted)

    try:
        asyncio.run(drive())
    except asyncio.CancelledError:
        if not api_job.running:
            warn("stopped; nothing was sent")
        _print_resume_command("the batch keeps running; to fetch the answers")
        return 128 + (signals[0] if signals else 2)
    except ProviderError as failure:
        warn(escape_controls(failure.error.message))
        if api_job.running:
            _print_resume_command("a batch was sent; to fetch its answers")
        return 1
    return None


def _announce(job: Job) -> None:
    """Print what the rows that will be sent cost, at once and through the batch API."""
    if is_quiet():
        return
    from ...batch.estimate import estimate_job
    from ..display.batch_jobs import estimate_text

    if text := estimate_text(estimate_job(job)):
        warn(f"estimated cost: {text}")


async def _end_jobs(api_job: ApiJob) -> None:
    """Stop the jobs at providers, and add the answers that they gave to the results."""
    from ...batch.api_job import UNFINISHED_KINDS

    await api_job.cancel()
    await api_job.collect()
    api_job.job.retry_kinds = UNFINISHED_KINDS
    await api_job.compare()


def _print_resume_command(text: str) -> None:
    command = _next_command(retry=False, through_api=True)
    command = command or "the same command again, with --batch-api"
    write_stderr(escape_controls(f"pipy: {text}: {command}\n"))  # one line, to be copied


def _first_row_model(questions: InputFile) -> str:
    """Return the model that the first row names itself, or ""."""
    first_row = next(iter(questions), None)
    return (first_row.request.model or "") if first_row is not None else ""


def _check_paths(input_path: Path, output_path: Path | None, estimate: bool) -> None:
    """Raise `ValueError` unless the input can be read and the output is another file."""
    if str(input_path) == "-" and not input_path.exists():
        raise ValueError("-: pipy batch reads its input more than once, so stdin cannot be used")
    if not input_path.is_file():
        problem = "not a file" if input_path.exists() else "no such file"
        raise ValueError(f"{input_path}: {problem}")
    if output_path is None:
        if estimate:
            return
        raise ValueError("-o FILE is required: the output file, such as answers.jsonl")
    if output_path.exists() and output_path.samefile(input_path):
        raise ValueError(f"-o {output_path}: this is the input; choose another file")
    if output_path.exists() and not output_path.is_file():
        raise ValueError(f"-o {output_path}: not a regular file; choose another one")
    if str(output_path) == "-":
        raise ValueError("-o: the output must be a file, because it records which rows are done")
    if _is_csv(output_path) and _is_csv(input_path):
        from ...batch.csv_output import results_path

        if output_path.exists() and not results_path(output_path).exists():
            raise ValueError(
                f"-o {output_path}: the file is not from pipy batch; choose another file"
            )
    elif output_path.suffix.lower() in OTHER_FORMATS:
        name = f"{output_path.name.partition('.')[0]}.jsonl"
        raise ValueError(f"-o {output_path}: the output is JSON Lines; name the file {name}")
    if not output_path.absolute().parent.is_dir():
        raise ValueError(f"{output_path.parent}: no such directory")


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv")


@contextlib.contextmanager
def _results_file(arguments: argparse.Namespace) -> Generator[ResultsFile, None, None]:
    """Open the file of results; for an estimate without one, an empty one that is removed."""
    from ...batch.csv_output import results_path
    from ...batch.results import ResultsFile

    path: Any = arguments.output
    if path is not None and _is_csv(path):
        path = results_path(path)
    if arguments.estimate and (path is None or not path.exists()):
        import tempfile

        with (
            tempfile.TemporaryDirectory() as directory,
            ResultsFile(Path(directory) / "none.jsonl") as results,
        ):
            yield results
        return
    assert path is not None  # `_check_paths` has refused it
    with ResultsFile(path) as results:
        yield results


def _print_estimate(job: Job, json_output: bool, count_tokens: bool) -> int:
    """Print what the open rows would take."""
    from ... import PipyError
    from ...batch.estimate import estimate_job, total_of
    from ..display.table import print_table
    from ..display.usage import format_cost

    try:
        estimates = estimate_job(job, count_tokens)
    except PipyError as error:  # the provider did not count
        warn(escape_controls(str(error)))
        return 1
    answered = job.progress.previously_answered + job.progress.kept_errors
    rows = sum(estimate.rows for estimate in estimates)
    if json_output:
        write_json(
            {
                "rows": rows,
                "before": answered,
                "input_tokens": sum(estimate.input_tokens for estimate in estimates),
                "output_tokens": total_of(estimate.output_tokens for estimate in estimates),
                "input_cost": total_of(estimate.input_cost for estimate in estimates),
                "cost": total_of(estimate.cost for estimate in estimates),
                "batch_cost": total_of(estimate.batch_cost for estimate in estimates),
                "models": [vars(estimate) for estimate in estimates],
            }
        )
        return 0

    def cells(name: str, estimates: list[ModelEstimate]) -> list[str]:
        output = total_of(estimate.output_tokens for estimate in estimates)
        input_cost = total_of(estimate.input_cost for estimate in estimates)
        cost = total_of(estimate.cost for estimate in estimates)
        return [
            name,
            f"{sum(estimate.rows for estimate in estimates):,}",
            f"{sum(estimate.input_tokens for estimate in estimates):,}",
            "unknown" if output is None else f"{output:,}",
            "unknown" if input_cost is None else format_cost(input_cost),
            "unknown" if cost is None else format_cost(cost),
        ]

    header = ["model", "rows", "in", "out", "input cost", "cost"]
    from ..display.batch_jobs import estimate_text

    body = [cells(estimate.model, [estimate]) for estimate in estimates]
    if len(body) != 1:
        body.append(cells("total", estimates))
    print_table(header, body, {*header[1:]}, drop=["input cost", "rows", "in", "out"])
    before = f" ({format_count(answered, 'row')} already done)" if answered else ""
    basis = f"{_input_basis(estimates, count_tokens)} {_output_basis(job, estimates)}"
    sent = "nothing was generated" if count_tokens else "nothing was sent"
    text = f"This is an estimate; {sent}{before}. {basis}\n"
    write_stderr(wrap(escape_controls(text), sys.stderr))
    if both := estimate_text(estimates):
        write_stderr(wrap(f"With --batch-api at half price: {both}.\n", sys.stderr))
    return 0


def _input_basis(estimates: list[ModelEstimate], count_tokens: bool) -> str:
    """Return where the numbers of input tokens come from."""
    counted = sum(estimate.counted_rows for estimate in estimates)
    answered = sum(estimate.answered_rows for estimate in estimates if not estimate.counted_rows)
    known = [f"{format_count(counted, 'row')} that the provider counted"] if counted else []
    known += [f"{format_count(answered, 'answered row')}"] if answered else []
    uncounted = [estimate.model for estimate in estimates if estimate.margin is None]
    advice = "" if count_tokens else "; --count-tokens is more accurate"
    if not known:
        names = f" of {', '.join(uncounted)}" if count_tokens else ""
        return f"The input tokens{names} are estimated from the size of the text{advice}."
    margin = max(estimate.margin or 0.0 for estimate in estimates)
    text = f"The input tokens are extrapolated from {' and '.join(known)} (±{margin:.1%})"
    if uncounted:
        text += f", those of {', '.join(uncounted)} from the size of the text"
    return f"{text}."


def _output_basis(job: Job, estimates: list[ModelEstimate]) -> str:
    if any(estimate.output_tokens is None for estimate in estimates):
        return "The length of the answers is unknown; --max-tokens N limits it."
    if job.options.get("max_tokens"):
        return "It assumes that every answer uses all of --max-tokens, so this is the maximum."
    return "It assumes answers of max_tokens tokens, or of the average length so far."


def _raise_file_limit() -> None:
    """Raise this process's limit of open files: each connection is one."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return
    limit_kind = resource.RLIMIT_NOFILE
    hard_limit = resource.getrlimit(limit_kind)[1]
    for limit in (hard_limit, 10_240):  # macOS reports no hard limit but refuses more than 10,240
        try:
            resource.setrlimit(limit_kind, (limit, hard_limit))
        except (ValueError, OSError):
            continue
        return


async def _run_job(job: Job, on_progress: Callable[[], object], received: list[int]) -> None:
    """Run the job. The first signal finishes requests in flight, the next drops them.

    SIGHUP counts once: when a terminal is closed, it usually comes twice.
    """
    import asyncio

    task = asyncio.current_task()
    assert task is not None

    def on_signal(number: int) -> None:
        repeated = number == getattr(signal, "SIGHUP", None) and number in received
        received.append(number)
        if len(received) > 1 or job.scheduler is None:
            if not repeated:
                task.cancel()
            return
        job.stop()
        count = job.scheduler.in_flight
        warn(f"finishing {count} in flight; press Ctrl-C again to drop {_pronoun(count)}")

    with _signals_handled_by(on_signal, asyncio.get_running_loop()):
        await job.run(on_progress)


@contextlib.contextmanager
def _signals_handled_by(
    on_signal: Callable[[int], None], loop: AbstractEventLoop
) -> Generator[None, None, None]:
    """Call a function in the event loop for each signal that stops a batch, unless ignored."""
    previous_handlers = {}
    try:
        with contextlib.suppress(ValueError):  # not in the main thread
            for number in (signal.SIGINT, *STOP_SIGNALS):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    previous_handlers[number] = signal.signal(
                        number, lambda number, _: loop.call_soon_threadsafe(on_signal, number)
                    )
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def _pronoun(count: int) -> str:
    return "it" if count == 1 else "them"


def _read_template(template: str | None) -> str | None:
    if template is None or not template.startswith("@"):
        return template
    from ...utils.encoding import read_text

    try:
        return read_text(template[1:])
    except OSError as error:
        raise ValueError(f"--prompt-template {format_error(error)}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{template[1:]} is not UTF-8 text") from None


def _dask_client(address: str | None) -> Any:
    """Return a client of a Dask cluster, or a null context."""
    from contextlib import nullcontext

    if address is None:
        return nullcontext()
    try:
        from distributed import Client
    except ModuleNotFoundError:
        from ...utils.extras import install_command

        raise ValueError(f"--dask needs Dask: {install_command('dask')}") from None
    try:
        return Client(address, timeout=10, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ValueError(f"--dask: no scheduler responds at {address} ({error})") from None


def _budget_or_null(usd: float | None) -> Any:
    """Return a budget, or a null context."""
    from contextlib import nullcontext

    from ... import budget

    return nullcontext() if usd is None else budget(usd=usd)


def _progress_reporter(job: Job) -> Any:
    """Return a context manager that gives a function to call after each answer.

    It shows the progress if stderr is a terminal that can move the cursor.
    """
    from contextlib import nullcontext

    if not sys.stderr.isatty() or is_dumb() or is_quiet():
        return nullcontext(lambda: None)
    from ..display.batch_progress import BatchProgressLine  # imports rich

    progress_line = BatchProgressLine(job)
    hide_status()
    return progress_line


def _report(job: Job, seconds: float, arguments: argparse.Namespace) -> int:
    """Print what was done and how to continue; return the exit code."""
    progress = job.progress
    stop_error = job.scheduler.stop_error if job.scheduler is not None else None
    interrupted = progress.unanswered > 0 and (stop_error is None or stop_error.kind == "aborted")
    failed = progress.failed + progress.kept_errors
    if arguments.json:
        stopped = stop_error.message if stop_error is not None and progress.unanswered else None
        write_json(
            {
                "rows": progress.rows,
                "before": progress.previously_answered,
                "answered": progress.answered,
                "failed": failed,
                "truncated": progress.truncated,
                "empty": progress.empty,
                "open": progress.unanswered,
                "errors": dict(progress.error_kinds),
                "input_tokens": progress.usage.input,
                "output_tokens": progress.usage.output,
                "cost": None if progress.usage.unpriced else progress.usage.usd,
                "seconds": round(seconds, 3),
                "stopped": stopped,
            }
        )
    summary = escape_controls(f"{_summary(job, seconds)} → {arguments.output}\n")
    write_stderr(wrap(summary, sys.stderr))
    for text, count in progress.warnings.most_common(MAX_WARNINGS):
        warn(f"{text} ({format_count(count, 'row')})")
    if progress.truncated:
        answers = format_count(
            progress.truncated,
            "answer was truncated at its token limit",
            "answers were truncated at their token limit",
        )
        warn(f"{answers}; --max-tokens N allows more")
    if progress.empty:
        warn(f"{format_count(progress.empty, 'answer is', 'answers are')} empty")
    if progress.unanswered and stop_error is not None and not interrupted:
        warn(f"stopped: {escape_controls(stop_error.message)}")
    _report_failures(progress, ADVICE | BATCH_ADVICE if arguments.batch_api else ADVICE)
    if progress.unanswered or failed:
        _print_next_command(progress.unanswered, failed)
    if interrupted:
        return 130
    return 1 if failed or progress.unanswered or progress.unrecorded else 0


def _report_failures(progress: BatchProgress, advice: dict[str, str]) -> None:
    """Print how many rows failed for each kind of error, an example, and what usually helps."""
    counts = progress.error_kinds + progress.kept_error_kinds
    for kind, count in counts.most_common():
        example = progress.first_failures.get(kind)
        earlier = progress.kept_error_kinds[kind]
        text = f"{kind}, {format_count(count, 'row')}"
        text += f" ({earlier:,} of an earlier run)" if earlier else ""
        if example:
            text += f"{': ' if count == 1 else ', first: '}{escape_controls(example)}"
        warn(text)
        if kind in advice:
            warn(f"{kind}: {advice[kind]}")


def _print_next_command(unanswered: int, failed: int) -> None:
    """Print how many rows have no answer, and what to run next."""
    parts = [format_count(unanswered, "row is", "rows are") + " not sent yet"] if unanswered else []
    parts += [f"{format_count(failed, 'row')} failed"] if failed else []
    state = " and ".join(parts)
    if command := _next_command(retry=failed > 0):
        write_stderr(escape_controls(f"pipy: {state}; next: {command}\n"))  # one line, to be copied
    elif failed:
        warn(f"{state}; run the same command again with --retry-errors")
    else:
        warn(f"{state}; run the same command again to resume")


def _next_command(retry: bool, through_api: bool = False) -> str:
    """Return the command that continues; empty if it is not known or may hold a secret."""
    words = sys.argv[1:]
    if words[:1] != ["batch"] or any(map(_MAY_BE_SECRET.search, words)):
        return ""
    words = [word for word in words if word not in ("--cancel", "--status", "--finish-now")]
    if retry and "--retry-errors" not in words:
        words.append("--retry-errors")
    if through_api and "--batch-api" not in words:
        words.append("--batch-api")
    return shlex.join(["pipy", *words])


def _summary(job: Job, seconds: float) -> str:
    from ..display.usage import format_tokens, format_total_cost

    progress = job.progress
    if not (progress.answered or progress.failed or progress.unanswered):
        if not progress.rows:
            return "nothing to send: the input has no rows"
        answered = format_count(progress.previously_answered, "row was", "rows were")
        failed = f" and {progress.kept_errors:,} failed" if progress.kept_errors else ""
        return f"nothing to send: {answered} answered{failed} earlier"
    parts = [f"{format_count(progress.rows, 'row')}: {progress.answered:,} answered"]
    if progress.previously_answered:
        parts.append(f"{progress.previously_answered:,} answered earlier")
    if progress.failed:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in progress.error_kinds.most_common())
        parts.append(f"{progress.failed:,} failed ({kinds})")
    parts.append(format_tokens(progress.usage.input, progress.usage.output))
    parts.append(format_total_cost(progress.usage))
    parts.append(f"{seconds:,.1f} s")
    return ", ".join(parts)
