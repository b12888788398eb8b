"""Detect context overflow. The code is in `pipy_ai.failures`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..failures import is_context_overflow as is_context_overflow

__all__ = ["is_context_overflow"]


def __getattr__(
    name: str,
) -> object:  # imported lazily: `failures` is in a higher layer than `utils`
    if name in __all__:
        from .. import failures

        return getattr(failures, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
