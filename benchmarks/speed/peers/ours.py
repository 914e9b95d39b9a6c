"""pos3: this checkout, and as it was before."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.installing import HOME, ROOT, InstallError, environment_of
from benchmarks.speed.measure import Command
from benchmarks.speed.peers.base import CLIENTS, Peer, Remote, environment
from benchmarks.speed.servers import Endpoint


class Pos3(Peer):
    """This checkout with its extra ``crt``, through its Python API.

    Args:
        workers: ``max_workers``; None leaves it unset.
    """

    tool = "pos3"
    asks_for_checksums = True

    def __init__(self, workers: int | None = None):
        self.label = "pos3" if workers is None else f"pos3, {workers} workers"
        self.settings = "defaults" if workers is None else f"max_workers={workers}"
        self._workers = "default" if workers is None else str(workers)

    def install(self) -> None:
        if importlib.util.find_spec("awscrt") is None:
            raise InstallError("awscrt is missing, which pip install 'pos3[crt]' brings")

    def version(self) -> str:
        command = ["git", "rev-parse", "--short", "HEAD"]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return f"this checkout {ran.stdout.strip()}".strip()

    def _python(self) -> Path:
        return Path(sys.executable)

    def _path(self) -> str:
        return str(ROOT)

    def _mirror(self, action: str, remote: Remote, local: Path | str, state: Path | str, *options: str) -> Command:
        script = CLIENTS / "pos3_mirror.py"
        arguments = [self._python(), script, action, remote.url.rstrip("/"), local, state, self._workers, *options]
        return Command(arguments, environment(remote.endpoint, PYTHONPATH=self._path()))

    def download(self, remote: Remote, local: Path, state: Path) -> Command:
        return self._mirror("download", remote, local, state)

    def upload(self, local: Path, remote: Remote, state: Path) -> Command:
        return self._mirror("upload", remote, local, state)

    def sync_down(self, remote: Remote, local: Path, state: Path) -> Command:
        return self._mirror("download", remote, local, state, "adopt")

    def sync_up(self, local: Path, remote: Remote, state: Path) -> Command:
        return self._mirror("upload", remote, local, state)

    def list(self, remote: Remote) -> Command:
        return self._mirror("list", remote, "", HOME / "home")

    def python(self, *arguments: str) -> Command:
        return Command([self._python(), *arguments], environment(None, PYTHONPATH=self._path()))

    def program(self, *arguments: str) -> Command:
        """The command as pip installs it."""
        return Command([self._python().with_name("pos3"), *arguments], environment(None))

    def pushes(self, local: Path, remote: Remote, state: Path, changed: Path, counts: str) -> Command:
        """One push of a tree in which the files that ``changed`` names have changed; it prints its own figures."""
        arguments = ["pos3_pushes.py", remote.url.rstrip("/"), str(local), str(state), str(changed), counts]
        return self._script(remote.endpoint, arguments)

    def mapped_flow(self, remote: Remote, cache: Path, tasks: int, counts: str) -> Command:
        return self._script(remote.endpoint, ["mapped_flow.py", remote.url.rstrip("/"), str(cache), str(tasks), counts])

    def _script(self, endpoint: Endpoint, arguments: Sequence[str]) -> Command:
        script, *more = arguments
        return Command([self._python(), CLIENTS / script, *more], environment(endpoint, PYTHONPATH=self._path()))


class Pos3Before(Pos3):
    """pos3 as it was on PyPI before."""

    tool = "pos3-0.4.0"
    asks_for_checksums = False

    def __init__(self) -> None:
        super().__init__()
        self.label = "pos3 0.4.0"

    def install(self) -> None:
        environment_of("pos3-0.4.0", "pos3==0.4.0")

    def version(self) -> str:
        return "0.4.0"

    def _python(self) -> Path:
        return HOME / "peers/pos3-0.4.0/bin/python"

    def _path(self) -> str:
        return ""

    def sync_down(self, remote: Remote, local: Path, state: Path) -> Command:
        return self._mirror("download", remote, local, state)
