"""What a listing is made of, and what is remembered of a synced file.

Paths are relative to the listed root, with "/" between segments; the root itself, when it is a single file
or object, has the path "". A path that ends in "/" is an empty directory or its marker object.

Both are named tuples: they are made, and compared, by the hundred thousand.
"""

from __future__ import annotations

import os
from typing import NamedTuple

UNPLACED = "?"
"""The owner of a record that an older version of pos3 wrote, so that nobody knows at which endpoint its object was."""
LATEST_NS = 2**63 - 1
EARLIEST_NS = -LATEST_NS
"""The first and the last moment that an index can hold, in the years 1677 and 2262."""
_INODES = 2**64


def held_ns(nanoseconds: int) -> int:
    """A time as an index can hold it. One that is beyond counts as the first or the last such moment."""
    return min(max(nanoseconds, EARLIEST_NS), LATEST_NS)


UNREADABLE = "cannot be read"
LOST_FOUND = "a directory of the file system's own"
BROKEN_LINK = "a broken symbolic link"
SYMLINK = "a symbolic link"
LINK_TO_STATE = "a symbolic link into a directory in which pos3 keeps its own state"
LEFT_OUT = frozenset(
    (
        BROKEN_LINK,
        LINK_TO_STATE,
        "a FIFO",
        "a socket",
        "a device",
        "neither a file nor a directory",
        "a symbolic link to a directory above it",
        "a symbolic link to itself",
    )
)
"""What ``Entry.unusable`` holds for something that has no content of its own: a push loses nothing without it."""


class Entry(NamedTuple):
    """One file, object or empty directory of a listing.

    ``modified_ns`` is the file's mtime or the object's LastModified, in nanoseconds since the epoch.
    ``etag`` is without quotes and empty for files; ``inode`` is 0 for objects.
    ``unusable`` says why something that exists cannot be transferred (a FIFO, a broken symlink, an unreadable
    directory); it is empty for everything else.
    """

    path: str
    size_bytes: int = 0
    modified_ns: int = 0
    etag: str = ""
    inode: int = 0
    unusable: str = ""

    @classmethod
    def of_file(cls, path: str, status: os.stat_result, unusable: str = "") -> Entry:
        """A file as its status shows it, with numbers that an index can hold: 64 bits, with a sign."""
        inode = status.st_ino
        return cls(
            path,
            status.st_size,
            held_ns(status.st_mtime_ns),
            "",
            inode if inode <= LATEST_NS else inode - _INODES,
            unusable,
        )

    @property
    def is_directory(self) -> bool:
        return self.path.endswith("/")

    @property
    def is_unreadable(self) -> bool:
        """Whether it has content that nobody could look at, for want of permission above all."""
        return self.unusable.startswith(UNREADABLE)


class Record(NamedTuple):
    """The state in which a file and its object were last known to be equal.

    Local side: ``size_bytes``, ``modified_ns``, ``inode``. Remote side: ``etag``. ``owner`` names the mirror that
    last transferred or confirmed the pair.
    """

    path: str
    size_bytes: int
    modified_ns: int
    inode: int
    etag: str
    owner: str = ""

    @classmethod
    def of_pair(cls, file: Entry, etag: str, owner: str) -> Record:
        """A file, and the object that has its content."""
        return cls(file.path, file.size_bytes, file.modified_ns, file.inode, etag, owner)

    def matches_local(self, entry: Entry) -> bool:
        return (
            self.size_bytes == entry.size_bytes and self.modified_ns == entry.modified_ns and self.inode == entry.inode
        )
