"""The list of local paths that the mirrors of this user write on this machine, and which of these mirrors are alive.

Before a mirror pushes from a local root or downloads into it, it writes a claim and then reads the claims of others,
both under one short lock. So if two mirrors begin at the same time, at least one of them sees the other. The list of a
user lies outside every cache root, because two cache roots can share a local path::

    ~/.local/state/.pos3/<host>/  or /tmp/pos3-<uid>/, where there is no home that can be written and has locks
      claims.log                  one line for each claim that begins, and one for each that ends
      claims.lock                 held while the list is read and written
      <mirror>.alive              locked by the process of a mirror that has claims

The kernel drops the lock on ``<mirror>.alive`` when its process dies, so others see that its claims are those of a dead
process. Only the user can read the directory. Files of other users are never read.
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

_SEPARATORS = 3
# The list is rewritten when it has this number of lines more than its claims need.
_MAX_LINES = 200
ClaimKind = Literal["download", "upload", "sync"]


@dataclass(frozen=True)
class Claim:
    """A claim of one mirror to write one local path. Its fields are the keys of a line in the list.

    Args:
        id: an id that no other claim has.
        mirror: the id of the mirror, whose process holds ``<mirror>.alive``.
        group: mirrors with the same group, such as those of one flow run, count as one mirror.
        owner: the owner in the records of its transfers. Mirrors that push the same local path have the same owner.
        kind: "download" for a running transfer. Claims of the other kinds last as long as the registration.
        deletes: whether the last push deletes objects without a local file.
        local: the absolute path, with links resolved.
        root: the same path as it is written in the index of ``cache_root``.
        url, endpoint: the place that the path mirrors. The endpoint is None if it is not known.
        cache_root: the cache root that has the index of ``local``.
        journal: the journal file that has the registration if the process dies.
        pid, host, begun_at: the process of the mirror, and when the claim began, in seconds since the epoch.
        is_filling: whether a download is changing the path.
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
    """The claims at one time. They are parsed only on request, so hundreds of claims of other paths cost little."""

    lines: list[bytes]
    written_lines: int = 0

    def overlapping(self, local: str) -> list[Claim]:
        """The claims of paths at, above or below ``local``, in the order in which they were written."""
        # A path lies in another one exactly if that is so with both escaped as JSON.
        wanted = json_escaped(local).decode("ascii")
        return _parsed(line for line in self.lines if are_nested(_escaped_local(line), wanted))

    def all(self) -> list[Claim]:
        return _parsed(self.lines)

    def journals(self) -> set[bytes]:
        """The journal paths of all claims, in the form of :func:`json_escaped`."""
        return {line.split(b"\t", 3)[2] for line in self.lines}


def json_escaped(path: str) -> bytes:
    """A path as it is written in the list."""
    return json.dumps(path)[1:-1].encode("ascii")


def _line_of(claim: Claim) -> bytes:
    content = json.dumps(vars(claim)).encode("ascii")
    return b"\t".join((claim.id.encode("ascii"), json_escaped(claim.local), json_escaped(claim.journal), content))


def _parsed(lines: Iterable[bytes]) -> list[Claim]:
    found = []
    for line in lines:
        try:
            found.append(Claim(**json.loads(line.split(b"\t", 3)[3])))
        except (TypeError, ValueError, RecursionError):
            # A later version of pos3 may write claims with other fields.
            continue
    return found


def _escaped_local(line: bytes) -> str:
    return line.split(b"\t", 2)[1].decode("ascii", "replace")


class ClaimList:
    """The claims of all mirrors of this user on this machine. Several threads and processes may use it at once."""

    def __init__(self, directory: str):
        self._directory = directory
        self._path = os.path.join(directory, "claims.log")

    @classmethod
    def of_this_user(cls) -> ClaimList:
        """The list of the current user. Its directory is created if needed.

        Raises:
            ClaimError: no directory can be used for it.
        """
        problems: list[str] = []
        for directory in _candidate_directories():
            try:
                _create_private_directory(directory)
                _check_locks(directory)
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
        """Holds the lock of the list, which one thread of one process has at a time. It must be held only briefly.

        Raises:
            ClaimError: the list cannot be used.
        """
        descriptor = _open_fork_safe(os.path.join(self._directory, "claims.lock"))
        try:
            # On a file system without locks, the list is still replaced as a whole.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            _unlock(descriptor)

    def read(self) -> Snapshot:
        """The current claims, including those of dead processes.

        Raises:
            ClaimError: the list cannot be used.
        """
        try:
            with open(open_own(self._path, os.O_RDONLY), "rb") as file:
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise _claim_error("read", error) from error
        found: dict[bytes, bytes] = {}
        for line in lines:
            claim_id, tab, content = line.partition(b"\t")
            # If a process died while it wrote a line, the line has no end, and is ignored.
            if content.count(b"\t") == _SEPARATORS - 1 and content.endswith(b"}"):
                found[claim_id] = line
            elif tab and not content:
                found.pop(claim_id, None)
        return Snapshot(list(found.values()), len(lines))

    def change(self, before: Snapshot, *, end: Collection[str] = (), begin: Claim | None = None) -> None:
        """Ends claims and begins one. The caller holds the lock, and took it before reading the list.

        Raises:
            ClaimError: the list cannot be written, and is as before.
        """
        ended = [b"%b\t" % claim_id.encode("ascii") for claim_id in end]
        lines = [*ended, *([_line_of(begin)] if begin is not None else [])]
        try:
            if before.written_lines > _MAX_LINES + 2 * len(before.lines):
                self._compact(before)
            with open(open_own(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "wb", buffering=0) as file:
                # The text begins with a line end, because another process may have died in the middle of a line.
                content = b"\n".join([b"", *lines, b""])
                if file.write(content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        except OSError as error:
            raise _claim_error("written", error) from error

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

    def create_alive_file(self, mirror: str) -> AliveFile:
        """Shows other processes that the mirror is alive, until the result is ended or this process dies.

        Raises:
            ClaimError: the list cannot be used.
        """
        path = self._alive_path(mirror)
        descriptor = _open_fork_safe(path)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return AliveFile(path, descriptor)

    def is_alive(self, claim: Claim) -> bool:
        """Whether the process of a claim's mirror is running. If that cannot be found out, the result is True."""
        try:
            descriptor = open_own(self._alive_path(claim.mirror), os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            return is_locked(descriptor)
        except OSError:
            # The file system has no locks.
            return is_running(claim.pid)
        finally:
            os.close(descriptor)

    def remove_alive_file(self, claim: Claim) -> None:
        """Removes the alive file that a dead mirror has left."""
        with suppress(OSError):
            os.unlink(self._alive_path(claim.mirror))

    def _alive_path(self, mirror: str) -> str:
        return os.path.join(self._directory, f"{mirror}.alive")


class AliveFile:
    """The locked file that shows that a mirror is alive."""

    def __init__(self, path: str, descriptor: int):
        self._path = path
        self._descriptor = descriptor

    def end(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.unlink(self._path)
            _unlock(descriptor)


def _candidate_directories() -> list[str]:
    home = os.path.expanduser("~")
    own = f"/tmp/pos3-{os.geteuid()}"
    # XDG_STATE_HOME and TMPDIR are not used, because they often differ between a service and a shell of the same user.
    # There is one directory for each host, because hosts may share a home directory, but not their disks. No transfer
    # reads or writes a directory with this name.
    here = os.path.join(home, ".local", "state", STATE_DIRECTORY, os.uname().nodename or "host")
    return [here, own] if os.path.isabs(home) and home != "/" else [own]


def _check_locks(directory: str) -> None:
    """Returns if the list can be used in this directory.

    Raises:
        OSError: the file system has no locks, so it would not be known which mirrors are alive.
    """
    if directory.startswith("/tmp/"):
        # In this last resort, pids are used instead of locks.
        return
    descriptor = open_own(os.path.join(directory, "claims.lock"), os.O_RDWR | os.O_CREAT)
    try:
        is_locked(descriptor)
    finally:
        os.close(descriptor)


def _open_fork_safe(path: str) -> int:
    """A descriptor that a forked child closes, so that the child does not keep its lock.

    Raises:
        ClaimError: the file cannot be opened.
    """
    try:
        with fork_gate:
            descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
            _fork_safe_descriptors.add(descriptor)
    except OSError as error:
        raise _claim_error("used", error) from error
    return descriptor


def _create_private_directory(directory: str) -> None:
    """Creates a directory for this user alone, unless it exists.

    Raises:
        OSError: it cannot be created, or another user may write there.
    """
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    if problem := directory_problem(directory):
        raise ForeignFileError(directory, problem)
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(1, "it cannot be written")


def _claim_error(what: str, error: OSError) -> ClaimError:
    return ClaimError(f"the list of local paths in use cannot be {what}, so nothing was changed: {error}")


# A forked child has copies of these descriptors. Without closing them, it would keep their locks as long as it runs.
_fork_safe_descriptors: set[int] = set()


def _unlock(descriptor: int) -> None:
    # Closing is not enough, because a child that was forked just now may still have a copy of the descriptor.
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    with fork_gate:
        _fork_safe_descriptors.discard(descriptor)
        os.close(descriptor)


def _after_fork_in_child() -> None:
    while _fork_safe_descriptors:
        with suppress(OSError):
            os.close(_fork_safe_descriptors.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
