"""Tells whether a file is open for writing, as far as the system says so."""

from __future__ import annotations

import errno
import fcntl
import os
import signal


def is_open_for_writing(path: str) -> bool | None:
    """Whether some process has the file open for writing. None means that the system does not tell.

    Linux tells it for files of this user, on most file systems.

    Raises:
        OSError: the file cannot be opened for reading.
    """
    set_lease = getattr(fcntl, "F_SETLEASE", None)
    if set_lease is None:
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        # The kernel grants a lease for reading only while nobody writes. Who opens the file for writing in this very
        # moment waits until the lease is given back. The signal that then comes here is one that does nothing.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, set_lease, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, set_lease, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    finally:
        os.close(descriptor)
    return False
