"""Serve a small catalogue: `python -m tests.crash.mirror` prints its address."""

import sys
import threading

from .workloads import small_mirror

if __name__ == "__main__":
    sys.stdout.write(f"{small_mirror().url}\n")
    sys.stdout.flush()
    threading.Event().wait()
