"""Backoff between attempts."""

from __future__ import annotations

BACKOFF_BASE_S, MAX_BACKOFF_S = 0.5, 8.0  # seconds, before full jitter
