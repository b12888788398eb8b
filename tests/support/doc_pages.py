"""Run the examples of a documentation page and check their output.

The fences of a page run in order, in one directory, Python in one namespace:

    ```python     runs; what it prints is what the ```text after it shows
    ```console    runs in bash at a terminal of 100 columns: below each `$ command`, what it shows;
                  lines there that begin with `> ` are typed at that prompt
    ```sh         commands that must succeed, whatever they print
    ```json       is JSON; yaml and toml likewise
    ```js         parses, where there is Node
    ```text       after Python its output, elsewhere an illustration

In what is shown, `…` stands for anything within a line, alone on a line for any lines; seconds and
tokens per second are not compared, and home is /home/you. Comments say what readers need not see:

    <!-- faux: … -->      what the models of the next fence say: an expression of `pipy_ai.faux` for
                          each request, in order. Without it, only `local/…` and `faux/…` answer.
    <!-- prints: … -->    after Python: its output, where the page does not show it
    <!-- exit: 1 -->      the exit code of the last command of the next fence
    <!-- llama: http://… -->   the address in the next fence at which llama.cpp's server stands
    <!-- setup: … -->     commands for bash that make what the next fences need, files for example
    <!-- batch lab -->   once in a page: OpenAI is a laboratory of its batch API, which answers with
                          the prompt in upper case
    <!-- run by: tests/test_x.py -->   once in a page: those tests run it, here it is parsed
    <!-- not run: why --> the next fence is only parsed: Python compiled, pipy's arguments read
    <!-- not typed: why -->    the next fence is not seen by type checkers

The Python of a page, as `python_module` returns it, must satisfy mypy, pyright and ty
(tests/test_type_checkers.py), whether it runs or not.

A library for this (Sybil, pytest-examples) would bring the search for fences; the kinds of fences
would be ours all the same, and they are what is below.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import io
import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyte
import yaml

from pipy_ai import faux, register_provider
from pipy_ai.cli.main import with_default_command
from pipy_ai.cli.parser import build_parser
from pipy_ai.provider.registered import registered_provider, unregister_provider

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "RELEASING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
SPOKEN_FOR = (
    "anthropic", "openai", "google", "groq", "mistral", "openrouter", "deepseek", "xai", "cohere",
    "amazon-bedrock", "azure", "google-vertex", "google-vertex-anthropic", "ollama",
)  # fmt: skip
HOME = "/home/you"  # what a page calls the directory in which it runs
COLUMNS, LINES = 100, 400
PATIENCE = 100.0  # seconds for all commands of a fence

_PARTS = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[^\s`]*)[^\n]*\n(?P<body>.*?)"
    r"^(?P=indent)(?P=fence)[ \t]*$"
    r"|^ *<!--\s*(?P<word>faux|prints|exit|llama|setup|not run|not typed):(?P<said>.*?)-->",
    re.DOTALL | re.MULTILINE,
)
_TIME = re.compile(r"\d[\d.,]* (?:s|ms)\b(  \d+ tok/s)?")
_END = "⟦end {}⟧"


class ExampleError(AssertionError):
    """An example does not do what the page shows."""


@dataclass
class Page:
    """A page, and the state of its examples."""

    path: Path
    llama: Callable[[], str]
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    said: dict[str, str] = field(default_factory=dict)  # comments for the next fence
    printed: str | None = None  # by the Python above, and not shown yet
    elsewhere: str = ""  # the tests that run its examples; here they are only parsed
    line: int = 1
    end: int = 0  # of the fence before
    rewrite: bool = False  # put what the examples show into the page, rather than compare it
    edits: list[tuple[int, int, str]] = field(default_factory=list)

    def run(self) -> None:
        """Run all examples."""
        text = self.path.read_text(encoding="utf-8")
        if elsewhere := re.search(r"^<!-- run by: (\S+) -->$", text, re.MULTILINE):
            self.elsewhere = elsewhere[1]
            if self.path.name not in (ROOT / elsewhere[1]).read_text(encoding="utf-8"):
                self._fail(f"{elsewhere[1]} does not run this page")
        for part in _PARTS.finditer(text):
            self.line = text.count("\n", 0, part.start()) + 1
            if part["word"]:
                self._comment(part["word"], part["said"])
                continue
            indent, body = part["indent"], _body(part)
            shown = self._fence(part["language"], body)
            if shown != body:
                shown = re.sub(r"^(?=.)", indent, shown, flags=re.MULTILINE)
                self.edits.append((*part.span("body"), shown))
            self.end = part.end()
        self._all_shown()
        for start, end, shown in reversed(self.edits):
            text = text[:start] + shown + text[end:]
        if self.edits:
            self.path.write_text(text, encoding="utf-8")

    def _comment(self, word: str, said: str) -> None:
        if word == "setup":
            with scripted_elsewhere("") as (environment, _):
                subprocess.run(["bash", "-ec", said], check=True, env=environment)
        elif word == "prints":
            self._compare(said.strip(), self.printed or "")
            self.printed = None
        else:
            self.said[word] = said

    def _fence(self, language: str, body: str) -> str:
        """Run one fence and return its corrected body."""
        if language == "text" and self.printed is not None:
            shown, self.printed = self.printed, None
            return self._compare(body, shown)
        self._all_shown()
        said, self.said = self.said, {}
        run = getattr(self, f"_{language}", None)
        if run is None:
            self._fail(f"nobody knows how to run a fence of {language or 'no language'}")
        if "not run" in said or self.elsewhere:
            self._parse(language, body)
            return body
        here = said.get("llama", "").strip()
        there = self.llama() if here else ""
        shown = str(run(body.replace(here, there) if here else body, said))
        return shown.replace(there, here) if here else shown

    # --- Kinds of fences

    def _python(self, body: str, said: dict[str, str]) -> str:
        code = compile("\n" * self.line + body, str(self.path), "exec", dont_inherit=True)
        models = scripted(said["faux"]) if "faux" in said else contextlib.nullcontext()
        with contextlib.redirect_stdout(io.StringIO()) as printed, models as provider:
            exec(code, self.namespace)
        if provider is not None and (left := len(provider._replies)):
            self._fail(f"{left} answers of the script were not asked for")
        self.printed = printed.getvalue() or None
        return body

    def _console(self, body: str, said: dict[str, str]) -> str:
        entries = re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", body, re.MULTILINE)
        if not entries or not body.startswith("$ "):
            self._fail("a console fence begins with `$ command`")
        typed = re.findall(r"^> (.+)$", body, re.MULTILINE)
        output = self._bash([command for command, _ in entries], said, typed)
        return "".join(
            f"$ {command}\n{self._compare(shown, got, command)}"
            for (command, shown), got in zip(entries, output, strict=True)
        )

    def _sh(self, body: str, said: dict[str, str]) -> str:
        self._bash([f"(set -e\n{body})"], said)
        return body

    def _bash(
        self, commands: list[str], said: dict[str, str], typed: Sequence[str] = ()
    ) -> list[str]:
        end = "printf '" + _END.format("%s") + "\\n' $?\n"
        script = "".join(f"{command}\n{end}" for command in commands)
        with scripted_elsewhere(said.get("faux", "")) as (environment, unsaid):
            screen = at_a_terminal(script, environment, typed)
        ends = re.split(_END.format(r"(\d+)") + "\n?", screen)
        output, codes = ends[:-1:2], [int(code) for code in ends[1::2]]
        wanted = [0] * (len(commands) - 1) + [int(said.get("exit", 0))]
        if codes != wanted:
            self._fail(f"exit codes {codes}, not {wanted}:\n{screen}")
        if unsaid():
            self._fail(f"{unsaid()} answers of the script were not asked for:\n{screen}")
        return [text if text.endswith("\n") or not text else f"{text}\n" for text in output]

    def _json(self, body: str, said: dict[str, str]) -> str:
        json.loads(body)
        return body

    def _yaml(self, body: str, said: dict[str, str]) -> str:
        yaml.safe_load(body)
        return body

    def _toml(self, body: str, said: dict[str, str]) -> str:
        tomllib.loads(body)
        return body

    def _js(self, body: str, said: dict[str, str]) -> str:
        if node := shutil.which("node"):  # another library's: it is only parsed
            check = [node, "--input-type=module", "--check"]
            subprocess.run(check, input=body, text=True, check=True)
        return body

    def _text(self, body: str, said: dict[str, str]) -> str:
        return body

    def _parse(self, language: str, body: str) -> None:
        if language == "text":  # an illustration
            return
        if language == "python":
            compile(body, str(self.path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)
        for command in re.findall(r"(?:^|[|&;] *|bin/)pipy (.*)", body.replace("$ ", ""), re.M):
            words = shlex.split(re.split(r" (?:\||&&|;|>) ", command)[0], comments=True)
            try:
                build_parser().parse_args(with_default_command(words))
            except SystemExit as refused:
                if refused.code:
                    self._fail(f"pipy does not accept: {command}")

    # --- What comes out

    def _compare(self, shown: str, got: str, of: str = "the example above") -> str:
        got = got.replace(os.getcwd(), HOME)
        if _fits(shown, got):
            return shown
        if not self.rewrite:
            lines = difflib.ndiff(shown.splitlines(), got.splitlines())
            self._fail(f"{of} shows (+), not (-)\n" + "\n".join(lines))
        return got

    def _all_shown(self) -> None:
        if self.printed is not None and self.rewrite:
            shown = self.printed.removesuffix("\n")
            self.edits.append((self.end, self.end, f"\n\n```text\n{shown}\n```"))
            self.printed = None
        if self.printed is not None:
            self._fail(f"what the example above prints is not shown:\n{self.printed}")

    def _fail(self, why: str) -> None:
        raise ExampleError(f"{self.path.name}:{self.line}: {why}")


def python_module(path: Path) -> str:
    """Return the Python of a page as one module for type checkers.

    Each block is on the lines that it has in the page, so that a checker's line numbers are the
    page's. The page's title makes room for the line that configures the checkers.
    """
    text = path.read_text(encoding="utf-8")
    lines = ["# mypy: allow-redefinition", "# pyright: strict, reportUnusedImport=false"]
    typed = True
    for part in _PARTS.finditer(text):
        if part["word"]:
            typed = typed and part["word"] != "not typed"
            continue
        if part["language"] == "python" and typed:
            before = text.count("\n", 0, part.start("body"))
            lines += [""] * (before - len(lines)) + _body(part).splitlines()
        typed = True
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def _body(fence: re.Match[str]) -> str:
    """Return the lines of a fence without the indentation that a list gives them."""
    return re.sub(rf"^{fence['indent']}", "", fence["body"], flags=re.MULTILINE)


def _fits(shown: str, got: str) -> bool:
    """Whether the shown text matches the output, except for `…` and times."""
    lines = [_TIME.sub("0 s", line).rstrip() for line in shown.strip("\n").splitlines()]
    pattern = "\n".join(
        r"(?:.*\n)*?.*" if line.strip() == "…" else re.escape(line).replace("…", ".*")
        for line in lines
    )
    came = "\n".join(_TIME.sub("0 s", line).rstrip() for line in got.strip("\n").splitlines())
    return re.fullmatch(pattern, came) is not None


# --- Scripted answers


def replies(script: str) -> list[Any]:
    """Evaluate the expressions of a script with the names of `pipy_ai.faux`."""
    names = {name: getattr(faux, name) for name in faux.__all__}
    said = [
        eval(ast.unparse(line), names) for line in ast.parse(textwrap.dedent(script).strip()).body
    ]
    return [one for reply in said for one in (reply if isinstance(reply, list) else [reply])]


@contextlib.contextmanager
def scripted(script: str, said: int = 0) -> Iterator[faux.FauxProvider]:
    """Replace all known providers by a scripted one that skips its first `said` responses."""
    provider = faux.FauxProvider(*replies(script)[said:])
    outer = {name: registered_provider(name) for name in SPOKEN_FOR}
    key = os.environ.get("ANTHROPIC_API_KEY")
    os.environ["ANTHROPIC_API_KEY"] = "k"
    for name in SPOKEN_FOR:
        register_provider(name, provider)
    try:
        yield provider
    finally:
        os.environ.pop("ANTHROPIC_API_KEY")
        if key is not None:
            os.environ["ANTHROPIC_API_KEY"] = key
        for name, before in outer.items():
            unregister_provider(name)
            if before is not None:
                register_provider(name, before)


@contextlib.contextmanager
def scripted_elsewhere(script: str) -> Iterator[tuple[dict[str, str], Callable[[], int]]]:
    """Yield an environment whose `pipy` answers from the script. The commands of a fence share the
    script by counting the responses given so far."""
    bin = Path.cwd().parent / "bin"
    bin.mkdir(exist_ok=True)
    count = bin / "count"
    count.write_text("0")
    pipy = "-m tests.support.doc_pages" if script else "-m pipy_ai"
    for name, module in (("python", ""), ("pipy", pipy)):
        (bin / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (bin / name).chmod(0o755)
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {
        **os.environ,
        "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": path,
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "PIPY_PAGER": "cat",
        "PIPY_DOCS_COUNT": str(count),
        "PIPY_DOCS_FAUX": script,
    }
    yield environment, lambda: len(replies(script)) - int(count.read_text())


def main() -> int:
    """Run `pipy` with responses from the script of the page."""
    from pipy_ai.cli.main import main as pipy

    if sys.argv[1:2] == ["preview"]:  # of the real provider: nothing is sent
        os.environ["ANTHROPIC_API_KEY"] = "k"
        return pipy()
    count = Path(os.environ["PIPY_DOCS_COUNT"])
    before = int(count.read_text())
    with scripted(os.environ["PIPY_DOCS_FAUX"], before) as provider:
        try:
            return pipy()
        finally:
            count.write_text(str(before + provider.calls))


# --- A terminal


def at_a_terminal(script: str, environment: dict[str, str], typed: Sequence[str] = ()) -> str:
    """Return what a terminal shows after bash ran a script in it and each line was typed at an
    empty prompt."""
    screen = pyte.Screen(COLUMNS, LINES)
    feed = pyte.ByteStream(screen).feed
    ours, theirs = pty.openpty()
    screen.write_process_input = lambda said: os.write(ours, said.encode())
    lines, last = list(typed), -1
    size = f"stty cols {COLUMNS} rows {LINES}\n"
    process = subprocess.Popen(
        ["bash", "-c", size + script],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    until = time.monotonic() + PATIENCE
    try:
        while True:
            readable, _, _ = select.select([ours], [], [], max(0.0, until - time.monotonic()))
            if not readable:
                raise TimeoutError("\n".join(["no end to be seen:", *_text_of(screen)]))
            try:
                feed(os.read(ours, 65536))
            except OSError:  # no process has the terminal open any more
                return "\n".join(_text_of(screen))
            row = screen.cursor.y
            if lines and row > last and screen.display[row].strip() == ">":
                os.write(ours, f"{lines.pop(0)}\r".encode())
                last = row
    finally:
        os.close(ours)
        process.kill()
        process.wait()


def _text_of(screen: pyte.Screen) -> list[str]:
    lines = [line.rstrip() for line in screen.display]
    return lines[: screen.cursor.y + 1]


if __name__ == "__main__":
    sys.exit(main())
