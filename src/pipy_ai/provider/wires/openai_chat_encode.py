"""OpenAI Chat Completions, as OpenAI and its many lookalikes take it. Pure.

What hosts do differently is data: `QUIRKS`, by LiteLLM's name of the backend.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...types import AssistantContent, AssistantMessage, Message, ThinkingContent
from ..credentials import uses_default_openai_url
from ..http.client import endpoint_url
from ..prepare import PreparedRequest
from ..request import Request
from ._litellm_proxy import add_thinking_blocks
from ._openai_messages import DEFAULT_BASE_URL, chat_fields, openai_headers


@dataclass(frozen=True, slots=True)
class Quirk:
    """How a host's Chat Completions differ.

    `names` renames fields (to nothing: leaves them out), `choices` the words of `tool_choice`,
    `adds` are fields that the host wants, and `thought` is what stands for the reasoning of a
    turn with calls that has none. `in_turn`: after results the model speaks before the user does.
    """

    names: dict[str, str] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    adds: dict[str, Any] = field(default_factory=dict)
    thought: str | None = None
    in_turn: bool = False


QUIRKS = {
    "cerebras": Quirk(names={"stream_options": ""}),  # these three send usage unasked
    "perplexity": Quirk(names={"stream_options": ""}),
    "mistral": Quirk(
        names={"seed": "random_seed", "stream_options": "", "user": ""},
        choices={"required": "any"},
        in_turn=True,
    ),
    "deepseek": Quirk(thought=""),
    "fireworks_ai": Quirk(choices={"required": "any"}),
    "moonshot": Quirk(choices={"required": "auto"}, thought=" "),
    "openrouter": Quirk(adds={"usage": {"include": True}}),  # what it bills
}

# Backends that are asked without LiteLLM, by its names of them.
BACKENDS = frozenset(
    {
        "cerebras", "dashscope", "deepinfra", "deepseek", "fireworks_ai", "groq", "hosted_vllm",
        "litellm_proxy", "llamafile", "lm_studio", "mistral", "moonshot", "openai", "openrouter",
        "perplexity", "together_ai", "vercel_ai_gateway", "xai", "zai",
    }
)  # fmt: skip
_PLAIN = Quirk()


def encode(
    request: Request, prepared: PreparedRequest
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and body, without the key."""
    fields = chat_fields(request, prepared)
    body = {"model": request.model_id, **fields, **(fields.pop("extra_body", None) or {})}
    body.pop("extra_body", None)
    quirk = QUIRKS.get(request.backend, _PLAIN)
    if request.backend == "openai" and _uses_max_completion_tokens(request):
        body["max_completion_tokens"] = body.pop("max_tokens")
    if request.backend == "openrouter" and "reasoning_effort" in body:
        body["reasoning"] = {"effort": body.pop("reasoning_effort")}
    for name, new_name in quirk.names.items():
        value = body.pop(name, None)
        if new_name and value is not None:
            body[new_name] = value
    _map_tool_choice(request, quirk, body)
    if quirk.thought is not None and (request.record or {}).get("interleaved"):
        for turn in body["messages"]:
            if turn.get("tool_calls"):
                turn.setdefault("reasoning_content", quirk.thought)
    if request.backend == "litellm_proxy":
        _restore_signed_thinking(prepared.messages, body["messages"])
    if quirk.in_turn:
        _fix_turn_order(body["messages"])
    body |= quirk.adds
    base_url = prepared.base_url or _openai_base_url()
    return endpoint_url(base_url, "/chat/completions"), openai_headers(request), body


def _restore_signed_thinking(messages: Sequence[Message], turns: list[dict[str, Any]]) -> None:
    """A proxy takes Claude's signed thinking in LiteLLM's words, as it gave it out."""
    assistant_messages = [message for message in messages if isinstance(message, AssistantMessage)]
    assistant_turns = [turn for turn in turns if turn["role"] == "assistant"]
    for message, turn in zip(assistant_messages, assistant_turns, strict=True):
        if turn.pop("reasoning_details", None) or any(map(_is_signed_thinking, message.content)):
            add_thinking_blocks(message, turn)


def _is_signed_thinking(part: AssistantContent) -> bool:
    return isinstance(part, ThinkingContent) and bool(part.thinking_signature)


def _fix_turn_order(messages: list[dict[str, Any]]) -> None:
    """Mistral refuses a user right after results, and to go on from a turn that is not marked."""
    for index in range(len(messages) - 1, 0, -1):
        if messages[index]["role"] == "user" and messages[index - 1]["role"] == "tool":
            messages.insert(index, {"role": "assistant", "content": "I have read the results."})
    if messages[-1]["role"] == "assistant":
        messages[-1]["prefix"] = True


def _uses_max_completion_tokens(request: Request) -> bool:
    """Whether a model refuses `max_tokens`. OpenAI's own servers take the newer word for all."""
    if request.record is None:
        return uses_default_openai_url(request)
    return request.record.get("reasoning") is True


def _map_tool_choice(request: Request, quirk: Quirk, body: dict[str, Any]) -> None:
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice in quirk.choices:
        body["tool_choice"] = quirk.choices[choice]
        if body["tool_choice"] == "auto":
            text = f'{request.provider} takes no forced call; sent "auto"'
            request.warn("tool_choice_changed", text)


def _openai_base_url() -> str:
    env_base_url = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    return env_base_url or DEFAULT_BASE_URL
