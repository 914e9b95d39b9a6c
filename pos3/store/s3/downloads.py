"""Downloads objects: small ones in one piece, large ones in ranges of one version."""

from __future__ import annotations

import asyncio
import os

from pos3.entries import Entry
from pos3.errors import IntegrityError, ObjectChangedError
from pos3.local import create_file, write_all
from pos3.store.retry import repeated
from pos3.store.s3.arriving import ArrivingBody, check, paced
from pos3.store.s3.checksums import ASK_FOR_CHECKSUM, MD5, Told, told_by, told_of_whole
from pos3.store.s3.delivery import Delivered, NoRangesError, Wanted, entry_of
from pos3.store.s3.http import Client
from pos3.store.s3.ranged_download import RangedDownload
from pos3.store.s3.requests import Request, Response, TooLongError, can_be_sent

MIB = 1024 * 1024
# Objects of at least this size are downloaded in ranges. Smaller ones would not be faster.
LARGE_BYTES = 16 * MIB
# Objects of at least this size can be continued. Smaller ones are downloaded again within about a second.
RESUMABLE_FROM_BYTES = 64 * MIB
# Smaller bodies are held in memory until they are complete. Larger ones are written as they arrive.
_IN_MEMORY_BYTES = 64 * 1024


class Downloads:
    """Downloads the objects of one bucket.

    Args:
        proves: whether large bodies are verified as well.
        asks: whether the store is asked for the checksums of objects.
    """

    def __init__(self, client: Client, proves: bool, asks: bool):
        self._client = client
        self._proves = proves
        self._headers = (ASK_FOR_CHECKSUM,) if asks else ()
        # If the store returns no checksums, one more request for each large object is useless.
        self._tells_checksums = asks
        self._ranges_work = True

    def give_up_ranges(self) -> bool:
        """Downloads objects in one piece from now on.

        One answer is always one version, even if its ETag proves nothing.

        Returns:
            whether objects were downloaded in ranges until now.
        """
        did_work, self._ranges_work = self._ranges_work, False
        return did_work

    async def download(self, wanted: Wanted) -> Delivered:
        """See :meth:`pos3.store.base.Store.download`. The caller compares the digests."""
        expected = wanted.expected
        if expected.size_bytes >= LARGE_BYTES and expected.etag and can_be_sent(expected.etag) and self._ranges_work:
            try:
                return await self._in_ranges(wanted)
            except NoRangesError:
                self._ranges_work = False
        wanted.notes.forget()
        request = Request("GET", wanted.key, headers=self._headers, limit_bytes=expected.size_bytes)
        try:
            return await self._in_one_piece(request, wanted)
        except (TooLongError, _ShortError):
            # It may have been unzipped on its way. A request that accepts gzip gets it as it is stored.
            request = request._replace(takes_zipped=True)
        where = self._client.address.place(wanted.key)
        try:
            return await self._in_one_piece(request, wanted)
        except TooLongError as error:
            told = f"the object is longer than the {expected.size_bytes} bytes that it was listed with"
            raise LongerError(f"{where}: {told}", url=where) from error
        except _ShortError as error:
            # An answer may be complete, and still contain less than the object.
            raise IntegrityError(f"{where}: {error} of {expected.size_bytes} bytes arrived", url=where) from error

    async def _in_one_piece(self, request: Request, wanted: Wanted) -> Delivered:
        """Downloads an object with one request.

        Raises:
            TooLongError, _ShortError: more or fewer bytes arrived than the expected object has.
        """
        size_bytes = wanted.expected.size_bytes
        if size_bytes <= _IN_MEMORY_BYTES:
            return await self._in_memory(request, wanted)
        return await self._as_it_comes(request, wanted)

    async def _in_memory(self, request: Request, wanted: Wanted) -> Delivered:
        pause_seconds = wanted.rate.wait_seconds(wanted.expected.size_bytes)
        if pause_seconds > 0:
            await asyncio.sleep(pause_seconds)
            check(wanted.cancelled)
        response = await self._client.send(request)
        body = response.blocks[0] if len(response.blocks) == 1 else response.body
        size_bytes = len(body)
        _check_length(response, size_bytes, wanted.expected)
        check(wanted.cancelled)
        wanted.moved(size_bytes)
        try:
            descriptor = create_file(wanted.target)
            try:
                write_all(descriptor, body)
            except BaseException:
                os.unlink(wanted.target)
                raise
            finally:
                os.close(descriptor)
        except BaseException:
            wanted.moved(-size_bytes)
            raise
        told = told_of_whole(response)
        running = (MD5 if told is None else told.algorithm).begin()
        running.update(body)
        return _delivered(response, entry_of(response, wanted.expected, size_bytes), told, running.digest())

    async def _as_it_comes(self, request: Request, wanted: Wanted) -> Delivered:
        descriptor = create_file(wanted.target)
        try:
            with ArrivingBody(descriptor, 0, wanted.moved, wanted.cancelled, MD5) as arriving:
                response = await self._client.send(request._replace(sink=paced(arriving, wanted.rate)))
                digest = arriving.flushed()
                _check_length(response, arriving.size_bytes, wanted.expected)
        except BaseException:
            os.unlink(wanted.target)
            raise
        finally:
            os.close(descriptor)
        entry = entry_of(response, wanted.expected, arriving.size_bytes)
        return _delivered(response, entry, arriving.told, digest)

    async def _in_ranges(self, wanted: Wanted) -> Delivered:
        """Downloads an object in ranges.

        Raises:
            NoRangesError: the server does not support ranges.
            ObjectChangedError: the object is no longer the expected one.
        """
        # Running downloads come first, because they hold files open.
        await self._client.room()
        told = await self._told(wanted.key, wanted.expected)
        return await RangedDownload(self._client, wanted, told, proves=self._proves).run()

    async def _told(self, key: str, expected: Entry) -> Told | None:
        """The checksum of exactly this object, if the store has one."""
        if not self._tells_checksums:
            return None
        arguments = Request("HEAD", key, headers=self._headers)
        response: Response = await repeated(self._client.patience, self._client.send, arguments)
        told = told_by(response)
        if told is None:
            # An object without a checksum says nothing about the others.
            self._tells_checksums = self._client.address.is_of_aws
        return told if response.etag == expected.etag else None


def _delivered(response: Response, entry: Entry, told: Told | None, content: bytes) -> Delivered:
    """The result for an object in one piece. ``content`` is its checksum of the kind of ``told``, or else its MD5."""
    if told is not None:
        return Delivered(entry, told=told, content=content)
    digest = content.hex()
    return Delivered(entry, (digest,), entry.etag != digest and response.is_weak, told_by(response))


def _check_length(response: Response, size_bytes: int, expected: Entry) -> None:
    if size_bytes < expected.size_bytes and response.etag and response.etag == expected.etag:
        raise _ShortError(size_bytes)


class LongerError(ObjectChangedError):
    """The object is longer than it was listed: it was replaced, or unzipped on its way."""


class _ShortError(Exception):
    """Fewer bytes arrived than the object has."""
