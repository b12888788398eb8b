"""Conversations, options and models for `test_recorded_requests.py`, and the recorded requests.

A case is named `model | options | conversation`, after `OPTIONS` and `CONVERSATIONS`. Only public
names of the package are used, so internal changes never require a new recording.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

import pipy_ai
from pipy_ai import (
    Context,
    DocumentContent,
    ErrorInfo,
    ErrorKind,
    ImageContent,
    Model,
    ModelCapabilities,
    ModelLimits,
    ModelModalities,
    StopReason,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    assistant,
    ctx,
    document,
    get_model,
    image,
    preview,
    tool_result,
    user,
)

FILE = Path(__file__).parents[1] / "data" / "recorded_requests.json"

# === The surroundings ===

# Environment variables. A preview masks API keys and does not need them.
VARIABLES = {
    "AWS_REGION": "eu-west-1",
    "AZURE_COGNITIVE_SERVICES_RESOURCE_NAME": "cognitive-resource",
    "AZURE_RESOURCE_NAME": "azure-resource",
    "CLOUDFLARE_ACCOUNT_ID": "account-0123",
    "CLOUDFLARE_GATEWAY_ID": "gateway-1",
    "DATABRICKS_HOST": "https://dbc-1.cloud.databricks.example/",
    "GOOGLE_VERTEX_LOCATION": "europe-west4",
    "GOOGLE_VERTEX_PROJECT": "project-1",
    "NEON_AI_GATEWAY_BASE_URL": "https://neon.example",
    "SNOWFLAKE_ACCOUNT": "snow-account",
    "ANTHROPIC_API_KEY": "anthropic-key-0123456789",
    "OPENAI_API_KEY": "openai-key-0123456789",
}
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "usual": VARIABLES,
    "bare": {},
    "addresses": {
        **VARIABLES,
        "OPENAI_BASE_URL": "https://openai-gateway.example/v1",
        "ANTHROPIC_BASE_URL": "https://anthropic-gateway.example/v1/",
        "HOSTED_VLLM_API_BASE": "http://127.0.0.1:9992/v1",
        "LITELLM_PROXY_API_BASE": "https://proxy.example",
        "LLAMAFILE_API_BASE": "http://127.0.0.1:9993/v1",
        "LM_STUDIO_API_BASE": "http://127.0.0.1:9991/v1",
        "OLLAMA_CHAT_API_BASE": "http://127.0.0.1:9995",
        "DATABRICKS_HOST": "dbc-2.cloud.databricks.example",
        "SNOWFLAKE_ACCOUNT": "https://snow-2.snowflakecomputing.com",
    },
    "openai-api-base": {
        **VARIABLES,
        "OPENAI_API_BASE": "https://api.openai.com/v1/",
        "ANTHROPIC_API_BASE": "https://claude.example/v1/messages?beta=true",
    },
    "organization": {**VARIABLES, "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT": "proj-1"},
    "cache-long": {**VARIABLES, "PIPY_CACHE_RETENTION": "long"},
    "cache-odd": {**VARIABLES, "PIPY_CACHE_RETENTION": "forever"},
    "by-litellm": {**VARIABLES, "PIPY_TRANSPORT": "litellm"},
}
NAMES = sorted(
    {"OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID"}.union(*ENVIRONMENTS.values())
)  # unset before each case

# Overrides of the catalogue, and the file of LiteLLM's Router.
OVERRIDES = {
    "openai/gpt-4o-mini-tuned": {
        "limit": {"context": 8000, "output": 1000},
        "modalities": {"input": ["text"], "output": ["text"]},
        "reasoning": False,
        "tool_call": True,
    },
    "acme-inference/large": {
        "provider": {"api": "https://acme.example/v1", "npm": "@ai-sdk/openai-compatible"},
        "limit": {"context": 8000, "output": 1000},
        "reasoning": True,
        "reasoning_options": [{"type": "toggle"}],
        "interleaved": {"field": "reasoning_content"},
    },
    "nobody-knows/large": {"limit": {"context": 8000, "output": 1000}},
    "hosted_vllm/qwen-own": {
        "limit": {"context": 32000, "output": 8000},
        "reasoning": True,
        "reasoning_options": [{"type": "toggle"}],
        "interleaved": True,
        "structured_output": True,
        "tool_call": True,
    },
}
ROUTER = """\
model_list:
  - model_name: router-fast
    litellm_params: {model: openai/gpt-5-mini, api_key: os.environ/OPENAI_API_KEY}
  - model_name: router-claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: os.environ/ANTHROPIC_API_KEY}
  - model_name: router-team/*
    litellm_params: {model: groq/*}
router_settings:
  model_group_alias: {router-alias: router-claude}
"""


def write_user_files(directory: Path) -> None:
    """Write `OVERRIDES` and `ROUTER` to a data directory."""
    (directory / "overrides.json").write_text(json.dumps(OVERRIDES))
    (directory / "router.yaml").write_text(ROUTER)


# === Models ===


def by_hand(label: str) -> Model:
    """Return a model that is not in the catalogue, or that differs from its record."""
    address = "https://acme.example/v1"
    reasons = ModelCapabilities(reasoning=True)
    limits = ModelLimits(context=32_000, output=4_000)
    if label == "moved":
        moved = get_model("openai/gpt-5-mini")
        assert moved is not None
        moved.api = "https://moved.example/v1"
        return moved
    made = {
        "bare": Model(id="m-1", provider="acme"),
        "known-provider": Model(id="m-1", provider="groq", limits=limits),
        "address": Model(id="m-1", provider="acme", api=address, env=["ACME_API_KEY"]),
        "local-address": Model(id="m-1", provider="acme", api="http://localhost:9/v1"),
        "messages": Model(
            id="m-1", provider="acme", api=address, npm="@ai-sdk/anthropic", capabilities=reasons,
            limits=limits,
        ),
        "gemini": Model(
            id="m-1", provider="acme", api="https://acme.example/v1beta", npm="@ai-sdk/google",
            capabilities=reasons,
        ),
        "responses": Model(id="m-1", provider="acme", api=address, shape="responses"),
        "tight": Model(
            id="m-1", provider="anthropic", limits=ModelLimits(2_000, 1_500), capabilities=reasons,
            release_date="2025-06-01",
        ),
        "gemini-interleaved": Model(
            id="m-1", provider="google", capabilities=reasons, raw={"interleaved": True}
        ),
        "nowhere": Model(id="m-1", provider="acme", npm="@ai-sdk/openai-compatible"),
        "blind": Model(
            id="m-1", provider="deepseek", modalities=ModelModalities(["text"], ["text"]),
            capabilities=ModelCapabilities(
                reasoning=False, temperature=False, structured_output=True, tool_call=True
            ),
        ),
        "toggle": Model(
            id="m-1", provider="alibaba", reasoning_options=[{"type": "toggle"}],
            interleaved=True, capabilities=reasons,
        ),
        "other-npm": Model(
            id="m-1", provider="groq", npm="@ai-sdk/anthropic", api="https://other.example/v1"
        ),
    }  # fmt: skip
    return made[label]


class Author(NamedTuple):
    """The model that wrote an assistant message."""

    provider: str
    model: str
    api: str


_WIRES = {
    "/chat/completions": "openai-completions",
    "/responses": "openai-responses",
    "/messages": "anthropic-messages",
    ":streamGenerateContent": "google-generative-ai",
    ":streamRawPredict": "anthropic-messages",  # Claude on Vertex AI
}


def model_of(name: str) -> str | Model:
    """Return the model of a case: a name, or a `Model` for `by-hand:…`."""
    kind, _, label = name.partition(":")
    return by_hand(label) if kind == "by-hand" else name


def author_of(name: str) -> Author:
    """Return the author of the model's own messages; `api` is the wire that reaches the model."""
    model = model_of(name)
    try:
        path = preview(model, "Hello").url.partition("?")[0]
    except (pipy_ai.PipyError, ValueError):  # the model cannot be reached
        path = ""
    api = next((api for ending, api in _WIRES.items() if path.endswith(ending)), "litellm")
    if isinstance(model, Model):
        return Author(model.provider, model.id, api)
    provider, _, identity = name.partition("/")
    return Author(provider, identity, api)


# === Conversations ===

TIME = 1_750_000_000_000
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(24)).decode()
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type/Page>>endobj\ntrailer<<>>\n%%EOF\n").decode()

TOOLS = [
    Tool(
        name="get_weather",
        description="The weather of a city \ud83d",
        parameters={
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city", "minLength": 1},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
                "place": {"$ref": "#/$defs/Place"},
                "mixed": {"type": ["string", "number", "null"]},
                "pair": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}]},
            },
            "required": ["city", "gone"],
            "additionalProperties": False,
            "$defs": {"Place": {"type": "object", "properties": {"lat": {"type": "number"}}}},
        },
    ),
    Tool(name="screenshot"),
    Tool(
        name="lookup",
        description="Look something up.",
        parameters={
            "type": "object",
            "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
            "required": ["query"],
        },
    ),
]
# Most keywords of JSON Schema.
RICH: dict[str, Any] = {
    "$ref": "#/$defs/Plan",
    "$defs": {
        "Plan": {
            "type": "object",
            "description": "A plan",
            "properties": {
                "name": {"type": ["string", "null"], "maxLength": 40, "pattern": "^[a-z]+$"},
                "when": {"type": "string", "format": "date-time"},
                "mail": {"type": "string", "format": "email", "default": "a@b.c"},
                "kind": {"enum": ["a", "b", None]},
                "level": {"enum": [1, 2, 3]},
                "share": {"enum": [0.5, 1]},
                "sure": {"enum": [True]},
                "odd": {"enum": [1, "x", ""]},
                "fixed": {"const": "v1"},
                "nothing": {"const": None},
                "steps": {"type": "array", "items": {"$ref": "#/$defs/Step"}, "minItems": 1},
                "pair": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}]},
                "same": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}]},
                "either": {"oneOf": [{"$ref": "#/$defs/Step"}, {"$ref": "#/$defs/Other"}]},
                "lists": {
                    "description": "Lists",
                    "anyOf": [
                        {"type": "array", "items": {"type": "string"}},
                        {"type": "array", "items": {"type": "integer"}},
                    ],
                },
                "words": {"anyOf": [{"enum": ["x", "y"]}, {"enum": ["y", "z"]}, {"type": "null"}]},
                "amount": {"anyOf": [{"type": "integer"}, {"type": "number", "format": "double"}]},
                "all": {
                    "allOf": [
                        {"type": "object", "properties": {"q": {"type": "string"}}},
                        {"properties": {"r": {"type": "boolean"}}, "required": ["r"]},
                    ],
                },
                "both": {"type": ["array", "string"], "items": {"type": "number"}},
            },
            "required": ["when", "steps"],
        },
        "Step": {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "count": {"type": "integer", "format": "int32"},
            },
            "required": ["text"],
        },
        "Other": {
            "type": "object",
            "properties": {"text": {"type": "number"}, "note": {"type": "string"}},
            "required": ["text"],
        },
    },
}
# Recursive schemas: at the root, further down, and among values of any type.
TREE: dict[str, Any] = {
    "type": "object",
    "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "name": {"type": "string"}},
    "required": ["name"],
}
CHAIN = {
    "type": "object",
    "properties": {"first": {"$ref": "#/definitions/Link"}},
    "definitions": {
        "Link": {"type": "object", "properties": {"next": {"$ref": "#/definitions/Other"}}},
        "Other": {"type": "object", "properties": {"next": {"$ref": "#/definitions/Link"}}},
    },
}
ANYTHING = {
    "type": "object",
    "properties": {
        "value": {},
        "tree": {"$ref": "#"},
        "bare": {"type": "array"},
        "true": True,
        "when": {"type": "string", "format": "date-time"},
    },
}
FREE_KEYS = {
    "type": "object",
    "title": "Free Form",
    "properties": {"labels": {"type": "object", "additionalProperties": {"type": "string"}}},
    "required": ["labels"],
}


class Line(BaseModel):
    text: str = Field(description="What was bought", min_length=1)
    amount: float = Field(ge=0)


class Invoice(BaseModel):
    """An invoice as it was sent."""

    number: str = Field(pattern="^[A-Z]+-[0-9]+$")
    lines: list[Line] = Field(min_length=1)
    currency: str | None = None
    paid: bool = False


def at(message: Any, **fields: Any) -> Any:
    """Return the message with a fixed timestamp."""
    return message.model_copy(update={"timestamp": TIME, **fields})


def user_turn(*parts: Any) -> Any:
    return at(user(*parts))


def model_turn(who: Author, *parts: Any, **fields: Any) -> Any:
    return at(assistant(*parts), **who._asdict(), **fields)


def result_turn(call: ToolCall | str, *content: Any, **more: Any) -> Any:
    return at(tool_result(call, *content, **more))


def signature(api: str, number: int) -> str:
    """Return a thinking signature as the wire sends it."""
    if api != "openai-responses":
        return f"c2lnbmF0dXJl{number}=="
    summary = [{"type": "summary_text", "text": f"Summary {number}."}]
    item = {"type": "reasoning", "id": f"rs_{number}", "summary": summary}
    return json.dumps({**item, "encrypted_content": f"gAAAAAB{number}=="})


def thought(text: str, api: str, number: int) -> ThinkingContent:
    return ThinkingContent(thinking=text, thinking_signature=signature(api, number))


def hidden(api: str, number: int) -> ThinkingContent:
    """Return redacted thinking."""
    text = f"ZW5jcnlwdGVk{number}"
    if api in ("openai-completions", "litellm"):
        text = json.dumps({"type": "reasoning.encrypted", "data": text, "id": f"re-{number}"})
    elif api == "openai-responses":
        text = signature(api, number)
    return ThinkingContent(redacted=True, thinking_signature=text)


def plain(me: Author) -> Context:
    greeting = model_turn(me, "Hi, how are you?")
    return ctx(user_turn("Hello"), greeting, user_turn("Fine — “and” you? 😀"), system="Be brief.")


def thinking(me: Author, tools: list[Tool] | None = None) -> Context:
    """Return turns of the model: thinking with and without signatures, before tool calls, at the
    end of a message, and from another wire."""
    anywhere, elsewhere = me._replace(api=""), me._replace(api="another-wire")
    call = ToolCall(
        id="toolu_1", name="get_weather", arguments={"city": "Rome"},
        thought_signature=signature("", 8),
    )  # fmt: skip
    plain_call = ToolCall(id="toolu_2", name="screenshot")
    return ctx(
        user_turn("First question"),
        model_turn(
            me,
            thought("signed one", me.api, 1),
            TextContent(text="First answer", text_signature="msg_1"),
        ),
        user_turn("Second question"),
        model_turn(anywhere, ThinkingContent(thinking="unsigned two"), "Second answer"),
        user_turn("Third question"),
        model_turn(
            me,
            hidden(me.api, 3),
            thought("signed three", me.api, 4),
            "Third",
            thought("between", me.api, 5),
            " answer ",
            thought("late", me.api, 6),
        ),
        user_turn("Fourth question"),
        model_turn(me, ThinkingContent(thinking="only a thought")),
        model_turn(elsewhere, thought("of another wire", me.api, 7), "Fourth answer"),
        user_turn("Fifth question"),
        model_turn(me, thought("before a call", me.api, 8), "I look.", call),
        result_turn(call, "sunny"),
        model_turn(me, ThinkingContent(thinking="unsigned before a call"), plain_call),
        result_turn(plain_call, "taken"),
        model_turn(anywhere, "Done."),
        user_turn("Last question"),
        system="Be brief.",
        tools=tools,
    )


def with_tools(me: Author) -> Context:
    """Return calls and results: data, errors, files, invalid arguments, results out of order."""
    weather = ToolCall(
        id="call_A1", name="get_weather",
        arguments={"city": "Zürich", "days": 3, "place": {"lat": 47.4}},
    )  # fmt: skip
    lookup = ToolCall(id="call_B2", name="lookup", arguments={"query": "x", "limit": 1})
    shot = ToolCall(id="call_C3", name="screenshot")
    broken = ToolCall(
        id="call_D4", name="lookup", raw_arguments='{"query": ', arguments_error="it is cut off"
    )
    other_shot, last_shot = (shot.model_copy(update={"id": f"call_{n}"}) for n in ("E5", "F6"))
    last_lookup = lookup.model_copy(update={"id": "call_G7"})
    return ctx(
        user_turn("What is the weather?"),
        model_turn(me, "I ask for it.", weather, lookup),
        result_turn(weather, {"sky": "blue", "degrees": [21.5, None, True]}),
        result_turn(lookup, "no such thing", is_error=True),
        model_turn(me, shot),
        result_turn(shot, "Here it is:", ImageContent(data=PNG, mime_type="image/png")),
        user_turn("And now?"),
        model_turn(me, broken, other_shot),
        result_turn(broken, "bad arguments", is_error=True),
        result_turn("call_E5", ImageContent(data=JPEG), name="screenshot", is_error=True),
        model_turn(me, last_shot, last_lookup),
        result_turn("call_G7", "", name="lookup"),
        result_turn(last_shot, DocumentContent(data=PDF, name="shot.pdf"), "as a PDF"),
        system="Use the tools.",
        tools=TOOLS,
    )


def images(me: Author) -> Context:
    """Return images with and without a media type, and PDFs with and without a name."""
    return ctx(
        user_turn(
            "What is this?",
            ImageContent(data=PNG, mime_type="image/png"),
            ImageContent(data=JPEG),
            TextContent(text="and these?"),
            ImageContent(data=PNG, mime_type="image/jpg"),
            ImageContent(url=f"data:image/png;base64,{PNG}"),
            DocumentContent(data=PDF, name="repört\ud83d.pdf"),
            DocumentContent(data=PDF),
            DocumentContent(data=PDF, mime_type=""),
            ImageContent(data="bm9uZQ=="),
            TextContent(text="  "),
        ),
        model_turn(me, "A dot."),
        user_turn(image(base64.b64decode(PNG))),
        model_turn(me, "A dot again."),
        user_turn(document(base64.b64decode(PDF), name="last.pdf"), TextContent(text="Sum it up.")),
    )


def remote(me: Author) -> Context:
    """Return files given as URLs.

    Used only with options that end at the payload: LiteLLM would download the files that a wire
    does not accept as URLs.
    """
    return ctx(
        user_turn(
            "Look:",
            image("https://example.com/cat.png"),
            document("https://example.com/papers/7.pdf"),
            document("https://example.com/papers/8"),
        ),
        model_turn(me, "Fine."),
        user_turn("Go on."),
        system="Look closely.",
    )


def handed_over(me: Author) -> Context:
    """Return messages of other models: thinking and ids of theirs, failed and aborted turns,
    missing, duplicate and orphaned results, and lone surrogates."""
    gpt = Author("openai", "gpt-5", "openai-responses")
    claude = Author("anthropic", "claude-sonnet-4-5", "anthropic-messages")
    gemini = Author("google", "gemini-2.5-pro", "google-generative-ai")
    deepseek = Author("deepseek", "deepseek-reasoner", "openai-completions")
    other = Author("other", "model", "openai-completions")
    long = ToolCall(id="call_x|" + "aB+/=" * 20, name="get_weather", arguments={"city": "Bern"})
    nine = ToolCall(id="abcDEF123", name="screenshot")
    dots = ToolCall(
        id="functions.lookup:0", name="lookup", arguments={"query": "\udc00 q"},
        thought_signature="c2ln",
    )  # fmt: skip
    again = ToolCall(id="functions.lookup:0", name="lookup", arguments={"query": "again"})
    nameless = ToolCall(id="", name="lookup", arguments={"query": "no id"})
    lost = ToolCall(id="call_lost", name="look\ud800up")
    return ctx(
        user_turn("Who\ud83d are you?"),
        model_turn(
            gpt,
            thought("openai thought", gpt.api, 1),
            TextContent(text="A model.", text_signature="msg_abc"),
            long,
        ),
        result_turn(long, "snow \ude00"),
        model_turn(
            claude,
            thought("claude thought", claude.api, 2),
            ThinkingContent(redacted=True, thinking_signature="cmVkYWN0ZWQ="),
            "From Claude.",
            nine,
        ),
        result_turn(nine, ImageContent(data=PNG, mime_type="image/png")),
        user_turn("Go on"),
        model_turn(
            gemini,
            ThinkingContent(thinking="gemini thought"),
            TextContent(text="From Gemini.", text_signature="c2ln2"),
            dots,
            again,
        ),
        result_turn(dots, "first"),
        result_turn(again, "second"),
        result_turn(again, "third"),
        result_turn("call_unknown", "an orphan", name="lookup"),
        model_turn(
            deepseek, ThinkingContent(thinking="deep thought"), "From DeepSeek.", nameless, again
        ),
        result_turn(nameless, "found", is_error=True),
        user_turn("And?"),
        model_turn(
            claude,
            thought("cut thought", claude.api, 3),
            "I was say",
            lost,
            stop_reason=StopReason.ABORTED,
            error=ErrorInfo(kind=ErrorKind.ABORTED, message="stopped"),
        ),
        result_turn(lost, "of the aborted turn"),
        model_turn(
            gpt,
            "Half an ans",
            stop_reason=StopReason.ERROR,
            error=ErrorInfo(kind=ErrorKind.SERVER, message="it failed"),
        ),
        model_turn(gemini, ThinkingContent(thinking="only thinking")),
        model_turn(me, "Mine.", lost),
        model_turn(me, "  "),
        user_turn("   "),
        user_turn("Two in"),
        user_turn("a row"),
        model_turn(other, "Missing result", ToolCall(id="call_lost_2", name="lookup")),
        user_turn("Last\udfff question"),
        system="Be \ud83dbrief.\ud83d\ude00",
        tools=TOOLS,
    )


def continued(me: Author) -> Context:
    """Return a conversation that ends with a partial message of the model."""
    return ctx(user_turn("Write a poem"), model_turn(me, "Roses are  \n"))


def empty(me: Author) -> Context:
    """Return a conversation of which nothing can be sent."""
    failed = ErrorInfo(kind=ErrorKind.SERVER, message="it failed")
    return ctx(model_turn(me, "Half", stop_reason=StopReason.ERROR, error=failed))


def question(_: Author) -> Context:
    return ctx(user_turn("Read the invoice: A-1, 2 apples, 3 €"))


def schemas(_: Author) -> Context:
    parameters = {"plan": RICH, "tree": TREE, "chain": CHAIN, "anything": ANYTHING}
    tools = [Tool(name=name, parameters=schema) for name, schema in parameters.items()]
    return ctx(user_turn("Plan it"), tools=tools)


# Each with its `output=`, if any.
CONVERSATIONS: dict[str, tuple[Callable[[Author], Context], Any]] = {
    "plain": (plain, None),
    "thinking": (thinking, None),
    "thinking-tools": (lambda me: thinking(me, TOOLS), None),
    "tools": (with_tools, None),
    "images": (images, None),
    "remote": (remote, None),
    "handed-over": (handed_over, None),
    "continued": (continued, None),
    "empty": (empty, None),
    "structured": (question, Invoice),
    "structured-tools": (with_tools, Invoice),
    "structured-free": (plain, FREE_KEYS),
    "structured-list": (question, list[Line]),
    "structured-rich": (schemas, RICH),
    "structured-tree": (question, TREE),
    "structured-chain": (question, CHAIN),
}


# === Options ===


class PayloadKept(Exception):
    """End a preview once `on_payload` has the request, before LiteLLM sees it."""

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__("the payload is known")
        self.payload = payload


def keep_payload(payload: dict[str, Any]) -> dict[str, Any]:
    raise PayloadKept(payload)


def hook(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "hooked": True}


@dataclass(frozen=True)
class OptionSet:
    """Keywords of `preview`, and the environment variables that are set."""

    keywords: dict[str, Any] = field(default_factory=dict)
    environment: str = "usual"


OPTIONS: dict[str, OptionSet] = {
    "none": OptionSet(),
    "sampling": OptionSet({"temperature": 0.3, "top_p": 0.9, "max_tokens": 1000}),
    "sampling-neutral": OptionSet({"temperature": 1, "top_p": 1}),
    "stop-and-seed": OptionSet({"stop": ["END", "STOP"], "seed": 7}),
    "stop-text": OptionSet({"stop": "END"}),
    "max-tokens-small": OptionSet({"max_tokens": 5}),
    **{
        f"reasoning-{level}": OptionSet({"reasoning": level})
        for level in ("off", "minimal", "low", "medium", "high", "xhigh", "max")
    },
    "reasoning-with-max-tokens": OptionSet({"reasoning": "medium", "max_tokens": 2000}),
    "reasoning-and-all": OptionSet(
        {
            "reasoning": "high", "max_tokens": 3000, "temperature": 0.5, "top_p": 0.5,
            "tool_choice": "required", "stop": ["END"], "seed": 3,
        }
    ),
    "thinking-budgets": OptionSet({"reasoning": "low", "thinking_budgets": {"low": 3000}}),
    "tool-choice-auto": OptionSet({"tool_choice": "auto"}),
    "tool-choice-none": OptionSet({"tool_choice": "none"}),
    "tool-choice-required": OptionSet({"tool_choice": "required"}),
    "tool-choice-named": OptionSet({"tool_choice": "get_weather"}),
    "tool-choice-dict": OptionSet(
        {"tool_choice": {"type": "function", "function": {"name": "lookup"}}}
    ),
    "tool-choice-own-dict": OptionSet({"tool_choice": {"type": "own"}}),
    "cache-none": OptionSet({"cache_retention": "none", "session_id": "session-1"}),
    "cache-short": OptionSet({"cache_retention": "short", "session_id": "s" * 100}),
    "cache-long": OptionSet({"cache_retention": "long", "session_id": "session-1"}),
    "cache-variable": OptionSet({"session_id": "session-1"}, "cache-long"),
    "cache-variable-odd": OptionSet({"session_id": "session-1"}, "cache-odd"),
    "metadata": OptionSet({"metadata": {"user_id": 42, "team": "blue", "tags": ["a", 1]}}),
    "headers": OptionSet(
        {
            "headers": {
                "X-Trace": "t-1", "Anthropic-Beta": "context-1m-2025-08-07", "x-trace": "t-2",
                "Authorization-Extra": "secret",
            },
            "reasoning": "high",
        }
    ),
    "extra": OptionSet(
        {
            "extra": {
                "top_k": 40,
                "extra_body": {"custom": {"a": 1}, "metadata": {"m": "n"}},
                "extra_headers": {"X-Extra": "1", "anthropic-beta": "b-1"},
            }
        }
    ),
    "extra-settings": OptionSet(
        {
            "reasoning": "high",
            "extra": {
                "extra_body": {
                    "generationConfig": {"topK": 5}, "chat_template_kwargs": {"x": 1},
                    "reasoning": {"exclude": True}, "text": {"verbosity": "low"},
                    "output_config": {"y": 2}, "stream_options": {"z": 3},
                }
            },
        }
    ),
    "extra-tools": OptionSet({"extra": {"tools": [{"type": "web_search"}]}, "tool_choice": "auto"}),
    "extra-surrogates": OptionSet(
        {"extra": {"extra_body": {"note": "half \ud83d"}}, "metadata": {"user_id": "\udc00"}}
    ),
    "extra-unwritable": OptionSet({"extra": {"extra_body": {"odd": {1}}}}),
    "beta-everywhere": OptionSet(
        {
            "headers": {"ANTHROPIC-BETA": "b-2,b-1"},
            "extra": {"extra_headers": {"anthropic-beta": "b-3, b-1"}},
            "api_key": "sk-given-0123456789",
            "reasoning": "high",
        }
    ),
    "api-base": OptionSet(
        {"api_base": "https://gateway.example/v1/", "api_key": "sk-given-0123456789"}
    ),
    "api-base-whole": OptionSet(
        {"api_base": "https://gateway.example/v1/chat/completions?version=2"}
    ),
    "api-base-messages": OptionSet({"api_base": "https://gateway.example/v1/messages"}),
    "api-base-reasoning": OptionSet(
        {
            "api_base": "https://gateway.example/v1", "reasoning": "high", "max_tokens": 500,
            "session_id": "session-1",
        }
    ),
    "api-base-openai": OptionSet({"api_base": "https://eu.api.openai.com/v1"}),
    "api-key-of-a-plan": OptionSet({"api_key": "sk-ant-oat-given-0123456789"}),
    "handoff-text": OptionSet({"handoff_thinking": "text"}),
    "on-payload": OptionSet({"on_payload": hook}),
    "direct": OptionSet({"transport": "direct"}),
    "output-native": OptionSet({"output_mode": "native"}),
    "output-tool": OptionSet({"output_mode": "tool"}),
    "output-prompt": OptionSet({"output_mode": "prompt"}),
    "output-tool-thinking": OptionSet(
        {"output_mode": "tool", "reasoning": "high", "tool_choice": "none"}
    ),
    "bare": OptionSet({}, "bare"),
    "addresses": OptionSet({}, "addresses"),
    "addresses-reasoning": OptionSet({"reasoning": "medium", "max_tokens": 8}, "addresses"),
    "openai-api-base": OptionSet({}, "openai-api-base"),
    "organization": OptionSet({}, "organization"),
}  # fmt: skip

# The same options through LiteLLM: only the arguments passed to it are recorded.
_LITELLM = {"on_payload": keep_payload, "transport": "litellm"}
OPTIONS |= {
    f"litellm-{name}": OptionSet({**OPTIONS[name].keywords, **_LITELLM}, OPTIONS[name].environment)
    for name in (
        "none", "sampling", "stop-and-seed", "reasoning-off", "reasoning-high",
        "reasoning-with-max-tokens", "reasoning-and-all", "tool-choice-required", "cache-long",
        "metadata", "headers", "extra", "api-base", "handoff-text", "output-tool", "bare",
    )
}  # fmt: skip
OPTIONS |= {
    "payload": OptionSet({"on_payload": keep_payload}),
    "payload-extra": OptionSet(
        {"on_payload": keep_payload, "extra": {"top_k": 40, "extra_body": {"a": 1}}}
    ),
    "payload-litellm-words": OptionSet(
        {"on_payload": keep_payload, "extra": {"drop_params": True}}
    ),
    "payload-openai-words": OptionSet(
        {
            "on_payload": keep_payload,
            "extra": {"parallel_tool_calls": False, "presence_penalty": 0.5, "top_k": 3},
        }
    ),
    "payload-by-variable": OptionSet({"on_payload": keep_payload}, "by-litellm"),
}


# === Recording ===

# Headers of every request.
COMMON = {
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": f"pipy-ai/{pipy_ai.__version__}",
}


def preview_case(case: str, me: Author | None = None) -> dict[str, Any]:
    """Return what `preview` shows for a case.

    An HTTP request has `url`, `headers` (without `COMMON`), `body` and `warnings`. A request that
    LiteLLM builds has `arguments` and `warnings`, or only `arguments` if the preview ended at its
    payload. A failed preview has `error`.
    """
    name, option_set, conversation = case.split(" | ")
    build, output = CONVERSATIONS[conversation]
    keywords = dict(OPTIONS[option_set].keywords)
    if output is not None:
        keywords["output"] = output
    try:
        shown = preview(model_of(name), build(me or author_of(name)), **keywords)
    except PayloadKept as kept:
        return _plain({"arguments": kept.payload})
    except (pipy_ai.PipyError, ValueError) as error:
        return {"error": [type(error).__name__, str(error)]}
    texts = [f"{warning.code}: {warning.message}" for warning in shown.warnings]
    warnings = {"warnings": texts} if texts else {}
    if not shown.url:
        assert (shown.method, shown.headers) == ("", {})
        return _plain({"arguments": shown.body, **warnings})
    assert shown.method == "POST"
    odd = {name: shown.headers.get(name) for name in COMMON}
    headers = {name: value for name, value in odd.items() if value != COMMON[name]}
    headers |= {name: value for name, value in shown.headers.items() if name not in COMMON}
    return _plain({"url": shown.url, "headers": headers, "body": shown.body, **warnings})


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Return the value after a round trip through JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(value))
    return plain


# === The file ===

_SHARED = 160  # longer fields of a body are stored once and shared
_LONE = re.compile("[\ud800-\udfff]")


def read(path: Path = FILE) -> dict[str, dict[str, Any]]:
    """Return the recorded cases. An empty case has not been recorded yet."""
    recorded = json.loads(path.read_text(encoding="utf-8"))
    parts = recorded["parts"]

    def whole(value: Any) -> Any:
        shared = isinstance(value, dict) and value.keys() == {"part"}
        return parts[value["part"]] if shared else value

    return {
        case: {
            name: {key: whole(inner) for key, inner in value.items()}
            if name in ("body", "arguments")
            else value
            for name, value in (shown or {}).items()
        }
        for case, shown in recorded["cases"].items()
    }


def write(cases: Mapping[str, Mapping[str, Any]], path: Path = FILE) -> None:
    """Write one line per case, and one per entry of a shared field."""
    parts: dict[str, Any] = {}

    def share(name: str, value: Any) -> Any:
        text = _line(value)
        if not isinstance(value, list | dict) or len(text) < _SHARED:
            return value
        label = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        parts[label] = value
        return {"part": label}

    lines = []
    for case, shown in sorted(cases.items()):
        short = {
            name: {key: share(key, inner) for key, inner in value.items()}
            if name in ("body", "arguments")
            else value
            for name, value in shown.items()
        }
        lines.append(f"  {_line(case)}: {_line(short)}")
    blocks = [f"  {_line(label)}: {_block(value)}" for label, value in sorted(parts.items())]
    text = f'{{\n "cases": {{\n{_joined(lines)}\n }},\n "parts": {{\n{_joined(blocks)}\n }}\n}}\n'
    path.write_text(text, encoding="utf-8")


def _block(value: Any) -> str:
    if not isinstance(value, list):
        return _line(value)
    return f"[\n{_joined([f'   {_line(one)}' for one in value])}\n  ]"


def _joined(lines: list[str]) -> str:
    return ",\n".join(lines)


def _line(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _LONE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
