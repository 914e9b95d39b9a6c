"""Names of unfinished files, which are never content: not listed, not uploaded, removed when their writer is gone."""

from __future__ import annotations

import itertools
import os
import re
import zlib

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


def is_abandoned(name: str, modified_seconds: float, now_seconds: float) -> bool:
    """Whether the file's writer, a process of this host, is gone, or the file has not grown for ten minutes."""
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    if match[1] == _HOST:
        pid = int(match[2])
        if pid == os.getpid() and match[3].startswith(_RANDOM):
            return False
        # In another container, or one that was started again, the pid may be that of somebody else.
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
    return now_seconds - modified_seconds > _ABANDONED_SECONDS
