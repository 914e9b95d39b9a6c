"""Runs many coroutines in the loop of a store, in a separate thread. They can be stopped at any time.

If no thread can be started, as at the exit of the interpreter, the calling thread drives the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import math
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from pos3.errors import NotPushedError, TransferCancelledError
from pos3.local import try_start
from pos3.store import ended, is_shared

T = TypeVar("T")
R = TypeVar("R")
Batch = list[tuple[T, R | None, Exception | None]]

MOST_FAILURES = 100
_GRACE_SECONDS = 2.0
_GLANCE_SECONDS = 0.2
_CANCEL_SECONDS = 0.05
_HOPELESS_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}
_BATCH_ITEMS = 64
_BATCH_SECONDS = 0.2


def is_hopeless(error: BaseException) -> bool:
    """Whether the next item would fail for the same reason."""
    if is_shared(error) or isinstance(error, TransferCancelledError):
        return True
    return isinstance(error, OSError) and error.errno in _HOPELESS_ERRNOS


class Runs(Protocol):
    """The part of a store that runs coroutines: see :class:`pos3.store.Store`."""

    def run(self, main: Callable[[], Coroutine[Any, Any, None]], workers: int | None) -> None: ...

    async def most_in_flight(self, before: int) -> int: ...


def _nobody(_batch: object) -> None:
    """Does nothing with a batch."""


class _Jobs(Generic[T, R]):
    """The items of one call and their results."""

    def __init__(
        self,
        items: Iterable[T],
        carry_out: Callable[[T], Coroutine[Any, Any, R]],
        cancelled: threading.Event,
    ):
        self._items = iter(items)
        self._carry_out = carry_out
        self._cancelled = cancelled
        self._done: Callable[[Batch[T, R]], object] = _nobody
        # The tasks that have not ended, or have failed, and those that take further items.
        self._tasks: set[asyncio.Task[None]] = set()
        self._working: set[asyncio.Task[None] | None] = set()
        self._wanted = 0
        self._batch: Batch[T, R] = []
        self._told_at = 0.0
        self.stopped = False

    async def all(self, most: Callable[[int], Coroutine[Any, Any, int]], done: Callable[[Batch[T, R]], object]) -> None:
        """Carries out all items until the end or a cancellation. Results are passed on in batches.

        Args:
            most: returns how many items may run at the same time, when this is not its argument.
        """
        self._done = done
        self._told_at = time.monotonic()
        all_done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted = await most(0)
        self._begin(all_done)
        adapting = asyncio.create_task(self._adapt(most, all_done))
        is_cancelled = False
        try:
            while not all_done.done():
                if self._cancelled.is_set() and not is_cancelled:
                    is_cancelled = True
                    adapting.cancel()
                    for task in self._tasks:
                        task.cancel()
                await asyncio.wait((all_done,), timeout=_CANCEL_SECONDS)
                self._tell_if_due()
            for task in self._tasks:
                task.result()
        finally:
            self._tell()
            adapting.cancel()
            await ended(adapting)

    def _begin(self, all_done: asyncio.Future[None]) -> None:
        """Starts tasks until as many work as are wanted. The last one that ends sets ``all_done``."""

        def end(task: asyncio.Task[None]) -> None:
            self._working.discard(task)
            if task.cancelled() or task.exception() is None:
                self._tasks.discard(task)
            if not self._working and not all_done.done():
                all_done.set_result(None)

        for _ in range(self._wanted - len(self._working)):
            task = asyncio.create_task(self._work())
            task.add_done_callback(end)
            self._tasks.add(task)
            self._working.add(task)

    async def _adapt(self, most: Callable[[int], Coroutine[Any, Any, int]], all_done: asyncio.Future[None]) -> None:
        while True:
            self._wanted = await most(self._wanted)
            if all_done.done() or self.stopped:
                return
            self._begin(all_done)

    async def _work(self) -> None:
        for item in self._items:
            try:
                result = await self._carry_out(item)
            except Exception as error:  # noqa: BLE001 - handed over
                self.stopped = self.stopped or is_hopeless(error)
                self._batch.append((item, None, error))
                self._tell()
            else:
                self._batch.append((item, result, None))
                if len(self._batch) >= _BATCH_ITEMS:
                    self._tell()
            if self.stopped:
                return
            if len(self._working) > self._wanted:
                # All of them would wait for each other's requests.
                self._working.discard(asyncio.current_task())
                return

    def _tell_if_due(self) -> None:
        if time.monotonic() - self._told_at > _BATCH_SECONDS:
            self._tell()

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        if self._batch:
            batch, self._batch = self._batch, []
            self._done(batch)


class _Thread(Generic[T]):
    """A thread that passes on its results one by one."""

    def __init__(self, work: Callable[[], object], cancelled: threading.Event):
        self._cancelled = cancelled
        # The last element is None, when the thread ends.
        self.done: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        # Before Python 3.13, an interrupt in is_alive() marks a running thread as ended.
        self._ended = threading.Event()
        self.is_stopped = False
        # With the context of the caller, so log lines belong to its run.
        inherited = contextvars.copy_context()
        self._thread = threading.Thread(target=inherited.run, args=(self._run, work), name="pos3-worker-0", daemon=True)

    def start(self) -> bool:
        return try_start(self._thread)

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            self.done.put(None)
            self._ended.set()

    def results(self) -> Iterator[T]:
        """The results, as they come, until the thread has ended.

        After a cancellation, the thread has two seconds to end. If it still blocks then, this returns without it.
        """
        give_up_at = math.inf
        while True:
            if self._cancelled.is_set():
                give_up_at = min(give_up_at, time.monotonic() + _GRACE_SECONDS)
            # An interrupt may have come after the last element was taken.
            has_ended = self._ended.is_set()
            try:
                result = self.done.get(timeout=_GLANCE_SECONDS)
            except queue.Empty:
                if has_ended or time.monotonic() >= give_up_at:
                    return
                continue
            if result is None:
                return
            yield result


def run_apart(
    work: Callable[[Callable[[T], object]], object], take: Callable[[T], object], cancelled: threading.Event
) -> None:
    """Runs ``work`` in a separate thread.

    Each value that it passes to its argument is passed to ``take`` in this thread.

    An interrupt of the calling thread sets ``cancelled``. If the thread does not end within two seconds after that,
    this function returns without it.
    """
    thread: _Thread[T]

    def hand_over(result: T) -> None:
        thread.done.put(result)

    thread = _Thread(lambda: work(hand_over), cancelled)
    if not thread.start():
        try:
            work(take)
        except Exception:
            raise
        except BaseException:
            cancelled.set()
            raise
        return
    try:
        for result in thread.results():
            take(result)
    except BaseException:
        cancelled.set()
        for result in thread.results():
            take(result)
        raise


def run_all(
    items: Iterable[T],
    carry_out: Callable[[T], Coroutine[Any, Any, R]],
    on_done: Callable[[T, R], None],
    *,
    store: Runs,
    workers: int | None,
    cancelled: threading.Event,
) -> list[tuple[T, Exception]]:
    """Awaits ``carry_out`` for every item, and calls ``on_done`` in this thread for each success.

    At most ``workers`` items run at the same time; with None, the store finds the fastest number.

    The remaining items are not started after an error that all of them would have, after a hundred failures, or when
    ``cancelled`` is set. An interrupt of the calling thread sets it. Items that do not end within two seconds after
    that are abandoned.

    Returns:
        the items that failed, each with its error. An item is None if the loop itself has failed.
    """
    failed: list[tuple[T, Exception]] = []
    counted = 0

    def take(batch: Batch[T, R]) -> None:
        nonlocal counted
        for item, result, error in batch:
            if error is None:
                on_done(item, result)  # type: ignore[arg-type]
                continue
            failed.append((item, error))
            # A file without read permission costs no request, and other files may be readable.
            counted += not isinstance(error, NotPushedError)
            if counted >= MOST_FAILURES:
                jobs.stopped = True

    jobs: _Jobs[T, R] = _Jobs(items, carry_out, cancelled)

    def work(done: Callable[[Batch[T, R]], object]) -> None:
        try:
            store.run(lambda: jobs.all(store.most_in_flight, done), workers)
        except Exception as error:  # noqa: BLE001 - handed over
            # The loop has failed, so none of its items has a result.
            done([(None, None, error)])  # type: ignore[list-item]

    run_apart(work, take, cancelled)
    return failed
