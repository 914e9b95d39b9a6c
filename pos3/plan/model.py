"""PURE. What a plan is made of, and the rules that it follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from pos3.entries import Entry, Record
from pos3.filters import nothing
from pos3.reports import Kept

Direction = Literal["download", "upload"]
Compare = Literal["auto", "size", "checksum"]
NEW = "new"
EMPTIED = "empty once the deletes are done"
LOST = "its object is gone since it was synced"


@dataclass(frozen=True, slots=True)
class Action:
    """One file to copy or delete.

    ``source`` is the entry to copy, or the entry that will be deleted. ``replaces`` is what a download found at the
    local path, or None where nothing was: what has changed since then is not replaced.
    """

    path: str
    reason: str
    source: Entry
    replaces: Entry | None = None


@dataclass(frozen=True)
class Plan:
    """What a transfer would do. Nothing has been done yet.

    ``copies`` come first, then ``last_copies``, then ``deletes``, then ``directories`` (empty ones to create). In an
    upload, the markers of directories come before the deletes, but for those whose reason is ``EMPTIED``.
    ``lost`` are local files of an upload that go once all else is done, since the store has lost their objects.
    ``obstacles`` are local paths of the wrong kind (a directory where a file goes) that make way for copies.
    ``confirmed`` are records that hold without a transfer: of pairs that were found equal, or that belong to no mirror
    any more; ``forgotten`` are paths of records that have nothing left on either side. ``written`` are local paths
    below the root that others write: directories above them stay, even empty ones. ``refusal`` says why nobody would
    carry it out as it stands, or is empty. ``problems`` are texts, one for each local name that cannot be a key, and
    ``unreadable`` one for each file or directory that cannot be read: all else is copied, nothing is deleted, and the
    transfer fails.
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
    written: tuple[str, ...] = ()
    lost: tuple[Action, ...] = ()
    refusal: str = ""
    unreadable: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

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
    def not_pushed(self) -> tuple[str, ...]:
        """What cannot be pushed, for whatever reason."""
        return (*self.problems, *self.unreadable)

    @property
    def is_empty(self) -> bool:
        return not (self.copies or self.last_copies or self.deletes or self.directories or self.lost)

    def without_deletes(self) -> Plan:
        """The same plan, if nothing may go on either side. It keeps a lost file, and does not push it."""
        return replace(self, deletes=(), lost=(), kept=(*self.kept, *(Kept(it.path, it.reason) for it in self.lost)))


@dataclass(frozen=True)
class TransferPlan:
    """What a download or upload would do, as URLs and paths.

    ``to_copy`` holds (source, destination) pairs, ``to_delete`` what ``delete=True`` would remove at the destination,
    and of an upload also the local files that would go since the store has lost their objects. ``reasons`` holds the
    reason for each destination, and for each of these files. ``refusal`` says why the real call would refuse this plan
    with a ``PlanRefusedError``, and what to do; it is empty if the real call would carry the plan out. ``problems`` has
    a text for each local file or directory that cannot be pushed: the real call would push all else, delete nothing,
    and fail.
    """

    to_copy: list[tuple[str, str]]
    to_delete: list[str]
    reasons: dict[str, str] = field(default_factory=dict, compare=False)
    refusal: str = field(default="", compare=False)
    problems: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class TwoWayPlan:
    """What a two-way sync would do: what the store has newer comes here, and what is newer here goes there.

    ``refusal`` says why the real call would refuse it with a ``PlanRefusedError``: files that were changed on both
    sides, or too many deletes. It is empty if the real call would carry both plans out.
    """

    download: TransferPlan
    upload: TransferPlan
    refusal: str = field(default="", compare=False)


def _unprotected(_remote: Entry, _record: Record | None) -> str:
    return ""


def _never_outranked(_local: Entry, _remote: Entry, _record: Record | None) -> str:
    return ""


def _never_spared(_path: str, _local: Entry | None, _remote: Entry | None) -> bool:
    return False


def _never_lost(_local: Entry, _record: Record) -> bool:
    return False


def _unproven(_local: Entry, _remote: Entry) -> bool:
    return False


@dataclass(frozen=True)
class Policy:
    """The rules of one plan.

    ``lost`` says of a file that is as recorded and has no object whether it is to go as well. ``proven_equal`` may read
    the local file. ``protects`` gives the reason why an object that this mirror did not write must stay as it is, or
    ""; ``outranks`` the reason why an object stays although the local file differs from it. ``spares`` says of a path
    that a download must leave it as it is, with what is there on both sides; it is asked only for what would change.
    ``overwrite`` and ``last`` are predicates of a path. ``where`` names the remote side in errors, ``local_root`` the
    local one, and ``delete_argument`` is what the caller knows ``delete`` as. ``fold_names`` says that the local disk
    ignores case, and ``room_bytes`` how long a path below the local root can be (0: no limit).
    """

    direction: Direction
    where: str
    delete: bool = False
    compare: Compare = "auto"
    proven_equal: Callable[[Entry, Entry], bool] = _unproven
    protects: Callable[[Entry, Record | None], str] = _unprotected
    outranks: Callable[[Entry, Entry, Record | None], str] = _never_outranked
    spares: Callable[[str, Entry | None, Entry | None], bool] = _never_spared
    lost: Callable[[Entry, Record], bool] = _never_lost
    overwrite: Callable[[str], bool] = nothing
    last: Callable[[str], bool] = nothing
    fold_names: bool = False
    room_bytes: int = 0
    key_prefix: str = ""
    delete_argument: str = "delete"
    local_root: str = ""

    @property
    def trusts_records(self) -> bool:
        """Whether a file that is as recorded on both sides needs no further look."""
        return self.compare != "checksum" and self.overwrite is nothing and not self.fold_names
