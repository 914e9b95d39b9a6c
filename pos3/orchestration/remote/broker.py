"""Serves a flow run's mirror to other processes of the same user on the same host.

Each call has its own connection. The caller sends the id of the flow run that it expects, and then the call, the kind
of caller, and the run of the caller; the broker sends the reply. If a connection breaks, only its call is lost.
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
from pos3.local import machine
from pos3.orchestration.remote.address import MirrorAddress, check_private
from pos3.orchestration.storing import OtherProcess, PreCommitPushes, registration_scope
from pos3.orchestration.ui import RunHere, working_for

Outcome = tuple[Literal["value", "error", "closing"], Any]

CONFIRM = "confirm"
OPTIONS = "options"
UPLOADS = "uploads"
ENSURE_STORED = "ensure_stored"
METHODS = frozenset(name for name in vars(pos3.MirrorLike) if not name.startswith("_")) - {"is_open"}

# The path of a socket may have 104 bytes on macOS and 108 on Linux, including the zero byte at the end.
_MAX_SOCKET_PATH_BYTES = 103
_NEW_SOCKET_SECONDS = 60
_HELLO_SECONDS = 60
# The arguments are paths, patterns and profiles, which need some kilobytes.
_MAX_CALL_BYTES = 64 * 1024 * 1024

_brokers: weakref.WeakSet[Broker] = weakref.WeakSet()


class Broker:
    """Listens on a socket, and runs each call in a thread.

    Raises:
        OSError: no directory can be used for the socket.
    """

    def __init__(self, mirror: pos3.Mirror, pre_commit_pushes: PreCommitPushes, flow_run_id: UUID):
        self._mirror = mirror
        self._pre_commit_pushes = pre_commit_pushes
        self._flow_run_id = flow_run_id
        self._state: Literal["serving", "paused", "closed"] = "serving"
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._listening, path = _listen()
        self.address = MirrorAddress(flow_run_id, path, machine())
        _brokers.add(self)
        self._thread = threading.Thread(target=self._accept, name="pos3-broker", daemon=True)
        self._thread.start()

    @property
    def _is_closed(self) -> bool:
        return self._state == "closed"

    def pause(self) -> None:
        """Makes new calls fail, because the mirror is closing. Running calls continue."""
        with self._lock:
            if self._state == "serving":
                self._state = "paused"

    def resume(self) -> None:
        """Accepts calls again."""
        with self._lock:
            if self._state == "paused":
                self._state = "serving"

    def close(self) -> None:
        """Removes the socket. Running calls still get their replies."""
        with self._lock:
            if self._state == "closed":
                return
            self._state = "closed"
        # close() does not wake a thread that waits in accept(). On Linux shutdown() does, elsewhere a connection does.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as last:
            last.settimeout(1)
            last.connect(self.address.socket)
        with contextlib.suppress(OSError):
            os.unlink(self.address.socket)
        self._listening.close()
        self._thread.join(timeout=1)

    def _close_in_child(self) -> None:
        """Closes the sockets in a forked child. Otherwise, callers would not see that the serving process has died."""
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
                # If the broker is not closed, there are no file descriptors left. Callers wait in the queue.
                if not self._is_closed:
                    time.sleep(0.1)
                continue
            connection = Connection(accepted.detach())
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="pos3-broker-call", daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        # If the caller has died, there is nobody to reply to.
        with connection, contextlib.suppress(OSError, EOFError):
            try:
                if connection.poll(_HELLO_SECONDS) and connection.recv_bytes(16) == self._flow_run_id.bytes:
                    call = _unpickled_call(connection.recv_bytes(_MAX_CALL_BYTES))
                    if call is not None:
                        connection.send(self._outcome(*call))
            finally:
                self._connections.discard(connection)

    def _outcome(self, method: str, arguments: dict[str, Any], caller: OtherProcess, run: RunHere | None) -> Outcome:
        # The lock ensures that everything confirmed was registered before the push that follows pause().
        with self._lock:
            if self._state != "serving":
                return "closing", None
            if method == CONFIRM:
                return "value", None
        try:
            with registration_scope(caller), working_for(run):
                return "value", self._call_mirror(method, arguments)
        except pos3.NoMirrorError:
            return "closing", None
        except Exception as error:  # noqa: BLE001 - it is raised in the caller
            return "error", portable(error)

    def _call_mirror(self, method: str, arguments: dict[str, Any]) -> Any:
        if method == OPTIONS:
            return self._mirror.options
        if method == UPLOADS:
            return self._pre_commit_pushes.registered_uploads()
        if method == ENSURE_STORED:
            return self._pre_commit_pushes.ensure_stored_for_other_process(**arguments)
        if method not in METHODS:
            raise pos3.InvalidArgumentError(f"a mirror has no method {method!r}")
        return getattr(self._mirror, method)(**arguments)


def _unpickled_call(pickled: bytes) -> tuple[str, dict[str, Any], OtherProcess, RunHere | None] | None:
    """The method, the arguments, the kind of the caller and its run; None if the bytes are not a call."""
    try:
        method, arguments, caller, run = pickle.loads(pickled)
    except Exception:  # noqa: BLE001 - invalid bytes, or classes that this process does not have, may raise anything
        return None
    is_caller = isinstance(caller, OtherProcess) and isinstance(run, RunHere | None)
    is_call = isinstance(method, str) and isinstance(arguments, dict) and is_caller
    return (method, arguments, caller, run) if is_call else None


class NoBroker:
    """Takes the place of a broker for a mirror that cannot be served."""

    def __init__(self, flow_run_id: UUID):
        self.address = MirrorAddress(flow_run_id)

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None: ...


def portable(error: BaseException) -> BaseException:
    """``error`` itself if it can be pickled, or else a similar error that can."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - code that pickling calls may raise anything
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
    """A directory for sockets that belongs to this user alone.

    Raises:
        OSError: no directory can be used, or its path is too long.
    """
    problem = OSError("the path of the temporary directory is too long for a socket")
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp")):
        directory = f"{parent}/pos3-{os.geteuid()}"
        if len(os.fsencode(directory)) + len("/01234567-0123456789abcdef.sock") > _MAX_SOCKET_PATH_BYTES:
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
    """Removes sockets of this host that no process listens on, except new ones, whose process may soon listen."""
    for name in glob.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - Path(name).stat().st_mtime < _NEW_SOCKET_SECONDS:
                continue
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                try:
                    probe.connect(name)
                except ConnectionRefusedError:
                    os.unlink(name)


def _after_fork_in_child() -> None:
    for broker in list(_brokers):
        broker._close_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
