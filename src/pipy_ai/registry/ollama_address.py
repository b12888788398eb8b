"""The address of the Ollama server, read from the environment as Ollama reads it."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_URL = "http://127.0.0.1:11434"
CLOUD_URL = "https://ollama.com"
# The first that is set wins. OLLAMA_HOST is Ollama's own variable, the other LiteLLM's.
ADDRESS_VARIABLES = ("OLLAMA_API_BASE", "OLLAMA_HOST")

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
# Addresses on which a server listens, and where it can be reached.
_LISTENING = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
_API_PATH = re.compile(r"(/api(/(chat|generate|tags))?|/v1(/chat/completions)?)+$")
_IPV6 = re.compile(r"[0-9a-fA-F.]*:[0-9a-fA-F.]*:[0-9a-fA-F.:]*(%\w+)?")


def server_url(address: str) -> str:
    """Return the base URL of a server: host, port and scheme are optional.

    Paths of the API at the end are removed, so that any of its addresses may be given.

    Example:
        >>> from pipy_ai.registry.ollama_address import server_url
        >>> server_url("0.0.0.0"), server_url("gpu.lan:8080"), server_url("https://gpu.lan/api/")
        ('http://127.0.0.1:11434', 'http://gpu.lan:8080', 'https://gpu.lan')
    """
    address, _, query = address.strip().strip("\"'").strip().partition("#")[0].partition("?")
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "http", address
    scheme = scheme.lower()
    host, slash, path = rest.partition("/")
    if _IPV6.fullmatch(host):
        host = f"[{host}]"  # an IPv6 address without a port
    name, port = _split_port(host)
    if not separator and name == "ollama.com":
        scheme = "https"
    elif not separator:
        port = port or ":11434"
    if port == _DEFAULT_PORTS.get(scheme):
        port = ""
    path = _API_PATH.sub("", f"{slash}{path}".rstrip("/")).rstrip("/")
    return f"{scheme}://{_LISTENING.get(name, name)}{port}{path}" + (query and f"?{query}")


def _split_port(host: str) -> tuple[str, str]:
    """Return the name of a host and its port with a colon; an invalid port is ignored."""
    match = re.fullmatch(r"(.*?)(?::([^:@\]]*))?", host, re.DOTALL)
    assert match is not None
    name, port = match[1], match[2] or ""
    is_valid = re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65535
    return name, f":{port}" if is_valid else ""


def environment_address(environment: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Return the variable that holds the server's address, and its base URL.

    Without a variable, return an empty string and the default.
    """
    variables = os.environ if environment is None else environment
    for name in ADDRESS_VARIABLES:
        if value := variables.get(name, "").strip():
            return name, server_url(value)
    return "", DEFAULT_URL


def is_cloud(base_url: str) -> bool:
    """Return whether a base URL is that of Ollama's cloud."""
    host = _host(base_url)
    return host == "ollama.com" or host.endswith(".ollama.com")


def may_have_key(base_url: str) -> bool:
    """Return whether the key of the environment may be sent to a server.

    It is that of Ollama's cloud, or of the server that the environment names.
    """
    if not base_url.startswith("https://"):
        return False
    return is_cloud(base_url) or base_url == environment_address()[1]


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
