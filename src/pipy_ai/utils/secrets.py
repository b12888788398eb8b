"""Recognize secrets: names of environment variables, headers and parameters that hold one, and
credentials in URLs."""

from __future__ import annotations

import re

# Compiled on first use: every lookup in the catalogue imports this module.
_VARIABLE = r"KEY|TOKEN|SECRET|JWT|PASSWORD|_PAT$"
_HEADER = "auth|key|token|secret|cookie"
_PARAMETER = r"(api|access|private|secret|master)_?key|(^|_)token$|secret|password|credential"
_URL_PREFIX = r"(\w[\w+.-]*://|//)?"
_PLAIN_AUTHORITY = r"([\w.-]*|\[[0-9a-fA-F:.]+\])(:\d*)?(?=[/?#]|$)"


def is_secret_variable(name: str) -> bool:
    """Whether an environment variable of this name holds a secret.

    Example:
        >>> is_secret_variable("OPENAI_API_KEY"), is_secret_variable("AWS_REGION")
        (True, False)
    """
    return re.search(_VARIABLE, name) is not None


def is_secret_header(name: str) -> bool:
    """Whether an HTTP header of this name holds a secret.

    Example:
        >>> is_secret_header("X-Api-Key"), is_secret_header("Content-Type")
        (True, False)
    """
    return re.search(_HEADER, name, re.IGNORECASE) is not None


def is_secret_parameter(name: str) -> bool:
    """Whether a parameter of LiteLLM with this name holds a secret.

    Example:
        >>> is_secret_parameter("azure_ad_token"), is_secret_parameter("max_tokens")
        (True, False)
    """
    return re.search(_PARAMETER, name, re.IGNORECASE) is not None


def strip_userinfo(url: str, replacement: str = "") -> str:
    """Replace the name and password of a URL, which may be malformed.

    A password may contain an unescaped `/`. In doubt more is removed than the password.

    Example:
        >>> strip_userinfo("https://me:pa/ss@example.com/v1")
        'https://example.com/v1'
        >>> strip_userinfo("https://example.com/models/a@2026")
        'https://example.com/models/a@2026'
    """
    match = re.match(_URL_PREFIX, url, re.ASCII)
    prefix = match[0] if match is not None else ""
    rest = url[len(prefix) :]
    if "@" not in rest or re.match(_PLAIN_AUTHORITY, rest):
        return url
    return f"{prefix}{replacement}{rest.rpartition('@')[2]}"
