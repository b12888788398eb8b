"""`pipy ask`: send one prompt and print the answer as it arrives."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from ..args.common import add_quiet_option, parse_count
from ..args.prompt import (
    add_prompt_options,
    build_prompt_args,
    report_invalid_option,
    start_mcp_servers,
)
from ..display.notices import (
    ending_notices,
    is_unrecorded,
    show_demo_notice,
    warn_error,
    warning_texts,
)
from ..display.status import hide_status, show_request_status, show_status
from ..display.terminal import (
    format_error,
    is_interactive,
    is_quiet,
    warn,
    write,
    write_answer,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ... import AssistantMessage
    from ..args.prompt import PromptArgs
    from ..conversations.conversation import Conversation
    from ..display.printer import Printer

DESCRIPTION = (
    "Send one prompt and print the answer as it arrives. Piped input is placed before the prompt."
)
EXAMPLES = """\
pipy "What is 2+2?"
git diff | pipy -m sonnet "Write a commit message"
pipy ask -m gemini-2.5-flash-image -a photo.jpg -o night.png "Make it night"
pipy ask --schema "name, age int" "Invent a person"
pipy ask -c "And in French?"
"""
GUIDE = "ask.md"
WAITS = "starting"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    tools_group = add_prompt_options(parser, uploads=True)
    tools_group.add_argument(
        "-y", "--yes", action="store_true", help="run tool calls without confirmation"
    )
    tools_group.add_argument(
        "--max-turns", type=parse_count, default=8, metavar="N",
        help="maximum number of requests with tools (default: 8)",
    )  # fmt: skip
    conversation_group = parser.add_argument_group("conversation")
    continue_group = conversation_group.add_mutually_exclusive_group()
    continue_group.add_argument(
        "-c", "--continue", dest="go_on", action="store_true", help="continue the last conversation"
    )
    continue_group.add_argument("--cid", metavar="ID", help="continue this conversation")
    conversation_group.add_argument(
        "--no-save", action="store_true", help="do not save the conversation (also: PIPY_NO_SAVE=1)"
    )
    output_group = parser.add_argument_group("output")
    format_group = output_group.add_mutually_exclusive_group()
    format_group.add_argument("--json", action="store_true", help="print the whole message as JSON")
    format_group.add_argument(
        "--events",
        action="store_true",
        help="print each event as a line of JSON, with the milliseconds since the request",
    )
    format_group.add_argument(
        "-x", "--extract", action="store_true", help="print only the first code block"
    )
    format_group.add_argument(
        "--xl", "--extract-last", action="store_true", help="print only the last code block"
    )
    output_group.add_argument(
        "--output",
        metavar="FILE",
        help="save the first image or audio of the answer as FILE (also: -o cat.png)",
    )
    output_group.add_argument("--plain", action="store_true", help="do not render Markdown")
    output_group.add_argument(
        "--usage",
        action="store_true",
        help="print tokens, cost and speed on stderr (default on a terminal)",
    )
    add_quiet_option(output_group)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    with contextlib.ExitStack() as stack:
        return _run(arguments, stack)


def _run(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> int:
    from pydantic import ValidationError

    conversation: Conversation | None = None
    try:
        _find_output_path(arguments)
        conversation = _previous_conversation(arguments)
        prompt_args = build_prompt_args(arguments, conversation)
        start_mcp_servers(prompt_args, arguments, stack)
        show_request_status(prompt_args.models[0])
        events, printer = _start_request(prompt_args, arguments)
        conversation = _save_prompt(prompt_args, conversation, arguments)
    except ValidationError as error:
        return report_invalid_option(error)
    except (ValueError, TypeError, LookupError, OSError) as error:
        warn(format_error(error))
        return 2
    with conversation or contextlib.nullcontext():
        if events is None:
            exit_code = _answer_with_schema(prompt_args, conversation, arguments)
        else:
            api_base = prompt_args.options["api_base"]
            exit_code = _stream_answer(events, printer, conversation, arguments, api_base)
    if conversation is not None and conversation.save_failed:
        return exit_code or 1
    return exit_code


def _find_output_path(arguments: argparse.Namespace) -> None:
    """Move a file name from `-o` to `arguments.output`, and check that it can be written.

    Raises:
        ValueError: There are several, or it cannot be written.
    """
    names = [text for text in arguments.option if "=" not in text]
    if not names and arguments.output is None:
        return
    from ..display.media_files import check_output_path, is_media_path

    for name in names:
        if not is_media_path(name):
            raise ValueError(
                f"-o {name}: expected NAME=VALUE, or the name of an image or audio file"
            )
    outputs = names if arguments.output is None else [*names, arguments.output]
    if len(outputs) > 1:
        raise ValueError(f"use one output file, not {' and '.join(outputs)}")
    check_output_path(outputs[0])
    arguments.output = outputs[0]
    arguments.option = [text for text in arguments.option if "=" in text]


def _start_request(prompt_args: PromptArgs, arguments: argparse.Namespace) -> tuple[Any, Printer]:
    """Send the request and return its events and their printer.

    With a schema there are no events: None is returned, and nothing is sent yet.
    """
    from ... import stream
    from ..display.printer import Printer

    print_text = not (arguments.extract or arguments.xl)
    if prompt_args.schema is not None:
        from ..._requests import request_factories  # reject wrong use before anything is saved

        model, context, options = prompt_args.model, prompt_args.context, prompt_args.options
        request_factories(model, context, None, options, prompt_args.schema)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
        return None, Printer()
    if prompt_args.tools:
        from ... import run_tools
        from ..display.approval import ToolApproval

        approval = ToolApproval(arguments.yes, prompt_args.tools)
        tool_options: dict[str, Any] = {"approve": approval, "max_turns": arguments.max_turns}
        tool_run = run_tools(
            prompt_args.model,
            prompt_args.context,
            [*(prompt_args.context.tools or []), *prompt_args.tools],
            **tool_options,
            **prompt_args.options,
        )
        return tool_run, Printer(
            plain=arguments.plain, show_text=print_text, show_calls=not approval.asks_user
        )
    events = stream(prompt_args.model, prompt_args.context, **prompt_args.options)
    return events, Printer(plain=arguments.plain, show_text=print_text)


def _previous_conversation(arguments: argparse.Namespace) -> Conversation | None:
    """Return the conversation to continue, if there is one."""
    if not (arguments.go_on or arguments.cid):
        return None
    from ..args.conversation import saving_enabled
    from ..conversations.conversation import Conversation

    return (Conversation.open if saving_enabled(arguments) else Conversation.read)(arguments.cid)


def _save_prompt(
    prompt_args: PromptArgs, conversation: Conversation | None, arguments: argparse.Namespace
) -> Conversation | None:
    """Save the prompt. The request is already in flight, so this costs no time."""
    from ..args.conversation import saving_enabled
    from ..conversations.conversation import Conversation

    if conversation is None:
        if not saving_enabled(arguments):
            return None
        conversation = Conversation.new()
    conversation.set(
        model=prompt_args.models[0],
        system=prompt_args.context.system_prompt,
        thinking=prompt_args.options["reasoning"],
        api_base=prompt_args.options["api_base"],
    )
    conversation.add(prompt_args.message)
    return conversation


def _stream_answer(
    events: Any,
    printer: Printer,
    conversation: Conversation | None,
    arguments: argparse.Namespace,
    api_base: str | None,
) -> int:
    exit_code = 0
    try:
        with events:
            _print_events(events, printer, conversation, arguments)
        message = events.result()
    except KeyboardInterrupt:
        message, exit_code = events.result(), 130
        if conversation is not None:
            _save_interrupted(events, message, conversation)
    if not exit_code and message.error is None and (arguments.extract or arguments.xl):
        _print_code_block(message.text, last=arguments.xl)
    if arguments.json:
        write_json(message.model_dump(mode="json"))
    answers = [m for m in getattr(events, "messages", ()) if m.role == "assistant"] or [message]
    return _report(message, answers, exit_code, arguments, api_base)


def _print_events(
    events: Any, printer: Printer, conversation: Conversation | None, arguments: argparse.Namespace
) -> None:
    started = time.perf_counter()
    with printer:
        for event in events:
            if event.type == "start":
                show_demo_notice(f"{event.partial.provider}/{event.partial.model}")
            if conversation is not None:
                conversation.journal(event)
            if arguments.events or arguments.json:
                _show_event_status(event.type, arguments.events)
            if arguments.events:
                write_json(event.to_dict() | {"ms": round((time.perf_counter() - started) * 1000)})
            elif not arguments.json:
                printer.show(event)


def _show_event_status(event_type: str, prints_events: bool) -> None:
    """Change the status line where the events are not shown by a `Printer`."""
    if event_type in ("toolcall_end", "done", "error") or (prints_events and sys.stdout.isatty()):
        hide_status()
    elif event_type in ("thinking_start", "text_start"):
        show_status("thinking" if event_type == "thinking_start" else "answering")


def _save_interrupted(events: Any, message: AssistantMessage, conversation: Conversation) -> None:
    """Save the partial answer after Ctrl-C; of a tool run, what its journal has."""
    from ...events import ErrorEvent
    from ...stream import AssistantMessageEventStream
    from ...types import StopReason

    if isinstance(events, AssistantMessageEventStream):
        conversation.journal(
            ErrorEvent(reason=message.stop_reason or StopReason.ABORTED, error=message)
        )
    conversation.finish_partial()


def _answer_with_schema(
    prompt_args: PromptArgs, conversation: Conversation | None, arguments: argparse.Namespace
) -> int:
    from pydantic_core import to_jsonable_python

    from ... import complete

    message: Any = complete(
        prompt_args.model, prompt_args.context, output=prompt_args.schema, **prompt_args.options
    )
    hide_status()
    show_demo_notice(f"{message.provider}/{message.model}")
    if conversation is not None:
        conversation.add(message)
    if arguments.json:
        write_json(message.model_dump(mode="json"))
    elif message.error is None:
        value = to_jsonable_python(message.parsed, serialize_unknown=True)
        if sys.stdout.isatty():
            write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        else:
            write_json(value)
    return _report(message, [message], 0, arguments, prompt_args.options["api_base"])


def _print_code_block(text: str, last: bool) -> None:
    from ..display.code_blocks import extract_code_blocks

    code_blocks = extract_code_blocks(text)
    if not code_blocks:
        warn("the answer has no code block; printing all of it")
        code_blocks = [text if text.endswith("\n") else f"{text}\n"]
    write_answer(code_blocks[-1 if last else 0])


def _report(
    message: AssistantMessage,
    answers: Sequence[AssistantMessage],
    exit_code: int,
    arguments: argparse.Namespace,
    api_base: str | None,
) -> int:
    """Save images and files; print sources, warnings, the error and the usage on stderr.

    Returns:
        The exit code.
    """
    if not (arguments.json or arguments.events):
        _print_sources(answers)
    media_saved = _save_media(answers, arguments, api_base)
    for text in dict.fromkeys([*warning_texts(answers), *_fallback_notices(answers)]):
        warn(text)
    for text in [] if exit_code else ending_notices(message):
        warn(text)
    if message.error is not None and not exit_code:
        warn_error(message, api_base)
        exit_code = 1
    if not exit_code and any(is_unrecorded(answer) for answer in answers):
        exit_code = 1
    if arguments.usage or (
        is_interactive() and not is_quiet() and any(answer.usage.total_tokens for answer in answers)
    ):
        from ..display.usage import print_usage  # loads while the answer is on the screen

        print_usage(*answers)
    return exit_code or int(not media_saved)


def _print_sources(answers: Sequence[AssistantMessage]) -> None:
    if any(message.citations or message.server_tool_calls for message in answers):
        from ..display.sources import print_sources

        print_sources(answers)


def _save_media(
    answers: Sequence[AssistantMessage], arguments: argparse.Namespace, api_base: str | None
) -> bool:
    """Save images, audio and the files that code created, unless the output is JSON.

    Returns:
        Whether that succeeded.
    """
    output = arguments.output
    is_printed = arguments.json or arguments.events
    has_media = any(message.images or message.audio for message in answers)
    has_files = any(message.files for message in answers)
    if output is None and (is_printed or not (has_media or has_files)):
        return True
    if not has_media and any(message.error for message in answers):
        return True  # the error is the reason
    all_saved = True
    if has_media or not has_files:
        from ..display.media_files import save_media

        all_saved = save_media(answers, output)
    if has_files:
        from ..display.created_files import save_created_files

        first = None if has_media else output
        all_saved = save_created_files(answers, api_base, first) and all_saved
    return all_saved


def _fallback_notices(answers: Sequence[AssistantMessage]) -> list[str]:
    """Return which models failed and which one answered, if it is not the first."""
    lines = []
    for answer in answers:
        name = f"{answer.provider}/{answer.model}"
        for attempt in answer.attempts:
            attempted = f"{attempt.provider}/{attempt.model}"
            if attempt.error is not None and attempted != name:
                lines.append(f"{attempted} failed: {attempt.error.message}")
        if lines and answer.error is None:
            lines.append(f"{name} answered")
    return lines
