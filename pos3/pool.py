"""Runs one function over many items in a few threads, and can be stopped at any moment."""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from pos3.errors import BucketNotFoundError, CredentialsError, EndpointError, TransferCancelledError

T = TypeVar("T")
R = TypeVar("R")

MOST_FAILURES = 100
_JOIN_SECONDS = 8.0
_HOPELESS_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}
_FIRST_WORKERS = 2
_SAMPLE_ITEMS = 4
_SAMPLE_SECONDS = 0.05
_BATCH_ITEMS = 64
_BATCH_SECONDS = 0.2
# With a smaller share of waiting, another thread would only fight for the interpreter.
_WAITING_SHARE = 0.7


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
            thread = threading.Thread(target=self._loop, name=name, daemon=True)
            self.threads.append(thread)
        thread.start()

    def _next(self) -> T | None:
        with self._lock:
            return None if self.stopped else next(self._items, None)

    def _loop(self) -> None:
        batch: list[tuple[T, R | None, Exception | None]] = []
        sent_at = sampled_at = time.monotonic()
        busy_at = time.thread_time()
        sampled = 0
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
                if sampled >= _SAMPLE_ITEMS or now - sampled_at > _SAMPLE_SECONDS:
                    busy = time.thread_time()
                    if busy - busy_at < (1 - _WAITING_SHARE) * (now - sampled_at):
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
    interrupt of the calling thread sets ``cancelled``, waits for the workers a few seconds, and goes on.

    Returns:
        the items that failed, each with its error.
    """
    run = _Run(items, work, workers)
    failed: list[tuple[T, Exception]] = []
    ended = 0
    try:
        run.start()
        while ended < len(run.threads):
            batch = run.done.get()
            if batch is None:
                ended += 1
                continue
            for item, result, error in batch:
                if error is None:
                    on_done(item, result)  # type: ignore[arg-type]
                    continue
                failed.append((item, error))
                if is_hopeless(error) or len(failed) >= MOST_FAILURES:
                    run.stopped = True
            if cancelled.is_set():
                run.stopped = True
    except BaseException:
        run.stopped = True
        cancelled.set()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in run.threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        raise
    return failed
