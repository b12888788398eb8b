"""Names that hold secrets, and credentials in URLs."""

from __future__ import annotations

import pytest

from pipy_ai.utils.secrets import (
    is_secret_header,
    is_secret_parameter,
    is_secret_variable,
    mask_tokens,
    mask_url,
    strip_userinfo,
    url_secrets,
)


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "GITLAB_PAT",
        "REDIS_PASSWORD",
        "MY_JWT",
    ],
)
def test_secret_variables(name: str) -> None:
    assert is_secret_variable(name)


@pytest.mark.parametrize("name", ["PATH", "AWS_REGION", "PATIENCE", "GOOGLE_VERTEX_PROJECT"])
def test_harmless_variables(name: str) -> None:
    assert not is_secret_variable(name)


def test_headers() -> None:
    assert all(
        map(is_secret_header, ["Authorization", "x-api-key", "Cookie", "cf-aig-authorization"])
    )
    assert all(map(is_secret_header, ["X-Password", "X-Jwt", "X-Session-Id", "X-Signature", "sig"]))
    assert not any(map(is_secret_header, ["content-type", "user-agent", "anthropic-version"]))


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "azure_ad_token", "aws_access_key_id", "aws_secret_access_key", "client_secret",
        "vertex_credentials", "redis_password", "hf_token", "aws_session_token",
    ],
)  # fmt: skip
def test_secret_parameters(name: str) -> None:
    assert is_secret_parameter(name)


@pytest.mark.parametrize(
    "name", ["max_tokens", "prompt_cache_key", "model", "api_base", "tokenizer"]
)
def test_harmless_parameters(name: str) -> None:
    assert not is_secret_parameter(name)


@pytest.mark.parametrize(
    ("url", "stripped"),
    [
        ("https://me:secret@host/v1", "https://host/v1"),
        ("//me:secret@host/v1", "//host/v1"),
        ("me:secret@host:3128", "host:3128"),
        ("socks5://me:p@ss@host", "socks5://host"),
        ("https://me:pa/ss@host/v1", "https://host/v1"),
        ("https://me:p@s/s@host/v1", "https://host/v1"),
        ("https://me:p?s#s@host", "https://host"),
        ("https://me:se\ncret@host", "https://host"),
        ("https://host/models/claude@20240620", "https://host/models/claude@20240620"),
        ("https://host:8000/a@b?c=d@e", "https://host:8000/a@b?c=d@e"),
        ("http://[::1]:8000/a@b", "http://[::1]:8000/a@b"),
        ("/elsewhere/a@b", "/elsewhere/a@b"),
        ("https://host", "https://host"),
    ],
)
def test_strip_userinfo(url: str, stripped: str) -> None:
    assert strip_userinfo(url) == stripped


def test_strip_userinfo_replacement() -> None:
    assert strip_userinfo("http://me:secret@host", "***@") == "http://***@host"


@pytest.mark.parametrize(
    "query",
    ["key=%s", "api-key=%s", "x=1&sig=%s", "code=%s", "X-Amz-Signature=%s", "access-token=%s",
     "a;pwd=%s", "subscription%%2Dkey=%s", "k%%65y=%s", "#access_token=%s"],
)  # fmt: skip
def test_secrets_in_queries(query: str) -> None:
    secret = "0123456789"
    url = f"https://host.example/v1?{query}&tenant=7" % secret
    assert url_secrets(url) == [secret]
    assert secret not in mask_url(url)
    assert "tenant=7" in mask_url(url)


def test_name_without_a_password_is_a_token() -> None:
    assert url_secrets("https://tok%2Fen@host.example/") == ["tok/en"]
    assert url_secrets("https://me:pass@host.example/") == ["pass"]
    assert (
        url_secrets("http://[::1") == url_secrets("https://host.example/?keyword=a&author=b") == []
    )
    assert mask_url("http://me:pa?ss@host.example/", "***@") == "http://***@host.example/"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("token wJalrXUtnFEMI/K7MDENG+bPxRfiCY rejected", "token *** rejected"),
        ("0123456789abcdef0123456789abcdef", "***"),
        ('{"access_token":"eyJ0eXAi.eyJhdWQi.c2lnbmF0dXJl1"}', '{"access_token":"***"}'),
        ("a" * 40, "***"),
        (
            "Connection to oauth2.googleapis.com failed",
            "Connection to oauth2.googleapis.com failed",
        ),
        ("CredentialUnavailableError: run az login", "CredentialUnavailableError: run az login"),
    ],
)
def test_words_that_may_be_tokens_are_masked(text: str, masked: str) -> None:
    assert mask_tokens(text) == masked
