"""Test the choice between the direct transport and LiteLLM."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pipy_ai import ImageContent, complete, preview, user
from pipy_ai._requests import build_request
from pipy_ai.errors import MissingKeyError
from pipy_ai.provider.select import provider_for
from pipy_ai.utils.extras import install_command

from ..support.scripted_server import Lab

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.mark.parametrize(
    ("extra", "api"),
    [
        ({"service_tier": "flex"}, "openai-completions"),
        ({"drop_params": True}, "litellm"),
        ({"mock_response": "x"}, "litellm"),
    ],
)
def test_litellm_argument_selects_litellm(extra: dict[str, Any], api: str) -> None:
    from pipy_ai._requests import build_request
    from pipy_ai.provider.select import provider_for

    request = build_request("openai/gpt-4o", "q", None, {"extra": extra})
    assert provider_for(request).api == api


@pytest.mark.litellm
def test_openai_parameters_on_other_wires_use_litellm(lab: Lab) -> None:
    form = {"type": "json_object"}
    ours = preview("openai/gpt-4o", "q", extra={"response_format": form})
    assert ours.body["response_format"] == form
    theirs = preview("anthropic/claude-sonnet-4-5", "q", extra={"response_format": form})
    assert "response_format" not in theirs.body  # LiteLLM made a tool of it


def test_environment_variable_selects_the_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipy_ai._requests import build_request
    from pipy_ai.provider.select import provider_for

    monkeypatch.setenv("PIPY_TRANSPORT", "litellm")
    assert provider_for(build_request("openai/gpt-4o", "q", None, {})).api == "litellm"
    chosen = build_request("openai/gpt-4o", "q", None, {"transport": "direct"})
    assert provider_for(chosen).api == "openai-completions"
    message = complete("watsonx/granite", "q", api_key="k", transport="direct")
    assert message.error is not None
    assert "cannot reach" in message.error.message


@pytest.mark.parametrize(
    ("model", "path"),
    [("gpt-6", "responses"), ("gpt-5.7-mini", "responses"), ("gpt-5.7-chat-latest", "completions"),
     ("gpt-4.9", "completions")],
)  # fmt: skip
def test_unknown_gpt_model_uses_the_api_that_supports_tools(
    july: Any, model: str, path: str
) -> None:
    """Since GPT-5.4, Chat Completions takes no tools from reasoning models."""
    assert preview(f"openai/{model}", "q").url.endswith(path)


@pytest.mark.parametrize("word", ["api_key", "timeout", "extra_query"])
def test_further_litellm_arguments_select_litellm(word: str) -> None:
    request = build_request("openai/gpt-4o", "q", None, {"extra": {word: {}}})
    assert provider_for(request).api == "litellm"


@pytest.fixture(params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with both transports."""
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


def test_azure_works_over_both_transports(lab: Lab, transport: str) -> None:
    from ..support.scripted_server import chat, finish, text

    lab.play(chat(text("ok"), finish("stop")))
    base = lab.url.removesuffix("/v1")
    message = complete("azure/m", "q", api_base=base, api_key="k", max_retries=0)
    assert message.error is None, message.error
    api = "openai-completions" if transport == "direct" else "litellm"
    assert (message.text, message.api) == ("ok", api)


# --- Without LiteLLM ------------------------------------------------------------------------------


@pytest.fixture
def _without_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)


@pytest.mark.usefixtures("_without_litellm")
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("sagemaker/my-endpoint", {}),
        ("watsonx/ibm/granite", {}),
        ("openai/gpt-4o", {"transport": "litellm"}),
    ],
)
def test_missing_litellm_fails_at_once_and_names_the_extra(
    model: str, options: dict[str, Any], lab: Lab
) -> None:
    message = complete(model, "q", api_key="k", api_base=lab.url, max_retries=3, **options)
    error = message.error
    assert error is not None
    assert (error.kind, error.retryable) == ("missing_key", False)
    assert error.message.endswith(
        f"needs LiteLLM, which is not installed: {install_command('litellm')}"
    )
    assert not lab.seen
    assert not message.attempts


@pytest.mark.usefixtures("_without_litellm")
def test_missing_litellm_is_reported_before_a_missing_key() -> None:
    message = complete("openai/gpt-4o", "q", transport="litellm")
    assert message.error is not None
    assert "needs LiteLLM" in message.error.message


@pytest.mark.usefixtures("_without_litellm")
@pytest.mark.parametrize(
    ("model", "prompt", "options", "advice"),
    [
        (
            "openai/gpt-4o",
            "q",
            {"extra": {"mock_response": "x"}},
            "leave out 'mock_response' in extra=",
        ),
        (
            "google/gemini-2.5-flash",
            "q",
            {"extra": {"top_k": 3, "presence_penalty": 1}},
            "leave out 'presence_penalty' in extra=",
        ),
        (
            "google/gemini-2.5-flash",
            user("q", ImageContent(url="https://example.com/a.png")),
            {},
            "pass the data of files instead of URLs",
        ),
    ],
)
def test_missing_litellm_error_says_how_to_do_without(
    model: str, prompt: Any, options: dict[str, Any], advice: str
) -> None:
    message = complete(model, prompt, api_key="k", **options)
    assert message.error is not None
    assert message.error.message.endswith(f"{install_command('litellm')}, or {advice}")


@pytest.mark.usefixtures("_without_litellm")
def test_direct_transport_without_litellm_says_what_it_cannot_reach() -> None:
    message = complete("sagemaker/x", "q", api_key="k", transport="direct")
    assert message.error is not None
    assert "cannot reach" in message.error.message


@pytest.mark.usefixtures("_without_litellm")
def test_without_litellm_the_next_model_answers() -> None:
    message = complete(["sagemaker/x", "faux/echo"], "Hello")
    assert message.error is None
    assert message.provider == "faux"


@pytest.mark.usefixtures("_without_litellm")
def test_without_litellm_an_unknown_provider_is_reported_as_such() -> None:
    message = complete("nowhere-9/x", "q", api_key="k")
    assert message.error is not None
    assert message.error.kind == "not_found"
    assert message.error.message.startswith("Unknown provider.")


@pytest.mark.usefixtures("_without_litellm")
def test_preview_without_litellm() -> None:
    assert preview("openai/gpt-4o", "q").body["model"] == "gpt-4o"
    assert preview("sagemaker/x", "q").body["model"] == "sagemaker/x"  # LiteLLM's arguments
    with pytest.raises(MissingKeyError, match=r"pip install .*\[litellm\]"):
        preview("openai/gpt-4o", "q", transport="litellm")
