"""S3 listings, page by page. Each page is checked to be complete.

Slow stores are asked for several pages at the same time.

Pages are parsed here, because boto3's parser needs 154 microseconds of CPU for a key, mostly for timestamps. This one
needs about two.
"""

from __future__ import annotations

import asyncio
import functools
import re
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from operator import lt
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode
from xml.parsers import expat

from pos3.entries import EARLIEST_NS, EVERY_PATH, LATEST_NS, Entry, PathRange, storable_ns
from pos3.errors import EndpointError, StoreError
from pos3.etags import token
from pos3.store.base import Landmarks, UnsortedListingError, nothing_known
from pos3.store.clock import seconds_of
from pos3.store.retry import UnreachableError
from pos3.store.s3.errors import error_of_body
from pos3.store.s3.http import Client
from pos3.store.s3.page import Document, Page, TooManyEntriesError, read_page
from pos3.store.s3.requests import Request, Response
from pos3.store.s3.xml import unquoted
from pos3.store.tasks import ended

if TYPE_CHECKING:
    from pos3.store.s3.ranges import Wanted

_SECOND_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A store that answers sooner is fast enough: reading a page takes about half of this time.
_WORTH_SECONDS = 0.015
# Some servers send empty pages, for example for deleted objects.
_MOST_PAGES_IN_VAIN = 1000
# The beginning of tokens that pos3 makes itself. XML cannot contain it, so no token of a store begins with it.
_AFTER = "\0"
# This character sorts after all names in a directory.
_LAST_CHARACTER = "\U0010ffff"


class Listing:
    """The listings of one bucket, with at most ``most_at_once`` requests at the same time."""

    def __init__(self, client: Client, bucket: str, most_at_once: int):
        self._client = client
        self._bucket = bucket
        self._most_at_once = most_at_once
        self._starts_after = True

    async def page(
        self, prefix: str, *, token: str = "", after: str = "", delimiter: str = "", page_size: int = 1000
    ) -> Page:
        """The next page with entries, or the last page. An empty page in the middle says nothing, so it is skipped.

        It is requested again while the store is busy, the connection fails, or the page is damaged.
        """
        for _ in range(_MOST_PAGES_IN_VAIN):
            page = await self._asked(self._request(prefix, token, delimiter, page_size, after), prefix)
            if page.entries or page.directories or not page.next_token:
                return page
            token = page.next_token
        told = f"{_MOST_PAGES_IN_VAIN} empty pages, and the store says that more follow"
        raise StoreError(f"listing s3://{self._bucket}/{prefix}: {told}")

    def _request(self, prefix: str, token: str, delimiter: str, page_size: int = 1000, after: str = "") -> Request:
        query = {"list-type": "2", "max-keys": str(page_size), "prefix": prefix, "encoding-type": "url"}
        if token.startswith(_AFTER):
            query["start-after"] = token.removeprefix(_AFTER)
        elif token:
            query["continuation-token"] = token
        elif after:
            query["start-after"] = after
        if delimiter:
            query["delimiter"] = delimiter
        where = f"listing s3://{self._bucket}/{prefix}"
        return Request("GET", "", urlencode(sorted(query.items()), quote_via=quote, safe=""), where=where)

    async def _asked(self, request: Request, prefix: str) -> Page:
        endpoint = self._client.address.endpoint
        return await self._client.ask(request, lambda response: _parse(response, prefix, request.where, endpoint))

    async def pages(self, prefix: str, *, delimiter: str = "") -> AsyncGenerator[Page, None]:
        """All pages, one after the other."""
        first = await self.page(prefix, delimiter=delimiter)
        async with aclosing(self.pages_after(first, delimiter=delimiter)) as pages:
            async for page in pages:
                yield page

    async def pages_after(self, first: Page, *, delimiter: str = "", until: str = "") -> AsyncGenerator[Page, None]:
        """``first`` and the pages after it. The next page is requested while the caller uses the last one.

        Args:
            until: no page after this key is requested; "" for all pages.
        """
        page = first
        empty = _EmptyPages()
        while page.next_token and not _reaches(page, until):
            request = self._request(first.prefix, page.next_token, delimiter)
            following = asyncio.get_running_loop().create_task(self._asked(request, first.prefix))
            try:
                yield page
                empty.count(page, request.where)
                token, page = page.next_token, await following
            finally:
                if following.cancel():
                    await ended(following)
            if page.next_token == token:
                raise StoreError(f"{request.where}: the store repeats one page for ever")
        yield page

    async def below(
        self, key: str, landmarks: Landmarks = nothing_known, keys: PathRange = EVERY_PATH
    ) -> AsyncGenerator[Page, None]:
        """The pages with every object below the directory ``key``.

        Args:
            landmarks: known whole keys.
            keys: a range of whole keys. Other pages are requested only if the store cannot begin after a key.
        Raises:
            UnsortedListingError: the store lists in another order.
        """
        prefix = f"{key}/" if key else ""
        first = await self._first_after(prefix, keys.after)
        async with aclosing(self._ordered(first, prefix, landmarks, keys.until)) as pages:
            async for page in pages:
                yield page

    async def _first_after(self, prefix: str, after: str) -> Page:
        """The first page after a key. If the store cannot begin there, it is the first page of all keys.

        The request begins at the key itself. If the answer begins with it, or if the key does not exist, no key was
        skipped.
        """
        if after and self._starts_after:
            try:
                first = await self.page(prefix, after=right_before(after))
                found = first.entries[0].path if first.entries else ""
                if found == after or ((not found or found > after) and not await self._exists(after)):
                    return first
            except StoreError as error:
                if type(error) is not StoreError:
                    raise
            self._starts_after = False
        return await self.page(prefix)

    async def _exists(self, key: str) -> bool:
        page = await self.page(key, page_size=1)
        return any(entry.path == key for entry in page.entries)

    def below_after(self, first: Page, key: str, landmarks: Landmarks, keys: PathRange) -> AsyncGenerator[Page, None]:
        """Like :meth:`below`, for a listing of all keys that begin with ``key``, whose first page lies below it."""
        return self._ordered(first, f"{key}/", landmarks, keys.until)

    def _ordered(self, first: Page, prefix: str, landmarks: Landmarks, until: str) -> AsyncGenerator[Page, None]:
        where = f"s3://{self._bucket}/{prefix}"
        pays = self._most_at_once > 1 and len(first.entries) > 1 and first.wait_seconds >= _WORTH_SECONDS
        if first.next_token and pays and self._starts_after and not _reaches(first, until):
            return self._at_once(first, prefix, landmarks, where, until)
        if first.prefix != prefix:
            return self._inside(self.pages_after(first, until=until), prefix, where)
        return self.pages_after(first, until=until)

    async def _inside(self, pages: AsyncGenerator[Page, None], prefix: str, where: str) -> AsyncGenerator[Page, None]:
        last = ""
        async with aclosing(pages):
            async for page in pages:
                if not page.entries or page.entries[-1].path.startswith(prefix):
                    last = page.entries[-1].path if page.entries else last
                    yield page
                    continue
                inside = [entry for entry in page.entries if entry.path.startswith(prefix)]
                last = inside[-1].path if inside else last
                yield replace(page, entries=inside)
                # Later keys are not needed, if the store lists in order.
                if page.next_token:
                    more = await self.page(prefix, after=last)
                    if more.entries:
                        raise UnsortedListingError(f"{where}: keys are not listed in order")
                return

    async def _at_once(
        self, first: Page, prefix: str, landmarks: Landmarks, where: str, until: str
    ) -> AsyncGenerator[Page, None]:
        last = _last_in_order(first, "", where)
        # Imported here, because many listings have only one page.
        from pos3.store.s3.parallel import pages_at_once
        from pos3.store.s3.ranges import Ranges, StartAfterError

        yield first
        ranges = Ranges(prefix, first, landmarks, self._most_at_once, until)
        empty = _EmptyPages()

        async def ask(wanted: Wanted) -> Page:
            request = self._request(wanted.prefix, wanted.token, wanted.delimiter, after=wanted.after)
            if wanted.delimiter:
                # This page is optional, so it is not requested again.
                response = await self._client.send(request)
                return self._read(response, wanted, request.where, empty)
            return await self._client.ask(request, lambda response: self._read(response, wanted, request.where, empty))

        try:
            async with aclosing(pages_at_once(ranges, ask)) as pages:
                async for page in pages:
                    last = page.entries[-1].path
                    yield page
            return
        except StartAfterError:
            self._starts_after = ranges.is_proven
        rest = self.pages_after(first, until=until)
        async with aclosing(rest if first.prefix == prefix else self._inside(rest, prefix, where)) as pages:
            async for page in _rest(pages, last, where):
                yield page

    def _read(self, response: Response, wanted: Wanted, where: str, empty: _EmptyPages) -> Page:
        page = _parse(response, wanted.prefix, where, self._client.address.endpoint)
        empty.count(page, where)
        if wanted.token and page.next_token == wanted.token:
            raise StoreError(f"{where}: the store repeats one page for ever")
        return page


class _EmptyPages:
    """Counts empty pages. Some are normal after many deletes."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def count(self, page: Page, where: str) -> None:
        """Counts a page.

        Raises:
            StoreError: a thousand empty pages followed each other.
        """
        is_empty = page.next_token and not (page.entries or page.directories)
        self._in_a_row = self._in_a_row + 1 if is_empty else 0
        if self._in_a_row >= _MOST_PAGES_IN_VAIN:
            raise StoreError(f"{where}: the store sends empty pages for ever")


def gathered(pages: Iterator[Page], where: str) -> dict[str, Entry]:
    """All objects and directories of pages in any order, by their whole keys.

    Raises:
        StoreError: a thousand pages in a row had nothing new.
    """
    found: dict[str, Entry] = {}
    in_vain = 0
    for page in pages:
        known = len(found)
        found.update((entry.path, entry) for entry in page.entries)
        found.update((directory, Entry(directory)) for directory in page.directories)
        in_vain = 0 if len(found) > known else in_vain + 1
        if in_vain >= _MOST_PAGES_IN_VAIN:
            raise StoreError(f"{where}: the store sends endless pages with nothing new")
    return found


def in_order(pages: Iterator[Page], prefix: str, where: str) -> Iterator[Entry]:
    """The entries of ``pages`` relative to ``prefix``, without the directory object of ``prefix`` itself."""
    cut = len(prefix)
    last = ""
    for page in pages:
        last = _last_in_order(page, last, where)
        for key, size_bytes, modified_ns, etag, _, _, storage_class, _ in page.entries:
            if len(key) > cut:
                yield Entry(key[cut:], size_bytes, modified_ns, etag, 0, "", storage_class)


async def _rest(pages: AsyncGenerator[Page, None], known: str, where: str) -> AsyncGenerator[Page, None]:
    """The pages of a listing from its beginning, without all keys up to ``known``."""
    last = ""
    async for page in pages:
        last = _last_in_order(page, last, where)
        if last > known:
            yield replace(page, entries=[entry for entry in page.entries if entry.path > known])


def _last_in_order(page: Page, last: str, where: str) -> str:
    """The last key of a page.

    Raises:
        UnsortedListingError: its keys are not in order, or do not follow ``last``.
    """
    keys = [entry.path for entry in page.entries]
    if keys and not (last < keys[0] and all(map(lt, keys, keys[1:]))):
        raise UnsortedListingError(f"{where}: keys are not listed in order")
    return keys[-1] if keys else last


def right_before(key: str) -> str:
    """A text that sorts after almost all keys before ``key``. Keys in between are possible, but nobody uses them."""
    last = ord(key[-1]) - 1
    # Surrogates are no characters.
    last = 0xD7FF if 0xD800 <= last <= 0xDFFF else last
    return key[:-1] + (chr(last) + _LAST_CHARACTER if last > 0 else "")


def _reaches(page: Page, key: str) -> bool:
    """Whether the page reaches ``key``, so later pages have no key up to it.

    It is False for "", which stands for the end.
    """
    return bool(key and page.entries) and page.entries[-1].path >= key


def _parse(response: Response, prefix: str, where: str, endpoint: str) -> Page:
    try:
        document = read_page(response.body)
        is_quoted = document.is_quoted
        entries = [_entry(*found, is_quoted) for found in document.objects]
    except TooManyEntriesError as error:
        # Another request would give the same page.
        raise StoreError(f"{where}: {endpoint} sent {error}") from error
    except (expat.ExpatError, LookupError, ValueError, OverflowError) as error:
        raise UnreachableError(f"{where}: the page is not valid XML, or no listing ({error})") from error
    if document.root == "Error":
        # S3 may send status 200 before an error.
        raise error_of_body(200, response.body, where, endpoint)
    if document.root != "ListBucketResult":
        raise EndpointError(f"{where}: {endpoint} did not answer with an S3 listing; check the endpoint's URL")
    directories = [unquoted(directory, is_quoted) for directory in document.directories]
    next_token = _next_token(document, entries, directories)
    if next_token is None:
        raise UnreachableError(f"{where}: the page does not say whether more pages follow")
    return Page(
        prefix,
        entries,
        directories,
        next_token,
        seconds_of(response.header("date")),
        response.wait_seconds,
    )


def _next_token(document: Document, entries: list[Entry], directories: list[str]) -> str | None:
    """The token of the next page; "" after the last page, None if this is not certain.

    A page that does not say whether it is the last one must never count as a whole listing.
    """
    truncated = document.fields.get("IsTruncated")
    token = document.fields.get("NextContinuationToken", "")
    if truncated is not None:
        return {"true": token or None, "false": ""}.get(truncated.strip().lower())
    if token or not document.fields.get("Name"):
        return token or None
    # Some stores do not say it. Then a request for the keys after the last one shows it.
    keys = [entry.path for entry in entries]
    if not all(map(lt, keys, keys[1:])):
        return None
    last = max([*keys[-1:], *(directory + _LAST_CHARACTER for directory in directories)], default="")
    return last and _AFTER + last


def _entry(key: str, modified: str, etag: str, size: str, storage_class: str, is_quoted: bool) -> Entry:
    """An entry from the texts of a page.

    Raises:
        ValueError, OverflowError: the key or the size is missing or invalid.
    """
    if not key or not size.isdecimal():
        raise ValueError(f"key {key!r} of size {size!r}")
    etag = token(etag) if '"' in etag else etag
    # There are only a few storage classes for millions of objects.
    held = sys.intern(storage_class)
    return Entry(unquoted(key, is_quoted), int(size), timestamp_ns(modified), etag, storage_class=held)


# The years 1 to 9999 have four digits.
_BEYOND_DATETIME = re.compile(r"([+-]?)([0-9]{5,}|0000)-[0-9]{2}-[0-9]{2}T")


# Objects that were written together have equal times.
@functools.lru_cache(maxsize=1024)
def timestamp_ns(text: str) -> int:
    """Nanoseconds since the epoch for an ISO 8601 time such as "2026-01-31T12:00:00.000Z"; 0 for "".

    A time without an offset is in UTC, like all times of S3.
    """
    if not text:
        return 0
    if beyond := _BEYOND_DATETIME.match(text):
        return EARLIEST_NS if beyond[1] == "-" or not int(beyond[2]) else LATEST_NS
    moment = datetime.fromisoformat(text)
    since_epoch = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - _EPOCH
    return storable_ns((since_epoch.days * 86_400 + since_epoch.seconds) * _SECOND_NS + since_epoch.microseconds * 1000)
