"""Carries out the plan of an upload."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable

from pos3.entries import Entry, Record
from pos3.errors import TransferCancelledError
from pos3.plan import EMPTIED, Action, Plan
from pos3.reports import Kept
from pos3.state import Index
from pos3.store import KeyRefusedError, Moved
from pos3.transfer.copying import copy_all, shown
from pos3.transfer.downloads import prune
from pos3.transfer.local_errors import explaining_read_errors
from pos3.transfer.places import Directories
from pos3.transfer.terms import Markers, Outcome, Pair, Terms, forget
from pos3.transfer.workers import run_apart

logger = logging.getLogger("pos3")

_HOLDS_MARKERS = "holds_markers"
# The kernel sets mtime to the last clock tick, which may be 10 ms ago.
_MTIME_TICK_NS = 20_000_000


def upload(plan: Plan, pair: Pair, index: Index, terms: Terms, outcome: Outcome, markers: Markers) -> None:
    with shown(plan, pair, terms) as progress:

        async def push(action: Action) -> Record | None:
            record = await _push(action, pair, progress.moved, terms, outcome)
            progress.finished_file()
            return record

        try:
            complete = copy_all(plan.copies, len(plan.copies), push, pair, index, terms, outcome)
            complete = complete and not plan.not_pushed
            if complete:
                complete = copy_all(plan.last_copies, len(plan.last_copies), push, pair, index, terms, outcome)
        finally:
            pair.store.abort_unfinished(stopped=terms.cancelled.is_set())
    if complete:
        empty, emptied = ([a for a in plan.directories if (a.reason == EMPTIED) is later] for later in (False, True))
        _put_markers(empty, pair, index, terms, outcome, markers)
        _delete_remote(plan, pair, index, terms, outcome, markers)
        if not outcome.failures:
            # These directory objects come after the deletes: before, some servers would take them for the directory
            # itself.
            _put_markers(emptied, pair, index, terms, outcome, markers)
        if not outcome.failures:
            _drop_lost(plan, pair, index, outcome)


async def _push(action: Action, pair: Pair, moved: Moved, terms: Terms, outcome: Outcome) -> Record | None:
    source = pair.local_path(action.path)
    try:
        with explaining_read_errors(source):
            before = await _settled_stat(source)
            key = pair.location.object_key(action.path)
            pace = moved, terms.cancelled, terms.rates.upload
            checksum: list[str] = []
            etag = await pair.store.upload(key, source, before.st_size, *pace, pair.headers, checksum.append)
    except FileNotFoundError as error:
        if error.filename != source:
            raise
        outcome.kept.append(Kept(action.path, "gone before it was uploaded"))
        return None
    # The object exists now, so there must be a record, even if the file has changed meanwhile.
    record = Record.of_pair(Entry.of_file(action.path, before), etag, terms.owner, *checksum)
    if not _is_still(source, record):
        outcome.unsettled.append(action.path)
    return record


def _is_still(path: str, record: Record | Entry) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    now = Entry.of_file(record.path, status)
    return (record.size_bytes, record.modified_ns, record.inode) == (now.size_bytes, now.modified_ns, now.inode)


async def _settled_stat(path: str) -> os.stat_result:
    """The stat result of the file, at a time after which each further change gives another mtime."""
    status = os.stat(path)
    age_ns = time.time_ns() - status.st_mtime_ns
    if 0 <= age_ns < _MTIME_TICK_NS:
        await asyncio.sleep((_MTIME_TICK_NS - age_ns) / 1e9)
        status = os.stat(path)
    return status


def _put_markers(
    directories: list[Action], pair: Pair, index: Index, terms: Terms, outcome: Outcome, markers: Markers
) -> None:
    holds_markers = index.get_note(_HOLDS_MARKERS) != "no"
    for action in directories:
        if terms.cancelled.is_set():
            outcome.failures.append(TransferCancelledError("the upload was stopped"))
            return
        try:
            etag = pair.store.put_marker(pair.location.object_key(action.path)) if holds_markers else None
        except KeyRefusedError as error:
            outcome.kept.append(Kept(action.path, str(error)))
            continue
        except OSError as error:
            outcome.failures.append(error)
            return
        if etag is not None:
            markers[action.path] = etag
        else:
            holds_markers = False
            outcome.kept.append(Kept(action.path, "the store cannot hold empty directories"))
    if directories and not holds_markers:
        # The index says so, and the next run does not try again.
        index.set_note(_HOLDS_MARKERS, "no")


def _delete_remote(plan: Plan, pair: Pair, index: Index, terms: Terms, outcome: Outcome, markers: Markers) -> None:
    """Deletes objects in a separate thread. So after an interrupt, the index still records which ones are deleted."""
    if outcome.failures or not plan.deletes:
        return
    paths = {pair.location.object_key(action.path): action.path for action in plan.deletes}
    is_answered = False

    def delete(answered: Callable[[list[tuple[str, Exception]]], object]) -> None:
        try:
            answered(pair.store.delete(list(paths), terms.cancelled))
        except Exception as error:  # noqa: BLE001 - reported
            outcome.failures.append(error)

    def take(failures: list[tuple[str, Exception]]) -> None:
        nonlocal is_answered
        is_answered = True
        failed = dict(failures)
        outcome.failures += failed.values()
        gone = [path for key, path in paths.items() if key not in failed]
        outcome.deleted_files += len(gone)
        index.write((), gone)
        forget(markers, gone)

    run_apart(delete, take, terms.cancelled)
    if not outcome.failures and not is_answered:
        outcome.failures.append(TransferCancelledError("the deletes were stopped"))


def _drop_lost(plan: Plan, pair: Pair, index: Index, outcome: Outcome) -> None:
    """Removes local files whose objects are gone from the store.

    A file that changed since the plan is pushed instead.
    """
    directories = Directories(pair.local)
    gone: list[str] = []
    for action in reversed(plan.lost):
        target = pair.local_path(action.path)
        try:
            directories.check(os.path.dirname(target))
            if not _is_still(target, action.source):
                outcome.unsettled.append(action.path)
                continue
            os.unlink(target)
        except OSError as error:
            outcome.failures.append(error)
            continue
        gone.append(action.path)
        prune(os.path.dirname(target), pair.local)
    index.write((), gone)
    outcome.dropped_files += len(gone)
    if gone:
        told = ", ".join(sorted(map(repr, gone))[:3])
        text = "%s: removed %d files (%s) whose objects are gone since they were synced"
        logger.info(text, pair.local, len(gone), told)
