"""Checked by mypy, never run: what a type checker tells users of the events and of tools."""

from __future__ import annotations

from typing import Any, Literal, assert_type

from pydantic import BaseModel

from pipy_ai import (
    AssistantMessage,
    AssistantMessageEvent,
    Attempt,
    Budget,
    LedgerEntry,
    Model,
    Spending,
    StopReason,
    Tool,
    ToolCall,
    ToolEvent,
    ToolResultEvent,
    ToolResultMessage,
    acomplete,
    acomplete_many,
    arun_tools,
    astream,
    budget,
    complete,
    complete_many,
    ctx,
    quick,
    read_ledger,
    run_tools,
    stream,
    stream_many,
    tool,
    validate_tool_call,
)


def narrow(event: AssistantMessageEvent) -> None:
    match event.type:
        case "text_delta" | "thinking_delta" | "toolcall_delta":
            assert_type(event.delta, str)
        case "text_end":
            assert_type(event.content, str)
        case "toolcall_end":
            assert_type(event.tool_call, ToolCall)
        case "done":
            assert_type(event.message, AssistantMessage)
        case "error":
            assert_type(event.error, AssistantMessage)
    assert_type(event.partial, AssistantMessage)
    if event.type == "text_delta":
        event.detla  # type: ignore[attr-defined]
    event.delta  # type: ignore[union-attr]


def verbs() -> None:
    assert_type(complete("a/b", "Hi", temperature=0).stop_reason, StopReason | None)
    complete("a/b", "Hi", temprature=0)  # type: ignore[call-overload]
    complete("a/b", "Hi", reasoning="high")
    complete("a/b", "Hi", reasoning="hgih")  # type: ignore[call-overload]
    for event in stream("a/b", "Hi"):
        assert_type(event, AssistantMessageEvent)


def several() -> None:
    own = Model(id="m", provider="own")
    assert_type(complete(["a/b", own], "Hi"), AssistantMessage)
    assert_type(complete(("a/b", "c/d"), "Hi", output=int).parsed, int)
    assert_type(complete([own, own], "Hi").attempts, list[Attempt])
    assert_type(stream(["a/b"], "Hi").result(), AssistantMessage)
    assert_type(quick("Hi", ["a/b", own]), AssistantMessage)
    assert_type(run_tools(["a/b", own], "Hi").result(), AssistantMessage)
    complete(["a/b", 5], "Hi")  # type: ignore[list-item]
    complete({"a/b"}, "Hi")  # type: ignore[call-overload]


async def budgets() -> None:
    with budget(usd=0.5, ledger="spend.jsonl") as b:
        assert_type(b, Budget)
        assert_type(b.spent, float)
        assert_type(b.left, float | None)
        assert_type(b.by_model(), dict[str, Spending])
    async with budget(tokens=5, unknown="ignore") as b:
        assert_type(b.table(), str)
    budget(unknown="maybe")  # type: ignore[arg-type]
    for entry in read_ledger():
        assert_type(entry, LedgerEntry)


class Invoice(BaseModel):
    total: float


def typed() -> None:
    assert_type(complete("a/b", "Hi", output=Invoice).parsed, Invoice)
    assert_type(complete("a/b", "Hi", output=Invoice).raise_for_error().parsed.total, float)
    assert_type(complete("a/b", "Hi", output=list[Invoice]).parsed, list[Invoice])
    assert_type(complete("a/b", "Hi", output=Literal["x", "y"]).parsed, Literal["x", "y"])
    assert_type(complete("a/b", "Hi", output=Invoice | None).parsed, Invoice | None)
    assert_type(complete("a/b", "Hi", output={"type": "object"}).parsed, Any)
    assert_type(stream("a/b", "Hi", output=Invoice).result().parsed, Invoice)
    complete("a/b", "Hi", output=Invoice).parsed.totl  # type: ignore[attr-defined]
    complete("a/b", "Hi", output=Invoice(total=1))  # type: ignore[call-overload]
    complete("a/b", "Hi", output=Invoice, output_mode="json")  # type: ignore[call-overload]
    complete("a/b", "Hi").parsed  # type: ignore[attr-defined]
    stream("a/b", "Hi", output=Invoice, output_retries=2)  # type: ignore[call-overload]


async def twins() -> Any:
    assert_type((await acomplete("a/b", "Hi", output=Invoice)).parsed, Invoice)
    assert_type((await astream("a/b", "Hi", output=Invoice).result()).parsed, Invoice)
    assert_type(await acomplete("a/b", "Hi"), AssistantMessage)
    async for event in astream("a/b", "Hi"):
        assert_type(event, AssistantMessageEvent)


def add(a: int, b: int = 1) -> int:
    return a + b


async def aadd(a: int) -> int:
    return a


class Point(BaseModel):
    x: int


def narrow_tools(event: ToolEvent) -> None:
    if event.type == "tool_result":
        assert_type(event, ToolResultEvent)
        assert_type(event.message, ToolResultMessage)
        assert_type(event.tool_call, ToolCall)
        event.partial  # type: ignore[attr-defined]
    elif event.type == "text_delta":
        assert_type(event.delta, str)


async def tools() -> None:
    context = ctx("q", tools=[add, aadd, Point, Tool(name="f"), {"name": "g"}])
    ctx("q", tools=[5])  # type: ignore[list-item]
    assert_type(tool(add), Tool)
    assert_type(tool(name="x")(add), Tool)
    assert_type(Tool.from_function(add), Tool)
    assert_type(validate_tool_call([add], ToolCall()), dict[str, Any])
    run = run_tools("a/b", context, [add, aadd], approve=lambda call: "no", temperature=0)
    run_tools("a/b", context, temprature=0)  # type: ignore[call-arg]
    for event in run:
        narrow_tools(event)
    assert_type(run.result(), AssistantMessage)
    context.extend(run.messages)
    arun = arun_tools("a/b", context)
    async for event in arun:
        narrow_tools(event)
    assert_type(await arun.result(), AssistantMessage)


async def many() -> None:
    class Answer(BaseModel):
        n: int

    assert_type(complete_many("openai/gpt-5", ["a"]), list[AssistantMessage])
    for message in complete_many("openai/gpt-5", (text for text in "ab"), output=Answer):
        assert_type(message.parsed, Answer)
    for index, found in stream_many(["openai/gpt-5", "local/smollm2"], [ctx("a")], output=Answer):
        assert_type((index, found.parsed.n), tuple[int, int])
    for one in await acomplete_many("openai/gpt-5", ["a"], output=Answer, on_result=print):
        assert_type(one.parsed, Answer)
