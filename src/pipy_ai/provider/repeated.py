"""Read an event that repeats the one before with another text, without parsing it again.

A stream repeats events such as `{"id":"c1","choices":[{"delta":{"content":"Hi"}}]}` with another
text thousands of times. Comparing what surrounds the text takes a fifth of the time that parsing
and decoding take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import from_json

from .deltas import Delta, Text, Thinking, ToolFragment

MAX_EVENT_CHARS = 4096  # longer ones are not compared: their text is most of them
MAX_UNREPEATED = 12  # events in a row, after which the rest of a response is parsed
_PROBE = "\u2400"


class RepeatedEvents:
    """The latest event of a response, and what it was decoded to.

    The decoder must be one whose deltas of text depend on nothing but the event: see
    `Decoder.repeats`.

    Example:
        >>> repeated = RepeatedEvents()
        >>> repeated.learn("", '{"index": 0, "text": "Hel"}', [Text("Hel", 0)])
        >>> events, deltas = [("", '{"index": 0, "text": "lo"}'), ("", '{"index": 1}')], []
        >>> repeated.read(events, 0, deltas)
        1
        >>> deltas
        [Text(text='lo', block=0)]
    """

    def __init__(self) -> None:
        self._event = ""
        self._prefix = self._suffix = ""
        self._start = self._cut = 0  # of the text in the event, from its beginning and its end
        self._delta: Callable[[str], Delta] | None = None
        self._unrepeated = 0  # events since the last one that was repeated

    @property
    def given_up(self) -> bool:
        """Whether the events of this response do not repeat each other."""
        return self._unrepeated >= MAX_UNREPEATED

    def read(self, events: list[tuple[str, str]], start: int, deltas: list[Delta]) -> int:
        """Append the deltas of the events from `start` on that repeat the latest one.

        Return the number of the first event that does not, and must be decoded.
        """
        make_delta, expected_event = self._delta, self._event
        prefix, suffix, text_start, text_cut = self._prefix, self._suffix, self._start, self._cut
        if make_delta is None:
            return start
        for number in range(start, len(events)):
            event, data = events[number]
            if not (data.startswith(prefix) and data.endswith(suffix) and event == expected_event):
                return number
            text = data[text_start:-text_cut]
            if '"' in text or "\\" in text or not text.isprintable():
                try:
                    text = from_json(f'"{text}"')
                except ValueError:
                    return number
            if not text:
                return number
            deltas.append(make_delta(text))
            self._unrepeated = 0
        return len(events)

    def learn(self, event: str, data: str, deltas: Sequence[Delta]) -> None:
        """Remember an event, and the deltas it was decoded to."""
        self._delta = None
        self._unrepeated += 1
        if len(deltas) != 1 or len(data) > MAX_EVENT_CHARS or self.given_up:
            return
        text, make_delta = _text_of(deltas[0])
        prefix, _, suffix = data.rpartition(f'"{text}"')
        if not prefix or not _is_value(text, data, f'{prefix}"{_PROBE}"{suffix}'):
            return
        self._event, self._prefix, self._suffix = event, prefix + '"', '"' + suffix
        self._start, self._cut = len(prefix) + 1, len(suffix) + 1
        self._delta = make_delta


def _text_of(delta: Delta) -> tuple[str, Callable[[str], Delta]]:
    """Return the text of a delta, and a function that makes the same delta of another text."""
    match delta:
        case Text(text, block) if text:
            return text, lambda text: Text(text, block)
        case Thinking(text, block) if text:
            return text, lambda text: Thinking(text, block)
        case ToolFragment(index, None, None, arguments, None) if arguments:
            return arguments, lambda arguments: ToolFragment(index, arguments=arguments)
    return "\n", lambda _: delta  # no value in JSON looks like this


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
