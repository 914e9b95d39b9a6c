"""One registration at work: its plans carried out, one at a time, and what came of them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from pos3.errors import PlanRefusedError, TransferCancelledError, TransferError
from pos3.filters import Filter
from pos3.fingerprint import fingerprint_of_files
from pos3.index import Index
from pos3.leftovers import Leftovers
from pos3.locks import UseMark
from pos3.noted import Noted
from pos3.observer import Registered
from pos3.plan import Plan, check_max_delete
from pos3.planner import FILLED, Planner
from pos3.registration import Registration, names_a_file
from pos3.report import Kept, Report
from pos3.store import Store
from pos3.temporary import is_abandoned
from pos3.transfer import Outcome, Terms, execute, growth_bytes
from pos3.url import Location

logger = logging.getLogger("pos3")

MakeRoom = Callable[[str, str, int], None]


class Link(Planner):
    """Ties a registration to its store and its index.

    At most one transfer of a link runs at a time, and at most one of all processes that share its local root.
    """

    def __init__(self, registration: Registration, store: Store, index: Index, cache_root: str, owner: str):
        super().__init__(registration, store, index, cache_root, owner)
        self.failed_pushes: list[Exception] = []
        self.share = Report()
        self.failure = ""
        self._lock = threading.RLock()
        self._share_lock = threading.Lock()
        self._use: UseMark | None = None

    def local_path(self, location: Location) -> str:
        """Where a place at or below this registration's lies locally."""
        return self.pair.local_path(self.path_of(location))

    def path_of(self, location: Location) -> str:
        """The path, relative to this registration's, of a place at or below it."""
        return location.key[len(self.registration.location.key) :].strip("/")

    def count(self, report: Report) -> None:
        """Adds what a transfer of this link did to its share; what was unchanged is not added up."""
        with self._share_lock:
            self.share = replace(self.share + report, unchanged=report.unchanged)

    def seen(self) -> Registered:
        """The registration as others may see it now."""
        registration, share = self.registration, self.share
        files, size_bytes, etag = self.index.summary(self._url)
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

        return fingerprint_of_files(self.index, self._url, below, takes_part)

    def noted(self) -> Noted:
        """The registration as it is written down in case this process dies."""
        surveyed_at = self.take_stock().server_time
        return Noted.of(self.registration, surveyed_at, self.clock_ahead_seconds)

    def begin_use(self) -> None:
        """Keeps the local root from being evicted until :meth:`end_use`."""
        if self._use is None:
            self._use = self.index.use()

    def end_use(self) -> None:
        use, self._use = self._use, None
        if use is not None:
            use.release()

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
            with self.index.locked(waiting):
                yield
        finally:
            self._lock.release()

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
            _remove_abandoned(leftovers)
            Leftovers(self.index).remove_abandoned()
            make_room(self._url, self.registration.local, growth_bytes(plan, self.pair))
            self.index.mark_used(self._url)
            if not plan.source_files and not os.path.exists(self.registration.local):
                os.makedirs(self.registration.local)
            self.index.note(FILLED, "yes")
            outcome = self._carried_out(plan, terms)
        outcome.raise_failures("Download")

    def _carried_out(self, plan: Plan, terms: Terms) -> Outcome:
        return execute(plan, self.pair, self.index, terms, self.markers)

    def prepare_local(self) -> None:
        """Creates the local directory; for a URL that looks like a file, only the directory around it."""
        local = self.registration.local
        if os.path.exists(local):
            return
        is_file = names_a_file(self.registration.location) and not self.registration.local_is_directory
        if self.survey is not None and not self.registration.location.is_prefix:
            is_file = self.survey.is_object or (is_file and not self.survey.is_prefix)
        os.makedirs(os.path.dirname(local) if is_file else local, exist_ok=True)

    def push(self, terms: Terms) -> None:
        """Uploads what changed since the last push; deletes only what this mirror itself had put there.

        Raises:
            TransferError: some files failed.
        """
        with self._alone(terms):
            if not os.path.exists(self.registration.local):
                return
            plan = self._plan_push()
            if plan.is_empty and not (plan.confirmed or plan.forgotten):
                return
            self.index.mark_used(self._url)
            outcome = self._carried_out(plan, terms)
        outcome.raise_failures("Upload")

    def push_additions(self, terms: Terms) -> None:
        """Uploads what changed since the last push, and deletes nothing.

        Raises:
            TransferError: some files failed.
        """
        with self._alone(terms):
            if not os.path.exists(self.registration.local):
                return
            plan = self._plan_additions()
            if plan.is_empty and not plan.confirmed:
                return
            self.index.mark_used(self._url)
            outcome = self._carried_out(plan, terms)
        outcome.raise_failures("Upload")

    def push_finally(self, terms: Terms, *, delete: bool) -> None:
        """Makes the remote side match the local one, by a full comparison; files that keep changing get one more try.

        Raises:
            PlanRefusedError: more deletes than allowed; the copies were made, nothing was deleted.
            TransferError: some files failed.
        """
        with self._alone(terms):
            if not os.path.exists(self.registration.local):
                return
            plan = self.plan_upload(delete=delete and self.registration.upload_delete)
            refusal: PlanRefusedError | None = None
            try:
                check_max_delete(plan, self.registration.max_delete)
            except PlanRefusedError as error:
                refusal, plan = error, replace(plan, deletes=())
            self.index.mark_used(self._url)
            outcome = self._carried_out(plan, terms)
            if outcome.unsettled and not outcome.failures:
                outcome = self._push_again(terms)
        outcome.raise_failures("Upload")
        if refusal is not None:
            raise refusal

    def _push_again(self, terms: Terms) -> Outcome:
        again = self._carried_out(self._plan_push(), terms)
        for path in again.unsettled:
            logger.warning("%s: %r kept changing while it was uploaded; its last state may be missing", self, path)
        terms.count(Report(kept=tuple(Kept(path, "kept changing while it was uploaded") for path in again.unsettled)))
        return again


def _remove_abandoned(leftovers: list[os.DirEntry[str]]) -> None:
    now = time.time()
    for leftover in leftovers:
        with suppress(OSError):
            if is_abandoned(leftover.name, leftover.stat(follow_symlinks=False).st_mtime, now):
                os.unlink(leftover.path)


def combined(failures: list[Exception]) -> Exception:
    """One exception for several: the only one as it is, or a TransferError that holds all."""
    if len(failures) == 1:
        return failures[0]
    flat: list[BaseException] = []
    for failure in failures:
        flat += failure.failures if isinstance(failure, TransferError) else [failure]
    return TransferError("Upload", flat)
