"""Pushes for one mirror: in the background, on request, and at its end."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from pos3.errors import (
    OfflineError,
    PushTimeoutError,
    StoreError,
    TransferCancelledError,
    TransferError,
    UnsafeKeysError,
)
from pos3.filters import as_patterns, matcher
from pos3.jobs import Job, Registration, check_nothing_unpushed, remove_pushed_entries
from pos3.local import call_within
from pos3.mirrors.components import Components
from pos3.mirrors.parallel_pushes import STOP_SECONDS, push_in_parallel
from pos3.mirrors.schedule import Schedule
from pos3.mirrors.watcher import Watcher
from pos3.transfer import OpenProgress, Terms

logger = logging.getLogger("pos3")


class Pusher:
    """The pusher of one mirror. It may be used from several threads. A forked child pushes nothing.

    Args:
        lock: the mirror holds it when it begins to end, so that no registration is added unseen at that moment.
        check_open: raises NoMirrorError if the mirror is not open any more.
        background_progress: the progress of background pushes.
        max_workers: the maximum number of registrations that are pushed in parallel.
        pid: the process that opened the mirror.
    """

    def __init__(
        self,
        components: Components,
        lock: threading.RLock,
        check_open: Callable[[], None],
        background_progress: OpenProgress,
        max_workers: int,
        pid: int,
    ):
        self._components = components
        self._check_open = check_open
        self._background_progress = background_progress
        self._max_workers = max_workers
        self._schedule = Schedule()
        self._watcher = Watcher(self._push_changed)
        self._lock = lock
        self._pid = pid
        self.unpushed: set[Registration] = set()
        """The registrations that the end of the mirror still has to push. If that fails, they stay in the journal."""
        self.kept_offline: set[Registration] = set()
        """Those whose last push could not reach the store, and which have something to push."""

    @property
    def _is_forked_child(self) -> bool:
        return os.getpid() != self._pid

    def pushing(self) -> list[Job]:
        """The jobs that are registered for upload and have begun, in the order of registration."""
        return self._components.registrations.pushing()

    # In the background

    def begin(self, job: Job) -> None:
        """From now on, the end of the mirror pushes the job, and background pushes do so if it has an interval."""
        if self._is_forked_child:
            return
        entry = job.journal_entry()
        with self._lock:
            # A mirror that has begun to end would not push the job.
            self._check_open()
            job.has_begun = True
        # A sync is added only now, because the files of an unfinished download must not be pushed.
        self._components.journal.add(entry)
        interval_seconds = job.request.interval
        if interval_seconds is not None:

            def push() -> None:
                # Another call may have set a shorter interval meanwhile.
                if self._is_open() and job.request.interval == interval_seconds:
                    self._push_in_background(job)

            self._schedule.every(interval_seconds, push)
        if job.request.watch:
            self.watch(job)

    def watch(self, job: Job) -> None:
        """From now on, files of the job are pushed as soon as they have been written."""
        if not self._is_forked_child:
            self._watcher.watch(job)

    def join(self, job: Job, merged: Registration) -> None:
        """Gives a job the request that merges it with another call for the same pushes."""
        before, job.registration = job.registration, merged
        if before == merged:
            return
        if before.request.interval != merged.request.interval:
            self.begin(job)
        else:
            self._components.journal.add(job.journal_entry())
            if merged.request.watch:
                self.watch(job)

    def _is_open(self) -> bool:
        try:
            self._check_open()
        except Exception:  # noqa: BLE001 - the reason does not matter here
            return False
        return True

    def _push_in_background(self, job: Job) -> None:
        if self._try_to_push(job, Job.push):
            job.failed_pushes.clear()
            job.logged_failures = frozenset()

    def _push_changed(self, job: Job, paths: Collection[str]) -> None:
        """Pushes the files at these paths. A file that comes after all others is pushed with all others."""
        if not self._is_open():
            return
        is_last = matcher(as_patterns(job.request.upload_last, "upload_last"))
        if any(map(is_last, paths)):
            self._try_to_push(job, Job.push_additions)
        else:
            self._try_to_push(job, lambda job, terms: job.push_named(paths, terms))

    def _try_to_push(self, job: Job, work: Callable[[Job, Terms], object]) -> bool:
        """Pushes in the background, and returns whether that went well. A failure is logged."""
        try:
            self._push(job, lambda: self._components.runner.run(job, work, self._background_progress))
            return True
        except OfflineError as error:
            # It was logged once that the store cannot be reached.
            logger.debug("background push: %s", error)
        except TransferCancelledError:
            # The end of the mirror has stopped the push.
            pass
        except UnsafeKeysError as error:
            # All other files were pushed. Every push finds such names again, so they are logged once.
            if str(error) not in map(str, job.failed_pushes):
                logger.warning("background push of %s: %s", job, error)
            job.failed_pushes[:] = [error]
        except Exception as error:  # noqa: BLE001 - the end of the mirror tells it
            job.failed_pushes.append(error)
            failures = _local_failures(error)
            # A local file that cannot be pushed fails at each interval, so it is logged once.
            level = logging.DEBUG if failures and failures <= job.logged_failures else logging.WARNING
            job.logged_failures = failures
            logger.log(level, "background push of %s failed (%d in a row): %s", job, len(job.failed_pushes), error)
        return False

    def _push(self, job: Job, push: Callable[[], None]) -> bool:
        """Pushes a job. Returns whether the store was asked; without the network, it need not be if all is pushed.

        Raises:
            OfflineError: the store cannot be reached, and something is kept.
        """

        def pushed() -> bool:
            push()
            return True

        def kept(reason: str) -> bool:
            check_nothing_unpushed(job, reason)
            return False

        return self._components.network.ask(job.store.endpoint, pushed, kept)

    def push_if_reachable(self, job: Job) -> None:
        """Pushes a job, unless the store cannot be reached. Then it is pushed later.

        Raises:
            TransferError: some files failed; the others were pushed.
        """
        with suppress(OfflineError):
            self._push(job, lambda: self._components.runner.run(job, Job.push))

    def end_background(self, *, at_once: bool) -> None:
        """Prevents further background pushes. It waits for a running one, or stops it with ``at_once``."""
        runner = self._components.runner
        if at_once:
            runner.stop_running()
        try:
            self._schedule.stop(timeout_seconds=STOP_SECONDS if at_once else None)
            self._watcher.stop(timeout_seconds=STOP_SECONDS if at_once else None)
        except BaseException:
            # An interrupt has ended the waiting. The process must not end in the middle of the push.
            runner.stop_running()
            self._schedule.stop(timeout_seconds=STOP_SECONDS)
            self._watcher.stop(timeout_seconds=STOP_SECONDS)
            raise

    # On request

    def flush(self, jobs: list[Job], timeout_seconds: float | None) -> None:
        """Pushes the changes of these jobs, and returns when they are in the store.

        Raises:
            PushTimeoutError: the pushes have not ended in time, and go on.
            TransferError: some files failed; the others were pushed.
        """
        failures: list[Exception] = []

        def push() -> None:
            failures.extend(self._run_each(jobs, Job.push))

        if timeout_seconds is None:
            push()
        else:
            self._run_within(timeout_seconds, push, f"the push of {', '.join(map(str, jobs))}")
        raise_any(failures)

    def push_additions(self, urls: Collection[str]) -> None:
        """Pushes new and changed files of the registrations with these URLs, and deletes nothing.

        Raises:
            TransferError: some files failed; the others were pushed.
        """
        jobs = [job for job in self.pushing() if str(job.registration.location) in urls]
        raise_any(self._run_each(jobs, Job.push_additions))

    def _run_each(self, jobs: list[Job], work: Callable[[Job, Terms], object]) -> list[Exception]:
        """Does the work for every job, also if others fail, and returns the failures."""
        failures = []
        for job in jobs:
            try:
                self._push(job, functools.partial(self._components.runner.run, job, work))
            except Exception as failure:  # noqa: BLE001 - returned to the caller
                failures.append(failure)
        return failures

    def _run_within(self, timeout_seconds: float, call: Callable[[], object], what: str) -> None:
        began = time.monotonic()
        consequence = "it goes on in the background"

        def push_in_this_thread() -> None:
            nonlocal consequence
            consequence = "it was stopped. Another flush() goes on with the rest"
            with self._components.runner.deadline(timeout_seconds):
                call()

        if not call_within(timeout_seconds, call, "pos3-flush", instead=push_in_this_thread):
            raise PushTimeoutError(f"{what} did not end within {time.monotonic() - began:.0f} s; {consequence}")

    # At the end

    def push_finally(self, jobs: list[Job], check: Callable[[], None], *, delete: bool) -> list[Exception]:
        """Pushes each job with a full comparison, several in parallel. Returns the failures, in the order of the jobs.

        Jobs with nested local paths or URLs are pushed one after the other, in the order of registration. The others
        have no particular order.

        Args:
            check: called before each push. If it raises, that is the failure of the job.
        """
        pushed: list[Registration] = []

        def push(job: Job, terms: Terms) -> None:
            # The check comes inside the run: from here on, stop_running() stops this push as well.
            check()
            job.push_finally(terms, delete=delete)

        def run(job: Job) -> None:
            try:
                was_asked = self._push(job, lambda: self._components.runner.run(job, push))
            except OfflineError:
                self.kept_offline.add(job.registration)
                raise
            self.kept_offline.discard(job.registration)
            self.unpushed.discard(job.registration)
            if was_asked:
                pushed.append(job.registration)

        self._components.network.try_again()

        failures = push_in_parallel(jobs, run, self._max_workers, self._components.runner.stop_running)
        remove_pushed_entries(self._components.cache_root, pushed)
        return failures

    def push_everything(self, check: Callable[[], None], *, delete: bool = True, may_keep: bool = False) -> None:
        """Pushes everything that is registered for upload, with a full comparison.

        Args:
            may_keep: whether what cannot be pushed because the store cannot be reached is only logged.

        Raises:
            TransferError: some files failed.
        """
        jobs = self.pushing()
        failures = self.push_finally(jobs, check, delete=delete)
        raise_any(without_kept(failures) if may_keep else failures)
        for job in jobs:
            job.failed_pushes.clear()


def without_kept(failures: list[Exception]) -> list[Exception]:
    """The failures without those of pushes that are kept because the store cannot be reached. These are logged."""
    for failure in failures:
        if isinstance(failure, OfflineError):
            logger.warning("%s", failure)
    return [failure for failure in failures if not isinstance(failure, OfflineError)]


def raise_any(failures: list[Exception]) -> None:
    """Raises the failures as one exception, if there are any."""
    if failures:
        raise _combined(failures) from failures[0]


def _local_failures(error: Exception) -> frozenset[str]:
    """The texts of the failures if all of them come from local files, else nothing."""
    failures = error.failures if isinstance(error, TransferError) else [error]
    if any(isinstance(failure, StoreError) or not isinstance(failure, OSError) for failure in failures):
        return frozenset()
    return frozenset(map(str, failures))


def _combined(failures: list[Exception]) -> Exception:
    """A single failure as it is, or a TransferError that holds all failures."""
    if len(failures) == 1:
        return failures[0]
    flat: list[BaseException] = []
    for failure in failures:
        flat += failure.failures if isinstance(failure, TransferError) else [failure]
    return TransferError("Upload", flat)
