"""Runs the transfers of one mirror: on shared terms, counted together, and all of them stoppable at once."""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pos3.errors import StoreError, TransferCancelledError, TransferError, UnsafeKeysError
from pos3.jobs.link import Link
from pos3.jobs.observer import Observer
from pos3.jobs.schedule import Schedule
from pos3.local import StopAt
from pos3.reports import Report
from pos3.transfer import OpenProgress, Rate, Terms, silent

logger = logging.getLogger("pos3")
# Enough for workers to be left behind, and for what they had begun to be taken back.
_STOP_SECONDS = 6.0

Job = Callable[[Link, Terms], object]


class Engine:
    """Safe to use from several threads."""

    def __init__(
        self,
        workers: int,
        rate: Rate,
        open_progress: OpenProgress,
        observer: Observer,
        open_background_progress: OpenProgress = silent,
    ):
        self._workers = workers
        self._rate = rate
        self._open_progress = open_progress
        self._observer = observer
        self._open_background_progress = open_background_progress
        self._lock = threading.Lock()
        self._total = Report()
        self._running: set[threading.Event] = set()
        self._schedule = Schedule()
        self._stop_at = math.inf

    def after_fork(self) -> Engine:
        """The engine of a forked child: nothing runs in it, and no lock is held by a thread left behind."""
        return Engine(
            self._workers,
            self._rate,
            self._open_progress,
            self._observer,
            self._open_background_progress,
        )

    @property
    def total(self) -> Report:
        with self._lock:
            return self._total

    def run(self, link: Link, job: Job, open_progress: OpenProgress | None = None) -> None:
        """Does one job and counts what it moves. Whatever it raises passes."""
        cancelled = StopAt(lambda: self._stop_at)
        with self._lock:
            self._running.add(cancelled)
        show = open_progress or self._open_progress
        count = functools.partial(self._count, link)
        try:
            job(link, Terms(self._workers, self._rate, show, cancelled, link.owner, count))
            link.failure = ""
        except Exception as failure:
            link.failure = str(failure)
            raise
        finally:
            with self._lock:
                self._running.discard(cancelled)

    def _count(self, link: Link, report: Report) -> None:
        report = link.counted(report)
        with self._lock:
            self._total += report
        if report.is_empty:
            return
        try:
            self._observer.transferred(link.registration.kind, str(link.registration.location), report)
        except Exception:
            # What has been moved has been moved, whatever others make of it.
            logger.exception("the observer of %s has failed", link)

    def run_each(self, links: list[Link], job: Job) -> list[Exception]:
        """Does the job for every link; one that fails does not keep the others from theirs. Returns the failures."""
        failures: list[Exception] = []
        for link in links:
            try:
                self.run(link, job)
            except Exception as failure:  # noqa: BLE001 - returned to the caller
                failures.append(failure)
        return failures

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

    # Background pushes

    def push_every(self, interval_seconds: float, link: Link, may_push: Callable[[], bool]) -> None:
        """Pushes what has changed, one interval from now and then again and again, while ``may_push`` says so."""

        def push() -> None:
            if may_push():
                self._push_quietly(link)

        self._schedule.every(interval_seconds, push)

    def _push_quietly(self, link: Link) -> None:
        try:
            self.run(link, Link.push, self._open_background_progress)
            link.failed_pushes.clear()
            link.told_failures = frozenset()
        except TransferCancelledError:
            # Stopped by ourselves, at the mirror's end.
            pass
        except UnsafeKeysError as error:
            # The others were pushed. Every push finds such names anew, so they are told once.
            if str(error) not in map(str, link.failed_pushes):
                logger.warning("background push of %s: %s", link, error)
            link.failed_pushes[:] = [error]
        except Exception as error:  # noqa: BLE001 - kept for the mirror's end
            link.failed_pushes.append(error)
            told = _local_failures(error)
            # What is wrong with the files themselves stays wrong: it is said once, and not at each interval.
            level = logging.DEBUG if told and told <= link.told_failures else logging.WARNING
            link.told_failures = told
            logger.log(level, "background push of %s failed (%d in a row): %s", link, len(link.failed_pushes), error)

    def end_pushes(self, *, at_once: bool) -> None:
        """Lets no further background push begin. The one that runs is waited for, or with ``at_once`` stopped."""
        if at_once:
            self.stop_running()
        try:
            self._schedule.stop(timeout_seconds=_STOP_SECONDS if at_once else None)
        except BaseException:
            # An interrupt ends the waiting; the push must not be left to die in the middle of it.
            self.stop_running()
            self._schedule.stop(timeout_seconds=_STOP_SECONDS)
            raise


def _local_failures(error: Exception) -> frozenset[str]:
    """The texts of failures that all come from local files; none if anything else is among them."""
    failures = error.failures if isinstance(error, TransferError) else [error]
    if any(isinstance(failure, StoreError) or not isinstance(failure, OSError) for failure in failures):
        return frozenset()
    return frozenset(map(str, failures))
