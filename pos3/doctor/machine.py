"""Looks at this machine: versions, the cache and its file system."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from pos3.doctor.findings import Finding, bad, failed, good
from pos3.local import existing_parent
from pos3.reports import format_bytes
from pos3.state import abilities_of, cached_bytes
from pos3.store import versions_of_libraries

_LITTLE_ROOM_BYTES = 1024**3
_COARSE_NS = 1_000_000


def check_machine(cache_root: str) -> Iterator[Finding]:
    """Findings about this machine. Nothing stays of what is written for them.

    Args:
        cache_root: the absolute path of the cache, which need not exist.
    """
    yield good("versions", ", ".join((f"pos3 {_own_version()}", f"Python {platform.python_version()}", _libraries())))
    directory = existing_parent(cache_root)
    if not os.access(directory, os.W_OK | os.X_OK):
        advice = "give this user write permission, or name another cache with --cache-root or POS3_CACHE_ROOT"
        yield bad("cache", f"{cache_root}: {directory} cannot be written", advice)
        return
    yield _room(cache_root, directory)
    try:
        yield _file_system(directory)
    except OSError as error:
        yield failed("file system", error)


def _own_version() -> str:
    try:
        return version("pos3")
    except PackageNotFoundError:
        return "(not installed)"


def _libraries() -> str:
    return ", ".join(f"{name} {number}" for name, number in versions_of_libraries().items())


def _room(cache_root: str, directory: str) -> Finding:
    free_bytes = shutil.disk_usage(directory).free
    held, free = format_bytes(cached_bytes(cache_root)), format_bytes(free_bytes)
    told = f"{cache_root} holds {held}, {free} of its disk are free"
    if free_bytes >= _LITTLE_ROOM_BYTES:
        return good("cache", told)
    return bad("cache", told, "make room: 'pos3 cache prune --older-than 30d', or another cache with --cache-root")


def _file_system(directory: str) -> Finding:
    found = abilities_of(directory)
    told = ", ".join(
        (
            "has locks" if found.has_locks else "no locks",
            "has symbolic links" if found.has_links else "no symbolic links",
            "upper and lower case are the same name" if found.ignores_case else "tells upper from lower case",
            f"keeps times to {_shown_step(found.time_error_ns)}",
        )
    )
    advice = [
        *([] if found.has_locks else ["without locks, one process at a time should use this cache"]),
        *([] if found.time_error_ns < _COARSE_NS else ["with such times, a change within a moment is not noticed"]),
    ]
    if not advice:
        return good("file system", told)
    return bad("file system", told, f"{'; '.join(advice)}: name a cache on a local disk with --cache-root")


def _shown_step(error_ns: int) -> str:
    for limit_ns, shown in ((1, "the nanosecond"), (1000, "the microsecond"), (_COARSE_NS, "the millisecond")):
        if error_ns < limit_ns:
            return shown
    return f"{error_ns / 1e9:.3f} s"
