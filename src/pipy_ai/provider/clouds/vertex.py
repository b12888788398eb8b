"""Google Vertex AI: Gemini, Claude, Mistral's models, and open models.

Gemini has its own API there, Claude Anthropic's, Mistral's models and open ones Chat Completions.
All are below `projects/P/locations/L`. In express mode, Gemini needs only an API key.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from ...errors import ErrorKind, ProviderError, error_info
from ...registry import keystore
from ...registry.google_login import FILE_VARIABLE
from ...registry.routing import GOOGLE_EXPRESS_KEY, GOOGLE_LOCATION, GOOGLE_PROJECT
from ...types import DocumentContent, ImageContent
from ...utils import event_loop as loops
from ...utils.extras import has_extra, install_command
from ..apis import ANTHROPIC, GEMINI, OPENAI_CHAT
from ..content import is_remote_file, remote_file_type
from ..credentials import PLACEHOLDER_KEY, aresolve_api_key, key_function, key_renewal
from ..endpoint import Endpoint
from ..http.client import endpoint_url
from ..profiles import CLAUDE, VERTEX_GEMINI, VERTEX_MISTRAL, backend_for
from ..request import EncodedRequest, PreparedRequest, Request
from ..wire import TokenCounter, Wire, bearer_auth
from ..wires import load_wire
from . import CloudReport
from .google_login import (
    EXTRA,
    LOGIN_COMMAND,
    GoogleTokens,
    find_login,
    login_error,
    tokens_of,
)

GEMINI_VARIABLE = "GOOGLE_API_KEY"  # as a rule a key of the Gemini API
QUOTA_VARIABLE = "GOOGLE_CLOUD_QUOTA_PROJECT"
ANTHROPIC_VERSION = "vertex-2023-10-16"
TIER_HEADER = "x-vertex-ai-llm-shared-request-type"
WEB_SEARCH = "web_search_20250305"  # the only tool that Anthropic runs for requests on Vertex

# Variables by precedence. Those in one group mean the same and must not differ.
_PROJECTS = (("GOOGLE_VERTEX_PROJECT", "VERTEXAI_PROJECT"), (GOOGLE_PROJECT,))
_LOCATIONS = (("GOOGLE_VERTEX_LOCATION", "VERTEXAI_LOCATION"), (GOOGLE_LOCATION,))
_CLAUDE_PROJECTS = (("ANTHROPIC_VERTEX_PROJECT_ID",), *_PROJECTS)
_CLAUDE_LOCATIONS = (("CLOUD_ML_REGION",), *_LOCATIONS)
_SETTINGS = frozenset({"vertex_project", "vertex_location"})  # the same as fields of `extra`

_MULTI_REGIONS = ("eu", "us")
_LOCATION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)*")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]*")
_GOOGLE_HOST = re.compile(
    r"((?P<region>[\w-]+)-)?aiplatform\.((?P<multi>\w+)\.rep\.)?googleapis\.com"
)
# An address with or without its path: `https://host/v1/projects/P/locations/L/publishers/google`
_ADDRESS = re.compile(
    r"(?P<root>.*?)(/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+))?"
    r"(/publishers/[^/]+(/models(/.*)?)?|/endpoints/openapi(/chat/completions)?)?/*"
)
_API_KEYS = ("AIza", "AQ.")  # how API keys begin; access tokens begin with `ya29.`
_PACKAGE = "google-auth"
_FETCHED = re.compile(r"(https?|gs)://", re.IGNORECASE)
_DEPLOYED_MODEL = re.compile(r"(^|/)\d+$")  # the number of an endpoint of the user's own


class Vertex:
    """Google Vertex AI."""

    title = "Vertex AI"

    def wire(self, request: Request) -> Wire | None:
        """See `Cloud`."""
        if "vertex_credentials" in (request.options.extra or {}):
            return None  # LiteLLM reads them
        wire = _model_wire(request.model_id)
        if wire is None or (wire.api == GEMINI and _has_file_of_unknown_type(request)):
            return None
        return wire

    async def endpoint(self, request: Request, wire: Wire, preview: bool = False) -> Endpoint:
        """See `Cloud`."""
        settings = _read_settings(request)
        if preview and key_function(request) is not None:
            api_key: str | None = PLACEHOLDER_KEY
        else:
            api_key = await aresolve_api_key(request)  # rejects an address that is not Google's
        if api_key is None:
            api_key = await _express_key(wire)
        if api_key is None:
            tokens = _login_tokens(preview)
            api_key = None if tokens is not None else _gemini_key(settings, wire)
            if api_key is None:
                return await _login_endpoint(request, settings, tokens, preview)
        if api_key.startswith("{"):
            text = f"api_key= contains a credentials file: set {FILE_VARIABLE} to its path instead."
            raise login_error(text)
        if not _is_api_key(api_key):
            settings = settings.complete(request, preview)
            headers, url = bearer_auth(api_key), settings.url(request)
        elif wire.api != GEMINI:
            text = f"Vertex AI accepts API keys for Gemini only: for {request.model_id}, pass an"
            raise login_error(f"{text} access token as api_key=, or run {LOGIN_COMMAND}.")
        else:
            headers, url = {"x-goog-api-key": api_key}, settings.express_url()
        return Endpoint(headers, url, secrets=(api_key,), renew=key_renewal(request, api_key))

    async def report(self) -> CloudReport | None:
        """See `Cloud`."""
        return _report()


# === Addresses ==============================================================================


class _Settings(NamedTuple):
    """Where requests go. Empty fields are not set.

    `root` is the address up to `/projects`, and `query` what follows the path of `api_base`.
    """

    root: str = ""
    query: str = ""
    project: str = ""
    location: str = ""

    def complete(self, request: Request, preview: bool, needs: tuple[str, ...] = ()) -> _Settings:
        """Return the settings with placeholders in a preview.

        Raises:
            ProviderError: The project, the location or something else that it needs is missing.
        """
        missing = [
            name
            for name, value in (
                (GOOGLE_PROJECT, self.project),
                (GOOGLE_LOCATION, self.location),
            )
            if not value
        ]
        if not preview and (missing or needs):
            raise _missing_error((*needs, *missing))
        for name in missing:
            request.warn("missing_variable", f"{name} must be set")
        project, location = self.project or GOOGLE_PROJECT, self.location or GOOGLE_LOCATION
        return self._replace(project=project, location=location)

    @property
    def location_url(self) -> str:
        """The address of the location in the project, which is a resource of its own."""
        root = self.root or _location_url(self.location)
        return f"{root}/projects/{quote(self.project, safe=':')}/locations/{self.location}"

    def url(self, request: Request) -> str:
        """Return the address of the API of a model."""
        return f"{self.location_url}/{_resource(request.model_id)}{self.query}"

    def express_url(self) -> str:
        """Return the address of Gemini for API keys."""
        return f"{self.root or _location_url('global')}/publishers/google{self.query}"


def _location_url(location: str) -> str:
    if location == "global":
        return "https://aiplatform.googleapis.com/v1"
    if location in _MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com/v1"
    return f"https://{location}-aiplatform.googleapis.com/v1"


def _resource(model_id: str) -> str:
    if CLAUDE.search(model_id):
        return "publishers/anthropic"
    if VERTEX_MISTRAL.match(model_id):
        return "publishers/mistralai"
    return "publishers/google" if VERTEX_GEMINI.match(model_id) else "endpoints/openapi"


def _read_settings(request: Request) -> _Settings:
    """Return the settings of a request: from `api_base`, `extra` and the environment.

    Raises:
        ProviderError: A value is invalid, or two variables contradict each other.
    """
    extra = request.options.extra or {}
    is_claude = CLAUDE.search(request.model_id)
    settings = _Settings(
        project=str(extra.get("vertex_project") or "").strip()
        or _variable(_CLAUDE_PROJECTS if is_claude else _PROJECTS)[1],
        location=str(extra.get("vertex_location") or "").strip()
        or _variable(_CLAUDE_LOCATIONS if is_claude else _LOCATIONS)[1],
    )
    if request.options.api_base:
        settings = _apply_address(settings, request.options.api_base)
    # A location is part of the host, so it must not contain another one.
    for label, value, pattern, example in (
        ("project", settings.project, _PROJECT, "my-project-123"),
        ("location", settings.location, _LOCATION, "global, eu or europe-west4"),
    ):
        if value and not pattern.fullmatch(value):
            raise login_error(f"{value[:80]!r} is not a Google Cloud {label} such as {example}.")
    return settings


def _apply_address(settings: _Settings, api_base: str) -> _Settings:
    text = re.sub(r"[\r\n\t]", "", api_base)  # as in every URL
    address, separator, query = text.strip().partition("#")[0].partition("?")
    match = _ADDRESS.fullmatch(address)
    assert match is not None  # the pattern accepts any text
    root = match["root"].rstrip("/")
    if not urlsplit(root).path:
        root += "/v1"
    host = _GOOGLE_HOST.fullmatch(urlsplit(root).hostname or "")
    location = match["location"] or (host and (host["region"] or host["multi"] or "global"))
    return settings._replace(
        root=root,
        query=separator + query,
        project=match["project"] or settings.project,
        location=location or settings.location,
    )


def _variable(groups: tuple[tuple[str, ...], ...]) -> tuple[str, str]:
    """Return the name and value of the first variable that is set, or two empty strings.

    Raises:
        ProviderError: Variables with the same meaning differ.
    """
    for group in groups:
        values = {name: value for name in group if (value := os.environ.get(name, "").strip())}
        if len(set(values.values())) > 1:
            text = " and ".join(f"{name}={value[:80]!r}" for name, value in values.items())
            raise login_error(f"Vertex AI has two settings that differ: {text}. Unset one of them.")
        if values:
            return next(iter(values.items()))
    return "", ""


# === Credentials ============================================================================


def _is_api_key(text: str) -> bool:
    return text.startswith(_API_KEYS)


async def _express_key(wire: Wire) -> str | None:
    """Return the API key for Vertex AI of the environment or of `pipy keys`."""
    if wire.api != GEMINI:
        return None
    if api_key := os.environ.get(GOOGLE_EXPRESS_KEY, "").strip():
        return api_key
    if keystore.key_location(GOOGLE_EXPRESS_KEY) == keystore.KEYRING:  # it may prompt
        return await loops.run_in_thread("pipy-ai-keyring", _stored_express_key) or None
    return _stored_express_key() or None


def _stored_express_key() -> str:
    return keystore.get_key(GOOGLE_EXPRESS_KEY)


def _gemini_key(settings: _Settings, wire: Wire) -> str | None:
    """Return GOOGLE_API_KEY, mostly a key of the Gemini API, if nothing points to a login."""
    api_key = os.environ.get(GEMINI_VARIABLE, "").strip()
    if wire.api != GEMINI or not _is_api_key(api_key):
        return None
    return None if settings.project or os.environ.get(FILE_VARIABLE) else api_key


async def _login_endpoint(
    request: Request, settings: _Settings, tokens: GoogleTokens | None, preview: bool
) -> Endpoint:
    """Return the endpoint for Application Default Credentials."""
    if tokens is not None and not settings.project:
        settings = settings._replace(project=tokens.project)
    token = PLACEHOLDER_KEY
    if not preview:
        asks_for_project = tokens is not None and not tokens.login.path  # a metadata server
        needs: tuple[str, ...] = () if tokens is not None else (LOGIN_COMMAND,)
        needs += () if has_extra(EXTRA) else (_PACKAGE,)
        if needs or not settings.location or not (settings.project or asks_for_project):
            settings.complete(request, preview, needs)
        assert tokens is not None
        token = await tokens.token()
        settings = settings._replace(project=settings.project or tokens.project)
    settings = settings.complete(request, preview)
    headers = bearer_auth(token)
    quota_project = os.environ.get(QUOTA_VARIABLE, "").strip()
    if quota_project := quota_project or (tokens.login.quota_project if tokens else ""):
        headers["x-goog-user-project"] = quota_project
    renew = partial(tokens.renew, token) if tokens is not None else None
    secrets = () if preview else (token,)
    check_url = settings.location_url
    return Endpoint(
        headers, settings.url(request), secrets=secrets, renew=renew, check_url=check_url
    )


def _login_tokens(preview: bool) -> GoogleTokens | None:
    try:
        login = find_login()
    except ProviderError:
        if not preview:
            raise
        login = None
    return None if login is None else tokens_of(login)


def _missing_error(missing: tuple[str, ...]) -> ProviderError:
    """Return the error that names everything that is missing and how to add it."""
    steps = {
        LOGIN_COMMAND: (
            "a login",
            f"run {LOGIN_COMMAND}, set {FILE_VARIABLE} to a credentials file, or pass api_key=",
        ),
        _PACKAGE: (_PACKAGE, install_command(EXTRA) if _PACKAGE in missing else ""),
        GOOGLE_PROJECT: ("a project", f"set {GOOGLE_PROJECT}"),
        GOOGLE_LOCATION: (
            "a location",
            f"set {GOOGLE_LOCATION}, for example to global, eu or europe-west4",
        ),
    }
    things = [steps[name][0] for name in missing]
    needed = " and ".join(filter(None, (", ".join(things[:-1]), things[-1])))
    advice = "; ".join(steps[name][1] for name in missing)
    text = f"Vertex AI needs {needed}: {advice}."
    return ProviderError(error_info(ErrorKind.MISSING_KEY, text))


# === Wires ==================================================================================


@cache
def _model_wire(model_id: str) -> Wire | None:
    """Return the wire of a model; None: only LiteLLM can reach it."""
    if _DEPLOYED_MODEL.search(model_id):
        return None
    api = backend_for("vertex_ai").api_for(model_id)
    if api == GEMINI and not VERTEX_GEMINI.match(model_id):
        return None
    if VERTEX_MISTRAL.match(model_id):
        return _api_wire("mistral")
    return _api_wire(api)


@cache
def _api_wire(api: str) -> Wire:
    """Return the wire of an API with the differences of Vertex AI."""
    if api == GEMINI:
        return load_wire(GEMINI)._replace(
            encode=_encode_gemini,
            image_urls=True,
            document_urls=True,
            audio_urls=_FETCHED,
            video_urls=_FETCHED,
            settings=_SETTINGS,
            model_lists=None,
            token_counter=TokenCounter(_count_gemini, "totalTokens"),
        )
    if api == ANTHROPIC:
        return load_wire(ANTHROPIC)._replace(
            encode=_encode_claude,
            image_urls=False,
            document_urls=False,
            accepts_tool=_is_accepted_by_claude,
            settings=_SETTINGS,
            model_lists=None,
            token_counter=TokenCounter(_count_claude, "input_tokens"),
        )
    wire = load_wire(OPENAI_CHAT)._replace(settings=_SETTINGS, model_lists=None)
    return wire._replace(encode=_encode_mistral) if api == "mistral" else wire


def _encode_gemini(request: Request, prepared: PreparedRequest) -> EncodedRequest:
    encoded = load_wire(GEMINI).encode(request, prepared)
    tool_config = encoded.body["toolConfig"]
    if tool_config:  # only the Gemini API shows the calls of Google's own tools
        tool_config.pop("includeServerSideToolInvocations", None)
    body = {**encoded.body, "toolConfig": tool_config or None, "serviceTier": None}
    tier = request.service_tier
    headers = {**encoded.headers, TIER_HEADER: tier} if tier else encoded.headers
    return encoded._replace(headers=headers, body=body)


def _encode_claude(request: Request, prepared: PreparedRequest) -> EncodedRequest:
    body = dict(load_wire(ANTHROPIC).encode(request, prepared).body)
    model_id = body.pop("model")
    url = endpoint_url(prepared.base_url or "", _predict_path(model_id))
    return EncodedRequest(url, {}, {"anthropic_version": ANTHROPIC_VERSION, **body})


def _count_gemini(
    request: Request, url: str, body: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return URL and body of the request that counts the tokens of another one."""
    url, counted = _count_request(GEMINI, request, url, body)
    names = ("contents", "systemInstruction", "tools", "generationConfig")
    return url, {name: body[name] for name in names if name in counted["generateContentRequest"]}


def _count_claude(
    request: Request, url: str, body: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return URL and body of the request that counts the tokens of another one."""
    path, separator, query = url.partition("?")
    url = f"{path.rpartition('/')[0]}/count-tokens:rawPredict{separator}{query}"
    named_body = {"model": request.model_id, **body}
    counted = _count_request(ANTHROPIC, request, url, named_body)[1]
    return url, {"anthropic_version": ANTHROPIC_VERSION, **counted}


def _count_request(
    api: str, request: Request, url: str, body: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return URL and body of the count of an API's own vendor."""
    counter = load_wire(api).token_counter
    assert counter is not None
    return counter.convert(request, url, body)


def _encode_mistral(request: Request, prepared: PreparedRequest) -> EncodedRequest:
    body = load_wire(OPENAI_CHAT).encode(request, prepared).body
    name = request.model_id.removeprefix("mistralai/")
    url = endpoint_url(prepared.base_url or "", _predict_path(name))
    return EncodedRequest(url, {}, {**body, "model": name.partition("@")[0]})


def _predict_path(model_id: str) -> str:
    return f"/models/{quote(model_id, safe='@:-._~')}:streamRawPredict"


def _is_accepted_by_claude(tool: Mapping[str, Any]) -> bool:
    """Return whether a tool of `extra` is defined by the caller, or run by Anthropic on Vertex."""
    return tool.get("type") in (None, "custom", WEB_SEARCH) or "input_schema" in tool


def _has_file_of_unknown_type(request: Request) -> bool:
    """Return whether Gemini would need the type of a file that only a download can tell."""
    return any(
        isinstance(part, ImageContent | DocumentContent)
        and is_remote_file(part)
        and not remote_file_type(part)
        for message in request.context.messages
        if isinstance(message.content, list)
        for part in message.content
    )


# === Doctor =================================================================================


def _report() -> CloudReport | None:
    """Describe the login, the project and the location, without a request."""
    try:
        project_name, project = _variable(_PROJECTS)
        location_name, location = _variable(_LOCATIONS)
        tokens = _login_tokens(preview=False)
    except ProviderError as error:
        return CloudReport("failed", error.error.message)
    settings = {project_name: project, location_name: location}
    claude = [group[0] for group in (_CLAUDE_PROJECTS[0], _CLAUDE_LOCATIONS[0])]
    settings |= {name: os.environ.get(name, "").strip() for name in claude}
    settings = {name: value for name, value in settings.items() if value}
    in_environment = bool(os.environ.get(GOOGLE_EXPRESS_KEY, "").strip())
    has_express_key = in_environment or bool(keystore.key_location(GOOGLE_EXPRESS_KEY))
    has_file = tokens is not None and bool(tokens.login.path)
    if not (settings or has_express_key or has_file):
        return None
    parts = [f"{name}={value}" for name, value in settings.items()]
    if tokens is not None:
        parts.insert(0, _describe_login(tokens))
        project = project or tokens.project
    if has_express_key:
        parts.insert(0, f"{GOOGLE_EXPRESS_KEY} for Gemini")
    text = ", ".join(parts)
    if has_express_key and tokens is None:
        return CloudReport("ok", text)
    asks_for_project = tokens is not None and not has_file
    missing: tuple[str, ...] = () if tokens is not None else (LOGIN_COMMAND,)
    missing += () if has_extra(EXTRA) else (_PACKAGE,)
    missing += () if project or claude[0] in settings or asks_for_project else (GOOGLE_PROJECT,)
    missing += () if location or claude[1] in settings else (GOOGLE_LOCATION,)
    if not missing:
        return CloudReport("ok", text)
    message = _missing_error(missing).error.message
    problem, _, advice = message.partition(": ")
    return CloudReport("missing", f"{text}; {problem}", advice)


def _describe_login(tokens: GoogleTokens) -> str:
    """Return the login, and until when its token is valid if there is one."""
    if (expires_at := tokens.expires_at) is None:
        return tokens.login.title
    return f"{tokens.login.title}, valid until {time.strftime('%H:%M', time.localtime(expires_at))}"


CLOUD = Vertex()
