"""Run llama.cpp's own HTTP server in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def llama_server(weights: Path) -> Iterator[str]:
    """Start a server with a model file, yield its address, and kill it."""
    script = Path(__file__).with_name("llama_server.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(weights)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), address
        yield address
    finally:
        process.kill()
        with suppress(Exception):
            process.wait(10)
        process.stdout.close()
