"""What mirrors have registered for upload, written down so that it can be pushed when their process is dead.

One file a mirror, ``<cache_root>/.pos3/journal/<id>.jsonl``, from its first registration for upload to its end: a line
about the mirror, then a line for each registration. Its process holds a kernel lock on it, so a file that nobody holds
is what a dead one left. Where the file system has no locks, host and pid decide, or how long the file was not written.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from pos3.errors import ClaimError
from pos3.jobs.journal_entry import Noted, check_kinds
from pos3.jobs.registration import Registration, is_same_place
from pos3.local import ForeignFileError, open_own, remove_abandoned
from pos3.state import (
    HEADER_TYPES,
    READABLE_VERSIONS,
    SUFFIX,
    VERSION,
    ClaimList,
    JournalFile,
    JournalOwner,
    Place,
    files_in_journal_directory,
    is_journal_directory_trusted,
    journal_directory,
)

logger = logging.getLogger("pos3")


class Journal:
    """The journal of a living mirror. Safe to use from several threads; a forked child gets one of its own."""

    def __init__(self, cache_root: str, label: str):
        self._cache_root = cache_root
        self._label = label
        self._path = os.path.join(journal_directory(cache_root), f"{uuid.uuid4().hex}{SUFFIX}")
        self._lock = threading.Lock()
        self._entries: list[Noted] = []
        self._keeper: JournalOwner | None = None
        self._file: JournalFile | None = None

    @property
    def path(self) -> str:
        """Where it is written, once something is noted."""
        return self._path

    def after_fork(self) -> Journal:
        """The journal of the forked child. It must not keep the parent's locked when the parent is dead."""
        if self._file is not None:
            self._file.release()
        return Journal(self._cache_root, self._label)

    def note(self, entry: Noted) -> None:
        """Writes a registration down. If that is impossible it is a warning, since the work itself can go on."""
        with self._lock:
            self._entries.append(entry)
            try:
                if self._file is None:
                    self._keeper = self._keeper or JournalOwner.here(self._label)
                    self._file = JournalFile.create(self._path, self._keeper, _records(self._entries))
                else:
                    self._file.append(entry.as_record())
            except OSError as error:
                logger.warning(
                    "%s cannot be noted in %s (%s): 'pos3 recover' will not know of it if this process dies",
                    entry.registration,
                    self._path,
                    error,
                )

    def strike(self, registration: Registration) -> None:
        """Forgets a registration: all of it is in the store, and later changes of its files are nobody's to push."""
        with self._lock:
            left = [entry for entry in self._entries if not _is_of(entry, registration)]
            file = self._file
            if file is not None:
                self._file = _shortened(file, self._keeper, left, len(self._entries))
            self._entries = left

    @property
    def is_written(self) -> bool:
        """Whether what was noted is on the disk, so that it outlives this process."""
        return self._file is not None

    def end(self, unfinished: Collection[Registration] = ()) -> None:
        """Removes the file. What is unfinished stays in it, for recovery."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                left = [entry for entry in self._entries if any(_is_of(entry, one) for one in unfinished)]
                held = _shortened(file, self._keeper, left, len(self._entries))
                if held is not None:
                    held.release()


def _records(entries: Iterable[Noted]) -> list[dict[str, Any]]:
    return [entry.as_record() for entry in entries]


def _is_of(entry: Noted, registration: Registration) -> bool:
    return is_same_place(entry.registration, registration)


def _shortened(file: JournalFile, keeper: JournalOwner | None, left: list[Noted], noted: int) -> JournalFile | None:
    """The file with only ``left`` of ``noted`` entries, still held; without any it is removed, and there is none."""
    try:
        if keeper is None or not left:
            file.remove()
            file.release()
            return None
        if len(left) < noted:
            shorter = JournalFile.create(file.path, keeper, _records(left))
            file.release()
            return shorter
    except OSError as error:
        logger.warning("the journal %s cannot be brought up to date: %s", file.path, error)
    return file


class Orphan:
    """The journal of a dead mirror, held so that nobody else works on it."""

    def __init__(self, file: JournalFile, keeper: JournalOwner, entries: list[Noted]):
        self.keeper = keeper
        self.entries = entries
        self._file = file

    @property
    def path(self) -> str:
        return self._file.path

    def keep(self, entries: list[Noted]) -> None:
        """Leaves only these to be recovered, and no file if there are none."""
        held = _shortened(self._file, self.keeper, entries, len(self.entries))
        if held is not None:
            held.release()


def orphans(cache_root: str, label: str | None = None) -> Iterator[Orphan]:
    """The journals of dead mirrors, those with this label only if it is not None; each is held until the next."""
    found = files_in_journal_directory(cache_root)
    for path in sorted(found) if found and is_journal_directory_trusted(cache_root) else ():
        name = os.path.basename(path)
        remove_abandoned(path)
        if not name.endswith(SUFFIX) or (label is not None and not _has_label(path, label)):
            continue
        with _looks_taking_turns():
            file = JournalFile.try_open(path)
        if file is None:
            continue
        try:
            orphan = _read(file)
            if orphan is not None:
                yield orphan
        finally:
            file.release()


@contextmanager
def _looks_taking_turns() -> Iterator[None]:
    """Keeps a short look at a journal, by :func:`unclaimed_registrations`, from passing for the life of its mirror."""
    with ExitStack() as stack:
        with suppress(ClaimError):
            stack.enter_context(ClaimList.of_this_user().locked())
        yield


def _has_label(path: str, label: str) -> bool:
    """Read without the lock, since whoever takes one keeps others from recovering meanwhile."""
    try:
        with open(open_own(path, os.O_RDONLY), encoding="ascii") as file:
            head = json.loads(file.readline())
        return isinstance(head, dict) and head.get("label") == label
    except ForeignFileError:
        # Whoever takes it says why it is left alone.
        return True
    except (OSError, ValueError, RecursionError):
        return False


def _read(file: JournalFile) -> Orphan | None:
    """What the journal says, if its process is dead; one that cannot be read is moved away."""
    try:
        head, *records = map(json.loads, file.lines())
        version = head.pop("version")
        if version not in READABLE_VERSIONS:
            logger.warning(
                "the journal %s is of another version of pos3 (%r, not %d) and is left as it is",
                file.path,
                version,
                VERSION,
            )
            return None
        check_kinds(head, HEADER_TYPES)
        keeper = JournalOwner(**head)
        if not (file.has_lock and keeper.has_locks) and keeper.may_be_running(file.silent_seconds()):
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


def is_written_here(journal: str, registration: Registration, place: Place) -> bool:
    """Whether the list of claims, which lies outside of all caches, tells that a mirror of this machine noted this."""
    try:
        claims = ClaimList.of_this_user().read().overlapping(os.path.realpath(registration.local))
    except ClaimError:
        return False
    mine = (journal, registration.local, place.url, place.endpoint)
    return any((claim.journal, claim.root, claim.url, claim.endpoint) == mine for claim in claims)


def settle(cache_root: str, pushed: Collection[Registration]) -> None:
    """Strikes from the journals of dead mirrors what ``pushed``, complete pushes of the same roots, has covered."""
    if not pushed:
        return
    for orphan in orphans(cache_root):
        left = [entry for entry in orphan.entries if entry.is_elsewhere or not any(map(entry.is_covered_by, pushed))]
        if len(left) < len(orphan.entries):
            orphan.keep(left)
