"""Computes fingerprints: a short text that is the same for objects and for local files known to equal them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from pos3.entries import EVERY_PATH, Entry, PathRange, Record
from pos3.filters import Filter
from pos3.local import STATE_DIRECTORY, Scan, has_temporary_name, lies_in_state, local_entries
from pos3.plan import merge_listings
from pos3.state import Index
from pos3.store import Store, twice_if_unsorted
from pos3.url import Location

TakesPart = Callable[[str], bool]


def fingerprint_of_objects(
    store: Store, location: Location, chosen: Filter, within: PathRange = EVERY_PATH
) -> str | None:
    """The fingerprint of the objects at ``location``, or of those ``within`` a range; None if there are none.

    It lists the objects, and needs memory for one page of the listing.
    """
    takes_part = chosen.predicate()

    def fingerprint() -> str | None:
        entries = store.entries(location.key, is_prefix=location.is_prefix, within=within)
        return fingerprint_of(entry for entry in entries if takes_part(entry.path) and is_content(entry))

    return twice_if_unsorted(fingerprint)


def is_content(entry: Entry) -> bool:
    """Whether an object counts: it is no directory object, and no internal file of pos3."""
    return not entry.is_directory and not is_never_content(entry.path)


def is_never_content(path: str) -> bool:
    """Whether no upload puts an object at the path: it is that of a temporary file, or of state of pos3."""
    return STATE_DIRECTORY in path and (has_temporary_name(path) or lies_in_state(path))


def fingerprint_of_files(index: Index, below: str, takes_part: TakesPart) -> str | None:
    """The fingerprint of the objects that the files at ``below`` are equal to, according to the index.

    It is None if a file is not as recorded, or if there are no files.
    """

    def records() -> Iterator[Record]:
        for file, record in files_with_records(index, below, takes_part):
            if file is None or record is None or not is_as_recorded(file, record):
                raise LookupError
            yield record

    try:
        return fingerprint_of(records())
    except LookupError:
        return None


def files_with_records(index: Index, below: str, takes_part: TakesPart) -> Iterator[tuple[Entry | None, Record | None]]:
    """Each file at ``below`` in the root of the index, with its record. Paths are relative to ``below``.

    Links are followed, as in an upload. Empty directories are left out. A file without a record, and a record without a
    file, come with None.
    """
    top = f"{index.root.local}/{below}" if below else index.root.local
    scan = Scan(follow_symlinks=True, takes_part=takes_part, prunes=lambda path: False)
    records = (record._replace(path=record.path[len(below) :].lstrip("/")) for record in index.records(below))
    chosen = (record for record in records if takes_part(record.path))
    for path, file, _, record in merge_listings(local_entries(top, scan), (), chosen):
        if not path.endswith("/") or (file is not None and file.unusable):
            yield file, record


def is_as_recorded(file: Entry, record: Record | None) -> bool:
    return record is not None and not file.unusable and record.matches_local(file)


class Digest:
    """The fingerprint of entries or records, which are added in code-point order of their paths, and their figures."""

    def __init__(self) -> None:
        self.files = 0
        self.size_bytes = 0
        self._digest = hashlib.sha256()

    def add(self, entry: Entry | Record) -> None:
        self.files += 1
        self.size_bytes += entry.size_bytes
        self._digest.update(repr((entry.path, entry.size_bytes, entry.etag)).encode("utf-8", "surrogatepass"))

    @property
    def fingerprint(self) -> str | None:
        """None if nothing was added."""
        return self._digest.hexdigest() if self.files else None


def fingerprint_of(entries: Iterable[Entry | Record]) -> str | None:
    """The fingerprint of entries or records in code-point order of their paths, or None if there are none."""
    digest = Digest()
    for entry in entries:
        digest.add(entry)
    return digest.fingerprint
