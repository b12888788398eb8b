"""Test that work of one event loop is spread over its iterations."""

from __future__ import annotations

import asyncio

import pytest

from pipy_ai import astream
from pipy_ai.provider.http import client as http
from pipy_ai.utils import turns as turns_module
from pipy_ai.utils.turns import MAX_COST, Turns, running_turns

from ..support.scripted_server import FIN, Lab
from ..support.wire_formats import CHAT, say

COST = MAX_COST // 4


def test_waiting_tasks_run_in_order_in_later_iterations() -> None:
    async def main() -> list[list[int]]:
        turns, done = Turns(), []

        async def work(number: int) -> None:
            await turns.wait(COST)
            done.append(number)

        tasks = [asyncio.ensure_future(work(number)) for number in range(9)]
        tasks[5].cancel()
        progress = []
        while len(done) < 8:
            await asyncio.sleep(0)
            progress.append(list(done))
        return progress

    progress = asyncio.run(main())
    assert progress[0] == [0, 1, 2, 3]
    assert progress[1] == [0, 1, 2, 3]  # the others are woken up
    assert progress[2] == [0, 1, 2, 3, 4, 6, 7, 8]


def test_work_does_not_overtake_what_waits() -> None:
    async def main() -> None:
        turns, done = Turns(), []
        for _ in range(4):
            assert turns.take(COST)
        for number in range(8):
            assert not turns.take(1)
            turns.queue(COST, lambda number=number: done.append(number))
        await asyncio.sleep(0)
        assert done == [0, 1, 2, 3]
        assert not turns.take(1)
        await asyncio.sleep(0)
        assert done == list(range(8))
        await asyncio.sleep(0)
        assert turns.take(MAX_COST)

    asyncio.run(main())


def test_each_loop_has_its_turns() -> None:
    async def main() -> Turns:
        assert running_turns() is running_turns()
        return running_turns()

    assert asyncio.run(main()) is not asyncio.run(main())


@pytest.mark.parametrize("is_cut", [False, True])
def test_postponed_reads_lose_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, is_cut: bool
) -> None:
    """Each connection has to wait after its first read."""
    monkeypatch.setattr(http, "MANY_CONNECTIONS", 0)
    monkeypatch.setattr(turns_module, "MAX_COST", 1)
    words = [f"word {number} " for number in range(2000)]
    events = CHAT.scene(say(*words))
    lab.play(*[[*events[:1000], FIN] if is_cut else events] * 8)

    async def read() -> str:
        async with astream(
            CHAT.model, "q", api_base=CHAT.base(lab), api_key="key", max_retries=0
        ) as stream:
            text = "".join([event.delta async for event in stream if event.type == "text_delta"])
            message = await stream.result()
        assert (message.stop_reason == "error") is is_cut
        assert message.text == text
        return text

    async def main() -> list[str]:
        return await asyncio.gather(*[read() for _ in range(8)])

    texts = asyncio.run(main())
    assert len(set(texts)) == 1
    assert "".join(words).startswith(texts[0])
    assert texts[0].count("word") == (1000 if is_cut else 2000)
