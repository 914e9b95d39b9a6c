"""PURE. The plan of a download."""

from __future__ import annotations

from collections.abc import Iterable

from pos3.entries import LOST_FOUND, SYMLINK, Entry, Record
from pos3.errors import UnsafeKeysError
from pos3.plan.builder import Draft
from pos3.plan.changes import differs
from pos3.plan.merge import Agreed, march, march_over, with_next
from pos3.plan.model import NEW, Action, Plan, Policy
from pos3.plan.path_rules import MOST_PROBLEMS, Above, PathChecker
from pos3.reports import Kept

_CAN_BE_REPLACED = ("", SYMLINK, LOST_FOUND)


def plan_download(local: Iterable[Entry], remote: Iterable[Entry], records: Iterable[Record], policy: Policy) -> Plan:
    """The plan that makes the local side equal to the remote one.

    Raises:
        UnsafeKeysError: some remote keys cannot be files below the target, or something local is in their way.
    """
    planner = _DownloadPlanner(policy)
    steps = (march_over if policy.trusts_records else march)(local, remote, records)
    for step, following in with_next(steps):
        if isinstance(step, Agreed):
            planner.visit_agreed(step.paths)
            continue
        path, here, there, record = step
        if there is not None:
            planner.visit_remote(here, there, record)
        elif here is not None:
            planner.visit_local_only(here, following)
        else:
            planner.draft.forgotten.append(path)
    if planner.in_the_way and not planner.checker.problems:
        raise UnsafeKeysError(
            policy.where,
            planner.in_the_way,
            advice="Move away what is here, name another place with local=..., or pass "
            f"{policy.delete_argument}=True to have it replaced.",
        )
    return planner.draft.plan("download", [*planner.checker.problems, *planner.in_the_way], policy.where)


class _DownloadPlanner:
    def __init__(self, policy: Policy):
        self.policy = policy
        self.draft = Draft()
        self.checker = PathChecker(fold_names=policy.fold_names, room_bytes=policy.room_bytes)
        self.in_the_way: list[str] = []
        self._files_here, self._unusable_here = Above(), Above()
        self._stopped: set[str] = set()

    def visit_agreed(self, paths: list[str]) -> None:
        self.checker.pass_over(paths)
        self._files_here.push_all(paths)
        self.draft.pass_over(len(paths))

    def visit_remote(self, here: Entry | None, there: Entry, record: Record | None) -> None:
        path = there.path
        if here is not None:
            self._note_local(here)
        if not self.checker.check(path):
            return
        if there.is_directory and there.size_bytes:
            self.checker.add(f"{path!r}: an object with content, but its name means a directory")
        self.draft.source_files += not there.is_directory
        usable = here if here is not None and not here.unusable else None
        reason = self._reason(usable, here, there, record)
        if not reason:
            self.draft.unchanged += not there.is_directory
            if usable is not None and not there.is_directory:
                self.draft.confirm(usable, there.etag, record, self.policy)
        elif self._is_spared(path, here, there):
            return
        self._make_way_for(path, here)
        if reason:
            (self.draft.directories if there.is_directory else self.draft.copies).append(
                Action(path, reason, there, here)
            )

    def _reason(self, usable: Entry | None, here: Entry | None, there: Entry, record: Record | None) -> str:
        """Why something is to be done for an object, or ""."""
        if there.is_directory:
            return "" if here is not None else NEW
        return _download_reason(usable, here, there, record, self.policy)

    def _is_spared(self, path: str, here: Entry | None, there: Entry) -> bool:
        """Whether others write at the path, or where something would have to make way for it."""
        if self.policy.spares(path, here, there):
            return True
        obstacle = self._files_here.find(path)
        return obstacle is not None and self.policy.spares(obstacle, Entry(obstacle), None)

    def visit_local_only(self, here: Entry, following: str) -> None:
        self._note_local(here)
        if here.unusable:
            self.draft.kept.append(Kept(here.path, here.unusable))
            return
        above = self.checker.files.find(here.path)
        if above is not None and above in self._stopped:
            return
        will_be_filled = here.is_directory and following.startswith(here.path)
        goes = self.policy.delete and not will_be_filled
        if (goes or above is not None) and self.policy.spares(here.path, here, None):
            if above is not None:
                self._stop(above)
            return
        if above is not None:
            self._make_way(
                above, "is a directory, and the URL is that of one object", "is a directory, and an object there"
            )
        if goes:
            self.draft.deletes.append(Action(here.path, "not in the source", here))

    def _stop(self, path: str) -> None:
        """Takes back that the object at ``path`` is copied: what lies below that name here has to stay."""
        self._stopped.add(path)
        draft, inside = self.draft, f"{path}/" if path else ""
        draft.copies = [action for action in draft.copies if action.path != path]
        draft.deletes = [action for action in draft.deletes if not action.path.startswith(inside)]
        draft.obstacles = [obstacle for obstacle in draft.obstacles if obstacle != path]

    def _note_local(self, here: Entry) -> None:
        self.draft.destination_files += not here.is_directory
        if here.unusable not in _CAN_BE_REPLACED:
            self._unusable_here.push(here.path)
        elif not here.is_directory:
            self._files_here.push(here.path)

    def _make_way_for(self, path: str, here: Entry | None) -> None:
        """Notes what lies where ``path``, or a directory above it, has to go."""
        blocking = self._unusable_here.find(path)
        if here is not None and here.unusable not in _CAN_BE_REPLACED:
            blocking = path
        replaced = self._files_here.find(path)
        if blocking is not None:
            self.checker.add(f"{path!r}: {blocking!r} is in the way locally and cannot be replaced")
        elif replaced is not None:
            self._make_way(replaced, "is a file, and the URL is that of a prefix", "is a file, and a directory there")

    def _make_way(self, obstacle: str, whole: str, part: str) -> None:
        """``whole`` says what is in the way if it is the target itself, ``part`` if it lies in it."""
        if not self.policy.delete:
            told = f"{obstacle!r} {part}" if obstacle else f"the local path {whole}"
            told += f", and {self.policy.delete_argument} is off"
            if told not in self.in_the_way[-1:] and len(self.in_the_way) < MOST_PROBLEMS:
                self.in_the_way.append(told)
        elif obstacle not in self.draft.obstacles[-1:]:
            self.draft.obstacles.append(obstacle)


def _download_reason(
    usable: Entry | None, here: Entry | None, there: Entry, record: Record | None, policy: Policy
) -> str:
    if usable is None and here is not None:
        as_pushed = record is not None and record.matches_local(here) and record.etag == there.etag
        return "" if as_pushed else f"replaces {here.unusable}"
    if usable is None:
        return NEW
    return differs(usable, there, record, policy)
