"""Build what is published: `pipy-ai-slim` with the code, and `pipy-ai`, which requires it.

    python build_packages.py dist

`pipy-ai` contains no files: it requires `pipy-ai-slim[litellm]` of the same version, so both can be
installed together. In a clone, `pyproject.toml` describes a `pipy-ai` that contains the code.
RELEASING.md gives the reasons. `PIPY_SNAPSHOT` adds a catalogue, as hatch_build.py says.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
SLIM = "pipy-ai-slim"
# Fields of `[project]` that both distributions have.
SHARED_FIELDS = (
    "description", "readme", "license", "license-files", "requires-python", "keywords", "scripts",
    "authors", "urls",
)  # fmt: skip
PRIVATE_CLASSIFIER = "Private :: Do Not Upload"


def slim_pyproject(text: str) -> str:
    """Return the `pyproject.toml` of `pipy-ai-slim`: another name, and LiteLLM only as an extra."""
    [litellm] = tomllib.loads(text)["project"]["optional-dependencies"]["litellm"]
    for old, new in (
        ('\nname = "pipy-ai"\n', f'\nname = "{SLIM}"\n'),
        (f'\ndependencies = [\n    "{litellm}",\n', "\ndependencies = [\n"),
    ):
        if text.count(old) != 1:
            raise ValueError(f"pyproject.toml must contain {old!r} once")
        text = text.replace(old, new)
    return "".join(
        line for line in text.splitlines(keepends=True) if PRIVATE_CLASSIFIER not in line
    )


def full_pyproject(text: str) -> str:
    """Return the `pyproject.toml` of `pipy-ai`, which has no files and passes extras on."""
    project = tomllib.loads(text)["project"]
    version, extras = project["version"], project["optional-dependencies"]
    fields: dict[str, Any] = {
        "name": "pipy-ai",
        "version": version,
        **{name: project[name] for name in SHARED_FIELDS if name in project},
        "classifiers": [c for c in project["classifiers"] if c != PRIVATE_CLASSIFIER],
        "dependencies": [f"{SLIM}[litellm]=={version}"],
        "optional-dependencies": {e: [f"{SLIM}[{e}]=={version}"] for e in extras},
    }
    build = tomllib.loads(text)["build-system"]
    wheel = {"bypass-selection": True, "core-metadata-version": "2.4"}
    lines = [
        "[project]",
        *(f"{name} = {_to_toml(value)}" for name, value in fields.items()),
        "[build-system]",
        *(f"{name} = {_to_toml(value)}" for name, value in build.items()),
        "[tool.hatch.build.targets]",
        f"wheel = {_to_toml(wheel)}",
        'sdist = { core-metadata-version = "2.4" }',
    ]
    return "\n".join(lines) + "\n"


def _to_toml(value: Any) -> str:
    """Return strings, booleans, lists and tables of them as TOML."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)} = {_to_toml(item)}" for name, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_to_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _build(tree: Path, output: Path, *options: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(output), *options]
    subprocess.run(command, cwd=tree, check=True)


def main() -> None:
    """Build a source distribution and a wheel of each into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("output", nargs="?", default="dist", type=Path, help="a folder")
    output = parser.parse_args().output.resolve()
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    if (snapshot := os.environ.get("PIPY_SNAPSHOT", "fetch")) != "fetch":
        os.environ["PIPY_SNAPSHOT"] = str(Path(snapshot).resolve())
    with tempfile.TemporaryDirectory() as temp_dir:
        temp = Path(temp_dir)
        _build(ROOT, temp, "--target", "sdist")
        [archive] = temp.glob("*.tar.gz")
        with tarfile.open(archive) as sdist:
            sdist.extractall(temp, filter="data")
        slim = archive.with_name(archive.name.removesuffix(".tar.gz"))
        (slim / "PKG-INFO").unlink()
        (slim / "pyproject.toml").write_text(slim_pyproject(text), encoding="utf-8")
        full = temp / "pipy-ai"
        full.mkdir()
        for name in ("README.md", "LICENSE"):
            shutil.copy(ROOT / name, full)
        (full / "pyproject.toml").write_text(full_pyproject(text), encoding="utf-8")
        for tree in (slim, full):
            _build(tree, output)


if __name__ == "__main__":
    main()
