"""`-x`: the code of an answer, without the words around it."""

from __future__ import annotations

import re

_OPEN = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)")


def blocks(text: str) -> list[str]:
    """The code blocks of Markdown, each ending in a newline. One that was cut off counts.

    Example:
        >>> blocks("Sure:\\n```python\\nprint(1)\\n```\\nThat is all.")
        ['print(1)\\n']
    """
    found: list[str] = []
    fence = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        if fence:
            if line.strip() and not line.strip().strip(fence[0]) and fence in line:
                fence = ""
            else:
                found[-1] += f"{line}\n"
        elif (opened := _OPEN.match(line)) and "`" not in opened["info"]:
            fence = opened["fence"]
            found.append("")
    if fence and found[-1].endswith("\n\n"):
        found[-1] = found[-1][:-1]  # the end of a text that was cut is no line of its own
    return found
