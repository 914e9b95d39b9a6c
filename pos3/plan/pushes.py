"""PURE. The plan of a background push."""

from __future__ import annotations

from collections.abc import Iterable

from pos3.entries import Entry, Record
from pos3.plan.builder import Draft
from pos3.plan.merge import Agreed, march, march_over_local
from pos3.plan.model import NEW, Action, Plan, Policy
from pos3.plan.path_rules import Above
from pos3.plan.uploads import Hollow, key_problem


def plan_push(local: Iterable[Entry], records: Iterable[Record], owner: str, policy: Policy) -> Plan:
    """The plan of a background push: the local side against the records alone, without asking the store.

    Deletes only objects that ``owner``, this mirror, transferred itself and whose file is gone. Markers of
    directories may be among the records. Local names that cannot be keys are among the plan's problems.
    """
    draft = Draft()
    problems: list[str] = []
    unusable_here = Above()
    hollow = Hollow()
    steps = march_over_local(local, records) if policy.trusts_records else march(local, (), records)
    for step in steps:
        if isinstance(step, Agreed):
            hollow.leave(step.paths[0])
            hollow.fill()
            draft.pass_over(len(step.paths), destination_files=0)
            continue
        path, here, _, record = step
        hollow.leave(path)
        if here is not None:
            hollow.fill()
        if here is not None and here.unusable:
            unusable_here.push(path)
            draft.note_unusable(here, policy)
        elif here is not None and not here.is_directory:
            draft.source_files += 1
            changed = record is None or not _is_as_recorded(here, record, policy)
            if problem := key_problem(path, policy.key_prefix):
                problems.append(f"{path!r}: {problem}")
            elif changed or policy.overwrite(path):
                reason = NEW if record is None else "changed locally" if changed else "always overwritten"
                (draft.last_copies if policy.last(path) else draft.copies).append(Action(path, reason, here))
            else:
                draft.unchanged += 1
                if record is not None:
                    draft.confirm(here, record.etag, record, policy)
        elif here is None and record is not None and record.owner == owner and policy.delete:
            if unusable_here.find(path) is not None:
                continue
            gone = Entry(path, record.size_bytes, record.modified_ns, record.etag, record.inode)
            delete = Action(path, "deleted locally", gone)
            if gone.is_directory:
                hollow.enter(delete, draft.deletes)
            else:
                draft.deletes.append(delete)
    hollow.leave("")
    return draft.plan("upload", problems, policy.where)


def _is_as_recorded(local: Entry, record: Record, policy: Policy) -> bool:
    """Whether the file is the recorded one, or at least proven to have its content."""
    if record.matches_local(local):
        return True
    recorded = Entry(record.path, record.size_bytes, etag=record.etag)
    return local.size_bytes == record.size_bytes and policy.proven_equal(local, recorded)
