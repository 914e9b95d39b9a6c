"""Runs one function over many items in a few threads, and can be stopped at any moment."""

from __future__ import annotations

import errno
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from pos3.errors import BucketNotFoundError, CredentialsError, EndpointError, TransferCancelledError

T = TypeVar("T")
R = TypeVar("R")

MOST_FAILURES = 100
_JOIN_SECONDS = 8.0
_HOPELESS_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}


def is_hopeless(error: BaseException) -> bool:
    """Whether the next item would fail for the same reason."""
    if isinstance(error, (BucketNotFoundError, CredentialsError, EndpointError, TransferCancelledError)):
        return True
    return isinstance(error, OSError) and error.errno in _HOPELESS_ERRNOS


class _Run(Generic[T, R]):
    def __init__(self, items: Iterable[T], work: Callable[[T], R]):
        self._items = iter(items)
        self._lock = threading.Lock()
        self._work = work
        self.stopped = False
        self.done: queue.SimpleQueue[tuple[T, R | None, Exception | None] | None] = queue.SimpleQueue()

    def loop(self) -> None:
        try:
            while not self.stopped:
                with self._lock:
                    item = next(self._items, None)
                if item is None:
                    return
                try:
                    result = self._work(item)
                except Exception as error:  # noqa: BLE001 - returned to the caller
                    self.done.put((item, None, error))
                else:
                    self.done.put((item, result, None))
        finally:
            self.done.put(None)


def run_all(
    items: Iterable[T],
    work: Callable[[T], R],
    on_done: Callable[[T, R], None],
    *,
    workers: int,
    cancelled: threading.Event,
) -> list[tuple[T, Exception]]:
    """Calls ``work`` on every item, ``workers`` at a time, and ``on_done`` in the calling thread for each success.

    The rest is left undone once an error makes it hopeless, after a hundred failures, or when ``cancelled`` is set. An
    interrupt of the calling thread sets ``cancelled``, waits for the workers a few seconds, and goes on.

    Returns:
        the items that failed, each with its error.
    """
    run = _Run(items, work)
    threads = [threading.Thread(target=run.loop, name=f"pos3-worker-{n}", daemon=True) for n in range(workers)]
    failed: list[tuple[T, Exception]] = []
    active = 0
    try:
        for thread in threads:
            thread.start()
            active += 1
        while active:
            finished = run.done.get()
            if finished is None:
                active -= 1
                continue
            item, result, error = finished
            if error is not None:
                failed.append((item, error))
                if is_hopeless(error) or len(failed) >= MOST_FAILURES:
                    run.stopped = True
            else:
                on_done(item, result)  # type: ignore[arg-type]
            if cancelled.is_set():
                run.stopped = True
    except BaseException:
        run.stopped = True
        cancelled.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join(_JOIN_SECONDS / len(threads))
        raise
    return failed
