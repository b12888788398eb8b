"""Test the `Model` record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipy_ai import Model


def test_model_has_fields_in_a_fresh_process(july: Path) -> None:
    code = (
        "import dataclasses; from pipy_ai import get_model; m = get_model('gpt-5');"
        "print([f.name for f in dataclasses.fields(m)][:2],"
        "dataclasses.fields(type(m.cost))[0].name, dataclasses.asdict(m)['cost']['input'],"
        "dataclasses.is_dataclass(m))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "['id', 'provider'] input 1.25 True\n", done.stderr


def test_interleaved_thinking_of_a_model_made_by_hand() -> None:
    """It is in the record, in the form of models.dev."""
    for value, listed in ((True, True), (False, False), ("reasoning", {"field": "reasoning"})):
        assert Model(id="m", provider="p", interleaved=value).to_dict()["interleaved"] == listed
    assert "interleaved" not in Model(id="m", provider="p").to_dict()
    field = {"field": "reasoning_content"}
    listed_model = Model.from_dict({"id": "m", "interleaved": field}, "p")
    assert listed_model.to_dict()["interleaved"] == field
