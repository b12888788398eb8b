"""Format prices, routes and the catalogue's age."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from ...utils.text import format_usd
from .terminal import hint, warn

if TYPE_CHECKING:
    from ...registry.catalogue import ModelRegistry
    from ...registry.routing import Route

MAX_PRICE_AGE_DAYS = 60  # days after which prices are worth a warning


def zero_price_label(provider: str) -> str:
    """What a price of 0 means."""
    return "part of a plan" if "plan" in provider or "coding" in provider else "free"


def route_to_dict(route: Route) -> dict[str, Any]:
    return {
        "rule": route.kind,
        "litellm": route.model,
        "api_base": route.api_base or None,
        "keys": list(route.key_env),
        "needs": list(route.required_env),
        "missing": route.missing_variables(),
        "problem": route.problem or None,
    }


def format_rate(dollars: float) -> str:
    """A price per million tokens, without the sign, to a hundredth of a cent."""
    if dollars < 1:
        return format_usd(dollars)[1:]
    integer, _, fraction = f"{dollars:,.4f}".partition(".")
    return f"{integer}.{fraction.rstrip('0').ljust(2, '0')}"


def show_price_date(registry: ModelRegistry, quiet: bool = False) -> None:
    """Say how old the prices are; loudly when they are too old."""
    date = registry.date
    if price_age_days(date) > MAX_PRICE_AGE_DAYS:
        warn(f"prices are of {date or 'an unknown date'}; pipy sync brings them up to date")
    elif not quiet:
        hint(f"prices of {date}")


def price_age_days(date: str) -> int:
    """Return how many days ago `date` (ISO format) was; too many if it is no date."""
    try:
        return (datetime.date.today() - datetime.date.fromisoformat(date)).days
    except ValueError:
        return MAX_PRICE_AGE_DAYS + 1
