"""The registrations of one mirror: which there are, which are one, and which are in each other's way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pos3.errors import ConflictError, InvalidArgumentError
from pos3.jobs import Link, Registration, check_conflicts, difference, merged
from pos3.local import is_within
from pos3.profiles import Profile
from pos3.url import Location, is_url, local_path, parse

# Bounds the memory of a mirror that runs for weeks.
_MOST_FAILED = 1000

Place = tuple[Location, Profile | None, str]


def _place(registration: Registration) -> Place:
    return registration.location, registration.profile, registration.local


class Registry:
    """Safe to use from several threads: who asks for what another is just registering waits for it.

    Nobody who waits holds anything that others wait for.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._links: list[Link] = []
        self._at: dict[Place, list[Link]] = {}
        self._busy: set[Place] = set()
        self._failed: dict[Place, Link] = {}
        self._done: dict[Place, Link] = {}

    def links(self) -> list[Link]:
        with self._changed:
            return list(self._links)

    def links_and_failed(self) -> list[Link]:
        """All links, and those that came to nothing or did their work once: the last one of each place."""
        with self._changed:
            return [*self._links, *self._failed.values(), *self._done.values()]

    def pushing(self) -> list[Link]:
        """The links that upload and have begun to, in the order of their registration."""
        return [link for link in self.links() if link.registration.pushes and link.has_begun]

    def register(
        self,
        wanted: Registration,
        make: Callable[[Registration], Link],
        begin: Callable[[Link], None],
        join: Callable[[Link, Registration], None],
    ) -> Link:
        """Makes a link and begins its work, unless an equal registration is there already.

        If ``begin`` raises, nothing is registered.

        Args:
            join: called instead for a link that pushes the same local path to the same place already, with what is
                wanted of it from now on.

        Raises:
            ConflictError: something could be lost.
        """
        with self._alone_with(_place(wanted)):
            with self._changed:
                same = self._at.setdefault(_place(wanted), [])
                equal = next((link for link in same if link.registration == wanted), None)
                pushing = next((link for link in same if link.registration.pushes), None)
                if equal is not None:
                    return equal
                if pushing is None or not wanted.pushes:
                    check_conflicts(wanted, [link.registration for link in self._links])
                    # Taken at once, while the work goes on without the lock.
                    same.append(make(wanted))
                    self._links.append(same[-1])
                    self._failed.pop(_place(wanted), None)
            if pushing is not None and wanted.pushes:
                join(pushing, _as_one(pushing.registration, wanted))
                return pushing
            self._begin(same[-1], begin)
            return same[-1]

    def _begin(self, link: Link, begin: Callable[[Link], None]) -> None:
        try:
            begin(link)
        except BaseException as error:
            link.failure = str(error) or type(error).__name__
            with self._changed:
                self._links.remove(link)
                self._at[_place(link.registration)].remove(link)
                self._failed[_place(link.registration)] = link
                if len(self._failed) > _MOST_FAILED:
                    del self._failed[next(iter(self._failed))]
            link.end_use()
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

    def do_once(self, link: Link, work: Callable[[], None]) -> None:
        """Does a work of ``link`` that ends with this call. No other such work for the same place runs meanwhile.

        Raises:
            ConflictError: what it writes is registered for upload.
        """
        place = link.registration
        # Whatever the local path is: one at a time may write there.
        with self._alone_with((place.location, place.profile, "")):
            for other in self.links():
                if not other.registration.pushes:
                    continue
                if other.registration.profile == place.profile and place.location.overlaps(other.registration.location):
                    raise ConflictError(f"{place} overlaps with {other}, which is registered for upload already")
            with self._changed:
                self._done[_place(place)] = link
            work()

    def holding(self, location: Location, profile: Profile | None) -> Link | None:
        """The innermost link whose place ``location`` is or lies in, as soon as what was begun with it is done.

        One that pushes comes before one that only downloads.
        """
        for link in sorted(self._around(location, profile), key=_preference):
            with self._alone_with(_place(link.registration)), self._changed:
                if link in self._links:
                    return link
        return None

    def _around(self, location: Location, profile: Profile | None) -> Iterable[Link]:
        for link in self.links():
            place = link.registration
            is_around = location.overlaps(place.location) and len(place.location.key) <= len(location.key)
            if is_around and place.profile == profile:
                yield link

    def chosen(self, path_or_url: str | os.PathLike[str] | None) -> list[Link]:
        """The uploading links that a URL or a local path belongs to; all of them for None.

        Raises:
            InvalidArgumentError: there is none.
        """
        pushing = self.pushing()
        if path_or_url is None:
            return pushing
        if is_url(path_or_url):
            location = parse(str(path_or_url))
            chosen = [link for link in pushing if location.overlaps(link.registration.location)]
        else:
            path = os.path.realpath(local_path(path_or_url))
            chosen = [link for link in pushing if is_within(path, link.registration.local)]
        if not chosen:
            registered = ", ".join(str(link.registration) for link in pushing) or "nothing"
            raise InvalidArgumentError(f"{str(path_or_url)!r} is not registered for upload (registered: {registered})")
        return chosen


def _preference(link: Link) -> tuple[int, bool]:
    return -len(link.registration.location.key), not link.registration.pushes


def _as_one(existing: Registration, wanted: Registration) -> Registration:
    """
    Raises:
        ConflictError: the two ask for different pushes of one local path to one place.
    """
    both = merged(existing, wanted)
    if both is None:
        raise ConflictError(f"{wanted.location} is registered already: {difference(existing, wanted)}")
    return both
