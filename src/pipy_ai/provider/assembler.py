"""Deltas in, events out. Sans-IO: no network, no clock, no event loop.

    assembler = Assembler(provider="openai", model="gpt-5", api="openai-completions")
    events = [assembler.start()]
    events += assembler.feed([Text("Hel"), Text("lo"), Finish("stop")])
    events += assembler.finish()          # or assembler.fail(error)

The growing message is an append-only log. An event keeps its position in it, nothing more, and
`event.partial` reads the log up to there: exact for ever, and free for who does not look.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from math import isfinite
from typing import TYPE_CHECKING
from uuid import uuid4

from ..errors import ErrorInfo, ErrorKind, error_info
from ..stream import (
    AssistantMessageEvent,
    DoneEvent,
    ErrorEvent,
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
    Cost,
    StopReason,
    TextContent,
    ThinkingContent,
    ToolCall,
    Usage,
    now_ms,
)
from ..utils.json_parse import parse_arguments, parse_streaming_json
from ..utils.made import made
from ..utils.unicode import clean_surrogates, has_surrogates
from .deltas import (
    Delta,
    Finish,
    RedactedThinking,
    ResponseInfo,
    Text,
    TextSignature,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)

if TYPE_CHECKING:
    from ..output import Output

_LENGTH = frozenset(
    {
        "length",
        "max_tokens",
        "max_output_tokens",
        "max_completion_tokens",
        "model_length",
        "model_context_window_exceeded",
    }
)
_FILTERED = frozenset(
    {
        "content_filter",
        "refusal",
        "sensitive",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "image_safety",
        "image_prohibited_content",
        "image_recitation",
        "language",
    }
)
_BROKEN = frozenset(
    {
        "error",
        "insufficient_system_resource",  # DeepSeek
        "malformed_function_call",
        "malformed_response",
        "missing_thought_signature",
        "network_error",  # Z.ai
        "too_many_tool_calls",
        "unexpected_tool_call",
    }
)

CUT_OFF = "The answer was cut off; what came before is kept."
UNFINISHED = "the answer ended before this call was complete"


class _Block:
    """One content block: its pieces, and the log position of each."""

    __slots__ = (
        "_read",
        "ended",
        "half",
        "index",
        "key",
        "marks",
        "opened",
        "pieces",
    )

    def __init__(self, index: int, opened: int, key: int | None) -> None:
        self.index = index
        self.opened = opened
        self.key = key
        self.ended: int | None = None
        self.pieces: list[str] = []
        self.marks = array("Q")
        self.half = ""  # the first half of a surrogate pair whose other half is to come
        self._read = (0, "")  # pieces joined so far by a reader, so that the next one goes on

    def append(self, piece: str, position: int) -> None:
        self.pieces.append(piece)
        self.marks.append(position)

    def text_at(self, position: int) -> str:
        count = bisect_right(self.marks, position)
        done, text = self._read
        if count > done:
            text += "".join(self.pieces[done:count])
            self._read = (count, text)
        elif count < done:
            text = "".join(self.pieces[:count])
        return text

    def text(self) -> str:
        return self.text_at(self.marks[-1]) if self.marks else ""

    def content_at(self, position: int, closing: bool) -> AssistantContent:
        raise AssertionError("every kind of block has its own")


class _TextBlock(_Block):
    __slots__ = ("signatures",)

    def __init__(self, index: int, opened: int, key: int | None) -> None:
        super().__init__(index, opened, key)
        self.signatures: list[tuple[int, str]] = []

    def content_at(self, position: int, closing: bool) -> AssistantContent:
        signature = _at(self.signatures, position)
        return made(TextContent, text=self.text_at(position), text_signature=signature)


class _ThinkingBlock(_Block):
    __slots__ = ("redacted", "signatures")

    def __init__(self, index: int, opened: int, key: int | None, redacted: bool = False) -> None:
        super().__init__(index, opened, key)
        self.redacted = redacted
        self.signatures: list[tuple[int, str]] = []

    def content_at(self, position: int, closing: bool) -> AssistantContent:
        return made(
            ThinkingContent,
            thinking=self.text_at(position),
            thinking_signature=_at(self.signatures, position),
            redacted=self.redacted,
        )


class _ToolBlock(_Block):
    __slots__ = ("id", "name", "thought_signatures", "wire_id", "wire_index")

    def __init__(self, wire_index: int | None) -> None:
        super().__init__(-1, 0, None)  # takes its place in the message when its name is known
        self.wire_index = wire_index
        self.wire_id = ""
        self.id = ""
        self.name = ""
        self.thought_signatures: list[tuple[int, str]] = []

    def content_at(self, position: int, closing: bool) -> AssistantContent:
        raw = self.text_at(position)
        error = None
        if self.ended is not None and self.ended <= position:
            arguments, error = parse_arguments(raw)
        else:
            arguments = parse_streaming_json(raw)
            error = UNFINISHED if closing else None
        return made(
            ToolCall,
            id=self.id,
            name=self.name,
            arguments=arguments,
            thought_signature=_at(self.thought_signatures, position),
            arguments_error=error,
            raw_arguments=raw if error else None,
        )

    @property
    def says_something(self) -> bool:
        """Whether there is anything to it: some hosts send empty fragments beside text."""
        return bool(self.name or self.wire_id or self.pieces)

    def is_complete(self) -> bool:
        """Whether the arguments so far are a whole JSON object."""
        if not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        return parse_arguments(self.text())[1] is None


def _at(history: list[tuple[int, str]], position: int) -> str | None:
    """The newest value of a history as of `position`."""
    for when, value in reversed(history):
        if when <= position:
            return value
    return None


def _fresh_id() -> str:
    return f"call_{uuid4().hex[:24]}"


class Assembler:
    """Turns the deltas of one answer into its events and owns the growing message."""

    def __init__(
        self,
        *,
        api: str = "",
        provider: str = "",
        model: str = "",
        timestamp: int | None = None,
        new_id: Callable[[], str] = _fresh_id,
        output: Output | None = None,
    ) -> None:
        self._api = api
        self._provider = provider
        self._model = model
        self._timestamp = now_ms() if timestamp is None else timestamp
        self._new_id = new_id
        self._output = output
        self._position = 0
        self._blocks: list[_Block] = []
        self._open: _TextBlock | _ThinkingBlock | None = None
        self._calls: list[_ToolBlock] = []  # in order of arrival, named or not
        self._by_index: dict[int, _ToolBlock] = {}
        self._by_id: dict[str, _ToolBlock] = {}
        self._ids: set[str] = set()
        self._usage: list[tuple[int, UsageReport]] = []
        self._response: list[tuple[int, ResponseInfo]] = []
        self._finished = False
        self._reason: str | None = None
        self._closed = False

    @property
    def has_content(self) -> bool:
        """Whether any content has arrived: from then on a request must not be repeated."""
        return bool(self._blocks or self._calls)

    @property
    def reported_usage(self) -> bool:
        """Whether the provider has reported how many tokens it made."""
        return bool(self._usage) and self._usage[-1][1].output is not None

    @property
    def reported_input(self) -> bool:
        """Whether the provider has reported how many tokens it was given."""
        return bool(self._usage) and self._usage[-1][1].input is not None

    # --- In ---------------------------------------------------------------------------------

    def start(self) -> StartEvent:
        """The first event: the provider has accepted the request."""
        return StartEvent._at(self, self._position)

    @property
    def finished(self) -> bool:
        """Whether the wire has said that the answer is complete."""
        return self._finished

    def feed(
        self, deltas: Iterable[Delta], out: list[AssistantMessageEvent] | None = None
    ) -> list[AssistantMessageEvent]:
        """The events that these deltas make, in order; they are added to `out` if it is given.

        Raises:
            TypeError: something among them is no delta. What came before is in `out`.
        """
        out = [] if out is None else out
        if self._closed:
            return out
        for delta in deltas:
            kind = type(delta)
            if kind is Text:
                self._feed_text(delta, out)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
            elif kind is Thinking:
                self._feed_thinking(delta, out)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
            elif kind is ToolFragment:
                self._feed_tool(delta, out)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
            else:
                self._feed_rest(delta, out)
        return out

    def finish(self) -> list[AssistantMessageEvent]:
        """The last events, now that the wire is at its end. Without the wire's own sign that the
        answer is complete it is not: the result is an error of kind `incomplete`."""
        if self._closed:
            return []
        out: list[AssistantMessageEvent] = []
        if not self._finished:
            return self.fail(self._incomplete())
        self._end_open(out)
        self._calls = [call for call in self._calls if call.says_something]
        for call in self._calls:
            if call.index < 0:
                self._start_call(call, out)  # it never got a name; its arguments are still told
        stop, error = self._outcome()
        if error is not None:
            return out + self.fail(error)
        for block in self._blocks:
            if isinstance(block, _ToolBlock):
                self._end_call(block, out)
        message = self.message_at(self._position)
        message.stop_reason = stop
        message.raw_stop_reason = self._reason
        if self._output is not None:
            error = self._output.judge(message)
            if error is not None:
                return [*out, self._failed(message, error)]
        self._closed = True
        out.append(DoneEvent(reason=stop, message=message))
        return out

    def fail(self, error: ErrorInfo) -> list[AssistantMessageEvent]:
        """The last event of an answer that failed or was stopped. All content so far is kept."""
        if self._closed:
            return []
        return [self._failed(self.message_at(self._position, closing=True), error)]

    def _failed(self, message: AssistantMessage, error: ErrorInfo) -> ErrorEvent:
        aborted = error.kind is ErrorKind.ABORTED
        message.stop_reason = StopReason.ABORTED if aborted else StopReason.ERROR
        message.raw_stop_reason = self._reason
        message.error = error
        message.error_message = error.message
        self._closed = True
        return ErrorEvent(reason=message.stop_reason, error=message)

    def _incomplete(self) -> ErrorInfo:
        text = "The provider answered with nothing at all. Ask again."
        if self.has_content:
            text = "The connection ended before the provider said that the answer was complete."
            text = f"{CUT_OFF} {text}"
        return error_info(ErrorKind.INCOMPLETE, text, provider=self._provider)

    def _outcome(self) -> tuple[StopReason, ErrorInfo | None]:
        reason = (self._reason or "").lower()
        if reason in _FILTERED:
            what = (
                "The model refused to answer."
                if reason == "refusal"
                else (f"The provider withheld the answer ({self._reason}).")
            )
            return StopReason.ERROR, error_info(
                ErrorKind.CONTENT_FILTER, f"{what} Rephrase the request.", provider=self._provider
            )
        if reason in _BROKEN or (
            reason in ("other", "image_other", "no_image") and not self._blocks
        ):
            return StopReason.ERROR, error_info(
                ErrorKind.SERVER,
                f"The provider broke off the answer ({self._reason}).",
                provider=self._provider,
                retryable=False,
            )
        if reason in _LENGTH:
            return StopReason.LENGTH, None
        return (StopReason.TOOL_USE if self._calls else StopReason.STOP), None

    # --- Text and thinking ------------------------------------------------------------------

    def _feed_text(self, delta: Text, out: list[AssistantMessageEvent]) -> None:
        text = delta.text
        if not text:
            return
        block = self._open
        if type(block) is not _TextBlock or _another(block.key, delta.block):
            self._end_open(out)
            self._position += 1
            block = _TextBlock(len(self._blocks), self._position, delta.block)
            self._blocks.append(block)
            self._open = block
            out.append(TextStartEvent._at(self, self._position, block.index))
        if block.half or not text.isascii():
            text = self._whole(block, text)
            if not text:
                return
        self._position += 1
        block.append(text, self._position)
        out.append(TextDeltaEvent._at(self, self._position, block.index, text))

    def _feed_thinking(self, delta: Thinking, out: list[AssistantMessageEvent]) -> None:
        text = delta.text
        if not text:
            return
        block = self._open
        if (
            type(block) is not _ThinkingBlock
            or _another(block.key, delta.block)
            or (block.signatures and delta.block is None)  # a signature comes last in its block
        ):
            block = self._start_thinking(delta.block, out)
        if block.half or not text.isascii():
            text = self._whole(block, text)
            if not text:
                return
        self._position += 1
        block.append(text, self._position)
        out.append(ThinkingDeltaEvent._at(self, self._position, block.index, text))

    def _start_thinking(
        self, key: int | None, out: list[AssistantMessageEvent], redacted: bool = False
    ) -> _ThinkingBlock:
        self._end_open(out)
        self._position += 1
        block = _ThinkingBlock(len(self._blocks), self._position, key, redacted)
        self._blocks.append(block)
        self._open = block
        if not redacted:
            out.append(ThinkingStartEvent._at(self, self._position, block.index))
        return block

    def _feed_rest(self, delta: Delta, out: list[AssistantMessageEvent]) -> None:
        if isinstance(delta, ThinkingSignature):
            if not delta.signature:
                return
            block = self._open
            if type(block) is not _ThinkingBlock or _another(block.key, delta.block):
                block = self._start_thinking(delta.block, out)
            self._position += 1
            block.signatures.append((self._position, clean_surrogates(delta.signature)))
        elif isinstance(delta, RedactedThinking):
            block = self._start_thinking(delta.block, out, redacted=True)
            block.signatures.append((self._position, clean_surrogates(delta.data)))
            out.append(ThinkingStartEvent._at(self, self._position, block.index))
            self._end_open(out)
        elif isinstance(delta, TextSignature):
            last = self._blocks[-1] if self._blocks else None
            if isinstance(last, _TextBlock) and delta.signature:
                self._position += 1
                last.signatures.append((self._position, clean_surrogates(delta.signature)))
        elif isinstance(delta, UsageReport):
            self._position += 1
            self._usage.append((self._position, self._merged(delta)))
        elif isinstance(delta, ResponseInfo):
            known = self._response[-1][1] if self._response else ResponseInfo()
            identity, model = (clean_surrogates(part or "") for part in (delta.id, delta.model))
            new = ResponseInfo(identity or known.id, model or known.model, delta.api or known.api)
            if new != known:
                self._position += 1
                self._response.append((self._position, new))
        elif isinstance(delta, Finish):
            self._finished = True
            self._reason = self._reason or delta.reason
        else:
            raise TypeError(f"not a delta: {delta!r}")

    def _whole(self, block: _Block, text: str) -> str:
        """`text` without lone surrogates; a half pair at its end waits for the next delta."""
        text = block.half + text
        block.half = ""
        if not has_surrogates(text):
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            text, block.half = text[:-1], text[-1]
        return clean_surrogates(text)

    def _end_open(self, out: list[AssistantMessageEvent]) -> None:
        block = self._open
        if block is None:
            return
        self._open = None
        thinking = isinstance(block, _ThinkingBlock)
        if block.half:
            block.half = ""
            self._position += 1
            block.append("\ufffd", self._position)
            delta = ThinkingDeltaEvent if thinking else TextDeltaEvent
            out.append(delta._at(self, self._position, block.index, "\ufffd"))
        self._position += 1
        block.ended = self._position
        end = ThinkingEndEvent if thinking else TextEndEvent
        out.append(end._at(self, self._position, block.index, block.text()))

    # --- Tool calls -------------------------------------------------------------------------

    def _feed_tool(self, delta: ToolFragment, out: list[AssistantMessageEvent]) -> None:
        call = self._call_for(delta)
        if call is None:
            call = _ToolBlock(delta.index)
            self._calls.append(call)
            if delta.index is not None:
                self._by_index[delta.index] = call
        if delta.id and not call.wire_id:
            call.wire_id = delta.id
            self._by_id[delta.id] = call
        if delta.thought_signature:
            self._position += 1
            signature = clean_surrogates(delta.thought_signature)
            call.thought_signatures.append((self._position, signature))
        if call.index < 0:
            if delta.arguments:
                call.append(delta.arguments, 0)
            if delta.name:
                call.name = clean_surrogates(delta.name)
                self._start_call(call, out)
        elif delta.arguments:
            self._append_arguments(call, delta.arguments, out)

    def _call_for(self, delta: ToolFragment) -> _ToolBlock | None:
        """The call that a fragment belongs to; None when it begins a new one."""
        if delta.index is not None:
            call = self._by_index.get(delta.index)
        elif delta.id:
            call = self._by_id.get(delta.id)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None:
            return None
        if delta.id and call.wire_id and delta.id != call.wire_id:
            return None
        if delta.name and call.name:
            # Some hosts repeat the name with every fragment; another name is another call, and
            # where nothing numbers the calls, so is the same name after whole arguments.
            if clean_surrogates(delta.name) != call.name:
                return None
            unnumbered = not delta.id and delta.index is None
            told_apart = delta.id and delta.index is not None
            if (delta.arguments.strip() or unnumbered) and not told_apart and call.is_complete():
                return None
        return call

    def _start_call(self, call: _ToolBlock, out: list[AssistantMessageEvent]) -> None:
        self._end_open(out)
        identity = clean_surrogates(call.wire_id)
        while not identity or identity in self._ids:
            identity = self._new_id()
        self._ids.add(identity)
        call.id = identity
        self._position += 1
        call.opened = self._position
        call.index = len(self._blocks)
        self._blocks.append(call)
        out.append(ToolCallStartEvent._at(self, self._position, call.index))
        early, call.pieces, call.marks = call.pieces, [], array("Q")
        for piece in early:
            self._append_arguments(call, piece, out)

    def _append_arguments(
        self, call: _ToolBlock, text: str, out: list[AssistantMessageEvent]
    ) -> None:
        if call.half or not text.isascii():
            text = self._whole(call, text)
            if not text:
                return
        self._position += 1
        call.append(text, self._position)
        out.append(ToolCallDeltaEvent._at(self, self._position, call.index, text))

    def _end_call(self, call: _ToolBlock, out: list[AssistantMessageEvent]) -> None:
        if call.half:
            call.half = ""
            self._append_arguments(call, "\ufffd", out)
        if not call.text().strip():
            self._append_arguments(call, "{}", out)  # no arguments at all: the empty object
        self._position += 1
        call.ended = self._position
        tool_call = call.content_at(self._position, closing=False)
        assert isinstance(tool_call, ToolCall)
        out.append(ToolCallEndEvent._at(self, self._position, call.index, tool_call))

    # --- Out --------------------------------------------------------------------------------

    def message_at(self, position: int, closing: bool = False) -> AssistantMessage:
        """The message exactly as it was at a position of the log."""
        content: list[AssistantContent] = []
        for block in self._blocks:
            if block.opened > position:
                break
            content.append(block.content_at(position, closing))
        response = next(
            (info for when, info in reversed(self._response) if when <= position), ResponseInfo()
        )
        message: AssistantMessage = made(
            AssistantMessage if self._output is None else self._output.message,
            content=content,
            api=response.api or self._api,
            provider=self._provider,
            model=self._model,
            usage=self._usage_at(position),
            stop_reason=None,
            response_id=response.id,
            response_model=response.model,
            timestamp=self._timestamp,
        )
        if self._output is not None:
            self._output.mark(message)
        return message

    def _merged(self, new: UsageReport) -> UsageReport:
        old = self._usage[-1][1] if self._usage else UsageReport()
        merged = UsageReport()
        for name in _COUNTS:
            value = getattr(new, name)
            if value is not None and type(value) is not int:  # a host that counts in floats
                whole = isinstance(value, float) and isfinite(value)
                value = int(value) if whole else None
            setattr(merged, name, getattr(old, name) if value is None else value)
        cost = sound_cost(new.cost)
        merged.cost = old.cost if cost is None else cost
        return merged

    def _usage_at(self, position: int) -> Usage:
        at = bisect_right(self._usage, position, key=lambda entry: entry[0])
        if not at:
            return made(Usage)
        report = self._usage[at - 1][1]
        usage = made(
            Usage,
            input=max(0, report.input or 0),
            output=max(0, report.output or 0),
            cache_read=max(0, report.cache_read or 0),
            cache_write=max(0, report.cache_write or 0),
            reasoning=report.reasoning,
            cache_write_1h=report.cache_write_1h,
            input_audio=report.input_audio,
            output_audio=report.output_audio,
        )
        usage.total_tokens = usage.input + usage.output + usage.cache_read + usage.cache_write
        if report.cost is not None:
            usage.cost = made(Cost, total=report.cost, source="provider")
        return usage


_COUNTS = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "reasoning",
    "input_audio",
    "output_audio",
)


def sound_cost(said: object) -> float | None:
    """What a provider says an answer cost, if it is an amount of money."""
    sound = isinstance(said, int | float) and isfinite(said) and said >= 0
    return float(said) if sound else None  # type: ignore[arg-type]


def _another(known: int | None, given: int | None) -> bool:
    """Whether two block numbers of the wire name different blocks."""
    return known is not None and given is not None and known != given
