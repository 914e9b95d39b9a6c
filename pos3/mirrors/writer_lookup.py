"""Finds the writers whose local files a download must respect: those of other mirrors, dead ones, and its own mirror.

:mod:`pos3.jobs` decides what each writer allows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from pos3.entries import Record
from pos3.jobs import (
    AdditiveWriter,
    DeadWriter,
    DeletingUpload,
    Job,
    OnChange,
    OwnDownload,
    OwnPush,
    ParentWriter,
    RecordLookup,
    Writer,
    maps_the_same_objects,
)
from pos3.local import are_nested
from pos3.state import ActiveClaim, Claim, Claims, Index, Place, RootIndex


def writers_of(job: Job, claims: Claims, own_jobs: Iterable[Job], parent_jobs: Iterable[Job]) -> list[Writer]:
    """The writers that a download of ``job`` must respect at this moment.

    Args:
        claims: the claims of the job's mirror.
        own_jobs: all jobs of that mirror.
        parent_jobs: all jobs of its parent mirror.
    """
    local = job.registration.local
    other_writers = claims.other_writers(local)
    writers: list[Writer] = []
    for claim in other_writers.alive:
        is_of_group = claim.group == claims.group
        if claim.kind == "upload" and claim.deletes:
            writers.append(DeletingUpload(claim, OnChange.KEEP_SILENTLY if is_of_group else OnChange.RAISE_INSIDE))
        else:
            writers.append(AdditiveWriter(claim, _records_of_claim(claim), is_of_group))
    writers += [DeadWriter(claim, _records_of_claim(claim)) for claim in other_writers.abandoned]
    for other in own_jobs:
        if other is not job and are_nested(other.registration.local, local):
            writers += _own_writers(job, other)
    for other in parent_jobs:
        registration = other.registration
        if registration.pushes and are_nested(registration.local, local):
            path = os.path.realpath(registration.local)
            writers.append(ParentWriter(path, str(registration), RecordLookup(other.index.records)))
    return writers


def _records_of_claim(claim: Claim) -> RecordLookup:
    """Finds the records of a claim. If its endpoint is not known, the most recently used place of the URL counts."""

    def records() -> Iterator[Record]:
        root = RootIndex(claim.cache_root, claim.root)
        places = [known.place for known in root.places() if known.place.url == claim.url]
        place = Place(claim.endpoint, claim.url) if claim.endpoint is not None else next(iter(places), None)
        return Index(root, place).records() if place is not None else iter(())

    return RecordLookup(records)


def _own_writers(job: Job, other: Job) -> list[Writer]:
    """At most one writer, for another registration of the same mirror."""
    mine, theirs = job.registration, other.registration
    record_of, other_path = RecordLookup(other.index.records), os.path.realpath(theirs.local)
    if not theirs.pushes:
        # A download neither replaces nor deletes the files of another one.
        return [] if maps_the_same_objects(mine, theirs) else [OwnDownload(other_path, str(theirs), record_of)]
    if maps_the_same_objects(mine, theirs):
        return [
            OwnPush(other_path, str(theirs), lambda path, remote: other.keeps_at_end(path, remote, record_of(path)))
        ]
    if not isinstance(other.active_claim, ActiveClaim):
        # That registration is just beginning. Nothing is added to its path before it has begun.
        return [OwnPush(other_path, str(theirs), lambda path, remote: False)]
    claim = other.active_claim.claim
    is_deleting = theirs.kind == "upload" and theirs.request.deletes_remote
    return [DeletingUpload(claim) if is_deleting else AdditiveWriter(claim, record_of)]
