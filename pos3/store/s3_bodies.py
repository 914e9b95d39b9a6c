"""The bodies of objects, moved by obstore: small ones in one request, large ones in parallel ranges or parts.

obstore cannot address keys with "." or ".." segments, empty segments or control characters, and its runtime does not
survive a fork; those cases belong to :mod:`pos3.store.s3_odd`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import obstore
from obstore.store import S3Store as ObstoreS3

from pos3.entry import Entry
from pos3.errors import IntegrityError, ObjectChangedError, TransferCancelledError
from pos3.etag import PartSums, part_size
from pos3.pool import run_all
from pos3.store import files
from pos3.store.base import OnBytes
from pos3.store.retry import retrying
from pos3.store.s3_client import READ_TIMEOUT_SECONDS, Connection, credential_provider, obstore_config
from pos3.store.s3_errors import UnreachableError, translating

if TYPE_CHECKING:
    from obstore.store import ClientConfig
MIB = 1024 * 1024
RANGE_BYTES = 8 * MIB
LARGE_BYTES = 16 * MIB
MULTIPART_BYTES = 8 * MIB
_RANGES_AT_ONCE = 4
_PARTS_AT_ONCE = 3
_LARGE_FILES_AT_ONCE = 2
_BUFFERED_BYTES = 32 * MIB
# A part must not be given up on a slow line: this rate, in bytes a second, is taken as the slowest.
_SLOWEST_RATE = 128 * 1024


class ByteBudget:
    """Bounds the bytes that all threads together hold in memory."""

    def __init__(self, total_bytes: int):
        self._free = self._total = total_bytes
        self._changed = threading.Condition()

    def take(self, size_bytes: int) -> int:
        """Waits until ``size_bytes`` fit, and takes them; more than the whole counts as the whole."""
        wanted = min(size_bytes, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        return wanted

    def give_back(self, size_bytes: int) -> None:
        with self._changed:
            self._free += size_bytes
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Delivered:
    """The version of an object that arrived, and the MD5 of what arrived ("" if it was not computed on the way)."""

    entry: Entry
    md5: str


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The ETag that an upload was answered with, and the ETags that would prove that the store has what was sent.

    ``proofs`` is empty if nothing was computed, since TLS authenticates what is sent.
    """

    etag: str
    proofs: tuple[str, ...]
    is_multipart: bool = False


_pid_of_runtime = 0


class Bodies:
    """Reads and writes the objects of one bucket."""

    def __init__(self, connection: Connection, bucket: str, region: Callable[[], str]):
        self._connection = connection
        self._bucket = bucket
        self._region = region
        self._stores: dict[float, ObstoreS3] = {}
        self._lock = threading.Lock()
        self._large = threading.BoundedSemaphore(_LARGE_FILES_AT_ONCE)
        self._budget = ByteBudget(_BUFFERED_BYTES)
        self._ranges_work = True
        # Keys of multipart uploads under way.
        self.uploading: set[str] = set()

    @staticmethod
    def is_usable() -> bool:
        """Whether obstore's threads live in this process; a fork leaves them behind."""
        return _pid_of_runtime in (0, os.getpid())

    def _store(self, silence_seconds: float = READ_TIMEOUT_SECONDS) -> ObstoreS3:
        """The obstore client that gives a request up after so many seconds without an answer."""
        store = self._stores.get(silence_seconds)
        if store is not None:
            return store
        with self._lock:
            # Whoever waited for the lock finds what the first one has made.
            if silence_seconds not in self._stores:
                self._stores[silence_seconds] = self._connect(silence_seconds)
            return self._stores[silence_seconds]

    def _connect(self, silence_seconds: float) -> ObstoreS3:
        global _pid_of_runtime
        _pid_of_runtime = os.getpid()
        config, options = obstore_config(self._connection, self._bucket, self._region())
        if not config.get("skip_signature"):
            config["credential_provider"] = credential_provider(self._connection, f"s3://{self._bucket}")
        options["read_timeout"] = timedelta(seconds=silence_seconds)
        # Without a bound on the whole request, a slow but steady large body is not cut off.
        options["timeout"] = timedelta(days=7)
        return ObstoreS3(
            self._bucket,
            client_options=cast("ClientConfig", options),
            retry_config={
                "max_retries": 5,
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=3),
                    "base": 2,
                },
                "retry_timeout": timedelta(seconds=90),
            },
            **config,
        )

    def download(self, key: str, expected: Entry, target: str, on_bytes: OnBytes) -> Delivered:
        """See :meth:`pos3.store.base.Store.download`; the checksum is the caller's to verify."""
        where = f"s3://{self._bucket}/{key}"
        if expected.size_bytes >= LARGE_BYTES and expected.etag and self._ranges_work:
            with self._large:
                fetched = self._download_ranges(key, expected, target, on_bytes, where)
            if fetched is not None:
                return fetched
        return self._download_stream(key, target, on_bytes, where)

    def _download_stream(self, key: str, target: str, on_bytes: OnBytes, where: str) -> Delivered:
        received = 0
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with translating(where):
                result = obstore.get(self._store(), key)
                meta = result.meta
                small = meta["size"] <= files.BLOCK_BYTES
                # One call for a small body: each further one costs more than its bytes.
                blocks = (result.bytes(),) if small else result.stream(min_chunk_size=files.BLOCK_BYTES)
                descriptor = files.create(target)
                try:
                    for block in blocks:
                        files.write_all(descriptor, block)
                        digest.update(block)
                        on_bytes(len(block))
                        received += len(block)
                    if received != meta["size"]:
                        raise IntegrityError(f"{where}: {received} of {meta['size']} bytes arrived")
                except BaseException:
                    os.unlink(target)
                    raise
                finally:
                    os.close(descriptor)
        except BaseException:
            on_bytes(-received)
            raise
        return Delivered(_entry(meta), digest.hexdigest())

    def _download_ranges(
        self, key: str, expected: Entry, target: str, on_bytes: OnBytes, where: str
    ) -> Delivered | None:
        """The object in parallel ranges of one version; None if the server does not do ranges."""
        os.close(files.create(target))
        moved = 0
        lock = threading.Lock()
        stopped = threading.Event()

        def counted(size_bytes: int) -> None:
            nonlocal moved
            if stopped.is_set():
                raise TransferCancelledError(f"{where}: stopped, since another range failed")
            on_bytes(size_bytes)
            with lock:
                moved += size_bytes

        def fetch(start: int) -> dict[str, Any]:
            try:
                return retrying(lambda: self._download_range(key, expected, target, start, counted, where))
            except BaseException:
                stopped.set()
                raise

        try:
            # The first range alone tells whether the server does ranges at all.
            meta = self._download_range(key, expected, target, 0, counted, where)
            rest = range(RANGE_BYTES, expected.size_bytes, RANGE_BYTES)
            failed = run_all(rest, fetch, lambda *_: None, workers=_RANGES_AT_ONCE, cancelled=stopped)
            for _, error in failed:
                if not isinstance(error, TransferCancelledError) or error is failed[-1][1]:
                    raise error
        except _NoRangesError:
            self._ranges_work = False
            os.unlink(target)
            return None
        except BaseException:
            stopped.set()
            on_bytes(-moved)
            os.unlink(target)
            raise
        return Delivered(_entry(meta), "")

    def _download_range(
        self, key: str, expected: Entry, target: str, start: int, on_bytes: OnBytes, where: str
    ) -> dict[str, Any]:
        end = min(start + RANGE_BYTES, expected.size_bytes)
        received = 0
        with translating(where):
            try:
                result = obstore.get(
                    self._store(), key, options={"range": (start, end), "if_match": f'"{expected.etag}"'}
                )
            except obstore.exceptions.GenericError as error:
                if "non-partial response" in str(error):
                    raise _NoRangesError from error
                raise
            meta: dict[str, Any] = dict(result.meta)
            # Not every server honours If-Match, so the version is compared here as well.
            if _etag(meta) != expected.etag or meta["size"] != expected.size_bytes:
                raise ObjectChangedError(f"{where}: the object was replaced while it was being read")
            # A descriptor of its own: a range that is left behind must never write into a file that reuses the number.
            descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
            try:
                for block in result.stream(min_chunk_size=files.BLOCK_BYTES):
                    files.write_all_at(descriptor, block, start + received)
                    on_bytes(len(block))
                    received += len(block)
                if received != end - start:
                    raise UnreachableError(f"{where}: {received} of {end - start} bytes of a range arrived")
            except BaseException:
                on_bytes(-received)
                raise
            finally:
                os.close(descriptor)
        return meta

    def upload(self, key: str, source: str, size_bytes: int, on_bytes: OnBytes) -> Uploaded:
        """See :meth:`pos3.store.base.Store.upload`; the checksum is the caller's to verify."""
        where = f"s3://{self._bucket}/{key}"
        if size_bytes <= MULTIPART_BYTES:
            return self._upload_whole(key, source, size_bytes, on_bytes, where)
        with self._large:
            self.uploading.add(key)
            try:
                return self._upload_parts(key, source, size_bytes, on_bytes, where)
            finally:
                self.uploading.discard(key)

    def _upload_whole(self, key: str, source: str, size_bytes: int, on_bytes: OnBytes, where: str) -> Uploaded:
        taken = self._budget.take(size_bytes)
        try:
            body = b"".join(files.blocks(source, size_bytes))
            # Before the bytes go out, since a rate limit acts by holding this call back.
            on_bytes(len(body))
            silence = READ_TIMEOUT_SECONDS if len(body) <= MIB else READ_TIMEOUT_SECONDS + len(body) / _SLOWEST_RATE
            try:
                with translating(where):
                    result = obstore.put(self._store(_rounded(silence)), key, body, use_multipart=False)
            except BaseException:
                on_bytes(-len(body))
                raise
        finally:
            self._budget.give_back(taken)
        return Uploaded(_etag(result), (hashlib.md5(body, usedforsecurity=False).hexdigest(),))

    def _upload_parts(self, key: str, source: str, size_bytes: int, on_bytes: OnBytes, where: str) -> Uploaded:
        part_bytes = part_size(size_bytes)
        parts_at_once = max(1, min(_PARTS_AT_ONCE, _BUFFERED_BYTES // part_bytes))
        moved = 0
        proves = self._connection.is_plain_http
        whole, parts = hashlib.md5(usedforsecurity=False), PartSums(part_bytes)

        def blocks() -> Iterator[bytes]:
            nonlocal moved
            for block in files.blocks(source, size_bytes):
                on_bytes(len(block))
                moved += len(block)
                if proves:
                    whole.update(block)
                    parts.update(block)
                yield block

        silence = READ_TIMEOUT_SECONDS + part_bytes / _SLOWEST_RATE
        try:
            with translating(where):
                # obstore aborts the multipart upload when the iterator raises.
                result = obstore.put(
                    self._store(_rounded(silence)),
                    key,
                    blocks(),
                    use_multipart=True,
                    chunk_size=part_bytes,
                    max_concurrency=parts_at_once,
                )
        except BaseException:
            on_bytes(-moved)
            raise
        return Uploaded(_etag(result), (parts.etag(), whole.hexdigest()) if proves else (), is_multipart=True)


class _NoRangesError(Exception):
    """The server answered a ranged request with something else than a range."""


def _rounded(seconds: float) -> float:
    # Few distinct values, so that few clients with pools of their own are made.
    return float(-(-int(seconds) // 20) * 20)


def _etag(meta: Any) -> str:
    return (meta["e_tag"] or "").strip('"')


def _entry(meta: Any) -> Entry:
    modified = meta["last_modified"]
    return Entry(
        "",
        meta["size"],
        int(modified.timestamp()) * 1_000_000_000 + modified.microsecond * 1000,
        _etag(meta),
    )
