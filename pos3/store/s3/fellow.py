"""A second engine with its own thread, which helps another engine to send large bodies."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from pos3.store.apart import started
from pos3.store.s3.engine import Engine
from pos3.store.tasks import ended

T = TypeVar("T")


class Fellow:
    """An engine with its own thread. It runs coroutines for another engine."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.parts = 0
        """How many it carries out at the moment."""
        self._is_over = False
        self._thread = threading.Thread(target=self._drive, name="pos3-fellow", daemon=True)

    def start(self) -> bool:
        """Starts the thread, and returns whether this was possible."""
        return started(self._thread)

    def _drive(self) -> None:
        while not self._is_over:
            # The caller of the coroutine raises its error, so the thread goes on.
            with suppress(BaseException):
                self.engine.loop.run_forever()

    def stop(self) -> None:
        """Returns when the thread has ended."""
        self._is_over = True
        self.engine.loop.call_soon_threadsafe(self.engine.loop.stop)
        self._thread.join()

    async def carried_out(self, part: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine.

        If the caller is cancelled, the coroutine is cancelled, too, and has ended on return.
        """
        here, there = asyncio.get_running_loop(), self.engine.loop
        done: asyncio.Future[asyncio.Task[T]] = here.create_future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = there.create_task(part)
            tasks.append(task)
            task.add_done_callback(lambda task: here.call_soon_threadsafe(done.set_result, task))

        def cancel() -> None:
            tasks[0].cancel()

        self.parts += 1
        there.call_soon_threadsafe(begin)
        try:
            await asyncio.wait((done,))
        except asyncio.CancelledError:
            there.call_soon_threadsafe(cancel)
            await ended(done)
            raise
        finally:
            self.parts -= 1
        return done.result().result()
