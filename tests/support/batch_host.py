"""A provider for batches that counts its requests."""

from __future__ import annotations

import asyncio
import threading
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
        self._changed = threading.Condition()

    def wait_for_requests(self, count: int) -> None:
        """Wait until this many requests are in flight; call it in another thread."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.under_way == count, 30)

    async def __call__(self, request: Request) -> AsyncIterator[str]:
        prompt = str(request.context.messages[-1].content)
        self.asked.append(prompt)
        self.times.append(time.monotonic())
        self._count(+1)
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.wait)
            if self.refuses is not None:
                raise ProviderError(self.refuses.model_copy())
            if faults := self.faults.get(prompt):
                raise ProviderError(faults.pop(0))
            yield prompt.upper()
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._changed:
            self.under_way += change
            self._changed.notify_all()
