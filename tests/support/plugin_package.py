"""Write the metadata of an installed package with plugins into a directory."""

from __future__ import annotations

from pathlib import Path


def install(directory: Path, name: str, groups: dict[str, dict[str, str]], **modules: str) -> None:
    """Make a package look installed: `groups` has the entry points, `modules` their code."""
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines: list[str] = []
    for group, entries in groups.items():
        lines += [f"[pipy_ai.{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for module, code in modules.items():
        (directory / f"{module}.py").write_text(code)
