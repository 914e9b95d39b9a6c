"""Uploads and downloads the objects of one bucket, and verifies them as far as the store allows it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from pos3.entries import Entry
from pos3.errors import AccessDeniedError, IntegrityError, ObjectChangedError, StoreError
from pos3.etags import ContentMatch, contradicts, is_digest, is_plain, part_size
from pos3.local import blocks, open_file, read_at
from pos3.store.base import TellChecksum
from pos3.store.retry import UnreachableError, repeated
from pos3.store.s3.checksums import Algorithm, Told
from pos3.store.s3.completion import MultipartUpload
from pos3.store.s3.delivery import Delivered, Wanted
from pos3.store.s3.downloads import MIB, Downloads, LongerError
from pos3.store.s3.http import Client
from pos3.store.s3.requests import Request, Response
from pos3.store.s3.uploads import UNTOLD, Pace, Uploaded, Uploads

_UNZIPPED = (
    "perhaps the store, or a proxy before it, unzips what is stored with Content-Encoding: gzip; then store it without "
    "that, or reach the store in another way"
)
# The number of restarts without a pause, if the object is replaced during the download.
_CHANGES = 3


class Bodies:
    """Implements the downloads and uploads of :class:`pos3.store.base.Store`.

    Args:
        headers: headers of requests that create objects, such as those for encryption.
        proves: whether large bodies are verified as well. Over TLS, this is not needed.
        asks: whether the store is asked for the checksums of objects.
        sends: whether uploads are sent with checksums.
    """

    def __init__(self, client: Client, headers: tuple[str, ...], proves: bool, asks: bool, sends: bool):
        self._client = client
        self._proves = proves
        self._downloads = Downloads(client, proves, asks)
        self._uploads = Uploads(client, headers, proves, sends)
        # With encryption, ETags may be no MD5. Those of directory buckets are random.
        self._etags_are_md5 = not (headers or client.address.has_directories)

    def take_unfinished(self, *, stopped: bool) -> set[MultipartUpload]:
        """The multipart uploads to abort. The caller must abort them, or give them back.

        These are the uploads whose abort has failed. With ``stopped``, they are also the running ones, and those with
        an unknown id.
        """
        # Other threads go on with others.
        left_behind, under_way = self._uploads.left_behind.copy(), self._uploads.under_way.copy()
        # An upload with an unknown id looks the same as another attempt for its key.
        taken = left_behind | under_way if stopped else {upload for upload in left_behind if upload.upload_id != UNTOLD}
        self._uploads.left_behind -= taken
        self._uploads.under_way -= taken
        return taken

    def give_back_unfinished(self, uploads: set[MultipartUpload]) -> None:
        """Keeps uploads that could not be aborted, for the next call."""
        self._uploads.left_behind |= uploads

    def download(self, wanted: Wanted) -> Coroutine[Any, Any, Entry]:
        return repeated(self._client.patience, self._download, wanted)

    async def _download(self, wanted: Wanted) -> Entry:
        key = wanted.key
        for left in reversed(range(_CHANGES)):
            try:
                delivered = await self._downloads.download(wanted)
            except ObjectChangedError as error:
                expected = wanted.expected
                now = await self._listed_now(key, expected)
                if (
                    isinstance(error, LongerError)
                    and now is not None
                    and now.etag == expected.etag
                    and is_digest(now.etag)
                ):
                    raise StoreError(f"{error}, and it is still that object; {_UNZIPPED}", url=error.url) from error
                if now is None or not left:
                    raise
                if (now.etag, now.size_bytes) != (expected.etag, expected.size_bytes):
                    wanted = wanted._replace(expected=now)
                # It was not replaced, so the store compares such ETags in another way, or none of them is equal to it.
                elif not self._downloads.give_up_ranges():
                    raise
                continue
            has_told_checksum = delivered.has_told_checksum
            try:
                is_proven = has_told_checksum or wanted.expected.etag in delivered.digests
                if not (is_proven and delivered.entry is wanted.expected):
                    await self._verify(wanted, delivered)
            except BaseException:
                wanted.moved(-delivered.entry.size_bytes)
                # The ranges of an earlier download may be damaged, so the next attempt starts from the beginning.
                wanted.discard()
                raise
            if has_told_checksum:
                wanted.tell_checksum(str(delivered.told))
            return delivered.entry
        raise AssertionError("unreachable")

    def upload(
        self,
        key: str,
        source: str,
        size_bytes: int,
        pace: Pace,
        headers: tuple[str, ...],
        tell_checksum: TellChecksum,
    ) -> Coroutine[Any, Any, str]:
        arguments = (key, source, size_bytes, pace, headers, tell_checksum)
        return repeated(self._client.patience, self._upload, *arguments)

    async def _upload(
        self,
        key: str,
        source: str,
        size_bytes: int,
        pace: Pace,
        headers: tuple[str, ...],
        tell_checksum: TellChecksum,
    ) -> str:
        uploaded = await self._uploads.upload(key, source, size_bytes, pace, headers)
        try:
            etag = await self._proven_etag(key, uploaded)
        except BaseException:
            pace.moved(-uploaded.size_bytes)
            raise
        if uploaded.checksum is not None:
            tell_checksum(str(uploaded.checksum))
        return etag

    async def _proven_etag(self, key: str, uploaded: Uploaded) -> str:
        etag, is_weak = uploaded.etag, uploaded.is_weak
        if uploaded.is_multipart or not etag:
            # Some servers return another ETag for a multipart upload than their listings.
            try:
                head = await self._head(key)
            except AccessDeniedError:
                # The credentials may allow only writes. Each part was verified.
                return etag
            etag, is_weak = head.etag, head.is_weak
        if not is_weak and etag != uploaded.proof:
            await self._verify_uploaded(key, etag, uploaded.proof)
        return etag

    def _where(self, key: str) -> str:
        return self._client.address.place(key)

    async def _listed_now(self, key: str, before: Entry) -> Entry | None:
        """The object as it is now, for another attempt; None if this is not known."""
        try:
            now = (await self._head(key)).entry(before.path, self._where(key))
        except StoreError:
            return None
        # An answer without an ETag may be the page of a gateway, which must not be stored as the object.
        return now if now.etag or not before.etag else None

    async def _verify(self, wanted: Wanted, delivered: Delivered) -> None:
        """Compares what arrived with its checksum. Without one, it compares with the ETag, if that is an MD5.

        Over TLS, large bodies are not read a second time for this, because TLS protects them.
        """
        key, entry = wanted.key, delivered.entry
        if wanted.expected.etag and not entry.etag:
            told = "the answer has no ETag, so it is not the object; is a gateway or a portal in between?"
            raise UnreachableError(f"{self._where(key)}: {told}", url=self._where(key))
        if delivered.told is not None and delivered.told.parts:
            if await self._is_proven_by_parts(key, entry, delivered.told, wanted.target):
                return
        elif delivered.told is not None:
            if not delivered.has_told_checksum:
                told = f"{delivered.told.algorithm.name} {delivered.told.value}"
                raise IntegrityError(
                    f"{self._where(key)}: the body that arrived does not have the {told}", url=self._where(key)
                )
            return
        if self._etags_are_md5 and not delivered.is_weak and is_digest(entry.etag):
            await self._verify_by_etag(key, delivered, wanted.target)

    async def _verify_by_etag(self, key: str, delivered: Delivered, target: str) -> None:
        entry = delivered.entry
        if entry.etag in delivered.digests:
            return
        if is_plain(entry.etag) and any(is_plain(digest) for digest in delivered.digests):
            matches = False
        elif self._proves:
            matches = await self._client.spread(_is_proven, entry, target, part_size(entry.size_bytes))
        else:
            return
        if matches:
            return
        if not is_plain(entry.etag):
            await self._verify_parts(key, entry, target)
        elif not await self._is_encrypted(key):
            raise IntegrityError(
                f"{self._where(key)}: the body that arrived does not have the MD5 {entry.etag}", url=self._where(key)
            )

    async def _is_proven_by_parts(self, key: str, delivered: Entry, told: Told, target: str) -> bool:
        """Whether a checksum of the parts' checksums verifies the file.

        This is not possible if the parts have different sizes.

        Raises:
            IntegrityError: the file does not have the checksum.
        """
        part_bytes = await self._part_bytes(key, 1)
        size_bytes = delivered.size_bytes
        if not part_bytes or told.parts != -(-size_bytes // part_bytes):
            return False
        if told.is_of(await self._client.spread(_checksum_of_parts, target, told.algorithm, part_bytes)):
            return True
        if await self._part_bytes(key, told.parts) != size_bytes - (told.parts - 1) * part_bytes:
            return False
        shown = f"{told.algorithm.name} {told.value}-{told.parts}"
        raise IntegrityError(
            f"{self._where(key)}: the body that arrived does not have the {shown}", url=self._where(key)
        )

    async def _part_bytes(self, key: str, number: int) -> int:
        """The size of the parts of the object; 0 if the store does not say it."""
        part = await self._head(key, f"partNumber={number}")
        return part.entry("", self._where(key)).size_bytes if part.header("x-amz-mp-parts-count") else 0

    async def _verify_parts(self, key: str, delivered: Entry, target: str) -> None:
        first_part_bytes = await self._part_bytes(key, 1)
        known = 0 < first_part_bytes < delivered.size_bytes and first_part_bytes % MIB == 0
        if not known or await self._is_encrypted(key):
            return
        if not await self._client.spread(_is_proven, delivered, target, first_part_bytes):
            raise IntegrityError(
                f"{self._where(key)}: the body that arrived does not match its ETag {delivered.etag}",
                url=self._where(key),
            )

    async def _verify_uploaded(self, key: str, etag: str, proof: str) -> None:
        if not self._etags_are_md5 or not proof or not contradicts(etag, proof):
            return
        with suppress(AccessDeniedError):
            if await self._is_encrypted(key):
                return
        raise IntegrityError(f"{self._where(key)}: the store received other bytes than were sent", url=self._where(key))

    async def _is_encrypted(self, key: str) -> bool:
        """Whether the object's ETag is no MD5, because KMS or a key of the customer encrypts it."""
        is_encrypted = (await self._head(key)).is_encrypted
        if is_encrypted:
            self._etags_are_md5 = False
        return is_encrypted

    async def _head(self, key: str, query: str = "") -> Response:
        """The response to a HEAD request.

        Only this request is repeated, because the transfer before it may have been large.
        """
        return await repeated(self._client.patience, self._client.send, Request("HEAD", key, query))


async def _checksum_of_parts(target: str, algorithm: Algorithm, part_bytes: int) -> bytes:
    """The checksum of the checksums of a file's parts. Other coroutines run between the pieces."""
    whole = algorithm.begin()
    with open_file(target) as file:
        descriptor = file.fileno()
        size_bytes = os.fstat(descriptor).st_size
        for start in range(0, size_bytes, part_bytes):
            end = min(start + part_bytes, size_bytes)
            running = algorithm.begin()
            for offset in range(start, end, MIB):
                running.update(read_at(descriptor, min(MIB, end - offset), offset))
                await asyncio.sleep(0)
            whole.update(running.digest())
    return whole.digest()


async def _is_proven(delivered: Entry, target: str, part_bytes: int) -> bool:
    """Whether the file has the content that belongs to the ETag.

    The file is read in pieces. Between them, other coroutines run, and a transfer can be stopped.
    """
    match = ContentMatch(delivered.etag, delivered.size_bytes, [part_bytes])
    for block in blocks(target) if match.is_possible else ():
        match.take((block,))
        await asyncio.sleep(0)
    return match.is_proven()
