"""Check that the catalogue still answers after damage."""

from __future__ import annotations

import pytest

from pipy_ai import get_model, get_models, preview
from pipy_ai.cli.main import main
from pipy_ai.registry import reload_registry


def look_at(capsys: pytest.CaptureFixture[str], name: str = "openai/gpt-5") -> None:
    """Look a model up in every way, each time as a new process would."""
    reload_registry()
    assert get_model(name) is not None
    reload_registry()
    assert len(get_models()) > 1000
    reload_registry()
    assert preview(name, "hi").url
    reload_registry()
    assert main(["info", name]) == 0
    reload_registry()
    assert main(["models", "--limit", "3"]) == 0
    shown = capsys.readouterr()
    assert "Cost: $1.25/1M input" in shown.out
    assert "Traceback" not in shown.err
