"""The last step of a multipart upload: the store makes an object of the parts. This may take minutes."""

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

# S3 answers when the object is complete, and keeps the connection open meanwhile.
SILENCE_SECONDS = 15 * 60
# The date of an object is the beginning or the end of its upload, in whole seconds.
_ROUNDING_SECONDS = 1


@dataclass(frozen=True, slots=True, order=True)
class MultipartUpload:
    """A multipart upload that the store began at ``asked_at`` of its clock or later.

    With the id UNTOLD, its id is not known.
    """

    key: str
    upload_id: str
    asked_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """The answer to a part, and the MD5 and the checksum of its content, if they were computed.

    ``shown_etag`` is the ETag as the store has sent it, because the store needs this form. With ``is_weak``, it proves
    nothing.
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
    """Makes an object of the parts, and returns the ETag of the answer; "" if there was none.

    If the answer is lost, this first looks for the object, and repeats the request only if the object is not there.

    Raises:
        BusyError, UnreachableError: the parts must be sent again.
        StoreError: the store refuses it, or has not finished within a quarter of an hour.
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
                # S3 sends status 200 at once. A later error is in the body.
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
    """The ETag of the object, if it is certainly the one with these parts; otherwise None."""
    try:
        headers = (ASK_FOR_CHECKSUM,) if whole else ()
        response = await client.send(Request("HEAD", upload.key, headers=headers))
        found = response.entry("", client.address.place(upload.key))
    except StoreError:
        # The credentials may not allow this request.
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
    """The checksum of the whole object; b"" if only those of its parts are known."""
    if algorithm is None or algorithm.join is None:
        return b""
    return algorithm.joined((part.checksum, part.size_bytes) for part in parts)


def _listed(number: int, part: Part, algorithm: Algorithm | None) -> str:
    checksum = ""
    if algorithm is not None:
        checksum = f"<Checksum{algorithm.name}>{encoded(part.checksum)}</Checksum{algorithm.name}>"
    return f"<Part><PartNumber>{number}</PartNumber><ETag>{written(part.shown_etag)}</ETag>{checksum}</Part>"
