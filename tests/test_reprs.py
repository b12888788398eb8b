"""Test `repr()` and `print()` of the public objects: short, readable, without a network."""

from __future__ import annotations

import re
from typing import Any

import pytest

import pipy_ai
from pipy_ai import (
    AssistantMessage,
    Budget,
    Context,
    Cost,
    ErrorInfo,
    ErrorKind,
    ImageContent,
    Model,
    ModelCost,
    ModelLimits,
    StopReason,
    StreamOptions,
    TextContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    Usage,
    UserMessage,
    assistant,
    complete,
    ctx,
    faux,
    get_model,
    preview,
    read_ledger,
    run_tools,
    stream,
    user,
)
from pipy_ai.provider.clouds.aws_login import Login
from pipy_ai.provider.clouds.sigv4 import AWSCredentials
from pipy_ai.provider.endpoint import Endpoint
from pipy_ai.provider.http.client import HTTPRequest
from pipy_ai.provider.token_source import Token
from pipy_ai.registry.routing import build_route

LONG = "word " * 100_000


def get_weather(city: str, unit: str = "C") -> str:
    "The weather of a city."
    return f"{city}: 20 {unit}"


def conversation() -> Context:
    return ctx(*[user(LONG), assistant(LONG)] * 500, system=LONG, tools=[get_weather])


def long_objects() -> list[Any]:
    call = ToolCall(id="1", name="get_weather", arguments={"city": LONG, "more": [LONG] * 99})
    with faux.script(faux.reply(LONG, call), LONG):
        run = run_tools("faux/any", LONG, [get_weather])
        answer = run.result()
    ended = stream("faux/echo", LONG)
    ended.result()
    model = Model(id="m", provider="p", raw={"x": LONG}, limits=ModelLimits(1, 2))
    return [
        answer, run, ended, call, conversation(), user(LONG), conversation().tools,
        TextContent(text=LONG), ImageContent(data=LONG, mime_type="image/png"),
        ToolResultMessage(content=[TextContent(text=LONG)], details={"a": [LONG]}),
        Tool(name="t", description=LONG, parameters={"type": "object", "properties": {LONG: {}}}),
        answer.usage, answer.usage.cost, Budget(usd=1), model, ModelCost(input=1.0),
        ErrorInfo(kind=ErrorKind.SERVER, message=LONG), StreamOptions(temperature=0),
        read_ledger("spend.jsonl"),
        list(stream("faux/echo", LONG))[2], get_model("anthropic/claude-sonnet-4-5"),
    ]  # fmt: skip


def test_no_repr_is_long_or_has_several_lines() -> None:
    for value in long_objects():
        shown = repr(value)
        assert len(shown) < 500, shown[:1000]
        assert "\n" not in shown
        assert " at 0x" not in shown


def test_repr_of_a_preview_is_short() -> None:
    assert len(repr(preview("local/smollm2", "Hi " * 10_000))) < 500


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (TextContent(text="Hi"), "TextContent(text='Hi')"),
        (UserMessage(content="Hi"), "UserMessage(content='Hi')"),
        (ToolCall(name="f", arguments={"a": 1}), "ToolCall(name='f', arguments={'a': 1})"),
        (
            Tool.from_function(get_weather),
            "Tool(get_weather(city, unit), 'The weather of a city.')",
        ),
        (Cost(total=0.5, source="provider"), "Cost(total=0.5, source='provider')"),
        (Usage(input=3), "Usage(input=3)"),
        (ModelCost(input=1, output=2), "ModelCost(input=1, output=2)"),
        (StreamOptions(temperature=0.5), "StreamOptions(temperature=0.5)"),
        (
            Model(id="m", provider="p", limits=ModelLimits(context=8000), cost=ModelCost(1, 2.5)),
            "Model(id='m', provider='p', context=8000, cost=<$1.00 in / $2.50 out per 1M tokens>)",
        ),
        (
            ctx("Hi", system="Be brief.", tools=[get_weather]),
            "Context(system_prompt='Be brief.', messages=[user: 'Hi'], tools=[get_weather])",
        ),
    ],
)  # fmt: skip
def test_repr(value: object, shown: str) -> None:
    assert repr(value) == shown


def test_repr_of_an_answer_has_its_text_model_end_and_usage() -> None:
    assert repr(complete("faux/echo", "Hello there")) == (
        "AssistantMessage('Hello there', model='faux/echo', stop_reason='stop',"
        " usage=<4 in / 4 out, unknown cost>)"
    )


def test_repr_of_a_parsed_answer_has_its_value() -> None:
    assert "parsed=3" in repr(complete("faux/echo", '{"value": 3}', output=int))


def test_repr_of_an_event_computes_no_message() -> None:
    events = list(stream("faux/echo", "Hi"))
    assert repr(events[2]) == "TextDeltaEvent(content_index=0, delta='Hi')"


def test_repr_of_a_stream_tells_its_state() -> None:
    queued = pipy_ai.AssistantMessageEventStream()
    assert repr(queued) == "<AssistantMessageEventStream: in flight>"
    queued.end(assistant("Hi"))
    assert "ended, AssistantMessage('Hi'" in repr(queued)


# --- print() ------------------------------------------------------------------------------


SECRET = "a-secret-of-the-caller-0123456789"
ADDRESS = f"https://me:{SECRET}@host.example/v1?key={SECRET}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (StreamOptions(api_base=ADDRESS, extra={"aws_session_token": SECRET}), "host.example"),
        (build_route({"id": "x", "api": ADDRESS}, "m"), "host.example"),
        (Endpoint({"authorization": SECRET}, ADDRESS, secrets=(SECRET,)), "host.example"),
        (Token(SECRET, 4.5), "4.5"),
        (Login("AWS_PROFILE", SECRET, AWSCredentials(SECRET, SECRET, SECRET)), "AWS_PROFILE"),
        (AWSCredentials(SECRET, SECRET, SECRET), "AWSCredentials"),
        (HTTPRequest("POST", "https://host.example", [("api-key", SECRET)]), "host.example"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_repr_holds_no_secret(value: object, shown: str) -> None:
    assert shown in repr(value)
    assert SECRET[:8] not in repr(value)


def test_print_of_an_answer_is_its_text() -> None:
    assert str(complete("faux/echo", "**Hello**\nthere")) == "**Hello**\nthere"


def test_print_of_a_failed_answer_is_its_error() -> None:
    message = complete("anthropic/claude-sonnet-4-5", "Hi")  # no key is set
    assert str(message).startswith("Error: missing_key: ")
    assert "ANTHROPIC_API_KEY" in str(message)


def test_print_of_an_interrupted_answer_is_its_text_and_the_error() -> None:
    with faux.script(faux.reply("Once upon ", faux.error("connection", "It broke."))):
        message = complete("faux/any", "A story", max_retries=0)
    first, second = str(message).split("\n")
    assert first == "Once upon "
    assert second.startswith("Error: ")
    assert "It broke." in second


def test_print_of_an_answer_with_only_calls_lists_them() -> None:
    with faux.script(faux.reply(faux.tool("add", a=2, b="x"))):
        assert str(complete("faux/any", "2 + x?")) == "add(a=2, b='x')"


def test_print_of_an_empty_answer_says_so() -> None:
    message = assistant("")
    message.stop_reason = StopReason.LENGTH
    assert str(message) == "(empty answer, stop_reason='length')"


def test_print_of_a_context_is_the_conversation() -> None:
    image = ImageContent(data="QUJD", mime_type="image/png")
    context = ctx(user("Hi", image), assistant("Hello"), system="Be brief.", tools=[get_weather])
    assert str(context) == (
        "system: Be brief.\n\nuser: Hi\n[image: image/png, 3 bytes]\n\nassistant: Hello\n\n"
        "tools: get_weather"
    )


def test_print_of_usage_and_cost() -> None:
    usage = Usage(input=1000, output=345, cache_read=200, cost=Cost(total=0.0092))
    assert str(usage) == "1,200 in (200 cached) / 345 out, $0.0092"
    assert str(Cost()) == "unknown cost"
    assert str(ErrorInfo(kind=ErrorKind.AUTH, message="No.")) == "auth: No."


@pytest.mark.parametrize(
    ("cost", "spec", "shown"),
    [
        (Cost(), ".4f", "unknown"),
        (Cost(), "10.4f", "   unknown"),
        (Cost(), "<10.2f", "unknown   "),
        (Cost(), ",.2f", "unknown"),
        (Cost(), "", "unknown cost"),
        (Cost(), ".2e", "unknown"),
        (Cost(), ":>10", ":::unknown"),
        (Cost(), "\n=9,.1f", "\n\nunknown"),
        (Cost(total=0.5), ".2e", "5.00e-01"),
        (Cost(total=0.00123), ".4f", "0.0012"),
        (Cost(total=0.0092), "", "$0.0092"),
        (Cost(total=1234.5), ",.2f", "1,234.50"),
    ],
)
def test_cost_formats_known_or_not(cost: Cost, spec: str, shown: str) -> None:
    assert format(cost, spec) == shown


@pytest.mark.parametrize("spec", ["hello", "s", "10d", "..", "c", "1" * 30])
@pytest.mark.parametrize("cost", [Cost(), Cost(total=0.5)])
def test_cost_rejects_a_specifier_as_a_number_does(cost: Cost, spec: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)format") as of_float:
        format(0.5, spec)
    with pytest.raises(ValueError, match=re.escape(str(of_float.value))):
        format(cost, spec)


def test_rich_shows_the_short_form() -> None:
    console = pytest.importorskip("rich.console").Console(width=500, color_system=None)
    with console.capture() as capture:
        console.print(complete("faux/echo", "Hi " * 1000))
    assert len(capture.get()) < 500


@pytest.mark.parametrize("name", AssistantMessage.model_fields)
def test_message_without_a_field_can_be_shown(name: str) -> None:
    """As in a debugger, while the message is made."""
    for message in (AssistantMessage(), AssistantMessage(error=ErrorInfo(message="No."))):
        delattr(message, name)
        assert repr(message).startswith("AssistantMessage(")
