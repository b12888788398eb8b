"""Arguments and lookups that the commands over the catalogue share. Imports nothing heavy."""

from __future__ import annotations

import argparse

from ...registry import Model
from ...registry.catalogue import ModelRegistry
from ..display.terminal import warn
from .common import parse_count, parse_number

OLLAMA_PROVIDERS = ("ollama", "ollama_chat")  # their models are those of a server


def add_token_options(
    parser: argparse._ActionsContainer, input_group: argparse._ActionsContainer | None = None
) -> None:
    """Add the token counts of a request; `--input` to another group, if one is given."""
    (input_group or parser).add_argument(
        "--input",
        type=parse_count,
        metavar="N",
        help="input tokens: 12000, 12k, 1.5M",
    )
    parser.add_argument("--output", type=parse_count, default=0, metavar="N", help="output tokens")
    parser.add_argument(
        "--cached",
        type=parse_count,
        default=0,
        metavar="N",
        help="how many of the input tokens are cached",
    )


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    """Add the filters of models."""
    group = parser.add_argument_group("filters")
    group.add_argument("--provider", help="only models of this provider, e.g. anthropic")
    group.add_argument("--capability", help="what the model supports: reasoning, tool_call, …")
    group.add_argument("--modality", help="accepted input: text, image, audio, video, pdf")
    group.add_argument(
        "--output-modality", metavar="MODALITY", help="type of output: text, image, audio, …"
    )
    group.add_argument(
        "--min-context", type=parse_count, metavar="N", help="minimum context window, in tokens"
    )
    group.add_argument(
        "--min-output", type=parse_count, metavar="N", help="minimum output limit, in tokens"
    )
    group.add_argument(
        "--max-cost-input",
        type=parse_number,
        metavar="X",
        help="maximum input price, in $/1M tokens",
    )
    group.add_argument(
        "--max-cost-output",
        type=parse_number,
        metavar="X",
        help="maximum output price, in $/1M tokens",
    )
    group.add_argument("--status", help="active, alpha, beta, deprecated or removed")
    group.add_argument("--available", action="store_true", help="only models you have a key for")
    group.add_argument(
        "--open-weights", action="store_true", help="only models with public weights"
    )
    group.add_argument(
        "--released-after", metavar="DATE", help="released after this date, e.g. 2026-01-31"
    )
    group.add_argument(
        "--search", action="append", metavar="WORD", help="word in the name (repeatable)"
    )
    group.add_argument(
        "--all", action="store_true", help="include embedding, speech and image models"
    )


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


def add_ollama_models(registry: ModelRegistry, provider: str) -> bool:
    """Add the models of the Ollama server; print a warning and return False if it gives none."""
    import asyncio

    from ...errors import ProviderError
    from ...provider.clouds.ollama import list_models

    try:
        records = asyncio.run(list_models())
    except ProviderError as error:
        warn(error.error.message)
        return False
    registry.add_records({f"{provider}/{name}": record for name, record in records.items()})
    if not records:
        warn("the Ollama server has no models; install one with `ollama pull NAME`")
    return bool(records)


def find_model(registry: ModelRegistry, name: str) -> Model | None:
    """Return a model by its name or part of it; print a warning and return None if none fits."""
    model = registry.get(name)
    provider = name.partition("/")[0]
    if model is None and provider in OLLAMA_PROVIDERS:
        if not add_ollama_models(registry, provider):
            return None
        model = registry.get(name) or registry.get(f"{name}:latest")
    if model is None and "/" not in name:
        from .model import resolve_model

        try:
            model = registry.get(resolve_model(name))
        except ValueError as error:  # no model has these words, or several have
            warn(str(error))
            return None
    if model is None:
        warn(registry.unknown_model_message(name))
    elif model.base_model:
        warn(f"{model.qualified_name} is not in the catalogue; it is treated as {model.base_model}")
    return model
