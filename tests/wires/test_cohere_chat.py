"""Test Cohere's chat API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    Citation,
    Context,
    ImageContent,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    UserMessage,
    complete,
    ctx,
    preview,
    stream,
    tool_result,
    user,
)

from ..support.event_grammar import check_events
from ..support.raw_server import Raw, response
from ..support.scripted_server import FIN, Lab, Status, sse
from ..support.vendor_rules import violations
from ..support.wire_formats import COHERE, Counts, say, think, tool

KEY = "sk-very-secret-0123456789"
PLAIN = "cohere/command-a-03-2025"
REASONING = COHERE.model
LOOK = Tool(name="look", description="Look.", parameters={"type": "object", "properties": {}})
FIND = LOOK.model_copy(update={"name": "find"})


def ask(lab: Lab, prompt: Any = "q", model: str = REASONING, **options: Any) -> AssistantMessage:
    options = {"api_key": KEY, "max_retries": 0, "api_base": COHERE.base(lab), **options}
    return check_events(list(stream(model, prompt, **options)))


def sent(prompt: Any, model: str = PLAIN, **options: Any) -> dict[str, Any]:
    """Return the body of a request that Cohere accepts."""
    shown = preview(model, prompt, api_key="k", **options)
    assert shown.url == "https://api.cohere.com/v2/chat"
    assert violations(shown.url, shown.body, {"look_1"}) == []
    return shown.body


def plan_event(text: str) -> dict[str, Any]:
    return {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": text}}}


def end(reason: str = "COMPLETE", **fields: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, **fields}}


def text_event(text: str, index: int = 0) -> dict[str, Any]:
    return {"type": "content-delta", "index": index,
            "delta": {"message": {"content": {"text": text}}}}  # fmt: skip


# --- Requests -------------------------------------------------------------------------------


def test_sampling_fields_have_coheres_names() -> None:
    body = sent(
        "q", temperature=1.5, top_p=0.5, top_k=40, seed=7, max_tokens=9, stop=list("abcdefg")
    )
    assert body == {
        "model": "command-a-03-2025",
        "messages": [{"role": "user", "content": "q"}],
        "stream": True,
        "temperature": 1.0,
        "p": 0.5,
        "k": 40,
        "seed": 7,
        "max_tokens": 9,
        "stop_sequences": list("abcde"),
    }


def test_sse_is_requested() -> None:
    assert preview(PLAIN, "q", api_key="k").headers["accept"] == "text/event-stream"


@pytest.mark.parametrize("path", ["v1", "v1/chat", "compatibility/v1/", "v2/#chat"])
def test_address_of_another_api_of_cohere(path: str) -> None:
    shown = preview(PLAIN, "q", api_base=f"https://api.cohere.com/{path}", api_key="k")
    assert shown.url == "https://api.cohere.com/v2/chat"


@pytest.mark.parametrize(
    "base",
    [
        "https://c.example",
        "https://c.example/",
        "https://c.example/v2",
        "https://c.example/v2/chat",
    ],
)
def test_base_url_with_and_without_its_path(base: str) -> None:
    assert preview(PLAIN, "q", api_base=base, api_key="k").url == "https://c.example/v2/chat"
    shown = preview(PLAIN, "q", api_base=f"{base}?tenant=1", api_key="k")
    assert shown.url == "https://c.example/v2/chat?tenant=1"


def test_variables_of_coheres_package(monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    monkeypatch.setenv("CO_API_KEY", KEY)
    monkeypatch.setenv("CO_API_URL", COHERE.base(lab))
    lab.play(COHERE.scene(say("ok")))
    assert complete("cohere_chat/command-a-03-2025", "q").text == "ok"
    assert lab.seen[0].path == "/v2/chat"
    assert lab.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert lab.seen[0].headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("choice", "names", "field"),
    [
        (None, ["look", "find"], None),
        ("auto", ["look", "find"], None),
        ("required", ["look", "find"], "REQUIRED"),
        ("none", ["look", "find"], "NONE"),
        ("find", ["find"], "REQUIRED"),
        ({"type": "function", "function": {"name": "find"}}, ["find"], "REQUIRED"),
        ({"type": "tool", "name": "find"}, ["find"], "REQUIRED"),
    ],
)
def test_tool_choice(choice: Any, names: list[str], field: str | None) -> None:
    body = sent(ctx("q", tools=[LOOK, FIND]), tool_choice=choice)
    assert [one["function"]["name"] for one in body["tools"]] == names
    assert body.get("tool_choice") == field


def test_tool_choice_of_models_that_do_not_know_it() -> None:
    context = ctx("q", tools=[LOOK])
    shown = preview("cohere/command-r-08-2024", context, tool_choice="required", api_key="k")
    assert "tool_choice" not in shown.body
    assert [warning.code for warning in shown.warnings] == ["tool_choice_changed"]
    assert "tools" not in sent(context, "cohere/command-r-08-2024", tool_choice="none")


@pytest.mark.parametrize(
    ("level", "options", "fields"),
    [
        (None, {}, {}),
        ("off", {}, {"thinking": {"type": "disabled"}}),
        ("low", {"max_tokens": 2000}, {"thinking": {"type": "enabled", "token_budget": 2048},
                                       "max_tokens": 4048}),
        ("max", {}, {"thinking": {"type": "enabled", "token_budget": 30976},
                     "max_tokens": 32000}),
    ],
)  # fmt: skip
def test_thinking(level: Any, options: dict[str, Any], fields: dict[str, Any]) -> None:
    body = sent("q", REASONING, reasoning=level, **options)
    assert {n: v for n, v in body.items() if n in ("thinking", "max_tokens")} == fields


def test_thinking_of_models_without_it() -> None:
    assert "thinking" not in sent("q", PLAIN, reasoning="high")
    assert "thinking" not in sent("q", PLAIN, reasoning="off")
    assert "thinking" not in sent("q", "cohere/command-r-plus", reasoning="off")


def test_images_are_sent_and_pdfs_are_not() -> None:
    picture = ImageContent(data="iVBORw0KGgo=", mime_type="image/png")
    linked = ImageContent(url="https://example.com/a.png")
    body = sent(user("q", picture, linked), "cohere/command-a-vision-07-2025")
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "q"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    pdf = user("q", b"%PDF-1.7")
    for model in (PLAIN, "cohere/command-z-vision"):
        shown = preview(model, pdf, api_key="k")
        assert "document_omitted" in [warning.code for warning in shown.warnings]


def test_grounding_documents_prevent_a_schema() -> None:
    documents = [{"id": "d1", "data": {"text": "Emperors are the tallest."}}]
    body = sent("q", extra={"documents": documents}, output=int, output_mode="native")
    assert body["documents"] == documents
    assert "response_format" not in body


def test_last_message_is_the_users() -> None:
    answer = AssistantMessage(content=[TextContent(text="So")], stop_reason="stop")
    assert sent(ctx("q", answer))["messages"][-1]["role"] == "user"


# --- What precedes tool calls ---------------------------------------------------------------


def turn_of(model: str, *content: Any, **options: Any) -> dict[str, Any]:
    """Return the encoded turn of a model that called a tool."""
    call = ToolCall(id="look_1", name="look", arguments={})
    message = AssistantMessage(
        provider="cohere", model=model.partition("/")[2], api="cohere-chat",
        content=[*content, call], stop_reason="toolUse",
    )  # fmt: skip
    context = Context(messages=[UserMessage(content="q"), message, tool_result(call, "x")])
    turn = sent(context, model, **options)["messages"][1]
    assert [one["id"] for one in turn.pop("tool_calls")] == ["look_1"]
    return {name: value for name, value in turn.items() if name != "role"}


PLAN = ThinkingContent(thinking="I look.", thinking_signature="tool_plan")


def test_plan_goes_back_as_a_plan() -> None:
    assert turn_of(PLAIN, PLAN) == {"tool_plan": "I look."}
    assert turn_of(PLAIN, TextContent(text="I look it up.")) == {"tool_plan": "I look it up."}
    assert turn_of(PLAIN) == {}


def test_thinking_goes_back_as_thinking() -> None:
    thought = ThinkingContent(thinking="Hm.")
    part = {"type": "thinking", "thinking": "Hm."}
    assert turn_of(REASONING, thought) == {"content": [part]}
    both = turn_of(REASONING, thought, TextContent(text="I look."))
    assert both == {"content": [part, {"type": "thinking", "thinking": "I look."}]}
    assert turn_of(REASONING, thought, reasoning="off") == {"tool_plan": "Hm."}


def test_listed_reasoning_models_think_by_default(july: Path) -> None:
    record = {"cohere/command-z-07-2026": {"reasoning": True}}
    (july / "overrides.json").write_text(json.dumps(record))
    turn = turn_of("cohere/command-z-07-2026", ThinkingContent(thinking="Hm."))
    assert turn == {"content": [{"type": "thinking", "thinking": "Hm."}]}
    assert sent("q", "cohere/command-z-07-2026", reasoning="off")["thinking"]["type"] == "disabled"


def test_plan_is_streamed_as_thinking_and_returned(lab: Lab) -> None:
    call = {"id": "look_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    scene = sse(
        {"type": "message-start", "id": "c-1", "delta": {"message": {"role": "assistant"}}},
        plan_event("I will "),
        plan_event("look."),
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": call}}},
        {"type": "tool-call-end", "index": 0},
        end("TOOL_CALL"),
    )
    lab.play(scene, COHERE.scene(say("ok")))
    context = ctx("q", tools=[LOOK])
    message = ask(lab, context, PLAIN)
    assert message.content == [
        ThinkingContent(thinking="I will look.", thinking_signature="tool_plan"),
        ToolCall(id="look_1", name="look"),
    ]
    assert message.stop_reason == "toolUse"
    context.extend([message, tool_result(message.tool_calls[0], "x")])
    ask(lab, context, PLAIN)
    assert lab.seen[1].json["messages"][1] == {
        "role": "assistant",
        "tool_plan": "I will look.",
        "tool_calls": [{**call, "function": {"name": "look", "arguments": "{}"}}],
    }


def test_thinking_and_plan_are_blocks_of_their_own(lab: Lab) -> None:
    thinking = {"type": "content-delta", "index": 0,
                "delta": {"message": {"content": {"thinking": "Hm."}}}}  # fmt: skip
    lab.play(sse(thinking, plan_event("I look."), text_event("So."), end()))
    assert ask(lab).content == [
        ThinkingContent(thinking="Hm."), PLAN, TextContent(text="So."),
    ]  # fmt: skip


# --- Responses ------------------------------------------------------------------------------

BODY: dict[str, Any] = {
    "id": "c-1",
    "finish_reason": "TOOL_CALL",
    "message": {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Süß"}],
        "tool_plan": "I look.",
        "tool_calls": [
            {"id": "look_1", "type": "function",
             "function": {"name": "look", "arguments": "null"}},
            {"id": "find_1", "type": "function",
             "function": {"name": "find", "arguments": '{"x": null}'}},
        ],
    },
    "usage": {"billed_units": {"input_tokens": 1, "output_tokens": 3},
              "tokens": {"input_tokens": 496, "output_tokens": 4}},
}  # fmt: skip


@pytest.mark.parametrize("indent", [None, 2])
def test_whole_body(lab: Lab, indent: int | None) -> None:
    lab.play(Status(200, json.dumps(BODY, indent=indent)))
    message = ask(lab)
    assert message.content == [
        ThinkingContent(thinking="Hm."),
        TextContent(text="Süß"),
        PLAN,
        ToolCall(id="look_1", name="look"),
        ToolCall(id="find_1", name="find", arguments={"x": None}),
    ]
    assert (message.stop_reason, message.response_id) == ("toolUse", "c-1")
    assert (message.usage.input, message.usage.output) == (1, 3)


def test_whole_body_with_text_as_content(lab: Lab) -> None:
    lab.play(Status(200, {"message": {"content": "plain"}, "finish_reason": "COMPLETE"}))
    assert ask(lab).text == "plain"


STEPS = [think("Hm."), say("Zür", "ich 😀"), tool("look_1", "look", '{"x": ', "1}")]


def test_lines_of_json() -> None:
    events = list(COHERE.events(STEPS, "tool", Counts()))
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    body = "\n".join(lines).encode() + b"\n"
    for size in (1, 7, len(body)):
        pieces = [body[n : n + size] for n in range(0, len(body), size)]
        with Raw(iter([b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", *pieces])) as server:
            message = complete(
                REASONING, "q", api_base=server.url.removesuffix("/v1"), api_key=KEY, max_retries=0
            )
        assert message.error is None, message.error
        assert message.text == "Zürich 😀"
        assert [call.arguments for call in message.tool_calls] == [{"x": 1}]
        assert message.usage.output == 5


@pytest.mark.parametrize("cut", [-200, -3])
def test_truncated_lines_of_json_are_incomplete(cut: int) -> None:
    events = [json.dumps(e) for e in COHERE.events(STEPS, "tool", Counts()) if e != "[DONE]"]
    body = "\n".join(events).encode()[:cut]
    with Raw(response(body)) as server:
        message = complete(
            REASONING, "q", api_base=server.url.removesuffix("/v1"), api_key=KEY, max_retries=0
        )
    assert message.error is not None
    assert message.error.kind == "incomplete"


def test_done_without_an_end_is_incomplete(lab: Lab) -> None:
    lab.play(sse(text_event("so"), "[DONE]"))
    message = ask(lab)
    assert message.text == "so"
    assert message.error is not None
    assert message.error.kind == "incomplete"


def test_end_does_not_wait_for_the_connection(lab: Lab) -> None:
    lab.play([*sse(text_event("so"), end()), FIN])
    assert ask(lab).stop_reason == "stop"


@pytest.mark.parametrize(
    ("event", "kind", "retryable", "text"),
    [
        (end("ERROR"), "server", True, "(ERROR)"),
        (end("ERROR", error="internal: broke"), "server", True, "internal: broke"),
        (end("ERROR", error="too many tokens: total number of tokens in the prompt cannot exceed"),
         "context_overflow", False, "too many tokens"),
        (end("TIMEOUT"), "timeout", True, "(TIMEOUT)"),
        (end("TIMEOUT", error="it took too long"), "timeout", True, "it took too long"),
        (end("COMPLETE", error="it broke"), "server", True, "it broke"),
        (end("BRAND_NEW"), "incomplete", False, "BRAND_NEW"),
        ({"message": "invalid request: no"}, "server", True, "invalid request: no"),
        ({"type": "error", "message": "no"}, "server", True, "no"),
    ],
)  # fmt: skip
def test_failures_after_content(
    lab: Lab, event: dict[str, Any], kind: str, retryable: bool, text: str
) -> None:
    lab.play(sse(text_event("half"), event))
    message = ask(lab)
    assert message.text == "half"
    assert message.error is not None
    assert (message.error.kind, message.error.retryable) == (kind, retryable)
    assert text in message.error.message


def test_usage_of_a_failure_is_kept(lab: Lab) -> None:
    usage = {"billed_units": {"input_tokens": 7, "output_tokens": 1}}
    lab.play(sse(text_event("half"), end("ERROR", error="it broke", usage=usage)))
    assert ask(lab).usage.input == 7


@pytest.mark.parametrize(
    "event",
    [
        {"type": "debug", "prompt": "<BOS>"},
        {"type": "brand-new", "index": 0},
        {"type": "citation-end", "index": 0},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text"}}}},
    ],
)
def test_events_without_content(lab: Lab, event: dict[str, Any]) -> None:
    lab.play(sse(text_event("so"), event, end()))
    message = ask(lab)
    assert (message.text, message.error, message.warnings) == ("so", None, [])


def test_unknown_content_is_named(lab: Lab) -> None:
    content = {"delta": {"message": {"content": {"type": "image"}}}}
    lab.play(sse({"type": "content-start", "index": 0, **content}, text_event("so", 1), end()))
    message = ask(lab)
    assert message.text == "so"
    assert "omitted: image" in message.warnings[0].message


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        # Recorded: of 2,935 tokens 529 are Cohere's own.
        ({"billed_units": {"input_tokens": 2406, "output_tokens": 9},
          "tokens": {"input_tokens": 2935, "output_tokens": 12}, "cached_tokens": 2928},
         (7, 2399, 9)),
        ({"billed_units": {"input_tokens": 1.0, "output_tokens": 2.0},
          "tokens": {"input_tokens": 496.0, "output_tokens": 2.0}, "cached_tokens": 0},
         (1, 0, 2)),
        ({"tokens": {"input_tokens": 20, "output_tokens": 2}, "cached_tokens": 15}, (5, 15, 2)),
        ({"billed_units": {"input_tokens": 0, "output_tokens": 0},
          "tokens": {"input_tokens": 5, "output_tokens": 2}}, (0, 0, 0)),
    ],
)  # fmt: skip
def test_usage_is_what_is_billed(lab: Lab, usage: Any, counts: tuple[int, int, int]) -> None:
    lab.play(sse(text_event("so"), end(usage=usage)))
    reported = ask(lab).usage
    assert (reported.input, reported.cache_read, reported.output) == counts
    assert not reported.estimated


def test_cost_is_that_of_the_billed_tokens(lab: Lab) -> None:
    usage = {
        "billed_units": {"input_tokens": 2406, "output_tokens": 9},
        "tokens": {"input_tokens": 2935, "output_tokens": 12},
        "cached_tokens": 2928,
    }
    lab.play(sse(text_event("so"), end(usage=usage)))
    assert ask(lab, model=PLAIN).usage.cost.total == pytest.approx((2406 * 2.5 + 9 * 10) / 1e6)


# --- Citations ------------------------------------------------------------------------------


def citation(text: str, start: int, *sources: Any, **fields: Any) -> dict[str, Any]:
    facts = {"start": start, "end": start + len(text), "text": text, "sources": list(sources)}
    return {"type": "citation-start", "index": 0,
            "delta": {"message": {"citations": {**facts, **fields}}}}  # fmt: skip


DOCUMENT = {
    "type": "document",
    "id": "doc:1",
    "document": {"id": "doc:1", "title": "Penguins", "text": "Emperors are tall."},
}
PAGE = {"type": "document", "id": "doc:2", "document": {"url": "https://example.com/p"}}
RESULT = {"type": "tool", "id": "look_1:0", "tool_output": {"height": "120 cm"}}


def test_citations_are_kept_with_their_place(lab: Lab) -> None:
    lab.play(
        sse(
            text_event("Größe 😀: "),
            text_event("emperors, 120 cm."),
            citation("emperors", 9, DOCUMENT, PAGE, type="TEXT_CONTENT"),
            {"type": "citation-end", "index": 0},
            citation("120 cm", 19, RESULT),
            end(),
        )
    )
    message = ask(lab)
    [part] = message.content
    assert isinstance(part, TextContent)
    shown = [(c.source, c.title, part.text[c.start : c.end]) for c in part.citations]
    assert shown == [
        ("doc:1", "Penguins", "emperors"),
        ("https://example.com/p", None, "emperors"),
        ("look_1:0", None, "120 cm"),
    ]
    assert part.citations[0].data == {
        "start": 9, "end": 17, "text": "emperors", "sources": [DOCUMENT], "type": "TEXT_CONTENT",
    }  # fmt: skip
    again = AssistantMessage.model_validate_json(message.model_dump_json())
    assert again.content == message.content


@pytest.mark.parametrize(
    ("start", "place"),
    [(4, (4, 6)), (5, (4, 6)), (0, (0, 2)), (2, (0, 2)), (99, (4, 6)), (-7, (0, 2)), (None, (0, 2)),
     ("x", (0, 2)), (10**30, (4, 6))],
)  # fmt: skip
def test_words_are_found_where_the_place_is_wrong(
    lab: Lab, start: Any, place: tuple[int, int]
) -> None:
    event = citation("so", 0, DOCUMENT)
    event["delta"]["message"]["citations"]["start"] = start
    lab.play(sse(text_event("so, so."), event, end()))
    [part] = ask(lab).content
    assert isinstance(part, TextContent)
    assert [(c.start, c.end) for c in part.citations] == [place]


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "1e999"])
def test_numbers_in_citations_that_json_does_not_have_become_null(lab: Lab, odd: str) -> None:
    events = sse(text_event("so"), citation("so", 0, DOCUMENT, score=["@"]), end())
    lab.play([e.replace(b'"@"', odd.encode()) if isinstance(e, bytes) else e for e in events])
    message = ask(lab)
    [part] = message.content
    assert isinstance(part, TextContent)
    assert part.citations[0].data["score"] == [None]
    json.dumps(message.model_dump(), allow_nan=False)


def test_words_that_are_not_in_the_text_have_no_place(lab: Lab) -> None:
    lab.play(sse(text_event("so"), citation("other", 0, DOCUMENT), end()))
    [part] = ask(lab).content
    assert isinstance(part, TextContent)
    [found] = part.citations
    assert (found.source, found.start, found.end) == ("doc:1", None, None)
    assert found.data["text"] == "other"


def test_citations_belong_to_their_block(lab: Lab) -> None:
    thinking = {"type": "content-delta", "index": 0,
                "delta": {"message": {"content": {"thinking": "tall"}}}}  # fmt: skip
    lab.play(
        sse(
            thinking,
            plan_event("tall"),
            text_event("tall", 1),
            citation("tall", 0, DOCUMENT, content_index=0, type="THINKING_CONTENT"),
            citation("tall", 0, DOCUMENT, type="PLAN"),
            citation("tall", 0, DOCUMENT, content_index=1),
            end(),
        )
    )
    counts = [len(part.citations) for part in ask(lab).content if part.type != "toolCall"]
    assert counts == [1, 1, 1]


def test_citations_of_a_whole_body(lab: Lab) -> None:
    cited = {"start": 0, "end": 2, "text": "So", "sources": [DOCUMENT], "type": "TEXT_CONTENT"}
    message = {"content": [{"type": "text", "text": "So"}], "citations": [cited]}
    lab.play(Status(200, {"id": "c", "finish_reason": "COMPLETE", "message": message}))
    [part] = ask(lab).content
    assert part == TextContent(
        text="So",
        citations=[Citation(source="doc:1", title="Penguins", start=0, end=2, data=cited)],
    )


@pytest.mark.parametrize(
    "cited", [5, None, [], {}, {"sources": 5}, {"sources": [5, {}]}, {"text": 5, "start": []}]
)
def test_broken_citations_do_not_break_the_answer(lab: Lab, cited: Any) -> None:
    event = {"type": "citation-start", "delta": {"message": {"citations": cited}}}
    lab.play(sse(text_event("so"), event, end()))
    message = ask(lab)
    assert (message.text, message.stop_reason) == ("so", "stop")


def test_citation_before_its_text_is_kept(lab: Lab) -> None:
    lab.play(sse(citation("so", 0, DOCUMENT), text_event("so"), end()))
    message = ask(lab)
    assert message.text == "so"
    assert [(found.start, found.end) for found in message.citations] == [(0, 2)]
