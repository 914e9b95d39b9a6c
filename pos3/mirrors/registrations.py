"""The registrations of one mirror. Equal ones are kept once, and those in conflict are refused."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from pos3.entries import EVERY_PATH, PathRange
from pos3.errors import ConflictError, InvalidArgumentError
from pos3.jobs import Job, Registration, check_conflicts, difference, merged
from pos3.local import is_within
from pos3.profiles import Profile
from pos3.url import Location, is_url, local_path, parse

# This limits the memory of a mirror that runs for weeks.
_MAX_FAILED = 1000

Key = tuple[Location, Profile | None, str, PathRange]


def _key(registration: Registration) -> Key:
    return registration.location, registration.profile, registration.local, registration.within


class Registrations:
    """The registrations of one mirror, each with its job.

    It may be used from several threads. A thread that registers what another one is just registering waits for it.
    A waiting thread holds nothing that others wait for.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._jobs_by_key: dict[Key, list[Job]] = {}
        self._busy: set[Key] = set()
        self._failed: dict[Key, Job] = {}
        self._done: dict[Key, Job] = {}

    def jobs(self) -> list[Job]:
        with self._changed:
            return list(self._jobs)

    def jobs_and_failed(self) -> list[Job]:
        """All jobs, and the last one of each key among the jobs that failed to begin or did their work once."""
        with self._changed:
            return [*self._jobs, *self._failed.values(), *self._done.values()]

    def pushing(self) -> list[Job]:
        """The jobs that are registered for upload and have begun, in the order of registration."""
        return [job for job in self.jobs() if job.registration.pushes and job.has_begun]

    def register(
        self,
        registration: Registration,
        make_job: Callable[[Registration], Job],
        begin: Callable[[Job], None],
        join: Callable[[Job, Registration], None],
    ) -> Job:
        """Returns the job of an equal registration, or makes a job and begins its work.

        If ``begin`` raises, nothing is registered.

        Args:
            join: called instead of ``begin`` if a job pushes the same local path to the same place already. It gets
                that job and the merged registration.

        Raises:
            ConflictError: files or objects could be lost.
        """
        key = _key(registration)
        with self._exclusive(key):
            with self._changed:
                same = self._jobs_by_key.setdefault(key, [])
                equal = next((job for job in same if job.registration == registration), None)
                pushing = next((job for job in same if job.registration.pushes), None)
                if equal is not None:
                    return equal
                if pushing is None or not registration.pushes:
                    check_conflicts(registration, [job.registration for job in self._jobs])
                    # The job is registered at once, and begins without the lock.
                    same.append(make_job(registration))
                    self._jobs.append(same[-1])
                    self._failed.pop(key, None)
            if pushing is not None and registration.pushes:
                join(pushing, _merged(pushing.registration, registration))
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
                self._jobs_by_key[_key(job.registration)].remove(job)
                self._failed[_key(job.registration)] = job
                if len(self._failed) > _MAX_FAILED:
                    del self._failed[next(iter(self._failed))]
            job.end_use()
            raise

    @contextmanager
    def _exclusive(self, key: Key) -> Iterator[None]:
        """Waits until no other thread works with this key, and keeps others waiting."""
        with self._changed:
            self._changed.wait_for(lambda: key not in self._busy)
            self._busy.add(key)
        try:
            yield
        finally:
            with self._changed:
                self._busy.discard(key)
                self._changed.notify_all()

    def do_once(self, job: Job, work: Callable[[], None]) -> None:
        """Does work that ends with this call. Two such works for one location run one after the other.

        Raises:
            ConflictError: the location overlaps with one that is registered for upload.
        """
        registration = job.registration
        # The local path is left out of the key, because only one writer at a time may write to the location.
        with self._exclusive((registration.location, registration.profile, "", EVERY_PATH)):
            for other in self.jobs():
                if not other.registration.pushes or other.registration.profile != registration.profile:
                    continue
                if registration.location.overlaps(other.registration.location):
                    raise ConflictError(
                        f"{registration} overlaps with {other}, which is registered for upload already; use another "
                        "URL, or wait until that mirror has ended"
                    )
            with self._changed:
                self._done[_key(registration)] = job
            work()

    def containing(
        self,
        location: Location,
        profile: Profile | None,
        within: PathRange = EVERY_PATH,
        *,
        as_of: str | None = None,
    ) -> Job | None:
        """The job whose location contains ``location``, or None. It waits until such a job has begun.

        Jobs for the state of another time than ``as_of`` do not count.

        Of several jobs, it is the innermost one, and one that pushes comes before one that only downloads.

        Args:
            within: the paths of ``location`` that the job must contain.
        """
        for job in sorted(self._candidates(location, profile, within, as_of), key=_preference):
            with self._exclusive(_key(job.registration)), self._changed:
                if job in self._jobs:
                    return job
        return None

    def _candidates(
        self, location: Location, profile: Profile | None, within: PathRange, as_of: str | None
    ) -> Iterable[Job]:
        for job in self.jobs():
            outer = job.registration
            contains = location.overlaps(outer.location) and len(outer.location.key) <= len(location.key)
            is_covered = outer.within.is_everything or (outer.location == location and outer.within.covers(within))
            if contains and is_covered and outer.profile == profile and outer.request.as_of == as_of:
                yield job

    def pushing_at(self, path_or_url: str | os.PathLike[str] | None) -> list[Job]:
        """The jobs registered for upload to which a URL or a local path belongs, or all of them for None.

        Raises:
            InvalidArgumentError: there is no such job.
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


def _merged(existing: Registration, new: Registration) -> Registration:
    """One registration that does the work of two at the same place.

    Raises:
        ConflictError: their pushes differ.
    """
    request = merged(existing.request, new.request)
    if request is None:
        raise ConflictError(
            f"{new.location} is registered already, with other arguments: "
            f"{difference(existing.request, new.request)}. Pass the same arguments to both calls"
        )
    return replace(existing, request=request)
