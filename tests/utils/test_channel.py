"""Test the queue between threads."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from pipy_ai.utils.channel import Channel


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")
def test_signal_that_does_not_interrupt_the_wait_ends_it() -> None:
    """As one that arrives just before the wait, a signal of another thread only sets a flag."""

    class Interrupted(Exception):
        pass

    def on_signal(*_: Any) -> None:
        raise Interrupted

    channel: Channel[str] = Channel()
    ended, hung = threading.Event(), threading.Event()

    def interrupt() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        if not ended.wait(10):
            hung.set()
            channel.close()

    previous = signal.signal(signal.SIGUSR1, on_signal)
    thread = threading.Timer(0.1, interrupt)
    try:
        thread.start()
        with pytest.raises(Interrupted):
            channel.get()
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGUSR1, previous)
    assert not hung.is_set()
