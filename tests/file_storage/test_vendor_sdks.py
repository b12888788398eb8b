"""Cross-check our uploads with the vendors' SDKs, where those are installed.

`pip install openai anthropic google-genai pytest aiohttp`, then run this file. Each SDK uploads the
same file to the same server, which compares the requests, and reads the files of pipy-ai.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipy_ai import delete_file, download, upload

from ..support.file_lab import FileLab

KEY = "k" * 40
PDF = b"%PDF-1.4\n%%EOF\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / 'naïve "a".pdf'
    path.write_bytes(PDF)
    return path


def test_openai(lab: FileLab, path: Path) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=lab.openai, api_key=KEY)
    ours = upload(path, provider="openai", expires_in=7200, api_base=lab.openai, api_key=KEY)
    theirs = client.files.create(
        file=path, purpose="user_data", expires_after={"anchor": "created_at", "seconds": 7200}
    )
    assert lab.shapes[0] == lab.shapes[1]
    found = client.files.retrieve(ours.id)
    assert (found.bytes, found.filename) == (len(PDF), theirs.filename)
    assert found.expires_at * 1000 == ours.expires_at
    assert client.files.content(ours.id).read() == PDF
    loaded = download(theirs.id, provider="openai", api_base=lab.openai, api_key=KEY)
    assert loaded.bytes == PDF
    client.files.delete(ours.id)
    delete_file(theirs.id, provider="openai", api_base=lab.openai, api_key=KEY)
    assert lab.files == {}


def test_anthropic(lab: FileLab, path: Path) -> None:
    anthropic = pytest.importorskip("anthropic")
    client = anthropic.Anthropic(base_url=lab.anthropic, api_key=KEY)
    ours = upload(path, provider="anthropic", expires_in=7200, api_base=lab.url, api_key=KEY)
    theirs = client.files.upload(file=path, expires_in_seconds=7200)
    assert lab.shapes[0] == lab.shapes[1]
    found = client.files.retrieve_metadata(ours.id)
    assert (found.size_bytes, found.mime_type) == (len(PDF), "application/pdf")
    assert round(found.expires_at.timestamp() * 1000) == ours.expires_at
    assert client.files.download(ours.id).read() == PDF
    loaded = download(theirs.id, provider="anthropic", api_base=lab.url, api_key=KEY)
    assert (loaded.bytes, loaded.mime_type) == (PDF, "application/pdf")
    client.files.delete(ours.id)
    delete_file(theirs.id, provider="anthropic", api_base=lab.url, api_key=KEY)
    assert lab.files == {}


def test_gemini(lab: FileLab, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(PDF)
    genai = pytest.importorskip("google.genai")
    client = genai.Client(api_key=KEY, http_options={"base_url": lab.url, "api_version": "v1beta"})
    lab.polls = 2
    ours = upload(path, provider="google", api_base=lab.gemini, api_key=KEY)
    theirs = client.files.upload(file=path)  # the SDK fails on names that are not ASCII
    assert lab.shapes[0] == lab.shapes[1]
    found = client.files.get(name=ours.id)
    assert (found.state.name, found.uri, found.mime_type) == ("ACTIVE", ours.url, "application/pdf")
    assert abs(found.expiration_time.timestamp() * 1000 - (ours.expires_at or 0)) <= 1
    client.files.delete(name=ours.id)
    delete_file(theirs.name, provider="google", api_base=lab.gemini, api_key=KEY)
    assert lab.files == {}
