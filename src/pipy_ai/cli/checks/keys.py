"""List the API keys that are set, and check that there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...registry import get_registry, keystore
from ...registry.routing import (
    CLOUD_LOGIN_BACKENDS,
    ENVIRONMENT,
    SELF_HOSTED_BACKENDS,
    STORABLE_CLOUD_KEYS,
    Route,
    build_route,
)
from ...utils.secrets import subscription_problem

if TYPE_CHECKING:
    from .finding import Finding


def check_keys() -> Iterator[Finding]:
    from ...registry.keystore import DamagedKeystoreError
    from .finding import OK, WARN, Finding  # `pipy keys list` does not need it

    try:
        rows = list_keys()
    except (DamagedKeystoreError, OSError):  # `check_data_dir` reports it
        return
    for row in rows:
        detail = f"{row['variable']} in {describe_location(row['place'])}"
        provider_names = ", ".join(row["providers"]) or "no provider"
        if problem := _problem(row):
            yield Finding("key", WARN, f"{detail}: {problem}", "pipy keys set PROVIDER")
        else:
            yield Finding("key", OK, f"{detail}, for {provider_names}")
    if not rows:
        yield Finding("key", WARN, "no API key is set", "pipy keys set PROVIDER")


def _problem(row: dict[str, Any]) -> str:
    """Return why a key is not accepted. The system's keyring, which may prompt, is not read."""
    if row["place"] == keystore.KEYRING:
        return ""
    in_environment = row["place"] == ENVIRONMENT
    variable = row["variable"]
    key = os.environ.get(variable, "") if in_environment else keystore.get_key(variable)
    return subscription_problem(key)


def provider_routes() -> dict[str, Route]:
    """Return the routes of self-hosted backends and of the catalogue's providers by name."""
    hosts = get_registry().providers().items()
    own_servers = {
        name: Route(kind="litellm", backend=name, key_env=keys)
        for name, keys in SELF_HOSTED_BACKENDS.items()
    }
    return own_servers | {name: build_route(host, "") for name, host in sorted(hosts)}


def list_keys() -> list[dict[str, Any]]:
    """Return the keys that are set or stored, never their values.

    Each has `providers`, `variable`, `place` (where it is read) and `kept` (where it is saved).
    """
    stored = dict.fromkeys(keystore.entries())
    rows: dict[str, dict[str, Any]] = {}
    for provider, provider_route in provider_routes().items():
        for variable in (*provider_route.token_env, *provider_route.key_env):
            in_environment = bool(os.environ.get(variable, "").strip())
            is_login = provider_route.backend in CLOUD_LOGIN_BACKENDS
            is_read = not is_login or variable in STORABLE_CLOUD_KEYS
            if in_environment or (variable in stored and is_read):
                location = ENVIRONMENT if in_environment else keystore.key_location(variable)
                row = rows.setdefault(variable, {"providers": [], "variable": variable})
                row["providers"].append(provider)
                row |= {"place": location, "kept": keystore.key_location(variable) or None}
    for variable in stored:
        location = keystore.key_location(variable)
        rows.setdefault(
            variable, {"providers": [], "variable": variable, "place": location, "kept": location}
        )
    return sorted(rows.values(), key=lambda row: (row["providers"], row["variable"]))


def describe_location(location: str) -> str:
    """Return the location of a key as text."""
    labels = {ENVIRONMENT: "the environment", keystore.KEYRING: "the system's keyring"}
    return labels.get(location, location)
