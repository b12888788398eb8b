"""Budgets: a limit for the tokens and cost of all requests within a block.

    with budget(usd=0.50) as b:
        answers = [complete("openai/gpt-5-mini", question) for question in questions]
    print(b.spent, b.left)
    print(b.table())

A request that the budget does not cover is not sent. A request that exceeds it is cancelled while
it streams. In both cases the message has an error of kind `budget`. The cost of all streams in
flight is counted as they run, so that together they exceed the budget by at most one delta each.
"""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

from ..utils.text import format_count, format_table, format_usd

if TYPE_CHECKING:
    from typing import Self

    from ..types import Usage
    from .ledger import Spending

_ROUNDING_TOLERANCE_USD = 1e-12  # differences below it come from binary fractions

active_budgets: ContextVar[tuple[Budget, ...]] = ContextVar("pipy_ai_budgets", default=())


class Reservation(Protocol):
    """The amounts reserved for a request in flight: an estimate until it is settled."""

    @property
    def usd(self) -> float:
        """US dollars."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and the answer."""
        ...

    def stop(self, reason: str) -> None:
        """Stop the request with an error of kind `budget`. Safe to call from any thread."""
        ...


class Budget:
    """A limit for all requests that start within its `with` (or `async with`) block.

    Tasks, `asyncio.to_thread`, tool loops and batches inherit it. In a thread of your own, enter
    the same object again: `with b:`. Nested budgets all apply.

    Args:
        usd: The limit in US dollars. None: no limit, only accounting.
        tokens: The limit in tokens, of prompts and answers together. None: no limit.
        unknown: How to treat an unknown cost if there is a limit in dollars. `"refuse"` sends
            nothing to a model of unknown price; if the cost of a response turns out to be unknown,
            it sends nothing more. `"ignore"` continues and counts the known part of the cost.
        count_tokens: Whether the provider counts the tokens of each prompt before it is sent
            (`pipy_ai.count_tokens`), which takes one more request. Otherwise they are estimated.
        ledger: The path of a file to which each finished request adds a line (`read_ledger`).

    Raises:
        ValueError: A limit that is not greater than 0; an invalid value of `unknown`.

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
        count_tokens: bool = False,
        ledger: str | os.PathLike[str] | None = None,
    ) -> None:
        for name, limit in (("usd", usd), ("tokens", tokens)):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} must be greater than 0, not {limit!r}")
        if unknown not in ("refuse", "ignore"):
            raise ValueError(f'unknown must be "refuse" or "ignore", not {unknown!r}')
        self.usd = usd
        self.tokens = tokens
        self.unknown = unknown
        self.count_tokens = count_tokens
        self.ledger: str | None = (
            None if ledger is None else os.path.abspath(os.path.expanduser(ledger))
        )
        self._lock = threading.Lock()
        self._reservations: set[Reservation] = set()
        self._settled = [0.0, 0]  # dollars and tokens of finished requests
        self._in_flight = [0.0, 0]  # and of requests in flight, as estimated
        self._closed = False  # an answer was cancelled, so no more requests are admitted
        self._unknown_cost_model = ""  # one of its responses had an unknown cost
        self._spending_by_model: dict[str, Spending] = {}

    @property
    def spent(self) -> float:
        """US dollars spent so far, including requests in flight."""
        return round(self._settled[0] + self._in_flight[0], 12)

    @property
    def tokens_spent(self) -> int:
        """Tokens used so far, including requests in flight."""
        return int(self._settled[1] + self._in_flight[1])

    @property
    def left(self) -> float | None:
        """US dollars that are left, at least 0. None: there is no limit."""
        return None if self.usd is None else max(0.0, round(self.usd - self.spent, 12))

    def by_model(self) -> dict[str, Spending]:
        """Return the finished requests by `provider/model`, most expensive first.

        A failed attempt counts for the model that it was sent to.
        """
        with self._lock:
            ranked = sorted(
                self._spending_by_model.items(), key=lambda item: (-item[1].usd, item[0])
            )
            return {name: replace(spending) for name, spending in ranked}

    def table(self) -> str:
        """Return `by_model()` as a plain-text table."""
        from .ledger import spending_table

        text = format_table(*spending_table("model", self.by_model()))
        if self.left is not None:
            text += f"\n{format_usd(self.left)} of {format_usd(self.usd or 0)} left"
        return text

    def __repr__(self) -> str:
        from ..reprs import budget_repr

        return budget_repr(self)

    def _repr_markdown_(self) -> str:
        from ..notebook import budget_markdown

        return budget_markdown(self)

    def _repr_html_(self) -> str:
        from ..notebook import budget_html

        return budget_html(self)

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
        if self in active:  # a budget may be entered several times: remove the innermost
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

    def admit(
        self,
        reservation: Reservation,
        model: str,
        usd: float | None,
        tokens: int,
        subject: str = "The prompt alone",
    ) -> str | None:
        """Admit a request whose prompt costs this much, or return the reason for refusing it."""
        with self._lock:
            if self._is_exhausted():
                spent = self._format_amounts(self.spent, self.tokens_spent)
                return (
                    f"The budget of {self._limit_text} is used up: {spent} spent. Nothing was sent."
                )
            if self._unknown_cost_model:
                return (
                    f"The cost of a response from {self._unknown_cost_model} is unknown, and so is"
                    f" the rest of the budget of {self._limit_text}. Nothing was sent. To continue"
                    ' after such a response, use budget(unknown="ignore").'
                )
            if usd is None and self.usd is not None and self.unknown == "refuse":
                return (
                    f"The price of {model} is unknown, so nothing was sent. Set it in"
                    ' overrides.json, or use budget(unknown="ignore").'
                )
            if self._is_exceeded(usd or 0.0, tokens):
                remaining = self._format_amounts(
                    self.left or 0.0, (self.tokens or 0) - self.tokens_spent
                )
                cost = f" or {format_usd(usd)}" if usd else ""
                return (
                    f"{subject} needs about {format_count(tokens, 'token')}{cost}, but the"
                    f" budget of {self._limit_text} has only {remaining} left. Nothing was sent."
                )
            self._reservations.add(reservation)
            self._in_flight[0] += usd or 0.0
            self._in_flight[1] += tokens
        return None

    def add_usage(self, usd: float, tokens: int) -> bool:
        """Add the cost of a request in flight. Return whether the budget is exceeded."""
        with self._lock:
            self._in_flight[0] += usd
            self._in_flight[1] += tokens
            return self._is_exceeded()

    def settle(
        self,
        reservation: Reservation,
        model: str,
        usage: Usage | None,
        cost: float | None,
        known_cost: float = 0.0,
    ) -> None:
        """Replace the estimate of a request with its actual usage and cost.

        If the cost is unknown, `known_cost`, the known part of it, is counted.
        """
        with self._lock:
            if reservation not in self._reservations:
                return
            self._release(reservation)
            tokens = reservation.tokens if usage is None else usage.total_tokens
            self._count(model, usage, tokens, cost, known_cost)

    def release(self, reservation: Reservation) -> None:
        """Undo a reservation, of which nothing was spent."""
        with self._lock:
            if reservation in self._reservations:
                self._release(reservation)

    def charge(self, model: str, usage: Usage, cost: float | None, known_cost: float) -> None:
        """Count a request that was paid for without a reservation, even beyond the limit."""
        with self._lock:
            self._count(model, usage, usage.total_tokens, cost, known_cost)

    def _release(self, reservation: Reservation) -> None:
        self._reservations.remove(reservation)
        self._in_flight[0] -= reservation.usd
        self._in_flight[1] -= reservation.tokens
        if not self._reservations:
            self._in_flight = [0.0, 0]  # discard the rounding errors of many small sums

    def _count(
        self, model: str, usage: Usage | None, tokens: int, cost: float | None, known_cost: float
    ) -> None:
        """Add the final usage and cost of a request; the lock is held."""
        from .ledger import Spending

        self._settled[0] += known_cost if cost is None else cost
        self._settled[1] += tokens
        if not cost and not tokens:
            return
        if cost is None and self.usd is not None and self.unknown == "refuse":
            self._unknown_cost_model = model
        output = 0 if usage is None else usage.output
        spending = self._spending_by_model.setdefault(model, Spending())
        spending.add(tokens - output, output, cost)

    def reservations_to_stop(
        self, reservation: Reservation, answer_stopped: bool
    ) -> list[Reservation]:
        """Return the other requests to cancel if the budget is exceeded.

        Once there is one, or with `answer_stopped`, no more requests are admitted.
        """
        with self._lock:
            if self._closed or not self._is_exceeded():
                return []
            others = [other for other in self._reservations if other is not reservation]
            self._closed = answer_stopped or bool(others)
            return others

    def exceeded_text(self) -> str:
        """Return the error message of a request that exceeded the budget."""
        return (
            f"The budget of {self._limit_text} is exceeded; the response was stopped. "
            "Partial output is kept."
        )

    def _is_exceeded(self, usd: float = 0.0, tokens: int = 0) -> bool:
        """Return whether the budget is exceeded by an additional cost."""
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
        """Format amounts in the units that have a limit."""
        parts = [] if self.usd is None else [format_usd(usd)]
        parts += [] if self.tokens is None else [format_count(tokens, "token")]
        return " and ".join(parts)


budget = Budget
