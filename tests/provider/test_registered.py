"""Test custom providers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pipy_ai import complete, register_provider, stream
from pipy_ai.provider import Request
from pipy_ai.provider.registered import unregister_provider

from ..support.event_grammar import check_events


def test_custom_provider() -> None:
    async def parrot(request: Request) -> AsyncIterator[str]:
        yield "You said: "
        yield str(request.context.messages[-1].content)

    register_provider("parrot", parrot)
    try:
        message = complete("parrot/any", "Hi")
    finally:
        unregister_provider("parrot")
    assert message.text == "You said: Hi"
    assert (message.provider, message.model, message.api) == ("parrot", "any", "parrot")
    assert message.stop_reason == "stop"
    assert message.usage.estimated
    assert message.usage.total_tokens > 0


@pytest.mark.parametrize("fault", [ValueError("odd"), KeyError("gone"), RuntimeError()])
def test_failing_provider_gives_an_error_message(fault: Exception) -> None:
    async def broken(request: Request) -> AsyncIterator[str]:
        yield "half"
        raise fault

    register_provider("broken", broken)
    try:
        message = check_events(list(stream("broken/any", "Hi")))
    finally:
        unregister_provider("broken")
    assert message.text == "half"
    assert message.error is not None
    assert message.error.kind == "unknown"
    assert type(fault).__name__ in message.error.message
