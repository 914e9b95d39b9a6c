"""Calls made in threads beside a loop: for hashing and writing, which leave the interpreter to others."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

_MOST_THREADS = 4


@dataclass(frozen=True, slots=True)
class Aside:
    """What a transfer yields to have a call made beside the loop; it is resumed with the result, or the error.

    Worth its while from some hundred kilobytes on. ``held_bytes`` is how much of memory the call holds.
    """

    call: Callable[[], Any]
    held_bytes: int = 0


_NOTHING = Aside(lambda: None)


class Beside:
    """The calls of one loop, at most one an owner. Threads are started with the first call."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._under_way: dict[Hashable, tuple[Future[Any], Aside]] = {}
        self._finished: queue.SimpleQueue[tuple[Any, Future[Any]]] = queue.SimpleQueue()
        self.held_bytes = 0

    def __len__(self) -> int:
        """How many calls are under way."""
        return len(self._under_way)

    def begin(self, owner: Hashable, aside: Aside) -> None:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(
                min(_MOST_THREADS, os.cpu_count() or 1), thread_name_prefix="pos3-beside"
            )
        future = self._executor.submit(aside.call)
        self._under_way[owner] = future, aside
        self.held_bytes += aside.held_bytes
        future.add_done_callback(lambda done: self._finished.put((owner, done)))

    def finished(self, seconds: float) -> Iterator[tuple[Any, Future[Any]]]:
        """The calls that have ended since this was asked last, with their owners; waits so long for the first one."""
        while self._under_way:
            try:
                owner, future = self._finished.get(timeout=seconds) if seconds > 0 else self._finished.get_nowait()
            except queue.Empty:
                return
            if self._remove(owner) is future:
                yield owner, future
            seconds = 0.0

    def drop(self, owner: Hashable) -> None:
        """Nobody wants the result any more. When this returns, the call is over, so what it works on may be closed."""
        future = self._remove(owner)
        if future is not None and not future.cancel():
            wait([future])

    def _remove(self, owner: Hashable) -> Future[Any] | None:
        future, aside = self._under_way.pop(owner, (None, _NOTHING))
        self.held_bytes -= aside.held_bytes
        return future

    def close(self) -> None:
        """Ends the threads. All calls have been dropped before."""
        if self._executor is not None:
            self._executor.shutdown()
