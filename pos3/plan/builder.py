"""PURE. Collects the actions of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from pos3.entries import WITHOUT_CONTENT, Entry, Record
from pos3.errors import UnsafeKeysError
from pos3.plan.actions import Action, Actions
from pos3.plan.deletes import reason_to_keep_all
from pos3.plan.model import Direction, Plan, Policy
from pos3.plan.path_rules import MAX_PROBLEMS
from pos3.reports import Kept


@dataclass
class PlanBuilder:
    """The parts of a plan that is not complete yet. :meth:`build` makes the plan."""

    copies: Actions = field(default_factory=Actions)
    last_copies: Actions = field(default_factory=Actions)
    deletes: list[Action] = field(default_factory=list)
    directories: list[Action] = field(default_factory=list)
    emptied: list[Action] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    confirmed: list[Record] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    unchanged: int = 0
    source_files: int = 0
    destination_files: int = 0
    lost: list[Action] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def add_unusable(self, local: Entry, policy: Policy) -> None:
        """Adds a local entry that cannot be pushed. If it cannot be read, that is a failure; otherwise it is kept."""
        path = f"{policy.local_root}/{local.path}".rstrip("/")
        if local.is_unreadable:
            advice = "give this user read permission, or leave it out with exclude=[...]"
            self.unreadable.append(f"{path!r} {local.unusable}: {advice}")
        elif not local.path and local.unusable in WITHOUT_CONTENT:
            self.unreadable.append(f"{path!r} is {local.unusable}: only files and directories can be pushed")
        else:
            self.kept.append(Kept(local.path, local.unusable))

    def count_unchanged(self, files: int, *, destination_files: int | None = None) -> None:
        """Counts unchanged files that exist on both sides."""
        self.unchanged += files
        self.source_files += files
        self.destination_files += files if destination_files is None else destination_files

    def confirm(self, local: Entry, etag: str, record: Record | None, policy: Policy) -> None:
        """Adds the record of a pair that was found equal, unless the record exists. Equal sizes alone do not count."""
        known = record is not None and record.matches_local(local) and record.etag == etag
        if known or policy.compare == "size":
            return
        # This mirror did not transfer the pair. Without an earlier record of the same object, it has no owner.
        owner, checksum = (record.owner, record.checksum) if record is not None and record.etag == etag else ("", "")
        self.confirmed.append(Record.of_pair(local, etag, owner, checksum))

    def drop_copies(self, paths: set[str]) -> None:
        """Removes the copies of these paths from the plan."""
        self.copies, self.last_copies = self.copies.without(paths), self.last_copies.without(paths)

    def build(self, direction: Direction, problems: Sequence[str], where: str) -> Plan:
        """The plan. It has no deletes if the source is empty, or if some files cannot be uploaded.

        Raises:
            UnsafeKeysError: it is a download, and there are problems.
        """
        if problems and direction == "download":
            raise UnsafeKeysError(where, problems)
        reason = reason_to_keep_all(
            has_problems=bool(problems), has_unreadable=bool(self.unreadable), source_files=self.source_files
        )
        if reason and (self.deletes or problems or self.unreadable):
            self._keep_all(reason)
        return Plan(
            direction,
            self.copies,
            self.last_copies,
            tuple(self.deletes),
            (*self.directories, *self.emptied),
            tuple(self.obstacles),
            tuple(self.confirmed),
            tuple(self.forgotten),
            tuple(self.kept),
            self.unchanged,
            self.source_files,
            self.destination_files,
            problems=tuple(problems[:MAX_PROBLEMS]),
            unreadable=tuple(self.unreadable),
            lost=() if problems or self.unreadable else tuple(self.lost),
        )

    def _keep_all(self, reason: str) -> None:
        """Turns all deletes into kept files, and removes the copies that these files block."""
        kept_paths = {action.path for action in self.deletes}
        parents = {path[:end] for path in kept_paths for end, letter in enumerate(path) if letter == "/"}
        copies = [action.path for action in chain(self.copies, self.last_copies)]
        blocked = {path for path in copies if path in parents or _is_below(path, kept_paths)}
        self.drop_copies(blocked)
        self.kept += [Kept(path, "what lies in its way stays") for path in sorted(blocked)]
        self.kept += [Kept(action.path, reason) for action in self.deletes]
        self.directories = [action for action in self.directories if not _is_below(action.path, kept_paths)]
        self.deletes = []
        self.emptied = []


def _is_below(path: str, names: set[str]) -> bool:
    """Whether ``path`` lies below one of the names."""
    return any(path[:end] in names for end, letter in enumerate(path) if letter == "/")
