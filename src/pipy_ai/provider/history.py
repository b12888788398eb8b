"""Handing a conversation over: the same messages, made acceptable to the model that comes next.

Pure: new messages come out, the caller's are not touched, and the same conversation gives the
same bytes again, which prompt caches depend on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..types import (
    AssistantContent,
    AssistantMessage,
    DocumentContent,
    Message,
    StopReason,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultContent,
    ToolResultMessage,
    UserContent,
    UserMessage,
)
from ..utils.unicode import clean_json, clean_surrogates

NO_RESULT = "No result provided"
NO_OUTPUT = "(no tool output)"
NO_IMAGE = "(image omitted: the model does not take images)"
NO_DOCUMENT = "(document omitted: the model does not take PDFs)"

_LEGAL_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_OWN_ID = re.compile(r"[!-~]{1,64}")  # what a provider gives out, it takes back, within reason


@dataclass(frozen=True, slots=True)
class Target:
    """Who a conversation is handed to.

    `api` may be empty where the wire is not known beforehand. `vision` (images) and `documents`
    (PDFs) None is unknown: they are sent. `signed_thinking` says that the wire takes signed
    thinking of its own back, `plain_thinking` that the host takes unsigned thinking.
    """

    provider: str
    model: str
    api: str = ""
    vision: bool | None = None
    documents: bool | None = None
    signed_thinking: bool = True
    plain_thinking: bool = False
    thinking: Literal["drop", "text"] = "drop"

    def wrote(self, message: AssistantMessage) -> bool:
        """Whether `message` is this very model's own, said over the same wire."""
        return (
            message.provider == self.provider
            and message.model == self.model
            and (not self.api or message.api in ("", self.api))
        )


class _Turn:
    """An assistant message and the results of its calls, in the order of the calls."""

    def __init__(self, message: AssistantMessage, calls: list[ToolCall]) -> None:
        self.message = message
        self.calls = calls
        self.results: list[ToolResultMessage | None] = [None] * len(calls)


def hand_over(
    messages: Sequence[Message], target: Target, warn: Callable[[str, str], None]
) -> list[Message]:
    """`messages` as `target` will take them.

    - Thinking goes back to the model that it came from, with its signature; others do not get it.
    - Turns that failed are left out; one that was aborted keeps its text.
    - Every call has exactly one result right after it; a result without a call is left out.
    - Ids of calls are legal, and different calls have different ids.
    - Empty messages are left out, images and documents are named to models that take none.
    """
    order: list[UserMessage | _Turn] = []
    waiting: dict[str, list[tuple[_Turn, int]]] = {}
    for message in messages:
        if isinstance(message, UserMessage):
            content = _user(message, target, warn)
            if content is not None:
                order.append(content)
        elif isinstance(message, AssistantMessage):
            turn = _assistant(message, target)
            if turn is not None:
                order.append(turn)
                for place, call in enumerate(turn.calls):
                    waiting.setdefault(call.id, []).append((turn, place))
        elif open_calls := waiting.get(message.tool_call_id):
            turn, place = open_calls.pop()
            turn.results[place] = message
        # else: a second result, or one whose call is not replayed
    ids = _Ids(target)
    out: list[Message] = []
    for entry in order:
        if isinstance(entry, UserMessage):
            out.append(entry)
            continue
        renamed = ids.rename(entry, target.wrote(entry.message))
        if entry.message.content:
            out.append(entry.message)
        for call, result in zip(renamed, entry.results, strict=True):
            out.append(_result(call, result, target, warn))
    return out


def _user(
    message: UserMessage, target: Target, warn: Callable[[str, str], None]
) -> UserMessage | None:
    if isinstance(message.content, str):
        text = clean_surrogates(message.content)
        return message.model_copy(update={"content": text}) if text.strip() else None
    parts = _seen(message.content, target, warn)
    return UserMessage(content=list(parts), timestamp=message.timestamp) if parts else None


def _seen(
    content: Sequence[UserContent],
    target: Target,
    warn: Callable[[str, str], None],
) -> list[UserContent]:
    """Parts that say something; one placeholder for each run of images, or of documents, that
    cannot be read."""
    parts: list[UserContent] = []
    for part in content:
        if isinstance(part, TextContent):
            if part.text.strip():
                parts.append(TextContent(text=clean_surrogates(part.text)))
        elif isinstance(part, DocumentContent):
            name = clean_surrogates(part.name) if part.name else None
            if target.documents is False:
                what = name or "one"
                warn("document_omitted", f"{target.model} does not take PDFs; {what} was left out")
                _say_once(NO_DOCUMENT, parts)
            else:
                parts.append(part if name == part.name else part.model_copy(update={"name": name}))
        elif target.vision is False:
            warn("image_omitted", f"{target.model} does not take images; one was left out")
            _say_once(NO_IMAGE, parts)
        else:
            parts.append(part)
    return parts


def _say_once(text: str, parts: list[UserContent]) -> None:
    if not (parts and isinstance(parts[-1], TextContent) and parts[-1].text == text):
        parts.append(TextContent(text=text))


def _assistant(message: AssistantMessage, target: Target) -> _Turn | None:
    aborted = message.stop_reason is StopReason.ABORTED
    if (message.error is not None or message.stop_reason is StopReason.ERROR) and not aborted:
        return None
    own = target.wrote(message) and not aborted
    content: list[AssistantContent] = []
    calls: list[ToolCall] = []
    for part in message.content:
        if isinstance(part, TextContent):
            if part.text.strip():
                signature = part.text_signature if own else None
                text = clean_surrogates(part.text)
                content.append(TextContent(text=text, text_signature=signature))
        elif isinstance(part, ThinkingContent):
            kept = _thinking(part, target, own, aborted)
            if kept is not None:
                content.append(kept)
        elif not aborted:
            call = ToolCall(
                id=part.id,
                name=clean_surrogates(part.name),
                arguments=clean_json(part.arguments),
                thought_signature=part.thought_signature if own else None,
            )
            calls.append(call)
            content.append(call)
    while target.api and content and isinstance(content[-1], ThinkingContent):
        content.pop()  # neither Anthropic nor OpenAI takes a turn that ends in a thought
    if all(isinstance(part, ThinkingContent) for part in content):
        return None  # a thought without a word after it is taken back by nobody
    turn = message.model_copy(update={"content": content, "error": None, "error_message": None})
    return _Turn(turn, calls)


def _thinking(
    part: ThinkingContent, target: Target, own: bool, aborted: bool
) -> TextContent | ThinkingContent | None:
    signed = target.signed_thinking and part.thinking_signature
    if own and (signed or (target.plain_thinking and part.thinking.strip())):
        return part.model_copy(update={"thinking": clean_surrogates(part.thinking)})
    if target.thinking == "text" and not own and not aborted and part.thinking.strip():
        return TextContent(text=clean_surrogates(part.thinking))
    return None


def _result(
    call: ToolCall,
    result: ToolResultMessage | None,
    target: Target,
    warn: Callable[[str, str], None],
) -> ToolResultMessage:
    if result is None:
        content: list[ToolResultContent] = [TextContent(text=NO_RESULT)]
        return ToolResultMessage(
            tool_call_id=call.id, tool_name=call.name, content=content, is_error=True, timestamp=0
        )
    content = _seen(result.content, target, warn) or [TextContent(text=NO_OUTPUT)]
    return ToolResultMessage(
        tool_call_id=call.id,
        tool_name=call.name or result.tool_name,
        content=content,
        is_error=result.is_error,
        timestamp=result.timestamp,
    )


class _Ids:
    """Gives every call of a conversation an id that is legal for the target and nobody else's.

    The same conversation always gets the same ids, however it grows at its end.
    """

    def __init__(self, target: Target) -> None:
        self._nine = target.provider == "mistral"  # exactly nine letters and digits
        self._used: set[str] = set()

    def rename(self, turn: _Turn, own: bool) -> list[ToolCall]:
        """The turn's calls under their new ids, in the turn's message, too."""
        renamed: dict[int, ToolCall] = {}
        for call in turn.calls:
            identity = self._legal(call.id, own)
            self._used.add(identity)
            renamed[id(call)] = call.model_copy(update={"id": identity})
        turn.message.content = [renamed.get(id(part), part) for part in turn.message.content]
        return [renamed[id(call)] for call in turn.calls]

    def _legal(self, identity: str, own: bool) -> str:
        legal = _OWN_ID.fullmatch(identity) if own else self._is_legal(identity)
        if legal and identity not in self._used:
            return identity
        for attempt in range(1_000_000):
            seed = json.dumps([identity, attempt]).encode()
            digest = hashlib.sha256(seed).hexdigest()
            candidate = digest[:9] if self._nine else f"call_{digest[:24]}"
            if candidate not in self._used:
                return candidate
        raise AssertionError("a million calls of one id")

    def _is_legal(self, identity: str) -> bool:
        if self._nine:
            return len(identity) == 9 and identity.isascii() and identity.isalnum()
        return _LEGAL_ID.fullmatch(identity) is not None
