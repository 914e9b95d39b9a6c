"""Schedules background pushes: each registration has its own interval, and one thread runs one push at a time."""

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
    """Calls functions at intervals, or once, until it is stopped.

    The first call comes one interval after :meth:`every`. Each further call comes one interval after the end of the one
    before, so a slow push never queues up behind itself. Exceptions are logged, and the calls go on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._changed = threading.Condition()
        self._calls: list[tuple[float, int, float | None, Callable[[], None]]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        # The thread runs in the context that made the schedule, not in that of the task that happens to register first.
        self._context = contextvars.copy_context()
        self._stopped = False

    def every(self, interval_seconds: float, call: Callable[[], None]) -> None:
        """Calls ``call`` at this interval from now on."""
        self._add(interval_seconds, interval_seconds, call)

    def once(self, pause_seconds: float, call: Callable[[], None]) -> None:
        """Calls ``call`` once, after this pause."""
        self._add(pause_seconds, None, call)

    def _add(self, pause_seconds: float, interval_seconds: float | None, call: Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._calls, (self._clock() + pause_seconds, next(self._order), interval_seconds, call))
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
                while not self._stopped and (not self._calls or self._calls[0][0] > self._clock()):
                    pause = self._calls[0][0] - self._clock() if self._calls else None
                    self._changed.wait(None if pause is None else clamp_timeout(pause))
                if self._stopped:
                    return
                _, _, interval_seconds, call = heapq.heappop(self._calls)
            _call(call)
            if interval_seconds is None:
                continue
            with self._changed:
                next_call = (self._clock() + interval_seconds, next(self._order), interval_seconds, call)
                heapq.heappush(self._calls, next_call)

    def stop(self, timeout_seconds: float | None = None) -> bool:
        """Prevents further calls, and waits for the one that runs. Returns whether it ended in time."""
        with self._changed:
            self._stopped = True
            self._context = contextvars.Context()
            self._changed.notify()
        if self._thread is None or self._thread is threading.current_thread():
            return True
        # Before Python 3.13, a join() that an interrupt ends marks the thread as ended, so this waits for an event.
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
