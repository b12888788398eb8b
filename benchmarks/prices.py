"""Check that our cost calculation agrees with those of LiteLLM and genai-prices.

    python benchmarks/prices.py feed.json

Price lists differ by date and editor, but the calculation should not. Only models whose rates are
the same in both lists are compared, for usages below and above the price tiers, with and without
cached tokens. Differences are counted and printed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from pipy_ai import Usage, calculate_cost
from pipy_ai.registry.index import models_in_feed, providers_in_feed
from pipy_ai.registry.schema import Model

PROVIDERS = {  # ours → LiteLLM's, genai-prices'
    "anthropic": ("anthropic", "anthropic"),
    "openai": ("openai", "openai"),
    "google": ("gemini", "google"),
    "xai": ("xai", "x-ai"),
    "mistral": ("mistral", "mistral"),
    "deepseek": ("deepseek", "deepseek"),
    "groq": ("groq", "groq"),
    "cohere": ("cohere_chat", "cohere"),
    "perplexity": ("perplexity", "perplexity"),
    "moonshotai": ("moonshot", "moonshotai"),
    "openrouter": ("openrouter", "openrouter"),
    "togetherai": ("together_ai", "together"),
    "fireworks-ai": ("fireworks_ai", "fireworks"),
    "zai": ("zai", ""),
    "alibaba": ("dashscope", ""),
}
USAGES = [  # input, output, cache read, cache write
    (10_000, 1_000, 0, 0),
    (2_000, 500, 90_000, 0),
    (150_000, 1_000, 0, 0),
    (250_000, 4_000, 0, 0),
    (30_000, 1_000, 270_000, 0),
    (1_000, 200, 20_000, 5_000),
]
MILLION = 1_000_000


def is_close(a: float | None, b: float | None) -> bool:
    return (a is None and b is None) or (
        a is not None and b is not None and abs(a - b) <= 1e-9 + 1e-6 * abs(b)
    )


def litellm_rates(entry: dict[str, Any]) -> list[float | None]:
    names = ("input", "output", "cache_read_input", "cache_creation_input")
    return [
        None if entry.get(f"{name}_{suffix}") is None else entry[f"{name}_{suffix}"] * MILLION
        for name, suffix in zip(names, ("cost_per_token", "cost_per_token", "token_cost",
                                     "token_cost"), strict=True)
    ]  # fmt: skip


def tier_sizes(entry: dict[str, Any]) -> set[int]:
    return {
        int(key.partition("input_cost_per_token_above_")[2].partition("k_tokens")[0]) * 1000
        for key in entry
        if key.startswith("input_cost_per_token_above_") and key.endswith("k_tokens")
    }


def compare_with_litellm(
    model: Model, litellm: Any
) -> list[tuple[Any, float | None, float]] | None:
    prefix = PROVIDERS[model.provider][0]
    entry = litellm.model_cost.get(f"{prefix}/{model.id}") or litellm.model_cost.get(model.id)
    if not entry or entry.get("litellm_provider") not in (prefix, prefix.removesuffix("_chat")):
        return None
    our_rates = [model.cost.input, model.cost.output, model.cost.cache_read, model.cost.cache_write]
    if not all(map(is_close, litellm_rates(entry), our_rates)):
        return None
    if {tier.size for tier in model.cost.tiers} != tier_sizes(entry):
        return None
    rows = []
    for usage in USAGES:
        input_tokens, output_tokens, cache_read, cache_write = usage
        their_costs = litellm.cost_per_token(
            model=model.id, custom_llm_provider=prefix,
            usage_object=litellm.Usage(
                prompt_tokens=input_tokens + cache_read + cache_write,
                completion_tokens=output_tokens,
                prompt_tokens_details={
                    "cached_tokens": cache_read, "cache_creation_tokens": cache_write,
                },
                cache_read_input_tokens=cache_read, cache_creation_input_tokens=cache_write,
            ),
        )  # fmt: skip
        rows.append((usage, our_cost(model, usage), sum(their_costs)))
    return rows


def compare_with_genai_prices(
    model: Model, genai: Any
) -> list[tuple[Any, float | None, float]] | None:
    provider = PROVIDERS[model.provider][1]
    rows = []
    for usage in USAGES:
        input_tokens, output_tokens, cache_read, cache_write = usage
        counts = genai.Usage(
            input_tokens=input_tokens + cache_read + cache_write, output_tokens=output_tokens,
            cache_read_tokens=cache_read, cache_write_tokens=cache_write,
        )  # fmt: skip
        try:
            price = genai.calc_price(counts, model_ref=model.id, provider_id=provider)
        except LookupError:
            return None
        rates = price.model_price
        pairs = [
            (rates.input_mtok, model.cost.input),
            (rates.output_mtok, model.cost.output),
            (rates.cache_read_mtok, model.cost.cache_read),
            (rates.cache_write_mtok, model.cost.cache_write),
        ]
        for their_rate, our_rate in pairs:
            base_rate = getattr(their_rate, "base", their_rate)
            if not is_close(None if base_rate is None else float(base_rate), our_rate):
                return None
            tiers = {int(tier.start) for tier in getattr(their_rate, "tiers", ())}
            if tiers and tiers != {tier.size for tier in model.cost.tiers}:
                return None
        has_tiered_rates = any(getattr(their_rate, "tiers", ()) for their_rate, _ in pairs)
        if bool(model.cost.tiers) != has_tiered_rates:
            return None
        rows.append((usage, our_cost(model, usage), float(price.total_price)))
    return rows


def our_cost(model: Model, usage: tuple[int, int, int, int]) -> float | None:
    input_tokens, output_tokens, cache_read, cache_write = usage
    counts = Usage(
        input=input_tokens, output=output_tokens, cache_read=cache_read, cache_write=cache_write
    )
    return calculate_cost(model, counts).total


def main() -> None:
    feed = json.loads(Path(sys.argv[1]).read_bytes())
    hosts, (records, _) = providers_in_feed(feed), models_in_feed(feed)
    models = [
        Model.from_dict(record, hosts[provider])
        for name, record in records.items()
        if (provider := name.partition("/")[0]) in PROVIDERS
    ]
    models = [m for m in models if m.cost.input is not None and m.cost.output is not None]
    for name, compare in (
        ("litellm", compare_with_litellm),
        ("genai_prices", compare_with_genai_prices),
    ):
        try:
            module = importlib.import_module(name)
        except ImportError:
            print(f"{name}: not installed")
            continue
        counts: Counter[str] = Counter()
        differences = []
        for model in models:
            rows = compare(model, module)
            if rows is None:
                continue
            counts["models"] += 1
            for usage, ours, theirs in rows:
                counts["usages"] += 1
                if is_close(ours, theirs):
                    counts["agree"] += 1
                else:
                    differences.append((model.qualified_name, usage, ours, theirs))
        version = importlib.metadata.version(name.replace("_", "-"))
        print(
            f"{name} {version}: {counts['models']} models with the same rates, "
            f"{counts['agree']} of {counts['usages']} costs agree"
        )
        for line in differences[:12]:
            print("   differs:", *line)
        if len(differences) > 12:
            print(f"   and {len(differences) - 12} more")


if __name__ == "__main__":
    main()
