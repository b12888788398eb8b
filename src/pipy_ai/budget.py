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
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from .ledger import Spending, spending_rows
from .provider.engine import BUDGETS
from .utils.plain import aligned, money

if TYPE_CHECKING:
    from typing import Self

    from .provider.meter import Meter
    from .types import Usage


_NOISE = 1e-12  # dollars: what is below is of binary fractions


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
        self._live: set[Meter] = set()
        self._settled = [0.0, 0]  # dollars and tokens of what has ended
        self._running = [0.0, 0]  # and of what is under way
        self._ended = False  # an answer had to be stopped: nothing more is let in
        self._models: dict[str, Spending] = {}

    # --- What was spent ---------------------------------------------------------------------

    @property
    def spent(self) -> float:
        """US dollars so far, with what is under way."""
        return round(self._settled[0] + self._running[0], 12)

    @property
    def tokens_spent(self) -> int:
        """Tokens so far, with what is under way."""
        return int(self._settled[1] + self._running[1])

    @property
    def left(self) -> float | None:
        """US dollars that are left, never below 0; None: there is no limit."""
        return None if self.usd is None else max(0.0, round(self.usd - self.spent, 12))

    def by_model(self) -> dict[str, Spending]:
        """What has ended, by `provider/model`, the dearest first. A try that failed counts for its
        own model."""
        with self._lock:
            found = sorted(self._models.items(), key=lambda item: (-item[1].usd, item[0]))
            return {name: replace(one) for name, one in found}

    def table(self) -> str:
        """The same as a table of plain text."""
        text = aligned(*spending_rows("model", self.by_model()))
        if self.left is not None:
            text += f"\n{money(self.left)} of {money(self.usd or 0)} left"
        return text

    # --- The block --------------------------------------------------------------------------

    def __enter__(self) -> Self:
        BUDGETS.set((*BUDGETS.get(), self))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        active = list(BUDGETS.get())
        if self in active:  # the innermost of the times that it was entered
            del active[len(active) - 1 - active[::-1].index(self)]
        BUDGETS.set(tuple(active))

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
            if self._spent_up():
                said = self._told_in(self.spent, self.tokens_spent)
                return f"The budget of {self._limit} is spent: {said} of it. Nothing was sent."
            if usd is None and self.usd is not None and self.unknown == "refuse":
                return (
                    f"The price of {model} is not known, so nothing was sent. Give it one in"
                    ' overrides.json, or leave it out of the account: budget(unknown="ignore").'
                )
            if self._passed(usd or 0.0, tokens):
                rest = self._told_in(self.left or 0.0, (self.tokens or 0) - self.tokens_spent)
                return (
                    f"The prompt alone, about {tokens:,} tokens"
                    f"{f' or {money(usd)}' if usd else ''}, would pass what is left of the budget"
                    f" of {self._limit}: {rest}. Nothing was sent."
                )
            self._live.add(meter)
            self._running[0] += usd or 0.0
            self._running[1] += tokens
        return None

    def grow(self, usd: float, tokens: int) -> bool:
        """Count what a request under way has cost more. Whether the budget is passed."""
        with self._lock:
            self._running[0] += usd
            self._running[1] += tokens
            return self._passed()

    def settle(self, meter: Meter, model: str, usage: Usage | None, cost: float | None) -> None:
        """Put what a request has really used and cost in the place of its estimate."""
        with self._lock:
            if meter not in self._live:
                return
            self._live.remove(meter)
            self._running[0] -= meter.usd
            self._running[1] -= meter.tokens
            if not self._live:
                self._running = [0.0, 0]  # without the noise of many small sums
            tokens = meter.tokens if usage is None else usage.total_tokens
            self._settled[0] += cost or 0.0
            self._settled[1] += tokens
            if not cost and not tokens:
                return
            output = 0 if usage is None else usage.output
            one = self._models.setdefault(model, Spending())
            one.add(tokens - output, output, cost)

    def end(self, meter: Meter, stopped: bool) -> list[Meter]:
        """If it is passed: who else is to stop. Once one did, or `stopped`, no more are let in."""
        with self._lock:
            if self._ended or not self._passed():
                return []
            others = [one for one in self._live if one is not meter]
            self._ended = stopped or bool(others)
            return others

    def why(self) -> str:
        """What a request is told that passed it, or would have."""
        return (
            f"The budget of {self._limit} is passed; the answer was stopped, and what came before"
            " is kept."
        )

    def _passed(self, usd: float = 0.0, tokens: int = 0) -> bool:
        """Whether it is passed with this much more."""
        if self.usd is not None:
            over = self._settled[0] + self._running[0] + usd - self.usd
            if over > _NOISE:
                return True
        return self.tokens is not None and self.tokens_spent + tokens > self.tokens

    def _spent_up(self) -> bool:
        dollars = self.usd is not None and self.spent >= self.usd
        tokens = self.tokens is not None and self.tokens_spent >= self.tokens
        return self._ended or dollars or tokens

    @property
    def _limit(self) -> str:
        return self._told_in(self.usd or 0.0, self.tokens or 0)

    def _told_in(self, usd: float, tokens: int) -> str:
        """These figures, in the units that there is a limit in."""
        said = [] if self.usd is None else [money(usd)]
        said += [] if self.tokens is None else [f"{tokens:,} tokens"]
        return " and ".join(said)


budget = Budget
