"""Finds the objects and prefixes whose keys match a glob, and lists no more than what can match it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import takewhile

from pos3.entries import Entry
from pos3.filters import entry_matcher
from pos3.store import Store, twice_if_unsorted
from pos3.url import Location

_WILDCARDS = frozenset("*?[")
# Directories of one level are listed side by side.
_MOST_LISTINGS_AT_ONCE = 8


def has_wildcards(text: str) -> bool:
    return not _WILDCARDS.isdisjoint(text)


def glob_base(location: Location) -> tuple[Location, str]:
    """The directory above the first segment of the key that has a wildcard, and the rest of the key: the pattern."""
    segments = location.key.split("/")
    fixed = list(takewhile(lambda segment: not has_wildcards(segment), segments))
    return replace(location, key="/".join(fixed), is_prefix=True), "/".join(segments[len(fixed) :])


def matching_entries(store: Store, key: str, pattern: str, *, only_directories: bool) -> Iterator[Entry]:
    """The objects and directories below the directory ``key`` whose paths match ``pattern``, in no particular order.

    ``*``, ``?`` and ``[...]`` match within a segment, and ``**`` across segments. Without ``**``, only the directories
    that match are listed, level by level, and of each only the names that begin as the segment does.
    """
    segments = pattern.split("/")
    by_level = list(takewhile(lambda segment: "**" not in segment, segments))
    found = _matching_by_levels(store, key, by_level) if by_level else iter([Entry("")])
    if len(by_level) < len(segments):
        rest = "/".join(segments[len(by_level) :])
        tops = (entry.path for entry in found if entry.is_directory or not entry.path)
        found = (entry for top in tops for entry in _matching_at_any_depth(store, key, top, rest))
    return (entry for entry in found if entry.is_directory) if only_directories else found


def _matching_at_any_depth(store: Store, key: str, top: str, pattern: str) -> Iterator[Entry]:
    for entry in _matching_below(store, _joined(key, top), pattern):
        yield entry._replace(path=top + entry.path)


def _matching_below(store: Store, key: str, pattern: str) -> Iterator[Entry]:
    matches = entry_matcher([f"/{pattern}"])
    listed = twice_if_unsorted(lambda: list(store.entries(key, is_prefix=True)))
    directories: set[str] = set()
    for entry in listed:
        name = entry.path.rstrip("/")
        if matches(name):
            yield entry
        while "/" in name:
            name = name.rpartition("/")[0]
            if name in directories:
                break
            directories.add(name)
            if matches(name):
                yield Entry(f"{name}/")


def _matching_by_levels(store: Store, key: str, segments: list[str]) -> Iterator[Entry]:
    directories = [""]
    fixed = ""
    with ThreadPoolExecutor(_MOST_LISTINGS_AT_ONCE, thread_name_prefix="pos3-ls") as threads:
        for index, segment in enumerate(segments):
            is_last = index == len(segments) - 1
            if not is_last and not has_wildcards(segment):
                # What lies between two wildcards need not be listed.
                fixed += f"{segment}/"
                continue
            listing = _listing(store, key, segment)
            within = [directory + fixed for directory in directories]
            fixed = ""
            directories = []
            for found in threads.map(listing, within):
                if is_last:
                    yield from found
                else:
                    directories += [entry.path for entry in found if entry.is_directory]


def _listing(store: Store, key: str, segment: str) -> Callable[[str], list[Entry]]:
    """Lists what matches one segment in a directory, whose path is relative to ``key`` and ends in "/"."""
    matches = entry_matcher([f"/{segment}"]) if has_wildcards(segment) else segment.__eq__
    beginning = "".join(takewhile(lambda letter: letter not in _WILDCARDS, segment))

    def listing(directory: str) -> list[Entry]:
        return [
            entry._replace(path=directory + entry.path)
            for entry in store.children(_joined(key, directory), beginning)
            if matches(entry.path.rstrip("/"))
        ]

    return listing


def _joined(key: str, directory: str) -> str:
    """The key of a directory, whose path is relative to ``key`` and "" or ends in "/"."""
    return "/".join(part for part in (key, directory.removesuffix("/")) if part)
