"""Choose a saved conversation on the terminal: a list to filter, and a preview.

Imports prompt_toolkit.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from prompt_toolkit.application import Application
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.output import ColorDepth

from ...utils.text import display_width, truncate
from ..display.printer import supports_markdown
from ..display.terminal import can_encode, escape_controls, uses_styles, write_stderr
from .files import list_conversation_ids
from .records import read_records, remaining_messages
from .summary import (
    ConversationSummary,
    format_time,
    message_text,
    read_conversation_file,
    summarize_conversation,
)

PREVIEW_CHARS = 6000  # of a conversation that are kept for the preview
SEARCH_CHARS = 20_000  # of a conversation in which the filter looks
FIRST_ENTRIES = 30  # are loaded before the first drawing, the others in the background
MIN_SPLIT_COLUMNS = 80  # a narrower screen has the preview below the list
MIN_DATE_COLUMNS = 38  # a narrower list has no dates
MIN_TIME_COLUMNS = 60  # a narrower list has dates without times
# The keys; the first text that fits is shown.
HELPS = (
    "up/down  Enter: continue  Tab: print  type to filter  q: quit",
    "Enter: continue  Tab: print  q: quit",
    "Enter Tab q",
)
FILTER_HELPS = (
    "up/down  Enter: continue  Tab: print  Esc: clear the filter",
    "Enter: continue  Esc: clear filter",
    "Enter Tab Esc",
)


class Choice(NamedTuple):
    """What the user chose: the conversation, and whether to continue or to print it."""

    conversation_id: str
    action: str  # `continue` or `print`


class _Message(NamedTuple):
    speaker: str
    text: str
    is_answer: bool


@dataclass
class _Entry:
    summary: ConversationSummary
    messages: list[_Message]  # the first ones, for the preview
    search_text: str

    def label(self, width: int) -> str:
        """Return the row of the list, without the time or the date where there is little room."""
        title = self.summary.title or "(no question)"
        when = format_time(self.summary.used)
        if width < MIN_TIME_COLUMNS:
            when = when.partition(" ")[0]
        return escape_controls(f"{when}  {title}" if width >= MIN_DATE_COLUMNS else title)


def pick_conversation() -> Choice | None:
    """Let the user choose a conversation; None if the user leaves.

    Warnings about damaged files are printed when the picker is closed.
    """
    warnings = io.StringIO()
    try:
        with contextlib.redirect_stderr(warnings):
            return _Picker().run()
    finally:
        if warnings.getvalue():
            write_stderr(warnings.getvalue())


class _Picker:
    """The state of the picker, and what draws it."""

    def __init__(self) -> None:
        self._ids = list_conversation_ids()
        self._entries = [_load_entry(name) for name in self._ids[:FIRST_ENTRIES]]
        self._query, self._is_filtering = "", False
        self._selected = self._top = 0
        self._line, self._bar = ("─", " │ ") if can_encode("─│", sys.stdout) else ("-", " | ")
        control = FormattedTextControl(self._render, focusable=True, show_cursor=False)
        self._app: Application[Choice | None] = Application(
            layout=Layout(Window(control, wrap_lines=False)),
            key_bindings=self._key_bindings(),
            full_screen=True,
            color_depth=None if uses_styles(sys.stdout) else ColorDepth.DEPTH_1_BIT,
        )

    def run(self) -> Choice | None:
        """Show the picker until the user chooses or leaves."""

        def load_others() -> None:
            self._app.create_background_task(self._load())

        try:
            return self._app.run(pre_run=load_others)
        finally:
            self._app.renderer.reset()  # a signal may have ended it in the middle of drawing

    async def _load(self) -> None:
        for name in self._ids[FIRST_ENTRIES:]:
            self._entries.append(_load_entry(name))
            self._app.invalidate()
            await asyncio.sleep(0)

    @property
    def _matches(self) -> list[_Entry]:
        words = self._query.casefold().split()
        return [e for e in self._entries if all(word in e.search_text for word in words)]

    # --- Keys -------------------------------------------------------------------------------

    def _key_bindings(self) -> KeyBindings:
        bindings = KeyBindings()
        no_query = Condition(lambda: not (self._query or self._is_filtering))
        page = 10
        for key, step in (
            ("up", -1), ("down", 1), ("c-p", -1), ("c-n", 1), ("pageup", -page),
            ("pagedown", page), ("home", -len(self._ids)), ("end", len(self._ids)),
        ):  # fmt: skip
            bindings.add(key)(lambda _, step=step: self._move(step))

        @bindings.add("enter")
        def _(event: KeyPressEvent) -> None:
            self._choose("continue")

        @bindings.add("tab")
        def _(event: KeyPressEvent) -> None:
            self._choose("print")

        @bindings.add("c-c")
        @bindings.add("<sigint>")  # sent by another process
        def _(event: KeyPressEvent) -> None:
            event.app.exit(exception=KeyboardInterrupt)

        @bindings.add("q", filter=no_query)
        @bindings.add("c-d")
        def _(event: KeyPressEvent) -> None:
            event.app.exit(result=None)

        @bindings.add("escape", eager=True)
        def _(event: KeyPressEvent) -> None:
            if self._query or self._is_filtering:
                self._set_query("", False)
            else:
                event.app.exit(result=None)

        @bindings.add("/", filter=no_query)
        def _(event: KeyPressEvent) -> None:
            self._set_query("", True)

        @bindings.add("backspace")
        def _(event: KeyPressEvent) -> None:
            self._set_query(self._query[:-1], self._is_filtering and bool(self._query))

        @bindings.add(Keys.BracketedPaste)
        @bindings.add(Keys.Any)
        def _(event: KeyPressEvent) -> None:
            text = "".join(char for char in event.data if char.isprintable())
            if text:
                self._set_query(self._query + text, True)

        return bindings

    def _set_query(self, query: str, is_filtering: bool) -> None:
        self._query, self._is_filtering = query, is_filtering
        self._selected = self._top = 0

    def _move(self, step: int) -> None:
        self._selected = max(0, min(self._selected + step, len(self._matches) - 1))

    def _choose(self, action: str) -> None:
        matches = self._matches
        if matches:
            chosen = matches[min(self._selected, len(matches) - 1)]
            self._app.exit(result=Choice(chosen.summary.id, action))

    # --- Screen -----------------------------------------------------------------------------

    def _render(self) -> StyleAndTextTuples:
        size = self._app.output.get_size()
        width, height = max(size.columns - 1, 1), max(size.rows, 4)
        matches = self._matches
        selected = max(0, min(self._selected, len(matches) - 1))
        entry = matches[selected] if matches else None
        count = f"{len(matches):,} of {len(self._ids):,}"
        head = f"Filter: {escape_controls(self._query)}_" if self._is_filtering else "History"
        lines: list[StyleAndTextTuples] = [[("bold", truncate(f"{head}  {count}", width))]]
        body_height = height - 2
        if width >= MIN_SPLIT_COLUMNS:
            list_width = width * 2 // 5
            preview_width = width - list_width - len(self._bar)
            rows = self._list_rows(matches, selected, list_width, body_height)
            preview = _preview_rows(entry, preview_width, body_height)
            for number in range(body_height):
                style, text = rows[number] if number < len(rows) else ("", "")
                padding = " " * (list_width - display_width(text))
                line = preview[number] if number < len(preview) else []
                lines.append([(style, text + padding), ("", self._bar), *line])
        else:
            list_height = max(min(body_height // 2, len(matches)), 1)
            rows = self._list_rows(matches, selected, width, list_height)
            lines.extend([row] for row in rows)
            lines.append([("", self._line * width)])
            preview = _preview_rows(entry, width, body_height - list_height - 1)
            lines += preview
            lines.extend([("", "")] for _ in range(body_height - list_height - 1 - len(preview)))
        helps = FILTER_HELPS if self._query or self._is_filtering else HELPS
        keys = next((keys for keys in helps if display_width(keys) <= width), helps[-1])
        lines.append([("", truncate(keys, width))])
        fragments: StyleAndTextTuples = []
        for parts in lines:
            fragments += [*parts, ("", "\n")]
        return fragments[:-1]

    def _list_rows(
        self, matches: list[_Entry], selected: int, width: int, height: int
    ) -> list[tuple[str, str]]:
        """Return the visible rows of the list, each with its style."""
        if not matches:
            return [("", truncate("nothing matches", width))]
        self._top = max(min(self._top, selected), selected - height + 1)
        rows = []
        for number, entry in enumerate(matches[self._top : self._top + height], self._top):
            mark, style = ("> ", "reverse") if number == selected else ("  ", "")
            rows.append((style, truncate(mark + entry.label(width), width)))
        return rows


def _load_entry(conversation_id: str) -> _Entry:
    data = read_conversation_file(conversation_id)
    with contextlib.redirect_stderr(io.StringIO()):  # the next call repeats the warnings
        summary, _ = summarize_conversation(conversation_id, data)
    messages, chars = [], 0
    texts = [conversation_id, format_time(summary.used), summary.model]
    for _, message in remaining_messages(read_records(data, conversation_id, raw=True)):
        role = message.get("role")
        names = {"user": "You", "toolResult": "Tool"}
        speaker = names.get(role) if isinstance(role, str) else None
        speaker = speaker or str(message.get("model") or "Answer")
        text = message_text(message).strip()
        texts.append(text)
        if chars < PREVIEW_CHARS:
            kept = text[: PREVIEW_CHARS - chars]
            messages.append(_Message(speaker, kept, is_answer=role == "assistant"))
            chars += len(kept)
    return _Entry(summary, messages, " ".join(texts)[:SEARCH_CHARS].casefold())


def _preview_rows(entry: _Entry | None, width: int, height: int) -> list[StyleAndTextTuples]:
    """Return the first rows of the conversation, broken at the width."""
    if entry is None or height < 1:
        return []
    totals = entry.summary.sum
    cost = "cost unknown" if totals.cost == "unknown" else totals.cost
    usage = f"  {totals.input + totals.output:,} tokens  {cost}"
    model = truncate(escape_controls(entry.summary.model or "-"), max(width - len(usage), 12))
    rows: list[StyleAndTextTuples] = [[("", truncate(model + usage, width))]]
    for message in entry.messages:
        rows.append([])
        rows.append([("bold", truncate(escape_controls(message.speaker), width))])
        rows += _message_rows(message, width)
        if len(rows) >= height:
            break
    return rows[:height]


@lru_cache(maxsize=100)
def _message_rows(message: _Message, width: int) -> list[StyleAndTextTuples]:
    """Return a message as `pipy history show` shows it: answers rendered as Markdown."""
    text = escape_controls(message.text)
    if message.is_answer and supports_markdown():
        from ..display.rendering import render_folded_rows

        return [to_formatted_text(ANSI(row)) for row in render_folded_rows(text, width)]
    lines = text.expandtabs(4).split("\n")
    return [[("", row)] for line in lines for row in _folded(line, width)]


def _folded(line: str, width: int) -> list[str]:
    """Break a line between words, and words that are wider than the screen."""
    rows, row = [], ""
    for word in re.findall(r" +|[^ ]+", line):
        if display_width(row + word) <= width:
            row += word
            continue
        if row.strip():
            rows.append(row)
        row = ""
        for char in "" if word.isspace() else word:
            if display_width(row + char) > width and row:
                rows.append(row)
                row = ""
            row += char
    return [*rows, row]
