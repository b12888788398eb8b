"""Test `complete_many` and `stream_many`: order, reading ahead and wrong arguments."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    PipyError,
    SimpleStreamOptions,
    _requests,
    acomplete_many,
    astream_many,
    complete_many,
    ctx,
    faux,
    register_provider,
    stream_many,
)
from pipy_ai.provider import Request
from pipy_ai.provider.registered import unregister_provider

from .support.batch_host import Host


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    register_provider("host", made)
    yield made
    unregister_provider("host")


def texts(messages: list[AssistantMessage]) -> list[str]:
    return [message.text for message in messages]


def test_results_are_in_the_order_of_the_prompts(host: Host) -> None:
    landed: list[tuple[int, str, str]] = []

    def note(index: int, message: AssistantMessage) -> None:
        landed.append((index, message.text, threading.current_thread().name))

    found = complete_many("host/m", (f"q{n}" for n in range(50)), on_result=note)
    assert texts(found) == [f"Q{n}" for n in range(50)]
    assert sorted(landed) == sorted((n, f"Q{n}", "MainThread") for n in range(50))


MEMORY_SCRIPT = """
import sys
from pipy_ai import complete, complete_many

first, second = complete_many("faux/echo", ["q0", "q1"])
size = sys.getsizeof(complete("faux/echo", "q0").__dict__)
assert sys.getsizeof(first.__dict__) < size / 2
assert first.provider is second.provider
assert first.model is second.model
"""


def test_messages_take_less_memory_than_a_single_one() -> None:
    # In a new process: CPython shares names only if a class has them before most of its instances.
    subprocess.run([sys.executable, "-c", MEMORY_SCRIPT], check=True, timeout=60)


@pytest.mark.parametrize("interval_s", [0.0, 3600.0])
def test_model_of_a_batch_is_resolved_at_intervals(
    monkeypatch: pytest.MonkeyPatch, interval_s: float
) -> None:
    monkeypatch.setattr(_requests, "RESOLVE_INTERVAL_S", interval_s)
    model, options = _requests.BatchModel("host/m"), SimpleStreamOptions()
    [(before, _)] = model.resolve(options)
    warning_count = len(before.warnings)
    before.warnings.clear()  # a request adds its own warnings
    register_provider("host", Host())
    try:
        [(after, _)] = model.resolve(options)
    finally:
        unregister_provider("host")
    assert (before.route.kind, warning_count) == ("litellm", 1)
    is_new = interval_s == 0
    assert (after.route.kind, len(after.warnings)) == (("", 0) if is_new else ("litellm", 1))


def test_no_prompts_no_results(host: Host) -> None:
    assert complete_many("host/m", []) == []
    assert asyncio.run(acomplete_many("host/m", iter(()))) == []


def test_every_kind_of_prompt() -> None:
    prompts: list[Any] = ["a", ctx("b", system="s"), ctx("c").messages[0], [ctx("d").messages[0]]]
    assert texts(complete_many("faux/echo", prompts)) == ["a", "b", "c", "d"]


async def test_async_iterable_of_prompts(host: Host) -> None:
    async def source() -> AsyncIterator[str]:
        for number in range(40):
            await asyncio.sleep(0)
            yield f"q{number}"

    found = await acomplete_many("host/m", source(), concurrency=4)
    assert texts(found) == [f"Q{n}" for n in range(40)]
    assert host.most <= 4


async def test_results_arrive_while_the_source_waits(host: Host) -> None:
    go = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield "first"
        await go.wait()
        yield "second"

    landed = []
    async for index, message in astream_many("host/m", source()):
        landed.append((index, message.text))
        go.set()
    assert landed == [(0, "FIRST"), (1, "SECOND")]


def test_endless_source_is_prefetched_only_a_little(host: Host) -> None:
    read = 0

    def source() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"q{read}"

    answers = stream_many("host/m", source(), concurrency=8)
    for taken, _ in enumerate(answers, 1):
        assert read <= taken + 16
        if taken == 100:
            break
    answers.close()
    assert read <= 117


async def test_async_version_prefetches_only_a_little(host: Host) -> None:
    read = 0

    def source() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"q{read}"

    async with contextlib.aclosing(astream_many("host/m", source(), concurrency=8)) as answers:
        taken = 0
        async for _ in answers:
            taken += 1
            assert read <= taken + 17
            if taken == 100:
                break
    assert host.under_way == 0


def test_failing_source_raises_after_pending_results(host: Host) -> None:
    def source() -> Iterator[str]:
        yield "a"
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        complete_many("host/m", source())
    answers = stream_many("host/m", source())
    assert next(answers)[1].text == "A"
    with pytest.raises(OSError, match="disk"):
        next(answers)

    async def main() -> list[int]:
        landed = []
        try:
            async for index, _ in astream_many("host/m", source()):
                landed.append(index)
        except OSError:
            landed.append(-1)
        return landed

    assert asyncio.run(main()) == [0, -1]


async def test_cancelled_source_ends_the_batch(host: Host) -> None:
    """The caller used to wait for ever."""

    async def source() -> AsyncIterator[str]:
        yield "a"
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(acomplete_many("host/m", source()), 5)
    assert host.asked == ["a"]


def test_typed_results() -> None:
    @dataclass
    class Age:
        years: int

    register_provider("aged", faux.FauxProvider(*['{"years": 7}'] * 3, '{"years": "x"}', "no"))
    try:
        found = complete_many("aged/m", ["a", "b", "c"], output=Age)
        assert [message.parsed.years for message in found] == [7, 7, 7]
        [bad] = complete_many("aged/m", ["d"], output=Age)
        assert bad.error is not None
        assert bad.error.kind == "invalid_output"
        [empty] = complete_many("aged/m", [""], output=Age)
        with pytest.raises(PipyError, match="empty"):
            _ = empty.parsed
    finally:
        unregister_provider("aged")


def test_bad_row_does_not_affect_others(host: Host) -> None:
    prompts: list[Any] = ["a", "", 7, "b"]
    found = complete_many("host/m", prompts)
    assert [m.error and m.error.kind for m in found] == [None, "bad_request", "bad_request", None]
    assert "empty" in found[1].error_message
    assert "not int" in found[2].error_message


def test_context_variables_apply_within_a_batch() -> None:
    import contextvars

    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="unset")
    seen: list[str] = []

    async def look(request: Request) -> AsyncIterator[str]:
        seen.append(mark.get())
        mark.set("spoilt")
        yield "ok"

    register_provider("look", look)
    try:
        mark.set("set")
        complete_many("look/m", ["a", "b", "c"], concurrency=1)
        asyncio.run(acomplete_many("look/m", ["a", "b", "c"], concurrency=1))
    finally:
        unregister_provider("look")
    assert seen == ["set"] * 6


@pytest.mark.parametrize(
    ("arguments", "keywords", "expected"),
    [
        (("host/m", "one prompt"), {}, "contexts must be several prompts"),
        (("host/m", ctx("one")), {}, "contexts must be several prompts"),
        (("host/m", 7), {}, "contexts must be several prompts"),
        (("host/m", ["a"]), {"concurrency": 0}, "concurrency must be 1 or more"),
        (("host/m", ["a"]), {"concurrency": float("nan")}, "concurrency must be a whole number"),
        (("host/m", ["a"]), {"stop_on": ["nonsense"]}, "'nonsense' is not a valid"),
        (("host/m", ["a"]), {"temprature": 1}, "did you mean temperature"),
        (("host/", ["a"]), {}, "provider/model"),
        (("host/m", ["a"]), {"output": 7}, "output= takes a type"),
        (("host/m", ["a"]), {"executor": object()}, "executor must be a Dask Client"),
    ],
)
def test_wrong_use_raises_at_once(
    host: Host, arguments: tuple[Any, ...], keywords: dict[str, Any], expected: str
) -> None:
    for verb in (complete_many, stream_many, astream_many):
        with pytest.raises((TypeError, ValueError), match=expected):
            verb(*arguments, **keywords)
    with pytest.raises((TypeError, ValueError), match=expected):
        asyncio.run(acomplete_many(*arguments, **keywords))
    assert host.asked == []


def test_async_callback_is_rejected_by_the_blocking_function(host: Host) -> None:
    async def note(index: int, message: AssistantMessage) -> None: ...

    with pytest.raises(TypeError, match="on_result must be a plain function"):
        complete_many("host/m", ["a"], on_result=note)
    with pytest.raises(TypeError, match="on_result must be a plain function"):
        asyncio.run(acomplete_many("host/m", ["a"], on_result=note))
    assert host.asked == []
