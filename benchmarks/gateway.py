"""Measure the CPU of a request and of a delta through LiteLLM's proxy: proxy, Redis and client.

    python benchmarks/gateway.py

The results are inputs of `fleet.py`. Deltas are sent one by one, as by a model, so that each costs
a socket read at every station. Needs the extra `gateway` and a `redis-server`. Linux only: it
reads /proc.
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

from direct_server import CONTENT_LENGTH, REQUESTED_MODEL, RESPONSE_HEAD, chat

DELTA_INTERVAL_S = 0.02
CONCURRENT_STREAMS = 20
REQUESTS = 100
LONG_ANSWER_DELTAS = 200  # a short answer has one
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
LITELLM_ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION",
         "LITELLM_LOCAL_POLICY_TEMPLATES": "True", "LITELLM_TELEMETRY": "False",
         "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000"}  # fmt: skip


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve a connection, and send each response delta by delta."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = CONTENT_LENGTH.search(head)
            requested = REQUESTED_MODEL.search(
                await reader.readexactly(int(length[1]) if length else 0)
            )
            writer.write(RESPONSE_HEAD)
            for frame in chat("text", int(requested[2]) if requested else 1):
                writer.write(b"%x\r\n%s\r\n" % (len(frame), frame))
                await writer.drain()
                await asyncio.sleep(DELTA_INTERVAL_S)
            writer.write(b"0\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError):  # the client disconnected
        pass
    finally:
        writer.close()


async def run_host() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def send_requests(
    model: str, base: str | None, requests: int, allow_refusal: bool = False
) -> None:
    """Send requests, `CONCURRENT_STREAMS` at a time."""
    from pipy_ai import acomplete

    slots = asyncio.Semaphore(CONCURRENT_STREAMS)
    options: Any = {"max_retries": 0} | ({"api_base": base, "api_key": KEY} if base else {})

    async def send_one(number: int) -> None:
        async with slots:
            message = await acomplete(model, f"question {number}", **options)
            if not allow_refusal or message.error is None or message.error.kind != "rate_limit":
                message.raise_for_error()

    await asyncio.gather(*map(send_one, range(requests)))


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_process(
    stack: ExitStack, command: list[str], **popen_options: Any
) -> subprocess.Popen[str]:
    """Start a process that is killed when `stack` is closed."""
    process = subprocess.Popen(command, text=True, **popen_options)
    stack.callback(process.wait)
    stack.callback(process.send_signal, signal.SIGKILL)
    return process


def wait_until_up(url: str) -> None:
    """Wait until a URL answers."""
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

    os.environ.update(LITELLM_ENVIRONMENT)
    search_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        backend = start_process(stack, [sys.executable, __file__, "host"], stdout=subprocess.PIPE)
        assert backend.stdout is not None
        backend_port, ports = int(backend.stdout.readline()), (free_port(), free_port())
        command = [shutil.which("redis-server", path=search_path) or "redis-server", "--port",
                   str(ports[0]), "--bind", "127.0.0.1", "--save", ""]  # fmt: skip
        redis_process = start_process(stack, command, stdout=subprocess.DEVNULL)
        names = ("text-1", f"text-{LONG_ANSWER_DELTAS}")
        rpm = {**dict.fromkeys(names, 1_000_000), "text-2": 1}
        models = "\n".join(MODEL.format(name=n, backend=backend_port, rpm=rpm[n]) for n in rpm)
        (directory / "gateway.yaml").write_text(
            CONFIG.format(models=models, redis=ports[0], key=KEY)
        )
        command = [shutil.which("litellm", path=search_path) or "litellm", "--config",
                   str(directory / "gateway.yaml"), "--host", "127.0.0.1", "--port",
                   str(ports[1])]  # fmt: skip
        proxy = start_process(stack, command, stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL)  # fmt: skip
        wait_until_up(f"http://127.0.0.1:{ports[1]}/health/readiness")
        client = redis.Redis(port=ports[0])
        register_provider("litellm", LiteLLMProvider(directory / "gateway.yaml"))
        proxy_url = f"http://127.0.0.1:{ports[1]}"
        routes: dict[str, tuple[str, str | None, int]] = {
            "direct": ("hosted_vllm/", f"http://127.0.0.1:{backend_port}/v1", 0),
            "by a Router in process": ("", None, 0),
            "through the proxy": ("litellm_proxy/", proxy_url, proxy.pid),
        }
        print("| | our client, ms | proxy, ms | Redis, ms | Redis commands |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for route, (model_prefix, base, pid) in routes.items():
            figures: dict[str, list[float]] = {}
            for name in names:
                # Open the connections and import modules first.
                asyncio.run(send_requests(f"{model_prefix}{name}", base, CONCURRENT_STREAMS))
                before = _read_figures(client, pid, redis_process.pid)
                asyncio.run(send_requests(f"{model_prefix}{name}", base, REQUESTS))
                after = _read_figures(client, pid, redis_process.pid)
                figures[name] = [b - a for a, b in zip(before, after, strict=True)]
            short, long = figures.values()
            per_request = [value / REQUESTS * 1000 for value in short[:3]]
            print(f"| a request {route} | {' | '.join(f'{value:.2f}' for value in per_request)} |"
                  f" {short[3] / REQUESTS:.1f} |")  # fmt: skip
            deltas = REQUESTS * (LONG_ANSWER_DELTAS - 1)
            per_delta = [(b - a) / deltas * 1000 for a, b in zip(short, long, strict=True)]
            print(f"| a delta {route} | {' | '.join(f'{value:.3f}' for value in per_delta[:3])} |"
                  f" {per_delta[3] / 1000:.2f} |")  # fmt: skip
        asyncio.run(
            send_requests("litellm_proxy/text-2", proxy_url, CONCURRENT_STREAMS, allow_refusal=True)
        )
        before = _read_figures(client, proxy.pid, redis_process.pid)
        asyncio.run(send_requests("litellm_proxy/text-2", proxy_url, REQUESTS, allow_refusal=True))
        after = _read_figures(client, proxy.pid, redis_process.pid)
        per_request = [(b - a) / REQUESTS * 1000 for a, b in zip(before, after, strict=True)]
        figures_text = " | ".join(f"{value:.2f}" for value in per_request[:3])
        redis_commands = per_request[3] / 1000
        print(f"| a refusal by the proxy | {figures_text} | {redis_commands:.1f} |")
        round_trips = []
        for _ in range(2000):
            started = time.perf_counter()
            client.incr("benchmark")
            round_trips.append(time.perf_counter() - started)
        print(f"\nA round trip to Redis on loopback: {median(round_trips) * 1e6:.0f} µs")
        memory_kb = Path(f"/proc/{proxy.pid}/status").read_text().partition("VmRSS:")[2].split()[0]
        print(f"The proxy's memory: {int(memory_kb) // 1024} MB")


def _read_figures(redis_client: Any, proxy_pid: int, redis_pid: int) -> list[float]:
    """Return the CPU seconds of this process, the proxy and Redis, and Redis's command count."""
    commands = int(redis_client.info("stats")["total_commands_processed"])
    return [
        time.process_time(),
        cpu_seconds(proxy_pid) if proxy_pid else 0.0,
        cpu_seconds(redis_pid),
        commands,
    ]


if __name__ == "__main__":
    asyncio.run(run_host()) if sys.argv[1:] == ["host"] else main()
