"""`pipy cost`: estimate the cost of a request."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from ...registry import Model, estimate_cost, get_registry
from ...utils.text import format_count, format_usd
from ..args.catalogue import add_token_options, find_model
from ..args.common import add_json_option
from ..display.catalogue import show_price_date, zero_price_label
from ..display.terminal import format_error, warn, wrap, write, write_json

if TYPE_CHECKING:
    from ...context import Prompt
    from ...tokens import TokenCount

EXAMPLES = """\
pipy cost sonnet --input 10k --output 2k
pipy cost openai/gpt-5 --input 1M --cached 900k
pipy cost haiku --input 500 --output 100 --json
pipy cost sonnet --prompt report.txt --output 1k
"""
GUIDE = "cost.md"
COUNT_TIMEOUT_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="model name or part of it")
    prompt_group = parser.add_mutually_exclusive_group(required=True)
    add_token_options(parser, input_group=prompt_group)
    prompt_group.add_argument(
        "--prompt",
        metavar="FILE",
        help="count the tokens of a text, PDF or image (- for stdin): by the provider if it"
        " supports that and you have a key, else estimated",
    )
    parser.add_argument(
        "--offline", action="store_true", help="estimate the tokens of --prompt; send nothing"
    )
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    registry = get_registry()
    model = find_model(registry, arguments.model)
    if model is None:
        return 1
    count: TokenCount | None = None
    if arguments.prompt is not None:
        try:
            count = _count_prompt(model, arguments.prompt, arguments.offline)
        except (OSError, ValueError) as error:
            warn(format_error(error))
            return 2
    input_tokens = arguments.input if count is None else count.tokens
    total_cost = estimate_cost(model, input_tokens, arguments.output, arguments.cached)
    input_cost = estimate_cost(model, input_tokens, 0, arguments.cached)
    output_cost = None if total_cost is None or input_cost is None else total_cost - input_cost
    if arguments.json:
        write_json(
            {
                "model": model.qualified_name,
                **({} if count is None else _json_count(count)),
                "total": total_cost,
                "input": input_cost,
                "output": None if output_cost is None else round(output_cost, 12),
                "date": registry.date,
            }
        )
        return 0 if total_cost is not None else 1
    if count is not None:
        source = "estimated" if count.estimated else f"counted by {model.provider}"
        write(f"Prompt: {format_count(count.tokens, 'token')} ({source})\n")
    if total_cost is None or output_cost is None or input_cost is None:
        warn(f"the price of {model.qualified_name} is unknown")
        return 1
    parts = f"{format_usd(input_cost)} input + {format_usd(output_cost)} output"
    write(wrap(f"Estimated cost: {format_usd(total_cost)} ({parts})\n", sys.stdout))
    if not total_cost and not model.cost.input and not model.cost.output:
        warn(f"{model.provider} lists a price of 0: {zero_price_label(model.provider)}")
    show_price_date(registry)
    return 0


def _count_prompt(model: Model, path: str, offline: bool) -> TokenCount:
    """Count the tokens of a file; estimate them, with a warning, if the provider does not answer.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is empty, or a type of file that no model reads.
    """
    from ... import PipyError, count_tokens

    prompt = _read_prompt(path)
    if not offline:
        try:
            count = count_tokens(model, prompt, timeout=COUNT_TIMEOUT_S)
        except PipyError as error:
            warn(f"the tokens are estimated; {model.provider} did not count them: {error}")
        else:
            for warning in count.warnings:
                warn(warning.message)
            return count
    return count_tokens(model, prompt, offline=True)


def _read_prompt(path: str) -> Prompt:
    """Return the text of a file or of stdin, or a message with a PDF or an image."""
    if path == "-":
        return sys.stdin.read()
    from ... import TextContent, attachment, user
    from ...utils.encoding import read_text

    content = attachment(path)
    return read_text(path) if isinstance(content, TextContent) else user(content)


def _json_count(count: TokenCount) -> dict[str, Any]:
    return {"input_tokens": count.tokens, "estimated": count.estimated}
