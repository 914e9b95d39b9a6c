"""Shares the descriptors of this process between its windows."""

from __future__ import annotations

import os
import resource

from pos3.store.s3.window import MOST, Window

# The other half is for local files and for other code in the process.
_SHARE = 2
# Several threads change it. Each change is one step of the interpreter, and so is the copy that tuple() makes.
_open: set[Window] = set()


def allowed(held: int) -> int:
    """How many requests may be in flight, if ``held`` may be already.

    All windows together use half of the descriptors.
    """
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MOST
    others = sum(window.limit for window in tuple(_open)) - held
    return max(1, min(MOST, descriptors // _SHARE - others))


def enter(window: Window) -> None:
    _open.add(window)


def leave(window: Window) -> None:
    _open.discard(window)


# A forked child does not have the threads of its parent.
os.register_at_fork(after_in_child=_open.clear)
