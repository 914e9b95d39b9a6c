"""The locks of local roots, and lock files that replace them on a file system without locks.

The kernel drops a lock when its process dies. A lock file may outlive its process, so it contains the pid. No package
for locks is used: importing filelock 3.31 or later is enough to make ``os.fork`` fail while another thread forks.
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
_NOTICE_EVERY_SECONDS = 0.5
_LONGEST_TIME = 32


@functools.cache
def has_locks(directory: str) -> bool:
    """Whether the file system has the locks that SQLite and pos3 need. If not, a warning is logged once a process."""
    try:
        descriptor = open_lock(os.path.join(directory, LOCK_TEST_FILE))
    except OSError:
        # The code that has to write there will raise the error.
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
def locked(path: str, on_wait: Callable[[], None], *, is_shared: bool = False) -> Iterator[None]:
    """Holds a lock that one thread of one process has at a time. ``path`` is the path of the lock without its suffix.

    While another thread or process holds it, ``on_wait`` is called twice a second. An exception of it ends the waiting.

    Args:
        is_shared: several that are shared can be held at the same time; not on a file system without locks.
    """
    lock: KernelLock | LockFile
    if has_locks(os.path.dirname(path)):
        lock = KernelLock(f"{path}.lock", is_shared=is_shared)
    else:
        lock = LockFile(f"{path}.soft.lock")
    noticed_at = time.monotonic()
    # A signal handler may raise at any point, also right after the lock was taken.
    try:
        while not lock.try_acquire():
            if time.monotonic() - noticed_at >= _NOTICE_EVERY_SECONDS:
                on_wait()
                noticed_at = time.monotonic()
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        lock.release()


@contextmanager
def locked_part(path: str, part: str, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds the lock of one part of what the lock ``path`` is for: other parts can be held at the same time.

    The file of the lock of a part is removed at the end, since there may be any number of parts.
    """
    part_path = f"{path}-{part}"
    with locked(path, on_wait, is_shared=True), locked(part_path, on_wait):
        try:
            yield
        finally:
            with suppress(OSError):
                os.unlink(f"{part_path}.lock")


def wait_for_directory(lock: str) -> None:
    """Returns when the directory that represents a lock is gone. One that a dead process has left is removed."""
    while not remove_abandoned_directory(lock):
        time.sleep(_POLL_SECONDS)


class NoUseLock:
    """Takes the place of a use lock that cannot be made. The root counts as in use by others."""

    def try_exclusive(self) -> bool:
        return False

    def note_push(self) -> None:
        pass

    def release(self) -> None:
        pass


class UseLock:
    """A shared lock on a file, held while a mirror uses a root. To remove the root, it must be taken exclusively.

    The file tells when everything in the root was last pushed.
    It belongs to no thread, so a mirror may register in one thread and close in another. The kernel drops it when the
    process dies. On a file system without locks, a root always counts as in use.
    """

    def __init__(self, path: str):
        self._descriptor = open_lock(path)
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Takes the lock exclusively if no other mirror uses the root, and returns whether it did.

        Until the release, no other mirror can begin to use the root.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def note_push(self) -> None:
        """Writes the time into the file, so that :func:`last_push_at` tells it. Nothing waits for the disk."""
        with suppress(OSError):
            os.pwrite(self._descriptor, f"{time.time():020.6f}\n".encode("ascii"), 0)

    def release(self) -> None:
        os.close(self._descriptor)


def last_push_at(path: str) -> float | None:
    """When the last push ended that the use lock at ``path`` was told of, in seconds since the epoch; None for none."""
    try:
        with open(open_lock(path, make=False), "rb") as file:
            return float(file.read(_LONGEST_TIME))
    except (OSError, ValueError):
        return None
