"""Estimate the tokens and the cost of the rows that a batch would send."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..batch_api.results import BATCH_TIER
from ..batch_api.vendors import SUPPORTED
from ..context import Prompt, ctx
from ..output.schema import Output
from ..registry import calculate_cost, estimate_cost, get_registry
from ..tokens import estimate_input_tokens, estimate_tokens
from ..types import Context, Usage
from .job import Job, iter_open_rows


@dataclass
class ModelEstimate:
    """The rows of one model. Costs are in US dollars, None if a price or the length is unknown.

    The costs of a batch are None, too, if pipy-ai does not support the provider's batch API.
    """

    model: str
    rows: int = 0
    input_tokens: int = 0
    output_tokens: int | None = 0
    input_cost: float | None = None
    cost: float | None = None
    batch_input_cost: float | None = None
    batch_cost: float | None = None


def estimate_job(job: Job) -> list[ModelEstimate]:
    """Return an estimate for each model. Nothing is sent.

    The answers are assumed to be as long as `max_tokens` allows, or without it as long as the
    average of the answers in the results file. If there is neither, their length is unknown.
    """
    average = _average_output(job)
    schema = None if job.output is None else json.dumps(Output.of(job.output).schema)
    schema_tokens = estimate_tokens(schema) if schema else 0
    estimates: dict[str, ModelEstimate] = {}
    for _, request in iter_open_rows(job):
        model = request.model or job.model
        estimate = estimates.setdefault(model, ModelEstimate(model))
        estimate.rows += 1
        estimate.input_tokens += estimate_input_tokens(_context(request.prompt)) + schema_tokens
        output = job.options.get("max_tokens") or request.options.get("max_tokens") or average
        if output is None or estimate.output_tokens is None:
            estimate.output_tokens = None
        else:
            estimate.output_tokens += output
    for estimate in estimates.values():
        _add_cost(estimate)
    return list(estimates.values())


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
