"""Test requests to Azure byte for byte: method, target, headers and body, as they arrive.

After an intended change,

    RECORD_REWRITE=1 python -m pytest -q -n 0 tests/provider/clouds/test_azure_requests.py

writes `tests/data/azure_requests.json`; review the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
    ImageContent,
    Tool,
    ToolCall,
    assistant,
    complete,
    ctx,
    tool_result,
    user,
)
from pipy_ai.provider.http.client import USER_AGENT

from ...support.scripted_server import Lab, Status

FILE = Path(__file__).parents[2] / "data" / "azure_requests.json"
REWRITE = os.environ.get("RECORD_REWRITE", "") not in ("", "0")
KEY = "0123456789abcdef0123456789abcdef"
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
WEATHER = Tool(
    name="get_weather",
    description="Weather of a city",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)


class City(BaseModel):
    name: str
    people: int


CALL = ToolCall(id="call_1", name="get_weather", arguments={"city": "Zürich"})
CALLED = [
    user("Weather?"),
    assistant(CALL),
    tool_result(CALL, "sunny"),
    user("Thanks. And tomorrow?"),
]
LEGACY = {"OPENAI_API_VERSION": "2024-10-21"}
PREVIEW = {"AZURE_API_VERSION": "2025-04-01-preview"}

# The model, the options, the environment, and the path of the address.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, str], str]] = {
    "plain": ("azure/gpt-4o", {}, {}, ""),
    "slash": ("azure/gpt-4o", {}, {}, "/"),
    "v1": ("azure/gpt-4o", {}, {}, "/openai/v1/"),
    "whole URL": ("azure/gpt-4o", {}, {}, "/openai/v1/chat/completions"),
    "sampling": ("azure/gpt-4o", {"temperature": 0.2, "seed": 7, "max_tokens": 50}, {}, ""),
    "top_k": ("azure/gpt-4o", {"top_k": 5, "stop": ["END"]}, {}, ""),
    "system": ("azure/gpt-4.1-mini", {"system": "Be brief."}, {}, ""),
    "image": (
        "azure/gpt-4o",
        {"prompt": [user("What?", ImageContent(data=PNG, mime_type="image/png"))]},
        {},
        "",
    ),
    "tools": ("azure/gpt-4o", {"tools": [WEATHER], "tool_choice": "required"}, {}, ""),
    "tool result": ("azure/gpt-4o", {"tools": [WEATHER], "prompt": CALLED}, {}, ""),
    "schema": ("azure/gpt-4o", {"output": City, "output_mode": "native"}, {}, ""),
    "reasoning": ("azure/gpt-5", {"reasoning": "high", "max_tokens": 900}, {}, ""),
    "o-series": ("azure/o3-mini", {"reasoning": "low", "temperature": 0.5}, {}, ""),
    "metadata": ("azure/gpt-4o", {"metadata": {"user_id": "u-1"}}, {}, ""),
    "extra": ("azure/gpt-4o", {"extra": {"data_sources": [], "user": "u-2"}}, {}, ""),
    "headers": ("azure/gpt-4o", {"headers": {"X-Trace": "t-1"}}, {}, ""),
    "deployment": ("azure/my-deployment", {"max_tokens": 50}, {}, ""),
    "mistral": ("azure/mistral-small-2503", {"max_tokens": 50, "temperature": 0.5}, {}, ""),
    "deepseek": ("azure/deepseek-v3.1", {"max_tokens": 50}, {}, ""),
    "foundry": ("azure_ai/DeepSeek-V3.1", {}, {}, "/models"),
    "legacy": ("azure/gpt-4o", {"max_tokens": 50}, LEGACY, ""),
    "legacy name": ("azure/my dep/1", {}, LEGACY, ""),
    "legacy URL": ("azure/gpt-4o", {}, {}, "/openai/deployments/d1?api-version=2024-06-01&a=b"),
    "legacy extra": ("azure/gpt-4o", {"extra": {"api_version": "2024-10-21"}}, {}, ""),
    "token": ("azure/gpt-4o", {"api_key": "eyJhbGci.eyJhdWQi.c2ln"}, {}, ""),
    "function": ("azure/gpt-4o", {"api_key": lambda: "from-a-function"}, {}, ""),
    "responses": ("azure/gpt-5.4", {"reasoning": "high", "max_tokens": 900}, {}, ""),
    "responses tools": ("azure/gpt-5.4", {"tools": [WEATHER], "prompt": CALLED}, {}, ""),
    "responses legacy": ("azure/gpt-5-codex", {}, PREVIEW, ""),
    "responses own": ("azure/responses/my-own", {"temperature": 0.5}, {}, ""),
    "claude": ("azure/claude-sonnet-4-5", {"system": "Be brief.", "max_tokens": 50}, {}, ""),
    "claude thinking": (
        "azure/claude-sonnet-4-5",
        {"reasoning": "low", "tools": [WEATHER], "api_key": "eyJhbGci.eyJhdWQi.c2ln"},
        {},
        "/anthropic",
    ),
}


def received(name: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    model, options, environment, path = CASES[name]
    options = dict(options)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", lab.url.removesuffix("/v1") + path)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    if model.startswith("azure_ai"):
        monkeypatch.setenv("AZURE_AI_API_BASE", lab.url.removesuffix("/v1") + path)
    lab.play(Status(400, {"error": {"message": "enough"}}))
    context = {n: options.pop(n) for n in ("system", "tools") if n in options}
    prompt = options.pop("prompt", [user("Grüße, 1 < 2")])
    complete(model, ctx(*prompt, **context), max_retries=0, **options)
    (seen,) = lab.seen
    headers = {n: v.replace(USER_AGENT, "pipy-ai/VERSION") for n, v in seen.headers.items()}
    assert headers.pop("host") == f"127.0.0.1:{lab.port}"
    assert int(headers.pop("content-length")) == len(seen.body)
    line = f"{seen.method} {seen.target}"
    return {"request": line, "headers": headers, "body": seen.body.decode()}


@pytest.mark.parametrize("name", CASES)
def test_request_is_as_recorded(
    lab: Lab, july: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    actual = received(name, lab, monkeypatch)
    recorded = json.loads(FILE.read_text()) if FILE.exists() else {}
    if REWRITE:
        cases = {case: recorded.get(case, {}) for case in CASES} | {name: actual}
        FILE.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")
        return
    assert actual == recorded[name]
    assert list(actual["headers"]) == list(recorded[name]["headers"])


def test_there_are_32_requests() -> None:
    assert len(CASES) == len(json.loads(FILE.read_text())) == 32
