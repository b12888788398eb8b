"""Check proxies, certificates and the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from ...utils.secrets import mask_url
from .finding import FAIL, OK, WARN, Finding

_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def check_network() -> Iterator[Finding]:
    for name in _PROXY_VARIABLES:
        value = os.environ.get(name.lower()) or os.environ.get(name)
        if value:
            yield Finding("network", OK, f"{name} is {mask_url(value, '***@')}")
    for name in _CERTIFICATE_VARIABLES:
        value = os.environ.get(name)
        if value and not os.path.exists(value):
            fix = "unset it, or name a file of certificates"
            yield Finding("network", FAIL, f"{name} is {value}, which does not exist", fix)
        elif value:
            yield Finding("network", OK, f"{name} is {value}")


def check_terminal() -> Iterator[Finding]:
    encoding = (sys.stdout.encoding or "unknown").lower()
    if encoding.replace("-", "") in ("utf8", "utf8sig"):
        yield Finding("terminal", OK, encoding)
    else:
        detail = f"{encoding}: other characters are printed as ?"
        yield Finding("terminal", WARN, detail, "set PYTHONUTF8=1, or a UTF-8 locale")
