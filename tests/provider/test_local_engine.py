"""Test the embedded model's engine: missing files, the queue and forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import complete, ctx, quick, stream, user
from pipy_ai.context import assistant
from pipy_ai.provider.local import DEMO_MODEL_NOTICE, LlamaEngine
from pipy_ai.utils.extras import install_command

pytestmark = [
    pytest.mark.usefixtures("weights"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


PROMPT = "What is 2+2?"


def test_image_is_omitted_with_a_warning() -> None:
    from pipy_ai import ImageContent

    message = complete(
        "local/smollm2",
        ctx(user("Say hi", ImageContent(data="aGk=", mime_type="image/png")), assistant("x"), "hi"),
        max_tokens=3,
        api_key="unused",
    )
    codes = {warning.code for warning in message.warnings}
    assert codes == {"demo_model", "image_omitted", "option_ignored"}


@pytest.mark.parametrize("model", ["local/nothing.gguf", "local/no-such-model"])
def test_missing_file(model: str) -> None:
    message = complete(model, "Hi")
    assert message.error is not None
    assert message.error.kind == "not_found"
    assert model.removeprefix("local/") in message.error.message


def test_invalid_model_file(tmp_path: Path) -> None:
    junk, broken = tmp_path / "junk.gguf", tmp_path / "broken.gguf"
    junk.write_bytes(b"not a model")
    broken.write_bytes(b"GGUF" + bytes(100))
    for path in (junk, broken):
        message = complete(f"local/{path}", "Hi")
        assert message.error is not None
        assert message.error.kind == "bad_request"
        assert str(path) in message.error.message


def test_any_gguf_file_works(weights: Path) -> None:
    message = complete(f"local/{weights}", PROMPT, max_tokens=10)
    assert message.error is None, message.error
    assert message.text


def test_missing_system_library_is_named(tmp_path: Path) -> None:
    missing = "libgomp.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "xllamacpp.py").write_text(f"raise ImportError({missing!r})")
    (tmp_path / "any.gguf").write_bytes(b"GGUF" + bytes(100))
    done = subprocess.run(
        [sys.executable, "-m", "pipy_ai", "ask", "-m", f"local/{tmp_path}/any.gguf", "Hi"],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert missing in done.stderr
    assert "apt install libgomp1" in done.stderr


def test_missing_weights_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPY_DATA_DIR", str(tmp_path / "empty"))
    monkeypatch.setattr("pipy_ai.utils.weights.WEIGHTS_PACKAGE", "no_such_package")
    message = complete("local/smollm2", "Hi")
    assert message.error is not None
    assert "pipy local pull" in message.error.message


def test_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = complete("local/smollm2", "Hi")
    assert message.error is not None
    assert message.error.kind == "missing_key"
    assert message.error.message.endswith(install_command("local"))


def test_demo_notice() -> None:
    assert "demo" in DEMO_MODEL_NOTICE
    assert "demo model" in DEMO_MODEL_NOTICE


def test_demo_model_is_a_warning_and_nothing_is_printed(
    weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        message = complete("local/smollm2", "Hi", max_tokens=1)
        [warning] = message.warnings
        assert (warning.code, warning.message) == ("demo_model", DEMO_MODEL_NOTICE)
    assert capfd.readouterr() == ("", "")


def test_long_prompt_can_be_aborted(weights: Path) -> None:
    s = stream("local/smollm2", "word " * 3000)
    for event in s:
        if event.type == "start":  # it is reading the prompt
            s.abort()
    assert s.result().stop_reason == "aborted"
    began = time.process_time()  # of llama.cpp's threads, too
    assert complete("local/smollm2", PROMPT, max_tokens=3).text
    assert time.process_time() - began < 15  # the whole prompt takes 50


def _asking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pipy-ai-local"]


def test_aborted_request_in_the_queue_never_starts(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    run = LlamaEngine.run

    def counted(self: LlamaEngine, server: Any, body: Any, *how: Any) -> None:
        begun.append(body["messages"][0]["content"])
        run(self, server, body, *how)

    monkeypatch.setattr(LlamaEngine, "run", counted)
    with stream("local/smollm2", "first", max_tokens=3000, extra={"ignore_eos": True}) as first:
        assert next(iter(first)).type == "start"
        waiting = [stream("local/smollm2", f"waits {number}") for number in range(5)]
        deadline = time.monotonic() + 10
        while len(_asking()) < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
        for one in waiting:
            one.abort()
            assert one.result().stop_reason == "aborted"
    assert complete("local/smollm2", "last", max_tokens=1).content
    assert begun == ["first", "last"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_gets_an_explanation(weights: Path) -> None:
    code = (
        "import os, sys\nfrom pipy_ai import complete\n"
        "assert complete('local/smollm2', 'Hi', max_tokens=3).text\n"
        "pid = os.fork()\n"
        "message = complete('local/smollm2', 'Hi', max_tokens=3, timeout=30)\n"
        "if pid: assert message.text\n"
        "else: os._exit('spawn' not in message.error.message)  # as multiprocessing ends\n"
        "if pid: sys.exit(os.waitpid(pid, 0)[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_quick_has_the_same_length_as_complete(weights: Path) -> None:
    story = "Write a long story about a dragon."
    assert quick(story, "local/smollm2").usage.output <= 256
