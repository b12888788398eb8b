"""What a request under way costs so far, for the budgets that it counts for and the ledger.

Between the estimate before and the real usage after, each delta adds its bytes: nothing is counted
twice, so a stream stays linear.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..errors import ErrorInfo, ErrorKind, ProviderError, error_info
from ..ledger import LedgerEntry, append, ledger_path
from ..types import AssistantMessage, Attempt, Usage, Warning
from ..utils.made import made
from ..utils.tokens import estimate_input, tokens_of
from .assembler import sound_cost
from .bill import pricing
from .deltas import Delta, Finish, Text, Thinking, ToolFragment, UsageReport
from .request import Request

if TYPE_CHECKING:
    from ..budget import Budget

__all__ = ["Meter", "ledger_path"]

_CONTENT = (Text, Thinking, ToolFragment)
_MILLION = 1_000_000


class Meter:
    """The meter of one request, over all its tries. `halt` stops the request, from any thread.

    `usd` and `tokens` are what the try under way counts for so far.
    """

    def __init__(
        self, budgets: Sequence[Budget], ledger: str | None, halt: Callable[[ErrorInfo], None]
    ) -> None:
        self._budgets = tuple(dict.fromkeys(budgets))
        paths = [ledger, *(one.ledger for one in self._budgets)]
        # By their real names: no request stands in one file twice.
        self._ledgers = [*dict.fromkeys(os.path.realpath(path) for path in paths if path)]
        self._halt = halt
        self.usd: float = 0.0
        self.tokens: int = 0
        self._name = ""
        self._price: Callable[[Usage], float | None] | None = None

    # --- Before -----------------------------------------------------------------------------

    def open(self, request: Request) -> None:
        """Count the prompt of a try.

        Raises:
            ProviderError: a budget does not cover it; nothing is to be sent.
        """
        self._name = request.model
        if not self._budgets:
            return
        self._provider = request.provider
        self._price = pricing(request)
        self._usage = made(Usage, input=estimate_input(request.context))
        self._kind: object = None  # of the block that grows
        self._bytes = self._ended = self._output = 0  # of it; tokens of those before it; of all
        usd = self._cost(self._usage)
        self._rate = self._per_token()
        self.usd, self.tokens = usd or 0.0, self._usage.input
        nothing = made(Usage)
        for number, one in enumerate(self._budgets):
            refusal = one.admit(self, request.model, usd, self.tokens)
            if refusal is not None:
                for admitted in self._budgets[:number]:
                    admitted.settle(self, self._name, nothing, 0.0)
                raise ProviderError(self._error(refusal))

    def _cost(self, usage: Usage) -> float | None:
        """Dollars; None where the price is not known."""
        return None if self._price is None else self._price(usage)

    def _per_token(self) -> float:
        """Dollars for a token of the answer to a prompt of this length."""
        much = self._usage.model_copy(update={"output": _MILLION, "reasoning": 0})
        return ((self._cost(much) or 0.0) - (self._cost(self._usage) or 0.0)) / _MILLION

    def _error(self, text: str) -> ErrorInfo:
        return error_info(ErrorKind.BUDGET, text, provider=self._provider)

    # --- Under way --------------------------------------------------------------------------

    def take(self, deltas: Sequence[Delta]) -> tuple[Sequence[Delta], ErrorInfo | None]:
        """The deltas as far as the budgets go, and why there shall be no more of them."""
        for number, delta in enumerate(deltas) if self._budgets else ():
            passed = self._count(delta)
            if passed is None:
                continue
            rest = deltas[number + 1 :]
            more = any(isinstance(one, _CONTENT) for one in rest)
            # An answer that is whole is given: stopping it would save nothing.
            stopped = more or not any(isinstance(one, Finish) for one in rest)
            self._stop_others(passed, stopped)
            why = self._error(passed.why()) if stopped else None
            return deltas[: number + 1] if more else deltas, why
        return deltas, None

    def _count(self, delta: Delta) -> Budget | None:
        """Count one delta; the budget that is passed with it, if one is."""
        kind = type(delta)
        if kind is Text or kind is Thinking:
            piece: str = delta.text  # type: ignore[union-attr]  # ty: ignore[missing-union-attribute]
        elif kind is ToolFragment:
            piece = delta.arguments  # type: ignore[union-attr]  # ty: ignore[missing-union-attribute]
            if delta.name:  # type: ignore[union-attr]  # ty: ignore[missing-union-attribute]
                self._kind = None
                self._begin(kind)
                self._ended += tokens_of(len(delta.name.encode("utf-8", "replace")))  # type: ignore[union-attr]  # ty: ignore[missing-union-attribute]
        elif kind is UsageReport:
            return self._correct(delta)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
        else:
            return None
        if kind is not self._kind:
            self._begin(kind)
        self._bytes += len(piece) if piece.isascii() else len(piece.encode("utf-8", "replace"))
        tokens = self._ended + tokens_of(self._bytes)
        more = tokens - self._output
        if more <= 0:
            return None
        self._output = tokens
        return self._add(more * self._rate, more)

    def _begin(self, kind: object) -> None:
        self._kind = kind
        self._ended += tokens_of(self._bytes)
        self._bytes = 0

    def _correct(self, report: UsageReport) -> Budget | None:
        """Put what the provider reports on the way in the place of the estimate."""
        told = {
            name: value
            for name in ("input", "output", "cache_read", "cache_write", "cache_write_1h")
            if type(value := getattr(report, name)) is int and value >= 0
        }
        self._output = max(self._output, told.pop("output", 0))
        if told:
            self._usage = self._usage.model_copy(update=told)
            self._rate = self._per_token()
        usage = self._usage.model_copy(update={"output": self._output})
        told_cost = sound_cost(report.cost)
        usd = self._cost(usage) if told_cost is None else told_cost
        tokens = usage.input + usage.cache_read + usage.cache_write + usage.output
        return self._add((usd or 0.0) - self.usd, tokens - self.tokens)

    def _add(self, usd: float, tokens: int) -> Budget | None:
        self.usd += usd
        self.tokens += tokens
        passed = [one for one in self._budgets if one.grow(usd, tokens)]
        return passed[0] if passed else None

    def _stop_others(self, passed: Budget, stopped: bool = False) -> None:
        for other in passed.end(self, stopped):
            other._halt(other._error(passed.why()))

    # --- After ------------------------------------------------------------------------------

    def close(self, message: AssistantMessage, attempt: Attempt, last: bool = False) -> None:
        """Settle a try with what it really used; write it down if it is the last, or was billed.

        A ledger that cannot be written is a warning of the message.
        """
        usage = message.usage
        for one in self._budgets:
            cost = usage.cost.total
            one.settle(self, self._name, usage, self._cost(usage) if cost is None else cost)
            self._stop_others(one)
        if not self._ledgers or not (last or usage.total_tokens):
            return
        entry = _entry(message, attempt.duration_ms)
        for path in self._ledgers:
            try:
                append(path, entry)
            except OSError as error:
                text = f"the ledger {path} lacks this request: {error.strerror or error}"
                message.warnings.append(made(Warning, code="ledger", message=text))

    def drop(self) -> None:
        """The request has ended without a message; what it has cost is what was counted."""
        for one in self._budgets:
            one.settle(self, self._name, None, self.usd)


def _entry(message: AssistantMessage, duration_ms: float | None) -> LedgerEntry:
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
