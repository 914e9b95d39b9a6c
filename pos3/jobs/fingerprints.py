"""What lies at a place, as one short text: the same for objects and for files that are known to equal them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from pos3.entries import Entry, Record
from pos3.filters import Filter
from pos3.local import STATE_DIRECTORY, Scan, has_temporary_name, lies_in_state, local_entries
from pos3.plan import merge_listings
from pos3.state import Index
from pos3.store import Store, twice_if_unsorted
from pos3.url import Location

TakesPart = Callable[[str], bool]


def fingerprint_of_objects(store: Store, location: Location, chosen: Filter) -> str | None:
    """Costs a listing, and memory for one page of it; None if there is no object."""
    takes_part = chosen.predicate()

    def digest() -> str | None:
        entries = store.entries(location.key, is_prefix=location.is_prefix)
        return _digest(
            entry
            for entry in entries
            if takes_part(entry.path) and not entry.is_directory and not _is_never_content(entry.path)
        )

    return twice_if_unsorted(digest)


def _is_never_content(path: str) -> bool:
    return STATE_DIRECTORY in path and (has_temporary_name(path) or lies_in_state(path))


def fingerprint_of_files(index: Index, below: str, takes_part: TakesPart) -> str | None:
    """That of the objects, from what the index remembers; None if a file is not as remembered, or there is none."""

    def records() -> Iterator[Record]:
        for file, record in with_records(index, below, takes_part):
            if file is None or record is None or not is_as_remembered(file, record):
                raise LookupError
            yield record

    try:
        return _digest(records())
    except LookupError:
        return None


def with_records(index: Index, below: str, takes_part: TakesPart) -> Iterator[tuple[Entry | None, Record | None]]:
    """Each file at ``below`` in the index's root, beside what is remembered of it; with paths relative to ``below``.

    Links are followed, as an upload does. Empty directories are left out.
    """
    top = f"{index.root.local}/{below}" if below else index.root.local
    scan = Scan(follow_symlinks=True, takes_part=takes_part, prunes=lambda path: False)
    records = (record._replace(path=record.path[len(below) :].lstrip("/")) for record in index.records(below))
    wanted = (record for record in records if takes_part(record.path))
    for path, file, _, record in merge_listings(local_entries(top, scan), (), wanted):
        if not path.endswith("/") or (file is not None and file.unusable):
            yield file, record


def is_as_remembered(file: Entry, record: Record | None) -> bool:
    return record is not None and not file.unusable and record.matches_local(file)


def _digest(found: Iterable[Entry | Record]) -> str | None:
    digest = hashlib.sha256()
    is_empty = True
    for each in found:
        is_empty = False
        digest.update(repr((each.path, each.size_bytes, each.etag)).encode("utf-8", "surrogatepass"))
    return None if is_empty else digest.hexdigest()
