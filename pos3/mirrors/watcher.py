"""Watches the local paths of registrations, and has the files pushed that were written there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from pos3.jobs import Job
from pos3.local import has_temporary_name, is_within, lies_in_state, relative
from pos3.mirrors.changed_paths import ChangedPaths
from pos3.mirrors.schedule import Schedule

if TYPE_CHECKING:
    from pos3.mirrors.file_events import FileEvents

logger = logging.getLogger("pos3")

# Files that are written one after the other are pushed together.
_COLLECTING_SECONDS = 0.25


class Watcher:
    """Calls ``push`` with a job and the paths of its files that were written, one call at a time.

    What is written during a call is collected for the next one. Nothing runs before the first :meth:`watch`.
    """

    def __init__(self, push: Callable[[Job, Collection[str]], None]):
        self._push = push
        self._schedule = Schedule()
        self._lock = threading.Lock()
        self._watched: set[Job] = set()
        self._events: FileEvents | None = None
        self._told_gaps: set[str] = set()
        self._is_stopped = False

    def watch(self, job: Job) -> None:
        """Watches the local path of a job until :meth:`stop`. If that is not possible, a warning says why."""
        with self._lock:
            if self._is_stopped or job in self._watched:
                return
            self._watched.add(job)
            try:
                self._events = self._events or self._new_events()
                self._events.watch(job.registration.local, _Collector(job, self._schedule, self._push).on_change)
            except (OSError, RuntimeError) as error:
                self._tell_gap(_reason(error))

    def _new_events(self) -> FileEvents:
        # The import of watchdog takes time, and few mirrors watch.
        from pos3.mirrors.file_events import FileEvents

        return FileEvents(self._tell_gap)

    def _tell_gap(self, reason: str) -> None:
        """Logs once that some changes wait for the next push of everything."""
        if reason not in self._told_gaps:
            self._told_gaps.add(reason)
            logger.warning(
                "not all files are watched: %s. What is written there is pushed by interval, and at the end", reason
            )

    def stop(self, timeout_seconds: float | None = None) -> None:
        """Ends the watching, and waits for a running push."""
        with self._lock:
            self._is_stopped = True
            events, self._events = self._events, None
        if events is not None:
            events.stop()
        self._schedule.stop(timeout_seconds)


def _reason(error: OSError | RuntimeError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    from pos3.mirrors.file_events import reason_of

    return reason_of(error)


class _Collector:
    """Collects the changed files of one job, and pushes those that are due."""

    def __init__(self, job: Job, schedule: Schedule, push: Callable[[Job, Collection[str]], None]):
        self._job = job
        self._schedule = schedule
        self._push = push
        self._root = job.registration.local
        self._takes_part = job.request.push_filter.predicate()
        self._changed = ChangedPaths(self._root)
        self._lock = threading.Lock()
        self._is_scheduled = False

    def on_change(self, full_path: str, is_complete: bool) -> None:
        if not is_within(full_path, self._root):
            return
        path = relative(full_path, self._root)
        if has_temporary_name(path) or lies_in_state(path) or not self._takes_part(path):
            return
        self._changed.add(path, is_complete=is_complete)
        self._push_soon()

    def _push_soon(self) -> None:
        with self._lock:
            if not self._is_scheduled:
                self._is_scheduled = True
                self._schedule.once(_COLLECTING_SECONDS, self._push_due)

    def _push_due(self) -> None:
        with self._lock:
            self._is_scheduled = False
        due = self._changed.take_due()
        if due:
            self._push(self._job, due)
        if not self._changed.is_empty:
            self._push_soon()
