"""Generate a configuration for LiteLLM's Router and proxy from the catalogue.

It contains no keys, only the names of their environment variables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..utils.atomic import write_atomically, write_special_file
from ..utils.paths import data_dir
from .catalogue import ModelRegistry, has_key
from .registry import get_registry
from .routing import CLOUD_LOGIN_BACKENDS, ENVIRONMENT, Route, is_set

ROUTER_FILE = "router.yaml"
GATEWAY_FILE = "gateway.yaml"
UNLIMITED_PARALLEL_REQUESTS = 1_000_000

_HEADER_TEMPLATE = """\
# Written by `pipy config` from the catalogue of {date}: {count} models of {providers} providers.
# It works in three places:
#   pipy-ai        requests for these models go through LiteLLM's Router while this file is
#                  {place}
#   litellm.Router Router(model_list=yaml.safe_load(open(…))["model_list"])
#   a proxy        litellm --config {path}
# It contains no keys: os.environ/NAME means the environment variable NAME.
"""

_ROUTER_FOOTER = """\

# Fallbacks and retries:
# router_settings:
#   fallbacks:
#     - {first}: [{second}]
#   num_retries: 2
#   cooldown_time: 30              # seconds before a failing deployment is used again
#   routing_strategy: simple-shuffle
#
# Limits and cooldowns that many workers share, in Redis:
#   redis_host: os.environ/REDIS_HOST
#   redis_port: os.environ/REDIS_PORT
#   redis_password: os.environ/REDIS_PASSWORD

# The proxy's own key, which clients must send; the proxy does not start without one:
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
"""

# Any number of proxies with this file and one Redis act as one.
_GATEWAY_FOOTER = """\

router_settings:
  # Shared by all proxies: counts of requests and tokens, and deployments in cooldown.
  redis_host: os.environ/REDIS_HOST
  redis_port: os.environ/REDIS_PORT
  redis_password: os.environ/REDIS_PASSWORD
  # An entry's rpm is kept exactly; without this line rpm and tpm only steer the choice.
  optional_pre_call_checks: ["enforce_model_rate_limits"]
  routing_strategy: simple-shuffle
  num_retries: 2                   # on another deployment of the name, where there is one
  # Cooldown in seconds of a deployment if most of its requests fail, or if it has reached its limit
  # while others of its name have not. With allowed_fails, a name's only deployment cools down, too.
  cooldown_time: 5
  # Models to use when a model fails:
  # fallbacks:
  #   - {first}: [{second}]

litellm_settings:
  # Equal requests get the same answer from Redis for ttl seconds, if their body contains
  # "cache": {{"use-cache": true}}. Thinking is not cached.
  cache: true
  cache_params:
    type: redis
    host: os.environ/REDIS_HOST
    port: os.environ/REDIS_PORT
    password: os.environ/REDIS_PASSWORD
    ttl: 600
    mode: default_off

# The proxies' own key, which clients must send:
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
"""


def generate_router_config(
    output_path: str | os.PathLike[str] | None = None,
    providers: Sequence[str] | None = None,
    all: bool = False,
    *,
    gateway: bool = False,
    rpm: int | None = None,
    tpm: int | None = None,
) -> Path:
    """Write a configuration for LiteLLM's Router and proxy.

    Args:
        output_path: The file to write; default: `router.yaml` (`gateway.yaml`) in the data
            directory. The old content is kept as `….bak`.
        providers: models.dev's names of providers; default: those whose key is set.
        all: Include every provider. LiteLLM takes seconds to load thousands of models.
        gateway: For several proxies that act as one: limits, cooldowns and a cache in Redis.
        rpm: Requests per minute for each model, over all proxies of the gateway.
        tpm: Tokens per minute for each model; requests in flight may exceed it.

    Returns:
        The path of the file.

    Raises:
        ValueError: An unknown provider, no model to write, or limits without a gateway.
        OSError: The file cannot be written.
    """
    limits = {name: value for name, value in (("rpm", rpm), ("tpm", tpm)) if value is not None}
    if limits and not gateway:
        raise ValueError("rpm and tpm require a gateway: pass gateway=True, or --gateway")
    if any(value < 1 for value in limits.values()):
        raise ValueError("rpm and tpm must be at least 1")
    if limits:  # without it, LiteLLM also uses rpm as the limit of parallel requests
        limits["max_parallel_requests"] = UNLIMITED_PARALLEL_REQUESTS
    registry = get_registry()
    name = GATEWAY_FILE if gateway else ROUTER_FILE
    target = Path(output_path) if output_path is not None else data_dir() / name
    selected = _select_providers(registry, providers, all)
    entries, skipped, stored_variables, urls = _build_entries(registry, selected)
    if not entries:
        raise ValueError(f"no model of {', '.join(selected)} can be reached: {'; '.join(skipped)}")
    names = [str(entry["model_name"]) for entry in entries]
    for entry in entries:
        entry["litellm_params"] |= limits
    header = _HEADER_TEMPLATE.format(
        date=registry.date, count=len(entries), providers=len(selected), path=target,
        place=data_dir() / ROUTER_FILE,
    )  # fmt: skip
    comments = "".join(f"# Left out: {reason}\n" for reason in skipped)
    if stored_variables:
        names_list = ", ".join(stored_variables)
        comments += f"# Stored by pipy keys, so only pipy-ai can read them; export: {names_list}\n"
    if urls:
        comments += "# Set these addresses before you use the file:\n"
        comments += "".join(f'#   export {name}="{template}"\n' for template, name in urls.items())
    footer = _GATEWAY_FOOTER if gateway else _ROUTER_FOOTER
    footer = footer.format(first=json.dumps(names[0]), second=json.dumps(names[-1]))
    _write_with_backup(target, (header + comments + _to_yaml(entries) + footer).encode())
    return target


def _write_with_backup(target: Path, content: bytes) -> None:
    """Replace the file and keep its old content as `….bak`."""
    if write_special_file(target, content):
        return
    real_path = Path(os.path.realpath(target))
    if real_path.exists() and real_path.read_bytes() != content:
        write_atomically(f"{real_path}.bak", real_path.read_bytes())
    write_atomically(str(real_path), content)


def _select_providers(
    registry: ModelRegistry, providers: Sequence[str] | None, all: bool
) -> list[str]:
    provider_records = registry.providers()
    if providers:
        for name in providers:
            registry.check_provider(name)
        return list(dict.fromkeys(providers))
    with_key = sorted(
        name
        for name, provider_record in provider_records.items()
        if all or has_key(provider_record)
    )
    if not with_key:
        raise ValueError(
            "no provider of the catalogue has an API key: set one (pipy keys set PROVIDER), or name"
            " providers (--providers NAME,…; pipy providers lists them)"
        )
    return with_key


def _build_entries(
    registry: ModelRegistry, providers: Iterable[str]
) -> tuple[list[Any], list[str], list[str], dict[str, str]]:
    """Return the entries, reasons for skipped ones, variables stored by `pipy keys`, and the
    names of variables for addresses that contain variables.
    """
    entries: list[dict[str, Any]] = []
    skipped: list[str] = []
    stored_variables: list[str] = []
    urls: dict[str, str] = {}  # LiteLLM expands a variable only if it is the whole value
    for provider in providers:
        for model in registry.models(registry.query(provider=provider, chat=True)):
            route = registry.route(model)
            if reason := _unreachable_reason(route):
                skip_note = f"{provider}: {reason}"
                if skip_note not in skipped:
                    skipped.append(skip_note)
                continue
            variable, location = route.credential()
            is_stored = location != ENVIRONMENT and route.backend not in CLOUD_LOGIN_BACKENDS
            if variable and is_stored and variable not in stored_variables:
                stored_variables.append(variable)
            params = _litellm_params(route)
            if "$" in (template := params.get("api_base", "")):
                if template not in urls:
                    name = f"{provider.replace('-', '_').upper()}_URL"
                    count = sum(used.startswith(name) for used in urls.values())
                    urls[template] = name if not count else f"{name}_{count + 1}"
                params["api_base"] = f"os.environ/{urls[template]}"
            entries.append({"model_name": model.qualified_name, "litellm_params": params})
    return entries, skipped, stored_variables, urls


def _unreachable_reason(route: Route) -> str:
    missing = [name for name in route.required_env if not is_set(name)]
    if route.key_header:
        return "its key is sent in a special header, which this file does not support"
    return route.problem or (f"{' and '.join(missing)} not set" if missing else "")


def _litellm_params(route: Route) -> dict[str, str]:
    params = {"model": route.model}
    if route.api_base:
        params["api_base"] = route.api_base
    for name, template in route.parameters.items():
        params[name] = f"os.environ/{template.strip('${}')}"
    if route.backend in CLOUD_LOGIN_BACKENDS:
        return params  # they use their own credentials
    variable, _ = route.credential()
    if route.key_env and (variable or not route.key_optional):
        params["api_key"] = f"os.environ/{variable or route.key_env[0]}"
    else:
        params["api_key"] = "none"
    return params


def _to_yaml(entries: Iterable[dict[str, Any]]) -> str:
    """Format entries as YAML. Strings are in JSON, which is valid YAML."""
    lines = ["model_list:"]
    for entry in entries:
        lines.append(f"  - model_name: {json.dumps(entry['model_name'])}")
        lines.append("    litellm_params:")
        lines += [
            f"      {key}: {json.dumps(value)}" for key, value in entry["litellm_params"].items()
        ]
    return "\n".join(lines) + "\n"
