"""Test tools that Gemini runs, images and audio: requests, responses, later turns."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
    AssistantMessage,
    AudioContent,
    Context,
    ImageContent,
    ServerToolCall,
    ServerToolResult,
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
from ..support.scripted_server import Lab, Scene, Status, sse
from ..support.vendor_rules import violations

MODEL = "google/gemini-3-pro-preview"
KEY = "AIza-very-secret-0123456789"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()
ANSWER = "Käse – und Äpfel – sind gut."


def byte_span(words: str) -> dict[str, Any]:
    start = len(ANSWER[: ANSWER.index(words)].encode())
    return {"startIndex": start, "endIndex": start + len(words.encode()), "text": words}


GROUNDING = {
    "webSearchQueries": ["Käse", "Äpfel"],
    "groundingChunks": [
        {"web": {"uri": "https://g.example/1", "title": "a.example"}},
        {"web": {"uri": "https://g.example/2", "title": "b.example"}},
    ],
    "groundingSupports": [
        {"segment": byte_span("Äpfel"), "groundingChunkIndices": [1], "confidenceScores": [0.9]},
        {"segment": byte_span("sind gut."), "groundingChunkIndices": [0, 1, 99, "x"]},
    ],
    "searchEntryPoint": {"renderedContent": "<div>"},
}


def response(*chunks: list[dict[str, Any]], streamed: bool = True, **fields: Any) -> Scene | Status:
    """Return a response whose chunks have these parts; `fields` are in the last candidate."""
    objects: list[dict[str, Any]] = []
    for number, parts in enumerate(chunks):
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        if number == len(chunks) - 1:
            candidate |= {"finishReason": "STOP", **fields}
        usage = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}
        objects.append({"candidates": [candidate], "usageMetadata": usage, "responseId": "r"})
    if streamed:
        return sse(*objects)
    return Status(200, json.dumps(objects), {})


def ask(lab: Lab, context: Context, model: str = MODEL, **options: Any) -> AssistantMessage:
    options = {"api_key": KEY, "max_retries": 0, "api_base": lab.url, **options}
    return check_events(list(stream(model, context, **options)))


def question(*tools: Any) -> Context:
    return ctx("Was schmeckt?", tools=list(tools or [web_search()]))


# === Requests ===============================================================================


def test_tools(july: Any) -> None:
    server = mcp_server("https://mcp.example", name="docs", token="tok-4711-secret")
    tools = [web_search(), web_fetch(), code_execution(), file_search(["s/1"], max_results=3)]
    request = preview(MODEL, question(*tools, server))
    assert "tok-4711-secret" not in str(request) + repr(request)
    server_tool = request.body["tools"].pop()["mcpServers"][0]
    assert server_tool["name"] == "docs"
    assert request.body["tools"] == [
        {"googleSearch": {}},
        {"urlContext": {}},
        {"codeExecution": {}},
        {"fileSearch": {"fileSearchStoreNames": ["s/1"], "topK": 3}},
    ]


def test_beside_functions(july: Any) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    body = preview(MODEL, question(add, web_search())).body
    assert [list(tool) for tool in body["tools"]] == [["functionDeclarations"], ["googleSearch"]]
    assert body["toolConfig"]["includeServerSideToolInvocations"] is True
    request = preview("google/gemini-2.5-flash", question(add, web_search()))
    assert [list(tool) for tool in request.body["tools"]] == [["functionDeclarations"]]
    assert [w.code for w in request.warnings] == ["tool_unsupported"]
    assert "together with functions" in request.warnings[0].message


def test_schema_beside_a_search(july: Any) -> None:
    class Cheese(BaseModel):
        name: str

    body = preview("google/gemini-2.5-flash", question(), output=Cheese).body
    assert body["tools"] == [{"googleSearch": {}}]
    assert "responseSchema" not in json.dumps(body)
    assert "JSON" in json.dumps(body)
    body = preview(MODEL, question(), output=Cheese, output_mode="native").body
    assert "responseSchema" in body["generationConfig"]


def test_option_that_google_lacks(july: Any) -> None:
    request = preview(MODEL, question(web_search(max_uses=1)))
    assert [w.code for w in request.warnings] == ["option_ignored"]


def test_mcp_server_is_not_used_without_its_limit(july: Any) -> None:
    """Other tools of the server could do what the caller did not allow."""
    server = mcp_server("https://mcp.example", name="docs", allowed_tools=["find"])
    request = preview(MODEL, question(server, web_search()))
    assert request.body["tools"] == [{"googleSearch": {}}]
    assert [w.code for w in request.warnings] == ["tool_unsupported"]
    alone = complete(MODEL, question(server), api_key=KEY, max_retries=0)
    assert alone.error is not None
    assert "cannot limit the tools" in alone.error.message


def test_vertex_has_no_file_search(july: Any) -> None:
    message = complete(
        "google-vertex/gemini-3-pro-preview",
        question(file_search(["s"])),
        api_key="k",
        extra={"project": "p", "location": "l"},
    )
    assert message.error is not None
    assert "has no file_search" in message.error.message


# === Responses ==============================================================================


@pytest.mark.parametrize("streamed", [True, False])
def test_search_with_citations_counted_in_bytes(lab: Lab, july: Any, streamed: bool) -> None:
    chunks = [[{"text": ANSWER[:9]}], [{"text": ANSWER[9:]}]]
    lab.play(response(*chunks, streamed=streamed, groundingMetadata=GROUNDING))
    message = ask(lab, question())
    assert message.error is None
    assert message.text == ANSWER
    spans = [(ANSWER[c.start : c.end], c.source, c.title) for c in message.citations]
    assert spans == [
        ("Äpfel", "https://g.example/2", "b.example"),
        ("sind gut.", "https://g.example/1", "a.example"),
        ("sind gut.", "https://g.example/2", "b.example"),
    ]
    _, call, result = message.content
    assert isinstance(call, ServerToolCall)
    assert (call.name, call.arguments) == ("web_search", {"queries": ["Käse", "Äpfel"]})
    assert isinstance(result, ServerToolResult)
    assert [s.source for s in result.sources] == ["https://g.example/1", "https://g.example/2"]
    assert result.raw == {"groundingMetadata": GROUNDING}
    assert message.usage.server_tool_calls == {"google_search": 2}
    # 100 tokens at $2/1M, 10 at $12/1M, two queries at $14/1,000
    assert message.usage.cost.total == pytest.approx(0.0002 + 0.00012 + 0.028)


def test_same_words_twice_are_cited_where_they_are(lab: Lab, july: Any) -> None:
    text = "ä ja. ä ja."
    segment = {"startIndex": 8, "endIndex": 11, "text": "ja."}
    support = {"segment": segment, "groundingChunkIndices": [0]}
    grounding = {**GROUNDING, "groundingSupports": [support]}
    segment["startIndex"] = len("ä ja. ä ".encode())
    lab.play(response([{"text": text}], groundingMetadata=grounding))
    [citation] = ask(lab, question()).citations
    assert (citation.start, citation.end) == (8, 11)


@pytest.mark.parametrize("span", [(500, 600), (-5, 3), (3, 1), ("a", None)])
def test_citation_past_the_end_has_no_place(lab: Lab, july: Any, span: tuple[Any, Any]) -> None:
    segment = {"startIndex": span[0], "endIndex": span[1]}
    support = {"segment": segment, "groundingChunkIndices": [0]}
    lab.play(
        response([{"text": "abc"}], groundingMetadata={**GROUNDING, "groundingSupports": [support]})
    )
    message = ask(lab, question())
    assert message.error is None
    [citation] = message.citations
    assert citation.source == "https://g.example/1"
    assert citation.start is None or message.text[citation.start : citation.end] in "abc"


def test_grounding_is_not_sent_back_and_code_is(lab: Lab, july: Any) -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "print(42)"}, "thoughtSignature": "c1"}
    output = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}}
    lab.play(
        response([code], [output], [{"text": ANSWER}], groundingMetadata=GROUNDING),
        response([{"text": "ok"}]),
    )
    context = question(web_search(), code_execution())
    first = ask(lab, context)
    call, result = first.content[:2]
    assert isinstance(call, ServerToolCall)
    assert call.arguments == {"code": "print(42)", "language": "PYTHON"}
    assert isinstance(result, ServerToolResult)
    assert (result.text, result.is_error) == ("42\n", False)
    context.messages += [AssistantMessage.model_validate_json(first.model_dump_json()), user("?")]
    second = ask(lab, context)
    assert second.warnings == []
    sent = lab.seen[1].json
    assert sent["contents"][1]["parts"] == [code, output, {"text": ANSWER}]
    assert violations(":streamGenerateContent", sent, {"c1"}) == []


def test_code_that_a_thought_runs(lab: Lab, july: Any) -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "print(42)"}, "thought": True}
    output = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}, "thought": True}
    lab.play(response([code], [output], [{"text": "It is 42."}]), response([{"text": "ok"}]))
    context = question(code_execution())
    first = ask(lab, context)
    kinds = [part.type for part in first.content]
    assert kinds == ["serverToolCall", "serverToolResult", "text"]
    context.messages += [first, user("?")]
    ask(lab, context)
    assert lab.seen[1].json["contents"][1]["parts"] == [code, output, {"text": "It is 42."}]


def test_failed_code(lab: Lab, july: Any) -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1/0"}}
    output = {"codeExecutionResult": {"outcome": "OUTCOME_DEADLINE_EXCEEDED"}}
    lab.play(response([code, output, {"text": "Hm."}]))
    message = ask(lab, question(code_execution()))
    assert message.error is None
    result = message.content[1]
    assert isinstance(result, ServerToolResult)
    assert (result.text, result.is_error) == ("OUTCOME_DEADLINE_EXCEEDED", True)


def test_invocations_beside_functions_are_sent_back(lab: Lab, july: Any) -> None:
    call = {"toolCall": {"id": "t1", "toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["a"]}},
            "thoughtSignature": "s1"}  # fmt: skip
    output = {"toolResponse": {"id": "t1", "toolType": "GOOGLE_SEARCH_WEB",
                               "response": {"search_suggestions": "x"}},
              "thoughtSignature": "s2"}  # fmt: skip
    lab.play(response([call, output, {"text": "Well."}]), response([{"text": "ok"}]))
    context = question()
    first = ask(lab, context)
    assert [c.name for c in first.server_tool_calls] == ["web_search"]
    context.messages += [first, user("?")]
    ask(lab, context)
    parts = lab.seen[1].json["contents"][1]["parts"]
    assert parts == [call, output, {"text": "Well."}]


def test_pages_of_url_context(lab: Lab, july: Any) -> None:
    pages = [
        {"retrievedUrl": "https://a.example", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"},
        {"retrievedUrl": "https://b.example", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR"},
    ]
    lab.play(response([{"text": "Well."}], urlContextMetadata={"urlMetadata": pages}))
    message = ask(lab, question(web_fetch()))
    result = message.content[2]
    assert isinstance(result, ServerToolResult)
    assert [s.source for s in result.sources] == ["https://a.example", "https://b.example"]
    assert (result.is_error, "https://b.example" in result.text) == (False, True)


def test_pages_that_are_cited_are_no_search(lab: Lab, july: Any) -> None:
    page = {
        "retrievedUrl": "https://a.example",
        "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS",
    }
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": [{"segment": {"startIndex": 1, "endIndex": 6, "text": "Well."},
                               "groundingChunkIndices": [0]}],
    }  # fmt: skip
    context = {"urlMetadata": [page]}
    lab.play(response([{"text": "Well."}], urlContextMetadata=context, groundingMetadata=grounding))
    message = ask(lab, question(web_fetch()))
    assert [call.name for call in message.server_tool_calls] == ["web_fetch"]
    assert message.usage.server_tool_calls == {}
    [citation] = message.citations
    assert (citation.source, citation.start, citation.end) == ("https://a.example", 0, 5)


def test_places_of_google_maps(lab: Lab, july: Any) -> None:
    place = {"placeId": "p", "title": "Cafe", "uri": "https://maps.example/p"}
    lab.play(
        response([{"text": "Well."}], groundingMetadata={"groundingChunks": [{"maps": place}]})
    )
    message = ask(lab, question(native({"googleMaps": {}})))
    assert [call.name for call in message.server_tool_calls] == ["google_maps"]
    assert message.usage.server_tool_calls == {"google_maps": 1}


def test_file_without_an_address_is_named_by_its_store(lab: Lab, july: Any) -> None:
    found = {"text": "In 1890.", "fileSearchStore": "fileSearchStores/s"}
    grounding = {
        "groundingChunks": [{"retrievedContext": found}],
        "groundingSupports": [{"segment": {"endIndex": 5, "text": "Well."},
                               "groundingChunkIndices": [0]}],
    }  # fmt: skip
    lab.play(response([{"text": "Well."}], groundingMetadata=grounding))
    message = ask(lab, question(file_search(["fileSearchStores/s"])))
    [citation] = message.citations
    assert (citation.source, citation.quote) == ("fileSearchStores/s", "In 1890.")
    result = message.content[-1]
    assert isinstance(result, ServerToolResult)
    assert [source.source for source in result.sources] == ["fileSearchStores/s"]


@pytest.mark.parametrize(
    "grounding",
    [
        7, [], {"groundingChunks": 5}, {"groundingChunks": [None, 7]},
        {"webSearchQueries": [None, 5]}, {"groundingSupports": [{"segment": 5}]},
        {"groundingChunks": [{"web": {"uri": 5}}], "groundingSupports": [{"segment": {"text": 5},
         "groundingChunkIndices": [0]}]},
    ],
)  # fmt: skip
def test_malformed_grounding_harms_no_text(lab: Lab, july: Any, grounding: Any) -> None:
    lab.play(response([{"text": "Well."}], groundingMetadata=grounding))
    message = ask(lab, question())
    assert message.error is None
    assert message.text == "Well."


# === Images and audio =======================================================================


def test_image_is_kept_and_sent_back_with_its_signature(lab: Lab, july: Any) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": "i1"}
    draft = {"inlineData": {"mimeType": "image/png", "data": PNG[:12]}, "thought": True}
    lab.play(response([draft], [{"text": "A cat:"}], [image]), response([{"text": "ok"}]))
    model = "google/gemini-2.5-flash-image"
    context = ctx("Draw a cat.")
    first = ask(lab, context, model)
    assert first.error is None
    assert [part.type for part in first.content] == ["text", "image"]
    assert [(image.data, image.mime_type) for image in first.images] == [(PNG, "image/png")]
    context.messages += [AssistantMessage.model_validate_json(first.model_dump_json()), user("?")]
    ask(lab, context, model)
    assert lab.seen[1].json["contents"][1]["parts"] == [{"text": "A cat:"}, image]


def test_image_for_another_provider_is_named(lab: Lab, july: Any) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    lab.play(response([{"text": "A cat:"}, image]))
    context = ctx("Draw a cat.")
    context.messages += [ask(lab, context, "google/gemini-2.5-flash-image"), user("?")]
    request = preview("anthropic/claude-sonnet-4-5", context)
    assert [w.code for w in request.warnings] == ["image_omitted"]
    assert PNG not in json.dumps(request.body)


@pytest.mark.parametrize("data", [PNG[:-3], "not base64!", "é"])
def test_image_cut_off_is_named(lab: Lab, july: Any, data: str) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": data}}
    lab.play(response([{"text": "A cat:"}, image]))
    message = ask(lab, ctx("Draw a cat."), "google/gemini-2.5-flash-image")
    assert (message.text, message.images) == ("A cat:", [])
    assert [w.code for w in message.warnings] == ["content_omitted"]
    assert "not valid base64" in message.warnings[0].message


def test_speech_in_pieces_is_saved_as_wav(lab: Lab, july: Any, tmp_path: Any) -> None:
    samples = [bytes(range(0, 40)), bytes(range(40, 100))]
    chunks = [
        [{"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000",
                         "data": base64.b64encode(piece).decode()}}]
        for piece in samples
    ]  # fmt: skip
    lab.play(response(*chunks))
    message = ask(lab, ctx("Say hi."), "google/gemini-2.5-flash-preview-tts")
    assert message.error is None
    [audio] = message.audio
    assert isinstance(audio, AudioContent)
    assert audio.bytes == b"".join(samples)
    saved = audio.save(tmp_path / "hi").read_bytes()
    assert saved[:4] == b"RIFF"
    assert saved[44:] == b"".join(samples)


def test_only_an_image_is_an_answer(lab: Lab, july: Any) -> None:
    lab.play(response([{"inlineData": {"mimeType": "image/png", "data": PNG}}]))
    message = ask(lab, ctx("Draw."), "google/gemini-2.5-flash-image")
    assert message.error is None
    [image] = message.content
    assert isinstance(image, ImageContent)
    assert message.stop_reason == "stop"
