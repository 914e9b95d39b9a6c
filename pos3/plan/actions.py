"""PURE. Stores the actions of a plan in little memory, because a plan may copy millions of files."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

from pos3.entries import Entry


class Action(NamedTuple):
    """One file to copy or delete.

    ``source`` is the entry to copy, or the entry to delete. ``replaces`` is the entry that a download found at the
    local path, or None if there was none. If it has changed when the file is put in place, it is not replaced.
    """

    path: str
    reason: str
    source: Entry
    replaces: Entry | None = None


_CHUNK = 1024
# Almost no text in a plan contains this character.
_SEPARATOR = "\x00"


_Row = tuple[str, Entry, Entry | None]
"""The reason, the source, and the replaced entry of an action."""


def _action(row: _Row) -> Action:
    reason, source, replaces = row
    return Action(source.path, reason, source, replaces)


@dataclass(frozen=True, slots=True)
class _Column:
    """The texts of one field: one text if all are equal, or else one joined text, or else a tuple."""

    texts: str | tuple[str, ...]
    is_same: bool = False

    @classmethod
    def of(cls, texts: tuple[str, ...]) -> _Column:
        if texts.count(texts[0]) == len(texts):
            return cls(texts[0], is_same=True)
        joined = _SEPARATOR.join(texts)
        return cls(joined if joined.count(_SEPARATOR) == len(texts) - 1 else texts)

    def unpacked(self) -> Iterable[str]:
        if self.is_same:
            return itertools.repeat(str(self.texts))
        return self.texts.split(_SEPARATOR) if isinstance(self.texts, str) else self.texts


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A number of actions, stored by columns."""

    reasons: _Column
    paths: _Column
    sizes: array[int]
    times: array[int]
    etags: _Column
    inodes: array[int]
    unusable: _Column
    storage_classes: _Column
    version_ids: _Column
    replaced: dict[int, Entry]

    @classmethod
    def of(cls, actions: Sequence[_Row]) -> _Chunk:
        reasons, sources, replaced = zip(*actions, strict=True)
        paths, sizes, times, etags, inodes, unusable, storage_classes, version_ids = zip(*sources, strict=True)
        return cls(
            _Column.of(reasons),
            _Column.of(paths),
            array("q", sizes),
            array("q", times),
            _Column.of(etags),
            array("q", inodes) if any(inodes) else array("q"),
            _Column.of(unusable),
            _Column.of(storage_classes),
            _Column.of(version_ids),
            {at: entry for at, entry in enumerate(replaced) if entry is not None} if any(replaced) else {},
        )

    def __iter__(self) -> Iterator[Action]:
        columns = zip(
            self.paths.unpacked(),
            self.sizes,
            self.times,
            self.etags.unpacked(),
            self.inodes or itertools.repeat(0),
            self.unusable.unpacked(),
            self.storage_classes.unpacked(),
            self.version_ids.unpacked(),
            strict=False,
        )
        replaced = self.replaced.get
        for at, (entry, reason) in enumerate(zip(map(Entry._make, columns), self.reasons.unpacked(), strict=False)):
            yield Action(entry.path, reason, entry, replaced(at))

    def paths_and_reasons(self) -> Iterator[tuple[str, str]]:
        # A column whose texts are equal has no end.
        for path, reason, _ in zip(self.paths.unpacked(), self.reasons.unpacked(), self.sizes, strict=False):
            yield path, reason


class Actions(Sequence[Action]):
    """A sequence of actions, in the order in which they were added. The path of an action is that of its source.

    An action takes about a hundred bytes. Each access creates a new :class:`Action` object.
    """

    def __init__(self, actions: Iterable[Action] = ()):
        self._chunks: list[_Chunk] = []
        self._last: list[_Row] = []
        for action in actions:
            self.append(action)

    def append(self, action: Action) -> None:
        self.add(action.reason, action.source, action.replaces)

    def add(self, reason: str, source: Entry, replaces: Entry | None = None) -> None:
        """Appends an action without creating an :class:`Action` object."""
        self._last.append((reason, source, replaces))
        if len(self._last) == _CHUNK:
            self._chunks.append(_Chunk.of(self._last))
            self._last = []

    def without(self, paths: Collection[str]) -> Actions:
        """The actions whose paths are not among ``paths``."""
        return Actions(action for action in self if action.path not in paths)

    def in_order(self) -> Actions:
        """The actions, sorted by their paths."""
        return Actions(sorted(self, key=lambda action: action.path))

    def paths_and_reasons(self) -> Iterator[tuple[str, str]]:
        """The path and the reason of each action, without creating an :class:`Action` object."""
        chunks = (chunk.paths_and_reasons() for chunk in self._chunks)
        return itertools.chain(*chunks, ((source.path, reason) for reason, source, _ in self._last))

    @property
    def total_bytes(self) -> int:
        """The total size of all sources."""
        return sum(sum(chunk.sizes) for chunk in self._chunks) + sum(source.size_bytes for _, source, _ in self._last)

    def __len__(self) -> int:
        return len(self._chunks) * _CHUNK + len(self._last)

    def __iter__(self) -> Iterator[Action]:
        return itertools.chain(*self._chunks, map(_action, self._last))

    @overload
    def __getitem__(self, index: int) -> Action: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Action]: ...

    def __getitem__(self, index: int | slice) -> Action | Sequence[Action]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        chunk, rest = divmod(at, _CHUNK)
        if chunk == len(self._chunks):
            return _action(self._last[rest])
        return next(itertools.islice(self._chunks[chunk], rest, None))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Actions | tuple | list):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(len(self))

    def __repr__(self) -> str:
        return f"Actions({list(self)!r})"


def paths_and_reasons(actions: Sequence[Action]) -> Iterator[tuple[str, str]]:
    """The path and the reason of each action, without creating an :class:`Action` object."""
    if isinstance(actions, Actions):
        return actions.paths_and_reasons()
    return ((action.path, action.reason) for action in actions)


def total_bytes(actions: Sequence[Action]) -> int:
    """The total size of all sources."""
    return actions.total_bytes if isinstance(actions, Actions) else sum(action.source.size_bytes for action in actions)
