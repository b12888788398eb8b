"""Whether our arithmetic agrees with LiteLLM's and genai-prices' own calculators.

    python benchmarks/prices.py feed.json

Price lists differ by day and by editor; arithmetic should not. So only models whose listed rates
are the same in both count: each is asked for the same usages, below and above the price tiers,
with and without cached tokens. What differs is printed, not only counted.
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
from pipy_ai.registry.schema import Model
from pipy_ai.registry.store import hosts_of, records_of

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
M = 1_000_000


def same(a: float | None, b: float | None) -> bool:
    return (a is None and b is None) or (
        a is not None and b is not None and abs(a - b) <= 1e-9 + 1e-6 * abs(b)
    )


def litellm_rates(entry: dict[str, Any]) -> list[float | None]:
    names = ("input", "output", "cache_read_input", "cache_creation_input")
    return [
        None if entry.get(f"{name}_{end}") is None else entry[f"{name}_{end}"] * M
        for name, end in zip(names, ("cost_per_token", "cost_per_token", "token_cost",
                                     "token_cost"), strict=True)
    ]  # fmt: skip


def has_tiers(entry: dict[str, Any]) -> set[int]:
    return {
        int(key.partition("input_cost_per_token_above_")[2].partition("k_tokens")[0]) * 1000
        for key in entry
        if key.startswith("input_cost_per_token_above_") and key.endswith("k_tokens")
    }


def against_litellm(model: Model, litellm: Any) -> list[tuple[Any, float | None, float]] | None:
    prefix = PROVIDERS[model.provider][0]
    entry = litellm.model_cost.get(f"{prefix}/{model.id}") or litellm.model_cost.get(model.id)
    if not entry or entry.get("litellm_provider") not in (prefix, prefix.removesuffix("_chat")):
        return None
    ours = [model.cost.input, model.cost.output, model.cost.cache_read, model.cost.cache_write]
    if not all(map(same, litellm_rates(entry), ours)):
        return None
    if {tier.size for tier in model.cost.tiers} != has_tiers(entry):
        return None
    found = []
    for usage in USAGES:
        given, out, read, written = usage
        theirs = litellm.cost_per_token(
            model=model.id, custom_llm_provider=prefix,
            usage_object=litellm.Usage(
                prompt_tokens=given + read + written, completion_tokens=out,
                prompt_tokens_details={"cached_tokens": read, "cache_creation_tokens": written},
                cache_read_input_tokens=read, cache_creation_input_tokens=written,
            ),
        )  # fmt: skip
        found.append((usage, cost(model, usage), sum(theirs)))
    return found


def against_genai(model: Model, genai: Any) -> list[tuple[Any, float | None, float]] | None:
    provider = PROVIDERS[model.provider][1]
    found = []
    for usage in USAGES:
        given, out, read, written = usage
        counts = genai.Usage(
            input_tokens=given + read + written, output_tokens=out, cache_read_tokens=read,
            cache_write_tokens=written,
        )  # fmt: skip
        try:
            priced = genai.calc_price(counts, model_ref=model.id, provider_id=provider)
        except LookupError:
            return None
        listed = priced.model_price
        pairs = [
            (listed.input_mtok, model.cost.input),
            (listed.output_mtok, model.cost.output),
            (listed.cache_read_mtok, model.cost.cache_read),
            (listed.cache_write_mtok, model.cost.cache_write),
        ]
        for theirs, ours in pairs:
            base = getattr(theirs, "base", theirs)
            if not same(None if base is None else float(base), ours):
                return None
            tiers = {int(tier.start) for tier in getattr(theirs, "tiers", ())}
            if tiers and tiers != {tier.size for tier in model.cost.tiers}:
                return None
        tiered = any(getattr(theirs, "tiers", ()) for theirs, _ in pairs)
        if bool(model.cost.tiers) != tiered:
            return None
        found.append((usage, cost(model, usage), float(priced.total_price)))
    return found


def cost(model: Model, usage: tuple[int, int, int, int]) -> float | None:
    given, out, read, written = usage
    counts = Usage(input=given, output=out, cache_read=read, cache_write=written)
    return calculate_cost(model, counts).total


def main() -> None:
    feed = json.loads(Path(sys.argv[1]).read_bytes())
    hosts, (records, _) = hosts_of(feed), records_of(feed)
    models = [
        Model.from_dict(record, hosts[provider])
        for name, record in records.items()
        if (provider := name.partition("/")[0]) in PROVIDERS
    ]
    models = [m for m in models if m.cost.input is not None and m.cost.output is not None]
    for name, check in (("litellm", against_litellm), ("genai_prices", against_genai)):
        try:
            module = importlib.import_module(name)
        except ImportError:
            print(f"{name}: not installed")
            continue
        counts: Counter[str] = Counter()
        different = []
        for model in models:
            rows = check(model, module)
            if rows is None:
                continue
            counts["models"] += 1
            for usage, ours, theirs in rows:
                counts["usages"] += 1
                if same(ours, theirs):
                    counts["agree"] += 1
                else:
                    different.append((model.qualified_name, usage, ours, theirs))
        version = importlib.metadata.version(name.replace("_", "-"))
        print(
            f"{name} {version}: {counts['models']} models with the same rates, "
            f"{counts['agree']} of {counts['usages']} costs agree"
        )
        for line in different[:12]:
            print("   differs:", *line)
        if len(different) > 12:
            print(f"   and {len(different) - 12} more")


if __name__ == "__main__":
    main()
