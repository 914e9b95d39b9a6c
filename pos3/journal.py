"""What mirrors have registered for upload, written down so that it can be pushed when their process is dead.

One file a mirror, ``<cache_root>/.pos3/journal/<id>.jsonl``, from its first registration for upload to its end: a line
about the mirror, then a line for each registration. Its process holds a kernel lock on it, so a file that nobody holds
is what a dead one left. Where the file system has no locks, host and pid decide, or how long the file was not written.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from pos3.index import STATE_DIRECTORY, make_private
from pos3.noted import Noted, check_kinds
from pos3.registration import Registration
from pos3.temporary import is_abandoned, is_temporary, temporary_name

logger = logging.getLogger("pos3")

_VERSION = 1
_SUFFIX = ".jsonl"
# Only where neither a lock nor a pid can tell; to recover the journal of a living mirror would do no harm.
_SILENT_SECONDS = 7 * 86400


def _directory(cache_root: str) -> str:
    return os.path.join(cache_root, STATE_DIRECTORY, "journal")


def _boot() -> str:
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


@dataclass(frozen=True)
class Keeper:
    """Whose journal it is. ``begun_at`` is in seconds since the epoch; ``label`` is what the mirror was given."""

    label: str
    host: str
    pid: int
    boot: str
    begun_at: float
    has_locks: bool

    @staticmethod
    def here(label: str) -> Keeper:
        return Keeper(label, os.uname().nodename, os.getpid(), _boot(), time.time(), True)

    def may_live(self, silent_seconds: float) -> bool:
        """Whether the process may still be there, by what can be known without a lock."""
        if self.host != os.uname().nodename:
            return silent_seconds < _SILENT_SECONDS
        if self.boot != _boot():
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except OSError:
            pass
        return True


_HEAD = {"label": str, "host": str, "pid": int, "boot": str, "begun_at": float | int, "has_locks": bool}


class _Held:
    """A journal's file, locked by this process until it is let go; ``has_lock`` is false where there are no locks."""

    def __init__(self, path: str, descriptor: int, has_lock: bool):
        self.path = path
        self.has_lock = has_lock
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: str, keeper: Keeper, entries: Sequence[Noted]) -> _Held:
        """A new file in place of whatever is at ``path``; nobody ever sees it unlocked or in part."""
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
            head = {"version": _VERSION, **asdict(keeper), "has_locks": has_lock}
            held._write([head, *(entry.as_record() for entry in entries)])
            os.replace(temporary, path)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_directory(directory)
        return held

    @classmethod
    def take(cls, path: str) -> _Held | None:
        """The file, unless somebody holds it or it is gone."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                logger.info("the journal %s is left alone: %s", path, error)
            return None
        held = cls(path, descriptor, True)
        if os.fstat(descriptor).st_uid != os.geteuid():
            # What it says would be done with this user's files and keys.
            logger.warning("the journal %s belongs to another user and is left alone", path)
            held.let_go()
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.let_go()
            return None
        except OSError:
            held.has_lock = False
        # It may have been replaced or removed between the opening and the lock.
        try:
            is_there = os.path.samestat(os.fstat(descriptor), os.stat(path))
        except OSError:
            is_there = False
        if not is_there:
            held.let_go()
            return None
        return held

    def append(self, entry: Noted) -> None:
        self._write([entry.as_record()])

    def _write(self, records: list[dict[str, Any]]) -> None:
        data = "".join(f"{json.dumps(record)}\n" for record in records).encode("ascii")
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            # Half a line would spoil the next one.
            os.ftruncate(self._descriptor, end)
            raise
        os.fsync(self._descriptor)

    def silent_seconds(self) -> float:
        return time.time() - os.fstat(self._descriptor).st_mtime

    def lines(self) -> list[str]:
        """Every whole line; one that was being written when the process died counts as not written."""
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return file.read().decode("ascii").split("\n")[:-1]

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self.let_go()

    def let_go(self) -> None:
        """Drops the lock and leaves the file."""
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


class Journal:
    """The journal of a living mirror. Safe to use from several threads; a forked child gets one of its own."""

    def __init__(self, cache_root: str, label: str):
        self._cache_root = cache_root
        self._label = label
        self._path = os.path.join(_directory(cache_root), f"{uuid.uuid4().hex}{_SUFFIX}")
        self._lock = threading.Lock()
        self._entries: list[Noted] = []
        self._keeper: Keeper | None = None
        self._file: _Held | None = None

    def after_fork(self) -> Journal:
        """The journal of the forked child. It must not keep the parent's locked when the parent is dead."""
        if self._file is not None:
            self._file.let_go()
        return Journal(self._cache_root, self._label)

    def note(self, entry: Noted) -> None:
        """Writes a registration down. If that is impossible it is a warning, since the work itself can go on."""
        with self._lock:
            self._entries.append(entry)
            try:
                if self._file is None:
                    self._keeper = self._keeper or Keeper.here(self._label)
                    self._file = _Held.create(self._path, self._keeper, self._entries)
                else:
                    self._file.append(entry)
            except OSError as error:
                logger.warning(
                    "%s cannot be noted in %s (%s): 'pos3 recover' will not know of it if this process dies",
                    entry.registration,
                    self._path,
                    error,
                )

    def end(self, unfinished: Collection[Registration] = ()) -> None:
        """Removes the file. What is unfinished stays in it, for recovery."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                left = [entry for entry in self._entries if entry.registration in unfinished]
                _finish(file, self._keeper, left, len(self._entries))


def _finish(file: _Held, keeper: Keeper | None, left: list[Noted], noted: int) -> None:
    """Leaves a file with only ``left`` of ``noted`` entries, and none without any."""
    try:
        if keeper is None or not left:
            file.remove()
        elif len(left) < noted:
            _Held.create(file.path, keeper, left).let_go()
    except OSError as error:
        logger.warning("the journal %s cannot be brought up to date: %s", file.path, error)
    finally:
        file.let_go()


class Orphan:
    """The journal of a dead mirror, held so that nobody else works on it."""

    def __init__(self, file: _Held, keeper: Keeper, entries: list[Noted]):
        self.keeper = keeper
        self.entries = entries
        self._file = file

    @property
    def path(self) -> str:
        return self._file.path

    def keep(self, entries: list[Noted]) -> None:
        """Leaves only these to be recovered, and no file if there are none."""
        _finish(self._file, self.keeper, entries, len(self.entries))


def orphans(cache_root: str, label: str | None = None) -> Iterator[Orphan]:
    """The journals of dead mirrors, those with this label only if it is not None; each is held until the next."""
    directory = _directory(cache_root)
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        path = os.path.join(directory, name)
        if is_temporary(name):
            _remove_abandoned(path)
        if not name.endswith(_SUFFIX) or (label is not None and not _has_label(path, label)):
            continue
        file = _Held.take(path)
        if file is None:
            continue
        try:
            orphan = _read(file)
            if orphan is not None:
                yield orphan
        finally:
            file.let_go()


def _remove_abandoned(path: str) -> None:
    with suppress(OSError):
        if is_abandoned(os.path.basename(path), os.stat(path).st_mtime, time.time()):
            os.unlink(path)


def _has_label(path: str, label: str) -> bool:
    """Read without the lock, since whoever takes one keeps others from recovering meanwhile."""
    try:
        with open(path, encoding="ascii") as file:
            head = json.loads(file.readline())
        return isinstance(head, dict) and head.get("label") == label
    except (OSError, ValueError, RecursionError):
        return False


def _read(file: _Held) -> Orphan | None:
    """What the journal says, if its process is dead; one that cannot be read is moved away."""
    try:
        head, *records = map(json.loads, file.lines())
        version = head.pop("version")
        if version != _VERSION:
            logger.warning(
                "the journal %s is of another version of pos3 (%r, not %d) and is left as it is",
                file.path,
                version,
                _VERSION,
            )
            return None
        check_kinds(head, _HEAD)
        keeper = Keeper(**head)
        if not (file.has_lock and keeper.has_locks) and keeper.may_live(file.silent_seconds()):
            return None
        return Orphan(file, keeper, [Noted.from_record(record) for record in records])
    except OSError as error:
        logger.warning("the journal %s cannot be read and is left as it is: %s", file.path, error)
        return None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        broken = f"{file.path}.broken-{int(time.time())}"
        with suppress(OSError):
            os.rename(file.path, broken)
        logger.warning("the journal %s is broken (%s) and cannot be recovered; moved to %s", file.path, error, broken)
        return None


def settle(cache_root: str, pushed: Collection[Registration]) -> None:
    """Strikes from the journals of dead mirrors what ``pushed``, complete pushes of the same roots, has covered."""
    if not pushed:
        return
    for orphan in orphans(cache_root):
        left = [entry for entry in orphan.entries if not any(map(entry.is_covered_by, pushed))]
        if len(left) < len(orphan.entries):
            orphan.keep(left)
