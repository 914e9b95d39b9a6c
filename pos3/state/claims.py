"""Which local paths the mirrors of this user write, on this machine: the list, and who of it still lives.

Whoever will push from a local root, or download into it, first writes a claim and then reads those of others, both
under one short lock. So of two that begin at the same time, at least one sees the other. A user's list lies outside
every cache root, since two cache roots can share a local path::

    ~/.local/state/.pos3/<host>/  or /tmp/pos3-<uid>/, where there is no home that can be written and has locks
      claims.log                  a line for each claim that begins, and one for each that ends
      claims.lock                 held while the list is read and written
      <mirror>.alive              locked by the process of a mirror that has claims

The kernel drops the lock on ``<mirror>.alive`` with its process; that tells the claims of dead processes. The directory
is for its user alone. What belongs to another user is never read.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from pos3.errors import ClaimError
from pos3.local import (
    STATE_DIRECTORY,
    ForeignFileError,
    are_nested,
    directory_problem,
    is_running,
    open_own,
    temporary_name,
)
from pos3.state.kernel_lock import fork_gate, is_locked

logger = logging.getLogger("pos3")

_TABS = 3
# Beyond what is needed for the claims that there are, before the list is written anew.
_MOST_LINES = 200
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
        root: the same path as the index of ``cache_root`` knows it.
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
    root: str
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


@dataclass(frozen=True)
class Snapshot:
    """The claims at one moment. Only those that are asked for are parsed, so that hundreds of others cost little."""

    lines: list[bytes]
    written_lines: int = 0

    def near(self, local: str) -> list[Claim]:
        """Those of local paths at, above or below ``local``, in the order in which they were written."""
        # Escaped as JSON, one path lies in another exactly if it does so unescaped.
        wanted = escaped(local).decode("ascii")
        return _parsed(line for line in self.lines if are_nested(_escaped_local(line), wanted))

    def all(self) -> list[Claim]:
        return _parsed(self.lines)

    def journals(self) -> set[bytes]:
        """The journals of all claims, as :func:`escaped` gives them."""
        return {line.split(b"\t", 3)[2] for line in self.lines}


def escaped(path: str) -> bytes:
    """A path as the list holds it."""
    return json.dumps(path)[1:-1].encode("ascii")


def _line_of(claim: Claim) -> bytes:
    content = json.dumps(vars(claim)).encode("ascii")
    return b"\t".join((claim.id.encode("ascii"), escaped(claim.local), escaped(claim.journal), content))


def _parsed(lines: Iterable[bytes]) -> list[Claim]:
    found = []
    for line in lines:
        try:
            found.append(Claim(**json.loads(line.split(b"\t", 3)[3])))
        except (TypeError, ValueError, RecursionError):
            # A later version of pos3 may write others.
            continue
    return found


def _escaped_local(line: bytes) -> str:
    return line.split(b"\t", 2)[1].decode("ascii", "replace")


class ClaimList:
    """The claims of all mirrors of this user on this machine. Safe to use from several threads and processes."""

    def __init__(self, directory: str):
        self._directory = directory
        self._path = os.path.join(directory, "claims.log")

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
                _try_locks(directory)
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
        descriptor = _opened_here(os.path.join(self._directory, "claims.lock"))
        try:
            # Without locks, the list is still replaced as a whole.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            _unlock(descriptor)

    def read(self) -> Snapshot:
        """The claims as of now, those of dead processes included.

        Raises:
            ClaimError: the list cannot be used.
        """
        try:
            with open(open_own(self._path, os.O_RDONLY), "rb") as file:
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise _cannot("read", error) from error
        found: dict[bytes, bytes] = {}
        for line in lines:
            claim_id, tab, content = line.partition(b"\t")
            # A line that was being written when its process died has no end, and counts for nothing.
            if content.count(b"\t") == _TABS - 1 and content.endswith(b"}"):
                found[claim_id] = line
            elif tab and not content:
                found.pop(claim_id, None)
        return Snapshot(list(found.values()), len(lines))

    def change(self, before: Snapshot, *, end: Collection[str] = (), begin: Claim | None = None) -> None:
        """Ends claims and begins one. Whoever calls holds the lock since before the list was read.

        Raises:
            ClaimError: it is as before.
        """
        ended = [b"%b\t" % claim_id.encode("ascii") for claim_id in end]
        lines = [*ended, *([_line_of(begin)] if begin is not None else [])]
        try:
            if before.written_lines > _MOST_LINES + 2 * len(before.lines):
                self._compact(before)
            with open(open_own(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "wb", buffering=0) as file:
                # It begins with a line's end, in case another process died in the middle of its own line.
                content = b"\n".join([b"", *lines, b""])
                if file.write(content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        except OSError as error:
            raise _cannot("written", error) from error

    def _compact(self, claims: Snapshot) -> None:
        temporary = os.path.join(self._directory, temporary_name())
        try:
            with open(open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                file.write(b"\n".join([*claims.lines, b""]))
            os.replace(temporary, self._path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def show_life(self, mirror: str) -> Life:
        """Tells others that the mirror lives, until it is ended or this process is dead.

        Raises:
            ClaimError: the list cannot be used.
        """
        path = self._alive(mirror)
        descriptor = _opened_here(path)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Life(path, descriptor)

    def lives(self, claim: Claim) -> bool:
        """Whether the process of a claim's mirror still runs; in doubt it does."""
        try:
            descriptor = open_own(self._alive(claim.mirror), os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            return is_locked(descriptor)
        except OSError:
            # There are no locks here.
            return is_running(claim.pid)
        finally:
            os.close(descriptor)

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

    def end(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.unlink(self._path)
            _unlock(descriptor)


def _places() -> list[str]:
    home = os.path.expanduser("~")
    own = f"/tmp/pos3-{os.geteuid()}"
    # Not XDG_STATE_HOME or TMPDIR: a service and a shell of one user often have different ones. One for each host,
    # since homes are shared where disks are not. No transfer touches a directory of that name.
    here = os.path.join(home, ".local", "state", STATE_DIRECTORY, os.uname().nodename or "host")
    return [here, own] if os.path.isabs(home) and home != "/" else [own]


def _try_locks(directory: str) -> None:
    """
    Raises:
        OSError: the file system has no locks, so that nobody could tell who lives.
    """
    if directory.startswith("/tmp/"):
        # The last resort: process numbers stand in for locks there.
        return
    descriptor = open_own(os.path.join(directory, "claims.lock"), os.O_RDWR | os.O_CREAT)
    try:
        is_locked(descriptor)
    finally:
        os.close(descriptor)


def _opened_here(path: str) -> int:
    """A descriptor whose lock a forked child does not keep.

    Raises:
        ClaimError: the file cannot be opened.
    """
    try:
        with fork_gate:
            descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
            _locked_here.add(descriptor)
    except OSError as error:
        raise _cannot("used", error) from error
    return descriptor


def _make_own(directory: str) -> None:
    """
    Raises:
        OSError: it cannot be made, or somebody else may write there.
    """
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    if problem := directory_problem(directory):
        raise ForeignFileError(directory, problem)
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(1, "it cannot be written")


def _cannot(what: str, error: OSError) -> ClaimError:
    return ClaimError(f"the list of local paths in use cannot be {what}, so nothing was changed: {error}")


# A forked child has copies of these descriptors, and would keep their locks for as long as it lives.
_locked_here: set[int] = set()


def _unlock(descriptor: int) -> None:
    # Said outright: a child that was forked meanwhile may still have a copy.
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    with fork_gate:
        _locked_here.discard(descriptor)
        os.close(descriptor)


def _after_fork_in_child() -> None:
    while _locked_here:
        with suppress(OSError):
            os.close(_locked_here.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
