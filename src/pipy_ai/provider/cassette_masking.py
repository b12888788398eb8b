"""Remove what must not reach the file of a cassette: secrets, cookies, signatures, account ids."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from ..utils.secrets import (
    is_secret_header,
    is_secret_parameter,
    is_secret_variable,
    mask_url,
    strip_userinfo,
    url_secrets,
)
from .credentials import PLACEHOLDER_KEY
from .redaction import MASK, MIN_SECRET_CHARS, redact, secret_forms

_RECORDED_HEADERS = frozenset({"anthropic-beta", "openai-beta"})
# Headers whose values are no secrets. Any other long value may be one, whatever its name.
_PLAIN_HEADER = re.compile(
    r"accept(-encoding)?|anthropic-[\w-]+|connection|content-(length|type)|host|http-referer"
    r"|openai-beta|user-agent|x-amz-(date|content-sha256)|x-stainless-[\w-]+|x-title"
)
# Headers of responses that the decoders, the retries and `message.request_id` read.
_RESPONSE_HEADER = re.compile(
    r"(llm_provider-)?(content-type|date|location|retry-after(-ms)?|x-should-retry"
    r"|[\w-]*request-?id|x-amzn-errortype|x-amzn-bedrock-[\w-]+|x-gemini-service-tier"
    r"|x-litellm-(response-cost|model-name|cache-key)|[\w-]*ratelimit[\w-]*)"
)
_ACCOUNT_HEADER = re.compile(r"organi[sz]ation|project|account|customer|workspace|tenant")
# Ids of accounts: group 1 is kept.
_URL_ACCOUNTS = (
    r"(://)[^./:]+(?=\.(?:openai|services\.ai|cognitiveservices)\.azure\.)",
    r"(://)[^./:]+(?=\.(?:cloud\.databricks\.com|azuredatabricks\.net|snowflakecomputing\.com))",
    r"(/projects/)[^/?]+",
    r"(/accounts/)[^/?]+",
    r"(gateway\.ai\.cloudflare\.com/v1/)[^/?]+",
)
_TEXT_ACCOUNTS = (
    r"(\borg[-_])(?=[A-Za-z]*\d)[A-Za-z0-9]{12,}",
    r"(\bproj_)(?=[A-Za-z]*\d)[A-Za-z0-9]{12,}",
    r"(\barn(?::|%3[aA])aws[\w-]*(?::|%3[aA])[\w-]*(?::|%3[aA])[\w-]*(?::|%3[aA]))\d{12}",
    r"(\bprojects/)\d{6,}",
    r"(\b(?:AKIA|ASIA))[A-Z0-9]{16}\b",
)
# Fields of an error that name the caller. In an answer, they may be arguments of a tool.
_ERROR_ACCOUNT = (
    r'("(?:account|customer|org|organization|project|tenant|user|workspace)_?[iI]d"\s*:\s*")[^"]+'
)


def plain_request(method: str, url: str, content: bytes) -> dict[str, Any]:
    """Return a request to compare with recorded ones. It may hold secrets."""
    request: dict[str, Any] = {"method": method, "url": strip_userinfo(url)}
    return {**request, "body": _parse(content)} if content else request


def masked_request(
    method: str, url: str, headers: Iterable[tuple[str, str]], content: bytes
) -> tuple[dict[str, Any], list[str]]:
    """Return what is recorded of a request, and the secrets that its response may repeat."""
    headers = [(name.lower(), value) for name, value in headers]
    secrets = [value.strip() for name, value in os.environ.items() if is_secret_variable(name)]
    secrets += url_secrets(url)
    for name, value in headers:
        if is_secret_header(name) or _ACCOUNT_HEADER.search(name) or _may_be_token(name, value):
            secrets += re.split(r"[\s;,]+(?:[^\s=;,]+=)?", f" {value}")
    for pattern in _URL_ACCOUNTS:
        secrets += [unquote(match[0].removeprefix(match[1])) for match in re.finditer(pattern, url)]
    secrets = _distinct(secrets)
    masked_url = mask_accounts(redact(mask_url(url), secrets), _URL_ACCOUNTS)
    request: dict[str, Any] = {"method": method, "url": masked_url}
    if kept := {n: redact(value, secrets) for n, value in headers if n in _RECORDED_HEADERS}:
        request["headers"] = kept
    if content:
        request["body"] = _mask_values(_parse(content), secrets)
    return request, secrets


def _may_be_token(name: str, value: str) -> bool:
    is_long_word = re.fullmatch(r"(?=.*\d)\S{20,}", value.strip()) is not None
    return is_long_word and not _PLAIN_HEADER.fullmatch(name)


def _distinct(secrets: Iterable[str]) -> list[str]:
    plain_words = {"AWS4-HMAC-SHA256", PLACEHOLDER_KEY, MASK, "aws4_request"}
    return [
        secret
        for secret in dict.fromkeys(secrets)
        if len(secret) >= MIN_SECRET_CHARS and secret not in plain_words
    ]


def _parse(content: bytes) -> Any:
    """Return the JSON of a body, or else its text."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content.decode("utf-8", "replace")


def _mask_values(value: Any, secrets: Sequence[str], name: str = "") -> Any:
    if isinstance(value, str):
        return MASK if is_secret_parameter(name) else mask_accounts(redact(value, secrets))
    if isinstance(value, list):
        return [_mask_values(item, secrets) for item in value]
    if isinstance(value, dict):
        return {key: _mask_values(item, secrets, key) for key, item in value.items()}
    return value


def mask_accounts(text: str, more_patterns: Sequence[str] = ()) -> str:
    """Return a text with the ids of accounts masked."""
    for pattern in (*_TEXT_ACCOUNTS, *more_patterns):
        text = re.sub(pattern, rf"\1{MASK}", text)
    return text


def response_secrets(headers: Mapping[str, str]) -> list[str]:
    """Return the cookies and account ids of a response's headers, which its body may repeat."""
    values: list[str] = []
    for name, value in headers.items():
        if "cookie" in name.lower():
            values += re.findall(r"(?:^|[,;]\s*)[\w.-]+=([^;,\s]{16,})", value)
        elif _ACCOUNT_HEADER.search(name.lower()):
            values.append(value)
    return _distinct(values)


def masked_headers(headers: Mapping[str, str], secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers of a response that are recorded."""
    return {
        name.lower(): mask_accounts(redact(mask_url(value), secrets))
        for name, value in headers.items()
        if _RESPONSE_HEADER.fullmatch(name.lower())
    }


def masked_body(status: int, body: bytes, secrets: Sequence[str]) -> bytes:
    """Return the body of a response without secrets."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return _mask_binary(body, secrets)
    if any(ord(character) < 9 for character in text[:64]):  # binary frames may be valid UTF-8
        return _mask_binary(body, secrets)
    patterns = [_ERROR_ACCOUNT] if status >= 400 else []
    return mask_accounts(redact(text, secrets), patterns).encode()


def _mask_binary(body: bytes, secrets: Sequence[str]) -> bytes:
    """Overwrite the secrets of a binary body, and correct the checksums of AWS's event streams."""
    clean = body
    for form in {form for secret in secrets for form in secret_forms(secret)}:
        clean = clean.replace(form.encode(), b"*" * len(form.encode()))
    for pattern in _TEXT_ACCOUNTS:
        clean = re.sub(pattern.encode(), _overwrite, clean)
    if clean == body:
        return body
    frames, start = bytearray(clean), 0
    while start + 16 <= len(body):
        size = int.from_bytes(body[start : start + 4], "big")
        prelude_crc = int.from_bytes(body[start + 8 : start + 12], "big")
        end = start + size
        if zlib.crc32(body[start : start + 8]) != prelude_crc or size < 16 or end > len(body):
            break
        frames[end - 4 : end] = zlib.crc32(frames[start : end - 4]).to_bytes(4, "big")
        start = end
    return bytes(frames)


def _overwrite(match: re.Match[bytes]) -> bytes:
    return match[1] + b"*" * (len(match[0]) - len(match[1]))
