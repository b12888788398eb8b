"""Test the provider's own tools on the Responses wire: requests, calls, results, second turns."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    FileContent,
    PipyError,
    ServerToolResult,
    TextContent,
    Tool,
    code_execution,
    complete,
    ctx,
    file_search,
    image_generation,
    mcp_server,
    preview,
    stream,
    tool_result,
    web_fetch,
    web_search,
)
from pipy_ai.events import AssistantMessageEvent
from pipy_ai.provider.conversation import server_tool_text
from pipy_ai.provider.deltas import (
    CitationReport,
    Delta,
    Omitted,
    ServerToolFragment,
    ServerToolOutput,
    Text,
)
from pipy_ai.provider.wires.openai_responses import OpenAIResponsesDecoder

from ..support.event_grammar import check_events
from ..support.responses_items import (
    APPROVAL,
    CITED,
    CODE,
    FILES,
    IMAGE,
    MCP_CALL,
    MCP_LIST,
    OPEN_PAGE,
    PLOT,
    PNG,
    PREVIEW,
    REASONING,
    SEARCH,
    X_SEARCH,
    Item,
    events,
    message,
    response,
    url_citation,
)
from ..support.scripted_server import Lab, Status, sse
from ..support.strict_rules import broken_rules

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

MODEL = "openai/gpt-5"
ALL = [
    REASONING, SEARCH, OPEN_PAGE, FILES, CODE, MCP_LIST, MCP_CALL, IMAGE, CITED,
]  # fmt: skip
TOOLS = [web_search(), code_execution(), image_generation()]
OWN = {"gAAAA-own", "ctc_2", *(str(item["id"]) for item in [*ALL, X_SEARCH])}


def play(lab: Lab, *items: Item, streamed: bool = True, **fields: Any) -> None:
    if streamed:
        lab.play(sse(*events(*items, **fields)))
    else:
        lab.play([json.dumps(response(*items, **fields)).encode()])


def ask(lab: Lab, *prompt: Any, model: str = MODEL, **options: Any) -> AssistantMessage:
    options = {"api_base": lab.url, "api_key": "k", "max_retries": 0, **options}
    return check_events(list(stream(model, ctx(*(prompt or ("q",)), tools=TOOLS), **options)))


def shapes(answer: AssistantMessage) -> list[str]:
    return [part.type for part in answer.content]


# === Requests ===============================================================================


def tools_for(model: str) -> tuple[dict[str, Any], list[str]]:
    tools = [
        web_search(blocked_domains=["b.example"], city="Oslo", country="NO", context_size="low"),
        code_execution(file_ids=["file-1"]),
        file_search(["vs_1"], max_results=3),
        image_generation(size="1024x1024", format="webp", partial_images=2, quality="low"),
        mcp_server("https://mcp.example", name="games", token="secret-4711", allowed_tools=["f"]),
        web_fetch(),
    ]
    shown = preview(model, ctx("q", tools=tools))
    return shown.body, [f"{warning.code}: {warning.message}" for warning in shown.warnings]


@pytest.mark.parametrize("model", ["openai/gpt-5", "azure/gpt-5", "openai/gpt-4o"])
def test_tools_of_openai(july: Any, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://x.openai.azure.com")
    body, warnings = tools_for(model)
    assert body["tools"] == [
        {"type": "web_search", "filters": {"blocked_domains": ["b.example"]},
         "search_context_size": "low",
         "user_location": {"type": "approximate", "city": "Oslo", "country": "NO"}},
        {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}},
        {"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 3},
        {"type": "image_generation", "size": "1024x1024", "quality": "low",
         "output_format": "webp", "partial_images": 2},
        {"type": "mcp", "server_label": "games", "server_url": "https://mcp.example",
         "allowed_tools": ["f"], "require_approval": "never", "authorization": "***"},
    ]  # fmt: skip
    reasoning = ["reasoning.encrypted_content"] * (model != "openai/gpt-4o")
    assert body["include"] == [
        *reasoning, "web_search_call.action.sources", "code_interpreter_call.outputs",
        "file_search_call.results",
    ]  # fmt: skip
    assert warnings == [
        f"tool_unsupported: {model} has no web_fetch of its own; the tool was left out"
    ]
    assert broken_rules("openai", "/responses", body, set()) == []


def test_tools_of_xai(july: Any) -> None:
    body, warnings = tools_for("xai/grok-4.3")
    assert body["tools"] == [
        {"type": "web_search", "filters": {"excluded_domains": ["b.example"]}},
        {"type": "code_interpreter"},
        {"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 3},
        {"type": "mcp", "server_label": "games", "server_url": "https://mcp.example",
         "allowed_tools": ["f"], "authorization": "***"},
    ]  # fmt: skip
    assert warnings == [
        "option_ignored: xai/grok-4.3 does not support context_size, city, country of web_search; "
        "left out",
        "option_ignored: xai/grok-4.3 does not support file_ids of code_execution; left out",
        "tool_unsupported: xai/grok-4.3 has no image_generation of its own; the tool was left out",
        "tool_unsupported: xai/grok-4.3 has no web_fetch of its own; the tool was left out",
    ]
    assert broken_rules("xai", "/responses", body, set()) == []


def test_limit_of_searches_is_a_limit_of_all_tools(july: Any) -> None:
    alone = preview(MODEL, ctx("q", tools=[web_search(max_uses=2)]))
    assert (alone.body["max_tool_calls"], alone.warnings) == (2, ())
    beside = preview(MODEL, ctx("q", tools=[web_search(max_uses=2), code_execution()]))
    assert "max_tool_calls" not in beside.body
    assert [warning.code for warning in beside.warnings] == ["option_ignored"]


def test_tools_beside_functions_and_extra(july: Any) -> None:
    tools: list[Any] = [Tool(name="lookup", description="d"), web_search()]
    extra = {"tools": [{"type": "x"}], "include": ["file_search_call.results"]}
    for transport in ("direct", "litellm"):
        body = preview(MODEL, ctx("q", tools=tools), extra=extra, transport=transport).body
        assert [tool["type"] for tool in body["tools"]] == ["function", "web_search", "x"]
        assert body["include"] == [
            "reasoning.encrypted_content", "file_search_call.results",
            "web_search_call.action.sources",
        ]  # fmt: skip


def test_only_the_responses_api_has_the_tools(july: Any) -> None:
    assert preview("xai/grok-4.3", "q").url.endswith("/chat/completions")
    asked = ctx("q", tools=[web_search()])
    assert preview("xai/grok-4.3", asked).url == "https://api.x.ai/v1/responses"
    native = ctx("q", tools=[{"type": "x_search", "from_date": "2026-01-01"}])
    assert preview("xai/grok-4.3", native).body["tools"] == [
        {"type": "x_search", "from_date": "2026-01-01"}
    ]


def test_a_tool_of_the_provider_can_be_forced(july: Any) -> None:
    tools: list[Any] = [Tool(name="f"), web_search(), code_execution()]
    for choice, sent in (
        ("web_search", {"type": "web_search"}),
        ("code_execution", {"type": "code_interpreter"}),
        ("f", {"type": "function", "name": "f"}),
        ("required", "required"),
    ):
        shown = preview(MODEL, ctx("q", tools=tools), tool_choice=choice)
        assert shown.body["tool_choice"] == sent


def test_metadata_is_not_sent_to_xai(july: Any) -> None:
    shown = preview("xai/grok-4.3", ctx("q", tools=[web_search()]), metadata={"user_id": "7"})
    assert "metadata" not in shown.body
    assert [warning.code for warning in shown.warnings] == ["option_ignored"]


def test_host_without_the_tools(july: Any) -> None:
    with pytest.raises(PipyError, match="has no web_search of its own"):
        preview("github-copilot/gpt-5.4", ctx("q", tools=[web_search()]))


def test_token_of_an_mcp_server_is_not_in_errors(lab: Lab, july: Any) -> None:
    lab.play(Status(400, json.dumps({"error": {"message": "bad token secret-4711-long"}})))
    tools = [mcp_server("https://mcp.example", name="games", token="secret-4711-long")]
    answer = complete(MODEL, ctx("q", tools=tools), api_base=lab.url, api_key="k", max_retries=0)
    assert lab.seen[-1].json["tools"][0]["authorization"] == "secret-4711-long"
    assert answer.error is not None
    assert "bad token" in answer.error.message
    assert "4711" not in repr(answer.error)


# === Responses ==============================================================================


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_answer_with_all_tools(lab: Lab, july: Any, streamed: bool, transport: Any) -> None:
    play(lab, *ALL, streamed=streamed)
    answer = ask(lab, transport=transport)
    assert answer.error is None, answer.error
    assert answer.warnings == []
    pair = ["serverToolCall", "serverToolResult"]
    assert shapes(answer) == ["thinking", *pair * 4, "image", *pair * 2, "image", "text"]
    calls = [(call.name, call.arguments) for call in answer.server_tool_calls]
    assert calls == [
        ("web_search", {"query": "tallest penguin", "queries": ["tallest penguin", "emperor"]}),
        ("web_search", {"type": "open_page", "url": "https://a.example/emperor"}),
        ("file_search", {"queries": ["return window"]}),
        ("code_execution", {"code": CODE["code"]}),
        ("mcp_list_tools", {"server_label": "games"}),
        ("get_my_games", {"year": 2022}),
    ]
    results = [part for part in answer.content if isinstance(part, ServerToolResult)]
    assert [result.text for result in results] == [
        "", "", "", "é\né\n", "get_my_games", '["Elden Ring"]'
    ]  # fmt: skip
    assert [[source.source for source in result.sources] for result in results[:3]] == [
        ["https://a.example/emperor", "https://b.example"],
        ["https://a.example/emperor"],
        ["file-1"],
    ]
    passage = results[2].sources[0]
    assert (passage.title, passage.quote) == ("terms.txt", "Thirty days.")
    assert [result.tool_call_id for result in results] == [
        call.id for call in answer.server_tool_calls
    ]
    assert [image.bytes for image in answer.images] == [*map(base64.b64decode, (PLOT, PNG))]
    assert [image.mime_type for image in answer.images] == ["image/png"] * 2
    [citation] = answer.citations
    assert answer.text[citation.start : citation.end] == "(a.example)"
    assert (citation.source, citation.title) == ("https://a.example/emperor", "Emperor")
    calls_of_tools = {
        "web_search": 1, "file_search": 1, "container_1g": 1, "image_generation": 1,
        "gpt-image-2_input_text_token": 71, "gpt-image-2_output_image_token": 196,
    }  # fmt: skip
    assert answer.usage.server_tool_calls == calls_of_tools
    fees = 0.01 + 0.0025 + 0.03 + (71 * 5 + 196 * 30) / 1e6
    assert answer.usage.cost.tools == pytest.approx(fees)
    assert answer.usage.cost.total == pytest.approx(fees + (100 * 1.25 + 10 * 10) / 1e6)
    assert AssistantMessage.model_validate_json(answer.model_dump_json()) == answer


def test_events_of_code_and_of_an_image(lab: Lab, july: Any) -> None:
    play(lab, CODE, IMAGE, CITED)
    kinds: list[str] = []
    found: list[AssistantMessageEvent] = []
    for event in stream(MODEL, ctx("q", tools=TOOLS), api_base=lab.url, api_key="k"):
        found.append(event)
        kinds.append(event.type)
    check_events(found)
    assert kinds == [
        "start",
        "servertool_start", "servertool_delta", "servertool_delta", "servertool_delta",
        "servertool_end", "servertool_result", "image_start", "image_end",
        "image_start", "image_partial", "image_end",
        "text_start", "text_delta", "text_delta", "citation", "text_end", "done",
    ]  # fmt: skip
    [half] = [event.image for event in found if event.type == "image_partial"]
    assert half.bytes == base64.b64decode(PREVIEW)
    code = [event.delta for event in found if event.type == "servertool_delta"]
    assert json.loads("".join(code)) == {"code": CODE["code"]}


def decode(*found: Item) -> list[Delta]:
    decoder, deltas = OpenAIResponsesDecoder(), list[Delta]()
    for event in found:
        decoder.decode("", json.dumps(event), deltas)
    return [delta for delta in deltas if isinstance(
        delta, Text | ServerToolFragment | ServerToolOutput | CitationReport | Omitted
    )]  # fmt: skip


def test_deltas_of_a_search() -> None:
    sources = [CitationReport(source=source["url"]) for source in SEARCH["action"]["sources"]]
    arguments = json.dumps({name: SEARCH["action"][name] for name in ("query", "queries")})
    assert decode(*events(SEARCH, CITED)) == [
        ServerToolFragment(0, "ws_1", "web_search"),
        ServerToolFragment(0, arguments=arguments, raw={}),
        ServerToolOutput("ws_1", "web_search", sources=sources, raw=SEARCH),
        Text("Emperors are the t", 1),
        Text("allest. (a.example)", 1),
        CitationReport(
            start=26, end=37, source="https://a.example/emperor", title="Emperor",
            data=url_citation(26, 37), block=1,
        ),
    ]  # fmt: skip


def test_arguments_of_an_mcp_call_are_streamed() -> None:
    assert decode(*events(MCP_CALL)) == [
        ServerToolFragment(0, "mcp_1", "get_my_games"),
        ServerToolFragment(0, arguments='{"year"'),
        ServerToolFragment(0, arguments=": 2022}"),
        ServerToolFragment(0, arguments="", raw={}),
        ServerToolOutput("mcp_1", "get_my_games", '["Elden Ring"]', raw=MCP_CALL),
    ]


def test_annotation_of_a_part_that_cannot_be(lab: Lab, july: Any) -> None:
    found = events(CITED)
    for event in found:
        if event["type"].endswith("annotation.added"):
            event["content_index"] = 10**12
    lab.play(sse(*found))
    assert [c.source for c in ask(lab).citations] == ["https://a.example/emperor"] * 2


def test_search_of_xai(lab: Lab, july: Any) -> None:
    usage = {
        "input_tokens": 100, "output_tokens": 10, "total_tokens": 110,
        "cost_in_usd_ticks": 57_756_000, "server_side_tool_usage_details": {"x_search_calls": 1},
    }  # fmt: skip
    play(lab, X_SEARCH, CITED, usage=usage)
    answer = ask(lab, model="xai/grok-4.3")
    assert answer.usage.server_tool_calls == {"x_search": 1}
    # The ticks are the whole bill.
    assert (answer.usage.cost.total, answer.usage.cost.source) == (0.0057756, "provider")
    [call] = answer.server_tool_calls
    assert (call.name, call.arguments) == ("x_search", {"query": "from:nasa"})
    assert [warning.code for warning in answer.warnings] == ["tool_unsupported"]


def test_xai_looks_at_a_video_and_cites_without_a_place(lab: Lab, july: Any) -> None:
    look = {
        "type": "custom_tool_call", "id": "ctc_2", "call_id": "xs_2", "status": "completed",
        "name": "view_x_video", "input": '{"video_url": "https://v.example"}',
    }  # fmt: skip
    play(lab, look, message("It flies.", url_citation(0, 0)))
    answer = ask(lab, model="xai/grok-4.3")
    [call] = answer.server_tool_calls
    assert (call.name, call.arguments) == ("view_x_video", {"video_url": "https://v.example"})
    assert [(citation.start, citation.end) for citation in answer.citations] == [(None, None)]
    assert [warning.code for warning in answer.warnings] == ["tool_unsupported"]
    assert sent_input(lab, answer, "xai/grok-4.3")[1] == look


def test_annotations_of_every_kind(lab: Lab, july: Any) -> None:
    second = {
        "type": "output_text", "text": "more", "logprobs": [],
        "annotations": [url_citation(0, 4, "https://b.example"), {"type": "new_kind"}],
    }  # fmt: skip
    first = message(
        "né.txt",
        {"type": "file_citation", "file_id": "f1", "filename": "a.txt", "index": 3},
        {"type": "container_file_citation", "container_id": "c", "file_id": "f2",
         "filename": "né.txt", "start_index": 0, "end_index": 6},
        {"type": "file_path", "file_id": "f3", "index": 0},
        url_citation(2, 99),
    )  # fmt: skip
    both = {**first, "content": [*first["content"], second]}
    for streamed in (True, False):
        play(lab, both, streamed=streamed)
        answer = ask(lab)
        [part] = answer.content
        assert isinstance(part, TextContent)
        assert part.text == "né.txtmore"
        assert [(c.source, c.title, c.start, c.end) for c in part.citations] == [
            ("f1", "a.txt", None, None),
            ("f2", "né.txt", 0, 6),
            ("f3", None, None, None),
            ("https://a.example/emperor", "Emperor", None, None),
            ("https://b.example", "Emperor", 6, 10),
        ]
        assert part.citations[1].data["container_id"] == "c"
        created = FileContent(id="f2", provider="openai", name="né.txt", container_id="c")
        assert answer.files == [created]
        [warning] = answer.warnings
        assert warning.message.endswith("omitted: annotation new_kind")


@pytest.mark.parametrize("streamed", [True, False])
def test_tools_that_fail_leave_the_answer(lab: Lab, july: Any, streamed: bool) -> None:
    error = {
        "type": "mcp_tool_execution_error", "content": [{"type": "text", "text": "no such game"}],
    }  # fmt: skip
    play(
        lab,
        {**SEARCH, "status": "failed", "action": {"type": "search", "query": "q"}},
        {**MCP_CALL, "status": "failed", "output": None, "error": error},
        {**MCP_LIST, "tools": [], "error": "unreachable"},
        {**IMAGE, "status": "failed", "result": None},
        {"id": "odd_1", "type": "new_call", "status": "completed"},
        CITED,
        streamed=streamed,
    )
    answer = ask(lab)
    assert answer.error is None
    assert answer.text == CITED["content"][0]["text"]
    results = [part for part in answer.content if isinstance(part, ServerToolResult)]
    assert [(result.name, result.text, result.is_error) for result in results] == [
        ("web_search", "failed", True),
        ("get_my_games", "no such game", True),
        ("mcp_list_tools", "unreachable", True),
        ("image_generation", "failed", True),
    ]
    [warning] = answer.warnings
    assert warning.message.endswith("omitted: new_call")


def test_approval_is_asked_for(lab: Lab, july: Any) -> None:
    """A request that nobody can answer is no end."""
    for streamed in (True, False):
        play(lab, message("I delete it."), APPROVAL, streamed=streamed)
        answer = ask(lab)
        [call] = answer.server_tool_calls
        assert (call.name, call.arguments) == ("delete_game", {"id": 7})
        assert answer.error is not None
        assert answer.error.kind == "incomplete"
        assert not answer.error.retryable
        assert "waits for approval" in answer.error.message
        assert "games: delete_game" in answer.error.message
        assert len(lab.seen) == 1 + (not streamed)


def test_image_that_is_not_base64_is_named(lab: Lab, july: Any) -> None:
    play(lab, {**IMAGE, "result": PNG[:-1]}, CITED)
    answer = ask(lab)
    assert answer.text == CITED["content"][0]["text"]
    assert [warning.code for warning in answer.warnings] == ["content_omitted"]
    assert "image that is not valid base64" in answer.warnings[0].message


def test_cut_off_code_is_kept(lab: Lab, july: Any) -> None:
    found = events(SEARCH, CODE)
    cut = next(n for n, event in enumerate(found) if event["type"].endswith("code.delta"))
    lab.play(sse(*found[: cut + 1]))
    answer = ask(lab)
    assert answer.error is not None
    assert shapes(answer) == ["serverToolCall", "serverToolResult", "serverToolCall"]
    half = CODE["code"][: len(CODE["code"]) // 2]
    assert answer.server_tool_calls[1].arguments == {"code": half}


def test_call_that_only_the_last_event_completes(lab: Lab, july: Any) -> None:
    found = [event for event in events(SEARCH, CITED) if event.get("item") != SEARCH]
    lab.play(sse(*found))
    answer = ask(lab)
    assert sorted(shapes(answer)) == ["serverToolCall", "serverToolResult", "text"]
    assert answer.server_tool_calls[0].arguments["query"] == "tallest penguin"


# === Second turns ===========================================================================


def sent_input(lab: Lab, answer: AssistantMessage, model: str = MODEL) -> list[Item]:
    """Send a second turn; return its input, which OpenAI and xAI accept."""
    lab.play(sse(*events(message("ok"))))
    ask(lab, "q", answer, "and now?", model=model)
    body = lab.seen[-1].json
    assert broken_rules(model.partition("/")[0], "/responses", body, OWN) == []
    items: list[Item] = body["input"]
    return items


@pytest.mark.parametrize("streamed", [True, False])
def test_items_go_back_as_they_came(lab: Lab, july: Any, streamed: bool) -> None:
    play(lab, *ALL, streamed=streamed)
    answer = AssistantMessage.model_validate_json(ask(lab).model_dump_json())
    _, *items, pictures, _ = sent_input(lab, answer)
    *items, text = items
    assert text["content"][0]["annotations"] == CITED["content"][0]["annotations"]
    assert items == [
        REASONING, SEARCH, OPEN_PAGE, FILES, {**CODE, "outputs": CODE["outputs"][:1]}, MCP_LIST,
        MCP_CALL,
    ]  # fmt: skip
    assert (text["id"], text["content"][0]["text"]) == ("msg_1", answer.text)
    assert pictures["role"] == "user"
    urls = [part["image_url"] for part in pictures["content"] if part["type"] == "input_image"]
    assert urls == [f"data:image/png;base64,{data}" for data in (PLOT, PNG)]


def test_image_follows_the_results_of_functions(lab: Lab, july: Any) -> None:
    call = {
        "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f",
        "arguments": "{}", "status": "completed",
    }  # fmt: skip
    play(lab, REASONING, IMAGE, call)
    answer = ask(lab)
    lab.play(sse(*events(message("ok"))))
    ask(lab, "q", answer, tool_result(answer.tool_calls[0], "done"))
    body = lab.seen[-1].json
    assert [item.get("type", item.get("role")) for item in body["input"]] == [
        "user", "reasoning", "function_call", "function_call_output", "user"
    ]  # fmt: skip
    assert broken_rules("openai", "/responses", body, OWN | {"call_1"}) == []


def test_image_alone(lab: Lab, july: Any) -> None:
    """Reasoning that led to the image cannot go back without it, nor the empty message."""
    play(lab, REASONING, IMAGE, message(""))
    answer = ask(lab)
    assert shapes(answer) == ["thinking", "image"]
    assert [item["role"] for item in sent_input(lab, answer)] == ["user", "user", "user"]


@pytest.mark.parametrize(
    "fields",
    [{"status": 1}, {"action": None}, {"action": {"type": "search", "score": math.nan}}],
)
def test_item_that_could_not_go_back_is_text(lab: Lab, july: Any, fields: Item) -> None:
    play(lab, {**SEARCH, **fields}, CITED)
    answer = ask(lab)
    assert answer.error is None
    json.dumps(answer.model_dump(), allow_nan=False)
    assert sent_input(lab, answer)[1]["content"][0]["text"].startswith("(web_search")


def test_code_of_an_expired_container_is_text(lab: Lab, july: Any) -> None:
    """OpenAI: "Expected container_id: cntr_…" (pydantic/pydantic-ai#7461)."""
    play(lab, REASONING, CODE, CITED)
    answer = ask(lab)
    assert CODE["id"] in [item.get("id") for item in sent_input(lab, answer)]
    old = answer.model_copy(update={"timestamp": answer.timestamp - 21 * 60 * 1000})
    _, code, text, pictures, _ = sent_input(lab, old)
    assert code["content"][0]["text"] == "(code_execution:\né\né\n)"
    assert (text["content"][0]["text"], "id" in text) == (answer.text, False)
    assert pictures["content"][1]["type"] == "input_image"
    # Later code in the same container has kept it alive.
    lab.play(sse(*events(message("ok"))))
    ask(lab, "q", old, "again", answer, "and now?")
    sent = [item.get("id") for item in lab.seen[-1].json["input"]]
    assert sent.count(CODE["id"]) == 2


@pytest.mark.parametrize("streamed", [True, False])
def test_namespace_of_a_function_goes_back(lab: Lab, july: Any, streamed: bool) -> None:
    call = {
        "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f",
        "arguments": "{}", "namespace": "crm", "status": "completed",
    }  # fmt: skip
    play(lab, call, streamed=streamed)
    answer = ask(lab)
    lab.play(sse(*events(message("ok"))))
    ask(lab, "q", answer, tool_result(answer.tool_calls[0], "done"))
    assert lab.seen[-1].json["input"][1] == {
        "type": "function_call", "call_id": "call_1", "name": "f", "namespace": "crm",
        "arguments": "{}",
    }  # fmt: skip


def test_search_of_xai_goes_back(lab: Lab, july: Any) -> None:
    play(lab, X_SEARCH, CITED)
    answer = ask(lab, model="xai/grok-4.3")
    assert sent_input(lab, answer, "xai/grok-4.3")[1] == X_SEARCH


def test_another_model_of_the_provider(lab: Lab, july: Any) -> None:
    """Calls go back only with the reasoning before them, which only its own model reads."""
    play(lab, REASONING, SEARCH, CITED)
    reasoned = ask(lab)
    items = sent_input(lab, reasoned, "openai/gpt-4.1")
    assert [item.get("type") for item in items] == [None, "message", "message", None]
    [result] = [part for part in reasoned.content if isinstance(part, ServerToolResult)]
    assert items[1]["content"][0]["text"] == server_tool_text(result)
    play(lab, SEARCH, CITED)
    assert sent_input(lab, ask(lab), "openai/gpt-4.1")[1] == SEARCH


def test_another_api_gets_text_with_sources(lab: Lab, july: Any) -> None:
    play(lab, *ALL)
    answer = ask(lab)
    for model in ("anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash", "groq/qwen/qwen3-32b"):
        shown = preview(model, ctx("q", answer, "and now?"))
        text = json.dumps(shown.body)
        assert "https://b.example" in text
        assert "ws_1" not in text
        codes = {warning.code for warning in shown.warnings}
        assert {"server_tool_as_text", "image_omitted"} <= codes


def test_model_without_vision_gets_no_image(lab: Lab, july: Any) -> None:
    play(lab, IMAGE, CITED)
    answer = ask(lab)
    shown = preview("openai/o3-mini", ctx("q", answer, "go", tools=[web_search()]))
    assert "input_image" not in json.dumps(shown.body)
    assert "image_omitted" in [warning.code for warning in shown.warnings]


# === Shapes =================================================================================


def test_shapes_are_those_of_the_sdk() -> None:
    """The test's own items, events and requests, against the types of the `openai` package."""
    types = pytest.importorskip("openai.types.responses")
    params = pytest.importorskip("openai.types.responses.response_input_item_param")
    from pydantic import TypeAdapter

    for event in events(*ALL, APPROVAL, X_SEARCH):
        found = TypeAdapter(types.ResponseStreamEvent).validate_python(event)
        assert found.type == event["type"]
    types.Response.model_validate(response(*ALL, APPROVAL))
    for item in [SEARCH, OPEN_PAGE, FILES, CODE, MCP_LIST, MCP_CALL, REASONING]:
        TypeAdapter(params.ResponseInputItemParam).validate_python(item)
