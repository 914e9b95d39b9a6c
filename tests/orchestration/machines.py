"""Two Dask workers that see other files than the tests under the same paths, as on machines of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from prefect_dask import DaskTaskRunner

from tests.orchestration.conftest import environment_of_children, eventually

_UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
NAMES = ("first", "second")


def has_namespaces() -> bool:
    """Whether this user may give a process mounts of its own."""
    try:
        return subprocess.run([*_UNSHARE, "true"], capture_output=True, timeout=30).returncode == 0
    except OSError:
        return False


def in_own_tmp(command: list[str], tmp: Path) -> list[str]:
    """The command that runs ``command`` with ``tmp`` in place of /tmp."""
    script = f'mount --make-rprivate / && mount --bind {tmp} /tmp && exec "$@"'
    return [*_UNSHARE, "sh", "-c", script, "sh", *command]


@dataclass
class Machines:
    """A Dask cluster of two machines. ``shared`` is a directory that all see, and ``roots`` are their /tmp."""

    scheduler: str
    shared: Path
    roots: dict[str, Path]

    def runner(self) -> DaskTaskRunner:
        return DaskTaskRunner(address=self.scheduler)


@contextlib.contextmanager
def two_machines(**environment: str) -> Iterator[Machines]:
    if not has_namespaces():
        pytest.skip("this user may not give processes mounts of their own")
    # Below /var/tmp, since /tmp is another one on each machine.
    with contextlib.ExitStack() as stack:
        shared = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True)))
        shared.chmod(0o755)
        environment = environment_of_children(
            **environment, PREFECT_LOCAL_STORAGE_PATH=str(shared / "results"), DASK_DISTRIBUTED__WORKER__DAEMON="False"
        )
        found = shared / "scheduler.json"
        dask = [sys.executable, "-m", "distributed.cli"]
        start = _starter(stack, environment, shared)
        start(
            "scheduler", [f"{dask[2]}.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(found)]
        )
        eventually(lambda: found.exists() and found.read_text().strip())
        address = json.loads(found.read_text())["address"]
        roots = {name: shared / name for name in NAMES}
        for name, root in roots.items():
            root.mkdir()
            options = ["--nthreads", "2", "--no-nanny", "--no-dashboard", "--name", name, "--local-directory", "/tmp"]
            start(name, ["distributed.cli.dask_worker", address, *options], root)
        # Until a worker is there, the scheduler takes its name for a host's, and both are on the same host.
        with Client(address) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(len(roots), timeout=120)
        yield Machines(address, shared, roots)


def _starter(stack: contextlib.ExitStack, environment: dict[str, str], logs: Path) -> Callable[..., None]:
    def start(name: str, module: list[str], tmp: Path | None = None) -> None:
        command: list[str] = [sys.executable, "-m", *module]
        own = {"HOME": "/tmp", "PREFECT_HOME": f"/tmp/prefect-{name}"} if tmp is not None else {}
        log = stack.enter_context((logs / f"{name}.log").open("wb"))
        started: subprocess.Popen[Any] = subprocess.Popen(
            in_own_tmp(command, tmp) if tmp is not None else command,
            env={**environment, **own},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        stack.callback(_end, started)

    return start


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
