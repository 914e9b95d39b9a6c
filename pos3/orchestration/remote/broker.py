"""Serves a flow run's mirror to the other processes of the same user on the same host.

Each call has a connection of its own: the id of the flow run that the caller takes this for, then the call and whose it
is, then the reply. A connection that breaks off costs nothing but its call.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pickle
import socket
import tempfile
import threading
import time
import uuid
import weakref
import zlib
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pos3
from pos3.orchestration.remote.address import MirrorAddress, check_private
from pos3.orchestration.storing import Commits, Elsewhere, scope

Outcome = tuple[Literal["value", "error", "closing"], Any]

CONFIRM = "confirm"
OPTIONS = "options"
PLACES = "places"
SECURE = "secure"
METHODS = frozenset(name for name in vars(pos3.MirrorLike) if not name.startswith("_")) - {"is_open"}

# Of a path, in bytes: 104 with the final zero on macOS, 108 on Linux.
_LONGEST_PATH = 103
_NEWCOMER_SECONDS = 60
_HELLO_SECONDS = 60
# Paths, patterns and profiles take some kilobytes.
_LONGEST_CALL_BYTES = 64 * 1024 * 1024

_brokers: weakref.WeakSet[Broker] = weakref.WeakSet()


class Broker:
    """A listening socket, and a thread for each call under way.

    Raises:
        OSError: there is no place for a socket.
    """

    def __init__(self, mirror: pos3.Mirror, commits: Commits, flow_run_id: UUID):
        self._mirror = mirror
        self._commits = commits
        self._flow_run_id = flow_run_id
        self._state: Literal["serving", "paused", "closed"] = "serving"
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._listening, path = _listen()
        self.address = MirrorAddress(flow_run_id, path)
        _brokers.add(self)
        self._thread = threading.Thread(target=self._accept, name="pos3-broker", daemon=True)
        self._thread.start()

    @property
    def _is_closed(self) -> bool:
        return self._state == "closed"

    def pause(self) -> None:
        """From now on, callers are told that the mirror is closing; calls under way end as they would."""
        with self._lock:
            if self._state == "serving":
                self._state = "paused"

    def resume(self) -> None:
        with self._lock:
            if self._state == "paused":
                self._state = "serving"

    def close(self) -> None:
        """Removes the socket. Calls under way still get their replies."""
        with self._lock:
            if self._state == "closed":
                return
            self._state = "closed"
        # A thread that waits in accept() is not woken by close(): by shutdown() on Linux, by a caller elsewhere.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as last:
            last.settimeout(1)
            last.connect(self.address.socket)
        with contextlib.suppress(OSError):
            os.unlink(self.address.socket)
        self._listening.close()
        self._thread.join(timeout=1)

    def _forget(self) -> None:
        """In a forked child: a caller must see its connection end with the process that serves it, not with this."""
        self._lock = threading.Lock()
        self._state = "closed"
        self._listening.close()
        for connection in list(self._connections):
            connection.close()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                # If it is not closed, there are no file descriptors left. Callers wait in the queue.
                if not self._is_closed:
                    time.sleep(0.1)
                continue
            connection = Connection(accepted.detach())
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="pos3-broker-call", daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        # A caller that has died meanwhile is not told anything.
        with connection, contextlib.suppress(OSError, EOFError):
            try:
                if connection.poll(_HELLO_SECONDS) and connection.recv_bytes(16) == self._flow_run_id.bytes:
                    call = _call_in(connection.recv_bytes(_LONGEST_CALL_BYTES))
                    if call is not None:
                        connection.send(self._outcome(*call))
            finally:
                self._connections.discard(connection)

    def _outcome(self, method: str, arguments: dict[str, Any], caller: Elsewhere) -> Outcome:
        # Held, so that what is confirmed comes before the push that follows pause().
        with self._lock:
            if self._state != "serving":
                return "closing", None
            if method == CONFIRM:
                return "value", None
        try:
            with scope(caller):
                return "value", self._called(method, arguments)
        except pos3.NoMirrorError:
            return "closing", None
        except Exception as error:  # noqa: BLE001 - it is the caller's
            return "error", portable(error)

    def _called(self, method: str, arguments: dict[str, Any]) -> Any:
        if method == OPTIONS:
            return self._mirror.options
        if method == PLACES:
            return self._commits.places()
        if method == SECURE:
            return self._commits.secure_elsewhere(**arguments)
        if method not in METHODS:
            raise pos3.InvalidArgumentError(f"a mirror has no method {method!r}")
        return getattr(self._mirror, method)(**arguments)


def _call_in(pickled: bytes) -> tuple[str, dict[str, Any], Elsewhere] | None:
    """The method, the arguments and the place of a caller; None for what is no call."""
    try:
        method, arguments, caller = pickle.loads(pickled)
    except Exception:  # noqa: BLE001 - what is no pickle, or of what this process does not have, may raise anything
        return None
    is_call = isinstance(method, str) and isinstance(arguments, dict) and isinstance(caller, Elsewhere)
    return (method, arguments, caller) if is_call else None


class NoBroker:
    """Stands for the broker of a mirror that cannot be served."""

    def __init__(self, flow_run_id: UUID):
        self.address = MirrorAddress(flow_run_id)

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None: ...


def portable(error: BaseException) -> BaseException:
    """``error`` itself if it can be pickled; else the nearest to it that can."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever pickling calls may raise anything
        if isinstance(error, pos3.TransferError):
            made: Exception = pos3.TransferError(error.operation, [portable(each) for each in error.failures])
        else:
            made = pos3.Pos3Error(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            made.add_note(note)
        return made
    return error


def _listen() -> tuple[socket.socket, str]:
    directory = _own_directory()
    host = f"{zlib.crc32(os.fsencode(socket.gethostname())):08x}"
    _remove_leftovers(f"{directory}/{host}-*.sock")
    path = f"{directory}/{host}-{uuid.uuid4().hex[:16]}.sock"
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(path)
        os.chmod(path, 0o600)
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening, path


def _own_directory() -> str:
    """A directory of this user alone, for sockets.

    Raises:
        OSError: there is none with a path that is short enough.
    """
    problem = OSError("the path of the temporary directory is too long for a socket")
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp")):
        directory = f"{parent}/pos3-{os.geteuid()}"
        if len(os.fsencode(directory)) + len("/01234567-0123456789abcdef.sock") > _LONGEST_PATH:
            continue
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o700)
            check_private(directory)
        except OSError as error:
            problem = error
        else:
            return directory
    raise problem


def _remove_leftovers(pattern: str) -> None:
    """Removes sockets of this host that nobody listens on; a young one may be about to."""
    for name in glob.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - Path(name).stat().st_mtime < _NEWCOMER_SECONDS:
                continue
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                try:
                    probe.connect(name)
                except ConnectionRefusedError:
                    os.unlink(name)


def _after_fork_in_child() -> None:
    for broker in list(_brokers):
        broker._forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
