"""`pipy preview`: show the request that `pipy ask` would send."""

from __future__ import annotations

import argparse
import contextlib
import json

from ..args.prompt import (
    add_prompt_options,
    build_prompt_args,
    report_invalid_option,
    start_mcp_servers,
)
from ..display.terminal import format_error, warn, write, write_json

DESCRIPTION = (
    "Show the request that `pipy ask` would send for the same arguments, without sending it."
    " Keys are masked."
)
EXAMPLES = """\
pipy preview -m sonnet "What is 2+2?"
pipy preview -m openai/gpt-5 --thinking high "Prove it"
pipy preview -m sonnet --schema "name, age int" --json "Invent a person"
"""
GUIDE = "ask.md"
WAITS = "building the request"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_prompt_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from pydantic import ValidationError

    from ... import PipyError, ctx, preview
    from ...tools import as_tools

    try:
        prompt_args = build_prompt_args(arguments)
        context = prompt_args.context
        with contextlib.ExitStack() as stack:
            start_mcp_servers(prompt_args, arguments, stack)
            tools = [*(context.tools or []), *as_tools(prompt_args.tools)]
        if tools:
            context = ctx(*context.messages, system=context.system_prompt, tools=tools)
        request = preview(
            prompt_args.models[0], context, output=prompt_args.schema, **prompt_args.options
        )
    except ValidationError as error:
        return report_invalid_option(error)
    except (ValueError, TypeError, LookupError, OSError) as error:
        warn(format_error(error))
        return 2
    except PipyError as error:  # the request cannot be sent in any way
        warn(str(error))
        return 1
    for warning in request.warnings:
        warn(warning.message)
    if arguments.json:
        fields = ("method", "url", "headers", "body", "cached")
        write_json({name: getattr(request, name) for name in fields})
        return 0
    is_local = prompt_args.models[0].partition("/")[0] in ("local", "faux")
    heading = "On this machine, with:" if is_local else "Through LiteLLM, with:"
    head = [f"{request.method} {request.url}" if request.url else heading]
    head += [f"{name}: {value}" for name, value in request.headers.items()]
    body = json.dumps(request.body, indent=2, ensure_ascii=False, default=str)
    is_cached = request.cached and not request.cached.startswith("nothing")
    foot = [f"Cached: {request.cached}", ""] if is_cached else []
    write("\n".join([*head, "", body, "", *foot]))
    return 0
