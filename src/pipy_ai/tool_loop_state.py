"""The state of a tool loop, without I/O: what to send next, and which calls to execute."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from ._requests import ModelSpec, request_factories
from .context import Prompt, as_context, tool_result
from .errors import ErrorKind, error_info
from .events import DoneEvent, ErrorEvent, ToolResultEvent
from .options import SimpleStreamOptions
from .tool_jobs import ToolJob, error_result
from .tools import ToolLike, ToolValidationError, as_tools, find_tool, validate_arguments
from .types import (
    AssistantMessage,
    Context,
    Message,
    ServerTool,
    StopReason,
    Tool,
    ToolCall,
    ToolResultMessage,
    ToolSet,
    Warning,
    function_tools,
)

if TYPE_CHECKING:
    from .output.request import OutputRetries
    from .output.schema import Output, OutputMode

ApproveCallback: TypeAlias = Callable[[ToolCall], bool | str | Awaitable[bool | str]]
"""Decides about a tool call: True allows it, False or a reason refuses it. May be async."""

ABORTED_TEXT = "The call was aborted."
ANSWERED_TEXT = "The call was not executed, because the final answer was given."


@dataclass(frozen=True, slots=True)
class TypedOutput:
    """The type of the final answer."""

    output: Output
    mode: OutputMode | None
    retries: int

    @classmethod
    def of(cls, output: Any, mode: OutputMode | None, retries: int) -> TypedOutput | None:
        if output is None:
            return None
        from .output.schema import Output

        if retries < 0:
            raise ValueError(f"output_retries must be 0 or more, not {retries}")
        return cls(Output.of(output), mode, retries)


class ToolLoopState:
    """The state of a tool loop, without I/O.

    A turn has two phases, which repeat until `final_message` is set:

    1. The request: `next_request` returns its arguments, `on_answer` takes its final event.
    2. The calls: `calls` holds those to execute. `prepare` validates each one, `on_result` takes
       its result in any order, and `end_turn` adds the results to the conversation.

    The rules:

    - An answer without calls ends the run, as does a failed one.
    - The answer to request number `max_turns` ends the run, even if it has calls.
    - Only the first request may force a call: a model that is forced every time never answers.
    - With `output`, an answer with a value ends the run, even if it has other calls: their results
      say so. An invalid one is sent back to the model, as in `complete`.
    - Every call gets a result, in the order of the calls, because providers reject a conversation
      with an unanswered call. A call that has none when the turn ends is reported as aborted.
    - A run that is aborted between requests ends with `abort`; within a request, the request's own
      error is the final event.
    """

    def __init__(
        self,
        model: ModelSpec,
        context: Prompt,
        tools: Iterable[ToolLike] | None,
        max_turns: int,
        approve: ApproveCallback | None,
        concurrency: int,
        options: SimpleStreamOptions,
        output: TypedOutput | None = None,
    ) -> None:
        if max_turns < 1 or concurrency < 1:
            raise ValueError("max_turns and concurrency must be at least 1")
        original = as_context(context)
        self._tool_source = _tool_source(tools if tools is not None else original.tools or ())
        all_tools = as_tools(self._tool_source)
        self.tools: list[Tool] = _runnable_tools(all_tools)
        # Later changes to the caller's lists do not affect the run.
        snapshot = {"messages": list(original.messages), "tools": all_tools or None}
        self.context: Context = original.model_copy(update=snapshot)
        self.model: ModelSpec = model
        # The run raises at its end; its requests do not.
        self.raise_on_error: bool = options.raise_on_error
        if options.raise_on_error:
            options = options.model_copy(update={"raise_on_error": False})
        self.options: SimpleStreamOptions = options
        self.max_turns: int = max_turns
        self.approve: ApproveCallback | None = approve
        self.concurrency: int = concurrency
        self.messages: list[Message] = []
        self.final_message: AssistantMessage | None = None
        self.turns: int = 0
        # The calls and results of the current turn by id, which is unique within an answer.
        self.calls: dict[str, ToolCall] = {}
        self.results: dict[str, ToolResultMessage] = {}
        self.stream_options: dict[str, Any] = {}
        if output is not None:
            self.stream_options = {"output": output.output, "output_mode": output.mode}
        self._output = output
        self._attempts: OutputRetries | None = None  # of the current turn
        self._retrying = False
        # Raises for invalid arguments.
        for factory in request_factories(model, self.context, options, {}, **self.stream_options):
            if output is not None:
                factory()

    def next_request(self) -> tuple[ModelSpec, Context, SimpleStreamOptions]:
        """Begin a turn, and return the arguments of `stream` for its request."""
        messages = [*self.context.messages, *self.messages]
        options = self.options
        if self.turns and options.tool_choice not in (None, "auto", "none"):
            options = options.model_copy(update={"tool_choice": None})
        self.turns += 1
        if any(isinstance(item, ToolSet) for item in self._tool_source):
            all_tools = as_tools(self._tool_source)
            self.tools = _runnable_tools(all_tools)
            self.context = self.context.model_copy(update={"tools": all_tools or None})
        context = self.context.model_copy(update={"messages": messages})
        if self._output is not None:
            if self._retrying and self._attempts is not None:
                return self.model, self._attempts.context, options
            from .output.request import OutputRetries

            self._attempts = OutputRetries(context, self._output.output, self._output.retries)
        return self.model, context, options

    def on_answer(self, event: DoneEvent | ErrorEvent) -> None:
        """Take the final event of a request. Sets `calls`, or `final_message` if there are none."""
        message = event.partial
        self.calls, self.results = {}, {}
        if self._attempts is not None:
            self._retrying = self._attempts.should_retry(message) and self.turns < self.max_turns
            if self._retrying:
                return
        self.messages.append(message)
        match event:
            case DoneEvent() if self._attempts is not None and self._attempts.has_value:
                calls = []  # the other calls are not needed
            case DoneEvent():
                calls = message.tool_calls
            case ErrorEvent():
                calls = []  # they may be incomplete
            case _:
                assert_never(event)
        if calls and self.turns >= self.max_turns:
            text = f"max_turns={self.max_turns} was reached: the calls were not executed"
            message.warnings.append(Warning(code="max_turns", message=text))
            calls = []
        self.calls = {call.id: call for call in calls}
        if not calls:
            self.final_message = message._hand_over()

    def settle_answer(self) -> None:
        """Give a typed answer its final form, once its events are consumed."""
        if self._attempts is not None and not self._retrying:
            self.messages[-1] = message = self._attempts.result()._hand_over()
            if self.final_message is not None:
                self.final_message = message
            if self._attempts.has_value:
                for call in message.tool_calls:
                    self.messages.append(tool_result(call, ANSWERED_TEXT, is_error=True))

    def on_result(self, result: ToolResultMessage) -> ToolResultEvent:
        """Take the result of a call, and return its event."""
        self.results[result.tool_call_id] = result
        return ToolResultEvent(tool_call=self.calls[result.tool_call_id], message=result)

    def end_turn(self) -> None:
        """Add the results of the turn's calls to the conversation, in the order of the calls."""
        for call_id, call in self.calls.items():
            result = self.results.get(call_id) or tool_result(call, ABORTED_TEXT, is_error=True)
            self.messages.append(result)

    def abort(self, reason: str | None) -> ErrorEvent:
        """End the run while no request is in flight, and return its final event."""
        text = "The run was aborted" + (f": {reason}" if reason else ".")
        last_answer = next(
            (m for m in reversed(self.messages) if isinstance(m, AssistantMessage)), None
        )
        message_class = (
            AssistantMessage if self._output is None else self._output.output.message_class
        )
        self.final_message = message_class(
            provider=last_answer.provider if last_answer else "",
            model=last_answer.model if last_answer else "",
            stop_reason=StopReason.ABORTED,
            error=error_info(ErrorKind.ABORTED, text),
            error_message=text,
        )
        return ErrorEvent(reason=StopReason.ABORTED, error=self.final_message._hand_over())

    def prepare(self, call: ToolCall) -> ToolJob | ToolResultMessage:
        """Return a job for a call, or the error result of an invalid call."""
        try:
            tool = find_tool(self.tools, call)
            return ToolJob(call, tool._implementation, validate_arguments(tool, call))
        except ToolValidationError as error:
            return tool_result(call, str(error), is_error=True)
        except Exception as error:  # raised by a validator of the caller's
            return error_result(call, error)


def _tool_source(tools: Iterable[ToolLike]) -> Iterable[ToolLike]:
    """Return tools that can be read before each request, with the tool sets among them."""
    if isinstance(tools, ToolSet):
        return [tools]
    return tools if callable(tools) or isinstance(tools, str | Mapping) else list(tools)


def _runnable_tools(all_tools: Iterable[Tool | ServerTool]) -> list[Tool]:
    """Return the tools that the run calls itself.

    Raises:
        ValueError: A tool has no function.
    """
    tools = function_tools(all_tools)
    for tool in tools:
        if tool._implementation is None or tool._implementation.function is None:
            raise ValueError(f"the tool {tool.name!r} has no function to call: pass one with run=")
    return tools
