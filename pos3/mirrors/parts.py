"""What a mirror is made of, and how it makes registrations and links of the arguments of its calls."""

from __future__ import annotations

import logging
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pos3.entries import Record
from pos3.errors import NoMirrorError
from pos3.jobs import (
    Additive,
    Changed,
    Closed,
    CompleteLink,
    Cursor,
    Engine,
    Guard,
    Journal,
    Left,
    Link,
    Manner,
    Observer,
    Own,
    Registration,
    Room,
    Shared,
    Unobserved,
    build_filter,
    check_outside_state,
    check_patterns,
    checked,
    is_coherent,
    local_root,
    names_a_directory,
)
from pos3.local import STATE_DIRECTORY, are_nested
from pos3.mirrors.registrations import Registry
from pos3.options import MirrorOptions, StrPath
from pos3.plan import Compare
from pos3.profiles import Profile, resolve_profile
from pos3.state import Claim, Claims, Held, Index, Place, RootIndex
from pos3.store import Store, endpoint_of, open_store
from pos3.transfer import ByteRate, OpenProgress, Rate, Tell, Unlimited, choose_progress, choose_tell, silent, unsaid
from pos3.url import Location, local_path, parse

AnyLink = TypeVar("AnyLink", bound=Link)
Patterns = str | list[str] | tuple[str, ...] | None

logger = logging.getLogger("pos3")
mirrors: weakref.WeakSet[MirrorParts] = weakref.WeakSet()


def _never_joined(_link: Link, _wanted: Registration) -> None:
    pass


class MirrorParts:
    """What all calls of a :class:`pos3.Mirror` share. A forked child gets parts of its own, and no registrations."""

    def __init__(
        self,
        options: MirrorOptions | None = None,
        *,
        progress: OpenProgress | None = None,
        background_progress: OpenProgress = silent,
        observer: Observer | None = None,
        label: str = "",
        group: str = "",
        part_of: MirrorParts | None = None,
    ):
        self.options = chosen = (options or MirrorOptions()).checked()
        self.cache_root = chosen.real_cache_root
        self._default_profile = resolve_profile(chosen.default_profile)
        self._owner = uuid.uuid4().hex
        limit = chosen.max_upload_bytes_per_second
        rate: Rate = Unlimited() if limit is None else ByteRate(limit)
        shown = progress or choose_progress(chosen.show_progress)
        # Whoever observes tells of it as well.
        self.tell: Tell = choose_tell(chosen.show_progress) if observer is None else unsaid
        self._observer = observer or Unobserved()
        self._room = Room(self.cache_root, chosen.cache_limit_bytes)
        self._engine = Engine(chosen.max_workers, rate, shown, self._observer, background_progress)
        self._pid = os.getpid()
        self._state = "new"
        self._registry = Registry()
        self._journal = Journal(self.cache_root, label)
        self._part_of = part_of
        self._claims: Claims = part_of._claims if part_of else Claims(self.cache_root, self._journal.path, group)
        # What the end still has to push: if it fails or is interrupted, the journal keeps it.
        self._due: set[Registration] = set()
        self._stores: dict[tuple[str, str, Profile | None], Store] = {}
        self._endpoints: dict[tuple[str, Profile | None], str] = {}
        self._lock = threading.RLock()
        self._closed = threading.Event()
        mirrors.add(self)

    def _after_fork(self) -> None:
        """In the child: no lock may stay held by a thread that the fork left behind, and no connection be shared."""
        self._lock = threading.RLock()
        self._engine = self._engine.after_fork()
        self._registry = Registry()
        self._journal = self._journal.after_fork()
        self._claims = self._claims.after_fork()
        self._stores = {}

    def __repr__(self) -> str:
        return f"<pos3.Mirror {self._state}, cache_root={self.cache_root!r}, {len(self._registry.links())} registered>"

    @property
    def group(self) -> str:
        """Mirrors with the same group count as one, where it is asked who writes a local path."""
        return self._claims.group

    @property
    def is_open(self) -> bool:
        return self._state == "open"

    def _check_open(self) -> None:
        if self._state != "open":
            raise NoMirrorError(f"this mirror is {self._state}; use it inside 'with pos3.mirror():'")

    def _resolve(self, url: str, profile: str | Profile | None) -> tuple[Location, Profile | None]:
        location = parse(url)
        resolved = resolve_profile(profile, url_profile=location.profile)
        return location, resolved if resolved is not None else self._default_profile

    def _store(self, location: Location, profile: Profile | None) -> Store:
        key = (location.scheme, location.bucket, profile)
        with self._lock:
            store = self._stores.get(key)
            if store is None:
                store = self._stores[key] = open_store(location, profile, self.options.max_workers)
            return store

    def _endpoint(self, scheme: str, profile: Profile | None) -> str:
        """What :func:`pos3.store.endpoint_of` gave first: it may have to read AWS's configuration files."""
        key = (scheme, profile)
        with self._lock:
            if key not in self._endpoints:
                stores = (store for known, store in self._stores.items() if (known[0], known[2]) == key)
                store = next(stores, None)
                self._endpoints[key] = endpoint_of(scheme, profile) if store is None else store.endpoint
            return self._endpoints[key]

    def _link(self, registration: Registration) -> Link:
        return self._linked(CompleteLink if registration.marker else Link, registration)

    def _linked(self, kind: type[AnyLink], registration: Registration) -> AnyLink:
        store = self._store(registration.location, registration.profile)
        link = kind(registration, store, self.index_of(registration), self.cache_root, self._owner)
        link.find_guards = lambda: self._guards_of(link)
        return link

    def index_of(self, registration: Registration) -> Index:
        """What the cache remembers of the registration's local path, as a copy of its place."""
        location = registration.location
        place = Place(self._store(location, registration.profile).endpoint, str(location))
        return Index(RootIndex(self.cache_root, registration.local), place)

    def _guards_of(self, link: Link) -> list[Guard]:
        """What a download of ``link`` leaves alone, as of now."""
        local = link.registration.local
        neighbours = self._claims.neighbours(local)
        guards: list[Guard] = []
        for claim in neighbours.living:
            closed = claim.kind == "upload" and claim.deletes
            manner = Manner.SILENT if claim.group == self._claims.group else Manner.REFUSED_INSIDE
            guards.append(Closed(claim, manner) if closed else Additive(claim, _recorded_by(claim)))
        guards += [Left(claim, _recorded_by(claim)) for claim in neighbours.left]
        for other in self._registry.links():
            if other is not link and are_nested(other.registration.local, local):
                guards += _own_guards(link, other)
        for other in self._part_of._registry.links() if self._part_of is not None else ():
            if other.registration.pushes and are_nested(other.registration.local, local):
                place = other.registration
                guards.append(Changed(os.path.realpath(place.local), str(place), Cursor(other.index.records)))
        return guards

    def _wanted(
        self,
        kind: Literal["download", "upload", "sync"],
        remote: StrPath,
        local: StrPath | None,
        profile: str | Profile | None,
        choice: tuple[Patterns, Patterns, Compare, int | str | None],
        **details: Any,
    ) -> Registration:
        """The checked registration; ``choice`` is include, exclude, compare and max_delete."""
        location, resolved = self._resolve(str(remote), profile)
        include, exclude, compare, max_delete = choice
        root = local_root(location, local, self.cache_root, resolved)
        chosen = build_filter(include, exclude)
        details["local_is_directory"] = names_a_directory(local)
        wanted = checked(Registration(kind, location, resolved, root, chosen, compare, max_delete, **details))
        check_patterns(wanted, *([] if local is None else [local_path(local)]))
        check_outside_state(wanted, os.path.join(self.cache_root, STATE_DIRECTORY))
        return wanted

    def _claim(self, link: Link) -> None:
        """Notes for others that the link's local path is written, and waits for who changes it now."""
        place = link.registration
        told = False

        def waiting() -> None:
            nonlocal told
            self._check_open()
            if not told:
                logger.info("%s: waiting for a download that changes %s now", link, place.local)
                told = True

        link.take_over(
            self._claims.begin(
                place.kind,
                place.local,
                link.index.place,
                self._owner,
                waiting,
                deletes=place.upload_delete,
            )
        )
        self._check_open()

    def _register(
        self,
        wanted: Registration,
        begin: Callable[[Link], None],
        join: Callable[[Link, Registration], None] = _never_joined,
    ) -> Path:
        self._registry.register(wanted, self._link, begin, join)
        self._observer.registered(wanted.kind, str(wanted.location))
        return Path(wanted.local)


def _recorded_by(claim: Claim) -> Cursor:
    """Finds the records of a claim; where its endpoint is not known, those that were used last."""

    def records() -> Iterator[Record]:
        root = RootIndex(claim.cache_root, claim.root)
        places = [known.place for known in root.places() if known.place.url == claim.url]
        wanted = Place(claim.endpoint, claim.url) if claim.endpoint is not None else next(iter(places), None)
        return Index(root, wanted).records() if wanted is not None else iter(())

    return Cursor(records)


def _own_guards(link: Link, other: Link) -> list[Guard]:
    """That of another registration of the same mirror, if it needs one."""
    mine, theirs = link.registration, other.registration
    record_of, path_there = Cursor(other.index.records), os.path.realpath(theirs.local)
    if not theirs.pushes:
        # What one download brings, another one neither replaces nor deletes.
        return [] if is_coherent(mine, theirs) else [Shared(path_there, str(theirs), record_of)]
    if is_coherent(mine, theirs):
        return [Own(path_there, str(theirs), lambda path, there: other.keeps_at_end(path, there, record_of(path)))]
    if not isinstance(other.held, Held):
        # It is only beginning; nothing is added to its path until it has begun.
        return [Own(path_there, str(theirs), lambda path, there: False)]
    claim = other.held.claim
    return [Closed(claim) if theirs.kind == "upload" and theirs.upload_delete else Additive(claim, record_of)]


def _after_fork_in_child() -> None:
    for mirror in list(mirrors):
        mirror._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
