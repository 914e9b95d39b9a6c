"""Carries out the plan of a download.

A file is written beside its target, verified, and renamed over it. So a reader sees either the old or the new bytes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Self

from pos3.entries import Entry, Record
from pos3.local import is_below, is_within, is_within_relative, temporary_name
from pos3.plan import Action, Plan
from pos3.state import Index, Leftovers
from pos3.transfer.copying import copy_all, shown
from pos3.transfer.local_errors import explaining_write_errors
from pos3.transfer.places import Directories, aside, make_with_parents
from pos3.transfer.placing import put_in_place, remove
from pos3.transfer.progress import Progress
from pos3.transfer.resuming import PartFiles
from pos3.transfer.terms import Outcome, Pair, Terms


def download(plan: Plan, pair: Pair, index: Index, terms: Terms, outcome: Outcome) -> None:
    leftovers = Leftovers(index.root)
    directories = Directories(pair.local)
    with (
        aside(plan, pair, directories) as made_way,
        shown(plan, pair, terms) as progress,
        _Unfinished(leftovers) as unfinished,
        PartFiles(pair, leftovers) as part_files,
    ):

        def fetch(action: Action) -> Coroutine[Any, Any, Record]:
            return _fetch(action, pair, directories, unfinished, part_files, progress, terms)

        complete = copy_all(plan.every_copy(), plan.copy_files, fetch, pair, index, terms, outcome)
        if not complete:
            return
        made_way()
        _delete_local(plan, pair, directories, index, outcome)
        for action in plan.directories:
            directories.make(pair.local_path(action.path))


class _Unfinished:
    """The temporary files of a download. At the end, the remaining ones are removed: their worker has not ended."""

    def __init__(self, leftovers: Leftovers):
        self._leftovers = leftovers
        self._paths: set[str] = set()
        self._noted: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for path in list(self._paths):
            with suppress(OSError):
                os.unlink(path)
            self.end(path)

    def begin(self, path: str, *, in_root: bool) -> None:
        """Registers a file before it is made.

        The next download finds files in the root by itself; for others, a note is written.
        """
        self._paths.add(path)
        if not in_root:
            self._noted.add(path)
            self._leftovers.note(path)

    def end(self, path: str) -> None:
        """Unregisters a file that was removed, or has its final name."""
        self._paths.discard(path)
        if path in self._noted:
            self._noted.discard(path)
            self._leftovers.forget(path)


async def _fetch(
    action: Action,
    pair: Pair,
    directories: Directories,
    unfinished: _Unfinished,
    part_files: PartFiles,
    progress: Progress,
    terms: Terms,
) -> Record:
    target = pair.local_path(action.path)
    parent = os.path.dirname(target)
    temporary = f"{parent}/{temporary_name()}"
    with explaining_write_errors(target, temporary):
        if action.path:
            directories.make(parent)
        else:
            make_with_parents(parent)
        unfinished.begin(temporary, in_root=bool(action.path))
        try:
            checksum: list[str] = []
            delivered = await part_files.download(action, temporary, progress.moved, checksum.append, terms)
            if delivered.modified_ns:
                _set_time(temporary, delivered.modified_ns)
            status = os.stat(temporary)
            directories.check(parent)
            if not put_in_place(temporary, target, action.replaces):
                status = os.stat(target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            unfinished.end(temporary)
    progress.finished_file()
    return Record.of_pair(Entry.of_file(action.path, status), delivered.etag, terms.owner, *checksum)


def _set_time(path: str, modified_ns: int) -> None:
    try:
        os.utime(path, ns=(modified_ns, modified_ns))
    except OSError as error:
        # Some file systems cannot store every year. Then the file keeps the time of its download.
        if error.errno not in (errno.EINVAL, errno.EOVERFLOW, errno.ERANGE):
            raise


def _delete_local(plan: Plan, pair: Pair, directories: Directories, index: Index, outcome: Outcome) -> None:
    deleted: list[str] = []
    written = [pair.local_path(path) for path in plan.paths_of_others]
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
                    prune(target, pair.local, written)
                else:
                    outcome.deleted_files += remove(target, action.source)
        except OSError as error:
            outcome.failures.append(error)
            continue
        deleted.append(action.path)
        prune(os.path.dirname(target), pair.local, written)
    index.write((), deleted)


def _went_aside(path: str, plan: Plan) -> bool:
    return any(is_within_relative(path, obstacle) for obstacle in plan.obstacles)


def prune(directory: str, root: str, written: Sequence[str] = ()) -> None:
    """Removes empty directories from ``directory`` up to the root.

    The root stays, and so do directories above ``written``.
    """
    while is_below(directory, root):
        if any(is_within(path, directory) for path in written):
            return
        try:
            os.rmdir(directory)
        except OSError:
            return
        directory = os.path.dirname(directory)
