"""Aborts multipart uploads that were stopped. Otherwise the store keeps their parts, and charges for them."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from pos3.local import call_within
from pos3.store.retry import is_shared, is_transient, repeated
from pos3.store.s3.completion import MultipartUpload
from pos3.store.s3.errors import NoSuchUploadError, StrangeAnswerError, read_answer
from pos3.store.s3.http import Client
from pos3.store.s3.listing import timestamp_ns
from pos3.store.s3.requests import Request
from pos3.store.s3.uploads import UNTOLD, aborted
from pos3.store.s3.xml import next_key_marker, text_of, unquoted
from pos3.store.tasks import together

logger = logging.getLogger("pos3.store")

_ABORT_SECONDS = 3.0
# Some servers round the start time of an upload down to seconds.
_ROUNDING_SECONDS = 1
_MOST_PAGES = 1000


def abort(uploads: Collection[MultipartUpload], client: Client, in_flight: int | None) -> set[MultipartUpload]:
    """Aborts uploads, and returns after three seconds at most.

    The process may be about to end, so this does not wait for a store that does not answer. Refusals are logged.

    Returns:
        the uploads to try again.
    """
    left = set(uploads)
    call_within(_ABORT_SECONDS, lambda: client.run(lambda: _abort_all(left, client), in_flight), "pos3-abort")
    return left.copy()


async def _abort_all(left: set[MultipartUpload], client: Client) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_ABORT_SECONDS):
            await together([_try(upload, left, client) for upload in sorted(left)])


async def _try(upload: MultipartUpload, left: set[MultipartUpload], client: Client) -> None:
    try:
        await repeated(client.patience, _abort_one, upload, client)
    except Exception as error:  # noqa: BLE001 - told, or tried again
        if isinstance(error, StrangeAnswerError) or not (is_transient(error) or is_shared(error)):
            left.discard(upload)
            # An upload with an unknown id has no parts.
            if upload.upload_id != UNTOLD:
                told = (
                    "the parts of an unfinished upload stay there, and are paid for, until the bucket's owner aborts it"
                )
                logger.warning("%s; %s", error, told)
    else:
        left.discard(upload)


async def _abort_one(upload: MultipartUpload, client: Client) -> None:
    begun = await _begun(upload, client) if upload.upload_id == UNTOLD else [upload.upload_id]
    for upload_id in begun:
        await aborted(client, replace(upload, upload_id=upload_id))


async def _begun(upload: MultipartUpload, client: Client) -> list[str]:
    """The possible ids of an upload with an unknown id: those of its key that are not older than the request.

    It is None if the server's time is not known. No part was sent yet, so nothing is lost.
    """
    if not math.isfinite(upload.asked_at):
        return []
    where = client.address.place(upload.key)
    since_ns = (upload.asked_at - _ROUNDING_SECONDS) * 1_000_000_000
    begun: list[str] = []
    marker = ("", "")
    has_directories = client.address.has_directories
    prefix = upload.key[: upload.key.rfind("/") + 1] if has_directories else upload.key
    for _ in range(_MOST_PAGES):
        query = {"encoding-type": "url", "prefix": prefix, "uploads": ""}
        if marker[0]:
            query["key-marker"] = marker[0]
        if marker[1]:
            query["upload-id-marker"] = marker[1]
        try:
            encoded = urlencode(sorted(query.items()), quote_via=quote, safe="")
            answer = await client.send(Request("GET", "", encoded, where=where))
        except NoSuchUploadError:
            # Some servers send this if there has never been an upload.
            break
        root = read_answer(answer.body, "ListMultipartUploadsResult", where)
        is_quoted = text_of(root, "EncodingType") == "url"
        listed = [(unquoted(text_of(found, "Key"), is_quoted), found) for found in root.iterfind("{*}Upload")]
        begun += [
            upload_id
            for key, found in listed
            # The listing of a prefix has longer keys as well.
            if key == upload.key and _began_ns(found) >= since_ns
            if (upload_id := text_of(found, "UploadId"))
        ]
        key_marker = next_key_marker(root, listed[-1][0] if listed else "", is_quoted)
        last, marker = marker, (key_marker, text_of(root, "NextUploadIdMarker"))
        # Longer keys sort behind it, but in directories, whose markers are no keys.
        is_past = marker[0] > upload.key and not has_directories
        if text_of(root, "IsTruncated").lower() != "true" or marker == last or is_past:
            break
    return begun


def _began_ns(upload: ElementTree.Element) -> int:
    try:
        return timestamp_ns(text_of(upload, "Initiated"))
    except ValueError:
        return 0
