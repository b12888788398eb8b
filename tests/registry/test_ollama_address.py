"""Test how the address of an Ollama server is read."""

from __future__ import annotations

import pytest

from pipy_ai.registry.ollama_address import environment_address, server_url
from pipy_ai.registry.routing import litellm_route

LOCAL = "http://127.0.0.1:11434"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("", LOCAL),
        # As in envconfig/config_test.go of Ollama.
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":1234", "http://127.0.0.1:1234"),
        ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        ("example.com", "http://example.com:11434"),
        ("example.com:1234", "http://example.com:1234"),
        ("example.com:66000", "http://example.com:11434"),
        ("example.com:-1", "http://example.com:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:1337", "http://[::1]:1337"),
        (" 1.2.3.4 ", "http://1.2.3.4:11434"),
        ('"1.2.3.4"', "http://1.2.3.4:11434"),
        (" ' 1.2.3.4 ' ", "http://1.2.3.4:11434"),
        ("http://1.2.3.4", "http://1.2.3.4"),
        ("http://1.2.3.4:4321", "http://1.2.3.4:4321"),
        ("https://1.2.3.4", "https://1.2.3.4"),
        ("https://1.2.3.4:4321", "https://1.2.3.4:4321"),
        ("https://example.com/ollama", "https://example.com/ollama"),
        ("example.com/", "http://example.com:11434"),
        # Addresses on which a server listens.
        ("0.0.0.0", LOCAL),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://0.0.0.0:11434", LOCAL),
        ("[::]:8080", "http://[::1]:8080"),
        ("::", "http://[::1]:11434"),
        # With a path of its API.
        (f"{LOCAL}/", LOCAL),
        (f"{LOCAL}/api", LOCAL),
        (f"{LOCAL}/api/chat/", LOCAL),
        (f"{LOCAL}/v1", LOCAL),
        (f"{LOCAL}/v1/chat/completions", LOCAL),
        ("https://lan/ollama/api", "https://lan/ollama"),
        ("https://lan/api2", "https://lan/api2"),
        ("http://lan/api?tenant=a", "http://lan?tenant=a"),
        ("http://me:pw@lan:80/v1", "http://me:pw@lan"),
        ("http://lan:1234#models", "http://lan:1234"),
        # The cloud.
        ("ollama.com", "https://ollama.com"),
        ("https://ollama.com/v1", "https://ollama.com"),
        ("HTTPS://ollama.com:443", "https://ollama.com"),
    ],
)
def test_addresses(address: str, url: str) -> None:
    assert server_url(address) == url
    assert server_url(url) == url


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment_address() == ("", LOCAL)
    assert litellm_route("ollama/m").api_base == LOCAL
    monkeypatch.setenv("OLLAMA_HOST", " ")
    assert environment_address() == ("", LOCAL)
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:80")
    assert environment_address() == ("OLLAMA_HOST", "http://127.0.0.1")
    monkeypatch.setenv("OLLAMA_API_BASE", "gpu.lan/v1")
    assert environment_address() == ("OLLAMA_API_BASE", "http://gpu.lan:11434")
    for name in ("ollama/m", "ollama_chat/m"):
        route = litellm_route(name)
        assert (route.api_base, route.model) == ("http://gpu.lan:11434", "ollama_chat/m")
