"""Which local paths the mirrors of this user write, on this machine: the list, and who of it still lives.

Whoever will push from a local root, or download into it, first writes a claim and then reads those of others, both
under one short lock. So of two that begin at the same time, at least one sees the other. A user's list lies outside
every cache root, since two cache roots can share a local path::

    ~/.local/state/pos3/          or /tmp/pos3-<uid>/, where the home is missing or cannot be written
      claims.json                 the claims, as one JSON list
      claims.lock                 held while the list is read and written
      <mirror>.alive              locked by the process of a mirror that has claims

The kernel drops the lock on ``<mirror>.alive`` with its process; that tells the claims of dead processes. The directory
is for its user alone. What belongs to another user is never read.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from pos3.errors import ClaimError
from pos3.secret import open_own
from pos3.temporary import temporary_name

logger = logging.getLogger("pos3")

ClaimKind = Literal["download", "upload", "sync"]


@dataclass(frozen=True)
class Claim:
    """What one mirror does with one local path.

    Args:
        id: its own, unlike that of every other claim.
        mirror: the mirror; its process holds ``<mirror>.alive``.
        group: mirrors of one group count as one, such as those of a flow run.
        owner: marks the records of what is transferred; all that push one local path together have the same.
        kind: "download" for a transfer under way; the others last as long as the registration.
        deletes: whether the last push deletes objects that have no local file.
        local: the absolute path, links resolved.
        url, endpoint: what it mirrors; None for an endpoint that is not known.
        cache_root: where the index of ``local`` lies.
        journal: the file that remembers the registration when the process dies.
        pid, host, begun_at: whose it is, and since when, in seconds since the epoch.
        is_filling: whether a download changes the path now.
        is_ending: whether the last push has begun.
    """

    id: str
    mirror: str
    group: str
    owner: str
    kind: ClaimKind
    deletes: bool
    local: str
    url: str
    endpoint: str | None
    cache_root: str
    journal: str
    pid: int
    host: str
    begun_at: float
    is_filling: bool = False
    is_ending: bool = False

    @property
    def pushes(self) -> bool:
        return self.kind != "download"

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.begun_at))
        return f"{self.kind}({self.url!r}) in process {self.pid}, since {since}"


def is_within(path: str, directory: str) -> bool:
    """Whether an absolute path is ``directory`` or lies below it."""
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def are_nested(first: str, second: str) -> bool:
    """Whether one of two absolute paths is the other, or lies below it."""
    return is_within(first, second) or is_within(second, first)


class ClaimList:
    """The claims of all mirrors of this user on this machine. Safe to use from several threads and processes."""

    def __init__(self, directory: str):
        self._directory = directory

    @classmethod
    def of_this_user(cls) -> ClaimList:
        """
        Raises:
            ClaimError: there is no place for it.
        """
        problems: list[str] = []
        for directory in _places():
            try:
                _make_own(directory)
            except OSError as error:
                problems.append(f"{directory}: {error.strerror or error}")
            else:
                return cls(directory)
        raise ClaimError(
            f"the list of local paths in use cannot be written ({'; '.join(problems)}); nothing was changed. Make one "
            "of these directories writable for this user alone"
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held by one thread of one process at a time, for moments.

        Raises:
            ClaimError: the list cannot be used.
        """
        try:
            descriptor = open_own(os.path.join(self._directory, "claims.lock"), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise _cannot("locked", error) from error
        _locked_here.add(descriptor)
        try:
            # Without locks, the list is still replaced as a whole.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            _unlock(descriptor)

    def read(self) -> list[Claim]:
        """All claims, those of dead processes included, in the order in which they were written.

        Raises:
            ClaimError: the list cannot be used.
        """
        try:
            with open(open_own(os.path.join(self._directory, "claims.json"), os.O_RDONLY), "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _cannot("read", error) from error
        try:
            return [claim for record in json.loads(content) if (claim := _claim_of(record)) is not None]
        except (ValueError, RecursionError, TypeError):
            logger.warning("the list of local paths in use in %s is broken and begun anew", self._directory)
            return []

    def write(self, claims: Iterable[Claim]) -> None:
        """Replaces the list. Whoever calls holds the lock since before the list was read.

        Raises:
            ClaimError: it is as before.
        """
        temporary = os.path.join(self._directory, temporary_name())
        try:
            with open(open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="ascii") as file:
                file.write(json.dumps([vars(claim) for claim in claims]))
            os.replace(temporary, os.path.join(self._directory, "claims.json"))
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise _cannot("written", error) from error

    def show_life(self, mirror: str) -> Life:
        """Tells others that the mirror lives, until it is ended or this process is dead.

        Raises:
            ClaimError: the list cannot be used.
        """
        path = self._alive(mirror)
        try:
            descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise _cannot("written", error) from error
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Life(path, descriptor)

    def lives(self, claim: Claim) -> bool:
        """Whether the process of a claim's mirror still runs."""
        try:
            descriptor = open_own(self._alive(claim.mirror), os.O_RDWR)
        except OSError:
            return False
        try:
            # A shared lock, so that two that look do not take each other for the mirror.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            # There are no locks here.
            return claim.host == os.uname().nodename and _has_process(claim)
        finally:
            os.close(descriptor)
        return False

    def may_live(self, claim: Claim) -> bool:
        """The same at the cost of one system call; in doubt it may."""
        return claim.host != os.uname().nodename or _has_process(claim)

    def bury(self, claim: Claim) -> None:
        """Removes what a dead mirror's life has left."""
        with suppress(OSError):
            os.unlink(self._alive(claim.mirror))

    def _alive(self, mirror: str) -> str:
        return os.path.join(self._directory, f"{mirror}.alive")


class Life:
    """The mark of a living mirror."""

    def __init__(self, path: str, descriptor: int):
        self._path = path
        self._descriptor = descriptor
        _locked_here.add(descriptor)

    def end(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.unlink(self._path)
            _unlock(descriptor)


def _places() -> list[str]:
    home = os.path.expanduser("~")
    own = f"/tmp/pos3-{os.geteuid()}"
    # Not XDG_STATE_HOME or TMPDIR: a service and a shell of one user often have different ones.
    return [os.path.join(home, ".local", "state", "pos3"), own] if os.path.isabs(home) and home != "/" else [own]


def _make_own(directory: str) -> None:
    """
    Raises:
        OSError: it cannot be made, or somebody else may write there.
    """
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(1, "it is no directory that only this user can write")
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(1, "it cannot be written")


def _claim_of(record: Any) -> Claim | None:
    try:
        return Claim(**record)
    except TypeError:
        # A later version of pos3 may write others.
        return None


def _has_process(claim: Claim) -> bool:
    try:
        os.kill(claim.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True


def _cannot(what: str, error: OSError) -> ClaimError:
    return ClaimError(f"the list of local paths in use cannot be {what}, so nothing was changed: {error}")


# A forked child has copies of these descriptors, and would keep their locks for as long as it lives.
_locked_here: set[int] = set()


def _unlock(descriptor: int) -> None:
    _locked_here.discard(descriptor)
    # Said outright: a child that was forked meanwhile may still have a copy.
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _after_fork_in_child() -> None:
    while _locked_here:
        with suppress(OSError):
            os.close(_locked_here.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
