"""Test which requests get a stored key, damaged key files and the system keyring."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import complete, default_model, get_models
from pipy_ai.registry import Model, generate_router_config, keystore
from pipy_ai.registry.routing import Route

from ..support.command import pipy
from ..support.scripted_server import Lab, Status
from ..support.wire_formats import CHAT, say

KEY = "sk-kept-0123456789abcdef"


@pytest.fixture
def kept() -> Path:
    """The key file, with one key for Groq."""
    assert pipy("keys", "set", "groq", "--file", stdin=KEY).returncode == 0
    return Path(keystore.path())


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipy_ai.utils.warn.shown_warnings", set())


def authorization(lab: Lab) -> str:
    return str(lab.seen[-1].headers.get("authorization"))


def test_stored_key_is_sent_to_its_own_provider_only(lab: Lab, kept: Path) -> None:
    lab.play(*[CHAT.scene(say("hi"))] * 3)
    way = Route(kind="generic", backend="hosted_vllm", key_env=("GROQ_API_KEY",))
    assert way.api_key() == KEY
    assert Route(key_env=("OPENAI_API_KEY",)).api_key() == ""
    assert KEY not in repr(way)
    for model, sent in (
        (Model(id="m", provider="acme", api=lab.url, env=["GROQ_API_KEY"]), f"Bearer {KEY}"),
        (Model(id="m", provider="acme", api=lab.url, env=["ACME_API_KEY"]), "Bearer none"),
        ("hosted_vllm/m", "Bearer none"),
    ):
        message = complete(model, "hi", **({"api_base": lab.url} if type(model) is str else {}))
        assert message.error is None
        assert authorization(lab) == sent


def test_environment_takes_precedence(
    lab: Lab, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.play(CHAT.scene(say("hi")))
    monkeypatch.setenv("GROQ_API_KEY", "sk-of-the-environment")
    complete(Model(id="m", provider="acme", api=lab.url, env=["GROQ_API_KEY"]), "hi")
    assert authorization(lab) == "Bearer sk-of-the-environment"


def test_error_does_not_show_a_stored_key(lab: Lab, kept: Path) -> None:
    lab.play(Status(401, {"error": {"message": f"Incorrect API key: {KEY}"}}))
    message = complete(Model(id="m", provider="acme", api=lab.url, env=["GROQ_API_KEY"]), "hi")
    assert message.error is not None
    assert KEY not in message.model_dump_json()


def test_stored_key_counts_as_available(kept: Path, tmp_path: Path) -> None:
    assert {model.provider for model in get_models(available=True)} == {"groq"}
    assert pipy("providers", "--available", "--json").stdout.count('"provider"') == 1
    assert f"Key: stored with pipy keys ({kept})" in pipy("info", "groq/allam-2-7b").stdout
    config = generate_router_config(tmp_path / "router.yaml").read_text()
    assert 'api_key: "os.environ/GROQ_API_KEY"' in config
    assert "export: GROQ_API_KEY" in config
    assert KEY not in config
    assert pipy("keys", "set", "anthropic", "--file", stdin=KEY).returncode == 0
    assert default_model() == "anthropic/claude-sonnet-4-5"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LiteLLM's, in some orders of tests
@pytest.mark.litellm
def test_router_gets_stored_keys(lab: Lab, kept: Path) -> None:
    lab.play(CHAT.scene(say("routed")))
    Path(os.environ["PIPY_DATA_DIR"], "router.yaml").write_text(
        "model_list:\n  - model_name: mine\n    litellm_params:\n      model: openai/m\n"
        f"      api_base: {lab.url}\n      api_key: os.environ/GROQ_API_KEY\n"
    )
    # The first request loads LiteLLM, which counts towards the timeout: minutes on a busy machine.
    message = complete("mine", "hi", idle_timeout=None)
    assert (message.text, message.error) == ("routed", None)
    assert authorization(lab) == f"Bearer {KEY}"


def test_world_readable_file_is_reported_once(kept: Path) -> None:
    kept.chmod(0o644)
    with pytest.warns(UserWarning, match="chmod 600"):
        assert Route(key_env=("GROQ_API_KEY",)).api_key() == KEY
    os.utime(kept, (1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Route(key_env=("GROQ_API_KEY",)).api_key() == KEY


@pytest.mark.parametrize("content", [f'{{"GROQ_API_KEY": "{KEY}"', "[]", '{"A": 5}', "\x00", ""])
def test_damaged_file_is_reported_and_ignored(kept: Path, content: str) -> None:
    kept.write_text(content)
    for words in (["list"], ["set", "groq"], ["remove", "groq"]):
        done = pipy("keys", *words, stdin=KEY)
        assert done.returncode == 2
        assert f"{kept} is damaged" in done.stderr
        assert KEY not in done.stderr
    assert kept.read_text() == content
    with pytest.warns(UserWarning, match="is damaged"):
        message = complete("groq/allam-2-7b", "hi")
    assert message.error is not None
    assert message.error.kind == "missing_key"
    assert "run pipy keys set groq, or pass api_key=" in message.error.message


def test_unreadable_file_is_ignored(kept: Path) -> None:
    kept.unlink()
    kept.mkdir()
    with pytest.warns(UserWarning, match=r"keys\.json"):
        assert Route(key_env=("GROQ_API_KEY",)).api_key() == ""
    assert pipy("keys", "list").returncode == 1


def test_concurrent_writers_keep_all_keys(kept: Path) -> None:
    names = ["openai", "anthropic", "mistral", "xai"]
    command = [sys.executable, "-m", "pipy_ai", "keys", "set"]
    running = [
        subprocess.Popen([*command, name, "--file"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in names
    ]
    for process in running:
        process.communicate(KEY.encode(), timeout=60)
    assert len(json.loads(kept.read_text())) == 1 + len(names)


def test_missing_key_file_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: Any) -> None:
        raise AssertionError("a key was looked up")

    monkeypatch.setenv("GROQ_API_KEY", "x")
    monkeypatch.setattr(keystore, "entries", no)
    assert Route(key_env=("GROQ_API_KEY",)).api_key() == "x"
    assert Route(key_env=("GROQ_API_KEY",)).api_key({}) == ""


BACKEND = """
import json, os, keyring.backend
PLACE = os.environ["TEST_KEYRING"]
class Memory(keyring.backend.KeyringBackend):
    priority = 5
    def _all(self):
        return json.load(open(PLACE)) if os.path.exists(PLACE) else {}
    def set_password(self, service, name, value):
        data = self._all() | {f"{service} {name}": value}
        with open(PLACE, "w") as file:
            json.dump(data, file)
    def get_password(self, service, name):
        if os.environ.get("TEST_LOCKED"):
            raise RuntimeError("locked: sk-kept-0123456789abcdef")
        with open(PLACE) as file:
            return json.load(file).get(f"{service} {name}")
    def delete_password(self, service, name):
        with open(PLACE) as file:
            data = json.load(file)
        del data[f"{service} {name}"]
        with open(PLACE, "w") as file:
            json.dump(data, file)
"""


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real package `keyring` with a test backend; yields the backend's file."""
    pytest.importorskip("keyring")
    import keyring.core

    (tmp_path / "backend_for_tests.py").write_text(BACKEND)
    monkeypatch.setenv("TEST_KEYRING", str(tmp_path / "ring.json"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "backend_for_tests.Memory")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(keyring.core, "_keyring_backend", None)
    monkeypatch.delitem(sys.modules, "backend_for_tests", raising=False)
    return tmp_path / "ring.json"


def test_keyring_is_used_where_available(ring: Path, lab: Lab) -> None:
    lab.play(CHAT.scene(say("hi")))
    assert "the system's keyring" in pipy("keys", "set", "groq", stdin=KEY).stdout
    assert json.loads(Path(keystore.path()).read_text()) == {"GROQ_API_KEY": None}
    assert json.loads(ring.read_text()) == {"pipy-ai GROQ_API_KEY": KEY}
    assert "the system's keyring" in pipy("keys", "list").stdout
    complete(Model(id="m", provider="acme", api=lab.url, env=["GROQ_API_KEY"]), "hi")
    assert authorization(lab) == f"Bearer {KEY}"
    assert pipy("keys", "remove", "groq").returncode == 0
    assert json.loads(ring.read_text()) == {}


def test_failing_keyring_is_reported(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipy("keys", "set", "groq", stdin=KEY).returncode == 0
    monkeypatch.setenv("TEST_LOCKED", "1")
    with pytest.warns(UserWarning, match=r"did not return GROQ_API_KEY \(RuntimeError\)") as caught:
        assert Route(key_env=("GROQ_API_KEY",)).api_key() == ""
    assert KEY not in str([warning.message for warning in caught])
    monkeypatch.delenv("TEST_LOCKED")
    ring.write_text("{}")
    with pytest.warns(UserWarning, match="no longer exists"):
        message = complete("groq/allam-2-7b", "hi")
    assert message.error is not None


def test_listing_does_not_import_keyring(ring: Path) -> None:
    assert pipy("keys", "set", "groq", stdin=KEY).returncode == 0
    code = (
        "import sys; from pipy_ai.registry import get_models; assert get_models(available=True);"
        " assert 'keyring' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
