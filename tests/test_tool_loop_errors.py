"""Test failing tools, approval and limits in a tool loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import StreamOptions, Tool, ToolCall, arun_tools, complete, faux, run_tools, tool

from .support.tool_loop_runs import Go, async_run, nothing_left, sync_run

WAIT = 10.0  # seconds, far above what anything here takes


@pytest.fixture(params=[sync_run, async_run], ids=["sync", "async"])
def go(request: pytest.FixtureRequest) -> Go:
    found: Go = request.param
    return found


def call(name: str, /, **arguments: Any) -> Any:
    return faux.tool(name, **arguments)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def boom() -> None:
    """Always fails."""
    raise ValueError("it broke")


class Bad(BaseException):
    """As pytest's own."""


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    "error",
    [ValueError("no"), StopIteration(3), StopAsyncIteration(), RuntimeError(),
     asyncio.CancelledError("mine"), ExceptionGroup("g", [ValueError("x")])],
    ids=repr,
)  # fmt: skip
def test_exceptions_are_sent_to_the_model(go: Go, error: BaseException, beside: bool) -> None:
    def fails() -> None:
        raise error

    async def afails() -> None:
        raise error

    def lazy() -> Any:
        return afails()

    calls = [call("fails"), call("afails"), call("lazy")]
    replies = [faux.reply(*calls)] if beside else [faux.reply(one) for one in calls]
    with faux.script(*replies, "ok"):
        ran = go("faux/m", "q", [fails, afails, lazy])
    assert ran.message.text == "ok"
    assert all(result.is_error for result in ran.results)
    for text in ran.texts:  # a coroutine may not raise StopIteration; Python makes it another
        assert text.startswith(type(error).__name__) or "StopIteration" in text
    assert sum(event.type == "tool_result" for event in ran.events) == 3


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, Bad])
@pytest.mark.parametrize("name", ["quits", "aquits"])
@pytest.mark.parametrize("beside", [False, True])
def test_system_exit_and_keyboard_interrupt_end_the_run(
    go: Go, kind: Any, name: str, beside: bool
) -> None:
    cancelled = threading.Event()
    began = threading.Event()

    def quits() -> None:
        if beside:
            assert began.wait(WAIT)
        raise kind("enough")

    async def aquits() -> None:
        quits()

    async def waits() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    calls = [call("waits"), call(name)] if beside else [call(name)]
    runs: list[Any] = []

    async def main() -> None:
        runs.append(arun_tools("faux/m", "q", [quits, aquits, waits]))
        with pytest.raises(kind, match="enough"):
            await runs[0].result()
        assert (await runs[0].result()).stop_reason == "aborted"

    with faux.script(faux.reply(*calls), "never") as provider:
        if go is async_run:
            asyncio.run(main())
        else:
            runs.append(run_tools("faux/m", "q", [quits, aquits, waits]))
            with pytest.raises(kind, match="enough"):
                runs[0].result()
            assert runs[0].result().stop_reason == "aborted"
    assert provider.calls == 1
    assert [m.role for m in runs[0].messages] == ["assistant"] + ["toolResult"] * len(calls)
    assert cancelled.is_set() == beside
    assert complete("faux/echo", "still there").text == "still there"
    nothing_left()


def test_provider_failure_in_mid_run(go: Go) -> None:
    with faux.script(faux.reply(call("add", a=1, b=2)), faux.reply("so", faux.error("server"))):
        ran = go("faux/m", "q", [add], max_retries=0)
    assert ran.message.error is not None
    assert ran.message.error.kind == "server"
    assert [m.role for m in ran.run.messages] == ["assistant", "toolResult", "assistant"]
    with faux.script(faux.error("auth")):
        ran = go("faux/m", "q", [add])
    assert [event.type for event in ran.events] == ["error"]


def test_calls_of_a_failed_response_are_not_run(go: Go) -> None:
    with faux.script(faux.reply(call("boom"), faux.cut())):
        ran = go("faux/m", "q", [boom], max_retries=0)
    assert ran.message.error is not None
    assert ran.results == []


def test_invalid_arguments_are_sent_back(go: Go) -> None:
    broken = faux.reply(faux.tool("add", '{"a": 1, "b'), stop="length")
    with faux.script(broken, faux.reply(faux.tool("add", '{"a": 1, "b": [2]}')), "ok"):
        ran = go("faux/m", "q", [add])
    assert ran.texts[0].startswith("The arguments of add are not a JSON object")
    assert ran.texts[1].startswith("Invalid arguments for add:\nb: Input should be")


class Picky(BaseModel):
    x: int

    def model_post_init(self, context: object) -> None:
        raise LookupError("not in the list")


def test_validator_that_raises_any_exception(go: Go) -> None:
    def pick(p: Picky) -> None: ...

    pick.__annotations__["p"] = Picky
    with faux.script(faux.reply(call("pick", p={"x": 1})), "ok"):
        assert go("faux/m", "q", [pick]).texts == ["LookupError: not in the list"]


def test_wrong_use_raises_at_once() -> None:
    wrong: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        ([add], {"temprature": 0}, TypeError, "did you mean temperature"),
        ([add], {"temperature": "hot"}, ValueError, "temperature"),
        ([add], {"max_turns": 0}, ValueError, "at least 1"),
        ([add], {"concurrency": 0}, ValueError, "at least 1"),
        ([add, add], {}, ValueError, "two tools are named 'add'"),
        ([Tool(name="f")], {}, ValueError, "'f' has no function"),
        ([Picky], {}, ValueError, "'Picky' has no function"),
        ([5], {}, TypeError, "a tool must be a function"),
    ]
    for verb in (run_tools, arun_tools):
        for tools, options, error, says in wrong:
            with pytest.raises(error, match=says):
                verb("faux/m", "q", tools, **options)
        with pytest.raises(ValueError, match="the context is empty"):
            verb("faux/m", "", [add])
        with pytest.raises(ValueError, match="provider/model"):
            verb("faux/", "q", [add])


def test_approval(go: Go) -> None:
    asked: list[Any] = []
    said = {"yes": True, "no": False, "why": "Too dear.", "forgot": None, "truthy": 1, "blank": ""}
    tools = [tool(name=name)(lambda: "ran") for name in said]

    def approve(call: ToolCall) -> Any:
        asked.append(call.name)
        return said[call.name]

    async def aapprove(call: ToolCall) -> Any:
        await asyncio.sleep(0)
        return approve(call)

    for ask in (approve, aapprove):
        with faux.script(faux.reply(*map(call, [*said, "unknown"])), "ok"):
            ran = go("faux/m", "q", tools, approve=ask)
        refused = "The user did not allow this call."
        assert ran.texts[:-1] == ["ran", refused, "Too dear.", refused, refused, refused]
        assert [m.is_error for m in ran.results] == [False] + [True] * 6
        assert asked == list(said)  # in order, and no approval is requested for invalid calls
        asked.clear()


def test_failing_approval_ends_the_run(go: Go) -> None:
    def approve(call: ToolCall) -> bool:
        raise LookupError("no terminal")

    async def aapprove(call: ToolCall) -> bool:
        raise LookupError("no terminal")

    for ask in (approve, aapprove):
        with (
            faux.script(faux.reply(call("boom")), "never") as provider,
            pytest.raises(LookupError, match="no terminal"),
        ):
            go("faux/m", "q", [boom], approve=ask)
        assert provider.calls == 1


def test_max_turns(go: Go) -> None:
    ran_calls = []

    def work() -> None:
        ran_calls.append(1)

    again = [faux.reply(call("work")) for _ in range(3)]
    with faux.script(*again) as provider:
        ran = go("faux/m", "q", [work], max_turns=3)
    assert (provider.calls, len(ran_calls)) == (3, 2)
    assert ran.message.stop_reason == "toolUse"
    [warning] = ran.message.warnings
    assert warning.code == "max_turns"
    assert "max_turns=3" in warning.message
    with faux.script("ok"):
        assert go("faux/m", "q", [work], max_turns=1).message.warnings == []


@pytest.mark.parametrize("choice", ["required", "add", {"type": "function"}, "auto", "none", None])
@pytest.mark.parametrize("as_object", [False, True])
def test_forced_call_is_forced_once(go: Go, choice: Any, as_object: bool) -> None:
    given: Any = {"tool_choice": choice, "temperature": 0.5}
    options = {"options": StreamOptions(**given)} if as_object else given
    with faux.script(*[faux.reply(call("add", a=1, b=2))] * 2, "ok") as provider:
        go("faux/m", "q", [add], **options)
    later_ones = choice if choice in ("auto", "none") else None
    assert [r.options.tool_choice for r in provider.requests] == [choice, later_ones, later_ones]
    assert {r.options.temperature for r in provider.requests} == {0.5}
