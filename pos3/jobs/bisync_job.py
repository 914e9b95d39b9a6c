"""Brings both sides of a registration up to date with each other, by what was last synced.

A file that differs is one of three: changed here only (it is pushed), changed in the store only (it is fetched), or
changed on both sides, or never synced, so that nobody knows: a conflict, and then nothing is changed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from pos3.entries import Entry, Record
from pos3.errors import BucketNotFoundError, PlanRefusedError, RemoteNotFoundError
from pos3.jobs.adoption import check_target
from pos3.jobs.job import Job, MakeRoom
from pos3.jobs.registration import Registration
from pos3.jobs.transfer_plan import as_transfer_plan
from pos3.local import is_within_relative
from pos3.plan import EMPTIED, NEW, Action, Plan, TwoWayPlan, delete_refusal
from pos3.redaction import escaped
from pos3.reports import Kept
from pos3.transfer import Outcome, Terms

_GONE_HERE = "deleted here"
_GONE_THERE = "deleted in the store"


@dataclass(frozen=True)
class BothWays:
    """The plans of both directions. ``fetch`` holds what the store has newer, ``push`` what the local side has newer.

    They have no path in common, so it does not matter which one is carried out first.
    """

    wanted: Registration
    fetch: Plan
    push: Plan

    @property
    def refusal(self) -> str:
        """Why neither is carried out: conflicts, of which it lists some, or too many deletes; or ""."""
        return "\n".join(plan.refusal for plan in (self.fetch, self.push) if plan.refusal)

    def as_two_way_plan(self) -> TwoWayPlan:
        down, up = as_transfer_plan(self.wanted, self.fetch), as_transfer_plan(self.wanted, self.push)
        return TwoWayPlan(down, up, self.refusal)


class TwoWay:
    """The work of one request that goes both ways."""

    def __init__(self, job: Job):
        self.job = job

    def plan(self, leftovers: list[os.DirEntry[str]] | None = None) -> BothWays:
        """What would be done now, each plan with the reason why it would be refused. Nothing is changed.

        Args:
            leftovers: gets what killed downloads have left in the local directory; None in a dry run.

        Raises:
            As for the plan of a download, but a URL with nothing below it is normal.
        """
        job, request = self.job, self.job.request
        up = job.plan_upload(delete=request.deletes_remote)
        try:
            down = job.plan_download(delete=request.deletes_local, leftovers=leftovers)
        except BucketNotFoundError:
            raise
        except RemoteNotFoundError:
            # The first sync of a prefix.
            down = Plan("download")
        check_target(job, down)
        differing = (*down.copies, *down.deletes, *up.copies, *up.last_copies, *up.deletes, *up.lost)
        paths = {action.path for action in differing}
        records = {record.path: record for record in job.index.records() if record.path in paths} if paths else {}
        return _divided(job.registration, down, up, records)

    def run(self, terms: Terms, make_room: MakeRoom) -> None:
        """Copies in both directions, and then deletes on both sides what was deleted on the other, if that is wanted.

        Raises:
            PlanRefusedError, UnsafeKeysError, NoSpaceError: nothing was changed.
            TransferError, UnsafeKeysError: some files failed; the others were copied, and nothing was deleted.
        """
        job = self.job
        with job.alone(terms):
            leftovers: list[os.DirEntry[str]] = []
            found = self.plan(leftovers)
            if found.refusal:
                raise PlanRefusedError(found.refusal)
            job.prepare_local()
            job.begin_filling(found.fetch, leftovers, make_room)
            fetch, push = found.fetch, found.push
            pushed = job.carried_out(_copies_of(push), terms)
            has_failed = bool(pushed.failures or push.not_pushed)
            fetched = job.carried_out(_without_deletes(fetch) if has_failed else fetch, terms)
            outcome = _both(pushed, fetched)
            if not outcome.failures and not push.not_pushed:
                # What others have replaced meanwhile stays.
                deleted = job.carried_out(job.without_replaced(_deletes_of(push)), terms)
                outcome = _both(outcome, deleted)
        job.raise_failures(outcome, push, "Sync")


def _copies_of(push: Plan) -> Plan:
    directories = tuple(action for action in push.directories if action.reason != EMPTIED)
    return replace(push, deletes=(), directories=directories)


def _deletes_of(push: Plan) -> Plan:
    emptied = tuple(action for action in push.directories if action.reason == EMPTIED)
    return Plan("upload", deletes=push.deletes, directories=emptied)


def _without_deletes(fetch: Plan) -> Plan:
    """Nothing is deleted here, and nothing is fetched for which something has to make way."""

    def is_free(action: Action) -> bool:
        return not any(is_within_relative(action.path, obstacle) for obstacle in fetch.obstacles)

    return replace(fetch.without_deletes(), copies=tuple(filter(is_free, fetch.copies)), obstacles=())


def _both(first: Outcome, second: Outcome) -> Outcome:
    return Outcome(failures=[*first.failures, *second.failures])


def _divided(wanted: Registration, down: Plan, up: Plan, records: dict[str, Record]) -> BothWays:
    """Of two full plans, what each side has newer."""
    fetched: list[Action] = []
    conflicts: list[str] = []
    removed_here: set[str] = set()
    for action in down.copies:
        record = records.get(action.path)
        path = os.path.join(wanted.local, action.path) if action.path else wanted.local
        unchanged_there = record is not None and record.etag == action.source.etag
        if not os.path.lexists(path):
            if unchanged_there and wanted.request.deletes_remote:
                removed_here.add(action.path)
            else:
                fetched.append(_because(action, _GONE_HERE, record, "changed in the store", unchanged_there))
        elif action.path in down.obstacles or (not unchanged_there and _is_as_synced(path, record)):
            fetched.append(action)
        elif not unchanged_there:
            conflicts.append(action.path)
    deleted = [replace(action, reason=_GONE_THERE) for action in down.deletes if _was_synced(action, records)]
    obstacles, in_the_way = _obstacles(down, fetched, {action.path for action in deleted})
    conflicts += in_the_way
    settled = {action.path for action in (*fetched, *deleted)} | set(conflicts)
    fetch = replace(down, copies=tuple(fetched), deletes=tuple(deleted), obstacles=obstacles)
    push = _pushed(up, settled, removed_here, records)
    if removed_here and not os.path.lexists(wanted.local):
        # Nobody can tell a directory that was removed from one that was never there.
        push = replace(push, kept=(*push.kept, *(Kept(path, "the source is empty") for path in sorted(removed_here))))
    limit = wanted.request.max_delete
    told = [_told_conflicts(wanted, conflicts), delete_refusal(fetch, limit)]
    return BothWays(
        wanted,
        replace(fetch, refusal="\n".join(filter(None, told))),
        replace(push, refusal=delete_refusal(push, limit)),
    )


def _obstacles(down: Plan, fetched: list[Action], deleted: set[str]) -> tuple[tuple[str, ...], list[str]]:
    """What of the wrong kind makes way for what is fetched, and what of it may not, since it was never synced so."""
    needed: list[str] = []
    in_the_way: list[str] = []
    for obstacle in down.obstacles:
        if not any(is_within_relative(action.path, obstacle) for action in fetched):
            continue
        going = [action.path for action in down.deletes if is_within_relative(action.path.rstrip("/"), obstacle)]
        is_synced = going and all(path in deleted or path.endswith("/") for path in going)
        (needed if is_synced else in_the_way).append(obstacle)
    return tuple(needed), in_the_way


def _told_conflicts(wanted: Registration, conflicts: list[str]) -> str:
    if not conflicts:
        return ""
    shown = "\n".join(escaped(path or wanted.local) for path in conflicts[:10])
    more = f"\nand {len(conflicts) - 10} more" if len(conflicts) > 10 else ""
    return (
        f"{wanted}: {len(conflicts)} file(s) differ and were changed on both sides, or never synced; "
        f"nothing was changed:\n{shown}{more}\n"
        "Take the store's side with 'pos3 download', or the local one with 'pos3 upload', then sync again."
    )


def _pushed(up: Plan, settled: set[str], removed_here: set[str], records: dict[str, Record]) -> Plan:
    def because(action: Action) -> Action:
        if action.reason != NEW:
            return action
        as_synced = _was_synced(action, records)
        return _because(action, _GONE_THERE, records.get(action.path), "changed here", as_synced)

    def newer_here(actions: tuple[Action, ...]) -> tuple[Action, ...]:
        return tuple(because(action) for action in actions if action.path not in settled)

    # What the store has lost goes with the download, or is pushed again.
    lost = (replace(action, reason=NEW) for action in up.lost)
    return replace(
        up,
        copies=newer_here(tuple(sorted((*up.copies, *lost), key=lambda action: action.path))),
        last_copies=newer_here(up.last_copies),
        deletes=tuple(replace(action, reason=_GONE_HERE) for action in up.deletes if action.path in removed_here),
        lost=(),
        # Both plans count the same files.
        unchanged=0,
    )


def _because(action: Action, gone: str, record: Record | None, changed: str, as_synced: bool) -> Action:
    """A copy of what only one side has, with its true reason: without a record, it is new."""
    if record is None:
        return action
    return replace(action, reason=gone if as_synced else f"{gone}, {changed}")


def _is_as_synced(path: str, record: Record | None) -> bool:
    if record is None:
        return False
    try:
        status = os.stat(path)
    except OSError:
        return False
    return record.matches_local(Entry.of_file(record.path, status))


def _was_synced(action: Action, records: dict[str, Record]) -> bool:
    record = records.get(action.path)
    return record is not None and record.matches_local(action.source)
