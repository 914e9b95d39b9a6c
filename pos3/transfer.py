"""Carries out a plan: copies, then markers and last copies, then deletes, then empty directories.

A download is written beside its target, verified, and renamed over it, so that a reader sees the old bytes or the
new ones. Deletes happen only when every copy succeeded.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from pos3.entry import Record
from pos3.errors import Pos3Error, TransferCancelledError, TransferError
from pos3.index import Index
from pos3.plan import EMPTIED, NEW, Action, Plan
from pos3.pool import run_all
from pos3.progress import OpenProgress, Progress
from pos3.report import Kept, Report
from pos3.store import OnBytes, Steps, Store
from pos3.temporary import is_temporary, temporary_name
from pos3.url import Location

_HOLDS_MARKERS = "holds_markers"
_WRITE_EVERY_RECORDS = 500
_WRITE_EVERY_SECONDS = 2.0
# Kernels stamp files with the time of the last clock tick, up to 10 ms ago.
_MTIME_TICK_NS = 20_000_000


class Rate(Protocol):
    def take(self, size_bytes: int, sleep: Callable[[float], object] | None = None) -> None: ...


@dataclass(frozen=True)
class Pair:
    """A local root and the place that it mirrors."""

    local: str
    store: Store
    location: Location

    def local_path(self, path: str) -> str:
        return os.path.join(self.local, path.rstrip("/")) if path else self.local


@dataclass(frozen=True)
class Terms:
    """How transfers are carried out: threads, rate, progress, the signal to stop, who does it, and who counts."""

    workers: int
    upload_rate: Rate
    open_progress: OpenProgress
    cancelled: threading.Event
    owner: str
    count: Callable[[Report], None]


@dataclass
class Outcome:
    """What came of a plan. ``unsettled`` are paths of files that changed while they were uploaded."""

    copied_files: int = 0
    copied_bytes: int = 0
    deleted_files: int = 0
    kept: list[Kept] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    report: Report = field(default_factory=Report)

    def raise_failures(self, operation: str) -> None:
        """
        Raises:
            TransferCancelledError: the transfer was stopped from outside.
            TransferError: anything else failed.
        """
        real = [failure for failure in self.failures if not isinstance(failure, TransferCancelledError)]
        if real:
            raise TransferError(operation, real) from real[0]
        if self.failures:
            raise self.failures[0]


class _Bookkeeper:
    """Writes records to the index in batches, while the transfer goes on."""

    def __init__(self, index: Index):
        self._index = index
        self._records: list[Record] = []
        self._written_at = time.monotonic()

    def add(self, record: Record) -> None:
        self._records.append(record)
        now = time.monotonic()
        if len(self._records) >= _WRITE_EVERY_RECORDS or now - self._written_at > _WRITE_EVERY_SECONDS:
            self.flush()
            self._written_at = now

    def flush(self) -> None:
        self._index.write(self._records)
        self._records.clear()


def growth_bytes(plan: Plan, pair: Pair) -> int:
    """How much more the local side holds while a download is under way, at the least; deletes come after it."""
    replaced = [0]
    for action in (*plan.copies, *plan.last_copies):
        if action.reason != NEW:
            with suppress(OSError):
                replaced.append(os.lstat(pair.local_path(action.path)).st_size)
    # A file is whole before it takes the place of its predecessor.
    return plan.copy_bytes - sum(replaced) + max(replaced)


def execute(plan: Plan, pair: Pair, index: Index, terms: Terms) -> Outcome:
    """Does what the plan says, and remembers it.

    Returns:
        figures and failures; a failure of one file does not stop the others, unless they would fail as well.
    """
    began = time.monotonic()
    outcome = Outcome(kept=list(plan.kept))
    index.write(plan.confirmed, plan.forgotten)
    if not plan.is_empty:
        (_download if plan.direction == "download" else _upload)(plan, pair, index, terms, outcome)
    moved = (
        Report(
            downloaded_files=outcome.copied_files,
            downloaded_bytes=outcome.copied_bytes,
            deleted_local=outcome.deleted_files,
        )
        if plan.direction == "download"
        else Report(
            uploaded_files=outcome.copied_files,
            uploaded_bytes=outcome.copied_bytes,
            deleted_remote=outcome.deleted_files,
        )
    )
    outcome.report = moved + Report(
        unchanged=plan.unchanged,
        duration_seconds=time.monotonic() - began,
        kept=tuple(outcome.kept),
        failures=tuple(str(failure) for failure in outcome.failures),
    )
    terms.count(outcome.report)
    return outcome


@contextmanager
def _shown(plan: Plan, pair: Pair, terms: Terms) -> Iterator[Progress]:
    verb = "Downloading" if plan.direction == "download" else "Uploading"
    progress = terms.open_progress(f"{verb} {pair.location}", plan.copy_files, plan.copy_bytes)
    try:
        yield progress
    finally:
        progress.close()


def _copy_all(
    actions: Sequence[Action],
    copy: Callable[[Action], Steps[Record | None]],
    pair: Pair,
    index: Index,
    terms: Terms,
    outcome: Outcome,
) -> bool:
    """Copies in parallel; whether all of it succeeded."""
    bookkeeper = _Bookkeeper(index)
    left = len(actions)

    def done(_action: Action, record: Record | None) -> None:
        nonlocal left
        left -= 1
        if record is not None:
            bookkeeper.add(record)
            outcome.copied_files += 1
            outcome.copied_bytes += record.size_bytes

    try:
        failed = run_all(actions, copy, done, lanes=pair.store.lanes(terms.workers), cancelled=terms.cancelled)
    finally:
        bookkeeper.flush()
    outcome.failures += [error for _, error in failed]
    if terms.cancelled.is_set() and not outcome.failures:
        outcome.failures.append(TransferCancelledError("the transfer was stopped"))
    if left and not outcome.failures:
        # What nobody has answered for must never pass for copied.
        told = f"{left} files were not reached, since a thread died; its traceback tells why"
        outcome.failures.append(Pos3Error(told))
    return not outcome.failures


# Download


def _download(plan: Plan, pair: Pair, index: Index, terms: Terms, outcome: Outcome) -> None:
    directories = _Directories(pair.local)
    with (
        _aside(plan, pair, directories) as made_way,
        _shown(plan, pair, terms) as progress,
        _unfinished() as unfinished,
    ):

        def on_bytes(size_bytes: int) -> None:
            if size_bytes > 0 and terms.cancelled.is_set():
                raise TransferCancelledError("the download was stopped")
            progress.moved(size_bytes)

        def fetch(action: Action) -> Steps[Record | None]:
            record = yield from _fetch(action, pair, directories, unfinished, on_bytes, terms.owner)
            progress.finished_file()
            return record

        complete = _copy_all((*plan.copies, *plan.last_copies), fetch, pair, index, terms, outcome)
        if not complete:
            return
        made_way()
        _delete_local(plan, pair, directories, index, outcome)
        for action in plan.directories:
            directories.make(pair.local_path(action.path))


@contextmanager
def _unfinished() -> Iterator[set[str]]:
    """A set of temporary files; what is still in it at the end belongs to a worker that was left behind, and goes."""
    paths: set[str] = set()
    try:
        yield paths
    finally:
        for path in list(paths):
            with suppress(OSError):
                os.unlink(path)


def _fetch(
    action: Action, pair: Pair, directories: _Directories, unfinished: set[str], on_bytes: OnBytes, owner: str
) -> Steps[Record]:
    target = pair.local_path(action.path)
    parent = os.path.dirname(target)
    if action.path:
        directories.make(parent)
    else:
        os.makedirs(parent, exist_ok=True)
    temporary = os.path.join(parent, temporary_name())
    unfinished.add(temporary)
    try:
        key = pair.location.object_key(action.path)
        delivered = yield from pair.store.download(key, action.source, temporary, on_bytes)
        if delivered.modified_ns:
            os.utime(temporary, ns=(delivered.modified_ns, delivered.modified_ns))
        status = os.stat(temporary)
        directories.check(parent)
        _put_in_place(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno and not error.filename:
            # A failed write names no file by itself.
            raise type(error)(error.errno, error.strerror, target) from error
        raise
    finally:
        unfinished.discard(temporary)
    return Record(action.path, status.st_size, status.st_mtime_ns, status.st_ino, delivered.etag, owner)


def _put_in_place(temporary: str, target: str) -> None:
    try:
        os.replace(temporary, target)
    except IsADirectoryError:
        os.rmdir(target)
        os.replace(temporary, target)


class _Directories:
    """Makes directories below a root, each once, and never through a symbolic link."""

    def __init__(self, root: str):
        self._root = root
        self._made: set[str] = set()
        self._lock = threading.Lock()

    def make(self, directory: str) -> None:
        if directory in self._made:
            self.check(directory)
            return
        if directory == self._root:
            os.makedirs(directory, exist_ok=True)
        else:
            self.make(os.path.dirname(directory))
            with self._lock, suppress(FileExistsError):
                os.mkdir(directory)
            self._check_one(directory)
        self._made.add(directory)

    def check(self, directory: str) -> None:
        """Whoever moves a directory away during a transfer and leaves a link to it loses nothing behind the link.

        Raises:
            NotADirectoryError: the directory, or one above it below the root, is a link or a file by now.
        """
        while len(directory) > len(self._root):
            self._check_one(directory)
            directory = os.path.dirname(directory)

    @staticmethod
    def _check_one(directory: str) -> None:
        if not stat.S_ISDIR(os.lstat(directory).st_mode):
            raise NotADirectoryError(
                f"{directory} is a file or a symbolic link; pos3 changes nothing through it. Remove it, or leave "
                "what lies below it out with exclude=[...]"
            )


@contextmanager
def _aside(plan: Plan, pair: Pair, directories: _Directories) -> Iterator[Callable[[], None]]:
    """Moves what is in the way aside. It goes for good when the yielded function is called, else it comes back."""
    moved: list[tuple[str, str]] = []
    finished = False

    def finish() -> None:
        nonlocal finished
        finished = True

    try:
        for path in plan.obstacles:
            original = pair.local_path(path)
            directories.check(os.path.dirname(original))
            _check_only_deletes(path, original, plan)
            parked = os.path.join(os.path.dirname(original), temporary_name())
            os.rename(original, parked)
            moved.append((original, parked))
        yield finish
    finally:
        for original, parked in moved:
            if finished or os.path.lexists(original):
                if os.path.isdir(parked) and not os.path.islink(parked):
                    shutil.rmtree(parked)
                else:
                    os.unlink(parked)
            else:
                os.rename(parked, original)


def _check_only_deletes(path: str, original: str, plan: Plan) -> None:
    """A directory makes way only if all that it holds is planned to go; excluded files, say, are not."""
    if not os.path.isdir(original) or os.path.islink(original):
        return
    planned = {action.path for action in plan.deletes}
    for directory, _, names in os.walk(original):
        inner = os.path.relpath(directory, original)
        for name in names:
            found = "/".join(part for part in (path, "" if inner == "." else inner, name) if part)
            if found not in planned and not is_temporary(name):
                raise IsADirectoryError(
                    f"{original} is a directory where a file belongs, and {found!r} in it takes no part in the "
                    "transfer, so the directory was not replaced. Move it away, or exclude it"
                )


def _delete_local(plan: Plan, pair: Pair, directories: _Directories, index: Index, outcome: Outcome) -> None:
    deleted: list[str] = []
    for action in reversed(plan.deletes):
        target = pair.local_path(action.path)
        if _went_aside(action.path, plan):
            outcome.deleted_files += not action.path.endswith("/")
            deleted.append(action.path)
            continue
        try:
            with suppress(FileNotFoundError):
                directories.check(os.path.dirname(target))
                if action.path.endswith("/"):
                    _prune(target, pair.local)
                else:
                    os.unlink(target)
                    outcome.deleted_files += 1
        except OSError as error:
            outcome.failures.append(error)
            continue
        deleted.append(action.path)
        _prune(os.path.dirname(target), pair.local)
    index.write((), deleted)


def _went_aside(path: str, plan: Plan) -> bool:
    return any(not obstacle or f"{path}/".startswith(f"{obstacle}/") for obstacle in plan.obstacles)


def _prune(directory: str, root: str) -> None:
    """Removes directories that a delete left empty, up to the root, which stays."""
    while directory != root and directory.startswith(root):
        try:
            os.rmdir(directory)
        except OSError:
            return
        directory = os.path.dirname(directory)


# Upload


def _upload(plan: Plan, pair: Pair, index: Index, terms: Terms, outcome: Outcome) -> None:
    with _shown(plan, pair, terms) as progress:

        def on_bytes(size_bytes: int) -> None:
            if size_bytes > 0:
                terms.upload_rate.take(size_bytes, terms.cancelled.wait)
                if terms.cancelled.is_set():
                    raise TransferCancelledError("the upload was stopped")
            progress.moved(size_bytes)

        def push(action: Action) -> Steps[Record | None]:
            record = yield from _push(action, pair, on_bytes, terms.owner, outcome)
            progress.finished_file()
            return record

        try:
            complete = _copy_all(plan.copies, push, pair, index, terms, outcome)
            if complete:
                complete = _copy_all(plan.last_copies, push, pair, index, terms, outcome)
        finally:
            if terms.cancelled.is_set():
                pair.store.abort_unfinished()
    if complete:
        empty, emptied = ([a for a in plan.directories if (a.reason == EMPTIED) is later] for later in (False, True))
        _put_markers(empty, pair, index, outcome)
        _delete_remote(plan, pair, index, outcome)
        if not outcome.failures:
            # Before the deletes, a server that keeps directories would take the marker for the directory itself.
            _put_markers(emptied, pair, index, outcome)


def _push(action: Action, pair: Pair, on_bytes: OnBytes, owner: str, outcome: Outcome) -> Steps[Record | None]:
    source = pair.local_path(action.path)
    try:
        before = _settled_stat(source)
        key = pair.location.object_key(action.path)
        etag = yield from pair.store.upload(key, source, before.st_size, on_bytes)
    except FileNotFoundError as error:
        if error.filename != source:
            raise
        outcome.kept.append(Kept(action.path, "gone before it was uploaded"))
        return None
    # From here on the object is there, so there must be a record of it, whatever has become of the file.
    record = Record(action.path, before.st_size, before.st_mtime_ns, before.st_ino, etag, owner)
    if not _is_still(source, record):
        outcome.unsettled.append(action.path)
    return record


def _is_still(path: str, record: Record) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    now = (status.st_size, status.st_mtime_ns, status.st_ino)
    return now == (record.size_bytes, record.modified_ns, record.inode)


def _settled_stat(path: str) -> os.stat_result:
    """The file's state at a moment after which every change shows in its mtime."""
    status = os.stat(path)
    age_ns = time.time_ns() - status.st_mtime_ns
    if 0 <= age_ns < _MTIME_TICK_NS:
        time.sleep((_MTIME_TICK_NS - age_ns) / 1e9)
        status = os.stat(path)
    return status


def _put_markers(directories: list[Action], pair: Pair, index: Index, outcome: Outcome) -> None:
    holds_markers = index.noted(_HOLDS_MARKERS) != "no"
    for action in directories:
        try:
            holds_markers = holds_markers and pair.store.put_marker(pair.location.object_key(action.path))
        except OSError as error:
            outcome.failures.append(error)
            return
        if not holds_markers:
            outcome.kept.append(Kept(action.path, "the store cannot hold empty directories"))
    if directories and not holds_markers:
        # The next run does not try again.
        index.note(_HOLDS_MARKERS, "no")


def _delete_remote(plan: Plan, pair: Pair, index: Index, outcome: Outcome) -> None:
    if outcome.failures or not plan.deletes:
        return
    paths = {pair.location.object_key(action.path): action.path for action in plan.deletes}
    failed = dict(pair.store.delete(list(paths)))
    outcome.failures += failed.values()
    gone = [path for key, path in paths.items() if key not in failed]
    outcome.deleted_files += len(gone)
    index.write((), gone)
