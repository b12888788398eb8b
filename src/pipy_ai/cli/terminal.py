"""The former name of `pipy_ai.cli.display.terminal`, for scripts written before it was renamed."""

from __future__ import annotations

from .display.terminal import escape_controls as safe

__all__ = ["safe"]
