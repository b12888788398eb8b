"""Check the plugins of installed packages."""

from __future__ import annotations

from collections.abc import Iterator

from .finding import OK, WARN, Finding


def check_plugins() -> Iterator[Finding]:
    """Yield what each package adds, and which plugins cannot be imported."""
    from ...utils.plugins import KINDS, plugins

    names_by_package: dict[str, list[str]] = {}
    for kind in KINDS:
        for plugin in plugins(kind):
            name = f"{kind.removesuffix('s')} {plugin.entry_point.name}"
            try:
                plugin.load()
            except ValueError as error:
                todo = f"pip install -U {plugin.distribution}, or uninstall it"
                yield Finding("plugins", WARN, str(error), todo)
            else:
                names_by_package.setdefault(plugin.distribution, []).append(name)
    for package, names in names_by_package.items():
        yield Finding("plugins", OK, f"{package}: {', '.join(names)}")
