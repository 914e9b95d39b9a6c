"""Locks and marks of local roots, and what stands in for them on a file system without locks.

The kernel drops a lock with its process. A lock file may outlive one: it names the process, or is soon abandoned.
No package with locks is used: importing filelock 3.31 or later alone makes ``os.fork`` fail while another thread forks.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pos3.local import LOCK_TEST_FILE, open_lock
from pos3.state.kernel_lock import KernelLock, is_locked
from pos3.state.lock_file import LockFile, remove_abandoned_directory

logger = logging.getLogger("pos3")

_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 0.5


@functools.cache
def has_locks(directory: str) -> bool:
    """Whether the file system has the locks that SQLite and we need. Told in a warning if not, once a process."""
    try:
        descriptor = open_lock(os.path.join(directory, LOCK_TEST_FILE))
    except OSError:
        # Whoever has to write there will tell what is wrong.
        return True
    try:
        is_locked(descriptor)
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError as error:
        logger.warning("no file locks in %s (%s); using lock files, which may outlive a crash", directory, error)
        return False
    finally:
        os.close(descriptor)
    return True


@contextmanager
def locked(path: str, on_wait: Callable[[], None]) -> Iterator[None]:
    """Held by one thread of one process at a time; ``path`` is the lock's, without its suffix.

    While another holds it, ``on_wait`` is called now and then; what it raises ends the waiting.
    """
    lock = KernelLock(f"{path}.lock") if has_locks(os.path.dirname(path)) else LockFile(f"{path}.soft.lock")
    told_at = time.monotonic()
    # A signal may raise at any point, also between taking the lock and what comes next.
    try:
        while not lock.try_acquire():
            if time.monotonic() - told_at >= _PATIENCE_SECONDS:
                on_wait()
                told_at = time.monotonic()
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        lock.release()


def wait_for_directory(lock: str) -> None:
    """Returns when a directory that stands for a lock is gone; one that a dead process left is removed."""
    while not remove_abandoned_directory(lock):
        time.sleep(_POLL_SECONDS)


class NoMark:
    """Stands for a mark that cannot be put: the root counts as in use by others."""

    def is_alone(self) -> bool:
        return False

    def release(self) -> None:
        pass


class UseMark:
    """A shared ``flock`` on a file: whoever wants to remove the root must get it alone.

    It belongs to no thread, so a mirror may register in one thread and close in another, and the kernel drops it
    with the process. On a file system without locks a root always counts as in use.
    """

    def __init__(self, path: str):
        self._descriptor = open_lock(path)
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def is_alone(self) -> bool:
        """Whether nobody else uses the root; then nobody can begin to until the release."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def release(self) -> None:
        os.close(self._descriptor)
