"""Test requests to Bedrock byte for byte: method, target, headers and body, as a server gets them.

After an intended change,

    RECORD_REWRITE=1 python -m pytest -q -n 0 tests/provider/clouds/test_bedrock_requests.py

writes `tests/data/bedrock_requests.json`; review the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
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
from pipy_ai.provider.http.client import USER_AGENT

from ...support.scripted_server import Lab, Status
from ...support.vendor_rules import violations

FILE = Path(__file__).parents[2] / "data" / "bedrock_requests.json"
REWRITE = os.environ.get("RECORD_REWRITE", "") not in ("", "0")
KEY = "bedrock-key-0123456789abcdef"
PNG = ImageContent(data="iVBORw0KGgoAAAANSUhEUg==", mime_type="image/png")
PDF = DocumentContent(data="JVBERi0xLjcK", name="Bericht (2).pdf")
WEATHER = Tool(
    name="get_weather",
    description="Weather of a city",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
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
    user("And tomorrow?"),
]
NOVA = "amazon-bedrock/amazon.nova-pro-v1:0"
NOVA_2 = "amazon-bedrock/amazon.nova-2-lite-v1:0"
CLAUDE = "amazon-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ADAPTIVE = "amazon-bedrock/global.anthropic.claude-opus-4-7"
CONVERSE_CLAUDE = "bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
LLAMA = "amazon-bedrock/us.meta.llama4-maverick-17b-instruct-v1:0"
MISTRAL = "amazon-bedrock/mistral.mistral-large-3-675b-instruct"
OSS = "amazon-bedrock/openai.gpt-oss-120b-1:0"
TOOLS = {"tools": [WEATHER]}
AUTHOR = {"provider": "amazon-bedrock", "model": CLAUDE.partition("/")[2]}


def thought(api: str, model: str = CLAUDE) -> Any:
    turn = assistant(ThinkingContent(thinking="hm", thinking_signature="c2ln"), CALL)
    author = {**AUTHOR, "model": model.partition("/")[2], "api": api, "stop_reason": "toolUse"}
    return [user("q"), turn.model_copy(update=author), tool_result(CALL, "sunny")]


# The model, the messages, the fields of the context, and the options.
CASES: dict[str, tuple[str, Any, dict[str, Any], dict[str, Any]]] = {
    "nova": (NOVA, ["Hi"], {}, {}),
    "nova, system": (NOVA, ["Grüße 😀"], {"system": "Be brief."}, {}),
    "nova, options": (
        NOVA, ["Hi"], {},
        {"temperature": 0.5, "top_p": 0.9, "top_k": 9, "max_tokens": 50, "stop": ["END", "x"]},
    ),
    "nova, image": (NOVA, [user("What?", PNG)], {}, {}),
    "nova, tools": (NOVA, ["Weather?"], TOOLS, {"tool_choice": "required"}),
    "nova, named tool": (NOVA, ["Weather?"], TOOLS, {"tool_choice": "get_weather"}),
    "nova, no tool": (NOVA, ["Weather?"], TOOLS, {"tool_choice": "none"}),
    "nova, results": (NOVA, CALLED, TOOLS, {}),
    "nova, results without tools": (NOVA, CALLED, {}, {}),
    "nova, type": (NOVA, ["Bern"], {}, {"output": City, "output_retries": 0}),
    "nova, metadata": (NOVA, ["Hi"], {}, {"metadata": {"user_id": "u 1", "team": "a/b"}}),
    "nova 2, thinking": (NOVA_2, ["Hi"], {}, {"reasoning": "low"}),
    "nova, no cache": (NOVA, ["Hi"], {"system": "s"}, {"cache_retention": "none"}),
    "llama": (LLAMA, ["Hi"], {"system": "s"}, {}),
    "llama, results": (LLAMA, CALLED, TOOLS, {"tool_choice": "required"}),
    "mistral, results": (MISTRAL, CALLED, TOOLS, {}),
    "mistral, type": (MISTRAL, ["Bern"], {}, {"output": City, "output_mode": "native"}),
    "gpt-oss, thinking": (OSS, ["Hi"], {}, {"reasoning": "high"}),
    "gpt-oss, extra": (
        OSS, ["Hi"], {},
        {"extra": {"performanceConfig": {"latency": "optimized"}, "inferenceConfig": {"topP": 1}}},
    ),
    "converse claude": (CONVERSE_CLAUDE, ["Hi"], {"system": "s", **TOOLS}, {}),
    "converse claude, long cache": (
        CONVERSE_CLAUDE, [user("Read.", PDF)], {"system": "s"}, {"cache_retention": "long"}
    ),
    "converse claude, thinking": (
        CONVERSE_CLAUDE, thought("bedrock-converse", CONVERSE_CLAUDE), TOOLS, {"reasoning": "low"}
    ),
    "converse claude, no tool": (CONVERSE_CLAUDE, CALLED, TOOLS, {"tool_choice": "none"}),
    "converse claude, type": (
        CONVERSE_CLAUDE, ["Bern"], {}, {"output": City, "output_mode": "native"}
    ),
    "claude": (CLAUDE, ["Hi"], {"system": "s"}, {"max_tokens": 50}),
    "claude, tools": (CLAUDE, CALLED, TOOLS, {"tool_choice": "auto"}),
    "claude, thinking": (CLAUDE, thought("anthropic-messages"), TOOLS, {"reasoning": "low"}),
    "claude, adaptive thinking": (ADAPTIVE, ["Hi"], {}, {"reasoning": "high"}),
    "claude, image and PDF": (CLAUDE, [user("Compare.", PNG, PDF)], {}, {}),
    "claude, long cache": (CLAUDE, ["Hi"], {"system": "s"}, {"cache_retention": "long"}),
    "claude, type": (CLAUDE, ["Bern"], {}, {"output": City, "output_retries": 0}),
    "claude, beta": (CLAUDE, ["Hi"], {}, {"headers": {"anthropic-beta": "context-1m-2025-08-07"}}),
    "claude, guardrail": (
        CLAUDE, ["Hi"], {},
        {"extra": {"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}}},
    ),
    "an inference profile": (
        "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3",
        ["Hi"], {}, {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_request_is_as_recorded(
    lab: Lab, july: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PIPY_TRANSPORT", "direct")
    model, messages, fields, options = CASES[name]
    lab.play(Status(400, {"message": "no"}))
    base = lab.url.removesuffix("/v1")
    complete(model, ctx(*messages, **fields), api_base=base, api_key=KEY, **options)
    [seen] = lab.seen
    ignored = {"host", "content-length"}
    headers = {name: value for name, value in seen.headers.items() if name not in ignored}
    assert headers.pop("user-agent") == USER_AGENT
    assert headers.pop("authorization") == f"Bearer {KEY}"
    if seen.path.endswith("/converse-stream"):
        assert violations(seen.path, seen.json, {"call_1"}) == []
    request = {"target": seen.target, "headers": headers, "body": seen.body.decode()}
    recorded = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    if REWRITE:
        recorded = {key: recorded[key] for key in CASES if key in recorded} | {name: request}
        FILE.write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n", "utf-8")
    assert request == recorded[name]
