"""What one mirror claims on this machine, and what it learns of others that write the same local paths."""

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
from pos3.state.claims import Claim, ClaimKind, ClaimList, Life, Snapshot, escaped
from pos3.state.journal_scan import journals, traces, unclaimed
from pos3.state.root_index import Place

logger = logging.getLogger("pos3")

# Of so many registrations, one looks for all dead processes and not only for those near its own path.
_ALL_EVERY = 64
_POLL_SECONDS = 0.05
_LONGEST_GLANCE_SECONDS = 0.5


@dataclass(frozen=True)
class Neighbours:
    """The registrations for upload of others that touch a local path.

    ``living`` are those of open mirrors. ``left`` are those of dead processes, whose journals still name the path.
    """

    living: tuple[Claim, ...] = ()
    left: tuple[Claim, ...] = ()


class Claims:
    """The claims of one mirror. Safe to use from several threads.

    Args:
        cache_root, journal: of the mirror.
        group: mirrors with the same group count as one; "" for a group of its own.
    """

    def __init__(self, cache_root: str, journal: str, group: str = ""):
        self.mirror = uuid.uuid4().hex
        self.group = group or self.mirror
        self._cache_root = cache_root
        self._journal = journal
        self._lock = threading.RLock()
        self._list: ClaimList | None = None
        self._life: Life | None = None
        self._held: set[str] = set()
        self._is_over = False

    def after_fork(self) -> Claims:
        """Those of a forked child. It counts as its parent."""
        return Claims(self._cache_root, self._journal, self.group)

    @property
    def known(self) -> ClaimList:
        """
        Raises:
            ClaimError: there is no place for it.
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
    ) -> Held:
        """Claims a local path. One that will be pushed first waits for downloads that change it now.

        A path that another open mirror pushes already is pushed by both, and they have one ``owner``.

        Args:
            on_wait: called while this waits; what it raises ends the waiting.

        Raises:
            ClaimError: the claim cannot be written.
        """
        with self._lock, self.known.locked():
            if self._is_over:
                raise NoMirrorError("this mirror is closed")
            if self._life is None:
                self._life = self.known.show_life(self.mirror)
            root, local = local, os.path.realpath(local)
            claims = self.known.read()
            dead = self._dead(claims, local)
            living = [other for other in claims.near(local) if self.known.lives(other)]
            joined = next((other for other in living if other.pushes and _is_same(other, local, place)), None)
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
            self.known.change(claims, end=dead, begin=claim)
            self._held.add(claim.id)
        held = Held(self, claim)
        if claim.pushes:
            try:
                self._wait({other.id for other in living if other.is_filling}, on_wait)
            except BaseException:
                held.end()
                raise
        return held

    def _dead(self, claims: Snapshot, local: str) -> list[str]:
        """The claims of dead processes that left nothing to push: of those near ``local``, now and then of all."""
        looked_at = claims.all() if claims.lines and len(claims.lines) % _ALL_EVERY == 0 else claims.near(local)
        dead = [claim for claim in looked_at if not self.known.lives(claim) and not _is_left(claim)]
        for claim in dead:
            self.known.bury(claim)
        return [claim.id for claim in dead]

    def _wait(self, filling: set[str], on_wait: Callable[[], None]) -> None:
        glance_seconds = _POLL_SECONDS
        while filling:
            filling = {
                claim.id
                for claim in self.known.read().all()
                if claim.id in filling and claim.is_filling and self.known.lives(claim)
            }
            if filling:
                on_wait()
                time.sleep(glance_seconds)
                glance_seconds = min(_LONGEST_GLANCE_SECONDS, glance_seconds * 2)

    def neighbours(self, local: str) -> Neighbours:
        """What other mirrors push from paths at, above or below ``local``, as of now. Changes nothing.

        Raises:
            ClaimError: the list cannot be used.
        """
        # Asked for once: others take the lock of this object first, and then that of the list.
        local, known = os.path.realpath(local), self.known
        with known.locked():
            claims = known.read()
        near = [claim for claim in claims.near(local) if claim.pushes and claim.mirror != self.mirror]
        living = [claim for claim in near if known.lives(claim)]
        left = [claim for claim in near if claim not in living and _is_left(claim)]
        claimed = {*claims.journals(), escaped(self._journal)}
        others = [path for path in journals(self._cache_root) if escaped(path) not in claimed]
        if others:
            with known.locked():
                for claim, lives in unclaimed(self._cache_root, others):
                    if are_nested(claim.local, local):
                        (living if lives else left).append(claim)
        return Neighbours(tuple(living), tuple(left))

    def end(self) -> None:
        """Drops all claims of the mirror but those that are left to others; it can make no further ones."""
        with self._lock:
            self._is_over = True
            life, self._life = self._life, None
            if life is None:
                return
            try:
                if self._held:
                    with self.known.locked():
                        self.known.change(self.known.read(), end=self._held)
                self._held.clear()
            except ClaimError as error:
                # Without its life, the mirror counts as dead, and so do its claims.
                logger.warning("%s", error)
            finally:
                life.end()

    def leave(self, held: Claim) -> None:
        """Leaves a claim to whoever comes: what the mirror could not push is still in its journal."""
        with self._lock:
            self._held.discard(held.id)

    def _replace(self, held: Claim, claim: Claim | None) -> Snapshot:
        """Puts ``claim`` in the place of one that is held, or nothing; returns all claims as they were before."""
        with self._lock:
            if held.id not in self._held:
                return Snapshot([])
            with self.known.locked():
                claims = self.known.read()
                self.known.change(claims, end=[held.id] if claim is None else (), begin=claim)
            if claim is None:
                self._held.discard(held.id)
            return claims


class HeldClaim(Protocol):
    """What a registration needs of its claim."""

    def filled(self) -> None:
        """The download that it began with is done."""

    def begin_last_push(self) -> bool:
        """Whether no other open mirror pushes the same path any longer, so that this push speaks for all."""

    def go_on(self) -> None:
        """It was not the last push after all."""

    def end(self) -> None:
        """The path is not claimed any longer."""

    def leave(self) -> None:
        """Not all was pushed. Once the mirror is closed, the path is as one that a dead process has left."""


class NoClaim:
    """That of a registration that nobody else can meet."""

    def filled(self) -> None:
        pass

    def begin_last_push(self) -> bool:
        return True

    def go_on(self) -> None:
        pass

    def end(self) -> None:
        pass

    def leave(self) -> None:
        pass


class Held:
    """One claim of an open mirror."""

    def __init__(self, claims: Claims, claim: Claim):
        self._claims = claims
        self.claim = claim

    def _become(self, claim: Claim) -> Snapshot:
        others = self._claims._replace(self.claim, claim)
        self.claim = claim
        return others

    def filled(self) -> None:
        if self.claim.is_filling:
            with _told():
                self._become(replace(self.claim, is_filling=False))

    def begin_last_push(self) -> bool:
        mine = self.claim
        try:
            others = self._become(replace(mine, is_ending=True)).near(mine.local)
        except ClaimError as error:
            # Nobody knows, so it must not speak for others.
            logger.warning("%s", error)
            return False
        return not any(
            other.pushes
            and not other.is_ending
            and _is_same(other, mine.local, Place(mine.endpoint, mine.url))
            and other.mirror != mine.mirror
            and self._claims.known.lives(other)
            for other in others
        )

    def go_on(self) -> None:
        if self.claim.is_ending:
            with _told():
                self._become(replace(self.claim, is_ending=False))

    def end(self) -> None:
        with _told():
            self._claims._replace(self.claim, None)

    def leave(self) -> None:
        self._claims.leave(self.claim)


def _is_same(claim: Claim, local: str, place: Place) -> bool:
    return (claim.local, claim.url, claim.endpoint) == (local, place.url, place.endpoint)


@contextmanager
def _told() -> Iterator[None]:
    """A list that cannot be written any more is a warning: the work itself goes on."""
    try:
        yield
    except ClaimError as error:
        logger.warning("%s", error)


def _is_left(claim: Claim) -> bool:
    """Whether a mirror, if it is dead, has left something to push at the path; in doubt it has."""
    if not claim.pushes:
        return False
    try:
        return any(trace.local == claim.root for trace in traces(claim.journal))
    except OSError:
        return True


def is_written(cache_root: str, local: str) -> bool:
    """Whether an open mirror pushes from a path at, above or below ``local``, or a dead one was to."""
    neighbours = Claims(cache_root, "").neighbours(local)
    return bool(neighbours.living or neighbours.left)
