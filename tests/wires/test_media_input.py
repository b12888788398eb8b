"""Test audio and video that are sent to models, on every wire."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    AudioContent,
    Context,
    ToolCall,
    VideoContent,
    assistant,
    audio,
    complete,
    ctx,
    preview,
    run_tools,
    tool_result,
    user,
    video,
)
from pipy_ai.media import wav_header
from pipy_ai.provider.conversation import OMITTED_MEDIA_TEXT
from pipy_ai.provider.wires import load_wire

from ..support.scripted_server import Lab
from ..support.vendor_rules import violations
from ..support.wire_formats import WIRES, Wire, say, tool

pytestmark = pytest.mark.usefixtures("july")

WAV_BYTES = wav_header(8, 16_000) + bytes(8)
MP4_BYTES = b"\0\0\0\x14ftypisom\0\0\0\0isom\0\0\0\x08moov"
FLAC_BYTES = b"fLaC\x80\0\0\x22" + bytes(40)
WAV, MP4, FLAC = (base64.b64encode(data).decode() for data in (WAV_BYTES, MP4_BYTES, FLAC_BYTES))
VIDEO_URL = f"data:video/mp4;base64,{MP4}"
INPUT_AUDIO = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
INPUT_VIDEO = {"type": "video_url", "video_url": {"url": VIDEO_URL}}
GEMINI_AUDIO = {"inlineData": {"mimeType": "audio/wav", "data": WAV}}
GEMINI_VIDEO = {"inlineData": {"mimeType": "video/mp4", "data": MP4}}
CONVERSE_AUDIO = {"audio": {"format": "wav", "source": {"bytes": WAV}}}
CONVERSE_VIDEO = {"video": {"format": "mp4", "source": {"bytes": MP4}}}
BY_API = {wire.api: wire for wire in WIRES}
NO_AUDIO = OMITTED_MEDIA_TEXT.format(kind="audio")
NO_VIDEO = OMITTED_MEDIA_TEXT.format(kind="video")
OPENROUTER = "openrouter/google/gemini-2.5-flash"
NOVA = "amazon-bedrock/amazon.nova-pro-v1:0"
RESPONSES = BY_API["openai-responses"].model
VOXTRAL = "amazon-bedrock/mistral.voxtral-small-24b-2507"


def ask(lab: Lab, model: str, api: str, context: Any) -> Any:
    """Send a request over loopback, and return the parts of its last message."""
    wire = BY_API[api]
    lab.play(wire.scene(say("ok")))
    message = complete(
        model, context, api_base=wire.base(lab), api_key="k", max_retries=0,
        cache_retention="none",
    )  # fmt: skip
    assert (message.text, message.error, message.api) == ("ok", None, api)
    body = lab.seen[-1].json
    assert violations(lab.seen[-1].path, body) == []
    last = (body.get("messages") or body["contents"])[-1]
    return last.get("content") or last["parts"]


@pytest.mark.parametrize(
    ("model", "api", "file", "expected"),
    [
        ("openai/gpt-audio-1.5", "openai-completions", audio(WAV_BYTES), INPUT_AUDIO),
        (OPENROUTER, "openai-completions", audio(WAV_BYTES), INPUT_AUDIO),
        (OPENROUTER, "openai-completions", video(MP4_BYTES), INPUT_VIDEO),
        (OPENROUTER, "openai-completions", video("https://a.example/b.mp4"),
         {"type": "video_url", "video_url": {"url": "https://a.example/b.mp4"}}),
        ("mistral/voxtral-small-latest", "openai-completions", audio(WAV_BYTES),
         {"type": "input_audio", "input_audio": WAV}),
        ("alibaba/qwen3-omni-flash", "openai-completions", audio(WAV_BYTES),
         {"type": "input_audio",
          "input_audio": {"data": f"data:audio/wav;base64,{WAV}", "format": "wav"}}),
        ("hosted_vllm/a-model", "openai-completions", audio(FLAC_BYTES),
         {"type": "input_audio", "input_audio": {"data": FLAC, "format": "flac"}}),
        ("google/gemini-2.5-flash", "google-generative-ai", audio(WAV_BYTES), GEMINI_AUDIO),
        ("google/gemini-2.5-flash", "google-generative-ai", video(MP4_BYTES), GEMINI_VIDEO),
        ("google/gemini-2.5-flash", "google-generative-ai", video("https://youtu.be/abc"),
         {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/abc"}}),
        (VOXTRAL, "bedrock-converse", audio(WAV_BYTES), CONVERSE_AUDIO),
        (NOVA, "bedrock-converse", video(MP4_BYTES), CONVERSE_VIDEO),
        (NOVA, "bedrock-converse", video("s3://bucket/a.3gp"),
         {"video": {"format": "three_gp", "source": {"s3Location": {"uri": "s3://bucket/a.3gp"}}}}),
    ],
)  # fmt: skip
def test_file_in_each_wires_format(
    lab: Lab, model: str, api: str, file: Any, expected: dict[str, Any]
) -> None:
    assert ask(lab, model, api, user("q", file))[1] == expected


def test_addresses_that_vertex_fetches() -> None:
    context = user("q", audio("gs://b/a.mp3"), video("https://a.example/b.webm"))
    request = preview(
        "google-vertex/gemini-2.5-flash", context, api_key="k", cache_retention="none",
        extra={"vertex_project": "p", "vertex_location": "us-east5"},
    )  # fmt: skip
    assert request.body["contents"][0]["parts"][1:] == [
        {"fileData": {"mimeType": "audio/mpeg", "fileUri": "gs://b/a.mp3"}},
        {"fileData": {"mimeType": "video/webm", "fileUri": "https://a.example/b.webm"}},
    ]


def test_bytes_decide_the_format() -> None:
    for part in (
        AudioContent(data=WAV, mime_type="audio/mpeg"), AudioContent(data=WAV),
        AudioContent(url=f"data:audio/mpeg;base64,{WAV}"),
    ):  # fmt: skip
        body = preview("openai/gpt-audio-1.5", user("q", part)).body
        assert body["messages"][0]["content"][1] == INPUT_AUDIO
    sound = AudioContent(data=MP4, mime_type="")  # a container that may hold only audio
    parts = preview("google/gemini-2.5-flash", user("q", sound)).body["contents"][0]["parts"]
    assert parts[1]["inlineData"]["mimeType"] == "audio/mp4"


def test_speech_of_an_answer_is_sent_as_wav() -> None:
    samples = AudioContent(
        data=base64.b64encode(bytes(8)).decode(), mime_type="audio/L16;codec=pcm;rate=16000"
    )
    body = preview("openai/gpt-audio-1.5", user("q", samples)).body
    assert body["messages"][0]["content"][1] == INPUT_AUDIO


@pytest.mark.parametrize(
    ("model", "file", "reason"),
    [
        ("openai/gpt-4o", audio(WAV_BYTES), "gpt-4o does not take audio"),
        ("openai/gpt-audio-1.5", video(MP4_BYTES), "does not take video"),
        ("openai/gpt-audio-1.5", audio(FLAC_BYTES), "not read FLAC audio, only MP3, WAV: convert"),
        ("openai/gpt-audio-1.5", audio("https://a.example/b.mp3"), "pass the bytes of the audio"),
        ("openai/gpt-audio-1.5", AudioContent(data="AAAA"), "unknown: set its mime_type"),
        ("anthropic/claude-sonnet-4-5", audio(WAV_BYTES), "does not take audio"),
        ("anthropic/a-new-claude", video(MP4_BYTES), "not take video over Anthropic"),
        ("openai/gpt-5", audio(WAV_BYTES), "does not take audio"),
        ("google/gemini-2.5-flash", video("https://a.example/b.mp4"), "does not fetch https://a."),
        ("ollama/a-model", audio(WAV_BYTES), "does not take audio"),
        ("cohere/command-a-03-2025", audio(WAV_BYTES), "does not take audio"),
        ("groq/a-model", audio(WAV_BYTES), "does not take audio"),
        ("xai/a-model", video(MP4_BYTES), "does not take video"),
        (NOVA, audio(WAV_BYTES), "does not take audio"),
        (NOVA, video("https://a.example/b.mp4"), "does not fetch https://a.example/b.mp4"),
    ],
)  # fmt: skip
def test_what_a_model_does_not_read_is_not_sent(
    lab: Lab, model: str, file: Any, reason: str
) -> None:
    message = complete(model, user("q", file), api_key="k", api_base=lab.url, max_retries=0)
    assert message.error is not None
    assert (message.error.kind, lab.seen) == ("bad_request", [])
    assert reason in message.error.message


def test_conversation_moves_across_apis(lab: Lab) -> None:
    """Each API gets what it reads, and a note with a warning for the rest."""
    said = audio(WAV_BYTES).model_copy(update={"transcript": "Hello."})
    context = ctx(user("q", audio(WAV_BYTES), video(MP4_BYTES)), assistant("a"), user("r", said))
    context.messages += [assistant("b"), user("And?")]
    before = context.model_dump_json()
    assert Context.model_validate_json(before) == context
    for model, api, texts in (
        ("anthropic/claude-sonnet-4-5", "anthropic-messages", [NO_AUDIO, NO_VIDEO, "Hello."]),
        (RESPONSES, "openai-responses", [NO_AUDIO, NO_VIDEO, "Hello."]),
        ("openai/gpt-audio-1.5", "openai-completions", [NO_VIDEO]),
        (NOVA, "bedrock-converse", [NO_AUDIO, "Hello."]),
        ("ollama/a-model", "ollama-chat", [NO_AUDIO, NO_VIDEO, "Hello."]),
        ("google/gemini-2.5-flash", "google-generative-ai", []),
    ):
        wire = BY_API[api]
        lab.play(wire.scene(say("ok")))
        message = complete(model, context, api_key="k", api_base=wire.base(lab), max_retries=0)
        assert message.error is None
        assert violations(lab.seen[-1].path, lab.seen[-1].json) == []
        body = lab.seen[-1].body.decode()
        for text in (NO_AUDIO, NO_VIDEO, "Hello."):
            assert (text in body) is (text in texts)
        omitted = {warning.code for warning in message.warnings} & {
            "audio_omitted", "video_omitted",
        }  # fmt: skip
        assert len(omitted) == len({NO_AUDIO, NO_VIDEO} & set(texts))
    assert context.model_dump_json() == before


@pytest.mark.parametrize(
    ("api", "model", "sent"),
    [
        ("openai-completions", OPENROUTER, [INPUT_AUDIO, INPUT_VIDEO]),
        ("google-generative-ai", "google/gemini-2.5-flash", [GEMINI_AUDIO, GEMINI_VIDEO]),
        ("google-generative-ai", "google/gemini-3-flash-preview", [GEMINI_AUDIO, GEMINI_VIDEO]),
        ("bedrock-converse", NOVA, [NO_AUDIO, CONVERSE_VIDEO]),
        ("anthropic-messages", "anthropic/claude-sonnet-4-5", [NO_AUDIO, NO_VIDEO]),
        ("openai-responses", RESPONSES, [NO_AUDIO, NO_VIDEO]),
    ],
)
def test_files_of_tools(lab: Lab, api: str, model: str, sent: list[Any]) -> None:
    def record() -> list[Any]:
        """Record it."""
        return [audio(WAV_BYTES), video(MP4_BYTES)]

    wire: Wire = BY_API[api]
    call = tool("c1", "record", "{}", signature="sig" if "gemini-3" in model else None)
    lab.play(wire.scene(call, stop="tool"), wire.scene(say("ok")))
    run = run_tools(model, "q", [record], api_base=wire.base(lab), api_key="k")
    assert run.result().text == "ok"
    body = lab.seen[1].json
    turns = json.dumps(body.get("messages") or body.get("contents") or body["input"])
    for part in sent:
        assert (part if isinstance(part, str) else json.dumps(part)[1:-1]) in turns
    [answer] = [message for message in run.messages if isinstance(message, AssistantMessage)][:1]
    own = {answer.tool_calls[0].id, "sig"}
    assert violations(lab.seen[1].path, body, own) == []


def test_file_of_a_tool_that_the_caller_ran() -> None:
    call = ToolCall(id="c", name="record")
    result = tool_result(call, AudioContent(data=WAV), VideoContent(data=MP4))
    assert [part.type for part in result.content] == ["audio", "video"]


def test_file_after_which_bedrock_takes_no_cache_point() -> None:
    content = preview(NOVA, user("q", video(MP4_BYTES))).body["messages"][0]["content"]
    assert [next(iter(block)) for block in content] == ["text", "cachePoint", "video"]


@pytest.mark.parametrize("model", ["google/gemini-2.5-flash", NOVA])
def test_every_format_under_the_name_that_the_api_knows(lab: Lab, model: str) -> None:
    """The strict rules accept each format that the wire says it reads."""
    api = "bedrock-converse" if model == NOVA else "google-generative-ai"
    wire = load_wire(api)
    for mime_type in sorted(wire.audio_types | wire.video_types):
        is_audio = mime_type.startswith("audio/")
        file = (AudioContent if is_audio else VideoContent)(data="AAAA", mime_type=mime_type)
        ask(lab, VOXTRAL if is_audio and model == NOVA else model, api, user("q", file))
