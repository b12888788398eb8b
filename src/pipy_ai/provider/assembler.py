"""Convert the deltas of an answer to its events. Sans-IO: no network, clock or event loop.

    assembler = Assembler(provider="openai", model="gpt-5", api="openai-completions")
    events = [assembler.start()]
    events += assembler.feed([Text("Hel"), Text("lo"), Finish("stop")])
    events += assembler.finish()          # or assembler.fail(error)

The growing message is an append-only log. An event only stores a position in it, and
`event.partial` reads the log up to there: always exact, and computed only when read.
"""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, assert_never
from uuid import uuid4

from ..errors import ErrorInfo, ErrorKind, error_info
from ..events import (
    AssistantMessageEvent,
    AudioDeltaEvent,
    AudioEndEvent,
    AudioStartEvent,
    CitationEvent,
    DoneEvent,
    ErrorEvent,
    ImageEndEvent,
    ImagePartialEvent,
    ImageStartEvent,
    ServerToolDeltaEvent,
    ServerToolEndEvent,
    ServerToolResultEvent,
    ServerToolStartEvent,
    StartEvent,
    TextDeltaEvent,
    TextEndEvent,
    TextStartEvent,
    ThinkingDeltaEvent,
    ThinkingEndEvent,
    ThinkingStartEvent,
    ToolCallDeltaEvent,
    ToolCallEndEvent,
    ToolCallStartEvent,
)
from ..types import (
    AssistantContent,
    AssistantMessage,
    AudioContent,
    Citation,
    Cost,
    ImageContent,
    ServerToolCall,
    ServerToolResult,
    StopReason,
    TextContent,
    ThinkingContent,
    ToolCall,
    Usage,
    Warning,
    now_ms,
)
from ..usage import valid_cost
from ..utils.construct import construct_unchecked
from ..utils.json_parse import clean_json, parse_arguments, parse_streaming_json
from ..utils.surrogates import clean_json_surrogates, clean_surrogates, has_surrogates
from .deltas import (
    AudioData,
    CitationReport,
    Delta,
    DeltaRun,
    Finish,
    ImageData,
    Omitted,
    OutputCount,
    RedactedThinking,
    ResponseInfo,
    ServerToolFragment,
    ServerToolOutput,
    Text,
    TextSignature,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
    expand_runs,
    invalid_delta,
    with_text,
)
from .finish import (
    COMPLETE,
    FIRST_PARTY_APIS,
    LENGTH,
    PAUSED,
    TOOL_CALLS,
    finish_error,
    normalize,
)

if TYPE_CHECKING:
    from ..output.schema import Output
    from .think_tags import ThinkTagParser

INTERRUPTED_MESSAGE = "The answer was cut off. Partial output is kept."
INCOMPLETE_CALL_MESSAGE = "the answer ended before this call was complete"

_COUNT_FIELDS = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "reasoning",
    "input_audio",
    "output_audio",
    "output_image",
)

_OtherDelta: TypeAlias = (
    TextSignature
    | ThinkingSignature
    | RedactedThinking
    | CitationReport
    | ServerToolFragment
    | ServerToolOutput
    | ImageData
    | AudioData
    | Omitted
    | Finish
    | UsageReport
    | OutputCount
    | ResponseInfo
)
# Takes the name of a tool and the arguments of a call.
_RestoreArguments: TypeAlias = Callable[[str, dict[str, Any]], dict[str, Any]]


class _Block:
    """One content block: its pieces and their log positions."""

    __slots__ = (
        "_joined",
        "end_position",
        "index",
        "pending_surrogate",
        "pieces",
        "positions",
        "start_position",
        "wire_block",
    )

    def __init__(self, index: int, start_position: int, wire_block: int | None) -> None:
        self.index = index
        self.start_position = start_position
        self.wire_block = wire_block
        self.end_position: int | None = None
        self.pieces: list[str] = []
        self.positions = array("Q")
        self.pending_surrogate = ""  # first half of a surrogate pair split between two deltas
        self._joined = (0, "")  # cache: the number of pieces that were joined, and their text

    def append(self, piece: str, position: int) -> None:
        self.pieces.append(piece)
        self.positions.append(position)

    def text_at(self, position: int) -> str:
        piece_count = bisect_right(self.positions, position)
        joined_count, text = self._joined
        if piece_count > joined_count:
            text += "".join(self.pieces[joined_count:piece_count])
            self._joined = (piece_count, text)
        elif piece_count < joined_count:
            text = "".join(self.pieces[:piece_count])
        return text

    def text(self) -> str:
        return self.text_at(self.positions[-1]) if self.positions else ""

    def ended_at(self, position: int) -> bool:
        return self.end_position is not None and self.end_position <= position

    def content_at(self, position: int, final: bool) -> AssistantContent:
        raise NotImplementedError


class _TextBlock(_Block):
    __slots__ = ("citations", "signatures")

    def __init__(self, index: int, start_position: int, wire_block: int | None) -> None:
        super().__init__(index, start_position, wire_block)
        self.signatures: list[tuple[int, str]] = []
        self.citations: list[tuple[int, CitationReport]] = []

    def content_at(self, position: int, final: bool) -> AssistantContent:
        text = self.text_at(position)
        return construct_unchecked(
            TextContent,
            text=text,
            text_signature=_value_at(self.signatures, position),
            citations=_citations_at(self.citations, position, text),
        )


class _ThinkingBlock(_Block):
    __slots__ = ("citations", "redacted", "signatures")

    def __init__(
        self, index: int, start_position: int, wire_block: int | None, redacted: bool = False
    ) -> None:
        super().__init__(index, start_position, wire_block)
        self.redacted = redacted
        self.signatures: list[tuple[int, str]] = []
        self.citations: list[tuple[int, CitationReport]] = []

    def content_at(self, position: int, final: bool) -> AssistantContent:
        text = self.text_at(position)
        return construct_unchecked(
            ThinkingContent,
            thinking=text,
            thinking_signature=_value_at(self.signatures, position),
            redacted=self.redacted,
            citations=_citations_at(self.citations, position, text),
        )


class _ToolBlock(_Block):
    __slots__ = (
        "id", "name", "names", "pending_empty", "restore_arguments", "thought_signatures",
        "wire_id", "wire_index",
    )  # fmt: skip

    def __init__(
        self, wire_index: int | None, restore_arguments: _RestoreArguments | None = None
    ) -> None:
        super().__init__(-1, 0, None)  # added to the message once its name is known
        self.wire_index = wire_index
        self.wire_id = ""
        self.id = ""
        self.name = ""
        self.names: list[tuple[int, str]] = []
        self.pending_empty = ""  # no arguments, which some hosts send before the real ones
        self.thought_signatures: list[tuple[int, str]] = []
        self.restore_arguments = restore_arguments

    def content_at(self, position: int, final: bool) -> AssistantContent:
        raw_arguments = self.text_at(position)
        error = None
        if self.ended_at(position):
            arguments, error = parse_arguments(raw_arguments)
        else:
            arguments = parse_streaming_json(raw_arguments)
            if final:
                arguments = clean_json(arguments)  # a number such as 1e999 is infinite
                error = INCOMPLETE_CALL_MESSAGE
        name = _value_at(self.names, position) or ""
        if self.restore_arguments is not None:
            arguments = self.restore_arguments(name, arguments)
        return construct_unchecked(
            ToolCall,
            id=self.id,
            name=name,
            arguments=arguments,
            thought_signature=_value_at(self.thought_signatures, position),
            arguments_error=error,
            raw_arguments=raw_arguments if error else None,
        )

    @property
    def has_data(self) -> bool:
        """Whether anything was sent for this call: some hosts send empty fragments with text."""
        return bool(self.name or self.wire_id or self.pieces or self.pending_empty)

    def is_complete(self) -> bool:
        """Return whether the arguments so far are a complete JSON object that is not empty."""
        if not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        return parse_arguments(self.text())[1] is None


class _ServerCallBlock(_Block):
    __slots__ = ("id", "name", "raw")

    def __init__(self, index: int, start_position: int, delta: ServerToolFragment) -> None:
        super().__init__(index, start_position, delta.block)
        self.id = clean_surrogates(delta.id)
        self.name = clean_surrogates(delta.name)
        self.raw: dict[str, Any] = {}

    def content_at(self, position: int, final: bool) -> ServerToolCall:
        arguments, has_ended = parse_streaming_json(self.text_at(position)), self.ended_at(position)
        return construct_unchecked(
            ServerToolCall,
            id=self.id,
            name=self.name,
            arguments=clean_json(arguments) if has_ended else arguments,
            raw=self.raw if has_ended else {},
        )


class _WholeBlock(_Block):
    """A block that arrives at once: the result of a tool that the provider ran."""

    __slots__ = ("content",)

    def __init__(self, index: int, start_position: int, content: ServerToolResult) -> None:
        super().__init__(index, start_position, None)
        self.end_position = start_position
        self.content = content

    def content_at(self, position: int, final: bool) -> ServerToolResult:
        return self.content


class _MediaBlock(_Block):
    __slots__ = ()


class _ImageBlock(_MediaBlock):
    __slots__ = ("images",)

    def __init__(self, index: int, start_position: int, wire_block: int | None) -> None:
        super().__init__(index, start_position, wire_block)
        self.images: list[tuple[int, ImageContent]] = []

    def content_at(self, position: int, final: bool) -> ImageContent:
        return _value_at(self.images, position) or construct_unchecked(ImageContent)


class _AudioBlock(_MediaBlock):
    """Audio. Its pieces are the transcript, its bytes have a log of their own."""

    __slots__ = ("bytes_log", "mime_types", "raw")

    def __init__(self, index: int, start_position: int, wire_block: int | None) -> None:
        super().__init__(index, start_position, wire_block)
        self.bytes_log: list[tuple[int, bytes]] = []
        self.mime_types: list[tuple[int, str]] = []
        self.raw: dict[str, Any] = {}

    def content_at(self, position: int, final: bool) -> AudioContent:
        data = b"".join(piece for logged_at, piece in self.bytes_log if logged_at <= position)
        return construct_unchecked(
            AudioContent,
            data=b64encode(data).decode(),
            mime_type=_value_at(self.mime_types, position) or "",
            transcript=self.text_at(position),
            raw=dict(self.raw) if final or self.ended_at(position) else {},
        )


_EARLIER_RESPONSE = -1  # as the wire's number of a block; the next response has its own numbers
_T = TypeVar("_T")
_OtherBlock = TypeVar("_OtherBlock", _ImageBlock, _AudioBlock)


def _value_at(log: list[tuple[int, _T]], position: int) -> _T | None:
    """Return the latest value of a log as of `position`, or None."""
    for logged_at, value in reversed(log):
        if logged_at <= position:
            return value
    return None


def _citations_at(
    log: list[tuple[int, CitationReport]], position: int, text: str
) -> list[Citation]:
    """Return the citations of a text as of `position`."""
    return [_locate_citation(report, text) for logged_at, report in log if logged_at <= position]


def _count_characters(report: CitationReport, text: str) -> CitationReport:
    """Return a citation whose place is counted in characters of `text` instead of bytes."""
    data = text.encode("utf-8", "replace")
    start, end = (
        len(data[:place].decode(errors="ignore"))
        if place is not None and 0 <= place <= len(data)
        else None
        for place in (report.start, report.end)
    )
    return replace(report, start=start, end=end, in_bytes=False)


def _locate_citation(report: CitationReport, text: str) -> Citation:
    """Return a citation with the place of its words in `text`, the nearest to the reported one."""
    if report.in_bytes:
        report = _count_characters(report, text)
    words, reported = report.text, max(0, report.start or 0)
    start: int | None = None
    if report.whole_block:
        start, words = 0, text
    elif report.start is not None and report.end is not None and not words:
        if 0 <= report.start < report.end <= len(text):  # xAI sends 0 and 0 for no place
            start, words = report.start, text[report.start : report.end]
    elif words:
        following = text.find(words, reported)
        preceding = text.rfind(words, 0, reported + len(words))
        found = [place for place in (preceding, following) if place >= 0]
        start = min(found, key=lambda place: abs(place - reported), default=None)
    return construct_unchecked(
        Citation,
        source=report.source,
        title=report.title,
        start=start,
        end=None if start is None else start + len(words),
        quote=report.quote,
        data=dict(report.data),
    )


def _is_base64(data: str) -> bool:
    try:
        b64decode(data, validate=True)
    except ValueError:
        return False
    return True


def new_call_id() -> str:
    """Return an id for a tool call that has none."""
    return f"call_{uuid4().hex[:24]}"


class Assembler:
    """Converts the deltas of one answer to events, and owns the growing message."""

    __slots__ = (
        "_api", "_blocks", "_closed", "_earlier_usage", "_early_citations", "_finish_reason",
        "_finished", "_first_party", "_model", "_omitted", "_open_block", "_open_others",
        "_output", "_output_counts", "_output_positions", "_parses_think_tags", "_position",
        "_provider", "_response_log", "_response_output", "_response_usage",
        "_restore_arguments", "_think_tags", "_timestamp", "_tool_blocks", "_tool_blocks_by_id",
        "_tool_blocks_by_index", "_usage_log", "_used_call_ids", "make_call_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        api: str = "",
        provider: str = "",
        model: str = "",
        timestamp: int | None = None,
        make_call_id: Callable[[], str] = new_call_id,
        output: Output | None = None,
        first_party: bool = False,
        think_tags: ThinkTagParser | None = None,
        restore_arguments: _RestoreArguments | None = None,
    ) -> None:
        self._api = api
        self._provider = provider
        self._model = model
        self._timestamp = now_ms() if timestamp is None else timestamp
        self.make_call_id = make_call_id
        self._output = output
        self._first_party = first_party
        self._think_tags = think_tags
        self._restore_arguments = restore_arguments
        self._parses_think_tags = think_tags is not None
        self._position = 0
        self._blocks: list[_Block] = []
        self._open_block: _TextBlock | _ThinkingBlock | None = None
        # Calls of the provider's tools, images and audio that are not complete.
        self._open_others: list[_ServerCallBlock | _ImageBlock | _AudioBlock] = []
        self._tool_blocks: list[_ToolBlock] = []  # in order of arrival, named or not
        self._tool_blocks_by_index: dict[int, _ToolBlock] = {}
        self._tool_blocks_by_id: dict[str, _ToolBlock] = {}
        self._used_call_ids: set[str] = set()
        self._usage_log: list[tuple[int, UsageReport]] = []
        # Later counts of output tokens, and their positions.
        self._output_counts: list[int] = []
        self._output_positions = array("Q")
        self._response_output: int | None = None  # such a count after the last report
        self._response_usage = UsageReport()  # of the current response
        self._earlier_usage: UsageReport | None = None  # of the responses that were paused
        self._response_log: list[tuple[int, ResponseInfo]] = []
        self._early_citations: list[CitationReport] = []  # before the text; OpenRouter sends them
        self._omitted: dict[str, None] = {}  # types of omitted content, in order of appearance
        self._finished = False
        self._finish_reason: str | None = None
        self._closed = False

    @property
    def has_content(self) -> bool:
        """Whether any content has arrived. From then on, the request must not be repeated."""
        return bool(self._blocks or self._tool_blocks)

    @property
    def output_reported(self) -> bool:
        """Whether the provider has reported the number of output tokens."""
        report = self._report_at(self._position)
        return report is not None and report.output is not None

    @property
    def input_reported(self) -> bool:
        """Whether the provider has reported the number of input tokens."""
        return bool(self._usage_log) and self._usage_log[-1][1].input is not None

    @property
    def finished(self) -> bool:
        """Whether the wire has signalled that the answer is complete."""
        return self._finished

    @property
    def warnings(self) -> list[Warning]:
        """Warnings about the answer so far."""
        warnings = []
        if self._omitted:
            names = ", ".join(self._omitted)
            text = f"the response has content that a message cannot represent; omitted: {names}"
            warnings.append(Warning(code="content_omitted", message=text))
        name = normalize(self._finish_reason)
        if name and name not in COMPLETE and name not in LENGTH and self._finish_error() is None:
            text = (
                f"unknown finish reason {self._finish_reason!r}; treated as the end of the response"
            )
            warnings.append(Warning(code="unknown_finish_reason", message=text))
        if name in TOOL_CALLS and self._blocks and not (self._tool_blocks or self._omitted):
            text = f"finish reason {self._finish_reason!r}, but the response has no tool calls"
            warnings.append(Warning(code="missing_tool_calls", message=text))
        if self._parses_think_tags and self._has_unopened_thinking():
            text = (
                'the text has "</think>" without "<think>": start the server with a reasoning'
                ' parser, or set think_tags="opened" if the prompt template opens the tag'
            )
            warnings.append(Warning(code="think_tag_unopened", message=text))
        return warnings

    def _has_unopened_thinking(self) -> bool:
        block = self._blocks[0] if self._blocks else None
        if not isinstance(block, _TextBlock):
            return False
        text, closing_tag, _ = block.text().partition("</think>")
        return bool(closing_tag) and "<think>" not in text

    # --- Deltas to events -------------------------------------------------------------------

    def start(self) -> StartEvent:
        """Return the first event, once the provider has accepted the request."""
        return StartEvent._at_position(self, self._position)

    def feed(
        self, deltas: Iterable[Delta], events: list[AssistantMessageEvent] | None = None
    ) -> list[AssistantMessageEvent]:
        """Convert deltas to events, which are also appended to `events` if it is given.

        Raises:
            TypeError: One of `deltas` is not a delta. The events of those before it are in
                `events`.
        """
        events = [] if events is None else events
        if self._closed:
            return events
        if self._think_tags is not None:
            deltas = self._think_tags.feed(expand_runs(deltas))
            if self._think_tags.in_answer:
                self._think_tags = None
        for delta in deltas:
            if isinstance(delta, Text):  # the most frequent first: this is the hot path
                self._feed_text(delta, events)
            elif isinstance(delta, ToolFragment):
                self._feed_tool(delta, events)
            elif isinstance(delta, Thinking):
                self._feed_thinking(delta, events)
            elif isinstance(delta, DeltaRun):
                self._feed_run(delta, events)
            else:
                self._feed_other(delta, events)
        return events

    @property
    def is_paused(self) -> bool:
        """Whether the provider paused the answer, so that another request continues it."""
        return normalize(self._finish_reason) == PAUSED

    def resume(self, events: list[AssistantMessageEvent]) -> AssistantMessage:
        """Return the paused message. The next response continues it, and its usage is added."""
        self._end_open_block(events)
        self._position += 1
        message = self.message_at(self._position)
        message.raw_stop_reason = self._finish_reason
        self._finished, self._finish_reason = False, None
        for block in self._blocks:
            block.wire_block = _EARLIER_RESPONSE
        self._tool_blocks_by_index = {}
        self._earlier_usage = self._report_at(self._position)
        self._response_usage, self._response_output = UsageReport(), None
        return message

    def finish(self) -> list[AssistantMessageEvent]:
        """Return the last events, at the end of the wire.

        Without the wire's own signal that the answer is complete, the last event is an error of
        kind `incomplete`.
        """
        if self._closed:
            return []
        events = self._flush()
        if not self._finished:
            return events + self.fail(self._incomplete_error())
        self._end_open_block(events)
        for open_block in list(self._open_others):
            self._end_other(open_block, events)
        self._tool_blocks = [call for call in self._tool_blocks if call.has_data]
        for call in self._tool_blocks:
            if call.index < 0:
                self._start_call(call, events)  # a call without a name still has arguments
        stop_reason, error = self._stop_outcome()
        if error is not None:
            return events + self.fail(error)
        for block in self._blocks:
            if isinstance(block, _ToolBlock):
                self._end_call(block, events)
        message = self.message_at(self._position)
        message.stop_reason = stop_reason
        message.raw_stop_reason = self._finish_reason
        if self._output is not None:
            error = self._output.validate_message(message)
            if error is not None:
                return [*events, self._error_event(message, error)]
        self._closed = True
        events.append(DoneEvent(reason=stop_reason, message=message))
        return events

    def fail(self, error: ErrorInfo) -> list[AssistantMessageEvent]:
        """Return the last events of an answer that failed or was stopped; its content is kept."""
        if self._closed:
            return []
        events = self._flush()
        return [*events, self._error_event(self.message_at(self._position, final=True), error)]

    def _flush(self) -> list[AssistantMessageEvent]:
        """Return the events of text that was held back, because it could be a tag."""
        parser, self._think_tags = self._think_tags, None
        return [] if parser is None else self.feed(parser.finish())

    def _error_event(self, message: AssistantMessage, error: ErrorInfo) -> ErrorEvent:
        aborted = error.kind is ErrorKind.ABORTED
        message.stop_reason = StopReason.ABORTED if aborted else StopReason.ERROR
        message.raw_stop_reason = self._finish_reason
        message.error = error
        message.error_message = error.message
        self._closed = True
        return ErrorEvent(reason=message.stop_reason, error=message)

    def _incomplete_error(self) -> ErrorInfo:
        text = "The provider returned an empty response. Try again."
        if self.has_content:
            text = "The connection closed before the response was complete."
            text = f"{INTERRUPTED_MESSAGE} {text}"
        return error_info(ErrorKind.INCOMPLETE, text, provider=self._provider)

    def _finish_error(self) -> ErrorInfo | None:
        """Return the error that the finish reason means, or None."""
        api = self._response_log[-1][1].api if self._response_log else None
        first_party = self._first_party or (api or self._api) in FIRST_PARTY_APIS
        return finish_error(self._finish_reason or "", self._provider, first_party)

    def _stop_outcome(self) -> tuple[StopReason, ErrorInfo | None]:
        error = self._finish_error()
        if error is not None:
            return StopReason.ERROR, error
        if normalize(self._finish_reason) in LENGTH:
            return StopReason.LENGTH, None
        if self._tool_blocks:
            return StopReason.TOOL_USE, None
        is_answered = any(isinstance(block, _TextBlock | _MediaBlock) for block in self._blocks)
        if self._omitted and not is_answered:
            names = ", ".join(self._omitted)
            text = f"The response contains only content that pipy-ai cannot represent: {names}."
            error = error_info(ErrorKind.INCOMPLETE, text, provider=self._provider, retryable=False)
            return StopReason.ERROR, error
        announces_content = not self._finish_reason or normalize(self._finish_reason) in TOOL_CALLS
        if announces_content and not self._blocks:
            return StopReason.ERROR, self._incomplete_error()
        return StopReason.STOP, None

    # --- Text and thinking ------------------------------------------------------------------

    def _feed_text(self, delta: Text, events: list[AssistantMessageEvent]) -> None:
        text = delta.text
        if not text:
            return
        block, wire_block = self._open_block, delta.block
        if type(block) is not _TextBlock or (
            block.wire_block != wire_block and _is_other_block(block.wire_block, wire_block)
        ):
            block = self._start_text(wire_block, events)
        if block.pending_surrogate or not text.isascii():
            text = self._hold_back_surrogate(block, text)
            if not text:
                return
        position = self._position = self._position + 1
        block.pieces.append(text)
        block.positions.append(position)
        events.append(TextDeltaEvent._at_position(self, position, block.index, text))

    def _start_text(
        self, wire_block: int | None, events: list[AssistantMessageEvent]
    ) -> _TextBlock:
        self._end_open_block(events)
        self._position += 1
        block = _TextBlock(len(self._blocks), self._position, wire_block)
        self._blocks.append(block)
        self._open_block = block
        events.append(TextStartEvent._at_position(self, self._position, block.index))
        if self._early_citations:
            self._omitted.pop("citation", None)
            for citation in self._early_citations:
                self._feed_citation(citation, events)
            self._early_citations = []
        return block

    def _feed_thinking(self, delta: Thinking, events: list[AssistantMessageEvent]) -> None:
        text = delta.text
        if not text:
            return
        block = self._open_block
        if (
            type(block) is not _ThinkingBlock
            or _is_other_block(block.wire_block, delta.block)
            or (block.signatures and delta.block is None)  # a signature comes last in its block
        ):
            block = self._start_thinking(delta.block, events)
        if block.pending_surrogate or not text.isascii():
            text = self._hold_back_surrogate(block, text)
            if not text:
                return
        self._position += 1
        block.append(text, self._position)
        events.append(ThinkingDeltaEvent._at_position(self, self._position, block.index, text))

    def _start_thinking(
        self, wire_block: int | None, events: list[AssistantMessageEvent], redacted: bool = False
    ) -> _ThinkingBlock:
        self._end_open_block(events)
        self._position += 1
        block = _ThinkingBlock(len(self._blocks), self._position, wire_block, redacted)
        self._blocks.append(block)
        self._open_block = block
        if not redacted:
            events.append(ThinkingStartEvent._at_position(self, self._position, block.index))
        return block

    def _feed_run(self, run: DeltaRun, events: list[AssistantMessageEvent]) -> None:
        """Feed the first delta of a run, then the others at once, as they can start no block."""
        if not run.texts or not all(run.texts) or has_surrogates("".join(run.texts)):
            self.feed(run, events)
            return
        first = with_text(run.delta, run.texts[0])
        kind: type[TextDeltaEvent | ThinkingDeltaEvent | ToolCallDeltaEvent]
        block: _Block | None
        match first:
            case Text():
                self._feed_text(first, events)
                kind, block = TextDeltaEvent, self._open_block
            case Thinking():
                self._feed_thinking(first, events)
                kind, block = ThinkingDeltaEvent, self._open_block
            case ToolFragment():
                self._feed_tool(first, events)
                kind, block = ToolCallDeltaEvent, self._find_tool_block(first)
                longest = max(map(len, run.texts))
                if block is None or block.index < 0 or longest >= len(block.pieces):
                    # A fragment may be the name's first, or repeat all arguments.
                    self.feed(islice(run, 1, None), events)
                    return
            case _:
                assert_never(first)
        assert block is not None
        if run.counts:
            self._feed_output_count(OutputCount(run.counts[0]))
        texts, start, step = run.texts[1:], self._position + 1, 2 if run.counts else 1
        positions = range(start, start + step * len(texts), step)
        self._position += step * len(texts)
        block.pieces += texts
        block.positions.extend(positions)
        events += kind._run(self, positions, block.index, texts)
        if texts and run.counts:  # between the texts
            earlier = self._earlier_output()
            self._response_output = run.counts[-1]
            self._output_counts += [earlier + count for count in run.counts[1:]]
            self._output_positions.extend(range(start + 1, self._position + 1, step))

    def _feed_other(self, delta: _OtherDelta, events: list[AssistantMessageEvent]) -> None:
        match delta:
            case OutputCount():  # the most frequent first
                self._feed_output_count(delta)
            case ThinkingSignature():
                self._feed_thinking_signature(delta, events)
            case RedactedThinking():
                self._feed_redacted_thinking(delta, events)
            case TextSignature():
                self._feed_text_signature(delta, events)
            case CitationReport():
                self._feed_citation(delta, events)
            case ServerToolFragment():
                self._feed_server_call(delta, events)
            case ServerToolOutput():
                self._feed_server_result(delta, events)
            case ImageData():
                self._feed_image(delta, events)
            case AudioData():
                self._feed_audio(delta, events)
            case UsageReport():
                self._position += 1
                self._usage_log.append((self._position, self._merge_usage(delta)))
            case ResponseInfo():
                self._feed_response_info(delta)
            case Omitted():
                self._omitted[clean_surrogates(delta.type)] = None
            case Finish():
                self._finished = True
                self._finish_reason = self._finish_reason or _clean(delta.reason)
            case _:
                raise invalid_delta(delta)

    def _feed_thinking_signature(
        self, delta: ThinkingSignature, events: list[AssistantMessageEvent]
    ) -> None:
        if not delta.signature:
            return
        block = self._open_block
        if type(block) is not _ThinkingBlock or _is_other_block(block.wire_block, delta.block):
            block = self._start_thinking(delta.block, events)
        self._position += 1
        block.signatures.append((self._position, clean_surrogates(delta.signature)))

    def _feed_redacted_thinking(
        self, delta: RedactedThinking, events: list[AssistantMessageEvent]
    ) -> None:
        block = self._start_thinking(delta.block, events, redacted=True)
        block.signatures.append((self._position, clean_surrogates(delta.data)))
        events.append(ThinkingStartEvent._at_position(self, self._position, block.index))
        self._end_open_block(events)

    def _feed_text_signature(
        self, delta: TextSignature, events: list[AssistantMessageEvent]
    ) -> None:
        last_block = self._blocks[-1] if self._blocks else None
        if delta.starts_block and delta.signature and not isinstance(last_block, _TextBlock):
            last_block = self._start_text(None, events)
        if isinstance(last_block, _TextBlock) and delta.signature:
            self._position += 1
            last_block.signatures.append((self._position, clean_surrogates(delta.signature)))

    def _feed_citation(self, delta: CitationReport, events: list[AssistantMessageEvent]) -> None:
        blocks = [b for b in self._blocks if isinstance(b, _TextBlock | _ThinkingBlock)]
        if delta.block is not None:
            blocks = [block for block in blocks if block.wire_block == delta.block]
        has_text = any(isinstance(block, _TextBlock) for block in blocks)
        if not blocks or not (has_text or delta.text or delta.block is not None):
            if delta.block is None:
                self._early_citations.append(delta)
            self._omitted["citation"] = None  # unless text follows
            return
        report = _clean_citation(delta)
        cited = (block for block in reversed(blocks) if report.text in block.text())
        self._position += 1
        block = next(cited, blocks[-1])
        block.citations.append((self._position, report))
        citation = _locate_citation(report, block.text())
        events.append(CitationEvent._at_position(self, self._position, block.index, citation))

    def _feed_response_info(self, delta: ResponseInfo) -> None:
        current = self._response_log[-1][1] if self._response_log else ResponseInfo()
        response_id, model = (clean_surrogates(value or "") for value in (delta.id, delta.model))
        updated = ResponseInfo(
            response_id or current.id,
            model or current.model,
            delta.api or current.api,
            timings_ms=delta.timings_ms or current.timings_ms,
            container=delta.container or current.container,
        )
        if updated != current:
            self._position += 1
            self._response_log.append((self._position, updated))

    def _hold_back_surrogate(self, block: _Block, text: str) -> str:
        """Remove lone surrogates; keep the first half of a pair at the end for the next delta."""
        text = block.pending_surrogate + text
        block.pending_surrogate = ""
        if not has_surrogates(text):
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            text, block.pending_surrogate = text[:-1], text[-1]
        return clean_surrogates(text)

    def _end_open_block(self, events: list[AssistantMessageEvent]) -> None:
        block = self._open_block
        if block is None:
            return
        self._open_block = None
        delta_event: type[TextDeltaEvent | ThinkingDeltaEvent]
        end_event: type[TextEndEvent | ThinkingEndEvent]
        match block:
            case _TextBlock():
                delta_event, end_event = TextDeltaEvent, TextEndEvent
            case _ThinkingBlock():
                delta_event, end_event = ThinkingDeltaEvent, ThinkingEndEvent
            case _:
                assert_never(block)
        if block.pending_surrogate:
            block.pending_surrogate = ""
            self._position += 1
            block.append("\ufffd", self._position)
            events.append(delta_event._at_position(self, self._position, block.index, "\ufffd"))
        self._position += 1
        block.end_position = self._position
        events.append(end_event._at_position(self, self._position, block.index, block.text()))

    # --- Tool calls -------------------------------------------------------------------------

    def _feed_tool(self, delta: ToolFragment, events: list[AssistantMessageEvent]) -> None:
        call = self._find_tool_block(delta)
        if call is None:
            call = _ToolBlock(delta.index, self._restore_arguments)
            self._tool_blocks.append(call)
            if delta.index is not None:
                self._tool_blocks_by_index[delta.index] = call
        if delta.id and not call.wire_id:
            call.wire_id = delta.id
            self._tool_blocks_by_id[delta.id] = call
        if delta.thought_signature:
            self._position += 1
            signature = clean_surrogates(delta.thought_signature)
            call.thought_signatures.append((self._position, signature))
        arguments = delta.arguments
        if arguments and not call.pieces:
            arguments = _hold_back_empty(call, arguments)
        if delta.name:
            self._extend_name(call, clean_surrogates(delta.name))
        if call.index < 0:
            if arguments:
                call.append(arguments, 0)
            if call.name:
                self._start_call(call, events)
        elif arguments and not (arguments[0] == "{" and _is_repeat(call, arguments)):
            self._append_arguments(call, arguments, events)

    def _extend_name(self, call: _ToolBlock, name: str) -> None:
        """Add a piece of a name. Some hosts repeat the whole name, or the name so far."""
        if name == call.name:
            return
        call.name = name if name.startswith(call.name) else call.name + name
        self._position += 1
        call.names.append((self._position, call.name))

    def _find_tool_block(self, delta: ToolFragment) -> _ToolBlock | None:
        """Return the call that a fragment belongs to; None if it starts a new one."""
        if delta.index is not None:
            call = self._tool_blocks_by_index.get(delta.index)
        elif delta.id:
            call = self._tool_blocks_by_id.get(delta.id)
        else:
            call = self._tool_blocks[-1] if self._tool_blocks else None
        if call is None:
            return None
        if delta.id and call.wire_id and delta.id != call.wire_id:
            return None
        if delta.name and call.name:
            # Some hosts repeat the name with every fragment, others send it in pieces. A different
            # name after complete arguments starts a new call, and without index and id any
            # different name, and the same name after complete arguments.
            lacks_id_and_index = not delta.id and delta.index is None
            if clean_surrogates(delta.name) != call.name:
                is_anonymous = lacks_id_and_index and not call.wire_id
                is_ended = call.pending_empty or call.is_complete()
                return None if is_anonymous or is_ended else call
            has_id_and_index = delta.id and delta.index is not None
            if lacks_id_and_index and call.pending_empty:
                return None
            if (
                (delta.arguments.strip() or lacks_id_and_index)
                and not has_id_and_index
                and call.is_complete()
            ):
                return None
        return call

    def _start_call(self, call: _ToolBlock, events: list[AssistantMessageEvent]) -> None:
        self._end_open_block(events)
        call_id = clean_surrogates(call.wire_id)
        while not call_id or call_id in self._used_call_ids:
            call_id = self.make_call_id()
        self._used_call_ids.add(call_id)
        call.id = call_id
        self._position += 1
        call.start_position = self._position
        call.index = len(self._blocks)
        self._blocks.append(call)
        events.append(ToolCallStartEvent._at_position(self, self._position, call.index))
        early_pieces, call.pieces, call.positions = call.pieces, [], array("Q")
        for piece in early_pieces:
            self._append_arguments(call, piece, events)

    def _append_arguments(
        self, call: _ToolBlock, text: str, events: list[AssistantMessageEvent]
    ) -> None:
        if call.pending_surrogate or not text.isascii():
            text = self._hold_back_surrogate(call, text)
            if not text:
                return
        self._position += 1
        call.append(text, self._position)
        events.append(ToolCallDeltaEvent._at_position(self, self._position, call.index, text))

    def _end_call(self, call: _ToolBlock, events: list[AssistantMessageEvent]) -> None:
        if call.pending_surrogate:
            call.pending_surrogate = ""
            self._append_arguments(call, "\ufffd", events)
        if not call.text().strip():  # a call without arguments
            self._append_arguments(call, call.pending_empty or "{}", events)
        self._position += 1
        call.end_position = self._position
        tool_call = call.content_at(self._position, final=False)
        assert isinstance(tool_call, ToolCall)
        events.append(ToolCallEndEvent._at_position(self, self._position, call.index, tool_call))

    # --- The provider's own tools, images, audio ----------------------------------------------

    def _feed_server_call(
        self, delta: ServerToolFragment, events: list[AssistantMessageEvent]
    ) -> None:
        calls = [block for block in self._open_others if isinstance(block, _ServerCallBlock)]
        if delta.block is not None:
            calls = [call for call in calls if call.wire_block == delta.block]
        elif delta.id:
            calls = [call for call in calls if call.id == clean_surrogates(delta.id)]
        if calls:
            call = calls[-1]
        else:
            self._end_open_block(events)
            self._position += 1
            call = _ServerCallBlock(len(self._blocks), self._position, delta)
            self._blocks.append(call)
            self._open_others.append(call)
            events.append(ServerToolStartEvent._at_position(self, self._position, call.index))
        if arguments := self._hold_back_surrogate(call, delta.arguments):
            self._position += 1
            call.append(arguments, self._position)
            position = self._position
            events.append(ServerToolDeltaEvent._at_position(self, position, call.index, arguments))
        if delta.raw is not None:
            call.raw = clean_json(delta.raw)
            self._end_other(call, events)

    def _feed_server_result(
        self, delta: ServerToolOutput, events: list[AssistantMessageEvent]
    ) -> None:
        self._end_open_block(events)
        result = construct_unchecked(
            ServerToolResult,
            tool_call_id=clean_surrogates(delta.call_id),
            name=clean_surrogates(delta.name),
            text=clean_surrogates(delta.text),
            is_error=delta.is_error,
            sources=[_locate_citation(_clean_citation(source), "") for source in delta.sources],
            raw=clean_json(delta.raw),
        )
        self._position += 1
        block = _WholeBlock(len(self._blocks), self._position, result)
        self._blocks.append(block)
        events.append(ServerToolResultEvent._at_position(self, self._position, block.index, result))

    def _feed_image(self, delta: ImageData, events: list[AssistantMessageEvent]) -> None:
        if not _is_base64(delta.data):
            self._omitted["an image that is not valid base64"] = None
            return
        block = self._find_open(_ImageBlock, delta.block)
        if block is None:
            self._end_open_block(events)
            self._position += 1
            block = _ImageBlock(len(self._blocks), self._position, delta.block)
            self._blocks.append(block)
            self._open_others.append(block)
            events.append(ImageStartEvent._at_position(self, self._position, block.index))
        image = construct_unchecked(
            ImageContent,
            data=clean_surrogates(delta.data),
            mime_type=clean_surrogates(delta.mime_type),
            url=_clean(delta.url),
            raw=clean_json(delta.raw),
        )
        self._position += 1
        block.images.append((self._position, image))
        if delta.partial:
            events.append(ImagePartialEvent._at_position(self, self._position, block.index, image))
        else:
            self._end_other(block, events)

    def _feed_audio(self, delta: AudioData, events: list[AssistantMessageEvent]) -> None:
        data = delta.data if _is_base64(delta.data) else ""
        block = self._find_open(_AudioBlock, delta.block)
        if data != delta.data:
            self._omitted["audio that is not valid base64"] = None
            if block is None and not delta.transcript:
                return
        if block is None:
            self._end_open_block(events)
            self._position += 1
            block = _AudioBlock(len(self._blocks), self._position, delta.block)
            self._blocks.append(block)
            self._open_others.append(block)
            events.append(AudioStartEvent._at_position(self, self._position, block.index))
        if delta.mime_type and not block.mime_types:
            self._position += 1
            block.mime_types.append((self._position, clean_surrogates(delta.mime_type)))
        block.raw |= clean_json(delta.raw)
        transcript = self._hold_back_surrogate(block, delta.transcript)
        if not (data or transcript):
            return
        self._position += 1
        if data:
            block.bytes_log.append((self._position, b64decode(data)))
        if transcript:
            block.append(transcript, self._position)
        position = self._position
        events.append(AudioDeltaEvent._at_position(self, position, block.index, data, transcript))

    def _find_open(self, kind: type[_OtherBlock], wire_block: int | None) -> _OtherBlock | None:
        """Return the open block of this kind to which a piece belongs; None: it starts one."""
        for block in reversed(self._open_others):
            if isinstance(block, kind) and not _is_other_block(block.wire_block, wire_block):
                return block
        return None

    def _end_other(
        self,
        block: _ServerCallBlock | _ImageBlock | _AudioBlock,
        events: list[AssistantMessageEvent],
    ) -> None:
        self._open_others.remove(block)
        block.pending_surrogate = ""
        self._position += 1
        block.end_position = position = self._position
        match block:
            case _ServerCallBlock():
                call = block.content_at(position, True)
                events.append(ServerToolEndEvent._at_position(self, position, block.index, call))
            case _ImageBlock():
                image = block.content_at(position, True)
                events.append(ImageEndEvent._at_position(self, position, block.index, image))
            case _AudioBlock():
                audio = block.content_at(position, True)
                events.append(AudioEndEvent._at_position(self, position, block.index, audio))
            case _:
                assert_never(block)

    # --- The message ------------------------------------------------------------------------

    def message_at(self, position: int, final: bool = False) -> AssistantMessage:
        """Return the message as it was at a position of the log.

        `final` marks the end of the answer: tool calls that are still open are then incomplete.
        """
        content: list[AssistantContent] = []
        for block in self._blocks:
            if block.start_position > position:
                break
            content.append(block.content_at(position, final))
        response = next(
            (info for logged_at, info in reversed(self._response_log) if logged_at <= position),
            ResponseInfo(),
        )
        message: AssistantMessage = construct_unchecked(
            AssistantMessage if self._output is None else self._output.message_class,
            content=content,
            api=response.api or self._api,
            provider=self._provider,
            model=self._model,
            usage=self._usage_at(position),
            stop_reason=None,
            response_id=response.id,
            response_model=response.model,
            server_timings_ms=dict(response.timings_ms or ()),
            container=response.container,
            timestamp=self._timestamp,
        )
        if self._output is not None:
            self._output.bind(message)
        return message

    def _feed_output_count(self, delta: OutputCount) -> None:
        count = delta.output
        if not self._usage_log or type(count) is not int:
            self._feed_other(UsageReport(output=count), [])
            return
        self._position += 1
        self._response_output = count
        self._output_counts.append(self._earlier_output() + count)
        self._output_positions.append(self._position)

    def _earlier_output(self) -> int:
        """Return the output tokens of the responses that were paused."""
        return 0 if self._earlier_usage is None else self._earlier_usage.output or 0

    def _merge_usage(self, incoming: UsageReport) -> UsageReport:
        current = self._response_usage
        if self._response_output is not None:
            current = replace(current, output=self._response_output)
            self._response_output = None
        merged = self._response_usage = UsageReport()
        for name in _COUNT_FIELDS:
            value = getattr(incoming, name)
            if value is not None and type(value) is not int:  # some hosts send floats
                is_finite = isinstance(value, float) and isfinite(value)
                value = int(value) if is_finite else None
            setattr(merged, name, getattr(current, name) if value is None else value)
        cost = valid_cost(incoming.cost)
        merged.cost = current.cost if cost is None else cost
        merged.service_tier = _clean(incoming.service_tier) or current.service_tier
        merged.region = _clean(incoming.region) or current.region
        calls = incoming.server_tool_calls
        merged.server_tool_calls = (
            current.server_tool_calls if calls is None else clean_json_surrogates(calls)
        )
        earlier = self._earlier_usage
        return merged if earlier is None else _add_usage(earlier, merged)

    def _report_at(self, position: int) -> UsageReport | None:
        """Return what had been reported at a position of the log."""
        entry_count = bisect_right(self._usage_log, position, key=lambda entry: entry[0])
        if not entry_count:
            return None
        logged_at, report = self._usage_log[entry_count - 1]
        number = bisect_right(self._output_positions, position) - 1
        if number >= 0 and self._output_positions[number] > logged_at:
            report = replace(report, output=self._output_counts[number])
        return report

    def _usage_at(self, position: int) -> Usage:
        report = self._report_at(position)
        if report is None:
            return construct_unchecked(Usage)
        fields = {
            "input": max(0, report.input or 0) or None,
            "output": max(0, report.output or 0) or None,
            "cache_read": max(0, report.cache_read or 0) or None,
            "cache_write": max(0, report.cache_write or 0) or None,
            "reasoning": report.reasoning,
            "cache_write_1h": report.cache_write_1h,
            "input_audio": report.input_audio,
            "output_audio": report.output_audio,
            "output_image": report.output_image,
            "service_tier": report.service_tier,
            "region": report.region,
            "server_tool_calls": dict(report.server_tool_calls or ()) or None,
        }
        # Without the defaults: Pydantic's set of names is 500 bytes larger with five or more.
        reported = {name: value for name, value in fields.items() if value is not None}
        usage = construct_unchecked(Usage, **reported)
        usage.total_tokens = usage.input + usage.output + usage.cache_read + usage.cache_write
        if report.cost is not None:
            usage.cost = construct_unchecked(Cost, total=report.cost, source="provider")
        return usage


def _clean(text: str | None) -> str | None:
    return text and clean_surrogates(text)


def _clean_citation(report: CitationReport) -> CitationReport:
    return CitationReport(
        text=clean_surrogates(report.text),
        start=report.start,
        end=report.end,
        whole_block=report.whole_block,
        in_bytes=report.in_bytes,
        source=clean_surrogates(report.source),
        title=_clean(report.title),
        quote=_clean(report.quote),
        data=clean_json(report.data),
    )


def _hold_back_empty(call: _ToolBlock, arguments: str) -> str:
    """Return first arguments without `{}`: some hosts send it before the real arguments.

    Seen where gateways translate Claude (openai/openai-agents-js#712, BerriAI/litellm#4537).
    """
    text = arguments.strip()
    if text in ("{}", "null", '""') or (call.pending_empty and not text):
        call.pending_empty = text or call.pending_empty
        return ""
    if call.pending_empty and not text.startswith("{"):  # not a repetition of the arguments
        arguments = call.pending_empty + arguments
    call.pending_empty = ""
    return arguments


def _is_repeat(call: _ToolBlock, arguments: str) -> bool:
    """Return whether a host repeats the complete arguments.

    Seen from GLM servers, MiMo and gateways (anomalyco/opencode#17339, decolua/9router#2869).
    """
    text = arguments.strip()
    return len(text) >= len(call.pieces) and text == call.text().strip() and call.is_complete()


def _add_usage(earlier: UsageReport, usage: UsageReport) -> UsageReport:
    """Return the usage of two responses together."""
    total = replace(usage)
    for name in (*_COUNT_FIELDS, "cost"):
        first, second = getattr(earlier, name), getattr(usage, name)
        if first is not None:
            setattr(total, name, first if second is None else first + second)
    calls = dict(earlier.server_tool_calls or {})
    for name, count in (usage.server_tool_calls or {}).items():
        calls[name] = calls.get(name, 0) + count
    total.server_tool_calls = calls or None
    return total


def _is_other_block(current: int | None, incoming: int | None) -> bool:
    """Return whether two of the wire's block numbers differ."""
    return current is not None and incoming is not None and current != incoming
