"""Makes the claims of one mirror, and finds other mirrors that write the same local paths."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from pos3.errors import ClaimError, NoMirrorError
from pos3.local import are_nested
from pos3.state.claims import AliveFile, Claim, ClaimKind, ClaimList, Snapshot, json_escaped
from pos3.state.journal_scan import journals, registrations_in, unclaimed_registrations
from pos3.state.root_index import Place

logger = logging.getLogger("pos3")

# One of this number of registrations cleans up the claims of all dead processes, not only those near its own path.
_FULL_CHECK_EVERY = 64
_POLL_SECONDS = 0.05
_MAX_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class OtherWriters:
    """The registrations for upload by other mirrors that overlap a local path.

    ``alive`` are those of open mirrors. ``abandoned`` are those of dead processes whose journals still name the path.
    """

    alive: tuple[Claim, ...] = ()
    abandoned: tuple[Claim, ...] = ()


class Claims:
    """The claims of one mirror. Several threads may use it at the same time.

    Args:
        cache_root, journal: the cache root and the journal file of the mirror.
        group: mirrors with the same group count as one mirror; "" for a group of its own.
    """

    def __init__(self, cache_root: str, journal: str, group: str = ""):
        self.mirror = uuid.uuid4().hex
        self.group = group or self.mirror
        self._cache_root = cache_root
        self._journal = journal
        self._lock = threading.RLock()
        self._list: ClaimList | None = None
        self._alive_file: AliveFile | None = None
        self._held: set[str] = set()
        self._is_over = False

    def after_fork(self) -> Claims:
        """New claims for a forked child, which counts as the same mirror as its parent."""
        return Claims(self._cache_root, self._journal, self.group)

    @property
    def claim_list(self) -> ClaimList:
        """The list of this user, opened on first use.

        Raises:
            ClaimError: no directory can be used for the list.
        """
        with self._lock:
            if self._list is None:
                self._list = ClaimList.of_this_user()
            return self._list

    def begin(
        self,
        kind: ClaimKind,
        local: str,
        place: Place,
        owner: str,
        on_wait: Callable[[], None],
        *,
        deletes: bool = False,
    ) -> ActiveClaim:
        """Claims a local path. If the path will be pushed, this waits until running downloads into it have ended.

        If another open mirror already pushes the path to the same place, both push it, with the same ``owner``.

        Args:
            on_wait: is called while this waits. An exception of it ends the waiting.

        Raises:
            ClaimError: the claim cannot be written.
        """
        with self._lock, self.claim_list.locked():
            if self._is_over:
                raise NoMirrorError("this mirror is closed; open another one with 'with pos3.mirror():'")
            if self._alive_file is None:
                self._alive_file = self.claim_list.create_alive_file(self.mirror)
            root, local = local, os.path.realpath(local)
            claims = self.claim_list.read()
            dead = self._dead(claims, local)
            alive = [other for other in claims.overlapping(local) if self.claim_list.is_alive(other)]
            joined = next((other for other in alive if other.pushes and _is_same(other, local, place)), None)
            claim = Claim(
                id=uuid.uuid4().hex,
                mirror=self.mirror,
                group=self.group,
                owner=joined.owner if joined is not None and kind != "download" else owner,
                kind=kind,
                deletes=deletes,
                local=local,
                root=root,
                url=place.url,
                endpoint=place.endpoint,
                cache_root=self._cache_root,
                journal=self._journal,
                pid=os.getpid(),
                host=os.uname().nodename,
                begun_at=time.time(),
                is_filling=kind != "upload",
            )
            self.claim_list.change(claims, end=dead, begin=claim)
            self._held.add(claim.id)
        held = ActiveClaim(self, claim)
        if claim.pushes:
            try:
                self._wait_for_downloads({other.id for other in alive if other.is_filling}, on_wait)
            except BaseException:
                held.end()
                raise
        return held

    def _dead(self, claims: Snapshot, local: str) -> list[str]:
        """The claims of dead processes without unpushed files: those that overlap ``local``, and sometimes all."""
        looked_at = (
            claims.all() if claims.lines and len(claims.lines) % _FULL_CHECK_EVERY == 0 else claims.overlapping(local)
        )
        dead = [claim for claim in looked_at if not self.claim_list.is_alive(claim) and not _has_unpushed(claim)]
        for claim in dead:
            self.claim_list.remove_alive_file(claim)
        return [claim.id for claim in dead]

    def _wait_for_downloads(self, filling: set[str], on_wait: Callable[[], None]) -> None:
        poll_seconds = _POLL_SECONDS
        while filling:
            filling = {
                claim.id
                for claim in self.claim_list.read().all()
                if claim.id in filling and claim.is_filling and self.claim_list.is_alive(claim)
            }
            if filling:
                on_wait()
                time.sleep(poll_seconds)
                poll_seconds = min(_MAX_POLL_SECONDS, poll_seconds * 2)

    def other_writers(self, local: str) -> OtherWriters:
        """The current registrations for upload by other mirrors at, above or below ``local``. It changes nothing.

        Raises:
            ClaimError: the list cannot be used.
        """
        # ``self.claim_list`` takes the lock of this object, which must not be taken while the list is locked.
        local, claim_list = os.path.realpath(local), self.claim_list
        with claim_list.locked():
            claims = claim_list.read()
        near = [claim for claim in claims.overlapping(local) if claim.pushes and claim.mirror != self.mirror]
        alive = [claim for claim in near if claim_list.is_alive(claim)]
        abandoned = [claim for claim in near if claim not in alive and _has_unpushed(claim)]
        claimed = {*claims.journals(), json_escaped(self._journal)}
        others = [path for path in journals(self._cache_root) if json_escaped(path) not in claimed]
        if others:
            with claim_list.locked():
                for claim, is_alive in unclaimed_registrations(self._cache_root, others):
                    if are_nested(claim.local, local):
                        (alive if is_alive else abandoned).append(claim)
        return OtherWriters(tuple(alive), tuple(abandoned))

    def end(self) -> None:
        """Ends all claims of the mirror, except those that are left to others. It cannot begin new ones."""
        with self._lock:
            self._is_over = True
            alive_file, self._alive_file = self._alive_file, None
            if alive_file is None:
                return
            try:
                if self._held:
                    with self.claim_list.locked():
                        self.claim_list.change(self.claim_list.read(), end=self._held)
                self._held.clear()
            except ClaimError as error:
                # Without its alive file, the mirror counts as dead, and its claims are cleaned up by others.
                logger.warning("%s", error)
            finally:
                alive_file.end()

    def leave_to_others(self, held: Claim) -> None:
        """Keeps a claim in the list when the mirror ends, because its journal names unpushed files."""
        with self._lock:
            self._held.discard(held.id)

    def _replace(self, held: Claim, claim: Claim | None) -> Snapshot:
        """Replaces a claim of this mirror by ``claim``, or ends it if that is None. Returns all previous claims."""
        with self._lock:
            if held.id not in self._held:
                return Snapshot([])
            with self.claim_list.locked():
                claims = self.claim_list.read()
                self.claim_list.change(claims, end=[held.id] if claim is None else (), begin=claim)
            if claim is None:
                self._held.discard(held.id)
            return claims


class RegistrationClaim(Protocol):
    """The methods of a claim that a registration calls."""

    def is_awaited_by(self, other: Claim) -> bool:
        """Whether ``other`` waits for the download of this registration, so that nobody writes for it yet."""

    def download_finished(self) -> None:
        """Stores that the first download of the registration has ended."""

    def begin_last_push(self) -> bool:
        """Stores that the last push begins. Returns whether no other open mirror still pushes the same path."""

    def cancel_last_push(self) -> None:
        """Takes :meth:`begin_last_push` back, because the registration goes on."""

    def end(self) -> None:
        """Ends the claim."""

    def leave_to_others(self) -> None:
        """Keeps the claim when the mirror ends, like that of a dead process, because not everything was pushed."""


class NoClaim:
    """The claim of a registration that needs none."""

    def is_awaited_by(self, other: Claim) -> bool:
        return False

    def download_finished(self) -> None:
        pass

    def begin_last_push(self) -> bool:
        return True

    def cancel_last_push(self) -> None:
        pass

    def end(self) -> None:
        pass

    def leave_to_others(self) -> None:
        pass


class ActiveClaim:
    """A claim of an open mirror in the list."""

    def __init__(self, claims: Claims, claim: Claim):
        self._claims = claims
        self.claim = claim

    def _change(self, claim: Claim) -> Snapshot:
        others = self._claims._replace(self.claim, claim)
        self.claim = claim
        return others

    def is_awaited_by(self, other: Claim) -> bool:
        mine = self.claim
        # Who pushes has waited for the downloads that began before, so those that still run have begun later.
        is_later = mine.pushes or other.begun_at > mine.begun_at
        return mine.is_filling and other.is_filling and other.pushes and is_later

    def download_finished(self) -> None:
        if self.claim.is_filling:
            with _logging_claim_errors():
                self._change(replace(self.claim, is_filling=False))

    def begin_last_push(self) -> bool:
        mine = self.claim
        try:
            others = self._change(replace(mine, is_ending=True)).overlapping(mine.local)
        except ClaimError as error:
            # It is not known whether other mirrors still push the path, so they may.
            logger.warning("%s", error)
            return False
        return not any(
            other.pushes
            and not other.is_ending
            and _is_same(other, mine.local, Place(mine.endpoint, mine.url))
            and other.mirror != mine.mirror
            and self._claims.claim_list.is_alive(other)
            for other in others
        )

    def cancel_last_push(self) -> None:
        if self.claim.is_ending:
            with _logging_claim_errors():
                self._change(replace(self.claim, is_ending=False))

    def end(self) -> None:
        with _logging_claim_errors():
            self._claims._replace(self.claim, None)

    def leave_to_others(self) -> None:
        self._claims.leave_to_others(self.claim)


def _is_same(claim: Claim, local: str, place: Place) -> bool:
    return (claim.local, claim.url, claim.endpoint) == (local, place.url, place.endpoint)


@contextmanager
def _logging_claim_errors() -> Iterator[None]:
    """Logs a ClaimError as a warning, so that the transfer continues if the list cannot be written."""
    try:
        yield
    except ClaimError as error:
        logger.warning("%s", error)


def _has_unpushed(claim: Claim) -> bool:
    """Whether the journal of a claim names the path, so that files may be unpushed if the mirror is dead."""
    if not claim.pushes:
        return False
    try:
        return any(registration.local == claim.root for registration in registrations_in(claim.journal))
    except OSError:
        return True


def has_writer(cache_root: str, local: str) -> bool:
    """Whether an open mirror pushes from a path at, above or below ``local``, or a dead mirror was going to."""
    other_writers = Claims(cache_root, "").other_writers(local)
    return bool(other_writers.alive or other_writers.abandoned)
