"""Remove API keys and other secrets from errors, previews and log lines."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

from ..errors import ProviderError
from ..failures import classify_exception
from ..utils.secrets import (
    is_secret_header,
    is_secret_parameter,
    is_secret_variable,
    mask_url,
    url_secrets,
)
from .http.client import HTTPRequest
from .request import Preview, Request
from .router import load_router_config
from .wires._parsing import MalformedResponseError

MASK = "***"
MIN_SECRET_CHARS = 8  # anything shorter is not a key, and may occur in ordinary text
MIN_PART_CHARS = 10  # minimum length of a part of a secret that is masked anywhere in a text
MAX_MESSAGE_CHARS = 1 << 16
MAX_VIEWS = 12  # ways to decode the escapes of a text
MAX_TAIL_CHARS = 64
MAX_TOOL_VALUES = 100_000

_HEX = "[0-9a-fA-F]"
_BACKSLASH_ESCAPES = (
    rf"\\u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}"
    rf"|\\u{_HEX}{{4}}|\\U{_HEX}{{8}}|\\x{_HEX}{{2}}|\\."
)
_ENTITIES = rf"&(?:#[0-9]{{1,8}};?|#[xX]{_HEX}{{1,8}};?|[a-zA-Z][a-zA-Z0-9]{{1,30}};)"
_PERCENT_ESCAPES = rf"(?:%{_HEX}{{2}})+"
# Compiled on first use, which takes 1 ms: most requests have nothing to redact.
_ESCAPES = (
    f"{_BACKSLASH_ESCAPES}|{_ENTITIES}|{_PERCENT_ESCAPES}",
    _BACKSLASH_ESCAPES,
    _ENTITIES,
    _PERCENT_ESCAPES,
)
_BACKSLASHED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}
# The rest of a truncated escape, and the characters that follow a truncated text.
_CUT_END = rf"(?:\\[uUx]?{_HEX}{{0,8}}|&#?\w{{0,8}}|%{_HEX}?)?[…'\" .]*\Z"
_URL_SAFE = str.maketrans("+/", "-_")


def redacted_error(exc: Exception, request: Request, secrets: Sequence[str]) -> ProviderError:
    """Classify an exception and remove every secret from its message.

    Without `secrets`, those of the environment are removed: LiteLLM may have read one.
    """
    error = exc.error if isinstance(exc, ProviderError) else classify_exception(exc)
    error.provider = request.provider
    secrets = _request_secrets(request, secrets)
    if isinstance(exc, MalformedResponseError):
        error.message = exc.describe(redact(exc.data, secrets))
    error.message = redact(error.message[:MAX_MESSAGE_CHARS], secrets)
    error.request_id = redact(error.request_id, secrets) if error.request_id else None
    return ProviderError(error)


def response_redactor(request: Request, secrets: Sequence[str]) -> Callable[[str], str]:
    """Return a function that removes the secrets of a request from texts of its response."""

    all_secrets: list[str] | None = None

    def remove_secrets(text: str) -> str:
        nonlocal all_secrets
        if all_secrets is None:
            all_secrets = [*_given_secrets(request), *secrets]
        return redact(text, all_secrets)

    return remove_secrets


def _given_secrets(request: Request) -> list[str]:
    """Return the secrets that the caller passed in headers, in `extra` and in `api_base`."""
    secrets = _header_secrets(request) + url_secrets(request.options.api_base or "")
    for name, value in (request.options.extra or {}).items():
        if is_secret_parameter(name):
            secrets += _parameter_secrets(value)
    return secrets + _tool_secrets(request)


def _tool_secrets(request: Request) -> list[str]:
    """Return the access tokens in the definitions of tools, such as those of MCP servers."""
    extra, secrets = request.options.extra or {}, []
    values = [extra.get(name) for name in ("tools", "mcp_servers")]
    for value in values:
        if len(values) > MAX_TOOL_VALUES:  # or it contains itself
            break
        if isinstance(value, list | tuple):
            values += value
        for name, item in value.items() if isinstance(value, dict) else ():
            if isinstance(item, str) and is_secret_header(name):
                secrets += [item.strip(), item.strip().rpartition(" ")[2]]
            values.append(item)
    return secrets


def _parameter_secrets(value: Any) -> list[str]:
    """Return the secrets of a parameter, which may be a file of credentials."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, dict):
        values = [item for name, item in value.items() if is_secret_parameter(name)]
    else:
        values = [value]
    return [item.strip() for item in values if isinstance(item, str)]


def _header_secrets(request: Request) -> list[str]:
    """Return the values of secret headers, and their parts: a token, or cookies."""
    extra_headers = (request.options.extra or {}).get("extra_headers")
    headers = {
        **(request.options.headers or {}),
        **(extra_headers if isinstance(extra_headers, dict) else {}),
    }
    return [
        part
        for name, value in headers.items()
        if isinstance(value, str) and is_secret_header(name)
        for part in (value.strip(), *re.split(r"[\s;,]+(?:[^\s=;,]+=)?", f" {value}"))
    ]


def _environment_url_secrets() -> list[str]:
    """Return the secrets of proxies and of other addresses in the environment."""
    secrets: list[str] = []
    for name, value in os.environ.items():
        if "://" in value:
            secrets += url_secrets(value)
        elif name.lower().endswith("_proxy") and "@" in value:
            secrets += url_secrets(f"http://{value}")
    return secrets


def _request_secrets(request: Request, own_secrets: Sequence[str]) -> list[str]:
    secrets = _given_secrets(request) + _environment_url_secrets()
    if request.route.kind == "router":
        with contextlib.suppress(ProviderError):
            config = load_router_config(request.route.api_base or None)
            secrets += config.secrets() if config is not None else []
    secrets += own_secrets
    if not own_secrets:
        secrets += [value for name, value in os.environ.items() if is_secret_variable(name)]
    return secrets


def redacted_preview(
    http_request: HTTPRequest, request: Request, secrets: Sequence[str]
) -> Preview:
    """Convert a request to a `Preview` with its secrets and all secret headers masked."""
    secrets = [*secrets, *_tool_secrets(request)]
    headers = {
        name: MASK if any(s in value for s in secrets) or is_secret_header(name) else value
        for name, value in http_request.headers
    }
    url = redact(mask_url(http_request.url), [*secrets, *url_secrets(http_request.url)])
    body = _redact_json(json.loads(http_request.content), secrets)
    return Preview(http_request.method, url, headers, body)


def _redact_json(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, list):
        return [_redact_json(item, secrets) for item in value]
    if isinstance(value, dict):
        return {name: _redact_json(item, secrets) for name, item in value.items()}
    return value


def redact(text: str, secrets: Iterable[str]) -> str:
    """Mask every secret in `text`, also as JSON, HTML, URLs, `repr` and base64 write it.

    In a truncated text, the beginning or end of a secret is masked too.
    """
    forms = [
        form
        for secret in secrets
        if len(secret) >= MIN_SECRET_CHARS
        for form in secret_forms(secret)
    ]
    if not forms:
        return text
    spans: list[tuple[int, int]] = []
    for view, starts in _views(text):
        end = _end_before_cut(view)
        for form in forms:
            for part_start, part_end in _find_parts(view, end, form):
                spans.append((starts[part_start], starts[part_end]))
    parts, done = [], 0
    for start, end in sorted(spans):
        if start >= done:
            parts += [text[done:start], MASK]
        done = max(done, end)
    return "".join([*parts, text[done:]])


@functools.lru_cache(maxsize=64)
def secret_forms(secret: str) -> tuple[str, ...]:
    """Return a secret, and its base64 forms for every position in the encoded bytes."""
    forms = [secret, secret.replace(" ", "+")]  # as in the query of a URL
    data = secret.encode("utf-8", "surrogatepass")
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + data).decode()
        # Without the characters that also depend on the bytes before and after the secret.
        inner = encoded[(offset * 8 + 5) // 6 : (offset + len(data)) * 8 // 6]
        forms += [inner, inner.translate(_URL_SAFE)]
    return tuple(dict.fromkeys(forms))


def _find_parts(text: str, end: int, secret: str) -> Iterator[tuple[int, int]]:
    """Yield where a secret, its beginning or its end is in a text truncated at `end`."""
    if secret[:MIN_SECRET_CHARS] in text:
        yield from _find_beginnings(text, end, secret)
    tail = secret[-MIN_PART_CHARS:]
    start = text.find(tail)
    while start >= 0:
        tail_end = start + len(tail)
        before = text[max(0, tail_end - len(secret)) : tail_end]
        yield tail_end - _common_length(secret[::-1], before[::-1]), tail_end
        start = text.find(tail, start + 1)


def _find_beginnings(text: str, end: int, secret: str) -> Iterator[tuple[int, int]]:
    head = secret[:MIN_PART_CHARS]
    start = text.find(head)
    while start >= 0:
        yield start, start + _common_length(secret, text[start : start + len(secret)])
        start = text.find(head, start + 1)
    for length in range(min(len(head) - 1, end), MIN_SECRET_CHARS - 1, -1):
        if text.endswith(secret[:length], 0, end):
            yield end - length, end


def _common_length(first: str, second: str) -> int:
    """Return how many characters two texts have in common from their beginning."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))


def _end_before_cut(text: str) -> int:
    """Return where a text ends if quotes and the rest of a truncated escape are ignored."""
    tail_start = max(0, len(text) - MAX_TAIL_CHARS)
    match = re.compile(_CUT_END).search(text, tail_start)
    return match.start() if match else len(text)


def _views(text: str) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield a text unchanged and with escapes decoded, each with the positions of its characters.

    Escapes may be nested, as in JSON in JSON. Each kind is also decoded alone: the percent sign of
    `100%ab&#99;` belongs to no escape.
    """
    views: dict[str, Sequence[int]] = {text: range(len(text) + 1)}
    pending = [text]
    while pending:
        view = pending.pop(0)
        yield view, views[view]
        for kind in map(re.compile, _ESCAPES):
            if len(views) < MAX_VIEWS and kind.search(view):
                decoded, starts = _decode(view, views[view], kind)
                if decoded not in views:
                    views[decoded] = starts
                    pending.append(decoded)


def _decode(text: str, starts: Sequence[int], kind: re.Pattern[str]) -> tuple[str, list[int]]:
    """Decode one layer of escapes; return the text and the position of each character."""
    chars: list[str] = []
    decoded_starts: list[int] = []
    done = 0
    for match in kind.finditer(text):
        chars += text[done : match.start()]
        decoded_starts += starts[done : match.start()]
        at = match.start()
        for char, length in _unescape(match[0]):
            chars.append(char)
            decoded_starts.append(starts[at])
            at += length
        done = match.end()
    chars += text[done:]
    decoded_starts += starts[done:]
    return "".join(chars), decoded_starts


def _unescape(escape: str) -> Iterator[tuple[str, int]]:
    """Yield the characters of an escape, each with its length in the escaped text."""
    if escape[0] == "%":
        text = unquote(escape, errors="surrogateescape")
        for char in text:
            yield char, 3 * len(char.encode("utf-8", "surrogateescape"))
    elif escape[0] == "&":
        import html  # with a table of 2,231 names

        text = html.unescape(escape)
        for char in text:  # a few names stand for two characters
            yield char, len(escape) if char == text[-1] else 0
    elif len(escape) > 2:
        codes = [int(code, 16) for code in re.split(r"\\[uUx]", escape)[1:]]
        if len(codes) == 2:
            yield chr(0x10000 + ((codes[0] & 0x3FF) << 10) + (codes[1] & 0x3FF)), len(escape)
        else:
            yield chr(min(codes[0], 0x10FFFF)), len(escape)
    else:
        yield _BACKSLASHED.get(escape[1], escape[1]), len(escape)
