"""Measure how fast the catalogue answers, compared with Python, Pydantic objects and `llm models`.

    python benchmarks/catalogue.py feed.json [--llm path/to/llm] [--runs 15] [--times 10]

`feed.json` is an `api.json` of models.dev. Each row is the minimum CPU of cold processes that run
in turn; only the ratios of a single run are meaningful. `llm` (simonw/llm) must be installed
somewhere. With `--times 10`, every model is in the catalogue ten times.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipy_ai.registry.index import (
    models_in_feed,
    providers_in_feed,
)
from pipy_ai.registry.index_writer import encode_catalogue, write_catalogue

PYDANTIC_SCRIPT = """
import json, sys
from pydantic import BaseModel, ConfigDict
class Data(BaseModel):
    model_config = ConfigDict(extra="allow")
class Cost(Data):
    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
class Limit(Data):
    context: int = 0
    output: int = 0
class Model(Data):
    id: str
    name: str = ""
    reasoning: bool | None = None
    tool_call: bool | None = None
    cost: Cost | None = None
    limit: Limit | None = None
feed = json.load(open(sys.argv[1]))
models = {f"{p}/{m}": Model(**r) for p, h in feed.items() for m, r in h["models"].items()}
assert models["anthropic/claude-sonnet-4-5"].cost.input == 3
"""
GET_MODEL_SCRIPT = (
    "from pipy_ai import get_model; assert get_model('anthropic/claude-sonnet-4-5').cost.input"
)
GET_UNKNOWN_SCRIPT = "from pipy_ai import get_model; assert get_model('gpt-55-megax') is None"
LOAD_JSON_SCRIPT = "import json, sys; json.load(open(sys.argv[1]))"


def cpu_ms(command: list[str], environment: dict[str, str]) -> float:
    """Return the CPU of a process in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("feed")
    parser.add_argument("--llm", default=shutil.which("llm"))
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    directory = tempfile.mkdtemp()
    feed = json.loads(Path(arguments.feed).read_bytes())
    listed, _ = models_in_feed(feed)
    records = listed | {
        f"{name}-x{copy}": {**record, "id": f"{record['id']}-x{copy}"}
        for copy in range(1, arguments.times)
        for name, record in listed.items()
    }
    write_catalogue(
        directory,
        *encode_catalogue(records, providers_in_feed(feed), {"date": "2026-07-01", "source": ""}),
    )
    environment = {
        **os.environ,
        "PIPY_DATA_DIR": directory,
        "PIPY_OFFLINE": "1",
        "LLM_USER_PATH": directory,
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    python, pipy = sys.executable, str(Path(sys.executable).with_name("pipy"))
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "get_model": [python, "-c", GET_MODEL_SCRIPT],
        "get_model of an unknown name": [python, "-c", GET_UNKNOWN_SCRIPT],
        "feed as Pydantic objects": [python, "-c", PYDANTIC_SCRIPT, arguments.feed],
        "feed as JSON": [python, "-c", LOAD_JSON_SCRIPT, arguments.feed],
        "pipy info": [pipy, "info", "anthropic/claude-sonnet-4-5"],
        "pipy cost": [pipy, "cost", "gpt-5", "--input", "1000"],
        "pipy compare": [pipy, "compare", "--input", "1000", "--limit", "10"],
        "pipy completion of gpt-": [
            pipy,
            "completion",
            "--names",
            "MODEL",
            "--prefix",
            "gpt-",
        ],
        "pipy models": [pipy, "models"],
        "pipy models --capability reasoning": [pipy, "models", "--capability", "reasoning"],
        "pipy --help": [pipy, "--help"],
    }
    if arguments.llm:
        commands["llm models"] = [arguments.llm, "models"]
        commands["llm --help"] = [arguments.llm, "--help"]
    lowest_ms = dict.fromkeys(commands, float("inf"))
    for round_number in range(arguments.runs + 1):
        for name, command in commands.items():
            elapsed_ms = cpu_ms(command, environment)
            if round_number:  # the first round compiles
                lowest_ms[name] = min(lowest_ms[name], elapsed_ms)
    shutil.rmtree(directory)
    bare_python_ms, get_model_ms = lowest_ms["python -c pass"], lowest_ms["get_model"]
    # The cost without that of the interpreter itself.
    pydantic_ratio = (lowest_ms["feed as Pydantic objects"] - bare_python_ms) / (
        get_model_ms - bare_python_ms
    )
    result = {
        "ms of CPU": {name: round(value, 1) for name, value in lowest_ms.items()},
        "get_model / bare python": round(get_model_ms / bare_python_ms, 2),
        "Pydantic objects / get_model": round(
            lowest_ms["feed as Pydantic objects"] / get_model_ms, 1
        ),
        "Pydantic objects / get_model, both above bare python": round(pydantic_ratio, 1),
    }
    if arguments.llm:
        listing_ratio = lowest_ms["pipy models --capability reasoning"] / lowest_ms["llm models"]
        result["pipy models / llm models"] = round(listing_ratio, 3)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in lowest_ms.items():
        print(f"{name:<36} {value:8.1f} ms   {value / bare_python_ms:6.1f} × bare")
    for name, ratio in result.items():
        if name != "ms of CPU":
            print(f"{name}: {ratio}")


if __name__ == "__main__":
    main()
