"""Workloads that time programs as such: their start, and a Prefect flow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.speed.bench import BUCKET, NGINX, PREFIX, Bench, Entrant
from benchmarks.speed.contest import Case, Contestant, Run
from benchmarks.speed.data import remove_tree
from benchmarks.speed.measure import Command, Measured
from benchmarks.speed.peers import AwsCli, Boto3Threads, Peer, Pos3, Rclone, Remote, S3fs, S5cmd
from benchmarks.speed.servers import Counts


def start(bench: Bench) -> Iterator[Case]:
    pos3 = Pos3()
    programs: list[tuple[Peer, str, Command]] = [
        (pos3, "python -c pass", pos3.python("-c", "pass")),
        (pos3, "import pos3", pos3.python("-c", "import pos3")),
        (pos3, "pos3 --version", pos3.program("--version")),
        (pos3, "pos3 --help", pos3.program("--help")),
        (S5cmd(), "s5cmd version", S5cmd().start()),
        (Rclone(), "rclone version", Rclone().start()),
        (AwsCli(), "aws --version", AwsCli().start()),
        (Boto3Threads(), "import boto3", Boto3Threads().start()),
        (S3fs(), "import s3fs", S3fs().start()),
    ]
    yield Case(
        "start",
        "Start of a program",
        "none",
        [
            replace(bench.contestant(Entrant(peer), lambda _, command=command: command), label=label, settings="")
            for peer, label, command in programs
        ],
        budget_seconds=15,
    )


def flow(bench: Bench) -> Iterator[Case]:
    """50 mapped tasks of one flow run that all want the same prefix."""
    count = bench.scaled(1_000)
    tree = bench.flat("flow", count, 4096)
    bench.front.bind(BUCKET, tree.index)
    remote = Remote(bench.front.http, BUCKET, PREFIX)
    peer = Pos3()
    counts = bench.front.control_url("counts")
    cache = bench.scratch / "flow-cache"

    def figures(number: int, run: Measured, _counts: Counts) -> Run:
        found = run.json()
        requests = found.pop("requests")
        found["downloads_of_each_object"] = requests["GET"] / count
        return Run(number, run.wall_seconds, run.cpu_seconds, run.peak_bytes, requests, found)

    contestant: Contestant = bench.contestant(
        Entrant(peer, 2, warms_up=False),
        lambda _: peer.mapped_flow(remote, cache, 50, counts),
        after=lambda _: remove_tree(cache),
    )
    yield Case(
        "flow",
        f"A flow whose 50 mapped tasks download the same {count:,} objects",
        NGINX,
        [replace(contestant, figures=figures)],
        budget_seconds=30,
    )
    remove_tree(tree.root)
