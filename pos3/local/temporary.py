"""Names of temporary files. These are never listed or uploaded, and are removed when their writer is dead."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import time
import zlib
from contextlib import suppress

from pos3.local.pids import is_running

_HOST = f"{zlib.crc32(os.uname().nodename.encode()):08x}"
_RANDOM = os.urandom(3).hex()
_numbers = itertools.count()
_NAME = re.compile(r"\.pos3-([0-9a-f]{8})-([0-9]+)-([0-9a-f]{12})\.tmp")
_PART = re.compile(r"(\.pos3-[0-9a-f]{24})\.(?:part|ranges)")
_ABANDONED_SECONDS = 600


def temporary_name() -> str:
    """A new name, ``.pos3-<host>-<pid>-<random>.tmp``, for a file in the directory of its target."""
    return f".pos3-{_HOST}-{os.getpid()}-{_RANDOM}{next(_numbers) % 0x1000000:06x}.tmp"


def part_of(target: str) -> str:
    """The path, ``.pos3-<hash>.part``, of the one file beside ``target`` in which its next download can go on."""
    digest = hashlib.sha256(os.fsencode(target)).hexdigest()[:24]
    return os.path.join(os.path.dirname(target), f".pos3-{digest}.part")


def ranges_of(part: str) -> str:
    """The path, ``.pos3-<hash>.ranges``, of the notes of what has arrived in the file ``part``."""
    return f"{part.removesuffix('.part')}.ranges"


def part_at(path: str) -> str:
    """The path of the part file that a path is, or that it has the notes of; "" for other paths."""
    directory, slash, name = path.rpartition("/")
    match = _PART.fullmatch(name)
    return f"{directory}{slash}{match[1]}.part" if match is not None else ""


def is_temporary(name: str) -> bool:
    """Whether the name is that of a temporary file."""
    return name.startswith(".pos3-") and (_NAME.fullmatch(name) or _PART.fullmatch(name)) is not None


def has_temporary_name(path: str) -> bool:
    """Whether a relative path is that of a temporary file, or lies below a directory with such a name."""
    return ".pos3-" in path and any(map(is_temporary, path.split("/")))


def remove_abandoned(path: str, name: str = "") -> bool:
    """Removes a temporary file if its process, on this host, is dead, or if it was not written for ten minutes.

    Args:
        path: the file. A path without a temporary name, or of a directory, is left as it is. A link is not followed.
        name: the temporary name, if the name of the file itself is another one.

    Returns:
        Whether it was removed. A file that cannot be removed stays, without an error.
    """
    match = _NAME.fullmatch(name or os.path.basename(path))
    if match is not None:
        with suppress(OSError):
            if _is_abandoned(match, os.lstat(path).st_mtime):
                os.unlink(path)
                return True
    return False


def _is_abandoned(match: re.Match[str], modified_seconds: float) -> bool:
    if match[1] == _HOST:
        pid = int(match[2])
        if pid == os.getpid() and match[3].startswith(_RANDOM):
            return False
        # In another or a restarted container, the pid may belong to another process.
        if not is_running(pid):
            return True
    return time.time() - modified_seconds > _ABANDONED_SECONDS
