"""Reads, writes and locks the file of a journal. The lock shows that the journal's process is running."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from pos3.local import ForeignFileError, is_running, make_private, open_lock, open_own, temporary_name, warn_once
from pos3.state.kernel_lock import is_locked

logger = logging.getLogger("pos3")

VERSION = 2
READABLE_VERSIONS = (1, VERSION)
# This is used only if neither a lock nor a pid shows whether the process is running. Recovering the journal of a living
# mirror would do no harm.
_SILENT_SECONDS = 7 * 86400


def _boot() -> str:
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read().decode("ascii").strip()
    return ""


@dataclass(frozen=True)
class JournalOwner:
    """The process that owns a journal. ``begun_at`` is in seconds since the epoch; ``label`` is the mirror's label.

    The fields are keys of the first line of a journal.
    """

    label: str
    host: str
    pid: int
    boot: str
    begun_at: float
    has_locks: bool

    @staticmethod
    def of_this_process(label: str) -> JournalOwner:
        return JournalOwner(label, os.uname().nodename, os.getpid(), _boot(), time.time(), True)

    def may_be_running(self, silent_seconds: float) -> bool:
        """Whether the process may still be running, as far as that can be found out without a lock."""
        if self.host != os.uname().nodename:
            return silent_seconds < _SILENT_SECONDS
        return self.boot == _boot() and is_running(self.pid)


HEADER_TYPES = {"label": str, "host": str, "pid": int, "boot": str, "begun_at": float | int, "has_locks": bool}


class JournalFile:
    """The file of a journal, locked until :meth:`release`. ``has_lock`` is false on a file system without locks."""

    def __init__(self, path: str, descriptor: int, has_lock: bool):
        self.path = path
        self.has_lock = has_lock
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: str, owner: JournalOwner, records: Sequence[dict[str, Any]]) -> JournalFile:
        """A new file, which replaces any file at ``path``. Other processes never see it unlocked or incomplete."""
        directory = os.path.dirname(path)
        make_private(os.path.dirname(directory))
        make_private(directory)
        temporary = os.path.join(directory, temporary_name())
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            has_lock = True
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                has_lock = False
            held = cls(path, descriptor, has_lock)
            header = {"version": VERSION, **asdict(owner), "has_locks": has_lock}
            held._write([header, *records])
            os.replace(temporary, path)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_directory(directory)
        return held

    @classmethod
    def try_open(cls, path: str) -> JournalFile | None:
        """The file, locked; or None if another process holds it, it is gone, or other users may have written it."""
        try:
            descriptor = open_own(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        except ForeignFileError as error:
            # Recovery would do with this user's files and keys what the other user has written there.
            warn_once(path, f"{error.strerror}, so this journal is left alone")
            return None
        except OSError as error:
            logger.info("the journal %s is left alone: %s", path, error)
            return None
        held = cls(path, descriptor, True)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.release()
            return None
        except OSError:
            held.has_lock = False
        # Another process may have replaced or removed it before it was locked.
        try:
            is_there = os.path.samestat(os.fstat(descriptor), os.stat(path))
        except OSError:
            is_there = False
        if not is_there:
            held.release()
            return None
        return held

    @staticmethod
    def is_held(path: str) -> bool:
        """Whether a process has locked it. On a file system without locks, the result is False."""
        try:
            descriptor = open_lock(path, make=False)
        except OSError:
            return False
        try:
            return is_locked(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def append(self, record: dict[str, Any]) -> None:
        self._write([record])

    def _write(self, records: list[dict[str, Any]]) -> None:
        data = "".join(f"{json.dumps(record)}\n" for record in records).encode("ascii")
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            # The rest of an incomplete line would damage the next one.
            os.ftruncate(self._descriptor, end)
            raise
        os.fsync(self._descriptor)

    def silent_seconds(self) -> float:
        return time.time() - os.fstat(self._descriptor).st_mtime

    def lines(self) -> list[str]:
        """Every complete line. If the process died while it wrote a line, that line is left out."""
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return file.read().decode("ascii").split("\n")[:-1]

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self.release()

    def release(self) -> None:
        """Drops the lock, and does not remove the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _sync_directory(directory: str) -> None:
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
