"""Runs final pushes in parallel, in several threads, if they do not depend on each other."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable

from pos3.jobs import Job
from pos3.local import try_start

logger = logging.getLogger("pos3")

_LOG_INTERVAL_SECONDS = 5.0
# This is enough to abandon the workers of a transfer, and to abort the uploads that they had begun.
STOP_SECONDS = 6.0


def push_in_parallel(
    jobs: list[Job], push: Callable[[Job], None], max_workers: int, stop: Callable[[], None]
) -> list[Exception]:
    """Pushes each job, also if others fail. Returns the failures, in the order of the jobs.

    Jobs with nested local paths or URLs are pushed one after the other, in their order. Every few seconds, the log says
    how many pushes are done.

    Args:
        max_workers: the maximum number of pushes at the same time.
        stop: makes the running pushes end soon. It is called if this call is interrupted.
    """
    work = _Work(_dependent_groups(jobs), push)
    threads = [
        threading.Thread(
            target=contextvars.copy_context().run, args=(work.run_in_thread,), name="pos3-end", daemon=True
        )
        for _ in range(min(max_workers, len(work.waiting)) - 1)
    ]
    started = [thread for thread in threads if try_start(thread)]
    try:
        # This thread works as well. Perhaps no other can be started, and an interrupt reaches a push in it at once.
        work.run()
        for thread in started:
            work.wait_for(thread)
        work.raise_thread_exception()
    except BaseException:
        work.stop()
        stop()
        stop_at = time.monotonic() + STOP_SECONDS
        for thread in started:
            thread.join(max(0.0, stop_at - time.monotonic()))
        raise
    return [work.failures[job] for job in jobs if job in work.failures]


def _dependent_groups(jobs: list[Job]) -> list[list[Job]]:
    """The jobs in groups that do not depend on each other. Each group is in the order of registration."""
    parent = list(range(len(jobs)))

    def root(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    for paths in (_local_paths(jobs), _urls(jobs)):
        # In sorted order, the paths below a path come directly after it.
        ancestors: list[tuple[str, int]] = []
        for path, number in sorted(paths):
            while ancestors and not path.startswith(ancestors[-1][0]):
                ancestors.pop()
            if ancestors:
                parent[root(number)] = root(ancestors[-1][1])
            ancestors.append((path, number))
    groups: dict[int, list[Job]] = {}
    for number, job in enumerate(jobs):
        groups.setdefault(root(number), []).append(job)
    return list(groups.values())


def _local_paths(jobs: list[Job]) -> list[tuple[str, int]]:
    return [(f"{job.registration.local}/", number) for number, job in enumerate(jobs)]


def _urls(jobs: list[Job]) -> list[tuple[str, int]]:
    """The URLs without their profiles, because two profiles may lead to one bucket."""
    return [(f"{job.registration.location}/", number) for number, job in enumerate(jobs)]


class _Work:
    """The groups that wait for their pushes, and the failures of the pushes that are done."""

    def __init__(self, groups: list[list[Job]], push: Callable[[Job], None]):
        self.waiting = groups[::-1]
        self.failures: dict[Job, Exception] = {}
        self._push = push
        self._count = sum(map(len, groups))
        self._done = 0
        self._is_stopped = False
        self._ended_by: BaseException | None = None
        self._lock = threading.Lock()
        self._log_at = time.monotonic() + _LOG_INTERVAL_SECONDS

    def run(self) -> None:
        """Pushes one group after the other, until none waits."""
        while True:
            with self._lock:
                if not self.waiting:
                    return
                group = self.waiting.pop()
            for job in group:
                if self._is_stopped:
                    return
                try:
                    self._push(job)
                except Exception as failure:  # noqa: BLE001 - returned to the caller
                    self.failures[job] = failure
                self._count_done()

    def run_in_thread(self) -> None:
        """As :meth:`run`, in a thread. An exception that is no failure of a push is kept for the caller's thread."""
        try:
            self.run()
        except BaseException as error:  # noqa: BLE001 - raised by raise_thread_exception
            self._ended_by = error

    def raise_thread_exception(self) -> None:
        if self._ended_by is not None:
            raise self._ended_by

    def _count_done(self) -> None:
        with self._lock:
            self._done += 1
        self._log_progress()

    def _log_progress(self) -> None:
        with self._lock:
            is_time = time.monotonic() >= self._log_at and self._done < self._count
            if is_time:
                self._log_at = time.monotonic() + _LOG_INTERVAL_SECONDS
        if is_time:
            logger.info("final pushes: %d of %d registrations are done", self._done, self._count)

    def wait_for(self, thread: threading.Thread) -> None:
        while thread.is_alive():
            thread.join(_LOG_INTERVAL_SECONDS)
            self._log_progress()

    def stop(self) -> None:
        """Prevents further pushes."""
        self._is_stopped = True
