"""Takes back multipart uploads that were stopped: a store would keep their parts, and charge for them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import quote, unquote_plus

from pos3.store.s3_errors import NoSuchUploadError
from pos3.store.s3_loop import Loop
from pos3.store.s3_requests import Request, Requests, Response
from pos3.store.s3_uploads import UNTOLD
from pos3.store.s3_xml import read_answer, text_of
from pos3.store.steps import Steps

_ABORT_SECONDS = 3.0


def abort(uploads: Collection[tuple[str, str]], requests: Requests, in_flight: int) -> None:
    """Aborts uploads, each a key and an id, or UNTOLD for all of that key; returns after three seconds at most.

    The process may be about to end, so a store that does not answer is not waited for.
    """
    thread = threading.Thread(target=_abort_all, args=(uploads, requests, in_flight), name="pos3-abort", daemon=True)
    thread.start()
    thread.join(_ABORT_SECONDS)


def _abort_all(uploads: Collection[tuple[str, str]], requests: Requests, in_flight: int) -> None:
    jobs = ((key, functools.partial(_abort_one, key, told, requests)) for key, told in uploads)
    for _ in Loop(requests, in_flight)(jobs, threading.Event()):
        # What fails stays there; nobody is left to be told.
        pass


def _abort_one(key: str, told: str, requests: Requests) -> Steps[None]:
    begun = (yield from _begun(key, requests)) if told == UNTOLD else [told]
    for upload_id in begun:
        with suppress(NoSuchUploadError):
            yield Request("DELETE", key, f"uploadId={quote(upload_id, safe='')}")


def _begun(key: str, requests: Requests) -> Steps[list[str]]:
    query = f"encoding-type=url&prefix={quote(key, safe='')}&uploads="
    where = requests.where(Request("GET", key))
    try:
        answer: Response = yield Request("GET", "", query, where=where)
    except NoSuchUploadError:
        # Some say so where no upload was ever begun.
        return []
    root = read_answer(answer.body, "ListMultipartUploadsResult", where)
    read = unquote_plus if text_of(root, "EncodingType") == "url" else str
    # Others may have keys that only begin like this one.
    found = (upload for upload in root.iterfind("{*}Upload") if read(text_of(upload, "Key")) == key)
    return [text_of(upload, "UploadId") for upload in found]
