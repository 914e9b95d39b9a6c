"""Runs the transfers of one mirror with common limits, adds up their reports, and can stop all of them at once."""

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
from pos3.transfer import OpenProgress, Rates, Terms

logger = logging.getLogger("pos3")

Work = Callable[[Job, Terms], object]


class Runner:
    """The runner of one mirror. It may be used from several threads."""

    def __init__(
        self,
        workers: int | None,
        rates: Rates,
        open_progress: OpenProgress,
        observer: Observer,
    ):
        self._workers = workers
        self._rates = rates
        self._open_progress = open_progress
        self._observer = observer
        self._lock = threading.Lock()
        self._total = Report()
        self._running: set[threading.Event] = set()
        self._stop_at = math.inf

    def after_fork(self) -> Runner:
        """The runner of a forked child. Nothing runs in it, and its lock is free."""
        return Runner(
            self._workers,
            self._rates,
            self._open_progress,
            self._observer,
        )

    @property
    def total(self) -> Report:
        with self._lock:
            return self._total

    def run(self, job: Job, work: Work, open_progress: OpenProgress | None = None) -> None:
        """Does one piece of work for a job, and adds its report to the total. Exceptions of the work are raised."""
        cancelled = DeadlineEvent(lambda: self._stop_at)
        with self._lock:
            self._running.add(cancelled)
        show = open_progress or self._open_progress
        count = functools.partial(self._add, job)
        try:
            work(job, Terms(self._workers, self._rates, show, cancelled, job.owner, count))
            job.failure = ""
        except Exception as failure:
            job.failure = str(failure)
            raise
        finally:
            with self._lock:
                self._running.discard(cancelled)

    def _add(self, job: Job, report: Report) -> None:
        report = job.add_to_total(report)
        with self._lock:
            self._total += report
        if report.is_empty:
            return
        try:
            self._observer.transferred(job.registration.kind, str(job.registration.location), report)
        except Exception:
            # A failing observer must not fail the transfer, which has been done.
            logger.exception("the observer of %s has failed", job)

    def stop_running(self) -> None:
        """Makes the running transfers end soon, with an error."""
        with self._lock:
            for event in self._running:
                event.set()

    @contextmanager
    def deadline(self, seconds: float | None) -> Iterator[None]:
        """Stops transfers inside the block after ``seconds``, also those that begin later; None means no deadline."""
        before = self._stop_at
        if seconds is not None:
            self._stop_at = min(before, time.monotonic() + seconds)
        try:
            yield
        finally:
            self._stop_at = before
