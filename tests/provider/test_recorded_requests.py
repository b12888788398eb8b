"""Test that requests for every kind of provider stay as recorded: URL, headers, body, warnings.

`tests/data/recorded_requests.json` has one line per case. After an intended change,

    RECORD_REWRITE=1 python -m pytest -q -n 0 tests/provider/test_recorded_requests.py

writes the new requests; review the difference. To add a case, add a line with `{}`.

For requests that LiteLLM builds, only the arguments passed to it are compared. LiteLLM itself is
not imported, so the result does not depend on its version.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from ..support.recorded_requests import (
    CONVERSATIONS,
    ENVIRONMENTS,
    NAMES,
    OPTIONS,
    author_of,
    preview_case,
    read,
    write,
    write_user_files,
)

REWRITE = os.environ.get("RECORD_REWRITE", "") not in ("", "0")
RECORDED = read()


def group_of(case: str) -> str:
    """Return the group of a case: the first part of its model's name, or `by-hand`."""
    model = case.split(" | ")[0]
    kind, colon, _ = model.partition(":")
    return kind if colon and kind == "by-hand" else model.partition("/")[0]


GROUPS: dict[str, list[str]] = defaultdict(list)
for _case in RECORDED:
    GROUPS[group_of(_case)].append(_case)


@pytest.fixture
def directory(july: Path) -> Path:
    """A data directory with the catalogue of July 2026, overrides, and a router file."""
    write_user_files(july)
    return july


def _set_environment(monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENTS[environment].items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_requests_are_as_recorded(
    group: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of fields and headers counts too: prompt caches depend on it."""
    actual: dict[str, Any] = {}
    for case in GROUPS[group]:
        _set_environment(monkeypatch, "usual")
        author = author_of(case.split(" | ")[0])
        _set_environment(monkeypatch, OPTIONS[case.split(" | ")[1]].environment)
        actual[case] = preview_case(case, author)
    if REWRITE:
        write({**read(), **actual})
        return
    changed = [case for case in actual if json.dumps(actual[case]) != json.dumps(RECORDED[case])]
    for case in changed:
        summary = f"{len(changed)} of {len(actual)} requests changed: {'; '.join(changed)}"
        assert actual[case] == RECORDED[case], summary
        pytest.fail(f"the order of the fields changed in {'; '.join(changed)}")


def test_recording_covers_all_options_and_conversations() -> None:
    """Every option set is recorded, and every conversation on each wire."""
    wires = ("/chat/completions", "/responses", "/messages", ":streamGenerateContent")
    assert {case.split(" | ")[1] for case in RECORDED} == set(OPTIONS)
    for wire in wires:
        over = {
            case.split(" | ")[2]
            for case, shown in RECORDED.items()
            if shown.get("url", "").partition("?")[0].endswith(wire)
        }
        # Files given as URLs end at the payload, and an empty conversation has no request.
        assert over == set(CONVERSATIONS) - {"remote", "empty"}, wire
