"""Lists prefixes and local directories as URLs and paths, for :meth:`pos3.Mirror.ls`."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pos3.entries import Entry
from pos3.errors import InvalidArgumentError
from pos3.jobs.matching_objects import glob_base, has_wildcards, matching_entries
from pos3.parts import Part
from pos3.profiles import Profile
from pos3.store import Store, Version, directly_below, list_buckets, twice_if_unsorted
from pos3.url import Location

_NS = 1_000_000_000
T = TypeVar("T")


@dataclass(frozen=True)
class Listed:
    """One entry of a listing: an object, a prefix, a bucket, or a local file or directory.

    - ``url`` is the text that :func:`pos3.ls` returns without ``details``: a URL, or a local path.
    - ``size_bytes`` is 0 for a prefix and for a directory.
    - ``modified`` is the time of the last change, in UTC. For a bucket, it is the time of the creation. It is None for
      a prefix, and if the store gives no time.
    - ``etag`` has no quotes. It is "" if there is none.
    - ``storage_class`` is "" if there is none.
    """

    url: str
    size_bytes: int
    modified: datetime | None
    etag: str
    storage_class: str

    @staticmethod
    def of(url: str, entry: Entry) -> Listed:
        """The entry of a listing as a public value."""
        modified = datetime.fromtimestamp(entry.modified_ns / _NS, UTC) if entry.modified_ns else None
        return Listed(url, entry.size_bytes, modified, entry.etag, entry.storage_class)


def list_remote(store: Store, location: Location, recursive: bool) -> list[str]:
    """The URLs of the objects and directories below ``location``, sorted; directories have no slash at the end.

    If the key has wildcards, those that match it, and with ``recursive`` also what lies below them.
    """
    return _listed(store, location, recursive, _urls)


def describe_remote(store: Store, location: Location, recursive: bool) -> list[Listed]:
    """As :func:`list_remote`, with what the listing tells of each."""
    return _listed(store, location, recursive, _described)


def list_part(store: Store, location: Location, part: Part, recursive: bool) -> list[str]:
    """As :func:`list_remote`, of a part of ``location``. A directory is listed if the part has something in it."""
    return _listed_of_part(store, location, part, recursive, _urls)


def describe_part(store: Store, location: Location, part: Part, recursive: bool) -> list[Listed]:
    """As :func:`list_part`, with what the listing tells of each."""
    return _listed_of_part(store, location, part, recursive, _described)


def _listed_of_part(
    store: Store, location: Location, part: Part, recursive: bool, read: Callable[[Location, Iterable[Entry]], list[T]]
) -> list[T]:
    takes_part = part.filter.predicate()
    select = _with_directories if recursive else directly_below

    def listed() -> list[T]:
        entries = store.entries(location.key, is_prefix=location.is_prefix, within=part.within)
        return read(location, select(entry for entry in entries if takes_part(entry.path)))

    return twice_if_unsorted(listed)


def _listed(
    store: Store, location: Location, recursive: bool, read: Callable[[Location, Iterable[Entry]], list[T]]
) -> list[T]:
    if has_wildcards(location.key):
        base, pattern = glob_base(location)
        matching = matching_entries(store, base.key, pattern, only_directories=location.is_prefix)
        entries = _with_content(store, base, matching) if recursive else matching
        # A pattern that matches nothing stands for itself, as in a shell: keys may have such characters.
        if found := read(base, entries):
            return found
    return twice_if_unsorted(lambda: read(location, _entries(store, location, recursive)))


def _urls(base: Location, entries: Iterable[Entry]) -> list[str]:
    return sorted({base.child(entry.path.rstrip("/")) for entry in entries})


def _described(base: Location, entries: Iterable[Entry]) -> list[Listed]:
    found: dict[str, Entry] = {}
    for entry in entries:
        name = entry.path.rstrip("/")
        # An object may have the name of a prefix.
        if not entry.is_directory:
            found[name] = entry
        else:
            found.setdefault(name, Entry(entry.path))
    return [Listed.of(base.child(name), found[name]) for name in sorted(found)]


def _entries(store: Store, location: Location, recursive: bool) -> Iterator[Entry]:
    if recursive:
        yield from _with_directories(store.entries(location.key, is_prefix=location.is_prefix))
    elif location.key and not location.is_prefix and store.survey(location.key).is_object:
        yield from islice(store.entries(location.key, is_prefix=False), 1)
    else:
        yield from store.children(location.key)


def _with_directories(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, and each directory above one of them at least once, as a path that ends in "/"."""
    last = ""
    for entry in entries:
        directory = entry.path.rpartition("/")[0]
        if directory != last:
            last = directory
            while directory:
                yield Entry(f"{directory}/")
                directory = directory.rpartition("/")[0]
        yield entry


def _with_content(store: Store, base: Location, matching: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, and all that lies below those that are directories."""
    for found in matching:
        yield found
        if found.is_directory:
            key = base.object_key(found.path.rstrip("/"))
            below = twice_if_unsorted(lambda key=key: list(store.entries(key, is_prefix=True)))  # type: ignore[misc]
            for entry in _with_directories(below):
                yield entry._replace(path=found.path + entry.path)


def list_versions(store: Store, location: Location, recursive: bool) -> Iterator[tuple[str, Version | None]]:
    """The URL and each version of the objects at and below ``location``, in the order of their keys.

    Unless ``recursive``, only objects directly below come with their versions, and directories come once, with None.

    Raises:
        InvalidArgumentError: the key is a pattern.
    """
    if has_wildcards(location.key):
        raise InvalidArgumentError(
            f"{location}: versions are listed of a prefix or an object, and '*', '?' and '[' make a pattern; list what "
            "is above it",
            argument="prefix",
        )
    return _versions_below(store, location, recursive)


def _versions_below(store: Store, location: Location, recursive: bool) -> Iterator[tuple[str, Version | None]]:
    below = f"{location.key}/" if location.key else ""
    last = ""
    for version in store.versions(below if location.is_prefix else location.key):
        path = version.key.removeprefix(below)
        if version.key == location.key and not location.is_prefix:
            yield str(location), version
        elif path and version.key.startswith(below):
            name, slash, _ = path.partition("/")
            if recursive or not slash:
                yield location.child(path), version
            elif name != last:
                last = name
                yield location.child(name), None


def list_all_buckets(profile: Profile | None) -> list[str]:
    """The URLs of all buckets of a caller, sorted."""
    return sorted(f"s3://{bucket.name}" for bucket in list_buckets(profile).found)


def describe_all_buckets(profile: Profile | None) -> list[Listed]:
    """As :func:`list_all_buckets`, with the times of their creation."""
    described = [Listed(f"s3://{bucket.name}", 0, bucket.created, "", "") for bucket in list_buckets(profile).found]
    return sorted(described, key=lambda bucket: bucket.url)


def list_local(address: str | os.PathLike[str], recursive: bool) -> list[str]:
    """The paths of the files and directories in a local directory, sorted. A file is listed as itself.

    If nothing has this name, it may be a pattern: then what matches it is listed, and with ``recursive`` also what lies
    below that.
    """
    top = Path(os.path.expanduser(os.fspath(address).removeprefix("file://")))
    if not top.exists() and has_wildcards(str(top)):
        found = sorted(glob.glob(str(top), recursive=True))
        below = (str(path) for name in found for path in Path(name).rglob("*")) if recursive else ()
        return sorted({*found, *below})
    if not top.is_dir():
        return [str(top)] if top.exists() else []
    return sorted(str(child) for child in (top.rglob("*") if recursive else top.iterdir()))


def describe_local(address: str | os.PathLike[str], recursive: bool) -> list[Listed]:
    """As :func:`list_local`, with sizes and times. What is gone meanwhile is left out."""
    return [listed for path in list_local(address, recursive) for listed in _described_path(path)]


def _described_path(path: str) -> Iterator[Listed]:
    try:
        status = os.stat(path) if os.path.exists(path) else os.lstat(path)
    except FileNotFoundError:
        return
    entry = Entry.of_file("", status)
    yield Listed.of(path, entry._replace(size_bytes=0) if os.path.isdir(path) else entry)
