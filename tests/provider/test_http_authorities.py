"""Test which certificate authorities are loaded, and that all of them decide."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest

from pipy_ai.provider.http.authorities import COMMON_AUTHORITIES

from ..support.certificate import certificate
from ..support.command import unmeasured_environment
from ..support.raw_server import Raw, response
from ..support.wire_formats import CHAT, say

REAL = Path(certifi.__file__).parent
UNCOMMON = "Lab Root CA"


class Server(Raw):
    """An HTTPS server on loopback. `handshakes` counts those that began."""

    def __init__(self, pem: Path) -> None:
        self.handshakes = 0
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        context.sni_callback = self._count
        super().__init__(response(b"".join(CHAT.scene(say("Hello")))), context)

    def _count(self, *_: Any) -> None:
        self.handshakes += 1


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path, "127.0.0.1")


@pytest.fixture
def server(pem: Path) -> Iterator[Server]:
    server = Server(pem)
    with server:
        yield server


def install_certifi(directory: Path, pem: Path, label: str, core: str = "") -> None:
    """Write a package certifi with one more certificate."""
    package = directory / "certifi"
    package.mkdir()
    for name in ("__init__.py", "core.py"):
        shutil.copy(REAL / name, package)
    if core:
        (package / "core.py").write_text(core)
    own = f'# Label: "{label}"\n{pem.read_text()}\n' if label else ""
    (package / "cacert.pem").write_text(own + (REAL / "cacert.pem").read_text())


def run(directory: Path, base: str, code: str = "", **variables: str) -> str:
    """Send two requests at once and one after them, in a new process. Return what it prints."""
    script = f"""
import asyncio, sys
{code}
from pipy_ai import acomplete
async def main():
    ask = lambda: acomplete("hosted_vllm/m", "q", api_base={base!r}, max_retries=0)
    messages = [*await asyncio.gather(ask(), ask()), await ask()]
    texts = [message.error.message if message.error else message.text for message in messages]
    print(*texts, "certifi" in sys.modules, sep="|")
asyncio.run(main())
"""
    environment = unmeasured_environment() | {"PYTHONPATH": str(directory)} | variables
    for name in {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"} - variables.keys():
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_labels_are_those_of_certifi() -> None:
    text = (REAL / "cacert.pem").read_text()
    missing = [label for label in COMMON_AUTHORITIES if f'# Label: "{label}"\n' not in text]
    assert len(missing) <= 3, missing  # authorities come and go; the others still save time


@pytest.mark.parametrize(("label", "handshakes"), [("ISRG Root X1", {3}), (UNCOMMON, {4, 5})])
def test_authorities_of_certifi(
    tmp_path: Path, pem: Path, server: Server, label: str, handshakes: set[int]
) -> None:
    """A host that a common authority signed needs one handshake. Any other needs two, once."""
    install_certifi(tmp_path, pem, label)
    assert run(tmp_path, server.url) == "Hello|Hello|Hello|False"
    assert len(server.seen) == 3
    assert server.handshakes in handshakes


def test_unknown_authority_is_rejected(tmp_path: Path, pem: Path, server: Server) -> None:
    install_certifi(tmp_path, pem, "")
    first, *_ = run(tmp_path, server.url).split("|")
    assert "The certificate of 127.0.0.1 is not trusted: self-signed certificate." in first
    assert f"(now the package certifi: {tmp_path / 'certifi' / 'cacert.pem'})" in first
    assert server.seen == []


@pytest.mark.parametrize("days", [-1, 2])
def test_common_authority_does_not_excuse_a_wrong_certificate(tmp_path: Path, days: int) -> None:
    pem = certificate(tmp_path, "127.0.0.1" if days < 0 else "other.example", days=days)
    install_certifi(tmp_path, pem, "ISRG Root X1")
    with Server(pem) as server:
        first, *_ = run(tmp_path, server.url).split("|")
    assert ("has expired" if days < 0 else "Check the address") in first
    assert server.seen == []


def test_variables_take_precedence(tmp_path: Path, pem: Path, server: Server) -> None:
    install_certifi(tmp_path, pem, "ISRG Root X1")
    (tmp_path / "empty").mkdir()
    other = certificate(tmp_path / "empty", "127.0.0.1")
    trusted = {"SSL_CERT_FILE": str(other)}
    assert "(now SSL_CERT_FILE:" in run(tmp_path, server.url, **trusted)
    (tmp_path / "none").mkdir()
    trusted = {"SSL_CERT_DIR": str(tmp_path / "none")}
    assert "(now SSL_CERT_DIR:" in run(tmp_path, server.url, **trusted)
    assert server.seen == []


@pytest.mark.parametrize(
    "comment", ["no file", '"cacert.pem" is in /etc/ssl', '"cacert.pem" or os.environ']
)
def test_certificates_of_a_changed_certifi(
    tmp_path: Path, pem: Path, server: Server, comment: str
) -> None:
    """Debian, Fedora, Nix and others change `certifi.where()`."""
    own = tmp_path / "own.pem"
    shutil.copy(pem, own)
    core = f"# {comment}\ndef where(): return {str(own)!r}\n"
    core += "def contents(): return ''\n"
    install_certifi(tmp_path, pem, "", core)
    assert run(tmp_path, server.url) == "Hello|Hello|Hello|True"


def test_certificates_of_a_certifi_that_another_package_replaced(
    tmp_path: Path, pem: Path, server: Server
) -> None:
    install_certifi(tmp_path, pem, "")
    code = f"import certifi; certifi.where = lambda: {str(pem)!r}"
    assert run(tmp_path, server.url, code) == "Hello|Hello|Hello|True"
    (tmp_path / "hook.py").write_text(
        f"""
import importlib.machinery, sys
class Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        module.where = lambda: {str(pem)!r}
class Finder:
    def find_spec(name, path=None, target=None):
        if name == "certifi":
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            spec.loader = Loader(spec.loader.name, spec.loader.path)
            return spec
sys.meta_path.insert(0, Finder)
"""
    )
    assert run(tmp_path, server.url, "import hook") == "Hello|Hello|Hello|True"


def test_bundle_without_labels(tmp_path: Path, pem: Path, server: Server) -> None:
    install_certifi(tmp_path, pem, UNCOMMON)
    bundle = tmp_path / "certifi" / "cacert.pem"
    lines = [line for line in bundle.read_text().splitlines() if not line.startswith("#")]
    bundle.write_text(os.linesep.join(lines))
    assert run(tmp_path, server.url) == "Hello|Hello|Hello|False"
    assert server.handshakes == 3
