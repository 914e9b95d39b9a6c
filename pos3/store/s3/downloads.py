"""The bodies of objects, on their way here: small ones in one piece, large ones in ranges of one version."""

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
# Objects from here on come in ranges. Shorter ones gain nothing from it.
LARGE_BYTES = 16 * MIB
# Shorter ones are fetched anew within a second or so. For longer ones, a file of notes costs nothing beside the body.
RESUMABLE_FROM_BYTES = 64 * MIB
# Bodies up to here are held in memory until they are whole; longer ones are written as they come.
_IN_MEMORY_BYTES = 64 * 1024
# Longer bodies are worth another thread.
_SPREAD_BYTES = 512 * 1024


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

    async def download(self, wanted: Wanted) -> Delivered:
        """See :meth:`pos3.store.base.Store.download`; the digests are the caller's to compare."""
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
            # It may have been unzipped on its way. Then it comes as it is stored to whoever takes that.
            request = request._replace(takes_zipped=True)
        where = self._client.address.place(wanted.key)
        try:
            return await self._in_one_piece(request, wanted)
        except TooLongError as error:
            told = f"the object is longer than the {expected.size_bytes} bytes that it was listed with"
            raise LongerError(f"{where}: {told}", url=where) from error
        except _ShortError as error:
            # A message may be whole and still carry less than the object.
            raise IntegrityError(f"{where}: {error} of {expected.size_bytes} bytes arrived", url=where) from error

    async def _in_one_piece(self, request: Request, wanted: Wanted) -> Delivered:
        """
        Raises:
            TooLongError, _ShortError: more or fewer bytes arrived than the expected object has.
        """
        size_bytes = wanted.expected.size_bytes
        if size_bytes <= _IN_MEMORY_BYTES:
            return await self._in_memory(request, wanted)
        if size_bytes <= _SPREAD_BYTES:
            return await self._as_it_comes(request, wanted)
        return await self._client.spread(self._as_it_comes, request, wanted)

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
        """
        Raises:
            NoRangesError: the server does not do ranges.
            ObjectChangedError: the object is no longer the expected one.
        """
        # What has begun comes first: it holds a file open.
        await self._client.room()
        told = await self._told(wanted.key, wanted.expected)
        return await RangedDownload(self._client, wanted, told, proves=self._proves).run()

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


def _delivered(response: Response, entry: Entry, told: Told | None, content: bytes) -> Delivered:
    """Of an object in one piece: ``content`` is the checksum of what was ``told``, or else the MD5."""
    if told is not None:
        return Delivered(entry, told=told, content=content)
    digest = content.hex()
    return Delivered(entry, (digest,), entry.etag != digest and response.is_weak, told_by(response))


def _check_length(response: Response, size_bytes: int, expected: Entry) -> None:
    if size_bytes < expected.size_bytes and response.etag and response.etag == expected.etag:
        raise _ShortError(size_bytes)


class LongerError(ObjectChangedError):
    """The object is longer than it was listed with: it was replaced, or unzipped on its way."""


class _ShortError(Exception):
    """Fewer bytes arrived than the object has."""
