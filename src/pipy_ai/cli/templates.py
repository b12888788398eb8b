"""`pipy templates`, and `-t`: questions that are asked again and again.

A template is a text, which is the prompt, or YAML with some of KEYS, under `templates/` of the data
directory. `$name` stands for a value of `-p name=value`, `$input` for what is asked or piped in.
"""

from __future__ import annotations

import argparse
import os
import string
import sys
from dataclasses import dataclass, field
from typing import Any

from ..utils.paths import data_path
from .terminal import write

DESCRIPTION = "Show, list and edit the templates of `pipy ask -t`."
TEXTS, YAMLS = (".txt", ".md"), (".yaml", ".yml")
KEYS: dict[str, Any] = {
    "prompt": str,
    "system": str,
    "model": str,
    "schema": (str, dict),
    "options": dict,
    "defaults": dict,
    "attachments": list,
    "tools": list,
    "extract": bool,
}


@dataclass
class Template:
    """A template as it is written."""

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

    def filled(self, given: dict[str, str], input: str) -> tuple[str, str]:
        """Prompt and system prompt with their variables filled in. What was asked goes before
        the prompt unless `$input` says where.

        Raises:
            ValueError: a variable has no value.
        """
        values = {**self.defaults, **given, "input": input}
        used: set[str] = set()
        said = []
        for text in (self.prompt, self.system):
            pattern = string.Template(text)
            names = pattern.get_identifiers()
            used.update(names)
            if missing := [name for name in names if name not in values]:
                flags = " ".join(f"-p {name}=…" for name in missing)
                raise ValueError(f"the template {self.name} needs {flags}")
            said.append(pattern.safe_substitute(values))
        if surplus := sorted(set(given) - used):
            known = ", ".join(f"${name}" for name in sorted(used)) or "none"
            raise ValueError(f"the template {self.name} has no ${surplus[0]}; it has {known}")
        prompt = said[0].strip("\n")
        if "input" not in used:
            prompt = "\n\n".join(part for part in (input, prompt) if part.strip())
        return prompt, said[1].strip("\n")


def folder() -> str:
    """Where templates are. It need not exist."""
    return os.path.join(data_path(), "templates")


def load(name: str) -> Template:
    """The template of this name, or in this file.

    Raises:
        ValueError: there is none, or it is no template.
        OSError: it cannot be read.
    """
    path = find(name)
    with open(path, encoding="utf-8-sig") as file:
        try:
            text = file.read()
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text") from None
    if path.endswith(YAMLS):
        return _parsed(name, path, text)
    return Template(name, prompt=text)


def find(name: str) -> str:
    """The file of a template.

    Raises:
        ValueError: there is none.
    """
    if os.sep in name or name.endswith(TEXTS + YAMLS):
        for path in (name, os.path.join(folder(), name)):
            if os.path.isfile(path):
                return path
        raise ValueError(f"there is no template {name}")
    known = names()
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else f" in {folder()}"
        raise ValueError(f"there is no template {name!r}{hint}")
    return known[name]


def names() -> dict[str, str]:
    """The files of all templates by their names."""
    try:
        files = sorted(os.listdir(folder()))
    except FileNotFoundError:
        return {}
    split = [os.path.splitext(file) for file in files]
    return {
        stem: os.path.join(folder(), stem + end)
        for end_of in (TEXTS, YAMLS)  # YAML is taken where there are both
        for stem, end in split
        if end in end_of and stem
    }


def _parsed(name: str, path: str, text: str) -> Template:
    import yaml

    try:
        said = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise ValueError(f"{path}{line}: {getattr(error, 'problem', error)}") from None
    if isinstance(said, str):
        return Template(name, prompt=said)
    if not isinstance(said, dict):
        raise ValueError(f"{path}: a template is a text, or has some of {', '.join(KEYS)}")
    for key, value in said.items():
        if key not in KEYS:
            raise ValueError(f"{path}: {key!r} is none of {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]):
            raise ValueError(f"{path}: {key!r} is to be {_called(KEYS[key])}")
    for key in ("attachments", "tools"):
        if not all(isinstance(one, str) for one in said.get(key, ())):
            raise ValueError(f"{path}: {key!r} is to be a list of texts")
    return Template(name, **said)


def _called(kind: Any) -> str:
    words = {str: "a text", dict: "key: value pairs", list: "a list", bool: "true or false"}
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(words[one] for one in kinds)


# === pipy templates =========================================================================


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="their names, and how they begin")
    for action, line in (("show", "print one"), ("edit", "write or change one in your editor")):
        actions.add_parser(action, help=line).add_argument(
            "name", metavar="NAME", help="the template's name"
        )
    actions.add_parser("path", help="where they are")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    match arguments.action:
        case "list":
            for name in sorted(names()):
                write(f"{name}  {_begin(name)}".rstrip() + "\n")
        case "show":
            with open(find(arguments.name), encoding="utf-8-sig", errors="replace") as file:
                text = file.read()
            write(text if text.endswith("\n") else f"{text}\n")
        case "edit":
            return _edit(arguments.name)
        case _:
            write(f"{folder()}\n")
    return 0


def _begin(name: str) -> str:
    try:
        template = load(name)
    except (ValueError, OSError) as error:
        return f"({error})"
    text = " ".join((template.prompt or template.system).split())
    return text if len(text) <= 60 else f"{text[:60]}…"


def _edit(name: str) -> int:
    import shlex
    import subprocess

    try:
        path = find(name)
    except ValueError:
        if os.sep in name:
            raise
        path = os.path.join(folder(), name if name.endswith(TEXTS + YAMLS) else f"{name}.yaml")
    os.makedirs(folder(), mode=0o700, exist_ok=True)
    usual = "notepad" if os.name == "nt" else "vi"
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or usual
    try:
        code = subprocess.run([*shlex.split(editor), path], check=False).returncode
    except OSError as error:
        raise ValueError(f"{editor}: {error.strerror}; EDITOR names another") from None
    if code == 0 and os.path.isfile(path):
        load(path)  # what is wrong with it is told at once
    elif not sys.stdin.isatty():
        raise ValueError(f"{editor} ended with {code}")
    return code
