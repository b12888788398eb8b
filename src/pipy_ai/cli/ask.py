"""`pipy ask`: one question, the answer as it comes."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from . import question
from .terminal import DIM, PLAIN, complain, write, write_json

if TYPE_CHECKING:
    from .. import AssistantMessage, AssistantMessageEventStream

DESCRIPTION = (
    "Ask one question and print the answer as it comes. Text piped in goes before the prompt."
)


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    question.arguments(command)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the whole message as JSON")
    form.add_argument("--events", action="store_true", help="print each event as a line of JSON")
    command.add_argument("--usage", action="store_true", help="end with tokens and cost, on stderr")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from pydantic import ValidationError

    from .. import stream

    try:
        events = stream(*question.question(arguments), **question.options(arguments))
    except ValidationError as error:
        return question.wrong(error)
    except (ValueError, LookupError, OSError) as error:
        complain(str(error))
        return 2
    try:
        with events:
            message = _show(events, arguments)
    except KeyboardInterrupt:
        message = events.result()
        if not (arguments.json or arguments.events):
            write("\n")
        if arguments.usage:
            _show_usage(message)
        return 130
    for warning in message.warnings:
        complain(warning.message)
    if message.error is not None:
        complain(message.error.message)
    if arguments.usage:
        _show_usage(message)
    return 0 if message.error is None else 1


def _show(events: AssistantMessageEventStream, arguments: argparse.Namespace) -> AssistantMessage:
    if arguments.json:
        message = events.result()
        write_json(message.model_dump(mode="json"))
        return message
    if arguments.events:
        for event in events:
            write_json(event.to_dict())
        return events.result()
    dim, plain = (DIM, PLAIN) if sys.stderr.isatty() else ("", "")
    thinking, ends_in_newline = False, True
    try:
        for event in events:
            match event.type:
                case "text_delta":
                    write(event.delta)
                    ends_in_newline = event.delta.endswith("\n")
                case "thinking_start":
                    thinking = True
                    sys.stderr.write(dim)
                case "thinking_delta":
                    write(event.delta, sys.stderr)
                case "thinking_end":
                    thinking = False
                    sys.stderr.write(f"{plain}\n")
                case "toolcall_end":
                    call = event.tool_call
                    write(f"{call.name}({call.arguments})\n", sys.stderr)
    finally:
        if thinking:  # stopped in the middle of a thought: the terminal is not to stay dim
            sys.stderr.write(f"{plain}\n")
            sys.stderr.flush()
    if not ends_in_newline:
        write("\n")
    return events.result()


def _show_usage(message: AssistantMessage) -> None:
    usage = message.usage
    about = "about " if usage.estimated else ""
    cached = f" + {usage.cache_read:,} cached" if usage.cache_read else ""
    cost = "cost unknown" if usage.cost.total is None else f"${usage.cost.total:.4f}"
    line = f"{about}{usage.input:,}{cached} in / {usage.output:,} out  {cost}"
    if message.duration_ms is not None:
        line += f"  {message.duration_ms / 1000:.1f} s"
    write(line + "\n", sys.stderr)
