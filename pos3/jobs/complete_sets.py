"""Publishes complete sets, and downloads them. A set of objects is complete as long as its marker exists.

A publisher deletes the marker, brings the set up to date, and then writes a marker with a manifest of the set. A reader
reads the marker before and after the download. If the marker is the same, and the set is as the manifest says, then no
publication was running meanwhile.
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
from pos3.jobs.manifest import MAX_BYTES, Manifest, ManifestBuilder
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
# A reader waits for so long before each new attempt, while the set changes.
_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)


class _MarkedSet:
    """The objects at one location, and their marker."""

    def __init__(self, registration: Registration, store: Store, index: Index):
        self.marker = registration.request.marker
        self.marker_key = registration.location.object_key(self.marker)
        self.marker_url = registration.location.child(self.marker)
        self._builder = ManifestBuilder()
        self._store = store
        self._state_directory = index.root.directory

    def add_to_manifest(self, objects: Entries) -> Entries:
        """Passes on the objects of one listing. When all have passed, :attr:`listed_manifest` describes them."""
        self._builder = builder = ManifestBuilder()
        for entry in objects:
            if entry.path != self.marker and not lies_in_state(entry.path):
                builder.add(entry)
            yield entry

    @property
    def listed_manifest(self) -> Manifest:
        """The manifest of the objects in the last listing."""
        return self._builder.build()

    def find_marker(self) -> Entry | None:
        """The marker as it is in the store at this moment, or None."""
        first = next(self._store.entries(self.marker_key, is_prefix=False), None)
        return first if first is not None and not first.path else None

    def read_manifest(self, marker: Entry) -> Manifest | None:
        """The manifest in a marker, or None if another program wrote the marker."""
        if marker.size_bytes > MAX_BYTES:
            return None
        with self._temporary_file() as path:
            carried_out(self._store, lambda: self._store.download(self.marker_key, marker, path))
            with open(path, "rb") as file:
                return Manifest.parse(file.read())

    def put_marker(self) -> None:
        """Writes a marker with the manifest of the last listing.

        Raises:
            StoreError: the marker is missing afterwards.
        """
        content = self.listed_manifest.as_bytes()
        with self._temporary_file() as path:
            with open(path, "wb") as file:
                file.write(content)
            carried_out(self._store, lambda: self._store.upload(self.marker_key, path, len(content)))
        if self.find_marker() is None:
            raise StoreError(
                f"{self.marker_url}: the marker was uploaded, but the store does not have it; publish the set again"
            )

    @contextmanager
    def _temporary_file(self) -> Iterator[str]:
        """The path of a temporary file, which is removed at the end."""
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
    """The rule of a download that must get a complete set."""

    may_be_partial = False

    def __init__(self, marked: _MarkedSet):
        self._set = marked

    def check_source(self, job: Job) -> None:
        """Returns if the marker exists.

        Raises:
            IncompleteSetError, RemoteNotFoundError: there is no marker.
        """
        if self._set.find_marker() is None:
            raise self._missing_marker_error(job)

    def download(self, job: Job, download_once: Callable[[], None], terms: Terms) -> None:
        """Returns when the local side is one complete set. If the set changes meanwhile, the download is repeated.

        Raises:
            IncompleteSetError: there is no marker, the set is not as its manifest says, or the set kept changing.
            Further errors as for :meth:`Job.download`.
        """
        marker = self._set.find_marker()
        if marker is None:
            raise self._missing_marker_error(job)
        for pause_seconds in (*_PAUSES_SECONDS, 0.0):
            if marker is not None and self._try_download(marker, job, download_once):
                job.note_complete()
                return
            logger.info("%s changes while it is downloaded; once more", job)
            if terms.cancelled.wait(pause_seconds):
                raise TransferCancelledError(f"{job}: stopped while the set was being replaced")
            marker = self._set.find_marker()
        raise IncompleteSetError(
            f"{job.url}: the set was being replaced during each attempt, so {job.registration.local} may have files of "
            "several sets; download it again later"
        )

    def _missing_marker_error(self, job: Job) -> RemoteNotFoundError:
        if not job.exists_in_store():
            return RemoteNotFoundError(
                f"{job.url}: there is no object at this URL, and none below it; nothing was changed. Check the URL",
                url=job.url,
            )
        return IncompleteSetError(
            f"{self._set.marker_url}: the marker does not exist, so the set is not complete; nothing was changed. Wait "
            "until the set is published, or check the name of the marker"
        )

    def _try_download(self, marker: Entry, job: Job, download_once: Callable[[], None]) -> bool:
        """Downloads the set. The result is False if the set changed meanwhile."""
        # The records of the downloaded files prove that they are equal, so the second plan need not read the files.
        compare: Compare = "size" if job.request.compare == "size" else "auto"
        try:
            manifest = self._set.read_manifest(marker)
            download_once()
            plan = job.plan_download(delete=job.request.deletes_local, compare=compare)
        except (TransferError, RemoteNotFoundError):
            if self._is_unchanged(marker):
                raise
            return False
        if not self._is_unchanged(marker):
            return False
        listed = self._set.listed_manifest
        if manifest is not None and manifest != listed:
            raise IncompleteSetError(
                f"{self._set.marker_url} lists {manifest.files} files with {manifest.size_bytes} bytes, but the prefix "
                f"has {listed.files} files with {listed.size_bytes} bytes, or other files; publish the set again"
            )
        return not (plan.copies or plan.last_copies or plan.deletes or plan.obstacles)

    def _is_unchanged(self, marker: Entry) -> bool:
        return self._set.find_marker() == marker


def complete_job(registration: Registration, store: Store, index: Index, cache_root: str, owner: str) -> Job:
    """A job that downloads only complete sets. The request of the registration names the marker."""
    marked = _MarkedSet(registration, store, index)
    sources = Sources(registration, store, index, cache_root, watch=marked.add_to_manifest)
    return Job(registration, store, index, cache_root, owner, sources=sources, completeness=CompleteSet(marked))


class Publication:
    """Replaces a set as a whole. A local file with the name of the marker is not published."""

    def __init__(self, registration: Registration, store: Store, index: Index, cache_root: str, owner: str):
        self._set = marked = _MarkedSet(registration, store, index)
        hides = marked.marker.__eq__
        sources = Sources(registration, store, index, cache_root, watch=marked.add_to_manifest, hides=hides)
        self.job = Job(registration, store, index, cache_root, owner, sources=sources)

    def publish(self, terms: Terms) -> None:
        """Returns when the set and its marker are in the store. If they are there already, nothing is changed.

        Raises:
            InvalidArgumentError, PlanRefusedError: nothing was changed.
            TransferError: some files failed; the set has no marker.
            IncompleteSetError: the set or the local side was changed meanwhile; the set has no marker.
        """
        job, marked = self.job, self._set
        with job.exclusive(terms):
            plan = self._checked_plan()
            job.index.mark_used()
            marker = marked.find_marker()
            if marker is not None:
                if plan.is_empty and marked.read_manifest(marker) == marked.listed_manifest:
                    job.execute_plan(plan, terms)
                    return
                for _, error in job.store.delete([marked.marker_key], terms.cancelled):
                    raise error
            job.execute_plan(plan, terms).raise_failures("Upload")
            self._check_result()
            marked.put_marker()

    def _checked_plan(self) -> Plan:
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
            raise PlanRefusedError(
                f"{self.job}: these paths cannot be published: {shown}. Nothing was changed. Remove them, or leave "
                "them out with exclude=[...]"
            )
        check_max_delete(plan, self.job.request.max_delete, str(self.job))
        return plan

    def _check_result(self) -> None:
        """Returns if both sides are equal now."""
        plan = self.job.plan_upload(delete=self.job.request.deletes_remote)
        if plan.problems:
            raise UnsafeKeysError(str(self.job), plan.problems, f"so the set has no {self._set.marker}")
        kept = _content(plan.kept)
        changed = [item.path for items in (plan.copies, plan.last_copies, plan.deletes, kept) for item in items]
        changed += plan.unreadable
        if changed:
            shown = ", ".join(map(repr, changed[:5]))
            raise IncompleteSetError(
                f"{self.job}: changed while it was published, so it has no {self._set.marker}: {shown}; publish it "
                "again when nobody else writes to either side"
            )


def _content(kept: Iterable[Kept]) -> list[Kept]:
    """The kept paths that readers of the set would miss: neither lost+found nor files of pos3 itself."""
    return [item for item in kept if item.reason != LOST_FOUND and not item.reason.startswith((UNFINISHED, STATE))]
