"""Clients that are libraries: a script in an environment of its own."""

from __future__ import annotations

from pathlib import Path

from benchmarks.speed.installing import HOME, environment_of, version_in
from benchmarks.speed.measure import Command
from benchmarks.speed.peers.base import CLIENTS, Peer, Remote, environment


class _Script(Peer):
    """A script in Python in an environment of its own."""

    package = ""
    requirement = ""
    script = ""
    more: tuple[str, ...] = ()

    def install(self) -> None:
        environment_of(self.tool, self.requirement)

    def version(self) -> str:
        return version_in(HOME / "peers" / self.tool, self.package)

    def _run(self, action: str, remote: Remote, local: Path | str) -> Command:
        python = HOME / "peers" / self.tool / "bin/python"
        arguments = [python, CLIENTS / self.script, action, remote.bucket, remote.key, local, *self.more]
        return Command(arguments, environment(remote.endpoint))

    def download(self, remote: Remote, local: Path, state: Path) -> Command:
        return self._run("download", remote, local)

    def upload(self, local: Path, remote: Remote, state: Path) -> Command:
        return self._run("upload", remote, local)

    def start(self) -> Command:
        return Command([HOME / "peers" / self.tool / "bin/python", "-c", f"import {self.package}"], environment(None))


class Boto3Threads(_Script):
    tool, package, requirement = "boto3", "boto3", "boto3[crt]"
    script = "boto3_threads.py"

    def __init__(self, threads: int = 16):
        self.label = f"boto3, {threads} threads" if threads > 1 else "boto3, one by one"
        self.settings = "get_object, put_object"
        self.more = (str(threads),)

    def list(self, remote: Remote) -> Command:
        return self._run("list", remote, "")

    def delete(self, remote: Remote) -> Command:
        return self._run("delete", remote, "")


class Boto3Crt(_Script):
    label = "boto3 with CRT"
    tool, package, requirement = "boto3", "boto3", "boto3[crt]"
    script = "boto3_crt.py"


class S3fs(_Script):
    label = "s3fs"
    tool, package, requirement = "s3fs", "s3fs", "s3fs"
    script = "s3fs_tree.py"

    def list(self, remote: Remote) -> Command:
        return self._run("list", remote, "")

    def delete(self, remote: Remote) -> Command:
        return self._run("delete", remote, "")
