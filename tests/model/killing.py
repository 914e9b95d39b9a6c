"""Ends a mirror as the death of its process would: nothing is pushed, and its locks are dropped."""

from __future__ import annotations

import os

import pos3
from pos3.mirrors import exit_closing
from pos3.state import claims


def kill(mirror: pos3.Mirror) -> None:
    mirror._state = "closed"
    mirror._pusher.end_background(at_once=True)
    exit_closing.remove_mirror(mirror)
    for job in mirror._components.registrations.jobs():
        if job._use_lock is not None:
            job._use_lock.release()
    if mirror._components.journal._file is not None:
        mirror._components.journal._file.release()
    alive_file = mirror._components.claims._alive_file
    if alive_file is not None:
        claims._fork_safe_descriptors.discard(alive_file._descriptor)
        os.close(alive_file._descriptor)
