"""Test the framing of JSON lines."""

from __future__ import annotations

import random
import tracemalloc
from itertools import chain, repeat

import pytest

from pipy_ai import complete
from pipy_ai.provider.http.json_lines import JSONLinesReader
from pipy_ai.provider.http.sse import EventTooLong

from ..support.raw_server import Raw, response
from ..support.wire_formats import OLLAMA, say

ODD = "a\u0085b\u2028c\u2029d\x0be\x0cf\x1cg 😀 Zürich"


def read(*chunks: bytes) -> list[str]:
    reader = JSONLinesReader()
    events = [event for chunk in chunks for event in reader.feed(chunk)] + reader.finish()
    assert all(name == "" for name, _ in events)
    return [data for _, data in events]


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"", []),
        (b'{"a":1}', ['{"a":1}']),  # the end of the body ends a line
        (b'{"a":1}\n{"b":2}\n', ['{"a":1}', '{"b":2}']),
        (b'{"a":1}\r\n\r\n \n{"b":2}\n\n', ['{"a":1}\r', '{"b":2}']),
        (b'\xef\xbb\xbf{"a":1}\n', ['{"a":1}']),
        (b'{"a":1}\n\xef\xbb\xbf{"b":2}\n', ['{"a":1}', '\ufeff{"b":2}']),
        (f'{{"a":"{ODD}"}}\n'.encode(), [f'{{"a":"{ODD}"}}']),
        (b'"\xff"\n', ['"\ufffd"']),
        (b"data: 1\n\n", ["data: 1"]),
    ],
)
def test_lines_are_the_same_wherever_the_bytes_are_split(body: bytes, lines: list[str]) -> None:
    assert read(body) == lines
    assert read(*[body[i : i + 1] for i in range(len(body))]) == lines
    for seed in range(20):
        cuts = sorted(random.Random(seed).choices(range(len(body) + 1), k=3))
        assert read(body[: cuts[0]], body[cuts[0] : cuts[1]], body[cuts[1] :]) == lines


def test_a_line_is_returned_as_soon_as_it_ends() -> None:
    reader = JSONLinesReader()
    assert reader.feed(b"1\n2") == [("", "1")]
    assert reader.feed(b"") == []
    assert reader.feed(b"2\n3\n") == [("", "22"), ("", "3")]
    assert reader.finish() == []


@pytest.mark.parametrize("chunks", [[b"x" * 9], [b"x" * 5, b"x" * 4], [b"x" * 9 + b"\n"]])
def test_lines_have_a_limit(chunks: list[bytes]) -> None:
    reader = JSONLinesReader(max_line_bytes=8)
    assert reader.feed(b"12345678\n12345678\n") == [("", "12345678")] * 2
    *first, last = chunks
    assert [reader.feed(chunk) for chunk in first] == [[]] * len(first)
    with pytest.raises(EventTooLong):
        reader.feed(last)


def test_a_line_without_end_is_cut_off_and_not_kept_in_memory() -> None:
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    endless = chain([head, b'{"message":{"content":"'], repeat(b"x" * (1 << 20), 50))
    complete(OLLAMA.model, "q", api_base="http://127.0.0.1:9", max_retries=0)  # imports
    with Raw(endless) as server:
        tracemalloc.start()
        message = complete(
            OLLAMA.model, "q", api_base=server.url.removesuffix("/v1"), max_retries=0
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert message.error is not None
    assert "does not end: 32 MB so far" in message.error.message
    assert peak < 80 << 20


def test_a_character_in_two_reads() -> None:
    whole = b"".join(OLLAMA.scene(say("Zür", "ich 😀", ODD)))
    at = whole.index("😀".encode()) + 2
    for pieces in ([whole], [whole[:at], whole[at:]]):
        with Raw(response(b"".join(pieces))) as server:
            base = server.url.removesuffix("/v1")
            assert complete(OLLAMA.model, "q", api_base=base).text == "Zürich 😀" + ODD
