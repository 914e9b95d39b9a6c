"""Lists prefixes and local directories as URLs and paths, for :meth:`pos3.Mirror.ls`."""

from __future__ import annotations

import os
from pathlib import Path

from pos3.entries import EVERY_PATH, PathRange
from pos3.parts import Part
from pos3.store import Store, twice_if_unsorted
from pos3.url import Location


def list_remote(store: Store, location: Location, recursive: bool) -> list[str]:
    """The URLs of the objects and directories below ``location``, sorted; directories have no slash at the end."""
    if recursive:
        return sorted(location.child(path) for path in _with_directories(_paths(store, location, EVERY_PATH)))
    if location.key and not location.is_prefix and store.survey(location.key).is_object:
        return [str(location)]
    return sorted({location.child(entry.path.rstrip("/")) for entry in store.children(location.key)})


def list_part(store: Store, location: Location, part: Part, recursive: bool) -> list[str]:
    """As :func:`list_remote`, of a part of ``location``. A directory is listed if the part has something in it."""
    takes_part = part.filter.predicate()
    paths = [path for path in _paths(store, location, part.within) if takes_part(path)]
    if recursive:
        return sorted(location.child(path) for path in _with_directories(paths))
    return sorted({location.child(path.partition("/")[0]) for path in paths})


def _paths(store: Store, location: Location, within: PathRange) -> list[str]:
    def paths() -> list[str]:
        return [entry.path for entry in store.entries(location.key, is_prefix=location.is_prefix, within=within)]

    return twice_if_unsorted(paths)


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
