"""Test the log lines of requests."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from pipy_ai import complete, faux
from pipy_ai.errors import ErrorKind

from ..support.scripted_server import Lab, Status

KEY, PROMPT = "sk-never-in-a-log", "the-secret-plan"
MODEL = "hosted_vllm/m"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="pipy_ai")
    return caplog


def lines(log: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [r.getMessage() for r in log.records if r.name == "pipy_ai" and r.levelno == level]


def test_request_has_one_line(log: pytest.LogCaptureFixture) -> None:
    with faux.script(faux.reply("Hello!", faux.usage(1200, 34))):
        complete("faux/any", PROMPT)
    [line] = lines(log, logging.INFO)
    assert line.startswith("request faux/any api=faux outcome=stop duration=")
    assert line.endswith("s input=1200 output=34 cost=unknown")
    assert PROMPT not in log.text
    assert "Hello" not in log.text


def test_retry_has_a_line(log: pytest.LogCaptureFixture) -> None:
    failure = faux.error("rate_limit", f"slow down, {PROMPT}", status_code=429, retry_after=0.01)
    with faux.script(failure, "ok"):
        assert complete("faux/any", PROMPT).text == "ok"
    retry, request = lines(log, logging.INFO)
    assert retry == "retry faux/any in 0.01s after rate_limit (429)"
    assert "outcome=stop" in request
    assert PROMPT not in log.text


def test_fallback_has_a_line(log: pytest.LogCaptureFixture) -> None:
    with faux.script(faux.error("auth"), "ok"):
        assert complete(["faux/first", "faux/second"], PROMPT).text == "ok"
    assert lines(log, logging.WARNING) == ["fallback faux/first to faux/second after auth"]
    [request] = lines(log, logging.INFO)
    assert request.startswith("request faux/second ")


def test_failure_is_logged_by_kind_without_its_text(log: pytest.LogCaptureFixture) -> None:
    with Lab() as lab:
        lab.always = lambda seen: Status(401, {"error": {"message": f"not {KEY}"}})
        message = complete(MODEL, PROMPT, api_base=lab.url, api_key=KEY)
    assert message.error is not None
    assert message.error.kind is ErrorKind.AUTH
    [request] = lines(log, logging.INFO)
    assert "outcome=auth (401)" in request
    assert KEY not in log.text
    assert PROMPT not in log.text


def test_urls_are_logged_at_debug_without_credentials(log: pytest.LogCaptureFixture) -> None:
    with Lab() as lab:
        base_url = lab.url.replace("//", "//me:password-in-url@") + "?token=secret-in-query"
        assert complete(MODEL, PROMPT, api_base=base_url, api_key=KEY).error is None
        url = f"{lab.url}/chat/completions"
    assert lines(log, logging.DEBUG) == [f"HTTP POST {url}", f"HTTP POST {url}: 200"]
    for secret in ("password-in-url", "secret-in-query", KEY, PROMPT):
        assert secret not in log.text


def test_nothing_is_printed_by_default() -> None:
    code = """
from pipy_ai import complete, faux
with faux.script(faux.error("auth"), faux.error("rate_limit", retry_after=0.0), "ok"):
    assert complete(["faux/a", "faux/b"], "Hi").text == "ok"
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("", "")
