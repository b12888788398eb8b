"""Read events that repeat the one before with another text, all events of a read at once.

A stream repeats events such as `data: {"id":"c1","choices":[{"delta":{"content":"Hi"}}]}` with
another text thousands of times. What surrounds the text is compared as bytes, and the texts are
parsed as one list, which takes a tenth of the time that parsing and decoding each event takes.

Some APIs also number, date or pad their events, in fields that mean nothing to the decoder:
`Decoder.varying_fields`. They may differ as well, and so may a count of output tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from pydantic_core import from_json

from .deltas import (
    Delta,
    DeltaRun,
    OutputCount,
    RepeatableDelta,
    Text,
    Thinking,
    ToolFragment,
    with_text,
)

MAX_EVENT_BYTES = 4096  # longer ones are not compared: their text is most of them
MAX_RUN_BYTES = 16 << 10  # events that are compared at once
MAX_PARTIAL_BYTES = 64 << 10
MAX_UNREPEATED = 12  # events in a row, after which the rest of a response is parsed

_BOM = b"\xef\xbb\xbf"
_PROBE = "\u2400"
# Possessive quantifiers never backtrack.
_TEXT = rb'((?!")[^"\\]*+(?:\\.[^"\\]*+)*+)'  # not empty, without its quotes
_PADDING = rb'([^"\\\x00-\x1f]{0,64}+)'
_NUMBER = rb"(0|[1-9][0-9]{0,17}+)"
_COUNT = rb"(0|[1-9][0-9]{0,14}+)"


class RepeatedEvents:
    """The latest event of a response, and what it was decoded to.

    `varying_fields` and `count_field`: see `Decoder`.

    Example:
        >>> repeated = RepeatedEvents()
        >>> text = '{"index": 0, "text": "Hel"}'
        >>> repeated.learn(f"data: {text}".encode(), [text], [Text("Hel", 0)])
        >>> repeated.read(b'data: {"index": 0, "text": "lo"}data: {"index": 1}', 0)
        (DeltaRun(delta=Text(text='Hel', block=0), texts=['lo'], counts=[]), 32)
    """

    def __init__(self, varying_fields: Iterable[str] = (), count_field: str = "") -> None:
        self._partial_event = b""  # see `keep_partial_event`
        self._varying = _varying_pattern(frozenset(varying_fields), count_field)
        self._template: _Template | None = None
        self._unrepeated = 0  # events since the last one that was repeated

    @property
    def given_up(self) -> bool:
        """Whether the events of this response do not repeat each other."""
        return self._unrepeated >= MAX_UNREPEATED

    def read(self, data: bytes, start: int) -> tuple[DeltaRun | None, int]:
        """Return the deltas of the events from `start` on that repeat the latest one.

        Also return where the first event starts that does not, and must be decoded.
        """
        template = self._template
        if template is None or not data.startswith(template.literals[0], start):
            return None, start
        run, end = template.read(data, start)
        if not run.texts:
            return None, start
        self._unrepeated = 0
        return run, end

    def read_one(self, data: bytes) -> list[Delta] | None:
        """Return the deltas of `data` if that is one event, which repeats the latest one."""
        template = self._template
        if template is None or self._partial_event or (deltas := template.read_one(data)) is None:
            return None
        self._unrepeated = 0
        return deltas

    def learn(self, event: bytes, documents: Sequence[str], deltas: Sequence[Delta]) -> None:
        """Remember an event, its data, and the deltas it was decoded to."""
        self._template = None
        self._unrepeated += 1
        if self.given_up:
            return
        count: int | None = None
        match deltas:
            case [delta]:
                pass
            case [delta, OutputCount(count)]:
                pass
            case _:
                return
        if len(documents) != 1 or len(event) > MAX_EVENT_BYTES or event.startswith(_BOM):
            return
        [data] = documents
        if (repeatable := _repeatable(delta)) is None:
            return
        text = repeatable.arguments if isinstance(repeatable, ToolFragment) else repeatable.text
        prefix, _, suffix = data.rpartition(f'"{text}"')
        if not prefix or not _is_value(text, data, f'{prefix}"{_PROBE}"{suffix}'):
            return
        before, found, after = event.partition(data.encode("utf-8", "replace"))
        if not found:
            return
        start = _split(self._varying, before, prefix + '"')
        end = _split(self._varying, b"", '"' + suffix, after)
        template = _Template(repeatable, start, end)
        if template.set_count(event, count):
            self._template = template

    def keep_partial_event(self, data: bytes) -> bytes:
        """Keep the beginning of an event for the next read; return it if it is too long for that.

        Then the rest of the response is parsed.
        """
        if len(data) <= MAX_PARTIAL_BYTES:
            self._partial_event = data
            return b""
        self._template, self._unrepeated = None, MAX_UNREPEATED
        return data

    def take_partial_event(self) -> bytes:
        """Return what was kept."""
        data, self._partial_event = self._partial_event, b""
        return data


class _Template:
    """An event with holes for its text and the fields that vary."""

    def __init__(self, delta: RepeatableDelta, before: list[bytes], after: list[bytes]) -> None:
        self.delta = delta
        # Bytes that do not change, between patterns of those that do.
        parts = [*before, _TEXT, *after]
        self.literals, holes = parts[::2], parts[1::2]
        self._hole_count, self._text_hole = len(holes), len(before) // 2
        self._count_hole = holes.index(_COUNT) if _COUNT in holes else None
        self._count_offset = 0  # tokens that are counted in another field, which does not vary
        self._holes = tuple(holes)
        self._pattern: re.Pattern[bytes] | None = None
        self._format = b"%b".join(literal.replace(b"%", b"%%") for literal in self.literals)

    def set_count(self, event: bytes, count: int | None) -> bool:
        """Set what the event of this template counts; return whether it has the field for it."""
        if count is None or self._count_hole is None or self._holes.count(_COUNT) > 1:
            return count is None and self._count_hole is None
        match = self._compiled().match(event)
        if match is None or not (counted := match[self._count_hole + 1]):
            return False
        self._count_offset = count - int(counted)
        return True

    def read(self, data: bytes, start: int) -> tuple[DeltaRun, int]:
        """Return the deltas of the events from `start` on that fit, and where these end."""
        rows: list[Any] = self._compiled().findall(data, start, start + MAX_RUN_BYTES)
        values: list[bytes] = rows if self._hole_count == 1 else [*chain.from_iterable(rows)]
        if not values[self._text_hole - self._hole_count]:  # the rest of the data
            del values[-self._hole_count :]
        events = self._render(values)
        if not data.startswith(events, start):
            values, events = self._fitting(values, data, start)
        texts = values[self._text_hole :: self._hole_count]
        parsed = _parse_texts(texts)
        if len(parsed) < len(texts):
            values = values[: len(parsed) * self._hole_count]
            events = self._render(values)
        counts: list[int] = []
        if self._count_hole is not None:
            counted = map(int, values[self._count_hole :: self._hole_count])
            counts = [count + self._count_offset for count in counted]
        return DeltaRun(self.delta, parsed, counts), start + len(events)

    def read_one(self, data: bytes) -> list[Delta] | None:
        """Return the deltas of `data` if that is one event that fits."""
        match = self._compiled().match(data)
        if match is None or match[self._text_hole + 1] is None:
            return None
        values = match.groups()
        if self._format % values != data:
            return None
        try:
            text: str = from_json(b'"%b"' % values[self._text_hole])
        except ValueError:
            return None
        deltas: list[Delta] = [with_text(self.delta, text)]
        if self._count_hole is not None:
            deltas.append(OutputCount(int(values[self._count_hole]) + self._count_offset))
        return deltas

    def _compiled(self) -> re.Pattern[bytes]:
        if self._pattern is None:
            # Only the sizes of the literals are in the pattern, so that it serves other responses
            # too; the literals are compared afterwards.
            self._pattern = _compile(tuple(map(len, self.literals)), self._holes)
        return self._pattern

    def _render(self, values: list[bytes]) -> bytes:
        """Return the events with these values in their holes."""
        return self._format * (len(values) // self._hole_count) % tuple(values)

    def _fitting(self, values: list[bytes], data: bytes, start: int) -> tuple[list[bytes], bytes]:
        """Return the values of as many events as `data` has from `start` on, and these events."""
        fitting, other = 0, len(values) // self._hole_count
        while fitting + 1 < other:
            middle = (fitting + other) // 2
            if data.startswith(self._render(values[: middle * self._hole_count]), start):
                fitting = middle
            else:
                other = middle
        values = values[: fitting * self._hole_count]
        return values, self._render(values)


@lru_cache(maxsize=256)
def _compile(literal_sizes: tuple[int, ...], holes: tuple[bytes, ...]) -> re.Pattern[bytes]:
    literals = [b".{%d}" % size for size in literal_sizes]
    parts = chain.from_iterable(zip(literals, (*holes, b""), strict=True))
    # The alternative takes the rest of the data at once, instead of a search for another event.
    return re.compile(b"".join(parts) + b"|.+", re.DOTALL)


@lru_cache(maxsize=16)
def _varying_pattern(names: frozenset[str], count_field: str) -> re.Pattern[bytes] | None:
    patterns = []
    if names:
        any_name = "|".join(map(re.escape, sorted(names))).encode()
        value = rb'"(?P<padding>%b)"|(?P<number>%b)(?=[,}])' % (_PADDING, _NUMBER)
        patterns.append(rb'"(?:%b)": ?(?:%b)' % (any_name, value))
    if count_field:
        count_name = re.escape(count_field).encode()
        patterns.append(rb'"%b": ?(?P<count>%b)(?=[,}])' % (count_name, _COUNT))
    return re.compile(b"|".join(patterns)) if patterns else None


def _split(
    varying: re.Pattern[bytes] | None, before: bytes, data: str, after: bytes = b""
) -> list[bytes]:
    """Return a part of an event as literals and, between them, patterns of what varies."""
    encoded = data.encode("utf-8", "replace")
    parts, end = [before], 0
    for match in varying.finditer(encoded) if varying is not None else ():
        group = match.lastindex or 0
        parts[-1] += encoded[end : match.start(group)]
        end = match.end(group)
        kinds = {"count": _COUNT, "padding": _PADDING, "number": _NUMBER}
        parts += [kinds[match.lastgroup or ""], b""]
    parts[-1] += encoded[end:] + after
    return parts


def _parse_texts(texts: list[bytes]) -> list[str]:
    """Return JSON strings, given without their quotes, up to the first that is not valid."""
    try:
        return from_json(b'["%b"]' % b'","'.join(texts)) if texts else []
    except ValueError:
        parsed: list[str] = []
        for text in texts:
            try:
                parsed.append(from_json(b'"%b"' % text))
            except ValueError:  # such as half a surrogate pair, or bytes that are not UTF-8
                break
        return parsed


def _repeatable(delta: Delta) -> RepeatableDelta | None:
    """Return a delta if it consists only of its text, and None otherwise."""
    match delta:
        case Text(text) | Thinking(text) | ToolFragment(_, None, None, text, None) if text:
            return delta
    return None


def _is_value(text: str, data: str, changed_data: str) -> bool:
    """Return whether `changed_data` is `data` with the only value `text` replaced by the probe."""
    try:
        value, changed = from_json(data), from_json(changed_data)
    except ValueError:
        return False
    return bool(value != changed and _replace(value, text) == changed)


def _replace(value: Any, text: str) -> Any:
    """Return a JSON value with each value `text` in it replaced by the probe."""
    if isinstance(value, dict):
        return {name: _replace(item, text) for name, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, text) for item in value]
    return _PROBE if value == text else value
