"""`pipy local`: the embedded model, model files and the model servers of this machine."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from ..args.common import add_json_option, add_pager_option, add_quiet_option, parse_count
from ..display.status import hide_status, show_status
from ..display.table import print_table
from ..display.terminal import warn, write, write_json

if TYPE_CHECKING:
    from ..checks.servers import Server

DESCRIPTION = (
    "List, find and download models on this machine: the embedded demo model, model files and model"
    " servers."
)
EXAMPLES = """\
pipy local
pipy local pull
pipy local discover --port 9000
"""
GUIDE = "local-models.md"
WAITS = "looking for models on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    pull_parser = actions.add_parser("pull", help="download the demo model local/smollm2 (93 MB)")
    add_quiet_option(pull_parser)
    list_parser = actions.add_parser("list", help="list model files and model servers (default)")
    discover_parser = actions.add_parser(
        "discover",
        help="find model servers: Ollama, llama.cpp, LM Studio, vLLM, LiteLLM's proxy",
    )
    for subparser in (list_parser, discover_parser):
        subparser.add_argument(
            "--port",
            type=parse_count,
            action="append",
            default=[],
            metavar="N",
            help="also check this port (repeatable)",
        )
        add_json_option(subparser)
        add_quiet_option(subparser)
        add_pager_option(subparser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if arguments.action == "pull":
        from ..checks.weights import pull

        show_status("downloading the weights")
        return pull()
    from ..checks.servers import discover

    for port in arguments.port:
        if not 0 < port < 65536:
            raise ValueError(f"--port {port}: use a number from 1 to 65535")
    servers = discover(arguments.port)
    hide_status()
    files = local_files() if arguments.action == "list" else []
    if arguments.json:
        if arguments.action == "list":
            write_json({"files": files, "servers": [server.to_dict() for server in servers]})
        else:
            write_json([server.to_dict() for server in servers])
        return 0
    if files:
        rows = [[file["model"], f"{file['bytes'] / 1e6:,.0f} MB", file["path"]] for file in files]
        print_table(["model", "size", "file"], rows, {"size"})
    for server in servers:
        _print_server(server)
    if not servers and not files:
        if arguments.action == "list":
            warn("no model file on this machine; pipy local pull downloads a small demo model")
        warn("no model server found on the usual ports; --port N checks another")
    return 0


def local_files() -> list[dict[str, Any]]:
    """Return the model files on this machine: `model`, `path`, `bytes`."""
    from ..._requests import LOCAL_MODEL
    from ...utils.weights import find_weights, models_dir

    weights = find_weights()
    models = [(LOCAL_MODEL, weights)] if weights is not None else []
    models += [
        (f"local/{path}", path)
        for path in sorted(models_dir().glob("*.gguf"))
        if weights is None or not os.path.samefile(path, weights)
    ]
    return [
        {"model": name, "path": str(path), "bytes": path.stat().st_size} for name, path in models
    ]


def _print_server(server: Server) -> None:
    write(f"{server.kind} at {server.address}{f': {server.problem}' if server.problem else ''}\n")
    if server.models:
        rows = [
            [
                f"  {server.model_flags(model)}",
                f"{model.context:,} tokens" if model.context else "-",
            ]
            for model in server.models
        ]
        print_table(["  use with", "context"], rows, {"context"})
