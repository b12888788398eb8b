"""Test AWS signatures against botocore's."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pipy_ai.provider.clouds.sigv4 import AWSCredentials, signature_headers
from pipy_ai.provider.http.client import HTTPRequest, split_url

NOW = datetime(2026, 11, 30, 1, 2, 3, tzinfo=UTC)
MODELS = (
    "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "us.amazon.nova-lite-v1:0",
    "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3d4e5f6",
    "openai.gpt-oss-120b-1:0",
    "Zürich 漢",
    "a~b_c-d.e",
    "50%",
)
HOSTS = (
    "https://bedrock-runtime.us-east-1.amazonaws.com",
    "https://bedrock-mantle.eu-central-1.api.aws/anthropic",
    "https://vpce-0a1b.bedrock-runtime.us-west-2.vpce.amazonaws.com:8443",
    "http://127.0.0.1:9999",
    "http://[::1]:9999/a//b/../c/./",
)
QUERIES = ("", "?a=1", "?b=2&a=1&a=0", "?q=a%20b%2Fc&x=", "?flag", "?z=%C3%BC&y=~")


def some_request(rng: random.Random) -> tuple[HTTPRequest, AWSCredentials, str, str]:
    model = rng.choice(MODELS)
    path = quote(model, safe=rng.choice(("", ":", "/:")))
    url = f"{rng.choice(HOSTS)}/model/{path}/{rng.choice(('converse-stream', 'invoke', ''))}"
    headers = [("content-type", rng.choice(("application/json", "text/plain; charset=utf-8")))]
    names = ("X-Amzn-Bedrock-Trace", "x-amz-meta-a", "X-Amz-Target")
    headers += [
        (name, rng.choice(("ENABLED", "  a   b ", ""))) for name in names if rng.random() < 0.3
    ]
    headers += [("accept", "*/*"), ("user-agent", "x")] if rng.random() < 0.5 else []
    content = rng.randbytes(rng.choice((0, 1, 200, 5000)))
    method = rng.choice(("POST", "POST", "GET"))
    request = HTTPRequest(method, url + rng.choice(QUERIES), headers, content)
    token = rng.choice(("", "IQoJb3JpZ2luX2VjE//+=="))
    credentials = AWSCredentials(f"AKIA{rng.randrange(10**9)}", f"s/+{rng.random()}", token)
    region = rng.choice(("us-east-1", "eu-central-2", "us-gov-west-1", "cn-north-1"))
    return request, credentials, region, rng.choice(("bedrock", "bedrock-mantle"))


def botocores(
    request: HTTPRequest, credentials: AWSCredentials, region: str, service: str
) -> dict[str, str]:
    """Return the headers that botocore adds to the same request, for the URL as it is sent."""
    scheme, host, port, target = split_url(request.url)
    netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    headers = {n: v for n, v in request.headers if n.lower().startswith(("content-type", "x-amz-"))}
    theirs = AWSRequest(
        request.method, f"{scheme}://{netloc}{target}", headers=headers, data=request.content
    )
    key, secret = credentials.access_key, credentials.secret_key
    frozen = Credentials(key, secret, credentials.session_token or None)
    auth.SigV4Auth(frozen, service, region).add_auth(theirs)
    names = ("authorization", "x-amz-date", "x-amz-security-token")
    return {n.lower(): v for n, v in theirs.headers.items() if n.lower() in names}


@pytest.mark.parametrize("seed", range(200))
def test_signature_equals_botocores(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
    request, *login = some_request(random.Random(seed))
    assert signature_headers(request, *login, now=NOW) == botocores(request, *login)


def test_time_zone_does_not_matter() -> None:
    request, *login = some_request(random.Random(0))
    local = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert signature_headers(request, *login, now=local) == signature_headers(
        request, *login, now=NOW
    )


def test_every_amz_header_is_signed() -> None:
    headers = [("Content-Type", "application/json"), ("X-Amzn-Bedrock-GuardrailIdentifier", "g"),
               ("x-amz-b", "1"), ("X-AMZ-A", "2"), ("accept", "x"), ("x-amz-b", "3")]  # fmt: skip
    request = HTTPRequest("POST", "https://h/model/m", headers, b"{}")
    credentials = AWSCredentials("AKIA1", "secret", "token")
    added = signature_headers(request, credentials, "us-east-1", "bedrock", NOW)
    assert (
        "SignedHeaders=content-type;host;x-amz-a;x-amz-b;x-amz-date;x-amz-security-token,"
        in (added["authorization"])
    )


def test_secrets_are_not_shown() -> None:
    credentials: Any = AWSCredentials("AKIA1", "secret", "token")
    assert repr(credentials) == "AWSCredentials()"
