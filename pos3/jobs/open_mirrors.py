"""What the open mirrors of this machine push: from their journals, their indexes and the local files. No request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pos3.errors import ClaimError
from pos3.jobs.journal import OpenJournal, open_journals
from pos3.jobs.registration import Registration
from pos3.local import Scan, local_entries
from pos3.plan import Plan, Policy, plan_push
from pos3.state import ClaimList, Index, RootIndex


@dataclass(frozen=True)
class OpenUpload:
    """What an open mirror has registered for upload.

    ``last_push_at`` is when a push of the local path last succeeded, in seconds since the epoch; None if none has.
    ``unpushed_files`` and ``unpushed_bytes`` are those of new and changed files. ``label``, ``host``, ``pid`` and
    ``begun_at`` (seconds since the epoch) are those of the mirror.
    """

    kind: str
    url: str
    local: str
    label: str
    host: str
    pid: int
    begun_at: float
    cache_root: str
    last_push_at: float | None
    unpushed_files: int
    unpushed_bytes: int


def open_uploads(cache_root: str) -> list[OpenUpload]:
    """The uploads of all open mirrors of this cache, and of the other caches that this user's mirrors use now.

    The oldest mirror comes first, and of one mirror, each registration in the order in which it was made.
    """
    roots = dict.fromkeys((cache_root, *_claimed_cache_roots()))
    found = [upload for root in roots for journal in open_journals(root) for upload in _uploads_of(root, journal)]
    return sorted(found, key=lambda upload: upload.begun_at)


def _claimed_cache_roots() -> list[str]:
    try:
        return sorted({claim.cache_root for claim in ClaimList.of_this_user().read().all()})
    except ClaimError:
        return []


def _uploads_of(cache_root: str, journal: OpenJournal) -> Iterator[OpenUpload]:
    owner = journal.owner
    # A registration that was merged with a further call is there twice. The last entry is the whole.
    entries = {(entry.url, entry.registration.local): entry for entry in journal.entries}
    for entry in entries.values():
        registration = entry.registration
        index = RootIndex(cache_root, registration.local)
        plan = _unpushed(registration, index)
        yield OpenUpload(
            registration.kind,
            entry.url,
            registration.local,
            owner.label,
            owner.host,
            owner.pid,
            owner.begun_at,
            cache_root,
            _later(index.last_push_at, owner.begun_at),
            plan.copy_files,
            plan.copy_bytes,
        )


def _later(moment: float | None, begun_at: float) -> float | None:
    """The moment, if the mirror was open then: an earlier push was that of another one."""
    return moment if moment is not None and moment >= begun_at else None


def _unpushed(registration: Registration, index: RootIndex) -> Plan:
    """The plan of a push of what differs from the records, if nothing were compared by content."""
    chosen = registration.request.push_filter
    local = local_entries(registration.local, Scan(True, chosen.predicate(), chosen.prunes()))
    url = str(registration.location)
    place = next((known.place for known in index.places() if known.place.url == url), None)
    takes_part = chosen.predicate()
    records = Index(index, place).records() if place is not None else iter(())
    chosen_records = (record for record in records if takes_part(record.path))
    return plan_push(local, chosen_records, "", Policy("upload", url, local_root=registration.local))
