"""Test the Responses wire."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pipy_ai import (
    complete,
    preview,
)
from pipy_ai._requests import build_request
from pipy_ai.provider.select import provider_for

from ..support.scripted_server import Lab, Pause

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def test_encrypted_reasoning_is_requested_from_reasoning_models_only(july: Any) -> None:
    """OpenAI: "Encrypted content is not supported with this model"."""
    assert "include" not in preview("openai/responses/gpt-4o", "q").body
    for model in ("openai/gpt-5.4", "openai/responses/o3", "openai/responses/new"):
        assert preview(model, "q").body["include"] == ["reasoning.encrypted_content"]


def test_unstreamed_response_has_a_longer_idle_timeout(lab: Lab, july: Any) -> None:
    """GPT-5 Pro does not stream, and thinks for longer than a stream may be silent."""
    said = {"type": "message", "content": [{"type": "output_text", "text": "late"}]}
    lab.play([json.dumps({"status": "completed", "output": [said]}).encode()])
    request = build_request("openai/gpt-5-pro", "q", None, {"api_base": lab.url, "api_key": "k"})

    async def answer() -> None:
        async for _ in provider_for(request).stream(request):
            pass

    asyncio.run(answer())
    assert request.options.idle_timeout == 1800
    lab.play([Pause()])
    message = complete(
        "openai/gpt-5-pro", "q", api_base=lab.url, api_key="k", idle_timeout=0.2, max_retries=0
    )
    assert message.error is not None
    assert message.error.kind == "timeout"
    lab.go()


def test_chat_options_are_converted(july: Any) -> None:
    shown = preview("openai/gpt-5.4", "q", max_tokens=5, metadata={"user_id": 7, "a": "b"})
    assert shown.body["max_output_tokens"] == 16  # the least that OpenAI takes
    assert [warning.code for warning in shown.warnings] == ["max_tokens_changed"]
    assert shown.body["metadata"] == {"user_id": "7", "a": "b"}  # it takes strings
