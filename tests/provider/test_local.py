"""Test the embedded model and llama.cpp's server, directly and through LiteLLM.

The tests compare structure and effects, never wording: a 0.1 B model is unreliable."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
from typing import Any, Literal

import pytest

from pipy_ai import (
    AssistantMessage,
    Tool,
    ToolResultMessage,
    acomplete,
    aquick,
    astream,
    complete,
    ctx,
    quick,
    run_tools,
    stream,
    tool_result,
    user,
)

from ..support.event_grammar import check_events

pytestmark = [
    pytest.mark.usefixtures("weights"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


PROMPT = "What is 2+2?"
WEATHER = Tool(
    name="get_weather",
    description="Get the weather of a city",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": ["Paris", "Rome"]},
            "unit": {"type": "string", "enum": ["c", "f"]},
        },
        "required": ["city", "unit"],
    },
)


class Way:
    """One way to reach the model: embedded, or over a socket. `api` is that of its messages."""

    def __init__(self, name: str, server: str = "") -> None:
        self.name = name
        self.server = server
        self.model, self.api = {
            "local": ("local/smollm2", "local"),
            "chat": ("hosted_vllm/smollm2", "openai-completions"),
            "anthropic": ("anthropic/smollm2", "anthropic-messages"),
            "litellm": ("hosted_vllm/smollm2", "openai-completions"),
        }[name]

    def options(self, *, think: bool = False, force: bool = False, **more: Any) -> dict[str, Any]:
        """Return keywords with the same meaning for all ways."""
        options: dict[str, Any] = {"temperature": 0, "max_tokens": 40, **more}
        if not self.server:
            if think:
                options["reasoning"] = "low"
        else:
            template = {"enable_thinking": think, **({"force_tool": True} if force else {})}
            body: dict[str, Any] = {"chat_template_kwargs": template}
            if think and self.name == "anthropic":
                body["thinking"] = {"type": "enabled", "budget_tokens": 4}
            elif think:
                body["thinking_budget_tokens"] = 4
            options |= {
                "api_base": self.server + ("" if self.name == "anthropic" else "/v1"),
                "api_key": "unused",
                "extra": {"extra_body": body},
                "transport": "litellm" if self.name == "litellm" else "direct",
            }
        if force:
            options["tool_choice"] = "required"
        return options


@pytest.fixture(params=["local", "chat", "anthropic", "litellm"])
def way(request: pytest.FixtureRequest) -> Way:
    if request.param == "local":
        return Way("local")
    return Way(request.param, request.getfixturevalue("llama"))


def essence(message: AssistantMessage) -> Any:
    """Return what must not depend on the function that was called (ids and times do)."""
    return (
        [
            part.model_dump(exclude={"id"} if part.type == "toolCall" else None)
            for part in message.content
        ],
        message.stop_reason,
        message.usage.output,
        message.usage.input + message.usage.cache_read,
    )


async def every_verb(way: Way, prompt: str, options: dict[str, Any]) -> list[AssistantMessage]:
    """Send the same prompt through every function."""
    loop = asyncio.get_running_loop()
    events = await loop.run_in_executor(None, lambda: list(stream(way.model, prompt, **options)))
    s = astream(way.model, prompt, **options)
    async_events = [event async for event in s]
    assert check_events(async_events) == await s.result()
    return [
        check_events(events),
        check_events(async_events),
        await asyncio.to_thread(complete, way.model, prompt, **options),
        await acomplete(way.model, prompt, **options),
    ]


async def test_every_function_gives_the_same_answer(way: Way) -> None:
    messages = await every_verb(way, PROMPT, way.options())
    for message in messages:
        assert message.error is None, message.error
        assert essence(message) == essence(messages[0])
        assert message.api == way.api
        assert not message.usage.estimated
    assert re.search(r"\d", messages[0].text)
    if way.name == "local":
        for message in (
            await asyncio.to_thread(quick, PROMPT, way.model, max_tokens=40, temperature=0),
            await aquick(PROMPT, way.model, max_tokens=40, temperature=0),
        ):
            assert essence(message) == essence(messages[0])


async def test_quick_over_a_socket_gives_the_same_answer(
    llama: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", llama + "/v1")
    model = "hosted_vllm/smollm2"
    expected = await acomplete(model, PROMPT, temperature=0, max_tokens=40)
    assert expected.error is None, expected.error
    for message in (
        await asyncio.to_thread(quick, PROMPT, model, temperature=0, max_tokens=40),
        await aquick(PROMPT, model, temperature=0, max_tokens=40),
    ):
        assert essence(message) == essence(expected)


async def test_thinking_precedes_the_answer(way: Way) -> None:
    messages = await every_verb(way, "What is the capital of France?", way.options(think=True))
    for message in messages:
        assert essence(message) == essence(messages[0])
        assert [part.type for part in message.content] == ["thinking", "text"]
        assert message.api == way.api
        assert message.thinking_text
        assert message.text


async def test_forced_call_streams_in_fragments(way: Way) -> None:
    context = ctx("What is the weather in Rome?", tools=[WEATHER])
    options = way.options(force=True)
    events = list(stream(way.model, context, **options))
    message = check_events(events)
    assert sum(event.type == "toolcall_delta" for event in events) > 3
    assert (message.stop_reason, message.api) == ("toolUse", way.api)
    [call] = message.tool_calls
    assert call.name == "get_weather"
    assert call.arguments_error is None
    assert call.id
    assert call.arguments["city"] in ("Paris", "Rome")
    assert call.arguments["unit"] in ("c", "f")
    twin = await acomplete(way.model, context, **options)
    assert essence(twin) == essence(message)


async def test_tool_round_trip(way: Way) -> None:
    context = ctx(user("What is the weather in Rome?"), tools=[WEATHER])
    response = complete(way.model, context, **way.options(force=True))
    [call] = response.tool_calls
    result = tool_result(call, {"temperature": "22 C", "sky": "clear"})
    follow_up = ctx(*context.messages, response, result, tools=[WEATHER])
    answer = await acomplete(way.model, follow_up, **way.options(tool_choice="none"))
    assert answer.error is None, answer.error
    assert answer.text
    assert not answer.tool_calls
    assert answer.stop_reason in ("stop", "length")


def test_one_of_two_functions_is_called() -> None:
    done: list[dict[str, Any]] = []

    def get_weather(city: Literal["Paris", "Rome"], unit: Literal["c", "f"]) -> str:
        """Get the weather of a city."""
        done.append({"city": city, "unit": unit})
        return "22 degrees, clear"

    def count(times: int) -> int:
        """Count up to a number."""
        done.append({"times": times})
        return times

    run = run_tools(
        "local/smollm2", "What is the weather in Rome?", [get_weather, count],
        tool_choice="required", temperature=0, max_tokens=60, max_turns=3,
    )  # fmt: skip
    events = list(run)
    asked, result, *rest = run.messages
    assert isinstance(asked, AssistantMessage)
    assert isinstance(result, ToolResultMessage)
    [call] = asked.tool_calls
    assert call.name in ("get_weather", "count")
    assert not result.is_error, result
    assert done[0] == call.arguments
    assert result.tool_call_id == call.id
    assert rest[-1] is run.result()
    assert run.result().error is None, run.result().error
    told = [event.message for event in events if event.type == "tool_result"]
    assert told == [m for m in run.messages if m.role == "toolResult"]
    assert run.usage.output == sum(m.usage.output for m in run.messages if m.role == "assistant")


def test_second_turn_reads_the_cache(way: Way) -> None:
    first = user("Tell me in a few words what a river is, and what a lake is, and what a sea is.")
    answer = complete(way.model, ctx(first), **way.options())
    second = complete(way.model, ctx(first, answer, user("And a pond?")), **way.options())
    assert second.usage.cache_read > 20
    assert second.usage.input > 0
    assert second.usage.total_tokens == (
        second.usage.input + second.usage.cache_read + second.usage.output
    )


def test_repeated_prompt_reads_the_cache(way: Way, llama: str) -> None:
    """Both wires report cached and uncached prompt tokens."""
    prompt = "Name three things that float on a river, and three things that do not."
    once, again = (complete(way.model, prompt, **way.options(max_tokens=8)) for _ in range(2))
    for message in (once, again):
        assert (message.error, message.api) == (None, way.api)
        assert message.usage.input + message.usage.cache_read == count(llama, prompt)
        assert not message.usage.estimated
    assert again.usage.cache_read > 0.9 * (again.usage.input + again.usage.cache_read)
    assert again.usage.input > 0  # the last token is always read anew


def count(server: str, prompt: str) -> int:
    """Return the server's token count of a prompt in the model's template."""
    messages = [{"role": "user", "content": prompt}]
    template = {"enable_thinking": False}
    body = post(server + "/apply-template", messages=messages, chat_template_kwargs=template)
    return len(post(server + "/tokenize", content=body["prompt"], parse_special=True)["tokens"])


def post(url: str, **body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_prompt_longer_than_the_window_is_an_overflow(way: Way) -> None:
    message = complete(way.model, "word " * 6000, **way.options(timeout=60))
    assert message.error is not None
    assert message.error.kind == "context_overflow"
    assert not message.error.retryable
    assert message.content == []
    assert message.api == ("litellm" if way.name == "litellm" else way.api)  # no wire accepted it
    if way.server:
        assert message.error.status_code == 400


def test_abort_stops_the_generation(way: Way) -> None:
    before = made(way.server) if way.server else 0
    s = stream(way.model, "Count from one to one thousand.", **way.options(max_tokens=3000))
    for event in s:
        if event.type == "text_delta":
            s.abort()
    message = s.result()
    assert (message.stop_reason, message.api) == ("aborted", way.api)
    assert message.text
    assert message.usage.output < 3000
    assert message.usage.cost.total == (0.0 if way.model.startswith("local/") else None)
    if way.server:
        deadline = time.monotonic() + 5
        while busy(way.server) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not busy(way.server)
        assert 0 < made(way.server) - before < 1000
    else:  # the one slot is free again, long before 3,000 tokens could be made
        began = time.perf_counter()
        assert complete(way.model, PROMPT, **way.options()).text
        assert time.perf_counter() - began < 20


def busy(server: str) -> bool:
    with urllib.request.urlopen(server + "/slots", timeout=5) as answer:
        return any(slot["is_processing"] for slot in json.load(answer))


def made(server: str) -> int:
    """Return how many tokens the server has generated."""
    with urllib.request.urlopen(server + "/metrics", timeout=5) as answer:
        found = re.search(r"^llamacpp:tokens_predicted_total (\d+)", answer.read().decode(), re.M)
    assert found is not None
    return int(found[1])


def test_direct_transport_loads_no_litellm(llama: str) -> None:
    code = (
        "import sys\nfrom pipy_ai import complete\n"
        "for model, base in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    m = complete(model, 'Hi', api_base=base, api_key='unused', max_tokens=3)\n"
        "    assert m.content and not m.error, m\n"
        "    print(m.api)\n"
        "assert not {'litellm', 'httpx', 'openai', 'anthropic'} & sys.modules.keys()\n"
    )
    ways = ["hosted_vllm/smollm2", llama + "/v1", "anthropic/smollm2", llama]
    done = subprocess.run(
        [sys.executable, "-c", code, *ways],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["openai-completions", "anthropic-messages"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_earlier_conversations_take_limited_memory() -> None:
    """Each prompt below takes about 10 MB in the model's cache."""
    code = """
import sys
from pathlib import Path
from pipy_ai import complete
from pipy_ai.provider import local

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

local._PROMPT_CACHE_MIB = 8
sizes = []
for number in range(5):
    complete("local/smollm2", f"{number} is a number. " * 60, max_tokens=1)
    sizes.append(resident_mib())
print(sizes[-1] - sizes[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 15
