"""Engines that wait for the next request, with open connections."""

from __future__ import annotations

import os
import weakref
from collections import deque
from contextlib import suppress

from pos3.store.s3.engine import Engine
from pos3.store.s3.handle import Server


class Pool:
    """Idle engines, whose connections stay open for whoever needs one next.

    Safe to use from several threads, and after a fork.
    """

    _MOST_IDLE = 4

    def __init__(self, server: Server):
        self._server = server
        self._idle: deque[tuple[int, Engine]] = deque()
        weakref.finalize(self, _close_all, self._idle)

    def take(self) -> Engine:
        with suppress(IndexError):
            while True:
                pid, engine = self._idle.pop()
                if pid == os.getpid():
                    return engine
        return Engine(self._server)

    def give_back(self, engine: Engine) -> None:
        """Keeps an engine on which nothing is under way."""
        if engine.is_idle and len(self._idle) < self._MOST_IDLE:
            self._idle.append((os.getpid(), engine))
        else:
            engine.close()


def _close_all(idle: deque[tuple[int, Engine]]) -> None:
    while idle:
        pid, engine = idle.pop()
        if pid == os.getpid():
            engine.close()
