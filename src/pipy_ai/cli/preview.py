"""`pipy preview`: the request that `pipy ask` would send."""

from __future__ import annotations

import argparse
import json

from . import question
from .terminal import complain, worded, write, write_json

DESCRIPTION = (
    "Show the request that `pipy ask` would send for the same arguments, without sending it."
    " Keys are masked."
)


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    question.arguments(command)
    command.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from pydantic import ValidationError

    from .. import PipyError, ctx
    from .. import preview as show_request

    try:
        asked = question.question(arguments)
        context = asked.context
        if asked.tools:
            context = ctx(*context.messages, system=context.system_prompt, tools=asked.tools)
        shown = show_request(asked.models[0], context, output=asked.schema, **asked.options)
    except ValidationError as error:
        return question.wrong(error)
    except (ValueError, TypeError, LookupError, OSError) as error:
        complain(worded(error))
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
    here = asked.models[0].partition("/")[0] in ("local", "faux")
    by = "On this machine, with:" if here else "By LiteLLM, with:"
    head = [f"{shown.method} {shown.url}" if shown.url else by]
    head += [f"{name}: {value}" for name, value in shown.headers.items()]
    body = json.dumps(shown.body, indent=2, ensure_ascii=False, default=str)
    write("\n".join([*head, "", body, ""]))
    return 0
