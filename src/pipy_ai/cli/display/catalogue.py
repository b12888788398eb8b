"""Format prices, routes and the catalogue's age."""

from __future__ import annotations

import os
import sys
import time

from ...utils.text import format_usd
from .terminal import hint, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...registry.catalogue import ModelRegistry
    from ...registry.routing import Route

DATE_SHOWN_FILE = "price-date-shown"  # in the data directory; its time says when
SHOW_DATE_EVERY_S = 86_400
MAX_PRICE_AGE_DAYS = 60  # older prices are worth a warning


def zero_price_label(provider: str) -> str:
    """Return what a price of 0 means at this provider."""
    return "part of a plan" if "plan" in provider or "coding" in provider else "free"


def route_to_dict(route: Route) -> dict[str, Any]:
    """Return a route as JSON data."""
    return {
        "rule": route.kind,
        "litellm": route.model,
        "api_base": route.api_base or None,
        "keys": list(route.key_env),
        "needs": [*route.required_env, *filter(None, [" or ".join(route.address_env)])],
        "missing": route.missing_variables(),
        "problem": route.problem or None,
    }


def format_rate(dollars: float) -> str:
    """Return a price per million tokens without the dollar sign; from $1 on, 2 to 4 decimals."""
    if dollars < 1:
        return format_usd(dollars)[1:]
    integer, _, fraction = f"{dollars:,.4f}".partition(".")
    return f"{integer}.{fraction.rstrip('0').ljust(2, '0')}"


def show_price_date(registry: ModelRegistry, quiet: bool = False) -> None:
    """Print the date of the prices, at most once a day: a warning if they are old, else a hint.

    With `quiet`, only the warning is printed.
    """
    date = registry.date
    is_old = price_age_days(date) > MAX_PRICE_AGE_DAYS
    if not is_old and (quiet or not sys.stderr.isatty()):
        return
    if _was_shown_today():
        return
    if is_old:
        warn(f"prices as of {date or 'an unknown date'}; update with pipy sync")
    else:
        hint(f"prices as of {date}")


def _was_shown_today() -> bool:
    """Return whether the date was shown in the last 24 hours; if not, remember that it is now."""
    from ...utils.paths import data_path

    path = os.path.join(data_path(), DATE_SHOWN_FILE)
    try:
        if 0 <= time.time() - os.stat(path).st_mtime < SHOW_DATE_EVERY_S:
            return True
    except OSError:
        pass
    from ...utils.atomic import make_private_dir, open_private  # once a day

    try:
        make_private_dir(data_path())
        os.close(open_private(path, os.O_CREAT | os.O_WRONLY))
        os.utime(path)
    except OSError:  # for example a read-only directory: the date is shown each time
        pass
    return False


def price_age_days(date: str) -> int:
    """Return the days since `date`; more than `MAX_PRICE_AGE_DAYS` if it is not an ISO date."""
    import datetime  # 2 ms that most commands do without

    try:
        return (datetime.date.today() - datetime.date.fromisoformat(date)).days
    except ValueError:
        return MAX_PRICE_AGE_DAYS + 1
