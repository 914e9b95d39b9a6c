"""S3 listings, page by page, each checked to be whole; several pages at once where the store lets itself be waited for.

The page is parsed here: boto3's parser spends 154 microseconds of CPU on a key, most of it on timestamps, and this one
about two.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from operator import lt
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus, urlencode
from xml.parsers import expat

from pos3.entries import EARLIEST_NS, LATEST_NS, Entry, storable_ns
from pos3.errors import EndpointError, StoreError
from pos3.etags import token
from pos3.store.base import Landmarks, UnsortedListingError, nothing_known
from pos3.store.clock import seconds_of
from pos3.store.retry import UnreachableError
from pos3.store.s3.errors import error_of_body
from pos3.store.s3.lines import Bundle, ConnectionPool, Line
from pos3.store.s3.page import Page, TooManyEntriesError, read_page
from pos3.store.s3.requests import Request, Requests, Response

if TYPE_CHECKING:
    from pos3.store.s3.parallel import Talk
    from pos3.store.s3.ranges import Wanted

_SECOND_NS = 1_000_000_000
# To read a page and compare what it holds takes about half as long. A store that answers sooner does not keep waiting.
_WORTH_SECONDS = 0.015
# Servers send some before the first object, such as those that pass over what was deleted.
_MOST_PAGES_IN_VAIN = 1000


class Listing:
    """The listings of one bucket, with at most ``most_at_once`` requests at the same time.

    Args:
        lines: where single pages are asked for.
    """

    def __init__(self, requests: Requests, bucket: str, lines: ConnectionPool[Line], most_at_once: int):
        self._requests = requests
        self._bucket = bucket
        self._most_at_once = most_at_once
        self._lines = lines
        self._bundles = ConnectionPool(lambda: Bundle(requests))
        self._starts_after = True

    def page(
        self, prefix: str, *, token: str = "", after: str = "", delimiter: str = "", page_size: int = 1000
    ) -> Page:
        """The next page that holds something, or the last one: from an empty page nothing follows if more are to come.

        Asked for again while the store is busy, the connection fails or the page arrives broken.
        """
        line = self._lines.take()
        for _ in range(_MOST_PAGES_IN_VAIN):
            request = self._request(prefix, token, delimiter, page_size, after)
            line.send(request)
            page = self._received(line, request, prefix)
            if page.entries or page.directories or not page.next_token:
                self._lines.give_back(line)
                return page
            token = page.next_token
        line.close()
        told = f"{_MOST_PAGES_IN_VAIN} empty pages, and the store says that more follow"
        raise StoreError(f"listing s3://{self._bucket}/{prefix}: {told}")

    def _request(self, prefix: str, token: str, delimiter: str, page_size: int = 1000, after: str = "") -> Request:
        query = {"list-type": "2", "max-keys": str(page_size), "prefix": prefix, "encoding-type": "url"}
        if token:
            query["continuation-token"] = token
        elif after:
            query["start-after"] = after
        if delimiter:
            query["delimiter"] = delimiter
        where = f"listing s3://{self._bucket}/{prefix}"
        return Request("GET", "", urlencode(sorted(query.items()), quote_via=quote, safe=""), where=where)

    def _received(self, line: Line, request: Request, prefix: str) -> Page:
        """The page that a line has been asked for."""
        page = line.receive(lambda response: _parse(response, prefix, request.where, self._requests.endpoint))
        return replace(page, wait_seconds=line.wait_seconds)

    def pages(self, prefix: str, *, delimiter: str = "") -> Iterator[Page]:
        """All pages in turn."""
        return self.pages_after(self.page(prefix, delimiter=delimiter), delimiter=delimiter)

    def pages_after(self, first: Page, *, delimiter: str = "") -> Iterator[Page]:
        """``first`` and all pages that follow it. The next one is on its way while the last one is looked at."""
        if not first.next_token:
            yield first
            return
        line = self._lines.take()
        page = first
        empty = _EmptyPages()
        try:
            while page.next_token:
                request = self._request(first.prefix, page.next_token, delimiter)
                line.send(request)
                yield page
                empty.count(page, request.where)
                token, page = page.next_token, self._received(line, request, first.prefix)
                if page.next_token == token:
                    raise StoreError(f"{request.where}: the store repeats one page for ever")
        except BaseException:
            line.close()
            raise
        self._lines.give_back(line)
        yield page

    def below(self, key: str, landmarks: Landmarks = nothing_known) -> Iterator[Entry]:
        """Every object below the directory ``key``, paths relative to it, in order.

        Args:
            landmarks: of whole keys.
        Raises:
            UnsortedListingError: the store's order is another.
        """
        prefix = f"{key}/" if key else ""
        yield from self._ordered(self.page(prefix), prefix, landmarks)

    def below_after(self, first: Page, key: str, landmarks: Landmarks) -> Iterator[Entry]:
        """As :meth:`below`, of a listing of all keys that begin with ``key``, whose first page lies below it."""
        yield from self._ordered(first, f"{key}/", landmarks)

    def _ordered(self, first: Page, prefix: str, landmarks: Landmarks) -> Iterator[Entry]:
        where = f"s3://{self._bucket}/{prefix}"
        pays = self._most_at_once > 1 and len(first.entries) > 1 and first.wait_seconds >= _WORTH_SECONDS
        if first.next_token and pays and self._starts_after:
            pages = self._at_once(first, prefix, landmarks, where)
        elif first.prefix != prefix:
            pages = self._inside(self.pages_after(first), prefix, where)
        else:
            pages = self.pages_after(first)
        yield from in_order(pages, prefix, where)

    def _inside(self, pages: Iterator[Page], prefix: str, where: str) -> Iterator[Page]:
        last = ""
        for page in pages:
            if not page.entries or page.entries[-1].path.startswith(prefix):
                last = page.entries[-1].path if page.entries else last
                yield page
                continue
            inside = [entry for entry in page.entries if entry.path.startswith(prefix)]
            last = inside[-1].path if inside else last
            yield replace(page, entries=inside)
            # What follows is not for us, as long as the store lists in order.
            if page.next_token:
                more = self.page(prefix, after=last)
                if more.entries:
                    raise UnsortedListingError(f"{where}: keys are not listed in order")
            return

    def _at_once(self, first: Page, prefix: str, landmarks: Landmarks, where: str) -> Iterator[Page]:
        last = _last_in_order(first, "", where)
        yield first
        # Loaded here, since many a listing is one page.
        from pos3.store.s3.parallel import pages_at_once
        from pos3.store.s3.ranges import Ranges, StartAfterError

        ranges = Ranges(prefix, first, landmarks, self._most_at_once)
        try:
            for page in pages_at_once(ranges, self._talk(), self._bundles):
                last = page.entries[-1].path
                yield page
            return
        except StartAfterError:
            self._starts_after = ranges.is_proven
        pages = self.pages_after(first)
        yield from _rest(pages if first.prefix == prefix else self._inside(pages, prefix, where), last, where)

    def _talk(self) -> Talk:
        from pos3.store.s3.parallel import Talk

        empty = _EmptyPages()

        def request(wanted: Wanted) -> Request:
            return self._request(wanted.prefix, wanted.token, wanted.delimiter, after=wanted.after)

        def read(wanted: Wanted, response: Response) -> Page:
            where = request(wanted).where
            page = _parse(response, wanted.prefix, where, self._requests.endpoint)
            empty.count(page, where)
            if wanted.token and page.next_token == wanted.token:
                raise StoreError(f"{where}: the store repeats one page for ever")
            return page

        return Talk(request, read, self._requests.patience)


class _EmptyPages:
    """Counts those that bring nothing. Some are normal where many objects were deleted."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def count(self, page: Page, where: str) -> None:
        """
        Raises:
            StoreError: a thousand followed each other.
        """
        is_empty = page.next_token and not (page.entries or page.directories)
        self._in_a_row = self._in_a_row + 1 if is_empty else 0
        if self._in_a_row >= _MOST_PAGES_IN_VAIN:
            raise StoreError(f"{where}: the store sends empty pages for ever")


def gathered(pages: Iterator[Page], where: str) -> dict[str, Entry]:
    """All objects and directories of pages in any order, by their whole keys.

    Raises:
        StoreError: a thousand pages in a row brought nothing new.
    """
    found: dict[str, Entry] = {}
    in_vain = 0
    for page in pages:
        known = len(found)
        found.update((entry.path, entry) for entry in page.entries)
        found.update((directory, Entry(directory)) for directory in page.directories)
        in_vain = 0 if len(found) > known else in_vain + 1
        if in_vain >= _MOST_PAGES_IN_VAIN:
            raise StoreError(f"{where}: the store sends pages for ever, and nothing new in them")
    return found


def in_order(pages: Iterator[Page], prefix: str, where: str) -> Iterator[Entry]:
    """The entries of ``pages`` relative to ``prefix``; the directory's own marker is left out."""
    cut = len(prefix)
    last = ""
    for page in pages:
        last = _last_in_order(page, last, where)
        for key, size_bytes, modified_ns, etag, _, _, storage_class in page.entries:
            if len(key) > cut:
                yield Entry(key[cut:], size_bytes, modified_ns, etag, 0, "", storage_class)


def _rest(pages: Iterator[Page], known: str, where: str) -> Iterator[Page]:
    """What follows the key ``known`` in a listing from its beginning."""
    last = ""
    for page in pages:
        last = _last_in_order(page, last, where)
        if last > known:
            yield replace(page, entries=[entry for entry in page.entries if entry.path > known])


def _last_in_order(page: Page, last: str, where: str) -> str:
    """The last key of a page that follows ``last``.

    Raises:
        UnsortedListingError: it does not, or not in order.
    """
    keys = [entry.path for entry in page.entries]
    if keys and not (last < keys[0] and all(map(lt, keys, keys[1:]))):
        raise UnsortedListingError(f"{where}: keys are not listed in order")
    return keys[-1] if keys else last


def _parse(response: Response, prefix: str, where: str, endpoint: str) -> Page:
    try:
        document = read_page(response.body)
        is_quoted = document.is_quoted
        entries = [_entry(*found, is_quoted) for found in document.objects]
    except TooManyEntriesError as error:
        # To ask again would only cost as much again.
        raise StoreError(f"{where}: {endpoint} sent {error}") from error
    except (expat.ExpatError, LookupError, ValueError, OverflowError) as error:
        raise UnreachableError(f"{where}: the page is not valid XML, or no listing ({error})") from error
    if document.root == "Error":
        # S3 may answer 200 before it knows.
        raise error_of_body(200, response.body, where, endpoint)
    if document.root != "ListBucketResult":
        raise EndpointError(f"{where}: {endpoint} did not answer with an S3 listing; check the endpoint's URL")
    truncated = document.fields.get("IsTruncated", "").strip().lower()
    token = document.fields.get("NextContinuationToken", "")
    # A page that does not say whether it is the last must never pass for a whole listing.
    if truncated not in ("true", "false") or (truncated == "true" and not token):
        raise UnreachableError(f"{where}: the page does not say how the listing goes on")
    return Page(
        prefix,
        entries,
        [_unquoted(directory, is_quoted) for directory in document.directories],
        token if truncated == "true" else "",
        seconds_of(response.header("date")),
    )


def _entry(key: str, modified: str, etag: str, size: str, storage_class: str, is_quoted: bool) -> Entry:
    """
    Raises:
        ValueError, OverflowError: it has no key or no size, or what it has is none.
    """
    if not key or not size.isdecimal():
        raise ValueError(f"key {key!r} of size {size!r}")
    etag = token(etag) if '"' in etag else etag
    # There are a handful of them, for millions of objects.
    held = sys.intern(storage_class)
    return Entry(_unquoted(key, is_quoted), int(size), timestamp_ns(modified), etag, storage_class=held)


def _unquoted(text: str, is_quoted: bool) -> str:
    return unquote_plus(text) if is_quoted and ("%" in text or "+" in text) else text


# The years 1 to 9999 have four digits.
_BEYOND_DATETIME = re.compile(r"([+-]?)([0-9]{5,}|0000)-[0-9]{2}-[0-9]{2}T")


# Objects that were written together share their time.
@functools.lru_cache(maxsize=1024)
def timestamp_ns(text: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 time such as "2026-01-31T12:00:00.000Z"; 0 for none."""
    if not text:
        return 0
    if beyond := _BEYOND_DATETIME.match(text):
        return EARLIEST_NS if beyond[1] == "-" or not int(beyond[2]) else LATEST_NS
    moment = datetime.fromisoformat(text)
    return storable_ns(int(moment.timestamp()) * _SECOND_NS + moment.microsecond * 1000)
