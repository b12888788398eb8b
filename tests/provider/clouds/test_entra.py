"""Test Entra tokens over loopback sockets: client secrets, caching, renewal, managed identities."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from pipy_ai import AssistantMessage, complete, complete_many, preview
from pipy_ai.provider.clouds import entra

from ...support.scripted_server import RESET, Lab, Seen, Status

SECRET = "s3cret~0123456789"
LOGIN = {
    "AZURE_TENANT_ID": "tenant-1",
    "AZURE_CLIENT_ID": "client-1",
    "AZURE_CLIENT_SECRET": SECRET,
}


class Login:
    """Answers with tokens `token-1`, `token-2`, … that are valid for `lifetime` seconds."""

    def __init__(self, lab: Lab, lifetime: int = 3600) -> None:
        self.lab, self.lifetime, self.count = lab, lifetime, 0
        self._lock = threading.Lock()
        lab.always = self

    def __call__(self, seen: Seen) -> Status:
        with self._lock:
            self.count += 1
            token = f"token-{self.count:06}"
        fields = {"token_type": "Bearer", "expires_in": self.lifetime, "access_token": token}
        return Status(200, fields)


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch, lab: Lab) -> Iterator[Login]:
    """Entra ID on loopback; the requests for models go to `lab`."""
    with Lab() as server:
        for name, value in LOGIN.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", f"http://127.0.0.1:{server.port}/")
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", lab.url.removesuffix("/v1"))
        entra.client_tokens.cache_clear()
        yield Login(server)


def tokens(lab: Lab) -> list[str]:
    return [seen.headers["authorization"].removeprefix("Bearer ") for seen in lab.seen]


def ask(**options: Any) -> AssistantMessage:
    message: AssistantMessage = complete("azure/m", "q", max_retries=0, **options)
    return message


def test_client_secret_gets_a_token_once(lab: Lab, login: Login) -> None:
    for _ in range(3):
        message = ask()
        assert message.error is None, message.error
    assert tokens(lab) == ["token-000001"] * 3
    (seen,) = login.lab.seen
    assert seen.target == "/tenant-1/oauth2/v2.0/token"
    assert parse_qs(seen.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["client-1"],
        "client_secret": [SECRET],
        "scope": ["https://ai.azure.com/.default"],
    }


@pytest.mark.parametrize(
    ("environment", "scope"),
    [
        ({"OPENAI_API_VERSION": "2024-10-21"}, "https://cognitiveservices.azure.com/.default"),
        ({"AZURE_SCOPE": "api://mine/.default"}, "api://mine/.default"),
    ],
)
def test_scope(
    lab: Lab,
    login: Login,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    scope: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ask().error is None
    assert parse_qs(login.lab.seen[0].body.decode())["scope"] == [scope]


def test_key_takes_precedence_over_a_client_secret(
    lab: Lab, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key-0123456789")
    assert ask().error is None
    assert lab.seen[0].headers["api-key"] == "key-0123456789"
    assert login.lab.seen == []


def test_preview_does_not_log_in(lab: Lab, login: Login) -> None:
    assert preview("azure/m", "q").url
    assert login.lab.seen == []


def test_rejected_token_is_renewed_once(lab: Lab, login: Login) -> None:
    ask()
    lab.play(Status(401, {"error": {"message": "Token expired", "code": "401"}}))
    message = ask()
    assert message.error is None, message.error
    assert message.attempts == []
    assert tokens(lab) == ["token-000001", "token-000001", "token-000002"]
    rejected = Status(401, {"error": {"message": "No such role", "code": "PermissionDenied"}})
    lab.play(rejected, rejected)
    message = complete("azure/m", "q", max_retries=3)
    assert message.error is not None
    assert (message.error.kind, message.error.retryable) == ("auth", False)
    assert tokens(lab)[3:] == ["token-000002", "token-000003"]


def test_token_is_renewed_before_it_expires_during_a_batch(lab: Lab, login: Login) -> None:
    login.lifetime = 299  # less than the margin, so that every request needs a new one
    messages = complete_many("azure/m", ["a", "b", "c", "d"], concurrency=1, progress=False)
    assert [message.error for message in messages] == [None] * 4
    assert len(set(tokens(lab))) == login.count == 4


def test_concurrent_requests_share_one_login(lab: Lab, login: Login) -> None:
    messages = complete_many("azure/m", ["q"] * 20, concurrency=20, progress=False)
    assert [message.error for message in messages] == [None] * 20
    assert login.count == 1


def test_one_renewal_serves_all_requests_of_a_batch(lab: Lab, login: Login) -> None:
    """The host stops accepting the first token while requests are in flight."""
    from ...support.scripted_server import chat, finish, text

    def answer(seen: Seen) -> Any:
        if seen.headers["authorization"].endswith("-000001"):
            return Status(401, {"error": {"message": "expired"}})
        return chat(text("ok"), finish("stop"))

    lab.always = answer
    messages = complete_many("azure/m", ["q"] * 20, concurrency=20, progress=False)
    assert [message.text for message in messages] == ["ok"] * 20
    assert login.count == 2


@pytest.mark.parametrize(
    ("answer", "kind", "retryable", "text"),
    [
        (
            Status(401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid"
                         " client secret provided. Trace ID: 1f Correlation ID: 2e"}),
            "auth", False,
            "Entra ID rejected the login with AZURE_TENANT_ID, AZURE_CLIENT_ID,"
            " AZURE_CLIENT_SECRET (HTTP 401): AADSTS7000215: Invalid client secret provided.",
        ),
        (Status(400, {"error": f"quotes {SECRET}"}), "auth", False, "quotes ***"),
        (Status(200, "<html>a proxy's login page"), "auth", False, "(HTTP 200)."),
        (Status(200, {"expires_in": 3600}), "auth", False, "(HTTP 200)."),
        (Status(302, "", {"location": "http://elsewhere.example"}), "auth", False, "(HTTP 302)."),
        (Status(503, ""), "server or overloaded", True, "(HTTP 503)."),
        ([RESET], "connection", True, "The login at http://127.0.0.1:"),
    ],
    ids=["secret", "quoted", "html", "no-token", "redirect", "503", "reset"],
)  # fmt: skip
def test_failed_login(
    lab: Lab, login: Login, answer: Any, kind: str, retryable: bool, text: str
) -> None:
    login.lab.play(answer)
    message = ask()
    assert message.error is not None
    assert message.error.kind.value in kind.split(" or ")
    assert message.error.retryable is retryable
    assert text in message.error.message
    assert SECRET not in message.model_dump_json()
    assert lab.seen == []


def test_managed_identity_through_azure_identity(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """App Service has an address for tokens on the machine itself."""
    pytest.importorskip("azure.identity")
    with Lab() as server:
        fields = {"access_token": "managed-0123", "expires_on": "4000000000", "resource": "r"}
        server.always = lambda seen: Status(200, {**fields, "token_type": "Bearer"})
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.port}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header-1")
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", lab.url.removesuffix("/v1"))
        entra.identity_tokens.cache_clear()
        for _ in range(2):
            message = ask()
            assert message.error is None, message.error
        assert tokens(lab) == ["managed-0123"] * 2
        assert len(server.seen) == 1
        assert "resource=https://ai.azure.com" in server.seen[0].target


def test_missing_login_of_azure_identity(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("azure.identity")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", lab.url.removesuffix("/v1"))
    entra.identity_tokens.cache_clear()
    message = complete("azure/m", "q", max_retries=3)
    assert message.error is not None
    assert (message.error.kind, message.error.retryable) == ("auth", False)
    assert message.error.message.startswith(
        "No key for Azure is set, and azure-identity found no login: run az login, set"
        " AZURE_OPENAI_API_KEY, or pass api_key=."
    )
    assert lab.seen == []


def test_expiry_of_a_token_that_is_no_jwt() -> None:
    assert entra.expiry("opaque") is None
    assert entra.expiry("eyJ.!!!.x") is None
    entra.check_expiry("opaque", "AZURE_AD_TOKEN")


def test_function_of_one_login_is_the_same_each_time() -> None:
    login = ("https://login.example", "t", "c", "s", "scope")
    assert entra.client_tokens(*login) is entra.client_tokens(*login)
    assert entra.client_tokens(*login) is not entra.client_tokens(*login[:-1], "another scope")
