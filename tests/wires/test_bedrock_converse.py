"""Test the wire of Bedrock's Converse API."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    DocumentContent,
    ImageContent,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    complete,
    ctx,
    preview,
    stream,
    user,
)

from ..support.event_grammar import check_events
from ..support.event_stream import frame
from ..support.scenarios import shape
from ..support.scripted_server import Lab, Status
from ..support.vendor_rules import violations
from ..support.wire_formats import CONVERSE, Counts, say, tool

NOVA = "amazon-bedrock/amazon.nova-pro-v1:0"
CLAUDE = "bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
LLAMA = "amazon-bedrock/meta.llama4-maverick-17b-instruct-v1:0"
MISTRAL = "amazon-bedrock/mistral.mistral-large-3-675b-instruct"
WRITER = "amazon-bedrock/writer.palmyra-x5-v1:0"
QWEN = "amazon-bedrock/qwen.qwen3-vl-235b-a22b"
OSS = "amazon-bedrock/openai.gpt-oss-120b-1:0"
FAMILIES = [NOVA, CLAUDE, LLAMA, MISTRAL, WRITER, QWEN, OSS, "amazon-bedrock/acme.one-v1:0"]
BASE = "https://bedrock-runtime.us-east-1.amazonaws.com"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
PDF = base64.b64encode(b"%PDF-1.7\n").decode()
IMAGE = ImageContent(data=PNG, mime_type="image/png")
DOCUMENT = DocumentContent(data=PDF, name="Q3 report (v2)_final!.pdf")
LOOK = Tool(name="look", description="Look.", parameters={"type": "object", "properties": {}})

pytestmark = pytest.mark.usefixtures("july")


def body(model: str, context: Any, **options: Any) -> dict[str, Any]:
    """Return the body of a request, which Bedrock would accept."""
    shown = preview(model, context, api_base=BASE, api_key="k", **options)
    assert violations(shown.url.removeprefix(BASE), shown.body) == []
    return shown.body


def called(*results: ToolResultMessage) -> list[Any]:
    """Return a conversation with these tool results."""
    calls = [ToolCall(id=result.tool_call_id, name="look") for result in results]
    return ["q", AssistantMessage(content=[*calls], stop_reason="toolUse"), *results]


def result(id: str, *content: Any, **fields: Any) -> ToolResultMessage:
    return ToolResultMessage(tool_call_id=id, tool_name="look", content=[*content], **fields)


def kinds(message: dict[str, Any]) -> list[str]:
    return [next(iter(block)) for block in message["content"]]


def ask(lab: Lab, *chunks: Any, model: str = NOVA, **options: Any) -> AssistantMessage:
    lab.play([*chunks])
    options = {"api_base": CONVERSE.base(lab), "api_key": "k", "max_retries": 0, **options}
    return check_events(list(stream(model, "q", **options)))


# --- Requests -------------------------------------------------------------------------------


def test_whole_request() -> None:
    sent = body(
        NOVA,
        ctx(user("Hi", IMAGE), system="Be brief.", tools=[LOOK]),
        temperature=0.5, top_p=0.9, top_k=20, max_tokens=100, stop=["END"], tool_choice="required",
        metadata={"user_id": "u-1", "bad": "a*b", "n": 5},
    )  # fmt: skip
    marker = {"cachePoint": {"type": "default"}}
    assert sent == {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": "Hi"},
                    {"image": {"format": "png", "source": {"bytes": PNG}}},
                    marker,
                ],
            }
        ],
        "system": [{"text": "Be brief."}, marker],
        "inferenceConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "maxTokens": 100,
            "stopSequences": ["END"],
        },
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "look",
                        "inputSchema": {"json": {"type": "object", "properties": {}}},
                        "description": "Look.",
                    }
                }
            ],
            "toolChoice": {"any": {}},
        },
        "additionalModelRequestFields": {"inferenceConfig": {"topK": 20}},
        "requestMetadata": {"user_id": "u-1", "n": "5"},
    }


@pytest.mark.parametrize("model", FAMILIES)
def test_results_with_files_and_a_question_after_them(model: str) -> None:
    """Llama, Mistral and Writer accept nothing beside tool results, Claude no document."""
    conversation = called(
        result("c1", TextContent(text="a"), IMAGE), result("c2", DOCUMENT, is_error=True)
    )
    assert body(model, ctx(*conversation, user("And?"), tools=[LOOK]))
    assert body(model, ctx(*conversation, user("And?", DOCUMENT, IMAGE)))
    assert body(model, ctx(*conversation))


def test_content_that_a_model_rejects_beside_results_follows_later() -> None:
    context = ctx(*called(result("c1", TextContent(text="a"))), user("And?"))
    messages = body(LLAMA, context)["messages"][2:]
    assert [(m["role"], kinds(m)) for m in messages] == [
        ("user", ["toolResult"]), ("assistant", ["text"]), ("user", ["text"])
    ]  # fmt: skip
    assert messages[1]["content"] == [{"text": "."}]
    assert kinds(body(OSS, context)["messages"][2]) == ["toolResult", "text"]
    claude = body(CLAUDE, ctx(*called(result("c1", TextContent(text="a"))), user("x", DOCUMENT)))
    assert [m["role"] for m in claude["messages"][2:]] == ["user", "assistant", "user"]


def test_files_in_results() -> None:
    context = ctx(*called(result("c1", IMAGE), result("c2", TextContent(text="b"))))
    sent = body(NOVA, context)["messages"][2]
    assert kinds(sent) == ["toolResult", "toolResult", "cachePoint"]
    assert kinds(sent["content"][0]["toolResult"]) == ["image"]
    sent = body(QWEN, context)["messages"][2]
    assert sent["content"][0]["toolResult"]["content"] == [{"text": "(see attached image)"}]
    assert kinds(sent) == ["toolResult", "toolResult", "image"]


def test_status_of_results() -> None:
    context = ctx(*called(result("c1", TextContent(text="no"), is_error=True)))
    content = body(NOVA, context)["messages"][2]["content"][0]["toolResult"]
    assert content == {"toolUseId": "c1", "content": [{"text": "no"}], "status": "error"}
    assert "status" not in body(WRITER, context)["messages"][2]["content"][0]["toolResult"]


def test_called_tools_are_declared_and_none_is_called() -> None:
    context = ctx(*called(result("c1", TextContent(text="a"))))
    sent = body(CLAUDE, context)
    assert [tool["toolSpec"]["name"] for tool in sent["toolConfig"]["tools"][:1]] == ["look"]
    assert "toolChoice" not in sent["toolConfig"]
    assert sent["additionalModelRequestFields"] == {"tool_choice": {"type": "none"}}
    assert "additionalModelRequestFields" not in body(OSS, context)


@pytest.mark.parametrize(
    ("model", "choice", "expected"),
    [
        (NOVA, "auto", {"auto": {}}),
        (NOVA, "required", {"any": {}}),
        (NOVA, "look", {"tool": {"name": "look"}}),
        (NOVA, {"type": "function", "function": {"name": "look"}}, {"tool": {"name": "look"}}),
        (NOVA, {"type": "tool", "name": "look"}, {"tool": {"name": "look"}}),
        (NOVA, {"type": "any"}, {"any": {}}),
        (NOVA, {"tool": {"name": "look"}}, {"tool": {"name": "look"}}),
        (LLAMA, "required", {"auto": {}}),
        (OSS, "look", {"auto": {}}),
        (NOVA, None, None),
    ],
)
def test_tool_choice(model: str, choice: Any, expected: Any) -> None:
    config = body(model, ctx("q", tools=[LOOK]), tool_choice=choice)["toolConfig"]
    assert config.get("toolChoice") == expected


def test_no_tool_choice() -> None:
    context = ctx("q", tools=[LOOK])
    assert "toolConfig" not in body(NOVA, context, tool_choice="none")
    claude = body(CLAUDE, context, tool_choice="none")
    assert claude["additionalModelRequestFields"] == {"tool_choice": {"type": "none"}}


def test_cache_points() -> None:
    context = ctx(user("q", DOCUMENT), system="s", tools=[LOOK])
    sent = body(CLAUDE, context, cache_retention="long")
    marker = {"cachePoint": {"type": "default", "ttl": "1h"}}
    parts = (sent["system"], sent["toolConfig"]["tools"], sent["messages"][-1]["content"])
    assert [part[-1] for part in parts] == [marker] * 3
    sent = body("amazon-bedrock/amazon.nova-premier-v1:0", context, cache_retention="long")
    assert kinds(sent["messages"][0]) == ["text", "cachePoint", "document"]
    assert kinds({"content": sent["toolConfig"]["tools"]}) == ["toolSpec"]
    assert sent["system"][-1] == {"cachePoint": {"type": "default"}}
    assert "cachePoint" not in json.dumps(body(LLAMA, ctx("q", system="s")))
    assert "cachePoint" not in json.dumps(body(CLAUDE, context, cache_retention="none"))


def test_documents_have_names_that_bedrock_accepts() -> None:
    sent = body(CLAUDE, ctx(user(DOCUMENT, DOCUMENT, DocumentContent(data=PDF))))
    content = sent["messages"][0]["content"]
    assert content[0] == {"text": "See the attached document."}
    names = [block["document"]["name"] for block in content if "document" in block]
    assert names == ["Q3 report (v2) final", "Q3 report (v2) final 2", "document"]


def test_formats_of_documents() -> None:
    for mime_type, expected in (("text/csv", "csv"), ("text/markdown", "md"), ("", "pdf")):
        part = DocumentContent(data=PDF, mime_type=mime_type)
        sent = body(CLAUDE, ctx(user("q", part)))["messages"][0]["content"]
        assert sent[1 if "document" in sent[1] else 2]["document"]["format"] == expected


@pytest.mark.parametrize(
    ("model", "level", "expected"),
    [
        (CLAUDE, "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        (
            "bedrock/converse/us.anthropic.claude-opus-4-7",
            "high",
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        ),
        (
            "bedrock/converse/us.anthropic.claude-sonnet-5",
            "off",
            {"thinking": {"type": "disabled"}},
        ),
        (OSS, "medium", {"reasoning_effort": "medium"}),
        ("amazon-bedrock/xai.grok-4.6", "high", {"reasoning": {"effort": "high"}}),
        ("amazon-bedrock/openai.gpt-6-luna", "off", {"reasoning": {"effort": "none"}}),
        ("amazon-bedrock/qwen.qwen3-32b-v1:0", "low", {"reasoning_config": "low"}),
        ("amazon-bedrock/zai.glm-4.7", "high", {"reasoning_effort": "high"}),
        ("amazon-bedrock/deepseek.v3.2", "high", {"reasoning_effort": "high"}),
        (
            "amazon-bedrock/amazon.nova-2-lite-v1:0",
            "medium",
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}},
        ),
    ],
)
def test_thinking(model: str, level: str, expected: Any) -> None:
    sent = body(model, "q", reasoning=level)
    assert sent["additionalModelRequestFields"] == expected


def test_model_whose_thinking_cannot_be_set() -> None:
    shown = preview("amazon-bedrock/acme.one-v1:0", "q", api_base=BASE, api_key="k",
                    reasoning="high")  # fmt: skip
    assert "reasoning_ignored" in [warning.code for warning in shown.warnings]
    assert "additionalModelRequestFields" not in shown.body


def test_only_signed_thinking_is_sent_back() -> None:
    def turn(*content: Any, model: str) -> AssistantMessage:
        author: Any = {"provider": "amazon-bedrock", "model": model, "api": "bedrock-converse"}
        content = (*content, TextContent(text="t"))
        return AssistantMessage(content=[*content], stop_reason="stop", **author)

    claude = CLAUDE.partition("/")[2]
    thoughts = [
        ThinkingContent(thinking="hm", thinking_signature="c2ln"),
        ThinkingContent(thinking="", thinking_signature="b3A=", redacted=True),
    ]
    sent = body(CLAUDE, ctx("q", turn(*thoughts, model=claude), "r"))["messages"][1]["content"]
    assert sent == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "b3A="}},
        {"text": "t"},
    ]
    unsigned = turn(ThinkingContent(thinking="hm"), model=OSS.partition("/")[2])
    assert body(OSS, ctx("q", unsigned, "r"))["messages"][1]["content"] == [{"text": "t"}]


def test_conversation_starts_with_the_user() -> None:
    first = AssistantMessage(content=[TextContent(text="Hello.")], stop_reason="stop")
    for model in FAMILIES:
        assert body(model, ctx(first, "q"))["messages"][0]["role"] == "user"


def test_fields_of_extra_are_merged() -> None:
    extra = {
        "additionalModelRequestFields": {"top_k": 5},
        "inferenceConfig": {"temperature": 0.1},
        "performanceConfig": {"latency": "optimized"},
    }
    sent = body(CLAUDE, "q", extra=extra, max_tokens=7, reasoning="off")
    assert sent["inferenceConfig"] == {"maxTokens": 7, "temperature": 0.1}
    assert sent["additionalModelRequestFields"]["top_k"] == 5
    assert sent["performanceConfig"] == {"latency": "optimized"}


def test_top_k_that_a_model_rejects() -> None:
    shown = preview(LLAMA, "q", api_base=BASE, api_key="k", top_k=5)
    assert "top_k_ignored" in [warning.code for warning in shown.warnings]
    assert "top_k" not in json.dumps(shown.body)


# --- Responses ------------------------------------------------------------------------------


def delta(index: int, **fields: Any) -> bytes:
    return frame("contentBlockDelta", {"contentBlockIndex": index, "delta": fields, "p": "abc"})


def start(index: int, **fields: Any) -> bytes:
    return frame("contentBlockStart", {"contentBlockIndex": index, "start": fields})


START = frame("messageStart", {"role": "assistant"})
STOP = frame("messageStop", {"stopReason": "end_turn"})


def test_empty_text_of_gpt_oss_is_no_block(lab: Lab) -> None:
    message = ask(
        lab, START, delta(0, text=""), frame("contentBlockStop", {"contentBlockIndex": 0}),
        delta(1, reasoningContent={"text": "hm"}), delta(2, text="ok"), STOP, model=OSS,
    )  # fmt: skip
    assert shape(message) == [{"think": "hm"}, "ok"]


def test_thinking_of_nova_in_its_text(lab: Lab) -> None:
    pieces = ("<thin", "king>Let me", " see.</think", "ing>\n", "The answer", " is 4.")
    for model in (NOVA, "amazon-bedrock/amazon.nova-2-lite-v1:0"):
        message = ask(lab, START, *(delta(0, text=piece) for piece in pieces), STOP, model=model)
        assert shape(message) == [{"think": "Let me see."}, "The answer is 4."]
    message = ask(lab, START, delta(0, text="<think>a</think> is a tag"), STOP, model=LLAMA)
    assert shape(message) == ["<think>a</think> is a tag"]


def test_stop_without_metadata_is_complete_without_usage(lab: Lab) -> None:
    message = ask(lab, START, delta(0, text="ok"), STOP)
    assert (message.text, message.error) == ("ok", None)
    assert message.usage.estimated


def test_metadata_without_a_stop_is_not_complete(lab: Lab) -> None:
    usage = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    message = ask(lab, START, delta(0, text="half"), frame("metadata", {"usage": usage}))
    assert message.text == "half"
    assert message.error is not None
    assert message.error.kind == "incomplete"


def test_usage(lab: Lab) -> None:
    scene = CONVERSE.scene(say("ok"), counts=Counts(433, 16, 2752, 5, 9))
    message = ask(lab, *scene)
    usage = message.usage
    assert (usage.input, usage.output, usage.cache_read) == (433, 16, 2752)
    assert (usage.cache_write, usage.cache_write_1h, usage.reasoning) == (5, 5, 9)
    assert usage.total_tokens == 433 + 16 + 2752 + 5


def test_service_tier_and_request_id(lab: Lab) -> None:
    metadata = {"usage": {"inputTokens": 1, "outputTokens": 1}, "serviceTier": {"type": "flex"}}
    message = ask(lab, START, delta(0, text="ok"), STOP, frame("metadata", metadata))
    assert message.usage.service_tier == "flex"
    document = {"output": {"message": {"role": "assistant", "content": [{"text": "ok"}]}},
                "stopReason": "end_turn", **metadata}  # fmt: skip
    lab.play(Status(200, document, {"x-amzn-requestid": "req-7"}))
    message = complete(NOVA, "q", api_base=CONVERSE.base(lab), api_key="k")
    assert (message.text, message.response_id, message.error) == ("ok", "req-7", None)


def test_whole_document(lab: Lab) -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "b3A="}},
        {"citationsContent": {"content": [{"text": "It is "}, {"text": "4."}], "citations": []}},
        {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"x": "ü"}}},
    ]
    document = {"output": {"message": {"content": content}}, "stopReason": "tool_use",
                "usage": {"inputTokens": 9, "outputTokens": 8}}  # fmt: skip
    lab.play(Status(200, document))
    message = complete(NOVA, "q", api_base=CONVERSE.base(lab), api_key="k")
    assert shape(message) == [{"think": "hm"}, {"redacted": "b3A="}, "It is 4.", ("f", {"x": "ü"})]
    assert (message.usage.input, message.usage.output) == (9, 8)


@pytest.mark.parametrize("document", [{"message": "no such thing"}, {"Message": "x"}, {}, []])
def test_document_without_an_answer_is_an_error(lab: Lab, document: Any) -> None:
    lab.play(Status(200, document))
    error = complete(NOVA, "q", api_base=CONVERSE.base(lab), api_key="k", max_retries=0).error
    assert error is not None
    assert error.kind == "server"


@pytest.mark.parametrize("value", [5, True, [["x"]], 10**400], ids=str)
def test_content_that_is_no_text_is_an_error(lab: Lab, value: Any) -> None:
    for odd in (
        delta(0, text=value),
        delta(0, reasoningContent={"text": value}),
        delta(0, toolUse={"input": value}),
        frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": value}),
        frame("contentBlockDelta", value),
    ):
        message = ask(lab, START, delta(0, text="kept"), odd, STOP)
        assert message.text == "kept"
        assert message.error is not None, odd
        assert message.error.kind == "server"


def test_unknown_events_are_ignored(lab: Lab) -> None:
    odd = frame("somethingNew", "no object")
    message = ask(lab, odd, START, odd, delta(0, text="ok"), odd, STOP, odd)
    assert (message.text, message.error) == ("ok", None)


@pytest.mark.parametrize(
    ("reason", "stop", "kind", "retryable"),
    [
        ("end_turn", "stop", None, False), ("stop_sequence", "stop", None, False),
        ("max_tokens", "length", None, False),
        ("model_context_window_exceeded", "length", None, False),
        ("content_filtered", "error", "content_filter", False),
        ("guardrail_intervened", "error", "content_filter", False),
        ("malformed_model_output", "error", "server", True),
        ("malformed_tool_use", "error", "server", True),
        ("brand_new", "error", "incomplete", False),
    ],
)  # fmt: skip
def test_stop_reasons(lab: Lab, reason: str, stop: str, kind: str | None, retryable: bool) -> None:
    message = ask(lab, START, delta(0, text="so far"), frame("messageStop", {"stopReason": reason}))
    assert (message.text, message.stop_reason) == ("so far", stop)
    assert (message.error and message.error.kind) == kind
    assert bool(message.error and message.error.retryable) is retryable


def test_call_without_arguments_and_with_an_id_of_a_number(lab: Lab) -> None:
    message = ask(
        lab, START, start(0, toolUse={"toolUseId": 7, "name": "f"}),
        frame("messageStop", {"stopReason": "tool_use"}),
    )  # fmt: skip
    assert shape(message) == [("f", {})]
    message = ask(lab, *CONVERSE.scene(tool("c1", "f", '{"x": "lo'), stop="length"))
    assert message.tool_calls[0].arguments_error
