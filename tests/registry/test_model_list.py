"""Test the list of models that `get_models` returns, and its conversions."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

from pipy_ai import Model, ModelCost, ModelLimits, ModelList, get_models

MODELS = ModelList(
    [
        Model(
            id="m1", provider="acme", limits=ModelLimits(8000, 100), cost=ModelCost(1.0, 2.5)
        ),
        Model(id="m2", provider="acme", status="beta", release_date="2026-01-31"),
    ]
)  # fmt: skip


def test_get_models_returns_one_and_slices_are_ones() -> None:
    models = get_models(provider="anthropic")
    assert isinstance(models, ModelList)
    assert isinstance(models, list)
    assert isinstance(models[:3], ModelList)
    assert isinstance(models[0], Model)
    assert models == list(models)


def test_repr_and_table() -> None:
    assert repr(MODELS) == "<2 models: acme/m1, acme/m2>"
    assert repr(ModelList()) == "<0 models>"
    assert str(MODELS) == (
        "model    context  $/1M in  $/1M out  released    status\n"
        "acme/m1    8,000     1.00      2.50  –           active\n"
        "acme/m2        –        –         –  2026-01-31  beta"
    )
    assert MODELS.table(limit=1).endswith("\n… 1 more")
    assert len(repr(get_models())) < 300
    assert len(str(get_models()).splitlines()) == 52


def test_dicts_have_the_same_keys_and_none_for_unknown() -> None:
    first, second = MODELS.to_dicts()
    assert first.keys() == second.keys()
    assert (first["model"], first["context"], first["cost_output"]) == ("acme/m1", 8000, 2.5)
    assert (second["context"], second["cost_input"], second["status"]) == (None, None, "beta")
    assert len(get_models().to_dicts()) == len(get_models())


def test_pandas_frame() -> None:
    pytest.importorskip("pandas")
    frame = MODELS.to_pandas()
    assert list(frame["model"]) == ["acme/m1", "acme/m2"]
    assert frame["cost_input"].isna().tolist() == [False, True]
    assert list(ModelList().to_pandas().columns) == list(frame.columns)


def test_without_pandas_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from pipy_ai import ModelList\n"
        "try: ModelList().to_pandas()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "to_pandas() needs pandas: pip install pandas\n"


def test_copies_in_other_processes_are_equal() -> None:
    models = get_models(provider="anthropic")
    for made in (pickle.loads(pickle.dumps(models)), copy.copy(models), copy.deepcopy(models)):
        assert type(made) is ModelList
        assert made == models
    tokenize = pytest.importorskip("dask.tokenize").tokenize
    assert tokenize(models) == tokenize(copy.deepcopy(models))
    assert tokenize(models[0]) != tokenize(models[1])
