"""Test `upload`, `download` and `delete_file`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    Context,
    FileContent,
    PipyError,
    adelete_file,
    adownload,
    assistant,
    aupload,
    code_execution,
    complete,
    ctx,
    delete_file,
    download,
    tool_result,
    upload,
    user,
)
from pipy_ai.file_storage.reuse import uploads_path
from pipy_ai.types import ToolCall, now_ms

from ..support.file_lab import FileLab, StoredFile

KEY = "k" * 40
PDF = b"%PDF-1.4\n%%EOF\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
PROVIDERS = ("anthropic", "google", "openai")
MODELS = {
    "anthropic": "anthropic/claude-sonnet-4-5",
    "google": "google/gemini-2.5-pro",
    "openai": "openai/gpt-5-mini",
}


def options(lab: FileLab, provider: str) -> dict[str, Any]:
    base = {"anthropic": lab.anthropic, "google": lab.gemini, "openai": lab.openai}[provider]
    return {"api_base": base, "api_key": KEY}


def store(lab: FileLab, provider: str, file: Any = PDF, **settings: Any) -> FileContent:
    given = {"name": "a.pdf", **settings} if isinstance(file, bytes) else settings
    return upload(file, provider=provider, **{**options(lab, provider), **given})


def sent(lab: FileLab, provider: str, context: Any) -> str:
    """Send a request to a model and return its body as text; the lab rejects it."""
    message = complete(MODELS[provider], context, max_retries=0, **options(lab, provider))
    assert message.error is not None
    if not lab.messages:
        return f"not sent: {message.error.kind}: {message.error.message}"
    return json.dumps(lab.messages.pop())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_file_is_uploaded_and_used(lab: FileLab, provider: str, tmp_path: Path) -> None:
    path = tmp_path / 'naïve "a".pdf'
    path.write_bytes(PDF)
    before = now_ms()
    file = store(lab, provider, path)
    [stored] = lab.files.values()
    assert stored.content == PDF
    assert file.id.removeprefix("files/") == stored.id
    assert (file.provider, file.mime_type, file.size) == (provider, "application/pdf", len(PDF))
    assert file.name == 'naïve "a".pdf'
    assert stored.name in (file.name, file.name.replace('"', "%22"))
    if provider == "google":
        assert file.url
        assert before + 47 * 3_600_000 < (file.expires_at or 0) < before + 49 * 3_600_000
    else:
        assert (file.url, file.expires_at) == (None, None)
    assert str(file) == f"[file 'naïve \"a\".pdf' at {provider}]"
    context = Context.model_validate_json(ctx(user("Sum up.", file)).model_dump_json())
    body = sent(lab, provider, context)
    expected: dict[str, Any] = {
        "anthropic": {"type": "document", "source": {"type": "file", "file_id": file.id},
                      "title": file.name},
        "google": {"fileData": {"mimeType": "application/pdf", "fileUri": file.url}},
        "openai": {"type": "input_file", "file_id": file.id},
    }  # fmt: skip
    assert json.dumps(expected[provider])[:-1] in body  # a cache marker may follow


def test_images_and_other_types(lab: FileLab) -> None:
    picture = store(lab, "openai", PNG, name="x")
    assert picture.mime_type == "image/png"
    part = {"type": "input_image", "file_id": picture.id, "detail": "auto"}
    assert json.dumps(part) in sent(lab, "openai", user("?", picture))
    picture = store(lab, "anthropic", PNG)
    part = {"type": "image", "source": {"type": "file", "file_id": picture.id}}
    assert json.dumps(part)[:-1] in sent(lab, "anthropic", user("?", picture))
    table = store(lab, "anthropic", b"a,b\n1,2\n", name="t.csv")
    assert table.mime_type == "text/csv"
    assert "only with code_execution()" in sent(lab, "anthropic", user("?", table))
    body = sent(lab, "anthropic", ctx(user("?", table), tools=[code_execution()]))
    assert json.dumps({"type": "container_upload", "file_id": table.id})[:-1] in body
    body = sent(lab, "anthropic", ctx("?", tools=[code_execution(file_ids=[table, "file_x"])]))
    blocks = [{"type": "container_upload", "file_id": id} for id in (table.id, "file_x")]
    [message] = json.loads(body)["messages"]
    assert message["content"][:2] == blocks
    notes = store(lab, "openai", "Grüße 😀".encode() * 1000, name="notes")
    assert notes.mime_type == "text/plain"
    assert store(lab, "openai", b"\0\1\2", name="x").mime_type == "application/octet-stream"
    assert store(lab, "openai", b"\0\1\2", mime_type="a/b").mime_type == "a/b"
    assert store(lab, "openai", PNG, name=None).name == "file.png"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_same_file_is_uploaded_once(lab: FileLab, provider: str) -> None:
    first = store(lab, provider)
    assert store(lab, provider) == first
    assert len(lab.files) == 1
    others = [
        store(lab, provider, PDF + b"\n"),
        store(lab, provider, name="b.pdf"),
        store(lab, provider, api_key="another key"),
        store(lab, provider, reuse=False),
    ]
    assert len({file.id for file in [first, *others]}) == 5
    newest = others[-1]
    assert store(lab, provider) == newest
    lab.files.clear()
    assert store(lab, provider).id not in (first.id, newest.id)
    assert stat.S_IMODE(os.stat(uploads_path()).st_mode) == 0o600
    saved = Path(uploads_path()).read_text()
    assert KEY not in saved


def test_file_that_expires_soon_is_uploaded_again(lab: FileLab) -> None:
    first = store(lab, "google")
    entries = json.loads(Path(uploads_path()).read_text())
    [entry] = entries.values()
    entry["expires_at"] = now_ms() + 300_000
    Path(uploads_path()).write_text(json.dumps(entries))
    assert store(lab, "google").id != first.id
    Path(uploads_path()).write_text("damaged {")
    assert store(lab, "google").id != first.id
    Path(uploads_path()).write_text('{"x": 1, "y": {"expires_at": "?"}}')
    store(lab, "google")


def test_upload_works_without_a_file_for_uploads(lab: FileLab) -> None:
    os.makedirs(uploads_path())
    assert store(lab, "openai").id != store(lab, "openai").id


def test_gemini_processes_a_video_first(lab: FileLab) -> None:
    lab.polls = 3
    video = b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moov"
    file = store(lab, "google", video, name="a.mp4")
    assert lab.calls["GET /v1beta/files/{id}"] == 3
    assert file.mime_type == "video/mp4"
    lab.failed_reason = "not a video"
    with pytest.raises(PipyError, match=r"cannot process b\.mp4: not a video"):
        store(lab, "google", video, name="b.mp4")


def test_interrupted_upload_to_gemini_continues(lab: FileLab, tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    content = os.urandom(1 << 20)
    path.write_bytes(content)
    lab.break_at = [300_000, 700_000]
    file = store(lab, "google", path)
    assert lab.files[file.id.removeprefix("files/")].digest == hashlib.sha256(content).hexdigest()
    assert lab.calls["POST /upload/{session}"] == 5  # three pieces, two questions
    lab.break_at = [1] * 9
    with pytest.raises(PipyError, match="connection"):
        store(lab, "google", path, reuse=False)


@pytest.mark.parametrize("provider", ["google", "openai"])  # a stream of bytes, and a form
def test_large_file_is_never_whole_in_memory(lab: FileLab, provider: str, tmp_path: Path) -> None:
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        file.write(b"\0")
        file.truncate(300_000_000)
    code = f"""
import json, resource, sys
from pipy_ai import upload
from pipy_ai.file_storage import verbs
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
file = upload({str(path)!r}, provider={provider!r}, **json.loads(sys.argv[1]))
print(file.size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(options(lab, provider))],
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    size, kilobytes = map(int, done.stdout.split())
    assert size == 300_000_000
    assert kilobytes < 40_000, "the file must not be read at once"
    [stored] = lab.files.values()
    assert stored.size == size


@pytest.mark.parametrize("provider", PROVIDERS)
def test_file_of_another_provider_is_not_sent(lab: FileLab, provider: str) -> None:
    file = store(lab, provider)
    for other in PROVIDERS:
        if other == provider:
            continue
        told = sent(lab, other, user("?", file))
        assert told == (
            f"not sent: bad_request: a.pdf is stored at {provider}, where {MODELS[other]} cannot"
            f" read it: upload it again with upload(path, provider='{other}')"
        )
        assert "bad_request" in sent(lab, other, user("?", FileContent(id="x", provider="acme")))
        body = sent(lab, other, [user("?", file), user("And now?")])
        assert "(file a.pdf omitted: it is not available here)" in body
        assert file.id not in body
    message = complete("mistral/mistral-small-latest", user("?", file), api_key=KEY)
    assert message.error is not None
    assert "attach the file itself" in message.error.message


def test_earlier_file_is_left_out_with_a_warning(lab: FileLab) -> None:
    file = store(lab, "openai")
    message = complete(
        MODELS["anthropic"], [user("?", file), user("!")], **options(lab, "anthropic")
    )
    assert [warning.code for warning in message.warnings] == ["file_omitted"]


def test_expired_file_is_not_sent(lab: FileLab) -> None:
    file = store(lab, "google")
    file.expires_at = now_ms() - 1
    told = sent(lab, "google", user("?", file))
    assert told == "not sent: bad_request: a.pdf has expired at google: upload it again"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_rejected_file_is_explained(lab: FileLab, provider: str) -> None:
    file = store(lab, provider)
    text = f"The file {file.id.removeprefix('files/')} may not exist."
    lab.errors = [(404 if provider == "anthropic" else 403, text)]
    message = complete(MODELS[provider], user("?", file), **options(lab, provider))
    assert message.error is not None
    assert message.error.message.endswith(
        f"{text} The file a.pdf was deleted, has expired, or was uploaded with the API key of"
        " another account: upload it again."
    )


def test_unknown_id_is_named(lab: FileLab) -> None:
    for provider in PROVIDERS:
        with pytest.raises(PipyError, match=r"No such File object: file-9"):
            download("file-9", provider=provider, **options(lab, provider))
        with pytest.raises(PipyError, match=r"No such File object: file-9"):
            delete_file("file-9", provider=provider, **options(lab, provider))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_file_is_downloaded_and_deleted(
    lab: FileLab, provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store(lab, provider)
    loaded = download(file, **options(lab, provider))
    assert (loaded.name, loaded.mime_type, loaded.bytes) == ("a.pdf", "application/pdf", PDF)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    names = [loaded.save(), loaded.save(), loaded.save("b.pdf"), loaded.save("here")]
    assert list(map(str, names)) == ["a.pdf", "a-2.pdf", "b.pdf", "here/a.pdf"]
    assert all(name.read_bytes() == PDF for name in names)
    by_id = download(file.id, provider=provider, **options(lab, provider))
    assert (by_id.name, by_id.mime_type, by_id.bytes) == ("a.pdf", "application/pdf", PDF)
    delete_file(file, **options(lab, provider))
    assert lab.files == {}
    assert json.loads(Path(uploads_path()).read_text()) == {}
    assert store(lab, provider).id != file.id


def test_file_in_a_container_is_downloaded(lab: FileLab) -> None:
    lab.files["cfile_1"] = StoredFile("cfile_1", "../plot.png", "", 3, "", b"abc")
    settings: dict[str, Any] = {"container_id": "cntr_1", **options(lab, "openai")}
    loaded = download("cfile_1", provider="openai", **settings)
    assert (loaded.name, loaded.mime_type, loaded.bytes) == ("plot.png", "image/png", b"abc")
    assert lab.calls["GET /v1/containers/{container}/files/{id}/content"] == 1
    delete_file("cfile_1", provider="openai", **settings)
    assert lab.files == {}


def test_name_of_a_download_is_never_a_path(lab: FileLab, tmp_path: Path) -> None:
    for name in ("../../x.txt", "/etc/x.txt", "C:\\dir\\x.txt", "a/x.txt/", "..x\0.t\nxt"):
        file = FileContent(id="file_1", provider="anthropic", name=name)
        lab.files["file_1"] = StoredFile("file_1", name, "", 3, "", b"abc")
        assert download(file, **options(lab, "anthropic")).name == "x.txt"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_upload_is_repeated_after_a_passing_error(lab: FileLab, provider: str) -> None:
    lab.errors = [(503, "overloaded"), (429, "slow down")]
    store(lab, provider)
    assert len(lab.files) == 1
    lab.errors = [(503, "overloaded")] * 9
    with pytest.raises(PipyError, match="overloaded"):
        store(lab, provider, name="b.pdf")
    assert len(lab.errors) == 6
    lab.errors = [(400, "no")] * 9
    with pytest.raises(PipyError, match="no"):
        store(lab, provider, name="c.pdf")
    assert len(lab.errors) == 8


def test_files_in_tool_results(lab: FileLab) -> None:
    call = ToolCall(id="c1", name="look", arguments={})

    def blocks(provider: str, *files: FileContent, is_error: bool = False) -> list[Any]:
        result = tool_result(call, *files, is_error=is_error)
        turns = [user("?"), assistant(call), result]
        body = json.loads(sent(lab, provider, ctx(*turns, tools=[code_execution()])))
        content = body.get("messages", [{}])[-1].get("content") or body.get("input")[-1]["output"]
        return [{**one, "cache_control": None} for one in content]

    [paper, table] = [
        FileContent(id="f1", provider="anthropic", mime_type="application/pdf"),
        FileContent(id="f2", provider="anthropic", mime_type="text/csv"),
    ]
    source = {"type": "document", "source": {"type": "file", "file_id": "f1"}}
    for_code = {"type": "container_upload", "file_id": "f2", "cache_control": None}
    [result, last] = blocks("anthropic", paper, table)
    assert (result["content"], last) == ([source], for_code)
    [result, last] = blocks("anthropic", table)
    assert [block["type"] for block in result["content"]] == ["text"]
    [result, *after] = blocks("anthropic", paper, is_error=True)
    assert [block["type"] for block in result["content"]] == ["text"]
    assert after == [{**source, "cache_control": None}]
    ours = paper.model_copy(update={"provider": "openai"})
    assert blocks("openai", ours) == [
        {"type": "input_file", "file_id": "f1", "cache_control": None}
    ]


def test_async_versions(lab: FileLab) -> None:
    async def run() -> bytes:
        settings = options(lab, "openai")
        file = await aupload(PDF, provider="openai", name="a.pdf", **settings)
        loaded = await adownload(file, **settings)
        await adelete_file(file, **settings)
        return loaded.bytes

    assert asyncio.run(run()) == PDF
    assert lab.files == {}


def test_wrong_arguments_send_nothing(lab: FileLab, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only to anthropic, google, openai"):
        upload(PDF, provider="mistral")
    with pytest.raises(ValueError, match="is empty"):
        store(lab, "openai", b"")
    with pytest.raises(ValueError, match=r"a\.pdf is an encrypted PDF"):
        store(lab, "openai", PDF + b"/Encrypt 3 0 R")
    for name, content in {
        "a.mp4": b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\0\0\0\xff\xffmdat1234",
        "a.wav": b"RIFF\xff\0\0\0WAVEfmt \x10\0\0\0" + bytes(16) + b"data\xff\0\0\0" + bytes(8),
        "a.mp3": b"ID3\4\0\0\0\0\x7f\x7f" + bytes(20),
        "a.flac": b"fLaC\0\0\xff\xff" + bytes(20),
        "a.mkv": b"\x1a\x45\xdf\xa3\0\0\0\0",
    }.items():
        with pytest.raises(ValueError, match=f"{name} is truncated"):
            store(lab, "google", content, name=name)
    with pytest.raises(ValueError, match="not a URL"):
        store(lab, "openai", "https://example.com/a.pdf")
    with pytest.raises(FileNotFoundError):
        store(lab, "openai", tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        store(lab, "openai", tmp_path)
    with pytest.raises(ValueError, match="expires_in must be from 3,600 to 2,592,000 seconds"):
        store(lab, "openai", expires_in=60)
    with pytest.raises(ValueError, match="google chooses when files expire"):
        store(lab, "google", expires_in=7200)
    with pytest.raises(ValueError, match="provider= is missing"):
        download("file-1")
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.write(b"x")
        file.truncate(513_000_000)
    with pytest.raises(ValueError, match="more than the 512,000,000 that openai accepts"):
        store(lab, "openai", path)
    with pytest.raises(PipyError, match="OPENAI_API_KEY"):
        upload(PDF, provider="openai")
    assert not lab.calls


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_expiry_is_kept(lab: FileLab, provider: str) -> None:
    file = store(lab, provider, expires_in=7200)
    assert abs((file.expires_at or 0) - time.time() * 1000 - 7_200_000) < 60_000


def test_gemini_is_another_name_of_google(lab: FileLab) -> None:
    assert upload(PDF, provider="gemini", **options(lab, "google")).provider == "google"


def test_error_of_the_provider_has_no_key(lab: FileLab) -> None:
    lab.errors = [(400, f"bad file for {KEY}")]
    with pytest.raises(PipyError) as caught:
        store(lab, "openai")
    assert "bad file" in str(caught.value)
    assert KEY not in str(caught.value)
