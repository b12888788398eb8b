"""`pipy local`: the embedded model, files of others, and the model servers of this machine."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from .catalogue import add_json
from .terminal import complain, table, write, write_json

if TYPE_CHECKING:
    from .discover import Server


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("pull", help="download the weights of local/smollm2 (94 MB)")
    listing = actions.add_parser("list", help="list the models of this machine: files and servers")
    found = actions.add_parser(
        "discover",
        help="find Ollama, llama.cpp, LM Studio, vLLM and LiteLLM's proxy on this machine",
    )
    for action in (listing, found):
        action.add_argument(
            "--port", type=int, action="append", default=[], metavar="N", help="look there, too"
        )
        add_json(action)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if arguments.action == "pull":
        from .weights import pull

        return pull()
    from .discover import discover

    if not all(0 < port < 65536 for port in arguments.port):
        raise ValueError("a port is a number from 1 to 65535")
    servers = discover(arguments.port)
    files = local_files() if arguments.action == "list" else []
    if arguments.json:
        if arguments.action == "list":
            write_json({"files": files, "servers": [server.to_dict() for server in servers]})
        else:
            write_json([server.to_dict() for server in servers])
        return 0
    if files:
        body = [[file["model"], f"{file['bytes'] / 1e6:,.0f} MB", file["path"]] for file in files]
        table(["model", "size", "file"], body, {"size"})
    for server in servers:
        _show(server)
    if not servers and not files:
        complain("no model server answers on this machine, on the usual ports (--port for others)")
    return 0


def local_files() -> list[dict[str, Any]]:
    """The models that lie on this disk: `model`, `path`, `bytes`."""
    from ..api import LOCAL_MODEL
    from ..provider.local import find_weights, models_dir

    weights = find_weights()
    named = [(LOCAL_MODEL, weights)] if weights is not None else []
    named += [
        (f"local/{path}", path)
        for path in sorted(models_dir().glob("*.gguf"))
        if weights is None or not os.path.samefile(path, weights)
    ]
    return [
        {"model": name, "path": str(path), "bytes": path.stat().st_size} for name, path in named
    ]


def _show(server: Server) -> None:
    write(f"{server.kind} at {server.address}{f': {server.problem}' if server.problem else ''}\n")
    if server.models:
        body = [
            [f"  {server.options(model)}", f"{model.context:,} tokens" if model.context else "-"]
            for model in server.models
        ]
        table(["  ask with", "context"], body, {"context"})
