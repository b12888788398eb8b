"""Amazon Bedrock: which API a model has there, addresses, and signed requests."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

from ...errors import ErrorKind, ProviderError
from ...registry import keystore
from ...utils import event_loop as loops
from ...utils.surrogates import clean_json_surrogates
from ..apis import ANTHROPIC, BEDROCK, OPENAI_CHAT, OPENAI_RESPONSES
from ..converse_families import converse_family
from ..credentials import PLACEHOLDER_KEY, aresolve_api_key, key_renewal, resolve_api_key
from ..endpoint import Endpoint
from ..http.aws_event_stream import InvokeModelReader
from ..http.client import HTTPRequest
from ..profiles import CLAUDE
from ..request import EncodedRequest, PreparedRequest, Request
from ..wire import TokenCounter, Wire
from ..wires import load_wire
from ..wires._bedrock import count_url, model_lists, model_url, split_model_id
from . import CloudReport
from .aws_login import (
    BEARER_VARIABLE,
    LOGIN_ADVICE,
    REGION_VARIABLES,
    Login,
    bearer_expiry,
    environment_login,
    find_region,
    forget_sessions,
    given_login,
    hints,
    login_error,
    profile_is_chosen,
    shared_login,
)
from .sigv4 import signature_headers

INVOKE_VERSION = "bedrock-2023-05-31"  # of Anthropic's API within InvokeModel
TIER_HEADER = "x-amzn-bedrock-service-tier"
RUNTIME_SERVICE = "bedrock"
MANTLE_SERVICE = "bedrock-mantle"

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
_ARN = re.compile(r"arn:aws[\w-]*:bedrock:([a-z0-9-]+):")
_AWS_HOST = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-[0-9])\.")
_REQUEST_PATH = re.compile(r"/(model(/.*)?|openai/v1(/chat/completions)?)$")
_RUNTIME_URL_VARIABLES = (
    "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
    "AWS_ENDPOINT_URL",
    "AWS_BEDROCK_RUNTIME_ENDPOINT",
)
# Fields of `extra` with LiteLLM's names, which are not sent.
SETTINGS = frozenset(
    {
        "aws_access_key_id", "aws_bedrock_runtime_endpoint", "aws_profile_name",
        "aws_region_name", "aws_secret_access_key", "aws_session_token",
    }
)  # fmt: skip
# Fields of Converse that InvokeModel lacks.
_CONVERSE_FIELDS = frozenset(
    {
        "additionalModelRequestFields", "additionalModelResponseFieldPaths", "guardrailConfig",
        "inferenceConfig", "outputConfig", "performanceConfig", "promptVariables",
        "requestMetadata", "serviceTier", "toolConfig",
    }
)  # fmt: skip


class Bedrock:
    """Amazon Bedrock."""

    title = "Amazon Bedrock"

    def wire(self, request: Request) -> Wire | None:
        """See `Cloud`: Claude through InvokeModel, the others through Converse.

        The models of `bedrock-mantle` have the APIs of OpenAI and Anthropic.
        """
        extra = request.options.extra or {}
        if any(name.startswith("aws_") and name not in SETTINGS for name in extra):
            return None  # LiteLLM assumes roles
        names, model_id = split_model_id(request.model_id)
        is_claude = CLAUDE.search(model_id) or CLAUDE.search(request.base_model_id)
        if _is_mantle(request):
            return _mantle_wire(request, is_claude)
        if "converse_like" in names or ("invoke" in names and not is_claude):
            return None
        if is_claude and "converse" not in names and _CONVERSE_FIELDS.isdisjoint(extra):
            return invoke_wire()
        return _wire(BEDROCK)

    async def endpoint(self, request: Request, wire: Wire, preview: bool = False) -> Endpoint:
        """See `Cloud`."""
        extra = request.options.extra or {}
        region = _region(request)
        base_url = _base_url(request, wire, region, preview)
        if preview:
            resolve_api_key(request)  # raises if the address is not AWS's
            headers = {"authorization": f"Bearer {PLACEHOLDER_KEY}"}
            return Endpoint(headers, base_url)
        api_key = await aresolve_api_key(request)
        login = given_login(extra, api_key)
        profile = str(extra.get("aws_profile_name") or "")
        if login is None and not profile:
            login = environment_login() or await _stored_login()
        renew = key_renewal(request, api_key)
        if login is None:
            login = await shared_login(profile)
            renew = partial(forget_sessions, login.credentials)
        if login.bearer:
            headers = {"authorization": f"Bearer {login.bearer}"}
            endpoint = Endpoint(headers, base_url, secrets=login.secrets, renew=renew)
        else:
            endpoint = _signed_endpoint(login, base_url, region)._replace(renew=renew)
        return endpoint._replace(check_url=_check_url(base_url))

    async def report(self) -> CloudReport | None:
        """See `Cloud`."""
        login = None
        try:
            login = environment_login() or await _stored_login()
            if login is None:
                if not hints():
                    return None
                login = await shared_login("")
        except ProviderError as error:
            is_missing = error.error.kind is ErrorKind.MISSING_KEY
            return CloudReport("missing" if is_missing else "failed", error.error.message)
        found = f"{'API key' if login.bearer else 'access key'} from {login.source}"
        if (expires_at := bearer_expiry(login.bearer)) is not None:
            found += f", valid until {expires_at:%Y-%m-%d %H:%M} UTC"
        region = find_region({})
        if not region:
            return CloudReport("missing", f"{found}, but no region", _REGION_ADVICE)
        return CloudReport("ok", f"{found}, region {region}")


CLOUD = Bedrock()
_REGION_ADVICE = (
    f"set {' or '.join(REGION_VARIABLES)}, for example to us-east-1, or a region in the profile"
)


# === Addresses ==============================================================================


def _is_mantle(request: Request) -> bool:
    host = _host(request.options.api_base or "")
    return request.backend == "bedrock_mantle" or host.startswith("bedrock-mantle.")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # reported when the request is sent
        return ""


def _region(request: Request) -> str:
    """Return the region of the model's name, `extra`, the environment or the profile."""
    prefixes, model_id = split_model_id(request.model_id)
    in_name = next(filter(_REGION.fullmatch, prefixes), "")
    arn = _ARN.match(model_id)
    extra = request.options.extra or {}
    given = str(extra.get("aws_region_name") or "")
    return given or in_name or (arn[1] if arn else "") or find_region(extra)


def _base_url(request: Request, wire: Wire, region: str, preview: bool) -> str:
    """Return the address of Bedrock: that of the caller, the environment, or the region's."""
    extra = request.options.extra or {}
    is_mantle = _is_mantle(request)
    variables = [] if is_mantle else [*_RUNTIME_URL_VARIABLES]
    if wire.api == ANTHROPIC:
        variables.append(f"ANTHROPIC_BEDROCK{'_MANTLE' if is_mantle else ''}_BASE_URL")
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        variables = [name for name in variables if not name.startswith("AWS_ENDPOINT_URL")]
    given = request.options.api_base or extra.get("aws_bedrock_runtime_endpoint")
    url = str(given or next(filter(None, map(os.environ.get, variables)), "")).strip()
    if url:
        if not is_mantle:
            return _REQUEST_PATH.sub("", url.rstrip("/"))
        if not _host(url).startswith(MANTLE_SERVICE):
            return url
        path = urlsplit(url).path.strip("/")
        is_other_api = path.startswith("anthropic") is not (wire.api == ANTHROPIC)
        if not path or is_other_api:
            return f"https://{urlsplit(url).netloc}{_mantle_path(request, wire)}"
        return url
    if not region:
        if not preview:
            text = f"No AWS region is set for {request.model}: {_REGION_ADVICE}."
            if not (request.options.api_key or "aws_access_key_id" in extra or hints()):
                text += f" There are no AWS credentials either. {LOGIN_ADVICE}."
            raise login_error(text, ErrorKind.MISSING_KEY)
        request.warn("missing_variable", "AWS_REGION must be set")
        region = REGION_VARIABLES[0]
    elif not _REGION.fullmatch(region):
        text = f"{region!r} is not an AWS region like us-east-1: {_REGION_ADVICE}."
        raise login_error(text, ErrorKind.BAD_REQUEST)
    if is_mantle:
        return f"https://{MANTLE_SERVICE}.{region}.api.aws{_mantle_path(request, wire)}"
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://bedrock-runtime.{region}.{domain}"


def _mantle_path(request: Request, wire: Wire) -> str:
    """Return the path of an API at `bedrock-mantle`; the catalogue lists it for some models."""
    if wire.api == ANTHROPIC:
        return "/anthropic"
    overrides = (request.record or {}).get("provider")
    listed = str(overrides.get("api") or "") if isinstance(overrides, dict) else ""
    return urlsplit(listed.replace("${AWS_REGION}", "region")).path or "/openai/v1"


def _check_url(base_url: str) -> str:
    """Return the address of the list of models, at AWS itself."""
    match = re.fullmatch(r"https://bedrock-runtime\.([a-z0-9-]+\.amazonaws\.com(\.cn)?)", base_url)
    return f"https://bedrock.{match[1]}/foundation-models" if match else ""


# === Credentials ============================================================================


async def _stored_login() -> Login | None:
    """Return the API key of `pipy keys`, unless the environment names a profile."""
    location = "" if profile_is_chosen() else keystore.key_location(BEARER_VARIABLE)
    if not location:
        return None
    if location == keystore.KEYRING:  # which may ask the user
        key = await loops.run_in_thread(
            "pipy-ai-keyring", lambda: keystore.get_key(BEARER_VARIABLE)
        )
    else:
        key = keystore.get_key(BEARER_VARIABLE)
    return Login("pipy keys", key) if key else None


def _signed_endpoint(login: Login, base_url: str, region: str) -> Endpoint:
    host = _host(base_url)
    in_host = _AWS_HOST.search(host)
    region = in_host[1] if in_host and host.endswith((".amazonaws.com", ".api.aws")) else region
    if not region:
        raise login_error(f"No AWS region is set: {_REGION_ADVICE}.", ErrorKind.MISSING_KEY)
    service = MANTLE_SERVICE if host.startswith(MANTLE_SERVICE) else RUNTIME_SERVICE
    credentials = login.credentials
    assert credentials is not None

    def sign(http_request: HTTPRequest) -> dict[str, str]:
        return signature_headers(http_request, credentials, region, service)

    return Endpoint({}, base_url, sign=sign, secrets=login.secrets)


# === Wires ==================================================================================


def _mantle_wire(request: Request, is_claude: bool) -> Wire:
    if is_claude:
        return _wire(ANTHROPIC)
    overrides = (request.record or {}).get("provider")
    shape = overrides.get("shape") if isinstance(overrides, dict) else None
    return _wire(OPENAI_RESPONSES if shape == "responses" else OPENAI_CHAT)


@cache
def _wire(api: str) -> Wire:
    return load_wire(api)._replace(settings=SETTINGS)


@cache
def invoke_wire() -> Wire:
    """Return Anthropic's API within InvokeModel."""
    return _wire(ANTHROPIC)._replace(
        title="Claude on Bedrock",
        encode=_encode_invoke,
        framing=InvokeModelReader,
        url_suffix="/invoke-with-response-stream",
        image_urls=False,
        document_urls=False,
        schema_providers=frozenset({"amazon-bedrock"}),
        token_counter=TokenCounter(_count_invoke, "inputTokens"),
        model_lists=model_lists,
    )


def _encode_invoke(request: Request, prepared: PreparedRequest) -> EncodedRequest:
    """Return a request of Anthropic's API with the path and the fields of InvokeModel."""
    hour = converse_family(request.base_model_id).hour_cache_point
    if prepared.cache_retention == "long" and not (hour and hour.search(request.base_model_id)):
        prepared = replace(prepared, cache_retention="short")
    body: dict[str, Any] = dict(load_wire(ANTHROPIC).encode(request, prepared).body)
    del body["model"], body["stream"]
    betas = [
        feature.strip()
        for name, value in prepared.headers.items()
        if name.lower() == "anthropic-beta"
        for feature in value.split(",")
    ]
    tier = body.pop("service_tier")
    body = {"anthropic_version": INVOKE_VERSION, "anthropic_beta": betas or None, **body}
    url = model_url(prepared.base_url or "", request.model_id, "invoke-with-response-stream")
    return EncodedRequest(url, {TIER_HEADER: tier} if tier else {}, body)


def _count_invoke(
    request: Request, url: str, body: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return URL and body of the request that counts the tokens of another one."""
    content = base64.b64encode(json.dumps(clean_json_surrogates(body)).encode()).decode()
    return count_url(url), {"input": {"invokeModel": {"body": content}}}
