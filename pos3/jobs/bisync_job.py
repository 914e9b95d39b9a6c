"""Brings both sides up to date with each other, once, and finds the conflicts of :meth:`pos3.Mirror.bisync`.

The records of the last sync tell which side of a file has changed. A file that changed only locally is uploaded, and
one that changed only in the store is downloaded. A file that changed on both sides is a conflict, and so is one that
differs and was never synced. If there is a conflict, nothing is changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import merge
from itertools import chain

from pos3.entries import Entry, Record
from pos3.errors import BucketNotFoundError, PlanRefusedError, RemoteNotFoundError
from pos3.jobs.adoption import check_target
from pos3.jobs.job import EnsureSpace, Job
from pos3.jobs.registration import Registration
from pos3.jobs.transfer_plan import as_transfer_plan
from pos3.local import is_within_relative
from pos3.plan import EMPTIED, NEW, Action, Actions, Plan, TwoWayPlan, delete_refusal
from pos3.redaction import escaped
from pos3.reports import Kept
from pos3.transfer import Outcome, Terms

_DELETED_HERE = "deleted here"
_DELETED_IN_STORE = "deleted in the store"


@dataclass(frozen=True)
class BisyncPlans:
    """The plans of both directions: ``download`` has what is newer in the store, ``upload`` what is newer locally.

    They have no path in common, so their order does not matter.
    """

    registration: Registration
    download: Plan
    upload: Plan

    @property
    def refusal(self) -> str:
        """Why neither plan is carried out: conflicts, some of which are listed, or too many deletes; or ""."""
        return "\n".join(plan.refusal for plan in (self.download, self.upload) if plan.refusal)

    def as_two_way_plan(self) -> TwoWayPlan:
        download = as_transfer_plan(self.registration, self.download)
        upload = as_transfer_plan(self.registration, self.upload)
        return TwoWayPlan(download, upload, self.refusal)


class BisyncJob:
    """A job that transfers in both directions."""

    def __init__(self, job: Job):
        self.job = job

    def plan(self, leftovers: list[os.DirEntry[str]] | None = None) -> BisyncPlans:
        """The plans of what would be done now. Each says why it would be refused. Nothing is changed.

        Args:
            leftovers: a list to which the temporary files of killed downloads are added; None in a dry run.

        Raises:
            As for the plan of a download, except that a prefix without objects is no error.
        """
        job, request = self.job, self.job.request
        upload = job.plan_upload(delete=request.deletes_remote)
        try:
            download = job.plan_download(delete=request.deletes_local, leftovers=leftovers)
        except BucketNotFoundError:
            raise
        except RemoteNotFoundError:
            # The first sync of a prefix.
            download = Plan("download")
        check_target(job, download)
        differing = chain(
            *(download.copies, download.deletes), *(upload.copies, upload.last_copies, upload.deletes, upload.lost)
        )
        paths = {action.path for action in differing}
        records = {record.path: record for record in job.index.records() if record.path in paths} if paths else {}
        return _divide(job.registration, download, upload, records)

    def run(self, terms: Terms, ensure_space: EnsureSpace) -> None:
        """Copies in both directions. Then it deletes on each side what was deleted on the other, if that is allowed.

        Raises:
            PlanRefusedError, UnsafeKeysError, NoSpaceError: nothing was changed.
            TransferError, UnsafeKeysError: some files failed; the others were copied, and nothing was deleted.
        """
        job = self.job
        with job.exclusive(terms):
            leftovers: list[os.DirEntry[str]] = []
            plans = self.plan(leftovers)
            if plans.refusal:
                raise PlanRefusedError(plans.refusal)
            job.prepare_local()
            job.prepare_download(plans.download, leftovers, ensure_space)
            download, upload = plans.download, plans.upload
            uploaded = job.execute_plan(_copies_of(upload), terms)
            has_failed = bool(uploaded.failures or upload.not_pushed)
            downloaded = job.execute_plan(_without_deletes(download) if has_failed else download, terms)
            outcome = _combined(uploaded, downloaded)
            if not outcome.failures and not upload.not_pushed:
                # Objects that others have replaced meanwhile stay.
                deleted = job.execute_plan(job.without_replaced(_deletes_of(upload)), terms)
                outcome = _combined(outcome, deleted)
                if not outcome.failures:
                    job.note_complete()
        job.raise_failures(outcome, upload, "Sync")


def _copies_of(upload: Plan) -> Plan:
    directories = tuple(action for action in upload.directories if action.reason != EMPTIED)
    return replace(upload, deletes=(), directories=directories)


def _deletes_of(upload: Plan) -> Plan:
    emptied = tuple(action for action in upload.directories if action.reason == EMPTIED)
    return Plan("upload", deletes=upload.deletes, directories=emptied)


def _without_deletes(download: Plan) -> Plan:
    """The plan without deletes, and without copies that would replace something of another kind."""

    def is_free(action: Action) -> bool:
        return not any(is_within_relative(action.path, obstacle) for obstacle in download.obstacles)

    return replace(download.without_deletes(), copies=Actions(filter(is_free, download.copies)), obstacles=())


def _combined(first: Outcome, second: Outcome) -> Outcome:
    return Outcome(failures=[*first.failures, *second.failures])


def _divide(registration: Registration, download: Plan, upload: Plan, records: dict[str, Record]) -> BisyncPlans:
    """Keeps in each of two full plans only what its source has newer."""
    copies = Actions()
    conflicts: list[str] = []
    deleted_locally: set[str] = set()
    for action in download.copies:
        record = records.get(action.path)
        path = os.path.join(registration.local, action.path) if action.path else registration.local
        unchanged_in_store = record is not None and record.etag == action.source.etag
        if not os.path.lexists(path):
            if unchanged_in_store and registration.request.deletes_remote:
                deleted_locally.add(action.path)
            else:
                copies.append(
                    _with_reason(action, _DELETED_HERE, record, "changed in the store", is_as_synced=unchanged_in_store)
                )
        elif action.path in download.obstacles or (not unchanged_in_store and _is_as_synced(path, record)):
            copies.append(action)
        elif not unchanged_in_store:
            conflicts.append(action.path)
    deletes = [action._replace(reason=_DELETED_IN_STORE) for action in download.deletes if _was_synced(action, records)]
    obstacles, obstacle_conflicts = _obstacles(download, copies, {action.path for action in deletes})
    conflicts += obstacle_conflicts
    decided = {action.path for action in chain(copies, deletes)} | set(conflicts)
    download = replace(download, copies=copies, deletes=tuple(deletes), obstacles=obstacles)
    upload = _newer_locally(upload, decided, deleted_locally, records)
    if deleted_locally and not os.path.lexists(registration.local):
        # A directory that was removed looks the same as one that never existed, so no objects are deleted for it.
        kept = (Kept(path, "the source is empty") for path in sorted(deleted_locally))
        upload = replace(upload, kept=(*upload.kept, *kept))
    max_delete = registration.request.max_delete
    refusals = [_conflict_message(registration, conflicts), delete_refusal(download, max_delete, str(registration))]
    return BisyncPlans(
        registration,
        replace(download, refusal="\n".join(filter(None, refusals))),
        replace(upload, refusal=delete_refusal(upload, max_delete, str(registration))),
    )


def _obstacles(download: Plan, copies: Actions, deleted: set[str]) -> tuple[tuple[str, ...], list[str]]:
    """The local paths of another kind that copies replace, and those that are conflicts, since they were not synced."""
    replaceable: list[str] = []
    conflicts: list[str] = []
    for obstacle in download.obstacles:
        if not any(is_within_relative(action.path, obstacle) for action in copies):
            continue
        inside = [action.path for action in download.deletes if is_within_relative(action.path.rstrip("/"), obstacle)]
        is_synced = inside and all(path in deleted or path.endswith("/") for path in inside)
        (replaceable if is_synced else conflicts).append(obstacle)
    return tuple(replaceable), conflicts


def _conflict_message(registration: Registration, conflicts: list[str]) -> str:
    if not conflicts:
        return ""
    shown = "\n".join(escaped(path or registration.local) for path in conflicts[:10])
    more = f"\nand {len(conflicts) - 10} more" if len(conflicts) > 10 else ""
    return (
        f"{registration}: {len(conflicts)} file(s) differ and were changed on both sides, or never synced; "
        f"nothing was changed:\n{shown}{more}\n"
        "Take the store's side with 'pos3 download', or the local one with 'pos3 upload', then sync again."
    )


def _newer_locally(upload: Plan, decided: set[str], deleted_locally: set[str], records: dict[str, Record]) -> Plan:
    """The upload without paths that the download has ``decided``."""

    def with_reason(action: Action) -> Action:
        if action.reason != NEW:
            return action
        is_as_synced = _was_synced(action, records)
        record = records.get(action.path)
        return _with_reason(action, _DELETED_IN_STORE, record, "changed here", is_as_synced=is_as_synced)

    def undecided(actions: Iterable[Action]) -> Actions:
        return Actions(with_reason(action) for action in actions if action.path not in decided)

    # Files whose objects the store has lost are deleted by the download, or else uploaded again.
    lost = (action._replace(reason=NEW) for action in upload.lost)
    return replace(
        upload,
        copies=undecided(merge(upload.copies, lost, key=lambda action: action.path)),
        last_copies=undecided(upload.last_copies),
        deletes=tuple(
            action._replace(reason=_DELETED_HERE) for action in upload.deletes if action.path in deleted_locally
        ),
        lost=(),
        # The download has counted these files already.
        unchanged=0,
    )


def _with_reason(action: Action, deleted: str, record: Record | None, changed: str, *, is_as_synced: bool) -> Action:
    """A copy of a file that only one side has, with the reason. Without a record, the file is new."""
    if record is None:
        return action
    return action._replace(reason=deleted if is_as_synced else f"{deleted}, {changed}")


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
