"""Test images, audio, searches and citations over Chat Completions."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    Context,
    ServerToolResult,
    ctx,
    preview,
    stream,
    user,
    web_search,
)

from ..support.event_grammar import check_events
from ..support.scripted_server import DONE, Lab, Status, chunk, finish, sse

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()
AUDIO_MODEL = "openrouter/openai/gpt-audio"
IMAGE_MODEL = "openrouter/google/gemini-2.5-flash-image"
SAMPLES = [bytes(range(0, 40)), bytes(range(40, 100))]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def ask(lab: Lab, model: str, context: Context | str, **options: Any) -> AssistantMessage:
    options = {"api_key": "k", "max_retries": 0, "api_base": lab.url, **options}
    return check_events(list(stream(model, context, **options)))


def body_of(model: str, context: Context | str = "q", **options: Any) -> dict[str, Any]:
    body = preview(model, context, **options).body
    assert isinstance(body, dict)
    return body


def test_modalities_come_from_the_catalogue(july: Any) -> None:
    assert sorted(body_of(IMAGE_MODEL)["modalities"]) == ["image", "text"]
    body = body_of(AUDIO_MODEL)
    assert body["modalities"] == ["text", "audio"]
    assert body["audio"] == {"voice": "alloy", "format": "pcm16"}
    assert "modalities" not in body_of("openai/gpt-4o")
    config = body_of("google/gemini-2.5-flash-preview-tts")["generationConfig"]
    assert config["responseModalities"] == ["AUDIO"]
    config = body_of("google/gemini-2.5-flash-image")["generationConfig"]
    assert config["responseModalities"] == ["TEXT", "IMAGE"]


def test_modalities_of_the_caller(july: Any) -> None:
    assert body_of(AUDIO_MODEL, modalities=["text"])["modalities"] == ["text"]
    extra = {"audio": {"voice": "sage"}}
    assert body_of(AUDIO_MODEL, extra=extra)["audio"] == {"voice": "sage", "format": "pcm16"}
    request = preview("anthropic/claude-sonnet-4-5", "q", modalities=["text", "image"])
    assert [w.code for w in request.warnings] == ["option_ignored"]
    assert "image" in request.warnings[0].message


def test_speech_with_its_transcript(lab: Lab, july: Any, tmp_path: Path) -> None:
    pieces: list[dict[str, Any]] = [
        {"id": "audio_1"},
        {"transcript": "Hel"},
        {"data": b64(SAMPLES[0])},
        {"transcript": "lo.", "data": b64(SAMPLES[1])},
        {"expires_at": int(time.time()) + 3600},
    ]
    lab.play(sse(*(chunk({"audio": piece}) for piece in pieces), finish("stop"), DONE))
    context = ctx("Say hello.")
    message = ask(lab, AUDIO_MODEL, context)
    assert message.error is None
    [audio] = message.audio
    assert (audio.transcript, audio.bytes) == ("Hello.", b"".join(SAMPLES))
    saved = audio.save(tmp_path / "hello.wav").read_bytes()
    assert (saved[:4], saved[44:]) == (b"RIFF", b"".join(SAMPLES))
    context.messages += [message, user("Again.")]
    assert body_of(AUDIO_MODEL, context)["messages"][1]["audio"] == {"id": "audio_1"}
    audio.raw["expires_at"] = int(time.time()) - 5
    spoken = body_of(AUDIO_MODEL, context)["messages"][1]
    assert (spoken["content"], "audio" in spoken) == ("Hello.", False)
    moved = preview("anthropic/claude-sonnet-4-5", context)
    assert [w.code for w in moved.warnings] == ["audio_omitted"]
    assert moved.body["messages"][1]["content"] == [{"type": "text", "text": "Hello."}]


def test_whole_audio_file(lab: Lab, july: Any) -> None:
    wav = b"RIFF" + bytes(40)
    audio = {"id": "a", "data": b64(wav), "transcript": "Hi.", "expires_at": 1}
    message = {"role": "assistant", "content": None, "audio": audio}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    lab.play(Status(200, json.dumps({"id": "x", "choices": [choice]}), {}))
    [part] = ask(lab, AUDIO_MODEL, "Say hi.").audio
    assert (part.mime_type, part.bytes, part.transcript) == ("audio/wav", wav, "Hi.")


@pytest.mark.parametrize("streamed", [True, False])
def test_image_as_data_url(lab: Lab, july: Any, streamed: bool) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    scene: Any = sse(chunk({"content": "A cat:"}), chunk({"images": [image]}), finish("stop"), DONE)
    if not streamed:
        message = {"role": "assistant", "content": "A cat:", "images": [image]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        scene = Status(200, json.dumps({"id": "x", "choices": [choice]}), {})
    lab.play(scene)
    context = ctx("Draw a cat.")
    answer = ask(lab, IMAGE_MODEL, context)
    assert answer.error is None
    assert [(i.data, i.mime_type) for i in answer.images] == [(PNG, "image/png")]
    context.messages += [answer, user("Now a dog.")]
    sent = body_of(IMAGE_MODEL, context)["messages"][1]
    assert sent["content"] == [{"type": "text", "text": "A cat:"}, image]


@pytest.mark.parametrize("images", [[{"type": "image_url"}], [7], {"image_url": None}, "x"])
def test_image_without_an_address_is_named(lab: Lab, july: Any, images: Any) -> None:
    lab.play(sse(chunk({"content": "A cat:"}), chunk({"images": images}), finish("stop"), DONE))
    message = ask(lab, IMAGE_MODEL, "Draw.")
    assert message.text == "A cat:"
    assert [w.code for w in message.warnings] == ["content_omitted"]


def test_annotations_are_citations(lab: Lab, july: Any) -> None:
    text = "Käse und Brot."
    citation = {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 4,
                "content": "cheese"}  # fmt: skip
    annotation = {"type": "url_citation", "url_citation": citation}
    lab.play(sse(chunk({"content": text}), chunk({"annotations": [annotation, 7]}), finish("stop")))
    message = ask(lab, "openrouter/openai/gpt-4o", ctx("q", tools=[web_search(max_uses=2)]))
    [found] = message.citations
    assert (text[found.start : found.end], found.source, found.quote) == (
        "Käse", "https://a.example", "cheese",
    )  # fmt: skip
    [tool] = lab.seen[0].json["tools"]
    assert tool == {"type": "openrouter:web_search", "parameters": {"max_uses": 2}}


def test_search_model_of_openai(july: Any) -> None:
    body = body_of(
        "openai/gpt-4o-search-preview", ctx("q", tools=[web_search(country="DE")]),
        transport="direct",
    )  # fmt: skip
    assert body["web_search_options"] == {
        "user_location": {"type": "approximate", "approximate": {"country": "DE"}}
    }
    assert "tools" not in body


def test_sources_of_perplexity(lab: Lab, july: Any) -> None:
    results = [{"title": "A", "url": "https://a.example", "date": "2026-01-01", "snippet": "s"}]
    pieces = [{**chunk({"content": text}), "search_results": results} for text in ("It ", "is[1].")]
    lab.play(sse(*pieces, {**finish("stop"), "search_results": results}))
    context = ctx("q")
    message = ask(lab, "perplexity/sonar", context)
    assert message.error is None
    [result] = [part for part in message.content if isinstance(part, ServerToolResult)]
    assert [(s.source, s.title, s.quote) for s in result.sources] == [
        ("https://a.example", "A", "s")
    ]
    context.messages += [message, user("?")]
    request = preview("perplexity/sonar", context)
    assert not request.warnings
    assert request.body["messages"][1]["content"] == "It is[1]."
