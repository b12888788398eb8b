"""`pipy ask`: one question, the answer as it comes."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from . import question
from .show import Printer, on_terminal, show_usage
from .terminal import complain, worded, write, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .. import AssistantMessage
    from .conversations import Conversation
    from .question import Question

DESCRIPTION = (
    "Ask one question and print the answer as it comes. Text piped in goes before the prompt."
)


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    question.arguments(command)
    command.add_argument(
        "-y", "--yes", action="store_true", help="run the tools' calls without asking"
    )
    command.add_argument(
        "--max-turns", type=int, default=8, metavar="N", help="with tools: ask at most N times"
    )
    goes_on = command.add_mutually_exclusive_group()
    goes_on.add_argument(
        "-c", "--continue", dest="go_on", action="store_true", help="go on with the last question"
    )
    goes_on.add_argument("--cid", metavar="ID", help="go on with this conversation")
    command.add_argument(
        "--no-save", action="store_true", help="do not keep this (also: PIPY_NO_SAVE=1)"
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the whole message as JSON")
    form.add_argument(
        "--events",
        action="store_true",
        help="print each event as a line of JSON, with the milliseconds since the question",
    )
    form.add_argument(
        "-x", "--extract", action="store_true", help="print the first code block only"
    )
    form.add_argument(
        "--xl", "--extract-last", action="store_true", help="print the last code block only"
    )
    command.add_argument("--plain", action="store_true", help="print Markdown as it is")
    command.add_argument(
        "--usage",
        action="store_true",
        help="end with tokens, cost and speed, on stderr (a terminal is told anyway)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from pydantic import ValidationError

    kept: Conversation | None = None
    try:
        kept = _earlier(arguments)
        asked = question.question(arguments, kept)
        events, printer = _begin(asked, arguments)
        kept = _keep(asked, kept, arguments)
    except ValidationError as error:
        return question.wrong(error)
    except (ValueError, TypeError, LookupError, OSError) as error:
        complain(worded(error))
        return 2
    with kept or contextlib.nullcontext():
        if events is None:
            return _typed(asked, kept, arguments)
        return _answered(events, printer, kept, arguments)


def _begin(asked: Question, arguments: argparse.Namespace) -> tuple[Any, Printer]:
    """The events of the answer, None for a typed one; and who prints them."""
    from .. import stream

    prints = not (arguments.extract or arguments.xl)
    if asked.schema is not None:
        from ..api import build_requests  # wrong use is told before anything is kept

        build_requests(asked.model, asked.context, None, asked.options, asked.schema)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
        return None, Printer()
    if asked.tools:
        from .. import run_tools
        from .tools import Approval

        approval = Approval(arguments.yes)
        given: dict[str, Any] = {"approve": approval, "max_turns": arguments.max_turns}
        run = run_tools(asked.model, asked.context, asked.tools, **given, **asked.options)
        return run, Printer(plain=arguments.plain, text=prints, calls=not approval.asks)
    events = stream(asked.model, asked.context, **asked.options)
    return events, Printer(plain=arguments.plain, text=prints)


# === Keeping it =============================================================================


def _earlier(arguments: argparse.Namespace) -> Conversation | None:
    """The conversation that the question goes on with."""
    if not (arguments.go_on or arguments.cid):
        return None
    from .conversations import Conversation, wanted

    return (Conversation.open if wanted(arguments) else Conversation.read)(arguments.cid)


def _keep(
    asked: Question, kept: Conversation | None, arguments: argparse.Namespace
) -> Conversation | None:
    """Keep the question. The request is on its way already, so this costs no time."""
    from .conversations import Conversation, wanted

    if kept is None:
        if not wanted(arguments):
            return None
        kept = Conversation.new()
    kept.set(
        model=asked.models[0],
        system=asked.context.system_prompt,
        thinking=asked.options["reasoning"],
        api_base=asked.options["api_base"],
    )
    kept.add(asked.message)
    return kept


# === The answer =============================================================================


def _answered(
    events: Any, printer: Printer, kept: Conversation | None, arguments: argparse.Namespace
) -> int:
    code = 0
    try:
        with events:
            _show(events, printer, kept, arguments)
        message = events.result()
    except KeyboardInterrupt:
        message, code = events.result(), 130
        if kept is not None:
            _keep_stopped(events, message, kept)
    if not code and message.error is None and (arguments.extract or arguments.xl):
        _extract(message.text, last=arguments.xl)
    if arguments.json:
        write_json(message.model_dump(mode="json"))
    answers = [m for m in getattr(events, "messages", ()) if m.role == "assistant"] or [message]
    return _ended(message, answers, code, arguments)


def _show(
    events: Any, printer: Printer, kept: Conversation | None, arguments: argparse.Namespace
) -> None:
    begun = time.perf_counter()
    with printer:
        for event in events:
            if kept is not None:
                kept.journal(event)
            if arguments.events:
                write_json(event.to_dict() | {"ms": round((time.perf_counter() - begun) * 1000)})
            elif not arguments.json:
                printer.show(event)


def _keep_stopped(events: Any, message: AssistantMessage, kept: Conversation) -> None:
    """What came before Ctrl-C; of a run of tools, what its journal has."""
    from ..stream import AssistantMessageEventStream, ErrorEvent
    from ..types import StopReason

    if isinstance(events, AssistantMessageEventStream):
        kept.journal(ErrorEvent(reason=message.stop_reason or StopReason.ABORTED, error=message))
    kept.cut()


def _typed(asked: Question, kept: Conversation | None, arguments: argparse.Namespace) -> int:
    from pydantic_core import to_jsonable_python

    from .. import complete

    message: Any = complete(asked.model, asked.context, output=asked.schema, **asked.options)
    if kept is not None:
        kept.add(message)
    if arguments.json:
        write_json(message.model_dump(mode="json"))
    elif message.error is None:
        value = to_jsonable_python(message.parsed, serialize_unknown=True)
        if sys.stdout.isatty():
            write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        else:
            write_json(value)
    return _ended(message, [message], 0, arguments)


def _extract(text: str, last: bool) -> None:
    from .code import blocks

    found = blocks(text)
    if not found:
        complain("the answer has no code block; this is all of it")
        found = [text if text.endswith("\n") else f"{text}\n"]
    write(found[-1 if last else 0])


def _ended(
    message: AssistantMessage,
    answers: Sequence[AssistantMessage],
    code: int,
    arguments: argparse.Namespace,
) -> int:
    """Say on stderr what is to be said; the exit code."""
    said = [warning.message for answer in answers for warning in answer.warnings]
    for text in dict.fromkeys([*said, *_fell_back(answers)]):
        complain(text)
    if message.error is not None and not code:
        complain(message.error.message)
        code = 1
    if arguments.usage or (on_terminal() and any(one.usage.total_tokens for one in answers)):
        show_usage(*answers)
    return code


def _fell_back(answers: Sequence[AssistantMessage]) -> list[str]:
    """Which model answered, where it was not the first one."""
    lines = []
    for answer in answers:
        name = f"{answer.provider}/{answer.model}"
        for attempt in answer.attempts:
            tried = f"{attempt.provider}/{attempt.model}"
            if attempt.error is not None and tried != name:
                lines.append(f"{tried} failed: {attempt.error.message}")
        if lines and answer.error is None:
            lines.append(f"{name} answered")
    return lines
