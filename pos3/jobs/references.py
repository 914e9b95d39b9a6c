"""Makes references of local paths, with which another mirror, also on another machine, finds the content again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pos3.filters import Filter
from pos3.jobs.fingerprints import files_with_records, fingerprint_of_files, is_as_recorded
from pos3.jobs.registration import Registration
from pos3.local import is_within, lies_in_cache, relative
from pos3.profiles import Profile, name_of_directory, name_of_profile, resolve_profile
from pos3.state import Index, Place, RootIndex
from pos3.store import endpoint_of as look_up_endpoint
from pos3.url import parse

EndpointOf = Callable[[str, Profile | None], str | None]
Arguments = tuple[tuple[str, Any], ...]
_FILTERS = ("include", "exclude", "require_marker", "skip_archived", "fingerprint", "as_of")
_OF_UPLOAD = (
    "include",
    "exclude",
    "compare",
    "interval",
    "watch",
    "sync_on_error",
    "overwrite",
    "upload_last",
    "follow_symlinks",
    "extra_args",
)


@dataclass(frozen=True)
class Reference:
    """Says at which URL the content of a local path is. It holds no secret, and can be pickled.

    - ``root`` is the local directory or file that mirrors ``root_url``. ``path`` is the path below it, or "" for all of
      it.
    - ``cache_root`` is the cache that has the index of the root.
    - ``pushes`` says that the root may hold files that were not uploaded yet.
    - ``endpoint`` is the endpoint of the profile on the machine that uses the reference. None means that it is looked
      up.
    - ``exists`` is False if nothing was at the local path, or only an empty directory for upload.
    - ``filters`` are the arguments that filter the download of ``root``.
    - ``upload`` are the arguments of an open registration for upload of ``root``. It is None if there is no such
      registration.
    """

    root_url: str
    path: str
    root: str
    cache_root: str
    pushes: bool = False
    is_directory: bool = False
    endpoint: str | None = None
    exists: bool = True
    filters: Arguments = ()
    upload: Arguments | None = None

    @property
    def is_part_of_filtered_root(self) -> bool:
        """Whether it is a directory below a root with filters. If so, the whole root is downloaded."""
        return bool(self.filters and self.path and self.is_directory)

    @property
    def as_of(self) -> str | None:
        """The ``as_of`` of the download, as text. None means the present state."""
        moment: str | None = dict(self.filters).get("as_of")
        return moment

    @property
    def url(self) -> str:
        """The URL of the path, with the name of the profile if it has one. The URL of a directory ends in "/"."""
        url = "/".join(part for part in (self.root_url.rstrip("/"), self.path) if part)
        return f"{url}/" if self.is_directory else url

    @property
    def local(self) -> str:
        """The local path."""
        return os.path.join(self.root, self.path) if self.path else self.root

    def local_copy(self) -> Path | None:
        """Returns the local path if it exists and the cache of this machine knows that it mirrors the URL, else None.

        This sends no request.
        """
        return Path(self.local) if os.path.exists(self.local) and self.is_known_to(self.cache_root) else None

    def is_known_to(self, cache_root: str) -> bool:
        """Whether this cache knows ``root`` as a copy of ``root_url``."""
        return self._index(cache_root).is_known

    def has_local_changes(self, cache_root: str) -> bool:
        """Whether a file at the local path differs from its record in this cache. Such a file may be in no store."""
        files = files_with_records(self._index(cache_root), self.path, lambda path: True)
        return any(file is not None and not is_as_recorded(file, record) for file, record in files)

    def fingerprint(self, chosen: Filter) -> str | None:
        """The fingerprint of the objects, if the local files still match the records of the cache, else None."""
        return fingerprint_of_files(self._index(self.cache_root), self.path, chosen.predicate())

    def _index(self, cache_root: str) -> Index:
        root = RootIndex(cache_root, self.root)
        location = parse(self.root_url)
        endpoint = self.endpoint
        if endpoint is None and root.exists:
            endpoint = look_up_endpoint(location.scheme, resolve_profile(None, url_profile=location.profile))
        return Index(root, Place(endpoint, str(location)))


def find_reference(
    path: str,
    cache_root: str,
    registrations: list[Registration],
    default_profile: Profile | None,
    endpoint_of: EndpointOf = look_up_endpoint,
) -> Reference | None:
    """The reference of a path, from the innermost registration that contains it, or else from the cache.

    It is None if neither knows the path, if the registration's filter leaves the path out, or if its profile has no
    name that a URL could hold.
    """
    for candidate in _spellings(path):
        reference = _from_registrations(
            candidate, cache_root, registrations, default_profile, endpoint_of
        ) or _from_cache(candidate, cache_root, default_profile, endpoint_of)
        if reference is not None:
            return with_local_state(reference)
    return None


def with_local_state(reference: Reference) -> Reference:
    """The reference with what is at its local path now."""
    is_directory = os.path.isdir(reference.local)
    exists = os.path.lexists(reference.local)
    if is_directory and reference.upload is not None:
        exists = any(os.scandir(reference.local))
    return replace(reference, is_directory=is_directory, exists=exists)


def _spellings(path: str) -> tuple[str, ...]:
    """The absolute path with the links above it resolved, and the same with the link that it may be itself resolved."""
    directory, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
    return os.path.join(os.path.realpath(directory), name), os.path.realpath(path)


def _from_registrations(
    path: str,
    cache_root: str,
    registrations: list[Registration],
    default_profile: Profile | None,
    endpoint_of: EndpointOf,
) -> Reference | None:
    containing = [registration for registration in registrations if is_within(path, registration.local)]
    if not containing:
        return None
    registration = max(containing, key=lambda registration: len(registration.local))
    return reference_in(registration, path, cache_root, default_profile, endpoint_of)


def reference_in(
    registration: Registration,
    path: str,
    cache_root: str,
    default_profile: Profile | None,
    endpoint_of: EndpointOf = look_up_endpoint,
    *,
    is_open: bool = True,
) -> Reference | None:
    """The reference of an absolute path at or below the local path of a registration, or None.

    Args:
        is_open: whether the mirror of the registration still pushes what is written there.
    """
    below = relative(path, registration.local)
    if below and not os.path.isdir(path) and not registration.filter.predicate()(below):
        return None
    url = with_profile_name(str(registration.location), registration.profile, default_profile)
    if url is None:
        return None
    endpoint = endpoint_of(registration.location.scheme, registration.profile)
    request = registration.request
    values = {name: getattr(request, name) for name in _FILTERS if getattr(request, name, None)}
    upload = None
    if registration.pushes and is_open:
        exclude = request.exclude if request.upload_exclude is None else request.upload_exclude
        upload = tuple((name, exclude if name == "exclude" else getattr(request, name)) for name in _OF_UPLOAD)
    filters = tuple(values.items())
    return Reference(
        url,
        below,
        registration.local,
        cache_root,
        registration.pushes,
        endpoint=endpoint,
        filters=filters,
        upload=upload,
    )


def _from_cache(
    path: str, cache_root: str, default_profile: Profile | None, endpoint_of: EndpointOf
) -> Reference | None:
    for root in _path_and_parents(path, cache_root):
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
                # It is not known whether an earlier mirror has pushed everything.
                return Reference(url, below, root, cache_root, pushes=True, endpoint=endpoint)
        return None
    return None


def _path_and_parents(path: str, cache_root: str) -> Iterator[str]:
    """The path and the directories above it, up to the cache root, which is left out."""
    while path != cache_root and lies_in_cache(path, cache_root):
        yield path
        path = os.path.dirname(path)


def with_profile_name(url: str, profile: Profile | None, default_profile: Profile | None) -> str | None:
    """The URL with the name of its profile; None if the profile has no name that a URL could hold."""
    name = _name(profile, default_profile)
    return None if name is None else _with_profile(url, name)


def _name(profile: Profile | None, default_profile: Profile | None) -> str | None:
    """The name of a profile for a URL: "" if the URL needs none, None if the profile has no name."""
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
