"""Test the warning about a long prompt that is never read from the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipy_ai import AssistantMessage, complete, ctx
from pipy_ai.accounting import cache_watch

from ..support.scripted_server import Lab, Status
from ..support.wire_formats import ANTHROPIC, CHAT, Counts, say

KEY = "key-of-the-test-0123456789"
LONG = "Call me Ishmael. " * 2000

pytestmark = pytest.mark.usefixtures("july")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    cache_watch.recent_prompts.clear()
    yield
    cache_watch.recent_prompts.clear()


def ask(lab: Lab, context: Any, cached: int = 0, **options: Any) -> list[str]:
    """Return the codes of the warnings about the cache."""
    lab.play(ANTHROPIC.scene(say("ok"), counts=Counts(input=10_000 - cached, cached=cached)))
    options = {"api_base": lab.url, "api_key": KEY, **options}
    message: AssistantMessage = complete("anthropic/claude-sonnet-4-5", context, **options)
    assert message.text == "ok"
    return [one.code for one in message.warnings if "cache" in one.code]


def questions(count: int) -> Iterator[Any]:
    for number in range(count):
        yield ctx(f"Question {number}?", system=LONG)


def test_warning_comes_once(lab: Lab) -> None:
    assert [ask(lab, context) for context in questions(6)] == [
        [], [], [], ["cache_never_hit"], [], []
    ]  # fmt: skip


def test_text(lab: Lab) -> None:
    for context in questions(3):
        ask(lab, context)
    lab.play(ANTHROPIC.scene(say("ok"), counts=Counts(input=10_000)))
    message = complete(
        "anthropic/claude-sonnet-4-5", ctx("Q?", system=LONG), api_base=lab.url, api_key=KEY
    )
    assert message.warnings[0].message == (
        "anthropic read nothing from its prompt cache in 4 requests with the same long beginning."
        " Check that tools and other options do not change between requests, and see"
        " docs/caching.md."
    )


def test_a_hit_resets_the_count(lab: Lab) -> None:
    for context in questions(3):
        ask(lab, context)
    assert ask(lab, next(questions(1)), cached=9000) == []
    assert [ask(lab, context) for context in questions(2)] == [[], []]


@pytest.mark.parametrize(
    "contexts",
    [
        [ctx("Q?", system=LONG + str(number)) for number in range(5)],  # other prompts
        [ctx("Q?", system="Be brief.")] * 5,  # too short
        [ctx(LONG + str(number), system="Be brief.") for number in range(5)],
    ],
)
def test_prompts_that_are_not_repeated(lab: Lab, contexts: list[Any]) -> None:
    assert [ask(lab, context) for context in contexts] == [[]] * 5


def test_repeated_first_message(lab: Lab) -> None:
    assert [ask(lab, ctx(LONG)) for _ in range(4)] == [[], [], [], ["cache_never_hit"]]


def test_cache_that_is_turned_off(lab: Lab) -> None:
    found = [ask(lab, context, cache_retention="none") for context in questions(5)]
    assert found == [[]] * 5


def test_failures_and_hosts_without_cache_prices_do_not_count(lab: Lab) -> None:
    for _ in range(5):
        lab.play(Status(400, {"error": {"message": "no"}}))
        complete(
            "anthropic/claude-sonnet-4-5", ctx("Q?", system=LONG), api_base=lab.url, api_key=KEY
        )
    assert not cache_watch.recent_prompts
    for _ in range(5):
        lab.play(CHAT.scene(say("ok"), counts=Counts(input=10_000)))
        message = complete("hosted_vllm/m", ctx("Q?", system=LONG), api_base=lab.url)
        assert message.warnings == []


def test_requests_in_parallel_do_not_count() -> None:
    from pipy_ai import Usage
    from pipy_ai._requests import build_request

    request = build_request("anthropic/claude-sonnet-4-5", ctx("Q?", system=LONG), None, {})
    for _ in range(9):  # all began before the first answer
        assert cache_watch.missed_cache_text(request, Usage(input=9), started_at=0.0) is None


def test_few_prompts_are_remembered() -> None:
    from pipy_ai import Usage
    from pipy_ai._requests import build_request

    for number in range(cache_watch.MAX_PROMPTS + 50):
        context = ctx("Q?", system=f"{LONG}{number}")
        request = build_request("anthropic/claude-sonnet-4-5", context, None, {})
        cache_watch.missed_cache_text(request, Usage(input=9), started_at=0.0)
    assert len(cache_watch.recent_prompts) == cache_watch.MAX_PROMPTS
