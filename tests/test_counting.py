"""Test `count_tokens`: the request body of each API, hosts that cannot count, failures."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AbortController,
    Model,
    ModelCost,
    PipyError,
    TokenCount,
    Tool,
    acount_tokens,
    budget,
    complete,
    count_tokens,
    ctx,
    faux,
    image,
    user,
)
from pipy_ai.cli.main import main
from pipy_ai.errors import (
    AbortedError,
    AuthenticationError,
    BadRequestError,
    MissingKeyError,
    RequestTimeoutError,
)

from .support.converse_rules import refusals
from .support.scripted_server import STALL, Lab, Seen, Status
from .support.wire_formats import ANTHROPIC, say

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
PNG_TEXT = base64.b64encode(PNG).decode()
KEY = "key-of-the-test-0123456789"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CONTEXT = ctx(
    user("What is this?", image(PNG)),
    system="Be brief.",
    tools=[Tool(name="weather", description="The weather.", parameters=SCHEMA)],
)
OPTIONS: dict[str, Any] = {
    "api_key": KEY, "max_tokens": 2000, "temperature": 0.5, "cache_retention": "none"
}  # fmt: skip
ANTHROPIC_BODY: dict[str, Any] = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": PNG_TEXT},
                },
            ],
        }
    ],
    "system": [{"type": "text", "text": "Be brief."}],
    "tools": [{"name": "weather", "description": "The weather.", "input_schema": SCHEMA}],
}
GEMINI_BODY: dict[str, Any] = {
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "What is this?"},
                {"inlineData": {"mimeType": "image/png", "data": PNG_TEXT}},
            ],
        }
    ],
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "tools": [
        {
            "functionDeclarations": [
                {"name": "weather", "description": "The weather.", "parameters": SCHEMA}
            ]
        }
    ],
    "generationConfig": {"temperature": 0.5, "maxOutputTokens": 2000},
}
CONVERSE_BODY: dict[str, Any] = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"text": "What is this?"},
                {"image": {"format": "png", "source": {"bytes": PNG_TEXT}}},
            ],
        }
    ],
    "system": [{"text": "Be brief."}],
    "toolConfig": {
        "tools": [
            {
                "toolSpec": {
                    "name": "weather",
                    "inputSchema": {"json": SCHEMA},
                    "description": "The weather.",
                }
            }
        ]
    },
}

pytestmark = pytest.mark.usefixtures("july")


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A project and a region; no login of AWS."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-1")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west4")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def counted(lab: Lab, model: str, answer: dict[str, Any], base: str = "", **options: Any) -> Seen:
    """Count `CONTEXT`, check the result, and return the request."""
    lab.play(Status(200, answer))
    options = {**OPTIONS, "api_base": base or lab.url, **options}
    count = count_tokens(model, CONTEXT, **options)
    assert (count.tokens, count.estimated) == (402, False)
    [seen] = lab.seen
    assert seen.method == "POST"
    return seen


# === The request of each API ================================================================


def test_anthropic(lab: Lab) -> None:
    seen = counted(lab, "anthropic/claude-sonnet-4-5", {"input_tokens": 402})
    assert seen.target == "/v1/messages/count_tokens"
    assert seen.headers["x-api-key"] == KEY
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert seen.json == {"model": "claude-sonnet-4-5", **ANTHROPIC_BODY}


def test_anthropic_with_everything_that_counts(lab: Lab) -> None:
    extra = {"context_management": {"edits": []}, "metadata": {"user_id": "u"}}
    seen = counted(
        lab, "anthropic/claude-sonnet-4-5", {"input_tokens": 402}, reasoning="low",
        temperature=None, max_tokens=4000, tool_choice="auto", extra=extra,
        headers={"anthropic-beta": "context-management-2025-06-27"},
        output_mode="native", output=SCHEMA, stop="x",
    )  # fmt: skip
    schema = {"type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}}
    assert seen.json == {
        "model": "claude-sonnet-4-5",
        **ANTHROPIC_BODY,
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "output_config": {"format": schema},
        "context_management": {"edits": []},
    }
    assert "context-management-2025-06-27" in seen.headers["anthropic-beta"]


def test_responses(lab: Lab) -> None:
    answer = {"object": "response.input_tokens", "input_tokens": 402}
    seen = counted(
        lab, "openai/responses/gpt-5-mini", answer, base=f"{lab.url}/responses?v=1",
        reasoning="low", temperature=None, metadata={"a": "b"},
    )  # fmt: skip
    assert seen.target == "/v1/responses/input_tokens?v=1"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.json == {
        "model": "gpt-5-mini",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {
                        "type": "input_image",
                        "image_url": f"data:image/png;base64,{PNG_TEXT}",
                        "detail": "auto",
                    },
                ],
            }
        ],
        "instructions": "Be brief.",
        "tools": [
            {
                "type": "function",
                "name": "weather",
                "description": "The weather.",
                "parameters": SCHEMA,
                "strict": False,
            }
        ],
        "reasoning": {"effort": "low", "summary": "auto"},
    }


def test_openai_chat_counts_as_responses(lab: Lab) -> None:
    seen = counted(lab, "openai/gpt-4o", {"input_tokens": 402})
    assert seen.target == "/v1/responses/input_tokens"
    assert seen.json["instructions"] == "Be brief."
    assert set(seen.json) == {"model", "input", "instructions", "tools"}


def test_gemini(lab: Lab) -> None:
    seen = counted(lab, "google/gemini-2.5-pro", {"totalTokens": 402})
    assert seen.target == "/v1/models/gemini-2.5-pro:countTokens"
    assert seen.headers["x-goog-api-key"] == KEY
    request = {"model": "models/gemini-2.5-pro", **GEMINI_BODY}
    assert seen.json == {"generateContentRequest": request}


VERTEX_ROOT = "/v1/projects/project-1/locations/europe-west4"


def test_gemini_on_vertex(lab: Lab) -> None:
    answer = {"totalTokens": 402, "totalBillableCharacters": 1600}
    seen = counted(lab, "google-vertex/gemini-2.5-pro", answer, tool_choice="required")
    assert seen.target == f"{VERTEX_ROOT}/publishers/google/models/gemini-2.5-pro:countTokens"
    assert seen.json == GEMINI_BODY


def test_claude_on_vertex(lab: Lab) -> None:
    model = "google-vertex/claude-haiku-4-5@20251001"
    seen = counted(lab, model, {"input_tokens": 402})
    assert seen.target == f"{VERTEX_ROOT}/publishers/anthropic/models/count-tokens:rawPredict"
    assert seen.json == {
        "anthropic_version": "vertex-2023-10-16",
        "model": "claude-haiku-4-5@20251001",
        **ANTHROPIC_BODY,
    }


def test_converse(lab: Lab) -> None:
    root = lab.url.removesuffix("/v1")
    seen = counted(lab, "amazon-bedrock/eu.amazon.nova-pro-v1:0", {"inputTokens": 402}, base=root)
    assert seen.target == "/model/amazon.nova-pro-v1%3A0/count-tokens"
    assert seen.json == {"input": {"converse": CONVERSE_BODY}}
    assert refusals("/model/amazon.nova-pro-v1:0/converse", seen.json["input"]["converse"]) == []


def test_claude_on_bedrock(lab: Lab) -> None:
    root = lab.url.removesuffix("/v1")
    model = "amazon-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    seen = counted(lab, model, {"inputTokens": 402}, base=root)
    assert seen.target == "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/count-tokens"
    body = base64.b64decode(seen.json["input"].pop("invokeModel")["body"])
    assert seen.json == {"input": {}}
    assert json.loads(body) == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 2000,
        "temperature": 0.5,
        **ANTHROPIC_BODY,
    }


def test_claude_on_azure(lab: Lab) -> None:
    base = f"{lab.url.removesuffix('/v1')}/anthropic"
    seen = counted(lab, "azure/claude-sonnet-4-5", {"input_tokens": 402}, base=base)
    assert seen.target == "/anthropic/v1/messages/count_tokens"
    assert seen.json == {"model": "claude-sonnet-4-5", **ANTHROPIC_BODY}


def test_body_is_the_one_of_the_request(lab: Lab) -> None:
    """Fields of `extra` and `on_payload` count as well."""

    def add(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "mcp_servers": [{"type": "url", "url": "https://mcp.example"}]}

    tool = {"type": "web_search_20250305", "name": "web_search"}
    seen = counted(
        lab, "anthropic/claude-sonnet-4-5", {"input_tokens": 402},
        extra={"tools": [tool]}, on_payload=add,
    )  # fmt: skip
    assert seen.json["tools"] == [*ANTHROPIC_BODY["tools"], tool]
    assert seen.json["mcp_servers"] == [{"type": "url", "url": "https://mcp.example"}]


# === Estimates ==============================================================================


@pytest.mark.parametrize(
    "model", ["hosted_vllm/m", "openai/served-m", "ollama/m", "cohere/command-a-03-2025"]
)
def test_api_without_a_count_is_estimated(lab: Lab, model: str) -> None:
    count = count_tokens(model, CONTEXT, api_base=lab.url, api_key=KEY)
    assert count.estimated
    assert count.tokens > 1200  # the image
    assert lab.seen == []


def test_responses_on_azure_are_estimated(lab: Lab) -> None:
    base = f"{lab.url.removesuffix('/v1')}/openai/v1/responses"
    assert count_tokens("azure/gpt-5", "Hello", api_base=base, api_key=KEY).estimated
    assert lab.seen == []


def test_offline_sends_nothing(lab: Lab) -> None:
    count = count_tokens("anthropic/claude-sonnet-4-5", "Hello", api_base=lab.url, offline=True)
    assert count == TokenCount(2, estimated=True)
    assert lab.seen == []


def test_scripted_and_local_models_are_estimated() -> None:
    with faux.script():
        assert count_tokens("faux/any", "Hello").estimated
    assert count_tokens("local/smollm2", "Hello").estimated


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "Unknown request URL"),
        (405, "Method Not Allowed"),
        (501, "Not Implemented"),
        (400, "The provided model doesn't support counting tokens."),
    ],
)
def test_host_that_cannot_count(lab: Lab, status: int, message: str) -> None:
    lab.play(Status(status, {"error": {"message": message}}))
    count = count_tokens("anthropic/claude-sonnet-4-5", "Hello", api_base=lab.url, api_key=KEY)
    assert (count.tokens, count.estimated) == (2, True)
    [warning] = count.warnings
    assert warning.code == "tokens_estimated"
    assert message.rstrip(".") in warning.message
    assert len(lab.seen) == 1


# === Failures ===============================================================================


def count_hello(lab: Lab, **options: Any) -> TokenCount:
    options = {"api_base": lab.url, "api_key": KEY, **options}
    return count_tokens("anthropic/claude-sonnet-4-5", "Hello", **options)


def test_retries(lab: Lab) -> None:
    busy = Status(429, {"error": {"message": "Slow down."}}, {"retry-after": "0"})
    lab.play(busy, busy, Status(200, {"input_tokens": 8}))
    assert count_hello(lab) == TokenCount(8, estimated=False)
    lab.play(busy, busy)
    with pytest.raises(PipyError, match="Slow down") as caught:
        count_hello(lab, max_retries=1)
    assert caught.value.error.kind == "rate_limit"
    assert len(lab.seen) == 5
    lab.play(Status(429, {"error": {"message": "Slow down."}}, {"retry-after": "3600"}))
    with pytest.raises(PipyError, match="Slow down"):
        count_hello(lab)


@pytest.mark.parametrize("answer", [{}, {"input_tokens": "many"}, {"input_tokens": -1}, []])
def test_answer_without_a_number(lab: Lab, answer: Any) -> None:
    lab.play(Status(200, answer))
    with pytest.raises(PipyError):
        count_hello(lab, max_retries=0)


def test_errors_never_show_the_key(lab: Lab) -> None:
    lab.play(Status(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}))
    with pytest.raises(AuthenticationError) as caught:
        count_hello(lab)
    assert KEY not in str(caught.value)
    assert len(lab.seen) == 1


def test_missing_key() -> None:
    with pytest.raises(MissingKeyError):
        count_tokens("anthropic/claude-sonnet-4-5", "Hello")


def test_invalid_use_sends_nothing(lab: Lab) -> None:
    with pytest.raises(TypeError, match="unknown option"):
        count_hello(lab, temprature=1)
    with pytest.raises(ValueError, match="empty"):
        count_tokens("anthropic/claude-sonnet-4-5", "", api_base=lab.url)
    with pytest.raises(BadRequestError, match="on_payload="):
        count_hello(lab, on_payload=lambda body: {**body, "system": float("nan")})
    assert lab.seen == []


def test_abort_and_timeout(lab: Lab) -> None:
    controller = AbortController()

    def abort() -> None:
        lab.wait_for_requests(1)
        controller.abort("enough")

    lab.play([STALL], [STALL])
    thread = threading.Thread(target=abort)
    thread.start()
    with pytest.raises(AbortedError, match="aborted: enough"):
        count_hello(lab, signal=controller.signal)
    thread.join()
    with pytest.raises(AbortedError):
        count_hello(lab, signal=controller.signal)
    with pytest.raises(RequestTimeoutError, match="in time"):
        count_hello(lab, timeout=0.05, max_retries=0)
    assert all(seen.left.wait(30) for seen in lab.seen)


def test_async_version(lab: Lab) -> None:
    lab.play(Status(200, {"input_tokens": 8}))
    options: dict[str, Any] = {"api_base": lab.url, "api_key": KEY}
    counting = acount_tokens("anthropic/claude-sonnet-4-5", "Hello", **options)
    assert asyncio.run(counting) == TokenCount(8, estimated=False)


# === Budgets ================================================================================


def answer_or_count(tokens: int) -> Callable[[Seen], Any]:
    def answer(seen: Seen) -> Any:
        if seen.path.endswith("/count_tokens"):
            return Status(200, {"input_tokens": tokens})
        return ANTHROPIC.scene(say("ok"))

    return answer


def test_budget_with_counts_refuses_what_an_estimate_admits(lab: Lab) -> None:
    model = Model(
        id="claude-m", provider="anthropic", api=lab.url, cost=ModelCost(input=1.0, output=1.0)
    )
    options: dict[str, Any] = {"api_base": lab.url, "api_key": KEY, "max_retries": 0}
    lab.always = answer_or_count(1000)
    with budget(tokens=500):
        assert complete(model, "Hello", **options).text == "ok"
    assert [seen.path for seen in lab.seen] == ["/v1/messages"]
    lab.seen.clear()
    with budget(tokens=500, count_tokens=True):
        message = complete(model, "Hello", **options)
    assert message.error is not None
    assert message.error.kind == "budget"
    assert "about 1,000 tokens" in message.error.message
    assert [seen.path for seen in lab.seen] == ["/v1/messages/count_tokens"]
    lab.always = answer_or_count(100)
    with budget(tokens=500, count_tokens=True) as spent:
        assert complete(model, "Hello", **options).text == "ok"
    assert spent.tokens_spent == 15


def test_budget_estimates_if_the_count_fails(lab: Lab) -> None:
    lab.play(Status(500, "down"), ANTHROPIC.scene(say("ok")))
    with budget(usd=1, count_tokens=True):
        message = complete(
            "anthropic/claude-sonnet-4-5", "Hello", api_base=lab.url, api_key=KEY, max_retries=0
        )
    assert message.text == "ok"
    with faux.script("ok"), budget(tokens=100, count_tokens=True):
        assert complete("faux/any", "Hello").text == "ok"


# === `pipy cost --prompt` ===================================================================


def run_cost(
    capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0
) -> tuple[list[str], str]:
    assert main(["cost", *arguments]) == code
    done = capsys.readouterr()
    return done.out.splitlines(), done.err


def test_cost_of_a_prompt(
    lab: Lab, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", lab.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("What is the capital of France?", encoding="utf-8")
    arguments = ("anthropic/claude-sonnet-4-5", "--prompt", str(prompt))
    lab.play(Status(200, {"input_tokens": 14_000}))
    out, _ = run_cost(capsys, *arguments, "--output", "1k")
    assert out == [
        "Prompt: 14,000 tokens (counted by anthropic)",
        "Estimated cost: $0.057 ($0.042 input + $0.015 output)",
    ]
    [seen] = lab.seen
    [message] = seen.json["messages"]
    assert message["content"][0]["text"] == "What is the capital of France?"
    out, _ = run_cost(capsys, *arguments, "--offline")
    assert out[0] == "Prompt: 9 tokens (estimated)"
    out, _ = run_cost(capsys, *arguments, "--offline", "--json")
    shown = json.loads("".join(out))
    assert (shown["input_tokens"], shown["estimated"]) == (9, True)
    assert len(lab.seen) == 1
    lab.play(Status(401, {"error": {"message": "invalid x-api-key"}}))
    out, err = run_cost(capsys, *arguments)
    assert out[0] == "Prompt: 9 tokens (estimated)"
    assert "anthropic did not count them: invalid x-api-key" in err
    (tmp_path / "dot.png").write_bytes(PNG)
    lab.play(Status(200, {"input_tokens": 50}))
    run_cost(capsys, arguments[0], "--prompt", str(tmp_path / "dot.png"))
    assert lab.seen[-1].json["messages"][0]["content"][0]["type"] == "image"


def test_cost_of_a_prompt_without_a_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Hello", encoding="utf-8")
    arguments = ("anthropic/claude-sonnet-4-5", "--prompt", str(tmp_path / "prompt.txt"))
    out, err = run_cost(capsys, *arguments)
    assert out[0] == "Prompt: 2 tokens (estimated)"
    assert "ANTHROPIC_API_KEY" in err


def test_cost_of_a_file_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = "anthropic/claude-sonnet-4-5"
    _, err = run_cost(capsys, name, "--prompt", str(tmp_path / "none.txt"), code=2)
    assert "none.txt" in err
    (tmp_path / "empty.txt").write_bytes(b"")
    _, err = run_cost(capsys, name, "--prompt", str(tmp_path / "empty.txt"), code=2)
    assert "empty" in err
