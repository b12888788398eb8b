"""Simulate 1,000 workers that process a billion tokens: time, cost, limits and bottlenecks.

    python benchmarks/fleet.py

A discrete-event simulation of a few minutes, extrapolated to the whole job. The cost of a request
on its way is measured (`gateway.py`); how models answer and what providers allow is assumed. Both
are listed below. A seed makes every run the same.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from math import exp
from typing import Any

# Measured CPU seconds on one core; see docs/scale.md.
PROXY_REQUEST, PROXY_DELTA = 0.027, 0.00064
PROXY_REFUSAL = 0.015  # of a request over the limit
ROUTER_REQUEST, ROUTER_DELTA = 0.025, 0.00082  # LiteLLM's Router in the worker
CLIENT_REQUEST, CLIENT_DELTA = 0.0011, 0.000048  # direct transport
REDIS_REQUEST = 0.0003  # for its 11 commands

# Assumed: how models answer.
PROMPT_TOKENS, ANSWER_TOKENS = 800, 200  # of a request; a delta is a token
FIRST_TOKEN_S = (0.6, 0.5)  # median, sigma (lognormal)
TOKENS_PER_S = (80.0, 0.3)  # median, sigma (lognormal)
FAILURE_RATE = 0.005  # requests that fail with a 5xx before the first token
TRUNCATION_RATE = 0.001  # answers that are cut off, and billed up to there
STALL_RATE = 0.0005  # answers that stall until `idle_timeout`

# pipy-ai's own rules, from provider/engine.py.
BACKOFF_S, MAX_BACKOFF_S, MAX_RETRIES, IDLE_TIMEOUT_S = 0.5, 8.0, 2, 120.0

JOB_TOKENS = 1_000_000_000
WARMUP_S, WINDOW_S = 60, 120  # whole minutes; two, as waits recur
MODELS = ("openai/gpt-5-mini", "openai/gpt-5", "google/gemini-2.5-flash",
          "anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-4-5")  # fmt: skip


@dataclass(frozen=True)
class Fleet:
    """The workers, their route to the models, and the limits.

    `route` is `proxy`, `router` (LiteLLM's Router in each worker) or `direct`. `rpm` and `tpm` are
    the limits of each of the `deployments`. A proxy or Router counts them in Redis; otherwise the
    providers enforce them.
    """

    name: str
    route: str = "proxy"
    proxies: int = 2
    workers: int = 1000
    streams: int = 4
    deployments: int = 3
    rpm: int = 10_000
    tpm: int = 10_000_000
    # A refused request waits 60 s, as LiteLLM tells it to, not until the next minute begins.
    waits_full_minute: bool = False


@dataclass
class Outcome:
    """The results within the window. `seconds_by_activity` is the time of all streams."""

    fleet: Fleet
    done: int = 0
    refused: int = 0
    failed: int = 0  # requests that failed after their retries, to be sent again later
    wasted_tokens: int = 0
    seconds_by_activity: Counter[str] = field(default_factory=Counter)
    proxy_cpu_s: float = 0.0
    redis_cpu_s: float = 0.0
    client_cpu_s: float = 0.0
    refusals_by_limit: Counter[str] = field(default_factory=Counter)

    def share(self, activity: str) -> float:
        """Return the share of the streams' time that an activity took."""
        return self.seconds_by_activity[activity] / max(
            sum(self.seconds_by_activity.values()), 1e-9
        )

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second."""
        return self.done * (PROMPT_TOKENS + ANSWER_TOKENS) / WINDOW_S

    @property
    def hours(self) -> float:
        """Hours for the whole job."""
        return JOB_TOKENS / self.tokens_per_s / 3600 if self.done else float("inf")


def seconds_in_window(start: float, end: float) -> float:
    """Return how many seconds of an interval are within the window."""
    return max(0.0, min(end, WARMUP_S + WINDOW_S) - max(start, WARMUP_S))


class Simulation:
    """A run of one fleet. Each station is a queue, stored as the time until which it is busy."""

    def __init__(self, fleet: Fleet, seed: int = 1) -> None:
        self.fleet = fleet
        self.rng = random.Random(seed)
        self.outcome = Outcome(fleet)
        self.proxy_busy_until = [0.0] * fleet.proxies
        self.redis_busy_until = 0.0
        self.requests: defaultdict[tuple[int, int], int] = defaultdict(
            int
        )  # by deployment and minute
        self.tokens: defaultdict[tuple[int, int], int] = defaultdict(int)

    def run(self) -> Outcome:
        """Let every stream send one request after another until the window closes."""
        count = self.fleet.workers * self.fleet.streams
        # The workers start within the first ten seconds.
        schedule = [(self.rng.uniform(0, 10), n, self._stream(n)) for n in range(count)]
        heapq.heapify(schedule)
        self.now = 0.0
        while schedule[0][0] < WARMUP_S + WINDOW_S:
            self.now, number, stream = schedule[0]
            heapq.heapreplace(schedule, (next(stream), number, stream))
        self.now = float(WARMUP_S + WINDOW_S)
        for _, _, stream in schedule:
            stream.close()
        return self.outcome

    @property
    def in_window(self) -> bool:
        """Whether the window is open."""
        return self.now >= WARMUP_S

    def _stream(self, number: int) -> Generator[float, None, None]:
        """Run one stream. Yields the time at which it continues."""
        while True:
            for attempt in range(MAX_RETRIES + 1):
                wait = yield from self._attempt(number, attempt)
                if wait is None:
                    break
                if attempt == MAX_RETRIES:
                    self.outcome.failed += self.in_window
                    break
                yield from self._wait(wait[0], wait[1])

    def _wait(self, until: float, activity: str) -> Generator[float, None, None]:
        start = self.now
        try:
            yield until
        finally:  # also when the window has closed
            self.outcome.seconds_by_activity[activity] += seconds_in_window(start, self.now)

    def _attempt(
        self, number: int, attempt: int
    ) -> Generator[float, None, tuple[float, str] | None]:
        """Run one attempt. Returns None if it is final, else when to retry and the activity."""
        fleet, rng, outcome = self.fleet, self.rng, self.outcome
        uses_proxy = fleet.route == "proxy"
        proxy_index = int(rng.random() * fleet.proxies)
        if uses_proxy:
            yield from self._wait(self._use_proxy(proxy_index, PROXY_REFUSAL), "proxy")
        if fleet.route != "direct":
            redis_done_at = self._use_redis()
            if redis_done_at > self.now + 0.001:
                yield from self._wait(redis_done_at, "Redis")
        self._use_client(CLIENT_REQUEST if fleet.route != "router" else ROUTER_REQUEST)
        deployment, minute = int(rng.random() * fleet.deployments), int(self.now // 60)
        if limit := self._exceeded_limit(deployment, minute):
            outcome.refused += self.in_window
            outcome.refusals_by_limit[limit] += self.in_window
            return (self.now + 60.0 if fleet.waits_full_minute else 60.0 * (minute + 1)), "limits"
        self.requests[deployment, minute] += 1
        if uses_proxy:
            yield from self._wait(
                self._use_proxy(proxy_index, PROXY_REQUEST - PROXY_REFUSAL), "proxy"
            )
        roll = rng.random()
        first_token_s = FIRST_TOKEN_S[0] * exp(rng.gauss(0.0, FIRST_TOKEN_S[1]))
        if roll < FAILURE_RATE:
            yield from self._wait(self.now + first_token_s, "model")
            return self.now + rng.uniform(0, min(MAX_BACKOFF_S, BACKOFF_S * 2**attempt)), "retries"
        answer_s = ANSWER_TOKENS / TOKENS_PER_S[0] * exp(rng.gauss(0.0, TOKENS_PER_S[1]))
        if roll < FAILURE_RATE + TRUNCATION_RATE + STALL_RATE:
            fraction = rng.random()
            stall_s = IDLE_TIMEOUT_S if roll >= FAILURE_RATE + TRUNCATION_RATE else 0.0
            yield from self._wait(
                self.now + first_token_s + fraction * answer_s + stall_s, "retries"
            )
            outcome.wasted_tokens += self.in_window * int(PROMPT_TOKENS + fraction * ANSWER_TOKENS)
            # An answer that has begun is not retried; the row is sent again later.
            outcome.failed += self.in_window
            return None
        yield from self._wait(self.now + first_token_s + answer_s, "model")
        self._use_client(
            ANSWER_TOKENS * (ROUTER_DELTA if fleet.route == "router" else CLIENT_DELTA)
        )
        if uses_proxy:
            yield from self._wait(
                self._use_proxy(proxy_index, ANSWER_TOKENS * PROXY_DELTA), "proxy"
            )
        self.tokens[deployment, int(self.now // 60)] += PROMPT_TOKENS + ANSWER_TOKENS
        outcome.done += self.in_window
        return None

    def _exceeded_limit(self, deployment: int, minute: int) -> str:
        """Return the limit that a request would exceed, or an empty string."""
        if self.requests[deployment, minute] >= self.fleet.rpm:
            return "rpm"
        return "tpm" if self.tokens[deployment, minute] >= self.fleet.tpm else ""

    def _use_proxy(self, proxy_index: int, seconds: float) -> float:
        """Queue work at a proxy, and return when it is done."""
        start = max(self.now, self.proxy_busy_until[proxy_index])
        self.proxy_busy_until[proxy_index] = start + seconds
        self.outcome.proxy_cpu_s += seconds_in_window(start, self.proxy_busy_until[proxy_index])
        return self.proxy_busy_until[proxy_index]

    def _use_redis(self) -> float:
        start = max(self.now, self.redis_busy_until)
        self.redis_busy_until = start + REDIS_REQUEST
        self.outcome.redis_cpu_s += seconds_in_window(start, self.redis_busy_until)
        return self.redis_busy_until

    def _use_client(self, seconds: float) -> None:
        self.outcome.client_cpu_s += seconds * self.in_window


_HIGHER_LIMITS: dict[str, Any] = {"rpm": 100_000, "tpm": 100_000_000}
FLEETS = [
    Fleet("2 proxies"),
    Fleet("16 proxies", proxies=16),
    Fleet("100 proxies, waiting the 60 s they ask for", proxies=100, waits_full_minute=True),
    Fleet("100 proxies", proxies=100),
    Fleet("Router in each worker", route="router", proxies=1, waits_full_minute=True),
    Fleet("no gateway", route="direct", proxies=1),
    Fleet("100 proxies, limits × 10", proxies=100, **_HIGHER_LIMITS),
    Fleet("300 proxies, limits × 10", proxies=300, **_HIGHER_LIMITS),
    Fleet("no gateway, limits × 10", route="direct", proxies=1, **_HIGHER_LIMITS),
]


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the outcomes as a Markdown table."""
    lines = [
        "| | requests/s | hours | for the model | for limits | for proxies | for Redis |"
        " for retries | refused | a proxy's core | Redis's core | workers' cores |",
        "| --- |" + " ---: |" * 11,
    ]
    for outcome in outcomes:
        fleet = outcome.fleet
        shares = [
            outcome.share(activity) for activity in ("model", "limits", "proxy", "Redis", "retries")
        ]
        refused_share = outcome.refused / max(outcome.refused + outcome.done, 1)
        proxy_load = (
            f"{outcome.proxy_cpu_s / WINDOW_S / fleet.proxies:.0%}"
            if fleet.route == "proxy"
            else "–"
        )
        redis_load = f"{outcome.redis_cpu_s / WINDOW_S:.0%}" if fleet.route != "direct" else "–"
        lines.append(
            f"| {fleet.name} | {outcome.done / WINDOW_S:,.0f} | {outcome.hours:.1f} |"
            f" {' | '.join(f'{value:.0%}' for value in shares)} | {refused_share:.0%} |"
            f" {proxy_load} | {redis_load} |"
            f" {outcome.client_cpu_s / WINDOW_S:,.1f} |"
        )
    return lines


def prices(outcome: Outcome) -> list[str]:
    """Return the cost of the job by model, at the catalogue's prices."""
    from pipy_ai import Usage, calculate_cost, get_model

    requests = JOB_TOKENS // (PROMPT_TOKENS + ANSWER_TOKENS)
    wasted_share = outcome.wasted_tokens / max(outcome.done, 1) / (PROMPT_TOKENS + ANSWER_TOKENS)
    lines = ["| | 1 billion tokens, $ | of which responses that broke off, $ |",
             "| --- | ---: | ---: |"]  # fmt: skip
    for name in MODELS:
        model = get_model(name)
        assert model is not None, name
        cost = calculate_cost(model, Usage(input=PROMPT_TOKENS, output=ANSWER_TOKENS)).total
        assert cost is not None, name
        total, wasted = requests * cost * (1 + wasted_share), requests * cost * wasted_share
        lines.append(f"| {name} | {total:,.0f} | {wasted:,.1f} |")
    return lines


def main() -> None:
    """Simulate and print."""
    outcomes = [Simulation(fleet).run() for fleet in FLEETS]
    print("\n".join(table(outcomes)))
    print()
    without_gateway = next(outcome for outcome in outcomes if outcome.fleet.route == "direct")
    print("\n".join(prices(without_gateway)))


if __name__ == "__main__":
    main()
