"""The three sorted streams that a plan is made of: the local side, the remote side, and what is on record."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from pos3.entries import Entry, Record
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
    """Paths of objects that never take part, for one reason."""

    reason: str
    first: str = ""
    count: int = 0

    def add(self, path: str) -> None:
        self.first = self.first or path
        self.count += 1

    def told(self) -> tuple[Kept, ...]:
        if not self.count:
            return ()
        return (Kept(self.first, f"{self.reason}, like {self.count - 1} others" if self.count > 1 else self.reason),)


def ignored(_entry: os.DirEntry[str]) -> None:
    """For listings of which nobody asks what is no content."""


class Sources:
    """What one job reads. Each stream is in code-point order of its paths, and is read anew at each call.

    Args:
        cache_root: the cache whose state directory no download may fill.
        watch: sees all content of a listing as it comes, what a filter leaves out included.
        hides: which paths are in none of the streams.
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
        on_own: Callable[[os.DirEntry[str]], None] = ignored,
    ) -> Entries:
        """The local side. ``on_own`` gets temporary files and state directories, which are no content."""
        found = local_entries(self._local, Scan(follow_symlinks, chosen.predicate(), chosen.prunes(), on_own))
        return found if self._hides is nothing else (entry for entry in found if not self._hides(entry.path))

    def objects(self, chosen: Filter, *, is_prefix: bool, only_object: bool = False, to_push: bool = False) -> Entries:
        """The remote side.

        Objects that look like unfinished files are left out: no local file of such a name is ever content. Nor does a
        push look at keys that lie in a state directory; a download is not to pass them over.

        Args:
            only_object: only the object at the location itself.
            to_push: for a push, not for a download.
        """
        entries = self._watch(self._content(self._listed(is_prefix=is_prefix), to_push=to_push))
        if only_object:
            entries = (entry for entry in islice(entries, 1) if not entry.path)
        takes_part = chosen.predicate()
        return entries if takes_part is everything else (entry for entry in entries if takes_part(entry.path))

    def _listed(self, *, is_prefix: bool) -> Entries:
        landmarks = self._index.landmarks()
        found = self._store.entries(self._location.key, is_prefix=is_prefix, landmarks=landmarks)
        return found if self._hides is nothing else (entry for entry in found if not self._hides(entry.path))

    def _content(self, entries: Entries, *, to_push: bool) -> Entries:
        takes_part = self._takes_part
        unfinished, state = _LeftOut(UNFINISHED), _LeftOut(STATE)
        self._left_out = (unfinished, state)
        for entry in entries:
            path = entry[0]
            if STATE_DIRECTORY in path:
                if path == self._own_state and not to_push:
                    raise UnsafeKeysError(str(self._location), [f"{path!r}: {IN_STATE}"])
                which = unfinished if has_temporary_name(path) else state if to_push and lies_in_state(path) else None
                if which is not None:
                    if takes_part(path):
                        which.add(path)
                    continue
            yield entry

    def left_out(self) -> tuple[Kept, ...]:
        """What the last listing of objects has left out, one line for each reason."""
        return tuple(kept for left_out in self._left_out for kept in left_out.told())

    def records(self, chosen: Filter) -> Iterator[Record]:
        takes_part = chosen.predicate()
        records = self._index.records()
        if self._hides is not nothing:
            records = (record for record in records if not self._hides(record.path))
        return records if takes_part is everything else (record for record in records if takes_part(record.path))

    def records_to_push(self, markers: Markers, owner: str) -> Iterator[Record]:
        """The records, and among them the directory objects that this mirror has put, so that one rule is for both."""
        records = self.records(self._push_filter)
        if not markers:
            return records
        # No directory is listed with such a time, so none of them passes for a file as recorded.
        put = [Record(path, 0, -1, 0, etag, owner) for path, etag in sorted(markers.items())]
        return merge(records, put)
