"""Check the clouds to which the environment refers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from .finding import FAIL, OK, WARN, Finding

_STATES = {"ok": OK, "missing": WARN, "failed": FAIL}


def check_clouds() -> Iterator[Finding]:
    from ...provider.clouds import all_clouds

    for cloud in all_clouds():
        report = asyncio.run(cloud.report())
        if report is not None:
            state = _STATES[report.status]
            yield Finding("cloud", state, f"{cloud.title}: {report.text}", report.advice)
