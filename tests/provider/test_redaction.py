"""Keys and other secrets do not appear in errors, previews and the metadata of a response."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipy_ai import AssistantMessage, complete, preview
from pipy_ai.provider.redaction import MASK, redact

from ..support.raw_server import Raw, response
from ..support.scripted_server import Lab, Status
from ..support.wire_formats import WIRES, Wire, say

KEY = "sk-ant-api03-Zq8LmNoPqRsTuVwXyZ0123456789abcdefghijQWERTY"
ODD_KEY = "sk/\"a+b&c<d>é'=/0123456789"


def leaked(text: str, secret: str) -> int:
    """Return how many first characters of a secret are in a text, if more than a few."""
    return next((n for n in range(len(secret), 9, -1) if secret[:n] in text), 0)


def ask(lab_url: str, **options: object) -> AssistantMessage:
    options = {"api_key": KEY, "max_retries": 0, **options}
    return complete("hosted_vllm/m", "q", api_base=lab_url, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("padding", range(0, 90, 7))
@pytest.mark.parametrize(
    "body",
    [
        'data: {"seen": {"authorization": "%sBearer ' + KEY + '", \n\n',
        '{"headers": {"authorization": "%sBearer ' + KEY + '"',
        "<html><body>%sAuthorization: Bearer " + KEY,
    ],
)
def test_text_that_is_cut_within_a_key(body: str, padding: int) -> None:
    with Raw(response((body % (" " * padding)).encode())) as server:
        message = ask(server.url)
    assert message.error is not None
    assert not leaked(message.model_dump_json(), KEY)


@pytest.mark.parametrize("piece", range(20, 60, 5))
def test_page_that_ends_within_a_key(piece: int) -> None:
    page = f"<html>{KEY}".encode()
    chunks = [b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n" + page[:piece]]
    with Raw(chunks) as server:
        message = ask(server.url)
    assert not leaked(message.model_dump_json(), KEY)


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire.ids], ids=lambda wire: wire.name)
def test_key_in_the_metadata_of_a_response(lab: Lab, wire: Wire) -> None:
    scene = b"".join(wire.scene(say("fine")))
    for name in (b'"id":', b'"model":', b'"responseId":', b'"modelVersion":'):
        start = scene.find(name)
        if start >= 0:
            value_start = scene.index(b'"', start + len(name)) + 1
            value = scene[value_start : scene.index(b'"', value_start)]
            scene = scene.replace(b'"' + value + b'"', b'"' + KEY.encode() + b'"')
    lab.play([scene])
    base = lab.url.removesuffix("/v1") if wire.root else lab.url
    message = complete(wire.model, "q", api_base=base, api_key=KEY, max_retries=0)
    assert not leaked(message.model_dump_json(), KEY)
    assert MASK in message.model_dump_json()


def test_key_in_headers_of_an_error(lab: Lab) -> None:
    lab.play(Status(500, "failed", {"x-request-id": f"req-{KEY}"}))
    message = ask(lab.url)
    assert message.error is not None
    assert message.error.request_id == f"req-{MASK}"


@pytest.mark.parametrize(
    ("headers", "secrets"),
    [
        ({"Cookie": "theme=dark; session=c00kie-0123456789"}, ["c00kie-0123456789"]),
        ({"Proxy-Authorization": "Basic dXNlcjpwYXNzd29yZA=="}, ["dXNlcjpwYXNzd29yZA=="]),
        ({"X-Amz-Security-Token": "amz-0123456789"}, ["amz-0123456789"]),
        ({"X-Password": "pw-0123456789"}, ["pw-0123456789"]),
        ({"X-Session-Id": "sid-0123456789"}, ["sid-0123456789"]),
    ],
)
def test_secret_headers(lab: Lab, headers: dict[str, str], secrets: list[str]) -> None:
    lab.play(Status(400, json.dumps({"error": {"message": f"bad: {headers}"}})))
    message = ask(lab.url, headers=headers)
    shown = preview("hosted_vllm/m", "q", api_base=lab.url, headers=headers)
    for secret in secrets:
        assert secret in str(lab.seen[0].headers)
        assert secret not in message.model_dump_json()
        assert secret not in repr(shown)


def test_secrets_in_the_address(lab: Lab) -> None:
    base = lab.url.replace("://", "://me:pass%40word-1@") + "?api_key=query-0123456789&tenant=7"
    lab.play(Status(400, "pass@word-1 and query-0123456789 are wrong"))
    message = ask(base)
    assert message.error is not None
    assert message.error.message == f"{MASK} and {MASK} are wrong"
    shown = preview("hosted_vllm/m", "q", api_base=base)
    assert "word-1" not in repr(shown)
    assert "query-0123456789" not in repr(shown)
    assert "tenant=7" in shown.url


@pytest.mark.parametrize(
    "address", ["?key=%s", "?tenant=7&sig=%s", "?code=%s", "?api-key=%s", "%s@"]
)
def test_other_secrets_in_the_address(lab: Lab, address: str) -> None:
    secret = "0123456789-abc"
    address %= secret
    base = lab.url.replace("://", f"://{address}") if "@" in address else lab.url + address
    lab.play(Status(400, f"{secret} is wrong"))
    message = ask(base)
    assert message.error is not None
    assert message.error.message == f"{MASK} is wrong"
    assert secret not in repr(preview("hosted_vllm/m", "q", api_base=base))


@pytest.mark.parametrize(
    "extra",
    [
        {"aws_session_token": "a-session-token-0123456789"},
        {"vertex_credentials": '{"refresh_token": "a-session-token-0123456789"}'},
        {"vertex_credentials": {"private_key": "a-session-token-0123456789\n"}},
    ],
    ids=["text", "file", "object"],
)
@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_secrets_in_extra(lab: Lab, extra: dict[str, object], transport: str) -> None:
    lab.play(Status(400, "a-session-token-0123456789 has expired"))
    message = ask(lab.url, extra=extra, transport=transport)
    assert message.error is not None
    assert message.error.message == f"{MASK} has expired"


@pytest.mark.parametrize("base", ["http://host.example/v1", "https://host.example/v1"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_proxy_that_repeats_its_password(
    monkeypatch: pytest.MonkeyPatch, base: str, scheme: str
) -> None:
    password = "hunter2-0123"
    basic = b64encode(f"me:{password}".encode()).decode()
    answer = response(f"sent {password}".encode(), status=f"407 not {password} or {basic}")
    with Raw(answer) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"{scheme}me:{password}@{proxy.address}")
        message = ask(base)
    assert message.error is not None
    assert "refused: 407" in message.error.message
    assert password not in message.error.message
    assert basic not in message.error.message


@pytest.mark.parametrize(
    "spell",
    [
        str, repr, json.dumps, html.escape, quote, quote_plus,
        lambda key: json.dumps(key, ensure_ascii=False),
        lambda key: json.dumps(key).replace("/", "\\/"),
        lambda key: quote(key, safe=""),
        ascii,
        lambda key: json.dumps(json.dumps(key)),
        lambda key: json.dumps(html.escape(key)),
        lambda key: quote(quote(key)),
        lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
        lambda key: "".join(f"&#{ord(char)};" for char in key),
        lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
        lambda key: b64encode(f"me:{key}".encode()).decode(),
        lambda key: urlsafe_b64encode(f"user:{key}".encode()).decode(),
        lambda key: quote(b64encode(f"u:{key}".encode()).decode(), safe=""),
    ],
)  # fmt: skip
def test_spellings_of_a_key(spell: object) -> None:
    assert callable(spell)
    text = redact(f"the key {spell(ODD_KEY)} is wrong", [ODD_KEY])
    assert "0123456789" not in text
    assert MASK in text
    assert spell("0123456789") not in text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"a web page, '{KEY[:12]}'. Try again.", "a web page, '***'. Try again."),
        (f"'...{KEY[-12:]}' is wrong", "'...***' is wrong"),
        (f"{KEY[:9]}&#x", "***&#x"),
        ("100%ef&#48;123456789abcdef", "100%***"),
        (f"{KEY[:-1]}&#x59", "***"),  # browsers need no semicolon
        (f"{KEY[:9]}\\u00", "***\\u00"),
        (f"100% of C:\\users &lt; {KEY} %2", "100% of C:\\users &lt; *** %2"),
    ],
)
def test_text_that_is_cut(text: str, redacted: str) -> None:
    assert redact(text, [KEY, "ef0123456789abcdef"]) == redacted


def test_key_in_the_body_of_a_preview() -> None:
    extra = {"extra_body": {"nested": [{"api_key": KEY}]}}
    shown = preview("hosted_vllm/m", "q", api_base="http://localhost", api_key=KEY, extra=extra)
    assert shown.body["nested"] == [{"api_key": MASK}]


def test_tokens_of_tools_in_a_preview() -> None:
    servers = [{"url": "https://mcp.example", "authorization_token": "one-0123456789"}]
    tool = {"type": "mcp", "headers": {"Authorization": "Bearer two-0123456789"}}
    extra = {"tools": [tool], "mcp_servers": servers}
    body = preview("hosted_vllm/m", "q", api_base="http://localhost", extra=extra).body
    assert body["mcp_servers"] == [{**servers[0], "authorization_token": MASK}]
    assert body["tools"] == [{**tool, "headers": {"Authorization": MASK}}]


@given(
    secret=st.text(st.characters(codec="utf-8"), min_size=12, max_size=40),
    before=st.text(max_size=30),
    after=st.text(max_size=30),
    cut=st.integers(0, 100),
)
def test_no_beginning_of_a_secret_stays(secret: str, before: str, after: str, cut: int) -> None:
    text = redact(f"{before}{secret}{after}"[:cut], [secret])
    inherent = any(secret[:10] in part for part in (before, after, MASK))
    assert inherent or secret[:10] not in text.rstrip("…'\" .")[-10:]
