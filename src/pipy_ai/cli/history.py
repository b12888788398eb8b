"""`pipy history`: the conversations that are kept, and what they cost."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from ..utils.plain import cells, cut
from . import conversations as kept
from .catalogue import add_json, count
from .sums import Sum, number
from .terminal import complain, note, safe, table, worded, write, write_json

DESCRIPTION = (
    "List, show, search, remove and export the conversations that are kept. An ID may be cut short"
    " as long as it is clear; without one, the conversation used last is meant."
)
TITLE = 60  # characters of the first question, where there is no terminal to fit
SHORT = len("20260101-120000")


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)

    listed = actions.add_parser("list", help="the newest first, with tokens and cost")
    listed.add_argument("--limit", type=count, metavar="N", help="the first N only")
    listed.add_argument("--by", choices=("model", "day"), help="sums for each")
    add_json(listed)

    shown = actions.add_parser("show", help="what was said")
    shown.add_argument("id", nargs="?", metavar="ID", help="which (default: the last)")
    add_json(shown)

    searched = actions.add_parser("search", help="where something was said")
    searched.add_argument("text", nargs="+", metavar="TEXT", help="words to look for")
    add_json(searched)

    removed = actions.add_parser("rm", help="remove conversations")
    removed.add_argument("id", nargs="+", metavar="ID", help="which")
    removed.add_argument("--yes", action="store_true", help="do not ask")
    add_json(removed)

    exported = actions.add_parser("export", help="as a file")
    exported.add_argument("id", nargs="?", metavar="ID", help="which (default: the last)")
    exported.add_argument("-o", "--output", metavar="FILE", help="where to (default: stdout)")
    exported.add_argument(
        "--format", choices=("md", "json", "jsonl"), help="default: by FILE's name, else md"
    )
    for action in actions.choices.values():
        action.allow_abbrev = False


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    actions = {
        "list": _list, "show": _show, "search": _search, "rm": _remove, "export": _export,
    }  # fmt: skip
    return actions[arguments.action](arguments)


# --- What a conversation amounts to ---------------------------------------------------------


@dataclass
class Entry:
    """A conversation of the list. Times are Unix time in milliseconds."""

    id: str
    used: int = 0
    model: str = ""
    title: str = ""
    questions: int = 0
    sum: Sum = field(default_factory=Sum)


def _entry(identity: str, data: bytes) -> tuple[Entry, list[dict[str, Any]]]:
    """What the list tells of a conversation, and its answers: those taken back cost, too."""
    entry, answers = Entry(identity), []
    found = kept.records(data, identity, raw=True)
    for record in found:
        if record["kind"] == "set":
            entry.model = record.get("model") or entry.model
        elif record["kind"] == "message":
            message = record["message"]
            entry.used = max(entry.used, number(message.get("timestamp")) or 0)
            if message.get("role") == "assistant":
                answers.append(message)
                entry.sum.add(message)
    questions = [m for _, m in kept.remaining(found) if m.get("role") == "user"]
    entry.questions = len(questions)
    if questions:
        entry.title = " ".join(_text(questions[0]).split())
    return entry, answers


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(p.get("text") or "") for p in parts if isinstance(p, dict))


def _bytes(identity: str) -> bytes:
    """What is in its file; one that cannot be read is told, and does not hide the others."""
    try:
        with open(kept.Conversation(identity).path, "rb") as file:
            return file.read()
    except FileNotFoundError:  # removed just now
        return b""
    except OSError as error:
        complain(worded(error))
        return b""


# --- The actions ----------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    identities = kept.ids()
    if not identities:
        complain("no conversation is kept yet")
    if arguments.by:
        return _sums(identities, arguments)
    chosen = identities[: arguments.limit]
    entries = [_entry(identity, _bytes(identity))[0] for identity in chosen]
    if arguments.json:
        write_json([asdict(entry) for entry in entries])
        return 0
    if not entries:
        return 0
    fit = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    rows = [
        [
            entry.id, _when(entry.used), entry.model or "-", f"{entry.sum.input:,}",
            f"{entry.sum.output:,}", entry.sum.told_cost(), safe(entry.title),
        ]
        for entry in entries
    ]  # fmt: skip
    header = ["id", "used", "model", "in", "out", "cost", "title"]

    def before() -> int:
        return sum(
            max(map(cells, column)) + 2 for column in list(zip(header, *rows, strict=True))[:-1]
        )

    if fit and before() + TITLE // 3 > fit:  # the day and time of an id is enough to name it by
        short = {row[0][:SHORT] for row in rows}
        for row in [header, *rows]:
            row[0] = row[0][:SHORT] if len(short) == len(rows) else row[0]
            del row[1]
    width = max(fit - before(), 10) if fit else TITLE
    for row in rows:
        row[-1] = cut(row[-1], width)
    table(header, rows, {"in", "out", "cost"})
    more = len(identities) - len(entries)
    if more:
        note(f"{len(entries)} of {len(identities)} conversations")
    return 0


def _sums(identities: list[str], arguments: argparse.Namespace) -> int:
    sums: dict[str, Sum] = {}
    total = Sum()
    for identity in identities:
        for message in _entry(identity, _bytes(identity))[1]:
            if arguments.by == "model":
                key = f"{message.get('provider') or '?'}/{message.get('model') or '?'}"
            else:
                key = _when(message)[:10]
            sums.setdefault(key, Sum()).add(message)
            total.add(message)
    keys = sorted(sums, reverse=arguments.by == "day")
    if arguments.by == "model":
        keys.sort(key=lambda key: -sums[key].cost)
    if arguments.limit is not None:
        keys = keys[: arguments.limit]
    if arguments.json:
        rows = [{arguments.by: key, **asdict(sums[key])} for key in keys]
        write_json({"rows": rows, "total": asdict(total)})
        return 0
    body = [
        [key, f"{one.answers:,}", f"{one.input:,}", f"{one.cached:,}", f"{one.output:,}",
         one.told_cost()]
        for key, one in [*((key, sums[key]) for key in keys), ("total", total)]
    ]  # fmt: skip
    header = [arguments.by, "answers", "in", "cached", "out", "cost"]
    table(header, body, {*header[1:]})
    return 0


def _when(said: dict[str, Any] | float) -> str:
    """Local time, to the minute."""
    milliseconds = number(said.get("timestamp")) or 0 if isinstance(said, dict) else said
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
    except (ValueError, OverflowError, OSError):
        return "?"


def _show(arguments: argparse.Namespace) -> int:
    from .transcript import transcript

    conversation = kept.Conversation.read(arguments.id)
    if arguments.json:
        write(transcript(conversation, "json"))
        return 0
    note(f"{conversation.id}  {conversation.model or ''}")
    write(transcript(conversation, "md"))
    return 0


def _search(arguments: argparse.Namespace) -> int:
    wanted = " ".join(arguments.text)
    found = [hit for identity in kept.ids() for hit in _hits(identity, wanted.casefold())]
    if arguments.json:
        write_json(found)
    elif found:
        table(["id", "used", "who", "line"], [list(hit.values()) for hit in found])
    else:
        complain(f"{wanted!r} was not said")
    return 0 if found else 1


def _hits(identity: str, wanted: str) -> list[dict[str, str]]:
    """The lines that hold the text, and who said them."""
    hits = []
    for _, message in kept.remaining(kept.records(_bytes(identity), identity, raw=True)):
        role = message.get("role", "")
        who = {"user": "you", "toolResult": "tool"}.get(role, message.get("model") or "model")
        for line in _text(message).splitlines():
            place = line.casefold().find(wanted)
            if place >= 0:
                part = line[max(0, place - 30) :][: TITLE + 20].strip()
                when = _when(message)
                hits.append({"id": identity, "time": when, "who": who, "line": part})
    return hits


def _remove(arguments: argparse.Namespace) -> int:
    identities = [kept.find(name) for name in dict.fromkeys(arguments.id)]
    if not arguments.yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ValueError("to remove without being asked: pipy history rm --yes …")
        for identity in identities:
            write(
                f"{identity}  {_entry(identity, _bytes(identity))[0].title[:TITLE]}\n", sys.stderr
            )
        write("Remove? [y/N] ", sys.stderr)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 1
    for identity in identities:
        kept.remove(identity)
    if arguments.json:
        write_json(identities)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from .transcript import format_of, save, transcript

    form = arguments.format or format_of(arguments.output or "")
    text = transcript(kept.Conversation.read(arguments.id), form)
    if arguments.output and arguments.output != "-":
        try:
            save(arguments.output, text)
        except OSError as error:
            complain(worded(error))
            return 1
    else:
        write(text)
    return 0
