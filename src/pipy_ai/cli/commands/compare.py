"""`pipy compare`: rank models by the cost of a request, or show their answers side by side."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ...registry import get_registry
from ...registry.catalogue import ModelRegistry
from ...registry.registry import row_cost
from ...utils.text import format_count, format_usd
from ..args.catalogue import add_filter_options, add_token_options, find_model, query_models
from ..args.common import add_json_option, add_pager_option, parse_count
from ..args.prompt import add_model_options, build_prompt_args, report_invalid_option
from ..display.catalogue import show_price_date
from ..display.table import print_table
from ..display.terminal import format_error, hint, warn, write, write_json

if TYPE_CHECKING:
    from ..args.prompt import PromptArgs

DESCRIPTION = (
    "Rank models by the cost of a request or, with -p, send one prompt to several models and show"
    " their answers side by side, with time, tokens and cost. On a terminal you can then vote for"
    " the best answer: --votes lists the standings."
)
EXAMPLES = """\
pipy compare --input 10k --output 2k --provider anthropic
pipy compare -p "Explain TCP in one sentence" -m sonnet -m openai/gpt-5
git diff | pipy compare -p "Review this" -m sonnet -m openai/gpt-5
pipy compare --votes
"""
GUIDE = "ask.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="models to compare (default: all)"
    )
    answers = parser.add_argument_group("compare answers")
    answers.add_argument("-p", "--prompt", metavar="PROMPT", help="prompt to send to each model")
    answers.add_argument(
        "-a", "--attach", action="append", default=[], metavar="FILE",
        help="attach an image, audio, video, PDF or text file by path or URL (repeatable)",
    )  # fmt: skip
    add_model_options(answers, many_models=True)
    answers.add_argument("--no-stdin", action="store_true", help="do not read stdin")
    answers.add_argument(
        "--plain",
        action="store_true",
        help="do not render Markdown; print one answer after the other",
    )
    answers.add_argument(
        "--votes", action="store_true", help="show how often each model was voted best"
    )
    costs = parser.add_argument_group("rank by cost")
    add_token_options(costs)
    costs.add_argument("--limit", type=parse_count, metavar="N", help="show only the first N")
    costs.add_argument("--free", action="store_true", help="include free models")
    add_filter_options(parser)
    add_json_option(parser)
    add_pager_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if arguments.votes:
        return _show_votes(arguments)
    if arguments.prompt is not None:
        return _compare_answers(arguments)
    if arguments.input is None:
        raise ValueError(
            'compare costs with --input N, or answers with -p: pipy compare -p "Hi" -m A -m B'
        )
    if arguments.model:
        raise ValueError("-m is for comparing answers, with -p PROMPT")
    registry = get_registry()
    names = _select(registry, arguments)
    if names is None:
        return 1
    tokens = (arguments.input, arguments.output, arguments.cached)
    if min(tokens) < 0 or arguments.cached > arguments.input:
        raise ValueError("token counts must not be negative, and --cached must be part of --input")
    rows = registry.rows()
    costs = {name: row_cost(name, rows[name], *tokens) for name in names}
    include_free = bool(arguments.free or arguments.models)
    ranked = _rank(costs, include_free)
    shown = ranked if arguments.limit is None else ranked[: arguments.limit]
    if arguments.json:
        write_json([{"model": name, "total": cost} for cost, name in shown])
        return 0
    width = max((len(name) for _, name in shown), default=0) + 1
    for cost, name in shown:
        write(f"{name + ':':<{width}}  {format_usd(cost)}\n")
    _print_omitted(costs, len(ranked) - len(shown), include_free)
    show_price_date(registry)
    return 0 if shown else 1


def _compare_answers(arguments: argparse.Namespace) -> int:
    from ..display.status import show_status

    show_status("starting")
    from pydantic import ValidationError

    from ..comparison.run import compare_answers

    try:
        prompt_args = _prompt_args(arguments)
        return compare_answers(prompt_args, json=arguments.json, plain=arguments.plain)
    except ValidationError as error:
        return report_invalid_option(error)
    except (TypeError, LookupError) as error:
        warn(format_error(error))
        return 2


def _prompt_args(arguments: argparse.Namespace) -> PromptArgs:
    models = [*arguments.model, *arguments.models]
    if len(models) < 2:
        raise ValueError("name at least two models: -m A -m B")
    if arguments.input is not None:
        raise ValueError("use either --input, which compares costs, or -p, which compares answers")
    first, *others = models
    prompt_args = build_prompt_args(
        argparse.Namespace(
            **{
                **vars(arguments), "prompt": [arguments.prompt], "model": first,
                "fallback": others, "template": None, "param": [], "schema": None,
                "schema_multi": None, "tool": [], "search": False, "fetch": False, "code": False,
            }
        )
    )  # fmt: skip
    if duplicate := next((m for m in prompt_args.models if prompt_args.models.count(m) > 1), None):
        raise ValueError(f"{duplicate} is named twice: name different models")
    return prompt_args


def _show_votes(arguments: argparse.Namespace) -> int:
    from ..comparison.votes import read_standings

    standings = read_standings()
    if arguments.json:
        write_json(
            [
                {
                    "model": name, "comparisons": standing.comparisons, "wins": standing.wins,
                    "losses": standing.losses, "ties": standing.ties, "score": standing.score,
                }
                for name, standing in standings.items()
            ]
        )  # fmt: skip
        return 0
    if not standings:
        warn('no votes yet: pipy compare -p "Hi" -m A -m B asks for one')
        return 0
    header = ["model", "score", "wins", "losses", "ties"]
    rows = [
        [name, f"{standing.score:.0%}", f"{standing.wins:,}", f"{standing.losses:,}",
         f"{standing.ties:,}"]
        for name, standing in standings.items()
    ]  # fmt: skip
    print_table(header, rows, {*header[1:]})
    return 0


def _select(registry: ModelRegistry, arguments: argparse.Namespace) -> list[str] | None:
    """Return the names of the models to compare; None if a named one does not exist."""
    if not arguments.models:
        return query_models(registry, arguments)
    models = [find_model(registry, name) for name in arguments.models]
    if None in models:
        return None
    requested = {model.qualified_name for model in models if model is not None}
    matching = set(query_models(registry, arguments, include_all=True))
    return [name for name in requested if name in matching]


def _rank(costs: dict[str, float | None], include_free: bool) -> list[tuple[float, str]]:
    """Return costs and names, the cheapest first, without the unknown costs."""
    return sorted(
        (cost, name)
        for name, cost in costs.items()
        if cost is not None and (cost > 0 or include_free)
    )


def _print_omitted(costs: dict[str, float | None], cut_off: int, include_free: bool) -> None:
    """Print how many models are not shown, and why; `cut_off` is the number over the limit."""
    free = sum(cost == 0 for cost in costs.values())
    unknown = sum(cost is None for cost in costs.values())
    omitted = []
    if cut_off:
        omitted.append(f"{format_count(cut_off, 'more expensive model')} (--limit)")
    if free and not include_free:
        omitted.append(f"{free} with a price of 0, plans and free tiers (--free)")
    if unknown:
        omitted.append(f"{unknown} without a known price")
    if omitted:
        hint("not shown: " + ", ".join(omitted))
