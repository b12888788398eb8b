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

from . import keystore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from dataclasses import dataclass, field
    from typing import Any
else:
    from ._dataclass import dataclass, field

# models.dev's provider → LiteLLM's prefix, and the address where LiteLLM would take another one.
NATIVE = {
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
_ADDRESSES = {
    "aihubmix": "https://aihubmix.com/v1",
    "cloudflare-ai-gateway": "https://gateway.ai.cloudflare.com/v1/${CLOUDFLARE_ACCOUNT_ID}"
    "/${CLOUDFLARE_GATEWAY_ID}/compat",
    "v0": "https://api.v0.dev/v1",
    "venice": "https://api.venice.ai/api/v1",
}

# Variables that hold a provider's key besides those that models.dev lists.
_MORE_KEYS = {
    "fireworks-ai": ("FIREWORKS_AI_API_KEY",),
    "lmstudio": ("LM_STUDIO_API_KEY",),
    "nvidia": ("NVIDIA_NIM_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY",),
    "togetherai": ("TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY"),
    "vercel": ("VERCEL_AI_GATEWAY_API_KEY",),
    "zai": ("ZAI_API_KEY",),
}

# Servers of one's own, by LiteLLM's names: a key where one is set, otherwise none is needed.
OWN_SERVERS: dict[str, tuple[str, ...]] = {
    "hosted_vllm": ("HOSTED_VLLM_API_KEY",),
    "litellm_proxy": ("LITELLM_PROXY_API_KEY",),
    "lm_studio": ("LM_STUDIO_API_KEY",),
    "llamafile": (),
    "ollama": (),
    "ollama_chat": (),
}

# Where they listen unless somebody says otherwise: `api_base=`, or e.g. `LM_STUDIO_API_BASE`.
USUAL_ADDRESSES = {
    "hosted_vllm": "http://127.0.0.1:8000/v1",
    "litellm_proxy": "http://127.0.0.1:4000",
    "llamafile": "http://127.0.0.1:8080/v1",
    "lm_studio": "http://127.0.0.1:1234/v1",
}

# Clouds that log in with more than a key: LiteLLM finds their credentials in the environment.
LOGINS = frozenset({"bedrock", "bedrock_mantle", "vertex_ai"})
ENVIRONMENT = "environment"

_PROBLEMS = {
    "github-copilot": "GitHub Copilot wants a short-lived token of its own login: pass it as "
    "api_key= together with api_base='https://api.githubcopilot.com'",
    "sap-ai-core": "SAP AI Core is reached with a service key, not an API key: use LiteLLM's "
    "name of the model, sap/<model>, with AICORE_SERVICE_KEY set",
    "gitlab": "GitLab Duo has no chat endpoint for users",
    "merge-gateway": "models.dev does not say where Merge Gateway is: pass api_base= (an "
    "OpenAI-compatible address) and api_key=",
}

_RESPONSES_ONLY = re.compile(r"codex|-pro(-|$)|deep-research|multi-agent")
_NEWER = re.compile(r"gpt-(5\.[4-9]|[6-9])(?!\d)(?!.*chat)")  # what no catalogue knows yet
_SECRET = re.compile(r"KEY|TOKEN|SECRET|CREDENTIALS|_PAT$")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_LOCAL = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:|/|$)")


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

    rule: str = ""
    backend: str = ""
    model: str = ""
    api_base: str = ""
    keys: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    responses: str = ""
    key_header: str = ""
    key_optional: bool = False
    problem: str = ""

    @property
    def own_server(self) -> bool:
        """Whether it is a server of one's own."""
        return self.rule == "local" or (self.rule == "litellm" and self.backend in OWN_SERVERS)

    def missing(self, environment: Mapping[str, str] | None = None) -> list[str]:
        """What must still be set: variables, alternatives joined by " or "."""
        given = os.environ if environment is None else environment
        missing = [name for name in self.needs if not _value(given, name)]
        if self.keys and not self.key_optional and not self.found(environment)[0]:
            missing.append(" or ".join(self.keys))
        return missing

    def key(self, environment: Mapping[str, str] | None = None) -> str:
        """The key that the environment has for it, else the one that `pipy keys` keeps, or
        nothing."""
        name, place = self.found(environment)
        if place and place != ENVIRONMENT:
            return keystore.value(name)
        return _value(os.environ if environment is None else environment, name)

    def found(self, environment: Mapping[str, str] | None = None) -> tuple[str, str]:
        """The variable whose key would be used, and where it is: `environment`, `keyring` or the
        path of a file; two empty texts when there is none. No key is read for it."""
        given = os.environ if environment is None else environment
        for name in self.keys:
            if _value(given, name):
                return name, ENVIRONMENT
        if environment is None and self.backend not in LOGINS:
            for name in self.keys:
                if place := keystore.place(name):
                    return name, place
        return "", ""


def _value(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip()


def expand(template: str, environment: Mapping[str, str] | None = None) -> str:
    """`template` with each `${VAR}` replaced."""
    environment = os.environ if environment is None else environment
    return _VARIABLE.sub(lambda match: _value(environment, match[1]), template)


def address(template: str, environment: Mapping[str, str] | None = None) -> str:
    """`expand` for an address. Some variables hold a host, others a whole address."""
    said = re.sub(r"(?i)^https://(https?://)", r"\1", expand(template, environment))
    said = re.sub(r"^\w+://", lambda scheme: scheme[0].lower(), said)
    said = re.sub(r"(?<!:)//+", "/", said).rstrip("/")
    return said if "://" in said or not said else f"https://{said}"


def route(host: Mapping[str, Any], identity: str, record: Mapping[str, Any] | None = None) -> Route:
    """The way to model `identity` of a provider's record; `record` is the model's own, if any.

    Example:
        >>> from pipy_ai.registry.routing import route
        >>> acme = {"id": "acme", "npm": "@ai-sdk/openai-compatible",
        ...         "api": "https://api.acme.ai/v1/", "env": ["ACME_API_KEY"]}
        >>> way = route(acme, "large")
        >>> way.model, way.api_base, way.keys
        ('hosted_vllm/large', 'https://api.acme.ai/v1', ('ACME_API_KEY',))
    """
    provider = str(host.get("id") or "")
    own = (record or {}).get("provider")
    own = own if isinstance(own, dict) else {}
    npm = str(own.get("npm") or host.get("npm") or "")
    listed = own.get("api") or host.get("api") or _ADDRESSES.get(provider) or ""
    base = str(listed).rstrip("/").removesuffix("/chat/completions")
    variables = [n for n in own.get("env") or host.get("env") or () if isinstance(n, str)]
    keys = tuple(name for name in variables if _SECRET.search(name))
    keys = keys or tuple(name for name in variables if f"${{{name}}}" not in base)
    keys += tuple(name for name in _MORE_KEYS.get(provider, ()) if name not in keys)
    common: dict[str, Any] = {"keys": keys, "needs": tuple(_VARIABLE.findall(base))}

    if provider in _PROBLEMS:
        rule = "unsupported" if provider in ("gitlab", "merge-gateway") else "special"
        return Route(rule=rule, problem=_PROBLEMS[provider], **_to("hosted_vllm", identity, common))
    if provider == "cloudflare-ai-gateway":
        way = _to("hosted_vllm", identity, common)
        return Route(rule="special", api_base=base, key_header="cf-aig-authorization", **way)
    if cloud := _cloud(provider, npm, identity, base, common):
        return cloud
    asked = "responses" if own.get("shape") == "responses" else ""
    native = provider in NATIVE and not own.get("npm")
    if native and (not asked or provider in ("openai", "xai")):
        prefix, usual = NATIVE[provider]
        base = base if own.get("api") else usual
        way = _to(prefix, identity, {"keys": keys})
        responses = "always" if asked else _responses(provider, identity, record or {})
        return Route(rule="native", api_base=base, responses=responses, **way)
    if npm == "@ai-sdk/anthropic":
        base = base.removesuffix("/v1")  # LiteLLM adds /v1/messages
        return Route(rule="anthropic_compat", api_base=base, **_to("anthropic", identity, common))
    if npm == "@ai-sdk/google":
        return Route(rule="gemini_compat", api_base=base, **_to("gemini", identity, common))
    if npm == "@ai-sdk/openai" or own.get("shape") == "responses":
        way = _to("openai", identity, common)
        way["model"] = f"openai/responses/{identity}"
        return Route(rule="responses", api_base=base, responses="always", **way)
    generic = _to("hosted_vllm", identity, common)
    if not base:
        problem = f"models.dev does not say where {provider} is: pass api_base="
        return Route(rule="unsupported", problem=problem, **generic)
    if _LOCAL.match(base):
        return Route(rule="local", api_base=base, key_optional=True, **generic)
    rule = "generic_template" if common["needs"] else "generic"
    return Route(rule=rule, api_base=base, **generic)


def _responses(provider: str, identity: str, record: Mapping[str, Any]) -> str:
    """Whether a model of OpenAI or xAI wants the Responses API."""
    if provider in ("openai", "xai") and _RESPONSES_ONLY.search(identity):
        return "always"
    # From GPT-5.4 on, Chat Completions takes no tools from a model that reasons.
    newer = str(record.get("release_date") or "") >= "2026-03" and record.get("reasoning") is True
    newer = newer or (not record and _NEWER.match(identity) is not None)
    return "own" if provider == "openai" and newer else ""


def _to(backend: str, identity: str, common: dict[str, Any]) -> dict[str, Any]:
    return {"backend": backend, "model": f"{backend}/{identity}", **common}


def _cloud(
    provider: str, npm: str, identity: str, base: str, common: dict[str, Any]
) -> Route | None:
    """The clouds, whose credentials are more than a key."""
    if provider == "amazon-bedrock":
        mantle = npm.endswith("/mantle")
        backend = "bedrock_mantle" if mantle else "bedrock"
        return Route(
            rule="cloud",
            backend=backend,
            model=f"{backend}/{identity}" if mantle else f"bedrock/converse/{identity}",
            keys=("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"),
            parameters={"aws_region_name": "${AWS_REGION}"},
        )
    if npm.startswith("@ai-sdk/google-vertex") or provider.startswith("google-vertex"):
        return Route(
            rule="cloud",
            parameters={
                "vertex_project": "${GOOGLE_VERTEX_PROJECT}",
                "vertex_location": "${GOOGLE_VERTEX_LOCATION}",
            },
            key_optional=True,  # Google's own ways to log in are many
            **_to("vertex_ai", identity, {"keys": ("GOOGLE_APPLICATION_CREDENTIALS",)}),
        )
    if npm == "@ai-sdk/azure":
        name = provider.upper().replace("-", "_") + "_RESOURCE_NAME"
        domain = "openai" if provider == "azure" else "cognitiveservices"
        base = f"https://${{{name}}}.{domain}.azure.com"
        keys = {"keys": common["keys"]}
        return Route(rule="cloud", api_base=base, **_to("azure", identity, keys))
    return None


def litellm_route(name: str) -> Route:
    """The way to a model that the catalogue does not know, by LiteLLM's own name for it."""
    backend = name.partition("/")[0]
    if backend == "github_copilot":  # LiteLLM would start a login in the middle of the request
        return Route(
            rule="special", backend=backend, model=name, problem=_PROBLEMS["github-copilot"]
        )
    own = backend in OWN_SERVERS
    base = _value(os.environ, f"{backend.upper()}_API_BASE") if own else ""
    return Route(
        rule="litellm",
        backend=backend,
        model=name,
        api_base=base or USUAL_ADDRESSES.get(backend, ""),
        keys=OWN_SERVERS.get(backend) or guessed_keys(backend),
        key_optional=own,
    )


def guessed_keys(provider: str) -> tuple[str, ...]:
    """Where a provider that is not listed most likely has its key."""
    return (f"{provider.upper().replace('-', '_')}_API_KEY",)
