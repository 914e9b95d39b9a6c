"""PURE. Makes the plan of a background push."""

from __future__ import annotations

from collections.abc import Iterable

from pos3.entries import Entry, Record
from pos3.plan.actions import Action
from pos3.plan.builder import PlanBuilder
from pos3.plan.changes import is_as_recorded
from pos3.plan.merge import UnchangedRange, merge_listings, merge_local_with_ranges
from pos3.plan.model import NEW, Plan, Policy
from pos3.plan.path_rules import AncestorStack
from pos3.plan.uploads import EmptyDirectories, key_problem


def plan_push(local: Iterable[Entry], records: Iterable[Record], owner: str, policy: Policy) -> Plan:
    """The plan of a background push. It compares the local side with the records, without a request to the store.

    It deletes only objects that ``owner``, this mirror, transferred itself and whose local file is gone. Directory
    objects may be among the records. Local names that cannot be keys are among the plan's problems.
    """
    builder = PlanBuilder()
    problems: list[str] = []
    unusable_local = AncestorStack()
    empty_directories = EmptyDirectories()
    steps = merge_local_with_ranges(local, records) if policy.trusts_records else merge_listings(local, (), records)
    for step in steps:
        if isinstance(step, UnchangedRange):
            empty_directories.leave(step.paths[0])
            empty_directories.mark_not_empty()
            builder.count_unchanged(len(step.paths), destination_files=0)
            continue
        path, local_entry, _, record = step
        empty_directories.leave(path)
        if local_entry is not None:
            empty_directories.mark_not_empty()
        if local_entry is not None and local_entry.unusable:
            unusable_local.push(path)
            builder.add_unusable(local_entry, policy)
        elif local_entry is not None and not local_entry.is_directory:
            builder.source_files += 1
            changed = record is None or not is_as_recorded(local_entry, record, policy)
            if problem := key_problem(path, policy.key_prefix):
                problems.append(f"{path!r}: {problem}")
            elif changed or policy.overwrite(path):
                reason = NEW if record is None else "changed locally" if changed else "always overwritten"
                (builder.last_copies if policy.last(path) else builder.copies).add(reason, local_entry)
            else:
                builder.unchanged += 1
                if record is not None:
                    builder.confirm(local_entry, record.etag, record, policy)
        elif local_entry is None and record is not None and record.owner == owner and policy.delete:
            if unusable_local.find(path) is not None:
                continue
            gone = Entry(path, record.size_bytes, record.modified_ns, record.etag, record.inode)
            delete = Action(path, "deleted locally", gone)
            if gone.is_directory:
                empty_directories.add(delete, builder.deletes)
            else:
                builder.deletes.append(delete)
    empty_directories.leave("")
    return builder.build("upload", problems, policy.where)
