"""What a client is for the benchmark."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.installing import HOME
from benchmarks.speed.measure import Command
from benchmarks.speed.servers import Endpoint

CLIENTS = Path(__file__).resolve().parents[1] / "clients"


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
    asks_for_checksums = False
    """Whether it must ask for the checksum of each object that it downloads, so that its figures contain the check."""

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
