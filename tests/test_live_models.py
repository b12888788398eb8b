"""Test `list_live_models` and `pipy models --live`: each API's list, its pages, and failures."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pipy_ai import LiveModel, PipyError, alist_live_models, list_live_models
from pipy_ai.cli.main import main
from pipy_ai.errors import AuthenticationError, BadRequestError, MissingKeyError, ServerError

from .support.scripted_server import STALL, Lab, Status

KEY = "key-of-the-test-0123456789"

pytestmark = pytest.mark.usefixtures("july")


def ok(body: Any) -> Status:
    return Status(200, body)


def listed(lab: Lab, provider: str, base: str = "") -> dict[str, LiveModel]:
    models = list_live_models(provider, api_key=KEY, api_base=base or lab.url)
    assert [model.name for model in models] == sorted(model.name for model in models)
    return {model.name: model for model in models}


def statuses(models: dict[str, LiveModel], *names: str) -> list[str]:
    return [models[name].status for name in names]


# === The list of each API ===================================================================


def test_openai(lab: Lab) -> None:
    data = [
        {"id": "gpt-5", "object": "model", "created": 1754425777, "owned_by": "system"},
        {"id": "gpt-5-2025-08-07", "object": "model", "created": 1754075360},
        {"id": "gpt-99", "object": "model", "created": 0},
    ]
    lab.play(ok({"object": "list", "data": data}))
    models = listed(lab, "openai")
    [seen] = lab.seen
    assert (seen.method, seen.target) == ("GET", "/v1/models")
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body == b""
    assert models["openai/gpt-5"] == LiveModel("openai/gpt-5", "both", "openai/gpt-5", "2025-08-05")
    dated = models["openai/gpt-5-2025-08-07"]
    assert (dated.status, dated.listed_as) == ("both", "openai/gpt-5")
    assert models["openai/gpt-99"] == LiveModel("openai/gpt-99", "new")
    assert models["openai/gpt-99"].model is None
    assert models["openai/gpt-5"].raw["owned_by"] == "system"
    assert statuses(models, "openai/gpt-4o", "openai/o3") == ["missing", "missing"]
    known = models["openai/gpt-4o"].model
    assert known is not None
    assert known.cost.input == 2.5


def test_anthropic_with_pages(lab: Lab) -> None:
    first = {"id": "claude-sonnet-4-5-20250929", "created_at": "2025-09-29T00:00:00Z"}
    first |= {"max_input_tokens": 200_000, "max_tokens": 64_000, "type": "model"}
    lab.play(
        ok({"data": [first], "has_more": True, "last_id": first["id"]}),
        ok({"data": [{"id": "claude-next"}], "has_more": False, "last_id": "claude-next"}),
    )
    models = listed(lab, "anthropic")
    assert [seen.target for seen in lab.seen] == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=claude-sonnet-4-5-20250929",
    ]
    assert lab.seen[0].headers["x-api-key"] == KEY
    assert lab.seen[0].headers["anthropic-version"] == "2023-06-01"
    model = models["anthropic/claude-sonnet-4-5-20250929"]
    assert (model.status, model.created) == ("both", "2025-09-29")
    assert (model.context, model.output) == (200_000, 64_000)
    assert models["anthropic/claude-next"].status == "new"
    alias, older = "anthropic/claude-sonnet-4-5", "anthropic/claude-opus-4-5"
    assert statuses(models, alias, older) == ["both", "missing"]


def test_gemini_with_pages(lab: Lab) -> None:
    first = {"name": "models/gemini-2.5-pro", "inputTokenLimit": 1048576, "outputTokenLimit": 65536}
    lab.play(
        ok({"models": [first], "nextPageToken": "p/2="}),
        ok({"models": [{"name": "models/gemini-9"}]}),
    )
    models = listed(lab, "google")
    assert [seen.target for seen in lab.seen] == [
        "/v1/models?pageSize=1000",
        "/v1/models?pageSize=1000&pageToken=p%2F2%3D",
    ]
    assert lab.seen[0].headers["x-goog-api-key"] == KEY
    assert models["google/gemini-2.5-pro"].context == 1048576
    assert statuses(models, "google/gemini-2.5-pro", "google/gemini-9") == ["both", "new"]


def test_cohere_with_pages(lab: Lab) -> None:
    first = {"name": "command-a-03-2025", "context_length": 288000, "endpoints": ["chat"]}
    lab.play(ok({"models": [first], "next_page_token": "t"}), ok({"models": []}))
    models = listed(lab, "cohere", lab.url.removesuffix("/v1"))
    assert [seen.target for seen in lab.seen] == [
        "/v1/models?page_size=1000",
        "/v1/models?page_size=1000&page_token=t",
    ]
    assert models["cohere/command-a-03-2025"].context == 288000


def test_bedrock_with_inference_profiles(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    profile = {"inferenceProfileId": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"}
    lab.play(
        ok({"modelSummaries": [{"modelId": "amazon.nova-pro-v1:0"}]}),
        ok({"inferenceProfileSummaries": [profile], "nextToken": "n"}),
        ok({"inferenceProfileSummaries": []}),
    )
    models = listed(lab, "amazon-bedrock", lab.url.removesuffix("/v1"))
    assert [seen.target for seen in lab.seen] == [
        "/foundation-models",
        "/inference-profiles?maxResults=1000",
        "/inference-profiles?maxResults=1000&nextToken=n",
    ]
    names = ("amazon.nova-pro-v1:0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    assert statuses(models, *(f"amazon-bedrock/{name}" for name in names)) == ["both", "both"]


def test_ollama_and_a_server_without_a_catalogue(lab: Lab) -> None:
    lab.play(ok({"models": [{"name": "qwen3:4b", "modified_at": "2026-01-02T03:04:05Z"}]}))
    models = listed(lab, "ollama", lab.url.removesuffix("/v1"))
    assert lab.seen[-1].target == "/api/tags"
    assert models["ollama/qwen3:4b"].created == "2026-01-02"
    lab.play(ok({"data": [{"id": "my/model", "max_model_len": 4096}]}))
    models = listed(lab, "hosted_vllm")
    assert models == {
        "hosted_vllm/my/model": LiveModel("hosted_vllm/my/model", "new", context=4096)
    }


def test_list_without_an_envelope(lab: Lab) -> None:
    lab.play(ok([{"id": "moonshotai/Kimi-K2.6", "context_length": 262144}, "noise", {"id": 7}]))
    models = listed(lab, "togetherai")
    assert models["togetherai/moonshotai/Kimi-K2.6"].status == "both"
    assert [model.status for model in models.values() if model.raw] == ["both"]


def test_next_api_if_the_first_has_no_list(lab: Lab) -> None:
    """OpenCode's models have several APIs."""
    lab.play(Status(404, "no"), ok({"data": [{"id": "claude-sonnet-4-5"}]}))
    models = listed(lab, "opencode")
    assert models["opencode/claude-sonnet-4-5"].status == "both"
    assert len({seen.target for seen in lab.seen}) == 2


# === Failures ===============================================================================


def test_errors(lab: Lab) -> None:
    with pytest.raises(MissingKeyError):
        list_live_models("openai")
    with pytest.raises(ValueError, match="unknown provider 'opnai'; did you mean openai"):
        list_live_models("opnai")
    lab.play(Status(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}))
    with pytest.raises(AuthenticationError) as caught:
        listed(lab, "mistral")
    assert KEY not in str(caught.value)
    for body in ({"object": "list"}, {"data": "many"}, "<html>"):
        lab.play(ok(body))
        with pytest.raises(PipyError):
            listed(lab, "mistral")


def test_endless_list(lab: Lab) -> None:
    lab.always = lambda seen: ok({"data": [{"id": "m"}], "has_more": True, "last_id": "m"})
    with pytest.raises(ServerError, match="more than 100 pages"):
        listed(lab, "mistral")
    assert len(lab.seen) == 100


def test_timeout(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipy_ai.live_models.TIMEOUT_S", 0.1)
    lab.play([STALL])
    with pytest.raises(PipyError, match=r"within 0\.1 s"):
        listed(lab, "mistral")
    assert lab.seen[0].left.wait(30)


@pytest.mark.parametrize("provider", ["azure", "google-vertex"])
def test_provider_without_a_list(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com")
    with pytest.raises(BadRequestError, match=f"{provider} has no list of models"):
        list_live_models(provider, api_key=KEY)


def test_async_version(lab: Lab) -> None:
    lab.play(ok({"data": [{"id": "m"}]}))
    models = asyncio.run(alist_live_models("hosted_vllm", api_base=lab.url))
    assert models == [LiveModel("hosted_vllm/m", "new")]


# === `pipy models --live` ===================================================================


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(["models", *arguments]) == code
    done = capsys.readouterr()
    return done.out, done.err


def test_command(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", lab.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    body = {"data": [{"id": "claude-sonnet-4-5"}, {"id": "claude-next"}], "has_more": False}
    lab.always = lambda seen: ok(body)
    out, _ = run(capsys, "--live", "anthropic")
    assert out.splitlines() == ["anthropic/claude-next", "anthropic/claude-sonnet-4-5"]
    out, _ = run(capsys, "--live", "anthropic", "--json", "sonnet", "4-5")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["anthropic/claude-sonnet-4-5"]["status"] == "both"
    assert rows["anthropic/claude-sonnet-4-5-20250929"]["status"] == "missing"
    assert "anthropic/claude-next" not in rows
    _, err = run(capsys, "--live", "openai", code=1)
    assert "OPENAI_API_KEY" in err
    _, err = run(capsys, "--live", "opnai", code=2)
    assert "did you mean openai" in err
