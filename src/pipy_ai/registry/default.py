"""Choose the model to use if the user has named none."""

from __future__ import annotations

import re

from .catalogue import ModelRegistry, has_key
from .registry import get_registry
from .routing import CLOUD_LOGIN_BACKENDS, ENVIRONMENT, build_route

# The first of these whose provider has a key.
PREFERRED_MODELS = (
    "anthropic/claude-sonnet-4-5",
    "openai/gpt-5-mini",
    "google/gemini-2.5-flash",
    "mistral/mistral-medium-latest",
    "deepseek/deepseek-chat",
    "xai/grok-4.3",
    "groq/openai/gpt-oss-120b",
    "cerebras/gpt-oss-120b",
    "openrouter/anthropic/claude-sonnet-4.5",
)
# Variables that are mostly set for other purposes. Keys stored by `pipy keys` count.
GENERAL_TOKENS = frozenset(
    {
        "CLOUDFLARE_API_KEY", "CLOUDFLARE_API_TOKEN", "DATABRICKS_TOKEN",
        "DIGITALOCEAN_ACCESS_TOKEN", "GITHUB_TOKEN", "GITLAB_TOKEN",
    }
)  # fmt: skip
OWN_DEPLOYMENTS = ("azure", "azure-cognitive-services")  # their models have names chosen by users
# Models for a single purpose, and experiments: used only if a provider has no other.
_SPECIAL = re.compile(
    "audio|beta|code|dev|exp|guard|image|math|multi-agent|ocr|preview|search|speed|tools"
    "|translat|vision"
)
MAX_USD_PER_MILLION_OUTPUT = 20.0  # maximum price, to avoid a surprise on the bill


def model_with_key() -> tuple[str, str]:
    """Return the full name of a model whose key is set, and the variable of the key.

    It is the first of `PREFERRED_MODELS`, else the newest affordable model of the first provider
    with a key. Two empty strings if there is none.
    """
    registry = get_registry()
    providers = registry.providers()
    preferred = {name.partition("/")[0]: name.partition("/")[2] for name in PREFERRED_MODELS}
    others = providers.keys() - preferred.keys() - registry.unconfirmed_providers()
    for provider in [*preferred, *sorted(others)]:
        record = providers.get(provider, {"id": provider})
        if provider in OWN_DEPLOYMENTS or not has_key(record):
            continue
        route = build_route(record, "")
        variable, location = route.credential()
        is_general = location == ENVIRONMENT and variable in GENERAL_TOKENS
        if route.problem or is_general or route.backend in CLOUD_LOGIN_BACKENDS:
            continue
        if name := _choose_model(registry, provider, preferred.get(provider, "")):
            return name, variable
    return "", ""


def _choose_model(registry: ModelRegistry, provider: str, preferred: str) -> str:
    """Return the preferred model, if the provider still has it, else its newest affordable one.

    Models that call tools and have a listed price come first.
    """
    usable = {
        model.qualified_name: model
        for model in registry.models(registry.query(provider=provider, chat=True))
        if model.status not in ("deprecated", "removed")
        and (model.cost.output or 0) <= MAX_USD_PER_MILLION_OUTPUT
    }

    def rank(name: str) -> tuple[bool, bool, bool, str, str]:
        model = usable[name]
        return (
            bool(model.capabilities.tool_call),
            model.cost.output is not None,
            not _SPECIAL.search(name.partition("/")[2]),
            model.release_date,
            name,
        )

    name = f"{provider}/{preferred}"
    return name if name in usable else max(usable, key=rank, default="")
