"""Test `raise_on_error=True`, and the warning about errors that nobody looks at."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    ErrorEvent,
    InvalidOutputError,
    PipyError,
    StopReason,
    UncheckedErrorWarning,
    acomplete,
    acomplete_many,
    acomplete_simple,
    aquick,
    arun_tools,
    astream,
    astream_many,
    complete,
    complete_many,
    complete_simple,
    faux,
    quick,
    run_tools,
    stream,
    stream_many,
)
from pipy_ai.errors import BadRequestError
from pipy_ai.options import SimpleStreamOptions

pytestmark = pytest.mark.filterwarnings("error::pipy_ai.UncheckedErrorWarning")

FAILURE = faux.error("bad_request", "No.")


def failing() -> Any:
    return faux.script(*[faux.reply("Half ", FAILURE)] * 3)


# --- raise_on_error -----------------------------------------------------------------------

CALLS: dict[str, Callable[..., Any]] = {
    "complete": lambda **options: complete("faux/any", "Hi", **options),
    "complete_simple": lambda **options: complete_simple("faux/any", "Hi", **options),
    "quick": lambda **options: quick("Hi", "faux/any", **options),
    "stream.result": lambda **options: stream("faux/any", "Hi", **options).result(),
    "stream": lambda **options: list(stream("faux/any", "Hi", **options)),
    "run_tools.result": lambda **options: run_tools("faux/any", "Hi", [], **options).result(),
    "run_tools": lambda **options: list(run_tools("faux/any", "Hi", [], **options)),
    "complete_many": lambda **options: complete_many("faux/any", ["Hi"], **options),
    "stream_many": lambda **options: list(stream_many("faux/any", ["Hi"], **options)),
    "output": lambda **options: complete("faux/any", "Hi", output=int, **options),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_failure_raises(call: Callable[..., Any]) -> None:
    with failing(), pytest.raises(BadRequestError, match="No") as raised:
        call(raise_on_error=True)
    assert raised.value.response is not None
    assert raised.value.response.text == "Half "
    with failing():
        call()
    with failing():
        call(raise_on_error=False)


async def _collect(events: Any) -> list[Any]:
    return [event async for event in events]


ASYNC_CALLS: dict[str, Callable[..., Any]] = {
    "acomplete": lambda: acomplete("faux/any", "Hi", raise_on_error=True),
    "acomplete_simple": lambda: acomplete_simple("faux/any", "Hi", raise_on_error=True),
    "aquick": lambda: aquick("Hi", "faux/any", raise_on_error=True),
    "astream.result": lambda: astream("faux/any", "Hi", raise_on_error=True).result(),
    "astream": lambda: _collect(astream("faux/any", "Hi", raise_on_error=True)),
    "arun_tools.result": lambda: arun_tools("faux/any", "Hi", [], raise_on_error=True).result(),
    "arun_tools": lambda: _collect(arun_tools("faux/any", "Hi", [], raise_on_error=True)),
    "acomplete_many": lambda: acomplete_many("faux/any", ["Hi"], raise_on_error=True),
    "astream_many": lambda: _collect(astream_many("faux/any", ["Hi"], raise_on_error=True)),
    "output": lambda: acomplete("faux/any", "Hi", output=int, raise_on_error=True),
}


@pytest.mark.parametrize("call", ASYNC_CALLS.values(), ids=ASYNC_CALLS)
async def test_async_failure_raises(call: Callable[..., Any]) -> None:
    with failing(), pytest.raises(BadRequestError, match="No"):
        await call()


def test_keyword_takes_precedence_over_the_options_object() -> None:
    options = SimpleStreamOptions(raise_on_error=True)
    with failing(), pytest.raises(BadRequestError):
        complete("faux/any", "Hi", options)
    with failing():
        complete("faux/any", "Hi", options, raise_on_error=False)


def test_success_returns() -> None:
    assert complete("faux/echo", "Hi", raise_on_error=True).text == "Hi"
    assert complete_many("faux/echo", ["Hi"], raise_on_error=True)[0].text == "Hi"


def test_wrong_value_is_rejected() -> None:
    with pytest.raises(ValueError, match="raise_on_error"):
        complete("faux/echo", "Hi", raise_on_error="perhaps")  # type: ignore[call-overload]


def test_stream_yields_all_events_before_it_raises() -> None:
    types: list[str] = []
    with failing(), pytest.raises(BadRequestError):
        types.extend(event.type for event in stream("faux/any", "Hi", raise_on_error=True))
    assert types[-1] == "error"
    assert "text_delta" in types


def test_leaving_a_stream_raises_nothing() -> None:
    with failing():
        for event in stream("faux/any", "Hi", raise_on_error=True):
            if event.type == "error":
                break


def test_retried_output_raises_only_at_the_end() -> None:
    with faux.script("not JSON", '{"value": 3}'):
        assert complete("faux/any", "Hi", output=int, raise_on_error=True).parsed == 3
    with faux.script("not JSON", "nor this"), pytest.raises(InvalidOutputError):
        complete("faux/any", "Hi", output=int, raise_on_error=True)
    with faux.script("not JSON", '{"value": 3}'):
        run = run_tools("faux/any", "Hi", [], output=int, raise_on_error=True)
        assert run.result().parsed == 3


def test_batch_delivers_the_answers_before_it_raises() -> None:
    seen: list[tuple[int, str]] = []
    with faux.script("One", faux.reply(FAILURE), "Three"), pytest.raises(PipyError):
        complete_many(
            "faux/any", ["1", "2", "3"], concurrency=1, raise_on_error=True,
            on_result=lambda index, message: seen.append((index, str(message.stop_reason))),
        )  # fmt: skip
    assert seen == [(0, "stop"), (1, "error")]


# --- UncheckedErrorWarning ----------------------------------------------------------------


def failed() -> AssistantMessage:
    with failing():
        return complete("faux/any", "Hi")


def test_unchecked_text_warns_once_and_names_the_error() -> None:
    message = failed()
    with pytest.warns(UncheckedErrorWarning, match="bad_request: .*No") as caught:
        assert message.text == "Half "
    assert caught[0].filename == __file__
    assert message.text == "Half "


def test_warning_is_one_short_line_without_control_characters() -> None:
    with faux.script(faux.reply(faux.error("bad_request", "No.\x1b[31m\n\x9b" * 1000))):
        message = complete("faux/any", "Hi")
    with pytest.warns(UncheckedErrorWarning, match=r"\(bad_request: No\. \[31m No\.") as caught:
        assert message.text == ""
    assert str(caught[0].message).isprintable()
    assert len(str(caught[0].message)) < 500


LOOKS: dict[str, Callable[[AssistantMessage], object]] = {
    "error": lambda message: message.error,
    "error_message": lambda message: message.error_message,
    "stop_reason": lambda message: message.stop_reason,
    "print": str,
    "repr": repr,
    "f-string": lambda message: f"{message}",
    "HTML": lambda message: message._repr_html_(),
    "Markdown": lambda message: message._repr_markdown_(),
    "dump": lambda message: message.model_dump(),
    "JSON": lambda message: message.model_dump_json(),
    "dict": dict,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_text_after_a_look_at_the_error_does_not_warn(
    look: Callable[[AssistantMessage], object],
) -> None:
    message = failed()
    look(message)
    assert message.text == "Half "


def test_raise_for_error_counts_as_a_look() -> None:
    message = failed()
    with pytest.raises(PipyError):
        message.raise_for_error()
    assert message.text == "Half "


def _match(event: Any) -> Any:
    match event:
        case ErrorEvent(error=message):
            return message.text


@pytest.mark.parametrize(
    "look",
    [
        lambda event: event.error.error_message,
        lambda event: event.error.text,
        lambda event: event.reason,
        lambda event: event.partial.text,
        lambda event: event.to_dict(),
        repr,
        _match,
    ],
)
@pytest.mark.parametrize("start", [stream, partial(run_tools, tools=[])])
def test_error_event_counts_once_it_is_looked_at(
    look: Callable[[Any], object], start: Callable[..., Any]
) -> None:
    with failing():
        events = start("faux/any", "Hi")
        for event in events:
            if event.type == "error":
                look(event)
    assert events.result().text == "Half "


def test_error_event_that_is_not_looked_at_does_not_count() -> None:
    with failing():
        events = stream("faux/any", "Hi")
        assert "".join(event.delta for event in events if event.type == "text_delta") == "Half "
    with pytest.warns(UncheckedErrorWarning):
        _ = events.result().text


UNCHECKED: dict[str, Callable[[], AssistantMessage]] = {
    "output": lambda: complete("faux/any", "Hi", output=int),
    "run_tools": lambda: run_tools("faux/any", "Hi", []).result(),
    "complete_many": lambda: complete_many("faux/any", ["Hi"])[0],
    "stream_many": lambda: next(stream_many("faux/any", ["Hi"]))[1],
    "skipped": lambda: complete_many(
        "faux/any", ["1", "2"], concurrency=1, stop_on=["bad_request"]
    )[1],
}


@pytest.mark.parametrize("call", UNCHECKED.values(), ids=UNCHECKED)
def test_every_function_warns(call: Callable[[], AssistantMessage]) -> None:
    with failing():
        message = call()
    with pytest.warns(UncheckedErrorWarning):
        _ = message.text


def test_success_and_messages_made_by_hand_do_not_warn() -> None:
    assert complete("faux/echo", "Hi").text == "Hi"
    made = AssistantMessage.model_validate(failed().model_dump())
    assert made.text == "Half "


def test_the_mark_is_not_part_of_the_message() -> None:
    message, seen = failed(), failed()
    _ = seen.error
    seen = seen.model_copy(update={"timestamp": message.timestamp, "attempts": []})
    for name in ("duration_ms", "ttft_ms"):
        setattr(seen, name, getattr(message, name))
    message = message.model_copy(update={"attempts": []})
    assert message == seen
    assert message.model_dump() == seen.model_dump()
    assert "error_unseen" not in message.model_dump_json()
    assert pickle.loads(pickle.dumps(message)) == message
    message.error = None
    assert message.error is None
    assert message.model_dump()["error"] is None
    del message.error
    assert not hasattr(message, "error")
    with pytest.raises(AttributeError):
        del message.error


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        lambda message: message.model_copy(),
        lambda message: pickle.loads(pickle.dumps(message)),
        lambda message: (
            pickle.loads(pickle.dumps(ErrorEvent(reason=StopReason.ERROR, error=message))).error
        ),
    ],
)
def test_copies_are_equal_and_do_not_warn(
    duplicate: Callable[[AssistantMessage], AssistantMessage],
) -> None:
    message = failed()
    made = duplicate(message)
    assert made == message
    assert made.text == "Half "


def test_library_itself_issues_no_warning() -> None:
    with warnings.catch_warnings(record=True) as caught, failing():
        warnings.simplefilter("always")
        message = complete("faux/any", "Hi", output=int)
        assert message.parsed_partial is None
    assert not caught
