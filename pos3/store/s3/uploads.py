"""Uploads objects: small ones in one request, large ones in parts."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote

from pos3.errors import IntegrityError, StoreError, TransferCancelledError
from pos3.etags import contradicts, joined_etag, part_size
from pos3.local import open_file, read_at
from pos3.store.base import CancelToken, Counted, Moved, Rate
from pos3.store.retry import UnreachableError, repeated
from pos3.store.s3.checksums import Algorithm, Running, Told, algorithm_of_uploads, crc32, encoded
from pos3.store.s3.completion import MultipartUpload, Part, begun_with, checksum_of_whole, completed
from pos3.store.s3.creation_headers import combined, content_type_of
from pos3.store.s3.errors import ChecksumWantedError, NoSuchUploadError
from pos3.store.s3.http import Client
from pos3.store.s3.requests import Request
from pos3.store.s3.xml import first_text
from pos3.store.tasks import together

MIB = 1024 * 1024
MULTIPART_BYTES = 8 * MIB
UNTOLD = ""
# Smaller bodies are held in memory. Larger ones are read from the file while they are sent.
_IN_MEMORY_BYTES = 128 * 1024
# With a rate limit, bodies are sent in pieces of this size, so the pauses stay shorter than the server's timeout.
_PACED_BYTES = 8 * 1024
# Shorter pauses are added up, because each pause has a cost.
_SHORTEST_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Pace:
    """The callbacks of an upload: see :meth:`pos3.store.base.Store.upload`."""

    moved: Moved
    cancelled: CancelToken
    rate: Rate

    def check(self) -> None:
        """Returns unless the upload is cancelled.

        Raises:
            TransferCancelledError: it is cancelled.
        """
        if self.cancelled.is_set():
            raise TransferCancelledError("the upload was stopped")


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The ETag from the answer to an upload, and the ETag that proves that the store has the content.

    ``proof`` is "" if it was not computed, because TLS protects the content. ``checksum`` is the one of the whole
    object, if it was sent with one.
    """

    etag: str
    proof: str
    size_bytes: int
    is_weak: bool = False
    is_multipart: bool = False
    checksum: Told | None = None


class Uploads:
    """Uploads the objects of one bucket.

    Args:
        headers: headers of requests that create objects, such as those for encryption.
        proves: whether large bodies are signed and verified as well. Over TLS, this is not needed.
        sends_checksums: whether every body is sent with a checksum, which the store checks and keeps. A store that
            requires checksums gets one in any case.
    """

    def __init__(self, client: Client, headers: tuple[str, ...], proves: bool, sends_checksums: bool):
        self._client = client
        self._headers = headers
        self._proves = proves
        self._algorithm = self._chosen_algorithm() if sends_checksums else None
        self.under_way: set[MultipartUpload] = set()
        self.left_behind: set[MultipartUpload] = set()

    def _chosen_algorithm(self) -> Algorithm:
        # Of directory buckets, nothing says that they know another one, or keep one of the whole of an object in parts.
        return replace(crc32(), join=None) if self._client.address.has_directories else algorithm_of_uploads()

    async def upload(
        self, key: str, source: str, size_bytes: int, pace: Pace, chosen: tuple[str, ...] = ()
    ) -> Uploaded:
        """See :meth:`pos3.store.base.Store.upload`. The caller compares the proofs.

        Args:
            chosen: headers of this object.
        """
        headers = combined(self._headers, chosen, content_type_of(key))
        if size_bytes > MULTIPART_BYTES:
            # Running uploads come first, because they hold files open.
            await self._client.room()
        with open_file(source) as file:
            while True:
                # If the file has become shorter, its whole content is sent.
                size_bytes = min(size_bytes, os.fstat(file.fileno()).st_size)
                try:
                    if size_bytes <= _IN_MEMORY_BYTES:
                        return await self._in_memory(key, file.fileno(), size_bytes, pace, headers)
                    if size_bytes <= MULTIPART_BYTES:
                        return await self._whole(key, file.fileno(), size_bytes, pace, headers)
                    return await self._in_parts(key, file.fileno(), size_bytes, pace, headers)
                except _ShorterError:
                    continue
                except ChecksumWantedError:
                    if self._algorithm is not None:
                        raise
                    self._algorithm = self._chosen_algorithm()
                except _SpoiledError as error:
                    where = self._client.address.place(key)
                    raise IntegrityError(
                        f"{where}: the store received other bytes than were sent", url=where
                    ) from error

    async def _in_memory(
        self, key: str, descriptor: int, size_bytes: int, pace: Pace, headers: tuple[str, ...]
    ) -> Uploaded:
        body = read_at(descriptor, size_bytes, 0)
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        pause_seconds = pace.rate.wait_seconds(len(body))
        if pause_seconds > 0:
            await asyncio.sleep(pause_seconds)
        pace.check()
        pace.moved(len(body))
        # libcurl signs the hash of a body in memory.
        if not self._proves:
            # Without a signed body, no hash is computed.
            headers = (*headers, "x-amz-content-sha256: UNSIGNED-PAYLOAD")
        checksum = b""
        if self._algorithm is not None:
            running = self._algorithm.begin()
            running.update(body)
            checksum = running.digest()
            headers = (*headers, *self._algorithm.headers_of_body(checksum))
        try:
            response = await self._client.send(Request("PUT", key, headers=headers, body=body))
        except BaseException:
            pace.moved(-len(body))
            raise
        etag = response.etag
        is_weak = etag != digest and response.etag_proves_nothing
        return Uploaded(etag, digest, len(body), is_weak, checksum=_told(self._algorithm, checksum))

    async def _whole(
        self, key: str, descriptor: int, size_bytes: int, pace: Pace, headers: tuple[str, ...]
    ) -> Uploaded:
        part = await self._client.spread(self._send, key, "", headers, descriptor, 0, size_bytes, pace)
        checksum = _told(self._algorithm, part.checksum)
        return Uploaded(part.etag, part.digest.hex(), size_bytes, part.is_weak, checksum=checksum)

    async def _send(
        self, key: str, query: str, headers: tuple[str, ...], descriptor: int, start: int, end: int, pace: Pace
    ) -> Part:
        digest = checksum = b""
        payload, algorithm = "UNSIGNED-PAYLOAD", self._algorithm
        md5, content = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        running = algorithm.begin() if algorithm is not None else None
        seeing: list[Running] = [*((md5, content) if self._proves else ()), *((running,) if running else ())]
        if seeing:
            async with self._client.reading():
                await _read_for(seeing, descriptor, start, end, pace)
        if self._proves:
            digest, payload = md5.digest(), content.hexdigest()
        headers = (*headers, f"x-amz-content-sha256: {payload}")
        if algorithm is not None and running is not None:
            checksum = running.digest()
            headers = (*headers, *algorithm.headers_of_body(checksum))
        with _Leaving(descriptor, start, end, pace) as leaving:
            response = await self._client.send_within(Request("PUT", key, query, headers, source=leaving))
            is_weak = response.etag_proves_nothing or self._client.address.has_directories
            if digest and not is_weak and contradicts(response.etag, digest.hex()):
                raise _SpoiledError
        return Part(response.etag, response.header("etag") or '""', is_weak, digest, checksum, end - start)

    async def _in_parts(
        self, key: str, descriptor: int, size_bytes: int, pace: Pace, headers: tuple[str, ...]
    ) -> Uploaded:
        # All parts must have the same kind of checksum.
        algorithm = self._algorithm
        begun = await self._begun(key, (*headers, *begun_with(algorithm)))
        quoted_id = quote(begun.upload_id, safe="")
        counted = Counted(pace.moved)
        try:
            step = part_size(size_bytes)
            parts = await together(
                [
                    self._part(
                        key,
                        f"partNumber={number}&uploadId={quoted_id}",
                        descriptor,
                        start,
                        min(start + step, size_bytes),
                        pace,
                        counted,
                    )
                    for number, start in enumerate(range(0, size_bytes, step), start=1)
                ]
            )
            etag = await completed(self._client, begun, parts, algorithm)
        except asyncio.CancelledError:
            # After a stop, there is no time for another request here, so abort_unfinished() sends it.
            counted.take_back()
            raise
        except BaseException:
            counted.take_back()
            # It stays registered until its abort has succeeded.
            self.left_behind.add(begun)
            self.under_way.discard(begun)
            with suppress(StoreError):
                await aborted(self._client, begun)
                self.left_behind.discard(begun)
            raise
        self.under_way.discard(begun)
        proof = joined_etag(part.digest for part in parts) if self._proves else ""
        whole = _told(algorithm, checksum_of_whole(parts, algorithm))
        return Uploaded(etag, proof, size_bytes, is_multipart=True, checksum=whole)

    async def _begun(self, key: str, headers: tuple[str, ...]) -> MultipartUpload:
        """Begins a multipart upload, and registers it as running."""
        untold = MultipartUpload(key, UNTOLD, self._client.server.clock.earliest(time.monotonic()))
        self.under_way.add(untold)
        try:
            answer = await self._client.send(Request("POST", key, "uploads=", headers, is_sent_once=True))
        except Exception as error:
            self.under_way.discard(untold)
            if isinstance(error, UnreachableError):
                self.left_behind.add(untold)
            raise
        self.under_way.discard(untold)
        upload_id = first_text(answer.body, "UploadId")
        if not upload_id:
            raise StoreError(f"{self._client.address.place(key)}: the store began no multipart upload")
        begun = replace(untold, upload_id=upload_id)
        self.under_way.add(begun)
        return begun

    async def _part(
        self, key: str, query: str, descriptor: int, start: int, end: int, pace: Pace, counted: Counted
    ) -> Part:
        arguments = (self._send, key, query, (), descriptor, start, end, pace)
        part: Part = await repeated(self._client.patience, self._client.spread, *arguments)
        # Only here, in one thread.
        counted.keep(end - start)
        return part


def _told(algorithm: Algorithm | None, digest: bytes) -> Told | None:
    return Told(algorithm, encoded(digest)) if algorithm is not None and digest else None


async def aborted(client: Client, upload: MultipartUpload) -> None:
    """Aborts a multipart upload; one that is gone already counts as aborted."""
    with suppress(NoSuchUploadError):
        await client.send(Request("DELETE", upload.key, f"uploadId={quote(upload.upload_id, safe='')}"))


async def _read_for(seeing: list[Running], descriptor: int, start: int, end: int, pace: Pace) -> None:
    """Adds a piece of a file to running checksums. Other coroutines run between the blocks."""
    for offset in range(start, end, MIB):
        pace.check()
        block = read_at(descriptor, min(MIB, end - offset), offset)
        for running in seeing:
            running.update(block)
        await asyncio.sleep(0)


class _ShorterError(Exception):
    """The file has become shorter since its upload began."""


class _SpoiledError(Exception):
    """The store received other bytes than were sent.

    The whole object is sent again, because some stores refuse a part twice.
    """


class _Leaving:
    """Reads a piece of a file for libcurl, and counts it as progress.

    After an error, the progress is subtracted again.
    """

    def __init__(self, descriptor: int, start: int, end: int, pace: Pace):
        self._descriptor = descriptor
        self._offset = start
        self._end = end
        self._pace = pace
        self._is_paced = True
        self._allowed_bytes = 0
        self._read_bytes = 0
        self.size_bytes = end - start

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is not None and self._read_bytes:
            self._pace.moved(-self._read_bytes)

    def pause_seconds(self, size_bytes: int) -> float:
        """How long libcurl must wait before it reads; 0 for no wait."""
        if self._allowed_bytes:
            return 0.0
        wanted = min(size_bytes, self._end - self._offset, _PACED_BYTES if self._is_paced else size_bytes)
        pause_seconds = self._pace.rate.wait_seconds(wanted)
        self._is_paced = pause_seconds > 0
        self._allowed_bytes = wanted
        return pause_seconds if pause_seconds >= _SHORTEST_PAUSE_SECONDS else 0.0

    def read(self, size_bytes: int) -> bytes:
        """The next bytes, at most ``size_bytes``."""
        self._pace.check()
        wanted = min(size_bytes, self._end - self._offset, self._allowed_bytes)
        self._allowed_bytes = 0
        block = os.pread(self._descriptor, wanted, self._offset) if wanted else b""
        if wanted and not block:
            raise _ShorterError
        self._pace.moved(len(block))
        self._offset += len(block)
        self._read_bytes += len(block)
        return block
