"""The order of `pipy models`: models that can be used first, then what most people look for."""

from __future__ import annotations

from ...registry.index import FAMILY, RELEASED, STATUS
from ...registry.names import FIRST_PARTY_PROVIDERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

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
    names = sorted(names)
    names.sort(key=len)  # without a date before with one
    names.sort(key=lambda name: str(rows[name][RELEASED]), reverse=True)
    newest_names = set(newest)
    groups: dict[tuple[str, bool], list[str]] = {}  # by provider and whether they are retired
    for name in names:
        if name not in newest_names:
            is_retired = rows[name][STATUS] in ("deprecated", "removed")
            groups.setdefault((name.partition("/")[0], is_retired), []).append(name)

    def rank(group: tuple[str, bool]) -> tuple[Any, ...]:
        provider, is_retired = group
        vendor_rank = _VENDOR_RANKS.get(provider, len(_VENDOR_RANKS))
        return provider not in usable, vendor_rank, provider, is_retired

    ordered = sorted(groups, key=rank)
    result: list[str] = []
    for has_key in (True, False):
        result += [name for name in newest if (name.partition("/")[0] in usable) is has_key]
        for group in ordered:
            if (group[0] in usable) is has_key:
                result += groups[group]
    return result


def _newest_of_families(names: list[str], rows: dict[str, list[Any]]) -> list[str]:
    """Return the newest model of each family of the popular vendors, in their order."""
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
    return sorted(newest.values(), key=lambda name: _VENDOR_RANKS[name.partition("/")[0]])
