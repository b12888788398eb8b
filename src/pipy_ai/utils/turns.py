"""Share an event loop: what would stall it is spread over several of its iterations.

asyncio runs all callbacks that are ready before it looks at timers and other sockets again. When
5,000 responses arrive at once, that would take seconds.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable

MAX_COST = 256 << 10  # of an iteration; about the bytes that are decoded in 10 to 20 ms
START_COST = 8 << 10  # of starting a request


class Turns:
    """Limits the work that is done in one iteration of an event loop. The rest waits in line.

    Example:
        >>> async def main():
        ...     turns, done = Turns(), []
        ...     while turns.take(START_COST):
        ...         done.append("now")
        ...     turns.queue(START_COST, lambda: done.append("later"))
        ...     assert "later" not in done
        ...     await asyncio.sleep(0)
        ...     return done[-1]
        >>> asyncio.run(main())
        'later'
    """

    def __init__(self) -> None:
        self._spent = 0  # in this iteration
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()

    def take(self, cost: int) -> bool:
        """Return whether work may be done now. If not, pass it to `queue`."""
        if self._waiting or self._spent >= MAX_COST:
            return False
        self._spend(cost)
        return True

    def queue(self, cost: int, callback: Callable[[], None]) -> None:
        """Call a function in one of the next iterations."""
        self._waiting.append((cost, callback))

    async def wait(self, cost: int) -> None:
        """Wait until work may be done."""
        if self.take(cost):
            return
        turn = asyncio.get_running_loop().create_future()
        self.queue(cost, lambda: None if turn.done() else turn.set_result(None))
        await turn

    def _spend(self, cost: int) -> None:
        if not self._spent:
            asyncio.get_running_loop().call_soon(self._next_iteration)
        self._spent += cost

    def _next_iteration(self) -> None:
        self._spent = 0
        while self._waiting and self._spent < MAX_COST:
            cost, callback = self._waiting.popleft()
            self._spend(cost)
            callback()


_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = weakref.WeakKeyDictionary()


def running_turns() -> Turns:
    """Return the turns of the running event loop."""
    loop = asyncio.get_running_loop()
    turns = _turns.get(loop)
    if turns is None:
        turns = _turns[loop] = Turns()
    return turns
