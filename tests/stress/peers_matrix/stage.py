"""Where one scenario is played for one tool: a bucket, a directory, and a proxy that breaks what it is told to."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from peers_matrix.peers import Peer, environment_for

from tests.support import Proxy, RcloneServer, Server

KEY = "data"
PATIENCE_SECONDS = 90.0
MIB = 1 << 20


@dataclass(frozen=True)
class Ran:
    """How a command ended; ``status`` is None if it had to be killed after ``PATIENCE_SECONDS``."""

    status: int | None
    seconds: float
    stderr: str

    def __str__(self) -> str:
        if self.status is None:
            return f"still running after {self.seconds:.0f} s"
        return f"status {self.status}" if self.status >= 0 else f"ended by {signal.Signals(-self.status).name}"


@dataclass
class Stage:
    """Everything a scenario may use. ``local`` does not exist at the beginning."""

    peer: Peer
    server: Server
    proxy: Proxy
    home: Path
    bucket: str = field(default_factory=lambda: f"peers-{uuid.uuid4().hex[:12]}")

    def __post_init__(self) -> None:
        self.server.create_bucket(self.bucket)
        self.local = self.home / "local"
        self.outside = self.home / "outside"

    # -- the bucket

    def put(self, name: str, content: bytes) -> None:
        self.server.put(self.bucket, f"{KEY}/{name}", content)

    def fill(self, count: int, size_bytes: int = 3) -> None:
        """``count`` objects, each with a content of its own."""
        if isinstance(self.server, RcloneServer):
            directory = self.server.data / self.bucket / KEY
            directory.mkdir()
            for number in range(count):
                (directory / f"{number:05}").write_bytes(body(number, size_bytes))
            return
        self.server.put_all(self.bucket, {f"{KEY}/{number:05}": body(number, size_bytes) for number in range(count)})

    def objects(self) -> set[str]:
        return {key.removeprefix(f"{KEY}/") for key in self.server.keys(self.bucket)}

    def content(self, name: str) -> bytes:
        return self.server.get(self.bucket, f"{KEY}/{name}")

    # -- the directory

    def write(self, name: str, content: bytes) -> Path:
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.local)): path.read_bytes()
            for path in sorted(self.local.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }

    def names(self) -> set[str]:
        return {str(path.relative_to(self.local)) for path in self.local.rglob("*") if not path.is_dir()}

    # -- the tool

    def start(self, direction: str, key: str = KEY, local: Path | None = None) -> subprocess.Popen[bytes]:
        environment = environment_for(self.home, self.proxy.endpoint_url, self.server.environment())
        with (self.home / "stderr").open("wb") as stderr:
            return subprocess.Popen(
                self.peer.command(direction, self.bucket, key, local or self.local),
                env={**environment, "AWS_ENDPOINT_URL": self.proxy.endpoint_url},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    def signal(self, program: subprocess.Popen[bytes], number: int) -> None:
        """To the tool and its children, as a terminal does: some tools are a script that starts the real one."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, number)

    def finish(self, program: subprocess.Popen[bytes], patience_seconds: float = PATIENCE_SECONDS) -> Ran:
        began = time.monotonic()
        status: int | None
        try:
            status = program.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
            status = None
        stderr = (self.home / "stderr").read_text(errors="replace")
        return Ran(status, time.monotonic() - began, stderr[-2000:])

    def run(self, direction: str, key: str = KEY, local: Path | None = None) -> Ran:
        return self.finish(self.start(direction, key, local))

    def down(self, key: str = KEY) -> Ran:
        return self.run("down", key)

    def up(self) -> Ran:
        return self.run("up")

    def eventually(self, holds: object, program: subprocess.Popen[bytes], within_seconds: float = 30) -> bool:
        """Waits until ``holds()``, or the program is over; whether it held."""
        assert callable(holds)
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            if holds():
                return True
            if program.poll() is not None:
                return False
            time.sleep(0.005)
        return False


def body(seed: int, size_bytes: int) -> bytes:
    """Bytes that look random, the same for the same seed."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size_bytes)


def loud(text: str, is_loss: bool) -> str:
    """The text, in bold if it tells of a loss."""
    return f"**{text}**" if is_loss else text


def some(names: set[str] | list[str]) -> str:
    """A few names, for a cell."""
    shown = sorted(names)[:2]
    return ", ".join(f"`{name}`" for name in shown) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
