"""Extract code blocks from Markdown, for `pipy ask -x`."""

from __future__ import annotations

import re

_FENCE_OPEN = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)")


def extract_code_blocks(text: str) -> list[str]:
    """Return the code blocks of Markdown text, each ending in a newline, a truncated one included.

    Example:
        >>> extract_code_blocks("Sure:\\n```python\\nprint(1)\\n```\\nThat is all.")
        ['print(1)\\n']
    """
    code_blocks: list[str] = []
    fence = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        if fence:
            if line.strip() and not line.strip().strip(fence[0]) and fence in line:
                fence = ""
            else:
                code_blocks[-1] += f"{line}\n"
        elif (opening := _FENCE_OPEN.match(line)) and "`" not in opening["info"]:
            fence = opening["fence"]
            code_blocks.append("")
    if fence and code_blocks[-1].endswith("\n\n"):
        # The text was truncated: its end is not an empty line of code.
        code_blocks[-1] = code_blocks[-1].removesuffix("\n")
    return code_blocks
