"""What a download leaves alone, since somebody writes there: the files of a writer are its own.

==========================  ==================  ==========================  ========================================
the writer                  nothing is there    something is there          the download lies in the writer's path
==========================  ==================  ==========================  ========================================
an open upload that         left alone          left alone                  an error, if it would change anything
deletes at its end
an open sync, or an upload  added, unless the   left alone                  the same as for a part of it
without deletes             writer deleted it
a process that died         added               left alone, unless it is    the same as for a part of it
                                                as it was pushed last
this mirror, the same       added, if the last  left alone                  the same as for a part of it
objects                     push will keep it
==========================  ==================  ==========================  ========================================

No directory above a writer's path is moved or removed, and no file is put where it has to be.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from pos3.entries import Entry, Record
from pos3.errors import ConflictError
from pos3.local import is_within, relative
from pos3.reports import Kept
from pos3.state import Claim

RecordOf = Callable[[str], Record | None]


class Manner(Enum):
    """What becomes of a download that would change what it may not."""

    REFUSED = "it is an error"
    REFUSED_INSIDE = "an error if all of it lies in the writer's path, else all of that path is left alone"
    KEPT = "what it may not change is left alone, and told"
    SILENT = "what it may not change is left alone"


class Guard(Protocol):
    """What one writer allows others to do in its path."""

    @property
    def local(self) -> str:
        """Its absolute path."""
        ...

    @property
    def manner(self) -> Manner: ...

    def refusal(self, path: str, here: Entry | None, there: Entry | None) -> str:
        """Why something must stay as it is, or "".

        Args:
            path: relative to the writer's.
            here: what is there, and would be replaced or removed; None if something would be added.
            there: the object that would come.
        """
        ...

    def __str__(self) -> str: ...


def _is_unchanged(here: Entry | None, path: str, record_of: RecordOf) -> bool:
    """Whether nothing is there, or a file that is as it is on record."""
    if here is None:
        return True
    record = record_of(path)
    return record is not None and record.matches_local(here)


@dataclass(frozen=True)
class _OfClaim:
    """What the guards of other mirrors' claims have in common."""

    claim: Claim

    @property
    def local(self) -> str:
        return self.claim.local

    def __str__(self) -> str:
        return str(self.claim)


@dataclass(frozen=True)
class Closed(_OfClaim):
    """An open upload that deletes at its end: what it is to replace, it would keep, so others add nothing either."""

    manner: Manner = Manner.REFUSED_INSIDE

    def refusal(self, path: str, here: Entry | None, there: Entry | None) -> str:
        return f"{self} writes there"


@dataclass(frozen=True)
class Additive(_OfClaim):
    """An open sync, or an upload without deletes."""

    record_of: RecordOf
    manner = Manner.KEPT

    def refusal(self, path: str, here: Entry | None, there: Entry | None) -> str:
        if here is not None:
            return f"{self} writes there"
        return f"{self} had it, and it was deleted there" if self.record_of(path) is not None else ""


@dataclass(frozen=True)
class Left(_OfClaim):
    """A registration whose process died before all of it was pushed."""

    record_of: RecordOf
    manner = Manner.KEPT

    def refusal(self, path: str, here: Entry | None, there: Entry | None) -> str:
        if _is_unchanged(here, path, self.record_of):
            return ""
        return f"not pushed by {self}, which died; upload or sync it again, or run 'pos3 recover'"


@dataclass(frozen=True)
class Changed:
    """A registration whose files are replaced by one that does a part of its work, but for those that changed since."""

    local: str
    name: str
    record_of: RecordOf
    manner = Manner.KEPT

    def __str__(self) -> str:
        return self.name

    def refusal(self, path: str, here: Entry | None, there: Entry | None) -> str:
        if _is_unchanged(here, path, self.record_of):
            return ""
        return "it has changed here since it was pushed"


@dataclass(frozen=True)
class Own:
    """Another registration of the same mirror that pushes the same objects: they are as S3 will be at its end."""

    local: str
    name: str
    keeps: Callable[[str, Entry], bool]
    manner = Manner.SILENT

    def __str__(self) -> str:
        return self.name

    def refusal(self, path: str, here: Entry | None, there: Entry | None) -> str:
        if here is not None:
            return f"{self} writes there"
        return "" if there is None or self.keeps(path, there) else f"{self} will delete it"


@dataclass(frozen=True)
class Shared:
    """Another download of the same mirror, of another place into the same directory; neither deletes."""

    local: str
    name: str
    record_of: RecordOf
    manner = Manner.REFUSED

    def __str__(self) -> str:
        return self.name

    def refusal(self, path: str, here: Entry | None, there: Entry | None) -> str:
        record = self.record_of(path) if here is not None else None
        return f"{self} has a file of that name" if record is not None else ""


class Guards:
    """The guards of all writers that touch the local root of one download.

    :meth:`spares` is what a plan asks. What was spared is in :attr:`kept` then; a plan that is made anew begins with
    :meth:`reset`.
    """

    def __init__(self, root: str, guards: Sequence[Guard]):
        # Guards have their paths with all links resolved.
        self._root = os.path.realpath(root)
        self._guards = guards
        self.reset()

    def reset(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._refused: dict[str, list[str]] = {}

    @property
    def written(self) -> tuple[str, ...]:
        """The writers' paths below the root, relative to it."""
        below = [guard.local for guard in self._guards if guard.local != self._root and guard.manner != Manner.REFUSED]
        return tuple(relative(local, self._root) for local in below if is_within(local, self._root))

    @property
    def are_own(self) -> bool:
        """Whether the root lies in what the same mirror pushes."""
        return any(guard.manner is Manner.SILENT and is_within(self._root, guard.local) for guard in self._guards)

    @property
    def kept(self) -> tuple[Kept, ...]:
        """What was left alone, and why; one for all of a path in which nothing may be changed."""
        return tuple(self._kept.values())

    @property
    def reason(self) -> str:
        """Why the first of all was left alone."""
        return next(iter([*self._refused, *(f"{kept.path!r}: {kept.reason}" for kept in self.kept)]), "it is written")

    def spares(self, path: str, here: Entry | None, there: Entry | None) -> bool:
        """Whether ``path``, relative to the root, must be left as it is."""
        target = f"{self._root}/{path}" if path else self._root
        return any(self._spares(guard, path, target, here, there) for guard in self._guards)

    def _spares(self, guard: Guard, path: str, target: str, here: Entry | None, there: Entry | None) -> bool:
        if is_within(target.rstrip("/"), guard.local):
            reason = guard.refusal(relative(target, guard.local), here, there)
        elif guard.manner is Manner.REFUSED:
            return False
        elif is_within(guard.local, target.rstrip("/")) and (here is not None or not path.endswith("/")):
            reason = f"{guard} writes below it"
        else:
            return False
        if not reason:
            return False
        is_inside = is_within(self._root, guard.local)
        if guard.manner is Manner.REFUSED or (guard.manner is Manner.REFUSED_INSIDE and is_inside):
            self._refused.setdefault(reason, []).append(path)
        elif guard.manner is Manner.REFUSED_INSIDE:
            told = f"{relative(guard.local, self._root)}/"
            self._kept[told] = Kept(told, reason)
        elif guard.manner is Manner.KEPT:
            self._kept[path] = Kept(path, reason)
        return True

    def check(self, url: str, *, may_keep: bool) -> None:
        """
        Args:
            may_keep: whether something may be left alone at all.

        Raises:
            ConflictError: the plan would change what nobody else may, or all of it is wanted and some is left alone.
        """
        for reason, paths in self._refused.items():
            raise ConflictError(self._told(url, reason, paths))
        if self._kept and not may_keep:
            path, kept = next(iter(self._kept.items()))
            raise ConflictError(self._told(url, kept.reason, [path, *list(self._kept)[1:]]))

    def _told(self, url: str, why: str, paths: list[str]) -> str:
        example = repr(paths[0]) if paths[0] else "the file itself"
        return (
            f"the download of {url} would change {len(paths)} file(s) in {self._root}, such as {example}, but {why}; "
            "nothing was changed. Wait until that ends, or download to another place, with another local or cache_root"
        )


class Cursor:
    """Finds records by their paths, in one pass over a sorted stream as long as the paths come in order, too."""

    def __init__(self, begin: Callable[[], Iterator[Record]]):
        self._begin = begin
        self._records: Iterator[Record] = iter(())
        self._at: Record | None = None
        self._asked: str | None = None

    def __call__(self, path: str) -> Record | None:
        if self._asked is None or path < self._asked:
            self._records = self._begin()
            self._at = next(self._records, None)
        self._asked = path
        while self._at is not None and self._at.path < path:
            self._at = next(self._records, None)
        return self._at if self._at is not None and self._at.path == path else None
