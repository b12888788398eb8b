"""Apply `output=` to a request, and retry invalid answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ..errors import ErrorKind
from ..provider.apis import OPENAI_CHAT
from ..provider.prepare import forced_calls_problem, thinking_fallback
from ..provider.profiles import CLAUDE
from ..provider.reasoning import plan_reasoning
from ..provider.transport import wire_for
from ..types import (
    AssistantContent,
    AssistantMessage,
    Context,
    StopReason,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    UserMessage,
)
from ..usage import sum_usage
from .schema import Output, OutputMode, ParsedMessage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..provider.request import Request

OUTPUT_MODES = ("native", "tool", "prompt")


def apply_output(request: Request, output: Output, mode: OutputMode | None) -> None:
    """Request a response that matches a schema. Changes the request's context and options."""
    if mode is not None and mode not in OUTPUT_MODES:
        raise ValueError(f"output_mode must be one of {', '.join(OUTPUT_MODES)}, not {mode!r}")
    requested_mode: OutputMode = mode or _default_mode(request)
    tool_names = {tool.name for tool in request.context.tools or ()}
    candidates = [
        output.name,
        *(f"{output.name[:60]}_{number}" for number in range(len(tool_names))),
    ]
    name = next(name for name in candidates if name not in tool_names)
    effective_mode, fallback = requested_mode, None
    if requested_mode == "native":
        fallback = wire_for(request).schema_fallback(request, output.schema)
        fallback = fallback or thinking_fallback(
            request, plan_reasoning(request, wire_for(request))
        )
    if fallback is not None:
        takes_tools = (request.record or {}).get("tool_call") is not False
        effective_mode = fallback.mode if takes_tools else "prompt"
        if mode is not None or fallback.over_limit:
            text = f'{fallback.reason}; output_mode is "{effective_mode}"'
            request.warn("output_mode_changed", text)
    if effective_mode == "tool" and mode != "tool" and _must_not_force(request):
        effective_mode = "prompt"
    request.output = output = replace(output, name=name, mode=effective_mode)
    if effective_mode == "tool":
        _add_answer_tool(request, output)
    elif effective_mode == "prompt":
        _add_schema_instruction(request, output)


def _default_mode(request: Request) -> OutputMode:
    """Return the best mode that the catalogue lists for the model."""
    record = request.record
    if record is None:
        # A self-hosted OpenAI-compatible server has no record.
        is_own_server = request.provider in ("local", "faux") or request.route.is_self_hosted
        return "native" if is_own_server or request.options.api_base else "prompt"
    wire = wire_for(request)
    if wire.api == OPENAI_CHAT and not request.profile.json_schema:
        return "prompt"  # with `json_object`; such hosts reject forced calls while they think
    providers = wire.schema_providers
    takes_schema = providers is None or request.provider in providers
    if record.get("structured_output") is True and takes_schema:
        return "native"
    return "tool" if record.get("tool_call") is True else "prompt"


def _must_not_force(request: Request) -> bool:
    """Return whether the answer tool needs a forced call that the model does not support."""
    if request.options.tool_choice == "auto" or CLAUDE.search(request.model_id):
        return False  # the prompt tells Claude to call the tool
    wire = wire_for(request)
    return forced_calls_problem(request, wire, plan_reasoning(request, wire)) is not None


def _add_answer_tool(request: Request, output: Output) -> None:
    """Add a tool whose call is the answer, and force a call."""
    caller_tools = request.context.tools or []
    description = output.schema.get("description") or ""
    tool = Tool(
        name=output.name,
        description=f"Give the final answer by calling this. {description}".strip(),
        parameters=output.schema,
    )
    request.context.tools = [*caller_tools, tool]
    if request.options.tool_choice in (None, "none"):
        is_only_tool = not caller_tools or request.options.tool_choice == "none"
        request.options.tool_choice = output.name if is_only_tool else "required"
    # Claude cannot be forced to call a tool while it thinks; the prompt asks for it.
    _append_system_prompt(request, f"Give your final answer by calling the function {output.name}.")


def _add_schema_instruction(request: Request, output: Output) -> None:
    schema = json.dumps(output.schema, ensure_ascii=False)
    text = f"Answer with JSON only, without other words, that fits this JSON Schema:\n{schema}"
    _append_system_prompt(request, text)


def _append_system_prompt(request: Request, text: str) -> None:
    system = request.context.system_prompt
    request.context.system_prompt = f"{system}\n\n{text}" if system else text


class OutputRetries:
    """The attempts of one `complete`: the first, and those that correct its answer."""

    def __init__(self, context: Context, output: Output, retries: int) -> None:
        if retries < 0:
            raise ValueError(f"output_retries must be 0 or more, not {retries}")
        self.context: Context = context
        self.output = output
        self._retries = retries
        self._messages: list[ParsedMessage[Any]] = []

    @property
    def has_value(self) -> bool:
        """Whether the last answer has a value of the type."""
        return bool(self._messages) and self._messages[-1]._value is not None

    def should_retry(self, message: AssistantMessage) -> bool:
        """Record an answer. Return whether to send another request, with `context`."""
        assert isinstance(message, ParsedMessage)
        self._messages.append(message)
        error = message.error
        if error is None or error.kind is not ErrorKind.INVALID_OUTPUT or message._truncated:
            return False
        if len(self._messages) > self._retries:
            return False
        # Without its thinking: providers accept that only with the original call or text.
        rejected = AssistantMessage(
            content=[TextContent(text=message._raw_answer())], stop_reason=StopReason.STOP
        )
        retry_prompt = (
            f"{error.message}\n\nAnswer once more, with all of it and these problems solved."
        )
        self.context = self.context.model_copy(
            update={
                "messages": [*self.context.messages, rejected, UserMessage(content=retry_prompt)]
            }
        )
        return True

    def result(self) -> ParsedMessage[Any]:
        """Return the last answer, with the usage, time and warnings of all attempts.

        A call that is the answer becomes text, so that the conversation can continue.
        """
        first, last = self._messages[0], self._messages[-1]
        if last is not first:
            last.usage = sum_usage(message.usage for message in self._messages)
            last.duration_ms = sum(message.duration_ms or 0.0 for message in self._messages)
            last.ttft_ms = first.ttft_ms
            last.attempts = [attempt for message in self._messages for attempt in message.attempts]
            all_warnings = [warning for message in self._messages for warning in message.warnings]
            last.warnings = [
                warning
                for number, warning in enumerate(all_warnings)
                if warning not in all_warnings[:number]
            ]
        call = last._answer_call()
        if call is not None and (last.error is None or last.error.kind == "invalid_output"):
            return _with_text_for_call(last, call)
        return last


def _with_text_for_call(message: ParsedMessage[Any], call: ToolCall) -> ParsedMessage[Any]:
    """Return a copy in which the text of the answer replaces the call that is the answer.

    The text precedes other calls: their results must follow them at once.
    """
    text = TextContent(text=message._raw_answer())
    content: list[AssistantContent] = []
    for part in message.content:
        if isinstance(part, ThinkingContent) and message.api == "openai-responses":
            # The provider accepts reasoning only with its call.
            part = part.model_copy(update={"thinking_signature": None})
        if isinstance(part, ToolCall) and text not in content:
            content.append(text)
        if part is not call:
            content.append(part)
    copy = message.model_copy(update={"content": content})
    if copy.stop_reason is StopReason.TOOL_USE and not copy.tool_calls:
        copy.stop_reason = StopReason.STOP
    return copy
