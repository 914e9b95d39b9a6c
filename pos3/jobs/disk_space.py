"""Room on the disk: found out before a download begins, made from unused cached data if that may go."""

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
_MOST_RESERVE_BYTES = 1 << 30


@dataclass(frozen=True)
class Room:
    """The room for downloads of one mirror. With ``limit_bytes`` None, nothing is ever evicted."""

    cache_root: str
    limit_bytes: int | None

    def make(self, what: str, local: str, needed_bytes: int) -> None:
        """Returns when ``needed_bytes`` more fit to ``local``, as far as the disk can tell.

        One percent of the file system, one GiB at most, is left to others. If the cache is bounded, data that nobody
        uses makes room, least recently used first, also when it could have stayed within the bound.

        Raises:
            NoSpaceError: they do not fit.
        """
        if needed_bytes <= 0:
            return
        in_cache = lies_in_cache(local, self.cache_root)
        if self.limit_bytes is not None and in_cache:
            evict_to_limit(self.cache_root, max(0, self.limit_bytes - needed_bytes))
        place = existing_parent(local)
        missing_bytes = needed_bytes - _free_bytes(place)
        if missing_bytes > 0 and self.limit_bytes is not None and _on_same_disk(place, self.cache_root):
            evict_to_limit(self.cache_root, max(0, cached_bytes(self.cache_root) - missing_bytes))
            missing_bytes = needed_bytes - _free_bytes(place)
        if missing_bytes > 0:
            raise NoSpaceError(
                errno.ENOSPC,
                f"{os.strerror(errno.ENOSPC)}: the download of {what} needs {format_bytes(needed_bytes)}, and "
                f"{format_bytes(needed_bytes - missing_bytes)} can be used at {local}; nothing was transferred. "
                + self._advice(place),
                path=local,
            )

    def _advice(self, place: str) -> str:
        if self.limit_bytes is not None:
            return "All that is in the cache is in use or not pushed, or lies on another disk; free some space"
        if _on_same_disk(place, self.cache_root):
            return "Free some space ('pos3 cache prune'), or set cache_limit so that unused cached data makes room"
        return "Free some space"


def _free_bytes(place: str) -> int:
    disk = os.statvfs(place)
    if not disk.f_blocks:
        # Some network file systems do not say.
        return sys.maxsize
    reserve_bytes = min(disk.f_blocks * disk.f_frsize // _RESERVE_SHARE, _MOST_RESERVE_BYTES)
    return max(0, disk.f_bavail * disk.f_frsize - reserve_bytes)


def _on_same_disk(place: str, other: str) -> bool:
    return os.stat(place).st_dev == os.stat(existing_parent(other)).st_dev
