"""Test the request that each kind of provider receives."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from pipy_ai import Tool, complete, ctx, get_registry
from pipy_ai.registry.index import models_in_feed
from pipy_ai.registry.routing import build_route, expand_url

from ..support.catalogues import feed
from ..support.scripted_server import Lab
from ..support.wire_formats import ANTHROPIC, CHAT, GEMINI, RESPONSES, Wire, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


TOOL = Tool(
    name="f",
    description="d",
    parameters={"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
)


RECORDS, _ = models_in_feed(feed())


SAMPLE: list[tuple[str, Wire]] = [
    # generic
    ("302ai/gpt-5-mini", CHAT),
    ("nano-gpt/zai-org/glm-4.7", CHAT),
    ("novita-ai/deepseek/deepseek-v3.2", CHAT),
    ("huggingface/MiniMaxAI/MiniMax-M2.1", CHAT),
    ("alibaba-cn/qwen-plus", CHAT),
    ("opencode/kimi-k2.5", CHAT),
    ("wafer.ai/Qwen3.5-397B-A17B", CHAT),
    ("bailing/Ling-1T", CHAT),
    # native
    ("openai/gpt-4o", CHAT),
    ("groq/groq/compound", CHAT),
    ("openrouter/anthropic/claude-sonnet-4.5", CHAT),
    ("togetherai/openai/gpt-oss-120b", CHAT),
    ("deepseek/deepseek-chat", CHAT),
    ("zai/glm-4.7", CHAT),
    ("vercel/openai/gpt-4o", CHAT),
    ("moonshotai/kimi-k2.5", CHAT),
    ("xai/grok-4.3", CHAT),
    ("cerebras/zai-glm-4.7", CHAT),
    ("mistral/mistral-large-latest", CHAT),
    ("anthropic/claude-sonnet-4-5", ANTHROPIC),
    ("google/gemini-2.5-flash", GEMINI),
    ("openai/gpt-5-codex", RESPONSES),
    # the other protocols of compatible hosts
    ("minimax/MiniMax-M2.1", ANTHROPIC),
    ("opencode/claude-sonnet-4-5", ANTHROPIC),
    ("zenmux/anthropic/claude-sonnet-4.5", ANTHROPIC),
    ("opencode/gemini-3-flash", GEMINI),
    ("opencode/gpt-5", RESPONSES),
    ("perplexity-agent/anthropic/claude-sonnet-4-5", RESPONSES),
    # templates, servers of one's own, and what needs more than a key
    ("cloudflare-workers-ai/@cf/openai/gpt-oss-120b", CHAT),
    ("databricks/databricks-gpt-5", CHAT),
    ("lmstudio/openai/gpt-oss-20b", CHAT),
    ("cloudflare-ai-gateway/openai/gpt-4o", CHAT),
]


@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize(("name", "wire"), SAMPLE, ids=[name for name, _ in SAMPLE])
def test_each_kind_of_provider_receives_its_request(
    lab: Lab, july: Any, name: str, wire: Wire, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request has the provider's path, model id, key and tool."""
    registry = get_registry()
    model = registry.model(name)
    assert model is not None, name
    way = registry.route(model)
    for variable in {
        v for host in registry.providers().values() for v in build_route(host, "").key_env
    }:
        monkeypatch.setenv(variable, f"foreign-{variable}")
    for variable in way.required_env:
        monkeypatch.setenv(variable, "some-value")
    for variable in way.key_env:
        monkeypatch.setenv(variable, "own-key-0123456789")
    prompt = ctx("What?", system="Brief.", tools=[TOOL])
    _send_to(lab, monkeypatch)
    lab.play(wire.scene(say("ok")))
    monkeypatch.setenv("PIPY_TRANSPORT", transport)
    message = complete(name, prompt, max_tokens=500)
    assert message.error is None, message.error
    assert (message.text, message.api) == ("ok", wire.api)
    assert (message.provider, message.model) == tuple(name.split("/", 1))
    [seen] = lab.seen
    path = expand_url(way.api_base).partition("://")[2].partition("/")[2]
    assert seen.path.startswith(f"/{path}"), seen.path
    everything = json.dumps(seen.json) + json.dumps(seen.headers) + seen.path
    assert "own-key-0123456789" in everything or way.key_optional
    assert "foreign-" not in everything
    if wire is GEMINI:
        assert f"/models/{model.id}:streamGenerateContent" in seen.path
        [declared] = next(iter(seen.json["tools"][0].values()))
    else:
        assert seen.json["model"] == model.id
        [declared] = seen.json["tools"]
    assert '"f"' in json.dumps(declared)
    assert "What?" in everything
    assert "Brief." in everything
    if name.startswith("cloudflare-ai-gateway"):
        assert seen.headers["cf-aig-authorization"] == "Bearer own-key-0123456789"
        assert "authorization" not in seen.headers


def _send_to(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send every request to the scripted server, keeping its path."""
    from pipy_ai.provider import exchange as sender

    send = sender.send

    async def redirected(call: Any) -> Any:
        own = urlsplit(call.url)
        call.url = urlunsplit(own._replace(scheme="http", netloc=urlsplit(lab.url).netloc))
        return await send(call)

    monkeypatch.setattr(sender, "send", redirected)
