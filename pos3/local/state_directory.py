"""The directories in which pos3 keeps what it remembers, ``.pos3``, and which no transfer touches.

What lies in one decides what is uploaded and deleted later, so nobody who can write to a bucket may write there, and
nothing of it is ever published. The name is reserved for directories: such a one is left out of what is read locally,
and a key that leads into one is refused.
"""

from __future__ import annotations

import os

STATE_DIRECTORY = ".pos3"
LOCKS = ".locks"
"""Made by whoever first locks or remembers something in a state directory."""


def state_directory_of(cache_root: str) -> str:
    """The state directory of a cache."""
    return os.path.join(cache_root, STATE_DIRECTORY)


def lies_in_state(path: str) -> bool:
    """Whether a key or a relative path is that of a state directory (it ends in "/"), or of something in one."""
    return STATE_DIRECTORY in path and STATE_DIRECTORY in path.split("/")[:-1]


def state_directory_around(path: str, *known: str) -> str:
    """The state directory that an absolute path leads into, links resolved, or "".

    Args:
        known: state directories that may not exist yet. Others are told by what is in them, since a cache root, say,
            may have the same name.
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
    return os.path.lexists(os.path.join(directory, LOCKS))
