"""Optional packages: what each extra of the distribution is for, and how to install it."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

FULL, SLIM = "pipy-ai", "pipy-ai-slim"  # the names of the distributions


class Extra(NamedTuple):
    """The modules that an extra installs, and what they are for."""

    modules: tuple[str, ...]
    purpose: str


# `pyproject.toml` lists the packages; tests/test_package.py compares.
EXTRAS = {
    "litellm": Extra(("litellm",), "providers that pipy-ai does not call directly"),
    "local": Extra(("xllamacpp",), "the embedded model and .gguf files"),
    "aws": Extra(("botocore",), "AWS profiles, SSO and roles"),
    "azure": Extra(("azure.identity",), "Azure logins"),
    "vertex": Extra(("google.auth",), "Google Cloud logins"),
    "dask": Extra(("distributed",), "batches on a Dask cluster"),
    "parquet": Extra(("pyarrow",), "batches from Parquet files"),
    "gateway": Extra(("litellm_proxy_extras", "redis"), "LiteLLM's proxy with shared limits"),
    "redis": Extra(("redis",), "a cache of responses on a Redis server"),
    "mcp": Extra(("mcp",), "tools of MCP servers"),
    "otel": Extra(("opentelemetry.trace",), "traces and metrics"),
    "keyring": Extra(("keyring",), "API keys in the system's keyring"),
}


def is_installed(module: str) -> bool:
    """Return whether a module can be imported. It is not imported, only its parent packages."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # no such parent package
        return False


def has_extra(name: str) -> bool:
    """Return whether the packages of an extra are installed."""
    return all(map(is_installed, EXTRAS[name].modules))


def install_command(extra: str) -> str:
    """Return the command that adds an extra to the installed distribution.

    Example:
        >>> from pipy_ai.utils.extras import install_command
        >>> install_command("aws")
        "pip install 'pipy-ai[aws]'"
    """
    return f"pip install '{distribution_name()}[{extra}]'"


def distribution_name() -> str:
    """Return the name of the installed distribution: `pipy-ai` or `pipy-ai-slim`."""
    from importlib import metadata

    for name in (FULL, SLIM):  # pipy-ai installs pipy-ai-slim as well
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        return name
    return FULL  # from a folder on Python's path


def mismatched_distributions() -> str:
    """Return what is wrong if `pipy-ai` does not belong to the installed `pipy-ai-slim`, else "".

    A `pipy-ai` from a clone contains the same files as `pipy-ai-slim`.
    """
    from importlib import metadata

    try:
        full, slim = metadata.distribution(FULL), metadata.distribution(SLIM)
    except metadata.PackageNotFoundError:
        return ""
    if f"{SLIM}[litellm]=={slim.version}" in (full.requires or ()):
        return ""
    return f"{FULL} {full.version} and {SLIM} {slim.version} do not belong together"
