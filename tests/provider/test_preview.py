"""Test `preview`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import Tool, assistant, complete, ctx, preview, user
from pipy_ai.cli.main import main
from pipy_ai.errors import BadRequestError
from pipy_ai.provider.profiles import BACKENDS

from ..support.scripted_server import Lab
from ..support.wire_formats import WIRES, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # LiteLLM's own clients
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


OWN = {"hosted_vllm", "litellm_proxy"}  # servers of one's own: they want an api_base
TOOL = Tool(name="f", description="d")


def test_preview_shows_the_request_and_masks_the_key(lab: Lab) -> None:
    key = "sk-very-secret-0123456789"
    context = ctx("q", system="s", tools=[TOOL])
    for wire in WIRES:
        options: dict[str, Any] = {
            "api_base": wire.base(lab), "api_key": key, "reasoning": "max", "top_p": None
        }  # fmt: skip
        shown = preview(wire.model, context, **options)
        assert lab.seen == []
        assert key not in repr(shown)
        lab.play(wire.scene(say("ok")))
        message = complete(wire.model, context, **options)
        sent = lab.seen.pop()
        assert shown.method == "POST"
        assert sent.target in shown.url
        assert shown.body == sent.json
        assert list(shown.warnings) == message.warnings


@pytest.mark.parametrize(
    "provider", sorted(name for name, backend in BACKENDS.items() if backend.captured)
)
def test_preview_needs_no_key_and_no_network(provider: str) -> None:
    base = "http://127.0.0.1:9/v1" if provider in OWN else None
    shown = preview(f"{provider}/some-model", "q", api_base=base, cache_retention="none")
    assert shown.url.startswith(base or "https://")
    if provider == "gemini":
        assert shown.body["contents"] == [{"role": "user", "parts": [{"text": "q"}]}]
        return
    said = shown.body["messages"][-1]["content"]
    assert said in ("q", [{"type": "text", "text": "q"}])
    assert shown.body["stream"] is True


def test_unsupported_preview() -> None:
    assert preview("watsonx/m", "q", api_key="k").url == ""
    with pytest.raises(ValueError, match="does not support preview"):
        preview("faux/m", "q")
    with pytest.raises(BadRequestError):
        preview("watsonx/m", "q", transport="direct")


TRANSPORTS = ["direct", "litellm"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_preview_of_a_url_with_a_query_sends_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    if transport == "litellm":
        monkeypatch.setenv("PIPY_TRANSPORT", "litellm")
    base = f"{lab.url}?tenant=1"
    shown = preview("hosted_vllm/m", "hi", api_base=base, api_key="key-0123456789")
    assert lab.seen == []
    assert "key-0123456789" not in repr(shown)
    message = complete("hosted_vllm/m", "hi", api_base=base)
    if transport == "direct":
        assert shown.url == f"{lab.url}/chat/completions?tenant=1"
        assert message.text == "ok"
    else:  # LiteLLM makes no address of it
        assert message.error is not None
        assert message.error.kind == "bad_request"
    lab.seen.clear()
    message = complete("hosted_vllm/m", "hi", api_base=lab.url)
    assert message.error is None, message.error
    assert (message.api, message.text) == ("openai-completions", "ok")
    assert len(lab.seen) == 1


LONG = "Call me Ishmael. " * 400  # about 1,950 tokens


def test_cached_parts(july: Any) -> None:
    def cached(model: str, system: str = LONG, **options: Any) -> str:
        context = ctx(user("q"), assistant("a"), user("r"), system=system, tools=[TOOL])
        return preview(model, context, api_key="k" * 20, **options).cached

    claude = "anthropic/claude-sonnet-4-5"
    expected = "tools, system prompt, 3 of 3 messages; about 1,948 tokens, for 5 minutes"
    assert cached(claude) == expected
    assert cached(claude, cache_retention="long") == expected.replace("5 minutes", "1 hour")
    assert cached(claude, cache_retention="none") == ""
    assert cached(claude, system="Be brief.") == (
        "nothing: about 8 tokens are marked, and providers cache only 1,024 or more"
    )
    assert cached("openrouter/anthropic/claude-sonnet-4.5").startswith("tools, 4 of 4 messages;")
    shared = "the beginning that requests share, if it has at least 1,024 tokens, for "
    assert cached("openai/gpt-5", session_id="s") == f"{shared}a few minutes"
    assert cached("openai/gpt-5", cache_retention="long") == f"{shared}24 hours"
    assert cached("openai/gpt-5.6", cache_retention="long") == f"{shared}30 minutes"
    assert cached("openai/gpt-5.6", cache_retention="none") == "nothing"
    assert cached("openai/gpt-5") == ""
    extra = {"cachedContent": "cachedContents/abc"}
    assert cached("google/gemini-2.5-pro", extra=extra).startswith("cachedContents/abc")


def test_cached_parts_of_converse(july: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    shown = preview("amazon-bedrock/amazon.nova-pro-v1:0", ctx("q", system=LONG))
    assert shown.cached.startswith("system prompt, 1 of 1 message; about 1,9")


def test_command_shows_what_is_cached(july: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["preview", "-m", "anthropic/claude-sonnet-4-5", "-s", LONG, "Hi"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.endswith(
        "\nCached: system prompt, 1 of 1 message; about 1,944 tokens, for 5 minutes\n"
    )
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cached"].startswith("system prompt")
