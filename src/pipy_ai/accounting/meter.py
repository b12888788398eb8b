"""Count the cost of a request in flight for its budgets and the ledger.

The estimate of the prompt comes first and the reported usage last; in between, each delta adds the
tokens of its bytes. No text is counted twice, so the work is linear in the length of the stream.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, assert_never

from ..errors import ErrorInfo, ErrorKind, ProviderError, error_info
from ..provider.deltas import (
    AudioData,
    CitationReport,
    Delta,
    Finish,
    ImageData,
    Omitted,
    OutputCount,
    RedactedThinking,
    ResponseInfo,
    ServerToolFragment,
    ServerToolOutput,
    SingleDelta,
    Text,
    TextSignature,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
    expand_runs,
)
from ..provider.request import Request
from ..tokens import estimate_input_tokens, tokens_from_bytes
from ..types import AssistantMessage, Attempt, Usage, Warning
from ..usage import valid_cost
from ..utils.construct import construct_unchecked
from ..utils.file_errors import describe_os_error
from .budget import Budget
from .cost import price_function
from .ledger import LedgerEntry, append_entry

_MILLION = 1_000_000


class Meter:
    """The meter of one request, over all its attempts, and its reservation in the budgets.

    `usd` and `tokens` are the amounts of the current attempt. `cancel` stops the request with an
    error, from any thread.
    """

    def __init__(
        self, budgets: Sequence[Budget], ledger: str | None, cancel: Callable[[ErrorInfo], None]
    ) -> None:
        self._budgets = tuple(dict.fromkeys(budgets))
        self._ledger_paths = _ledger_paths(self._budgets, ledger)
        self._cancel = cancel
        self.usd: float = 0.0
        self.tokens: int = 0
        self._model_name = ""
        self._price_usage: Callable[[Usage], float | None] | None = None

    # --- Before -----------------------------------------------------------------------------

    @property
    def counts_tokens(self) -> bool:
        """Whether a budget wants the provider to count the tokens of a prompt."""
        return any(budget.count_tokens for budget in self._budgets)

    def start_attempt(self, request: Request, input_tokens: int | None = None) -> None:
        """Reserve the cost of the prompt in all budgets; estimate its tokens if they are None.

        Raises:
            ProviderError: A budget does not cover it, so the request must not be sent.
        """
        self._model_name = request.model
        if not self._budgets:
            return
        self._provider = request.provider
        self._price_usage = price_function(request)
        if input_tokens is None:
            input_tokens = estimate_input_tokens(request.context)
        self._usage = construct_unchecked(Usage, input=input_tokens)
        self._block_type: object = None  # type of the deltas of the current block
        self._block_bytes = 0  # of the current block
        self._finished_tokens = 0  # of the blocks before it
        self._output_tokens = 0  # of all blocks, as counted in the budgets
        self._earlier_usage: Usage | None = None
        usd = self._usage_cost(self._usage)
        self._usd_per_output_token = self._output_token_price()
        self.usd, self.tokens = usd or 0.0, self._usage.input
        zero_usage = construct_unchecked(Usage)
        for index, budget in enumerate(self._budgets):
            refusal = budget.admit(self, request.model, usd, self.tokens)
            if refusal is not None:
                for admitted in self._budgets[:index]:
                    admitted.settle(self, self._model_name, zero_usage, 0.0)
                raise ProviderError(self._budget_error(refusal))

    def _usage_cost(self, usage: Usage) -> float | None:
        """Return the cost in US dollars; None if the price is unknown."""
        return None if self._price_usage is None else self._price_usage(usage)

    def _output_token_price(self) -> float:
        """Return the US dollars for one token of the answer to a prompt of this length."""
        with_output = self._usage.model_copy(update={"output": _MILLION, "reasoning": 0})
        return (self._known_cost(with_output) - self._known_cost(self._usage)) / _MILLION

    def _budget_error(self, text: str) -> ErrorInfo:
        return error_info(ErrorKind.BUDGET, text, provider=self._provider)

    # --- In flight --------------------------------------------------------------------------

    def resume(self) -> None:
        """Add what is reported from now on to the usage so far: another response continues."""
        if self._budgets:
            self._earlier_usage = self._usage.model_copy(update={"output": self._output_tokens})

    def count_deltas(self, deltas: Sequence[Delta]) -> tuple[Sequence[Delta], ErrorInfo | None]:
        """Return the deltas that the budgets cover, and the error that ends the answer, if any."""
        if not self._budgets:
            return deltas, None
        single_deltas = list(expand_runs(deltas))
        for index, delta in enumerate(single_deltas):
            exceeded = self._count_delta(delta)
            if exceeded is None:
                continue
            remaining = single_deltas[index + 1 :]
            has_more_content = any(map(_is_content, remaining))
            # Stopping a complete answer would save nothing.
            answer_complete = any(isinstance(later, Finish) for later in remaining)
            answer_stopped = has_more_content or not answer_complete
            self._stop_others(exceeded, answer_stopped)
            error = self._budget_error(exceeded.exceeded_text()) if answer_stopped else None
            return single_deltas[: index + 1] if has_more_content else deltas, error
        return deltas, None

    def _count_delta(self, delta: SingleDelta) -> Budget | None:
        """Count one delta and return the budget that it exceeds, if any."""
        delta_type = type(delta)
        if isinstance(delta, Text | Thinking):
            text = delta.text
        elif isinstance(delta, ToolFragment):
            text = delta.arguments
            if delta.name:
                self._start_block(delta_type)
                name_bytes = len(delta.name.encode("utf-8", "replace"))
                self._finished_tokens += tokens_from_bytes(name_bytes)
        elif isinstance(delta, UsageReport):
            return self._apply_report(delta)
        elif isinstance(delta, OutputCount):
            return self._apply_report(UsageReport(output=delta.output))
        elif isinstance(
            delta,
            TextSignature | ThinkingSignature | RedactedThinking | CitationReport | Omitted | Finish
            | ResponseInfo | ServerToolFragment | ServerToolOutput | ImageData | AudioData,
        ):  # fmt: skip
            return None
        else:
            if TYPE_CHECKING:
                assert_never(delta)
            return None  # the assembler raises for it
        if delta_type is not self._block_type:
            self._start_block(delta_type)
        self._block_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        output_tokens = self._finished_tokens + tokens_from_bytes(self._block_bytes)
        new_tokens = output_tokens - self._output_tokens
        if new_tokens <= 0:
            return None
        self._output_tokens = output_tokens
        return self._add_to_budgets(new_tokens * self._usd_per_output_token, new_tokens)

    def _start_block(self, block_type: object) -> None:
        self._block_type = block_type
        self._finished_tokens += tokens_from_bytes(self._block_bytes)
        self._block_bytes = 0

    def _apply_report(self, report: UsageReport) -> Budget | None:
        """Replace the estimate with the usage that the provider reports in mid-stream."""
        reported: dict[str, Any] = {
            name: value
            for name in ("input", "output", "cache_read", "cache_write", "cache_write_1h")
            if type(value := getattr(report, name)) is int and value >= 0
        }
        if report.server_tool_calls is not None:
            reported["server_tool_calls"] = report.server_tool_calls
        if self._earlier_usage is not None:
            reported = _added_to(self._earlier_usage, reported)
        self._output_tokens = max(self._output_tokens, reported.pop("output", 0))
        if reported:
            self._usage = self._usage.model_copy(update=reported)
            self._usd_per_output_token = self._output_token_price()
        usage = self._usage.model_copy(update={"output": self._output_tokens})
        reported_cost = valid_cost(report.cost)
        usd = self._known_cost(usage) if reported_cost is None else reported_cost
        tokens = usage.input + usage.cache_read + usage.cache_write + usage.output
        return self._add_to_budgets(usd - self.usd, tokens - self.tokens)

    def _add_to_budgets(self, usd: float, tokens: int) -> Budget | None:
        self.usd += usd
        self.tokens += tokens
        exceeded = [budget for budget in self._budgets if budget.add_usage(usd, tokens)]
        return exceeded[0] if exceeded else None

    def _stop_others(self, budget: Budget, answer_stopped: bool = False) -> None:
        for other in budget.reservations_to_stop(self, answer_stopped):
            other.stop(budget.exceeded_text())

    def stop(self, reason: str) -> None:
        """Stop the request with an error of kind `budget`."""
        self._cancel(self._budget_error(reason))

    # --- After ------------------------------------------------------------------------------

    def finish_attempt(
        self, message: AssistantMessage, attempt: Attempt, is_last: bool = False
    ) -> None:
        """Settle an attempt with its usage; add it to the ledgers if it is the last or was billed.

        If a ledger cannot be written, the message gets a warning.
        """
        usage = message.usage
        known_cost = self._known_cost(usage) if self._budgets else 0.0
        for budget in self._budgets:
            budget.settle(self, self._model_name, usage, usage.cost.total, known_cost)
            self._stop_others(budget)
        if not self._ledger_paths or not (is_last or usage.total_tokens):
            return
        _add_to_ledgers(self._ledger_paths, message, attempt.duration_ms)

    def _known_cost(self, usage: Usage) -> float:
        """Return the known part of the cost: at least that of the tokens at the listed prices."""
        return _known_cost(self._price_usage, usage)

    def abandon(self) -> None:
        """Settle a request that ended without a message with the amounts counted so far."""
        for budget in self._budgets:
            budget.settle(self, self._model_name, None, self.usd)


def charge_message(
    message: AssistantMessage, request: Request, budgets: Sequence[Budget], ledger: str | None
) -> None:
    """Count an answer that was paid for before it was fetched, as those of a batch API are.

    If a ledger cannot be written, the message gets a warning.
    """
    budgets = tuple(dict.fromkeys(budgets))
    usage = message.usage
    known_cost = _known_cost(price_function(request), usage) if budgets else 0.0
    for budget in budgets:
        budget.charge(request.model, usage, usage.cost.total, known_cost)
    _add_to_ledgers(_ledger_paths(budgets, ledger), message, None)


def _known_cost(price_usage: Callable[[Usage], float | None] | None, usage: Usage) -> float:
    """Return the known part of the cost: at least that of the tokens at the listed prices."""
    if price_usage is None:
        return 0.0
    cost = price_usage(usage)
    if cost is None:
        update: dict[str, object] = {
            "service_tier": None, "region": None, "server_tool_calls": {},
        }  # fmt: skip
        cost = price_usage(usage.model_copy(update=update))
    return cost or 0.0


def _ledger_paths(budgets: Sequence[Budget], ledger: str | None) -> list[str]:
    paths = [ledger, *(budget.ledger for budget in budgets)]
    # Two paths may lead to the same file, which gets one line per request.
    return [*dict.fromkeys(os.path.realpath(path) for path in paths if path)]


def _add_to_ledgers(
    paths: Sequence[str], message: AssistantMessage, duration_ms: float | None
) -> None:
    if not paths:
        return
    entry = _ledger_entry(message, duration_ms)
    for path in paths:
        try:
            append_entry(path, entry)
        except OSError as error:
            text = f"this request is not in the ledger: {describe_os_error(error)}"
            message.warnings.append(construct_unchecked(Warning, code="ledger", message=text))


def _is_content(delta: SingleDelta) -> bool:
    match delta:
        case (
            Text() | Thinking() | ToolFragment() | ServerToolFragment() | ServerToolOutput()
            | ImageData() | AudioData()
        ):  # fmt: skip
            return True
        case (
            TextSignature() | ThinkingSignature() | RedactedThinking() | CitationReport()
            | Omitted() | Finish() | UsageReport() | OutputCount() | ResponseInfo()
        ):  # fmt: skip
            return False
        case _:
            if TYPE_CHECKING:
                assert_never(delta)
            return False  # the assembler raises for it


def _ledger_entry(message: AssistantMessage, duration_ms: float | None) -> LedgerEntry:
    usage = message.usage
    now = datetime.datetime.now(datetime.UTC)
    return LedgerEntry(
        time=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        provider=message.provider,
        model=message.model,
        input=usage.input,
        output=usage.output,
        cache_read=usage.cache_read,
        cache_write=usage.cache_write,
        estimated=usage.estimated,
        cost=usage.cost.total,
        source=usage.cost.source,
        stop_reason=None if message.stop_reason is None else message.stop_reason.value,
        error=None if message.error is None else message.error.kind.value,
        duration_ms=duration_ms,
    )


def _added_to(usage: Usage, reported: dict[str, Any]) -> dict[str, Any]:
    """Return reported counts with those of `usage` added."""
    total: dict[str, Any] = {}
    for name, value in reported.items():
        earlier = getattr(usage, name)
        if isinstance(value, dict):
            names = {**earlier, **value}
            total[name] = {tool: earlier.get(tool, 0) + value.get(tool, 0) for tool in names}
        else:
            total[name] = (earlier or 0) + value
    return total
