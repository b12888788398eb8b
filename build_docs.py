"""Build the documentation's site: `python build_docs.py`, with the extra `docs`.

Writes build/site. Generated pages are not committed: docs/reference/ comes from the docstrings of
the package's public names. docs/llms.txt and docs/llms-full.txt come from the pages, each of which
is also in the site as Markdown. A broken link or anchor fails.
"""

from __future__ import annotations

import ast
import html
import importlib
import inspect
import itertools
import os
import re
import shutil
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
import pipy_ai.options  # noqa: E402
import pipy_ai.provider  # noqa: E402
from pipy_ai import errors  # noqa: E402

# Page, title, and the modules whose public names it shows. The last page shows all other modules.
REFERENCE_PAGES = {
    "functions": ("Functions", ["api", "counting", "compaction"]),
    "messages": (
        "Messages and contexts",
        ["context", "files", "file_storage.verbs", "types", "options"],
    ),
    "events": ("Events and streams", ["stream", "events", "abort"]),
    "tools": ("Tools and structured output", ["tools", "tool_loop", "mcp_client", "output"]),
    "models": ("Models, usage and cost", ["registry", "live_models", "tokens"]),
    "errors": ("Errors", ["errors"]),
    "providers": ("Providers and the scripted provider", ["provider", "provider.faux"]),
    "more": ("Batches, budgets and hooks", []),
}
# Type aliases in signatures, by module.
TYPE_ALIASES = {
    "_requests": ["ModelSpec"],
    "background": ["CompletionWindow"],
    "options": ["Modality", "ServiceTier"],
    "context": ["Prompt"],
    "types": ["Message", "UserContent", "AssistantContent", "ToolResultContent", "ToolLike"],
    "files": ["FileSource"],
    "output.schema": ["OutputMode"],
    "provider.cassette": ["RecordMode"],
    "tool_loop_state": ["ApproveCallback"],
    "events": ["AssistantMessageEvent", "ToolEvent"],
    "provider.registered": ["ProviderFunction"],
    "provider.hooks": ["RequestHook", "ResponseHook", "EventHook"],
    "provider.deltas": ["Delta"],
    "provider.faux": ["Scripted"],
}


class Examples(griffe.Extension):
    """Read `Example:` in a docstring as a section of examples."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M
            )


class Fields(griffe.Extension):
    """Show the documented attributes of a class as a table, with types and defaults."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        cls.bases = [base for base in cls.bases if not str(base).startswith("_")]
        fields = [
            member
            for member in cls.members.values()
            if isinstance(member, griffe.Attribute)
            and not member.name.startswith("_")
            and member.docstring is not None
            and not member.has_labels("property")
        ]
        if not fields or cls.docstring is None:
            return
        is_enum = any(str(base).endswith("Enum") for base in cls.bases)
        rows = [
            griffe.DocstringAttribute(
                name=field.name,
                annotation=field.value if is_enum else field.annotation,
                description=_with_default(field, is_enum),
            )
            for field in fields
        ]
        section = griffe.DocstringSectionAttributes(rows, title="Values:" if is_enum else "Fields:")
        cls.docstring.parsed.insert(1, section)
        for field in fields:
            cls.del_member(field.name)


def _with_default(field: griffe.Attribute, is_enum: bool) -> str:
    """Return the description of a field with its default, or of an enum's member."""
    assert field.docstring is not None
    text = field.docstring.value
    if is_enum:
        return text
    if field.value is None:
        return f"{text} Required."
    default = default_text(str(field.value))
    return f"{text} Default: `{default}`." if default else f"{text} Required."


def default_text(value: str) -> str:
    """Return the default in the source of a field's value; an empty string if it is required."""
    if not re.match(r"(Field|field)\(", value):
        return value
    if match := re.search(r"\bdefault_factory=(\w+)", value):
        return {"list": "[]", "dict": "{}", "now_ms": "now", "lambda": "…"}.get(
            match[1], f"{match[1]}()"
        )
    match = re.search(r"\bdefault=([^,()]+)", value)
    return match[1] if match else ""


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
    names_by_module["otel"] = ["instrument", "uninstrument"]  # imported only by applications
    elsewhere = {"Delta", "ErrorInfo", "ErrorKind", "ProviderError"}  # on other pages
    names_by_module["provider"] = sorted({*pipy_ai.provider.__all__} - elsewhere)
    names_by_module["errors"] += [
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value)
        and issubclass(value, Exception)
        and name not in names_by_module["errors"]
    ]
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
    pages["aliases"] = build_aliases_page()
    pages["options"] = build_options_page()
    return pages


def build_aliases_page() -> str:
    """Return the page that explains the type aliases in signatures."""
    blocks = [
        f"::: pipy_ai.{module}.{name}"
        for module, names in TYPE_ALIASES.items()
        for name in sorted(names)
    ]
    intro = "What the short names of types in signatures stand for."
    return "\n\n".join(["# Type aliases", intro, *blocks]) + "\n"


def build_options_page() -> str:
    """Return the page with a table of all options of a request."""
    descriptions: dict[str, str] = {}
    defaults: dict[str, str] = {}
    for name in ("StreamOptions", "SimpleStreamOptions"):
        for field, (value, text) in documented_fields("options", name).items():
            descriptions[field] = text
            defaults[field] = default_text(value) if value else ""
    types = pipy_ai.options.Options.__annotations__
    rows = []
    for name, text in descriptions.items():
        annotation = getattr(types[name], "__forward_arg__", types[name])
        kind = " ".join(str(annotation).split()).removeprefix("( ").removesuffix(" )")
        cells = (f"`{name}`", f"`{kind}`", f"`{defaults[name]}`", text)
        rows.append(f"| {' | '.join(cells)} |")  # a `|` in code does not end a cell
    lines = [
        "# All options",
        "",
        "Keyword arguments of `complete`, `stream`, `run_tools`, `complete_many` and their",
        "variants, and fields of",
        "[`SimpleStreamOptions`][pipy_ai.options.SimpleStreamOptions]. On the command line:",
        "`pipy ask -o name=value`. `None` means the provider's default, unless it says otherwise.",
        "",
        "| option | type | default | |",
        "| --- | --- | --- | --- |",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def documented_fields(module: str, class_name: str) -> dict[str, tuple[str, str]]:
    """Return the default and description of each documented field of a class, from its source."""
    source = (ROOT / "src" / "pipy_ai" / f"{module}.py").read_text(encoding="utf-8")
    [body] = [
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == class_name
    ]
    return {
        statement.target.id: (
            ast.unparse(statement.value) if statement.value else "",
            inspect.cleandoc(following.value.value).replace("\n", " "),
        )
        for statement, following in itertools.pairwise(body)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
    }


def _source_line(module: str, name: str) -> int:
    """Return the line where a name is defined; 0 if Python does not know it."""
    try:
        return inspect.getsourcelines(getattr(_namespace_of(module), name))[1]
    except TypeError:
        return 0


def _namespace_of(module: str) -> Any:
    return importlib.import_module(f"pipy_ai.{module}")


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
    shutil.rmtree(DOCS / "reference", ignore_errors=True)  # pages of an earlier build
    (DOCS / "reference").mkdir()
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


def fit_tables(page: str) -> str:
    r"""Let code in tables break between the parts of names, and show `\|` without the backslash,
    which only GitHub needs."""

    def text(match: re.Match[str]) -> str:
        return re.sub(r"(?<=\w)([_./=\[])(?=\w)", r"\1<wbr>", match[0].replace("\\|", "|"))

    def code(match: re.Match[str]) -> str:
        return re.sub(r"(?<=>)[^<]+", text, match[0])

    def cell(match: re.Match[str]) -> str:
        return re.sub(r"<code>.*?</code>", code, match[0], flags=re.DOTALL)

    return re.sub(r"<td.*?</td>", cell, page, flags=re.DOTALL)


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
        page = path.read_text(encoding="utf-8")
        path.write_text(fit_tables(add_copied_text(page)), encoding="utf-8")
    for _, file in nav_pages():
        if not file.startswith("reference/"):
            (SITE / file).write_text(markdown_of(file), encoding="utf-8")
    (SITE / "commands.py").unlink()  # it writes docs/commands.md
    return 0


if __name__ == "__main__":
    sys.exit(main())
