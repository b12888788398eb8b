"""Test the table of docs/media.md: images and speech of answers, one test for each cell.

`test_cell[API-kind-column]` proves a cell: the request asks for the kind of content, the answer
streams it, the bill has its tokens, and the strict checker accepts the second turn.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AssistantMessage, Context, ctx, image_generation, preview, stream, user

from ..support import responses_items as items
from ..support.catalogues import install
from ..support.event_grammar import check_events
from ..support.scripted_server import DONE, Lab, Scene, Status, chunk, finish, sse
from . import test_gemini_tools as gemini
from .test_provider_tool_table import broken_by, line

PAGE = Path(__file__).parents[2] / "docs" / "media.md"
COLUMNS = ("requested", "streamed", "priced", "replayed")
TEXT = "Here it is."
PNG = gemini.PNG
SAMPLES = bytes(range(64))
PIECES = [base64.b64encode(piece).decode() for piece in (SAMPLES[:40], SAMPLES[40:])]


@dataclass(frozen=True)
class Case:
    """Images or speech of an API. `answer` takes whether the response is streamed."""

    api: str
    kind: str
    model: str
    sent: dict[str, Any]  # in the body
    shown: str  # the same in the table
    answer: Callable[[bool], Scene | Status]
    cost: str  # dollars, by hand
    back: str  # in the second request
    how: str  # the same in the table
    tools: tuple[Any, ...] = ()
    own: frozenset[str] = frozenset()

    def row(self) -> list[str]:
        priced = "the cost that it reports" if "cost" in self.cost else "by the token"
        return [self.api, self.kind, self.shown, "yes", priced, self.how]


def of_gemini(*parts: dict[str, Any], image: int = 0, audio: int = 0) -> Any:
    """Return Gemini's answer with these parts and its tokens of images or audio."""
    details = [
        {"modality": "IMAGE", "tokenCount": image},
        {"modality": "AUDIO", "tokenCount": audio},
    ]
    usage = {"promptTokenCount": 1_000, "candidatesTokenCount": image + audio + 20 * bool(image),
             "candidatesTokensDetails": [d for d in details if d["tokenCount"]]}  # fmt: skip

    def answer(streamed: bool) -> Scene | Status:
        chunks = [
            {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]}
            for part in parts
        ]
        chunks[-1]["candidates"][0]["finishReason"] = "STOP"
        objects = [{**found, "usageMetadata": usage} for found in chunks]
        return sse(*objects) if streamed else Status(200, json.dumps(objects), {})

    return answer


def of_chat(whole: dict[str, Any], *pieces: dict[str, Any], **usage: Any) -> Any:
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110, **usage}

    def answer(streamed: bool) -> Scene | Status:
        if streamed:
            return sse(*map(chunk, pieces), {**finish("stop"), "usage": usage}, DONE)
        choice = {"index": 0, "message": {"role": "assistant", **whole}, "finish_reason": "stop"}
        return Status(200, json.dumps({"id": "c", "choices": [choice], "usage": usage}), {})

    return answer


def drawn(streamed: bool) -> Scene | Status:
    output = [items.IMAGE, items.message(TEXT)]
    if streamed:
        return sse(*items.events(*output))
    return Status(200, json.dumps(items.response(*output)), {})


IMAGE = {"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": "i1"}
SPEECH = [
    {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": piece}}
    for piece in PIECES
]
URL = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
SPOKEN = {"id": "audio_1", "expires_at": int(time.time()) + 3600}
AUDIO = [
    {"audio": {"id": "audio_1", "transcript": TEXT, "data": PIECES[0]}},
    {"audio": {"data": PIECES[1], "expires_at": SPOKEN["expires_at"]}},
]
WHOLE = {"audio": {**SPOKEN, "transcript": TEXT, "data": base64.b64encode(SAMPLES).decode()}}
CASES = [
    Case(
        "Gemini", "images", "google/gemini-2.5-flash-image",
        {"responseModalities": ["TEXT", "IMAGE"]}, "`responseModalities`",
        of_gemini({"text": TEXT}, IMAGE, image=1_290),
        "(1_000*0.3 + 1_290*30 + 20*2.5) / 1e6", '"thoughtSignature": "i1"',
        "as sent, with its signature", own=frozenset({"i1"}),
    ),
    Case(
        "Gemini", "speech", "google/gemini-2.5-flash-preview-tts",
        {"responseModalities": ["AUDIO"]}, "`responseModalities`",
        of_gemini(*SPEECH, audio=50), "(1_000*0.5 + 50*10) / 1e6", "", "left out",
    ),
    Case(
        "Gemini on Vertex AI", "speech", "google-vertex/gemini-2.5-flash-tts",
        {"responseModalities": ["AUDIO"]}, "`responseModalities`",
        of_gemini(*SPEECH, audio=50), "(1_000*0.5 + 50*10) / 1e6", "", "left out",
    ),
    Case(
        "OpenRouter", "images", "openrouter/google/gemini-2.5-flash-image",
        {"modalities": ["text", "image"]}, "`modalities`",
        of_chat({"content": TEXT, "images": [URL]}, {"content": TEXT}, {"images": [URL]},
                cost=0.039, completion_tokens_details={"image_tokens": 1_290}),
        "0.039  # cost", PNG, "as sent",
    ),
    Case(
        "OpenRouter", "speech", "openrouter/openai/gpt-audio",
        {"audio": {"voice": "alloy", "format": "pcm16"}}, "`audio`",
        of_chat({"content": None, **WHOLE}, *AUDIO, cost=0.002,
                completion_tokens_details={"audio_tokens": 30}),
        "0.002  # cost", '"audio_1"', "by its id, then the transcript",
    ),
    Case(
        "OpenAI Responses", "images", "openai/gpt-5",
        {"type": "image_generation", "model": "gpt-image-2"}, "`image_generation`",
        drawn, "(100*1.25 + 10*10 + 71*5 + 196*30) / 1e6", '"input_image"', "as an input image",
        (image_generation(model="gpt-image-2"),),
    ),
]  # fmt: skip


def ids(case: Case) -> str:
    return f"{case.api}-{case.kind}".replace(" ", "-")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("july")
    install(directory)
    return directory


@pytest.fixture(autouse=True)
def _settings(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPY_DATA_DIR", str(data))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-1")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "global")


def prompt(case: Case) -> Context:
    return ctx("Please.", tools=list(case.tools) or None)


def play(lab: Lab, case: Case, context: Context, streamed: bool) -> list[Any]:
    lab.play(case.answer(streamed))
    base = lab.url.removesuffix("/v1") if case.model.startswith("google/") else lab.url
    if "vertex" in case.model:
        base = f"{lab.url}/projects/project-1/locations/global"
    return list(stream(case.model, context, api_key="k", api_base=base, max_retries=0))


def requested(case: Case, lab: Lab) -> None:
    request = preview(case.model, prompt(case), api_key="k")
    found = [
        request.body,
        request.body.get("generationConfig") or {},
        *request.body.get("tools", ()),
    ]
    assert any(
        json.dumps(case.sent) == json.dumps({name: fields.get(name) for name in case.sent})
        for fields in found
    ), found
    assert broken_by(case.model, request.url, request.body, case.own) == []


def streamed(case: Case, lab: Lab) -> None:
    for is_streamed in (True, False):
        events = play(lab, case, prompt(case), is_streamed)
        message = check_events(events)
        assert message.error is None, message.error
        assert message.warnings == []
        kinds = [event.type for event in events]
        if case.kind == "images":
            assert [(image.mime_type, image.bytes[:4]) for image in message.images] == [
                ("image/png", b"\x89PNG")
            ]
            assert kinds.count("image_start") == kinds.count("image_end") == 1
            assert message.text == TEXT
        else:
            [audio] = message.audio
            assert audio.bytes == SAMPLES
            assert kinds.count("audio_delta") == (2 if is_streamed or "Gemini" in case.api else 1)


def priced(case: Case, lab: Lab) -> None:
    message = check_events(play(lab, case, prompt(case), True))
    assert message.usage.cost.total == pytest.approx(eval(case.cost))


def replayed(case: Case, lab: Lab) -> None:
    for is_streamed in (True, False):
        context = prompt(case)
        first = check_events(play(lab, case, context, is_streamed))
        context.messages += [
            AssistantMessage.model_validate_json(first.model_dump_json()), user("Another."),
        ]  # fmt: skip
        request = preview(case.model, context, api_key="k")
        own = case.own | {item["id"] for item in (items.IMAGE,)}
        assert broken_by(case.model, request.url, request.body, own) == []
        assert case.back in json.dumps(request.body)
        moved = preview(
            "anthropic/claude-sonnet-4-5", Context(messages=context.messages), api_key="k"
        )
        assert broken_by("anthropic/claude-sonnet-4-5", moved.url, moved.body, frozenset()) == []
        lost = "image_omitted" if case.kind == "images" else "audio_omitted"
        assert lost in {warning.code for warning in moved.warnings}


CHECKS = {check.__name__: check for check in (requested, streamed, priced, replayed)}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_cell(case: Case, column: str, lab: Lab) -> None:
    CHECKS[column](case, lab)


def test_page_has_this_table() -> None:
    header = ["API", "content", *COLUMNS]
    table = [line(header), line(["---"] * len(header)), *(line(case.row()) for case in CASES)]
    assert "\n\n" + "\n".join(table) + "\n\n" in PAGE.read_text(encoding="utf-8"), "\n".join(table)
