"""Runs one function over many items in a few threads, and can be stopped at any moment."""

from __future__ import annotations

import contextvars
import errno
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from pos3.errors import BucketNotFoundError, CredentialsError, EndpointError, TransferCancelledError

T = TypeVar("T")
R = TypeVar("R")

MOST_FAILURES = 100
_GRACE_SECONDS = 2.0
_GLANCE_SECONDS = 0.2
_HOPELESS_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}
_FIRST_WORKERS = 3
_SAMPLE_ITEMS = 8
_SAMPLE_SECONDS = 0.05
_BATCH_ITEMS = 64
_BATCH_SECONDS = 0.2
# Of n threads that only fight for the interpreter, each waits n times as long as it works. Where they wait clearly
# longer than that, it is for a server, and another thread helps.
_WAITING_FOR_A_SERVER = 6.0


def is_hopeless(error: BaseException) -> bool:
    """Whether the next item would fail for the same reason."""
    if isinstance(error, (BucketNotFoundError, CredentialsError, EndpointError, TransferCancelledError)):
        return True
    return isinstance(error, OSError) and error.errno in _HOPELESS_ERRNOS


class _Run(Generic[T, R]):
    """The threads of one call. They begin few, and grow while each of them spends its time waiting for a server."""

    def __init__(self, items: Iterable[T], work: Callable[[T], R], workers: int):
        self._items = iter(items)
        self._lock = threading.Lock()
        self._work = work
        self._workers = workers
        self.threads: list[threading.Thread] = []
        self.stopped = False
        self._ended = 0
        # Batches of (item, result, error); None for a thread that has ended.
        self.done: queue.SimpleQueue[list[tuple[T, R | None, Exception | None]] | None] = queue.SimpleQueue()

    def start(self) -> None:
        for _ in range(min(_FIRST_WORKERS, self._workers)):
            self._add_thread()

    def _add_thread(self) -> None:
        with self._lock:
            if self.stopped or len(self.threads) >= self._workers:
                return
            name = f"pos3-worker-{len(self.threads)}"
            # In the context of whoever asked: what is logged there must lead back to them.
            inherited = contextvars.copy_context()
            thread = threading.Thread(target=inherited.run, args=(self._loop,), name=name, daemon=True)
            self.threads.append(thread)
        thread.start()

    def _next(self) -> T | None:
        with self._lock:
            return None if self.stopped else next(self._items, None)

    def batches(self, cancelled: threading.Event) -> Iterator[list[tuple[T, R | None, Exception | None]]]:
        """What has been done, as it comes in, until all threads have ended.

        Once ``cancelled`` is set, the threads get a short grace; one that still waits for a server is left behind.
        """
        give_up_at = math.inf
        while self._ended < len(self.threads):
            if cancelled.is_set():
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

    def _loop(self) -> None:
        batch: list[tuple[T, R | None, Exception | None]] = []
        sent_at = sampled_at = time.monotonic()
        busy_at = time.thread_time()
        sampled = -1
        try:
            while (item := self._next()) is not None:
                try:
                    batch.append((item, self._work(item), None))
                except Exception as error:  # noqa: BLE001 - returned to the caller
                    batch.append((item, None, error))
                now = time.monotonic()
                if batch[-1][2] is not None or len(batch) >= _BATCH_ITEMS or now - sent_at > _BATCH_SECONDS:
                    self.done.put(batch)
                    batch, sent_at = [], now
                sampled += 1
                if sampled == 0:
                    # The first item may have had to connect, which says nothing of the next ones.
                    sampled_at, busy_at = now, time.thread_time()
                elif sampled >= _SAMPLE_ITEMS or now - sampled_at > _SAMPLE_SECONDS:
                    busy = time.thread_time()
                    fair = (busy - busy_at) * len(self.threads)
                    if now - sampled_at > _WAITING_FOR_A_SERVER * fair:
                        self._add_thread()
                    sampled, sampled_at, busy_at = 0, now, busy
        finally:
            self.done.put(batch)
            self.done.put(None)


def run_all(
    items: Iterable[T],
    work: Callable[[T], R],
    on_done: Callable[[T, R], None],
    *,
    workers: int,
    cancelled: threading.Event,
) -> list[tuple[T, Exception]]:
    """Calls ``work`` on every item, in up to ``workers`` threads, and ``on_done`` here for each success.

    The rest is left undone once an error makes it hopeless, after a hundred failures, or when ``cancelled`` is set. An
    interrupt of the calling thread sets ``cancelled``. Then workers that do not end within two seconds are left behind.

    Returns:
        the items that failed, each with its error.
    """
    run = _Run(items, work, workers)
    failed: list[tuple[T, Exception]] = []

    def take(batch: list[tuple[T, R | None, Exception | None]]) -> None:
        for item, result, error in batch:
            if error is None:
                on_done(item, result)  # type: ignore[arg-type]
                continue
            failed.append((item, error))
            if is_hopeless(error) or len(failed) >= MOST_FAILURES:
                run.stopped = True

    try:
        run.start()
        for batch in run.batches(cancelled):
            take(batch)
    except BaseException:
        cancelled.set()
        for batch in run.batches(cancelled):
            take(batch)
        raise
    return failed
