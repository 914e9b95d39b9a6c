"""The bodies of one bucket's objects, both ways, each of them proven as far as the store allows it."""

from __future__ import annotations

import functools
import itertools
import os

from pos3.entries import Entry
from pos3.errors import IntegrityError, ObjectChangedError, StoreError
from pos3.etags import ContentMatch, contradicts, is_digest, is_plain, part_size
from pos3.local import blocks
from pos3.store.base import Counted, OnBytes
from pos3.store.beside import Aside
from pos3.store.retry import UnreachableError
from pos3.store.s3.downloads import MIB, Delivered, Downloads
from pos3.store.s3.loop import Together
from pos3.store.s3.requests import Request, Requests, Response
from pos3.store.s3.uploads import UNTOLD, MultipartUpload, Uploads
from pos3.store.steps import Steps

# How often a download begins again because the object was replaced, before it pauses.
_CHANGES = 3
_PIECE_BLOCKS = 64


class Bodies:
    """Keeps what :class:`pos3.store.base.Store` says of downloads and uploads.

    Args:
        headers: sent with what creates an object, such as those for encryption.
        proves: whether bodies are proven even if they are large; over TLS they need not be.
    """

    def __init__(self, requests: Requests, headers: tuple[str, ...], proves: bool):
        self._requests = requests
        self._proves = proves
        self._downloads = Downloads(requests, proves)
        self._uploads = Uploads(requests, headers, proves)
        # Encryption may give objects other ETags.
        self._etags_are_md5 = not headers

    def take_unfinished(self, *, stopped: bool) -> set[MultipartUpload]:
        """The multipart uploads whose abort has failed, and with ``stopped`` those under way, and those UNTOLD.

        They are the caller's from now on, or until they are given back.
        """
        # Other threads go on with others.
        left_behind, under_way = self._uploads.left_behind.copy(), self._uploads.under_way.copy()
        # One that was not told cannot be told from a further attempt at the same key.
        taken = left_behind | under_way if stopped else {upload for upload in left_behind if upload.upload_id != UNTOLD}
        self._uploads.left_behind -= taken
        self._uploads.under_way -= taken
        return taken

    def give_back_unfinished(self, uploads: set[MultipartUpload]) -> None:
        """Keeps uploads that could not be aborted for the next try."""
        self._uploads.left_behind |= uploads

    def download(self, key: str, expected: Entry, target: str, on_bytes: OnBytes) -> Steps[Entry]:
        for left in reversed(range(_CHANGES)):
            counted = Counted(on_bytes)
            try:
                delivered = yield from self._downloads.download(key, expected, target, counted)
            except ObjectChangedError:
                now = yield from self._listed_now(key, expected)
                if now is None or not left:
                    raise
                if (now.etag, now.size_bytes) != (expected.etag, expected.size_bytes):
                    expected = now
                # It was not replaced, so the store compares such ETags in another way, or none of them is equal to it.
                elif not self._downloads.give_up_ranges():
                    raise
                continue
            try:
                yield from self._verify(key, expected, delivered, target)
            except BaseException:
                counted.take_back()
                os.unlink(target)
                raise
            return delivered.entry
        raise AssertionError("unreachable")

    def upload(self, key: str, source: str, size_bytes: int, on_bytes: OnBytes) -> Steps[str]:
        counted = Counted(on_bytes)
        uploaded = yield from self._uploads.upload(key, source, size_bytes, counted)
        etag, is_weak = uploaded.etag, uploaded.is_weak
        try:
            if uploaded.is_multipart or not etag:
                # Some servers answer a multipart upload with another ETag than they list afterwards.
                head = yield from _head(key)
                etag, is_weak = head.etag, head.is_weak
            if not is_weak:
                yield from self._verify_uploaded(key, etag, uploaded.proof)
        except BaseException:
            counted.take_back()
            raise
        return etag

    def _where(self, key: str) -> str:
        return self._requests.where(Request("GET", key))

    def _listed_now(self, key: str, before: Entry) -> Steps[Entry | None]:
        """The object as it is now, for another attempt; None if that cannot be asked."""
        try:
            now: Entry = (yield from _head(key)).entry(before.path, self._where(key))
        except StoreError:
            return None
        # A gateway or a portal answers without an ETag, and its page must not become the expected object.
        return now if now.etag or not before.etag else None

    def _verify(self, key: str, expected: Entry, delivered: Delivered, target: str) -> Steps[None]:
        """Compares what arrived with the listed size, and with the ETag where that can prove something.

        TLS already authenticates what arrives, so over TLS large bodies are not read a second time.
        """
        entry = delivered.entry
        if expected.etag and not entry.etag:
            told = "the answer has no ETag, so it is not the object; is a gateway or a portal in between?"
            raise UnreachableError(f"{self._where(key)}: {told}", url=self._where(key))
        if entry.etag and entry.etag == expected.etag and entry.size_bytes != expected.size_bytes:
            # A message may be whole and still carry less than the object.
            told = f"{entry.size_bytes} of {expected.size_bytes} bytes arrived"
            raise IntegrityError(f"{self._where(key)}: {told}", url=self._where(key))
        if not self._etags_are_md5 or delivered.is_weak or not is_digest(entry.etag):
            return
        if entry.etag in delivered.digests:
            return
        if is_plain(entry.etag) and any(is_plain(digest) for digest in delivered.digests):
            matches = False
        elif self._proves:
            matches = yield from _is_proven(entry, target, part_size(entry.size_bytes))
        else:
            return
        if matches:
            return
        if not is_plain(entry.etag):
            yield from self._verify_parts(key, entry, target)
        elif not (yield from self._is_encrypted(key)):
            raise IntegrityError(
                f"{self._where(key)}: the body that arrived does not have the MD5 {entry.etag}", url=self._where(key)
            )

    def _verify_parts(self, key: str, delivered: Entry, target: str) -> Steps[None]:
        part = yield from _head(key, "partNumber=1")
        first_part_bytes = part.entry("", self._where(key)).size_bytes
        told = bool(part.header("x-amz-mp-parts-count"))
        known = told and 0 < first_part_bytes < delivered.size_bytes and first_part_bytes % MIB == 0
        if not known or (yield from self._is_encrypted(key)):
            return
        if not (yield from _is_proven(delivered, target, first_part_bytes)):
            raise IntegrityError(
                f"{self._where(key)}: the body that arrived does not match its ETag {delivered.etag}",
                url=self._where(key),
            )

    def _verify_uploaded(self, key: str, etag: str, proof: str) -> Steps[None]:
        if not self._etags_are_md5 or not proof or not contradicts(etag, proof):
            return
        if not (yield from self._is_encrypted(key)):
            raise IntegrityError(
                f"{self._where(key)}: the store received other bytes than were sent", url=self._where(key)
            )

    def _is_encrypted(self, key: str) -> Steps[bool]:
        """Whether the object's ETag is no MD5, since KMS or a customer's key encrypts it."""
        head = yield from _head(key)
        by_kms = head.header("x-amz-server-side-encryption").startswith("aws:")
        encrypted = by_kms or bool(head.header("x-amz-server-side-encryption-customer-algorithm"))
        if encrypted:
            self._etags_are_md5 = False
        return encrypted


def _is_proven(delivered: Entry, target: str, part_bytes: int) -> Steps[bool]:
    """Whether the file has the content that the ETag stands for.

    It is read beside the loop, and in pieces, since whoever stops the transfer waits for the end of one.
    """
    match = ContentMatch(delivered.etag, delivered.size_bytes, [part_bytes])
    content = blocks(target) if match.is_possible else iter(())
    while (yield Aside(functools.partial(match.take, itertools.islice(content, _PIECE_BLOCKS)))):
        pass
    return match.is_proven()


def _head(key: str, query: str = "") -> Steps[Response]:
    """What a HEAD is answered with. It is repeated by itself, since what came before it may have moved gigabytes."""
    answers: list[Response] = yield Together([functools.partial(_asked, Request("HEAD", key, query))])
    return answers[0]


def _asked(request: Request) -> Steps[Response]:
    response: Response = yield request
    return response
