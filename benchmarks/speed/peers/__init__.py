"""The clients that are compared: how each is installed, and how each workload is spelled for it.

Each has the settings that its own documentation recommends for the workload; where these are not the defaults, the
defaults take part under a label of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.speed.peers.base import Peer, Remote
from benchmarks.speed.peers.ours import Pos3, Pos3Before
from benchmarks.speed.peers.programs import AwsCli, Rclone, S5cmd
from benchmarks.speed.peers.scripts import Boto3Crt, Boto3Threads, S3fs

__all__ = [
    "PEERS",
    "AwsCli",
    "Boto3Crt",
    "Boto3Threads",
    "Peer",
    "Pos3",
    "Pos3Before",
    "Rclone",
    "Remote",
    "S3fs",
    "S5cmd",
]

# One of each tool, which is what can be chosen and must be installed.
PEERS: Sequence[Peer] = [Pos3(), S5cmd(), Rclone(), AwsCli(), Boto3Threads(), S3fs(), Pos3Before()]
