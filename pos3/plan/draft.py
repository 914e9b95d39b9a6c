"""PURE. A plan while it is being made."""

from __future__ import annotations

from dataclasses import dataclass, field

from pos3.entry import LEFT_OUT, Entry, Record
from pos3.errors import UnsafeKeysError
from pos3.plan.model import Action, Direction, Plan, Policy
from pos3.report import Kept


@dataclass
class Draft:
    copies: list[Action] = field(default_factory=list)
    last_copies: list[Action] = field(default_factory=list)
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
    problems: list[str] = field(default_factory=list)

    def note_unusable(self, local: Entry, policy: Policy) -> None:
        """Notes that something local is not pushed: content that cannot be read is a problem, all else is kept."""
        path = f"{policy.local_root}/{local.path}".rstrip("/")
        if local.is_unreadable:
            self.problems.append(f"{path!r} {local.unusable}: allow to read it, or leave it out with exclude=[...]")
        elif not local.path and local.unusable in LEFT_OUT:
            self.problems.append(f"{path!r} is {local.unusable}: only files and directories can be pushed")
        else:
            self.kept.append(Kept(local.path, local.unusable))

    def pass_over(self, files: int, *, destination_files: int | None = None) -> None:
        """Counts files that are on both sides and unchanged."""
        self.unchanged += files
        self.source_files += files
        self.destination_files += files if destination_files is None else destination_files

    def confirm(self, local: Entry, etag: str, record: Record | None, policy: Policy) -> None:
        """Notes a pair that was found equal, unless that is on record; equal sizes alone are no such finding."""
        known = record is not None and record.matches_local(local) and record.etag == etag
        if known or policy.compare == "size":
            return
        # Found equal, not transferred: unless it was before, such a pair belongs to no mirror.
        owner = record.owner if record is not None and record.etag == etag else ""
        self.confirmed.append(Record(local.path, local.size_bytes, local.modified_ns, local.inode, etag, owner))

    def plan(self, direction: Direction, problems: list[str], where: str) -> Plan:
        if problems:
            raise UnsafeKeysError(where, problems)
        if not self.source_files and self.deletes:
            staying = {action.path for action in self.deletes}
            self.kept += [Kept(action.path, "the source is empty") for action in self.deletes]
            self.directories = [action for action in self.directories if not _is_below(action.path, staying)]
            self.deletes = []
            self.emptied = []
        if self.problems:
            # As after any other failure.
            self.deletes = []
            self.emptied = []
        return Plan(
            direction,
            tuple(self.copies),
            tuple(self.last_copies),
            tuple(self.deletes),
            (*self.directories, *self.emptied),
            tuple(self.obstacles),
            tuple(self.confirmed),
            tuple(self.forgotten),
            tuple(self.kept),
            self.unchanged,
            self.source_files,
            self.destination_files,
            problems=tuple(self.problems),
        )


def _is_below(path: str, names: set[str]) -> bool:
    """Whether one of the names is a file in which ``path`` would lie."""
    return any(path[:end] in names for end, letter in enumerate(path) if letter == "/")
