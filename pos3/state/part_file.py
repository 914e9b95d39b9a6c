"""The part file of a huge download, and the notes of what has arrived in it: both lie beside the target.

A part file has one name for each target, so there is at most one, and the next download finds it, from whatever cache
or host. It belongs to whoever holds the lock of the notes. The kernel drops that lock when its process dies.

The notes are lines: the first says which version of which object this is, each other one has the beginning, the end and
the checksum of a range. A range that arrives slowly has several lines, each with its end at that time. Lines are not
forced to the disk. After a power cut they may be short, or tell of ranges that never reached it, so whoever takes
ranges over compares their checksums.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import stat
import threading
from contextlib import suppress

from pos3.errors import TransferCancelledError
from pos3.local import open_own, part_of, ranges_of
from pos3.state.kernel_lock import KernelLock, is_locked

logger = logging.getLogger("pos3")

_VERSION = 1
_RANGE = re.compile(rb"([0-9]{1,15}) ([0-9]{1,15}) ((?:[0-9a-f]{2}){1,64})")
_NONE = -1


def _header(source: str, etag: str, size_bytes: int) -> bytes:
    # The URL is nobody's business who may read the directory.
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    return json.dumps([_VERSION, digest, etag, size_bytes]).encode()


class PartFile:
    """A part file that this download has for itself. Keeps what :class:`pos3.store.RangeNotes` says.

    After :meth:`finish` or :meth:`release` it touches nothing any more, whoever still calls it.
    """

    keeps_failed = True

    def __init__(self, path: str, source: str):
        self.path = path
        self._notes_path = ranges_of(path)
        self._source = source
        self._lock = KernelLock(self._notes_path)
        self._descriptor = _NONE
        self._writes = True
        # A worker that was left behind may wake up while another thread ends the download.
        self._guard = threading.RLock()
        # The ends of the ranges, by their starts.
        self._noted: dict[int, int] = {}

    @classmethod
    def claimed(cls, target: str, source: str) -> PartFile | None:
        """The part file of a target; None if it cannot be had: somebody is at it, or it is no file of this user's.

        Args:
            source: the endpoint and the URL of the object.
        """
        part = cls(part_of(target), source)
        return part if part._claim() else None

    def _claim(self) -> bool:
        try:
            if not _is_own_or_missing(self.path) or not self._lock.try_acquire():
                return False
        except OSError:
            # Without locks, nobody could tell the file of a living process from that of a dead one.
            _remove_empty(self._notes_path)
            return False
        try:
            self._descriptor = open_own(self._notes_path, os.O_RDWR | os.O_APPEND)
        except OSError:
            # Others could write it, or the server of the file system has given it to somebody else.
            _remove_empty(self._notes_path)
            self._lock.release()
            return False
        return True

    def _is_mine(self) -> bool:
        """Whether the names still stand for its own files. Somebody may have removed them, and others may have come."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.lstat(self._notes_path))
        except OSError:
            return False

    def _check(self) -> None:
        if self._descriptor == _NONE:
            raise TransferCancelledError("the download was stopped")
        if not self._is_mine():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)

    @property
    def noted_bytes(self) -> int:
        """How many bytes of the file are noted."""
        return sum(end - start for start, end in self._noted.items())

    def begin(self, etag: str, size_bytes: int, algorithm: str) -> dict[tuple[int, int], bytes]:
        with self._guard:
            self._check()
            header = _header(self._source, etag, size_bytes) + b" " + algorithm.encode()
            content = _content(self._descriptor)
            first, *lines = content.split(b"\n")
            found: dict[tuple[int, int], bytes] = {}
            if first == header and _can_go_on(self.path, size_bytes):
                for match in filter(None, map(_RANGE.fullmatch, lines)):
                    found[int(match[1]), int(match[2])] = bytes.fromhex(match[3].decode())
            if not found:
                self.forget()
                self._write(header + b"\n")
            elif not content.endswith(b"\n"):
                # The last line is half a line.
                self._write(b"\n")
            self._noted = dict(sorted(found))
            return found

    def note(self, start: int, end: int, digest: bytes) -> None:
        with self._guard:
            if self._write(b"%d %d %s\n" % (start, end, digest.hex().encode())):
                self._noted[start] = end

    def _write(self, line: bytes) -> bool:
        if self._descriptor == _NONE or not self._writes:
            return False
        try:
            os.write(self._descriptor, line)
        except OSError as error:
            # The download itself needs no notes.
            self._writes = False
            logger.debug("%s: %s", self._notes_path, error)
        return self._writes

    def forget(self) -> None:
        with self._guard:
            if self._descriptor != _NONE:
                self._noted.clear()
                # In this order: notes never tell of another file.
                os.ftruncate(self._descriptor, 0)
                if self._is_mine():
                    with suppress(FileNotFoundError):
                        os.unlink(self.path)

    def finish(self, path: str) -> None:
        """The file is whole, and gets another name.

        Raises:
            TransferCancelledError: the download was given up, and the file is gone.
            FileNotFoundError: somebody has removed it.
        """
        with self._guard:
            self._check()
            os.rename(self.path, path)
            self.release(keeps=False)

    def release(self, *, keeps: bool) -> None:
        """Ends the download. ``keeps`` leaves the file to the next one."""
        with self._guard:
            if self._descriptor == _NONE:
                return
            try:
                if not keeps:
                    with suppress(OSError):
                        self.forget()
                    if self._is_mine():
                        with suppress(OSError):
                            os.unlink(self._notes_path)
            finally:
                descriptor, self._descriptor = self._descriptor, _NONE
                os.close(descriptor)
                self._lock.release()


def has_part_of(path: str, source: str, etag: str, size_bytes: int) -> bool:
    """Whether a part file is of this version of an object, as far as its notes tell, and nobody is at it."""
    with suppress(OSError):
        descriptor = open_own(ranges_of(path), os.O_RDONLY)
        try:
            header = _header(source, etag, size_bytes) + b" "
            is_of_it = os.read(descriptor, len(header)) == header
            return is_of_it and _can_go_on(path, size_bytes) and not is_locked(descriptor)
        finally:
            os.close(descriptor)
    return False


def remove_part(path: str) -> bool:
    """Removes a part file and its notes, unless a living process is at it; whether nothing is left of it.

    What is no regular file of this user's is left as it is.
    """
    paths = [path, ranges_of(path)]
    with suppress(OSError):
        if not any(map(os.path.lexists, paths)):
            return True
        if not all(map(_is_own_or_missing, paths)):
            return False
        lock = KernelLock(paths[1])
        if lock.try_acquire():
            try:
                for each in paths:
                    with suppress(FileNotFoundError):
                        os.unlink(each)
                logger.info("removed %s, which a download that did not come to its end had left", path)
                return True
            finally:
                lock.release()
    return False


def _content(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        return file.read()


def _is_own_or_missing(path: str) -> bool:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return True
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def _remove_empty(path: str) -> None:
    with suppress(OSError):
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and not status.st_size:
            os.unlink(path)


def _can_go_on(path: str, size_bytes: int) -> bool:
    """Whether a file can be written further: it is there under this name only, and is not too long."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    is_own = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1
    return is_own and status.st_size <= size_bytes
