"""Provides the three sorted streams from which a plan is made: local files, objects, and records."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice

from pos3.entries import Entry, PathRange, Record
from pos3.errors import UnsafeKeysError
from pos3.filters import Filter, everything, nothing
from pos3.jobs.registration import Registration
from pos3.local import STATE_DIRECTORY, Scan, has_temporary_name, lies_in_state, local_entries, state_directory_of
from pos3.plan import IN_STATE
from pos3.reports import Kept
from pos3.state import Index
from pos3.store import Store
from pos3.transfer import Markers

UNFINISHED = "its name is that of an unfinished file of pos3, so it takes no part"
STATE = "it lies where pos3 keeps its own state, so it takes no part"

Entries = Iterator[Entry]


@dataclass
class _LeftOut:
    """The objects of one listing that never take part, for one reason."""

    reason: str
    first: str = ""
    count: int = 0

    def add(self, path: str) -> None:
        self.first = self.first or path
        self.count += 1

    def as_kept(self) -> tuple[Kept, ...]:
        """One line for all of them, or nothing."""
        if not self.count:
            return ()
        return (Kept(self.first, f"{self.reason}, like {self.count - 1} others" if self.count > 1 else self.reason),)


def ignore_entry(_entry: os.DirEntry[str]) -> None:
    """Ignores an internal file of pos3 that a listing has found."""


class Sources:
    """The streams of one job. Each stream is sorted by path in code-point order, and each call reads it again.

    Args:
        cache_root: the cache into whose state directory no download may write.
        watch: passes on all objects of a listing, including those that a filter will leave out.
        hides: whether a path is left out of all streams.
    """

    def __init__(
        self,
        registration: Registration,
        store: Store,
        index: Index,
        cache_root: str,
        watch: Callable[[Entries], Entries] = lambda objects: objects,
        hides: Callable[[str], bool] = nothing,
    ):
        self._local = registration.local
        self._location = registration.location
        self._within = registration.within
        self._takes_part = registration.filter.predicate()
        self._push_filter = registration.request.push_filter
        self._store = store
        self._index = index
        self._watch = watch
        self._hides = hides
        self._own_state = os.path.relpath(state_directory_of(cache_root), registration.local)
        self._left_out: tuple[_LeftOut, ...] = ()

    def files(
        self,
        chosen: Filter,
        *,
        follow_symlinks: bool,
        on_internal_file: Callable[[os.DirEntry[str]], None] = ignore_entry,
    ) -> Entries:
        """The local files. ``on_internal_file`` is called with temporary files and state directories of pos3."""
        scan = Scan(follow_symlinks, chosen.predicate(), chosen.prunes(), on_internal_file)
        entries = self._within.cut(local_entries(self._local, _scan_within(self._within, scan)))
        return entries if self._hides is nothing else (entry for entry in entries if not self._hides(entry.path))

    def objects(self, chosen: Filter, *, is_prefix: bool, only_object: bool = False, to_push: bool = False) -> Entries:
        """The objects at the location of the job.

        Objects with the name of a temporary file of pos3 are left out. A push also leaves out keys in a state
        directory; a download must see them, because it refuses them.

        Args:
            only_object: list only the object at the location itself.
            to_push: the objects are listed for a push, not for a download.
        """
        entries = self._watch(self._content(self._listed(is_prefix=is_prefix), to_push=to_push))
        if only_object:
            entries = (entry for entry in islice(entries, 1) if not entry.path)
        takes_part = chosen.predicate()
        return entries if takes_part is everything else (entry for entry in entries if takes_part(entry.path))

    def _listed(self, *, is_prefix: bool) -> Entries:
        landmarks = self._index.landmarks()
        entries = self._store.entries(self._location.key, is_prefix=is_prefix, landmarks=landmarks, within=self._within)
        return entries if self._hides is nothing else (entry for entry in entries if not self._hides(entry.path))

    def _content(self, entries: Entries, *, to_push: bool) -> Entries:
        takes_part = self._takes_part
        unfinished, state = _LeftOut(UNFINISHED), _LeftOut(STATE)
        self._left_out = (unfinished, state)
        for entry in entries:
            path = entry[0]
            if STATE_DIRECTORY in path:
                if path == self._own_state and not to_push:
                    raise UnsafeKeysError(str(self._location), [f"{path!r}: {IN_STATE}"])
                left_out = unfinished if has_temporary_name(path) else None
                if left_out is None and to_push and lies_in_state(path):
                    left_out = state
                if left_out is not None:
                    if takes_part(path):
                        left_out.add(path)
                    continue
            yield entry

    def left_out(self) -> tuple[Kept, ...]:
        """The objects that the last listing has left out, in one line for each reason."""
        return tuple(kept for left_out in self._left_out for kept in left_out.as_kept())

    def records(self, chosen: Filter) -> Iterator[Record]:
        takes_part = chosen.predicate()
        records = self._index.records(within=self._within)
        if self._hides is not nothing:
            records = (record for record in records if not self._hides(record.path))
        return records if takes_part is everything else (record for record in records if takes_part(record.path))

    def records_to_push(self, directory_objects: Markers, owner: str) -> Iterator[Record]:
        """The records, merged with the directory objects that this mirror has pushed, so that one rule covers both."""
        records = self.records(self._push_filter)
        if not directory_objects:
            return records
        # No directory is listed with such a time, so none of these records can match a local entry.
        pushed = [Record(path, 0, -1, 0, etag, owner) for path, etag in sorted(directory_objects.items())]
        return merge(records, pushed)


def _scan_within(within: PathRange, scan: Scan) -> Scan:
    """The scan of what lies in a range of paths. A directory in which a border lies belongs to no range alone."""
    if within.is_everything:
        return scan

    def takes_part(path: str) -> bool:
        is_border = path.endswith("/") and within.has_border_in(path)
        return path in within and not is_border and scan.takes_part(path)

    return replace(
        scan, takes_part=takes_part, prunes=lambda directory: not within.reaches(directory) or scan.prunes(directory)
    )
