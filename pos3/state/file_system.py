"""What the file system of a directory can do, found out by trying."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass

from pos3.local import ignores_case
from pos3.state.locks import has_locks

# No step of a clock is a whole number of these.
_ODD_NS = 1_234_567_891_123_456_789


@dataclass(frozen=True)
class Abilities:
    """What was found.

    ``time_error_ns`` is by how much a file's time differs from the one that it was given. ``ignores_case`` tells
    whether names that differ in case alone are the same name.
    """

    has_locks: bool
    has_links: bool
    ignores_case: bool
    time_error_ns: int


def abilities_of(directory: str) -> Abilities:
    """What the file system of an existing directory can do. What is written for it is removed.

    Raises:
        OSError: nothing can be written there.
    """
    with tempfile.TemporaryDirectory(prefix=".pos3-doctor-", dir=directory) as trial:
        path = os.path.join(trial, "file")
        with open(path, "wb"):
            pass
        os.utime(path, ns=(_ODD_NS, _ODD_NS))
        time_error_ns = abs(os.stat(path).st_mtime_ns - _ODD_NS)
        try:
            os.symlink("file", os.path.join(trial, "link"))
            has_links = True
        except OSError:
            has_links = False
        return Abilities(has_locks(trial), has_links, ignores_case(trial), time_error_ns)
