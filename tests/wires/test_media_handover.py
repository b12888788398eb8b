"""Test a conversation with searches, images and audio that moves from API to API."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    AudioContent,
    Citation,
    Context,
    FileContent,
    ImageContent,
    ServerToolCall,
    ServerToolResult,
    TextContent,
    ctx,
    preview,
    user,
)

from ..support.vendor_rules import violations

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()
CALL = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
RESULT = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
CODE = {"executableCode": {"language": "PYTHON", "code": "1"}}
OUTPUT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}
ITEM = {"id": "ws_1", "type": "web_search_call", "status": "completed",
        "action": {"type": "search", "query": "q"}}  # fmt: skip
MODELS = {
    "anthropic": "anthropic/claude-sonnet-4-5",
    "google": "google/gemini-2.5-flash",
    "openrouter": "openrouter/openai/gpt-4o",
    "openai": "openai/gpt-5",
    "cohere": "cohere/command-a-03-2025",
    "ollama": "ollama/qwen3",
    "bedrock": "amazon-bedrock/amazon.nova-pro-v1:0",
}
SOURCE = Citation(source="https://a.example", title="A")


def turn(provider: str, api: str, *content: Any) -> AssistantMessage:
    return AssistantMessage(
        content=list(content), provider=provider, api=api, model="m", stop_reason="stop"
    )


def search(provider: str, api: str, call: dict[str, Any], result: dict[str, Any]) -> Any:
    return turn(
        provider,
        api,
        ServerToolCall(id="srvtoolu_1", name="web_search", raw=call),
        ServerToolResult(
            tool_call_id="srvtoolu_1", name="web_search", sources=[SOURCE], raw=result
        ),
        TextContent(text="It is so.", citations=[SOURCE]),
    )


def drawn_by_openai() -> AssistantMessage:
    """Return an answer of OpenAI's Responses API with a search and an image."""
    return turn(
        "openai",
        "openai-responses",
        ServerToolCall(id="ws_1", name="web_search"),
        ServerToolResult(tool_call_id="ws_1", name="web_search", sources=[SOURCE], raw=ITEM),
        ImageContent(
            data=PNG, mime_type="image/png", raw={"type": "image_generation_call", "id": "ig_1"}
        ),
        TextContent(text="A fox.", citations=[SOURCE]),
    )


def stored_files() -> list[FileContent]:
    """Return a file at each provider that stores files."""
    return [
        FileContent(
            id=f"file-{provider}", provider=provider, mime_type="application/pdf",
            url="https://files.example/file-google" if provider == "google" else None,
        )
        for provider in ("anthropic", "google", "openai")
    ]  # fmt: skip


def conversation() -> Context:
    """Return a conversation of which each provider wrote a part."""
    image = ImageContent(data=PNG, mime_type="image/png", raw={"inlineData": {}})
    drawn = ImageContent(data=PNG, mime_type="image/png", raw={"type": "image_url"})
    spoken = AudioContent(data="AAAA", mime_type="audio/wav", transcript="Hello.", raw={"id": "a"})
    return ctx(
        "one", search("anthropic", "anthropic-messages", CALL, RESULT),
        user("two", *stored_files()), search("google", "google-generative-ai", CODE, OUTPUT),
        user("three"), turn("google", "google-generative-ai", TextContent(text="A cat:"), image),
        user("four"), turn("openrouter", "openai-completions", TextContent(text="A dog:"), drawn),
        user("five"), turn("openrouter", "openai-completions", spoken),
        user("six"), drawn_by_openai(),
        user("seven"),
    )  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_api_accepts_it_and_names_what_is_lost(
    name: str, july: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "k")
    request = preview(MODELS[name], conversation(), api_key=None if name == "bedrock" else "k")
    assert violations(request.url.partition("?")[0], request.body, {"ws_1"}) == []
    codes = {warning.code for warning in request.warnings}
    others_tools = {"server_tool_as_text", "file_omitted"}
    expected = {
        "anthropic": {*others_tools, "image_omitted", "audio_omitted"},
        "google": {*others_tools, "image_omitted", "audio_omitted"},
        "openrouter": {*others_tools, "image_omitted"},
        "openai": {*others_tools, "image_omitted", "audio_omitted"},
    }
    assert codes >= expected.get(name, {*others_tools, "image_omitted", "audio_omitted"})
    sent = json.dumps(request.body)
    assert "Hello." in sent
    for file in stored_files():
        assert (sent.count(f'"{file.url or file.id}"') == 1) is (file.provider == name)
        assert (f"(file {file.id} omitted" in sent) is (file.provider != name)
    assert "https://a.example" in sent
    own = {
        "anthropic": ["server_tool_use", "web_search_tool_result"],
        "google": ["executableCode", "codeExecutionResult", "inlineData"],
        "openrouter": ['type": "image_url'],
        "openai": ["web_search_call", "input_image"],
    }
    for provider, kinds in own.items():
        for kind in kinds:
            assert (f'"{kind}"' in sent) == (provider == name), (kind, name)
