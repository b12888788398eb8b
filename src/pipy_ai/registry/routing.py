"""How a model is reached: its name in LiteLLM's words, the address, the variables of its key.

models.dev says of each provider, and sometimes of a single model, which protocol it speaks (`npm`,
`shape`), where (`api`) and with which variables (`env`). Most are OpenAI-compatible and go by one
generic route, LiteLLM's `hosted_vllm/<id>` with an explicit address and key: unlike LiteLLM's own
prefixes it refuses no tools for models that LiteLLM has not heard of, and it never looks for
another provider's key. The tables below are the exceptions. Pure; nothing heavy is imported.
"""

from __future__ import annotations

import os
import re

from ..utils.secrets import is_secret_variable
from . import keystore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from dataclasses import dataclass, field
    from typing import Any
else:
    from ._dataclass import dataclass, field

# models.dev's provider → LiteLLM's prefix, and the address where LiteLLM would take another one.
NATIVE_PROVIDERS = {
    "alibaba": ("dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    "anthropic": ("anthropic", ""),
    "cerebras": ("cerebras", "https://api.cerebras.ai/v1"),
    "cohere": ("cohere_chat", ""),
    "deepinfra": ("deepinfra", "https://api.deepinfra.com/v1/openai"),
    "deepseek": ("deepseek", "https://api.deepseek.com"),
    "fireworks-ai": ("fireworks_ai", "https://api.fireworks.ai/inference/v1"),
    "google": ("gemini", ""),
    "groq": ("groq", "https://api.groq.com/openai/v1"),
    "mistral": ("mistral", "https://api.mistral.ai/v1"),
    "moonshotai": ("moonshot", "https://api.moonshot.ai/v1"),
    "openai": ("openai", ""),
    "openrouter": ("openrouter", "https://openrouter.ai/api/v1"),
    "perplexity": ("perplexity", "https://api.perplexity.ai"),
    "togetherai": ("together_ai", "https://api.together.ai/v1"),
    "vercel": ("vercel_ai_gateway", "https://ai-gateway.vercel.sh/v1"),
    "xai": ("xai", "https://api.x.ai/v1"),
    "zai": ("zai", "https://api.z.ai/api/paas/v4"),
}

# Addresses that models.dev does not give: the provider has an SDK package of its own.
_API_BASES = {
    "aihubmix": "https://aihubmix.com/v1",
    "cloudflare-ai-gateway": "https://gateway.ai.cloudflare.com/v1/${CLOUDFLARE_ACCOUNT_ID}"
    "/${CLOUDFLARE_GATEWAY_ID}/compat",
    "v0": "https://api.v0.dev/v1",
    "venice": "https://api.venice.ai/api/v1",
}

# Variables that hold a provider's key besides those that models.dev lists.
_EXTRA_KEY_ENV = {
    "fireworks-ai": ("FIREWORKS_AI_API_KEY",),
    "lmstudio": ("LM_STUDIO_API_KEY",),
    "nvidia": ("NVIDIA_NIM_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY",),
    "togetherai": ("TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY"),
    "vercel": ("VERCEL_AI_GATEWAY_API_KEY",),
    "zai": ("ZAI_API_KEY",),
}

# Servers of one's own, by LiteLLM's names: a key where one is set, otherwise none is needed.
SELF_HOSTED_BACKENDS: dict[str, tuple[str, ...]] = {
    "hosted_vllm": ("HOSTED_VLLM_API_KEY",),
    "litellm_proxy": ("LITELLM_PROXY_API_KEY",),
    "lm_studio": ("LM_STUDIO_API_KEY",),
    "llamafile": (),
    "ollama": (),
    "ollama_chat": (),
}

# Where they listen unless somebody says otherwise: `api_base=`, or e.g. `LM_STUDIO_API_BASE`.
DEFAULT_API_BASES = {
    "hosted_vllm": "http://127.0.0.1:8000/v1",
    "litellm_proxy": "http://127.0.0.1:4000",
    "llamafile": "http://127.0.0.1:8080/v1",
    "lm_studio": "http://127.0.0.1:1234/v1",
}

# Clouds that log in with more than a key: LiteLLM finds their credentials in the environment.
CLOUD_LOGIN_BACKENDS = frozenset({"bedrock", "bedrock_mantle", "vertex_ai"})
ENVIRONMENT = "environment"

_PROVIDER_PROBLEMS = {
    "github-copilot": "GitHub Copilot wants a short-lived token of its own login: pass it as "
    "api_key= together with api_base='https://api.githubcopilot.com'",
    "sap-ai-core": "SAP AI Core is reached with a service key, not an API key: use LiteLLM's "
    "name of the model, sap/<model>, with AICORE_SERVICE_KEY set",
    "gitlab": "GitLab Duo has no chat endpoint for users",
    "merge-gateway": "models.dev does not say where Merge Gateway is: pass api_base= (an "
    "OpenAI-compatible address) and api_key=",
}

_RESPONSES_ONLY = re.compile(r"codex|-pro(-|$)|deep-research|multi-agent")
_NEWER_GPT_MODELS = re.compile(
    r"gpt-(5\.[4-9]|[6-9])(?!\d)(?!.*chat)"
)  # what no catalogue knows yet
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
_LOCAL_URL = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:|/|$)")


@dataclass
class Route:
    """How one model is reached.

    `backend` is LiteLLM's name of the provider, `model` LiteLLM's name of the model. `keys` are
    variables of which one must hold the key (none must when `key_optional`), `needs` variables
    that must all be set; `api_base` and `parameters` name them as `${VAR}`. `responses` tells
    that the model is to be asked by OpenAI's Responses API: `always`, or at OpenAI's `own` address
    only. `problem` says why there is no way, if there is none. `rule` is one of `native`,
    `generic`, `generic_template`, `anthropic_compat`, `gemini_compat`, `responses`, `cloud`,
    `local`, `special`, `unsupported`, or `litellm` for a provider that only LiteLLM knows.
    """

    kind: str = ""
    backend: str = ""
    model: str = ""
    api_base: str = ""
    key_env: tuple[str, ...] = ()
    required_env: tuple[str, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    responses_api: str = ""
    key_header: str = ""
    key_optional: bool = False
    problem: str = ""

    @property
    def is_self_hosted(self) -> bool:
        """Whether it is a server of one's own."""
        return self.kind == "local" or (
            self.kind == "litellm" and self.backend in SELF_HOSTED_BACKENDS
        )

    def missing_variables(self, environment: Mapping[str, str] | None = None) -> list[str]:
        """What must still be set: variables, alternatives joined by " or "."""
        variables = os.environ if environment is None else environment
        missing = [name for name in self.required_env if not _env_value(variables, name)]
        if self.key_env and not self.key_optional and not self.credential(environment)[0]:
            missing.append(" or ".join(self.key_env))
        return missing

    def api_key(self, environment: Mapping[str, str] | None = None) -> str:
        """The key that the environment has for it, else the one that `pipy keys` keeps, or
        nothing."""
        name, location = self.credential(environment)
        if location and location != ENVIRONMENT:
            return keystore.get_key(name)
        return _env_value(os.environ if environment is None else environment, name)

    def credential(self, environment: Mapping[str, str] | None = None) -> tuple[str, str]:
        """The variable whose key would be used, and where it is: `environment`, `keyring` or the
        path of a file; two empty texts when there is none. No key is read for it."""
        variables = os.environ if environment is None else environment
        for name in self.key_env:
            if _env_value(variables, name):
                return name, ENVIRONMENT
        if environment is None and self.backend not in CLOUD_LOGIN_BACKENDS:
            for name in self.key_env:
                if location := keystore.key_location(name):
                    return name, location
        return "", ""


def _holds_key(variable: str) -> bool:
    return is_secret_variable(variable) or "CREDENTIALS" in variable


def _env_value(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip()


def expand_variables(template: str, environment: Mapping[str, str] | None = None) -> str:
    """`template` with each `${VAR}` replaced."""
    environment = os.environ if environment is None else environment
    return _PLACEHOLDER.sub(lambda match: _env_value(environment, match[1]), template)


def expand_url(template: str, environment: Mapping[str, str] | None = None) -> str:
    """`expand` for an address. Some variables hold a host, others a whole address."""
    url = re.sub(r"(?i)^https://(https?://)", r"\1", expand_variables(template, environment))
    url = re.sub(r"^\w+://", lambda scheme: scheme[0].lower(), url)
    url = re.sub(r"(?<!:)//+", "/", url).rstrip("/")
    return url if "://" in url or not url else f"https://{url}"


def build_route(
    provider_record: Mapping[str, Any], model_id: str, record: Mapping[str, Any] | None = None
) -> Route:
    """The way to model `identity` of a provider's record; `record` is the model's own, if any.

    Example:
        >>> from pipy_ai.registry.routing import build_route
        >>> acme = {"id": "acme", "npm": "@ai-sdk/openai-compatible",
        ...         "api": "https://api.acme.ai/v1/", "env": ["ACME_API_KEY"]}
        >>> route = build_route(acme, "large")
        >>> route.model, route.api_base, route.key_env
        ('hosted_vllm/large', 'https://api.acme.ai/v1', ('ACME_API_KEY',))
    """
    provider = str(provider_record.get("id") or "")
    overrides = (record or {}).get("provider")
    overrides = overrides if isinstance(overrides, dict) else {}
    npm = str(overrides.get("npm") or provider_record.get("npm") or "")
    listed_url = (
        overrides.get("api") or provider_record.get("api") or _API_BASES.get(provider) or ""
    )
    api_base = str(listed_url).rstrip("/").removesuffix("/chat/completions")
    env_names = [
        n for n in overrides.get("env") or provider_record.get("env") or () if isinstance(n, str)
    ]
    key_env = tuple(name for name in env_names if _holds_key(name))
    key_env = key_env or tuple(name for name in env_names if f"${{{name}}}" not in api_base)
    key_env += tuple(name for name in _EXTRA_KEY_ENV.get(provider, ()) if name not in key_env)
    common_fields: dict[str, Any] = {
        "key_env": key_env,
        "required_env": tuple(_PLACEHOLDER.findall(api_base)),
    }

    if provider in _PROVIDER_PROBLEMS:
        kind = "unsupported" if provider in ("gitlab", "merge-gateway") else "special"
        return Route(
            kind=kind,
            problem=_PROVIDER_PROBLEMS[provider],
            **_backend_fields("hosted_vllm", model_id, common_fields),
        )
    if provider == "cloudflare-ai-gateway":
        fields = _backend_fields("hosted_vllm", model_id, common_fields)
        return Route(kind="special", api_base=api_base, key_header="cf-aig-authorization", **fields)
    if cloud_route := _cloud_route(provider, npm, model_id, api_base, common_fields):
        return cloud_route
    wants_responses = "responses" if overrides.get("shape") == "responses" else ""
    is_native = provider in NATIVE_PROVIDERS and not overrides.get("npm")
    if is_native and (not wants_responses or provider in ("openai", "xai")):
        prefix, default_base = NATIVE_PROVIDERS[provider]
        api_base = api_base if overrides.get("api") else default_base
        fields = _backend_fields(prefix, model_id, {"key_env": key_env})
        responses_api = (
            "always" if wants_responses else _responses_api_mode(provider, model_id, record or {})
        )
        return Route(kind="native", api_base=api_base, responses_api=responses_api, **fields)
    if npm == "@ai-sdk/anthropic":
        api_base = api_base.removesuffix("/v1")  # LiteLLM adds /v1/messages
        return Route(
            kind="anthropic_compat",
            api_base=api_base,
            **_backend_fields("anthropic", model_id, common_fields),
        )
    if npm == "@ai-sdk/google":
        return Route(
            kind="gemini_compat",
            api_base=api_base,
            **_backend_fields("gemini", model_id, common_fields),
        )
    if npm == "@ai-sdk/openai" or overrides.get("shape") == "responses":
        fields = _backend_fields("openai", model_id, common_fields)
        fields["model"] = f"openai/responses/{model_id}"
        return Route(kind="responses", api_base=api_base, responses_api="always", **fields)
    generic_fields = _backend_fields("hosted_vllm", model_id, common_fields)
    if not api_base:
        problem = f"models.dev does not say where {provider} is: pass api_base="
        return Route(kind="unsupported", problem=problem, **generic_fields)
    if _LOCAL_URL.match(api_base):
        return Route(kind="local", api_base=api_base, key_optional=True, **generic_fields)
    kind = "generic_template" if common_fields["required_env"] else "generic"
    return Route(kind=kind, api_base=api_base, **generic_fields)


def _responses_api_mode(provider: str, model_id: str, record: Mapping[str, Any]) -> str:
    """Whether a model of OpenAI or xAI wants the Responses API."""
    if provider in ("openai", "xai") and _RESPONSES_ONLY.search(model_id):
        return "always"
    # From GPT-5.4 on, Chat Completions takes no tools from a model that reasons.
    is_newer = (
        str(record.get("release_date") or "") >= "2026-03" and record.get("reasoning") is True
    )
    is_newer = is_newer or (not record and _NEWER_GPT_MODELS.match(model_id) is not None)
    return "own" if provider == "openai" and is_newer else ""


def _backend_fields(backend: str, model_id: str, common_fields: dict[str, Any]) -> dict[str, Any]:
    return {"backend": backend, "model": f"{backend}/{model_id}", **common_fields}


def _cloud_route(
    provider: str, npm: str, model_id: str, api_base: str, common_fields: dict[str, Any]
) -> Route | None:
    """The clouds, whose credentials are more than a key."""
    if provider == "amazon-bedrock":
        is_mantle = npm.endswith("/mantle")
        backend = "bedrock_mantle" if is_mantle else "bedrock"
        return Route(
            kind="cloud",
            backend=backend,
            model=f"{backend}/{model_id}" if is_mantle else f"bedrock/converse/{model_id}",
            key_env=("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"),
            parameters={"aws_region_name": "${AWS_REGION}"},
        )
    if npm.startswith("@ai-sdk/google-vertex") or provider.startswith("google-vertex"):
        return Route(
            kind="cloud",
            parameters={
                "vertex_project": "${GOOGLE_VERTEX_PROJECT}",
                "vertex_location": "${GOOGLE_VERTEX_LOCATION}",
            },
            key_optional=True,  # Google's own ways to log in are many
            **_backend_fields(
                "vertex_ai", model_id, {"key_env": ("GOOGLE_APPLICATION_CREDENTIALS",)}
            ),
        )
    if npm == "@ai-sdk/azure":
        resource_variable = provider.upper().replace("-", "_") + "_RESOURCE_NAME"
        domain = "openai" if provider == "azure" else "cognitiveservices"
        api_base = f"https://${{{resource_variable}}}.{domain}.azure.com"
        key_fields = {"key_env": common_fields["key_env"]}
        return Route(
            kind="cloud", api_base=api_base, **_backend_fields("azure", model_id, key_fields)
        )
    return None


def litellm_route(name: str) -> Route:
    """The way to a model that the catalogue does not know, by LiteLLM's own name for it."""
    backend = name.partition("/")[0]
    if backend == "github_copilot":  # LiteLLM would start a login in the middle of the request
        return Route(
            kind="special",
            backend=backend,
            model=name,
            problem=_PROVIDER_PROBLEMS["github-copilot"],
        )
    is_self_hosted = backend in SELF_HOSTED_BACKENDS
    api_base = _env_value(os.environ, f"{backend.upper()}_API_BASE") if is_self_hosted else ""
    return Route(
        kind="litellm",
        backend=backend,
        model=name,
        api_base=api_base or DEFAULT_API_BASES.get(backend, ""),
        key_env=SELF_HOSTED_BACKENDS.get(backend) or guess_key_env(backend),
        key_optional=is_self_hosted,
    )


def guess_key_env(provider: str) -> tuple[str, ...]:
    """Where a provider that is not listed most likely has its key."""
    return (f"{provider.upper().replace('-', '_')}_API_KEY",)
