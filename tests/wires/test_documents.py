"""Test documents on every wire, and models that cannot read them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    Context,
    DocumentContent,
    ToolCall,
    ToolResultMessage,
    UserMessage,
    assistant,
    attachment,
    complete,
    ctx,
    document,
    preview,
    run_tools,
    tool_result,
    user,
)
from pipy_ai._requests import build_request
from pipy_ai.provider.conversation import (
    OMITTED_DOCUMENT_TEXT,
    OMITTED_IMAGE_TEXT,
    Target,
    adapt_messages,
)
from pipy_ai.provider.select import provider_for
from pipy_ai.tokens import TOKENS_PER_PAGE, estimate_input_tokens

from ..support.scripted_server import DONE, Lab, sse, text
from ..support.vendor_rules import violations
from ..support.wire_formats import CONVERSE, OLLAMA, WIRES, Wire, say, tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


PDF = b"%PDF-1.7\n1 0 obj <</Type /Page>> endobj\n%\xe2\xe3\xcf\xd3\0"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
DATA = base64.b64encode(PDF).decode()
INLINE = f"data:application/pdf;base64,{DATA}"


SAID: dict[str, Any] = {
    "openai-completions": [
        {"type": "text", "text": "q"},
        {"type": "file", "file": {"filename": "r.pdf", "file_data": INLINE}},
    ],
    "openai-responses": [
        {"type": "input_text", "text": "q"},
        {"type": "input_file", "filename": "r.pdf", "file_data": INLINE},
    ],
    "anthropic-messages": [
        {"type": "text", "text": "q"},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": DATA},
            "title": "r.pdf",
            "cache_control": {"type": "ephemeral"},
        },
    ],
    "google-generative-ai": [
        {"text": "q"},
        {"inlineData": {"mimeType": "application/pdf", "data": DATA}},
    ],
    "bedrock-converse": [
        {"text": "q"},
        {"cachePoint": {"type": "default"}},
        {"document": {"format": "pdf", "name": "r", "source": {"bytes": DATA}}},
    ],
    "ollama-chat": "q\n(document omitted: the model does not take PDFs)",
}
SEE = "(see attached document)"
CALLED: dict[str, Any] = {
    "openai-completions": [
        {"role": "tool", "tool_call_id": "c1", "content": SEE},
        {"role": "user", "content": SAID["openai-completions"][1:]},
    ],
    "openai-responses": [
        {"type": "function_call_output", "call_id": "c1", "output": SAID["openai-responses"][1:]}
    ],
    "anthropic-messages": [
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "content": [
                        {k: v for k, v in SAID["anthropic-messages"][1].items() if "cache" not in k}
                    ],
                    "cache_control": {"type": "ephemeral"},
                }
            ],
        }
    ],
    "google-generative-ai": [
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"output": SEE}}},
                SAID["google-generative-ai"][1],
            ],
        }
    ],
    "ollama-chat": [
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": "(document omitted: the model does not take PDFs)",
            "tool_name": "f",
        }
    ],
    "bedrock-converse": [
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "c1", "content": [{"text": SEE}]}},
                {"text": "See the attached document."},
                *SAID["bedrock-converse"][1:],
            ],
        }
    ],
}  # fmt: skip


def reader(wire: Wire) -> str:
    """Return a model of the wire that is not known to read no documents."""
    return "amazon-bedrock/amazon.nova-premier-v1:0" if wire is CONVERSE else wire.model


def turns(body: dict[str, Any]) -> list[Any]:
    """The turns of a request, whatever its wire calls them."""
    found: list[Any] = body.get("messages") or body.get("contents") or body["input"]
    return found


READERS = [wire for wire in WIRES if wire.api in SAID]


@pytest.mark.parametrize("url", [None, INLINE])
@pytest.mark.parametrize("wire", READERS, ids=lambda wire: wire.name)
def test_document_in_each_wires_format(lab: Lab, wire: Wire, url: Any) -> None:
    lab.play(wire.scene(say("ok")))
    part = DocumentContent(url=url, name="r.pdf") if url else document(PDF, "r.pdf")
    message = complete(reader(wire), user("q", part), api_base=wire.base(lab), api_key="k")
    assert (message.text, message.error, message.api) == ("ok", None, wire.api)
    last = turns(lab.seen[0].json)[-1]
    assert (last.get("content") or last.get("parts")) == SAID[wire.api]
    assert violations(lab.seen[0].path, lab.seen[0].json) == []


@pytest.mark.parametrize("wire", READERS, ids=lambda wire: wire.name)
def test_tool_result_with_a_document(lab: Lab, wire: Wire) -> None:
    def f() -> DocumentContent:
        """Read it."""
        return DocumentContent(data=DATA, name="r.pdf")

    lab.play(wire.scene(tool("c1", "f", "{}"), stop="tool"), wire.scene(say("ok")))
    run = run_tools(reader(wire), "q", [f], api_base=wire.base(lab), api_key="k")
    assert run.result().text == "ok"
    told = CALLED[wire.api]
    asked = json.dumps(turns(lab.seen[1].json)[-len(told) :])
    call_id = run.messages[0].tool_calls[0].id  # type: ignore[union-attr]
    assert json.loads(asked.replace(call_id, "c1")) == told
    own = {call_id} | ({"sig"} if wire.signatures else set())
    assert violations(lab.seen[1].path, lab.seen[1].json, own) == []


def test_unnamed_document_gets_a_name_where_required() -> None:
    context = ctx(user("q", PDF))
    chat = preview("openai/gpt-4o", context).body["messages"][0]["content"][1]
    assert chat["file"]["filename"] == "document.pdf"
    claude = preview("anthropic/claude-sonnet-4-5", context).body["messages"][0]["content"][1]
    assert "title" not in claude


URL = "https://example.com/r.pdf"


def test_who_downloads_a_url(july: Path) -> None:
    context = ctx(user("q", URL))
    claude = preview("anthropic/claude-sonnet-4-5", context, cache_retention="none").body
    assert turns(claude)[0]["content"][1] == {
        "type": "document", "source": {"type": "url", "url": URL}, "title": "r.pdf"
    }  # fmt: skip
    responses = preview("openai/gpt-5.4", context).body
    assert turns(responses)[0]["content"][1] == {"type": "input_file", "file_url": URL}
    for model in ("openai/gpt-4o", "google/gemini-2.5-flash", "openrouter/openai/gpt-4o"):
        assert provider_for(build_request(model, context, None, {})).api == "litellm"
        by_value = build_request(model, ctx(user("q", PDF)), None, {})
        assert provider_for(by_value).api != "litellm"
    blind = build_request("groq/openai/gpt-oss-120b", context, None, {})  # gets a note instead
    assert provider_for(blind).api == "openai-completions"
    refused = complete("openai/gpt-4o", context, transport="direct", api_key="k")
    assert refused.error is not None
    assert "cannot reach" in refused.error.message


@pytest.fixture
def site() -> Iterator[str]:
    """The address of a PDF on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/pdf")
            self.end_headers()
            self.wfile.write(PDF)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/r.pdf"
        server.shutdown()
        thread.join()


@pytest.mark.litellm
def test_url_is_downloaded_where_the_wire_takes_none(
    july: Path, site: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ctx(user("q", site))
    refused = complete("openai/gpt-4o", context, api_base=lab.url, api_key="k")
    import litellm  # not before pipy-ai has: it would look for prices on the network

    assert refused.error is not None  # nothing on this machine is to be had by address
    assert (refused.error.kind, lab.seen) == ("bad_request", [])
    monkeypatch.setattr(litellm, "user_url_validation", False)
    for model, where in (("openai/gpt-4o", "file_data"), ("google/gemini-2.5-flash", "inline")):
        body = json.dumps(preview(model, context).body)
        assert DATA in body
        assert where in body


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("openai/gpt-4o", True), ("anthropic/claude-sonnet-4-5", True),
        ("openai/gpt-5", True),  # the catalogue says "image" only; OpenAI reads PDFs to it
        ("openai/gpt-3.5-turbo", False), ("groq/openai/gpt-oss-120b", False),
        ("openrouter/openai/gpt-oss-120b", True),  # OpenRouter reads it to every model
        ("hosted_vllm/whatever", True), ("openai/a-new-one", True),  # unknown models
        ("mistral/mistral-large-latest", False), ("local/smollm2", False),
    ],
)  # fmt: skip
def test_models_that_accept_documents(july: Path, model: str, sent: bool) -> None:
    shown = preview(model, user("q", document(PDF, "r.pdf")), api_base="http://127.0.0.1:1/v1")
    assert (DATA in json.dumps(shown.body)) is sent
    assert (OMITTED_DOCUMENT_TEXT in json.dumps(shown.body)) is not sent
    told = [w.message for w in shown.warnings if w.code == "document_omitted"]
    assert told == (
        [] if sent else [f"{model.partition('/')[2]} does not take PDFs; r.pdf was left out"]
    )


def test_each_content_type_is_omitted_separately() -> None:
    call = ToolCall(id="c", name="f")
    doc, other, picture = document(PDF, "a.pdf"), document(PDF), attachment(PNG)
    messages = [user("q", doc, other, picture), assistant(call), tool_result(call, doc, "text")]
    before = [message.model_copy(deep=True) for message in messages]
    warned: list[str] = []

    def handed(target: Target) -> list[list[str]]:
        out = adapt_messages(messages, target, lambda code, text: warned.append(text))
        return [
            [getattr(part, "text", part.type) for part in message.content]
            for message in out
            if isinstance(message, UserMessage | ToolResultMessage)
        ]

    assert handed(Target("a", "m", accepts_documents=False)) == [
        ["q", OMITTED_DOCUMENT_TEXT, "image"], [OMITTED_DOCUMENT_TEXT, "text"]
    ]  # fmt: skip
    assert warned[:2] == [f"m does not take PDFs; {what} was left out" for what in ("a.pdf", "one")]
    assert handed(Target("a", "m", accepts_images=False)) == [
        ["q", "document", "document", OMITTED_IMAGE_TEXT], ["document", "text"]
    ]  # fmt: skip
    assert messages == before


def test_conversation_with_a_document_continues_on_another_model(july: Path, lab: Lab) -> None:
    context = ctx(user("q", document(PDF, "r.pdf")))
    for number, wire in enumerate(READERS):
        lab.play(wire.scene(say(f"answer {number}")))
        message = complete(reader(wire), context, api_base=wire.base(lab), api_key="k")
        assert message.error is None
        assert (DATA in lab.seen[-1].body.decode()) is (wire is not OLLAMA)
        context.extend([message, user("And?")])
    blind = complete("groq/openai/gpt-oss-120b", context, api_base=lab.url, api_key="k")
    assert [warning.code for warning in blind.warnings] == ["document_omitted"]
    body = lab.seen[-1].body.decode()
    assert OMITTED_DOCUMENT_TEXT in body
    assert all(f"answer {number}" in body for number in range(len(READERS)))


def test_document_tokens_are_estimated_from_its_pages(lab: Lab) -> None:
    pages = b"%PDF-1.4 /Type /Pages /Type/Page /Type /Page /Type\n/Page/Parent"
    for part, count in (
        (document(pages), 3), (DocumentContent(url=INLINE), 1), (document(URL), 1),
        (document(b"%PDF-1.5" + bytes(120_000)), 3), (DocumentContent(data="#"), 1),
    ):  # fmt: skip
        context = Context(messages=[UserMessage(content=[part])])
        assert estimate_input_tokens(context) == count * TOKENS_PER_PAGE
    lab.play(sse(*text("ok"), DONE))
    message = complete("hosted_vllm/m", user("q", pages), api_base=lab.url)
    assert message.usage.estimated
    assert message.usage.input == 3 * TOKENS_PER_PAGE + 1
