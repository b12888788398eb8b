"""Show the tools that providers run, and the sources of answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from ...utils.text import truncate
from .terminal import dimmed, escape_controls, wrap, write_stderr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ...types import AssistantMessage, Citation, ServerToolCall, ServerToolResult

MAX_DETAIL_CHARS = 100
MAX_RESULT_CHARS = 200
_VERBS = {
    "web_search": "searching",
    "web_fetch": "reading",
    "code_execution": "running",
    "file_search": "searching files",
    "image_generation": "drawing",
}
_DETAILS = ("query", "queries", "url", "command", "code", "pattern")


def format_server_tool(part: ServerToolCall | ServerToolResult) -> str:
    """Return a call of a tool that the provider runs, or its result, on one line.

    `searching: penguins`; an empty string for a result that only has sources.
    """
    return _format_call(part) if part.type == "serverToolCall" else _format_result(part)


def _format_call(call: ServerToolCall) -> str:
    verb = _VERBS.get(call.name, f"running {call.name}")
    if call.name == "web_search" and "query" not in call.arguments and "url" in call.arguments:
        verb = "reading"  # a page that it found
    values = (call.arguments.get(name) for name in _DETAILS)
    value = next((value for value in values if value), "")
    detail = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    detail = truncate(" ".join(detail.split()), MAX_DETAIL_CHARS)
    return f"{verb}: {detail}" if detail else verb


def _format_result(result: ServerToolResult) -> str:
    if result.sources and not result.is_error:
        return ""
    text = truncate(" ".join(result.text.split()), MAX_RESULT_CHARS)
    if result.is_error:
        return f"→ failed: {text}"
    return f"→ {text}" if text else ""


def cited_sources(messages: Iterable[AssistantMessage]) -> list[Citation]:
    """Return one citation for each source of the answers, in order."""
    citations = [citation for message in messages for citation in message.citations]
    sources: dict[str, Citation] = {}
    for citation in citations:
        if name := citation.source or citation.title:
            sources.setdefault(name, citation)
    return list(sources.values())


def is_web_address(source: str) -> bool:
    """Return whether a source is a web address without characters that could end a link."""
    is_web = source.lower().startswith(("http://", "https://"))
    return is_web and source.isprintable() and not any(char in '<>" ' for char in source)


def format_source(citation: Citation, address_format: str = "{}") -> str:
    """Return the title and the address of a source on one line."""
    title, source = (" ".join((text or "").split()) for text in (citation.title, citation.source))
    return " ".join(filter(None, (title, source and address_format.format(source))))


def print_sources(messages: Iterable[AssistantMessage]) -> None:
    """Print the numbered sources of answers on stderr; without citations, what searches found."""
    messages = list(messages)
    citations = cited_sources(messages)
    if not citations:
        found = [
            source
            for message in messages
            for part in message.content
            if part.type == "serverToolResult"
            for source in part.sources
        ]
        citations = list({source.source: source for source in found if source.source}.values())
    if not citations:
        return
    for line in source_lines(citations, sys.stderr):
        write_stderr(f"{dimmed(line, sys.stderr)}\n")


def source_lines(citations: Iterable[Citation], stream: TextIO) -> Iterator[str]:
    """Yield a heading and the numbered sources, wrapped for a stream."""
    yield "Sources:"
    for number, citation in enumerate(citations, 1):
        line = f"{number}. {format_source(citation)}"
        yield wrap(escape_controls(line), stream, indent=3)
