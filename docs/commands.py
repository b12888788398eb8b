"""Generate the reference of the commands: python docs/commands.py > docs/commands.md

It reads the parsers, because each version of Python wraps and words `--help` differently.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from pipy_ai.cli.parser import EXAMPLES_HEADING, GUIDE_HEADING, build_parser
from pipy_ai.cli.parser_tree import (
    Command,
    choices_of,
    help_line,
    usage_words,
    value_name,
    value_usage,
    walk_commands,
)

HEAD = """\
# Commands

<!-- Made by docs/commands.py, which the tests compare with this page. -->

`pipy "PROMPT"` is short for `pipy ask "PROMPT"`. Every command takes `--help`, and
`pipy --version` prints the version. `pipy` alone shows your setup and what to try. `pipy keys`,
`history`, `templates` and `local` without an action list their contents; on a terminal, `history`
lets you choose a conversation.

Exit codes: 0 success, 1 failed request, 2 wrong usage, 130 interrupted by Ctrl-C.

On a terminal, commands that wait show a status line on stderr until there is something to print.
There is none with `--quiet`, in a pipe or with `TERM=dumb`. Tables fit the width of the terminal.
Output that is longer than the screen is shown in a pager: `$PIPY_PAGER`, `$PAGER` or `less`.
`--no-pager` turns it off, and so does `cat` as the pager.
"""


def render_page() -> str:
    """Return the whole page."""
    sections = [
        render_section(path, command) for path, command in walk_commands(build_parser()) if path
    ]
    return "\n".join([HEAD, *sections])


def render_section(path: str, command: Command) -> str:
    """Return the section of one command: its description, usage and arguments."""
    level = "#" * (path.count(" ") + 2)
    about = command.parser.description or ""
    lines = [
        f"{level} pipy {path}",
        "",
        *([about, ""] if about else []),
        f"`{f'pipy {path} {usage_words(command)}'.rstrip()}`",
    ]
    lines.append("")
    if (epilog := command.parser.epilog or "").startswith(EXAMPLES_HEADING):
        examples, _, page = epilog.removeprefix(EXAMPLES_HEADING).partition(f"\n{GUIDE_HEADING}")
        lines += ["<!-- not run: examples of options -->", "", "```sh", examples, "```", ""]
        lines += [f"Guide: [{page_title(page)}]({page})", ""]
    rows = [*table_rows(command)]
    if rows:
        lines += ["| | |", "| --- | --- |"]
        lines += [f"| {name} | {text} |" for name, text in rows]
        lines.append("")
    return "\n".join(lines)


def page_title(page: str) -> str:
    """Return the heading of a page of the docs."""
    with open(Path(__file__).parent / page, encoding="utf-8") as file:
        return next(line for line in file if line.startswith("# "))[2:].strip()


def table_rows(command: Command) -> Iterator[tuple[str, str]]:
    """Yield the rows of a command's table: names and descriptions."""
    for name, (line, _) in command.children.items():
        yield f"`{name}`", escape_markdown(line)
    for action in command.positionals:
        yield f"`{value_name(action)}`", argument_text(action)
    visible = command.visible_options
    for group in command.parser._action_groups:
        options = [action for action in visible if action in group._group_actions]
        if options and group.title not in (None, "options"):
            yield f"**{group.title.capitalize()}**", ""
        for action in options:
            *flags, last = action.option_strings
            names = [*flags, f"{last} {value_usage(action)}".strip()]
            yield ", ".join(f"`{name}`" for name in names), argument_text(action)


def argument_text(action: argparse.Action) -> str:
    """Return the help of an argument, with its choices unless the help lists them."""
    text, choices = help_line(action), choices_of(action)
    if choices and not all(choice in text for choice in choices):
        text += f"{': ' if text else ''}{', '.join(choices)}"
    return escape_markdown(text)


def escape_markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(render_page())
