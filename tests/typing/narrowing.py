"""Types that mypy, pyright and ty infer for callers. Checked, never run.

A line with `# type: ignore` is an error that mypy and pyright must report: both complain about an
ignore comment without an error. `# ty: ignore` is the same for ty, which does not report unknown
keywords yet.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedExpression=false

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, assert_type

from pydantic import BaseModel

from pipy_ai import (
    AssistantMessage,
    AssistantMessageEvent,
    Attempt,
    BatchHandle,
    Budget,
    LedgerEntry,
    Model,
    ModelList,
    ParsedMessage,
    Spending,
    StopReason,
    Tool,
    ToolCall,
    ToolEvent,
    ToolResultEvent,
    ToolResultMessage,
    acollect,
    acomplete,
    acomplete_many,
    arun_tools,
    astream,
    astream_many,
    budget,
    collect,
    complete,
    complete_many,
    ctx,
    get_models,
    quick,
    read_ledger,
    run_tools,
    stream,
    stream_many,
    submit_many,
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
        case _:
            pass
    assert_type(event.partial, AssistantMessage)
    if event.type == "text_delta":
        event.detla  # type: ignore[attr-defined]  # ty: ignore[missing-attribute]
    event.delta  # type: ignore[union-attr]  # ty: ignore[missing-union-attribute]


def verbs() -> None:
    assert_type(complete("a/b", "Hi", temperature=0).stop_reason, StopReason | None)
    complete("a/b", "Hi", temprature=0)  # type: ignore[call-overload]
    complete("a/b", "Hi", reasoning="high")
    complete("a/b", "Hi", reasoning="hgih")  # type: ignore[call-overload]  # ty: ignore[invalid-argument-type]
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
    complete(["a/b", 5], "Hi")  # type: ignore[list-item]  # ty: ignore[invalid-argument-type]
    complete({"a/b"}, "Hi")  # type: ignore[call-overload]  # ty: ignore[invalid-argument-type]


async def budgets() -> None:
    with budget(usd=0.5, ledger="spend.jsonl") as b:
        assert_type(b, Budget)
        assert_type(b.spent, float)
        assert_type(b.left, float | None)
        assert_type(b.by_model(), dict[str, Spending])
    async with budget(tokens=5, unknown="ignore") as b:
        assert_type(b.table(), str)
    budget(unknown="maybe")  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
    for entry in read_ledger():
        assert_type(entry, LedgerEntry)


class Invoice(BaseModel):
    total: float


@dataclass
class Line:
    text: str


class Row(TypedDict):
    text: str


def typed() -> None:
    assert_type(complete("a/b", "Hi", output=Invoice).parsed, Invoice)
    assert_type(complete("a/b", "Hi", output=Invoice).raise_for_error().parsed.total, float)
    assert_type(complete("a/b", "Hi", output=list[Invoice]).parsed, list[Invoice])
    assert_type(complete("a/b", "Hi", output=Literal["x", "y"]).parsed, Literal["x", "y"])
    assert_type(complete("a/b", "Hi", output=Invoice | None).parsed, Invoice | None)
    assert_type(complete("a/b", "Hi", output=Line).parsed, Line)
    assert_type(complete("a/b", "Hi", output=Row).parsed, Row)
    assert_type(complete("a/b", "Hi", output={"type": "object"}).parsed, Any)
    schema: dict[str, Any] = {"type": "object"}
    assert_type(complete("a/b", "Hi", output=schema).parsed, Any)
    assert_type(complete("a/b", "Hi", output=None), AssistantMessage)
    assert_type(stream("a/b", "Hi", output=Invoice).result().parsed, Invoice)
    complete("a/b", "Hi", output=Invoice).parsed.totl  # type: ignore[attr-defined]  # ty: ignore[missing-attribute]
    complete("a/b", "Hi", output=Invoice(total=1))  # type: ignore[call-overload]  # ty: ignore[invalid-type-form]
    complete("a/b", "Hi", output=Invoice, output_mode="json")  # type: ignore[call-overload]  # ty: ignore[no-matching-overload]
    complete("a/b", "Hi").parsed  # type: ignore[attr-defined]  # ty: ignore[missing-attribute]
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
        event.partial  # type: ignore[attr-defined]  # ty: ignore[missing-attribute]
    elif event.type == "text_delta":
        assert_type(event.delta, str)


async def tools() -> None:
    context = ctx("q", tools=[add, aadd, Point, Tool(name="f"), {"name": "g"}])
    ctx("q", tools=[5])  # type: ignore[list-item]  # ty: ignore[invalid-argument-type]
    assert_type(tool(add), Tool)
    assert_type(tool(name="x")(add), Tool)
    assert_type(Tool.from_function(add), Tool)
    assert_type(validate_tool_call([add], ToolCall()), dict[str, Any])
    run = run_tools("a/b", context, [add, aadd], approve=lambda call: "no", temperature=0)
    run_tools("a/b", context, temprature=0)  # type: ignore[call-overload]
    for event in run:
        narrow_tools(event)
    assert_type(run.result(), AssistantMessage)
    context.extend(run.messages)
    arun = arun_tools("a/b", context)
    async for event in arun:
        narrow_tools(event)
    assert_type(await arun.result(), AssistantMessage)
    assert_type(run_tools("a/b", context, output=Point).result().parsed, Point)
    assert_type(run_tools("a/b", context, output=list[int]).result().parsed, list[int])
    assert_type((await arun_tools("a/b", context, output=Point).result()).parsed, Point)


async def many() -> None:
    class Answer(BaseModel):
        n: int

    assert_type(complete_many("a/b", ["a"]), list[AssistantMessage])
    typed = complete_many("a/b", (text for text in "ab"), output=Answer)
    assert_type(typed, list[ParsedMessage[Answer]])
    assert_type(complete_many("a/b", ["a"], output={})[0].parsed, Any)
    assert_type(complete_many("a/b", ["a"], output=list[Answer])[0].parsed, list[Answer])
    assert_type(complete_many("a/b", ["a"], output=Literal["x"])[0].parsed, Any)
    handle = submit_many("a/b", ["a"], output=Answer)
    assert_type(handle, BatchHandle)
    assert_type(collect(handle), list[AssistantMessage])
    assert_type(collect(handle, output=Answer), list[ParsedMessage[Answer]])
    assert_type((await acollect(handle, output=Answer))[0].parsed, Answer)
    untyped = stream_many("a/b", ["a"])
    assert_type(untyped, Generator[tuple[int, AssistantMessage], None, None])
    for index, found in stream_many(["a/b", "local/smollm2"], [ctx("a")], output=Answer):
        assert_type((index, found.parsed.n), tuple[int, int])
    for one in await acomplete_many("a/b", ["a"], output=Answer, on_result=print):
        assert_type(one.parsed, Answer)
    async for index, found in astream_many("a/b", ["a"], output=Answer):
        assert_type((index, found.parsed), tuple[int, Answer])


def models_and_errors() -> None:
    models = get_models(provider="anthropic")
    assert_type(models, ModelList)
    assert_type(models[0], Model)
    assert_type(models[:2], ModelList)
    assert_type(models.to_dicts(), list[dict[str, Any]])
    assert_type(complete("a/b", "Hi", raise_on_error=True), AssistantMessage)
    assert_type(complete_many("a/b", ["a"], progress=False), list[AssistantMessage])
    assert_type(quick("Hi", raise_on_error=True), AssistantMessage)
    stream("a/b", "Hi", raise_on_error=True).display()
