"""Import what the user names as `module:name` or `file.py:name`, for `--tool` and `--schema`."""

from __future__ import annotations

import hashlib
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...utils.text import suggest

if TYPE_CHECKING:
    from types import ModuleType


def load_object(spec: str) -> Any:
    """Import the function or other object that `module:name` or `path/to/file.py:name` names.

    Raises:
        ValueError: It does not exist, or importing it fails.
    """
    source, separator, name = spec.rpartition(":")
    if not separator or not source or not name:
        raise ValueError(f"{spec!r} must be module:name or path/to/file.py:name")
    value: Any = _load_file(source) if source.endswith(".py") else _import_named_module(source)
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            suggestion = suggest(part, _public_callables(value))
            advice = f"; {suggestion}" if suggestion else ""
            raise ValueError(f"{source} has no {name!r}{advice}") from None
    return value


def load_tool(spec: str) -> Any:
    """Import the function of `--tool`, or the tool of an installed plugin.

    Raises:
        ValueError: It does not exist, importing it fails, or it is not a function.
    """
    if ":" not in spec and (plugin_tool := _plugin_tool(spec)) is not None:
        return plugin_tool
    tool = load_object(spec)
    if not callable(tool) or isinstance(tool, type):
        raise ValueError(f"{spec} is not a function")
    return tool


def _plugin_tool(name: str) -> Any:
    """Return the tool that a plugin adds: a function, a `Tool` or a `ToolSet`; or None."""
    from ...utils.plugins import find_plugin

    def use(value: Any) -> Any:
        from ...tools import as_tools

        as_tools([value])  # raises if it is not a tool
        return value

    return find_plugin("tools", name, use)


def _public_callables(module: Any) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value) and name[0] != "_"]


def _import_named_module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"{name} cannot be imported: {error}") from None
        suggestion = f"; for a file: {name.replace('.', os.sep)}.py:NAME"
        raise ValueError(f"no module {name!r}{suggestion}") from None
    except (Exception, SystemExit) as error:
        raise ValueError(_load_error_text(name, error)) from None


def _load_file(path: str) -> ModuleType:
    """Import a file as a module, without making other files in its directory importable."""
    from importlib.util import module_from_spec, spec_from_file_location

    real_path = os.path.realpath(os.path.expanduser(path))
    name = f"pipy_tool_{hashlib.sha256(real_path.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    if not os.path.isfile(real_path):
        raise ValueError(f"no file {path}")
    spec = spec_from_file_location(name, real_path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)  # type hints are resolved there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(_load_error_text(path, error)) from None
    return module


def _load_error_text(source: str, error: BaseException) -> str:
    return f"{source} cannot be imported: {type(error).__name__}: {error}"
