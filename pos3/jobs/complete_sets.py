"""Sets of objects that are complete as long as their marker is there, and how they are written and read.

A publisher removes the marker, brings the set up to date, and then puts a marker that says what the set is made of. A
reader looks at the marker before and after, and at the set in between: if the marker is the same and the set is what it
says, no publication was under way.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory

from pos3.entries import LOST_FOUND, Entry
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
from pos3.jobs.job import Job
from pos3.jobs.manifest import LONGEST_BYTES, Manifest, Tally
from pos3.jobs.registration import Registration
from pos3.jobs.sources import STATE, UNFINISHED, Entries, Sources
from pos3.local import is_trusted, lies_in_state, make_private, temporary_name
from pos3.plan import Compare, Plan, check_max_delete
from pos3.redaction import escaped
from pos3.reports import Kept
from pos3.state import Index
from pos3.store import Store, carried_out
from pos3.transfer import Terms

logger = logging.getLogger("pos3")
# Of a reader, while the set changes.
_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)


class _MarkedSet:
    """The objects at a place, counted as they are listed, and their marker."""

    def __init__(self, registration: Registration, store: Store, index: Index):
        self.marker = registration.request.marker
        self.marker_key = registration.location.object_key(self.marker)
        self.marker_url = registration.location.child(self.marker)
        self.tally = Tally()
        self._store = store
        self._state_directory = index.root.directory

    def counted(self, objects: Entries) -> Entries:
        """The objects of one listing, unchanged. Afterwards ``tally`` says what the set is made of."""
        self.tally = tally = Tally()
        for entry in objects:
            if entry.path != self.marker and not lies_in_state(entry.path):
                tally.add(entry)
            yield entry

    def marker_now(self) -> Entry | None:
        """The marker as it is in the store at this moment."""
        first = next(self._store.entries(self.marker_key, is_prefix=False), None)
        return first if first is not None and not first.path else None

    def manifest_in(self, marker: Entry) -> Manifest | None:
        """What a marker says of its set; None for that of another writer."""
        if marker.size_bytes > LONGEST_BYTES:
            return None
        with self._scratch() as path:
            carried_out(self._store, lambda: self._store.download(self.marker_key, marker, path))
            with open(path, "rb") as file:
                return Manifest.parse(file.read())

    def put_marker(self) -> None:
        """Puts a marker that stands for what was counted last.

        Raises:
            StoreError: it is not there afterwards.
        """
        content = self.tally.manifest().as_bytes()
        with self._scratch() as path:
            with open(path, "wb") as file:
                file.write(content)
            carried_out(self._store, lambda: self._store.upload(self.marker_key, path, len(content)))
        if self.marker_now() is None:
            raise StoreError(f"{self.marker_url} was written, but is not there")

    @contextmanager
    def _scratch(self) -> Iterator[str]:
        state_directory = self._state_directory
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


class CompleteSet:
    """What a download asks of a set that must be complete: it comes only as a whole."""

    may_be_partial = False

    def __init__(self, marked: _MarkedSet):
        self._set = marked

    def check_source(self, job: Job) -> None:
        """
        Raises:
            IncompleteSetError, RemoteNotFoundError: there is no marker.
        """
        if self._set.marker_now() is None:
            raise self._without_marker(job)

    def download(self, job: Job, once: Callable[[], None], terms: Terms) -> None:
        """
        Raises:
            IncompleteSetError: there is no marker, the set is not what it says, or the set kept changing.
            Those of :meth:`Job.download`.
        """
        marker = self._set.marker_now()
        if marker is None:
            raise self._without_marker(job)
        for pause_seconds in (*_PAUSES_SECONDS, 0.0):
            if marker is not None and self._downloaded(marker, job, once):
                return
            logger.info("%s changes while it is downloaded; once more", job)
            if terms.cancelled.wait(pause_seconds):
                raise TransferCancelledError(f"{job}: stopped while the set was being replaced")
            marker = self._set.marker_now()
        raise IncompleteSetError(
            f"{job.url}: the set was being replaced all the time, and what is in {job.registration.local} is a "
            "mixture; try again later"
        )

    def _without_marker(self, job: Job) -> RemoteNotFoundError:
        if not job.is_there():
            return RemoteNotFoundError(
                f"{job.url}: no object and no prefix with objects; nothing was changed", url=job.url
            )
        return IncompleteSetError(
            f"{self._set.marker_url} is not there, so the set is not complete, or not yet; nothing was changed"
        )

    def _downloaded(self, marker: Entry, job: Job, once: Callable[[], None]) -> bool:
        """Whether a complete set was downloaded; False if it changed meanwhile."""
        # What was delivered is on record now, which proves it without reading the files.
        compare: Compare = "size" if job.request.compare == "size" else "auto"
        try:
            said = self._set.manifest_in(marker)
            once()
            found = job.plan_download(delete=job.request.deletes_local, compare=compare)
        except (TransferError, RemoteNotFoundError):
            if self._is_still(marker):
                raise
            return False
        if not self._is_still(marker):
            return False
        counted = self._set.tally
        if said is not None and said != counted.manifest():
            raise IncompleteSetError(
                f"{self._set.marker_url} stands for {said.files} files with {said.size_bytes} bytes, but there are "
                f"{counted.files} with {counted.size_bytes}, or others; publish the set again"
            )
        return not (found.copies or found.last_copies or found.deletes or found.obstacles)

    def _is_still(self, marker: Entry) -> bool:
        return self._set.marker_now() == marker


def complete_job(registration: Registration, store: Store, index: Index, cache_root: str, owner: str) -> Job:
    """A job whose downloads bring complete sets only; the registration names the marker."""
    marked = _MarkedSet(registration, store, index)
    sources = Sources(registration, store, index, cache_root, watch=marked.counted)
    return Job(registration, store, index, cache_root, owner, sources=sources, completeness=CompleteSet(marked))


class Publication:
    """Replaces a set as a whole. The marker is never content: a local file of its name takes no part."""

    def __init__(self, registration: Registration, store: Store, index: Index, cache_root: str, owner: str):
        self._set = marked = _MarkedSet(registration, store, index)
        hides = marked.marker.__eq__
        sources = Sources(registration, store, index, cache_root, watch=marked.counted, hides=hides)
        self.job = Job(registration, store, index, cache_root, owner, sources=sources)

    def publish(self, terms: Terms) -> None:
        """Returns when the set and its marker are there; at once if they are already.

        Raises:
            InvalidArgumentError, PlanRefusedError: nothing was changed.
            TransferError: something failed; the set has no marker.
            IncompleteSetError: somebody else changed the set, or the local side, meanwhile; the set has no marker.
        """
        job, marked = self.job, self._set
        with job.alone(terms):
            plan = self._wanted_plan()
            job.index.mark_used()
            marker = marked.marker_now()
            if marker is not None:
                if plan.is_empty and marked.manifest_in(marker) == marked.tally.manifest():
                    job.carried_out(plan, terms)
                    return
                for _, error in job.store.delete([marked.marker_key], terms.cancelled):
                    raise error
            job.carried_out(plan, terms).raise_failures("Upload")
            self._check_result()
            marked.put_marker()

    def _wanted_plan(self) -> Plan:
        local = self.job.registration.local
        if not os.path.isdir(local):
            raise InvalidArgumentError(f"{local} is no directory; publish() needs one with all files of the set")
        plan = self.job.plan_upload(delete=self.job.request.deletes_remote)
        if plan.problems:
            raise UnsafeKeysError(str(self.job), plan.problems)
        if not plan.source_files:
            raise InvalidArgumentError(f"{local} holds no files; an empty set is not published")
        obstacles = [*plan.unreadable, *(f"{kept.path}: {kept.reason}" for kept in _content(plan.kept))]
        if obstacles:
            shown = "; ".join(map(escaped, obstacles[:5]))
            raise PlanRefusedError(f"{self.job}: some of the set cannot be published, nothing was changed: {shown}")
        check_max_delete(plan, self.job.request.max_delete)
        return plan

    def _check_result(self) -> None:
        left = self.job.plan_upload(delete=self.job.request.deletes_remote)
        if left.problems:
            raise UnsafeKeysError(str(self.job), left.problems, f"so the set has no {self._set.marker}")
        kept = _content(left.kept)
        changed = [item.path for items in (left.copies, left.last_copies, left.deletes, kept) for item in items]
        changed += left.unreadable
        if changed:
            shown = ", ".join(map(repr, changed[:5]))
            raise IncompleteSetError(
                f"{self.job}: changed while it was published, so it has no {self._set.marker}: {shown}; publish it "
                "again when nobody else writes to either side"
            )


def _content(kept: Iterable[Kept]) -> list[Kept]:
    """What readers of the set would miss. A file system's own directory, and unfinished files, are no part of it."""
    return [item for item in kept if item.reason != LOST_FOUND and not item.reason.startswith((UNFINISHED, STATE))]
