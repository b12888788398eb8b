"""Azure OpenAI and Foundry: the API and the address of a deployment, keys and Entra tokens."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from pydantic import SecretStr

from ...errors import ErrorKind, ProviderError, error_info
from ...options import SimpleStreamOptions
from ...registry.keystore import KEYRING
from ...registry.routing import (
    AZURE_ADDRESSES,
    ENVIRONMENT,
    FOUNDRY_ADDRESSES,
    azure_ai_route,
    build_route,
)
from ...registry.trust import is_cloud_address
from ...types import Context
from ...utils import event_loop as loops
from ...utils.extras import has_extra, install_command
from ...utils.secrets import mask_url
from ..apis import ANTHROPIC, OPENAI_CHAT, OPENAI_RESPONSES
from ..credentials import (
    AZURE_LOGINS,
    PLACEHOLDER_KEY,
    key_function,
    permitted_key,
    warn_of_unsent_key,
)
from ..endpoint import Endpoint
from ..profiles import CLAUDE
from ..request import Request
from ..token_source import TokenFunction, token_source
from ..wire import Wire
from ..wires import load_wire
from . import CloudReport, entra

VERSION_VARIABLES = ("OPENAI_API_VERSION", "AZURE_API_VERSION")
DEFAULT_VERSION = "2024-10-21"  # the last general release before the v1 API
DEFAULT_RESPONSES_VERSION = "2025-04-01-preview"
FIRST_RESPONSES_VERSION = "2025-03-01"
DEFAULT_MODELS_VERSION = "2024-05-01-preview"  # of `/models` on Foundry
SCOPE = "https://ai.azure.com/.default"
DEPLOYMENTS_SCOPE = "https://cognitiveservices.azure.com/.default"
GOVERNMENT_SCOPE = "https://cognitiveservices.azure.us/.default"
GOVERNMENT_AUTHORITY = "https://login.microsoftonline.us"

_SETTINGS = frozenset({"api_version", "azure_ad_token"})
_LOOPBACK = re.compile(r"http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?(/|$)")
# Variables of one of these sets stand for the same address.
_VARIABLE_SETS = (AZURE_ADDRESSES, FOUNDRY_ADDRESSES)
_RESOURCE_DOMAINS = {"AZURE_RESOURCE_NAME": "openai", "ANTHROPIC_FOUNDRY_RESOURCE": "services.ai"}
_RESOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
# Logins that only `azure-identity` supports.
_IDENTITY_VARIABLES = (
    "AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_CERTIFICATE_PATH", "IDENTITY_ENDPOINT",
    "MSI_ENDPOINT",
)  # fmt: skip
_VERSION = re.compile(r"\d{4}-\d\d-\d\d(-preview)?")
_V1_VERSIONS = frozenset({"v1", "latest", "preview"})
_AZURE_DOMAIN = re.compile(r"\.(openai|cognitiveservices|services\.ai)\.azure\.(com|us)$")
_SERVERLESS_HOST = re.compile(r"\.(models|inference)\.ai\.azure\.com$")
_API_PATH = re.compile(r"/v1/messages$|/messages$|/chat/completions$|/responses$")
_DEPLOYMENT_PATH = re.compile(r"(.*)/openai/deployments(?:/([^/]+))?$")
_PROJECT_PATH = re.compile(r"/api/projects/[^/]+$")  # the portal's endpoint of a project


class _Address(NamedTuple):
    """An address as the user wrote it, and where: the name of a variable, or `api_base`."""

    source: str
    parts: SplitResult

    @property
    def host(self) -> str:
        return self.parts.hostname or ""

    @property
    def root(self) -> str:
        return f"{self.parts.scheme}://{self.parts.netloc}"

    @property
    def shown(self) -> str:
        """The address for messages, without a password and the query."""
        return mask_url(self.root + self.parts.path)

    @property
    def path(self) -> str:
        """The path without that of an API, such as `/chat/completions`."""
        return _API_PATH.sub("", self.parts.path.rstrip("/")).rstrip("/")

    @property
    def resource(self) -> str:
        """The name of the resource, or another host: addresses with the same one are one place."""
        return _AZURE_DOMAIN.sub("", self.host)


class _Target(NamedTuple):
    """The base URL of an API, the scope of tokens for it, and whether keys are bearer tokens."""

    base_url: str
    scope: str = SCOPE
    bearer_key: bool = False


class _Login(NamedTuple):
    """A key or an access token, and a function that discards the token."""

    key: str
    is_token: bool = False
    renew: Callable[[], None] | None = None

    def __repr__(self) -> str:
        """Return the kind alone."""
        return f"_Login(is_token={self.is_token})"


class Azure:
    """See `Cloud`."""

    title = "Azure"

    def wire(self, request: Request) -> Wire | None:
        """See `Cloud`."""
        extra = request.options.extra or {}
        is_federated = str(extra.get("azure_ad_token") or "").startswith("oidc/")
        if is_federated or not AZURE_LOGINS.isdisjoint(extra):
            return None
        return _azure_wire(_api(request))

    async def endpoint(self, request: Request, wire: Wire, preview: bool = False) -> Endpoint:
        """See `Cloud`."""
        try:
            address = _find_address(request)
        except ProviderError as error:
            if not preview or error.error.kind is not ErrorKind.MISSING_KEY:
                raise
            variable = request.route.address_env[0]
            request.warn("missing_variable", f"{variable} must be set")
            domain = "services.ai" if wire.api == ANTHROPIC else "openai"
            address = _Address("", urlsplit(f"https://{variable}.{domain}.azure.com"))
        target = _target(request, address, wire.api)
        login = await _login(request, address, target, preview)
        if login.is_token or target.bearer_key:
            headers = {"authorization": f"Bearer {login.key}"}
        else:
            headers = {"x-api-key" if wire.api == ANTHROPIC else "api-key": login.key}
        secrets = () if login.key == PLACEHOLDER_KEY else (permitted_key(login.key, request),)
        return Endpoint(
            headers,
            target.base_url,
            secrets=secrets,
            renew=login.renew,
            check_url=f"{target.base_url}/models" if target.base_url.endswith("/openai/v1") else "",
        )

    async def report(self) -> CloudReport | None:
        """See `Cloud`."""
        requests = [_request_for(*name) for name in _REPORTED]
        for names in ("address_env", "key_env", "token_env"):
            for request in requests:
                if any(map(_env, getattr(request.route, names))):
                    return _report(request)
        return None


CLOUD = Azure()
# The provider and the beginning of a model's name for each set of variables.
_REPORTED = (
    ("azure", ""), ("azure-cognitive-services", ""), ("azure_ai", ""), ("azure", "claude")
)  # fmt: skip


def _request_for(provider: str, model_id: str) -> Request:
    is_listed = provider != "azure_ai"
    route = build_route({"id": provider}, model_id) if is_listed else azure_ai_route(provider)
    return Request(provider, model_id, Context(messages=[]), SimpleStreamOptions(), route=route)


@cache
def _azure_wire(api: str) -> Wire:
    # Its list has the models of the catalogue of Azure, not the deployments.
    wire = load_wire(api)._replace(settings=_SETTINGS, model_lists=None)
    if api == OPENAI_RESPONSES:  # it has no /responses/input_tokens (inspect_ai#3371)
        return wire._replace(token_counter=None)
    return wire


def _env(name: str) -> str:
    return os.environ.get(name, "").strip()


def _setup_error(text: str, kind: ErrorKind = ErrorKind.AUTH) -> ProviderError:
    return ProviderError(error_info(kind, text))


def _api(request: Request) -> str:
    """Return the API of a deployment: that of its address, or else of its model."""
    try:
        address = _find_address(request)
        host, path = address.host, address.parts.path.rstrip("/")
        version = _version(request, address)
    except ProviderError:  # `endpoint` reports it
        host = path = version = ""
    if path.endswith("/responses"):
        return OPENAI_RESPONSES
    if path.endswith("/models") or _SERVERLESS_HOST.search(host):
        return OPENAI_CHAT
    if "/anthropic" in path or CLAUDE.search(request.base_model_id.lower()):
        return ANTHROPIC
    needs_responses = request.route.responses_api == "always"
    prefers_responses = request.route.responses_api == "own" and (
        not version or version >= FIRST_RESPONSES_VERSION
    )
    return OPENAI_RESPONSES if needs_responses or prefers_responses else OPENAI_CHAT


# === Addresses ==============================================================================


def _find_address(request: Request) -> _Address:
    """Return the address of a request: the option `api_base`, or that of a variable.

    Raises:
        ProviderError: There is none, or variables contradict each other.
    """
    if request.options.api_base:
        return _parse_address("api_base", request.options.api_base)
    names = request.route.address_env
    name = next(filter(_env, names), "")
    if not name:
        text = (
            f"No address for {request.provider}: set {names[0]} (like "
            f"{_EXAMPLES.get(names[0], _EXAMPLE)}) or pass api_base=."
        )
        raise _setup_error(text, ErrorKind.MISSING_KEY)
    address = _parse_address(name, _env(name))
    for same in (other for names in _VARIABLE_SETS if name in names for other in names):
        if _env(same) and (other := _parse_address(same, _env(same))).resource != address.resource:
            text = f"{name} is {address.shown}, but {same} is {other.shown}: unset one of them."
            raise _setup_error(text)
    return address


_EXAMPLE = "https://my-resource.openai.azure.com"
_EXAMPLES = {
    "AZURE_AI_API_BASE": "https://my-resource.services.ai.azure.com",
    "ANTHROPIC_FOUNDRY_BASE_URL": "https://my-resource.services.ai.azure.com/anthropic",
    "AZURE_COGNITIVE_SERVICES_RESOURCE_NAME": "my-resource",
}


def _parse_address(source: str, text: str) -> _Address:
    """Parse an address, or the name of a resource in a variable for names.

    Raises:
        ProviderError: It is not an address, or not encrypted.
    """
    text = text.strip()
    if source.endswith(("_RESOURCE_NAME", "_RESOURCE")):
        if not _RESOURCE_NAME.fullmatch(text):
            address_variable = "ANTHROPIC_FOUNDRY_BASE_URL"
            if source in AZURE_ADDRESSES:
                address_variable = AZURE_ADDRESSES[0]
            raise _setup_error(
                f"{source} must be the name of a resource, like my-resource, not "
                f"{mask_url(text)!r}. Set {address_variable} to use an address."
            )
        domain = _RESOURCE_DOMAINS.get(source, "cognitiveservices")
        text = f"https://{text}.{domain}.azure.com"
    elif "://" not in text:
        text = f"https://{text}"
    parts = _split(text)
    if parts is None:
        raise _setup_error(
            f"{source} is not an address like {_EXAMPLE}: {mask_url(text)!r}.",
            ErrorKind.BAD_REQUEST,
        )
    if parts.scheme == "http" and re.search(r"\.azure\.(com|us)\.?$", parts.hostname or ""):
        raise _setup_error(f"{source} is not encrypted: write https:// instead of http://.")
    return _Address(source, parts)


def _split(text: str) -> SplitResult | None:
    """Return the parts of an address; None: it is invalid."""
    try:
        parts = urlsplit(text)
        _ = parts.port
        if not parts.hostname or parts.scheme not in ("http", "https"):
            return None
        return parts if "@" in parts.netloc else parts._replace(netloc=parts.netloc.lower())
    except ValueError:
        return None


def _version(request: Request, address: _Address) -> str:
    """Return the version of the API, as a date; "" for the v1 API.

    Raises:
        ProviderError: It is not a version, or settings contradict each other.
    """
    if address.path.endswith("/v1"):
        return ""
    in_url = parse_qs(address.parts.query).get("api-version", [""])[0]
    sources = [(f"the query of {address.source}", in_url)]
    sources.append(("extra.api_version", str((request.options.extra or {}).get("api_version", ""))))
    if not any(version for _, version in sources):
        sources = [(name, _env(name)) for name in VERSION_VARIABLES]
    given = [(name, version) for name, version in sources if version]
    if not given:
        return ""
    (name, version), (other_name, other) = given[0], given[-1]
    if version != other:
        text = f"{name} is {version}, but {other_name} is {other}: unset one of them."
        raise _setup_error(text)
    if version in _V1_VERSIONS:
        return ""
    if not _VERSION.fullmatch(version):
        text = f"{name} is not an API version like {DEFAULT_VERSION}: {version!r}."
        raise _setup_error(text, ErrorKind.BAD_REQUEST)
    return version


def _target(request: Request, address: _Address, api: str) -> _Target:
    """Return where to send a request, to which the API appends its path.

    Raises:
        ProviderError: The version of the API does not have the Responses API.
    """
    if api == ANTHROPIC:
        return _Target(_claude_url(address))
    root, path, query = address.root, address.path, _query(address)
    if _SERVERLESS_HOST.search(address.host):
        return _Target(f"{root}{path or '/v1'}{query}", bearer_key=True)
    if path.endswith("/v1"):
        return _Target(f"{root}{path}{query}", _scope(address, SCOPE))
    if path.endswith("/models"):
        version = parse_qs(address.parts.query).get("api-version", [DEFAULT_MODELS_VERSION])[0]
        return _Target(f"{root}{path}{_query(address, version)}", _scope(address, SCOPE))
    version = _version(request, address)
    deployment = quote(request.model_id, safe="")
    if match := _DEPLOYMENT_PATH.fullmatch(path):
        path, deployment = match[1], match[2] or deployment
        version = version or {OPENAI_CHAT: DEFAULT_VERSION}.get(api, DEFAULT_RESPONSES_VERSION)
    path = _PROJECT_PATH.sub("", path.removesuffix("/openai"))
    if not version:
        return _Target(f"{root}{path}/openai/v1{query}", _scope(address, SCOPE))
    scope = _scope(address, DEPLOYMENTS_SCOPE)
    if api == OPENAI_CHAT:
        url = f"{root}{path}/openai/deployments/{deployment}{_query(address, version)}"
        return _Target(url, scope)
    if version < FIRST_RESPONSES_VERSION:
        if not match and not address.parts.query and _AZURE_DOMAIN.search(address.host):
            return _Target(f"{root}{path}/openai/v1", _scope(address, SCOPE))
        text = (
            f"{request.model} needs the Responses API, which version {version} does not have. Use "
            f"{mask_url(root)}{path}/openai/v1 without a version, or version "
            f"{DEFAULT_RESPONSES_VERSION}."
        )
        raise _setup_error(text, ErrorKind.BAD_REQUEST)
    return _Target(f"{root}{path}/openai{_query(address, version)}", scope)


def _claude_url(address: _Address) -> str:
    """Return the base URL of the Messages API."""
    path, query = address.path.removesuffix("/v1"), _query(address)
    if address.source == "ANTHROPIC_FOUNDRY_BASE_URL" and not _AZURE_DOMAIN.search(address.host):
        return f"{address.root}{path}{query}"  # a proxy, as in Anthropic's SDK
    before, anthropic, _ = path.partition("/anthropic")
    if not anthropic:
        before = re.split(r"/openai(?:/|$)|/models$|/api/projects/", path)[0]
    root = _AZURE_DOMAIN.sub(r".services.ai.azure.\2", address.root)
    return f"{root}{before}/anthropic{query}"


def _query(address: _Address, version: str = "") -> str:
    """Return the query of an address, with or without a version."""
    fields = [part for part in address.parts.query.split("&") if part]
    fields = [part for part in fields if not part.startswith("api-version=")]
    fields += [f"api-version={version}"] if version else []
    return f"?{'&'.join(fields)}" if fields else ""


def _scope(address: _Address, scope: str) -> str:
    return GOVERNMENT_SCOPE if address.host.endswith(".azure.us") else scope


# === Keys and tokens ========================================================================


async def _login(request: Request, address: _Address, target: _Target, preview: bool) -> _Login:
    """Return the key or token of a request. A preview takes no token from a server.

    Raises:
        ProviderError: There is none, it has expired, or settings contradict each other.
    """
    given, token = request.options.api_key, (request.options.extra or {}).get("azure_ad_token")
    if given and token:
        raise _setup_error("Both api_key= and extra.azure_ad_token are given: pass one of them.")
    if (fetch := key_function(request)) is not None:
        return _Login(PLACEHOLDER_KEY, True) if preview else await _renewable(fetch)
    if token:
        return _token(str(token), "extra.azure_ad_token", preview)
    if isinstance(given, SecretStr) and (key := given.get_secret_value().strip()):
        return _key_or_token(key, "api_key=", preview)
    if not _is_own(request, address):
        warn_of_unsent_key(request, address.root)
        return _Login(PLACEHOLDER_KEY)
    route = request.route
    variable, location = route.credential()
    if variable in route.token_env:
        return _token(_env(variable), variable, preview)
    if variable in route.key_env:
        if location == KEYRING:  # it may prompt
            key = await loops.run_in_thread("pipy-ai-keyring", route.api_key)
        else:
            key = route.api_key()
        return _key_or_token(key, variable, preview)
    if preview:
        return _Login(PLACEHOLDER_KEY)
    return await _renewable(_token_function(request, address, target))


def _is_own(request: Request, address: _Address) -> bool:
    """Return whether the credentials of the environment may be sent to an address."""
    if address.source != "api_base" or is_cloud_address(address.root, "azure"):
        return True
    try:
        options = request.options.model_copy(update={"api_base": None})
        return _find_address(replace(request, options=options)).root == address.root
    except ProviderError:
        return False


def _key_or_token(key: str, source: str, preview: bool) -> _Login:
    return _token(key, source, preview) if entra.is_entra_token(key) else _Login(key)


def _token(token: str, source: str, preview: bool) -> _Login:
    if not preview:
        entra.check_expiry(token, source)
    return _Login(token, True)


async def _renewable(fetch: TokenFunction) -> _Login:
    source = token_source(fetch)
    token = await source.token()
    return _Login(token, True, partial(source.renew, token))


def _token_function(request: Request, address: _Address, target: _Target) -> TokenFunction:
    """Return the function that logs in with the settings of the environment.

    Raises:
        ProviderError: There is no login, or a package is missing.
    """
    values = [_env(name) for name in entra.CLIENT_VARIABLES]
    scope = _env("AZURE_SCOPE") or target.scope
    if all(values):
        return entra.client_tokens(_authority(address), *values, scope)
    if has_extra("azure"):
        return entra.identity_tokens(scope)
    if values[2]:  # a secret without its tenant or client
        missing = [n for n, value in zip(entra.CLIENT_VARIABLES, values, strict=True) if not value]
        verb = "is" if len(missing) == 1 else "are"
        text = f"AZURE_CLIENT_SECRET is set, but {' and '.join(missing)} {verb} not."
        raise _setup_error(text, ErrorKind.MISSING_KEY)
    if variable := next(filter(_env, _IDENTITY_VARIABLES), ""):
        text = f"The login of {variable} needs azure-identity: {install_command('azure')}."
        raise _setup_error(text, ErrorKind.MISSING_KEY)
    text = (
        f"No key for {request.provider}: set {request.route.key_env[0]} or run pipy keys set azure,"
        f" or pass api_key=. For az login and managed identities: {install_command('azure')}."
    )
    raise _setup_error(text, ErrorKind.MISSING_KEY)


def _authority(address: _Address) -> str:
    """Return the address of Entra ID.

    Raises:
        ProviderError: The address in the environment is not encrypted.
    """
    text = _env("AZURE_AUTHORITY_HOST").rstrip("/")
    if not text:
        return (
            GOVERNMENT_AUTHORITY if address.host.endswith(".azure.us") else entra.DEFAULT_AUTHORITY
        )
    text = text if "://" in text else f"https://{text}"
    if not text.startswith("https://") and not _LOOPBACK.match(text):
        raise _setup_error(
            f"AZURE_AUTHORITY_HOST must start with https://, not {mask_url(text)!r}: the secret "
            "would be sent in plain text."
        )
    return text


# === Doctor =================================================================================


def _report(request: Request) -> CloudReport:
    try:
        address = _find_address(request)
        target = _target(request, address, _api(request))
    except ProviderError as error:
        return CloudReport("missing", error.error.message)
    text = f"{mask_url(target.base_url)} ({address.source})"
    route = request.route
    variable, location = route.credential()
    if variable in route.token_env:
        token = _env(variable)
        try:
            entra.check_expiry(token, variable)
        except ProviderError as error:
            return CloudReport("failed", text, error.error.message)
        expires_at = entra.expiry(token)
        until = "" if expires_at is None else f", valid until {entra.format_time(expires_at)}"
        return CloudReport("ok", f"{text}, token from {variable}{until}")
    if variable in route.key_env:
        place = variable if location == ENVIRONMENT else f"{variable}, stored with pipy keys"
        return CloudReport("ok", f"{text}, key from {place}")
    try:
        _token_function(request, address, target)
    except ProviderError as error:
        return CloudReport("missing", f"{text}, no login", error.error.message)
    login = "azure-identity"
    if all(map(_env, entra.CLIENT_VARIABLES)):
        login = "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
    return CloudReport("ok", f"{text}, login with {login}")
