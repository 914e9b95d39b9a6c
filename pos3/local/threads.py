"""Starts threads where that is possible, calls functions with a timeout, and signals deadlines."""

from __future__ import annotations

import contextvars
import math
import sys
import threading
import time
from collections.abc import Callable

_POLL_SECONDS = 0.2


def try_start(thread: threading.Thread) -> bool:
    """Starts the thread if that is possible, and returns whether it was started.

    From Python 3.12 on, no thread can be started after the main thread has ended. In earlier versions, starting a
    thread while the interpreter exits would block for ever. The system may also limit the number of threads.
    """
    if sys.is_finalizing():
        return False
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def clamp_timeout(seconds: float) -> float:
    """The timeout, reduced to the longest one that the system accepts."""
    return min(seconds, threading.TIMEOUT_MAX)


def call_within(
    seconds: float, call: Callable[[], object], name: str, *, instead: Callable[[], object] | None = None
) -> bool:
    """Runs ``call`` in a new thread, in the context of the caller, and waits for at most ``seconds``.

    A call that takes longer continues in its thread. Its exceptions go to :func:`threading.excepthook`.

    Args:
        name: the name of the thread.
        instead: is run in the calling thread if no thread can be started, so it must observe the timeout itself. None
            means ``call``.

    Returns:
        Whether the call has ended in time.
    """
    thread = threading.Thread(target=contextvars.copy_context().run, args=(call,), name=name, daemon=True)
    if try_start(thread):
        thread.join(clamp_timeout(max(0.0, seconds)))
        return not thread.is_alive()
    began = time.monotonic()
    (instead or call)()
    return time.monotonic() - began <= seconds


class DeadlineEvent(threading.Event):
    """An event that also counts as set from a deadline of ``time.monotonic()`` on. It needs no thread."""

    def __init__(self, moment: Callable[[], float] = lambda: math.inf):
        super().__init__()
        self._moment = moment

    def is_set(self) -> bool:
        return super().is_set() or time.monotonic() >= self._moment()

    def wait(self, timeout: float | None = None) -> bool:
        until = math.inf if timeout is None else time.monotonic() + timeout
        # The deadline may be set while another thread waits.
        while not self.is_set() and (left_seconds := until - time.monotonic()) > 0:
            super().wait(min(left_seconds, _POLL_SECONDS))
        return self.is_set()
