"""The scenario table: every hard answer on every wire that can carry it, over the direct lanes and
with requests that real LiteLLM builds, over real sockets, cut and split every way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pipy_ai import AssistantMessage, acomplete, complete, stream

from .grammar import check_events
from .wire.lab import BAD_CHUNK, DONE, FIN, RESET, STALL, Lab, Pause, Scene, Status, chunk, sse
from .wire.wires import (
    ANTHROPIC,
    CHAT,
    GEMINI,
    RESPONSES,
    WIRES,
    Counts,
    Step,
    Wire,
    redacted,
    say,
    think,
    tool,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True, params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything here holds for both ways to send a request."""
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


KEY = "sk-very-secret-0123456789"


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


def ask(lab: Lab, wire: Wire, **options: Any) -> AssistantMessage:
    options = {"api_key": KEY, "max_retries": 0, "api_base": wire.base(lab), **options}
    return check_events(list(stream(wire.model, "q", **options)))


def shape(message: AssistantMessage) -> list[Any]:
    """The content, in the words of the scenarios."""
    out: list[Any] = []
    for part in message.content:
        if part.type == "text":
            out.append(part.text)
        elif part.type == "thinking":
            if part.redacted:
                out.append({"redacted": part.thinking_signature})
            else:
                out.append({"think": part.thinking})
        else:
            out.append((part.name, part.arguments))
    return out


@dataclass
class Case:
    """An answer and what it is."""

    steps: list[Step]
    content: list[Any]
    stop: str = "stop"  # what the wire says
    reason: str = "stop"  # what the message says
    on: Callable[[Wire], bool] = lambda wire: True


TOOL = ("tool", "toolUse")
CASES = {
    "text": Case([say("Hel", "lo")], ["Hello"]),
    "unicode": Case(
        [say("Zür", "ich 😀 漢", "字\u2028\u2029\u0085 end")],
        ["Zürich 😀 漢字\u2028\u2029\u0085 end"],
    ),
    "text that looks like SSE": Case(
        [say("data: x\n\n", "event: y\r\n: z")], ["data: x\n\nevent: y\r\n: z"]
    ),
    "thinking, then text": Case([think("h", "m"), say("ok")], [{"think": "hm"}, "ok"]),
    "think, text, think, text": Case(
        [think("a"), say("b"), think("c"), say("d")], [{"think": "a"}, "b", {"think": "c"}, "d"]
    ),
    "redacted thinking": Case(
        [think("a", signature="s"), redacted("opaque"), say("b")],
        [{"think": "a"}, {"redacted": "opaque"}, "b"],
        on=lambda wire: wire.redacts,
    ),
    "one call in single characters": Case(
        [tool("c1", "f", *'{"city": "Zürich"}')], [("f", {"city": "Zürich"})], *TOOL
    ),
    "a call without arguments": Case([tool("c1", "f")], [("f", {})], *TOOL),
    "parallel calls": Case(
        [tool("c1", "f", '{"x":', "1}"), tool("c2", "f", '{"x":2}')],
        [("f", {"x": 1}), ("f", {"x": 2})],
        *TOOL,
    ),
    "one id for two calls": Case(
        [tool("c1", "f", "{}"), tool("c1", "g", "{}")], [("f", {}), ("g", {})], *TOOL
    ),
    "text around calls": Case(
        [say("a"), tool("c1", "f", "{}"), say("b"), tool("c2", "g", "{}"), say("c")],
        ["a", ("f", {}), "b", ("g", {}), "c"],
        *TOOL,
    ),
    "thinking, call, thinking": Case(
        [think("a", signature="s"), tool("c1", "f", "{}"), think("b", signature="t")],
        [{"think": "a"}, ("f", {}), {"think": "b"}],
        *TOOL,
    ),
    "truncated arguments": Case(
        [tool("c1", "f", '{"x": "lo')], [("f", {})], "length", "length", lambda wire: wire.fragments
    ),
    "arguments that are null": Case(
        [tool("c1", "f", "null")], [("f", {})], *TOOL, lambda wire: wire.fragments
    ),
    "length": Case([say("a")], ["a"], "length", "length"),
    "content filter": Case([say("so")], ["so"], "filter", "error"),
    "a line of its own": Case([say("-" * 5000)], ["-" * 5000]),
}  # fmt: skip
TABLE = [
    pytest.param(wire, name, id=f"{wire.name}: {name}")
    for name, case in CASES.items()
    for wire in WIRES
    if case.on(wire)
]


@pytest.mark.parametrize(("wire", "name"), TABLE)
def test_the_scenario_table(lab: Lab, wire: Wire, name: str) -> None:
    case = CASES[name]
    scene = wire.scene(*case.steps, stop=case.stop)
    lab.play(scene, scene, wire.scene(*case.steps, stop=case.stop, newline="\r\n"))
    message = ask(lab, wire)
    assert shape(message) == case.content
    assert message.stop_reason == case.reason
    assert message.api == wire.api
    assert message.response_id
    assert message.response_model == "m"
    if case.reason != "error":
        assert message.error is None
        assert not message.usage.estimated
    options: dict[str, Any] = {"api_base": wire.base(lab), "api_key": KEY}
    for twin in (
        asyncio.run(acomplete(wire.model, "q", **options)),
        complete(wire.model, "q", **options),  # with CRLF
    ):
        assert shape(twin) == case.content
        assert twin.stop_reason == case.reason
    assert len(lab.seen) == 3


def body(scene: Scene) -> bytes:
    return b"".join(scene)


RICH = [think("He", "mm 😀", signature="s"), say("Zür", "ich 漢", "字"),
        tool("c1", "f", '{"city": "', 'Zürich 😀"}'), tool("c2", "g", "{}")]  # fmt: skip


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_splits_change_nothing(lab: Lab, wire: Wire, newline: str) -> None:
    whole = body(wire.scene(*RICH, stop="tool", newline=newline))
    lab.play([whole])
    expected = shape(ask(lab, wire))
    assert len(expected) == 4
    for size in (1, 2, 3, 7, 64, 4096):
        lab.play([whole[i : i + size] for i in range(0, len(whole), size)])
        message = ask(lab, wire)
        assert shape(message) == expected
        assert message.stop_reason == "toolUse"


@pytest.mark.parametrize("end", ["clean", FIN, RESET])
def test_a_cut_keeps_what_came_and_never_claims_success(lab: Lab, wire: Wire, end: str) -> None:
    pieces = [f"word{n} " for n in range(20)]
    scene = wire.scene(say(*pieces))
    whole = body(scene)
    text = "".join(pieces)
    signs = sign_at(wire, whole)
    for percent in range(5, 100, 5):
        cut = whole[: len(whole) * percent // 100]
        lab.play([cut] if end == "clean" else [cut, end])
        message = ask(lab, wire)
        if len(cut) >= signs:
            assert message.text == text
            continue
        assert message.stop_reason == "error"
        assert message.error is not None
        assert message.error.kind in ("incomplete", "connection"), message.error
        seen = complete_lines(cut)
        arrived = [piece for piece in pieces if json.dumps(piece)[1:-1].encode() in seen]
        if end == RESET:  # the system may throw away what had arrived
            assert text.startswith(message.text)
        else:
            assert message.text == "".join(arrived)


def complete_lines(cut: bytes) -> bytes:
    """What an independent reader sees as whole events; the last line counts when it is JSON."""
    head, _, last = cut.rpartition(b"\n")
    try:
        json.loads(last.removeprefix(b"data: "))
    except ValueError:
        return head
    return cut


def sign_at(wire: Wire, whole: bytes) -> int:
    """Where the wire's own sign of the end stands."""
    mark = {
        "chat": b'"finish_reason": "stop"',
        "anthropic": b'"stop_reason": "end_turn"',
        "gemini": b'"finishReason"',
        "responses": b'"response.completed"',
    }[wire.name]
    return whole.index(b"\n", whole.index(mark))


def test_a_cut_call_is_not_complete(lab: Lab, wire: Wire) -> None:
    if not wire.fragments:
        pytest.skip("its calls come whole")
    lab.play(wire.scene(say("so "), tool("c1", "f", '{"path": "/et'), FIN, stop=None))
    message = ask(lab, wire)
    assert message.error is not None
    assert message.error.kind == "incomplete"
    assert message.text == "so "
    [call] = message.tool_calls
    assert call.arguments_error
    assert call.raw_arguments == '{"path": "/et'


def test_signatures_are_kept(lab: Lab, wire: Wire) -> None:
    if not wire.signatures:
        pytest.skip("it has none")
    lab.play(wire.scene(think("a", "b", signature="c2ln"), say("c")))
    part = ask(lab, wire).content[0]
    assert part.type == "thinking"
    assert part.thinking == "ab"
    assert part.thinking_signature is not None
    assert "c2ln" in part.thinking_signature


def test_geminis_call_signature_is_not_in_the_id(lab: Lab) -> None:
    lab.play(GEMINI.scene(tool("", "f", '{"x": 1}', signature="c2ln"), stop="tool"))
    [call] = ask(lab, GEMINI).tool_calls
    assert call.thought_signature == "c2ln"
    assert call.id
    assert "c2ln" not in call.id


def test_usage(lab: Lab, wire: Wire) -> None:
    written = 7 if wire.writes_cache else 0
    lab.play(wire.scene(say("a"), counts=Counts(10, 9, 80, written, 4)))
    usage = ask(lab, wire).usage
    assert (usage.input, usage.output, usage.cache_read, usage.cache_write) == (10, 9, 80, written)
    assert usage.total_tokens == 99 + written
    if wire.name != "anthropic":
        assert usage.reasoning == 4
    if written:
        assert usage.cache_write_1h == 7


def test_server_side_tools_are_not_the_clients(lab: Lab) -> None:
    events = list(ANTHROPIC.events([say("found it")], "stop", Counts()))
    block = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    server = [
        {"type": "content_block_start", "index": 7, "content_block": block},
        {"type": "content_block_delta", "index": 7,
         "delta": {"type": "input_json_delta", "partial_json": '{"query":"x"}'}},
        {"type": "content_block_stop", "index": 7},
    ]  # fmt: skip
    lab.play(sse(events[0], *server, *events[1:]))
    message = ask(lab, ANTHROPIC)
    assert shape(message) == ["found it"]
    assert message.stop_reason == "stop"


def test_refusals_are_told(lab: Lab) -> None:
    from .wire.lab import chat, finish

    lab.play(chat(chunk({"refusal": "I can"}), chunk({"refusal": "not."}), finish("stop")))
    lab.play(
        sse(
            {"type": "response.created", "response": {"id": "r", "model": "m"}},
            {"type": "response.refusal.delta", "output_index": 0, "delta": "I cannot."},
            {"type": "response.completed", "response": {"id": "r", "status": "completed"}},
        )
    )
    for wire in (CHAT, RESPONSES):
        message = ask(lab, wire)
        assert message.text == "I cannot."
        assert message.error is not None
        assert message.error.kind == "content_filter"


ERRORS = {
    CHAT.name: ("overloaded_error", "overloaded"),
    ANTHROPIC.name: ("overloaded_error", "overloaded"),
    GEMINI.name: ("UNAVAILABLE", "overloaded"),
    RESPONSES.name: ("server_error", "server"),
}


def test_an_error_event_in_the_stream(lab: Lab, wire: Wire) -> None:
    word, kind = ERRORS[wire.name]
    lab.play(wire.scene(say("half"), wire.error("it is too much", word), stop=None))
    message = ask(lab, wire)
    assert message.text == "half"
    assert message.error is not None
    assert (message.error.kind, message.error.message) == (kind, "it is too much")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "bad_request"), (401, "auth"), (403, "auth"), (404, "not_found"), (408, "timeout"),
     (413, "context_overflow"), (429, "rate_limit"), (500, "server"), (503, "overloaded"),
     (529, "overloaded")],
)  # fmt: skip
def test_http_errors(lab: Lab, wire: Wire, status: int, kind: str) -> None:
    headers = {"retry-after": "7", "request-id": "req_1"} if status == 429 else {}
    lab.play(Status(status, {"error": {"message": f"no: {KEY}", "type": "x"}}, headers))
    message = ask(lab, wire)
    assert message.error is not None
    assert message.error.kind == kind
    assert message.error.status_code == status
    assert message.error.message == "no: ***"
    assert KEY not in message.model_dump_json()
    if headers:
        assert (message.error.retry_after, message.error.request_id) == (7.0, "req_1")


@pytest.mark.parametrize("status", [408, 429, 500, 503, 529])
def test_a_passing_failure_is_survived(lab: Lab, wire: Wire, status: int) -> None:
    headers = {"retry-after-ms": "1"}
    lab.play(Status(status, {"error": {"message": "later"}}, headers), wire.scene(say("fine")))
    assert ask(lab, wire, max_retries=2).text == "fine"
    assert len(lab.seen) == 2


ODD: dict[str, Scene | Status] = {
    "an HTML page with 200": Status(200, "<html><body>Sign in</body></html>"),
    "an error JSON with 200": Status(200, {"error": {"message": "nope", "code": 500}}),
    "an empty body with 200": Status(200, ""),
    "malformed JSON": [b"data: {not json}\n\n"],
    "a page in the stream": [b"<!doctype html><p>busy</p>"],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_answers_are_errors(lab: Lab, wire: Wire, name: str) -> None:
    lab.play(ODD[name])
    message = ask(lab, wire)
    assert message.stop_reason == "error"
    assert message.error is not None
    assert message.error.kind in ("server", "incomplete")
    assert message.content == []


def test_keepalives_comments_and_a_bom_are_passed_over(lab: Lab, wire: Wire) -> None:
    noise = b": keep-alive\n\nid: 7\nretry: 10\n\n"
    pieces = wire.scene(say("a", "b"))
    lab.play([b"\xef\xbb\xbf", noise, *[part for piece in pieces for part in (piece, noise)]])
    assert ask(lab, wire).text == "ab"


def test_a_redirect_is_not_followed(lab: Lab, wire: Wire) -> None:
    with Lab() as other:
        lab.play(Status(307, "", {"location": other.url + "/chat/completions"}))
        message = ask(lab, wire)
        assert other.seen == []
    assert message.error is not None
    assert "redirect" in message.error.message


def test_a_huge_error_body_is_capped(lab: Lab, wire: Wire) -> None:
    lab.play(Status(500, "x" * (20 << 20)))
    message = ask(lab, wire, timeout=20)
    assert message.error is not None
    assert message.error.kind == "server"
    assert len(message.error.message) <= 4096


def test_a_giant_delta(lab: Lab, wire: Wire) -> None:
    lab.play(wire.scene(say("x" * (5 << 20))))
    assert len(ask(lab, wire).text) == 5 << 20


def test_many_deltas(lab: Lab, wire: Wire) -> None:
    lab.play([body(wire.scene(say(*["ab "] * 100_000)))])
    message = complete(wire.model, "q", api_base=wire.base(lab), api_key=KEY)
    assert message.text == "ab " * 100_000


def test_a_stall_ends_by_the_clock(lab: Lab, wire: Wire) -> None:
    lab.play(wire.scene(say("half"), STALL, stop=None))
    message = ask(lab, wire, idle_timeout=0.2)
    assert message.text == "half"
    assert message.error is not None
    assert message.error.kind == "timeout"
    assert lab.seen[-1].left.wait(5)


def test_the_connection_is_used_again(lab: Lab, wire: Wire) -> None:
    for _ in range(3):
        lab.play(wire.scene(say("a")))
        assert ask(lab, wire).text == "a"
    assert len({seen.peer for seen in lab.seen}) == 1


def test_an_unstreamed_answer_is_read(lab: Lab) -> None:
    lab.play(
        Status(200, {"id": "r", "model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 1},
                     "choices": [{"message": {"role": "assistant", "content": "plain"},
                                  "finish_reason": "stop"}]}),
        Status(200, {"id": "r", "model": "m", "content": [{"type": "text", "text": "plain"}],
                     "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 1}}),
        Status(200, [{"candidates": [{"content": {"parts": [{"text": "plain"}]},
                                      "finishReason": "STOP"}], "responseId": "r"}]),
        Status(200, {"id": "r", "model": "m", "status": "completed", "output": [
            {"type": "message", "id": "i",
             "content": [{"type": "output_text", "text": "plain"}]}]}),
    )  # fmt: skip
    for wire in WIRES:
        message = ask(lab, wire)
        assert message.text == "plain"
        assert message.stop_reason == "stop"


def test_a_key_goes_to_its_own_provider_only(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant")
    monkeypatch.setenv("GEMINI_API_KEY", "sk-gem")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    complete("hosted_vllm/m", "q", api_base=lab.url)
    complete("cerebras/m", "q", api_base=lab.url, api_key="csk")
    for seen in lab.seen:
        assert not {"sk-openai", "sk-ant", "sk-gem", "org-mine"} & set(
            " ".join(seen.headers.values()).split()
        )
    for wire, own in ((ANTHROPIC, "sk-ant"), (GEMINI, "sk-gem")):
        lab.play(wire.scene(say("ok")))
        complete(wire.model, "q", api_base=wire.base(lab))
        assert own in " ".join(lab.seen[-1].headers.values())
    # `openai/` with another host's address is the usual way to a host that is not OpenAI.
    for model in ("openai/gpt-x", RESPONSES.model, "text-completion-openai/x"):
        complete(model, "q", api_base=lab.url, max_retries=0)
        assert "sk-openai" not in " ".join(lab.seen[-1].headers.values())


def test_a_listed_host_never_gets_another_ones_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-0123456789")
    message = complete("novita/some-model", "q")
    assert message.error is not None
    assert message.error.kind == "missing_key"
    assert "NOVITA_API_KEY" in message.error.message
    monkeypatch.setenv("NOVITA_API_KEY", "nk")
    assert complete("openai/gpt-5", "q", api_key="", api_base="http://127.0.0.1:9").error


def test_a_hosts_own_variable_is_found(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOVITA_API_KEY", "nk-0123456789")
    complete("novita/some-model", "q", api_base=lab.url)
    assert lab.seen[-1].headers["authorization"] == "Bearer nk-0123456789"


def test_keys_in_odd_places_are_not_told(lab: Lab) -> None:
    lab.play(Status(401, {"error": {"message": f"bad {KEY}"}}))
    message = ask(lab, CHAT, api_key=KEY + "\n")
    assert KEY not in message.model_dump_json()
    assert message.error is not None
    assert message.error.kind == "auth"
    lab.play(Status(401, {"error": {"message": f"bad {KEY}"}}))
    message = ask(lab, CHAT, api_key="k", headers={"X-Api-Key": KEY})
    assert KEY not in message.model_dump_json()
    lab.play(Status(401, {"error": {"message": "x" * 4090 + KEY}}))
    assert KEY[:6] not in ask(lab, CHAT).model_dump_json()
    lab.play(RESET_AT_ONCE)
    message = ask(lab, CHAT, api_key="k")
    assert message.error is not None
    assert "***" not in message.error.message


RESET_AT_ONCE: Scene = [RESET]


@pytest.mark.parametrize("end", [STALL, FIN, RESET])
def test_an_answer_that_has_said_all_is_done(lab: Lab, wire: Wire, end: str) -> None:
    scene = wire.scene(say("all"))
    whole = body(scene)
    cut = whole[: sign_at(wire, whole) + 2]  # the event with the sign, and no more
    lab.play([cut, end])
    message = ask(lab, wire, idle_timeout=60)
    if end == RESET and message.error is not None:  # the system may throw away what had arrived
        return
    assert message.text == "all"
    assert message.stop_reason == "stop"


def test_text_and_an_error_in_one_packet_are_both_heard(lab: Lab, wire: Wire) -> None:
    scene = wire.scene(say("half"), wire.error("too much", ERRORS[wire.name][0]), stop=None)
    lab.play([body(scene)])
    message = ask(lab, wire)
    assert message.text == "half"
    assert message.error is not None
    assert message.error.message == "too much"


@pytest.mark.parametrize(
    "odd", ['{"choices": [null]}', '{"choices": [{"delta": {"tool_calls": [null]}}]}', "[]", "7"]
)
def test_data_of_another_shape_is_unreadable(lab: Lab, odd: str) -> None:
    lab.play(sse(chunk({"content": "half"}), odd))
    message = ask(lab, CHAT)
    assert message.text == "half"
    assert message.error is not None
    assert message.error.kind == "server"


def test_only_the_first_of_several_answers_is_read(lab: Lab) -> None:
    from .wire.lab import chat, finish

    second = chunk({"content": "B"})
    second["choices"][0]["index"] = 1
    lab.play(chat(chunk({"content": "A"}), second, finish("stop")))
    assert ask(lab, CHAT).text == "A"


def test_a_rate_limit_that_mentions_billing_is_a_rate_limit(lab: Lab) -> None:
    text = (
        "Rate limit reached for gpt-5. Please try again in 1ms. You can increase your rate limit"
        " by adding a payment method to your account at https://example.com/account/billing."
    )
    error = {"error": {"message": text, "code": "rate_limit_exceeded"}}
    lab.play(Status(429, error), CHAT.scene(say("fine")))
    assert ask(lab, CHAT, max_retries=1).text == "fine"


def test_azure_is_left_to_litellm(lab: Lab) -> None:
    from .wire.lab import chat, finish, text

    lab.play(chat(text("ok"), finish("stop")))
    base = lab.url.removesuffix("/v1")
    message = complete("azure/m", "q", api_base=base, api_key="k", max_retries=0)
    assert message.error is None, message.error
    assert (message.text, message.api) == ("ok", "litellm")


def test_chaos(lab: Lab) -> None:
    from collections import Counter

    from .wire.chaos import answer, run

    lab.always = answer(Counter())
    outcomes, wrong = asyncio.run(run(lab.url, list(range(150)), 25))
    assert wrong == []
    assert sum(outcomes.values()) == 150
    assert len(outcomes) > 8


def test_broken_framing_ends_at_once(lab: Lab, wire: Wire) -> None:
    lab.play(wire.scene(say("half"), BAD_CHUNK, stop=None))
    message = ask(lab, wire, idle_timeout=60)
    assert message.text == "half"
    assert message.error is not None
    assert message.error.kind == "incomplete"


def test_a_slow_drip_is_heard_as_it_comes(lab: Lab, wire: Wire) -> None:
    lab.play(wire.scene(say("one "), Pause(), say("two ")))
    heard = ""
    for event in stream(wire.model, "q", api_base=wire.base(lab), api_key=KEY):
        if event.type == "text_delta":
            heard += event.delta
            if heard == "one ":
                lab.go()
    assert heard == "one two "


def test_a_paused_turn_is_a_stop(lab: Lab) -> None:
    paused = [
        part.replace(b'"end_turn"', b'"pause_turn"') for part in ANTHROPIC.scene(say("so far"))
    ]
    lab.play(paused)
    message = ask(lab, ANTHROPIC)
    assert (message.stop_reason, message.raw_stop_reason) == ("stop", "pause_turn")


def test_gemini_says_what_it_could_not_say(lab: Lab) -> None:
    for raw, kind in (("MALFORMED_FUNCTION_CALL", "server"), ("RECITATION", "content_filter")):
        scene = [
            part.replace(b'"STOP"', json.dumps(raw).encode()) for part in GEMINI.scene(say("so"))
        ]
        lab.play(scene)
        message = ask(lab, GEMINI)
        assert message.error is not None
        assert (message.error.kind, message.raw_stop_reason) == (kind, raw)
    lab.play(sse({"promptFeedback": {"blockReason": "SAFETY"}}))
    message = ask(lab, GEMINI)
    assert message.error is not None
    assert message.error.kind == "content_filter"


def test_usage_wherever_it_stands(lab: Lab) -> None:
    counts = {"prompt_tokens": 9, "completion_tokens": 3}
    finish = chunk({}, finish_reason="stop")
    text = chunk({"content": "a"})
    inside = chunk({}, finish_reason="stop")
    inside["choices"][0]["usage"] = counts
    for events in (
        [text, chunk(choices=[], usage=counts), finish],  # before the finish
        [text, {**finish, "usage": counts}],  # with it
        [text, finish, chunk(choices=[], usage=counts)],  # after it
        [{**text, "usage": {"prompt_tokens": 9, "completion_tokens": 1}}, finish,
         chunk(choices=[], usage=counts)],  # twice
        [text, inside],  # in the choice
        [text, {**finish, "x_groq": {"usage": counts}}],  # Groq's own place
        [finish, text, chunk(choices=[], usage=counts)],  # content after the finish
    ):  # fmt: skip
        lab.play(sse(*events, DONE))
        message = ask(lab, CHAT)
        assert message.text == "a"
        assert (message.usage.input, message.usage.output) == (9, 3)
        assert not message.usage.estimated
    lab.play(sse(text, finish, DONE))
    assert ask(lab, CHAT).usage.estimated


OVERFLOWS = {
    CHAT.name: "This model's maximum context length is 8192 tokens. You requested 9000 tokens.",
    ANTHROPIC.name: "prompt is too long: 213462 tokens > 200000 maximum",
    GEMINI.name: "The input token count (1196265) exceeds the maximum number of tokens allowed.",
    RESPONSES.name: "Your input exceeds the context window of this model.",
}


def test_each_vendors_overflow_is_told(lab: Lab, wire: Wire) -> None:
    text = OVERFLOWS[wire.name]
    lab.play(Status(400, {"error": {"message": text, "type": "invalid_request_error"}}))
    message = ask(lab, wire)
    assert message.error is not None
    assert (message.error.kind, message.error.message) == ("context_overflow", text)


def test_openrouters_reasoning_details_are_kept(lab: Lab) -> None:
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0},
        {"type": "reasoning.encrypted", "data": "opaque", "index": 1},
    ]
    lab.play(
        sse(
            chunk({"reasoning": "hm", "reasoning_details": details}), chunk({"content": "ok"}),
            chunk({}, finish_reason="stop"), DONE,
        )
    )  # fmt: skip
    first, second, last = ask(lab, CHAT).content
    assert first.type == second.type == "thinking"
    assert (first.thinking, first.thinking_signature) == ("hm", "s")
    assert second.redacted
    assert "opaque" in (second.thinking_signature or "")
    assert last.type == "text"


def test_mistrals_lists_of_parts_are_read(lab: Lab) -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    content = [thinking, {"type": "text", "text": "ok"}]
    lab.play(sse(chunk({"content": content}), chunk({}, finish_reason="stop"), DONE))
    assert shape(ask(lab, CHAT)) == [{"think": "hm"}, "ok"]


def test_arguments_as_an_object_are_read(lab: Lab) -> None:
    calls = [{"function": {"name": "f", "arguments": {"x": 1}}, "index": 0, "id": "a"}]
    lab.play(sse(chunk({"tool_calls": calls}), chunk({}, finish_reason="tool_calls"), DONE))
    assert shape(ask(lab, CHAT)) == [("f", {"x": 1})]
    old = chunk({"function_call": {"name": "f", "arguments": '{"x": 1}'}})
    lab.play(sse(old, chunk({}, finish_reason="function_call"), DONE))
    message = ask(lab, CHAT)
    assert (shape(message), message.stop_reason) == ([("f", {"x": 1})], "toolUse")
