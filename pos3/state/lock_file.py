"""A lock that is held while a file exists, for file systems on which the kernel has no locks.

Such a file outlives its process. So it contains the pid, and another process of the same host removes the file if that
process is dead. Other hosts cannot know that, so there the file stays until somebody removes it by hand.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from pos3.local import is_running, open_lock

# No process needs so long to write a line, or to check a lock and remove it.
_ABANDONED_SECONDS = 15.0


class LockFile:
    """A lock that one thread of one process holds at a time. A forked child never holds its parent's lock."""

    def __init__(self, path: str):
        self._path = path
        self._pid = 0

    def try_acquire(self) -> bool:
        """Takes the lock if it is free or its process is dead, and returns whether it did.

        Raises:
            OSError: the file cannot be created.
        """
        return self._create() or (self._is_abandoned() and self._remove_abandoned() and self._create())

    def release(self) -> None:
        """Drops the lock, if it is held. A forked child does not hold it."""
        if self._pid == os.getpid():
            with suppress(FileNotFoundError):
                os.unlink(self._path)
        self._pid = 0

    def _create(self) -> bool:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
        self._pid = pid = os.getpid()
        try:
            os.write(descriptor, f"{pid}\n{os.uname().nodename}\n{_start_time(pid)}\n".encode())
        except BaseException:
            self.release()
            raise
        finally:
            os.close(descriptor)
        return True

    def _remove_abandoned(self) -> bool:
        """Removes the file, if it is still abandoned. A guard directory ensures that a new lock is not removed."""
        guard = f"{self._path}.removing"
        try:
            os.mkdir(guard, 0o700)
        except FileExistsError:
            remove_abandoned_directory(guard)
            return False
        try:
            if not self._is_abandoned():
                return False
            os.unlink(self._path)
            return True
        finally:
            os.rmdir(guard)

    def _is_abandoned(self) -> bool:
        try:
            with open(open_lock(self._path, make=False), encoding="utf-8", errors="replace") as file:
                pid, host, start_time = (*file.read().splitlines(), "", "", "")[:3]
                silent_seconds = time.time() - os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return False
        if not (pid.isdecimal() and host):
            # It has not been written yet, or its writer was killed before that.
            return silent_seconds > _ABANDONED_SECONDS
        return host == os.uname().nodename and not _is_same_process(int(pid), start_time)


def remove_abandoned_directory(lock: str) -> bool:
    """Whether the directory that represents a lock is gone. A directory that a dead process has left is removed."""
    try:
        if time.time() - os.stat(lock).st_mtime < _ABANDONED_SECONDS:
            return False
        os.rmdir(lock)
    except FileNotFoundError:
        pass
    return True


def _is_same_process(pid: int, start_time: str) -> bool:
    if not is_running(pid):
        return False
    # Pids are reused. In a restarted container, even the first process may have the same pid.
    now = _start_time(pid)
    return not (start_time and now) or start_time == now


def _start_time(pid: int) -> str:
    """The start time of a process in ticks since the boot; "" if the system does not provide it."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""
