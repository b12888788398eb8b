"""Run targets on random cases, and report each kind of failure once.

A target is a function that takes a `random.Random`, makes an input from it and raises if the code
under test breaks a promise. A case is the seed and its number, so every failure can be repeated.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

Target: TypeAlias = Callable[[random.Random], None]

TARGETS: dict[str, Target] = {}
SECONDS_PER_CASE = 60.0  # of CPU, as a busy machine counts it; a case takes a millisecond
_CASES_PER_SEED = 1 << 32
_MAX_FINDINGS = 5
_MAX_VALUE_CHARS = 2000
_DIRECTORY = os.path.dirname(__file__)


class TooSlow(KeyboardInterrupt):
    """A case took more than `SECONDS_PER_CASE`. Neither asyncio nor code under test catches it."""


def target(function: Target) -> Target:
    """Add a function to `TARGETS` under its name."""
    assert function.__name__ not in TARGETS, f"two targets are named {function.__name__}"
    TARGETS[function.__name__] = function
    return function


def run_cases(name: str, seed: int, first: int, cases: int) -> tuple[list[str], int]:
    """Run a target until it is done, interrupted, or has failed in `_MAX_FINDINGS` ways.

    Return a report for each place in the code at which a case failed, and the number of cases.
    """
    function = TARGETS[name]
    rng = random.Random()
    reports: dict[tuple[object, ...], str] = {}
    signal.signal(signal.SIGVTALRM, _stop_slow_case)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.freeze()  # what was imported need not be searched for garbage
    case = first - 1
    for case in range(first, first + cases):
        try:
            rng.seed(seed * _CASES_PER_SEED + case)
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_PER_CASE)
            function(rng)
        except (Exception, TooSlow) as error:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            if (place := _place(error)) not in reports:
                reports[place] = _report(name, seed, case, error)
            if len(reports) == _MAX_FINDINGS:
                break
        except KeyboardInterrupt:
            break
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return list(reports.values()), case - first + 1


def run_hypothesis(name: str, seed: int, cases: int) -> list[str]:
    """Run a target on cases that Hypothesis chooses; return a report of the smallest failure."""
    import hypothesis
    from hypothesis import strategies as st

    settings = hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    test = hypothesis.given(st.randoms(use_true_random=False))(TARGETS[name])
    try:
        hypothesis.seed(seed)(settings(test))()
    except Exception as error:
        return [_report(name, seed, None, error)]
    return []


def _stop_slow_case(signal_number: int, frame: FrameType | None) -> None:
    raise TooSlow(f"more than {SECONDS_PER_CASE:g} s")


def _place(error: BaseException) -> tuple[object, ...]:
    if isinstance(error, TooSlow):
        return (TooSlow,)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return type(error), last.filename, last.lineno


def _report(name: str, seed: int, case: int | None, error: BaseException) -> str:
    """Return the traceback with local variables of the fuzzer, and how to repeat the case."""
    lines = traceback.format_exception(error)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        if path.startswith(_DIRECTORY) and path != __file__:
            for variable, value in frame.f_locals.items():
                try:
                    text = repr(value)
                except RecursionError:
                    text = "(nested too deeply)"
                if len(text) > _MAX_VALUE_CHARS:
                    text = f"{text[:_MAX_VALUE_CHARS]}… ({len(text)} characters)"
                lines.append(f"    {variable} = {text}\n")
    if case is not None:
        lines.append(f"Repeat it: python -m fuzz {name} --seed {seed} --first {case} --cases 1\n")
    return "".join(lines)
