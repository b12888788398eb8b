"""Targets: keys and other secrets in text that users see."""

from __future__ import annotations

import base64
import html
import json
import random
import string
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote

from pipy_ai.provider.redaction import MASK, redact

from .harness import target
from .values import some_text

_PREFIXES = (
    "sk-",
    "sk-ant-api03-",
    "sk-proj-",
    "AIzaSy",
    "gsk_",
    "hf_",
    "xai-",
    "key/",
    "",
    "Ünï-",
)
_ALPHABETS = (
    string.ascii_letters + string.digits,
    string.ascii_letters + string.digits + "-_",
    string.ascii_letters + string.digits + "+/=",
    string.hexdigits,
    string.ascii_letters + string.digits + "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ",
    string.ascii_letters + "éßñ日本",
)
_WORDS = (
    "Incorrect API key provided:", "at", "https://host/v1?key=", '{"error": "', "Bearer", "\n",
    "100%", "a&b", "C:\\users", "&lt;", "%20", "\\n", "…", "日本", "`x`", "Basic ",
)  # fmt: skip
LEAST_LEAK = 10  # so many first or last characters of a key in a row are a leak


def some_key(rng: random.Random) -> str:
    """Return a key as providers make them, or a password."""
    alphabet = rng.choice(_ALPHABETS)
    return rng.choice(_PREFIXES) + "".join(rng.choices(alphabet, k=rng.randint(8, 60)))


def _as_json(rng: random.Random, text: str) -> str:
    """Escape as JSON, and escape some characters that need no escape."""
    chars = []
    for char in text:
        kind = rng.random()
        if char in '"\\':
            chars.append(f"\\{char}" if kind < 0.7 else f"\\u{ord(char):04x}")
        elif kind < 0.2:
            code = f"{ord(char):04x}"
            chars.append(f"\\u{code.upper() if kind < 0.1 else code}")
        else:
            chars.append("\\/" if char == "/" and kind < 0.6 else char)
    return "".join(chars)


def _as_entities(rng: random.Random, text: str) -> str:
    spellings: tuple[Callable[[str], str], ...] = (
        html.escape, html.escape, html.escape,
        lambda char: f"&#{ord(char)};", lambda char: f"&#x{ord(char):x};",
        lambda char: f"&#X{ord(char):04X};",
    )  # fmt: skip
    return "".join(rng.choice(spellings)(char) for char in text)


def _percent_encoded(rng: random.Random, text: str) -> str:
    encoded = "".join(
        "".join(f"%{byte:02x}" for byte in char.encode())
        if rng.random() < 0.2
        else quote(char, safe="")
        for char in text
    )
    return encoded.lower() if encoded == quote(text, safe="") and text.islower() else encoded


_USERS = ("u", "me", "api", "")
_SPELLINGS: tuple[Callable[[random.Random, str], str], ...] = (
    lambda rng, key: key,
    lambda rng, key: json.dumps(key)[1:-1],
    lambda rng, key: json.dumps(json.dumps(key))[1:-1],
    lambda rng, key: repr(key)[1:-1],
    lambda rng, key: ascii(key)[1:-1],
    lambda rng, key: repr(key.encode())[2:-1] if key.isascii() else key,
    lambda rng, key: html.escape(key),
    lambda rng, key: json.dumps(html.escape(key))[1:-1],
    lambda rng, key: quote_plus(key),
    lambda rng, key: quote(quote(key, safe=""), safe=""),
    lambda rng, key: base64.b64encode(
        f"{rng.choice(('u', 'me', 'api', ''))}:{key}".encode()
    ).decode(),
    lambda rng, key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
    lambda rng, key: quote(base64.b64encode(f"user:{key}".encode()).decode(), safe=""),
    _as_json,
    _as_entities,
    _percent_encoded,
)


def _leak(text: str, key: str) -> str:
    """Return a part of a key that is in a text in some spelling; an empty string: none is."""
    views = [text]
    for _ in range(3):
        views.append(html.unescape(views[-1]))
    views += [unquote(view) for view in (text, unquote(text))]
    for part in (key[:LEAST_LEAK], key[-LEAST_LEAK:]):
        spellings = [
            part,
            json.dumps(part)[1:-1],
            html.escape(part),
            quote(part, safe=""),
            repr(part)[1:-1],
        ]
        for view in views:
            for spelling in spellings:
                if spelling in view:
                    return spelling
    return ""


def _around(rng: random.Random, key: str) -> str:
    text = " ".join(rng.choices(_WORDS, k=rng.randint(0, 4))) + rng.choice(
        ("", " ", "'", '"', ": ")
    )
    text += " " if text.endswith("%") else ""  # a sign before an escaped key may belong to it
    return "" if _leak(text, key) else text


@target
def redaction(rng: random.Random) -> None:
    """A key in any spelling, whole or cut, does not stay in a text."""
    key = some_key(rng)
    spelling = rng.choice(_SPELLINGS)(rng, key)
    before, after = _around(rng, key), _around(rng, key)
    whole = f"{before}{spelling}{after}"
    text = redact(whole, [key])
    assert not _leak(text, key), (whole, text)
    assert MASK in text
    if spelling == key:
        assert text.startswith(before[: len(before) // 2])
    cut = whole[: rng.randint(len(before), len(before) + len(spelling))] + rng.choice(
        ("", "…", "...", "'", '"…')
    )
    assert not _leak(redact(cut, [key]), key), (cut, redact(cut, [key]))


@target
def redaction_of_base64(rng: random.Random) -> None:
    """A key that base64 hides, whole or cut, is not readable in what stays."""
    key = some_key(rng)
    user = "".join(rng.choices(string.ascii_letters, k=rng.randint(0, 8)))
    encode = rng.choice((base64.b64encode, base64.urlsafe_b64encode))
    token = encode(f"{user}:{key}".encode()).decode()
    token = token[: rng.randint(0, len(token))] if rng.random() < 0.5 else token
    text = redact(f"Basic {token}", [key]).removeprefix("Basic ")
    kept = text.translate(str.maketrans("-_", "+/")).split(MASK)
    for part in kept:
        for skipped in range(4):
            data = part.rstrip("=")[skipped:]
            data = data[: len(data) // 4 * 4]
            decoded = base64.b64decode(data) if data else b""
            assert key.encode()[:LEAST_LEAK] not in decoded, (token, text)
            assert key.encode()[-LEAST_LEAK:] not in decoded, (token, text)


@target
def redaction_of_other_text(rng: random.Random) -> None:
    """Text without the key stays as it is."""
    key = some_key(rng)
    text = " ".join(
        rng.choice((*_WORDS, some_text(rng), some_key(rng)[:30])) for _ in range(rng.randint(0, 6))
    )
    for start in range(len(key) - 7):
        if key[start : start + 8] in text:
            return
    assert redact(text, [key, "short"]) == text
