"""The registrations of one mirror: which there are, which are one, and which are in each other's way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from pos3.errors import ConflictError, InvalidArgumentError
from pos3.jobs import Job, Registration, check_conflicts, difference, merged
from pos3.local import is_within
from pos3.profiles import Profile
from pos3.url import Location, is_url, local_path, parse

# Bounds the memory of a mirror that runs for weeks.
_MOST_FAILED = 1000

Place = tuple[Location, Profile | None, str]


def _place(registration: Registration) -> Place:
    return registration.location, registration.profile, registration.local


class Registrations:
    """Safe to use from several threads: who asks for what another is just registering waits for it.

    Nobody who waits holds anything that others wait for.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._at: dict[Place, list[Job]] = {}
        self._busy: set[Place] = set()
        self._failed: dict[Place, Job] = {}
        self._done: dict[Place, Job] = {}

    def jobs(self) -> list[Job]:
        with self._changed:
            return list(self._jobs)

    def jobs_and_failed(self) -> list[Job]:
        """All jobs, and those that came to nothing or did their work once: the last one of each place."""
        with self._changed:
            return [*self._jobs, *self._failed.values(), *self._done.values()]

    def pushing(self) -> list[Job]:
        """The jobs that upload and have begun to, in the order of their registration."""
        return [job for job in self.jobs() if job.registration.pushes and job.has_begun]

    def register(
        self,
        wanted: Registration,
        make: Callable[[Registration], Job],
        begin: Callable[[Job], None],
        join: Callable[[Job, Registration], None],
    ) -> Job:
        """Makes a job and begins its work, unless an equal registration is there already.

        If ``begin`` raises, nothing is registered.

        Args:
            join: called instead for a job that pushes the same local path to the same place already, with what is
                wanted of it from now on.

        Raises:
            ConflictError: something could be lost.
        """
        with self._alone_with(_place(wanted)):
            with self._changed:
                same = self._at.setdefault(_place(wanted), [])
                equal = next((job for job in same if job.registration == wanted), None)
                pushing = next((job for job in same if job.registration.pushes), None)
                if equal is not None:
                    return equal
                if pushing is None or not wanted.pushes:
                    check_conflicts(wanted, [job.registration for job in self._jobs])
                    # Taken at once, while the work goes on without the lock.
                    same.append(make(wanted))
                    self._jobs.append(same[-1])
                    self._failed.pop(_place(wanted), None)
            if pushing is not None and wanted.pushes:
                join(pushing, _as_one(pushing.registration, wanted))
                return pushing
            self._begin(same[-1], begin)
            return same[-1]

    def _begin(self, job: Job, begin: Callable[[Job], None]) -> None:
        try:
            begin(job)
        except BaseException as error:
            job.failure = str(error) or type(error).__name__
            with self._changed:
                self._jobs.remove(job)
                self._at[_place(job.registration)].remove(job)
                self._failed[_place(job.registration)] = job
                if len(self._failed) > _MOST_FAILED:
                    del self._failed[next(iter(self._failed))]
            job.end_use()
            raise

    @contextmanager
    def _alone_with(self, place: Place) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: place not in self._busy)
            self._busy.add(place)
        try:
            yield
        finally:
            with self._changed:
                self._busy.discard(place)
                self._changed.notify_all()

    def do_once(self, job: Job, work: Callable[[], None]) -> None:
        """Does a work of ``job`` that ends with this call. No other such work for the same place runs meanwhile.

        Raises:
            ConflictError: what it writes is registered for upload.
        """
        place = job.registration
        # Whatever the local path is: one at a time may write there.
        with self._alone_with((place.location, place.profile, "")):
            for other in self.jobs():
                if not other.registration.pushes:
                    continue
                if other.registration.profile == place.profile and place.location.overlaps(other.registration.location):
                    raise ConflictError(f"{place} overlaps with {other}, which is registered for upload already")
            with self._changed:
                self._done[_place(place)] = job
            work()

    def holding(self, location: Location, profile: Profile | None) -> Job | None:
        """The innermost job whose place ``location`` is or lies in, as soon as what was begun with it is done.

        One that pushes comes before one that only downloads.
        """
        for job in sorted(self._around(location, profile), key=_preference):
            with self._alone_with(_place(job.registration)), self._changed:
                if job in self._jobs:
                    return job
        return None

    def _around(self, location: Location, profile: Profile | None) -> Iterable[Job]:
        for job in self.jobs():
            place = job.registration
            is_around = location.overlaps(place.location) and len(place.location.key) <= len(location.key)
            if is_around and place.profile == profile:
                yield job

    def chosen(self, path_or_url: str | os.PathLike[str] | None) -> list[Job]:
        """The uploading jobs that a URL or a local path belongs to; all of them for None.

        Raises:
            InvalidArgumentError: there is none.
        """
        pushing = self.pushing()
        if path_or_url is None:
            return pushing
        if is_url(path_or_url):
            location = parse(str(path_or_url))
            chosen = [job for job in pushing if location.overlaps(job.registration.location)]
        else:
            path = os.path.realpath(local_path(path_or_url))
            chosen = [job for job in pushing if is_within(path, job.registration.local)]
        if not chosen:
            registered = ", ".join(str(job.registration) for job in pushing) or "nothing"
            raise InvalidArgumentError(f"{str(path_or_url)!r} is not registered for upload (registered: {registered})")
        return chosen


def _preference(job: Job) -> tuple[int, bool]:
    return -len(job.registration.location.key), not job.registration.pushes


def _as_one(existing: Registration, wanted: Registration) -> Registration:
    """
    Raises:
        ConflictError: the two ask for different pushes of one local path to one place.
    """
    both = merged(existing.request, wanted.request)
    if both is None:
        told = difference(existing.request, wanted.request)
        raise ConflictError(f"{wanted.location} is registered already: {told}")
    return replace(existing, request=both)
