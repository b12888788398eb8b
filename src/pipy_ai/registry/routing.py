"""How to reach a model: LiteLLM's name for it, the base URL, the environment variables of its key.

For each provider, and for some models, models.dev lists the protocol (`npm`, `shape`), the address
(`api`) and the environment variables (`env`). Most are OpenAI-compatible and use one generic route,
LiteLLM's `hosted_vllm/<id>` with an explicit base URL and key. Unlike LiteLLM's own prefixes, it
does not reject tools for models that LiteLLM does not know, and never uses another provider's key.
The tables below are the exceptions. Nothing here performs I/O or imports anything heavy.
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

# Provider of models.dev → LiteLLM's prefix, and the base URL where LiteLLM's default differs.
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

# Base URLs that models.dev does not list, because the provider has its own SDK package.
_API_BASES = {
    "aihubmix": "https://aihubmix.com/v1",
    "github-copilot": "https://api.githubcopilot.com",
    "cloudflare-ai-gateway": "https://gateway.ai.cloudflare.com/v1/${CLOUDFLARE_ACCOUNT_ID}"
    "/${CLOUDFLARE_GATEWAY_ID}/compat",
    "v0": "https://api.v0.dev/v1",
    "venice": "https://api.venice.ai/api/v1",
}

# The addresses of providers that are built into their SDK or LiteLLM.
_SDK_URLS = {
    "anthropic": "https://api.anthropic.com",
    "cohere": "https://api.cohere.com",
    "google": "https://generativelanguage.googleapis.com",
    "openai": "https://api.openai.com",
}

# Other addresses of providers, to which their keys may be sent.
OTHER_URLS = {
    "cohere": ("https://api.cohere.ai",),
    "github-copilot": tuple(
        f"https://api.{plan}.githubcopilot.com" for plan in ("individual", "business", "enterprise")
    ),
}

COPILOT_KEY_ENV = ("GITHUB_COPILOT_API_KEY",)

# Environment variables of keys in addition to those that models.dev lists.
_EXTRA_KEY_ENV = {
    "cohere": ("CO_API_KEY",),
    "fireworks-ai": ("FIREWORKS_AI_API_KEY",),
    "lmstudio": ("LM_STUDIO_API_KEY",),
    "nvidia": ("NVIDIA_NIM_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY",),
    "togetherai": ("TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY"),
    "vercel": ("VERCEL_AI_GATEWAY_API_KEY",),
    "zai": ("ZAI_API_KEY",),
}

# Self-hosted servers by LiteLLM's names, and the variables of their keys, which are optional.
SELF_HOSTED_BACKENDS: dict[str, tuple[str, ...]] = {
    "hosted_vllm": ("HOSTED_VLLM_API_KEY",),
    "litellm_proxy": ("LITELLM_PROXY_API_KEY",),
    "lm_studio": ("LM_STUDIO_API_KEY",),
    "llamafile": (),
    "ollama": ("OLLAMA_API_KEY",),
    "ollama_chat": ("OLLAMA_API_KEY",),
}

# Their default base URLs; `api_base=` or, for example, `LM_STUDIO_API_BASE` overrides them.
DEFAULT_API_BASES = {
    "hosted_vllm": "http://127.0.0.1:8000/v1",
    "litellm_proxy": "http://127.0.0.1:4000",
    "llamafile": "http://127.0.0.1:8080/v1",
    "lm_studio": "http://127.0.0.1:1234/v1",
    "ollama_chat": "http://127.0.0.1:11434",
}

# Azure's variables in the order of precedence: those of its SDK before LiteLLM's and models.dev's.
AZURE_ADDRESSES = ("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE", "AZURE_RESOURCE_NAME")
AZURE_KEYS = ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY")
AZURE_TOKENS = ("AZURE_OPENAI_AD_TOKEN", "AZURE_AD_TOKEN")
FOUNDRY_ADDRESSES = ("ANTHROPIC_FOUNDRY_BASE_URL", "ANTHROPIC_FOUNDRY_RESOURCE")
FOUNDRY_KEY = "ANTHROPIC_FOUNDRY_API_KEY"

# Clouds that need more than a key: LiteLLM reads their credentials from the environment.
GOOGLE_EXPRESS_KEY = "GOOGLE_VERTEX_API_KEY"  # an API key of Vertex AI; it is for Gemini only
GOOGLE_PROJECT, GOOGLE_LOCATION = "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"
# Other variables with the same meaning: of the AI SDK, of LiteLLM, and of Anthropic's SDK.
_SYNONYMS = {
    GOOGLE_PROJECT: ("GOOGLE_VERTEX_PROJECT", "VERTEXAI_PROJECT", "ANTHROPIC_VERTEX_PROJECT_ID"),
    GOOGLE_LOCATION: ("GOOGLE_VERTEX_LOCATION", "VERTEXAI_LOCATION", "CLOUD_ML_REGION"),
}
# `pipy keys` stores these.
STORABLE_CLOUD_KEYS = frozenset({"AWS_BEARER_TOKEN_BEDROCK", GOOGLE_EXPRESS_KEY})
CLOUD_LOGIN_BACKENDS = frozenset({"bedrock", "bedrock_mantle", "vertex_ai"})
ENVIRONMENT = "environment"

# Services that ended, although models.dev may still list them.
RETIRED_PROVIDERS = {
    "github-models": "GitHub Models was retired on 30 July 2026: use another provider of the model",
}

_PROVIDER_PROBLEMS = {
    "sap-ai-core": "SAP AI Core is reached with a service key, not an API key: use LiteLLM's "
    "name of the model, sap/<model>, with AICORE_SERVICE_KEY set",
    "gitlab": "GitLab Duo has no chat endpoint for users",
    "merge-gateway": "models.dev lists no address for Merge Gateway: pass api_base= (an "
    "OpenAI-compatible address) and api_key=",
}

# Patterns are compiled on first use: most commands need none of them.
_RESPONSES_ONLY = r"codex|-pro(-|$)|deep-research|multi-agent"
# GPT-5.4 and later, for models that the catalogue does not list yet.
_NEWER_GPT_MODELS = r"gpt-(5\.[4-9]|[6-9])(?!\d)(?!.*chat)"
# OpenAI's models on Azure, where most others offer only Chat Completions.
_AZURE_OPENAI = r"gpt-\d|o\d|codex|computer-use"
_PLACEHOLDER = r"\$\{(\w+)\}"
_LOCAL_URL = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:|/|$)"


def default_url(provider: str) -> str:
    """Return the address of a provider from these tables, or an empty string."""
    _, native_url = NATIVE_PROVIDERS.get(provider, ("", ""))
    return native_url or _API_BASES.get(provider) or _SDK_URLS.get(provider, "")


@dataclass
class Route:
    """How to reach a model.

    `kind` is `native`, `generic`, `generic_template`, `anthropic_compat`, `gemini_compat`,
    `responses`, `cloud`, `local`, `special`, `unsupported`, or `litellm` for a provider that only
    LiteLLM knows. `backend` is LiteLLM's name of the provider, `model` LiteLLM's name of the model.

    One of the variables `key_env` must hold the key (unless `key_optional`), and all variables
    `required_env` must be set; `api_base` and `parameters` refer to them as `${VAR}`.
    `key_header` is the header for the key if it is not the usual one. One of the variables
    `address_env` must hold the address. Tokens in `token_env` take precedence over keys, logins in
    `login_env` are used if there is none.

    `responses_api` is `always` for a model that needs OpenAI's Responses API, `own` if it does so
    only at OpenAI's own address. `problem` is the reason why the model cannot be reached.
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
    address_env: tuple[str, ...] = ()
    token_env: tuple[str, ...] = ()
    login_env: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_self_hosted(self) -> bool:
        """Whether this is a self-hosted server."""
        return self.kind == "local" or (
            self.kind == "litellm" and self.backend in SELF_HOSTED_BACKENDS
        )

    @property
    def has_deployments(self) -> bool:
        """Whether users choose the names of the models, as on Azure."""
        return bool(self.address_env)

    def missing_variables(self, environment: Mapping[str, str] | None = None) -> list[str]:
        """Return the variables that must still be set; alternatives are joined by " or "."""
        variables = os.environ if environment is None else environment
        missing = [name for name in self.required_env if not is_set(name, variables)]
        if self.backend == "vertex_ai" and missing:
            return self._missing_for_google(missing, variables)
        if self.address_env and not any(_env_value(variables, n) for n in self.address_env):
            missing.append(" or ".join(self.address_env))
        if self.key_env and not self.key_optional and not self.credential(environment)[0]:
            missing.append(" or ".join(self.key_env))
        return missing

    def _missing_for_google(self, missing: list[str], variables: Mapping[str, str]) -> list[str]:
        """Return which of the variables are needed beside an API key or a login's file."""
        environment = None if variables is os.environ else variables
        if self.credential(environment)[0] == GOOGLE_EXPRESS_KEY:
            return []
        from . import google_login

        if environment is None and google_login.has_project():
            return [name for name in missing if name != GOOGLE_PROJECT]
        return missing

    def api_key(self, environment: Mapping[str, str] | None = None) -> str:
        """Return the key from the environment, else the one stored by `pipy keys`, else ""."""
        name, location = self.credential(environment)
        if location and location != ENVIRONMENT:
            return keystore.get_key(name)
        if name not in self.key_env:
            return ""
        return _env_value(os.environ if environment is None else environment, name)

    def credential(self, environment: Mapping[str, str] | None = None) -> tuple[str, str]:
        """Return the variable of the key or login and its location, or two empty strings.

        The location is `environment`, `keyring` or the path of a file. The key is not read.
        """
        variables = os.environ if environment is None else environment
        for name in (*self.token_env, *self.key_env):
            if _env_value(variables, name):
                return name, ENVIRONMENT
        if environment is None and self.backend == "vertex_ai":
            if GOOGLE_EXPRESS_KEY in self.key_env and (
                location := keystore.key_location(GOOGLE_EXPRESS_KEY)
            ):
                return GOOGLE_EXPRESS_KEY, location
            from . import google_login

            path = google_login.login_path()
            return (google_login.FILE_VARIABLE, path) if path else ("", "")
        if environment is None:
            is_cloud = self.backend in CLOUD_LOGIN_BACKENDS
            for name in self.key_env:
                if is_cloud and name not in STORABLE_CLOUD_KEYS:
                    continue
                if location := keystore.key_location(name):
                    return name, location
        for name in self.login_env:
            if _env_value(variables, name):
                return name, ENVIRONMENT
        return "", ""


def _holds_key(variable: str) -> bool:
    return is_secret_variable(variable) or "CREDENTIALS" in variable


def _env_value(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip()


def is_set(name: str, environment: Mapping[str, str] | None = None) -> bool:
    """Return whether a variable is set, or another one that means the same."""
    variables = os.environ if environment is None else environment
    return any(_env_value(variables, other) for other in (name, *_SYNONYMS.get(name, ())))


def _set_variable(name: str) -> str:
    """Return the variable that is set of those with one meaning; the first if none is."""
    names = (*_SYNONYMS[name][:2], name, *_SYNONYMS[name][2:])
    return next((other for other in names if _env_value(os.environ, other)), names[0])


def expand_variables(template: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace each `${VAR}` in `template`."""
    environment = os.environ if environment is None else environment
    return re.sub(_PLACEHOLDER, lambda match: _env_value(environment, match[1]), template)


def expand_url(template: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace each `${VAR}` in a URL. Some variables hold a host, others a whole URL."""
    url = re.sub(r"(?i)^https://(https?://)", r"\1", expand_variables(template, environment))
    url = re.sub(r"^\w+://", lambda scheme: scheme[0].lower(), url)
    url = re.sub(r"(?<!:)//+", "/", url).rstrip("/")
    return url if "://" in url or not url else f"https://{url}"


# --- Models of the catalogue ----------------------------------------------------------------


@dataclass
class _Listing:
    """The facts of models.dev from which a route is built."""

    provider: str = ""
    model_id: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    npm: str = ""
    api_base: str = ""
    key_env: tuple[str, ...] = ()
    env: tuple[str, ...] = ()  # all variables that the provider lists
    model_has_npm: bool = False  # listed for the model, not for the provider
    model_has_api: bool = False
    wants_responses: bool = False

    @property
    def required_env(self) -> tuple[str, ...]:
        """The variables in the base URL."""
        return tuple(re.findall(_PLACEHOLDER, self.api_base))

    def route(self, kind: str, backend: str, **fields: Any) -> Route:
        """Build a route; `fields` override the defaults."""
        fields.setdefault("model", f"{backend}/{self.model_id}")
        fields.setdefault("key_env", self.key_env)
        if "required_env" not in fields:
            fields["required_env"] = self.required_env
        return Route(kind=kind, backend=backend, **fields)


def build_route(
    provider_record: Mapping[str, Any], model_id: str, record: Mapping[str, Any] | None = None
) -> Route:
    """Return the route to a model of a provider; `record` is the model's own record, if any.

    Example:
        >>> from pipy_ai.registry.routing import build_route
        >>> acme = {"id": "acme", "npm": "@ai-sdk/openai-compatible",
        ...         "api": "https://api.acme.ai/v1/", "env": ["ACME_API_KEY"]}
        >>> route = build_route(acme, "large")
        >>> route.model, route.api_base, route.key_env
        ('hosted_vllm/large', 'https://api.acme.ai/v1', ('ACME_API_KEY',))
    """
    listing = _read_listing(provider_record, model_id, record or {})
    for rule in _RULES:
        route = rule(listing)
        if route is not None:
            return route
    return _generic_route(listing)


def _read_listing(
    provider_record: Mapping[str, Any], model_id: str, record: Mapping[str, Any]
) -> _Listing:
    provider = str(provider_record.get("id") or "")
    overrides = record.get("provider")
    overrides = overrides if isinstance(overrides, dict) else {}
    listed_url = (
        overrides.get("api") or provider_record.get("api") or _API_BASES.get(provider) or ""
    )
    api_base = str(listed_url).rstrip("/").removesuffix("/chat/completions")
    listed_env = overrides.get("env") or provider_record.get("env") or ()
    env = [name for name in listed_env if isinstance(name, str)]
    return _Listing(
        provider=provider,
        model_id=model_id,
        record=record,
        npm=str(overrides.get("npm") or provider_record.get("npm") or ""),
        api_base=api_base,
        key_env=_key_variables(provider, env, api_base),
        env=tuple(env),
        model_has_npm=bool(overrides.get("npm")),
        model_has_api=bool(overrides.get("api")),
        wants_responses=overrides.get("shape") == "responses",
    )


def _key_variables(provider: str, env: list[str], api_base: str) -> tuple[str, ...]:
    names = [name for name in env if _holds_key(name)]
    names = names or [name for name in env if f"${{{name}}}" not in api_base]
    extra = [name for name in _EXTRA_KEY_ENV.get(provider, ()) if name not in names]
    return (*names, *extra)


def _copilot_route(listing: _Listing) -> Route | None:
    """Route to GitHub Copilot with a token that the user brings. GITHUB_TOKEN is not one."""
    if listing.provider != "github-copilot":
        return None
    facts: dict[str, Any] = {"api_base": listing.api_base, "key_env": COPILOT_KEY_ENV}
    needs_responses = re.search(_RESPONSES_ONLY, listing.model_id) is not None
    if needs_responses or re.match(_NEWER_GPT_MODELS, listing.model_id) is not None:
        name = f"openai/responses/{listing.model_id}"
        return listing.route("responses", "openai", model=name, responses_api="always", **facts)
    return listing.route("generic", "hosted_vllm", **facts)


def _retired_route(listing: _Listing) -> Route | None:
    if (problem := RETIRED_PROVIDERS.get(listing.provider)) is None:
        return None
    return listing.route("unsupported", "hosted_vllm", key_env=(), problem=problem)


def _problem_route(listing: _Listing) -> Route | None:
    problem = _PROVIDER_PROBLEMS.get(listing.provider)
    if problem is None:
        return None
    kind = "unsupported" if listing.provider in ("gitlab", "merge-gateway") else "special"
    return listing.route(kind, "hosted_vllm", problem=problem)


def _cloudflare_route(listing: _Listing) -> Route | None:
    if listing.provider != "cloudflare-ai-gateway":
        return None
    return listing.route(
        "special", "hosted_vllm", api_base=listing.api_base, key_header="cf-aig-authorization"
    )


def _bedrock_route(listing: _Listing) -> Route | None:
    if listing.provider != "amazon-bedrock":
        return None
    is_mantle = listing.npm.endswith("/mantle")
    backend = "bedrock_mantle" if is_mantle else "bedrock"
    return listing.route(
        "cloud",
        backend,
        model=f"{backend}/{listing.model_id}"
        if is_mantle
        else f"bedrock/converse/{listing.model_id}",
        key_env=("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"),
        required_env=(),
        parameters={"aws_region_name": "${AWS_REGION}"},
    )


def _vertex_route(listing: _Listing) -> Route | None:
    is_vertex = listing.npm.startswith("@ai-sdk/google-vertex")
    if not is_vertex and not listing.provider.startswith("google-vertex"):
        return None
    from . import google_login

    key_env: tuple[str, ...] = (GOOGLE_EXPRESS_KEY, google_login.FILE_VARIABLE)
    if listing.provider == "google-vertex-anthropic" or "claude" in listing.model_id:
        key_env = key_env[1:]
    return listing.route(
        "cloud",
        "vertex_ai",
        key_env=key_env,
        key_optional=True,  # Google supports several other ways to log in
        required_env=(GOOGLE_PROJECT, GOOGLE_LOCATION),
        parameters={
            "vertex_project": f"${{{_set_variable(GOOGLE_PROJECT)}}}",
            "vertex_location": f"${{{_set_variable(GOOGLE_LOCATION)}}}",
        },
    )


def _azure_route(listing: _Listing) -> Route | None:
    """Return the route to a model on Azure. `provider.clouds.azure` finds its address and login."""
    provider = listing.provider
    if provider not in ("azure", "azure-cognitive-services") and listing.npm != "@ai-sdk/azure":
        return None
    resource_variable = provider.upper().replace("-", "_") + "_RESOURCE_NAME"
    domain = "openai" if provider == "azure" else "cognitiveservices"
    backend, path, model_id = "azure", "", _base_id(listing)
    is_openai = re.match(_AZURE_OPENAI, model_id) is not None
    addresses: tuple[str, ...] = (resource_variable, *AZURE_ADDRESSES)
    keys: tuple[str, ...] = (*listing.key_env, *AZURE_KEYS)
    if provider == "azure":
        addresses, keys = AZURE_ADDRESSES, AZURE_KEYS
    if "claude" in model_id:
        backend, domain, path = "azure_ai", "services.ai", "/anthropic"
        addresses, keys = (*FOUNDRY_ADDRESSES, *addresses), (FOUNDRY_KEY, *keys)
    return listing.route(
        "cloud",
        backend,
        api_base=f"https://${{{resource_variable}}}.{domain}.azure.com{path}",
        key_env=tuple(dict.fromkeys(keys)),
        required_env=(),
        address_env=tuple(dict.fromkeys(addresses)),
        token_env=AZURE_TOKENS,
        login_env=("AZURE_CLIENT_SECRET",),
        responses_api=_responses_api_mode(listing, model_id, is_openai),
    )


def azure_ai_route(name: str, record: Mapping[str, Any] | None = None) -> Route:
    """Return the route to `azure_ai/<model>`, LiteLLM's name of a model on Azure Foundry."""
    route = build_route({"id": "azure"}, name.partition("/")[2], record)
    route.backend, route.model, route.api_base = "azure_ai", name, ""
    route.address_env = ("AZURE_AI_API_BASE", *route.address_env)
    route.key_env = ("AZURE_AI_API_KEY", *route.key_env)
    return route


def _unsafe_url_route(listing: _Listing) -> Route | None:
    """Reject an address that would reveal a secret, or whose traffic others could read."""
    problem = ""
    for name in listing.required_env:
        if is_secret_variable(name) or name not in listing.env:
            problem = (
                f"the catalogue's address of {listing.provider} contains the secret variable {name}"
            )
    if listing.api_base.lower().startswith("http:") and not re.match(_LOCAL_URL, listing.api_base):
        problem = f"the catalogue's address of {listing.provider} is not https: {listing.api_base}"
    if not problem:
        return None
    problem += ", so it is not used. Pass api_base= if you trust it"
    return listing.route(
        "unsupported", "hosted_vllm", api_base="", required_env=(), problem=problem
    )


def _native_route(listing: _Listing) -> Route | None:
    provider = listing.provider
    if provider not in NATIVE_PROVIDERS or listing.model_has_npm:
        return None
    if listing.wants_responses and provider not in ("openai", "xai"):
        return None
    prefix, default_base = NATIVE_PROVIDERS[provider]
    return listing.route(
        "native",
        prefix,
        api_base=listing.api_base if listing.model_has_api else default_base,
        required_env=(),
        responses_api=_responses_api_mode(listing, listing.model_id, provider == "openai"),
    )


def _responses_api_mode(listing: _Listing, model_id: str, is_openai: bool) -> str:
    """Return when a model of OpenAI or xAI needs the Responses API."""
    record = listing.record
    if listing.wants_responses:
        return "always"
    if (is_openai or listing.provider == "xai") and re.search(_RESPONSES_ONLY, model_id):
        return "always"
    # Since GPT-5.4, Chat Completions rejects tools for reasoning models.
    is_newer = (
        str(record.get("release_date") or "") >= "2026-03" and record.get("reasoning") is True
    )
    is_newer = is_newer or (not record and re.match(_NEWER_GPT_MODELS, model_id) is not None)
    return "own" if is_openai and is_newer else ""


def _base_id(listing: _Listing) -> str:
    """Return the id of the model whose record this is: a deployment may have any name."""
    return str(listing.record.get("base_model") or listing.model_id).rpartition("/")[2]


def _anthropic_route(listing: _Listing) -> Route | None:
    if listing.npm != "@ai-sdk/anthropic":
        return None
    api_base = listing.api_base.removesuffix("/v1")  # LiteLLM appends /v1/messages
    return listing.route("anthropic_compat", "anthropic", api_base=api_base)


def _gemini_route(listing: _Listing) -> Route | None:
    if listing.npm != "@ai-sdk/google":
        return None
    return listing.route("gemini_compat", "gemini", api_base=listing.api_base)


def _responses_route(listing: _Listing) -> Route | None:
    if listing.npm != "@ai-sdk/openai" and not listing.wants_responses:
        return None
    return listing.route(
        "responses",
        "openai",
        model=f"openai/responses/{listing.model_id}",
        api_base=listing.api_base,
        responses_api="always",
    )


# The first rule that returns a route wins.
_RULES = (
    _retired_route,
    _problem_route,
    _copilot_route,
    _cloudflare_route,
    _bedrock_route,
    _vertex_route,
    _azure_route,
    _unsafe_url_route,
    _native_route,
    _anthropic_route,
    _gemini_route,
    _responses_route,
)


def _generic_route(listing: _Listing) -> Route:
    api_base = listing.api_base
    if not api_base:
        problem = f"models.dev lists no address for {listing.provider}: pass api_base="
        return listing.route("unsupported", "hosted_vllm", problem=problem)
    if re.match(_LOCAL_URL, api_base):
        return listing.route("local", "hosted_vllm", api_base=api_base, key_optional=True)
    kind = "generic_template" if listing.required_env else "generic"
    return listing.route(kind, "hosted_vllm", api_base=api_base)


# --- Other models ---------------------------------------------------------------------------


def litellm_route(name: str) -> Route:
    """Return the route to a model outside the catalogue by LiteLLM's name for it."""
    backend = name.partition("/")[0]
    if backend == "github_copilot":  # LiteLLM would start an interactive login
        return build_route({"id": "github-copilot"}, name.partition("/")[2])
    if backend == "azure_ai":
        return azure_ai_route(name)
    if backend == "ollama":  # LiteLLM would send a prompt of its own making
        backend, name = "ollama_chat", f"ollama_chat/{name.partition('/')[2]}"
    is_self_hosted = backend in SELF_HOSTED_BACKENDS
    api_base = _env_value(os.environ, f"{backend.upper()}_API_BASE") if is_self_hosted else ""
    if backend == "ollama_chat":
        from .ollama_address import environment_address

        api_base = api_base or environment_address()[1]
    return Route(
        kind="litellm",
        backend=backend,
        model=name,
        api_base=api_base or DEFAULT_API_BASES.get(backend, ""),
        key_env=SELF_HOSTED_BACKENDS.get(backend) or guess_key_env(backend),
        key_optional=is_self_hosted,
    )


def guess_key_env(provider: str) -> tuple[str, ...]:
    """Return the most likely variable for the key of a provider that is not listed."""
    return (f"{provider.upper().replace('-', '_')}_API_KEY",)
