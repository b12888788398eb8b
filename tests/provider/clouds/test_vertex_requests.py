"""Test requests to Vertex AI byte for byte: request line, headers and body.

`tests/data/vertex_requests.json` has what each case of `CASES` sends. After an intended change,

    RECORD_REWRITE=1 python -m pytest -q -n 0 tests/provider/clouds/test_vertex_requests.py

writes the new requests; review the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    Context,
    DocumentContent,
    ImageContent,
    ThinkingContent,
    Tool,
    ToolCall,
    assistant,
    complete,
    ctx,
    tool_result,
    user,
)

from ...support.raw_server import Raw, response
from ...support.wire_formats import ANTHROPIC, CHAT, GEMINI, say

FILE = Path(__file__).parents[2] / "data" / "vertex_requests.json"
REWRITE = os.environ.get("RECORD_REWRITE", "") not in ("", "0")
TOKEN = "ya29.token-of-the-test"
API_KEY = "AIzaSyKeyOfTheTest"

GEMINI_25 = "google-vertex/gemini-2.5-pro"
GEMINI_3 = "google-vertex/gemini-3-flash-preview"
HAIKU = "google-vertex/claude-haiku-4-5@20251001"
OPUS = "google-vertex-anthropic/claude-opus-4-7@default"
LLAMA = "google-vertex/meta/llama-4-maverick-17b-128e-instruct-maas"
GPT_OSS = "google-vertex/openai/gpt-oss-120b-maas"
KIMI = "google-vertex/moonshotai/kimi-k2-thinking-maas"
DEEPSEEK = "google-vertex/deepseek-ai/deepseek-v3.1-maas"
MISTRAL = "vertex_ai/mistral-medium-3@001"

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
WEATHER = Tool(
    name="get_weather",
    description="The weather of a city",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city"],
    },
)
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOLS_OF_GOOGLE: dict[str, Any] = {"tools": [{"googleSearch": {}}]}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
FETCH = {"type": "web_fetch_20250910", "name": "web_fetch"}


def turns(model: str, api: str) -> Context:
    """Return a conversation in which the model has thought and called a tool."""
    provider, _, model_id = model.partition("/")
    provider = "google-vertex" if provider == "vertex_ai" else provider
    call = ToolCall(id="call_1", name="get_weather", arguments={"city": "Bern"})
    if api == "google-generative-ai":
        call.thought_signature = "c2lnbmVkLWNhbGw="
    thought = ThinkingContent(thinking="Look it up.", thinking_signature="c2lnbmVkLXRob3VnaHQ=")
    written = assistant(thought, "One moment.", call).model_copy(
        update={"provider": provider, "model": model_id, "api": api}
    )
    result = tool_result(call, "Snow, -2 °C")
    return ctx(user("Weather in Bern?"), written, result, tools=[WEATHER], system="Be brief.")


def files(*parts: Any) -> Context:
    return ctx(user("What is this?", *parts))


# Name: model, conversation, options. `location` is GOOGLE_CLOUD_LOCATION.
CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "gemini plain": (GEMINI_25, "Hello", {}),
    "gemini system and sampling": (
        GEMINI_25, ctx("Hello", system="Be brief."),
        {"temperature": 0.2, "top_p": 0.9, "top_k": 40, "seed": 7, "stop": ["END"],
         "max_tokens": 99},
    ),
    "gemini thinking": (GEMINI_25, "Hello", {"reasoning": "high"}),
    "gemini 3 thinking": (GEMINI_3, "Hello", {"reasoning": "low"}),
    "gemini tools": (GEMINI_25, turns(GEMINI_25, "google-generative-ai"), {}),
    "gemini 3 tools with ids": (GEMINI_3, turns(GEMINI_3, "google-generative-ai"), {}),
    "gemini forced tool": (
        GEMINI_25, ctx("Hello", tools=[WEATHER]), {"tool_choice": "get_weather"},
    ),
    "gemini functions and search": (
        GEMINI_3, ctx("Hello", tools=[WEATHER]), {"extra": TOOLS_OF_GOOGLE, "tool_choice": "auto"},
    ),
    "gemini schema": (GEMINI_3, "Hello", {"output": SCHEMA}),
    "gemini image": (GEMINI_25, files(ImageContent(data=PNG, mime_type="image/png")), {}),
    "gemini files of a bucket": (
        GEMINI_25,
        files(
            ImageContent(url="gs://bucket/a%20b.webp"), DocumentContent(url="gs://bucket/c.pdf"),
            ImageContent(url="gs://bucket/no-extension", mime_type="image/heic"),
        ),
        {},
    ),
    "gemini files of the web": (
        GEMINI_25,
        files(ImageContent(url="https://example.com/a.JPG?x=1"),
              DocumentContent(url="https://example.com/b.pdf")),
        {},
    ),
    "gemini labels and safety": (
        GEMINI_25, "Hello",
        {"extra": {"labels": {"team": "a"}, "safetySettings": [
            {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]}},
    ),
    "gemini global": (GEMINI_25, "Hello", {"location": "global"}),
    "gemini multi-region": (GEMINI_25, "Hello", {"location": "eu"}),
    "gemini settings in extra": (
        GEMINI_25, "Hello",
        {"extra": {"vertex_project": "other-project", "vertex_location": "asia-northeast1"}},
    ),
    "gemini express": (GEMINI_25, "Hello", {"api_key": API_KEY}),
    "claude plain": (HAIKU, "Hello", {"max_tokens": 100}),
    "claude default limit": (OPUS, ctx("Hello", system="Be brief."), {}),
    "claude budget and tools": (
        HAIKU, turns(HAIKU, "anthropic-messages"), {"reasoning": "high", "max_tokens": 20_000},
    ),
    "claude adaptive thinking": (OPUS, "Hello", {"reasoning": "high"}),
    "claude tools off": (HAIKU, turns(HAIKU, "anthropic-messages"), {"tool_choice": "none"}),
    "claude schema": (HAIKU, "Hello", {"output": SCHEMA}),
    "claude image and document": (
        HAIKU,
        files(ImageContent(data=PNG, mime_type="image/png"),
              DocumentContent(data="JVBERi0xLjQ=", name="a.pdf")),
        {"cache_retention": "long"},
    ),
    "claude server tools": (
        HAIKU, ctx("Hello", tools=[WEATHER]), {"extra": {"tools": [SEARCH, FETCH]}},
    ),
    "claude beta header": (
        HAIKU, "Hello", {"headers": {"anthropic-beta": "context-1m-2025-08-07"}},
    ),
    "llama tools": (LLAMA, turns(LLAMA, "openai-completions"), {"temperature": 0.5}),
    "llama image and schema": (
        LLAMA, files(ImageContent(url="gs://bucket/a.png")), {"output": SCHEMA},
    ),
    "gpt-oss effort": (GPT_OSS, "Hello", {"reasoning": "high"}),
    "kimi with its thinking": (KIMI, turns(KIMI, "openai-completions"), {}),
    "deepseek": (DEEPSEEK, ctx("Hello", system="Be brief."), {"max_tokens": 50}),
    "mistral tools": (
        MISTRAL, turns(MISTRAL, "openai-completions"), {"seed": 7, "tool_choice": "required"},
    ),
}  # fmt: skip


def send(case: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Send the request of a case to a server on loopback, and return what arrived."""
    model, conversation, options = CASES[case]
    options = dict(options)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-1")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", options.pop("location", "europe-west4"))
    wire = ANTHROPIC if "claude" in model else GEMINI if "gemini" in model else CHAT
    scene = b"".join(wire.scene(say('{"name":"a","age":1}')))
    with Raw(response(scene, "content-type: text/event-stream")) as server:
        options.setdefault("api_key", TOKEN)
        message = complete(model, conversation, api_base=server.url, max_retries=0, **options)
        assert message.error is None or "output" in options
        head = server.seen[0].replace(server.address, "HOST").splitlines()
        body = server.bodies[0].decode()
    return {
        "request": head[0],
        "headers": [line for line in head[1:] if not line.startswith("user-agent:")],
        "body": body,
        "warnings": [warning.code for warning in message.warnings],
    }


@pytest.mark.parametrize("case", CASES)
def test_requests_byte_for_byte(case: str, july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = send(case, monkeypatch)
    recorded = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    if REWRITE:
        recorded[case] = sent
        recorded = {name: recorded[name] for name in CASES if name in recorded}
        FILE.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert recorded[case] == sent


def test_there_are_32_cases() -> None:
    assert len(CASES) == 32
    assert list(json.loads(FILE.read_text(encoding="utf-8"))) == list(CASES)
