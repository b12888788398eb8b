"""Test `create_cached_content` and `delete_cached_content` with a server on loopback."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import (
    CachedContent,
    PipyError,
    Tool,
    acreate_cached_content,
    adelete_cached_content,
    complete,
    create_cached_content,
    ctx,
    delete_cached_content,
    user,
)

from .support.scripted_server import Lab, Status, sse

MODEL = "google/gemini-2.5-flash"
CREATED = {
    "name": "cachedContents/abc", "model": "models/gemini-2.5-flash",
    "expireTime": "2026-11-30T13:00:00Z", "usageMetadata": {"totalTokenCount": 90_000},
}  # fmt: skip


def options(lab: Lab) -> dict[str, Any]:
    return {"api_key": "the-key", "api_base": f"{lab.url.removesuffix('/v1')}/v1beta"}


def test_content_is_created_used_and_deleted(lab: Lab, july: Any) -> None:
    parts = {"role": "model", "parts": [{"text": "Ahab."}]}
    usage = {
        "promptTokenCount": 90_012, "cachedContentTokenCount": 90_000, "candidatesTokenCount": 2,
    }  # fmt: skip
    answer = {"candidates": [{"content": parts, "finishReason": "STOP"}], "usageMetadata": usage}
    lab.play(Status(200, json.dumps(CREATED)), sse(answer), Status(200, "{}"))
    context = ctx(user("Read this."), system="Call me Ishmael.", tools=[Tool(name="look")])
    cached = create_cached_content(MODEL, context, ttl=7200, name="a book", **options(lab))
    assert cached == CachedContent(
        "cachedContents/abc", MODEL, 90_000, "2026-11-30T13:00:00Z",
        creation_cost=pytest.approx(90_000 * 0.3 / 1e6),
        storage_cost=pytest.approx(90_000 * 1 / 1e6 * 2),
    )  # fmt: skip
    sent = lab.seen[0]
    assert (sent.method, sent.path) == ("POST", "/v1beta/cachedContents")
    assert sent.headers["x-goog-api-key"] == "the-key"
    assert sent.json == {
        "model": "models/gemini-2.5-flash", "ttl": "7200s", "displayName": "a book",
        "contents": [{"role": "user", "parts": [{"text": "Read this."}]}],
        "systemInstruction": {"parts": [{"text": "Call me Ishmael."}]},
        "tools": sent.json["tools"],
    }  # fmt: skip
    assert sent.json["tools"][0]["functionDeclarations"][0]["name"] == "look"
    message = complete(cached.model, "Who?", extra=cached.extra, **options(lab))
    assert lab.seen[1].json["cachedContent"] == "cachedContents/abc"
    assert (message.usage.input, message.usage.cache_read) == (12, 90_000)
    delete_cached_content(cached, **options(lab))
    assert (lab.seen[2].method, lab.seen[2].path) == ("DELETE", "/v1beta/cachedContents/abc")


async def test_system_prompt_alone(lab: Lab, july: Any) -> None:
    lab.play(Status(200, json.dumps({"name": "cachedContents/abc"})), Status(200, "{}"))
    cached = await acreate_cached_content(MODEL, ctx(system="A book."), **options(lab))
    assert sorted(lab.seen[0].json) == ["model", "systemInstruction", "ttl"]
    assert (cached.tokens, cached.creation_cost, cached.storage_cost) == (None, None, None)
    await adelete_cached_content("cachedContents/abc", **options(lab))
    assert lab.seen[1].path == "/v1beta/cachedContents/abc"


def test_content_that_is_rejected(lab: Lab, july: Any) -> None:
    text = "Cached content is too small. total_token_count=9, min_total_token_count=1024"
    error = {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}
    lab.play(Status(400, json.dumps({"error": error})))
    with pytest.raises(PipyError, match="too small"):
        create_cached_content(MODEL, "short", **options(lab))
    assert len(lab.seen) == 1


def test_lost_response_is_not_repeated(lab: Lab, july: Any) -> None:
    """It would be stored, and paid for, twice."""
    lab.play(Status(500, "{}"))
    with pytest.raises(PipyError):
        create_cached_content(MODEL, "long", **options(lab))
    assert len(lab.seen) == 1


def test_wrong_arguments(july: Any) -> None:
    with pytest.raises(ValueError, match="ttl must be greater than 0"):
        create_cached_content(MODEL, "a book", ttl=0)
    with pytest.raises(PipyError, match="only models of google have cached contents"):
        create_cached_content("openai/gpt-5", "a book", api_key="k")
    with pytest.raises(PipyError, match=r"GEMINI_API_KEY|GOOGLE_"):
        create_cached_content(MODEL, "a book")
    for name in ("abc", "files/abc", "cachedContents/../x", "cachedContents/"):
        with pytest.raises(ValueError, match="invalid name"):
            delete_cached_content(name, api_key="k")
