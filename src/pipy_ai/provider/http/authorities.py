"""The certificate authorities that are trusted: those of the environment, or of certifi.

Parsing all certificates of certifi takes longer than a TLS handshake. So at first, a process loads
those that sign for most providers. If they do not verify a host, all of them decide.
"""

from __future__ import annotations

import os
import ssl
import sys
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec

from ...errors import ErrorKind, ProviderError, error_info

# The labels that certifi's file has, in comments above the certificates. They need not be complete.
COMMON_AUTHORITIES = (
    "Amazon Root CA 1",
    "DigiCert Global Root G2",
    "DigiCert Global Root G3",
    "GTS Root R1",
    "GTS Root R4",
    "GlobalSign Root CA - R3",
    "ISRG Root X1",
    "Microsoft RSA Root Certificate Authority 2017",
    "SSL.com TLS ECC Root CA 2022",
    "SSL.com TLS RSA Root CA 2022",
    "Sectigo Public Server Authentication Root R46",
    "Starfield Services Root Certificate Authority - G2",
    "USERTrust ECC Certification Authority",
    "USERTrust RSA Certification Authority",
)
CERTIFI = "the package certifi"
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"

_contexts: dict[tuple[str, str], ssl.SSLContext] = {}  # by source
_common_contexts: dict[ssl.SSLContext, tuple[str, str]] = {}  # those with common authorities only


def authority_source() -> tuple[str, str]:
    """Return the source of trusted certificates: the variable (or package), and its path."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        if value := os.environ.get(name, "").strip():
            return name, value
    return CERTIFI, _certifi_path()


@cache
def _certifi_path() -> str:
    """Return `certifi.where()`. Importing certifi takes as long as the rest of a TLS connection."""
    if "certifi" not in sys.modules:
        spec = find_spec("certifi")
        # Tools that replace its certificates also replace its loader.
        if spec is not None and spec.origin and type(spec.loader) is SourceFileLoader:
            directory = os.path.dirname(spec.origin)
            path = os.path.join(directory, "cacert.pem")
            if os.path.isfile(path) and not _is_patched(os.path.join(directory, "core.py")):
                return path
    import certifi

    return certifi.where()


def _is_patched(code_path: str) -> bool:
    """Return whether a distribution may have changed `certifi.where()`, to its own certificates."""
    with open(code_path, encoding="utf-8") as file:
        code = file.read()
    return '"cacert.pem"' not in code or any(word in code for word in ("/etc/", "environ"))


def tls_context() -> ssl.SSLContext:
    """Return the context of new connections.

    Raises:
        ProviderError: The certificates cannot be read.
    """
    source = name, path = authority_source()
    context = _contexts.get(source)
    if context is None:
        certificates = _common_certificates(path) if name == CERTIFI else ""
        context = _contexts[source] = _create_context(name, path, certificates)
        if certificates:
            _common_contexts[context] = source
    return context


def trust_all(context: ssl.SSLContext) -> bool:
    """Have `tls_context` trust all authorities if `context` has only the common ones.

    Returns:
        Whether it has: then a connection that failed has to be tried again.
    """
    source = _common_contexts.get(context)
    if source is None:
        return False
    if _contexts[source] is context:
        _contexts[source] = _create_context(*source)
    return True


def _create_context(name: str, path: str, certificates: str = "") -> ssl.SSLContext:
    try:
        if certificates:
            context = ssl.create_default_context(cadata=certificates)
        elif name == "SSL_CERT_DIR" or os.path.isdir(path):
            context = ssl.create_default_context(capath=path)
        else:
            context = ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        text = f"{path} ({name}) cannot be read as certificates: {error}"
        raise ProviderError(error_info(ErrorKind.CONNECTION, text, retryable=False)) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _common_certificates(path: str) -> str:
    """Return the common authorities in certifi's file, as PEM. Empty: it has another format."""
    try:
        with open(path, encoding="latin-1") as file:
            text = file.read()
    except OSError:
        return ""
    certificates = []
    for label in COMMON_AUTHORITIES:
        at = text.find(f'# Label: "{label}"\n')
        start = text.find(_BEGIN, at)
        end = text.find(_END, start)
        if -1 not in (at, start, end):
            certificates.append(text[start : end + len(_END)])
    return "\n".join(certificates)
