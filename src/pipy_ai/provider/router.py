"""A configuration of LiteLLM's Router, if the user has one: which models it serves."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ..errors import ErrorKind, ProviderError, error_info
from ..registry import keystore
from ..registry.config import ROUTER
from ..utils.paths import data_path


@dataclass(slots=True)
class RouterConfig:
    """A file that was read: `models` by name, each with LiteLLM's name of its first deployment."""

    path: str
    stamp: tuple[int, int]
    model_list: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    deployments: list[str] = field(default_factory=list)

    def match(self, name: str) -> str | None:
        """LiteLLM's name of the model behind a name, which may be an alias or fit a pattern."""
        aliases = self.settings.get("model_group_alias")
        alias = aliases.get(name) if isinstance(aliases, dict) else None
        if isinstance(alias, dict):
            alias = alias.get("model")
        name = alias if isinstance(alias, str) else name
        if name in self.models:
            return self.models[name]
        for pattern, behind in self.models.items():
            if "*" in pattern and fnmatchcase(name, pattern):
                star = name[len(pattern.partition("*")[0]) :]
                return behind.replace("*", star, 1)
        return None

    def secrets(self) -> list[str]:
        """Every key that the file holds or names."""
        found = [
            value
            for entry in self.model_list
            for name, value in resolved(entry["litellm_params"]).items()
            if isinstance(value, str) and value and _SECRET.search(name)
        ]
        settings = resolved(self.settings).items()
        return found + [str(value) for name, value in settings if value and "password" in name]


_SECRET = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
_read: dict[str, RouterConfig] = {}


def router_config(path: str | os.PathLike[str] | None = None) -> RouterConfig | None:
    """The configuration of a file (default: `router.yaml` in the data directory), read again when
    it has changed; None when there is no such file.

    Raises:
        ProviderError: the file is broken; the text says where.
    """
    where = os.path.join(data_path(), ROUTER) if path is None else os.fspath(path)
    try:
        status = os.stat(where)
    except OSError:
        if path is not None:
            raise _broken(where, "there is no such file") from None
        return None
    stamp = (status.st_mtime_ns, status.st_ino)
    known = _read.get(where)
    if known is None or known.stamp != stamp:
        known = _read[where] = _load(where, stamp)
    return known


def _load(path: str, stamp: tuple[int, int]) -> RouterConfig:
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            said = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise _broken(path, f"{line}{error.problem or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise _broken(path, str(error)) from None
    entries = said.get("model_list") if isinstance(said, dict) else None
    if not isinstance(entries, list) or not entries:
        raise _broken(path, "it has no model_list")
    config = RouterConfig(path, stamp, entries)
    for number, entry in enumerate(entries, 1):
        name = entry.get("model_name") if isinstance(entry, dict) else None
        parameters = entry.get("litellm_params") if isinstance(entry, dict) else None
        model = parameters.get("model") if isinstance(parameters, dict) else None
        if not isinstance(name, str) or not isinstance(model, str):
            raise _broken(path, f"entry {number} of model_list needs model_name and litellm_params")
        config.models.setdefault(name, model)
        config.deployments.append(model)
    settings = said.get("router_settings")
    if settings is not None and not isinstance(settings, dict):
        raise _broken(path, "router_settings is no mapping")
    config.settings = dict(settings or {})
    return config


def _broken(path: str, text: str) -> ProviderError:
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, f"{path}: {text}"))


def resolved(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with each `os.environ/NAME` replaced, as the proxy does it; the Router does not."""
    return {
        name: value
        if (variable := _variable(value)) is None
        else os.environ.get(variable, "") or keystore.value(variable)
        for name, value in settings.items()
    }


def with_kept_keys(parameters: dict[str, Any]) -> dict[str, Any]:
    """An entry's parameters, with the keys that only `pipy keys` has; the Router itself looks for
    the others."""
    return {
        name: value
        if (variable := _variable(value)) is None or os.environ.get(variable, "")
        else keystore.value(variable) or value
        for name, value in parameters.items()
    }


def _variable(value: Any) -> str | None:
    named = isinstance(value, str) and value.startswith("os.environ/")
    return value.removeprefix("os.environ/") if named else None
