"""Test answers with damaged parts: the rest is kept, the damage is named, nothing is sent twice."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from pipy_ai import AssistantMessage, ServerToolResult, ctx, stream, web_search

from ..support import responses_items as items
from ..support.event_grammar import check_events
from ..support.scripted_server import DONE, FIN, Lab, chunk, finish, sse
from ..support.wire_formats import CONVERSE
from . import test_anthropic_tools as anthropic
from . import test_gemini_tools as gemini
from . import test_nova_tools as nova

PAGE = base64.b64encode(b"<!doctype html><title>502</title>").decode()
PNG = gemini.PNG
TEXT = "It opened in 1890."
PAST_THE_END = {"start_index": 900, "end_index": 950, "url": "https://a.example", "title": "A"}
MODELS = {
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "google/gemini-3-pro-preview",
    "responses": "openai/gpt-5",
    "chat": "openrouter/openai/gpt-4o",
    "groq": "groq/groq/compound",
    "nova": nova.NOVA_2,
}


def chat(*deltas: dict[str, Any]) -> Any:
    return sse(*(chunk(delta) for delta in deltas), chunk({"content": TEXT}), finish("stop"), DONE)


def responses(*found: dict[str, Any], annotations: Any = ()) -> Any:
    return sse(*items.events(*found, items.message(TEXT, *annotations)))


def claude(*blocks: dict[str, Any], **text: Any) -> Any:
    return anthropic.response(*blocks, {"type": "text", "text": TEXT, **text})


def ask(lab: Lab, name: str, scene: Any, *tools: Any) -> AssistantMessage:
    lab.play(scene)
    base = lab.url if name in ("responses", "chat", "groq") else lab.url.removesuffix("/v1")
    base = CONVERSE.base(lab) if name == "nova" else base
    options: dict[str, Any] = {"api_key": "k", "api_base": base, "max_retries": 2}
    given = [*tools, *([web_search()] if name == "responses" and not tools else ())]
    message = check_events(list(stream(MODELS[name], ctx("q", tools=given), **options)))
    assert len(lab.seen) == 1
    return message


@pytest.fixture(autouse=True)
def _settings(july: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")


# === A search that fails inside the response ================================================

_ERROR = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
FAILED: dict[str, Callable[[], Any]] = {
    "anthropic": lambda: claude(
        anthropic.SEARCH_CALL,
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": _ERROR},
    ),
    "gemini": lambda: gemini.response(
        [{"toolCall": {"id": "t", "toolType": "GOOGLE_SEARCH_WEB"}}],
        [{"text": TEXT}],
    ),
    "responses": lambda: responses({**items.SEARCH, "status": "failed"}),
    "groq": lambda: chat({"executed_tools": [{"index": 0, "type": "search", "arguments": "{"}]}),
    "nova": lambda: nova.response(
        {"toolUse": nova.SEARCH},
        {"toolResult": {**nova.FOUND, "status": "error", "content": []}},
        {"text": TEXT},
    ),
}


@pytest.mark.parametrize("name", FAILED)
def test_search_that_fails(lab: Lab, name: str) -> None:
    message = ask(lab, name, FAILED[name](), web_search())
    assert message.error is None, message.error
    assert message.text == TEXT
    results = [part for part in message.content if isinstance(part, ServerToolResult)]
    has_result = name in ("anthropic", "responses", "nova")
    assert [result.is_error for result in results] == [True] * has_result
    assert [call.name for call in message.server_tool_calls] == ["web_search"]
    assert AssistantMessage.model_validate_json(message.model_dump_json()) == message


# === Citations ==============================================================================

BEYOND: dict[str, Callable[[], Any]] = {
    "anthropic": lambda: claude(
        citations=[{"type": "char_location", "document_index": 7, "start_char_index": 900,
                    "end_char_index": 950, "cited_text": None}]
    ),
    "gemini": lambda: gemini.response([{"text": TEXT}], groundingMetadata={
        "groundingChunks": [{"web": {"uri": "https://a.example"}}],
        "groundingSupports": [{"segment": {"startIndex": 900, "endIndex": 950},
                               "groundingChunkIndices": [0]}]}),
    "responses": lambda: responses(annotations=[{"type": "url_citation", **PAST_THE_END}]),
    "chat": lambda: chat(
        {"annotations": [{"type": "url_citation", "url_citation": PAST_THE_END}]}
    ),
    "nova": lambda: nova.response(
        {"text": TEXT}, {"citationsContent": {"citations": [
            {"location": {"documentChar": {"documentIndex": 7, "start": 900, "end": 950}}}]}}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BEYOND)
def test_citation_past_the_end(lab: Lab, name: str) -> None:
    if name == "chat":  # which comes before the text
        scene = sse(
            chunk({"content": TEXT}),
            chunk({"annotations": [{"type": "url_citation", "url_citation": PAST_THE_END}]}),
            finish("stop"), DONE,
        )  # fmt: skip
    else:
        scene = BEYOND[name]()
    message = ask(lab, name, scene)
    assert message.error is None
    assert message.text == TEXT
    [citation] = message.citations
    whole_block = name in ("anthropic", "nova")  # which cite a whole block
    place = (0, len(TEXT)) if whole_block else (None, None)
    assert (citation.start, citation.end) == place
    assert citation.source


# === Unknown parts ==========================================================================

_NEW = {"type": "hologram", "id": "h", "status": "completed"}
UNKNOWN: dict[str, tuple[Callable[[], Any], str]] = {
    "anthropic": (lambda: claude({"type": "hologram"}), "hologram"),
    "gemini": (lambda: gemini.response([{"hologram": {"a": 1}}], [{"text": TEXT}]), "hologram"),
    "responses": (lambda: responses(_NEW), "hologram"),
    "chat": (lambda: chat({"content": [_NEW]}), "hologram"),
    "nova": (lambda: nova.response({"hologram": {}}, {"text": TEXT}), ""),
    "groq": (lambda: chat({"executed_tools": [{"type": "hologram", "index": 0}]}), ""),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_block(lab: Lab, name: str) -> None:
    scene, label = UNKNOWN[name]
    message = ask(lab, name, scene())
    assert message.error is None
    assert message.text == TEXT
    warnings = [w.message for w in message.warnings if w.code == "content_omitted"]
    assert all(label in warning for warning in warnings)
    assert bool(warnings) == bool(label)


# === Images =================================================================================


def images(data: str) -> dict[str, Callable[[], Any]]:
    """Return answers with a text and an image of this base64 data, declared as PNG."""
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    part = {"inlineData": {"mimeType": "image/png", "data": data}}
    plot = {"type": "image", "url": f"data:image/png;base64,{data}"}
    run = {"index": 0, "type": "python", "arguments": "{}", "code_results": [{"png": data}]}
    return {
        "gemini": lambda: gemini.response([part], [{"text": TEXT}]),
        "responses": lambda: responses({**items.IMAGE, "result": data}),
        "responses-code": lambda: responses({**items.CODE, "outputs": [plot]}),
        "chat": lambda: chat({"images": [url]}),
        "groq": lambda: chat({"executed_tools": [run]}),
    }


@pytest.mark.parametrize("data", [PAGE, PNG[:-3], "no base64!"], ids=["page", "cut", "text"])
@pytest.mark.parametrize("name", images(""))
def test_image_that_is_not_an_image(lab: Lab, name: str, data: str) -> None:
    message = ask(lab, name.partition("-")[0], images(data)[name]())
    assert message.error is None, message.error
    assert message.text == TEXT
    preview = [items.PREVIEW] * (name == "responses")  # which came before and is intact
    assert [image.data for image in message.images] == preview
    [warning] = [w.message for w in message.warnings if w.code == "content_omitted"]
    assert ("not an image" if data == PAGE else "not valid base64") in warning


@pytest.mark.parametrize("name", images(""))
def test_bytes_decide_the_type_of_an_image(lab: Lab, name: str) -> None:
    jpeg = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(40)).decode()
    message = ask(lab, name.partition("-")[0], images(jpeg)[name]())
    assert [image.mime_type for image in message.images] == ["image/jpeg"]


@pytest.mark.parametrize("name", ["gemini", "responses", "chat"])
def test_connection_that_closes_inside_an_image(lab: Lab, name: str) -> None:
    whole = b"".join(step for step in images(PNG)[name]() if isinstance(step, bytes))
    end = whole.index(PNG.encode()) + len(PNG) // 2
    lab.play([whole[:end], FIN])
    base = lab.url.removesuffix("/v1") if name == "gemini" else lab.url
    options: dict[str, Any] = {"api_key": "k", "api_base": base, "max_retries": 0}
    tools = [web_search()] if name == "responses" else []
    message = check_events(list(stream(MODELS[name], ctx("q", tools=tools), **options)))
    assert message.error is not None
    assert message.error.kind in ("connection", "incomplete")
    preview = [items.PREVIEW] * (name == "responses")
    assert [image.data for image in message.images] == preview
    assert len(lab.seen) == 1


# === Audio ==================================================================================


def test_audio_cut_off_in_the_middle_of_its_base64(lab: Lab) -> None:
    whole = base64.b64encode(bytes(30)).decode()
    pieces: list[dict[str, Any]] = [
        {"id": "a", "transcript": "Hel", "data": whole}, {"transcript": "lo.", "data": whole[:-3]},
    ]  # fmt: skip
    scene = sse(*(chunk({"audio": piece}) for piece in pieces), finish("stop"), DONE)
    message = ask(lab, "chat", scene)
    assert message.error is None
    [audio] = message.audio
    assert (audio.transcript, audio.bytes) == ("Hello.", bytes(30))
    [warning] = message.warnings
    assert "audio that is not valid base64" in warning.message


def test_audio_without_a_header_is_saved_as_a_playable_file(lab: Lab, tmp_path: Any) -> None:
    data = base64.b64encode(bytes(480)).decode()
    bare = {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=16000", "data": data}}
    message = ask(lab, "gemini", gemini.response([bare]))
    saved = message.audio[0].save(tmp_path / "speech").read_bytes()
    assert saved[:4] == b"RIFF"
    assert int.from_bytes(saved[24:28], "little") == 16_000
    assert json.loads(message.model_dump_json())["content"][0]["mime_type"].startswith("audio/L16")
