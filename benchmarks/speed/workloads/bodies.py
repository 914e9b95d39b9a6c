"""Workloads that move bodies: many small files, a large one, and a dataset as found in practice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.speed.bench import BUCKET, NGINX, PREFIX, Bench, Entrant, Tree
from benchmarks.speed.contest import Case
from benchmarks.speed.data import MIB, deep_names, remove_tree, write_index, write_large, write_tree
from benchmarks.speed.peers import (
    AwsCli,
    Boto3Crt,
    Boto3Threads,
    Peer,
    Pos3,
    Pos3Before,
    Rclone,
    Remote,
    S3fs,
    S5cmd,
)

_SMALL_BYTES = 4096
_PARALLEL = Pos3(256)
_S5CMD_TUNED = S5cmd(concurrency=8, part_mib=16)


@dataclass(frozen=True)
class _Small:
    """How many small objects, with which latency, and who takes part."""

    name: str
    count: int
    delay_ms: int
    entrants: Sequence[Entrant]
    budget_seconds: float

    @property
    def title(self) -> str:
        latency = f", {self.delay_ms} ms added to each request" if self.delay_ms else ""
        return f"{self.count:,} x 4 KiB{latency}"


def _once(peer: Peer, runs: int = 1) -> Entrant:
    return Entrant(peer, runs, warms_up=False)


_SMALL = [
    _Small("0ms", 10_000, 0, [Entrant(Pos3()), Entrant(S5cmd()), _once(Rclone())], 45),
    _Small("20ms", 5_000, 20, [Entrant(_PARALLEL), Entrant(S5cmd()), _once(Rclone(), 2), _once(Pos3())], 45),
    _Small("100ms", 1_000, 100, [Entrant(_PARALLEL, 3), Entrant(S5cmd(), 3), _once(Rclone(), 2), _once(Pos3())], 25),
    _Small(
        "0ms-all",
        1_000,
        0,
        [
            Entrant(Pos3(), 3),
            Entrant(S5cmd(), 3),
            Entrant(Boto3Crt(), 2),
            _once(Rclone(tuned=False), 2),
            _once(Boto3Threads()),
            _once(Boto3Threads(1)),
            _once(AwsCli()),
            _once(S3fs()),
            _once(Pos3Before(), 2),
        ],
        35,
    ),
]


def small_down(bench: Bench) -> Iterator[Case]:
    for case, tree in _small(bench):
        bench.front.bind(BUCKET, tree.index)
        remote = Remote(bench.front.http, BUCKET, PREFIX)
        yield Case(
            f"small-down-{case.name}",
            f"Download {case.title}",
            NGINX,
            [bench.download(entrant, remote, case.count, tree.total_bytes) for entrant in case.entrants],
            case.delay_ms / 1000,
            case.budget_seconds,
        )


def small_up(bench: Bench) -> Iterator[Case]:
    for case, tree in _small(bench):
        yield Case(
            f"small-up-{case.name}",
            f"Upload {case.title}",
            NGINX,
            [bench.upload(entrant, bench.front.http, tree) for entrant in case.entrants],
            case.delay_ms / 1000,
            case.budget_seconds,
        )


def _small(bench: Bench) -> Iterator[tuple[_Small, Tree]]:
    for case in _SMALL:
        scaled = replace(case, count=bench.scaled(case.count))
        tree = bench.flat("small", scaled.count, _SMALL_BYTES)
        yield scaled, tree
        remove_tree(tree.root)


def large(bench: Bench) -> Iterator[Case]:
    size_bytes = bench.scaled(2048) * MIB
    path = bench.scratch / "large.bin"
    item = write_large(path, size_bytes)
    bench.front.bind(BUCKET, write_index(bench.scratch / "large.tsv", "", [item]))
    bench.front.expect(path)
    quick = [Entrant(Pos3()), Entrant(S5cmd()), Entrant(Rclone(), 3)]
    slow = [_once(_S5CMD_TUNED), _once(Boto3Crt(), 2), _once(AwsCli())]
    for scheme, endpoint, entrants in (
        ("http", bench.front.http, [*quick, *slow]),
        ("https", bench.front.https, [*quick, _once(Boto3Crt())]),
    ):
        title = f"{size_bytes / 2**30:.3g} GiB over {scheme}"
        yield Case(
            f"large-down-{scheme}",
            f"Download 1 x {title}",
            NGINX,
            [bench.download(entrant, Remote(endpoint, BUCKET, path.name), 1, size_bytes) for entrant in entrants],
            budget_seconds=45,
        )
        yield Case(
            f"large-up-{scheme}",
            f"Upload 1 x {title}",
            NGINX,
            [bench.upload_one(entrant, endpoint, path) for entrant in entrants],
            budget_seconds=45,
        )
    path.unlink()


def dataset(bench: Bench) -> Iterator[Case]:
    names = deep_names(bench.scaled(1000))
    tree = bench.tree("dataset", lambda root: write_tree(root, names, MIB))
    bench.front.bind(BUCKET, tree.index)
    remote = Remote(bench.front.http, BUCKET, PREFIX)
    for delay_ms, ours in ((0, Pos3()), (20, _PARALLEL)):
        entrants = [Entrant(ours), Entrant(S5cmd()), _once(Rclone())]
        latency = f", {delay_ms} ms added to each request" if delay_ms else ""
        title = f"{len(names):,} x 1 MiB in a deep tree{latency}"
        yield Case(
            f"dataset-down-{delay_ms}ms",
            f"Download {title}",
            NGINX,
            [bench.download(entrant, remote, len(names), tree.total_bytes) for entrant in entrants],
            delay_ms / 1000,
            12,
        )
        yield Case(
            f"dataset-up-{delay_ms}ms",
            f"Upload {title}",
            NGINX,
            [bench.upload(entrant, bench.front.http, tree) for entrant in entrants],
            delay_ms / 1000,
            12,
        )
    remove_tree(tree.root)
