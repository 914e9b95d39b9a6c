"""Which guards a download of one mirror has to respect: those of other mirrors, dead ones, and its own registrations.

What a guard allows is said in :mod:`pos3.jobs.local_writers`; here is only who puts one where.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from pos3.entries import Record
from pos3.jobs import Additive, Changed, Closed, Cursor, Guard, Job, Left, Manner, Own, Shared, is_coherent
from pos3.local import are_nested
from pos3.state import ActiveClaim, Claim, Claims, Index, Place, RootIndex


def guards_of(job: Job, claims: Claims, mine: Iterable[Job], outer: Iterable[Job]) -> list[Guard]:
    """What a download of ``job`` leaves alone, as of now.

    Args:
        claims: those of the job's mirror.
        mine: all jobs of that mirror.
        outer: the jobs of the mirror that it does a part of the work of.
    """
    local = job.registration.local
    other_writers = claims.other_writers(local)
    guards: list[Guard] = []
    for claim in other_writers.alive:
        closed = claim.kind == "upload" and claim.deletes
        manner = Manner.SILENT if claim.group == claims.group else Manner.REFUSED_INSIDE
        guards.append(Closed(claim, manner) if closed else Additive(claim, _recorded_by(claim)))
    guards += [Left(claim, _recorded_by(claim)) for claim in other_writers.abandoned]
    for other in mine:
        if other is not job and are_nested(other.registration.local, local):
            guards += _own_guards(job, other)
    for other in outer:
        place = other.registration
        if place.pushes and are_nested(place.local, local):
            guards.append(Changed(os.path.realpath(place.local), str(place), Cursor(other.index.records)))
    return guards


def _recorded_by(claim: Claim) -> Cursor:
    """Finds the records of a claim; where its endpoint is not known, those that were used last."""

    def records() -> Iterator[Record]:
        root = RootIndex(claim.cache_root, claim.root)
        places = [known.place for known in root.places() if known.place.url == claim.url]
        wanted = Place(claim.endpoint, claim.url) if claim.endpoint is not None else next(iter(places), None)
        return Index(root, wanted).records() if wanted is not None else iter(())

    return Cursor(records)


def _own_guards(job: Job, other: Job) -> list[Guard]:
    """That of another registration of the same mirror, if it needs one."""
    mine, theirs = job.registration, other.registration
    record_of, path_there = Cursor(other.index.records), os.path.realpath(theirs.local)
    if not theirs.pushes:
        # What one download brings, another one neither replaces nor deletes.
        return [] if is_coherent(mine, theirs) else [Shared(path_there, str(theirs), record_of)]
    if is_coherent(mine, theirs):
        return [Own(path_there, str(theirs), lambda path, there: other.keeps_at_end(path, there, record_of(path)))]
    if not isinstance(other.held, ActiveClaim):
        # It is only beginning; nothing is added to its path until it has begun.
        return [Own(path_there, str(theirs), lambda path, there: False)]
    claim = other.held.claim
    return [Closed(claim) if theirs.kind == "upload" and theirs.request.deletes_remote else Additive(claim, record_of)]
