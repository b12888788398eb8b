"""Find, read and render the templates of `-t`.

A template is a file in the data directory's `templates/`: text, which is the prompt, or YAML with
keys of `TEMPLATE_KEYS`. `$name` is replaced by the value of `-p name=value`, `$input` by the text
of the command line and stdin.
"""

from __future__ import annotations

import os
import string
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...utils.encoding import read_text
from ...utils.paths import data_path
from ...utils.text import suggest

TEXT_SUFFIXES, YAML_SUFFIXES = (".txt", ".md"), (".yaml", ".yml")
TEMPLATE_KEYS: dict[str, Any] = {
    "prompt": str,
    "system": str,
    "model": str,
    "schema": (str, dict),
    "options": dict,
    "defaults": dict,
    "attachments": list,
    "tools": list,
    "extract": bool,
    "search": bool,
    "fetch": bool,
    "code": bool,
}


@dataclass
class Template:
    """A template, with its variables not yet replaced."""

    name: str
    prompt: str = ""
    system: str = ""
    model: str = ""
    schema: str | dict[str, Any] = ""
    options: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    attachments: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    extract: bool = False
    search: bool = False
    fetch: bool = False
    code: bool = False
    path: str = ""
    is_from_plugin: bool = False  # whose code runs anyway

    def render(self, parameters: dict[str, str], prompt_text: str) -> tuple[str, str]:
        """Return the prompt and system prompt with their variables replaced.

        `prompt_text` replaces `$input`; without `$input` it is placed before the prompt.

        Raises:
            ValueError: A variable has no value, or a parameter has no variable.
        """
        values = {**self.defaults, **parameters, "input": prompt_text}
        used_names: set[str] = set()
        rendered = []
        for text in (self.prompt, self.system):
            template = string.Template(text)
            names = template.get_identifiers()
            used_names.update(names)
            if missing := [name for name in names if name not in values]:
                flags = " ".join(f"-p {name}=…" for name in missing)
                raise ValueError(f"the template {self.name} needs {flags}")
            rendered.append(template.safe_substitute(values))
        if unused := sorted(set(parameters) - used_names):
            known_names = ", ".join(f"${name}" for name in sorted(used_names)) or "none"
            raise ValueError(f"the template {self.name} has no ${unused[0]}; it has {known_names}")
        prompt = rendered[0].strip("\n")
        if "input" not in used_names:
            prompt = "\n\n".join(part for part in (prompt_text, prompt) if part.strip())
        return prompt, rendered[1].strip("\n")


def templates_dir() -> str:
    """Return the directory of templates, which need not exist."""
    return os.path.join(data_path(), "templates")


def load_template(name: str) -> Template:
    """Read the template of this name, or in this file.

    Raises:
        ValueError: It does not exist, or is not a template.
        OSError: The file cannot be read.
    """
    path = find_template(name)
    if isinstance(path, PluginTemplate):
        return path.template
    try:
        text = read_text(path)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not path.endswith(YAML_SUFFIXES):
        return Template(name, prompt=text, path=path)
    template = _parse_template(name, path, text)
    template.path = path
    return template


class PluginTemplate(NamedTuple):
    """A template of an installed plugin, and its text."""

    template: Template
    text: str


def find_template(name: str) -> str | PluginTemplate:
    """Return the path of a template, or the template of a plugin.

    Raises:
        ValueError: It does not exist.
    """
    if os.sep in name or name.endswith(TEXT_SUFFIXES + YAML_SUFFIXES):
        # A name without a directory means the user's own template, not a file in this directory.
        candidates = [name, os.path.join(templates_dir(), name)]
        for path in candidates if os.sep in name else reversed(candidates):
            if os.path.isfile(path):
                return path
        raise ValueError(f"template file not found: {name}")
    paths = template_paths()
    if name not in paths:
        if plugin_template := _plugin_template(name):
            return plugin_template
        suggestion = suggest(name, paths)
        advice = f"; {suggestion}" if suggestion else "; pipy templates lists the names"
        raise ValueError(f"no template {name!r}{advice}")
    return paths[name]


def _plugin_template(name: str) -> PluginTemplate | None:
    from ...utils.plugins import find_plugin

    def use(value: Any) -> PluginTemplate:
        """Convert a text, or a file of the plugin as `importlib.resources` returns it."""
        path = "" if isinstance(value, str) else str(value)
        text = value if isinstance(value, str) else value.read_text(encoding="utf-8")
        is_yaml = path.endswith(YAML_SUFFIXES)
        template = _parse_template(name, path, text) if is_yaml else Template(name, prompt=text)
        template.path, template.is_from_plugin = path, True
        return PluginTemplate(template, text)

    return find_plugin("templates", name, use)


def template_paths() -> dict[str, str]:
    """Return the paths of all templates by name."""
    try:
        files = sorted(os.listdir(templates_dir()))
    except FileNotFoundError:
        return {}
    split_names = [os.path.splitext(file) for file in files]
    return {
        stem: os.path.join(templates_dir(), stem + suffix)
        for suffixes in (TEXT_SUFFIXES, YAML_SUFFIXES)  # if there are both, YAML wins
        for stem, suffix in split_names
        if suffix in suffixes and stem
    }


def _parse_template(name: str, path: str, text: str) -> Template:
    from ...utils.yaml_text import parse_yaml

    try:
        data = parse_yaml(text)
    except ValueError as error:
        separator = ", " if str(error).startswith("line ") else ": "
        raise ValueError(f"{path}{separator}{error}") from None
    if isinstance(data, str):
        return Template(name, prompt=data)
    if not isinstance(data, dict):
        raise ValueError(
            f"{path}: a template is text, or YAML with keys from {', '.join(TEMPLATE_KEYS)}"
        )
    for key, value in data.items():
        if key not in TEMPLATE_KEYS:
            raise ValueError(f"{path}: {key!r} is not one of {', '.join(TEMPLATE_KEYS)}")
        if not isinstance(value, TEMPLATE_KEYS[key]):
            raise ValueError(f"{path}: {key!r} must be {_type_label(TEMPLATE_KEYS[key])}")
    for key in ("attachments", "tools"):
        if not all(isinstance(item, str) for item in data.get(key, ())):
            raise ValueError(f"{path}: {key!r} must be a list of strings")
    return Template(name, **data)


def _type_label(kind: Any) -> str:
    labels = {str: "a text", dict: "key: value pairs", list: "a list", bool: "true or false"}
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(labels[item] for item in kinds)
