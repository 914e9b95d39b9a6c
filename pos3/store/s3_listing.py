"""S3 listings: one page after the other, each checked to be whole.

The page is parsed here: boto3's parser spends 154 microseconds of CPU on a key, most of it on timestamps, and this one
about two.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import lt
from urllib.parse import quote, unquote_plus, urlencode
from xml.parsers import expat

from pos3.entry import Entry
from pos3.errors import StoreError
from pos3.store.base import UnsortedListingError
from pos3.store.clock import seconds_of
from pos3.store.retry import UnreachableError
from pos3.store.s3_errors import error_of_body
from pos3.store.s3_exchange import Line, Lines
from pos3.store.s3_page import read_page
from pos3.store.s3_requests import Request, Requests, Response

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Page:
    """One page of a listing: whole keys in the paths, in the order in which the store sent them.

    ``next_token`` is "" on the last page; ``server_time`` is in seconds since the epoch, 0 if the store does not tell.
    """

    prefix: str
    entries: list[Entry]
    directories: list[str]
    next_token: str
    server_time: float


class Listing:
    """The listings of one bucket."""

    def __init__(self, requests: Requests, bucket: str):
        self._requests = requests
        self._bucket = bucket
        self._lines = Lines(requests)

    def page(self, prefix: str, *, token: str = "", delimiter: str = "", page_size: int = 1000) -> Page:
        """One page; asked for again while the store is busy, the connection fails or the page arrives broken."""
        request = self._request(prefix, token, delimiter, page_size)
        line = self._lines.take()
        line.send(request)
        page = self._received(line, request, prefix)
        self._lines.give_back(line)
        return page

    def _request(self, prefix: str, token: str, delimiter: str, page_size: int) -> Request:
        query = {"list-type": "2", "max-keys": str(page_size), "prefix": prefix, "encoding-type": "url"}
        if token:
            query["continuation-token"] = token
        if delimiter:
            query["delimiter"] = delimiter
        where = f"listing s3://{self._bucket}/{prefix}"
        return Request("GET", "", urlencode(sorted(query.items()), quote_via=quote, safe=""), where=where)

    def _received(self, line: Line, request: Request, prefix: str) -> Page:
        """The page that a line has been asked for. A line that fails for good is hung up."""
        patience = None
        while True:
            try:
                return _parse(line.receive(), prefix, request.where)
            except Exception as error:
                patience = patience or self._requests.patience()
                pause_seconds = patience.pause_seconds(error)
                if pause_seconds is None:
                    line.close()
                    raise
            except BaseException:
                line.close()
                raise
            time.sleep(pause_seconds)
            line.send(request)

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
        try:
            while page.next_token:
                request = self._request(first.prefix, page.next_token, delimiter, 1000)
                line.send(request)
                yield page
                token, page = page.next_token, self._received(line, request, first.prefix)
                if page.next_token == token:
                    raise StoreError(f"{request.where}: the store repeats one page for ever")
        except BaseException:
            line.close()
            raise
        self._lines.give_back(line)
        yield page

    def below(self, key: str) -> Iterator[Entry]:
        """Every object below the directory ``key``, paths relative to it, in order.

        Raises:
            UnsortedListingError: the store's order is another.
        """
        prefix = f"{key}/" if key else ""
        yield from in_order(self.pages(prefix), prefix, f"s3://{self._bucket}/{prefix}")


def in_order(pages: Iterator[Page], prefix: str, where: str) -> Iterator[Entry]:
    """The entries of ``pages`` relative to ``prefix``; the directory's own marker is left out."""
    cut = len(prefix)
    last = ""
    for page in pages:
        if not page.entries:
            continue
        keys = [entry.path for entry in page.entries]
        if not (last < keys[0] and all(map(lt, keys, keys[1:]))):
            raise UnsortedListingError(f"{where}: keys are not listed in order")
        last = keys[-1]
        for key, size_bytes, modified_ns, etag, _, _ in page.entries:
            if len(key) > cut:
                yield Entry(key[cut:], size_bytes, modified_ns, etag)


def _parse(response: Response, prefix: str, where: str) -> Page:
    try:
        document = read_page(response.body)
        is_quoted = document.is_quoted
        entries = [_entry(key, size, modified, etag, is_quoted) for key, modified, etag, size in document.objects]
    except (expat.ExpatError, LookupError, ValueError, OverflowError) as error:
        raise UnreachableError(f"{where}: the page is not valid XML, or no listing ({error})") from error
    if document.root == "Error":
        # S3 may answer 200 before it knows.
        raise error_of_body(200, response.body, where)
    if document.root != "ListBucketResult":
        raise StoreError(f"{where}: the endpoint did not answer with an S3 listing; check the endpoint's URL")
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


def _entry(key: str, size: str, modified: str, etag: str, is_quoted: bool) -> Entry:
    """
    Raises:
        ValueError, OverflowError: it has no key or no size, or what it has is none.
    """
    if not key or not size.isdecimal():
        raise ValueError(f"key {key!r} of size {size!r}")
    return Entry(_unquoted(key, is_quoted), int(size), timestamp_ns(modified), etag.strip('"'))


def _unquoted(text: str, is_quoted: bool) -> str:
    return unquote_plus(text) if is_quoted and ("%" in text or "+" in text) else text


# Objects that were written together share their time.
@functools.lru_cache(maxsize=1024)
def timestamp_ns(text: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 time such as "2026-01-31T12:00:00.000Z"; 0 for none."""
    if not text:
        return 0
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * _SECOND_NS + moment.microsecond * 1000
