"""Format the tokens, cost and speed of answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ...utils.text import format_usd
from .terminal import colored, dimmed, escape_controls, wrap, write_raw

if TYPE_CHECKING:
    from ...types import AssistantMessage, Usage
    from ...usage import UsageTotals

NEARLY_FULL_PERCENT = 80
MIN_TIMED_S = 0.2  # below this, an answer came at once and its speed means nothing


def format_usage(*messages: AssistantMessage) -> str:
    """Return the tokens, cost, time and speed of an answer, or of several answers together.

    `1,203 in (200 cached) / 345 out  $0.0092  2.1 s  164 tok/s`; it begins with "about" if tokens
    were estimated, the cost with "up to" if it is an upper bound. Instead of time and speed,
    answers from the response cache have what they saved.
    """
    usage = _total_usage(messages)
    input_tokens = usage.input + usage.cache_read + usage.cache_write
    tokens = format_tokens(input_tokens, usage.output, usage.cache_read)
    cost = f"{'up to ' if usage.cost.is_upper_bound else ''}{format_cost(usage.cost.total)}"
    line = f"{'about ' if usage.estimated else ''}{tokens}  {cost}"
    hits = [message.cached for message in messages if message.cached is not None]
    if hits and len(hits) == len(messages):
        known = [hit.saved for hit in hits if hit.saved]
        return f"{line}  cached{f', saved {format_cost(sum(known))}' if known else ''}"
    durations_ms = [message.duration_ms for message in messages]
    if None in durations_ms:
        return line
    line += f"  {sum(filter(None, durations_ms)) / 1000:.1f} s"
    speed = _tokens_per_second(messages)
    return f"{line}  {speed:,.0f} tok/s" if speed else line


def format_tokens(input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> str:
    """Return `1,203 in (200 cached) / 345 out`; `input_tokens` includes the cached ones."""
    cached = f" ({cached_tokens:,} cached)" if cached_tokens else ""
    return f"{input_tokens:,} in{cached} / {output_tokens:,} out"


def format_cost(dollars: float | None) -> str:
    """Return a cost with four decimals, or more where four would show nothing."""
    if dollars is None:
        return "cost unknown"
    if dollars == 0 or dollars >= 0.0001:
        return f"${dollars:,.4f}"
    return format_usd(dollars)


def format_total_cost(totals: UsageTotals) -> str:
    """Return the cost of many answers: `$0.12`, `$0.12 + 3 unknown` or `cost unknown`."""
    return "cost unknown" if totals.cost == "unknown" else totals.cost


def print_usage(*messages: AssistantMessage, context_tokens: int = 0) -> None:
    """Print the usage on stderr, dim on a terminal.

    With `context_tokens`, the size of the model's context window, it ends with how full that is
    after the last message; with a warning if it is nearly full.
    """
    text, fill, is_nearly_full = escape_controls(format_usage(*messages)), "", False
    if context_tokens:
        percent = round(100 * _tokens_in_context(messages[-1].usage) / context_tokens)
        fill = f"context {percent} % full" if percent else "context under 1 % full"
        is_nearly_full = percent >= NEARLY_FULL_PERCENT
        text += f"  {fill}"
    text = wrap(text, sys.stderr)
    if is_nearly_full and text.endswith(fill):
        usage = text.removesuffix(fill)
        line = dimmed(usage, sys.stderr) + colored(fill, "yellow", sys.stderr)
    else:
        line = dimmed(text, sys.stderr)
    write_raw(f"{line}\n", sys.stderr)


def context_window(model: str) -> int:
    """Return the number of tokens that the model can read and write, 0 if that is unknown."""
    from ...registry import get_registry

    record = get_registry().get(model)
    return record.limits.context if record is not None else 0


def _tokens_in_context(usage: Usage) -> int:
    return usage.input + usage.cache_read + usage.cache_write + usage.output


def _total_usage(messages: tuple[AssistantMessage, ...]) -> Usage:
    if len(messages) == 1:
        return messages[0].usage
    from ...usage import sum_usage

    return sum_usage(message.usage for message in messages)


def _tokens_per_second(messages: tuple[AssistantMessage, ...]) -> float | None:
    """Return the tokens per second after the first one, or None if that is unknown.

    Reasoning tokens without visible thinking came before the first token, so they do not count.
    """
    tokens, seconds = 0, 0.0
    for message in messages:
        if message.duration_ms is None or message.ttft_ms is None:
            return None
        usage = message.usage
        tokens += usage.output - (0 if message.thinking_text else usage.reasoning or 0)
        seconds += (message.duration_ms - message.ttft_ms) / 1000
    return tokens / seconds if tokens > 1 and seconds >= MIN_TIMED_S else None
