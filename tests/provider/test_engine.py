"""Test the engine: retries, timeouts and providers that misbehave."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipy_ai import acomplete, complete, faux, register_provider, stream
from pipy_ai.errors import RateLimitError
from pipy_ai.provider import Request
from pipy_ai.provider.registered import unregister_provider

from ..support.event_grammar import check_events
from ..support.watched_provider import Watched

WAIT = 10.0  # seconds, far above what anything here takes


def test_failure_before_the_first_content_is_retried() -> None:
    failure = faux.error("overloaded", retry_after=0.0)
    with faux.script(failure, faux.reply(faux.cut()), "fine") as provider:
        events = list(stream("faux/m", "q"))
    assert check_events(events).text == "fine"
    assert provider.calls == 3
    assert sum(event.type == "start" for event in events) == 1


def test_no_retry_after_content_or_for_permanent_errors() -> None:
    broken = faux.reply("half", faux.error("server", retry_after=0.0))
    refused = faux.error("auth", retry_after=0.0)
    with faux.script(broken, refused) as provider:
        assert complete("faux/m", "q").text == "half"
        assert complete("faux/m", "q").error is not None
        assert provider.calls == 2


def test_retries_are_limited() -> None:
    failure = faux.error("server", retry_after=0.0)
    with faux.script(*[failure] * 5) as provider:
        assert complete("faux/m", "q").stop_reason == "error"
        assert provider.calls == 3
        assert complete("faux/m", "q", max_retries=0).stop_reason == "error"
        assert provider.calls == 4


def test_long_retry_after_fails_at_once() -> None:
    with faux.script(faux.error("rate_limit", "slow down", retry_after=3600)) as provider:
        message = complete("faux/m", "q")
    assert provider.calls == 1
    assert message.error is not None
    assert message.error.retry_after == 3600
    assert "3600 s" in message.error.message
    assert message.error_message == message.error.message
    with pytest.raises(RateLimitError):
        message.raise_for_error()


def test_wait_before_a_retry_can_be_aborted() -> None:
    with faux.script(faux.error("rate_limit", retry_after=30)) as provider:
        s = stream("faux/m", "q")
        while not provider.calls:
            time.sleep(0.001)
        s.abort()
        assert s.result().stop_reason == "aborted"


@pytest.fixture
def odd() -> Any:
    """Register a generator function as provider `odd`."""

    def register(function: Any) -> None:
        register_provider("odd", function)

    yield register
    unregister_provider("odd")


def test_provider_that_swallows_cancellation_is_not_called_again(odd: Any) -> None:
    asked = 0

    class Deaf:
        api = "odd"

        async def stream(self, request: Request) -> AsyncIterator[Any]:
            nonlocal asked
            asked += 1
            yield []
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                if request.model_id == "raises":
                    raise ConnectionError("gone") from None

    odd(Deaf())
    for model in ("odd/returns", "odd/raises"):
        asked = 0
        message = complete(model, "q", timeout=0.05)
        assert message.error is not None
        assert message.error.kind == "timeout"
        assert asked == 1


@pytest.mark.parametrize("expected", [[], ["half"]])
async def test_provider_that_cancels_itself_is_an_error_not_an_abort(
    odd: Any, expected: list[str]
) -> None:
    """A provider may close the connection that it waits for: that is an error, not an abort."""

    async def cancelled(request: Request) -> AsyncIterator[str]:
        for word in expected:
            yield word
        inner = asyncio.ensure_future(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    odd(cancelled)
    for message in (
        complete("odd/m", "q", max_retries=0),
        await acomplete("odd/m", "q", max_retries=0),
    ):
        assert message.error is not None
        assert (message.text, message.stop_reason) == ("".join(expected), "error")
        assert message.error.kind == ("incomplete" if expected else "connection")
    again = await acomplete(["odd/m", "faux/echo"], "q", max_retries=0)
    assert again.text == ("half" if expected else "q")


def test_provider_that_never_awaits_does_not_block_others(odd: Any) -> None:
    left = threading.Event()

    async def endless(request: Request) -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            left.set()

    odd(endless)
    with stream("odd/m", "q"):
        assert complete("faux/echo", "Hi").text == "Hi"
        assert not left.is_set()
    assert left.wait(WAIT)
    message = complete("odd/m", "q", timeout=0.05)
    assert message.error is not None
    assert message.error.kind == "timeout"


def test_invalid_deltas_do_not_prevent_the_last_event(odd: Any) -> None:
    from pipy_ai.provider import Text, UsageReport

    async def floats(request: Request) -> AsyncIterator[Any]:
        yield [UsageReport(input=1.5, output=float("nan"), reasoning="many")]  # type: ignore[arg-type]
        yield Text("fine")

    async def nonsense(request: Request) -> AsyncIterator[Any]:
        yield [Text("told"), object()]

    odd(floats)
    assert complete("odd/m", "q").text == "fine"
    odd(nonsense)
    message = check_events(list(stream("odd/m", "q")))
    assert message.text == "told"
    assert message.error is not None


def test_provider_that_raises_system_exit_ends_only_its_stream(odd: Any, watched: Watched) -> None:
    async def leave(request: Request) -> AsyncIterator[str]:
        yield "x"
        raise SystemExit(3)

    odd(leave)
    other = stream("watched/m", "q")
    message = complete("odd/m", "q")
    assert message.error is not None
    assert "SystemExit" in message.error.message
    other.abort()
    assert other.result().stop_reason == "aborted"


def test_lone_surrogate_in_a_tool_is_harmless(odd: Any) -> None:
    from pipy_ai import Tool, ctx

    async def plain(request: Request) -> AsyncIterator[str]:
        yield "fine"

    odd(plain)
    context = ctx("q", tools=[Tool(name="f", description="\ud83d")])
    assert complete("odd/m", context).text == "fine"


@pytest.mark.parametrize("death", [asyncio.CancelledError, KeyboardInterrupt, GeneratorExit])
def test_provider_that_dies_ends_the_stream(death: type[BaseException]) -> None:
    async def die(request: Request) -> AsyncIterator[str]:
        yield "so far"
        raise death

    register_provider("mortal", die)
    try:
        s = stream("mortal/m", "q")
        message = check_events(list(s))
    finally:
        unregister_provider("mortal")
    assert s.result() is message
    assert message.text == "so far"
    assert message.error is not None
    assert complete("faux/echo", "still there?").text == "still there?"
