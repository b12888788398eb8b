"""Test that every public name, field, option, value, variable and file is documented."""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib.util
import inspect
import re
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import pipy_ai
from pipy_ai import errors, provider
from pipy_ai.options import Options, SimpleStreamOptions

from .support.doc_pages import ROOT

SOURCE = ROOT / "src" / "pipy_ai"
MODULES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}
SOURCE_TEXT = "\n".join(path.read_text(encoding="utf-8") for path in MODULES)
DOCS = ROOT / "docs"


def public_objects() -> dict[str, Any]:
    names: dict[str, Any] = {name: getattr(pipy_ai, name) for name in pipy_ai.__all__}
    names |= {f"faux.{name}": getattr(pipy_ai.faux, name) for name in pipy_ai.faux.__all__}
    names |= {f"provider.{name}": getattr(provider, name) for name in provider.__all__}
    names |= {
        f"errors.{name}": value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    return {
        name: value
        for name, value in names.items()
        if inspect.isroutine(value) or (inspect.isclass(value) and _is_ours(value))
    }


def _is_ours(value: Any) -> bool:
    return str(value.__module__).startswith("pipy_ai")


PUBLIC = public_objects()
CLASSES = {value.__qualname__: value for value in PUBLIC.values() if inspect.isclass(value)}


def documented_names(cls: type) -> set[str]:
    """Return the attributes of a class that have a docstring below them, also of its bases."""
    names: set[str] = set()
    for base in cls.__mro__:
        if not _is_ours(base):
            continue
        [node] = [
            node
            for path, tree in MODULES.items()
            for node in tree.body
            if str(path.with_suffix("")).endswith(base.__module__.replace(".", "/"))
            and isinstance(node, ast.ClassDef)
            and node.name == base.__name__
        ] or [None]
        for statement, following in zip(node.body, node.body[1:], strict=False) if node else ():
            is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            match statement:
                case ast.AnnAssign(target=ast.Name(id=name)) if is_text:
                    names.add(name)
                case ast.Assign(targets=[ast.Name(id=name)]) if is_text:
                    names.add(name)
    return names


def fields_of(cls: type) -> set[str]:
    if issubclass(cls, BaseModel):
        return set(cls.model_fields)
    if issubclass(cls, enum.Enum):
        return set(cls.__members__)
    if hasattr(cls, "__dataclass_fields__"):
        return {field.name for field in dataclasses.fields(cls) if field.name[0] != "_"}
    return set()


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_and_value_has_a_description(name: str) -> None:
    cls = CLASSES[name]
    assert fields_of(cls) <= documented_names(cls)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    assert text.strip()
    assert not re.match(r"\w+\(.*\)$", text)  # the one that `dataclass` makes


def _own_methods(cls: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(cls).items()
        if name[0] != "_" and (inspect.isroutine(value) or isinstance(value, property))
    }


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_method_has_a_docstring(name: str) -> None:
    for method, value in _own_methods(CLASSES[name]).items():
        if method not in ("model_post_init",):
            assert inspect.getdoc(value), f"{name}.{method}"


FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_documented(name: str) -> None:
    """In the list of arguments, or in the prose if there is no list."""
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    code = inspect.unwrap(FUNCTIONS[name]).__code__
    flags = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    arguments = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + flags])
    if "\nArgs:\n" in text:
        section = text.partition("\nArgs:\n")[2].partition("\n\n")[0]
        assert set(re.findall(r"^    \**(\w+):", section, re.MULTILINE)) == arguments
    elif not re.search("async version of `|under the name it has in pi-ai", text):
        missing = {word for word in arguments if word not in re.findall(r"\w+", text)}
        assert not missing


def test_every_option_is_on_the_page_of_options(generated: dict[str, str]) -> None:
    for name in SimpleStreamOptions.model_fields:
        assert f"\n| `{name}` | " in generated["options"]
    assert len(typing.get_type_hints(Options)) == generated["options"].count("\n| `")


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """The pages that `build_docs.py` generates."""
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / "build_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    pages: dict[str, str] = module.build_reference_pages()
    return pages


def test_every_public_name_is_in_the_reference(generated: dict[str, str]) -> None:
    text = "\n".join(generated.values())
    shown = set(re.findall(r"^::: [\w.]*\.(\w+)$", text, re.MULTILINE))
    shown |= set(re.findall(r"heading: (\w+)", text))
    wanted = {name.rpartition(".")[2] for name in PUBLIC} | set(pipy_ai.__all__)
    assert wanted - shown == {"__version__", "faux"}


def test_every_type_alias_in_a_signature_is_explained(generated: dict[str, str]) -> None:
    aliases = {
        node.target.id
        for tree in MODULES.values()
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and ast.unparse(node.annotation) == "TypeAlias"
    }
    signatures = " ".join(str(inspect.signature(f)) for f in FUNCTIONS.values())
    used = {name for name in aliases if re.search(rf"\b{name}\b", signatures)}
    explained = set(re.findall(r"^::: [\w.]*\.(\w+)$", generated["aliases"], re.MULTILINE))
    assert {"ModelSpec", "Prompt", "ToolLike", "OutputMode"} <= used
    assert used <= explained


# --- Variables, files, error texts --------------------------------------------------------

# Read by other programs' rules, or only by the tests and the build.
NOT_OURS = {"ALACRITTY_WINDOW_ID", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "VTE_VERSION"}


def test_every_environment_variable_is_documented() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    read = set(re.findall(r"environ(?:\.get)?[\[(]\"([A-Z_]+)\"", SOURCE_TEXT))
    read |= set(re.findall(r"\"(PIPY_[A-Z_]+)\"", SOURCE_TEXT))
    assert "PIPY_MODEL" in read
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", text))
    assert read - documented - NOT_OURS == set()
    unknown = {name for name in documented if name.startswith("PIPY_")} - read
    assert unknown == set()


def test_every_file_of_the_data_directory_is_documented() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    files = re.findall(r"\w+_FILE(?:NAME)? = \"([\w.-]+)\"", SOURCE_TEXT)
    assert "keys.json" in files
    for name in set(files) - {"SmolLM2-135M-Instruct.Q4_1.gguf"}:
        assert f"`{name}`" in text, name


def test_every_error_text_of_the_troubleshooting_page_exists() -> None:
    """The first code of each row is a part of a text in the source, or a kind of error."""
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    source = re.sub(r'"\n\s*f?"', "", SOURCE_TEXT)  # strings over several lines
    shown = re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)
    assert len(shown) > 15
    for words in shown:
        assert words in source or f"usage: {words}" in source, words


def test_pages_name_existing_files() -> None:
    assert all(isinstance(path, Path) and path.is_file() for path in MODULES)
