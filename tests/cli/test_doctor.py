"""Test `pipy doctor`."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pipy_ai.cli.checks import servers as discover
from pipy_ai.cli.checks.data import check_data_dir
from pipy_ai.cli.checks.installation import check_extras, check_litellm
from pipy_ai.cli.checks.models import check_servers
from pipy_ai.cli.main import main
from pipy_ai.registry.sync_state import write_sync_state
from pipy_ai.utils.extras import distribution_name, install_command

from ..support.command import pipy
from ..support.model_servers import VLLM, Fake, Start

KEY = "sk-of-the-doctor-0123456789"
DATA = "PIPY_DATA_DIR"


@pytest.fixture(autouse=True)
def _no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe no server: the machine may run some."""
    monkeypatch.setattr(discover, "PORTS", {})


def findings(
    capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Return the exit code, and for each subject the states and texts of its findings."""
    code = main(["doctor", "--json", *words])
    found: dict[str, list[tuple[str, str]]] = {}
    for one in json.loads(capsys.readouterr().out):
        said = f"{one['said']} {one['todo']}".strip()
        found.setdefault(one["about"], []).append((one["state"], said))
    return code, found


def test_healthy_installation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    code, found = findings(capsys)
    assert code == 0
    for about in ("Python", distribution_name(), "LiteLLM", "data", "default", "embedded"):
        assert [state for state, _ in found[about]] == ["ok"], about
    assert found["key"] == [("ok", "ANTHROPIC_API_KEY in the environment, for anthropic")]
    assert found["default"] == [("ok", "anthropic/claude-sonnet-4-5 (ANTHROPIC_API_KEY is set)")]
    assert found["catalogue"][0][0] == "warn"  # the tests' package is old
    assert "pipy sync" in found["catalogue"][0][1]


def test_one_line_per_finding_with_advice() -> None:
    done = pipy("doctor")
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["ok", "Python"]
    at = next(number for number, line in enumerate(lines) if line.startswith("warn  key"))
    assert lines[at + 1].strip() == "→ pipy keys set PROVIDER"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("version", "state", "expected"),
    [
        ("1.82.7", "fail", "malware"),
        ("1.82.8", "fail", "malware"),
        ("1.106.0", "fail", "every call with tools"),
        ("1.107.3", "fail", "every call with tools"),
        ("1.90.0", "fail", "too old"),
        ("1.105.0", "ok", "1.105.0"),
        ("2.0.0rc1", "ok", "2.0.0rc1"),
    ],
)
def test_litellm_versions(
    version: str, state: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    [finding] = check_litellm()
    assert finding.state == state
    assert expected in finding.detail
    assert bool(finding.todo) == (state == "fail")


def test_missing_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "distribution", lambda name: None)  # pipy-ai is installed
    [finding] = check_litellm()
    assert (finding.state, finding.todo) == ("fail", "pip install 'pipy-ai[litellm]'")


def test_slim_distribution_does_not_need_litellm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "pipy_ai_slim-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: pipy-ai-slim\nVersion: 0.1.0\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    [finding] = check_litellm()
    assert (finding.state, finding.todo) == ("ok", "")
    assert "pip install 'pipy-ai-slim[litellm]'" in finding.detail


def test_optional_packages_are_listed_with_their_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    installed, missing = check_extras()
    assert (installed.state, missing.state) == ("ok", "ok")
    assert "local (the embedded model and .gguf files)" in installed.detail
    assert missing.detail.startswith("not installed: ")
    assert "parquet (batches from Parquet files)" in missing.detail
    assert missing.detail.endswith(f"; {install_command('NAME')} adds one")


def test_damaged_and_world_readable_files_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    data = Path(os.environ[DATA])
    (data / "settings.json").write_text("{")
    (data / "router.yaml").write_text("model_list: 5")
    (data / "keys.json").write_text(json.dumps({"GROQ_API_KEY": KEY}))
    (data / "keys.json").chmod(0o644)
    code, found = findings(capsys)
    assert code == 1
    said = "\n".join(text for state, text in found["data"] if state != "ok")
    for text in ("settings.json", "router.yaml", f"chmod 600 {data}/keys.json"):
        assert text in said
    assert ("ok", f"GROQ_API_KEY in {data}/keys.json, for groq") in found["key"]
    (data / "keys.json").write_text(f'{{"GROQ_API_KEY": "{KEY}')
    assert pipy("doctor").returncode == 1
    everything = pipy("doctor")
    assert f"{data}/keys.json is damaged" in everything.stdout
    assert KEY not in everything.stdout + everything.stderr


def test_unwritable_data_directory(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    [finding] = [one for one in check_data_dir() if one.about == "data"]
    assert (finding.state, "PIPY_DATA_DIR" in finding.todo) == ("fail", True)


def test_proxies_and_certificates(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.lan:3128")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    code, found = findings(capsys)
    assert code == 1
    assert ("ok", "HTTPS_PROXY is http://***@proxy.lan:3128") in found["network"]
    assert any(state == "fail" and "/no/such.pem" in said for state, said in found["network"])


def test_servers_are_listed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = start(VLLM)
    monkeypatch.setattr(discover, "PORTS", {fake.port: "vLLM"})
    [finding] = check_servers()
    assert (finding.state, "hosted_vllm/Qwen/Qwen3-8B" in finding.detail) == ("ok", True)


def test_terminal_without_utf_8() -> None:
    done = pipy("doctor", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert done.returncode == 0
    assert "set PYTHONUTF8=1" in done.stdout


# --- --online -------------------------------------------------------------------------------


@pytest.fixture
def world(start: Start, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start providers and models.dev on loopback with given responses: `world(openai=…, …)`."""

    def make(openai: Any, anthropic: Any) -> dict[str, Fake]:
        fakes = {
            "openai": start({"/v1/models": openai}),
            "anthropic": start({"/v1/models": anthropic}),
            "feed": start({"/api.json": "{}"}),
        }
        base = {name: f"http://127.0.0.1:{fake.port}" for name, fake in fakes.items()}
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{base['openai']}/v1")
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", base["anthropic"])
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            monkeypatch.setenv(name, "x")
        monkeypatch.setenv("AWS_ENDPOINT_URL", base["feed"])
        monkeypatch.setenv("PIPY_MODELS_URL", f"{base['feed']}/api.json")
        return fakes

    return make


def test_online_checks_each_provider_with_its_own_key(
    world: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes = world({"data": []}, {"data": []})
    code, found = findings(capsys, "--online")
    assert code == 0
    for name in ("openai", "anthropic", "models.dev"):
        [(state, said)] = found[name]
        assert (state, "HTTP 200" in said) == ("ok", True), said
    assert "not checked" in found["amazon-bedrock"][0][1]
    assert [sent.get("authorization") for sent in fakes["openai"].headers] == [f"Bearer {KEY}"]
    assert [sent.get("x-api-key") for sent in fakes["anthropic"].headers] == [KEY]
    assert KEY not in str(fakes["feed"].headers)
    assert KEY not in str(found)


def test_online_checks_cohere(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = start({"/v1/models": {"models": []}, "/api.json": "{}"})
    monkeypatch.setenv("CO_API_KEY", KEY)
    monkeypatch.setenv("CO_API_URL", f"http://127.0.0.1:{fake.port}")
    monkeypatch.setenv("PIPY_MODELS_URL", f"http://127.0.0.1:{fake.port}/api.json")
    _, found = findings(capsys, "--online")
    [(state, said)] = found["cohere"]
    assert (state, "HTTP 200" in said) == ("ok", True), said
    assert f"Bearer {KEY}" in [sent.get("authorization") for sent in fake.headers]


def test_online_does_not_show_the_password_of_an_address(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = start({"/openai/v1/models": {"data": []}, "/api.json": "{}"})
    address = f"127.0.0.1:{fake.port}"
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"http://me:{KEY}@{address}")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setenv("PIPY_MODELS_URL", f"http://{address}/api.json")
    _, found = findings(capsys, "--online")
    assert f"http://{address}/openai/v1/models responds" in str(found["azure"])
    assert KEY not in str(found)


def test_online_does_not_send_a_subscription_token(
    world: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes = world({"data": []}, {"data": []})
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-oat01-0123456789")
    code, found = findings(capsys, "--online")
    assert code == 1
    assert found["anthropic"][0][0] == "fail"
    assert "token of a Claude subscription" in found["anthropic"][0][1]
    assert fakes["anthropic"].headers == []


def test_online_explains_failures(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fakes = world((401, {"error": {"message": f"Incorrect API key: {KEY}"}}), (529, "busy"))
    fakes["feed"].http.shutdown()
    fakes["feed"].http.server_close()
    code, found = findings(capsys, "--online")
    assert code == 1
    assert found["openai"][0][0] == "fail"
    assert "the key was rejected pipy keys set openai" in found["openai"][0][1]
    assert found["anthropic"][0][0] == "warn"
    assert found["models.dev"][0][0] == "fail"
    assert "cannot be reached (ConnectError)" in found["models.dev"][0][1]
    assert KEY not in str(found)


def test_llama_cpp_is_not_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "xllamacpp" else find_spec(name)
    )
    code, found = findings(capsys)
    assert code == 1
    [(state, text)] = found["default"]
    assert (state, "pipy local pull" in text) == ("fail", True)
    assert found["embedded"][0][1].startswith("not installed")


def test_missing_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipy_ai.utils.weights.find_weights", lambda: None)
    code, found = findings(capsys)
    assert code == 1  # it is the default model
    assert found["embedded"] == [("fail", "its weights are not downloaded yet pipy local pull")]
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert findings(capsys)[1]["embedded"][0][0] == "warn"


def test_data_directory_that_does_not_exist_yet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(DATA, str(tmp_path / "new" / "data"))
    [finding] = [one for one in check_data_dir() if one.about == "data"]
    assert (finding.state, finding.detail) == (
        "ok",
        f"{tmp_path / 'new' / 'data'}, not created yet",
    )
    assert not (tmp_path / "new").exists()


def test_temporary_files_of_killed_processes() -> None:
    leftover, in_use = (Path(os.environ[DATA]) / name for name in (".a.1.tmp", ".a.2.tmp"))
    leftover.write_bytes(b"x" * 2_000_000)
    in_use.touch()
    os.utime(leftover, (0, 0))
    finding = next(one for one in check_data_dir() if one.detail.startswith("1 "))
    assert (finding.state, finding.todo) == ("warn", f"rm -r {leftover}")
    assert finding.detail == "1 temporary file of killed processes, 2.0 MB"


def test_world_writable_data_directory(capsys: pytest.CaptureFixture[str]) -> None:
    os.chmod(os.environ[DATA], 0o777)
    _, found = findings(capsys)
    assert found["data"][0] == (
        "warn", f"anyone can write to {os.environ[DATA]} chmod o-w {os.environ[DATA]}"
    )  # fmt: skip


def test_failed_sync_is_reported(capsys: pytest.CaptureFixture[str], july: Path) -> None:
    write_sync_state(str(july), {"tried": 0, "error": "the server says 503"})
    _, found = findings(capsys)
    [(state, text)] = found["catalogue"]
    assert (state, "the last sync failed: the server says 503" in text) == ("warn", True)


def test_secrets_in_addresses_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "hunter2-0123456789"
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://me:{secret}@127.0.0.1:9?token={secret}")
    monkeypatch.setenv("PIPY_MODELS_URL", f"http://127.0.0.1:9/?sig={secret}")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://me:{secret}@127.0.0.1:9/v1?key={secret}")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OLLAMA_API_BASE", "http://localhost:99999")
    main(["doctor", "--online"])
    shown = capsys.readouterr()
    assert "127.0.0.1:9" in shown.out
    assert secret not in f"{shown}"
