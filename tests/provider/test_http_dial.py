"""Test host lookups and hosts with several addresses."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pipy_ai import acomplete
from pipy_ai.provider.http.dial import open_socket

from ..support.scripted_server import Lab
from ..support.wire_formats import CHAT, say


def infos(*ports: int) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def test_next_address_is_tried_if_one_refuses(
    listener: socket.socket, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos(closed_port, port))
    with await open_socket("two.example", 1) as connected:
        assert connected.getpeername()[1] == port


async def test_first_error_if_all_addresses_refuse(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos(closed_port, closed_port))
    with pytest.raises(ConnectionRefusedError):
        await open_socket("two.example", 1)


async def test_next_address_is_tried_while_one_does_not_answer(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]
    real_connect = asyncio.get_running_loop().sock_connect
    silent: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(sock: socket.socket, address: Any) -> None:
        await (silent if address[1] == 1 else real_connect(sock, address))

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos(1, port))
    with await open_socket("two.example", 1) as connected:
        assert connected.getpeername()[1] == port
    assert silent.cancelled()  # the attempt that lost is over


async def test_families_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []

    async def connect(sock: socket.socket, address: Any) -> None:
        tried.append(address[0])
        raise OSError("refused")

    six, four = (socket.AF_INET6, 1, 6, ""), (socket.AF_INET, 1, 6, "")
    found = [(*six, ("a", 1)), (*six, ("b", 1)), (*six, ("c", 1)), (*four, ("d", 1))]
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(OSError, match="refused"):
        await open_socket("many.example", 1)
    assert tried == ["a", "d", "b", "c"]


async def test_requests_to_one_host_share_a_lookup(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.play(*[CHAT.scene(say("hi"))] * 20)
    port = int(lab.url.rpartition(":")[2].removesuffix("/v1"))
    lookups: list[str] = []
    proceed = threading.Event()

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        lookups.append(host)
        assert proceed.wait(30)
        return infos(port)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    base = f"http://shared.example:{port}/v1"
    requests = [
        asyncio.ensure_future(acomplete("hosted_vllm/m", "q", api_base=base, max_retries=0))
        for _ in range(20)
    ]
    while not lookups:
        await asyncio.sleep(0)
    proceed.set()
    assert {message.text for message in await asyncio.gather(*requests)} == {"hi"}
    assert lookups == ["shared.example"]


SLOW_LOOKUPS = """
import socket, sys, threading
from pipy_ai import complete, stream

real = socket.getaddrinfo
NUMBERS = ("1.2.3.4.5", "999.1.1.1")  # no addresses

def look_up(host, port, *rest, **options):
    is_name = not options.get("flags", 0) & socket.AI_NUMERICHOST
    if host.endswith(".slow.example") or (host in NUMBERS and is_name):
        threading.Event().wait()  # for ever
    return real("127.0.0.1" if host == "fast.example" else host, port, *rest, **options)

socket.getaddrinfo = look_up
slow = [
    stream("hosted_vllm/m", "q", api_base=f"http://{i}.slow.example/v1", max_retries=0)
    for i in range(50)
]
port = sys.argv[1]
print(complete("hosted_vllm/m", "q", api_base=f"http://fast.example:{port}/v1").text)
for host in ("x.slow.example", *NUMBERS):
    base = f"http://{host}/v1"
    print(complete("hosted_vllm/m", "q", api_base=base, timeout=0.2, max_retries=0).error.kind)
"""


def test_slow_lookups_delay_neither_other_hosts_nor_the_exit(lab: Lab) -> None:
    lab.play(CHAT.scene(say("hi")))
    port = lab.url.rpartition(":")[2].removesuffix("/v1")
    done = subprocess.run(
        [sys.executable, "-c", SLOW_LOOKUPS, port],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ,
    )
    assert (done.stdout, done.stderr) == ("hi\n" + "timeout\n" * 3, "")
