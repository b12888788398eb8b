"""Targets: the feed of the catalogue, and what local servers say of their models."""

from __future__ import annotations

import random
import tempfile
from typing import Any

from pipy_ai.cli.checks.servers import _identify_server, _list_models, _Response
from pipy_ai.registry.catalogue import ModelRegistry
from pipy_ai.registry.index_writer import write_catalogue
from pipy_ai.registry.ollama_address import may_have_key, server_url
from pipy_ai.registry.sync import SyncError, _merge_and_compile, _parse_feed
from pipy_ai.registry.trust import TrustedProviders

from .harness import target
from .values import changed, dump_json, some_json, some_text

_MODEL = {
    "id": "m", "name": "M", "family": "f", "attachment": True, "reasoning": True, "tool_call": True,
    "temperature": True, "knowledge": "2025-01", "release_date": "2025-02-03",
    "last_updated": "2025-02-03", "modalities": {"input": ["text", "pdf"], "output": ["text"]},
    "open_weights": False, "limit": {"context": 1000, "output": 100, "input": 900},
    "cost": {
        "input": 1, "output": 2.5, "cache_read": 0.1, "reasoning": 3,
        "tiers": [{"tier": {"type": "context", "size": 200}, "input": 2, "output": 5}],
        "context_over_200k": {"input": 2}, "modes": {"fast": {"input": 9}},
    },
    "reasoning_options": [{"type": "effort", "values": ["low", "high"]}, {"type": "toggle"}],
    "interleaved": {"field": "reasoning"}, "status": "beta", "experimental": {"modes": {}},
    "provider": {"npm": "@ai-sdk/openai", "api": "https://x.example/v1", "shape": "responses"},
}  # fmt: skip
_FEED = {
    name: {
        "id": name, "name": name.title(), "env": [f"{name.upper()}_API_KEY"], "npm": npm,
        "api": f"https://api.{name}.example/v1", "doc": "https://x.example",
        "models": {"m": _MODEL, "m-2": _MODEL},
    }
    for name, npm in (("acme", "@ai-sdk/openai-compatible"), ("anthropic", "@ai-sdk/anthropic"))
}  # fmt: skip
_METADATA = {"date": "2026-01-01", "source": "x", "etag": None, "skipped": 0}
_DIRECTORY = tempfile.TemporaryDirectory(prefix="pipy-fuzz-")


@target
def catalogue_feed(rng: random.Random) -> None:
    """Feeds of models with wrong fields: refused with a reason, or a catalogue that can be read."""
    feed = changed(rng, _FEED, rng.randint(1, 4))
    body = dump_json(rng, feed).encode("utf-8", "surrogatepass")
    if rng.random() < 0.05:
        body = body[: rng.randint(0, len(body))]
    try:
        parsed, records, _ = _parse_feed(body, "https://x.example")
    except SyncError:
        return
    TrustedProviders().apply(parsed, ())
    directory = _DIRECTORY.name
    _, models, index = _merge_and_compile(parsed, records, _METADATA, None, directory)
    if rng.random() < 0.9:
        return  # the rest writes files
    write_catalogue(directory, models, index)
    registry = ModelRegistry(directory)
    for model in registry.list_all():
        assert registry.get(model.qualified_name) is not None
        registry.route(model)
    registry.to_feed()


_SERVERS: dict[str, Any] = {
    "/": "Ollama is running",
    "/v1/models": {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 100, "meta": {}}]},
    "/api/v0/models": {"data": [{"id": "m", "type": "llm", "max_context_length": 5}]},
    "/api/tags": {"models": [{"name": "m", "model": "m"}]},
    "/health/liveliness": "I'm alive!",
    "/props": {"default_generation_settings": {"n_ctx": 4096}},
}


@target
def local_servers(rng: random.Random) -> None:
    """Answers of servers on loopback that `pipy doctor` asks for their models."""
    responses = {
        path: _Response(
            rng.choice((0, 200, 200, 200, 401, 404)),
            dump_json(rng, changed(rng, value, rng.randint(0, 2)))
            if rng.random() < 0.9
            else dump_json(rng, some_json(rng)),
        )
        for path, value in _SERVERS.items()
    }
    kind = _identify_server(responses)
    if kind and kind != "Ollama":
        list(_list_models(kind, responses))


@target
def ollama_address(rng: random.Random) -> None:
    """Addresses of an Ollama server that users write are read, and get no key without TLS."""
    parts = (
        "http://", "https://", "HTTP://", "[::1]", "::", "0.0.0.0", "gpu.lan", "ollama.com", ":",
        ":80", ":11434", "/", "/api", "/v1", "/api/chat", "?a=b", "me:pw@", " ", "'",
    )  # fmt: skip
    words = [rng.choice(parts) for _ in range(rng.randint(0, 5))] + [some_text(rng, 1)]
    rng.shuffle(words)
    address = "".join(words)
    url = server_url(address)
    assert not may_have_key(url) or url.startswith("https://")
