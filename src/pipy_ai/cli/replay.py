"""`pipy replay`: the events that `pipy ask --events` has written, printed as `pipy ask` would."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from .show import Printer, on_terminal, show_usage
from .terminal import complain

if TYPE_CHECKING:
    from .. import AssistantMessage

DESCRIPTION = (
    "Play an event file of pipy ask --events again, at the pace at which it came. Lines that are "
    "damaged are reported and left out."
)
LONGEST = 10.0  # seconds of a pause that are waited
SHOWN = 3  # damaged lines that are told one by one


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument("file", help="lines of JSON; - for what is piped in")
    pace = command.add_mutually_exclusive_group()
    pace.add_argument("--speed", type=float, default=1.0, metavar="X", help="X times as fast")
    pace.add_argument("--at-once", action="store_true", help="without pauses")
    command.add_argument("--plain", action="store_true", help="print Markdown as it is")
    command.add_argument("--usage", action="store_true", help="end with tokens, cost and speed")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    speed = math.inf if arguments.at_once else arguments.speed
    if not speed > 0:
        raise ValueError("--speed is more than 0")
    if arguments.file == "-":
        return _play(_Reader(sys.stdin.buffer), arguments, speed)
    with open(arguments.file, "rb") as file:
        return _play(_Reader(file), arguments, speed)


def _play(reader: _Reader, arguments: argparse.Namespace, speed: float) -> int:
    last: AssistantMessage | None = None
    wait = _pace(speed)
    try:
        with Printer(plain=arguments.plain) as printer:
            for event, ms in reader:
                wait(ms)
                printer.show(event)
                if event.type in ("done", "error"):
                    last = event.partial
    except KeyboardInterrupt:
        return 130
    if reader.damaged:
        complain(f"{reader.damaged} of {reader.count} lines were no events")
    if last is None:
        complain("no answer ends in this file")
        return 1
    for warning in last.warnings:
        complain(warning.message)
    if last.error is not None:
        complain(last.error.message)
    if arguments.usage or (on_terminal() and last.usage.total_tokens):
        show_usage(last)
    return 1 if last.error is not None or reader.damaged else 0


class _Reader:
    """The events of a file, each with its time in ms, if it has one; damaged lines are counted."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = self.damaged = 0

    def __iter__(self) -> Iterator[tuple[Any, float | None]]:
        from .. import event_from_dict

        for number, line in enumerate(self._file, 1):
            if not line.strip():
                continue
            self.count += 1
            try:
                data = _json(line)
                event = event_from_dict(data)
            except ValueError as error:
                self.damaged += 1
                if self.damaged <= SHOWN:
                    complain(f"line {number}: {error}")
                continue
            ms = data.get("ms")
            yield event, ms if type(ms) in (int, float) and math.isfinite(ms) else None


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None


def _pace(speed: float) -> Callable[[float | None], None]:
    """Waits until an event's time has come. Times that go back, as those of a second answer in
    the file, begin anew; long pauses are cut short."""
    begun, before = time.monotonic(), 0.0

    def wait(ms: float | None) -> None:
        nonlocal begun, before
        if ms is None or speed == math.inf:
            return
        if ms < before:
            begun = time.monotonic()
        before = ms
        pause = begun + ms / 1000 / speed - time.monotonic()
        if pause > LONGEST:
            begun -= pause - LONGEST
            pause = LONGEST
        if pause > 0:
            time.sleep(pause)

    return wait
