"""State directories, ``.pos3``: pos3 keeps its state there, and no transfer reads or writes them.

The files in a state directory decide what is uploaded and deleted later. So a user who can write to a bucket must not
be able to write there, and its files are never uploaded. Directories with this name are left out of local listings, and
a key that would lead into one is refused.
"""

from __future__ import annotations

import os

STATE_DIRECTORY = ".pos3"
LOCK_TEST_FILE = ".locks"
"""This file is created with the first lock or index in a state directory. It shows that locks work there."""


def state_directory_of(cache_root: str) -> str:
    """The state directory of a cache."""
    return os.path.join(cache_root, STATE_DIRECTORY)


def lies_in_state(path: str) -> bool:
    """Whether a key or a relative path is a state directory (with "/" at its end), or lies in one."""
    return STATE_DIRECTORY in path and STATE_DIRECTORY in path.split("/")[:-1]


def state_directory_around(path: str, *known: str) -> str:
    """The state directory that contains an absolute path after links are resolved, or "".

    Args:
        known: state directories that may not exist yet. Any other directory with this name counts only if it contains
            state, because a cache root, for example, may have the same name.
    """
    real = os.path.realpath(path)
    if STATE_DIRECTORY not in real:
        return ""
    around = "/"
    for part in real.split("/")[1:]:
        around = os.path.join(around, part)
        if part == STATE_DIRECTORY and (around in known or _is_state(around)):
            return around
    return ""


def _is_state(directory: str) -> bool:
    return os.path.lexists(os.path.join(directory, LOCK_TEST_FILE))
