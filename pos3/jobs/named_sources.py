"""Provides the three streams of a plan for a few named paths, without a listing of either side."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from pos3.entries import Entry, Record
from pos3.jobs.registration import Registration
from pos3.local import file_entry, has_temporary_name, lies_in_state
from pos3.state import Index
from pos3.store import Store


class NamedSources:
    """The files at these paths that a push of the registration would take, with their objects and records.

    Each stream is sorted by path in code-point order.
    """

    def __init__(self, registration: Registration, store: Store, index: Index, paths: Collection[str]):
        takes_part = registration.request.push_filter.predicate()
        self._registration = registration
        self._store = store
        self._index = index
        self._paths = sorted(
            path for path in set(paths) if takes_part(path) and not (has_temporary_name(path) or lies_in_state(path))
        )

    def files(self) -> Iterator[Entry]:
        local, follow_symlinks = self._registration.local, self._registration.request.follow_symlinks
        for path in self._paths:
            entry = file_entry(local, path, follow_symlinks=follow_symlinks)
            if entry is not None:
                yield entry

    def objects(self) -> Iterator[Entry]:
        """The objects at the paths. Each costs one request."""
        location_key = self._registration.location.key
        for path in self._paths:
            key = "/".join(part for part in (location_key, path) if part)
            for entry in islice(self._store.entries(key, is_prefix=False), 1):
                if not entry.path:
                    yield entry._replace(path=path)

    def records(self) -> list[Record]:
        return self._index.records_of(self._paths)
