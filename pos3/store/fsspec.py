"""A store for every other URL scheme of fsspec (``gs://``, ``az://``, ``hf://``, ``memory://``)."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from pos3.entries import EVERY_PATH, Entry, PathRange, storable_ns
from pos3.errors import (
    AccessDeniedError,
    EndpointError,
    IntegrityError,
    InvalidArgumentError,
    InvalidURLError,
    ProfileError,
    RemoteNotFoundError,
    StoreError,
    TransferCancelledError,
)
from pos3.etags import token
from pos3.local import BLOCK_BYTES, blocks, create_file, is_temporary, temporary_name, write_all
from pos3.profiles import Profile
from pos3.store.apart import run_in_new_loop
from pos3.store.base import (
    NEVER,
    NOTHING_NOTED,
    UNLIMITED,
    CancelToken,
    Landmarks,
    Moved,
    RangeNotes,
    Rate,
    Route,
    Store,
    Survey,
    TellChecksum,
    Version,
    nothing_known,
    unseen,
    untold,
)
from pos3.store.endpoints import endpoint_of
from pos3.store.retry import Patience, repeated
from pos3.store.threads import Threads

T = TypeVar("T")
logger = logging.getLogger("pos3.store")
_OnBytes = Callable[[int], None]

# File systems whose files appear only when they are committed. Of any other, opening a file for writing may already
# empty what is there.
_HOLDING_BACK = frozenset({"gs", "gcs", "az", "abfs", "abfss", "s3", "s3a"})
# The number if the caller gives none.
_WORKERS = 10


class FsspecStore:
    """One bucket, container or root of an fsspec file system. Keeps the contract of :class:`pos3.store.base.Store`."""

    # Not every fsspec file system can tell versions apart, or read from the middle of a file.
    resumable_from_bytes = sys.maxsize

    def __init__(self, scheme: str, bucket: str, profile: Profile | None):
        import fsspec

        if profile is not None and profile.endpoint:
            raise ProfileError(f"profile {profile.local_name!r} is for S3; it cannot be used with {scheme}:// URLs")
        try:
            self._fs: Any = fsspec.filesystem(scheme, use_listings_cache=False)
        except ImportError as error:
            raise InvalidURLError(f"{scheme}:// needs another package: {error}") from error
        except ValueError as error:
            raise InvalidURLError(f"{scheme}:// is not a scheme that pos3 or fsspec knows: {error}") from error
        logger.debug("%s://%s: %s of fsspec", scheme, bucket, type(self._fs).__name__)
        self.endpoint = endpoint_of(scheme, profile)
        self._scheme = scheme
        self._bucket = bucket
        self._threads: dict[asyncio.AbstractEventLoop, Threads] = {}

    def _path(self, key: str) -> str:
        return f"{self._bucket}/{key}" if key else self._bucket

    def _where(self, key: str) -> str:
        return f"{self._scheme}://{self._path(key)}"

    def _call(self, where: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except FileNotFoundError as error:
            raise RemoteNotFoundError(
                f"{where}: nothing is at this URL any more, or the URL is wrong", url=where
            ) from error
        except PermissionError as error:
            raise AccessDeniedError(f"{where}: access denied ({error})", url=where) from error
        except (ConnectionError, TimeoutError) as error:
            raise EndpointError(f"{where}: cannot reach the store: {error}", url=where) from error
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"{where}: {error}", url=where) from error

    def route(self) -> Route:
        return Route(f"{self._scheme}:// by {type(self._fs).__name__} of fsspec")

    @property
    def clock_set_back_seconds(self) -> float:
        # These stores do not report their time.
        return 0.0

    def survey(self, key: str) -> Survey:
        now = time.time()
        found = list(self.entries(key, is_prefix=False))
        is_object = len(found) == 1 and not found[0].path
        below = found if not is_object else list(self.entries(key, is_prefix=True))
        recent = frozenset((entry.path, entry.etag) for entry in found)
        return Survey(is_object, bool(below) or self._fs.isdir(self._path(key)), now, recent)

    def entries(
        self, key: str, *, is_prefix: bool, landmarks: Landmarks = nothing_known, within: PathRange = EVERY_PATH
    ) -> Iterator[Entry]:
        where = self._where(key)

        def found() -> dict[str, Any]:
            # For a missing directory, some file systems list nothing, and others raise an error.
            with suppress(FileNotFoundError):
                return dict(self._fs.find(self._path(key), withdirs=True, detail=True))
            return {}

        listed = self._call(where, found)
        base = self._fs._strip_protocol(f"{self._scheme}://{self._path(key)}").rstrip("/")
        entries = []
        directories = set()
        for name, details in listed.items():
            path = name.rstrip("/")[len(base) :].lstrip("/")
            if details.get("type") == "directory":
                if path:
                    directories.add(path)
            elif (path or not is_prefix) and not is_temporary(path.rpartition("/")[2]):
                entries.append(_entry(path, details))
        filled = {parent for entry in entries for parent in _parents(entry.path)}
        filled |= {parent for directory in directories for parent in _parents(directory)}
        entries += [Entry(f"{directory}/") for directory in directories - filled]
        alone = [entry for entry in entries if not entry.path]
        yield from within.cut(alone or sorted(entries, key=lambda entry: entry.path))

    def children(self, key: str, beginning: str = "", most_pages: int | None = None) -> Iterator[Entry]:
        seen: dict[str, Entry] = {}
        for entry in self.entries(key, is_prefix=True):
            name, slash, _ = entry.path.partition("/")
            if slash:
                seen.setdefault(f"{name}/", Entry(f"{name}/"))
            else:
                seen[name] = entry
        yield from (seen[path] for path in sorted(seen) if path.startswith(beginning))

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], workers: int | None) -> T:
        return run_in_new_loop(lambda: self._run(main, Threads(workers or _WORKERS)))

    async def _run(self, main: Callable[[], Coroutine[Any, Any, T]], threads: Threads) -> T:
        loop = asyncio.get_running_loop()
        self._threads[loop] = threads
        try:
            return await main()
        finally:
            del self._threads[loop]
            threads.close()

    async def most_in_flight(self, before: int) -> int:
        loop = asyncio.get_running_loop()
        most = self._threads[loop].most
        if most == before:
            # The number never changes.
            await loop.create_future()
        return most

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        """The result of a call that blocks, which is repeated while its failure may pass."""
        return await repeated(Patience, self._threads[asyncio.get_running_loop()].call, call, *arguments)

    async def download(
        self,
        key: str,
        expected: Entry,
        target: str,
        moved: Moved = unseen,
        cancelled: CancelToken = NEVER,
        notes: RangeNotes = NOTHING_NOTED,
        tell_checksum: TellChecksum = untold,
        rate: Rate = UNLIMITED,
    ) -> Entry:
        on_bytes = _pacing(moved, cancelled, rate, "the download was stopped")
        return await self._in_thread(self._download, key, target, on_bytes)

    def _download(self, key: str, target: str, on_bytes: _OnBytes) -> Entry:
        where = self._where(key)
        details = self._call(where, lambda: self._fs.info(self._path(key)))
        delivered = _entry("", details)
        received = 0
        descriptor = create_file(target)
        try:
            with self._call(where, lambda: self._fs.open(self._path(key), "rb")) as source:
                while block := self._call(where, lambda: source.read(BLOCK_BYTES)):
                    write_all(descriptor, block)
                    on_bytes(len(block))
                    received += len(block)
            if received != delivered.size_bytes:
                raise IntegrityError(f"{where}: {received} of {delivered.size_bytes} bytes arrived", url=where)
        except BaseException:
            on_bytes(-received)
            os.unlink(target)
            raise
        finally:
            os.close(descriptor)
        return delivered

    def as_of(self, moment: str) -> Store:
        raise InvalidArgumentError(
            f"as_of={moment!r}: pos3 reads earlier versions only of s3:// URLs, not of {self._scheme}://",
            argument="as_of",
        )

    def versions(self, prefix: str) -> Iterator[Version]:
        raise InvalidArgumentError(f"pos3 lists versions only of s3:// URLs, not of {self._scheme}://")

    def headers_of(self, extra_args: Mapping[str, Any]) -> tuple[str, ...]:
        if extra_args:
            raise InvalidArgumentError(f"extra_args: {self._where('')} is not in S3", argument="extra_args")
        return ()

    async def upload(
        self,
        key: str,
        source: str,
        size_bytes: int,
        moved: Moved = unseen,
        cancelled: CancelToken = NEVER,
        rate: Rate = UNLIMITED,
        headers: tuple[str, ...] = (),
        tell_checksum: TellChecksum = untold,
    ) -> str:
        on_bytes = _pacing(moved, cancelled, rate, "the upload was stopped")
        return await self._in_thread(self._upload, key, source, size_bytes, on_bytes)

    def _upload(self, key: str, source: str, size_bytes: int, on_bytes: _OnBytes) -> str:
        where = self._where(key)
        moved = 0
        os.stat(source)
        target = self._call(where, lambda: self._open_for_writing(key))
        try:
            for block in blocks(source, size_bytes):
                on_bytes(len(block))
                moved += len(block)
                self._call(where, functools.partial(target.write, block))
            self._call(where, target.commit)
        except BaseException:
            target.discard()
            on_bytes(-moved)
            raise
        return _entry("", self._call(where, lambda: self._fs.info(self._path(key)))).etag

    def _open_for_writing(self, key: str) -> _Pending:
        directory = self._path(key).rpartition("/")[0]
        if directory:
            with suppress(FileExistsError, NotImplementedError):
                self._fs.makedirs(directory, exist_ok=True)
        return _Pending(self._fs, directory, self._path(key))

    def delete(self, keys: Sequence[str], cancelled: CancelToken = NEVER) -> list[tuple[str, Exception]]:
        failed: list[tuple[str, Exception]] = []
        for key in keys:
            if cancelled.is_set():
                failed.append((key, TransferCancelledError(f"{self._where(key)}: stopped before it was deleted")))
                continue
            try:
                if key.endswith("/"):
                    self._call(self._where(key), lambda key=key: self._fs.rmdir(self._path(key.rstrip("/"))))  # type: ignore[misc]
                else:
                    self._call(self._where(key), lambda key=key: self._fs.rm_file(self._path(key)))  # type: ignore[misc]
            except RemoteNotFoundError:
                continue
            except StoreError as error:
                failed.append((key, error))
        return failed

    def hang_up(self) -> None:
        pass

    def abort_unfinished(self, *, stopped: bool) -> None:
        """Does nothing: a file that was not committed does not exist, or has a name that listings do not show."""

    def put_marker(self, key: str) -> str | None:
        path = self._path(key.rstrip("/"))
        self._call(self._where(key), lambda: self._fs.makedirs(path, exist_ok=True))
        return "" if self._fs.exists(path) else None


def _pacing(moved: Moved, cancelled: CancelToken, rate: Rate, told: str) -> _OnBytes:
    """A function to call before bytes are moved.

    It waits for the rate, counts the bytes, and raises if it is cancelled.
    """

    def on_bytes(size_bytes: int) -> None:
        if size_bytes > 0:
            pause_seconds = rate.wait_seconds(size_bytes)
            if cancelled.wait(pause_seconds) if pause_seconds > 0 else cancelled.is_set():
                raise TransferCancelledError(told)
        moved(size_bytes)

    return on_bytes


class _Pending:
    """A file that appears completely when it is committed, or not at all.

    Object stores of fsspec show a file only after the commit. Other file systems show it at once, so it is written
    under another name until the commit.
    """

    def __init__(self, fs: Any, directory: str, path: str):
        self._fs = fs
        self._path = path
        holds_back = not _HOLDING_BACK.isdisjoint([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol)
        aside = f"{directory}/{temporary_name()}" if directory else temporary_name()
        self._written = path if holds_back else aside
        self._file: Any = fs.open(self._written, "wb", **({"autocommit": False} if holds_back else {}))

    def write(self, block: bytes) -> None:
        self._file.write(block)

    def commit(self) -> None:
        self._file.close()
        if self._written == self._path:
            self._file.commit()
        else:
            self._fs.mv(self._written, self._path)

    def discard(self) -> None:
        with suppress(Exception):
            if self._written == self._path:
                self._file.discard()
            else:
                self._file.close()
                self._fs.rm_file(self._written)


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _nanoseconds(modified: Any) -> int:
    """A time in one of the formats of fsspec file systems; 0 if it is no time."""
    try:
        if isinstance(modified, str):
            modified = datetime.fromisoformat(modified)
        if isinstance(modified, datetime):
            return int(modified.timestamp()) * 1_000_000_000 + modified.microsecond * 1000
        # Whole microseconds: the same time comes as a float from one call and as a datetime from another.
        return round(float(modified) * 1_000_000) * 1000
    except (ValueError, OverflowError):
        return 0


def _entry(path: str, details: dict[str, Any]) -> Entry:
    """The entry for an ``info`` result of fsspec.

    Without an ETag, another field that changes with the content replaces it.
    """
    modified = next(
        (
            details[name]
            for name in ("LastModified", "last_modified", "mtime", "updated", "created")
            if details.get(name)
        ),
        0,
    )
    modified_ns = storable_ns(_nanoseconds(modified))
    size = int(details.get("size") or 0)
    etag = next((str(details[name]) for name in ("ETag", "etag", "md5", "sha256") if details.get(name)), "")
    return Entry(path, size, modified_ns, token(etag) or f"{modified_ns}-{size}")
