"""Checks before a download that its files fit on the disk, and evicts unused cached data if they do not."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import dataclass

from pos3.errors import NoSpaceError
from pos3.local import existing_parent, lies_in_cache
from pos3.reports import format_bytes
from pos3.state import cached_bytes, evict_to_limit

_RESERVE_SHARE = 100
_MAX_RESERVE_BYTES = 1 << 30


@dataclass(frozen=True)
class DiskSpace:
    """The disk space for the downloads of one mirror. If ``limit_bytes`` is None, nothing is evicted."""

    cache_root: str
    limit_bytes: int | None

    def ensure(self, url: str, local: str, needed_bytes: int) -> None:
        """Returns if ``needed_bytes`` more fit at ``local``, as far as the file system can tell.

        One percent of the file system, at most one GiB, is left free. If the cache has a limit, unused data is evicted,
        the least recently used first: to stay within the limit, and beyond that if the disk is too full.

        Raises:
            NoSpaceError: they do not fit.
        """
        if needed_bytes <= 0:
            return
        in_cache = lies_in_cache(local, self.cache_root)
        if self.limit_bytes is not None and in_cache:
            evict_to_limit(self.cache_root, max(0, self.limit_bytes - needed_bytes), spares_part_files=True)
        directory = existing_parent(local)
        missing_bytes = needed_bytes - _free_bytes(directory)
        if missing_bytes > 0 and self.limit_bytes is not None and _are_on_same_disk(directory, self.cache_root):
            evict_to_limit(self.cache_root, max(0, cached_bytes(self.cache_root) - missing_bytes))
            missing_bytes = needed_bytes - _free_bytes(directory)
        if missing_bytes > 0:
            raise NoSpaceError(
                errno.ENOSPC,
                f"{os.strerror(errno.ENOSPC)}: the download of {url} needs {format_bytes(needed_bytes)}, and "
                f"{format_bytes(needed_bytes - missing_bytes)} can be used at {local}; nothing was transferred. "
                + self._advice(directory),
                path=local,
            )

    def _advice(self, directory: str) -> str:
        if self.limit_bytes is not None:
            return "All that is in the cache is in use or not pushed, or lies on another disk; free some space"
        if _are_on_same_disk(directory, self.cache_root):
            return "Free some space ('pos3 cache prune'), or set cache_limit so that unused cached data makes room"
        return "Free some space"


def _free_bytes(directory: str) -> int:
    disk = os.statvfs(directory)
    if not disk.f_blocks:
        # Some network file systems do not report their size.
        return sys.maxsize
    reserve_bytes = min(disk.f_blocks * disk.f_frsize // _RESERVE_SHARE, _MAX_RESERVE_BYTES)
    return max(0, disk.f_bavail * disk.f_frsize - reserve_bytes)


def _are_on_same_disk(directory: str, other: str) -> bool:
    return os.stat(directory).st_dev == os.stat(existing_parent(other)).st_dev
