"""Short texts of the public objects, for `repr()` and `print()`.

Imported when an object is first shown. Only attributes are read, so that no class has to be
imported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import islice
from typing import Any

from .utils.text import format_count, format_usd

MAX_TEXT = 60  # characters of a string
MAX_ITEMS = 3  # of a list or dict
MAX_VALUE = 160  # characters of any other value

Arguments = Iterator[tuple[str | None, Any]]


class Verbatim(str):
    """Text shown without quotes inside a `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def short_repr(value: Any, depth: int = 2) -> str:
    """Return the `repr` of a value, shortened.

    Example:
        >>> short_repr(["a", "b", "c", "d"]), short_repr({"text": "x" * 100})[:20]
        ("['a', 'b', 'c', … 1 more]", "{'text': 'xxxxxxxxxx")
    """
    if isinstance(value, Verbatim):
        return str(value)
    if type(value) is str:
        return repr(_clip(value, MAX_TEXT))
    if type(value) in (list, tuple) and value:
        if depth == 0:
            return f"<{format_count(len(value), 'item')}>"
        return f"[{_first_items(value, lambda item: short_repr(item, depth - 1))}]"
    if isinstance(value, Mapping) and value:
        if depth == 0:
            return f"<{format_count(len(value), 'key')}>"
        pairs = _first_items(value, lambda key: f"{key!r}: {short_repr(value[key], depth - 1)}")
        return f"{{{pairs}}}"
    if isinstance(value, StrEnum):  # it equals its value
        return repr(value.value)
    return _clip(repr(value), MAX_VALUE)


def model_args(model: Any) -> Arguments:
    """Yield the fields of a Pydantic model that differ from their defaults, shortened."""
    fields = type(model).model_fields
    for name, value in model.__dict__.items():
        field = fields.get(name)
        if field is None or not field.repr or name == "timestamp":
            continue
        if field.default_factory is not None:
            if value == field.default_factory():
                continue
        elif not field.is_required() and value == field.default:
            continue
        yield name, Verbatim(short_repr(value))
    for name, value in (model.__pydantic_extra__ or {}).items():
        yield name, Verbatim(short_repr(value))


def dataclass_repr(value: Any, hidden: Iterable[str] = ()) -> str:
    """Return the `repr` of a dataclass: its fields that differ from their defaults."""
    import dataclasses

    from .utils.secrets import mask_url

    parts = []
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        default = (
            field.default_factory()
            if field.default_factory is not dataclasses.MISSING
            else field.default
        )
        if field.name not in hidden and item != default:
            item = mask_url(item) if isinstance(item, str) and "://" in item else item
            parts.append(f"{field.name}={short_repr(item)}")
    return f"{type(value).__name__}({', '.join(parts)})"


# --- Messages -----------------------------------------------------------------------------


def assistant_args(message: Any) -> Arguments:
    """Yield the main facts of an answer: text, calls, model, stop reason, usage and error."""
    values = message.__dict__
    if text := _joined_text(values.get("content") or ()):
        yield None, Verbatim(short_repr(text))
    if calls := [part.name for part in values.get("content") or () if part.type == "toolCall"]:
        yield "tool_calls", Verbatim(short_repr(calls))
    if name := full_model_name(message):
        yield "model", name
    if (reason := values.get("stop_reason")) is not None:
        yield "stop_reason", str(reason)
    if (usage := values.get("usage")) and usage.total_tokens:
        yield "usage", Verbatim(f"<{usage_text(usage)}>")
    if error := failure_text(message):
        yield "error", _clip(error, MAX_VALUE)


def context_args(context: Any) -> Arguments:
    """Yield the system prompt, the messages and the tools of a context."""
    if context.system_prompt:
        yield "system_prompt", Verbatim(short_repr(context.system_prompt))
    yield "messages", Verbatim(f"[{_first_items(context.messages, _message_summary)}]")
    if context.tools:
        yield "tools", Verbatim(f"[{_first_items(context.tools, _tool_name)}]")


def tool_args(tool: Any) -> Arguments:
    """Yield a tool's name, the names of its parameters and its description."""
    properties = tool.parameters.get("properties")
    names = ", ".join(properties) if isinstance(properties, Mapping) else "…"
    yield None, Verbatim(_clip(f"{tool.name}({names})", MAX_VALUE))
    if tool.description:
        yield None, Verbatim(short_repr(tool.description))


def message_text(message: Any) -> str:
    """Return the text of any message, with placeholders for its images and documents."""
    content = message.content
    return content if isinstance(content, str) else "\n".join(map(part_text, content))


def part_text(part: Any) -> str:
    """Return a piece of content as text."""
    match part.type:
        case "text":
            return str(part.text)
        case "thinking":
            return "[thinking, redacted]" if part.redacted else f"[thinking]\n{part.thinking}"
        case "toolCall":
            arguments = ", ".join(f"{k}={short_repr(v)}" for k, v in part.arguments.items())
            return f"{part.name}({arguments})"
        case "serverToolCall":
            arguments = ", ".join(f"{k}={short_repr(v)}" for k, v in part.arguments.items())
            return f"[{part.name}({arguments}), run by the provider]"
        case "serverToolResult":
            lines = [f"[result of {part.name}]", part.text]
            lines += [" ".join(filter(None, (s.title, s.source))) for s in part.sources]
            return "\n".join(filter(None, lines))
        case "audio" if part.transcript:
            return f"[audio]\n{part.transcript}"
        case "file":
            return f"[file {part.name or part.id!r} at {part.provider}]"
        case _:
            size = len(part.data) * 3 // 4 - part.data[-2:].count("=")
            source = part.url or f"{part.mime_type}, {size:,} bytes"
            name = getattr(part, "name", None)
            return f"[{part.type}{f' {name!r}' if name else ''}: {source}]"


def answer_text(message: Any) -> str:
    """Return the text of `print(message)`: the text or else the tool calls, and the error."""
    values = message.__dict__
    lines = [_joined_text(values.get("content") or ())]
    if not lines[0]:
        lines = [part_text(part) for part in values.get("content") or () if part.type == "toolCall"]
    if error := failure_text(message):
        lines.append(f"Error: {error}")
    elif not any(lines) and (reason := values.get("stop_reason")) is not None:
        lines = [f"(empty answer, stop_reason={str(reason)!r})"]
    return "\n".join(line for line in lines if line)


def conversation_text(context: Any) -> str:
    """Return the text of `print(context)`: the conversation, one paragraph for each message."""
    parts = [f"system: {context.system_prompt}"] if context.system_prompt else []
    parts += [f"{message.role}: {message}" for message in context.messages]
    if context.tools:
        parts.append(f"tools: {', '.join(map(_tool_name, context.tools))}")
    return "\n\n".join(parts)


def failure_text(message: Any) -> str:
    """Return `kind: reason` if a request failed, else an empty string."""
    values = message.__dict__
    if (error := values.get("error")) is not None:
        return str(error)
    if (reason := values.get("stop_reason")) in ("error", "aborted"):  # made by another library
        return f"{reason}: {values.get('error_message') or 'no reason given'}"
    return ""


def full_model_name(message: Any) -> str:
    """Return `provider/model`, or what is known of it."""
    values = message.__dict__
    return "/".join(filter(None, (values.get("provider"), values.get("model"))))


# --- Usage and cost -----------------------------------------------------------------------


def usage_text(usage: Any) -> str:
    """Return `1,203 in (200 cached) / 345 out, $0.0092`."""
    cached = f" ({usage.cache_read:,} cached)" if usage.cache_read else ""
    tokens = usage.input + usage.cache_read + usage.cache_write
    about = "about " if usage.estimated else ""
    return f"{about}{tokens:,} in{cached} / {usage.output:,} out, {cost_text(usage.cost)}"


def cost_text(cost: Any) -> str:
    """Return `$0.0092`, `up to $0.0092` or `unknown cost`."""
    if cost.total is None:
        return "unknown cost"
    return f"{'up to ' if cost.is_upper_bound else ''}{format_usd(cost.total)}"


def format_cost(cost: Any, spec: str) -> str:
    """Format a cost like its total; an unknown one becomes `unknown`, at the same width."""
    if not spec:
        return cost_text(cost)
    text = format(cost.total or 0.0, spec)  # raises the usual ValueError
    if cost.total is not None:
        return text
    import re

    match = re.match(r"(?:(.?)([<>=^]))?[-+ ]?z?#?0?(\d*)", spec, re.DOTALL)
    fill, align, width = match.groups("") if match else ("", "", "")
    return format("unknown", f"{fill}{align.replace('=', '>') or '>'}{width}")


# --- Runs, budgets, models ----------------------------------------------------------------


def stream_repr(stream: Any, queue: Any) -> str:
    """Return a stream's class and state."""
    name = type(stream).__name__
    if not queue.ended:
        return f"<{name}: in flight>"
    return f"<{name}: ended, {queue.result_future.result()!r}>"


def run_repr(run: Any, final_message: Any) -> str:
    """Return a run's class, the number of its messages, and its answer."""
    state = "not finished" if final_message is None else repr(final_message)
    return f"<{type(run).__name__}: {format_count(len(run.messages), 'message')}, {state}>"


def budget_repr(budget: Any) -> str:
    """Return a budget's limits and the amount spent."""
    limits = [f"usd={budget.usd:g}"] if budget.usd is not None else []
    limits += [f"tokens={budget.tokens}"] if budget.tokens is not None else []
    spent = f"{format_usd(budget.spent)} and {format_count(budget.tokens_spent, 'token')} spent"
    return f"<Budget({', '.join(limits)}): {spent}>"


def catalogue_model_repr(model: Any) -> str:
    """Return a model's name, context window and prices."""
    parts = [f"id={model.id!r}", f"provider={model.provider!r}"]
    parts += [f"context={model.limits.context}"] if model.limits.context else []
    if model.cost.input is not None and model.cost.output is not None:
        prices = f"{format_usd(model.cost.input)} in / {format_usd(model.cost.output)} out"
        parts.append(f"cost=<{prices} per 1M tokens>")
    parts += [f"status={model.status!r}"] if model.status else []
    return f"{type(model).__name__}({', '.join(parts)})"


def model_list_repr(models: Any) -> str:
    """Return the number of models and the names of the first."""
    names = _first_items(models, lambda model: model.qualified_name)
    return f"<{format_count(len(models), 'model')}{': ' if names else ''}{names}>"


def model_rows(models: Iterable[Any]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table of models."""
    rows = [
        [
            model.qualified_name,
            f"{model.limits.context:,}" if model.limits.context else "–",
            _price(model.cost.input),
            _price(model.cost.output),
            model.release_date or "–",
            model.status or "active",
        ]
        for model in models
    ]
    return ["model", "context", "$/1M in", "$/1M out", "released", "status"], rows


def _price(usd: float | None) -> str:
    return "–" if usd is None else format_usd(usd).removeprefix("$")


# --- Helpers ------------------------------------------------------------------------------


def _joined_text(content: Iterable[Any]) -> str:
    return "".join(part.text for part in content if part.type == "text")


def _message_summary(message: Any) -> str:
    return f"{message.role}: {short_repr(str(message))}"


def _tool_name(tool: Any) -> str:
    return getattr(tool, "name", None) or getattr(tool, "__name__", None) or "…"


def _first_items(items: Collection[Any], render: Callable[[Any], str]) -> str:
    """Render the first items, and count the others."""
    more = len(items) - MAX_ITEMS
    text = ", ".join(render(item) for item in islice(items, MAX_ITEMS))
    return f"{text}, … {more:,} more" if more > 0 else text


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
