"""Votes for the best answer: a file of JSON lines in the data directory, without any text."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from ...utils.atomic import append_line, make_private_dir, open_private
from ...utils.paths import data_path
from ...utils.text import format_count
from ..display.terminal import discard_typed_ahead, format_error, read_answer, warn, write

VOTES_FILENAME = "votes.jsonl"


@dataclass
class Standing:
    """How often a model was compared, was chosen, was not chosen and was as good as others."""

    comparisons: int = 0
    wins: int = 0
    losses: int = 0
    ties: int = 0

    @property
    def score(self) -> float:
        """The share of comparisons that the model won; a tie counts as half."""
        return (self.wins + self.ties / 2) / self.comparisons if self.comparisons else 0.0


def ask_for_vote(models: list[str]) -> dict[str, Any] | None:
    """Ask on the terminal which answer is the best; None if the user does not choose."""
    write("\n", sys.stderr)
    for number, name in enumerate(models, 1):
        write(f"{number}  {name}\n", sys.stderr)
    discard_typed_ahead(sys.stdin.fileno())
    write(f"Which is best? [1-{len(models)}, t for a tie, Enter for no vote] ", sys.stderr)
    try:
        answer = read_answer(sys.stdin).strip().lower()
    except KeyboardInterrupt:
        write("\n", sys.stderr)
        return None
    if answer == "t":
        return {"models": models, "best": None}
    if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(models):
        return {"models": models, "best": models[int(answer) - 1]}
    if answer:
        warn(f"{answer!r} is not a number from 1 to {len(models)}; the vote was not saved")
    return None


def save_vote(vote: dict[str, Any]) -> bool:
    """Append a vote to the file. If that fails, warn and return False."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = json.dumps({"time": now, **vote}).encode() + b"\n"
    try:
        make_private_dir(data_path())
        append_line(_votes_path(), line, open_private)
    except OSError as error:
        warn(f"the vote could not be saved: {format_error(error)}")
        return False
    return True


def read_standings() -> dict[str, Standing]:
    """Return the standings, the best model first. Damaged lines are skipped with a warning."""
    standings: dict[str, Standing] = {}
    damaged = 0
    try:
        with open(_votes_path(), "rb") as file:
            for line in file:
                damaged += not _count_vote(line, standings)
    except FileNotFoundError:
        return {}
    if damaged:
        warn(f"{_votes_path()}: skipped {format_count(damaged, 'damaged line')}")
    ranked = sorted(standings.items(), key=lambda item: (-item[1].score, -item[1].wins, item[0]))
    return dict(ranked)


def _count_vote(line: bytes, standings: dict[str, Standing]) -> bool:
    """Count one line of the file. Return whether it could be read."""
    try:
        vote = json.loads(line)
        models, best = vote["models"], vote["best"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return not line.strip()
    if not isinstance(models, list) or not all(isinstance(name, str) for name in models):
        return False
    if best is not None and best not in models:
        return False
    for name in models:
        standing = standings.setdefault(name, Standing())
        standing.comparisons += 1
        standing.ties += best is None
        standing.wins += name == best
        standing.losses += best is not None and name != best
    return True


def _votes_path() -> str:
    return os.path.join(data_path(), VOTES_FILENAME)
