"""Ends a mirror as the death of its process would: nothing is pushed, and its locks are dropped."""

from __future__ import annotations

import os

import pos3
from pos3.mirrors import unclosed
from pos3.state import claims


def kill(mirror: pos3.Mirror) -> None:
    mirror._state = "closed"
    mirror._pusher.end_background(at_once=True)
    unclosed.release(mirror)
    for job in mirror._parts.registrations.jobs():
        if job._use is not None:
            job._use.release()
    if mirror._parts.journal._file is not None:
        mirror._parts.journal._file.release()
    alive_file = mirror._parts.claims._alive_file
    if alive_file is not None:
        claims._fork_safe_descriptors.discard(alive_file._descriptor)
        os.close(alive_file._descriptor)
