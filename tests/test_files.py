"""Files as content: what they are is read off their bytes, every wire gets them in its own words,
and a model that cannot read them is told so."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    Context,
    DocumentContent,
    ImageContent,
    TextContent,
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

from .wire.lab import DONE, Lab, sse, text
from .wire.strict import violations
from .wire.wires import WIRES, Wire, say, tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

PDF = b"%PDF-1.7\n1 0 obj <</Type /Page>> endobj\n%\xe2\xe3\xcf\xd3\0"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
DATA = base64.b64encode(PDF).decode()
INLINE = f"data:application/pdf;base64,{DATA}"


# --- What a file is -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PDF, "document"), (b"\xef\xbb\xbf\n" + PDF, "document"), (PNG, "image"),
        (b"Buy milk.", "text"), (b"BMW sells cars, and %PDF-1.7 is a header.", "text"),
        ("Straße".encode("utf-8-sig"), "text"), (b"<svg/>", "text"),
    ],
)  # fmt: skip
def test_a_files_bytes_say_what_it_is(data: bytes, kind: str, tmp_path: Path) -> None:
    misnamed = tmp_path / "file.docx"
    misnamed.write_bytes(data)
    as_url = "data:;base64," + base64.b64encode(data).decode()
    for source in (data, misnamed, str(misnamed), as_url):
        assert attachment(source).type == kind
    assert [part.type for part in user("q", misnamed).content] == ["text", kind]  # type: ignore[union-attr]
    if kind != "image":
        assert document(misnamed) == attachment(misnamed)


def test_text_is_told_with_its_name(tmp_path: Path) -> None:
    notes = tmp_path / 'a "note" & more.txt'
    notes.write_bytes("\ufeffStraße\r\n".encode())
    content = attachment(notes)
    assert isinstance(content, TextContent)
    assert content.text == '<file name="a &quot;note&quot; &amp; more.txt">\nStraße\r\n</file>'
    assert document(b"x", name="n.py") == TextContent(text='<file name="n.py">\nx\n</file>')
    assert attachment(b"x") == TextContent(text="<file>\nx\n</file>")


def test_a_pdf_keeps_its_name_and_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(PDF)
    whole = DocumentContent(data=DATA, mime_type="application/pdf", name="report.pdf")
    assert attachment(path) == document(str(path)) == whole
    assert document(path, name="Q3").name == "Q3"
    assert attachment(PDF) == DocumentContent(data=DATA)
    assert DATA not in repr(whole)
    big = b"%PDF-" + os.urandom(100_000)
    path.write_bytes(big)
    content = attachment(path)
    assert isinstance(content, DocumentContent)
    assert base64.b64decode(content.data) == big


def test_web_addresses_are_left_to_the_provider() -> None:
    url = "https://example.com/a%20b.PDF?page=2#x"
    assert attachment(url) == document(url) == DocumentContent(url=url, name="a b.PDF")
    assert document("https://example.com/get?id=7").url == "https://example.com/get?id=7"  # type: ignore[union-attr]
    assert attachment("HTTPS://example.com/a.JPG") == ImageContent(url="HTTPS://example.com/a.JPG")
    for unclear in ("https://example.com/notes.txt", "https://example.com/pdf", "http://a"):
        with pytest.raises(ValueError, match="does not say what it is"):
            attachment(unclear)
    content = user("q", url, "https://example.com/photo?id=7").content
    assert [part.type for part in content] == ["text", "document", "image"]  # type: ignore[union-attr]


@pytest.mark.parametrize("build", [attachment, document])
def test_what_cannot_be_read_is_refused_with_its_name(build: Any, tmp_path: Path) -> None:
    for data, said in (
        (b"", "nothing in"), (b"\x7fELF\0\0", "UTF-8 text"), (bytes(range(128, 256)), "UTF-8 text"),
        ("Straße".encode("utf-16"), "UTF-8 text"), ("Straße".encode("latin-1"), "UTF-8 text"),
    ):  # fmt: skip
        junk = tmp_path / "junk.pdf"
        junk.write_bytes(data)
        with pytest.raises(ValueError, match=rf"junk\.pdf.*{said}|{said}.*junk\.pdf"):
            build(junk)
        with pytest.raises(ValueError, match=said):
            build(data)
    with pytest.raises(FileNotFoundError, match=r"gone\.pdf"):
        build(tmp_path / "gone.pdf")
    with pytest.raises(IsADirectoryError, match="is a directory"):
        build(tmp_path)
    for malformed in ("data:application/pdf;base64,###", "data:application/pdf"):
        with pytest.raises(ValueError, match="data: URL is malformed"):
            build(malformed)
    with pytest.raises(ValueError, match="nothing in this data: URL"):
        build("data:,")


def test_a_film_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    with film.open("wb") as file:
        file.truncate(1 << 36)  # 64 GB of nothing: reading it all would not end well
    with pytest.raises(ValueError, match=r"film\.mkv is nothing that models read"):
        attachment(film)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_utf_8_can_be_sent(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"r\xff.pdf")
    path.write_bytes(PDF)
    assert json.loads(user("q", path).model_dump_json())["content"][1]["name"] == "r\ufffd.pdf"
    by_hand = UserMessage(content=[DocumentContent(data=DATA, name=path.name)])
    [handed] = adapt_messages([by_hand], Target("a", "m"), lambda code, text: None)
    assert handed.content[0].name == "r\ufffd.pdf"  # type: ignore[union-attr]


@pytest.mark.parametrize("by_alias", [False, True])
def test_round_trips_are_lossless(by_alias: bool) -> None:
    said = {"type": "document", "data": DATA, "mimeType": "application/pdf", "new": 1}
    context = Context.model_validate(
        {"messages": [
            {"role": "user", "content": [said, {"type": "document", "url": "https://a/b.pdf"}]},
            {"role": "toolResult", "toolCallId": "c", "content": [said]},
        ]}
    )  # fmt: skip
    first = context.messages[0].content[0]
    assert isinstance(first, DocumentContent)
    assert (first.mime_type, first.name) == ("application/pdf", None)
    assert Context.model_validate_json(context.model_dump_json(by_alias=by_alias)) == context
    assert "new" in context.model_dump_json()


# --- In the words of every wire -------------------------------------------------------------

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
}  # fmt: skip


def turns(body: dict[str, Any]) -> list[Any]:
    """The turns of a request, whatever its wire calls them."""
    found: list[Any] = body.get("messages") or body.get("contents") or body["input"]
    return found


@pytest.mark.parametrize("url", [None, INLINE])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_a_document_is_said_in_the_words_of_the_wire(lab: Lab, wire: Wire, url: Any) -> None:
    lab.play(wire.scene(say("ok")))
    part = DocumentContent(url=url, name="r.pdf") if url else document(PDF, "r.pdf")
    message = complete(wire.model, user("q", part), api_base=wire.base(lab), api_key="k")
    assert (message.text, message.error, message.api) == ("ok", None, wire.api)
    last = turns(lab.seen[0].json)[-1]
    assert (last.get("content") or last.get("parts")) == SAID[wire.api]
    assert violations(lab.seen[0].path, lab.seen[0].json) == []


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_a_tool_may_answer_with_a_document(lab: Lab, wire: Wire) -> None:
    def f() -> DocumentContent:
        """Read it."""
        return DocumentContent(data=DATA, name="r.pdf")

    lab.play(wire.scene(tool("c1", "f", "{}"), stop="tool"), wire.scene(say("ok")))
    run = run_tools(wire.model, "q", [f], api_base=wire.base(lab), api_key="k")
    assert run.result().text == "ok"
    told = CALLED[wire.api]
    asked = json.dumps(turns(lab.seen[1].json)[-len(told) :])
    call_id = run.messages[0].tool_calls[0].id  # type: ignore[union-attr]
    assert json.loads(asked.replace(call_id, "c1")) == told
    own = {call_id} | ({"sig"} if wire.signatures else set())
    assert violations(lab.seen[1].path, lab.seen[1].json, own) == []


def test_a_document_without_a_name_has_one_where_it_must() -> None:
    context = ctx(user("q", PDF))
    chat = preview("openai/gpt-4o", context).body["messages"][0]["content"][1]
    assert chat["file"]["filename"] == "document.pdf"
    claude = preview("anthropic/claude-sonnet-4-5", context).body["messages"][0]["content"][1]
    assert "title" not in claude


# --- By address -----------------------------------------------------------------------------

URL = "https://example.com/r.pdf"


def test_who_fetches_an_address(july: Path) -> None:
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
    blind = build_request("groq/openai/gpt-oss-120b", context, None, {})  # is told so, in its lane
    assert provider_for(blind).api == "openai-completions"
    refused = complete("openai/gpt-4o", context, transport="direct", api_key="k")
    assert refused.error is not None
    assert "no lane" in refused.error.message


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


def test_where_the_wire_takes_no_address_it_is_fetched(
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


# --- Models that cannot read them -----------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("openai/gpt-4o", True), ("anthropic/claude-sonnet-4-5", True),
        ("openai/gpt-5", True),  # the catalogue says "image" only; OpenAI reads PDFs to it
        ("openai/gpt-3.5-turbo", False), ("groq/openai/gpt-oss-120b", False),
        ("openrouter/openai/gpt-oss-120b", True),  # OpenRouter reads it to every model
        ("hosted_vllm/whatever", True), ("openai/a-new-one", True),  # nobody knows
        ("mistral/mistral-large-latest", False), ("local/smollm2", False),
    ],
)  # fmt: skip
def test_who_gets_a_document(july: Path, model: str, sent: bool) -> None:
    shown = preview(model, user("q", document(PDF, "r.pdf")), api_base="http://127.0.0.1:1/v1")
    assert (DATA in json.dumps(shown.body)) is sent
    assert (OMITTED_DOCUMENT_TEXT in json.dumps(shown.body)) is not sent
    told = [w.message for w in shown.warnings if w.code == "document_omitted"]
    assert told == (
        [] if sent else [f"{model.partition('/')[2]} does not take PDFs; r.pdf was left out"]
    )


def test_each_kind_is_left_out_by_itself() -> None:
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


def test_a_conversation_with_a_document_goes_on_elsewhere(july: Path, lab: Lab) -> None:
    context = ctx(user("q", document(PDF, "r.pdf")))
    for number, wire in enumerate(WIRES):
        lab.play(wire.scene(say(f"answer {number}")))
        message = complete(wire.model, context, api_base=wire.base(lab), api_key="k")
        assert message.error is None
        assert DATA in lab.seen[-1].body.decode()
        context.extend([message, user("And?")])
    blind = complete("groq/openai/gpt-oss-120b", context, api_base=lab.url, api_key="k")
    assert [warning.code for warning in blind.warnings] == ["document_omitted"]
    body = lab.seen[-1].body.decode()
    assert OMITTED_DOCUMENT_TEXT in body
    assert all(f"answer {number}" in body for number in range(len(WIRES)))


# --- Tokens ---------------------------------------------------------------------------------


def test_a_documents_tokens_are_guessed_by_its_pages(lab: Lab) -> None:
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
