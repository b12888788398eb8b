"""Test `pipy models`, `info`, `cost`, `compare`, `providers` and `sync`."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipy_ai import estimate_cost, get_model, get_models, get_registry
from pipy_ai.cli.display.catalogue import format_rate, show_price_date
from pipy_ai.cli.main import main
from pipy_ai.registry.index import RELEASED, STATUS
from pipy_ai.utils.text import format_usd

from ..support.catalogues import DAYS, raw
from ..support.command import unmeasured_environment
from ..support.terminal import Terminal


class Run:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, line: str, code: int = 0) -> str:
        assert main(line.split()) == code
        done = self._capsys.readouterr()
        self.err = done.err
        return done.out


@pytest.fixture
def pipy(july: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


def test_models_are_names_in_a_pipe(pipy: Run) -> None:
    names = pipy("models --provider anthropic").splitlines()
    assert "anthropic/claude-sonnet-4-5" in names
    assert names[0] == "anthropic/claude-sonnet-5"  # the newest of its family
    others = names[names.index("anthropic/claude-haiku-4-5") + 1 :]
    assert len(others) > 10
    rows = get_registry().rows()
    retired = [rows[name][STATUS] == "deprecated" for name in others]
    assert retired == sorted(retired)
    released = [rows[name][RELEASED] for name in others[: retired.index(True)]]
    assert released == sorted(released, reverse=True)
    assert all(name.startswith("anthropic/") for name in names)


def test_filters_combine(pipy: Run) -> None:
    line = "models --capability reasoning --modality image --min-context 1M --max-cost-input 3"
    names = pipy(line).splitlines()
    assert "anthropic/claude-sonnet-4-6" in names
    assert "anthropic/claude-sonnet-4-5" not in names  # 200,000
    assert len(pipy("models").splitlines()) < len(pipy("models --all").splitlines()) == 5276
    assert pipy("models --search sonnet --search 4.5 --provider anthropic").splitlines() == [
        "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5-20250929"
    ]  # fmt: skip


def test_columns_are_aligned(pipy: Run) -> None:
    out = pipy("models --provider openai --search gpt-5.4 --columns model,context,in,out,cached")
    assert out == (
        "model                  context     in     out  cached\n"
        "openai/gpt-5.4-mini    400,000   0.75    4.50   0.075\n"
        "openai/gpt-5.4-nano    400,000   0.20    1.25    0.02\n"
        "openai/gpt-5.4       1,050,000   2.50   15.00    0.25\n"
        "openai/gpt-5.4-pro   1,050,000  30.00  180.00       -\n"
    )
    assert "pipy sync" in pipy.err  # the prices are old


def test_sorting_and_limits(pipy: Run) -> None:
    cheap = pipy("models --provider openai --sort in --limit 3 --json")
    prices = [row["in"] for row in json.loads(cheap)]
    assert prices == sorted(prices)
    assert len(prices) == 3
    dear = json.loads(pipy("models --sort out --reverse --limit 1 --json"))
    assert dear[0]["out"] == 600
    last = json.loads(pipy("models --provider vercel --all --sort in --json"))[-1]
    assert last["in"] is None  # what is unknown comes last


def test_json_has_all_fields(pipy: Run) -> None:
    [row] = json.loads(pipy("models --provider anthropic --search claude-sonnet-4-6 --json"))
    assert row == {
        "model": "anthropic/claude-sonnet-4-6", "name": "Claude Sonnet 4.6",
        "provider": "anthropic", "family": "claude-sonnet", "context": 1_000_000,
        "output": row["output"], "in": 3, "out": 15, "cached": 0.3,
        "released": "2026-02-17", "status": "active",
        "capabilities": ["reasoning", "tool_call", "attachment", "temperature"],
        "reads": ["text", "image", "pdf"], "writes": ["text"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("models --capability magic", 2, "choose from reasoning"),
        ("models --provider antropic", 2, "did you mean anthropic"),
        ("models --columns model,prize", 2, "unknown column 'prize'"),
        ("models --sort prize", 2, "unknown column 'prize'"),
        ("models --max-cost-input 0.0000001 --provider openai", 0, "no model matches"),
        ("info claude-sonet-4-5", 1, "did you mean anthropic/claude-sonnet-4-5"),
        ("info smollm2", 1, "did you mean local/smollm2?"),
        ("cost local/smollm2 --input 5", 1, "runs on this machine: it is free"),
        ("info meta-llama/llama-3.3-70b-instruct", 2, "may mean"),
        ("cost nope/nope --input 1", 1, "no model"),
        ("cost gpt-5-2025-08-07 --input 1", 0, "is treated as openai/gpt-5"),
        ("info openrouter/openai/gpt-5:nitro", 0, "is treated as openrouter/openai/gpt-5"),
        ("cost cohere/c4ai-aya-vision-8b --input 1", 1, "is unknown"),
        ("compare --input 10 --cached 11", 2, "part of --input"),
        ("compare --input 10 nope/nope", 1, "no model"),
        ("config", 2, "no provider of the catalogue has an API key"),
        ("config --providers antropic", 2, "did you mean anthropic"),
        ("config --providers gitlab", 2, "GitLab"),
    ],
)
def test_errors_of_queries(pipy: Run, line: str, code: int, text: str) -> None:
    pipy(line, code)
    assert text in pipy.err
    assert "Traceback" not in pipy.err


@pytest.mark.parametrize("line", ["cost gpt-5 --input x", "cost gpt-5", "models --limit -1"])
def test_wrong_use_is_explained(pipy: Run, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    assert "usage: pipy" in capsys.readouterr().err


def test_info(pipy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipy("info claude-sonnet-4.5") == (
        "Model: anthropic/claude-sonnet-4-5\n"
        "Name: Claude Sonnet 4.5 (latest)\n"
        "Provider: anthropic\n"
        "Context: 200,000 tokens\n"
        "Max Output: 64,000 tokens\n"
        "Cost: $3.00/1M input, $15.00/1M output, $0.30/1M cached, $3.75/1M cache write\n"
        "Capabilities: reasoning, tool_call, attachment, temperature\n"
        "Thinking: budget from 1,024\n"
        "Modalities: text, image, pdf (input) → text\n"
        "Knowledge Cutoff: 2025-07-31\n"
        "Released: 2025-09-29\n"
        "LiteLLM: anthropic/claude-sonnet-4-5\n"
        "Key: not set: ANTHROPIC_API_KEY\n"
        "Prices as of: 2026-07-01\n"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    out = pipy("info gpt-5.4")
    assert "Above 272,000: $5.00/1M input, $22.50/1M output, $0.50/1M cached\n" in out
    assert "Mode fast: $5.00/1M input" in out
    assert "Thinking: effort none|low|medium|high|xhigh\n" in out
    assert "Key: set\n" in out
    assert "sk-secret" not in out
    assert "Cost: unknown\n" in pipy("info cohere/c4ai-aya-vision-8b")
    assert "Cost: $0 (part of a plan)\n" in pipy("info zai-coding-plan/glm-4.7")
    data = json.loads(pipy("info gpt-5.4 --json"))
    assert data["qualified_name"] == "openai/gpt-5.4"
    assert data["cost"]["tiers"][0]["tier"] == {"type": "context", "size": 272_000}
    assert data["route"]["keys"] == ["OPENAI_API_KEY"]


def test_cost(pipy: Run) -> None:
    out = pipy("cost anthropic/claude-sonnet-4-5 --input 10000 --output 2000")
    assert out == "Estimated cost: $0.06 ($0.03 input + $0.03 output)\n"
    data = json.loads(pipy("cost gpt-5 --input 10k --cached 8k --output 1k --json"))
    assert data == {
        "model": "openai/gpt-5", "total": 0.0135, "input": 0.0035, "output": 0.01,
        "date": "2026-07-01",
    }  # fmt: skip
    assert json.loads(pipy("cost cohere/c4ai-aya-vision-8b --input 1 --json", 1))["total"] is None


def test_compare(pipy: Run) -> None:
    out = pipy("compare --input 10000 --output 2000 gpt-5 claude-sonnet-4-5")
    assert out == "openai/gpt-5:                 $0.0325\nanthropic/claude-sonnet-4-5:  $0.06\n"
    ranked = json.loads(pipy("compare --input 300k --output 2k --cached 100k --json"))
    assert len(ranked) > 3000
    totals = [row["total"] for row in ranked]
    assert totals == sorted(totals)
    assert totals[0] > 0
    for row in ranked[::200]:
        assert row["total"] == estimate_cost(row["model"], 300_000, 2_000, 100_000)
    free = json.loads(pipy("compare --input 1 --free --json"))
    assert free[0]["total"] == 0
    assert not any("embed" in row["model"] for row in ranked)


def test_providers(pipy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = pipy("providers").splitlines()
    assert lines[0].split() == ["provider", "models", "set", "variables"]
    assert next(line for line in lines if line.startswith("anthropic ")).split()[1:4] == [
        "24", "no", "ANTHROPIC_API_KEY"
    ]  # fmt: skip
    assert not any(line.startswith("gitlab") for line in lines)
    assert any(line.startswith("gitlab") for line in pipy("providers --all").splitlines())
    monkeypatch.setenv("GROQ_API_KEY", "gsk-secret")
    out = pipy("providers --available")
    assert [line.split()[0] for line in out.splitlines()] == ["provider", "groq"]
    assert "gsk-secret" not in out
    data = json.loads(pipy("providers --json"))
    assert {row["provider"]: row["key_set"] for row in data if row["key_set"]} == {"groq": True}


@pytest.mark.parametrize(
    ("dollars", "expected"),
    [
        (0, "$0.00"), (0.06, "$0.06"), (0.5, "$0.50"), (0.0375, "$0.0375"), (1, "$1.00"),
        (12.345, "$12.35"), (1234567.8, "$1,234,567.80"), (0.00000123456, "$0.00000123"),
        (0.1234567, "$0.123"), (0.999999, "$1.00"), (0.0099999, "$0.01"), (0.01, "$0.01"),
    ],
)  # fmt: skip
def test_format_usd(dollars: float, expected: str) -> None:
    assert format_usd(dollars) == expected


def _shell(line: str) -> subprocess.CompletedProcess[str]:
    command = f"set -o pipefail; {line.replace('pipy', f'{sys.executable} -m pipy_ai', 1)}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)


def test_config_on_stdout(pipy: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = yaml.safe_load(pipy("config --providers openai -o -"))
    assert said["model_list"][0]["model_name"].startswith("openai/")
    assert not Path("-").exists()


def test_closed_pipe_is_no_error(july: Path) -> None:
    done = _shell("pipy models --all | head -1")
    assert (done.stdout, done.stderr) == ("openai/gpt-5.5\n", "")


def test_catalogue_commands_load_nothing_heavy(july: Path) -> None:
    code = (
        "import sys; from pipy_ai.cli.main import main;"
        "[main(line.split()) for line in ('models --capability reasoning', 'info gpt-5',"
        " 'cost gpt-5 --input 10', 'compare --input 10', 'providers')];"
        "print('\\n', *sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=unmeasured_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"pydantic", "httpx", "yaml", "rich", "litellm", "asyncio", "dataclasses"}
    if sys.version_info >= (3, 14):  # argparse itself loads them, for its colors
        heavy.remove("dataclasses")
    assert not heavy & loaded


def test_terminal_gets_a_table(july: Path) -> None:
    main_end, other_end = pty.openpty()
    command = [sys.executable, "-m", "pipy_ai", "models", "--provider", "anthropic"]
    process = subprocess.Popen(command, stdout=other_end, stderr=other_end)
    os.close(other_end)
    shown = b""
    while True:
        try:
            piece = os.read(main_end, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(main_end)
    assert process.wait() == 0
    # Without the status line, which ends with a carriage return.
    lines = [line.rpartition("\r")[2] for line in shown.decode().split("\r\n")]
    assert lines[0].startswith("\x1b[1mmodel") or "\x1b" not in lines[0]  # NO_COLOR may be set
    lines[0] = lines[0].removeprefix("\x1b[1m").removesuffix("\x1b[0m")
    assert lines[0].split() == ["model", "context", "output", "in", "out", "released"]
    assert any("24 models; prices in $/1M tokens" in line for line in lines)


def test_names_from_the_feed_cannot_send_escape_sequences(pipy: Run, july: Path) -> None:
    changes = {"evil/\x1b[2Jx": {"name": "\x1b]0;x\x07", "limit": {"context": 1}}}
    (july / "overrides.json").write_text(json.dumps(changes))
    for line in ("models --search x --provider evil", "models --columns name --provider evil"):
        assert "\x1b" not in pipy(line)
    assert get_model("evil/\x1b[2Jx") is not None
    assert main(["info", "evil/\x1b[2Jx"]) == 0


def test_sync_prints_changes(pipy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipy_ai.registry import sync

    def fetched(*_: Any) -> Any:
        return raw(DAYS[1]), None

    monkeypatch.setattr(sync, "fetch_feed", fetched)
    monkeypatch.setenv("PIPY_MODELS_URL", "test")
    out = pipy("sync --force").splitlines()
    assert out[0] == "Fetched 4,838 models across 134 providers"
    assert "added: " in out[1]
    assert " and " in out[1]
    assert "removed: " in out[2]
    assert "new prices: " in out[3]
    assert out[-1].startswith("Saved to ")
    data = json.loads(pipy("sync --force --json"))
    assert data["models"] == 4838


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
@pytest.mark.parametrize("line", ["info gpt-5", "models --columns name --provider google"])
def test_narrow_output_encoding(july: Path, encoding: str, line: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "pipy_ai", *line.split()]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"GPT-5" in done.stdout or b"Gemini" in done.stdout


@pytest.mark.parametrize("count", ["inf", "-inf", "nan", "1e400", "-1", "x", "k", ""])
def test_count_must_be_a_positive_number(
    july: Path, count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["cost", "gpt-5", f"--input={count}"])
    assert caught.value.code == 2
    assert "usage: pipy" in capsys.readouterr().err


def test_limit_of_zero_is_accepted(july: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--limit", "0"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("word", ["yesterday", "2026-1", "01/2026", ""])
def test_invalid_date(july: Path, word: str) -> None:
    with pytest.raises(ValueError, match="date"):
        get_models(released_after=word)


def test_compare_applies_filters(july: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "compare google/gemini-2.5-flash openai/gpt-5 --input 10 --provider google --json"
    assert main(line.split()) == 0
    output = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in output] == ["google/gemini-2.5-flash"]


def test_spaces_between_columns_are_accepted(
    july: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "--provider", "groq", "--columns", "model, in"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["model", "in"]


@pytest.mark.parametrize(
    ("dollars", "expected"), [(2.025, "2.025"), (2.5, "2.50"), (3, "3.00"), (0.075, "0.075")]
)
def test_rate_is_printed_in_full(dollars: float, expected: str) -> None:
    assert format_rate(dollars) == expected


@pytest.mark.parametrize(
    ("date", "text"),
    [
        (datetime.date.today().isoformat(), ""),  # a hint, on terminals only
        ("2020-01-01", "update with pipy sync"),
        ("", "an unknown date"),
    ],
)
def test_price_date(july: Path, date: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    registry = get_registry()
    registry.metadata["date"] = date
    show_price_date(registry)
    shown = capsys.readouterr().err
    assert text in shown
    assert bool(text) == bool(shown)


def test_models_with_a_key_come_first(pipy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipy("models").startswith("openai/gpt-5.5\n")
    monkeypatch.setenv("MISTRAL_API_KEY", "k")
    usable = pipy("models --provider mistral")
    assert pipy("models").startswith(usable)


@pytest.mark.parametrize(
    ("line", "full"),
    [
        ("info sonnet", "anthropic/claude-sonnet-5"),
        ("info gemini-flash", "google/gemini-flash-latest"),
        ("cost haiku --input 5", "anthropic/claude-haiku-4-5"),
        ("compare haiku --input 5", "anthropic/claude-haiku-4-5"),
        ("default haiku", "anthropic/claude-haiku-4-5"),
        ("preview -m haiku hi", "anthropic/claude-haiku-4-5"),
    ],
)
def test_some_words_of_a_models_name_are_enough(pipy: Run, line: str, full: str) -> None:
    said = pipy(line)
    assert full in said + pipy.err
    assert "showing" not in pipy.err


@pytest.mark.parametrize(
    ("line", "last_word"),
    [("info claude-haiku-4-5", "write"), ("cost claude-haiku-4-5 --input 10k", "output)")],
)
def test_narrow_terminal_breaks_lines_between_words(line: str, last_word: str) -> None:
    with Terminal("-m", "pipy_ai", *line.split(), columns=40) as terminal:
        assert terminal.wait() == 0
        lines = terminal.text.splitlines()
    assert all(len(line) < 40 for line in lines)
    assert any(line.endswith(last_word) for line in lines)


def test_other_vendors_follow_the_popular_ones_by_name(pipy: Run) -> None:
    names = pipy("models sonnet").splitlines()
    providers = [provider for provider, _ in itertools.groupby(n.partition("/")[0] for n in names)]
    assert providers[0] == "anthropic"
    assert providers[1:] == sorted(providers[1:])
    assert len(providers) > 10


def test_words_that_mean_several_models_are_an_error(pipy: Run) -> None:
    pipy("info claude", 1)
    assert "may mean" in pipy.err


def test_the_date_of_prices_is_shown_once_a_day(pipy: Run) -> None:
    pipy("cost gpt-5 --input 5")
    assert "prices as of" in pipy.err
    pipy("cost gpt-5 --input 5")
    assert "prices" not in pipy.err
    stamp = Path(os.environ["PIPY_DATA_DIR"]) / "price-date-shown"
    assert stamp.stat().st_mode & 0o077 == 0
    two_days_ago = stamp.stat().st_mtime - 2 * 86_400
    os.utime(stamp, (two_days_ago, two_days_ago))
    pipy("cost gpt-5 --input 5")
    assert "prices as of" in pipy.err
