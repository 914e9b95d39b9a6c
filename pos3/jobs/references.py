"""What a local path stands for: enough to find its content again in another mirror, on another machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pos3.filters import Filter
from pos3.jobs.fingerprints import fingerprint_of_files, is_as_remembered, with_records
from pos3.jobs.registration import Registration
from pos3.local import is_within, lies_in_cache, relative
from pos3.profiles import Profile, name_of_directory, name_of_profile, resolve_profile
from pos3.state import Index, Place, RootIndex
from pos3.store import endpoint_of as look_up
from pos3.url import parse

EndpointOf = Callable[[str, Profile | None], str]


@dataclass(frozen=True)
class Reference:
    """Where the content of a local path lies. Holds no secret, and can be pickled.

    ``root`` is the local directory or file that mirrors ``root_url``, ``path`` what is meant below it, or "" for all
    of it. ``cache_root`` is the cache that remembers the root. ``pushes`` says that the root may hold what was still to
    be uploaded. ``endpoint`` is that of the URL's profile where the reference is used; None to look it up.
    """

    root_url: str
    path: str
    root: str
    cache_root: str
    pushes: bool = False
    is_directory: bool = False
    endpoint: str | None = None

    @property
    def url(self) -> str:
        """The URL of what is meant, with the profile's name if it has one; ends in "/" for a directory."""
        here = "/".join(part for part in (self.root_url.rstrip("/"), self.path) if part)
        return f"{here}/" if self.is_directory else here

    @property
    def local(self) -> str:
        return os.path.join(self.root, self.path) if self.path else self.root

    def local_copy(self) -> Path | None:
        """The local path, if it exists and the cache of this machine says that it mirrors the URL; asks no server."""
        return Path(self.local) if os.path.exists(self.local) and self.is_known_to(self.cache_root) else None

    def is_known_to(self, cache_root: str) -> bool:
        """Whether this cache remembers ``root`` as a copy of ``root_url``."""
        return self._index(cache_root).is_known

    def has_local_changes(self, cache_root: str) -> bool:
        """Whether a file at the local path is not as this cache remembers it, and so perhaps nowhere else."""
        found = with_records(self._index(cache_root), self.path, lambda path: True)
        return any(file is not None and not is_as_remembered(file, record) for file, record in found)

    def fingerprint(self, chosen: Filter) -> str | None:
        """That of the objects, if the files are as the cache remembers them."""
        return fingerprint_of_files(self._index(self.cache_root), self.path, chosen.predicate())

    def _index(self, cache_root: str) -> Index:
        root = RootIndex(cache_root, self.root)
        location = parse(self.root_url)
        endpoint = self.endpoint
        if endpoint is None and root.exists:
            endpoint = look_up(location.scheme, resolve_profile(None, url_profile=location.profile))
        return Index(root, Place(endpoint, str(location)))


def refer(
    path: str,
    cache_root: str,
    registrations: list[Registration],
    default_profile: Profile | None,
    endpoint_of: EndpointOf = look_up,
) -> Reference | None:
    """What a path stands for: by the innermost registration that holds it, else by what the cache remembers.

    None if neither knows it, if it is left out by the registration's filter, or if its profile has no name that could
    be written down.
    """
    for candidate in _spellings(path):
        found = _registered(candidate, cache_root, registrations, default_profile, endpoint_of) or _remembered(
            candidate, cache_root, default_profile, endpoint_of
        )
        if found is not None:
            return replace(found, is_directory=os.path.isdir(candidate))
    return None


def _spellings(path: str) -> tuple[str, ...]:
    """The absolute path, with the links that lead to it resolved; and with one that it is itself."""
    directory, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
    return os.path.join(os.path.realpath(directory), name), os.path.realpath(path)


def _registered(
    path: str,
    cache_root: str,
    registrations: list[Registration],
    default_profile: Profile | None,
    endpoint_of: EndpointOf,
) -> Reference | None:
    holding = [found for found in registrations if is_within(path, found.local)]
    if not holding:
        return None
    registration = max(holding, key=lambda found: len(found.local))
    below = relative(path, registration.local)
    if below and not os.path.isdir(path) and not registration.filter.predicate()(below):
        return None
    name = _name(registration.profile, default_profile)
    if name is None:
        return None
    url = _with_profile(str(registration.location), name)
    endpoint = endpoint_of(registration.location.scheme, registration.profile)
    return Reference(url, below, registration.local, cache_root, registration.pushes, endpoint=endpoint)


def _remembered(
    path: str, cache_root: str, default_profile: Profile | None, endpoint_of: EndpointOf
) -> Reference | None:
    for root in _upwards(path, cache_root):
        places = RootIndex(cache_root, root).places()
        if not places:
            continue
        local_name = os.path.relpath(root, cache_root).split(os.sep)[0].rpartition("+")[2]
        name = "" if local_name == "_" else _name_by_directory(local_name, default_profile)
        if name is None:
            return None
        profile = resolve_profile(None, url_profile=name) if name else default_profile
        for place in (known.place for known in places):
            endpoint = endpoint_of(parse(place.url).scheme, profile)
            if place.endpoint in (None, endpoint):
                url, below = _with_profile(place.url, name), relative(path, root)
                # What an earlier mirror has left undone is not known any more.
                return Reference(url, below, root, cache_root, pushes=True, endpoint=endpoint)
        return None
    return None


def _upwards(path: str, cache_root: str) -> Iterator[str]:
    while path != cache_root and lies_in_cache(path, cache_root):
        yield path
        path = os.path.dirname(path)


def _name(profile: Profile | None, default_profile: Profile | None) -> str | None:
    """The name to write into a URL; "" if it needs none, None if there is none."""
    if profile is None:
        return ""
    name = name_of_profile(profile)
    return "" if name is None and profile == default_profile else name


def _name_by_directory(local_name: str, default_profile: Profile | None) -> str | None:
    name = name_of_directory(local_name)
    is_default = default_profile is not None and default_profile.local_name == local_name
    return "" if name is None and is_default else name


def _with_profile(url: str, name: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{name}@{rest}" if name else url
