"""When background pushes run: each registration on its own interval, one push after the other in one thread."""

from __future__ import annotations

import contextvars
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pos3.local import clamp_timeout, try_start

logger = logging.getLogger("pos3")


class Schedule:
    """Calls functions at intervals until it is stopped.

    The first call comes one interval after :meth:`every`, the next one interval after the end of the last, so a slow
    push never queues up behind itself. What a function raises is logged, and ends neither the others nor itself.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, float, Callable[[], None]]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        # In the context of whoever made the schedule, not of the one task among many that registers first.
        self._context = contextvars.copy_context()
        self._stopped = False

    def every(self, interval_seconds: float, call: Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._due, (self._clock() + interval_seconds, next(self._order), interval_seconds, call))
            if self._thread is None and not self._stopped:
                run = self._context.run
                thread = threading.Thread(target=run, args=(self._run,), name="pos3-push", daemon=True)
                if try_start(thread):
                    self._thread = thread
                else:
                    logger.warning("no thread can be started, so nothing is pushed before the mirror's end")
            self._changed.notify()

    def _run(self) -> None:
        try:
            self._call_until_stopped()
        finally:
            self._ended.set()

    def _call_until_stopped(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and (not self._due or self._due[0][0] > self._clock()):
                    pause = self._due[0][0] - self._clock() if self._due else None
                    self._changed.wait(None if pause is None else clamp_timeout(pause))
                if self._stopped:
                    return
                _, _, interval_seconds, call = heapq.heappop(self._due)
            _call(call)
            with self._changed:
                again = (self._clock() + interval_seconds, next(self._order), interval_seconds, call)
                heapq.heappush(self._due, again)

    def stop(self, timeout_seconds: float | None = None) -> bool:
        """Lets no further call begin and waits for the one that runs. Whether it ended in time."""
        with self._changed:
            self._stopped = True
            self._context = contextvars.Context()
            self._changed.notify()
        if self._thread is None or self._thread is threading.current_thread():
            return True
        # Not by a join: one that an interrupt ends takes the thread for ended, before Python 3.13.
        if not self._ended.wait(timeout_seconds):
            return False
        self._thread.join()
        return True


def _call(call: Callable[[], None]) -> None:
    try:
        call()
    except BaseException:
        with suppress(BaseException):
            logger.exception("a background push failed in a way that it should not")
