"""S3 and what speaks its protocol: boto3 for control and listings, libcurl for bodies."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pos3.entry import Entry
from pos3.errors import AccessDeniedError, IntegrityError, ObjectChangedError, RemoteNotFoundError, StoreError
from pos3.etag import is_plain, matches_content, part_size
from pos3.profiles import Profile
from pos3.store import files
from pos3.store.base import Counted, OnBytes, Survey, UnsortedListingError
from pos3.store.retry import BusyError, UnreachableError, retrying
from pos3.store.s3_client import Connection
from pos3.store.s3_downloads import MIB, Delivered, Downloads
from pos3.store.s3_errors import error_for, translating
from pos3.store.s3_listing import Listing, Page, in_order
from pos3.store.s3_loop import Loop
from pos3.store.s3_requests import Request, Requests, Response
from pos3.store.s3_uploads import UNTOLD, Uploaded, Uploads
from pos3.store.steps import Lane, Steps

_BATCH = 1000
# LastModified and Date are whole seconds, taken at different moments of a request.
_RECENT_SECONDS = 2
_SURVEY_PAGES = 20
_ABORT_SECONDS = 3.0
# How often a download begins again because the object was replaced, before it pauses.
_CHANGES = 3


class S3Store:
    """One bucket. Keeps the contract of :class:`pos3.store.base.Store`."""

    def __init__(self, bucket: str, profile: Profile | None, max_workers: int):
        self._bucket = bucket
        self._connection = Connection(profile, max_workers + 8)
        settings = self._connection.profile
        self._request_options: dict[str, Any] = {"RequestPayer": "requester"} if settings.requester_pays else {}
        upload_options = {
            "ServerSideEncryption": settings.server_side_encryption or ("aws:kms" if settings.sse_kms_key_id else None),
            "SSEKMSKeyId": settings.sse_kms_key_id,
        }
        self._upload_options = {name: value for name, value in upload_options.items() if value}
        payer = ("x-amz-request-payer: requester",) if settings.requester_pays else ()
        self._requests = Requests(self._connection, bucket, self._region, payer)
        self._listing = Listing(self._requests, bucket)
        proves = self._connection.is_plain_http
        self._downloads = Downloads(self._requests, proves)
        self._uploads = Uploads(self._requests, tuple(_headers(upload_options)), proves)
        self._bucket_region = ""
        self._sorted = True
        self._etags_are_md5 = not self._upload_options
        self._batch_deletes = True
        self._holds_markers: bool | None = None

    @property
    def _client(self) -> Any:
        return self._connection.client

    def _where(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def _region(self) -> str:
        """The bucket's region: boto3 follows redirects to it by itself, signatures for libcurl must name it."""
        configured = self._connection.region
        if not self._connection.is_aws:
            return configured
        if not self._bucket_region:
            with translating(self._where("")):
                try:
                    answer = self._client.head_bucket(Bucket=self._bucket)
                except ClientError as error:
                    # A refusal carries the region as well.
                    answer = error.response
            headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            self._bucket_region = headers.get("x-amz-bucket-region", configured)
        return self._bucket_region

    @property
    def clock_set_back_seconds(self) -> float:
        return self._requests.clock.set_back_seconds

    # Listings

    def survey(self, key: str) -> Survey:
        first = self._first_page(key)
        is_object = bool(key) and any(entry.path == key for entry in first.entries)
        if key and not is_object and first.next_token and not _is_ordered(first):
            is_object = self._find(key) is not None
        below = f"{key}/" if key else ""
        is_prefix = any(entry.path.startswith(below) for entry in first.entries)
        recent: set[tuple[str, str]] = set()
        since_ns = int((first.server_time - _RECENT_SECONDS) * 1_000_000_000)
        page, pages = first, 1
        if first.next_token and not is_prefix:
            page = self._listing.page(below)
            is_prefix = bool(page.entries)
        while True:
            fresh = {
                (entry.path[len(below) :], entry.etag)
                for entry in page.entries
                if entry.path.startswith(below) and entry.modified_ns >= since_ns
            }
            recent |= fresh
            # Only a prefix that was being written to this very moment needs more than its first page.
            if not page.next_token or not fresh or pages >= _SURVEY_PAGES:
                break
            page, pages = self._listing.page(page.prefix, token=page.next_token), pages + 1
        return Survey(is_object, is_prefix, first.server_time, frozenset(recent))

    def _first_page(self, key: str) -> Page:
        try:
            return self._listing.page(key)
        except AccessDeniedError:
            # Policies often allow the listing of "data/*" only, and some no listing at all.
            if not key:
                raise
            try:
                return self._listing.page(f"{key}/")
            except AccessDeniedError:
                found = self._find(key)
                if found is None:
                    # What lies below the key nobody has told, so it must not pass for nothing.
                    raise
                return Page(key, [found], [], "", 0.0)

    def _head(self, key: str) -> Entry:
        with translating(self._where(key)):
            head = self._client.head_object(Bucket=self._bucket, Key=key, **self._request_options)
        modified_ns = int(head["LastModified"].timestamp()) * 1_000_000_000
        return Entry(key, head["ContentLength"], modified_ns, head["ETag"].strip('"'))

    def _find(self, key: str) -> Entry | None:
        try:
            return self._head(key)
        except RemoteNotFoundError:
            return None

    def entries(self, key: str, *, is_prefix: bool) -> Iterator[Entry]:
        if not self._sorted:
            yield from self._entries_sorted_here(key, is_prefix)
            return
        try:
            if is_prefix or not key:
                yield from self._listing.below(key)
            else:
                yield from self._object_or_below(key)
        except UnsortedListingError:
            self._sorted = False
            raise

    def _object_or_below(self, key: str) -> Iterator[Entry]:
        """One listing answers both questions: an object of exactly this key sorts before all that lies below it."""
        first = self._first_page(key)
        for entry in first.entries:
            if entry.path == key:
                yield Entry("", entry.size_bytes, entry.modified_ns, entry.etag)
                return
        below = f"{key}/"
        where = self._where(below)
        if not first.next_token:
            inside = [entry for entry in first.entries if entry.path.startswith(below)]
            yield from in_order(iter([replace(first, entries=inside)]), below, where)
            return
        # Only in an ordered listing does the first page show that no object has exactly this key.
        if not _is_ordered(first):
            raise UnsortedListingError(f"{where}: keys are not listed in order")
        if first.entries[0].path < below or not first.entries[-1].path.startswith(below):
            yield from self._listing.below(key)
            return
        yield from in_order(self._listing.pages_after(first), below, where)

    def _entries_sorted_here(self, key: str, is_prefix: bool) -> Iterator[Entry]:
        below = f"{key}/" if key else ""
        if key and not is_prefix:
            head = self._find(key)
            if head is not None:
                yield Entry("", head.size_bytes, head.modified_ns, head.etag)
                return
        found = {entry.path: entry for page in self._listing.pages(below) for entry in page.entries}
        for path in sorted(found):
            if path != below:
                entry = found[path]
                yield Entry(path[len(below) :], entry.size_bytes, entry.modified_ns, entry.etag)

    def children(self, key: str) -> Iterator[Entry]:
        below = f"{key}/" if key else ""
        found: list[Entry] = []
        for page in self._listing.pages(below, delimiter="/"):
            found += [
                Entry(entry.path[len(below) :], entry.size_bytes, entry.modified_ns, entry.etag)
                for entry in page.entries
                if entry.path != below
            ]
            found += [Entry(directory[len(below) :]) for directory in page.directories]
        yield from sorted(found, key=lambda entry: entry.path)

    # Bodies

    def lanes(self, workers: int) -> Sequence[Lane]:
        return [Loop(self._requests, workers)]

    def download(self, key: str, expected: Entry, target: str, on_bytes: OnBytes) -> Steps[Entry]:
        for left in reversed(range(_CHANGES)):
            counted = Counted(on_bytes)
            try:
                delivered = yield from self._downloads.download(key, expected, target, counted)
            except ObjectChangedError:
                now = self._listed_now(key, expected)
                if now == expected or not left:
                    raise
                expected = now
                continue
            try:
                self._verify(key, expected, delivered, target)
            except BaseException:
                counted.take_back()
                os.unlink(target)
                raise
            return delivered.entry
        raise AssertionError("unreachable")

    def _listed_now(self, key: str, before: Entry) -> Entry:
        """The object as it is now, for another attempt; as it was, if that cannot be asked."""
        try:
            now = self._head(key)
        except StoreError:
            return before
        return Entry(before.path, now.size_bytes, now.modified_ns, now.etag)

    def _verify(self, key: str, expected: Entry, delivered: Delivered, target: str) -> None:
        """Compares what arrived with the listed size, and with the ETag where that can prove something.

        TLS already authenticates what arrives, so over TLS large bodies are not read a second time.
        """
        entry = delivered.entry
        if expected.etag and not entry.etag:
            told = "the answer has no ETag, so it is not the object; is a gateway or a portal in between?"
            raise UnreachableError(f"{self._where(key)}: {told}")
        if entry.etag and entry.etag == expected.etag and entry.size_bytes != expected.size_bytes:
            # A message may be whole and still carry less than the object.
            told = f"{entry.size_bytes} of {expected.size_bytes} bytes arrived"
            raise IntegrityError(f"{self._where(key)}: {told}")
        if not self._etags_are_md5 or entry.etag in delivered.digests:
            return
        if is_plain(entry.etag) and any(is_plain(digest) for digest in delivered.digests):
            matches = False
        elif self._connection.is_plain_http:
            first = [part_size(entry.size_bytes)]
            matches = matches_content(entry.etag, entry.size_bytes, files.blocks(target), first)
        else:
            return
        if matches:
            return
        if not is_plain(entry.etag):
            self._verify_parts(key, entry, target)
        elif not self._is_encrypted(key):
            raise IntegrityError(f"{self._where(key)}: the body that arrived does not have the MD5 {entry.etag}")

    def _verify_parts(self, key: str, delivered: Entry, target: str) -> None:
        with translating(self._where(key)):
            part = self._client.head_object(Bucket=self._bucket, Key=key, PartNumber=1, **self._request_options)
        first_part_bytes = part["ContentLength"]
        known = "PartsCount" in part and first_part_bytes < delivered.size_bytes and first_part_bytes % MIB == 0
        if not known or self._is_encrypted(key):
            return
        blocks = files.blocks(target)
        if not matches_content(delivered.etag, delivered.size_bytes, blocks, [first_part_bytes]):
            raise IntegrityError(f"{self._where(key)}: the body that arrived does not match its ETag {delivered.etag}")

    def _is_encrypted(self, key: str) -> bool:
        """Whether the object's ETag is no MD5, since KMS or a customer's key encrypts it."""
        with translating(self._where(key)):
            head = self._client.head_object(Bucket=self._bucket, Key=key, **self._request_options)
        encrypted = str(head.get("ServerSideEncryption", "")).startswith("aws:") or "SSECustomerAlgorithm" in head
        if encrypted:
            self._etags_are_md5 = False
        return encrypted

    def upload(self, key: str, source: str, size_bytes: int, on_bytes: OnBytes) -> Steps[str]:
        counted = Counted(on_bytes)
        uploaded = yield from self._uploads.upload(key, source, size_bytes, counted)
        etag = uploaded.etag
        try:
            if uploaded.is_multipart or not etag:
                # Some servers answer a multipart upload with another ETag than they list afterwards.
                answer: Response = yield Request("HEAD", key)
                etag = answer.etag
            self._verify_uploaded(key, etag, uploaded)
        except BaseException:
            counted.take_back()
            raise
        return etag

    def _verify_uploaded(self, key: str, etag: str, uploaded: Uploaded) -> None:
        if not self._etags_are_md5 or not uploaded.proofs or etag in uploaded.proofs:
            return
        # An ETag of another form, or of other parts, proves nothing either way.
        forms = {proof[32:] for proof in uploaded.proofs}
        if etag[32:] in forms and not self._is_encrypted(key):
            raise IntegrityError(f"{self._where(key)}: the store received other bytes than were sent")

    def delete(self, keys: Sequence[str]) -> list[tuple[str, Exception]]:
        failed: list[tuple[str, Exception]] = []
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            if self._batch_deletes:
                try:
                    failed += retrying(functools.partial(self._delete_batch, batch))
                    continue
                except (BusyError, ConnectionError, PermissionError, RemoteNotFoundError) as error:
                    failed += [(key, error) for key in batch]
                    continue
                except StoreError:
                    # Not every server knows how to delete many at once.
                    self._batch_deletes = False
            failed += self._delete_singly(batch)
        return failed

    def _delete_batch(self, keys: Sequence[str]) -> list[tuple[str, Exception]]:
        with translating(f"deleting in s3://{self._bucket}"):
            answer = self._client.delete_objects(
                Bucket=self._bucket,
                Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
                **self._request_options,
            )
        return [
            (error["Key"], error_for(error.get("Code", ""), 0, error.get("Message", ""), self._where(error["Key"])))
            for error in answer.get("Errors", ())
            if error.get("Code") != "NoSuchKey"
        ]

    def _delete_singly(self, keys: Sequence[str]) -> list[tuple[str, Exception]]:
        failed: list[tuple[str, Exception]] = []
        for key in keys:
            try:
                retrying(functools.partial(self._delete_one, key))
            except RemoteNotFoundError:
                continue
            except StoreError as error:
                failed.append((key, error))
        return failed

    def _delete_one(self, key: str) -> None:
        with translating(self._where(key)):
            self._client.delete_object(Bucket=self._bucket, Key=key, **self._request_options)

    def abort_unfinished(self) -> None:
        abandoned = sorted(self._uploads.unfinished)
        if not abandoned:
            return
        self._uploads.unfinished.clear()
        # The process may be about to end, so a store that does not answer is not waited for.
        thread = threading.Thread(target=self._abort_uploads, args=(abandoned,), name="pos3-abort", daemon=True)
        thread.start()
        thread.join(_ABORT_SECONDS)

    def _abort_uploads(self, uploads: Sequence[tuple[str, str]]) -> None:
        for key, told in uploads:
            with suppress(BotoCoreError, ClientError):
                for upload_id in self._begun_uploads(key) if told == UNTOLD else [told]:
                    self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)

    def _begun_uploads(self, key: str) -> list[str]:
        answer = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=key)
        return [upload["UploadId"] for upload in answer.get("Uploads", ()) if upload["Key"] == key]

    def put_marker(self, key: str) -> bool:
        if self._holds_markers is False:
            return False
        with translating(self._where(key)):
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=b"", **self._upload_options, **self._request_options
            )
        if self._holds_markers is None:
            self._holds_markers = any(entry.path == key for entry in self._listing.page(key, page_size=1).entries)
            if not self._holds_markers:
                # Some servers store "dir/" as the file "dir", which would then be in the way of the directory.
                name = key.rstrip("/")
                if any(entry.path == name for entry in self._listing.page(name, page_size=1).entries):
                    self._delete_singly([name])
        return bool(self._holds_markers)


def _is_ordered(page: Page) -> bool:
    return all(one.path < other.path for one, other in pairwise(page.entries))


def _headers(upload_options: dict[str, str | None]) -> Iterator[str]:
    names = {
        "ServerSideEncryption": "x-amz-server-side-encryption",
        "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    }
    return (f"{names[option]}: {value}" for option, value in upload_options.items() if value)
