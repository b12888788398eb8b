"""Budgets: what the requests within a block may cost together.

    with budget(usd=0.50) as b:
        answers = [complete("openai/gpt-5-mini", question) for question in questions]
    print(b.spent, b.left)
    print(b.table())

A request that the budget does not cover is not sent, and one that passes it is stopped in
mid-stream; the message then has an error of kind `budget`. What all streams under way have cost so
far counts, so that together they pass the budget by at most one delta each.
"""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .meter import Meter


from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from ..utils.text import format_table, format_usd
from .ledger import Spending, spending_table

if TYPE_CHECKING:
    from typing import Self

    from ..types import Usage
if TYPE_CHECKING:
    from .meter import Meter


_ROUNDING_TOLERANCE_USD = 1e-12  # dollars: what is below is of binary fractions


class Budget:
    """A limit for all requests that are begun within its `with` (or `async with`) block.

    Tasks, `asyncio.to_thread`, tool loops and batches inherit it. A thread of your own enters the
    same object again: `with b:`. Within another budget both count.

    Args:
        usd: US dollars; None: no limit, only the account.
        tokens: Tokens, of prompts and answers together; None: no limit.
        unknown: What becomes of a model whose price is not known, under a limit in dollars:
            `"refuse"` sends nothing, `"ignore"` lets it pass uncounted.
        ledger: A file to which each finished request adds a line (`read_ledger`).

    Raises:
        ValueError: a limit that is not above 0, another word for `unknown`.

    Example:
        >>> from pipy_ai import budget, complete, faux
        >>> with faux.script("Hello there!", "Not asked for."), budget(tokens=5) as b:
        ...     first = complete("faux/any", "Hi")
        ...     second = complete("faux/any", "Hi")
        >>> first.text, first.error, second.error.kind
        ('Hello there!', None, <ErrorKind.BUDGET: 'budget'>)
    """

    def __init__(
        self,
        usd: float | None = None,
        *,
        tokens: int | None = None,
        unknown: Literal["refuse", "ignore"] = "refuse",
        ledger: str | os.PathLike[str] | None = None,
    ) -> None:
        for name, limit in (("usd", usd), ("tokens", tokens)):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} is above 0, not {limit!r}")
        if unknown not in ("refuse", "ignore"):
            raise ValueError(f'unknown is "refuse" or "ignore", not {unknown!r}')
        self.usd = usd
        self.tokens = tokens
        self.unknown = unknown
        self.ledger: str | None = (
            None if ledger is None else os.path.abspath(os.path.expanduser(ledger))
        )
        self._lock = threading.Lock()
        self._active_meters: set[Meter] = set()
        self._settled = [0.0, 0]  # dollars and tokens of what has ended
        self._in_flight = [0.0, 0]  # and of what is under way
        self._closed = False  # an answer had to be stopped: nothing more is let in
        self._spending_by_model: dict[str, Spending] = {}

    # --- What was spent ---------------------------------------------------------------------

    @property
    def spent(self) -> float:
        """US dollars so far, with what is under way."""
        return round(self._settled[0] + self._in_flight[0], 12)

    @property
    def tokens_spent(self) -> int:
        """Tokens so far, with what is under way."""
        return int(self._settled[1] + self._in_flight[1])

    @property
    def left(self) -> float | None:
        """US dollars that are left, never below 0; None: there is no limit."""
        return None if self.usd is None else max(0.0, round(self.usd - self.spent, 12))

    def by_model(self) -> dict[str, Spending]:
        """What has ended, by `provider/model`, the dearest first. A try that failed counts for its
        own model."""
        with self._lock:
            ranked = sorted(
                self._spending_by_model.items(), key=lambda item: (-item[1].usd, item[0])
            )
            return {name: replace(spending) for name, spending in ranked}

    def table(self) -> str:
        """The same as a table of plain text."""
        text = format_table(*spending_table("model", self.by_model()))
        if self.left is not None:
            text += f"\n{format_usd(self.left)} of {format_usd(self.usd or 0)} left"
        return text

    # --- The block --------------------------------------------------------------------------

    def __enter__(self) -> Self:
        active_budgets.set((*active_budgets.get(), self))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        active = list(active_budgets.get())
        if self in active:  # the innermost of the times that it was entered
            del active[len(active) - 1 - active[::-1].index(self)]
        active_budgets.set(tuple(active))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)

    # --- For the meters of requests ---------------------------------------------------------

    def admit(self, meter: Meter, model: str, usd: float | None, tokens: int) -> str | None:
        """Let a request in whose prompt costs this much; else the reason why not."""
        with self._lock:
            if self._is_exhausted():
                spent = self._format_amounts(self.spent, self.tokens_spent)
                return (
                    f"The budget of {self._limit_text} is spent: {spent} of it. Nothing was sent."
                )
            if usd is None and self.usd is not None and self.unknown == "refuse":
                return (
                    f"The price of {model} is not known, so nothing was sent. Give it one in"
                    ' overrides.json, or leave it out of the account: budget(unknown="ignore").'
                )
            if self._is_exceeded(usd or 0.0, tokens):
                remaining = self._format_amounts(
                    self.left or 0.0, (self.tokens or 0) - self.tokens_spent
                )
                return (
                    f"The prompt alone, about {tokens:,} tokens"
                    f"{f' or {format_usd(usd)}' if usd else ''}, would pass what is left of the budget"
                    f" of {self._limit_text}: {remaining}. Nothing was sent."
                )
            self._active_meters.add(meter)
            self._in_flight[0] += usd or 0.0
            self._in_flight[1] += tokens
        return None

    def add_usage(self, usd: float, tokens: int) -> bool:
        """Count what a request under way has cost more. Whether the budget is passed."""
        with self._lock:
            self._in_flight[0] += usd
            self._in_flight[1] += tokens
            return self._is_exceeded()

    def settle(self, meter: Meter, model: str, usage: Usage | None, cost: float | None) -> None:
        """Put what a request has really used and cost in the place of its estimate."""
        with self._lock:
            if meter not in self._active_meters:
                return
            self._active_meters.remove(meter)
            self._in_flight[0] -= meter.usd
            self._in_flight[1] -= meter.tokens
            if not self._active_meters:
                self._in_flight = [0.0, 0]  # without the noise of many small sums
            tokens = meter.tokens if usage is None else usage.total_tokens
            self._settled[0] += cost or 0.0
            self._settled[1] += tokens
            if not cost and not tokens:
                return
            output = 0 if usage is None else usage.output
            spending = self._spending_by_model.setdefault(model, Spending())
            spending.add(tokens - output, output, cost)

    def meters_to_stop(self, meter: Meter, answer_stopped: bool) -> list[Meter]:
        """If it is passed: who else is to stop. Once one did, or `stopped`, no more are let in."""
        with self._lock:
            if self._closed or not self._is_exceeded():
                return []
            other_meters = [other for other in self._active_meters if other is not meter]
            self._closed = answer_stopped or bool(other_meters)
            return other_meters

    def exceeded_text(self) -> str:
        """What a request is told that passed it, or would have."""
        return (
            f"The budget of {self._limit_text} is passed; the answer was stopped, and what came before"
            " is kept."
        )

    def _is_exceeded(self, usd: float = 0.0, tokens: int = 0) -> bool:
        """Whether it is passed with this much more."""
        if self.usd is not None:
            excess_usd = self._settled[0] + self._in_flight[0] + usd - self.usd
            if excess_usd > _ROUNDING_TOLERANCE_USD:
                return True
        return self.tokens is not None and self.tokens_spent + tokens > self.tokens

    def _is_exhausted(self) -> bool:
        usd_exhausted = self.usd is not None and self.spent >= self.usd
        tokens_exhausted = self.tokens is not None and self.tokens_spent >= self.tokens
        return self._closed or usd_exhausted or tokens_exhausted

    @property
    def _limit_text(self) -> str:
        return self._format_amounts(self.usd or 0.0, self.tokens or 0)

    def _format_amounts(self, usd: float, tokens: int) -> str:
        """These figures, in the units that there is a limit in."""
        parts = [] if self.usd is None else [format_usd(usd)]
        parts += [] if self.tokens is None else [f"{tokens:,} tokens"]
        return " and ".join(parts)


budget = Budget


active_budgets: ContextVar[tuple[Budget, ...]] = ContextVar("pipy_ai_budgets", default=())
