"""Carries out many jobs in the lanes of a store, one thread each, and can be stopped at any moment.

Where no thread can be started, at the interpreter's exit, one lane does all of it in the calling thread.
"""

from __future__ import annotations

import contextvars
import errno
import math
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Generic, TypeVar

from pos3.errors import NotPushedError, TransferCancelledError
from pos3.local import try_start
from pos3.store import Lane, Steps, is_shared

T = TypeVar("T")
R = TypeVar("R")
Batch = list[tuple[T, R | None, Exception | None]]

MOST_FAILURES = 100
_GRACE_SECONDS = 2.0
_GLANCE_SECONDS = 0.2
_HOPELESS_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}
_BATCH_ITEMS = 64
_BATCH_SECONDS = 0.2


def is_hopeless(error: BaseException) -> bool:
    """Whether the next item would fail for the same reason."""
    if is_shared(error) or isinstance(error, TransferCancelledError):
        return True
    return isinstance(error, OSError) and error.errno in _HOPELESS_ERRNOS


class _Run(Generic[T, R]):
    """The threads of one call."""

    def __init__(self, items: Iterable[T], begin: Callable[[T], Steps[R]], cancelled: threading.Event):
        self._items = iter(items)
        self._begin = begin
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._threads = 0
        self._ended = 0
        self.stopped = False
        # None for a thread that has ended.
        self.done: queue.SimpleQueue[Batch[T, R] | None] = queue.SimpleQueue()

    @property
    def has_threads(self) -> bool:
        return self._threads > 0

    def start(self, lanes: Sequence[Lane]) -> None:
        """Starts as many threads as can be had."""
        for lane in lanes:
            # In the context of whoever asked: what is logged there must lead back to them.
            inherited = contextvars.copy_context()
            name = f"pos3-worker-{self._threads}"
            thread = threading.Thread(target=inherited.run, args=(self._work, lane), name=name, daemon=True)
            if not try_start(thread):
                return
            self._threads += 1

    def batches(self) -> Iterator[Batch[T, R]]:
        """What has been done, as it comes in, until all threads have ended.

        Once the run is cancelled, the threads get a short grace; one that still blocks is left behind.
        """
        give_up_at = math.inf
        while self._ended < self._threads:
            if self._cancelled.is_set():
                self.stopped = True
                give_up_at = min(give_up_at, time.monotonic() + _GRACE_SECONDS)
            try:
                batch = self.done.get(timeout=_GLANCE_SECONDS)
            except queue.Empty:
                if time.monotonic() >= give_up_at:
                    return
                continue
            if batch is None:
                self._ended += 1
            else:
                yield batch

    def _jobs(self) -> Iterator[tuple[T, Callable[[], Steps[R]]]]:
        while True:
            with self._lock:
                item = None if self.stopped else next(self._items, None)
            if item is None:
                return
            yield item, lambda item=item: self._begin(item)  # type: ignore[misc]

    def _work(self, lane: Lane) -> None:
        try:
            for batch in self.carried_out(lane):
                self.done.put(batch)
        finally:
            self.done.put(None)

    def carried_out(self, lane: Lane) -> Generator[Batch[T, R], None, None]:
        """Does the work of a lane here, and yields what is done."""
        batch: Batch[T, R] = []
        sent_at = time.monotonic()
        try:
            for done in lane(self._jobs(), self._cancelled):
                batch.append(done)
                if done[2] is not None and is_hopeless(done[2]):
                    self.stopped = True
                now = time.monotonic()
                if done[2] is not None or len(batch) >= _BATCH_ITEMS or now - sent_at > _BATCH_SECONDS:
                    yield batch
                    batch, sent_at = [], now
        except GeneratorExit:
            raise
        except Exception as error:  # noqa: BLE001 - handed over
            # The lane cannot go on, and nobody else answers for what it has begun.
            batch.append((None, None, error))  # type: ignore[arg-type]
        except BaseException:
            yield batch
            raise
        yield batch


def run_all(
    items: Iterable[T],
    begin: Callable[[T], Steps[R]],
    on_done: Callable[[T, R], None],
    *,
    lanes: Sequence[Lane],
    cancelled: threading.Event,
) -> list[tuple[T, Exception]]:
    """Carries out the steps that ``begin`` gives for every item, and calls ``on_done`` here for each success.

    The rest is left undone once an error makes it hopeless, after a hundred failures, or when ``cancelled`` is set. An
    interrupt of the calling thread sets ``cancelled``. Then threads that do not end within two seconds are left behind.

    Returns:
        the items that failed, each with its error; None stands for those of a lane that could not go on.
    """
    run = _Run(items, begin, cancelled)
    failed: list[tuple[T, Exception]] = []
    counted = 0

    def take(batch: Batch[T, R]) -> None:
        nonlocal counted
        for item, result, error in batch:
            if error is None:
                on_done(item, result)  # type: ignore[arg-type]
                continue
            failed.append((item, error))
            # A file that may not be read costs no request, and says nothing about the others.
            counted += not isinstance(error, NotPushedError)
            if counted >= MOST_FAILURES:
                run.stopped = True

    try:
        run.start(lanes)
        if not run.has_threads:
            with closing(run.carried_out(lanes[0])) as batches:
                for batch in batches:
                    take(batch)
        for batch in run.batches():
            take(batch)
    except BaseException:
        cancelled.set()
        for batch in run.batches():
            take(batch)
        raise
    return failed
