"""Decides which local files a download leaves alone, because another registration or process writes them.

==========================  ==================  ==========================  ========================================
the writer                  no local file yet   a local file exists         the download lies in the writer's path
==========================  ==================  ==========================  ========================================
an open upload that         left alone          left alone                  an error, if it would change anything
deletes at its end
an open sync, or an upload  added, unless the   left alone                  the same as for a part of it
without deletes             writer deleted it
the same in a mirror of     added, unless the   left alone, unless it is    the same as for a part of it
this group                  writer deleted it   as it was recorded
a process that died         added               left alone, unless it is    the same as for a part of it
                                                as it was last pushed
this mirror, the same       added, if the last  left alone                  the same as for a part of it
objects                     push will keep it
==========================  ==================  ==========================  ========================================

No directory above a writer's path is moved or removed, and no file is put where such a directory has to be.
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


class OnChange(Enum):
    """The consequence if a download would change a file that it must leave alone."""

    RAISE = "it is an error"
    RAISE_INSIDE = "it is an error if all of the download lies in the writer's path, else that path is left alone"
    KEEP = "the file is left alone, and the report names it"
    KEEP_SILENTLY = "the file is left alone"


class Writer(Protocol):
    """A writer of local files, and what it allows a download to change in its path."""

    @property
    def local(self) -> str:
        """The absolute path that the writer writes."""
        ...

    @property
    def on_change(self) -> OnChange: ...

    def reason_to_keep(self, path: str, local_entry: Entry | None, remote_entry: Entry | None) -> str:
        """The reason why a path must stay as it is, or "".

        Args:
            path: relative to the writer's path.
            local_entry: what would be replaced or removed; None if the download would add a file.
            remote_entry: the object that would be downloaded.
        """
        ...

    def __str__(self) -> str: ...


def _is_unchanged(local_entry: Entry | None, path: str, record_of: RecordOf) -> bool:
    """Whether no file exists, or the file matches its record."""
    if local_entry is None:
        return True
    record = record_of(path)
    return record is not None and record.matches_local(local_entry)


@dataclass(frozen=True)
class _Claimant:
    """The common part of writers that are known by a claim."""

    claim: Claim

    @property
    def local(self) -> str:
        return self.claim.local

    def __str__(self) -> str:
        return str(self.claim)


@dataclass(frozen=True)
class DeletingUpload(_Claimant):
    """An open upload that deletes at its end.

    Nothing is added to its path either, because its last push would then keep the objects that it is to replace.
    """

    on_change: OnChange = OnChange.RAISE_INSIDE

    def reason_to_keep(self, path: str, local_entry: Entry | None, remote_entry: Entry | None) -> str:
        return f"{self} writes there"


@dataclass(frozen=True)
class AdditiveWriter(_Claimant):
    """An open sync, or an open upload without deletes. Files may be added to its path.

    Mirrors of one group, such as those of a flow run, bring each other's changes. So with ``is_of_group``, what the
    writer has not changed is replaced.
    """

    record_of: RecordOf
    is_of_group: bool = False
    on_change = OnChange.KEEP

    def reason_to_keep(self, path: str, local_entry: Entry | None, remote_entry: Entry | None) -> str:
        if local_entry is not None:
            is_replaced = self.is_of_group and _is_unchanged(local_entry, path, self.record_of)
            return "" if is_replaced else f"{self} writes there"
        return f"{self} had it, and it was deleted there" if self.record_of(path) is not None else ""


@dataclass(frozen=True)
class DeadWriter(_Claimant):
    """A registration whose process died before everything was pushed."""

    record_of: RecordOf
    on_change = OnChange.KEEP

    def reason_to_keep(self, path: str, local_entry: Entry | None, remote_entry: Entry | None) -> str:
        if _is_unchanged(local_entry, path, self.record_of):
            return ""
        return f"not pushed by {self}, which died; upload or sync it again, or run 'pos3 recover'"


@dataclass(frozen=True)
class ParentWriter:
    """A registration of the parent mirror. Its files may be replaced if they have not changed since they were pushed.

    A mirror has a parent if it does a part of the parent's work.
    """

    local: str
    name: str
    record_of: RecordOf
    on_change = OnChange.KEEP

    def __str__(self) -> str:
        return self.name

    def reason_to_keep(self, path: str, local_entry: Entry | None, remote_entry: Entry | None) -> str:
        if _is_unchanged(local_entry, path, self.record_of):
            return ""
        return "it has changed here since it was pushed"


@dataclass(frozen=True)
class OwnPush:
    """Another registration of the same mirror that pushes the same objects.

    Its local files are as the objects will be after its last push. ``keeps`` tells whether that push keeps an object.
    """

    local: str
    name: str
    keeps: Callable[[str, Entry], bool]
    on_change = OnChange.KEEP_SILENTLY

    def __str__(self) -> str:
        return self.name

    def reason_to_keep(self, path: str, local_entry: Entry | None, remote_entry: Entry | None) -> str:
        if local_entry is not None:
            return f"{self} writes there"
        return "" if remote_entry is None or self.keeps(path, remote_entry) else f"{self} will delete it"


@dataclass(frozen=True)
class OwnDownload:
    """Another download of the same mirror, from another place into the same directory. Neither of them deletes."""

    local: str
    name: str
    record_of: RecordOf
    on_change = OnChange.RAISE

    def __str__(self) -> str:
        return self.name

    def reason_to_keep(self, path: str, local_entry: Entry | None, remote_entry: Entry | None) -> str:
        record = self.record_of(path) if local_entry is not None else None
        return f"{self} has a file of that name" if record is not None else ""


class LocalWriters:
    """All writers that touch the local root of one download.

    The plan calls :meth:`keeps_local`. Afterwards, :attr:`kept` names the paths that are left alone. :meth:`reset` must
    be called before the plan is made again.
    """

    def __init__(self, root: str, writers: Sequence[Writer]):
        # The paths of writers have all links resolved.
        self._root = os.path.realpath(root)
        self._writers = writers
        self.reset()

    def reset(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._refused: dict[str, list[str]] = {}

    @property
    def paths_below_root(self) -> tuple[str, ...]:
        """The paths of writers below the root, relative to it."""
        below = [writer.local for writer in self._writers if writer.local != self._root and _protects_path(writer)]
        return tuple(relative(local, self._root) for local in below if is_within(local, self._root))

    @property
    def include_own_push(self) -> bool:
        """Whether the root lies in a path that the same mirror pushes."""
        return any(
            writer.on_change is OnChange.KEEP_SILENTLY and is_within(self._root, writer.local)
            for writer in self._writers
        )

    @property
    def kept(self) -> tuple[Kept, ...]:
        """The paths that are left alone, with the reasons. A path in which nothing may change is named once."""
        return tuple(self._kept.values())

    @property
    def first_reason(self) -> str:
        """The reason why the first path is left alone."""
        return next(iter([*self._refused, *(f"{kept.path!r}: {kept.reason}" for kept in self.kept)]), "it is written")

    def keeps_local(self, path: str, local_entry: Entry | None, remote_entry: Entry | None) -> bool:
        """Whether ``path``, relative to the root, must be left as it is."""
        target = f"{self._root}/{path}" if path else self._root
        return any(self._keeps(writer, path, target, local_entry, remote_entry) for writer in self._writers)

    def _keeps(
        self, writer: Writer, path: str, target: str, local_entry: Entry | None, remote_entry: Entry | None
    ) -> bool:
        reason = self._reason(writer, path, target, local_entry, remote_entry)
        if not reason:
            return False
        is_inside = is_within(self._root, writer.local)
        if writer.on_change is OnChange.RAISE or (writer.on_change is OnChange.RAISE_INSIDE and is_inside):
            self._refused.setdefault(reason, []).append(path)
        elif writer.on_change is OnChange.RAISE_INSIDE:
            writer_path = f"{relative(writer.local, self._root)}/"
            self._kept[writer_path] = Kept(writer_path, reason)
        elif writer.on_change is OnChange.KEEP:
            self._kept[path] = Kept(path, reason)
        return True

    @staticmethod
    def _reason(writer: Writer, path: str, target: str, local_entry: Entry | None, remote_entry: Entry | None) -> str:
        if is_within(target.rstrip("/"), writer.local):
            return writer.reason_to_keep(relative(target, writer.local), local_entry, remote_entry)
        is_above = is_within(writer.local, target.rstrip("/")) and (local_entry is not None or not path.endswith("/"))
        return f"{writer} writes below it" if is_above and _protects_path(writer) else ""

    def check(self, url: str, *, may_keep: bool) -> None:
        """Returns if the plan may be carried out.

        Args:
            may_keep: whether any file may be left alone.

        Raises:
            ConflictError: the plan would change a path that only its writer may change; or files are left alone and
                ``may_keep`` is False.
        """
        for reason, paths in self._refused.items():
            raise ConflictError(self._message(url, reason, paths))
        if self._kept and not may_keep:
            path, kept = next(iter(self._kept.items()))
            raise ConflictError(self._message(url, kept.reason, [path, *list(self._kept)[1:]]))

    def _message(self, url: str, reason: str, paths: list[str]) -> str:
        example = repr(paths[0]) if paths[0] else "the file itself"
        return (
            f"the download of {url} would change {len(paths)} file(s) in {self._root}, such as {example}, but "
            f"{reason}; nothing was changed. Wait until that ends, or download to another place, with another local or "
            "cache_root"
        )


def _protects_path(writer: Writer) -> bool:
    """Whether the directories above the writer's path must stay. Those of another download may be replaced."""
    return writer.on_change is not OnChange.RAISE


class RecordLookup:
    """Finds records by their paths. Paths in code-point order cost a single pass over the records."""

    def __init__(self, open_records: Callable[[], Iterator[Record]]):
        self._open_records = open_records
        self._records: Iterator[Record] = iter(())
        self._current: Record | None = None
        self._last_path: str | None = None

    def __call__(self, path: str) -> Record | None:
        if self._last_path is None or path < self._last_path:
            self._records = self._open_records()
            self._current = next(self._records, None)
        self._last_path = path
        while self._current is not None and self._current.path < path:
            self._current = next(self._records, None)
        return self._current if self._current is not None and self._current.path == path else None
