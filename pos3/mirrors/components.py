"""The components of one mirror, with which it makes registrations and jobs from requests."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from pos3.jobs import (
    BisyncJob,
    DiskSpace,
    Job,
    Journal,
    Observer,
    Publication,
    Registration,
    Request,
    Runner,
    check_outside_state,
    check_patterns,
    complete_job,
    local_root,
)
from pos3.local import is_below, relative
from pos3.mirrors.registrations import Registrations
from pos3.mirrors.stores import Stores
from pos3.mirrors.writer_lookup import writers_of
from pos3.state import Claims, Index, Place, RootIndex
from pos3.store import Store
from pos3.url import local_path

logger = logging.getLogger("pos3")


@dataclass(frozen=True)
class Components:
    """The objects that all calls of one mirror share.

    ``owner`` is the owner in the records of transferred files. ``parent_jobs`` returns the jobs of the parent mirror,
    if this mirror does a part of the work of another one.
    """

    cache_root: str
    owner: str
    stores: Stores
    registrations: Registrations
    runner: Runner
    journal: Journal
    claims: Claims
    disk_space: DiskSpace
    observer: Observer
    parent_jobs: Callable[[], list[Job]] = list

    @staticmethod
    def new_owner() -> str:
        return uuid.uuid4().hex

    def after_fork(self) -> Components:
        """The components of a forked child. It has no registrations, shares no connection, and all locks are free."""
        return replace(
            self,
            stores=self.stores.after_fork(),
            registrations=Registrations(),
            runner=self.runner.after_fork(),
            journal=self.journal.after_fork(),
            claims=self.claims.after_fork(),
        )

    def make_registration(self, request: Request, *, is_restored: bool = False) -> Registration:
        """The registration of a request: its URL, profile and local path are looked up and checked.

        Raises:
            InvalidArgumentError, InvalidURLError, ProfileError, UnsafeKeysError: nothing was changed.
        """
        location, profile = self.stores.resolve(str(request.address), request.profile)
        root = local_root(location, request.local, self.cache_root, profile)
        registration = Registration(request, location, profile, root, is_restored, request.within)
        check_patterns(registration, *([] if request.local is None else [local_path(request.local)]))
        check_outside_state(registration, self.cache_root)
        return registration

    def make_job(self, registration: Registration) -> Job:
        """A job for the registration. It is not in :attr:`registrations` yet."""
        return self._with_writers(
            (complete_job if registration.request.marker else Job)(*self._job_arguments(registration))
        )

    def make_publication(self, registration: Registration) -> Publication:
        """The publication of a complete set."""
        publication = Publication(*self._job_arguments(registration))
        self._with_writers(publication.job)
        return publication

    def make_bisync_job(self, registration: Registration) -> BisyncJob:
        """A job that brings both sides up to date with each other."""
        return BisyncJob(self.make_job(registration))

    def _job_arguments(self, registration: Registration) -> tuple[Registration, Store, Index, str, str]:
        store = self.stores.of(registration.location, registration.profile)
        return registration, store, self._index_of(registration), self.cache_root, self.owner

    def _with_writers(self, job: Job) -> Job:
        job.find_writers = lambda: writers_of(job, self.claims, self.registrations.jobs(), self.parent_jobs())
        return job

    def _index_of(self, registration: Registration) -> Index:
        """The index of the registration: the records of its local path as a copy of its location."""
        location = registration.location
        place = Place(self.stores.of(location, registration.profile).endpoint, str(location))
        return Index(RootIndex(self.cache_root, registration.local), place)

    def take_over_records(self, registration: Registration, part: Registration) -> None:
        """Gives a registration the records of a part of it. For a path that lies elsewhere, this does nothing.

        Without them, a push would not know that the files were brought, and would replace newer objects by them.
        """
        if is_below(part.local, registration.local):
            below = relative(part.local, registration.local)
            self._index_of(registration).take_over(self._index_of(part), below)

    def claim_path(self, job: Job, check_open: Callable[[], None]) -> None:
        """Claims the local path of a job, so that others know of it, and waits for downloads that change it now.

        Args:
            check_open: called while this waits. An exception of it ends the waiting.
        """
        registration = job.registration
        has_logged = False

        def on_wait() -> None:
            nonlocal has_logged
            check_open()
            if not has_logged:
                logger.info("%s: waiting for a download that changes %s now", job, registration.local)
                has_logged = True

        claim = self.claims.begin(
            registration.kind,
            registration.local,
            job.index.place,
            self.owner,
            on_wait,
            deletes=registration.request.deletes_remote,
        )
        job.set_claim(claim)
        check_open()
