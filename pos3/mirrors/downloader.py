"""The downloads of one mirror: a local path is claimed, filled, and let go again."""

from __future__ import annotations

import os
from collections.abc import Callable

from pos3.errors import IncompleteSetError, RemoteNotFoundError
from pos3.jobs import Closed, Job, Registration
from pos3.mirrors.components import Parts


class Fetcher:
    """Safe to use from several threads.

    Args:
        check_open: raises NoMirrorError when the mirror is not open any more.
    """

    def __init__(self, parts: Parts, check_open: Callable[[], None]):
        self._parts = parts
        self._check_open = check_open

    def download(self, job: Job, *, missing_ok: bool, adopt: bool) -> None:
        """Downloads, and claims the local path only for as long as that takes. The job stays in use."""
        self._parts.claim(job, self._check_open)
        job.begin_use()
        try:
            self.fetch(job, missing_ok=missing_ok, adopt=adopt)
        finally:
            job.held.end()

    def fill(self, wanted: Registration) -> None:
        """Downloads once, without a registration of its own."""
        job = self._parts.job(wanted)
        self._parts.claim(job, self._check_open)
        try:
            self.fetch(job, missing_ok=True, adopt=False)
        finally:
            job.end_use()

    def is_closed(self, job: Job) -> bool:
        """Whether another open mirror uploads from just this path, so that nothing is to be added to it."""
        local = os.path.realpath(job.registration.local)
        return any(isinstance(guard, Closed) and guard.local == local for guard in job.find_guards())

    def fetch(self, job: Job, *, missing_ok: bool, adopt: bool) -> None:
        """Downloads into a path that is claimed already."""
        make_room = self._parts.room.make
        try:
            self._parts.runner.run(job, lambda job, terms: job.download(terms, adopt=adopt, make_room=make_room))
        except RemoteNotFoundError as error:
            if not missing_ok or isinstance(error, IncompleteSetError):
                raise
            # The bucket must exist all the same; only what lies in it may be missing.
            job.take_stock()
            job.failure = ""
            job.prepare_local()
