"""Test the table of docs/provider-tools.md: one case for each provider and tool, one test a cell.

The case of a row has the answer in the provider's shape. `test_cell[provider-tool-column]` proves
a cell: the request has the tool, the answer streams it and cites its sources, the bill has its
fee, and the strict checker of the API accepts the second turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
    AssistantMessage,
    AssistantMessageEvent,
    Context,
    ServerTool,
    ServerToolResult,
    code_execution,
    complete,
    ctx,
    file_search,
    image_generation,
    mcp_server,
    native,
    preview,
    stream,
    user,
    web_fetch,
    web_search,
)

from ..support import responses_items as items
from ..support.catalogues import install
from ..support.event_grammar import check_events
from ..support.scripted_server import DONE, Lab, Scene, Status, chunk, finish, sse
from ..support.strict_rules import broken_rules
from ..support.wire_formats import CONVERSE
from . import test_anthropic_tools as anthropic
from . import test_gemini_tools as gemini
from . import test_nova_tools as nova

CHAT_HOSTS = ("openai", "xai", "openrouter", "perplexity", "groq")
PAGE = Path(__file__).parents[2] / "docs" / "provider-tools.md"
COLUMNS = ("requested", "streamed", "cited", "priced", "replayed")
TOOLS = {
    "web_search": web_search(),
    "web_fetch": web_fetch(),
    "code_execution": code_execution(),
    "file_search": file_search(["store-1"]),
    "image_generation": image_generation(model="gpt-image-2"),
    "mcp_server": mcp_server("https://mcp.example", name="games", allowed_tools=["find"]),
}
URL = "https://a.example"
BEFORE, CITED, AFTER = "Yes: ", "it opened in 1890", "."
Answer = Callable[[bool], Scene | Status]


@dataclass(frozen=True)
class Case:
    """What a provider makes of a tool. `answer` takes whether the response is streamed."""

    provider: str
    tool: str
    model: str
    sent: Any  # the tool, or the field, in the request
    answer: Answer
    calls: list[str]
    sources: list[str] = field(default_factory=list)
    cites: bool = False
    fee: float | None = 0.0  # dollars; None: not in the response, so the cost is unknown
    fee_text: str = ""
    back: list[Any] | None = None  # blocks of the second request; None: an image
    listed: bool = True  # with a price for its tokens
    own: frozenset[str] = frozenset()

    def row(self) -> list[str]:
        sent = self.sent.get("type")
        always = sent is None and "model" in self.sent  # the whole request, without a tool
        sent = sent or next(iter(self.sent))
        if "compound_custom" in self.sent:
            [sent] = self.sent["compound_custom"]["tools"]["enabled_tools"]
        if "toolConfig" in self.sent:
            sent = self.sent["toolConfig"]["tools"][0]["systemTool"]["name"]
        is_streamed = bool(self.calls) or self.tool == "image_generation"
        fee = self.fee_text or ("unknown" if self.fee is None else f"${self.fee:g}")
        return [
            self.provider, f"`{self.tool}`",
            "always searches" if always else f"`{sent}`",
            "yes" if is_streamed else "", "yes" if self.cites else "",
            fee, "as text" if self.back is None else "as sent",
        ]  # fmt: skip


# === Anthropic ==============================================================================


def block(kind: str, content: Any, name: str, **call: Any) -> list[dict[str, Any]]:
    """Return a call of one of Anthropic's tools and its result."""
    call = {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": name,
        "input": {"q": "é"},
        **call,
    }
    result = {"type": f"{kind}_tool_result", "tool_use_id": call["id"], "content": content}
    return [call, result]


def claude(*blocks: dict[str, Any], citation: dict[str, Any] | None = None) -> Answer:
    cited: dict[str, Any] = {"type": "text", "text": CITED}
    if citation:
        cited["citations"] = [citation]
    text = [{"type": "text", "text": BEFORE}, *blocks, cited, {"type": "text", "text": AFTER}]
    return lambda streamed: anthropic.response(*text, streamed=streamed)


SEARCH = block(
    "web_search",
    [{"type": "web_search_result", "url": URL, "title": "A", "encrypted_content": "Eq",
      "page_age": None}],
    "web_search",
)  # fmt: skip
SEARCH_CITATION = {"type": "web_search_result_location", "url": URL, "title": "A",
                   "cited_text": "In 1890.", "encrypted_index": "Eo"}  # fmt: skip
FETCH = block(
    "web_fetch",
    {"type": "web_fetch_result", "url": URL, "retrieved_at": "2026-07-01T00:00:00Z",
     "content": {"type": "document", "title": "A", "citations": {"enabled": True},
                 "source": {"type": "text", "media_type": "text/plain", "data": "In 1890."}}},
    "web_fetch",
)  # fmt: skip
FETCH_CITATION = {"type": "char_location", "document_index": 0, "document_title": "A",
                  "start_char_index": 0, "end_char_index": 8, "cited_text": "In 1890."}  # fmt: skip
RUN = block(
    "bash_code_execution",
    {"type": "bash_code_execution_result", "stdout": "42\n", "stderr": "", "return_code": 0,
     "content": []},
    "bash_code_execution",
)  # fmt: skip
MCP = block(
    "mcp", [{"type": "text", "text": "found"}], "find", type="mcp_tool_use", id="mcptoolu_1",
    server_name="games",
)  # fmt: skip
MCP[1]["is_error"] = False


def of_claude(provider: str, model: str, tools: str) -> list[Case]:
    cases = {
        "web_search": Case(
            provider, "web_search", model, {"type": "web_search_20250305", "name": "web_search"},
            claude(*SEARCH, citation=SEARCH_CITATION), ["web_search"], [URL], cites=True,
            fee=0.01, back=SEARCH,
        ),
        "web_fetch": Case(
            provider, "web_fetch", model,
            {"type": "web_fetch_20250910", "name": "web_fetch", "citations": {"enabled": True}},
            claude(*FETCH, citation=FETCH_CITATION), ["web_fetch"], [URL], cites=True,
            fee_text="free", back=FETCH,
        ),
        "code_execution": Case(
            provider, "code_execution", model,
            {"type": "code_execution_20250825", "name": "code_execution"},
            claude(*RUN), ["code_execution"], fee=None, back=RUN,
        ),
        "mcp_server": Case(
            provider, "mcp_server", model,
            {"type": "mcp_toolset", "mcp_server_name": "games",
             "default_config": {"enabled": False}, "configs": {"find": {"enabled": True}}},
            claude(*MCP), ["games.find"], fee_text="free", back=MCP,
        ),
    }  # fmt: skip
    return [cases[tool] for tool in tools.split()]


# === OpenAI, xAI ============================================================================

IDS = frozenset(item["id"] for item in (
    items.SEARCH, items.FILES, items.CODE, items.MCP_LIST, items.MCP_CALL, items.IMAGE,
    items.X_SEARCH,
))  # fmt: skip


def responses(*found: dict[str, Any], cites: bool = False, **fields: Any) -> Answer:
    text = BEFORE + CITED + AFTER
    start = len(BEFORE)
    annotations = [items.url_citation(start, start + len(CITED), URL)] if cites else []
    if found[0]["type"] == "file_search_call":
        annotations = [{"type": "file_citation", "file_id": "file-1", "filename": "terms.txt",
                        "index": start + len(CITED)}]  # fmt: skip
    output = [*found, items.message(text, *annotations)]

    def answer(streamed: bool) -> Scene | Status:
        if streamed:
            return sse(*items.events(*output, **fields))
        return Status(200, json.dumps(items.response(*output, **fields)), {})

    return answer


def of_responses(provider: str, model: str, search: float, fees: str) -> list[Case]:
    """Return the cases of OpenAI and Azure; `fees` is the price of a container."""
    code = {**items.CODE, "outputs": items.CODE["outputs"][:1]}
    search_sources = [source["url"] for source in items.SEARCH["action"]["sources"]]
    drawn = (71 * 5 + 196 * 30) / 1e6
    return [
        Case(
            provider, "web_search", model, {"type": "web_search"},
            responses(items.SEARCH, cites=True), ["web_search"], search_sources, cites=True,
            fee=search, back=[items.SEARCH], own=IDS,
        ),
        Case(
            provider, "code_execution", model,
            {"type": "code_interpreter", "container": {"type": "auto"}},
            responses(code), ["code_execution"], fee=float(fees), fee_text=f"${fees} a container",
            back=[code], own=IDS,
        ),
        Case(
            provider, "file_search", model,
            {"type": "file_search", "vector_store_ids": ["store-1"]},
            responses(items.FILES), ["file_search"], ["file-1"], cites=True, fee=0.0025,
            back=[items.FILES], own=IDS,
        ),
        Case(
            provider, "image_generation", model,
            {"type": "image_generation", "model": "gpt-image-2"},
            responses(items.IMAGE), [], fee=drawn if provider == "OpenAI" else None,
            fee_text="by the token" if provider == "OpenAI" else "", own=IDS,
        ),
        Case(
            provider, "mcp_server", model,
            {"type": "mcp", "server_label": "games", "server_url": "https://mcp.example",
             "allowed_tools": ["find"], "require_approval": "never"},
            responses(items.MCP_LIST, items.MCP_CALL), ["mcp_list_tools", "get_my_games"],
            fee_text="free", back=[items.MCP_LIST, items.MCP_CALL], own=IDS,
        ),
    ]  # fmt: skip


def of_xai() -> list[Case]:
    def used(**counts: int) -> dict[str, Any]:
        usage = items.response()["usage"]
        return {"usage": {**usage, "server_side_tool_usage_details": counts}}

    model = "xai/grok-4.3"
    found = [source["url"] for source in items.SEARCH["action"]["sources"]]
    code = {**items.CODE, "outputs": items.CODE["outputs"][:1]}
    return [
        Case(
            "xAI", "web_search", model, {"type": "web_search"},
            responses(items.SEARCH, cites=True, **used(web_search_calls=1)), ["web_search"], found,
            cites=True, fee=0.005, back=[items.SEARCH], own=IDS,
        ),
        Case(
            "xAI", "code_execution", model, {"type": "code_interpreter"},
            responses(code, **used(code_interpreter_calls=1)), ["code_execution"], fee=0.005,
            back=[code], own=IDS,
        ),
        Case(
            "xAI", "file_search", model,
            {"type": "file_search", "vector_store_ids": ["store-1"]},
            responses(items.FILES, **used(file_search_calls=1)), ["file_search"], ["file-1"],
            cites=True, fee=0.0025, back=[items.FILES], own=IDS,
        ),
        Case(
            "xAI", "mcp_server", model,
            {"type": "mcp", "server_label": "games", "server_url": "https://mcp.example",
             "allowed_tools": ["find"]},
            responses(items.MCP_LIST, items.MCP_CALL, **used(mcp_calls=1)),
            ["mcp_list_tools", "get_my_games"], fee_text="free",
            back=[items.MCP_LIST, items.MCP_CALL], own=IDS,
        ),
    ]  # fmt: skip


# === Gemini =================================================================================


def grounded(*parts: dict[str, Any], **fields: Any) -> Answer:
    text = [{"text": BEFORE + CITED + AFTER}]
    chunks = [*([part] for part in parts), text]
    return lambda streamed: gemini.response(*chunks, streamed=streamed, **fields)


def grounding(source: dict[str, Any], **fields: Any) -> dict[str, Any]:
    start = len(BEFORE)
    segment = {"startIndex": start, "endIndex": start + len(CITED), "text": CITED}
    support = {"segment": segment, "groundingChunkIndices": [0]}
    return {"groundingChunks": [source], "groundingSupports": [support], **fields}


CODE = {"executableCode": {"language": "PYTHON", "code": "print(42)"}, "thoughtSignature": "c1"}
OUTPUT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}}
PAGES = {"urlMetadata": [
    {"retrievedUrl": URL, "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"}
]}  # fmt: skip
INVOCATION = [
    {"toolCall": {"id": "t1", "toolType": "MCP_SERVER", "args": {}}, "thoughtSignature": "s1"},
    {"toolResponse": {"id": "t1", "toolType": "MCP_SERVER", "response": {"text": "found"}}},
]
MCP_SERVER = {"name": "games", "streamableHttpTransport": {"url": "https://mcp.example"}}


def of_gemini(provider: str, model: str, tools: str) -> list[Case]:
    found = grounding({"web": {"uri": URL, "title": "A"}}, webSearchQueries=["a"])
    passage = grounding({"retrievedContext": {"uri": "files/1", "title": "A", "text": "In 1890."}})
    cases = {
        "web_search": Case(
            provider, "web_search", model, {"googleSearch": {}}, grounded(groundingMetadata=found),
            ["web_search"], [URL], cites=True, fee=0.014, back=[],
        ),
        "web_fetch": Case(
            provider, "web_fetch", model, {"urlContext": {}}, grounded(urlContextMetadata=PAGES),
            ["web_fetch"], [URL], fee_text="free", back=[],
        ),
        "code_execution": Case(
            provider, "code_execution", model, {"codeExecution": {}}, grounded(CODE, OUTPUT),
            ["code_execution"], fee_text="free", back=[CODE, OUTPUT], own=frozenset({"c1"}),
        ),
        "file_search": Case(
            provider, "file_search", model, {"fileSearch": {"fileSearchStoreNames": ["store-1"]}},
            grounded(groundingMetadata=passage), ["file_search"], ["files/1"], cites=True,
            fee_text="free", back=[],
        ),
        "mcp_server": Case(
            provider, "mcp_server", model, {"mcpServers": [MCP_SERVER]}, grounded(*INVOCATION),
            ["mcp_server"], fee_text="free", back=INVOCATION, own=frozenset({"s1"}),
        ),
    }  # fmt: skip
    return [cases[tool] for tool in tools.split()]


# === Chat Completions =======================================================================


def chat(usage: dict[str, Any], *deltas: dict[str, Any], **top: Any) -> Answer:
    """Return an answer over Chat Completions; `top` is beside its choices."""
    start = len(BEFORE)
    text = BEFORE + CITED + AFTER
    citation = {"url": URL, "title": "A", "start_index": start, "end_index": start + len(CITED)}
    annotations = [{"type": "url_citation", "url_citation": citation}]
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110, **usage}

    def answer(streamed: bool) -> Scene | Status:
        cited = {} if top or deltas else {"annotations": annotations}
        if streamed:
            last = {**finish("stop"), **top, "usage": usage}
            pieces = [chunk(delta) for delta in (*deltas, {"content": text}, cited) if delta]
            return sse(*pieces, last, DONE)
        message: dict[str, Any] = {"role": "assistant", "content": text, **cited}
        for delta in deltas:
            message |= delta
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return Status(200, json.dumps({"id": "c", "choices": [choice], "usage": usage, **top}), {})

    return answer


FOUND = {"title": "A", "url": URL, "content": "In 1890.", "score": 0.9}


def executed(tool: str, **output: Any) -> Answer:
    """Return an answer of Groq, which streams each tool twice: without and with its output."""
    call = {"index": 0, "type": tool, "arguments": '{"query": "é"}'}
    return chat({}, {"executed_tools": [call]}, {"executed_tools": [{**call, **output}]})


def grounded_by_nova(*blocks: dict[str, Any], cites: bool = False) -> Answer:
    citations = [{"citationsContent": {"citations": [nova.CITATION]}}] if cites else []
    content = [*blocks, {"text": BEFORE}, {"text": CITED}, *citations, {"text": AFTER}]
    return lambda streamed: nova.response(*content, streamed=streamed)


def of_nova() -> list[Case]:
    search = [{"toolUse": nova.SEARCH}, {"toolResult": nova.FOUND}]
    code = [{"toolUse": nova.RUN}, {"toolResult": nova.RAN}]
    return [
        Case(
            "Nova 2 on Bedrock", "web_search", nova.NOVA_2, system_tool("nova_grounding"),
            grounded_by_nova(*search, cites=True), ["web_search"], cites=True, fee=None,
            back=search,
        ),
        Case(
            "Nova 2 on Bedrock", "code_execution", nova.NOVA_2,
            system_tool("nova_code_interpreter"), grounded_by_nova(*code), ["code_execution"],
            fee=None, back=code,
        ),
    ]  # fmt: skip


def system_tool(name: str) -> dict[str, Any]:
    return {"toolConfig": {"tools": [{"systemTool": {"name": name}}]}}


def enabled(tool: str) -> dict[str, Any]:
    return {"compound_custom": {"tools": {"enabled_tools": [tool]}}}


def of_groq(provider: str, model: str, tools: dict[str, Any], **fees: Any) -> list[Case]:
    is_gpt_oss = "gpt-oss" in model
    search = "browser_search" if is_gpt_oss else "search"
    cases = {
        "web_search": Case(
            provider, "web_search", model, tools["web_search"],
            executed(search, output="Title: A", search_results={"results": [FOUND]}),
            ["web_search"], [URL], back=[], listed=is_gpt_oss, **fees,
        ),
        "web_fetch": Case(
            provider, "web_fetch", model, tools.get("web_fetch"),
            executed("visit_website", output="In 1890."), ["web_fetch"], fee=None, back=[],
            listed=is_gpt_oss,
        ),
        "code_execution": Case(
            provider, "code_execution", model, tools["code_execution"],
            executed("python", output="42\n", code_results=[{"text": "42"}]), ["code_execution"],
            fee=None, back=[], listed=is_gpt_oss,
        ),
    }  # fmt: skip
    return [cases[tool] for tool in tools]


CASES = [
    *of_claude(
        "Anthropic", "anthropic/claude-sonnet-4-5",
        "web_search web_fetch code_execution mcp_server",
    ),
    *of_claude(
        "Claude on Azure Foundry", "azure/claude-sonnet-4-5",
        "web_search web_fetch code_execution",
    ),
    *of_claude(
        "Claude on Vertex AI", "google-vertex-anthropic/claude-sonnet-4-5@20250929",
        "web_search",
    ),
    *of_gemini(
        "Gemini", "google/gemini-3-pro-preview",
        "web_search web_fetch code_execution file_search mcp_server",
    ),
    *of_gemini(
        "Gemini on Vertex AI", "google-vertex/gemini-3-flash-preview",
        "web_search web_fetch code_execution",
    ),
    *of_nova(),
    *of_responses("OpenAI", "openai/gpt-5", 0.01, "0.03"),
    *of_responses("Azure OpenAI", "azure/gpt-5", 0.014, "0.033"),
    Case(
        "OpenAI's search models", "web_search", "openai/gpt-4o-search-preview",
        {"web_search_options": {}}, chat({}), [], cites=True, fee=None, back=[], listed=False,
    ),
    *of_xai(),
    Case(
        "OpenRouter", "web_search", "openrouter/openai/gpt-4o",
        {"type": "openrouter:web_search", "parameters": {}},
        chat({"cost": 0.02, "server_tool_use_details": {"web_search_requests": 1}}), [],
        cites=True, fee=None, fee_text="in the cost that it reports", back=[],
    ),
    Case(
        "OpenRouter", "web_fetch", "openrouter/openai/gpt-4o",
        {"type": "openrouter:web_fetch", "parameters": {}},
        chat({"cost": 0.02, "server_tool_use_details": {"tool_calls_executed": 1}}), [],
        cites=True, fee=None, fee_text="in the cost that it reports", back=[],
    ),
    Case(
        "Perplexity", "web_search", "perplexity/sonar", {"model": "sonar"},
        chat({"search_context_size": "low"}, search_results=[{**FOUND, "snippet": "In 1890."}]),
        ["web_search"], [URL], fee=0.005, back=[],
    ),
    *of_groq(
        "GPT-OSS on Groq", "groq/openai/gpt-oss-120b",
        {"web_search": {"type": "browser_search"}, "code_execution": {"type": "code_interpreter"}},
        fee=0.005,
    ),
    *of_groq(
        "Groq Compound", "groq/groq/compound",
        {
            "web_search": enabled("web_search"),
            "web_fetch": enabled("visit_website"),
            "code_execution": enabled("code_interpreter"),
        },
        fee=None,
    ),
]  # fmt: skip


def ids(case: Case) -> str:
    return f"{case.provider}-{case.tool}".replace(" ", "-")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("july")
    install(directory)
    return directory


@pytest.fixture(autouse=True)
def _settings(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPY_DATA_DIR", str(data))  # one for all cells: it is only read
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://x.openai.azure.com")
    monkeypatch.setenv("ANTHROPIC_FOUNDRY_RESOURCE", "x")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-1")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "global")


def play(lab: Lab, case: Case, context: Context, streamed: bool) -> list[AssistantMessageEvent]:
    lab.play(case.answer(streamed))
    provider = case.model.partition("/")[0]
    base = lab.url if provider in CHAT_HOSTS else lab.url.removesuffix("/v1")
    if "bedrock" in provider:
        base = CONVERSE.base(lab)
    if "vertex" in provider:
        base = f"{lab.url}/projects/project-1/locations/global"
    options: dict[str, Any] = {"api_key": "k", "api_base": base, "max_retries": 0}
    if provider == "openai":
        options["transport"] = "direct"
    return list(stream(case.model, context, **options))


def body_of(case: Case, context: Context) -> tuple[str, Any]:
    request = preview(case.model, context, api_key="k")
    return request.url, request.body


def broken(case: Case, url: str, body: Any) -> list[str]:
    return broken_by(case.model, url, body, case.own)


def broken_by(model: str, url: str, body: Any, own: frozenset[str]) -> list[str]:
    """Return what the host of a model would reject; `own` has the ids that it issued."""
    path = re.sub(r"https?://[^/]*", "", url).partition("?")[0]
    path = path.replace(":streamRawPredict", "/v1/messages")
    return broken_rules(model.partition("/")[0], path, body, set(own))


def requested(case: Case, lab: Lab) -> None:
    """The request has the tool as the provider calls it."""
    url, body = body_of(case, question(case))
    assert case.sent in body.get("tools", ()) or case.sent.items() <= body.items()
    assert broken(case, url, body) == []


def streamed(case: Case, lab: Lab) -> None:
    """Events report the call and its result, streamed or not."""
    for is_streamed in (True, False):
        events = play(lab, case, question(case), is_streamed)
        message = check_events(events)
        assert message.error is None, message.error
        assert "content_omitted" not in {warning.code for warning in message.warnings}
        assert message.text == BEFORE + CITED + AFTER
        kinds = [event.type for event in events]
        # A consumer that knows only text, thinking and calls of functions is not affected.
        assert (kinds[0], kinds[-1]) == ("start", "done")
        deltas = [event.delta for event in events if event.type == "text_delta"]
        assert "".join(deltas) == message.text
        assert not {kind for kind in kinds if kind.startswith(("toolcall", "thinking"))}
        assert [call.name for call in message.server_tool_calls] == case.calls
        results = [part for part in message.content if isinstance(part, ServerToolResult)]
        for name in ("servertool_start", "servertool_end", "servertool_result"):
            assert kinds.count(name) == len(results) == len(case.calls)
        assert [source.source for result in results for source in result.sources] == case.sources
        if case.tool == "image_generation":
            assert {"image_start", "image_end"} < set(kinds)
            assert len(message.images) == 1


def cited(case: Case, lab: Lab) -> None:
    """A citation has its source, and its place in the text."""
    for is_streamed in (True, False):
        events = play(lab, case, question(case), is_streamed)
        message = check_events(events)
        kinds = [event.type for event in events]
        assert kinds.count("citation") == len(message.citations) == case.cites
        for citation in message.citations:
            assert citation.source
            if citation.end is not None:
                texts = [part.text for part in message.content if part.type == "text"]
                assert CITED in {text[citation.start : citation.end] for text in texts}


def priced(case: Case, lab: Lab) -> None:
    """The bill has the fee, or says that it is unknown."""
    message = check_events(play(lab, case, question(case), True))
    cost = message.usage.cost
    if cost.source == "provider":
        assert cost.total == 0.02
    elif case.fee is None:
        assert cost.total is None
        assert case.listed == ("cost_unknown" in {w.code for w in message.warnings})
    else:
        assert cost.tools == pytest.approx(case.fee)
        parts = (cost.input, cost.output, cost.cache_read, cost.cache_write, cost.tools)
        assert cost.total == pytest.approx(sum(part or 0 for part in parts))


def replayed(case: Case, lab: Lab) -> None:
    """The second turn is accepted; another provider gets text with the sources."""
    for is_streamed in (True, False):
        context = question(case)
        first = check_events(play(lab, case, context, is_streamed))
        first = AssistantMessage.model_validate_json(first.model_dump_json())
        context.messages += [first, user("And closed?")]
        url, body = body_of(case, context)
        assert broken(case, url, body) == []
        text = json.dumps(body, ensure_ascii=False, sort_keys=True)
        for part in case.back or ():
            assert json.dumps(part, ensure_ascii=False, sort_keys=True) in text
        assert CITED in text
        for other in ("anthropic/claude-sonnet-4-5", "openai/gpt-5", "google/gemini-3-pro-preview"):
            if case.model.partition("/")[0].split("-")[0] == other.partition("/")[0]:
                continue
            moved = Context(messages=context.messages)
            request = preview(other, moved, api_key="k")
            assert broken(Case("", "", other, {}, case.answer, []), request.url, request.body) == []
            sources = case.sources or [c.source for c in first.citations if "://" in c.source]
            if case.calls or sources:
                assert "server_tool_as_text" in {warning.code for warning in request.warnings}
            assert all(source in json.dumps(request.body) for source in sources)


def tool_of(case: Case) -> ServerTool:
    if case.provider.startswith("Gemini") and case.tool == "mcp_server":
        return mcp_server("https://mcp.example", name="games")  # which has no limits
    return TOOLS[case.tool]


def question(case: Case) -> Context:
    return ctx("When did it open?", tools=[tool_of(case)])


CHECKS = {check.__name__: check for check in (requested, streamed, cited, priced, replayed)}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_cell(case: Case, column: str, lab: Lab) -> None:
    CHECKS[column](case, lab)


OVERVIEW = {
    "web_search": "search", "web_fetch": "fetch", "code_execution": "code",
    "file_search": "files", "image_generation": "images", "mcp_server": "MCP",
}  # fmt: skip


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def test_page_has_these_tables_and_no_other_rows() -> None:
    rows = [line(case.row()) for case in CASES]
    header = [line(["provider", "tool", *COLUMNS]), line(["---"] * (2 + len(COLUMNS)))]
    detail = "\n".join([*header, *rows])
    tools = {
        case.provider: {c.tool for c in CASES if c.provider == case.provider} for case in CASES
    }
    overview = "\n".join([
        line(["provider", *OVERVIEW.values()]), line(["---"] * (1 + len(OVERVIEW))),
        *(line([name, *("yes" if tool in tools[name] else "" for tool in OVERVIEW)])
          for name in tools),
    ])  # fmt: skip
    page = PAGE.read_text(encoding="utf-8")
    assert f"\n\n{overview}\n\n" in page, overview
    assert f"\n\n{detail}\n" in page, detail


@pytest.mark.parametrize("case", {case.provider: case for case in CASES}.values(), ids=ids)
def test_tool_in_the_providers_own_format_is_sent_as_it_is(case: Case) -> None:
    kind = "web_search_20250305" if "claude" in case.model else "new_tool"  # Vertex AI has a list
    own = {"type": kind, "name": "new_tool", "options": {"a": [1]}}
    tool = {"newTool": own} if "google" in case.model and "claude" not in case.model else own
    if "bedrock" in case.model:
        tool = {"systemTool": {"name": "new_tool"}}
    for given in (tool, native(tool)):
        _, body = body_of(case, ctx("q", tools=[given]))
        assert body.get("toolConfig", body)["tools"] == [tool]
        _, body = body_of(case, ctx("q", tools=[tool_of(case), given]))
        assert tool in body.get("toolConfig", body)["tools"]
        assert not ("tools" in body and "toolConfig" in body and "bedrock" in case.model)


@pytest.mark.parametrize("case", {case.provider: case for case in CASES}.values(), ids=ids)
def test_tool_that_a_provider_lacks_is_omitted_or_an_error(case: Case) -> None:
    offered = {other.tool for other in CASES if other.provider == case.provider}
    for name in sorted(TOOLS.keys() - offered):
        both = ctx("q", tools=[tool_of(case), TOOLS[name]])
        request = preview(case.model, both, api_key="k")
        assert [w.code for w in request.warnings if name in w.message] == ["tool_unsupported"]
        alone = complete(case.model, ctx("q", tools=[TOOLS[name]]), api_key="k", max_retries=0)
        assert alone.error is not None
        assert alone.error.kind == "bad_request"
        assert f"no {name}" in alone.error.message


# === Structured output beside the tools =====================================================


class Opening(BaseModel):
    year: int


GEMINI_2 = replace(
    next(case for case in CASES if case.provider == "Gemini"),
    provider="Gemini 2.5",
    model="google/gemini-2.5-flash",
)


@pytest.mark.parametrize("mode", [None, "native", "tool", "prompt"])
@pytest.mark.parametrize("case", [*CASES, GEMINI_2], ids=ids)
def test_schema_beside_the_tool_is_accepted(case: Case, mode: Any) -> None:
    request = preview(case.model, question(case), api_key="k", output=Opening, output_mode=mode)
    assert broken(case, request.url, request.body) == []
    codes = {warning.code for warning in request.warnings}
    if case is GEMINI_2 and mode == "tool":  # these models have no functions beside the tool
        assert "tool_unsupported" in codes
        return
    sent = json.dumps(request.body)
    name = next(iter(case.sent)) if "type" not in case.sent else case.sent["type"]
    assert "tool_unsupported" not in codes
    assert f'"{name}"' in sent
    is_asked = "Opening" in sent or '"year"' in sent
    assert is_asked


def test_search_of_gemini_2_with_a_value(lab: Lab) -> None:
    support = {"segment": {"startIndex": 9, "endIndex": 13, "text": "1890"},
               "groundingChunkIndices": [0]}  # fmt: skip
    found = {"webSearchQueries": ["a"], "groundingChunks": [{"web": {"uri": URL, "title": "A"}}],
             "groundingSupports": [support]}  # fmt: skip
    lab.play(gemini.response([{"text": '{"year": 1890}'}], groundingMetadata=found))
    base = lab.url.removesuffix("/v1")
    message = complete(
        GEMINI_2.model, question(GEMINI_2), api_key="k", api_base=base, output=Opening
    )
    assert message.parsed == Opening(year=1890)
    assert [citation.source for citation in message.citations] == [URL]
    assert message.usage.server_tool_calls == {"google_search": 1}


def test_search_of_claude_with_a_value_by_a_tool(lab: Lab) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "Opening", "input": {"year": 1890}}
    lab.play(anthropic.response(*SEARCH, call, stop="tool_use"))
    base = lab.url.removesuffix("/v1")
    context = question(CASES[0])
    message = complete(CASES[0].model, context, api_key="k", api_base=base, output=Opening,
                       output_mode="tool")  # fmt: skip
    assert message.parsed == Opening(year=1890)
    assert [call.name for call in message.server_tool_calls] == ["web_search"]
    context.messages += [message, user("?")]
    url, body = body_of(CASES[0], context)
    assert broken(CASES[0], url, body) == []
    assert all(part in body["messages"][1]["content"] for part in SEARCH)
