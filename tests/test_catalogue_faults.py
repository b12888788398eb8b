"""What a review of the catalogue found, held fast: damaged files, odd records, keys that stay home.

Real files, real sockets; one behaviour a test, in the order in which the review listed them.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
import json
import os
import pwd
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    ImageContent,
    Model,
    ModelCost,
    Usage,
    calculate_cost,
    complete,
    estimate_cost,
    get_model,
    get_models,
    get_registry,
    preview,
    sync_models,
    user,
)
from pipy_ai._requests import build_request
from pipy_ai.cli.display.catalogue import format_rate
from pipy_ai.cli.main import main
from pipy_ai.provider.prepare import prepare_request
from pipy_ai.provider.request import Request
from pipy_ai.registry import CostTier, generate_router_config, reload_registry
from pipy_ai.registry import auto_sync as auto
from pipy_ai.registry.auto_sync import sync_if_stale
from pipy_ai.registry.index import (
    INDEX_FILE,
    MODELS_FILE,
    encode_catalogue,
    models_in_feed,
    providers_in_feed,
    write_catalogue,
)
from pipy_ai.registry.sync import SyncError
from pipy_ai.registry.sync_state import read_sync_state
from pipy_ai.utils.paths import data_path

from .feeds import JULY, feed
from .test_sync import Mirror
from .wire.lab import Lab, Status
from .wire.wires import ANTHROPIC, CHAT, GEMINI, RESPONSES, Counts, Wire, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # damage may be told
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # LiteLLM's own clients
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OPENAIS = "sk-openai-secret-0123456789"
PNG = ImageContent(data="iVBORw0KGgo=", mime_type="image/png")
TRANSPORTS = ["direct", "litellm"]
SMALL = {name: host for name, host in feed().items() if name in ("anthropic", "google", "openai")}
M = 1_000_000


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A small models.dev on loopback."""
    server = Mirror()
    server.body = json.dumps(SMALL).encode()
    monkeypatch.setenv("PIPY_MODELS_URL", server.url)
    yield server
    server.close()


@pytest.fixture
def data() -> Path:
    return Path(os.environ["PIPY_DATA_DIR"])


@pytest.fixture
def openai_key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAIS)
    return OPENAIS


def request_of(model: Any, prompt: Any = "hi", **options: Any) -> Request:
    return build_request(model, prompt, None, options)  # type: ignore[arg-type]


def settle(directory: Path, records: Any, about: dict[str, Any] | None = None) -> None:
    """Make a feed the catalogue of a data directory."""
    said = {"date": JULY, "source": "test", **(about or {})}
    write_catalogue(
        str(directory),
        *encode_catalogue(models_in_feed(records)[0], providers_in_feed(records), said),
    )


def override(directory: Path, changes: Any) -> None:
    (directory / "overrides.json").write_text(json.dumps(changes))


def sent(lab: Lab) -> str:
    """All that reached the server."""
    return repr([(seen.path, seen.headers, seen.body) for seen in lab.seen])


def wait_for_sync() -> None:
    for thread in threading.enumerate():
        if thread.name in ("pipy-ai-sync", "pipy-ai-fetch"):
            thread.join(20)
            assert not thread.is_alive()


# --- 1: the background sync imports nothing from where one stands ---------------------------


def test_the_background_sync_imports_nothing_from_the_current_directory(
    mirror: Mirror, data: Path, tmp_path: Path
) -> None:
    here, marker = tmp_path / "here", tmp_path / "marker"
    here.mkdir()
    for name in ("filelock", "httpx", "json", "pipy_ai"):
        (here / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\nraise SystemExit\n")
    environment = {name: value for name, value in os.environ.items() if name != "PIPY_OFFLINE"}
    command = [sys.executable, "-P", "-m", "pipy_ai", "info", "gpt-5"]
    done = subprocess.run(
        command, cwd=here, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 60
    while not (data / INDEX_FILE).exists() and not marker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not marker.exists()
    assert len(mirror.seen) == 1


# --- 2: a preview sends nothing -------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_preview_of_an_address_with_a_query_sends_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    if transport == "litellm":
        monkeypatch.setenv("PIPY_TRANSPORT", "litellm")
    base = f"{lab.url}?tenant=1"
    shown = preview("hosted_vllm/m", "hi", api_base=base, api_key="key-0123456789")
    assert lab.seen == []
    assert "key-0123456789" not in repr(shown)
    message = complete("hosted_vllm/m", "hi", api_base=base)
    if transport == "direct":
        assert shown.url == f"{lab.url}/chat/completions?tenant=1"
        assert message.text == "ok"
    else:  # LiteLLM makes no address of it
        assert message.error is not None
        assert message.error.kind == "bad_request"
    lab.seen.clear()
    message = complete("hosted_vllm/m", "hi", api_base=lab.url)
    assert message.error is None, message.error
    assert (message.api, message.text) == ("openai-completions", "ok")
    assert len(lab.seen) == 1


# --- 3: a key goes to its own provider only -------------------------------------------------


@pytest.mark.parametrize(
    "model", ["aiohttp_openai/foo", "custom_openai/foo", "lambda_ai/foo", "openai/foo"]
)
def test_openais_key_goes_to_no_other_host(lab: Lab, openai_key: str, model: str) -> None:
    complete(model, "hi", api_base=lab.url, max_retries=0)
    assert lab.seen
    assert openai_key not in sent(lab)


@pytest.mark.parametrize(
    "parameters",
    [
        {"model": "openai/foo"},
        {"model": "aiohttp_openai/foo"},
        {"model": "groq/foo"},
        pytest.param(
            {"model": "foo", "custom_llm_provider": "openai"},
            id="custom_llm_provider",
        ),
        pytest.param({"model": "lambda_ai/foo"}, id="lambda_ai"),
        pytest.param({"model": "zai/foo"}, id="zai"),
    ],
)
def test_a_router_entry_without_a_key_gets_none(
    lab: Lab, july: Path, openai_key: str, parameters: dict[str, str]
) -> None:
    entry = {"model_name": "fast", "litellm_params": {**parameters, "api_base": lab.url}}
    (july / "router.yaml").write_text(json.dumps({"model_list": [entry]}))
    complete("fast", "hi", max_retries=0)
    assert lab.seen
    assert openai_key not in sent(lab)


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("meta_llama/foo", "LLAMA_API_KEY"),
        ("lambda_ai/foo", "LAMBDA_API_KEY"),
        ("huggingface/foo", "HF_TOKEN"),
        pytest.param("snowflake/foo", "SNOWFLAKE_JWT"),
        ("friendliai/foo", "FRIENDLI_TOKEN"),
    ],
)
def test_a_key_that_only_litellm_knows_is_not_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, model: str, variable: str
) -> None:
    key = "only-litellm-knows-0123456789"
    monkeypatch.setenv(variable, key)
    lab.play(Status(401, {"error": {"message": f"bad key {key}"}}))
    message = complete(model, "hi", api_base=lab.url, max_retries=0)
    assert key in sent(lab)
    assert message.error is not None
    assert message.error.kind == "auth"
    assert key not in message.model_dump_json()


def test_a_key_that_the_router_finds_by_itself_is_not_told(
    lab: Lab, july: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "gsk-0123456789abcdef"
    monkeypatch.setenv("GROQ_API_KEY", key)
    entry = {"model_name": "fast", "litellm_params": {"model": "groq/foo", "api_base": lab.url}}
    (july / "router.yaml").write_text(json.dumps({"model_list": [entry]}))
    lab.play(Status(401, {"error": {"message": f"bad key {key}"}}))
    message = complete("fast", "hi", max_retries=0)
    assert message.error is not None
    assert key not in message.model_dump_json()


# --- 4: damaged files -----------------------------------------------------------------------


def zero(path: Path, after: bytes, count: int = 20, skip: int = 4) -> None:
    """A hole, as a crash of the machine leaves it."""
    content = bytearray(path.read_bytes())
    at = content.index(after) + len(after) + skip
    content[at : at + count] = bytes(count)
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a record": lambda d: zero(d / MODELS_FILE, b'"openai/gpt-5":'),
    "another record": lambda d: zero(d / MODELS_FILE, b'"groq/groq/compound":'),
    "half of the records": lambda d: (d / MODELS_FILE).write_bytes(
        (d / MODELS_FILE).read_bytes()[:999_999]
    ),
    "a row": lambda d: zero(d / INDEX_FILE, b'"openai/gpt-5":', 3),
    "another row": lambda d: zero(d / INDEX_FILE, b'"groq/groq/compound":', 3),
    "a provider": lambda d: zero(d / INDEX_FILE, b'"openai":'),
    "another provider": lambda d: zero(d / INDEX_FILE, b'"groq":'),
    "a name in the index": lambda d: zero(d / INDEX_FILE, b'"openai/gpt-', 3, 0),
    "the head": lambda d: zero(d / INDEX_FILE, b'"format":', 8, 0),
    "the date": lambda d: zero(d / INDEX_FILE, b'"date":', 3, 0),
    "the end": lambda d: zero(d / INDEX_FILE, b"}}", 1, 0),
    "an odd date": lambda d: (d / INDEX_FILE).write_bytes(
        (d / INDEX_FILE).read_bytes().replace(b'"date":"2026-07-01"', b'"date":20260701,"d":"-"', 1)
    ),
    "an odd row": lambda d: (d / INDEX_FILE).write_bytes(
        (d / INDEX_FILE).read_bytes().replace(b'"openai/gpt-5":[', b'"openai/gpt-5":["x",', 1)
    ),
    "a short row": lambda d: (d / INDEX_FILE).write_bytes(
        (d / INDEX_FILE).read_bytes().replace(b'"openai/gpt-5":[', b'"openai/gpt-5":[1],"x/y":[', 1)
    ),
}


def look_at(capsys: pytest.CaptureFixture[str], name: str = "openai/gpt-5") -> None:
    """Ask for a model in each way, each time as a new process would."""
    reload_registry()
    assert get_model(name) is not None
    reload_registry()
    assert len(get_models()) > 1000
    reload_registry()
    assert preview(name, "hi").url
    reload_registry()
    assert main(["info", name]) == 0
    reload_registry()
    assert main(["models", "--limit", "3"]) == 0
    shown = capsys.readouterr()
    assert "Cost: $1.25/1M input" in shown.out
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    "damage",
    list(DAMAGES),
)
def test_damaged_files_stop_nobody(
    july: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES[damage](july)
    look_at(capsys)


DEEP = '{"x":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        '{"attempted": "yesterday", "checked": [1]}', '{"attempted": true, "checked": null}',
        '{"attempted": 1e400, "checked": 1e400}', '{"attempted": NaN, "checked": NaN}',
        '{"attempted": -1e400, "checked": -5}', f'{{"checked": 1{"0" * 400}}}',
        f'{{"checked": 1{"0" * 5000}}}', '{"checked": 1e300, "error": {}}', "[]", "7", "null", "",
        "\x00" * 99, DEEP,
    ],
    ids=range(14),
)  # fmt: skip
def test_an_odd_state_file_stops_nobody(
    july: Path, mirror: Mirror, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (july / "sync.json").write_text(text)
    assert get_model("openai/gpt-5") is not None
    assert get_registry().date == JULY
    assert main(["info", "openai/gpt-5"]) == 0
    monkeypatch.delenv("PIPY_OFFLINE")
    monkeypatch.setattr(auto, "_next_check_at", 0.0)
    sync_if_stale(str(july))
    wait_for_sync()
    assert len(mirror.seen) == 1
    sync_models(force=True)
    assert time.time() - read_sync_state(str(july))["checked"] < 60


@pytest.mark.parametrize("depth", [100_000, 900, 400, 150])
def test_deep_overrides_stop_nobody(
    july: Path, depth: int, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = '{"x":' * depth + "1" + "}" * depth
    (july / "overrides.json").write_text(f'{{"openai/gpt-5": {{"x": {deep}}}}}')
    look_at(capsys)
    assert main(["info", "openai/gpt-5", "--json"]) == 0


# --- 5: models made by hand -----------------------------------------------------------------


def by_hand(lab: Lab, kind: str) -> Model:
    if kind == "new":
        return Model(id="my", provider="openai", api=lab.url)
    known = get_model("openai/gpt-5")
    assert known is not None
    return dataclasses.replace(known, api=lab.url)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", ["new", "replaced"])
def test_a_models_own_address_is_asked(
    lab: Lab, july: Path, openai_key: str, kind: str, transport: Any
) -> None:
    model = by_hand(lab, kind)
    message = complete(model, "hi", transport=transport)
    assert message.error is None, message.error
    assert lab.seen[0].path == "/v1/chat/completions"
    assert lab.seen[0].json["model"] == model.id
    assert openai_key not in sent(lab)
    complete(model, "hi", transport=transport, api_key="own-0123456789")
    assert lab.seen[1].headers["authorization"] == "Bearer own-0123456789"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "provider",
    [
        "acme",
        pytest.param("openai"),
        pytest.param("groq"),
    ],
)
def test_a_models_own_shape_is_spoken(lab: Lab, july: Path, provider: str, transport: Any) -> None:
    model = Model(id="my", provider=provider, api=lab.url, shape="responses")
    lab.play(RESPONSES.scene(say("ok")))
    message = complete(model, "hi", api_key="k", transport=transport, max_retries=0)
    assert lab.seen[0].path == "/v1/responses"
    assert message.error is None, message.error
    assert message.text == "ok"


def test_prices_of_modes_survive_writing_down() -> None:
    modes = {"fast": ModelCost(input=5, output=9)}
    model = Model(id="m", provider="acme", cost=ModelCost(input=1, output=2, modes=modes))
    said = json.loads(json.dumps(model.to_dict()))
    assert Model.from_dict(said, "acme").cost == model.cost
    known = get_model("openai/gpt-5.4")
    assert known is not None
    assert known.cost.modes
    assert Model.from_dict(known.to_dict(), "openai").cost == known.cost


# --- 6: overrides ---------------------------------------------------------------------------


def test_a_price_leaves_the_way_as_it_is(july: Path) -> None:
    names = ["ollama/llama3", "hosted_vllm/my", "gemini/gemini-2.5-flash"]
    before = [request_of(name).route for name in names]
    override(july, {name: {"cost": {"input": 7, "output": 8}} for name in names})
    requests = [request_of(name) for name in names]
    assert [request.route for request in requests] == before
    for request in requests:
        assert request.record is not None
        assert request.record["cost"]["input"] == 7
    flash = get_model("google/gemini-2.5-flash")
    assert flash is not None
    assert (flash.cost.input, flash.cost.output) == (7, 8)
    assert flash.limits.context > 1000  # the rest is as it was
    assert "gemini/gemini-2.5-flash" not in get_registry().rows()


@pytest.mark.parametrize("wire", [CHAT, GEMINI], ids=str)
def test_a_price_of_ones_own_is_billed(lab: Lab, july: Path, wire: Wire) -> None:
    name = "hosted_vllm/my" if wire is CHAT else "gemini/gemini-2.5-flash"
    override(july, {name: {"cost": {"input": 7, "output": 8}}})
    lab.play(wire.scene(say("ok"), counts=Counts(M, M)))
    message = complete(name, "hi", api_base=wire.base(lab), api_key="k")
    assert message.error is None, message.error
    assert (message.text, message.usage.cost.total) == ("ok", 15)


def test_an_override_may_say_where_and_with_which_key(
    lab: Lab, july: Path, openai_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_KEY", "acme-0123456789")
    where = {"api": lab.url, "env": ["ACME_KEY"]}
    override(
        july, {"acme/large": {"provider": where}, "openai/gpt-5": {"provider": {"api": lab.url}}}
    )
    message = complete("acme/large", "hi")
    assert message.error is None, message.error
    assert lab.seen[0].headers["authorization"] == "Bearer acme-0123456789"
    assert lab.seen[0].json["model"] == "large"
    message = complete("openai/gpt-5", "hi")
    assert message.error is None, message.error
    assert lab.seen[1].json["model"] == "gpt-5"
    assert openai_key not in sent(lab)
    assert main(["info", "acme/large"]) == 0


# --- 7: unknown is not "cannot" -------------------------------------------------------------


def test_a_price_says_nothing_of_images_and_thinking(july: Path) -> None:
    override(july, {"azure/my-dep": {"cost": {"input": 1, "output": 2}}})
    asked = [user("what is it?", PNG)]
    request = request_of("azure/my-dep", asked, reasoning="high", api_base="https://x.example")
    prepared = prepare_request(request)
    assert prepared.reasoning_fields == {"reasoning_effort": "high"}
    assert PNG in prepared.messages[0].content
    assert request.warnings == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_model_made_by_hand_may_think_and_see(lab: Lab, july: Path, transport: Any) -> None:
    model = Model(id="my", provider="acme", api=lab.url)
    asked = [user("what is it?", PNG)]
    message = complete(model, asked, reasoning="high", transport=transport)
    assert message.error is None, message.error
    assert message.warnings == []
    assert lab.seen[0].json["reasoning_effort"] == "high"
    assert "iVBORw0KGgo=" in sent(lab)


# --- 8: wrong types -------------------------------------------------------------------------

ODD: list[dict[str, Any]] = [
    {"modalities": ["text"]}, {"modalities": {"input": "text", "output": 3}},
    {"modalities": {"input": [1, {}], "output": [None]}},
    {"reasoning_options": 7}, {"reasoning_options": [7, None, "x"]},
    {"reasoning_options": [{"type": "effort", "values": 7}]},
    {"reasoning_options": [{"type": "effort", "values": [7, {}, None]}]},
    {"reasoning_options": [{"type": "effort", "values": "high"}]},
    {"reasoning_options": [{"type": "budget_tokens", "min": "lots", "max": []}]},
    {"reasoning_options": [{"type": "budget_tokens", "min": 1e400}]},
    {"reasoning_options": [{"type": ["toggle"]}]},
    {"provider": {"env": 5}}, {"provider": {"env": "ACME_KEY"}}, {"provider": "acme"},
    {"provider": {"npm": 5, "shape": []}}, {"provider": {"api": 7}}, {"provider": {"api": ["x"]}},
    {"id": None}, {"id": "other"}, {"id": 3}, {"name": 5, "family": [], "status": {}},
    {"limit": {"context": "big", "output": []}}, {"limit": 9}, {"limit": {"output": 1e400}},
    {"cost": {"input": "x", "output": True, "tiers": [7, {"tier": {"size": "x"}}]}},
    {"cost": {"tiers": {"a": 1}, "context_over_200k": 4}}, {"cost": "cheap"},
    {"experimental": {"modes": 5}}, {"experimental": {"modes": {"fast": {"provider": 5}}}},
    {"experimental": {"modes": {"fast": {"cost": 5, "provider": {"body": 7}}}}},
    {"release_date": 5, "last_updated": [], "knowledge": {}}, {"interleaved": {"field": 3}},
    {"temperature": "no", "reasoning": "much", "tool_call": 1, "open_weights": "x"},
]  # fmt: skip
ODD_HOSTS: list[dict[str, Any]] = [
    {"env": 5}, {"env": "ANTHROPIC_API_KEY"}, {"env": [5, None]}, {"env": {"a": 1}}, {"id": None},
    {"id": "other"}, {"npm": 5}, {"api": 5}, {"name": 5, "doc": []},
]  # fmt: skip
CLAUDE = "anthropic/claude-sonnet-4-5"


def use(lab: Lab, capsys: pytest.CaptureFixture[str], key_set: bool = True) -> None:
    """Everything that reads a record."""
    model = get_model(CLAUDE)
    assert model is not None
    assert model.qualified_name == CLAUDE
    assert bool(get_models(available=True)) == key_set
    assert len(get_models()) > 90
    for level in ("high", "off"):
        preview(CLAUDE, "hi", reasoning=level, api_base="http://127.0.0.1:9")
    preview(CLAUDE, "hi")
    complete(CLAUDE, "hi", api_base=ANTHROPIC.base(lab), reasoning="high")
    assert lab.seen[-1].json["model"] == "claude-sonnet-4-5"
    calculate_cost(CLAUDE, Usage(input=300_000, output=10))
    estimate_cost(CLAUDE, 10, 10)
    for line in (
        f"info {CLAUDE}", f"info {CLAUDE} --json", "providers", "providers --json --all",
        "compare --input 10 --free", "models --all --json", "models --sort released",
        "models --search x --columns name,family,reads,released,status,in",
    ):  # fmt: skip
        assert main(line.split()) == 0, line
    assert main(f"compare --input 10 {CLAUDE} openai/gpt-5".split()) == 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [pytest.param(c, id=json.dumps(c)) for c in ODD],
)
@pytest.mark.parametrize("where", ["record", "override"])
def test_wrong_types_in_a_record_stop_nobody(
    lab: Lab, data: Path, where: str, change: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    lab.always = ANTHROPIC.scene(say("ok"))
    damaged = copy.deepcopy(SMALL)
    if where == "record":
        damaged["anthropic"]["models"]["claude-sonnet-4-5"] |= copy.deepcopy(change)
    settle(data, damaged)
    if where == "override":
        override(data, {CLAUDE: change})
    use(lab, capsys)


@pytest.mark.parametrize("change", ODD_HOSTS, ids=json.dumps)
def test_wrong_types_in_a_provider_stop_nobody(
    lab: Lab, data: Path, change: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    lab.always = ANTHROPIC.scene(say("ok"))
    damaged = copy.deepcopy(SMALL)
    damaged["anthropic"] |= change
    settle(data, damaged)
    use(lab, capsys, "env" not in change or change["env"] == "ANTHROPIC_API_KEY")


def test_a_key_in_a_plain_string_is_one_variable(lab: Lab, july: Path) -> None:
    override(july, {"acme/large": {"provider": {"api": lab.url, "env": "ACME_KEY"}}})
    assert request_of("acme/large").route.key_env == ("ACME_KEY",)


# --- 9, 10: names ---------------------------------------------------------------------------


def test_capitals_of_a_provider_are_forgiven(july: Path) -> None:
    model = get_model("OpenAI/gpt-4o")
    assert model is not None
    assert model.qualified_name == "openai/gpt-4o"
    request = request_of("OpenAI/gpt-4o")
    assert (request.model, request.warnings) == ("openai/gpt-4o", [])
    assert request.route.model == "openai/gpt-4o"


def test_litellms_name_of_a_host_is_that_host(july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    name = "meta_llama/Llama-3.3-70B-Instruct"
    model = get_model(name)
    assert model is None or model.provider == "llama"
    request = request_of(name)
    assert request.provider == "llama"
    assert "openrouter" not in request.route.model


def test_another_host_than_the_name_says_is_told(
    july: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    request = request_of("meta-llama/llama-3.3-70b-instruct")
    assert request.model == "openrouter/meta-llama/llama-3.3-70b-instruct"
    [warning] = request.warnings
    assert warning.code == "model_guessed"
    assert "openrouter/meta-llama/llama-3.3-70b-instruct" in warning.message


@pytest.mark.parametrize(
    "name",
    [
        "models/gemini-2.5-flash",
        "providers/x",
        "models",
        "providers",
        "models/",
        "/x",
        "",
        "hash/x",
    ],
)
def test_words_of_the_files_are_no_names(
    july: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert get_model(name) is None
        reload_registry()
    assert main(["info", name]) == 1
    assert main(["cost", name, "--input", "1"]) == 1
    assert get_registry().provider_record(name.partition("/")[0]) is None
    if name.strip("/").count("/"):
        assert preview(name, "hi").body  # left to LiteLLM
    assert "Traceback" not in capsys.readouterr().err


# --- 11: behind the Router ------------------------------------------------------------------


def test_a_fallback_costs_what_it_costs(lab: Lab, july: Path) -> None:
    dead = "http://127.0.0.1:9/v1"
    entries = [
        ("first", "openai/gpt-5", dead), ("second", "anthropic/claude-sonnet-4-5",
                                          ANTHROPIC.base(lab)),
    ]  # fmt: skip
    config = {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": m, "api_base": b, "api_key": "k"}}
            for name, m, b in entries
        ],
        "router_settings": {"fallbacks": [{"first": ["second"]}]},
    }
    (july / "router.yaml").write_text(json.dumps(config))
    lab.play(ANTHROPIC.scene(say("saved"), counts=Counts(M, M)))
    message = complete("first", "hi", max_retries=0)
    assert message.error is None, message.error
    assert message.text == "saved"
    cost = message.usage.cost
    assert (cost.source, cost.total) in [("unknown", None), ("catalog", 18.0)]  # never GPT-5's
    lab.play(ANTHROPIC.scene(say("ok"), counts=Counts(M, M)))
    cost = complete("second", "hi", max_retries=0).usage.cost
    assert (cost.source, cost.total) in [("unknown", None), ("catalog", 18.0)]


# --- 12-17: fetching ------------------------------------------------------------------------


def test_another_mirror_with_one_model_is_refused(
    mirror: Mirror, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_models()
    before = (data / INDEX_FILE).read_bytes()
    other = Mirror()
    try:
        other.body = json.dumps({"acme": {"id": "acme", "models": {"m": {"id": "m"}}}}).encode()
        monkeypatch.setenv("PIPY_MODELS_URL", other.url)
        with pytest.raises(SyncError, match="--force"):
            sync_models()
        assert (data / INDEX_FILE).read_bytes() == before
        assert get_model("openai/gpt-5") is not None
        assert sync_models(force=True).models == 1
    finally:
        other.close()


@pytest.mark.parametrize(
    ("state", "tried"),
    [
        ({"attempted": -300}, False),
        ({"attempted": -700}, True),
        ({"attempted": -700, "checked": -90_000}, True),
        ({"attempted": -700, "error": "503"}, False),
        ({"attempted": -90_000, "error": "503"}, True),
        ({"attempted": -700, "checked": -700}, False),
        ({"attempted": 90_000}, True),
        ({"attempted": 90_000, "checked": 90_000}, True),
        ({"attempted": 90_000, "error": "503"}, True),
    ],
    ids=json.dumps,
)
def test_when_an_attempt_is_due(
    mirror: Mirror, data: Path, state: dict[str, Any], tried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was killed is repeated soon, one that failed a day later; the future is nonsense."""
    data.mkdir(exist_ok=True)
    now = time.time()
    said = {key: now + v if isinstance(v, int) else v for key, v in state.items()}
    (data / "sync.json").write_text(json.dumps(said))
    monkeypatch.delenv("PIPY_OFFLINE")
    monkeypatch.setattr(auto, "_next_check_at", 0.0)
    sync_if_stale(str(data))
    wait_for_sync()
    assert len(mirror.seen) == tried


@pytest.mark.parametrize("place", ["data", "a/b/c", "./a", "{}/x/y/z"])
def test_a_data_directory_is_made_for_the_first_sync(
    mirror: Mirror, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPY_DATA_DIR", place.format(tmp_path / "deep"))
    monkeypatch.delenv("PIPY_OFFLINE")
    monkeypatch.setattr(auto, "_next_check_at", 0.0)
    get_registry()
    wait_for_sync()
    assert len(mirror.seen) == 1
    assert (tmp_path / place.format(tmp_path / "deep") / INDEX_FILE).exists()
    assert get_registry().metadata["source"] == mirror.url


def test_a_user_without_a_home_litters_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: int) -> Any:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("PIPY_DATA_DIR")
    monkeypatch.delenv("HOME", raising=False)
    assert os.path.isabs(data_path())
    assert get_model("openai/gpt-5") is not None
    monkeypatch.setenv("PIPY_DATA_DIR", "~no-such-user/x")
    assert os.path.isabs(data_path())
    assert not list(tmp_path.glob("~*"))


class Drip:
    """A server that sends its headers a byte at a time, for ever."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(20)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/api.json"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._server.accept()
            with client:
                client.sendall(b"HTTP/1.1 200 OK\r\nx-long: ")
                while not self._over.wait(0.05):
                    client.sendall(b"a")

    def close(self) -> None:
        self._over.set()
        self._thread.join(20)
        self._server.close()


def test_a_dripping_server_is_left_in_time(data: Path) -> None:
    server = Drip()
    try:
        began = time.monotonic()
        with pytest.raises(SyncError, match="too long"):
            sync_models(url=server.url, timeout=1)
        assert time.monotonic() - began < 5
    finally:
        server.close()
    wait_for_sync()
    assert not (data / INDEX_FILE).exists()
    assert "too long" in read_sync_state(str(data))["error"]


def test_an_etag_of_odd_characters_is_not_sent_back(mirror: Mirror) -> None:
    mirror.headers["etag"] = '"jülï"'
    assert sync_models().updated
    assert sync_models().models > 0
    assert "if-none-match" not in mirror.seen[1]


def test_an_odd_etag_in_the_files_stops_no_sync(mirror: Mirror, data: Path) -> None:
    settle(data, SMALL, {"source": mirror.url, "etag": '"jülï"'})
    assert sync_models().models > 0


FAULTS: dict[str, Callable[[Mirror], object]] = {
    "none": lambda mirror: None,
    "503": lambda mirror: setattr(mirror, "status", 503),
    "html": lambda mirror: mirror.headers.update({"content-type": "text/html"}),
    "no json": lambda mirror: setattr(mirror, "body", b"?"),
    "empty": lambda mirror: setattr(mirror, "body", b"{}"),
    "cut": lambda mirror: setattr(mirror, "cut", 5),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_password_in_the_address_is_told_to_nobody(
    mirror: Mirror, data: Path, fault: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    url = mirror.url.replace("http://", "http://anna:geheim@")
    monkeypatch.setenv("PIPY_MODELS_URL", url)
    FAULTS[fault](mirror)
    said = ""
    try:
        sync_models()
    except SyncError as error:
        said = f"{error} {error!r}"
    assert bool(said) == (fault != "none")
    assert mirror.seen[0]["authorization"].startswith("Basic ")
    main(["sync"])
    shown = capsys.readouterr()
    files = "".join(p.read_text() for p in data.iterdir() if p.is_file() and p.suffix != ".lock")
    everything = f"{said}{shown}{files}{get_registry().metadata}{read_sync_state(str(data))}"
    assert "geheim" not in everything
    assert "anna" not in everything


@pytest.mark.parametrize(
    "url",
    [
        "http://anna:geheim@127.0.0.1:1/api.json",
        "http://anna:ge@heim@127.0.0.1:1/",
        "http://anna:geheim@[",
        "http://anna:geheim@127.0.0.1:x/",
        pytest.param("anna:geheim@127.0.0.1:1/x"),
        pytest.param("//anna:geheim@127.0.0.1:1/x"),
        pytest.param("http://anna:geheim/@127.0.0.1:1/x"),
        pytest.param("http://anna:geheim?@127.0.0.1:1/x"),
        pytest.param("http://anna:geheim#@127.0.0.1:1/x"),
    ],
)
def test_a_password_in_a_bad_address_is_told_to_nobody(data: Path, url: str) -> None:
    with pytest.raises(SyncError) as caught:
        sync_models(url=url)
    assert "heim" not in f"{caught.value}{(data / 'sync.json').read_text()}"


# --- 18, 19: the Router's file --------------------------------------------------------------


def test_the_old_router_file_is_kept(july: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text("mine")
    link.symlink_to(real)
    assert generate_router_config(link, ["groq"]) == link
    assert link.is_symlink()
    assert "groq/" in real.read_text()
    assert (tmp_path / "real.yaml.bak").read_text() == "mine"
    written = real.read_text()
    generate_router_config(real, ["groq"])  # the same once more: what was mine is still there
    generate_router_config(real, ["groq"])
    assert real.read_text().splitlines()[8:] == written.splitlines()[8:]
    assert not list(tmp_path.glob("*.tmp"))


def test_a_pipe_is_written_to(july: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    try:
        generate_router_config(pipe, ["groq"])
        assert stat.S_ISFIFO(pipe.stat().st_mode)
        reader.join(20)
        assert "groq/" in read[0]
    finally:
        if reader.is_alive():  # nobody wrote: let it go
            os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
    assert not list(tmp_path.glob("*.bak"))


def test_the_router_file_goes_to_stdout(july: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pipy_ai",
        "config",
        "--providers",
        "groq",
        "-o",
        "/dev/stdout",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "groq/" in done.stdout


@pytest.mark.parametrize("name", ["groq/foo", "groq/a/b", "quick", "hidden"])
def test_wildcards_and_aliases_go_through_the_router(lab: Lab, july: Path, name: str) -> None:
    where = {"api_base": lab.url, "api_key": "lab-key-0123456789"}
    config = {
        "model_list": [
            {"model_name": "groq/*", "litellm_params": {"model": "hosted_vllm/*", **where}},
            {"model_name": "fast", "litellm_params": {"model": "hosted_vllm/m", **where}},
        ],
        "router_settings": {
            "model_group_alias": {"quick": "fast", "hidden": {"model": "fast", "hidden": True}}
        },
    }
    (july / "router.yaml").write_text(json.dumps(config))
    lab.play(CHAT.scene(say("ok")))
    message = complete(name, "hi", max_retries=0)
    assert message.error is None, message.error
    assert (message.text, message.api) == ("ok", "litellm")
    assert lab.seen[0].json["model"] == {"groq/foo": "foo", "groq/a/b": "a/b"}.get(name, "m")
    with pytest.raises(ValueError, match="no model"):
        complete("slow", "hi")


# --- 21, 22: the command line ---------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
@pytest.mark.parametrize("line", ["info gpt-5", "models --columns name --provider google"])
def test_a_narrow_encoding_is_no_trouble(july: Path, encoding: str, line: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "pipy_ai", *line.split()]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"GPT-5" in done.stdout or b"Gemini" in done.stdout


@pytest.mark.parametrize("count", ["inf", "-inf", "nan", "1e400", "-1", "x", "k", ""])
def test_a_count_must_be_one(july: Path, count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["cost", "gpt-5", f"--input={count}"])
    assert caught.value.code == 2
    assert "usage: pipy" in capsys.readouterr().err


def test_a_limit_of_nothing_is_no_complaint(july: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--limit", "0"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("word", ["yesterday", "2026-1", "01/2026", ""])
def test_a_date_must_be_one(july: Path, word: str) -> None:
    with pytest.raises(ValueError, match="date"):
        get_models(released_after=word)


def test_comparing_keeps_to_the_filters(july: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "compare google/gemini-2.5-flash openai/gpt-5 --input 10 --provider google --json"
    assert main(line.split()) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in said] == ["google/gemini-2.5-flash"]


def test_spaces_between_columns_are_forgiven(
    july: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "--provider", "groq", "--columns", "model, in"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["model", "in"]


# --- 23: nothing is looked for that nobody needs --------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_way_that_is_known_needs_no_suggestions(
    lab: Lab, july: Path, monkeypatch: pytest.MonkeyPatch, transport: Any
) -> None:
    def slow(*_: Any, **__: Any) -> Any:
        raise AssertionError("looked for names alike")

    monkeypatch.setattr(difflib, "get_close_matches", slow)
    monkeypatch.setattr(difflib, "SequenceMatcher", slow)
    request = request_of("azure/my-own-deployment")
    assert [warning.code for warning in request.warnings] == ["unknown_model"]
    request_of("vertex_ai/my-endpoint")
    request_of("hosted_vllm/mine")
    for name in ("openai/mine", "groq/mine", "hosted_vllm/mine"):
        message = complete(name, "hi", api_base=lab.url, api_key="k", transport=transport)
        assert message.error is None, message.error


# --- 24: prices -----------------------------------------------------------------------------


def test_tiers_may_come_in_any_order() -> None:
    high, low = ({"input": n, "tier": {"size": n * 100_000}} for n in (5, 2))
    for tiers in ([high, low], [low, high]):
        listed = ModelCost.from_dict({"input": 1, "output": 1, "tiers": tiers})
        own = ModelCost(input=1, output=1, tiers=[
            CostTier(tier["tier"]["size"], tier["input"]) for tier in tiers
        ])  # fmt: skip
        for cost in (listed, own):
            model = Model(id="m", provider="acme", cost=cost)
            assert [estimate_cost(model, n * 100_000) for n in (2, 3, 6)] == [0.2, 0.6, 3.0]


def test_a_size_may_be_written_with_a_point(data: Path) -> None:
    changed = copy.deepcopy(SMALL)
    tier = {"input": 9, "tier": {"size": 200_000.0, "type": "context"}}
    changed["openai"]["models"]["gpt-5"]["cost"] |= {"input": 1, "tiers": [tier]}
    settle(data, changed)
    model = get_model("openai/gpt-5")
    assert model is not None
    assert [tier.size for tier in model.cost.tiers] == [200_000]
    assert estimate_cost("openai/gpt-5", 200_001) == pytest.approx(1.800009)
    assert main(["info", "openai/gpt-5"]) == 0


@pytest.mark.parametrize(
    "source",
    [
        "files",
        pytest.param("package"),
        pytest.param("override"),
    ],
)
def test_what_is_done_to_a_model_stays_with_it(
    data: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if source != "package":
        settle(data, SMALL)
    if source == "override":
        override(
            data, {"openai/gpt-5": {"cost": {"input": 1.25}, "modalities": {"input": ["text"]}}}
        )
    before = copy.deepcopy(get_model("openai/gpt-5"))
    for model in (get_model("openai/gpt-5"), *get_models(provider="openai")):
        assert model is not None
        model.raw.setdefault("cost", {})["input"] = 999
        model.raw["modalities"]["input"].append("smell")
        model.modalities.input.append("smell")
        model.reasoning_options.append({"type": "toggle"})
        for option in model.reasoning_options:
            option["type"] = "spoilt"
    assert get_model("openai/gpt-5") == before
    assert estimate_cost("openai/gpt-5", M) == 1.25
    record = get_registry().record("openai/gpt-5")
    assert record is not None
    assert record["cost"]["input"] == 1.25


@pytest.mark.parametrize(
    ("dollars", "said"), [(2.025, "2.025"), (2.5, "2.50"), (3, "3.00"), (0.075, "0.075")]
)
def test_a_rate_is_printed_whole(dollars: float, said: str) -> None:
    assert format_rate(dollars) == said


# --- 25: the rest ---------------------------------------------------------------------------


def test_a_model_has_fields_in_a_fresh_process(july: Path) -> None:
    code = (
        "import dataclasses; from pipy_ai import get_model; m = get_model('gpt-5');"
        "print([f.name for f in dataclasses.fields(m)][:2],"
        "dataclasses.fields(type(m.cost))[0].name, dataclasses.asdict(m)['cost']['input'],"
        "dataclasses.is_dataclass(m))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "['id', 'provider'] input 1.25 True\n", done.stderr


def test_a_host_without_variables_asks_for_a_key_in_plain_words(july: Path) -> None:
    override(july, {"acme/large": {"provider": {"api": "https://acme.example/v1"}}})
    message = complete("acme/large", "hi")
    assert message.error is not None
    assert message.error.kind == "missing_key"
    assert message.error.message == "No key for acme: pass api_key=."


@pytest.mark.parametrize("transport", [None, "litellm"])
def test_copilot_begins_no_login(july: Path, transport: Any) -> None:
    message = complete("github_copilot/x", "hi", transport=transport, max_retries=0)
    assert message.error is not None
    assert message.error.kind in ("missing_key", "bad_request")
    assert "api_key=" in message.error.message
    message = complete("github_copilot/x", "hi", api_key="k", transport=transport, max_retries=0)
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert "api_base=" in message.error.message
    assert preview("github_copilot/x", "hi").url == ""


def _no_constant(word: str) -> Any:
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.parametrize(
    "number",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        pytest.param("1e400"),
    ],
)
def test_a_feed_with_odd_numbers_becomes_json(mirror: Mirror, data: Path, number: str) -> None:
    odd = copy.deepcopy(SMALL)
    odd["openai"]["models"]["gpt-5"] |= {"x": "?", "limit": {"context": "?"}}
    odd["openai"]["x"] = "?"
    mirror.body = json.dumps(odd).replace('"?"', number).encode()
    assert sync_models().updated
    for name in (MODELS_FILE, INDEX_FILE):
        assert json.loads((data / name).read_text(), parse_constant=_no_constant)
    assert get_model("openai/gpt-5") is not None


def test_overrides_may_begin_with_a_mark(july: Path) -> None:
    text = json.dumps({"openai/gpt-5": {"name": "Mine"}})
    (july / "overrides.json").write_text(text, encoding="utf-8-sig")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = get_model("openai/gpt-5")
    assert model is not None
    assert model.name == "Mine"


@pytest.mark.parametrize(
    "host",
    [
        "https://x/",
        "x",
        pytest.param("HTTPS://x"),
        pytest.param("Https://x"),
    ],
)
def test_a_variable_may_hold_a_whole_address(
    july: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", host)
    monkeypatch.setenv("DATABRICKS_TOKEN", "token-0123456789")
    name = get_models(provider="databricks")[0].qualified_name
    assert preview(name, "hi").url.startswith("https://x/")
