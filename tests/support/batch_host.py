"""A provider for batches that counts its requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from pipy_ai.errors import ErrorInfo, ProviderError
from pipy_ai.provider import Request


class Host:
    """A provider that echoes the prompt in upper case after `wait` seconds, and counts."""

    def __init__(self, wait: float = 0.0) -> None:
        self.wait = wait
        self.asked: list[str] = []
        self.times: list[float] = []
        self.under_way = self.most = 0
        self.faults: dict[str, list[Any]] = {}
        self.refuses: ErrorInfo | None = None  # all, while it is set

    async def __call__(self, request: Request) -> AsyncIterator[str]:
        prompt = str(request.context.messages[-1].content)
        self.asked.append(prompt)
        self.times.append(time.monotonic())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.wait)
            if self.refuses is not None:
                raise ProviderError(self.refuses.model_copy())
            if faults := self.faults.get(prompt):
                raise ProviderError(faults.pop(0))
            yield prompt.upper()
        finally:
            self.under_way -= 1
