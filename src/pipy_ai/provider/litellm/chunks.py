"""Decode LiteLLM's stream chunks with the decoder of Chat Completions, whose fields they have."""

from __future__ import annotations

from typing import Any

from ...errors import ErrorKind, ProviderError, error_info
from ..deltas import Delta, UsageReport
from ..wires._fields import content_text
from ..wires._parsing import MALFORMED, MalformedResponseError, error_from_payload
from ..wires.openai_chat import OpenAIChatDecoder

_SIGNATURE_SEPARATOR = "__thought__"  # LiteLLM appends Gemini's signature to the id of a call


class ChunkDecoder:
    """Decodes the chunks of one LiteLLM stream.

    Finish reason and usage are collected separately, because LiteLLM may have invented them.
    """

    def __init__(self, backend: str, reports_cost: bool = False) -> None:
        self.finish_reason: str | None = None
        self.usage: list[Delta] = []
        self._backend = backend
        self._reports_cost = reports_cost
        self._service_tier: str | None = None
        self._decoder = OpenAIChatDecoder()

    def decode(self, chunk: Any) -> list[Delta]:
        """Return the deltas of a `ModelResponseStream` without finish reason and usage.

        Raises:
            MalformedResponseError: A field has the wrong type.
        """
        # Much faster than reading attributes, many of them missing. Wrong types are found below.
        fields = chunk.model_dump(warnings=False)
        try:
            return self._decode_fields(chunk, fields)
        except MALFORMED:
            raise MalformedResponseError(str(fields.get("choices"))) from None

    def _decode_fields(self, chunk: Any, fields: dict[str, Any]) -> list[Delta]:
        choices = fields.get("choices") or ()
        delta: dict[str, Any] = {}
        if choices:  # requests have a single choice
            delta = choices[0].get("delta") or {}
            self.finish_reason = self.finish_reason or content_text(choices[0].get("finish_reason"))
        for call in delta.get("tool_calls") or ():
            _extract_signature(call)
        hidden = getattr(chunk, "_hidden_params", None) or {}
        traffic_type = (hidden.get("provider_specific_fields") or {}).get("traffic_type")  # Vertex
        self._service_tier = fields.get("service_tier") or traffic_type or self._service_tier
        if fields.get("usage"):
            self.usage += self._decode_usage(fields["usage"])
        fields = {"id": fields.get("id"), "model": fields.get("model")}
        deltas: list[Delta] = []
        self._decoder.decode_chunk({**fields, "choices": [{"delta": delta}]}, deltas)
        return deltas

    def _decode_usage(self, usage: dict[str, Any]) -> list[Delta]:
        if self._backend != "openrouter":
            usage["cost"] = None  # LiteLLM's own estimate
        searches = (usage.get("prompt_tokens_details") or {}).get("web_search_requests")
        if searches and self._backend in ("gemini", "vertex_ai"):
            usage["server_tool_use"] = {"google_search_requests": searches}
        chunk = {"usage": usage, "service_tier": self._service_tier}
        deltas: list[Delta] = []
        OpenAIChatDecoder().decode_chunk(chunk, deltas)
        if not self._reports_cost:
            for delta in deltas:
                if isinstance(delta, UsageReport):
                    delta.cost = None
        return deltas


def finish_text(reason: Any) -> str:
    """Return a finish reason.

    Raises:
        MalformedResponseError: it is not text.
    """
    if not isinstance(reason, str):
        raise MalformedResponseError(f"finish_reason: {reason}")
    return reason


def read_error(error: Exception) -> Exception:
    """Return the error of a stream that LiteLLM reads.

    LiteLLM calls it a broken connection if the provider reports an error inside the stream, or
    sends something that cannot be read.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ProviderError | OSError):
        body = getattr(cause, "body", None)
        if type(cause).__name__ == "APIError" and body is not None:
            return error_from_payload(body)  # the OpenAI SDK read an `error`
        is_malformed = isinstance(cause, MALFORMED) and type(cause) is not ValueError
        if is_malformed or type(cause).__name__ == "DecodingError":  # of httpx: not gzip
            text = "The provider sent a response that LiteLLM cannot read. Try again."
            return ProviderError(error_info(ErrorKind.SERVER, text))
        cause = getattr(cause, "original_exception", None) or cause.__cause__ or cause.__context__
    return error


def _extract_signature(call: dict[str, Any]) -> None:
    """Move Gemini's signature from the id of a call to the field that Google uses."""
    call_id, separator, signature = str(call.get("id") or "").partition(_SIGNATURE_SEPARATOR)
    if separator:
        call["id"] = call_id
        call["extra_content"] = {"google": {"thought_signature": signature}}
