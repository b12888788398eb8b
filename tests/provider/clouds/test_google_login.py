"""Test Application Default Credentials with google-auth and servers on loopback.

`Lab` is the token endpoint, the metadata server and Vertex AI. A login's token is only sent to
Google's hosts, so requests go through a proxy that leads them to a server with a certificate for
Google's name.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pipy_ai import complete, preview
from pipy_ai._requests import build_request
from pipy_ai.cli.checks import servers
from pipy_ai.cli.main import main
from pipy_ai.errors import ProviderError
from pipy_ai.provider.clouds import cloud_for
from pipy_ai.provider.endpoint import Endpoint

from ...support.certificate import certificate
from ...support.raw_server import response
from ...support.token_server import TokenServer
from ...support.wire_formats import GEMINI, say

GEMINI_MODEL = "google-vertex/gemini-2.5-pro"
CLIENT_SECRET = "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789"
REFRESH_TOKEN = "1//0refresh-token-of-the-user-0123456789"
USER = {
    "type": "authorized_user",
    "client_id": "client.apps.googleusercontent.com",
    "client_secret": CLIENT_SECRET,
    "refresh_token": REFRESH_TOKEN,
    "quota_project_id": "quota-project",
}

pytestmark = [
    pytest.mark.usefixtures("july", "location"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def location(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "eu")


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(*pem, serialization.NoEncryption()).decode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    with TokenServer() as server:
        # For user logins, google-auth ignores the address in the file.
        endpoint = "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT"
        monkeypatch.setattr(endpoint, f"{server.url}/token")
        yield server


def write_login(
    path: Path, monkeypatch: pytest.MonkeyPatch, info: dict[str, Any], name: str = "login.json"
) -> Path:
    file = path / name
    file.write_text(json.dumps(info))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return file


def endpoint() -> Endpoint:
    """Return the endpoint of a request to Gemini."""
    cloud = cloud_for("vertex_ai")
    assert cloud is not None
    request = build_request(GEMINI_MODEL, "q", None, {})
    wire = cloud.wire(request)
    assert wire is not None
    return asyncio.run(cloud.endpoint(request, wire))


def failure() -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        endpoint()
    return caught.value


def test_service_account(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private_key: str
) -> None:
    info = {
        "type": "service_account", "project_id": "project-of-key", "private_key_id": "k1",
        "private_key": private_key, "client_email": "bot@project.iam.gserviceaccount.com",
        "token_uri": f"{server.url}/token",
    }  # fmt: skip
    write_login(tmp_path, monkeypatch, info)
    found = endpoint()
    assert found.headers == {"authorization": "Bearer ya29.token-1"}
    assert found.base_url == (
        "https://aiplatform.eu.rep.googleapis.com/v1/projects/project-of-key/locations/eu"
        "/publishers/google"
    )
    assert found.secrets == ("ya29.token-1",)
    form = parse_qs(server.requests[0].body)
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    payload = form["assertion"][0].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert claims["iss"] == info["client_email"]


def test_user_login(server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its project is the one that `gcloud auth application-default login` has stored."""
    write_login(tmp_path, monkeypatch, USER)
    found = endpoint()
    assert found.headers == {
        "authorization": "Bearer ya29.token-1", "x-goog-user-project": "quota-project",
    }  # fmt: skip
    assert "/projects/quota-project/" in str(found.base_url)
    assert parse_qs(server.requests[0].body)["refresh_token"] == [REFRESH_TOKEN]
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-1")
    monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "other")
    assert "/projects/project-1/" in str(endpoint().base_url)
    assert endpoint().headers["x-goog-user-project"] == "other"


def test_gclouds_own_file(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "gcloud"  # CLOUDSDK_CONFIG in `conftest.py`
    directory.mkdir()
    write_login(
        directory, monkeypatch, USER,
        "application_default_credentials.json",
    )  # fmt: skip
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    assert endpoint().headers["authorization"] == "Bearer ya29.token-1"


def test_workload_identity(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = tmp_path / "subject-token"
    subject.write_text("token-of-another-cloud")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-1")
    info = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p"
        "/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{server.url}/token",
        "credential_source": {"file": str(subject)},
    }
    write_login(tmp_path, monkeypatch, info)
    assert endpoint().headers == {"authorization": "Bearer ya29.token-1"}
    assert parse_qs(server.requests[0].body)["subject_token"] == ["token-of-another-cloud"]


# The metadata server's address is read when google-auth is imported, so this needs a new process.
METADATA_SCRIPT = """
import asyncio
from pipy_ai.cli.checks import servers
from pipy_ai.cli.main import main
from pipy_ai._requests import build_request
from pipy_ai.provider.clouds import cloud_for
cloud = cloud_for("vertex_ai")
request = build_request("google-vertex/gemini-2.5-pro", "q", None, {})
found = asyncio.run(cloud.endpoint(request, cloud.wire(request)))
print(found.headers, found.base_url)
"""


def test_metadata_server(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    monkeypatch.delenv("NO_GCE_CHECK")
    monkeypatch.setenv("GCE_METADATA_IP", server.address)
    monkeypatch.setenv("GCE_METADATA_HOST", server.address)
    ran = subprocess.run(
        [sys.executable, "-c", METADATA_SCRIPT], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("{'authorization': 'Bearer ya29.token-1'}")
    assert "/projects/project-of-machine/locations/eu/" in ran.stdout
    assert server.requests[0].path == "/"
    assert all(seen.headers["metadata-flavor"] == "Google" for seen in server.requests)


def test_token_is_kept_until_it_expires(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_login(tmp_path, monkeypatch, USER)
    assert {endpoint().headers["authorization"] for _ in range(3)} == {"Bearer ya29.token-1"}
    renew = endpoint().renew
    assert renew is not None
    renew()
    assert endpoint().headers["authorization"] == "Bearer ya29.token-2"
    renew()  # of the first token, which has been replaced
    assert endpoint().headers["authorization"] == "Bearer ya29.token-2"
    server.expires_in = 200  # less than the five minutes before which a token is replaced
    renew = endpoint().renew
    assert renew is not None
    renew()
    assert [endpoint().headers["authorization"][-1] for _ in range(2)] == ["3", "4"]


def test_report_says_until_when_the_token_is_valid(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = cloud_for("vertex_ai")
    assert cloud is not None
    file = write_login(tmp_path, monkeypatch, USER)
    before = asyncio.run(cloud.report())
    assert before is not None
    assert before.text == f"gcloud user login in {file}, GOOGLE_CLOUD_LOCATION=eu"
    assert not server.requests
    endpoint()
    after = asyncio.run(cloud.report())
    assert after is not None
    assert re.match(rf"gcloud user login in {file}, valid until \d\d:\d\d, GOOGLE", after.text)


def test_requests_at_once_share_a_token(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_login(tmp_path, monkeypatch, USER)
    cloud = cloud_for("vertex_ai")
    assert cloud is not None
    request = build_request(GEMINI_MODEL, "q", None, {})
    wire = cloud.wire(request)
    assert wire is not None

    async def ask_all() -> list[Endpoint]:
        return await asyncio.gather(*(cloud.endpoint(request, wire) for _ in range(20)))

    found = asyncio.run(ask_all())
    assert {one.headers["authorization"] for one in found} == {"Bearer ya29.token-1"}
    assert len(server.requests) == 1


def test_new_login_is_used_at_once(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_login(tmp_path, monkeypatch, USER)
    endpoint()
    write_login(tmp_path, monkeypatch, {**USER, "quota_project_id": "another"}, "other.json")
    assert "/projects/another/" in str(endpoint().base_url)
    assert len(server.requests) == 2


def test_preview_takes_no_token(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_login(tmp_path, monkeypatch, USER)
    shown = preview(GEMINI_MODEL, "q")
    assert "/projects/quota-project/" in shown.url
    assert not server.requests


@pytest.mark.parametrize(
    ("status", "answer", "kind", "retryable", "reason"),
    [
        (400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."},
         "auth", False, "invalid_grant: Token has been expired or revoked"),
        (401, {"error": "invalid_client", "error_description": "The OAuth client was deleted."},
         "auth", False, "invalid_client: The OAuth client was deleted"),
        (200, {"error": "odd"}, "auth", False, ""),
        (200, "no JSON", "auth", False, ""),
    ],
)  # fmt: skip
def test_refused_logins(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    status: int, answer: Any, kind: str, retryable: bool, reason: str,
) -> None:  # fmt: skip
    server.answer = status, answer
    write_login(tmp_path, monkeypatch, USER)
    message = complete(GEMINI_MODEL, "q", max_retries=3)
    error = message.error
    assert error is not None
    assert (error.kind, error.retryable) == (kind, retryable)
    file = tmp_path / "login.json"
    assert error.message.startswith(f"Google rejected the gcloud user login in {file}: {reason}")
    assert error.message.endswith("Run gcloud auth application-default login.")


def test_token_endpoint_that_is_down(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.close()
    file = write_login(tmp_path, monkeypatch, USER)
    error = failure().error
    assert (error.kind, error.retryable) == ("connection", True)
    text = f"Cannot reach 127.0.0.1 for the gcloud user login in {file}: Connection refused."
    assert error.message == f"{text} Try again."


def test_damaged_private_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"
    info = {
        "type": "service_account", "project_id": "p", "private_key": f"-----BEGIN {secret}",
        "client_email": "bot@p.iam.gserviceaccount.com", "token_uri": "http://127.0.0.1:9/token",
    }  # fmt: skip
    write_login(tmp_path, monkeypatch, info)
    error = failure().error
    assert (error.kind, error.retryable) == ("auth", False)
    assert error.message.startswith("Google rejected the service account key in")
    assert secret not in error.message


def test_secrets_are_not_in_errors(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in between may send back what it has received."""
    server.echo = True
    write_login(tmp_path, monkeypatch, USER)
    error = complete(GEMINI_MODEL, "q").error
    assert error is not None
    assert "invalid_grant" in error.message
    for secret in (CLIENT_SECRET, REFRESH_TOKEN, REFRESH_TOKEN[:20], CLIENT_SECRET[:20]):
        assert secret not in error.message
        assert secret not in repr(error)


def test_secrets_do_not_follow_a_redirect(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_login(tmp_path, monkeypatch, USER)
    with TokenServer() as other:
        server.redirect = f"{other.url}/token"
        error = failure().error
        assert other.requests == []
    assert len({request.body for request in server.requests}) == 1
    assert "redirect" in error.message.lower()


def test_cancellation_does_not_wait_for_the_token(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.hold = threading.Event()
    write_login(tmp_path, monkeypatch, USER)
    started = time.monotonic()
    error = complete(GEMINI_MODEL, "q", timeout=0.3, max_retries=0).error
    server.hold.set()
    assert error is not None
    assert error.kind == "timeout"
    assert time.monotonic() - started < 20


class Tunnel:
    """A proxy that answers in place of every TLS host, with a certificate for Google's."""

    def __init__(self, directory: Path, *answers: bytes) -> None:
        self.heads: list[str] = []
        self._answers = list(answers)
        self.authority = certificate(directory, "aiplatform.eu.rep.googleapis.com")
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self.authority)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Tunnel:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _run(self) -> None:
        while self._answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._read_head(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                with self._tls.wrap_socket(connection, server_side=True) as secure:
                    self._read_head(secure)
                    secure.sendall(self._answers.pop(0))

    def _read_head(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        self.heads.append(data.decode())


def test_rejected_token_of_a_login_is_renewed_once(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: login, token, Google's own host over TLS, 401, another token, answer."""
    write_login(tmp_path, monkeypatch, USER)
    error = b'{"error": {"code": 401, "message": "Expired.", "status": "UNAUTHENTICATED"}}'
    answer = b"".join(GEMINI.scene(say("ok")))
    answers = response(error, status="401 Unauthorized"), response(answer, "connection: close")
    with Tunnel(tmp_path, *answers) as google:
        monkeypatch.setenv("HTTPS_PROXY", google.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(google.authority))
        message = complete(GEMINI_MODEL, "q", max_retries=0)
    assert (message.text, message.error) == ("ok", None)
    first, second = google.heads[1::2]
    assert "Host: aiplatform.eu.rep.googleapis.com".lower() in first.lower()
    assert "Bearer ya29.token-1" in first
    assert "Bearer ya29.token-2" in second
    assert len(server.requests) == 2


@pytest.mark.parametrize(("status", "state"), [("200 OK", "ok"), ("403 Forbidden", "fail")])
def test_doctor_asks_for_the_location(
    status: str, state: str, server: TokenServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """It is free, and shows whether the login may use the project."""
    write_login(tmp_path, monkeypatch, USER)
    with Tunnel(tmp_path, *[response(b"{}", "connection: close", status=status)] * 2) as google:
        monkeypatch.setenv("HTTPS_PROXY", google.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(google.authority))
        monkeypatch.setenv("PIPY_MODELS_URL", f"{server.url}/api.json")
        monkeypatch.setattr(servers, "PORTS", {})
        main(["doctor", "--json", "--online"])
    findings = json.loads(capsys.readouterr().out)
    found = {one["about"]: one for one in findings if one["about"].startswith("google-vertex")}
    assert {one["state"] for one in found.values()} == {state}
    url = "https://aiplatform.eu.rep.googleapis.com/v1/projects/quota-project/locations/eu"
    assert url in found["google-vertex"]["said"]
    assert "Bearer ya29.token-" in google.heads[1]
    assert "ya29" not in str(findings)


def test_imports_only_what_a_login_needs() -> None:
    """google-auth takes a quarter of a second: neither tokens nor errors load it."""
    import subprocess
    import sys

    script = """
import os, sys
from pipy_ai import complete, preview
error = complete("google-vertex/gemini-2.5-pro", "q").error
assert error.kind == "missing_key", error
os.environ["GOOGLE_CLOUD_PROJECT"] = "p"
preview("google-vertex/claude-haiku-4-5@20251001", "q", api_key="ya29.x")
assert "google.auth" not in sys.modules and "litellm" not in sys.modules
preview("openai/gpt-5-mini", "q", api_key="k")
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
