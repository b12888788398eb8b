"""Extract code blocks from Markdown, for `pipy ask -x`."""

from __future__ import annotations


def extract_code_blocks(text: str) -> list[str]:
    """Return the code blocks of Markdown text, fenced or indented, also in lists and quotes.

    The block structure is CommonMark's: the indentation of a list and the marks of a quote do not
    belong to the code. A block without a closing fence goes on to the end of the text. A block
    that is not empty ends in a newline.

    Example:
        >>> extract_code_blocks("1. Sure:\\n\\n   ```python\\n   print(1)\\n   ```\\n")
        ['print(1)\\n']
    """
    from markdown_it import MarkdownIt

    # The limit is meant for web servers: what is nested deeper would be left out.
    parser = MarkdownIt("commonmark", {"maxNesting": 100}).disable("inline")
    tokens = parser.parse(text)
    blocks = [token.content for token in tokens if token.type in ("fence", "code_block")]
    return [block if block.endswith("\n") or not block else f"{block}\n" for block in blocks]
