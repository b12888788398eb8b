"""Test tools that Nova models run on Bedrock: requests, calls, results, citations, later turns.

The shapes are those of responses that pydantic-ai, RubyLLM and AWS's documentation show.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    Context,
    ServerToolCall,
    ServerToolResult,
    code_execution,
    complete,
    ctx,
    preview,
    stream,
    user,
    web_fetch,
    web_search,
)

from ..support.converse_rules import refusals
from ..support.event_grammar import check_events
from ..support.event_stream import frame
from ..support.scripted_server import Lab, Status
from ..support.wire_formats import CONVERSE

NOVA_2 = "amazon-bedrock/amazon.nova-2-lite-v1:0"
NOVA_PRO = "amazon-bedrock/amazon.nova-pro-v1:0"
SEARCH = {"toolUseId": "t1", "name": "nova_grounding", "type": "server_tool_use",
          "input": {"query": "Zürich"}}  # fmt: skip
FOUND = {"toolUseId": "t1", "type": "nova_grounding_result", "status": "success",
         "content": [{"text": "[HIDDEN]"}]}  # fmt: skip
CITATION = {"location": {"web": {"url": "https://a.example/b", "domain": "a.example"}}}
RUN = {"toolUseId": "t2", "name": "nova_code_interpreter", "type": "server_tool_use",
       "input": {"snippet": "print(42)"}}  # fmt: skip
OUTPUT = {"stdOut": "42\n", "stdErr": "", "exitCode": 0, "isError": False}
RAN = {"toolUseId": "t2", "type": "nova_code_interpreter_result", "status": "success",
       "content": [{"json": OUTPUT}]}  # fmt: skip
CONTENT: list[dict[str, Any]] = [
    {"toolUse": SEARCH},
    {"toolResult": FOUND},
    {"text": "It opened in 1890"},
    {"citationsContent": {"citations": [CITATION]}},
    {"toolUse": RUN},
    {"toolResult": RAN},
    {"text": "It is 42."},
]


def response(*content: dict[str, Any], streamed: bool = True) -> Any:
    usage = {"inputTokens": 9, "outputTokens": 8, "totalTokens": 17}
    if not streamed:
        message = {"role": "assistant", "content": content}
        body = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}
        return Status(200, json.dumps(body), {})
    frames = [frame("messageStart", {"role": "assistant"})]
    for index, block in enumerate(content):
        frames += block_frames(index, block)
    frames.append(frame("messageStop", {"stopReason": "end_turn"}))
    return [*frames, frame("metadata", {"usage": usage})]


def block_frames(index: int, block: dict[str, Any]) -> list[bytes]:
    [(kind, value)] = block.items()
    start: dict[str, Any] | None = None
    deltas: list[dict[str, Any]] = []
    match kind:
        case "toolUse":
            text = json.dumps(value["input"], ensure_ascii=False)
            start = {kind: {name: value[name] for name in value if name != "input"}}
            deltas = [{kind: {"input": piece}} for piece in (text[:9], text[9:])]
        case "toolResult":
            start = {kind: {name: value[name] for name in value if name != "content"}}
            deltas = [{kind: value["content"]}]
        case "citationsContent":
            deltas = [{"text": part["text"]} for part in value.get("content", ())]
            deltas += [{"citation": citation} for citation in value["citations"]]
        case _:
            deltas = [{kind: value}]
    place = {"contentBlockIndex": index}
    return [
        *([frame("contentBlockStart", {**place, "start": start})] if start else ()),
        *(frame("contentBlockDelta", {**place, "delta": delta}) for delta in deltas),
        frame("contentBlockStop", place),
    ]


@pytest.fixture(autouse=True)
def _settings(july: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def question(*tools: Any) -> Context:
    return ctx("When did it open?", tools=list(tools or (web_search(), code_execution())))


def ask(lab: Lab, scene: Any, context: Context | None = None) -> AssistantMessage:
    lab.play(scene)
    options: dict[str, Any] = {"api_base": CONVERSE.base(lab), "api_key": "k", "max_retries": 0}
    return check_events(list(stream(NOVA_2, context or question(), **options)))


def test_tools_beside_functions() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    request = preview(NOVA_2, question(add, web_search(max_uses=1), code_execution()), api_key="k")
    assert [next(iter(tool)) for tool in request.body["toolConfig"]["tools"]] == [
        "toolSpec", "systemTool", "systemTool",
    ]  # fmt: skip
    assert request.body["toolConfig"]["tools"][1:] == [
        {"systemTool": {"name": "nova_grounding"}},
        {"systemTool": {"name": "nova_code_interpreter"}},
    ]
    assert [w.code for w in request.warnings] == ["option_ignored"]
    assert refusals("/model/m/converse-stream", request.body) == []


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        (NOVA_2, {"nova_grounding", "nova_code_interpreter"}),
        ("amazon-bedrock/us.amazon.nova-premier-v1:0", {"nova_grounding"}),
        (NOVA_PRO, set()),
        ("amazon-bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", set()),
    ],
)
def test_models_with_tools(model: str, kinds: set[str]) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    tools = [add, web_search(), code_execution(), web_fetch()]
    body = preview(model, question(*tools), api_key="k").body
    sent = json.dumps(body)
    assert {name for name in ("nova_grounding", "nova_code_interpreter") if name in sent} == kinds
    alone = complete(NOVA_PRO, question(web_search()), api_key="k", max_retries=0)
    assert alone.error is not None
    assert alone.error.kind == "bad_request"


@pytest.mark.parametrize("streamed", [True, False])
def test_search_and_code(lab: Lab, streamed: bool) -> None:
    message = ask(lab, response(*CONTENT, streamed=streamed))
    assert message.error is None, message.error
    assert [part.type for part in message.content] == [
        "serverToolCall", "serverToolResult", "text", "serverToolCall", "serverToolResult", "text",
    ]  # fmt: skip
    assert [(call.name, call.arguments) for call in message.server_tool_calls] == [
        ("web_search", {"query": "Zürich"}), ("code_execution", {"snippet": "print(42)"}),
    ]  # fmt: skip
    results = [part for part in message.content if isinstance(part, ServerToolResult)]
    assert [(result.text, result.is_error) for result in results] == [("", False), ("42", False)]
    [citation] = message.citations
    assert (citation.source, citation.title) == ("https://a.example/b", "a.example")
    assert (citation.start, citation.end) == (0, len("It opened in 1890"))
    assert message.usage.server_tool_calls == {"nova_grounding": 1, "nova_code_interpreter": 1}
    assert message.usage.cost.total is None  # no list has the fees
    assert "cost_unknown" in {warning.code for warning in message.warnings}


@pytest.mark.parametrize("streamed", [True, False])
def test_second_turn(lab: Lab, streamed: bool) -> None:
    context = question()
    first = ask(lab, response(*CONTENT, streamed=streamed), context)
    context.messages += [AssistantMessage.model_validate_json(first.model_dump_json()), user("?")]
    request = preview(NOVA_2, context, api_key="k")
    sent = request.body["messages"][1]["content"]
    assert sent == [block for block in CONTENT if "citationsContent" not in block]
    assert refusals("/model/m/converse-stream", request.body) == []
    assert not request.warnings


@pytest.mark.parametrize("tools", [[], [web_search()]])
def test_calls_of_a_tool_that_the_request_lacks_are_text(lab: Lab, tools: list[Any]) -> None:
    context = question()
    context.messages += [ask(lab, response(*CONTENT), context), user("?")]
    request = preview(NOVA_2, ctx(*context.messages, tools=tools), api_key="k")
    assert refusals("/model/m/converse-stream", request.body) == []
    assert "42" in json.dumps(request.body)
    assert "server_tool_as_text" in {warning.code for warning in request.warnings}


def test_call_without_a_result_does_not_go_back(lab: Lab) -> None:
    context = question()
    context.messages += [ask(lab, response({"toolUse": RUN}, {"text": "Hm."}), context), user("?")]
    request = preview(NOVA_2, context, api_key="k")
    assert refusals("/model/m/converse-stream", request.body) == []
    assert request.body["messages"][1]["content"] == [{"text": "Hm."}]


def test_call_without_a_type_is_not_the_callers(lab: Lab) -> None:
    call = {name: value for name, value in SEARCH.items() if name != "type"}
    message = ask(lab, response({"toolUse": call}, {"toolResult": FOUND}, {"text": "Yes."}))
    assert message.tool_calls == []
    assert isinstance(message.content[0], ServerToolCall)
    assert message.stop_reason == "stop"


def test_code_that_failed_or_timed_out(lab: Lab) -> None:
    failed = {**OUTPUT, "stdOut": "", "stdErr": "ZeroDivisionError", "isError": True}
    for content, status, text in (
        ([{"json": failed}], "success", "ZeroDivisionError"),
        ([{"text": json.dumps(failed)}], "success", "ZeroDivisionError"),
        ([], "error", ""),
    ):
        result = {"toolResult": {**RAN, "content": content, "status": status}}
        context = question()
        message = ask(lab, response({"toolUse": RUN}, result, {"text": "Hm."}), context)
        output = message.content[1]
        assert isinstance(output, ServerToolResult)
        assert (output.text, output.is_error) == (text, True)
        context.messages += [message, user("?")]
        request = preview(NOVA_2, context, api_key="k")
        assert refusals("/model/m/converse-stream", request.body) == []


def test_functions_beside_the_tools_of_bedrock(lab: Lab) -> None:
    call = {"toolUseId": "c1", "name": "f", "input": {"x": 1}}
    lab.play(response({"toolUse": SEARCH}, {"toolResult": FOUND}, {"toolUse": call}))
    message = complete(NOVA_2, question(), api_base=CONVERSE.base(lab), api_key="k")
    assert [(found.name, found.arguments) for found in message.tool_calls] == [("f", {"x": 1})]
    assert [found.name for found in message.server_tool_calls] == ["web_search"]


@pytest.mark.parametrize(
    "location", [None, 7, {}, {"web": 7}, {"documentPage": {"documentIndex": 0}}]
)
def test_odd_citations_harm_no_text(lab: Lab, location: Any) -> None:
    cited = {"content": [{"text": "Yes."}], "citations": [{"location": location, "title": 5}]}
    message = ask(lab, response({"citationsContent": cited}))
    assert message.error is None
    assert (message.text, len(message.citations)) == ("Yes.", 1)
