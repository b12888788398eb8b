"""A provider that records when it is closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

from pipy_ai.provider import Request


class Watched:
    """A provider that sends some text, then stalls, and records when it is closed."""

    api = "watched"

    def __init__(self, *words: str) -> None:
        self.words = words
        self.left = threading.Event()
        self.stalled = threading.Event()

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        from pipy_ai.provider import Text

        try:
            yield [Text(word) for word in self.words]
            self.stalled.set()
            await asyncio.Event().wait()
        finally:
            self.left.set()
