"""Test Amazon Bedrock: APIs of its models, addresses, credentials and signatures."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pipy_ai import (
    AssistantMessage,
    ErrorInfo,
    Tool,
    acomplete,
    complete,
    ctx,
    preview,
    reload_registry,
    stream,
    user,
)
from pipy_ai.provider.clouds import aws_login
from pipy_ai.provider.clouds.bedrock import CLOUD
from pipy_ai.registry import keystore
from pipy_ai.utils.extras import install_command

from ...support.event_grammar import check_events
from ...support.event_stream import frame
from ...support.scenarios import CASES, shape
from ...support.scripted_server import Lab, Scene, Seen, Status
from ...support.wire_formats import ANTHROPIC, CONVERSE, Counts, redacted, say, think, tool

NOVA = "amazon-bedrock/amazon.nova-pro-v1:0"
CLAUDE = "amazon-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
BEARER = "bedrock-api-key-that-does-not-expire-0123"
ACCESS, SECRET, TOKEN = (
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG+bPxRfiCY",
    "IQoJb3JpZ2luX2VjE",
)
VARIABLES = (
    "AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_BEDROCK_RUNTIME_ENDPOINT", "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "ANTHROPIC_BEDROCK_BASE_URL",
)  # fmt: skip


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, july: Path) -> Path:
    """No credentials but those of the test; the directory of AWS's files."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("PIPY_TRANSPORT", "direct")
    monkeypatch.setattr(aws_login, "MACHINE_VENDOR", tmp_path / "no machine of Amazon")
    aws_login.forget_sessions()
    return tmp_path


@pytest.fixture
def runtime(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The laboratory in place of AWS's server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", lab.url.removesuffix("/v1"))
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    return lab


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def invoked(*steps: Any, stop: str = "stop", counts: Counts | None = None) -> Scene:
    """Return a response of InvokeModel for Claude."""
    events = ANTHROPIC.events(steps, stop, counts or Counts())
    return [
        frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "ab"})
        for event in events
    ]


def failure(message: AssistantMessage) -> ErrorInfo:
    assert message.error is not None
    assert not message.error.retryable
    assert SECRET not in message.model_dump_json()
    return message.error


def verified(seen: Seen, service: str = "bedrock", region: str = "eu-central-1") -> bool:
    """Return whether botocore signs the request that arrived in the same way."""
    given = seen.headers["authorization"]
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert all(name in names for name in seen.headers if name.startswith("x-amz-"))
    url = f"http://{seen.headers['host']}{seen.target}"
    headers = {name: seen.headers[name] for name in names if name != "host"}
    request = AWSRequest("POST", url, headers=headers, data=seen.body)
    request.context["timestamp"] = seen.headers["x-amz-date"]
    signer = SigV4Auth(Credentials(ACCESS, SECRET, seen.headers.get("x-amz-security-token")),
                       service, region)  # fmt: skip
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return given.endswith(f"Signature={signer.signature(text, request)}")


# --- APIs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "api", "path"),
    [
        (NOVA, "bedrock-converse", "/model/amazon.nova-pro-v1%3A0/converse-stream"),
        (
            CLAUDE,
            "anthropic-messages",
            "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream",
        ),
        (
            "bedrock/converse/eu.anthropic.claude-sonnet-4-6",
            "bedrock-converse",
            "/model/eu.anthropic.claude-sonnet-4-6/converse-stream",
        ),
        (
            "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-6",
            "anthropic-messages",
            "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2F"
            "eu.anthropic.claude-sonnet-4-6/invoke-with-response-stream",
        ),
        (
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3",
            "bedrock-converse",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3A"
            "application-inference-profile%2Fa1b2c3/converse-stream",
        ),
    ],
)
def test_api_and_path_of_a_model(runtime: Lab, model: str, api: str, path: str) -> None:
    is_claude = api == ANTHROPIC.api
    runtime.play(invoked(say("ok")) if is_claude else CONVERSE.scene(say("ok")))
    message = complete(model, "q", api_key=BEARER)
    assert (message.text, message.error, message.api) == ("ok", None, api)
    assert runtime.seen[0].target == path


def test_inference_profile_with_a_base_model(runtime: Lab, july: Path) -> None:
    arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3"
    record = {"base_model": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"}
    (july / "overrides.json").write_text(json.dumps({f"amazon-bedrock/{arn}": record}))
    reload_registry()
    runtime.play(invoked(say("ok")))
    message = complete(arn, "q", api_key=BEARER, reasoning="low")
    assert (message.text, message.api, message.warnings) == ("ok", "anthropic-messages", [])
    assert message.usage.cost.total
    assert runtime.seen[0].target.startswith(f"/model/{quote(arn, safe='')}/invoke")
    assert runtime.seen[0].json["thinking"] == {"type": "enabled", "budget_tokens": 2048}


def test_claude_has_the_body_of_invoke_model(runtime: Lab) -> None:
    runtime.play(invoked(say("ok")))
    look = Tool(name="look", parameters={"type": "object", "properties": {}})
    headers = {"anthropic-beta": "context-1m-2025-08-07"}
    complete(CLAUDE, ctx("q", tools=[look]), api_key=BEARER, headers=headers, reasoning="low")
    body = runtime.seen[0].json
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    betas = ["interleaved-thinking-2025-05-14", "context-1m-2025-08-07"]
    assert sorted(body["anthropic_beta"]) == sorted(betas)
    assert not {"model", "stream"} & body.keys()
    assert "anthropic-version" not in runtime.seen[0].headers
    assert body["messages"][0]["content"][0]["text"] == "q"


def test_converse_fields_of_claude_use_converse(runtime: Lab) -> None:
    runtime.play(CONVERSE.scene(say("ok")))
    guardrail = {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    complete(CLAUDE, "q", api_key=BEARER, extra={"guardrailConfig": guardrail})
    assert runtime.seen[0].json["guardrailConfig"] == guardrail


def test_thinking_of_claude_is_sent_back(runtime: Lab) -> None:
    """After a turn with thinking and calls, Claude requires it."""
    steps = [think("hm", signature="c2ln"), redacted("b3BhcXVl"), tool("c1", "look", "{}")]
    look = Tool(name="look", parameters={"type": "object", "properties": {}})
    for model, scene, kind in (
        (CLAUDE, invoked, "thinking"),
        (f"bedrock/converse/{CLAUDE.partition('/')[2]}", CONVERSE.scene, "reasoningContent"),
    ):
        runtime.play(scene(*steps, stop="tool"), scene(say("ok")))
        context = ctx("q", tools=[look])
        first = complete(model, context, api_key=BEARER, reasoning="low")
        assert shape(first) == [{"think": "hm"}, {"redacted": "b3BhcXVl"}, ("look", {})]
        context.messages.append(first)
        complete(model, context, api_key=BEARER, reasoning="low")
        turn = runtime.seen[-1].json["messages"][1]["content"]
        assert "c2ln" in json.dumps(turn[0])
        assert "b3BhcXVl" in json.dumps(turn[1])
        assert kind in json.dumps(turn[0])


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("amazon-bedrock/openai.gpt-5.5", "/openai/v1/responses"),
        ("amazon-bedrock/openai.gpt-oss-120b", "/v1/responses"),
    ],
)
def test_models_of_mantle_use_their_listed_api(
    monkeypatch: pytest.MonkeyPatch, model: str, path: str
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    shown = preview(model, "q")
    assert shown.url == f"https://bedrock-mantle.us-west-2.api.aws{path}"
    assert shown.headers["authorization"] == "***"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gpt-oss-120b", "/openai/v1/chat/completions"),
        ("anthropic.claude-opus-4-7", "/anthropic/v1/messages"),
    ],
)
def test_address_of_mantle_without_its_path(model: str, path: str) -> None:
    base = "https://bedrock-mantle.us-east-1.api.aws"
    other = "/openai/v1" if "claude" in model else "/anthropic/v1/messages"
    for address in (base, f"{base}/", f"{base}{other}"):
        assert preview(f"amazon-bedrock/{model}", "q", api_base=address).url == base + path


@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize(
    "extra",
    [
        {"aws_secret_access_key": None, "aws_access_key_id": " "},
        {"aws_bearer_token_bedrock": ""},
        {"vertex_credentials": "of another cloud"},
    ],
    ids=["blank", "empty", "other cloud"],
)
def test_key_of_the_environment_is_not_sent_elsewhere(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, transport: str, extra: dict[str, Any]
) -> None:
    monkeypatch.setenv("PIPY_TRANSPORT", transport)
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    error = failure(complete(NOVA, "q", api_base=lab.url, extra=extra))
    assert error.message.startswith("The credentials of amazon-bedrock are not sent to 127.0.0.1")
    assert not lab.seen


def test_address_of_mantle_selects_its_apis() -> None:
    base = "https://bedrock-mantle.us-east-1.api.aws"
    shown = preview(CLAUDE, "q", api_base=f"{base}/anthropic")
    assert shown.url == f"{base}/anthropic/v1/messages"
    assert preview(NOVA, "q", api_base=f"{base}/v1").url == f"{base}/v1/chat/completions"


def test_roles_in_extra_are_left_to_litellm() -> None:
    assert preview(NOVA, "q", extra={"aws_role_name": "r"}).url == ""
    assert preview(NOVA, "q", extra={"aws_profile_name": "p"}).url


# --- Addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "model", "url"),
    [
        ({"AWS_REGION": "us-east-1"}, NOVA, "https://bedrock-runtime.us-east-1.amazonaws.com"),
        (
            {"AWS_DEFAULT_REGION": "ap-south-1"},
            CLAUDE,
            "https://bedrock-runtime.ap-south-1.amazonaws.com",
        ),
        (
            {"AWS_REGION": "us-east-1"},
            "bedrock/eu-west-3/amazon.nova-pro-v1:0",
            "https://bedrock-runtime.eu-west-3.amazonaws.com",
        ),
        (
            {"AWS_REGION": "us-east-1"},
            "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3",
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
        ),
        ({"AWS_ENDPOINT_URL": "http://gw:8000/a/"}, NOVA, "http://gw:8000/a"),
        ({"AWS_BEDROCK_RUNTIME_ENDPOINT": "http://gw"}, NOVA, "http://gw"),
        (
            {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://one", "AWS_ENDPOINT_URL": "http://two"},
            NOVA,
            "http://one",
        ),
        ({"ANTHROPIC_BEDROCK_BASE_URL": "http://gw"}, CLAUDE, "http://gw"),
        (
            {"ANTHROPIC_BEDROCK_BASE_URL": "http://gw", "AWS_REGION": "us-east-1"},
            NOVA,
            "https://bedrock-runtime.us-east-1.amazonaws.com",
        ),
        (
            {
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
                "AWS_ENDPOINT_URL": "http://gw",
                "AWS_REGION": "us-gov-west-1",
            },
            NOVA,
            "https://bedrock-runtime.us-gov-west-1.amazonaws.com",
        ),
    ],
)
def test_address(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], model: str, url: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert preview(model, "q").url.partition("/model/")[0] == url


def test_address_typed_with_its_path() -> None:
    base = "https://bedrock-runtime.us-east-1.amazonaws.com"
    paths = ("", "/", "/model", "/model/x/converse-stream", "/openai/v1", "#top")
    for typed in map(base.__add__, paths):
        shown = preview(NOVA, "q", api_base=typed)
        assert shown.url == f"{base}/model/amazon.nova-pro-v1%3A0/converse-stream"


def test_region_of_the_profile(aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = "[default]\nregion = eu-north-1\n[profile dev]\nregion=sa-east-1\n"
    (aws / "config").write_text(config)
    assert "bedrock-runtime.eu-north-1." in preview(NOVA, "q").url
    monkeypatch.setenv("AWS_PROFILE", "dev")
    assert "bedrock-runtime.sa-east-1." in preview(NOVA, "q").url
    shown = preview(NOVA, "q", extra={"aws_profile_name": "default"})
    assert "bedrock-runtime.eu-north-1." in shown.url
    assert "aws_profile_name" not in shown.body


def test_text_that_is_no_region_is_rejected(keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "Frankfurt!")
    error = failure(complete(NOVA, "q"))
    assert error.kind == "bad_request"
    assert error.message.startswith("'Frankfurt!' is not an AWS region like us-east-1: set AWS_")


def test_missing_region_is_not_guessed(
    lab: Lab, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in (NOVA, CLAUDE):
        error = failure(complete(model, "q"))
        assert error.kind == "missing_key"
        assert "No AWS region is set" in error.message
        assert "AWS_REGION" in error.message
        assert "credentials" not in error.message
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = failure(complete(NOVA, "q"))
    assert "There are no AWS credentials either. Set AWS_BEARER_TOKEN_BEDROCK" in error.message
    [warning] = preview(NOVA, "q").warnings
    assert warning.code == "missing_variable"


# --- Credentials ----------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize("model", [NOVA, CLAUDE])
def test_request_is_signed(
    runtime: Lab, keys: None, monkeypatch: pytest.MonkeyPatch, model: str, token: str
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    runtime.play((invoked if model == CLAUDE else CONVERSE.scene)(say("Zürich")))
    message = complete(model, "Grüße 😀", headers={"X-Amzn-Bedrock-Trace": "ENABLED"})
    assert message.text == "Zürich", message.error
    [seen] = runtime.seen
    assert verified(seen)
    assert seen.headers.get("x-amz-security-token", "") == token
    assert SECRET not in str(seen.headers)


def test_every_attempt_is_signed_anew(runtime: Lab, keys: None) -> None:
    retry = {"retry-after-ms": "1"}
    busy = Status(429, {"message": "Too many requests"}, retry)
    payloads: list[Any] = []

    def change(body: dict[str, Any]) -> dict[str, Any]:
        payloads.append(body)
        return {**body, "requestMetadata": {"attempt": str(len(payloads))}}

    runtime.play(busy, busy, CONVERSE.scene(say("ok")))
    message = complete(NOVA, "q", max_retries=3, on_payload=change)
    assert message.text == "ok"
    assert len({seen.headers["authorization"] for seen in runtime.seen}) == 3
    assert all(map(verified, runtime.seen))


def test_api_key_precedes_access_key(
    runtime: Lab, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    runtime.play(*[CONVERSE.scene(say("ok"))] * 3)
    complete(NOVA, "q")
    complete(NOVA, "q", api_key="of-the-caller-0123456789")
    complete(NOVA, "q", api_key=lambda: "of-a-function-0123456789")
    sent = [seen.headers["authorization"] for seen in runtime.seen]
    assert sent == [
        f"Bearer {BEARER}", "Bearer of-the-caller-0123456789", "Bearer of-a-function-0123456789"
    ]  # fmt: skip
    assert "x-amz-date" not in runtime.seen[0].headers


def test_access_key_of_the_caller(runtime: Lab) -> None:
    extra = {"aws_access_key_id": ACCESS, "aws_secret_access_key": SECRET,
             "aws_session_token": TOKEN, "aws_region_name": "us-west-2"}  # fmt: skip
    runtime.play(CONVERSE.scene(say("ok")))
    assert complete(NOVA, "q", extra=extra).text == "ok"
    assert verified(runtime.seen[0], region="us-west-2")
    assert not any(name.startswith("aws_") for name in runtime.seen[0].json)


def test_profile_is_read_by_botocore(
    runtime: Lab, aws: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = f"aws_access_key_id={ACCESS}\naws_secret_access_key={SECRET}\n"
    (aws / "credentials").write_text(f"[default]\n{login}[dev]\n{login}aws_session_token={TOKEN}\n")
    runtime.play(*[CONVERSE.scene(say("ok"))] * 4)
    assert complete(NOVA, "q").text == "ok"
    assert complete(NOVA, "q", extra={"aws_profile_name": "dev"}).text == "ok"
    monkeypatch.setenv("AWS_PROFILE", "dev")
    assert complete(NOVA, "q").text == "ok"
    assert all(map(verified, runtime.seen))
    tokens = [seen.headers.get("x-amz-security-token") for seen in runtime.seen]
    assert tokens == [None, TOKEN, TOKEN]
    # A login that another program renews.
    (aws / "credentials").write_text(f"[dev]\n{login}aws_session_token=renewed\n")
    os.utime(aws / "credentials", (1, 1))
    assert complete(NOVA, "q").text == "ok"
    assert runtime.seen[3].headers["x-amz-security-token"] == "renewed"


def test_access_key_that_expires_during_a_batch(runtime: Lab, aws: Path) -> None:
    """Another program writes new keys into the file; that is read when AWS rejects the old one."""

    def write(token: str) -> None:
        login = f"aws_access_key_id={ACCESS}\naws_secret_access_key={SECRET}\n"
        (aws / "credentials").write_text(f"[default]\n{login}aws_session_token={token}\n")

    expired = {"message": "The security token included in the request is expired"}

    def reject(seen: Seen) -> Status:
        write("token-2-of-the-profile")
        return Status(403, expired, {"x-amzn-errortype": "ExpiredTokenException"})

    write("token-1-of-the-profile")
    runtime.play(reject, CONVERSE.scene(say("ok")), reject, reject)
    assert complete(NOVA, "q", max_retries=0).text == "ok"
    tokens = [seen.headers["x-amz-security-token"] for seen in runtime.seen]
    assert tokens == ["token-1-of-the-profile", "token-2-of-the-profile"]
    assert "aws sso login" in failure(complete(NOVA, "q", max_retries=5)).message
    assert len(runtime.seen) == 4


async def test_requests_that_start_together_share_a_login(
    runtime: Lab, aws: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each login starts a process, or asks a server."""
    expiry = datetime.now(UTC) + timedelta(hours=1)
    keys = {
        "Version": 1, "AccessKeyId": ACCESS, "SecretAccessKey": SECRET, "SessionToken": TOKEN,
        "Expiration": f"{expiry:%Y-%m-%dT%H:%M:%SZ}",
    }  # fmt: skip
    log = aws / "log"
    script = f"open({str(log)!r}, 'a').write('x')\nprint({json.dumps(keys)!r})"
    (aws / "process.py").write_text(script)
    command = f'"{sys.executable}" "{aws / "process.py"}"'
    (aws / "config").write_text(f"[profile tool]\ncredential_process = {command}\n")
    monkeypatch.setenv("AWS_PROFILE", "tool")
    runtime.play(*[CONVERSE.scene(say("ok"))] * 10)
    answers = await asyncio.gather(*(acomplete(NOVA, "q") for _ in range(10)))
    assert {message.text for message in answers} == {"ok"}
    assert log.read_text() == "x"


@pytest.mark.usefixtures("keys")
def test_authorization_of_the_caller_replaces_the_signature(runtime: Lab) -> None:
    runtime.play(CONVERSE.scene(say("ok")))
    headers = {"Authorization": "Bearer of-the-gateway"}
    assert complete(NOVA, "q", headers=headers).text == "ok"
    [seen] = runtime.seen
    assert seen.headers["authorization"] == "Bearer of-the-gateway"
    assert not [name for name in seen.headers if name.startswith("x-amz-")]


def test_secret_in_the_error_of_a_credential_process_is_not_shown(
    runtime: Lab, aws: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"import sys; sys.exit('cannot use {SECRET}')"
    (aws / "process.py").write_text(script)
    command = f'"{sys.executable}" "{aws / "process.py"}"'
    (aws / "config").write_text(f"[profile tool]\ncredential_process = {command}\n")
    monkeypatch.setenv("AWS_PROFILE", "tool")
    message = failure(complete(NOVA, "q")).message
    assert message.startswith("The AWS credentials of the profile 'tool' cannot be used: Error")
    assert "cannot use ***" in message
    assert not runtime.seen


def test_stored_api_key(runtime: Lab) -> None:
    keystore.set_key("AWS_BEARER_TOKEN_BEDROCK", BEARER, in_keyring=False)
    runtime.play(CONVERSE.scene(say("ok")))
    assert complete(NOVA, "q").text == "ok"
    assert runtime.seen[0].headers["authorization"] == f"Bearer {BEARER}"


@pytest.mark.parametrize(
    ("environment", "status", "text"),
    [
        ({"AWS_REGION": "us-east-1", "AWS_BEARER_TOKEN_BEDROCK": BEARER}, "ok",
         "API key from AWS_BEARER_TOKEN_BEDROCK, region us-east-1"),
        ({"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET},
         "ok", "access key from AWS_ACCESS_KEY_ID, region us-east-1"),
        ({"AWS_BEARER_TOKEN_BEDROCK": BEARER}, "missing", "but no region"),
        ({"AWS_ACCESS_KEY_ID": ACCESS}, "missing", "but not AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "nobody"}, "missing", "'nobody' does not exist"),
        ({}, None, None),
    ],
)  # fmt: skip
async def test_report(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], status: Any, text: Any
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    report = await CLOUD.report()
    assert (report and report.status) == status
    assert report is None or text in report.text
    assert report is None or SECRET not in str(report)


async def test_report_says_until_when_a_key_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", expiring(1))
    report = await CLOUD.report()
    assert report is not None
    assert "valid until 20" in report.text
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", expiring(-1))
    report = await CLOUD.report()
    assert report is not None
    assert (report.status, "expired on" in report.text) == ("failed", True)


def expiring(hours: float) -> str:
    """Return a short-term API key that expires in some hours."""
    signed_at = datetime.now(UTC) + timedelta(hours=hours - 12)
    url = (
        "bedrock.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Credential={ACCESS}&X-Amz-Date={signed_at:%Y%m%dT%H%M%SZ}&X-Amz-Expires=43200"
        "&Version=1"
    )
    return f"bedrock-api-key-{base64.b64encode(url.encode()).decode()}"


def test_expired_api_key_is_reported_before_any_request(
    runtime: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.play(*[CONVERSE.scene(say("ok"))] * 2)
    for hours in (1, -1 / 30):  # clocks may differ by some minutes
        assert complete(NOVA, "q", api_key=expiring(hours)).text == "ok"
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", expiring(-1))
    error = failure(complete(NOVA, "q"))
    assert error.kind == "auth"
    assert "The Bedrock API key from AWS_BEARER_TOKEN_BEDROCK expired on" in error.message
    assert "by this computer's clock" in error.message
    assert len(runtime.seen) == 2


MISTAKES: dict[str, tuple[dict[str, str], dict[str, Any], str, str]] = {
    "nothing": ({}, {}, "missing_key", "Set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and"),
    "half a key": (
        {"AWS_ACCESS_KEY_ID": ACCESS}, {}, "missing_key", "not AWS_SECRET_ACCESS_KEY"
    ),
    "the other half": (
        {"AWS_SECRET_ACCESS_KEY": SECRET}, {}, "missing_key", "not AWS_ACCESS_KEY_ID"
    ),
    "half a key in extra": (
        {}, {"extra": {"aws_access_key_id": ACCESS}}, "auth", "aws_secret_access_key is missing"
    ),
    "two kinds": (
        {},
        {"api_key": BEARER,
         "extra": {"aws_access_key_id": ACCESS, "aws_secret_access_key": SECRET}},
        "auth",
        "Two kinds of AWS credentials were given: api_key= and extra.aws_access_key_id",
    ),
    "two kinds, one in the environment": (
        {"AWS_BEARER_TOKEN_BEDROCK": BEARER},
        {"extra": {"aws_access_key_id": ACCESS, "aws_secret_access_key": SECRET}},
        "auth",
        "and the variable AWS_BEARER_TOKEN_BEDROCK",
    ),
    "an unknown profile": (
        {"AWS_PROFILE": "nobody"}, {}, "missing_key", "The AWS profile 'nobody' does not exist"
    ),
    "an unknown profile in extra": (
        {}, {"extra": {"aws_profile_name": "x"}}, "missing_key", "`aws configure --profile x`"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_reported_before_any_request(
    runtime: Lab, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    environment, options, kind, text = MISTAKES[name]
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    error = failure(complete(NOVA, "q", max_retries=5, **options))
    assert (error.kind, text in error.message) == (kind, True), error.message
    assert not runtime.seen


def test_sso_session_that_has_ended(runtime: Lab, aws: Path) -> None:
    (aws / "config").write_text(
        "[profile work]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Dev\n"
        "[sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.awsapps.com/start\n"
    )
    error = failure(complete(NOVA, "q", extra={"aws_profile_name": "work"}))
    assert error.kind == "auth"
    assert "`aws sso login --profile work`" in error.message
    assert not runtime.seen


def test_profile_without_botocore(runtime: Lab, aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    monkeypatch.setattr(aws_login, "is_installed", lambda module: False)
    (aws / "credentials").write_text(f"[default]\naws_access_key_id={ACCESS}\n")
    error = failure(complete(NOVA, "q"))
    assert error.kind == "missing_key"
    assert install_command("aws") in error.message


def test_nothing_of_aws_is_imported_for_keys_of_the_environment(runtime: Lab, keys: None) -> None:
    code = f"""
import sys
from pipy_ai import complete
message = complete({NOVA!r}, "q")
assert message.text == "ok", message.error
assert not any(name.split(".")[0] in ("botocore", "boto3", "litellm") for name in sys.modules)
"""
    runtime.play(CONVERSE.scene(say("ok")))
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# --- Errors of the service ------------------------------------------------------------------


ERRORS: list[tuple[int, str, str, str, str]] = [
    (403, "InvalidSignatureException:http://internal.amazon.com/coral/",
     "Signature expired: 20261130T010203Z is now earlier than 20261130T011203Z", "auth", "clock"),
    (403, "SignatureDoesNotMatch", "The request signature we calculated does not match the "
     "signature you provided.", "auth", "clock"),
    (403, "ExpiredTokenException", "The security token included in the request is expired",
     "auth", "aws sso login"),
    (403, "UnrecognizedClientException", "The security token included in the request is invalid.",
     "auth", "AWS_ACCESS_KEY_ID"),
    (403, "AccessDeniedException", "You don't have access to the model with the specified model "
     "ID.", "auth", "You don't have access"),
    (404, "ResourceNotFoundException", "Could not resolve the foundation model", "not_found", ""),
    (400, "ValidationException", "Input is too long for requested model.", "context_overflow", ""),
    (400, "ValidationException", "The provided model identifier is invalid.", "not_found", ""),
    (400, "ValidationException", "1 validation error detected", "bad_request", ""),
    (400, "ServiceQuotaExceededException", "Quota exceeded", "quota", ""),
    (429, "ThrottlingException", "Too many tokens, please wait before trying again.",
     "rate_limit", ""),
    (429, "ModelNotReadyException", "Model is not ready for inference.", "overloaded", ""),
    (503, "ServiceUnavailableException", "busy", "overloaded", ""),
    (408, "ModelTimeoutException", "slow", "timeout", ""),
    (424, "ModelErrorException", "The model failed", "server", ""),
    (500, "InternalServerException", "oops", "server", ""),
]  # fmt: skip


def test_wrong_clock_is_measured(runtime: Lab, keys: None) -> None:
    for minutes, direction in ((17, "slow"), (-17, "fast")):
        date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
        headers = {"x-amzn-errortype": "InvalidSignatureException", "date": date}
        runtime.play(Status(403, {"message": "Signature expired"}, headers))
        error = failure(complete(NOVA, "q", max_retries=5))
        assert error.kind == "auth"
        assert error.message.endswith(f"This computer's clock is 17 minutes {direction}: set it.")


def test_model_that_needs_an_inference_profile(runtime: Lab) -> None:
    text = "Invocation of model ID x with on-demand throughput isn't supported. Retry your request."
    runtime.play(Status(400, {"message": text}, {"x-amzn-errortype": "ValidationException"}))
    error = failure(complete(NOVA, "q", api_key=BEARER))
    assert "Put a geographic prefix before the model's id" in error.message


@pytest.mark.parametrize(
    ("status", "name", "text", "kind", "advice"), ERRORS, ids=lambda value: str(value)[:30]
)
def test_error_response(
    runtime: Lab, status: int, name: str, text: str, kind: str, advice: str
) -> None:
    headers = {"x-amzn-errortype": name, "x-amzn-requestid": "req-1"}
    runtime.play(Status(status, {"message": text}, headers))
    error = complete(NOVA, "q", api_key=BEARER, max_retries=0).error
    assert error is not None
    assert (error.kind, error.status_code, error.request_id) == (kind, status, "req-1")
    assert text.rstrip(".") in error.message
    assert advice in error.message


EXCEPTIONS = [
    ("internalServerException", "server"), ("modelStreamErrorException", "server"),
    ("validationException", "bad_request"), ("throttlingException", "rate_limit"),
    ("serviceUnavailableException", "overloaded"), ("modelTimeoutException", "timeout"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), EXCEPTIONS)
@pytest.mark.parametrize("model", [NOVA, CLAUDE])
def test_exception_after_content(runtime: Lab, model: str, name: str, kind: str) -> None:
    scene = invoked(say("half")) if model == CLAUDE else CONVERSE.scene(say("half"))
    end = -3 if model == CLAUDE else -2  # before the stop
    runtime.play([*scene[:end], frame(name, {"message": "It broke."}, "exception")])
    message = check_events(list(stream(model, "q", api_key=BEARER, max_retries=0)))
    assert message.text == "half"
    assert message.error is not None
    assert (message.error.kind, message.error.message) == (kind, "It broke.")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.on(ANTHROPIC)])
def test_scenarios_of_claude(runtime: Lab, name: str) -> None:
    case = CASES[name]
    runtime.play(invoked(*case.steps, stop=case.stop))
    message = check_events(list(stream(CLAUDE, "q", api_key=BEARER)))
    assert (shape(message), message.stop_reason) == (case.content, case.reason)
    assert message.response_id == "msg_1"


@pytest.mark.parametrize("percent", range(5, 100, 5))
def test_truncated_response_of_claude_is_an_error(runtime: Lab, percent: int) -> None:
    scene = invoked(say(*(f"word{number} " for number in range(20))))
    whole = b"".join(scene[:-2])  # without the end
    runtime.play([whole[: len(whole) * percent // 100]])
    message = check_events(list(stream(CLAUDE, "q", api_key=BEARER, max_retries=0)))
    assert message.error is not None
    assert message.error.kind == "incomplete"
    assert "".join(f"word{number} " for number in range(20)).startswith(message.text)


def pieces(whole: bytes) -> Iterator[list[bytes]]:
    for size in (1, 7, 100, len(whole)):
        yield [whole[start : start + size] for start in range(0, len(whole), size)]


def test_claude_is_read_alike_however_its_frames_are_split(runtime: Lab) -> None:
    steps = [
        think("h", "m", signature="c2ln"),
        say("Zür", "ich 😀"),
        tool("c1", "f", '{"x":', "1}"),
    ]
    for scene in pieces(b"".join(invoked(*steps, stop="tool", counts=Counts(9, 8, 7, 6)))):
        runtime.play(scene)
        message = complete(CLAUDE, user("q"), api_key=BEARER)
        assert shape(message) == [{"think": "hm"}, "Zürich 😀", ("f", {"x": 1})]
        usage = message.usage
        assert (usage.input, usage.output, usage.cache_read, usage.cache_write) == (9, 8, 7, 6)
        assert message.response_model == "m"
