"""`pipy ask`: one question, the answer as it comes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import question
from .show import Printer, on_terminal, show_usage
from .terminal import complain, write_json

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
    command.add_argument("--plain", action="store_true", help="print Markdown as it is")
    command.add_argument(
        "--usage",
        action="store_true",
        help="end with tokens, cost and speed, on stderr (a terminal is told anyway)",
    )


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
    code = 0
    try:
        with events:
            message = _show(events, arguments)
    except KeyboardInterrupt:
        message, code = events.result(), 130
    for warning in message.warnings:
        complain(warning.message)
    if message.error is not None and not code:
        complain(message.error.message)
        code = 1
    if arguments.usage or (on_terminal() and message.usage.total_tokens):
        show_usage(message)
    return code


def _show(events: AssistantMessageEventStream, arguments: argparse.Namespace) -> AssistantMessage:
    if arguments.json:
        message = events.result()
        write_json(message.model_dump(mode="json"))
        return message
    if arguments.events:
        for event in events:
            write_json(event.to_dict())
        return events.result()
    with Printer(plain=arguments.plain) as printer:
        for event in events:
            printer.show(event)
    return events.result()
