"""Test that a request can be built for every text model in the catalogue."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter, defaultdict
from typing import Any
from urllib.parse import quote

import pytest

from pipy_ai import Tool, apreview, ctx, get_registry
from pipy_ai.provider.request import Preview
from pipy_ai.registry.index import models_in_feed
from pipy_ai.registry.routing import Route, expand_url

from ..support.catalogues import feed

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


def test_request_can_be_built_for_every_text_model(
    july: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 5,117 models, offline: the URL is the provider's; id, tools and reasoning are sent."""
    registry = get_registry()
    names = registry.query(output_modality="text")
    assert len(names) == 5117
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-0123456789")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for name in ("AZURE_RESOURCE_NAME", "AZURE_COGNITIVE_SERVICES_RESOURCE_NAME"):
        monkeypatch.setenv(name, "mine")

    async def look() -> dict[str, Preview]:
        return {name: await apreview(name, _context(name), **_options(name)) for name in names}

    shown = asyncio.run(look())
    unseen = Counter(
        registry.route(registry.require(name)).backend
        for name, request in shown.items()
        if not request.url
    )
    assert unseen == {  # left to LiteLLM's own clients, or without a way
        "hosted_vllm": 93 + 17 + 26 + 55,
    }  # fmt: skip
    wrong = defaultdict(list)
    for name, request in shown.items():
        model = registry.require(name)
        if problem := _problem(request, model, registry.route(model)):
            wrong[problem].append(name)
    assert dict(wrong) == {}


def _context(name: str) -> Any:
    can = RECORDS[name].get("tool_call")
    return ctx("q", system="s", tools=[TOOL] if can else None)


def _options(name: str) -> Any:
    return {"reasoning": "high" if RECORDS[name].get("reasoning") else None, "max_tokens": 4000}


def _problem(request: Preview, model: Any, way: Route) -> str:
    if not request.url:
        if way.problem:
            return "" if request.warnings[0].code == "no_route" else "no reason given"
        return "" if request.body["model"] == way.model else "another model"
    body, url = request.body, request.url
    names = {**os.environ, **{name: name for name in way.required_env}}
    if not url.lower().startswith((expand_url(way.api_base, names) or "https://").lower()):
        return "another address"
    if bool(way.required_env) != any(w.code == "missing_variable" for w in request.warnings):
        return "what is missing is not told"
    if "openai.com" in url and model.provider != "openai":
        return "sent to OpenAI"
    if "sk-openai" in repr(request.headers):
        return "the key is shown"
    if way.backend == "gemini" or (way.backend == "vertex_ai" and ":stream" in url):
        return "" if f"/{model.id}:stream" in url else "another model"
    if way.backend == "bedrock":  # the path has the model, and says that it streams
        if f"/model/{quote(model.id, safe='')}/" not in url or "-stream" not in url:
            return "another model"
        body = {**body, "model": model.id, "stream": True}
        body |= body.get("toolConfig", {})
    if body["model"] != model.id:
        return "another model"
    tools = [tool for tool in body.get("tools", ()) if "cachePoint" not in tool]
    if model.capabilities.tool_call and len(tools) != 1:
        return "no tool"
    is_of_openai = model.provider in ("openai", "azure", "azure-cognitive-services")
    unstreamed = is_of_openai and model.id in ("o1-pro", "gpt-5-pro")  # they cannot
    if (body.get("stream") is True) == unstreamed:
        return "no stream"
    said = json.dumps(body)
    folded = r'"s\n\nq"'  # models without a system role
    if folded not in said and ('"q"' not in said or '"s"' not in said):
        return "not what was said"
    thinks = any(w.code in ("reasoning_ignored", "reasoning_changed") for w in request.warnings)
    words = ("reasoning", "thinking")
    if model.capabilities.reasoning and not thinks and not any(word in said for word in words):
        return "no word about thinking"
    return ""
