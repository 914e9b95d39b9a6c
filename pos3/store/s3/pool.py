"""Keeps idle engines with open connections."""

from __future__ import annotations

import os
import sys
from collections import deque
from contextlib import suppress

from pos3.store.s3.engine import Engine
from pos3.store.s3.handle import Server


class Pool:
    """Idle engines with open connections, for the next request.

    Safe to use from several threads, and after a fork.
    """

    _MOST_IDLE = 4

    def __init__(self, server: Server):
        self._server = server
        self._idle: deque[tuple[int, Engine]] = deque()

    def __del__(self) -> None:
        # No finalizer of weakref: what a loop has scheduled knows the context that it was scheduled in, and so perhaps
        # whoever has this pool, which would be kept for ever.
        if not sys.is_finalizing():
            # In a reference cycle, the sockets of a loop may be closed before this is called.
            with suppress(ValueError, OSError):
                self.close_idle()

    def take(self) -> Engine:
        with suppress(IndexError):
            while True:
                pid, engine = self._idle.pop()
                if pid == os.getpid():
                    return engine
        return Engine(self._server)

    def give_back(self, engine: Engine) -> None:
        """Keeps an engine without running requests, or closes it."""
        if engine.is_idle and len(self._idle) < self._MOST_IDLE:
            self._idle.append((os.getpid(), engine))
        else:
            engine.close()

    def close_idle(self) -> None:
        """Closes the idle engines. In a forked child, the engines of the parent are not touched."""
        with suppress(IndexError):
            while True:
                pid, engine = self._idle.pop()
                if pid == os.getpid():
                    engine.close()
