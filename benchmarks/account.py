"""Count the instructions of each part of a streamed delta, and draw them as bars.

    python benchmarks/account.py

Measures text over Chat Completions, in a burst and paced (see `instructions.py`), with Valgrind.
Each part is the difference of two runs: in the first, what the part before it returns is dropped;
in the second, what the part itself returns. Writes `account.json`, and docs/img/delta-*.svg.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from instructions import PYTHON, Server, count, jobs_for

ROOT = Path(__file__).parent.parent
ACCOUNT = ROOT / "benchmarks" / "account.json"
# Where the runs stop → the part of the work that is the last one there.
PARTS = {
    "receive": "socket and asyncio",
    "http": "HTTP connection",
    "compare": "splitting and comparing",
    "texts": "texts, as a JSON list",
    "events": "assembler and events",
    "all": "passing to the caller",
}


def account_jobs(server: Server, kind: str) -> list[dict[str, Any]]:
    """Return the runs of text or paced text: one for each part, and httpx."""
    jobs = {
        job["mode"]: job for job in jobs_for(server) if (job["wire"], job["kind"]) == ("chat", kind)
    }
    whole, httpx = ("async", "httpx") if kind == "text" else ("paced", "paced-httpx")
    modes = {"receive": "receive", "all": whole}
    steps = [{**jobs[whole], "part": part, "mode": modes.get(part, "part")} for part in PARTS]
    return [*steps, {**jobs[httpx], "part": "all"}]


def measure() -> dict[str, Any]:
    """Return the instructions per delta by part, and those of httpx."""
    server = Server()
    account: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "python": PYTHON}
    jobs = account_jobs(server, "text") + account_jobs(server, "paced")
    counts = count(jobs, str(ROOT / "src"), server.port)
    half = len(counts) // 2
    for title, (*totals, httpx) in (("burst", counts[:half]), ("paced", counts[half:])):
        before = [0.0, *totals]
        parts = {
            name: round(total - previous)
            for name, total, previous in zip(PARTS.values(), totals, before, strict=False)
        }
        account[title] = {"parts": parts, "httpx": round(httpx)}
    return account


def main() -> None:
    """Measure, print, and write the figures and the pictures."""
    account = measure()
    ACCOUNT.write_text(json.dumps(account, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(account, indent=1))
    sys.path.insert(0, str(ROOT))
    from build_pictures import IMAGES, THEMES, account_svg

    for mode, theme in THEMES.items():
        (IMAGES / f"delta-{mode}.svg").write_text(account_svg(account, theme), encoding="utf-8")


if __name__ == "__main__":
    main()
