"""Targets: frames of AWS's event stream, and the decoders of Amazon Bedrock."""

from __future__ import annotations

import base64
import random
import re
from typing import Any

from pipy_ai import AssistantMessage
from pipy_ai.provider.http.aws_event_stream import EventStreamReader, InvokeModelReader
from tests.support.event_stream import header, raw_frame, text_header
from tests.support.wire_formats import CONVERSE, Counts, redacted, say, think, tool

from .harness import target
from .replies import ask, decode, head
from .values import changed, dump_json, pieces, some_json, some_text

_EXCEPTIONS = (
    "throttlingException", "validationException", "modelStreamErrorException", "someOtherException",
    "internalServerException", "",
)  # fmt: skip
_STEPS = (
    [say("Hel", "lö 😀", " there")],
    [think("hm", "…", signature="sig="), say("So.", " Yes")],
    [say("I look"), tool("c1", "look", '{"x": 1', ', "y": [2]}'), tool("c2", "f", "{}")],
    [redacted("ZGF0YQ=="), think("a"), say("b")],
)
_COUNTS = Counts(input=10, output=9, cached=3, written=2, reasoning=4)
_EXAMPLES: list[list[Any]] = [
    list(CONVERSE.events(steps, stop, _COUNTS))
    for steps in _STEPS
    for stop in ("stop", "length", "tool", "filter")
]
_VALUE_BYTES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


def _headers(rng: random.Random, name: str, message_type: str = "event") -> bytes:
    """Return the headers of a frame in any order, with others of every type."""
    kind = "exception" if message_type == "exception" else "event"
    texts = {":message-type": message_type, f":{kind}-type": name}
    parts = [text_header(*item) for item in texts.items()]
    for _ in range(rng.choice((0, 0, 1, 3))):
        value_type = rng.choice((*_VALUE_BYTES, 6, 7))
        size = _VALUE_BYTES.get(value_type)
        value = rng.randbytes(rng.randint(0, 9) if size is None else size)
        prefix = len(value).to_bytes(2, "big") if size is None else b""
        parts.append(header(f"h{rng.randint(0, 9)}", value_type, prefix + value))
    rng.shuffle(parts)
    return b"".join(parts)


def _frame(rng: random.Random, name: str, payload: Any) -> bytes:
    text = payload if isinstance(payload, str) else dump_json(rng, payload)
    return raw_frame(_headers(rng, name), text.encode("utf-8", "surrogatepass"))


def _odd_frame(rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        payload = dump_json(rng, {"message": some_text(rng)}).encode("utf-8", "surrogatepass")
        return raw_frame(_headers(rng, rng.choice(_EXCEPTIONS), "exception"), payload)
    if kind == 1:
        return raw_frame(rng.randbytes(rng.randint(0, 30)), b"{}")
    if kind == 2:
        return raw_frame(_headers(rng, rng.choice(("error", "trailer")), "error"), b"")
    return _frame(rng, rng.choice(("contentBlockDelta", "metadata", "x")), some_json(rng))


def _body(rng: random.Random) -> bytes:
    """Return the frames of an answer, some of them changed or damaged."""
    events = list(rng.choice(_EXAMPLES))
    for _ in range(rng.randint(0, 3)):
        position = rng.randrange(len(events))
        name, payload = events[position]
        events[position] = (name, changed(rng, payload, rng.choice((0, 1, 1, 2))))
    if rng.random() < 0.1:
        del events[rng.randrange(len(events))]
    frames = [_frame(rng, *event) for event in events]
    if rng.random() < 0.3:
        frames.insert(rng.randint(0, len(frames)), _odd_frame(rng))
    body = bytearray(b"".join(frames))
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        body[rng.randrange(len(body))] = rng.randrange(256)
    return bytes(body[: rng.randint(0, len(body))] if rng.random() < 0.1 else body)


@target
def event_stream(rng: random.Random) -> None:
    """The readers of AWS's event stream find the same events wherever the bytes are cut."""
    body = _body(rng)
    if rng.random() < 0.5:
        wrapped = [base64.b64encode(some_text(rng).encode("utf-8", "replace")).decode()]
        frames = [_frame(rng, "chunk", {"bytes": text}) for text in wrapped * rng.randint(1, 4)]
        body = b"".join(frames) + body[rng.randint(0, len(body)) :]
    for reader in (EventStreamReader, InvokeModelReader):
        whole, cut = reader(), reader()
        found = [event for piece in pieces(rng, body) for event in cut.feed(piece)]
        assert found == whole.feed(body)
        assert cut.finish() == whole.finish() == []


_MADE_UP_ID = re.compile(r'"call_\w+"')
_TIMES = {"timestamp", "duration_ms", "ttft_ms"}


def _comparable(message: AssistantMessage) -> str:
    return _MADE_UP_ID.sub('"made up"', message.model_dump_json(exclude=_TIMES))


@target
def bedrock_converse(rng: random.Random) -> None:
    """Answers of Bedrock with wrong fields and damaged frames, cut anywhere."""
    body = _body(rng)
    cuts = pieces(rng, body)
    if rng.random() < 0.98:
        whole = decode(CONVERSE.api, [body])
        cut = decode(CONVERSE.api, cuts, check_grammar=rng.random() < 0.1)
    else:
        whole, cut = (ask(CONVERSE.api, [head(), *part]) for part in ([body], cuts))
    assert _comparable(whole) == _comparable(cut)
