"""The direct lanes against raw httpx and the rivals: CPU per delta, memory, stalls, cold starts.

    python benchmarks/lanes.py [--rivals path/to/python] [--deltas 5000] [--rounds 5] [--json]

A server in a process of its own sends bytes that were made beforehand. Every client is a process
of its own that asks `rounds` times and reports the median CPU of its own; only the ratios of one
run mean something. `--rivals` is a Python that has the rivals installed (openai, pydantic-ai-slim
[openai], langchain-openai, any-llm-sdk[openai], llm); which are found is said.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

SERVER = """
import asyncio, json, sys
deltas = int(sys.argv[1])
def sse(choice, **more):
    data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": None, **choice}], **more}
    return b"data: " + json.dumps(data).encode() + b"\\n\\n"
def chunked(pieces):
    head = (b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\n"
            b"transfer-encoding: chunked\\r\\n\\r\\n")
    return [head] + [b"%x\\r\\n%s\\r\\n" % (len(p), p) for p in pieces] + [b"0\\r\\n\\r\\n"]
usage = {"prompt_tokens": 9, "completion_tokens": deltas, "total_tokens": 9 + deltas}
end = [sse({"delta": {}, "finish_reason": "stop"}),
       b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 1,
        "model": "m", "choices": [], "usage": usage}).encode() + b"\\n\\n", b"data: [DONE]\\n\\n"]
text = chunked([sse({"delta": {"role": "assistant", "content": "word "}})] * deltas + end)
args = json.dumps({"x": "a" * (deltas - 8)})
call = lambda **f: sse({"delta": {"tool_calls": [{"index": 0, "function": f}]}})
first = sse({"delta": {"role": "assistant", "tool_calls": [
    {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}})
end_tool = [sse({"delta": {}, "finish_reason": "tool_calls"}), *end[1:]]
tool = chunked([first] + [call(arguments=c) for c in args] + end_tool)
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = next((int(l.split(b":")[1]) for l in head.lower().split(b"\\r\\n")
                           if l.startswith(b"content-length")), 0)
            body = await reader.readexactly(length)
            answer = tool if b'"tools"' in body else text
            paced = b'"paced"' in body
            for at in range(0, len(answer), 1 if paced else 64):
                writer.write(b"".join(answer[at:at + (1 if paced else 64)]))
                await writer.drain()
                if paced:
                    await asyncio.sleep(0)
    except Exception:
        pass
    finally:
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

# Each client defines `once(base, kind)`, which returns how many characters came: text, or the
# arguments of the call; `kind` is "text" or "tool". Asynchronous ones define `aonce`.
TOOL = """
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}]
"""
RAW = """
import httpx, json
def body(kind):
    more = {"tools": TOOLS} if kind == "tool" else {}
    return {"model": "m", "stream": True, "messages": [{"role": "user", "content": "q"}], **more}
def count(line):
    if not line.startswith("data: ") or line == "data: [DONE]":
        return 0
    choices = json.loads(line[6:])["choices"]
    if not choices:
        return 0
    delta = choices[0]["delta"]
    calls = delta.get("tool_calls")
    return len(calls[0]["function"]["arguments"]) if calls else len(delta.get("content") or "")
"""
CLIENTS = {
    "httpx": RAW
    + """
client = httpx.Client(timeout=None)
def once(base, kind):
    with client.stream("POST", base + "/chat/completions", json=body(kind)) as response:
        return sum(map(count, response.iter_lines()))
""",
    "httpx async": RAW
    + """
client = httpx.AsyncClient(timeout=None)
async def aonce(base, kind):
    async with client.stream("POST", base + "/chat/completions", json=body(kind)) as response:
        return sum([count(line) async for line in response.aiter_lines()])
""",
    "pipy-ai": """
from pipy_ai import Tool, ctx, stream
def once(base, kind):
    tools = [Tool(name="f", description="d", parameters=SCHEMA)] if kind == "tool" else None
    total = 0
    for event in stream("hosted_vllm/m", ctx("q", tools=tools), api_base=base):
        if event.type in ("text_delta", "toolcall_delta"):
            total += len(event.delta)
    return total
""",
    "pipy-ai async": """
from pipy_ai import Tool, astream, ctx
async def aonce(base, kind):
    tools = [Tool(name="f", description="d", parameters=SCHEMA)] if kind == "tool" else None
    total = 0
    async for event in astream("hosted_vllm/m", ctx("q", tools=tools), api_base=base):
        if event.type in ("text_delta", "toolcall_delta"):
            total += len(event.delta)
    return total
""",
    "litellm async": """
import os
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["REPEATED_STREAMING_CHUNK_LIMIT"] = "1000000000"
import litellm
litellm.suppress_debug_info = True
async def aonce(base, kind):
    more = {"tools": TOOLS, "_skip_mcp_handler": True} if kind == "tool" else {}
    total = 0
    chunks = await litellm.acompletion(model="hosted_vllm/m", api_base=base, api_key="k",
        messages=[{"role": "user", "content": "q"}], stream=True, max_retries=0, **more)
    async for chunk in chunks:
        for choice in chunk.choices:
            delta = choice.delta
            calls = delta.tool_calls
            total += len(calls[0].function.arguments or "") if calls else len(delta.content or "")
    return total
""",
    "openai async": """
import openai
client = None
async def aonce(base, kind):
    global client
    client = client or openai.AsyncOpenAI(base_url=base, api_key="k", max_retries=0)
    more = {"tools": TOOLS} if kind == "tool" else {}
    total = 0
    chunks = await client.chat.completions.create(model="m", stream=True,
        messages=[{"role": "user", "content": "q"}], **more)
    async for chunk in chunks:
        for choice in chunk.choices:
            calls = choice.delta.tool_calls
            total += (len(calls[0].function.arguments or "") if calls
                      else len(choice.delta.content or ""))
    return total
""",
    "pydantic-ai async": """
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest, PartDeltaEvent, PartStartEvent, TextPart
from pydantic_ai.messages import TextPartDelta, ToolCallPart, ToolCallPartDelta
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition
model = None
async def aonce(base, kind):
    global model
    model = model or OpenAIChatModel("m", provider=OpenAIProvider(base_url=base, api_key="k"))
    tools = [ToolDefinition(name="f", description="d", parameters_json_schema=SCHEMA)]
    parameters = ModelRequestParameters(function_tools=tools if kind == "tool" else [])
    total = 0
    async with model_request_stream(model, [ModelRequest.user_text_prompt("q")],
            model_request_parameters=parameters) as events:
        async for event in events:
            if isinstance(event, PartStartEvent):
                part = event.part
                total += len(part.content if isinstance(part, TextPart) else part.args or "")
            elif isinstance(event, PartDeltaEvent):
                delta = event.delta
                text = isinstance(delta, TextPartDelta)
                total += len(delta.content_delta if text else delta.args_delta or "")
    return total
""",
    "langchain async": """
from langchain_openai import ChatOpenAI
model = None
async def aonce(base, kind):
    global model
    model = model or ChatOpenAI(model="m", base_url=base, api_key="k", max_retries=0)
    asked = model.bind_tools(TOOLS) if kind == "tool" else model
    total = 0
    async for chunk in asked.astream("q"):
        calls = chunk.tool_call_chunks
        total += len(calls[0]["args"] or "") if calls else len(chunk.content or "")
    return total
""",
    "any-llm async": """
from any_llm import acompletion
async def aonce(base, kind):
    more = {"tools": TOOLS} if kind == "tool" else {}
    total = 0
    chunks = await acompletion(model="m", provider="openai", api_base=base, api_key="k",
        messages=[{"role": "user", "content": "q"}], stream=True, **more)
    async for chunk in chunks:
        for choice in chunk.choices:
            calls = choice.delta.tool_calls
            total += (len(calls[0].function.arguments or "") if calls
                      else len(choice.delta.content or ""))
    return total
""",
}
OWN = {"httpx", "httpx async", "pipy-ai", "pipy-ai async", "litellm async"}

RUN = """
import asyncio, json, resource, statistics, sys, time
base, kind, rounds, deltas = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
def check(total):
    wanted = deltas * 5 if kind == "text" else deltas + 1
    assert abs(total - wanted) <= 2, (total, wanted)
spent = []
def timed(total, began):
    check(total)
    spent.append((time.process_time() - began) / deltas * 1e6)
if "aonce" in globals():
    async def main():
        for _ in range(rounds + 1):
            began = time.process_time()
            timed(await aonce(base, kind), began)
    asyncio.run(main())
else:
    for _ in range(rounds + 1):
        began = time.process_time()
        timed(once(base, kind), began)
print(json.dumps({"us": statistics.median(spent[1:]),
                  "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

MANY = """
import asyncio, json, resource, sys, time
base, streams, deltas = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
async def main():
    await aonce(base, "text")
    worst, last, running = 0.0, time.perf_counter(), True
    async def watch():
        nonlocal worst, last
        while running:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            worst, last = max(worst, now - last - 0.005), now
    watcher = asyncio.ensure_future(watch())
    began, cpu = time.perf_counter(), time.process_time()
    totals = await asyncio.gather(*(aonce(base, "text") for _ in range(streams)))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    running = False
    await watcher
    assert totals == [deltas * 5] * streams, "a delta was lost"
    print(json.dumps({"deltas_per_s": streams * deltas / wall, "us": cpu / streams / deltas * 1e6,
        "stall_s": worst, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
asyncio.run(main())
"""

COLD = {
    "httpx": """
import json, sys, httpx
with httpx.Client(timeout=None) as client:
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "q"}]}
    with client.stream("POST", sys.argv[1] + "/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data: "):
                print(json.loads(line[6:])["choices"][0]["delta"]["content"])
                break
""",
    "pipy-ai": """
import sys
from pipy_ai import stream
with stream("hosted_vllm/m", "q", api_base=sys.argv[1]) as events:
    for event in events:
        if event.type == "text_delta":
            print(event.delta)
            break
""",
    "litellm": """
import os, sys
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["REPEATED_STREAMING_CHUNK_LIMIT"] = "1000000000"
import litellm
for chunk in litellm.completion(model="hosted_vllm/m", api_base=sys.argv[1], api_key="k",
        messages=[{"role": "user", "content": "q"}], stream=True):
    print(chunk.choices[0].delta.content)
    break
""",
    "openai": """
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key="k")
for chunk in client.chat.completions.create(model="m", stream=True,
        messages=[{"role": "user", "content": "q"}]):
    print(chunk.choices[0].delta.content)
    break
""",
}


def run(python: str, code: str, *arguments: object) -> Any:
    """What a client prints, as JSON; None when it cannot run here."""
    environment = {**os.environ, "PIPY_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [python, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, env=environment, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode:
        print("   ", done.stderr.strip().splitlines()[-1][:150] if done.stderr else "failed")
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def cold(python: str, code: str, base: str, turns: int = 7) -> float:
    """The least CPU (ms) of a process from nothing to the first token."""
    least = float("inf")
    environment = {**os.environ, "PIPY_OFFLINE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for turn in range(turns + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [python, "-c", code, base], check=True, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if turn:  # the first one compiles
            least = min(least, spent * 1000)
    return least


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rivals", default=sys.executable)
    options.add_argument("--deltas", type=int, default=5000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--streams", type=int, default=200)
    options.add_argument("--only", default="", help="clients whose name holds this")
    options.add_argument("--json", action="store_true")
    arguments = options.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(arguments.deltas)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    base = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
    found: dict[str, dict[str, Any]] = {}
    try:
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},"
              f" {time.strftime('%Y-%m-%d')}; {arguments.deltas:,} deltas")  # fmt: skip
        for name, client in CLIENTS.items():
            if arguments.only not in name:
                continue
            python = sys.executable if name in OWN else arguments.rivals
            row = found[name] = {}
            for kind in ("text", "tool"):
                code = TOOL + client + RUN
                told = run(python, code, base, kind, arguments.rounds, arguments.deltas)
                if told is None:
                    break
                row[kind], row["mb"] = told["us"], told["mb"]
            if name in ("pipy-ai async", "litellm async", "httpx async", "openai async"):
                told = run(python, TOOL + client + MANY, base, arguments.streams, arguments.deltas)
                row["many"] = told
        for name, code in COLD.items():
            python = arguments.rivals if name == "openai" else sys.executable
            if arguments.only in name:
                try:
                    found.setdefault(name, {})["cold"] = cold(python, code, base)
                except subprocess.CalledProcessError:
                    print(f"    {name}: no cold start")
    finally:
        server.kill()
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{'client':20}{'text µs':>9}{'tool µs':>9}{'MB':>7}   many: µs, deltas/s, stall s, MB")
    for name, row in found.items():
        many = row.get("many")
        shown = ""
        if many:
            shown = (
                f"   {many['us']:.1f}, {many['deltas_per_s']:,.0f}, {many['stall_s']:.3f}, "
                f"{many['mb']:.0f}"
            )
        cells = [f"{row[k]:>9.1f}" if k in row else " " * 9 for k in ("text", "tool")]
        print(f"{name:20}{''.join(cells)}{row.get('mb', 0):>7.0f}{shown}")
    for name, row in found.items():
        if "cold" in row:
            print(f"cold start to the first token: {name:12}{row['cold']:>8.0f} ms of CPU")


if __name__ == "__main__":
    main()
