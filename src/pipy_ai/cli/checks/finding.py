"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass
class Finding:
    """One line: what was looked at, how it is (`ok`, `warn`, `fail`), and what to do."""

    about: str
    state: str
    said: str
    todo: str = ""
