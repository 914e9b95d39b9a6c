"""The stores of one mirror: it finds the profile and endpoint of a URL, and keeps one store for each bucket."""

from __future__ import annotations

import threading

from pos3.profiles import Profile, resolve_profile
from pos3.store import Store, endpoint_of, open_store
from pos3.url import Location, parse


class Stores:
    """The stores of one mirror. It may be used from several threads.

    Args:
        default_profile: the profile of URLs and calls that name none.
        max_workers: the maximum number of requests in flight of each transfer; None leaves it to the stores.
    """

    def __init__(self, default_profile: Profile | None, max_workers: int | None):
        self.default_profile = default_profile
        self._max_workers = max_workers
        self._lock = threading.Lock()
        self._stores: dict[tuple[str, str, Profile | None], Store] = {}
        self._endpoints: dict[tuple[str, Profile | None], str] = {}

    def after_fork(self) -> Stores:
        """The stores of a forked child, which shares no connection with its parent."""
        return Stores(self.default_profile, self._max_workers)

    def resolve(self, url: str, profile: str | Profile | None) -> tuple[Location, Profile | None]:
        """The location and the profile of a URL. The profile is that of the URL, the argument, or else the default.

        Raises:
            InvalidURLError, ProfileError: the URL or the profile cannot be used.
        """
        location = parse(url)
        resolved = resolve_profile(profile, url_profile=location.profile)
        return location, resolved if resolved is not None else self.default_profile

    def of(self, location: Location, profile: Profile | None) -> Store:
        """The store of ``location``. All calls for one bucket and profile get the same store."""
        key = (location.scheme, location.bucket, profile)
        with self._lock:
            store = self._stores.get(key)
            if store is None:
                store = self._stores[key] = open_store(location, profile, self._max_workers)
            return store

    def endpoint(self, scheme: str, profile: Profile | None) -> str:
        """The endpoint of a profile. It is looked up once, because that may read AWS's configuration files."""
        key = (scheme, profile)
        with self._lock:
            if key not in self._endpoints:
                stores = (store for known, store in self._stores.items() if (known[0], known[2]) == key)
                store = next(stores, None)
                self._endpoints[key] = endpoint_of(scheme, profile) if store is None else store.endpoint
            return self._endpoints[key]

    def hang_up(self) -> None:
        """Ends idle connections, of all stores."""
        for store in list(self._stores.values()):
            store.hang_up()

    def abort_unfinished(self) -> None:
        """Aborts multipart uploads that were stopped, in all stores."""
        for store in list(self._stores.values()):
            store.abort_unfinished(stopped=True)
