"""Count the correct answers of the tests' scenario table, with LiteLLM and with pipy-ai.

    python benchmarks/truth.py

An answer is correct if its text, its tool calls and its end are those that were sent: a complete
answer must be complete, a broken or withheld one must not look like success. LiteLLM is used as
documented: `acompletion(stream=True)`, text and tool fragments by index from the chunks, any
exception counts as a failure.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipy_ai import complete
from tests.support.scenarios import CASES, ODD, Case, body
from tests.support.scripted_server import FIN, RESET, Lab, Scene, Status
from tests.support.wire_formats import WIRES, Wire, say

Outcome = tuple[str, list[Any], bool]  # text, calls, success


def expected_outcome(case: Case) -> Outcome:
    """Return the correct outcome of a case."""
    text = "".join(part for part in case.content if isinstance(part, str))
    calls = [part for part in case.content if isinstance(part, tuple)]
    return text, calls, case.reason != "error"


def broken_answers(wire: Wire) -> dict[str, tuple[Scene | Status, Outcome]]:
    """Return invalid and incomplete answers with their correct outcome."""
    full_body = body(wire.scene(say("one ", "two ", "three ")))
    cut_at = full_body.index(b"two ")
    first_half = full_body[: full_body.rindex(b"\n\n", 0, cut_at) + 2]
    truncated: Outcome = ("one ", [], False)
    answers: dict[str, tuple[Scene | Status, Outcome]] = {
        "cut by a clean end": ([first_half], truncated),
        "cut by a closed socket": ([first_half, FIN], truncated),
        "cut by a reset": ([first_half, RESET], truncated),
    }
    for name, scene in ODD.items():
        answers[name] = (scene, ("", [], False))
    return answers


async def litellm_outcome(litellm: Any, wire: Wire, base: str) -> Outcome:
    """Return the outcome for a user of LiteLLM."""
    text, calls, reason = "", defaultdict(lambda: ["", ""]), None
    try:
        chunks = await litellm.acompletion(
            model=wire.model, messages=[{"role": "user", "content": "q"}], stream=True,
            api_base=base, api_key="k", max_retries=0, num_retries=0, timeout=10,
            _skip_mcp_handler=True,
        )  # fmt: skip
        async for chunk in chunks:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for call in choice.delta.tool_calls or ():
                    calls[call.index][0] += call.function.name or ""
                    calls[call.index][1] += call.function.arguments or ""
                reason = choice.finish_reason or reason
    except Exception:
        return text, _parse_calls(calls), False
    return text, _parse_calls(calls), reason not in (None, "content_filter")


def _parse_calls(calls: dict[Any, list[str]]) -> list[Any]:
    parsed = []
    for name, arguments in calls.values():
        try:
            value = json.loads(arguments or "{}")
        except ValueError:
            value = {}
        parsed.append((name, value if isinstance(value, dict) else {}))
    return parsed


def pipy_outcome(wire: Wire, base: str) -> Outcome:
    """Return the outcome for a user of pipy-ai."""
    options: Any = {"api_base": base, "api_key": "k", "max_retries": 0, "transport": "litellm"}
    message = complete(wire.model, "q", **options)
    calls = [(call.name, call.arguments) for call in message.tool_calls]
    return message.text, calls, message.error is None


def main() -> None:
    """Run and print."""
    with Lab() as lab:
        complete(WIRES[0].model, "q", api_base=lab.url, transport="litellm")
        litellm = importlib.import_module("litellm")
        loop = asyncio.new_event_loop()
        table: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
        for wire in WIRES:
            base = wire.base(lab)
            cases: dict[str, tuple[Scene | Status, Outcome]] = {
                name: (wire.scene(*case.steps, stop=case.stop), expected_outcome(case))
                for name, case in CASES.items()
                if case.on(wire)
            }
            for name, (scene, correct_outcome) in {**cases, **broken_answers(wire)}.items():
                lab.play(scene)
                their_outcome = loop.run_until_complete(litellm_outcome(litellm, wire, base))
                lab._scenes.clear()
                lab.play(scene)
                our_outcome = pipy_outcome(wire, base)
                lab._scenes.clear()
                table[name].append(
                    (their_outcome == correct_outcome, our_outcome == correct_outcome)
                )
        loop.close()
    print(f"{'right on so many wires':34}{'LiteLLM':>9}{'pipy-ai':>9}")
    for name, rows in table.items():
        counts = [sum(row[column] for row in rows) for column in (0, 1)]
        print(f"{name:34}{counts[0]:>6}/{len(rows)}{counts[1]:>7}/{len(rows)}")
    rows = [row for case_rows in table.values() for row in case_rows]
    totals = [sum(row[column] for row in rows) for column in (0, 1)]
    print(f"{'total':34}{totals[0]:>5}/{len(rows)}{totals[1]:>6}/{len(rows)}")


if __name__ == "__main__":
    main()
