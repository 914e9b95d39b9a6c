"""Runs the transfers of one mirror: on shared terms, counted together, and all of them stoppable at once."""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pos3.jobs.job import Job
from pos3.jobs.observer import Observer
from pos3.local import DeadlineEvent
from pos3.reports import Report
from pos3.transfer import OpenProgress, Rate, Terms

logger = logging.getLogger("pos3")

Work = Callable[[Job, Terms], object]


class Runner:
    """Safe to use from several threads."""

    def __init__(
        self,
        workers: int,
        rate: Rate,
        open_progress: OpenProgress,
        observer: Observer,
    ):
        self._workers = workers
        self._rate = rate
        self._open_progress = open_progress
        self._observer = observer
        self._lock = threading.Lock()
        self._total = Report()
        self._running: set[threading.Event] = set()
        self._stop_at = math.inf

    def after_fork(self) -> Runner:
        """The runner of a forked child: nothing runs in it, and no lock is held by a thread left behind."""
        return Runner(
            self._workers,
            self._rate,
            self._open_progress,
            self._observer,
        )

    @property
    def total(self) -> Report:
        with self._lock:
            return self._total

    def run(self, job: Job, work: Work, open_progress: OpenProgress | None = None) -> None:
        """Does one piece of work for a job, and counts what it moves. Whatever it raises passes."""
        cancelled = DeadlineEvent(lambda: self._stop_at)
        with self._lock:
            self._running.add(cancelled)
        show = open_progress or self._open_progress
        count = functools.partial(self._count, job)
        try:
            work(job, Terms(self._workers, self._rate, show, cancelled, job.owner, count))
            job.failure = ""
        except Exception as failure:
            job.failure = str(failure)
            raise
        finally:
            with self._lock:
                self._running.discard(cancelled)

    def _count(self, job: Job, report: Report) -> None:
        report = job.counted(report)
        with self._lock:
            self._total += report
        if report.is_empty:
            return
        try:
            self._observer.transferred(job.registration.kind, str(job.registration.location), report)
        except Exception:
            # What has been moved has been moved, whatever others make of it.
            logger.exception("the observer of %s has failed", job)

    def stop_running(self) -> None:
        """Makes the transfers that run now end soon, with an error."""
        with self._lock:
            for event in self._running:
                event.set()

    @contextmanager
    def deadline(self, seconds: float | None) -> Iterator[None]:
        """Stops what still runs after so many seconds, and whatever would begin inside later; None for never."""
        before = self._stop_at
        if seconds is not None:
            self._stop_at = min(before, time.monotonic() + seconds)
        try:
            yield
        finally:
            self._stop_at = before
