"""Test attachments: images, documents and text files."""

from __future__ import annotations

import base64
import json
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AudioContent,
    Context,
    DocumentContent,
    ImageContent,
    TextContent,
    UserMessage,
    VideoContent,
    attachment,
    audio,
    document,
    image,
    user,
    video,
)
from pipy_ai.files import sniff_image_type, url_kind
from pipy_ai.media import wav_header
from pipy_ai.provider.conversation import Target, adapt_messages
from pipy_ai.tokens import estimate_input_tokens

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


PDF = b"%PDF-1.7\n1 0 obj <</Type /Page>> endobj\n%\xe2\xe3\xcf\xd3\0"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
DATA = base64.b64encode(PDF).decode()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PDF, "document"), (b"\xef\xbb\xbf\n" + PDF, "document"), (PNG, "image"),
        (b"Buy milk.", "text"), (b"BMW sells cars, and %PDF-1.7 is a header.", "text"),
        ("Straße".encode("utf-8-sig"), "text"), (b"<svg/>", "text"),
        ("Straße".encode("utf-16"), "text"),
    ],
)  # fmt: skip
def test_type_is_detected_from_the_bytes(data: bytes, kind: str, tmp_path: Path) -> None:
    misnamed = tmp_path / "file.docx"
    misnamed.write_bytes(data)
    as_url = "data:;base64," + base64.b64encode(data).decode()
    for source in (data, misnamed, str(misnamed), as_url):
        assert attachment(source).type == kind
    assert [part.type for part in user("q", misnamed).content] == ["text", kind]  # type: ignore[union-attr]
    if kind != "image":
        assert document(misnamed) == attachment(misnamed)


def test_text_file_keeps_its_name(tmp_path: Path) -> None:
    notes = tmp_path / 'a "note" & more.txt'
    notes.write_bytes("\ufeffStraße\r\n".encode())
    content = attachment(notes)
    assert isinstance(content, TextContent)
    assert content.text == '<file name="a &quot;note&quot; &amp; more.txt">\nStraße\r\n</file>'
    assert document(b"x", name="n.py") == TextContent(text='<file name="n.py">\nx\n</file>')
    assert attachment(b"x") == TextContent(text="<file>\nx\n</file>")


def test_pdf_keeps_its_name_and_bytes(tmp_path: Path) -> None:
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


def test_urls_are_left_to_the_provider() -> None:
    url = "https://example.com/a%20b.PDF?page=2#x"
    assert attachment(url) == document(url) == DocumentContent(url=url, name="a b.PDF")
    assert document("https://example.com/get?id=7").url == "https://example.com/get?id=7"  # type: ignore[union-attr]
    assert attachment("HTTPS://example.com/a.JPG") == ImageContent(url="HTTPS://example.com/a.JPG")
    for unclear in ("https://example.com/notes.txt", "https://example.com/pdf", "http://a"):
        with pytest.raises(ValueError, match=r"(?i)the file type of http"):
            attachment(unclear)
    content = user("q", url, "https://example.com/photo?id=7").content
    assert [part.type for part in content] == ["text", "document", "image"]  # type: ignore[union-attr]


@pytest.mark.parametrize("build", [attachment, document])
def test_unreadable_file_is_rejected_by_name(build: Any, tmp_path: Path) -> None:
    for data, said in (
        (b"", "is empty"), (b"\x7fELF\0\0", "UTF-8 text"), (bytes(range(128, 256)), "UTF-8 text"),
        ("Straße".encode("utf-16-le"), "UTF-8 text"), ("Straße".encode("latin-1"), "UTF-8 text"),
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
    with pytest.raises(ValueError, match="this data: URL is empty"):
        build("data:,")


def test_addresses_of_cloud_storage() -> None:
    assert image("gs://bucket/photo.png").url == "gs://bucket/photo.png"
    assert document("gs://bucket/a.pdf").name == "a.pdf"
    assert attachment("GS://bucket/photo.JPG").type == "image"
    with pytest.raises(ValueError, match=r"file type of gs://bucket/x is unknown"):
        attachment("gs://bucket/x")


def test_video_is_rejected_by_its_first_bytes(tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    with film.open("wb") as file:
        file.truncate(1 << 36)  # 64 GB of nothing: reading it all would not end well
    with pytest.raises(ValueError, match=r"film\.mkv cannot be attached"):
        attachment(film)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_name_that_is_not_utf_8_can_be_sent(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "image/jpeg"),
        (b"GIF89a" + bytes(20), "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x1cftypavif" + bytes(8), "image/avif"),
        (b"\0\0\0\x1cftypheic" + bytes(8), "image/heic"),
    ],
)
def test_images_are_detected_from_their_bytes(data: bytes, mime_type: str, tmp_path: Path) -> None:
    misnamed = tmp_path / "picture.txt"
    misnamed.write_bytes(data)
    for found in (image(data), image(misnamed), image(str(misnamed))):
        assert found.mime_type == mime_type
        assert found.data


def test_invalid_image_is_rejected_with_its_path(tmp_path: Path) -> None:
    fake = tmp_path / "cat.png"
    fake.write_text("not an image")
    with pytest.raises(ValueError, match=r"cat\.png is not in a supported image format"):
        image(fake)
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        user("look", tmp_path / "gone.png")
    with pytest.raises(IsADirectoryError, match="directory"):
        image(tmp_path)
    with pytest.raises(ValueError, match="data: URL"):
        image("data:image/png;base64,###")


def test_user_accepts_text_and_images_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    message = user(image(PNG), "What is this?", str(path), "https://example.com/cat.png")
    assert [part.type for part in message.content] == ["image", "text", "image", "image"]  # type: ignore[union-attr]
    last = message.content[-1]
    assert isinstance(last, ImageContent)
    assert last.url == "https://example.com/cat.png"
    with pytest.raises(ValueError, match="needs text"):
        user()


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"BM\x46\0\0\0\0\0\0\0", "image/bmp"),
        (b"BMW is a car.", None),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"\0\0\0\x1cftypavif", "image/avif"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "image/heic"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "image/avif"),
        (b"\0\0\0\x18ftypisom", None),
    ],
)
def test_image_signatures(data: bytes, mime_type: str | None) -> None:
    assert sniff_image_type(data) == mime_type


def png() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return len(body).to_bytes(4, "big") + kind + body + checksum.to_bytes(4, "big")

    header = (1).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    pixels = zlib.compress(b"\0\0")
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


THUMBNAIL = b"\xff\xe1\x00\x0aabcd\xff\xda\xff\xd9"  # metadata with a whole image in it
JPEG = b"\xff\xd8" + THUMBNAIL + b"\xff\xda\x00\x02abc\xff\xd9"


@pytest.mark.parametrize(
    ("data", "end"), [(png(), 8), (JPEG, 2), (b"RIFF\x0c\0\0\0WEBPVP8 abcd", 1)]
)
def test_truncated_images(data: bytes, end: int, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(data)
    for whole in (data, data + b"a film behind it \xff\xda"):
        assert attachment(whole) == image(whole)
    assert attachment(path) == image(data)
    path.write_bytes(data[:-end])
    for build in (attachment, image):
        with pytest.raises(ValueError, match="photo is a truncated image"):
            build(path)


# --- Audio and video ------------------------------------------------------------------------

WAV = wav_header(8, 16_000) + bytes(8)
FTYP = b"\0\0\0\x14ftypisom\0\0\0\0isom"
SOUND_TRACK = b"\0\0\0\x20moov\0\0\0\x18hdlr" + bytes(8) + b"soun\0\0\0\0"
PICTURE_TRACK = SOUND_TRACK.replace(b"soun", b"vide")
MP4 = FTYP + PICTURE_TRACK + b"\0\0\0\x0cmdatabcd"
MATROSKA = b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska\x18\x53\x80\x67"
WEBM = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x18\x53\x80\x67"
MEDIA = {
    "speech.wav": (WAV, "audio/wav"),
    "stream.wav": (WAV[:40] + b"\xff\xff\xff\xff" + bytes(9), "audio/wav"),
    "tagged.mp3": (b"ID3\4\0\0\0\0\0\2ab\xff\xfb\x90\0", "audio/mpeg"),
    "bare.mp3": (b"\xff\xfb\x90\0" + bytes(40), "audio/mpeg"),
    "speech.aac": (b"\xff\xf1\x50\x80" + bytes(40), "audio/aac"),
    "speech.ogg": (b"OggS" + bytes(22) + b"\1\4Opus", "audio/ogg"),
    "speech.flac": (b"fLaC\x80\0\0\x22" + bytes(40), "audio/flac"),
    "speech.m4a": (b"\0\0\0\x14ftypM4A \0\0\0\0M4A " + SOUND_TRACK, "audio/mp4"),
    "sound.mp4": (FTYP + SOUND_TRACK, "audio/mp4"),
    "speech.aiff": (b"FORM\0\0\0\4AIFF", "audio/aiff"),
    "speech.webm": (WEBM + b"\x01" + b"\xff" * 7 + b"\x86\x86A_OPUS", "audio/webm"),
    "film.mp4": (MP4, "video/mp4"),
    "film.mov": (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + PICTURE_TRACK, "video/quicktime"),
    "film.webm": (WEBM + b"\x88abcdefgh", "video/webm"),
    "film.mkv": (MATROSKA + b"\x88abcdefgh", "video/x-matroska"),
    "film.mpeg": (b"\0\0\1\xba" + bytes(20), "video/mpeg"),
    "film.avi": (b"RIFF\4\0\0\0AVI ", "video/x-msvideo"),
    "film.flv": (b"FLV\1" + bytes(20), "video/x-flv"),
    "film.3gp": (b"\0\0\0\x14ftyp3gp4\0\0\0\0isom" + PICTURE_TRACK, "video/3gpp"),
}


@pytest.mark.parametrize("name", MEDIA)
def test_audio_and_video_are_detected_from_their_bytes(name: str, tmp_path: Path) -> None:
    data, mime_type = MEDIA[name]
    misnamed = tmp_path / "file.txt"
    misnamed.write_bytes(data)
    kind = mime_type.partition("/")[0]
    build, other = (audio, video) if kind == "audio" else (video, audio)
    for source in (data, misnamed, f"data:;base64,{base64.b64encode(data).decode()}"):
        for part in (attachment(source), build(source), user("q", misnamed).content[1]):
            assert isinstance(part, AudioContent | VideoContent)
            assert (part.type, part.mime_type, part.bytes) == (kind, mime_type, data)
    if mime_type not in ("video/mp4", "video/webm"):  # these may hold only audio
        with pytest.raises(ValueError, match="is not in a supported"):
            other(data)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.wav", WAV[:-4], "is truncated"), ("a.wav", WAV[:44], "has no audio data"),
        ("a.wav", WAV[:30], "has no audio data"), ("a.wav", WAV[:12] + bytes(40), "no audio data"),
        ("a.mp3", b"ID3\4\0\0\0\0\2\0" + bytes(20), "is truncated"),
        ("a.flac", MEDIA["speech.flac"][0][:20], "is truncated"),
        ("a.ogg", MEDIA["speech.ogg"][0][:-1], "is truncated"),
        ("a.aiff", b"FORM\0\0\1\0AIFF", "is truncated"),
        ("a.mp4", MP4[:-1], "is truncated"), ("a.mp4", FTYP, "is truncated: it has no index"),
        ("a.mkv", MEDIA["film.mkv"][0][:-1], "is truncated"), ("a.mkv", MATROSKA[:-4], "truncated"),
        ("a.avi", b"RIFF\xff\0\0\0AVI ", "is truncated"),
        ("a.raw", bytes(range(256)), "a.raw cannot be attached"),  # samples without a header
        ("a.pdf", b"%PDF-1.7\ntrailer <</Encrypt 7 0 R>>", "is an encrypted PDF"),
    ],
)  # fmt: skip
def test_damaged_files_are_named(name: str, data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{name} .*{reason}|{reason}"):
        attachment(path)


@pytest.mark.parametrize("size", [100_000_001, 1 << 31])
def test_large_file_fails_before_it_is_read(size: int, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    with film.open("wb") as file:
        file.write(MP4)
        file.truncate(size)
    for build in (attachment, video):
        with pytest.raises(ValueError, match=rf"film\.mp4 is too large: {size:,} bytes.*100,000,0"):
            build(film)


def test_addresses_of_audio_and_video() -> None:
    for url, kind in (
        ("https://example.com/a.MP3?x=1", "audio"), ("gs://bucket/a.m4a", "audio"),
        ("https://example.com/a.mp4", "video"), ("https://youtu.be/abc", "video"),
        ("https://www.youtube.com/watch?v=abc", "video"),
        ("https://m.youtube.com/shorts/a", "video"),
        ("https://youtube.com.example/watch?v=abc", None), ("https://example.com/youtu.be/", None),
    ):  # fmt: skip
        assert url_kind(url) == kind
        if kind:
            assert attachment(url).type == kind
            assert user("q", url).content[1].type == kind  # type: ignore[union-attr]
    assert (audio("s3://b/a").url, video("https://example.com/x").url) == (
        "s3://b/a", "https://example.com/x",
    )  # fmt: skip


def test_size_of_audio_and_video_in_tokens() -> None:
    minute = wav_header(1_920_000, 16_000) + bytes(1_920_000)
    for part, tokens in (
        (audio(minute), 32 * 60), (AudioContent(data=base64.b64encode(bytes(96_000)).decode(),
        mime_type="audio/L16;rate=24000"), 64), (AudioContent(url="gs://b/a.mp3"), 32 * 60),
        (VideoContent(data=base64.b64encode(bytes(1_250_000)).decode()), 2900),
    ):  # fmt: skip
        counted = estimate_input_tokens(Context(messages=[UserMessage(content=[part])]))
        assert counted == pytest.approx(tokens, rel=0.001)
