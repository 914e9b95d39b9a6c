"""Pushes what mirrors had registered for upload when their process died."""

from __future__ import annotations

import errno
import os
import uuid
from dataclasses import dataclass, field, replace
from typing import Literal

from pos3.entries import Entry, Record
from pos3.errors import NotPushedError, ProfileError
from pos3.jobs.job import Job, Rules
from pos3.jobs.journal import Orphan, is_written_here, orphans
from pos3.jobs.journal_entry import Noted
from pos3.jobs.observer import Unobserved
from pos3.jobs.registration import check_outside_state
from pos3.jobs.runner import Runner
from pos3.jobs.transfer_plan import as_transfer_plan
from pos3.options import MirrorOptions, StrPath
from pos3.plan import TransferPlan
from pos3.profiles import Profile, resolve_profile
from pos3.reports import Report
from pos3.state import Index, Place, RootIndex
from pos3.store import endpoint_of, open_store
from pos3.transfer import ByteRate, OpenProgress, Rate, Unlimited, choose_progress

_NS = 1_000_000_000
# Below that, a difference of clocks cannot be told from the time that a request takes.
_SAME_CLOCK_SECONDS = 3.0

OutcomeName = Literal["pushed", "planned", "gone", "failed"]


@dataclass(frozen=True)
class Recovered:
    """What came of one registration that a dead mirror had left.

    ``outcome`` is "pushed"; "planned" in a dry run, with a ``plan``; "gone" if its local side does not exist any more;
    or "failed", with an ``error``: then it stays for another try, as it does while its disk is not mounted. ``label``,
    ``host``, ``pid`` and ``begun_at`` (seconds since the epoch) are those of the dead mirror.
    """

    url: str
    local: str
    outcome: OutcomeName
    label: str
    host: str
    pid: int
    begun_at: float
    report: Report = field(default_factory=Report)
    plan: TransferPlan | None = None
    error: Exception | None = None


def recover(
    cache_root: StrPath = MirrorOptions.cache_root,
    show_progress: bool = MirrorOptions.show_progress,
    max_workers: int = MirrorOptions.max_workers,
    default_profile: str | Profile | None = MirrorOptions.default_profile,
    max_upload_bytes_per_second: float | None = MirrorOptions.max_upload_bytes_per_second,
    *,
    label: str | None = None,
    dry_run: bool = False,
    trust_endpoints: bool = False,
    progress: OpenProgress | None = None,
) -> list[Recovered]:
    """Pushes what mirrors of this cache had registered for upload when their process was killed. Deletes nothing.

    Mirrors that are open, in any process, are left alone. An object that somebody has put there since then stays, and
    counts as kept, unless the local file is the newer one. What is pushed is struck from the journal; what fails stays,
    and does not keep the rest from being pushed.

    Args:
        cache_root, show_progress, max_workers, max_upload_bytes_per_second: as for :func:`pos3.mirror`.
        default_profile: a profile or its name, for registrations whose own profile had keys that were only in memory.
            It must have the same endpoint.
        label: only what mirrors with this label left; None for all.
        dry_run: plan, and change nothing.
        trust_endpoints: push also to endpoints that nothing but a journal names. Without it, such a registration fails
            with a ProfileError, unless the journal is known to be of a mirror of this user on this machine, or
            ``default_profile`` has that endpoint.
        progress: as for :class:`pos3.Mirror`.

    Returns:
        one value for each registration, also for those that failed: see their ``error``.

    Raises:
        InvalidArgumentError, ProfileError: before anything is changed.
    """
    options = MirrorOptions(cache_root, show_progress, max_workers, default_profile, max_upload_bytes_per_second)
    return recover_with(options, label=label, dry_run=dry_run, trust_endpoints=trust_endpoints, progress=progress)


def recover_with(
    options: MirrorOptions,
    *,
    label: str | None = None,
    dry_run: bool = False,
    trust_endpoints: bool = False,
    progress: OpenProgress | None = None,
) -> list[Recovered]:
    """As :func:`recover`, with the options as one value."""
    options = options.or_environment().checked()
    opened = progress or choose_progress(options.show_progress)
    recovery = _Recovery(options, opened, dry_run, trust_endpoints)
    return [done for orphan in orphans(recovery.cache_root, label) for done in recovery.of(orphan)]


class _Recovery:
    def __init__(self, options: MirrorOptions, progress: OpenProgress, dry_run: bool, trust_endpoints: bool):
        self.cache_root = options.real_cache_root
        self._workers = options.max_workers
        self._profile = resolve_profile(options.default_profile)
        limit = options.max_upload_bytes_per_second
        self._rate: Rate = Unlimited() if limit is None else ByteRate(limit)
        self._progress = progress
        self._dry_run = dry_run
        self._trusts_endpoints = trust_endpoints

    def of(self, orphan: Orphan) -> list[Recovered]:
        left = list(orphan.entries)
        done: list[Recovered] = []
        try:
            for entry in orphan.entries:
                done.append(self._tried(entry, orphan))
                if done[-1].outcome in ("pushed", "gone"):
                    left.remove(entry)
        finally:
            if not self._dry_run:
                orphan.keep(left)
        return done

    def _tried(self, entry: Noted, orphan: Orphan) -> Recovered:
        local, keeper = entry.registration.local, orphan.keeper
        found = Recovered(entry.url, local, "gone", keeper.label, keeper.host, keeper.pid, keeper.begun_at)
        if entry.is_gone:
            return found
        if not os.path.lexists(local):
            missing = NotPushedError(
                errno.ENOENT, "not there, and neither is the disk that held it; mount it and recover again", local
            )
            return replace(found, outcome="failed", error=missing)
        try:
            return self._planned(entry, found, orphan) if self._dry_run else self._pushed(entry, found, orphan)
        except Exception as error:  # noqa: BLE001 - one registration does not keep the others from theirs
            return replace(found, outcome="failed", error=error)

    def _job(self, entry: Noted, writer: str, orphan: Orphan) -> Job:
        profile, only_noted = entry.profile.restored(self._profile) if entry.profile is not None else (None, False)
        registration = replace(entry.registration, profile=profile)
        check_outside_state(registration, self.cache_root)
        place = Place(endpoint_of(registration.location.scheme, profile), str(registration.location))
        if only_noted and not self._trusts_endpoints and not is_written_here(orphan.path, registration, place):
            raise ProfileError(
                f"{registration.local} was to go to {registration.location} at {place.endpoint}, an endpoint that only "
                f"the journal {orphan.path} names; nothing was sent there. If it is yours, name a profile for it with "
                "default_profile=..., or pass trust_endpoints=True ('pos3 recover --yes')"
            )
        store = open_store(registration.location, profile, self._workers)
        index = Index(RootIndex(self.cache_root, registration.local), place)
        rules = Rules(_GivingWay(entry).prefers_remote, trusts_records=False)
        return Job(registration, store, index, self.cache_root, writer, rules=rules)

    def _planned(self, entry: Noted, found: Recovered, orphan: Orphan) -> Recovered:
        job = self._job(entry, "", orphan)
        return replace(found, outcome="planned", plan=as_transfer_plan(job.registration, job.plan_upload(delete=False)))

    def _pushed(self, entry: Noted, found: Recovered, orphan: Orphan) -> Recovered:
        writer = uuid.uuid4().hex
        job = self._job(entry, writer, orphan)
        runner = Runner(self._workers, self._rate, self._progress, Unobserved())
        job.begin_use()
        try:
            runner.run(job, lambda job, terms: job.push_finally(terms, delete=False))
        finally:
            job.end_use()
        return replace(found, outcome="pushed", report=runner.total)


class _GivingWay:
    """The rule of pushes for a dead mirror: they give way to what came to the store since its registration."""

    def __init__(self, entry: Noted):
        self._entry = entry

    def _set_back_seconds(self, job: Job) -> float:
        """By how much the store's clock has gone back since the registration, as far as this machine's can tell."""
        behind_seconds = job.clock_ahead_seconds - self._entry.clock_ahead_seconds
        return behind_seconds if behind_seconds > _SAME_CLOCK_SECONDS else 0.0

    def prefers_remote(self, job: Job, here: Entry, there: Entry, record: Record | None) -> str:
        if record is not None and record.etag == there.etag:
            return ""
        if record is not None and record.matches_local(here):
            return "changed in the store since it was synced, and not here"
        if there.modified_ns < int(self._entry.surveyed_at - self._set_back_seconds(job)) * _NS:
            # The dead mirror has seen it and was to replace it.
            return ""
        ahead_seconds = self._entry.clock_ahead_seconds + self._set_back_seconds(job)
        ahead_ns = int(ahead_seconds * _NS) if abs(ahead_seconds) > _SAME_CLOCK_SECONDS else 0
        # Stores tell whole seconds, rounded down.
        is_newer = there.modified_ns // _NS >= (here.modified_ns - ahead_ns) // _NS
        return "another writer put it there after this file was written" if is_newer else ""
