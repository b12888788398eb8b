"""`pipy replay`: print the events of a file from `pipy ask --events` as `pipy ask` would."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from ...utils.text import format_count
from ..display.notices import ending_notices, warning_texts
from ..display.printer import Printer
from ..display.terminal import is_interactive, warn
from ..display.usage import print_usage

if TYPE_CHECKING:
    from ... import AssistantMessage

DESCRIPTION = (
    "Play an event file of pipy ask --events again, at the pace at which it came. Lines that are "
    "damaged are reported and left out."
)
MAX_PAUSE_S = 10.0
MAX_REPORTED_LINES = 3  # damaged lines that are reported one by one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", help="lines of JSON; - for what is piped in")
    pace_group = parser.add_mutually_exclusive_group()
    pace_group.add_argument("--speed", type=float, default=1.0, metavar="X", help="X times as fast")
    pace_group.add_argument("--at-once", action="store_true", help="without pauses")
    parser.add_argument("--plain", action="store_true", help="print Markdown as it is")
    parser.add_argument("--usage", action="store_true", help="end with tokens, cost and speed")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    speed = math.inf if arguments.at_once else arguments.speed
    if not speed > 0:
        raise ValueError("--speed is more than 0")
    if arguments.file == "-":
        return _play(_EventReader(sys.stdin.buffer), arguments, speed)
    with open(arguments.file, "rb") as file:
        return _play(_EventReader(file), arguments, speed)


def _play(reader: _EventReader, arguments: argparse.Namespace, speed: float) -> int:
    last_answer: AssistantMessage | None = None
    wait = _pacer(speed)
    try:
        with Printer(plain=arguments.plain) as printer:
            for event, ms in reader:
                wait(ms)
                printer.show(event)
                if event.type in ("done", "error"):
                    last_answer = event.partial
    except KeyboardInterrupt:
        return 130
    if reader.damaged_count:
        lines = format_count(reader.line_count, "line")
        warn(f"{reader.damaged_count:,} of {lines}: no event")
    if last_answer is None:
        warn("no answer ends in this file")
        return 1
    for text in [*warning_texts([last_answer]), *ending_notices(last_answer)]:
        warn(text)
    if last_answer.error is not None:
        warn(last_answer.error.message)
    if arguments.usage or (is_interactive() and last_answer.usage.total_tokens):
        print_usage(last_answer)
    return 1 if last_answer.error is not None or reader.damaged_count else 0


class _EventReader:
    """The events of a file with their times in ms, None without one; damaged lines are counted."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.line_count = self.damaged_count = 0

    def __iter__(self) -> Iterator[tuple[Any, float | None]]:
        from ... import event_from_dict

        for number, line in enumerate(self._file, 1):
            if not line.strip():
                continue
            self.line_count += 1
            try:
                data = _parse_json(line)
                event = event_from_dict(data)
            except ValueError as error:
                self.damaged_count += 1
                if self.damaged_count <= MAX_REPORTED_LINES:
                    warn(f"line {number}: {error}")
                continue
            ms = data.get("ms")
            yield event, ms if type(ms) in (int, float) and math.isfinite(ms) else None


def _parse_json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None


def _pacer(speed: float) -> Callable[[float | None], None]:
    """Return a function that waits until the time of an event.

    If times go back, as for a second answer in the file, the clock restarts. Pauses longer than
    `MAX_PAUSE_S` are shortened.
    """
    started, previous_ms = time.monotonic(), 0.0

    def wait(ms: float | None) -> None:
        nonlocal started, previous_ms
        if ms is None or speed == math.inf:
            return
        if ms < previous_ms:
            started = time.monotonic()
        previous_ms = ms
        pause_s = started + ms / 1000 / speed - time.monotonic()
        if pause_s > MAX_PAUSE_S:
            started -= pause_s - MAX_PAUSE_S
            pause_s = MAX_PAUSE_S
        if pause_s > 0:
            time.sleep(pause_s)

    return wait
