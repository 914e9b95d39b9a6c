"""A Docker engine of the tests' own: Debian's, on a private socket, gone with all that it made.

`POS3_TEST_DOCKER_HOST` names an engine that runs already, and `POS3_TEST_BASE_IMAGE` a base image that it can get.
`POS3_TEST_BASE_PYTHON` names the interpreter for the base image that is packed otherwise; Debian's without it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.docker.base import write_base

ROOT = Path(__file__).parents[2]
PACKAGES = ("docker.io", "docker-compose", "python3-venv", "tini", "tzdata")
BASE_PYTHON = os.environ.get("POS3_TEST_BASE_PYTHON", "")
BASE = "pos3-test-base:local"
IMAGE = "pos3-worker:test"
_START_SECONDS = 60.0


class NoEngineError(RuntimeError):
    """There is no engine, and none can be started here; the message says why."""


@dataclass(frozen=True)
class Engine:
    """A running engine, and the clients that are called for it."""

    host: str
    base_image: str

    def run(self, *command: str, check: bool = True, timeout: float = 300, **environment: str) -> str:
        """What the command prints, stderr included; AssertionError with it if it fails."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0 or not check, f"{' '.join(command)}: status {done.returncode}\n{done.stdout}"
        return done.stdout

    def docker(self, *arguments: str, check: bool = True, timeout: float = 300) -> str:
        return self.run(client(), *arguments, check=check, timeout=timeout)


def client() -> str:
    """Debian's own, since another one first on PATH may be too new for its engine."""
    return next((path for path in ("/usr/bin/docker",) if os.access(path, os.X_OK)), "docker")


def compose() -> list[str]:
    plugin = subprocess.run([client(), "compose", "version"], capture_output=True)
    return [client(), "compose"] if plugin.returncode == 0 else ["docker-compose"]


@contextlib.contextmanager
def running_engine() -> Iterator[Engine]:
    """
    Raises:
        NoEngineError: there can be none.
    """
    base_image = os.environ.get("POS3_TEST_BASE_IMAGE", "")
    host = os.environ.get("POS3_TEST_DOCKER_HOST")
    if host:
        yield Engine(host, base_image or "python:3.12-slim")
        return
    _install()
    # Short, since a socket's path may not be long.
    home = Path(tempfile.mkdtemp(prefix="pos3-docker-", dir=os.environ.get("POS3_TEST_DOCKER_DIRECTORY")))
    try:
        with _daemon(home) as host, _emptied(engine := Engine(host, base_image or BASE)):
            if not base_image:
                _import_base(engine, home / "base.tar")
            yield engine
    finally:
        for place in _mounted_below(home):
            subprocess.run(["umount", place], capture_output=True)
        shutil.rmtree(home)


def _mounted_below(home: Path) -> list[str]:
    """What an engine leaves mounted when it ends, the innermost first."""
    places = [line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    return [place for place in reversed(places) if place.startswith(f"{home}/")]


def _install() -> None:
    missing = [name for name in PACKAGES if not _is_installed(name)]
    if not missing:
        return
    if os.getuid() or not shutil.which("apt-get"):
        raise NoEngineError(f"not installed, and only root on Debian can install it: {', '.join(missing)}")
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", *command],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise NoEngineError(f"apt-get {command[0]}: {done.stderr.strip().splitlines()[-1:]}")


def _is_installed(package: str) -> bool:
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, text=True)
    return shown.stdout == "installed"


@contextlib.contextmanager
def _daemon(home: Path) -> Iterator[str]:
    if os.getuid():
        raise NoEngineError("only root can start an engine")
    host, log = f"unix://{home}/s", home / "log"
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            [
                *("/usr/sbin/dockerd", "--host", host, "--data-root", str(home / "data")),
                *("--exec-root", str(home / "exec"), "--pidfile", str(home / "pid")),
                # Without these, an engine changes the network of the machine.
                *("--bridge=none", "--iptables=false", "--ip6tables=false"),
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while subprocess.run([client(), "--host", host, "info"], capture_output=True).returncode:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise NoEngineError(f"dockerd does not run here: {_last_line(log)}")
            time.sleep(0.2)
        yield host
    finally:
        daemon.terminate()
        try:
            daemon.wait(timeout=60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["it says nothing"])[-1]


@contextlib.contextmanager
def _emptied(engine: Engine) -> Iterator[None]:
    """Removes every container at the end: the engine is ours, and so are they."""
    try:
        yield
    finally:
        if found := engine.docker("ps", "--all", "--quiet", check=False).split():
            engine.docker("rm", "--force", "--volumes", *found, check=False)


def _import_base(engine: Engine, archive: Path) -> None:
    with archive.open("wb") as out:
        write_base(out, BASE_PYTHON)
    environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    if BASE_PYTHON:
        # The list of shared libraries is that of the machine, so it lacks those of /usr/local.
        environment.append("LD_LIBRARY_PATH=/usr/local/lib")
    engine.docker("import", *(f"--change=ENV {variable}" for variable in environment), str(archive), BASE)
    archive.unlink()
