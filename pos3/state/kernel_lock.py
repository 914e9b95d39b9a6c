"""Locks of the kernel on files, by ``flock``.

A forked child shares its parent's open files, and with them the parent's locks. So the child closes its copies at once.
Then it does not hold the parent's locks, and they end when the parent dies.
"""

from __future__ import annotations

import fcntl
import os
import threading

from pos3.local import open_lock

_NONE = -1


def is_locked(descriptor: int) -> bool:
    """Whether a process holds the exclusive lock of the open file.

    The test takes a shared lock for a moment, so several processes can test at the same time.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


class KernelLock:
    """A lock that one thread of one process holds at a time. It ends with its process. A forked child never has it.

    Args:
        is_shared: several that are shared can be held at the same time, but none beside one that is not.
    """

    def __init__(self, path: str, *, is_shared: bool = False):
        self._path = path
        self._mode = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
        self._descriptor = _NONE

    def try_acquire(self) -> bool:
        """Takes the lock if it is free, and returns whether it did.

        Raises:
            OSError: the file cannot be opened, or its file system has no locks.
        """
        with fork_gate:
            self._descriptor = open_lock(self._path)
            _open_locks.add(self)
        is_held = False
        try:
            fcntl.flock(self._descriptor, self._mode | fcntl.LOCK_NB)
            # If the file was removed or replaced, this is the lock of a file that no other process will open.
            is_held = os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if not is_held:
                self._close()
        return is_held

    def release(self) -> None:
        """Drops the lock, if it is held. A forked child does not hold it."""
        if self._descriptor != _NONE:
            # A child that is being forked just now has a copy of the open file, and closing keeps the lock of a copy.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._close()

    def _close(self) -> None:
        with fork_gate:
            descriptor, self._descriptor = self._descriptor, _NONE
            _open_locks.discard(self)
            if descriptor != _NONE:
                os.close(descriptor)


_open_locks: set[KernelLock] = set()
# It is held while the set and the open files may differ, and during a fork, so that a child knows what it has to close.
fork_gate = threading.RLock()


def _after_fork_in_child() -> None:
    for lock in list(_open_locks):
        lock._close()
    fork_gate.release()


os.register_at_fork(before=fork_gate.acquire, after_in_parent=fork_gate.release, after_in_child=_after_fork_in_child)
