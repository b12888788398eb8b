"""The result of a check."""

from __future__ import annotations

from typing import Any, NamedTuple

OK, WARN, FAIL = "ok", "warn", "fail"


class Finding(NamedTuple):
    """One line of `pipy doctor`: the subject, its state (`ok`, `warn`, `fail`), and what to do."""

    about: str
    state: str
    detail: str
    todo: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON data; `detail` has the key `said`."""
        return {"about": self.about, "state": self.state, "said": self.detail, "todo": self.todo}
