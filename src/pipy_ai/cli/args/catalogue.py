"""Arguments and lookups that the commands over the catalogue share. Imports nothing heavy."""

from __future__ import annotations

import argparse

from ...registry import Model
from ...registry.catalogue import ModelRegistry
from ..display.terminal import warn
from .common import parse_count


def add_token_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the numbers of tokens of a request."""
    parser.add_argument(
        "--input", type=parse_count, required=required, metavar="N", help="input tokens"
    )
    parser.add_argument("--output", type=parse_count, default=0, metavar="N", help="output tokens")
    parser.add_argument(
        "--cached", type=parse_count, default=0, metavar="N", help="input tokens that are cached"
    )


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    """Add the filters of models."""
    group = parser.add_argument_group("filters")
    group.add_argument("--provider", help="models.dev's name, e.g. anthropic")
    group.add_argument("--capability", help="reasoning, tool_call, structured_output, …")
    group.add_argument("--modality", help="what it reads: text, image, audio, video, pdf")
    group.add_argument("--output-modality", metavar="MODALITY", help="what it writes")
    group.add_argument("--min-context", type=parse_count, metavar="N", help="tokens")
    group.add_argument("--min-output", type=parse_count, metavar="N", help="tokens")
    group.add_argument("--max-cost-input", type=float, metavar="X", help="$/1M tokens")
    group.add_argument("--max-cost-output", type=float, metavar="X", help="$/1M tokens")
    group.add_argument("--status", help="active, alpha, beta, deprecated, removed")
    group.add_argument("--available", action="store_true", help="whose key is set")
    group.add_argument("--open-weights", action="store_true", help="with public weights")
    group.add_argument("--released-after", metavar="DATE", help="like 2026-01")
    group.add_argument("--search", action="append", metavar="WORD", help="in its names")
    group.add_argument("--all", action="store_true", help="embedding, speech and image models, too")


def query_models(
    registry: ModelRegistry, arguments: argparse.Namespace, include_all: bool = False
) -> list[str]:
    """Return the names of the models that pass the filters; chat models only, or all."""
    return registry.query(
        provider=arguments.provider,
        capability=arguments.capability,
        modality=arguments.modality,
        output_modality=arguments.output_modality,
        min_context=arguments.min_context,
        min_output=arguments.min_output,
        max_cost_input=arguments.max_cost_input,
        max_cost_output=arguments.max_cost_output,
        status=arguments.status,
        available=True if arguments.available else None,
        open_weights=True if arguments.open_weights else None,
        released_after=arguments.released_after,
        search=" ".join(arguments.search) if arguments.search else None,
        chat=None if arguments.all or include_all else True,
    )


def find_model(registry: ModelRegistry, name: str) -> Model | None:
    """Return a model by name or some words of it; None, with a warning, if that is no one model."""
    model = registry.get(name)
    if model is None and "/" not in name:
        from .model import resolve_model

        try:
            model = registry.get(resolve_model(name, "showing"))
        except ValueError as error:  # no model has these words, or several have
            warn(str(error))
            return None
    if model is None:
        warn(registry.unknown_model_message(name))
    elif model.base_model:
        warn(f"{model.qualified_name} is not in the catalogue; it is treated as {model.base_model}")
    return model
