"""Issue a warning only once in a process."""

from __future__ import annotations

shown_warnings: set[str] = set()


def warn_once(text: str) -> None:
    """Issue a `UserWarning`, unless the same text was already issued in this process."""
    if text not in shown_warnings:
        shown_warnings.add(text)
        import warnings

        warnings.warn(text, stacklevel=3)
