"""A Python that has imported what programs need, and forks for each of them: `python fork_server.py SOCKET MODULES`.

It listens at the socket's path and ends with its stdin. Who connects sends a line of JSON (what to run, its arguments,
environment and directory) with three descriptors, which become stdin, stdout and stderr. Back come the number of the
process and, at its end, its status, as of `subprocess`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import socket
import sys
import threading
import time
import types
from contextlib import suppress
from typing import Any


def main(path: str, modules: list[str]) -> None:
    for name in modules:
        importlib.import_module(name)
    # Whoever forks with a second thread risks a child that waits for ever.
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("listening", flush=True)
        while True:
            ready, _, _ = select.select([listener.fileno(), 0], [], [])
            if 0 in ready:
                return
            connection, _ = listener.accept()
            if not os.fork():
                break
            connection.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    asked, descriptors = received(connection)
    pid = os.fork()
    if pid:
        keep(pid, connection, descriptors)
    connection.close()
    run(asked, descriptors)


def received(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 16)
    return json.loads(data), descriptors


def keep(pid: int, connection: socket.socket, descriptors: list[int]) -> None:
    """Tells of the process until its end."""
    for descriptor in descriptors:
        os.close(descriptor)
    with suppress(OSError):
        connection.sendall(b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def run(asked: dict[str, Any], descriptors: list[int]) -> None:
    """Becomes the program, to its end; what it raises is raised."""
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.chdir(asked["directory"])
    os.umask(asked["umask"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    what, *arguments = asked["command"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    added = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:1] = ["" if what == "-c" else os.getcwd(), *added]
    sys.argv = [what, *arguments[1:]]
    status: Any = 0
    try:
        if what == "-c":
            exec(compile(arguments[0], "<string>", "exec"), vars(sys.modules["__main__"]))
        else:
            runpy._run_module_as_main(arguments[0])  # type: ignore[attr-defined]
    except SystemExit as end:
        status = end.code or 0
    if isinstance(status, int):
        leave(status)
    sys.exit(status)


def leave(status: int) -> None:
    """Ends as Python does, but leaves its modules to the system: to take them down takes longer than all else."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
