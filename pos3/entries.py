"""The entries of a listing, the records of synced files, and ranges of their paths.

Paths are relative to the listed root, with "/" between segments. If the root itself is a single file or object, its
path is "". A path that ends in "/" is that of an empty directory, or of its directory object.

Entries and records are named tuples, because hundreds of thousands of them are made and compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

UNKNOWN_OWNER = "?"
"""The owner of a record that an older version of pos3 wrote. The endpoint of its object is not known."""
LATEST_NS = 2**63 - 1
EARLIEST_NS = -LATEST_NS
"""The latest and the earliest time that an index can store, in the years 2262 and 1677."""
_INODES = 2**64


def storable_ns(nanoseconds: int) -> int:
    """The time, moved into the range that an index can store: 64 bits with a sign."""
    if EARLIEST_NS <= nanoseconds <= LATEST_NS:
        return nanoseconds
    return EARLIEST_NS if nanoseconds < 0 else LATEST_NS


UNREADABLE = "cannot be read"
LOST_FOUND = "a directory of the file system's own"
BROKEN_LINK = "a broken symbolic link"
SYMLINK = "a symbolic link"
LINK_TO_STATE = "a symbolic link into a directory in which pos3 keeps its own state"
WITHOUT_CONTENT = frozenset(
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
"""The values of ``Entry.unusable`` for things without content of their own. A push that skips them loses nothing."""


class Entry(NamedTuple):
    """One file, object or empty directory of a listing.

    ``modified_ns`` is the file's mtime or the object's LastModified, in nanoseconds since the epoch. ``etag`` has no
    quotes, and is empty for files. ``inode`` is 0 for objects. ``unusable`` says why something that exists cannot be
    transferred (a FIFO, a broken symlink, an unreadable directory); it is empty for everything else.
    ``storage_class`` is that of an S3 object, such as "STANDARD", and empty where the store tells none. ``version_id``
    names one version of an object, where it is not the latest that is meant.
    """

    path: str
    size_bytes: int = 0
    modified_ns: int = 0
    etag: str = ""
    inode: int = 0
    unusable: str = ""
    storage_class: str = ""
    version_id: str = ""

    @classmethod
    def of_file(cls, path: str, status: os.stat_result, unusable: str = "") -> Entry:
        """The entry of a file with this status. Its numbers are moved into the range that an index can store."""
        inode = status.st_ino
        return cls(
            path,
            status.st_size,
            storable_ns(status.st_mtime_ns),
            "",
            inode if inode <= LATEST_NS else inode - _INODES,
            unusable,
        )

    @property
    def is_directory(self) -> bool:
        return self.path.endswith("/")

    @property
    def is_unreadable(self) -> bool:
        """Whether it may have content that could not be read, mostly because a permission is missing."""
        return self.unusable.startswith(UNREADABLE)


class Record(NamedTuple):
    """The state in which a file and its object were last known to be equal.

    ``size_bytes``, ``modified_ns`` and ``inode`` describe the file, ``etag`` the object. ``owner`` names the mirror
    that last transferred the pair or found it equal. ``checksum`` is that of the object, as the store told it or was
    told, such as "CRC64NVME rosUhgp5mIg="; it is "" if there was none.
    """

    path: str
    size_bytes: int
    modified_ns: int
    inode: int
    etag: str
    owner: str = ""
    checksum: str = ""

    @classmethod
    def of_pair(cls, file: Entry, etag: str, owner: str, checksum: str = "") -> Record:
        """The record of a file and of the object with the same content."""
        return cls(file.path, file.size_bytes, file.modified_ns, file.inode, etag, owner, checksum)

    def matches_local(self, entry: Entry) -> bool:
        return (
            self.size_bytes == entry.size_bytes and self.modified_ns == entry.modified_ns and self.inode == entry.inode
        )


Listed = TypeVar("Listed", Entry, Record)


@dataclass(frozen=True, slots=True)
class PathRange:
    """The paths after ``after``, up to and with ``until``, in code-point order. With "", that end is open.

    The path "" of a single object lies in the ranges that have no ``after``.
    """

    after: str = ""
    until: str = ""

    @property
    def is_everything(self) -> bool:
        return not (self.after or self.until)

    def __contains__(self, path: str) -> bool:
        return (not self.after or path > self.after) and (not self.until or path <= self.until)

    def __str__(self) -> str:
        ends = (("after", self.after), ("up to", self.until))
        return ", ".join(f"{name} {path!r}" for name, path in ends if path)

    def covers(self, other: PathRange) -> bool:
        """Whether all paths of another range lie in this one."""
        begins = not self.after or (bool(other.after) and self.after <= other.after)
        return begins and (not self.until or (bool(other.until) and other.until <= self.until))

    def reaches(self, directory: str) -> bool:
        """Whether a path at or below a directory can lie in the range. ``directory`` ends in "/"."""
        begins_in_time = not self.until or directory <= self.until
        return begins_in_time and (not self.after or directory > self.after or self.after.startswith(directory))

    def has_border_in(self, directory: str) -> bool:
        """Whether only some of the paths below a directory can lie in the range. ``directory`` ends in "/"."""
        return self.after.startswith(directory) or self.until.startswith(directory)

    def cut(self, listed: Iterable[Listed]) -> Iterator[Listed]:
        """Those of a sorted stream that lie in the range. It reads no further than one item behind the range."""
        return iter(listed) if self.is_everything else self._cut(listed)

    def _cut(self, listed: Iterable[Listed]) -> Iterator[Listed]:
        after, until = self.after, self.until
        for item in listed:
            path = item[0]
            if until and path > until:
                return
            if not after or path > after:
                yield item


EVERY_PATH = PathRange()
