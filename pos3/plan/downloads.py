"""PURE. The plan of a download."""

from __future__ import annotations

from collections.abc import Iterable

from pos3.entry import Entry, Record
from pos3.keys import Above, PathChecker
from pos3.plan.changes import differs
from pos3.plan.draft import Draft
from pos3.plan.march import Agreed, march, march_over, with_next
from pos3.plan.model import NEW, SYMLINK, Action, Plan, Policy
from pos3.report import Kept


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
    return planner.draft.plan("download", planner.checker.problems, policy.where)


class _DownloadPlanner:
    def __init__(self, policy: Policy):
        self.policy = policy
        self.draft = Draft()
        self.checker = PathChecker(fold_names=policy.fold_names, room_bytes=policy.room_bytes)
        self._files_here, self._unusable_here = Above(), Above()

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
        self._make_way_for(path, here)
        if there.is_directory:
            if here is None:
                self.draft.directories.append(Action(path, NEW, there))
            return
        self.draft.source_files += 1
        usable = here if here is not None and not here.unusable else None
        reason = _download_reason(usable, here, there, record, self.policy)
        if reason:
            self.draft.copies.append(Action(path, reason, there))
            return
        self.draft.unchanged += 1
        if usable is not None:
            self.draft.confirm(usable, there.etag, record, self.policy)

    def visit_local_only(self, here: Entry, following: str) -> None:
        self._note_local(here)
        if here.unusable:
            self.draft.kept.append(Kept(here.path, here.unusable))
            return
        above = self.checker.files.find(here.path)
        if above is not None:
            self._make_way(above, "the local path is a directory, and the URL is that of one object")
        will_be_filled = here.is_directory and following.startswith(here.path)
        if self.policy.delete and not will_be_filled:
            self.draft.deletes.append(Action(here.path, "not in the source", here))

    def _note_local(self, here: Entry) -> None:
        self.draft.destination_files += not here.is_directory
        if here.unusable not in ("", SYMLINK):
            self._unusable_here.push(here.path)
        elif not here.is_directory:
            self._files_here.push(here.path)

    def _make_way_for(self, path: str, here: Entry | None) -> None:
        """Notes what lies where ``path``, or a directory above it, has to go."""
        blocking = self._unusable_here.find(path)
        if here is not None and here.unusable not in ("", SYMLINK):
            blocking = path
        replaced = self._files_here.find(path)
        if blocking is not None:
            self.checker.add(f"{path!r}: {blocking!r} is in the way locally and cannot be replaced")
        elif replaced is not None:
            self._make_way(replaced, "the local path is a file, and the URL is that of a prefix")

    def _make_way(self, obstacle: str, whole: str) -> None:
        """``whole`` says what is in the way if it is the target itself."""
        if not self.policy.delete:
            told = f"{obstacle!r}: a file on one side and a directory on the other" if obstacle else whole
            self.checker.add(f"{told}, and delete is off")
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
    if policy.overwrite(there.path):
        return "always overwritten"
    return differs(usable, there, record, policy)
