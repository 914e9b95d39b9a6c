"""PURE. Walks the two sides and the records at once, in the order of their paths."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import compress, islice
from operator import itemgetter, ne, not_
from typing import Generic, TypeVar

from pos3.entries import Entry, Record

T = TypeVar("T")
Step = tuple[str, Entry | None, Entry | None, Record | None]
"""A path, and what the local side, the remote side and the records hold there."""

_LONGEST = 1024
_PATH = itemgetter(0)
_LOCAL_STATE_OF_ENTRY = itemgetter(0, 1, 2, 4)
_LOCAL_STATE_OF_RECORD = itemgetter(0, 1, 2, 3)
_REMOTE_STATE_OF_ENTRY = itemgetter(0, 1, 3)
_REMOTE_STATE_OF_RECORD = itemgetter(0, 1, 4)
_ETAG_OF_RECORD = itemgetter(4)
_UNUSABLE = itemgetter(5)


@dataclass(frozen=True, slots=True)
class Agreed:
    """A stretch of files that are as recorded on every side that was looked at; at least one path, in order."""

    paths: list[str]


class _Ahead(Generic[T]):
    """A stream of which some items can be seen before they are taken."""

    def __init__(self, stream: Iterable[T]):
        self._stream = iter(stream)
        self._items: list[T] = []
        self._at = 0

    def see(self, count: int) -> list[T]:
        """The next ``count`` items, or as many as there are."""
        end = self._at + count
        if len(self._items) < end:
            self._items = self._items[self._at :]
            self._items += islice(self._stream, _LONGEST)
            self._at, end = 0, count
        return self._items[self._at : end]

    def first(self) -> T | None:
        if self._at < len(self._items):
            return self._items[self._at]
        seen = self.see(1)
        return seen[0] if seen else None

    def take(self, count: int = 1) -> None:
        self._at += count


def march(local: Iterable[Entry], remote: Iterable[Entry], records: Iterable[Record]) -> Iterator[Step]:
    """Each path that any of the three sorted streams holds, once, with what each of them holds there."""
    locals_, remotes, recorded = _Ahead(local), _Ahead(remote), _Ahead(records)
    while (step := _step(locals_, remotes, recorded)) is not None:
        yield step


def _step(locals_: _Ahead[Entry], remotes: _Ahead[Entry], recorded: _Ahead[Record]) -> Step | None:
    here, there, record = locals_.first(), remotes.first(), recorded.first()
    if here is None and there is None and record is None:
        return None
    path = min(head[0] for head in (here, there, record) if head is not None)
    if here is not None:
        if here[0] == path:
            locals_.take()
        else:
            here = None
    if there is not None:
        if there[0] == path:
            remotes.take()
        else:
            there = None
    if record is not None:
        if record[0] == path:
            recorded.take()
        else:
            record = None
    return path, here, there, record


def march_over(local: Iterable[Entry], remote: Iterable[Entry], records: Iterable[Record]) -> Iterator[Step | Agreed]:
    """As :func:`march`, but stretches in which both sides are as recorded come as a whole, at a tenth of the cost."""
    locals_, remotes, recorded = _Ahead(local), _Ahead(remote), _Ahead(records)

    def agreed(count: int) -> int:
        known = recorded.see(count)
        count = _agreed_locally(locals_.see(count), known) if known else 0
        return min(count, _agreed_remotely(remotes.see(count), known)) if count else 0

    return _in_stretches(locals_, remotes, recorded, agreed)


def march_over_local(local: Iterable[Entry], records: Iterable[Record]) -> Iterator[Step | Agreed]:
    """As :func:`march_over`, of the local side alone."""
    locals_, recorded = _Ahead(local), _Ahead(records)

    def agreed(count: int) -> int:
        return _agreed_locally(locals_.see(count), recorded.see(count))

    return _in_stretches(locals_, _Ahead(()), recorded, agreed)


def _agreed_locally(entries: list[Entry], records: list[Record]) -> int:
    """How many entries, from the first on, are as recorded and can be used."""
    count = _in_common(list(map(_LOCAL_STATE_OF_ENTRY, entries)), list(map(_LOCAL_STATE_OF_RECORD, records)))
    return _first(map(_UNUSABLE, entries[:count]), count)


def _agreed_remotely(entries: list[Entry], records: list[Record]) -> int:
    """How many entries, from the first on, are as recorded, with an ETag to tell it by."""
    count = _in_common(list(map(_REMOTE_STATE_OF_ENTRY, entries)), list(map(_REMOTE_STATE_OF_RECORD, records)))
    return _first(map(not_, map(_ETAG_OF_RECORD, records[:count])), count)


def _in_common(ours: list[tuple[object, ...]], theirs: list[tuple[object, ...]]) -> int:
    """How many items both lists begin with."""
    return len(ours) if ours == theirs else _first(map(ne, ours, theirs), min(len(ours), len(theirs)))


def _first(truths: Iterable[object], otherwise: int) -> int:
    """The position of the first that is true."""
    return next(compress(itertools.count(), truths), otherwise)


def _in_stretches(
    locals_: _Ahead[Entry], remotes: _Ahead[Entry], recorded: _Ahead[Record], agreed: Callable[[int], int]
) -> Iterator[Step | Agreed]:
    """Looks as far ahead as went well lately: further after a stretch that did, less far after a difference."""
    ahead = _LONGEST
    while True:
        count = agreed(ahead)
        if count:
            yield Agreed(list(map(_PATH, recorded.see(count))))
            for stream in (locals_, remotes, recorded):
                stream.take(count)
        if count == ahead:
            ahead = min(ahead * 4, _LONGEST)
            continue
        ahead = min(2 * count + 1, _LONGEST)
        step = _step(locals_, remotes, recorded)
        if step is None:
            return
        yield step


def with_next(steps: Iterable[Step | Agreed]) -> Iterator[tuple[Step | Agreed, str]]:
    """Each step, in order, with the path of the next one that exists on a side, or "" at the end.

    Sorted order puts "dir/" right before what lies in it, so one step ahead tells whether it is empty.
    """
    waiting: list[Step | Agreed] = []
    for step in steps:
        if isinstance(step, Agreed) or step[1] is not None or step[2] is not None:
            following = step.paths[0] if isinstance(step, Agreed) else step[0]
            for earlier in waiting:
                yield earlier, following
            waiting.clear()
        waiting.append(step)
    for earlier in waiting:
        yield earlier, ""
