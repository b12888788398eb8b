"""Test `api_key=` as a function: access tokens that are kept, replaced and never shown."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from pipy_ai import acomplete, complete, preview
from pipy_ai._requests import build_request
from pipy_ai.provider.credentials import key_renewal
from pipy_ai.provider.token_source import TokenSource, token_source

from ..support.scripted_server import Lab, Status
from ..support.wire_formats import CHAT, WIRES, Wire, say

TOKEN = "token-of-the-function-0123456789"


def in_an_hour() -> float:
    return time.time() + 3600


def sent_keys(lab: Lab) -> list[str]:
    return [seen.headers.get("authorization", "").removeprefix("Bearer ") for seen in lab.seen]


@pytest.fixture(params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_token_is_sent_as_a_key_is(lab: Lab, wire: Wire) -> None:
    lab.play(wire.scene(say("ok")), wire.scene(say("ok")))
    options: dict[str, Any] = {"api_base": wire.base(lab), "max_retries": 0}
    assert complete(wire.model, "q", api_key=lambda: TOKEN, **options).text == "ok"
    assert complete(wire.model, "q", api_key=TOKEN, **options).text == "ok"
    first, second = (dict(seen.headers) for seen in lab.seen)
    assert first == second
    assert any(TOKEN in value for value in first.values())


async def token_of_a_coroutine() -> str:
    return TOKEN


class Credential:
    async def __call__(self) -> tuple[str, float]:
        return TOKEN, in_an_hour()


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize(
    "function",
    [
        lambda: TOKEN,
        lambda: (TOKEN, in_an_hour()),
        lambda: (TOKEN, datetime.now(UTC) + timedelta(hours=1)),
        lambda: SecretStr(f" {TOKEN}\n"),
        token_of_a_coroutine,
        Credential(),
    ],
    ids=["text", "seconds", "datetime", "secret", "coroutine", "asynchronous object"],
)
def test_functions_of_every_kind(lab: Lab, function: Callable[[], Any]) -> None:
    lab.play(CHAT.scene(say("ok")))
    options: dict[str, Any] = {"api_base": CHAT.base(lab), "max_retries": 0}
    assert complete(CHAT.model, "q", api_key=function, **options).text == "ok"
    assert sent_keys(lab) == [TOKEN]


def counted(*expiries: float | None) -> tuple[Callable[[], Any], list[str]]:
    """Return a function whose tokens expire in these seconds, and the tokens it has returned."""
    tokens: list[str] = []

    def fetch() -> Any:
        tokens.append(f"{TOKEN}-{len(tokens)}")
        expiry = expiries[min(len(tokens), len(expiries)) - 1]
        return tokens[-1] if expiry is None else (tokens[-1], time.time() + expiry)

    return fetch, tokens


@pytest.mark.parametrize(("expiry", "calls"), [(3600, 1), (301, 1), (299, 3), (-1, 3), (None, 3)])
def test_token_is_kept_until_five_minutes_before_it_expires(
    lab: Lab, expiry: float | None, calls: int
) -> None:
    fetch, tokens = counted(expiry)
    lab.play(*[CHAT.scene(say("ok"))] * 3)
    for _ in range(3):
        assert complete(CHAT.model, "q", api_key=fetch, api_base=CHAT.base(lab)).text == "ok"
    assert len(tokens) == calls
    assert sent_keys(lab) == (tokens * 3)[:3] if calls == 1 else tokens


def test_rejected_token_is_replaced_once(lab: Lab) -> None:
    fetch, tokens = counted(3600)
    lab.play(Status(401), CHAT.scene(say("ok")), Status(401), Status(401))
    options: dict[str, Any] = {"api_base": CHAT.base(lab), "max_retries": 5}
    assert complete(CHAT.model, "q", api_key=fetch, **options).text == "ok"
    assert sent_keys(lab) == tokens == [f"{TOKEN}-0", f"{TOKEN}-1"]
    message = complete(CHAT.model, "q", api_key=fetch, **options)
    assert message.error is not None
    assert message.error.kind == "auth"
    assert len(lab.seen) == 4
    assert message.attempts == []


def test_rejected_key_is_not_sent_again(lab: Lab) -> None:
    lab.play(Status(401))
    message = complete(CHAT.model, "q", api_key="a-rejected-key", api_base=CHAT.base(lab))
    assert message.error is not None
    assert message.error.kind == "auth"
    assert len(lab.seen) == 1


async def test_requests_that_start_together_share_a_token(lab: Lab) -> None:
    fetch, tokens = counted(3600)
    lab.play(*[CHAT.scene(say("ok"))] * 20)
    options: dict[str, Any] = {"api_key": fetch, "api_base": CHAT.base(lab)}
    answers = await asyncio.gather(*(acomplete(CHAT.model, "q", **options) for _ in range(20)))
    assert {message.text for message in answers} == {"ok"}
    assert len(tokens) == 1


def test_blocking_function_does_not_block_the_loop() -> None:
    threads: list[threading.Thread] = []

    def fetch() -> str:
        threads.append(threading.current_thread())
        return TOKEN

    async def main() -> None:
        assert await TokenSource(fetch).token() == TOKEN

    asyncio.run(main())
    assert threads != [threading.main_thread()]


def fail() -> str:
    raise OSError("the login server is down")


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize(
    ("function", "text"),
    [
        (fail, "The function that returns a token failed: OSError: the login server is down"),
        (lambda: None, "must return a str, or a tuple of a str and the time when it expires; it"),
        (lambda: "  ", "must return a str"),
        (lambda: (TOKEN, "tomorrow"), "must return a str"),
    ],
)
def test_function_that_fails_is_an_error_before_any_request(
    lab: Lab, function: Callable[[], Any], text: str
) -> None:
    message = complete(CHAT.model, "q", api_key=function, api_base=CHAT.base(lab))
    assert message.error is not None
    assert message.error.kind == "auth"
    assert not message.error.retryable
    assert text in message.error.message
    assert TOKEN not in message.error.message
    assert not lab.seen


def quoting_text() -> str:
    raise ValueError(f"{TOKEN} is not a token of this host")


async def quoting_json() -> str:
    raise ValueError(f'{{"access_token":"{TOKEN[:6]}/{TOKEN[-10:]}","expired":true}}')


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("function", [quoting_text, quoting_json])
def test_token_in_the_error_of_the_function_is_not_shown(
    lab: Lab, function: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    message = complete(CHAT.model, "q", api_key=function, api_base=CHAT.base(lab))
    assert message.error is not None
    assert "failed: ValueError: " in message.error.message
    for text in (message.model_dump_json(), repr(message), caplog.text):
        assert TOKEN[:6] not in text
        assert TOKEN[-10:] not in text


@dataclass
class UnhashableCredential:
    calls: int = 0

    def __call__(self) -> tuple[str, float]:
        self.calls += 1
        return TOKEN, in_an_hour()


def test_token_of_an_unhashable_object_is_kept(lab: Lab) -> None:
    credentials = [UnhashableCredential(), UnhashableCredential()]
    lab.play(*[CHAT.scene(say("ok"))] * 4)
    for credential in credentials * 2:
        assert complete(CHAT.model, "q", api_key=credential, api_base=CHAT.base(lab)).text == "ok"
    assert [credential.calls for credential in credentials] == [1, 1]


async def test_requests_rejected_one_after_the_other_share_the_new_token(lab: Lab) -> None:
    """The second 401 arrives when the token has been replaced already."""
    fetch, tokens = counted(3600)
    first = await token_source(fetch).token()
    lab.play(Status(401), CHAT.scene(say("ok")), CHAT.scene(say("ok")))
    options: Any = {"api_key": fetch, "api_base": CHAT.base(lab)}
    assert (await acomplete(CHAT.model, "q", **options)).text == "ok"
    request = build_request(CHAT.model, "q", None, options)
    renew = key_renewal(request, first)
    assert renew is not None
    renew()
    assert (await acomplete(CHAT.model, "q", **options)).text == "ok"
    assert len(tokens) == 2


async def test_tokens_without_a_time_are_fetched_at_once() -> None:
    """They cannot be shared, so requests need not wait for each other's."""
    others = threading.Barrier(4)
    calls: list[str] = []

    def fetch() -> str:
        calls.append(TOKEN)
        if len(calls) > 1:
            others.wait(30)
        return TOKEN

    source = TokenSource(fetch)
    assert await asyncio.gather(*(source.token() for _ in range(5))) == [TOKEN] * 5


def test_token_is_removed_from_errors(lab: Lab) -> None:
    lab.play(Status(400, {"error": {"message": f"bad token {TOKEN}"}}))
    message = complete(CHAT.model, "q", api_key=lambda: TOKEN, api_base=CHAT.base(lab))
    assert message.error is not None
    assert "bad token ***" in message.error.message


def test_preview_does_not_call_the_function() -> None:
    shown = preview(CHAT.model, "q", api_key=fail, api_base="http://127.0.0.1:9")
    assert shown.headers["authorization"] == "***"
