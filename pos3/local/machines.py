"""Tells machines apart, and containers of one machine, since they see other files under the same path."""

from __future__ import annotations

import functools
import os
import socket
import uuid

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MOUNTS = "/proc/self/ns/mnt"


def machine() -> str:
    """The name of this machine, which no other has. Processes with mounts of their own count as another machine."""
    try:
        return f"{_booted()} {os.readlink(_MOUNTS)}"
    except OSError:
        return _booted()


@functools.cache
def _booted() -> str:
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return f"{socket.gethostname()} {file.read().strip()}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"
