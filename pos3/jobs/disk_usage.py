"""Adds up files and bytes by directory, for ``pos3 du``. Memory grows with the depth of the tree and what is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pos3.entries import Entry
from pos3.local import Scan, local_entries
from pos3.store import Store, twice_if_unsorted
from pos3.url import Location


@dataclass(frozen=True)
class DirectoryUsage:
    """How many files or objects lie in a directory, at any depth, and their bytes. The path of the top is ""."""

    path: str
    files: int
    size_bytes: int


@dataclass
class _Open:
    """A directory of which more entries may come."""

    path: str
    files: int = 0
    size_bytes: int = 0

    def add(self, files: int, size_bytes: int) -> None:
        self.files += files
        self.size_bytes += size_bytes


def usage_by_directory(entries: Iterable[Entry], depth: int | None = None) -> Iterator[DirectoryUsage]:
    """The usage of each directory down to ``depth`` levels below the top: those in a directory first, then itself.

    Args:
        entries: in the order of a listing.
        depth: 0 for the top alone, None for all levels.
    """
    opened = [_Open("")]
    for entry in entries:
        directory = entry.path.rpartition("/")[0]
        shown = directory.split("/")[:depth] if directory else []
        path = "".join(f"{name}/" for name in shown)
        while not path.startswith(opened[-1].path):
            yield _closed(opened)
        while path != opened[-1].path:
            opened.append(_Open(path[: path.index("/", len(opened[-1].path)) + 1]))
        if not entry.is_directory and not entry.unusable:
            opened[-1].add(1, entry.size_bytes)
    while opened:
        yield _closed(opened)


def _closed(opened: list[_Open]) -> DirectoryUsage:
    last = opened.pop()
    if opened:
        opened[-1].add(last.files, last.size_bytes)
    return DirectoryUsage(last.path.removesuffix("/"), last.files, last.size_bytes)


def remote_usage(store: Store, location: Location, depth: int | None) -> list[DirectoryUsage]:
    """The usage of what lies at a location. The objects are listed once, and not kept."""

    def added_up() -> list[DirectoryUsage]:
        return list(usage_by_directory(store.entries(location.key, is_prefix=location.is_prefix), depth))

    return twice_if_unsorted(added_up)


def local_usage(root: str, depth: int | None, on_unreadable: Callable[[Entry], object]) -> list[DirectoryUsage]:
    """The usage of a local path. Symbolic links and pos3's own files do not count.

    Args:
        on_unreadable: called with what could not be read, and so does not count.
    """
    scan = Scan(follow_symlinks=False, takes_part=lambda path: True, prunes=lambda path: False)

    def readable() -> Iterator[Entry]:
        for entry in local_entries(root, scan):
            if entry.is_unreadable:
                on_unreadable(entry)
            yield entry

    return list(usage_by_directory(readable(), depth))
