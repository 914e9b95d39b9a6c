"""PURE. Makes the plan of an upload."""

from __future__ import annotations

from collections.abc import Iterable

from pos3.entries import Entry, Record
from pos3.local import encoding_problem
from pos3.plan.actions import Action
from pos3.plan.builder import PlanBuilder
from pos3.plan.changes import differs
from pos3.plan.merge import UnchangedRange, merge_listings, merge_with_ranges
from pos3.plan.model import EMPTIED, LOST, NEW, Plan, Policy
from pos3.plan.path_rules import AncestorStack
from pos3.reports import Kept


def plan_upload(local: Iterable[Entry], remote: Iterable[Entry], records: Iterable[Record], policy: Policy) -> Plan:
    """The plan that makes the remote side equal to the local side.

    Directory objects are created only for directories that are empty on both sides. If a local file or directory cannot
    be read, its object and all objects below it are kept. Local files whose objects the store has lost are deleted. If
    the store has lost all recorded objects, the prefix was emptied, and the files are uploaded again. Local names
    that cannot be keys are among the plan's problems; all other files are planned.
    """
    planner = _UploadPlanner(policy)
    for step in (merge_with_ranges if policy.trusts_records else merge_listings)(local, remote, records):
        if isinstance(step, UnchangedRange):
            planner.visit_unchanged(step.paths)
            continue
        path, local_entry, remote_entry, record = step
        if local_entry is not None:
            planner.visit_local(local_entry, remote_entry, record)
        elif remote_entry is not None:
            planner.visit_remote_only(remote_entry, record)
        elif planner.unusable_local.find(path) is None:
            planner.builder.forgotten.append(path)
    planner.empty_directories.leave("")
    return planner.plan()


class EmptyDirectories:
    """The pending actions of a sorted walk for directories that may turn out to be empty."""

    def __init__(self) -> None:
        self._open: list[tuple[Action, list[Action]]] = []

    def add(self, action: Action, actions: list[Action]) -> None:
        """Appends ``action`` to ``actions`` later, unless something stays below its path."""
        self._open.append((action, actions))

    def leave(self, path: str) -> None:
        """Carries out the pending appends of directories that do not contain ``path``, the next path of the walk."""
        while self._open and not path.startswith(self._open[-1][0].path):
            action, actions = self._open.pop()
            actions.append(action)

    def mark_not_empty(self) -> None:
        """Drops the pending actions, because something stays at the current path."""
        self._open.clear()

    def mark_emptied(self, actions: list[Action], emptied: list[Action]) -> None:
        """Moves pending actions from ``actions`` to ``emptied``, because something at the current path is deleted."""
        self._open = [
            (Action(action.path, EMPTIED, action.source), emptied) if wanted is actions else (action, wanted)
            for action, wanted in self._open
        ]


class _UploadPlanner:
    def __init__(self, policy: Policy):
        self.policy = policy
        self.builder = PlanBuilder()
        self.problems: list[str] = []
        self.unusable_local = AncestorStack()
        self._local_files, self._remote_objects = AncestorStack(), AncestorStack()
        self._kept_objects: set[str] = set()
        self._lost: list[Action] = []
        self._has_known_object = False
        self._blocked: set[str] = set()
        self.empty_directories = EmptyDirectories()

    def visit_unchanged(self, paths: list[str]) -> None:
        self._has_known_object = True
        self.empty_directories.leave(paths[0])
        self.empty_directories.mark_not_empty()
        # Inner names come after outer ones, so this keeps the innermost object above each path.
        blocked = {path: name for name, path in self._remote_objects.pairs(paths) if name in self._kept_objects}
        for path in sorted(blocked):
            self._cannot_lie_below(blocked[path], path)
        usable = [path for path in paths if path not in blocked] if blocked else paths
        if usable:
            self._local_files.push_all(usable)
        self.builder.count_unchanged(len(paths) - len(blocked), destination_files=len(paths))

    def visit_local(self, local_entry: Entry, remote_entry: Entry | None, record: Record | None) -> None:
        path = local_entry.path
        self.empty_directories.leave(path)
        self.empty_directories.mark_not_empty()
        self.builder.destination_files += remote_entry is not None
        self._has_known_object |= remote_entry is not None and record is not None and not local_entry.is_directory
        blocking = self._remote_objects.find(path)
        if local_entry.unusable:
            self.unusable_local.push(path)
            self.builder.add_unusable(local_entry, self.policy)
        elif problem := key_problem(path, self.policy.key_prefix):
            self.problems.append(f"{path!r}: {problem}")
        elif local_entry.is_directory:
            if blocking is not None and blocking in self._kept_objects:
                self.builder.kept.append(Kept(path, f"{blocking!r} is an object there"))
            elif remote_entry is None:
                self.empty_directories.add(Action(path, NEW, local_entry), self.builder.directories)
        elif blocking is not None and blocking in self._kept_objects:
            self._cannot_lie_below(blocking, path)
        else:
            self._local_files.push(path)
            if remote_entry is None and record is not None and _is_lost(local_entry, record, self.policy):
                self._lost.append(Action(path, LOST, local_entry))
            else:
                self.builder.source_files += 1
                _plan_file(self.builder, local_entry, remote_entry, record, self.policy)

    def visit_remote_only(self, remote_entry: Entry, record: Record | None) -> None:
        path = remote_entry.path
        self.empty_directories.leave(path)
        self.builder.destination_files += 1
        self._has_known_object |= record is not None and not remote_entry.is_directory
        if not remote_entry.is_directory:
            # A directory object blocks nothing.
            self._remote_objects.push(path)
        reason = self._reason_to_stay(remote_entry, record)
        if reason:
            self._kept_objects.add(path)
            if (blocked := self._local_files.find(path)) is not None:
                self.problems.append(f"{blocked!r}: objects lie below that name there, and they stay")
                self._blocked.add(blocked)
        delete = Action(path, "not in the source", remote_entry)
        if reason:
            self.empty_directories.mark_not_empty()
            if self.policy.delete:
                self.builder.kept.append(Kept(path, reason))
            return
        self.empty_directories.mark_emptied(self.builder.directories, self.builder.emptied)
        if remote_entry.is_directory:
            self.empty_directories.add(delete, self.builder.deletes)
        else:
            self.builder.deletes.append(delete)

    def plan(self) -> Plan:
        self._settle_lost()
        if self._blocked:
            self.builder.drop_copies(self._blocked)
        return self.builder.build("upload", self.problems, self.policy.where)

    def _settle_lost(self) -> None:
        """Decides about the lost files. By now the whole listing is known."""
        if self._has_known_object:
            self.builder.lost = self._lost
            return
        for action in self._lost:
            self.builder.source_files += 1
            _plan_file(self.builder, action.source, None, None, self.policy)
        if self._lost:
            self.builder.copies = self.builder.copies.in_order()
            self.builder.last_copies = self.builder.last_copies.in_order()

    def _cannot_lie_below(self, name: str, path: str) -> None:
        self.problems.append(f"{path!r}: {name!r} is an object there, and it stays")

    def _reason_to_stay(self, remote_entry: Entry, record: Record | None) -> str:
        if not self.policy.delete:
            return "delete is off"
        if self.unusable_local.find(remote_entry.path) is not None:
            return "its local twin cannot be read"
        return self.policy.protects(remote_entry, record)


def _plan_file(
    builder: PlanBuilder, local_entry: Entry, remote_entry: Entry | None, record: Record | None, policy: Policy
) -> None:
    if remote_entry is None:
        reason = NEW
    elif policy.overwrite(local_entry.path):
        reason = "always overwritten"
    else:
        reason = differs(local_entry, remote_entry, record, policy)
    if remote_entry is not None and reason and (kept := _reason_to_keep(local_entry, remote_entry, record, policy)):
        builder.kept.append(Kept(local_entry.path, kept))
    elif reason:
        (builder.last_copies if policy.last(local_entry.path) else builder.copies).add(reason, local_entry)
    else:
        builder.unchanged += 1
        if remote_entry is not None:
            builder.confirm(local_entry, remote_entry.etag, record, policy)


def _is_lost(local_entry: Entry, record: Record, policy: Policy) -> bool:
    as_recorded = record.matches_local(local_entry) and bool(record.etag)
    return as_recorded and not policy.overwrite(local_entry.path) and policy.lost(local_entry, record)


def _reason_to_keep(local_entry: Entry, remote_entry: Entry, record: Record | None, policy: Policy) -> str:
    changed_remotely_only = (
        record is not None and record.matches_local(local_entry) and record.etag != remote_entry.etag
    )
    return (policy.protects(remote_entry, record) if changed_remotely_only else "") or policy.prefers_remote(
        local_entry, remote_entry, record
    )


def key_problem(path: str, key_prefix: str) -> str:
    try:
        length = len(key_prefix) + len(path.encode())
    except UnicodeEncodeError:
        return f"{encoding_problem(path)} and so cannot be a key"
    return "a key longer than 1,024 bytes" if length > 1024 else ""
