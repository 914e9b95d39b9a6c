"""Sets of objects that are complete as long as their marker is there, and how they are written and read.

A publisher removes the marker, brings the set up to date, and then puts a marker that says what the set is made of. A
reader looks at the marker before and after, and at the set in between: if the marker is the same and the set is what it
says, no publication was under way.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory

from pos3.entries import LOST_FOUND, Entry, Record
from pos3.errors import (
    IncompleteSetError,
    InvalidArgumentError,
    PlanRefusedError,
    RemoteNotFoundError,
    StoreError,
    TransferCancelledError,
    TransferError,
    UnsafeKeysError,
)
from pos3.filters import Filter
from pos3.jobs.link import Link, MakeRoom
from pos3.jobs.manifest import LONGEST_BYTES, Manifest, Tally
from pos3.jobs.planner import STATE, UNFINISHED
from pos3.local import is_trusted, lies_in_state, make_private, temporary_name
from pos3.plan import Compare, Plan, check_max_delete
from pos3.reports import Kept
from pos3.shown import escaped
from pos3.store import carried_out
from pos3.transfer import Terms

logger = logging.getLogger("pos3")
# Of a reader, while the set changes.
_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)


class _MarkedLink(Link):
    """A link that counts what it lists, and knows the marker of the set."""

    tally: Tally

    @property
    def marker(self) -> str:
        return self.registration.marker

    @property
    def _marker_key(self) -> str:
        return self.registration.location.object_key(self.marker)

    @property
    def _marker_url(self) -> str:
        return self.registration.location.child(self.marker)

    def _objects(self, *, is_prefix: bool, to_push: bool = False) -> Iterator[Entry]:
        self.tally = Tally()
        for entry in super()._objects(is_prefix=is_prefix, to_push=to_push):
            if entry.path != self.marker and not lies_in_state(entry.path):
                self.tally.add(entry)
            yield entry

    def _marker_now(self) -> Entry | None:
        first = next(self._store.entries(self._marker_key, is_prefix=False), None)
        return first if first is not None and not first.path else None

    def _manifest_in(self, marker: Entry) -> Manifest | None:
        if marker.size_bytes > LONGEST_BYTES:
            return None
        with self._scratch() as path:
            carried_out(self._store, lambda: self._store.download(self._marker_key, marker, path, lambda _: None))
            with open(path, "rb") as file:
                return Manifest.parse(file.read())

    @contextmanager
    def _scratch(self) -> Iterator[str]:
        state_directory = self.index.root.directory
        with suppress(OSError):
            make_private(state_directory)
        if not os.access(state_directory, os.W_OK | os.X_OK) or not is_trusted(state_directory):
            with TemporaryDirectory() as directory:
                yield os.path.join(directory, temporary_name())
            return
        path = os.path.join(state_directory, temporary_name())
        try:
            yield path
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)


class CompleteLink(_MarkedLink):
    """Downloads a set only as a whole."""

    complete_only = True

    def check_source(self) -> None:
        """
        Raises:
            IncompleteSetError, RemoteNotFoundError: there is no marker.
        """
        if self._marker_now() is None:
            raise self._without_marker()

    def download(self, terms: Terms, *, adopt: bool, make_room: MakeRoom) -> None:
        """
        Raises:
            IncompleteSetError: there is no marker, the set is not what it says, or the set kept changing.
            Those of :meth:`Link.download`.
        """
        marker = self._marker_now()
        if marker is None:
            raise self._without_marker()
        for pause_seconds in (*_PAUSES_SECONDS, 0.0):
            if marker is not None and self._downloaded(marker, terms, adopt=adopt, make_room=make_room):
                return
            logger.info("%s changes while it is downloaded; once more", self)
            if terms.cancelled.wait(pause_seconds):
                raise TransferCancelledError(f"{self}: stopped while the set was being replaced")
            marker = self._marker_now()
        raise IncompleteSetError(
            f"{self._url}: the set was being replaced all the time, and what is in {self.registration.local} is a "
            "mixture; try again later"
        )

    def _without_marker(self) -> RemoteNotFoundError:
        if not self._is_there():
            return RemoteNotFoundError(
                f"{self._url}: no object and no prefix with objects; nothing was changed", url=self._url
            )
        return IncompleteSetError(
            f"{self._marker_url} is not there, so the set is not complete, or not yet; nothing was changed"
        )

    def _downloaded(self, marker: Entry, terms: Terms, *, adopt: bool, make_room: MakeRoom) -> bool:
        """Whether a complete set was downloaded; False if it changed meanwhile."""
        # What was delivered is on record now, which proves it without reading the files.
        compare: Compare = "size" if self.registration.compare == "size" else "auto"
        try:
            said = self._manifest_in(marker)
            super().download(terms, adopt=adopt, make_room=make_room)
            found = self.plan_download(delete=self.registration.download_delete, compare=compare)
        except (TransferError, RemoteNotFoundError):
            if self._is_still(marker):
                raise
            return False
        if not self._is_still(marker):
            return False
        if said is not None and said != self.tally.manifest():
            raise IncompleteSetError(
                f"{self._marker_url} stands for {said.files} files with {said.size_bytes} bytes, but there are "
                f"{self.tally.files} with {self.tally.size_bytes}, or others; publish the set again"
            )
        return not (found.copies or found.last_copies or found.deletes or found.obstacles)

    def _is_still(self, marker: Entry) -> bool:
        return self._marker_now() == marker


class PublishingLink(_MarkedLink):
    """Replaces a set as a whole. The marker is never content: a local file of its name takes no part."""

    def _objects(self, *, is_prefix: bool, to_push: bool = False) -> Iterator[Entry]:
        found = super()._objects(is_prefix=is_prefix, to_push=to_push)
        return (entry for entry in found if entry.path != self.marker)

    def _local(
        self, chosen: Filter, *, follow_symlinks: bool, leftovers: list[os.DirEntry[str]] | None = None
    ) -> Iterator[Entry]:
        found = super()._local(chosen, follow_symlinks=follow_symlinks, leftovers=leftovers)
        return (entry for entry in found if entry.path != self.marker)

    def _records(self, chosen: Filter) -> Iterator[Record]:
        return (record for record in super()._records(chosen) if record.path != self.marker)

    def publish(self, terms: Terms) -> None:
        """Returns when the set and its marker are there; at once if they are already.

        Raises:
            InvalidArgumentError, PlanRefusedError: nothing was changed.
            TransferError: something failed; the set has no marker.
            IncompleteSetError: somebody else changed the set, or the local side, meanwhile; the set has no marker.
        """
        with self._alone(terms):
            plan = self._wanted_plan()
            self.index.mark_used()
            marker = self._marker_now()
            if marker is not None:
                if plan.is_empty and self._manifest_in(marker) == self.tally.manifest():
                    self._carried_out(plan, terms)
                    return
                for _, error in self._store.delete([self._marker_key], terms.cancelled):
                    raise error
            self._carried_out(plan, terms).raise_failures("Upload")
            self._check_result()
            self._put_marker()

    def _wanted_plan(self) -> Plan:
        local = self.registration.local
        if not os.path.isdir(local):
            raise InvalidArgumentError(f"{local} is no directory; publish() needs one with all files of the set")
        plan = self.plan_upload(delete=self.registration.upload_delete)
        if plan.problems:
            raise UnsafeKeysError(str(self), plan.problems)
        if not plan.source_files:
            raise InvalidArgumentError(f"{local} holds no files; an empty set is not published")
        obstacles = [*plan.unreadable, *(f"{kept.path}: {kept.reason}" for kept in _content(plan.kept))]
        if obstacles:
            shown = "; ".join(map(escaped, obstacles[:5]))
            raise PlanRefusedError(f"{self}: some of the set cannot be published, nothing was changed: {shown}")
        check_max_delete(plan, self.registration.max_delete)
        return plan

    def _check_result(self) -> None:
        left = self.plan_upload(delete=self.registration.upload_delete)
        if left.problems:
            raise UnsafeKeysError(str(self), left.problems, f"so the set has no {self.marker}")
        kept = _content(left.kept)
        changed = [item.path for items in (left.copies, left.last_copies, left.deletes, kept) for item in items]
        changed += left.unreadable
        if changed:
            shown = ", ".join(map(repr, changed[:5]))
            raise IncompleteSetError(
                f"{self}: changed while it was published, so it has no {self.marker}: {shown}; publish it again when "
                "nobody else writes to either side"
            )

    def _put_marker(self) -> None:
        content = self.tally.manifest().as_bytes()
        with self._scratch() as path:
            with open(path, "wb") as file:
                file.write(content)
            carried_out(self._store, lambda: self._store.upload(self._marker_key, path, len(content), lambda _: None))
        if self._marker_now() is None:
            raise StoreError(f"{self._marker_url} was written, but is not there")


def _content(kept: Iterable[Kept]) -> list[Kept]:
    """What readers of the set would miss. A file system's own directory, and unfinished files, are no part of it."""
    return [item for item in kept if item.reason != LOST_FOUND and not item.reason.startswith((UNFINISHED, STATE))]
