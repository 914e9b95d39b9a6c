"""What a mirror is made of, and how it makes registrations and jobs of the arguments of its calls."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from pos3.jobs import (
    Job,
    Journal,
    Observer,
    Publication,
    Registration,
    Room,
    Runner,
    build_filter,
    check_outside_state,
    check_patterns,
    checked,
    complete_job,
    local_root,
    names_a_directory,
)
from pos3.mirrors.guarding import guards_of
from pos3.mirrors.registrations import Registrations
from pos3.mirrors.stores import Stores
from pos3.options import StrPath
from pos3.plan import Compare
from pos3.profiles import Profile
from pos3.state import Claims, Index, Place, RootIndex
from pos3.store import Store
from pos3.url import local_path

Kind = Literal["download", "upload", "sync"]
Patterns = str | list[str] | tuple[str, ...] | None

logger = logging.getLogger("pos3")


@dataclass(frozen=True)
class Choice:
    """Which files a call is about, and how many of them may go."""

    include: Patterns = None
    exclude: Patterns = None
    compare: Compare = "auto"
    max_delete: int | str | None = None


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

    def registration(
        self,
        kind: Kind,
        remote: StrPath,
        local: StrPath | None,
        profile: str | Profile | None,
        choice: Choice,
        **details: Any,
    ) -> Registration:
        """What a call asks for, checked.

        Raises:
            InvalidArgumentError, InvalidURLError, ProfileError, UnsafeKeysError: nothing was changed.
        """
        location, resolved = self.stores.resolve(str(remote), profile)
        root = local_root(location, local, self.cache_root, resolved)
        chosen = build_filter(choice.include, choice.exclude)
        details["local_is_directory"] = names_a_directory(local)
        wanted = checked(
            Registration(kind, location, resolved, root, chosen, choice.compare, choice.max_delete, **details)
        )
        check_patterns(wanted, *([] if local is None else [local_path(local)]))
        check_outside_state(wanted, self.cache_root)
        return wanted

    def job(self, registration: Registration) -> Job:
        """A request at work, which nobody else knows of yet."""
        return self._guarded((complete_job if registration.marker else Job)(*self._given(registration)))

    def publication(self, registration: Registration) -> Publication:
        """The same for a set that is to be published."""
        publication = Publication(*self._given(registration))
        self._guarded(publication.job)
        return publication

    def _given(self, registration: Registration) -> tuple[Registration, Store, Index, str, str]:
        store = self.stores.of(registration.location, registration.profile)
        return registration, store, self.index_of(registration), self.cache_root, self.owner

    def _guarded(self, job: Job) -> Job:
        job.find_guards = lambda: guards_of(job, self.claims, self.registrations.jobs(), self.outer())
        return job

    def index_of(self, registration: Registration) -> Index:
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
            place.kind, place.local, job.index.place, self.owner, waiting, deletes=place.upload_delete
        )
        job.take_over(claimed)
        check_open()
