"""Test which images each host reads, and how their type is told."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from pipy_ai import ImageContent, assistant, complete, preview, tool_result, user
from pipy_ai.provider.content import inline_data, unreadable_image_type
from pipy_ai.types import AssistantMessage, Message, ToolCall

SAMPLES = {
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(20),
    "GIF": b"GIF89a" + bytes(20),
    "WEBP": b"RIFF\x0c\0\0\0WEBPVP8 abcd",
    "HEIC": b"\0\0\0\x1cftypheic" + bytes(8),
    "AVIF": b"\0\0\0\x1cftypavif" + bytes(8),
    "TIFF": b"II*\0" + bytes(20),
    "BMP": b"BM\x46\0\0\0\0\0\0\0" + bytes(20),
}
HOSTS = {
    "openai/gpt-5": "PNG JPEG GIF WEBP",
    "openai/gpt-4o": "PNG JPEG GIF WEBP",
    "anthropic/claude-sonnet-4-5": "PNG JPEG GIF WEBP",
    "google/gemini-2.5-flash": "PNG JPEG WEBP HEIC",
    "xai/grok-4": "PNG JPEG",
    "mistral/mistral-medium-latest": "PNG JPEG GIF WEBP",
    "openrouter/openai/gpt-5": "PNG JPEG GIF WEBP",
    "amazon-bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0": "PNG JPEG GIF WEBP",
    "hosted_vllm/some-model": "PNG JPEG GIF WEBP HEIC AVIF TIFF BMP",  # as its library reads
}


def encoded(kind: str) -> str:
    return base64.b64encode(SAMPLES[kind]).decode()


def error_of(model: str, *messages: Any) -> str:
    message = complete(model, messages, api_key="k", api_base="http://127.0.0.1:9", max_retries=0)
    assert message.error is not None  # nothing listens there
    return "" if message.error.kind == "connection" else message.error.message


@pytest.mark.parametrize("model", HOSTS)
def test_images_that_a_host_does_not_read_are_not_sent(model: str) -> None:
    for kind in SAMPLES:
        for mime_type in ("", "image/png"):  # whatever the caller says that it is
            for part in (
                ImageContent(data=encoded(kind), mime_type=mime_type),
                ImageContent(url=f"data:image/png;base64,{encoded(kind)}"),
            ):
                error = error_of(model, user("look", part))
                if kind in HOSTS[model].split():
                    assert "images" not in error
                else:
                    assert f"{model} does not read {kind} images, only " in error


def test_images_of_earlier_turns_and_of_tools_are_left_out() -> None:
    call = ToolCall(id="c", name="f")
    heic = ImageContent(data=encoded("HEIC"))
    earlier: list[Message] = [user("look", heic), assistant("I see."), user("and?")]
    of_tool: list[Message] = [user("look"), assistant(call), tool_result(call, heic)]
    for messages in (earlier, of_tool):
        for model in ("openai/gpt-4o", "anthropic/claude-sonnet-4-5", "xai/grok-4"):
            made = preview(model, messages)
            assert "does not read its format" in str(made.body)
            assert encoded("HEIC") not in str(made.body)
            warnings = {warning.code: warning.message for warning in made.warnings}
            assert "does not read HEIC images" in warnings["image_omitted"]
        assert encoded("HEIC") in str(preview("google/gemini-2.5-flash", messages).body)


def test_bytes_say_the_type() -> None:
    for given in ("image/png", "", "image/jpg", "application/octet-stream"):
        for part in (
            ImageContent(data=encoded("JPEG"), mime_type=given),
            ImageContent(url=f"data:{given};base64,{encoded('JPEG')}"),
        ):
            assert inline_data(part) == ("image/jpeg", encoded("JPEG"))
            for model in ("anthropic/claude-sonnet-4-5", "openai/gpt-4o", "openai/gpt-5"):
                assert "image/jpeg" in str(preview(model, user("look", part)).body)
    unknown = ImageContent(data="aGk=", mime_type="image/webp")
    assert inline_data(unknown) == ("image/webp", "aGk=")


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://example.com/photo.HEIC", "HEIC"), ("https://example.com/a.svg", "SVG"),
        ("https://example.com/a.tif", "TIFF"), ("https://example.com/a.bmp", "BMP"),
        ("https://example.com/a.avif?width=9", "AVIF"), ("https://example.com/a.jpg", ""),
        ("https://example.com/photo", ""), ("https://example.com/a.png?from=b.heic", ""),
        ("data:image/svg+xml,%3Csvg%2F%3E", "SVG"),
    ],
)  # fmt: skip
def test_images_by_address(url: str, kind: str) -> None:
    readable = {"image/png", "image/jpeg"}
    assert unreadable_image_type(ImageContent(url=url), readable) == kind


def test_demo_model_reads_no_images() -> None:
    message: AssistantMessage = complete(
        "local/smollm2", user("look", ImageContent(data=encoded("TIFF"))), max_tokens=1
    )
    assert message.error is None
    assert "image_omitted" in [warning.code for warning in message.warnings]
