"""AWS Signature Version 4, with the standard library. Pure."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

from ..http.client import HTTPRequest, split_url

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class AWSCredentials:
    """An access key of AWS. A temporary one has a session token."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def signature_headers(
    request: HTTPRequest,
    credentials: AWSCredentials,
    region: str,
    service: str,
    now: datetime | None = None,
) -> dict[str, str]:
    """Return the headers that authenticate the final bytes of a request.

    Host, content type and every `x-amz-…` header are signed.

    Args:
        request: the request, as it will be sent.
        credentials: the access key.
        region: such as `us-east-1`.
        service: the name of the service in signatures, such as `bedrock`.
        now: the time of the signature; None: the current time. AWS accepts a difference of five
            minutes.
    """
    time = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    added = {"x-amz-date": time}
    if credentials.session_token:
        added["x-amz-security-token"] = credentials.session_token
    _, host, port, target = split_url(request.url)
    netloc = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
    path, _, query = target.partition("?")
    parameters = sorted(part.partition("=")[::2] for part in query.split("&") if part)
    headers = _signed_headers([("host", netloc), *request.headers, *added.items()])
    names = ";".join(headers)
    canonical_request = "\n".join(
        (
            request.method,
            quote(_normalize_path(path), safe="/~"),  # sent encoded, and encoded again here
            "&".join(f"{name}={value}" for name, value in parameters),
            *(f"{name}:{value}" for name, value in headers.items()),
            "",
            names,
            hashlib.sha256(request.content).hexdigest(),
        )
    )
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, f"{ALGORITHM}\n{time}\n{scope}\n{digest}".encode(), "sha256").hex()
    authorization = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return {**added, "authorization": authorization}


def _signed_headers(headers: list[tuple[str, str]]) -> dict[str, str]:
    """Return the headers to sign, sorted, with normalized white space."""
    signed: dict[str, str] = {}
    for original_name, value in headers:
        name, value = original_name.lower(), " ".join(value.split())
        if name == "host":
            signed[name] = value  # the caller's replaces that of the URL
        elif name == "content-type" or name.startswith("x-amz-"):
            signed[name] = f"{signed[name]},{value}" if name in signed else value
    return dict(sorted(signed.items()))


def _normalize_path(path: str) -> str:
    """Return a path without empty and dot segments."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    end = "/" if segments and path.endswith("/") else ""
    return "/" + "/".join(segments) + end
