"""The journals of mirrors: what each has registered for upload, so that it can be pushed after its process has died.

A mirror has one file, ``<cache_root>/.pos3/journal/<id>.jsonl``, from its first registration for upload to its end. The
first line describes the mirror, and each further line is a registration. The process holds a kernel lock on the file,
so a file that no process holds was left by a dead one. On a file system without locks, host and pid decide whether the
process is alive, or else how long ago the file was written.
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
from dataclasses import dataclass, replace
from typing import Any

from pos3.errors import ClaimError
from pos3.jobs.journal_entry import JournalEntry, check_types
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
    journals,
)

logger = logging.getLogger("pos3")


class Journal:
    """The journal of a living mirror. It may be used from several threads. A forked child gets a journal of its own."""

    def __init__(self, cache_root: str, label: str):
        self._cache_root = cache_root
        self._label = label
        self._path = os.path.join(journal_directory(cache_root), f"{uuid.uuid4().hex}{SUFFIX}")
        self._lock = threading.Lock()
        self._entries: list[JournalEntry] = []
        self._owner: JournalOwner | None = None
        self._file: JournalFile | None = None

    @property
    def path(self) -> str:
        """The path of the file. It exists after the first :meth:`add`."""
        return self._path

    def after_fork(self) -> Journal:
        """The journal of the forked child. The child drops the parent's lock, which would outlive the parent."""
        if self._file is not None:
            self._file.release()
        return Journal(self._cache_root, self._label)

    def add(self, entry: JournalEntry) -> None:
        """Writes a registration to the file. A failure is only a warning, because the work itself can go on."""
        with self._lock:
            self._entries.append(entry)
            try:
                if self._file is None:
                    self._owner = self._owner or JournalOwner.of_this_process(self._label)
                    self._file = JournalFile.create(self._path, self._owner, _as_json(self._entries))
                else:
                    self._file.append(entry.as_json())
            except OSError as error:
                logger.warning(
                    "%s cannot be noted in %s (%s): 'pos3 recover' will not know of it if this process dies",
                    entry.registration,
                    self._path,
                    error,
                )

    def remove(self, registration: Registration) -> None:
        """Removes a registration whose files are in the store, and whose later changes nobody has to push."""
        with self._lock:
            remaining = [entry for entry in self._entries if not _is_of(entry, registration)]
            file = self._file
            if file is not None:
                self._file = _keep_only(remaining, file, self._owner, self._entries)
            self._entries = remaining

    @property
    def is_written(self) -> bool:
        """Whether the entries are on the disk, so that they outlive this process."""
        return self._file is not None

    def end(self, unpushed: Collection[Registration] = (), kept_offline: Collection[Registration] = ()) -> None:
        """Removes the file, or all entries but those of ``unpushed``, which are left to recovery.

        Args:
            kept_offline: those of ``unpushed`` that the next mirror which can reach the store is to push.
        """
        with self._lock:
            file = self._file
            if file is not None:
                remaining = [entry for entry in self._entries if any(_is_of(entry, one) for one in unpushed)]
                remaining = [_marked(entry, kept_offline) for entry in remaining]
                shortened = _keep_only(remaining, file, self._owner, self._entries)
                # An interrupt before this line lets a second call do the work again.
                self._file = None
                if shortened is not None:
                    shortened.release()


def _as_json(entries: Iterable[JournalEntry]) -> list[dict[str, Any]]:
    return [entry.as_json() for entry in entries]


def _is_of(entry: JournalEntry, registration: Registration) -> bool:
    return is_same_place(entry.registration, registration)


def _marked(entry: JournalEntry, kept_offline: Collection[Registration]) -> JournalEntry:
    return replace(entry, was_offline=True) if any(_is_of(entry, one) for one in kept_offline) else entry


def _keep_only(
    entries: list[JournalEntry], file: JournalFile, owner: JournalOwner | None, before: list[JournalEntry]
) -> JournalFile | None:
    """Removes all but ``entries`` from a file that holds those of ``before``. Returns the new file, locked.

    Without entries, the file is removed, and the result is None.
    """
    try:
        if owner is None or not entries:
            file.remove()
            file.release()
            return None
        if entries != before:
            shortened = JournalFile.create(file.path, owner, _as_json(entries))
            file.release()
            return shortened
    except OSError as error:
        logger.warning("the journal %s cannot be brought up to date: %s", file.path, error)
    return file


class AbandonedJournal:
    """The journal of a dead mirror, locked so that no other process recovers it."""

    def __init__(self, file: JournalFile, owner: JournalOwner, entries: list[JournalEntry]):
        self.owner = owner
        self.entries = entries
        self._file = file

    @property
    def path(self) -> str:
        return self._file.path

    def keep_only(self, entries: list[JournalEntry]) -> None:
        """Removes all other entries; without ``entries``, the file is removed."""
        shortened = _keep_only(entries, self._file, self.owner, self.entries)
        if shortened is not None:
            shortened.release()


def abandoned_journals(cache_root: str, label: str | None = None) -> Iterator[AbandonedJournal]:
    """The journals of dead mirrors with this label, or of all if it is None. Each is locked until the next is read."""
    files = files_in_journal_directory(cache_root)
    for path in sorted(files) if files and is_journal_directory_trusted(cache_root) else ():
        name = os.path.basename(path)
        remove_abandoned(path)
        if not name.endswith(SUFFIX) or (label is not None and not _has_label(path, label)):
            continue
        with _claim_list_locked():
            file = JournalFile.try_open(path)
        if file is None:
            continue
        try:
            journal = _read(file)
            if journal is not None:
                yield journal
        finally:
            file.release()


@contextmanager
def _claim_list_locked() -> Iterator[None]:
    """Holds the lock of the claim list, if there is one, while a journal is opened.

    :func:`pos3.state.journal_scan.unclaimed_registrations` locks journals for a moment to see whether their mirrors are
    alive. Without this lock, that moment would look like a living mirror here.
    """
    with ExitStack() as stack:
        with suppress(ClaimError):
            stack.enter_context(ClaimList.of_this_user().locked())
        yield


@dataclass(frozen=True)
class OpenJournal:
    """What the journal of a living mirror says. It may have changed since it was read."""

    path: str
    owner: JournalOwner
    entries: tuple[JournalEntry, ...]


def open_journals(cache_root: str) -> list[OpenJournal]:
    """The journals of a cache whose mirrors are open, sorted by path. Those that cannot be read are left out."""
    if not is_journal_directory_trusted(cache_root):
        return []
    with _claim_list_locked():
        held = {path: JournalFile.is_held(path) for path in sorted(journals(cache_root))}
    return [journal for path, is_held in held.items() if (journal := _read_open(path, is_held=is_held)) is not None]


def _read_open(path: str, *, is_held: bool) -> OpenJournal | None:
    try:
        with open(open_own(path, os.O_RDONLY), encoding="ascii") as file:
            silent_seconds = time.time() - os.fstat(file.fileno()).st_mtime
            # A line that is being written at this moment has no end.
            header, *entries = map(json.loads, file.read().split("\n")[:-1])
        if header.pop("version") not in READABLE_VERSIONS:
            return None
        check_types(header, HEADER_TYPES)
        owner = JournalOwner(**header)
        if not is_held and (owner.has_locks or not owner.may_be_running(silent_seconds)):
            return None
        return OpenJournal(path, owner, tuple(map(JournalEntry.from_json, entries)))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def _has_label(path: str, label: str) -> bool:
    """Whether a journal has this label. It is read without the lock, which would keep others from recovering it."""
    try:
        with open(open_own(path, os.O_RDONLY), encoding="ascii") as file:
            header = json.loads(file.readline())
        return isinstance(header, dict) and header.get("label") == label
    except ForeignFileError:
        # JournalFile.try_open() warns of it.
        return True
    except (OSError, ValueError, RecursionError):
        return False


def _read(file: JournalFile) -> AbandonedJournal | None:
    """The content of a journal if its process is dead, else None. A journal that cannot be parsed is moved away."""
    try:
        header, *entries = map(json.loads, file.lines())
        version = header.pop("version")
        if version not in READABLE_VERSIONS:
            logger.warning(
                "the journal %s is of another version of pos3 (%r, not %d) and is left as it is",
                file.path,
                version,
                VERSION,
            )
            return None
        check_types(header, HEADER_TYPES)
        owner = JournalOwner(**header)
        if not (file.has_lock and owner.has_locks) and owner.may_be_running(file.silent_seconds()):
            return None
        return AbandonedJournal(file, owner, [JournalEntry.from_json(values) for values in entries])
    except OSError as error:
        logger.warning("the journal %s cannot be read and is left as it is: %s", file.path, error)
        return None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        broken = f"{file.path}.broken-{int(time.time())}"
        with suppress(OSError):
            os.rename(file.path, broken)
        logger.warning("the journal %s is broken (%s) and cannot be recovered; moved to %s", file.path, error, broken)
        return None


def is_claimed_here(journal: str, registration: Registration, place: Place) -> bool:
    """Whether a claim shows that a mirror of this user on this machine has written the registration to ``journal``.

    The list lies outside all caches, so a journal that somebody else has put into a cache is not in it.
    """
    try:
        claims = ClaimList.of_this_user().read().overlapping(os.path.realpath(registration.local))
    except ClaimError:
        return False
    expected = (journal, registration.local, place.url, place.endpoint)
    return any((claim.journal, claim.root, claim.url, claim.endpoint) == expected for claim in claims)


def remove_pushed_entries(cache_root: str, pushed: Collection[Registration]) -> None:
    """Removes entries from the journals of dead mirrors, if complete pushes of ``pushed`` cover them."""
    if not pushed:
        return
    for journal in abandoned_journals(cache_root):
        remaining = [
            entry
            for entry in journal.entries
            if entry.is_local_unavailable or not any(map(entry.is_covered_by, pushed))
        ]
        if len(remaining) < len(journal.entries):
            journal.keep_only(remaining)
