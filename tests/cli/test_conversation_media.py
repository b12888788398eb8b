"""Test that conversations keep images, audio and documents as files."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from pipy_ai import (
    Context,
    assistant,
    audio,
    complete,
    document,
    faux,
    image,
    tool_result,
    user,
    video,
)
from pipy_ai.cli.conversations.conversation import Conversation, remove_conversation
from pipy_ai.cli.conversations.media_store import media_dir, media_lock, remove_unused_media
from pipy_ai.cli.main import main
from pipy_ai.types import (
    AudioContent,
    ImageContent,
    ServerToolCall,
    ServerToolResult,
    ToolCall,
)

from ..support.command import pipy
from ..support.scripted_command import scripted_command

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
MP4 = b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moov"
PDF = b"%PDF-1.4\n%%EOF\n"
WAV = b"RIFF,\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0data\x08\0\0\0" + bytes(8)


def files() -> dict[str, bytes]:
    """Return the stored media by name."""
    directory = Path(media_dir())
    names = sorted(os.listdir(directory)) if directory.exists() else []
    return {name: (directory / name).read_bytes() for name in names if name != "media.lock"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def talk_about(*parts: object) -> Conversation:
    with Conversation.new(model="faux/any") as talk:
        talk.add(user("Look.", *parts))  # type: ignore[arg-type]
    return talk


def test_media_are_files_named_by_their_hash() -> None:
    call = ToolCall(id="c", name="draw")
    with Conversation.new(model="faux/any") as talk:
        talk.add(user("Look.", image(PNG), document(PDF, name="a.pdf"), audio(WAV)))
        drawn = ImageContent(
            data=base64.b64encode(PNG).decode(), mime_type="image/png", raw={"signature": "s"}
        )
        spoken = AudioContent(
            data=base64.b64encode(bytes(480)).decode(), mime_type="audio/pcm;rate=24000",
            transcript="Hm.",
        )  # fmt: skip
        talk.add(assistant("Here:", drawn, spoken, call))
        talk.add(tool_result(call, image(PNG)))
    stored = files()
    assert stored == {sha256(data): data for data in sorted([PNG, PDF, WAV, bytes(480)])}
    lines = Path(talk.path).read_bytes()
    assert base64.b64encode(PNG[:60]) not in lines
    assert lines.count(f'"data":"sha256:{sha256(PNG)}"'.encode()) == 3
    for path in [*Path(media_dir()).iterdir(), Path(media_dir())]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert Conversation.read(talk.id).messages == talk.messages
    with Conversation.open(talk.id) as again:
        assert again.messages == talk.messages


def test_files_in_blocks_of_providers() -> None:
    page = base64.b64encode(PDF * 100).decode()
    block = {
        "type": "web_fetch_tool_result", "tool_use_id": "s", "content": {
            "type": "web_fetch_result", "url": "https://a.example/a.pdf", "content": {
                "type": "document", "source": {"type": "base64", "data": page}}},
        "encrypted_content": page, "small": {"data": "AAAA"}, "list": [{"data": page}, 7, None],
    }  # fmt: skip
    call = ServerToolCall(id="s", name="web_fetch")
    with Conversation.new(model="faux/any") as talk:
        talk.add(user("Read it."))
        talk.add(assistant(call, ServerToolResult(tool_call_id="s", name="web_fetch", raw=block)))  # type: ignore[arg-type]
    assert list(files()) == [sha256(PDF * 100)]
    assert Path(talk.path).read_text().count(page) == 1  # what is not a file stays
    assert Conversation.read().messages == talk.messages
    os.unlink(Path(media_dir()) / sha256(PDF * 100))
    assert str(Conversation.read().messages[1].content[1]) == (
        "(result omitted: its file is missing)"
    )


def test_file_is_private_whatever_the_umask() -> None:
    old = os.umask(0)
    try:
        talk_about(image(PNG))
    finally:
        os.umask(old)
    for path in Path(media_dir()).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_conversations_with_inline_base64_still_load() -> None:
    talk = talk_about(image(PNG))
    path = Path(talk.path)
    encoded = base64.b64encode(PNG)
    path.write_bytes(path.read_bytes().replace(f"sha256:{sha256(PNG)}".encode(), encoded))
    remove_unused_media()
    assert files() == {}
    with Conversation.open(talk.id) as again:
        assert again.messages == talk.messages
        again.add(user("Again.", *talk.messages[0].content[1:]))  # type: ignore[arg-type]
    assert list(files()) == [sha256(PNG)]
    assert Conversation.read().messages == again.messages


def test_data_that_is_not_canonical_base64_is_kept_as_it_is() -> None:
    odd = ["not base64!", "iVBORw=", "iVBORx==", base64.b64encode(PNG).decode() + "\n", "sha256:x"]
    with Conversation.new() as talk:
        talk.add(assistant(*[ImageContent(data=data, mime_type="image/png") for data in odd]))
    assert files() == {}
    assert Conversation.read().messages == talk.messages


def test_removing_the_last_conversation_removes_the_file() -> None:
    first, second = talk_about(image(PNG)), talk_about(image(PNG), document(PDF))
    assert len(files()) == 2
    assert main(["history", "rm", "--yes", second.id]) == 0
    assert list(files()) == [sha256(PNG)]
    assert Conversation.read(first.id).messages == first.messages
    assert main(["history", "rm", "--yes", first.id]) == 0
    assert files() == {}


def test_undone_and_interrupted_messages_keep_their_files() -> None:
    with Conversation.new(model="faux/any") as talk:
        talk.add(user("Look.", document(PDF)))
        talk.undo()
        remove_unused_media()
        assert list(files()) == [sha256(PDF)]
    code = scripted_command(f"reply('A cat:', image({PNG!r}), 'and then', stall())")
    with subprocess.Popen(
        [sys.executable, "-c", code, "ask", "-m", "faux/any", "draw"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        while b"then" not in process.stdout.read1():
            pass
        process.send_signal(signal.SIGKILL)
    remove_unused_media()
    assert sorted(files()) == sorted([sha256(PDF), sha256(PNG)])
    with Conversation.open() as again:
        [_, answer] = again.messages
    assert [part.type for part in answer.content] == ["text", "image", "text"]  # type: ignore[union-attr]
    assert answer.content[1].bytes == PNG  # type: ignore[union-attr]
    assert Conversation.read().messages == again.messages


def test_missing_and_damaged_files_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    talk = talk_about(image(PNG), document(PDF))
    os.unlink(Path(media_dir()) / sha256(PNG))
    (Path(media_dir()) / sha256(PDF)).write_bytes(PDF[:-1] + b"!")
    [message] = Conversation.read(talk.id).messages
    assert [str(part) for part in message.content] == [
        "Look.",
        "(image omitted: its file is missing)",
        "(document omitted: its file is missing)",
    ]
    assert capsys.readouterr().err.splitlines() == [
        f"pipy: history/media/{sha256(PNG)}: No such file or directory; the image is left out",
        f"pipy: history/media/{sha256(PDF)}: the file is damaged; the document is left out",
    ]
    talk_about(image(PNG), document(PDF))  # the same files again
    (Path(media_dir()) / sha256(PDF)).write_bytes(PDF[:-1])
    talk_about(document(PDF))
    assert files()[sha256(PDF)] == PDF


def test_reference_cannot_leave_the_directory(tmp_path: Path) -> None:
    talk = talk_about(image(PNG))
    path = Path(talk.path)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    for reference in (f"../../../{secret}", "sha256:../../secret", "sha256:" + "A" * 64):
        path.write_text(path.read_text().replace(f"sha256:{sha256(PNG)}", reference))
        [message] = Conversation.read(talk.id).messages
        assert message.content[1].data == reference  # type: ignore[union-attr]
        path.write_text(path.read_text().replace(reference, f"sha256:{sha256(PNG)}"))


def test_arguments_and_text_are_never_references() -> None:
    talk_about(image(PNG))
    reference = f"sha256:{sha256(PNG)}"
    call = ToolCall(id="c", name="f", arguments={"data": reference, "type": "image"})
    with Conversation.new() as talk:
        talk.add(user(f'"{reference}"'))
        talk.add(assistant(call))
        talk.add(tool_result(call, {"data": reference}, details={"data": reference}))
    assert Conversation.read().messages == talk.messages


def test_no_file_is_removed_while_another_process_saves() -> None:
    code = (
        "from pipy_ai.cli.conversations.media_store import remove_unused_media\n"
        "print('go', flush=True); remove_unused_media()"
    )
    with media_lock():
        path = Path(media_dir()) / sha256(PNG)
        path.write_bytes(PNG)
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        message = {"kind": "message", "n": 1, "message": {"data": f"sha256:{sha256(PNG)}"}}
        Path(Conversation.new().path).write_text(json.dumps(message) + "\n")
        assert path.exists()
    process.communicate()
    assert path.exists()


def test_full_disk_stops_saving_but_not_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with Conversation.new(model="faux/any") as talk:
        talk.add(user("one"))
        os.makedirs(os.path.dirname(media_dir()), exist_ok=True)
        Path(media_dir()).write_text("in the way")
        talk.add(user("two", image(PNG)))
        assert talk.save_failed
        assert len(talk.messages) == 2
    assert "the rest of the conversation will not be saved" in capsys.readouterr().err


def test_continued_conversation_sends_the_image_again() -> None:
    talk = talk_about(image(PNG))
    with faux.script("I see.") as script, Conversation.open(talk.id) as again:
        complete("faux/any", again.context)
    [request] = script.requests
    assert request.context.messages[0].content[1].bytes == PNG


def test_spoken_words_are_found() -> None:
    with Conversation.new(model="faux/any") as talk:
        talk.add(user("Speak."))
        talk.add(assistant(AudioContent(data="AAAA", transcript="Good morning.")))
    found = json.loads(pipy("history", "search", "morning", "--json").stdout)
    assert [(hit["id"], hit["line"]) for hit in found] == [(talk.id, "Good morning.")]


def test_damaged_partial_answers_are_read() -> None:
    with Conversation.new(model="faux/any") as talk:
        talk.add(user("Draw."))
    pieces: list[Any] = [
        [0, "text", "A cat:"], [1, "image", {}], [1, "image", {"type": []}],
        [1, "image", {"type": "image", "data": 7}], [1, "audio", {"type": "x"}], [1, "image", "x"],
        [2, "image", {"type": "image", "data": f"sha256:{'0' * 64}"}],
    ]  # fmt: skip
    lines = [{"n": 2, "timestamp": 1}, *pieces]
    Path(talk.path).with_suffix(".partial").write_text("\n".join(map(json.dumps, lines)) + "\n")
    with Conversation.open() as again:
        answer = again.messages[1]
    assert [str(part) for part in answer.content] == [
        "A cat:", "(image omitted: its file is missing)"
    ]  # fmt: skip


def test_list_and_search_need_no_files() -> None:
    talk = talk_about(image(PNG))
    for path in Path(media_dir()).iterdir():
        path.unlink()
    [entry] = json.loads(pipy("history", "list", "--json").stdout)
    assert (entry["id"], entry["title"]) == (talk.id, "Look.")
    found = pipy("history", "search", "Look")
    assert (found.returncode, found.stderr) == (0, "")
    remove_conversation(talk.id)


# --- Export ---------------------------------------------------------------------------------


def talk_with_everything() -> Conversation:
    with Conversation.new(model="faux/any") as talk:
        talk.add(
            user(
                "Look.",
                image(PNG),
                document(PDF, name="[a] <b>.pdf"),
                video(MP4),
                image("https://example.com/x.png"),
            )
        )
        spoken = AudioContent(
            data=base64.b64encode(bytes(480)).decode(), mime_type="audio/pcm;rate=24000",
            transcript="Hm <i>.",
        )  # fmt: skip
        svg = ImageContent(data=base64.b64encode(SVG).decode(), mime_type="image/svg+xml")
        damaged = ImageContent(data="#", mime_type="image/png")
        talk.add(assistant("Here:", spoken, svg, damaged, ImageContent(
            data=base64.b64encode(PNG).decode(), mime_type="image/png"
        )))  # fmt: skip
    return talk


def test_markdown_has_the_files_beside_it(tmp_path: Path) -> None:
    talk_with_everything()
    (tmp_path / "here").mkdir()
    path = tmp_path / "here" / "my talk.md"
    for _ in range(2):
        assert main(["history", "export", "-o", str(path)]) == 0
    text = path.read_text()
    links = re.findall(r"(!?)\[((?:\\.|[^\]\\])*)\]\(([^)]*)\)", text)
    assert [(mark, label) for mark, label, _ in links] == [
        ("!", "image"), ("", r"\[a\] \<b\>.pdf"), ("", "video"), ("", "audio"), ("!", "image"),
        ("!", "image"),
    ]  # fmt: skip
    contents = [(path.parent / unquote(target)).read_bytes() for _, _, target in links]
    assert [contents[i] for i in (0, 1, 2, 4, 5)] == [PNG, PDF, MP4, SVG, PNG]
    with wave.open(io.BytesIO(contents[3])) as sound:
        assert sound.getnframes() == 240
    assert "Hm <i>." in text
    assert "[image: https://example.com/x.png]" in text
    assert "[image: image/png]" in text  # the damaged one
    directory = tmp_path / "here" / "my talk_files"
    assert len(os.listdir(directory)) == 5
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in directory.iterdir())
    assert sorted(os.listdir(path.parent)) == ["my talk.md", "my talk_files"]
    failed = pipy("history", "export", "-o", str(tmp_path / "none" / "talk.md"))
    assert (failed.returncode, "none/talk.md: No such file" in failed.stderr) == (1, True)
    assert not (tmp_path / "none").exists()
    piped = pipy("history", "export")
    assert "[image: image/png]" in piped.stdout
    assert pipy("history", "export", "-o", "/dev/stdout", "--format", "md").stdout == piped.stdout


def test_html_page_contains_the_media() -> None:
    talk_with_everything()
    page = pipy("history", "export", "--format", "html").stdout
    addresses = re.findall(r'<(\w+)[^>]* (?:src|href)="data:([^;]*);base64,([^"]*)"', page)
    assert [(tag, mime_type) for tag, mime_type, _ in addresses] == [
        ("img", "image/png"), ("a", "application/pdf"), ("video", "video/mp4"),
        ("audio", "audio/wav"), ("img", "image/png"),
    ]  # fmt: skip
    contents = [base64.b64decode(data) for _, _, data in addresses]
    assert [contents[i] for i in (0, 1, 2, 4)] == [PNG, PDF, MP4, PNG]
    assert contents[3].startswith(b"RIFF")
    assert 'download="[a] &lt;b&gt;.pdf"' in page
    assert "Hm &lt;i&gt;." in page
    assert "[image: image/svg+xml]" in page  # it may contain scripts
    assert "[image: the data is damaged]" in page


def test_database_has_each_file_once(tmp_path: Path) -> None:
    talk_with_everything()
    talk_about(image(PNG))
    path = tmp_path / "history.db"
    assert main(["history", "export", "-o", str(path)]) == 0
    database = sqlite3.connect(path)
    rows = database.execute(
        "SELECT message_id, type, name, url, content FROM attachments"
        " LEFT JOIN media USING (sha256) ORDER BY message_id, number"
    )
    found = [(row[1:4], None if row[4] is None else row[4][:8]) for row in rows]
    assert found[1:] == [
        (("image", None, None), PNG[:8]),
        (("document", "[a] <b>.pdf", None), PDF[:8]),
        (("video", None, None), MP4[:8]),
        (("image", None, "https://example.com/x.png"), None),
        (("audio", None, None), bytes(8)),
        (("image", None, None), SVG[:8]),
        (("image", None, None), None),
        (("image", None, None), PNG[:8]),
    ]
    assert found[0] == (("image", None, None), PNG[:8])
    assert database.execute("SELECT count(*) FROM media").fetchone() == (5,)
    database.close()


def test_json_has_the_data_itself() -> None:
    talk = talk_with_everything()
    [document_json] = [json.loads(pipy("history", "export", "--format", "json").stdout)]
    context = Context.model_validate(document_json)
    assert context.messages == talk.messages
    lines = pipy("history", "export", "--format", "jsonl").stdout.splitlines()
    assert json.loads(lines[0])["content"][1]["data"] == base64.b64encode(PNG).decode()
