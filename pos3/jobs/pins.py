"""Makes sure that a download brings the objects that a fingerprint stands for, and tells what differs if not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from pos3.entries import Entry, Record
from pos3.errors import FingerprintMismatchError
from pos3.filters import Filter
from pos3.jobs.fingerprints import Digest, fingerprint_of, is_content
from pos3.jobs.known_places import indexes_with
from pos3.plan import Plan, merge_listings
from pos3.reports import format_bytes
from pos3.state import Index
from pos3.url import Location

_MAX_EXAMPLES = 10
Entries = Iterator[Entry]


class Pin(Protocol):
    """The rule that says which objects a download may bring."""

    may_be_partial: bool
    """Whether files may be left out, because others write them."""

    def watch(self, objects: Entries) -> Entries:
        """Passes on the objects of one listing."""
        ...

    def check(self, list_again: Callable[[], Entries]) -> None:
        """Returns if the objects that have passed may be downloaded.

        Raises:
            FingerprintMismatchError: they are not those that are wanted.
        """
        ...

    def check_delivered(self, plan: Plan, index: Index) -> None:
        """Returns if the objects that were downloaded are those of the plan.

        Raises:
            FingerprintMismatchError: some were replaced in between.
        """
        ...


class Unpinned:
    """Any objects may be downloaded."""

    may_be_partial = True

    def watch(self, objects: Entries) -> Entries:
        return objects

    def check(self, list_again: Callable[[], Entries]) -> None:
        pass

    def check_delivered(self, plan: Plan, index: Index) -> None:
        pass


class PinnedTo:
    """Only the objects with this fingerprint may be downloaded.

    Args:
        chosen: the filter of the download.
        cache_root: the cache that may have on record what the objects were.
    """

    may_be_partial = False

    def __init__(self, fingerprint: str, location: Location, endpoint: str, chosen: Filter, cache_root: str):
        self._wanted = fingerprint
        self._location = location
        self._endpoint = endpoint
        self._chosen = chosen
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
        for index, below in indexes_with(self._cache_root, self._endpoint, self._location):

            def records(index: Index = index, below: str = below) -> Iterator[Record]:
                for record in index.records(below):
                    path = record.path[len(below) :].lstrip("/")
                    if takes_part(path):
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
                f"{self._location}: {replaced} were replaced while they were downloaded, so {index.root.local} is not "
                "what the fingerprint stands for. Restore the objects and download again",
                url=str(self._location),
                expected=self._wanted,
                changed=tuple(replaced.paths),
            )


@dataclass
class _Some:
    """A number of paths, and the first of them."""

    count: int = 0
    paths: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        self.count += 1
        if len(self.paths) < _MAX_EXAMPLES:
            self.paths.append(path)

    def __str__(self) -> str:
        more = f" and {self.count - len(self.paths)} more" if self.count > len(self.paths) else ""
        return f"{self.count} ({', '.join(map(repr, self.paths))}{more})"


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


def pin_of(fingerprint: str | None, location: Location, endpoint: str, chosen: Filter, cache_root: str) -> Pin:
    """The pin of a download with this argument ``fingerprint``."""
    return PinnedTo(fingerprint, location, endpoint, chosen, cache_root) if fingerprint is not None else Unpinned()
