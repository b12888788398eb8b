"""Test tools that Anthropic runs: requests, results, citations, pauses, later turns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
    AssistantMessage,
    Context,
    ServerTool,
    ServerToolCall,
    ServerToolResult,
    TextContent,
    ToolResultMessage,
    budget,
    code_execution,
    complete,
    ctx,
    file_search,
    mcp_server,
    native,
    preview,
    stream,
    user,
    web_fetch,
    web_search,
)

from ..support.event_grammar import check_events
from ..support.scripted_server import FIN, Lab, Scene, Status, sse
from ..support.vendor_rules import violations

MODEL = "anthropic/claude-sonnet-4-5"
KEY = "sk-very-secret-0123456789"
SEARCH_CALL = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "café"},
    "caller": {"type": "direct"},
}
FOUND = {"type": "web_search_result", "url": "https://a.example", "title": "A", "page_age": None,
         "encrypted_content": "EqgfCioIARgB"}  # fmt: skip
SEARCH_RESULT = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "caller": {"type": "direct"},
    "content": [FOUND],
}
CITATION = {
    "type": "web_search_result_location",
    "url": "https://a.example",
    "title": "A",
    "cited_text": "It opened in 1890.",
    "encrypted_index": "Eo8BCioIAhgB",
}
CITED = {"type": "text", "text": "It opened in 1890", "citations": [CITATION]}
BLOCKS: list[dict[str, Any]] = [
    {"type": "text", "text": "Let me look."},
    SEARCH_CALL,
    SEARCH_RESULT,
    CITED,
    {"type": "text", "text": "."},
]


def response(
    *blocks: dict[str, Any], stop: str = "end_turn", streamed: bool = True, **fields: Any
) -> Scene | Status:
    """Return a response as Anthropic sends it, streamed or whole."""
    usage = {"input_tokens": 1000, "output_tokens": 20}
    if not streamed:
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
                   "content": blocks, "stop_reason": stop, "usage": usage, **fields}  # fmt: skip
        return Status(200, json.dumps(message), {})
    start = {"id": "msg_1", "model": "m", "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(blocks):
        events += block_events(index, block)
    delta = {"stop_reason": stop, **fields}
    events.append({"type": "message_delta", "delta": delta, "usage": usage})
    return sse(*events, {"type": "message_stop"})


def block_events(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of one block; citations come before the text, inputs in two pieces."""
    opened = dict(block)
    deltas: list[dict[str, Any]] = []
    if block["type"] == "text":
        opened = {"type": "text", "text": ""}
        citations = block.get("citations") or ()
        deltas += [{"type": "citations_delta", "citation": citation} for citation in citations]
        deltas.append({"type": "text_delta", "text": block["text"]})
    elif block["type"] in ("server_tool_use", "mcp_tool_use", "tool_use"):
        opened["input"] = {}
        arguments = json.dumps(block["input"], ensure_ascii=False)
        pieces = ("", arguments[:5], arguments[5:])
        deltas += [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return [
        {"type": "content_block_start", "index": index, "content_block": opened},
        *({"type": "content_block_delta", "index": index, "delta": d} for d in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ask(lab: Lab, context: Context, **options: Any) -> AssistantMessage:
    base = lab.url.removesuffix("/v1")
    options = {"api_key": KEY, "max_retries": 0, "api_base": base, **options}
    return check_events(list(stream(MODEL, context, **options)))


def question(*tools: Any, text: str = "When did it open?") -> Context:
    return ctx(text, tools=list(tools or [web_search()]))


# === Requests ===============================================================================


def body_of(context: Context, model: str = MODEL, **options: Any) -> dict[str, Any]:
    body = preview(model, context, **options).body
    assert isinstance(body, dict)
    return body


def test_options_of_a_search(july: Any) -> None:
    tool = web_search(max_uses=3, blocked_domains=["x.example"], city="Berlin", country="DE")
    assert body_of(question(tool))["tools"] == [
        {
            "type": "web_search_20250305",
            "name": "web_search",
            "max_uses": 3,
            "blocked_domains": ["x.example"],
            "user_location": {"type": "approximate", "city": "Berlin", "country": "DE"},
        }
    ]


def test_fetch_and_code_execution_beside_functions(july: Any) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    tools = body_of(question(add, web_fetch(max_content_tokens=500), code_execution()))["tools"]
    names = {tool["name"]: tool for tool in tools}
    assert set(names) == {"add", "web_fetch", "code_execution"}
    assert "input_schema" in names["add"]
    assert names["web_fetch"] == {
        "type": "web_fetch_20250910",
        "name": "web_fetch",
        "max_content_tokens": 500,
        "citations": {"enabled": True},
    }
    assert names["code_execution"]["type"] == "code_execution_20250825"


def test_mcp_server_with_a_token(lab: Lab, july: Any) -> None:
    server = mcp_server(
        "https://mcp.example", name="docs", token="tok-4711-secret", allowed_tools=["find"]
    )
    request = preview(MODEL, question(server), api_key=KEY)
    assert "tok-4711-secret" not in str(request) + repr(request)
    lab.play(response({"type": "text", "text": "ok"}))
    ask(lab, question(server), headers={"anthropic-beta": "mine"})
    sent = lab.seen[0]
    assert sent.json["mcp_servers"] == [
        {"type": "url", "url": "https://mcp.example", "name": "docs",
         "authorization_token": "tok-4711-secret"}
    ]  # fmt: skip
    assert sent.json["tools"] == [
        {"type": "mcp_toolset", "mcp_server_name": "docs", "default_config": {"enabled": False},
         "configs": {"find": {"enabled": True}}}
    ]  # fmt: skip
    assert set(sent.headers["anthropic-beta"].split(",")) == {"mcp-client-2025-11-20", "mine"}


def test_tool_in_anthropics_own_format(july: Any) -> None:
    tool = {"type": "web_search_20260318", "name": "web_search", "response_inclusion": "full"}
    assert body_of(question(native(tool)))["tools"] == [tool]
    assert body_of(question(tool))["tools"] == [tool]


def test_schema_beside_a_fetch_excludes_citations(july: Any) -> None:
    class Page(BaseModel):
        title: str

    body = body_of(question(web_fetch()), output=Page, output_mode="native")
    assert body["tools"] == [{"type": "web_fetch_20250910", "name": "web_fetch"}]
    assert "format" in body["output_config"]


def test_unknown_option_is_reported(july: Any) -> None:
    request = preview(MODEL, question(web_search(context_size="low", max_uses=1)))
    assert [w.code for w in request.warnings] == ["option_ignored"]
    assert "context_size" in request.warnings[0].message


def test_tool_that_claude_lacks_is_left_out(july: Any) -> None:
    request = preview(MODEL, question(web_search(), file_search(["vs_1"])))
    assert [tool["name"] for tool in request.body["tools"]] == ["web_search"]
    assert [w.code for w in request.warnings] == ["tool_unsupported"]
    message = complete(MODEL, question(file_search(["vs_1"])), api_key=KEY, max_retries=0)
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert "has no file_search" in message.error.message


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        ("google-vertex-anthropic/claude-sonnet-4-5@20250929", ["web_search"]),
        ("moonshotai/kimi-k2.5", []),
    ],
)
def test_other_hosts_of_claude_and_its_api(july: Any, model: str, kinds: list[str]) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    options = {"extra": {"project": "p", "location": "l"}} if "vertex" in model else {}
    tools = body_of(question(add, web_search(), web_fetch()), model, **options)["tools"]
    assert [t["name"] for t in tools if "input_schema" not in t and "function" not in t] == kinds


# === Responses ==============================================================================


@pytest.mark.parametrize("streamed", [True, False])
def test_search_with_citations(lab: Lab, july: Any, streamed: bool) -> None:
    lab.play(response(*BLOCKS, streamed=streamed))
    message = ask(lab, question())
    assert message.error is None
    _, call, result, cited, _ = message.content
    assert isinstance(call, ServerToolCall)
    assert (call.name, call.arguments, call.raw) == ("web_search", {"query": "café"}, SEARCH_CALL)
    assert isinstance(result, ServerToolResult)
    assert result.raw == SEARCH_RESULT
    assert [(s.source, s.title) for s in result.sources] == [("https://a.example", "A")]
    assert isinstance(cited, TextContent)
    [citation] = cited.citations
    assert (citation.start, citation.end) == (0, len("It opened in 1890"))
    assert (citation.source, citation.quote) == ("https://a.example", "It opened in 1890.")
    assert message.text == "Let me look.It opened in 1890."
    assert message.warnings == []
    assert message.usage.server_tool_calls == {"web_search": 1}
    assert message.usage.cost.tools == 0.01
    # 1,000 tokens at $3/1M and 20 at $15/1M, and one search
    assert message.usage.cost.total == pytest.approx(0.003 + 0.0003 + 0.01)


@pytest.mark.parametrize("streamed", [True, False])
def test_second_turn_gets_the_blocks_as_they_came(lab: Lab, july: Any, streamed: bool) -> None:
    lab.play(response(*BLOCKS, streamed=streamed), response({"type": "text", "text": "ok"}))
    context = question()
    first = ask(lab, context)
    first = AssistantMessage.model_validate_json(first.model_dump_json())
    context.messages += [first, user("And closed?")]
    ask(lab, context)
    sent = lab.seen[1].json
    assert sent["messages"][1]["content"] == BLOCKS
    assert violations("/v1/messages", sent) == []


def test_another_provider_gets_text_with_sources(lab: Lab, july: Any) -> None:
    lab.play(response(*BLOCKS))
    context = question()
    context.messages += [ask(lab, context), user("And closed?")]
    request = preview("openai/gpt-5", Context(messages=context.messages))
    assert request.warnings[0].code == "server_tool_as_text"
    sent = json.dumps(request.body, ensure_ascii=False)
    assert "A https://a.example" in sent
    assert "encrypted" not in sent.replace("reasoning.encrypted_content", "")


def result(kind: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"type": f"{kind}_tool_result", "tool_use_id": "s", "content": content, **fields}


RESULTS: list[tuple[str, dict[str, Any], str, bool, list[str]]] = [
    (
        "web_search",
        result("web_search", {"type": "web_search_tool_result_error",
                              "error_code": "max_uses_exceeded"}),
        "max_uses_exceeded", True, [],
    ),
    (
        "web_fetch",
        result("web_fetch", {"type": "web_fetch_result", "url": "https://b.example",
                             "content": {"type": "document", "title": "B",
                                         "source": {"type": "text", "data": "the page"}}}),
        "the page", False, ["https://b.example"],
    ),
    (
        "web_fetch",
        result("web_fetch", {"type": "web_fetch_tool_result_error",
                             "error_code": "url_not_allowed"}),
        "url_not_allowed", True, [],
    ),
    (
        "bash_code_execution",
        result("bash_code_execution", {
            "type": "bash_code_execution_result", "stdout": "42\n", "stderr": "", "return_code": 0,
            "content": [{"type": "bash_code_execution_output", "file_id": "file_1"}]}),
        "42", False, ["file_1"],
    ),
    (
        "code_execution",
        result("code_execution", {"type": "code_execution_result", "stdout": "a",
                                  "stderr": "boom", "return_code": 1, "content": []}),
        "a\nboom", True, [],
    ),
    (
        "text_editor_code_execution",
        result("text_editor_code_execution", {
            "type": "text_editor_code_execution_view_result", "content": "line 1",
            "file_type": "text"}),
        "line 1", False, [],
    ),
    (
        "advisor",
        result("advisor", {"type": "advisor_result", "text": "Use a heap.",
                           "stop_reason": "max_tokens"}),
        "Use a heap.", False, [],
    ),
    (
        "tool_search_tool_regex",
        result("tool_search", {"type": "tool_search_tool_search_result", "tool_references": [
            {"type": "tool_reference", "tool_name": "add"}]}),
        "add", False, [],
    ),
    ("web_search", result("web_search", None), "", False, []),
    ("web_search", result("web_search", [None, 7, {"type": "new"}]), "", False, []),
    ("web_search", result("web_search", {"url": 7, "stdout": [], "content": 5}), "", False, []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "block", "text", "is_error", "sources"), RESULTS)
def test_results(
    lab: Lab, july: Any, name: str, block: dict[str, Any], text: str, is_error: bool,
    sources: list[str],
) -> None:  # fmt: skip
    call = {"type": "server_tool_use", "id": "s", "name": name, "input": {}}
    lab.play(response(call, block, {"type": "text", "text": "Done"}))
    message = ask(lab, question())
    assert message.error is None
    decoded = message.content[1]
    assert isinstance(decoded, ServerToolResult)
    assert (decoded.text, decoded.is_error) == (text, is_error)
    assert [source.source for source in decoded.sources] == sources
    assert decoded.raw == block
    assert message.text == "Done"
    assert [file.id for file in message.files] == [s for s in sources if s.startswith("file_")]


def test_call_of_an_mcp_server(lab: Lab, july: Any) -> None:
    call = {"type": "mcp_tool_use", "id": "m", "name": "find", "server_name": "docs",
            "input": {"q": 1}}  # fmt: skip
    block = {"type": "mcp_tool_result", "tool_use_id": "m", "is_error": False,
             "content": [{"type": "text", "text": "a page"}]}  # fmt: skip
    lab.play(response(call, block, {"type": "text", "text": "Done"}))
    message = ask(lab, question(mcp_server("https://mcp.example", name="docs")))
    assert [c.name for c in message.server_tool_calls] == ["docs.find"]
    decoded = message.content[1]
    assert isinstance(decoded, ServerToolResult)
    assert (decoded.name, decoded.text) == ("docs.find", "a page")
    assert message.usage.cost.tools in (None, 0)


def test_response_cut_off_during_a_search_keeps_what_is_complete(lab: Lab, july: Any) -> None:
    scene = response(*BLOCKS)
    assert isinstance(scene, list)
    lab.play([*scene[:8], FIN], response({"type": "text", "text": "ok"}))
    context = question()
    message = ask(lab, context)
    assert message.error is not None
    assert message.error.kind == "incomplete"
    assert [part.type for part in message.content] == ["text", "serverToolCall"]
    assert message.usage.server_tool_calls == {"web_search": 1}


def test_call_without_a_result_is_not_sent_back(lab: Lab, july: Any) -> None:
    lab.play(
        response({"type": "text", "text": "Hm."}, SEARCH_CALL, stop="max_tokens"),
        response({"type": "text", "text": "ok"}),
    )
    context = question()
    context.messages += [ask(lab, context), user("go on")]
    ask(lab, context)
    sent = lab.seen[1].json
    assert [block["type"] for block in sent["messages"][1]["content"]] == ["text"]
    assert violations("/v1/messages", sent) == []


# === Code that calls the caller's tools =====================================================

CODE_CALL = {"type": "server_tool_use", "id": "srvtoolu_2", "name": "code_execution",
             "input": {"code": "await add()"}}  # fmt: skip
CODE_RESULT = {
    "type": "code_execution_tool_result", "tool_use_id": "srvtoolu_2",
    "content": {"type": "code_execution_result", "stdout": "3\n", "return_code": 0, "content": []},
}  # fmt: skip


def call_by_code(number: int) -> dict[str, Any]:
    caller = {"type": "code_execution_20250825", "tool_id": "srvtoolu_2"}
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "add", "input": {"a": 1},
            "caller": caller}  # fmt: skip


def tool_output(call_id: str) -> ToolResultMessage:
    content: list[Any] = [TextContent(text="1")]
    return ToolResultMessage(tool_call_id=call_id, tool_name="add", content=content)


def first_blocks(*blocks: dict[str, Any]) -> Scene:
    """Return a stream that has complete blocks in its first event, and no events of blocks."""
    start = {"id": "m", "model": "m", "content": list(blocks), "stop_reason": "tool_use",
             "usage": {"input_tokens": 0, "output_tokens": 0}}  # fmt: skip
    return sse({"type": "message_start", "message": start}, {"type": "message_stop"})


@pytest.mark.parametrize("streamed", [True, False])
def test_code_that_calls_tools_goes_on(lab: Lab, july: Any, streamed: bool) -> None:
    def add(a: int) -> int:
        return a

    lab.play(
        response(CODE_CALL, call_by_code(1), stop="tool_use", streamed=streamed),
        first_blocks(call_by_code(2)),
        response(CODE_RESULT, {"type": "text", "text": "It is 3."}, streamed=streamed),
        response({"type": "text", "text": "Yes."}),
    )
    context = question(code_execution(), add)
    for number in (1, 2):
        message = ask(lab, context)
        assert [(call.id, call.arguments) for call in message.tool_calls] == [
            (f"toolu_{number}", {"a": 1})
        ]
        context.messages += [message, tool_output(f"toolu_{number}")]
    answer = ask(lab, context)
    context.messages += [answer, user("Sure?")]
    ask(lab, context)
    assert len(lab.seen) == 4  # no retry
    for seen in lab.seen:
        assert violations("/v1/messages", seen.json) == []
    sent = lab.seen[3].json["messages"]
    assert sent[1]["content"] == [CODE_CALL, call_by_code(1)]
    assert sent[3]["content"] == [call_by_code(2)]
    assert sent[5]["content"] == [CODE_RESULT, {"type": "text", "text": "It is 3."}]


def test_call_by_code_that_is_gone_is_a_plain_call(lab: Lab, july: Any) -> None:
    lab.play(first_blocks(CODE_RESULT, call_by_code(1)), response({"type": "text", "text": "ok"}))
    context = question(code_execution())
    context.messages += [ask(lab, context), tool_output("toolu_1")]
    ask(lab, context)
    sent = lab.seen[1].json["messages"]
    assert [(block["type"], "caller" in block) for block in sent[1]["content"]] == [
        ("tool_use", False)
    ]
    assert violations("/v1/messages", lab.seen[1].json) == []


def test_blocks_follow_those_of_the_first_event(lab: Lab, july: Any) -> None:
    start = {"id": "m", "model": "m", "content": [CODE_CALL, CODE_RESULT], "usage": {}}
    done = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}
    text = block_events(0, {"type": "text", "text": "It is 3."})
    lab.play(sse({"type": "message_start", "message": start}, *text, done))
    message = ask(lab, question())
    kinds = [part.type for part in message.content]
    assert kinds == ["serverToolCall", "serverToolResult", "text"]
    assert message.text == "It is 3."


# === Pauses =================================================================================


def test_paused_answer_is_continued(lab: Lab, july: Any) -> None:
    container = {"id": "container_1", "expires_at": "2026-07-02T00:00:00Z"}
    lab.play(
        response(*BLOCKS[:2], stop="pause_turn", container=container),
        response(*BLOCKS[2:]),
    )
    message = ask(lab, question())
    assert message.error is None
    assert [part.type for part in message.content] == [
        "text", "serverToolCall", "serverToolResult", "text", "text",
    ]  # fmt: skip
    assert message.text == "Let me look.It opened in 1890."
    first, second = (seen.json for seen in lab.seen)
    assert second["messages"] == [
        *first["messages"],
        {"role": "assistant", "content": BLOCKS[:2]},
    ]
    assert second["container"] == "container_1"
    assert second["tools"] == first["tools"]
    assert (message.usage.input, message.usage.output) == (2000, 40)
    assert message.usage.server_tool_calls == {"web_search": 1}
    assert message.container == "container_1"
    assert message.stop_reason == "stop"


def test_paused_twice_and_sent_back_whole(lab: Lab, july: Any) -> None:
    lab.play(
        response(BLOCKS[0], stop="pause_turn"),
        response(BLOCKS[1], stop="pause_turn"),
        response(*BLOCKS[2:]),
        response({"type": "text", "text": "ok"}),
    )
    context = question()
    context.messages += [ask(lab, context), user("And closed?")]
    assert [len(seen.json["messages"]) for seen in lab.seen] == [1, 2, 2]
    ask(lab, context)
    assert lab.seen[3].json["messages"][1]["content"] == BLOCKS
    assert violations("/v1/messages", lab.seen[3].json) == []


def test_endless_pauses_end(lab: Lab, july: Any) -> None:
    lab.always = response(BLOCKS[0], stop="pause_turn")  # type: ignore[assignment]
    message = ask(lab, question())
    assert message.error is not None
    assert (message.error.kind, len(lab.seen)) == ("incomplete", 9)
    assert message.usage.input == 9000
    assert message.text.startswith("Let me look.")


def test_continuation_that_fails_keeps_the_answer_and_its_bill(lab: Lab, july: Any) -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    lab.play(response(*BLOCKS[:2], stop="pause_turn"), Status(529, overloaded, {}))
    message = ask(lab, question(), max_retries=2)
    assert message.error is not None
    assert message.text == "Let me look."
    assert (message.usage.input, len(lab.seen)) == (1000, 2)


def test_budget_counts_all_requests_of_a_paused_answer(lab: Lab, july: Any) -> None:
    lab.play(response(*BLOCKS[:2], stop="pause_turn"), response(*BLOCKS[2:]))
    with budget(usd=1) as b:
        message = ask(lab, question())
    assert message.usage.cost.total == pytest.approx(2 * (0.003 + 0.0003) + 0.01)
    assert b.spent == pytest.approx(message.usage.cost.total)


def test_server_tool_is_kept_in_a_serialized_context() -> None:
    context = question(web_search(max_uses=2))
    restored = Context.model_validate_json(context.model_dump_json())
    assert restored.tools == [ServerTool(kind="web_search", options={"max_uses": 2})]
