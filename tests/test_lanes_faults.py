"""Faults of the direct lanes that a second review found."""

from __future__ import annotations
