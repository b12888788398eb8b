"""Recognize secrets: names of environment variables, headers and parameters that hold one, and
credentials in URLs."""

from __future__ import annotations

import re

# Compiled on first use: every lookup in the catalogue imports this module.
_VARIABLE = r"KEY|TOKEN|SECRET|JWT|PASSWORD|_PAT$"
_HEADER = (
    "auth|key|token|secret|cookie|passw|passphrase|pwd|credential|signature|session|jwt|bearer"
    "|(^|[-_])(pass|pat|sid|sig)$"
)
_PARAMETER = r"(api|access|private|secret|master)_?key|(^|_)token$|secret|password|credential"
_QUERY_PARAMETER = (
    r"key(?!word)|token|secret|passw|passphrase|pwd|auth(?!or)|credential|signature|session|jwt"
    r"|(^|[-_])(code|pass|pat|sid|sig)$"
)
_QUERY_FIELD = r"([?&;#])([^=&;#?]*)=([^&;#]*)"
_URL_PREFIX = r"(\w[\w+.-]*://|//)?"
# Tokens of consumer subscriptions whose terms exclude other applications, and what to do.
_SUBSCRIPTION_TOKENS = {
    "sk-ant-oat": "this is the token of a Claude subscription, which Anthropic's terms allow only "
    "in its own applications; create an API key at https://console.anthropic.com/settings/keys",
}
# What may be a key or a token in a text of unknown origin; names of hosts are not.
_TOKEN = r"(?!([a-z0-9-]+\.)+[a-z]{2,}(?![\w+/=.~-]))(?=[\w+/=.~-]*\d)[\w+/=.~-]{16,}|[\w+=~-]{32,}"
_MAX_TEXT_CHARS = 4096
_PLAIN_AUTHORITY = r"([\w.-]*|\[[0-9a-fA-F:.]+\])(:\d*)?(?=[/?#]|$)"


def subscription_problem(text: str) -> str:
    """Return why a key, or a header that holds one, must not be used; "": it may be.

    Example:
        >>> subscription_problem("sk-ant-oat01-x")[:45]
        'this is the token of a Claude subscription, w'
        >>> subscription_problem("sk-ant-api03-x")
        ''
    """
    problems = (problem for prefix, problem in _SUBSCRIPTION_TOKENS.items() if prefix in text)
    return next(problems, "")


def mask_tokens(text: str) -> str:
    """Return the beginning of a text on one line, without words that may be a key or a token.

    Example:
        >>> mask_tokens("the token ya29.a0AfH6SMBx-3kQ is\\nnot accepted")
        'the token *** is not accepted'
    """
    return re.sub(_TOKEN, "***", " ".join(text[:_MAX_TEXT_CHARS].split()))


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


def is_secret_query_parameter(name: str) -> bool:
    """Whether a parameter in the query of a URL holds a secret.

    Example:
        >>> is_secret_query_parameter("sig"), is_secret_query_parameter("tenant")
        (True, False)
    """
    return re.search(_QUERY_PARAMETER, name, re.IGNORECASE) is not None


def mask_url(url: str, userinfo: str = "") -> str:
    """Return a URL that can be shown: `userinfo` in place of name and password, secrets masked.

    Example:
        >>> mask_url("https://me:secret@example.com/v1?tenant=7&key=secret")
        'https://example.com/v1?tenant=7&key=***'
    """
    from urllib.parse import unquote_plus

    def mask(field: re.Match[str]) -> str:
        is_secret = is_secret_query_parameter(unquote_plus(field[2]))
        return f"{field[1]}{field[2]}=***" if is_secret else field[0]

    return re.sub(_QUERY_FIELD, mask, strip_userinfo(url, userinfo))


def url_secrets(url: str) -> list[str]:
    """Return the password of a URL, or the name if it has no password, and secret parameters.

    Example:
        >>> url_secrets("https://me:pass%40word@example.com/v1?tenant=7&key=secret")
        ['pass@word', 'secret']
    """
    if not any(mark in url for mark in "@?#"):
        return []
    from urllib.parse import parse_qsl, unquote, urlsplit

    try:
        parts = urlsplit(url)
        login = unquote(parts.password or parts.username or "")
    except ValueError:
        return []
    fields = parse_qsl(parts.query) + parse_qsl(parts.fragment)
    values = [value for name, value in fields if is_secret_query_parameter(name)]
    return [login, *values] if login else values


def strip_userinfo(url: str, replacement: str = "") -> str:
    """Replace the name and password of a URL, which may be malformed.

    A password may contain an unescaped `/`. If in doubt, more than the password is removed.

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
