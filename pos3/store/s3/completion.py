"""The end of a multipart upload: its parts become the object. That may take minutes, and the answer may get lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from pos3.errors import StoreError
from pos3.etags import is_plain, joined_etag, token
from pos3.store.retry import BusyError, UnreachableError
from pos3.store.s3.checksums import ASK_FOR_CHECKSUM, Algorithm, encoded, told_of_whole
from pos3.store.s3.errors import PARTS_CODES, error_of_body
from pos3.store.s3.http import Client
from pos3.store.s3.requests import Request
from pos3.store.s3.xml import first_text, written

# S3 puts the parts together before it answers, and keeps the connection open meanwhile.
SILENCE_SECONDS = 15 * 60
# Stores date an object by when its upload was begun, or completed, in whole seconds.
_ROUNDING_SECONDS = 1


@dataclass(frozen=True, slots=True, order=True)
class MultipartUpload:
    """One that the store has begun, not before its clock showed ``asked_at``; with the id UNTOLD, it may have."""

    key: str
    upload_id: str
    asked_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """What the store answered to a part, and the MD5 and the checksum of what was sent, if they were computed.

    ``shown_etag`` is as the store shows it, since that is how it wants to be told of the part. With ``is_weak``, it
    proves nothing.
    """

    etag: str
    shown_etag: str
    is_weak: bool
    digest: bytes
    checksum: bytes
    size_bytes: int


def begun_with(algorithm: Algorithm | None) -> tuple[str, ...]:
    """The headers that begin an upload whose parts have checksums of this kind."""
    if algorithm is None:
        return ()
    kind = "FULL_OBJECT" if algorithm.join is not None else "COMPOSITE"
    return f"x-amz-checksum-algorithm: {algorithm.name}", f"x-amz-checksum-type: {kind}"


async def completed(client: Client, upload: MultipartUpload, parts: list[Part], algorithm: Algorithm | None) -> str:
    """Makes the parts an object, and returns its ETag as it was answered; "" if there was none.

    An answer that was lost is no failure: before the request is sent again, the object is looked for.

    Raises:
        BusyError, UnreachableError: the parts have to be sent anew.
        StoreError: the store refuses it, or has not done it within a quarter of an hour.
    """
    whole = checksum_of_whole(parts, algorithm)
    listed = "".join(_listed(number, part, algorithm) for number, part in enumerate(parts, start=1))
    request = Request(
        "POST",
        upload.key,
        f"uploadId={quote(upload.upload_id, safe='')}",
        (algorithm.header_of(whole), "x-amz-checksum-type: FULL_OBJECT") if algorithm is not None and whole else (),
        f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode(),
        silence_seconds=SILENCE_SECONDS,
        is_sent_once=True,
    )
    where = client.address.place(upload.key)
    patience, began = client.patience(), time.monotonic()
    while True:
        try:
            body = (await client.send(request)).body
            if b"<Error>" in body:
                # S3 answers 200 at once, and what went wrong afterwards stands in the body.
                raise error_of_body(200, body, where)
            if b"CompleteMultipartUploadResult" not in body:
                raise UnreachableError(f"{where}: the answer to the end of the upload is not whole", url=where)
            return token(first_text(body, "ETag"))
        except (BusyError, UnreachableError) as error:
            if (etag := await _etag_if_there(client, upload, parts, algorithm, whole)) is not None:
                return etag
            if isinstance(error, BusyError) and error.code in PARTS_CODES:
                raise
            waited_seconds = time.monotonic() - began
            if waited_seconds >= SILENCE_SECONDS:
                told = f"the store has not put the parts together within {waited_seconds:.0f} s"
                raise StoreError(f"{where}: {told} ({error})", url=where) from error
            pause_seconds = patience.pause_seconds(error)
            if pause_seconds is None:
                raise
        await asyncio.sleep(pause_seconds)


async def _etag_if_there(
    client: Client, upload: MultipartUpload, parts: list[Part], algorithm: Algorithm | None, whole: bytes
) -> str | None:
    """The ETag of the object, if it is certainly the one that the parts make; None otherwise."""
    try:
        headers = (ASK_FOR_CHECKSUM,) if whole else ()
        response = await client.send(Request("HEAD", upload.key, headers=headers))
        found = response.entry("", client.address.place(upload.key))
    except StoreError:
        # It may also be forbidden to look.
        return None
    is_older = 0 < found.modified_ns < (upload.asked_at - _ROUNDING_SECONDS) * 1_000_000_000
    if is_older or found.size_bytes != sum(part.size_bytes for part in parts):
        return None
    told = told_of_whole(response)
    if told is not None and told.algorithm is algorithm:
        is_ours = told.is_of(whole)
    else:
        is_ours = all(is_plain(part.etag) for part in parts) and found.etag == joined_etag(
            bytes.fromhex(part.etag) for part in parts
        )
    return found.etag if is_ours else None


def checksum_of_whole(parts: Sequence[Part], algorithm: Algorithm | None) -> bytes:
    """The checksum of the object; b"" where only those of its parts are known."""
    if algorithm is None or algorithm.join is None:
        return b""
    return algorithm.joined((part.checksum, part.size_bytes) for part in parts)


def _listed(number: int, part: Part, algorithm: Algorithm | None) -> str:
    checksum = ""
    if algorithm is not None:
        checksum = f"<Checksum{algorithm.name}>{encoded(part.checksum)}</Checksum{algorithm.name}>"
    return f"<Part><PartNumber>{number}</PartNumber><ETag>{written(part.shown_etag)}</ETag>{checksum}</Part>"
