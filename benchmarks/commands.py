"""Measure cold starts of `pipy` commands that send no request, compared with `llm`.

    python benchmarks/commands.py --llm path/to/llm [--runs 20] [--markdown]

Each figure is the median CPU of cold processes that run in turn, divided by that of `python -c
pass` in the same environment; only the ratios of a single run are meaningful. `llm` (simonw/llm)
must be installed somewhere. The data directories are new, so that pipy uses the catalogue it was
shipped with. The first round, which compiles and fills caches, is not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PIPY_COMMANDS = [
    ["--help"],
    ["models"],
    ["models", "--capability", "reasoning", "--sort", "in", "--limit", "10"],
    ["info", "claude-sonnet-4-5"],
    ["cost", "gpt-5", "--input", "10k", "--output", "2k"],
    ["keys", "list"],
    ["templates", "list"],
    ["completion", "bash"],
]
# The closest equivalents; llm has no prices and no completion.
LLM_COMMANDS = {
    "--help": ["--help"],
    "models": ["models"],
    "keys": ["keys"],
    "templates": ["templates"],
}


def cpu_ms(command: list[str], environment: dict[str, str]) -> float:
    """Return the CPU of a process in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llm", default=shutil.which("llm"))
    parser.add_argument("--pipy", default=str(Path(sys.executable).with_name("pipy")))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()

    directory = tempfile.mkdtemp()
    environment = {
        **os.environ,
        "PIPY_DATA_DIR": os.path.join(directory, "pipy"),
        "PIPY_OFFLINE": "1",
        "LLM_USER_PATH": os.path.join(directory, "llm"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    commands = {"python": [str(Path(arguments.pipy).with_name("python")), "-c", "pass"]}
    commands |= {
        f"pipy {' '.join(command_line)}": [arguments.pipy, *command_line]
        for command_line in PIPY_COMMANDS
    }
    if arguments.llm:
        llm_python = str(Path(arguments.llm).with_name("python"))
        commands["python of llm"] = [llm_python, "-c", "pass"]
        commands |= {
            f"llm {' '.join(command_line)}": [arguments.llm, *command_line]
            for command_line in LLM_COMMANDS.values()
        }
    timings: dict[str, list[float]] = {name: [] for name in commands}
    for round_number in range(arguments.runs + 1):
        for name, command in commands.items():
            elapsed_ms = cpu_ms(command, environment)
            if round_number:
                timings[name].append(elapsed_ms)
    shutil.rmtree(directory)
    medians = {name: statistics.median(values) for name, values in timings.items()}

    def ratio(name: str) -> str:
        baseline = "python of llm" if name.startswith("llm ") else "python"
        return f"{medians[name] / medians[baseline]:.1f}" if name in medians else ""

    rows = [["command", "× bare python", "llm", "× bare python"]]
    for command_line in PIPY_COMMANDS:
        llm_arguments = (
            LLM_COMMANDS.get(command_line[0])
            if command_line[0] != "models" or len(command_line) == 1
            else None
        )
        llm_command = f"llm {' '.join(llm_arguments)}" if llm_arguments and arguments.llm else ""
        name = f"pipy {' '.join(command_line)}"
        rows.append(
            [
                f"`{name}`",
                ratio(name),
                f"`{llm_command}`" if llm_command else "–",
                ratio(llm_command),
            ]
        )
    if arguments.markdown:
        rows.insert(1, ["---", "---:", "---", "---:"])
        print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    else:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    print(f"\npython -c pass: {medians['python']:.1f} ms of CPU")


if __name__ == "__main__":
    main()
