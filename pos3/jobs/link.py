"""One registration at work: its plans carried out, one at a time, and what came of them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from pos3.entries import LEFT_OUT, LOST_FOUND
from pos3.errors import PlanRefusedError, TransferCancelledError, TransferError, UnsafeKeysError
from pos3.filters import Filter
from pos3.jobs.fingerprints import fingerprint_of_files
from pos3.jobs.noted import Noted
from pos3.jobs.observer import Registered
from pos3.jobs.planner import FILLED, Planner
from pos3.jobs.registration import Registration, names_a_file
from pos3.local import remove_abandoned
from pos3.plan import Plan, check_max_delete
from pos3.reports import Kept, Report
from pos3.state import Held, Index, Leftovers, NoMark, UseMark
from pos3.store import Store
from pos3.transfer import Outcome, Terms, execute, explaining_write_errors, growth_bytes
from pos3.url import Location

logger = logging.getLogger("pos3")

_MOST_EXAMPLES = 5

MakeRoom = Callable[[str, str, int], None]


class Link(Planner):
    """Ties a registration to its store and its index.

    At most one transfer of a link runs at a time, and at most one of all processes that share its local root.
    """

    def __init__(self, registration: Registration, store: Store, index: Index, cache_root: str, owner: str):
        super().__init__(registration, store, index, cache_root, owner)
        self.has_begun = False
        """Whether an end pushes it, from the moment when its path may be written to."""
        self.failed_pushes: list[Exception] = []
        self.share = Report()
        self.failure = ""
        self.told_failures: frozenset[str] = frozenset()
        self._has_told_left_out = False
        self._lock = threading.RLock()
        self._share_lock = threading.Lock()
        self._use: UseMark | NoMark | None = None

    def local_path(self, location: Location) -> str:
        """Where a place at or below this registration's lies locally."""
        return self.pair.local_path(self.path_of(location))

    def path_of(self, location: Location) -> str:
        """The path, relative to this registration's, of a place at or below it."""
        return location.key[len(self.registration.location.key) :].strip("/")

    def counted(self, report: Report) -> Report:
        """Adds what a transfer of this link did to its share, and returns what is new in it.

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
            self._url,
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

    def take_over(self, held: Held) -> None:
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
            self._use = self.index.root.use()

    def end_use(self) -> None:
        use, self._use = self._use, None
        if use is not None:
            use.release()
        self.held.end()

    @contextmanager
    def _alone(self, terms: Terms) -> Iterator[None]:
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
        """What a download asks of the remote side before it plans anything: of an ordinary one nothing."""

    def download(self, terms: Terms, *, adopt: bool, make_room: MakeRoom) -> None:
        """Makes the local side match the remote one, once ``make_room`` has found room for it.

        Raises:
            PlanRefusedError, UnsafeKeysError, RemoteNotFoundError, NoSpaceError: nothing was changed.
            TransferError: some files failed; the others are there.
        """
        with self._alone(terms):
            leftovers: list[os.DirEntry[str]] = []
            plan = self.plan_download(delete=self.registration.download_delete, leftovers=leftovers)
            self.check_target(plan)
            if not adopt and self.registration.download_delete:
                self.check_adoption(plan)
            check_max_delete(plan, self.registration.max_delete)
            for leftover in leftovers:
                remove_abandoned(leftover.path)
            Leftovers(self.index.root).remove_abandoned()
            make_room(self._url, self.registration.local, growth_bytes(plan, self.pair))
            self.index.mark_used()
            if not plan.source_files and not os.path.exists(self.registration.local):
                with explaining_write_errors(self.registration.local, self.registration.local):
                    os.makedirs(self.registration.local)
            self.index.root.note(FILLED, "yes")
            if self.left_to_others:
                first, count = self.left_to_others[0], len(self.left_to_others)
                logger.info("%s: %d left as it is, such as %r: %s", self, count, first.path, first.reason)
            outcome = self._carried_out(plan, terms)
        outcome.raise_failures("Download")

    def _carried_out(self, plan: Plan, terms: Terms) -> Outcome:
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
        with self._alone(terms):
            if not self.local_exists():
                return
            plan = make_plan()
            if plan.is_empty and not (plan.confirmed or plan.forgotten or plan.unreadable):
                self._raise_problems(plan)
                return
            self.index.mark_used()
            outcome = self._carried_out(plan, terms)
        self._raise_failures(outcome, plan)

    def push_finally(self, terms: Terms, *, delete: bool) -> None:
        """Makes the remote side match the local one, by a full comparison; files that keep changing get one more try.

        Raises:
            PlanRefusedError: more deletes than allowed; the copies were made, nothing was deleted.
            TransferError: some files failed.
            UnsafeKeysError: some files cannot be objects; the others were pushed, nothing was deleted.
        """
        with self._alone(terms):
            if not self.local_exists():
                return
            self._pushes_alone = self.held.begin_last_push()
            plan = self.plan_upload(delete=delete and self.registration.upload_delete)
            refusal: PlanRefusedError | None = None
            try:
                check_max_delete(plan, self.registration.max_delete)
            except PlanRefusedError as error:
                refusal, plan = error, plan.without_deletes()
            self.index.mark_used()
            outcome = self._carried_out(plan, terms)
            if outcome.unsettled and not outcome.failures:
                outcome = self._push_again(terms)
        self._raise_failures(outcome, plan)
        if refusal is not None:
            raise refusal

    def _raise_failures(self, outcome: Outcome, plan: Plan) -> None:
        if outcome.failures and plan.problems:
            outcome.failures.append(self._unsafe(plan))
        outcome.raise_failures("Upload")
        self._raise_problems(plan)

    def _raise_problems(self, plan: Plan) -> None:
        if plan.problems:
            raise self._unsafe(plan)

    def _unsafe(self, plan: Plan) -> UnsafeKeysError:
        return UnsafeKeysError(str(self), plan.problems, "all others were pushed and nothing was deleted")

    def _push_again(self, terms: Terms) -> Outcome:
        again = self._carried_out(self._plan_push(), terms)
        for path in again.unsettled:
            logger.warning("%s: %r kept changing while it was uploaded; its last state may be missing", self, path)
        terms.count(Report(kept=tuple(Kept(path, "kept changing while it was uploaded") for path in again.unsettled)))
        return again


def _tell_left_out(link: Link, plan: Plan) -> bool:
    """Says in one line what a push leaves out since it has no content of its own. Whether there is such a thing."""
    found = [kept for kept in plan.kept if kept.reason in LEFT_OUT]
    own = [kept for kept in plan.kept if kept.reason == LOST_FOUND]
    if own:
        logger.info("%s: %r is left out, %s", link, own[0].path.rstrip("/"), LOST_FOUND)
    if found:
        examples = ", ".join(f"{kept.path.rstrip('/')!r} ({kept.reason})" for kept in found[:_MOST_EXAMPLES])
        more = f" and {len(found) - _MOST_EXAMPLES} more" if len(found) > _MOST_EXAMPLES else ""
        logger.warning(
            "%s: %d left out, since only files and directories can be pushed: %s%s", link, len(found), examples, more
        )
    return bool(found or own)


def combined(failures: list[Exception]) -> Exception:
    """One exception for several: the only one as it is, or a TransferError that holds all."""
    if len(failures) == 1:
        return failures[0]
    flat: list[BaseException] = []
    for failure in failures:
        flat += failure.failures if isinstance(failure, TransferError) else [failure]
    return TransferError("Upload", flat)
