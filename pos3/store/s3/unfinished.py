"""Takes back multipart uploads that were stopped: a store would keep their parts, and charge for them."""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections.abc import Collection
from urllib.parse import quote, unquote_plus, urlencode
from xml.etree import ElementTree

from pos3.local import DeadlineEvent, call_within
from pos3.store.retry import is_shared, is_transient
from pos3.store.s3.errors import NoSuchUploadError, StrangeAnswerError, read_answer
from pos3.store.s3.listing import timestamp_ns
from pos3.store.s3.loop import Loop
from pos3.store.s3.requests import Request, Requests, Response
from pos3.store.s3.uploads import UNTOLD, MultipartUpload, aborted
from pos3.store.s3.xml import text_of
from pos3.store.steps import NEVER, Steps

logger = logging.getLogger("pos3.store")

_ABORT_SECONDS = 3.0
# Some servers cut the time of a beginning down to seconds.
_ROUNDING_SECONDS = 1
_MOST_PAGES = 1000


def abort(uploads: Collection[MultipartUpload], requests: Requests, in_flight: int) -> set[MultipartUpload]:
    """Aborts uploads; returns after three seconds at most.

    The process may be about to end, so a store that does not answer is not waited for. What it refuses is logged.

    Returns:
        those that are worth another try.
    """
    left = set(uploads)
    give_up_at = time.monotonic() + _ABORT_SECONDS
    call_within(
        _ABORT_SECONDS,
        functools.partial(_abort_all, left, requests, in_flight),
        "pos3-abort",
        instead=functools.partial(_abort_all, left, requests, in_flight, DeadlineEvent(lambda: give_up_at)),
    )
    return left.copy()


def _abort_all(
    left: set[MultipartUpload], requests: Requests, in_flight: int, stopped: threading.Event = NEVER
) -> None:
    jobs = ((upload, functools.partial(_abort_one, upload, requests)) for upload in sorted(left))
    for upload, _, error in Loop(requests, in_flight)(jobs, stopped):
        if error is None:
            left.discard(upload)
        elif isinstance(error, StrangeAnswerError) or not (is_transient(error) or is_shared(error)):
            left.discard(upload)
            # Of what nobody was told the id, nobody has sent parts.
            if upload.upload_id != UNTOLD:
                told = (
                    "the parts of an unfinished upload stay there, and are paid for, until the bucket's owner aborts it"
                )
                logger.warning("%s; %s", error, told)


def _abort_one(upload: MultipartUpload, requests: Requests) -> Steps[None]:
    begun = (yield from _begun(upload, requests)) if upload.upload_id == UNTOLD else [upload.upload_id]
    for upload_id in begun:
        yield from aborted(upload.key, upload_id)


def _begun(upload: MultipartUpload, requests: Requests) -> Steps[list[str]]:
    """The ids that it may have: those of its key that are not older, since others may upload to it as well.

    None if the server has not told its time: no part was sent yet, so nothing is lost.
    """
    if not math.isfinite(upload.asked_at):
        return []
    where = requests.where(Request("GET", upload.key))
    since_ns = (upload.asked_at - _ROUNDING_SECONDS) * 1_000_000_000
    begun: list[str] = []
    marker = ("", "")
    for _ in range(_MOST_PAGES):
        query = {"encoding-type": "url", "prefix": upload.key, "uploads": ""}
        if marker[0]:
            query |= {"key-marker": marker[0], "upload-id-marker": marker[1]}
        try:
            answer: Response = yield Request(
                "GET", "", urlencode(sorted(query.items()), quote_via=quote, safe=""), where=where
            )
        except NoSuchUploadError:
            # Some say so where no upload was ever begun.
            break
        root = read_answer(answer.body, "ListMultipartUploadsResult", where)
        read = unquote_plus if text_of(root, "EncodingType") == "url" else str
        begun += [
            upload_id
            for found in root.iterfind("{*}Upload")
            # A prefix has longer keys as well.
            if read(text_of(found, "Key")) == upload.key and _began_ns(found) >= since_ns
            if (upload_id := text_of(found, "UploadId"))
        ]
        last, marker = marker, (read(text_of(root, "NextKeyMarker")), text_of(root, "NextUploadIdMarker"))
        # Longer keys sort behind it.
        if text_of(root, "IsTruncated").lower() != "true" or marker == last or marker[0] > upload.key:
            break
    return begun


def _began_ns(upload: ElementTree.Element) -> int:
    try:
        return timestamp_ns(text_of(upload, "Initiated"))
    except ValueError:
        return 0
