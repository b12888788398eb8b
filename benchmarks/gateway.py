"""What a request and a delta cost in CPU on their way through LiteLLM's proxy: in the proxy, in
Redis and in our client. The inputs of `fleet.py`.

    python benchmarks/gateway.py

Deltas come one by one, as a model makes them, not in bursts: each costs every station on the way a
read of a socket. Wants the extra `gateway` and a `redis-server`. Linux only (it reads /proc).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from lanes_server import ASKED, HEAD, LENGTH, chat

PACE = 0.02  # seconds between deltas
STREAMS = 20  # at once
REQUESTS = 100
DELTAS = 200  # of a long answer; a short one has one
KEY = "sk-benchmark"
CONFIG = """\
model_list:
{models}
router_settings:
  redis_host: 127.0.0.1
  redis_port: {redis}
  optional_pre_call_checks: ["enforce_model_rate_limits"]
  num_retries: 2
  cooldown_time: 5
general_settings: {{master_key: {key}}}
"""
MODEL = (
    '  - {{model_name: "{name}", litellm_params: {{model: "hosted_vllm/{name}",'
    ' api_base: "http://127.0.0.1:{backend}/v1", api_key: none, rpm: {rpm},'
    " max_parallel_requests: 1000}}}}"
)
PLAIN = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION",
         "LITELLM_LOCAL_POLICY_TEMPLATES": "True", "LITELLM_TELEMETRY": "False",
         "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000"}  # fmt: skip


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A host whose answers come delta by delta."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = LENGTH.search(head)
            asked = ASKED.search(await reader.readexactly(int(length[1]) if length else 0))
            writer.write(HEAD)
            for frame in chat("text", int(asked[2]) if asked else 1):
                writer.write(b"%x\r\n%s\r\n" % (len(frame), frame))
                await writer.drain()
                await asyncio.sleep(PACE)
            writer.write(b"0\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError):  # the client left
        pass
    finally:
        writer.close()


async def host() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def ask(model: str, base: str | None, requests: int, refused: bool = False) -> None:
    """Ask that often, `STREAMS` at once."""
    from pipy_ai import acomplete

    places = asyncio.Semaphore(STREAMS)
    options: Any = {"max_retries": 0} | ({"api_base": base, "api_key": KEY} if base else {})

    async def one(number: int) -> None:
        async with places:
            answer = await acomplete(model, f"question {number}", **options)
            if not refused or answer.error is None or answer.error.kind != "rate_limit":
                answer.raise_for_error()

    await asyncio.gather(*map(one, range(requests)))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def start(running: ExitStack, command: list[str], **more: Any) -> subprocess.Popen[str]:
    """A process that ends with `running`."""
    process = subprocess.Popen(command, text=True, **more)
    running.callback(process.wait)
    running.callback(process.send_signal, signal.SIGKILL)
    return process


def wait_for(url: str) -> None:
    """Until it answers."""
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)


def main() -> None:
    """Measure and print."""
    import redis

    from pipy_ai import LiteLLMProvider, register_provider

    os.environ.update(PLAIN)
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with ExitStack() as running:
        place = Path(running.enter_context(tempfile.TemporaryDirectory()))
        backend = start(running, [sys.executable, __file__, "host"], stdout=subprocess.PIPE)
        assert backend.stdout is not None
        port, ports = int(backend.stdout.readline()), (free_port(), free_port())
        command = [shutil.which("redis-server", path=search) or "redis-server", "--port",
                   str(ports[0]), "--bind", "127.0.0.1", "--save", ""]  # fmt: skip
        store = start(running, command, stdout=subprocess.DEVNULL)
        names = ("text-1", f"text-{DELTAS}")
        rpm = {**dict.fromkeys(names, 1_000_000), "text-2": 1}
        models = "\n".join(MODEL.format(name=n, backend=port, rpm=rpm[n]) for n in rpm)
        (place / "gateway.yaml").write_text(CONFIG.format(models=models, redis=ports[0], key=KEY))
        command = [shutil.which("litellm", path=search) or "litellm", "--config",
                   str(place / "gateway.yaml"), "--host", "127.0.0.1", "--port",
                   str(ports[1])]  # fmt: skip
        proxy = start(running, command, stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL)  # fmt: skip
        wait_for(f"http://127.0.0.1:{ports[1]}/health/readiness")
        client = redis.Redis(port=ports[0])
        register_provider("litellm", LiteLLMProvider(place / "gateway.yaml"))
        at_proxy = f"http://127.0.0.1:{ports[1]}"
        ways: dict[str, tuple[str, str | None, int]] = {
            "direct": ("hosted_vllm/", f"http://127.0.0.1:{port}/v1", 0),
            "by a Router in process": ("", None, 0),
            "through the proxy": ("litellm_proxy/", at_proxy, proxy.pid),
        }
        print("| | our client, ms | proxy, ms | Redis, ms | Redis commands |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for way, (backend_name, base, pid) in ways.items():
            spent: dict[str, list[float]] = {}
            for name in names:
                asyncio.run(ask(f"{backend_name}{name}", base, STREAMS))  # connections, imports
                before = _figures(client, pid, store.pid)
                asyncio.run(ask(f"{backend_name}{name}", base, REQUESTS))
                after = _figures(client, pid, store.pid)
                spent[name] = [b - a for a, b in zip(before, after, strict=True)]
            short, long = spent.values()
            each = [value / REQUESTS * 1000 for value in short[:3]]
            print(f"| a request {way} | {' | '.join(f'{value:.2f}' for value in each)} |"
                  f" {short[3] / REQUESTS:.1f} |")  # fmt: skip
            deltas = REQUESTS * (DELTAS - 1)
            more = [(b - a) / deltas * 1000 for a, b in zip(short, long, strict=True)]
            print(f"| a delta {way} | {' | '.join(f'{value:.3f}' for value in more[:3])} |"
                  f" {more[3] / 1000:.2f} |")  # fmt: skip
        asyncio.run(ask("litellm_proxy/text-2", at_proxy, STREAMS, refused=True))
        before = _figures(client, proxy.pid, store.pid)
        asyncio.run(ask("litellm_proxy/text-2", at_proxy, REQUESTS, refused=True))
        after = _figures(client, proxy.pid, store.pid)
        each = [(b - a) / REQUESTS * 1000 for a, b in zip(before, after, strict=True)]
        print(f"| a refusal by the proxy | {' | '.join(f'{value:.2f}' for value in each[:3])} |"
              f" {each[3] / 1000:.1f} |")  # fmt: skip
        trips = []
        for _ in range(2000):
            begun = time.perf_counter()
            client.incr("benchmark")
            trips.append(time.perf_counter() - begun)
        print(f"\nA round trip to Redis on loopback: {median(trips) * 1e6:.0f} µs")
        memory = Path(f"/proc/{proxy.pid}/status").read_text().partition("VmRSS:")[2].split()[0]
        print(f"The proxy's memory: {int(memory) // 1024} MB")


def _figures(store: Any, proxy: int, redis: int) -> list[float]:
    """CPU of the client (this process), the proxy and Redis, s; commands that Redis has done."""
    commands = int(store.info("stats")["total_commands_processed"])
    return [time.process_time(), cpu(proxy) if proxy else 0.0, cpu(redis), commands]


if __name__ == "__main__":
    asyncio.run(host()) if sys.argv[1:] == ["host"] else main()
