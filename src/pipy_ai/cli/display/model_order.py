"""The order of `pipy models`: models that can be used first, then what most people look for."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ...registry.index import FAMILY, RELEASED, STATUS
from ...registry.names import FIRST_PARTY_PROVIDERS

if TYPE_CHECKING:
    from ...registry.catalogue import ModelRegistry

# The vendors whose newest models come first; there are no public figures on use.
POPULAR_PROVIDERS = FIRST_PARTY_PROVIDERS[:6]
_VENDOR_RANKS = {provider: rank for rank, provider in enumerate(POPULAR_PROVIDERS)}


def usable_providers(registry: ModelRegistry, names: list[str]) -> set[str]:
    """Return which providers of the models have a key."""
    from ...registry.catalogue import has_key

    providers = {name.partition("/")[0] for name in names}
    records = registry.providers()
    return {name for name in providers if name in records and has_key(records[name])}


def sort_by_interest(
    names: list[str], rows: dict[str, list[Any]], usable: Collection[str]
) -> list[str]:
    """Sort models: those with a key first, then the newest of each family of a popular vendor.

    The other models of these vendors follow, then those of other providers by name. Within a
    provider, newer models come first and deprecated ones last.
    """
    newest = _newest_of_families(names, rows)

    def rank(name: str) -> tuple[Any, ...]:
        provider = name.partition("/")[0]
        if name in newest:
            return provider not in usable, 0, newest[name]
        vendor_rank = _VENDOR_RANKS.get(provider, len(_VENDOR_RANKS))
        is_retired = rows[name][STATUS] in ("deprecated", "removed")
        return provider not in usable, 1, vendor_rank, provider, is_retired

    names = sorted(names, key=lambda name: (len(name), name))  # without a date before with one
    names.sort(key=lambda name: str(rows[name][RELEASED]), reverse=True)
    return sorted(names, key=rank)


def _newest_of_families(names: list[str], rows: dict[str, list[Any]]) -> dict[str, int]:
    """Return the newest model of each family of the popular vendors, and their positions."""
    candidates = [
        name
        for name in names
        if name.partition("/")[0] in POPULAR_PROVIDERS
        and rows[name][STATUS] not in ("deprecated", "removed")
    ]
    candidates.sort(key=len)  # a name without a date before one with it
    candidates.sort(key=lambda name: str(rows[name][RELEASED]), reverse=True)
    newest: dict[tuple[str, str], str] = {}
    for name in candidates:
        newest.setdefault((name.partition("/")[0], str(rows[name][FAMILY])), name)
    shown = sorted(newest.values(), key=lambda name: _VENDOR_RANKS[name.partition("/")[0]])
    return {name: position for position, name in enumerate(shown)}
