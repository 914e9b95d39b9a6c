"""One request at work: its plans made, checked and carried out, one at a time, and what came of them."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from pos3.entries import LOST_FOUND, UNKNOWN_OWNER, WITHOUT_CONTENT, Entry, Record
from pos3.errors import (
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
from pos3.jobs.fingerprints import fingerprint_of_files
from pos3.jobs.journal_entry import Noted
from pos3.jobs.local_writers import Guard, Guards, Left
from pos3.jobs.observer import Registered
from pos3.jobs.registration import Registration, names_a_file
from pos3.jobs.requests import Request
from pos3.jobs.sources import STATE, Sources, ignored
from pos3.local import (
    STATE_DIRECTORY,
    blocks,
    existing_parent,
    ignores_case,
    lies_in_cache,
    max_path_bytes_below,
    relative,
    remove_abandoned,
)
from pos3.plan import Compare, Plan, Policy, check_max_delete, plan_download, plan_push, plan_upload
from pos3.reports import Kept, Report
from pos3.state import ActiveClaim, Index, Leftovers, NoClaim, NoUseLock, RegistrationClaim, UseLock
from pos3.store import Store, Survey, twice_if_unsorted
from pos3.transfer import Markers, Outcome, Pair, Terms, execute, explaining_write_errors, growth_bytes
from pos3.url import Location

logger = logging.getLogger("pos3")

_NS = 1_000_000_000
_MOST_EXAMPLES = 5

MakeRoom = Callable[[str, str, int], None]


class Completeness(Protocol):
    """What a download asks of the set that it brings."""

    may_be_partial: bool
    """Whether a download of a part is of use."""

    def check_source(self, job: Job) -> None: ...

    def download(self, job: Job, once: Callable[[], None], terms: Terms) -> None:
        """``once`` downloads whatever is there."""
        ...


class AnySet:
    """Whatever is there is what is asked for."""

    may_be_partial = True

    def check_source(self, job: Job) -> None:
        pass

    def download(self, job: Job, once: Callable[[], None], terms: Terms) -> None:
        once()


def _never_prefers_remote(_job: Job, _here: Entry, _there: Entry, _record: Record | None) -> str:
    return ""


@dataclass(frozen=True)
class Rules:
    """What is special about the pushes of a job.

    ``prefers_remote`` says why an object stays that a file would replace, or "" (see :class:`pos3.plan.Policy`).
    Without ``trusts_records``, every push compares both sides in full.
    """

    prefers_remote: Callable[[Job, Entry, Entry, Record | None], str] = _never_prefers_remote
    trusts_records: bool = True


class Job:
    """A request with its store, its index and its sources.

    At most one transfer of a job runs at a time, and at most one of all processes that share its local root.

    Args:
        cache_root: of the mirror.
        owner: marks the records of what is transferred.
        sources: None for the usual ones.
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
        rules: Rules = Rules(),
    ):
        self.registration = registration
        self.pair = Pair(registration.local, store, registration.location)
        self.index = index
        self.owner = owner
        self.sources = sources or Sources(registration, store, index, cache_root)
        self.completeness = completeness or AnySet()
        self.url = str(registration.location)
        self.in_cache = lies_in_cache(registration.local, cache_root)
        self.markers: Markers = {}
        self.survey: Survey | None = None
        self.clock_ahead_seconds = 0.0
        self.held: RegistrationClaim = NoClaim()
        self.find_guards: Callable[[], list[Guard]] = list
        self.left_to_others: tuple[Kept, ...] = ()
        self.has_begun = False
        """Whether an end pushes it, from the moment when its path may be written to."""
        self.failed_pushes: list[Exception] = []
        self.share = Report()
        self.failure = ""
        self.told_failures: frozenset[str] = frozenset()
        self._rules = rules
        self._pushes_alone = True
        # What a push sees, and the download of the same registration leaves alone, is not gone because it is not here.
        self._is_downloaded = (
            everything if registration.request.upload_exclude is None else registration.filter.predicate()
        )
        self._has_told_left_out = False
        self._lock = threading.RLock()
        self._share_lock = threading.Lock()
        self._use: UseLock | NoUseLock | None = None

    def __str__(self) -> str:
        return str(self.registration)

    @property
    def request(self) -> Request:
        return self.registration.request

    @property
    def store(self) -> Store:
        return self.pair.store

    def take_stock(self) -> Survey:
        """Asks once what lies at the URL. Proves access, and fixes the moment from which others' writes are theirs."""
        if self.survey is None:
            survey = self.store.survey(self.registration.location.key)
            self.survey = survey if survey.server_time else replace(survey, server_time=time.time())
            self.clock_ahead_seconds = time.time() - self.survey.server_time
        return self.survey

    def _with_left_out(self, plan: Plan) -> Plan:
        """The plan, which says in a line for each reason what was left out of the listing."""
        told = self.sources.left_out()
        return replace(plan, kept=(*plan.kept, *told)) if told else plan

    def _policy(self, *, delete: bool) -> Policy:
        request, location = self.request, self.registration.location
        return Policy(
            "upload",
            f"{self.registration}",
            delete=delete,
            compare=request.compare,
            proven_equal=self._proven_equal,
            protects=self._protects,
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

    def _writes_alone(self) -> bool:
        """Whether no other open registration touches the local path."""
        return all(isinstance(guard, Left) for guard in self.find_guards())

    def _lost(self, local: Entry, record: Record) -> bool:
        """Whether an earlier mirror had the file in the store at this endpoint, and no link leads to it."""
        path = self.pair.local_path(local.path)
        return record.owner not in (self.owner, UNKNOWN_OWNER) and os.path.realpath(path) == path

    def _protects(self, remote: Entry, record: Record | None) -> str:
        if record is None and not self._pushes_alone:
            return "another open mirror pushes from the same local path"
        survey = self.take_stock()
        if record is not None and record.owner == self.owner and record.etag == remote.etag:
            return ""
        if not self._is_downloaded(remote.path):
            return "exclude hides it"
        if (remote.path, remote.etag) in survey.recent:
            return ""
        set_back_seconds = self.store.clock_set_back_seconds
        if remote.modified_ns < int(survey.server_time - set_back_seconds) * _NS:
            return ""
        if remote.modified_ns < int(survey.server_time) * _NS:
            return "the store's clock went back, so another writer may have put it there while this mirror was open"
        return "another writer put it there while this mirror was open"

    def keeps_at_end(self, path: str, remote: Entry, record: Record | None) -> bool:
        """Whether the last push would leave an object that has no local file."""
        if not self.request.deletes_remote or not self.registration.filter.predicate()(path):
            return True
        return bool(self._protects(remote._replace(path=path), record))

    def plan_download(
        self, *, delete: bool, leftovers: list[os.DirEntry[str]] | None = None, compare: Compare | None = None
    ) -> Plan:
        """
        Raises:
            RemoteNotFoundError: nothing is at the URL.
            ConflictError: it would change what somebody else writes.
            UnsafeKeysError and the store's errors.
        """
        guards = Guards(self.registration.local, self.find_guards())
        on_own = leftovers.append if leftovers is not None else ignored
        is_prefix = self.registration.location.is_prefix
        # A dry run leaves no trace, so it does not try out the disk.
        fold_names = leftovers is not None and ignores_case(existing_parent(self.registration.local))
        policy = replace(self._policy(delete=delete), direction="download", fold_names=fold_names, overwrite=nothing)
        archived = SkipsArchived(guards.spares)
        keeps_local = archived if self.request.skip_archived else guards.spares
        policy = replace(policy, delete_argument=self.request.delete_argument, keeps_local=keeps_local)
        room_bytes = max_path_bytes_below(self.registration.local)
        policy = replace(policy, compare=compare or policy.compare, max_path_bytes=room_bytes)

        def plan() -> Plan:
            guards.reset()
            archived.reset()
            chosen = self.registration.filter
            local = self.sources.files(chosen, follow_symlinks=False, on_own=on_own)
            remote = self.sources.objects(chosen, is_prefix=is_prefix)
            return self._with_left_out(plan_download(local, remote, self.sources.records(chosen), policy))

        made = self._without_never_pushed(twice_if_unsorted(plan))
        guards.check(self.url, may_keep=self.completeness.may_be_partial)
        self.left_to_others = guards.kept
        made = replace(made, kept=(*made.kept, *guards.kept, *archived.kept), paths_of_others=guards.written)
        is_empty = not made.source_files and not made.directories
        if is_empty and not (guards.are_own and made.destination_files) and not self.is_there():
            # Plans and restored paths have no such argument.
            is_asked = leftovers is not None and not self.registration.is_restored
            raise RemoteNotFoundError(
                f"{self.url}: no object and no prefix with objects; nothing was changed. "
                f"Check the URL{', or pass missing_ok=True if it may be missing' if is_asked else ''}",
                url=self.url,
            )
        return made

    def _without_never_pushed(self, plan: Plan) -> Plan:
        """The plan without deletes of files that are never pushed, and so cannot be in the store."""
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

    def is_there(self) -> bool:
        location = self.registration.location
        survey = self.store.survey(location.key)
        return survey.is_prefix or (survey.is_object and not location.is_prefix)

    def plan_upload(self, *, delete: bool) -> Plan:
        """An empty plan if the local side does not exist.

        Raises:
            the store's errors.
        """
        local = self.registration.local
        if not self.local_exists():
            return Plan("upload")
        is_directory = os.path.isdir(local)
        self.check_kinds()
        policy = self._policy(delete=delete)
        if self.request.drops_lost and self.in_cache and self._writes_alone():
            policy = replace(policy, lost=self._lost)
        follow_symlinks = self.request.follow_symlinks

        def plan() -> Plan:
            chosen = self.request.push_filter
            own: list[os.DirEntry[str]] = []
            local = self.sources.files(chosen, follow_symlinks=follow_symlinks, on_own=own.append)
            remote = self.sources.objects(chosen, is_prefix=is_directory, only_object=not is_directory, to_push=True)
            records = self.sources.records_to_push(self.markers, self.owner)
            made = self._with_left_out(plan_upload(local, remote, records, policy))
            state = [entry.path for entry in own if entry.name == STATE_DIRECTORY]
            told = (Kept(relative(path, self.registration.local), STATE) for path in state)
            return replace(made, kept=(*made.kept, *told))

        made = twice_if_unsorted(plan)
        return made if delete else made.without_deletes()

    def local_exists(self) -> bool:
        """Whether there is a local side.

        Raises:
            NotPushedError: nobody knows, since a directory above it may not be entered. That must not pass for "no".
        """
        local = self.registration.local
        try:
            os.stat(local)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            told = f"{error.strerror} (allow to enter the directories above it)"
            raise NotPushedError(error.errno, told, local) from error
        return True

    def check_kinds(self) -> None:
        """
        Raises:
            ConflictError: a file is to be pushed to a directory, or a directory to an object.
        """
        local, location, survey = self.registration.local, self.registration.location, self.take_stock()
        if os.path.isfile(local) and location.is_prefix:
            raise ConflictError(f"{local} is a file, but {self.url}/ means a directory; name the object's key")
        if os.path.isfile(local) and survey.is_prefix and not survey.is_object:
            raise ConflictError(f"{local} is a file, but objects lie below {self.url}/; name another key")
        if os.path.isdir(local) and survey.is_object and not location.is_prefix:
            raise ConflictError(f"{self.url} is an object, but {local} is a directory; '{self.url}/' means the prefix")

    def _plan_push(self) -> Plan:
        """The plan of a background push, by the records alone where there are some."""
        chosen = self.request.push_filter
        if not self._rules.trusts_records:
            return self.plan_upload(delete=False)
        if not self.index.has_records():
            found = self.sources.files(chosen, follow_symlinks=True)
            is_worth_asking = any(e.is_unreadable or not (e.unusable or e.is_directory) for e in found)
            return self.plan_upload(delete=False) if is_worth_asking else Plan("upload")
        local = self.sources.files(chosen, follow_symlinks=self.request.follow_symlinks)
        delete = self.request.deletes_remote
        records = self.sources.records_to_push(self.markers, self.owner)
        plan = self.without_replaced(plan_push(local, records, self.owner, self._policy(delete=delete)))
        if plan.copy_files and self.request.compare != "auto":
            # Records alone cannot tell what another way of comparing says of a new file.
            return replace(self.plan_upload(delete=False), deletes=plan.deletes)
        return plan

    def _plan_additions(self) -> Plan:
        """The plan of a push that deletes nothing, by the records alone where there are some.

        Records of files that are gone stay, so that a later push deletes their objects.
        """
        if not self.index.has_records():
            return self._plan_push()
        local = self.sources.files(self.request.push_filter, follow_symlinks=self.request.follow_symlinks)
        records = self.sources.records_to_push(self.markers, self.owner)
        plan = plan_push(local, records, self.owner, self._policy(delete=False))
        return self.plan_upload(delete=False) if plan.copy_files and self.request.compare != "auto" else plan

    def without_replaced(self, plan: Plan) -> Plan:
        """The plan without deletes of objects that somebody else has replaced or deleted; asks only if there are any.

        What is not to be deleted any more is remembered, so that the next push does not ask again.
        """
        if not plan.deletes:
            return plan
        wanted = {action.path for action in plan.deletes}

        def etags() -> dict[str, str]:
            is_prefix = os.path.isdir(self.registration.local)
            remote = self.sources.objects(self.request.push_filter, is_prefix=is_prefix, to_push=True)
            return {entry.path: entry.etag for entry in remote if entry.path in wanted}

        there = twice_if_unsorted(etags)
        gone = [action.source for action in plan.deletes]
        replaced = [file for file in gone if there.get(file.path, file.etag) != file.etag]
        # The file may come back as it was: then only the record tells that somebody has changed the object since.
        others = (
            Record(file.path, file.size_bytes, file.modified_ns, file.inode, file.etag)
            for file in replaced
            if not file.is_directory
        )
        forgotten = {file.path for file in replaced if file.is_directory} | (wanted - there.keys())
        return replace(
            plan,
            deletes=tuple(action for action in plan.deletes if there.get(action.path) == action.source.etag),
            confirmed=(*plan.confirmed, *others),
            forgotten=(*plan.forgotten, *sorted(forgotten)),
        )

    def check_can_be_emptied(self) -> None:
        """
        Raises:
            ConflictError: somebody writes in the local path, or died before all of it was pushed.
        """
        guards = Guards(self.registration.local, self.find_guards())
        for entry in self.sources.files(Filter(), follow_symlinks=False):
            if not entry.is_directory and guards.spares(entry.path, entry, None):
                raise ConflictError(
                    f"fresh=True would empty {self.registration.local}, but {guards.reason}; nothing was changed. Wait "
                    "until that is pushed, or leave fresh out"
                )

    def local_path(self, location: Location) -> str:
        """Where a place at or below this registration's lies locally."""
        return self.pair.local_path(self.path_of(location))

    def path_of(self, location: Location) -> str:
        """The path, relative to this registration's, of a place at or below it."""
        return location.key[len(self.registration.location.key) :].strip("/")

    def counted(self, report: Report) -> Report:
        """Adds what a transfer of this job did to its share, and returns what is new in it.

        What was unchanged is not added up. A failure that comes again at each push counts once.
        """
        with self._share_lock:
            known = set(self.share.failures)
            report = replace(report, failures=tuple(failure for failure in report.failures if failure not in known))
            self.share = replace(self.share + report, unchanged=report.unchanged)
        return report

    def seen(self) -> Registered:
        """The registration as others may see it now."""
        registration, share = self.registration, self.share
        files, size_bytes, etag = self.index.summary()
        return Registered(
            registration.kind,
            self.url,
            registration.local,
            endpoint=registration.profile.endpoint if registration.profile is not None else None,
            report=share,
            failure=self.failure,
            files=files,
            size_bytes=size_bytes,
            etag=etag,
        )

    def fingerprint(self, below: str, chosen: Filter) -> str | None:
        """That of the objects that the files at ``below`` are equal to; None if some are not."""
        mine, theirs = self.registration.filter.predicate(), chosen.predicate()

        def takes_part(path: str) -> bool:
            return theirs(path) and mine("/".join(part for part in (below, path) if part))

        return fingerprint_of_files(self.index, below, takes_part)

    def take_over(self, held: ActiveClaim) -> None:
        """Its claim is ``held`` from now on, until :meth:`end_use`."""
        self.held = held
        self.owner = held.claim.owner

    def noted(self) -> Noted:
        """The registration as it is written down in case this process dies."""
        surveyed_at = self.take_stock().server_time
        return Noted.of(self.registration, surveyed_at, self.clock_ahead_seconds)

    def begin_use(self) -> None:
        """Keeps the local root from being evicted until :meth:`end_use`, which also drops its claim."""
        if self._use is None:
            self._use = self.index.root.use_lock()

    def end_use(self) -> None:
        use, self._use = self._use, None
        if use is not None:
            use.release()
        self.held.end()

    @contextmanager
    def alone(self, terms: Terms) -> Iterator[None]:
        """Waits for whoever works on the root, unless the transfer is cancelled meanwhile."""
        told = False

        def waiting() -> None:
            nonlocal told
            if terms.cancelled.is_set():
                raise TransferCancelledError(f"{self}: stopped while waiting for another transfer of it")
            if not told:
                logger.info("%s: waiting for another transfer of it", self)
                told = True

        while not self._lock.acquire(timeout=0.5):
            waiting()
        try:
            with self.index.root.locked(waiting):
                yield
        finally:
            self._lock.release()

    def check_source(self) -> None:
        """What a download asks of the remote side before it plans anything.

        Raises:
            IncompleteSetError, RemoteNotFoundError: the set that is asked for is not there.
        """
        self.completeness.check_source(self)

    def download(self, terms: Terms, *, adopt: bool, make_room: MakeRoom) -> None:
        """Makes the local side match the remote one, once ``make_room`` has found room for it.

        Raises:
            PlanRefusedError, UnsafeKeysError, RemoteNotFoundError, NoSpaceError: nothing was changed.
            IncompleteSetError: a complete set is asked for, and there is none.
            TransferError: some files failed; the others are there.
        """
        self.completeness.download(self, lambda: self.download_once(terms, adopt=adopt, make_room=make_room), terms)

    def download_once(self, terms: Terms, *, adopt: bool, make_room: MakeRoom) -> None:
        """As :meth:`download`, whatever is there."""
        with self.alone(terms):
            leftovers: list[os.DirEntry[str]] = []
            plan = self.plan_download(delete=self.request.deletes_local, leftovers=leftovers)
            check_target(self, plan)
            if not adopt and self.request.deletes_local:
                check_adoption(self, plan)
            check_max_delete(plan, self.request.max_delete)
            self.begin_filling(plan, leftovers, make_room)
            if not plan.source_files and not os.path.exists(self.registration.local):
                with explaining_write_errors(self.registration.local, self.registration.local):
                    os.makedirs(self.registration.local)
            outcome = self.carried_out(plan, terms)
        outcome.raise_failures("Download")

    def begin_filling(self, plan: Plan, leftovers: list[os.DirEntry[str]], make_room: MakeRoom) -> None:
        """What comes before a download's plan is carried out: leftovers of killed ones go, and there must be room.

        Raises:
            NoSpaceError: nothing was changed but for the leftovers.
        """
        for leftover in leftovers:
            remove_abandoned(leftover.path)
        Leftovers(self.index.root).remove_abandoned()
        make_room(self.url, self.registration.local, growth_bytes(plan, self.pair))
        self.index.mark_used()
        self.index.root.set_note(FILLED, "yes")
        if self.left_to_others:
            first, count = self.left_to_others[0], len(self.left_to_others)
            logger.info("%s: %d left as it is, such as %r: %s", self, count, first.path, first.reason)

    def carried_out(self, plan: Plan, terms: Terms) -> Outcome:
        if plan.direction == "upload" and not self._has_told_left_out:
            self._has_told_left_out = _tell_left_out(self, plan)
        return execute(plan, self.pair, self.index, terms, self.markers)

    def prepare_local(self) -> None:
        """Creates the local directory; for a URL that looks like a file, only the directory around it."""
        local = self.registration.local
        if os.path.exists(local):
            return
        is_file = names_a_file(self.registration.location) and not self.registration.local_is_directory
        if self.survey is not None and not self.registration.location.is_prefix:
            is_file = self.survey.is_object or (is_file and not self.survey.is_prefix)
        with explaining_write_errors(local, local):
            os.makedirs(os.path.dirname(local) if is_file else local, exist_ok=True)

    def push(self, terms: Terms) -> None:
        """Uploads what changed since the last push; deletes only what this mirror itself had put there.

        Raises:
            TransferError: some files failed.
            UnsafeKeysError: some files cannot be objects; the others were pushed.
        """
        self._push(terms, self._plan_push)

    def push_additions(self, terms: Terms) -> None:
        """Uploads what changed since the last push, and deletes nothing.

        Raises:
            As for :meth:`push`.
        """
        self._push(terms, self._plan_additions)

    def _push(self, terms: Terms, make_plan: Callable[[], Plan]) -> None:
        with self.alone(terms):
            if not self.local_exists():
                return
            plan = make_plan()
            if plan.is_empty and not (plan.confirmed or plan.forgotten or plan.unreadable):
                self._raise_problems(plan)
                return
            self.index.mark_used()
            outcome = self.carried_out(plan, terms)
        self.raise_failures(outcome, plan)

    def push_finally(self, terms: Terms, *, delete: bool) -> None:
        """Makes the remote side match the local one, by a full comparison; files that keep changing get one more try.

        Raises:
            PlanRefusedError: more deletes than allowed; the copies were made, nothing was deleted.
            TransferError: some files failed.
            UnsafeKeysError: some files cannot be objects; the others were pushed, nothing was deleted.
        """
        with self.alone(terms):
            if not self.local_exists():
                return
            self._pushes_alone = self.held.begin_last_push()
            plan = self.plan_upload(delete=delete and self.request.deletes_remote)
            refusal: PlanRefusedError | None = None
            try:
                check_max_delete(plan, self.request.max_delete)
            except PlanRefusedError as error:
                refusal, plan = error, plan.without_deletes()
            self.index.mark_used()
            outcome = self.carried_out(plan, terms)
            if outcome.unsettled and not outcome.failures:
                outcome = self._push_again(terms)
        self.raise_failures(outcome, plan)
        if refusal is not None:
            raise refusal

    def raise_failures(self, outcome: Outcome, plan: Plan, operation: str = "Upload") -> None:
        """
        Args:
            plan: of the push; what it could not plan is a failure as well.

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
        again = self.carried_out(self._plan_push(), terms)
        for path in again.unsettled:
            logger.warning("%s: %r kept changing while it was uploaded; its last state may be missing", self, path)
        terms.count(Report(kept=tuple(Kept(path, "kept changing while it was uploaded") for path in again.unsettled)))
        return again


def _tell_left_out(job: Job, plan: Plan) -> bool:
    """Says in one line what a push leaves out since it has no content of its own. Whether there is such a thing."""
    found = [kept for kept in plan.kept if kept.reason in WITHOUT_CONTENT]
    own = [kept for kept in plan.kept if kept.reason == LOST_FOUND]
    if own:
        logger.info("%s: %r is left out, %s", job, own[0].path.rstrip("/"), LOST_FOUND)
    if found:
        examples = ", ".join(f"{kept.path.rstrip('/')!r} ({kept.reason})" for kept in found[:_MOST_EXAMPLES])
        more = f" and {len(found) - _MOST_EXAMPLES} more" if len(found) > _MOST_EXAMPLES else ""
        logger.warning(
            "%s: %d left out, since only files and directories can be pushed: %s%s", job, len(found), examples, more
        )
    return bool(found or own)
