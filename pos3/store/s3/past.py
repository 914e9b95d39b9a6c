"""A bucket at an earlier moment: for each key its newest version of that time, unless it was deleted then."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, Never, TypeVar

from pos3.entries import EVERY_PATH, Entry, PathRange
from pos3.errors import StoreError
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
    directly_below,
    nothing_known,
    past_endpoint,
    unseen,
    untold,
)
from pos3.store.s3.bodies import Bodies
from pos3.store.s3.delivery import Wanted
from pos3.store.s3.http import Client
from pos3.store.s3.listing import timestamp_ns
from pos3.store.s3.versions import Versions

T = TypeVar("T")


class PastStore:
    """One bucket as of a moment, which can only be read. Keeps the contract of :class:`pos3.store.base.Store`.

    S3 gives the times of versions in whole seconds, so a version counts from the beginning of its second on.

    Args:
        store: the bucket as it is now.
        client: its client.
        bodies: makes a :class:`Bodies` for a client.
        moment: an ISO 8601 time with an offset.
    """

    def __init__(self, store: Store, client: Client, bucket: str, bodies: Callable[[Client], Bodies], moment: str):
        self.endpoint = past_endpoint(store.endpoint, moment)
        self._store = store
        self._client = client
        self._bodies = bodies
        self._where = f"s3://{bucket}"
        self._moment = moment
        self._moment_ns = timestamp_ns(moment)
        self._versions = Versions(client, bucket)

    def route(self) -> Route:
        return self._store.route()

    @property
    def resumable_from_bytes(self) -> int:
        return self._store.resumable_from_bytes

    @property
    def clock_set_back_seconds(self) -> float:
        return self._store.clock_set_back_seconds

    def survey(self, key: str) -> Survey:
        is_object = bool(key) and self._object(key) is not None
        is_prefix = next(self.entries(key, is_prefix=True), None) is not None
        return Survey(is_object, is_prefix, server_time=0.0)

    def _object(self, key: str) -> Entry | None:
        return self._client.result_of(lambda: self._find(key))

    async def _find(self, key: str) -> Entry | None:
        await self._versions.check_kept()
        newest: Version | None = None
        async with aclosing(self._versions.pages(key)) as pages:
            async for page in pages:
                for version in page:
                    # An object with exactly this key sorts before all longer keys.
                    if version.key != key:
                        return _entry_of(newest, "")
                    newest = self._newer(newest, version)
        return _entry_of(newest, "")

    def _newer(self, newest: Version | None, version: Version) -> Version | None:
        """The newer version of both, of those that were there at the moment."""
        if version.modified_ns > self._moment_ns:
            return newest
        # Within one second, the order of the store decides, and its mark for the latest version.
        is_newer = newest is None or version.modified_ns > newest.modified_ns
        is_same_second = newest is not None and version.modified_ns == newest.modified_ns
        return version if is_newer or (is_same_second and version.is_latest) else newest

    def entries(
        self, key: str, *, is_prefix: bool, landmarks: Landmarks = nothing_known, within: PathRange = EVERY_PATH
    ) -> Iterator[Entry]:
        if key and not is_prefix:
            found = self._object(key)
            if found is not None:
                yield from within.cut([found])
                return
        with closing(self._below(key, after=within.after)) as entries:
            yield from within.cut(entries)

    def _below(self, key: str, beginning: str = "", after: str = "") -> Generator[Entry, None, None]:
        """The objects below a key whose paths begin so, at least those after a path."""
        below = f"{key}/" if key else ""
        pages = functools.partial(self._pages, below + beginning, len(below), after and below + after)
        with closing(self._client.stream(pages, 2)) as found:
            for page in found:
                yield from page

    async def _pages(self, prefix: str, cut: int, after: str) -> AsyncGenerator[list[Entry], None]:
        """The objects whose keys begin with a prefix, in pages, at least those after a key. Paths begin at ``cut``."""
        await self._versions.check_kept()
        key = ""
        newest: Version | None = None
        async with aclosing(self._versions.pages(prefix, after)) as pages:
            async for page in pages:
                entries = []
                for version in page:
                    if version.key != key:
                        if version.key < key:
                            raise StoreError(
                                f"{self._where}/{prefix}: versions are not listed in the order of their keys"
                            )
                        entries.append(_entry_of(newest, key[cut:]))
                        key, newest = version.key, None
                    newest = self._newer(newest, version)
                yield [entry for entry in entries if entry is not None and entry.path]
        last = _entry_of(newest, key[cut:])
        if last is not None and last.path:
            yield [last]

    def children(self, key: str, beginning: str = "", most_pages: int | None = None) -> Iterator[Entry]:
        return directly_below(self._below(key, beginning))

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], workers: int | None) -> T:
        return self._store.run(main, workers)

    async def most_in_flight(self, before: int) -> int:
        return await self._store.most_in_flight(before)

    def download(
        self,
        key: str,
        expected: Entry,
        target: str,
        moved: Moved = unseen,
        cancelled: CancelToken = NEVER,
        notes: RangeNotes = NOTHING_NOTED,
        tell_checksum: TellChecksum = untold,
        rate: Rate = UNLIMITED,
    ) -> Coroutine[Any, Any, Entry]:
        bodies = self._bodies(self._client.of_version(expected.version_id))
        return bodies.download(Wanted(key, expected, target, moved, cancelled, notes, tell_checksum, rate))

    def as_of(self, moment: str) -> Store:
        return self._store.as_of(moment)

    def versions(self, prefix: str) -> Iterator[Version]:
        return self._store.versions(prefix)

    def headers_of(self, extra_args: Mapping[str, Any]) -> tuple[str, ...]:
        return self._store.headers_of(extra_args)

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
        self._refuse()

    def delete(self, keys: Sequence[str], cancelled: CancelToken = NEVER) -> list[tuple[str, Exception]]:
        self._refuse()

    def put_marker(self, key: str) -> str | None:
        self._refuse()

    def _refuse(self) -> Never:
        raise StoreError(f"{self._where}: what was there at {self._moment} cannot be changed")

    def hang_up(self) -> None:
        self._store.hang_up()

    def abort_unfinished(self, *, stopped: bool) -> None:
        pass


def _entry_of(version: Version | None, path: str) -> Entry | None:
    return None if version is None or version.is_delete else version.entry(path)
