"""The bodies of objects, on their way there: small ones in one request, large ones in parts."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from pos3.errors import IntegrityError, StoreError
from pos3.etags import contradicts, is_weak, joined_etag, part_size, token
from pos3.local import open_file, read_at
from pos3.store.base import Counted, OnBytes
from pos3.store.beside import Aside
from pos3.store.retry import UnreachableError
from pos3.store.s3.errors import NoSuchUploadError, error_of_body
from pos3.store.s3.loop import Together
from pos3.store.s3.requests import Request, Requests, Response
from pos3.store.s3.xml import first_text, written
from pos3.store.steps import Steps

MIB = 1024 * 1024
MULTIPART_BYTES = 8 * MIB
UNTOLD = ""
# Bodies up to here are held in memory; longer ones are read from the file while they are sent.
_IN_MEMORY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The ETag that an upload was answered with, and the one that would prove that the store has what was sent.

    ``proof`` is "" if none was computed, since TLS authenticates what is sent.
    """

    etag: str
    proof: str
    is_weak: bool = False
    is_multipart: bool = False


@dataclass(frozen=True, slots=True, order=True)
class MultipartUpload:
    """One that the store has begun; with the id UNTOLD, it may have, not before its clock showed ``asked_at``."""

    key: str
    upload_id: str
    asked_at: float = 0.0


class Uploads:
    """Writes the objects of one bucket.

    Args:
        headers: sent with what creates an object, such as those for encryption.
        proves: whether bodies are signed and proven even if they are large; over TLS they need not be.
    """

    def __init__(self, requests: Requests, headers: tuple[str, ...], proves: bool):
        self._requests = requests
        self._headers = headers
        self._proves = proves
        self.under_way: set[MultipartUpload] = set()
        self.left_behind: set[MultipartUpload] = set()

    def upload(self, key: str, source: str, size_bytes: int, on_bytes: OnBytes) -> Steps[Uploaded]:
        """See :meth:`pos3.store.base.Store.upload`; the proofs are the caller's to compare."""
        with open_file(source) as file:
            while True:
                # A file that has become shorter is taken as far as it goes.
                size_bytes = min(size_bytes, os.fstat(file.fileno()).st_size)
                try:
                    if size_bytes <= MULTIPART_BYTES:
                        return (yield from self._whole(key, file.fileno(), size_bytes, on_bytes))
                    return (yield from self._in_parts(key, file.fileno(), size_bytes, on_bytes))
                except _ShorterError:
                    continue
                except _SpoiledError as error:
                    where = self._requests.where(Request("PUT", key))
                    raise IntegrityError(
                        f"{where}: the store received other bytes than were sent", url=where
                    ) from error

    def _whole(self, key: str, descriptor: int, size_bytes: int, on_bytes: OnBytes) -> Steps[Uploaded]:
        if size_bytes <= _IN_MEMORY_BYTES:
            body = read_at(descriptor, size_bytes, 0)
            digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
            # Before the bytes go out, since a rate limit acts by holding this call back.
            on_bytes(len(body))
            try:
                response: Response = yield Request(
                    "PUT", key, headers=self._signed_as(body), body=body, held_bytes=size_bytes
                )
            except BaseException:
                on_bytes(-len(body))
                raise
            etag = response.etag
            return Uploaded(etag, digest, etag != digest and response.is_weak)
        part = yield from self._send(key, "", self._headers, descriptor, 0, size_bytes, on_bytes)
        return Uploaded(part.etag, part.digest.hex(), part.is_weak)

    def _signed_as(self, body: bytes) -> tuple[str, ...]:
        if self._proves:
            # libcurl hashes what it has in memory.
            return self._headers
        return (*self._headers, "x-amz-content-sha256: UNSIGNED-PAYLOAD")

    def _send(
        self, key: str, query: str, headers: tuple[str, ...], descriptor: int, start: int, end: int, on_bytes: OnBytes
    ) -> Steps[_Part]:
        reader = _Reader(descriptor, start, end, on_bytes)
        digest = b""
        if self._proves:
            digest, content = yield Aside(functools.partial(_hashed, descriptor, start, end))
            payload = f"x-amz-content-sha256: {content.hex()}"
        else:
            payload = "x-amz-content-sha256: UNSIGNED-PAYLOAD"
        try:
            response: Response = yield Request(
                "PUT", key, query, (*headers, payload), source=reader.read, source_bytes=end - start
            )
        except BaseException:
            on_bytes(-reader.read_bytes)
            raise
        # Under KMS an ETag is no MD5.
        may_prove = not (response.is_weak or response.header("x-amz-server-side-encryption").startswith("aws:"))
        if digest and may_prove and contradicts(response.etag, digest.hex()):
            on_bytes(-reader.read_bytes)
            raise _SpoiledError
        return _Part(response.etag, response.header("etag") or '""', digest)

    def _in_parts(self, key: str, descriptor: int, size_bytes: int, on_bytes: OnBytes) -> Steps[Uploaded]:
        untold = MultipartUpload(key, UNTOLD, self._requests.clock.earliest(time.monotonic()))
        self.under_way.add(untold)
        try:
            answer: Response = yield Request("POST", key, "uploads=", self._headers)
        except Exception as error:
            self.under_way.discard(untold)
            if isinstance(error, UnreachableError):
                self.left_behind.add(untold)
            raise
        self.under_way.discard(untold)
        upload_id = first_text(answer.body, "UploadId")
        if not upload_id:
            raise StoreError(f"{self._requests.where(Request('PUT', key))}: the store began no multipart upload")
        begun = MultipartUpload(key, upload_id)
        self.under_way.add(begun)
        quoted_id = quote(upload_id, safe="")
        counted = Counted(on_bytes)
        try:
            step = part_size(size_bytes)
            parts: list[_Part] = yield Together(
                [
                    functools.partial(
                        self._send,
                        key,
                        f"partNumber={number}&uploadId={quoted_id}",
                        (),
                        descriptor,
                        start,
                        min(start + step, size_bytes),
                        counted,
                    )
                    for number, start in enumerate(range(0, size_bytes, step), start=1)
                ]
            )
            etag = yield from self._complete(key, quoted_id, parts)
        except GeneratorExit:
            # Stopped: no request can be sent from here, so abort_unfinished() does it.
            counted.take_back()
            raise
        except BaseException:
            counted.take_back()
            # Until its abort has succeeded.
            self.left_behind.add(begun)
            self.under_way.discard(begun)
            with suppress(StoreError):
                yield from aborted(key, upload_id)
                self.left_behind.discard(begun)
            raise
        self.under_way.discard(begun)
        proof = joined_etag(part.digest for part in parts) if self._proves else ""
        return Uploaded(etag, proof, is_multipart=True)

    def _complete(self, key: str, quoted_id: str, parts: list[_Part]) -> Steps[str]:
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{written(part.shown_etag)}</ETag></Part>"
            for number, part in enumerate(parts, start=1)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        answer: Response = yield Request("POST", key, f"uploadId={quoted_id}", body=body)
        if b"<Error>" in answer.body:
            # S3 answers 200 at once, and what went wrong afterwards stands in the body.
            raise error_of_body(200, answer.body, self._requests.where(Request("PUT", key)))
        return token(first_text(answer.body, "ETag"))


def aborted(key: str, upload_id: str) -> Steps[None]:
    """Aborts a multipart upload; one that is gone already counts as aborted."""
    with suppress(NoSuchUploadError):
        yield Request("DELETE", key, f"uploadId={quote(upload_id, safe='')}")


@dataclass(frozen=True, slots=True)
class _Part:
    """What the store answered to a part, and the MD5 of what was sent, if it was computed.

    ``shown_etag`` is as the store shows it, since that is how it wants to be told of the part.
    """

    etag: str
    shown_etag: str
    digest: bytes

    @property
    def is_weak(self) -> bool:
        return is_weak(self.shown_etag)


def _hashed(descriptor: int, start: int, end: int) -> tuple[bytes, bytes]:
    """MD5 and SHA-256 of a piece of a file."""
    md5, content = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    for offset in range(start, end, MIB):
        block = read_at(descriptor, min(MIB, end - offset), offset)
        content.update(block)
        md5.update(block)
    return md5.digest(), content.digest()


class _ShorterError(Exception):
    """The file has become shorter since its upload began."""


class _SpoiledError(Exception):
    """The store has other bytes than were sent. Not every store lets a part be sent again, so all of it is."""


class _Reader:
    """Reads a piece of a file for libcurl, and counts it."""

    def __init__(self, descriptor: int, start: int, end: int, on_bytes: OnBytes):
        self._descriptor = descriptor
        self._start = start
        self._end = end
        self._on_bytes = on_bytes
        self.read_bytes = 0

    def read(self, size_bytes: int) -> bytes:
        offset = self._start + self.read_bytes
        wanted = min(size_bytes, self._end - offset)
        block = os.pread(self._descriptor, wanted, offset) if wanted else b""
        if wanted and not block:
            raise _ShorterError
        self._on_bytes(len(block))
        self.read_bytes += len(block)
        return block
