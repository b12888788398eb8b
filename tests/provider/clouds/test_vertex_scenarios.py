"""Test Vertex AI's models with all scenarios of their APIs, however the bytes are split."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pipy_ai import AssistantMessage, acomplete, complete, stream

from ...support.event_grammar import check_events
from ...support.scenarios import CASES, shape
from ...support.scripted_server import Lab
from ...support.wire_formats import ANTHROPIC, CHAT, GEMINI, Wire


def on_vertex(wire: Any, model: str) -> Any:
    return replace(wire, name=f"vertex-{wire.name}", model=f"google-vertex/{model}")


WIRES: list[Wire] = [
    on_vertex(GEMINI, "gemini-2.5-pro"),
    on_vertex(ANTHROPIC, "claude-haiku-4-5@20251001"),
    on_vertex(CHAT, "meta/llama-3.3-70b-instruct-maas"),
]
TABLE = [
    pytest.param(wire, name, id=f"{wire.name}: {name}")
    for wire in WIRES
    for name, case in CASES.items()
    if case.on(wire)
]


def base(lab: Lab) -> str:
    return f"{lab.url}/projects/project-1/locations/global"


def ask(lab: Lab, wire: Wire, **options: Any) -> AssistantMessage:
    options = {"api_key": "ya29.token", "max_retries": 0, "api_base": base(lab), **options}
    return check_events(list(stream(wire.model, "q", **options)))


@pytest.mark.parametrize(("wire", "name"), TABLE)
def test_scenarios(lab: Lab, wire: Wire, name: str) -> None:
    case = CASES[name]
    scene = wire.scene(*case.steps, stop=case.stop)
    lab.play(scene, scene, wire.scene(*case.steps, stop=case.stop, newline="\r\n"))
    message = ask(lab, wire)
    assert shape(message) == case.content
    assert message.stop_reason == case.reason
    assert message.api == wire.api
    options: dict[str, Any] = {"api_base": base(lab), "api_key": "ya29.token", "max_retries": 0}
    for twin in (
        asyncio.run(acomplete(wire.model, "q", **options)),
        complete(wire.model, "q", **options),  # with CRLF
    ):
        assert shape(twin) == case.content
        assert twin.stop_reason == case.reason


SIZES = (1, 2, 3, 7, 64, 1000)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("size", SIZES)
def test_bytes_in_pieces(lab: Lab, wire: Wire, size: int) -> None:
    case = CASES["text"]
    body = b"".join(wire.scene(*case.steps, stop=case.stop))
    lab.play([body[start : start + size] for start in range(0, len(body), size)])
    message = ask(lab, wire)
    assert shape(message) == case.content
    assert message.error is None
