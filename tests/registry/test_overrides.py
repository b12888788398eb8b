"""Test overrides.json."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import ImageContent, complete, get_model, get_models, get_registry, user
from pipy_ai._requests import build_request
from pipy_ai.cli.main import main
from pipy_ai.provider.prepare import prepare_request
from pipy_ai.provider.request import Request
from pipy_ai.provider.transport import wire_for

from ..support.catalogue_faults import look_at
from ..support.scripted_server import Lab
from ..support.wire_formats import CHAT, GEMINI, Counts, Wire, say

OPENAIS = "sk-openai-secret-0123456789"
PNG = ImageContent(data="iVBORw0KGgo=", mime_type="image/png")


M = 1_000_000


@pytest.fixture
def openai_key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAIS)
    return OPENAIS


def request_of(model: Any, prompt: Any = "hi", **options: Any) -> Request:
    return build_request(model, prompt, None, options)  # type: ignore[arg-type]


def override(directory: Path, changes: Any) -> None:
    (directory / "overrides.json").write_text(json.dumps(changes))


def sent(lab: Lab) -> str:
    """Return everything that reached the server."""
    return repr([(seen.path, seen.headers, seen.body) for seen in lab.seen])


@pytest.mark.filterwarnings("ignore::UserWarning")  # the damage is reported
@pytest.mark.parametrize("depth", [100_000, 900, 400, 150])
def test_deeply_nested_overrides_are_ignored(
    july: Path, depth: int, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = '{"x":' * depth + "1" + "}" * depth
    (july / "overrides.json").write_text(f'{{"openai/gpt-5": {{"x": {deep}}}}}')
    look_at(capsys)
    assert main(["info", "openai/gpt-5", "--json"]) == 0


def test_price_override_keeps_the_route(july: Path) -> None:
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
def test_custom_price_is_billed(lab: Lab, july: Path, wire: Wire) -> None:
    name = "hosted_vllm/my" if wire is CHAT else "gemini/gemini-2.5-flash"
    override(july, {name: {"cost": {"input": 7, "output": 8}}})
    lab.play(wire.scene(say("ok"), counts=Counts(M, M)))
    message = complete(name, "hi", api_base=wire.base(lab), api_key="k")
    assert message.error is None, message.error
    assert (message.text, message.usage.cost.total) == ("ok", 15)


def test_override_sets_address_and_key_variable(
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


def test_price_override_leaves_capabilities_unknown(july: Path) -> None:
    override(july, {"azure/my-dep": {"cost": {"input": 1, "output": 2}}})
    prompt = [user("what is it?", PNG)]
    request = request_of("azure/my-dep", prompt, reasoning="high", api_base="https://x.example")
    prepared = prepare_request(request, wire_for(request))
    assert prepared.reasoning.effort == "high"
    assert PNG in prepared.messages[0].content
    assert request.warnings == []


def test_overrides_with_a_byte_order_mark(july: Path) -> None:
    text = json.dumps({"openai/gpt-5": {"name": "Mine"}})
    (july / "overrides.json").write_text(text, encoding="utf-8-sig")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = get_model("openai/gpt-5")
    assert model is not None
    assert model.name == "Mine"


def test_overrides_take_precedence(july: Path) -> None:
    changes = {
        "openai/gpt-5": {"cost": {"input": 1.0}, "limit": {"context": 5}},
        "acme/large": {"name": "Large", "cost": {"input": 0, "output": 0}, "limit": {"context": 9}},
    }
    (july / "overrides.json").write_text(json.dumps(changes))
    model = get_model("openai/gpt-5")
    assert model is not None
    assert (model.cost.input, model.cost.output, model.limits.context) == (1.0, 10, 5)
    own = get_model("acme/large")
    assert own is not None
    assert own.name == "Large"
    assert "acme/large" in {m.qualified_name for m in get_models(max_cost_input=0)}
    assert "openai/gpt-5" not in {m.qualified_name for m in get_models(min_context=6)}
    assert get_models(provider="acme") == [own]


@pytest.mark.parametrize("text", ["{", "[]", '{"x": 1}', '{"a/b": 1}'])
def test_broken_overrides_are_reported_and_ignored(
    july: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipy_ai.utils.warn.shown_warnings", set())
    (july / "overrides.json").write_text(text)
    with pytest.warns(UserWarning, match="it is ignored"):
        assert get_model("openai/gpt-5") is not None
