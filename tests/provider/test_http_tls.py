"""Test TLS: rejected certificates and ports that do not speak TLS."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AssistantMessage, ErrorInfo, stream

from ..support.certificate import certificate
from ..support.event_grammar import check_events
from ..support.raw_server import Raw, response
from ..support.wire_formats import CHAT, Wire, say

KEY = "sk-very-secret-0123456789"


def ask(base: str, wire: Wire = CHAT, **options: Any) -> AssistantMessage:
    base = base.removesuffix("/v1") if wire.root else base
    options = {"api_key": KEY, "max_retries": 0, "transport": "direct", "timeout": 60, **options}
    message = check_events(list(stream(wire.model, "q", api_base=base, **options)))
    assert KEY not in message.model_dump_json()
    return message


def failure(base: str, wire: Wire = CHAT, **options: Any) -> ErrorInfo:
    """Return the error of a request."""
    message = ask(base, wire, **options)
    assert message.content == []
    assert message.error is not None
    return message.error


def body(wire: Wire, *pieces: str) -> bytes:
    return b"".join(wire.scene(say(*pieces)))


def secure(path: Path) -> Raw:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(path)
    return Raw(response(body(CHAT, "Hello")), tls)


def test_many_records_in_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event is a TLS record, and asyncio reads several of them into one buffer."""
    own = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(own)
    words = [f"word {number} " for number in range(500)]
    events = [event for event in CHAT.scene(say(*words)) if isinstance(event, bytes)]
    size = sum(map(len, events))
    with Raw([response(b"", "x: y").replace(b": 0", b": %d" % size), *events], tls) as server:
        message = ask(server.url)
    assert message.error is None
    assert message.text == "".join(words)


def test_untrusted_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Following the advice of the message works at once."""
    with secure(own := certificate(tmp_path, "127.0.0.1")) as server:
        error = failure(server.url, max_retries=2)
        assert (error.kind, error.retryable) == ("connection", False)
        assert "certificate of 127.0.0.1 is not trusted: self-signed certificate" in error.message
        assert "set SSL_CERT_FILE to a PEM file" in error.message
        assert "certifi" in error.message
        monkeypatch.setenv("SSL_CERT_FILE", str(own))
        assert ask(server.url).text == "Hello"
        monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
        assert "/no/such/file.pem (SSL_CERT_FILE) cannot be read" in failure(server.url).message
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (("127.0.0.1", -1), ["has expired", "renew it"]),
        (("other.example", 2), ["127.0.0.1", "Check the address."]),
    ],
)
def test_certificate_that_trust_cannot_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: tuple[str, int], expected: list[str]
) -> None:
    own = certificate(tmp_path, made[0], days=made[1])
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    with secure(own) as server:
        error = failure(server.url)
        assert server.seen == []
    assert (error.kind, error.retryable) == ("connection", False)
    assert "certificate of 127.0.0.1 is not trusted" in error.message
    assert "SSL_CERT_FILE" not in error.message
    for words in expected:
        assert words in error.message


def test_port_without_tls() -> None:
    with Raw(b"") as server:
        error = failure(server.url.replace("http:", "https:"))
    assert (error.kind, error.retryable) == ("connection", False)
    assert "TLS with 127.0.0.1 failed" in error.message
    assert "https://" in error.message
