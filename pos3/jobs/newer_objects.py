"""Decides which objects stay when files are pushed that were registered without a look at the store, or long ago."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pos3.entries import Entry, Record
from pos3.jobs.journal_entry import JournalEntry

if TYPE_CHECKING:
    from pos3.jobs.job import Job

_NS = 1_000_000_000
# A smaller difference of clocks may be just the time that a request takes.
_SAME_CLOCK_SECONDS = 3.0


class NewerObjectsStay:
    """The rule of such pushes: an object that came to the store since the registration may be newer."""

    def __init__(self, entry: JournalEntry):
        self._entry = entry

    def _set_back_seconds(self, job: Job) -> float:
        """How far the store's clock was set back since the registration, measured by the clock of this machine."""
        behind_seconds = job.clock_ahead_seconds - self._entry.clock_ahead_seconds
        return behind_seconds if behind_seconds > _SAME_CLOCK_SECONDS else 0.0

    def prefers_remote(self, job: Job, local_entry: Entry, remote_entry: Entry, record: Record | None) -> str:
        """The reason why the object stays, or "" if the local file replaces it."""
        if record is not None and record.etag == remote_entry.etag:
            return ""
        if record is not None and record.matches_local(local_entry):
            return "changed in the store since it was synced, and not here"
        if remote_entry.modified_ns < int(self._entry.surveyed_at - self._set_back_seconds(job)) * _NS:
            # The object is older than the registration, so the dead mirror was going to replace it.
            return ""
        ahead_seconds = self._entry.clock_ahead_seconds + self._set_back_seconds(job)
        ahead_ns = int(ahead_seconds * _NS) if abs(ahead_seconds) > _SAME_CLOCK_SECONDS else 0
        # Stores report whole seconds, rounded down.
        is_newer = remote_entry.modified_ns // _NS >= (local_entry.modified_ns - ahead_ns) // _NS
        return "another writer put it there after this file was written" if is_newer else ""
