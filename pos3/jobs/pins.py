"""Decides whether the objects that were listed may be downloaded: those of a fingerprint, or of an earlier time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from pos3.entries import Entry, Record
from pos3.errors import FingerprintMismatchError, VersionsDeletedError
from pos3.jobs.fingerprints import Digest, fingerprint_of, is_content
from pos3.jobs.known_places import indexes_with
from pos3.jobs.requests import Request
from pos3.plan import Plan, merge_listings
from pos3.reports import format_bytes
from pos3.state import Index
from pos3.url import Location

_MAX_EXAMPLES = 10
_MAX_DELETED = 100
Entries = Iterator[Entry]


class Pin(Protocol):
    """A rule that says which objects a download may bring."""

    may_be_partial: bool
    """Whether files may be left out, because others write them."""

    def watch(self, objects: Entries) -> Entries:
        """Passes on the objects of one listing."""
        ...

    def check(self, list_again: Callable[[], Entries]) -> None:
        """Returns if the objects that have passed may be downloaded.

        Raises:
            FingerprintMismatchError, VersionsDeletedError: they are not those that are wanted.
        """
        ...

    def check_delivered(self, plan: Plan, index: Index) -> None:
        """Returns if the objects that were downloaded are those of the plan.

        Raises:
            FingerprintMismatchError: some were replaced in between.
        """
        ...


class PinnedTo:
    """Only the objects with this fingerprint may be downloaded.

    Args:
        request: the download.
        fingerprint: that of the request.
        cache_root: the cache that may have on record what the objects were.
    """

    may_be_partial = False

    def __init__(self, request: Request, fingerprint: str, location: Location, endpoint: str, cache_root: str):
        self._wanted = fingerprint
        self._location = location
        self._endpoint = endpoint
        self._chosen = request.filter
        self._within = request.within
        self._cache_root = cache_root
        self._listed = Digest()

    def watch(self, objects: Entries) -> Entries:
        self._listed = listed = Digest()
        for entry in objects:
            if is_content(entry):
                listed.add(entry)
            yield entry

    def check(self, list_again: Callable[[], Entries]) -> None:
        if self._listed.fingerprint != self._wanted:
            raise self._mismatch(list_again)

    def _mismatch(self, list_again: Callable[[], Entries]) -> FingerprintMismatchError:
        listed, url = self._listed, str(self._location)
        told = f"{url}: the objects are not those of the fingerprint {self._wanted}; nothing was changed"
        there = f"{listed.files} objects ({format_bytes(listed.size_bytes)}) with the fingerprint {listed.fingerprint}"
        now = f"Now there are {there}" if listed.files else "Now there are none"
        advice = "Pass that fingerprint if the new objects are meant, or restore the old ones"
        before = self._records_of_wanted()
        if before is None:
            unknown = "This cache has no record of what they were, so it cannot be told which differ"
            return FingerprintMismatchError(
                f"{told}. {unknown}. {now}. {advice}", url=url, expected=self._wanted, actual=listed.fingerprint
            )
        differences = _Differences()
        differences.compare(before(), (entry for entry in list_again() if is_content(entry)))
        return FingerprintMismatchError(
            f"{told}:{differences}\n{now}. {advice}",
            url=url,
            expected=self._wanted,
            actual=listed.fingerprint,
            new=tuple(differences.new.paths),
            gone=tuple(differences.gone.paths),
            changed=tuple(differences.changed.paths),
        )

    def _records_of_wanted(self) -> Callable[[], Iterator[Record]] | None:
        """The records of the objects that the fingerprint stands for, if a local root of this cache has them."""
        takes_part = self._chosen.predicate()
        for index, below in indexes_with(self._cache_root, self._endpoint, self._location, of_any_time=True):

            def records(index: Index = index, below: str = below) -> Iterator[Record]:
                for record in index.records(below):
                    path = record.path[len(below) :].lstrip("/")
                    if path in self._within and takes_part(path):
                        yield record._replace(path=path)

            if fingerprint_of(records()) == self._wanted:
                return records
        return None

    def check_delivered(self, plan: Plan, index: Index) -> None:
        expected = {action.path: action.source.etag for action in plan.every_copy()}
        replaced = _Some()
        for record in index.records() if expected else ():
            if expected.get(record.path, record.etag) != record.etag:
                replaced.add(record.path)
        if replaced.count:
            raise FingerprintMismatchError(
                f"{self._location}: {_objects(replaced.count)} replaced during the download: {replaced.names}. So the "
                f"files in {index.root.local} do not have the fingerprint {self._wanted}. Restore the objects, or make "
                "a new fingerprint, and download again",
                url=str(self._location),
                expected=self._wanted,
                changed=tuple(replaced.paths),
            )


@dataclass
class _Some:
    """A number of paths, and the first of them."""

    most: int = _MAX_EXAMPLES
    count: int = 0
    paths: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        self.count += 1
        if len(self.paths) < self.most:
            self.paths.append(path)

    @property
    def names(self) -> str:
        """At most ten of the paths, and the number of the others."""
        shown = self.paths[:_MAX_EXAMPLES]
        more = f" and {self.count - len(shown)} more" if self.count > len(shown) else ""
        return f"{', '.join(map(repr, shown))}{more}"

    def __str__(self) -> str:
        return f"{self.count} ({self.names})"


def _objects(count: int) -> str:
    return "1 object was" if count == 1 else f"{count} objects were"


@dataclass
class _Differences:
    """What differs between the objects that a fingerprint stands for and those that are there."""

    new: _Some = field(default_factory=_Some)
    gone: _Some = field(default_factory=_Some)
    changed: _Some = field(default_factory=_Some)

    def compare(self, before: Iterable[Record], now: Iterable[Entry]) -> None:
        for path, _, entry, record in merge_listings((), now, before):
            if record is None:
                self.new.add(path)
            elif entry is None:
                self.gone.add(path)
            elif (entry.size_bytes, entry.etag) != (record.size_bytes, record.etag):
                self.changed.add(path)

    def __str__(self) -> str:
        kinds = {"new": self.new, "gone": self.gone, "changed": self.changed}
        return "".join(f"\n  {name}: {some}" for name, some in kinds.items() if some.count)


def _is_earlier(entry: Entry, record: Record) -> bool:
    """Whether an object is an earlier version than the recorded one. One whose upload took long may appear later."""
    return entry.etag != record.etag and entry.modified_ns <= record.modified_ns


class NothingDeletedSince:
    """An earlier state may be downloaded only if nothing of it is known to have been deleted for good.

    What an earlier download of the same state has brought is on record, and that state cannot have changed otherwise.

    Args:
        request: the download.
        moment: the time of that state.
        index: the records of such downloads.
    """

    may_be_partial = True

    def __init__(self, request: Request, moment: str, location: Location, index: Index):
        self._moment = moment
        self._url = str(location)
        self._chosen = request.filter
        self._within = request.within
        self._index = index
        self._gone = _Some(_MAX_DELETED)

    def watch(self, objects: Entries) -> Entries:
        self._gone = gone = _Some(_MAX_DELETED)
        takes_part = self._chosen.predicate()
        records = (record for record in self._index.records(within=self._within) if takes_part(record.path))
        for path, _, entry, record in merge_listings((), objects, records):
            if record is not None and (entry is None or _is_earlier(entry, record)):
                gone.add(path)
            if entry is not None:
                yield entry

    def check(self, list_again: Callable[[], Entries]) -> None:
        if self._gone.count:
            raise VersionsDeletedError(
                f"{self._url}: {_objects(self._gone.count)} downloaded as of {self._moment}, and the versions of that "
                f"time have been deleted from the bucket since: {self._gone.names}. Nothing was changed. The files of "
                f"the earlier download are in {self._index.root.local}. To use them, open a mirror with offline=True",
                url=self._url,
                paths=self._gone.paths,
            )

    def check_delivered(self, plan: Plan, index: Index) -> None:
        pass


def pins_of(request: Request, location: Location, endpoint: str, index: Index, cache_root: str) -> list[Pin]:
    """The rules for the source of a download."""
    pins: list[Pin] = []
    if request.as_of is not None:
        pins.append(NothingDeletedSince(request, request.as_of, location, index))
    if request.fingerprint is not None:
        pins.append(PinnedTo(request, request.fingerprint, location, endpoint, cache_root))
    return pins
