"""`-m sonnet`: a model by some of its words.

A name that the library takes means what it means there. Else each word has to stand in the model's
name, a number as a whole version (`4` is not `4.5`). Of the matches those count that are offered by
their makers and have no further words (`gemini flash` is no `…-flash-lite`). When all are of one
family of one maker, the newest is taken, and said; else nothing is asked.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from .terminal import complain

if TYPE_CHECKING:
    from ..registry.registry import ModelRegistry

NEUTRAL = {"latest", "it", "instruct"}  # words of a name that do not make it another model


def named(name: str) -> str:
    """The name to ask for, when somebody typed `name`. Says on stderr what was chosen.

    Raises:
        ValueError: no model, or several could be meant.
    """
    from ..registry import get_registry
    from ..registry.names import fold

    name = name.strip()
    if not name or "/" in name or _routed(name):
        return name
    registry = get_registry()
    if registry.find(name)[0] is not None:
        return name
    words = [fold(word) for word in name.split()]
    with contextlib.suppress(ValueError):  # several may be meant
        full, guessed = registry.find("-".join(words))
        if full is not None and not guessed:
            return _said(name, full)
    found = _matches(registry, words)
    if not found:
        raise ValueError(_unknown(registry, name, words))
    if len({(full.partition("/")[0], _family(registry, full)) for full in found}) == 1:
        return _said(name, min(found, key=lambda full: _age(registry, full)))
    shown = _newest(registry, found)
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    raise ValueError(f"{name!r} may mean {', '.join(shown[:8])}{more}; say more of the name")


def _newest(registry: ModelRegistry, found: list[str]) -> list[str]:
    """The newest of each family of each provider."""
    newest: dict[tuple[str, str], str] = {}
    for full in sorted(found, key=lambda full: _age(registry, full)):
        newest.setdefault((full.partition("/")[0], _family(registry, full)), full)
    return list(newest.values())


def _unknown(registry: ModelRegistry, name: str, words: list[str]) -> str:
    """What to say when no name has the words: perhaps one of them is misspelt."""
    import difflib

    known = {word for full in registry.rows() for word in re.findall(r"[a-z]{3,}", full)}
    near = [next(iter(difflib.get_close_matches(word, known, 1, 0.8)), word) for word in words]
    if near != words and (found := _newest(registry, _matches(registry, near))):
        return f"no model {name!r} in the catalogue; did you mean {' or '.join(found[:3])}?"
    return registry.unknown(name)


def _routed(name: str) -> bool:
    """Whether the Router's configuration has a model of this name."""
    from ..provider import registered
    from ..provider.resolve import by_router

    return by_router(name, getattr(registered("litellm"), "config_path", None)) is not None


def _said(name: str, full: str) -> str:
    complain(f"{name}: asking {full}")
    return full


def _matches(registry: ModelRegistry, words: list[str]) -> list[str]:
    from ..registry.names import FIRST_PARTIES, fold
    from ..registry.store import FLAG, FLAGS, STATUS

    patterns = [re.compile(_pattern(word)) for word in words]
    found = [
        full
        for full, row in registry.rows().items()
        if row[FLAGS] & FLAG["chat"] and row[STATUS] not in ("removed", "deprecated")
        if all(pattern.search(fold(full.partition("/")[2])) for pattern in patterns)
    ]
    makers = [full for full in found if full.partition("/")[0] in FIRST_PARTIES]
    found = makers or [full for full in found if registry._has_key(full.partition("/")[0])] or found
    family = "-".join(words)
    found = [full for full in found if _family(registry, full) == family] or found
    return [full for full in found if not _further(registry, full, words)] or found


def _pattern(word: str) -> str:
    """A word within a folded name. A number is a whole version: `4` is not in `4-5` or `o4`."""
    begin = r"(?<![0-9a-z])" if word[:1].isdigit() else "(?<![a-z])"
    if re.fullmatch(r"[0-9-]+", word):
        begin += r"(?<![0-9]-)"
    end = r"(?![0-9a-z])(?!-[0-9]{1,2}(?![0-9a-z]))" if word[-1:].isdigit() else ""
    return begin + re.escape(word) + end


def _further(registry: ModelRegistry, full: str, words: list[str]) -> bool:
    """Whether the name has words that neither were said nor are its family's."""
    own = re.findall(r"\b[a-z]+\b", full.partition("/")[2].lower())
    known = set(re.findall(r"[a-z]+", " ".join([*words, _family(registry, full)])))
    return any(word not in known and word not in NEUTRAL for word in own)


def _family(registry: ModelRegistry, full: str) -> str:
    """The words of a model's family, without a version."""
    from ..registry.names import fold
    from ..registry.store import FAMILY

    words = fold(str(registry.rows()[full][FAMILY])).split("-")
    return "-".join(word for word in words if word.isalpha()) or full


def _age(registry: ModelRegistry, full: str) -> tuple[Any, ...]:
    """Sorts the newest first, and a short name before a dated one."""
    from ..registry.store import RELEASED

    released = str(registry.rows()[full][RELEASED])
    return tuple(-ord(letter) for letter in released), len(full), full
