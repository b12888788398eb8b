"""Which variable holds a provider's key, and reading it. A key goes to its own provider only."""

from __future__ import annotations

import os

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


def key_for(request: Request) -> str | None:
    """The key for a request: the option, else the provider's variables. None: not known here.

    Raises:
        ProviderError: the provider needs a key and there is none (kind `missing_key`).
    """
    if request.options.api_key is not None:
        return request.options.api_key.get_secret_value()
    name = request.provider
    variables = VARIABLES.get(name) or OWN_SERVERS.get(name, ())
    for variable in variables:
        if value := os.environ.get(variable, "").strip():
            return value
    if name in OWN_SERVERS or (name in VARIABLES and request.options.api_base is not None):
        return NO_KEY
    if name in VARIABLES:
        raise ProviderError(
            error_info(
                ErrorKind.MISSING_KEY,
                f"No key for {name}: set {' or '.join(variables)}, or pass api_key=.",
                provider=name,
            )
        )
    return None
