"""Count the broken streams that clients report as an error, over Chat Completions.

    python benchmarks/broken.py --rivals PYTHON

A broken stream is an answer that is cut (by a clean end of the body, a closed or a reset
connection) or no answer at all (an HTML page, an error or nothing with status 200, malformed JSON,
a page in the stream). A client reports it if reading the stream to its end raises an exception; for
pipy-ai, `raise_for_error()`. A client that does not raise may still leave the finish reason empty:
that is not counted. `--rivals` is the same as for `direct.py`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from direct import CLIENTS
from direct_processes import Client, Runtimes
from truth import broken_answers

from tests.support.scripted_server import Lab
from tests.support.wire_formats import CHAT

READ_TO_THE_END = """
import asyncio, sys
path, base = sys.argv[1:]
client = {"__name__": "client"}
exec(compile(open(path).read(), path, "exec"), client)

async def read():
    async for piece in client["astream"](base, "chat", "m", []):
        pass

try:
    asyncio.run(read())
except Exception as error:
    print("reported", type(error).__name__)
else:
    print("silent")
"""


def is_reported(client: Client, runtimes: Runtimes, base: str) -> bool:
    """Whether the client raises an exception for the stream that the server sends."""
    command = [*runtimes.python(client), "-c", READ_TO_THE_END, client.path, base]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr.strip().splitlines()[-1])
    return result.stdout.strip().splitlines()[-1].startswith("reported")


def main() -> None:
    """Run every client with every broken stream, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rivals", nargs="*", default=[], metavar="[NAME=]PYTHON")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runtimes = Runtimes(options.rivals, "")
    clients = [
        client
        for client in CLIENTS
        if (client.wire, client.mode) == ("chat", "async")
        and client.file.endswith(".py")
        # raw httpx has no errors of its own; pi-ai-python reports them as events
        and client.name not in ("raw httpx", "pi-ai-python")
    ]
    reported: dict[str, list[str]] = {}
    answers = broken_answers(CHAT)
    with Lab() as lab:
        base = lab.url.removesuffix("/v1")
        for client in clients:
            for name, (scene, _) in answers.items():
                lab.always = lambda seen, scene=scene: scene  # also for a retry
                print(f"… {client.name}: {name}", file=sys.stderr, flush=True)
                try:
                    if is_reported(client, runtimes, base):
                        reported.setdefault(client.name, []).append(name)
                except RuntimeError as error:
                    print(f"{client.name} is left out: {error}", file=sys.stderr)
                    break
            else:
                reported.setdefault(client.name, [])
    if options.json:
        print(json.dumps({"of": list(answers), "reported": reported}))
        return
    for name, cases in reported.items():
        missed = ", ".join(case for case in answers if case not in cases)
        print(f"{name:18}{len(cases)}/{len(answers)}{f'  not: {missed}' if missed else ''}")


if __name__ == "__main__":
    main()
