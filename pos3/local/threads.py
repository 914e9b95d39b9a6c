"""Starting threads, also at a time when none can be started; and signals to stop what runs in them."""

from __future__ import annotations

import contextvars
import math
import sys
import threading
import time
from collections.abc import Callable

_GLANCE_SECONDS = 0.2


def can_start(thread: threading.Thread) -> bool:
    """Starts the thread, if that is possible. If not, the caller does the work itself, or does without.

    From Python 3.12 on, no thread can be started once the main thread is at its end. Before that, an attempt while
    the interpreter ends would wait for ever. A limit of the system may also be reached.
    """
    if sys.is_finalizing():
        return False
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def bounded(seconds: float) -> float:
    """A time to wait, as the system takes it: at most some hundred years."""
    return min(seconds, threading.TIMEOUT_MAX)


def call_within(
    seconds: float, call: Callable[[], object], name: str, *, instead: Callable[[], object] | None = None
) -> bool:
    """Calls in a thread, in the context of whoever asks, and waits for it so many seconds at most.

    A call that takes longer goes on. What it raises is for :func:`threading.excepthook`.

    Args:
        name: the thread's.
        instead: called here where no thread can be started, so it has to keep the time itself; None for the call.

    Returns:
        whether it has ended in time.
    """
    thread = threading.Thread(target=contextvars.copy_context().run, args=(call,), name=name, daemon=True)
    if can_start(thread):
        thread.join(bounded(max(0.0, seconds)))
        return not thread.is_alive()
    began = time.monotonic()
    (instead or call)()
    return time.monotonic() - began <= seconds


class StopAt(threading.Event):
    """Is set by hand, or by itself at a moment of ``time.monotonic()``; no thread is needed for that."""

    def __init__(self, moment: Callable[[], float] = lambda: math.inf):
        super().__init__()
        self._moment = moment

    def is_set(self) -> bool:
        return super().is_set() or time.monotonic() >= self._moment()

    def wait(self, timeout: float | None = None) -> bool:
        until = math.inf if timeout is None else time.monotonic() + timeout
        # The moment may be named while somebody waits already.
        while not self.is_set() and (left_seconds := until - time.monotonic()) > 0:
            super().wait(min(left_seconds, _GLANCE_SECONDS))
        return self.is_set()
