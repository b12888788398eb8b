"""Test the `Model` record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # damage may be told
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # LiteLLM's own clients
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_model_has_fields_in_a_fresh_process(july: Path) -> None:
    code = (
        "import dataclasses; from pipy_ai import get_model; m = get_model('gpt-5');"
        "print([f.name for f in dataclasses.fields(m)][:2],"
        "dataclasses.fields(type(m.cost))[0].name, dataclasses.asdict(m)['cost']['input'],"
        "dataclasses.is_dataclass(m))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "['id', 'provider'] input 1.25 True\n", done.stderr
