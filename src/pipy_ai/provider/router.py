"""Read the configuration of LiteLLM's Router, if there is one."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ..errors import ErrorKind, ProviderError, error_info
from ..registry import keystore
from ..registry.config import ROUTER_FILE
from ..utils.paths import data_path
from ..utils.secrets import is_secret_parameter

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:
    from ..utils.dataclass import dataclass, field


@dataclass(slots=True)
class RouterConfig:
    """A parsed configuration file.

    `models` maps each name to LiteLLM's name of its first deployment; `deployments` has them all.
    """

    path: str
    file_stamp: tuple[int, int]
    model_list: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    deployments: list[str] = field(default_factory=list)

    def find_model(self, name: str) -> str | None:
        """Return LiteLLM's name of the model that a name, alias or pattern stands for, or None."""
        aliases = self.settings.get("model_group_alias")
        alias = aliases.get(name) if isinstance(aliases, dict) else None
        if isinstance(alias, dict):
            alias = alias.get("model")
        name = alias if isinstance(alias, str) else name
        if name in self.models:
            return self.models[name]
        for pattern, backing_model in self.models.items():
            if "*" in pattern and fnmatchcase(name, pattern):
                wildcard_text = name[len(pattern.partition("*")[0]) :]
                return backing_model.replace("*", wildcard_text, 1)
        return None

    def secrets(self) -> list[str]:
        """Return every secret that the file contains or refers to."""
        entry_secrets = [
            value
            for entry in self.model_list
            for name, value in expand_env_references(entry["litellm_params"]).items()
            if isinstance(value, str) and value and is_secret_parameter(name)
        ]
        settings = expand_env_references(self.settings).items()
        return entry_secrets + [
            str(value) for name, value in settings if value and is_secret_parameter(name)
        ]


_config_cache: dict[str, RouterConfig] = {}


def load_router_config(path: str | os.PathLike[str] | None = None) -> RouterConfig | None:
    """Return the configuration in a file, or None if the default file does not exist.

    The default is `router.yaml` in the data directory. A file that has changed is read again.

    Raises:
        ProviderError: The file is invalid, or `path` does not exist. The message names the line.
    """
    config_path = os.path.join(data_path(), ROUTER_FILE) if path is None else os.fspath(path)
    try:
        status = os.stat(config_path)
    except OSError:
        if path is not None:
            raise _config_error(config_path, "the file does not exist") from None
        return None
    file_stamp = (status.st_mtime_ns, status.st_ino)
    cached = _config_cache.get(config_path)
    if cached is None or cached.file_stamp != file_stamp:
        cached = _config_cache[config_path] = _parse_config(config_path, file_stamp)
    return cached


def _parse_config(path: str, file_stamp: tuple[int, int]) -> RouterConfig:
    import yaml

    try:
        with open(path, "rb") as file:  # of bytes, it detects the encoding
            document = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise _config_error(path, f"{line}{error.problem or error}") from None
    except (yaml.YAMLError, ValueError, LookupError, TypeError, RecursionError, OSError) as error:
        raise _config_error(path, str(error)) from None
    entries = document.get("model_list") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise _config_error(path, "model_list is missing")
    config = RouterConfig(path, file_stamp, entries)
    for number, entry in enumerate(entries, 1):
        name = entry.get("model_name") if isinstance(entry, dict) else None
        parameters = entry.get("litellm_params") if isinstance(entry, dict) else None
        model = parameters.get("model") if isinstance(parameters, dict) else None
        if not isinstance(name, str) or not isinstance(model, str):
            raise _config_error(
                path, f"entry {number} of model_list needs model_name and litellm_params"
            )
        config.models.setdefault(name, model)
        config.deployments.append(model)
    settings = document.get("router_settings")
    if settings is not None and not isinstance(settings, dict):
        raise _config_error(path, "router_settings must be a mapping")
    config.settings = dict(settings or {})
    return config


def _config_error(path: str, text: str) -> ProviderError:
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, f"{path}: {text}"))


def expand_env_references(settings: dict[str, Any]) -> dict[str, Any]:
    """Replace each `os.environ/NAME` with its value, like LiteLLM's proxy.

    The Router does this only for the parameters of deployments.
    """
    return {
        name: value
        if (variable := _env_reference(value)) is None
        else os.environ.get(variable, "") or keystore.get_key(variable)
        for name, value in settings.items()
    }


def with_stored_keys(parameters: dict[str, Any]) -> dict[str, Any]:
    """Replace each `os.environ/NAME` that is not set with the key that `pipy keys` stored.

    The Router reads variables that are set.
    """
    return {
        name: value
        if (variable := _env_reference(value)) is None or os.environ.get(variable, "")
        else keystore.get_key(variable) or value
        for name, value in parameters.items()
    }


def _env_reference(value: Any) -> str | None:
    is_reference = isinstance(value, str) and value.startswith("os.environ/")
    return value.removeprefix("os.environ/") if is_reference else None
