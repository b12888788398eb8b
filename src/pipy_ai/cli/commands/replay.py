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
from ..args.common import parse_number
from ..display.notices import ending_notices, warning_texts
from ..display.printer import Printer
from ..display.status import hide_status, show_status
from ..display.table import print_table
from ..display.terminal import hint, is_interactive, warn, write_json
from ..display.usage import print_usage

if TYPE_CHECKING:
    from ... import AssistantMessage
    from ..display.timeline import TimelineRow

DESCRIPTION = (
    "Replay a file written by pipy ask --events at its original speed, or list its events with"
    " their times (--timeline). Damaged lines are reported and skipped."
)
EXAMPLES = """\
pipy ask --events "Hi" > events.jsonl
pipy replay events.jsonl --speed 2
pipy replay events.jsonl --timeline
"""
GUIDE = "events.md"
MAX_PAUSE_S = 10.0
MAX_REPORTED_LINES = 3  # damaged lines that are reported one by one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="file of events, or - for stdin")
    pace_group = parser.add_mutually_exclusive_group()
    pace_group.add_argument(
        "--speed",
        type=parse_number,
        default=1.0,
        metavar="X",
        help="replay X times as fast (default: 1)",
    )
    pace_group.add_argument("--at-once", action="store_true", help="replay without pauses")
    pace_group.add_argument(
        "--timeline",
        action="store_true",
        help="list the events with their times instead of replaying them",
    )
    parser.add_argument("--plain", action="store_true", help="do not render Markdown")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="save the first image or audio as FILE"
    )
    parser.add_argument(
        "--usage", action="store_true", help="print tokens, cost and speed at the end"
    )
    parser.add_argument("--json", action="store_true", help="print JSON (with --timeline)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    speed = math.inf if arguments.at_once else arguments.speed
    if not speed > 0:
        raise ValueError(f"--speed must be greater than 0, got {arguments.speed:g}")
    if arguments.json and not arguments.timeline:
        raise ValueError("--json needs --timeline")
    if arguments.output is not None:
        if arguments.timeline:
            raise ValueError("--timeline saves no files: leave out -o")
        from ..display.media_files import check_output_path

        check_output_path(arguments.output)

    def show(reader: _EventReader) -> int:
        if arguments.timeline:
            return _show_timeline(reader, arguments.json)
        return _play(reader, arguments, speed)

    if arguments.file == "-":
        return show(_EventReader(sys.stdin.buffer))
    show_status("reading the file")
    with open(arguments.file, "rb") as file:
        return show(_EventReader(file))


def _show_timeline(reader: _EventReader, json_output: bool) -> int:
    from ..display.timeline import excerpt_on_one_line, timeline_rows

    rows = list(timeline_rows(reader))
    reader.report_damage()
    if json_output:
        write_json([row.to_json() for row in rows])
    elif rows:
        header = ["ms", "pause", "event", "detail"]
        cells = [[excerpt_on_one_line(cell) for cell in row.cells()] for row in rows]
        print_table(header, cells, {"ms", "pause"}, drop=["pause"])
        _print_times(rows)
    else:
        warn("the file has no events")
    return 1 if reader.damaged_count or not rows else 0


def _print_times(rows: list[TimelineRow]) -> None:
    """Print when the first token came, and the longest pause."""
    from ..display.timeline import DELTA_TYPES

    parts = []
    first = next((row for row in rows if row.event in DELTA_TYPES and row.ms is not None), None)
    if first is not None:
        parts.append(f"first token after {first.ms:,.0f} ms")
    longest = max(rows, key=lambda row: row.pause_ms or 0)
    if longest.pause_ms:
        parts.append(f"longest pause {longest.pause_ms:,.0f} ms, before {longest.event}")
    if parts:
        hint(", ".join(parts))


def _play(reader: _EventReader, arguments: argparse.Namespace, speed: float) -> int:
    answers: list[AssistantMessage] = []
    wait = _pacer(speed)
    try:
        with Printer(plain=arguments.plain) as printer:
            for event, ms in reader:
                hide_status()
                wait(ms)
                printer.show(event)
                if event.type in ("done", "error"):
                    answers.append(event.partial)
    except KeyboardInterrupt:
        return 130
    reader.report_damage()
    if not answers:
        warn("the file has no complete response; pipy ask --events > FILE records one")
        return 1
    last_answer = answers[-1]
    media_saved = True
    if arguments.output is not None or any(answer.images or answer.audio for answer in answers):
        from ..display.media_files import save_media

        media_saved = save_media(answers, arguments.output)
    for text in [*warning_texts([last_answer]), *ending_notices(last_answer)]:
        warn(text)
    if last_answer.error is not None:
        warn(last_answer.error.message)
    if arguments.usage or (is_interactive() and last_answer.usage.total_tokens):
        print_usage(last_answer)
    failed = last_answer.error is not None or reader.damaged_count or not media_saved
    return 1 if failed else 0


class _EventReader:
    """The events of a file with their times in ms, None without one; damaged lines are counted."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.line_count = self.damaged_count = 0

    def report_damage(self) -> None:
        """Print how many lines are no events, if there are any."""
        if self.damaged_count:
            lines = format_count(self.line_count, "line")
            warn(f"{self.damaged_count:,} of {lines} skipped: not an event")

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
        raise ValueError("not valid JSON") from None


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
