"""What a mirror is made of, and how it makes registrations and links of the arguments of its calls."""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pos3.engine import Engine
from pos3.errors import NoMirrorError
from pos3.index import Index
from pos3.journal import Journal
from pos3.limits import ByteRate, Unlimited
from pos3.link import Link
from pos3.observer import Observer, Unobserved
from pos3.options import MirrorOptions, StrPath
from pos3.plan import Compare
from pos3.profiles import Profile, resolve_profile
from pos3.progress import OpenProgress, choose_progress, silent
from pos3.publication import CompleteLink
from pos3.registration import Registration, build_filter, checked, local_root, names_a_directory
from pos3.registry import Registry
from pos3.room import Room
from pos3.root_index import Place, RootIndex
from pos3.store import Store, endpoint_of, open_store
from pos3.transfer import Rate
from pos3.url import Location, parse

AnyLink = TypeVar("AnyLink", bound=Link)
Patterns = str | list[str] | tuple[str, ...] | None

mirrors: weakref.WeakSet[MirrorParts] = weakref.WeakSet()


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
    ):
        self.options = chosen = (options or MirrorOptions()).checked()
        self.cache_root = os.path.realpath(os.path.expanduser(os.fspath(chosen.cache_root)))
        self._default_profile = resolve_profile(chosen.default_profile)
        self._owner = uuid.uuid4().hex
        limit = chosen.max_upload_bytes_per_second
        rate: Rate = Unlimited() if limit is None else ByteRate(limit)
        shown = progress or choose_progress(chosen.show_progress)
        self._observer = observer or Unobserved()
        self._room = Room(self.cache_root, chosen.cache_limit_bytes)
        self._engine = Engine(chosen.max_workers, rate, shown, self._owner, self._observer, background_progress)
        self._pid = os.getpid()
        self._state = "new"
        self._registry = Registry()
        self._journal = Journal(self.cache_root, label)
        # What the end still has to push: if it fails or is interrupted, the journal keeps it.
        self._due: set[Registration] = set()
        self._stores: dict[tuple[str, str, Profile | None], Store] = {}
        self._endpoints: dict[tuple[str, Profile | None], str] = {}
        self._lock = threading.RLock()
        mirrors.add(self)

    def _after_fork(self) -> None:
        """In the child: no lock may stay held by a thread that the fork left behind, and no connection be shared."""
        self._lock = threading.RLock()
        self._engine = self._engine.after_fork()
        self._registry = Registry()
        self._journal = self._journal.after_fork()
        self._stores = {}

    def __repr__(self) -> str:
        return f"<pos3.Mirror {self._state}, cache_root={self.cache_root!r}, {len(self._registry.links())} registered>"

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
        return kind(registration, store, self.index_of(registration), self.cache_root, self._owner)

    def index_of(self, registration: Registration) -> Index:
        """What the cache remembers of the registration's local path, as a copy of its place."""
        location = registration.location
        place = Place(self._store(location, registration.profile).endpoint, str(location))
        return Index(RootIndex(self.cache_root, registration.local), place)

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
        return checked(Registration(kind, location, resolved, root, chosen, compare, max_delete, **details))

    def _register(self, wanted: Registration, begin: Callable[[Link], None]) -> Path:
        self._registry.register(wanted, self._link, begin)
        self._observer.registered(wanted.kind, str(wanted.location))
        return Path(wanted.local)


def _after_fork_in_child() -> None:
    for mirror in list(mirrors):
        mirror._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
