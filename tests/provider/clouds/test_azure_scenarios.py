"""Test every scenario in the form in which Azure sends it, whole, split and truncated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pipy_ai import AssistantMessage, stream

from ...support.event_grammar import check_events
from ...support.scenarios import CASES, body, shape
from ...support.scripted_server import FIN, RESET, Lab
from ...support.wire_formats import ANTHROPIC, CHAT, RESPONSES, Chat, Counts, Wire, say, think, tool

SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "violence")}


class AzureChat(Chat):
    """Chat Completions with content filters, obfuscation and null members, as recorded."""

    def events(self, steps: Any, stop: str | None, counts: Counts) -> Iterator[Any]:
        """See `Wire`; the first chunk has no choices, and names neither itself nor a model."""
        filters = [{"prompt_index": 0, "content_filter_results": SAFE}]
        yield {"id": "", "object": "", "created": 0, "model": "", "choices": [],
               "prompt_filter_results": filters}  # fmt: skip
        for event in super().events(steps, stop, counts):
            yield _dressed(event) if isinstance(event, dict) else event


def _dressed(event: dict[str, Any]) -> dict[str, Any]:
    event = {"obfuscation": "aB3dE6", "usage": None, "system_fingerprint": "fp_1", **event}
    for choice in event["choices"]:
        has_content = bool(choice["delta"].get("content"))
        choice |= {"content_filter_results": SAFE if has_content else {}, "logprobs": None}
        choice["delta"] = {"refusal": None, "function_call": None, **choice["delta"]}
    return event


AZURE = AzureChat("azure", CHAT.api, "azure/m", root=True, stops=CHAT.stops)
WIRES: list[Wire] = [
    AZURE,
    replace(RESPONSES, name="azure-responses", model="azure/responses/m", root=True),
    replace(ANTHROPIC, name="azure-claude", model="azure/claude-sonnet-4-5"),
]
TABLE = [
    pytest.param(wire, name, id=f"{wire.name}: {name}")
    for name, case in CASES.items()
    for wire in WIRES
    if case.on(wire)
]


def ask(lab: Lab, wire: Wire) -> AssistantMessage:
    options: dict[str, Any] = {"api_key": "k", "max_retries": 0, "api_base": wire.base(lab)}
    return check_events(list(stream(wire.model, "q", **options)))


@pytest.mark.parametrize(("wire", "name"), TABLE)
def test_scenarios(lab: Lab, wire: Wire, name: str) -> None:
    case = CASES[name]
    lab.play(wire.scene(*case.steps, stop=case.stop))
    message = ask(lab, wire)
    assert shape(message) == case.content
    assert (message.stop_reason, message.api) == (case.reason, wire.api)
    assert message.response_model == "m"


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_splits_and_cuts(lab: Lab, wire: Wire) -> None:
    steps = [think("He", "mm 😀", signature="s"), say("Zür", "ich 漢", "字"),
             tool("c1", "f", '{"city": "', 'Zürich 😀"}')]  # fmt: skip
    whole = body(wire.scene(*steps, stop="tool"))
    lab.play([whole])
    expected = shape(ask(lab, wire))
    assert len(expected) == 3
    for size in (1, 3, 64, 4096):
        lab.play([whole[i : i + size] for i in range(0, len(whole), size)])
        assert shape(ask(lab, wire)) == expected
    for percent in range(5, 95, 15):
        cut = whole[: len(whole) * percent // 100]
        for end in ([], [FIN], [RESET]):
            lab.play([cut, *end])
            message = ask(lab, wire)
            assert message.stop_reason == "error"
            assert message.error is not None
            assert message.error.kind in ("incomplete", "connection", "server")
