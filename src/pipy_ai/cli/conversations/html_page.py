"""Export conversations as one HTML file that needs no network and no JavaScript.

Everything a model or a user wrote is escaped. A content security policy forbids scripts and
requests as well, in case a browser disagrees with the escaping.
"""

from __future__ import annotations

import base64
import json
import re
from html import escape
from typing import TYPE_CHECKING, assert_never

from markdown_it.tree import SyntaxTreeNode

from ...media import add_wav_header, content_bytes, is_bare_pcm
from ...utils.surrogates import clean_surrogates
from ...utils.text import format_usd
from ..display.dialect import markdown_parser
from ..display.sources import cited_sources, format_source, is_web_address
from ..display.terminal import escape_controls
from .messages import conversation_title
from .summary import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ... import Message
    from ...types import (
        AssistantContent,
        AssistantMessage,
        AudioContent,
        DocumentContent,
        ImageContent,
        ToolResultContent,
        UserContent,
        VideoContent,
    )
    from .conversation import Conversation

MAX_RENDERED_CHARS = 200_000  # a longer text is shown as it is: rendering takes too long
LINK_SCHEMES = ("http://", "https://", "mailto:")
# Types that run no scripts. SVG is not among them.
_EMBEDDED_TYPES = re.compile(r"image/(png|jpeg|gif|webp)|(audio|video)/[\w.+-]+|application/pdf")

_STYLE = """
:root { color-scheme: light dark; --text: #1c1e21; --back: #fff; --dim: #5f6670; --box: #f3f4f6;
  --line: #d9dce1; --link: #0b5cad; --error: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e6ea; --back: #16181c; --dim: #9aa1ac;
  --box: #22252b; --line: #3a3f47; --link: #7ab7ff; --error: #ff8a80; } }
* { box-sizing: border-box; }
body { max-width: 50rem; margin: 0 auto; padding: 1rem; color: var(--text); background: var(--back);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
header p, .about { color: var(--dim); font-size: .85rem; }
a { color: var(--link); }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1rem; margin: 2rem 0 .25rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
ol + article, article + article { margin-top: 4rem; }
h2 .about { font-weight: normal; margin-left: .5rem; }
.user { background: var(--box); border-radius: .5rem; padding: .1rem 1rem; }
.thinking, blockquote { margin: 1rem 0; padding-left: 1rem; border-left: 3px solid var(--line);
  color: var(--dim); }
.error { color: var(--error); }
pre { background: var(--box); border-radius: .5rem; padding: .75rem 1rem; white-space: pre-wrap; }
code { font: .9em ui-monospace, monospace; }
:not(pre) > code { background: var(--box); border-radius: .25rem; padding: .1em .3em; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .25rem .6rem; text-align: left; }
img, video { max-width: 100%; }
@media print { :root { --text: #000; --back: #fff; --dim: #444; --box: #fff; --line: #999;
  --link: #000; --error: #000; } body { max-width: none; padding: 0; font-size: 10pt; }
  pre, .user { border: 1px solid var(--line); } h2 { break-after: avoid; }
  article + article { break-before: page; } }
"""

_HEAD = """\
<!doctype html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
img-src data:; media-src data:; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""


def format_html(conversations: Sequence[Conversation]) -> str:
    """Return an HTML page with the conversations; with several, a table of contents is first."""
    titles = [_title(conversation) for conversation in conversations]
    page_title = titles[0] if len(titles) == 1 else f"{len(titles):,} conversations"
    parts = [_HEAD.format(title=page_title, style=_STYLE)]
    if len(titles) > 1:
        parts.append(f"<h1>{page_title}</h1>\n<ol>\n")
        parts += [
            f'<li><a href="#c{number}">{title}</a>{_date_html(conversation)}</li>\n'
            for number, (conversation, title) in enumerate(
                zip(conversations, titles, strict=True), 1
            )
        ]
        parts.append("</ol>\n")
    for number, (conversation, title) in enumerate(zip(conversations, titles, strict=True), 1):
        about = " · ".join(map(_escaped, filter(None, (conversation.id, conversation.model))))
        parts.append(f'<article id="c{number}">\n<header><h1>{title}</h1><p>{about}</p></header>\n')
        if conversation.system:
            parts.append(f"<h2>System</h2>\n<pre>{_escaped(conversation.system)}</pre>\n")
        parts += map(_message_html, conversation.messages)
        parts.append("</article>\n")
    parts.append("</body>\n</html>\n")
    return "".join(parts)


def _date_html(conversation: Conversation) -> str:
    if not conversation.messages:
        return ""
    date = format_time(conversation.messages[0].timestamp)[:10]
    return f' <span class="about">{_escaped(date)}</span>'


def _title(conversation: Conversation) -> str:
    return _escaped(conversation_title(conversation.messages)) or "Conversation"


def _escaped(text: str) -> str:
    """Escape HTML, and show control and invisible characters as the terminal does."""
    return escape(escape_controls(clean_surrogates(text)))


def _message_html(message: Message) -> str:
    about = format_time(message.timestamp)
    match message.role:
        case "user":
            heading = "You"
        case "assistant":
            heading = f"{message.provider}/{message.model}" if message.model else "Answer"
            usage = message.usage
            if usage.total_tokens:
                cost = usage.cost.total
                read = usage.input + usage.cache_read + usage.cache_write
                about += f" · {read:,} in / {usage.output:,} out"
                about += "" if cost is None else f" · {format_usd(cost)}"
        case "toolResult":
            heading = f"Result of {message.tool_name}"
        case _:
            assert_never(message)
    content = message.content
    if isinstance(content, str):
        parts = [markdown_html(content)]
    else:
        parts = [_part_html(part, message.role == "toolResult") for part in content]
    if message.role == "assistant":
        parts.append(_sources_html(message))
    if message.role == "assistant" and message.error is not None:
        parts.append(f'<p class="error">{_escaped(message.error.message)}</p>\n')
    return (
        f'<h2>{_escaped(heading)}<span class="about">{_escaped(about)}</span></h2>\n'
        f'<section class="{message.role}">\n{"".join(parts)}</section>\n'
    )


def _sources_html(message: AssistantMessage) -> str:
    """Return the sources of an answer as a numbered list; only web addresses are links."""
    items = []
    for citation in cited_sources([message]):
        text = _escaped(format_source(citation))
        if is_web_address(citation.source):
            title = _escaped(citation.title or citation.source)
            text = f'<a href="{escape(citation.source)}" rel="noopener noreferrer">{title}</a>'
        items.append(f"<li>{text}</li>\n")
    return f"<p>Sources:</p>\n<ol>\n{''.join(items)}</ol>\n" if items else ""


def _part_html(
    part: UserContent | AssistantContent | ToolResultContent, is_tool_result: bool
) -> str:
    match part.type:
        case "text":
            if is_tool_result:
                return f"<pre>{_escaped(part.text)}</pre>\n"
            return markdown_html(part.text)
        case "thinking":
            thinking = part.thinking.strip()
            return f'<div class="thinking">{markdown_html(thinking)}</div>\n' if thinking else ""
        case "toolCall":
            arguments = json.dumps(part.arguments, ensure_ascii=False, default=str)
            return f"<pre>{_escaped(f'{part.name}({arguments})')}</pre>\n"
        case "serverToolCall" | "serverToolResult" | "file":
            return f"<pre>{_escaped(str(part))}</pre>\n"
        case "image" | "video" | "document" | "audio":
            return _media_html(part)
        case _:
            assert_never(part)


def _media_html(part: ImageContent | AudioContent | VideoContent | DocumentContent) -> str:
    """Return an image, player or download link that holds the data; else a note."""
    transcript = part.transcript if part.type == "audio" else ""
    text = f"<pre>{_escaped(transcript)}</pre>\n" if transcript else ""
    mime_type = part.mime_type.partition(";")[0].strip().lower()
    is_bare = is_bare_pcm(part.mime_type)
    if part.data and (is_bare or _EMBEDDED_TYPES.fullmatch(mime_type)):
        try:
            data = content_bytes(part)
        except ValueError:
            return f"<p>[{part.type}: the data is damaged]</p>\n{text}"
        if is_bare:
            data, mime_type = add_wav_header(data, part.mime_type), "audio/wav"
        address = f"data:{mime_type};base64,{base64.b64encode(data).decode()}"
        match part.type:
            case "image":
                return f'<p><img alt="attached image" src="{address}"></p>\n'
            case "document":
                name = _escaped(part.name or "document.pdf")
                return f'<p><a download="{name}" href="{address}">{name}</a></p>\n'
            case player:
                return f'<p><{player} controls src="{address}"></{player}></p>\n{text}'
    return f"<p>[{part.type}: {_escaped(part.url or part.mime_type or '')}]</p>\n{text}"


def markdown_html(text: str) -> str:
    """Render Markdown. HTML in it is text, and so is a link to anything but a web or mail address.

    Example:
        >>> markdown_html("**Hi** <script>alert(1)</script>")
        '<p><strong>Hi</strong> &lt;script&gt;alert(1)&lt;/script&gt;</p>\\n'
    """
    text = escape_controls(clean_surrogates(text))
    if len(text) > MAX_RENDERED_CHARS:
        return f"<pre>{escape(text)}</pre>\n"
    return _blocks_html(SyntaxTreeNode(markdown_parser().parse(text)).children)


def _blocks_html(nodes: Iterable[SyntaxTreeNode]) -> str:
    return "".join(map(_block_html, nodes))


def _block_html(node: SyntaxTreeNode) -> str:
    match node.type:
        case "paragraph":
            text = _inline_html(node.children)
            return f"{text}\n" if node.hidden else f"<p>{text}</p>\n"
        case "heading":
            level = min(int(node.tag[1:]) + 2, 6)  # below the page's own headings
            return f"<h{level}>{_inline_html(node.children)}</h{level}>\n"
        case "bullet_list":
            return f"<ul>\n{_blocks_html(node.children)}</ul>\n"
        case "ordered_list":
            return f"<ol>\n{_blocks_html(node.children)}</ol>\n"
        case "list_item":
            value = f' value="{int(node.info)}"' if node.info.isdecimal() else ""
            return f"<li{value}>{_blocks_html(node.children)}</li>\n"
        case "blockquote":
            return f"<blockquote>\n{_blocks_html(node.children)}</blockquote>\n"
        case "hr":
            return "<hr>\n"
        case "table":
            rows = [row for part in node.children for row in part.children]
            return f"<table>\n{''.join(map(_row_html, rows))}</table>\n"
        case _:  # code and math
            return f"<pre><code>{escape(node.content)}</code></pre>\n"


def _row_html(row: SyntaxTreeNode) -> str:
    cells = [
        f"<{cell.tag}{_alignment(cell)}>{_inline_html(cell.children)}</{cell.tag}>"
        for cell in row.children
    ]
    return f"<tr>{''.join(cells)}</tr>\n"


def _alignment(cell: SyntaxTreeNode) -> str:
    style = str(cell.attrs.get("style", ""))
    return f' style="{escape(style)}"' if style else ""


def _inline_html(nodes: Iterable[SyntaxTreeNode]) -> str:
    return "".join(map(_span_html, nodes))


def _span_html(node: SyntaxTreeNode) -> str:
    match node.type:
        case "inline":
            return _inline_html(node.children)
        case "softbreak" | "hardbreak":
            return "<br>\n"
        case "code_inline":
            return f"<code>{escape(node.content)}</code>"
        case "em" | "strong":
            return f"<{node.type}>{_inline_html(node.children)}</{node.type}>"
        case "link":
            label, target = _inline_html(node.children), str(node.meta["target"])
            if target.lower().startswith(LINK_SCHEMES):
                return f'<a href="{escape(target)}" rel="noopener noreferrer">{label}</a>'
            return f"{label} ({escape(target)})"
        case _:  # text and math
            return escape(node.content)
