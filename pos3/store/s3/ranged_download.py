"""Downloads one large object in ranges of one version, at the same time, each to its place in the file."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from pos3.errors import IntegrityError, ObjectChangedError
from pos3.etags import joined_etag, part_size_candidates
from pos3.local import BLOCK_BYTES, blocks, create_file, read_at, reopen_file
from pos3.reports import format_bytes
from pos3.store.base import CancelToken, Counted
from pos3.store.retry import repeated
from pos3.store.s3.arriving import ArrivingBody, NoteArrival, check, paced
from pos3.store.s3.checksums import MD5, Algorithm, Running, Told, fastest
from pos3.store.s3.delivery import Delivered, NoRangesError, Wanted, entry_of
from pos3.store.s3.http import Client
from pos3.store.s3.requests import Request, Response, TooLongError
from pos3.store.tasks import together

logger = logging.getLogger("pos3.store")

_RANGE_BYTES = 8 * 1024 * 1024


class _Range(NamedTuple):
    """One range in the file, and its checksum. ``response`` is None if the range was already in the file."""

    response: Response | None
    digest: bytes
    size_bytes: int


class RangedDownload:
    """The download of one object.

    Args:
        told: the checksum of the object in the store.
        proves: whether the content is verified by MD5 if there is no checksum.
    """

    def __init__(self, client: Client, wanted: Wanted, told: Told | None, *, proves: bool):
        self._client = client
        self._wanted = wanted
        size_bytes = wanted.expected.size_bytes
        self._of_parts = told if told is not None and told.parts else None
        self._told = told if told is not None and not told.parts else None
        # If the ranges are the parts of the upload, their MD5s give the ETag, and the file is not read again.
        known = [step for step in part_size_candidates(wanted.expected.etag, size_bytes) if step <= _RANGE_BYTES]
        step_bytes = known[0] if known else _RANGE_BYTES
        self._borders = [(start, min(start + step_bytes, size_bytes)) for start in range(0, size_bytes, step_bytes)]
        self._gives_etag = proves and bool(known) and self._told is None
        self._joins = self._told is not None and self._told.algorithm.join is not None
        self._algorithm: Algorithm | None = None
        if self._told is not None and self._joins:
            self._algorithm = self._told.algorithm
        elif proves and self._told is None:
            self._algorithm = MD5
        elif wanted.notes.keeps_failed:
            self._algorithm = fastest()
        self._counted = Counted(wanted.moved)

    async def run(self) -> Delivered:
        """Downloads and verifies the object.

        Raises:
            NoRangesError: the server does not support ranges.
            ObjectChangedError: the object is no longer the expected one.
        """
        wanted = self._wanted
        noted = self._noted()
        descriptor = reopen_file(wanted.target) if noted else create_file(wanted.target)
        try:
            taken = self._taken(descriptor, noted)
            ranges = await together([self._range(descriptor, *each, taken) for each in self._borders])
            content = await self._content(ranges)
        except BaseException as error:
            self._counted.take_back()
            if not wanted.notes.keeps_failed or isinstance(error, (_ReplacedError, NoRangesError)):
                wanted.discard()
            if isinstance(error, _ReplacedError):
                raise ObjectChangedError(str(error)) from error
            raise
        finally:
            os.close(descriptor)
        response = next((each.response for each in ranges if each.response is not None), None)
        expected = wanted.expected
        # If all ranges were there, there is no answer, and the listing describes the object.
        entry = entry_of(response, expected, expected.size_bytes) if response is not None else expected
        if self._told is not None:
            return Delivered(entry, told=self._told, content=content)
        digests = (joined_etag(each.digest for each in ranges),) if self._gives_etag else ()
        return Delivered(entry, digests, told=self._of_parts)

    def _noted(self) -> Mapping[tuple[int, int], bytes]:
        expected = self._wanted.expected
        name = self._algorithm.name if self._algorithm is not None else ""
        return self._wanted.notes.begin(expected.etag, expected.size_bytes, name)

    def _taken(self, descriptor: int, noted: Mapping[tuple[int, int], bytes]) -> _Taken | None:
        if not noted or self._algorithm is None:
            return None
        where = self._client.address.place(self._wanted.key)
        return _Taken(descriptor, noted, self._algorithm, self._wanted.cancelled, where)

    async def _content(self, ranges: list[_Range]) -> bytes:
        """The checksum of the whole object, by the algorithm of ``told``; b"" without ``told``."""
        if self._told is None:
            return b""
        if self._joins:
            return self._told.algorithm.joined((each.digest, each.size_bytes) for each in ranges)
        # The checksum of the whole object cannot be computed from the ranges, so the file is read again.
        return await self._client.spread(_read, self._wanted.target, self._told.algorithm)

    async def _range(self, descriptor: int, start: int, end: int, taken: _Taken | None) -> _Range:
        begun = await taken.begun(self._client, start, end) if taken is not None else None
        at, algorithm = start, self._algorithm
        if begun is not None:
            at = begun.until
            self._counted.told(at - start)
            self._counted.keep(at - start)
            if at == end:
                return _Range(None, begun.running.digest(), end - start)
            assert algorithm is not None
            algorithm = replace(algorithm, begin=begun.running.copy)
        note = functools.partial(self._wanted.notes.note, start)
        response, digest = await repeated(self._client.patience, self._rest_once, descriptor, at, end, algorithm, note)
        self._counted.keep(end - at)
        note(end, digest)
        return _Range(response, digest, end - start)

    async def _rest_once(
        self, descriptor: int, start: int, end: int, algorithm: Algorithm | None, note: NoteArrival
    ) -> tuple[Response, bytes]:
        """The answer that has the bytes from ``start`` to ``end``, which are in the file then, and their checksum."""
        wanted, expected, size_bytes = self._wanted, self._wanted.expected, end - start
        headers = (f"Range: bytes={start}-{end - 1}", f'If-Match: "{expected.etag}"')
        arriving = ArrivingBody(descriptor, start, self._counted.told, wanted.cancelled, algorithm, note)
        sink = paced(arriving, wanted.rate)
        with arriving:
            try:
                response = await self._client.send(
                    Request("GET", wanted.key, headers=headers, sink=sink, limit_bytes=size_bytes)
                )
            except TooLongError as error:
                # A server without ranges sends the whole object.
                raise NoRangesError from error
            except ObjectChangedError as error:
                raise _ReplacedError(str(error)) from error
            content_range = response.header("content-range")
            # Ranges with an equal weak ETag may be of different versions.
            if response.is_weak or not content_range.startswith(f"bytes {start}-{end - 1}/"):
                raise NoRangesError
            where = self._client.address.place(wanted.key)
            # Some servers ignore If-Match, so the version is compared here as well.
            if response.etag != expected.etag or not content_range.endswith(f"/{expected.size_bytes}"):
                raise _ReplacedError(f"{where}: the object was replaced while it was being read")
            digest = arriving.flushed()
            if arriving.size_bytes != size_bytes:
                told = f"{arriving.size_bytes} of {size_bytes} bytes of a range arrived"
                raise IntegrityError(f"{where}: {told}", url=where)
        return response, digest


async def _read(target: str, algorithm: Algorithm) -> bytes:
    """The checksum of a file. Other coroutines run between the pieces."""
    running = algorithm.begin()
    for block in blocks(target):
        running.update(block)
        await asyncio.sleep(0)
    return running.digest()


class _Begun(NamedTuple):
    """The beginning of a range that is in the file: where it ends, and its checksum, which can go on."""

    until: int
    running: Running


class _Taken:
    """The ranges that an earlier download has left in the file. Each one is read before it is used.

    After a power cut, recorded ranges may be missing on the disk.

    Args:
        noted: their checksums by the algorithm that all ranges use. Of those with the same start, the longest counts.
        where: the object, for the log.
    """

    def __init__(
        self,
        descriptor: int,
        noted: Mapping[tuple[int, int], bytes],
        algorithm: Algorithm,
        cancelled: CancelToken,
        where: str,
    ):
        self._descriptor = descriptor
        self._noted = {start: (end, digest) for (start, end), digest in sorted(noted.items())}
        self._left = len(self._noted)
        self._where = where
        self._algorithm = algorithm
        self._cancelled = cancelled
        # Reading from the beginning to the end is fastest.
        self._turn = asyncio.Lock()
        self._size_bytes = 0

    async def begun(self, client: Client, start: int, end: int) -> _Begun | None:
        """What is there of a range; None if nothing is."""
        until, digest = self._noted.get(start, (start, b""))
        if not start < until <= end:
            return None
        async with self._turn:
            running = await client.spread(self._read, start, until)
        is_there = running.digest() == digest
        self._size_bytes += (until - start) * is_there
        self._left -= 1
        if not self._left:
            logger.info("%s: %s are here from an earlier download", self._where, format_bytes(self._size_bytes))
        return _Begun(until, running) if is_there else None

    async def _read(self, start: int, end: int) -> Running:
        running = self._algorithm.begin()
        while start < end:
            check(self._cancelled)
            block = read_at(self._descriptor, min(BLOCK_BYTES, end - start), start)
            if not block:
                break
            running.update(block)
            start += len(block)
            await asyncio.sleep(0)
        return running


class _ReplacedError(Exception):
    """The object was replaced, so no range of the expected version can be downloaded."""
