"""Test cassettes: recording and replaying on every wire, secrets, modes, damaged files."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipy_ai import CassetteError, acomplete, cassette, complete, count_tokens, run_tools, stream
from pipy_ai.provider.cassette_file import Interaction, load, merge_into
from pipy_ai.provider.litellm import provider as litellm_provider

from ..support.scripted_server import FIN, Lab, Status, chat, finish, sse, text
from ..support.wire_formats import (
    ANTHROPIC,
    CHAT,
    CONVERSE,
    GEMINI,
    OLLAMA,
    WIRES,
    Wire,
    say,
    think,
    tool,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
KEY = "sk-very-secret-0123456789"
OK = chat(text("ok"), finish("stop"))


def events_of(wire: Wire, base: str, **options: Any) -> list[dict[str, Any]]:
    events = list(stream(wire.model, "q", api_base=base, **options))
    assert events[-1].type == "done", events[-1]
    return [_without_time(event.to_dict()) for event in events]


def _without_time(value: Any) -> Any:
    if isinstance(value, dict):
        times = {"timestamp", "duration_ms", "ttft_ms"}
        return {k: _without_time(v) for k, v in value.items() if k not in times}
    return [_without_time(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_replays_equal_events_without_host_and_key(
    lab: Lab, wire: Wire, transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPY_TRANSPORT", transport)
    path = tmp_path / "sub" / "x.yaml"
    steps = [
        think("hm"),
        say("é\u2028 Hel", "lo\r\n", " \x7f\u0085 😀"),
        tool("c1", "f", '{"x":', "1}"),
    ]
    lab.play(wire.scene(*steps, stop="tool"))
    with cassette(path):
        recorded = events_of(wire, wire.base(lab), api_key=KEY)
    assert len(lab.seen) == 1
    lab.leave()
    content = path.read_bytes()
    assert KEY.encode() not in content
    with cassette(path):
        assert events_of(wire, wire.base(lab)) == recorded
    with cassette(path, "none", timing=True):
        assert events_of(wire, wire.base(lab)) == recorded
    assert path.read_bytes() == content


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_secrets_of_prompt_and_answer_are_masked(lab: Lab, wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    lab.play(wire.scene(say(f"You sent {KEY}!")))
    with cassette(path):
        complete(wire.model, f"my key is {KEY}", api_base=wire.base(lab), api_key=KEY)
    assert KEY not in path.read_text()
    assert base64.b64encode(KEY.encode())[4:-4] not in path.read_bytes()
    lab.leave()
    with cassette(path):
        message = complete(wire.model, f"my key is {KEY}", api_base=wire.base(lab))
    mask = "*" * len(KEY) if wire is CONVERSE else "***"  # binary frames keep their length
    assert message.text == f"You sent {mask}!"


def test_no_secret_reaches_the_file(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    secrets = [KEY, "c00kie-0123456789abcdef", "org-Abcdef0123456789", "tok3n-in-the-query-string",
               "123456789012"]  # fmt: skip
    headers = {
        "Set-Cookie": f"sid={secrets[1]}; Path=/",
        "openai-organization": secrets[2],
        "x-ratelimit-remaining-requests": "7",
        "x-request-id": "req_1",
        "x-session-token": secrets[1],
    }
    body = {"error": {"message": f"No {KEY} {secrets[2]} arn:aws:iam::{secrets[4]}:user/x"}}
    lab.play(Status(401, json.dumps(body), headers))
    base = f"{lab.url}?token={secrets[3]}"
    with cassette(path):
        message = complete(
            "hosted_vllm/m", f"my key is {KEY}", api_base=base, api_key=KEY, max_retries=0,
            headers={"Cookie": f"a={secrets[1]}", "OpenAI-Organization": secrets[2]},
        )  # fmt: skip
    assert message.error is not None
    content = path.read_text()
    assert not [secret for secret in secrets if secret in content]
    assert "x-ratelimit-remaining-requests: '7'" in content
    assert "req_1" in content


def test_signature_and_credentials_of_aws_are_not_recorded(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    secrets = {
        "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "aws_session_token": "IQoJb3JpZ2luX2VjEXAMPLEtoken==",
    }
    said = "AKIAIOSFODNN7EXAMPLE of arn:aws:iam::123456789012:user/x"
    lab.play(CONVERSE.scene(say(said)))
    with cassette(path):
        extra = {**secrets, "aws_region_name": "eu-west-1"}
        message = complete(CONVERSE.model, "q", api_base=CONVERSE.base(lab), extra=extra)
        assert message.text == said
    [seen] = lab.seen
    signature = seen.headers["authorization"].rpartition("=")[2]
    content = path.read_text() + str(_responses(path))
    hidden = [*secrets.values(), signature, "123456789012", seen.headers["x-amz-date"]]
    assert not [secret for secret in hidden if secret in content]
    lab.leave()
    with cassette(path):
        message = complete(CONVERSE.model, "q", api_base=CONVERSE.base(lab))
        assert message.text == "AKIA**************** of arn:aws:iam::************:user/x"


def _responses(path: Path) -> list[bytes]:
    interactions = yaml.safe_load(path.read_text())["interactions"]
    return [base64.b64decode(entry["response"].get("base64", "")) for entry in interactions]


@pytest.mark.litellm
@pytest.mark.parametrize("model", ["azure/m", "hosted_vllm/m"])
def test_requests_that_litellm_sends(
    lab: Lab, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPY_TRANSPORT", "litellm")
    if model != "azure/m":
        monkeypatch.setattr(litellm_provider, "uncaptured", {("hosted_vllm", False)})
    path = tmp_path / "x.yaml"
    base = lab.url.removesuffix("/v1") if model == "azure/m" else lab.url
    lab.play(Status(500, "{}"), chat(text("Hel"), text("lo"), finish("stop")))
    with cassette(path):
        first = complete(model, "q", api_base=base, api_key=KEY, max_retries=1)
    assert (first.text, first.api, len(first.attempts)) == ("Hello", "litellm", 2)
    assert KEY not in path.read_text()
    lab.leave()
    with cassette(path):
        second = complete(model, "q", api_base=base, max_retries=1)
        assert (second.text, second.usage, second.attempts[0].error.kind) == (
            first.text, first.usage, first.attempts[0].error.kind,
        )  # fmt: skip
        error = complete(model, "another", api_base=base, max_retries=1).error
    assert error is not None
    assert "is not in the cassette" in error.message


@pytest.mark.parametrize(
    ("model", "wire", "api_key", "path"),
    [
        ("google-vertex/gemini-2.5-pro", GEMINI, "ya29.token-of-the-test",
         "/v1/projects/my-project-123/locations/eu"),
        ("google-vertex/claude-haiku-4-5@20251001", ANTHROPIC, "ya29.token-of-the-test",
         "/v1/projects/my-project-123/locations/eu"),
        ("azure/gpt-4o", CHAT, KEY, "/openai/deployments/d?api-version=2024-10-21"),
        ("ollama/m", OLLAMA, KEY, ""),
        ("groq/llama-3.3-70b-versatile", CHAT, KEY, "/openai/v1"),
    ],
)  # fmt: skip
def test_clouds_replay_without_credentials(
    lab: Lab, model: str, wire: Wire, api_key: str, path: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.yaml"
    base = lab.url.removesuffix("/v1") + path
    lab.play(wire.scene(say("ok")))
    with cassette(file):
        first = complete(model, "q", api_base=base, api_key=api_key)
    assert first.text == "ok"
    lab.leave()
    content = file.read_text()
    assert api_key not in content
    assert "my-project-123" not in content
    with cassette(file):
        assert complete(model, "q", api_base=base).usage == first.usage


def test_tool_loop_whose_calls_have_no_ids(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    lab.play(GEMINI.scene(tool("", "add", '{"a": 1, "b": 2}'), tool("", "add", '{"a": 3, "b": 4}'),
                          stop="tool"), GEMINI.scene(say("3 and 7")))  # fmt: skip

    def add(a: int, b: int) -> int:
        "The sum."
        return a + b

    base = GEMINI.base(lab)
    with cassette(path):
        first = run_tools(GEMINI.model, "q", [add], api_base=base, api_key=KEY)
        recorded = [_without_time(event.to_dict()) for event in first]
    lab.leave()
    with cassette(path):
        events = list(run_tools(GEMINI.model, "q", [add], api_base=base))
    assert [_without_time(event.to_dict()) for event in events] == recorded


async def test_async_requests_at_once(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    lab.always = lambda seen: chat(
        text(json.loads(seen.body)["messages"][0]["content"]), finish("stop")
    )

    async def ask_all() -> list[str]:
        requests = [acomplete("hosted_vllm/m", str(n), api_base=lab.url) for n in range(20)]
        return [message.text for message in await asyncio.gather(*requests)]

    with cassette(path):
        recorded = await ask_all()
    with cassette(path, "none"):
        assert await ask_all() == recorded == [str(n) for n in range(20)]
    assert len(lab.seen) == 20


def test_connection_that_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with Lab() as gone:
        base = gone.url
    with cassette(path):
        first = complete("hosted_vllm/m", "q", api_base=base, max_retries=0).error
    with cassette(path, "none"):
        second = complete("hosted_vllm/m", "q", api_base=base, max_retries=0).error
    assert first is not None
    assert first == second
    assert first.kind == "connection"


@given(st.text(st.characters(exclude_categories=("Cs",))), st.binary())
@settings(max_examples=100, deadline=None)
def test_every_body_survives_the_file(content: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "x.yaml")
        bodies = [content.encode(), data, f"{content}\n{content} \n\n".encode(), b"\n  x\n" + data]
        recorded = [
            Interaction({"method": "POST", "url": f"https://h/{n}", "body": content}, 200,
                        pieces=[(0.0, body[:3]), (1.5, body[3:])], complete=True)
            for n, body in enumerate(bodies)
        ]  # fmt: skip
        merge_into(path, recorded, 0, [])
        loaded = load(path)
        assert [b"".join(piece for _, piece in entry.pieces) for entry in loaded] == bodies
        assert all(b.matches(a.request) for a, b in zip(recorded, loaded, strict=True))


def test_counted_tokens_are_replayed_without_key(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    lab.play(Status(200, '{"input_tokens": 42}'))
    base = ANTHROPIC.base(lab)
    with cassette(path):
        assert count_tokens(ANTHROPIC.model, "q", api_base=base, api_key=KEY).tokens == 42
    lab.leave()
    with cassette(path):
        assert count_tokens(ANTHROPIC.model, "q", api_base=base).tokens == 42


def test_records_below_retries(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    lab.play(Status(429, "slow down", {"retry-after": "1"}), sse(*text("Hel"), FIN),
             OK)  # fmt: skip
    with cassette(path):
        first = complete("hosted_vllm/m", "q", api_base=lab.url, max_retries=3)
    lab.leave()
    started_at = time.monotonic()
    with cassette(path):
        second = complete("hosted_vllm/m", "q", api_base=lab.url, max_retries=3)
    assert time.monotonic() - started_at < 0.9  # without the second that the host asked for
    assert (first.text, first.stop_reason) == (second.text, second.stop_reason)
    assert [a.error.kind for a in first.attempts] == [a.error.kind for a in second.attempts]


def test_request_that_was_not_recorded(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    lab.play(OK, OK)
    with cassette(path):
        complete("hosted_vllm/m", "The capital of France?", api_base=lab.url)
        complete("hosted_vllm/m", "Something else", api_base=lab.url)
    with cassette(path) as replay:
        error = complete("hosted_vllm/m", "The capital of Spain?", api_base=lab.url).error
        assert error is not None
        assert error.kind == "bad_request"
        assert '-   "content": "The capital of France?"' in error.message
        assert '+   "content": "The capital of Spain?"' in error.message
        complete("hosted_vllm/m", "The capital of France?", api_base=lab.url)
        error = complete("hosted_vllm/m", "The capital of France?", api_base=lab.url).error
        assert error is not None
        assert "1 time, and was made once more" in error.message
        assert len(replay.unmatched) == 2
    assert len(lab.seen) == 2


def test_modes(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"

    def ask(mode: Any, prompt: str) -> str | None:
        with cassette(path, mode):
            message = complete("hosted_vllm/m", prompt, api_base=lab.url)
        return message.error.message if message.error else message.text

    assert "does not exist" in str(ask("none", "a"))
    lab.play(*[chat(text(name), finish("stop")) for name in "1234"])
    assert [ask("once", "a"), ask("new", "b"), ask("new", "a")] == ["1", "2", "1"]
    assert "is not in the cassette" in str(ask("once", "c"))
    assert [ask("all", "b"), ask("once", "b")] == ["3", "3"]
    assert "is not in the cassette" in str(ask("none", "a"))
    with pytest.raises(ValueError, match="mode must be"):
        cassette(path, "twice")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no list `interactions`"),
        (b"a: [", "line 1"),
        (b"\xff\xfe", "not UTF-8"),
        (b"!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        (b"version: 9\ninteractions: []", "`version` must be 1"),
        (b"version: 1\ninteractions: [7]", "interaction 1: `request` must be a mapping"),
        (
            b"version: 1\ninteractions: [{request: {method: POST, url: u}, response: {status: x}}]",
            "`status` must be a number",
        ),
        (
            b"version: 1\ninteractions: [{request: {method: POST, url: u}, "
            b"response: {status: 200, base64: '%'}}]",
            "not valid base64",
        ),
    ],
)
def test_damaged_file(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(CassetteError, match="is not a valid cassette") as caught, cassette(path):
        pass
    assert problem in str(caught.value)
    assert path.read_bytes() == content


RECORD = """
import sys
from pipy_ai import cassette, complete
with cassette(sys.argv[1], sys.argv[3]):
    print("open", flush=True)
    sys.stdin.readline()
    for number in range(20):
        complete("hosted_vllm/m", f"{number} of {sys.argv[4]}", api_base=sys.argv[2])
    complete("hosted_vllm/m", "shared", api_base=sys.argv[2])
"""


@pytest.mark.parametrize("mode", ["once", "new", "all"])
def test_two_processes_record_one_file(lab: Lab, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "x.yaml"
    lab.always = OK
    if mode != "once":
        with cassette(path):
            complete("hosted_vllm/m", "old", api_base=lab.url)
    command = [sys.executable, "-c", RECORD, str(path), lab.url, mode]
    processes = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in ("a", "b")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
    for process in processes:
        assert process.wait(60) == 0
        process.stdout.close()  # type: ignore[union-attr]
    seen = len(lab.seen)
    with cassette(path, "none") as replay:
        for prompt in [*(f"{n} of {name}" for name in "ab" for n in range(20)), "shared"]:
            complete("hosted_vllm/m", prompt, api_base=lab.url)
    assert replay.unmatched == []
    assert len(lab.seen) == seen
    assert len(yaml.safe_load(path.read_text())["interactions"]) == 41 + (mode == "new")
    assert sorted(os.listdir(tmp_path)) == ["pipy-data", "x.yaml"]
