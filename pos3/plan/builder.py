"""PURE. A plan while it is being made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pos3.entries import WITHOUT_CONTENT, Entry, Record
from pos3.errors import UnsafeKeysError
from pos3.plan.model import Action, Direction, Plan, Policy
from pos3.plan.path_rules import MOST_PROBLEMS
from pos3.reports import Kept


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
    lost: list[Action] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def note_unusable(self, local: Entry, policy: Policy) -> None:
        """Notes that something local is not pushed: what cannot be read is a failure, all else is kept."""
        path = f"{policy.local_root}/{local.path}".rstrip("/")
        if local.is_unreadable:
            self.unreadable.append(f"{path!r} {local.unusable}: allow to read it, or leave it out with exclude=[...]")
        elif not local.path and local.unusable in WITHOUT_CONTENT:
            self.unreadable.append(f"{path!r} is {local.unusable}: only files and directories can be pushed")
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

    def leave_out(self, paths: set[str]) -> None:
        """These are not copied after all."""
        self.copies = [action for action in self.copies if action.path not in paths]
        self.last_copies = [action for action in self.last_copies if action.path not in paths]

    def plan(self, direction: Direction, problems: Sequence[str], where: str) -> Plan:
        if problems and direction == "download":
            raise UnsafeKeysError(where, problems)
        if problems:
            # What has such a name may be what is missing elsewhere: a file that was renamed, for example.
            self._keep_all("some files cannot be uploaded")
        elif self.unreadable:
            self._keep_all("some files cannot be read")
        elif not self.source_files and self.deletes:
            self._keep_all("the source is empty")
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
            problems=tuple(problems[:MOST_PROBLEMS]),
            unreadable=tuple(self.unreadable),
            lost=() if problems or self.unreadable else tuple(self.lost),
        )

    def _keep_all(self, reason: str) -> None:
        """Nothing is deleted, and nothing copied where what stays is in the way."""
        staying = {action.path for action in self.deletes}
        above = {path[:end] for path in staying for end, letter in enumerate(path) if letter == "/"}
        copies = [action.path for action in (*self.copies, *self.last_copies)]
        blocked = {path for path in copies if path in above or _is_below(path, staying)}
        self.leave_out(blocked)
        self.kept += [Kept(path, "what lies in its way stays") for path in sorted(blocked)]
        self.kept += [Kept(action.path, reason) for action in self.deletes]
        self.directories = [action for action in self.directories if not _is_below(action.path, staying)]
        self.deletes = []
        self.emptied = []


def _is_below(path: str, names: set[str]) -> bool:
    """Whether one of the names is a file in which ``path`` would lie."""
    return any(path[:end] in names for end, letter in enumerate(path) if letter == "/")
