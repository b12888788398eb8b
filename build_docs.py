"""Build the documentation's site: `python build_docs.py`, with the extra `docs`.

Writes build/site. Generated pages are not committed: docs/reference/ comes from the docstrings of
the package's public names. docs/llms.txt and docs/llms-full.txt come from the pages, each of which
is also in the site as Markdown. A broken link or anchor fails.
"""

from __future__ import annotations

import html
import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import griffe
import yaml

ROOT = Path(__file__).parent
DOCS = ROOT / "docs"
SITE = ROOT / "build" / "site"
PROMPT = re.compile(r"(?:\$|>>>|\.\.\.) ?")
HIGHLIGHTED = re.compile(
    r'(?P<start><div class="(?:[\w-]+ )*highlight")(?P<rest>><pre[^>]*>.*?<code[^>]*>)'
    r"(?P<code>.*?)(?=</code>)",
    re.DOTALL,
)
sys.path.insert(0, str(ROOT / "src"))

import pipy_ai  # noqa: E402

# Page, title, and the modules whose public names it shows. The last page shows all other modules.
REFERENCE_PAGES = {
    "verbs": ("Verbs", ["api"]),
    "messages": ("Messages and contexts", ["context", "files", "types", "options"]),
    "events": ("Events and streams", ["stream", "events", "abort"]),
    "tools": ("Tools and typed answers", ["tools", "tool_loop", "output"]),
    "models": ("Models, usage and cost", ["registry"]),
    "errors": ("Errors", ["errors"]),
    "providers": ("Providers, scripted ones too", ["provider", "provider.faux"]),
    "more": ("Many requests, and what they may cost", []),
}


class Examples(griffe.Extension):
    """Read `Example:` in a docstring as a section of examples."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M
            )


class Options(griffe.Extension):
    """List the options of a function that takes `**keywords: Unpack[Options]`."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        unpacked = [p for p in func.parameters if "Unpack[Options]" in str(p.annotation)]
        if not unpacked:
            return
        if func.docstring is not None:
            _ = func.docstring.parsed  # while the parameter that it describes is still there
        del func.parameters[unpacked[0].name]
        module = importlib.import_module(func.module.path)
        for option in inspect.signature(getattr(module, func.name)).parameters.values():
            if option.name not in func.parameters:
                parameter = griffe.Parameter(
                    option.name,
                    annotation=option.annotation,
                    kind=griffe.ParameterKind.keyword_only,
                    default=repr(option.default),
                )
                func.parameters.add(parameter)


def public_names() -> dict[str, list[str]]:
    """Return the public names by the module that exports them."""
    names_by_module = {module: names.split() for module, names in pipy_ai._NAMES_BY_MODULE.items()}
    names_by_module["provider.faux"] = list(pipy_ai.faux.__all__)
    return names_by_module


def build_reference_pages() -> dict[str, str]:
    """Return the pages of the reference, with a mkdocstrings directive for each public name."""
    remaining = public_names()
    assigned_modules = {module for _, modules in REFERENCE_PAGES.values() for module in modules}
    unassigned = [module for module in remaining if module not in assigned_modules]
    pages: dict[str, str] = {}
    for page, (title, modules) in REFERENCE_PAGES.items():
        blocks = [
            _directive(module, name)
            for module in (modules or unassigned)
            for name in sorted(remaining.pop(module), key=lambda name: _source_line(module, name))
        ]
        pages[page] = "\n\n".join([f"# {title}", *blocks]) + "\n"
    return pages


def _source_line(module: str, name: str) -> int:
    """Return the line where a name is defined; 0 if Python does not know it."""
    try:
        return inspect.getsourcelines(getattr(_namespace_of(module), name))[1]
    except TypeError:
        return 0


def _namespace_of(module: str) -> Any:
    return pipy_ai.faux if module == "provider.faux" else pipy_ai


def _directive(module: str, name: str) -> str:
    """Return the directive for a name: its definition, which has the docstring."""
    value = getattr(_namespace_of(module), name)
    defined_in = getattr(value, "__module__", None) or ""
    original = getattr(value, "__name__", name)
    if not defined_in.startswith("pipy_ai") or (original != name and original in pipy_ai.__all__):
        return f"::: pipy_ai.{module}.{name}"
    if original != name:
        options = f"{{heading: {name}, toc_label: {name}}}"
        return f"::: {defined_in}.{original}\n    options: {options}"
    return f"::: {defined_in}.{name}"


class _Loader(yaml.SafeLoader):
    """Reads `mkdocs.yml` without the values of environment variables."""


_Loader.add_constructor("!ENV", lambda loader, node: None)
NAV = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=_Loader)["nav"]


def nav_pages() -> list[tuple[str, str]]:
    """Return title and file of each page, in the order of the site."""

    def walk(entries: list[Any]) -> list[tuple[str, str]]:
        pages = []
        for entry in entries:
            [(title, target)] = entry.items()
            pages += walk(target) if isinstance(target, list) else [(title, target)]
        return pages

    return walk(NAV)


def build_llms_texts() -> tuple[str, str]:
    """Return `llms.txt` (an index of the pages) and `llms-full.txt` (all of them)."""
    pages = {
        file: markdown_of(file) for _, file in nav_pages() if not file.startswith("reference/")
    }
    index = [f"# pipy-ai\n\n> {pipy_ai.__doc__.splitlines()[0]}\n"]
    index.append(
        f"Version {pipy_ai.__version__}. All pages in one file: [llms-full.txt](llms-full.txt)"
    )
    sections: dict[str, list[str]] = {}
    for title, file in nav_pages():
        section = "API reference" if file not in pages else section_of(file)
        note = f": {first_sentence(pages[file])}" if file in pages else ""
        target = file if file in pages else f"{file.removesuffix('.md')}/"
        sections.setdefault(section, []).append(f"- [{title}]({target}){note}")
    for section, lines in sections.items():
        index += [f"\n## {section}\n", *lines]
    return "\n".join(index) + "\n", "\n\n".join(pages.values())


def section_of(file: str) -> str:
    """Return the heading of the navigation that a page is under."""
    for entry in NAV:
        [(title, target)] = entry.items()
        if isinstance(target, list) and any(file in page.values() for page in target):
            return str(title)
    return "Start"


def markdown_of(file: str) -> str:
    """Return a page without the comments for its tests, and with links to Markdown pages."""
    text = (DOCS / file).read_text(encoding="utf-8")
    text = re.sub(r"^ *<!--.*?-->\n", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^!\[.*#only-dark\)\n", "", text, flags=re.MULTILINE)


def first_sentence(text: str) -> str:
    """Return the first sentence of a page's prose."""
    prose = re.sub(r"^ *(```+).*?^ *\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    paragraph = next(
        part for part in prose.split("\n\n") if part.strip() and part.strip()[0] not in "#|!=<"
    )
    return re.split(r"(?<=[.:])\s", " ".join(paragraph.split()))[0].rstrip(".:")


def write_generated_pages() -> None:
    """Write the generated pages into docs/."""
    (DOCS / "reference").mkdir(exist_ok=True)
    for page, text in build_reference_pages().items():
        (DOCS / "reference" / f"{page}.md").write_text(text, encoding="utf-8")
    for name, text in zip(("llms.txt", "llms-full.txt"), build_llms_texts(), strict=True):
        (DOCS / name).write_text(text, encoding="utf-8")


def check_nav() -> None:
    """Exit with an error unless `mkdocs.yml` lists exactly the pages in docs/."""
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    if mismatched := pages ^ {file for _, file in nav_pages()}:
        sys.exit(f"in docs/ but not in the nav of mkdocs.yml, or the other way round: {mismatched}")


def add_copied_text(page: str) -> str:
    """Give blocks with prompts the text that their copy button takes: no prompts, no output."""

    def marked(block: re.Match[str]) -> str:
        lines = html.unescape(re.sub(r"<[^>]+>", "", block["code"])).splitlines()
        copied: list[str] = []
        for line in lines:
            if prompt := PROMPT.match(line):
                copied.append(line[prompt.end() :])
            elif copied and copied[-1].endswith("\\"):
                copied.append(line)
        if not copied or not PROMPT.match(lines[0]):
            return block[0]
        text = html.escape("\n".join(copied))
        return f'{block["start"]} data-copy="{text}"{block["rest"]}{block["code"]}'

    return HIGHLIGHTED.sub(marked, page)


def site_environment() -> dict[str, str]:
    """Return the variables that `mkdocs.yml` reads."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    notice = f"pipy-ai {pipy_ai.__version__}, {project['license']} licence"
    repository = project.get("urls", {}).get("Repository", "")
    return {"DOCS_COPYRIGHT": notice, "DOCS_REPOSITORY": repository}


def main() -> int:
    """Build the site and return the exit code."""
    write_generated_pages()
    check_nav()
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    built = subprocess.run(command, cwd=ROOT, env=os.environ | site_environment(), check=False)
    if built.returncode:
        return built.returncode
    for path in SITE.rglob("index.html"):
        path.write_text(add_copied_text(path.read_text(encoding="utf-8")), encoding="utf-8")
    for _, file in nav_pages():
        if not file.startswith("reference/"):
            (SITE / file).write_text(markdown_of(file), encoding="utf-8")
    (SITE / "commands.py").unlink()  # it writes docs/commands.md
    return 0


if __name__ == "__main__":
    sys.exit(main())
