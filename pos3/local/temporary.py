"""Names of unfinished files, which are never content: not listed, not uploaded, removed when their writer is gone."""

from __future__ import annotations

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
_ABANDONED_SECONDS = 600


def temporary_name() -> str:
    """A new name, to be used beside the target: ``.pos3-<host>-<pid>-<random>.tmp``."""
    return f".pos3-{_HOST}-{os.getpid()}-{_RANDOM}{next(_numbers) % 0x1000000:06x}.tmp"


def is_temporary(name: str) -> bool:
    """Whether it is the name of an unfinished file."""
    return name.startswith(".pos3-") and _NAME.fullmatch(name) is not None


def has_temporary_name(path: str) -> bool:
    """Whether a relative path is that of an unfinished file, or lies below a directory of such a name."""
    return ".pos3-" in path and any(map(is_temporary, path.split("/")))


def remove_abandoned(path: str, name: str = "") -> bool:
    """Removes an unfinished file if its writer, a process of this host, is gone, or if it did not grow for ten minutes.

    Args:
        path: nothing is done if it is no file with a temporary name, such as a directory; a link is not followed.
        name: the temporary name that counts, where the file that stands for it has another.

    Returns:
        whether it was removed. What cannot be removed stays.
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
        # In another container, or one that was started again, the pid may be that of somebody else.
        if not is_running(pid):
            return True
    return time.time() - modified_seconds > _ABANDONED_SECONDS
