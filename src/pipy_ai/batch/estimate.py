"""Estimate the tokens and the cost of the rows that a batch would send."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..batch_api.results import BATCH_TIER
from ..batch_api.vendors import SUPPORTED
from ..context import Prompt, ctx
from ..counting import acount_tokens
from ..output.schema import Output
from ..registry import calculate_cost, estimate_cost, get_registry
from ..tokens import estimate_input_tokens, estimate_tokens
from ..types import Context, Usage
from .job import Job, iter_answered_rows, iter_open_rows, model_of
from .row import RowRequest

SAMPLE_ROWS = 400  # of each model, whose tokens the provider counts
MAX_COUNTS_AT_ONCE = 8
MIN_ANSWERED_ROWS = 10  # fewer say little about the others


@dataclass(slots=True)
class Comparison:
    """The known tokens of some rows, compared with those that were estimated from their size."""

    rows: int = 0
    estimated: float = 0.0
    known: float = 0.0
    _squares: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def add(self, estimated: float, known: float) -> None:
        """Add a row."""
        self.rows += 1
        self.estimated += estimated
        self.known += known
        a, b, c = self._squares
        self._squares = (a + estimated**2, b + estimated * known, c + known**2)

    @property
    def ratio(self) -> float:
        """The known tokens for each estimated one."""
        return self.known / self.estimated

    @property
    def margin(self) -> float:
        """The half width of the 95 % confidence interval of `ratio`, as a fraction of it.

        That of the ratio estimator for a random sample.
        """
        (a, b, c), ratio, count = self._squares, self.ratio, self.rows
        variance = max(0.0, c - 2 * ratio * b + ratio**2 * a) / max(1, count - 1) / count
        return 1.96 * math.sqrt(variance) * count / self.known if self.known else 0.0


@dataclass
class ModelEstimate:
    """The rows of one model. Costs are in US dollars, None if a price or the length is unknown.

    The costs of a batch are None, too, if pipy-ai does not support the provider's batch API.
    `counted_rows` and `answered_rows` are the numbers of rows whose input tokens the provider has
    counted or billed. Those of the others are extrapolated from them, within `margin`, a fraction
    (95 % confidence). Without such rows they are estimated from the size of the text.
    """

    model: str
    rows: int = 0
    input_tokens: int = 0
    output_tokens: int | None = 0
    input_cost: float | None = None
    cost: float | None = None
    batch_input_cost: float | None = None
    batch_cost: float | None = None
    counted_rows: int = 0
    answered_rows: int = 0
    margin: float | None = None


def estimate_job(job: Job, count: bool = False) -> list[ModelEstimate]:
    """Return an estimate for each model. Nothing is sent to a model.

    The answers are assumed to be as long as `max_tokens` allows, or without it as long as the
    average of the answers in the results file. If there is neither, their length is unknown.

    With `count`, providers count the tokens of some rows, free of charge.

    Raises:
        PipyError: A provider did not count: the key is missing, or the request failed.
    """
    average = _average_output(job)
    estimates: dict[str, ModelEstimate] = {}
    for tokens, request in _open_rows(job):
        model = request.model or job.model
        estimate = estimates.setdefault(model, ModelEstimate(model))
        estimate.rows += 1
        estimate.input_tokens += tokens
        output = job.options.get("max_tokens") or request.options.get("max_tokens") or average
        if output is None or estimate.output_tokens is None:
            estimate.output_tokens = None
        else:
            estimate.output_tokens += output
    _compare_with_answers(job, estimates)
    if count:
        asyncio.run(_count_samples(job, estimates))
    for estimate in estimates.values():
        _add_cost(estimate)
    return list(estimates.values())


def _open_rows(job: Job) -> Iterator[tuple[int, RowRequest]]:
    """Yield the open rows with their input tokens, estimated from the size of the text."""
    schema_tokens = _schema_tokens(job)
    for _, request in iter_open_rows(job):
        yield estimate_input_tokens(_context(request.prompt)) + schema_tokens, request


def _schema_tokens(job: Job) -> int:
    return 0 if job.output is None else estimate_tokens(json.dumps(Output.of(job.output).schema))


def _compare_with_answers(job: Job, estimates: dict[str, ModelEstimate]) -> None:
    """Correct the input tokens by those of the rows that have been answered."""
    comparisons: dict[str, Comparison] = {}
    schema_tokens = _schema_tokens(job)
    for row, record in iter_answered_rows(job):
        model, usage = model_of(job, row), record["usage"]
        if usage.get("estimated") or model not in estimates:
            continue
        estimated = estimate_input_tokens(_context(row.request.prompt)) + schema_tokens
        billed = sum(usage.get(name, 0) for name in ("input", "cache_read", "cache_write"))
        comparisons.setdefault(model, Comparison()).add(estimated, billed)
    for model, comparison in comparisons.items():
        if comparison.rows >= MIN_ANSWERED_ROWS and comparison.known:
            estimate = estimates[model]
            estimate.answered_rows, estimate.margin = comparison.rows, comparison.margin
            estimate.input_tokens = round(estimate.input_tokens * comparison.ratio)


async def _count_samples(job: Job, estimates: dict[str, ModelEstimate]) -> None:
    """Have providers count the tokens of some rows of each model, if they can."""
    sizes: Counter[str] = Counter()
    for tokens, request in _open_rows(job):
        sizes[request.model or job.model] += tokens
    samples = {model: _Sample(estimates[model].rows, size) for model, size in sizes.items()}
    for tokens, request in _open_rows(job):
        samples[request.model or job.model].add(tokens, request)
    for model, sample in samples.items():
        rows = iter(sample.rows)
        workers = (_count_rows(job, model, sample, rows) for _ in range(MAX_COUNTS_AT_ONCE))
        await asyncio.gather(*workers)
        estimate, comparison = estimates[model], sample.comparison
        if not comparison.known:  # the provider does not count
            continue
        estimate.counted_rows = len(sample.rows)
        estimate.margin = 0.0 if sample.has_all_rows else comparison.margin
        estimate.input_tokens = round(sizes[model] * comparison.ratio)


class _Sample:
    """At most `SAMPLE_ROWS` rows at equal distances in the text of all rows.

    The probability of a row is in proportion to its size, so that the long rows, which cost most,
    are most of the sample.
    """

    def __init__(self, all_rows: int, size: int) -> None:
        self.has_all_rows = all_rows <= SAMPLE_ROWS
        self.rows: list[tuple[int, int, RowRequest]] = []  # estimate, how often it was hit
        self.comparison = Comparison()
        self._step = size / SAMPLE_ROWS
        self._position = 0
        self._next_hit = random.Random(0).uniform(0, self._step)

    def add(self, tokens: int, request: RowRequest) -> None:
        self._position += tokens
        hits = 0
        while self._position > self._next_hit:
            hits += 1
            self._next_hit += self._step
        if self.has_all_rows or hits:
            self.rows.append((tokens, hits, request))

    def compare(self, estimated: int, hits: int, counted: int) -> None:
        if self.has_all_rows:
            self.comparison.add(estimated, counted)
            return
        for _ in range(hits):
            self.comparison.add(1.0, counted / estimated)


async def _count_rows(
    job: Job, model: str, sample: _Sample, rows: Iterator[tuple[int, int, RowRequest]]
) -> None:
    for estimated, hits, request in rows:
        options: Any = {**job.options, **request.options}
        row_output = options.pop("output", None)
        output = row_output if job.output is None else job.output
        count = await acount_tokens(model, request.prompt, output=output, **options)
        if count.estimated:
            return
        sample.compare(estimated, hits, count.tokens)


def total_of(values: Iterable[Any]) -> Any:
    """Return the sum, or None if any value is unknown."""
    values = list(values)
    return None if None in values else sum(values)


def _context(prompt: Prompt) -> Context:
    if isinstance(prompt, Context):
        return prompt
    messages: Any = prompt if isinstance(prompt, list | tuple) else [prompt]
    return ctx(*messages)


def _average_output(job: Job) -> int | None:
    """Return the average number of output tokens of the answers so far."""
    counts = []
    if job.results.path.exists():
        with job.results.path.open("rb") as file:
            for line in file:
                try:
                    record = json.loads(line)
                    if record["error"] is None:
                        counts.append(int(record["usage"]["output"]))
                except (ValueError, KeyError, TypeError):  # `read_lines` has reported it
                    continue
    return round(sum(counts) / len(counts)) if counts else None


def _add_cost(estimate: ModelEstimate) -> None:
    # Prices depend on the length of one request, so each row counts as the average of the rows.
    model = get_registry().get(estimate.model)
    if model is None or not estimate.rows:
        return
    input_tokens = round(estimate.input_tokens / estimate.rows)
    has_output = estimate.output_tokens is not None
    output_tokens = round((estimate.output_tokens or 0) / estimate.rows)
    input_cost = estimate_cost(model, input_tokens)
    estimate.input_cost = None if input_cost is None else input_cost * estimate.rows
    if has_output:
        cost = estimate_cost(model, input_tokens, output_tokens)
        estimate.cost = None if cost is None else cost * estimate.rows
    if model.provider in SUPPORTED:
        estimate.batch_input_cost = _batch_cost(estimate, input_tokens, 0)
        if has_output:
            estimate.batch_cost = _batch_cost(estimate, input_tokens, output_tokens)


def _batch_cost(estimate: ModelEstimate, input_tokens: int, output_tokens: int) -> float | None:
    usage = Usage(input=input_tokens, output=output_tokens, service_tier=BATCH_TIER)
    cost = calculate_cost(estimate.model, usage).total
    return None if cost is None else cost * estimate.rows
