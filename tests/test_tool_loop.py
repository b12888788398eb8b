"""Test `run_tools` and `arun_tools`: the loop on four wires, threads and concurrency."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    ImageContent,
    TextContent,
    Tool,
    arun_tools,
    ctx,
    faux,
    run_tools,
    user,
)

from .support import wire_formats as wires
from .support.scripted_server import STALL, Lab
from .support.tool_loop_runs import Go, Ran, async_run, nothing_left, sync_run
from .support.vendor_rules import part_of, violations
from .support.wire_formats import WIRES, Counts, Wire, say, think

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


async def later(text: str) -> str:
    """Return the text after a short delay."""
    await asyncio.sleep(0)
    return f"later {text}"


def boom() -> None:
    """Always fails."""
    raise ValueError("it broke")


def told(wire: Wire, body: Any) -> list[str]:
    """Return the tool results in a request, in order."""
    out: list[str] = []
    if wire.name in ("chat", "ollama", "cohere"):
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
    elif wire.name == "converse":
        blocks = body["messages"][-1]["content"]
        results = [block["toolResult"] for block in blocks if "toolResult" in block]
        out = [result["content"][0]["text"] for result in results]
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
def test_five_turns_on_every_wire(lab: Lab, wire: Wire, transport: str, go: Go) -> None:
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
        ["Not the root.", "Unknown tool 'nobody'. Available tools: add, later"],
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


def test_tools_of_the_context_are_run(go: Go) -> None:
    with faux.script(faux.reply(call("add", a=1, b=2)), "3") as provider:
        ran = go("faux/m", ctx("q", tools=[add]))
    assert ran.texts == ["3"]
    assert [[t.name for t in r.context.tools or ()] for r in provider.requests] == [
        ["add"],
        ["add"],
    ]


def test_calls_of_a_turn_run_concurrently(go: Go) -> None:
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


def test_async_calls_run_concurrently(go: Go) -> None:
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
    assert ran.texts == ["1", "2"]  # in the order of the calls


@pytest.mark.parametrize("concurrency", [1, 2])
def test_concurrency_limit(go: Go, concurrency: int) -> None:
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


def test_single_sync_tool_runs_in_callers_thread() -> None:
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


def test_tools_see_context_variables(go: Go) -> None:
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


async def test_blocking_run_inside_a_running_loop() -> None:
    with faux.script(faux.reply(call("later", text="a"), call("add", a=1, b=2)), "ok"):
        assert run_tools("faux/m", "q", [later, add]).result().text == "ok"


def test_two_concurrent_runs() -> None:
    together = threading.Barrier(2, timeout=WAIT)

    def meet() -> str:
        together.wait()
        return "met"

    async def main() -> list[AssistantMessage]:
        with faux.script(faux.reply(call("meet")), faux.reply(call("meet")), "x", "x"):
            runs = [arun_tools("faux/m", "q", [meet]) for _ in range(2)]
            return await asyncio.gather(*(run.result() for run in runs))

    assert [message.text for message in asyncio.run(main())] == ["x", "x"]
