"""Show objects in Jupyter: as HTML and Markdown, and streams while they arrive.

Imported when a notebook first shows an object. A model's text is not trusted: HTML shows it
with every tag escaped, without scripts, and with a link in place of an image, so that opening a
notebook loads nothing from elsewhere. Nothing needs JavaScript or a style sheet.

The text is rendered by markdown-it. Objects are read by their attributes, so that the classes need
not be imported.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .reprs import (
    answer_text,
    failure_text,
    full_model_name,
    message_text,
    model_rows,
    part_text,
    usage_text,
)
from .utils.surrogates import clean_surrogates
from .utils.text import format_count, format_usd

if TYPE_CHECKING:
    from typing import Self

MAX_RENDERED_CHARS = 50_000  # longer text is not rendered, which would take too long
MAX_IMAGE_CHARS = 2_000_000  # of base64; a larger image is only described
MAX_ROWS = 50  # of a table
MAX_MESSAGES = 100  # of a conversation
UPDATE_INTERVAL_S = 0.1  # between two updates of a stream, at least
MAX_CHARS_PER_S = 1_000_000  # of HTML that are sent to the browser

# Types of images that browsers show and that cannot contain scripts.
_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")

_SMALL = "font-size:85%;opacity:.7"
_BOX = "border-left:3px solid {};padding:2px 0 2px 10px;margin:6px 0"
_ERROR_BOX = _BOX.format("#d33")
_CELL = "text-align:left;padding:2px 10px"
_NUMBER_CELL = "text-align:right;padding:2px 10px"


# --- Text of models -----------------------------------------------------------------------


def render_text(text: str) -> str:
    """Convert Markdown to HTML. Tags in it are escaped, and images become links.

    Example:
        >>> render_text("**Hi** <script>alert(1)</script>")
        '<p><strong>Hi</strong> &lt;script&gt;alert(1)&lt;/script&gt;</p>\\n'
        >>> render_text("![a cat](https://example.com/cat.png)")
        '<p><a href="https://example.com/cat.png" rel="noopener noreferrer">image: a cat</a></p>\\n'
    """
    if len(text) <= MAX_RENDERED_CHARS:
        try:
            return str(_markdown().render(text))
        except RecursionError:  # nested too deeply
            pass
    return f'<pre style="white-space:pre-wrap">{escape(text)}</pre>'


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.validateLink = _is_web_link  # type: ignore[method-assign]
    parser.add_render_rule("image", _render_image_as_link)
    parser.add_render_rule("link_open", _render_link)
    return parser


def _is_web_link(url: str) -> bool:
    # Jupyter would resolve other links, such as `x.ipynb` and `/tree`, on its own server.
    return url.lower().startswith(("https://", "http://", "mailto:"))


def _render_image_as_link(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    label = f"image: {renderer.renderInlineAsText(token.children, options, env) or 'no title'}"
    source = str(token.attrs["src"])
    return f'<a href="{escape(source)}" rel="noopener noreferrer">{escape(label)}</a>'


def _render_link(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("rel", "noopener noreferrer")
    return str(renderer.renderToken(tokens, index, options, env))


_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)


def safe_markdown(text: str) -> str:
    """Return Markdown without HTML and images, for a notebook's own renderer. Code is kept.

    Example:
        >>> safe_markdown("<b>x</b> and `<i>`")
        '&lt;b>x&lt;/b> and `<i>`'
    """
    text = clean_surrogates(text)
    if "<" not in text and "![" not in text:
        return text
    if len(text) > MAX_RENDERED_CHARS:
        return _without_markup(text)
    try:
        lines = text.splitlines(keepends=True)
        is_code = [False] * len(lines)
        for token in _commonmark_with_html().parse(text):
            if token.type in ("fence", "code_block"):
                for number in range(*token.map):
                    is_code[number] = True
        parts, prose = [], ""
        for line, code in zip(lines, is_code, strict=True):
            if code:
                parts += [_without_markup_outside_code(prose), line]
                prose = ""
            else:
                prose += line
        result = "".join([*parts, _without_markup_outside_code(prose)])
        return result if not _has_markup(result) else _without_markup(text)
    except (RecursionError, IndexError):  # `splitlines` and the parser disagree about lines
        return _without_markup(text)


def _without_markup_outside_code(text: str) -> str:
    parts, end = [], 0
    for match in _CODE_SPAN.finditer(text):
        parts += [_without_markup(text[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*parts, _without_markup(text[end:])])


def _without_markup(text: str) -> str:
    # An invisible zero-width space turns an image into a link.
    return text.replace("<", "&lt;").replace("![", "!\u200b[")


def _has_markup(text: str) -> bool:
    tokens = _commonmark_with_html().parse(text)
    all_tokens = [*tokens, *(child for token in tokens for child in token.children or ())]
    return any(token.type in ("html_block", "html_inline", "image") for token in all_tokens)


@cache
def _commonmark_with_html() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


# --- Messages and conversations -----------------------------------------------------------


def answer_markdown(message: Any) -> str:
    """Return an answer as Markdown: its text, calls and error."""
    text = "".join(part.text for part in message.content if part.type == "text")
    parts = [safe_markdown(text)] if text else []
    parts += [_code_block(part_text(part)) for part in message.content if part.type == "toolCall"]
    if error := failure_text(message):
        parts.append(f"**Error:** {_plain(error)}")
    if not parts:
        parts = [_plain(answer_text(message))]
    return "\n\n".join(parts)


def answer_html(message: Any) -> str:
    """Return an answer as HTML: its thinking, text, calls and error, and a line of facts."""
    parts = list(map(_part_html, message.content))
    if error := failure_text(message):
        parts.append(f'<div style="{_ERROR_BOX}"><b>Error</b> {_escape_lines(error)}</div>')
    elif not parts:
        parts.append(f"<p>{escape(answer_text(message))}</p>")
    parts += [f'<div style="{_SMALL}">Warning: {escape(w.message)}</div>' for w in message.warnings]
    facts = [full_model_name(message)]
    if message.usage.total_tokens:
        facts.append(usage_text(message.usage))
    if message.duration_ms is not None:
        facts.append(f"{message.duration_ms / 1000:.1f} s")
    line = " · ".join(escape(fact) for fact in facts if fact)
    return _div([*parts, f'<div style="{_SMALL}">{line}</div>' if line else ""])


def message_markdown(message: Any) -> str:
    """Return any message as Markdown."""
    if message.role == "assistant":
        return answer_markdown(message)
    if message.role == "toolResult":
        return _code_block(message_text(message))
    return safe_markdown(message_text(message))


def message_html(message: Any) -> str:
    """Return any message as HTML."""
    if message.role == "assistant":
        return answer_html(message)
    if isinstance(message.content, str):
        return _div([render_text(message.content)])
    if message.role == "toolResult":
        return _div([_result_part_html(part) for part in message.content])
    return _div(map(_part_html, message.content))


def context_markdown(context: Any) -> str:
    """Return a conversation as Markdown."""
    parts = []
    if context.system_prompt:
        parts.append(f"**system**\n\n{safe_markdown(context.system_prompt)}")
    parts += _labelled(context.messages, message_markdown, "**{}**\n\n{}")
    if context.tools:
        parts.append(f"**tools:** {_plain(', '.join(_tool_names(context.tools)))}")
    return "\n\n".join(parts)


def context_html(context: Any) -> str:
    """Return a conversation as HTML."""
    parts = []
    if context.system_prompt:
        parts.append(_role_html("system", _div([render_text(context.system_prompt)])))
    parts += _labelled(context.messages, message_html, None)
    if context.tools:
        names = escape(", ".join(_tool_names(context.tools)))
        parts.append(f'<div style="{_SMALL}">tools: {names}</div>')
    return _div(parts)


def run_markdown(run: Any) -> str:
    """Return the messages of a tool run as Markdown."""
    return "\n\n".join(_labelled(run.messages, message_markdown, "**{}**\n\n{}")) or _plain(
        repr(run)
    )


def run_html(run: Any) -> str:
    """Return the messages of a tool run as HTML."""
    total = usage_text(run.usage)
    footer = f'<div style="{_SMALL}">{format_count(len(run.messages), "message")} · {total}</div>'
    return _div([*_labelled(run.messages, message_html, None), footer])


def _labelled(
    messages: Sequence[Any], render: Callable[[Any], str], template: str | None
) -> list[str]:
    """Render messages below their roles. Of a long conversation, only the end is shown."""
    parts = []
    if len(messages) > MAX_MESSAGES:
        text = f"{format_count(len(messages) - MAX_MESSAGES, 'earlier message')} not shown"
        parts.append(text if template else f'<div style="{_SMALL}">{text}</div>')
    for message in messages[-MAX_MESSAGES:]:
        role = message.role
        if role == "toolResult":
            role = f"result of {message.tool_name}"
        body = render(message)
        parts.append(template.format(_plain(role), body) if template else _role_html(role, body))
    return parts


def _role_html(role: str, body: str) -> str:
    box = _BOX.format("rgba(128,128,128,.4)")
    return f'<div style="{box}"><div style="{_SMALL}">{escape(role)}</div>{body}</div>'


def _part_html(part: Any) -> str:
    match part.type:
        case "text":
            return render_text(part.text)
        case "thinking":
            text = "redacted" if part.redacted else part.thinking
            return (
                f'<details style="{_SMALL}"><summary>thinking</summary>{_pre(text)}</details>'
                if text
                else ""
            )
        case "toolCall":
            error = f" ({part.arguments_error})" if part.arguments_error else ""
            return _pre(f"{part_text(part)}{error}")
        case "image":
            return _image_html(part)
        case _:
            return f"<p>{escape(part_text(part))}</p>"


def _result_part_html(part: Any) -> str:
    return _pre(part.text) if part.type == "text" else _part_html(part)


def _image_html(part: Any) -> str:
    """Show an image whose bytes are in the message; a remote one is only named."""
    data = part.data
    is_shown = (
        part.mime_type in _IMAGE_TYPES
        and 0 < len(data) <= MAX_IMAGE_CHARS
        and _BASE64.fullmatch(data)
    )
    if not is_shown:
        return f"<p>{escape(part_text(part))}</p>"
    return f'<img style="max-width:100%" alt="" src="data:{part.mime_type};base64,{data}">'


# --- Budgets and models -------------------------------------------------------------------


def budget_markdown(budget: Any) -> str:
    """Return what a budget has spent as a table in Markdown."""
    return f"{_plain(_budget_line(budget))}\n\n{_markdown_table(*_budget_rows(budget))}"


def budget_html(budget: Any) -> str:
    """Return what a budget has spent as a table and a bar in HTML."""
    parts = [f"<div>{escape(_budget_line(budget))}</div>"]
    if budget.usd:
        share = min(budget.spent / budget.usd, 1)
    elif budget.tokens:
        share = min(budget.tokens_spent / budget.tokens, 1)
    else:
        share = None
    if share is not None:
        parts.append(f'<progress value="{share:.4f}" max="1">{share:.0%}</progress>')
    return _div([*parts, _html_table(*_budget_rows(budget))])


def _budget_line(budget: Any) -> str:
    spent = f"{format_usd(budget.spent)} and {format_count(budget.tokens_spent, 'token')} spent"
    limits = [f"{format_usd(budget.usd)}"] if budget.usd is not None else []
    limits += [format_count(budget.tokens, "token")] if budget.tokens is not None else []
    return f"{spent}; limit: {' and '.join(limits) or 'none'}"


def _budget_rows(budget: Any) -> tuple[list[str], list[list[str]]]:
    rows = [
        [
            name,
            f"{spending.requests:,}",
            f"{spending.input:,}",
            f"{spending.output:,}",
            spending.cost,
        ]
        for name, spending in budget.by_model().items()
    ]
    return ["model", "requests", "input", "output", "cost"], rows


def models_markdown(models: Any) -> str:
    """Return models as a table in Markdown."""
    header, rows = model_rows(models[:MAX_ROWS])
    return f"{_markdown_table(header, rows)}\n\n{_rows_note(models)}"


def models_html(models: Any) -> str:
    """Return models as a table in HTML."""
    header, rows = model_rows(models[:MAX_ROWS])
    note = f'<div style="{_SMALL}">{_rows_note(models)}</div>'
    return _div([_html_table(header, rows), note])


def _rows_note(models: Any) -> str:
    note = format_count(len(models), "model")
    return f"{note}, the first {MAX_ROWS} shown" if len(models) > MAX_ROWS else note


# --- Streams and progress -----------------------------------------------------------------


def in_notebook() -> bool:
    """Return whether this runs in a Jupyter kernel. Imports nothing."""
    # Colab and others derive their own shell.
    return any("ZMQ" in cls.__name__ for cls in type(_shell()).__mro__)


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    get_ipython = getattr(ipython, "get_ipython", None)
    return None if get_ipython is None else get_ipython()


class LiveDisplay:
    """A cell output that is replaced while something runs.

    Outside a notebook, `update` does nothing.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._next_update = 0.0
        if in_notebook():
            display: Any = import_module("IPython.display").display
            self._handle = display(_Bundle("", ""), display_id=True)

    def update(self, render: Callable[[], tuple[str, str]], *, now: bool = False) -> None:
        """Show the text and the HTML that `render` returns, at most ten times a second."""
        if self._handle is None:
            return
        if now or time.monotonic() >= self._next_update:
            started = time.monotonic()
            text, html = render()
            self._handle.update(_Bundle(text, html))
            ended = time.monotonic()
            # A long answer takes a while to render and to send.
            pause = max(UPDATE_INTERVAL_S, ended - started, len(html) / MAX_CHARS_PER_S)
            self._next_update = ended + pause


class _Bundle:
    """Text and HTML for one output."""

    def __init__(self, text: str, html: str) -> None:
        self._text, self._html = text, html

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": clean_surrogates(self._text), "text/html": self._html}


class EventPrinter:
    """Shows the events of a stream or a tool run: live in Jupyter, elsewhere as text on stdout.

    A context manager: when it is interrupted, everything received so far is shown.
    """

    def __init__(self) -> None:
        self._live = LiveDisplay()
        self._current: Any = None  # the last event of the current answer
        self._in_notebook = in_notebook()
        self._messages: list[Any] = []  # of a tool run: those before the current answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._current is not None:
            self._update(now=True)

    def show(self, event: Any) -> None:
        """Show one event."""
        if not self._in_notebook:
            self._print(event)
        elif event.type in ("tool_result", "done", "error"):
            self._current = None
            self._messages.append(event.message if event.type == "tool_result" else event.partial)
            self._update(now=True)
        else:
            self._current = event
            self._update(now=False)

    def show_final(self, message: Any) -> None:
        """Show an answer whose events were already consumed."""
        if self._in_notebook:
            self._messages = [message]
            self._update(now=True)
        else:
            print(_escape_controls(str(message)))  # noqa: T201

    def _update(self, *, now: bool) -> None:
        def render() -> tuple[str, str]:
            current = [] if self._current is None else [self._current.partial]
            messages = [*self._messages, *current]
            text = "\n\n".join(map(str, messages))
            if len(messages) == 1:
                return text, message_html(messages[0])
            return text, _div(_labelled(messages, message_html, None))

        self._live.update(render, now=now)

    @staticmethod
    def _print(event: Any) -> None:
        if event.type == "text_delta":
            print(_escape_controls(event.delta), end="", flush=True)  # noqa: T201
        elif event.type == "tool_result":
            result = f"{part_text(event.tool_call)} → {event.message}"
            print(f"\n{_escape_controls(result)}", flush=True)  # noqa: T201
        elif event.type == "done":
            print(flush=True)  # noqa: T201
        elif event.type == "error":
            text = _escape_controls(failure_text(event.error))
            print(f"\nError: {text}", flush=True)  # noqa: T201


# --- Helpers ------------------------------------------------------------------------------


def _div(parts: Iterable[str]) -> str:
    # MathJax would read "$5 and $10" as a formula, and formulas may contain links and styles.
    html = f'<div class="mathjax_ignore tex2jax_ignore">{"".join(parts)}</div>'
    return clean_surrogates(html)  # a notebook is sent as UTF-8


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _escape_controls(text: str) -> str:
    """Escape the control characters of a model's text, so that it cannot control the terminal."""
    return _CONTROLS.sub(lambda match: repr(match[0])[1:-1], text)


def _pre(text: str) -> str:
    return f'<pre style="white-space:pre-wrap">{escape(text)}</pre>'


def _escape_lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _plain(text: str) -> str:
    """Escape text for a line of Markdown."""
    line = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]|#!$])", r"\\\1", line).replace("<", "&lt;")


def _code_block(text: str) -> str:
    text = clean_surrogates(text)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _tool_names(tools: Iterable[Any]) -> list[str]:
    return [str(getattr(tool, "name", None) or getattr(tool, "__name__", "…")) for tool in tools]


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    marks = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(
        f"| {' | '.join(row)} |" for row in (header, marks, *([_plain(c) for c in r] for r in rows))
    )


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row_html(tag: str, cells: Sequence[str]) -> str:
        styles = [_CELL, *[_NUMBER_CELL] * (len(cells) - 1)]
        return "".join(
            f'<{tag} style="{style}">{escape(cell)}</{tag}>'
            for style, cell in zip(styles, cells, strict=True)
        )

    body = "".join(f"<tr>{row_html('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{row_html('th', header)}</tr></thead><tbody>{body}</tbody></table>"


def progress_html(done: int, total: int | None, text: str) -> str:
    """Return a progress bar with a line of text; without a total, the text only."""
    bar = f'<progress value="{done}" max="{total}"></progress> ' if total else ""
    return _div([bar, escape(text)])
