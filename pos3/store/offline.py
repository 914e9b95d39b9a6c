"""A store that sends no requests: it lists the recorded objects, and refuses everything else."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Never, TypeVar

from pos3.entries import EVERY_PATH, Entry, PathRange
from pos3.errors import OfflineError
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
    unseen,
    untold,
)

T = TypeVar("T")
Recall = Callable[[str], Iterator[Entry]]
"""Called with a key: what is on record of the objects at and below it, in code-point order of their paths.

The path of an object of exactly this key is "". It raises OfflineError if not all of them are on record.
"""


class OfflineStore:
    """Keeps the contract of :class:`pos3.store.base.Store` as far as this is possible without requests.

    Args:
        store: the real store. Only properties that need no request are used.
        recall: returns what is recorded about its objects.
        reason: why no requests are sent, for errors.
    """

    def __init__(self, store: Store, recall: Recall, reason: str):
        self._store = store
        self._recall = recall
        self._reason = reason

    @property
    def endpoint(self) -> str:
        return self._store.endpoint

    def route(self) -> Route:
        return self._store.route()

    @property
    def resumable_from_bytes(self) -> int:
        return self._store.resumable_from_bytes

    @property
    def clock_set_back_seconds(self) -> float:
        return 0.0

    def survey(self, key: str) -> Survey:
        first = next(self._recall(key), None)
        is_object = first is not None and not first.path
        is_prefix = any(entry.path for entry in self._recall(key))
        return Survey(is_object, is_prefix, server_time=0.0)

    def entries(
        self, key: str, *, is_prefix: bool, landmarks: Landmarks = nothing_known, within: PathRange = EVERY_PATH
    ) -> Iterator[Entry]:
        yield from within.cut(self._recalled(key, is_prefix))

    def _recalled(self, key: str, is_prefix: bool) -> Iterator[Entry]:
        for entry in self._recall(key):
            if entry.path:
                yield entry
            elif not is_prefix:
                yield entry
                return

    def children(self, key: str, beginning: str = "", most_pages: int | None = None) -> Iterator[Entry]:
        return directly_below(entry for entry in self._recall(key) if entry.path and entry.path.startswith(beginning))

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], workers: int | None) -> T:
        self._refuse()

    async def most_in_flight(self, before: int) -> int:
        self._refuse()

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
        self._refuse()

    def as_of(self, moment: str) -> Store:
        return OfflineStore(self._store.as_of(moment), self._recall, self._reason)

    def versions(self, prefix: str) -> Iterator[Version]:
        self._refuse()

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

    def hang_up(self) -> None:
        pass

    def abort_unfinished(self, *, stopped: bool) -> None:
        pass

    def _refuse(self) -> Never:
        raise OfflineError(f"this needs the store, and {self._reason}")
