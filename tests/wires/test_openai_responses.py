"""Test the Responses wire."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    Tool,
    complete,
    ctx,
    preview,
    stream,
    user,
)
from pipy_ai._requests import build_request
from pipy_ai.provider.select import provider_for

from ..support.event_grammar import check_events
from ..support.scripted_server import Lab, Pause, Status, sse
from ..support.wire_formats import RESPONSES

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def test_encrypted_reasoning_is_requested_from_reasoning_models_only(july: Any) -> None:
    """OpenAI: "Encrypted content is not supported with this model"."""
    assert "include" not in preview("openai/responses/gpt-4o", "q").body
    for model in ("openai/gpt-5.4", "openai/responses/o3", "openai/responses/new"):
        assert preview(model, "q").body["include"] == ["reasoning.encrypted_content"]


def test_unstreamed_response_has_a_longer_idle_timeout(lab: Lab, july: Any) -> None:
    """GPT-5 Pro does not stream, and thinks for longer than a stream may be silent."""
    said = {"type": "message", "content": [{"type": "output_text", "text": "late"}]}
    lab.play([json.dumps({"status": "completed", "output": [said]}).encode()])
    request = build_request("openai/gpt-5-pro", "q", None, {"api_base": lab.url, "api_key": "k"})

    async def answer() -> None:
        async for _ in provider_for(request).stream(request):
            pass

    asyncio.run(answer())
    assert request.options.idle_timeout == 1800
    lab.play([Pause()])
    message = complete(
        "openai/gpt-5-pro", "q", api_base=lab.url, api_key="k", idle_timeout=0.2, max_retries=0
    )
    assert message.error is not None
    assert message.error.kind == "timeout"
    lab.go()


def test_chat_options_are_converted(july: Any) -> None:
    shown = preview("openai/gpt-5.4", "q", max_tokens=5, metadata={"user_id": 7, "a": "b"})
    assert shown.body["max_output_tokens"] == 16  # the least that OpenAI takes
    assert [warning.code for warning in shown.warnings] == ["max_tokens_changed"]
    assert shown.body["metadata"] == {"user_id": "7", "a": "b"}  # it takes strings


def respond(lab: Lab, **response: Any) -> AssistantMessage:
    """Return the message of a response that is not streamed."""
    lab.play([json.dumps({"id": "r", "status": "completed", **response}).encode()])
    return complete(
        "openai/gpt-5-pro",
        ctx("q", tools=[Tool(name="f")]),
        api_base=lab.url,
        api_key="k",
        max_retries=0,
    )


def test_unstreamed_items(lab: Lab, july: Any) -> None:
    summary = [{"type": "summary_text", "text": text} for text in ("First.", "Second.")]
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x": 1}'}
    message = respond(lab, output=[{"type": "reasoning", "summary": summary}, call])
    assert message.error is None, message.error
    assert message.thinking_text == "First.\n\nSecond."
    assert [(call.name, call.arguments) for call in message.tool_calls] == [("f", {"x": 1})]
    assert message.stop_reason == "toolUse"


def test_unstreamed_refusal(lab: Lab, july: Any) -> None:
    content = [{"type": "refusal", "refusal": "I cannot."}]
    message = respond(lab, output=[{"type": "message", "content": content}])
    assert (message.text, message.raw_stop_reason) == ("I cannot.", "refusal")


def test_incomplete_response_without_a_reason(lab: Lab, july: Any) -> None:
    content = [{"type": "output_text", "text": "half"}]
    output = [{"type": "message", "content": content}]
    message = respond(lab, status="incomplete", output=output)
    assert (message.text, message.stop_reason) == ("half", "length")


def test_summary_parts_are_paragraphs(lab: Lab, july: Any) -> None:
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "r"}}]
    for number, text in enumerate(("First.", "Second.")):
        where = {"output_index": 0, "summary_index": number}
        events += [
            {"type": "response.reasoning_summary_part.added", **where},
            {"type": "response.reasoning_summary_text.delta", "delta": text, **where},
        ]
    events.append({"type": "response.completed", "response": {"id": "r", "status": "completed"}})
    lab.play(sse(*events))
    message = complete(
        RESPONSES.model, "q", api_base=RESPONSES.base(lab), api_key="k", max_retries=0
    )
    assert message.thinking_text == "First.\n\nSecond."


CALL = {"type": "function_call", "id": "fc", "call_id": "c1", "name": "f"}
WHOLE = {**CALL, "arguments": '{"x": 1}'}
CREATED = {"type": "response.created", "response": {"id": "r", "model": "m"}}
COMPLETED = {"type": "response.completed", "response": {"id": "r", "status": "completed"}}


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": 0, "item_id": "fc", **fields}


@pytest.mark.parametrize(
    "events",
    [
        [item("output_item.added", item=WHOLE)],
        [item("output_item.done", item=WHOLE)],
        [item("output_item.added", item=WHOLE), item("output_item.done", item=WHOLE)],
        [item("output_item.added", item=WHOLE), item("output_item.done", item=CALL)],
        [item("output_item.added", item=CALL),
         item("function_call_arguments.done", arguments='{"x": 1}')],
        [item("output_item.added", item=WHOLE),
         item("function_call_arguments.delta", delta='{"x":'),
         item("function_call_arguments.delta", delta=" 1}"),
         item("function_call_arguments.done", arguments='{"x": 1}'),
         item("output_item.done", item=WHOLE)],
        [item("output_item.added", item={**CALL, "arguments": "{}"}),
         item("function_call_arguments.delta", delta='{"x": 1}')],
    ],
    ids=["added", "done", "both", "added only has them", "arguments.done", "all", "{} first"],
)  # fmt: skip
def test_arguments_come_once_wherever_they_are(lab: Lab, events: list[dict[str, Any]]) -> None:
    lab.play(sse(CREATED, *events, COMPLETED))
    message = check_events(list(stream(RESPONSES.model, "q", api_base=lab.url, api_key="k")))
    [call] = message.tool_calls
    assert (call.id, call.name, call.arguments) == ("c1", "f", {"x": 1})
    assert message.stop_reason == "toolUse"


def test_items_only_in_the_last_event(lab: Lab) -> None:
    text = {"type": "message", "id": "i", "content": [{"type": "output_text", "text": "Hello"}]}
    response = {**COMPLETED["response"], "output": [text, WHOLE]}
    lab.play(sse(CREATED, {**COMPLETED, "response": response}))
    message = check_events(list(stream(RESPONSES.model, "q", api_base=lab.url, api_key="k")))
    assert message.text == "Hello"
    assert [(call.id, call.arguments) for call in message.tool_calls] == [("c1", {"x": 1})]


def test_text_only_in_its_last_event(lab: Lab) -> None:
    done = {"type": "response.output_text.done", "text": "Hello", "output_index": 0}
    whole = {"type": "message", "id": "i", "content": [{"type": "output_text", "text": "Hello"}]}
    delta = {"type": "response.output_text.delta", "delta": "Hello", "output_index": 0}
    for events in ([done], [delta, done], [done, item("output_item.done", item=whole)]):
        lab.play(sse(CREATED, *events, COMPLETED))
        message = check_events(list(stream(RESPONSES.model, "q", api_base=lab.url, api_key="k")))
        assert message.text == "Hello"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_phase_of_messages_is_sent_back(
    lab: Lab, july: Any, streamed: bool, transport: Any
) -> None:
    """It survives serialization, and another model does not get it."""
    items: list[Any] = [
        {"type": "message", "id": f"msg_{phase}", "role": "assistant", "phase": phase,
         "content": [{"type": "output_text", "text": phase, "annotations": []}]}
        for phase in ("commentary", "final_answer")
    ]  # fmt: skip
    items.append({**items[0], "id": "msg_3"})
    del items[-1]["phase"]
    response = {"id": "r", "model": "m", "status": "completed", "output": items}
    events = [
        {"type": "response.output_item.done", "output_index": number, "item": item}
        for number, item in enumerate(items)
    ]
    completed = {"type": "response.completed", "response": response}
    lab.play(sse(*events, completed) if streamed else [json.dumps(response).encode()])
    message = complete(
        "openai/responses/gpt-5.4", "q", api_base=lab.url, api_key="k", transport=transport
    )
    restored = AssistantMessage.model_validate_json(message.model_dump_json())
    for model, phases in (
        ("openai/responses/gpt-5.4", ["commentary", "final_answer", None]),
        ("openai/responses/gpt-5.5", [None, None, None]),
    ):
        sent = preview(model, ctx("q", restored, "go on"), transport=transport).body["input"]
        turns = [item for item in sent if item.get("role") == "assistant"]
        assert [turn.get("phase") for turn in turns] == phases
    assert [turn.get("id") for turn in turns] == [None, None, None]


def test_provider_tools_are_added_to_functions(july: Any) -> None:
    tools = [Tool(name="lookup", description="d")]
    extra = {"tools": [{"type": "web_search"}]}
    body = preview("openai/gpt-5.4", ctx("q", tools=tools), extra=extra).body
    assert [tool["type"] for tool in body["tools"]] == ["function", "web_search"]
    alone = preview("openai/gpt-5.4", "q", extra=extra).body
    assert [tool["type"] for tool in alone["tools"]] == ["web_search"]


@pytest.mark.parametrize("streamed", [True, False])
def test_compaction_is_kept_and_sent_back(lab: Lab, july: Any, streamed: bool) -> None:
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA", "created_by": "x"}
    text = {"type": "output_text", "text": "Hi.", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": [text]}
    output = [item, {**message, "status": "completed"}]
    response = {"id": "r", "model": "gpt-5.4", "status": "completed", "usage": {}}
    whole = {**response, "object": "response", "output": output}
    events = [
        {"type": "response.output_item.done", "output_index": index, "item": part}
        for index, part in enumerate(output)
    ]
    completed = {"type": "response.completed", "response": response}
    lab.play(sse(*events, completed) if streamed else Status(200, json.dumps(whole)))
    rule = [{"type": "compaction", "compact_threshold": 1000}]
    options: dict[str, Any] = {"api_base": lab.url, "api_key": "k", "max_retries": 0}
    context = ctx("q")
    answer = complete(
        "openai/responses/gpt-5.4", context, extra={"context_management": rule}, **options
    )
    assert lab.seen[0].json["context_management"] == rule
    assert (answer.text, answer.error, answer.warnings) == ("Hi.", None, [])
    context.messages += [answer, user("And now?")]
    complete("openai/responses/gpt-5.4", context, **options)
    sent = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA"}
    assert lab.seen[1].json["input"][1] == sent
    assert lab.seen[1].json["input"][2]["id"] == "msg_1"
    complete("openai/responses/gpt-5.5", context, **options)  # another model
    assert "gAAAA" not in json.dumps(lab.seen[2].json)


def test_compaction_without_its_content_is_left_out(lab: Lab, july: Any) -> None:
    output = [{"type": "compaction", "id": "cmp_1"}]
    whole = {"id": "r", "object": "response", "status": "completed", "output": output}
    lab.play(Status(200, json.dumps(whole)))
    answer = complete("openai/responses/gpt-5.4", "q", api_base=lab.url, api_key="k", max_retries=0)
    assert answer.content == []
