"""Calls made in threads beside a loop: for hashing and writing, which leave the interpreter to others."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from pos3.local import try_start

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
    """The calls of one loop, at most one an owner. Threads are started as calls come.

    They are no ``ThreadPoolExecutor``: that ends before the functions of ``atexit`` run, some of which push.
    """

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._under_way: dict[Hashable, tuple[Future[Any], Aside]] = {}
        self._finished: queue.SimpleQueue[tuple[Any, Future[Any]]] = queue.SimpleQueue()
        self.held_bytes = 0

    def __len__(self) -> int:
        """How many calls are under way."""
        return len(self._under_way)

    def begin(self, owner: Hashable, aside: Aside) -> None:
        """Has the call made; here and now, if no thread can be had."""
        future: Future[Any] = Future()
        self._under_way[owner] = future, aside
        self.held_bytes += aside.held_bytes
        future.add_done_callback(lambda done: self._finished.put((owner, done)))
        if len(self._threads) < min(len(self._under_way), _MOST_THREADS, os.cpu_count() or 1):
            self._start_thread()
        if self._threads:
            self._calls.put((future, aside.call))
        else:
            _make(future, aside.call)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"pos3-beside-{len(self._threads)}", daemon=True)
        if try_start(thread):
            self._threads.append(thread)

    def _work(self) -> None:
        while (wanted := self._calls.get()) is not None:
            _make(*wanted)

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
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()


def _make(future: Future[Any], call: Callable[[], Any]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)
