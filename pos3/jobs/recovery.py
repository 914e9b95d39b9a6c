"""Pushes what mirrors had registered for upload, after their processes have died."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from pos3.errors import NotPushedError, OfflineError, ProfileError
from pos3.jobs.job import Job, PushRules
from pos3.jobs.journal import AbandonedJournal, abandoned_journals, is_claimed_here
from pos3.jobs.journal_entry import JournalEntry
from pos3.jobs.newer_objects import NewerObjectsStay
from pos3.jobs.observer import Unobserved
from pos3.jobs.registration import check_outside_state
from pos3.jobs.runner import Runner
from pos3.jobs.transfer_plan import as_transfer_plan
from pos3.options import MirrorOptions, StrPath
from pos3.plan import TransferPlan
from pos3.profiles import Profile, resolve_profile
from pos3.reports import Report
from pos3.state import Index, Place, RootIndex
from pos3.store import endpoint_of, is_unreachable, open_store
from pos3.transfer import OpenProgress, Rates, choose_progress

OutcomeName = Literal["pushed", "planned", "gone", "failed"]


@dataclass(frozen=True)
class Recovered:
    """The result of :func:`recover` for one registration that an earlier mirror has left.

    - ``outcome`` is "pushed", "planned", "gone" or "failed". It is "planned" in a dry run, and ``plan`` has the plan.
      It is "gone" if the local path does not exist any more. It is "failed" if the push failed, or if the disk of the
      local path is not mounted. ``error`` has the error.
    - A failed registration stays in the journal, and the next call tries it again.
    - ``label``, ``host``, ``pid`` and ``begun_at`` (seconds since the epoch) belong to the earlier mirror.
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
    """Pushes the uploads that earlier mirrors of this cache have left. It deletes nothing.

    A mirror leaves uploads if its process was killed, if its last push failed, or if it could not reach the store.
    Mirrors that are open, in any process, are not touched. If another writer has put an object there since then, the
    object stays and counts as kept, unless the local file is newer. Uploads that are pushed are removed from the
    journal. If a push fails, its upload stays in the journal, and the other uploads are still pushed.

    Args:
        cache_root, show_progress, max_workers, max_upload_bytes_per_second: as for :func:`pos3.mirror`.
        default_profile: a profile or its name, for registrations whose own profile had keys only in memory. It must
            have the same endpoint.
        label: recover only the mirrors with this label. None recovers all.
        dry_run: make plans, and change nothing.
        trust_endpoints: push also to endpoints that only a journal names. Without it, such a registration fails with a
            ProfileError. There are two exceptions: the journal is known to come from a mirror of this user on this
            machine, or ``default_profile`` has the same endpoint.
        progress: as for :class:`pos3.Mirror`.

    Returns:
        One value for each registration. A value of a failed registration has an ``error``.

    Raises:
        InvalidArgumentError, ProfileError, OfflineError: nothing was changed.
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
    if options.offline is True:
        raise OfflineError("recovery needs the store, and POS3_OFFLINE keeps it from being asked; nothing was changed")
    open_progress = progress or choose_progress(options.show_progress)
    recovery = _Recovery(options, open_progress, dry_run, trust_endpoints)
    return [
        recovered
        for journal in abandoned_journals(recovery.cache_root, label)
        for recovered in recovery.recover_journal(journal)
    ]


def push_kept_offline(options: MirrorOptions, progress: OpenProgress) -> list[Recovered]:
    """Pushes what ended mirrors of this cache have kept because they could not reach the store. It deletes nothing.

    What fails stays in the journal. When a store cannot be reached, the journals that follow are left for later.
    """
    recovery = _Recovery(options, progress, dry_run=False, trust_endpoints=False)
    found: list[Recovered] = []
    for journal in abandoned_journals(recovery.cache_root):
        if any(entry.was_offline for entry in journal.entries):
            found += recovery.recover_journal(journal, lambda entry: entry.was_offline)
            if found and found[-1].error is not None and is_unreachable(found[-1].error):
                break
    return found


def _any_entry(_entry: JournalEntry) -> bool:
    return True


class _Recovery:
    def __init__(self, options: MirrorOptions, progress: OpenProgress, dry_run: bool, trust_endpoints: bool):
        self.cache_root = options.real_cache_root
        self._workers = options.given_workers
        self._profile = resolve_profile(options.default_profile)
        self._rates = Rates.of(options)
        self._progress = progress
        self._dry_run = dry_run
        self._trusts_endpoints = trust_endpoints

    def recover_journal(
        self, journal: AbandonedJournal, is_wanted: Callable[[JournalEntry], bool] = _any_entry
    ) -> list[Recovered]:
        remaining = list(journal.entries)
        recovered: list[Recovered] = []
        try:
            for entry in filter(is_wanted, journal.entries):
                recovered.append(self._recover_entry(entry, journal))
                if recovered[-1].outcome in ("pushed", "gone"):
                    remaining.remove(entry)
        finally:
            if not self._dry_run:
                journal.keep_only(remaining)
        return recovered

    def _recover_entry(self, entry: JournalEntry, journal: AbandonedJournal) -> Recovered:
        local, owner = entry.registration.local, journal.owner
        recovered = Recovered(entry.url, local, "gone", owner.label, owner.host, owner.pid, owner.begun_at)
        if entry.is_local_deleted:
            return recovered
        if not os.path.lexists(local):
            missing = NotPushedError(
                errno.ENOENT, "not there, and neither is the disk that held it; mount it and recover again", local
            )
            return replace(recovered, outcome="failed", error=missing)
        try:
            if self._dry_run:
                return self._plan(entry, recovered, journal)
            return self._push(entry, recovered, journal)
        except Exception as error:  # noqa: BLE001 - the other registrations are recovered all the same
            return replace(recovered, outcome="failed", error=error)

    def _job(self, entry: JournalEntry, record_owner: str, journal: AbandonedJournal) -> Job:
        profile, only_in_journal = (None, False) if entry.profile is None else entry.profile.resolve(self._profile)
        registration = replace(entry.registration, profile=profile)
        check_outside_state(registration, self.cache_root)
        place = Place(endpoint_of(registration.location.scheme, profile), str(registration.location))
        if only_in_journal and not self._trusts_endpoints and not is_claimed_here(journal.path, registration, place):
            raise ProfileError(
                f"{registration.local} was to go to {registration.location} at {place.endpoint}, an endpoint that only "
                f"the journal {journal.path} names; nothing was sent there. If it is yours, name a profile for it with "
                "default_profile=..., or pass trust_endpoints=True ('pos3 recover --yes')"
            )
        store = open_store(registration.location, profile, self._workers)
        index = Index(RootIndex(self.cache_root, registration.local), place)
        rules = PushRules(NewerObjectsStay(entry).prefers_remote, trusts_records=False)
        return Job(registration, store, index, self.cache_root, record_owner, rules=rules)

    def _plan(self, entry: JournalEntry, recovered: Recovered, journal: AbandonedJournal) -> Recovered:
        job = self._job(entry, "", journal)
        try:
            plan = as_transfer_plan(job.registration, job.plan_upload(delete=False))
        finally:
            job.store.hang_up()
        return replace(recovered, outcome="planned", plan=plan)

    def _push(self, entry: JournalEntry, recovered: Recovered, journal: AbandonedJournal) -> Recovered:
        job = self._job(entry, uuid.uuid4().hex, journal)
        runner = Runner(self._workers, self._rates, self._progress, Unobserved())
        job.begin_use()
        try:
            runner.run(job, lambda job, terms: job.push_finally(terms, delete=False))
        finally:
            job.end_use()
            job.store.hang_up()
        return replace(recovered, outcome="pushed", report=runner.total)
