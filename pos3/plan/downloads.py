"""PURE. Makes the plan of a download."""

from __future__ import annotations

from collections.abc import Iterable

from pos3.entries import LOST_FOUND, SYMLINK, Entry, Record
from pos3.errors import UnsafeKeysError
from pos3.plan.actions import Action
from pos3.plan.builder import PlanBuilder
from pos3.plan.changes import differs
from pos3.plan.merge import UnchangedRange, merge_listings, merge_with_ranges, with_next_path
from pos3.plan.model import NEW, Plan, Policy
from pos3.plan.path_rules import MAX_PROBLEMS, AncestorStack, PathChecker
from pos3.reports import Kept

_REPLACEABLE = ("", SYMLINK, LOST_FOUND)


def plan_download(local: Iterable[Entry], remote: Iterable[Entry], records: Iterable[Record], policy: Policy) -> Plan:
    """The plan that makes the local side equal to the remote side.

    Raises:
        UnsafeKeysError: some remote keys cannot be files below the target, or something local blocks them.
    """
    planner = _DownloadPlanner(policy)
    steps = (merge_with_ranges if policy.trusts_records else merge_listings)(local, remote, records)
    for step, next_path in with_next_path(steps):
        if isinstance(step, UnchangedRange):
            planner.visit_unchanged(step.paths)
            continue
        path, local_entry, remote_entry, record = step
        if remote_entry is not None:
            planner.visit_remote(local_entry, remote_entry, record)
        elif local_entry is not None:
            planner.visit_local_only(local_entry, next_path)
        else:
            planner.builder.forgotten.append(path)
    if planner.obstacle_problems and not planner.checker.problems:
        raise UnsafeKeysError(
            policy.where,
            planner.obstacle_problems,
            advice="Move away what is here, name another place with local=..., or pass "
            f"{policy.delete_argument}=True to have it replaced.",
        )
    return planner.builder.build("download", [*planner.checker.problems, *planner.obstacle_problems], policy.where)


class _DownloadPlanner:
    def __init__(self, policy: Policy):
        self.policy = policy
        self.builder = PlanBuilder()
        self.checker = PathChecker(fold_names=policy.fold_names, max_path_bytes=policy.max_path_bytes)
        self.obstacle_problems: list[str] = []
        self._local_files, self._unusable_local = AncestorStack(), AncestorStack()
        self._withdrawn: set[str] = set()

    def visit_unchanged(self, paths: list[str]) -> None:
        self.checker.pass_over(paths)
        self._local_files.push_all(paths)
        self.builder.count_unchanged(len(paths))

    def visit_remote(self, local_entry: Entry | None, remote_entry: Entry, record: Record | None) -> None:
        path = remote_entry.path
        is_directory = remote_entry.is_directory
        if local_entry is not None:
            self._count_local(local_entry)
        if not self.checker.check(path):
            return
        if is_directory and remote_entry.size_bytes:
            self.checker.add(f"{path!r}: an object with content, but its name means a directory")
        self.builder.source_files += not is_directory
        usable = local_entry if local_entry is not None and not local_entry.unusable else None
        reason = self._reason(usable, local_entry, remote_entry, record)
        if not reason:
            self.builder.unchanged += not is_directory
            if usable is not None and not is_directory:
                self.builder.confirm(usable, remote_entry.etag, record, self.policy)
        elif self._must_stay(path, local_entry, remote_entry):
            return
        self._add_obstacle_of(path, local_entry)
        if reason:
            if is_directory:
                self.builder.directories.append(Action(path, reason, remote_entry, local_entry))
            else:
                self.builder.copies.add(reason, remote_entry, local_entry)

    def _reason(
        self, usable: Entry | None, local_entry: Entry | None, remote_entry: Entry, record: Record | None
    ) -> str:
        """The reason to copy an object or to create a directory, or ""."""
        if remote_entry.is_directory:
            return "" if local_entry is not None else NEW
        return _download_reason(usable, local_entry, remote_entry, record, self.policy)

    def _must_stay(self, path: str, local_entry: Entry | None, remote_entry: Entry) -> bool:
        """Whether another mirror writes at the path, or at the local file that the object would replace."""
        if self.policy.keeps_local(path, local_entry, remote_entry):
            return True
        obstacle = self._local_files.find(path)
        return obstacle is not None and self.policy.keeps_local(obstacle, Entry(obstacle), None)

    def visit_local_only(self, local_entry: Entry, next_path: str) -> None:
        self._count_local(local_entry)
        if local_entry.unusable:
            self.builder.kept.append(Kept(local_entry.path, local_entry.unusable))
            return
        file_above = self.checker.files.find(local_entry.path)
        if file_above is not None and file_above in self._withdrawn:
            return
        will_be_filled = local_entry.is_directory and next_path.startswith(local_entry.path)
        is_deleted = self.policy.delete and not will_be_filled
        if (is_deleted or file_above is not None) and self.policy.keeps_local(local_entry.path, local_entry, None):
            if file_above is not None:
                self._withdraw_copy(file_above)
            return
        if file_above is not None:
            self._add_obstacle(
                file_above, "is a directory, and the URL is that of one object", "is a directory, and an object there"
            )
        if is_deleted:
            self.builder.deletes.append(Action(local_entry.path, "not in the source", local_entry))

    def _withdraw_copy(self, path: str) -> None:
        """Cancels the copy of the object at ``path``, because local files below that name must stay."""
        self._withdrawn.add(path)
        builder, prefix = self.builder, f"{path}/" if path else ""
        builder.copies = builder.copies.without({path})
        builder.deletes = [action for action in builder.deletes if not action.path.startswith(prefix)]
        builder.obstacles = [obstacle for obstacle in builder.obstacles if obstacle != path]

    def _count_local(self, local_entry: Entry) -> None:
        self.builder.destination_files += not local_entry.is_directory
        if local_entry.unusable not in _REPLACEABLE:
            self._unusable_local.push(local_entry.path)
        elif not local_entry.is_directory:
            self._local_files.push(local_entry.path)

    def _add_obstacle_of(self, path: str, local_entry: Entry | None) -> None:
        """Adds the local obstacle, if there is one, at ``path`` or at a directory above it."""
        blocking = self._unusable_local.find(path)
        if local_entry is not None and local_entry.unusable not in _REPLACEABLE:
            blocking = path
        replaced = self._local_files.find(path)
        if blocking is not None:
            self.checker.add(f"{path!r}: {blocking!r} is in the way locally and cannot be replaced")
        elif replaced is not None:
            self._add_obstacle(
                replaced, "is a file, and the URL is that of a prefix", "is a file, and a directory there"
            )

    def _add_obstacle(self, obstacle: str, whole: str, part: str) -> None:
        """Plans to move the obstacle aside, or adds a problem if ``delete`` is off.

        Args:
            whole: the problem if the obstacle is the target itself.
            part: the problem if the obstacle lies in the target.
        """
        if not self.policy.delete:
            message = f"{obstacle!r} {part}" if obstacle else f"the local path {whole}"
            message += f", and {self.policy.delete_argument} is off"
            if message not in self.obstacle_problems[-1:] and len(self.obstacle_problems) < MAX_PROBLEMS:
                self.obstacle_problems.append(message)
        elif obstacle not in self.builder.obstacles[-1:]:
            self.builder.obstacles.append(obstacle)


def _download_reason(
    usable: Entry | None, local_entry: Entry | None, remote_entry: Entry, record: Record | None, policy: Policy
) -> str:
    if usable is None and local_entry is not None:
        as_pushed = record is not None and record.matches_local(local_entry) and record.etag == remote_entry.etag
        return "" if as_pushed else f"replaces {local_entry.unusable}"
    if usable is None:
        return NEW
    return differs(usable, remote_entry, record, policy)
