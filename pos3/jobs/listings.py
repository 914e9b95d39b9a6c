"""Listings as URLs and paths, for people and scripts."""

from __future__ import annotations

import os
from pathlib import Path

from pos3.store import Store, twice_if_unsorted
from pos3.url import Location


def list_remote(store: Store, location: Location, recursive: bool) -> list[str]:
    """The URLs of what lies below ``location``, sorted; directories too, without a trailing slash."""
    if recursive:
        return sorted(location.child(path) for path in _with_directories(_paths(store, location)))
    if location.key and not location.is_prefix and store.survey(location.key).is_object:
        return [str(location)]
    return sorted({location.child(entry.path.rstrip("/")) for entry in store.children(location.key)})


def _paths(store: Store, location: Location) -> list[str]:
    def paths() -> list[str]:
        return [entry.path for entry in store.entries(location.key, is_prefix=location.is_prefix)]

    return twice_if_unsorted(paths)


def _with_directories(paths: list[str]) -> set[str]:
    found = set()
    for path in paths:
        name = path.rstrip("/")
        found.add(name)
        while "/" in name:
            name = name.rpartition("/")[0]
            found.add(name)
    return found


def list_local(address: str | os.PathLike[str], recursive: bool) -> list[str]:
    """The paths of what lies in a local directory, sorted; of a file, its own."""
    shown = Path(os.path.expanduser(os.fspath(address).removeprefix("file://")))
    if not shown.is_dir():
        return [str(shown)] if shown.exists() else []
    return sorted(str(child) for child in (shown.rglob("*") if recursive else shown.iterdir()))
