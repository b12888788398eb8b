"""`pipy history`: list, show, search, remove and export saved conversations."""

from __future__ import annotations

import argparse
import sys

from ...usage import UsageTotals
from ...utils.terminal_size import get_terminal_size
from ...utils.text import display_width, format_count, truncate
from ..args.common import add_json_option, add_pager_option, parse_count
from ..conversations.conversation import Conversation, remove_conversation
from ..conversations.files import list_conversation_ids, resolve_id
from ..conversations.summary import (
    TITLE_CHARS,
    format_time,
    read_conversation_file,
    search_conversation,
    summarize_conversation,
    totals_to_json,
)
from ..display.printer import supports_markdown
from ..display.status import hide_status, show_status
from ..display.table import print_table, write_paged
from ..display.terminal import (
    discard_typed_ahead,
    escape_controls,
    format_error,
    hint,
    is_dumb,
    read_answer,
    warn,
    write,
    write_answer,
    write_json,
)

DESCRIPTION = (
    "List, show, search, remove and export saved conversations. An ID may be shortened as long as"
    " it is unambiguous; the default is the last conversation."
)
EXAMPLES = """\
pipy history browse
pipy history list --limit 10
pipy history search "full moon"
pipy history export --all -o history.html
pipy history export -o history.db
"""
GUIDE = "chat.md"
SHORT_ID_CHARS = len("20260101-120000")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    browse_parser = actions.add_parser(
        "browse", help="choose a conversation on a terminal; elsewhere, list them (default)"
    )
    _add_list_options(browse_parser)
    browse_parser.add_argument(
        "--no-picker", action="store_true", help="list the conversations instead of choosing one"
    )
    _add_list_options(
        actions.add_parser("list", help="list conversations, newest first, with tokens and cost")
    )

    show_parser = actions.add_parser("show", help="print a conversation")
    show_parser.add_argument(
        "id", nargs="?", metavar="ID", help="conversation to print (default: the last)"
    )
    show_parser.add_argument("--plain", action="store_true", help="do not render Markdown")
    add_json_option(show_parser)
    add_pager_option(show_parser)

    search_parser = actions.add_parser("search", help="search the text of conversations")
    search_parser.add_argument("text", nargs="+", metavar="TEXT", help="text to search for")
    add_json_option(search_parser)
    add_pager_option(search_parser)

    remove_parser = actions.add_parser("remove", help="remove conversations (also: rm)")
    actions.choices["rm"] = remove_parser
    remove_parser.add_argument("id", nargs="+", metavar="ID", help="conversation to remove")
    remove_parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    add_json_option(remove_parser)

    export_parser = actions.add_parser(
        "export", help="export conversations to Markdown, HTML, SQLite or JSON"
    )
    export_parser.add_argument(
        "id",
        nargs="*",
        metavar="ID",
        help="conversation to export (default: the last; for SQLite, all)",
    )
    export_parser.add_argument("--all", action="store_true", help="export every conversation")
    export_parser.add_argument(
        "-o", "--output", metavar="FILE",
        help="output file, e.g. talk.html or history.db (default: stdout)",
    )  # fmt: skip
    export_parser.add_argument(
        "--format",
        choices=("md", "html", "sqlite", "json", "jsonl"),
        metavar="FORMAT",
        help="md, html, sqlite, json or jsonl (default: from the suffix of FILE, else md)",
    )
    for action in actions.choices.values():
        action.allow_abbrev = False


def _add_list_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=parse_count, metavar="N", help="show only the first N")
    parser.add_argument("--by", choices=("model", "day"), help="show totals by model or by day")
    add_json_option(parser)
    add_pager_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    actions = {
        "browse": _browse, "list": _list, "show": _show, "search": _search,
        "remove": _remove, "rm": _remove, "export": _export,
    }  # fmt: skip
    return actions[arguments.action](arguments)


def _browse(arguments: argparse.Namespace) -> int:
    """Let the user choose a conversation on a terminal; otherwise list them."""
    wants_list = (
        arguments.no_picker or arguments.json or arguments.by or arguments.limit is not None
    )
    if wants_list or not (sys.stdin.isatty() and sys.stdout.isatty()) or is_dumb():
        return _list(arguments)
    if not list_conversation_ids():
        return _list(arguments)
    show_status("reading the conversations")
    from ..conversations.picker import pick_conversation

    hide_status()
    choice = pick_conversation()
    if choice is None:
        return 0
    if choice.action == "print":
        return _show(argparse.Namespace(id=choice.conversation_id, json=False, plain=False))
    from ..parser import build_parser, load_command

    chat_arguments = build_parser("chat").parse_args(["chat", "-c", choice.conversation_id])
    return int(load_command("chat").run(chat_arguments))


def _list(arguments: argparse.Namespace) -> int:
    conversation_ids = list_conversation_ids()
    if not conversation_ids:
        warn("no saved conversations yet")
    if arguments.by:
        return _list_totals(conversation_ids, arguments)
    listed_ids = conversation_ids[: arguments.limit]
    entries = [
        summarize_conversation(conversation_id, read_conversation_file(conversation_id))[0]
        for conversation_id in listed_ids
    ]
    if arguments.json:
        write_json([entry.to_json() for entry in entries])
        return 0
    if not entries:
        return 0
    rows = [
        [
            entry.id, format_time(entry.used), entry.model or "-", f"{entry.sum.input:,}",
            f"{entry.sum.output:,}", entry.sum.cost, escape_controls(entry.title),
        ]
        for entry in entries
    ]  # fmt: skip
    header = ["id", "used", "model", "in", "out", "cost", "title"]
    _fit_to_terminal(header, rows)
    print_table(header, rows, {"in", "out", "cost"}, drop=["out", "in", "cost", "model"])
    if len(entries) < len(conversation_ids):
        hint(f"{len(entries)} of {format_count(len(conversation_ids), 'conversation')}")
    return 0


def _fit_to_terminal(header: list[str], rows: list[list[str]]) -> None:
    """Truncate long titles. On a narrow terminal, drop `used` and shorten ids."""
    terminal_width = get_terminal_size()[0] if sys.stdout.isatty() else 0

    def leading_width() -> int:
        columns = list(zip(header, *rows, strict=True))[:-1]
        return sum(max(map(display_width, column)) + 2 for column in columns)

    if terminal_width and leading_width() + TITLE_CHARS // 3 > terminal_width:
        # The date and time of an id identify it, unless two conversations began together.
        chars = SHORT_ID_CHARS
        while len({row[0][:chars] for row in rows}) < len({row[0] for row in rows}):
            chars += 1
        for row in [header, *rows]:
            row[0] = row[0][:chars]
            del row[1]
    for row in rows:
        row[-1] = truncate(row[-1], TITLE_CHARS)


def _list_totals(conversation_ids: list[str], arguments: argparse.Namespace) -> int:
    totals: dict[str, UsageTotals] = {}
    total = UsageTotals()
    for conversation_id in conversation_ids:
        data = read_conversation_file(conversation_id)
        for message in summarize_conversation(conversation_id, data)[1]:
            if arguments.by == "model":
                key = f"{message.get('provider') or '?'}/{message.get('model') or '?'}"
            else:
                key = format_time(message)[:10]
            totals.setdefault(key, UsageTotals()).add_json(message)
            total.add_json(message)
    keys = sorted(totals, reverse=arguments.by == "day")
    if arguments.by == "model":
        keys.sort(key=lambda key: -totals[key].usd)
    if arguments.limit is not None:
        keys = keys[: arguments.limit]
    if arguments.json:
        rows = [{arguments.by: key, **totals_to_json(totals[key])} for key in keys]
        write_json({"rows": rows, "total": totals_to_json(total)})
        return 0
    body = [
        [key, f"{group.requests:,}", f"{group.input:,}", f"{group.cached:,}", f"{group.output:,}",
         group.cost]
        for key, group in [*((key, totals[key]) for key in keys), ("total", total)]
    ]  # fmt: skip
    header = [arguments.by, "requests", "in", "cached", "out", "cost"]
    print_table(header, body, {*header[1:]})
    return 0


def _show(arguments: argparse.Namespace) -> int:
    show_status("reading the conversation")
    from ..conversations.transcript import format_transcript

    conversation = Conversation.read(arguments.id)
    if arguments.json:
        write(format_transcript(conversation, "json"))
        return 0
    hint(f"{conversation.id}  {conversation.model or ''}")
    if supports_markdown() and not arguments.plain:
        from ..conversations.screen import format_conversation

        write_paged(format_conversation(conversation))
    elif sys.stdout.isatty():
        write_paged(escape_controls(format_transcript(conversation, "md")))
    else:
        write(format_transcript(conversation, "md"))
    return 0


def _search(arguments: argparse.Namespace) -> int:
    query = " ".join(arguments.text)
    hits = [
        hit
        for conversation_id in list_conversation_ids()
        for hit in search_conversation(conversation_id, query.casefold())
    ]
    if arguments.json:
        write_json(hits)
    elif hits:
        header = ["id", "used", "who", "line"]
        print_table(header, [list(hit.values()) for hit in hits], drop=["used", "who"])
    else:
        warn(f"{query!r} was not found")
    return 0 if hits else 1


def _remove(arguments: argparse.Namespace) -> int:
    conversation_ids = [resolve_id(name) for name in dict.fromkeys(arguments.id)]
    if not arguments.yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ValueError(
                "cannot ask for confirmation without a terminal; use pipy history remove --yes …"
            )
        for conversation_id in conversation_ids:
            data = read_conversation_file(conversation_id)
            entry, _ = summarize_conversation(conversation_id, data)
            write(f"{conversation_id}  {entry.title[:TITLE_CHARS]}\n", sys.stderr)
        discard_typed_ahead(sys.stdin.fileno())
        write("Remove? [y/N] ", sys.stderr)
        if read_answer(sys.stdin).strip().lower() not in ("y", "yes"):
            return 1
    from ..conversations.media_store import remove_unused_media

    try:
        for conversation_id in conversation_ids:
            remove_conversation(conversation_id)
    finally:
        remove_unused_media()
    if arguments.json:
        write_json(conversation_ids)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from ..conversations.transcript import (
        export_conversations,
        format_for_path,
        format_transcripts,
    )

    if arguments.all and arguments.id:
        raise ValueError("--all exports every conversation: leave out the ID")
    path = "" if arguments.output == "-" else arguments.output or ""
    file_format = arguments.format or format_for_path(path)
    if arguments.all or (file_format == "sqlite" and not arguments.id):
        ids = list_conversation_ids() or [resolve_id()]  # which says that there is none
    else:
        ids = list(dict.fromkeys(map(resolve_id, arguments.id or [None])))
    conversations = (Conversation.read(conversation_id) for conversation_id in ids)
    if not path:
        write_answer(format_transcripts([*conversations], file_format))
        return 0
    try:
        export_conversations(path, conversations, file_format)
    except OSError as error:
        warn(format_error(error))
        return 1
    return 0
