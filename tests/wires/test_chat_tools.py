"""Test tools that hosts of Chat Completions run: requests, calls, results and fees."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    ServerToolCall,
    ServerToolResult,
    TextContent,
    code_execution,
    ctx,
    image_generation,
    preview,
    stream,
    user,
    web_fetch,
    web_search,
)

from ..support.event_grammar import check_events
from ..support.scripted_server import DONE, Lab, Scene, Status, call, chunk, finish, sse

URL = "https://a.example"
COMPOUND = "groq/groq/compound"
GPT_OSS = "groq/openai/gpt-oss-120b"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()
SEARCH = {"index": 0, "type": "search", "arguments": '{"query": "Zürich"}'}
PAGE = {"title": "A", "url": "https://a.example", "content": "In 1890.", "score": 0.9}
FOUND = {**SEARCH, "output": "Title: A\n", "search_results": {"results": [PAGE], "images": []}}


def body_of(model: str, *tools: Any, **options: Any) -> tuple[dict[str, Any], list[str]]:
    request = preview(model, ctx("q", tools=list(tools)), api_key="k", **options)
    return request.body, [warning.message for warning in request.warnings]


def answer(*tools: Any, streamed: bool = True, text: str = "It is.") -> Scene | Status:
    """Return Groq's answer after these entries of `executed_tools`."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    if streamed:
        pieces = [chunk({"executed_tools": [tool]}) for tool in tools]
        last = {**finish("stop"), "x_groq": {"id": "r", "usage": usage}}
        return sse(*pieces, chunk({"content": text}), last, DONE)
    whole = {tool["index"]: tool for tool in tools}
    message = {"role": "assistant", "content": text, "executed_tools": list(whole.values())}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Status(200, json.dumps({"id": "c", "choices": [choice], "usage": usage}), {})


def ask(lab: Lab, scene: Scene | Status, model: str = COMPOUND) -> AssistantMessage:
    lab.play(scene)
    options: dict[str, Any] = {"api_key": "k", "api_base": lab.url, "max_retries": 0}
    return check_events(list(stream(model, "q", **options)))


# === Requests ===============================================================================


def test_compound_gets_all_tools_together(july: Any) -> None:
    search = web_search(allowed_domains=["a.example"], country="DE")
    body, warnings = body_of(
        COMPOUND, search, web_fetch(), code_execution(),
        extra={"compound_custom": {"models": {"reasoning_model": "m"}}},
    )  # fmt: skip
    assert body["compound_custom"] == {
        "models": {"reasoning_model": "m"},
        "tools": {"enabled_tools": ["web_search", "visit_website", "code_interpreter"]},
    }
    assert body["search_settings"] == {"include_domains": ["a.example"]}
    assert "tools" not in body
    assert warnings == [f"web_search of {COMPOUND} has no country"]


def test_only_compound_of_the_latest_version_reads_pages(july: Any) -> None:
    for tool, version in ((web_fetch(), "latest"), (web_search(), None)):
        request = preview(COMPOUND, ctx("q", tools=[tool]), api_key="k")
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert headers.get("groq-model-version") == version
        assert "extra_headers" not in request.body


def test_gpt_oss_on_groq_beside_functions(july: Any) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    body, warnings = body_of(GPT_OSS, add, web_search(max_uses=1), code_execution(), web_fetch())
    kinds = [tool["type"] for tool in body["tools"]]
    assert kinds == ["function", "browser_search", "code_interpreter"]
    assert [w.partition(" ")[0] for w in warnings] == ["web_search", GPT_OSS]


def test_other_models_of_groq_have_no_tools(july: Any) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    body, warnings = body_of("groq/llama-3.3-70b-versatile", add, web_search())
    assert len(body["tools"]) == 1
    assert len(warnings) == 1


def test_perplexity_searches_with_these_settings(july: Any) -> None:
    tool = web_search(blocked_domains=["x.example"], context_size="high", country="DE", city="Ulm")
    body, warnings = body_of("perplexity/sonar", tool)
    assert body["search_domain_filter"] == ["-x.example"]
    assert body["web_search_options"] == {
        "search_context_size": "high", "user_location": {"city": "Ulm", "country": "DE"},
    }  # fmt: skip
    assert "tools" not in body
    assert warnings == []
    assert body_of("perplexity/sonar", web_search(max_uses=1)) == (
        body_of("perplexity/sonar")[0], ["web_search of perplexity/sonar has no max_uses"],
    )  # fmt: skip


def test_fetch_of_openrouter(july: Any) -> None:
    tool = web_fetch(max_uses=2, blocked_domains=["x.example"], max_content_tokens=500)
    body, warnings = body_of("openrouter/openai/gpt-4o", tool, image_generation())
    assert body["tools"] == [
        {
            "type": "openrouter:web_fetch",
            "parameters": {
                "max_uses": 2, "blocked_domains": ["x.example"], "max_content_tokens": 500,
            },
        }
    ]  # fmt: skip
    assert "image_generation" in warnings[0]


# === Responses of Groq ======================================================================


@pytest.mark.parametrize("streamed", [True, False])
def test_search_before_the_answer(lab: Lab, july: Any, streamed: bool) -> None:
    message = ask(lab, answer(SEARCH, FOUND, streamed=streamed))
    assert message.error is None
    call, result, text = message.content
    assert isinstance(call, ServerToolCall)
    assert (call.name, call.arguments) == ("web_search", {"query": "Zürich"})
    assert isinstance(result, ServerToolResult)
    assert [(s.source, s.title, s.quote) for s in result.sources] == [
        ("https://a.example", "A", "In 1890.")
    ]
    assert text.type == "text"
    assert message.usage.server_tool_calls == {"search": 1}
    assert message.usage.cost.total is None  # the kind of search is not in the response


def test_streamed_search_starts_without_results(lab: Lab, july: Any) -> None:
    message = ask(lab, answer({**SEARCH, "search_results": {"results": []}}, FOUND))
    [result] = [part for part in message.content if isinstance(part, ServerToolResult)]
    assert [source.source for source in result.sources] == ["https://a.example"]


@pytest.mark.parametrize("thinks", [True, False])
def test_citations_before_the_text(lab: Lab, july: Any, thinks: bool) -> None:
    cited = {"url": URL, "title": "", "start_index": 0, "end_index": 0, "content": "In 1890."}
    annotations = [{"type": "url_citation", "url_citation": cited}]
    pieces: list[dict[str, Any]] = [
        {"content": "", "annotations": annotations},
        {"content": "It is."},
    ]
    if thinks:
        pieces.insert(0, {"reasoning": "Hm."})
    scene = sse(*map(chunk, pieces), finish("stop"), DONE)
    message = ask(lab, scene, "openrouter/deepseek/deepseek-chat")
    text = message.content[-1]
    assert isinstance(text, TextContent)
    [citation] = text.citations
    assert (citation.source, citation.quote, citation.start) == (URL, "In 1890.", None)
    assert message.warnings == []


def test_citation_without_text_is_named(lab: Lab, july: Any) -> None:
    annotations = [{"type": "url_citation", "url_citation": {"url": URL}}]
    scene = sse(
        chunk({"annotations": annotations}), call(0, "c", "add", "{}"), finish("tool_calls"), DONE
    )
    message = ask(lab, scene, "openrouter/deepseek/deepseek-chat")
    assert [warning.code for warning in message.warnings] == ["content_omitted"]


def test_several_tools_and_one_without_output(lab: Lab, july: Any) -> None:
    run = {"index": 1, "type": "python", "arguments": '{"code": "plot()"}'}
    plot = {**run, "output": "done", "code_results": [{"text": "done"}, {"png": PNG}]}
    visit = {"index": 2, "type": "visit_website", "arguments": '{"url": "u"}'}
    message = ask(lab, answer(SEARCH, FOUND, run, plot, visit))
    assert [call.name for call in message.server_tool_calls] == [
        "web_search", "code_execution", "web_fetch",
    ]  # fmt: skip
    results = [part for part in message.content if isinstance(part, ServerToolResult)]
    assert [result.text for result in results] == ["", "done"]
    [image] = message.images
    assert image.data == PNG
    assert PNG not in json.dumps([result.raw for result in results])
    assert message.usage.server_tool_calls == {"search": 1, "python": 1, "visit_website": 1}


def test_fees_of_gpt_oss(lab: Lab, july: Any) -> None:
    tools = [
        {"index": n, "type": "function", "name": name, "arguments": "{}", "output": "x"}
        for n, name in enumerate(["browser.search", "browser.open", "browser.open", "browser.find"])
    ]
    message = ask(lab, answer(*tools), GPT_OSS)
    assert message.usage.server_tool_calls == {
        "browser.search": 1, "browser.open": 2, "browser.find": 1,
    }  # fmt: skip
    assert message.usage.cost.tools == pytest.approx(0.005 + 2 * 0.001)


def test_interrupted_after_a_search_still_counts_it(lab: Lab, july: Any) -> None:
    scene = sse(chunk({"executed_tools": [SEARCH]}), chunk({"content": "It"}))
    message = ask(lab, scene)
    assert message.error is not None
    assert message.usage.server_tool_calls == {"search": 1}
    assert [call.name for call in message.server_tool_calls] == ["web_search"]


@pytest.mark.parametrize(
    "tools",
    [
        7, {"a": 1}, [7, None], [{}], [{"type": 5, "arguments": {}, "index": "x", "output": [1]}],
        [{"type": "search", "search_results": 5, "browser_results": {}, "code_results": [7]}],
        [{"type": "search", "search_results": {"results": [{"url": 5}, 7]}}],
        [{"type": "python", "code_results": [{"png": "no base64!"}]}],
    ],
)  # fmt: skip
def test_odd_tools_harm_no_text(lab: Lab, july: Any, tools: Any) -> None:
    last = {**finish("stop")}
    message = ask(lab, sse(chunk({"executed_tools": tools}), chunk({"content": "Hi."}), last, DONE))
    assert message.error is None
    assert message.text == "Hi."


def test_second_turn_has_only_the_text(lab: Lab, july: Any) -> None:
    context = ctx("q", tools=[web_search()])
    context.messages += [ask(lab, answer(SEARCH, FOUND)), user("And?")]
    request = preview(COMPOUND, context, api_key="k")
    assert request.body["messages"][1] == {"role": "assistant", "content": "It is."}
    assert not request.warnings
    moved = preview("anthropic/claude-sonnet-4-5", context, api_key="k")
    assert "https://a.example" in json.dumps(moved.body)
