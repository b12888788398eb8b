"""Test Vertex AI: addresses, configuration errors, and conversations with its models."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    ImageContent,
    ThinkingContent,
    Tool,
    complete,
    ctx,
    preview,
    tool_result,
    user,
)
from pipy_ai.cli.main import main
from pipy_ai.provider.clouds import cloud_for
from pipy_ai.registry.catalogue import has_key
from pipy_ai.registry.registry import get_registry
from pipy_ai.registry.routing import build_route
from pipy_ai.registry.trust import is_cloud_address

from ...support.command import pipy
from ...support.scripted_server import FIN, RESET, Lab, Status, sse
from ...support.wire_formats import ANTHROPIC, CHAT, GEMINI, Counts, Wire, say, think, tool

TOKEN = "ya29.token-of-the-test-0123456789"
API_KEY = "AIzaSyKeyOfTheTest0123456789"
GEMINI_MODEL = "google-vertex/gemini-2.5-pro"
CLAUDE_MODEL = "google-vertex/claude-haiku-4-5@20251001"
LLAMA_MODEL = "google-vertex/meta/llama-3.3-70b-instruct-maas"
MISTRAL_MODEL = "vertex_ai/mistral-medium-3"
MODELS: list[tuple[str, Wire]] = [
    (GEMINI_MODEL, GEMINI),
    (CLAUDE_MODEL, ANTHROPIC),
    (LLAMA_MODEL, CHAT),
    (MISTRAL_MODEL, CHAT),
]
WEATHER = Tool(name="weather", parameters={"type": "object", "properties": {}})

pytestmark = pytest.mark.usefixtures("july")

all_models = pytest.mark.parametrize(
    ("model", "wire"), MODELS, ids=["gemini", "claude", "llama", "mistral"]
)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project and a location."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-1")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west4")


def ask(lab: Lab, model: str, question: Any = "q", **options: Any) -> AssistantMessage:
    options = {"api_base": lab.url, "api_key": TOKEN, "max_retries": 0, **options}
    message: AssistantMessage = complete(model, question, **options)
    return message


# === Addresses ==============================================================================

HOSTS = {
    "global": "https://aiplatform.googleapis.com/v1",
    "eu": "https://aiplatform.eu.rep.googleapis.com/v1",
    "us": "https://aiplatform.us.rep.googleapis.com/v1",
    "us-east5": "https://us-east5-aiplatform.googleapis.com/v1",
}


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("location", HOSTS)
def test_host_of_each_kind_of_location(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", location)
    url = preview(GEMINI_MODEL, "q").url
    place = f"/projects/project-1/locations/{location}"
    path = f"{place}/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    assert url == HOSTS[location] + path
    assert is_cloud_address(url, "google-vertex")


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    "api_base",
    [
        "https://vertex.example",
        "https://vertex.example/",
        "https://vertex.example/v1",
        "https://vertex.example\n/v1",
        "https://vertex.example/v1#top",
        "https://vertex.example/v1/projects/project-1/locations/europe-west4",
        "https://vertex.example/v1/projects/project-1/locations/europe-west4/publishers/google/",
        "https://vertex.example/v1/projects/project-1/locations/europe-west4/publishers/google"
        "/models/gemini-2.5-pro:streamGenerateContent",
        "https://vertex.example/v1/projects/project-1/locations/europe-west4/endpoints/openapi",
    ],
)
def test_address_with_and_without_its_path(api_base: str) -> None:
    root = "https://vertex.example/v1/projects/project-1/locations/europe-west4"
    paths = {
        GEMINI_MODEL: "/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        CLAUDE_MODEL: "/publishers/anthropic/models/claude-haiku-4-5@20251001:streamRawPredict",
        LLAMA_MODEL: "/endpoints/openapi/chat/completions",
    }
    for model, path in paths.items():
        assert preview(model, "q", api_base=api_base, api_key=TOKEN).url == root + path


def test_address_names_project_and_location(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take precedence over the environment."""
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west4")
    base = "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5"
    assert preview(LLAMA_MODEL, "q", api_base=base).url.startswith(f"{base}/endpoints/openapi")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    host = "https://us-east5-aiplatform.googleapis.com"
    assert preview(LLAMA_MODEL, "q", api_base=host).url.startswith(f"{base}/endpoints/openapi")
    url = preview(LLAMA_MODEL, "q", api_base="https://v.example/v1?tenant=a", api_key=TOKEN).url
    path = "/v1/projects/p/locations/europe-west4/endpoints/openapi/chat/completions"
    assert url == f"https://v.example{path}?tenant=a"


@pytest.mark.parametrize(
    ("variables", "project", "location"),
    [
        ({"GOOGLE_CLOUD_PROJECT": "a", "GOOGLE_CLOUD_LOCATION": "eu"}, "a", "eu"),
        ({"GOOGLE_VERTEX_PROJECT": "a", "GOOGLE_VERTEX_LOCATION": "eu"}, "a", "eu"),
        ({"VERTEXAI_PROJECT": "a", "VERTEXAI_LOCATION": "eu"}, "a", "eu"),
        ({"GOOGLE_CLOUD_PROJECT": "general", "GOOGLE_VERTEX_PROJECT": "a",
          "GOOGLE_CLOUD_LOCATION": "us", "VERTEXAI_LOCATION": "eu"}, "a", "eu"),
    ],
)  # fmt: skip
def test_variables_of_several_tools(
    variables: dict[str, str], project: str, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for model in (GEMINI_MODEL, CLAUDE_MODEL):
        assert f"/projects/{project}/locations/{location}/" in preview(model, "q").url
    monkeypatch.setenv("ANTHROPIC_VERTEX_PROJECT_ID", "of-anthropic")
    monkeypatch.setenv("CLOUD_ML_REGION", "us-east5")
    assert "/projects/of-anthropic/locations/us-east5/" in preview(CLAUDE_MODEL, "q").url
    assert f"/projects/{project}/locations/{location}/" in preview(GEMINI_MODEL, "q").url


def test_preview_without_configuration_names_what_is_missing() -> None:
    shown = preview(CLAUDE_MODEL, "q")
    assert "/projects/GOOGLE_CLOUD_PROJECT/locations/GOOGLE_CLOUD_LOCATION/" in shown.url
    assert [(warning.code, warning.message) for warning in shown.warnings] == [
        ("missing_variable", "GOOGLE_CLOUD_PROJECT must be set"),
        ("missing_variable", "GOOGLE_CLOUD_LOCATION must be set"),
    ]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    "model",
    [
        "vertex_ai/1234567890123456789",
        "vertex_ai/openai/1234567890123456789",
        "vertex_ai/jamba-1.5-large@001",
        "vertex_ai/text-bison",
    ],
)
def test_other_models_are_left_to_litellm(model: str) -> None:
    assert preview(model, "q").url == ""


@pytest.mark.usefixtures("place")
def test_files_that_must_be_downloaded_are_left_to_litellm() -> None:
    def url(model: str, address: str) -> str:
        return preview(model, ctx(user("q", ImageContent(url=address)))).url

    assert url(GEMINI_MODEL, "https://example.com/a.png")
    assert not url(GEMINI_MODEL, "https://example.com/picture")  # of which type?
    assert not url(CLAUDE_MODEL, "https://example.com/a.png")


@pytest.mark.usefixtures("place")
def test_litellm_gets_project_and_location() -> None:
    body = preview(GEMINI_MODEL, "q", transport="litellm").body
    assert (body["vertex_project"], body["vertex_location"]) == ("project-1", "europe-west4")


# === Keys and tokens ========================================================================


@pytest.mark.usefixtures("place")
@all_models
def test_token_as_api_key(lab: Lab, model: str, wire: Wire) -> None:
    lab.play(wire.scene(say("ok")), wire.scene(say("ok")))
    assert ask(lab, model).text == "ok"
    assert ask(lab, model, api_key=lambda: TOKEN).text == "ok"
    for seen in lab.seen:
        assert seen.headers["authorization"] == f"Bearer {TOKEN}"
        assert "x-goog-api-key" not in seen.headers


@pytest.mark.usefixtures("place")
@all_models
def test_rejected_token_is_renewed_once(lab: Lab, model: str, wire: Wire) -> None:
    tokens = iter(["ya29.expired-0123456789", "ya29.renewed-0123456789", "ya29.never"])
    error = {"error": {"code": 401, "message": "Expired.", "status": "UNAUTHENTICATED"}}
    lab.play(Status(401, error), wire.scene(say("ok")))
    assert ask(lab, model, api_key=lambda: next(tokens)).text == "ok"
    lab.play(Status(401, error), Status(401, error))
    kept = iter(["ya29.a-0123456789", "ya29.b-0123456789", "ya29.c-0123456789"])
    failed = ask(lab, model, api_key=lambda: next(kept), max_retries=3)
    assert failed.error is not None
    assert failed.error.kind == "auth"
    assert len(lab.seen) == 4


def test_express_mode_needs_no_project(lab: Lab) -> None:
    lab.play(GEMINI.scene(say("ok")))
    assert ask(lab, GEMINI_MODEL, api_key=API_KEY).text == "ok"
    assert lab.seen[0].path == "/v1/publishers/google/models/gemini-2.5-pro:streamGenerateContent"
    assert lab.seen[0].headers["x-goog-api-key"] == API_KEY
    assert "authorization" not in lab.seen[0].headers


def test_express_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    express = "https://aiplatform.googleapis.com/v1/publishers/google/models/gemini-2.5-pro:"
    monkeypatch.setenv("GOOGLE_API_KEY", API_KEY)
    assert preview(GEMINI_MODEL, "q").url.startswith(express)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-1")  # so a login is meant
    assert "project-1" in preview(GEMINI_MODEL, "q").url
    monkeypatch.setenv("GOOGLE_VERTEX_API_KEY", "AQ.Ab8-of-the-test")
    shown = preview(GEMINI_MODEL, "q")
    assert shown.url.startswith(express)
    assert shown.headers["x-goog-api-key"] == "***"
    assert "project-1" in preview(CLAUDE_MODEL, "q").url  # API keys are for Gemini only


def test_express_key_of_pipy_keys(capsys: pytest.CaptureFixture[str]) -> None:
    stored = pipy("keys", "set", "google-vertex", "--file", stdin=API_KEY)
    assert stored.stdout.startswith("GOOGLE_VERTEX_API_KEY is stored in")
    shown = preview(GEMINI_MODEL, "q")
    assert shown.url.startswith("https://aiplatform.googleapis.com/v1/publishers/google/")
    assert "x-goog-api-key" in shown.headers
    assert has_key(record())
    assert not has_key(record("google-vertex-anthropic"))
    assert report().text == "GOOGLE_VERTEX_API_KEY for Gemini"
    main(["keys", "list"])
    assert "GOOGLE_VERTEX_API_KEY" in capsys.readouterr().out
    for name in ("google-vertex-anthropic", "GOOGLE_APPLICATION_CREDENTIALS"):
        assert main(["keys", "set", name]) == 2
        assert "only environment variables can hold it" in capsys.readouterr().err


@pytest.mark.usefixtures("place")
def test_login_is_sent_to_google_only(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_VERTEX_API_KEY", API_KEY)
    for base in (lab.url, "https://storage.googleapis.com", "http://aiplatform.googleapis.com"):
        error = complete(GEMINI_MODEL, "q", api_base=base).error
        assert error is not None
        assert "are not sent to" in error.message
        assert not error.retryable
    assert not lab.seen


# === Configuration errors ===================================================================

LOGIN_HINT = (
    "run gcloud auth application-default login, set GOOGLE_APPLICATION_CREDENTIALS to a "
    "credentials file, or pass api_key="
)
LOCATION_HINT = "set GOOGLE_CLOUD_LOCATION, for example to global, eu or europe-west4"
PLACE = {"GOOGLE_CLOUD_PROJECT": "project-1", "GOOGLE_CLOUD_LOCATION": "eu"}
USER = {"type": "authorized_user", "client_id": "i", "client_secret": "s-secret-0123456789",
        "refresh_token": "1//refresh-secret-0123456789"}  # fmt: skip

# Name: variables ({file} is replaced), content of the file, options, kind and message.
CONFIGURATION_ERRORS: dict[str, tuple[dict[str, str], Any, dict[str, Any], str, str]] = {
    "nothing": (
        {}, None, {}, "missing_key",
        "Vertex AI needs a login, a project and a location: "
        f"{LOGIN_HINT}; set GOOGLE_CLOUD_PROJECT; {LOCATION_HINT}.",
    ),
    "no login": (PLACE, None, {}, "missing_key", f"Vertex AI needs a login: {LOGIN_HINT}."),
    "no project": (
        {"GOOGLE_CLOUD_LOCATION": "eu"}, None, {"api_key": TOKEN}, "missing_key",
        "Vertex AI needs a project: set GOOGLE_CLOUD_PROJECT.",
    ),
    "no location": (
        {"GOOGLE_CLOUD_PROJECT": "project-1"}, None, {"api_key": TOKEN}, "missing_key",
        f"Vertex AI needs a location: {LOCATION_HINT}.",
    ),
    "login without project and location": (
        {"GOOGLE_APPLICATION_CREDENTIALS": "{file}"}, USER, {}, "missing_key",
        f"Vertex AI needs a project and a location: set GOOGLE_CLOUD_PROJECT; {LOCATION_HINT}.",
    ),
    "two projects": (
        {**PLACE, "GOOGLE_VERTEX_PROJECT": "a", "VERTEXAI_PROJECT": "b"}, None, {}, "auth",
        "Vertex AI has two settings that differ: GOOGLE_VERTEX_PROJECT='a' and "
        "VERTEXAI_PROJECT='b'. Unset one of them.",
    ),
    "two locations": (
        {**PLACE, "GOOGLE_VERTEX_LOCATION": "eu", "VERTEXAI_LOCATION": "us"}, None,
        {"api_key": TOKEN}, "auth",
        "Vertex AI has two settings that differ: GOOGLE_VERTEX_LOCATION='eu' and "
        "VERTEXAI_LOCATION='us'. Unset one of them.",
    ),
    "location of another host": (
        {**PLACE, "GOOGLE_CLOUD_LOCATION": "evil.example/"}, None, {"api_key": TOKEN}, "auth",
        "'evil.example/' is not a Google Cloud location such as global, eu or europe-west4.",
    ),
    "invalid project": (
        {**PLACE, "GOOGLE_CLOUD_PROJECT": "My Project"}, None, {"api_key": TOKEN}, "auth",
        "'My Project' is not a Google Cloud project such as my-project-123.",
    ),
    "file does not exist": (
        {**PLACE, "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/key.json"}, None, {}, "auth",
        "GOOGLE_APPLICATION_CREDENTIALS is '/nowhere/key.json', which is not a file.",
    ),
    "file is not JSON": (
        {**PLACE, "GOOGLE_APPLICATION_CREDENTIALS": "{file}"}, b"private_key = 1", {}, "auth",
        "{file} is not a Google credentials file in JSON.",
    ),
    "file of something else": (
        {**PLACE, "GOOGLE_APPLICATION_CREDENTIALS": "{file}"}, {"private_key": "k"}, {}, "auth",
        "{file} is not a Google credentials file: its type is 'None'. Run gcloud auth "
        "application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to another file.",
    ),
    "content instead of a path": (
        {**PLACE, "GOOGLE_APPLICATION_CREDENTIALS": json.dumps(USER)}, None, {}, "auth",
        "GOOGLE_APPLICATION_CREDENTIALS contains a credentials file: set it to the path of the "
        "file.",
    ),
    "content as key": (
        PLACE, None, {"api_key": json.dumps(USER)}, "auth",
        "api_key= contains a credentials file: set GOOGLE_APPLICATION_CREDENTIALS to its path "
        "instead.",
    ),
    "API key for Claude": (
        PLACE, None, {"api_key": API_KEY, "model": CLAUDE_MODEL}, "auth",
        "Vertex AI accepts API keys for Gemini only: for claude-haiku-4-5@20251001, pass an access "
        "token as api_key=, or run gcloud auth application-default login.",
    ),
    "address of another host, and a key of another cloud": (
        PLACE, None,
        {"api_base": "https://vertex.example", "extra": {"aws_secret_access_key": "k"}},
        "bad_request",
        "The credentials of google-vertex are not sent to vertex.example, which is not one of its "
        "addresses: pass api_key=.",
    ),
    "address of another host": (
        PLACE, None, {"api_base": "https://vertex.example"}, "bad_request",
        "The credentials of google-vertex are not sent to vertex.example, which is not one of its "
        "addresses: pass api_key=.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGURATION_ERRORS)
def test_configuration_errors(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent (`conftest.py` blocks it), retried or revealed."""
    variables, content, options, kind, text = CONFIGURATION_ERRORS[case]
    file = tmp_path / "key.json"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("{file}", str(file)))
    model = options.get("model", GEMINI_MODEL)
    options = {name: value for name, value in options.items() if name != "model"}
    message = complete(model, "q", **options)
    error = message.error
    assert error is not None
    assert (error.kind, error.message) == (kind, text.replace("{file}", str(file)))
    assert not error.retryable
    assert not message.attempts


def test_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is in the error, and a plain token works without it."""
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if "google" in name else find(name))
    for name, value in PLACE.items():
        monkeypatch.setenv(name, value)
    error = complete(GEMINI_MODEL, "q").error
    assert error is not None
    install = "pip install 'pipy-ai[vertex]'"
    text = f"Vertex AI needs a login and google-auth: {LOGIN_HINT}; {install}."
    assert (error.kind, error.message) == ("missing_key", text)
    file = tmp_path / "user.json"
    file.write_text(json.dumps(USER))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    error = complete(GEMINI_MODEL, "q").error
    assert error is not None
    text = f"Vertex AI needs google-auth: {install}."
    assert (error.kind, error.message, error.retryable) == ("missing_key", text, False)
    with Lab() as lab:
        lab.play(GEMINI.scene(say("ok")))
        assert ask(lab, GEMINI_MODEL).text == "ok"


# === Responses ==============================================================================


@pytest.mark.usefixtures("place")
def test_claude_gets_its_thinking_back(lab: Lab) -> None:
    """A request without it is a 400: "Expected `thinking`, but found `tool_use`"."""
    lab.play(
        ANTHROPIC.scene(think("Look.", signature="sig"), tool("c1", "weather", "{}"), stop="tool"),
        ANTHROPIC.scene(say("Snow.")),
    )
    conversation = ctx(user("Weather?"), tools=[WEATHER])
    first = ask(lab, CLAUDE_MODEL, conversation, reasoning="high")
    assert first.api == "anthropic-messages"
    conversation.messages += [first, tool_result(first.tool_calls[0], "snow")]
    assert ask(lab, CLAUDE_MODEL, conversation, reasoning="high").text == "Snow."
    body = lab.seen[1].json
    assert body["thinking"]["type"] == "enabled"
    thought = {"type": "thinking", "thinking": "Look.", "signature": "sig"}
    assert body["messages"][1]["content"][0] == thought


@pytest.mark.usefixtures("place")
def test_gemini_gets_its_signatures_back(lab: Lab) -> None:
    model = "google-vertex/gemini-3-flash-preview"
    lab.play(
        GEMINI.scene(tool("", "weather", "{}", signature="c2ln"), stop="tool"),
        GEMINI.scene(say("Snow.")),
    )
    conversation = ctx(user("Weather?"), tools=[WEATHER])
    first = ask(lab, model, conversation)
    conversation.messages += [first, tool_result(first.tool_calls[0], "snow")]
    assert ask(lab, model, conversation).text == "Snow."
    assert lab.seen[1].json["contents"][1]["parts"][0]["thoughtSignature"] == "c2ln"


@pytest.mark.usefixtures("place")
@all_models
@pytest.mark.parametrize("end", [None, FIN, RESET], ids=["end", "close", "reset"])
@pytest.mark.parametrize(
    "step", [say("Hel"), tool("c1", "weather", '{"city":')], ids=["text", "call"]
)
def test_cut_stream_is_an_error(lab: Lab, model: str, wire: Wire, end: Any, step: Any) -> None:
    if step.kind == "tool" and wire is GEMINI:
        step = tool("c1", "weather", "{}")
    lab.play(wire.scene(*([step] if end is None else [step, end]), stop=None))
    message = ask(lab, model, ctx(user("q"), tools=[WEATHER]))
    assert message.error is not None
    assert message.error.kind in ("incomplete", "connection")
    assert not message.tool_calls or message.stop_reason == "error"


@pytest.mark.usefixtures("place")
@all_models
def test_successes_that_are_errors(lab: Lab, model: str, wire: Wire) -> None:
    quota = {"error": {"code": 429, "message": "Out of quota.", "status": "RESOURCE_EXHAUSTED"}}
    bodies: list[tuple[Any, set[str]]] = [
        ("", {"incomplete", "server"}),
        ("<html><title>Sign in</title></html>", {"server", "bad_request", "connection"}),
        (quota, {"rate_limit"}),
        ([quota], {"rate_limit"}),
        ("{}", {"incomplete", "server"}),
    ]
    for body, kinds in bodies:
        lab.play(Status(200, body))
        message = ask(lab, model)
        assert message.error is not None, body
        assert message.error.kind in kinds, (body, message.error)


@pytest.mark.usefixtures("place")
@all_models
def test_error_in_a_list(lab: Lab, model: str, wire: Wire) -> None:
    """The OpenAI-compatible endpoint, and Gemini's without `alt=sse`, send errors like this."""
    denied = {"code": 403, "message": "Permission 'aiplatform.endpoints.predict' denied on "
              "resource", "status": "PERMISSION_DENIED"}  # fmt: skip
    lab.play(Status(403, [{"error": denied}]))
    error = ask(lab, model).error
    assert error is not None
    assert (error.kind, error.message, error.status_code) == ("auth", denied["message"], 403)


@pytest.mark.usefixtures("place")
def test_chunks_without_counts_role_and_candidates(lab: Lab) -> None:
    """Between the first and the last chunk, usage is only the traffic type."""
    on_demand = {"trafficType": "ON_DEMAND_PRIORITY"}
    counts = {"promptTokenCount": 100, "cachedContentTokenCount": 80, "candidatesTokenCount": 7,
              "thoughtsTokenCount": 3, **on_demand}  # fmt: skip
    lab.play(
        sse(
            {"usageMetadata": {**counts, "candidatesTokenCount": 1}, "createTime": "2026-11-29"},
            {"candidates": [{"content": {"parts": [{"text": "Hel"}]}}], "usageMetadata": on_demand},
            {"candidates": [{"content": {"role": "model", "parts": [{"text": "lo"}]}}]},
            {"candidates": [{"finishReason": "STOP", "content": {}}], "usageMetadata": counts},
            {"usageMetadata": on_demand},
        )
    )
    message = ask(lab, GEMINI_MODEL)
    assert (message.text, message.error) == ("Hello", None)
    usage = message.usage
    assert (usage.input, usage.cache_read, usage.output, usage.reasoning) == (20, 80, 10, 3)
    assert usage.service_tier == "ON_DEMAND_PRIORITY"


def piece(path: str, more: bool = True, **value: Any) -> dict[str, Any]:
    return {"partialArgs": [{"jsonPath": path, **value}], "willContinue": more}


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("end", [[{}], [{"willContinue": False, "partialArgs": []}], []])
def test_streamed_arguments(lab: Lab, end: list[Any]) -> None:
    """`streamFunctionCallArguments` of Vertex AI, which a caller can set in `extra`."""
    calls = [
        {"name": "weather", "id": "f1", "willContinue": True},
        piece("$.cities[0].name", stringValue="Be", willContinue=True),
        piece("$.cities[0].name", stringValue="rn"),
        piece("$.cities[1].name", stringValue="Zürich"),
        piece("$.days", numberValue=3),
        piece("$['with snow']", boolValue=True),
        piece("$.unit", nullValue="NULL_VALUE"),
        *end,
        {"name": "weather", "args": {"days": 1}},
    ]
    parts = [{"candidates": [{"content": {"parts": [{"functionCall": one}]}}]} for one in calls]
    lab.play(sse(*parts, {"candidates": [{"finishReason": "STOP"}]}))
    config = {"functionCallingConfig": {"streamFunctionCallArguments": True}}
    message = ask(lab, GEMINI_MODEL, ctx(user("q"), tools=[WEATHER]), extra={"toolConfig": config})
    assert lab.seen[0].json["toolConfig"] == config
    assert message.error is None
    first, second = message.tool_calls
    assert (first.id, first.arguments_error) == ("f1", None)
    cities = [{"name": "Bern"}, {"name": "Zürich"}]
    assert first.arguments == {"cities": cities, "days": 3, "with snow": True, "unit": None}
    assert second.arguments == {"days": 1}


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("path", ["", "$", "cities", "$.a[5]", "$..a", "$.a[x]", 7, "$.a.b"])
def test_streamed_arguments_without_a_place(lab: Lab, path: Any) -> None:
    calls = [{"name": "weather", "willContinue": True}, piece("$.a", numberValue=1),
             piece(path, stringValue="x")]  # fmt: skip
    parts = [{"candidates": [{"content": {"parts": [{"functionCall": one}]}}]} for one in calls]
    lab.play(sse(*parts, {"candidates": [{"finishReason": "STOP"}]}))
    message = ask(lab, GEMINI_MODEL, ctx(user("q"), tools=[WEATHER]))
    assert message.error is not None
    assert message.error.kind == "server"


@pytest.mark.usefixtures("place")
@all_models
def test_answers_as_of_the_apis_own_vendor(lab: Lab, model: str, wire: Wire) -> None:
    counts = Counts(input=20, output=9)
    steps = [say("Hel", "lo"), tool("c1", "weather", "{}")]
    lab.play(wire.scene(*steps, stop="tool", counts=counts))
    lab.play(wire.scene(*steps, stop="tool", counts=counts))
    context = ctx(user("q"), tools=[WEATHER])
    vertex = ask(lab, model, context)
    vendor = ask(lab, wire.model, context, api_base=wire.base(lab), api_key="sk-of-the-test")
    assert vertex.error is None
    assert vertex.api == vendor.api == wire.api
    assert vertex.content[0] == vendor.content[0]
    assert vertex.tool_calls[0].arguments == vendor.tool_calls[0].arguments
    assert (vertex.usage.input, vertex.usage.output) == (20, 9)


@pytest.mark.usefixtures("place")
def test_thinking_of_open_models(lab: Lab) -> None:
    """DeepSeek's thinking arrives in text between tags at hosts that do not split it."""
    lab.play(CHAT.scene(say("<think>hm</think>ok")))
    message = ask(lab, "google-vertex/zai-org/glm-5-maas")
    assert message.text == "ok"
    assert isinstance(message.content[0], ThinkingContent)


# === What the commands know =================================================================


def record(provider: str = "google-vertex") -> Any:
    return get_registry().provider_record(provider)


def test_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    route = build_route(record(), "")
    assert route.missing_variables() == ["GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"]
    assert not has_key(record())
    monkeypatch.setenv("CLOUD_ML_REGION", "us-east5")
    assert route.missing_variables() == ["GOOGLE_CLOUD_PROJECT"]
    file = tmp_path / "gcloud" / "application_default_credentials.json"  # see `conftest.py`
    file.parent.mkdir()
    file.write_text(json.dumps({**USER, "quota_project_id": "p"}))
    assert route.missing_variables() == []
    assert has_key(record())
    assert has_key(record("google-vertex-anthropic"))
    file.unlink()
    monkeypatch.delenv("CLOUD_ML_REGION")
    monkeypatch.setenv("GOOGLE_VERTEX_API_KEY", API_KEY)
    assert has_key(record())
    assert not has_key(record("google-vertex-anthropic"))


def report() -> Any:
    cloud = cloud_for("vertex_ai")
    assert cloud is not None
    return asyncio.run(cloud.report())


def test_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert report() is None
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-1")
    found = report()
    assert found.status == "missing"
    assert found.text == "GOOGLE_CLOUD_PROJECT=project-1; Vertex AI needs a login and a location"
    assert found.advice == f"{LOGIN_HINT}; {LOCATION_HINT}."
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"type": "service_account", "project_id": "p", "private_key": "k"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "eu")
    found = report()
    text = f"service account key in {file}, GOOGLE_CLOUD_PROJECT=project-1, "
    assert (found.status, found.text) == ("ok", f"{text}GOOGLE_CLOUD_LOCATION=eu")
    monkeypatch.setenv("VERTEXAI_LOCATION", "us")
    monkeypatch.setenv("GOOGLE_VERTEX_LOCATION", "eu")
    found = report()
    assert found.status == "failed"
    assert "VERTEXAI_LOCATION='us'" in found.text
