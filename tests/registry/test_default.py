"""Test which model answers if none is named."""

from __future__ import annotations

import pytest

from pipy_ai import UncheckedErrorWarning, aquick, default_model, get_registry, quick
from pipy_ai.errors import MissingKeyError
from pipy_ai.registry.default import PREFERRED_MODELS, model_with_key

from ..support.command import pipy
from ..support.scripted_server import Lab, chat, finish, text


@pytest.mark.parametrize(
    ("variables", "model"),
    [
        ("ANTHROPIC_API_KEY OPENAI_API_KEY", "anthropic/claude-sonnet-4-5"),
        ("OPENAI_API_KEY GROQ_API_KEY", "openai/gpt-5-mini"),
        ("GEMINI_API_KEY", "google/gemini-2.5-flash"),
        ("GOOGLE_API_KEY", "google/gemini-2.5-flash"),
        ("MISTRAL_API_KEY", "mistral/mistral-medium-latest"),
        ("DEEPSEEK_API_KEY", "deepseek/deepseek-chat"),
        ("XAI_API_KEY", "xai/grok-4.3"),
        ("GROQ_API_KEY", "groq/openai/gpt-oss-120b"),
        ("OPENROUTER_API_KEY", "openrouter/anthropic/claude-sonnet-4.5"),
        ("PERPLEXITY_API_KEY", "perplexity/sonar-reasoning-pro"),
        ("MOONSHOT_API_KEY", "moonshotai/kimi-k2.6"),
        ("GITHUB_TOKEN COHERE_API_KEY", "cohere/command-a-plus-05-2026"),
        ("GITHUB_TOKEN AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION", "local/smollm2"),
        ("AZURE_API_KEY AZURE_RESOURCE_NAME CLOUDFLARE_API_TOKEN", "local/smollm2"),
        ("CLOUDFLARE_ACCOUNT_ID CLOUDFLARE_API_KEY", "local/smollm2"),
        ("", "local/smollm2"),
    ],
)
@pytest.mark.usefixtures("july")
def test_model_of_a_provider_whose_key_is_set(
    variables: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in variables.split():
        monkeypatch.setenv(name, "k")
    assert default_model() == model


def test_every_provider_with_one_key_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = get_registry().providers()
    without = []
    for provider, record in providers.items():
        variables = record.get("env") or []
        with monkeypatch.context() as patch:
            for name in variables:
                patch.setenv(name, "k")
            found, variable = model_with_key()
            assert not found or variable in variables
            without += [provider] * (not found)
    assert {"azure", "amazon-bedrock", "github-models", "gitlab"} <= {*without}
    assert len(without) < len(providers) / 4, without


def test_preferred_models_are_in_the_catalogue() -> None:
    registry = get_registry()
    for name in PREFERRED_MODELS:
        model = registry.get(name)
        assert model is not None
        assert model.status not in ("deprecated", "removed")


def test_stored_keys_count() -> None:
    assert pipy("keys", "set", "github-copilot", "--file", stdin="k").returncode == 0
    assert default_model().startswith("github-")
    shown = pipy("default")
    assert shown.stdout == f"{default_model()}\n"


def test_a_model_that_nobody_chose_is_named(lab: Lab) -> None:
    lab.always = chat(text("ok"), finish("stop"))
    done = pipy("ask", "--no-save", "--api-base", lab.url, "hi", MISTRAL_API_KEY="k")
    assert done.stdout == "ok\n"
    assert done.stderr == (
        "pipy: using mistral/mistral-medium-latest because its API key is set; pipy default "
        "MODEL sets another\n"
    )
    chosen = pipy("ask", "--no-save", "--api-base", lab.url, "hi", MISTRAL_API_KEY="k",
                  PIPY_MODEL="mistral/mistral-small-latest")  # fmt: skip
    assert (chosen.stdout, chosen.stderr) == ("ok\n", "")


def test_without_any_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for part in ("OPENAI_API_KEY", "pipy keys set", "pipy default MODEL", "pipy local pull"):
        with pytest.raises(LookupError, match=part):
            default_model()


async def test_quick_without_any_model_returns_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for message in (quick("Hi"), await aquick("Hi")):
        assert str(message).startswith("Error: missing_key: No model: set the API key")
        assert message.error is not None
        assert message.stop_reason == "error"
    with pytest.raises(MissingKeyError, match="pipy local pull"):
        quick("Hi", raise_on_error=True)
    with pytest.raises(MissingKeyError):
        await aquick("Hi", raise_on_error=True)
    with pytest.warns(UncheckedErrorWarning):
        _ = quick("Hi").text
