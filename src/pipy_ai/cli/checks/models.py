"""Check the default model, the embedded model and local servers."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...registry.settings import DEFAULT_MODEL_KEY, get_setting, settings_path
from .finding import FAIL, OK, WARN, Finding


def check_default_model() -> Iterator[Finding]:
    from ...utils.extras import has_extra, install_command
    from ...utils.weights import find_weights

    model, reason = explain_default_model()
    if not model:
        yield Finding("default", FAIL, "no default model", reason)
    else:
        yield Finding("default", OK, f"{model} ({reason})")
    engine, weights = has_extra("local"), find_weights()
    if engine and weights is not None:
        yield Finding("embedded", OK, str(weights))
    elif engine:
        state = FAIL if model.startswith("local/smollm2") else WARN
        yield Finding("embedded", state, "its weights are not downloaded yet", "pipy local pull")
    else:
        yield Finding("embedded", OK, f"not installed; {install_command('local')}")


def check_servers() -> Iterator[Finding]:
    from .servers import discover

    for server in discover():
        names = ", ".join(model.name for model in server.models)
        detail = f"{server.kind} at {server.address}: {names or server.problem}"
        yield Finding("server", OK if names else WARN, detail)


def explain_default_model() -> tuple[str, str]:
    """Return the default model and where it comes from; without one, "" and how to set it."""
    from ...api import default_model

    try:
        model = default_model()
    except LookupError as error:
        return "", str(error)
    if os.environ.get("PIPY_MODEL", "").strip():
        return model, "from PIPY_MODEL"
    if get_setting(DEFAULT_MODEL_KEY):
        return model, f"from {settings_path()}"
    if model.startswith("local/"):
        return model, "the embedded model"
    from ...registry.default import model_with_key

    return model, f"{model_with_key()[1]} is set"
