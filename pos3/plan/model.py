"""PURE. What a plan is made of, and the rules that it follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pos3.entry import Entry, Record
from pos3.filters import nothing
from pos3.report import Kept

Direction = Literal["download", "upload"]
Compare = Literal["auto", "size", "checksum"]
SYMLINK = "a symbolic link"
NEW = "new"
EMPTIED = "empty once the deletes are done"


@dataclass(frozen=True, slots=True)
class Action:
    """One file to copy or delete. ``source`` is the entry to copy, or the entry that will be deleted."""

    path: str
    reason: str
    source: Entry


@dataclass(frozen=True)
class Plan:
    """What a transfer would do. Nothing has been done yet.

    ``copies`` come first, then ``last_copies``, then ``deletes``, then ``directories`` (empty ones to create). In an
    upload, the markers of directories come before the deletes, but for those whose reason is ``EMPTIED``.
    ``obstacles`` are local paths of the wrong kind (a directory where a file goes) that make way for copies.
    ``confirmed`` are records that hold without a transfer: of pairs that were found equal, or that belong to no mirror
    any more; ``forgotten`` are paths of records that have nothing left on either side.
    """

    direction: Direction
    copies: tuple[Action, ...] = ()
    last_copies: tuple[Action, ...] = ()
    deletes: tuple[Action, ...] = ()
    directories: tuple[Action, ...] = ()
    obstacles: tuple[str, ...] = ()
    confirmed: tuple[Record, ...] = ()
    forgotten: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    unchanged: int = 0
    source_files: int = 0
    destination_files: int = 0

    @property
    def copy_bytes(self) -> int:
        return sum(action.source.size_bytes for action in (*self.copies, *self.last_copies))

    @property
    def copy_files(self) -> int:
        return len(self.copies) + len(self.last_copies)

    @property
    def overwrites(self) -> bool:
        """Whether something that exists at the destination would be replaced."""
        return any(action.reason != NEW for action in (*self.copies, *self.last_copies)) or bool(self.obstacles)

    @property
    def is_empty(self) -> bool:
        return not (self.copies or self.last_copies or self.deletes or self.directories)


@dataclass(frozen=True)
class TransferPlan:
    """What a download or upload would do, as URLs and paths.

    ``to_copy`` holds (source, destination) pairs, ``to_delete`` what ``delete=True`` would remove at the destination,
    and ``reasons`` the reason for each destination.
    """

    to_copy: list[tuple[str, str]]
    to_delete: list[str]
    reasons: dict[str, str] = field(default_factory=dict, compare=False)


def _unprotected(_remote: Entry, _record: Record | None) -> str:
    return ""


def _never_outranked(_local: Entry, _remote: Entry, _record: Record | None) -> str:
    return ""


def _unproven(_local: Entry, _remote: Entry) -> bool:
    return False


@dataclass(frozen=True)
class Policy:
    """The rules of one plan.

    ``proven_equal`` may read the local file. ``protects`` gives the reason why an object that this mirror did not
    write must stay as it is, or ""; ``outranks`` the reason why an object stays although the local file differs from
    it. ``overwrite`` and ``last`` are predicates of a path. ``where`` names the remote side in errors. ``fold_names``
    says that the local disk ignores case, and ``room_bytes`` how long a path below the local root can be (0: no limit).
    """

    direction: Direction
    where: str
    delete: bool = False
    compare: Compare = "auto"
    proven_equal: Callable[[Entry, Entry], bool] = _unproven
    protects: Callable[[Entry, Record | None], str] = _unprotected
    outranks: Callable[[Entry, Entry, Record | None], str] = _never_outranked
    overwrite: Callable[[str], bool] = nothing
    last: Callable[[str], bool] = nothing
    fold_names: bool = False
    room_bytes: int = 0
    key_prefix: str = ""

    @property
    def trusts_records(self) -> bool:
        """Whether a file that is as recorded on both sides needs no further look."""
        return self.compare != "checksum" and self.overwrite is nothing and not self.fold_names
