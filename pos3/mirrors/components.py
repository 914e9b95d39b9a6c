"""The components of one mirror, with which it makes registrations and jobs from requests."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from pos3.entries import Entry
from pos3.errors import OfflineError
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
    offline_store,
)
from pos3.local import is_below, relative
from pos3.mirrors.network import Network
from pos3.mirrors.registrations import Registrations
from pos3.mirrors.stores import Stores
from pos3.mirrors.writer_lookup import writers_of
from pos3.profiles import Profile
from pos3.state import Claims, Index, Place, RootIndex
from pos3.store import OfflineStore, Store
from pos3.url import Location, local_path

logger = logging.getLogger("pos3")


T = TypeVar("T")


def _nothing_on_record(url: str, _key: str) -> Iterator[Entry]:
    raise OfflineError(f"{url}: the call needs the store, and this mirror works offline; nothing was changed", url=url)


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
    network: Network
    parent_jobs: Callable[[], list[Job]] = list
    _cache_places: dict[tuple[Location, str, str | None, str], str] = field(default_factory=dict, repr=False)
    """The paths in the cache that were found and checked, by location, profile, time and kind of call."""

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
        place = location, profile.local_name if profile is not None else "", request.as_of, request.kind
        # Programs repeat a call to get its path, and links in a path are looked up by several system calls.
        known = self._cache_places.get(place) if request.local is None else None
        root = known or local_root(location, request.local, self.cache_root, profile, request.as_of)
        registration = Registration(request, location, profile, root, is_restored, request.within)
        check_patterns(registration, *([] if request.local is None else [local_path(request.local)]))
        if known is None:
            check_outside_state(registration, self.cache_root)
            if request.local is None:
                self._cache_places[place] = root
        return registration

    def make_job(self, registration: Registration) -> Job:
        """A job for the registration. It is not in :attr:`registrations` yet."""
        return self._with_writers(
            (complete_job if registration.request.marker else Job)(*self._job_arguments(registration))
        )

    def make_offline_job(self, registration: Registration, reason: str) -> Job:
        """A job that knows of the store what the cache has on record. It sends no request and copies nothing."""
        _, store, index, cache_root, owner = self._job_arguments(registration)
        recorded = offline_store(store, registration.location, registration.request, cache_root, reason)
        return self._with_writers(Job(registration, recorded, index, cache_root, owner))

    def ask(self, request: Request, call: Callable[[Store, Location], T]) -> T:
        """What ``call`` makes of the store of a request and its location.

        Without the network, the store lists what the cache has on record, and refuses everything else.
        """
        location, profile = self.stores.resolve(str(request.address), request.profile)
        store = self.store_of(request, location, profile)

        def call_offline(reason: str) -> T:
            return call(offline_store(store, location, request, self.cache_root, reason), location)

        return self.network.ask(store.endpoint, lambda: call(store, location), call_offline)

    def make_publication(self, registration: Registration) -> Publication:
        """The publication of a complete set."""
        publication = Publication(*self._job_arguments(registration))
        self._with_writers(publication.job)
        return publication

    def make_bisync_job(self, registration: Registration) -> BisyncJob:
        """A job that brings both sides up to date with each other."""
        return BisyncJob(self.make_job(registration))

    def _job_arguments(self, registration: Registration) -> tuple[Registration, Store, Index, str, str]:
        store = self.store_of(registration.request, registration.location, registration.profile)
        if not self.network.is_used:
            # No request can be sent by mistake.
            recall = partial(_nothing_on_record, str(registration.location))
            store = OfflineStore(store, recall, "this mirror works offline")
        return registration, store, self._index_of(registration), self.cache_root, self.owner

    def _index_of(self, registration: Registration) -> Index:
        """The index of a registration: the records of its local path as a copy of its location."""
        request, location = registration.request, registration.location
        place = Place(self.store_of(request, location, registration.profile).endpoint, str(location))
        return Index(RootIndex(self.cache_root, registration.local), place)

    def _with_writers(self, job: Job) -> Job:
        job.find_writers = lambda: writers_of(job, self.claims, self.registrations.jobs(), self.parent_jobs())
        return job

    def store_of(self, request: Request, location: Location, profile: Profile | None) -> Store:
        """The store that a request reads: that of its location, as it was at the time that the request names.

        Raises:
            InvalidArgumentError: the store keeps no earlier versions.
        """
        store = self.stores.of(location, profile)
        return store if request.as_of is None else store.as_of(request.as_of)

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
