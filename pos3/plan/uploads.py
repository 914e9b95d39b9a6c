"""PURE. The plan of an upload."""

from __future__ import annotations

from collections.abc import Iterable

from pos3.entries import Entry, Record
from pos3.local import encoding_problem
from pos3.plan.builder import Draft
from pos3.plan.changes import differs
from pos3.plan.merge import Agreed, march, march_over
from pos3.plan.model import EMPTIED, LOST, NEW, Action, Plan, Policy
from pos3.plan.path_rules import Above
from pos3.reports import Kept


def plan_upload(local: Iterable[Entry], remote: Iterable[Entry], records: Iterable[Record], policy: Policy) -> Plan:
    """The plan that makes the remote side equal to the local one.

    Markers are planned only for directories that are empty on both sides. The remote twin of something that
    cannot be read locally is kept, with all that lies below it. Files that the store has lost go locally, unless it has
    lost all that is on record: an emptied prefix is filled again. Local names that cannot be keys are among the plan's
    problems; all others are planned.
    """
    planner = _UploadPlanner(policy)
    for step in (march_over if policy.trusts_records else march)(local, remote, records):
        if isinstance(step, Agreed):
            planner.visit_agreed(step.paths)
            continue
        path, here, there, record = step
        if here is not None:
            planner.visit_local(here, there, record)
        elif there is not None:
            planner.visit_remote_only(there, record)
        elif planner.unusable_here.find(path) is None:
            planner.draft.forgotten.append(path)
    planner.hollow.leave("")
    return planner.plan()


class Hollow:
    """What is to be done with directories of a sorted walk in which nothing turns out to stay."""

    def __init__(self) -> None:
        self._open: list[tuple[Action, list[Action]]] = []

    def enter(self, action: Action, actions: list[Action]) -> None:
        """``action`` is to join ``actions`` unless something stays below its path."""
        self._open.append((action, actions))

    def leave(self, path: str) -> None:
        """Decides on the directories that do not hold ``path``, the next one of the walk."""
        while self._open and not path.startswith(self._open[-1][0].path):
            action, actions = self._open.pop()
            actions.append(action)

    def fill(self) -> None:
        """Something stays at the current path."""
        self._open.clear()

    def empty(self, actions: list[Action], emptied: list[Action]) -> None:
        """Something at the current path is to go: what was to join ``actions`` joins ``emptied``, for that reason."""
        self._open = [
            (Action(action.path, EMPTIED, action.source), emptied) if wanted is actions else (action, wanted)
            for action, wanted in self._open
        ]


class _UploadPlanner:
    def __init__(self, policy: Policy):
        self.policy = policy
        self.draft = Draft()
        self.problems: list[str] = []
        self.unusable_here = Above()
        self._files_here, self._objects_there = Above(), Above()
        self._staying: set[str] = set()
        self._lost: list[Action] = []
        self._has_known_object = False
        self._blocked: set[str] = set()
        self.hollow = Hollow()

    def visit_agreed(self, paths: list[str]) -> None:
        self._has_known_object = True
        self.hollow.leave(paths[0])
        self.hollow.fill()
        # The innermost object above each path: inner names come after outer ones.
        blocked = {path: name for name, path in self._objects_there.pairs(paths) if name in self._staying}
        for path in sorted(blocked):
            self._cannot_lie_below(blocked[path], path)
        usable = [path for path in paths if path not in blocked] if blocked else paths
        if usable:
            self._files_here.push_all(usable)
        self.draft.pass_over(len(paths) - len(blocked), destination_files=len(paths))

    def visit_local(self, here: Entry, there: Entry | None, record: Record | None) -> None:
        path = here.path
        self.hollow.leave(path)
        self.hollow.fill()
        self.draft.destination_files += there is not None
        self._has_known_object |= there is not None and record is not None and not here.is_directory
        blocking = self._objects_there.find(path)
        if here.unusable:
            self.unusable_here.push(path)
            self.draft.note_unusable(here, self.policy)
        elif problem := key_problem(path, self.policy.key_prefix):
            self.problems.append(f"{path!r}: {problem}")
        elif here.is_directory:
            if blocking is not None and blocking in self._staying:
                self.draft.kept.append(Kept(path, f"{blocking!r} is an object there"))
            elif there is None:
                self.hollow.enter(Action(path, NEW, here), self.draft.directories)
        elif blocking is not None and blocking in self._staying:
            self._cannot_lie_below(blocking, path)
        else:
            self._files_here.push(path)
            if there is None and record is not None and _is_lost(here, record, self.policy):
                self._lost.append(Action(path, LOST, here))
            else:
                self.draft.source_files += 1
                _plan_file(self.draft, here, there, record, self.policy)

    def visit_remote_only(self, there: Entry, record: Record | None) -> None:
        path = there.path
        self.hollow.leave(path)
        self.draft.destination_files += 1
        self._has_known_object |= record is not None and not there.is_directory
        if not there.is_directory:
            # The marker of a directory is in nobody's way.
            self._objects_there.push(path)
        reason = self._reason_to_stay(there, record)
        if reason:
            self._staying.add(path)
            if (blocked := self._files_here.find(path)) is not None:
                self.problems.append(f"{blocked!r}: objects lie below that name there, and they stay")
                self._blocked.add(blocked)
        delete = Action(path, "not in the source", there)
        if reason:
            self.hollow.fill()
            if self.policy.delete:
                self.draft.kept.append(Kept(path, reason))
            return
        self.hollow.empty(self.draft.directories, self.draft.emptied)
        if there.is_directory:
            self.hollow.enter(delete, self.draft.deletes)
        else:
            self.draft.deletes.append(delete)

    def plan(self) -> Plan:
        self._settle_lost()
        if self._blocked:
            self.draft.leave_out(self._blocked)
        return self.draft.plan("upload", self.problems, self.policy.where)

    def _settle_lost(self) -> None:
        """Decides on the lost files, once the whole listing is known."""
        if self._has_known_object:
            self.draft.lost = self._lost
            return
        for action in self._lost:
            self.draft.source_files += 1
            _plan_file(self.draft, action.source, None, None, self.policy)
        if self._lost:
            self.draft.copies.sort(key=lambda action: action.path)
            self.draft.last_copies.sort(key=lambda action: action.path)

    def _cannot_lie_below(self, name: str, path: str) -> None:
        self.problems.append(f"{path!r}: {name!r} is an object there, and it stays")

    def _reason_to_stay(self, there: Entry, record: Record | None) -> str:
        if not self.policy.delete:
            return "delete is off"
        if self.unusable_here.find(there.path) is not None:
            return "its local twin cannot be read"
        return self.policy.protects(there, record)


def _plan_file(draft: Draft, here: Entry, there: Entry | None, record: Record | None, policy: Policy) -> None:
    if there is None:
        reason = NEW
    elif policy.overwrite(here.path):
        reason = "always overwritten"
    else:
        reason = differs(here, there, record, policy)
    if there is not None and reason and (kept := _reason_to_keep(here, there, record, policy)):
        draft.kept.append(Kept(here.path, kept))
    elif reason:
        (draft.last_copies if policy.last(here.path) else draft.copies).append(Action(here.path, reason, here))
    else:
        draft.unchanged += 1
        if there is not None:
            draft.confirm(here, there.etag, record, policy)


def _is_lost(here: Entry, record: Record, policy: Policy) -> bool:
    as_recorded = record.matches_local(here) and bool(record.etag)
    return as_recorded and not policy.overwrite(here.path) and policy.lost(here, record)


def _reason_to_keep(here: Entry, there: Entry, record: Record | None, policy: Policy) -> str:
    changed_there_only = record is not None and record.matches_local(here) and record.etag != there.etag
    return (policy.protects(there, record) if changed_there_only else "") or policy.outranks(here, there, record)


def key_problem(path: str, key_prefix: str) -> str:
    try:
        length = len(key_prefix) + len(path.encode())
    except UnicodeEncodeError:
        return f"{encoding_problem(path)} and so cannot be a key"
    return "a key longer than 1,024 bytes" if length > 1024 else ""
