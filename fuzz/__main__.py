"""The command `python -m fuzz`."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import tempfile
import time

import fuzz

from .harness import TARGETS, run_cases, run_hypothesis


def main() -> int:
    """Run targets and return 1 if there is a finding."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ |= {"PIPY_DATA_DIR": directory, "PIPY_OFFLINE": "1", "no_proxy": "*"}
        return _run()


def _run() -> int:
    for module in pkgutil.iter_modules(fuzz.__path__):
        if module.name != "__main__":
            importlib.import_module(f"fuzz.{module.name}")
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="what to fuzz")
    parser.add_argument("--all", action="store_true", help="run every target")
    parser.add_argument("--list", action="store_true", help="list the targets and exit")
    parser.add_argument("--cases", type=int, default=10_000, help="cases per target")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument(
        "--hypothesis",
        action="store_true",
        help="let Hypothesis choose the cases: slower, but it shrinks what fails",
    )
    args = parser.parse_args()
    if args.list:
        for name, function in sorted(TARGETS.items()):
            print(f"{name:24} {(function.__doc__ or '').partition(chr(10))[0]}")
        return 0
    names = sorted(TARGETS) if args.all else args.targets
    if not names or not TARGETS.keys() >= set(names):
        parser.error(f"choose --all or some of: {', '.join(sorted(TARGETS))}")
    found = 0
    for name in names:
        started, count = time.monotonic(), args.cases
        if args.hypothesis:
            reports = run_hypothesis(name, args.seed, args.cases)
        else:
            reports, count = run_cases(name, args.seed, args.first, args.cases)
        seconds = time.monotonic() - started
        for report in reports:
            print(report, file=sys.stderr)
        found += len(reports)
        result = f"{len(reports)} findings" if reports else "no finding"
        print(f"{name}: {result} in {count:,} cases, {seconds:.1f} s", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
