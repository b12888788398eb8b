"""Test failures of hosts and networks over real sockets: each becomes an `error` event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import AssistantMessage, ErrorInfo, complete, stream
from pipy_ai.provider import exchange

from ..support.event_grammar import check_events
from ..support.raw_server import Raw, response
from ..support.scripted_server import Lab, Status, chat, finish, sse, text
from ..support.wire_formats import CHAT, WIRES, Counts, Wire, say

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
    """Return the error of a request."""
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


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        ("200 OK", "server", ["a web page", "doctype", "Check api_base."]),
        ("404 Not Found", "not_found", ["HTTP 404", "'Sign in'", "Check api_base."]),
        ("403 Forbidden", "auth", ["HTTP 403", "'Sign in'", "Check the API key."]),
        ("502 Bad Gateway", "server", ["HTTP 502", "'Sign in'", "Try again."]),
    ],
)
def test_html_page(wire: Wire, status: str, kind: str, expected: list[str]) -> None:
    with Raw(response(PAGE, "content-type: text/html", status=status)) as server:
        error = failure(server.url, wire)
    assert error.kind == kind
    for words in expected:
        assert words in error.message


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\ncontent-ty", HEAD])
def test_end_before_the_response(wire: Wire, head: bytes) -> None:
    with Raw(head) as server:
        error = failure(server.url, wire)
        assert len(server.seen) == 1
    assert (error.kind, error.retryable) == ("connection", True)
    assert "broke" in error.message
    assert "Try again." in error.message


@pytest.mark.parametrize("end", [b"", b"ff\r\ncut", b"0\r\n\r\n"], ids=["fin", "chunk", "clean"])
def test_end_within_a_character(wire: Wire, end: bytes) -> None:
    whole = body(wire, "Zür", "ich 😀")
    cut = whole[: whole.index("😀".encode()) + 2]
    with Raw(HEAD + chunk(cut) + end) as server:
        message = ask(server.url, wire)
    assert message.text == "Zür"
    assert message.error is not None
    assert message.error.kind == "incomplete"
    assert "Partial output is kept" in message.error.message


@pytest.mark.parametrize("between", [b"\ndata: ", b"", b" "])
def test_two_documents_in_one_event(wire: Wire, between: bytes) -> None:
    """Some hosts send them; nothing is lost."""
    if not wire.sse and not (wire.lines and between.isspace()):
        pytest.skip("its events are not server-sent")
    events = [
        event[max(event.find(b"data: "), 0) :].removeprefix(b"data: ").strip()
        for event in wire.scene(say(*"abcdef"))
    ]
    pairs = [between.join(events[n : n + 2]) for n in range(0, len(events), 2)]
    form = b"%s\n" if wire.lines else b"data: %s\n\n"
    with Raw(response(b"".join(form % pair for pair in pairs))) as server:
        message = ask(server.url, wire)
    assert message.error is None, message.error
    assert (message.text, message.stop_reason) == ("abcdef", "stop")
    assert not message.usage.estimated


@pytest.mark.parametrize("junk", [b"{", b"}", b"x", b"\ndata: nonsense", b"[DONE"])
def test_document_and_junk_in_one_event(wire: Wire, junk: bytes) -> None:
    steps = say("a", "b")
    scene = wire.scene(steps) if wire.lines else sse(*wire.events([steps], "stop", Counts()))
    first, second, *_ = (event.strip() for event in scene)
    with Raw(response(b"%s\n\n%s%s\n\n" % (first, second, junk))) as server:
        message = ask(server.url, wire)
    assert message.error is not None
    assert message.error.kind == "server"
    assert "cannot be read" in message.error.message
    texts = ("", "a")  # of wires with and without an opening event
    assert message.text in (("a", "ab") if wire.lines else texts)  # the junk may be its own line


def test_redirect_to_another_host(wire: Wire) -> None:
    with Raw(b"") as other:
        target = f"http://user:{KEY}@{other.address}/v1/elsewhere?key={KEY}"
        with Raw(response(b"", f"location: {target}", status="307 Go")) as server:
            error = failure(server.url, wire)
        assert other.seen == []
    assert (error.kind, error.status_code) == ("bad_request", 307)
    assert f"http://{other.address}/v1/elsewhere," in error.message
    assert "set api_base" in error.message


def asked(answer: bytes) -> AssistantMessage:
    with Raw(answer) as server:
        return complete("hosted_vllm/m", "q", api_base=server.url, max_retries=0)


@pytest.mark.parametrize(
    "raw", [b"not http at all\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"]
)
def test_response_that_is_not_http_is_an_error(raw: bytes) -> None:
    message = asked(raw)
    assert message.error is not None
    assert message.error.kind in ("connection", "bad_request")
    assert message.error.message


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("127.0.0.1/v1", "http://"), ("ftp://x/v1", "http://"), ("http://", "host"),
        ("http://x:99999/v1", "is not a valid URL"), ("http://[::1/v1", "is not a valid URL"),
    ],
)  # fmt: skip
def test_invalid_base_url(base: str, expected: str) -> None:
    message = complete("hosted_vllm/m", "q", api_base=base, max_retries=0)
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert expected in message.error.message


def test_key_with_invalid_header_characters() -> None:
    message = complete("openai/gpt-4o", "q", api_key="sk-ключ-0123456789", max_retries=0)
    assert message.error is not None
    assert "ключ" not in message.error.message
    assert message.error.kind == "bad_request"


def test_server_error_with_rate_limit_headers_is_retried_at_once(lab: Lab) -> None:
    """Some hosts send the next window with every response; HTTP 500 is still retried at once."""
    reset = {"x-ratelimit-reset": "3600"}
    lab.play(Status(500, "x", reset), chat(text("ok"), finish("stop")))
    message = complete("hosted_vllm/m", "q", api_base=lab.url)
    assert message.text == "ok", message.error
    lab.play(Status(429, "x", reset))
    error = complete("hosted_vllm/m", "q", api_base=lab.url).error
    assert error is not None
    assert error.retry_after == 3600


def test_events_of_several_documents_are_limited() -> None:
    few, many = (
        b'data: {"choices":[{"delta":{"content":"a"}}]}' + b"{}" * count + b"\n\n"
        for count in (20, 1000)
    )
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with Raw(head + few + b"data: [DONE]\n\n") as server:
        assert ask(server.url).text == "a"
    with Raw(head + many + b"data: [DONE]\n\n") as server:
        error = failure(server.url)
    assert (error.kind, "cannot be read" in error.message) == ("server", True)


@pytest.mark.parametrize(
    "count", ["1e999", "NaN", "-Infinity", "9" * 400, "-5", "true", '"12"', "[]"]
)
def test_impossible_token_counts_count_as_not_reported(wire: Wire, count: str) -> None:
    scene = body(wire, "hello")
    for name in (b'"prompt_tokens":', b'"input_tokens":', b'"promptTokenCount":'):
        start = scene.find(name)
        while start >= 0:
            end = start + len(name)
            digits = len(scene[end:].lstrip()) - len(scene[end:].lstrip().lstrip(b"0123456789"))
            gap = len(scene[end:]) - len(scene[end:].lstrip())
            scene = scene[:end] + count.encode() + scene[end + gap + digits :]
            start = scene.find(name, end)
    with Raw(b"HTTP/1.1 200 OK\r\n\r\n" + scene) as server:
        message = ask(server.url, wire)
    assert (message.text, message.error) == ("hello", None)
    assert message.usage.input >= 0


@pytest.mark.parametrize(
    "text",
    [
        'Cannot render template: expected {"title": "Foo"} as the last message',
        'Tool arguments {"error": "none"} of call 3 could not be parsed',
    ],
)
def test_body_that_quotes_json_is_shown_whole(text: str) -> None:
    with Raw(response(text.encode(), status="500 Failed")) as server:
        assert failure(server.url).message == text


@pytest.mark.parametrize(
    "event", ['{"msg":"keepalive"}', '{"title":"Weather"}', '{"code":20000,"message":""}']
)
def test_documents_that_are_no_errors_are_ignored(event: str) -> None:
    scene = body(CHAT, "fine").replace(b"data: [DONE]", f"data: {event}\n\ndata: [DONE]".encode())
    for answer in (f"data: {event}\n\n".encode() + body(CHAT, "fine"), scene):
        with Raw(b"HTTP/1.1 200 OK\r\n\r\n" + answer) as server:
            message = ask(server.url)
        assert (message.text, message.error) == ("fine", None)


def test_document_with_a_byte_order_mark() -> None:
    document = '{"choices":[{"message":{"content":"fine"},"finish_reason":"stop"}]}'
    with Raw(response(b"\xef\xbb\xbf" + document.encode())) as server:
        assert ask(server.url).text == "fine"


@pytest.mark.parametrize("cost", ["NaN", "1e999", "9" * 400, '"nan"', '"x"', "-1", "true", "{}"])
def test_impossible_costs_count_as_not_reported(cost: str) -> None:
    counts = '"prompt_tokens":1,"completion_tokens":1,"cost":'
    usage = '{"choices":[],"usage":{' + counts + cost + "}}"
    scene = body(CHAT, "hello").replace(b"data: [DONE]", f"data: {usage}\n\ndata: [DONE]".encode())
    with Raw(b"HTTP/1.1 200 OK\r\n\r\n" + scene) as server:
        message = ask(server.url)
    assert (message.text, message.error) == ("hello", None)
    assert message.usage.cost.total is None


def test_answer_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `timeout=`, a server could fill the memory."""
    monkeypatch.setattr(exchange, "MAX_RESPONSE_BYTES", 1 << 20)
    event = (
        b"data: %s\n\n"
        % json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 10_000}}]}).encode()
    )
    with Raw(HEAD + chunk(event) * 300) as server:
        message = ask(server.url)
    assert message.error is not None
    assert message.error.kind == "server"
    assert message.error.message.startswith(
        "The provider sent an answer that does not end: 1 MB so far"
    )
    assert len(message.text) >= 500_000
