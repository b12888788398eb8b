"""Addresses that are public."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from pipy_ai.utils.download import fetch_error_text, is_public_host, mask_logged_urls

from ..support.raw_server import Raw, response


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.1.2.3", "0.0.0.0", "::1", "[fe80::1]", "10.1.1.1", "192.168.0.1",
     "169.254.169.254", "::ffff:127.0.0.1", "2130706433", "0x7f.1",
     "2002:7f00:1::", "64:ff9b::a9fe:a9fe"],
)  # fmt: skip
def test_private_hosts(host: str) -> None:
    assert not is_public_host(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700:4700::1111", "name.invalid", "a" * 300])
def test_public_and_unknown_hosts(host: str) -> None:
    assert is_public_host(host)


def _format_message(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage(), None
    return True


@pytest.mark.parametrize("filters", [[], [_format_message]])  # LiteLLM's filter does this
def test_logged_urls_show_no_secret(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, filters: list[Any]
) -> None:
    monkeypatch.setattr(logging.getLogger("httpx"), "filters", [*filters])
    mask_logged_urls()
    with Raw(response(b"")) as server, caplog.at_level(logging.DEBUG, "httpx"):
        httpx.get(server.url.replace("://", "://me:hunter2@") + "?key=hunter2&tenant=7")
    assert "tenant=7" in caplog.text
    assert "hunter2" not in caplog.text


def test_what_a_proxy_says_is_not_quoted() -> None:
    with (
        Raw(response(b"", status="407 not me:hunter2")) as proxy,
        httpx.Client(proxy=proxy.url) as client,
        pytest.raises(httpx.ProxyError) as caught,
    ):
        client.get("https://host.example/")
    assert fetch_error_text(caught.value) == "the proxy refused with HTTP 407"
