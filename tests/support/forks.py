"""Programs that need not import everything anew: a server forks them, with all that a process of their own has."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

_SERVER = Path(__file__).with_name("fork_server.py")
_ROOT = Path(__file__).parents[2]
# What Python, the loader and libraries read when they start or are imported, which is before the fork.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_", "PREFECT_")


def at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment a forked program cannot have otherwise than its server."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_READ_AT_START) and name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    }


class Forked:
    """A program under way; what it has in common with `subprocess.Popen` does the same."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._told = connection.makefile("rb")
        self.pid = int(self._told.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The status.

        Raises:
            subprocess.TimeoutExpired: it is still running after so many seconds.
        """
        if self.returncode is None:
            if timeout is not None and not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            self.returncode = int(self._told.readline())
            self._told.close()
            self._connection.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Starts programs that find these modules imported; its own end ends none of them."""

    def __init__(self, modules: Iterable[str], environment: Mapping[str, str]):
        self._home = tempfile.mkdtemp(prefix="pos3-forks-")
        self._path = f"{self._home}/socket"
        self._at_start = at_start(environment)
        self._process = subprocess.Popen(
            [sys.executable, str(_SERVER), self._path, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **{name: value for name, value in environment.items() if not name.startswith(("AWS_", "POS3_"))},
                "PYTHONPATH": str(_ROOT),
            },
        )
        assert self._process.stdout is not None
        with self._process.stdout as told:
            assert told.readline() == b"listening\n"

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether a forked program can have this environment in full."""
        return at_start(environment) == self._at_start

    def start(
        self, command: list[str], environment: Mapping[str, str], stdout: IO[bytes] | int, stderr: IO[bytes] | int
    ) -> Forked:
        """`python COMMAND`, where the command begins with -c or -m; its stdin is empty."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._path)
        os.umask(umask := os.umask(0o077))
        asked = {"command": command, "environment": dict(environment), "directory": os.getcwd(), "umask": umask}
        line = json.dumps(asked).encode() + b"\n"
        outputs = [stream if isinstance(stream, int) else stream.fileno() for stream in (stdout, stderr)]
        with open(os.devnull, "rb") as nothing:
            sent = socket.send_fds(connection, [line], [nothing.fileno(), *outputs])
        connection.sendall(line[sent:])
        return Forked(connection)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)


def transferring() -> list[str]:
    """All modules of pos3 but those for Prefect, and what they import when they are used."""
    parts = (path.relative_to(_ROOT).with_suffix("").parts for path in sorted((_ROOT / "pos3").rglob("*.py")))
    ours = [".".join(names) for names in parts if names[1] != "orchestration" and not names[-1].startswith("__")]
    return [*ours, "botocore.session", "botocore.auth", "tqdm"]


@functools.cache
def command_line() -> ForkServer:
    """The server for the command line, for as long as this process lives."""
    server = ForkServer(transferring(), os.environ)
    atexit.register(server.close)
    return server
