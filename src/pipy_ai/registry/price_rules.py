"""Price rules that models.dev does not list: service tiers, regions, and fees of provider tools.

Patterns match models.dev's id of the provider and the id of the model as a whole. In each table
the first row that matches applies.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from .schema import Model


class Factor(NamedTuple):
    """The price of a service tier, or of a region, as a multiple of the listed price.

    `cache_read` is the multiple for tokens read from the cache, if it differs.
    """

    providers: str
    name: str
    models: str
    factor: float
    cache_read: float | None = None


class Fee(NamedTuple):
    """The price of one call of a provider's tool in US dollars, or of all calls of a request.

    `has_free_calls`: a number of them is free each day or month, which responses do not show.
    """

    providers: str
    tool: str
    models: str
    usd: float
    per_request: bool = False
    has_free_calls: bool = False


class ImageRates(NamedTuple):
    """The prices of the text and the images that a model produces, in $/1M tokens.

    The catalogue lists one of them.
    """

    providers: str
    name: str
    models: str
    text: float
    image: float


_Rule = TypeVar("_Rule", Factor, Fee, ImageRates)

STANDARD = "standard"
# Names of the tier at the listed price. `auto` occurs in requests and is not a tier.
_STANDARD_NAMES = frozenset(
    {
        "", "auto", "default", "on_demand", "standard", "standard_only",
        "traffic_type_unspecified", "unspecified",
    }
)  # fmt: skip
_ANY = ".*"
_OPENAI = "openai|azure|azure-cognitive-services"
_GOOGLE = "google|google-vertex"
_CLAUDE = "anthropic|google-vertex-anthropic|google-vertex|amazon-bedrock|azure"
_NEW_GPT = r"gpt-(5\.[4-9]|[6-9]).*"
# Claude before 4.6 rejects `inference_geo` and keeps its price.
_OLD_CLAUDE = r"claude-([23]|instant).*|claude-(opus|sonnet|haiku)-4(-[0-5])?(-\d{8})?"
_BEDROCK_OLD_CLAUDE = r".*claude-([23]|instant|(opus|sonnet)-4-(1-)?2025).*"

# Prices of openai.com/api/pricing, ai.google.dev/gemini-api/docs/pricing, claude.com/pricing,
# groq.com/pricing and aws.amazon.com/bedrock/pricing as in LiteLLM 1.110.2's table, read on
# 2026-11-29. A tier of the catalogue (`experimental.modes`) takes precedence.
SERVICE_TIERS = (
    Factor(_OPENAI, "flex", _ANY, 0.5),  # "at Batch API rates"
    Factor(_OPENAI, "batch", _ANY, 0.5),
    Factor(_OPENAI, "priority", r"gpt-4o-2024-05-13", 1.75),
    Factor(_OPENAI, "priority", r"gpt-4o(-2024-\d\d-\d\d)?", 1.7),
    Factor(_OPENAI, "priority", r"gpt-4o-mini(-2024-07-18)?", 5 / 3),  # 0.15 → 0.25
    Factor(_OPENAI, "priority", r"gpt-4\.1(-mini)?(-2025-04-14)?", 1.75),
    Factor(_OPENAI, "priority", r"gpt-4\.1-nano(-2025-04-14)?", 2),
    Factor(_OPENAI, "priority", r"o3(-2025-04-16)?", 1.75),
    Factor(_OPENAI, "priority", r"o4-mini(-2025-04-16)?", 20 / 11),  # 1.10 → 2.00
    Factor(_OPENAI, "priority", r"gpt-5(\.1-codex)?-mini(-\d{4}-\d\d-\d\d)?", 1.8),
    Factor(_OPENAI, "priority", r"gpt-5\.5(-2026-\d\d-\d\d)?", 2.5),
    Factor(
        _OPENAI, "priority",
        r"gpt-(5(\.[1-46])?|6(\.1)?)(-(codex|codex-max|mini|astra|luna|sol|terra))?"
        r"(-\d{4}-\d\d-\d\d)?", 2,
    ),
    Factor("openai", "ultrafast", r"gpt-6-astra|gpt-6\.1-sol", 6),
    Factor("anthropic", "batch", _ANY, 0.5),
    Factor("anthropic", "fast", r"claude-opus-4-[67](-\d{8})?", 6),  # 5 → 30
    Factor("anthropic", "fast", r"claude-opus-(4-8|5|5-5)(-\d{8})?", 2),  # 5 → 10
    # Reads of the cache are not reduced for the models up to 3.1 Pro.
    Factor(_GOOGLE, "(flex|batch)", r"gemini-(2\.5-.*|3-flash-preview|3\.1-pro.*)", 0.5, 1.0),
    Factor(_GOOGLE, "(flex|batch)", r"gemini-.*", 0.5),
    Factor(_GOOGLE, "priority", r"gemini-(2\.5|[3-9]).*", 1.8),
    Factor(_CLAUDE, "batch", r".*claude.*", 0.5),
    Factor("groq", "flex", _ANY, 1.0),  # the same price with fewer guarantees
    Factor("groq|mistral", "batch", _ANY, 0.5),
    Factor("xai", "batch", _ANY, 0.8),
    Factor("amazon-bedrock", "(flex|batch)", _ANY, 0.5),
    Factor("amazon-bedrock", "priority", r"(?!.*claude).*", 1.75),
)  # fmt: skip

# platform.claude.com/docs/en/manage-claude/data-residency; OpenAI's regional addresses, such as
# eu.api.openai.com; Bedrock's regional prefixes. Read on 2026-11-29.
REGIONS = (
    Factor("anthropic", "us", _OLD_CLAUDE, 1.0),
    Factor("anthropic", "us", _ANY, 1.1),
    Factor("openai", "[a-z]{2}", _NEW_GPT, 1.1),
    Factor("openai", "[a-z]{2}", _ANY, 1.0),
    Factor("amazon-bedrock", "[a-z-]+", _BEDROCK_OLD_CLAUDE, 1.0),
    Factor("amazon-bedrock", "[a-z-]+", r".*claude.*", 1.1),
    Factor("amazon-bedrock", "[a-z-]+", _ANY, 1.0),
)
_NO_REGION = frozenset({"", "global", "not_available"})

# US dollars for a million tokens of the models with which OpenAI's `image_generation` draws, as in
# LiteLLM 1.105.3's table. Cached input, which is cheaper, is not reported.
_IMAGE_TOKENS = ("input_text", "input_image", "output_image", "output_text")
_IMAGE_PRICES = (
    (r"gpt-image-1", 5, 10, 40),
    (r"gpt-image-1-mini", 2, 2.5, 8),
    (r"gpt-image-1\.5|chatgpt-image-latest", 5, 8, 32, 10),
    (r"gpt-image-2(\.5-(flare|sunburst))?", 5, 8, 30),
)

_GEMINI_3 = r"gemini-[3-9].*|gemini-(pro|flash).*-latest"

# Read on 2026-11-29.
TOOL_FEES = (
    Fee(_CLAUDE, "web_search", r".*claude.*", 0.01),
    Fee(_CLAUDE, "web_fetch", r".*claude.*", 0.0),
    # Alone it costs by the hour, with a number of free hours.
    Fee(_CLAUDE, "code_execution with a web tool", r".*claude.*", 0.0),
    Fee("openai", "web_search", _ANY, 0.01),
    Fee("openai", "web_search_preview", r"gpt-[5-9].*|o\d.*", 0.01),
    Fee("openai", "web_search_preview", _ANY, 0.025),
    Fee("azure|azure-cognitive-services", "web_search(_preview)?", _ANY, 0.014),
    Fee(_OPENAI, "file_search", _ANY, 0.0025),
    Fee("openai", "container_1g", _ANY, 0.03),  # of code interpreter and shell, each 20 minutes
    Fee("openai", "container_4g", _ANY, 0.12),
    Fee("openai", "container_16g", _ANY, 0.48),
    Fee("openai", "container_64g", _ANY, 1.92),
    Fee("azure|azure-cognitive-services", "container_1g", _ANY, 0.033),
    *(
        Fee("openai", rf"({model})(-\d{{4}}-\d\d-\d\d)?_{kind}_token", _ANY, usd / 1e6)
        for model, *prices in _IMAGE_PRICES
        for kind, usd in zip(_IMAGE_TOKENS, prices, strict=False)
    ),
    Fee("xai", "web_search|x_search|code_interpreter", _ANY, 0.005),
    Fee("xai", "live_search_source", _ANY, 0.025),
    Fee("xai", "file_search", _ANY, 0.0025),
    Fee(_GOOGLE, "google_search", _GEMINI_3, 0.014, has_free_calls=True),
    Fee(_GOOGLE, "google_search", _ANY, 0.035, per_request=True, has_free_calls=True),
    Fee(_GOOGLE, "google_maps", _GEMINI_3, 0.014, has_free_calls=True),
    Fee(_GOOGLE, "google_maps", _ANY, 0.025, per_request=True, has_free_calls=True),
    Fee("google", "file_search", _ANY, 0.0),
    Fee("google", "cached_token_hour", r"gemini-.*flash.*", 1e-6),  # of cached contents
    Fee("google", "cached_token_hour", r"gemini-.*pro.*", 4.5e-6),
    # groq.com/pricing as in LiteLLM 1.110.2. The price of a search of Compound depends on its kind,
    # which is not in the response; code costs by the hour.
    Fee("groq", r"browser[._]search", r".*gpt-oss.*", 0.005),
    Fee("groq", r"browser\.open", r".*gpt-oss.*", 0.001),
    Fee("groq", r"browser\.find", r".*gpt-oss.*", 0.0),
    # docs.perplexity.ai/getting-started/pricing: a fee for each request by search context size.
    Fee("perplexity", "search_low", r"sonar", 0.005),
    Fee("perplexity", "search_medium", r"sonar", 0.008),
    Fee("perplexity", "search_high", r"sonar", 0.012),
    Fee("perplexity", "search_low", r"sonar(-reasoning)?-pro", 0.006),
    Fee("perplexity", "search_medium", r"sonar(-reasoning)?-pro", 0.01),
    Fee("perplexity", "search_high", r"sonar(-reasoning)?-pro", 0.014),
    Fee("perplexity", "search_query", r"sonar-deep-research", 0.005),
    Fee("perplexity", "citation_token", r"sonar-deep-research", 2e-6),
)

# ai.google.dev/gemini-api/docs/pricing, read on 2026-11-29.
IMAGE_RATES = (
    ImageRates(_GOOGLE, "image", r"gemini-2\.5-flash-image.*", 2.5, 30),
    ImageRates(_GOOGLE, "image", r"gemini-3\.1-flash-image.*", 3, 60),
    ImageRates(_GOOGLE, "image", r"gemini-3-pro-image.*", 12, 120),
)

# Search models search for every request, and hosts may not count it.
_SEARCH_MODELS = (
    ("openai", r".*-search-(preview|api).*", "web_search_preview"),
    ("perplexity", r"sonar(-reasoning)?(-pro)?", "search_low"),  # the default size
)


def normalize_tier(tier: str | None) -> str:
    """Return the usual name of a service tier: `standard`, `flex`, `priority`, …

    Vertex AI prefixes its tiers with `ON_DEMAND_`.
    """
    name = (tier or "").lower().replace("-", "_")
    return STANDARD if name in _STANDARD_NAMES else name.removeprefix("on_demand_")


def tier_factor(provider: str, model_id: str, tier: str) -> Factor | None:
    """Return the price of a service tier relative to the standard one; None if it is unknown."""
    if tier == "fast" and re.fullmatch(_OPENAI, provider):
        tier = "priority"  # a second name in requests
    return _find(SERVICE_TIERS, provider, tier, model_id)


def region_factor(provider: str, model_id: str, region: str | None) -> float | None:
    """Return the price of a region relative to the listed one; None if it is unknown."""
    name = (region or "").lower()
    if name in _NO_REGION:
        return 1.0
    row = _find(REGIONS, provider, name, model_id)
    return None if row is None else row.factor


def image_rates(provider: str, model_id: str) -> ImageRates | None:
    """Return the prices of a model that produces images; None: the catalogue has its only one."""
    return _find(IMAGE_RATES, provider, "image", model_id) if "image" in model_id else None


def implied_region(
    model: Model, get_record: Callable[[str], Mapping[str, Any] | None]
) -> str | None:
    """Return the region in the name of a model that is listed at the price of all regions.

    `get_record` returns a record of the catalogue by its full name.
    """
    if model.provider != "amazon-bedrock":
        return None
    listed_name = model.base_model or model.qualified_name
    name = model.id.rpartition("/")[2]
    if "." not in name:  # the id of an application inference profile
        name = listed_name.rpartition("/")[2]
    region = name.partition(".")[0]
    prefix = f"amazon-bedrock/{region}."
    if not listed_name.startswith(prefix):
        return region
    worldwide = get_record(f"amazon-bedrock/global.{listed_name.removeprefix(prefix)}") or {}
    prices = worldwide.get("cost") or {}
    own_prices = {"input": model.cost.input, "output": model.cost.output}
    return region if own_prices.items() <= prices.items() else None


def tool_fees(provider: str, model_id: str, calls: Mapping[str, int]) -> dict[str, float | None]:
    """Return the fees for calls of a provider's tools in US dollars; None if one is unknown."""
    fees = {tool: tool_fee(provider, model_id, tool, count) for tool, count in calls.items()}
    if "code_execution" in fees and not fees.keys().isdisjoint({"web_search", "web_fetch"}):
        name = "code_execution with a web tool"
        fees["code_execution"] = tool_fee(provider, model_id, name, calls["code_execution"])
    if "image_generation" in fees and any(tool.endswith("_output_image_token") for tool in fees):
        fees["image_generation"] = 0.0  # by the token
    return fees


def tool_fee(provider: str, model_id: str, tool: str, calls: int) -> float | None:
    """Return the fee for calls of a provider's tool in US dollars; None if it is unknown."""
    row = _find(TOOL_FEES, provider, tool, model_id)
    if row is None:
        return None
    return row.usd if row.per_request else row.usd * calls


def has_free_calls(provider: str, model_id: str, tools: Iterable[str]) -> bool:
    """Return whether a number of calls of one of the tools is free, which responses do not show."""
    rows = (_find(TOOL_FEES, provider, tool, model_id) for tool in tools)
    return any(row is not None and row.has_free_calls for row in rows)


def implied_tool_calls(provider: str, model_id: str) -> dict[str, int]:
    """Return the calls of a provider's tools that every request to a model makes."""
    for search_provider, pattern, tool in _SEARCH_MODELS:
        if provider == search_provider and re.fullmatch(pattern, model_id):
            return {tool: 1}
    return {}


def _find(rows: tuple[_Rule, ...], provider: str, name: str, model_id: str) -> _Rule | None:
    for row in rows:
        patterns = zip(row[:3], (provider, name, model_id), strict=True)
        if all(re.fullmatch(pattern, value) for pattern, value in patterns):
            return row
    return None
