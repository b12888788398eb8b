"""Test the estimates of `pipy batch --estimate` against the bills of the laboratory.

The laboratory counts tokens with the tokenizer of OpenAI's models, which LiteLLM contains.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pipy_ai.batch.estimate import Comparison
from pipy_ai.cli.main import main

from ..support.batch_api_lab import BatchLab

ROOT = Path(__file__).parents[2]
FRAME_TOKENS = 7  # of the message around a prompt
OPENAI, MISTRAL = "openai/gpt-5-mini", "mistral/mistral-small-latest"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchLab]:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "MISTRAL_API_KEY"):
        monkeypatch.setenv(name, "k" * 40)
    with BatchLab() as lab:
        lab.answer_to = lambda prompt: " ".join(["word"] * (4 + len(prompt) % 3))
        yield lab


@pytest.fixture(scope="module")
def tokenizer() -> Callable[[str], int]:
    litellm = find_spec("litellm")  # importing it takes seconds
    if litellm is None or litellm.origin is None:
        pytest.skip("needs LiteLLM")
    tiktoken = pytest.importorskip("tiktoken")
    directory = Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(directory))
        encoding = tiktoken.get_encoding("o200k_base")
    return lambda text: FRAME_TOKENS + len(encoding.encode(text, disallowed_special=()))


def texts() -> list[str]:
    """Return paragraphs of the documentation, and functions of the source, in random order.

    A change of one text does not move the others.
    """
    found: list[str] = []
    for path in sorted((ROOT / "docs").glob("*.md")):
        found += path.read_text(encoding="utf-8").split("\n\n")
    for path in sorted((ROOT / "src" / "pipy_ai" / "provider").glob("*.py")):
        found += re.split(r"\n(?=(?:async )?def |class )", path.read_text(encoding="utf-8"))
    found = [text.strip() for text in found if len(text) > 40]
    found.sort(key=lambda text: hashlib.sha256(text.encode()).digest())
    return found[:1500]


def run(lab: BatchLab, model: str, *options: str) -> None:
    command = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", model, "--api-base", lab.openai]
    assert main([*command, "--poll", "0.02", *options]) == 0


def estimate(
    lab: BatchLab, model: str, capsys: pytest.CaptureFixture[str], *options: str
) -> dict[str, Any]:
    capsys.readouterr()
    run(lab, model, "--estimate", "--json", *options)
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def bill(first: int) -> float:
    """Return what the rows from `first` on have cost."""
    lines = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["cost"] for line in lines[first:])


def write_rows(prompts: list[str]) -> None:
    rows = [json.dumps({"prompt": prompt}) for prompt in prompts]
    Path("in.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.mark.parametrize("model", [OPENAI, MISTRAL])
def test_estimate_is_within_two_percent_or_its_margin(
    lab: BatchLab,
    tokenizer: Callable[[str], int],
    capsys: pytest.CaptureFixture[str],
    model: str,
) -> None:
    """OpenAI counts tokens; for Mistral, which does not, the answers so far tell."""
    lab.count_tokens = tokenizer
    write_rows(texts())
    run(lab, model, "--batch-api", "--limit", "300")
    estimated = estimate(lab, model, capsys, "--count-tokens")
    [row] = estimated["models"]
    assert (row["counted_rows"] > 200, row["answered_rows"]) == (model == OPENAI, 300)
    assert row["margin"] < (0.02 if model == OPENAI else 0.1)
    run(lab, model, "--batch-api")
    tolerance = 0.02 if model == OPENAI else row["margin"]
    assert estimated["batch_cost"] == pytest.approx(bill(300), rel=tolerance)
    assert estimated["cost"] == pytest.approx(2 * estimated["batch_cost"])


def test_all_rows_are_counted_if_they_are_few(
    lab: BatchLab, tokenizer: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    lab.count_tokens = tokenizer
    prompts = texts()[:50]
    write_rows(prompts)
    estimated = estimate(lab, OPENAI, capsys, "--count-tokens")
    assert estimated["input_tokens"] == sum(map(tokenizer, prompts))
    assert [row["margin"] for row in estimated["models"]] == [0.0]
    assert lab.calls["POST /v1/responses/input_tokens"] == 50
    capsys.readouterr()
    run(lab, OPENAI, "--estimate", "--count-tokens")
    shown = " ".join(capsys.readouterr().err.split())
    assert "extrapolated from 50 rows that the provider counted (±0.0%)." in shown


def test_provider_that_does_not_count(lab: BatchLab, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(["one", "two"])
    run(lab, MISTRAL, "--estimate", "--count-tokens")
    shown = " ".join(capsys.readouterr().err.split())
    assert f"The input tokens of {MISTRAL} are estimated from the size of the text." in shown
    run(lab, MISTRAL, "--estimate")
    shown = " ".join(capsys.readouterr().err.split())
    assert "from the size of the text; --count-tokens is more accurate." in shown


def test_provider_that_refuses_to_count(lab: BatchLab, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(["one", "two"])
    lab.failing_calls = [401, 401, 401]
    command = ["batch", "in.jsonl", "-m", OPENAI, "--api-base", lab.openai, "--estimate"]
    assert main([*command, "--count-tokens"]) == 1
    assert "a fault" in capsys.readouterr().err


def test_count_tokens_without_estimate(lab: BatchLab, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(["one"])
    command = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", OPENAI, "--count-tokens"]
    assert main(command) == 2
    assert "add --estimate" in capsys.readouterr().err


def test_margin_covers_the_true_ratio() -> None:
    """Of 200 samples of rows of very different lengths, about 95 % are within the margin."""
    dice = random.Random(5)
    sizes = dice.choices(range(5, 900), k=5000)
    rows = [(size, round(size * dice.gauss(0.8, 0.15))) for size in sizes]
    truth = sum(tokens for _, tokens in rows) / sum(sizes)
    within = 0
    for _ in range(200):
        comparison = Comparison()
        for size, tokens in dice.sample(rows, 100):
            comparison.add(size, tokens)
        within += abs(comparison.ratio / truth - 1) <= comparison.margin
    assert 180 <= within <= 199
