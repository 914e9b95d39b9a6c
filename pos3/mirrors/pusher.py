"""The pushes of one mirror: in the background, when they are asked for, and at its end."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection

from pos3.errors import PushTimeoutError, StoreError, TransferCancelledError, TransferError, UnsafeKeysError
from pos3.jobs import Job, Registration, settle
from pos3.local import call_within
from pos3.mirrors.components import Parts
from pos3.mirrors.parallel_pushes import STOP_SECONDS, side_by_side
from pos3.mirrors.schedule import Schedule
from pos3.transfer import OpenProgress, Terms

logger = logging.getLogger("pos3")


class Pusher:
    """Safe to use from several threads. A forked child pushes nothing.

    Args:
        lock: under which the mirror begins to end, so that nothing begins to be pushed unseen at that moment.
        check_open: raises NoMirrorError when the mirror is not open any more.
        background_progress: how background pushes show that they go on.
        max_workers: how many registrations are pushed side by side at most.
        pid: of the process that opened the mirror.
    """

    def __init__(
        self,
        parts: Parts,
        lock: threading.RLock,
        check_open: Callable[[], None],
        background_progress: OpenProgress,
        max_workers: int,
        pid: int,
    ):
        self._parts = parts
        self._check_open = check_open
        self._background_progress = background_progress
        self._max_workers = max_workers
        self._schedule = Schedule()
        self._lock = lock
        self._pid = pid
        self.due: set[Registration] = set()
        """What the end still has to push: if it fails or is interrupted, the journal keeps it."""

    @property
    def _is_of_a_child(self) -> bool:
        return os.getpid() != self._pid

    def pushing(self) -> list[Job]:
        """What is registered for upload and has begun, in the order of registration."""
        return self._parts.registrations.pushing()

    # In the background

    def begin(self, job: Job) -> None:
        """From here on, the end of the mirror pushes the job, and so do background pushes if it has an interval."""
        if self._is_of_a_child:
            return
        entry = job.noted()
        with self._lock:
            # One that has begun to end would not push it.
            self._check_open()
            job.has_begun = True
        # A sync is noted only now: what an unfinished download left here is nothing to push.
        self._parts.journal.note(entry)
        interval_seconds = job.request.interval
        if interval_seconds is not None:

            def push() -> None:
                # Another call may have asked for a shorter interval since.
                if self._is_open() and job.request.interval == interval_seconds:
                    self._push_quietly(job)

            self._schedule.every(interval_seconds, push)

    def join(self, job: Job, merged: Registration) -> None:
        """Another call has asked for the same pushes: the shorter interval and the safer flag hold from now on."""
        before, job.registration = job.registration, merged
        if before == merged:
            return
        if before.request.interval != merged.request.interval:
            self.begin(job)
        else:
            self._parts.journal.note(job.noted())

    def _is_open(self) -> bool:
        try:
            self._check_open()
        except Exception:  # noqa: BLE001 - the reason does not matter here
            return False
        return True

    def _push_quietly(self, job: Job) -> None:
        try:
            self._parts.runner.run(job, Job.push, self._background_progress)
            job.failed_pushes.clear()
            job.told_failures = frozenset()
        except TransferCancelledError:
            # Stopped by ourselves, at the mirror's end.
            pass
        except UnsafeKeysError as error:
            # The others were pushed. Every push finds such names anew, so they are told once.
            if str(error) not in map(str, job.failed_pushes):
                logger.warning("background push of %s: %s", job, error)
            job.failed_pushes[:] = [error]
        except Exception as error:  # noqa: BLE001 - kept for the mirror's end
            job.failed_pushes.append(error)
            told = _local_failures(error)
            # What is wrong with the files themselves stays wrong: it is said once, and not at each interval.
            level = logging.DEBUG if told and told <= job.told_failures else logging.WARNING
            job.told_failures = told
            logger.log(level, "background push of %s failed (%d in a row): %s", job, len(job.failed_pushes), error)

    def end_background(self, *, at_once: bool) -> None:
        """Lets no further background push begin. The one that runs is waited for, or with ``at_once`` stopped."""
        runner = self._parts.runner
        if at_once:
            runner.stop_running()
        try:
            self._schedule.stop(timeout_seconds=STOP_SECONDS if at_once else None)
        except BaseException:
            # An interrupt ends the waiting; the push must not be left to die in the middle of it.
            runner.stop_running()
            self._schedule.stop(timeout_seconds=STOP_SECONDS)
            raise

    # When they are asked for

    def flush(self, jobs: list[Job], timeout_seconds: float | None) -> None:
        """Pushes what has changed, and returns when it is in the store.

        Raises:
            PushTimeoutError: it has not ended in time, and goes on.
            TransferError: some files failed; the others were pushed.
        """
        failures: list[Exception] = []

        def push() -> None:
            failures.extend(self._each(jobs, Job.push))

        if timeout_seconds is None:
            push()
        else:
            self._within(timeout_seconds, push, f"the push of {', '.join(map(str, jobs))}")
        raise_any(failures)

    def push_additions(self, urls: Collection[str]) -> None:
        """Pushes what is new or has changed at the registrations with these URLs, and deletes nothing.

        Raises:
            TransferError: some files failed; the others were pushed.
        """
        jobs = [job for job in self.pushing() if str(job.registration.location) in urls]
        raise_any(self._each(jobs, Job.push_additions))

    def _each(self, jobs: list[Job], work: Callable[[Job, Terms], object]) -> list[Exception]:
        """Does the work for every job; one that fails does not keep the others from theirs."""
        failures = []
        for job in jobs:
            try:
                self._parts.runner.run(job, work)
            except Exception as failure:  # noqa: BLE001 - returned to the caller
                failures.append(failure)
        return failures

    def _within(self, timeout_seconds: float, call: Callable[[], object], what: str) -> None:
        began = time.monotonic()
        goes_on = "it goes on"

        def push_here() -> None:
            nonlocal goes_on
            goes_on = "it was stopped"
            with self._parts.runner.deadline(timeout_seconds):
                call()

        if not call_within(timeout_seconds, call, "pos3-flush", instead=push_here):
            raise PushTimeoutError(f"{what} did not end within {time.monotonic() - began:.0f} s; {goes_on}")

    # At the end

    def push_finally(self, jobs: list[Job], check: Callable[[], None], *, delete: bool) -> list[Exception]:
        """The full push of each job, several side by side; returns the failures, in the order of the jobs.

        Jobs whose local paths or places nest are pushed one after the other, in the order of their registration; the
        others in no particular order.

        Args:
            check: called before each push; what it raises is that job's failure.
        """
        pushed: list[Registration] = []

        def push(job: Job, terms: Terms) -> None:
            # Here, where whoever stops all transfers knows of this one already.
            check()
            job.push_finally(terms, delete=delete)
            self.due.discard(job.registration)
            pushed.append(job.registration)

        def run(job: Job) -> None:
            self._parts.runner.run(job, push)

        failures = side_by_side(jobs, run, self._max_workers, self._parts.runner.stop_running)
        settle(self._parts.cache_root, pushed)
        return failures

    def push_everything(self, check: Callable[[], None], *, delete: bool = True) -> None:
        """The full push of all that is registered for upload.

        Raises:
            TransferError: some of it failed.
        """
        jobs = self.pushing()
        raise_any(self.push_finally(jobs, check, delete=delete))
        for job in jobs:
            job.failed_pushes.clear()


def raise_any(failures: list[Exception]) -> None:
    if failures:
        raise _combined(failures) from failures[0]


def _local_failures(error: Exception) -> frozenset[str]:
    """The texts of failures that all come from local files; none if anything else is among them."""
    failures = error.failures if isinstance(error, TransferError) else [error]
    if any(isinstance(failure, StoreError) or not isinstance(failure, OSError) for failure in failures):
        return frozenset()
    return frozenset(map(str, failures))


def _combined(failures: list[Exception]) -> Exception:
    """One exception for several: the only one as it is, or a TransferError that holds all."""
    if len(failures) == 1:
        return failures[0]
    flat: list[BaseException] = []
    for failure in failures:
        flat += failure.failures if isinstance(failure, TransferError) else [failure]
    return TransferError("Upload", flat)
