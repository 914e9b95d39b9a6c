"""Downloads for one mirror: it claims the local path, downloads, and ends the claim."""

from __future__ import annotations

import os
from collections.abc import Callable

from pos3.errors import IncompleteSetError, RemoteNotFoundError
from pos3.jobs import DeletingUpload, Job, Registration, check_synced, take_cached
from pos3.mirrors.components import Components


class Downloader:
    """The downloader of one mirror. It may be used from several threads.

    Args:
        check_open: raises NoMirrorError if the mirror is not open any more.
    """

    def __init__(self, components: Components, check_open: Callable[[], None]):
        self._components = components
        self._check_open = check_open

    def download(self, job: Job, *, missing_ok: bool, adopt: bool) -> None:
        """Downloads, and claims the local path only meanwhile. Afterwards, the path stays protected from eviction."""
        self._components.claim_path(job, self._check_open)
        job.begin_use()
        try:
            self.download_claimed(job, missing_ok=missing_ok, adopt=adopt)
        finally:
            job.active_claim.end()

    def download_unregistered(self, registration: Registration) -> None:
        """Downloads once, and keeps no registration."""
        job = self._components.make_job(registration)
        self._components.claim_path(job, self._check_open)
        try:
            self.download_claimed(job, missing_ok=True, adopt=False)
        finally:
            job.end_use()

    def begin_sync(self, job: Job, *, is_surveyed: bool, adopt: bool) -> None:
        """The download with which a sync begins, into a path that is claimed already.

        Args:
            is_surveyed: whether the store could be reached. If not, an earlier sync must have brought everything.

        Raises:
            OfflineError: it cannot be reached, and no earlier sync was complete.
        """
        if not is_surveyed:
            check_synced(job, self._components.network.reason(job.store.endpoint))
        elif self._has_deleting_upload(job):
            return
        elif job.first_survey().is_object or job.first_survey().is_prefix:
            self.download_claimed(job, missing_ok=True, adopt=adopt)
        else:
            job.note_complete()

    def _has_deleting_upload(self, job: Job) -> bool:
        """Whether another open upload with deletes has this very path, so that nothing may be added to it."""
        local = os.path.realpath(job.registration.local)
        return any(isinstance(writer, DeletingUpload) and writer.local == local for writer in job.find_writers())

    def download_claimed(self, job: Job, *, missing_ok: bool, adopt: bool) -> None:
        """Downloads into a path that is claimed already. Without the network, the cache must hold everything."""
        components = self._components

        def take_from_cache(reason: str) -> None:
            try:
                components.runner.run(job, lambda job, terms: take_cached(job, components.cache_root, reason, terms))
            except RemoteNotFoundError:
                if not missing_ok:
                    raise
                job.failure = ""
                job.prepare_local()

        components.network.ask(
            job.store.endpoint, lambda: self._download(job, missing_ok=missing_ok, adopt=adopt), take_from_cache
        )

    def _download(self, job: Job, *, missing_ok: bool, adopt: bool) -> None:
        ensure_space = self._components.disk_space.ensure
        try:
            self._components.runner.run(
                job, lambda job, terms: job.download(terms, adopt=adopt, ensure_space=ensure_space)
            )
        except RemoteNotFoundError as error:
            if not missing_ok or isinstance(error, IncompleteSetError):
                raise
            # Objects may be missing, but not the bucket: this raises if it is.
            job.first_survey()
            job.failure = ""
            job.prepare_local()
