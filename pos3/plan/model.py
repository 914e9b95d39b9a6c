"""PURE. The parts of a plan, and the rules by which it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

from pos3.entries import Entry, Record
from pos3.filters import nothing
from pos3.plan.actions import Action, paths_and_reasons, total_bytes
from pos3.reports import Kept

Direction = Literal["download", "upload"]
Compare = Literal["auto", "size", "checksum"]
NEW = "new"
EMPTIED = "empty once the deletes are done"
LOST = "its object is gone since it was synced"


@dataclass(frozen=True)
class Plan:
    """The actions of a transfer. Making a plan changes nothing.

    ``copies`` come first, then ``last_copies``, then ``deletes``, then ``directories`` (empty ones to create). In an
    upload, directory objects are created before the deletes, except those whose reason is ``EMPTIED``. ``lost`` are
    local files of an upload whose objects the store has lost; they are deleted after everything else. ``obstacles`` are
    local paths of the wrong kind, such as a directory at the path of a file; they are moved aside. ``confirmed`` are
    records to write without a transfer: their pairs were found equal, or lose their owner. ``forgotten`` are paths of
    records that exist on neither side. ``paths_of_others`` are local paths below the root that other mirrors write, or
    other parts of the URL; directories above them stay, even if they are empty. ``refusal`` says why the transfer would
    refuse this plan, or is empty. ``problems`` has one text for each local name that cannot be a key, and
    ``unreadable`` one for each file or directory that cannot be read. In both cases everything else is copied, nothing
    is deleted, and the transfer fails.
    """

    direction: Direction
    copies: Sequence[Action] = ()
    last_copies: Sequence[Action] = ()
    deletes: tuple[Action, ...] = ()
    directories: tuple[Action, ...] = ()
    obstacles: tuple[str, ...] = ()
    confirmed: tuple[Record, ...] = ()
    forgotten: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    unchanged: int = 0
    source_files: int = 0
    destination_files: int = 0
    paths_of_others: tuple[str, ...] = ()
    lost: tuple[Action, ...] = ()
    refusal: str = ""
    unreadable: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def every_copy(self) -> Iterator[Action]:
        """All copies, in the order in which they begin."""
        return chain(self.copies, self.last_copies)

    def copied_paths(self) -> Iterator[tuple[str, str]]:
        """The path and the reason of each copy, in the same order. This is faster than to look at each action."""
        return chain(paths_and_reasons(self.copies), paths_and_reasons(self.last_copies))

    @property
    def copy_bytes(self) -> int:
        return total_bytes(self.copies) + total_bytes(self.last_copies)

    @property
    def copy_files(self) -> int:
        return len(self.copies) + len(self.last_copies)

    @property
    def overwrites(self) -> bool:
        """Whether something that exists at the destination would be replaced."""
        return any(reason != NEW for _, reason in self.copied_paths()) or bool(self.obstacles)

    @property
    def not_pushed(self) -> tuple[str, ...]:
        """One text for each file or directory that cannot be pushed, for any reason."""
        return (*self.problems, *self.unreadable)

    @property
    def is_empty(self) -> bool:
        return not (self.copies or self.last_copies or self.deletes or self.directories or self.lost)

    def without_deletes(self) -> Plan:
        """The same plan without deletes on either side. Lost files are kept, but not pushed."""
        return replace(self, deletes=(), lost=(), kept=(*self.kept, *(Kept(it.path, it.reason) for it in self.lost)))


@dataclass(frozen=True)
class TransferPlan:
    """What a download or an upload would do, as URLs and local paths.

    - ``to_copy`` has pairs of source and destination.
    - ``to_delete`` lists what the real call would delete at the destination. For an upload, it also lists local files
      whose objects are gone from the store.
    - ``reasons`` has the reason for each destination in ``to_copy``, and for each entry of ``to_delete``.
    - ``refusal`` says why the real call would raise a :class:`PlanRefusedError`, and what to do. It is "" if the real
      call would not raise it.
    - ``problems`` has one text for each local file or directory that cannot be pushed. With problems, the real call
      would push all other files, delete nothing, and fail.
    - ``kept`` lists what the real call would leave as it is, with the reasons.
    """

    to_copy: list[tuple[str, str]]
    to_delete: list[str]
    reasons: dict[str, str] = field(default_factory=dict, compare=False)
    refusal: str = field(default="", compare=False)
    problems: tuple[str, ...] = field(default=(), compare=False)
    kept: tuple[Kept, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class TwoWayPlan:
    """What a two-way sync would do, as one plan for each direction.

    ``download`` copies files that are newer in the store, and ``upload`` copies files that are newer here. ``refusal``
    says why the real call would raise a :class:`PlanRefusedError`: conflicts, or too many deletes. It is "" if the real
    call would not raise it.
    """

    download: TransferPlan
    upload: TransferPlan
    refusal: str = field(default="", compare=False)


def _unprotected(_remote: Entry, _record: Record | None) -> str:
    return ""


def _never_prefers_remote(_local: Entry, _remote: Entry, _record: Record | None) -> str:
    return ""


def _keeps_no_local(_path: str, _local: Entry | None, _remote: Entry | None) -> bool:
    return False


def _never_lost(_local: Entry, _record: Record) -> bool:
    return False


def _unknown_checksum(_local: Entry, _checksum: str) -> bool | None:
    return None


def _unproven(_local: Entry, _remote: Entry) -> bool:
    return False


@dataclass(frozen=True)
class Policy:
    """The rules of one plan.

    ``lost`` decides whether a file that is as recorded, but has no object any more, is deleted as well.
    ``proven_equal`` may read the local file, and so may ``has_checksum``, which decides by a recorded checksum, or
    returns None if that cannot be computed here. ``protects`` returns the reason why an object that another writer has
    changed must stay, or "". ``prefers_remote`` returns the reason why an object stays although the local file differs,
    or "". ``keeps_local`` decides whether a download leaves a local path as it is; it gets the path and the entries of
    both sides, and is called only for paths that would change. ``overwrite`` and ``last`` are predicates of a path:
    copied in any case, and copied after the others. ``where`` names the remote side in errors, ``local_root`` the local
    side, and ``delete_argument`` is the caller's name of ``delete``. ``fold_names`` says that the local disk ignores
    case. ``max_path_bytes`` is the maximum length of a path below the local root; 0 means no limit.
    """

    direction: Direction
    where: str
    delete: bool = False
    compare: Compare = "auto"
    proven_equal: Callable[[Entry, Entry], bool] = _unproven
    has_checksum: Callable[[Entry, str], bool | None] = _unknown_checksum
    protects: Callable[[Entry, Record | None], str] = _unprotected
    prefers_remote: Callable[[Entry, Entry, Record | None], str] = _never_prefers_remote
    keeps_local: Callable[[str, Entry | None, Entry | None], bool] = _keeps_no_local
    lost: Callable[[Entry, Record], bool] = _never_lost
    overwrite: Callable[[str], bool] = nothing
    last: Callable[[str], bool] = nothing
    fold_names: bool = False
    max_path_bytes: int = 0
    key_prefix: str = ""
    delete_argument: str = "delete"
    local_root: str = ""

    @property
    def trusts_records(self) -> bool:
        """Whether a file that is as recorded on both sides needs no further check."""
        return self.compare != "checksum" and self.overwrite is nothing and not self.fold_names
