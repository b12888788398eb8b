"""Test the line below a provider's error: who sent it, where the key came from, what may help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipy_ai import AssistantMessage
from pipy_ai.cli.display.error_advice import error_advice
from pipy_ai.errors import ErrorKind, error_info
from pipy_ai.failures import UNKNOWN_PROVIDER_MESSAGE

from ..support.command import pipy
from ..support.scripted_server import Lab, Status

KEY = "sk-loopback-0123456789"
OPENAI = ("-m", "openai/gpt-4.1-mini", "--no-save", "-o", "max_retries=0")
WRONG_KEY = Status(401, {"error": {"message": "Incorrect API key provided.", "code": "x"}})


def ask_openai(lab: Lab, *arguments: str, stdin: str | None = None, **env: str) -> str:
    """Return what a request to OpenAI, at a loopback address, prints on stderr."""
    done = pipy(*arguments, stdin=stdin, OPENAI_BASE_URL=lab.url, **env)
    assert KEY not in done.stdout + done.stderr
    return done.stderr


def test_rejected_key_of_the_environment(lab: Lab) -> None:
    lab.always = WRONG_KEY
    expected = (
        "pipy: Incorrect API key provided.\n"
        "pipy: openai rejected the key from OPENAI_API_KEY; check it, or unset it and run"
        " pipy keys set openai\n"
    )
    assert ask_openai(lab, "ask", *OPENAI, "hi", OPENAI_API_KEY=KEY) == expected
    chat = ("chat", *OPENAI)
    assert ask_openai(lab, *chat, stdin="hi\n", OPENAI_API_KEY=KEY) == expected


def test_rejected_key_of_pipy_keys(lab: Lab, tmp_path: Path) -> None:
    lab.always = WRONG_KEY
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    keys = data / "keys.json"
    keys.touch(mode=0o600)
    keys.write_text(json.dumps({"OPENAI_API_KEY": KEY}))
    stderr = ask_openai(lab, "ask", *OPENAI, "hi", PIPY_DATA_DIR=str(data), OPENAI_API_KEY="")
    assert stderr.endswith(
        "pipy: openai rejected the key stored for OPENAI_API_KEY; replace it with"
        " pipy keys set openai\n"
    )


def test_request_without_a_key(lab: Lab) -> None:
    lab.always = WRONG_KEY
    to = ("--no-save", "--api-base", lab.url)
    done = pipy("ask", "-m", "hosted_vllm/m", *to, "hi")
    assert done.stderr.endswith(
        "pipy: hosted_vllm rejected the request, which had no API key; set HOSTED_VLLM_API_KEY, or"
        " run pipy keys set hosted_vllm\n"
    )
    done = pipy("ask", "-m", "openai/gpt-4.1-mini", *to, "hi", OPENAI_API_KEY=KEY)
    assert done.stderr.endswith(
        "pipy: openai rejected the request, which had no API key: OPENAI_API_KEY is only sent to"
        " openai; for a server of your own, use -m hosted_vllm/MODEL and HOSTED_VLLM_API_KEY\n"
    )


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            403,
            {"message": "Not allowed."},
            "openai denied access to gpt-4.1-mini with the key from OPENAI_API_KEY; check the"
            " permissions and the region of that account",
        ),
        (
            429,
            {"message": "You exceeded your current quota.", "code": "insufficient_quota"},
            "openai reports no credit or quota left for the key from OPENAI_API_KEY; check the"
            " billing of that account, or use another model with -m",
        ),
        (
            429,
            {"message": "Rate limit reached. Please try again in 20s."},
            "openai limits the rate of requests with the key from OPENAI_API_KEY; wait 20 s, or"
            " name another model with --fallback",
        ),
        (
            404,
            {"message": "The model does not exist.", "code": "model_not_found"},
            "openai found no model 'gpt-4.1-mini' at this address; pipy models --provider openai"
            " lists its models",
        ),
        (
            400,
            {"message": "Too long.", "code": "context_length_exceeded"},
            "the prompt exceeds the context window of 1,047,576 tokens of openai/gpt-4.1-mini;"
            " shorten it, or use a model with a larger one (pipy models --min-context N)",
        ),
        (
            503,
            {"message": "The engine is overloaded."},
            "openai is overloaded; try again later, or name another model with --fallback",
        ),
        (
            400,
            {"message": "Blocked.", "code": "content_policy_violation"},
            "openai blocked the prompt; rephrase it, or use another model with -m",
        ),
    ],
)
def test_advice_by_kind(status: int, body: dict[str, str], expected: str, lab: Lab) -> None:
    lab.always = Status(status, {"error": body})
    asked = ("ask", *OPENAI, "-o", "max_retry_delay_ms=0", "hi")
    first, *rest = ask_openai(lab, *asked, OPENAI_API_KEY=KEY).splitlines()
    assert first.startswith(f"pipy: {body['message']}")
    assert rest == [f"pipy: {expected}"]


def test_limits_without_an_api_key_name_no_key(lab: Lab) -> None:
    lab.always = Status(429, {"error": {"message": "Slow down."}}, {"retry-after": "3"})
    done = pipy("ask", "-m", "hosted_vllm/m", "--api-base", lab.url, "-o", "max_retries=0", "hi")
    assert "hosted_vllm limits the rate of requests; wait 3 s" in done.stderr


def test_unreachable_server() -> None:
    to = ("-m", "hosted_vllm/m", "--no-save", "-o", "max_retries=0")
    done = pipy("ask", *to, "--api-base", "http://127.0.0.1:9/v1", "hi")
    first, second = done.stderr.splitlines()
    assert first.startswith("pipy: 127.0.0.1:9 ")
    assert second == (
        "pipy: hosted_vllm did not answer; check the network and --api-base, or run"
        " pipy doctor --online"
    )


def test_misspelled_provider() -> None:
    error = error_info(ErrorKind.NOT_FOUND, UNKNOWN_PROVIDER_MESSAGE)
    message = AssistantMessage(provider="antropic", model="claude", error=error)
    assert error_advice(message) == "unknown provider 'antropic'; did you mean anthropic?"
    message.provider = "xyzzy"
    assert error_advice(message) == ""


def test_errors_that_say_what_to_do_have_no_second_line() -> None:
    for kind in (ErrorKind.MISSING_KEY, ErrorKind.BUDGET, ErrorKind.CONTENT_FILTER):
        message = AssistantMessage(provider="openai", model="m", error=error_info(kind, "text"))
        assert error_advice(message) == ""
    message = AssistantMessage(
        provider="google-vertex", model="gemini-2.5-pro",
        error=error_info(ErrorKind.AUTH, "Two settings differ."),
    )  # fmt: skip
    assert error_advice(message) == ""  # the cloud was not asked
    assert error_advice(AssistantMessage()) == ""


def test_registered_provider_and_router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rejected = error_info(ErrorKind.AUTH, "no", status_code=401)
    message = AssistantMessage(provider="faux", model="m", error=rejected)
    assert error_advice(message) == "faux rejected the request; check its credentials"
    message = AssistantMessage(provider="amazon-bedrock", model="m", error=rejected)
    assert error_advice(message) == (
        "amazon-bedrock rejected your cloud credentials; check them with pipy doctor"
    )
    monkeypatch.setenv("PIPY_DATA_DIR", str(tmp_path))
    entry = {"model_name": "fast", "litellm_params": {"model": "openai/gpt-4.1-mini"}}
    (tmp_path / "router.yaml").write_text(json.dumps({"model_list": [entry]}))
    message = AssistantMessage(provider="openai", model="gpt-4.1-mini", error=rejected)
    assert error_advice(message) == (
        "openai rejected the key in the Router's configuration; check that file"
    )
