"""The import graph of the package: no cycles, and no private names across modules.

import-linter checks the layers (`[tool.importlinter]` in pyproject.toml). These tests also follow
`import_module(...)` and attributes of modules, which it does not see.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGE = "pipy_ai"

# `PipyError.response` is a message, for type checkers only.
ALLOWED_CYCLES = {("pipy_ai.errors", "pipy_ai.types")}


class Import(NamedTuple):
    """One import of a module of the package, or of a name in it."""

    file: Path
    line: int
    module: str
    name: str | None  # None: the module itself
    alias: str

    def __str__(self) -> str:
        imported = f"{self.module}.{self.name}" if self.name else self.module
        return f"{self.file.relative_to(ROOT)}:{self.line}: {imported}"


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted((ROOT / "src" / PACKAGE).rglob("*.py"))}
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))


@cache
def parsed(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imports_of(file: Path, package: str) -> Iterator[Import]:
    """Yield the imports in a file, also those in functions and under `TYPE_CHECKING`."""
    for node in parsed(file):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name in MODULES:
                        yield Import(
                            file, node.lineno, alias.name, None, alias.asname or alias.name
                        )
            case ast.ImportFrom(module=module, names=names, level=level):
                base = resolve_name("." * level + (module or ""), package)
                for alias in names:
                    bound = alias.asname or alias.name
                    if f"{base}.{alias.name}" in MODULES:
                        yield Import(file, node.lineno, f"{base}.{alias.name}", None, bound)
                    elif base in MODULES:
                        yield Import(file, node.lineno, base, alias.name, bound)
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(target)), *_],
            ):
                target = resolve_name(target, package)
                if target in MODULES:
                    yield Import(file, node.lineno, target, None, "")


def imports_in_package() -> dict[str, list[Import]]:
    return {
        name: list(
            imports_of(file, name if file.name == "__init__.py" else name.rpartition(".")[0])
        )
        for name, file in MODULES.items()
    }


def private_names(file: Path, imports: list[Import]) -> Iterator[str]:
    """Yield the private names of modules that a file imports, reads or patches."""
    where = file.relative_to(ROOT)
    module_by_alias = {one.alias: one.module for one in imports if one.name is None}
    for one in imports:
        if one.name and is_private(one.name):
            yield f"{where}:{one.line}: {one.module}.{one.name}"
    for node in parsed(file):
        match node:
            case ast.Attribute(value=ast.Name(id=alias), attr=name):  # engine._x
                pass
            case ast.Call(args=[ast.Name(id=alias), ast.Constant(value=str(name)), *_]):
                pass  # setattr(engine, "_x", ...)
            case ast.Constant(value=str(text)):  # setattr("pipy_ai.provider.engine._x", ...)
                module, _, name = text.rpartition(".")
                if module in MODULES and is_private(name) and text not in MODULES:
                    yield f"{where}:{node.lineno}: {text}"
                continue
            case _:
                continue
        if alias in module_by_alias and is_private(name):
            yield f"{where}:{node.lineno}: {module_by_alias[alias]}.{name}"


def may_import(importer: str, module: str) -> bool:
    """Whether `module` is public to `importer`.

    A module with a leading underscore is private to the package around the one that contains it:
    `provider/wires/_parsing.py` to `provider`, `_requests.py` to the whole package.
    """
    parts = module.split(".")
    for depth, part in enumerate(parts):
        if is_private(part):
            owner = ".".join(parts[: max(1, depth - 1)])
            return importer == owner or importer.startswith(f"{owner}.")
    return True


def cycles_in(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        pending = [start]
        while pending:
            for module in graph.get(pending.pop(), ()):
                if module not in seen:
                    seen.add(module)
                    pending.append(module)
        return seen

    below = {module: reachable(module) for module in graph}
    groups = {
        tuple(sorted(other for other in below[module] if module in below.get(other, ())))
        for module in below
        if module in below[module]
    }
    return sorted(map(list, groups))


def test_no_module_imports_itself_through_others() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for importer, imports in imports_in_package().items():
        for one in imports:
            if one.module != importer and (importer, one.module) not in ALLOWED_CYCLES:
                graph[importer].add(one.module)
    assert sum(map(len, graph.values())) > 500
    assert cycles_in(graph) == []


def test_every_module_has_a_layer() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    layers = {f"{PACKAGE}.{name.strip()}" for row in contract["layers"] for name in row.split("|")}
    packages = {name for name, file in MODULES.items() if file.name == "__init__.py"}
    assert [
        name
        for name in MODULES
        if name not in packages - layers
        and not any(name == layer or name.startswith(f"{layer}.") for layer in layers)
    ] == []


def test_no_module_uses_private_names_of_another() -> None:
    private: list[str] = []
    for importer, imports in imports_in_package().items():
        others = [one for one in imports if one.module != importer]
        private += private_names(MODULES[importer], others)
        private += [str(one) for one in others if not may_import(importer, one.module)]
    assert not private, "\n".join(private)


def test_no_test_uses_private_names() -> None:
    private: list[str] = []
    for file in TEST_FILES:
        package = ".".join(file.relative_to(ROOT).parts[:-1])
        private += private_names(file, list(imports_of(file, package)))
    assert not private, "\n".join(private)
