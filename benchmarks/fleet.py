"""A simulation of 1,000 workers with a billion tokens to get: where the time, the money and the
limits go, and what breaks first.

    python benchmarks/fleet.py

Discrete events over some minutes, from which the whole job is reckoned. What a request costs on
its way is measured (`gateway.py`); how models answer and what providers allow is assumed. Both
stand below. A seed makes every run the same.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from math import exp
from typing import Any

# Measured on one core, CPU seconds; see docs/scale.md.
PROXY_REQUEST, PROXY_DELTA = 0.027, 0.00064
PROXY_REFUSAL = 0.015  # of a request over the limit
ROUTER_REQUEST, ROUTER_DELTA = 0.025, 0.00082  # LiteLLM's Router in the worker
CLIENT_REQUEST, CLIENT_DELTA = 0.0011, 0.000048  # a lane of ours
REDIS_REQUEST = 0.0003  # for its 11 commands

# Assumed: how models answer.
PROMPT, ANSWER = 800, 200  # tokens of a request; a delta is a token
FIRST = (0.6, 0.5)  # s to the first token: median, sigma (lognormal)
SPEED = (80.0, 0.3)  # tokens a second, likewise
FAILS = 0.005  # requests that end in a 5xx before the first token
CUT = 0.001  # answers that break off in the middle, and are billed that far
STALLS = 0.0005  # answers that stop coming, until `idle_timeout`

# pipy-ai's own rules, of provider/engine.py.
BACKOFF, MAX_BACKOFF, RETRIES, IDLE = 0.5, 8.0, 2, 120.0

TOKENS = 1_000_000_000
WARM, WINDOW = 60, 120  # seconds left out, and counted: whole minutes, two as waits echo
MODELS = ("openai/gpt-5-mini", "openai/gpt-5", "google/gemini-2.5-flash",
          "anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-4-5")  # fmt: skip


@dataclass(frozen=True)
class Fleet:
    """Who asks, by which way, and what is allowed.

    `way` is `proxy`, `router` (LiteLLM's, in each worker) or `direct`. `rpm` and `tpm` are those of
    each of the `deployments`; over a proxy or Router they are counted in Redis, else the providers
    keep them.
    """

    name: str
    way: str = "proxy"
    proxies: int = 2
    workers: int = 1000
    streams: int = 4
    deployments: int = 3
    rpm: int = 10_000
    tpm: int = 10_000_000
    whole_minute: bool = False  # a refused request waits 60 s, as LiteLLM says, not for the turn


@dataclass
class Outcome:
    """What the window saw. `spent` is the time of all streams, by what they waited for (s)."""

    fleet: Fleet
    done: int = 0
    refused: int = 0
    failed: int = 0  # requests given up after their retries, to be asked again later
    paid_in_vain: int = 0  # tokens
    spent: Counter[str] = field(default_factory=Counter)
    proxy: float = 0.0  # CPU seconds
    redis: float = 0.0
    client: float = 0.0
    full: Counter[str] = field(default_factory=Counter)  # which limit refused

    def share(self, what: str) -> float:
        """The part of all streams' time that went there."""
        return self.spent[what] / max(sum(self.spent.values()), 1e-9)

    @property
    def tokens(self) -> float:
        """Tokens a second."""
        return self.done * (PROMPT + ANSWER) / WINDOW

    @property
    def hours(self) -> float:
        """For the whole job."""
        return TOKENS / self.tokens / 3600 if self.done else float("inf")


def within(begun: float, ended: float) -> float:
    """How much of a time lies in the window (s)."""
    return max(0.0, min(ended, WARM + WINDOW) - max(begun, WARM))


class Simulation:
    """One fleet at work. Stations are servers with a queue: the time until which each is busy."""

    def __init__(self, fleet: Fleet, seed: int = 1) -> None:
        self.fleet = fleet
        self.chance = random.Random(seed)
        self.outcome = Outcome(fleet)
        self.proxies = [0.0] * fleet.proxies
        self.redis = 0.0
        self.requests: defaultdict[tuple[int, int], int] = defaultdict(int)  # by place and minute
        self.tokens: defaultdict[tuple[int, int], int] = defaultdict(int)

    def run(self) -> Outcome:
        """Let every stream ask, one request after another, until the window closes."""
        count = self.fleet.workers * self.fleet.streams
        # They start within the first ten seconds, as machines do.
        due = [(self.chance.uniform(0, 10), n, self._stream(n)) for n in range(count)]
        heapq.heapify(due)
        self.now = 0.0
        while due[0][0] < WARM + WINDOW:
            self.now, number, stream = due[0]
            heapq.heapreplace(due, (next(stream), number, stream))
        self.now = float(WARM + WINDOW)
        for _, _, stream in due:
            stream.close()
        return self.outcome

    @property
    def counts(self) -> bool:
        """Whether the window is open."""
        return self.now >= WARM

    def _stream(self, number: int) -> Generator[float, None, None]:
        """The life of one stream: yields when it wants to be woken."""
        while True:
            for attempt in range(RETRIES + 1):
                wait = yield from self._attempt(number, attempt)
                if wait is None:
                    break
                if attempt == RETRIES:
                    self.outcome.failed += self.counts
                    break
                yield from self._pass(wait[0], wait[1])

    def _pass(self, until: float, what: str) -> Generator[float, None, None]:
        begun = self.now
        try:
            yield until
        finally:  # or the window has closed meanwhile
            self.outcome.spent[what] += within(begun, self.now)

    def _attempt(self, number: int, tries: int) -> Generator[float, None, tuple[float, str] | None]:
        """One try. Returns None when it went well, else until when to wait, and for what."""
        fleet, chance, outcome = self.fleet, self.chance, self.outcome
        proxied = fleet.way == "proxy"
        at = int(chance.random() * fleet.proxies)
        if proxied:
            yield from self._pass(self._work(at, PROXY_REFUSAL), "proxy")
        if fleet.way != "direct":
            ready = self._count()
            if ready > self.now + 0.001:
                yield from self._pass(ready, "Redis")
        self._client(CLIENT_REQUEST if fleet.way != "router" else ROUTER_REQUEST)
        place, minute = int(chance.random() * fleet.deployments), int(self.now // 60)
        if full := self._full(place, minute):
            outcome.refused += self.counts
            outcome.full[full] += self.counts
            return (self.now + 60.0 if fleet.whole_minute else 60.0 * (minute + 1)), "limits"
        self.requests[place, minute] += 1
        if proxied:
            yield from self._pass(self._work(at, PROXY_REQUEST - PROXY_REFUSAL), "proxy")
        luck = chance.random()
        first = FIRST[0] * exp(chance.gauss(0.0, FIRST[1]))
        if luck < FAILS:
            yield from self._pass(self.now + first, "model")
            return self.now + chance.uniform(0, min(MAX_BACKOFF, BACKOFF * 2**tries)), "retries"
        whole = ANSWER / SPEED[0] * exp(chance.gauss(0.0, SPEED[1]))
        if luck < FAILS + CUT + STALLS:
            part = chance.random()
            stall = IDLE if luck >= FAILS + CUT else 0.0
            yield from self._pass(self.now + first + part * whole + stall, "retries")
            outcome.paid_in_vain += self.counts * int(PROMPT + part * ANSWER)
            outcome.failed += self.counts  # it had begun: no retry of ours, the row is asked again
            return None
        yield from self._pass(self.now + first + whole, "model")
        self._client(ANSWER * (ROUTER_DELTA if fleet.way == "router" else CLIENT_DELTA))
        if proxied:
            yield from self._pass(self._work(at, ANSWER * PROXY_DELTA), "proxy")
        self.tokens[place, int(self.now // 60)] += PROMPT + ANSWER
        outcome.done += self.counts
        return None

    def _full(self, place: int, minute: int) -> str:
        """The limit that a request would break."""
        if self.requests[place, minute] >= self.fleet.rpm:
            return "rpm"
        return "tpm" if self.tokens[place, minute] >= self.fleet.tpm else ""

    def _work(self, at: int, seconds: float) -> float:
        """When a proxy is through with so much work, after all that is before it."""
        begun = max(self.now, self.proxies[at])
        self.proxies[at] = begun + seconds
        self.outcome.proxy += within(begun, self.proxies[at])
        return self.proxies[at]

    def _count(self) -> float:
        begun = max(self.now, self.redis)
        self.redis = begun + REDIS_REQUEST
        self.outcome.redis += within(begun, self.redis)
        return self.redis

    def _client(self, seconds: float) -> None:
        self.outcome.client += seconds * self.counts


_MORE: dict[str, Any] = {"rpm": 100_000, "tpm": 100_000_000}
FLEETS = [
    Fleet("2 proxies"),
    Fleet("16 proxies", proxies=16),
    Fleet("100 proxies, waiting the 60 s that they say", proxies=100, whole_minute=True),
    Fleet("100 proxies", proxies=100),
    Fleet("Router in each worker", way="router", proxies=1, whole_minute=True),
    Fleet("no gateway", way="direct", proxies=1),
    Fleet("100 proxies, limits × 10", proxies=100, **_MORE),
    Fleet("300 proxies, limits × 10", proxies=300, **_MORE),
    Fleet("no gateway, limits × 10", way="direct", proxies=1, **_MORE),
]


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The outcomes, in Markdown."""
    lines = [
        "| | requests/s | hours | for the model | for limits | for proxies | for Redis |"
        " for retries | refused | a proxy's core | Redis's core | workers' cores |",
        "| --- |" + " ---: |" * 11,
    ]
    for one in outcomes:
        fleet = one.fleet
        spent = [one.share(what) for what in ("model", "limits", "proxy", "Redis", "retries")]
        refused = one.refused / max(one.refused + one.done, 1)
        busy = f"{one.proxy / WINDOW / fleet.proxies:.0%}" if fleet.way == "proxy" else "–"
        redis = f"{one.redis / WINDOW:.0%}" if fleet.way != "direct" else "–"
        lines.append(
            f"| {fleet.name} | {one.done / WINDOW:,.0f} | {one.hours:.1f} |"
            f" {' | '.join(f'{value:.0%}' for value in spent)} | {refused:.0%} | {busy} | {redis} |"
            f" {one.client / WINDOW:,.1f} |"
        )
    return lines


def prices(outcome: Outcome) -> list[str]:
    """What the job costs, by model, at the catalogue's prices."""
    from pipy_ai import Usage, calculate_cost, get_model

    asked = TOKENS // (PROMPT + ANSWER)
    vain = outcome.paid_in_vain / max(outcome.done, 1) / (PROMPT + ANSWER)
    lines = ["| | a billion tokens, $ | of it for answers that broke off, $ |",
             "| --- | ---: | ---: |"]  # fmt: skip
    for name in MODELS:
        model = get_model(name)
        assert model is not None, name
        cost = calculate_cost(model, Usage(input=PROMPT, output=ANSWER)).total
        assert cost is not None, name
        lines.append(f"| {name} | {asked * cost * (1 + vain):,.0f} | {asked * cost * vain:,.1f} |")
    return lines


def main() -> None:
    """Simulate and print."""
    outcomes = [Simulation(fleet).run() for fleet in FLEETS]
    print("\n".join(table(outcomes)))
    print()
    print("\n".join(prices(next(one for one in outcomes if one.fleet.way == "direct"))))


if __name__ == "__main__":
    main()
