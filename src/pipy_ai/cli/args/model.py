"""Resolve `-m sonnet`: find a model by part of its name.

A name that the library resolves keeps its meaning. Otherwise every word must occur in the model's
name, and a number must be a whole version (`4` does not match `4.5`). Among the matches, models
of first-party providers without additional words are preferred (`gemini flash` does not match
`…-flash-lite`). If all are of one family and provider, the newest is used and announced; otherwise
it is an error.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from ...utils.text import did_you_mean
from ..display.terminal import warn

if TYPE_CHECKING:
    from ...registry.catalogue import ModelRegistry

NEUTRAL_WORDS = {"latest", "it", "instruct"}  # words in names that do not tell models apart


def resolve_model(name: str, action: str = "using") -> str:
    """Return the full name of the model that the user's `name` means; print it if it was chosen.

    `action` is what is printed before the full name.

    Raises:
        ValueError: No model matches, or several do.
    """
    from ...registry import get_registry
    from ...registry.names import normalize_name

    name = name.strip()
    if not name or "/" in name or _is_router_model(name):
        return name
    registry = get_registry()
    if registry.resolve_name(name)[0] is not None:
        return name
    words = [normalize_name(word) for word in name.split()]
    with contextlib.suppress(ValueError):  # the name is ambiguous
        full, is_guess = registry.resolve_name("-".join(words))
        if full is not None and not is_guess:
            return _announce(name, full, action)
    matches = _matching_models(registry, words)
    if not matches:
        raise ValueError(_unknown_model_message(registry, name, words))
    if len({(full.partition("/")[0], _family(registry, full)) for full in matches}) == 1:
        newest = min(matches, key=lambda full: _newest_first_key(registry, full))
        return _announce(name, newest, action)
    candidates = _newest_per_family(registry, matches)
    remainder = f" and {len(candidates) - 8} more" if len(candidates) > 8 else ""
    raise ValueError(
        f"{name!r} may mean {', '.join(candidates[:8])}{remainder}; use a longer part of the name"
    )


def _newest_per_family(registry: ModelRegistry, matches: list[str]) -> list[str]:
    """Return the newest model of each family of each provider."""
    newest: dict[tuple[str, str], str] = {}
    for full in sorted(matches, key=lambda full: _newest_first_key(registry, full)):
        newest.setdefault((full.partition("/")[0], _family(registry, full)), full)
    return list(newest.values())


def _unknown_model_message(registry: ModelRegistry, name: str, words: list[str]) -> str:
    """Return the message for words that no name has, with corrections of misspelled words."""
    import difflib

    vocabulary = {word for full in registry.rows() for word in re.findall(r"[a-z]{3,}", full)}
    corrected = [
        next(iter(difflib.get_close_matches(word, vocabulary, 1, 0.8)), word) for word in words
    ]
    if corrected != words and (
        suggestions := _newest_per_family(registry, _matching_models(registry, corrected))
    ):
        return f"no model {name!r} in the catalogue; {did_you_mean(suggestions[:3])}"
    return registry.unknown_model_message(name)


def _is_router_model(name: str) -> bool:
    """Return whether the Router's configuration has a model of this name."""
    from ...provider.registered import registered_provider
    from ...provider.resolve import resolve_router_model

    return (
        resolve_router_model(name, getattr(registered_provider("litellm"), "config_path", None))
        is not None
    )


def _announce(name: str, full: str, action: str) -> str:
    warn(f"{name}: {action} {full}")
    return full


def _matching_models(registry: ModelRegistry, words: list[str]) -> list[str]:
    from ...registry.index import FLAG_BITS, FLAGS, STATUS
    from ...registry.names import FIRST_PARTY_PROVIDERS, normalize_name

    patterns = [re.compile(_word_pattern(word)) for word in words]
    matches = [
        full
        for full, row in registry.rows().items()
        if row[FLAGS] & FLAG_BITS["chat"] and row[STATUS] not in ("removed", "deprecated")
        if all(pattern.search(normalize_name(full.partition("/")[2])) for pattern in patterns)
    ]
    first_party = [full for full in matches if full.partition("/")[0] in FIRST_PARTY_PROVIDERS]
    matches = (
        first_party or [full for full in matches if _provider_has_key(registry, full)] or matches
    )
    family = "-".join(words)
    matches = [full for full in matches if _family(registry, full) == family] or matches
    return [full for full in matches if not _has_extra_words(registry, full, words)] or matches


def _provider_has_key(registry: ModelRegistry, full: str) -> bool:
    from ...registry.catalogue import has_key

    record = registry.provider_record(full.partition("/")[0])
    return record is not None and has_key(record)


def _word_pattern(word: str) -> str:
    """Return a pattern that finds a word in a normalized name.

    A number must be a whole version: `4` matches neither `4-5` nor `o4`.
    """
    prefix = r"(?<![0-9a-z])" if word[:1].isdigit() else "(?<![a-z])"
    if re.fullmatch(r"[0-9-]+", word):
        prefix += r"(?<![0-9]-)"
    suffix = r"(?![0-9a-z])(?!-[0-9]{1,2}(?![0-9a-z]))" if word[-1:].isdigit() else ""
    return prefix + re.escape(word) + suffix


def _has_extra_words(registry: ModelRegistry, full: str, words: list[str]) -> bool:
    """Return whether the name has words that are neither the user's nor its family's."""
    name_words = re.findall(r"\b[a-z]+\b", full.partition("/")[2].lower())
    expected_words = set(re.findall(r"[a-z]+", " ".join([*words, _family(registry, full)])))
    return any(word not in expected_words and word not in NEUTRAL_WORDS for word in name_words)


def _family(registry: ModelRegistry, full: str) -> str:
    """Return a model's family without a version."""
    from ...registry.index import FAMILY
    from ...registry.names import normalize_name

    words = normalize_name(str(registry.rows()[full][FAMILY])).split("-")
    return "-".join(word for word in words if word.isalpha()) or full


def _newest_first_key(registry: ModelRegistry, full: str) -> tuple[Any, ...]:
    """Return a sort key: the newest first, and a short name before a dated one."""
    from ...registry.index import RELEASED

    released = str(registry.rows()[full][RELEASED])
    return tuple(-ord(letter) for letter in released), len(full), full
