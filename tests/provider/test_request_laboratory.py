"""Send requests with every option and conversation to strict checkers: no host rejects one.

Each model gets every option with a plain conversation and one with tools, and every conversation
with the options that change how conversations are sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
    AssistantMessage,
    Context,
    ImageContent,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserMessage,
    complete,
)
from pipy_ai._requests import build_request
from pipy_ai.errors import ErrorInfo, ErrorKind
from pipy_ai.provider.transport import wire_for
from pipy_ai.utils.extras import has_extra

from ..support.strict_rules import StrictHost, broken_rules, inverted_reasoning

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

MODELS = """
openai/gpt-5 openai/o4-mini openai/gpt-4o openai/gpt-5-chat-latest openai/responses/gpt-5.4
openai/gpt-9-unlisted requesty/openai/gpt-5.1 opencode/gpt-5.4
anthropic/claude-opus-4-1 anthropic/claude-sonnet-4-5 anthropic/claude-sonnet-4-6
anthropic/claude-opus-4-8 anthropic/claude-sonnet-5 anthropic/claude-fable-5
anthropic/claude-3-haiku-20240307 opencode/claude-sonnet-4-5 openrouter/anthropic/claude-opus-4.7
google/gemini-2.5-flash google/gemini-3.1-pro-preview google/gemma-3-27b-it
deepseek/deepseek-v4-flash deepseek/deepseek-reasoner deepseek/deepseek-chat
opencode/deepseek-v4-flash moonshotai/kimi-k2.6 moonshotai-cn/kimi-k2.5 opencode/kimi-k2.6
moonshotai/kimi-k2-thinking moonshotai/kimi-k2-0905-preview kimi-for-coding/k2p5
zai/glm-4.7 zai-coding-plan/glm-5.1 zhipuai/glm-4.6 xiaomi/mimo-v2.5 minimax/MiniMax-M2
alibaba/qwen3.5-plus alibaba-cn/qwen3-32b alibaba/qwen-plus mistral/magistral-medium-latest
mistral/mistral-large-latest groq/openai/gpt-oss-120b cerebras/zai-glm-4.7 cerebras/gpt-oss-120b
xai/grok-4.3 perplexity/sonar perplexity/sonar-reasoning-pro hosted_vllm/google/gemma-2-9b-it
hosted_vllm/google/gemma-3-27b-it hosted_vllm/mistralai/Mistral-7B-Instruct-v0.3
hosted_vllm/Qwen/Qwen3-32B lm_studio/qwen3-4b openrouter/moonshotai/kimi-k2.6
fireworks-ai/accounts/fireworks/models/deepseek-v4-pro togetherai/moonshotai/Kimi-K2.6
ollama/qwen3 ollama/gpt-oss:20b ollama/gemma3 ollama/gpt-oss:120b-cloud
""".split()  # noqa: SIM905


class Invoice(BaseModel):
    number: str


LEVELS = ("off", "minimal", "low", "medium", "high", "xhigh", "max")
OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.3},
    {"temperature": 0.3, "top_p": 0.9},
    {"temperature": 0.3, "top_p": 0.9, "reasoning": "high"},
    {"top_p": 0.5, "reasoning": "low"},
    {"top_k": 5},
    {"top_k": 5, "reasoning": "medium"},
    {"seed": 7},
    {"temperature": 1.8},
    {"stop": ["\n", " ", "a", "b", "c", "d", "e"]},
    {"extra": {"presence_penalty": 0.3}},
    {"stop": "END"},
    {"stop": ["END", "STOP"], "max_tokens": 500},
    {"max_tokens": 2000, "reasoning": "high"},
    *({"reasoning": level} for level in LEVELS),
    *({"tool_choice": choice} for choice in ("auto", "none", "required", "lookup")),
    *({"tool_choice": "required", "reasoning": level} for level in ("off", "low", "high")),
    *({"tool_choice": "lookup", "reasoning": level} for level in ("off", "low", "high")),
    {"output": Invoice},
    {"output": Invoice, "reasoning": "high"},
    {"output": Invoice, "reasoning": "off"},
    {"output": Invoice, "tool_choice": "required"},
]
# Options that change how a conversation is sent.
FEW_OPTIONS: list[dict[str, Any]] = [{}, {"reasoning": "high"}, {"reasoning": "off"}]

LOOKUP = Tool(name="lookup", description="Look something up.")
CAMERA = Tool(name="camera", description="Take a picture.")
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
SIGNATURE, CALL_ID = "c2lnbmF0dXJl", "call_own"
OWN = {SIGNATURE, CALL_ID, "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="}


@pytest.fixture(scope="module")
def host() -> Iterator[StrictHost]:
    server = StrictHost(OWN)
    yield server
    server.close()


class Conversations:
    """Conversations with answers of one model, as its API returned them."""

    def __init__(self, model: str) -> None:
        request = build_request(model, "q", None, {"api_base": "http://localhost/v1"})
        self.author = {
            "provider": request.provider,
            "model": request.model_id,
            "api": wire_for(request).api,
        }
        signed = self.author["api"] in ("anthropic-messages", "openai-responses")
        self.signature = SIGNATURE if signed and "claude" in model else None

    def say(self, *content: Any, **fields: Any) -> AssistantMessage:
        fields = {"stop_reason": "toolUse" if fields.pop("calls", 0) else "stop", **fields}
        return AssistantMessage(content=list(content), **self.author | fields)

    def think(self) -> ThinkingContent:
        return ThinkingContent(thinking="I should look.", thinking_signature=self.signature)

    def all(self) -> dict[str, tuple[list[Any], bool]]:
        """Return messages by name, and whether they go with tools."""
        question, text = UserMessage(content="Who won?"), TextContent(text="France did.")
        call = ToolCall(id=CALL_ID, name="lookup", arguments={"q": 1})
        shot = ToolCall(id="call_two", name="camera", arguments={})
        image = ImageContent(data=PNG, mime_type="image/png")
        result = _result(call, TextContent(text="France"))
        failed = self.say(
            stop_reason="error", error=ErrorInfo(kind=ErrorKind.SERVER, message="boom")
        )
        aborted = self.say(TextContent(text="It was "), stop_reason="aborted")
        other = AssistantMessage(
            content=[ThinkingContent(thinking="Hm.", thinking_signature="foreign"), text, call],
            provider="faux", model="other", api="faux", stop_reason="toolUse",
        )  # fmt: skip
        return {
            "a question": ([question], False),
            "a question with tools": ([question], True),
            "two questions": ([question, UserMessage(content="And when?")], False),
            "a failed turn": ([question, failed, UserMessage(content="Again.")], False),
            "an aborted turn": ([question, aborted, UserMessage(content="Go on.")], False),
            "an aborted end": ([question, aborted], False),
            "an answer": ([question, self.say(text), UserMessage(content="And 2002?")], False),
            "thinking": ([question, self.say(self.think(), text), question], False),
            "an assistant first": ([self.say(text), question], False),
            "an assistant last": ([question, self.say(TextContent(text="It was \n"))], False),
            "two assistants": ([question, self.say(text), self.say(text), question], False),
            "a call": ([question, self.say(call, calls=1), result], True),
            "thinking and a call": (
                [question, self.say(self.think(), call, calls=1), result], True
            ),
            "a call, then a user": (
                [question, self.say(self.think(), call, calls=1), result, question],
                True,
            ),
            "a call of another model": ([question, other, result], True),
            "old calls without tools": (
                [question, self.say(call, calls=1), result, self.say(text), question],
                False,
            ),
            "images in results": (
                [
                    question,
                    self.say(shot, call, calls=2),
                    _result(shot, TextContent(text="Not found:"), image, is_error=True),
                    _result(call, image),
                    question,
                ],
                True,
            ),
            "an error that is an image": (
                [question, self.say(shot, calls=1), _result(shot, image, is_error=True)],
                True,
            ),
            "empty texts": (
                [UserMessage(content=[TextContent(text=" "), TextContent(text="q")]),
                 self.say(TextContent(text=""), text), UserMessage(content=""), question],
                False,
            ),
        }  # fmt: skip


def _result(call: ToolCall, *content: Any, **fields: Any) -> ToolResultMessage:
    names = {"tool_call_id": call.id, "tool_name": call.name}
    return ToolResultMessage(content=list(content), **names, **fields)


def send(
    host: StrictHost, model: str, messages: list[Any], tools: bool, **options: Any
) -> AssistantMessage:
    context = Context(
        messages=messages, system_prompt="Be brief.", tools=[LOOKUP, CAMERA] if tools else None
    )
    if not tools and options.get("tool_choice") and "output" not in options:
        del options["tool_choice"]
    # Each API puts its path after another part of the address.
    request = build_request(model, "q", None, {"api_base": "http://localhost"})
    api = wire_for(request).api
    suffix = {"anthropic-messages": "", "google-generative-ai": "/v1beta"}.get(api, "/v1")
    message: AssistantMessage = complete(
        model,
        context,
        api_key="k",
        api_base=f"{host.url}/{request.provider}{suffix}",
        max_retries=0,
        **options,
        **({"output_retries": 0} if "output" in options else {}),
    )
    return message


def problems(host: StrictHost, message: AssistantMessage, options: dict[str, Any]) -> list[str]:
    """Return why a request was rejected, or what it turned into its opposite."""
    error, level = message.error, options.get("reasoning", "")
    found = [error.message] if error is not None and error.kind != "invalid_output" else []
    if level and inverted_reasoning(level, host.seen[0]):
        found.append(f"reasoning={level} turned thinking off")
    return found


@pytest.mark.parametrize("model", MODELS)
def test_no_request_is_rejected(july: Path, host: StrictHost, model: str) -> None:
    conversations = Conversations(model).all()
    rejected: dict[str, list[str]] = {}
    for options in OPTIONS:
        if "extra" in options and not has_extra("litellm"):  # it translates them for some APIs
            continue
        for name in ("a question with tools", "thinking and a call"):
            messages, tools = conversations[name]
            message = send(host, model, messages, tools, **options)
            if found := problems(host, message, options):
                rejected[f"{name}, {options}"] = found
    for name, (messages, tools) in conversations.items():
        for options in FEW_OPTIONS:
            message = send(host, model, messages, tools, **options)
            if found := problems(host, message, options):
                rejected[f"{name}, {options}"] = found
    assert rejected == {}


@pytest.mark.parametrize(
    "model",
    [
        "openai/o4-mini", "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-5",
        "google/gemini-3.1-pro-preview", "deepseek/deepseek-v4-flash", "moonshotai/kimi-k2.6",
        "zai/glm-4.7", "mistral/magistral-medium-latest", "perplexity/sonar",
        "groq/openai/gpt-oss-120b",
    ],
)  # fmt: skip
@pytest.mark.litellm
def test_no_request_that_litellm_builds_is_rejected(
    july: Path, host: StrictHost, model: str
) -> None:
    conversations = Conversations(model).all()
    rejected: dict[str, list[str]] = {}
    names = ("a question with tools", "thinking and a call", "a failed turn", "an assistant first")
    for name in names:
        messages, tools = conversations[name]
        for options in OPTIONS if name == names[0] else FEW_OPTIONS:
            message = send(host, model, messages, tools, transport="litellm", **options)
            if found := problems(host, message, options):
                rejected[f"{name}, {options}"] = found
    assert rejected == {}


def test_strict_hosts_reject() -> None:
    """The checkers do see what they are made for."""
    chat: dict[str, Any] = {"model": "gpt-5", "messages": [{"role": "user", "content": "q"}]}
    for host, changes in (
        ("openai", {"stop": "END"}),
        ("openai", {"max_tokens": 5}),
        ("moonshotai", {"model": "kimi-k2.6", "temperature": 0.2}),
        ("deepseek", {"model": "deepseek-v4-pro", "tool_choice": "required"}),
        ("zai", {"model": "glm-4.7", "tool_choice": "required"}),
        ("perplexity", {"model": "sonar", "messages": 2 * chat["messages"]}),
    ):
        assert broken_rules(host, "/v1/chat/completions", {**chat, **changes}, set())
    assert broken_rules("openai", "/v1/chat/completions", chat, set()) == []
    assert inverted_reasoning("high", {"reasoning_effort": "none"})
