"""Lists prefixes and local directories as URLs and paths, for :meth:`pos3.Mirror.ls`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pos3.store import Store, Version, twice_if_unsorted
from pos3.url import Location


def list_remote(store: Store, location: Location, recursive: bool) -> list[str]:
    """The URLs of the objects and directories below ``location``, sorted; directories have no slash at the end."""
    if recursive:
        return sorted(location.child(path) for path in _with_directories(_paths(store, location)))
    if location.key and not location.is_prefix and store.survey(location.key).is_object:
        return [str(location)]
    return sorted({location.child(entry.path.rstrip("/")) for entry in store.children(location.key)})


def _paths(store: Store, location: Location) -> list[str]:
    def paths() -> list[str]:
        return [entry.path for entry in store.entries(location.key, is_prefix=location.is_prefix)]

    return twice_if_unsorted(paths)


def list_versions(store: Store, location: Location, recursive: bool) -> Iterator[tuple[str, Version | None]]:
    """The URL and each version of the objects at and below ``location``, in the order of their keys.

    Unless ``recursive``, only objects directly below come with their versions, and directories come once, with None.
    """
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


def _with_directories(paths: list[str]) -> set[str]:
    names = set()
    for path in paths:
        name = path.rstrip("/")
        names.add(name)
        while "/" in name:
            name = name.rpartition("/")[0]
            names.add(name)
    return names


def list_local(address: str | os.PathLike[str], recursive: bool) -> list[str]:
    """The paths of the files and directories in a local directory, sorted. A file is listed as itself."""
    top = Path(os.path.expanduser(os.fspath(address).removeprefix("file://")))
    if not top.is_dir():
        return [str(top)] if top.exists() else []
    return sorted(str(child) for child in (top.rglob("*") if recursive else top.iterdir()))
