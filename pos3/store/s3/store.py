"""S3 and what speaks its protocol: one bucket, with all that a store must do."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from pos3.entries import Entry
from pos3.errors import AccessDeniedError, RemoteNotFoundError
from pos3.profiles import Profile
from pos3.store.base import (
    UNLIMITED,
    CancelToken,
    KeyRefusedError,
    Landmarks,
    Moved,
    Rate,
    Survey,
    UnsortedListingError,
    nothing_known,
    pacing,
    unseen,
)
from pos3.store.endpoints import endpoint_in
from pos3.store.s3.bodies import Bodies
from pos3.store.s3.client import Connection
from pos3.store.s3.creation_headers import creation_headers
from pos3.store.s3.deletes import Deletes
from pos3.store.s3.lines import ConnectionPool, Line, asked
from pos3.store.s3.listing import Listing, gathered, in_order
from pos3.store.s3.loop import Loop
from pos3.store.s3.page import Page
from pos3.store.s3.requests import Request, Requests
from pos3.store.s3.unfinished import abort
from pos3.store.steps import NEVER, Lane, Steps

# LastModified and Date are whole seconds, taken at different moments of a request.
_RECENT_SECONDS = 2
_SURVEY_PAGES = 20
_MOST_PAGES_AT_ONCE = 16


class S3Store:
    """One bucket. Keeps the contract of :class:`pos3.store.base.Store`."""

    def __init__(self, bucket: str, profile: Profile | None, max_workers: int):
        connection = Connection(profile)
        settings = connection.profile
        payer = ("x-amz-request-payer: requester",) if settings.requester_pays else ()
        self.endpoint = endpoint_in(connection.session, profile)
        self._bucket = bucket
        self._max_workers = max_workers
        self._creation_headers = creation_headers(settings)
        self._requests = Requests(connection, bucket, payer)
        self._lines = ConnectionPool(lambda: Line(self._requests))
        self._listing = Listing(self._requests, bucket, self._lines, min(max_workers, _MOST_PAGES_AT_ONCE))
        self._bodies = Bodies(self._requests, self._creation_headers, connection.signs_bodies)
        self._deletes = Deletes(self._requests, bucket, max_workers)
        self._sorted = True
        self._holds_markers: bool | None = None

    def _where(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    @property
    def clock_set_back_seconds(self) -> float:
        return self._requests.clock.set_back_seconds

    # Listings

    def survey(self, key: str) -> Survey:
        first = self._first_page(key)
        is_object = bool(key) and any(entry.path == key for entry in first.entries)
        # One key shows no order.
        shows_order = len(first.entries) > 1 and _is_ordered(first)
        if key and not is_object and first.next_token and not shows_order:
            is_object = self._find(key) is not None
        below = f"{key}/" if key else ""
        is_prefix = any(entry.path.startswith(below) for entry in first.entries)
        recent: set[tuple[str, str]] = set()
        since_ns = int((first.server_time - _RECENT_SECONDS) * 1_000_000_000)
        page, pages = first, 1
        if first.next_token and not is_prefix:
            page = self._listing.page(below)
            is_prefix = bool(page.entries)
        while True:
            fresh = {
                (entry.path[len(below) :], entry.etag)
                for entry in page.entries
                if entry.path.startswith(below) and entry.modified_ns >= since_ns
            }
            recent |= fresh
            # Only a prefix that was being written to this very moment needs more than its first page.
            if not page.next_token or not fresh or pages >= _SURVEY_PAGES:
                break
            page, pages = self._listing.page(page.prefix, token=page.next_token), pages + 1
        return Survey(is_object, is_prefix, first.server_time, frozenset(recent))

    def _first_page(self, key: str) -> Page:
        try:
            return self._listing.page(key)
        except AccessDeniedError:
            # Policies often allow the listing of "data/*" only, and some no listing at all.
            if not key:
                raise
            try:
                return self._listing.page(f"{key}/")
            except AccessDeniedError:
                found = self._find(key)
                if found is None:
                    # What lies below the key nobody has told, so it must not pass for nothing.
                    raise
                return Page(key, [found], [], "", 0.0)

    def _find(self, key: str) -> Entry | None:
        try:
            return asked(self._lines, Request("HEAD", key)).entry(key, self._where(key))
        except RemoteNotFoundError:
            return None

    def entries(self, key: str, *, is_prefix: bool, landmarks: Landmarks = nothing_known) -> Iterator[Entry]:
        if not self._sorted:
            yield from self._entries_sorted_here(key, is_prefix)
            return
        whole = _whole_keys(landmarks, f"{key}/" if key else "")
        try:
            if is_prefix or not key:
                yield from self._listing.below(key, whole)
            else:
                yield from self._object_or_below(key, whole)
        except UnsortedListingError:
            self._sorted = False
            raise

    def _object_or_below(self, key: str, landmarks: Landmarks) -> Iterator[Entry]:
        """One listing answers both questions: an object of exactly this key sorts before all that lies below it."""
        first = self._first_page(key)
        for entry in first.entries:
            if entry.path == key:
                yield entry._replace(path="")
                return
        below = f"{key}/"
        where = self._where(below)
        if not first.next_token:
            inside = [entry for entry in first.entries if entry.path.startswith(below)]
            yield from in_order(iter([replace(first, entries=inside)]), below, where)
            return
        # Only in an ordered listing does the first page show that no object has exactly this key.
        if not _is_ordered(first):
            raise UnsortedListingError(f"{where}: keys are not listed in order", url=where)
        if not first.entries or first.entries[0].path < below or not first.entries[-1].path.startswith(below):
            yield from self._listing.below(key, landmarks)
            return
        yield from self._listing.below_after(first, key, landmarks)

    def _entries_sorted_here(self, key: str, is_prefix: bool) -> Iterator[Entry]:
        below = f"{key}/" if key else ""
        if key and not is_prefix:
            head = self._find(key)
            if head is not None:
                yield head._replace(path="")
                return
        found = gathered(self._listing.pages(below), self._where(below))
        for path in sorted(found):
            if path != below:
                yield found[path]._replace(path=path[len(below) :])

    def children(self, key: str) -> Iterator[Entry]:
        below = f"{key}/" if key else ""
        found = gathered(self._listing.pages(below, delimiter="/"), self._where(below))
        for path in sorted(found):
            if path != below:
                yield found[path]._replace(path=path[len(below) :])

    # Bodies

    def lanes(self, workers: int) -> Sequence[Lane]:
        return [Loop(self._requests, workers)]

    def download(
        self, key: str, expected: Entry, target: str, moved: Moved = unseen, cancelled: CancelToken = NEVER
    ) -> Steps[Entry]:
        on_bytes = pacing(moved, cancelled, UNLIMITED, "the download was stopped")
        return self._bodies.download(key, expected, target, on_bytes)

    def upload(
        self,
        key: str,
        source: str,
        size_bytes: int,
        moved: Moved = unseen,
        cancelled: CancelToken = NEVER,
        rate: Rate = UNLIMITED,
    ) -> Steps[str]:
        on_bytes = pacing(moved, cancelled, rate, "the upload was stopped")
        return self._bodies.upload(key, source, size_bytes, on_bytes)

    def abort_unfinished(self, *, stopped: bool) -> None:
        if unfinished := self._bodies.take_unfinished(stopped=stopped):
            self._bodies.give_back_unfinished(abort(unfinished, self._requests, self._max_workers))

    # Deletes and markers

    def delete(self, keys: Sequence[str], cancelled: threading.Event = NEVER) -> list[tuple[str, Exception]]:
        return self._deletes.delete(keys, cancelled)

    def put_marker(self, key: str) -> str | None:
        if self._holds_markers is False:
            return None
        try:
            response = asked(self._lines, Request("PUT", key, headers=self._creation_headers))
        except KeyRefusedError:
            if self._holds_markers:
                raise
            return None
        if self._holds_markers is None:
            self._holds_markers = any(entry.path == key for entry in self._listing.page(key, page_size=1).entries)
            if not self._holds_markers:
                # Some servers store "dir/" as the file "dir", which would then be in the way of the directory.
                name = key.rstrip("/")
                if any(entry.path == name for entry in self._listing.page(name, page_size=1).entries):
                    self._deletes.delete([name], NEVER)
        return response.etag if self._holds_markers else None


def _whole_keys(landmarks: Landmarks, below: str) -> Landmarks:
    def whole(after: str, steps: int) -> str:
        path = landmarks(after.removeprefix(below), steps)
        return path and below + path

    return whole


def _is_ordered(page: Page) -> bool:
    return all(one.path < other.path for one, other in pairwise(page.entries))
