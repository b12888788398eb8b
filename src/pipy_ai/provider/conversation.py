"""Adapt a conversation to the model that continues it.

Pure: the caller's messages are not changed, and the same conversation always gives the same
result, which prompt caches depend on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, assert_never

from ..types import (
    AssistantContent,
    AssistantMessage,
    AudioContent,
    DocumentContent,
    FileContent,
    ImageContent,
    Message,
    ServerToolCall,
    ServerToolResult,
    StopReason,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultContent,
    ToolResultMessage,
    UserContent,
    UserMessage,
    VideoContent,
)
from ..utils.surrogates import clean_json_surrogates, clean_surrogates
from .content import unreadable_image_type
from .profiles import PORTABLE_IDS, ToolCallIds

MISSING_RESULT_TEXT = "No result provided"
EMPTY_RESULT_TEXT = "(no tool output)"
FIRST_USER_TEXT = "(The conversation starts with your message.)"
LAST_USER_TEXT = "Continue."
OMITTED_IMAGE_TEXT = "(image omitted: the model does not take images)"
OMITTED_IMAGE_TYPE_TEXT = "(image omitted: the model does not read its format)"
OMITTED_OWN_IMAGE_TEXT = "(an image that you made)"
OMITTED_MEDIA_TEXT = "({kind} omitted: the model does not take it)"
OMITTED_FILE_TEXT = "(file {name} omitted: it is not available here)"
OMITTED_DOCUMENT_TEXT = "(document omitted: the model does not take PDFs)"

_SAME_MODEL_CALL_ID = re.compile(r"[!-~]{1,64}")  # a provider accepts its own ids


def _no_problem(file: AudioContent | VideoContent | FileContent) -> str:
    return ""


class Target(NamedTuple):
    """The model that a conversation is adapted to.

    Attributes:
        api: the only API whose messages of this model count as its own; empty: any API. Where it
            is set, no turn may end with thinking.
        accepts_images: whether it reads images. None: unknown, images are sent.
        image_types: the types of images that it reads; empty: all.
        accepts_documents: whether it reads PDFs. None: unknown, PDFs are sent.
        media_problem: returns why it cannot read audio or video; empty: it can.
        file_problem: returns why it cannot read a file that is stored at a provider; empty: it can.
        signed_thinking: accepts its own signed thinking of earlier turns.
        unsigned_thinking: accepts its own unsigned thinking of earlier turns.
        handoff_thinking: what happens to thinking of other models.
        tool_call_ids: the ids that it accepts.
        signed_empty_text: text parts without text may carry a signature.
        starts_with_user: the first message must be the user's.
        prefill: accepts a final assistant message.
        raw_api: the API whose calls of the provider's tools, images and audio are sent back as they
            came; empty: none.
        raw_with_thinking: accepts calls of the provider's tools only with the thinking that led to
            them, which only its own model accepts.
    """

    provider: str
    model: str
    api: str = ""
    accepts_images: bool | None = None
    image_types: frozenset[str] = frozenset()
    accepts_documents: bool | None = None
    media_problem: Callable[[AudioContent | VideoContent], str] = _no_problem
    file_problem: Callable[[FileContent], str] = _no_problem
    signed_thinking: bool = True
    unsigned_thinking: bool = False
    handoff_thinking: Literal["drop", "text"] = "drop"
    tool_call_ids: ToolCallIds = PORTABLE_IDS
    signed_empty_text: bool = False
    starts_with_user: bool = False
    prefill: bool = True
    raw_api: str = ""
    raw_with_thinking: bool = False

    def accepts_raw(self, message: AssistantMessage) -> bool:
        """Return whether what the provider sent in `message` can be sent back as it came."""
        return (
            bool(self.raw_api)
            and message.provider == self.provider
            and message.api in ("", self.raw_api)
        )

    def accepts_raw_part(
        self,
        part: ServerToolCall | ServerToolResult | ImageContent | AudioContent,
        message: AssistantMessage,
    ) -> bool:
        """Return whether a part of `message` can be sent back as it came."""
        if not (part.raw and self.accepts_raw(message)):
            return False
        if isinstance(part, ImageContent | AudioContent):
            return not (isinstance(part, ImageContent) and self.accepts_images is False)
        return (
            not self.raw_with_thinking
            or self.is_author_of(message)
            or not any(isinstance(other, ThinkingContent) for other in message.content)
        )

    def is_author_of(self, message: AssistantMessage) -> bool:
        """Return whether the target model itself wrote `message`, over the same API."""
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


def adapt_messages(
    messages: Sequence[Message], target: Target, warn: Callable[[str, str], None]
) -> list[Message]:
    """Return `messages` as `target` accepts them.

    - Thinking is only sent to the model that produced it, with its signature.
    - Failed turns are left out; an aborted one keeps its text.
    - Every call has exactly one result directly after it; a result without a call is left out.
    - Tool-call ids are valid, and different calls have different ids.
    - A user message is added if the model requires one first or last.
    - Empty messages are left out. Images, documents, audio and video become a placeholder for
      models that cannot read them.
    """
    entries: list[UserMessage | _Turn] = []
    calls_awaiting_result: dict[str, list[tuple[_Turn, int]]] = {}
    for message in messages:
        match message:
            case UserMessage():
                user_message = _adapt_user_message(message, target, warn)
                if user_message is not None:
                    entries.append(user_message)
            case AssistantMessage():
                turn = _adapt_assistant_message(message, target, warn)
                if turn is not None:
                    entries.append(turn)
                    for call_index, call in enumerate(turn.calls):
                        calls_awaiting_result.setdefault(call.id, []).append((turn, call_index))
            case ToolResultMessage():
                # A second result, or one whose call is not replayed, is left out.
                if open_calls := calls_awaiting_result.get(message.tool_call_id):
                    turn, call_index = open_calls.pop()
                    turn.results[call_index] = message
            case _:
                assert_never(message)
    id_mapper = _CallIdMapper(target)
    adapted: list[Message] = []
    for entry in entries:
        if isinstance(entry, UserMessage):
            adapted.append(entry)
            continue
        renamed_calls = id_mapper.assign_ids(entry, target.is_author_of(entry.message))
        if entry.message.content:
            adapted.append(entry.message)
        for call, result in zip(renamed_calls, entry.results, strict=True):
            adapted.append(_adapt_result(call, result, target, warn))
    return _add_user_turns(adapted, target, warn)


def _add_user_turns(
    messages: list[Message], target: Target, warn: Callable[[str, str], None]
) -> list[Message]:
    """Add the user messages that the target requires at the start and at the end."""
    if messages and target.starts_with_user and not isinstance(messages[0], UserMessage):
        warn("message_added", f"{target.model} requires a user message first; one was added")
        messages.insert(0, UserMessage(content=FIRST_USER_TEXT, timestamp=0))
    if messages and not target.prefill and isinstance(messages[-1], AssistantMessage):
        warn("message_added", f"{target.model} requires a user message last; one was added")
        messages.append(UserMessage(content=LAST_USER_TEXT, timestamp=0))
    return messages


def _adapt_user_message(
    message: UserMessage, target: Target, warn: Callable[[str, str], None]
) -> UserMessage | None:
    if isinstance(message.content, str):
        text = clean_surrogates(message.content)
        return message.model_copy(update={"content": text}) if text.strip() else None
    parts = _adapt_parts(message.content, target, warn)
    return UserMessage(content=list(parts), timestamp=message.timestamp) if parts else None


def _adapt_parts(
    content: Sequence[UserContent],
    target: Target,
    warn: Callable[[str, str], None],
) -> list[UserContent]:
    """Return the parts that are not empty.

    Each run of files of one kind that the model cannot read becomes one placeholder. Of audio with
    a transcript, that is left.
    """
    parts: list[UserContent] = []
    for part in content:
        match part:
            case TextContent():
                if part.text.strip():
                    parts.append(TextContent(text=clean_surrogates(part.text)))
            case ImageContent() if target.accepts_images is False:
                warn("image_omitted", f"{target.model} does not take images; one was left out")
                _append_placeholder_once(OMITTED_IMAGE_TEXT, parts)
            case DocumentContent() if target.accepts_documents is False:
                label = clean_surrogates(part.name) if part.name else "one"
                warn("document_omitted", f"{target.model} does not take PDFs; {label} was left out")
                _append_placeholder_once(OMITTED_DOCUMENT_TEXT, parts)
            case DocumentContent():
                name = clean_surrogates(part.name) if part.name else None
                parts.append(part if name == part.name else part.model_copy(update={"name": name}))
            case ImageContent():
                unreadable = target.image_types and unreadable_image_type(part, target.image_types)
                if unreadable:
                    text = f"{target.model} does not read {unreadable} images; one was left out"
                    warn("image_omitted", text)
                    _append_placeholder_once(OMITTED_IMAGE_TYPE_TEXT, parts)
                else:
                    parts.append(part)
            case AudioContent() | VideoContent():
                if problem := target.media_problem(part):
                    warn(f"{part.type}_omitted", f"{problem}; one was left out")
                    text = part.transcript if isinstance(part, AudioContent) else ""
                    text = clean_surrogates(text) or OMITTED_MEDIA_TEXT.format(kind=part.type)
                    _append_placeholder_once(text, parts)
                else:
                    parts.append(part)
            case FileContent():
                if problem := target.file_problem(part):
                    warn("file_omitted", f"{problem}; it was left out")
                    name = clean_surrogates(part.name or part.id)
                    _append_placeholder_once(OMITTED_FILE_TEXT.format(name=name), parts)
                else:
                    parts.append(part)
            case _:
                assert_never(part)
    return parts


def _append_placeholder_once(placeholder: str, parts: list[UserContent]) -> None:
    if not (parts and isinstance(parts[-1], TextContent) and parts[-1].text == placeholder):
        parts.append(TextContent(text=placeholder))


def _adapt_assistant_message(
    message: AssistantMessage, target: Target, warn: Callable[[str, str], None]
) -> _Turn | None:
    aborted = message.stop_reason is StopReason.ABORTED
    if (message.error is not None or message.stop_reason is StopReason.ERROR) and not aborted:
        return None
    same_model = target.is_author_of(message) and not aborted
    content: list[AssistantContent] = []
    calls: list[ToolCall] = []
    for part in message.content:
        match part:
            case TextContent():
                signature = part.text_signature if same_model else None
                if part.text.strip() or (signature and target.signed_empty_text):
                    kept = target.accepts_raw(message) and not aborted
                    content.append(
                        TextContent(
                            text=clean_surrogates(part.text),
                            text_signature=signature,
                            citations=part.citations if kept else [],
                        )
                    )
            case ThinkingContent():
                thinking = _adapt_thinking(part, target, same_model, aborted)
                if thinking is not None:
                    content.append(thinking)
            case ToolCall():
                if not aborted:
                    call = ToolCall(
                        id=part.id,
                        name=clean_surrogates(part.name),
                        arguments=clean_json_surrogates(part.arguments),
                        thought_signature=part.thought_signature if same_model else None,
                    )
                    calls.append(call)
                    content.append(call)
            case ServerToolCall() | ServerToolResult() | ImageContent() | AudioContent():
                if target.accepts_raw_part(part, message) and not aborted:
                    content.append(part)
                elif text := _replacement_text(part, target, warn):
                    content.append(TextContent(text=clean_surrogates(text)))
            case _:
                assert_never(part)
    if not target.accepts_raw(message) and (sources := _unlisted_sources(message)):
        warn("server_tool_as_text", f"sources were sent to {target.model} as text")
        last_text = max(n for n, part in enumerate(content) if isinstance(part, TextContent))
        content.insert(last_text + 1, TextContent(text=f"\n\n(sources:\n{sources})"))
    while target.api and content and isinstance(content[-1], ThinkingContent):
        content.pop()  # neither Anthropic nor OpenAI accepts a turn that ends with thinking
    if all(isinstance(part, ThinkingContent) for part in content):
        return None  # no provider accepts a turn with only thinking
    adapted = message.model_copy(update={"content": content, "error": None, "error_message": None})
    return _Turn(adapted, calls)


def _unlisted_sources(message: AssistantMessage) -> str:
    """Return the addresses that the text cites and no result of a tool lists, as lines of text."""
    listed = {
        source.source
        for part in message.content
        if isinstance(part, ServerToolResult)
        for source in part.sources
    }
    cited = {
        citation.source: citation.title
        for part in message.content
        if isinstance(part, TextContent) and part.text.strip()
        for citation in part.citations
        if "://" in citation.source and citation.source not in listed
    }
    return "\n".join(
        clean_surrogates(f"{number}. {' '.join(filter(None, (title, source)))}")
        for number, (source, title) in enumerate(cited.items(), 1)
    )


def _replacement_text(
    part: ServerToolCall | ServerToolResult | ImageContent | AudioContent,
    target: Target,
    warn: Callable[[str, str], None],
) -> str:
    """Return what a model reads instead of content that only its author accepts; "": nothing."""
    match part:
        case ServerToolCall():
            return ""
        case ServerToolResult():
            text = f"{part.name} was sent to {target.model} as text with its sources"
            warn("server_tool_as_text", text)
            return server_tool_text(part)
        case ImageContent():
            warn("image_omitted", f"{target.model} does not take its own images; one was left out")
            return OMITTED_OWN_IMAGE_TEXT
        case AudioContent():
            warn("audio_omitted", f"{target.model} gets the transcript of its audio")
            return part.transcript
        case _:
            assert_never(part)


def server_tool_text(result: ServerToolResult) -> str:
    """Return the result of a provider's tool as text with its sources."""
    if result.is_error:
        return f"({result.name} failed: {result.text})"
    lines = [
        f"{number}. {' '.join(filter(None, (source.title, source.source)))}"
        for number, source in enumerate(result.sources, 1)
    ]
    head = f"({result.name}{':' if lines or result.text else ' was used'}"
    return "\n".join(filter(None, [head, result.text, *lines])) + ")"


def _adapt_thinking(
    part: ThinkingContent, target: Target, same_model: bool, aborted: bool
) -> TextContent | ThinkingContent | None:
    has_accepted_signature = target.signed_thinking and part.thinking_signature
    if same_model and (
        has_accepted_signature or (target.unsigned_thinking and part.thinking.strip())
    ):
        return part.model_copy(update={"thinking": clean_surrogates(part.thinking)})
    if (
        target.handoff_thinking == "text"
        and not same_model
        and not aborted
        and part.thinking.strip()
    ):
        return TextContent(text=clean_surrogates(part.thinking))
    return None


def _adapt_result(
    call: ToolCall,
    result: ToolResultMessage | None,
    target: Target,
    warn: Callable[[str, str], None],
) -> ToolResultMessage:
    if result is None:
        content: list[ToolResultContent] = [TextContent(text=MISSING_RESULT_TEXT)]
        return ToolResultMessage(
            tool_call_id=call.id, tool_name=call.name, content=content, is_error=True, timestamp=0
        )
    content = _adapt_parts(result.content, target, warn) or [TextContent(text=EMPTY_RESULT_TEXT)]
    return ToolResultMessage(
        tool_call_id=call.id,
        tool_name=call.name or result.tool_name,
        content=content,
        is_error=result.is_error,
        timestamp=result.timestamp,
    )


class _CallIdMapper:
    """Gives every call of a conversation a distinct id that the target accepts.

    The same conversation always gets the same ids, even after it has grown.
    """

    def __init__(self, target: Target) -> None:
        self._rule = target.tool_call_ids
        self._used_ids: set[str] = set()

    def assign_ids(self, turn: _Turn, same_model: bool) -> list[ToolCall]:
        """Return the turn's calls with their new ids, and put them into its message."""
        renamed: dict[int, ToolCall] = {}
        for call in turn.calls:
            call_id = self._valid_id(call.id, same_model)
            self._used_ids.add(call_id)
            renamed[id(call)] = call.model_copy(update={"id": call_id})
        turn.message.content = [renamed.get(id(part), part) for part in turn.message.content]
        return [renamed[id(call)] for call in turn.calls]

    def _valid_id(self, call_id: str, same_model: bool) -> str:
        if same_model:
            is_valid = _SAME_MODEL_CALL_ID.fullmatch(call_id) is not None
        else:
            is_valid = self._rule.accepts(call_id)
        if is_valid and call_id not in self._used_ids:
            return call_id
        for attempt in range(1_000_000):
            seed = json.dumps([call_id, attempt]).encode()
            candidate = self._rule.make(hashlib.sha256(seed).hexdigest())
            if candidate not in self._used_ids:
                return candidate
        raise AssertionError("a million calls with one id")
