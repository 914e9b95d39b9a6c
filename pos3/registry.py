"""The registrations of one mirror: each place once, and no two in each other's way."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from pos3.errors import ConflictError, InvalidArgumentError
from pos3.link import Link
from pos3.profiles import Profile
from pos3.registration import Registration, check_conflicts, difference
from pos3.url import Location, is_url, local_path, parse

# Bounds the memory of a mirror that runs for weeks.
_MOST_FAILED = 1000


class Registry:
    """Safe to use from several threads: who asks for what another is just registering waits for it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._links: dict[tuple[Location, Profile | None], Link] = {}
        self._gates: dict[tuple[Location, Profile | None], threading.Lock] = {}
        self._failed: dict[tuple[Location, Profile | None], Link] = {}
        self._done: dict[tuple[Location, Profile | None], Link] = {}

    def links(self) -> list[Link]:
        with self._lock:
            return list(self._links.values())

    def links_and_failed(self) -> list[Link]:
        """All links, and those that came to nothing or did their work once: the last one of each place."""
        with self._lock:
            return [*self._links.values(), *self._failed.values(), *self._done.values()]

    def pushing(self) -> list[Link]:
        """The links that upload, in the order of their registration."""
        return [link for link in self.links() if link.registration.pushes]

    def register(
        self, wanted: Registration, make: Callable[[Registration], Link], begin: Callable[[Link], None]
    ) -> None:
        """Makes a link and begins its work, unless an equal registration is there already.

        If ``begin`` raises, nothing is registered.

        Raises:
            ConflictError: the place is registered with other parameters, or overlaps with another registration.
        """
        key = (wanted.location, wanted.profile)
        with self._lock:
            gate = self._gates.setdefault(key, threading.Lock())
        with gate:
            self._make_way(wanted, key)
            with self._lock:
                existing = self._links.get(key)
                if existing is not None and existing.registration == wanted:
                    return
                if existing is not None and existing.registration.kind == wanted.kind:
                    raise ConflictError(
                        f"{wanted.location} is registered already, with different parameters: "
                        f"{difference(existing.registration, wanted)}"
                    )
                check_conflicts(wanted, [link.registration for link in self._links.values()])
                link = make(wanted)
                self._failed.pop(key, None)
                # Taken at once, while the work goes on without the lock.
                self._links[key] = link
            try:
                begin(link)
            except BaseException as error:
                link.failure = str(error) or type(error).__name__
                with self._lock:
                    self._links.pop(key, None)
                    self._failed[key] = link
                    if len(self._failed) > _MOST_FAILED:
                        del self._failed[next(iter(self._failed))]
                link.end_use()
                raise

    def do_once(self, link: Link, work: Callable[[], None]) -> None:
        """Does a work of ``link`` that ends with this call. No other such work for the same place runs meanwhile.

        Raises:
            ConflictError: what it writes is registered for upload.
        """
        place = link.registration
        key = (place.location, place.profile)
        with self._lock:
            gate = self._gates.setdefault(key, threading.Lock())
        with gate:
            with self._lock:
                for other in self.pushing():
                    if other.registration.profile == place.profile and place.location.overlaps(
                        other.registration.location
                    ):
                        raise ConflictError(f"{place} overlaps with {other}, which is registered for upload already")
                self._done[key] = link
            work()

    def _make_way(self, wanted: Registration, key: tuple[Location, Profile | None]) -> None:
        """Ends the links that give way and would conflict with ``wanted``, once their work is done."""
        if wanted.gives_way:
            return
        with self._lock:
            yielding = [(known, link) for known, link in self._links.items() if link.registration.gives_way]
            in_the_way = [item for item in yielding if item[0] == key or _conflicts(wanted, item[1].registration)]
        for known, link in in_the_way:
            with contextlib.nullcontext() if known == key else self._gates[known], self._lock:
                if self._links.get(known) is link:
                    del self._links[known]
                    link.end_use()

    def holding(self, location: Location, profile: Profile | None) -> Link | None:
        """The innermost link whose place ``location`` is or lies in, as soon as what was begun with it is done."""
        with self._lock:
            holding = [
                (key, link)
                for key, link in self._links.items()
                if key[1] == profile and location.overlaps(key[0]) and len(key[0].key) <= len(location.key)
            ]
        for key, link in sorted(holding, key=lambda item: -len(item[0][0].key)):
            with self._gates[key], self._lock:
                if self._links.get(key) is link:
                    return link
        return None

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
            chosen = [link for link in pushing if f"{path}/".startswith(f"{link.registration.local}/")]
        if not chosen:
            registered = ", ".join(str(link.registration) for link in pushing) or "nothing"
            raise InvalidArgumentError(f"{str(path_or_url)!r} is not registered for upload (registered: {registered})")
        return chosen


def _conflicts(wanted: Registration, existing: Registration) -> bool:
    try:
        check_conflicts(wanted, [existing])
    except ConflictError:
        return True
    return False
