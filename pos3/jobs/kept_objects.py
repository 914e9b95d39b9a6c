"""Decides which objects a push keeps although they have no local file, so that no work of another writer is lost.

:mod:`pos3.plan.deletes` lists the other reasons why a run does not delete something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pos3.entries import Entry, Record

if TYPE_CHECKING:
    from pos3.jobs.job import Job

_NS = 1_000_000_000


def reason_to_keep(job: Job, remote_entry: Entry, record: Record | None) -> str:
    """The reason why a push of ``job`` must not delete an object without a local file, or ""."""
    if record is None and not job.pushes_alone:
        return "another open mirror pushes from the same local path"
    survey = job.first_survey()
    if record is not None and record.owner == job.owner and record.etag == remote_entry.etag:
        return ""
    if record is not None and job.registration.is_restored:
        return "it has changed since it was brought here"
    if not job.is_downloaded(remote_entry.path):
        return "exclude hides it"
    if (remote_entry.path, remote_entry.etag) in survey.recent:
        return ""
    set_back_seconds = job.store.clock_set_back_seconds
    if remote_entry.modified_ns < int(survey.server_time - set_back_seconds) * _NS:
        return ""
    if remote_entry.modified_ns < int(survey.server_time) * _NS:
        return "the store's clock went back, so another writer may have put it there while this mirror was open"
    return "another writer put it there while this mirror was open"
