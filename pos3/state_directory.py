"""The directories in which pos3 keeps what it remembers, ``.pos3``, and which no transfer touches.

What lies in one decides what is uploaded and deleted later, so nobody who can write to a bucket may write there, and
nothing of it is ever published. The name is reserved: it is left out of what is read locally, and a key that has it as
a part is refused.
"""

from __future__ import annotations

import os

STATE_DIRECTORY = ".pos3"
# Made before anything else is written into a state directory.
_FIRST_NAMES = (".locks", "journal")


def lies_in_state(path: str) -> bool:
    """Whether a key or a relative path is that of a state directory, or of something in one."""
    return STATE_DIRECTORY in path and STATE_DIRECTORY in path.split("/")


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
    return any(os.path.lexists(os.path.join(directory, name)) for name in _FIRST_NAMES)
