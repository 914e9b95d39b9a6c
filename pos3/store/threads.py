"""Makes blocking calls in threads beside a loop."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from pos3.store.apart import started
from pos3.store.tasks import ended

T = TypeVar("T")


class Threads:
    """Makes blocking calls in at most ``most`` threads. They are started when calls come.

    It is not a ``ThreadPoolExecutor``, because that ends before the functions of ``atexit`` run, and some of these
    push. If no thread can be started, the call is made in the thread of the loop.
    """

    def __init__(self, most: int):
        self.most = most
        self._threads: list[threading.Thread] = []
        self._under_way = 0
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    async def call(self, call: Callable[..., T], *arguments: Any) -> T:
        """The result of a call. If it is cancelled, this waits for its end, because the call works on files."""
        loop = asyncio.get_running_loop()
        inherited = contextvars.copy_context()
        done: asyncio.Future[None] = loop.create_future()
        result: list[T] = []
        failure: list[BaseException] = []

        def make() -> None:
            try:
                result.append(inherited.run(call, *arguments))
            except BaseException as error:  # noqa: BLE001 - raised by whoever waits
                failure.append(error)
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set_result, None)

        self._under_way += 1
        try:
            self._start(make)
            is_cancelled = await ended(done)
        finally:
            self._under_way -= 1
        if is_cancelled:
            raise asyncio.CancelledError
        if failure:
            raise failure.pop()
        return result[0]

    def _start(self, make: Callable[[], None]) -> None:
        if len(self._threads) < min(self._under_way, self.most):
            thread = threading.Thread(target=self._work, name=f"pos3-blocking-{len(self._threads)}", daemon=True)
            if started(thread):
                self._threads.append(thread)
        if self._threads:
            self._calls.put(make)
        else:
            make()

    def _work(self) -> None:
        while (make := self._calls.get()) is not None:
            make()

    def close(self) -> None:
        """Ends the threads when their calls have ended."""
        for _ in self._threads:
            self._calls.put(None)
        self._threads.clear()
