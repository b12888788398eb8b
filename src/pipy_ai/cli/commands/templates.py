"""`pipy templates`: list, show and edit the templates of `pipy ask -t`."""

from __future__ import annotations

import argparse
import os
import sys

from ...utils.encoding import read_text
from ..args.common import add_pager_option
from ..args.templates import (
    TEXT_SUFFIXES,
    YAML_SUFFIXES,
    find_template,
    load_template,
    template_paths,
    templates_dir,
)
from ..display.table import print_table
from ..display.terminal import hint, write

EDITOR_GRACE_S = 2.0  # to restore the terminal
DESCRIPTION = "List, show and edit the templates of `pipy ask -t`."
EXAMPLES = """\
pipy templates edit summary
pipy templates show summary
pipy ask -t summary < report.txt
"""
GUIDE = "ask.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    list_parser = actions.add_parser("list", help="list the templates")
    add_pager_option(list_parser)
    for action, summary in (
        ("show", "print a template"),
        ("edit", "create or change a template in your editor"),
    ):
        actions.add_parser(action, help=summary).add_argument(
            "name", metavar="TEMPLATE", help="name of the template"
        )
    actions.add_parser("path", help="print the path of the templates directory")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    match arguments.action:
        case "list":
            _list()
        case "show":
            found = find_template(arguments.name)
            text = read_text(found, errors="replace") if isinstance(found, str) else found.text
            write(text if text.endswith("\n") else f"{text}\n")
        case "edit":
            return _edit(arguments.name)
        case _:
            write(f"{templates_dir()}\n")
    return 0


def _list() -> None:
    rows = [[name, _first_line(name)] for name in sorted(template_paths())]
    if rows and sys.stdout.isatty():
        print_table(["template", "text"], rows)
    elif rows:
        write("".join(f"{name}  {text}".rstrip() + "\n" for name, text in rows))
    else:
        hint("no templates yet; pipy templates edit NAME creates one")


def _first_line(name: str) -> str:
    try:
        template = load_template(name)
    except (ValueError, OSError) as error:
        return f"({error})"
    text = " ".join((template.prompt or template.system).split())
    return text if len(text) <= 60 else f"{text[:60]}…"


def _edit(name: str) -> int:
    import shlex

    from ...utils.atomic import make_private_dir

    found: object = None
    try:
        found = find_template(name)
    except ValueError:
        if os.sep in name:
            raise
    if isinstance(found, str):
        path = found
    else:  # there is none, or only that of a plugin
        path = os.path.join(
            templates_dir(),
            name if name.endswith(TEXT_SUFFIXES + YAML_SUFFIXES) else f"{name}.yaml",
        )
    make_private_dir(templates_dir())
    default_editor = "notepad" if os.name == "nt" else "vi"
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or default_editor
    try:
        exit_code = _run_editor([*shlex.split(editor), path])
    except OSError as error:
        raise ValueError(f"{editor}: {error.strerror}; set EDITOR to another one") from None
    if exit_code == 0 and os.path.isfile(path):
        load_template(path)  # report mistakes at once
    elif not sys.stdin.isatty():
        raise ValueError(f"{editor} ended with {exit_code}")
    return exit_code


def _run_editor(command: list[str]) -> int:
    """Run an editor and return its exit code. A signal also ends the editor, in order if it can."""
    import subprocess

    process = subprocess.Popen(command)
    try:
        return process.wait()
    except BaseException:  # a signal; an editor that is killed leaves its screen behind
        process.terminate()
        try:
            process.wait(EDITOR_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
