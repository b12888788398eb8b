"""Measure the assembler's CPU per delta, and check that it does not grow with the stream.

    python benchmarks/assembler.py

Prints the CPU per delta of a long stream divided by that of a short one: the median of pairs in one
run. Both streams have the same kind of deltas; the short one is repeated to equal the work. With
`partial` read at every event the cost grows, because each event's message has its own text.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence

from pipy_ai.provider import Delta, Finish, Text, ToolFragment
from pipy_ai.provider.assembler import Assembler

PAIRS = 7
MAX_RATIO = 1.2


def text_stream(count: int) -> list[Delta]:
    """Return `count` deltas of text of a typical length."""
    words = ("The ", "quick ", "brown ", "fox ", "jumps. ")
    return [*(Text(words[i % 5]) for i in range(count)), Finish("stop")]


def tool_stream(size: int) -> list[Delta]:
    """Return a tool call with `size` characters of JSON in pieces of 20."""
    arguments = '{"items": ["' + "x" * (size - 15) + '"]}'
    pieces = [arguments[i : i + 20] for i in range(0, len(arguments), 20)]
    first = ToolFragment(0, "call_1", "write_file", pieces[0])
    return [first, *(ToolFragment(0, arguments=piece) for piece in pieces[1:]), Finish("tool_use")]


def replay(deltas: Sequence[Delta], read_partial: bool) -> None:
    """Assemble a stream one delta at a time, as from a slow connection, and discard the events."""
    assembler = Assembler()
    assembler.start()
    for delta in deltas:
        for event in assembler.feed((delta,)):
            if read_partial:
                _ = event.partial
    assembler.finish()


def cpu_us_per_delta(deltas: Sequence[Delta], repeats: int, read_partial: bool) -> float:
    """Return the CPU per delta in microseconds."""
    gc.collect()
    started = time.process_time()
    for _ in range(repeats):
        replay(deltas, read_partial)
    return (time.process_time() - started) / repeats / len(deltas) * 1e6


def compare(name: str, make_stream: Callable[[int], list[Delta]], short: int, long: int) -> float:
    """Print the cost of both streams without reading `partial`; return their median ratio."""
    short_stream, long_stream = make_stream(short), make_stream(long)
    repeats = max(1, len(long_stream) // len(short_stream))
    replay(short_stream, False)
    pairs = [
        (cpu_us_per_delta(short_stream, repeats, False), cpu_us_per_delta(long_stream, 1, False))
        for _ in range(PAIRS)
    ]
    ratio = statistics.median(b / a for a, b in pairs)
    low, high = (statistics.median(column) for column in zip(*pairs, strict=True))
    short_count, long_count = len(short_stream) - 1, len(long_stream) - 1
    print(f"{name:24}{short_count:>9,}{low:>10.2f}{long_count:>11,}{high:>10.2f}{ratio:>9.2f}")
    return ratio


def main() -> None:
    """Run and print."""
    print("µs of CPU per delta, partial unread")
    print(f"{'':24}{'short':>9}{'µs':>10}{'long':>11}{'µs':>10}{'ratio':>9}")
    ratios = [
        compare("text", text_stream, 1_000, 100_000),
        compare("1 MB tool argument", tool_stream, 20_000, 1_000_000),
    ]
    print("\nµs of CPU per delta, partial read at every event")
    for name, deltas in (
        ("text", text_stream(1_000)),
        ("text", text_stream(20_000)),
        ("tool argument", tool_stream(20_000)),
        ("tool argument", tool_stream(200_000)),
    ):
        print(f"{name:24}{len(deltas) - 1:>9,}{cpu_us_per_delta(deltas, 1, True):>10.2f}")
    verdict = "linear" if max(ratios) <= MAX_RATIO else "NOT linear"
    print(f"\n{verdict}: the worst ratio is {max(ratios):.2f}, the limit {MAX_RATIO}")
    if max(ratios) > MAX_RATIO:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
