"""A store for S3 and compatible servers: one bucket, with everything that a store must do."""

from __future__ import annotations

import functools
import itertools
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any, TypeVar

from pos3.entries import EVERY_PATH, Entry, PathRange
from pos3.errors import AccessDeniedError, RemoteNotFoundError
from pos3.profiles import Profile
from pos3.store.base import (
    NEVER,
    NOTHING_NOTED,
    UNLIMITED,
    CancelToken,
    KeyRefusedError,
    Landmarks,
    Moved,
    RangeNotes,
    Rate,
    Route,
    Store,
    Survey,
    TellChecksum,
    UnsortedListingError,
    Version,
    nothing_known,
    unseen,
    untold,
)
from pos3.store.endpoints import endpoint_in
from pos3.store.s3.address import Address
from pos3.store.s3.bodies import Bodies
from pos3.store.s3.client import Connection
from pos3.store.s3.creation_headers import encryption_headers, headers_of
from pos3.store.s3.deletes import Deletes
from pos3.store.s3.delivery import Wanted
from pos3.store.s3.downloads import RESUMABLE_FROM_BYTES
from pos3.store.s3.http import Client, response_itself
from pos3.store.s3.listing import Listing, gathered, in_order
from pos3.store.s3.page import Page
from pos3.store.s3.requests import Request
from pos3.store.s3.unfinished import abort
from pos3.store.s3.uploads import Pace

T = TypeVar("T")

# LastModified and Date are in whole seconds, from different moments of a request.
_RECENT_SECONDS = 2
_SURVEY_PAGES = 20
_MOST_PAGES_AT_ONCE = 16


class S3Store:
    """One bucket. Keeps the contract of :class:`pos3.store.base.Store`."""

    resumable_from_bytes = RESUMABLE_FROM_BYTES

    def __init__(self, bucket: str, profile: Profile | None, max_workers: int | None):
        connection = Connection(profile)
        settings = connection.profile
        payer = ("x-amz-request-payer: requester",) if settings.requester_pays else ()
        self.endpoint = endpoint_in(connection.session, profile)
        self._bucket = bucket
        self._max_workers = max_workers
        self._creation_headers = encryption_headers(settings)
        self._client = Client(Address(connection, bucket, payer))
        self._most_pages_at_once = min(max_workers or _MOST_PAGES_AT_ONCE, _MOST_PAGES_AT_ONCE)
        self._listing = Listing(self._client, bucket, self._most_pages_at_once)
        proves, asks, sends = connection.signs_bodies, connection.asks_for_checksums, connection.sends_checksums
        headers = self._creation_headers
        self._new_bodies = functools.partial(Bodies, headers=headers, proves=proves, asks=asks, sends=sends)
        self._bodies = self._new_bodies(self._client)
        self._deletes = Deletes(self._client, bucket)
        self._sorted = not self._client.address.has_directories
        self._holds_markers: bool | None = None

    def _where(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def route(self) -> Route:
        return self._client.address.route

    @property
    def clock_set_back_seconds(self) -> float:
        return self._client.server.clock.set_back_seconds

    # Listings

    def survey(self, key: str) -> Survey:
        return self._client.result_of(lambda: self._survey(key))

    async def _survey(self, key: str) -> Survey:
        first = await self._first_page(key)
        is_object = bool(key) and any(entry.path == key for entry in first.entries)
        # A page with one key does not show the order.
        shows_order = len(first.entries) > 1 and _is_ordered(first)
        if key and not is_object and first.next_token and not shows_order:
            is_object = await self._find(key) is not None
        below = f"{key}/" if key else ""
        is_prefix = any(entry.path.startswith(below) for entry in first.entries)
        recent: set[tuple[str, str]] = set()
        since_ns = int((first.server_time - _RECENT_SECONDS) * 1_000_000_000)
        page, pages = first, 1
        if first.next_token and not is_prefix:
            page = await self._listing.page(below)
            is_prefix = bool(page.entries)
        while True:
            fresh = {
                (entry.path[len(below) :], entry.etag)
                for entry in page.entries
                if entry.path.startswith(below) and entry.modified_ns >= since_ns
            }
            recent |= fresh
            # More than one page is needed only if the prefix was written to at this moment.
            if not page.next_token or not fresh or pages >= _SURVEY_PAGES:
                break
            page, pages = await self._listing.page(page.prefix, token=page.next_token), pages + 1
        return Survey(is_object, is_prefix, first.server_time, frozenset(recent))

    async def _first_page(self, key: str) -> Page:
        if key and self._client.address.has_directories:
            found = await self._find(key)
            page = await self._listing.page(f"{key}/")
            return page if found is None else replace(page, entries=[found, *page.entries])
        try:
            return await self._listing.page(key)
        except AccessDeniedError:
            # Policies often allow the listing of "data/*" only, and some no listing at all.
            if not key:
                raise
            try:
                return await self._listing.page(f"{key}/")
            except AccessDeniedError as error:
                found = await self._find_unlisted(key, error)
                if found is None:
                    # It is not known what is below the key, so this must not count as "nothing".
                    raise
                return Page(key, [found], [], "", 0.0)

    async def _find_unlisted(self, key: str, refusal: AccessDeniedError) -> Entry | None:
        try:
            return await self._find(key)
        except AccessDeniedError:
            told = "an object of exactly this key is missing or may not be read"
            unknown = "where nothing may be listed, a store does not tell which"
            raise AccessDeniedError(f"{refusal}, and the key: {told} ({unknown})", url=self._where(key)) from refusal

    async def _find(self, key: str) -> Entry | None:
        try:
            response = await self._client.ask(Request("HEAD", key), response_itself)
        except RemoteNotFoundError:
            return None
        return response.entry(key, self._where(key))

    def entries(
        self, key: str, *, is_prefix: bool, landmarks: Landmarks = nothing_known, within: PathRange = EVERY_PATH
    ) -> Iterator[Entry]:
        if not self._sorted:
            yield from within.cut(self._entries_sorted_here(key, is_prefix))
            return
        below = f"{key}/" if key else ""
        whole = _whole_keys(landmarks, below)
        keys = PathRange(within.after and below + within.after, within.until and below + within.until)
        try:
            if is_prefix or not key:
                pages = functools.partial(self._listing.below, key, whole, keys)
            else:
                pages = functools.partial(self._object_or_below, key, whole, keys)
            with closing(self._client.stream(pages, self._most_pages_at_once)) as found:
                first = next(found)
                if key and not is_prefix and [entry.path for entry in first.entries] == [key]:
                    yield from within.cut([first.entries[0]._replace(path="")])
                    return
                yield from within.cut(in_order(itertools.chain((first,), found), below, self._where(below)))
        except UnsortedListingError:
            self._sorted = False
            raise

    async def _object_or_below(self, key: str, landmarks: Landmarks, keys: PathRange) -> AsyncGenerator[Page, None]:
        """The object with exactly this key, or the objects below it.

        One listing is enough, because this key sorts first.
        """
        first = await self._first_page(key)
        for entry in first.entries:
            if entry.path == key:
                yield replace(first, entries=[entry])
                return
        below = f"{key}/"
        if not first.next_token:
            yield replace(first, entries=[entry for entry in first.entries if entry.path.startswith(below)])
            return
        # Only in an ordered listing does the first page show that no object has exactly this key.
        if not _is_ordered(first):
            where = self._where(below)
            raise UnsortedListingError(f"{where}: keys are not listed in order", url=where)
        begins_below = first.entries and first.entries[0].path >= below and first.entries[-1].path.startswith(below)
        listed = self._listing
        if begins_below and not keys.after:
            pages = listed.below_after(first, key, landmarks, keys)
        else:
            pages = listed.below(key, landmarks, keys)
        async with aclosing(pages):
            async for page in pages:
                yield page

    def _entries_sorted_here(self, key: str, is_prefix: bool) -> Iterator[Entry]:
        if key and not is_prefix:
            head = self._client.result_of(lambda: self._find(key))
            if head is not None:
                yield head._replace(path="")
                return
        yield from self._gathered(key, "")

    def children(self, key: str, beginning: str = "", most_pages: int | None = None) -> Iterator[Entry]:
        yield from self._gathered(key, "/", beginning, most_pages)

    def _gathered(
        self, key: str, delimiter: str, beginning: str = "", most_pages: int | None = None
    ) -> Iterator[Entry]:
        """What lies below ``key`` and begins so, sorted here; at most what the first pages hold."""
        below = f"{key}/" if key else ""
        # Directory buckets can list only whole directories.
        asked = below if self._client.address.has_directories else below + beginning
        pages = functools.partial(self._listing.pages, asked, delimiter=delimiter)
        with closing(self._client.stream(pages, 1)) as listed:
            found = gathered(islice(listed, most_pages), self._where(asked))
        for path in sorted(found):
            if path != below and path.startswith(beginning, len(below)):
                yield found[path]._replace(path=path[len(below) :])

    # Bodies

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], workers: int | None) -> T:
        return self._client.run(main, workers)

    async def most_in_flight(self, before: int) -> int:
        return await self._client.most(before)

    def download(
        self,
        key: str,
        expected: Entry,
        target: str,
        moved: Moved = unseen,
        cancelled: CancelToken = NEVER,
        notes: RangeNotes = NOTHING_NOTED,
        tell_checksum: TellChecksum = untold,
        rate: Rate = UNLIMITED,
    ) -> Coroutine[Any, Any, Entry]:
        return self._bodies.download(Wanted(key, expected, target, moved, cancelled, notes, tell_checksum, rate))

    def as_of(self, moment: str) -> Store:
        from pos3.store.s3.past import PastStore

        return PastStore(self, self._client, self._bucket, self._new_bodies, moment)

    def versions(self, prefix: str) -> Iterator[Version]:
        from pos3.store.s3.versions import Versions

        versions = Versions(self._client, self._bucket)

        async def pages() -> AsyncGenerator[list[Version], None]:
            await versions.check_kept()
            async with aclosing(versions.pages(prefix)) as found:
                async for page in found:
                    yield page

        with closing(self._client.stream(pages, 2)) as found:
            for page in found:
                yield from page

    def headers_of(self, extra_args: Mapping[str, Any]) -> tuple[str, ...]:
        return headers_of(extra_args)

    def upload(
        self,
        key: str,
        source: str,
        size_bytes: int,
        moved: Moved = unseen,
        cancelled: CancelToken = NEVER,
        rate: Rate = UNLIMITED,
        headers: tuple[str, ...] = (),
        tell_checksum: TellChecksum = untold,
    ) -> Coroutine[Any, Any, str]:
        return self._bodies.upload(key, source, size_bytes, Pace(moved, cancelled, rate), headers, tell_checksum)

    def hang_up(self) -> None:
        self._client.pool.close_idle()

    def abort_unfinished(self, *, stopped: bool) -> None:
        if unfinished := self._bodies.take_unfinished(stopped=stopped):
            self._bodies.give_back_unfinished(abort(unfinished, self._client, self._max_workers))

    # Deletes and markers

    def delete(self, keys: Sequence[str], cancelled: CancelToken = NEVER) -> list[tuple[str, Exception]]:
        return self._client.result_of(lambda: self._deletes.delete(keys, cancelled), self._max_workers)

    def put_marker(self, key: str) -> str | None:
        if self._holds_markers is False:
            return None
        return self._client.result_of(lambda: self._put_marker(key))

    async def _put_marker(self, key: str) -> str | None:
        request = Request("PUT", key, headers=self._creation_headers)
        try:
            response = await self._client.ask(request, response_itself)
        except KeyRefusedError:
            if self._holds_markers:
                raise
            return None
        if self._holds_markers is None:
            page = await self._listing.page(key, page_size=1)
            self._holds_markers = any(entry.path == key for entry in page.entries)
            if not self._holds_markers:
                # Some servers store "dir/" as a file "dir", which then blocks the directory.
                name = key.rstrip("/")
                page = await self._first_page(name)
                if any(entry.path == name for entry in page.entries):
                    await self._deletes.delete([name], NEVER)
        return response.etag if self._holds_markers else None


def _whole_keys(landmarks: Landmarks, below: str) -> Landmarks:
    def whole(after: str, steps: int) -> str:
        path = landmarks(after.removeprefix(below), steps)
        return path and below + path

    return whole


def _is_ordered(page: Page) -> bool:
    return all(one.path < other.path for one, other in pairwise(page.entries))
