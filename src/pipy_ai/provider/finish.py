"""What the finish reasons of all APIs mean.

Only a reason that an API documents as the end of a complete response is in `COMPLETE` or `LENGTH`.
Reasons are compared in lower case, with `_` for `-`.
"""

from __future__ import annotations

from ..errors import ErrorInfo, ErrorKind, error_info
from .apis import ANTHROPIC, BEDROCK, COHERE_CHAT, GEMINI, OPENAI_RESPONSES
from .request import Request

TOOL_CALLS = frozenset({"function_call", "tool_call", "tool_calls", "tool_use"})
COMPLETE = TOOL_CALLS | {
    "complete",  # Cohere
    "completed",
    "end",  # Ollama, LM Studio (earendil-works/pi#2116)
    "end_turn",
    "eos",  # Together
    "eos_token",  # TGI
    "stop",
    "stop_sequence",
}
LENGTH = frozenset(
    {
        "length",
        "max_completion_tokens",
        "max_context",  # xAI
        "max_len",  # xAI
        "max_output_tokens",
        "max_tokens",
        "model_context_window_exceeded",
        "model_length",  # Mistral
    }
)
_FILTERED = frozenset(
    {
        "blocklist",
        "content_filter",
        "content_filtered",  # Bedrock
        "error_toxic",  # Cohere
        "escalation",
        "guardrail_intervened",  # Bedrock
        "image_prohibited_content",
        "image_recitation",
        "image_safety",
        "jailbreak",
        "language",
        "model_armor",
        "prohibited_content",
        "prompt_blocked",
        "recitation",
        "refusal",
        "safety",
        "sensitive",
        "spii",
    }
)
PAUSED = "pause_turn"  # Anthropic's own tools are still at work; the next request continues
_BROKEN_OFF = "The provider stopped the response early"
_CANCELLED = "The response was cancelled at the provider"
_NOT_STARTED = "The server loaded or unloaded the model, and did not answer"
_UNFINISHED = "The provider has not finished the answer"
# The kind of the error, whether a retry may help, and what happened.
_FAILED: dict[str, tuple[ErrorKind, bool, str]] = {
    "abort": (ErrorKind.INCOMPLETE, True, _BROKEN_OFF),  # vLLM, SGLang
    "aborted": (ErrorKind.INCOMPLETE, True, _BROKEN_OFF),
    "canceled": (ErrorKind.INCOMPLETE, False, _CANCELLED),
    "cancelled": (ErrorKind.INCOMPLETE, False, _CANCELLED),
    "compaction": (
        ErrorKind.INCOMPLETE,
        False,
        "The provider stopped after compacting the conversation, before the answer",
    ),
    "continuation": (
        ErrorKind.INCOMPLETE,
        False,
        "The answer reached the provider's limit for one request; it would continue in another one",
    ),
    "error": (ErrorKind.SERVER, True, _BROKEN_OFF),
    "error_limit": (ErrorKind.INCOMPLETE, False, "The answer reached a limit"),  # Cohere
    "failed": (ErrorKind.SERVER, True, _BROKEN_OFF),
    "in_progress": (ErrorKind.INCOMPLETE, False, _UNFINISHED),
    "incomplete": (ErrorKind.INCOMPLETE, False, _UNFINISHED),
    "insufficient_system_resource": (ErrorKind.SERVER, True, _BROKEN_OFF),  # DeepSeek
    "load": (ErrorKind.INCOMPLETE, False, _NOT_STARTED),  # Ollama
    "malformed_function_call": (ErrorKind.SERVER, False, _BROKEN_OFF),
    "malformed_model_output": (ErrorKind.SERVER, True, _BROKEN_OFF),  # Bedrock
    "malformed_response": (ErrorKind.SERVER, False, _BROKEN_OFF),
    "malformed_tool_use": (ErrorKind.SERVER, True, _BROKEN_OFF),  # Bedrock
    "mcp_approval_request": (
        ErrorKind.INCOMPLETE,
        False,
        "The provider waits for approval of a call to an MCP server, which pipy-ai cannot give; "
        'set its require_approval to "never"',
    ),
    "missing_thought_signature": (ErrorKind.SERVER, False, _BROKEN_OFF),
    "network_error": (ErrorKind.SERVER, True, _BROKEN_OFF),  # Z.ai
    PAUSED: (
        ErrorKind.INCOMPLETE,
        False,
        "The provider repeatedly paused the answer while its own tools ran",
    ),
    "pup_limited_disabled": (
        ErrorKind.AUTH,
        False,
        "The account is restricted for violating the provider's usage policy",
    ),
    "queued": (ErrorKind.INCOMPLETE, False, _UNFINISHED),
    "time_limit": (ErrorKind.TIMEOUT, True, _BROKEN_OFF),  # xAI
    "timeout": (ErrorKind.TIMEOUT, True, _BROKEN_OFF),  # Cohere
    "too_many_tool_calls": (ErrorKind.SERVER, False, _BROKEN_OFF),
    "unexpected_tool_call": (ErrorKind.SERVER, False, _BROKEN_OFF),
    "unload": (ErrorKind.INCOMPLETE, False, _NOT_STARTED),  # Ollama
    "user_cancel": (ErrorKind.INCOMPLETE, False, _CANCELLED),  # Cohere
}
# Google's reasons for an unexplained end. Other APIs do not use these names.
_UNEXPLAINED = frozenset({"image_other", "no_image", "other"})
# Their vendors document every reason. Other Chat Completions hosts use their own names.
FIRST_PARTY_APIS = frozenset({ANTHROPIC, BEDROCK, COHERE_CHAT, GEMINI, OPENAI_RESPONSES})


def normalize(reason: str | None) -> str:
    """Return a finish reason in the spelling of the tables, without a colon and what follows it."""
    return (reason or "").partition(":")[0].lower().replace("-", "_")


def is_first_party_chat(request: Request) -> bool:
    """Return whether a request goes to a vendor that documents the reasons of Chat Completions."""
    if request.provider == "openai":  # with another base URL, this may be any compatible server
        return request.record is not None or not request.options.api_base
    return request.provider.partition("-")[0] == "azure"


def finish_error(reason: str, provider: str, first_party: bool) -> ErrorInfo | None:
    """Return the error that a finish reason stands for; None: the response is complete.

    An unknown reason is an error if `first_party` is true, because the API documents all of
    them. On other hosts it usually means that the answer is complete.
    """
    name = normalize(reason)
    if not name or name in COMPLETE or name in LENGTH:
        return None
    if name in _FILTERED:
        summary = (
            "The model refused to answer."
            if name == "refusal"
            else f"The provider withheld the answer ({reason})."
        )
        text = f"{summary} Rephrase the request."
        return error_info(ErrorKind.CONTENT_FILTER, text, provider=provider)
    kind, retryable, text = _FAILED.get(name, (ErrorKind.INCOMPLETE, False, ""))
    if name in _UNEXPLAINED and first_party:
        kind, text = ErrorKind.SERVER, _BROKEN_OFF
    if not text:
        if not first_party:
            return None
        text = "The provider ended the response for an unknown reason"
    return error_info(kind, f"{text} ({reason}).", provider=provider, retryable=retryable)
