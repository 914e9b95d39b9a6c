"""The bodies of objects, on their way here: small ones in one piece, large ones in ranges of one version."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from typing import Self

from pos3.entries import Entry
from pos3.errors import IntegrityError, ObjectChangedError, TransferCancelledError
from pos3.etags import joined_etag, part_size_candidates
from pos3.local import blocks, create_file, write_all, write_blocks_at
from pos3.store.base import CancelToken, Counted, Moved
from pos3.store.retry import repeated
from pos3.store.s3.checksums import ASK_FOR_CHECKSUM, Algorithm, Running, Told, told_by, told_of_whole
from pos3.store.s3.http import Client
from pos3.store.s3.requests import Request, Response, TooLongError, can_be_sent
from pos3.store.tasks import together

MIB = 1024 * 1024
# Objects from here on come in ranges. Shorter ones gain nothing from it.
LARGE_BYTES = 16 * MIB
_RANGE_BYTES = 8 * MIB
# Bodies up to here are held in memory until they are whole; longer ones are written as they come.
_IN_MEMORY_BYTES = 64 * 1024
# Longer bodies are worth another thread.
_SPREAD_BYTES = 512 * 1024
# Written and hashed at once: each time, the interpreter changes hands.
_WRITE_BYTES = 128 * 1024

_MD5 = Algorithm("MD5", lambda: hashlib.md5(usedforsecurity=False))


@dataclass(frozen=True, slots=True)
class Delivered:
    """The version of an object that arrived.

    ``digests`` are those ETags that what arrived could have, as far as they were computed on the way. With ``is_weak``,
    another ETag than these means nothing. ``told`` is the checksum that the store has told of the object, and
    ``content`` that of what arrived; of a checksum of parts, nothing was computed on the way.
    """

    entry: Entry
    digests: tuple[str, ...] = ()
    is_weak: bool = False
    told: Told | None = None
    content: bytes = b""

    @property
    def has_told_checksum(self) -> bool:
        """Whether a checksum proves that the object has arrived as the store has it."""
        return self.told is not None and self.told.is_of(self.content)


class Downloads:
    """Reads the objects of one bucket.

    Args:
        proves: whether bodies are to be proven even if they are large.
        asks: whether the store is asked for the checksums of objects.
    """

    def __init__(self, client: Client, proves: bool, asks: bool):
        self._client = client
        self._proves = proves
        self._headers = (ASK_FOR_CHECKSUM,) if asks else ()
        # A request more for each large object is worth it only where it is answered.
        self._tells_checksums = asks
        self._ranges_work = True

    def give_up_ranges(self) -> bool:
        """From now on, objects come in one piece each: a single answer is one version, whatever its ETag is.

        Returns:
            whether they came in ranges until now.
        """
        did_work, self._ranges_work = self._ranges_work, False
        return did_work

    async def download(self, key: str, expected: Entry, target: str, moved: Moved, cancelled: CancelToken) -> Delivered:
        """See :meth:`pos3.store.base.Store.download`; the digests are the caller's to compare."""
        if expected.size_bytes >= LARGE_BYTES and expected.etag and can_be_sent(expected.etag) and self._ranges_work:
            try:
                return await self._in_ranges(key, expected, target, moved, cancelled)
            except _NoRangesError:
                self._ranges_work = False
        wanted = Request("GET", key, headers=self._headers, limit_bytes=expected.size_bytes)
        try:
            return await self._in_one_piece(wanted, expected, target, moved, cancelled)
        except (TooLongError, _ShortError):
            # It may have been unzipped on its way. Then it comes as it is stored to whoever takes that.
            wanted = wanted._replace(takes_zipped=True)
        where = self._client.address.place(key)
        try:
            return await self._in_one_piece(wanted, expected, target, moved, cancelled)
        except TooLongError as error:
            told = f"the object is longer than the {expected.size_bytes} bytes that it was listed with"
            raise LongerError(f"{where}: {told}", url=where) from error
        except _ShortError as error:
            # A message may be whole and still carry less than the object.
            raise IntegrityError(f"{where}: {error} of {expected.size_bytes} bytes arrived", url=where) from error

    async def _in_one_piece(
        self, wanted: Request, expected: Entry, target: str, moved: Moved, cancelled: CancelToken
    ) -> Delivered:
        """
        Raises:
            TooLongError, _ShortError: more or fewer bytes arrived than the expected object has.
        """
        if expected.size_bytes <= _IN_MEMORY_BYTES:
            return await self._in_memory(wanted, expected, target, moved, cancelled)
        if expected.size_bytes <= _SPREAD_BYTES:
            return await self._as_it_comes(wanted, expected, target, moved, cancelled)
        return await self._client.spread(self._as_it_comes, wanted, expected, target, moved, cancelled)

    async def _in_memory(
        self, wanted: Request, expected: Entry, target: str, moved: Moved, cancelled: CancelToken
    ) -> Delivered:
        response = await self._client.send(wanted)
        body = response.blocks[0] if len(response.blocks) == 1 else response.body
        size_bytes = len(body)
        _check_length(response, size_bytes, expected)
        _check(cancelled)
        moved(size_bytes)
        try:
            descriptor = create_file(target)
            try:
                write_all(descriptor, body)
            except BaseException:
                os.unlink(target)
                raise
            finally:
                os.close(descriptor)
        except BaseException:
            moved(-size_bytes)
            raise
        told = told_of_whole(response)
        running = (_MD5 if told is None else told.algorithm).begin()
        running.update(body)
        return self._delivered(response, self._entry(response, expected, size_bytes), told, running.digest())

    async def _as_it_comes(
        self, wanted: Request, expected: Entry, target: str, moved: Moved, cancelled: CancelToken
    ) -> Delivered:
        descriptor = create_file(target)
        try:
            with _Arriving(descriptor, 0, moved, cancelled, _MD5) as arriving:
                response = await self._client.send(wanted._replace(sink=arriving))
                digest = arriving.flushed()
                _check_length(response, arriving.size_bytes, expected)
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(descriptor)
        entry = self._entry(response, expected, arriving.size_bytes)
        return self._delivered(response, entry, arriving.told, digest)

    def _delivered(self, response: Response, entry: Entry, told: Told | None, content: bytes) -> Delivered:
        """Of an object in one piece: ``content`` is the checksum of what was ``told``, or else the MD5."""
        if told is not None:
            return Delivered(entry, told=told, content=content)
        digest = content.hex()
        return Delivered(entry, (digest,), entry.etag != digest and response.is_weak, told_by(response))

    async def _in_ranges(
        self, key: str, expected: Entry, target: str, moved: Moved, cancelled: CancelToken
    ) -> Delivered:
        """
        Raises:
            _NoRangesError: the server does not do ranges.
            ObjectChangedError: the object is no longer the expected one.
        """
        # What has begun comes first: it holds a file open.
        await self._client.room()
        size = expected.size_bytes
        told = await self._told(key, expected)
        of_parts = told if told is not None and told.parts else None
        told = None if of_parts else told
        # Ranges that are the parts of the upload give the ETag without a second look at the file.
        known = [wanted for wanted in part_size_candidates(expected.etag, size) if wanted <= _RANGE_BYTES]
        step = known[0] if known else _RANGE_BYTES
        joins = told is not None and told.algorithm.join is not None
        algorithm = told.algorithm if told is not None and joins else _MD5 if self._proves and told is None else None
        descriptor = create_file(target)
        counted = Counted(moved)
        try:
            borders = [(start, min(start + step, size)) for start in range(0, size, step)]
            parts = await together(
                [self._range(key, expected, descriptor, *each, counted, cancelled, algorithm) for each in borders]
            )
            content = b""
            if told is not None and joins:
                content = told.algorithm.joined(
                    (digest, end - start) for (_, digest), (start, end) in zip(parts, borders, strict=True)
                )
            elif told is not None:
                # Checksums of the ranges tell nothing of the whole, so all of it is read again.
                content = await self._client.spread(_read, target, told.algorithm)
        except BaseException as error:
            counted.take_back()
            os.unlink(target)
            if isinstance(error, _ReplacedError):
                raise ObjectChangedError(str(error)) from error
            raise
        finally:
            os.close(descriptor)
        entry = self._entry(parts[0][0], expected, size)
        if told is not None:
            return Delivered(entry, told=told, content=content)
        digests = (joined_etag(digest for _, digest in parts),) if self._proves and known else ()
        return Delivered(entry, digests, told=of_parts)

    async def _told(self, key: str, expected: Entry) -> Told | None:
        """The checksum of exactly this object, if the store tells one."""
        if not self._tells_checksums:
            return None
        arguments = Request("HEAD", key, headers=self._headers)
        response: Response = await repeated(self._client.patience, self._client.send, arguments)
        told = told_by(response)
        if told is None:
            # Stores that keep checksums have them of older objects, too, or of none.
            self._tells_checksums = self._client.address.is_of_aws
        return told if response.etag == expected.etag else None

    async def _range(
        self,
        key: str,
        expected: Entry,
        descriptor: int,
        start: int,
        end: int,
        counted: Counted,
        cancelled: CancelToken,
        algorithm: Algorithm | None,
    ) -> tuple[Response, bytes]:
        arguments = (self._range_once, key, expected, descriptor, start, end, counted.told, cancelled, algorithm)
        part: tuple[Response, bytes] = await repeated(self._client.patience, self._client.spread, *arguments)
        # Only here, in one thread.
        counted.keep(end - start)
        return part

    async def _range_once(
        self,
        key: str,
        expected: Entry,
        descriptor: int,
        start: int,
        end: int,
        moved: Moved,
        cancelled: CancelToken,
        algorithm: Algorithm | None,
    ) -> tuple[Response, bytes]:
        wanted = end - start
        headers = (f"Range: bytes={start}-{end - 1}", f'If-Match: "{expected.etag}"')
        with _Arriving(descriptor, start, moved, cancelled, algorithm) as arriving:
            try:
                response = await self._client.send(
                    Request("GET", key, headers=headers, sink=arriving, limit_bytes=wanted)
                )
            except TooLongError as error:
                # A server that does not do ranges sends everything.
                raise _NoRangesError from error
            except ObjectChangedError as error:
                raise _ReplacedError(str(error)) from error
            content_range = response.header("content-range")
            # Ranges with one weak ETag need not be of one version.
            if response.is_weak or not content_range.startswith(f"bytes {start}-{end - 1}/"):
                raise _NoRangesError
            where = self._client.address.place(key)
            # Not every server honours If-Match, so the version is compared here as well.
            if response.etag != expected.etag or not content_range.endswith(f"/{expected.size_bytes}"):
                raise _ReplacedError(f"{where}: the object was replaced while it was being read")
            digest = arriving.flushed()
            if arriving.size_bytes != wanted:
                raise IntegrityError(f"{where}: {arriving.size_bytes} of {wanted} bytes of a range arrived", url=where)
        return response, digest

    def _entry(self, response: Response, expected: Entry, size_bytes: int) -> Entry:
        etag = response.etag
        if etag == expected.etag and size_bytes == expected.size_bytes and expected.modified_ns:
            return expected
        return Entry("", size_bytes, response.modified_ns, etag)


async def _read(target: str, algorithm: Algorithm) -> bytes:
    """The checksum of a file. In between, the loop moves other bodies."""
    running = algorithm.begin()
    for block in blocks(target):
        running.update(block)
        await asyncio.sleep(0)
    return running.digest()


def _check(cancelled: CancelToken) -> None:
    if cancelled.is_set():
        raise TransferCancelledError("the download was stopped")


class _Arriving:
    """Writes a body, or a range of one, to its place in a file as it comes; an error takes back what was counted.

    Args:
        algorithm: of the checksum of the body, unless the answer tells one of the whole object; None for none.
    """

    def __init__(self, descriptor: int, offset: int, moved: Moved, cancelled: CancelToken, algorithm: Algorithm | None):
        self._descriptor = descriptor
        self._offset = offset
        self._moved = moved
        self._cancelled = cancelled
        self._algorithm = algorithm
        self._running: Running | None = None
        self.told: Told | None = None
        """The checksum of the whole object, if the answer tells it."""
        self._blocks: list[bytes] = []
        self._held_bytes = 0
        self.size_bytes = 0
        """How many bytes have been written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is not None and self.size_bytes:
            self._moved(-self.size_bytes)

    def begin(self, response: Response) -> None:
        # Of a range, a checksum of the whole object tells nothing.
        if response.header("content-range") == "":
            self.told = told_of_whole(response)
        algorithm = self.told.algorithm if self.told is not None else self._algorithm
        self._running = algorithm.begin() if algorithm is not None else None

    def take(self, block: bytes) -> None:
        self._blocks.append(block)
        self._held_bytes += len(block)
        if self._held_bytes >= _WRITE_BYTES:
            self._write()

    def _write(self) -> None:
        _check(self._cancelled)
        # Counted first, so that an error takes it back.
        size_bytes, self._held_bytes = self._held_bytes, 0
        self._moved(size_bytes)
        self.size_bytes += size_bytes
        body = b"".join(self._blocks)
        self._blocks.clear()
        if self._running is not None:
            self._running.update(body)
        write_blocks_at(self._descriptor, (body,), self._offset)
        self._offset += size_bytes

    def flushed(self) -> bytes:
        """The checksum of the body, once all of it has been written; b"" for none."""
        _check(self._cancelled)
        if self._blocks:
            self._write()
        if self._running is None and self._algorithm is not None:
            # An empty body has no first piece.
            self._running = self._algorithm.begin()
        return self._running.digest() if self._running is not None else b""


def _check_length(response: Response, size_bytes: int, expected: Entry) -> None:
    if size_bytes < expected.size_bytes and response.etag and response.etag == expected.etag:
        raise _ShortError(size_bytes)


class LongerError(ObjectChangedError):
    """The object is longer than it was listed with: it was replaced, or unzipped on its way."""


class _ShortError(Exception):
    """Fewer bytes arrived than the object has."""


class _ReplacedError(Exception):
    """There is another object by now: no range of the expected one can be had, however often it is asked for."""


class _NoRangesError(Exception):
    """The server answered a ranged request with something else than a range."""
