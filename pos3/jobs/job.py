"""One job: it makes, checks and carries out the plans of a registration, one at a time, and adds up their reports."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from pos3.entries import EVERY_PATH, LOST_FOUND, UNKNOWN_OWNER, WITHOUT_CONTENT, Entry, PathRange, Record
from pos3.errors import (
    AccessDeniedError,
    ConflictError,
    NotPushedError,
    PlanRefusedError,
    RemoteNotFoundError,
    TransferCancelledError,
    UnsafeKeysError,
)
from pos3.etags import matches_content, part_size
from pos3.filters import Filter, as_patterns, entry_matcher, everything, matcher, nothing
from pos3.jobs.adoption import FILLED, check_adoption, check_target
from pos3.jobs.archived import SkipsArchived
from pos3.jobs.completed import CompletedDownloads
from pos3.jobs.fingerprints import fingerprint_of_files
from pos3.jobs.journal_entry import JournalEntry
from pos3.jobs.kept_objects import reason_to_keep
from pos3.jobs.local_writers import AdditiveWriter, DeadWriter, LocalWriters, Writer
from pos3.jobs.named_sources import NamedSources
from pos3.jobs.newer_objects import NewerObjectsStay
from pos3.jobs.observer import Registered
from pos3.jobs.pins import pins_of
from pos3.jobs.registration import Registration, looks_like_file
from pos3.jobs.requests import Request
from pos3.jobs.sources import STATE, Sources, ignore_entry
from pos3.local import (
    STATE_DIRECTORY,
    blocks,
    existing_parent,
    ignores_case,
    lies_in_cache,
    max_path_bytes_below,
    relative,
)
from pos3.plan import Compare, Plan, Policy, check_max_delete, plan_download, plan_push, plan_upload
from pos3.reports import Kept, Report
from pos3.state import ActiveClaim, Index, NoClaim, NoUseLock, RegistrationClaim, UseLock
from pos3.store import Store, Survey, has_checksum, twice_if_unsorted
from pos3.transfer import (
    Markers,
    Outcome,
    Pair,
    Terms,
    clear_unfinished,
    execute,
    explaining_write_errors,
    growth_bytes,
)
from pos3.url import Location

logger = logging.getLogger("pos3")

_MAX_EXAMPLES = 5

EnsureSpace = Callable[[str, str, int], None]


class Completeness(Protocol):
    """The rule that says which sets of objects may be downloaded."""

    may_be_partial: bool
    """Whether files may be left out, because others write them."""

    def check_source(self, job: Job) -> None: ...

    def download(self, job: Job, download_once: Callable[[], None], terms: Terms) -> None:
        """Downloads a set that the rule allows. ``download_once`` downloads the objects as they are."""
        ...


class AnySet:
    """Any set of objects may be downloaded."""

    may_be_partial = True

    def check_source(self, job: Job) -> None:
        pass

    def download(self, job: Job, download_once: Callable[[], None], terms: Terms) -> None:
        download_once()


def _never_prefers_remote(_job: Job, _local: Entry, _remote: Entry, _record: Record | None) -> str:
    return ""


@dataclass(frozen=True)
class PushRules:
    """The special rules for the pushes of a job.

    ``prefers_remote`` returns the reason why an object stays that a file would replace, or "" (see
    :class:`pos3.plan.Policy`). Without ``trusts_records``, every push compares both sides in full.
    """

    prefers_remote: Callable[[Job, Entry, Entry, Record | None], str] = _never_prefers_remote
    trusts_records: bool = True


class Job:
    """A registration at work, with its store, its index and its sources.

    At most one transfer of a job runs at a time. Processes that share a local root take turns as well.

    Args:
        cache_root: the cache root of the mirror.
        owner: the owner in the records of transferred files.
        sources, completeness: None for the usual ones.
    """

    def __init__(
        self,
        registration: Registration,
        store: Store,
        index: Index,
        cache_root: str,
        owner: str,
        *,
        sources: Sources | None = None,
        completeness: Completeness | None = None,
        rules: PushRules = PushRules(),
    ):
        self.registration = registration
        self.pair = Pair(
            registration.local, store, registration.location, store.headers_of(registration.request.extra_arguments)
        )
        self.index = index
        self.owner = owner
        self.sources = sources or Sources(registration, store, index, cache_root)
        self.completeness = completeness or AnySet()
        self.url = str(registration.location)
        self.in_cache = lies_in_cache(registration.local, cache_root)
        self.directory_objects: Markers = {}
        self.survey: Survey | None = None
        self.clock_ahead_seconds = 0.0
        self.active_claim: RegistrationClaim = NoClaim()
        self.find_writers: Callable[[], list[Writer]] = list
        self.left_to_writers: tuple[Kept, ...] = ()
        self.has_begun = False
        """Whether users may write to the path, so that the end of the mirror pushes it."""
        self.failed_pushes: list[Exception] = []
        """The failures of background pushes since the last one that succeeded."""
        self.total = Report()
        """The sum of the reports of all transfers of this job."""
        self.failure = ""
        """Why the last transfer failed, or ""."""
        self.last_push_at: float | None = None
        """When everything was last pushed, in seconds since the epoch."""
        self.logged_failures: frozenset[str] = frozenset()
        """The failures of local files that background pushes have logged."""
        self.pushes_alone = True
        """Whether no other open mirror pushes from the same local path."""
        # An object that the download of the registration leaves out has no local file, which does not mean that the
        # file was deleted.
        self.is_downloaded = (
            everything if registration.request.upload_exclude is None else registration.filter.predicate()
        )
        self._rules = rules
        self._pins = pins_of(registration.request, registration.location, store.endpoint, index, cache_root)
        self._entry_offline: JournalEntry | None = None
        # Whether all records come from pushes of named files. Then the objects of the other files are not known.
        self._has_only_named_records = False
        self._has_logged_left_out = False
        self._lock = threading.RLock()
        self._total_lock = threading.Lock()
        self._use_lock: UseLock | NoUseLock | None = None

    def __str__(self) -> str:
        return str(self.registration)

    @property
    def request(self) -> Request:
        return self.registration.request

    @property
    def store(self) -> Store:
        return self.pair.store

    def begin_offline(self) -> None:
        """Begins without a look at the store.

        Nobody knows what was there at this moment. So pushes that come later delete nothing, and newer objects stay.
        """
        self._entry_offline = entry = JournalEntry.of(self.registration, time.time(), 0.0, was_offline=True)
        self._rules = PushRules(NewerObjectsStay(entry).prefers_remote, trusts_records=False)

    @property
    def _deletes_remote(self) -> bool:
        return self.request.deletes_remote and self._entry_offline is None

    def first_survey(self) -> Survey:
        """The survey of the URL from the first call. Later calls send no request.

        The first call proves that there is access. Objects that appear after it, and that this mirror has not put
        there, were put there by others.
        """
        if self.survey is None:
            survey = self._survey()
            self.survey = survey if survey.server_time else replace(survey, server_time=time.time())
            self.clock_ahead_seconds = time.time() - self.survey.server_time
        return self.survey

    def _survey(self) -> Survey:
        try:
            return self.store.survey(self.registration.location.key)
        except AccessDeniedError as error:
            if why := self.request.why_it_reads:
                raise AccessDeniedError(f"{error.__cause__ or error}; {why}", url=error.url) from error
            # Of what a dead process has left, the objects say whether it is still wanted.
            if self.request.kind != "upload" or not self._rules.trusts_records:
                raise
            logger.info("%s: may not be listed, so what to push is decided by what was pushed from here before", self)
            return Survey(is_object=False, is_prefix=False, server_time=0.0, is_told=False)

    def _with_left_out(self, plan: Plan) -> Plan:
        """The plan, with one kept line for each reason why objects were left out of the listing."""
        left_out = self.sources.left_out()
        return replace(plan, kept=(*plan.kept, *left_out)) if left_out else plan

    def _policy(self, *, delete: bool) -> Policy:
        request, location = self.request, self.registration.location
        return Policy(
            "upload",
            f"{self.registration}",
            delete=delete,
            compare=request.compare,
            proven_equal=self._proven_equal,
            has_checksum=self._has_checksum,
            protects=functools.partial(reason_to_keep, self),
            prefers_remote=functools.partial(self._rules.prefers_remote, self),
            overwrite=entry_matcher(as_patterns(request.overwrite, "overwrite")),
            last=matcher(as_patterns(request.upload_last, "upload_last")),
            key_prefix=f"{location.key}/" if location.key else "",
            local_root=self.registration.local,
        )

    def _proven_equal(self, local: Entry, remote: Entry) -> bool:
        path = self.pair.local_path(local.path)
        try:
            return matches_content(remote.etag, local.size_bytes, blocks(path), [part_size(local.size_bytes)])
        except OSError:
            return False

    def _has_checksum(self, local: Entry, checksum: str) -> bool | None:
        try:
            return has_checksum(self.pair.local_path(local.path), checksum)
        except OSError:
            return False

    def _is_only_writer(self) -> bool:
        """Whether no other open registration writes the local path, or a path above or below it."""
        return all(isinstance(writer, DeadWriter) for writer in self.find_writers())

    def _writers_at_work(self) -> list[Writer]:
        """The writers of the local path without those that wait until this download has ended.

        If each of several that begin at once left the files to the others, nobody would bring what is new, and their
        last pushes would replace it by what is here.
        """
        claim = self.active_claim
        return [
            writer
            for writer in self.find_writers()
            if not (isinstance(writer, AdditiveWriter) and claim.is_awaited_by(writer.claim))
        ]

    def _lost(self, local: Entry, record: Record) -> bool:
        """Whether an earlier mirror has synced the file with this endpoint, and its path has no links."""
        path = self.pair.local_path(local.path)
        return record.owner not in (self.owner, UNKNOWN_OWNER) and os.path.realpath(path) == path

    def keeps_at_end(self, path: str, remote: Entry, record: Record | None) -> bool:
        """Whether the last push would keep an object that has no local file."""
        if not self._deletes_remote or not self.registration.filter.predicate()(path):
            return True
        return bool(reason_to_keep(self, remote._replace(path=path), record))

    def plan_download(
        self, *, delete: bool, leftovers: list[os.DirEntry[str]] | None = None, compare: Compare | None = None
    ) -> Plan:
        """The plan of a download. :attr:`left_to_writers` says afterwards what it leaves to other writers.

        Args:
            leftovers: a list to which the temporary files of killed downloads are added; None in a dry run.
            compare: None for that of the request.

        Raises:
            RemoteNotFoundError: there are no objects at the URL.
            ConflictError: the plan would change files that others write.
            UnsafeKeysError: some keys cannot be local files.
            FingerprintMismatchError, VersionsDeletedError: the objects are not those that the request asks for.
            StoreError: the objects cannot be listed.
        """
        writers = LocalWriters(self.registration.local, self._writers_at_work())
        on_internal_file = leftovers.append if leftovers is not None else ignore_entry
        is_prefix = self.registration.location.is_prefix
        # A dry run writes nothing, so it cannot test the disk.
        fold_names = leftovers is not None and ignores_case(existing_parent(self.registration.local))
        policy = replace(self._policy(delete=delete), direction="download", fold_names=fold_names, overwrite=nothing)
        archived = SkipsArchived(writers.keeps_local)
        keeps_local = archived if self.request.skip_archived else writers.keeps_local
        policy = replace(policy, delete_argument=self.request.delete_argument, keeps_local=keeps_local)
        max_path_bytes = max_path_bytes_below(self.registration.local)
        policy = replace(policy, compare=compare or policy.compare, max_path_bytes=max_path_bytes)

        def make_plan() -> Plan:
            writers.reset()
            archived.reset()
            chosen = self.registration.filter
            local = self.sources.files(chosen, follow_symlinks=False, on_internal_file=on_internal_file)
            remote = self.sources.objects(chosen, is_prefix=is_prefix)
            for pin in self._pins:
                remote = pin.watch(remote)
            return self._with_left_out(plan_download(local, remote, self.sources.records(chosen), policy))

        plan = self._without_never_pushed(twice_if_unsorted(make_plan))
        for pin in self._pins:
            pin.check(lambda: self.sources.objects(self.registration.filter, is_prefix=is_prefix))
        may_keep = self.completeness.may_be_partial and all(pin.may_be_partial for pin in self._pins)
        writers.check(self.url, may_keep=may_keep)
        self.left_to_writers = writers.kept
        kept = (*plan.kept, *writers.kept, *archived.kept)
        # A directory that the borders of a part lie in is that of other parts, too.
        borders = tuple(filter(None, (self.registration.within.after, self.registration.within.until)))
        plan = replace(plan, kept=kept, paths_of_others=(*writers.paths_below_root, *borders))
        is_empty = not plan.source_files and not plan.directories
        if is_empty and not (writers.include_own_push and plan.destination_files) and not self.exists_in_store():
            # Dry runs and restored paths do not have the argument that the message names.
            has_argument = leftovers is not None and not self.registration.is_restored
            raise RemoteNotFoundError(
                f"{self.url}: there is no object at this URL, and none below it; nothing was changed. "
                f"Check the URL{', or pass missing_ok=True if it may be missing' if has_argument else ''}",
                url=self.url,
            )
        return plan

    def _without_never_pushed(self, plan: Plan) -> Plan:
        """The plan without deletes of files that are never pushed, and so cannot have objects."""
        if not plan.deletes or self.request.upload_exclude is None:
            return plan
        is_pushed = self.request.push_filter.predicate()
        recorded = {record.path for record in self.index.records()}
        kept = {action.path for action in plan.deletes if not (is_pushed(action.path) or action.path in recorded)}
        return replace(
            plan,
            deletes=tuple(action for action in plan.deletes if action.path not in kept),
            kept=(*plan.kept, *(Kept(path, "upload_exclude hides it from the push") for path in sorted(kept))),
        )

    def exists_in_store(self) -> bool:
        """Whether the store has objects at the URL now."""
        location = self.registration.location
        survey = self.store.survey(location.key)
        return survey.is_prefix or (survey.is_object and not location.is_prefix)

    def plan_upload(self, *, delete: bool) -> Plan:
        """The plan of a push that compares both sides in full. It is empty if the local side does not exist.

        Raises:
            NotPushedError: the local side cannot be reached.
            ConflictError: one side is a single file or object, and the other is a directory.
            StoreError: the objects cannot be listed.
        """
        local = self.registration.local
        if not self.local_exists():
            return Plan("upload")
        is_directory = os.path.isdir(local)
        self.check_same_kind()
        policy = self._policy(delete=delete)
        if not self.first_survey().is_told:
            return self._plan_by_records(policy)
        if self.registration.drops_lost and self.in_cache and self._is_only_writer():
            policy = replace(policy, lost=self._lost)
        follow_symlinks = self.request.follow_symlinks

        def make_plan() -> Plan:
            chosen = self.request.push_filter
            internal_files: list[os.DirEntry[str]] = []
            local = self.sources.files(chosen, follow_symlinks=follow_symlinks, on_internal_file=internal_files.append)
            remote = self.sources.objects(chosen, is_prefix=is_directory, only_object=not is_directory, to_push=True)
            records = self.sources.records_to_push(self.directory_objects, self.owner)
            plan = self._with_left_out(plan_upload(local, remote, records, policy))
            directories = [entry.path for entry in internal_files if entry.name == STATE_DIRECTORY]
            kept = (Kept(relative(path, self.registration.local), STATE) for path in directories)
            return replace(plan, kept=(*plan.kept, *kept))

        plan = twice_if_unsorted(make_plan)
        return plan if delete else plan.without_deletes()

    def _plan_by_records(self, policy: Policy) -> Plan:
        """The plan of a push that knows of the store only what the index has."""
        local = self.sources.files(self.request.push_filter, follow_symlinks=self.request.follow_symlinks)
        records = self.sources.records_to_push(self.directory_objects, self.owner)
        return plan_push(local, records, self.owner, policy)

    def local_exists(self) -> bool:
        """Whether the local side exists.

        Raises:
            NotPushedError: a directory above it may not be entered, so nobody knows. This must not look like "no".
        """
        local = self.registration.local
        try:
            os.stat(local)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            problem = f"{error.strerror} (allow to enter the directories above it)"
            raise NotPushedError(error.errno, problem, local) from error
        return True

    def check_same_kind(self) -> None:
        """Returns if the local side is a file where the URL is that of an object, or a directory where it is a prefix.

        Raises:
            ConflictError: a file would be pushed to a prefix, or a directory to an object.
        """
        local, location, survey = self.registration.local, self.registration.location, self.first_survey()
        if os.path.isfile(local) and location.is_prefix:
            raise ConflictError(
                f"{local} is a file, but {self.url}/ is the URL of a directory. {_named(local, self.url)}"
            )
        if os.path.isfile(local) and survey.is_prefix and not survey.is_object:
            raise ConflictError(
                f"{local} is a file, but {self.url}/ is a prefix with objects. {_named(local, self.url)}"
            )
        if os.path.isdir(local) and survey.is_object and not location.is_prefix:
            raise ConflictError(
                f"{self.url} is an object, but {local} is a directory. Pass '{self.url}/' to upload to the prefix, or "
                "the path of a file as local=..."
            )

    def _plan_push(self) -> Plan:
        """The plan of a background push. It needs no request if the index has records."""
        chosen = self.request.push_filter
        if not self._rules.trusts_records:
            return self.plan_upload(delete=False)
        if not self._knows_objects():
            entries = self.sources.files(chosen, follow_symlinks=True)
            has_files = any(e.is_unreadable or not (e.unusable or e.is_directory) for e in entries)
            return self.plan_upload(delete=False) if has_files else Plan("upload")
        plan = self.without_replaced(self._plan_by_records(self._policy(delete=self.request.deletes_remote)))
        if plan.copy_files and self.request.compare != "auto":
            # Other ways of comparing must see the object of a new file, which the records do not have.
            return replace(self.plan_upload(delete=False), deletes=plan.deletes)
        return plan

    def _plan_additions(self) -> Plan:
        """The plan of a push that deletes nothing. It needs no request if the index has records.

        The records of deleted files stay, so that a later push deletes their objects.
        """
        if not self._knows_objects():
            return self._plan_push()
        plan = self._plan_by_records(self._policy(delete=False))
        return self.plan_upload(delete=False) if plan.copy_files and self.request.compare != "auto" else plan

    def _knows_objects(self) -> bool:
        """Whether the records tell which files have objects."""
        return self.index.has_records() and not self._has_only_named_records

    def _plan_named(self, paths: Collection[str]) -> Plan:
        """The plan of a push of the files at these paths. It lists nothing, and deletes nothing."""
        self.check_same_kind()
        self._has_only_named_records = not self._knows_objects()
        sources = NamedSources(self.registration, self.store, self.index, paths)
        policy = self._policy(delete=False)
        if self._rules.trusts_records and (self.request.compare == "auto" or not self.first_survey().is_told):
            return plan_push(sources.files(), sources.records(), self.owner, policy)
        plan = plan_upload(sources.files(), sources.objects(), sources.records(), policy)
        return replace(plan.without_deletes(), forgotten=())

    def without_replaced(self, plan: Plan) -> Plan:
        """The plan without deletes of objects that others have replaced or deleted since.

        The objects are listed only if the plan has deletes. The index remembers the objects that stay, so that the next
        push does not list them again.
        """
        if not plan.deletes:
            return plan
        deletes = {action.path for action in plan.deletes}

        def etags() -> dict[str, str]:
            is_prefix = os.path.isdir(self.registration.local)
            remote = self.sources.objects(self.request.push_filter, is_prefix=is_prefix, to_push=True)
            return {entry.path: entry.etag for entry in remote if entry.path in deletes}

        current_etags = twice_if_unsorted(etags)
        objects = [action.source for action in plan.deletes]
        replaced = [entry for entry in objects if current_etags.get(entry.path, entry.etag) != entry.etag]
        # If the local file comes back unchanged, only this record shows that others have changed the object.
        confirmed = (
            Record(entry.path, entry.size_bytes, entry.modified_ns, entry.inode, entry.etag)
            for entry in replaced
            if not entry.is_directory
        )
        forgotten = {entry.path for entry in replaced if entry.is_directory} | (deletes - current_etags.keys())
        return replace(
            plan,
            deletes=tuple(action for action in plan.deletes if current_etags.get(action.path) == action.source.etag),
            confirmed=(*plan.confirmed, *confirmed),
            forgotten=(*plan.forgotten, *sorted(forgotten)),
        )

    def check_can_be_emptied(self) -> None:
        """Returns if ``fresh=True`` may empty the local path.

        Raises:
            ConflictError: others write in the local path, or a process died before all of it was pushed.
        """
        writers = LocalWriters(self.registration.local, self.find_writers())
        for entry in self.sources.files(Filter(), follow_symlinks=False):
            if not entry.is_directory and writers.keeps_local(entry.path, entry, None):
                raise ConflictError(
                    f"fresh=True would empty {self.registration.local}, but {writers.first_reason}; nothing was "
                    "changed. Wait until that is pushed, or leave fresh out"
                )

    def local_path(self, location: Location) -> str:
        """The local path of a location that is this registration's, or lies below it."""
        return self.pair.local_path(self.path_of(location))

    def path_of(self, location: Location) -> str:
        """The path of such a location, relative to this registration's."""
        return location.key[len(self.registration.location.key) :].strip("/")

    def add_to_total(self, report: Report) -> Report:
        """Adds the report of a transfer to :attr:`total`. Returns the report without failures that were there before.

        A failure that repeats at each push counts once. ``unchanged`` is not added up.
        """
        with self._total_lock:
            known = set(self.total.failures)
            report = replace(report, failures=tuple(failure for failure in report.failures if failure not in known))
            self.total = replace(self.total + report, unchanged=report.unchanged)
        return report

    def as_registered(self) -> Registered:
        """The public form of the registration, as it is now."""
        registration, total = self.registration, self.total
        files, size_bytes, etag = self.index.summary()
        return Registered(
            registration.kind,
            self.url,
            registration.local,
            endpoint=registration.profile.endpoint if registration.profile is not None else None,
            report=total,
            failure=self.failure,
            files=files,
            size_bytes=size_bytes,
            etag=etag,
            last_push_at=self.last_push_at,
        )

    def fingerprint(self, below: str, chosen: Filter, within: PathRange = EVERY_PATH) -> str | None:
        """The fingerprint of the objects that the files at ``below`` are equal to, or None if some files differ.

        Args:
            within: only these paths, which are relative to ``below``.
        """
        is_registered, is_chosen = self.registration.filter.predicate(), chosen.predicate()

        def takes_part(path: str) -> bool:
            is_asked = path in within and is_chosen(path)
            return is_asked and is_registered("/".join(part for part in (below, path) if part))

        return fingerprint_of_files(self.index, below, takes_part)

    def set_claim(self, claim: ActiveClaim) -> None:
        """Gives the job the claim of its local path. :meth:`end_use` ends the claim."""
        self.active_claim = claim
        self.owner = claim.claim.owner

    def journal_entry(self) -> JournalEntry:
        """The entry for the journal, from which the job can be pushed if this process dies."""
        if self._entry_offline is not None:
            return replace(self._entry_offline, registration=self.registration)
        surveyed_at = self.first_survey().server_time
        return JournalEntry.of(self.registration, surveyed_at, self.clock_ahead_seconds)

    def begin_use(self) -> None:
        """Protects the local root from eviction until :meth:`end_use`."""
        if self._use_lock is None:
            self._use_lock = self.index.root.use_lock()

    def _note_push(self) -> None:
        """Everything was pushed by now: ``pos3 status`` and notebooks show when that was."""
        self.last_push_at = time.time()
        if self._use_lock is not None:
            self._use_lock.note_push()

    def end_use(self) -> None:
        """Allows eviction again, and ends the claim."""
        use_lock, self._use_lock = self._use_lock, None
        if use_lock is not None:
            use_lock.release()
        self.active_claim.end()

    @contextmanager
    def exclusive(self, terms: Terms) -> Iterator[None]:
        """Waits until no other transfer of the local root runs, in any process, and keeps others waiting.

        Transfers of different parts run at the same time.

        Raises:
            TransferCancelledError: the transfer was cancelled while it waited.
        """
        has_logged = False

        def on_wait() -> None:
            nonlocal has_logged
            if terms.cancelled.is_set():
                raise TransferCancelledError(f"{self}: stopped while waiting for another transfer of it")
            if not has_logged:
                logger.info("%s: waiting for another transfer of it", self)
                has_logged = True

        while not self._lock.acquire(timeout=0.5):
            on_wait()
        try:
            with self.index.root.locked(on_wait, self.registration.within):
                yield
        finally:
            self._lock.release()

    def check_source(self) -> None:
        """Returns if the set that the request names is in the store. Dry runs call it before they make a plan.

        Raises:
            IncompleteSetError, RemoteNotFoundError: a complete set is asked for, and its marker is missing.
        """
        self.completeness.check_source(self)

    def download(self, terms: Terms, *, adopt: bool, ensure_space: EnsureSpace) -> None:
        """Makes the local side match the remote side.

        Args:
            ensure_space: called with the URL, the local path and the bytes that are needed, before anything is changed.

        Raises:
            PlanRefusedError, UnsafeKeysError, RemoteNotFoundError, NoSpaceError: nothing was changed.
            IncompleteSetError: a complete set is asked for, and there is none.
            TransferError: some files failed; the others were downloaded.
        """
        self.completeness.download(
            self, lambda: self.download_once(terms, adopt=adopt, ensure_space=ensure_space), terms
        )

    def download_once(self, terms: Terms, *, adopt: bool, ensure_space: EnsureSpace) -> None:
        """As :meth:`download`, without the rule for complete sets."""
        with self.exclusive(terms):
            leftovers: list[os.DirEntry[str]] = []
            plan = self.plan_download(delete=self.request.deletes_local, leftovers=leftovers)
            check_target(self, plan)
            if not adopt and self.request.deletes_local:
                check_adoption(self, plan)
            check_max_delete(plan, self.request.max_delete, str(self))
            self.prepare_download(plan, leftovers, ensure_space)
            if not plan.source_files and not self.registration.within.is_everything:
                # Whether the URL is that of one object is known to another part.
                self.first_survey()
                self.prepare_local()
            elif not plan.source_files and not os.path.exists(self.registration.local):
                with explaining_write_errors(self.registration.local, self.registration.local):
                    os.makedirs(self.registration.local)
            outcome = self.execute_plan(plan, terms)
            if not outcome.failures and self.completeness.may_be_partial:
                self.note_complete()
        outcome.raise_failures("Download")
        for pin in self._pins:
            pin.check_delivered(plan, self.index)

    def note_complete(self) -> None:
        """Notes that the download has just brought everything, so that a mirror can do without the store."""
        # Files that are equal by their sizes alone have no records, and what is left to others is not what was there.
        if self.request.compare != "size" and not self.left_to_writers:
            CompletedDownloads(self.index).add(self.request)

    def prepare_download(self, plan: Plan, leftovers: list[os.DirEntry[str]], ensure_space: EnsureSpace) -> None:
        """Removes the leftovers of killed downloads that are of no use, and makes sure that what is to come fits.

        Raises:
            NoSpaceError: they do not fit; only the leftovers were removed.
        """
        found = [leftover.path for leftover in leftovers]
        is_whole = self.registration.within.is_everything
        there_bytes = clear_unfinished(plan, self.pair, self.index.root, found, is_whole=is_whole)
        ensure_space(self.url, self.registration.local, growth_bytes(plan, self.pair) - there_bytes)
        self.index.mark_used()
        self.index.root.set_note(FILLED, "yes")
        if not plan.is_empty:
            CompletedDownloads(self.index).forget_changed(plan)
        if self.left_to_writers:
            first, count = self.left_to_writers[0], len(self.left_to_writers)
            logger.info("%s: %d left as it is, such as %r: %s", self, count, first.path, first.reason)

    def execute_plan(self, plan: Plan, terms: Terms) -> Outcome:
        """Carries out a plan. The first upload that leaves something out logs what it is."""
        if plan.direction == "upload" and not self._has_logged_left_out:
            self._has_logged_left_out = _log_left_out(self, plan)
        return execute(plan, self.pair, self.index, terms, self.directory_objects)

    def prepare_local(self) -> None:
        """Creates the local directory. For a URL that looks like a file, it creates only the directory above."""
        local = self.registration.local
        if os.path.exists(local):
            return
        is_file = looks_like_file(self.registration.location) and not self.registration.local_is_directory
        if self.survey is not None and not self.registration.location.is_prefix:
            is_file = self.survey.is_object or (is_file and not self.survey.is_prefix)
        with explaining_write_errors(local, local):
            os.makedirs(os.path.dirname(local) if is_file else local, exist_ok=True)

    def push(self, terms: Terms) -> None:
        """Uploads what changed since the last push. It deletes only objects that this mirror has put there.

        Raises:
            TransferError: some files failed.
            UnsafeKeysError: some files cannot be objects; the others were pushed.
        """
        if self._push(terms, self._plan_push):
            self._note_push()
            self._has_only_named_records = False

    def push_additions(self, terms: Terms) -> None:
        """Uploads what changed since the last push, and deletes nothing.

        Raises:
            As for :meth:`push`.
        """
        if self._push(terms, self._plan_additions):
            self._note_push()
            self._has_only_named_records = False

    def push_named(self, paths: Collection[str], terms: Terms) -> None:
        """Uploads the files at these paths that changed since the last push. It looks at no other file.

        Raises:
            As for :meth:`push`.
        """
        self._push(terms, lambda: self._plan_named(paths))

    def _push(self, terms: Terms, make_plan: Callable[[], Plan]) -> bool:
        """Carries out a plan for a push. Returns False if the local side does not exist."""
        with self.exclusive(terms):
            if not self.local_exists():
                return False
            plan = make_plan()
            if plan.is_empty and not (plan.confirmed or plan.forgotten or plan.unreadable):
                self._raise_problems(plan)
                return True
            self.index.mark_used()
            outcome = self.execute_plan(plan, terms)
        self.raise_failures(outcome, plan)
        return True

    def push_finally(self, terms: Terms, *, delete: bool) -> None:
        """Makes the remote side match the local side, by a full comparison. Files that keep changing are tried twice.

        Raises:
            PlanRefusedError: more deletes than allowed; the copies were made, nothing was deleted.
            TransferError: some files failed.
            UnsafeKeysError: some files cannot be objects; the others were pushed, nothing was deleted.
        """
        with self.exclusive(terms):
            if not self.local_exists():
                return
            self.pushes_alone = self.active_claim.begin_last_push()
            plan = self.plan_upload(delete=delete and self._deletes_remote)
            refusal: PlanRefusedError | None = None
            try:
                check_max_delete(plan, self.request.max_delete, str(self))
            except PlanRefusedError as error:
                refusal, plan = error, plan.without_deletes()
            self.index.mark_used()
            outcome = self.execute_plan(plan, terms)
            if outcome.unsettled and not outcome.failures:
                outcome = self._push_again(terms)
        self.raise_failures(outcome, plan)
        if refusal is not None:
            raise refusal
        self._note_push()

    def raise_failures(self, outcome: Outcome, plan: Plan, operation: str = "Upload") -> None:
        """Returns if everything was pushed.

        Args:
            plan: the plan of the push. What could not be planned is a failure as well.

        Raises:
            TransferError: some files failed.
            UnsafeKeysError: some files cannot be objects, and nothing else failed.
        """
        if outcome.failures and plan.problems:
            outcome.failures.append(self._unsafe(plan))
        outcome.raise_failures(operation)
        self._raise_problems(plan)

    def _raise_problems(self, plan: Plan) -> None:
        if plan.problems:
            raise self._unsafe(plan)

    def _unsafe(self, plan: Plan) -> UnsafeKeysError:
        return UnsafeKeysError(str(self), plan.problems, "all others were pushed and nothing was deleted")

    def _push_again(self, terms: Terms) -> Outcome:
        again = self.execute_plan(self._plan_push(), terms)
        for path in again.unsettled:
            logger.warning("%s: %r kept changing while it was uploaded; its last state may be missing", self, path)
        terms.count(Report(kept=tuple(Kept(path, "kept changing while it was uploaded") for path in again.unsettled)))
        return again


def _named(local: str, url: str) -> str:
    """The advice to pass the URL of an object for a local file."""
    return f"Pass the URL of an object, such as {url}/{os.path.basename(local)}"


def _log_left_out(job: Job, plan: Plan) -> bool:
    """Logs in one line what a push leaves out because it has no content. Returns whether there was anything."""
    left_out = [kept for kept in plan.kept if kept.reason in WITHOUT_CONTENT]
    lost_found = [kept for kept in plan.kept if kept.reason == LOST_FOUND]
    if lost_found:
        logger.info("%s: %r is left out, %s", job, lost_found[0].path.rstrip("/"), LOST_FOUND)
    if left_out:
        examples = ", ".join(f"{kept.path.rstrip('/')!r} ({kept.reason})" for kept in left_out[:_MAX_EXAMPLES])
        more = f" and {len(left_out) - _MAX_EXAMPLES} more" if len(left_out) > _MAX_EXAMPLES else ""
        logger.warning(
            "%s: %d left out, since only files and directories can be pushed: %s%s", job, len(left_out), examples, more
        )
    return bool(left_out or lost_found)
