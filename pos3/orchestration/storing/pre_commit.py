"""Pushes that take place before the record of a persisted result is committed.

A task whose result is persisted may never run again: the next run, or the next start of this run, finds its record and
takes the result. So the files that the task has written must be stored before the record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import replace
from typing import Any

import pos3
from pos3.orchestration.storing.registration_log import NoRun, OtherProcess, RegistrationLog
from pos3.orchestration.storing.shared_pushes import SharedPushes
from pos3.orchestration.storing.task_data import RegisteredUpload, TaskData

Metadata = Mapping[str, Mapping[str, Any]]


class PreCommitPushes:
    """The pushes of one mirror for which results wait. They delete nothing.

    Task runs that wait for the same upload share its next push, so at most one push runs and one waits.

    Args:
        materialized: is called with the assets of a task run when they are pushed, and returns their metadata.
    """

    def __init__(
        self,
        mirror: pos3.Mirror,
        registration_log: RegistrationLog,
        materialized: Callable[[Collection[str]], Metadata] = lambda assets: {},
    ):
        self._mirror = mirror
        self._materialized = materialized
        self._registration_log = registration_log
        self._lock = threading.Lock()
        self._shared_pushes: dict[str, SharedPushes] = {}
        self._submitted: list[Collection[Any]] = []

    def expect(self, futures: Collection[Any]) -> None:
        """Adds futures of submitted task runs. A push waits a moment for the task runs that have not ended."""
        with self._lock:
            self._submitted.append(futures)

    def registered_uploads(self) -> tuple[RegisteredUpload, ...]:
        """The uploads that the mirror has registered."""
        return self._mirror._pushed_places()

    def ensure_stored_for_run(self, holder: Hashable, task_data: TaskData) -> Metadata:
        """Returns when the uploads that a task run or subflow run of this process uses are stored.

        The result is the metadata of its assets.

        Raises:
            TransferError: some files failed.
            NoMirrorError: the mirror is closed.
        """
        if task_data.leaves_record:
            task_data = self._with_registrations(holder, task_data)
            self.ensure_stored(
                task_data.used_urls(self.registered_uploads())
                | self._registration_log.urls_of(NoRun.THREAD, *OtherProcess)
            )
        else:
            self.ensure_stored(task_data.used_urls(self.registered_uploads()))
        return self._materialized(task_data.assets) if task_data.assets else {}

    def _with_registrations(self, holder: Hashable, task_data: TaskData) -> TaskData:
        own = self._registration_log.urls_of(holder)
        return replace(task_data, registered=task_data.registered | own)

    def ensure_stored_for_other_process(
        self, urls: Collection[str], assets: Collection[str], leaves_record: bool
    ) -> Metadata:
        """Does the same for a task run of another process, which knows the URLs of the uploads that it uses."""
        doubtful = self._registration_log.urls_of(OtherProcess.NESTED_TASK) if leaves_record else set()
        self.ensure_stored({*urls, *doubtful})
        return self._materialized(assets) if assets else {}

    def ensure_stored(self, urls: Collection[str]) -> None:
        """Returns when the uploads with these URLs are stored.

        Raises:
            As for :meth:`ensure_stored_for_run`.
        """
        shared_pushes = [self._shared_pushes_of(url) for url in sorted(urls)]
        joined = [each.join() for each in shared_pushes]
        leading = [ticket for ticket in joined if ticket.is_leader]
        try:
            for ticket in leading:
                ticket.carry_out()
        finally:
            for ticket in leading:
                ticket.abandon()
        failures: list[Exception] = []
        for ticket in joined:
            try:
                ticket.wait()
            except Exception as failure:  # noqa: BLE001 - the other places are waited for first
                failures.append(failure)
        if failures:
            raise failures[0]

    def _shared_pushes_of(self, url: str) -> SharedPushes:
        with self._lock:
            shared_pushes = self._shared_pushes.get(url)
            if shared_pushes is None:
                shared_pushes = self._shared_pushes[url] = SharedPushes(self._push_of(url), self._count_submitted)
            return shared_pushes

    def _push_of(self, url: str) -> Callable[[], object]:
        return lambda: self._mirror._push_additions({url})

    def _count_submitted(self) -> int:
        with self._lock:
            return sum(map(len, self._submitted))
