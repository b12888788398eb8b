"""The loop of `run_tools` and `arun_tools`: over real sockets on four wires, then every way in and
out of it with the scripted provider."""

from __future__ import annotations

import asyncio
import contextvars
import json
import pickle
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
    AbortController,
    AssistantMessage,
    Cost,
    ImageContent,
    StreamOptions,
    TextContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    Usage,
    arun_tools,
    complete,
    ctx,
    faux,
    register_provider,
    run_tools,
    tool,
    tool_loop,
    tool_result,
    user,
)
from pipy_ai.provider.registered import unregister_provider
from pipy_ai.tool_loop import sum_usage
from pipy_ai.utils import event_loop as loops

from .grammar import check_events
from .test_stream import Watched
from .wire import wires
from .wire.lab import STALL, Lab
from .wire.strict import part_of, violations
from .wire.wires import WIRES, Counts, Wire, say, think

WAIT = 10.0  # seconds, far above what anything here takes


@dataclass
class Ran:
    """A run that has ended."""

    run: Any
    events: list[Any]
    message: AssistantMessage

    @property
    def results(self) -> list[ToolResultMessage]:
        return [message for message in self.run.messages if message.role == "toolResult"]

    @property
    def texts(self) -> list[str]:
        return ["".join(getattr(part, "text", "") for part in m.content) for m in self.results]


def ended(run: Any, events: list[Any], message: AssistantMessage) -> Ran:
    """The rules of a run: turns of well-formed streams, between them a result for each call."""
    turn: list[Any] = []
    due: list[str] = []
    for event in events:
        if event.type == "tool_result":
            assert not turn
            assert event.message.tool_call_id == event.tool_call.id
            due.remove(event.tool_call.id)
            continue
        if not turn and event.type != "error":
            assert not due, "the next turn before all results"
        turn.append(event)
        if event.type in ("done", "error"):
            due = [call.id for call in check_events(turn).tool_calls]
            turn = []
    assert not turn
    assert events[-1].partial is message
    open_ids: list[str] = []
    for said in run.messages:
        if said.role == "toolResult":
            assert said.tool_call_id == open_ids.pop(0), "results in the order of the calls"
        else:
            assert not open_ids
            open_ids = [call.id for call in said.tool_calls]
    return Ran(run, events, message)


def sync_run(*args: Any, **options: Any) -> Ran:
    run = run_tools(*args, **options)
    events = list(run)
    return ended(run, events, run.result())


def async_run(*args: Any, **options: Any) -> Ran:
    async def main() -> Ran:
        run = arun_tools(*args, **options)
        events = [event async for event in run]
        return ended(run, events, await run.result())

    return asyncio.run(main())


Go = Callable[..., Ran]


@pytest.fixture(params=[sync_run, async_run], ids=["sync", "async"])
def go(request: pytest.FixtureRequest) -> Go:
    found: Go = request.param
    return found


def call(name: str, /, **arguments: Any) -> Any:
    return faux.tool(name, **arguments)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def later(text: str) -> str:
    """Say it a little later."""
    await asyncio.sleep(0)
    return f"later {text}"


def boom() -> None:
    """Always fails."""
    raise ValueError("it broke")


def nothing_left() -> None:
    for tool_thread in threading.enumerate():
        if tool_thread.name == "pipy-ai tool":
            tool_thread.join(WAIT)
            assert not tool_thread.is_alive()
    thread = loops.existing_loop()
    until = time.monotonic() + WAIT
    while thread is not None and thread._tasks:
        assert time.monotonic() < until, thread._tasks
        time.sleep(0.001)


# --- On the wires ---------------------------------------------------------------------------


def told(wire: Wire, body: Any) -> list[str]:
    """What the request's last results say, in their order."""
    out: list[str] = []
    if wire.name == "chat":
        messages = list(body["messages"])
        if messages[-1]["role"] == "user":  # the images of the results
            messages.pop()
        while messages[-1]["role"] == "tool":
            out.insert(0, messages.pop()["content"])
    elif wire.name == "anthropic":
        for block in body["messages"][-1]["content"]:
            if block["type"] == "tool_result":
                content = block["content"]
                out.append(content if isinstance(content, str) else content[0]["text"])
    elif wire.name == "gemini":
        parts = [part_of(part, "functionResponse") for part in body["contents"][-1]["parts"]]
        out = [json.dumps(part["response"]) for part in parts if part]
    else:
        for item in reversed(body["input"]):
            if item.get("type") != "function_call_output":
                break
            output = item["output"]
            out.insert(0, output if isinstance(output, str) else output[0]["text"])
    return out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_five_turns_on_the_wire(lab: Lab, wire: Wire, transport: str, go: Go) -> None:
    signature = "c2ln" if wire.signatures else None
    turns = [
        [say("Let me see."), wires.tool("c1", "add", '{"a": 1,', ' "b": 2}'),
         wires.tool("c2", "add", '{"a": "3", "b": 4}')],
        [think("hm", signature=signature), wires.tool("c1", "later", '{"text": "x"}'),
         wires.tool("c1", "boom", "{}"), wires.tool("c3", "add", '{"a": "many"}')],
        [wires.tool("c4", "remove", '{"path": "/"}'), wires.tool("c5", "nobody", "{}")],
        [wires.tool("c6", "show", "{}"), wires.tool("c7", "add", '{"a": 1, "b": 1}')],
        [say("All ", "done.")],
    ]  # fmt: skip
    counts = [Counts(10 * n, n) for n in range(1, 6)]
    lab.play(
        *(
            wire.scene(*steps, stop="tool" if n < 4 else "stop", counts=counts[n])
            for n, steps in enumerate(turns)
        )
    )

    def remove(path: str) -> None:
        raise AssertionError("it was not allowed")

    def show() -> list[Any]:
        return [TextContent(text="here"), ImageContent(data="aGk=", mime_type="image/png")]

    context = ctx(user("Go."), system="Be brief.", tools=[add])
    before = context.model_copy(deep=True)
    ran = go(
        wire.model, context, [add, later, boom, remove, show],
        approve=lambda call: call.name != "remove" or "Not the root.",
        api_base=wire.base(lab), api_key="k", max_retries=0, transport=transport,
    )  # fmt: skip
    assert ran.message.text == "All done."
    assert ran.message.api == wire.api
    assert context == before
    for number, seen in enumerate(lab.seen):
        assert violations(seen.path, seen.json, {"c2ln"}) == [], f"request {number}"
    expected = [
        [],
        ["3", "7"],
        ["later x", "ValueError: it broke", "b: Field required"],
        ["Not the root.", "There is no tool 'nobody'. There are: add, later"],
        ["here", "2"],
    ]
    for seen, texts in zip(lab.seen, expected, strict=True):
        found = told(wire, seen.json)
        assert len(found) == len(texts)
        assert all(text in one for text, one in zip(texts, found, strict=True)), found
    assert [m.is_error for m in ran.results] == [False, False, False, True, True, True, True, False,
                                                 False]  # fmt: skip
    assert ran.run.usage.input == 150
    assert ran.run.usage.output == 15
    costs = [m.usage.cost.total for m in ran.run.messages if m.role == "assistant"]
    if None not in costs:
        assert ran.run.usage.cost.total == pytest.approx(sum(costs))
    assert (ran.run.usage.cost.total is None) == (None in costs)


def test_leaving_closes_the_connection(lab: Lab) -> None:
    lab.play(wires.CHAT.scene(say("a"), STALL), wires.CHAT.scene(say("a"), STALL))
    options: Any = {"api_base": lab.url, "api_key": "k"}
    for event in run_tools(wires.CHAT.model, "q", [add], **options):
        if event.type == "text_delta":
            break
    assert lab.seen[0].left.wait(WAIT)

    async def main() -> None:
        run = arun_tools(wires.CHAT.model, "q", [add], **options)
        async with run:
            async for event in run:
                if event.type == "text_delta":
                    break
        assert (await run.result()).stop_reason == "aborted"

    asyncio.run(main())
    assert lab.seen[1].left.wait(WAIT)
    nothing_left()


# --- What is run, and where -----------------------------------------------------------------


def test_functions_of_all_kinds(go: Go) -> None:
    class Counter:
        def __init__(self) -> None:
            self.n = 0

        async def count(self, by: int) -> int:
            self.n += by
            return self.n

        def __call__(self) -> str:
            return "called"

    async def several(n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    counter = Counter()
    lazy = Tool.from_function(lambda text: later(text), name="lazy")  # gives something to await
    names = [
        call("later", text="a"),
        call("count", by="2"),
        call("Counter"),
        call("lazy", text="b"),
        call("several", n=2),
    ]
    with faux.script(faux.reply(*names), *(faux.reply(one) for one in names), "ok"):
        ran = go("faux/m", "q", [later, counter.count, counter, lazy, several])
    told = ["later a", "2", "called", "later b", "[0,1]"]
    assert ran.texts == [*told, told[0], "4", *told[2:]]
    nothing_left()


def test_the_tools_of_the_context_are_run(go: Go) -> None:
    with faux.script(faux.reply(call("add", a=1, b=2)), "3") as provider:
        ran = go("faux/m", ctx("q", tools=[add]))
    assert ran.texts == ["3"]
    assert [[t.name for t in r.context.tools or ()] for r in provider.requests] == [
        ["add"],
        ["add"],
    ]


def test_calls_of_a_turn_run_side_by_side(go: Go) -> None:
    both = threading.Barrier(2, timeout=WAIT)
    met = threading.Event()

    def meet(n: int) -> int:
        both.wait()
        return n

    async def tell() -> str:
        met.set()
        return "told"

    def hear() -> bool:
        return met.wait(WAIT)

    with faux.script(
        faux.reply(call("meet", n=1), call("meet", n=2)),
        faux.reply(call("hear"), call("tell")),
        "x",
    ):
        ran = go("faux/m", "q", [meet, hear, tell])
    assert ran.texts == ["1", "2", "true", "told"]
    nothing_left()


def test_async_calls_run_side_by_side(go: Go) -> None:
    waiting: list[asyncio.Event] = []

    async def meet(n: int) -> int:
        waiting.append(asyncio.Event())
        if n == 1:
            await asyncio.wait_for(waiting[0].wait(), WAIT)
        else:
            waiting[0].set()
        return n

    with faux.script(faux.reply(call("meet", n=1), call("meet", n=2)), "x"):
        ran = go("faux/m", "q", [meet])
    told = [event.message.content[0].text for event in ran.events if event.type == "tool_result"]
    assert told == ["2", "1"]  # as they come
    assert ran.texts == ["1", "2"]  # as they were asked for


@pytest.mark.parametrize("concurrency", [1, 2])
def test_concurrency_is_kept(go: Go, concurrency: int) -> None:
    lock = threading.Lock()
    now, most, order = 0, 0, []
    full = threading.Barrier(concurrency)

    def work(n: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            order.append(n)
        full.wait(WAIT)
        with lock:
            now -= 1

    with faux.script(faux.reply(*(call("work", n=n) for n in range(4))), "x"):
        go("faux/m", "q", [work], concurrency=concurrency)
    assert most == concurrency
    assert sorted(order) == [0, 1, 2, 3]
    if concurrency == 1:
        assert order == [0, 1, 2, 3]


def test_whose_thread_it_is() -> None:
    def where() -> int:
        return threading.get_ident()

    async def awhere() -> int:
        return threading.get_ident()

    me = str(threading.get_ident())
    one, two = faux.reply(call("where")), faux.reply(call("where"), call("where"))
    with faux.script(one, two, "x", two, "x", faux.reply(call("awhere")), "x"):
        texts = sync_run("faux/m", "q", [where]).texts
        assert texts[0] == me
        assert me not in texts[1:]
        assert sync_run("faux/m", "q", [where], concurrency=1).texts == [me, me]
        assert sync_run("faux/m", "q", [awhere]).texts != [me]
    with faux.script(faux.reply(call("where"), call("awhere")), "x"):
        texts = async_run("faux/m", "q", [where, awhere]).texts
    assert texts[0] != me
    assert texts[1] == me


def test_context_variables_are_seen(go: Go) -> None:
    who = contextvars.ContextVar("who", default="nobody")

    def sync_who() -> str:
        return who.get()

    async def async_who() -> str:
        return who.get()

    def main() -> Ran:
        who.set("me")
        alone = [faux.reply(call("sync_who")), faux.reply(call("async_who"))]
        with faux.script(*alone, faux.reply(call("sync_who"), call("async_who")), "x"):
            return go("faux/m", "q", [sync_who, async_who], approve=lambda call: who.get() == "me")

    assert contextvars.copy_context().run(main).texts == ["me"] * 4


async def test_a_blocking_run_within_a_running_loop() -> None:
    with faux.script(faux.reply(call("later", text="a"), call("add", a=1, b=2)), "ok"):
        assert run_tools("faux/m", "q", [later, add]).result().text == "ok"


def test_two_runs_at_once() -> None:
    together = threading.Barrier(2, timeout=WAIT)

    def meet() -> str:
        together.wait()
        return "met"

    async def main() -> list[AssistantMessage]:
        with faux.script(faux.reply(call("meet")), faux.reply(call("meet")), "x", "x"):
            runs = [arun_tools("faux/m", "q", [meet]) for _ in range(2)]
            return await asyncio.gather(*(run.result() for run in runs))

    assert [message.text for message in asyncio.run(main())] == ["x", "x"]


# --- What goes wrong ------------------------------------------------------------------------


class Bad(BaseException):
    """As pytest's own."""


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    "error",
    [ValueError("no"), StopIteration(3), StopAsyncIteration(), RuntimeError(),
     asyncio.CancelledError("mine"), ExceptionGroup("g", [ValueError("x")])],
    ids=repr,
)  # fmt: skip
def test_exceptions_go_back_to_the_model(go: Go, error: BaseException, beside: bool) -> None:
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
def test_who_wants_to_end_the_program_does(go: Go, kind: Any, name: str, beside: bool) -> None:
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


def test_a_provider_that_fails_in_mid_run(go: Go) -> None:
    with faux.script(faux.reply(call("add", a=1, b=2)), faux.reply("so", faux.error("server"))):
        ran = go("faux/m", "q", [add], max_retries=0)
    assert ran.message.error is not None
    assert ran.message.error.kind == "server"
    assert [m.role for m in ran.run.messages] == ["assistant", "toolResult", "assistant"]
    with faux.script(faux.error("auth")):
        ran = go("faux/m", "q", [add])
    assert [event.type for event in ran.events] == ["error"]


def test_calls_of_an_answer_that_failed_are_not_run(go: Go) -> None:
    with faux.script(faux.reply(call("boom"), faux.cut())):
        ran = go("faux/m", "q", [boom], max_retries=0)
    assert ran.message.error is not None
    assert ran.results == []


def test_broken_arguments_go_back(go: Go) -> None:
    broken = faux.reply(faux.tool("add", '{"a": 1, "b'), stop="length")
    with faux.script(broken, faux.reply(faux.tool("add", '{"a": 1, "b": [2]}')), "ok"):
        ran = go("faux/m", "q", [add])
    assert ran.texts[0].startswith("The arguments of add are no JSON object")
    assert ran.texts[1].startswith("The arguments of add do not fit:\nb: Input should be")


class Picky(BaseModel):
    x: int

    def model_post_init(self, context: object) -> None:
        raise LookupError("not in the list")


def test_a_validator_that_raises_what_it_likes(go: Go) -> None:
    def pick(p: Picky) -> None: ...

    pick.__annotations__["p"] = Picky
    with faux.script(faux.reply(call("pick", p={"x": 1})), "ok"):
        assert go("faux/m", "q", [pick]).texts == ["LookupError: not in the list"]


def test_wrong_use_is_told_at_once() -> None:
    wrong: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        ([add], {"temprature": 0}, TypeError, "did you mean 'temperature'"),
        ([add], {"temperature": "hot"}, ValueError, "temperature"),
        ([add], {"max_turns": 0}, ValueError, "at least 1"),
        ([add], {"concurrency": 0}, ValueError, "at least 1"),
        ([add, add], {}, ValueError, "two tools are called 'add'"),
        ([Tool(name="f")], {}, ValueError, "'f' has no function"),
        ([Picky], {}, ValueError, "'Picky' has no function"),
        ([5], {}, TypeError, "a tool is a function"),
    ]
    for verb in (run_tools, arun_tools):
        for tools, options, error, says in wrong:
            with pytest.raises(error, match=says):
                verb("faux/m", "q", tools, **options)
        with pytest.raises(ValueError, match="the context is empty"):
            verb("faux/m", "", [add])
        with pytest.raises(ValueError, match="provider/model"):
            verb("faux/", "q", [add])


# --- Approval and limits --------------------------------------------------------------------


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
        assert asked == list(said)  # in order, and nobody is bothered with what cannot run
        asked.clear()


def test_an_approval_that_raises_ends_the_run(go: Go) -> None:
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
def test_a_forced_call_is_forced_once(go: Go, choice: Any, as_object: bool) -> None:
    given: Any = {"tool_choice": choice, "temperature": 0.5}
    options = {"options": StreamOptions(**given)} if as_object else given
    with faux.script(*[faux.reply(call("add", a=1, b=2))] * 2, "ok") as provider:
        go("faux/m", "q", [add], **options)
    later_ones = choice if choice in ("auto", "none") else None
    assert [r.options.tool_choice for r in provider.requests] == [choice, later_ones, later_ones]
    assert {r.options.temperature for r in provider.requests} == {0.5}


# --- Results --------------------------------------------------------------------------------


@dataclass
class Weather:
    sky: str
    on: date = date(2026, 1, 2)
    tags: set[str] = field(default_factory=lambda: {"x"})


class Report(BaseModel):
    sky: str
    on: date = date(2026, 1, 2)


class Plain:
    def __str__(self) -> str:
        return "an object"


class Mute:
    def __str__(self) -> str:
        raise LookupError("no words")


PNG = ImageContent(data="aGk=", mime_type="image/png")
VALUES: list[tuple[Any, Any]] = [
    ("text", "text"),
    ("", ""),
    (None, "null"),
    (3, "3"),
    (True, "true"),
    ([], "[]"),
    ([1, "a"], '[1,"a"]'),
    ({"a": {"b": (1, 2)}}, '{"a":{"b":[1,2]}}'),
    (Weather("blue"), '{"sky":"blue","on":"2026-01-02","tags":["x"]}'),
    (Report(sky="blue"), '{"sky":"blue","on":"2026-01-02"}'),
    ([Report(sky="blue")], '[{"sky":"blue","on":"2026-01-02"}]'),
    ("übel".encode(), "übel"),
    (b"bytes \xff", '"Ynl0ZXMg_w=="'),
    ("a name \udcff", "a name \ufffd"),
    ([{"a name \udcff": "\udcff"}], '[{"a name \ufffd":"\ufffd"}]'),
    (Plain(), '"an object"'),
    ("ü" * 200_000, "ü" * 200_000),
    (TextContent(text="t"), [TextContent(text="t")]),
    (PNG, [PNG]),
    ([TextContent(text="t"), PNG], [TextContent(text="t"), PNG]),
    (tool_result("other", "own", is_error=True, details=5), "own"),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda v: f"{v!r:.20}")
def test_results_of_all_kinds(go: Go, value: Any, expected: Any) -> None:
    def give() -> Any:
        return value

    with faux.script(faux.reply(call("give")), "ok") as provider:
        ran = go("faux/m", "q", [give])
    [result] = ran.results
    if isinstance(expected, str):
        assert ran.texts == [expected]
    else:
        assert result.content == expected
    assert result.tool_name == "give"
    assert result.tool_call_id == ran.run.messages[0].tool_calls[0].id
    assert result.is_error == isinstance(value, ToolResultMessage)
    assert result.details is (value if isinstance(value, BaseModel) and value != PNG else None) or (
        result.details == 5 or not isinstance(value, Report)
    )
    assert provider.requests[1].context.messages[-1] == result
    if isinstance(value, ToolResultMessage):
        assert value.tool_call_id == "other"  # the tool's own is left alone


def test_a_result_that_cannot_be_told_is_an_error(go: Go) -> None:
    def give() -> Any:
        return Mute()

    with faux.script(faux.reply(call("give")), "ok"):
        [result] = go("faux/m", "q", [give]).results
    assert result.is_error


def test_events_are_data(go: Go) -> None:
    with faux.script(faux.reply(call("add", a=1, b=2)), "ok"):
        ran = go("faux/m", "q", [add])
    [event] = [event for event in ran.events if event.type == "tool_result"]
    assert pickle.loads(pickle.dumps(event)) == event
    data = json.loads(json.dumps(event.to_dict()))
    assert data["tool_call"]["arguments"] == {"a": 1, "b": 2}
    assert data["message"]["content"][0]["text"] == "3"


def test_two_calls_with_one_id(go: Go) -> None:
    calls = [faux.tool("add", id="c", a=1, b=n) for n in (1, 2)]
    with faux.script(faux.reply(*calls), "ok"):
        ran = go("faux/m", "q", [add])
    assert ran.texts == ["2", "3"]
    assert len({m.tool_call_id for m in ran.results}) == 2


def test_usage_and_cost_are_summed(go: Go) -> None:
    with faux.script(
        faux.reply(call("add", a=1, b=2), faux.usage(10, 2, 3, 4, 1)),
        faux.reply("ok", faux.usage(20, 5, 6)),
    ):
        usage = go("faux/m", "q", [add]).run.usage
    assert (usage.input, usage.output, usage.cache_read, usage.cache_write) == (30, 7, 9, 4)
    assert usage.total_tokens == 50
    assert usage.cost.total is None
    assert not usage.estimated


def test_what_is_not_known_of_one_is_not_known_of_all() -> None:
    paid = Usage(input=1, reasoning=2, cost=Cost(input=1.0, total=1.5, source="catalog"))
    billed = Usage(input=2, estimated=True, cost=Cost(input=None, total=2.0, source="provider"))
    total = sum_usage([paid, billed])
    assert (total.input, total.reasoning, total.estimated) == (3, 2, True)
    assert (total.cost.total, total.cost.input, total.cost.source) == (3.5, None, "catalog")
    assert sum_usage([billed, billed]).cost.source == "provider"
    assert sum_usage([paid, Usage()]).cost == Cost()
    assert sum_usage([]) == Usage()


def test_the_context_is_not_touched_and_goes_on(go: Go) -> None:
    context = ctx("What is 1 + 2?", tools=[add])
    before = context.model_copy(deep=True)
    reply = faux.reply(call("add", a=1, b=2))
    with faux.script(reply, "3", reply, "3 again") as provider:
        ran = go("faux/m", context)
        assert context == before
        context.extend(ran.run.messages)
        context.messages.append(user("Again?"))
        again = go("faux/m", context)
    assert [m.role for m in provider.requests[-1].context.messages] == [
        "user", "assistant", "toolResult", "assistant", "user", "assistant", "toolResult",
    ]  # fmt: skip
    assert [m.role for m in again.run.messages] == ["assistant", "toolResult", "assistant"]


def test_what_the_caller_does_to_the_context_meanwhile_is_not_sent() -> None:
    context = ctx("q")
    with faux.script(faux.reply(call("add", a=1, b=2)), "3") as provider:
        for event in run_tools("faux/m", context, [add]):
            if event.type == "done":  # as one would with a stream
                context.messages.append(event.message)
    assert [m.role for m in provider.requests[1].context.messages] == [
        "user", "assistant", "toolResult",
    ]  # fmt: skip


def test_a_tool_that_changes_its_arguments_changes_nothing_else(go: Go) -> None:
    def sort(rows: list) -> list:
        rows[0].clear()
        return rows

    with faux.script(faux.reply(call("sort", rows=[{"a": 1}])), "ok") as provider:
        ran = go("faux/m", "q", [sort])
    assert ran.texts == ["[{}]"]
    sent = provider.requests[1].context.messages[1]
    assert isinstance(sent, AssistantMessage)
    assert sent.tool_calls[0].arguments == {"rows": [{"a": 1}]}


# --- Stopping -------------------------------------------------------------------------------


class Waits:
    """An async tool that waits for ever, and knows how it ended."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.error: BaseException | None = None

    async def wait(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.ended.set()

    @property
    def cancelled(self) -> bool:
        return self.ended.wait(WAIT) and isinstance(self.error, asyncio.CancelledError)


def stopping(how: str, when: threading.Event, make: Any, go: Go, *args: Any, **options: Any) -> Ran:
    """Run, and abort from another thread as soon as `when` is set."""
    controller = AbortController()
    made: list[Any] = []

    def build(*args: Any, **options: Any) -> Any:
        made.append(make(*args, **options))
        return made[0]

    def stop() -> None:
        assert when.wait(WAIT)
        if how == "abort":
            made[0].abort()
        else:
            controller.abort("enough")

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        if go is sync_run:
            run = build(*args, signal=controller.signal, **options)
            events = list(run)
            ran = ended(run, events, run.result())
        else:

            async def main() -> Ran:
                run = build(*args, signal=controller.signal, **options)
                events = [event async for event in run]
                return ended(run, events, await run.result())

            ran = asyncio.run(main())
    finally:
        thread.join(WAIT)
    assert controller.signal._listeners == {}
    return ran


def verb_of(go: Go) -> Any:
    return run_tools if go is sync_run else arun_tools


@pytest.fixture(params=["abort", "signal"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_abort_during_the_answer(go: Go, how: str) -> None:
    provider = Watched("one ", "two ")
    register_provider("watched", provider)
    try:
        ran = stopping(how, provider.stalled, verb_of(go), go, "watched/m", "q", [add])
    finally:
        unregister_provider("watched")
    assert ran.message.stop_reason == "aborted"
    assert ran.message.text == "one two "
    assert ran.run.messages == [ran.message]
    assert ("enough" in str(ran.message.error_message)) == (how == "signal")
    assert provider.left.wait(WAIT)
    nothing_left()


@pytest.mark.parametrize("alone", [False, True])
def test_abort_cancels_async_tools(go: Go, how: str, alone: bool) -> None:
    waits = Waits()
    calls = [call("wait")] if alone else [call("wait"), call("add", a=1, b=2)]
    with faux.script(faux.reply(*calls), "never") as provider:
        ran = stopping(how, waits.began, verb_of(go), go, "faux/m", "q", [waits.wait, add])
    assert waits.cancelled
    assert provider.calls == 1
    assert ran.message.stop_reason == "aborted"
    assert ("enough" in str(ran.message.error_message)) == (how == "signal")
    assert ran.results[0].is_error
    assert ran.texts[0] == "The call was aborted."
    nothing_left()


def test_abort_does_not_wait_for_threads(go: Go, how: str) -> None:
    began, release, finished = threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        began.set()
        release.wait(WAIT)
        finished.set()

    with faux.script(faux.reply(call("block"), call("block")), "never"):
        ran = stopping(how, began, verb_of(go), go, "faux/m", "q", [block])
        assert not finished.is_set()
    release.set()
    assert ran.texts == ["The call was aborted."] * 2
    nothing_left()


def test_abort_does_not_wait_for_a_tool_that_will_not_end(
    go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_loop, "CANCEL_GRACE_S", 0.05)
    began, release = threading.Event(), asyncio.Event()
    inside: list[Any] = []

    async def stubborn() -> None:
        inside.append(asyncio.get_running_loop())
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.shield(release.wait())

    with faux.script(faux.reply(call("stubborn")), "never"):
        ran = stopping("abort", began, verb_of(go), go, "faux/m", "q", [stubborn])
    assert ran.message.stop_reason == "aborted"
    if go is sync_run:
        inside[0].call_soon_threadsafe(release.set)
    nothing_left()


def test_abort_between_the_calls_and_the_tools(go: Go) -> None:
    ran_calls: list[int] = []

    def work() -> None:
        ran_calls.append(1)

    async def main() -> AssistantMessage:
        run = arun_tools("faux/m", "q", [work])
        async for event in run:
            if event.type == "done":
                run.abort()
        assert [m.role for m in run.messages] == ["assistant", "toolResult", "toolResult"]
        return await run.result()

    with faux.script(faux.reply(call("work"), call("work")), "never") as provider:
        if go is async_run:
            message = asyncio.run(main())
        else:
            run = run_tools("faux/m", "q", [work])
            for event in run:
                if event.type == "done":
                    run.abort()
            message = run.result()
    assert message.stop_reason == "aborted"
    assert ran_calls == []
    assert provider.calls == 1


def test_abort_in_the_middle_of_the_results(go: Go) -> None:
    waits = Waits()

    async def main() -> Any:
        run = arun_tools("faux/m", "q", [waits.wait, add])
        async for event in run:
            if event.type == "tool_result":
                run.abort()
        return run

    with faux.script(faux.reply(call("wait"), call("add", a=1, b=2)), "never"):
        if go is async_run:
            run = asyncio.run(main())
        else:
            run = run_tools("faux/m", "q", [waits.wait, add])
            for event in run:
                if event.type == "tool_result":
                    run.abort()
    assert waits.cancelled
    assert [m.content[0].text for m in run.messages[1:]] == ["The call was aborted.", "3"]


def test_abort_ends_an_approval_that_is_awaited(go: Go, how: str) -> None:
    waits = Waits()

    async def approve(call: ToolCall) -> bool:
        await waits.wait()
        return True

    with faux.script(faux.reply(call("boom"), call("boom")), "never"):
        ran = stopping(how, waits.began, verb_of(go), go, "faux/m", "q", [boom], approve=approve)
    assert waits.cancelled
    assert ran.texts == ["The call was aborted."] * 2


def test_abort_out_of_a_tool_in_the_callers_thread() -> None:
    def work(n: int) -> int:
        run.abort()
        return n

    with faux.script(faux.reply(call("work", n=1), call("work", n=2)), "never"):
        run = run_tools("faux/m", "q", [work], concurrency=1)
        assert run.result().stop_reason == "aborted"
    assert [m.content[0].text for m in run.messages[1:]] == ["1", "The call was aborted."]


def test_an_aborted_run_asks_nobody(go: Go) -> None:
    controller = AbortController()
    controller.abort("enough")
    with faux.script("never") as provider:
        ran = go("faux/m", "q", [add], signal=controller.signal)
        assert [event.type for event in ran.events] == ["error"]
        run = run_tools("faux/m", "q", [add])
        run.abort()
        assert run.result().stop_reason == "aborted"
    assert provider.calls == 0


def test_abort_after_the_end_does_nothing() -> None:
    with faux.script("ok"):
        run = run_tools("faux/m", "q", [add])
        message = run.result()
        run.abort()
        assert run.result() is message
        assert list(run) == []


def test_leaving_the_loop_stops_the_tools() -> None:
    waits = Waits()
    reply = faux.reply(call("wait"), call("add", a=1, b=2))
    with faux.script(reply, reply, "never") as provider:
        run = run_tools("faux/m", "q", [waits.wait, add])
        for event in run:
            if event.type == "tool_result":
                break
        assert waits.cancelled
        assert run.result().stop_reason == "aborted"
        assert [m.role for m in run.messages] == ["assistant", "toolResult", "toolResult"]

        waits = Waits()
        with run_tools("faux/m", "q", [waits.wait, add]) as run:
            for event in run:
                if event.type == "tool_result":
                    break
        assert waits.cancelled
    assert provider.calls == 2
    nothing_left()


async def test_leaving_the_async_loop_stops_the_tools() -> None:
    waits = Waits()
    reply = faux.reply(call("wait"), call("add", a=1, b=2))
    with faux.script(reply, "never") as provider:
        async with arun_tools("faux/m", "q", [waits.wait, add]) as run:
            async for event in run:
                if event.type == "tool_result":
                    break
        assert isinstance(waits.error, asyncio.CancelledError)
        assert (await run.result()).stop_reason == "aborted"
    assert provider.calls == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cancelled_task_takes_its_tools_with_it() -> None:
    waits = Waits()
    with faux.script(faux.reply(call("wait"), call("add", a=1, b=2)), "never"):
        run = arun_tools("faux/m", "q", [waits.wait, add])
        task = asyncio.ensure_future(run.result())
        while not waits.began.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert isinstance(waits.error, asyncio.CancelledError)
    assert [m.role for m in run.messages] == ["assistant", "toolResult", "toolResult"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cancelled_task_closes_the_answer() -> None:
    provider = Watched("one ")
    register_provider("watched", provider)
    try:
        task = asyncio.ensure_future(arun_tools("watched/m", "q", [add]).result())
        while not provider.stalled.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        unregister_provider("watched")
    assert provider.left.is_set()


def test_the_result_may_be_asked_for_in_the_middle() -> None:
    with faux.script(faux.reply(call("add", a=1, b=2)), "ok"):
        run = run_tools("faux/m", "q", [add])
        for event in run:
            if event.type == "tool_result":
                assert run.result().text == "ok"
        assert run.result().text == "ok"
    assert [m.role for m in run.messages] == ["assistant", "toolResult", "assistant"]


def test_a_run_that_nobody_starts_costs_nothing() -> None:
    with faux.script("never") as provider:
        run_tools("faux/m", "q", [add])
        arun_tools("faux/m", "q", [add])
    assert provider.calls == 0
