"""`pipy ask`: one question, the answer as it comes; `pipy preview`: what would be sent for it."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from typing import Any

from pydantic import ValidationError

from .. import (
    AssistantMessage,
    AssistantMessageEventStream,
    Context,
    PipyError,
    UserMessage,
    ctx,
    default_model,
    image,
    user,
)
from .. import preview as show_request
from .. import stream as start_stream
from ..types import ImageContent, TextContent, UserContent
from .terminal import DIM, PLAIN, complain, write, write_json


def ask(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    try:
        events = start_stream(*_question(arguments), **_options(arguments))
    except ValidationError as error:
        return _wrong(error)
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


def preview(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    try:
        shown = show_request(*_question(arguments), **_options(arguments))
    except ValidationError as error:
        return _wrong(error)
    except (ValueError, LookupError, OSError) as error:
        complain(str(error))
        return 2
    except PipyError as error:  # there is no way to ask for this
        complain(str(error))
        return 1
    for warning in shown.warnings:
        complain(warning.message)
    if arguments.json:
        names = ("method", "url", "headers", "body")
        write_json({name: getattr(shown, name) for name in names})
        return 0
    head = [f"{shown.method} {shown.url}"] if shown.url else ["By LiteLLM, with:"]
    head += [f"{name}: {value}" for name, value in shown.headers.items()]
    body = json.dumps(shown.body, indent=2, ensure_ascii=False, default=str)
    write("\n".join([*head, "", body, ""]))
    return 0


def _question(arguments: argparse.Namespace) -> tuple[str, Context]:
    """Of whom, and what."""
    prompt = _prompt(arguments.prompt)
    images = [image(source) for source in arguments.attach]
    context = ctx(_message(prompt, images), system=arguments.system)
    return arguments.model or default_model(), context


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "temperature": arguments.temperature,
        "max_tokens": arguments.max_tokens,
        "reasoning": arguments.thinking,
        "api_base": arguments.api_base,
    }


def _wrong(error: ValidationError) -> int:
    first = error.errors()[0]
    complain(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}")
    return 2


def _prompt(words: list[str]) -> str:
    """What was piped in, then what was typed."""
    parts = []
    if _has_input():
        try:
            parts.append(sys.stdin.buffer.read().decode("utf-8").rstrip("\n"))
        except UnicodeDecodeError:
            raise ValueError("what was piped in is not UTF-8 text; attach images with -a") from None
    parts.append(" ".join(words))
    prompt = "\n\n".join(part for part in parts if part.strip())
    if not prompt:
        raise ValueError('nothing to ask: pipy ask "What is 2+2?", or pipe text in')
    return prompt


def _has_input() -> bool:
    """Whether stdin is a pipe or a file, rather than a terminal or nothing."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed, or not a real file
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _message(prompt: str, images: list[ImageContent]) -> UserMessage:
    if not images:
        return user(prompt)
    content: list[UserContent] = [TextContent(text=prompt), *images]
    return UserMessage(content=content)


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
