"""The bodies of objects, on their way here: small ones in one piece, large ones in ranges of one version."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Self

from pos3.entry import Entry
from pos3.errors import IntegrityError, ObjectChangedError
from pos3.etag import joined_etag, part_size_candidates
from pos3.store import files
from pos3.store.base import Counted, OnBytes
from pos3.store.s3_loop import Together
from pos3.store.s3_requests import Request, Requests, Response, TooLongError
from pos3.store.steps import Steps

MIB = 1024 * 1024
# Bodies up to here are held in memory: one write, and no callback for each piece.
_IN_MEMORY_BYTES = MIB
# Objects from here on come in ranges. Shorter ones gain nothing from it.
LARGE_BYTES = 16 * MIB
_RANGE_BYTES = 8 * MIB
_LONGEST_RANGE_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class Delivered:
    """The version of an object that arrived.

    ``digests`` are those ETags that what arrived could have, as far as they were computed on the way.
    """

    entry: Entry
    digests: tuple[str, ...] = ()


class Downloads:
    """Reads the objects of one bucket. ``proves`` says that bodies are to be proven even if they are large."""

    def __init__(self, requests: Requests, proves: bool):
        self._requests = requests
        self._proves = proves
        self._ranges_work = True

    def download(self, key: str, expected: Entry, target: str, on_bytes: OnBytes) -> Steps[Delivered]:
        """See :meth:`pos3.store.base.Store.download`; the digests are the caller's to compare."""
        if expected.size_bytes >= LARGE_BYTES and expected.etag and self._ranges_work:
            try:
                return (yield from self._in_ranges(key, expected, target, on_bytes))
            except _NoRangesError:
                self._ranges_work = False
        if expected.size_bytes <= _IN_MEMORY_BYTES:
            try:
                return (yield from self._in_memory(key, expected, target, on_bytes))
            except TooLongError:
                pass
        return (yield from self._in_pieces(key, expected, target, on_bytes))

    def _in_memory(self, key: str, expected: Entry, target: str, on_bytes: OnBytes) -> Steps[Delivered]:
        response: Response = yield Request("GET", key, limit_bytes=4 * _IN_MEMORY_BYTES)
        body = response.body
        files.write_new(target, body)
        try:
            on_bytes(len(body))
        except BaseException:
            os.unlink(target)
            raise
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return Delivered(self._entry(response, expected, len(body)), (digest,))

    def _in_pieces(self, key: str, expected: Entry, target: str, on_bytes: OnBytes) -> Steps[Delivered]:
        digest = hashlib.md5(usedforsecurity=False)
        with _Writer(target, on_bytes, digest.update) as writer:
            response: Response = yield Request("GET", key, sink=writer.write)
            writer.keep()
        return Delivered(self._entry(response, expected, writer.written_bytes), (digest.hexdigest(),))

    def _in_ranges(self, key: str, expected: Entry, target: str, on_bytes: OnBytes) -> Steps[Delivered]:
        """
        Raises:
            _NoRangesError: the server does not do ranges.
        """
        size = expected.size_bytes
        # Ranges that are the parts of the upload give the ETag without a second look at the file.
        known = [wanted for wanted in part_size_candidates(expected.etag, size) if wanted <= _LONGEST_RANGE_BYTES]
        step = known[0] if known else _RANGE_BYTES
        starts = range(0, size, step)
        os.close(files.create(target))
        counted = Counted(on_bytes)
        try:
            begins = [
                functools.partial(self._range, key, expected, target, start, min(start + step, size), counted)
                for start in starts
            ]
            # The first range alone tells whether the server does ranges at all.
            parts: list[tuple[Response, bytes]] = yield Together(begins[:1])
            parts += yield Together(begins[1:])
        except BaseException:
            counted.take_back()
            os.unlink(target)
            raise
        digests = (joined_etag(digest for _, digest in parts),) if self._proves and known else ()
        return Delivered(self._entry(parts[0][0], expected, size), digests)

    def _range(
        self, key: str, expected: Entry, target: str, start: int, end: int, on_bytes: OnBytes
    ) -> Steps[tuple[Response, bytes]]:
        digest = hashlib.md5(usedforsecurity=False)
        look: Callable[[bytes], object] = digest.update if self._proves else _overlook
        headers = (f"Range: bytes={start}-{end - 1}", f'If-Match: "{expected.etag}"')
        with _Writer(target, on_bytes, look, start) as writer:
            request = Request("GET", key, headers=headers, sink=writer.write, limit_bytes=end - start)
            try:
                response: Response = yield request
            except TooLongError as error:
                # A server that does not do ranges sends everything.
                raise _NoRangesError from error
            content_range = response.header("content-range")
            if not content_range.startswith(f"bytes {start}-{end - 1}/"):
                raise _NoRangesError
            writer.keep()
        where = self._requests.where(Request("GET", key))
        # Not every server honours If-Match, so the version is compared here as well.
        if response.etag != expected.etag or not content_range.endswith(f"/{expected.size_bytes}"):
            on_bytes(-writer.written_bytes)
            raise ObjectChangedError(f"{where}: the object was replaced while it was being read")
        if writer.written_bytes != end - start:
            on_bytes(-writer.written_bytes)
            raise IntegrityError(f"{where}: {writer.written_bytes} of {end - start} bytes of a range arrived")
        return response, digest.digest()

    def _entry(self, response: Response, expected: Entry, size_bytes: int) -> Entry:
        etag = response.etag
        if etag == expected.etag and size_bytes == expected.size_bytes and expected.modified_ns:
            return expected
        modified = response.header("last-modified")
        modified_ns = int(parsedate_to_datetime(modified).timestamp()) * 1_000_000_000 if modified else 0
        return Entry("", size_bytes, modified_ns, etag)


class _NoRangesError(Exception):
    """The server answered a ranged request with something else than a range."""


def _overlook(_block: bytes) -> None:
    pass


class _Writer:
    """Writes what arrives to a file, from an offset of it on. What is not kept counts as not moved.

    Without an offset the file is new, and removed unless it is kept.
    """

    def __init__(self, path: str, on_bytes: OnBytes, look: Callable[[bytes], object], offset: int | None = None):
        self._path = path
        self._on_bytes = on_bytes
        self._look = look
        self._is_new = offset is None
        self._offset = offset or 0
        self._is_kept = False
        self.written_bytes = 0

    def __enter__(self) -> Self:
        # Each range has a descriptor of its own.
        flags = os.O_WRONLY | os.O_CLOEXEC
        self._descriptor = files.create(self._path) if self._is_new else os.open(self._path, flags)
        return self

    def write(self, block: bytes) -> None:
        files.write_all_at(self._descriptor, block, self._offset + self.written_bytes)
        self._look(block)
        self._on_bytes(len(block))
        self.written_bytes += len(block)

    def keep(self) -> None:
        self._is_kept = True

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        if not self._is_kept:
            self._on_bytes(-self.written_bytes)
            if self._is_new:
                os.unlink(self._path)
