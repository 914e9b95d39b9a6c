"""What a mirror is made of, and how it makes registrations and jobs of requests."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from pos3.jobs import (
    Job,
    Journal,
    Observer,
    Publication,
    Registration,
    Request,
    Room,
    Runner,
    TwoWay,
    check_outside_state,
    check_patterns,
    complete_job,
    local_root,
)
from pos3.mirrors.registrations import Registrations
from pos3.mirrors.stores import Stores
from pos3.mirrors.writer_lookup import guards_of
from pos3.state import Claims, Index, Place, RootIndex
from pos3.store import Store
from pos3.url import local_path

logger = logging.getLogger("pos3")


@dataclass(frozen=True)
class Parts:
    """What the calls of one mirror share.

    ``owner`` marks the records of what this mirror transfers. ``outer`` are the registrations of the mirror that this
    one does a part of the work of.
    """

    cache_root: str
    owner: str
    stores: Stores
    registrations: Registrations
    runner: Runner
    journal: Journal
    claims: Claims
    room: Room
    observer: Observer
    outer: Callable[[], list[Job]] = list

    @staticmethod
    def new_owner() -> str:
        return uuid.uuid4().hex

    def after_fork(self) -> Parts:
        """Those of a forked child: nothing is registered, no connection is shared, no lock is held by a lost thread."""
        return replace(
            self,
            stores=self.stores.after_fork(),
            registrations=Registrations(),
            runner=self.runner.after_fork(),
            journal=self.journal.after_fork(),
            claims=self.claims.after_fork(),
        )

    def registration(self, request: Request, *, is_restored: bool = False) -> Registration:
        """The request with its places, which are checked against the request and against this cache.

        Raises:
            InvalidArgumentError, InvalidURLError, ProfileError, UnsafeKeysError: nothing was changed.
        """
        location, profile = self.stores.resolve(str(request.remote), request.profile)
        root = local_root(location, request.local, self.cache_root, profile)
        wanted = Registration(request, location, profile, root, is_restored)
        check_patterns(wanted, *([] if request.local is None else [local_path(request.local)]))
        check_outside_state(wanted, self.cache_root)
        return wanted

    def job(self, registration: Registration) -> Job:
        """A request at work, which nobody else knows of yet."""
        return self._guarded((complete_job if registration.request.marker else Job)(*self._given(registration)))

    def publication(self, registration: Registration) -> Publication:
        """The same for a set that is to be published."""
        publication = Publication(*self._given(registration))
        self._guarded(publication.job)
        return publication

    def two_way(self, registration: Registration) -> TwoWay:
        """The same for two sides that are brought up to date with each other."""
        return TwoWay(self.job(registration))

    def _given(self, registration: Registration) -> tuple[Registration, Store, Index, str, str]:
        store = self.stores.of(registration.location, registration.profile)
        return registration, store, self._index_of(registration), self.cache_root, self.owner

    def _guarded(self, job: Job) -> Job:
        job.find_guards = lambda: guards_of(job, self.claims, self.registrations.jobs(), self.outer())
        return job

    def _index_of(self, registration: Registration) -> Index:
        """What the cache remembers of the registration's local path, as a copy of its place."""
        location = registration.location
        place = Place(self.stores.of(location, registration.profile).endpoint, str(location))
        return Index(RootIndex(self.cache_root, registration.local), place)

    def claim(self, job: Job, check_open: Callable[[], None]) -> None:
        """Notes for others that the job's local path is written, and waits for who changes it now.

        Args:
            check_open: what it raises ends the waiting.
        """
        place = job.registration
        told = False

        def waiting() -> None:
            nonlocal told
            check_open()
            if not told:
                logger.info("%s: waiting for a download that changes %s now", job, place.local)
                told = True

        claimed = self.claims.begin(
            place.kind, place.local, job.index.place, self.owner, waiting, deletes=place.request.deletes_remote
        )
        job.take_over(claimed)
        check_open()
