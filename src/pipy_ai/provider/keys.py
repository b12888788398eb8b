"""Which variable holds a provider's key, and reading it. A key goes to its own provider only."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from pydantic import SecretStr

from ..errors import ErrorKind, ProviderError, error_info
from .request import Request

# LiteLLM's name of a provider → the variables that hold its key, the first set one counts.
VARIABLES: dict[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "openai": ("OPENAI_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "mistral": ("MISTRAL_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY"),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "moonshot": ("MOONSHOT_API_KEY",),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "nvidia_nim": ("NVIDIA_NIM_API_KEY", "NVIDIA_API_KEY"),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "cohere": ("COHERE_API_KEY",),
    "zai": ("ZAI_API_KEY",),
    "minimax": ("MINIMAX_API_KEY",),
}

# Servers of one's own: a key where one is set, otherwise none is needed.
OWN_SERVERS: dict[str, tuple[str, ...]] = {
    "hosted_vllm": ("HOSTED_VLLM_API_KEY",),
    "litellm_proxy": ("LITELLM_PROXY_API_KEY",),
    "lm_studio": ("LM_STUDIO_API_KEY",),
    "llamafile": (),
    "ollama": (),
    "ollama_chat": (),
}

NO_KEY = "none"  # said to servers that want none, so that no backend looks for another one


def key_for(request: Request, missing: str | None = None) -> str | None:
    """The key for a request: the option, else the provider's variables. None: not known here.

    `missing` is what to use instead of a key that is needed and not there.

    Raises:
        ProviderError: the provider needs a key and there is none (kind `missing_key`).
    """
    if given := (request.options.api_key or _EMPTY).get_secret_value().strip():
        return given
    name, base = request.provider, request.options.api_base
    variables = VARIABLES.get(name) or OWN_SERVERS.get(name) or guessed_variables(name)
    if name not in _OPENAI or base is None or _is_openai(base):
        for variable in variables:
            if value := os.environ.get(variable, "").strip():
                return value
    elif name in _OPENAI:
        return NO_KEY
    if name in OWN_SERVERS or (name in VARIABLES and base is not None):
        return NO_KEY
    if name in VARIABLES and missing is not None:
        return missing
    if name in VARIABLES:
        raise missing_key(name, variables)
    return None


_EMPTY = SecretStr("")
_OPENAI = frozenset({"openai", "text-completion-openai"})


def _is_openai(base: str) -> bool:
    """Whether an address is OpenAI's own, or the one that its variable names."""
    host = urlsplit(base).hostname or ""
    named = urlsplit(os.environ.get("OPENAI_BASE_URL", "")).hostname
    return host == "api.openai.com" or host.endswith(".openai.com") or host == named


def guessed_variables(provider: str) -> tuple[str, ...]:
    """Where a provider that is not listed most likely has its key."""
    word = provider.upper().replace("-", "_")
    return (f"{word}_API_KEY",)


def missing_key(provider: str, variables: tuple[str, ...]) -> ProviderError:
    """What to raise when there is no key."""
    return ProviderError(
        error_info(
            ErrorKind.MISSING_KEY,
            f"No key for {provider}: set {' or '.join(variables)}, or pass api_key=.",
            provider=provider,
        )
    )
