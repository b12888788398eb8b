"""What hosts, proxies and networks do wrong, over real sockets: each failure is an `error` event
that says what happened and what to do, and no key is told."""

from __future__ import annotations

import base64
import gzip
import ssl
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AssistantMessage, ErrorInfo, complete, stream
from pipy_ai.provider.http.sse import MAX_EVENT_BYTES

from .grammar import check_events
from .wire.certificate import certificate
from .wire.lab import Lab
from .wire.raw import Raw, response
from .wire.wires import CHAT, WIRES, Wire, say

KEY = "sk-very-secret-0123456789"
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
PAGE = b"<!doctype html><html><head><title>\n Sign in </title></head><body>" + KEY.encode()


def ask(base: str, wire: Wire = CHAT, **options: Any) -> AssistantMessage:
    base = base.removesuffix("/v1") if wire.root else base
    options = {"api_key": KEY, "max_retries": 0, "transport": "direct", "timeout": 60, **options}
    message = check_events(list(stream(wire.model, "q", api_base=base, **options)))
    assert KEY not in message.model_dump_json()
    return message


def failure(base: str, wire: Wire = CHAT, **options: Any) -> ErrorInfo:
    """Why nothing came."""
    message = ask(base, wire, **options)
    assert message.content == []
    assert message.error is not None
    return message.error


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def body(wire: Wire, *pieces: str) -> bytes:
    return b"".join(wire.scene(say(*pieces)))


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


# --- Hosts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        ("200 OK", "server", ["a web page", "doctype", "Is api_base right?"]),
        ("404 Not Found", "not_found", ["HTTP 404", "'Sign in'", "Is api_base right?"]),
        ("403 Forbidden", "auth", ["HTTP 403", "'Sign in'", "Is the key right?"]),
        ("502 Bad Gateway", "server", ["HTTP 502", "'Sign in'", "Ask again."]),
    ],
)
def test_a_web_page(wire: Wire, status: str, kind: str, said: list[str]) -> None:
    with Raw(response(PAGE, "content-type: text/html", status=status)) as server:
        error = failure(server.url, wire)
    assert error.kind == kind
    for words in said:
        assert words in error.message


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\ncontent-ty", HEAD])
def test_an_end_before_the_answer(wire: Wire, head: bytes) -> None:
    with Raw(head) as server:
        error = failure(server.url, wire)
        assert len(server.seen) == 1
    assert (error.kind, error.retryable) == ("connection", True)
    assert "broke" in error.message
    assert "Ask again." in error.message


@pytest.mark.parametrize("end", [b"", b"ff\r\ncut", b"0\r\n\r\n"], ids=["fin", "chunk", "clean"])
def test_an_end_within_a_character(wire: Wire, end: bytes) -> None:
    whole = body(wire, "Zür", "ich 😀")
    cut = whole[: whole.index("😀".encode()) + 2]
    with Raw(HEAD + chunk(cut) + end) as server:
        message = ask(server.url, wire)
    assert message.text == "Zür"
    assert message.error is not None
    assert message.error.kind == "incomplete"
    assert "what came before is kept" in message.error.message


@pytest.mark.parametrize("between", [b"\ndata: ", b"", b" "])
def test_two_documents_in_one_event(wire: Wire, between: bytes) -> None:
    """Some hosts do so, and nothing is lost."""
    events = [event.removeprefix(b"data: ").strip() for event in wire.scene(say(*"abcdef"))]
    pairs = [between.join(events[n : n + 2]) for n in range(0, len(events), 2)]
    with Raw(response(b"".join(b"data: %s\n\n" % pair for pair in pairs))) as server:
        message = ask(server.url, wire)
    assert message.error is None, message.error
    assert (message.text, message.stop_reason) == ("abcdef", "stop")
    assert not message.usage.estimated


@pytest.mark.parametrize("junk", [b"{", b"}", b"x", b"\ndata: nonsense", b"[DONE"])
def test_a_document_and_junk_in_one_event(wire: Wire, junk: bytes) -> None:
    first, second, *_ = (event.strip() for event in wire.scene(say("a", "b")))
    with Raw(response(b"%s\n\n%s%s\n\n" % (first, second, junk))) as server:
        message = ask(server.url, wire)
    assert message.error is not None
    assert message.error.kind == "server"
    assert "cannot be read" in message.error.message
    assert message.text in ("", "a")  # of wires with and without an opening event


MEGABYTE = 1 << 20
ENDLESS: dict[str, Callable[[], Iterator[bytes]]] = {
    "a line": lambda: chain([b"data: "], repeat(b"x" * MEGABYTE, 50)),
    "lines of one event": lambda: repeat(b"data: " + b"x" * (MEGABYTE - 7) + b"\n", 50),
    "a document": lambda: chain([b'{"error": "'], repeat(b"x" * MEGABYTE, 50)),
}


def peak(base: str) -> tuple[ErrorInfo, int]:
    """Why it failed, and how many bytes it took at most."""
    complete("hosted_vllm/m", "q", api_base="http://127.0.0.1:9", max_retries=0)  # imports
    tracemalloc.start()
    try:
        error = failure(base)
        return error, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ENDLESS)
def test_50_mb_without_an_end(name: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    with Raw(chain([head], ENDLESS[name]())) as server:
        error, most = peak(server.url)
    assert (error.kind, error.retryable) == ("server", False)
    assert "without end: 32 MB so far" in error.message
    assert server.sent < MAX_EVENT_BYTES + 16 * MEGABYTE  # the system's buffers among them
    assert most < MAX_EVENT_BYTES + 16 * MEGABYTE


def test_50_mb_that_were_squeezed() -> None:
    """50 kB on the wire."""
    squeezed = gzip.compress(b"data: " + b"x" * 50 * MEGABYTE)
    with Raw(response(squeezed, "content-encoding: gzip")) as server:
        error, most = peak(server.url)
    assert "without end: 32 MB so far" in error.message
    assert most < MAX_EVENT_BYTES + 16 * MEGABYTE


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_compression_that_lies(wire: Wire, coding: str) -> None:
    with Raw(response(body(wire, "a"), f"content-encoding: {coding}")) as server:
        error = failure(server.url, wire)
    assert error.kind == "server"
    assert coding in error.message


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compression_that_is_cut(wire: Wire, coding: str) -> None:
    whole = body(wire, "Hel", "2nd")
    squeeze = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    first = squeeze.compress(whole[: whole.index(b"2nd")]) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    head = f"content-encoding: {coding}"
    with Raw(response(first, head)) as server, Raw(response(first[:5], head)) as early:
        message = ask(server.url, wire)
        nothing = failure(early.url, wire)
    assert message.text == "Hel"
    assert message.error is not None
    assert (message.error.kind, nothing.kind) == ("incomplete", "connection")
    for error in (message.error, nothing):
        assert f"ended within the {coding}" in error.message


def test_a_redirect_to_another_host(wire: Wire) -> None:
    with Raw(b"") as other:
        target = f"http://user:{KEY}@{other.address}/v1/elsewhere?key={KEY}"
        with Raw(response(b"", f"location: {target}", status="307 Go")) as server:
            error = failure(server.url, wire)
        assert other.seen == []
    assert (error.kind, error.status_code) == ("bad_request", 307)
    assert f"http://{other.address}/v1/elsewhere," in error.message
    assert "set api_base" in error.message


# --- Certificates ---------------------------------------------------------------------------


def secure(path: Path) -> Raw:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(path)
    return Raw(response(body(CHAT, "Hello")), tls)


def test_a_certificate_that_nobody_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the message says to do, helps at once."""
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
    ("made", "said"),
    [
        (("127.0.0.1", -1), ["has expired", "renew it"]),
        (("other.example", 2), ["127.0.0.1", "Is the address right?"]),
    ],
)
def test_a_certificate_that_trust_would_not_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: tuple[str, int], said: list[str]
) -> None:
    own = certificate(tmp_path, made[0], days=made[1])
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    with secure(own) as server:
        error = failure(server.url)
        assert server.seen == []
    assert (error.kind, error.retryable) == ("connection", False)
    assert "certificate of 127.0.0.1 is not trusted" in error.message
    assert "SSL_CERT_FILE" not in error.message
    for words in said:
        assert words in error.message


def test_a_port_that_speaks_no_tls() -> None:
    with Raw(b"") as server:
        error = failure(server.url.replace("http:", "https:"))
    assert (error.kind, error.retryable) == ("connection", False)
    assert "TLS with 127.0.0.1 failed" in error.message
    assert "https://" in error.message


# --- Proxies --------------------------------------------------------------------------------

PASSWORD = "pass@word-4711"
NAMED = f"http://us%40er:{PASSWORD.replace('@', '%40')}@"
HOSTS = ["https://provider.example/v1", "http://provider.example/v1"]


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def use(address: str) -> None:
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("HTTPS_PROXY", address)

    return use


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("scheme", "status", "retryable", "said"),
    [
        ("http://", "407 Proxy Authentication Required", False, "http://name:password@host:port"),
        (NAMED, "407 Proxy Authentication Required", False, "not take the name and the password"),
        (NAMED, "403 Forbidden", False, "NO_PROXY"),
        (NAMED, "502 Bad Gateway", True, "502"),
    ],
)
def test_a_proxy_that_refuses(
    proxy: Callable[[str], None], host: str, scheme: str, status: str, retryable: bool, said: str
) -> None:
    with Raw(response(b"", status=status)) as server:
        proxy(scheme + server.address)
        error = failure(host)
    assert KEY not in "".join(server.seen) or host.startswith("http:")
    if not status.startswith("407") and host.startswith("http:"):
        return  # it may as well be the provider's own answer
    assert (error.kind, error.retryable) == ("connection", retryable)
    assert f"The proxy http://{server.address} refused: {status[:3]}" in error.message
    assert said in error.message
    assert "word-4711" not in error.message


@pytest.mark.parametrize("host", HOSTS)
def test_a_proxy_that_is_not_there(proxy: Callable[[str], None], host: str) -> None:
    proxy(NAMED + "127.0.0.1:9")
    error = failure(host)
    assert (error.kind, error.retryable) == ("connection", True)
    assert "The proxy http://127.0.0.1:9 was not reached" in error.message
    assert "HTTPS_PROXY" in error.message
    assert "word-4711" not in error.message


@pytest.mark.parametrize("host", HOSTS)
def test_a_proxy_that_hangs_up(proxy: Callable[[str], None], host: str) -> None:
    with Raw(b"") as server:
        proxy(NAMED + server.address)
        error = failure(host)
    assert (error.kind, error.retryable) == ("connection", True)
    assert f"provider.example (by the proxy http://{server.address}) broke" in error.message


@pytest.mark.parametrize(
    "address", [f"http://us:{PASSWORD}#x@127.0.0.1:9", f"ftp://us:{PASSWORD}@127.0.0.1", "http://"]
)
def test_an_address_that_is_no_proxy(proxy: Callable[[str], None], address: str) -> None:
    proxy(address)
    error = failure(HOSTS[0])
    assert (error.kind, error.retryable) == ("connection", False)
    assert "http://name:password@host:port" in error.message
    assert "word-4711" not in error.message
    assert "pass" not in error.message.replace("name:password", "")


def test_a_proxys_name_and_password_are_sent_as_they_are(
    lab: Lab, proxy: Callable[[str], None]
) -> None:
    proxy(NAMED + lab.url.removeprefix("http://").removesuffix("/v1"))
    lab.play(CHAT.scene(say("by proxy")))
    assert ask(HOSTS[1]).text == "by proxy"
    word = base64.b64encode(f"us@er:{PASSWORD}".encode()).decode()
    assert lab.seen[0].headers["proxy-authorization"] == f"Basic {word}"
