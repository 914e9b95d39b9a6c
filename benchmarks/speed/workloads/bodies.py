"""Workloads that move bodies: many small files, a large one, and a dataset as found in practice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.speed.bench import BUCKET, NGINX, PREFIX, Bench, Entrant, Tree, added, once
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
from benchmarks.speed.servers import Endpoint

_SMALL_BYTES = 4096
# As many as s5cmd, at once.
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
        return f"{self.count:,} x 4 KiB{added(self.delay_ms)}"


_SMALL = [
    _Small("0ms", 10_000, 0, [Entrant(Pos3()), Entrant(S5cmd()), once(Rclone())], 45),
    _Small("20ms", 5_000, 20, [Entrant(Pos3()), Entrant(_PARALLEL), Entrant(S5cmd()), once(Rclone(), 2)], 45),
    _Small("100ms", 1_000, 100, [Entrant(Pos3()), Entrant(_PARALLEL), Entrant(S5cmd()), once(Rclone(), 2)], 35),
    _Small(
        "0ms-all",
        1_000,
        0,
        [
            Entrant(Pos3()),
            Entrant(S5cmd()),
            Entrant(Boto3Crt(), 2),
            once(Rclone(tuned=False), 2),
            once(Boto3Threads()),
            once(Boto3Threads(1)),
            once(AwsCli()),
            once(S3fs()),
            once(Pos3Before(), 2),
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
    # Nothing to warm up: the file is in memory.
    quick = [once(Pos3(), 5), once(S5cmd(), 5), once(Rclone(), 5)]
    slow = [once(_S5CMD_TUNED), once(Boto3Crt()), once(AwsCli())]
    for scheme, endpoint, entrants in (
        ("http", bench.front.http, [*quick, *slow]),
        ("https", bench.front.https, [*quick, once(Boto3Crt())]),
    ):
        title = f"{size_bytes / 2**30:.3g} GiB over {scheme}"
        yield Case(
            f"large-down-{scheme}",
            f"Download 1 x {title}",
            NGINX,
            [bench.download(entrant, Remote(endpoint, BUCKET, path.name), 1, size_bytes) for entrant in entrants],
            budget_seconds=60,
        )
        yield Case(
            f"large-up-{scheme}",
            f"Upload 1 x {title}",
            NGINX,
            [bench.upload_one(entrant, endpoint, path) for entrant in entrants],
            budget_seconds=75,
        )
    path.unlink()


def large_many(bench: Bench) -> Iterator[Case]:
    """Four objects, whose content is one file: what is read is in memory anyway, and takes a quarter of it."""
    size_bytes = bench.scaled(2048) * MIB
    path = bench.scratch / "large.bin"
    item = write_large(path, size_bytes)
    objects = [replace(item, name=f"{number}.bin") for number in range(4)]
    bench.front.bind(BUCKET, write_index(bench.scratch / "large-many.tsv", PREFIX, objects))
    remote = Remote(bench.front.http, BUCKET, PREFIX)
    entrants = [once(Pos3(), 5), once(S5cmd(), 5), once(Rclone(), 2)]
    count = len(objects)
    yield Case(
        "large-many-down-http",
        f"Download {count} x {size_bytes / 2**30:.3g} GiB at once over http",
        NGINX,
        [bench.download(entrant, remote, count, count * size_bytes) for entrant in entrants],
        budget_seconds=140,
    )
    path.unlink()


def dataset(bench: Bench) -> Iterator[Case]:
    names = deep_names(bench.scaled(1000))
    tree = bench.tree("dataset", lambda root: write_tree(root, names, MIB))
    bench.front.bind(BUCKET, tree.index)
    title = f"{len(names):,} x 1 MiB in a deep tree"

    def download(name: str, endpoint: Endpoint, more: str, ours: Sequence[Peer], delay_ms: int = 0) -> Case:
        remote = Remote(endpoint, BUCKET, PREFIX)
        entrants = [*map(Entrant, ours), Entrant(S5cmd()), once(Rclone(), 2)]
        return Case(
            f"dataset-down-{name}",
            f"Download {title}{more}",
            NGINX,
            [bench.download(entrant, remote, len(names), tree.total_bytes) for entrant in entrants],
            delay_ms / 1000,
            30,
        )

    yield download("https", bench.front.https, " over https", [Pos3()])
    for delay_ms, ours in ((0, [Pos3()]), (20, [Pos3(), _PARALLEL])):
        yield download(f"{delay_ms}ms", bench.front.http, added(delay_ms), ours, delay_ms)
        entrants = [*map(Entrant, ours), Entrant(S5cmd()), once(Rclone(), 2)]
        yield Case(
            f"dataset-up-{delay_ms}ms",
            f"Upload {title}{added(delay_ms)}",
            NGINX,
            [bench.upload(entrant, bench.front.http, tree) for entrant in entrants],
            delay_ms / 1000,
            20,
        )
    remove_tree(tree.root)
