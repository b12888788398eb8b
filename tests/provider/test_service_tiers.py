"""Test `service_tier`: the field of each host, refusals of flex, and what a request costs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from pipy_ai import AssistantMessage, StreamOptions, budget, complete, preview
from pipy_ai.cli.main import main
from pipy_ai.utils.extras import has_extra

from ..support.scripted_server import DONE, Lab, Status, chunk, sse
from ..support.wire_formats import GEMINI, say

KEY = "key-of-the-test-0123456789"
NOVA = "amazon-bedrock/amazon.nova-pro-v1:0"
CLAUDE_ON_BEDROCK = "amazon-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
FULL = Status(
    429,
    {
        "error": {
            "message": "The model has no flex capacity at the moment. Try again later.",
            "type": "resource_unavailable",
            "param": None,
            "code": "resource_unavailable",
        }
    },
)

pytestmark = [
    pytest.mark.usefixtures("july"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project and a region."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-1")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "global")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com")


# === Requests ===============================================================================

FIELDS = [
    ("openai/gpt-5", "flex", "flex"),
    ("openai/gpt-5", "priority", "priority"),
    ("openai/gpt-5", "default", "default"),
    ("openai/responses/gpt-5", "flex", "flex"),
    ("openrouter/openai/gpt-5", "flex", "flex"),
    ("azure/gpt-5", "priority", "priority"),
    ("groq/openai/gpt-oss-120b", "flex", "flex"),
    ("groq/openai/gpt-oss-120b", "default", "on_demand"),
    ("groq/openai/gpt-oss-120b", "priority", "performance"),
    ("anthropic/claude-sonnet-4-5", "priority", "auto"),
    ("anthropic/claude-sonnet-4-5", "default", "standard_only"),
]


@pytest.mark.parametrize(("model", "tier", "sent"), FIELDS)
def test_field_of_the_host(model: str, tier: Any, sent: str) -> None:
    shown = preview(model, "q", service_tier=tier, api_key=KEY)
    assert shown.body["service_tier"] == sent
    assert shown.warnings == ()


def test_other_places() -> None:
    shown = preview("google/gemini-2.5-pro", "q", service_tier="flex")
    assert shown.body["serviceTier"] == "flex"
    shown = preview("google/gemini-2.5-pro", "q", service_tier="default")
    assert shown.body["serviceTier"] == "standard"
    shown = preview(NOVA, "q", service_tier="flex")
    assert shown.body["serviceTier"] == {"type": "flex"}
    shown = preview(CLAUDE_ON_BEDROCK, "q", service_tier="priority")
    assert shown.headers["x-amzn-bedrock-service-tier"] == "priority"
    assert "service_tier" not in shown.body
    shown = preview("google-vertex/gemini-2.5-pro", "q", service_tier="flex")
    assert shown.headers["x-vertex-ai-llm-shared-request-type"] == "flex"
    assert "serviceTier" not in shown.body
    shown = preview("google-vertex/gemini-2.5-pro", "q", service_tier="default")
    assert "x-vertex-ai-llm-shared-request-type" not in shown.headers
    assert shown.warnings == ()


WITHOUT_FLEX = """
anthropic/claude-sonnet-4-5 azure/gpt-5 azure/claude-sonnet-4-5 mistral/mistral-large-latest
google-vertex/claude-haiku-4-5@20251001 cohere/command-a-03-2025 ollama/qwen3 xai/grok-4.3
google/gemma-4-31b-it
""".split()  # noqa: SIM905


@pytest.mark.parametrize("model", WITHOUT_FLEX)
def test_tier_that_a_host_does_not_have(model: str) -> None:
    shown = preview(model, "q", service_tier="flex", api_key=KEY)
    assert not {"service_tier", "serviceTier"} & shown.body.keys()
    assert "has no service tier 'flex'" in shown.warnings[0].message
    assert shown.warnings[0].code == "option_ignored"


def test_without_the_option_nothing_is_sent() -> None:
    for model in ("openai/gpt-5", "anthropic/claude-sonnet-4-5", "google/gemini-2.5-pro", NOVA):
        assert not {"service_tier", "serviceTier"} & preview(model, "q").body.keys()


@pytest.mark.litellm
def test_litellm() -> None:
    if not has_extra("litellm"):
        pytest.skip("LiteLLM is not installed")
    shown = preview("openai/gpt-5", "q", service_tier="flex", transport="litellm")
    assert shown.body["service_tier"] == "flex"
    shown = preview("google/gemini-2.5-pro", "q", service_tier="flex", transport="litellm")
    assert "service_tier" not in shown.body
    assert "LiteLLM does not pass on service_tier" in shown.warnings[0].message


def test_invalid_tiers() -> None:
    with pytest.raises(ValidationError):
        StreamOptions(service_tier="cheap")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="service_tier"):
        preview("openai/gpt-5", "q", service_tier=["flex", "cheap"])  # type: ignore[list-item]


def test_option_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", "-m", "openai/gpt-5", "-o", "service_tier=flex", "--json", "Hi"]) == 0
    assert json.loads(capsys.readouterr().out)["body"]["service_tier"] == "flex"
    tiers = 'service_tier=["flex", "default"]'
    assert main(["preview", "-m", "openai/gpt-5", "-o", tiers, "--json", "Hi"]) == 0
    assert json.loads(capsys.readouterr().out)["body"]["service_tier"] == "flex"


# === Refusals ===============================================================================


def answer(tier: str | None, prompt: int = 10_000, completion: int = 1_000) -> Any:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    fields = {} if tier is None else {"service_tier": tier}
    return sse(
        chunk({"content": "Hi."}, **fields),
        chunk({}, finish_reason="stop", **fields),
        chunk(choices=[], usage=usage, **fields),
        DONE,
    )


def ask(lab: Lab, **options: Any) -> AssistantMessage:
    options = {"api_base": lab.url, "api_key": KEY, **options}
    message: AssistantMessage = complete("openai/gpt-5", "q", **options)
    return message


def tiers_sent(lab: Lab) -> list[Any]:
    return [seen.json.get("service_tier") for seen in lab.seen]


def test_flex_waits_for_capacity(lab: Lab) -> None:
    lab.play(FULL, answer("flex"))
    message = ask(lab, service_tier="flex")
    assert message.text == "Hi."
    assert tiers_sent(lab) == ["flex", "flex"]
    assert message.usage.service_tier == "flex"
    assert message.usage.cost.total == 0.01125  # (10_000*1.25 + 1_000*10) / 1e6 / 2


def test_flex_without_capacity_is_an_error(lab: Lab) -> None:
    lab.play(FULL)
    message = ask(lab, service_tier="flex", max_retries=0)
    assert message.error is not None
    assert (message.error.kind, message.error.retryable) == ("overloaded", True)
    assert message.usage.total_tokens == 0
    assert tiers_sent(lab) == ["flex"]


def test_next_tier_is_used_at_once(lab: Lab) -> None:
    lab.play(FULL, answer("default"))
    message = ask(lab, service_tier=["flex", "default"], max_retries=0)
    assert message.text == "Hi."
    assert tiers_sent(lab) == ["flex", "default"]
    assert message.usage.cost.total == 0.0225  # (10_000*1.25 + 1_000*10) / 1e6
    assert [attempt.error and attempt.error.kind for attempt in message.attempts or []] == [
        "overloaded", None
    ]  # fmt: skip
    [warning] = message.warnings
    assert warning.code == "service_tier_changed"
    assert warning.message == "the service tier 'flex' had no capacity; sent with 'default'"


def test_retries_are_left_for_the_last_tier(lab: Lab) -> None:
    lab.play(FULL, Status(503, "down", {"retry-after": "0"}), answer("default"))
    message = ask(lab, service_tier=["flex", "default"], max_retries=1)
    assert message.text == "Hi."
    assert tiers_sent(lab) == ["flex", "default", "default"]


def test_other_errors_keep_the_tier(lab: Lab) -> None:
    lab.play(
        Status(500, "down", {"retry-after": "0"}),
        Status(429, {"error": {"code": "rate_limit_exceeded"}}, {"retry-after": "0"}),
        answer("flex"),
    )
    message = ask(lab, service_tier=["flex", "default"])
    assert message.text == "Hi."
    assert tiers_sent(lab) == ["flex", "flex", "flex"]
    lab.seen.clear()
    lab.play(Status(401, {"error": {"code": "invalid_api_key"}}))
    message = ask(lab, service_tier=["flex", "default"])
    assert message.error is not None
    assert tiers_sent(lab) == ["flex"]


def test_the_options_of_the_caller_are_not_changed(lab: Lab) -> None:
    options = StreamOptions(service_tier=["flex", "default"], api_base=lab.url, max_retries=0)
    for _ in range(2):
        lab.play(FULL, answer("default"))
        complete("openai/gpt-5", "q", options, api_key=KEY)
    assert tiers_sent(lab) == ["flex", "default", "flex", "default"]
    assert options.service_tier == ["flex", "default"]


def test_gemini_reports_full_flex_as_a_rate_limit(lab: Lab) -> None:
    error = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Exhausted."}}
    lab.play(Status(429, error), GEMINI.scene(say("Hi.")))
    message = complete(
        "google/gemini-2.5-pro", "q", service_tier=["flex", "default"], api_base=GEMINI.base(lab),
        api_key=KEY, max_retries=0,
    )  # fmt: skip
    assert message.text == "Hi."
    assert [seen.json["serviceTier"] for seen in lab.seen] == ["flex", "standard"]


# === Bills by hand ==========================================================================
# openai/gpt-5 costs $1.25 and $10 per million tokens, 10,000 and 1,000 are sent: $0.0225.


@pytest.mark.parametrize(
    ("asked", "served", "dollars"),
    [
        (None, None, 0.0225),
        ("default", None, 0.0225),
        ("flex", None, 0.01125),  # the response names none: as requested
        ("priority", None, 0.045),
        ("flex", "default", 0.0225),
        ("priority", "default", 0.0225),
        ("flex", "flex", 0.01125),
        ("priority", "priority", 0.045),
        (None, "flex", 0.01125),
        (None, "priority", 0.045),
        ("default", "priority", 0.045),
        (["flex", "default"], None, 0.01125),
    ],
)
def test_price_is_that_of_the_tier_that_served(
    lab: Lab, asked: Any, served: str | None, dollars: float
) -> None:
    lab.play(answer(served))
    assert ask(lab, service_tier=asked).usage.cost.total == pytest.approx(dollars, abs=1e-12)


def test_ignored_tier_does_not_change_the_price(lab: Lab) -> None:
    lab.play(answer(None))
    message = complete(
        "mistral/mistral-large-latest", "q", service_tier="flex", api_base=lab.url, api_key=KEY
    )
    assert message.usage.cost.total == pytest.approx(0.0065)  # (10_000*0.5 + 1_000*1.5) / 1e6


def test_budget_reserves_the_price_of_the_tier(lab: Lab) -> None:
    prompt = "x" * 350_000  # about 100,000 tokens: $0.125, $0.0625 at flex
    lab.play(answer("flex"))
    options: dict[str, Any] = {"api_base": lab.url, "api_key": KEY, "max_retries": 0}
    with budget(usd=0.1):
        refused = complete("openai/gpt-5", prompt, **options)
        assert refused.error is not None
        assert refused.error.kind == "budget"
        assert complete("openai/gpt-5", prompt, service_tier="flex", **options).text == "Hi."
    assert tiers_sent(lab) == ["flex"]
