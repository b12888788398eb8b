"""Test `trim` and `compact`: what is kept, and that every API accepts the result."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipy_ai import (
    AssistantMessage,
    Context,
    ImageContent,
    Model,
    ModelLimits,
    StopReason,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserMessage,
    acompact,
    assistant,
    budget,
    compact,
    ctx,
    faux,
    preview,
    tool_result,
    trim,
    user,
)
from pipy_ai._requests import build_request
from pipy_ai.errors import IncompleteError, PipyError
from pipy_ai.provider.transport import wire_for
from pipy_ai.tokens import estimate_input_tokens
from pipy_ai.types import Message

from .support.recorded_requests import signature
from .support.strict_rules import broken_rules

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
LOOKUP = Tool(name="lookup", description="Look something up.")
CALL = ToolCall(id="call_1", name="lookup", arguments={"q": 1})


def long_text(number: int, tokens: int = 100) -> str:
    """Return a text of about so many tokens that starts with a number."""
    return f"{number} ".ljust(int(tokens * 3.5), "x")


def texts(context: Context) -> list[str]:
    """Return the first word of each message."""
    words = []
    for message in context.messages:
        content = message.content
        if not isinstance(content, str):
            content = next(p.text for p in content if isinstance(p, TextContent))
        words.append(content.split()[0])
    return words


def conversation(turns: int) -> Context:
    messages: list[Message] = []
    for number in range(turns):
        messages += [user(long_text(2 * number)), assistant(long_text(2 * number + 1))]
    return ctx(*messages, user(long_text(2 * turns)), system="Be brief.")


# === trim ===================================================================================


def test_short_context_is_unchanged() -> None:
    context = conversation(2)
    short = trim(context, 10_000)
    assert short == context
    assert short is not context
    assert short.messages is not context.messages


def test_oldest_turns_are_dropped() -> None:
    context = conversation(3)
    before = context.model_copy(deep=True)
    assert texts(trim(context, 600)) == ["2", "3", "4", "5", "6"]
    assert texts(trim(context, 503)) == ["2", "3", "4", "5", "6"]
    assert texts(trim(context, 502)) == ["4", "5", "6"]
    assert texts(trim(context, 103)) == ["6"]
    assert trim(context, 103).system_prompt == "Be brief."
    assert context == before


def test_answers_of_the_last_turn_are_dropped_with_their_results() -> None:
    messages: list[Message] = [user(long_text(0)), assistant(long_text(1)), user(long_text(2))]
    for number in range(3, 9, 2):
        call = ToolCall(id=f"call_{number}", name="lookup", arguments={})
        messages += [assistant(TextContent(text=long_text(number)), call)]
        messages += [tool_result(call, long_text(number + 1))]
    context = ctx(*messages, tools=[LOOKUP])
    assert texts(trim(context, 2000)) == [str(number) for number in range(9)]
    assert texts(trim(context, 730)) == ["2", "3", "4", "5", "6", "7", "8"]
    assert texts(trim(context, 600)) == ["2", "5", "6", "7", "8"]
    assert texts(trim(context, 400)) == ["2", "7", "8"]
    with pytest.raises(ValueError, match=r"alone need about 3\d\d tokens, more than 300"):
        trim(context, 300)


def test_results_in_later_messages_stay_with_their_call() -> None:
    """A user may write before the result of a call is there."""
    context = ctx(
        user(long_text(0)), assistant(TextContent(text=long_text(1)), CALL), user(long_text(2)),
        tool_result(CALL, long_text(3)), assistant(long_text(4)), user(long_text(5)),
    )  # fmt: skip
    assert texts(trim(context, 590)) == ["5"]
    assert texts(trim(context, 700)) == ["0", "1", "2", "3", "4", "5"]


def test_what_has_to_stay_is_too_long() -> None:
    with pytest.raises(ValueError, match="more than 50: shorten them, or allow more"):
        trim(conversation(2), 50)
    with pytest.raises(ValueError, match="system prompt, tools and last messages alone"):
        trim(ctx("Hi", system="x" * 3500), 500)


def test_limit_of_a_model() -> None:
    def limited(**limits: int) -> Model:
        return Model(id="m", provider="own", limits=ModelLimits(**limits))

    context = conversation(3)
    assert texts(trim(context, model=limited(context=520, output=10))) == texts(trim(context, 510))
    assert texts(trim(context, model=limited(context=800, output=800))) == texts(trim(context, 600))
    assert texts(trim(context, model=limited(context=900, output=9, input=400))) == ["4", "5", "6"]
    assert trim(context, model="anthropic/claude-sonnet-4-5") == context
    assert texts(trim(context, 103, model=limited(context=900))) == ["6"]
    with pytest.raises(ValueError, match="context window of own/m is unknown"):
        trim(context, model="own/m")
    with pytest.raises(TypeError, match="pass tokens= or model="):
        trim(context)


def test_list_of_messages() -> None:
    assert texts(trim([user("old"), assistant("yes"), user("new")], 1)) == ["new"]
    with pytest.raises(ValueError, match="empty"):
        trim([], 100)


# === compact ================================================================================


def test_summary_replaces_the_older_turns() -> None:
    context = conversation(3)
    before = context.model_copy(deep=True)
    with faux.script(" They counted. ") as script:
        short = compact(context, "faux/any", keep=320)
    assert texts(short) == ["Summary", "4", "5", "6"]
    assert short.messages[0].content == "Summary of the conversation so far:\nThey counted."
    assert short.system_prompt == "Be brief."
    assert context == before
    [request] = script.requests
    [message] = request.context.messages
    prompt = str(message.content)
    assert "User: 0 x" in prompt
    assert "Assistant: 3 x" in prompt
    assert "4 x" not in prompt


def test_only_a_long_context_is_summarized() -> None:
    context = conversation(3)
    with faux.script("They counted.") as script:
        assert compact(context, "faux/any", tokens=1000) == context
        assert script.requests == []
        assert texts(compact(context, "faux/any", tokens=600)) == ["Summary", "6"]
    with faux.script():
        hello = ctx("Hi")
        assert compact(hello, "faux/any") == hello


def test_transcript_has_calls_and_results_but_no_thinking() -> None:
    answer = assistant(ThinkingContent(thinking="secret"), TextContent(text="I look."), CALL)
    image = ImageContent(data=PNG, mime_type="image/png")
    context = ctx(
        user("What is this?", image), answer, tool_result(CALL, "x" * 5000),
        assistant("A dot."), user("Thanks"),
    )  # fmt: skip
    with faux.script("A dot.") as script:
        compact(context, "faux/any")
    prompt = str(script.requests[0].context.messages[0].content)
    assert "User: What is this?\n[image]" in prompt
    assert "Assistant: I look." in prompt
    assert 'Assistant calls lookup({"q": 1})' in prompt
    assert f"Result of lookup: {'x' * 4000} … [1,000 more characters]" in prompt
    assert "secret" not in prompt


def test_long_conversation_is_summarized_in_pieces() -> None:
    model = Model(id="m", provider="faux", limits=ModelLimits(context=800, output=100))
    with faux.script("One.", "Two.", "Three.") as script:
        short = compact(conversation(4), model)
    prompts = [str(request.context.messages[0].content) for request in script.requests]
    assert len(prompts) == 3
    assert short.messages[0].content == "Summary of the conversation so far:\nThree."
    assert "<summary>\nTwo.\n</summary>" in prompts[2]
    sent = "".join(p.partition("<conversation>\n")[2].partition("\n</conv")[0] for p in prompts)
    assert [f"{number} x" in sent for number in range(9)] == [True] * 8 + [False]


def test_failed_summary_raises() -> None:
    context = conversation(2)
    with faux.script(faux.error("rate_limit", "Slow down.")), pytest.raises(PipyError):
        compact(context, "faux/any", max_retries=0)
    with faux.script("  "), pytest.raises(IncompleteError, match="summary is empty"):
        compact(context, "faux/any")
    with pytest.raises(TypeError, match="unknown option"):
        compact(context, "faux/any", temprature=1)  # type: ignore[call-arg]


def test_budget_counts_the_summary() -> None:
    with faux.script(faux.reply("Short.", faux.usage(10, 5))), budget() as spent:
        compact(conversation(2), "faux/any")
    assert spent.tokens_spent == 15


def test_async_version() -> None:
    async def short() -> Context:
        return await acompact(conversation(3), "faux/any", keep=320)

    with faux.script("They counted."):
        assert texts(asyncio.run(short())) == ["Summary", "4", "5", "6"]


# === Random conversations ===================================================================

MODELS = (
    "openai/gpt-4o",
    "openai/responses/gpt-5.4",
    "anthropic/claude-sonnet-4-5",
    "google/gemini-3.1-pro-preview",
    "amazon-bedrock/amazon.nova-pro-v1:0",
    "cohere/command-a-reasoning-08-2025",
    "ollama/qwen3",
    "mistral/mistral-large-latest",
    "hosted_vllm/google/gemma-2-9b-it",  # users and assistants take turns
)
OPTIONS: dict[str, Any] = {"api_base": "http://127.0.0.1:9/v1", "api_key": "k" * 20}


class Author:
    """Writes answers as one model does."""

    def __init__(self, model: str) -> None:
        request = build_request(model, "q", None, {"api_base": "http://127.0.0.1:9/v1"})
        self.model = model
        self.api = wire_for(request).api
        self.fields: dict[str, Any] = {
            "provider": request.provider, "model": request.model_id, "api": self.api
        }  # fmt: skip
        self.count = 0

    @property
    def own(self) -> set[str]:
        """What the vendor issued: signatures and ids of calls."""
        issued = {self.id(number) for number in range(self.count + 1)}
        for number in range(self.count + 1):
            issued |= {self.sign(number), _inner(self.sign(number))}
        return issued | {"c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="}

    def id(self, number: int) -> str:
        return f"call{number:05}"

    def sign(self, number: int) -> str:
        return signature(self.api, number)

    def answer(self, thinks: bool, says: bool, calls: int) -> list[Message]:
        """Return an answer with the results of its calls."""
        content: list[Any] = []
        self.count += 1
        if thinks:
            sign = self.sign(self.count)
            content.append(ThinkingContent(thinking="Let me see.", thinking_signature=sign))
        if says or not calls:
            content.append(TextContent(text=f"Answer {self.count}."))
        results: list[Message] = []
        for index in range(calls):
            self.count += 1
            sign = self.sign(self.count) if self.api == "google-generative-ai" else None
            call = ToolCall(
                id=self.id(self.count), name="lookup", arguments={"q": index},
                thought_signature=sign if not index else None,
            )  # fmt: skip
            content.append(call)
            results.append(tool_result(call, "Found." * (index + 1)))
        reason = StopReason.TOOL_USE if calls else StopReason.STOP
        return [AssistantMessage(content=content, stop_reason=reason, **self.fields), *results]


def _inner(sign: str) -> str:
    """Return the secret part of a reasoning item of the Responses API, or `sign` itself."""
    return str(json.loads(sign).get("encrypted_content")) if sign.startswith("{") else sign


answers = st.tuples(st.booleans(), st.booleans(), st.integers(0, 3))
turns = st.tuples(st.integers(1, 400), st.booleans(), st.lists(answers, max_size=4))
plans = st.lists(turns, min_size=1, max_size=6)


def build(author: Author, plan: Sequence[Any], open_end: bool) -> Context:
    """Return a conversation; with `open_end` its last turn has no answer yet."""
    image = ImageContent(data=PNG, mime_type="image/png")
    messages: list[Message] = []
    for number, (size, has_image, steps) in enumerate(plan):
        text = f"Question {number}." + "x" * size
        messages.append(user(text, image) if has_image else user(text))
        for thinks, says, calls in steps:
            messages += author.answer(thinks, says, calls)
        if number < len(plan) - 1:
            messages += author.answer(False, True, 0)
    if not open_end and isinstance(messages[-1], AssistantMessage):
        messages.append(user("Go on."))
    return ctx(*messages, system="Be brief.", tools=[LOOKUP])


def refusals(author: Author, context: Context, **options: Any) -> list[str]:
    """Return what the strict checkers reject in the request for a context."""
    shown = preview(author.model, context, **OPTIONS, **options)
    host = author.model.partition("/")[0]
    return broken_rules(host, urlsplit(shown.url).path, shown.body, author.own)


def pairs(messages: Sequence[Message]) -> tuple[set[str], set[str]]:
    """Return the ids of the calls and those of the results."""
    calls = {c.id for m in messages if isinstance(m, AssistantMessage) for c in m.tool_calls}
    return calls, {m.tool_call_id for m in messages if isinstance(m, ToolResultMessage)}


def trimmed(context: Context, limit: int) -> tuple[Context, int]:
    """Return the trimmed context and its limit: the smallest one possible if `limit` is less."""
    try:
        return trim(context, limit), limit
    except ValueError as error:
        needed = re.search(r"alone need about (\d+) tokens", str(error))
        assert needed is not None
    smallest = int(needed[1])
    with pytest.raises(ValueError, match="alone need"):
        trim(context, smallest - 1)
    return trim(context, smallest), smallest


property_settings = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.usefixtures("july")
@pytest.mark.parametrize("model", MODELS)
@property_settings
@given(plan=plans, share=st.floats(0, 1), open_end=st.booleans(), thinks=st.booleans())
def test_every_api_accepts_a_trimmed_conversation(
    model: str, plan: Any, share: float, open_end: bool, thinks: bool
) -> None:
    author = Author(model)
    context = build(author, plan, open_end)
    options = {"reasoning": "high"} if thinks else {}
    assert refusals(author, context, **options) == []
    size = estimate_input_tokens(context)
    short, limit = trimmed(context, int(size * share))
    assert estimate_input_tokens(short) <= limit
    assert (short.system_prompt, short.tools) == (context.system_prompt, context.tools)
    positions = [_position(context.messages, message) for message in short.messages]
    assert positions == sorted(positions)
    assert short.messages[-1] is context.messages[-1]
    assert isinstance(short.messages[0], UserMessage)
    calls, results = pairs(short.messages)
    assert calls == results
    assert refusals(author, short, **options) == []


@pytest.mark.usefixtures("july")
@pytest.mark.parametrize("model", MODELS)
@property_settings
@given(plan=plans, keep=st.integers(0, 600), open_end=st.booleans(), thinks=st.booleans())
def test_every_api_accepts_a_compacted_conversation(
    model: str, plan: Any, keep: int, open_end: bool, thinks: bool
) -> None:
    author = Author(model)
    context = build(author, plan, open_end)
    with faux.script("They talked."):
        short = compact(context, "faux/any", keep=keep)
    options = {"reasoning": "high"} if thinks else {}
    kept = short.messages[1:] if len(plan) > 1 and short.messages != context.messages else []
    assert kept == context.messages[len(context.messages) - len(kept) :]
    calls, results = pairs(short.messages)
    assert calls == results
    assert refusals(author, short, **options) == []


def _position(messages: Sequence[Message], message: Message) -> int:
    return next(index for index, other in enumerate(messages) if other is message)
