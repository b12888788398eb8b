"""How fast the catalogue answers, against bare Python, Pydantic objects and `llm models`.

    python benchmarks/catalogue.py feed.json [--llm path/to/llm] [--runs 15]

`feed.json` is an `api.json` of models.dev. Each row is the least CPU of cold processes that take
turns; only the ratios of one run mean something. `llm` (simonw/llm) must be installed somewhere.
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

from pipy_ai.registry.store import compile_feed, hosts_of, records_of, write

PYDANTIC = """
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
GET = "from pipy_ai import get_model; assert get_model('anthropic/claude-sonnet-4-5').cost.input"
WHOLE = "import json, sys; json.load(open(sys.argv[1]))"


def cpu(command: list[str], environment: dict[str, str]) -> float:
    """Milliseconds of CPU that one process takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("feed")
    options.add_argument("--llm", default=shutil.which("llm"))
    options.add_argument("--runs", type=int, default=15)
    options.add_argument("--json", action="store_true")
    arguments = options.parse_args()

    directory = tempfile.mkdtemp()
    feed = json.loads(Path(arguments.feed).read_bytes())
    records, _ = records_of(feed)
    write(directory, *compile_feed(records, hosts_of(feed), {"date": "2026-07-01", "source": ""}))
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
        "get_model": [python, "-c", GET],
        "feed as Pydantic objects": [python, "-c", PYDANTIC, arguments.feed],
        "feed as JSON": [python, "-c", WHOLE, arguments.feed],
        "pipy info": [pipy, "info", "anthropic/claude-sonnet-4-5"],
        "pipy cost": [pipy, "cost", "gpt-5", "--input", "1000"],
        "pipy compare": [pipy, "compare", "--input", "1000", "--limit", "10"],
        "pipy models --capability reasoning": [pipy, "models", "--capability", "reasoning"],
        "pipy --help": [pipy, "--help"],
    }
    if arguments.llm:
        commands["llm models"] = [arguments.llm, "models"]
        commands["llm --help"] = [arguments.llm, "--help"]
    least = dict.fromkeys(commands, float("inf"))
    for turn in range(arguments.runs + 1):
        for name, command in commands.items():
            spent = cpu(command, environment)
            if turn:  # the first one compiles
                least[name] = min(least[name], spent)
    shutil.rmtree(directory)
    bare, get = least["python -c pass"], least["get_model"]
    # What a command costs on top of the interpreter itself.
    pydantic = (least["feed as Pydantic objects"] - bare) / (get - bare)
    result = {
        "ms of CPU": {name: round(value, 1) for name, value in least.items()},
        "get_model / bare python": round(get / bare, 2),
        "Pydantic objects / get_model": round(least["feed as Pydantic objects"] / get, 1),
        "Pydantic objects / get_model, both above bare python": round(pydantic, 1),
    }
    if arguments.llm:
        listing = least["pipy models --capability reasoning"] / least["llm models"]
        result["pipy models / llm models"] = round(listing, 3)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in least.items():
        print(f"{name:<36} {value:8.1f} ms   {value / bare:6.1f} × bare")
    for name, ratio in result.items():
        if name != "ms of CPU":
            print(f"{name}: {ratio}")


if __name__ == "__main__":
    main()
